"""One file of values and arrays: safetensors, with the values as JSON in its metadata, and a checksum.

The metadata have one entry, `xpconv`, a JSON object that begins with `sha256`, the checksum of the whole file
with 64 zeros in place of the checksum itself.
"""

from __future__ import annotations

import json
import os
import sys
from glob import escape, glob
from typing import Any

import numpy as np

from ..errors import DataFileError
from .atomic import check_target, write_atomically

FORMAT = 1  # increased when older versions of the library cannot read what is new
START = b'{"__metadata__":{"xpconv":'
ZEROS = "0" * 64
FIRST = rb'"{\"sha256\":\"'
PLACE = 8 + len(START) + len(FIRST)  # of the checksum in the file
LONGEST = 100_000_000  # bytes of a header, which safetensors accepts
CALLS = {"checkpoint": "xpconv.load(path)", "model": "xpconv.load_model(path)"}
WRITERS = {"checkpoint": "xpconv.save", "model": "xpconv.save_model"}
IMAGE = "; are the model and the image swapped?"
STARTS = {  # the first bytes of other files, what they are, and a hint
    b"\xff\xd8\xff": ("a JPEG image", IMAGE),
    b"\x89PNG\r\n\x1a\n": ("a PNG image", IMAGE),
    b"GIF8": ("a GIF image", IMAGE),
    b"BM": ("a BMP image", IMAGE),
    b"II*\0": ("a TIFF image", IMAGE),
    b"MM\0*": ("a TIFF image", IMAGE),
    b"RIFF": ("a WebP image or another RIFF file", IMAGE),
    b"\x93NUMPY": ("an array of NumPy (.npy)", ""),
    b"\x89HDF\r\n\x1a\n": ("an HDF5 file, as Keras writes", ""),
    b"\x1f\x8b": ("compressed by gzip", ""),
    b"%PDF": ("a PDF document", ""),
    b"GGUF": ("a GGUF file", ""),
}
FOREIGN = {  # endings by which other programs expect another content
    **dict.fromkeys((".pt", ".pth", ".bin"), "PyTorch's"),
    **dict.fromkeys((".pkl", ".pickle", ".joblib"), "a pickle's"),
    **dict.fromkeys((".h5", ".hdf5", ".keras"), "Keras'"),
    **dict.fromkeys((".npy", ".npz"), "NumPy's"),
    **dict.fromkeys((".zip", ".gz", ".tar", ".tgz"), "an archive's"),
    **dict.fromkeys((".json", ".csv", ".txt", ".html"), "a text's"),
    **dict.fromkeys((".png", ".jpg", ".jpeg"), "an image's"),
    ".onnx": "ONNX's",
    ".gguf": "GGUF's",
}


def write(where: str, path: str, kind: str, content: Any, arrays: dict[str, np.ndarray]) -> None:
    """Write a file of this kind atomically; `content` consists of JSON's types. `where` begins the errors."""
    from hashlib import sha256

    check_target(where, path)
    _check_ending(where, path)
    save = need_safetensors(where).numpy.save
    about = {"sha256": ZEROS, "kind": kind, "format": FORMAT, **versions(), "content": content}
    text = json.dumps(about, separators=(",", ":"), allow_nan=False)
    if len(json.dumps(text)) + sum(len(name) + 200 for name in arrays) > LONGEST:
        raise ValueError(
            f"{where}: what is not in arrays takes {len(text):,} characters, expected less than {LONGEST:,}; "
            "save long lists of numbers as arrays"
        )
    data = save(arrays, {"xpconv": text})
    if data[8 : PLACE + 64] != START + FIRST + ZEROS.encode():
        raise RuntimeError(
            f"{where}: this version of safetensors writes another header; install 0.4.4 or a newer one"
        )
    checksum = sha256(data).hexdigest().encode()
    write_atomically(path, [data[:PLACE], checksum, memoryview(data)[PLACE + 64 :]])


def read(where: str, path: str, kind: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The content and the arrays of a file of this kind; `where` begins the errors.

    Raises:
        DataFileError: (a ValueError) the file is damaged, of another kind, or of a newer version.
    """
    from hashlib import sha256

    library = need_safetensors(where)
    named = f"{where}: {path!r}"
    data = _bytes(where, path)
    text = _metadata(named, data, kind)
    with memoryview(data) as view:
        checksum = sha256(view[:PLACE])
        checksum.update(ZEROS.encode())
        checksum.update(view[PLACE + 64 :])
    if text[: len('{"sha256":"') + 65] != f'{{"sha256":"{checksum.hexdigest()}"':
        raise DataFileError(
            f"{named} is damaged: its checksum is not that of its content; use another copy or an earlier one"
        )
    about = _parsed(named, text)
    _check_about(named, about, kind)
    try:
        tensors = library.deserialize(data)
    except library.SafetensorError as error:
        raise DataFileError(f"{named} is damaged: {error}") from error
    del data
    arrays = {}
    for name, tensor in tensors:
        arrays[name] = _array(f"{named}: {name!r}", **tensor)
        tensor.clear()
    return about["content"], arrays


def need_safetensors(where: str) -> Any:
    """The library; an error that says what to install, if it is missing."""
    try:
        import safetensors.numpy
    except ImportError as error:
        raise ImportError(f"xpconv.{where} needs safetensors: pip install safetensors") from error
    return safetensors


def versions() -> dict[str, str]:
    """The versions of this library and of NumPy, which files name."""
    own = sys.modules[__name__.partition(".")[0]]
    return {"xpconv": str(vars(own)["__version__"]), "numpy": np.__version__}


def _bytes(where: str, path: str) -> bytes:
    """The content of the file."""
    if not os.path.exists(path):
        raise FileNotFoundError(f"{where}: there is no file {path!r} (from {os.getcwd()!r})")
    if not os.path.isfile(path):
        within = sorted(glob(f"{escape(path)}/*.safetensors")) or sorted(
            glob(f"{escape(path)}/*/*.safetensors")
        )
        hint = f"; there is {within[-1]!r}" if within else ""
        raise OSError(f"{where}: {path!r} is a folder or device, expected a file{hint}")
    with open(path, "rb") as file:
        return file.read()


def _check_ending(where: str, path: str) -> None:
    """Raise an error if the name of a file says that it is of another kind."""
    ending = os.path.splitext(path)[1].lower()
    if ending in FOREIGN:
        right = os.path.splitext(path)[0] + ".safetensors"
        raise ValueError(
            f"{where}: path is {path!r}, but {ending} is {FOREIGN[ending]} ending, and the file is one of "
            f"safetensors; give {right!r}"
        )


def _looks_like(data: bytes) -> tuple[str, str]:
    """What a file is, as far as its first bytes say, and a hint; else two empty strings."""
    if not data:
        return "empty", ""
    if data.startswith(b"PK\x03\x04"):
        if b".npy" in data[:100]:
            return "an archive of NumPy (.npz)", "; model.load_state_dict(path) loads weights"
        if b"/data.pkl" in data[:200] or b"/.format_version" in data[:200]:
            return "a file of PyTorch", "; model.load_state_dict(torch.load(path)) loads weights"
        return "a ZIP archive", ""
    for start, found in STARTS.items():
        if data.startswith(start):
            return found
    if data[:1] == b"\x08" and data[2:3] in (b"\x12", b":") and data[3:4] > b"\0":
        return "an ONNX file", "; xpconv.onnx.load(path) reads it"
    if data[:1] == b"\x80" and data[1:2] in b"\2\3\4\5" and data[-1:] == b".":
        return "a pickle", "; xpconv reads none"
    text = data[:200].decode(errors="replace").rstrip("\ufffd")  # the last character may be cut
    fine = text and all(c.isprintable() or c in "\t\n\r" for c in text) and "\ufffd" not in text
    return ("text" if fine else ""), ""


def _metadata(named: str, data: bytes, kind: str) -> str:
    """The text of the metadata."""
    size = int.from_bytes(data[:8], "little")
    header = data[8 : 8 + size] if 2 <= size <= min(len(data) - 8, LONGEST) else b""
    if not header.startswith(START + FIRST):
        looks, hint = _looks_like(data)
        if looks:
            raise DataFileError(f"{named} is {looks}, expected a file of {WRITERS[kind]}{hint}")
        problem = f"it has {len(data):,} bytes, and the header {size:,} according to its first 8"
        if header:
            problem = "its header is another one"
        if header.startswith(b"{"):
            problem += "; weights that other programs have saved are loaded by model.load_state_dict(path)"
        raise DataFileError(f"{named} is damaged or no file of xpconv: {problem}")
    try:
        text, _ = json.JSONDecoder().raw_decode(header.decode(), len(START))
    except (ValueError, RecursionError) as error:
        raise DataFileError(f"{named} is damaged: its header cannot be read: {error}") from error
    return str(text)


def _parsed(named: str, text: str) -> Any:
    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is no number of JSON")

    try:
        return json.loads(text, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise DataFileError(f"{named} is damaged: its values cannot be read: {error}") from error


def _check_about(named: str, about: Any, kind: str) -> None:
    version, found = about.get("format"), about.get("kind")
    if type(version) is not int or version < 1 or not isinstance(about.get("content"), dict):
        raise DataFileError(f"{named} is damaged: it says format {version!r:.50}, expected {FORMAT}")
    if version > FORMAT:
        raise DataFileError(
            f"{named} has format {version}, written by xpconv {about.get('xpconv')!s:.50}; this one reads "
            f"formats up to {FORMAT}: upgrade xpconv"
        )
    if found != kind:
        hint = f"; use {CALLS[found]}" if found in list(CALLS) else ""
        raise DataFileError(f"{named} is a {found!s:.50} file, expected a {kind} file{hint}")


TYPES = {
    "BOOL": "bool", "I8": "int8", "I16": "int16", "I32": "int32", "I64": "int64", "U8": "uint8",
    "U16": "uint16", "U32": "uint32", "U64": "uint64", "F16": "float16", "F32": "float32", "F64": "float64",
}  # fmt: skip


def _array(named: str, dtype: str, shape: list[int], data: bytearray) -> np.ndarray:
    if dtype == "BF16":
        return _bfloat16(data).reshape(shape)
    if dtype not in TYPES:
        raise DataFileError(f"{named} is an array of {dtype}, expected {', '.join(TYPES)} or BF16")
    return np.frombuffer(data, np.dtype(TYPES[dtype]).newbyteorder("<")).reshape(shape)


def _bfloat16(data: bytearray) -> np.ndarray:
    """bfloat16 where NumPy has it, with `ml_dtypes`, else the same numbers as float32."""
    bits = np.frombuffer(data, "<u2")
    try:
        return bits.view("bfloat16")
    except TypeError:
        wide = bits.astype("uint32")
        wide <<= 16
        return wide.view("float32")
