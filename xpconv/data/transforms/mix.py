"""Two images and their targets mixed into one."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...arguments import about, named, to_float, to_size
from ...backend import Array, Backend, backend_of
from ...dtypes import is_floating
from ...errors import BackendError, DTypeError, ShapeError
from ...losses.targets import one_hot
from .base import Transform
from .erase import in_box

__all__ = ["CutMix", "MixUp"]


class _Mix(Transform):
    """Base of both. The draws are each image's partner, its share of the result, and what a subclass adds."""

    num_classes: int | None

    def __init__(self, *, alpha: float = 1.0, num_classes: int | None = None) -> None:
        where = type(self).__name__
        self.alpha: float = to_float(f"{where}: alpha", alpha, finite=True)
        if self.alpha <= 0:
            raise ValueError(f"{where}: alpha is {alpha}, expected a number above 0")
        self.num_classes = None if num_classes is None else to_size(f"{where}: num_classes", num_classes)

    def _all(self, backend: Backend, arrays: tuple[Array, ...], single: bool, draws: list[Array]) -> Any:
        where = type(self).__name__
        if single or len(arrays) < 2:
            raise ShapeError(
                f"{where}: got {'one image' if single else 'images alone'}, expected a batch "
                "(images, targets), as it mixes images of the batch and their targets"
            )
        x, y, *rest = arrays
        targets = self._distributions(backend, x, y)
        share = draws[1].astype(targets.dtype)[:, None]
        targets = share * targets + (1 - share) * targets[draws[0]]
        return self._images(backend, x, *draws), targets, *rest

    def _distributions(self, backend: Backend, x: Array, y: Any) -> Array:
        """The targets as rows `(N, num_classes)` of probabilities, in the images' dtype if it is floating."""
        where = type(self).__name__
        try:
            owner = backend_of(y)
        except BackendError as error:
            raise BackendError(f"{where}: targets: {about('targets', error)}") from None
        if owner is not backend:
            raise BackendError(
                f"{where}: the targets are on {owner.name} but the images are on {backend.name}"
            )
        if y.ndim not in (1, 2) or len(y) != len(x):
            raise ShapeError(
                f"{where}: the targets have shape {tuple(y.shape)}, expected ({len(x)},) (class indices) or "
                f"({len(x)}, num_classes) (probabilities)"
            )
        dtype = x.dtype if is_floating(x.dtype) else np.dtype("float32")
        if y.ndim == 1:
            if self.num_classes is None:
                raise ValueError(f"{where}: the targets are class indices; give num_classes")
            with named(where, "one_hot"):
                return one_hot(y, self.num_classes, dtype=dtype)
        if self.num_classes not in (None, y.shape[1]):
            raise ShapeError(
                f"{where}: the targets have {y.shape[1]} columns, expected num_classes = {self.num_classes}"
            )
        if not is_floating(y.dtype) and y.dtype.kind not in "iub":
            raise DTypeError(f"{where}: the targets are {y.dtype}, expected probabilities")
        return y if is_floating(y.dtype) else y.astype(dtype)


class MixUp(_Mix):
    """Mix each image with another of the batch, as torchvision's `MixUp`, with a share of its own.

    `x = λ x₁ + (1 - λ) x₂`, and the same for targets, where λ is from Beta(alpha, alpha), drawn for each
    image, and the partner is another image by a random permutation. The targets become probabilities `(N,
    num_classes)`, which `CrossEntropyLoss` takes. Further arrays of the batch stay as they are.

    Args:
        alpha: of the Beta distribution; small values give shares near 0 and 1.
        num_classes: number of classes, if the targets are class indices `(N,)`.

    Raises:
        DTypeError: (a TypeError) the images are uint8; put `ToDtype("float32", scale=True)` before.
        ValueError: a target is not below `num_classes`; on a GPU this is not checked.

    Source:
        H. Zhang et al., "mixup: Beyond Empirical Risk Minimization", ICLR 2018.

    Example:
        >>> import numpy as np
        >>> from xpconv.data.transforms import MixUp
        >>> batch = np.zeros((4, 3, 8, 8), "float32"), np.array([0, 1, 2, 1])
        >>> x, y = MixUp(num_classes=3)(batch, rng=0)
        >>> y.shape, y.sum(axis=1)
        ((4, 3), array([1., 1., 1., 1.], dtype=float32))
    """

    def _check(self, images: Array) -> None:
        if images.dtype == "uint8":
            raise DTypeError(
                f"{type(self).__name__}: images are uint8, expected floating point; put "
                "ToDtype('float32', scale=True) before this transform"
            )

    def _draw(self, rng: Any, shape: tuple[int, int, int, int]) -> tuple[Any, ...]:
        return rng.permutation(shape[0]), rng.beta(self.alpha, self.alpha, shape[0])

    def _images(self, backend: Backend, x: Array, *draws: Array) -> Array:
        share = draws[1].astype(x.dtype)[:, None, None, None]
        return share * x + (1 - share) * x[draws[0]]


class CutMix(_Mix):
    """Put a rectangle of another image of the batch into each, as torchvision's `CutMix`.

    The rectangle has the image's form, an area of 1 - λ, with λ from Beta(alpha, alpha), and any pixel as its
    centre; what reaches out of the image is cut off. The targets are mixed by the areas. All is drawn for
    each image. The targets become probabilities `(N, num_classes)`; further arrays of the batch stay as
    they are.

    Args:
        alpha: of the Beta distribution; with 1 all areas are equally likely.
        num_classes: number of classes, if the targets are class indices `(N,)`.

    Raises:
        ValueError: a target is not below `num_classes`; on a GPU this is not checked.

    Source:
        S. Yun et al., "CutMix: Regularization Strategy to Train Strong Classifiers with Localizable
        Features", ICCV 2019.

    Example:
        >>> import numpy as np
        >>> from xpconv.data.transforms import CutMix
        >>> batch = np.zeros((4, 3, 8, 8), "uint8"), np.array([0, 1, 2, 1])
        >>> x, y = CutMix(num_classes=3)(batch, rng=0)
        >>> y.shape, y.sum(axis=1)
        ((4, 3), array([1., 1., 1., 1.], dtype=float32))
    """

    def _draw(self, rng: Any, shape: tuple[int, int, int, int]) -> tuple[Any, ...]:
        n, _, h, w = shape
        partner = rng.permutation(n)
        half = 0.5 * np.sqrt(1 - rng.beta(self.alpha, self.alpha, n))
        boxes = np.empty((n, 4), int)
        for axis, size in enumerate((h, w)):
            centre, reach = rng.integers(0, size, n), (half * size).astype(int)
            boxes[:, axis], boxes[:, axis + 2] = (centre - reach).clip(0), (centre + reach).clip(max=size)
        area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
        return partner, 1 - area / (h * w), boxes

    def _images(self, backend: Backend, x: Array, *draws: Array) -> Array:
        return backend.xp.where(in_box(backend.xp, draws[2], x.shape), x[draws[0]], x)
