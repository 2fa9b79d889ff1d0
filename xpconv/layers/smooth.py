"""Smooth activations, element by element, and the gated linear unit; stable at any finite `x`.

Forward saves one array for backward, like `x`: Sigmoid and Tanh their output, the others their input
(the exact GELU also Φ(x), its most expensive part).
"""

from __future__ import annotations

from typing import Any, ClassVar

from ..arguments import axis_of, to_choice, to_float, to_int
from ..backend import Array
from ..errors import ShapeError
from ..ops import smooth as ops
from .layer import Layer, arguments
from .pointwise import Functions, InPlace, Pointwise

__all__ = [
    "GELU",
    "GLU",
    "LogSigmoid",
    "Mish",
    "SiLU",
    "Sigmoid",
    "Softplus",
    "Softsign",
    "Tanh",
    "Tanhshrink",
]


class Sigmoid(Pointwise):
    """`y = 1 / (1 + exp(-x))`, any shape, as `torch.nn.Sigmoid`; no overflow at any `x`.

    Example:
        >>> import numpy as np, xpconv
        >>> xpconv.Sigmoid()(np.array([-1e4, 0.0, 1e4]))
        array([0. , 0.5, 1. ])
    """

    functions: ClassVar[Functions] = ops.sigmoid, ops.sigmoid_backward
    saves_output = True


class Tanh(Pointwise):
    """`y = tanh(x)`, any shape, as `torch.nn.Tanh`.

    Example:
        >>> import numpy as np, xpconv
        >>> xpconv.Tanh()(np.array([0.0, 1e4]))
        array([0., 1.])
    """

    functions: ClassVar[Functions] = ops.tanh, ops.tanh_backward
    saves_output = True


class LogSigmoid(Pointwise):
    """`y = log(1 / (1 + exp(-x)))`, any shape, as `torch.nn.LogSigmoid`; no overflow at any `x`.

    Example:
        >>> import numpy as np, xpconv
        >>> xpconv.LogSigmoid()(np.array([-1e4, 0.0, 1e4])).round(4)
        array([-1.000e+04, -6.931e-01,  0.000e+00])
    """

    functions: ClassVar[Functions] = ops.log_sigmoid, ops.log_sigmoid_backward


class Softplus(Pointwise):
    """`y = log(1 + exp(beta x)) / beta`, and `x` where `beta x > threshold`, as `torch.nn.Softplus`.

    Any shape; no overflow at any `threshold`.

    Args:
        beta: steepness; not 0.
        threshold: limit of `beta x` above which `y` is `x`.

    Raises:
        TypeError, ValueError: an argument is not a number, or `beta` is 0.

    Example:
        >>> import numpy as np, xpconv
        >>> xpconv.Softplus()(np.array([-1e4, 0.0, 1e4])).round(4)
        array([0.000e+00, 6.931e-01, 1.000e+04])
    """

    functions: ClassVar[Functions] = ops.softplus, ops.softplus_backward
    constants: ClassVar[tuple[tuple[str, Any], ...]] = (("beta", 1.0), ("threshold", 20.0))

    def __init__(self, beta: float = 1.0, threshold: float = 20.0) -> None:
        name = type(self).__name__
        self.beta: float = to_float(f"{name}: beta", beta, finite=True)
        self.threshold: float = to_float(f"{name}: threshold", threshold)
        if self.beta == 0:
            raise ValueError(f"{name}: beta is 0, expected a number to divide by")


class SiLU(InPlace):
    """`y = x / (1 + exp(-x))`, also called swish, any shape, as `torch.nn.SiLU`.

    Example:
        >>> import numpy as np, xpconv
        >>> xpconv.SiLU()(np.array([-1.0, 0.0, 1e4])).round(4)
        array([-2.689e-01,  0.000e+00,  1.000e+04])
    """

    functions: ClassVar[Functions] = ops.silu, ops.silu_backward


class Mish(InPlace):
    """`y = x tanh(log(1 + exp(x)))`, any shape, as `torch.nn.Mish` (Misra, 2020).

    Example:
        >>> import numpy as np, xpconv
        >>> xpconv.Mish()(np.array([-1.0, 0.0, 1e4])).round(4)
        array([-3.034e-01,  0.000e+00,  1.000e+04])
    """

    functions: ClassVar[Functions] = ops.mish, ops.mish_backward


class Softsign(Pointwise):
    """`y = x / (1 + |x|)`, any shape, as `torch.nn.Softsign`.

    Example:
        >>> import numpy as np, xpconv
        >>> xpconv.Softsign()(np.array([-3.0, 0.0, 1.0]))
        array([-0.75,  0.  ,  0.5 ])
    """

    functions: ClassVar[Functions] = ops.softsign, ops.softsign_backward


class Tanhshrink(Pointwise):
    """`y = x - tanh(x)`, any shape, as `torch.nn.Tanhshrink`.

    Example:
        >>> import numpy as np, xpconv
        >>> xpconv.Tanhshrink()(np.array([-1.0, 0.0, 1e4])).round(4)
        array([-2.384e-01,  0.000e+00,  9.999e+03])
    """

    functions: ClassVar[Functions] = ops.tanhshrink, ops.tanhshrink_backward


class GELU(Layer):
    """`y = x Φ(x)`, Φ the normal distribution function, as `torch.nn.GELU` (Hendrycks and Gimpel, 2016).

    Any shape. `approximate='tanh'` is `x (1 + tanh(√(2/π) (x + 0.044715 x³))) / 2`, and faster.

    Args:
        approximate: `'none'` or `'tanh'`.

    Raises:
        ValueError: any other value.

    Example:
        >>> import numpy as np, xpconv
        >>> xpconv.GELU()(np.array([-1.0, 0.0, 2.0])).round(4)
        array([-0.1587,  0.    ,  1.9545])
        >>> xpconv.GELU(approximate="tanh")(np.array([-1.0, 0.0, 2.0])).round(4)
        array([-0.1588,  0.    ,  1.9546])
    """

    choices: ClassVar[tuple[str, ...]] = ("none", "tanh")

    def __init__(self, approximate: str = "none") -> None:
        self.approximate: str = to_choice(f"{type(self).__name__}: approximate", approximate, self.choices)

    def forward(self, x: Array) -> Array:
        xp = self._enter(x)
        if self.approximate == "tanh":
            return self.keep(ops.gelu_tanh(xp, x), xp, x, None, True)
        y, phi = ops.gelu(xp, x)
        return self.keep(y, xp, x, phi, False)

    def backward(self, grad_output: Array, input_grad: bool = True) -> Array | None:
        xp, x, phi, by_tanh = self.recall(grad_output, input_grad)
        if not input_grad:
            return None
        if by_tanh:
            return ops.gelu_tanh_backward(xp, grad_output, x)
        return ops.gelu_backward(xp, grad_output, x, phi)

    def extra_repr(self) -> str:
        return arguments(approximate=(self.approximate, "none"))


class GLU(Layer):
    """`y = a / (1 + exp(-b))`, where `x` is `a` and `b` one after the other along `dim`, as `torch.nn.GLU`.

    `y` is half as long as `x` along `dim` (Dauphin et al., 2017). Any shape of at least one axis.

    Args:
        dim: the axis that is halved.

    Raises:
        TypeError: `dim` is not an int.
        ShapeError: (a ValueError) `x` has no axis `dim`, or an odd number of elements along it.

    Example:
        >>> import numpy as np, xpconv
        >>> xpconv.GLU()(np.array([[2.0, 4.0, 0.0, 1e4]]))
        array([[1., 4.]])
    """

    def __init__(self, dim: int = -1) -> None:
        self.dim: int = to_int(f"{type(self).__name__}: dim", dim)

    def forward(self, x: Array) -> Array:
        xp = self._enter(x)
        axis = axis_of(f"{type(self).__name__}.forward", self.dim, x.shape)
        if x.shape[axis] % 2:
            raise ShapeError(
                f"{type(self).__name__}.forward: x has shape {x.shape}, expected an even "
                f"size at dim={self.dim}"
            )
        a, b = xp.split(x, 2, axis=axis)
        return self.keep(ops.glu(xp, a, b), xp, a, b, axis)

    def backward(self, grad_output: Array, input_grad: bool = True) -> Array | None:
        xp, a, b, axis = self.recall(grad_output, input_grad)
        return xp.concatenate(ops.glu_backward(xp, grad_output, a, b), axis=axis) if input_grad else None

    def extra_repr(self) -> str:
        return arguments(dim=(self.dim, -1))
