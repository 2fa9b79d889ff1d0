"""Initial values for weights, with PyTorch's names and formulas.

Numbers are drawn on the host in float64 and then cast and moved: the same seed gives the same weights
on every backend. Every function fills a `Parameter` in place and returns it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from .backend import asarray, backend_of
from .errors import ShapeError
from .random import RNG, default_rng

if TYPE_CHECKING:
    from .layers.base import Parameter

_GAINS = {"linear": 1.0, "sigmoid": 1.0, "tanh": 5 / 3, "relu": math.sqrt(2.0), "selu": 0.75}


def fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """How many inputs each output sees and how many outputs each input reaches: `(fan_in, fan_out)`.

    Of a weight `(out, in/groups, *kernel)`: `in/groups · taps` and `out · taps`.

    Raises:
        ShapeError: (a ValueError) fewer than two axes, as of a bias.

    Example:
        >>> from xpconv import init
        >>> init.fans((16, 3, 5, 5))
        (75, 400)
    """
    if len(shape) < 2:
        raise ShapeError(f"init: shape {shape} has no fan-in; expected a weight (out, in, *kernel)")
    taps = math.prod(shape[2:])
    return shape[1] * taps, shape[0] * taps


def gain(nonlinearity: str, a: float = 0.0) -> float:
    """What a nonlinearity asks weights to be scaled by; `a` is the slope of `'leaky_relu'`.

    Example:
        >>> from xpconv import init
        >>> round(init.gain("relu") ** 2, 6)
        2.0
    """
    if nonlinearity == "leaky_relu":
        return math.sqrt(2.0 / (1 + a * a))
    if nonlinearity not in _GAINS:
        choices = ", ".join(map(repr, [*_GAINS, "leaky_relu"]))
        raise ValueError(f"init: nonlinearity is {nonlinearity!r}, expected one of {choices}")
    return _GAINS[nonlinearity]


def uniform_(parameter: Parameter, low: float = 0.0, high: float = 1.0, rng: RNG = None) -> Parameter:
    """Fill from the uniform distribution on `[low, high)`.

    Example:
        >>> import xpconv
        >>> weight = xpconv.init.uniform_(xpconv.Dense(3, 2).weight, -0.1, 0.1, rng=0)
        >>> bool((abs(weight.data) <= 0.1).all())
        True
    """
    return _fill(parameter, default_rng(rng).uniform(low, high, parameter.shape))


def normal_(parameter: Parameter, mean: float = 0.0, std: float = 1.0, rng: RNG = None) -> Parameter:
    """Fill from the normal distribution.

    Example:
        >>> import xpconv
        >>> weight = xpconv.init.normal_(xpconv.Dense(100, 100).weight, std=0.02, rng=0)
        >>> round(float(weight.data.std()), 3)
        0.02
    """
    return _fill(parameter, default_rng(rng).normal(mean, std, parameter.shape))


def trunc_normal_(
    parameter: Parameter,
    mean: float = 0.0,
    std: float = 1.0,
    a: float = -2.0,
    b: float = 2.0,
    rng: RNG = None,
) -> Parameter:
    """Fill from the normal distribution, with what falls outside `[a, b]` drawn again.

    Example:
        >>> import xpconv
        >>> weight = xpconv.init.trunc_normal_(xpconv.Dense(100, 100).weight, a=-1, b=1, rng=0)
        >>> bool((abs(weight.data) <= 1).all())
        True
    """
    generator = default_rng(rng)
    values = generator.normal(mean, std, parameter.shape)
    while (outside := (values < a) | (values > b)).any():
        values[outside] = generator.normal(mean, std, int(outside.sum()))
    return _fill(parameter, values)


def constant_(parameter: Parameter, value: float) -> Parameter:
    """Fill with one value.

    Example:
        >>> import xpconv
        >>> xpconv.init.constant_(xpconv.Dense(3, 2).bias, 0.5).data
        array([0.5, 0.5], dtype=float32)
    """
    parameter.data[...] = value
    return parameter


def kaiming_uniform_(
    parameter: Parameter,
    a: float = 0.0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    rng: RNG = None,
) -> Parameter:
    """Uniform on `±gain · √(3 / fan)`: keeps the variance through ReLU layers (He et al., 2015)."""
    bound = gain(nonlinearity, a) * math.sqrt(3.0 / _fan(parameter, mode))
    return uniform_(parameter, -bound, bound, rng)


def kaiming_normal_(
    parameter: Parameter,
    a: float = 0.0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    rng: RNG = None,
) -> Parameter:
    """Normal with standard deviation `gain / √fan` (He et al., 2015).

    Example:
        >>> import xpconv
        >>> conv = xpconv.Conv2d(64, 32, 3)
        >>> weight = xpconv.init.kaiming_normal_(conv.weight, nonlinearity="relu", rng=0)
        >>> abs(float(weight.data.var()) - 2 / (64 * 9)) < 1e-4
        True
    """
    return normal_(parameter, 0.0, gain(nonlinearity, a) / math.sqrt(_fan(parameter, mode)), rng)


def xavier_uniform_(parameter: Parameter, gain: float = 1.0, rng: RNG = None) -> Parameter:
    """Uniform on `±gain · √(6 / (fan_in + fan_out))` (Glorot and Bengio, 2010)."""
    bound = gain * math.sqrt(6.0 / sum(fans(parameter.shape)))
    return uniform_(parameter, -bound, bound, rng)


def xavier_normal_(parameter: Parameter, gain: float = 1.0, rng: RNG = None) -> Parameter:
    """Normal with standard deviation `gain · √(2 / (fan_in + fan_out))` (Glorot and Bengio, 2010)."""
    return normal_(parameter, 0.0, gain * math.sqrt(2.0 / sum(fans(parameter.shape))), rng)


def _fan(parameter: Parameter, mode: str) -> int:
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"init: mode is {mode!r}, expected 'fan_in' or 'fan_out'")
    return fans(parameter.shape)[mode == "fan_out"]


def _fill(parameter: Parameter, values: object) -> Parameter:
    backend = backend_of(parameter.data)
    parameter.data[...] = asarray(values, parameter.dtype, backend=backend.name)
    return parameter
