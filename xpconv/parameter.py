"""`Parameter`: an array that training changes, with its gradient."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from math import prod
from typing import Any, TypeGuard

from .arguments import about, check_room, to_bool
from .arraylike import ArrayLike, is_writable, read_only_copy, writable
from .backend import Array, backend_of, get_xp, plain
from .dtypes import byte_order_error, check_floating, is_floating
from .errors import BackendError, DTypeError, OutOfMemoryError, ShapeError
from .locks import Changing, note_changes, update
from .signatures import public_errors

__all__ = ["Parameter"]

# In place of `Parameter.grad`, while a backward is recorded: takes the parameter and its gradient.
collected: ContextVar[Callable[[Parameter, Array], None] | None] = ContextVar("collected", default=None)


@public_errors
class Parameter(Changing, ArrayLike):
    """A trainable array and its gradient.

    It can be used as its array: `np.asarray(p)`, `len(p)`, `p[0]`, `p.mean()`, `2 * p`, `p > 0`,
    `plt.imshow(p)`. `p += 1` and `p[0] = 1` change `data` in place. Equality and hash are those of the
    object: `p == q` is whether they are the same parameter. `if p` is an error; use `if p is not None`.
    In `array @ p` with a CuPy array, write `array @ p.data`, as CuPy's matrix products take only its arrays.

    Args:
        data: a floating array of any backend.
        name: its name in the layer.
        requires_grad: whether gradients are computed for it.

    Attributes:
        data: the array. It can be replaced by one of the same shape; for another shape, give the layer a new
            `Parameter`.
        grad: the sum of the gradients since the last `zero_grad`, or None. It has the shape and backend of
            `data`, and its dtype, or float32 if `data` is float16 or bfloat16.
        name: its name in the layer.
        requires_grad: False if the parameter is frozen: no gradient is computed for it, and optimizers,
            including their weight decay, and gradient clipping skip it. It may be set at any time;
            `layer.requires_grad_(False)` sets it for all parameters of a layer.

    Raises:
        BackendError, DTypeError: (TypeErrors) `data` or `grad` is set to something that is not a floating
            array, or not of the other's backend and dtype.
        ShapeError: (a ValueError) `data` or `grad` is set to an array of another shape.

    Example:
        >>> import xpconv
        >>> weight = xpconv.Dense(3, 2).weight
        >>> weight
        Parameter('weight', shape=(2, 3), float32, numpy)
        >>> weight.requires_grad = False
        >>> weight
        Parameter('weight', shape=(2, 3), float32, numpy, requires_grad=False)
        >>> (0 * weight).sum(axis=0)
        array([0., 0., 0.], dtype=float32)
    """

    __slots__ = ("data", "grad", "name", "requires_grad")

    data: Array
    grad: Array | None
    name: str
    requires_grad: bool

    def __init__(self, data: Array, name: str = "", requires_grad: bool = True) -> None:
        if not isinstance(name, str):
            raise TypeError(f"Parameter: name is {name!r}, expected a string; pass requires_grad by name")
        self.name = name
        self.requires_grad = requires_grad
        super().__setattr__("grad", None)
        self._place(self._as_data(data))
        self._note_change()

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "grad":
            fitting = None if value is None else writable(self._fitting(value, "grad"))
            _set_grad(self, fitting)  # further gradients are added in place
            return
        if name == "data":
            if value is not self.data:
                value = self._as_data(value)
                self._check_change(value)
                self._note_change()
            super().__setattr__(name, value)
            self._note_change()
            return
        if name == "requires_grad":
            value = to_bool(f"{self._called()}: requires_grad", value)
        super().__setattr__(name, value)

    def __getstate__(self) -> Any:
        """Copies of read-only arrays are writable, so that it has to be said."""
        slots = {name: getattr(self, name) for name in self.__slots__}
        return None, {**slots, "read_only": self._is_read_only()}

    def __setstate__(self, state: Any) -> None:
        """Restore a copy or a pickle; those of earlier versions have no `requires_grad`."""
        attributes, slots = state if isinstance(state, tuple) else (state, None)
        values = {"requires_grad": True, **(attributes or {}), **(slots or {}), "_changed": 0}
        read_only = values.pop("read_only", False)
        for name, value in values.items():
            super().__setattr__(name, value)
        if read_only:
            self._make_read_only()
        if self.grad is not None:
            super().__setattr__("grad", writable(self.grad))  # further gradients are added in place

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of `data`."""
        shape: tuple[int, ...] = self.data.shape
        return shape

    @property
    def ndim(self) -> int:
        """Number of axes of `data`."""
        return len(self.data.shape)

    @property
    def size(self) -> int:
        """Number of elements of `data`."""
        return int(self.data.size)

    @property
    def dtype(self) -> Any:
        """Dtype of `data`."""
        return self.data.dtype

    def requires_grad_(self, requires_grad: bool = True) -> Parameter:
        """Set `requires_grad`; returns the parameter."""
        self.requires_grad = requires_grad
        return self

    def accumulate(self, grad: Array) -> None:
        """Add `grad` to `self.grad`; a frozen parameter ignores it. Several threads may add to one parameter.

        To avoid computing a gradient for a frozen parameter, write
        `if self.weight.requires_grad: self.weight.accumulate(…)`.

        Args:
            grad: of the shape, dtype and backend of `data`. It must be a new array, not a view of
                `grad_output`, since it may become `self.grad`.

        Raises:
            BackendError, DTypeError, ShapeError: `grad` does not fit `data`; nothing has changed.

        Example:
            >>> import numpy as np, xpconv
            >>> p = xpconv.Parameter(np.zeros(2))
            >>> p.accumulate(np.array([1.0, 2.0]))
            >>> p.accumulate(np.array([3.0, 4.0]))
            >>> p.grad
            array([4., 6.])
        """
        if not self.requires_grad:
            return
        data = self.data
        if type(grad) is not type(data) or grad.shape != data.shape or grad.dtype != data.dtype:
            grad = self._fitting(grad, "the gradient to accumulate")
        into = collected.get()
        if into is not None:
            into(self, grad)
            return
        with update:
            total = self.grad
            if total is None:
                _set_grad(self, writable(grad))
            else:
                total += grad

    def _fitting(self, grad: Any, what: str) -> Array:
        """`grad`, if it fits `data`; a NumPy scalar, such as a sum returns, as an array."""
        data = self.data
        if type(grad) is type(data) and grad.shape == data.shape and grad.dtype == data.dtype:
            return grad
        owner = self._owner(grad, what)
        here = backend_of(data)
        if owner is not here:
            raise BackendError(
                f"{self._called()}: {what} is on {owner.name}, but data on {here.name}; use "
                f"xpconv.asarray(grad, backend={here.name!r})"
            )
        if grad.shape != data.shape:
            raise ShapeError(
                f"{self._called()}: {what} has shape {grad.shape}, expected {data.shape}, that of data"
            )
        self._check_dtypes(grad.dtype, data.dtype, what)
        return owner.xp.asarray(grad)

    def _check_dtypes(self, grad: Any, data: Any, what: str) -> None:
        """A gradient must have the dtype of `data`, or float32 if that is float16 or bfloat16."""
        if grad != data and not (data.itemsize == 2 and grad == "float32"):
            hint = f", or to train in another dtype layer.to(dtype='{grad}')" if is_floating(grad) else ""
            raise DTypeError(
                f"{self._called()}: {what} is {grad}, but data {data}; use .astype('{data}'){hint}"
            )

    def _as_data(self, data: Any) -> Array:
        """`data`, if it is a floating array; a NumPy scalar, such as 0-d arithmetic returns, as an array."""
        owner = self._owner(data, "data")
        if not is_floating(data.dtype):
            raise DTypeError(
                f"{self._called()}: data is {data.dtype}, expected a floating array, such as "
                "array.astype('float32')"
            )
        if not data.dtype.isnative:
            raise byte_order_error(f"{self._called()}: data", data)
        return plain(data) if isinstance(data, owner.array_type) else owner.xp.asarray(data)

    def _check_change(self, data: Array) -> None:
        """Check that `data` may replace the present array."""
        if data.shape != self.data.shape:
            raise ShapeError(
                f"{self._called()}: data has shape {data.shape}, expected {self.data.shape}, as before; for "
                "another shape give the layer a new parameter: layer.weight = xpconv.Parameter(array)"
            )
        if self.grad is None:
            return
        if backend_of(self.grad) is not backend_of(data):
            raise BackendError(
                f"{self._called()}: data is on {backend_of(data).name}, but grad on "
                f"{backend_of(self.grad).name}; move both with layer.to(…), or set grad to None first"
            )
        self._check_dtypes(self.grad.dtype, data.dtype, "grad")

    def _owner(self, array: Any, what: str) -> Any:
        try:
            return backend_of(array)
        except BackendError as error:
            raise BackendError(f"{self._called()}: {what}: {about(what, error)}") from None

    def _called(self) -> str:
        return f"Parameter {self.name!r}" if self.name else "Parameter"

    def _is_read_only(self) -> bool:
        """Whether `_make_read_only` was called, of this array."""
        data = self.data  # NumPy's unpickled arrays write to `bytes`
        return not is_writable(data) and isinstance(getattr(data, "base", None), bytes)

    def _make_read_only(self) -> None:
        """Copy `data`, if it is a NumPy array, into a `bytes` object, to which nothing can write.

        So inference may hold what depends on it. The flag of an array alone could be set again, and older
        views of its memory be written to.
        """
        if backend_of(self.data).name == "numpy" and not self._is_read_only():
            self._place(read_only_copy(self.data))

    def _make_writable(self) -> None:
        """Copy read-only arrays, as a fused model makes them, or memory maps of files."""
        self._place(writable(self.data))
        if self.grad is not None:
            self.grad = writable(self.grad)

    def _write(self, value: Any) -> None:
        """Write `value` into `data`."""
        self._change(lambda data: operator.setitem(data, ..., value))

    def _change(self, change: Callable[[Array], Any]) -> None:
        """Call `change(data)`, which writes to it; if `data` is read-only, as in a fused model, to a copy."""
        data = writable(self.data)
        self._note_change()
        change(data)
        if data is not self.data:
            self._place(read_only_copy(data) if self._is_read_only() else data)
        self._note_change()

    def _note_change(self) -> None:
        note_changes((self,))

    def _place(self, data: Array) -> None:
        """Set `data` without recording a change."""
        super().__setattr__("data", data)

    def _in_place_of_data(self, value: Array) -> Array | None:
        """A new array of these values for `data`, read-only if that is; None if `data` can be written to."""
        if self._is_read_only():
            return read_only_copy(value)
        return None if is_writable(self.data) else backend_of(value).xp.array(value)

    def __repr__(self) -> str:
        owner = backend_of(self.data).name
        frozen = "" if self.requires_grad else ", requires_grad=False"
        return f"Parameter({self.name!r}, shape={self.shape}, {self.data.dtype}, {owner}{frozen})"


_set_grad = Parameter.__dict__["grad"].__set__  # skips the checks of `__setattr__`


def learns(parameter: Parameter | None) -> TypeGuard[Parameter]:
    """Whether there is a parameter, and it requires a gradient."""
    return parameter is not None and parameter.requires_grad


def new_parameter(layer: str, name: str, shape: tuple[int, ...], dtype: Any, value: float = 0.0) -> Parameter:
    """A parameter on the active backend, filled with `value`; errors begin with `layer`."""
    xp = get_xp()
    dtype = parameter_dtype(layer, dtype)
    check_room(f"{layer}: {name}", shape, dtype.itemsize)
    left = _left.get()
    if left is not None:
        left[0] -= prod(shape) * dtype.itemsize
        if left[0] < 0:
            raise ShapeError(f"{layer}: {name} of shape {shape} takes more memory than the file's arrays")
    try:
        return Parameter(xp.full(shape, value, dtype=dtype) if value else xp.zeros(shape, dtype=dtype), name)
    except MemoryError as cause:  # CuPy's own is one too
        raise OutOfMemoryError(
            f"{layer}: no memory for {name} of shape {shape} and {dtype}: {cause}"
        ) from cause


_left: ContextVar[list[int] | None] = ContextVar("left", default=None)  # bytes; None without a limit


@contextmanager
def limited_memory(nbytes: int) -> Iterator[None]:
    """Within this block all new parameters together take at most `nbytes`, and `init` draws no values.

    For models that are built from a file, which has the values, and whose sizes may be anything.
    """
    token = _left.set([nbytes])
    try:
        yield
    finally:
        _left.reset(token)


def has_values_later() -> bool:
    """Whether the values of new parameters will be loaded from a file."""
    return _left.get() is not None


def parameter_dtype(where: str, dtype: Any) -> Any:
    """A layer's argument `dtype` as a dtype of the active backend; None is float32, as in PyTorch."""
    return check_floating(where, get_xp(), "float32" if dtype is None else dtype)
