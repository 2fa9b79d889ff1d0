"""What all transforms share: the form of a batch, one draw for each image, masks, 8-bit images."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

from ...arguments import about, is_sequence
from ...arrays import asarray
from ...backend import Array, Backend, backend_of, ignore_underflow, plain
from ...dtypes import byte_order_error, is_floating
from ...errors import BackendError, DTypeError, ShapeError
from ...random import RNG, default_rng
from ...signatures import public_errors
from ...sums import widened
from .checks import Values, to_masks

T = TypeVar("T")
BLOCK, DEVICE_BLOCK = 1 << 20, 1 << 26  # values of images at a time, on the host and on a device


class Transform:
    """Base of the transforms. Called with a tuple of arrays whose first holds images, or with images alone.

    A subclass draws random numbers for all images on the host (`_draw`), which are copied to the device of
    the images, and computes new images of them in array code (`_images`).
    """

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        public_errors(cls)

    def __call__(self, batch: T, rng: RNG = None) -> T:
        """Transform a batch.

        Args:
            batch: images `(N, C, H, W)`, or one `(C, H, W)`, uint8 or floating in [0, 1]; or a tuple that
                begins with them. Nothing in it is modified.
            rng: a `numpy.random.Generator` to draw from, or the seed of one; by default the generator of
                `xpconv.manual_seed`.

        Returns:
            The same kind of thing: images, or a tuple of the same length.

        Raises:
            ShapeError, DTypeError, BackendError: (ValueError, TypeErrors) the images are not such arrays, or
                do not fit the settings.
        """
        where = type(self).__name__
        generator = default_rng(rng, where)
        arrays: tuple[Any, ...] = batch if isinstance(batch, tuple) else (batch,)
        backend, images = check_images(where, arrays[0] if arrays else batch)
        single = arrays[0].ndim == 3
        self._check(images)
        draws = [asarray(d, backend=backend.name) for d in self._draw(generator, images.shape)]
        with ignore_underflow(backend.xp):
            results = self._all(backend, (images, *arrays[1:]), single, draws)
        results = (results[0][0] if single else results[0], *results[1:])
        return results if isinstance(batch, tuple) else results[0]  # type: ignore[return-value]

    def __repr__(self) -> str:
        values = [(p.name, p.default, getattr(self, p.name)) for p in _parameters(type(self))]
        return f"{type(self).__name__}({', '.join(f'{n}={v!r}' for n, d, v in values if v != d)})"

    def _check(self, images: Array) -> None:
        """Raise an error if the settings do not suit the images."""

    def _draw(self, rng: Any, shape: tuple[int, int, int, int]) -> tuple[Any, ...]:
        """What is random, or depends on the size of the images: host arrays, one row for each image."""
        return ()

    def _all(self, backend: Backend, arrays: tuple[Array, ...], single: bool, draws: list[Array]) -> Any:
        """The new arrays of the batch; the images are `(N, C, H, W)`, and have been one if `single`."""
        return (self._images(backend, arrays[0], *draws), *arrays[1:])

    def _images(self, backend: Backend, x: Array, *draws: Array) -> Array:
        raise NotImplementedError


class Geometric(Transform):
    """Base of the transforms that move pixels, and so also those of masks."""

    fill: Values = 0.0
    mask_fill: float = 0
    interpolation: str = "nearest"
    masks: tuple[int, ...] | None = None

    def _set_masks(self, masks: Any) -> None:
        self.masks = to_masks(f"{type(self).__name__}: masks", masks)

    def _all(self, backend: Backend, arrays: tuple[Array, ...], single: bool, draws: list[Array]) -> Any:
        results, where = list(arrays), type(self).__name__
        self._check_others(arrays, single)
        for k in self.masks or ():
            if k >= len(arrays):
                raise ShapeError(f"{where}: masks is {self.masks}, but the batch has {len(arrays)} arrays")
            mask = check_mask(f"{where}: mask {k} of the batch", backend, arrays[k], arrays[0], single)
            fill = filling(f"{where}: mask_fill", backend, mask, self.mask_fill)
            mask = self._in_blocks(backend, mask, fill, "nearest", draws)
            mask = mask[0] if single else mask
            results[k] = mask if mask.ndim == arrays[k].ndim else mask[..., 0, :, :]
        fill = filling(f"{where}: fill", backend, arrays[0], self.fill)
        results[0] = self._in_blocks(backend, arrays[0], fill, self.interpolation, draws)
        return results

    def _check_others(self, arrays: tuple[Array, ...], single: bool) -> None:
        """Raise an error if an array looks like masks, and nothing says whether it moves with the images."""
        n, _, h, w = arrays[0].shape
        for k, array in enumerate(arrays[1:], start=1):
            shape = tuple(getattr(array, "shape", ()))
            alike = shape[-2:] == (h, w) and len(shape) in ((2, 3) if single else (3, 4))
            if self.masks is None and alike and (single or shape[0] == n):
                raise ShapeError(
                    f"{type(self).__name__}: array {k} of the batch has shape {shape}, like masks of images "
                    f"{tuple(arrays[0].shape[single:])}; give masks={k}, to move it with them, or masks=() "
                    "to leave it as it is"
                )

    def _in_blocks(
        self, backend: Backend, x: Array, fill: Array, interpolation: str, draws: list[Array]
    ) -> Array:
        """`_move` for some images at a time, so that what it allocates stays small."""
        xp = backend.xp
        count = max(1, (BLOCK if backend.name == "numpy" else DEVICE_BLOCK) // max(1, x[:1].size))
        if len(x) <= count:
            return self._move(xp, x, fill, interpolation, *draws)
        y: Any = None
        for start in range(0, len(x), count):
            some = slice(start, start + count)
            part = self._move(
                xp, x[some], fill, interpolation, *(d if len(d) < len(x) else d[some] for d in draws)
            )
            if y is None:
                y = xp.empty_like(part, shape=(len(x), *part.shape[1:]))
            y[some] = part
        return y

    def _move(self, xp: Any, x: Array, fill: Array, interpolation: str, *draws: Array) -> Array:
        raise NotImplementedError


def in_float(xp: Any, x: Array, function: Callable[[Array], Array]) -> Array:
    """`function` of `x` in the dtype of `x`: uint8 is computed in float32, rounded and clipped."""
    if x.dtype == "uint8":
        return xp.rint(function(x.astype("float32"))).clip(0, 255).astype("uint8")
    return function(widened(x)).astype(x.dtype, copy=False)


def check_images(where: str, x: Any) -> tuple[Backend, Array]:
    """The backend of images, and the images as `(N, C, H, W)`."""
    try:
        backend = backend_of(x)
    except BackendError as error:
        hint = "; give a batch as a tuple" if is_sequence(x) else ""
        raise BackendError(f"{where}: images: {about('images', error)}{hint}") from None
    if x.ndim not in (3, 4) or 0 in x.shape[-3:]:
        hint = "; one gray image is x[None]" if x.ndim == 2 else ""
        raise ShapeError(
            f"{where}: images have shape {tuple(x.shape)}, expected (N, C, H, W), or (C, H, W) for one "
            f"image{hint}"
        )
    if x.dtype != "uint8" and not is_floating(x.dtype):
        raise DTypeError(
            f"{where}: images are {x.dtype}, expected uint8 (0 to 255) or floating point (0 to 1); "
            "use x.astype('uint8') or x.astype('float32')"
        )
    if not x.dtype.isnative:
        raise byte_order_error(f"{where}: the images' dtype", x)
    x = plain(x)  # such as a memmap, whose results would be memmaps
    return backend, x if x.ndim == 4 else x[None]


def check_mask(where: str, backend: Backend, mask: Any, images: Array, single: bool) -> Array:
    """A mask as `(N, C, H, W)`; its C is its own."""
    try:
        owner = backend_of(mask)
    except BackendError as error:
        raise BackendError(f"{where}: {error}") from None
    if owner is not backend:
        raise BackendError(f"{where} is on {owner.name} but the images are on {backend.name}")
    mask = plain(mask)
    n, _, h, w = images.shape
    batch = () if single else (n,)
    if mask.shape[-2:] != (h, w) or mask.shape[:-2] not in (batch, (*batch, *mask.shape[-3:-2])):
        forms = f"({h}, {w}) or (C, {h}, {w})" if single else f"({n}, {h}, {w}) or ({n}, C, {h}, {w})"
        raise ShapeError(f"{where} has shape {tuple(mask.shape)}, expected {forms}, as the images")
    mask = mask if mask.ndim == len(batch) + 3 else mask[..., None, :, :]
    return mask[None] if single else mask


def filling(where: str, backend: Backend, x: Array, values: Values) -> Array:
    """`values`, one or one for each channel, as an array in the dtype of `x` that broadcasts to it."""
    numbers = values if isinstance(values, tuple) else (values,)
    if len(numbers) not in (1, x.shape[1]):
        raise ShapeError(
            f"{where} has {len(numbers)} values, expected one, or one for each of {x.shape[1]} channels"
        )
    if x.dtype.kind in "iub":
        limits = backend.xp.iinfo(x.dtype) if x.dtype.kind != "b" else None
        low, high = (limits.min, limits.max) if limits else (0, 1)
        if not all(v == int(v) and low <= v <= high for v in numbers):
            raise ValueError(
                f"{where} is {values}, expected integers from {low} to {high}, as the array is {x.dtype}"
            )
        numbers = tuple(int(v) for v in numbers)
    elif x.dtype.kind == "f" and max(map(abs, numbers)) > float(backend.xp.finfo(x.dtype).max):
        raise ValueError(f"{where} is {values}, expected numbers that {x.dtype} can hold")
    return asarray(list(numbers), x.dtype, backend=backend.name).reshape(1, -1, 1, 1)


def _parameters(cls: type) -> list[inspect.Parameter]:
    return [p for p in inspect.signature(cls).parameters.values() if p.kind != p.VAR_POSITIONAL]
