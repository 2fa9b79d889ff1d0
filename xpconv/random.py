"""Random numbers: drawn on the host by NumPy's `Generator`, so a seed gives the same everywhere.

All but the masks of dropout on a GPU, which its own generator draws there: see `Source`.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

from .geometry import to_int

RNG: TypeAlias = "np.random.Generator | int | None"


class Source:
    """A stream of random numbers: NumPy's `generator`, and on each device a counter that it has seeded.

    `counters` holds them by the name of the array module; `kernels` makes and moves them.
    """

    def __init__(self, generator: np.random.Generator) -> None:
        self.generator = generator
        self.counters: dict[str, Any] = {}


_global: Source | None = None  # made when first asked for, as numpy.random is slow to import


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
    _global = Source(np.random.default_rng(to_int("manual_seed: seed", seed, 0)))


def default_rng(rng: RNG = None) -> np.random.Generator:
    """`rng` as a Generator: itself, one seeded with an int, or for None the global one of `manual_seed`."""
    if isinstance(rng, np.random.Generator):
        return rng
    return global_source().generator if rng is None else np.random.default_rng(to_int("rng", rng, 0))


def global_source() -> Source:
    """That of `manual_seed`."""
    global _global
    if _global is None:
        _global = Source(np.random.default_rng())
    return _global
