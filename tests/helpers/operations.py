"""All overridable operations: as the library runs them, and their references."""

from functools import partial
from types import SimpleNamespace

import numpy as np

import xpconv
from xpconv import kernels


class Plain:
    """An array module for which nothing is overridden."""

    def __init__(self, xp):
        self.__name__, self._xp = f"{xp.__name__} without overrides", xp

    def __getattr__(self, name):
        if name == "RawModule":
            raise AttributeError(name)
        return getattr(self._xp, name)


def _run_reference(operation, xp, *args, **options):
    return operation(Plain(xp), *args, **options)


ours = SimpleNamespace(**kernels.operations)
reference = SimpleNamespace(**{name: partial(_run_reference, f) for name, f in kernels.operations.items()})

TOLERANCE = {"float16": 2e-3, "float32": 1e-5, "float64": 1e-11}


def same(found, expected, tolerance=None):
    """Value, dtype and shape of arrays, of any backend, or tuples of them; `tolerance` of the largest value."""
    if isinstance(expected, tuple):
        for a, b in zip(found, expected, strict=True):
            same(a, b, tolerance)
        return
    if expected is None:
        assert found is None
        return
    assert type(found) is type(expected)
    found, expected = xpconv.asnumpy(found), xpconv.asnumpy(expected)
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype
    if expected.dtype.kind != "f":
        np.testing.assert_array_equal(found, expected)
        return
    scale = np.abs(np.where(np.isfinite(expected), expected, 0)).max(initial=0.0)
    tolerance = TOLERANCE[str(expected.dtype)] if tolerance is None else tolerance
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * scale)
