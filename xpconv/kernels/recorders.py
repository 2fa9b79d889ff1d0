"""Which object records the kernels of a thread, for an inference plan."""

from __future__ import annotations

import threading
from typing import Any


class _ThisThread(threading.local):
    """Attributes of the thread that reads them."""

    recorder: Any = None  # what records this thread's kernels
    tries = False  # steps run to see whether a plan is possible: containers within make none of their own


this_thread = _ThisThread()
