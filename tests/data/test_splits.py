"""Random parts of a data set: every sample once, classes by their shares."""

import re

import numpy as np
import pytest

import xpconv
from xpconv.data import train_test_split
from xpconv.errors import BackendError, ShapeError


def host(*arrays):
    return [xpconv.asnumpy(a) for a in arrays]


@pytest.mark.parametrize("test_size", [0.25, 1, 7, 0.01, 0.95, np.int64(3), np.float32(0.5)])
def test_every_sample_is_in_one_part(backend, test_size):
    x, y = np.arange(40).reshape(20, 2), np.arange(20)
    parts = train_test_split(xpconv.asarray(x), xpconv.asarray(y), test_size=test_size, seed=0)
    assert all(xpconv.get_xp(part) is xpconv.get_xp() for part in parts)
    x_train, x_test, y_train, y_test = host(*parts)
    assert sorted([*y_train, *y_test]) == list(range(20))
    np.testing.assert_array_equal(x_train, x[y_train])
    np.testing.assert_array_equal(x_test, x[y_test])
    assert len(y_test) == (int(test_size) if test_size >= 1 else int(np.ceil(float(test_size) * 20)))


def test_sizes_are_those_of_scikit_learn():
    theirs = pytest.importorskip("sklearn.model_selection").train_test_split
    for n in (2, 3, 7, 10, 101):
        for size in (0.1, 0.25, 0.5, 0.9, 1):
            try:
                expected = [len(part) for part in theirs(np.arange(n), test_size=size)]
            except ValueError:
                with pytest.raises(ValueError, match="train_test_split: test_size is"):
                    train_test_split(np.arange(n), test_size=size)
            else:
                assert [len(part) for part in train_test_split(np.arange(n), test_size=size)] == expected


def test_order_is_random_and_from_the_seed(backend):
    y = xpconv.asarray(np.arange(100))
    first = host(*train_test_split(y, seed=3))
    for seed in (3, np.random.default_rng(3)):
        for a, b in zip(first, host(*train_test_split(y, seed=seed)), strict=True):
            np.testing.assert_array_equal(a, b)
    with xpconv.use_backend("numpy"):
        np.testing.assert_array_equal(train_test_split(np.arange(100), seed=3)[0], first[0])
    assert (first[0] != host(*train_test_split(y, seed=4))[0]).any()
    assert (np.diff(first[0]) < 0).any() and (np.diff(first[1]) < 0).any()
    xpconv.manual_seed(5)
    again = host(*train_test_split(y))
    xpconv.manual_seed(5)
    np.testing.assert_array_equal(again[0], host(*train_test_split(y))[0])
    stratified = host(*train_test_split(y, seed=3, stratify=np.arange(100) % 2))
    assert (np.diff(stratified[0]) < 0).any() and (
        np.diff(stratified[1] % 2) != 0
    ).sum() > 5  # classes are mixed


@pytest.mark.parametrize("seed", range(30))
def test_stratified_shares(seed):
    """Within one sample of the exact share, as scikit-learn's; at least one of each class in both parts."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(2, 30, rng.integers(1, 8))
    y = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    count = int(rng.integers(len(sizes), len(y) - len(sizes) + 1))
    train, test = train_test_split(np.arange(len(y)), test_size=count, seed=seed, stratify=y)
    assert sorted([*train, *test]) == list(range(len(y))) and len(test) == count
    in_test = np.bincount(y[test], minlength=len(sizes))
    assert (in_test >= 1).all() and (in_test < sizes).all()
    ideal = sizes * count / len(y)
    bound = np.clip(ideal, 1, sizes - 1)
    assert (abs(in_test - bound) <= 1 + abs(bound - ideal).sum()).all()


def test_stratified_by_anything(backend):
    y = np.array(["cat", "dog"] * 6 + ["owl"] * 4)
    _, test = train_test_split(np.arange(16), test_size=4, seed=0, stratify=y)
    assert sorted(y[test]) == ["cat", "dog", "dog", "owl"] or sorted(y[test]) == ["cat", "cat", "dog", "owl"]
    labels = xpconv.asarray(np.arange(16) % 2)
    _, test = train_test_split(np.arange(16), test_size=4, seed=0, stratify=labels)
    assert (test % 2).sum() == 2
    train_test_split(np.arange(4), test_size=2, stratify=[True, False, True, False])


def test_data_sets_with_index_arrays():
    class Squares:
        def __init__(self, numbers):
            self.numbers = numbers

        def __len__(self):
            return len(self.numbers)

        def __getitem__(self, index):
            return Squares(self.numbers[index])

    train, test, y_train, _ = train_test_split(Squares(np.arange(8)), np.arange(8), seed=0)
    assert len(train) == 6 and len(test) == 2
    np.testing.assert_array_equal(train.numbers, y_train)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: train_test_split(), TypeError, "expected arrays or data sets to split, got none"),
        (lambda: train_test_split([1, 2]), TypeError, "argument 0 is [1, 2], expected an array or a data set; use numpy.asarray"),
        (lambda: train_test_split(np.arange(3), 7), TypeError, "argument 1 is 7, expected an array or a data set"),
        (lambda: train_test_split(np.array(3)), ShapeError, "argument 0 has shape ()"),
        (lambda: train_test_split(np.arange(3), np.arange(4)), ShapeError, "expected equal lengths, got 3, 4"),
        (lambda: train_test_split(np.arange(1)), ValueError, "test_size is 0.25, expected a share"),
        (lambda: train_test_split(np.arange(0)), ValueError, "both parts have some of the 0 samples"),
        (lambda: train_test_split(np.arange(9), test_size=0), ValueError, "test_size is 0, expected a share between 0 and 1"),
        (lambda: train_test_split(np.arange(9), test_size=9), ValueError, "test_size is 9"),
        (lambda: train_test_split(np.arange(9), test_size=1.0), ValueError, "test_size is 1.0"),
        (lambda: train_test_split(np.arange(9), test_size=-0.5), ValueError, "test_size is -0.5"),
        (lambda: train_test_split(np.arange(9), test_size="half"), TypeError, "test_size is 'half', expected a number"),
        (lambda: train_test_split(np.arange(9), test_size=True), TypeError, "test_size is True, expected"),
        (lambda: train_test_split(np.arange(9), seed="x"), TypeError, "train_test_split: seed is 'x', expected a seed"),
        (lambda: train_test_split(np.arange(9), stratify=np.arange(9)), ValueError, "stratify: class 0 has one sample only, expected 2 or more"),
        (lambda: train_test_split(np.arange(9), stratify=np.arange(8)), ShapeError, "stratify has shape (8,), expected (9,)"),
        (lambda: train_test_split(np.arange(9), stratify=np.eye(9)), ShapeError, "stratify has shape (9, 9), expected (9,)"),
        (lambda: train_test_split(np.arange(6), test_size=2, stratify=[0, 0, 1, 1, 2, 2]), ValueError,
         "the parts have 4 and 2 samples, expected at least one for each of the 3 classes"),
        (lambda: train_test_split(np.arange(6), test_size=4, stratify=[0, 0, 1, 1, 2, 2]), ValueError, "the parts have 2 and 4 samples"),
        (lambda: train_test_split(np.ma.arange(9)), BackendError, "masks are not supported"),
    ],
)  # fmt: skip
def test_what_cannot_be_split(call, error, message):
    with pytest.raises(error, match=re.escape(message)):
        call()
