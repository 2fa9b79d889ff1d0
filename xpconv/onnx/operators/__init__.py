"""The operators of ONNX that xpconv reads: for each a function from a node to layers, by `node.operator`."""

from . import activations as activations
from . import arithmetic as arithmetic
from . import convolution as convolution
from . import indexing as indexing
from . import normalization as normalization
from . import pooling as pooling
from . import reduction as reduction
from . import resizing as resizing
from . import shapes as shapes
