"""Layers that change the size of images."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real

from ..arguments import check_room, is_sequence, shown, to_bool, to_choice, to_float, to_size
from ..backend import Array
from ..errors import ShapeError
from ..ops import resample as ops
from .layer import Layer, arguments

__all__ = ["Upsample", "UpsamplingBilinear2d", "UpsamplingNearest2d"]

Size = int | Sequence[int]
Scale = float | tuple[float, ...]

# mode: its name along one axis, and the accepted ranks of images
_MODES = {
    "nearest": ("nearest", (3, 4, 5)),
    "nearest-exact": ("nearest-exact", (3, 4, 5)),
    "area": ("area", (3, 4, 5)),
    "linear": ("linear", (3,)),
    "bilinear": ("linear", (4,)),
    "trilinear": ("linear", (5,)),
    "bicubic": ("cubic", (4,)),
}
_EXPECTED = {3: "(N, C, W)", 4: "(N, C, H, W)", 5: "(N, C, D, H, W)"}


class Upsample(Layer):
    """Resize images, as `torch.nn.Upsample`.

        y[n, c, i] = Σ_h w[i, h] · x[n, c, h]        along each spatial axis in turn

    `x` is `(N, C, *S)`, always batched, as in PyTorch; `y` `(N, C, *size)` or `(N, C, *⌊S·scale_factor⌋)`.
    An output reads its nearest input (`'nearest'`, rounded down; `'nearest-exact'`, from the centre of
    the pixel), at 2 inputs an axis (linear), at 4 (cubic, Keys 1981 with a = -0.75), or at the mean of all
    under it (`'area'`). Forward saves only the sizes.

    Args:
        size: size of the output: an int, or one for each axis.
        scale_factor: instead of `size`, a positive number, or a tuple with one for each axis.
        mode: `'nearest'`, `'nearest-exact'` or `'area'`, of 1 to 3 axes; `'linear'` of one, `'bilinear'` and
            `'bicubic'` of two, `'trilinear'` of three axes.
        align_corners: for the linear and cubic modes, whether the centres of the corner pixels meet (True)
            or the corners (False, and None).
        recompute_scale_factor: True takes the coordinates from the output's size, not from `scale_factor`.

    Raises:
        ValueError: both or none of `size` and `scale_factor`, an impossible value, an unknown mode, or
            `align_corners` for a mode that has none.
        ShapeError: (a ValueError) `x` of a rank that the mode does not take, or an output of no pixels.

    Example:
        >>> import numpy as np, xpconv
        >>> x = np.array([[[1.0, 2, 4]]])
        >>> xpconv.Upsample(scale_factor=2)(x)
        array([[[1., 1., 2., 2., 4., 4.]]])
        >>> xpconv.Upsample(5, mode="linear", align_corners=True)(x)
        array([[[1. , 1.5, 2. , 3. , 4. ]]])
    """

    def __init__(
        self,
        size: Size | None = None,
        scale_factor: Scale | None = None,
        mode: str = "nearest",
        align_corners: bool | None = None,
        recompute_scale_factor: bool | None = None,
    ) -> None:
        name = type(self).__name__
        self.mode = mode = to_choice(f"{name}: mode", mode, _MODES)
        if (size is None) == (scale_factor is None):
            both = f"size is {shown(size)} and scale_factor is {shown(scale_factor)}"
            raise ValueError(f"{name}: {both}, expected one of them")
        if align_corners is not None and _MODES[mode][0] not in ("linear", "cubic"):
            raise ValueError(
                f"{name}: align_corners is {shown(align_corners)}, but mode={mode!r} has none; leave it None"
            )
        if recompute_scale_factor is not None:
            recompute_scale_factor = to_bool(f"{name}: recompute_scale_factor", recompute_scale_factor)
        if recompute_scale_factor and size is not None:
            raise ValueError(f"{name}: recompute_scale_factor needs scale_factor, got size={shown(size)}")
        if is_sequence(size):
            size = tuple(to_size(f"{name}: size", s) for s in size)
        elif size is not None:
            size = to_size(f"{name}: size", size)
        elif isinstance(scale_factor, tuple):
            scale_factor = tuple(self._scale(s) for s in scale_factor)
        else:
            scale_factor = self._scale(scale_factor)
        self.size, self.scale_factor = size, scale_factor
        if align_corners is not None:
            align_corners = to_bool(f"{name}: align_corners", align_corners)
        self.align_corners = align_corners
        self.recompute_scale_factor = recompute_scale_factor

    def _scale(self, value: object) -> float:
        where = f"{type(self).__name__}: scale_factor"
        if not isinstance(value, Real):
            raise TypeError(f"{where} is {shown(value)}, expected a number or a tuple of them")
        scale = to_float(where, value, finite=True)
        if not scale > 0:
            raise ValueError(f"{where} is {value!r}, expected positive numbers")
        return scale

    def forward(self, x: Array) -> Array:
        xp = self._enter(x)
        name = type(self).__name__
        mode, ranks = _MODES[self.mode]
        if x.ndim not in ranks:
            expected = " or ".join(_EXPECTED[r] for r in ranks)
            raise ShapeError(
                f"{name}.forward: x has shape {x.shape}, expected {expected} for mode={self.mode!r}"
            )
        if 0 in x.shape[1:]:
            raise ShapeError(f"{name}.forward: x has shape {x.shape}: only the batch may be empty")
        axes = x.ndim - 2
        given = self.size if self.scale_factor is None else self.scale_factor
        values = given if isinstance(given, tuple) else (given,) * axes
        if len(values) != axes:
            raise ShapeError(
                f"{name}.forward: x has shape {x.shape}, so {axes} spatial axes, but {len(values)} numbers "
                f"are given for them: {given}"
            )
        sizes = [
            value if self.scale_factor is None else int(n * value)
            for n, value in zip(x.shape[2:], values, strict=True)
        ]
        check_room(f"{name}.forward: an output", (*x.shape[:2], *sizes), x.dtype.itemsize)
        taps = []
        for n, m, value in zip(x.shape[2:], sizes, values, strict=True):
            if m < 1:
                raise ShapeError(
                    f"{name}.forward: x has shape {x.shape}: scale_factor={self.scale_factor} leaves nothing "
                    f"of an axis of {n}"
                )
            scale = None if self.scale_factor is None or self.recompute_scale_factor else value
            taps.append(ops.axis_taps(mode, n, m, scale, bool(self.align_corners), x.dtype.itemsize < 8))
        return self.keep(ops.resample(xp, x, tuple(taps)), xp, tuple(taps))

    def backward(self, grad_output: Array, input_grad: bool = True) -> Array | None:
        xp, taps = self.recall(grad_output, input_grad)
        return ops.resample_backward(xp, grad_output, taps) if input_grad else None

    def extra_repr(self) -> str:
        return arguments(
            size=(self.size, None),
            scale_factor=(self.scale_factor, None),
            mode=(self.mode, "nearest"),
            align_corners=(self.align_corners, None),
            recompute_scale_factor=(self.recompute_scale_factor, None),
        )


class UpsamplingNearest2d(Upsample):
    """`Upsample` with mode `'nearest'`, as `torch.nn.UpsamplingNearest2d`.

    Args:
        size, scale_factor: one of them, as for `Upsample`.

    Example:
        >>> import numpy as np, xpconv
        >>> xpconv.UpsamplingNearest2d(scale_factor=2)(np.array([[[[1.0, 2]]]]))
        array([[[[1., 1., 2., 2.],
                 [1., 1., 2., 2.]]]])
    """

    fixed = ("mode", "align_corners", "recompute_scale_factor")

    def __init__(self, size: Size | None = None, scale_factor: Scale | None = None) -> None:
        super().__init__(size, scale_factor)

    def extra_repr(self) -> str:
        return arguments(size=(self.size, None), scale_factor=(self.scale_factor, None))


class UpsamplingBilinear2d(Upsample):
    """`Upsample` with mode `'bilinear'` and aligned corners, as `torch.nn.UpsamplingBilinear2d`.

    Args:
        size, scale_factor: one of them, as for `Upsample`.

    Example:
        >>> import numpy as np, xpconv
        >>> xpconv.UpsamplingBilinear2d(size=(1, 3))(np.array([[[[1.0, 2]]]]))
        array([[[[1. , 1.5, 2. ]]]])
    """

    fixed = ("mode", "align_corners", "recompute_scale_factor")

    def __init__(self, size: Size | None = None, scale_factor: Scale | None = None) -> None:
        super().__init__(size, scale_factor, mode="bilinear", align_corners=True)

    def extra_repr(self) -> str:
        return arguments(size=(self.size, None), scale_factor=(self.scale_factor, None))
