"""Gradients of a model's layers, and what a classifier takes for what."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import inspection
from ..arguments import brief, is_sequence, named, text_width, to_size
from ..arrays import asarray
from ..backend import backend_of
from ..errors import ShapeError
from ..layers import Layer
from .figures import (
    SMALL,
    WIDTH,
    Figure,
    NullFormatter,
    Tiles,
    axes,
    columns_for,
    host,
    inches,
    pictures,
    title,
)
from .fonts import legible

__all__ = ["confusion_matrix", "gradients", "mistakes"]

WRITTEN = 25  # classes up to which every count is written
BAR = 0.17  # inches
TALLEST = 40.0
SHORT, LONGEST = 4, 24  # letters of a name that go beside another, and that are shown


def gradients(model: Layer, ax: Any = None) -> Figure:
    """The norms of the layers' gradients as bars on a logarithmic scale, from the input to the output.

    Norms that fall by orders of magnitude towards the input vanish; those that grow explode.

    Args:
        model: any layer, after a backward; see `inspection.gradient_norms`.
        ax: matplotlib's axes to draw into; None makes a figure.

    Returns:
        the figure.

    Raises:
        TypeError: `model` is not a layer.
        ValueError: no parameter has a gradient.
        ImportError: matplotlib is not installed.

    Example:
        >>> import numpy as np, xpconv
        >>> model = xpconv.Sequential(xpconv.Dense(2, 2, rng=0), xpconv.Dense(2, 1, rng=0))
        >>> y = model(np.ones((1, 2), "float32"))
        >>> _ = model.backward(np.ones_like(y))
        >>> figure = xpconv.plot.gradients(model)
    """
    with named("gradients", "gradient_norms"):
        norms = inspection.gradient_norms(model)
    names, fonts = legible([name or type(model).__name__ for name in norms])
    values = np.array(list(norms.values()))
    shown = np.where(np.isfinite(values) & (values > 0), values, np.nan)
    ax = axes("gradients", ax, (WIDTH, min(0.9 + BAR * len(names), TALLEST)))
    low, high = (float(part(shown)) for part in (np.nanmin, np.nanmax)) if (shown > 0).any() else (0.1, 1.0)
    bottom = 10.0 ** np.floor(np.log10(low) - 0.2)
    places = np.arange(len(names))
    ax.barh(places, np.nan_to_num(shown, nan=bottom) - bottom, left=bottom, height=0.7, color="#3b6ea8")
    for place, value in zip(places, values, strict=True):
        if not (np.isfinite(value) and value > 0):  # has no place on the scale
            ax.text(bottom, place, f" {value:g}", va="center", fontsize=SMALL, color="#b3202a")
    ax.set_xscale("log")
    ax.set_xlim(bottom, max(high * 1.5, bottom * 12))  # with two powers of ten, which are written
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.set_yticks(places, names, fontsize=SMALL, parse_math=False, fontfamily=fonts)
    ax.set_ylim(len(names) - 0.4, -0.6)
    ax.tick_params(axis="y", length=0)
    ax.tick_params(axis="x", labelsize=SMALL)
    ax.set_xlabel("norm of the gradient", fontsize=SMALL)
    ax.grid(axis="x", color="0.9")
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)
    title(ax, "Gradients, from input to output")
    return ax.figure  # type: ignore[no-any-return]


def confusion_matrix(
    y_true: Any, y_pred: Any, classes: int | Sequence[str] | None = None, ax: Any = None
) -> Figure:
    """How often each class was taken for each other. The shading leaves out the diagonal, which is right.

    Args:
        y_true, y_pred, classes: as in `inspection.confusion_matrix`.
        ax: matplotlib's axes to draw into; None makes a figure.

    Returns:
        the figure. Up to 25 classes, every count is written.

    Raises:
        TypeError, ValueError: as `inspection.confusion_matrix`.
        ImportError: matplotlib is not installed.

    Example:
        >>> import xpconv
        >>> figure = xpconv.plot.confusion_matrix([0, 1, 1, 2], [0, 1, 2, 2], ["cat", "dog", "fox"])
    """
    counts = inspection.confusion_matrix(y_true, y_pred, classes)
    count = len(counts)
    if not count:
        raise ShapeError("confusion_matrix: there are no labels and no classes")
    names, fonts = legible(classes if is_sequence(classes) else range(count))
    wrong = counts * (1 - np.eye(count, dtype=int))
    step = -(-count // 40)
    places = range(0, count, step)
    written = [shortened(names[i]) for i in places]
    side, turned = min(max(2.8, 0.8 + 0.4 * count), 8.6), max(map(text_width, written)) > 3
    ax = axes("confusion_matrix", ax, (side + inches(written), side + turned * inches(written)))
    darkest = 1.3 * max(4, wrong.max())
    ax.imshow(wrong, cmap="Greys", vmin=0, vmax=darkest)
    if count <= WRITTEN:
        size = SMALL if counts.max() < 10_000 else SMALL - 2
        for i, j in zip(*np.nonzero(counts), strict=True):
            colour = "0.5" if i == j else "w" if wrong[i, j] > 0.6 * darkest else "k"
            ax.text(j, i, counts[i, j], ha="center", va="center", fontsize=size, color=colour)
    options = {"fontsize": SMALL, "parse_math": False, "fontfamily": fonts}
    ax.set_xticks(places, written, rotation=90 if turned else 0, **options)
    ax.set_yticks(places, written, **options)
    ax.tick_params(length=0)
    if count <= 40:
        lines = np.arange(count - 1) + 0.5
        ax.hlines(lines, -0.5, count - 0.5, color="0.93", linewidth=0.8)
        ax.vlines(lines, -0.5, count - 0.5, color="0.93", linewidth=0.8)
    ax.spines[:].set_visible(False)
    ax.set_xlabel("predicted")
    ax.set_ylabel("true")
    title(ax, most_confused(wrong, names))
    return ax.figure  # type: ignore[no-any-return]


def shortened(name: str) -> str:
    return name if text_width(name) <= LONGEST else f"{name[: LONGEST - 1]}…"


def most_confused(wrong: Any, names: Sequence[str]) -> str:
    """In words; `wrong` has the counts without their diagonal."""
    if wrong.max() == 0:
        return "No class is taken for another"
    if wrong.max() == 1:
        return "No class is taken for another more than once"
    i, j = np.unravel_index(wrong.argmax(), wrong.shape)
    return f"Most often: {names[i]} taken for {names[j]}, {wrong[i, j]} times"


def mistakes(
    x: Any, y_true: Any, scores: Any, classes: Sequence[str] | None = None, most: int = 24, ax: Any = None
) -> Figure:
    """The images with wrong predictions, those with the highest probability first.

    Args:
        x: images `(N, C, H, W)`.
        y_true: their classes `(N,)`.
        scores: the model's output for them, `(N, classes)`, before softmax.
        classes: names of the classes.
        most: how many images at most.
        ax: matplotlib's axes to draw into; None makes a figure.

    Returns:
        the figure.

    Raises:
        TypeError, ValueError: as `inspection.confusion_matrix`.
        ShapeError: (a ValueError) `x` or `scores` has another shape.
        ImportError: matplotlib is not installed.

    Example:
        >>> import numpy as np, xpconv
        >>> x, scores = np.zeros((2, 1, 8, 8), "float32"), np.array([[2.0, 0.0], [1.0, 0.0]])
        >>> figure = xpconv.plot.mistakes(x, [0, 1], scores)
    """
    most = to_size("mistakes: most", most)
    if len(getattr(x, "shape", ())) != 4:
        raise ShapeError(f"mistakes: x is {brief(x)}, expected an array of images (N, C, H, W)")
    values = host(inspection.on_host("mistakes", "scores", scores))
    if values.ndim != 2 or len(values) != len(x):
        raise ShapeError(
            f"mistakes: scores has shape {values.shape} for {len(x)} images, expected (N, classes)"
        )
    with named("mistakes", "confusion_matrix"):
        inspection.confusion_matrix(y_true, values, classes)  # checks them
    true = inspection.on_host("mistakes", "y_true", y_true).astype(int)
    p = np.exp(values - values.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    taken = p.argmax(axis=1)
    wrong = np.flatnonzero(taken != true)
    first = wrong[np.argsort(-p[wrong, taken[wrong]], kind="stable")][:most]
    names, _ = legible(range(values.shape[1]) if classes is None else classes)
    true_names, others = ([shortened(names[c]) for c in of[first]] for of in (true, taken))
    sure = [f"{p[i, taken[i]]:.0%} sure" for i in first]
    texts = [f"{a}, not {b}\n{c}" for a, b, c in zip(true_names, others, sure, strict=True)]
    if max(map(text_width, true_names + others), default=0) > SHORT:
        texts = [text.replace(", not", "\nnot") for text in texts]
    chosen = x[asarray(first, backend=backend_of(x).name)] if len(first) else x[:1]
    images = pictures("mistakes", chosen)
    tiles = Tiles(images, columns_for(texts, min(8, max(1, len(first)))), texts)
    ax = axes("mistakes", ax, tiles.size if len(first) else (tiles.size[0], 1.2))
    if len(first):
        tiles.draw(ax)
    else:
        ax.set_axis_off()
    title(ax, _counted(len(wrong), len(first), len(true)))
    return ax.figure  # type: ignore[no-any-return]


def _counted(wrong: int, shown: int, all_: int) -> str:
    images = f"{all_:,} image{'s' * (all_ != 1)}"
    if wrong < 2:
        return f"{wrong or 'No'} mistake on {images}"
    return f"{f'The surest {shown} of ' if shown < wrong else ''}{wrong:,} mistakes on {images}"
