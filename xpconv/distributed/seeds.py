"""Random numbers of dropout, different in each process."""

from __future__ import annotations

import copy

import numpy as np

from ..layers.layer import Layer
from ..random import _sources, global_source
from .communicator import Communicator


def separate_seeds(model: Layer, communicator: Communicator) -> None:
    """Give the sources of random numbers seeds that follow from those of rank 0 and the rank.

    Rank 0 goes on as it was.
    """
    sources = [global_source(), *_sources("parallel", model).values()]
    seeds = [int(copy.deepcopy(source.generator).integers(2**63)) for source in sources]
    seeds = communicator.from_first(seeds)
    if communicator.rank == 0:
        return
    for source, seed in zip(sources, seeds, strict=True):
        kind: type = type(source.generator.bit_generator)
        fresh = kind(np.random.SeedSequence([seed, communicator.rank]))
        source.set_state("parallel", {"generator": fresh.state, "counters": {}})
