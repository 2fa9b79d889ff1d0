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

_PIXELS = "images are arrays (C, H, W) from 0 to 1 from the start, of load_mnist, image_folder and read_image"
_FUNCTION = "any function f(batch, rng) is a transform: its batch is a tuple, images (N, C, H, W) first"
_ELSEWHERE = {  # what torchvision has under another name, or not at all here
    **dict.fromkeys(("ToTensor", "PILToTensor", "ToImage"), f"leave it out: {_PIXELS}"),
    "ToPILImage": "use PIL.Image.fromarray",
    **dict.fromkeys(("ConvertImageDtype", "ConvertDtype"), "use ToDtype"),
    **dict.fromkeys(
        ("Lambda", "AutoAugment", "RandAugment", "TrivialAugmentWide", "GaussianBlur", "RandomPerspective"),
        _FUNCTION,
    ),
    "RandomGrayscale": "use RandomApply([Grayscale(3)], p)",
    "Mixup": "use MixUp",
    "Cutmix": "use CutMix",
    "Scale": "use Resize",
    **dict.fromkeys(("v2", "functional"), "the transforms are here"),
}

if not TYPE_CHECKING:  # type checkers read the star imports
    __all__ = [
        name for name, thing in globals().items() if getattr(thing, "__module__", "").startswith(__name__)
    ]

    def __getattr__(name):
        hint = f"; {_ELSEWHERE[name]}" if name in _ELSEWHERE else ""
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}{hint}")
