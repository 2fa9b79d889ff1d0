"""Pooling in any dimension."""

from __future__ import annotations

from typing import Any

from ..backend import Array
from ..geometry import Window
from ..kernels import portable as kernels


def max_pool(xp: Any, x: Array, window: Window, ceil_mode: bool = False) -> tuple[Array, Array]:
    """`y[n, c, p] = max over taps r of x[n, c, p*s - lo + r*d]`, and the number of the winning tap.

    Padding never wins; NaN does. Among equals the first in row-major order wins. The winner takes one
    byte an output (four for kernels of 255 taps and more), and is all that backward needs.
    """
    return kernels.max_pool(xp, x, window, window.output_shape(x.shape[2:], ceil_mode))


def max_pool_backward(xp: Any, grad: Array, winner: Array, x_shape: tuple[int, ...], window: Window) -> Array:
    """An output moves with its winner only, so each `x[h]` gets the gradients of the windows it won:

    dx[n, c, h] = Σ over (p, r) with p*s - lo + r*d = h and winner[n, c, p] = r  of  grad[n, c, p]
    """
    return kernels.max_pool_input_grad(xp, grad, winner, x_shape, window)


def avg_pool(
    xp: Any,
    x: Array,
    window: Window,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Array:
    """`y[n, c, p] = Σ_r x[n, c, p*s - lo + r] / size[p]`, zeros outside.

    `size` counts the taps over input and padding (not those that `ceil_mode` lets hang over it), over
    the input alone without `count_include_pad`, or is `divisor_override`.
    """
    output = window.output_shape(x.shape[2:], ceil_mode)
    y = kernels.sum_pool(xp, kernels.widened(x), window, output)
    y = _divide(xp, y, x.shape[2:], window, count_include_pad, divisor_override)
    return y.astype(x.dtype, copy=False)


def avg_pool_backward(
    xp: Any,
    grad: Array,
    x_shape: tuple[int, ...],
    window: Window,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Array:
    """Every input of a window has an equal part in its mean:

    dx[n, c, h] = Σ over (p, r) with p*s - lo + r = h  of  grad[n, c, p] / size[p]
    """
    scaled = _divide(xp, grad.copy(), x_shape[2:], window, count_include_pad, divisor_override)
    return kernels.sum_pool_input_grad(xp, scaled, x_shape, window)


def _divide(
    xp: Any,
    y: Array,
    spatial: tuple[int, ...],
    window: Window,
    count_include_pad: bool,
    divisor_override: int | None,
) -> Array:
    """Divide in place by the window sizes: they are products of one count an axis."""
    if divisor_override is not None:
        y /= divisor_override
        return y
    for axis, counts in enumerate(window.counts(spatial, y.shape[2:], count_include_pad)):
        if len(set(counts)) == 1:
            y /= counts[0]
        else:
            sizes = xp.asarray(counts, dtype=y.dtype)
            y /= sizes.reshape(-1, *(1,) * (len(spatial) - 1 - axis))
    return y
