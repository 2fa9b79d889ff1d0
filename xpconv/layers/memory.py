"""What a forward keeps for its backward, and `no_grad`, under which it keeps nothing."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import count
from typing import Any, NamedTuple

from ..backend import Array, backend_of
from ..errors import BackendError, BackwardError, DTypeError, ShapeError

_keeping: ContextVar[bool] = ContextVar("xpconv_keeping", default=True)
_calls: ContextVar[dict[int, Any] | None] = ContextVar("xpconv_calls", default=None)
_serial = count()  # orders all forwards, so that a failed one can be undone exactly

MANY_PENDING = 32


@contextmanager
def no_grad() -> Iterator[None]:
    """Within this block a forward keeps nothing for a backward.

    Independent of `train()` and `eval()`, as in PyTorch.

    Example:
        >>> import numpy as np, xpconv
        >>> model = xpconv.Dense(2, 1, rng=0)
        >>> with xpconv.no_grad():
        ...     y = model(np.zeros((3, 2), "float32"))
        >>> y.shape
        (3, 1)
    """
    token = _keeping.set(False)
    try:
        yield
    finally:
        _keeping.reset(token)


@contextmanager
def calls() -> Iterator[dict[int, Any]]:
    """The layers that are called within this block, each once, by its id."""
    found: dict[int, Any] = {}
    token = _calls.set(found)
    try:
        yield found
    finally:
        _calls.reset(token)


def called(layer: Any) -> None:
    """Tell `calls`."""
    found = _calls.get()
    if found is not None:
        found[id(layer)] = layer


def keeping() -> bool:
    """Whether forwards keep what backward needs: outside `no_grad`."""
    return _keeping.get()


class _Kept(NamedTuple):
    serial: int
    shape: tuple[int, ...]
    dtype: Any
    backend: str
    saved: tuple[Any, ...]


class Memory:
    """Base of layers and losses: a stack of what each forward kept, last in, first out.

    So one layer may stand twice in a model, and memory goes as backward runs.
    """

    def keep(self, y: Array, *saved: Any) -> Array:
        """Remember `saved` for the backward of this output, and return `y`; call it last in `forward`."""
        if _keeping.get():
            stack = self._stack()
            stack.append(_Kept(next(_serial), y.shape, y.dtype, backend_of(y).name, saved))
            if len(stack) == MANY_PENDING:
                warnings.warn(
                    f"{type(self).__name__}: {MANY_PENDING} forwards wait for their backward and hold "
                    "memory; wrap inference in `with xpconv.no_grad():`, or call forget()",
                    RuntimeWarning,
                    stacklevel=2,
                )
        return y

    def recall(self, grad_output: Array) -> tuple[Any, ...]:
        """What the latest forward kept; call it first in `backward`.

        Raises:
            BackwardError: no forward is left to go back through.
            ShapeError, DTypeError, BackendError: `grad_output` does not fit that forward's output;
                nothing is lost, and backward may be called again with the right one.
        """
        name = type(self).__name__
        kept = self._latest()
        try:
            backend = backend_of(grad_output).name
        except BackendError as error:
            raise BackendError(f"{name}.backward: grad_output: {error}") from None
        if backend != kept.backend:
            raise BackendError(
                f"{name}.backward: grad_output is {backend} but the output was {kept.backend}; "
                f"call xpconv.asarray(grad_output, backend={kept.backend!r})"
            )
        if grad_output.shape != kept.shape:
            raise ShapeError(
                f"{name}.backward: grad_output has shape {grad_output.shape}, "
                f"expected {kept.shape}, the shape of the output"
            )
        if grad_output.dtype != kept.dtype:
            raise DTypeError(
                f"{name}.backward: grad_output is {grad_output.dtype}, expected {kept.dtype}, the dtype of "
                f"the output; use grad_output.astype('{kept.dtype}')"
            )
        return self._stack().pop().saved

    def _latest(self) -> _Kept:
        stack = self._stack()
        if not stack:
            raise BackwardError(
                f"{type(self).__name__}.backward: no forward to go back through; each backward takes one "
                "forward, made outside no_grad()"
            )
        return stack[-1]

    def forget(self) -> None:
        """Drop all that forwards have kept and no backward has used.

        Example:
            >>> import numpy as np, xpconv
            >>> layer = xpconv.ReLU()
            >>> _ = layer(np.ones(3, "float32"))
            >>> layer.forget()
        """
        self._forget_since(-1)

    def __getstate__(self) -> dict[str, Any]:
        """What copies and files hold: everything but pending forwards."""
        return {name: value for name, value in vars(self).items() if name != "_kept"}

    def _forget_since(self, serial: int) -> None:
        stack = self._stack()
        while stack and stack[-1].serial > serial:
            stack.pop()

    def _stack(self) -> list[_Kept]:
        stack: list[_Kept] = self.__dict__.setdefault("_kept", [])
        return stack


def next_serial() -> int:
    """A mark in time: what is kept after it has a larger serial."""
    return next(_serial)
