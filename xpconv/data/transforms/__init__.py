"""Transforms of batches of images in array code: flips, crops, sizes, colours, erasing, MixUp, CutMix.

Names and settings are those of `torchvision.transforms.v2`, but each image of a batch gets draws of its
own. They are drawn on the host, so the same `rng` gives the same images on every backend.
"""

from typing import TYPE_CHECKING

from .affine import *
from .color import *
from .compose import *
from .crops import *
from .erase import *
from .flips import *
from .mix import *
from .sizes import *

if not TYPE_CHECKING:  # type checkers read the star imports
    __all__ = [
        name for name, thing in globals().items() if getattr(thing, "__module__", "").startswith(__name__)
    ]
