"""What tests of `xpconv.functional` share: random arrays, the adjoint test, and PyTorch's values."""

import numpy as np

import xpconv

TOLERANCE = {"float64": 1e-12, "complex128": 1e-12, "float32": 1e-5, "complex64": 1e-5, "float16": 5e-3}


def draw(rng, shape, dtype="float64"):
    """Normally distributed values, on the active backend."""
    values = rng.standard_normal(shape)
    if np.dtype(dtype).kind == "c":
        values = values + 1j * rng.standard_normal(shape)
    return xpconv.asarray(np.asarray(values).astype(dtype))


def inner(a, b):
    """`⟨a, b⟩ = Σ conj(a)·b`, in double precision."""
    return np.vdot(xpconv.asnumpy(a), xpconv.asnumpy(b))


def assert_adjoint(apply, adjoint, x, y):
    """`⟨apply(x), y⟩ = ⟨x, adjoint(y)⟩`, to 1e-12 of the sizes of the vectors."""
    ax, ay = apply(x), adjoint(y)
    assert ax.shape == y.shape
    assert ay.shape == x.shape
    assert ax.dtype == ay.dtype == x.dtype
    size = np.linalg.norm(xpconv.asnumpy(ax)) * np.linalg.norm(xpconv.asnumpy(y))
    assert abs(inner(ax, y) - inner(x, ay)) <= TOLERANCE[str(x.dtype)] * max(size, 1e-300)


def assert_close(ours, theirs):
    """Shape, dtype and values, to rounding errors of the largest value."""
    ours = xpconv.asnumpy(ours)
    assert ours.shape == theirs.shape
    assert ours.dtype == theirs.dtype
    scale = np.abs(theirs).max(initial=0.0)
    limit = 20 * TOLERANCE[str(theirs.dtype)] if theirs.dtype.itemsize > 4 else TOLERANCE[str(theirs.dtype)]
    assert np.abs(ours - theirs).max(initial=0.0) <= limit * max(scale, 1e-30)
