"""Shrinkage and threshold activations, element by element."""

from __future__ import annotations

from ..backend import Array
from ..layers.shrink import Hardshrink, Softshrink, Threshold
from ._checks import public
from ._pointwise import pointwise, pointwise_backward

__all__ = [
    "hardshrink",
    "hardshrink_backward",
    "softshrink",
    "softshrink_backward",
    "threshold",
    "threshold_backward",
]


@public
def hardshrink(input: Array, lambd: float = 0.5) -> Array:
    """0 where `-lambd <= x <= lambd`, else `x`, as `torch.nn.functional.hardshrink`.

    `input` has any shape and a floating dtype; anything else raises a DTypeError or BackendError.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.hardshrink(np.array([-1.0, 0.25, 2.0]))
        array([-1.,  0.,  2.])
    """
    return pointwise("hardshrink", Hardshrink, input, lambd)


@public
def hardshrink_backward(grad_output: Array, input: Array, lambd: float = 0.5) -> Array:
    """Gradient of `hardshrink` with respect to `input`; `grad_output` and `input` have one shape and dtype.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.hardshrink_backward(np.ones(3), np.array([-1.0, 0.25, 2.0]))
        array([1., 0., 1.])
    """
    return pointwise_backward("hardshrink", Hardshrink, grad_output, input, lambd)


@public
def softshrink(input: Array, lambd: float = 0.5) -> Array:
    """`sign(x) max(|x| - lambd, 0)`, as `torch.nn.functional.softshrink`; `lambd` is at least 0.

    `input` has any shape and a floating dtype; anything else raises a DTypeError or BackendError.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.softshrink(np.array([-1.0, 0.25, 2.0]))
        array([-0.5,  0. ,  1.5])
    """
    return pointwise("softshrink", Softshrink, input, lambd)


@public
def softshrink_backward(grad_output: Array, input: Array, lambd: float = 0.5) -> Array:
    """Gradient of `softshrink` with respect to `input`; `grad_output` and `input` have one shape and dtype.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.softshrink_backward(np.ones(3), np.array([-1.0, 0.25, 2.0]))
        array([1., 0., 1.])
    """
    return pointwise_backward("softshrink", Softshrink, grad_output, input, lambd)


@public
def threshold(input: Array, threshold: float, value: float, inplace: bool = False) -> Array:
    """`x` where `x > threshold`, else `value`, as `torch.nn.functional.threshold`.

    `input` has any shape and a floating dtype; anything else raises a DTypeError or BackendError.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.threshold(np.array([-1.0, 0.0, 2.0]), 0.5, 20.0)
        array([20., 20.,  2.])
    """
    return pointwise("threshold", Threshold, input, threshold, value, inplace)


@public
def threshold_backward(grad_output: Array, input: Array, threshold: float, value: float) -> Array:
    """Gradient of `threshold` with respect to `input`; `grad_output` and `input` have one shape and dtype.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.threshold_backward(np.ones(3), np.array([-1.0, 0.0, 2.0]), 0.5, 20.0)
        array([0., 0., 1.])
    """
    return pointwise_backward("threshold", Threshold, grad_output, input, threshold, value)
