"""The hot operations for CuPy arrays: own kernels where many launches become one, else `portable`."""

from ..portable import copy, empty_program, for_inference, in_blocks, programs, scratch
from .conv import algorithm, conv, conv_input_grad, conv_weight_grad
from .gemm import matmul
from .norm import batch_norm, batch_norm_backward, channel_sum, follow, normalize_batch, statistics
from .optim import update
from .pointwise import add, clip, clip_backward
from .pool import max_pool, max_pool_input_grad, sum_pool, sum_pool_input_grad
from .random import keep_mask
from .softmax import cross_entropy, cross_entropy_backward, one_hot

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
