"""Piecewise activations, element by element; the smooth ones are in `smooth.py`.

The backward of a function takes the gradient of its output, the input, and the same arguments. `inplace`
has no effect, as in the layers: inputs are never modified.
"""

from __future__ import annotations

from ..backend import Array
from ..errors import ShapeError
from ..layers.activation import CELU, ELU, SELU, Hardsigmoid, Hardswish, Hardtanh, LeakyReLU, ReLU, ReLU6
from ..ops import activation as ops
from ..ops.channels import channel_sum, channelwise
from ..sums import sum_over
from ._checks import check_shape, enter, public
from ._pointwise import pointwise, pointwise_backward

__all__ = [
    "celu",
    "celu_backward",
    "elu",
    "elu_backward",
    "hardsigmoid",
    "hardsigmoid_backward",
    "hardswish",
    "hardswish_backward",
    "hardtanh",
    "hardtanh_backward",
    "leaky_relu",
    "leaky_relu_backward",
    "prelu",
    "prelu_backward",
    "relu",
    "relu6",
    "relu6_backward",
    "relu_backward",
    "selu",
    "selu_backward",
]


@public
def relu(input: Array, inplace: bool = False) -> Array:
    """`max(x, 0)`, as `torch.nn.functional.relu`; `inplace` has no effect.

    `input` has any shape and a floating dtype; anything else raises a DTypeError or BackendError.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.relu(np.array([-1.0, 0.0, 2.0]))
        array([0., 0., 2.])
    """
    return pointwise("relu", ReLU, input, inplace)


@public
def relu_backward(grad_output: Array, input: Array) -> Array:
    """Gradient of `relu` with respect to `input`; `grad_output` and `input` have one shape and dtype.

    The gradient at 0 is 0. The output of `relu` may be given in place of `input`; the result is the same.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.relu_backward(np.ones(3), np.array([-1.0, 0.0, 2.0]))
        array([0., 0., 1.])
    """
    return pointwise_backward("relu", ReLU, grad_output, input)


@public
def relu6(input: Array, inplace: bool = False) -> Array:
    """`min(max(x, 0), 6)`, as `torch.nn.functional.relu6`; `inplace` has no effect.

    `input` has any shape and a floating dtype; anything else raises a DTypeError or BackendError.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.relu6(np.array([-1.0, 2.0, 8.0]))
        array([0., 2., 6.])
    """
    return pointwise("relu6", ReLU6, input, inplace)


@public
def relu6_backward(grad_output: Array, input: Array) -> Array:
    """Gradient of `relu6` with respect to `input`; `grad_output` and `input` have one shape and dtype.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.relu6_backward(np.ones(3), np.array([-1.0, 2.0, 8.0]))
        array([0., 1., 0.])
    """
    return pointwise_backward("relu6", ReLU6, grad_output, input)


@public
def leaky_relu(input: Array, negative_slope: float = 0.01, inplace: bool = False) -> Array:
    """`x` where `x > 0`, else `negative_slope · x`, as `torch.nn.functional.leaky_relu`.

    `input` has any shape and a floating dtype; anything else raises a DTypeError or BackendError.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.leaky_relu(np.array([-1.0, 0.0, 2.0]), 0.1)
        array([-0.1,  0. ,  2. ])
    """
    return pointwise("leaky_relu", LeakyReLU, input, negative_slope, inplace)


@public
def leaky_relu_backward(grad_output: Array, input: Array, negative_slope: float = 0.01) -> Array:
    """Gradient of `leaky_relu` with respect to `input`; `grad_output` and `input` have one shape and dtype.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.leaky_relu_backward(np.ones(3), np.array([-1.0, 0.0, 2.0]), 0.1)
        array([0.1, 0.1, 1. ])
    """
    return pointwise_backward("leaky_relu", LeakyReLU, grad_output, input, negative_slope)


@public
def prelu(input: Array, weight: Array) -> Array:
    """`x` where `x > 0`, else `weight · x`, as `torch.nn.functional.prelu`.

    `weight` is `(1,)` or `()`, or `(C,)` for an input `(N, C, *)`.

    Raises:
        ShapeError: (a ValueError) `weight` has another shape.
        DTypeError, BackendError: (TypeErrors) arrays of several dtypes or backends, or not floating point.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.prelu(np.array([[-1.0, -1.0, 2.0]]), np.array([0.5, 0.25, 0.0]))
        array([[-0.5 , -0.25,  2.  ]])
    """
    xp, x, slope = enter("functional.prelu", {"input": input, "weight": weight})
    return ops.leaky_relu(xp, x, _slope("functional.prelu", x, slope))


@public
def prelu_backward(grad_output: Array, input: Array, weight: Array) -> tuple[Array, Array]:
    """Gradients of `prelu` with respect to `input` and `weight`; `grad_output` has the shape of `input`.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.prelu_backward(np.ones(3), np.array([-2.0, 0.0, 2.0]), np.array([0.25]))
        (array([0.25, 0.25, 1.  ]), array([-2.]))
    """
    where = "functional.prelu_backward"
    xp, x, weight, grad = enter(where, {"input": input, "weight": weight, "grad_output": grad_output})
    check_shape(where, "grad_output", grad, x.shape, "that of input")
    slope = _slope(where, x, weight)
    each = ops.leaky_relu_backward_slope(xp, grad, x)
    one = weight.size == 1
    total = sum_over(each, tuple(range(x.ndim))) if one else channel_sum(xp, each)
    return ops.leaky_relu_backward(xp, grad, x, slope), total.reshape(weight.shape)


def _slope(where: str, x: Array, weight: Array) -> Array:
    """`weight` in a shape that broadcasts over `x`."""
    if weight.ndim < 2 and weight.size == 1:
        return weight.reshape((1,) * x.ndim)
    if x.ndim < 2 or weight.shape != x.shape[1:2]:
        raise ShapeError(
            f"{where}: weight has shape {weight.shape}, expected (1,), or (C,) for an input (N, C, …); "
            f"input has shape {x.shape}"
        )
    return channelwise(weight, x.ndim)


@public
def elu(input: Array, alpha: float = 1.0, inplace: bool = False) -> Array:
    """`x` where `x > 0`, else `alpha (exp(x) - 1)`, as `torch.nn.functional.elu`.

    `input` has any shape and a floating dtype; anything else raises a DTypeError or BackendError.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.elu(np.array([-1.0, 0.0, 2.0])).round(4)
        array([-0.6321,  0.    ,  2.    ])
    """
    return pointwise("elu", ELU, input, alpha, inplace)


@public
def elu_backward(grad_output: Array, input: Array, alpha: float = 1.0) -> Array:
    """Gradient of `elu` with respect to `input`; `grad_output` and `input` have one shape and dtype.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.elu_backward(np.ones(3), np.array([-1.0, 0.0, 2.0])).round(4)
        array([0.3679, 1.    , 1.    ])
    """
    return pointwise_backward("elu", ELU, grad_output, input, alpha)


@public
def selu(input: Array, inplace: bool = False) -> Array:
    """`1.0507 · elu(x, 1.6733)`, as `torch.nn.functional.selu`.

    `input` has any shape and a floating dtype; anything else raises a DTypeError or BackendError.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.selu(np.array([-1.0, 0.0, 2.0])).round(4)
        array([-1.1113,  0.    ,  2.1014])
    """
    return pointwise("selu", SELU, input, inplace)


@public
def selu_backward(grad_output: Array, input: Array) -> Array:
    """Gradient of `selu` with respect to `input`; `grad_output` and `input` have one shape and dtype.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.selu_backward(np.ones(3), np.array([-1.0, 0.0, 2.0])).round(4)
        array([0.6468, 1.7581, 1.0507])
    """
    return pointwise_backward("selu", SELU, grad_output, input)


@public
def celu(input: Array, alpha: float = 1.0, inplace: bool = False) -> Array:
    """`max(x, 0) + min(alpha (exp(x/alpha) - 1), 0)`, as `torch.nn.functional.celu`.

    `input` has any shape and a floating dtype; anything else raises a DTypeError or BackendError.

    `alpha` is not 0.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.celu(np.array([-1.0, 0.0, 2.0]), 2.0).round(4)
        array([-0.7869,  0.    ,  2.    ])
    """
    return pointwise("celu", CELU, input, alpha, inplace)


@public
def celu_backward(grad_output: Array, input: Array, alpha: float = 1.0) -> Array:
    """Gradient of `celu` with respect to `input`; `grad_output` and `input` have one shape and dtype.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.celu_backward(np.ones(3), np.array([-1.0, 0.0, 2.0]), 2.0).round(4)
        array([0.6065, 1.    , 1.    ])
    """
    return pointwise_backward("celu", CELU, grad_output, input, alpha)


@public
def hardtanh(input: Array, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Array:
    """`min(max(x, min_val), max_val)`, as `torch.nn.functional.hardtanh`.

    `input` has any shape and a floating dtype; anything else raises a DTypeError or BackendError.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.hardtanh(np.array([-3.0, 0.5, 3.0]))
        array([-1. ,  0.5,  1. ])
    """
    return pointwise("hardtanh", Hardtanh, input, min_val, max_val, inplace)


@public
def hardtanh_backward(grad_output: Array, input: Array, min_val: float = -1.0, max_val: float = 1.0) -> Array:
    """Gradient of `hardtanh` with respect to `input`; `grad_output` and `input` have one shape and dtype.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.hardtanh_backward(np.ones(3), np.array([-3.0, 0.5, 3.0]))
        array([0., 1., 0.])
    """
    return pointwise_backward("hardtanh", Hardtanh, grad_output, input, min_val, max_val)


@public
def hardsigmoid(input: Array, inplace: bool = False) -> Array:
    """`min(max(x + 3, 0), 6) / 6`, as `torch.nn.functional.hardsigmoid`.

    `input` has any shape and a floating dtype; anything else raises a DTypeError or BackendError.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.hardsigmoid(np.array([-4.0, 0.0, 4.0])).round(4)
        array([0. , 0.5, 1. ])
    """
    return pointwise("hardsigmoid", Hardsigmoid, input, inplace)


@public
def hardsigmoid_backward(grad_output: Array, input: Array) -> Array:
    """Gradient of `hardsigmoid` with respect to `input`; `grad_output` and `input` have one shape and dtype.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.hardsigmoid_backward(np.ones(3), np.array([-4.0, 0.0, 4.0])).round(4)
        array([0.    , 0.1667, 0.    ])
    """
    return pointwise_backward("hardsigmoid", Hardsigmoid, grad_output, input)


@public
def hardswish(input: Array, inplace: bool = False) -> Array:
    """`x · hardsigmoid(x)`, as `torch.nn.functional.hardswish`.

    `input` has any shape and a floating dtype; anything else raises a DTypeError or BackendError.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.hardswish(np.array([-1.5, 0.0, 4.0]))
        array([-0.375,  0.   ,  4.   ])
    """
    return pointwise("hardswish", Hardswish, input, inplace)


@public
def hardswish_backward(grad_output: Array, input: Array) -> Array:
    """Gradient of `hardswish` with respect to `input`; `grad_output` and `input` have one shape and dtype.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.hardswish_backward(np.ones(3), np.array([-1.5, 0.0, 4.0]))
        array([0. , 0.5, 1. ])
    """
    return pointwise_backward("hardswish", Hardswish, grad_output, input)
