"""`xpconv train`: images → model, report, log and checkpoints."""

from __future__ import annotations

import argparse
import csv
import json
import math
import os
import shlex
import sys
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from .. import models
from ..data import batches, channel_mean_std
from ..distributed import Communicator
from ..errors import DataFileError, ShapeError
from ..files import load_model, save_model
from ..files.atomic import write_atomically
from ..layers.layer import Layer
from ..losses import SoftmaxCrossEntropyLoss
from ..optim import Adam, LambdaLR
from ..random import manual_seed
from ..tape import no_grad
from ..train import Checkpoint, CSVLogger, EarlyStopping, History, TerminateOnNaN, fit
from .evaluate import Scores, finite_or_none, score
from .image_model import ImageInfo, checked, normalized
from .images import (
    SHARE,
    Images,
    check_data_options,
    left_out,
    open_images,
    training_transform,
)  # fmt: skip
from .report import write_report
from .resume import SETTINGS, check_same_data, earlier_run, latest_step, make_folder, take_over

DEFAULTS: dict[str, Any] = {
    "model": "small_cnn",
    "gray": False,
    "skip_damaged": False,
    "lr": 3e-3,
    "no_augment": False,
    "seed": 0,
}
STEPS = 200  # by default, at least
FEW = 50  # of which the user is warned
GOES_ON = "; the same command with --resume continues the run"


def train(options: argparse.Namespace) -> int:
    """Run the command."""
    try:
        return _train(options)
    except KeyboardInterrupt:
        if not (options.out and latest_step(Path(options.out))):
            raise
        print(f"\nxpconv: interrupted{GOES_ON}", file=sys.stderr)
        return 130


def _train(options: argparse.Namespace) -> int:
    out = Path(options.out) if options.out else None
    first = Communicator().rank == 0  # of several processes, under mpiexec; it alone prints and writes
    earlier: dict[str, Any] = {}
    if out:
        make_folder(out, options.data)
        earlier = earlier_run(out, options.resume)
        take_over(options, out, earlier)
    check_data_options(options)
    for name, value in DEFAULTS.items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    images = open_images(
        options.data, data_dir=options.data_dir, size=options.size, gray=options.gray,
        valid=options.valid or SHARE, seed=options.seed, skip=options.skip_damaged,
    )  # fmt: skip
    data = {
        "classes": list(images.classes), "images": [len(images.train_targets), len(images.valid_targets)]
    }  # fmt: skip
    if out:
        check_same_data(out, earlier, data)
    _set_lengths(options, len(images.train_targets), latest_step(out) if out else 0)
    manual_seed(options.seed)
    model, info = make_model(options.model, images)
    say = (lambda text: None) if options.json or not first else print
    say(
        f"{len(images.train_targets):,} images {images.shape} of {len(images.classes)} classes to train on, "
        f"{len(images.valid_targets):,} to validate{left_out(images.skipped)}\n{options.model}: "
        f"{sum(p.size for p in model.parameters()):,} parameters, batches of {options.batch_size}, "
        f"{_counted(options.epochs, 'epoch')}"
    )
    settings = {name: getattr(options, name) for name in SETTINGS}
    if out and first:
        text = json.dumps({**settings, **data}, indent=1) + "\n"
        write_atomically(str(out / "settings.json"), [text.encode()])
    history, scores = run(model, images, options, out)
    result: dict[str, Any] = {
        "epochs": len(history), "interrupted": history.interrupted, "loss": finite_or_none(scores.loss),
        "accuracy": scores.accuracy, "best_epoch": best_epoch(history),
    }  # fmt: skip
    say(
        f"accuracy on the {len(scores.targets):,} validation images: {scores.accuracy:.2%}, "
        f"with the weights of {weights_of(history)}"
    )
    if not first:
        return _status(options, history)
    if out:
        info.attach(model)
        files = {"model": out / "model.safetensors", "report": out / "report.html"}
        save_model(model.eval(), files["model"])
        write_report(files["report"], _shown(settings, images), model, history, scores, images)
        result.update({name: str(path) for name, path in files.items()})
        say(f"wrote {files['model']} and {files['report']}")
        say(f"to use the model: xpconv predict {shlex.quote(str(files['model']))} IMAGE")
    else:
        say("nothing was saved: give --out DIR for a model and a report")
    if options.json:
        print(json.dumps(result))
    return _status(options, history)


def _status(options: argparse.Namespace, history: History) -> int:
    """The exit status; says on standard error why a run ended early."""
    if history.stopped and not history.interrupted:
        more = " and another --out" if options.out else ""
        print(f"xpconv: training stopped in {history.stopped}; give a lower --lr{more}", file=sys.stderr)
        return 1
    if history.interrupted:
        after = f"{len(history)} of {_counted(options.epochs, 'epoch')}"
        print(f"xpconv: interrupted after {after}{GOES_ON if options.out else ''}", file=sys.stderr)
        return 130
    return 0


def _set_lengths(options: argparse.Namespace, count: int, done: int = 0) -> None:
    """Batch size and number of epochs, where they are not given, so that few images make enough steps too.

    Raises:
        DataFileError: (a ValueError) more steps have been `done` before.
    """
    if options.batch_size is None:
        options.batch_size = next((size for size in (64, 32, 16) if count >= 10 * size), 8)
    size = options.batch_size
    steps = count // size if _drops_last(count, size) else -(-count // size)
    if options.epochs is None:
        options.epochs = max(10, -(-STEPS // steps))
    if steps * options.epochs < done:
        epochs = -(-done // steps)
        raise DataFileError(f"{options.out} has a run of {epochs} epochs; give --epochs {epochs} or more")
    if steps * options.epochs < FEW:
        print(
            f"xpconv: the model learns in {_counted(steps * options.epochs, 'step')} only, {steps} an epoch; "
            "give more --epochs, or a smaller --batch-size",
            file=sys.stderr,
        )


def _drops_last(count: int, size: int) -> bool:
    """Whether the last batch of an epoch has one image, of which some BatchNorm has no variance."""
    return count % size == 1 < count and size > 1


def _counted(count: int, thing: str) -> str:
    return f"{count:,} {thing}{'s' * (count != 1)}"


def _shown(settings: dict[str, Any], images: Images) -> dict[str, Any]:
    """The settings as the report shows them: with what stands for those that were not given."""
    height, width = images.shape[1:]
    return {
        **settings,
        "size": settings["size"] or f"{height} × {width}, as they are",
        "valid": (settings["valid"] or SHARE) if images.divided else "images of their own",
    }


def run(
    model: Layer, images: Images, options: argparse.Namespace, out: Path | None
) -> tuple[History, Scores]:
    """Train, and restore the best epoch's weights; the history, and the scores of the validation images."""
    count, size = len(images.train_targets), options.batch_size
    data = batches(
        *images.train, batch_size=size, shuffle=True, seed=options.seed,
        drop_last=_drops_last(count, size),
        transform=training_transform(images, not options.no_augment), workers=options.workers,
    )  # fmt: skip
    valid = batches(*images.valid, batch_size=options.batch_size, workers=options.workers)
    total = len(data) * options.epochs
    optimizer = Adam(model.parameters(), lr=options.lr)
    schedule = LambdaLR(optimizer, lambda step: one_cycle(step / total))
    best = EarlyStopping("valid_loss", patience=options.epochs + 1)  # it never stops, but restores
    files = [CSVLogger(out / "log.csv"), Checkpoint(out / "checkpoints")] if out else []
    loss = SoftmaxCrossEntropyLoss()
    with warnings.catch_warnings():
        # `train` says so
        warnings.filterwarnings("ignore", "fit: (stopped in|valid_loss is)", RuntimeWarning)
        history = fit(
            model, loss, optimizer, data, valid, epochs=options.epochs, metrics=["accuracy"],
            schedule=schedule, schedule_per="step", callbacks=[TerminateOnNaN(), best, *files],
            resume=out / "checkpoints" if out and options.resume else None, verbose=not options.json,
        )  # fmt: skip
    if out and (out / "log.csv").exists():
        _add_seconds(history, out / "log.csv")
    return history, score(model, valid, images.valid_targets, images.classes)


def _add_seconds(history: History, log: Path) -> None:
    """Take the times of epochs before a resumption, which checkpoints do not have, from the log."""
    with log.open(newline="", encoding="utf-8", errors="replace") as file:
        logged = {row.get("epoch"): row.get("seconds") for row in csv.DictReader(file)}
    for i, seconds in enumerate(history.seconds):
        text = logged.get(str(i + 1))
        if seconds is None and text:
            with suppress(ValueError):  # of a file that was changed
                history.seconds[i] = float(text)


def best_epoch(history: History) -> int | None:
    """The epoch whose weights the model has at the end: that with the lowest validation loss, if any."""
    return history.best("valid_loss") if len(history) else None


def weights_of(history: History) -> str:
    """`best_epoch` in words."""
    epoch = best_epoch(history)
    return "the last step" if epoch is None else f"epoch {epoch}, which has the lowest validation loss"


def one_cycle(progress: float) -> float:
    """The share of the largest rate: up from 0.04 in the first 0.3 of the run, then down to 0, by cosines."""
    if progress < 0.3:
        return 1 - 0.96 * (1 + math.cos(math.pi * progress / 0.3)) / 2
    return (1 + math.cos(math.pi * (progress - 0.3) / 0.7)) / 2


def make_model(name: str, images: Images) -> tuple[Layer, ImageInfo]:
    """A new model of `xpconv.models`, or the one in a file, and what it expects of images.

    Raises:
        DataFileError: there is no such model, or that of the file has other classes or images.
        ShapeError: (a ValueError) the model does not take such images.
    """
    known = sorted(models.__dict__["__all__"])
    if name not in known and os.path.exists(name):
        model = checked(name, load_model(name))
        info = ImageInfo.of(model, name)
        if (info.classes, info.shape) != (images.classes, images.shape):
            raise DataFileError(
                f"{name}: the model has images {info.shape} of {len(info.classes)} classes, "
                f"{', '.join(info.classes[:5])}, …; the data have {images.shape} of {len(images.classes)}, "
                f"{', '.join(images.classes[:5])}, …"
            )
        return model, info
    if name not in known:
        raise DataFileError(
            f"--model is {name!r}: there is no such file, and the models by name are {', '.join(known)}"
        )
    mean, std = channel_mean_std(images.train[0])
    std = np.where(std > 0, std, 1)
    info = ImageInfo(images.classes, images.shape)
    count = len(images.classes)
    channels, *sides = images.shape
    more = {"in_channels": channels, "size": min(sides)} if name == "small_cnn" else {}
    if name == "lenet5":
        more = {"in_channels": channels}
    network = getattr(models, name)(num_classes=count, **more)
    model = normalized(network, list(map(float, mean)), list(map(float, std)))
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
