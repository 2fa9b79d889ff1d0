"""The state of estimators in pickles: arrays on a GPU become NumPy arrays, to be loaded without a GPU."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from ..arrays import asnumpy
from ..backend import is_array_type
from ..layers import Layer


def on_host(value: Any) -> Any:
    """`value`, or if it has arrays of another backend a copy with NumPy arrays.

    This also converts the contents of dicts, lists, tuples and layers, and attributes of xpconv's other
    objects.
    """
    if isinstance(value, Layer):
        there = any(foreign(array) for array in value._state().values())
        return copy.deepcopy(value).to("numpy") if there else value
    if type(value) is dict:
        return {key: on_host(part) for key, part in value.items()}
    if type(value) in (list, tuple):
        return type(value)(map(on_host, value))
    if foreign(value):
        return asnumpy(value)
    if type(value).__module__.startswith("xpconv.") and hasattr(value, "__dict__"):
        return attributes_on_host(value)
    return value


def attributes_on_host(thing: Any) -> Any:
    """A copy of `thing` with its attributes on the host."""
    other = copy.copy(thing)
    vars(other).update({name: on_host(part) for name, part in vars(thing).items()})
    return other


def foreign(value: Any) -> bool:
    """Whether it is an array of another backend than NumPy."""
    return is_array_type(type(value)) and type(value) is not np.ndarray and not isinstance(value, np.generic)
