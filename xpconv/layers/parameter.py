"""What a layer learns."""

from __future__ import annotations

from typing import Any

from ..backend import Array, backend_of, get_xp, is_floating
from ..errors import DTypeError


class Parameter:
    """An array to be learned, and its gradient.

    `data` is the array, `grad` the sum of the gradients since the last `zero_grad` (None before the
    first), `name` what the layer calls it, `requires_grad` whether it learns (False: it is frozen).

    Example:
        >>> import xpconv
        >>> xpconv.Dense(3, 2).weight
        Parameter('weight', shape=(2, 3), float32, numpy)
    """

    __slots__ = ("data", "grad", "name", "requires_grad")

    def __init__(self, data: Array, name: str = "") -> None:
        self.data = data
        self.grad: Array | None = None
        self.name = name
        self.requires_grad = True

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of `data`."""
        shape: tuple[int, ...] = self.data.shape
        return shape

    @property
    def size(self) -> int:
        """Number of elements of `data`."""
        return int(self.data.size)

    @property
    def dtype(self) -> Any:
        """Dtype of `data`."""
        return self.data.dtype

    def accumulate(self, grad: Array) -> None:
        """Add `grad` to `self.grad`: an array of its own, not a view of `grad_output`, as it is kept."""
        if self.grad is None:
            self.grad = grad
        else:
            self.grad += grad

    def _make_writable(self) -> None:
        """Copy `data` where a fused model made it read-only."""
        if not getattr(self.data.flags, "writeable", True):
            self.data = self.data.copy(order="K")

    def __repr__(self) -> str:
        owner = backend_of(self.data).name
        return f"Parameter({self.name!r}, shape={self.shape}, {self.data.dtype}, {owner})"


def new_parameter(layer: str, name: str, shape: tuple[int, ...], dtype: Any, value: float = 0.0) -> Parameter:
    """A parameter on the active backend, filled with `value`; `layer` is what an error calls the owner."""
    xp = get_xp()
    check_floating(layer, xp, dtype)
    return Parameter(xp.full(shape, value, dtype=dtype) if value else xp.zeros(shape, dtype=dtype), name)


def check_floating(where: str, xp: Any, dtype: Any) -> None:
    try:
        known = is_floating(xp.dtype(dtype))
    except TypeError as cause:
        way = "; NumPy has it after `import ml_dtypes`, for GPUs" if str(dtype) == "bfloat16" else ""
        raise DTypeError(f"{where}: dtype is {dtype!r}, which is none of {xp.__name__}'s{way}") from cause
    if not known:
        raise DTypeError(f"{where}: dtype is {dtype}, expected a floating one")
