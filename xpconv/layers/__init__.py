"""State and shapes: every layer checks its input, calls `ops`, and saves what backward needs."""

from typing import TYPE_CHECKING

from .activation import *
from .adaptive_pool import *
from .blocks import *
from .containers import *
from .conv import *
from .conv_lazy import *
from .conv_separable import *
from .conv_transpose import *
from .dropout import *
from .embedding import *
from .fold import *
from .global_pool import *
from .graph import *
from .group_norm import *
from .instance_norm import *
from .layer import *
from .layer_norm import *
from .lazy import *
from .linear import *
from .lp_pool import *
from .module_list import *
from .norm import *
from .padding import *
from .pool import *
from .resample import *
from .shape import *
from .shrink import *
from .smooth import *
from .softmax import *
from .unpool import *

if not TYPE_CHECKING:  # type checkers read the star imports
    __all__ = [
        name for name, thing in globals().items() if getattr(thing, "__module__", "").startswith(__name__)
    ]
