"""The hot operations for CuPy arrays: own kernels where many launches become one, else `portable`."""

from ..portable import (
    algorithm,
    batch_norm,
    batch_norm_backward,
    channel_sum,
    clip,
    clip_backward,
    in_blocks,
    matmul,
    statistics,
)
from .conv import conv, conv_input_grad, conv_weight_grad
from .pool import max_pool, max_pool_input_grad, sum_pool, sum_pool_input_grad

__all__ = [
    "algorithm",
    "batch_norm",
    "batch_norm_backward",
    "channel_sum",
    "clip",
    "clip_backward",
    "conv",
    "conv_input_grad",
    "conv_weight_grad",
    "in_blocks",
    "matmul",
    "max_pool",
    "max_pool_input_grad",
    "statistics",
    "sum_pool",
    "sum_pool_input_grad",
]
