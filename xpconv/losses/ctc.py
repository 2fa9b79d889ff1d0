"""`CTCLoss`, for sequences of labels whose positions in time are unknown, as in speech and handwriting."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from ..arguments import to_bool, to_int
from ..arrays import asarray
from ..backend import Array, Backend, backend_of
from ..errors import BackendError, DTypeError, ShapeError
from ..ops.ctc import LOW, ctc, ctc_backward, extended
from .base import Loss

__all__ = ["CTCLoss"]


class CTCLoss(Loss):
    """`-log P(target)`, summed over all alignments of the labels with the frames (Graves et al., 2006).

    As `torch.nn.CTCLoss`: `criterion(log_probs, targets, input_lengths, target_lengths)` with

    - `log_probs` `(T, N, C)`, or `(T, C)` for one sequence: log-probabilities of the C classes in each of T
      frames, such as the output of `LogSoftmax(-1)`;
    - `targets`: integer labels below C, other than the blank. Either `(N, S)`, of whose rows the first
      `target_lengths` labels are used, or the concatenated labels, `(sum(target_lengths),)`;
    - `input_lengths` and `target_lengths` `(N,)`: tuples, lists or arrays of integers. Arrays on the GPU can
      be used in a captured step; their values are not checked, and a length out of range gives NaN.

    `backward` returns the gradient with respect to `log_probs` itself; pass it to the `backward` of
    `LogSoftmax`. PyTorch's gradient already includes the one through the softmax. After the backward of
    `LogSoftmax`, the two are the same.

    If a target has no alignment, because it has more labels (plus a blank between each two equal neighbours)
    than there are frames, its loss is inf and its gradient NaN; with `zero_infinity` both are 0. Backward
    needs two float64 arrays `(T, N, 2 S + 1)`, which are saved by `forward`.

    Args:
        blank: the index of the blank class, which means "no label".
        reduction: `'mean'` divides the loss of each sequence by the length of its target (at least 1) and
            averages over the sequences; `'sum'` adds the losses; `'none'` returns them, `(N,)`.
        zero_infinity: replace an infinite loss and its gradient with 0.

    Raises:
        ShapeError, DTypeError, BackendError: an array has the wrong shape, dtype or backend.
        ValueError: a length or a label is out of range.

    Example:
        >>> import numpy as np, xpconv
        >>> criterion = xpconv.CTCLoss()
        >>> log_probs = np.log(np.full((2, 1, 3), 1 / 3))  # 3 of 9 alignments read as (1,): 11, 01 and 10
        >>> float(criterion(log_probs, np.array([[1]]), [2], [1]).round(4))
        1.0986
        >>> criterion.backward().round(4)
        array([[[-0.3333, -0.6667,  0.    ]],
        <BLANKLINE>
               [[-0.3333, -0.6667,  0.    ]]])
    """

    names: ClassVar[tuple[str, ...]] = ("log_probs", "targets", "input_lengths", "target_lengths")

    def __init__(self, blank: int = 0, reduction: str = "mean", zero_infinity: bool = False) -> None:
        super().__init__(reduction)
        self.blank: int = to_int("CTCLoss: blank", blank, 0)
        self.zero_infinity: bool = to_bool("CTCLoss: zero_infinity", zero_infinity)

    def _completed(self, *inputs: Any) -> tuple[Any, ...]:
        if len(inputs) != len(self.names):
            return inputs
        self._enter(*inputs[:2], *inputs[:1] * 2)
        return *inputs[:1], *self._padded(*inputs)

    def _forward(
        self, xp: Any, log_probs: Array, targets: Array, input_lengths: Array, target_lengths: Array
    ) -> tuple[Array, Any, tuple[Any, ...]]:
        shape = log_probs.shape
        x = log_probs if len(shape) == 3 else log_probs[:, None]
        classes, frames, size = shape[-1], shape[0], targets.shape[1]
        counted = xp.arange(size) < target_lengths[:, None]
        valid = ((targets >= 0) & (targets < classes)) | ~counted
        if backend_of(targets).name == "numpy" and not valid.all():
            raise ValueError(
                f"CTCLoss: targets holds label {targets[~valid][0]}, expected 0 to {classes - 1} "
                f"(C = {classes})"
            )
        valid = valid.all(axis=-1) & (input_lengths >= 0) & (input_lengths <= frames)
        valid &= (target_lengths >= 0) & (target_lengths <= size)
        input_lengths = xp.where(valid, input_lengths, frames)
        target_lengths = xp.where(valid, target_lengths, 0)
        labels = extended(xp, targets, target_lengths, self.blank)
        log_p, alpha, emitted = ctc(xp, x, labels, input_lengths, target_lengths)
        log_p = xp.where(valid, log_p, math.nan)
        impossible = log_p < LOW / 2
        loss = xp.where(impossible, 0.0 if self.zero_infinity else math.inf, -log_p)
        log_p = xp.where(impossible, math.inf if self.zero_infinity else math.nan, log_p)  # exp(-inf) is 0
        factor = 1 / xp.maximum(target_lengths, 1) if self.reduction == "mean" else 1.0
        saved = log_p, alpha, emitted, labels, input_lengths, target_lengths, factor, shape
        return (loss * factor).reshape(shape[1:-1]), x.shape[1], saved

    def _backward(self, xp: Any, scale: Any, *saved: Any) -> Array:
        log_p, alpha, emitted, labels, input_lengths, target_lengths, factor, shape = saved
        grad = ctc_backward(xp, log_p, alpha, emitted, labels, input_lengths, target_lengths, shape[-1])
        return (grad * (xp.ones(grad.shape[1]) * factor * scale)[:, None]).reshape(shape)

    def _padded(self, log_probs: Array, targets: Array, *lengths: Any) -> tuple[Array, Array, Array]:
        """The targets as `(N, S)` and both lengths as `(N,)`, in int64 on the device of `log_probs`."""
        owner = backend_of(log_probs)
        if log_probs.ndim not in (2, 3) or log_probs.shape[-1] <= self.blank:
            raise ShapeError(
                f"CTCLoss: log_probs has shape {log_probs.shape}, expected (T, N, C) or (T, C) with C above "
                f"{self.blank}, the blank"
            )
        if targets.dtype.kind not in "iu":
            raise DTypeError(f"CTCLoss: targets is {targets.dtype}, expected integer labels")
        frames, count = log_probs.shape[0], log_probs.shape[1] if log_probs.ndim == 3 else 1
        most = targets.shape[1] if targets.ndim == 2 else targets.size
        _, of_inputs = self._lengths("input_lengths", lengths[0], count, frames, owner)
        known, of_targets = self._lengths("target_lengths", lengths[1], count, most, owner)
        if targets.ndim == 2 and targets.shape[0] == count:
            padded = targets
        elif targets.ndim == 1 and (known is None or sum(known) == targets.size):
            padded = self._apart(owner.xp, targets, of_targets, max(known or [targets.size], default=0))
        else:
            raise ShapeError(
                f"CTCLoss: targets has shape {targets.shape}, expected ({count}, S), or (n,) with n the sum "
                f"of target_lengths{'' if known is None else f', {sum(known)}'}"
            )
        return padded.astype("int64", copy=False), of_inputs, of_targets

    def _lengths(
        self, name: str, value: Any, count: int, most: int, owner: Backend
    ) -> tuple[list[int] | None, Array]:
        """The lengths as a list of Python ints (None if they are on a GPU), and as an array on the device."""
        where, host = f"CTCLoss: {name}", None
        if isinstance(value, (list, tuple)):
            host = [to_int(f"{where}[{i}]", n) for i, n in enumerate(value)]
        else:
            try:
                of = backend_of(value)
            except BackendError:
                raise TypeError(f"{where} is {value!r}, expected integers: a tuple or an array") from None
            if value.dtype.kind not in "iu":
                raise DTypeError(f"{where} is {value.dtype}, expected integers")
            if of.name == "numpy":
                host = value.reshape(-1).tolist()
            elif of is not owner:
                raise BackendError(f"{where} is {of.name} but log_probs is {owner.name}; give a tuple")
        found = value.size if host is None else len(host)
        if found != count or getattr(value, "ndim", 1) > 1:
            raise ShapeError(f"{where} has {found} numbers, expected {count}, one for each sequence")
        for i, n in enumerate(host or ()):
            if not 0 <= n <= most:
                raise ValueError(f"{where}[{i}] is {n}, expected 0 to {most}")
        if host is None:
            return None, value.reshape(-1).astype("int64", copy=False)
        return host, asarray(host, "int64", backend=owner.name)

    def _apart(self, xp: Any, targets: Array, lengths: Array, most: int) -> Array:
        """Concatenated targets as rows of size `most`. Elements beyond the length of a row are arbitrary."""
        if not most:
            return xp.zeros((lengths.size, 0), dtype="int64")
        place = (xp.cumsum(lengths) - lengths)[:, None] + xp.arange(most)
        return targets[xp.minimum(xp.maximum(place, 0), targets.size - 1)]
