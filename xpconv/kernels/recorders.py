"""Which object records the kernels of a thread, for an inference plan."""

from __future__ import annotations

import threading
from typing import Any

_local = threading.local()


def recorder() -> Any:
    """What records this thread's kernels, or None."""
    return getattr(_local, "recorder", None)


def set_recorder(recorder: Any) -> None:
    """Let `recorder` record this thread's kernels, or None."""
    _local.recorder = recorder
