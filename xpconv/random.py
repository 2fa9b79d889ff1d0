"""Random numbers: drawn on the host by NumPy's `Generator`, so a seed gives the same everywhere."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

from .geometry import to_int

RNG: TypeAlias = "np.random.Generator | int | None"

_global: np.random.Generator | None = None  # made when first asked for, as numpy.random is slow to import


def manual_seed(seed: int) -> None:
    """Seed the generator that layers and initialisers use when they get no `rng` of their own.

    Example:
        >>> import xpconv
        >>> xpconv.manual_seed(0)
        >>> a = xpconv.Dense(2, 2)
        >>> xpconv.manual_seed(0)
        >>> bool((xpconv.Dense(2, 2).weight.data == a.weight.data).all())
        True
    """
    global _global
    _global = np.random.default_rng(to_int("manual_seed: seed", seed, 0))


def default_rng(rng: RNG = None) -> np.random.Generator:
    """`rng` as a Generator: itself, one seeded with an int, or for None the global one of `manual_seed`."""
    global _global
    if isinstance(rng, np.random.Generator):
        return rng
    if rng is not None:
        return np.random.default_rng(to_int("rng", rng, 0))
    if _global is None:
        _global = np.random.default_rng()
    return _global
