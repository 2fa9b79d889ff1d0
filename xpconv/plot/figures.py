"""Figures, tiles of images in one picture, and images in the range of colours."""

from __future__ import annotations

import io
from collections.abc import Sequence
from textwrap import wrap
from typing import Any

import numpy as np

from ..arguments import text_width
from ..arrays import asarray
from ..errors import DTypeError, ShapeError

try:
    from matplotlib.figure import Figure as Figure
    from matplotlib.ticker import NullFormatter as NullFormatter

    from .fonts import legible
except ImportError as cause:
    raise ImportError("xpconv.plot: matplotlib is missing; pip install matplotlib") from cause

DIVERGING, SEQUENTIAL = "RdBu_r", "viridis"
WIDTH, HEIGHT = 6.4, 9.0  # of a new figure, at most, in inches
NARROW = 3.2  # and at least, for the title
BAR = 0.9  # inches that a scale takes
FINE = 24  # pixels along the longer side of a tile, at least
SMALL = 8  # size of the text above a tile, in points


class Picture(Figure):
    """A figure that belongs to no window; a notebook displays it."""

    def _repr_png_(self) -> bytes:
        data = io.BytesIO()
        self.savefig(data, format="png", dpi=120)
        return data.getvalue()


def axes(where: str, ax: Any, size: tuple[float, float]) -> Any:
    """`ax` if it is one, else the axes of a new figure of this width and height."""
    if ax is None:
        return Picture(figsize=size, layout="constrained").subplots()
    if not hasattr(ax, "imshow"):
        raise TypeError(f"{where}: ax is {type(ax).__name__}, expected matplotlib's Axes, or None")
    return ax


class Tiles:
    """Images of one size, in rows and columns of one picture, with room for text above each.

    Args:
        images: `(n, H, W)` of values or `(n, H, W, 3)` of colours.
        columns: how many in a row; None for a picture that is wider than high, with full rows if possible.
        texts: above the images.
        side: the longer side of a tile in a new figure, in inches, if there is room.
        bar: the width of a scale beside the picture.
    """

    def __init__(
        self,
        images: Any,
        columns: int | None = None,
        texts: Sequence[str] = (),
        side: float = 1.2,
        bar: float = 0.0,
    ) -> None:
        times = -(-FINE // max(images.shape[1:3]))  # so that a gap may be less than a pixel of a small kernel
        self.images: Any = images.repeat(times, axis=1).repeat(times, axis=2)
        count, self.high, self.wide = self.images.shape[:3]
        gap = round(0.1 * max(self.high, self.wide))
        if columns is None:
            columns = _columns(count, (count * 1.7 * (self.high + gap) / (self.wide + gap)) ** 0.5)
        self.texts: list[str] = ["\n".join(legible(text.split("\n"))[0]) for text in texts]
        self.fonts: list[str] = legible("".join(texts).split("\n"))[1]
        self.columns: int = min(max(columns, 1), max(count, 1))
        self.rows: int = max(1, -(-count // self.columns))
        self.right: Any = self.wide + gap
        self.full: Any = self.columns * self.right - gap
        lines = max((text.count("\n") + 1 for text in texts), default=0)
        side = max(side, inches(texts) * max(1.0, self.high / self.wide))
        need = lines * 1.6 * SMALL / 72  # inches
        inch = max(
            max(self.high, self.wide) / side,
            self.full / (WIDTH - bar),
            self.rows * (self.high + gap) / (HEIGHT - self.rows * need),
        )
        if texts:  # which have one size: rather a higher figure than texts that overlap
            inch = min(inch, max(self.right / inches(texts), self.full / (WIDTH - bar)))
        self.above: Any = round(need * inch)
        self.down: Any = self.high + max(gap, self.above)
        self.size: tuple[float, Any] = max(NARROW, self.full / inch + bar), self.rows * self.down / inch + 0.4

    def corner(self, i: int) -> tuple[int, int]:
        """Row and column of the first pixel of a tile."""
        return self.above + i // self.columns * self.down, i % self.columns * self.right

    def picture(self) -> Any:
        """All tiles; what is between them is NaN, or transparent."""
        colours = self.images.shape[3:]
        shape = self.above + self.rows * self.down - (self.down - self.high), self.full
        found = np.full((*shape, 4), 0.0) if colours else np.full(shape, np.nan)
        for i, image in enumerate(self.images):
            top, left = self.corner(i)
            place = slice(top, top + self.high), slice(left, left + self.wide)
            if colours:
                found[place] = np.concatenate([image, np.ones((self.high, self.wide, 1))], axis=2)
            else:
                found[place] = image
        return found

    def draw(self, ax: Any, **options: Any) -> Any:
        """Show them in `ax`, without ticks and frame; returns matplotlib's image."""
        image = ax.imshow(self.picture(), **options)
        for i, text in enumerate(self.texts):
            top, left = self.corner(i)
            middle = left + (self.wide - 1) / 2
            ax.text(
                middle,
                top - 1,
                text,
                fontsize=SMALL,
                ha="center",
                va="bottom",
                linespacing=1.1,
                parse_math=False,
                fontfamily=self.fonts,
            )
        ax.set_xticks([])
        ax.set_yticks([])
        ax.spines[:].set_visible(False)
        return image


def _columns(count: int, about: float) -> int:
    """The number near `about` that leaves the fewest places of the last row empty."""
    near = [n for n in range(1, count + 1) if 0.7 * about <= n <= 1.4 * about]
    return min(near or [round(about)], key=lambda n: (-count % n, abs(n - about)))


def columns_for(texts: Sequence[str], most: int) -> int:
    """How many tiles with such texts have room in a row of a new figure."""
    return max(1, min(most, int(WIDTH / (inches(texts) * 1.1 + 0.05))))


def inches(texts: Sequence[str]) -> float:
    """About the width of the longest line."""
    return 0.07 * max((text_width(line) for text in texts for line in text.split("\n")), default=0)


def title(ax: Any, text: str) -> None:
    """Above the axes, at the left, in as many lines as it needs."""
    room = ax.get_window_extent().width
    if isinstance(ax.figure, Picture):  # to its right edge, once the layout is known
        ax.figure.draw_without_rendering()
        room = ax.figure.bbox.width - ax.get_window_extent().x0
    lines, fonts = legible(wrap(text, max(16, int(11 * room / ax.figure.dpi))))
    ax.set_title("\n".join(lines), loc="left", fontsize=10, parse_math=False, fontfamily=fonts)


def scale(ax: Any, image: Any, label: str) -> None:
    """A bar with the values of the colours."""
    bar = ax.figure.colorbar(image, ax=ax, shrink=0.8, aspect=25, pad=0.02)
    bar.set_label(label, fontsize=SMALL)
    bar.ax.tick_params(labelsize=SMALL)
    bar.outline.set_visible(False)


def limit(values: Any) -> float:
    """The largest finite absolute value; 1 if that is 0."""
    finite = np.abs(values[np.isfinite(values)])
    largest = float(finite.max(initial=0.0))
    return largest or 1.0


def host(array: Any) -> Any:
    """As a NumPy array in float32 or float64."""
    found = asarray(array, backend="numpy")
    return found if found.dtype in (np.float32, np.float64) else found.astype(np.float32)


def pictures(where: str, x: Any) -> Any:
    """A batch of images `(N, C, H, W)` as colours `(N, H, W, 3)` from 0 to 1.

    Values from 0 to 1, or from 0 to 255, are colours; others are scaled, for each image, from its smallest to
    its largest. Channels other than three are shown by their mean, in grey.
    """
    found = asarray(x, backend="numpy")
    if found.ndim != 4 or 0 in found.shape[1:]:
        raise ShapeError(f"{where}: x has shape {found.shape}, expected images (N, C, H, W)")
    if found.dtype.kind not in "biuf":
        raise DTypeError(f"{where}: x is of {found.dtype}, expected real numbers")
    whole = found.dtype.kind in "iub"
    found = np.moveaxis(host(found), 1, 3)
    if found.shape[3] != 3:
        found = found.mean(axis=3, keepdims=True)
    low, high = (float(part(found, initial=0.0)) for part in (np.min, np.max))
    if low >= 0 and high <= 255 and (high > 1 or whole):
        found = found / 255
    elif low < 0 or high > 1:
        small, large = (part(found, axis=(1, 2, 3), keepdims=True) for part in (np.nanmin, np.nanmax))
        found = (found - small) / np.where(large > small, large - small, 1)
    return np.nan_to_num(np.broadcast_to(found, (*found.shape[:3], 3)).clip(0, 1))
