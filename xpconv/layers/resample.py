"""Layers that change the size of images."""

from __future__ import annotations

from typing import ClassVar

from ..backend import Array
from ..ops import resample as ops
from ..resizing import Resizing, Scale, Size, to_resizing
from .layer import Layer, arguments

__all__ = ["Upsample", "UpsamplingBilinear2d", "UpsamplingNearest2d"]


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

    size: int | tuple[int, ...] | None
    scale_factor: Scale | None
    mode: str
    align_corners: bool | None
    recompute_scale_factor: bool | None

    def __init__(
        self,
        size: Size | None = None,
        scale_factor: Scale | None = None,
        mode: str = "nearest",
        align_corners: bool | None = None,
        recompute_scale_factor: bool | None = None,
    ) -> None:
        name = type(self).__name__
        found = to_resizing(name, size, scale_factor, mode, align_corners, recompute_scale_factor)
        self.size, self.scale_factor, self.mode, self.align_corners, self.recompute_scale_factor = found[:5]

    def forward(self, x: Array) -> Array:
        xp = self._enter(x)
        how = Resizing(
            self.size, self.scale_factor, self.mode, self.align_corners, self.recompute_scale_factor
        )
        taps = how.taps(f"{type(self).__name__}.forward", x.shape, x.dtype.itemsize)
        return self.keep(ops.resample(xp, x, taps), xp, taps)

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

    fixed: ClassVar[tuple[str, ...]] = ("mode", "align_corners", "recompute_scale_factor")

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

    fixed: ClassVar[tuple[str, ...]] = ("mode", "align_corners", "recompute_scale_factor")

    def __init__(self, size: Size | None = None, scale_factor: Scale | None = None) -> None:
        super().__init__(size, scale_factor, mode="bilinear", align_corners=True)

    def extra_repr(self) -> str:
        return arguments(size=(self.size, None), scale_factor=(self.scale_factor, None))
