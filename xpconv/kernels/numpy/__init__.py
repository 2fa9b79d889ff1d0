"""The operations that are overridden for NumPy arrays, on all cores; each with its reference's name."""

from .conv import conv, conv_algorithm, conv_backward_input, conv_backward_weight
from .linear import affine, matmul
from .norm import (
    batch_norm,
    batch_norm_backward,
    inverse_std,
    joint_input_grad,
    normalize_batch,
    statistics,
)
from .pointwise import (
    add,
    arithmetic,
    clip,
    clip_backward,
    clipped_line,
    concatenate,
    hardsigmoid,
    in_blocks,
    reshape,
    sigmoid,
    silu,
)
from .pool import global_avg_pool, max_pool, max_pool_backward, sum_pool, sum_pool_backward

__all__ = [
    "add",
    "affine",
    "arithmetic",
    "batch_norm",
    "batch_norm_backward",
    "clip",
    "clip_backward",
    "clipped_line",
    "concatenate",
    "conv",
    "conv_algorithm",
    "conv_backward_input",
    "conv_backward_weight",
    "global_avg_pool",
    "hardsigmoid",
    "in_blocks",
    "inverse_std",
    "joint_input_grad",
    "matmul",
    "max_pool",
    "max_pool_backward",
    "normalize_batch",
    "reshape",
    "sigmoid",
    "silu",
    "statistics",
    "sum_pool",
    "sum_pool_backward",
]
