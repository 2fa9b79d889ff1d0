"""Dropout: in training, layers that zero random parts of their input."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from ..arguments import to_bool, to_float
from ..backend import Array, get_xp
from ..errors import ShapeError
from ..ops.dropout import apply_mask, keep_mask
from ..random import RNG, Source, default_rng, global_source
from .layer import Layer

__all__ = ["AlphaDropout", "DropPath", "Dropout", "Dropout1d", "Dropout2d", "Dropout3d"]


class _Dropout(Layer):
    """`y = x · mask · gain + shift`, with a mask drawn at every forward in training; else `y = x`."""

    def __init__(self, p: float = 0.5, inplace: bool = False, *, rng: RNG = None) -> None:
        name = type(self).__name__
        self.p: float = to_float(f"{name}: p", p)
        if not 0 <= self.p <= 1:
            raise ValueError(f"{name}: p is {p}, expected a probability from 0 to 1")
        self.inplace: bool = to_bool(f"{name}: inplace", inplace)
        self._source = None if rng is None else Source(default_rng(rng, name))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "rng": None if self._source is None else self._source.generator}

    def forward(self, x: Array) -> Array:
        xp = self._enter(x)
        shape = self._mask_shape(x)
        if not self.training or self.p == 0:
            return self.keep(x, None, 1.0)
        mask = keep_mask(xp, self._source or global_source(), shape, self.p)
        return self.keep(self._apply(x, mask), mask, self._gain)

    def backward(self, grad_output: Array, input_grad: bool = True) -> Array | None:
        mask, gain = self.recall(grad_output, input_grad)
        if not input_grad:
            return None
        return grad_output if mask is None else self._scale(grad_output, mask, gain)

    def _mask_shape(self, x: Array) -> tuple[int, ...]:
        """The shape of the mask, which broadcasts over `x`."""
        shape: tuple[int, ...] = x.shape
        return shape

    def _apply(self, x: Array, mask: Array) -> Array:
        return self._scale(x, mask, self._gain)

    def _scale(self, x: Array, mask: Array, gain: float) -> Array:
        """Forward and backward: for a given mask the layer is linear in `x`."""
        return apply_mask(get_xp(x), x, mask, gain)

    @property
    def _gain(self) -> float:
        return 1 / (1 - self.p) if self.p < 1 else 0.0

    def extra_repr(self) -> str:
        return f"p={self.p}, inplace=True" if self.inplace else f"p={self.p}"


class Dropout(_Dropout):
    """In training, zero each element with probability `p` and scale the rest by `1/(1-p)`.

    As `torch.nn.Dropout`; in inference mode (`eval()`) `y` is `x`. A seed gives the same masks in
    every run, but others on a GPU, which has a generator of its own. Forward saves the
    mask, one byte per element.

    Args:
        p: probability, 0 to 1.
        inplace: has no effect, as inputs are never modified.
        rng: `numpy.random.Generator` or seed; None takes that of `manual_seed`.

    Raises:
        ValueError: `p` is not a probability.

    Example:
        >>> import numpy as np, xpconv
        >>> xpconv.Dropout(0.5, rng=0)(np.ones(8, "float32"))
        array([2., 2., 2., 0., 0., 0., 0., 0.], dtype=float32)
    """


class _ChannelDropout(_Dropout):
    """Dropout of whole channels; `ranks` maps each accepted rank to whether it is batched."""

    ranks: ClassVar[dict[int, bool]]
    expected: ClassVar[str]

    def _mask_shape(self, x: Array) -> tuple[int, ...]:
        if x.ndim not in self.ranks:
            raise ShapeError(
                f"{type(self).__name__}.forward: x has shape {x.shape}, expected {self.expected}"
            )
        axes = 2 if self.ranks[x.ndim] else 1
        shape: tuple[int, ...] = x.shape[:axes] + (1,) * (x.ndim - axes)
        return shape


class Dropout1d(_ChannelDropout):
    """In training, zero each whole channel with probability `p`; as `torch.nn.Dropout1d`.

    The rest is scaled by `1/(1-p)` (Tompson et al., 2015). `x` and `y` are `(N, C, L)` or `(C, L)`; each
    image draws its own channels. In inference mode `y` is `x`. Forward saves one byte per channel.

    Args:
        p: probability, 0 to 1.
        inplace: has no effect, as inputs are never modified.
        rng: `numpy.random.Generator` or seed; None takes that of `manual_seed`.

    Raises:
        ValueError: `p` is not a probability.
        ShapeError: (a ValueError) `x` of another rank.

    Example:
        >>> import numpy as np, xpconv
        >>> xpconv.Dropout1d(0.5, rng=0)(np.ones((5, 2)))[:, 0]
        array([2., 2., 2., 0., 0.])
    """

    ranks: ClassVar[dict[int, bool]] = {3: True, 2: False}
    expected = "(N, C, L) or (C, L)"


class Dropout2d(_ChannelDropout):
    """In training, zero each whole channel with probability `p`; as `torch.nn.Dropout2d`.

    The rest is scaled by `1/(1-p)` (Tompson et al., 2015). `x` and `y` are `(N, C, H, W)`, or `(N, C, L)`:
    three axes are a batch of sequences, as PyTorch takes them (with a warning), not one image. In
    inference mode `y` is `x`. Forward saves one byte per channel.

    Args:
        p: probability, 0 to 1.
        inplace: has no effect, as inputs are never modified.
        rng: `numpy.random.Generator` or seed; None takes that of `manual_seed`.

    Raises:
        ValueError: `p` is not a probability.
        ShapeError: (a ValueError) `x` of another rank.

    Example:
        >>> import numpy as np, xpconv
        >>> xpconv.Dropout2d(0.5, rng=0)(np.ones((1, 5, 2, 2)))[0, :, 0, 0]
        array([2., 2., 2., 0., 0.])
    """

    ranks: ClassVar[dict[int, bool]] = {4: True, 3: True}
    expected = "(N, C, H, W) or (N, C, L)"


class Dropout3d(_ChannelDropout):
    """In training, zero each whole channel with probability `p`; as `torch.nn.Dropout3d`.

    The rest is scaled by `1/(1-p)` (Tompson et al., 2015). `x` and `y` are `(N, C, D, H, W)` or
    `(C, D, H, W)`. In inference mode `y` is `x`. Forward saves one byte per channel.

    Args:
        p: probability, 0 to 1.
        inplace: has no effect, as inputs are never modified.
        rng: `numpy.random.Generator` or seed; None takes that of `manual_seed`.

    Raises:
        ValueError: `p` is not a probability.
        ShapeError: (a ValueError) `x` of another rank.

    Example:
        >>> import numpy as np, xpconv
        >>> xpconv.Dropout3d(0.5, rng=0)(np.ones((5, 2, 2, 2)))[:, 0, 0, 0]
        array([2., 2., 2., 0., 0.])
    """

    ranks: ClassVar[dict[int, bool]] = {5: True, 4: False}
    expected = "(N, C, D, H, W) or (C, D, H, W)"


class AlphaDropout(_Dropout):
    """Dropout that preserves mean 0 and variance 1, for SELU networks; as `torch.nn.AlphaDropout`.

        y = a · (x · mask - α · (1 - mask)) + b,  a = 1/√((1-p)(1 + p·α²)),  b = a·α·p

    (Klambauer et al., 2017), at every element of an `x` of any shape: a dropped element becomes `-α`, SELU's
    limit at -∞ (α = 1.7581), before rescaling. With `p=1` everything is 0; in inference mode `y`
    is `x`. Forward saves one byte per element.

    Args:
        p: probability, 0 to 1.
        inplace: has no effect, as inputs are never modified.
        rng: `numpy.random.Generator` or seed; None takes that of `manual_seed`.

    Raises:
        ValueError: `p` is not a probability.

    Example:
        >>> import numpy as np, xpconv
        >>> xpconv.AlphaDropout(0.5, rng=0)(np.ones(5)).round(4)
        array([ 1.6656,  1.6656,  1.6656, -0.7792, -0.7792])
    """

    _alpha = 1.7580993408473766

    def _apply(self, x: Array, mask: Array) -> Array:
        y = self._scale(x, mask, self._gain)
        if self.p < 1:
            # a·α·p where mask is 1, a·α·p - a·α = -a·α·(1-p) where it is 0
            shift = mask.astype(x.dtype)
            shift *= self._gain * self._alpha
            shift -= self._gain * self._alpha * (1 - self.p)
            y += shift
        return y

    @property
    def _gain(self) -> float:
        return 1 / math.sqrt((1 - self.p) * (1 + self.p * self._alpha**2)) if self.p < 1 else 0.0


class DropPath(_Dropout):
    """Stochastic depth: in training, zero each whole image with probability `p`, scale the rest by `1/(1-p)`.

    As torchvision's `StochasticDepth(p, mode="row")` and timm's `DropPath` (Huang et al., 2016): last in the
    main path of a residual block, it skips the block for some images of the batch. `x` and `y` are
    `(N, …)`. In inference mode `y` is `x`. Forward saves one byte per image.

    Args:
        p: probability, 0 to 1.
        rng: `numpy.random.Generator` or seed; None takes that of `manual_seed`.

    Raises:
        ValueError: `p` is not a probability.
        ShapeError: (a ValueError) `x` has no axes.

    Example:
        >>> import numpy as np, xpconv
        >>> xpconv.DropPath(0.5, rng=0)(np.ones((5, 3, 4, 4)))[:, 0, 0, 0]
        array([2., 2., 2., 0., 0.])
    """

    def __init__(self, p: float = 0.0, *, rng: RNG = None) -> None:
        super().__init__(p, rng=rng)

    def _mask_shape(self, x: Array) -> tuple[int, ...]:
        if x.ndim == 0:
            raise ShapeError("DropPath.forward: x has shape (), expected (N, …)")
        shape: tuple[int, ...] = x.shape[:1] + (1,) * (x.ndim - 1)
        return shape
