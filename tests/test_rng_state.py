"""The state of random generators: saved, loaded, the same draws come again."""

import copy
import json
import pickle
import sys
import threading
import types
import typing

import double
import numpy as np
import process
import pytest

import xpconv
from xpconv.kernels import graph

ALL = [
    xpconv.Dropout,
    xpconv.Dropout1d,
    xpconv.Dropout2d,
    xpconv.Dropout3d,
    xpconv.AlphaDropout,
    xpconv.DropPath,
]


def images(layer):
    axes = {xpconv.Dropout1d: 1, xpconv.Dropout3d: 3}.get(type(layer), 2)
    return xpconv.asarray(np.ones((6, 5, *[2] * axes), "float32"))


def draws(layer, times=3):
    return [xpconv.asnumpy(layer(images(layer))) for _ in range(times)]


@pytest.mark.parametrize("drawn", [0, 2])
@pytest.mark.parametrize("rng", [None, 3])
@pytest.mark.parametrize("kind", ALL)
def test_the_same_masks_come_again(backend, kind, rng, drawn):
    """Through JSON; also where the state is of before the first draw on a device."""
    xpconv.manual_seed(1)
    layer = kind(0.5, rng=rng)
    draws(layer, drawn)
    state = json.loads(json.dumps(xpconv.get_rng_state(layer)))
    expected = [*draws(layer), xpconv.asnumpy(xpconv.Dense(3, 2).weight.data)]
    assert any((a != b).any() for a, b in zip(expected[0], expected[1], strict=True))
    xpconv.set_rng_state(state, layer)
    for a, b in zip([*draws(layer), xpconv.asnumpy(xpconv.Dense(3, 2).weight.data)], expected, strict=True):
        np.testing.assert_array_equal(a, b)
    xpconv.manual_seed(99)
    fresh = kind(0.5, rng=None if rng is None else 98)
    xpconv.set_rng_state(state, fresh)
    assert xpconv.get_rng_state(fresh) == state
    for a, b in zip(draws(fresh), expected, strict=False):
        np.testing.assert_array_equal(a, b)


def test_a_counter_stays_where_it_is(backend):
    """A captured step reads it at its address."""
    layer = xpconv.Dropout(0.5, rng=0)
    draws(layer)
    before = dict(layer._source.counters)
    state = xpconv.get_rng_state(layer)
    expected = draws(layer)
    xpconv.set_rng_state(state, layer)
    assert all(layer._source.counters[name] is counter for name, counter in before.items())
    np.testing.assert_array_equal(draws(layer), expected)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])  # noqa: S301
@pytest.mark.parametrize("kind", ALL)
def test_copies_draw_on(backend, kind, duplicate):
    layer = kind(0.5, rng=0)
    draws(layer)
    other = duplicate(layer)
    expected = draws(layer)
    for a, b in zip(draws(other), expected, strict=True):
        np.testing.assert_array_equal(a, b)


def test_threads_draw_different_masks(backend):
    """However they take turns: together the masks of one thread."""
    if backend == "numpy":
        pytest.skip("each draw is one call of NumPy's generator, which has a lock")
    one, many = xpconv.Dropout(0.5, rng=0), xpconv.Dropout(0.5, rng=0)
    times = 7
    expected = {m.tobytes() for m in draws(one, 4 * times)}
    barrier, found = threading.Barrier(4), []

    def run(name):
        with xpconv.use_backend(name):
            barrier.wait()
            found.extend(draws(many, times))

    threads = [threading.Thread(target=run, args=(backend,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {m.tobytes() for m in found} == expected
    assert len(expected) == 4 * times


class Stream:
    """A CUDA stream that notes what it waits for."""

    log: typing.ClassVar[list] = []

    def __init__(self, ptr):
        self.ptr = ptr

    def record(self):
        return self.ptr

    def wait_event(self, event):
        self.log.append((self.ptr, event))


def test_streams_and_devices(monkeypatch):
    """A stream waits for the one that drew before, also before a replay; a device has a counter of its own."""
    Stream.log.clear()
    now = types.SimpleNamespace(stream=Stream(0), id=0)
    cuda = types.SimpleNamespace(get_current_stream=lambda: now.stream, Device=lambda: now)
    monkeypatch.setitem(vars(double.xp), "cuda", cuda)
    layer = xpconv.Dropout(0.5, rng=0)
    with xpconv.use_backend("double"):
        first = draws(layer, 2)
        assert Stream.log == []
        now.stream = Stream(1)
        draws(layer, 2)
        assert Stream.log == [(1, 0)]
        now.stream, recorded = Stream(2), graph.Recording()
        token = graph.recording.set(recorded)
        draws(layer, 1)
        graph.recording.reset(token)
        assert Stream.log == [(1, 0)]  # a recording cannot wait for what is not in it
        for callback in recorded.callbacks * 2:
            callback()
        assert Stream.log == [(1, 0), (2, 1)]
        now.stream = Stream(0)
        draws(layer, 1)
        assert Stream.log == [(1, 0), (2, 1), (0, 2)]
        now.id = 1
        other = draws(layer, 2)
        assert Stream.log == [(1, 0), (2, 1), (0, 2)]
    assert list(layer._source.counters) == ["double", "double:1"]
    assert (other[0] != first[0]).any()
    state = xpconv.get_rng_state(layer)["layers"][""]["counters"]
    assert [state[name][1] for name in state] == [6 * 30, 2 * 30]


@pytest.mark.parametrize("backend", ["cupy"], indirect=True)
def test_streams_of_a_gpu_draw_different_masks(backend):
    cupy = xpconv.get_xp()
    one, many = xpconv.Dropout(0.5, rng=0), xpconv.Dropout(0.5, rng=0)
    x, streams, masks = (
        cupy.ones(1 << 16, "float32"),
        [cupy.cuda.Stream(non_blocking=True) for _ in range(3)],
        [],
    )
    for turn in range(12):
        with streams[turn % 3]:
            masks.append(many(x))
    cupy.cuda.runtime.deviceSynchronize()
    for mask in masks:
        np.testing.assert_array_equal(xpconv.asnumpy(mask), xpconv.asnumpy(one(x)))


TRAIN = """
import json, sys
import numpy as np, xpconv
state = json.load(open(sys.argv[1]))
model = xpconv.Sequential(xpconv.Dense(6, 6), xpconv.Dropout(0.5), xpconv.Dense(6, 2), xpconv.Dropout(0.2, rng=5))
xpconv.set_rng_state(state, model)
y = [model(np.ones((3, 6), "float32")) for _ in range(2)]
print(xpconv.init.normal_(xpconv.Parameter(np.zeros(3))).data.tolist(), [xpconv.get_rng_state(model)["layers"]])
"""


def test_in_a_new_process(tmp_path):
    xpconv.manual_seed(7)
    model = xpconv.Sequential(
        xpconv.Dense(6, 6), xpconv.Dropout(0.5), xpconv.Dense(6, 2), xpconv.Dropout(0.2, rng=5)
    )
    model(np.ones((3, 6), "float32"))
    file = tmp_path / "state.json"
    file.write_text(json.dumps(xpconv.get_rng_state(model)))
    for _ in range(2):
        model(np.ones((3, 6), "float32"))
    drawn = xpconv.init.normal_(xpconv.Parameter(np.zeros(3))).data.tolist()
    run = process.run([sys.executable, "-c", TRAIN, str(file)])
    assert run.stdout.strip() == f"{drawn} {[xpconv.get_rng_state(model)['layers']]}"


@pytest.mark.parametrize("kind", ["PCG64", "MT19937", "Philox", "SFC64"])
def test_other_generators(kind):
    layer = xpconv.Dropout(0.5, rng=np.random.Generator(getattr(np.random, kind)(3)))
    state = pickle.loads(pickle.dumps(xpconv.get_rng_state(layer)))  # noqa: S301
    expected = draws(layer)
    xpconv.set_rng_state(state, layer)
    np.testing.assert_array_equal(draws(layer), expected)


def test_states_are_copies():
    layer = xpconv.Dropout(0.5, rng=0)
    state = xpconv.get_rng_state(layer)
    before = copy.deepcopy(state)
    draws(layer)
    assert state == before
    xpconv.set_rng_state(state, layer)
    draws(layer)
    assert state == before


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda s: 3, TypeError, r"set_rng_state: state is 3, expected what xpconv\.get_rng_state\(\) gives"),
        (lambda s: None, TypeError, "state is None"),
        (lambda s: {}, TypeError, "state is dict"),
        (lambda s: {**s, "generator": {"bit_generator": "MT19937"}}, ValueError, "of a MT19937 generator, but this one is a PCG64"),
        (lambda s: {**s, "generator": {"bit_generator": "PCG64"}}, ValueError, "state is damaged"),
        (lambda s: {**s, "generator": 3}, ValueError, "of a None generator"),
        (lambda s: {**s, "counters": {"cupy": ["a", 1]}}, ValueError, "state is damaged"),
        (lambda s: {**s, "counters": 3}, ValueError, "state is damaged"),
        (lambda s: {k: v for k, v in s.items() if k != "layers"}, ValueError, r"has dropout layers \[\], but in .* are \['1'\]"),
        (lambda s: {**s, "layers": {"2": s["layers"]["1"]}}, ValueError, r"has dropout layers \['2'\]"),
        (lambda s: {**s, "layers": {"1": 3}}, TypeError, "set_rng_state: layer 1: state is 3"),
    ],
)  # fmt: skip
def test_states_that_do_not_fit(change, error, message):
    model = xpconv.Sequential(xpconv.Dropout(0.5), xpconv.Dropout(0.5, rng=3))
    before = xpconv.get_rng_state(model)
    with pytest.raises(error, match=message):
        xpconv.set_rng_state(change(before), model)
    assert xpconv.get_rng_state(model) == before


def test_models_that_are_none():
    with pytest.raises(TypeError, match="get_rng_state: model is 3, expected a Layer"):
        xpconv.get_rng_state(3)
    with pytest.raises(TypeError, match="set_rng_state: model is list, expected a Layer"):
        xpconv.set_rng_state(xpconv.get_rng_state(), [])
