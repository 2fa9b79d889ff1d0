"""Activations that are 0, or constant, where the input is small; element by element."""

from __future__ import annotations

from typing import Any, ClassVar

from ..arguments import to_float
from ..ops import activation as ops
from .pointwise import Functions, InPlace, Pointwise

__all__ = ["Hardshrink", "Softshrink", "Threshold"]


class Hardshrink(Pointwise):
    """`y = 0` where `-lambd <= x <= lambd`, else `x`, any shape, as `torch.nn.Hardshrink`.

    The gradient at ±`lambd` is 0.

    Args:
        lambd: the largest `|x|` for which `y` is 0.

    Raises:
        TypeError: `lambd` is not a number.

    Example:
        >>> import numpy as np, xpconv
        >>> xpconv.Hardshrink()(np.array([-1.0, 0.25, 2.0]))
        array([-1.,  0.,  2.])
    """

    functions: ClassVar[Functions] = ops.hardshrink, ops.shrink_backward
    constants: ClassVar[tuple[tuple[str, Any], ...]] = (("lambd", 0.5),)

    def __init__(self, lambd: float = 0.5) -> None:
        self.lambd: float = to_float(f"{type(self).__name__}: lambd", lambd)


class Softshrink(Pointwise):
    """`y = sign(x) max(|x| - lambd, 0)`, any shape, as `torch.nn.Softshrink`; the gradient at ±`lambd` is 0.

    Args:
        lambd: the amount that is subtracted; at least 0.

    Raises:
        TypeError, ValueError: `lambd` is not a number, or is negative.

    Example:
        >>> import numpy as np, xpconv
        >>> xpconv.Softshrink()(np.array([-1.0, 0.25, 2.0]))
        array([-0.5,  0. ,  1.5])
    """

    functions: ClassVar[Functions] = ops.softshrink, ops.shrink_backward
    constants: ClassVar[tuple[tuple[str, Any], ...]] = (("lambd", 0.5),)

    def __init__(self, lambd: float = 0.5) -> None:
        self.lambd: float = to_float(f"{type(self).__name__}: lambd", lambd)
        if not self.lambd >= 0:
            raise ValueError(f"{type(self).__name__}: lambd is {lambd}, expected at least 0")


class Threshold(InPlace):
    """`y = x` where `x > threshold`, else `value`, any shape, as `torch.nn.Threshold`.

    The gradient at `threshold` is 0.

    Args:
        threshold: the limit above which `y` is `x`.
        value: the output for all other inputs.
        inplace: has no effect.

    Raises:
        TypeError: an argument is not a number.

    Example:
        >>> import numpy as np, xpconv
        >>> xpconv.Threshold(0.5, 20.0)(np.array([-1.0, 0.5, 2.0]))
        array([20., 20.,  2.])
    """

    functions: ClassVar[Functions] = ops.threshold, ops.threshold_backward
    constants: ClassVar[tuple[tuple[str, Any], ...]] = (("threshold", None), ("value", None))

    def __init__(self, threshold: float, value: float, inplace: bool = False) -> None:
        super().__init__(inplace)
        self.threshold: float = to_float(f"{type(self).__name__}: threshold", threshold)
        self.value: float = to_float(f"{type(self).__name__}: value", value, nan=True)
