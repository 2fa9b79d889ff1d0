"""Arrays of a file, read only after their sizes have been compared with their data."""

from __future__ import annotations

import os
from collections import Counter
from math import prod
from typing import Any, NamedTuple

import numpy as np

from ..errors import DataFileError
from .library import helper, numpy_helper, onnx
from .node import MOST_AXES

# The field of a TensorProto that has the values of each dtype, if `raw_data` has not.
SHORT = ("INT32", "INT16", "INT8", "UINT16", "UINT8", "BOOL", "FLOAT16", "BFLOAT16")
FIELDS = {"FLOAT": "float_data", "DOUBLE": "double_data", "INT64": "int64_data"}
FIELDS |= dict.fromkeys(("UINT32", "UINT64"), "uint64_data") | dict.fromkeys(SHORT, "int32_data")


class Stored(NamedTuple):
    """What a file says of an array."""

    tensor: Any
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def is_float(self) -> bool:
        """Whether the numbers are floating, bfloat16 included."""
        return self.dtype.kind == "f" or self.dtype.name == "bfloat16"


class Tensors:
    """The reader of the arrays of a file; external data must be in `folder` or below it."""

    where: str
    folder: str

    def __init__(self, where: str, folder: str) -> None:
        self.where, self.folder = where, os.path.realpath(folder)
        self._left: Counter[str] = Counter()  # bytes of each external file that no array has used

    def stored(self, tensor: Any, what: str) -> Stored:
        """Shape and dtype of a `TensorProto`, if its data have that size; reads no data.

        Raises:
            DataFileError: the sizes do not fit, or external data is out of bounds.
        """
        what = f"{self.where}: {what}"
        shape, kind = tuple(tensor.dims), tensor.data_type
        if len(shape) > MOST_AXES or any(n < 0 for n in shape):
            raise DataFileError(f"{what} has the shape {str(shape)[:80]}")
        name = (
            onnx.TensorProto.DataType.Name(kind) if kind in onnx.TensorProto.DataType.values() else str(kind)
        )
        if name not in FIELDS:
            raise DataFileError(f"{what} is of type {name}, expected one of {', '.join(FIELDS)}")
        dtype = np.dtype(helper.tensor_dtype_to_np_dtype(kind))
        size = prod(shape)
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            given, expected, unit = (
                self._external(tensor, what, size * dtype.itemsize)[2],
                size * dtype.itemsize,
                "bytes",
            )
        elif tensor.HasField("raw_data"):
            given, expected, unit = len(tensor.raw_data), size * dtype.itemsize, "bytes"
        else:
            given, expected, unit = len(getattr(tensor, FIELDS[name])), size, "numbers"
        if given != expected:
            raise DataFileError(f"{what} has {given:,} {unit}, expected {expected:,} for the shape {shape}")
        return Stored(tensor, shape, dtype)

    def read(self, stored: Stored, what: str) -> np.ndarray:
        """The array, which is read-only."""
        tensor, shape, dtype = stored
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            path, offset, length = self._external(
                tensor, f"{self.where}: {what}", prod(shape) * dtype.itemsize
            )
            self._left.setdefault(path, os.path.getsize(path))
            self._left[path] -= length
            if self._left[path] < 0:
                raise DataFileError(
                    f"{self.where}: {what}: its external data is that of other arrays as well"
                )
            with open(path, "rb") as file:
                file.seek(offset)
                data = file.read(length)
            if len(data) != length:
                raise DataFileError(f"{self.where}: {what}: {path!r} ends before its data")
            array = np.frombuffer(data, dtype.newbyteorder("<")).astype(dtype, copy=False).reshape(shape)
        else:
            try:
                array = np.array(numpy_helper.to_array(tensor))
            except (ValueError, TypeError, OverflowError) as error:
                raise DataFileError(f"{self.where}: {what}: {error}") from error
        array.flags.writeable = False
        return array

    def _external(self, tensor: Any, what: str, size: int) -> tuple[str, int, int]:
        """Path, offset and length of external data, which must be a file in the model's folder."""
        entries = {entry.key: entry.value for entry in tensor.external_data}
        location = entries.get("location", "")
        path = os.path.realpath(
            os.path.join(self.folder, location.replace("\0", ""))
        )  # without symbolic links
        inside = path.startswith(os.path.join(self.folder, "")) and not os.path.isabs(location)
        if not inside or "\0" in location:
            raise DataFileError(
                f"{what}: its data is in {location!r:.200}, which is not a file in the model's folder"
            )
        if not os.path.isfile(path):
            raise DataFileError(f"{what}: its data is in {location!r:.200}, a file that is not there")
        try:
            offset, length = int(entries.get("offset", 0)), int(entries.get("length", size))
        except ValueError:
            raise DataFileError(f"{what}: offset or length of its external data is no number") from None
        if offset < 0 or length < 0 or offset + length > os.path.getsize(path):
            raise DataFileError(
                f"{what}: its data is at {offset:,}, of {length:,} bytes, beyond the end of {location!r:.200}"
            )
        return path, offset, length
