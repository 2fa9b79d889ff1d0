"""The pictures of `train_mnist.py --out DIR`."""

from pathlib import Path

try:
    import matplotlib as mpl
except ImportError as cause:
    raise ImportError('matplotlib is missing: python3 -m pip install "xpconv[examples]"') from cause

mpl.use("Agg")
import matplotlib.pyplot as plt

from xpconv import plot

mpl.rcParams.update(
    {
        "figure.dpi": 150, "savefig.bbox": "tight", "font.size": 10, "axes.titlelocation": "left",
        "axes.spines.top": False, "axes.spines.right": False, "figure.constrained_layout.use": True,
    }
)  # fmt: skip
TRAIN, TEST = "0.55", "#b3202a"


def draw(folder: Path, history, layer, images, labels, scores) -> list[Path]:
    """Write all pictures into `folder`; their paths."""
    figures = {
        **({"curves.png": curves(history)} if history else {}),  # none if stopped in the first epoch
        "kernels.png": plot.kernels(layer),
        "mistakes.png": plot.mistakes(images, labels, scores),
        "confusion.png": plot.confusion_matrix(labels, scores, 10),
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
