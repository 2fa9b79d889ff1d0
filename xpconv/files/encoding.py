"""Nested values as JSON, with their arrays apart: what files hold of state dicts and other values.

JSON's own types are written as they are. What it lacks is an object with one key that begins with `$`:
`{"$array": name}`, `{"$scalar": name}` (NumPy's), `{"$tuple": […]}`, `{"$dict": [[key, value], …]}` (a dict
with other keys than strings, or with such a key) and `{"$float": "nan"}`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..arguments import shown
from ..arrays import asarray, asnumpy
from ..backend import Array, backend_of
from ..errors import BackendError, DataFileError
from ..parameter import Parameter

DEEPEST = 64  # levels of nesting
LONGEST_INT = 8192  # bits; Python's JSON refuses integers of more than 4300 digits
PLAIN = (
    "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
    "float16", "float32", "float64", "bfloat16",
)  # fmt: skip
FLOATS = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}
EXPECTED = "expected an array of numbers, or None, bool, int, float, str, or a list, tuple or dict of these"


class Encoder:
    """Encodes values for one file, and collects their arrays by name; `where` begins the errors.

    An array that occurs more than once is stored once.
    """

    def __init__(self, where: str) -> None:
        self.arrays: dict[str, np.ndarray] = {}
        self._where = where
        self._names: dict[int, tuple[str, Any]] = {}  # of arrays by id; holding them keeps the ids valid

    def encode(self, name: str, value: Any, depth: int = 0) -> Any:
        """`value` in JSON's types; `name` is its place, by which errors and the file call it."""
        if depth > DEEPEST:
            raise ValueError(
                f"{self._where}: {name:.100}… is nested deeper than {DEEPEST} levels, or in itself"
            )
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, np.generic) and not isinstance(value, str):
            return {"$scalar": self.add(name, np.asarray(value))}
        if isinstance(value, str):
            return str.__str__(value)
        if isinstance(value, int):
            if value.bit_length() > LONGEST_INT:
                raise ValueError(
                    f"{self._where}: {name} is an int of {value.bit_length():,} bits, expected at most "
                    f"{LONGEST_INT:,}; save it as text, such as hex(value)"
                )
            return int(value)
        if isinstance(value, float):
            return float(value) if math.isfinite(value) else {"$float": str(float(value))}
        if isinstance(value, list | tuple):
            items = [self.encode(f"{name}.{i}", item, depth + 1) for i, item in enumerate(value)]
            return items if isinstance(value, list) else {"$tuple": items}
        if isinstance(value, Mapping):
            return self._mapping(name, value, depth)
        return self._array(name, value)

    def _mapping(self, name: str, value: Mapping[Any, Any], depth: int) -> Any:
        items = [(key, self.encode(f"{name}.{key}", item, depth + 1)) for key, item in value.items()]
        if all(type(key) is str and not key.startswith("$") for key, _ in items):
            return dict(items)
        return {"$dict": [[self.encode(f"{name}: a key", key, depth + 1), item] for key, item in items]}

    def _array(self, name: str, value: Any) -> dict[str, Any]:
        array = value.data if isinstance(value, Parameter) else value
        try:
            owner = backend_of(array)
        except BackendError as error:
            why = f"; {error}" if hasattr(value, "shape") else ""
            if hasattr(value, "state_dict"):
                why = "; an object needs both state_dict and load_state_dict, and is saved under its own name"
            raise TypeError(
                f"{self._where}: {name} is {shown(value)} ({type(value).__name__}), {EXPECTED}{why}"
            ) from None
        if id(array) not in self._names:
            self._names[id(array)] = self.add(name, asnumpy(array)), array
        stored = {"$array": self._names[id(array)][0]}
        return stored if owner.name == "numpy" else {**stored, "$device": True}

    def add(self, name: str, array: np.ndarray) -> str:
        """Store an array under `name`, or one like it if that is taken; returns the name."""
        if array.dtype.name not in PLAIN:
            raise TypeError(
                f"{self._where}: {name} is an array of {array.dtype}, expected one of real numbers"
            )
        unique = name = name.encode(errors="replace").decode()
        number = 1
        while unique in self.arrays or unique == "__metadata__":
            number += 1
            unique = f"{name}~{number}"
        self.arrays[unique] = np.array(array, array.dtype.newbyteorder("="), copy=None, order="C")
        return unique


class Decoder:
    """Turns what `Encoder` made into values again; errors begin with `where`."""

    def __init__(self, where: str, arrays: Mapping[str, np.ndarray]) -> None:
        self._where = where
        self._host, self._device = arrays, dict[str, Array]()
        self._kinds: dict[str, Callable[[Any, int], Any]] = {
            "$array": lambda name, _: self._array(name),
            "$scalar": lambda name, _: self._scalar(name),
            "$tuple": lambda items, depth: tuple(self._items(items, depth)),
            "$dict": self._pairs,
            "$float": lambda text, _: FLOATS[text],
        }

    def decode(self, value: Any, depth: int = 0) -> Any:
        """The value; a DataFileError if it is none that `Encoder` makes."""
        if depth > 2 * DEEPEST:
            raise DataFileError(f"{self._where} has values nested deeper than {DEEPEST} levels")
        if isinstance(value, list):
            return self._items(value, depth)
        if not isinstance(value, dict):
            return value
        kinds = [key for key in value if key.startswith("$")]
        if not kinds:
            return {key: self.decode(item, depth + 1) for key, item in value.items()}
        on_device = kinds[0] == "$array" and len(value) == 2 and value.get("$device") is True
        if kinds[0] not in self._kinds or not (len(value) == 1 or on_device):
            raise DataFileError(f"{self._where} has a value with the keys {shown(list(value))}")
        try:
            found = self._kinds[kinds[0]](value[kinds[0]], depth)
        except (KeyError, TypeError, ValueError) as error:
            if isinstance(error, DataFileError):
                raise
            raise DataFileError(f"{self._where} has a wrong value {shown(value)}: {error!r}") from error
        return self._on_device(value["$array"], found) if on_device else found

    def _items(self, items: Any, depth: int) -> list[Any]:
        if not isinstance(items, list):
            raise TypeError("expected a list")
        return [self.decode(item, depth + 1) for item in items]

    def _pairs(self, items: Any, depth: int) -> dict[Any, Any]:
        return dict(self._items(items, depth))

    def _array(self, name: Any) -> np.ndarray:
        return self._host[name]

    def _scalar(self, name: Any) -> Any:
        array = self._host[name]
        if array.shape != ():
            raise ValueError(f"its shape is {array.shape}")
        return array[()]

    def _on_device(self, name: str, array: np.ndarray) -> Array:
        """An array that was on a device when it was saved, on the active backend."""
        if name not in self._device:
            self._device[name] = asarray(array)
        return self._device[name]
