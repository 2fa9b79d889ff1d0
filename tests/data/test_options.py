"""Every option of `batches` with every other, against a plain loop written from their description."""

import itertools
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import xpconv
from xpconv.data import BalancedSampler, GroupedSampler, batches

CLASSES = np.array([0, 1, 1, 0, 2, 1, 1, 1, 0, 1, 1, 1, 1])


class Items:
    def __init__(self, arrays):
        self.arrays = arrays

    def __len__(self):
        return len(self.arrays[0])

    def __getitem__(self, i):
        return tuple(a[i] for a in self.arrays)


class Stream:
    def __init__(self, arrays):
        self.arrays = arrays

    def __iter__(self):
        return zip(*self.arrays, strict=True)


def noisy(batch, rng):
    x, *others = batch
    return (x + xpconv.asarray(rng.normal(size=x.shape).astype("float32")), *others)


def source(kind, arrays, path):
    if kind == "mapped":
        for k, array in enumerate(arrays):
            np.save(path / f"{k}.npy", array)
        return [np.load(path / f"{k}.npy", mmap_mode="r") for k in range(len(arrays))]
    if kind == "double":
        return [xpconv.asarray(array) for array in arrays]
    return [Items(arrays)] if kind == "items" else [Stream(arrays)] if kind == "stream" else arrays


def sampler_of(name, n):
    return {"balanced": BalancedSampler, "grouped": GroupedSampler}[name](CLASSES[:n]) if name else None


def expected(arrays, epoch, *, size, order, drop_last, transform, seed):
    """The batches of an epoch."""
    n = len(arrays[0])
    rng = np.random.default_rng([seed, epoch])
    if order == "grouped":
        flat, bounds = sampler_of(order, n).batches(rng, size, drop_last)
        parts = [flat[a:b] for a, b in itertools.pairwise(bounds)]
    else:
        flat = np.arange(n)
        if order:
            flat = rng.permutation(n) if order == "shuffle" else sampler_of(order, n).indices(rng)
        parts = [flat[k : k + size] for k in range(0, n, size)]
    for number, part in enumerate(part for part in parts if len(part) == size or not drop_last):
        batch = [a[part] for a in arrays]
        if transform:
            sequence = np.random.SeedSequence([seed, epoch], spawn_key=(number,))
            batch[0] = batch[0] + np.random.default_rng(sequence).normal(size=batch[0].shape).astype(
                "float32"
            )
        yield batch


@pytest.mark.slow
@settings(max_examples=150)
@given(
    kind=st.sampled_from(["arrays", "mapped", "double", "items", "stream"]),
    n=st.integers(1, len(CLASSES)),
    size=st.integers(1, 6),
    count=st.integers(1, 3),
    order=st.sampled_from([None, "shuffle", "balanced", "grouped"]),
    drop_last=st.booleans(),
    transform=st.booleans(),
    workers=st.integers(0, 3),
    others=st.integers(0, 3),
    seed=st.integers(0, 2**70),
    stop=st.integers(0, 15),
)
def test_every_option_with_every_other(
    tmp_path_factory, kind, n, size, count, order, drop_last, transform, workers, others, seed, stop
):
    arrays = [(np.arange(n * 2, dtype="float32") * 10**k).reshape(n, 2) for k in range(count)]
    options = {"size": size, "order": order, "drop_last": drop_last, "transform": transform, "seed": seed}
    wanted = [batch for epoch in range(3) for batch in expected(arrays, epoch, **options)]

    def make(workers, seed=None):
        return batches(
            *source(kind, arrays, tmp_path_factory.mktemp("mapped")), batch_size=size, shuffle=order == "shuffle",
            sampler=sampler_of(order if order in ("balanced", "grouped") else None, n), drop_last=drop_last,
            transform=noisy if transform else None, workers=workers, seed=seed,
        )  # fmt: skip

    with xpconv.use_backend("double" if kind == "double" else "numpy"):
        if kind == "stream" and order:
            with pytest.raises(ValueError, match="needs a data set"):
                make(workers, seed)
            return
        if not wanted:
            with pytest.raises(ValueError, match=r"expected at least|fewer items"):
                list(make(workers, seed))
            return
        loader, got, stop = make(workers, seed), [], min(stop, len(wanted))
        assert kind == "stream" or len(loader) == len(wanted) / 3
        while len(got) < stop:
            for batch in loader:
                got.append(batch)
                if len(got) == stop:
                    break
        resumed = make(others)
        resumed.load_state_dict(json.loads(json.dumps(loader.state_dict())))
        for _ in range(4):
            got += list(resumed)
        got = [[xpconv.asnumpy(a) for a in batch] for batch in got[: len(wanted)]]
    assert len(got) == len(wanted)
    for one, other in zip(got, wanted, strict=True):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(a, b)
