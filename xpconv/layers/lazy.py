"""Lazy layers, which take the size of their input from the first forward."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from contextlib import nullcontext
from inspect import signature
from typing import Any, ClassVar, TypeVar

from ..backend import Array, backend_of, get_xp, use_backend
from ..dtypes import check_floating, is_floating
from ..errors import ShapeError
from ..random import RNG, default_rng
from .layer import Layer, arguments
from .linear import Dense
from .norm import BatchNorm1d, BatchNorm2d, BatchNorm3d, _BatchNorm

__all__ = ["LazyBatchNorm1d", "LazyBatchNorm2d", "LazyBatchNorm3d", "LazyLinear"]

Self = TypeVar("Self", bound="Lazy")


class Lazy(Layer):
    """A layer that creates its parameters in the first forward and becomes a `becomes`; see `LazyConv2d`."""

    lazy = True
    becomes: ClassVar[type[Layer]]

    def _set_later(self, dtype: Any, rng: RNG = None) -> None:
        """Check and store the dtype and generator that the parameters will be created with."""
        name = type(self).__name__
        if dtype is not None:
            check_floating(name, get_xp(), dtype)
        self._dtype_later, self._rng_later = dtype, default_rng(rng, name)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        later = self._dtype_later
        config["dtype"] = None if later is None else str(check_floating("get_config", get_xp(), later))
        return {**config, "rng": self._rng_later} if "rng" in signature(type(self)).parameters else config

    def _become(self, size: int, dtype: Any, backend: str | None) -> None:
        """Make the parameters, of this dtype unless the constructor got another, and change the class."""
        own = vars(self)
        before = own.copy()
        later, rng, _ = (own.pop(name, None) for name in ("_dtype_later", "_rng_later", "lazy"))
        try:
            with nullcontext() if backend is None else use_backend(backend):
                self._make(size, dtype if later is None else later, rng)
        except BaseException:  # such as a size that the groups do not divide
            own.clear()
            own.update(before)
            raise
        self._take_flags()
        self.__class__ = self.becomes  # type: ignore[assignment]

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self.fixed and name not in vars(self) and "_dtype_later" in vars(self):
            raise self._is_fixed(name, value)
        super().__setattr__(name, value)

    def _first(self, x: Array, size: int) -> Array:
        """The first forward."""
        self._become(size, x.dtype, backend_of(x).name)
        return self.forward.raw(self, x)  # type: ignore[attr-defined]  # of the new class

    def _make(self, size: int, dtype: Any, rng: Any) -> None:
        raise TypeError(f"{type(self).__name__} defines no _make(size, dtype, rng)")

    def _size_of(self, name: str, shape: tuple[int, ...]) -> int | None:
        """The input size, from the shape of the array `name` of a state dict.

        None if that does not determine it.
        """
        raise TypeError(f"{type(self).__name__} defines no _size_of(name, shape)")

    def _sized(self: Self, prefix: str, state: Mapping[str, Any]) -> Self:
        for name in ("weight", "running_mean", "running_var"):
            array: Any = state.get(f"{prefix}.{name}" if prefix else name)
            size = self._size_of(name, tuple(array.shape)) if hasattr(array, "shape") else None
            if size is not None:
                other = copy.copy(self)
                other._rng_later = copy.deepcopy(self._rng_later)
                other._become(size, array.dtype if is_floating(array.dtype) else "float32", None)
                return other
        return self


class LazyLinear(Lazy, Dense):
    """A `Dense` that takes `in_features` from its first input, as `torch.nn.LazyLinear`.

    Before its first forward (or `load_state_dict`) it has no parameters; after it, its class is `Dense`. See
    `LazyConv2d`.

    Args:
        out_features: size of the last axis of `y`.
        bias: whether to add a bias.
        dtype: of the parameters; None takes that of the first input (or of the loaded weight).
        rng: `numpy.random.Generator` or seed for the initial values; None takes the generator that
            `manual_seed` seeds.

    Raises:
        ValueError: a size below 1.
        ShapeError: (a ValueError) `x` has no axis.

    Example:
        >>> import numpy as np, xpconv
        >>> model = xpconv.Sequential(xpconv.Conv2d(1, 4, 3), xpconv.Flatten(), xpconv.LazyLinear(10))
        >>> model(np.zeros((2, 1, 28, 28), "float32")).shape
        (2, 10)
        >>> model[-1]
        Dense(2704, 10)
    """

    becomes: ClassVar[type[Layer]] = Dense

    def __init__(self, out_features: int, bias: bool = True, *, dtype: Any = None, rng: RNG = None) -> None:
        self._set_options(out_features, bias)
        self._set_later(dtype, rng)

    def forward(self, x: Array) -> Array:
        self._enter(x)
        if x.ndim == 0:
            raise ShapeError(f"{type(self).__name__}.forward: x has shape (), expected (…, in_features)")
        return self._first(x, x.shape[-1])

    def _make(self, size: int, dtype: Any, rng: Any) -> None:
        self._set_parameters(size, dtype, rng)

    def _size_of(self, name: str, shape: tuple[int, ...]) -> int | None:
        return shape[1] if name == "weight" and len(shape) == 2 else None

    def extra_repr(self) -> str:
        return arguments(self.out_features, bias=(self._has_bias, True))


class _LazyBatchNorm(Lazy, _BatchNorm):
    """Batch normalisation that takes `num_features` from its first input."""

    def __init__(
        self,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        *,
        bias: bool = True,
        dtype: Any = None,
    ) -> None:
        self._set_options(eps, momentum, affine, track_running_stats, bias)
        self._set_later(dtype)
        self.lazy: bool = self.affine  # without parameters, an optimizer may be made before the first forward

    def forward(self, x: Array) -> Array:
        self._enter(x)
        if x.ndim not in self.ranks:
            name = type(self).__name__
            raise ShapeError(f"{name}.forward: x has shape {x.shape}, expected {self.expected}")
        return self._first(x, x.shape[1])

    def _make(self, size: int, dtype: Any, rng: Any) -> None:
        self._set_arrays(size, dtype)

    def _size_of(self, name: str, shape: tuple[int, ...]) -> int | None:
        return shape[0] if len(shape) == 1 else None

    def extra_repr(self) -> str:
        values = {**vars(self), "bias": self._has_bias}
        return arguments(**{k: (values[k], v) for k, v in self.defaults.items()})


class LazyBatchNorm1d(_LazyBatchNorm):
    """A `BatchNorm1d` that takes `num_features` from its first input, as `torch.nn.LazyBatchNorm1d`.

    See `LazyBatchNorm2d`.

    Example:
        >>> import numpy as np, xpconv
        >>> norm = xpconv.LazyBatchNorm1d()
        >>> norm(np.array([[1, 5], [3, 5]], "float32")).shape, norm
        ((2, 2), BatchNorm1d(2))
    """

    becomes: ClassVar[type[Layer]] = BatchNorm1d
    ranks: ClassVar[tuple[int, ...]] = BatchNorm1d.ranks
    expected: ClassVar[str] = BatchNorm1d.expected


class LazyBatchNorm2d(_LazyBatchNorm):
    """A `BatchNorm2d` that takes `num_features` from its first input, as `torch.nn.LazyBatchNorm2d`.

    Before its first forward (or `load_state_dict`) it has no parameters and no statistics; after it, its
    class is `BatchNorm2d`. See `LazyConv2d`.

    Args:
        eps, momentum, affine, track_running_stats, bias: as in `BatchNorm2d`.
        dtype: of the parameters; None takes that of the first input (or of the loaded arrays).

    Raises:
        ShapeError: (a ValueError) `x` has another rank, or in training a single value per channel.

    Example:
        >>> import numpy as np, xpconv
        >>> norm = xpconv.LazyBatchNorm2d(eps=1e-3)
        >>> norm(np.zeros((4, 3, 8, 8), "float32")).shape, norm
        ((4, 3, 8, 8), BatchNorm2d(3, eps=0.001))
    """

    becomes: ClassVar[type[Layer]] = BatchNorm2d
    ranks: ClassVar[tuple[int, ...]] = BatchNorm2d.ranks
    expected: ClassVar[str] = BatchNorm2d.expected


class LazyBatchNorm3d(_LazyBatchNorm):
    """A `BatchNorm3d` that takes `num_features` from its first input, as `torch.nn.LazyBatchNorm3d`.

    See `LazyBatchNorm2d`.

    Example:
        >>> import numpy as np, xpconv
        >>> norm = xpconv.LazyBatchNorm3d()
        >>> norm(np.zeros((2, 3, 4, 4, 4), "float32")).shape, norm
        ((2, 3, 4, 4, 4), BatchNorm3d(3))
    """

    becomes: ClassVar[type[Layer]] = BatchNorm3d
    ranks: ClassVar[tuple[int, ...]] = BatchNorm3d.ranks
    expected: ClassVar[str] = BatchNorm3d.expected
