"""Pointwise activations. Each keeps its output, one array, for backward."""

from __future__ import annotations

from ..backend import Array
from ..ops import activation as ops
from .base import Layer


class ReLU(Layer):
    """`y = max(x, 0)`, any shape, as `torch.nn.ReLU`; the gradient at 0 is 0.

    Example:
        >>> import numpy as np, xpconv
        >>> xpconv.ReLU()(np.array([-1.0, 0.0, 2.0]))
        array([0., 0., 2.])
    """

    def forward(self, x: Array) -> Array:
        xp = self._enter(x)
        y = ops.relu(xp, x)
        return self.keep(y, xp, y)

    def backward(self, grad_output: Array, input_grad: bool = True) -> Array | None:
        xp, y = self.recall(grad_output)
        return ops.relu_backward(xp, grad_output, y) if input_grad else None


class Sigmoid(Layer):
    """`y = 1 / (1 + exp(-x))`, any shape, as `torch.nn.Sigmoid`; no overflow at any `x`.

    Example:
        >>> import numpy as np, xpconv
        >>> xpconv.Sigmoid()(np.array([-1e4, 0.0, 1e4]))
        array([0. , 0.5, 1. ])
    """

    def forward(self, x: Array) -> Array:
        xp = self._enter(x)
        y = ops.sigmoid(xp, x)
        return self.keep(y, xp, y)

    def backward(self, grad_output: Array, input_grad: bool = True) -> Array | None:
        xp, y = self.recall(grad_output)
        return ops.sigmoid_backward(xp, grad_output, y) if input_grad else None


class Tanh(Layer):
    """`y = tanh(x)`, any shape, as `torch.nn.Tanh`.

    Example:
        >>> import numpy as np, xpconv
        >>> xpconv.Tanh()(np.array([0.0, 1e4]))
        array([0., 1.])
    """

    def forward(self, x: Array) -> Array:
        xp = self._enter(x)
        y = ops.tanh(xp, x)
        return self.keep(y, xp, y)

    def backward(self, grad_output: Array, input_grad: bool = True) -> Array | None:
        xp, y = self.recall(grad_output)
        return ops.tanh_backward(xp, grad_output, y) if input_grad else None
