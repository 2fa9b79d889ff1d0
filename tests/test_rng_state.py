"""The state of random generators: saved, loaded, the same draws come again."""

import copy
import json
import pickle
import subprocess
import sys

import numpy as np
import pytest

import xpconv

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
    run = subprocess.run([sys.executable, "-c", TRAIN, str(file)], capture_output=True, text=True, check=True)
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
