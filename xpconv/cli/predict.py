"""`xpconv predict`: classes of image files."""

from __future__ import annotations

import argparse
import csv
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from ..arguments import text_width
from ..arrays import asnumpy
from ..data import batches, read_image
from ..errors import DataFileError
from ..train import predict as outputs_of
from .evaluate import check_scores, softmax
from .image_model import ImageInfo, open_model
from .images import files_of, padded, printable


class Files:
    """A data set of image files. With `skip`, a damaged one gives a black image, and is in `damaged`."""

    paths: list[Path]
    info: ImageInfo
    skip: bool

    def __init__(self, paths: list[Path], info: ImageInfo, skip: bool) -> None:
        self.paths, self.info, self.skip = paths, info, skip
        self.damaged: dict[int, DataFileError] = {}

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, i: int) -> np.ndarray:
        image: np.ndarray
        try:
            image = read_image(self.paths[i], self.info.shape[1:], mode=self.info.mode)
        except DataFileError as error:
            if not self.skip:
                raise DataFileError(f"{error}, or give --skip-damaged to leave it out") from error
            self.damaged[i] = error
            image = np.zeros(self.info.shape, "float32")
        return image


def predict(options: argparse.Namespace) -> int:
    """Run the command."""
    if options.csv and (Path(options.csv).is_dir() or not Path(options.csv).parent.is_dir()):
        raise FileNotFoundError(f"--csv {options.csv} is a folder, or in none; give a file in a folder")
    model = open_model(options.model, options.images)
    info = ImageInfo.of(model, options.model)
    files = Files(list(files_of(options.images)), info, options.skip_damaged)
    data = batches(files, batch_size=options.batch_size, workers=options.workers)
    scores = asnumpy(outputs_of(model, data))
    for i in sorted(files.damaged):
        print(f"xpconv: {files.damaged[i]}", file=sys.stderr)
    sound = [i for i in range(len(files)) if i not in files.damaged]
    if not sound:
        raise DataFileError("none of the files is an intact image")
    paths, scores = [files.paths[i] for i in sound], scores[sound]
    check_scores(scores, options.model)
    probabilities = softmax(scores)
    order = np.argsort(-probabilities, axis=1, kind="stable")[:, : options.top]
    if options.csv:
        _write_csv(options.csv, paths, info.classes, probabilities)
    if options.json:
        rows: list[dict[str, Any]] = [
            {
                "file": str(path),
                "predictions": [{"class": info.classes[k], "probability": float(p[k])} for k in best],
            }
            for path, best, p in zip(paths, order, probabilities, strict=True)
        ]
        print(json.dumps(rows))
        return 0
    names = [printable(str(path)) for path in paths]
    width = max(len("file"), *map(text_width, names))
    print(f"{'file'.ljust(width)}  class")
    for name, best, p in zip(names, order, probabilities, strict=True):
        texts = (f"{printable(info.classes[k])} {p[k]:.1%}" for k in best)
        print(f"{padded(name, width)}  {', '.join(texts)}")
    if options.csv:
        print(f"wrote {options.csv}")
    return 0


def _write_csv(path: str, files: list[Path], classes: tuple[str, ...], probabilities: np.ndarray) -> None:
    """File, class, and the probability of every class."""
    with open(path, "w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "class", *classes])
        for name, p in zip(files, probabilities, strict=True):
            writer.writerow([name, classes[p.argmax()], *(f"{value:.6g}" for value in p)])
