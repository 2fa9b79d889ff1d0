"""Memory-mapped arrays: batches are ordinary arrays, changes are not lost, and pages are given back."""

import mmap
import os
import sys
from pathlib import Path

import numpy as np
import process
import pytest

from xpconv.data import batches, mapped

N, WIDTH = 64, 4096  # rows of 16 kB


@pytest.fixture
def path(tmp_path):
    np.save(tmp_path / "x.npy", np.arange(N, dtype="float32")[:, None] + np.zeros(WIDTH, "float32"))
    return tmp_path / "x.npy"


def rows_of(loader):
    got = []
    for (x,) in loader:
        assert type(x) is np.ndarray and mapped._map_of(x) is None and x.flags.owndata
        x = x.reshape(len(x), -1)
        assert x.flags.writeable and (x == x[:, :1]).all()
        got += x[:, 0].astype(int).tolist()
    return got


VIEWS = {
    "itself": lambda x: x,
    "a part": lambda x: x[8:40],
    "backward": lambda x: x[::-1],
    "columns": lambda x: x[:, ::-2],
    "asarray": np.asarray,
    "a view of a part": lambda x: np.asarray(x[3:])[2:],
    "with an axis": lambda x: x[:, None],
    "other byte order": lambda x: x.view("u4").view("f4"),
}


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("mode", ["r", "r+", "c"])
@pytest.mark.parametrize("view", VIEWS)
def test_batches_are_ordinary_arrays_with_the_rows(path, view, mode, workers):
    x = VIEWS[view](np.load(path, mmap_mode=mode))
    expected = np.array(x)[:, ..., 0].reshape(-1).astype(int).tolist()
    assert rows_of(batches(x, 5, workers=workers)) == expected
    shuffled = rows_of(batches(x, 5, shuffle=True, seed=0, workers=workers))
    assert sorted(shuffled) == sorted(expected) and shuffled != expected


@pytest.mark.skipif(not hasattr(mmap.mmap, "madvise"), reason="needs madvise")
@pytest.mark.parametrize("row", [(2,), (5000,), (3, 1000), (4096 * 3,), (3, 2, 2)])
@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("count", [1, 3, 40])
def test_only_the_pages_of_the_rows_are_announced(tmp_path, view, row, count):
    whole = np.memmap(tmp_path / "x", "f4", "w+", offset=5000, shape=(200, *row))
    x, owner = VIEWS[view](whole), mapped._owner_of(whole)
    assert mapped._owner_of(x) is owner
    rows = np.random.default_rng(0).integers(0, len(x), count)
    base = np.frombuffer(owner, "u1").__array_interface__["data"][0]
    used = set()
    for low, high in (np.lib.array_utils.byte_bounds(x[i]) for i in rows):
        used |= set(range((low - base) // mmap.PAGESIZE, (high - 1 - base) // mmap.PAGESIZE + 1))
    announced = []
    for start, stop in mapped._ranges(x, rows, owner):
        assert start % mmap.PAGESIZE == 0 and 0 <= start < stop <= len(owner)
        announced += range(start // mmap.PAGESIZE, (stop - 1) // mmap.PAGESIZE + 1)
    assert len(announced) == len(set(announced)) and used == set(announced)


@pytest.mark.parametrize("row", [(), (0,), (2, 0)])
def test_mapped_rows_of_one_number_or_none(tmp_path, row):
    x = np.memmap(tmp_path / "x", "f4", "w+", shape=(2000, 1))
    x[:] = 1
    x = (x if row == () else x[:, :0]).reshape(2000, *row)
    got = list(batches(x, 7, shuffle=True, seed=0))
    assert len(got) == 286 and all(part.shape[1:] == row and (part == 1).all() for (part,) in got)


def test_rows_that_are_spread_over_the_file_are_not_announced(path):
    x = np.load(path, mmap_mode="r").T
    assert list(mapped._ranges(x, np.arange(3), mapped._owner_of(x))) == []
    assert [len(part) for (part,) in batches(x, 1000, shuffle=True)] == [1000] * 4 + [96]


@pytest.mark.parametrize("mode", ["r+", "c"])
def test_changes_that_are_not_in_the_file_yet(path, mode):
    x = np.load(path, mmap_mode=mode)
    x[3] = 1000
    for shuffle in (False, True):
        assert sorted(rows_of(batches(x, 5, shuffle=shuffle)))[-1] == 1000
    assert x[3, 0] == 1000
    del x
    assert np.load(path)[3, 0] == (1000 if mode == "r+" else 3)


def test_a_file_that_was_replaced_meanwhile(path):
    x = np.load(path, mmap_mode="r")
    os.unlink(path)
    np.save(path, np.zeros((N, WIDTH), "float32"))
    assert rows_of(batches(x, 5)) == list(range(N))


def resident(x):
    """Bytes of the mapping that count as this process's memory."""
    address, wanted = x.__array_interface__["data"][0], None
    with open("/proc/self/smaps") as lines:
        for line in lines:
            field = line.split()[0]
            if "-" in field and not field.endswith(":"):
                start, stop = (int(text, 16) for text in field.split("-"))
                wanted = start <= address < stop
            elif wanted and field == "Rss:":
                return int(line.split()[1]) * 1024
    raise AssertionError("no such mapping")


@pytest.mark.sample(2)
@pytest.mark.skipif(not os.path.exists("/proc/self/smaps"), reason="needs Linux")
@pytest.mark.skipif(not hasattr(mmap.mmap, "madvise"), reason="needs madvise")
@pytest.mark.parametrize("kind", ["arrays", "data set"])
@pytest.mark.parametrize("shuffle", [False, True])
def test_pages_are_given_back(path, kind, shuffle):
    x = np.load(path, mmap_mode="r")
    data = x if kind == "arrays" else [x[i] for i in range(N)]
    assert x.sum() == WIDTH * N * (N - 1) / 2 and resident(x) >= x.nbytes
    for (part,) in batches(data, 4, shuffle=shuffle, seed=0):
        assert resident(x) == 0 and part.nbytes == 4 * 4 * WIDTH


@pytest.mark.skipif(not os.path.exists("/proc/self/smaps"), reason="needs Linux")
@pytest.mark.skipif(not hasattr(mmap.mmap, "madvise"), reason="needs madvise")
def test_pages_of_several_files_are_given_back(path, tmp_path):
    np.save(tmp_path / "other.npy", np.load(path))
    files = [np.load(path, mmap_mode="r"), np.load(tmp_path / "other.npy", mmap_mode="r")]
    for loader in (batches(*files, 4), batches([files[i % 2][i] for i in range(N)], 4)):
        for _ in loader:
            assert [resident(x) for x in files] == [0, 0]


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(mmap.mmap, "madvise"), reason="needs madvise")
def test_the_script_that_trains_from_a_large_file():
    script = Path(__file__).parents[2] / "ci" / "mapped.py"
    command = [sys.executable, str(script), "--gib", "0.6", "--limit", "0.55", "--steps", "3"]
    assert "one epoch in order" in process.run(command).stdout


def test_a_system_without_madvise(path, monkeypatch):
    monkeypatch.setattr(mapped, "hasattr", lambda *_: False, raising=False)
    assert rows_of(batches(np.load(path, mmap_mode="r"), 5)) == list(range(N))
