"""What a CUDA graph needs while it is captured, and on the host before each replay (a new learning rate)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextvars import ContextVar
from typing import Any


class Recording:
    """The capture of one graph."""

    def __init__(self, products: Any = None) -> None:
        self.products = products  # of matrices: `cupy.gemm.Products`
        self.callbacks: list[Callable[[], object]] = []  # to call before each replay
        self.held: list[Any] = []  # arrays of others that the graph knows


recording: ContextVar[Recording | None] = ContextVar("xpconv_recording", default=None)
optimized: ContextVar[list[Any] | None] = ContextVar("xpconv_optimized", default=None)  # see `note_optimized`


def capturing() -> bool:
    """Whether a step is being captured: then nothing may wait for the device, or copy from the host."""
    return recording.get() is not None


def before_replay(callback: Callable[[], object]) -> None:
    """Have `callback` called before each replay of the graph that is being captured, if one is."""
    found = recording.get()
    if found is not None:
        found.callbacks.append(callback)


def hold(array: Any) -> None:
    """Let `array` live as long as the graph that is being captured, if one is."""
    found = recording.get()
    if found is not None:
        found.held.append(array)


def note_optimized(parameters: Iterable[Any]) -> None:
    """Tell a step that will be captured which parameters an optimizer in it updates."""
    found = optimized.get()
    if found is not None:
        found.extend(parameters)
