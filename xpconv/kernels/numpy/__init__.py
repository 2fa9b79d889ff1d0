"""The hot operations for NumPy arrays, on all cores.

Each takes and gives what its namesake in `portable` does, by value, dtype and shape; a test compares them.
"""

from .conv import algorithm, conv, conv_input_grad, conv_weight_grad
from .norm import centred_sums, channel_sum, combine, scale_shift, statistics
from .pointwise import clip, clip_backward, in_blocks, matmul
from .pool import max_pool, max_pool_input_grad, sum_pool, sum_pool_input_grad

__all__ = [
    "algorithm",
    "centred_sums",
    "channel_sum",
    "clip",
    "clip_backward",
    "combine",
    "conv",
    "conv_input_grad",
    "conv_weight_grad",
    "in_blocks",
    "matmul",
    "max_pool",
    "max_pool_input_grad",
    "scale_shift",
    "statistics",
    "sum_pool",
    "sum_pool_input_grad",
]
