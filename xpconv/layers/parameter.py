"""What a layer learns."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, TypeGuard

from ..backend import Array, backend_of, byte_order_error, get_xp, is_floating, plain, to_dtype
from ..errors import BackendError, DTypeError, OutOfMemoryError, ShapeError
from ..geometry import check_room, to_bool
from .arraylike import ArrayLike, Count


class Parameter(ArrayLike):
    """An array to be learned, and its gradient.

    It reads as its array: `np.asarray(p)`, `len(p)`, `p[0]`, `p.mean()`, `2 * p`, `p > 0`, `plt.imshow(p)`.
    `p += 1` and `p[0] = 1` change that in place. Equality, hash and truth are the object's: `p == q` asks
    whether they are the same parameter, and `if p` is an error (`if p is not None`).

    Args:
        data: a floating array of any backend.
        name: what the layer calls it.
        requires_grad: whether it learns.

    Attributes:
        data: the array. A new one has the same shape; for another, give the layer a new `Parameter`.
        grad: the sum of the gradients since the last `zero_grad`, or None: an array of `data`'s shape, dtype
            (or float32, where that is narrower) and backend.
        name: what the layer calls it.
        requires_grad: whether it learns. Where it is False, the parameter is frozen: no gradient is computed
            for it, optimizers and gradient clipping pass over it, weight decay included. It may be set at
            any time; `layer.requires_grad_(False)` sets that of all parameters of a layer.

    Raises:
        BackendError, DTypeError: (TypeErrors) `data` or `grad` is set to what is no array, or to one that is
            not floating or does not fit the other.
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
            raise TypeError(f"Parameter: name is {name!r}, expected a string; requires_grad goes by its name")
        self.name = name
        self.requires_grad = requires_grad
        super().__setattr__("grad", None)
        super().__setattr__("data", self._as_data(data))

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "grad":
            fitting = None if value is None else writable(self._fitting(value, "grad"))
            _set_grad(self, fitting)  # further gradients are added in place
            return
        if name == "data" and value is not self.data:
            value = self._as_data(value)
            self._check_change(value)
        elif name == "requires_grad":
            value = to_bool(f"{self._called()}: requires_grad", value)
        super().__setattr__(name, value)

    def __setstate__(self, state: Any) -> None:
        """What `pickle` and `copy` give; a file of an earlier version has no `requires_grad`."""
        attributes, slots = state if isinstance(state, tuple) else (state, None)
        for name, value in {"requires_grad": True, **(attributes or {}), **(slots or {})}.items():
            super().__setattr__(name, value)
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
        return Count(self.data.size)

    @property
    def dtype(self) -> Any:
        """Dtype of `data`."""
        return self.data.dtype

    def requires_grad_(self, requires_grad: bool = True) -> Parameter:
        """Set `requires_grad`; returns the parameter."""
        self.requires_grad = requires_grad
        return self

    def accumulate(self, grad: Array) -> None:
        """Add `grad` to `self.grad`; a frozen parameter ignores it.

        A layer spares the work with `if self.weight.requires_grad: self.weight.accumulate(…)`.

        Args:
            grad: of the shape, dtype and backend of `data`; an array of its own, not a view of
                `grad_output`, as it is kept.

        Raises:
            BackendError, DTypeError, ShapeError: `grad` does not fit; nothing has changed.
        """
        if not self.requires_grad:
            return
        data, total = self.data, self.grad
        if type(grad) is not type(data) or grad.shape != data.shape or grad.dtype != data.dtype:
            grad = self._fitting(grad, "the gradient to accumulate")
        if total is None:
            _set_grad(self, writable(grad))
        else:
            total += grad

    def _fitting(self, grad: Any, what: str) -> Array:
        """`grad`, if it fits `data`; a scalar of NumPy, which its sums are, as an array."""
        data = self.data
        if type(grad) is type(data) and grad.shape == data.shape and grad.dtype == data.dtype:
            return grad
        owner = self._owner(grad, what)
        here = backend_of(data)
        if owner is not here:
            raise BackendError(
                f"{self._called()}: {what} is on {owner.name}, but data on {here.name}; bring it there with "
                f"xpconv.asarray(grad, backend={here.name!r})"
            )
        if grad.shape != data.shape:
            raise ShapeError(
                f"{self._called()}: {what} has shape {grad.shape}, expected {data.shape}, that of data"
            )
        self._check_dtypes(grad.dtype, data.dtype, what)
        return owner.xp.asarray(grad)

    def _check_dtypes(self, grad: Any, data: Any, what: str) -> None:
        """A gradient has the dtype of its data, or float32 beside a narrower one."""
        if grad != data and not (data.itemsize == 2 and grad == "float32"):
            way = f", or to train in another dtype layer.to(dtype='{grad}')" if is_floating(grad) else ""
            raise DTypeError(
                f"{self._called()}: {what} is {grad}, but data {data}; use .astype('{data}'){way}"
            )

    def _as_data(self, data: Any) -> Array:
        """`data`, if it is a floating array; a scalar of NumPy, which 0-d arithmetic gives, as an array."""
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
        """Before `data` takes the place of the present array."""
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
            raise BackendError(f"{self._called()}: {what}: {error}") from None

    def _called(self) -> str:
        return f"Parameter {self.name!r}" if self.name else "Parameter"

    def _make_writable(self) -> None:
        """Copy what is read-only: by a fused model, or as a file's memory map."""
        self.data = writable(self.data)
        if self.grad is not None:
            self.grad = writable(self.grad)

    def _write(self, value: Any) -> None:
        """Put `value` into `data`."""
        self._change(lambda data: operator.setitem(data, ..., value))

    def _change(self, change: Callable[[Array], Any]) -> None:
        """Let `change` write to `data`; to a new array where that is read-only, as a fused model makes it.

        Another thread may make it so while this one writes, and then has read some of the old values and some
        of the new: that it finds another array here makes it read again.
        """
        data = writable(self.data)
        try:
            change(data)
        except ValueError:
            if is_writable(data):
                raise
            data = writable(data)
            change(data)
        self.data = writable(data)

    def __repr__(self) -> str:
        owner = backend_of(self.data).name
        frozen = "" if self.requires_grad else ", requires_grad=False"
        return f"Parameter({self.name!r}, shape={self.shape}, {self.data.dtype}, {owner}{frozen})"


_set_grad = Parameter.__dict__["grad"].__set__  # without the checks of `__setattr__`


def learns(parameter: Parameter | None) -> TypeGuard[Parameter]:
    """Whether there is a parameter to compute a gradient for."""
    return parameter is not None and parameter.requires_grad


def is_writable(array: Array) -> bool:
    """Whether it may be written to: always, but with NumPy."""
    return bool(getattr(array.flags, "writeable", True))


def writable(array: Array) -> Array:
    """The array, or a copy if it is read-only, as joblib's memory maps are."""
    if is_writable(array):
        return array
    backend = backend_of(array)
    return backend.asarray(backend.xp.array(array))


def new_parameter(layer: str, name: str, shape: tuple[int, ...], dtype: Any, value: float = 0.0) -> Parameter:
    """A parameter on the active backend, filled with `value`; `layer` is what an error calls the owner."""
    xp = get_xp()
    dtype = parameter_dtype(layer, dtype)
    check_room(f"{layer}: {name}", shape, dtype.itemsize)
    try:
        return Parameter(xp.full(shape, value, dtype=dtype) if value else xp.zeros(shape, dtype=dtype), name)
    except MemoryError as cause:  # CuPy's own is one too
        raise OutOfMemoryError(
            f"{layer}: no memory for {name} of shape {shape} and {dtype}: {cause}"
        ) from cause


def parameter_dtype(where: str, dtype: Any) -> Any:
    """What a layer's argument `dtype` stands for, on the active backend: None is float32, as in PyTorch."""
    return check_floating(where, get_xp(), "float32" if dtype is None else dtype)


def check_floating(where: str, xp: Any, dtype: Any) -> Any:
    """`dtype` as a dtype object, in the machine's order of bytes, if it is a floating one."""
    found = to_dtype(where, xp, dtype)
    if not is_floating(found):
        given = dtype if isinstance(dtype, str) else found
        raise DTypeError(f"{where}: dtype is {given}, expected a floating one")
    return found.newbyteorder("=")
