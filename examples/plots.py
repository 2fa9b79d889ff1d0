"""The pictures of `train_mnist.py --out DIR`."""

from pathlib import Path

import matplotlib as mpl
import numpy as np

mpl.use("Agg")
import matplotlib.pyplot as plt

mpl.rcParams.update(
    {
        "figure.dpi": 150, "savefig.bbox": "tight", "font.size": 10, "axes.titlelocation": "left",
        "axes.spines.top": False, "axes.spines.right": False, "figure.constrained_layout.use": True,
    }
)  # fmt: skip
TRAIN, TEST = "0.55", "#b3202a"


def draw(folder: Path, history, kernels, images, labels, scores) -> list[Path]:
    """Write all pictures into `folder`, which is made if need be; their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    figures = {
        "curves.png": curves(history),
        "kernels.png": first_kernels(kernels),
        "mistakes.png": mistakes(images, labels, scores),
        "confusion.png": confusion(labels, scores.argmax(axis=1)),
    }
    paths = []
    for name, figure in figures.items():
        figure.savefig(folder / name)
        plt.close(figure)
        paths.append(folder / name)
    return paths


def curves(history):
    """Loss and error over the epochs, each line named at its end."""
    epochs = np.arange(1, len(history) + 1)
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.4))
    error = {
        "train": [100 - 100 * e.train_accuracy for e in history],
        "test": [100 - 100 * e.test_accuracy for e in history],
    }
    loss = {"train": [e.train_loss for e in history], "test": [e.test_loss for e in history]}
    for ax, lines, title in (
        (axes[0], loss, "Cross-entropy"),
        (axes[1], error, f"Wrong answers, %: {error['test'][-1]:.2f} of the test images"),
    ):
        for (name, values), color, style in zip(lines.items(), (TRAIN, TEST), ("--", "-"), strict=True):
            shown = [v if v > 0 else np.nan for v in values]  # a line ends where nothing is wrong any more
            ax.plot(epochs, shown, color=color, linestyle=style, marker="o", markersize=3.5, label=name)
        ax.set_title(title)
        ax.set_xlabel("epoch")
        ax.set_xlim(0.7, len(history) + 0.3)
        ax.xaxis.set_major_locator(mpl.ticker.MaxNLocator(integer=True, min_n_ticks=1))
        values = [v for line in lines.values() for v in line if v > 0]
        if values and max(values) > 20 * min(values):
            ax.set_yscale("log")
            ax.yaxis.set_major_locator(mpl.ticker.LogLocator(subs=(1, 2, 5)))
            ax.yaxis.set_minor_locator(mpl.ticker.NullLocator())
            ax.yaxis.set_major_formatter(mpl.ticker.FuncFormatter(lambda v, _: f"{v:g}"))
        else:
            ax.set_ylim(bottom=0)
        ax.grid(axis="y", color="0.9")
        ax.legend(frameon=False)
    return figure


def first_kernels(kernels):
    """The first layer's kernels: white where they excite, black where they inhibit, on one scale."""
    count = len(kernels)
    columns = 8
    rows = -(-count // columns)
    size = kernels.shape[-1]
    figure, axes = plt.subplots(rows, columns, figsize=(columns, rows * 1.02 + 0.5), squeeze=False)
    limit = np.abs(kernels).max()
    for i, ax in enumerate(axes.flat):
        ax.axis("off")
        if i < count:
            picture = ax.imshow(kernels[i, 0], cmap="gray", vmin=-limit, vmax=limit)
    figure.suptitle(
        f"What the first layer looks for: its {count} kernels of {size}×{size} pixels", x=0.01, ha="left"
    )
    bar = figure.colorbar(picture, ax=axes, shrink=0.8, aspect=25)
    bar.set_label("weight")
    bar.outline.set_visible(False)
    return figure


def mistakes(images, labels, scores, count=24):
    """The wrong answers that the model was surest of, the surest first."""
    p = np.exp(scores - scores.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    said = p.argmax(axis=1)
    wrong = np.flatnonzero(said != labels)
    surest = wrong[np.argsort(-p[wrong, said[wrong]])][:count]
    columns = min(8, max(1, len(surest)))
    rows = max(1, -(-len(surest) // columns))
    figure, axes = plt.subplots(
        rows, columns, figsize=(max(4.5, columns * 1.15), rows * 1.55 + 0.5), squeeze=False
    )
    for ax in axes.flat[len(surest) :]:
        ax.axis("off")
    for ax, i in zip(axes.flat, surest, strict=False):
        ax.imshow(images[i, 0], cmap="gray_r")
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set_visible(True)
        ax.spines[:].set_color("0.8")
        ax.set_title(f"{labels[i]}, taken for {said[i]}\n{p[i, said[i]]:.0%} sure", fontsize=8, loc="center")
    which = f"All {len(wrong)}" if len(surest) == len(wrong) else f"The {len(surest)} surest of {len(wrong)}"
    title = f"{which} mistakes on {len(labels):,} test images, the surest first"
    if not len(wrong):
        title = f"No mistake on {len(labels):,} test images"
    figure.suptitle(title, x=0.01, ha="left")
    return figure


def confusion(labels, said):
    """How often each digit was taken for each other one; the diagonal is left out of the shading."""
    counts = np.zeros((10, 10), int)
    np.add.at(counts, (labels, said), 1)
    off = counts * (1 - np.eye(10, dtype=int))
    figure, ax = plt.subplots(figsize=(5.2, 5.2))
    darkest = 1.3 * max(4, off.max())
    ax.imshow(off, cmap="Greys", vmax=darkest)
    for t, s in np.ndindex(10, 10):
        if counts[t, s]:
            dark = off[t, s] > 0.6 * darkest
            ax.text(
                s,
                t,
                counts[t, s],
                ha="center",
                va="center",
                fontsize=8,
                color="w" if dark else "0.6" if t == s else "k",
            )
    ax.set_xticks(range(10))
    ax.set_yticks(range(10))
    ax.tick_params(length=0)
    ax.set_xlabel("the model says")
    ax.set_ylabel("the image shows")
    ax.spines[:].set_visible(False)
    worst = np.unravel_index(off.argmax(), off.shape)
    title = "No digit is taken for another"
    if off.max() == 1:
        title = "No digit is taken for another more than once"
    elif off.max() > 1:
        title = f"Most often confused: {worst[0]} taken for {worst[1]}, {off.max()} times"
    ax.set_title(title)
    return figure
