"""For GPUs: work recorded as CUDA graphs, copies while the GPU computes, and the precision of products."""

from ..data.prefetch import prefetch
from ..kernels.precision import allow_nondeterministic, allow_tf32, nondeterministic_allowed, tf32_allowed
from .capture import capture
from .graphed import graphed

__all__ = [
    "allow_nondeterministic",
    "allow_tf32",
    "capture",
    "graphed",
    "nondeterministic_allowed",
    "prefetch",
    "tf32_allowed",
]
