"""Charts of a result: bars of ratios, and curves of growth.

python3 benchmarks/chart.py benchmarks/results/cpu.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.ticker import FuncFormatter, NullFormatter

BARS = {
    "training": "Training step: time and peak memory",
    "inference": "Inference: time",
    "convolutions": "Single convolutions: time",
}
# by column of the table; a setting keeps its colour, a lighter one is the second measure
COLOURS = {
    "default": "#9ecae1", "advised": "#2171b5", "as set": "#2171b5", "memory": "#fd8d3c",
    "default forward": "#c6dbef", "default forward + backward": "#6baed6",
    "advised forward": "#a1d99b", "advised forward + backward": "#238b45",
    "as set forward": "#a1d99b", "as set forward + backward": "#238b45",
}  # fmt: skip
GPU = {
    "xpconv eager": "#fdd0a2", "xpconv graphed": "#fd8d3c", "xpconv captured": "#d94801",
    "PyTorch eager": "#9ecae1", "PyTorch channels-last": "#4292c6", "PyTorch graphs": "#08519c",
    "PyTorch compile": "#74c476",
}  # fmt: skip
LINES = {"xpconv": "#d94801", "PyTorch": "#6baed6", "PyTorch channels-last": "#08519c"}


def column_of(record: dict[str, Any]) -> str:
    """The column of the table, which has a colour of its own in the chart."""
    return " ".join(filter(None, [record["setting"], record["measure"]]))


def bars(axes: Any, section: str, records: list[dict[str, Any]]) -> None:
    """A group of bars for each work, from the line of equality."""
    mine = [r for r in records if r["section"] == section]
    works = list(dict.fromkeys(r["work"] for r in mine))
    columns = list(dict.fromkeys(map(column_of, mine)))
    height = 0.8 / len(columns)
    for i, column in enumerate(columns):
        ratios = {r["work"]: r["ratio"] for r in mine if column_of(r) == column}
        at = [works.index(w) + (i - (len(columns) - 1) / 2) * height for w in ratios]
        lengths = [v - 1 for v in ratios.values()]
        drawn = axes.barh(at, lengths, height, left=1, color=COLOURS[column], label=column)
        for value, bar in zip(ratios.values(), drawn, strict=True):
            side = 3 if value >= 1 else -3
            axes.annotate(
                f"{value:.2f}", (value, bar.get_y() + bar.get_height() / 2), (side, 0),
                textcoords="offset points", va="center", ha="left" if value >= 1 else "right", fontsize=7,
            )  # fmt: skip
    axes.axvline(1, color="black", linewidth=1)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_tick_params(labelbottom=True)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}×"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_yticks(range(len(works)), works, fontsize=9)
    axes.set_ylim(len(works) - 0.45, -0.55)
    axes.grid(axis="x", color="0.9")
    axes.set_axisbelow(True)
    axes.set_title(BARS[section], loc="left", fontsize=11, fontweight="bold")
    axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)


def caption(result: dict[str, Any]) -> str:
    """The machine, in a line."""
    machine = next(iter(result["machines"].values()))
    kernels = ", ".join(f"{name}: {m['kernels']}" for name, m in result["machines"].items())
    return (
        f"{machine['cpu']}, {machine['threads']} threads; NumPy {machine['numpy']}, "
        f"PyTorch {machine['torch']}; BLAS kernels {kernels}"
    )


def draw_ratios(result: dict[str, Any], path: Path, sections: list[str]) -> bool:
    """Bars of those sections that were measured."""
    records = result["records"]
    sections = [s for s in sections if any(r["section"] == s for r in records)]
    if not sections:
        return False
    rows = [max(2, len({r["work"] for r in records if r["section"] == s})) for s in sections]
    size = (9, 0.42 * sum(rows) + 0.9 * len(rows) + 0.7)
    figure, axes = plt.subplots(
        len(sections), 1, figsize=size, squeeze=False, sharex=True, height_ratios=rows, layout="constrained"
    )
    for ax, section in zip(axes[:, 0], sections, strict=True):
        bars(ax, section, records)
    shown = [r["ratio"] for r in records if r["section"] in sections]
    axes[0, 0].set_xlim(min(0.5, min(shown) / 1.35), max(2, max(shown) * 1.35))
    figure.suptitle("xpconv / PyTorch's better memory format (left of 1×, xpconv takes less)", fontsize=12)
    figure.supxlabel(caption(result), fontsize=7, color="0.4")
    figure.savefig(path, dpi=150)
    plt.close(figure)
    return True


def draw_scaling(result: dict[str, Any], path: Path) -> bool:
    """Time and memory against size, log-log, with a line of slope 1 to compare."""
    records = [r for r in result["records"] if r["section"] in ("batch size", "image size")]
    series: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for r in records:
        unit = "images" if r["section"] == "batch size" else "pixels"
        series.setdefault((r["work"].rpartition(", ")[0], unit), []).append(r)
    if not series:
        return False
    figure, axes = plt.subplots(
        2, len(series), figsize=(3.6 * len(series), 6), squeeze=False, sharex="col", layout="constrained"
    )
    for column, ((name, unit), mine) in enumerate(series.items()):
        for row, (key, scale, label) in enumerate(
            [("seconds", 1e3, "ms a step"), ("bytes", 2**-20, "peak MiB")]
        ):
            ax, points = axes[row, column], [r for r in mine if key in r]
            sizes = [r["size"] for r in points]
            for contender, colour in LINES.items():
                values = [max(r[key][contender], 1e-12) * scale for r in points]
                ax.loglog(sizes, values, "o-", color=colour, label=contender, markersize=4)
            if points:
                last = points[-1][key]["xpconv"] * scale
                ax.loglog(sizes, [last * s / sizes[-1] for s in sizes], ":", color="0.5", label="linear")
            ax.set_ylabel(label)
            ax.grid(color="0.92")
            ax.set_title(name if row == 0 else "", fontsize=10)
        axes[1, column].set_xlabel(unit)
        axes[1, column].set_xticks(sizes, [str(s) if s < 1000 else f"{s / 1000:.0f}k" for s in sizes])
        axes[1, column].minorticks_off()
    axes[0, 0].legend(fontsize=8)
    figure.supxlabel(caption(result), fontsize=7, color="0.4")
    figure.savefig(path, dpi=150)
    plt.close(figure)
    return True


def draw_gpu(result: dict[str, Any], source: Path) -> list[Path]:
    """Bars of milliseconds for each row that `gpu.py` timed: a picture a stage."""
    stages = ("training", "inference", "compile")
    pictures = {stage: source.with_name(f"{source.stem}-{stage}.png") for stage in stages}
    return [path for stage, path in pictures.items() if draw_gpu_stage(result, stage, path)]


def draw_gpu_stage(result: dict[str, Any], stage: str, path: Path) -> bool:
    records = [r for r in result["stages"].get(stage, {}).get("records", []) if r.get("seconds")]
    if not records:
        return False
    columns = list(dict.fromkeys(label for r in records for label in r["seconds"]))
    height = 0.8 / len(columns)
    figure, ax = plt.subplots(figsize=(10, 0.55 * len(records) + 1.6), layout="constrained")
    for i, label in enumerate(columns):
        rows = [(at, r["seconds"][label] * 1e3) for at, r in enumerate(records) if label in r["seconds"]]
        at = [row + (i - (len(columns) - 1) / 2) * height for row, _ in rows]
        drawn = ax.barh(at, [ms for _, ms in rows], height, label=label, color=GPU[label])
        ax.bar_label(drawn, fmt="%.3g", fontsize=6, padding=2)
    names = [f"{r['work']}, batch {r['batch']}, {r['precision']}" for r in records]
    ax.set_yticks(range(len(names)), names, fontsize=8)
    ax.margins(y=0.01)
    ax.invert_yaxis()
    ax.set_xscale("log")
    ax.set_xlabel(f"{stage}: milliseconds")
    ax.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False)
    info = result["stages"].get("device", {}).get("records", [{}])[0]
    figure.suptitle(result["device"], fontsize=11)
    versions = ", ".join(f"{k} {v}" for k, v in info.items() if k != "device")
    figure.supxlabel(versions, fontsize=6, color="0.4")
    figure.savefig(path, dpi=120)
    plt.close(figure)
    return True


def draw(source: Path) -> list[Path]:
    """Draw what the JSON holds, beside it; returns the pictures."""
    result = json.loads(source.read_text())
    models, convolutions, scaling = (
        source.with_name(f"{source.stem}{part}.png") for part in ("", "-convolutions", "-scaling")
    )
    drawn = {
        models: draw_ratios(result, models, ["training", "inference"]),
        convolutions: draw_ratios(result, convolutions, ["convolutions"]),
        scaling: draw_scaling(result, scaling),
    }
    return [path for path, done in drawn.items() if done]


if __name__ == "__main__":
    print(*draw(Path(sys.argv[1])), sep="\n")
