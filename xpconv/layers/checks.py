"""Checks of a layer's inputs."""

from __future__ import annotations

from typing import Any

from ..backend import Array, Backend, backend_of
from ..checks import as_images, not_floating, owner_of
from ..dtypes import is_floating
from ..errors import BackendError, BackwardError, DTypeError, ShapeError
from ..locks import changes, noting
from ..parameter import Parameter
from ..tape import Tape
from ..taped import Taped


class Checks(Taped):
    """Base of layers, with the checks of inputs that their `forward` begins with."""

    _replaced: tuple[int, str] = (0, "")  # the latest parameter that was set: see `locks.Changes`

    def __delattr__(self, name: str) -> None:
        was_parameter = isinstance(vars(self).get(name), Parameter)
        super().__delattr__(name)
        if was_parameter:
            self._note_replaced(name)

    def _replace(self, name: str, value: Any) -> None:
        """Set an attribute that is or was a parameter."""
        if vars(self).get(name) is not value:
            self._note_replaced(name)
            object.__setattr__(self, name, value)
            self._note_replaced(name)

    def _note_replaced(self, name: str) -> None:
        """Record that a parameter is replaced, so that a backward of an earlier forward is an error."""
        with noting:
            changes.latest += 1
            vars(self)["_replaced"] = changes.latest, name

    def _enter(self, x: Array, *parameters: Parameter | Array | None, or_narrower: bool = False) -> Any:
        """Check that `x` is a floating array on the parameters' backend and of their dtype; return `xp`.

        With `or_narrower`, `x` may be float16 or bfloat16 if the parameters are float32.
        """
        name = type(self).__name__
        owner = owner_of(f"{name}.forward", x)
        for parameter in parameters:
            if parameter is None:
                continue
            data = parameter.data if isinstance(parameter, Parameter) else parameter
            if type(data) is type(x) and data.dtype == x.dtype:
                continue
            try:
                home = backend_of(data)
            except BackendError as error:
                raise BackendError(f"{name}.forward: a parameter or buffer: {error}") from None
            if home is not owner:
                raise BackendError(
                    f"{name}.forward: x is {owner.name} but its parameters are {home.name}; call "
                    f"layer.to({owner.name!r}) or xpconv.asarray(x, backend={home.name!r})"
                )
            if x.dtype == data.dtype or not is_floating(x.dtype):
                continue
            if not (or_narrower and data.dtype == "float32" and x.dtype.itemsize == 2):
                raise DTypeError(
                    f"{name}.forward: x is {x.dtype} but the parameters are {data.dtype}; use "
                    f"x.astype('{data.dtype}') or layer.to(dtype='{x.dtype}')"
                )
        if x.dtype.kind != "f" and not is_floating(x.dtype):
            raise not_floating(f"{name}.forward", x)
        return owner.xp

    def _unchanged(self, tape: Tape) -> Tape:
        """The tape, if no parameter of the layers that ran has changed since its forward.

        Backward reads parameters, so its gradients would belong to neither the old nor the new values.
        """
        for reference, *_ in tape.entries:
            layer = reference()
            if layer is None:
                continue
            replaced, attribute = getattr(layer, "_replaced", (0, ""))  # a loss has none
            changed = [attribute] if replaced > tape.changes else []
            own = list(vars(layer).items())
            changed += [k for k, v in own if isinstance(v, Parameter) and v._changed > tape.changes]
            if changed:
                raise BackwardError(
                    f"{type(self).__name__}.backward: {changed[0]} of {type(layer).__name__} has changed "
                    "since the forward that this backward belongs to, for example by optimizer.step() or "
                    "load_state_dict(); call backward before such a change, or forward again after it"
                )
        return tape

    def _single(self, outputs: list[Any]) -> list[Any]:
        """`outputs`, of layers in this one; an error if one of them is a tuple."""
        if tuple in map(type, outputs):
            raise TypeError(
                f"{type(self).__name__}.forward: a layer in it gives several outputs, expected one array"
            )
        return outputs

    def _enter_images(
        self, x: Array, axes: int, channels: int | None = None, why: str = "", weight: Parameter | None = None
    ) -> tuple[Any, Array, bool]:
        """`_enter` and `_images`: return `xp`, batched images, and whether `x` was batched.

        One error for both.
        """
        try:
            xp = self._enter(x, weight)
        except DTypeError as error:
            try:
                self._images(x, axes, channels, why)
            except ShapeError as other:
                text = str(other).removeprefix(f"{type(self).__name__}.forward: ")
                raise DTypeError(f"{error}; besides, {text}") from None
            raise
        return xp, *as_images(f"{type(self).__name__}.forward", x, axes, channels, why)

    def _owner(self, x: Array, argument: str = "x") -> Backend:
        """Check that `x` is an array, and return its backend."""
        return owner_of(f"{type(self).__name__}.forward", x, argument)

    def _images(self, x: Array, axes: int, channels: int | None = None, why: str = "") -> tuple[Array, bool]:
        """Check rank and channels of images; return them as a batch, and whether `x` was one."""
        return as_images(f"{type(self).__name__}.forward", x, axes, channels, why)
