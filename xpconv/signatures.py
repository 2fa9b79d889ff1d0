"""Calls with the wrong arguments: errors that name the class that was called, and what it takes."""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import FunctionType
from typing import Any, TypeVar

Kind = TypeVar("Kind", bound=type)


def public_errors(cls: Kind) -> Kind:
    """For `__init_subclass__`: where `cls` or a method is called wrongly, no error names a private base."""
    for name, function in list(vars(cls).items()):
        if not isinstance(function, FunctionType):
            continue
        if name == "backward" and any(hasattr(base, name) for base in cls.__bases__):
            _allow_none(function)
        if str(function.__module__).partition(".")[0] == __name__.partition(".")[0]:
            function.__qualname__ = name  # Python's errors begin with it, and a base's name says nothing
            overrides = any(name in vars(base) for base in cls.__mro__[1:-1])
            if name == "__init__" or (name == "__call__" and overrides):
                setattr(cls, name, _told(function))
    return cls


def is_call_error(function: Any, error: BaseException) -> bool:
    """Whether Python raised `error` as `function` was called with the wrong arguments."""
    name = getattr(function, "__qualname__", None)
    return isinstance(error, TypeError) and name is not None and str(error).startswith(f"{name}() ")


def call_error(where: str, function: Any, error: BaseException) -> TypeError:
    """What to raise in the place of that error; `where` names what was called."""
    from inspect import signature

    parameters = [p for p in signature(function).parameters.values() if p.name != "self"]
    taken = ", ".join(str(p.replace(annotation=p.empty)) for p in parameters)
    text = str(error).partition("() ")[2]
    if text.endswith("given"):  # that count has `self` in it
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
    """`model.backward()` calls it with None for `grad_output`, of which `recall` says what it should be."""
    defaults = backward.__defaults__ or ()
    if backward.__code__.co_argcount - len(defaults) == 2:
        backward.__defaults__ = (None, *defaults)
