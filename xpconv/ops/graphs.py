"""CUDA graphs: what records them, on a device that has them."""

from __future__ import annotations

from typing import Any


def recorder(xp: Any) -> Any:
    """A new `kernels.cupy.recorder.Recorder` for arrays of `xp`; None if their device has no graphs."""
    if not hasattr(xp, "cuda"):
        return None
    from ..kernels.cupy.recorder import Recorder

    return Recorder(xp)
