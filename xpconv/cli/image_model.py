"""Models of the command line: they take images in [0, 1], and have the names of their classes."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..arrays import asarray
from ..errors import DataFileError
from ..files import load_model
from ..files.image_info import EARLIER, check_fields, check_outputs
from ..layers import BatchNorm2d, Sequential
from ..layers.layer import Layer

SUFFIX = ".safetensors"  # of models


class ImageInfo(NamedTuple):
    """What a model of the command line expects of an image, and what its classes are called."""

    classes: tuple[str, ...]
    shape: tuple[int, int, int]

    @property
    def mode(self) -> str:
        """Pillow's mode of the images."""
        return "L" if self.shape[0] == 1 else "RGB"

    def attach(self, model: Layer) -> None:
        """Store it in the model, whose file then has it."""
        model.image_info = {name: list(value) for name, value in self._asdict().items()}

    @classmethod
    def of(cls, model: Layer, path: str) -> ImageInfo:
        """That of a model from a file.

        Raises:
            DataFileError: the model has no `image_info`.
        """
        if not hasattr(model, "image_info"):
            raise DataFileError(
                f"{path}: the model has no image_info, the classes and the shape of its images; give a file "
                "that `xpconv train` wrote, or that `xpconv export` made of one, or set it before you export "
                'or save a model: model.image_info = {"classes": ["cat", "dog"], "shape": [3, 224, 224]}'
            )
        info: Any = model.image_info
        return cls(tuple(info["classes"]), tuple(info["shape"]))


def normalized(network: Layer, mean: Sequence[float], std: Sequence[float]) -> Sequential:
    """A model of images in [0, 1]: `network` after a frozen layer that subtracts `mean` and divides by `std`.

    Both have a number for each channel.
    """
    layer = BatchNorm2d(len(mean), eps=1e-12, affine=False)
    layer.running_mean[...] = asarray(mean, "float32")
    layer.running_var[...] = asarray([value * value for value in std], "float32")
    return Sequential({"normalize": layer.requires_grad_(False, eval=True), "network": network})


def checked(path: str, model: Layer) -> Layer:
    """A model from the file `path`, whose `image_info`, if it has one, is right.

    If the file is of an earlier version, the result is a model of images in [0, 1] that contains it.

    Raises:
        DataFileError: (a ValueError) `image_info` is damaged, or does not fit the model.
    """
    if not hasattr(model, "image_info"):
        return model
    info: Any = model.image_info
    check_fields(path, info)
    whole = model
    if set(EARLIER) <= set(info):
        whole = normalized(model, *(info[name] for name in EARLIER)).train(model.training)
        whole.image_info = {name: value for name, value in info.items() if name not in EARLIER}
    check_outputs(path, whole)
    return whole


def open_model(path: str, others: Sequence[str] = ()) -> Layer:
    """The model in a file; `others` are the arguments after it.

    Raises:
        DataFileError: (a ValueError) the file is damaged or no model, or one of the others is the model.
        FileNotFoundError, IsADirectoryError: `path` is no file.
    """
    other = next((name for name in others if name.endswith(SUFFIX) and os.path.isfile(name)), None)
    if other and not path.endswith(SUFFIX):
        raise DataFileError(f"MODEL is {path}, but {other} looks like one: give the model first")
    if os.path.isdir(path):
        raise IsADirectoryError(f"MODEL is {path}, a folder; {_fix(path)}")
    return checked(path, load_model(path) if not path.endswith(".onnx") else _open_onnx(path))


def _fix(folder: str) -> str:
    """What to give in place of a folder, or what to do before."""
    inner = os.path.join(folder, f"model{SUFFIX}")
    if os.path.exists(inner):
        return f"give {inner}"
    if not list(Path(folder, "checkpoints").glob(f"step-*{SUFFIX}")):
        return f"give a {SUFFIX} file"
    try:
        data = str(json.loads(Path(folder, "settings.json").read_text(encoding="utf-8"))["data"])
    except (OSError, ValueError, TypeError, KeyError):
        data = "DATA"
    command = f"xpconv train {shlex.quote(data)} --out {shlex.quote(folder)} --resume"
    return f"its training has not ended; continue it: {command}"


def _open_onnx(path: str) -> Layer:
    """The model in an ONNX file, with the `image_info` that `xpconv export` put there."""
    from ..onnx import load
    from ..onnx.export import metadata_of

    model = load(path)
    text = metadata_of(path).get("image_info")
    if text is not None:
        try:
            model.image_info = json.loads(text)
        except ValueError as error:
            raise DataFileError(f"{path}: the metadata image_info are no JSON: {error}") from error
    return model
