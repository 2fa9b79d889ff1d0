"""How a device does a hot operation: `portable` for any array module, overrides where they pay."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from . import portable

_overrides: dict[str, ModuleType] = {}


def of(xp: Any) -> ModuleType:
    """The kernels for arrays of `xp`: a module with the names of `portable`."""
    if xp.__name__ != "numpy":
        return portable
    if "numpy" not in _overrides:  # not at import: it takes a fifth of the package's time
        from . import numpy

        _overrides["numpy"] = numpy
    return _overrides["numpy"]
