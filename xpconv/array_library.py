"""`register_backend`: what another array library must have, in one list, and the check of it.

The module has NumPy's functions under NumPy's names and with NumPy's parameters (`axis`, `keepdims`, `out`,
which may be the second operand, and `dtype`, which is given by name). Its arrays have NumPy's methods and
operators and are written to in place (`x[...] = y`, `x += y`), and slices of them are views. dtypes are
NumPy's: `x.dtype == "float32"` and `x.dtype.itemsize` work. Arrays can be pickled and deep-copied, by
`copyreg` where their class cannot do so by itself.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

from .backend import Array, Backend, add_backend, with_defaults

__all__ = ["register_backend"]


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


# Of the module. Layers for graphs from ONNX also use the functions that they are named after.
FUNCTIONS = _words(
    """
    abs add arange argsort array asarray ascontiguousarray broadcast_to clip concatenate copysign
    count_nonzero cumsum divide dtype empty empty_like exp expand_dims expm1 finfo floor full
    full_like iinfo inf isfinite isnan linalg.norm log log1p logical_or matmul maximum minimum
    moveaxis multiply nan ones ones_like pad result_type rint searchsorted sign sort split sqrt stack
    subtract swapaxes take take_along_axis tanh where zeros zeros_like
    """
)
# Of its arrays, besides the operators.
METHODS = _words(
    """
    T all any argmax argmin astype copy dtype item itemsize max mean min nbytes ndim ravel reshape
    shape size squeeze strides sum swapaxes take transpose
    """
)
# Operators, with their reversed and in-place versions where NumPy has them.
OPERATORS = _words(
    """
    add sub mul truediv floordiv mod pow matmul and or radd rsub rmul rtruediv rpow iadd isub imul
    itruediv iand ior neg abs invert eq ne lt le gt ge getitem setitem len bool int float
    """
)


def missing(module: Any, array: Any) -> list[str]:
    """What the module, and one of its arrays, lack: `module.exp`, `array.sum`, `array.__add__`."""
    functions = [f"module.{name}" for name in ("__name__", *FUNCTIONS) if not _has(module, name)]
    methods = [f"array.{name}" for name in METHODS if not _has(array, name)]
    operators = [f"array.__{n}__" for n in OPERATORS if not hasattr(type(array), f"__{n}__")]
    return functions + methods + operators + ([] if _can_be_copied(array) else ["copy.deepcopy(array)"])


def _can_be_copied(array: Any) -> bool:
    try:
        copy.deepcopy(array)
    except Exception:  # noqa: BLE001  # pickling raises whatever its class does
        return False
    return True


def _has(owner: Any, name: str) -> bool:
    for part in name.split("."):
        if not hasattr(owner, part):
            return False
        owner = getattr(owner, part)
    return True


def register_backend(
    name: str,
    module: ModuleType | Any,
    array_type: type,
    *,
    asarray: Callable[..., Array] | None = None,
    asnumpy: Callable[[Array], np.ndarray] | None = None,
    as_strided: Callable[..., Array] | None = None,
    may_share_memory: Callable[[Array, Array], bool] | None = None,
) -> None:
    """Register another array library under `name`, for `set_backend(name)`, `layer.to(name)` and `get_xp(x)`.

    All layers, losses and optimizers then work on its arrays. What the module and its arrays must have is
    listed in `xpconv/array_library.py` and checked here, with a small array. docs/another-array-library.md
    has dpnp as an example.

    Args:
        name: what users pass to `set_backend`, `use_backend` and `Layer.to`.
        module: a module with NumPy's functions, as CuPy is.
        array_type: the class of its arrays (subclasses are recognised too).
        asarray: `asarray(obj, dtype=None)`, from host data to the module; default `module.asarray`.
        asnumpy: from one of its arrays to a `numpy.ndarray`; default `module.asnumpy`.
        as_strided: `as_strided(x, shape, strides)`, a view, strides in bytes; default
            `module.lib.stride_tricks.as_strided`. Without one, convolutions copy windows tap by tap.
        may_share_memory: `may_share_memory(a, b)`, whether the memory of two arrays overlaps; default
            `module.may_share_memory`. Without one, layers copy what might be changed in place, and optimizers
            do not see that parameters share memory.

    Raises:
        TypeError: the module or its arrays lack something, all of which is named, or arrays that it makes are
            not of `array_type`.
        ValueError: `name` is one of `'numpy'` and `'auto'`.

    Example:
        NumPy itself as another library, whose functions return arrays of a class of their own:

        >>> import numpy as np, xpconv
        >>> class Tagged(np.ndarray): ...
        >>> class Library:
        ...     __name__ = "tagged"
        ...     def __getattr__(self, name):
        ...         found = getattr(np, name)
        ...         if isinstance(found, type) or not callable(found):
        ...             return found
        ...         def call(*arguments, **options):
        ...             value = found(*arguments, **options)
        ...             return value.view(Tagged) if isinstance(value, np.ndarray) else value
        ...         return call
        >>> xpconv.register_backend("tagged", Library(), Tagged, asnumpy=np.array)
        >>> layer = xpconv.Conv2d(3, 8, 3, rng=0).to("tagged")
        >>> type(layer(xpconv.asarray(np.zeros((1, 3, 5, 5), "float32"), backend="tagged"))).__name__
        'Tagged'
    """
    where = "register_backend"
    if not isinstance(name, str) or not name:
        raise TypeError(f"{where}: name is {name!r:.200}, expected a str that is not empty")
    if name in ("auto", "numpy"):
        raise ValueError(f"{where}: name is {name!r}, expected a new one")
    if not isinstance(array_type, type):
        raise TypeError(f"{where}: array_type is {array_type!r:.200}, expected the class of its arrays")
    given = {
        "asarray": asarray, "asnumpy": asnumpy, "as_strided": as_strided, "may_share_memory": may_share_memory
    }  # fmt: skip
    backend = with_defaults(name, module, array_type, **given)
    for function in given:
        found = getattr(backend, function)
        if not callable(found) and (function != "as_strided" or found is not None):
            raise TypeError(f"{where}: {function} is {found!r:.200}, expected a function, here or in module")
    _check_library(where, backend)
    add_backend(backend)


def _check_library(where: str, backend: Backend) -> None:
    """Make an array, copy it back, and compare module and array with the list of what they must have."""
    host = np.array([[0.0, 1.0]], dtype="float32")
    array = backend.asarray(host, dtype=host.dtype)
    lacking = missing(backend.xp, array)
    if lacking:
        raise TypeError(
            f"{where}: backend {backend.name!r} lacks {', '.join(lacking)}; add these, such as in a class "
            "whose __getattr__ returns the others from the module"
        )
    zeros = backend.xp.zeros((1, 2), dtype="float32")
    makers: dict[str, Callable[[], Array]] = {  # in this order
        "an array of asarray": lambda: array,
        "an array of module.zeros": lambda: zeros,
        "the sum of two arrays": lambda: array + zeros,
    }
    for what, make in makers.items():
        value = make()
        if not isinstance(value, backend.array_type):
            kind = f"{type(value).__module__}.{type(value).__qualname__}"
            raise TypeError(
                f"{where}: {what} is a {kind}, expected array_type, {backend.array_type.__qualname__}; "
                "give the class of the module's arrays"
            )
    back = backend.asnumpy(value)
    if type(back) is not np.ndarray or back.shape != host.shape or not (back == host).all():
        raise TypeError(f"{where}: asnumpy gave {back!r:.200}, expected {host!r}, as a numpy.ndarray")
