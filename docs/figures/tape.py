"""The tape of a small network after its forward: the entries, and what they hold for one image."""

from pathlib import Path
from typing import Any

import numpy as np
from figure import BLUE, GREY, ORANGE, PALE, Figure, canvas, label, new, save
from matplotlib.patches import FancyArrowPatch, Rectangle

import xpconv


def arrays(saved: Any) -> list[np.ndarray]:
    return [value for value in saved if isinstance(value, np.ndarray)]


def described(saved: Any) -> str:
    """The arrays of an entry, by shape without the batch axis, and their size."""
    found = arrays(saved)
    if not found:
        return "no arrays"
    shapes = " and ".join(f"{'×'.join(map(str, a.shape[1:]))} {a.dtype}" for a in found)
    return f"{shapes}: {sum(a.nbytes for a in found) / 1024:g} KB"


def draw() -> Figure:
    model = xpconv.Sequential(
        xpconv.Conv2d(3, 8, 3, padding=1, rng=0),
        xpconv.ReLU(),
        xpconv.MaxPool2d(2),
        xpconv.Flatten(),
        xpconv.Dense(8 * 16 * 16, 10, rng=0),
    )
    _, tape = model.record(np.ones((1, 3, 32, 32), "float32"))
    entries = [(type(layer()).__name__, described(saved)) for layer, saved, *_ in tape.entries]
    assert [name for name, _ in entries] == ["Conv2d", "MaxPool2d", "Flatten", "Dense", "Sequential"]
    entries[1] = ("MaxPool2d, with the ReLU before it", entries[1][1])

    figure, axes = new(3.2)
    canvas(axes, 14.5, 9.2)
    for i, (name, text) in enumerate(reversed(entries)):
        top = 1.0 + 1.55 * i
        axes.add_patch(Rectangle((2.2, top), 10.2, 1.4, facecolor=PALE, edgecolor=GREY, linewidth=0.8))
        label(axes, 7.3, top + 0.43, name, weight="bold")
        label(axes, 7.3, top + 1.0, text, fontsize=9)
    for x, ends, color, text in (
        (1.5, (8.6, 1.0), BLUE, "forward: keep adds at the end"),
        (13.1, (1.0, 8.6), ORANGE, "backward: recall removes from it"),
    ):
        arrow = FancyArrowPatch((x, ends[0]), (x, ends[1]), arrowstyle="-|>", mutation_scale=14, color=color)
        axes.add_patch(arrow)
        label(axes, x + (-0.75 if x < 7 else 0.75), 4.8, text, color=color, rotation=90 if x < 7 else -90)
    label(axes, 7.3, 0.4, "the end of the tape, for one image", color=GREY, fontsize=9)
    return figure


if __name__ == "__main__":
    save(draw(), Path(__file__).with_suffix(".svg"))
