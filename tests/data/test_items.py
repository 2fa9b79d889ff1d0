"""Batches of the items of data sets and iterables: what an item may be, and errors that name it."""

import fractions
from typing import NamedTuple

import numpy as np
import pytest

import xpconv
from xpconv.backend import backend_of
from xpconv.data import batches
from xpconv.errors import BackendError, BatchError, DTypeError, ShapeError


class Made:
    """A data set of the items that a function makes."""

    def __init__(self, item, n=7):
        self.item, self.n = item, n

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        assert type(i) is int
        if not 0 <= i < self.n:
            raise IndexError(i)
        return self.item(i)


class Stream:
    """An iterable without a length."""

    def __init__(self, item, n=7):
        self.item, self.n = item, n

    def __iter__(self):
        return map(self.item, range(self.n))


class Pair(NamedTuple):
    x: np.ndarray
    y: int


class Foreign:
    """An object that is no array, but can become one."""

    def __init__(self, i):
        self.i = i

    def __array__(self, dtype=None, copy=None):
        return np.full((2, 3), self.i, "uint8")


# An item, and the arrays of all items together.
N = np.arange(7)
PLANE = np.broadcast_to(N[:, None, None], (7, 2, 3))
ITEMS = {
    "array": (lambda i: np.full((2, 3), i, "float32"), [PLANE.astype("float32")]),
    "pair": (lambda i: (np.full((2, 3), i, "float16"), i), [PLANE.astype("float16"), N]),
    "named tuple": (lambda i: Pair(np.full((2, 3), i), i), [PLANE, N]),
    "three": (lambda i: (np.full((2, 3), i), i / 2, i > 2), [PLANE, N / 2, N > 2]),
    "one in a tuple": (lambda i: (np.full((2, 3), i),), [PLANE]),
    "number": (lambda i: i, [N]),
    "float": (float, [N.astype("float64")]),
    "bool": (lambda i: i % 2 == 0, [N % 2 == 0]),
    "complex": (lambda i: i + 1j, [N + 1j]),
    "NumPy number": (lambda i: np.float32(i), [N.astype("float32")]),
    "0-d array": (lambda i: np.array(i, "int8"), [N.astype("int8")]),
    "no elements": (lambda i: (np.empty((0, 2)), i), [np.empty((7, 0, 2)), N]),
    "not contiguous": (lambda i: np.full((3, 2), i).T, [PLANE]),
    "read-only": (lambda i: np.broadcast_to(i, (2, 3)), [PLANE]),
    "foreign": (lambda i: (Foreign(i), i), [PLANE.astype("uint8"), N]),
}


@pytest.mark.parametrize("kind", [Made, Stream])
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("name", ITEMS)
def test_items_are_stacked(name, kind, workers):
    item, expected = ITEMS[name]
    got = list(batches(kind(item), 3, workers=workers))
    assert [len(batch[0]) for batch in got] == [3, 3, 1]
    for k, whole in enumerate(expected):
        joined = np.concatenate([batch[k] for batch in got])
        assert type(joined) is np.ndarray and joined.dtype == whole.dtype
        np.testing.assert_array_equal(joined, whole)
    assert all(type(batch) is tuple and len(batch) == len(expected) for batch in got)


def test_items_on_a_backend_stay_there(backend):
    for data in (Made, Stream):
        for x, y in batches(data(lambda i: (xpconv.asarray(np.full(2, i)), i)), 3):
            assert backend_of(x).name == backend and backend_of(y).name == "numpy"
            np.testing.assert_array_equal(xpconv.asnumpy(x)[:, 0], y)


def test_tensors_of_pytorch_and_pictures():
    torch = pytest.importorskip("torch")
    (x, y), *_ = batches(Made(lambda i: (torch.full((2,), float(i)), torch.tensor(i))), 3)
    np.testing.assert_array_equal(x, np.float32([[0, 0], [1, 1], [2, 2]]))
    assert x.dtype == np.float32 and y.dtype == np.int64
    for error in (torch.ones(2, requires_grad=True), torch.ones(2, dtype=torch.bfloat16)):
        with pytest.raises(DTypeError, match="batches: batch 1 of epoch 1: item 0: "):
            next(iter(batches([error], 1)))
    image = pytest.importorskip("PIL.Image")
    (x,) = next(iter(batches(Made(lambda i: image.new("RGB", (4, 2), (i, 0, 0))), 3)))
    assert x.shape == (3, 2, 4, 3) and x.dtype == np.uint8 and x[2].max() == 2


def test_lists_are_data_sets():
    (x, y), *_ = batches([(np.ones(2), 3), (np.zeros(2), 4)], 2)
    assert x.tolist() == [[1, 1], [0, 0]] and y.tolist() == [3, 4]


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_a_data_set_is_batched_like_its_arrays(workers):
    x, y = np.random.default_rng(0).normal(size=(11, 2, 3)), np.arange(11)

    def shift(batch, rng):
        return batch[0] + rng.normal(), batch[1]

    options = {"shuffle": True, "seed": 3, "transform": shift}
    one = batches(x, y, 4, **options)
    other = batches(Made(lambda i: (x[i], int(y[i])), 11), 4, workers=workers, **options)
    for _ in range(2):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(a[0], b[0])
            np.testing.assert_array_equal(a[1], b[1])


# ---- iterables ----


@pytest.mark.parametrize("workers", [0, 1, 3])
@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("n", [3, 6, 7])
def test_an_iterable_is_read_in_its_order_in_every_epoch(workers, drop_last, n):
    loader = batches(Stream(int, n), 3, workers=workers, drop_last=drop_last)
    with pytest.raises(TypeError, match="unknown number of batches"):
        len(loader)
    expected = [list(range(k, min(k + 3, n))) for k in range(0, n, 3)]
    if drop_last and n % 3:
        expected.pop()
    for _ in range(2):
        assert [part.tolist() for (part,) in loader] == expected


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("stop", range(1, 7))
def test_an_iterable_resumes(workers, stop):
    def shift(batch, rng):
        return (batch[0] + rng.normal(),)

    def make():
        return batches(Stream(float), 3, seed=1, transform=shift, workers=workers)

    whole, loader, got = make(), make(), []
    expected = [x.tolist() for _ in range(2) for (x,) in whole]
    while len(got) < stop:
        for (x,) in loader:
            got.append(x.tolist())
            if len(got) == stop:
                break
    resumed = make()
    resumed.load_state_dict(loader.state_dict())
    while len(got) < 6:
        got += [x.tolist() for (x,) in resumed]
    assert got == expected


@pytest.mark.parametrize("workers", [0, 2])
def test_an_iterable_without_items(workers):
    for data in (iter([]), Stream(int, 0)):
        with pytest.raises(ShapeError, match=r"fewer items than one batch.*__iter__ begins anew"):
            list(batches(data, 3, workers=workers))
    with pytest.raises(ShapeError, match="fewer items than one batch"):
        list(batches(Stream(int, 2), 3, workers=workers, drop_last=True))
    loader = batches(iter([1, 2]), 3, workers=workers)
    assert len(list(loader)) == 1
    with pytest.raises(ShapeError, match="A generator can be read only once"):
        list(loader)


def test_an_endless_iterable():
    import itertools

    loader = batches(itertools.count(), 2, workers=2)
    assert [x.tolist() for (x,), _ in zip(loader, range(3), strict=False)] == [[0, 1], [2, 3], [4, 5]]


def test_an_iterable_has_its_own_order():
    for options in ({"shuffle": True}, {"sampler": object()}):
        name = next(iter(options))
        with pytest.raises(ValueError, match=f"batches: {name} needs a data set with __len__"):
            batches(Stream(int), 3, **options)


# ---- errors ----


BAD = {
    "shape": (lambda i: np.ones(2 + i // 5), ShapeError, r"item 5 has shape \(3,\), but item 3 has \(2,\); "),
    "shape of the second": (
        lambda i: (i, np.ones(2 + i // 5)), ShapeError, r"array 1 of item 5 has shape \(3,\), but item 3 has"
    ),
    "dtype": (
        lambda i: np.ones(2, f"f{4 + i // 5 * 4}"), DTypeError,
        "item 5 has dtype float64, but item 3 has float32; ",
    ),
    "number": (lambda i: i if i < 5 else 0.5, DTypeError, "item 5 has dtype float64, but item 3 has int64; "),
    "count": (lambda i: (i,) * (1 + i // 5), ShapeError, "item 5 has 2 arrays, but item 3 has 1"),
    "none": (lambda i: () if i > 4 else i, ShapeError, "item 5 has 0 arrays"),
    "None": (lambda i: None if i > 4 else i, DTypeError, "item 5 is None, expected an array"),
    "list": (lambda i: [i] if i > 4 else i, DTypeError, r"item 5 is \[5\], expected .*numpy.asarray\(item\)"),
    "text": (lambda i: (i, "cat" if i > 4 else i), DTypeError, "array 1 of item 5 is 'cat', expected"),
    "array of text": (lambda i: np.array(["cat"]) if i > 4 else i, DTypeError, "item 5 is array.*, expected"),
    "objects": (lambda i: np.array([fractions.Fraction()]) if i > 4 else i, DTypeError, "item 5 is array.*object"),
    "large": (lambda i: 2**70 if i > 4 else i, DTypeError, "item 5 is 1180591620717411303424, expected"),
    "dict": (lambda i: {"x": i} if i > 4 else i, DTypeError, "item 5 is {'x': 5}, expected an array"),
    "masked": (lambda i: np.ma.ones(2) if i > 4 else np.ones(2), DTypeError, "item 5: .*masked"),
}  # fmt: skip


@pytest.mark.parametrize("kind", [Made, Stream])
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("name", BAD)
def test_items_that_cannot_be_stacked(name, kind, workers):
    item, error, message = BAD[name]
    loader, seen = batches(kind(item), 3, workers=workers), []
    with pytest.raises(error, match=rf"^batches: batch 2 of epoch 1: {message}"):
        seen.extend(loader)
    assert len(seen) == 1


def test_the_indices_in_errors_are_those_of_the_data_set():
    loader = batches(Made(lambda i: np.ones(2 + (i == 4))), 7, shuffle=True, seed=0)
    with pytest.raises(
        ShapeError, match=r"item 4 has shape \(3,\), but item \d|item \d has .* but item 4 has"
    ):
        list(loader)


def test_items_of_two_backends():
    mixed = Made(lambda i: xpconv.asarray(np.ones(2), backend="double") if i == 2 else np.ones(2))
    with pytest.raises(BackendError, match=r"batches: batch 1 of epoch 1: items: .*numpy, numpy, double"):
        list(batches(mixed, 3))


@pytest.mark.parametrize("workers", [0, 1, 3])
@pytest.mark.parametrize(
    "error", [KeyError("x"), IndexError(5), StopIteration(), ValueError("damaged"), OSError()]
)
@pytest.mark.parametrize("kind", [Made, Stream])
def test_an_error_of_the_data_comes_in_the_place_of_its_batch(kind, error, workers):
    def item(i):
        if i == 5:
            raise error
        return i

    if kind is Stream and isinstance(error, StopIteration):
        return  # it ends `map`
    name, seen = type(error).__name__, []
    loader = batches(kind(item), 2, workers=workers)
    with pytest.raises(
        BatchError, match=rf"^batches: batch 3( of epoch 1)?: item 5 of .*: {name}: "
    ) as caught:
        seen += [x.tolist() for (x,) in loader]
    assert caught.value.__cause__ is error
    assert loader.state_dict()["batch"] == 2


def test_empty_data_set():
    with pytest.raises(ShapeError, match="batches: Made of 0: expected at least 1 sample, got 0"):
        batches(Made(int, 0), 2)
