"""Images to columns (im2col) and back (col2im); each is the gradient of the other."""

from __future__ import annotations

from collections.abc import Sequence

from ..arguments import check_room, to_tuple
from ..backend import Array
from ..checks import as_columns, as_images, check_fits
from ..geometry import Shape, Window
from ..ops import fold as ops
from ._checks import EXACT, MOVED, check_shape, enter, public, to_shape

__all__ = ["fold", "fold_backward", "unfold", "unfold_backward"]

IntOrTuple = int | tuple[int, ...]


@public
def unfold(
    input: Array,
    kernel_size: IntOrTuple,
    dilation: IntOrTuple = 1,
    padding: IntOrTuple = 0,
    stride: IntOrTuple = 1,
) -> Array:
    """Every window of an image as a column (im2col), as `torch.nn.functional.unfold`.

        y[n, (c, r, s), (p, q)] = input[n, c, p·stride - padding + r·dilation, q·… + s·…]

    with zeros around `input`. `(N, C, H, W)` or `(C, H, W)`, of a floating, complex, integer or boolean
    dtype, gives `(N, C·R·S, P·Q)` or `(C·R·S, P·Q)` with `P = ⌊(H + 2·padding - dilation·(R-1) - 1)/stride⌋ +
    1`; the groups of axes are in row-major order.

    Args:
        kernel_size, dilation, padding, stride: an int, or one for each axis.

    Raises:
        ValueError: an invalid size, dilation, padding or stride.
        ShapeError: (a ValueError) `input` of another rank, or smaller than the window.
        DTypeError, BackendError: (TypeErrors) `input` is no array of numbers.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.unfold(np.arange(6).reshape(1, 2, 3), kernel_size=2)
        array([[0, 1],
               [1, 2],
               [3, 4],
               [4, 5]])
    """
    where = "functional.unfold"
    xp, x = enter(where, {"input": input}, kinds=MOVED)
    window = _window(where, kernel_size, dilation, padding, stride)
    images, batched = as_images(where, x, 2, argument="input")
    _check_images(where, x, images.shape, window, padding, "input")
    y = ops.unfold(xp, images, window)
    return y if batched else y[0]


@public
def unfold_backward(
    grad_output: Array,
    input_size: Sequence[int],
    kernel_size: IntOrTuple,
    dilation: IntOrTuple = 1,
    padding: IntOrTuple = 0,
    stride: IntOrTuple = 1,
) -> Array:
    """Gradient of `unfold` with respect to `input`, its adjoint: `fold` to images of `input_size`.

    `grad_output` `(N, C·R·S, P·Q)` or `(C·R·S, P·Q)` gives `input_size`, `(N, C, H, W)` or `(C, H, W)`. Other
    arguments and errors are those of `unfold`.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.unfold_backward(np.ones((4, 2)), (1, 2, 3), kernel_size=2)
        array([[[1., 2., 1.],
                [1., 2., 1.]]])
    """
    where = "functional.unfold_backward"
    xp, grad = enter(where, {"grad_output": grad_output}, kinds=EXACT)
    window = _window(where, kernel_size, dilation, padding, stride)
    shape = to_shape(where, "input_size", input_size, (3, 4), "(N, C, H, W) or (C, H, W)", 1)
    full = shape if len(shape) == 4 else (1, *shape)
    _check_images(where, grad, full, window, padding, "grad_output")
    columns, _ = as_columns(where, grad, full[2:], window, "grad_output")
    taps = window.kernel[0] * window.kernel[1]
    expected = (*shape[:-3], shape[-3] * taps, grad.shape[-1])
    check_shape(where, "grad_output", grad, expected, f"input_size is {shape}")
    dx = ops.fold(xp, columns, full[2:], window)
    return dx if len(shape) == 4 else dx[0]


@public
def fold(
    input: Array,
    output_size: IntOrTuple,
    kernel_size: IntOrTuple,
    dilation: IntOrTuple = 1,
    padding: IntOrTuple = 0,
    stride: IntOrTuple = 1,
) -> Array:
    """Sum columns into the windows of an image (col2im), as `torch.nn.functional.fold`.

        y[n, c, h, w] = Σ input[n, (c, r, s), (p, q)]  over h = p·stride - padding + r·dilation, w = …

    `input` `(N, C·R·S, P·Q)` or `(C·R·S, P·Q)`, of a floating, complex or integer dtype, gives
    `(N, C, *output_size)` or `(C, *output_size)`; P and Q as for `unfold`, of which this is the adjoint:
    where windows overlap, values add up. Integers wrap around where a sum is too large, as NumPy's do.

    Args:
        output_size: height and width of the result: an int, or one for each.
        kernel_size, dilation, padding, stride: likewise, as given to `unfold`.

    Raises:
        ValueError: an invalid size, dilation, padding or stride.
        ShapeError: (a ValueError) `input` of another rank, or not as many rows and columns as an image of
            `output_size` has taps and windows.
        DTypeError, BackendError: (TypeErrors) `input` is no array of numbers.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.fold(np.ones((4, 2), int), output_size=(2, 3), kernel_size=2)
        array([[[1, 2, 1],
                [1, 2, 1]]])
    """
    where = "functional.fold"
    xp, x = enter(where, {"input": input}, kinds=EXACT)
    window = _window(where, kernel_size, dilation, padding, stride)
    size = to_tuple(f"{where}: output_size", output_size, 2, 1)
    _check_images(where, x, (1, 1, *size), window, padding, "input")
    columns, batched = as_columns(where, x, size, window, "input")
    y = ops.fold(xp, columns, size, window)
    return y if batched else y[0]


@public
def fold_backward(
    grad_output: Array,
    kernel_size: IntOrTuple,
    dilation: IntOrTuple = 1,
    padding: IntOrTuple = 0,
    stride: IntOrTuple = 1,
) -> Array:
    """Gradient of `fold` with respect to `input`, its adjoint: `unfold`.

    `grad_output` `(N, C, H, W)` or `(C, H, W)` gives `(N, C·R·S, P·Q)` or `(C·R·S, P·Q)`. Other arguments and
    errors are those of `unfold`.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.fold_backward(np.arange(6.0).reshape(1, 2, 3), kernel_size=2)[0]
        array([0., 1.])
    """
    where = "functional.fold_backward"
    xp, grad = enter(where, {"grad_output": grad_output}, kinds=EXACT)
    window = _window(where, kernel_size, dilation, padding, stride)
    images, batched = as_images(where, grad, 2, argument="grad_output")
    _check_images(where, grad, images.shape, window, padding, "grad_output")
    dx = ops.unfold(xp, images, window)
    return dx if batched else dx[0]


def _window(where: str, kernel_size: object, dilation: object, padding: object, stride: object) -> Window:
    kernel = to_tuple(f"{where}: kernel_size", kernel_size, 2, 1)
    spread = to_tuple(f"{where}: dilation", dilation, 2, 1)
    pads = to_tuple(f"{where}: padding", padding, 2, 0)
    steps = to_tuple(f"{where}: stride", stride, 2, 1)
    return Window(kernel, steps, tuple((p, p) for p in pads), spread)


def _check_images(where: str, x: Array, shape: Shape, window: Window, padding: object, argument: str) -> None:
    """An error if no window fits images of this shape, or if they are too large with their padding."""
    check_fits(where, x, shape[2:], window, padding, argument)
    padded = (n + lo + hi for n, (lo, hi) in zip(shape[2:], window.padding, strict=True))
    check_room(f"{where}: a padded image", (*shape[:2], *padded), x.dtype.itemsize)
