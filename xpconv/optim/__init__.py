"""Optimizers, schedules, clipping and weight averages, with PyTorch's names, defaults and formulas.

All parameters of an optimizer move into one flat buffer (`Parameter.data` becomes a view), and each step
copies their gradients into another, so that it is a few operations on long vectors instead of
many on short ones: on a GPU a handful of launches, whatever the depth of the model.
"""

from typing import TYPE_CHECKING

from .adam import *
from .adaptive import *
from .base import *
from .clip import *
from .composed import *
from .ema import *
from .large_batch import *
from .one_cycle import *
from .plateau import *
from .rates import *
from .scaler import *
from .schedule import *
from .sgd import *

if not TYPE_CHECKING:  # type checkers read the star imports
    __all__ = [
        name for name, thing in globals().items() if getattr(thing, "__module__", "").startswith(__name__)
    ]
