"""Data sets, folders of images, their parts and statistics, and mini-`batches`; `transforms` on request."""

from importlib import import_module
from typing import TYPE_CHECKING

from .batches import *
from .cifar import *
from .datasets import *
from .folder import *
from .idx import *
from .image_files import *
from .mnist import *
from .samplers import *
from .splits import *
from .statistics import *

if not TYPE_CHECKING:  # type checkers read the star imports
    __all__ = [
        name for name, thing in globals().items() if getattr(thing, "__module__", "").startswith(__name__)
    ]

if TYPE_CHECKING:
    from . import transforms as transforms
else:

    def __getattr__(name):
        """`xpconv.data.transforms`, imported when asked for."""
        if name == "transforms":
            return import_module(f"{__name__}.transforms")
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
