"""Pictures of models: kernels, feature maps, Grad-CAM, saliency, gradients, confusion, mistakes.

Needs matplotlib (`pip install matplotlib`). Each function draws into `ax`, or makes a figure, and
returns the figure: `plot.kernels(model.conv1).savefig("kernels.png")`. A notebook displays it. No setting
of matplotlib changes, and no window opens. `xpconv.inspection` has the same as arrays, and
`train.History.plot` the learning curves.

Example:
    >>> import xpconv
    >>> figure = xpconv.plot.kernels(xpconv.models.resnet20().conv1)
"""

from typing import TYPE_CHECKING

from .charts import *
from .maps import *

if not TYPE_CHECKING:  # type checkers read the star imports
    __all__ = [
        name for name, thing in globals().items() if getattr(thing, "__module__", "").startswith(__name__)
    ]
