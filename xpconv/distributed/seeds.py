"""Random numbers of dropout, different in each process."""

from __future__ import annotations

import copy

import numpy as np

from ..layers.layer import Layer
from ..random import Source, _sources, global_source, new_key
from .communicator import Communicator


def separate_seeds(model: Layer, communicator: Communicator, epoch: int = 0) -> None:
    """Give the sources of random numbers seeds that follow from those of rank 0, the rank and the epoch.

    Rank 0 does not change. As the state of rank 0 is that of all, a checkpoint needs no other.
    """
    sources = [global_source(), *_sources("parallel", model).values()]
    seeds = communicator.from_first([_seed(source) for source in sources] if communicator.rank == 0 else None)
    if communicator.rank == 0:
        return
    for source, seed in zip(sources, seeds, strict=True):
        kind: type = type(source.generator.bit_generator)
        fresh = np.random.Generator(kind(np.random.SeedSequence([*seed, communicator.rank, epoch])))
        counters = {name: [new_key(fresh), 0] for name in source.counters}
        source.set_state("parallel", {"generator": fresh.bit_generator.state, "counters": counters})


def _seed(source: Source) -> list[int]:
    """Numbers that differ between any two places of a source."""
    counters = source.state()["counters"]
    drawn = [number for name in sorted(counters) for number in counters[name]]
    return [int(copy.deepcopy(source.generator).integers(2**63)), *drawn]
