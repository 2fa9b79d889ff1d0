"""Normalisation over chosen axes."""

from __future__ import annotations

from typing import Any

from ..backend import Array


def normalize(xp: Any, x: Array, axes: tuple[int, ...], eps: float) -> tuple[Array, Array, Array, Array]:
    """`x̂ = (x - mean) · inv_std` with `inv_std = 1/√(var + eps)`, and `mean`, `var` (biased), `inv_std`.

    The variance is taken about the mean (two passes), which stays exact where mean² ≫ variance.
    Statistics keep their reduced axes. Backward needs `x̂` and `inv_std`.
    """
    mean = x.mean(axis=axes, keepdims=True)
    x_hat = x - mean
    var = (x_hat * x_hat).mean(axis=axes, keepdims=True)
    inv_std = 1 / xp.sqrt(var + eps)
    x_hat *= inv_std
    return x_hat, mean, var, inv_std


def normalize_backward(xp: Any, grad: Array, x_hat: Array, inv_std: Array, axes: tuple[int, ...]) -> Array:
    """Gradient with respect to `x`, from `grad` with respect to `x̂`.

    `x` acts directly, through the mean and through the variance. With m elements in a mean,
    `d mean/dx = 1/m` and `d var/dx = 2 (x - mean)/m`, so `d inv_std/dx = -inv_std² · x̂ / m`, and

        dx = inv_std · (grad - mean(grad) - x̂ · mean(grad · x̂))
    """
    dx = grad - grad.mean(axis=axes, keepdims=True)
    dx -= x_hat * (grad * x_hat).mean(axis=axes, keepdims=True)
    dx *= inv_std
    return dx
