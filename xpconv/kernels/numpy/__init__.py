"""The hot operations for NumPy arrays, on all cores.

Each takes and gives what its namesake in `portable` does, by value, dtype and shape; a test compares them.
"""

from ..portable import cross_entropy, cross_entropy_backward, follow, keep_mask, one_hot, update
from .conv import algorithm, conv, conv_input_grad, conv_weight_grad, for_inference
from .norm import batch_norm, batch_norm_backward, channel_sum, normalize_batch, statistics
from .pointwise import add, clip, clip_backward, copy, in_blocks, matmul, scratch
from .pool import max_pool, max_pool_input_grad, sum_pool, sum_pool_input_grad
from .program import empty_program, empty_weights, programs

__all__ = [
    "add",
    "algorithm",
    "batch_norm",
    "batch_norm_backward",
    "channel_sum",
    "clip",
    "clip_backward",
    "conv",
    "conv_input_grad",
    "conv_weight_grad",
    "copy",
    "cross_entropy",
    "cross_entropy_backward",
    "empty_program",
    "empty_weights",
    "follow",
    "for_inference",
    "in_blocks",
    "keep_mask",
    "matmul",
    "max_pool",
    "max_pool_input_grad",
    "normalize_batch",
    "one_hot",
    "programs",
    "scratch",
    "statistics",
    "sum_pool",
    "sum_pool_input_grad",
    "update",
]
