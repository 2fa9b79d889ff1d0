"""Samplers: balanced between classes, or in batches of one group."""

import numpy as np
import pytest

import xpconv
from xpconv.data import BalancedSampler, GroupedSampler, batches
from xpconv.errors import DTypeError, ShapeError


def epoch(loader):
    return [xpconv.asnumpy(part).tolist() for (part,) in loader]


# ---- balanced ----

LABELS = np.array([0] * 50 + [1] * 7 + [5] * 1)


@pytest.mark.parametrize("size", [None, 1, 2, 58, 60, 301])
def test_every_class_equally_often(size):
    sampler = BalancedSampler(LABELS, size)
    n = 58 if size is None else size
    order = sampler.indices(np.random.default_rng(0))
    assert len(sampler) == len(order) == n and order.dtype == np.int64
    for start in range(0, n - n % 3, 3):
        assert sorted(LABELS[order[start : start + 3]]) == [0, 1, 5]
    assert len(set(LABELS[order[n - n % 3 :]])) == n % 3


def test_a_class_is_gone_through_before_a_sample_comes_again():
    order = BalancedSampler(LABELS, 300).indices(np.random.default_rng(0))
    for label in (0, 1, 5):
        drawn = order[LABELS[order] == label]
        members = np.flatnonzero(label == LABELS).tolist()
        assert len(drawn) == 100
        runs = [drawn[k : k + len(members)].tolist() for k in range(0, 100, len(members))]
        for run in runs:
            assert len(set(run)) == len(run)
        assert all(sorted(run) == members for run in runs if len(run) == len(members))
        assert len(members) == 1 or runs[0] != runs[1]


@pytest.mark.parametrize(
    "labels", [["cat", "dog", "cat", "cat"], [True, False, True, True], np.uint8([3, 9, 3, 3])]
)
def test_kinds_of_labels(labels, backend):
    given = labels if isinstance(labels, list) else xpconv.asarray(labels)
    order = BalancedSampler(given, 100).indices(np.random.default_rng(0))
    assert (order == 1).sum() == 50 and set(order) == {0, 1, 2, 3}


def test_one_class():
    assert sorted(BalancedSampler([4, 4, 4]).indices(np.random.default_rng(0))) == [0, 1, 2]


@pytest.mark.parametrize("workers", [0, 2])
def test_balanced_batches(backend, workers):
    y = xpconv.asarray(LABELS)
    loader = batches(y, 6, sampler=BalancedSampler(y), seed=1, workers=workers)
    parts = epoch(loader)
    assert len(loader) == len(parts) == 10
    assert all(sorted(part) == [0, 0, 1, 1, 5, 5] for part in parts[:-1])
    assert epoch(loader) != parts
    assert epoch(batches(y, 6, sampler=BalancedSampler(y), seed=1)) == parts
    assert len(batches(y, 6, sampler=BalancedSampler(y, 100), drop_last=True)) == 16


@pytest.mark.parametrize(
    ("labels", "error", "message"),
    [
        (np.eye(3), ShapeError, r"labels has shape \(3, 3\), .*labels.argmax\(1\)"),
        ([], ShapeError, r"labels has shape \(0,\)"),
        (3, ShapeError, r"labels has shape \(\)"),
        ([0.5, 1.0], DTypeError, "labels is of float64, expected classes"),
    ],
)
def test_labels_that_are_none(labels, error, message):
    with pytest.raises(error, match=rf"^BalancedSampler: {message}"):
        BalancedSampler(labels)


@pytest.mark.parametrize("size", [0, -1, 2.5, "3"])
def test_size_of_an_epoch(size):
    with pytest.raises((TypeError, ValueError), match=r"^BalancedSampler: size is "):
        BalancedSampler([0, 1], size)


# ---- grouped ----


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("batch_size", [1, 2, 3, 7, 100])
@pytest.mark.parametrize("counts", [[5], [1, 1, 1], [7, 2, 10, 1], [3, 6]])
def test_batches_of_one_group(counts, batch_size, drop_last, backend):
    groups = np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))
    expected = sorted(
        size
        for n in counts
        for size in [batch_size] * (n // batch_size) + [n % batch_size]
        if size == batch_size or (size and not drop_last)
    )
    x = xpconv.asarray(np.arange(len(groups)))
    if not expected:
        with pytest.raises(ShapeError, match="as drop_last is on"):
            batches(x, batch_size, sampler=GroupedSampler(groups), drop_last=drop_last)
        return
    loader = batches(x, batch_size, sampler=GroupedSampler(groups), drop_last=drop_last, seed=0)
    for _ in range(2):
        parts = epoch(loader)
        assert len(loader) == len(parts)
        assert sorted(map(len, parts)) == expected
        assert all(len(set(groups[part])) == 1 for part in parts)
        seen = [i for part in parts for i in part]
        assert len(set(seen)) == len(seen)
        assert drop_last or len(seen) == len(groups)


def test_a_batch_size_beyond_all_integers_of_numpy():
    groups = [0, 0, 1]
    assert sorted(map(len, epoch(batches(np.arange(3), 2**70, sampler=GroupedSampler(groups))))) == [1, 2]
    with pytest.raises(ShapeError, match="as drop_last is on"):
        batches(np.arange(3), 2**70, sampler=GroupedSampler(groups), drop_last=True)


def test_groups_and_samples_are_shuffled():
    groups = np.repeat(np.arange(4), 25)
    loader = batches(np.arange(100), 5, sampler=GroupedSampler(groups), seed=0)
    first, second = epoch(loader), epoch(loader)
    order = [int(groups[part[0]]) for part in first]
    assert order != sorted(order) and first != second
    assert sorted(map(sorted, first)) != sorted(map(sorted, second))


@pytest.mark.parametrize(
    "groups",
    [["b", "a", "b"], [(28, 32), (28, 28), (28, 32)], [0.5, 0.1, 0.5], np.array([[1], [0], [1]], "uint8")],
)
def test_kinds_of_groups(groups):
    parts = epoch(batches(np.arange(3), 2, sampler=GroupedSampler(groups), seed=0))
    assert sorted(map(sorted, parts)) == [[0, 2], [1]]


@pytest.mark.parametrize("workers", [0, 2])
def test_images_of_different_sizes(workers):
    sizes = [(2, 3), (4, 3), (2, 3), (2, 3), (4, 3)]
    data = [(np.full(size, i), i) for i, size in enumerate(sizes)]
    seen = []
    for x, y in batches(data, 2, sampler=GroupedSampler(sizes), workers=workers):
        assert x.shape[1:] == sizes[y[0]]
        np.testing.assert_array_equal(x[:, 0, 0], y)
        seen += y.tolist()
    assert sorted(seen) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("groups", [[], 3, np.zeros((2, 2, 2)), np.zeros((2, 0))])
def test_groups_of_the_wrong_shape(groups):
    with pytest.raises(ShapeError, match=r"^GroupedSampler: groups has shape"):
        GroupedSampler(groups)


def test_groups_of_the_wrong_kind():
    with pytest.raises(DTypeError, match=r"^GroupedSampler: groups is of object"):
        GroupedSampler(np.array([None, 1], dtype=object))


# ---- both, and samplers of one's own ----


class Even:
    def __init__(self, order):
        self.order = order

    def __len__(self):
        return 3

    def indices(self, rng):
        return self.order


def test_a_sampler_of_one_s_own(backend):
    x = xpconv.asarray(np.arange(6))
    for order in (np.array([4, 0, 2]), xpconv.asarray(np.array([4, 0, 2])), [4, 0, 2], np.uint8([4, 0, 2])):
        assert epoch(batches(x, 2, sampler=Even(order))) == [[4, 0], [2]]


@pytest.mark.parametrize(
    ("order", "message"),
    [
        ([0, 2], r"returned shape \(2,\), expected \(3,\)"),
        ([[0, 2, 4]], r"returned shape \(1, 3\)"),
        ([0.0, 2.0, 4.0], "returned float64, expected ints"),
        ([True, False, True], "returned bool, expected ints"),
        ([0, 2, 6], "returned indices from 0 to 6, expected 0 to 5"),
        ([0, -1, 2], "returned indices from -1 to 2"),
    ],
)
def test_indices_that_are_not_valid(order, message):
    with pytest.raises((TypeError, ValueError), match=rf"^batches: sampler Even.indices {message}"):
        list(batches(np.arange(6), 2, sampler=Even(order)))


def test_what_is_no_sampler():
    for sampler in (3, [0, 1, 2], BalancedSampler, object()):
        with pytest.raises(TypeError, match=r"^batches: sampler is "):
            batches(np.arange(6), 2, sampler=sampler)
    with pytest.raises(ValueError, match="shuffle and sampler exclude each other"):
        batches(np.arange(6), 2, sampler=Even([0, 2, 4]), shuffle=True)
    for sampler in (BalancedSampler([0, 1]), GroupedSampler([0, 1])):
        with pytest.raises(ShapeError, match="sampler is of 2 samples, but there are 6"):
            batches(np.arange(6), 2, sampler=sampler)


@pytest.mark.parametrize(
    "sampler", [BalancedSampler([0, 0, 0, 0, 0, 1, 1]), GroupedSampler([0, 0, 0, 0, 0, 1, 1])]
)
@pytest.mark.parametrize("stop", [1, 2, 3])
def test_resumed_equals_uninterrupted(sampler, stop):
    def make():
        return batches(np.arange(7), 2, sampler=sampler, seed=3)

    whole, loader = make(), make()
    expected = epoch(whole) + epoch(whole)
    got = [part.tolist() for (part,), _ in zip(loader, range(stop), strict=False)]
    loader = make()
    next(it := iter(loader))
    for _ in range(stop - 1):
        next(it)
    resumed = make()
    resumed.load_state_dict(loader.state_dict())
    assert got + epoch(resumed) + epoch(resumed) == expected


def test_repr_of_samplers():
    assert repr(BalancedSampler([0, 1, 1])) == "BalancedSampler(2 classes, size=3)"
    assert repr(GroupedSampler([0, 1, 1])) == "GroupedSampler(2 groups, 3 samples)"
    loader = batches(np.arange(3), 2, sampler=GroupedSampler([0, 1, 1]))
    assert repr(loader).endswith("sampler=GroupedSampler(2 groups, 3 samples))")
