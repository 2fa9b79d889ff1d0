"""Lp pooling: the root of the sum of powers over each window."""

from __future__ import annotations

from ..arguments import to_float
from ..backend import Array
from ..ops import pool as ops
from .layer import arguments
from .pool import IntOrTuple, _Pool

__all__ = ["LPPool1d", "LPPool2d", "LPPool3d"]


class _LPPool(_Pool):
    """Lp pooling over `axes` spatial axes; `LPPool2d` describes it."""

    def __init__(
        self,
        norm_type: float,
        kernel_size: IntOrTuple,
        stride: IntOrTuple | None = None,
        ceil_mode: bool = False,
    ) -> None:
        self.norm_type: float = to_float(f"{type(self).__name__}: norm_type", norm_type)
        if not 0 < abs(self.norm_type) < float("inf"):
            raise ValueError(
                f"{type(self).__name__}: norm_type is {norm_type}, expected a finite number other than 0; "
                "the limit at ∞ is max pooling"
            )
        super().__init__(kernel_size, stride, 0, 1, ceil_mode)

    def forward(self, x: Array) -> Array:
        xp, images, batched = self._enter_images(x, self.axes)
        self._check_size(images)
        y, total = ops.lp_pool(xp, images, self._window, self.norm_type, self.ceil_mode)
        return self.keep(y if batched else y[0], xp, images, total, batched, self.norm_type)

    def backward(self, grad_output: Array, input_grad: bool = True) -> Array | None:
        xp, images, total, batched, norm_type = self.recall(grad_output, input_grad)
        if not input_grad:
            return None
        grad = grad_output if batched else grad_output[None]
        grad = ops.lp_pool_backward(xp, grad, images, total, self._window, norm_type)
        return grad if batched else grad[0]

    def extra_repr(self) -> str:
        return f"{arguments(self.norm_type)}, {super().extra_repr()}"


class LPPool1d(_LPPool):
    """Root of the sum of powers over windows, as `torch.nn.LPPool1d`.

    `x` `(N, C, L)` or `(C, L)` gives `y` `(N, C, P)` or `(C, P)`. Arguments and errors as for `LPPool2d`.

    Example:
        >>> import numpy as np, xpconv
        >>> xpconv.LPPool1d(2, kernel_size=2)(np.array([[3.0, 4, 5, 12]]))
        array([[ 5., 13.]])
    """

    axes = 1


class LPPool2d(_LPPool):
    """Root of the sum of powers over windows, as `torch.nn.LPPool2d`: `y = (Σ x^q)^(1/q)`.

    `q = 1` is sum pooling, and `q → ∞` tends to max pooling. `x` `(N, C, H, W)` or `(C, H, W)` gives `y`
    `(N, C, P, Q)` or `(C, P, Q)`. Where the sum is 0, the gradient is 0. A negative sum has a root only for
    `q = ±1` and is NaN otherwise, as in PyTorch. Forward saves `x` and the sum.

    Args:
        norm_type: q, a finite number other than 0.
        kernel_size: an int, or one for each axis.
        stride: likewise; default the kernel size.
        ceil_mode: whether to add a last window that extends beyond the end; it counts as if it were full.

    Raises:
        ValueError: an invalid norm, size or stride.
        ShapeError: (a ValueError) `x` of another rank, or smaller than the window.

    Example:
        >>> import numpy as np, xpconv
        >>> xpconv.LPPool2d(2, kernel_size=(1, 2))(np.array([[[3.0, 4], [5, 12]]]))
        array([[[ 5.],
                [13.]]])
    """

    axes = 2


class LPPool3d(_LPPool):
    """Root of the sum of powers over windows, as `torch.nn.LPPool3d`.

    `x` `(N, C, D, H, W)` or `(C, D, H, W)` gives `y` `(N, C, O, P, Q)` or `(C, O, P, Q)`. Arguments and
    errors as for `LPPool2d`.

    Example:
        >>> import numpy as np, xpconv
        >>> xpconv.LPPool3d(1, kernel_size=2)(np.ones((1, 2, 2, 2)))
        array([[[[8.]]]])
    """

    axes = 3
