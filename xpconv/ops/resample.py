"""Resize images, one axis after the other, as every mode is separable.

Along an axis, an output is a weighted sum of a few inputs. `taps` lists these inputs and their weights, in
PyTorch's conventions. The backward is the same sum with inputs and outputs exchanged (`transposed`), so both
are gathers, and both are deterministic on every device.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from math import floor
from typing import Any, NamedTuple

from ..backend import Array
from ..sums import widened, widened_for
from .constants import constant

Row = tuple[tuple[int, float], ...]  # (where to read, with what weight), for one position written


class Taps(NamedTuple):
    """`y[i] = Σ_t weights[t][i] · x[indices[t][i]]`; weights None are all 1.

    `unread` says of each output whether it reads nothing, and is 0; it is empty if there is no such output.
    """

    indices: tuple[tuple[int, ...], ...]
    weights: tuple[tuple[float, ...], ...] | None
    unread: tuple[bool, ...] = ()


def resample(xp: Any, x: Array, taps: tuple[tuple[Taps, Taps] | None, ...]) -> Array:
    """`y = Σ_t weights[t] · x[indices[t]]` along each of the last axes; None leaves one as it is."""
    for _, _, axis, some in _in_order(x, taps, 0):
        x = _gather(xp, x, some, axis)
    return x


def resample_backward(xp: Any, grad: Array, taps: tuple[tuple[Taps, Taps] | None, ...]) -> Array:
    """`dx[h] = Σ grad[i] · w` over all `i` that read `x[h]`, `w` their weights, axis by axis."""
    for _, _, axis, some in _in_order(grad, taps, 1):
        grad = _gather(xp, grad, some, axis)
    return grad


def _in_order(
    x: Array, taps: tuple[tuple[Taps, Taps] | None, ...], side: int
) -> list[tuple[float, int, int, Taps]]:
    """Growth, rank, number and taps of each axis, sorted: axes that shrink first, to leave fewer elements.

    Along the last axis elements are read one by one, along other axes whole rows at once. So the last axis is
    the last of those that shrink, and the first of those that grow.
    """
    order = []
    for axis, pair in enumerate(taps, start=-len(taps)):
        if pair is not None:
            growth = len(pair[side].indices[0]) / (x.shape[axis] or 1)
            order.append((growth, axis if growth < 1 else -axis, axis, pair[side]))
    order.sort()
    return order


def _gather(xp: Any, x: Array, taps: Taps, axis: int) -> Array:
    """The sums along one axis, over as many taps at once as take about as much memory as `x`."""
    indices, weights, dtype = constant(xp, taps.indices, "int64"), None, x.dtype
    count, m = indices.shape
    if dtype.itemsize == 2 and dtype.kind not in "iub" and (count > 1 or taps.weights is not None):
        x = widened(x)
    x = xp.ascontiguousarray(x if count < 4 else widened_for(x, count))  # otherwise each `take` copies it
    if taps.weights is not None:
        weights = constant(xp, taps.weights, str(x.real.dtype if x.dtype.kind == "c" else x.dtype))
        weights = weights.reshape(count, m, *(1,) * (-axis - 1))
    y: Any = None
    step = x.shape[axis] // m if m and count > 3 else 1
    for start in range(0, count, step or 1):
        some: Any = slice(start, start + step) if step > 1 else start
        term = x.take(indices[some], axis=axis)
        if weights is not None:
            term *= weights[some]
        if step > 1:
            term = term.sum(axis=axis - 1, dtype=x.dtype)
        if y is None:
            y = term
        else:
            y += term
    if taps.unread:
        unread = constant(xp, taps.unread, "bool").reshape(-1, *(1,) * (-axis - 1))
        y = xp.where(unread, 0, y)  # not a product with 0, which is NaN for infinities
    return y.astype(dtype, copy=False)


# --- which inputs, with what weights -----------------------------------------------------------------


@lru_cache(maxsize=256)
def axis_taps(
    mode: str,
    n: int,
    m: int,
    scale: float | None,
    align_corners: bool,
    single: bool,
    antialias: bool = False,
) -> tuple[Taps, Taps] | None:
    """How `m` outputs read `n` inputs, and the transposed; None where `y` is `x`.

    Args:
        mode: `'nearest'`, `'nearest-exact'`, `'linear'`, `'cubic'` or `'area'`.
        scale: outputs per input, if the user gave it; None takes `m / n`.
        align_corners: whether the centres of the corner pixels meet, not the corners.
        single: whether to compute indices in single precision, as PyTorch does.
        antialias: for `'linear'` and `'cubic'`, whether an output reads all inputs that it covers.
    """
    if antialias:
        rows = _wide_rows(mode, n, m, scale, align_corners)
    else:
        rows = _rows(mode, n, m, scale, align_corners, single)
    if n == m and rows == [((i, 1.0),) for i in range(n)]:
        return None
    return both_taps(rows, n)


def both_taps(rows: list[Row], n: int) -> tuple[Taps, Taps]:
    """How outputs read `n` inputs, from the `rows` of these outputs, and the transposed."""
    columns: list[dict[int, float]] = [{} for _ in range(n)]
    for i, row in enumerate(rows):
        for h, w in row:
            columns[h][i] = columns[h].get(i, 0.0) + w
    return _taps(rows), _taps([tuple(column.items()) for column in columns])


def _rows(mode: str, n: int, m: int, scale: float | None, align_corners: bool, single: bool) -> list[Row]:
    """For each output, its inputs and their weights.

    Output `i` has its centre at `c = (i + ½)·n/m - ½` among the inputs (`i·(n - 1)/(m - 1)` with aligned
    corners). Linear weighs the two inputs around `c` by nearness; cubic the four around it by Keys' kernel
    with a = -¾; what lies outside is the border pixel. Nearest takes `⌊i·n/m⌋`, nearest-exact
    `⌊(i + ½)·n/m⌋`, and area the mean of all from `⌊i·n/m⌋` to `⌈(i + 1)·n/m⌉`.
    """
    if mode == "area":
        spans = [(i * n // m, -(-(i + 1) * n // m)) for i in range(m)]
        return [tuple((h, 1 / (end - start)) for h in range(start, end)) for start, end in spans]
    step = n / m if scale is None else 1 / scale
    if mode in ("nearest", "nearest-exact"):
        half = 0.5 if mode == "nearest-exact" else 0.0
        step = _to_single(step) if single else step
        return [((min(floor(_to_single((i + half) * step)), n - 1), 1.0),) for i in range(m)]
    if align_corners:
        step = (n - 1) / (m - 1) if m > 1 else 0.0
    centres = [i * step if align_corners else (i + 0.5) * step - 0.5 for i in range(m)]
    if mode == "linear":
        if n == m:  # whatever the scale
            return [((i, 1.0),) for i in range(n)]
        return [_row(floor(c), (1 - c % 1, c % 1), n) for c in centres]
    return [_row(floor(c) - 1, [_keys(c % 1 + d) for d in (1, 0, -1, -2)], n) for c in centres]


def _wide_rows(mode: str, n: int, m: int, scale: float | None, align_corners: bool) -> list[Row]:
    """As `_rows`, with kernels that are `step` times as wide where `m` outputs are fewer than `n` inputs.

    The weights are those of the kernel (Keys' with a = -½) at the centres of the inputs, over their sum.
    """
    if n == m:  # whatever the scale, as in PyTorch's forward
        return [((i, 1.0),) for i in range(n)]
    step = n / m if scale is None else 1 / scale
    if align_corners:
        step = (n - 1) / (m - 1) if m > 1 else 0.0
    wide = max(1.0, step)
    reach = wide * (1 if mode == "linear" else 2)
    rows = []
    for i in range(m):
        centre = step * (i + 0.5)
        inputs = range(max(int(centre - reach + 0.5), 0), min(int(centre + reach + 0.5), n))
        distances = [(h - centre + 0.5) / wide for h in inputs]
        weights = [max(0.0, 1 - abs(t)) if mode == "linear" else _keys(t, -0.5) for t in distances]
        total = sum(weights) or 1.0
        rows.append(tuple((h, w / total) for h, w in zip(inputs, weights, strict=True) if w))
    return rows


def _row(first: int, weights: tuple[float, ...] | list[float], n: int) -> Row:
    """Weights on consecutive inputs; weights of inputs outside are added to the border's."""
    row: dict[int, float] = {}
    for h, w in enumerate(weights, start=first):
        if w:
            h = min(max(h, 0), n - 1)
            row[h] = row.get(h, 0.0) + w
    return tuple(row.items())


def _keys(t: float, a: float = -0.75) -> float:
    """Keys' cubic convolution kernel at distance `t` (Keys, 1981)."""
    t = abs(t)
    if t <= 1:
        return ((a + 2) * t - (a + 3)) * t * t + 1
    return ((a * t - 5 * a) * t + 8 * a) * t - 4 * a if t < 2 else 0.0


def _taps(rows: list[Row]) -> Taps:
    """Rows side by side; short ones are filled by dividing their last weight into equal parts.

    A weight of 0 in place of this would make NaN of an infinity.
    """
    count = max(1, max(map(len, rows)))
    filled = []
    for row in rows:
        full = row or ((0, 0.0),)
        last, weight = full[-1]
        parts = count - len(full) + 1
        filled.append((*full[:-1], *((last, weight / parts),) * parts))
    indices = tuple(tuple(row[t][0] for row in filled) for t in range(count))
    weights = tuple(tuple(row[t][1] for row in filled) for t in range(count))
    ones = all(w == 1.0 for tap in weights for w in tap)
    unread = () if all(rows) else tuple(not row for row in rows)
    return Taps(indices, None if ones else weights, unread)


def _to_single(x: float) -> float:
    """Rounded to single precision."""
    return float(struct.unpack("f", struct.pack("f", x))[0])
