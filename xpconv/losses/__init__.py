"""Losses: `loss = criterion(input, target)`, then `grad = criterion.backward()` for the model.

A loss stays on the device, as a 0-d array: read it (`float(loss)`) once per report, as that waits for
the GPU. Formulas are written for one element (or one sample) and then reduced.
"""

from typing import TYPE_CHECKING

from .base import *
from .binary import *
from .classification import *
from .ctc import *
from .multilabel import *
from .ranking import *
from .regression import *
from .targets import *

if not TYPE_CHECKING:  # type checkers read the star imports
    __all__ = [
        name for name, thing in globals().items() if getattr(thing, "__module__", "").startswith(__name__)
    ]
