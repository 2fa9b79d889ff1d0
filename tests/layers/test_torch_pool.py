"""Pooling in one to three dimensions, indices and unpooling against PyTorch (2-D also in test_torch.py)."""

import numpy as np
import pytest
from effort import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import LAYOUTS, assert_same, channels_last, check, contiguous, covering, nn, normal, torch

import xpconv

SHAPES = {1: [(2, 3, 9), (3, 10)], 2: [(2, 3, 7, 8), (3, 8, 9)], 3: [(2, 2, 5, 6, 7), (2, 6, 5, 5)]}


def compare(name, options, x, **kwargs):
    try:
        check(lambda m: getattr(m, name)(**options), x, **kwargs)
    except BaseException:
        print(f"{name}({options}) on {x.shape}")
        raise


@pytest.mark.parametrize("axes", [1, 3])
def test_max_pool_over_all_options(axes):
    options = {
        "kernel_size": [2, 3, (3, 2, 4)[-axes:]],
        "stride": [None, 1, (1, 3, 2)[-axes:]],
        "padding": [0, 1, (0, 1, 1)[-axes:]],
        "dilation": [1, (2, 1, 1)[:axes]],
        "ceil_mode": [False, True],
        "shape": SHAPES[axes],
        "layout": [np.asarray, *LAYOUTS],
    }
    for row in covering(options, 3):
        shape, layout = row.pop("shape"), row.pop("layout")
        compare(f"MaxPool{axes}d", row, normal(*shape), layout=layout)


@pytest.mark.parametrize("axes", [1, 3])
def test_avg_pool_over_all_options(axes):
    options = {
        "kernel_size": [2, 3, (3, 2, 4)[-axes:]],
        "stride": [None, 1, (1, 3, 2)[-axes:]],
        "padding": [0, 1, (0, 1, 1)[-axes:]],
        "ceil_mode": [False, True],
        "count_include_pad": [True, False],
        "shape": SHAPES[axes],
        "layout": [np.asarray, *LAYOUTS],
    }
    if axes == 3:
        options["divisor_override"] = [None, 7]
    for row in covering(options, 3):
        shape, layout = row.pop("shape"), row.pop("layout")
        compare(f"AvgPool{axes}d", row, normal(*shape), layout=layout)


@pytest.mark.parametrize("name", ["LPPool1d", "LPPool2d", "LPPool3d"])
def test_lp_pool_over_all_options(name):
    axes = int(name[-2])
    options = {
        "norm_type": [1, 2, 3.5, -2],
        "kernel_size": [2, 3, (3, 2, 4)[-axes:] if axes > 1 else 4],  # torch takes no tuple in 1-d
        "stride": [None, 1, (1, 3, 2)[-axes:] if axes > 1 else 3],
        "ceil_mode": [False, True],
        "shape": SHAPES[axes],
        "layout": [np.asarray, channels_last],
    }
    for row in covering(options, 3):
        shape, layout = row.pop("shape"), row.pop("layout")
        compare(name, row, np.abs(normal(*shape)) + 0.2, layout=layout)


def test_lp_pool_of_zeros_and_of_negative_numbers():
    compare("LPPool2d", {"norm_type": 2, "kernel_size": 2}, np.array([[[0.0, 0, -3, 4], [0, 0, 5, -6]]]))


UNPOOL = {"MaxPool1d": "MaxUnpool1d", "MaxPool2d": "MaxUnpool2d", "MaxPool3d": "MaxUnpool3d"}


def returned_indices(name, options, x, unpool=None):
    """Maxima, their places, the gradient through them; and what unpooling makes of both."""
    ours = getattr(xpconv, name)(**options, return_indices=True)
    theirs = getattr(nn, name)(**options, return_indices=True)
    there = contiguous(x).requires_grad_()
    (y, places), (expected, expected_places) = ours(x), theirs(there)
    assert_same(y, expected, "output")
    assert_same(places, expected_places, "indices")
    g = normal(*y.shape, seed=5)
    expected.backward(contiguous(g))
    assert_same(ours.backward(g), there.grad, "input gradient")
    if unpool is None:
        return
    ours, theirs = (getattr(m, UNPOOL[name])(**unpool) for m in (xpconv, nn))
    there = expected.detach().requires_grad_()
    axes = int(name[-2])
    for size in (x.shape[-axes:], x.shape)[: x.ndim - axes]:  # torch takes the full one with a batch only
        z, expected = ours(y, places, size), theirs(there, expected_places, size)
        assert_same(z, expected, "unpooled")
        g = normal(*z.shape, seed=6)
        there.grad = None
        expected.backward(contiguous(g))
        assert_same(ours.backward(g), there.grad, "gradient of unpooling")


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_indices_and_unpooling(axes):
    options = {
        "kernel_size": [2, 3],
        "stride": [None, 2],
        "padding": [0, 1],
        "shape": SHAPES[axes],
    }
    for row in covering(options, 3):
        x = normal(*row.pop("shape"))
        returned_indices(f"MaxPool{axes}d", row, x, unpool=row)
        returned_indices(f"MaxPool{axes}d", {**row, "dilation": 2, "ceil_mode": True}, x)


def test_unpooling_without_a_size():
    x = normal(2, 3, 8, 6)
    pooled, places = nn.MaxPool2d(2, return_indices=True)(contiguous(x))
    expected = nn.MaxUnpool2d(2)(pooled, places)
    assert_same(xpconv.MaxUnpool2d(2)(pooled.numpy(), places.numpy()), expected, "unpooled")


@pytest.mark.sample(4)
@pytest.mark.parametrize("name", ["AdaptiveMaxPool1d", "AdaptiveMaxPool2d", "AdaptiveMaxPool3d"])
@pytest.mark.parametrize("n", [1, 2, 5, 7, 9])
@pytest.mark.parametrize("size", [1, 2, 3, 7, 11])
def test_adaptive_max_pool_sizes(name, n, size):
    axes = int(name[-2])
    spatial = (n, 5, 4)[:axes]
    output = (size, None, 3)[:axes] if axes > 1 else size
    compare(name, {"output_size": output}, normal(2, 3, *spatial))
    returned_indices(name, {"output_size": output}, normal(2, *spatial))


@pytest.mark.parametrize("values", [[-1.0, 0.0, 1.0], [-np.inf, 0.0, np.inf]], ids=str)
def test_adaptive_max_pool_ties_and_infinities(values):
    x = np.random.default_rng(2).choice(values, (2, 3, 7, 9))
    compare("AdaptiveMaxPool2d", {"output_size": (3, 4)}, x)


def test_adaptive_max_pool_of_nan():
    x = normal(1, 1, 4, 4)
    x[0, 0, 1, 1] = np.nan
    compare("AdaptiveMaxPool2d", {"output_size": 2}, x)


@settings(max_examples=examples(60))
@given(data=st.data())
def test_adaptive_max_pool_drawn(data):
    draw = data.draw
    axes = draw(st.integers(1, 3))
    spatial = draw(st.lists(st.integers(1, 7), min_size=axes, max_size=axes))
    output = tuple(draw(st.none() | st.integers(1, 8)) for _ in spatial)
    batch = draw(st.sampled_from([(), (1,), (2,)]))
    if axes == 1:
        output = output[0] or spatial[0]  # torch takes no None here
    layout = draw(st.sampled_from([np.asarray, *LAYOUTS]))
    compare(f"AdaptiveMaxPool{axes}d", {"output_size": output}, normal(*batch, 2, *spatial), layout=layout)


@pytest.mark.parametrize(
    "name", [f"{kind}Pool{axes}d" for kind in ("Max", "Avg", "AdaptiveMax") for axes in (1, 2, 3)]
)
def test_empty_batch(name):
    options = {"output_size": 2} if "Adaptive" in name else {"kernel_size": 2}
    compare(name, options, normal(0, 2, *[4] * int(name[-2])))


IMAGE = (2, 3, 6, 6)
BAD = {
    "kernel 0": (lambda m: m.MaxPool1d(0), (2, 3, 6)),
    "stride -1": (lambda m: m.AvgPool3d(2, -1), (2, 3, 4, 4, 4)),
    "padding": (lambda m: m.MaxPool3d(2, padding=2), (2, 3, 4, 4, 4)),
    "dilation": (lambda m: m.MaxPool1d(2, dilation=0), (2, 3, 6)),
    "kernel of two": (lambda m: m.MaxPool3d((2, 2)), (2, 3, 4, 4, 4)),
    "rank": (lambda m: m.MaxPool1d(2), (6,)),
    "rank of three": (lambda m: m.AvgPool3d(2), (2, 6, 6)),
    "kernel too large": (lambda m: m.AvgPool1d(9), (2, 3, 6)),
    "lp kernel": (lambda m: m.LPPool2d(2, 7), IMAGE),
    "lp norm": (lambda m: m.LPPool2d(0, 2), IMAGE),
    "adaptive rank": (lambda m: m.AdaptiveMaxPool2d(2), (6, 6)),
    "adaptive negative": (lambda m: m.AdaptiveMaxPool2d(-2), IMAGE),
    "adaptive no pixels": (lambda m: m.AdaptiveMaxPool2d(2), (2, 3, 0, 6)),
    "adaptive of three": (lambda m: m.AdaptiveMaxPool2d((2, 2, 2)), IMAGE),
    "global rank": (lambda m: m.AdaptiveMaxPool3d(1), (3, 6, 6)),
}


@pytest.mark.parametrize(("make", "shape"), BAD.values(), ids=BAD.keys())
def test_errors(make, shape):
    """What torch refuses is refused, by name."""
    with pytest.raises((RuntimeError, ValueError, TypeError, IndexError, ZeroDivisionError)):
        make(nn)(torch.ones(shape))
    with pytest.raises((ValueError, TypeError), match=r"^(Max|Avg|LP|AdaptiveMax)Pool\dd"):
        make(xpconv)(np.ones(shape, "float32"))
