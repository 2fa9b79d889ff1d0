"""Errors of calls with the wrong arguments: they name the class that was called, and its parameters.

Python begins such an error with the qualified name of the function, as in `_Pool.__init__() got an
unexpected keyword argument 'kernel'`, where the user called `MaxPool2d`. Therefore the class is removed from
the qualified names of this package's methods when a class is made, which costs nothing in a call, and errors
of constructors are replaced by errors that name the class that was called.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping
from types import FunctionType
from typing import Any, ParamSpec, TypeVar

Kind = TypeVar("Kind", bound=type)
P = ParamSpec("P")
R = TypeVar("R")
POSITIONAL = "*"  # the key of the hint for too many arguments by position
_without_names: set[type] = set()  # classes of this package whose methods' qualified names are changed


def is_ours(thing: Any) -> bool:
    """Whether the function or class is this package's, and not a user's."""
    return _in_package(str(getattr(thing, "__module__", "")))


@functools.lru_cache(maxsize=1024)
def _in_package(module: str) -> bool:
    return module.partition(".")[0] == __name__.partition(".")[0]


def public_errors(cls: Kind) -> Kind:
    """Let errors of wrong calls of `cls` and its methods name no private class; for `__init_subclass__`.

    Only methods of this package are changed, its base classes' included, not those of users' subclasses.
    A class may have hints for wrong names of the constructor's arguments in `elsewhere`, as for `hinted`.
    """
    for kind in cls.__mro__:
        if kind not in _without_names and is_ours(kind):
            _without_names.add(kind)
            for name, function in vars(kind).items():
                if isinstance(function, FunctionType) and is_ours(function):
                    function.__qualname__ = name
    for name in ("__init__", "__call__", "backward"):
        function = vars(cls).get(name)
        if not isinstance(function, FunctionType) or not is_ours(function):
            continue
        if name == "backward" and any(hasattr(base, name) for base in cls.__bases__):
            _allow_none(function)
        if name == "__init__" or (name == "__call__" and any(name in vars(b) for b in cls.__mro__[1:-1])):
            setattr(cls, name, _named_in_errors(function))
    return cls


def is_call_error(function: Any, error: BaseException) -> bool:
    """Whether Python raised `error` because `function` was called with the wrong arguments."""
    name = getattr(function, "__qualname__", None)
    return isinstance(error, TypeError) and name is not None and str(error).startswith(f"{name}() ")


def hinted(where: str, hints: Mapping[str, str]) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Let errors of wrong calls of a function, called `where`, list its parameters.

    `hints` has names that other libraries give to parameters, and what to use here instead; under `"*"` what
    to do instead of giving more arguments by position.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def call(*args: P.args, **options: P.kwargs) -> R:
            try:
                return function(*args, **options)
            except TypeError as error:
                inside = error.__traceback__ is not None and error.__traceback__.tb_next is not None
                if inside or not is_call_error(function, error):
                    raise
                raise call_error(where, function, error, hints) from None

        return call

    return decorate


def call_error(
    where: str, function: Any, error: BaseException, hints: Mapping[str, str] | None = None
) -> TypeError:
    """The error to raise instead; it begins with `where`, the name of the class or method."""
    from inspect import signature

    found = signature(function)
    parameters = [p.replace(annotation=p.empty) for p in found.parameters.values() if p.name != "self"]
    expected = found.replace(parameters=parameters, return_annotation=found.empty)
    problem = str(error).partition("() ")[2] or str(error)  # `Signature.bind` names no function
    if problem.endswith("given"):  # Python counts `self` too
        problem = "too many arguments by position"
    name = re.search(r"argument '(\w+)'", problem)
    many = POSITIONAL if problem.endswith("by position") else ""
    hint = (hints or {}).get(name[1] if name else many)
    return TypeError(f"{where}: {problem}; {f'{hint}; ' if hint else ''}it takes {expected}")


def _named_in_errors(method: FunctionType) -> Callable[..., Any]:
    """`method`, whose call errors name the class through which it was called."""

    @functools.wraps(method)
    def call(self: Any, *args: Any, **options: Any) -> Any:
        try:
            return method(self, *args, **options)
        except TypeError as error:
            inside = error.__traceback__ is not None and error.__traceback__.tb_next is not None
            if inside or not is_call_error(method, error):
                raise
            called = next(kind for kind in type(self).__mro__ if getattr(kind, method.__name__) is call)
            hints = getattr(called, "elsewhere", None)
            raise call_error(called.__name__, method, error, hints) from None

    return call


def _allow_none(backward: FunctionType) -> None:
    """Let `model.backward()` pass None for `grad_output`: `recall` raises a better error than Python."""
    defaults = backward.__defaults__ or ()
    if backward.__code__.co_argcount - len(defaults) == 2:
        backward.__defaults__ = (None, *defaults)
