"""The operations that are overridden for CuPy arrays, where one launch replaces many."""

from .conv import conv, conv_algorithm, conv_backward_input, conv_backward_weight
from .gemm import matmul
from .norm import batch_norm, batch_norm_backward, channel_total, follow, statistics
from .optim import update
from .pointwise import add, clip, clip_backward
from .pool import max_pool, max_pool_backward, sum_pool, sum_pool_backward
from .random import keep_mask
from .softmax import cross_entropy, cross_entropy_backward, one_hot

__all__ = [
    "add",
    "batch_norm",
    "batch_norm_backward",
    "channel_total",
    "clip",
    "clip_backward",
    "conv",
    "conv_algorithm",
    "conv_backward_input",
    "conv_backward_weight",
    "cross_entropy",
    "cross_entropy_backward",
    "follow",
    "keep_mask",
    "matmul",
    "max_pool",
    "max_pool_backward",
    "one_hot",
    "statistics",
    "sum_pool",
    "sum_pool_backward",
    "update",
]
