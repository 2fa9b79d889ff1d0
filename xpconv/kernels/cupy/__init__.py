"""The operations that are overridden for CuPy arrays, where one kernel launch replaces many.

What a function here computes is documented at the function of the same name in `ops`; its docstring here says
how many launches it takes, and for which arguments.
"""

from .adaptive import adaptive_max_pool, adaptive_max_pool_backward
from .average import follow_all
from .conv import conv, conv_algorithm, conv_backward_input, conv_backward_weight
from .gelu import gelu, gelu_backward, gelu_tanh, gelu_tanh_backward
from .gemm import matmul
from .images import adaptive_avg_pool_backward, apply_mask, arithmetic, global_avg_pool, image_dot
from .losses import (
    binary_entropy,
    binary_entropy_slope,
    divergence,
    huber,
    huber_slope,
    probability_entropy,
    probability_entropy_slope,
    scaled_sum,
    smooth_l1,
    smooth_l1_slope,
)
from .norm import (
    batch_norm,
    batch_norm_backward,
    channel_sum,
    channel_total,
    follow,
    normalize_and_track,
    statistics,
)
from .optim import gather, update
from .piecewise import (
    clipped_line,
    elu,
    elu_backward,
    hardsigmoid,
    hardsigmoid_backward,
    hardswish,
    hardswish_backward,
    leaky_relu,
    leaky_relu_backward,
)
from .pointwise import add, clip, clip_backward
from .pool import max_pool, max_pool_backward, sum_pool, sum_pool_backward
from .random import keep_mask
from .response import response_norm, response_norm_backward
from .rows import group_norm, group_norm_backward, layer_norm, layer_norm_backward
from .smooth import (
    log_sigmoid,
    log_sigmoid_backward,
    mish,
    mish_backward,
    sigmoid,
    sigmoid_backward,
    silu,
    silu_backward,
    softplus,
    softplus_backward,
    tanh_backward,
)
from .softmax import (
    class_entropy,
    class_entropy_backward,
    cross_entropy,
    cross_entropy_backward,
    log_softmax,
    log_softmax_backward,
    one_hot,
    softmax,
    softmax_backward,
)

__all__ = [
    "adaptive_avg_pool_backward",
    "adaptive_max_pool",
    "adaptive_max_pool_backward",
    "add",
    "apply_mask",
    "arithmetic",
    "batch_norm",
    "batch_norm_backward",
    "binary_entropy",
    "binary_entropy_slope",
    "channel_sum",
    "channel_total",
    "class_entropy",
    "class_entropy_backward",
    "clip",
    "clip_backward",
    "clipped_line",
    "conv",
    "conv_algorithm",
    "conv_backward_input",
    "conv_backward_weight",
    "cross_entropy",
    "cross_entropy_backward",
    "divergence",
    "elu",
    "elu_backward",
    "follow",
    "follow_all",
    "gather",
    "gelu",
    "gelu_backward",
    "gelu_tanh",
    "gelu_tanh_backward",
    "global_avg_pool",
    "group_norm",
    "group_norm_backward",
    "hardsigmoid",
    "hardsigmoid_backward",
    "hardswish",
    "hardswish_backward",
    "huber",
    "huber_slope",
    "image_dot",
    "keep_mask",
    "layer_norm",
    "layer_norm_backward",
    "leaky_relu",
    "leaky_relu_backward",
    "log_sigmoid",
    "log_sigmoid_backward",
    "log_softmax",
    "log_softmax_backward",
    "matmul",
    "max_pool",
    "max_pool_backward",
    "mish",
    "mish_backward",
    "normalize_and_track",
    "one_hot",
    "probability_entropy",
    "probability_entropy_slope",
    "response_norm",
    "response_norm_backward",
    "scaled_sum",
    "sigmoid",
    "sigmoid_backward",
    "silu",
    "silu_backward",
    "smooth_l1",
    "smooth_l1_slope",
    "softmax",
    "softmax_backward",
    "softplus",
    "softplus_backward",
    "statistics",
    "sum_pool",
    "sum_pool_backward",
    "tanh_backward",
    "update",
]
