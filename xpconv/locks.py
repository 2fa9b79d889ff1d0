"""The lock of what threads that train one model share."""

from __future__ import annotations

import os
import threading

update = threading.RLock()  # held while a sum or a statistic that threads share is updated
if hasattr(os, "register_at_fork"):  # a child must not inherit it from another thread that holds it
    os.register_at_fork(before=update.acquire, after_in_parent=update.release, after_in_child=update.release)
