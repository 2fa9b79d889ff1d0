"""Checks of the arguments of all functions: arrays of one backend and one dtype; errors of wrong calls."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Mapping
from inspect import Parameter as Argument
from inspect import signature
from typing import Any, ParamSpec, TypeVar

from ..arguments import is_sequence, shown, to_size
from ..backend import LAYER_HINTS, Array, ignoring_underflow, plain
from ..checks import not_floating, owner_of
from ..dtypes import is_floating
from ..errors import BackendError, DTypeError, ShapeError
from ..parameter import Parameter
from ..signatures import hinted

P = ParamSpec("P")
R = TypeVar("R")

FLOATING = ("floating point",)
LINEAR = ("floating point", "complex")
EXACT = ("floating point", "complex", "integer")
MOVED = ("floating point", "complex", "integer", "boolean")  # for functions that only move values


def public(function: Callable[P, R]) -> Callable[P, R]:
    """Decorate a public function: errors list its parameters and name it, and underflow is ignored."""
    found: Callable[P, R] = ignoring_underflow(
        _without_layers(hinted(f"functional.{function.__name__}", {})(function))
    )
    return found


def _without_layers(function: Callable[P, R]) -> Callable[P, R]:
    """`function`, whose errors list its parameters instead of hints about layers, and name it."""

    @functools.wraps(function)
    def call(*args: P.args, **options: P.kwargs) -> R:
        try:
            return function(*args, **options)
        except MemoryError as error:
            name = f"functional.{function.__name__}"
            raise MemoryError(f"{name}: {str(error) or 'out of memory'}; give smaller arrays") from None
        except BackendError as error:
            message = str(error)
            hint = next((hint for hint in LAYER_HINTS if message.endswith(hint)), "")
            if not hint:
                raise
            expected = signature(function)
            arguments = [a.replace(annotation=Argument.empty) for a in expected.parameters.values()]
            expected = expected.replace(parameters=arguments, return_annotation=Argument.empty)
            raise BackendError(f"{message.removesuffix(hint)}it takes {expected}") from None

    return call


def enter(
    where: str,
    arrays: Mapping[str, Array],
    optional: Mapping[str, Array | None] | None = None,
    kinds: tuple[str, ...] = FLOATING,
) -> tuple[Any, ...]:
    """Check arrays; return the array module that owns them, and the arrays. The `optional` ones may be None.

    Args:
        where: the name of the function in errors, such as `functional.conv2d`.
        arrays, optional: the arrays by the names of their arguments; of a `Parameter`, its array is returned.
        kinds: the kinds of dtypes that the function accepts.

    Raises:
        BackendError: (a TypeError) an argument is not an array, or the arrays are of several backends.
        DTypeError: (a TypeError) the arrays have a dtype of another kind, or several dtypes.
    """
    owner, first = None, ""
    found: list[Any] = []
    for name, value in {**arrays, **(optional or {})}.items():
        if value is None and name not in arrays:
            found.append(None)
            continue
        array = plain(value.data if isinstance(value, Parameter) else value)
        home = owner_of(where, array, name)
        if owner is None:
            owner, first = home, name
            check_kind(where, array, name, kinds)
        elif home is not owner:
            raise BackendError(
                f"{where}: {first} is {owner.name} but {name} is {home.name}; use "
                f"xpconv.asarray({name}, backend={owner.name!r})"
            )
        elif array.dtype != found[0].dtype:
            if array.dtype.kind == "c":
                check_kind(where, array, name, kinds)
            raise DTypeError(
                f"{where}: {first} is {found[0].dtype} but {name} is {array.dtype}; use "
                + _common_dtype(owner.xp, {first: found[0].dtype, name: array.dtype})
            )
        found.append(array)
    if owner is None:
        raise TypeError(f"{where}: got no array")
    return owner.xp, *found


def _common_dtype(xp: Any, given: dict[str, Any]) -> str:
    """The conversions of arrays of these two dtypes to one dtype, without a loss of digits or parts."""
    inexact = [dtype for dtype in given.values() if dtype.kind == "c" or is_floating(dtype)]
    common = xp.result_type(*(inexact or given.values()))
    return " and ".join(f"{name}.astype('{common}')" for name, dtype in given.items() if dtype != common)


def check_kind(where: str, x: Array, argument: str, kinds: tuple[str, ...]) -> None:
    """Raise a DTypeError unless the dtype of `x` is of one of `kinds`."""
    kind = {"c": "complex", "i": "integer", "u": "integer", "b": "boolean"}.get(x.dtype.kind, "")
    kind = "floating point" if is_floating(x.dtype) else kind
    if kind not in kinds:
        raise not_floating(
            where, x, argument, " or ".join([", ".join(kinds[:-1]), kinds[-1]][len(kinds) < 2 :])
        )


def to_shape(
    where: str, argument: str, value: object, ranks: Collection[int], form: str, minimum: int = 0
) -> tuple[int, ...]:
    """Check a given shape; return it as a tuple of ints. `form` describes the expected shape in errors.

    All axes except a batch axis must be at least `minimum` long.
    """
    if not is_sequence(value):
        fix = "; give its .shape" if hasattr(value, "shape") else ""
        raise TypeError(f"{where}: {argument} is {shown(value)}, expected a shape {form}{fix}")
    sizes = tuple(value)
    if len(sizes) not in ranks:
        raise ShapeError(f"{where}: {argument} is {shown(sizes)}, expected {form}")
    least = [minimum] * len(sizes)
    least[: len(sizes) == max(ranks)] = [0] * (len(sizes) == max(ranks))
    return tuple(to_size(f"{where}: {argument}", n, m) for n, m in zip(sizes, least, strict=True))


def check_shape(where: str, argument: str, x: Array, expected: tuple[int, ...], why: str) -> None:
    """Raise a ShapeError if `x` has another shape; `why` says what determines the expected one."""
    if x.shape != expected:
        raise ShapeError(f"{where}: {argument} has shape {x.shape}, expected {expected} ({why})")
