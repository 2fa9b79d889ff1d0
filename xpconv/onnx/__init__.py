"""ONNX: models written to and read from `.onnx` files. Needs onnx: `pip install onnx`."""

from typing import TYPE_CHECKING

from . import library as library  # first: it says what to install
from .builder import *
from .export import *
from .load import *

if not TYPE_CHECKING:  # type checkers read the star imports
    __all__ = [
        name for name, thing in globals().items() if getattr(thing, "__module__", "").startswith(__name__)
    ]
