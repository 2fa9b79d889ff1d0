"""Well-known CNNs, each a short file over the library's layers.

Every function returns a model whose parameters have torchvision's names, shapes and initial
distributions, so torchvision's weights load: `model.load_state_dict(weights)`.

Example:
    >>> from xpconv.models import resnet18
    >>> sum(p.size for p in resnet18(num_classes=10).parameters())
    11181642
"""

from typing import TYPE_CHECKING

from .alexnet import *
from .convnext import *
from .densenet import *
from .efficientnet import *
from .googlenet import *
from .lenet import *
from .mobilenet import *
from .resnet import *
from .small import *
from .squeezenet import *
from .unet import *
from .vgg import *

if not TYPE_CHECKING:  # type checkers read the star imports
    __all__ = [
        name for name, thing in globals().items() if getattr(thing, "__module__", "").startswith(__name__)
    ]
