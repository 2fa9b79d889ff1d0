"""Layers that drop at random in training."""

from __future__ import annotations

from ..backend import Array, asarray, backend_of
from ..random import RNG, default_rng
from .base import Layer


class Dropout(Layer):
    """In training, zero each element with probability `p` and scale the rest by `1/(1-p)`.

    As `torch.nn.Dropout`; in inference mode (`eval()`) `y` is `x`. The mask is drawn on the host: the
    same seed gives the same mask on every backend. Forward keeps it, one byte an element.

    Args:
        p: probability, 0 to 1.
        rng: `numpy.random.Generator` or seed; None takes that of `manual_seed`.

    Example:
        >>> import numpy as np, xpconv
        >>> xpconv.Dropout(0.5, rng=0)(np.ones(8, "float32"))
        array([2., 2., 2., 0., 0., 0., 0., 0.], dtype=float32)
    """

    def __init__(self, p: float = 0.5, *, rng: RNG = None) -> None:
        if not 0 <= p <= 1:
            raise ValueError(f"Dropout: p is {p}, expected a probability from 0 to 1")
        self.p = p
        self._rng = None if rng is None else default_rng(rng)

    def forward(self, x: Array) -> Array:
        self._enter(x)
        if not self.training or self.p == 0:
            return self.keep(x, None)
        draw = default_rng(self._rng).random(x.shape, dtype="float32")
        mask = asarray(draw >= self.p, backend=backend_of(x).name)
        return self.keep(self._apply(x, mask), mask)

    def backward(self, grad_output: Array, input_grad: bool = True) -> Array | None:
        (mask,) = self.recall(grad_output)
        if not input_grad:
            return None
        return grad_output if mask is None else self._apply(grad_output, mask)

    def _apply(self, x: Array, mask: Array) -> Array:
        """The layer is linear in `x` for a given mask, so this is forward and backward alike."""
        y = x * mask
        y *= 1 / (1 - self.p) if self.p < 1 else 0
        return y

    def extra_repr(self) -> str:
        return f"p={self.p}"
