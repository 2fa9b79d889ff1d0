"""Batches cover every sample once, in the order that seed, epoch and place determine, and go on from a state."""

import copy
import functools
import json
import operator
import pickle
import sys

import numpy as np
import pytest

import xpconv
from xpconv.backend import backend_of
from xpconv.data import batches
from xpconv.errors import BackendError, BatchError, ShapeError, StateDictError

MODULE = sys.modules[batches.__module__]  # the name xpconv.data.batches is the class


def samples(n):
    """Sample i is [10 i, 10 i + 1] with target i, so that a batch shows where it came from."""
    y = np.arange(n)
    return xpconv.asarray(np.stack([10 * y, 10 * y + 1], 1)), xpconv.asarray(y)


def epoch(loader):
    """The targets of each batch, after a look that the inputs belong to them."""
    parts = [(xpconv.asnumpy(x), xpconv.asnumpy(y)) for x, y in loader]
    for x, y in parts:
        np.testing.assert_array_equal(x, np.stack([10 * y, 10 * y + 1], 1))
    return [y.tolist() for _, y in parts]


def order_of(seed, epoch, n):
    """The order of an epoch, written from the description."""
    return np.random.default_rng([seed, epoch]).permutation(n).tolist()


def noise_of(seed, epoch, batch, shape):
    sequence = np.random.SeedSequence([seed, epoch], spawn_key=(batch,))
    return np.random.default_rng(sequence).normal(size=shape)


def noisy(batch, rng):
    x, *others = batch
    return (x + xpconv.asarray(rng.normal(size=x.shape), backend=backend_of(x).name), *others)


def arrays(loader):
    return [[xpconv.asnumpy(a) for a in batch] for batch in loader]


def assert_same(one, other):
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            assert x.dtype == y.dtype
            np.testing.assert_array_equal(x, y)


# ---- arrays ----


def test_in_order(backend):
    loader = batches(*samples(7), 3)
    assert len(loader) == 3
    assert epoch(loader) == epoch(loader) == [[0, 1, 2], [3, 4, 5], [6]]
    assert all(backend_of(*pair).name == backend for pair in loader)


@pytest.mark.parametrize("count", [1, 2, 3, 5])
@pytest.mark.parametrize("shuffle", [False, True])
def test_any_number_of_arrays(backend, count, shuffle):
    y = np.arange(7)
    given = [xpconv.asarray((y * 10**k).astype(f"f{4 + 4 * (k % 2)}")) for k in range(count)]
    order = order_of(3, 0, 7) if shuffle else list(range(7))
    got = list(batches(*given, batch_size=3, shuffle=shuffle, seed=3))
    assert [len(batch) for batch in got] == [count] * 3
    for number, batch in enumerate(got):
        assert type(batch) is tuple
        for a, part in zip(given, batch, strict=True):
            assert part.dtype == a.dtype
            expected = xpconv.asnumpy(a)[order[3 * number : 3 * number + 3]]
            np.testing.assert_array_equal(xpconv.asnumpy(part), expected)


def test_batch_size_by_position_or_name():
    assert epoch(batches(*samples(4), np.int64(3))) == epoch(batches(*samples(4), batch_size=3))


def test_in_order_are_views_without_a_transform():
    x, y = samples(7)
    for x_batch, y_batch in batches(x, y, 3):
        assert np.shares_memory(x_batch, x) and np.shares_memory(y_batch, y)


def test_a_transform_may_change_what_it_gets(backend):
    x, y = samples(7)
    before = xpconv.asnumpy(x).copy()

    def negate(batch, rng):
        batch[0][...] = -batch[0]
        return batch

    for shuffle in (False, True):
        for x_batch, y_batch in batches(x, y, 3, transform=negate, shuffle=shuffle):
            np.testing.assert_array_equal(xpconv.asnumpy(x_batch)[:, 0], -10 * xpconv.asnumpy(y_batch))
    np.testing.assert_array_equal(xpconv.asnumpy(x), before)


def test_read_only_arrays():
    x = np.frombuffer(np.arange(6.0).tobytes())
    assert [part.tolist() for (part,) in batches(x, 4)] == [[0, 1, 2, 3], [4, 5]]
    assert all(part.flags.writeable for (part,) in batches(x, 4, transform=lambda batch, rng: batch))


def test_shuffled_the_same_on_every_backend(backend):
    loader = batches(*samples(7), 3, shuffle=True, seed=5)
    for number in range(3):
        order = order_of(5, number, 7)
        assert epoch(loader) == [order[:3], order[3:6], order[6:]]
    assert all(backend_of(*pair).name == backend for pair in loader)


def test_batches_stay_where_the_arrays_are(backend):
    x, y = samples(4)
    with xpconv.use_backend("numpy"):  # the active backend is another than that of the arrays
        assert all(backend_of(*pair).name == backend for pair in batches(x, y, 3, shuffle=True, seed=0))


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize(("n", "size"), [(1, 1), (6, 1), (6, 3), (7, 3), (8, 3), (7, 7)])
def test_every_sample_once(n, size, drop_last, shuffle):
    loader = batches(*samples(n), size, shuffle=shuffle, seed=0, drop_last=drop_last)
    parts = epoch(loader)
    full, rest = divmod(n, size)
    assert [len(p) for p in parts] == [size] * full + [rest] * (rest > 0 and not drop_last)
    assert len(loader) == len(parts)
    seen = {i for part in parts for i in part}
    assert len(seen) == sum(map(len, parts)) and seen <= set(range(n))


def test_a_batch_larger_than_the_data():
    assert epoch(batches(*samples(3), 2**70)) == [[0, 1, 2]]


def test_arrays_are_left_alone():
    x, y = samples(7)
    before = x.copy(), y.copy()
    epoch(batches(x, y, 3, shuffle=True, seed=0))
    np.testing.assert_array_equal(x, before[0])
    np.testing.assert_array_equal(y, before[1])


def test_the_order_is_uploaded_once_an_epoch(monkeypatch):
    sources, uploads = sys.modules["xpconv.data.sources"], []
    upload = sources.asarray
    monkeypatch.setattr(sources, "asarray", lambda *a, **k: uploads.append(a) or upload(*a, **k))
    loader = batches(*samples(9), 2, shuffle=True, seed=0)
    epoch(loader), epoch(loader)
    assert len(uploads) == 2
    epoch(batches(*samples(9), 2))
    assert len(uploads) == 2


# ---- seeds and epochs ----


def test_epochs_and_seeds():
    x, y = samples(50)

    def loader(seed=None):
        return batches(x, y, 8, shuffle=True, seed=seed)

    one, again = loader(0), loader(0)
    first, second = epoch(one), epoch(one)
    assert first != second
    assert [epoch(again), epoch(again)] == [first, second]
    assert epoch(loader(1)) != first
    assert epoch(loader()) != epoch(loader())
    assert epoch(loader(2**200)) == epoch(loader(2**200)) != first
    assert [i for part in first for i in part] == np.random.default_rng(0).permutation(50).tolist()


def test_a_generator_as_seed_is_drawn_from_once():
    rng = np.random.default_rng(0)
    one, other = (batches(*samples(50), 8, shuffle=True, seed=rng) for _ in range(2))
    state = rng.bit_generator.state
    first = epoch(one)
    assert rng.bit_generator.state == state
    assert first != epoch(other)
    assert epoch(batches(*samples(50), 8, shuffle=True, seed=np.random.default_rng(0))) == first


def test_the_generator_of_a_transform_depends_on_seed_epoch_and_batch(backend):
    x, y = samples(7)
    loader = batches(x, y, 3, seed=4, transform=noisy)
    for number in range(2):
        for batch, (x_batch, y_batch) in enumerate(loader):
            part = slice(3 * batch, 3 * batch + 3)
            expected = xpconv.asnumpy(x)[part] + noise_of(4, number, batch, xpconv.asnumpy(x)[part].shape)
            np.testing.assert_array_equal(xpconv.asnumpy(x_batch), expected)
            np.testing.assert_array_equal(xpconv.asnumpy(y_batch), xpconv.asnumpy(y)[part])
            assert backend_of(x_batch, y_batch).name == backend


def test_a_loop_that_is_left_is_an_epoch():
    loader = batches(*samples(20), 3, shuffle=True, seed=0)
    for _ in loader:
        break
    assert functools.reduce(operator.iadd, epoch(loader), []) == order_of(0, 1, 20)
    next(iter(loader))
    assert functools.reduce(operator.iadd, epoch(loader), []) == order_of(0, 3, 20)


def test_an_iterator_without_a_batch_is_no_epoch():
    loader = batches(*samples(20), 3, shuffle=True, seed=0)
    iter(loader), iter(loader)
    assert functools.reduce(operator.iadd, epoch(loader), []) == order_of(0, 0, 20)


def test_two_loops_at_once_are_two_epochs():
    loader = batches(*samples(20), 3, shuffle=True, seed=0)
    one, other = [], []
    for a, b in zip(loader, loader, strict=True):
        one += a[1].tolist()
        other += b[1].tolist()
    assert [one, other] == [order_of(0, 0, 20), order_of(0, 1, 20)]
    assert loader.state_dict()["epoch"] == 2
    inner = [epoch(loader) for _ in loader]
    assert functools.reduce(operator.iadd, inner[-1], []) == order_of(0, 9, 20)


# ---- what a transform returns ----


def test_a_transform_may_return_other_arrays(backend):
    x, y = samples(4)
    for transform, count in [
        (lambda batch, rng: batch[0], 1),
        (lambda batch, rng: [batch[1], batch[0]], 2),
        (lambda batch, rng: (*batch, batch[1]), 3),
        (lambda batch, rng: (batch[0][:1], batch[1][:1]), 2),
    ]:
        for batch in batches(x, y, 2, transform=transform):
            assert type(batch) is tuple and len(batch) == count


@pytest.mark.parametrize("result", [None, (), 3, "text", ([1, 2],), {"x": 1}])
@pytest.mark.parametrize("workers", [0, 2])
def test_a_transform_that_returns_no_arrays(result, workers):
    loader = batches(*samples(4), 2, transform=lambda batch, rng: result, workers=workers)
    with pytest.raises(
        TypeError, match=r"batches: batch 1 of epoch 1: transform returned .*, expected arrays"
    ):
        next(iter(loader))


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_an_error_in_a_transform_comes_in_the_place_of_its_batch(workers):
    def fails(batch, rng):
        if 6 in batch[1]:
            raise KeyError("six")
        return batch

    loader, seen = batches(*samples(12), 2, transform=fails, workers=workers), []
    with pytest.raises(BatchError, match="batches: batch 4 of epoch 1: transform: KeyError: 'six'") as caught:
        seen.extend(y.tolist() for _, y in loader)
    assert seen == [[0, 1], [2, 3], [4, 5]]
    assert isinstance(caught.value.__cause__, KeyError)
    assert caught.value.__cause__.__traceback__.tb_next.tb_frame.f_code.co_name == "fails"
    assert loader.state_dict()["batch"] == 3


@pytest.mark.parametrize("error", [MemoryError("no room"), KeyboardInterrupt()])
@pytest.mark.parametrize("workers", [0, 2])
def test_errors_that_are_not_the_data_s_pass_as_they_are(error, workers):
    def fails(batch, rng):
        raise error

    with pytest.raises(type(error)) as caught:
        next(iter(batches(*samples(4), 2, transform=fails, workers=workers)))
    assert caught.value is error


# ---- state ----


def make(workers=0, **options):
    options = {"shuffle": True, "transform": noisy} | options
    return batches(*samples(11), 2, seed=options.pop("seed", 7), workers=workers, **options)


@pytest.mark.parametrize("workers", [0, 1, 4])
@pytest.mark.parametrize("stop", range(1, 13))
def test_resumed_equals_uninterrupted(backend, stop, workers):
    uninterrupted = make()
    expected = arrays(uninterrupted) + arrays(uninterrupted) + arrays(uninterrupted)
    first, got, state = make(workers), [], None
    while state is None:
        for batch in first:
            got += arrays([batch])
            if len(got) == stop:
                state = json.loads(json.dumps(first.state_dict()))
                break
    resumed = make(4 - workers, seed=None)
    resumed.load_state_dict(state)
    while len(got) < 18:
        got += arrays(resumed)
    assert_same(got, expected)


def test_the_state_counts_the_batches_handed_out():
    loader = make(workers=3)
    assert [(s["epoch"], s["batch"]) for s in [loader.state_dict()]] == [(0, 0)]
    places = []
    for _ in loader:
        state = loader.state_dict()
        places.append((state["epoch"], state["batch"]))
    assert places == [(0, k) for k in range(1, 7)]
    state = loader.state_dict()
    assert (state["epoch"], state["batch"]) == (1, 0)


def test_a_state_at_the_last_batch_has_the_rest_of_the_epoch_which_is_none():
    loader = make()
    for _ in loader:
        state = loader.state_dict()
    resumed = make()
    resumed.load_state_dict(state)
    assert list(resumed) == []
    assert_same(arrays(resumed), arrays(loader))


def test_the_seed_is_in_the_state(backend):
    one = make(seed=None)
    other = make(seed=None)
    other.load_state_dict(one.state_dict())
    assert_same(arrays(one), arrays(other))


def test_the_state_is_of_the_latest_loop():
    loader = make()
    older = iter(loader)
    next(older)
    newer = iter(loader)
    next(newer)
    list(older)
    assert loader.state_dict()["epoch"] == 1 and loader.state_dict()["batch"] == 1
    loader.load_state_dict(make(seed=50).state_dict())
    rest = arrays(newer)
    assert loader.state_dict()["epoch"] == 0 and loader.state_dict()["batch"] == 0
    other = make()
    list(other)
    assert_same(rest, arrays(other)[1:])


def pickled(loader):
    return pickle.loads(pickle.dumps(loader))  # noqa: S301


@pytest.mark.parametrize("copied", [copy.deepcopy, pickled])
def test_copies_go_on_like_the_original(copied):
    loader = batches(*samples(11), 2, shuffle=True, workers=1)
    next(iter(loader))
    other = copied(loader)
    assert epoch(loader) == epoch(other)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": -1}, "seed is -1, expected at least 0"),
        ({"epoch": 1.5}, "epoch is 1.5, expected an int"),
        ({"batch": None}, "batch is None, expected an int"),
        ({"batch": 7}, "batch is 7, but an epoch has 6 batches"),
        ({"samples": 12}, "with samples 12, but here it is 11"),
        ({"batch_size": 3}, "with batch_size 3, but here it is 2"),
        ({"shuffle": False}, "with shuffle False, but here it is True"),
        ({"sampler": "BalancedSampler"}, "with sampler 'BalancedSampler', but here it is None"),
        ({"more": 1}, r"missing \[\], unknown \['more'\]"),
    ],
)
def test_a_state_that_does_not_fit_changes_nothing(change, message):
    loader = make()
    next(iter(loader))
    before = loader.state_dict()
    with pytest.raises((ValueError, TypeError), match=f"^batches.load_state_dict: .*{message}"):
        loader.load_state_dict({**before, **change})
    with pytest.raises(TypeError, match="expected a mapping"):
        loader.load_state_dict([1])
    with pytest.raises(StateDictError, match=r"missing \['batch"):
        loader.load_state_dict({"seed": 1, "epoch": 2})
    assert loader.state_dict() == before
    loader.load_state_dict({**before, "batch": 0, "samples": 12})  # at the beginning of an epoch


# ---- the door ----


@pytest.mark.parametrize("size", [2.0, "2", None, True, np.float64(2)])
def test_size_of_another_type(size):
    for call in (lambda: batches(*samples(4), size), lambda: batches(*samples(4), batch_size=size)):
        if size is not None:
            with pytest.raises(TypeError, match=r"batches: batch_size is .*, expected an int"):
                call()
    with pytest.raises(TypeError, match="batches: "):
        batches(*samples(4), size)


@pytest.mark.parametrize("size", [0, -3, np.int64(0)])
def test_size_too_small(size):
    with pytest.raises(ValueError, match=f"batches: batch_size is {size}, expected at least 1"):
        batches(*samples(4), size)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((), {}, "data and batch_size are required"),
        ((), {"batch_size": 3}, "data is missing"),
        ((np.ones(3),), {}, r"required: batches\(x, y, 64\)"),
        ((np.ones(3), np.ones(3)), {}, "required"),
        ((np.ones(3), np.ones(3), 2, True), {}, "True follows batch_size; give shuffle, seed"),
        ((np.ones(3), np.ones(3), 2, True, 0), {}, "0 follows batch_size"),
        ((np.ones(3), 2), {"batch_size": 2}, "expected an array .*got builtins.int"),
        ((np.ones(3), 2), {"shuffle": 1}, "shuffle is 1, expected True or False"),
        ((np.ones(3), 2), {"drop_last": None}, "drop_last is None"),
        ((np.ones(3), 2), {"workers": 1.0}, "workers is 1.0, expected an int"),
        ((np.ones(3), 2), {"workers": -1}, "workers is -1, expected at least 0"),
        ((np.ones(3), 2), {"workers": True}, "workers is True, expected an int"),
        ((np.ones(3), 2), {"seed": -1}, "seed is -1, expected at least 0"),
        ((np.ones(3), 2), {"seed": 1.0}, "seed is 1.0, expected a seed"),
        ((np.ones(3), 2), {"transform": "flip"}, "transform is 'flip', expected a function"),
        ((np.ones(3), 2), {"sampler": [0, 1]}, r"sampler is \[0, 1\], expected BalancedSampler"),
        (({"x": np.ones(3)}, 2), {}, "data is {'x'.*expected arrays, a data set"),
        (((np.ones(3), np.ones(3)), 2), {}, r"data is \(array.*one by one: batches\(\*data, 64\)"),
        (("text", 2), {}, "data is 'text', expected"),
        ((list, 2), {}, "data is <class 'list'>, expected"),
        ((None, 2), {}, "data is None, expected"),
    ],
)
def test_wrong_arguments(arguments, options, message):
    with pytest.raises((TypeError, ValueError), match=f"^batches: .*{message}"):
        batches(*arguments, **options)


def test_lengths():
    with pytest.raises(ShapeError, match=r"batches: expected arrays of equal lengths.*\(4, 2\) and \(3,\)"):
        batches(samples(4)[0], samples(3)[1], 2)
    with pytest.raises(ShapeError, match=r"shapes \(\) and \(\)"):
        batches(np.array(1.0), np.array(1.0), 2)
    with pytest.raises(ShapeError, match="expected at least 1 sample, got 0"):
        batches(*samples(0), 2)
    with pytest.raises(ShapeError, match=r"at least 5 samples \(batch_size\), as drop_last is on, got 4"):
        batches(*samples(4), 5, drop_last=True)


def test_no_array_or_two_backends(backend):
    x, y = samples(4)
    with pytest.raises(BackendError, match=r"batches: .*got builtins.list; .*asarray"):
        batches([1, 2, 3, 4], y, 2)
    if backend != "numpy":
        with pytest.raises(BackendError, match=f"batches: arrays of different backends: {backend}, numpy"):
            batches(x, xpconv.asnumpy(y), 2)


def test_repr():
    x, y = samples(5)
    assert repr(batches(x, y, 2)) == "batches(int64 (5, 2), int64 (5,), batch_size=2)"
    more = repr(batches(x, y, 2, shuffle=True, drop_last=True, workers=3, transform=noisy))
    assert more.startswith("batches(int64 (5, 2), int64 (5,), batch_size=2, shuffle=True, drop_last=True, tr")
    assert more.endswith("transform=noisy, workers=3)")
    assert repr(batches([(1, 2)], 2)) == "batches(list of 1, batch_size=2)"


def test_an_epoch_of_ten_million_samples_needs_no_python_list():
    import tracemalloc

    x = np.zeros(10**7, "uint8")
    tracemalloc.start()
    loop = iter(batches(x, 64, shuffle=True, seed=0))
    assert next(loop)[0].shape == (64,)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 * 8 * 10**7  # the order has 8 bytes for each
