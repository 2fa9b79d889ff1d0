"""Training: `fit`, `evaluate` and `predict`, metrics, callbacks and `History`.

Everything here is built on the loop of the README: forward, loss, backward, step. Imported at first use, as
`xpconv.train`.
"""

from typing import TYPE_CHECKING

from .callbacks import *
from .checkpoint import *
from .evaluate import *
from .find_lr import *
from .fit import *
from .history import *
from .logs import *
from .metrics import *
from .nan import *
from .predict import *
from .run import *

if not TYPE_CHECKING:  # type checkers read the star imports
    __all__ = [
        name for name, thing in globals().items() if getattr(thing, "__module__", "").startswith(__name__)
    ]

    _ELSEWHERE = {  # what Keras and Lightning have under another name
        "ModelCheckpoint": "use Checkpoint(folder)",
        "Trainer": "use fit(model, loss, optimizer, batches, epochs=…)",
        "Callback": "any object with a method such as on_epoch_end(run) is a callback",
        "TensorBoardLogger": "use TensorBoard(folder)",
        "LearningRateMonitor": "the history has the learning rate: history['lr']",
        "LearningRateScheduler": "give schedule=xpconv.LambdaLR(optimizer, function) to fit",
        "ReduceLROnPlateau": "give schedule=xpconv.ReduceLROnPlateau(optimizer) to fit",
        "TerminateOnNan": "use TerminateOnNaN()",
        "lr_find": "use find_lr(model, loss, optimizer, batches)",
    }

    def __getattr__(name):
        hint = f"; {_ELSEWHERE[name]}" if name in _ELSEWHERE else ""
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}{hint}")
