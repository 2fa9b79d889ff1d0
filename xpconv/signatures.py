"""Calls with the wrong arguments: errors that name the class that was called, and its parameters."""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import FunctionType
from typing import Any, TypeVar

Kind = TypeVar("Kind", bound=type)


def public_errors(cls: Kind) -> Kind:
    """For `__init_subclass__`: errors of wrong calls of `cls` and its methods name no private base class."""
    for name, function in list(vars(cls).items()):
        ours = str(getattr(function, "__module__", "")).partition(".")[0] == __name__.partition(".")[0]
        if isinstance(function, FunctionType) and ours:
            if name == "backward" and any(hasattr(base, name) for base in cls.__bases__):
                _allow_none(function)
            function.__qualname__ = name  # Python's errors begin with it; without the name of a base class
            overrides = any(name in vars(base) for base in cls.__mro__[1:-1])
            if name == "__init__" or (name == "__call__" and overrides):
                setattr(cls, name, _told(function))
    return cls


def is_call_error(function: Any, error: BaseException) -> bool:
    """Whether Python raised `error` because `function` was called with the wrong arguments."""
    name = getattr(function, "__qualname__", None)
    return isinstance(error, TypeError) and name is not None and str(error).startswith(f"{name}() ")


def call_error(where: str, function: Any, error: BaseException) -> TypeError:
    """The error to raise instead; it begins with `where`, the name of the class or method."""
    from inspect import signature

    parameters = [p for p in signature(function).parameters.values() if p.name != "self"]
    taken = ", ".join(str(p.replace(annotation=p.empty)) for p in parameters)
    text = str(error).partition("() ")[2]
    if text.endswith("given"):  # Python counts `self` too
        text = "too many arguments by position"
    return TypeError(f"{where}: {text}; it takes ({taken})")


def _told(method: FunctionType) -> Callable[..., Any]:
    name = method.__name__

    @functools.wraps(method)
    def told(self: Any, *args: Any, **options: Any) -> Any:
        try:
            return method(self, *args, **options)
        except TypeError as error:
            within = error.__traceback__ is not None and error.__traceback__.tb_next is not None
            if within or not is_call_error(method, error):
                raise
            called = next(kind for kind in type(self).__mro__ if getattr(kind, name) is told)
            raise call_error(called.__name__, method, error) from None

    return told


def _allow_none(backward: FunctionType) -> None:
    """Let `model.backward()` pass None for `grad_output`, so that `recall` raises its own error."""
    defaults = backward.__defaults__ or ()
    if backward.__code__.co_argcount - len(defaults) == 2:
        backward.__defaults__ = (None, *defaults)
