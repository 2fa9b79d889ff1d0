"""Connectionist temporal classification: the probability of a sequence of labels over all its alignments."""

from __future__ import annotations

from typing import Any

from ..backend import Array

# Represents log 0: far below any sum of logarithms, and unlike -inf, arithmetic with it gives no NaN.
LOW = -1e30


def extended(xp: Any, targets: Array, lengths: Array, blank: int) -> Array:
    """The extended labels `(N, 2 S + 1)`: `targets (N, S)` with a blank before, between and after the labels.

    Positions beyond `lengths` hold blanks.
    """
    count, size = targets.shape
    labels = xp.full((count, 2 * size + 1), blank, dtype="int64")
    labels[:, 1::2] = xp.where(xp.arange(size) < lengths[:, None], targets, blank)
    return labels


def ctc(
    xp: Any, log_probs: Array, labels: Array, input_lengths: Array, target_lengths: Array
) -> tuple[Array, Array, Array]:
    """`log P` of each sequence, `(N,)`, and the arrays `alpha` and `emitted` that backward needs.

    `log P` is at most `LOW` where no alignment exists.

    Source: Graves et al. (2006), section 4.1. A state s is a position in the extended labels. In each frame
    an alignment stays in its state, moves to the next state, or skips one. It may skip only a blank between
    two different labels. It begins in one of the first two states and ends in one of the last two. `a_t(s)`
    is the logarithm of the total probability of the alignments that are in s after frame t:

        a_t(s) = log_probs[t, labels_s] + log(exp a_{t-1}(s) + exp a_{t-1}(s-1) + [may skip] exp a_{t-1}(s-2))

    `log_probs` is `(T, N, C)`. The computation is in float64, vectorised over the batch and the states.
    """
    frames, count, _ = log_probs.shape
    rows = xp.arange(count)[:, None]
    emitted = xp.maximum(log_probs[:, rows, labels].astype("float64"), LOW)
    alpha = xp.empty(emitted.shape, dtype="float64")
    skip = _skip(xp, labels)
    before = xp.full((count, labels.shape[1] + 2), LOW, dtype="float64")  # plus two states of probability 0
    first = xp.arange(labels.shape[1]) <= xp.minimum(target_lengths, 1)[:, None]
    for t in range(frames):
        if t == 0:
            now = xp.where(first, emitted[0], LOW)
        else:
            now = _log_sum(xp, before[:, 2:], before[:, 1:-1], before[:, :-2] + skip) + emitted[t]
            now = xp.where((t < input_lengths)[:, None], now, before[:, 2:])
        alpha[t] = now
        before[:, 2:] = now
    is_last = _is_last(xp, labels, target_lengths)
    ends = xp.where(is_last, before[:, 2:], LOW)
    most = ends.max(axis=-1, keepdims=True)
    log_p = (most + xp.log(xp.exp(ends - most).sum(axis=-1, keepdims=True)))[:, 0]
    nothing = xp.where(target_lengths == 0, 0.0, LOW)  # log P of a sequence of no frames
    return xp.where(input_lengths == 0, nothing, log_p), alpha, emitted


def ctc_backward(
    xp: Any,
    log_p: Array,
    alpha: Array,
    emitted: Array,
    labels: Array,
    input_lengths: Array,
    target_lengths: Array,
    classes: int,
) -> Array:
    """Gradient of `-log P` with respect to `log_probs`, `(T, N, C)`.

    `b_t(s)` is the logarithm of the total probability of all continuations after frame t from state s:

        b_t(s) = log Σ_{s'} exp(b_{t+1}(s') + log_probs[t+1, labels_s']),    s' one of s, s+1 and maybe s+2

    After the last frame it is 0 in the last two states. Then `exp(a_t(s) + b_t(s))` is the total probability
    of the alignments that are in s at frame t, and for every t the logarithm of its sum over s is `log P`, so

        d(-log P) / d log_probs[t, c] = -Σ_{s: labels_s = c} exp(a_t(s) + b_t(s) - log P)

    With the labels sorted, the states of one label are adjacent, so each sum is a difference of two
    cumulative sums and needs no scatter.
    """
    frames, count, states = alpha.shape
    skip = _skip(xp, labels)
    end = xp.where(_is_last(xp, labels, target_lengths), 0.0, LOW)
    after = xp.full((count, states + 2), LOW, dtype="float64")
    skipped = after.copy()
    share = xp.empty(alpha.shape, dtype="float64")
    beta = end
    for t in reversed(range(frames)):
        if t < frames - 1:
            after[:, :-2] = beta + emitted[t + 1]
            skipped[:, :-2] = after[:, :-2] + skip
            beta = _log_sum(xp, after[:, :-2], after[:, 1:-1], skipped[:, 2:])
            beta = xp.where((t >= input_lengths - 1)[:, None], end, beta)
        now = xp.exp(xp.minimum(alpha[t] + beta - log_p[:, None], 0.0))
        share[t] = xp.where((t < input_lengths)[:, None], now, 0.0)
    rows = xp.arange(count)[:, None]
    order = xp.argsort(labels, axis=-1, kind="stable")
    sums = xp.zeros((frames, count, states + 1), dtype="float64")
    sums[..., 1:] = xp.cumsum(share[:, rows, order], axis=-1)
    keys = (xp.take_along_axis(labels, order, axis=-1) + rows * classes).reshape(-1)  # sorted over all rows
    every = xp.arange(count * classes)
    first = xp.searchsorted(keys, every, side="left").reshape(count, classes) - rows * states
    last = xp.searchsorted(keys, every, side="right").reshape(count, classes) - rows * states
    return sums[:, rows, first] - sums[:, rows, last]


def _skip(xp: Any, labels: Array) -> Array:
    """The logarithm of the factor for skipping a state to reach s: 0 where it is allowed, else `LOW`."""
    skip = xp.full(labels.shape, LOW, dtype="float64")
    skip[:, 2:] = xp.where(labels[:, 2:] != labels[:, :-2], 0.0, LOW)
    return skip


def _is_last(xp: Any, labels: Array, target_lengths: Array) -> Array:
    """A mask of the states in which an alignment may end: the last label and the blank after it."""
    place, end = xp.arange(labels.shape[1]), 2 * target_lengths[:, None]
    return (place == end) | (place == end - 1)


def _log_sum(xp: Any, a: Array, b: Array, c: Array) -> Array:
    most = xp.maximum(xp.maximum(a, b), c)
    return most + xp.log(xp.exp(a - most) + xp.exp(b - most) + xp.exp(c - most))
