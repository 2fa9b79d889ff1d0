"""The operations that are overridden for NumPy arrays, on all cores; each with its reference's name."""

from .conv import conv, conv_algorithm, conv_backward_input, conv_backward_weight, weight_for_inference
from .norm import batch_norm, batch_norm_backward, channel_total, normalize_batch, statistics
from .pointwise import add, clip, clip_backward, copy_array, in_blocks, matmul, scratch
from .pool import max_pool, max_pool_backward, sum_pool, sum_pool_backward

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
    "copy_array",
    "in_blocks",
    "matmul",
    "max_pool",
    "max_pool_backward",
    "normalize_batch",
    "scratch",
    "statistics",
    "sum_pool",
    "sum_pool_backward",
    "weight_for_inference",
]
