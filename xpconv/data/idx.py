"""The IDX file format, that of MNIST and similar data sets.

    00 00 | type code | rank | size of each axis (4 bytes each) | values, last axis fastest

All numbers are big-endian; the whole may be gzipped.
"""

from __future__ import annotations

import gzip
import math
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from ..arguments import shown
from ..errors import DataFileError

__all__ = ["load_idx"]

_DTYPES = {0x08: "uint8", 0x09: "int8", 0x0B: "int16", 0x0C: "int32", 0x0D: "float32", 0x0E: "float64"}
PART = 1 << 20  # bytes that are read at once
LARGE = 1 << 28  # bytes above which the unpacked size is limited:
MOST_TIMES = 100  # the most that unpacking may multiply its size by (MNIST: 5)


def load_idx(path: str | os.PathLike[str]) -> np.ndarray:
    """Read an IDX file, plain or gzipped (decided by its first bytes, not by its name).

    Args:
        path: the file.

    Returns:
        A writable NumPy array, on the host, with the shape and type that the file states (`uint8`,
        `int8`, `int16`, `int32`, `float32` or `float64`, in native byte order).

    Raises:
        TypeError: `path` is not a path.
        FileNotFoundError: the file does not exist.
        OSError: the file cannot be read.
        DataFileError: (a ValueError) the file is not IDX, is cut short, too long or damaged; or it
            unpacks to more than 256 MB and a hundred times its size.

    Source:
        The format is described at http://yann.lecun.com/exdb/mnist/.

    Example:
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> from xpconv.data import load_idx
        >>> with TemporaryDirectory() as folder:
        ...     path = Path(folder) / "three-bytes"
        ...     _ = path.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 0, 9]))
        ...     load_idx(path)
        array([7, 0, 9], dtype=uint8)
    """
    where = to_path("load_idx: path", path)
    try:
        with open(where, "rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            if not packed:
                return _read(path, file, os.fstat(file.fileno()).st_size)
            try:
                with gzip.GzipFile(fileobj=file) as unpacked:
                    return _read(path, unpacked, os.fstat(file.fileno()).st_size)
            except (gzip.BadGzipFile, EOFError, zlib.error) as cause:
                raise _broken(path, "an intact gzip file", f"damage ({cause})") from cause
    except FileNotFoundError:
        raise FileNotFoundError(f"load_idx: there is no file {where}; check the path") from None
    except OSError as cause:  # a folder, or no permission to read it
        raise OSError(f"load_idx: path {where} cannot be read: {cause}") from cause


def _read(path: str | os.PathLike[str], file: Any, on_disk: int) -> np.ndarray:
    """The array in the open `file`, of which no more is read than its header states."""
    head = file.read(4)
    if len(head) < 4:
        raise _broken(path, "a header of at least 4 bytes", f"{len(head)} bytes")
    if head[:2] != b"\0\0":
        raise _broken(path, "the magic bytes 00 00", head[:2].hex(" "))
    code, rank = head[2], head[3]
    if code not in _DTYPES:
        raise _broken(path, f"a type code among {', '.join(f'0x{c:02x}' for c in _DTYPES)}", f"0x{code:02x}")
    axes = file.read(4 * rank)
    if len(axes) < 4 * rank:
        raise _broken(path, f"a header of {4 + 4 * rank} bytes for {rank} axes", f"{4 + len(axes)} bytes")
    shape = struct.unpack(f">{rank}I", axes)
    dtype = np.dtype(_DTYPES[code])
    size = math.prod(shape) * dtype.itemsize
    stated = f"{size} bytes of data for {dtype} of shape {shape}"
    raw = bytearray()
    while len(raw) <= size and (part := file.read(min(PART, size + 1 - len(raw)))):
        raw += part
        if len(raw) > LARGE and len(raw) > MOST_TIMES * on_disk:
            raise _broken(path, f"at most {MOST_TIMES} times its {on_disk} bytes when unpacked", stated)
    if len(raw) < size:
        raise _broken(path, stated, f"{len(raw)} bytes (cut short)")
    if len(raw) > size:
        raise _broken(path, stated, f"more than {size} bytes (trailing bytes)")
    try:
        array: np.ndarray = np.ndarray(shape, dtype.newbyteorder(">"), buffer=raw)
    except ValueError as cause:  # more axes than NumPy has, or sizes that overflow beside a zero
        raise _broken(path, "a shape that NumPy can hold", f"{shape}") from cause
    return array.astype(dtype)


def to_path(where: str, value: object) -> Path:
    """`value` as a path; `where` is its name in errors."""
    try:
        text = os.fspath(value)  # type: ignore[call-overload]  # it may fail
    except TypeError:
        text = None
    if not isinstance(text, str):
        raise TypeError(f"{where} is {shown(value)}, expected a path: a str or a pathlib.Path")
    try:
        raw = os.fsencode(text)
    except UnicodeEncodeError:  # half a surrogate pair
        raw = b""
    if not raw or b"\0" in raw:
        raise ValueError(f"{where} is {shown(text)}, which names no file")
    return Path(text)


def _broken(path: str | os.PathLike[str], expected: str, got: str) -> DataFileError:
    return DataFileError(
        f"load_idx: {os.fspath(path)}: expected {expected}, got {got}; "
        "download the file again and pass it unchanged, plain or gzipped"
    )
