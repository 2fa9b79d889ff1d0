"""The report of `xpconv train`: one HTML file that needs nothing else, for any screen and for paper."""

from __future__ import annotations

import base64
import io
import time
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from .. import plot
from ..arguments import text_width
from ..backend import get_backend
from ..files.atomic import write_atomically
from ..layers import Conv1d, Conv2d, Conv3d
from ..layers.layer import Layer
from ..plot.charts import WRITTEN, most_confused
from ..plot.figures import pictures
from ..train import History
from .evaluate import Scores
from .images import Images, option_of, printable

SHOWN = 24  # images at most
TILE = 120  # pixels of the screen along the longer side of an image

STYLE = """
:root { color-scheme: light; --ink: #1d2126; --soft: #5c6570; --line: #d9dde2; --accent: #b3202a; }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1rem 3rem; max-width: 60rem; color: var(--ink); background: #fff;
  font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; line-height: 1.2; margin: 0 0 .25rem; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2.2rem 0 .5rem; }
p { margin: .4rem 0; } .soft { color: var(--soft); }
.facts { display: flex; flex-wrap: wrap; gap: .5rem 2rem; margin: 1.2rem 0; padding: 0; list-style: none; }
.facts b { display: block; font-size: 1.5rem; font-weight: 600; font-variant-numeric: tabular-nums; }
.row { display: flex; flex-wrap: wrap; gap: 1rem; }
figure { margin: 0; } img { max-width: 100%; height: auto; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .7rem .2rem 0; text-align: right; border-bottom: 1px solid var(--line);
  white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
td.best { font-weight: 600; color: var(--accent); }
.confusion { margin: .5rem 0 1rem; }
.confusion td { min-width: 2rem; padding: .2rem .4rem; border: 1px solid var(--line); text-align: center; }
.confusion td.own { color: var(--soft); } .confusion td.dark { color: #fff; }
.confusion thead td { border: 0; } .confusion th { border: 0; font-weight: 400; text-align: left; }
.confusion thead th { padding: .4rem .2rem; vertical-align: bottom; text-align: center; }
.confusion th span { writing-mode: vertical-rl; rotate: 180deg; max-height: 12rem; }
.short th span { writing-mode: horizontal-tb; rotate: 0deg; }
.rows { max-height: 32rem; overflow-y: auto; }
.tiles { display: grid; grid-template-columns: repeat(auto-fill, minmax(9rem, 1fr)); gap: 1rem; }
.tiles img { max-width: 120px; max-height: 120px; }
.tiles img.small { width: 120px; image-rendering: pixelated; }
figcaption { font-size: .85rem; line-height: 1.3; overflow-wrap: anywhere; } small { color: var(--soft); }
pre { overflow-x: auto; font-size: .8rem; line-height: 1.35; }
@media print { * { print-color-adjust: exact; }
  body { max-width: none; padding: 0; font-size: 11pt; }
  .wide, pre { overflow: visible; } .rows { max-height: none; }
  pre { white-space: pre-wrap; } h2 { break-after: avoid; } figure, tr { break-inside: avoid; } }
"""


def write_report(
    path: Path, settings: Mapping[str, Any], model: Layer, history: History, scores: Scores, images: Images
) -> None:  # fmt: skip
    """Write it.

    Args:
        path: of the file.
        settings: of the run, by name.
        model: the trained model.
        history: of its training.
        scores: of the validation images.
        images: those of training and validation.
    """
    wrong = np.flatnonzero(scores.predicted != scores.targets)
    surest = wrong[np.argsort(-scores.probabilities.max(axis=1)[wrong], kind="stable")][:SHOWN]
    title = f"{settings['model']} on {settings['data']}"
    parts = [
        f"<h1>{escape(title)}</h1>",
        f"<p class=soft>trained with xpconv on {time.strftime('%Y-%m-%d %H:%M')}"
        f"{', interrupted' if history.interrupted else ''}</p>",
        _facts(model, history, scores, images),
        "<h2>Learning curves</h2>", _curves(history),
        "<h2>Epochs</h2>", f'<div class="wide rows">{history._repr_html_()}</div>',
        "<h2>Confusion</h2><p>Rows are the true classes, columns the predictions.</p>",
        f"<div class=wide>{_confusion(scores)}</div>", f"<div class=wide>{_classes(scores)}</div>",
        "<h2>Most confident mistakes</h2>", _mistakes(images, scores, surest, len(wrong)),
        "<h2>Kernels of the first convolution</h2>", _kernels(model),
        "<h2>Settings</h2>", f"<div class=wide>{_table(['setting', 'value'], _settings(settings))}</div>",
        "<h2>Layers</h2>", f"<pre>{escape(str(model.summary()))}</pre>",
    ]  # fmt: skip
    page = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<title>{escape(title)}</title>\n<link rel="icon" href="data:,">\n'
        f"<style>{STYLE}</style></head>\n<body>\n" + "\n".join(parts) + "\n</body></html>\n"
    )
    write_atomically(str(path), [page.encode(errors="backslashreplace")])


def _facts(model: Layer, history: History, scores: Scores, images: Images) -> str:
    best = history.best("valid_loss") if len(history) else None
    facts = {
        "validation accuracy": f"{scores.accuracy:.2%}",
        "validation loss": f"{scores.loss:.4f}",
        "training images": f"{len(images.train_targets):,}",
        "validation images": f"{len(scores.targets):,}",
        "epochs": str(len(history)),
        **(
            {}
            if best is None
            else {"epoch with the lowest validation loss, whose weights these are": str(best)}
        ),
        "parameters": f"{sum(p.size for p in model.parameters()):,}",
    }
    return (
        f"<ul class=facts>{''.join(f'<li><b>{value}</b>{name}</li>' for name, value in facts.items())}</ul>"
    )


def _curves(history: History) -> str:
    if not len(history):
        return "<p>Training was interrupted in its first epoch.</p>"
    pictures = [_figure(history.plot([name]), f"{name} by epoch") for name in ("loss", "accuracy")]
    return f"<div class=row>{''.join(pictures)}</div>"


def _confusion(scores: Scores) -> str:
    """Text, which a browser shows in any script; a picture where the classes are too many to write."""
    counts, names = scores.confusion(), list(scores.classes)
    wrong = counts * (1 - np.eye(len(names), dtype=int))
    text = f"<p>{escape(most_confused(wrong, names))}.</p>"
    if len(names) > WRITTEN:
        figure = plot.confusion_matrix(scores.targets, scores.predicted, names)
        return text + _figure(figure, "Confusion matrix")
    head = "".join(f"<th scope=col><span>{escape(name)}</span></th>" for name in names)
    short = " short" if max(map(text_width, names)) <= 3 else ""
    shades = 0.75 * wrong / max(4, wrong.max())
    rows = "".join(
        f"<tr><th scope=row>{escape(name)}</th>"
        f"{''.join(_cell(counts[i, j], shades[i, j], i == j) for j in range(len(names)))}</tr>"
        for i, name in enumerate(names)
    )
    table = f"<thead><tr><td></td>{head}</tr></thead><tbody>{rows}</tbody>"
    return f'{text}<table class="confusion{short}">{table}</table>'


def _cell(count: int, shade: float, own: bool) -> str:
    """One of the confusion matrix: the darker, the more mistakes."""
    kind = " class=own" if own else " class=dark" if shade > 0.45 else ""
    colour = f' style="background: rgb(0 0 0 / {shade:.0%})"' if shade else ""
    return f"<td{kind}{colour}>{count:,}</td>" if count else f"<td{kind}></td>"


def _classes(scores: Scores) -> str:
    """For each class its images, recall and precision."""
    confusion = scores.confusion()
    rows = []
    for k, name in enumerate(scores.classes):
        own, true, said = confusion[k, k], confusion[k].sum(), confusion[:, k].sum()
        rows.append(
            [name, f"{true:,}", f"{own / true:.1%}" if true else "–", f"{own / said:.1%}" if said else "–"]
        )
    return _table(["class", "images", "recall", "precision"], rows)


def _mistakes(images: Images, scores: Scores, surest: np.ndarray, wrong: int) -> str:
    """The images, each with its classes and its file."""
    if not wrong:
        return f"<p>None: all {len(scores.targets):,} validation images are classified correctly.</p>"
    some = f"The surest {len(surest)} of" if len(surest) < wrong else "All"
    text = f"<p>{some} {wrong:,}: the predicted class and its probability, the true class, and the file.</p>"
    indices = surest.tolist()
    shown = pictures("report", images.validation(indices))
    found = []
    for i, name, pixels in zip(indices, map(printable, images.names(indices)), shown, strict=True):
        said, true = (escape(scores.classes[of[i]]) for of in (scores.predicted, scores.targets))
        caption = f"<b>{said}</b> {scores.probabilities[i].max():.1%}, is {true}"
        caption += f"<br><small>{escape(name)}</small>"
        found.append(f"<figure>{_image(pixels, name)}<figcaption>{caption}</figcaption></figure>")
    return f"{text}<div class=tiles>{''.join(found)}</div>"


def _image(pixels: np.ndarray, text: str) -> str:
    """An image `(H, W, 3)` from 0 to 1; a small one with its pixels as squares."""
    from PIL import Image

    image = Image.fromarray((pixels * 255).round().astype("uint8"))
    image.thumbnail((2 * TILE, 2 * TILE))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    small = " class=small" if max(pixels.shape) < TILE else ""
    return f'<img{small} alt="{escape(text)}" src="{_uri(buffer)}">'


def _kernels(model: Layer) -> str:
    conv = next((m for m in model.modules() if isinstance(m, Conv1d | Conv2d | Conv3d)), None)
    if conv is None:
        return "<p>The model has no convolution.</p>"
    text = "" if conv.in_channels == 3 else "<p>Red is positive, blue negative, white is 0.</p>"
    return text + _figure(plot.kernels(conv), "Kernels")


def _settings(settings: Mapping[str, Any]) -> list[list[str]]:
    import platform

    from .. import __version__

    found = [
        [option_of(name)[2:], "no" if value is False else "yes" if value is True else str(value)]
        for name, value in settings.items()
    ]
    versions = {
        "xpconv": __version__, "NumPy": np.__version__, "Python": platform.python_version(),
        "backend": get_backend(),
    }  # fmt: skip
    return found + [list(pair) for pair in versions.items()]


def _table(head: list[str], rows: list[list[str]]) -> str:
    def line(cells: list[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    body = "".join(line(row, "td") for row in rows)
    return f"<table><thead>{line(head, 'th')}</thead><tbody>{body}</tbody></table>"


def _figure(figure: Any, text: str) -> str:
    """A picture within the page, at twice the resolution of a plain screen."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=160)
    width = round(figure.get_size_inches()[0] * 80)
    image = f'<img width="{width}" alt="{escape(text)}" src="{_uri(buffer)}">'
    return f"<figure class=wide>{image}</figure>"


def _uri(png: io.BytesIO) -> str:
    return f"data:image/png;base64,{base64.b64encode(png.getvalue()).decode()}"
