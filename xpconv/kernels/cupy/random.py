"""Random masks from a counter-based generator on the device."""

from __future__ import annotations

from math import prod
from typing import Any

from ...backend import Array
from ...random import Source, new_key
from ..graph import before_replay, capturing, hold
from .launch import launch

FILE = "random.cu"


def keep_mask(xp: Any, source: Source, shape: tuple[int, ...], p: float) -> Array:
    """Draw the mask on the device, with a key that is drawn once from the generator for each device.

    A lock makes threads draw one after the other. Streams do so too: each waits for the one that drew before.
    """
    mask = xp.ndarray(shape, bool)
    fours = -(-prod(shape) // 4)
    with source.lock:
        name, state = _counter(xp, source)
        if capturing():  # a replay draws after all earlier draws, on whichever stream they were
            before_replay(lambda: _follow(xp, source, name))
            hold(state)
        else:
            _follow(xp, source, name)
        launch(xp, FILE, "keep_mask", fours, mask, state, mask.size, float(p), dtype="float32")
        launch(xp, FILE, "advance", 1, state, fours, dtype="float32")
    return mask


def _counter(xp: Any, source: Source) -> tuple[str, Array]:
    """The name of the current device in `Source.counters`, and its key and counter."""
    device = xp.cuda.Device().id if hasattr(xp, "cuda") else 0
    name = f"{xp.__name__}:{device}" if device else xp.__name__
    state = source.counters.get(name)
    if state is None:
        key = source.pending.pop(name, None)
        if key is None:
            key = [new_key(source.generator), 0]
        state = source.counters[name] = xp.asarray(key, dtype="uint64")
    return name, state


def _follow(xp: Any, source: Source, name: str) -> None:
    """Let the current stream wait for the stream of the latest draw, if that is another one."""
    if not hasattr(xp, "cuda"):
        return
    stream, before = xp.cuda.get_current_stream(), source.streams.get(name)
    if before is not None and before.ptr != stream.ptr:
        stream.wait_event(before.record())
    source.streams[name] = stream
