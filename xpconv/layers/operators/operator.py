"""`Operator`, the base of layers that are one operation on one or several arrays of any dtype."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from numbers import Integral
from typing import Any, ClassVar

from ...arrays import asnumpy
from ...backend import Array, Backend, backend_of, host, ignoring_float_errors
from ...dtypes import is_floating
from ...errors import BackendError, DTypeError, LayerError, ShapeError
from ...ops.constants import constant
from ...sums import sum_over
from ..layer import Layer, arguments

SMALL = 64  # elements of an array of the host that is copied to a device once, and then found again


class Operator(Layer):
    """A function of one or several arrays, which need not be floating; broadcasts as NumPy.

    A subclass defines `_compute`, which returns the output and a tuple of what `_gradients` needs, and
    `_gradients`, which returns a gradient for each input; None means no gradient.
    Integers may be arrays of the host on every backend; where such an array meets one of a device, it is
    copied there. `settings` are arguments of the constructor, or inputs which the host reads. Infinity and
    NaN are results as ONNX defines them (`1 / 0`, `log(-1)`), without NumPy's warnings.
    """

    same_dtype: ClassVar[bool] = True  # whether all floating inputs have one dtype
    settings: ClassVar[tuple[str, ...]] = ()  # arguments that are numbers, or inputs instead
    _gives_none = True
    inputs: tuple[str, ...] = ()  # those that do, as the last inputs, in this order

    def forward(self, *inputs: Array) -> Array:
        first = len(inputs) - len(self.inputs)
        xp, arrays = self._operands(inputs[:first])
        numbers = {name: getattr(self, name) for name in self.settings}
        for name, x in zip(self.inputs, inputs[first:], strict=True):
            numbers[name] = read_numbers(f"{type(self).__name__}.forward: {name}", x)
        y, saved = self._computed(xp, arrays, numbers)
        return self._save(y, xp, inputs, saved)

    @ignoring_float_errors
    def _computed(self, xp: Any, arrays: Sequence[Array], settings: dict[str, Any]) -> tuple[Any, Any]:
        """`_compute`, with errors that name the layer."""
        try:
            return self._compute(xp, *arrays, **settings)
        except LayerError:
            raise
        except ValueError as cause:  # NumPy's and CuPy's
            shapes = ", ".join(str(x.shape) for x in arrays)
            raise ShapeError(f"{type(self).__name__}.forward: inputs of shape {shapes}: {cause}") from cause
        except TypeError as cause:
            if "_compute()" not in str(cause):
                raise
            taken = list(inspect.signature(self._compute).parameters.values())[1:]
            names = [p.name for p in taken if p.kind is not p.KEYWORD_ONLY and p.name not in self.settings]
            raise TypeError(
                f"{type(self).__name__}.forward: got {len(arrays)} arrays, expected {', '.join(names)}"
            ) from None

    def _save(self, y: Any, xp: Any, inputs: Sequence[Array], saved: tuple[Any, ...]) -> Array:
        """The last line of a forward."""
        if not isinstance(y, host().array_type) and backend_of(y) is host():  # a number: for no axes
            y = host().asarray(y)
        return self.keep(y, xp, tuple([x.dtype for x in inputs]), saved)

    def backward(self, grad_output: Array, input_grad: bool = True) -> Any:
        """The gradient of one input, or a tuple of those of several, with None for integers."""
        xp, dtypes, saved = self.recall(grad_output, input_grad)
        if not input_grad:
            return None
        if not is_floating(grad_output.dtype):
            grads: Sequence[Array | None] = (None,) * len(dtypes)
        else:
            grads = self._differentiated(xp, grad_output, *saved)
        grads = (*grads, *(None,) * (len(dtypes) - len(grads)))
        grads = tuple(
            [
                None if grad is None or not is_floating(dtype) else grad.astype(dtype, copy=False)
                for grad, dtype in zip(grads, dtypes, strict=False)
            ]
        )
        return grads[0] if len(grads) == 1 else grads

    @ignoring_float_errors
    def _differentiated(self, xp: Any, grad: Array, *saved: Any) -> Sequence[Array | None]:
        return self._gradients(xp, grad, *saved)

    def _compute(self, xp: Any, *inputs: Any, **settings: Any) -> tuple[Any, tuple[Any, ...]]:
        """The output for these arrays and `settings`, and what `_gradients` takes after the gradient."""
        raise NotImplementedError

    def _gradients(self, xp: Any, grad: Array, *saved: Any) -> Sequence[Array | None]:
        """The gradient of each input; None for one without."""
        return ()

    def _operands(self, inputs: Sequence[Array]) -> tuple[Any, list[Array]]:
        """`xp`, and all inputs as its arrays."""
        name = type(self).__name__
        if not inputs:
            raise TypeError(f"{name}.forward: expected at least one input")
        owners = [self._owner(x, f"input {i}") for i, x in enumerate(inputs)]
        home = next((owner for owner in owners if owner is not host()), owners[0])
        arrays = list(inputs)
        for i, owner in enumerate(owners):
            if owner is not home:
                if owner is not host():
                    raise BackendError(
                        f"{name}.forward: inputs are {home.name} and {owner.name}, expected one backend; "
                        "convert one by xpconv.asarray(x, backend=…)"
                    )
                arrays[i] = _moved(home, arrays[i])
        if self.same_dtype:
            dtypes = {str(x.dtype) for x in arrays if is_floating(x.dtype)}
            if len(dtypes) > 1:
                raise DTypeError(
                    f"{name}.forward: inputs are {' and '.join(sorted(dtypes))}, expected one dtype"
                )
        return home.xp, arrays

    def extra_repr(self) -> str:
        config = self.get_config()
        defaults = {name: p.default for name, p in inspect.signature(type(self)).parameters.items()}
        return arguments(**{name: (value, defaults[name]) for name, value in config.items()})


def to_numbers(numbers: Sequence[Any] | None) -> tuple[Any, ...] | None:
    """A setting as a tuple; None stays."""
    return None if numbers is None else tuple(numbers)


def _moved(home: Backend, x: Array) -> Array:
    """An array of the host on the device of `home`."""
    if x.size > SMALL or x.dtype.kind not in "biu":
        return home.asarray(x)
    return constant(home.xp, tuple(x.reshape(-1).tolist()), str(x.dtype)).reshape(x.shape)


def unbroadcast(grad: Array, shape: tuple[int, ...]) -> Array:
    """The gradient of an array of this shape that was broadcast to that of `grad`: the sum of its copies."""
    if grad.shape == shape:
        return grad
    new = grad.ndim - len(shape)
    axes = [axis for axis, n in enumerate(shape, start=new) if n == 1 and grad.shape[axis] != 1]
    if not axes and not new:
        return grad
    return sum_over(grad, (*range(new), *axes)).reshape(shape)


def read_numbers(where: str, x: Array) -> tuple[Any, ...]:
    """An input that holds sizes, axes or factors, as numbers of Python."""
    host = asnumpy(x)
    if host.ndim > 1 or host.dtype.kind not in "iuf":
        raise DTypeError(f"{where} is {host.dtype} of shape {host.shape}, expected numbers of shape (n,)")
    return tuple(host.reshape(-1).tolist())


def to_axis(where: str, axis: int, ndim: int) -> int:
    """A number of an axis, as one from 0 on."""
    if not -ndim <= axis < max(ndim, 1):
        raise ShapeError(f"{where}: axis {axis} is none of an array of {ndim} axes")
    return axis % ndim if ndim else 0


def to_axes(where: str, axes: Sequence[int], ndim: int) -> tuple[int, ...]:
    """Numbers of axes, each at most once."""
    if not all(isinstance(axis, Integral) for axis in axes):
        raise ShapeError(f"{where}: axes are {tuple(axes)}, expected integers")
    found = tuple([to_axis(where, axis, ndim) for axis in axes])
    if len(set(found)) != len(found):
        raise ShapeError(f"{where}: axes {tuple(axes)} name an axis twice")
    return found
