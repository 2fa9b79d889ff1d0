"""Files of training runs and of models: safetensors, with the values as JSON in its metadata."""

from typing import TYPE_CHECKING

from .checkpoint import *
from .model_file import *

if not TYPE_CHECKING:  # type checkers read the star imports
    __all__ = [
        name for name, thing in globals().items() if getattr(thing, "__module__", "").startswith(__name__)
    ]
