"""Transforms one after the other, or only for some images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np

from ...arguments import is_sequence, shown
from ...arrays import asarray
from ...backend import is_array_type
from ...errors import ShapeError
from ...random import RNG, default_rng
from ...signatures import public_errors
from .base import check_images
from .checks import to_probability

__all__ = ["Compose", "RandomApply"]

T = TypeVar("T")
Function = Callable[[Any, Any], Any]


@public_errors
class Compose:
    """Apply transforms one after the other, as torchvision's `Compose`.

    This and all transforms are called as `transform(batch, rng)`, as `batches(…, transform=…)` does.
    `batch` is images `(N, C, H, W)`, or one `(C, H, W)`, uint8 or floating in [0, 1]; or a tuple that
    begins with them, such as images and labels. Something of the same kind is returned, and nothing in
    `batch` is modified. `rng` is a `numpy.random.Generator`, or the seed of one; by default the generator
    of `manual_seed`.

    Args:
        transforms: a sequence of transforms, or of functions `f(batch, rng)` of your own, which draw from
            the `numpy.random.Generator` `rng`.

    Example:
        >>> import numpy as np
        >>> from xpconv.data.transforms import Compose, Normalize, RandomCrop, RandomHorizontalFlip
        >>> augment = Compose([RandomCrop(32, padding=4), RandomHorizontalFlip(), Normalize(0.5, 0.25)])
        >>> images, labels = np.zeros((8, 3, 32, 32), "float32"), np.arange(8)
        >>> x, y = augment((images, labels), rng=0)
        >>> x.shape
        (8, 3, 32, 32)
    """

    def __init__(self, transforms: Sequence[Function]) -> None:
        name = type(self).__name__
        if not is_sequence(transforms):
            raise TypeError(f"{name}: transforms is {shown(transforms)}, expected a list of transforms")
        self.transforms: list[Any] = list(transforms)
        for k, transform in enumerate(self.transforms):
            if isinstance(transform, type) or not callable(transform):
                hint = "; make an instance of it" if isinstance(transform, type) else ""
                raise TypeError(f"{name}: transforms[{k}] is {shown(transform)}, expected a transform{hint}")

    def __call__(self, batch: T, rng: RNG = None) -> T:
        """Transform a batch; `rng` is a `numpy.random.Generator`, a seed, or that of `manual_seed`."""
        generator = default_rng(rng, type(self).__name__)
        for transform in self.transforms:
            batch = transform(batch, generator)
        return batch

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.transforms!r})"


@public_errors
class RandomApply(Compose):
    """Apply transforms to each image with probability `p`, as torchvision's `RandomApply`.

    Args:
        transforms: a sequence of transforms, which are applied all or none. They must keep shapes and dtypes.
        p: the probability for each image.

    Raises:
        ShapeError: (a ValueError) an array of the chosen images changed its shape or dtype.

    Example:
        >>> import numpy as np
        >>> from xpconv.data.transforms import ColorJitter, RandomApply
        >>> images = np.full((4, 3, 2, 2), 0.5)
        >>> y = RandomApply([ColorJitter(brightness=(1.5, 1.5))], p=0.5)(images, rng=0)
        >>> y[:, 0, 0, 0]
        array([0.5 , 0.75, 0.75, 0.75])
    """

    def __init__(self, transforms: Sequence[Function], p: float = 0.5) -> None:
        super().__init__(transforms)
        self.p: float = to_probability(f"{type(self).__name__}: p", p)

    def __call__(self, batch: T, rng: RNG = None) -> T:
        """Transform a batch; `rng` is a `numpy.random.Generator`, a seed, or that of `manual_seed`."""
        name = type(self).__name__
        generator = default_rng(rng, name)
        arrays: tuple[Any, ...] = batch if isinstance(batch, tuple) else (batch,)
        backend, images = check_images(name, arrays[0] if arrays else batch)
        chosen = np.flatnonzero(generator.random(len(images)) < self.p)
        if len(chosen) == 0:
            return batch
        if arrays[0].ndim == 3:
            return super().__call__(batch, generator)
        index = asarray(chosen, backend=backend.name)
        part = tuple(a[index] for a in arrays)
        changed = super().__call__(part, generator)
        if not isinstance(changed, tuple) or len(changed) != len(part):
            raise TypeError(
                f"{name}: transforms gave {shown(changed)}, expected a tuple of {len(part)} arrays"
            )
        results = []
        for k, (whole, old, new) in enumerate(zip(arrays, part, changed, strict=True)):
            if not is_array_type(type(new)):
                raise TypeError(f"{name}: transforms gave {shown(new)} for array {k}, expected an array")
            if new.shape != old.shape or new.dtype != old.dtype:
                raise ShapeError(
                    f"{name}: array {k} of the batch changed from {old.dtype} {old.shape} to {new.dtype} "
                    f"{new.shape}; for some images only, transforms must keep shapes and dtypes"
                )
            if new is not old:
                whole = whole.copy()
                whole[index] = new
            results.append(whole)
        return tuple(results) if isinstance(batch, tuple) else results[0]  # type: ignore[return-value]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.transforms!r}, p={self.p})"
