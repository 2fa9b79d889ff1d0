"""Convolution in one, two and three dimensions."""

from __future__ import annotations

from ..backend import Array
from ..ops import conv_complex as ops
from ._checks import LINEAR, check_shape, enter, public
from ._windows import IntOrTuple, Padding, check_bias, sliding

__all__ = ["conv1d", "conv2d", "conv3d"]


def _conv(
    axes: int,
    input: Array,
    weight: Array,
    bias: Array | None,
    stride: IntOrTuple,
    padding: Padding,
    dilation: IntOrTuple,
    groups: int,
) -> Array:
    where = f"functional.conv{axes}d"
    check_bias(where, bias)
    xp, x, w, b = enter(where, {"input": input, "weight": weight}, {"bias": bias}, LINEAR)
    how = sliding(where, axes, w.shape, stride, padding, dilation, groups)
    images, batched = how.images(x, "input")
    if b is not None:
        check_shape(where, "bias", b, (how.outer,), how.why)
    y = ops.conv(xp, images, w, b, how.window, how.groups)
    return y if batched else y[0]


@public
def conv1d(
    input: Array,
    weight: Array,
    bias: Array | None = None,
    stride: IntOrTuple = 1,
    padding: Padding = 0,
    dilation: IntOrTuple = 1,
    groups: int = 1,
) -> Array:
    """1-D convolution, as `torch.nn.functional.conv1d`; see `conv2d`.

    `input` `(N, C, L)` or `(C, L)` and `weight` `(K, C/groups, R)` give `(N, K, P)` or `(K, P)`. Arguments,
    dtypes, errors and the precision of large kernels
    are those of `conv2d`.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.conv1d(np.array([[1.0, 2, 4, 7]]), np.array([[[-1.0, 1]]]))
        array([[1., 2., 3.]])
    """
    return _conv(1, input, weight, bias, stride, padding, dilation, groups)


@public
def conv2d(
    input: Array,
    weight: Array,
    bias: Array | None = None,
    stride: IntOrTuple = 1,
    padding: Padding = 0,
    dilation: IntOrTuple = 1,
    groups: int = 1,
) -> Array:
    """2-D convolution (cross-correlation: `weight` is not flipped), as `torch.nn.functional.conv2d`.

        y[n, k, p, q] = bias[k] + Σ_c Σ_(r,s) input[n, c, p·stride - pad + r·dilation, …] · weight[k, c, r, s]

    `input` `(N, C, H, W)` or `(C, H, W)`, `weight` `(K, C/groups, R, S)` and `bias` `(K,)` give `(N, K, P,
    Q)` or `(K, P, Q)` with `P = ⌊(H + top + bottom - dilation·(R-1) - 1)/stride⌋ + 1`. All are of one
    floating or complex dtype, the result's; nothing is conjugated. The gradients are `conv2d_input`,
    `conv2d_weight` and `conv2d_bias`.

    Kernels from about 8×8 on may be computed by Fourier transforms. The rounding error is then relative to
    the largest values of a piece of `input` (in float32 and complex64 some 1e-7 of them), not to each output,
    which matters for small values beside a peak. A NaN or an infinity makes NaN of a whole piece, as does an
    overflow in the transform. `xpconv.set_exact(True)` rules this out; float64 has smaller errors.

    Args:
        stride, dilation: an int, or one for each axis.
        padding: an int, one for each axis, `((top, bottom), (left, right))`, `'valid'` (none) or `'same'`
            (the result has the size of `input`; stride 1 only; an odd total has its extra pixel at the end).
        groups: number of groups of channels, convolved separately.

    Raises:
        ValueError: an invalid stride, padding, dilation or number of groups.
        ShapeError: (a ValueError) arrays whose shapes do not fit one another, or images smaller than the
            kernel.
        DTypeError, BackendError: (TypeErrors) integers, several dtypes, or arrays of several backends.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> x, weight = np.ones((2, 3, 8, 8), "float32"), np.ones((4, 3, 3, 3), "float32")
        >>> F.conv2d(x, weight, stride=2, padding=1).shape
        (2, 4, 4, 4)
        >>> F.conv2d(x, weight)[0, 0, 0, 0]
        np.float32(27.0)

    Source:
        https://docs.pytorch.org/docs/stable/generated/torch.nn.functional.conv2d.html
    """
    return _conv(2, input, weight, bias, stride, padding, dilation, groups)


@public
def conv3d(
    input: Array,
    weight: Array,
    bias: Array | None = None,
    stride: IntOrTuple = 1,
    padding: Padding = 0,
    dilation: IntOrTuple = 1,
    groups: int = 1,
) -> Array:
    """3-D convolution, as `torch.nn.functional.conv3d`; see `conv2d`.

    `input` `(N, C, D, H, W)` or `(C, D, H, W)` and `weight` `(K, C/groups, R, S, T)` give `(N, K, O, P, Q)`
    or `(K, O, P, Q)`. Arguments, dtypes, errors and the precision of large kernels
    are those of `conv2d`.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.conv3d(np.ones((1, 4, 5, 6)), np.ones((2, 1, 2, 2, 2)))[0, 0, 0, 0]
        np.float64(8.0)
    """
    return _conv(3, input, weight, bias, stride, padding, dilation, groups)
