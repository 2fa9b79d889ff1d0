"""Which floating-point errors NumPy reports: where a result is infinite, or while a plan is recorded."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np


def ignore_overflow(xp: Any) -> AbstractContextManager[Any]:
    """A context in which results too large for their dtype are infinite, whatever `numpy.seterr` is set to.

    For casts where that infinity is right. Only NumPy reports overflow.
    """
    return np.errstate(over="ignore") if xp is np else nullcontext()


class Unheard:
    """Takes NumPy's reports of floating-point errors while a plan is recorded, and only counts them."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, *report: Any) -> None:
        self.count += 1

    write = __call__  # which NumPy calls for errors whose mode is "log"


def ignoring_float_warnings(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` without NumPy's warnings of infinity and NaN; the other modes of `numpy.seterr` apply."""

    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        modes = np.geterr()
        warned: dict[str, Any] = {name: "ignore" for name, mode in modes.items() if mode == "warn"}
        if not warned and "log" in modes.values() and isinstance(np.geterrcall(), Unheard):
            warned = {name: "ignore" for name, mode in modes.items() if mode == "log"}  # for "warn"
        if not warned:
            return function(*args, **kwargs)
        with np.errstate(**warned):
            return function(*args, **kwargs)

    return wrapped
