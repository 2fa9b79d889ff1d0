"""The folder of a training run: what is in it, and what a resumed run takes over."""

from __future__ import annotations

import argparse
import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .. import models
from ..arguments import shown
from ..errors import DataFileError
from .images import NAMED, folders_of, option_of

Check = tuple[Callable[[Any], bool], str]
TEXT: Check = (lambda value: isinstance(value, str) and value != "", "a text")
SWITCH: Check = (lambda value: isinstance(value, bool), "true or false")


def _at_least(floor: int) -> Check:
    return lambda value: type(value) is int and value >= floor, f"a whole number, at least {floor}"


def _between(low: float, high: float) -> Check:
    fits = f"a number above {low:g}" + (f" and below {high:g}" if high < math.inf else "")
    return lambda value: type(value) in (int, float) and low < value < high, fits


SETTINGS = {  # of a run, as its file has them
    "data": TEXT, "model": TEXT, "size": _at_least(8), "gray": SWITCH, "skip_damaged": SWITCH,
    "valid": _between(0, 1), "lr": _between(0, math.inf), "epochs": _at_least(1), "batch_size": _at_least(1),
    "no_augment": SWITCH, "seed": _at_least(0),
}  # fmt: skip
OPTIONAL = "size", "gray", "skip_damaged", "valid"  # which may be null
WRITTEN = "checkpoints", "log.csv", "model.safetensors", "report.html"


def make_folder(out: Path, data: str) -> None:
    """Make the folder of the run.

    Raises:
        DataFileError: (a ValueError) it is a file, or among the images.
    """
    around = (out.resolve(), *out.resolve().parents)
    for images in [] if data in NAMED else folders_of(Path(data)):
        if images.resolve() in around:
            raise DataFileError(f"--out {out} is in {images}, whose folders are classes; give one elsewhere")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise DataFileError(f"--out {out} is a file, or is in one; give a folder") from None


def earlier_run(out: Path, resume: bool) -> dict[str, Any]:
    """The settings of the run in `out` that is resumed; empty if a new one begins.

    A run that ended before its first checkpoint is ignored.

    Raises:
        DataFileError: (a ValueError) files there would be replaced, or are damaged.
    """
    path = out / "settings.json"
    there = [name for name in WRITTEN if (out / name).exists()]
    if not path.exists():
        if there:
            raise DataFileError(f"{out} has {there[0]}, but no settings.json of a run; give another --out")
        return {}
    try:
        earlier = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        earlier = None
    if not isinstance(earlier, dict) or not {"data", "model", "seed"} <= set(earlier):
        raise DataFileError(f"{path} is damaged, or not of a run of xpconv; give another --out")
    for name, (fits, expected) in SETTINGS.items():
        value = earlier.get(name)
        if name in earlier and not (fits(value) or (value is None and name in OPTIONAL)):
            raise DataFileError(
                f"{path} is damaged: {name} is {shown(value)}, expected {expected}; restore it, or give "
                "another --out"
            )
    if latest_step(out):
        if resume:
            return earlier
        raise DataFileError(f"{out} has a run already: add --resume to continue it, or give another --out")
    if "model.safetensors" in there:
        raise DataFileError(f"{out} has a model, but no checkpoints to continue from; give another --out")
    return {}


def latest_step(out: Path) -> int:
    """The number of steps of the latest checkpoint; 0 if there is none."""
    names = (path.stem.removeprefix("step-") for path in (out / "checkpoints").glob("step-*.safetensors"))
    return max((int(number) for number in names if number.isdecimal()), default=0)


def take_over(options: argparse.Namespace, out: Path, earlier: dict[str, Any]) -> None:
    """Take over the settings of a run that is resumed.

    Raises:
        DataFileError: (a ValueError) other ones are given than it was begun with; only `epochs` may differ.
    """
    known = [name for name in SETTINGS if name in earlier]
    given = {name: getattr(options, name) for name in known if getattr(options, name) is not None}
    other = [name for name in given if name != "epochs" and not _same(name, given[name], earlier[name])]
    if other:
        texts = [
            f"{'DATA' if name == 'data' else option_of(name)} {_or_none(earlier[name])} (now {given[name]})"
            for name in other
        ]
        raise DataFileError(f"{out} was begun with {', '.join(texts)}; resume with the same")
    for name in known:
        if name not in given:
            setattr(options, name, earlier[name])


def _same(name: str, one: Any, other: Any) -> bool:
    """Whether two values of a setting mean the same, such as `photos` and `photos/`."""
    names = NAMED if name == "data" else models.__dict__["__all__"]
    if name in ("data", "model") and isinstance(other, str) and not {one, other} & set(names):
        return bool(os.path.realpath(one) == os.path.realpath(other))
    return bool(one == other)


def _or_none(value: Any) -> Any:
    return "not given" if value in (None, False) else value


def check_same_data(out: Path, earlier: dict[str, Any], now: dict[str, Any]) -> None:
    """An error if a run would continue with other data."""
    other = [name for name in now if name in earlier and earlier[name] != now[name]]
    if other:
        raise DataFileError(
            f"{out} was begun with other data: its {other[0]} were {earlier[other[0]]!s:.200}, now they are "
            f"{now[other[0]]!s:.200}; restore the data, or give another --out"
        )
