"""Writing: the file is the old one or the new one, whatever happens, and nothing else is left."""

import os
import stat
import sys
import threading
import time

import interrupts
import process
import pytest

import xpconv
from xpconv.files import atomic

fcntl = pytest.importorskip("fcntl")


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("function", ["fsync", "replace", "fchmod"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_an_error_leaves_the_old_file(function, error, tmp_path, monkeypatch):
    path = tmp_path / "x"
    xpconv.save(path, n=1)
    path.chmod(0o600)

    def fail(*_):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(atomic.os, function, fail)
        with pytest.raises(type(error)):
            atomic.write_atomically(str(path), [b"new"])
    assert names(tmp_path) == ["x"]
    assert xpconv.load(path) == {"n": 1}


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interruption_before_bytecodes(tmp_path):
    """Before every fifth. In the one between making a temporary file and a variable of it, that remains."""
    path = tmp_path / "x"
    inside, number, found = True, 0, set()
    while inside:
        path.write_bytes(b"old")
        inside = interrupts.at_bytecode(
            number,
            interrupts.interrupt,
            {atomic.__file__},
            lambda: atomic.write_atomically(str(path), [b"n", b"ew"]),
        )
        assert path.read_bytes() in (b"old", b"new")
        found.add(path.read_bytes())
        number += 5
        for left in set(names(tmp_path)) - {"x"}:
            (tmp_path / left).unlink()
    assert found == {b"old", b"new"}


def test_temporary_files_of_killed_processes_go_and_those_in_use_stay(tmp_path):
    (tmp_path / ".xpconv-0123.tmp").write_bytes(b"left")
    used, descriptor = atomic._create(str(tmp_path))
    other = tmp_path / "other.tmp"
    other.write_bytes(b"")
    xpconv.save(tmp_path / "x", n=1)
    assert names(tmp_path) == sorted([os.path.basename(used), "other.tmp", "x"])
    os.close(descriptor)
    xpconv.save(tmp_path / "y", n=1)
    assert names(tmp_path) == ["other.tmp", "x", "y"]


KILLED = """
import sys, xpconv, numpy as np
from xpconv.files import atomic
print("ready", flush=True)
for n in range(10**6):
    xpconv.save(sys.argv[1], n=n, x=np.full(200_000, n))
"""


@pytest.mark.slow
def test_killed_while_writing(tmp_path):
    path = tmp_path / "x"
    xpconv.save(path, n=-1, x=[])
    for pause in (0.001, 0.01, 0.02, 0.033, 0.05):
        with process.started([sys.executable, "-c", KILLED, path], stderr=None) as writes:
            assert writes.stdout.readline() == "ready\n"
            time.sleep(pause)
            writes.kill()
            writes.wait()
        found = xpconv.load(path)
        assert all(x == found["n"] for x in found["x"])
        assert len(names(tmp_path)) <= 2
    xpconv.save(path, n=0)
    assert names(tmp_path) == ["x"]


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o000])
def test_mode_bits_are_those_of_any_file(umask, tmp_path):
    before = os.umask(umask)
    try:
        xpconv.save(tmp_path / "new")
        (tmp_path / "plain").write_bytes(b"")
        (tmp_path / "old").write_bytes(b"")
        os.chmod(tmp_path / "old", 0o640)
        xpconv.save(tmp_path / "old")
    finally:
        os.umask(before)
    modes = {name: stat.S_IMODE(os.stat(tmp_path / name).st_mode) for name in names(tmp_path)}
    assert modes["new"] == modes["plain"] == 0o666 & ~umask
    assert modes["old"] == 0o640


def test_symbolic_links_stay(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real/target")
    xpconv.save(tmp_path / "link", n=1)
    assert (tmp_path / "link").is_symlink()
    assert names(tmp_path / "real") == ["target"]
    xpconv.save(tmp_path / "link", n=2)
    assert xpconv.load(tmp_path / "real" / "target") == {"n": 2}
    (tmp_path / "nowhere").symlink_to("missing/target")
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        xpconv.save(tmp_path / "nowhere", n=1)


def test_names_of_any_kind(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("x", "ä ö.safetensors", "[a]*", "n" * 255, os.fsdecode(b"\xff"), "sub/../y"):
        (tmp_path / "sub").mkdir(exist_ok=True)
        xpconv.save(name, n=1)
        assert xpconv.load(name) == {"n": 1}


def test_what_is_no_place_for_a_file(tmp_path):
    with pytest.raises(IsADirectoryError, match=r"^save: path is .*, a folder"):
        xpconv.save(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"^save: path is .*there is no folder .*; make it"):
        xpconv.save(tmp_path / "a" / "b")
    with pytest.raises(OSError, match=r"^save: path is '/dev/null', which is a device"):
        xpconv.save("/dev/null")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OSError, match=r"there is no folder|Not a directory"):
        xpconv.save(tmp_path / "file" / "x")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root writes to any file")
def test_a_read_only_file_stays(tmp_path):
    xpconv.save(tmp_path / "x", n=1)
    os.chmod(tmp_path / "x", 0o444)
    with pytest.raises(PermissionError, match="read-only"):
        xpconv.save(tmp_path / "x", n=2)


def test_threads_that_write_one_file(tmp_path):
    path, errors = tmp_path / "x", []
    xpconv.save(path, n=-1)

    def write(n):
        try:
            for _ in range(10):
                xpconv.save(path, n=n)
                assert xpconv.load(path)["n"] in range(4)
        except BaseException as error:  # noqa: BLE001
            errors.append(error)

    threads = [threading.Thread(target=write, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert names(tmp_path) == ["x"]
