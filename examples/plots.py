"""The pictures of `train_mnist.py --out DIR`."""

from pathlib import Path

import numpy as np

try:
    import matplotlib as mpl
except ImportError as cause:
    raise ImportError('matplotlib is missing: python3 -m pip install "xpconv[examples]"') from cause

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
    """Write all pictures into `folder`; their paths."""
    figures = {
        **({"curves.png": curves(history)} if history else {}),  # none if stopped in the first epoch
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
    """Loss and share of wrong answers over the epochs."""
    loss = {"train": [e.train_loss for e in history], "test": [e.test_loss for e in history]}
    wrong = {
        "train": [100 - 100 * e.train_accuracy for e in history],
        "test": [100 - 100 * e.test_accuracy for e in history],
    }
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6))
    for ax, lines, quantity, title in (
        (axes[0], loss, "cross-entropy", "Loss on the test images: {:.3g} → {:.3g}"),
        (axes[1], wrong, "wrong answers, %", "Wrong on the test images: {:.3g} % → {:.3g} %"),
    ):
        for (name, values), color, style in zip(lines.items(), (TRAIN, TEST), ("--", "-"), strict=True):
            line = {"color": color, "linestyle": style, "marker": "o", "markersize": 3.5}
            ax.plot(range(1, len(values) + 1), values, **line, label=name, clip_on=False)
        ax.set_title(title.format(lines["test"][0], lines["test"][-1]))
        ax.set_xlabel("epoch")
        ax.set_ylabel(quantity)
        ax.set_xlim(0.7, len(history) + 0.3)
        ax.xaxis.set_major_locator(mpl.ticker.MaxNLocator(integer=True, min_n_ticks=1))
        every = lines["train"] + lines["test"]
        least = min((v for v in every if v > 0), default=0)
        if max(every) > 20 * least > 0:  # logarithmic, with a place for zero below
            ax.set_yscale("symlog", linthresh=least, linscale=0.5)
            ticks = [m * 10.0**e for e in range(-9, 3) for m in (1, 2, 5)]
            ticks = [0, *(v for v in ticks if least <= v <= 1.3 * max(every))]
            ax.set_yticks(ticks, [f"{v:g}" for v in ticks])
            ax.yaxis.set_minor_locator(mpl.ticker.NullLocator())
            ax.set_ylim(min(0.8 * least, *every), 1.3 * max(every))
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
    if len(wrong) < 2:
        title = f"{('No', 'One')[len(wrong)]} mistake on {len(labels):,} test images"
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
    ax.hlines(np.arange(9) + 0.5, -0.5, 9.5, color="0.93", linewidth=0.8)
    ax.vlines(np.arange(9) + 0.5, -0.5, 9.5, color="0.93", linewidth=0.8)
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
