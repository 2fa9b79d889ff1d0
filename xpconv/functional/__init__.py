"""Convolution and the other operations of neural networks as functions of arrays, without layers or state.

Names and arguments are those of `torch.nn.functional` and `torch.nn.grad`. `import xpconv` does not import
this module; the first use of `xpconv.functional` does.

    import cupy, xpconv

    x = cupy.random.random((1, 8, 256, 256), dtype="float32")
    weight = cupy.random.random((12, 8, 24, 24), dtype="float32")
    y = xpconv.functional.conv2d(x, weight)
    dx = xpconv.functional.conv2d_input(x.shape, weight, y)
    dweight = xpconv.functional.conv2d_weight(x, weight.shape, y)

**Backend.** The arguments decide where a function computes: for CuPy arrays on the GPU, for NumPy arrays on
the CPU. The result is an array of the same backend. `XPCONV_BACKEND` and `use_backend` have no effect. Arrays
of several backends in one call raise an error that names both; `xpconv.asarray(x, backend="cupy")` copies an
array. A `Parameter` of a layer is accepted in place of an array. Inputs are not changed, except the running
statistics of `batch_norm` and `instance_norm` in training.

**Dtypes.** The floating and complex arrays of a call must have one dtype, which the result has too: float16,
bfloat16 (with `ml_dtypes`), float32 or float64. There are three exceptions. Indices, classes and lengths are
integers, and the targets of some losses may be. The `weight` of a loss for each class, and `pos_weight`, may
have any real dtype, and are converted, also from another backend. Where a loss is float16 or bfloat16,
`grad_output` may be float32.

**Gradients** are separate functions, named by these rules:

- A function `f` that is linear in each of several arrays has one gradient function for each array, named
  after that array. Its arguments are in the order of `torch.nn.grad`: the arguments of `f`, with the shape of
  the array in place of the array, and then `grad_output`: `conv2d_input(input_size, weight, grad_output,
  stride=…, …)`, `conv2d_weight(input, weight_size, grad_output, …)`, `conv2d_bias(grad_output)`.
- Any other function `f` has `f_backward(grad_output, …)`. `grad_output` is the gradient with respect to the
  result of `f`. It is followed by what the derivative needs (`input`, `output`, `indices` or `mask`, or
  `input_size` if only the shape is needed), then by the other arguments of `f` that affect the gradient.
  It returns the gradient with respect to `input`, or a tuple of the gradients of several arrays, in the
  order of `f` (targets and running statistics have none): `relu_backward(grad_output, input)`,
  `pad_backward(grad_output, pad, mode=…)`, `cross_entropy_backward(grad_output, input, target)`,
  `max_pool2d_backward(grad_output, indices, input_size, kernel_size)`.

`grad_output` has the shape of what `f` returned; for a loss it may also be a number.

**Complex arrays.** Functions that are linear (convolutions, `linear`, `pad`, `unfold`, `fold`, `interpolate`,
average pooling, shuffles) also take complex64 and complex128. Their gradients are PyTorch's, which are the
adjoints: with `⟨a, b⟩ = Σ conj(a)·b`, `⟨f(x), y⟩ = ⟨x, f_backward(y)⟩`; so `conv2d_input` multiplies by the
conjugate of `weight`, and `conv2d_weight` by that of `input`.

**Integers** are accepted where results are exact: by `pad`, `unfold`, `fold`, the shuffles, `interpolate` in
nearest modes and max pooling; booleans by `pad`, `unfold` and the shuffles. Any other dtype raises a
DTypeError.
"""

from difflib import get_close_matches as _get_close_matches
from types import ModuleType as _ModuleType
from typing import TYPE_CHECKING

from .activation import *
from .adaptive_pool import *
from .avg_pool import *
from .conv import *
from .conv_gradients import *
from .conv_transpose import *
from .dropout import *
from .embedding import *
from .fold import *
from .layer_norm import *
from .linear import *
from .loss_binary import *
from .loss_classification import *
from .loss_likelihood import *
from .loss_multilabel import *
from .loss_ranking import *
from .loss_regression import *
from .lp_pool import *
from .max_pool import *
from .norm import *
from .padding import *
from .resample import *
from .shrink import *
from .shuffle import *
from .smooth import *
from .softmax import *
from .unpool import *
from .vectors import *

if not TYPE_CHECKING:  # type checkers read the star imports
    __all__ = [
        name for name, thing in globals().items() if getattr(thing, "__module__", "").startswith(__name__)
    ]
    for _name in [name for name, thing in globals().items() if isinstance(thing, _ModuleType)]:
        del globals()[_name]  # the files, such as `conv`, which a user might take for functions
    del _name

    def __getattr__(name):
        """Raise the error for a missing attribute, with the nearest names."""
        plain = {function.replace("_", ""): function for function in __all__}
        close = _get_close_matches(name.lower().replace("_", ""), plain, 3)
        nearest = f"; the nearest are {', '.join(plain[n] for n in close)}" if close else ""
        layers = f"; layers are in xpconv: xpconv.{name}" if name[:1].isupper() else ""
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}{nearest}{layers}")

    def __dir__():
        return sorted(__all__)
