"""CUDA kernels from the `.cu` files beside this one: compiled at their first use, and cached by CuPy on disk.

Every kernel is a loop over `size` elements, each computed by one thread, so that no two threads write to one
address and results are the same in every run. `T` is the arrays' dtype, `SUM` that of sums; `INDEX` counts
elements, in 32 bits if they suffice, since divisions are then several times faster.
"""

from __future__ import annotations

import functools
from importlib.resources import files
from math import prod
from typing import Any

from ...backend import Array
from ...geometry import Window

THREADS = 256  # per block
BLOCKS = 1 << 16  # at most; each thread computes several elements if there are more
LARGEST = (1 << 31) - THREADS * BLOCKS  # number of elements for 32-bit indices, with room for the last step
TYPES = {  # dtype: its name in CUDA, that of sums, and where it is declared
    "float16": ("__half", "float", "#include <cuda_fp16.h>\n"),
    "bfloat16": ("__nv_bfloat16", "float", "#include <cuda_bf16.h>\n"),
    "float32": ("float", "float", ""),
    "float64": ("double", "double", ""),
}
SUMS = {dtype: "float64" if sums == "double" else "float32" for dtype, (_, sums, _) in TYPES.items()}


def launch(xp: Any, file: str, name: str, size: int, *arguments: Any, dtype: str = "", each: int = 1) -> None:
    """Run kernel `name` of `file`: `arguments` are arrays, ints (`long long` there) and floats (`double`).

    `T` is `dtype`, else that of the first array. Each thread computes `each` neighbouring elements.
    """
    if not size:
        return
    largest, array = size, xp.ndarray
    for a in arguments:
        if isinstance(a, array):
            largest = max(largest, a.size)
            dtype = dtype or name_of(a.dtype)
    kernel = _kernel(xp, file, dtype, largest >= LARGEST, name)
    blocks = min(-(-size // (THREADS * each)), BLOCKS)
    kernel((blocks,), (THREADS,), (size, *arguments))


name_of = functools.cache(str)  # of a dtype; NumPy builds the string anew each time


def source(file: str, dtype: str, wide: bool) -> tuple[str, tuple[str, ...]]:
    """The compiler's code and options. Types are no macros, since CUDA's headers use the name `T` too."""
    here = files(__package__)
    name, sums, include = TYPES[dtype]
    index = "long long" if wide else "int"
    types = f"{include}typedef {name} T;\ntypedef {sums} SUM;\ntypedef {index} INDEX;\n"
    return types + (here / "common.cuh").read_text() + (here / file).read_text(), ("--std=c++17",)


@functools.cache
def _kernel(xp: Any, file: str, dtype: str, wide: bool, name: str) -> Any:
    return _module(xp, file, dtype, wide).get_function(name)


@functools.cache
def _module(xp: Any, file: str, dtype: str, wide: bool) -> Any:
    code, options = source(file, dtype, wide)
    return xp.RawModule(code=code, options=options)


def last(xp: Any, x: Array) -> Array:
    """`(N, C, *S)` as contiguous `(N, *S, C)`: a view if memory is channels-last."""
    return xp.ascontiguousarray(x.transpose(0, *range(2, x.ndim), 1))


def lanes(channels: int) -> int:
    """How many neighbouring channels a thread computes: the `V` of a kernel."""
    return 1 if channels % 4 else 4


@functools.lru_cache(maxsize=1024)
def geometry(window: Window, spatial: tuple[int, ...], output: tuple[int, ...]) -> tuple[int, ...]:
    """The `WINDOW` arguments of a kernel, always for three axes."""
    low = tuple(lo for lo, _ in window.padding)
    rows = (
        (spatial, 1), (output, 1), (window.kernel, 1), (window.stride, 1), (low, 0), (window.dilation, 1)
    )  # fmt: skip
    return tuple(n for values, none in rows for n in (none,) * (3 - len(values)) + tuple(values))


def taps(window: Window) -> int:
    """Number of positions in the kernel."""
    return prod(window.kernel)
