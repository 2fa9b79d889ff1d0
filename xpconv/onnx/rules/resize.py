"""Upsample."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...layers.resample import Upsample
from ...ops.resample import Taps, axis_taps
from ...resizing import MODES, axis_scale
from ..builder import Builder, Tensor
from .pool import adaptive_average, along
from .table import rule


@rule(Upsample)
def upsample(b: Builder, layer: Upsample, x: Tensor) -> Any:
    """Resize where it rounds as the layer does, else Gather, or products with matrices, along each axis."""
    spatial = b.fixed(x, *range(2, x.ndim))
    given: Any = layer.size if layer.scale_factor is None else layer.scale_factor
    values = given if isinstance(given, tuple) else (given,) * len(spatial)
    sizes = [v if layer.scale_factor is None else int(n * v) for n, v in zip(spatial, values, strict=True)]
    kind = MODES[layer.mode][0]
    if kind == "area":
        return adaptive_average(b, x, tuple(sizes))
    scaled = layer.scale_factor is not None and not layer.recompute_scale_factor
    scales = [float(v) if scaled else None for v in values]
    axes = len(spatial)
    scales = [axis_scale(kind, n, m, axes, s) for n, m, s in zip(spatial, sizes, scales, strict=True)]
    if options := _resize(layer, kind, spatial, sizes, scales):
        factors = np.array([1, 1, *(m / n for n, m in zip(spatial, sizes, strict=True))], "float32")
        return b.node("Resize", x, None, factors, **options)
    single = x.dtype.itemsize < 8
    for axis, (n, m, scale) in enumerate(zip(spatial, sizes, scales, strict=True), start=2):
        pair = axis_taps(kind, n, m, scale, bool(layer.align_corners), single)
        if pair is None:
            continue
        taps = pair[0]
        if taps.weights is None and len(taps.indices) == 1:
            x = b.node("Gather", x, np.array(taps.indices[0], "int64"), axis=axis)
        else:
            x = along(b, x, _matrix(taps, n), axis)
    return x


def _resize(
    layer: Upsample, kind: str, spatial: tuple[int, ...], sizes: list[int], scales: list[float | None]
) -> dict[str, Any] | None:
    """The attributes of a Resize that does the same; None if its coordinates would differ.

    That is where each size is a whole multiple and the scale is not another: there the coordinates of all
    runtimes are exact.
    """
    for n, m, scale in zip(spatial, sizes, scales, strict=True):
        if m % n or scale not in (None, m / n):
            return None
    if kind in ("nearest", "nearest-exact"):
        return {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    where = "align_corners" if layer.align_corners else "half_pixel"
    if len(spatial) == 1 or (layer.align_corners and 1 in sizes):
        return None
    options: dict[str, Any] = {"mode": kind, "coordinate_transformation_mode": where}
    return {**options, "cubic_coeff_a": -0.75} if kind == "cubic" else options


def _matrix(taps: Taps, size: int) -> np.ndarray:
    """The weights as a matrix: a row for each output, a column for each input."""
    matrix = np.zeros((len(taps.indices[0]), size))
    rows = np.arange(len(matrix))
    for t, indices in enumerate(taps.indices):
        np.add.at(matrix, (rows, np.array(indices)), 1.0 if taps.weights is None else taps.weights[t])
    return matrix
