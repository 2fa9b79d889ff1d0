"""`image_info`, the attribute of a model that says what its images and classes are."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

from ..arguments import shown
from ..backend import Array, get_xp
from ..errors import DataFileError, LayerError
from ..layers.costs import twin
from ..layers.layer import Layer
from ..tape import no_grad

FIELDS = "classes", "shape"
EARLIER = "mean", "std"  # which `image_info` had of models that took normalised images
MOST = 2**28  # numbers in an image


def check_fields(path: str, info: Any) -> None:
    """Check the `image_info` of a model from a file, also one of an earlier version.

    Raises:
        DataFileError: (a ValueError) it is damaged.
    """
    where = f"{path}: the model's image_info"
    if not isinstance(info, dict):
        raise DataFileError(f"{where} is {shown(info)}, expected an object with {', '.join(FIELDS)}")
    fields = (*FIELDS, *(EARLIER if set(EARLIER) & set(info) else ()))
    if set(info) != set(fields):
        raise DataFileError(
            f"{where} has {', '.join(map(str, info)) or 'nothing'}, expected {', '.join(fields)}"
        )
    classes, shape = info["classes"], info["shape"]
    if not isinstance(classes, list | tuple) or not all(isinstance(name, str) and name for name in classes):
        raise DataFileError(f"{where}: classes is {shown(classes)}, expected a list of their names")
    if not classes or len(set(classes)) < len(classes):
        raise DataFileError(f"{where}: classes is {shown(classes)}, expected different names")
    if (
        not isinstance(shape, list | tuple)
        or len(shape) != 3
        or not all(type(n) is int and n > 0 for n in shape)
    ):
        raise DataFileError(f"{where}: shape is {shown(shape)}, expected three sizes, [C, H, W]")
    if shape[0] not in (1, 3) or math.prod(shape) > MOST:
        raise DataFileError(
            f"{where}: shape is {shown(shape)}, expected 1 or 3 channels and at most {MOST:,} numbers"
        )
    for name in fields[len(FIELDS) :]:
        _check_numbers(f"{where}: {name}", info[name], shape[0], name == "std")


def _check_numbers(where: str, values: Any, count: int, positive: bool) -> None:
    fine = isinstance(values, list | tuple) and len(values) == count
    if not fine or not all(_is_number(value) and (value > 0 or not positive) for value in values):
        kind = "numbers above 0" if positive else "numbers"
        raise DataFileError(f"{where} is {shown(values)}, expected {count} {kind}, one for each channel")


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < 1e18


def check_outputs(path: str, model: Layer) -> None:
    """Try one image with a model whose `image_info` has passed `check_fields`.

    Raises:
        DataFileError: (a ValueError) the model does not take images of that shape, or gives another number of
            scores than there are classes.
    """
    info: Any = model.image_info
    x = get_xp().zeros((1, *info["shape"]), dtype="float32")
    try:
        with no_grad():
            y: Any = twin(model).eval()(x)
    except (LayerError, ValueError, TypeError) as error:
        raise DataFileError(
            f"{path}: the model's image_info: shape is {info['shape']}, which its layers do not take: {error}"
        ) from error
    found = f"an array of shape {y.shape}" if hasattr(y, "shape") else f"{len(y)} arrays"
    if getattr(y, "shape", None) != (1, len(info["classes"])):
        raise DataFileError(
            f"{path}: the model's image_info: classes has {len(info['classes'])} names, but its layers give "
            f"{found} for one image"
        )


def image_info_text(
    where: str, model: Layer, inputs: Sequence[Array], outputs: Sequence[Array]
) -> str | None:
    """The `image_info` of a model as JSON, with the shape of the images in `inputs`; None if it has none.

    Args:
        where: the beginning of errors.
        inputs, outputs: batches that the model takes, and what it gives for them.

    Raises:
        DataFileError: (a ValueError) it is damaged, or is not that of a model with such inputs and outputs.
    """
    info = getattr(model, "image_info", None)
    if info is None:
        return None
    check_fields(where, info)
    info = {**info, "shape": list(inputs[0].shape[1:])}
    fix = (
        f"set model.image_info = {{'classes': [...], 'shape': {info['shape']}}}, or delete it: "
        "del model.image_info"
    )
    if len(inputs) > 1 or len(outputs) > 1 or inputs[0].ndim != 4:
        raise DataFileError(
            f"{where}: the model's image_info is for one batch of images and their scores, but the model has "
            f"inputs of shape {_shapes(inputs)} and outputs of shape {_shapes(outputs)}; {fix}"
        )
    if outputs[0].shape[1:] != (len(info["classes"]),):
        raise DataFileError(
            f"{where}: the model's image_info: classes has {len(info['classes'])} names, but the model gives "
            f"an array of shape {tuple(outputs[0].shape[1:])} for each image; {fix}"
        )
    check_fields(where, info)
    return json.dumps(info)


def _shapes(arrays: Sequence[Array]) -> str:
    return " and ".join(str(("N", *x.shape[1:])).replace("'", "") for x in arrays)
