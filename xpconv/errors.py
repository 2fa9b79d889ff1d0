"""The errors xpconv raises: every one is also a built-in, so `except ValueError` keeps working.

A message names the layer, the argument, what was expected, what came and, where there is one, the fix.
"""


class ShapeError(ValueError):
    """An array has the wrong rank, number of channels or size for this layer."""


class DTypeError(TypeError):
    """An array's dtype is not the layer's, or not one that the operation can take."""


class BackendError(TypeError):
    """Arrays of different array modules meet, or an object belongs to no registered backend."""


class BackendUnavailableError(RuntimeError):
    """The backend asked for cannot be used on this machine."""


class BackwardError(RuntimeError):
    """`backward` was called without a `forward` to go back through."""


class StateDictError(ValueError):
    """A state dict does not fit the model: missing, unexpected or wrongly shaped entries."""


class DataFileError(ValueError):
    """A data file is truncated, corrupt or does not match its partner."""
