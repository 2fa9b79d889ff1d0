"""Matrix products by CuPy; in a graph capture, where CuPy refuses them, by cuBLAS through `ctypes`."""

from __future__ import annotations

import ctypes
import functools
from typing import Any

from ...backend import Array
from .. import graph, precision
from .launch import SUMS

WORKSPACE = 32 << 20  # bytes
TYPES = {"float32": 0, "float64": 1, "float16": 2, "bfloat16": 14}  # cudaDataType
COMPUTE = {
    "float32": (68, ctypes.c_float),
    "float64": (70, ctypes.c_double),
}  # cublasComputeType, its scalars
COMPUTE_TF32 = 77
POINTER, INT = ctypes.c_void_p, ctypes.c_int


def matmul(xp: Any, a: Array, b: Array) -> Array:
    """`a @ b` of two matrices."""
    capture = graph.recording.get()
    if capture is not None:
        return capture.products.multiply(a, b, xp.empty((a.shape[0], b.shape[1]), dtype=a.dtype))
    precision.pass_to_cupy(xp)
    return a @ b


def group_matmul(xp: Any, a: Array, b: Array, out: Array | None = None) -> Array:
    """`a[g] @ b[g]` for every group, into `out` if given; one by one if CuPy has no stacked product."""
    precision.pass_to_cupy(xp)
    capture = graph.recording.get()
    if out is None or not out.flags.c_contiguous:
        y = xp.empty((a.shape[0], a.shape[1], b.shape[2]), dtype=a.dtype)
    else:
        y = out
    if capture is not None:
        for g in range(a.shape[0]):
            capture.products.multiply(a[g], b[g], y[g])
    elif a.shape[0] == 1 or a.dtype.itemsize == 2:
        for g in range(a.shape[0]):
            xp.matmul(a[g], b[g], out=y[g])
    else:
        xp.matmul(a, b, out=y)
    if out is None or y is out:
        return y
    out[...] = y
    return out


class Products:
    """cuBLAS for one capture, created before it, as a capture must not synchronise.

    Each graph has a handle and a workspace of its own, so that two graphs may run at the same time.
    """

    def __init__(self, xp: Any) -> None:
        self._xp, self._library, self._handle = xp, _library(xp), POINTER()
        self._workspace = xp.empty(WORKSPACE, dtype="uint8")
        _check(self._library.cublasCreate_v2(ctypes.byref(self._handle)), "cublasCreate")

    def close(self) -> None:
        """Destroy the handle."""
        _check(self._library.cublasDestroy_v2(self._handle), "cublasDestroy")

    def multiply(self, a: Array, b: Array, y: Array) -> Array:
        """`y = a @ b`, computed as `yᵀ = bᵀ aᵀ`, since cuBLAS is column-major."""
        if not y.size or not a.shape[1]:
            y[...] = 0
            return y
        stream = self._xp.cuda.get_current_stream().ptr
        _check(self._library.cublasSetStream_v2(self._handle, stream), "cublasSetStream")
        workspace = self._workspace.data.ptr  # after the stream, which sets cuBLAS's own
        _check(self._library.cublasSetWorkspace_v2(self._handle, workspace, WORKSPACE), "cublasSetWorkspace")
        compute, scalar = COMPUTE[SUMS[str(a.dtype)]]
        if str(a.dtype) == "float32" and precision.tf32_allowed():
            compute = COMPUTE_TF32
        one, zero, kind = scalar(1), scalar(0), TYPES[str(a.dtype)]
        a, flip_a, lead_a = _operand(self._xp, a)
        b, flip_b, lead_b = _operand(self._xp, b)
        status = self._library.cublasGemmEx(
            self._handle, flip_b, flip_a, y.shape[1], y.shape[0], a.shape[1], ctypes.byref(one),
            b.data.ptr, kind, lead_b, a.data.ptr, kind, lead_a, ctypes.byref(zero), y.data.ptr, kind,
            y.shape[1], compute, -1,
        )  # fmt: skip
        _check(status, "cublasGemmEx")
        return y


def _operand(xp: Any, x: Array) -> tuple[Array, int, int]:
    """A matrix with contiguous rows or columns, 1 if it is the columns, and the step between them."""
    if not x.flags.c_contiguous and x.T.flags.c_contiguous:
        return x, 1, x.shape[0]
    x = xp.ascontiguousarray(x)
    return x, 0, x.shape[1]


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
