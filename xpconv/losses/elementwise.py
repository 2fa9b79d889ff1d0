"""`Elementwise`, the base of losses of each element alone."""

from __future__ import annotations

from copy import copy
from typing import Any

from ..backend import Array
from .base import Loss, summed_to


class Elementwise(Loss):
    """Losses of each element alone: `_loss` and its derivative `_slope` with respect to `input`."""

    def _forward(self, xp: Any, input: Array, target: Array) -> tuple[Array, Any, tuple[Any, ...]]:
        shape, then = input.shape, copy(self)  # whose settings do not change until backward
        input, target = self._paired(xp, input, target)
        return self._loss(xp, input, target), input.size, (then, input, target, shape)

    def _backward(self, xp: Any, scale: Any, then: Any, input: Array, target: Array, shape: Any) -> Array:
        return summed_to(then._slope(xp, input, target) * scale, shape)

    def _loss(self, xp: Any, x: Array, t: Array) -> Array:
        raise TypeError(f"{type(self).__name__} defines no _loss(xp, x, t)")

    def _slope(self, xp: Any, x: Array, t: Array) -> Array:
        raise TypeError(f"{type(self).__name__} defines no _slope(xp, x, t)")
