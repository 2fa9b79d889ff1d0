"""`xpconv train`: images → model, report, log and checkpoints."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

from .. import models
from ..arrays import asnumpy
from ..data import batches, channel_mean_std
from ..errors import DataFileError, ShapeError
from ..files import load_model, save_model
from ..layers.layer import Layer
from ..losses import SoftmaxCrossEntropyLoss
from ..optim import Adam, OneCycleLR
from ..random import manual_seed
from ..tape import no_grad
from ..train import Checkpoint, CSVLogger, History, fit
from .evaluate import Scores, score
from .images import ImageInfo, Images, open_images, training_transform
from .report import write_report

SETTINGS = ("data", "model", "size", "gray", "valid", "lr", "epochs", "batch_size", "no_augment", "seed")


def train(options: argparse.Namespace) -> int:
    """Run the command."""
    out = Path(options.out) if options.out else None
    settings = {name: getattr(options, name) for name in SETTINGS}
    if out:
        out.mkdir(parents=True, exist_ok=True)
        _check_settings(out / "settings.json", settings, options.resume)
    images = open_images(
        options.data, data_dir=options.data_dir, size=options.size, gray=options.gray,
        valid=options.valid, seed=options.seed, skip=options.skip_damaged,
    )  # fmt: skip
    manual_seed(options.seed)
    model, info = make_model(options.model, images)
    say = (lambda text: None) if options.json else print
    count = images.skipped
    skipped = f", {count} damaged file{'s' * (count > 1)} left out" if count else ""
    say(
        f"{len(images.train_targets):,} images {images.shape} of {len(images.classes)} classes to train on, "
        f"{len(images.valid_targets):,} to validate{skipped}\n{options.model}: "
        f"{sum(p.size for p in model.parameters()):,} parameters"
    )
    if out:
        (out / "settings.json").write_text(json.dumps(settings, indent=1) + "\n")
    history, scores = run(model, info, images, options, out)
    result: dict[str, Any] = {
        "epochs": len(history), "interrupted": history.interrupted, "loss": scores.loss,
        "accuracy": scores.accuracy,
    }  # fmt: skip
    say(f"accuracy on the {len(scores.targets):,} validation images: {scores.accuracy:.2%}")
    if out:
        info.attach(model)
        files = {"model": out / "model.safetensors", "report": out / "report.html"}
        save_model(model.eval(), files["model"])
        write_report(files["report"], settings, model, history, scores, _images_of(images, scores))
        result.update({name: str(path) for name, path in files.items()})
        say(f"wrote {files['model']} and {files['report']}")
        say(f"to use the model: xpconv predict {files['model']} IMAGE")
    if options.json:
        print(json.dumps(result))
    if history.interrupted:
        more = "; the same command with --resume goes on" if out else ""
        print(f"xpconv: interrupted after {len(history)} of {options.epochs} epochs{more}", file=sys.stderr)
        return 130
    return 0


def run(
    model: Layer, info: ImageInfo, images: Images, options: argparse.Namespace, out: Path | None
) -> tuple[History, Scores]:
    """Train; the history, and the scores of the validation images."""
    data = batches(
        *images.train, batch_size=options.batch_size, shuffle=True, seed=options.seed,
        transform=training_transform(images, info, not options.no_augment), workers=options.workers,
    )  # fmt: skip
    valid = batches(
        *images.valid, batch_size=options.batch_size, transform=info.normalize, workers=options.workers
    )
    optimizer = Adam(model.parameters(), lr=options.lr)
    schedule = OneCycleLR(optimizer, options.lr, total_steps=len(data) * options.epochs)
    callbacks = [CSVLogger(out / "log.csv"), Checkpoint(out / "checkpoints")] if out else []
    loss = SoftmaxCrossEntropyLoss()
    history = fit(
        model, loss, optimizer, data, valid, epochs=options.epochs, metrics=["accuracy"], schedule=schedule,
        callbacks=callbacks, resume=out / "checkpoints" if out and options.resume else None,
        verbose=not options.json,
    )  # fmt: skip
    return history, score(model, valid, images.valid_targets, images.classes)


def make_model(name: str, images: Images) -> tuple[Layer, ImageInfo]:
    """A new model of `xpconv.models`, or the one in a file, and what it expects of images.

    Raises:
        DataFileError: there is no such model, or that of the file has other classes or images.
        ShapeError: (a ValueError) the model does not take such images.
    """
    if os.path.exists(name):
        model = load_model(name)
        info = ImageInfo.of(model, name)
        if (info.classes, info.shape) != (images.classes, images.shape):
            raise DataFileError(
                f"{name}: the model has images {info.shape} of {len(info.classes)} classes, "
                f"{', '.join(info.classes[:5])}, …; the data have {images.shape} of {len(images.classes)}, "
                f"{', '.join(images.classes[:5])}, …"
            )
        return model, info
    known = sorted(models.__dict__["__all__"])
    if name not in known:
        raise DataFileError(
            f"--model is {name!r}: there is no such file, and the models by name are {', '.join(known)}"
        )
    mean, std = channel_mean_std(images.train[0])
    std = np.where(std > 0, std, 1)
    info = ImageInfo(images.classes, images.shape, tuple(map(float, mean)), tuple(map(float, std)))
    count = len(images.classes)
    channels, *sides = images.shape
    more = {"in_channels": channels, "size": min(sides)} if name == "small_cnn" else {}
    if name == "lenet5":
        more = {"in_channels": channels}
    model = getattr(models, name)(num_classes=count, **more)
    _check_model(name, model, info)
    return model, info


def _check_model(name: str, model: Layer, info: ImageInfo) -> None:
    """Try one image."""
    from ..backend import get_xp

    x = get_xp().zeros((1, *info.shape), dtype="float32")
    try:
        with no_grad():
            shape = model.eval()(x).shape
    except ShapeError as error:
        raise ShapeError(
            f"--model {name} does not take images of {info.shape}: {error}. Try --size or --model small_cnn"
        ) from None
    if shape != (1, len(info.classes)):
        raise ShapeError(
            f"--model {name} is no classifier: its output has shape {shape}, "
            f"expected {(1, len(info.classes))}"
        )
    model.train()


def _check_settings(path: Path, settings: dict[str, Any], resume: bool) -> None:
    """An error if a run goes on with other settings, or would replace another run."""
    if not path.exists():
        return
    if not resume:
        raise DataFileError(
            f"{path.parent} has a run already: add --resume to go on with it, or give another --out"
        )
    before = json.loads(path.read_text())
    other = [name for name in settings if before.get(name) != settings[name]]
    if other:
        texts = [f"--{name.replace('_', '-')} {before.get(name)} (now {settings[name]})" for name in other]
        raise DataFileError(f"{path.parent} was begun with {', '.join(texts)}; resume with the same")


def _images_of(images: Images, scores: Scores) -> Any:
    """The validation images that the report shows, by index."""
    source = images.valid

    def get(indices: list[int]) -> np.ndarray:
        if len(source) == 1:
            return np.stack([source[0][i][0] for i in indices])
        return asnumpy(source[0])[indices]

    return get
