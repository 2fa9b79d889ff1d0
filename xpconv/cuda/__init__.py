"""For GPUs: work recorded as CUDA graphs, copies while the GPU computes, and the precision of products."""

from typing import TYPE_CHECKING

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

if not TYPE_CHECKING:
    _DEVICES = "cupy.cuda.runtime.getDeviceCount() is the number of GPUs"
    _BYTES = "cupy.get_default_memory_pool() has used_bytes() and total_bytes()"
    _ELSEWHERE = {  # what torch.cuda has
        "is_available": "xpconv.set_backend('auto') takes 'cupy' if a GPU answers, else 'numpy'; "
        "xpconv.get_backend() says which",
        "device_count": _DEVICES,
        "current_device": "use cupy.cuda.Device().id",
        **dict.fromkeys(("device", "set_device"), "use cupy.cuda.Device(1), as a context manager or .use()"),
        "get_device_name": "`python3 -m xpconv info` prints the devices",
        "synchronize": "use cupy.cuda.Device().synchronize(); float(loss) waits too",
        "empty_cache": "use cupy.get_default_memory_pool().free_all_blocks()",
        **dict.fromkeys(("memory_allocated", "memory_reserved"), _BYTES),
        **dict.fromkeys(("Stream", "Event"), "use those of cupy.cuda"),
        **dict.fromkeys(("amp", "GradScaler"), "use model.to(dtype='float16') and xpconv.GradScaler"),
        **dict.fromkeys(("manual_seed", "manual_seed_all"), "use xpconv.manual_seed(seed)"),
        **dict.fromkeys(
            ("CUDAGraph", "graph", "make_graphed_callables"), "use capture(step) or graphed(model)"
        ),
    }

    def __getattr__(name):
        hint = f"; {_ELSEWHERE[name]}" if name in _ELSEWHERE else ""
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}{hint}")
