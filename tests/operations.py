"""All overridable operations: as the library runs them, and their references."""

from functools import partial
from types import SimpleNamespace

from xpconv import kernels


class Plain:
    """An array module for which nothing is overridden."""

    def __init__(self, xp):
        self.__name__, self._xp = f"{xp.__name__} without overrides", xp

    def __getattr__(self, name):
        if name == "RawModule":
            raise AttributeError(name)
        return getattr(self._xp, name)


def _run_reference(operation, xp, *args, **options):
    return operation(Plain(xp), *args, **options)


ours = SimpleNamespace(**kernels.operations)
reference = SimpleNamespace(**{name: partial(_run_reference, f) for name, f in kernels.operations.items()})
