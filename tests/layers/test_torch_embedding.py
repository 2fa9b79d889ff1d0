"""Embedding against its namesake in PyTorch."""

import math

import numpy as np
import pytest
from effort import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import LAYOUTS, assert_same, contiguous, covering, nn, normal, numpy_state, torch

import xpconv

OPTIONS = {
    "padding_idx": [None, 0, 2, -1, -5],
    "max_norm": [None, 0.0, 0.7, 2],
    "norm_type": [2.0, 1.0, 3, 0.5, math.inf],
    "scale_grad_by_freq": [False, True],
}
REFUSED = (RuntimeError, ValueError, TypeError, AssertionError, IndexError)


def compare(indices, size=5, dim=3, training=True, layout=np.asarray, kind="int64", **options):
    """Output, weight's gradient over two forwards, and weight afterwards, renormalised or not."""
    for dtype in ("float64", "float32"):
        theirs = nn.Embedding(size, dim, dtype=getattr(torch, dtype), **options).train(training)
        theirs.weight.data = contiguous(normal(size, dim, seed=size).astype(dtype))
        ours = xpconv.Embedding(size, dim, dtype=dtype, **options).train(training)
        ours.load_state_dict(numpy_state(theirs))
        for step in range(2):
            here = (np.asarray(indices) + step) % size
            y = ours(layout(here.astype(kind)))
            expected = theirs(contiguous(here.astype("int32" if kind == "int32" else "int64")))
            assert_same(y, expected, f"{dtype}: output")
            g = normal(*y.shape, seed=step).astype(dtype)
            expected.backward(contiguous(g))
            assert ours.backward(layout(g)) is None
        assert_same(ours.weight.grad, theirs.weight.grad, f"{dtype}: gradient")
        state, expected_state = ours.state_dict(), theirs.state_dict()
        assert list(state) == list(expected_state) == ["weight"]
        assert_same(state["weight"], expected_state["weight"], f"{dtype}: weight afterwards")
        assert ours.padding_idx == theirs.padding_idx


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("options", list(covering(OPTIONS, 3)), ids=str)
def test_options(options, training):
    compare([[0, 4, 2, 4], [3, 4, 0, 4]], training=training, **options)


@settings(max_examples=examples(40))
@given(
    shape=st.lists(st.integers(0, 5), max_size=3),
    size=st.integers(1, 6),
    dim=st.integers(1, 4),
    seed=st.integers(0, 9),
    options=st.sampled_from(list(covering(OPTIONS, 2))),
)
def test_shapes(shape, size, dim, seed, options):
    if options["padding_idx"] is not None:
        options = options | {"padding_idx": options["padding_idx"] % size}
    compare(np.random.default_rng(seed).integers(size, size=shape), size, dim, **options)


@pytest.mark.parametrize("kind", ["int32", "int64", "uint8", "int16"])
@pytest.mark.parametrize("layout", [np.asarray, *LAYOUTS], ids=lambda f: f.__name__)
def test_layouts(layout, kind):
    def wide(x):
        """`oracle.wide` fills gaps with NaN, which integers have not."""
        return np.repeat(x, 2, axis=-1)[..., ::2]

    layout = wide if layout.__name__ == "wide" else layout
    compare(np.arange(24).reshape(2, 3, 4) % 5, layout=layout, kind=kind)


@pytest.mark.parametrize("shape", [(), (1,), (0,), (2, 0), (0, 3)], ids=str)
@pytest.mark.parametrize("options", [{}, {"max_norm": 0.5}, {"scale_grad_by_freq": True}], ids=str)
def test_one_and_none(shape, options):
    compare(np.zeros(shape, "int64"), **options)


@pytest.mark.parametrize(
    ("arguments", "indices"),
    [
        ((-1, 3), [0]),
        ((2.0, 3), [0]),
        ((3, -1), [0]),
        ((3, None), [0]),
        (("3", 3), [0]),
        ((3, 2, 3), [0]),
        ((3, 2, -4), [0]),
        ((3, 2, 1.5), [0]),
        ((3, 2, "a"), [0]),
        ((3, 2, True), [0]),
        ((3, 2, None, "a"), [0]),
        ((3, 2, None, 1j), [0]),
        ((3, 2, None, 1.0, "a"), [0]),
        ((3, 2, None, 1.0, None), [0]),
        ((3, 2, None, None, 2.0, 1), [0]),
        ((3, 2, None, None, 2.0, None), [0]),
        ((3, 2), [3]),
        ((3, 2), [0, -1]),
        ((3, 2), [0.0]),
        ((3, 2), [True]),
        ((3, 2), [1j]),
    ],
    ids=str,
)
def test_what_pytorch_refuses_is_refused(arguments, indices):
    x = np.array(indices)
    with pytest.raises(REFUSED):
        nn.Embedding(*arguments)(contiguous(x))
    with pytest.raises((ValueError, TypeError), match=r"^Embedding\b"):
        xpconv.Embedding(*arguments)(x)
