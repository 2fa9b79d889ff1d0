"""Max unpooling, the partial inverse of max pooling."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import ClassVar

from ..arguments import check_room, to_tuple
from ..backend import Array, backend_of
from ..checks import owner_of
from ..errors import BackendError, DTypeError, ShapeError
from ..ops import pool as ops
from .layer import Layer, arguments
from .pool import IntOrTuple

__all__ = ["MaxUnpool1d", "MaxUnpool2d", "MaxUnpool3d"]


class _MaxUnpool(Layer):
    """Max unpooling over `axes` spatial axes; `MaxUnpool2d` describes it."""

    stride: tuple[int, ...]
    axes: ClassVar[int]

    _input_dtypes = ("", "int64")

    def __init__(
        self, kernel_size: IntOrTuple, stride: IntOrTuple | None = None, padding: IntOrTuple = 0
    ) -> None:
        name = type(self).__name__
        self.kernel_size: tuple[int, ...] = to_tuple(f"{name}: kernel_size", kernel_size, self.axes, 1)
        self.stride = (
            self.kernel_size if stride is None else to_tuple(f"{name}: stride", stride, self.axes, 1)
        )
        self.padding: tuple[int, ...] = to_tuple(f"{name}: padding", padding, self.axes, 0)

    def __call__(self, x: Array, indices: Array, output_size: Sequence[int] | None = None) -> Array:
        """Return `forward(x, indices, output_size)`."""
        return super().__call__(x, indices, output_size)

    def forward(  # type: ignore[override]  # as in PyTorch, it takes both results of pooling
        self, x: Array, indices: Array, output_size: Sequence[int] | None = None
    ) -> Array:
        """The layer's output for `x` and the `indices` that `MaxPool` returned with it."""
        xp, images, batched = self._enter_images(x, self.axes)
        where = f"{type(self).__name__}.forward"
        check_indices(where, x, indices, "x", f"MaxPool{self.axes}d")
        places = indices if batched else indices[None]
        size = self._output_size(images.shape[2:], output_size, batched, where)
        check_inside(where, indices, size)
        check_room(f"{where}: an output", images.shape[:2] + size, x.dtype.itemsize)
        y = ops.max_unpool(xp, images, places, size)
        return self.keep(y if batched else y[0], xp, places, batched)

    def backward(self, grad_output: Array, input_grad: bool = True) -> Array | None:
        xp, places, batched = self.recall(grad_output, input_grad)
        if not input_grad:
            return None
        grad = ops.max_unpool_backward(xp, grad_output if batched else grad_output[None], places)
        return grad if batched else grad[0]

    def _output_size(
        self,
        spatial: tuple[int, ...],
        given: Sequence[int] | None,
        batched: bool,
        where: str = "",
        argument: str = "x",
    ) -> tuple[int, ...]:
        """The size of the output for an input of this size; `given` is what the user gave."""
        where = where or f"{type(self).__name__}.forward"
        default = tuple(
            (n - 1) * s - 2 * p + k
            for n, s, p, k in zip(spatial, self.stride, self.padding, self.kernel_size, strict=True)
        )
        if given is None:
            if min(default) < 1:
                raise ShapeError(
                    f"{where}: {argument} of {spatial} with padding {self.padding} leaves an output of "
                    f"{default}; use less padding"
                )
            return default
        if not isinstance(given, Sequence):
            raise TypeError(f"{where}: output_size is {given!r}, expected {self.axes} ints")
        full = self.axes + 1 + batched  # with the batch and channel axes, whose sizes are ignored
        if len(given) not in (self.axes, full):
            raise ShapeError(f"{where}: output_size is {tuple(given)}, expected {self.axes} or {full} ints")
        size = to_tuple(f"{where}: output_size", tuple(given[-self.axes :]), self.axes, 1)
        if any(not d - s < n < d + s for n, d, s in zip(size, default, self.stride, strict=True)):
            raise ShapeError(
                f"{where}: output_size is {size}, expected less than the stride {self.stride} away "
                f"from {default}"
            )
        return size

    def extra_repr(self) -> str:
        return arguments(
            kernel_size=(self.kernel_size, None),
            stride=(self.stride, self.kernel_size),
            padding=(self.padding, 0),
        )


def check_indices(where: str, x: Array, indices: Array, argument: str, source: str) -> None:
    """Check that `indices` are int64, as `source` returns them, on the backend of `x`, and of its shape.

    Without `argument`, the name of `x` in errors, any shape is right.
    """
    owner = owner_of(where, indices, "indices")
    if owner is not backend_of(x):
        raise BackendError(
            f"{where}: {argument or 'grad_output'} is {backend_of(x).name} but indices are {owner.name}; use "
            f"xpconv.asarray(indices, backend={backend_of(x).name!r})"
        )
    if str(indices.dtype) != "int64":
        raise DTypeError(
            f"{where}: indices are {indices.dtype}, expected int64, as {source}(…, return_indices=True) "
            f"gives them on {owner.name}"
        )
    if argument and indices.shape != x.shape:
        raise ShapeError(
            f"{where}: indices have shape {indices.shape}, expected that of {argument}, {x.shape}"
        )


def check_inside(
    where: str,
    indices: Array,
    size: tuple[int, ...],
    of: str = "an output",
    fix: str = "pass output_size=, the size before pooling",
) -> None:
    """On NumPy, an error for an index outside images of this size; on a GPU the check would synchronise."""
    pixels = prod(size)
    if backend_of(indices).name == "numpy" and not ((indices >= 0) & (indices < pixels)).all():
        raise ValueError(
            f"{where}: indices from {indices.min()} to {indices.max()}, expected 0 to {pixels - 1} for "
            f"{of} of {size}; {fix}"
        )


class MaxUnpool1d(_MaxUnpool):
    """Put maxima back at their positions, zeros elsewhere, as `torch.nn.MaxUnpool1d`.

    `x` and `indices` `(N, C, P)` or `(C, P)` give `y` `(N, C, L)` or `(C, L)`. Arguments and errors as for
    `MaxUnpool2d`.

    Example:
        >>> import numpy as np, xpconv
        >>> y, indices = xpconv.MaxPool1d(2, return_indices=True)(np.array([[1.0, 5, 4, 2]]))
        >>> xpconv.MaxUnpool1d(2)(y, indices)
        array([[0., 5., 4., 0.]])
    """

    axes = 1


class MaxUnpool2d(_MaxUnpool):
    """Put maxima back at their positions, zeros elsewhere, as `torch.nn.MaxUnpool2d`.

        y[n, c].flat[indices[n, c, p, q]] = x[n, c, p, q]

    `x` and `indices` `(N, C, P, Q)` or `(C, P, Q)` give `y` `(N, C, H, W)` or `(C, H, W)` with
    `H = (P - 1)·stride - 2·padding + kernel`. Of values with equal indices, forward takes the
    last in row-major order, on every backend; backward gives each of them the gradient.

    `layer(x, indices, output_size)` sets `(H, W)` (with or without batch and channels), for sizes that
    pooling rounds; each is less than a stride from the above.

    Args:
        kernel_size, padding: of the pooling; an int, or one for each axis.
        stride: likewise; default the kernel size.

    Raises:
        ValueError: an invalid size or stride; on NumPy, an index outside the image (on a GPU
            it gives NaN, as a check would synchronise).
        ShapeError: (a ValueError) `x` of another rank, `indices` of another shape, an impossible
            `output_size`.
        DTypeError: (a TypeError) `x` is not floating, or `indices` are not int64.

    Example:
        >>> import numpy as np, xpconv
        >>> x = np.array([[[1.0, 5, 4, 2], [9, 2, 1, 0]]])
        >>> y, indices = xpconv.MaxPool2d(2, return_indices=True)(x)
        >>> xpconv.MaxUnpool2d(2)(y, indices)
        array([[[0., 0., 4., 0.],
                [9., 0., 0., 0.]]])
    """

    axes = 2


class MaxUnpool3d(_MaxUnpool):
    """Put maxima back at their positions, zeros elsewhere, as `torch.nn.MaxUnpool3d`.

    `x` and `indices` `(N, C, O, P, Q)` or `(C, O, P, Q)` give `y` `(N, C, D, H, W)` or `(C, D, H, W)`.
    Arguments and errors as for `MaxUnpool2d`.

    Example:
        >>> import numpy as np, xpconv
        >>> y, indices = xpconv.MaxPool3d(2, return_indices=True)(np.arange(8.0).reshape(1, 2, 2, 2))
        >>> xpconv.MaxUnpool3d(2)(y, indices).sum()
        np.float64(7.0)
    """

    axes = 3
