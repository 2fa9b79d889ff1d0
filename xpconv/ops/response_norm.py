"""Division by the energy of neighbouring channels (local response normalisation)."""

from __future__ import annotations

from typing import Any

from ..backend import Array
from ..kernels import overridable
from ..sums import widened, widened_for


@overridable
def response_norm(xp: Any, x: Array, size: int, alpha: float, beta: float, k: float) -> tuple[Array, Array]:
    """`y_c = x_c / d_c^beta` with `d_c = k + alpha/size · Σ x_i²` over `size` channels `i` at `c`; and `d`.

    The window of channel `c` is from `c - ⌊size/2⌋` to `c + ⌊(size - 1)/2⌋`.
    """
    wide = widened(widened_for(x, min(size, x.shape[1])))
    d = window_sum(xp, wide * wide, size // 2, (size - 1) // 2)
    d *= alpha / size
    d += k
    return (wide * d**-beta).astype(x.dtype, copy=False), d


@overridable
def response_norm_backward(
    xp: Any, grad: Array, x: Array, d: Array, size: int, alpha: float, beta: float
) -> Array:
    """Gradient with respect to `x`.

    `x_i` acts directly, and on `d_c` of every channel `c` whose window holds `i`: with
    `∂d_c/∂x_i = 2 alpha/size · x_i` and `∂y_c/∂d_c = -beta · x_c · d_c^(-beta-1)`,

        dx_i = grad_i · d_i^-beta - 2 alpha beta/size · x_i · Σ_c grad_c · x_c · d_c^(-beta-1)

    and those `c` range from `i - ⌊(size - 1)/2⌋` to `i + ⌊size/2⌋`: the window mirrored.
    """
    scale = grad * d**-beta  # has the dtype of d
    dx = window_sum(xp, scale * x / d, (size - 1) // 2, size // 2)
    dx *= x
    dx *= -2 * alpha * beta / size
    dx += scale
    return dx.astype(grad.dtype, copy=False)


def window_sum(xp: Any, x: Array, below: int, above: int) -> Array:
    """`y[:, c] = Σ x[:, i]` for `i` from `c - below` to `c + above`, as far as there are channels."""
    y = x.copy()
    channels = x.shape[1]
    for shift in range(1, min(below, channels - 1) + 1):
        y[:, shift:] += x[:, : channels - shift]
    for shift in range(1, min(above, channels - 1) + 1):
        y[:, : channels - shift] += x[:, shift:]
    return y
