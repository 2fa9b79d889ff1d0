"""Resizing of images, and its gradient."""

from __future__ import annotations

from collections.abc import Sequence

from ..backend import Array
from ..errors import DTypeError
from ..ops import resample as ops
from ..resizing import Resizing, Size, to_resizing
from ._checks import EXACT, check_shape, enter, public, to_shape

__all__ = ["interpolate", "interpolate_backward"]


@public
def interpolate(
    input: Array,
    size: Size | None = None,
    scale_factor: float | Sequence[float] | None = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Array:
    """Resize images, as `torch.nn.functional.interpolate`, without its mode `'lanczos'`.

    `input` is `(N, C, *S)` of a floating or complex dtype, with `'nearest'` and `'nearest-exact'` also of an
    integer one; the result is `(N, C, *size)` or `(N, C, *⌊S·scale_factor⌋)`. Each output is computed from
    the nearest input pixel, from 2 (linear) or 4 (cubic) pixels along each axis, or as the mean of all input
    pixels that it covers (`'area'`). `Upsample` documents the details.

    Args:
        size: size of the output: an int, or one for each axis.
        scale_factor: instead of `size`, a positive number, or one for each axis.
        mode: `'nearest'`, `'nearest-exact'` or `'area'`, of 1 to 3 axes; `'linear'` of one, `'bilinear'` and
            `'bicubic'` of two, `'trilinear'` of three axes.
        align_corners: for the linear and cubic modes, whether the centres of the corner pixels meet (True)
            or the corners (False, and None).
        recompute_scale_factor: whether to compute the scale from the output's size, not from `scale_factor`.
        antialias: for `'bilinear'` and `'bicubic'`, whether outputs that cover several pixels are means of
            all of these, as in Pillow.

    Raises:
        ValueError: both or none of `size` and `scale_factor`, an impossible value, an unknown mode, or
            `align_corners` or `antialias` for a mode that has none.
        ShapeError: (a ValueError) `input` of a rank that the mode does not take, or an output of no pixels.
        DTypeError, BackendError: (TypeErrors) integers in a mode that computes means; not an array of
            numbers.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> x = np.array([[[1.0, 2, 4]]])
        >>> F.interpolate(x, scale_factor=2)
        array([[[1., 1., 2., 2., 4., 4.]]])
        >>> F.interpolate(x, 5, mode="linear", align_corners=True)
        array([[[1. , 1.5, 2. , 3. , 4. ]]])
    """
    where = "functional.interpolate"
    xp, x = enter(where, {"input": input}, kinds=EXACT)
    scale = tuple(scale_factor) if isinstance(scale_factor, list) else scale_factor
    how = to_resizing(where, size, scale, mode, align_corners, recompute_scale_factor, antialias)
    _check_exact(where, x, "input", how)
    y = ops.resample(xp, x, how.taps(where, x.shape, x.real.dtype.itemsize, "input"))
    return y.copy() if y is x else y


@public
def interpolate_backward(
    grad_output: Array,
    input_size: Sequence[int],
    size: Size | None = None,
    scale_factor: float | Sequence[float] | None = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Array:
    """Gradient of `interpolate` with respect to `input`, which is its adjoint.

    `grad_output` has the shape of what `interpolate` returned; the result has the shape `input_size`, `(N, C,
    *S)`. Other arguments and errors are those of `interpolate`.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.interpolate_backward(np.array([[[1.0, 2, 3, 4]]]), (1, 1, 2), scale_factor=2)
        array([[[3., 7.]]])
    """
    where = "functional.interpolate_backward"
    xp, grad = enter(where, {"grad_output": grad_output}, kinds=EXACT)
    scale = tuple(scale_factor) if isinstance(scale_factor, list) else scale_factor
    how = to_resizing(where, size, scale, mode, align_corners, recompute_scale_factor, antialias)
    _check_exact(where, grad, "grad_output", how)
    shape = to_shape(where, "input_size", input_size, (3, 4, 5), "(N, C, *S)")
    taps = how.taps(where, shape, grad.real.dtype.itemsize, "input_size")
    sizes = (n if pair is None else len(pair[0].indices[0]) for n, pair in zip(shape[2:], taps, strict=True))
    check_shape(where, "grad_output", grad, (*shape[:2], *sizes), f"input_size is {shape}")
    dx = ops.resample_backward(xp, grad, taps)
    return dx.copy() if dx is grad else dx


def _check_exact(where: str, x: Array, argument: str, how: Resizing) -> None:
    """Raise a DTypeError for integers in a mode that computes means."""
    if x.dtype.kind in "iu" and not how.mode.startswith("nearest"):
        raise DTypeError(
            f"{where}: {argument} is {x.dtype}, and mode={how.mode!r} computes means; give "
            f"{argument}.astype('float32'), or mode='nearest'"
        )
