"""Initial values for weights, with PyTorch's names and formulas.

Numbers are drawn on the host in float64 and then cast and moved: the same seed gives the same weights
on every backend. Every function fills a `Parameter` in place and returns it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from .arguments import is_sequence, shown, to_choice, to_float, to_size
from .arrays import asarray
from .backend import Array, backend_of
from .errors import BackendError, OutOfMemoryError, ShapeError
from .parameter import Parameter, has_values_later
from .random import RNG, default_rng

_GAINS = {"linear": 1.0, "sigmoid": 1.0, "tanh": 5 / 3, "relu": math.sqrt(2.0), "selu": 0.75}
_LARGEST = {"float16": 65504.0, "bfloat16": 3.3895313892515355e38, "float32": 3.4028234663852886e38}
_OFTEN = 0.1  # smallest probability of the range for which rejection sampling is used


def fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """How many inputs each output sees and how many outputs each input reaches: `(fan_in, fan_out)`.

    Of a weight `(out, in/groups, *kernel)`: `in/groups · taps` and `out · taps`.

    Raises:
        TypeError: `shape` is not a sequence of ints.
        ShapeError: (a ValueError) fewer than two axes, as of a bias.

    Example:
        >>> from xpconv import init
        >>> init.fans((16, 3, 5, 5))
        (75, 400)
    """
    return _fans("init.fans", shape)


def gain(nonlinearity: str, a: float = 0.0) -> float:
    """The factor on weights before a nonlinearity; `a` is the slope of `'leaky_relu'`.

    Raises:
        ValueError: an unknown name.

    Example:
        >>> from xpconv import init
        >>> round(init.gain("relu") ** 2, 6)
        2.0
    """
    return _gain("init.gain", nonlinearity, a)


def uniform_(parameter: Parameter, low: float = 0.0, high: float = 1.0, rng: RNG = None) -> Parameter:
    """Fill from the uniform distribution on `[low, high)`.

    Raises:
        TypeError: `parameter` is not a `Parameter`, or an argument is not a number.
        ValueError: `low` above `high`, or numbers that are not finite or beyond the parameter's dtype.

    Example:
        >>> import xpconv
        >>> weight = xpconv.init.uniform_(xpconv.Dense(3, 2).weight, -0.1, 0.1, rng=0)
        >>> bool((abs(weight.data) <= 0.1).all())
        True
    """
    where = "init.uniform_"
    dtype = _dtype(where, parameter)
    low, high = _finite(where, "low", low, dtype), _finite(where, "high", high, dtype)
    if not (low <= high and math.isfinite(high - low)):
        raise ValueError(f"{where}: low is {low} and high is {high}, expected low <= high of finite distance")
    return _uniform(where, parameter, low, high, rng)


def normal_(parameter: Parameter, mean: float = 0.0, std: float = 1.0, rng: RNG = None) -> Parameter:
    """Fill from the normal distribution.

    Raises:
        TypeError: `parameter` is not a `Parameter`, or an argument is not a number.
        ValueError: `std` below 0, or numbers that are not finite or beyond the parameter's dtype.

    Example:
        >>> import xpconv
        >>> weight = xpconv.init.normal_(xpconv.Dense(100, 100).weight, std=0.02, rng=0)
        >>> round(float(weight.data.std()), 3)
        0.02
    """
    where = "init.normal_"
    dtype = _dtype(where, parameter)
    mean, std = _finite(where, "mean", mean, dtype), _finite(where, "std", std, dtype, 0)
    return _normal(where, parameter, mean, std, rng)


def trunc_normal_(
    parameter: Parameter,
    mean: float = 0.0,
    std: float = 1.0,
    a: float = -2.0,
    b: float = 2.0,
    rng: RNG = None,
) -> Parameter:
    """Fill from the normal distribution, truncated to `[a, b]`.

    Numbers outside the range are drawn again. If the range has a probability below 0.1, rejection sampling
    from an exponential distribution is used instead (Robert, 1995, "Simulation of truncated normal
    variables"), which is exact too, and fast for any range.

    Args:
        mean, std: mean and standard deviation before truncation; `std` is above 0.
        a, b: the range, `a < b`; numbers, not multiples of `std`. Either may be infinite.

    Raises:
        TypeError: `parameter` is not a `Parameter`, or an argument is not a number.
        ValueError: the range is empty, no number can be drawn from it, or an argument is out of range.

    Example:
        >>> import xpconv
        >>> weight = xpconv.init.trunc_normal_(xpconv.Dense(100, 100).weight, a=-1, b=1, rng=0)
        >>> bool((abs(weight.data) <= 1).all())
        True
    """
    where = "init.trunc_normal_"
    dtype = _dtype(where, parameter)
    mean, std = _finite(where, "mean", mean, dtype), _finite(where, "std", std, dtype, 0)
    a, b = to_float(f"{where}: a", a), to_float(f"{where}: b", b)
    if not a < b:
        raise ValueError(f"{where}: a is {a} and b is {b}, expected a < b")
    low, high = ((x - mean) / std if std else math.inf for x in (a, b))
    if not (low < math.inf and high > -math.inf and low < high):
        raise ValueError(
            f"{where}: the range from a = {a} to b = {b} cannot be hit with mean = {mean}, std = {std}"
        )
    generator = default_rng(rng, where)
    share = (math.erf(high / math.sqrt(2)) - math.erf(low / math.sqrt(2))) / 2

    def often() -> Array:
        values = generator.normal(mean, std, parameter.shape)
        while (outside := (values < a) | (values > b)).any():
            values[outside] = generator.normal(mean, std, int(outside.sum()))
        return values

    def seldom() -> Array:
        if abs(low) <= abs(high):  # the distances are from the end nearer to the mean
            return (a + std * _distances(generator, low, high - low, parameter.size)).clip(a, b)
        return (b - std * _distances(generator, -high, high - low, parameter.size)).clip(a, b)

    return _fill(where, parameter, often if share >= _OFTEN else lambda: seldom().reshape(parameter.shape))


def _distances(generator: Any, low: float, width: float, count: int) -> Array:
    """`z - low` for `count` standard normal `z` in `[low, low + width]`, a range of low probability.

    With `m = max(low, 0)`, where the density is largest, `exp(-z²/2) ∝ exp(-m·z) · exp(-(z - m)²/2)`. Numbers
    are drawn from the first factor, an exponential distribution truncated to `width` (for m = 0 a uniform
    one), and accepted with the second factor as probability, whose mean is above 0.5.
    """
    m = max(low, 0.0)
    accepted = generator.random(0)
    xp = backend_of(accepted).xp  # the host's
    while len(accepted) < count:
        u = generator.random(2 * (count - len(accepted)) + 8)
        t = -xp.log1p(u * math.expm1(-m * width)) / m if m * width > 1e-9 else u * width
        t = t[generator.random(len(t)) <= xp.exp(-((t + (low - m)) ** 2) / 2)]
        accepted = xp.concatenate([accepted, t])
    return accepted[:count]


def constant_(parameter: Parameter, value: float) -> Parameter:
    """Fill with one value, which may be NaN or infinite.

    Raises:
        TypeError: `parameter` is not a `Parameter`, or `value` is not a number.
        ValueError: a value beyond the parameter's dtype.

    Example:
        >>> import xpconv
        >>> xpconv.init.constant_(xpconv.Dense(3, 2).bias, 0.5).data
        array([0.5, 0.5], dtype=float32)
    """
    dtype = _dtype("init.constant_", parameter)
    value = to_float("init.constant_: value", value, nan=True)
    if math.isfinite(value):
        _finite("init.constant_", "value", value, dtype)
    parameter._write(value)
    return parameter


def kaiming_uniform_(
    parameter: Parameter,
    a: float = 0.0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    rng: RNG = None,
) -> Parameter:
    """Uniform on `±gain · √(3 / fan)`: keeps the variance through ReLU layers (He et al., 2015)."""
    where = "init.kaiming_uniform_"
    bound = math.sqrt(3.0) * _kaiming(where, parameter, a, mode, nonlinearity)
    return _uniform(where, parameter, -bound, bound, rng)


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
    where = "init.kaiming_normal_"
    return _normal(where, parameter, 0.0, _kaiming(where, parameter, a, mode, nonlinearity), rng)


def xavier_uniform_(parameter: Parameter, gain: float = 1.0, rng: RNG = None) -> Parameter:
    """Uniform on `±gain · √(6 / (fan_in + fan_out))` (Glorot and Bengio, 2010)."""
    where = "init.xavier_uniform_"
    bound = _xavier(where, parameter, gain, 6.0)
    return _uniform(where, parameter, -bound, bound, rng)


def xavier_normal_(parameter: Parameter, gain: float = 1.0, rng: RNG = None) -> Parameter:
    """Normal with standard deviation `gain · √(2 / (fan_in + fan_out))` (Glorot and Bengio, 2010)."""
    where = "init.xavier_normal_"
    return _normal(where, parameter, 0.0, _xavier(where, parameter, gain, 2.0), rng)


# --- helpers -----------------------------------------------------------------------------------------


def _dtype(where: str, parameter: object) -> Any:
    """The dtype of `parameter`; a TypeError if it is not a Parameter."""
    data = getattr(parameter, "data", None)  # NumPy arrays have an attribute `data` as well
    try:
        backend_of(data if hasattr(parameter, "requires_grad") else None)
    except BackendError:
        raise TypeError(
            f"{where}: parameter is {shown(parameter)}, expected a Parameter, such as layer.weight; an array "
            "becomes one by xpconv.Parameter(array)"
        ) from None
    return data.dtype  # type: ignore[union-attr]


def _finite(where: str, name: str, value: object, dtype: Any, minimum: float | None = None) -> float:
    """`value` as a float that `dtype` can hold."""
    number = to_float(f"{where}: {name}", value, minimum, finite=True)
    most = _LARGEST.get(dtype.name, math.inf)
    if abs(number) > most:
        raise ValueError(
            f"{where}: {name} is {number}, expected at most {most} in size, what {dtype} can hold"
        )
    return number


def _fans(where: str, shape: object) -> tuple[int, int]:
    if not is_sequence(shape):
        raise TypeError(f"{where}: shape is {shown(shape)}, expected a tuple of ints, such as weight.shape")
    sizes = [to_size(f"{where}: shape", n, 0) for n in shape]
    if len(sizes) < 2:
        raise ShapeError(f"{where}: shape {shape} has no fan-in; expected a weight (out, in, *kernel)")
    taps = math.prod(sizes[2:])
    return sizes[1] * taps, sizes[0] * taps


def _gain(where: str, nonlinearity: object, a: object) -> float:
    name = to_choice(f"{where}: nonlinearity", nonlinearity, [*_GAINS, "leaky_relu"])
    slope = to_float(f"{where}: a", a, finite=True)
    return math.sqrt(2.0 / (1 + slope * slope)) if name == "leaky_relu" else _GAINS[name]


def _kaiming(where: str, parameter: Parameter, a: object, mode: object, nonlinearity: object) -> float:
    """The standard deviation; 0 for a parameter without elements."""
    _dtype(where, parameter)
    out = to_choice(f"{where}: mode", mode, ("fan_in", "fan_out")) == "fan_out"
    factor = _gain(where, nonlinearity, a)
    fan = _fans(where, parameter.shape)[out]
    return factor / math.sqrt(fan) if fan else 0.0


def _xavier(where: str, parameter: Parameter, gain: object, of: float) -> float:
    """`gain · √(of / (fan_in + fan_out))`; 0 for a parameter without elements."""
    dtype = _dtype(where, parameter)
    factor = _finite(where, "gain", gain, dtype, 0)
    total = sum(_fans(where, parameter.shape))
    return factor * math.sqrt(of / total) if total else 0.0


def _uniform(where: str, parameter: Parameter, low: float, high: float, rng: RNG) -> Parameter:
    generator = default_rng(rng, where)
    return _fill(where, parameter, lambda: generator.uniform(low, high, parameter.shape))


def _normal(where: str, parameter: Parameter, mean: float, std: float, rng: RNG) -> Parameter:
    generator = default_rng(rng, where)
    return _fill(where, parameter, lambda: generator.normal(mean, std, parameter.shape))


def _fill(where: str, parameter: Parameter, draw: Callable[[], Array]) -> Parameter:
    """Fill `parameter` with the result of `draw`, a float64 host array."""
    if has_values_later():
        return parameter
    backend = backend_of(parameter.data)
    try:
        drawn = draw()
        most = _LARGEST.get(parameter.dtype.name, math.inf)
        if drawn.size and not (-most <= drawn.min() and drawn.max() <= most):
            raise ValueError(
                f"{where}: it gives {drawn.min():.6g} to {drawn.max():.6g}, which {parameter.dtype} cannot "
                f"hold (at most {most} in size); take smaller numbers"
            )
        values = asarray(drawn, parameter.dtype, backend=backend.name)
    except MemoryError as cause:
        raise OutOfMemoryError(
            f"{where}: no memory for {parameter.size} float64 numbers, drawn for shape {parameter.shape}: "
            f"{cause}"
        ) from cause
    parameter._write(values)
    return parameter
