"""Losses: `loss = criterion(input, target)`, then `grad = criterion.backward()` for the model.

A loss stays on the device, as a 0-d array: read it (`float(loss)`) once per report, as that waits for
the GPU. Formulas are written for one element (or one sample) and then reduced.
"""

from __future__ import annotations

import math
from numbers import Real
from typing import Any

from .backend import Array, backend_of
from .errors import BackendError, DTypeError, ShapeError
from .layers.memory import Memory
from .ops.activation import log_softmax, sigmoid

_REDUCTIONS = ("mean", "sum", "none")


class Loss(Memory):
    """Base of all losses: checks, reduction, and what forward keeps for `backward`.

    A loss defines `_forward(xp, input, target)`, which gives the unreduced losses, the number that
    `'mean'` divides by and what `_backward` needs, and `_backward(xp, scale, *saved)`: `scale` times the
    gradient of the losses' sum.

    Args:
        reduction: `'mean'`, `'sum'`, or `'none'` for an array of losses.
    """

    def __init__(self, reduction: str = "mean") -> None:
        if reduction not in _REDUCTIONS:
            choices = ", ".join(map(repr, _REDUCTIONS))
            raise ValueError(f"{type(self).__name__}: reduction is {reduction!r}, expected one of {choices}")
        self.reduction = reduction

    def __call__(self, input: Array, target: Array) -> Array:
        """`forward(input, target)`."""
        return self.forward(input, target)

    def forward(self, input: Array, target: Array) -> Array:
        """The loss of the model's output `input` against `target`, on their device."""
        xp = self._enter(input, target)
        loss, count, saved = self._forward(xp, input, target)
        if self.reduction != "none":
            loss = loss.sum()
        scale = 1 / max(count, 1) if self.reduction == "mean" else 1.0
        if self.reduction == "mean":
            loss = loss * scale if count else loss * math.nan  # as PyTorch: no samples, no mean
        return self.keep(loss, xp, scale, saved)

    def backward(self, grad_output: Array | float = 1.0) -> Array:
        """Gradient with respect to `input`, of its shape and dtype.

        Args:
            grad_output: what to multiply it by: a number, or with `reduction='none'` an array of the
                losses' shape.
        """
        if isinstance(grad_output, Real):
            self._latest()
            grad_output = float(grad_output)  # of NumPy's scalars too, which would promote
            xp, scale, saved = self._stack().pop().saved
        else:
            xp, scale, saved = self.recall(grad_output)
        return self._backward(xp, grad_output * scale, *saved)

    def _forward(self, xp: Any, input: Array, target: Array) -> tuple[Array, int, tuple[Array, ...]]:
        raise TypeError(f"{type(self).__name__} defines no _forward(xp, input, target)")

    def _backward(self, xp: Any, scale: Array | float, *saved: Array) -> Array:
        raise TypeError(f"{type(self).__name__} defines no _backward(xp, scale, *saved)")

    def _enter(self, input: Array, target: Array) -> Any:
        name = type(self).__name__
        try:
            owner = backend_of(input)
            other = backend_of(target)
        except BackendError as error:
            raise BackendError(f"{name}: {error}") from None
        if owner is not other:
            raise BackendError(
                f"{name}: input is {owner.name} but target is {other.name}; call "
                f"xpconv.asarray(target, backend={owner.name!r})"
            )
        if input.dtype.kind not in "fV":
            raise DTypeError(f"{name}: input is {input.dtype}, expected floating point: the model's scores")
        return owner.xp

    def _same(self, input: Array, target: Array) -> None:
        """For losses that compare element by element."""
        name = type(self).__name__
        if input.shape != target.shape:
            raise ShapeError(
                f"{name}: target has shape {target.shape}, expected {input.shape}, that of input; "
                f"use target.reshape({input.shape})"
            )
        if input.dtype != target.dtype:
            raise DTypeError(
                f"{name}: target is {target.dtype} but input is {input.dtype}; "
                f"use target.astype('{input.dtype}')"
            )

    def __repr__(self) -> str:
        return f"{type(self).__name__}(reduction={self.reduction!r})"


class MSELoss(Loss):
    """Squared error `(input - target)²`, any shape, as `torch.nn.MSELoss`.

    Args:
        reduction: `'mean'` over all elements, `'sum'` or `'none'`.

    Raises:
        ShapeError, DTypeError, BackendError: `target` is not like `input`.

    Example:
        >>> import numpy as np, xpconv
        >>> criterion = xpconv.MSELoss(reduction="sum")
        >>> float(criterion(np.array([1.0, 2.0]), np.array([0.0, 0.0])))
        5.0
        >>> criterion.backward()
        array([2., 4.])
    """

    def _forward(self, xp: Any, input: Array, target: Array) -> tuple[Array, int, tuple[Array, ...]]:
        self._same(input, target)
        difference = input - target
        return difference * difference, input.size, (difference,)

    def _backward(self, xp: Any, scale: Array | float, *saved: Array) -> Array:
        """`d/dx (x - t)² = 2 (x - t)`."""
        (difference,) = saved
        return difference * (2 * scale)


class BCEWithLogitsLoss(Loss):
    """Binary cross-entropy of `sigmoid(input)`, any shape, as `torch.nn.BCEWithLogitsLoss`.

    With logit x and target t in [0, 1]:

        -t log σ(x) - (1 - t) log(1 - σ(x)) = max(x, 0) - x t + log(1 + exp(-|x|))

    where the right side cannot overflow.

    Args:
        reduction: `'mean'` over all elements, `'sum'` or `'none'`.

    Raises:
        ShapeError, DTypeError, BackendError: `target` is not like `input`.

    Example:
        >>> import numpy as np, xpconv
        >>> criterion = xpconv.BCEWithLogitsLoss()
        >>> float(criterion(np.array([1e4, 0.0]), np.array([1.0, 1.0])).round(4))
        0.3466
        >>> criterion.backward()
        array([ 0.  , -0.25])
    """

    def _forward(self, xp: Any, input: Array, target: Array) -> tuple[Array, int, tuple[Array, ...]]:
        self._same(input, target)
        loss = xp.maximum(input, 0) - input * target + xp.log1p(xp.exp(-xp.abs(input)))
        return loss, input.size, (input, target)

    def _backward(self, xp: Any, scale: Array | float, *saved: Array) -> Array:
        """`d/dx = σ(x) - t`, from `d/dx log(1 + exp(x)) = σ(x)`."""
        input, target = saved
        return (sigmoid(xp, input) - target) * scale


class SoftmaxCrossEntropyLoss(Loss):
    """Cross-entropy of `softmax(input)` against `target`, as `torch.nn.CrossEntropyLoss`.

    With scores x and class t, or a distribution t over the classes:

        loss = -log softmax(x)[t] = log Σ_c exp(x_c) - x_t,    or    -Σ_c t_c log softmax(x)[c]

    by log-sum-exp, which cannot overflow.

    `input` is `(N, C)`, `(C,)` or `(N, C, *S)`. `target` holds class indices (any integer dtype) of
    shape `(N,)`, `()` or `(N, *S)`, or has `input`'s shape and holds probabilities (`input`'s dtype) or
    one-hot rows (also integer or bool).

    An index outside `[0, C)` raises ValueError on the CPU. On a GPU that check would stall the stream
    at every batch; there it makes the loss and that sample's gradient NaN.

    Args:
        reduction: `'mean'` over the samples (and positions S), `'sum'` or `'none'`.

    Raises:
        ShapeError, DTypeError, BackendError: `input` and `target` do not fit.
        ValueError: a class index out of range.

    Example:
        >>> import numpy as np, xpconv
        >>> criterion = xpconv.SoftmaxCrossEntropyLoss()
        >>> float(criterion(np.array([[0.0, 0.0], [1e4, 0.0]]), np.array([1, 0])).round(4))
        0.3466
        >>> criterion.backward()
        array([[ 0.25, -0.25],
               [ 0.  ,  0.  ]])
    """

    def _forward(self, xp: Any, input: Array, target: Array) -> tuple[Array, int, tuple[Array, ...]]:
        if input.ndim == 0 or input.shape[min(1, input.ndim - 1)] == 0:
            raise ShapeError(
                f"{type(self).__name__}: input has shape {input.shape}, expected (N, C), (C,) or (N, C, …)"
            )
        axis = min(1, input.ndim - 1)
        log_p = log_softmax(xp, input, axis)
        t = self._distribution(xp, input, target, axis)
        loss = -(t * xp.where(t == 0, 0, log_p)).sum(axis=axis)  # 0 · log 0 = 0
        return loss, loss.size, (xp.exp(log_p), t)

    def _backward(self, xp: Any, scale: Array | float, *saved: Array) -> Array:
        """`d/dx_c = softmax(x)_c Σ_k t_k - t_c`, as `d log softmax(x)_k / dx_c = [k = c] - softmax(x)_c`."""
        p, t = saved
        axis = min(1, p.ndim - 1)
        if not isinstance(scale, float) and scale.ndim:
            scale = xp.expand_dims(scale, axis)
        return (p * t.sum(axis=axis, keepdims=True) - t) * scale

    def _distribution(self, xp: Any, input: Array, target: Array, axis: int) -> Array:
        """`target` as one distribution over the classes for each sample."""
        name, classes = type(self).__name__, input.shape[axis]
        if target.shape == input.shape and target.dtype.kind in "fViub":
            if target.dtype.kind in "fV":
                self._same(input, target)
            return target.astype(input.dtype)
        if target.dtype.kind not in "iu":
            raise DTypeError(
                f"{name}: target is {target.dtype} of shape {target.shape}, expected integer class indices, "
                f"or probabilities of input's shape {input.shape}"
            )
        expected = input.shape[:axis] + input.shape[axis + 1 :]
        if target.shape != expected:
            raise ShapeError(
                f"{name}: target has shape {target.shape}, expected {expected} (class indices) or "
                f"{input.shape} (probabilities) for input of shape {input.shape}"
            )
        valid = (target >= 0) & (target < classes)
        if backend_of(input).name == "numpy" and not valid.all():
            bad = target[~valid].reshape(-1)[0]
            raise ValueError(f"{name}: target holds class {bad}, expected 0 to {classes - 1} (C = {classes})")
        shape = [1] * input.ndim
        shape[axis] = classes
        one_hot = xp.expand_dims(target, axis) == xp.arange(classes).reshape(shape)
        one_hot = one_hot.astype(input.dtype)
        return xp.where(xp.expand_dims(valid, axis), one_hot, math.nan)


CrossEntropyLoss = SoftmaxCrossEntropyLoss
