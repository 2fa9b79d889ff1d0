"""The arguments of `Upsample` and `functional.interpolate`: checked, and which pixels an output reads."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real
from typing import Any, NamedTuple

from .arguments import check_places, check_room, is_sequence, shown, to_bool, to_choice, to_float, to_size
from .errors import ShapeError
from .geometry import Shape
from .ops.resample import Taps, axis_taps

Size = int | Sequence[int]
Scale = float | tuple[float, ...]

# mode: its name along one axis, and the accepted ranks of images
MODES: dict[str, tuple[str, tuple[int, ...]]] = {
    "nearest": ("nearest", (3, 4, 5)),
    "nearest-exact": ("nearest-exact", (3, 4, 5)),
    "area": ("area", (3, 4, 5)),
    "linear": ("linear", (3,)),
    "bilinear": ("linear", (4,)),
    "trilinear": ("linear", (5,)),
    "bicubic": ("cubic", (4,)),
}
_EXPECTED = {3: "(N, C, W)", 4: "(N, C, H, W)", 5: "(N, C, D, H, W)"}


class Resizing(NamedTuple):
    """What `to_resizing` has checked; None is not given."""

    size: int | tuple[int, ...] | None
    scale_factor: Scale | None
    mode: str
    align_corners: bool | None
    recompute_scale_factor: bool | None
    antialias: bool = False

    def taps(
        self, where: str, shape: Shape, itemsize: int, argument: str = "x"
    ) -> tuple[tuple[Taps, Taps] | None, ...]:
        """How outputs read images of this shape along each axis, and the transposed; for `ops.resample`.

        `itemsize` is that of their real dtype. Errors begin with `where`.
        """
        mode, ranks = MODES[self.mode]
        if len(shape) not in ranks:
            expected = " or ".join(_EXPECTED[r] for r in ranks)
            raise ShapeError(
                f"{where}: {argument} has shape {shape}, expected {expected} for mode={self.mode!r}"
            )
        if 0 in shape[1:]:
            raise ShapeError(f"{where}: {argument} has shape {shape}: only the batch may be empty")
        axes = len(shape) - 2
        given = self.size if self.scale_factor is None else self.scale_factor
        values: tuple[Any, ...] = given if isinstance(given, tuple) else (given,) * axes
        if len(values) != axes:
            raise ShapeError(
                f"{where}: {argument} has shape {shape}, so {axes} spatial axes, but {len(values)} numbers "
                f"are given for them: {given}"
            )
        sizes = [
            value if self.scale_factor is None else int(n * value)
            for n, value in zip(shape[2:], values, strict=True)
        ]
        check_room(f"{where}: an output", (*shape[:2], *sizes), itemsize)
        check_places(f"{where}: an output", sizes)
        taps = []
        for n, m, value in zip(shape[2:], sizes, values, strict=True):
            if m < 1:
                raise ShapeError(
                    f"{where}: {argument} has shape {shape}: scale_factor={self.scale_factor} leaves nothing "
                    f"of an axis of {n}"
                )
            scale = None if self.scale_factor is None or self.recompute_scale_factor else value
            scale = axis_scale(mode, n, m, axes, scale)
            taps.append(axis_taps(mode, n, m, scale, bool(self.align_corners), itemsize < 8, self.antialias))
        return tuple(taps)


def axis_scale(mode: str, n: int, m: int, axes: int, scale: float | None) -> float | None:
    """The scale that counts for an axis of `n` inputs and `m` outputs; None for `m / n`.

    PyTorch ignores a given scale in mode `'nearest'` if a size stays or doubles, but only for images of two
    axes. (In one and three its gradients ignore it too, which then are not those of its outputs.)
    """
    return None if mode == "nearest" and axes == 2 and m in (n, 2 * n) else scale


def to_resizing(
    name: str,
    size: object,
    scale_factor: object,
    mode: object,
    align_corners: object,
    recompute_scale_factor: object,
    antialias: object = False,
) -> Resizing:
    """The arguments, checked; errors begin with `name`."""
    kind = to_choice(f"{name}: mode", mode, MODES)
    if (size is None) == (scale_factor is None):
        both = f"size is {shown(size)} and scale_factor is {shown(scale_factor)}"
        raise ValueError(f"{name}: {both}, expected one of them")
    if align_corners is not None and MODES[kind][0] not in ("linear", "cubic"):
        raise ValueError(
            f"{name}: align_corners is {shown(align_corners)}, but mode={mode!r} has none; leave it None"
        )
    if recompute_scale_factor is not None:
        recompute_scale_factor = to_bool(f"{name}: recompute_scale_factor", recompute_scale_factor)
    if recompute_scale_factor and size is not None:
        raise ValueError(f"{name}: recompute_scale_factor needs scale_factor, got size={shown(size)}")
    if to_bool(f"{name}: antialias", antialias) and kind not in ("bilinear", "bicubic"):
        raise ValueError(
            f"{name}: antialias is True, but mode={mode!r} has none: 'bilinear' and 'bicubic' do"
        )
    sizes: int | tuple[int, ...] | None = None
    scales: Scale | None = None
    if is_sequence(size):
        sizes = tuple(to_size(f"{name}: size", s) for s in size)
    elif size is not None:
        sizes = to_size(f"{name}: size", size)
    elif isinstance(scale_factor, tuple):
        scales = tuple(_scale(name, s) for s in scale_factor)
    else:
        scales = _scale(name, scale_factor)
    if align_corners is not None:
        align_corners = to_bool(f"{name}: align_corners", align_corners)
    return Resizing(sizes, scales, kind, align_corners, recompute_scale_factor, bool(antialias))


def _scale(name: str, value: object) -> float:
    where = f"{name}: scale_factor"
    if not isinstance(value, Real):
        raise TypeError(f"{where} is {shown(value)}, expected a number or a tuple of them")
    scale = to_float(where, value, finite=True)
    if not scale > 0:
        raise ValueError(f"{where} is {value!r}, expected positive numbers")
    return scale
