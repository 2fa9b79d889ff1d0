"""Checks of arrays, for layers and for functions; errors begin with `where`, such as `Conv2d.forward`."""

from __future__ import annotations

from math import prod

from .arguments import about, check_room
from .backend import Array, Backend, backend_of
from .dtypes import check_usable
from .errors import BackendError, DTypeError, ShapeError
from .geometry import Pairs, Window

SPATIAL = {1: "L", 2: "H, W", 3: "D, H, W"}  # by the number of axes


def owner_of(where: str, x: Array, argument: str = "x") -> Backend:
    """Check that `x` is an array in this machine's byte order, and return its backend."""
    try:
        owner = backend_of(x)
    except BackendError as error:
        raise BackendError(f"{where}: {argument}: {about(argument, error)}") from None
    dtype = x.dtype
    if not dtype.isnative or dtype.char in "gG":  # all that `check_usable` may refuse; here without its call
        check_usable(f"{where}: {argument}", x, argument)
    return owner


def not_floating(where: str, x: Array, argument: str = "x", expected: str = "floating point") -> DTypeError:
    """The error for an array of another kind, such as images of bytes."""
    hint = f"convert it, e.g. images 0…255 with {argument}.astype('float32') / 255"
    if x.dtype.kind == "c":
        hint = f"give {argument}.real and {argument}.imag, one after the other"
    return DTypeError(f"{where}: {argument} is {x.dtype}, expected {expected}; {hint}")


def as_images(
    where: str,
    x: Array,
    axes: int,
    channels: int | None = None,
    why: str = "",
    argument: str = "x",
    weight: str = "layer",
) -> tuple[Array, bool]:
    """Check rank and channels of images; return them as a batch, and whether `x` was one.

    `why` that number of channels is expected, and the `weight` that decides it, are for the errors.
    """
    spatial = SPATIAL[axes]
    if x.ndim not in (axes + 1, axes + 2):
        c = "C" if channels is None else channels
        raise ShapeError(
            f"{where}: {argument} has shape {x.shape}, expected (N, {c}, {spatial}) or ({c}, {spatial})"
        )
    batched = x.ndim == axes + 2
    if channels is not None and x.shape[-axes - 1] != channels:
        given = x.shape[-axes - 1]
        raise ShapeError(
            f"{where}: {argument} has shape {x.shape}, so {given} channel{'s' * (given != 1)}, "
            f"expected {channels} ({why}){_meant(x, batched, channels, spatial, argument, weight)}"
        )
    if 0 in x.shape[-axes - 1 :]:
        raise ShapeError(f"{where}: {argument} has shape {x.shape}: only the batch may be empty")
    return (x if batched else x[None]), batched


def _meant(x: Array, batched: bool, channels: int, spatial: str, argument: str, weight: str) -> str:
    """The hint in an error for images in another layout, or of other colours."""
    last, given = x.shape[-1], x.shape[-1 - len(spatial.split(", "))]
    if last == channels:
        return f"; channels come before {spatial}: give numpy.moveaxis({argument}, -1, {-x.ndim + batched})"
    flat = spatial == "H, W"
    if flat and channels == 3 and given == 1:
        return f"; gray images are repeated for three channels: give {argument}.repeat(3, axis=-3)"
    if flat and channels == 1 and last in (3, 4) and given > 4:
        return (
            f"; for colours make the {weight} with {last} channels, and give "
            f"numpy.moveaxis({argument}, -1, -3)"
        )
    several = ""
    if not batched and channels == 1:
        one, many = {"L": ("sequence", "ones of one channel"), "H, W": ("image", "gray ones")}.get(
            spatial, ("volume", "ones of one channel")
        )
        several = f"; this is one {one} ({given}, {spatial}): for a batch of {many} give {argument}[:, None]"
    if flat and channels == 1 and given in (3, 4):
        return f"; for colours make the {weight} with {given} channels, or give gray images{several}"
    return several


def check_fits(
    where: str, x: Array, spatial: tuple[int, ...], window: Window, padding: object, argument: str = "x"
) -> None:
    """An error if no window fits images of size `spatial`; `padding` is what the user gave."""
    if min(window.output_shape(spatial)) < 1:
        raise ShapeError(
            f"{where}: {argument} has shape {x.shape}: with padding {padding!r} it is smaller than the "
            f"kernel {window.kernel} (dilation {window.dilation}); pad more"
        )


def check_left(
    where: str, spatial: tuple[int, ...], padding: object, size: tuple[int, ...], argument: str = "x"
) -> None:
    """An error if padding leaves a transposed convolution no output."""
    if min(size) < 1:
        raise ShapeError(
            f"{where}: {argument} of {spatial} with padding {padding!r} leaves an output of {size}; use less "
            "padding, which makes this output smaller"
        )


def as_columns(
    where: str, x: Array, size: tuple[int, ...], window: Window, argument: str = "x"
) -> tuple[Array, bool]:
    """Check the shape of the columns of images of `size`; return them as a batch, and whether `x` was one."""
    taps, positions = prod(window.kernel), prod(window.output_shape(size))
    if not (x.ndim in (2, 3) and x.shape[-1] == positions and x.shape[-2] % taps == 0 < x.shape[-2]):
        raise ShapeError(
            f"{where}: {argument} has shape {x.shape}, expected (N, C·{taps}, {positions}) or "
            f"(C·{taps}, {positions}): kernel_size={window.kernel} has {taps} taps, and "
            f"output_size={size} has {positions} windows"
        )
    return (x, True) if x.ndim == 3 else (x[None], False)


def check_pad(where: str, x: Array, pairs: Pairs, mode: str, argument: str = "x") -> None:
    """An error if the last axes of `x` cannot be padded by `(lo, hi)`, or cropped by negative numbers."""
    before = x.ndim - len(pairs)
    if before < 0:
        raise ShapeError(f"{where}: {argument} has shape {x.shape}, expected at least {len(pairs)} axes")
    for n, (lo, hi) in zip(x.shape[before:], pairs, strict=True):
        why = _no_room(mode, n, lo, hi)
        if why:
            raise ShapeError(
                f"{where}: {argument} has shape {x.shape}: an axis of {n} cannot be padded by ({lo}, {hi}): "
                f"{why}"
            )
    sizes = [n + lo + hi for n, (lo, hi) in zip(x.shape[before:], pairs, strict=True)]
    check_room(f"{where}: an output", (*x.shape[:before], *sizes), x.dtype.itemsize)


def _no_room(mode: str, n: int, lo: int, hi: int) -> str:
    """Why an axis of `n` cannot be padded so; empty if it can."""
    cropped = n + min(lo, 0) + min(hi, 0)
    if mode == "constant":
        return "that crops more than there is" if cropped < 0 else ""
    if mode == "circular":
        if cropped < 1:
            return "that leaves nothing to wrap around"
        return "that wraps around more than once" if max(lo, hi) > cropped else ""
    if mode == "reflect" and max(lo, hi) >= n:
        return f"a reflection reaches {n - 1} at most"
    return "that leaves nothing" if n + lo + hi < 1 else ""
