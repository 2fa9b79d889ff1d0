"""Normalisation over chosen axes."""

from __future__ import annotations

from math import prod
from typing import Any

from ..backend import Array
from ..geometry import Bounds
from ..kernels import overridable
from ..locks import update
from ..sums import sum_over, total, widened
from .activation import clip, clip_backward
from .channels import channel_sum, channel_total, channelwise


@overridable
def batch_norm(
    xp: Any,
    x: Array,
    weight: Array | None,
    bias: Array | None,
    mean: Array,
    inv_std: Array,
    bounds: Bounds = None,
) -> Array:
    """`y = (x - mean) · inv_std · weight + bias` for `(N, C, *S)`, with `inv_std = 1/√(var + eps)`.

    With `bounds` it is then limited to these, which saves a pass over memory for a ReLU that follows.
    Backward needs `x`, `mean` and `inv_std`, statistics `(C,)` in float64 (`mean` here in any dtype).
    """
    y, error = _centred(x, mean)
    scale = inv_std if weight is None else inv_std * weight
    y *= channelwise(scale.astype(y.dtype), y.ndim)
    shift = -error * scale
    y += channelwise((shift if bias is None else shift + bias).astype(y.dtype), y.ndim)
    y = y.astype(x.dtype, copy=False)
    return y if bounds is None else clip(xp, y, *bounds)


@overridable
def inverse_std(xp: Any, var: Array, eps: float) -> Array:
    """`1/√(var + eps)`, in float64."""
    return 1 / xp.sqrt(var.astype("float64", copy=False) + eps)


@overridable
def statistics(xp: Any, x: Array) -> tuple[Array, Array]:
    """Mean and biased variance of the channels of `(N, C, *S)`, in float64; 0 if there are no elements.

    The mean is subtracted first, and then the mean of the differences, so that mean and variance are accurate
    even if mean² ≫ variance.
    """
    x = widened(x)
    count = max(1, x.size // x.shape[1])
    near = (channel_total(xp, x) / count).astype(x.dtype)
    difference = x - channelwise(near, x.ndim)
    low = channel_total(xp, difference) / count
    return near + low, channel_total(xp, difference * difference) / count - low**2


def batch_norm_as_affine(
    xp: Any, weight: Array | None, bias: Array | None, eps: float, mean: Array, var: Array
) -> tuple[Array, Array]:
    """`scale` and `shift` `(C,)` of `batch_norm` written as `y = scale · x + shift`, in float64."""
    scale = 1 / xp.sqrt(var + eps)
    if weight is not None:
        scale = scale * weight
    shift = -mean * scale
    return scale, shift if bias is None else shift + bias


@overridable
def normalize_batch(
    xp: Any, x: Array, weight: Array | None, bias: Array | None, eps: float, bounds: Bounds = None
) -> tuple[Array, Array, Array, Array]:
    """`batch_norm` with the `statistics` of `x`; and mean, variance and `inv_std`."""
    mean, var = statistics(xp, x)
    inv_std = inverse_std(xp, var, eps)
    return batch_norm(xp, x, weight, bias, mean, inv_std, bounds), mean, var, inv_std


@overridable
def normalize_and_track(
    xp: Any,
    x: Array,
    weight: Array | None,
    bias: Array | None,
    eps: float,
    bounds: Bounds,
    running_mean: Array,
    running_var: Array,
    batches: Array,
    momentum: float | None,
) -> tuple[Array, Array, Array]:
    """`normalize_batch` in training: `y`, mean and `inv_std`. It updates the running statistics in place.

    These follow the mean and the unbiased variance with `momentum`; None averages all batches, which
    `batches` counts. An empty batch only counts.
    """
    y, mean, var, inv_std = normalize_batch(xp, x, weight, bias, eps, bounds)
    count = x.size // x.shape[1]
    with update:
        batches += 1
        share: Any = (1 / batches).astype(mean.dtype) if momentum is None else momentum
        track(xp, running_mean, running_var, mean, var, count, share)
    return y, mean, inv_std


def track(
    xp: Any, running_mean: Array, running_var: Array, mean: Array, var: Array, count: int, momentum: Any
) -> None:
    """Let running statistics follow mean and unbiased variance of `count` values, in place; of none, not."""
    if count:
        follow(xp, running_mean, mean, momentum)
        follow(xp, running_var, var, momentum, count / (count - 1))


def track_images(
    xp: Any, running_mean: Array, running_var: Array, mean: Array, var: Array, count: int, momentum: Any
) -> None:
    """`track` the mean over the images of their statistics `(N, C, 1, …)`; of no images it does nothing."""
    if mean.size:
        mean, var = (mean_over(values, (0,)).reshape(-1) for values in (mean, var))
        track(xp, running_mean, running_var, mean, var, count, momentum)


@overridable
def follow(xp: Any, running: Array, new: Array, momentum: Any, factor: float = 1.0) -> Array:
    """`running += momentum · (new · factor - running)`, in place; `momentum` is a number or a 0-d array."""
    running += momentum * (new * factor - running)
    return running


@overridable
def batch_norm_backward(
    xp: Any,
    grad: Array,
    x: Array,
    weight: Array | None,
    mean: Array,
    inv_std: Array,
    from_batch: bool,
    input_grad: bool,
    y: Array | None = None,
    bounds: Bounds = None,
) -> tuple[Array | None, Array, Array]:
    """Gradients with respect to `x`, `weight` and `bias`, the latter two in the `widened` dtype of `x`.

    With `x̂ = (x - mean) · inv_std`: `dbias = Σ grad` and `dweight = Σ grad · x̂`. The input acts through `x̂`
    alone if the statistics are given; those of the batch (of m values per channel) depend on it too, which
    subtracts the mean and the part along `x̂` (see `normalize_backward`):

        dx = weight · inv_std · (grad - dbias/m - x̂ · dweight/m)

    With `bounds` `grad` is that of the output `y` limited to these. Without `input_grad` `dx` is None.
    """
    if bounds is not None:
        grad = clip_backward(xp, grad, y, *bounds)
    centred, error = _centred(x, mean)
    dbias = channel_total(xp, grad)
    dweight = (channel_total(xp, grad * centred) - error * dbias) * inv_std
    slopes = dweight.astype(centred.dtype, copy=False), dbias.astype(centred.dtype, copy=False)
    if not input_grad:
        return None, *slopes
    scale = inv_std if weight is None else inv_std * weight
    dx = grad * channelwise(scale.astype(centred.dtype), x.ndim)
    if from_batch:
        along = -scale / max(1, x.size // x.shape[1])
        slope = along * inv_std * dweight
        centred *= channelwise(slope.astype(centred.dtype), x.ndim)
        dx = dx + centred
        dx += channelwise((along * dbias - error * slope).astype(centred.dtype), x.ndim)
    return dx.astype(x.dtype, copy=False), *slopes


def _centred(x: Array, mean: Array) -> tuple[Array, Array]:
    """`x` minus the mean rounded to its dtype, and the rounding error of the mean, to add to the shift."""
    x = widened(x)
    near = mean.astype(x.dtype)
    return x - channelwise(near, x.ndim), mean - near


def batch_norm_backward_input(
    xp: Any, grad: Array, weight: Array | None, inv_std: Array, y: Array | None = None, bounds: Bounds = None
) -> Array:
    """The input gradient of batch normalization with fixed statistics: `dx = weight · inv_std · grad`.

    It is computed as `batch_norm` of `grad` with mean and bias 0.
    """
    if bounds is not None:
        grad = clip_backward(xp, grad, y, *bounds)
    return batch_norm(xp, grad, weight, None, xp.zeros_like(inv_std), inv_std)


def normalize(xp: Any, x: Array, axes: tuple[int, ...], eps: float) -> tuple[Array, Array, Array, Array]:
    """`x̂ = (x - mean) · inv_std` with `inv_std = 1/√(var + eps)`, and `mean`, `var` (biased), `inv_std`.

    The mean is subtracted first, and then the mean of the differences, so that mean and variance are accurate
    even if mean² ≫ variance.
    Statistics have size 1 along the reduced axes; those of float16 are in float32. Backward
    needs `x̂` and `inv_std`.
    """
    dtype, x = x.dtype, widened(x)
    mean = mean_over(x, axes)
    x_hat = x - mean
    rest = mean_over(x_hat, axes)  # the rounding error of the mean: large if mean² ≫ variance
    x_hat -= rest
    mean = mean + rest
    var = mean_over(x_hat * x_hat, axes)
    inv_std = 1 / xp.sqrt(var + eps)
    x_hat *= inv_std
    return x_hat.astype(dtype, copy=False), mean, var, inv_std.astype(dtype, copy=False)


def normalize_by(xp: Any, x: Array, mean: Array, var: Array, eps: float) -> tuple[Array, Array]:
    """`x̂ = (x - mean) · inv_std` with given statistics of the channels, and `inv_std`, as `normalize`."""
    dtype, x, mean, var = x.dtype, widened(x), widened(mean), widened(var)
    inv_std = channelwise(1 / xp.sqrt(var + eps), x.ndim)
    x_hat = (x - channelwise(mean, x.ndim)) * inv_std
    return x_hat.astype(dtype, copy=False), inv_std.astype(dtype, copy=False)


def normalize_backward(xp: Any, grad: Array, x_hat: Array, inv_std: Array, axes: tuple[int, ...]) -> Array:
    """Gradient with respect to `x`, from `grad` with respect to `x̂`.

    `x` acts directly, through the mean and through the variance. With m elements in a mean,
    `d mean/dx = 1/m` and `d var/dx = 2 (x - mean)/m`, so `d inv_std/dx = -inv_std² · x̂ / m`, and

        dx = inv_std · (grad - mean(grad) - x̂ · mean(grad · x̂))
    """
    dx = grad - mean_over(grad, axes)
    dx -= x_hat * mean_over(grad * x_hat, axes)
    dx *= inv_std
    return dx


def mean_over(x: Array, axes: tuple[int, ...]) -> Array:
    """Mean over `axes`, which have size 1 in the result; 0 if there are no elements."""
    count = max(1, prod(x.shape[axis] for axis in axes))
    return (total(x, axes, keepdims=True) / count).astype(x.dtype, copy=False)


def rms_normalize(xp: Any, x: Array, axes: tuple[int, ...], eps: float) -> tuple[Array, Array]:
    """`x̂ = x · inv_rms` with `inv_rms = 1/√(mean(x²) + eps)`, and `inv_rms`: what backward needs."""
    wide = widened(x)
    inv_rms = 1 / xp.sqrt(mean_over(wide * wide, axes) + eps)
    return (wide * inv_rms).astype(x.dtype, copy=False), inv_rms.astype(x.dtype, copy=False)


def rms_normalize_backward(
    xp: Any, grad: Array, x_hat: Array, inv_rms: Array, axes: tuple[int, ...]
) -> Array:
    """Gradient with respect to `x`, from `grad` with respect to `x̂`.

    `x` acts directly and through the mean square: `d inv_rms/dx = -inv_rms³ · x/m = -inv_rms² · x̂/m`, so

        dx = inv_rms · (grad - x̂ · mean(grad · x̂))
    """
    dx = grad - x_hat * mean_over(grad * x_hat, axes)
    dx *= inv_rms
    return dx


@overridable
def layer_norm(
    xp: Any,
    x: Array,
    weight: Array | None,
    bias: Array | None,
    axes: tuple[int, ...],
    eps: float,
    centred: bool = True,
) -> tuple[Array, Array, Array]:
    """`y = x̂ · weight + bias`, with `x̂` of `normalize` over the last `axes`; and two arrays for backward.

    If it is not `centred`, `x̂` is that of `rms_normalize`. The arrays are here `x̂` and `inv_std`.
    """
    if centred:
        x_hat, _, _, inv_std = normalize(xp, x, axes, eps)
    else:
        x_hat, inv_std = rms_normalize(xp, x, axes, eps)
    y = x_hat if weight is None else x_hat * weight
    if bias is not None:
        y += bias
    return y, x_hat, inv_std


@overridable
def layer_norm_backward(
    xp: Any,
    grad: Array,
    saved: Array,
    statistics: Array,
    weight: Array | None,
    axes: tuple[int, ...],
    needs: tuple[bool, bool, bool],
    centred: bool = True,
) -> tuple[Array | None, Array | None, Array | None]:
    """Gradients with respect to `x`, `weight` and `bias`, None for those that are not in `needs`.

    `dbias = Σ grad` and `dweight = Σ grad · x̂` over the rows; `x̂` has the gradient `grad · weight`. `saved`
    and `statistics` are what `layer_norm` returned.
    """
    rows = tuple(range(axes[0]))
    dweight = sum_over(grad * saved, rows) if needs[1] else None
    dbias = sum_over(grad, rows) if needs[2] else None
    if not needs[0]:
        return None, dweight, dbias
    back = normalize_backward if centred else rms_normalize_backward
    return back(xp, grad if weight is None else grad * weight, saved, statistics, axes), dweight, dbias


@overridable
def group_norm(
    xp: Any, x: Array, weight: Array | None, bias: Array | None, groups: int, eps: float
) -> tuple[Array, Array, Array]:
    """`y = x̂ · weight + bias` of `(N, C, *S)`, with `x̂` of `normalize` over each image's groups of channels.

    `weight` and `bias` are `(C,)`. Backward needs the other two arrays: here `x̂` and `inv_std`.
    """
    rows = x.reshape(x.shape[0], groups, prod(x.shape[1:]) // groups)
    x_hat, _, _, inv_std = normalize(xp, rows, (2,), eps)
    y = x_hat = x_hat.reshape(x.shape)
    if weight is not None:
        y = x_hat * channelwise(weight, x.ndim)
    if bias is not None:
        y += channelwise(bias, x.ndim)
    return y, x_hat, inv_std


@overridable
def group_norm_backward(
    xp: Any,
    grad: Array,
    saved: Array,
    statistics: Array,
    weight: Array | None,
    groups: int,
    needs: tuple[bool, bool, bool],
) -> tuple[Array | None, Array | None, Array | None]:
    """As `layer_norm_backward`, with sums over images and pixels for `weight` and `bias`."""
    dweight = channel_sum(xp, grad * saved) if needs[1] else None
    dbias = channel_sum(xp, grad) if needs[2] else None
    if not needs[0]:
        return None, dweight, dbias
    rows = (*statistics.shape[:2], prod(grad.shape[1:]) // groups)
    grad_hat = grad if weight is None else grad * channelwise(weight, grad.ndim)
    dx = normalize_backward(xp, grad_hat.reshape(rows), saved.reshape(rows), statistics, (2,))
    return dx.reshape(grad.shape), dweight, dbias
