"""The operations that are overridden for CuPy arrays, where one launch replaces many."""

from .adaptive import adaptive_max_pool, adaptive_max_pool_backward
from .conv import conv, conv_algorithm, conv_backward_input, conv_backward_weight
from .gelu import gelu, gelu_backward, gelu_tanh, gelu_tanh_backward
from .gemm import matmul
from .images import adaptive_avg_pool_backward, apply_mask, arithmetic, global_avg_pool, image_dot
from .norm import (
    batch_norm,
    batch_norm_backward,
    channel_sum,
    channel_total,
    follow,
    normalize_and_track,
    statistics,
)
from .optim import update
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
from .softmax import cross_entropy, cross_entropy_backward, one_hot

__all__ = [
    "adaptive_avg_pool_backward",
    "adaptive_max_pool",
    "adaptive_max_pool_backward",
    "add",
    "apply_mask",
    "arithmetic",
    "batch_norm",
    "batch_norm_backward",
    "channel_sum",
    "channel_total",
    "clip",
    "clip_backward",
    "clipped_line",
    "conv",
    "conv_algorithm",
    "conv_backward_input",
    "conv_backward_weight",
    "cross_entropy",
    "cross_entropy_backward",
    "elu",
    "elu_backward",
    "follow",
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
    "image_dot",
    "keep_mask",
    "layer_norm",
    "layer_norm_backward",
    "leaky_relu",
    "leaky_relu_backward",
    "log_sigmoid",
    "log_sigmoid_backward",
    "matmul",
    "max_pool",
    "max_pool_backward",
    "mish",
    "mish_backward",
    "normalize_and_track",
    "one_hot",
    "response_norm",
    "response_norm_backward",
    "sigmoid",
    "sigmoid_backward",
    "silu",
    "silu_backward",
    "softplus",
    "softplus_backward",
    "statistics",
    "sum_pool",
    "sum_pool_backward",
    "tanh_backward",
    "update",
]
