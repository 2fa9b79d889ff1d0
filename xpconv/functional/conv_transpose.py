"""Transposed convolution and its gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..arguments import shown
from ..backend import Array
from ..checks import as_images
from ..geometry import Shape
from ..ops import conv_transpose as ops
from ._checks import LINEAR, check_shape, enter, public
from ._windows import (
    IntOrTuple,
    Padding,
    Sliding,
    as_gradient,
    check_bias,
    image_size,
    sliding,
    transposed_size,
    weight_size,
)

__all__ = [
    "conv_transpose1d", "conv_transpose1d_input", "conv_transpose1d_weight",
    "conv_transpose2d", "conv_transpose2d_input", "conv_transpose2d_weight",
    "conv_transpose3d", "conv_transpose3d_input", "conv_transpose3d_weight",
]  # fmt: skip

ORDER = "in_channels, out_channels/groups"


def _sliding(
    where: str, axes: int, weight_shape: Shape, stride: IntOrTuple, padding: Padding, *more: Any, **names: str
) -> Sliding:
    """The checked settings of the convolution whose transpose this is; further arguments as for `sliding`."""
    if isinstance(padding, str):
        raise ValueError(f"{where}: padding is {shown(padding)}, expected numbers")
    return sliding(where, axes, weight_shape, stride, padding, *more, **{"order": ORDER, **names})


def _transpose(
    axes: int,
    input: Array,
    weight: Array,
    bias: Array | None,
    stride: IntOrTuple,
    padding: Padding,
    output_padding: IntOrTuple,
    groups: int,
    dilation: IntOrTuple,
) -> Array:
    where = f"functional.conv_transpose{axes}d"
    check_bias(where, bias)
    xp, x, w, b = enter(where, {"input": input, "weight": weight}, {"bias": bias}, LINEAR)
    how = _sliding(where, axes, w.shape, stride, padding, dilation, groups)
    images, batched = as_images(where, x, axes, how.outer, how.why, "input", "weight")
    size = transposed_size(how, x, images.shape[2:], output_padding)
    if b is not None:
        check_shape(where, "bias", b, (how.inner,), how.why)
    y = ops.conv_transpose(xp, images, w, b, size, how.window, how.groups)
    return y if batched else y[0]


def _input(
    axes: int,
    input_size: Sequence[int],
    weight: Array,
    grad_output: Array,
    stride: IntOrTuple,
    padding: Padding,
    output_padding: IntOrTuple,
    groups: int,
    dilation: IntOrTuple,
) -> Array:
    where = f"functional.conv_transpose{axes}d_input"
    xp, w, grad = enter(where, {"weight": weight, "grad_output": grad_output}, kinds=LINEAR)
    how = _sliding(where, axes, w.shape, stride, padding, dilation, groups)
    shape, batched = image_size(how, "input_size", input_size, transposed=True)
    size = transposed_size(how, grad, shape[2:], output_padding, "input_size")
    why = f"input_size {tuple(input_size)}, {how.why}"
    grad = as_gradient(where, grad, (shape[0], how.inner, *size), batched, why)
    dx = ops.conv_transpose_backward_input(xp, grad, w, shape, how.window, how.groups)
    return dx if batched else dx[0]


def _weight(
    axes: int,
    input: Array,
    weight_size_: Sequence[int],
    grad_output: Array,
    stride: IntOrTuple,
    padding: Padding,
    output_padding: IntOrTuple,
    groups: int,
    dilation: IntOrTuple,
) -> Array:
    where = f"functional.conv_transpose{axes}d_weight"
    xp, x, grad = enter(where, {"input": input, "grad_output": grad_output}, kinds=LINEAR)
    shape = weight_size(where, axes, weight_size_, ORDER)
    how = _sliding(where, axes, shape, stride, padding, dilation, groups, argument="weight_size")
    images, batched = as_images(where, x, axes, how.outer, how.why, "input", "weight")
    size = transposed_size(how, x, images.shape[2:], output_padding)
    why = f"input has shape {x.shape}, {how.why}"
    grad = as_gradient(where, grad, (len(images), how.inner, *size), batched, why)
    return ops.conv_transpose_backward_weight(xp, grad, images, shape, how.window, how.groups)


@public
def conv_transpose1d(
    input: Array,
    weight: Array,
    bias: Array | None = None,
    stride: IntOrTuple = 1,
    padding: Padding = 0,
    output_padding: IntOrTuple = 0,
    groups: int = 1,
    dilation: IntOrTuple = 1,
) -> Array:
    """1-D transposed convolution, as `torch.nn.functional.conv_transpose1d`.

    `input` `(N, C, P)` or `(C, P)` and `weight` `(C, K/groups, R)` give `(N, K, L)` or `(K, L)`. Everything
    else is as in `conv_transpose2d`.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.conv_transpose1d(np.ones((2, 4, 8)), np.ones((4, 3, 2))).shape
        (2, 3, 9)
    """
    return _transpose(1, input, weight, bias, stride, padding, output_padding, groups, dilation)


@public
def conv_transpose1d_input(
    input_size: Sequence[int],
    weight: Array,
    grad_output: Array,
    stride: IntOrTuple = 1,
    padding: Padding = 0,
    output_padding: IntOrTuple = 0,
    groups: int = 1,
    dilation: IntOrTuple = 1,
) -> Array:
    """Gradient of `conv_transpose1d` with respect to `input`, which is its adjoint.

    `weight` `(C, K/groups, R)` and `grad_output` `(N, K, L)` or `(K, L)` give `(N, C, P)` or `(C, P)`, which
    is `input_size`: `conv1d` of `grad_output` with the conjugate of `weight`. Arguments and errors are those
    of `conv_transpose2d`.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.conv_transpose1d_input((2, 4, 8), np.ones((4, 3, 2)), np.ones((2, 3, 9))).shape
        (2, 4, 8)
    """
    return _input(1, input_size, weight, grad_output, stride, padding, output_padding, groups, dilation)


@public
def conv_transpose1d_weight(
    input: Array,
    weight_size: Sequence[int],
    grad_output: Array,
    stride: IntOrTuple = 1,
    padding: Padding = 0,
    output_padding: IntOrTuple = 0,
    groups: int = 1,
    dilation: IntOrTuple = 1,
) -> Array:
    """Gradient of `conv_transpose1d` with respect to `weight`, which is its adjoint.

    `input` `(N, C, P)` or `(C, P)` and `grad_output` `(N, K, L)` or `(K, L)` give `(C, K/groups, R)`, which
    is `weight_size`. `input` is conjugated. Arguments and errors are those of `conv_transpose2d`.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.conv_transpose1d_weight(np.ones((2, 4, 8)), (4, 3, 2), np.ones((2, 3, 9))).shape
        (4, 3, 2)
    """
    return _weight(1, input, weight_size, grad_output, stride, padding, output_padding, groups, dilation)


@public
def conv_transpose2d(
    input: Array,
    weight: Array,
    bias: Array | None = None,
    stride: IntOrTuple = 1,
    padding: Padding = 0,
    output_padding: IntOrTuple = 0,
    groups: int = 1,
    dilation: IntOrTuple = 1,
) -> Array:
    """2-D transposed convolution, as `torch.nn.functional.conv_transpose2d`.

        y[n, k, h, w] = bias[k] + Σ_c Σ input[n, c, p, q] · weight[c, k, r, s]
                        over h = p·stride - padding + r·dilation, w = …

    `input` `(N, C, P, Q)` or `(C, P, Q)`, `weight` `(C, K/groups, R, S)` and `bias` `(K,)` give `(N, K, H,
    W)` or `(K, H, W)` with `H = (P-1)·stride - top - bottom + dilation·(R-1) + output_padding + 1`. Nothing
    is conjugated: it is the adjoint of the `conv2d` with the same arguments and the conjugate of `weight`.

    Args:
        stride, dilation: an int, or one for each axis, of that `conv2d`.
        padding: an int, one for each axis, or `((top, bottom), (left, right))`, removed from the result.
        output_padding: an int, or one for each axis, less than stride or dilation: added to the size at the
            end.
        groups: number of groups of channels, convolved separately.

    Raises:
        ValueError: an invalid stride, padding, dilation or number of groups.
        ShapeError: (a ValueError) arrays whose shapes do not fit one another; an empty result.
        DTypeError, BackendError: (TypeErrors) integers, several dtypes, or arrays of several backends.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.conv_transpose2d(np.ones((2, 4, 6, 6)), np.ones((4, 3, 3, 3))).shape
        (2, 3, 8, 8)
    """
    return _transpose(2, input, weight, bias, stride, padding, output_padding, groups, dilation)


@public
def conv_transpose2d_input(
    input_size: Sequence[int],
    weight: Array,
    grad_output: Array,
    stride: IntOrTuple = 1,
    padding: Padding = 0,
    output_padding: IntOrTuple = 0,
    groups: int = 1,
    dilation: IntOrTuple = 1,
) -> Array:
    """Gradient of `conv_transpose2d` with respect to `input`, which is its adjoint.

    `weight` `(C, K/groups, R, S)` and `grad_output` `(N, K, H, W)` or `(K, H, W)` give `input_size`,
    `(N, C, P, Q)` or `(C, P, Q)`: `conv2d` of `grad_output` with the conjugate of `weight`. Arguments and
    errors are those of `conv_transpose2d`.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.conv_transpose2d_input((2, 4, 6, 6), np.ones((4, 3, 3, 3)), np.ones((2, 3, 8, 8))).shape
        (2, 4, 6, 6)
    """
    return _input(2, input_size, weight, grad_output, stride, padding, output_padding, groups, dilation)


@public
def conv_transpose2d_weight(
    input: Array,
    weight_size: Sequence[int],
    grad_output: Array,
    stride: IntOrTuple = 1,
    padding: Padding = 0,
    output_padding: IntOrTuple = 0,
    groups: int = 1,
    dilation: IntOrTuple = 1,
) -> Array:
    """Gradient of `conv_transpose2d` with respect to `weight`, which is its adjoint.

    `input` `(N, C, P, Q)` or `(C, P, Q)` and `grad_output` `(N, K, H, W)` or `(K, H, W)` give `(C, K/groups,
    R, S)`, which is `weight_size`. `input` is conjugated. Arguments and errors are those of
    `conv_transpose2d`.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.conv_transpose2d_weight(np.ones((2, 4, 6, 6)), (4, 3, 3, 3), np.ones((2, 3, 8, 8))).shape
        (4, 3, 3, 3)
    """
    return _weight(2, input, weight_size, grad_output, stride, padding, output_padding, groups, dilation)


@public
def conv_transpose3d(
    input: Array,
    weight: Array,
    bias: Array | None = None,
    stride: IntOrTuple = 1,
    padding: Padding = 0,
    output_padding: IntOrTuple = 0,
    groups: int = 1,
    dilation: IntOrTuple = 1,
) -> Array:
    """3-D transposed convolution, as `torch.nn.functional.conv_transpose3d`.

    `input` `(N, C, O, P, Q)` or `(C, O, P, Q)` and `weight` `(C, K/groups, R, S, T)` give `(N, K, D, H, W)`
    or `(K, D, H, W)`. Everything else is as in `conv_transpose2d`.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.conv_transpose3d(np.ones((1, 3, 3, 4, 5)), np.ones((3, 2, 2, 2, 2))).shape
        (1, 2, 4, 5, 6)
    """
    return _transpose(3, input, weight, bias, stride, padding, output_padding, groups, dilation)


@public
def conv_transpose3d_input(
    input_size: Sequence[int],
    weight: Array,
    grad_output: Array,
    stride: IntOrTuple = 1,
    padding: Padding = 0,
    output_padding: IntOrTuple = 0,
    groups: int = 1,
    dilation: IntOrTuple = 1,
) -> Array:
    """Gradient of `conv_transpose3d` with respect to `input`, which is its adjoint.

    `weight` `(C, K/groups, R, S, T)` and `grad_output` `(N, K, D, H, W)` or `(K, D, H, W)` give `(N, C, O, P,
    Q)` or `(C, O, P, Q)`, which is `input_size`: `conv3d` of `grad_output` with the conjugate of `weight`.
    Arguments and errors are those of `conv_transpose2d`.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.conv_transpose3d_input((3, 2, 2, 2), np.ones((3, 2, 2, 2, 2)), np.ones((2, 3, 3, 3))).shape
        (3, 2, 2, 2)
    """
    return _input(3, input_size, weight, grad_output, stride, padding, output_padding, groups, dilation)


@public
def conv_transpose3d_weight(
    input: Array,
    weight_size: Sequence[int],
    grad_output: Array,
    stride: IntOrTuple = 1,
    padding: Padding = 0,
    output_padding: IntOrTuple = 0,
    groups: int = 1,
    dilation: IntOrTuple = 1,
) -> Array:
    """Gradient of `conv_transpose3d` with respect to `weight`, which is its adjoint.

    `input` `(N, C, O, P, Q)` or `(C, O, P, Q)` and `grad_output` `(N, K, D, H, W)` or `(K, D, H, W)` give
    `(C, K/groups, R, S, T)`, which is `weight_size`. `input` is conjugated. Arguments and errors
    are those of `conv_transpose2d`.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> x, grad = np.ones((1, 3, 3, 4, 5)), np.ones((1, 2, 4, 5, 6))
        >>> F.conv_transpose3d_weight(x, (3, 2, 2, 2, 2), grad).shape
        (3, 2, 2, 2, 2)
    """
    return _weight(3, input, weight_size, grad_output, stride, padding, output_padding, groups, dilation)
