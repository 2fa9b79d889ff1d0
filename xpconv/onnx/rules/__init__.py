"""The rules: for each layer, the nodes that compute what its forward computes in inference."""

from . import activations as activations
from . import containers as containers
from . import linear as linear
from . import norm as norm
from . import operators as operators
from . import pool as pool
from . import resize as resize
from . import selection as selection
from . import shapes as shapes
from . import windows as windows
from .table import RULES as RULES
from .table import refusal as refusal
from .table import rule_of as rule_of
