"""The gradients of convolution with respect to its input, weight and bias, which are its adjoints."""

from __future__ import annotations

from collections.abc import Sequence

from ..backend import Array
from ..checks import SPATIAL
from ..errors import ShapeError
from ..ops import conv_complex as ops
from ._checks import LINEAR, enter, public
from ._windows import IntOrTuple, Padding, as_gradient, image_size, sliding, weight_size

__all__ = [
    "conv1d_bias", "conv1d_input", "conv1d_weight", "conv2d_bias", "conv2d_input", "conv2d_weight",
    "conv3d_bias", "conv3d_input", "conv3d_weight",
]  # fmt: skip


def _input(
    axes: int,
    input_size: Sequence[int],
    weight: Array,
    grad_output: Array,
    stride: IntOrTuple,
    padding: Padding,
    dilation: IntOrTuple,
    groups: int,
) -> Array:
    where = f"functional.conv{axes}d_input"
    xp, w, grad = enter(where, {"weight": weight, "grad_output": grad_output}, kinds=LINEAR)
    how = sliding(where, axes, w.shape, stride, padding, dilation, groups)
    shape, batched = image_size(how, "input_size", input_size)
    why = f"input_size {tuple(input_size)}, {how.why}"
    grad = as_gradient(where, grad, how.output_shape(shape), batched, why)
    dx = ops.conv_backward_input(xp, grad, w, shape, how.window, how.groups)
    return dx if batched else dx[0]


def _weight(
    axes: int,
    input: Array,
    weight_size_: Sequence[int],
    grad_output: Array,
    stride: IntOrTuple,
    padding: Padding,
    dilation: IntOrTuple,
    groups: int,
) -> Array:
    where = f"functional.conv{axes}d_weight"
    xp, x, grad = enter(where, {"input": input, "grad_output": grad_output}, kinds=LINEAR)
    size = weight_size(where, axes, weight_size_, "out_channels, in_channels/groups")
    how = sliding(where, axes, size, stride, padding, dilation, groups, "weight_size")
    images, batched = how.images(x, "input")
    why = f"input has shape {x.shape}, {how.why}"
    grad = as_gradient(where, grad, how.output_shape(images.shape), batched, why)
    return ops.conv_backward_weight(xp, grad, images, size, how.window, how.groups)


def bias_gradient(where: str, axes: int, grad_output: Array) -> Array:
    """The sum of `grad_output` over all axes except the channels."""
    xp, grad = enter(where, {"grad_output": grad_output}, kinds=LINEAR)
    if grad.ndim not in (axes + 1, axes + 2):
        form = f"(N, K, {SPATIAL[axes]}) or (K, {SPATIAL[axes]})"
        raise ShapeError(f"{where}: grad_output has shape {grad.shape}, expected {form}")
    return ops.channel_sum(xp, grad if grad.ndim == axes + 2 else grad[None])


@public
def conv1d_input(
    input_size: Sequence[int],
    weight: Array,
    grad_output: Array,
    stride: IntOrTuple = 1,
    padding: Padding = 0,
    dilation: IntOrTuple = 1,
    groups: int = 1,
) -> Array:
    """Gradient of `conv1d` with respect to `input`, its adjoint, as `torch.nn.grad.conv1d_input`.

    `weight` `(K, C/groups, R)` and `grad_output` `(N, K, P)` or `(K, P)` give `(N, C, L)` or `(C, L)`, which
    is `input_size`. Everything else is as in `conv2d_input`.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> weight, grad = np.ones((4, 3, 2)), np.ones((2, 4, 8))
        >>> F.conv1d_input((2, 3, 9), weight, grad).shape
        (2, 3, 9)
    """
    return _input(1, input_size, weight, grad_output, stride, padding, dilation, groups)


@public
def conv1d_weight(
    input: Array,
    weight_size: Sequence[int],
    grad_output: Array,
    stride: IntOrTuple = 1,
    padding: Padding = 0,
    dilation: IntOrTuple = 1,
    groups: int = 1,
) -> Array:
    """Gradient of `conv1d` with respect to `weight`, its adjoint, as `torch.nn.grad.conv1d_weight`.

    `input` `(N, C, L)` or `(C, L)` and `grad_output` `(N, K, P)` or `(K, P)` give `(K, C/groups, R)`, which
    is `weight_size`. Everything else is as in `conv2d_weight`.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> x, grad = np.ones((2, 3, 9)), np.ones((2, 4, 8))
        >>> F.conv1d_weight(x, (4, 3, 2), grad).shape
        (4, 3, 2)
    """
    return _weight(1, input, weight_size, grad_output, stride, padding, dilation, groups)


@public
def conv1d_bias(grad_output: Array) -> Array:
    """Gradient of `conv1d` and `conv_transpose1d` with respect to `bias`: sums of the channels.

    `grad_output` `(N, K, P)` or `(K, P)` gives `(K,)`; floating or complex.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.conv1d_bias(np.ones((2, 4, 8)))[0]
        np.float64(16.0)
    """
    return bias_gradient("functional.conv1d_bias", 1, grad_output)


@public
def conv2d_input(
    input_size: Sequence[int],
    weight: Array,
    grad_output: Array,
    stride: IntOrTuple = 1,
    padding: Padding = 0,
    dilation: IntOrTuple = 1,
    groups: int = 1,
) -> Array:
    """Gradient of `conv2d` with respect to `input`, its adjoint, as `torch.nn.grad.conv2d_input`.

        dx[n, c, h, w] = Σ_k Σ grad_output[n, k, p, q] · conj(weight[k, c, r, s])
                         over h = p·stride - padding + r·dilation, w = …

    `weight` `(K, C/groups, R, S)` and `grad_output` `(N, K, P, Q)` give `(N, C, H, W)`, which is
    `input_size`; without N in both, images are not batched. The formula has the conjugate of `weight`, so
    that `⟨conv2d(x, weight), y⟩ = ⟨x, conv2d_input(x.shape, weight, y)⟩`.

    For large kernels, the note on precision in `conv2d` applies.

    Args:
        input_size: the shape of `input`; with a stride above 1, inputs of several sizes give outputs of one
            size.
        stride, padding, dilation, groups: as given to `conv2d`.

    Raises:
        ValueError, ShapeError, DTypeError, BackendError: as `conv2d`; `grad_output` of another shape than
            `conv2d` returns.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> weight, grad = np.ones((4, 3, 3, 3)), np.ones((2, 4, 6, 6))
        >>> F.conv2d_input((2, 3, 8, 8), weight, grad).shape
        (2, 3, 8, 8)

    Source:
        https://github.com/pytorch/pytorch/blob/main/torch/nn/grad.py
    """
    return _input(2, input_size, weight, grad_output, stride, padding, dilation, groups)


@public
def conv2d_weight(
    input: Array,
    weight_size: Sequence[int],
    grad_output: Array,
    stride: IntOrTuple = 1,
    padding: Padding = 0,
    dilation: IntOrTuple = 1,
    groups: int = 1,
) -> Array:
    """Gradient of `conv2d` with respect to `weight`, its adjoint, as `torch.nn.grad.conv2d_weight`.

        dweight[k, c, r, s] = Σ_n Σ_(p,q) grad_output[n, k, p, q] · conj(input[n, c, h, w])
                              at h = p·stride - padding + r·dilation, w = …

    `input` `(N, C, H, W)` or `(C, H, W)` and `grad_output` `(N, K, P, Q)` or `(K, P, Q)` give `(K, C/groups,
    R, S)`, which is `weight_size`. The formula has the conjugate of `input`, so that `⟨conv2d(x, w), y⟩ = ⟨w,
    conv2d_weight(x, w.shape, y)⟩`.

    For large kernels, the note on precision in `conv2d` applies.

    Args:
        weight_size: the shape of `weight`.
        stride, padding, dilation, groups: as given to `conv2d`.

    Raises:
        ValueError, ShapeError, DTypeError, BackendError: as `conv2d`; `grad_output` of another shape than
            `conv2d` returns.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> x, grad = np.ones((2, 3, 8, 8)), np.ones((2, 4, 6, 6))
        >>> F.conv2d_weight(x, (4, 3, 3, 3), grad).shape
        (4, 3, 3, 3)
    """
    return _weight(2, input, weight_size, grad_output, stride, padding, dilation, groups)


@public
def conv2d_bias(grad_output: Array) -> Array:
    """Gradient of `conv2d` and `conv_transpose2d` with respect to `bias`: sums of the channels.

    `grad_output` `(N, K, P, Q)` or `(K, P, Q)` gives `(K,)`; floating or complex.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.conv2d_bias(np.ones((2, 4, 6, 6)))[0]
        np.float64(72.0)
    """
    return bias_gradient("functional.conv2d_bias", 2, grad_output)


@public
def conv3d_input(
    input_size: Sequence[int],
    weight: Array,
    grad_output: Array,
    stride: IntOrTuple = 1,
    padding: Padding = 0,
    dilation: IntOrTuple = 1,
    groups: int = 1,
) -> Array:
    """Gradient of `conv3d` with respect to `input`, its adjoint, as `torch.nn.grad.conv3d_input`.

    `weight` `(K, C/groups, R, S, T)` and `grad_output` `(N, K, O, P, Q)` or `(K, O, P, Q)` give `(N, C, D, H,
    W)` or `(C, D, H, W)`, which is `input_size`. Everything else is as in `conv2d_input`.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> weight, grad = np.ones((3, 2, 2, 2, 2)), np.ones((1, 3, 3, 4, 5))
        >>> F.conv3d_input((1, 2, 4, 5, 6), weight, grad).shape
        (1, 2, 4, 5, 6)
    """
    return _input(3, input_size, weight, grad_output, stride, padding, dilation, groups)


@public
def conv3d_weight(
    input: Array,
    weight_size: Sequence[int],
    grad_output: Array,
    stride: IntOrTuple = 1,
    padding: Padding = 0,
    dilation: IntOrTuple = 1,
    groups: int = 1,
) -> Array:
    """Gradient of `conv3d` with respect to `weight`, its adjoint, as `torch.nn.grad.conv3d_weight`.

    `input` `(N, C, D, H, W)` or `(C, D, H, W)` and `grad_output` `(N, K, O, P, Q)` or `(K, O, P, Q)` give
    `(K, C/groups, R, S, T)`, which is `weight_size`. Everything else is as in `conv2d_weight`.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> x, grad = np.ones((1, 2, 4, 5, 6)), np.ones((1, 3, 3, 4, 5))
        >>> F.conv3d_weight(x, (3, 2, 2, 2, 2), grad).shape
        (3, 2, 2, 2, 2)
    """
    return _weight(3, input, weight_size, grad_output, stride, padding, dilation, groups)


@public
def conv3d_bias(grad_output: Array) -> Array:
    """Gradient of `conv3d` and `conv_transpose3d` with respect to `bias`: sums of the channels.

    `grad_output` `(N, K, O, P, Q)` or `(K, O, P, Q)` gives `(K,)`; floating or complex.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.conv3d_bias(np.ones((1, 3, 3, 4, 5)))[0]
        np.float64(60.0)
    """
    return bias_gradient("functional.conv3d_bias", 3, grad_output)
