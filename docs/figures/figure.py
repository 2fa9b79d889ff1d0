"""What the scripts of the figures share: the look, and a file that is the same at each run."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

WIDTH = 4.9  # inches: 353 points, about the width of the text on a phone, so fonts keep their size there
INK, GREY, PALE = "#263238", "#78909c", "#eceff1"
BLUE, ORANGE, GREEN, RED, VIOLET = "#3f51b5", "#e65100", "#2e7d32", "#c62828", "#6a1b9a"
YELLOW, WHITE = "#fff59d", "#ffffff"
# In dark mode, lines and texts in the colours of LINES become lighter, and areas in those of AREAS darker.
# Other colours do not change, such as that of a blue cell with white text.
LINES = {INK: "#d5d8e0", BLUE: "#9fa8da", ORANGE: "#ffa726", GREEN: "#81c784", RED: "#e57373"}
AREAS = {WHITE: "#1e2129", PALE: "#39424f", YELLOW: "#6b5b12"}  # the first is the background of the site
STYLE = {
    "font.family": "DejaVu Sans",  # comes with matplotlib
    "font.size": 9.5,
    "axes.titlesize": 10,
    "axes.labelsize": 9.5,
    "axes.edgecolor": GREY,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.prop_cycle": mpl.cycler(color=[BLUE, ORANGE, GREEN, RED, VIOLET]),
    "text.color": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "path.simplify": False,  # it drops points by the last bit, which differs between processors
    "svg.hashsalt": "xpconv",
    "svg.fonttype": "path",
}
mpl.rcParams.update(STYLE)


def new(height: float, rows: int = 1, columns: int = 1, **options: Any) -> tuple[Figure, Any]:
    """A figure and its axes."""
    return plt.subplots(rows, columns, figsize=(WIDTH, height), layout="constrained", **options)


def save(figure: Figure, path: str | Path) -> None:
    """Write an SVG without a date, with colours for light and dark mode."""
    file = io.StringIO()
    figure.savefig(
        file, format="svg", facecolor=WHITE, bbox_inches="tight", pad_inches=0.12, metadata={"Date": None}
    )
    plt.close(figure)
    svg = file.getvalue()
    assert svg.count("</style>") == 1
    Path(path).write_text(svg.replace("</style>", f"\n{in_the_dark()}</style>"), encoding="utf-8")


def in_the_dark() -> str:
    """CSS that replaces the colours that matplotlib writes, as `style="fill: #263238"`, in dark mode."""
    rules = [f"path[style*='fill: {light}'] {{ fill: {dark} !important }}" for light, dark in AREAS.items()]
    for light, dark in LINES.items():
        rules.append(f"[style*='stroke: {light}'] {{ stroke: {dark} !important }}")
        texts, markers = f"g[style*='fill: {light}']", f"use[style*='fill: {light}']"
        arrows = f"[style*='fill: {light}; stroke: {light}']"
        rules.append(f"{texts}, {markers}, {arrows} {{ fill: {dark} !important }}")
    return "@media (prefers-color-scheme: dark) {\n" + "\n".join(rules) + "\n}\n"


def canvas(axes: Axes, width: float, height: float) -> None:
    """Axes for shapes and text: no ticks, units of the same length, and y downwards."""
    axes.set(xlim=(-0.05, width + 0.05), ylim=(height + 0.05, -0.05), aspect="equal")
    axes.axis("off")


def cell(axes: Axes, x: float, y: float, text: Any = "", color: str = "white", **options: Any) -> None:
    """A unit square with a text in it."""
    options = {"size": 1.0, "weight": "normal", "ink": INK, "edge": INK, "font": 9.5, **options}
    size = options["size"]
    axes.add_patch(Rectangle((x, y), size, size, facecolor=color, edgecolor=options["edge"], linewidth=0.7))
    style = {"ha": "center", "va": "center", "color": options["ink"], "weight": options["weight"]}
    axes.text(x + size / 2, y + size / 2, str(text), fontsize=options["font"], **style)


def label(axes: Axes, x: float, y: float, text: str, **options: Any) -> None:
    """A text centred at a place."""
    axes.text(x, y, text, **{"ha": "center", "va": "center", "fontsize": 9.5, "color": INK, **options})


def number(value: float) -> str:
    """`3` for 3.0, and `0.5` for 0.5."""
    return f"{value:g}"
