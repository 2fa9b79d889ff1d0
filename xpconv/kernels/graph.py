"""What a captured CUDA graph needs done on the host before each replay, such as a new learning rate."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar

callbacks: ContextVar[list[Callable[[], None]] | None] = ContextVar("xpconv_before_replay", default=None)


def capturing() -> bool:
    """Whether a step is being captured: then nothing may wait for the device, or copy from the host."""
    return callbacks.get() is not None


def before_replay(callback: Callable[[], None]) -> None:
    """Have `callback` called before each replay of the graph that is being captured, if one is."""
    found = callbacks.get()
    if found is not None:
        found.append(callback)
