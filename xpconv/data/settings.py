"""The arguments of `batches`, checked, and hints for those that other libraries have."""

from __future__ import annotations

from inspect import signature
from typing import Any

import numpy as np

from ..arguments import shown, to_int
from ..random import default_rng

THREADS = "leave it out: the workers are threads, without settings of their own"
ELSEWHERE = {  # arguments of PyTorch's DataLoader and others, and what to use here instead
    "num_workers": "give workers=, a number of threads",
    "pin_memory": "leave it out; xpconv.cuda.prefetch(batches) copies to a GPU in advance",
    "collate_fn": "items of a data set are stacked; give transform=function(batch, rng) for other changes",
    "batch_sampler": "give sampler=, and batch_size",
    "generator": "give seed=, an int or a numpy.random.Generator",
    "random_state": "give seed=",
    "rng": "give seed=",
    "bs": "give batch_size=",
    "worker_init_fn": THREADS,
    "persistent_workers": THREADS,
    "prefetch_factor": THREADS,
    "multiprocessing_context": THREADS,
    "timeout": THREADS,
}


def with_size(data: tuple[Any, ...], size: Any) -> tuple[tuple[Any, ...], Any]:
    """The arrays, and the batch size, which may be the last argument by position."""
    if size is not None:
        return data, size
    if not data or len(data) == 1 or getattr(data[-1], "shape", ()) != ():
        raise TypeError("batches: data and batch_size are required: batches(x, y, 64)")
    if isinstance(data[-2], int):
        raise TypeError(
            f"batches: {shown(data[-1])} follows batch_size; give shuffle, seed and the others by name"
        )
    return data[:-1], data[-1]


def to_transform(transform: Any) -> Any:
    """`transform`, if it is None or can be called with a batch and a generator."""
    expected = "expected a function transform(batch, rng)"
    if transform is None:
        return None
    if not callable(transform) or isinstance(transform, type):
        hint = "; make an instance of it" if isinstance(transform, type) else ""
        raise TypeError(f"batches: transform is {shown(transform)}, {expected}{hint}")
    try:
        found = signature(transform)
    except (TypeError, ValueError):  # of functions that are not written in Python
        return transform
    try:
        found.bind((), None)
    except TypeError:
        raise TypeError(
            f"batches: transform is {shown(transform)}, which takes {found}; {expected}, of the tuple of the "
            "batch's arrays and a numpy.random.Generator, that returns such a tuple"
        ) from None
    return transform


def to_seed(seed: Any) -> int:
    """`seed` as an int; from a generator, or without one, of 63 bits."""
    if seed is None:
        return int(np.random.SeedSequence().generate_state(1, np.uint64)[0] >> 1)
    if isinstance(seed, np.random.Generator):
        return int(seed.integers(2**63 - 1))
    default_rng(seed, "batches", "seed")
    return to_int("batches: seed", seed)
