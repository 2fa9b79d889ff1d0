"""Checks of `image_info`, the attribute of a model that says what its images and classes are."""

from __future__ import annotations

import math
from typing import Any

from ..arguments import shown
from ..backend import get_xp
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
