"""Checks of what `forward` returns, of the turn of `backward`, and of its gradient."""

from __future__ import annotations

from numbers import Real
from types import FunctionType
from typing import Any, ClassVar

from .arguments import about, to_bool
from .backend import backend_of, owner_of_type
from .errors import BackendError, BackwardError, DTypeError, ShapeError
from .signatures import is_ours
from .tape import Tape

METHODS = FunctionType, property, classmethod, staticmethod


class TapedChecks:
    """The part of `Taped` that checks what `forward` returns and `backward` gets."""

    _advice: ClassVar[str] = ""  # the hint in the error if `backward` gets the loss, or nothing
    _hooks: Any = None  # of a layer that has some: `layers.hooks.Hooks`
    _to_define: ClassVar[tuple[str, ...]] = ()  # private methods of this class that a user's subclass defines
    _is_users: ClassVar[bool] = False  # whether `forward`, `backward` or `__call__` is a user's
    _after_backward: Any = None  # of a model that processes train together: what averages its gradients

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if is_ours(cls):
            return
        for name, value in vars(cls).items():
            if not name.startswith("_") or name.endswith("_") or not isinstance(value, METHODS):
                continue
            base = next((kind for kind in cls.__mro__[1:] if is_ours(kind) and name in vars(kind)), None)
            if base is not None and name not in vars(base).get("_to_define", ()):
                raise TypeError(
                    f"{cls.__name__} defines {name}, but xpconv's {base.__name__} has a method of this name "
                    "for its own use; choose another name"
                )

    def _check(self, tape: Tape, grad_output: Any, input_grad: Any) -> None:
        """Raise an error if the arguments of `backward` do not fit the output of the latest forward."""
        name, entries = type(self).__name__, tape.entries
        if not entries or entries[-1][0]() is not self:
            raise self._out_of_order(tape)
        own = isinstance(entries[-1][1], int) and len(entries) > 1 and entries[-2][0]() is self
        _, _, shape, dtype, kind = entries[-2 if own else -1]
        if not isinstance(input_grad, bool):
            to_bool(f"{name}.backward: input_grad", input_grad)
        if grad_output is None and tape.unchecked:
            raise BackendError(
                f"{name}.backward: grad_output is None, as the backward of the layer after it returned None; "
                "with input_grad=True it has to return the gradient with respect to its input"
            )
        if shape is not None:
            self._check_grad(grad_output, shape, dtype, kind)

    def _check_grad(self, grad_output: Any, shape: tuple[int, ...], dtype: Any, kind: type) -> None:
        name = type(self).__name__
        if grad_output is None and self._advice:
            raise self._no_gradient()
        try:
            backend = backend_of(grad_output)
        except BackendError as error:
            number = isinstance(grad_output, Real)
            if self._advice and (
                number or callable(grad_output)
            ):  # such as `criterion`, without `.backward()`
                given = "number" if number else type(grad_output).__name__
                raise BackendError(f"{name}.backward: grad_output is a {given}; {self._advice}") from None
            raise BackendError(f"{name}.backward: grad_output: {about('grad_output', error)}") from None
        expected = backend if type(grad_output) is kind else owner_of_type(kind)
        if expected is not None and backend is not expected:
            raise BackendError(
                f"{name}.backward: grad_output is {backend.name} but the output was {expected.name}; "
                f"call xpconv.asarray(grad_output, backend={expected.name!r})"
            )
        if grad_output.shape != shape:
            raise ShapeError(
                f"{name}.backward: grad_output has shape {grad_output.shape}, "
                f"expected {shape}, the shape of the output"
                + (f"; {self._advice}" if self._advice and grad_output.shape == () else "")
            )
        if grad_output.dtype != dtype:
            raise DTypeError(
                f"{name}.backward: grad_output is {grad_output.dtype}, expected {dtype}, the dtype of "
                f"the output; use grad_output.astype('{dtype}')"
            )

    def _unchanged(self, tape: Tape) -> Tape:
        """The tape, if no parameter has changed since its forward; only layers have parameters."""
        return tape

    def _no_gradient(self) -> BackendError:
        return BackendError(f"{type(self).__name__}.backward: grad_output is missing or None; {self._advice}")

    def _out_of_order(self, tape: Tape) -> BackwardError:
        name = type(self).__name__
        last = ""
        if tape.entries:
            layer = tape.entries[-1][0]()
            last = f"; the latest forward without a backward is that of {_brief(layer)}"
            if layer is None:  # tapes have weak references
                last = (
                    "; the latest forward without a backward is that of a layer that no longer exists, as "
                    "one that is made within forward: make layers once, in __init__, and call the same ones "
                    "in forward and backward"
                )
        hint = "; its forward must end with `return self.keep(y, …)`" if self._is_users else ""
        return BackwardError(
            f"{name}.backward: there is no forward of {_brief(self)} for this backward"
            f"{last}{hint}; backward calls the layers in the reverse order of their "
            "forwards"
        )

    def _returned_none(self) -> TypeError:
        return TypeError(
            f"{type(self).__name__}.forward returned None, expected the output: end it with "
            "`return self.keep(y, …)`"
        )

    def _outputs_of(self, y: Any) -> tuple[Any, Any, type]:
        """Shape, dtype and type of an output that is not an array; an error for all layers but `Graph`."""
        raise self._kept_no_array(y) from None

    def _kept_no_array(self, y: Any) -> TypeError:
        name, kind = type(self).__name__, type(y).__name__
        if not self._is_users:
            return TypeError(
                f"{name}.forward: the output is a {kind}, expected one array, as backward needs; call "
                "a layer of several outputs by itself, or within `with xpconv.no_grad():`"
            )
        several = "; of several outputs give it the one whose gradient backward gets: "
        return TypeError(
            f"{name}: self.keep got {kind}, expected the output, an array, and after it what backward needs: "
            "return self.keep(y, …)"
            + (f"{several}y = self.keep(y, …), then return y, other" if isinstance(y, tuple | list) else "")
        )

    def _explain_backward(self, error: BaseException, grad_output: Any) -> None:
        """Raise an error that says more than one from `backward`."""


def _brief(layer: Any) -> str:
    """`layer` as text of one line."""
    text = repr(layer)
    return text if "\n" not in text else type(layer).__name__
