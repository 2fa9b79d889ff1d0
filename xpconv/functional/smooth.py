"""Smooth activations, element by element, and the gated linear unit; stable at any finite input.

The backward of `sigmoid` and `tanh` takes the output, that of the others the input.
"""

from __future__ import annotations

from ..arguments import axis_of, to_int
from ..backend import Array
from ..errors import ShapeError
from ..layers.smooth import (
    GELU,
    LogSigmoid,
    Mish,
    Sigmoid,
    SiLU,
    Softplus,
    Softsign,
    Tanh,
    Tanhshrink,
)
from ..ops import smooth as ops
from ._checks import check_shape, enter, public
from ._pointwise import enter_pair, pointwise, pointwise_backward, settings

__all__ = [
    "gelu",
    "gelu_backward",
    "glu",
    "glu_backward",
    "logsigmoid",
    "logsigmoid_backward",
    "mish",
    "mish_backward",
    "sigmoid",
    "sigmoid_backward",
    "silu",
    "silu_backward",
    "softplus",
    "softplus_backward",
    "softsign",
    "softsign_backward",
    "tanh",
    "tanh_backward",
    "tanhshrink",
    "tanhshrink_backward",
]


@public
def sigmoid(input: Array) -> Array:
    """`1 / (1 + exp(-x))`, as `torch.nn.functional.sigmoid`.

    `input` has any shape and a floating dtype; anything else raises a DTypeError or BackendError.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.sigmoid(np.array([-1.0, 0.0, 2.0])).round(4)
        array([0.2689, 0.5   , 0.8808])
    """
    return pointwise("sigmoid", Sigmoid, input)


@public
def sigmoid_backward(grad_output: Array, output: Array) -> Array:
    """Gradient of `sigmoid` with respect to `input`; `grad_output` and `output` have one shape and dtype.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.sigmoid_backward(np.ones(3), F.sigmoid(np.array([-1.0, 0.0, 2.0]))).round(4)
        array([0.1966, 0.25  , 0.105 ])
    """
    return pointwise_backward("sigmoid", Sigmoid, grad_output, output, needs="output")


@public
def tanh(input: Array) -> Array:
    """`tanh(x)`, as `torch.nn.functional.tanh`.

    `input` has any shape and a floating dtype; anything else raises a DTypeError or BackendError.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.tanh(np.array([-1.0, 0.0, 2.0])).round(4)
        array([-0.7616,  0.    ,  0.964 ])
    """
    return pointwise("tanh", Tanh, input)


@public
def tanh_backward(grad_output: Array, output: Array) -> Array:
    """Gradient of `tanh` with respect to `input`; `grad_output` and `output` have one shape and dtype.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.tanh_backward(np.ones(3), F.tanh(np.array([-1.0, 0.0, 2.0]))).round(4)
        array([0.42  , 1.    , 0.0707])
    """
    return pointwise_backward("tanh", Tanh, grad_output, output, needs="output")


@public
def logsigmoid(input: Array) -> Array:
    """`log(1 / (1 + exp(-x)))`, as `torch.nn.functional.logsigmoid`.

    `input` has any shape and a floating dtype; anything else raises a DTypeError or BackendError.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.logsigmoid(np.array([-1.0, 0.0, 2.0])).round(4)
        array([-1.3133, -0.6931, -0.1269])
    """
    return pointwise("logsigmoid", LogSigmoid, input)


@public
def logsigmoid_backward(grad_output: Array, input: Array) -> Array:
    """Gradient of `logsigmoid` with respect to `input`; `grad_output` and `input` have one shape and dtype.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.logsigmoid_backward(np.ones(3), np.array([-1.0, 0.0, 2.0])).round(4)
        array([0.7311, 0.5   , 0.1192])
    """
    return pointwise_backward("logsigmoid", LogSigmoid, grad_output, input)


@public
def softplus(input: Array, beta: float = 1.0, threshold: float = 20.0) -> Array:
    """`log(1 + exp(beta x)) / beta`, and `x` where `beta x > threshold`, as `torch.nn.functional.softplus`.

    `input` has any shape and a floating dtype; anything else raises a DTypeError or BackendError.
    `beta` is not 0.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.softplus(np.array([-1.0, 0.0, 2.0])).round(4)
        array([0.3133, 0.6931, 2.1269])
    """
    return pointwise("softplus", Softplus, input, beta, threshold)


@public
def softplus_backward(grad_output: Array, input: Array, beta: float = 1.0, threshold: float = 20.0) -> Array:
    """Gradient of `softplus` with respect to `input`; `grad_output` and `input` have one shape and dtype.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.softplus_backward(np.ones(3), np.array([-1.0, 0.0, 2.0])).round(4)
        array([0.2689, 0.5   , 0.8808])
    """
    return pointwise_backward("softplus", Softplus, grad_output, input, beta, threshold)


@public
def silu(input: Array, inplace: bool = False) -> Array:
    """`x / (1 + exp(-x))`, as `torch.nn.functional.silu`; `inplace` has no effect.

    `input` has any shape and a floating dtype; anything else raises a DTypeError or BackendError.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.silu(np.array([-1.0, 0.0, 2.0])).round(4)
        array([-0.2689,  0.    ,  1.7616])
    """
    return pointwise("silu", SiLU, input, inplace)


@public
def silu_backward(grad_output: Array, input: Array) -> Array:
    """Gradient of `silu` with respect to `input`; `grad_output` and `input` have one shape and dtype.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.silu_backward(np.ones(3), np.array([-1.0, 0.0, 2.0])).round(4)
        array([0.0723, 0.5   , 1.0908])
    """
    return pointwise_backward("silu", SiLU, grad_output, input)


@public
def mish(input: Array, inplace: bool = False) -> Array:
    """`x tanh(log(1 + exp(x)))`, as `torch.nn.functional.mish`; `inplace` has no effect.

    `input` has any shape and a floating dtype; anything else raises a DTypeError or BackendError.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.mish(np.array([-1.0, 0.0, 2.0])).round(4)
        array([-0.3034,  0.    ,  1.944 ])
    """
    return pointwise("mish", Mish, input, inplace)


@public
def mish_backward(grad_output: Array, input: Array) -> Array:
    """Gradient of `mish` with respect to `input`; `grad_output` and `input` have one shape and dtype.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.mish_backward(np.ones(3), np.array([-1.0, 0.0, 2.0])).round(4)
        array([0.0592, 0.6   , 1.0693])
    """
    return pointwise_backward("mish", Mish, grad_output, input)


@public
def softsign(input: Array) -> Array:
    """`x / (1 + |x|)`, as `torch.nn.functional.softsign`.

    `input` has any shape and a floating dtype; anything else raises a DTypeError or BackendError.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.softsign(np.array([-1.0, 0.0, 2.0])).round(4)
        array([-0.5   ,  0.    ,  0.6667])
    """
    return pointwise("softsign", Softsign, input)


@public
def softsign_backward(grad_output: Array, input: Array) -> Array:
    """Gradient of `softsign` with respect to `input`; `grad_output` and `input` have one shape and dtype.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.softsign_backward(np.ones(3), np.array([-1.0, 0.0, 2.0])).round(4)
        array([0.25  , 1.    , 0.1111])
    """
    return pointwise_backward("softsign", Softsign, grad_output, input)


@public
def tanhshrink(input: Array) -> Array:
    """`x - tanh(x)`, as `torch.nn.functional.tanhshrink`.

    `input` has any shape and a floating dtype; anything else raises a DTypeError or BackendError.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.tanhshrink(np.array([-1.0, 0.0, 2.0])).round(4)
        array([-0.2384,  0.    ,  1.036 ])
    """
    return pointwise("tanhshrink", Tanhshrink, input)


@public
def tanhshrink_backward(grad_output: Array, input: Array) -> Array:
    """Gradient of `tanhshrink` with respect to `input`; `grad_output` and `input` have one shape and dtype.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.tanhshrink_backward(np.ones(3), np.array([-1.0, 0.0, 2.0])).round(4)
        array([0.58  , 0.    , 0.9293])
    """
    return pointwise_backward("tanhshrink", Tanhshrink, grad_output, input)


@public
def gelu(input: Array, approximate: str = "none") -> Array:
    """`x Φ(x)`, Φ the normal distribution function, as `torch.nn.functional.gelu`.

    `input` has any shape and a floating dtype; anything else raises a DTypeError or BackendError.

    With `approximate="tanh"` it is `x (1 + tanh(√(2/π) (x + 0.044715 x³))) / 2`.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.gelu(np.array([-1.0, 0.0, 2.0])).round(4)
        array([-0.1587,  0.    ,  1.9545])
    """
    layer = settings("functional.gelu", GELU, approximate)
    xp, x = enter("functional.gelu", {"input": input})
    return ops.gelu_tanh(xp, x) if layer.approximate == "tanh" else ops.gelu(xp, x)[0]


@public
def gelu_backward(grad_output: Array, input: Array, approximate: str = "none") -> Array:
    """Gradient of `gelu` with respect to `input`; `grad_output` and `input` have one shape and dtype.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.gelu_backward(np.ones(3), np.array([-1.0, 0.0, 2.0])).round(4)
        array([-0.0833,  0.5   ,  1.0852])
    """
    layer = settings("functional.gelu_backward", GELU, approximate)
    xp, x, grad = enter_pair("functional.gelu_backward", grad_output, input, "input")
    if layer.approximate == "tanh":
        return ops.gelu_tanh_backward(xp, grad, x)
    return ops.gelu_backward(xp, grad, x, None)


@public
def glu(input: Array, dim: int = -1) -> Array:
    """`a / (1 + exp(-b))` of the halves `a` and `b` of the input along `dim`, as `torch.nn.functional.glu`.

    Raises:
        ShapeError: (a ValueError) there is no axis `dim`, or it has an odd size.
        DTypeError, BackendError: (TypeErrors) `input` is not an array of a floating dtype.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.glu(np.array([[2.0, 4.0, 0.0, 1e4]]))
        array([[1., 4.]])
    """
    xp, x = enter("functional.glu", {"input": input})
    axis = _halved("functional.glu", x, dim)
    return ops.glu(xp, *xp.split(x, 2, axis=axis))


@public
def glu_backward(grad_output: Array, input: Array, dim: int = -1) -> Array:
    """Gradient of `glu` with respect to `input`; `grad_output` is half as long as `input` along `dim`.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.glu_backward(np.ones((1, 2)), np.array([[2.0, 4.0, 0.0, 1e4]]))
        array([[0.5, 1. , 0.5, 0. ]])
    """
    where = "functional.glu_backward"
    xp, x, grad = enter(where, {"input": input, "grad_output": grad_output})
    axis = _halved(where, x, dim)
    a, b = xp.split(x, 2, axis=axis)
    check_shape(where, "grad_output", grad, a.shape, "half of input")
    dx: Array = xp.concatenate(ops.glu_backward(xp, grad, a, b), axis=axis)
    return dx


def _halved(where: str, x: Array, dim: int) -> int:
    """The axis `dim`, which must have an even size."""
    axis = axis_of(where, to_int(f"{where}: dim", dim), x.shape, "input")
    if x.shape[axis] % 2:
        raise ShapeError(f"{where}: input has shape {x.shape}, expected an even size at dim={dim}")
    return axis
