"""Memory-mapped arrays: batches are ordinary arrays, changes are not lost, and pages are given back."""

import mmap
import os

import numpy as np
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


def test_a_system_without_madvise(path, monkeypatch):
    monkeypatch.setattr(mapped, "hasattr", lambda *_: False, raising=False)
    assert rows_of(batches(np.load(path, mmap_mode="r"), 5)) == list(range(N))
