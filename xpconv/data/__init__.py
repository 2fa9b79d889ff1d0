"""Data sets (`load_digits`, `load_mnist`), the file format `load_idx`, mini-`batches`, and their samplers."""

from typing import TYPE_CHECKING

from .batches import *
from .datasets import *
from .idx import *
from .samplers import *

if not TYPE_CHECKING:  # type checkers read the star imports
    __all__ = [
        name for name, thing in globals().items() if getattr(thing, "__module__", "").startswith(__name__)
    ]
