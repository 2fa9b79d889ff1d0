"""Matrix products by cuBLAS: by CuPy's binding, but in a graph capture, which CuPy refuses, by `ctypes`.

CuPy's `matmul` takes several times the host's time of the binding, copies matrices whose rows are apart, and
rounds products of float16 to float16.
"""

from __future__ import annotations

import ctypes
import functools
from typing import Any

from ... import layout
from ...backend import Array
from .. import graph, precision
from .launch import SUMS, TO_LAST, check_device, name_of, on_device, pixels

WORKSPACE = 32 << 20  # bytes
TYPES = {"float32": 0, "float64": 1, "float16": 2, "bfloat16": 14}  # cudaDataType
COMPUTE = {"float32": 68, "float64": 70}  # cublasComputeType, by the dtype of sums
COMPUTE_TF32 = 77
FAST = {2: 69, 3: 74, 6: 75, 7: COMPUTE_TF32}  # CuPy's settings for float32 beside its default
SCALARS = {
    name: (kind(1), kind(0)) for name, kind in (("float32", ctypes.c_float), ("float64", ctypes.c_double))
}
ADDRESSES = {name: tuple(ctypes.addressof(number) for number in pair) for name, pair in SCALARS.items()}
POINTER, INT = ctypes.c_void_p, ctypes.c_int
ALL = slice(None)


def matmul(xp: Any, a: Array, b: Array) -> Array:
    """`a @ b` of two matrices."""
    if a.dtype != b.dtype:
        return a @ b
    return multiply(xp, a, b, xp.ndarray((a.shape[0], b.shape[1]), a.dtype))


def group_matmul(xp: Any, a: Array, b: Array, out: Array | None = None) -> Array:
    """`a[g] @ b[g]` for every group, into `out` if given."""
    y = xp.ndarray((a.shape[0], a.shape[1], b.shape[2]), a.dtype) if out is None else out
    return multiply(xp, a, b, y)


def pixel_matrix(xp: Any, images: Array, rows: slice, groups: int, flip: bool = False) -> Array:
    """As `layout.pixel_matrix`; with `flip`, the transposed matrices `(G, K/G, pixels)`."""
    if groups == 1 and rows in (ALL, slice(0, images.shape[0])):
        return _dense_matrix(xp, images, images.shape[1], flip)
    matrix = layout.pixel_matrix(xp, images, rows, groups)
    return xp.swapaxes(matrix, 1, 2) if flip else matrix


def weight_matrix(xp: Any, weight: Array, groups: int, flip: bool = False) -> Array:
    """As `layout.weight_matrix`; with `flip`, the transposed matrices `(G, taps*C/G, K/G)`."""
    if groups == 1:
        return _dense_matrix(xp, weight, weight.size // max(1, weight.shape[0]), flip)
    matrix = layout.weight_matrix(xp, weight, groups)
    return xp.swapaxes(matrix, 1, 2) if flip else matrix


def _dense_matrix(xp: Any, x: Array, columns: int, flip: bool) -> Array:
    """A view `(1, rows, columns)` of `x (N, C, *S)`, or of a copy if its memory is not channels-last."""
    x = pixels(xp, x)
    rows, along = x.size // max(1, columns), x.itemsize
    if not on_device(xp) or not x.size:
        matrix = x.transpose(TO_LAST[x.ndim]).reshape(1, rows, columns)
        return matrix.transpose(0, 2, 1) if flip else matrix
    down = columns * along
    if flip:
        return xp.ndarray((1, columns, rows), x.dtype, x.data, (x.nbytes, along, down))
    return xp.ndarray((1, rows, columns), x.dtype, x.data, (x.nbytes, down, along))


def multiply(xp: Any, a: Array, b: Array, y: Array) -> Array:
    """`y = a @ b` of matrices or stacks; `y` may have the dtype of sums, so that they are not rounded."""
    if not y.size:
        return y
    if not a.shape[-1]:
        y[...] = 0
        return y
    capture, name = graph.recording.get(), name_of(a.dtype)
    precision.pass_to_cupy(xp)
    known = name in TYPES and b.dtype == a.dtype and name_of(y.dtype) in (name, SUMS[name])
    if capture is not None:
        _each(capture.products.multiply, a, b, y)
    elif known and getattr(xp, "__name__", "") == "cupy":
        _by_binding(xp, a, b, y)
    else:
        wide = y.dtype != a.dtype
        y[...] = xp.matmul(a.astype(y.dtype), b.astype(y.dtype)) if wide else xp.matmul(a, b)
    return y


def _each(function: Any, a: Array, b: Array, y: Array) -> None:
    """Call `function` for matrices, or for each of stacks."""
    if y.ndim == 2:
        function(a, b, y)
        return
    for g in range(y.shape[0]):
        function(a[g], b[g], y[g])


def _by_binding(xp: Any, a: Array, b: Array, y: Array) -> None:
    """`y = a @ b`, computed as `yᵀ = bᵀ aᵀ`, since cuBLAS is column-major."""
    handle, gemm, strided = _binding(xp)
    check_device(xp, "a matrix product", a, b, y)
    z, flip_z, lead_z = _operand(xp, y)
    if flip_z:  # the output is column-major itself
        swap = (0, 2, 1) if y.ndim == 3 else (1, 0)
        _by_binding(xp, b.transpose(swap), a.transpose(swap), y.transpose(swap))
        return
    a, flip_a, lead_a = _operand(xp, a)
    b, flip_b, lead_b = _operand(xp, b)
    name, target = name_of(a.dtype), TYPES[name_of(y.dtype)]
    sums = SUMS[name]
    kind, compute, (one, zero) = TYPES[name], COMPUTE[sums], ADDRESSES[sums]
    if name == "float32":
        compute = FAST.get(xp._core.get_compute_type("f"), compute)
    *stack, m, n = y.shape
    if stack and stack[0] > 1:
        steps = [x.strides[0] // x.itemsize for x in (b, a, z)]
        strided(
            handle(), flip_b, flip_a, n, m, a.shape[-1], one, b.data.ptr, kind, lead_b, steps[0], a.data.ptr,
            kind, lead_a, steps[1], zero, z.data.ptr, target, lead_z, steps[2], stack[0], compute, -1,
        )  # fmt: skip
    else:
        gemm(
            handle(), flip_b, flip_a, n, m, a.shape[-1], one, b.data.ptr, kind, lead_b, a.data.ptr, kind,
            lead_a, zero, z.data.ptr, target, lead_z, compute, -1,
        )  # fmt: skip
    if z is not y:
        y[...] = z


@functools.cache
def _binding(xp: Any) -> tuple[Any, Any, Any]:
    """CuPy's functions: the current device's handle of cuBLAS, its product, and that of stacks."""
    cublas = xp.cuda.cublas
    return xp.cuda.device.get_cublas_handle, cublas.gemmEx, cublas.gemmStridedBatchedEx


class Products:
    """cuBLAS for one capture, created before it, as a capture must not synchronise.

    Each graph has a handle and a workspace of its own, so that two graphs may run at the same time.
    """

    def __init__(self, xp: Any) -> None:
        self._xp, self._library, self._handle = xp, _library(xp), POINTER()
        self._workspace = xp.ndarray(WORKSPACE, "uint8")
        _check(self._library.cublasCreate_v2(ctypes.byref(self._handle)), "cublasCreate")

    def close(self) -> None:
        """Destroy the handle."""
        _check(self._library.cublasDestroy_v2(self._handle), "cublasDestroy")

    def multiply(self, a: Array, b: Array, y: Array) -> Array:
        """`y = a @ b`, computed as `yᵀ = bᵀ aᵀ`, since cuBLAS is column-major."""
        stream = self._xp.cuda.get_current_stream().ptr
        _check(self._library.cublasSetStream_v2(self._handle, stream), "cublasSetStream")
        workspace = self._workspace.data.ptr  # after the stream, which sets cuBLAS's own
        _check(self._library.cublasSetWorkspace_v2(self._handle, workspace, WORKSPACE), "cublasSetWorkspace")
        name, sums = name_of(a.dtype), SUMS[name_of(a.dtype)]
        kind, compute, (one, zero) = TYPES[name], COMPUTE[sums], ADDRESSES[sums]
        if name == "float32" and precision.tf32_allowed():
            compute = COMPUTE_TF32
        a, flip_a, lead_a = _operand(self._xp, a)
        b, flip_b, lead_b = _operand(self._xp, b)
        z, flip_z, lead_z = _operand(self._xp, y)
        if flip_z:
            z, lead_z = self._xp.ndarray(y.shape, y.dtype), y.shape[1]
        status = self._library.cublasGemmEx(
            self._handle, flip_b, flip_a, y.shape[1], y.shape[0], a.shape[1], one, b.data.ptr, kind, lead_b,
            a.data.ptr, kind, lead_a, zero, z.data.ptr, TYPES[name_of(y.dtype)], lead_z, compute, -1,
        )  # fmt: skip
        _check(status, "cublasGemmEx")
        if z is not y:
            y[...] = z
        return y


def _operand(xp: Any, x: Array) -> tuple[Array, int, int]:
    """A matrix with contiguous rows or columns, 1 if it is the columns, and the step between them.

    It is `x`, if that is so, else a copy.
    """
    rows, columns = x.shape[-2:]
    down, along = x.strides[-2:]
    size = x.itemsize
    if (along == size or columns == 1) and (down >= columns * size or rows == 1):
        return x, 0, columns if rows == 1 else down // size
    if (down == size or rows == 1) and (along >= rows * size or columns == 1):
        return x, 1, rows if columns == 1 else along // size
    return xp.ascontiguousarray(x), 0, columns


@functools.cache
def _library(xp: Any) -> Any:
    """The cuBLAS that CuPy has loaded."""
    name = f"libcublas.so.{xp.cuda.runtime.runtimeGetVersion() // 1000}"
    one = xp.ones((1, 1), dtype="float32")
    xp.matmul(one, one)  # so that CuPy finds and loads it
    try:
        library = ctypes.CDLL(name)
    except OSError as cause:
        raise RuntimeError(
            f"a matrix product in a captured graph needs {name}, which cannot be loaded"
        ) from cause
    library.cublasCreate_v2.argtypes = library.cublasDestroy_v2.argtypes = [POINTER]
    library.cublasSetStream_v2.argtypes = [POINTER, POINTER]
    library.cublasSetWorkspace_v2.argtypes = [POINTER, POINTER, ctypes.c_size_t]
    library.cublasGemmEx.argtypes = [
        POINTER, INT, INT, INT, INT, INT, POINTER, POINTER, INT, INT, POINTER, INT, INT,
        POINTER, POINTER, INT, INT, INT, INT,
    ]  # fmt: skip
    return library


def _check(status: int, what: str) -> None:
    if status:
        raise RuntimeError(f"{what} failed with status {status} of cublasStatus_t")
