"""`xpconv evaluate`: how well a model does on images by class."""

from __future__ import annotations

import argparse
import json
import math
from typing import Any, NamedTuple

import numpy as np

from ..arguments import text_width
from ..arrays import asnumpy
from ..data import batches
from ..errors import DataFileError
from ..layers.layer import Layer
from ..train import predict as outputs_of
from .image_model import ImageInfo, open_model
from .images import (
    NAMED,
    SHARE,
    check_data_options,
    left_out,
    open_images,
    padded,
    printable,
    some,
    whole_folder,
)


class Scores(NamedTuple):
    """Scores of images before softmax, and their true classes."""

    scores: np.ndarray
    targets: np.ndarray
    classes: tuple[str, ...]

    @property
    def probabilities(self) -> np.ndarray:
        """The softmax of the scores."""
        return softmax(self.scores)

    @property
    def predicted(self) -> np.ndarray:
        """The most probable class of each image."""
        best: np.ndarray = self.scores.argmax(axis=1)
        return best

    @property
    def accuracy(self) -> float:
        """The share of images with the right class."""
        return float((self.predicted == self.targets).mean())

    @property
    def loss(self) -> float:
        """The mean cross-entropy."""
        right = self.probabilities[np.arange(len(self.targets)), self.targets]
        return float(-np.log(np.maximum(right, np.finfo("float64").tiny)).mean())

    def confusion(self) -> np.ndarray:
        """How many images of each class (row) were taken for each class (column)."""
        count = len(self.classes)
        pairs = self.targets * count + self.predicted
        counts: np.ndarray = np.bincount(pairs, minlength=count * count).reshape(count, count)
        return counts


def softmax(scores: np.ndarray) -> np.ndarray:
    """Probabilities, in float64."""
    powers = np.exp(scores.astype("float64") - scores.max(axis=1, keepdims=True))
    probabilities: np.ndarray = powers / powers.sum(axis=1, keepdims=True)
    return probabilities


def score(model: Layer, data: Any, targets: np.ndarray, classes: tuple[str, ...]) -> Scores:
    """The model's scores of all images."""
    return Scores(asnumpy(outputs_of(model, data)), targets, classes)


def finite_or_none(value: float) -> float | None:
    """`value`, or None, which JSON has, for NaN and infinity, which it has not."""
    return value if math.isfinite(value) else None


def check_scores(scores: np.ndarray, path: str) -> None:
    """Raise an error if a score is NaN, since no class is the most probable one then.

    Raises:
        DataFileError: (a ValueError) a score is NaN.
    """
    bad = int(np.isnan(scores).any(axis=1).sum())
    if bad:
        raise DataFileError(
            f"{path}: the model's scores of {bad} of {len(scores)} images are NaN; train it again, with a "
            "lower --lr"
        )


def evaluate(options: argparse.Namespace) -> int:
    """Run the command."""
    model = open_model(options.model, [options.data])
    check_data_options(options)
    info = ImageInfo.of(model, options.model)
    if options.data in NAMED:
        images = open_images(
            options.data, data_dir=options.data_dir, size=None, gray=False, valid=SHARE, seed=0, skip=False
        )
        source, targets, classes = images.valid, images.valid_targets, images.classes
        shape, skipped = images.shape, 0
    else:
        folder = whole_folder(options.data, info, options.skip_damaged)
        source, targets, classes, shape = (folder,), folder.targets, folder.classes, info.shape
        skipped = len(folder.skipped)
    if not set(classes) <= set(info.classes) or shape != info.shape:
        raise DataFileError(
            f"{options.data} has images {shape} of the classes {some(classes)}, but {options.model} takes "
            f"images {info.shape} of {some(info.classes)}; give images of these (of a folder with train/ and "
            "valid/, one of the two)"
        )
    index = np.array([info.classes.index(name) for name in classes])
    data = batches(*source, batch_size=options.batch_size, workers=options.workers)
    found = score(model, data, index[targets], info.classes)
    check_scores(found.scores, options.model)
    if options.json:
        print(json.dumps({
            "images": len(targets), "skipped": skipped, "accuracy": found.accuracy,
            "loss": finite_or_none(found.loss), "classes": list(info.classes),
            "confusion": found.confusion().tolist(),
        }))  # fmt: skip
        return 0
    print(
        f"{len(targets):,} images{left_out(skipped)}, accuracy {found.accuracy:.2%}, loss {found.loss:.4f}\n"
    )
    print(*per_class(found), sep="\n")
    return 0


def per_class(found: Scores) -> list[str]:
    """A row for each class: images, share of right ones, and what it is most often taken for."""
    names = list(map(printable, found.classes))
    width = max(len("class"), *map(text_width, names))
    rows = [f"{'class'.ljust(width)}  images  right    most often taken for"]
    for name, row, own in zip(names, found.confusion(), range(len(names)), strict=True):
        wrong = row.copy()
        wrong[own] = 0
        other = f"{names[wrong.argmax()]} ({wrong.max()})" if wrong.any() else ""
        share = f"{row[own] / row.sum():.1%}" if row.sum() else "-"
        rows.append(f"{padded(name, width)}  {row.sum():6,}  {share:>6}   {other}".rstrip())
    return rows
