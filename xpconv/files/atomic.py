"""Writing a file so that, whenever the process is killed, its path has the old content or the new one."""

from __future__ import annotations

import glob
import os
import secrets
from collections.abc import Iterable
from contextlib import suppress

try:
    import fcntl
except ImportError:  # Windows, which neither deletes nor renames a file that is open
    fcntl = None  # type: ignore[assignment]

TEMPORARY = ".xpconv-{}.tmp"


def to_path(where: str, path: object) -> str:
    """`path` as a string; `where` begins the errors."""
    text = os.fspath(path) if isinstance(path, str | os.PathLike) else None
    if not isinstance(text, str) or not text or "\0" in text:
        hint = ""
        if hasattr(path, "state_dict"):
            hint = f"; the path comes first: xpconv.{where}('run.safetensors', model=model)"
            if where == "save_model":
                hint = ": xpconv.save_model(model, 'model.safetensors')"
            elif where == "load_model":
                hint = "; it makes a new model: model = xpconv.load_model('model.safetensors')"
        if where == "xpconv.onnx.export":
            hint = f"; the path is the second argument: {where}(model, 'model.onnx', input_shape)"
        kind = type(path).__name__
        shape = getattr(path, "shape", None)
        found = f"{kind} of shape {shape}" if isinstance(shape, tuple) else f"{kind} {path!r:.100}"
        raise TypeError(f"{where}: path is {found}, expected a path{hint}")
    return text


def check_target(where: str, path: str) -> None:
    """Raise an error if no file can be written at `path`; `where` begins it."""
    folder = os.path.dirname(os.path.realpath(path))
    if os.path.isdir(path):
        raise IsADirectoryError(f"{where}: path is {path!r}, a folder, expected that of a file")
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"{where}: path is {path!r}, but there is no folder {folder!r}; make it")
    if os.path.exists(path) and not os.path.isfile(path):
        raise OSError(f"{where}: path is {path!r}, which is a device or the like, not a file")
    if os.path.exists(path) and not os.access(path, os.W_OK):
        raise PermissionError(f"{where}: path is {path!r}, a file that is read-only")


def write_atomically(path: str, parts: Iterable[bytes | memoryview]) -> None:
    """Write `parts` to a temporary file in the folder of `path`, and rename it when it is on disk.

    A symbolic link remains, and the file that it leads to is replaced. The file has the mode bits of the
    one that it replaces, or those of any new file. On an error or an interruption `path` is unchanged.
    """
    path = os.path.realpath(path)
    folder = os.path.dirname(path)
    remove_leftovers(folder)
    temporary, descriptor = _create(folder)
    try:
        with open(descriptor, "wb") as file:
            if os.path.exists(path) and fcntl is not None:
                _copy_mode(path, descriptor)
            for part in parts:
                file.write(part)
            file.flush()
            os.fsync(descriptor)
            if fcntl is not None:  # while it is locked
                os.replace(temporary, path)
        if fcntl is None:
            os.replace(temporary, path)
    except BaseException:
        with suppress(FileNotFoundError):
            os.remove(temporary)
        raise
    _sync(folder)


def remove_leftovers(folder: str) -> None:
    """Remove the temporary files that killed processes left in a folder: those that no process has locked."""
    for path in glob.glob(os.path.join(glob.escape(folder), TEMPORARY.format("*"))):
        with suppress(OSError):  # it is locked or another user's, or was just renamed
            descriptor = os.open(path, os.O_RDWR)
            try:
                if fcntl is not None:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    os.remove(path)
            finally:
                os.close(descriptor)
            if fcntl is None:
                os.remove(path)


def _copy_mode(path: str, descriptor: int) -> None:
    """Give an open file the mode bits of the file at `path`."""
    mode, own = (status.st_mode & 0o777 for status in (os.stat(path), os.fstat(descriptor)))
    if mode != own:
        os.fchmod(descriptor, mode)


def _create(folder: str) -> tuple[str, int]:
    """The path and the descriptor of a new temporary file, which is locked until it is closed."""
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    while True:
        path = os.path.join(folder, TEMPORARY.format(secrets.token_hex(8)))
        descriptor = os.open(path, flags, 0o666)
        if fcntl is None:
            return path, descriptor
        with suppress(OSError):  # a file system without locks, where leftovers remain
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.fstat(descriptor).st_nlink:
            return path, descriptor
        os.close(descriptor)  # `remove_leftovers` of another process came before the lock


def _sync(folder: str) -> None:
    """Put the entries of a folder on disk, on systems that open folders."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
