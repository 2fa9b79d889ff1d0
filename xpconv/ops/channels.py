"""One value per channel of `(N, C, *S)` arrays: sums over everything else, and its broadcast."""

from __future__ import annotations

from typing import Any

from ..backend import Array
from ..kernels import overridable
from ..sums import total


@overridable
def channel_total(xp: Any, x: Array) -> Array:
    """The sum over everything but the channels, `(C,)` in float64."""
    return total(x, (0, *range(2, x.ndim))).astype("float64", copy=False)


@overridable
def channel_sum(xp: Any, x: Array) -> Array:
    """`channel_total` in the dtype of `x`.

    Of `grad` it is the gradient of what was added to a whole channel: `db[c] = Σ_n Σ_s grad[n, c, s]`.
    """
    return channel_total(xp, x).astype(x.dtype, copy=False)


def channelwise(values: Array, ndim: int) -> Array:
    """`(C,)` as `(C, 1, …)`, to broadcast over `(N, C, *S)`."""
    return values.reshape(-1, *(1,) * (ndim - 2))
