"""Piecewise activations, element by element; the smooth ones are in `smooth.py`.

`inplace` is accepted where PyTorch has it, so that its models need no edit, but has no effect: inputs
are never modified. Forward saves one array for backward: ReLU its output, the others their input.
"""

from __future__ import annotations

from typing import Any, ClassVar

from ..arguments import to_float, to_size
from ..backend import Array
from ..errors import ShapeError
from ..geometry import Bounds
from ..ops import activation as ops
from ..ops.channels import channel_sum, channelwise
from ..parameter import new_parameter
from ..sums import sum_over
from .layer import Layer, arguments
from .pointwise import Functions, InPlace

__all__ = [
    "CELU",
    "ELU",
    "SELU",
    "Hardsigmoid",
    "Hardswish",
    "Hardtanh",
    "LeakyReLU",
    "PReLU",
    "ReLU",
    "ReLU6",
]


class ReLU(InPlace):
    """`y = max(x, 0)`, any shape, as `torch.nn.ReLU`; the gradient at 0 is 0.

    Example:
        >>> import numpy as np, xpconv
        >>> xpconv.ReLU()(np.array([-1.0, 0.0, 2.0]))
        array([0., 0., 2.])
    """

    functions: ClassVar[Functions] = ops.relu, ops.relu_backward
    saves_output = True

    def _bounds(self) -> Bounds:
        return 0.0, None


class ReLU6(InPlace):
    """`y = min(max(x, 0), 6)`, any shape, as `torch.nn.ReLU6`; the gradient at 0 and at 6 is 0.

    Example:
        >>> import numpy as np, xpconv
        >>> xpconv.ReLU6()(np.array([-1.0, 2.0, 8.0]))
        array([0., 2., 6.])
    """

    functions: ClassVar[Functions] = ops.clip, ops.clip_backward
    saves_output = True

    def _values(self) -> tuple[Any, ...]:
        return 0.0, 6.0

    def _bounds(self) -> Bounds:
        return 0.0, 6.0


class LeakyReLU(InPlace):
    """`y = x` where `x > 0`, else `negative_slope · x`, any shape, as `torch.nn.LeakyReLU`.

    The gradient at 0 is `negative_slope`.

    Args:
        negative_slope: a number.
        inplace: has no effect.

    Raises:
        TypeError: `negative_slope` is not a number.

    Example:
        >>> import numpy as np, xpconv
        >>> xpconv.LeakyReLU(0.1)(np.array([-1.0, 0.0, 2.0]))
        array([-0.1,  0. ,  2. ])
    """

    negative_slope: float
    functions: ClassVar[Functions] = ops.leaky_relu, ops.leaky_relu_backward
    constants: ClassVar[tuple[tuple[str, Any], ...]] = (("negative_slope", 0.01),)

    def __init__(self, negative_slope: float = 0.01, inplace: bool = False) -> None:
        super().__init__(inplace)
        self.negative_slope = to_float(f"{type(self).__name__}: negative_slope", negative_slope, finite=True)


class PReLU(Layer):
    """`y = x` where `x > 0`, else `weight · x`, with learned `weight`, as `torch.nn.PReLU` (He et al., 2015).

    With `num_parameters=1` `x` has any shape. Otherwise there is one weight per channel, and `x` is
    `(N, C, *)`. `weight` is `(num_parameters,)`; `y` is like `x`. The gradient at 0 is `weight`'s.

    Args:
        num_parameters: 1, or C.
        init: initial value of `weight`.
        dtype: floating dtype of `weight`, and so of `x`.

    Raises:
        TypeError, ValueError: `num_parameters` is not an int of at least 1, or `init` is not a number.
        ShapeError: (a ValueError) `x` does not have `num_parameters` channels.

    Example:
        >>> import numpy as np, xpconv
        >>> layer = xpconv.PReLU(dtype="float64")
        >>> layer(np.array([-2.0, 0.0, 2.0]))
        array([-0.5,  0. ,  2. ])
        >>> layer.backward(np.ones(3)), layer.weight.grad
        (array([0.25, 0.25, 1.  ]), array([-2.]))
    """

    fixed: ClassVar[tuple[str, ...]] = ("num_parameters", "init")

    def __init__(self, num_parameters: int = 1, init: float = 0.25, *, dtype: Any = "float32") -> None:
        name = type(self).__name__
        self.num_parameters: int = to_size(f"{name}: num_parameters", num_parameters)
        self.init: float = to_float(f"{name}: init", init, finite=True)
        self.weight = new_parameter(name, "weight", (self.num_parameters,), dtype, value=self.init)

    def forward(self, x: Array) -> Array:
        xp = self._enter(x, self.weight)
        if self.num_parameters > 1 and (x.ndim < 2 or x.shape[1] != self.num_parameters):
            raise ShapeError(
                f"{type(self).__name__}.forward: x has shape {x.shape}, expected "
                f"(N, C, …) with C = {self.num_parameters} (num_parameters); PReLU() takes any shape"
            )
        return self.keep(ops.leaky_relu(xp, x, self._slope(x)), xp, x)

    def backward(self, grad_output: Array, input_grad: bool = True) -> Array | None:
        xp, x = self.recall(grad_output, input_grad)
        if self.weight.requires_grad:
            slopes = ops.leaky_relu_backward_slope(xp, grad_output, x)
            if self.num_parameters > 1:
                self.weight.accumulate(channel_sum(xp, slopes))
            else:
                self.weight.accumulate(sum_over(slopes, tuple(range(x.ndim))).reshape(1))
        return ops.leaky_relu_backward(xp, grad_output, x, self._slope(x)) if input_grad else None

    def _slope(self, x: Array) -> Array:
        """`weight` in a shape that broadcasts over `x`."""
        one = self.num_parameters == 1
        return self.weight.data.reshape((1,) * x.ndim) if one else channelwise(self.weight.data, x.ndim)

    def extra_repr(self) -> str:
        return arguments(num_parameters=(self.num_parameters, 1), init=(self.init, 0.25))


class ELU(InPlace):
    """`y = x` where `x > 0`, else `alpha (exp(x) - 1)`, any shape, as `torch.nn.ELU` (Clevert et al., 2016).

    The gradient at 0 is `alpha`.

    Args:
        alpha: minus the limit at -∞.
        inplace: has no effect.

    Raises:
        TypeError: `alpha` is not a number.

    Example:
        >>> import numpy as np, xpconv
        >>> xpconv.ELU()(np.array([-1e4, -1.0, 2.0])).round(4)
        array([-1.    , -0.6321,  2.    ])
    """

    functions: ClassVar[Functions] = ops.elu, ops.elu_backward
    constants: ClassVar[tuple[tuple[str, Any], ...]] = (("alpha", 1.0),)

    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        super().__init__(inplace)
        self.alpha: float = to_float(f"{type(self).__name__}: alpha", alpha, finite=True)

    def _values(self) -> tuple[Any, ...]:
        return self.alpha, 1.0, 1.0


class SELU(InPlace):
    """`y = scale · ELU(x, alpha)`, any shape, as `torch.nn.SELU` (Klambauer et al., 2017).

    `alpha` 1.6733 and `scale` 1.0507 preserve mean 0 and variance 1 from layer to layer.

    Example:
        >>> import numpy as np, xpconv
        >>> xpconv.SELU()(np.array([-1e4, -1.0, 2.0])).round(4)
        array([-1.7581, -1.1113,  2.1014])
    """

    functions: ClassVar[Functions] = ops.elu, ops.elu_backward

    def _values(self) -> tuple[Any, ...]:
        return 1.6732632423543772, 1.0507009873554805, 1.0


class CELU(InPlace):
    """`y = max(x, 0) + min(alpha (exp(x/alpha) - 1), 0)`, as `torch.nn.CELU` (Barron, 2017).

    Any shape. An ELU whose gradient at 0 is 1 for every `alpha`.

    Args:
        alpha: minus the limit at -∞; not 0.
        inplace: has no effect.

    Raises:
        TypeError, ValueError: `alpha` is not a number, or 0.

    Example:
        >>> import numpy as np, xpconv
        >>> xpconv.CELU(2.0)(np.array([-1e4, -1.0, 2.0])).round(4)
        array([-2.    , -0.7869,  2.    ])
    """

    functions: ClassVar[Functions] = ops.elu, ops.elu_backward
    constants: ClassVar[tuple[tuple[str, Any], ...]] = (("alpha", 1.0),)

    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        super().__init__(inplace)
        self.alpha: float = to_float(f"{type(self).__name__}: alpha", alpha, finite=True)
        if self.alpha == 0:
            raise ValueError(f"{type(self).__name__}: alpha is 0, expected a number that x can be divided by")

    def _values(self) -> tuple[Any, ...]:
        return self.alpha, 1.0, 1 / self.alpha


class Hardtanh(InPlace):
    """`y = min(max(x, min_val), max_val)`, any shape, as `torch.nn.Hardtanh`.

    The gradient at both bounds is 0.

    Args:
        min_val, max_val: the bounds.
        inplace: has no effect.

    Raises:
        TypeError, ValueError: a bound is not a number, or `min_val` is not below `max_val`.

    Example:
        >>> import numpy as np, xpconv
        >>> xpconv.Hardtanh()(np.array([-3.0, 0.5, 3.0]))
        array([-1. ,  0.5,  1. ])
    """

    functions: ClassVar[Functions] = ops.clip, ops.clip_backward
    saves_output = True
    constants: ClassVar[tuple[tuple[str, Any], ...]] = (("min_val", -1.0), ("max_val", 1.0))

    def _bounds(self) -> Bounds:
        return self.min_val, self.max_val

    def __init__(self, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> None:
        super().__init__(inplace)
        name = type(self).__name__
        self.min_val: float = to_float(f"{name}: min_val", min_val)
        self.max_val: float = to_float(f"{name}: max_val", max_val)
        if not self.min_val < self.max_val:
            raise ValueError(f"{name}: min_val is {min_val}, expected less than max_val={max_val}")


class Hardsigmoid(InPlace):
    """`y = min(max(x + 3, 0), 6) / 6`, any shape, as `torch.nn.Hardsigmoid`; the gradient at ±3 is 0.

    Example:
        >>> import numpy as np, xpconv
        >>> xpconv.Hardsigmoid()(np.array([-4.0, 0.0, 4.0]))
        array([0. , 0.5, 1. ])
    """

    functions: ClassVar[Functions] = ops.hardsigmoid, ops.hardsigmoid_backward


class Hardswish(InPlace):
    """`y = x min(max(x + 3, 0), 6) / 6`, any shape, as `torch.nn.Hardswish` (Howard et al., 2019).

    The gradient at -3 is 0, at 3 it is 1.

    Example:
        >>> import numpy as np, xpconv
        >>> xpconv.Hardswish()(np.array([-1.5, 0.0, 4.0]))
        array([-0.375,  0.   ,  4.   ])
    """

    functions: ClassVar[Functions] = ops.hardswish, ops.hardswish_backward


def clips(layer: Layer) -> bool:
    """Whether a layer only clips its input, to `layer._bounds()`."""
    own = {"forward", "backward", "_hooks"}
    return type(layer) in (ReLU, ReLU6, Hardtanh) and not own & vars(layer).keys()
