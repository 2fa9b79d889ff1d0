"""Downloads of data sets: checked, resumed, and in place only when complete."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

TIMEOUT = 60  # seconds without an answer
TRIES = 5  # of one address, each of which continues where the last one stopped
BLOCK = 1 << 18


class RemoteFile(NamedTuple):
    """A file of a data set: its name, the SHA-256 of its content, and folders that have it on the network."""

    name: str
    sha256: str
    folders: tuple[str, ...]


def data_folder(name: str) -> Path:
    """Where downloads of the data set `name` are put: in `$XPCONV_DATA`, by default `~/.cache/xpconv`."""
    return Path(os.environ.get("XPCONV_DATA") or "~/.cache/xpconv").expanduser() / name


def fetch(where: str, file: RemoteFile, folder: Path) -> Path:
    """Download a file into `folder`, if it is not there.

    What has arrived is in `NAME.part`, which the next call continues; it is renamed when complete and its
    checksum is right. Two processes may call this at the same time (the second one waits; not on Windows).

    Raises:
        OSError: no address gave the file; the error names them, and where to put a file by hand.
    """
    target = folder / file.name
    if target.exists():
        return target
    problems = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder / f"{file.name}.part") as part:
            if target.exists():  # another process has fetched it meanwhile
                os.unlink(part.name)
                return target
            urls = [f"{base}/{file.name}" for base in file.folders]
            if part.seek(0, os.SEEK_END) and _sha256(part) == file.sha256:  # all but its name is there
                urls = []
            for url in urls:
                problem = _complete(url, part, file)
                if problem is None:
                    break
                problems.append(f"{url}: {problem}")
            if len(problems) == 0 or len(problems) < len(urls):
                part.flush()
                os.fsync(part.fileno())
                if os.name == "nt":  # which does not rename open files
                    part.close()
                os.replace(part.name, target)
                return target
    except OSError as error:  # of the disk: those of the network are in `problems`
        problems.append(f"{type(error).__name__}: {error}")
    raise OSError(
        f"{where}: could not download {file.name} ({'; '.join(problems)}). Check the network and call again, "
        f"which continues where this stopped; or put the file {file.name} into {folder.absolute()} yourself"
    )


def _complete(url: str, part: IO[bytes], file: RemoteFile) -> str | None:
    """Complete `part` from `url`; what prevented that, or None."""
    from http.client import HTTPException  # here, as these make `import xpconv` slower
    from urllib.error import HTTPError

    problem = ""
    for _ in range(TRIES):
        start = part.seek(0, os.SEEK_END)
        try:
            complete = _append(url, part, start, file.name)
            problem = f"it stopped after {part.tell()} bytes"
        except HTTPError as error:
            error.close()
            if error.code != 416 or not start:  # 416: there is nothing behind `start`
                return f"HTTP {error.code} {error.reason}"
            complete = True
        except (OSError, HTTPException) as error:
            complete, problem = False, f"{type(error).__name__}: {error}"
            if part.tell() == start:
                return problem
        if complete:
            found = _sha256(part)
            if found == file.sha256:
                return None
            part.truncate(0)
            problem = f"its SHA-256 is {found}, expected {file.sha256}"
            if not start:
                return problem  # all of it was received from here
    return problem


def _append(url: str, part: IO[bytes], start: int, name: str) -> bool:
    """Add to `part` what follows its first `start` bytes; whether it is complete then."""
    from urllib.request import Request, urlopen

    headers = {"User-Agent": "xpconv", **({"Range": f"bytes={start}-"} if start else {})}
    with urlopen(Request(url, headers=headers), timeout=TIMEOUT) as response:
        if start and response.headers.get("Content-Range", "").split("-")[0] != f"bytes {start}":
            part.truncate(0)  # the server sends the whole file
            start = part.seek(0)
        length = response.headers.get("Content-Length")
        came = 0
        with _progress(name, start, None if length is None else start + int(length)) as bar:
            while block := response.read(BLOCK):
                part.write(block)
                came += len(block)
                if bar is not None:
                    bar.update(len(block))
    return length is None or came == int(length)


@contextmanager
def _progress(name: str, start: int, total: int | None) -> Iterator[Any]:
    """A bar on a terminal, if tqdm is installed; else None."""
    if not sys.stderr.isatty():
        yield None
        return
    try:
        from tqdm import tqdm
    except ImportError:
        yield None
        return
    with tqdm(desc=name, initial=start, total=total, unit="B", unit_scale=True) as bar:
        yield bar


def _sha256(part: IO[bytes]) -> str:
    from hashlib import sha256

    digest = sha256()
    part.seek(0)
    while block := part.read(BLOCK):
        digest.update(block)
    return digest.hexdigest()


@contextmanager
def _locked(path: Path) -> Iterator[IO[bytes]]:
    """The file open for appending, by one process at a time where the system has `fcntl`."""
    try:
        import fcntl
    except ImportError:
        with open(path, "a+b") as file:
            yield file
        return
    while True:
        with open(path, "a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # until it is closed, or the process ends
            if path.exists() and os.path.samestat(os.stat(path), os.fstat(file.fileno())):
                yield file
                return
        # Another process has renamed it meanwhile. Unless it failed, the file is there; `fetch` looks.
