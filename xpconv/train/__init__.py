"""Training: `fit`, `evaluate` and `predict`, metrics, callbacks and `History`.

Everything here is built on the loop of the README: forward, loss, backward, step. Imported when asked for, as
`xpconv.train`.
"""

from typing import TYPE_CHECKING

from .callbacks import *
from .checkpoint import *
from .evaluate import *
from .find_lr import *
from .fit import *
from .history import *
from .metrics import *
from .nan import *
from .predict import *
from .run import *

if not TYPE_CHECKING:  # type checkers read the star imports
    __all__ = [
        name for name, thing in globals().items() if getattr(thing, "__module__", "").startswith(__name__)
    ]
