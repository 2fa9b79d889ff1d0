"""Windows as columns (im2col) and back, in any dimension: each is the other's gradient."""

from __future__ import annotations

from math import prod
from typing import Any

from ..backend import Array
from ..geometry import Window
from ..sums import widened_for


def unfold(xp: Any, x: Array, window: Window) -> Array:
    """Every window of `x (N, C, *S)` as a column: `(N, C·taps, positions)`, both in row-major order.

        cols[n, (c, r), p] = x[n, c, p*s - lo + r*d],  zero outside of x

    Its gradient is `fold`: `x[n, c, h]` is read by every `(r, p)` with `h = p*s - lo + r*d`, so
    `dx[n, c, h]` is the sum of `grad[n, (c, r), p]` over them.
    """
    output = window.output_shape(x.shape[2:])
    cols = xp.zeros((*x.shape[:2], *window.kernel, *output), dtype=x.dtype)
    every = (slice(None), slice(None))
    for tap in window.taps(x.shape[2:], output):
        cols[every + tap.offset + tap.out] = x[every + tap.into]
    return cols.reshape(x.shape[0], x.shape[1] * prod(window.kernel), prod(output))


def fold(xp: Any, cols: Array, size: tuple[int, ...], window: Window) -> Array:
    """Columns `(N, C·taps, positions)` added up at their positions: images `(N, C, *size)`.

        y[n, c, h] = Σ_(r,p : h = p*s - lo + r*d)  cols[n, (c, r), p]

    Its gradient is `unfold`: `cols[n, (c, r), p]` is added at one position, `h = p*s - lo + r*d` (or to none,
    outside of `y`), so its gradient is `grad[n, c, h]` (or zero).
    """
    n, c = cols.shape[0], cols.shape[1] // prod(window.kernel)
    output = window.output_shape(size)
    cols = cols.reshape(n, c, *window.kernel, *output)
    wide = widened_for(cols, window.overlaps())
    y = xp.zeros((n, c, *size), dtype=wide.dtype)
    every = (slice(None), slice(None))
    for tap in window.taps(size, output):
        y[every + tap.into] += wide[every + tap.offset + tap.out]
    return y.astype(cols.dtype, copy=False)
