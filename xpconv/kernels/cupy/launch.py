"""CUDA kernels from the `.cu` files beside this one: compiled at their first use, and cached by CuPy on disk.

Every kernel is a loop over `size` elements, each computed by one thread, so that no two threads write to one
address and results are the same in every run. `T` is the arrays' dtype, `SUM` that of sums; `INDEX` counts
elements, in 32 bits if they suffice, since divisions are then several times faster.

New arrays are made by `xp.ndarray(shape, dtype)`: for `xp.empty`, of which a step has hundreds, CuPy takes
twice that time.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from importlib.resources import files
from math import copysign, prod
from typing import Any, NamedTuple

import numpy as np

from ...backend import Array
from ...cores import cores
from ...errors import BackendError
from ...geometry import Bounds, Window

THREADS = 256  # per block
BLOCKS = 1 << 16  # at most; each thread computes several elements if there are more
LARGEST = (1 << 31) - THREADS * BLOCKS  # number of elements for 32-bit indices, with room for the last step
TYPES = {  # dtype: its name in CUDA, that of sums, and where it is declared
    "float16": ("__half", "float", "#include <cuda_fp16.h>\n"),
    "bfloat16": ("__nv_bfloat16", "float", "#include <cuda_bf16.h>\n"),
    "float32": ("float", "float", ""),
    "float64": ("double", "double", ""),
}
TOGETHER = (
    "conv.cu",
    "norm.cu",
    "pool.cu",
    "pointwise.cu",
    "softmax.cu",
    "optim.cu",
)  # compiled at the same time
NUMBERS = 4096  # most numbers whose kernel arguments are cached
TO_LAST = ((), (), (0, 1), (0, 2, 1), (0, 2, 3, 1), (0, 2, 3, 4, 1))  # by the number of axes
TO_FIRST = ((), (), (0, 1), (0, 2, 1), (0, 3, 1, 2), (0, 4, 1, 2, 3))
SUMS = {dtype: "float64" if sums == "double" else "float32" for dtype, (_, sums, _) in TYPES.items()}


def launch(xp: Any, file: str, name: str, size: int, *arguments: Any, dtype: str = "", each: int = 1) -> None:
    """Run kernel `name` of `file`.

    `arguments` are arrays, ints (`long long` there), floats (`double`) and structs (a NumPy array, by value).
    Kernels get an array's address only, so its memory has to be in the order that the kernel expects, without
    gaps: see `dense` and `pixels`. `T` is `dtype`, else that of the first array. Each thread computes `each`
    neighbouring elements.

    Raises:
        BackendError: an array is on another device than the current one.
    """
    if not size:
        return
    array_type, get_device, _, ints, floats, _ = _host(xp)
    largest, device = size, None if get_device is None else get_device()
    values = [ints[size]]
    for a in arguments:
        kind = type(a)
        if kind is int:
            values.append(ints[a])
            continue
        if kind is float:
            values.append(floats[a] if a or copysign(1.0, a) > 0 else a)  # not -0.0: 0.0 is the same key
            continue
        values.append(a)
        if kind is array_type or isinstance(a, array_type):
            if a.size > largest:
                largest = a.size
            if not dtype:
                dtype = name_of(a.dtype)
            if device is not None and a.data.device_id != device:
                raise _elsewhere(name, a, device)
    kernel = _kernel(xp, file, dtype, largest >= LARGEST, name, device)
    blocks = -(-size // (THREADS * each))
    kernel((blocks if blocks < BLOCKS else BLOCKS,), (THREADS,), tuple(values))


class Numbers(dict[Any, Any]):
    """A cache of kernel arguments for numbers; CuPy would create them again in each launch."""

    def __init__(self, make: Callable[[Any], Any]) -> None:
        self._make = make

    def __missing__(self, number: Any) -> Any:
        if len(self) >= NUMBERS:
            self.clear()
        made = self._make(number)
        if number == number:  # a NaN would be found again only if it were the same object
            self[number] = made
        return made


class Host(NamedTuple):
    """What a launch needs of an array module; on a GPU, the classes by which CuPy passes kernel arguments."""

    array_type: Any
    get_device: Callable[[], int] | None = None  # the current device's number; None if there are no devices
    allocate: Callable[[int], Any] | None = None
    ints: Numbers = Numbers(lambda number: number)
    floats: Numbers = Numbers(lambda number: number)
    struct: Callable[[Any], Any] = lambda struct: struct


@functools.cache
def _host(xp: Any) -> Host:
    if xp.__name__ != "cupy":
        return Host(xp.ndarray)
    found = Host(xp.ndarray, xp.cuda.runtime.getDevice, xp.cuda.alloc)
    function = xp.cuda.function  # its argument classes are not documented
    if not hasattr(function, "CIntptr") or not hasattr(function, "CNumpyArray"):
        return found
    ints = Numbers(function.CIntptr)  # of 64 bits, as kernels expect
    floats = Numbers(lambda number: function.CIntptr(np.float64(number).view("int64").item()))
    return found._replace(ints=ints, floats=floats, struct=function.CNumpyArray)


def on_device(xp: Any) -> bool:
    """Whether arrays of this module are in the memory of a GPU."""
    return _host(xp).allocate is not None


def check_device(xp: Any, name: str, *arrays: Array) -> None:
    """Raise a BackendError unless all arrays are on the current device; `name` is what they are for."""
    get_device = _host(xp).get_device
    if get_device is not None:
        device = get_device()
        for a in arrays:
            if a.data.device_id != device:
                raise _elsewhere(name, a, device)


def _elsewhere(name: str, array: Array, device: int) -> BackendError:
    there = array.data.device_id
    return BackendError(
        f"{name}: an array is on device {there}, but the current device is {device}; put the code into a "
        f"block of `with cupy.cuda.Device({there}):`, or move the array with cupy.asarray in a block for "
        f"device {device}"
    )


name_of = functools.cache(str)  # of a dtype; NumPy builds the string anew each time


def source(file: str, dtype: str, wide: bool) -> tuple[str, tuple[str, ...]]:
    """The compiler's code and options. Types are no macros, since CUDA's headers use the name `T` too."""
    here = files(__package__)
    name, sums, include = TYPES[dtype]
    index = "long long" if wide else "int"
    types = f"{include}typedef {name} T;\ntypedef {sums} SUM;\ntypedef {index} INDEX;\n"
    return types + (here / "common.cuh").read_text() + (here / file).read_text(), ("--std=c++17",)


@functools.cache
def _kernel(xp: Any, file: str, dtype: str, wide: bool, name: str, device: int | None) -> Any:
    """The kernel for the current device, cached, since CuPy's `RawKernel` looks it up in each launch."""
    if device is not None and file in TOGETHER and not wide:
        begun = _compiling(xp, dtype, device).get(file)
        if begun is not None:
            wait([begun])  # an error in it is raised below
    kernel = _module(xp, file, dtype, wide).get_function(name)
    return kernel if device is None else kernel.kernel


@functools.cache
def _compiling(xp: Any, dtype: str, device: int) -> dict[str, Future[None]]:
    """Begin to compile the files of most training steps, in threads: NVRTC takes about a second for each."""
    count = min(cores(), len(TOGETHER))
    if count < 2:
        return {}

    def compile_one(file: str) -> None:
        with xp.cuda.Device(device):
            _module(xp, file, dtype, False).compile()

    pool = ThreadPoolExecutor(count, "xpconv NVRTC")
    begun = {file: pool.submit(compile_one, file) for file in TOGETHER}
    pool.shutdown(wait=False)
    return begun


@functools.cache
def _module(xp: Any, file: str, dtype: str, wide: bool) -> Any:
    code, options = source(file, dtype, wide)
    return xp.RawModule(code=code, options=options)


def dense(xp: Any, x: Array, dtype: Any = None) -> Array:
    """`x` in C order and of `dtype`: what a kernel expects. A copy if it is not so already."""
    if dtype is not None and x.dtype != dtype:
        x = x.astype(dtype)
    return xp.ascontiguousarray(x)


def pixels(xp: Any, x: Array) -> Array:
    """`x (N, C, *S)` if its memory is channels-last, else a copy in such memory."""
    if x.strides == pixels_strides(x.shape, x.itemsize):
        return x
    return last(xp, x).transpose(TO_FIRST[x.ndim])


def empty_images(xp: Any, shape: tuple[int, ...], dtype: Any) -> Array:
    """A new `(N, C, *S)` array whose memory is channels-last."""
    allocate = _host(xp).allocate
    if allocate is None:
        return xp.ndarray((shape[0], *shape[2:], shape[1]), dtype).transpose(TO_FIRST[len(shape)])
    strides = pixels_strides(shape, xp.dtype(dtype).itemsize)
    return xp.ndarray(shape, dtype, allocate(strides[0] * shape[0]), strides)


def last(xp: Any, x: Array) -> Array:
    """`(N, C, *S)` as contiguous `(N, *S, C)`: a view if memory is channels-last."""
    return xp.ascontiguousarray(x.transpose(TO_LAST[x.ndim]))


@functools.lru_cache(maxsize=4096)
def pixels_strides(shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    """The strides of `(N, C, *S)` whose memory is channels-last."""
    _, c, *spatial = shape
    steps = [itemsize, c * itemsize]
    for size in spatial[::-1]:
        steps.append(steps[-1] * size)
    return (steps[-1], itemsize, *steps[-2:0:-1])


def ends(bounds: Bounds) -> tuple[int, float, float]:
    """How many bounds there are, and these."""
    if bounds is None:
        return 0, 0.0, 0.0
    low, high = bounds
    return (1, float(low), 0.0) if high is None else (2, float(low), float(high))


def is_contiguous(x: Array) -> bool:
    """Whether it is in C order without gaps; faster than `x.flags`, for which CuPy creates an object."""
    found: bool | None = getattr(x, "_c_contiguous", None)
    return bool(x.flags.c_contiguous) if found is None else found


def same_order(a: Array, b: Array) -> bool:
    """Whether two arrays of one shape have their elements in the same order in memory, without gaps."""
    if is_contiguous(a):
        return is_contiguous(b)
    return a.ndim > 2 and all(x.strides == pixels_strides(x.shape, x.itemsize) for x in (a, b))


def lanes(channels: int) -> int:
    """How many neighbouring channels a thread computes: the `V` of a kernel."""
    return 1 if channels % 4 else 4


def struct(numbers: Any) -> np.ndarray[Any, Any]:
    """A kernel argument: a struct of these integers, 64 bits each, passed by value."""
    return np.frombuffer(np.asarray(numbers, "int64").tobytes(), f"V{8 * len(numbers)}")


@functools.lru_cache(maxsize=1024)
def geometry(xp: Any, window: Window, spatial: tuple[int, ...], output: tuple[int, ...]) -> Any:
    """The `WINDOW` argument of a kernel, always for three axes."""
    low = tuple(lo for lo, _ in window.padding)
    rows = (
        (spatial, 1), (output, 1), (window.kernel, 1), (window.stride, 1), (low, 0), (window.dilation, 1)
    )  # fmt: skip
    numbers = [n for values, none in rows for n in (none,) * (3 - len(values)) + tuple(values)]
    return _host(xp).struct(struct(numbers))


def taps(window: Window) -> int:
    """Number of positions in the kernel."""
    return prod(window.kernel)
