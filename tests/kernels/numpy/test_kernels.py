"""The overrides for NumPy against their references: value, dtype, shape."""

import itertools
import os
import threading
import time

import numpy as np
import pytest
from effort import examples
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from operations import TOLERANCE, ours, reference, same
from process import LIMIT, forked
from sharing import shared_by

import xpconv
from xpconv.cores import count_from_environment
from xpconv.geometry import Window
from xpconv.kernels.engine import memory, plans, threads
from xpconv.kernels.engine.plans import Arena, Recorder
from xpconv.kernels.numpy import batchlast, channel_sums, pointwise, products, stripes
from xpconv.kernels.numpy.blocks import Ending


@pytest.fixture(autouse=True, params=[1, 2])
def thread_count(request):
    """Everything on one thread, and on two however little there is to do."""
    with shared_by(request.param):
        yield request.param


@pytest.fixture
def small_blocks(monkeypatch):
    """Arrays of a hundred thousand elements are several blocks."""
    for name in ("BLOCK", "SHARED_BLOCK", "ALONE_BLOCK"):
        monkeypatch.setattr(pointwise, name, 1 << 13)
    monkeypatch.setattr(channel_sums, "ALONE_BYTES", 1 << 16)
    monkeypatch.setattr(channel_sums, "SHARED_BYTES", 1 << 17)


def images(rng, shape, dtype, channels_last):
    x = rng.normal(size=shape).astype(dtype)
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1) if channels_last else x


def compare_convolutions(x, weight, bias, window, groups, tolerance=None):
    args = window, groups
    y = reference.conv(np, x, weight, bias, *args)
    same(ours.conv(np, x, weight, bias, *args), y, tolerance)
    order = (*range(2, weight.ndim), 1, 0)
    arranged = np.ascontiguousarray(weight.transpose(order)).transpose(np.argsort(order))
    same(ours.conv(np, x, arranged, bias, *args), y, tolerance)
    g = images(np.random.default_rng(9), y.shape, x.dtype, channels_last=True)
    for name, operands in {
        "conv_backward_weight": (g, x, weight.shape),
        "conv_backward_input": (g, weight, x.shape),
    }.items():
        expected = getattr(reference, name)(np, *operands, *args)
        same(getattr(ours, name)(np, *operands, *args), expected, tolerance)


@settings(max_examples=examples(150))
@given(data=st.data())
def test_convolutions_drawn(data):
    draw = data.draw
    axes = draw(st.integers(1, 3))
    groups = draw(st.sampled_from([1, 1, 2, 3]))
    thin = draw(st.booleans())
    c = groups * (1 if thin else draw(st.sampled_from([1, 2, 5])))
    k = groups * draw(st.integers(1, 3))
    per_axis = lambda strategy: tuple(draw(strategy) for _ in range(axes))
    kernel = per_axis(st.integers(1, 3))
    window = Window(
        kernel,
        per_axis(st.integers(1, 3)),
        per_axis(st.tuples(st.integers(0, 3), st.integers(0, 3))),
        per_axis(st.integers(1, 2)),
    )
    spatial = per_axis(st.integers(1, 9))
    assume(min(window.output_shape(spatial)) > 0)
    dtype = draw(st.sampled_from(["float64", "float32"]))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    x = images(rng, (draw(st.integers(0, 3)), c, *spatial), dtype, draw(st.booleans()))
    weight = rng.normal(size=(k, c // groups, *kernel)).astype(dtype)
    bias = rng.normal(size=k).astype(dtype) if draw(st.booleans()) else None
    compare_convolutions(x, weight, bias, window, groups)


@settings(max_examples=examples(100))
@given(data=st.data())
def test_products_in_pieces(data):
    """Operands as convolutions have them: rows apart, or columns in place of rows; stacks; a rest after the pieces."""
    draw = data.draw
    stack = draw(st.sampled_from([(), (3,)]))
    rows, length, n = draw(st.integers(0, 700)), draw(st.integers(1, 9)), draw(st.integers(1, 9))
    dtype = draw(st.sampled_from(["float64", "float32"]))
    rng = np.random.default_rng(0)

    def matrix(m, n):
        x = rng.normal(size=(*stack, m, n + draw(st.integers(0, 2)))).astype(dtype)[..., :n]
        return np.ascontiguousarray(x.swapaxes(-1, -2)).swapaxes(-1, -2) if draw(st.booleans()) else x

    a, b, c = matrix(rows, length), rng.normal(size=(*stack, length, n)).astype(dtype), matrix(rows, n)
    few = rng.normal(size=(n, length)).astype(dtype)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(products, "SMALL", draw(st.sampled_from([20, 3000, 10000])) * length)
        patch.setattr(products, "small_kernels", lambda: True)
        patch.setattr(products, "FEWEST_TO_SUM", draw(st.integers(1, 9)))
        products.piece_size.cache_clear()
        out = np.full((*stack, rows, n), np.nan, dtype)
        do = Recorder(Arena(), record=False)
        products.multiply(do, a, b, out)
        same(out, a @ b)
        expected = a.swapaxes(-1, -2) @ c
        total = np.full_like(expected, np.nan)
        products.add_product(do, a, c, total, first=True)
        same(total, expected)
        products.add_product(do, a, c, total, first=False)
        same(total, 2 * expected)
        if not stack:
            wide = np.full((n, rows), np.nan, dtype)
            products.multiply_wide(do, few, a.T, wide)
            same(wide, few @ a.T)
    products.piece_size.cache_clear()


def test_pieces_are_small_and_about_even():
    products.piece_size.cache_clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(products, "small_kernels", lambda: True)
        assert products.piece_size(1000, 1000, 8) == 0  # one product is small enough
        assert products.piece_size(1001, 1000, 8) == 496
        assert products.piece_size(10000, 200000, 8) == 0  # pieces would be of 5 rows
        assert products.piece_size(10000, 125000, 8) == 8
        for rows, size in itertools.product((777, 4096, 65536), (96, 2304, 18432)):
            assert (products.piece_size(rows, size, 8) or rows) * size <= 10**6
    products.piece_size.cache_clear()


SHAPES = {  # batch, in, out, size, kernel, stride, padding, dilation, groups: those of benchmarks/work.py, thinner
    "5x5, one channel": (8, 1, 6, 28, 5, 1, 0, 1, 1),
    "5x5": (8, 6, 16, 12, 5, 1, 0, 1, 1),
    "more than a block": (6, 32, 32, 40, 3, 1, 1, 1, 1),
    "strided": (5, 64, 128, 32, 3, 2, 1, 1, 1),
    "pointwise": (4, 128, 64, 28, 1, 1, 0, 1, 1),
    "strided pointwise": (4, 32, 64, 28, 1, 2, 0, 1, 1),
    "7x7/2": (1, 3, 16, 96, 7, 2, 3, 1, 1),
    "depthwise": (4, 96, 96, 28, 3, 1, 1, 1, 96),
    "strided depthwise": (4, 96, 96, 28, 3, 2, 1, 1, 96),
    "depthwise, fewer taps than steps": (2, 8, 8, 19, 3, 4, 1, 1, 8),
    "depthwise, as many taps as steps": (2, 8, 8, 17, 3, 3, 0, 1, 8),
    "depthwise, five taps in three phases": (2, 8, 8, 16, 5, 3, 2, 1, 8),
    "depthwise, strided and dilated": (2, 8, 8, 19, 3, 2, 2, 2, 8),
    "dilated": (4, 64, 64, 24, 3, 1, 2, 2, 1),
    "groups": (4, 64, 64, 24, 3, 1, 1, 1, 4),
    "few pixels": (1, 32, 256, 7, 3, 1, 1, 1, 1),
    "few pixels, strided": (2, 16, 300, 9, 3, 2, 1, 1, 1),
}


@pytest.mark.sample(4)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_convolutions_of_sizes_that_networks_have(shape, dtype):
    n, c, k, size, kernel, stride, padding, dilation, groups = shape
    rng = np.random.default_rng(0)
    x = images(rng, (n, c, size, size), dtype, channels_last=True)
    weight = rng.normal(size=(k, c // groups, kernel, kernel)).astype(dtype)
    window = Window((kernel,) * 2, (stride,) * 2, ((padding, padding),) * 2, (dilation,) * 2)
    compare_convolutions(x, weight, rng.normal(size=k).astype(dtype), window, groups)


@pytest.mark.sample(3)
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-4), ("float64", 1e-12)])
@pytest.mark.parametrize(
    ("n", "c", "k", "spatial", "padding"),
    [
        (8, 64, 64, (32, 32), ((1, 1), (1, 1))),
        (8, 64, 96, (14, 15), ((1, 1), (1, 1))),
        (40, 128, 64, (7, 7), ((1, 1), (1, 1))),
        (8, 64, 64, (18, 17), ((0, 0), (2, 1))),
    ],
)
def test_winograd(n, c, k, spatial, padding, dtype, tolerance):
    """Where it is chosen, its error is within what the docstring says."""
    rng = np.random.default_rng(0)
    x = images(rng, (n, c, *spatial), dtype, channels_last=True)
    weight = rng.normal(size=(k, c, 3, 3)).astype(dtype)
    window = Window((3, 3), (1, 1), padding, (1, 1))
    assert ours.conv_algorithm(np, x.shape, x.dtype, weight.shape, window, 1) == "winograd"
    compare_convolutions(x, weight, rng.normal(size=k).astype(dtype), window, 1, tolerance)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("float64", 1e-13)])
@pytest.mark.parametrize(
    ("n", "c", "k", "spatial", "padding"),
    [
        (8, 16, 16, (32, 32), ((1, 1), (1, 1))),
        (9, 32, 32, (31, 29), ((1, 1), (1, 1))),
        (64, 16, 3, (14, 13), ((0, 0), (2, 1))),
        (1, 48, 24, (40, 41), ((2, 2), (0, 1))),
    ],
)
def test_stripes(n, c, k, spatial, padding, dtype, tolerance):
    """Where it is chosen, its error is within what the docstring says."""
    rng = np.random.default_rng(0)
    x = images(rng, (n, c, *spatial), dtype, channels_last=True)
    weight = rng.normal(size=(k, c, 3, 3)).astype(dtype)
    window = Window((3, 3), (1, 1), padding, (1, 1))
    args = x.shape, x.dtype, weight.shape, window, 1
    assert ours.conv_algorithm(np, *args) == "stripes"
    assert ours.conv_algorithm(np, *args, "direct") == "columns"
    xpconv.set_exact()
    try:
        assert ours.conv_algorithm(np, *args) == "columns"
    finally:
        xpconv.set_exact(False)
    compare_convolutions(x, weight, rng.normal(size=k).astype(dtype), window, 1, tolerance)


@settings(max_examples=examples(150))
@given(data=st.data())
def test_stripes_drawn(data):
    """Of whatever layout; edges that cut stripes and runs; blocks of one stripe, some, and many."""
    draw = data.draw
    pair = st.tuples(st.integers(0, 5), st.integers(0, 5))
    window = Window((3, 3), (1, 1), (draw(pair), draw(pair)), (1, 1))
    spatial = draw(st.integers(1, 13)), draw(st.integers(1, 9))
    output = window.output_shape(spatial)
    assume(min(output) > 0)
    dtype = draw(st.sampled_from(["float64", "float32"]))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    n, c, k = (draw(st.integers(1, 4)) for _ in range(3))
    apart = lambda x: np.repeat(x, 2, axis=-1)[..., ::2]
    last = lambda x: xpconv.layout.channels_first(np.ascontiguousarray(xpconv.layout.channels_last(x)))
    layout = st.sampled_from([lambda x: x, last, apart, lambda x: apart(last(x)), batch_last])
    x = draw(layout)(rng.normal(size=(n, c, *spatial)).astype(dtype))
    g = draw(layout)(rng.normal(size=(n, k, *output)).astype(dtype))
    weight = rng.normal(size=(k, c, 3, 3)).astype(dtype)
    bias = rng.normal(size=k).astype(dtype) if draw(st.booleans()) else None
    bounds = draw(st.sampled_from([None, (0.0, None), (-0.5, 0.5)]))
    tolerance = {"float64": 1e-11, "float32": 1e-4}[dtype]  # of what bounds leave
    y = memory.empty_images((n, k, *output), x.dtype)
    y[...] = np.nan
    with pytest.MonkeyPatch.context() as patch:
        for name in ("BLOCK_BYTES", "SHARED_BYTES"):
            patch.setattr(stripes, name, draw(st.sampled_from([1, 1 << 12, 1 << 14, 1 << 20])))
        arena = Arena()
        for _ in range(2):  # in memory that has been used
            stripes.conv(Recorder(arena, record=False), x, weight, window, y, Ending(bias, bounds))
            same(y, reference.conv(np, x, weight, bias, window, bounds=bounds), tolerance)
            dw = stripes.weight_grad(Recorder(arena, record=False), g, x, weight.shape, window)
            same(dw, reference.conv_backward_weight(np, g, x, weight.shape, window, 1), tolerance)
            for array in arena.memory.named.values():
                array[...] = 255  # NaN, in floats


def batch_last(x):
    """The same values, with the batch last in memory."""
    return xpconv.layout.batch_first(np.ascontiguousarray(xpconv.layout.batch_last(x)))


@settings(max_examples=examples(100))
@given(data=st.data())
def test_convolutions_with_the_batch_last(data):
    """Of whatever layout the operands are; in blocks of one row, too."""
    draw = data.draw
    axes = draw(st.integers(1, 3))
    per_axis = lambda strategy: tuple(draw(strategy) for _ in range(axes))
    window = Window(
        per_axis(st.integers(1, 3)),
        per_axis(st.integers(1, 3)),
        per_axis(st.tuples(st.integers(0, 3), st.integers(0, 3))),
        per_axis(st.integers(1, 2)),
    )
    spatial = per_axis(st.integers(1, 9))
    output = window.output_shape(spatial)
    assume(min(output) > 0)
    dtype = draw(st.sampled_from(["float64", "float32"]))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    n, c, k = (draw(st.integers(1, 5)) for _ in range(3))
    layout = draw(st.sampled_from([lambda x: x, batch_last, lambda x: images(rng, x.shape, dtype, True)]))
    x = layout(rng.normal(size=(n, c, *spatial)).astype(dtype))
    g = layout(rng.normal(size=(n, k, *output)).astype(dtype))
    weight = rng.normal(size=(k, c, *window.kernel)).astype(dtype)
    bias = rng.normal(size=k).astype(dtype) if draw(st.booleans()) else None
    bounds = draw(st.sampled_from([None, (0.0, None), (-0.5, 0.5)]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batchlast, "COLUMN_BYTES", draw(st.sampled_from([1, 1 << 10, 1 << 20])))
        do = Recorder(Arena(), record=False)
        y = memory.empty_batch_last((n, k, *output), dtype)
        batchlast.conv(do, x, weight, window, y, Ending(bias, bounds))
        same(y, reference.conv(np, x, weight, bias, window, bounds=bounds))
        dw = batchlast.weight_grad(do, g, x, weight.shape, window)
        same(dw, reference.conv_backward_weight(np, g, x, weight.shape, window, 1))
        dx = memory.empty_batch_last(x.shape, dtype)
        batchlast.input_grad(do, g, weight, dx, window)
        same(dx, reference.conv_backward_input(np, g, weight, x.shape, window, 1))


@pytest.mark.sample(4)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("n", "c", "k", "size", "kernel", "way"),
    [
        (32, 1, 6, 28, 5, "batch_last"),
        (32, 6, 16, 14, 5, "batch_last"),
        (32, 3, 8, 16, 3, "batch_last"),
        (16, 1, 6, 28, 5, "columns"),
        (32, 8, 32, 14, 3, "stripes"),
        (32, 2, 32, 14, 3, "columns"),
        (32, 64, 64, 16, 3, "winograd"),
        (32, 8, 8, 16, 1, "columns"),
    ],
)
def test_convolutions_of_images_with_the_batch_last(n, c, k, size, kernel, way, dtype):
    """The way goes by shapes; each takes images in this layout, of a layer with few channels before."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, c, size, size)).astype(dtype)
    weight = rng.normal(size=(k, c, kernel, kernel)).astype(dtype)
    window = Window((kernel,) * 2, (1, 1), ((1, 1), (1, 1)), (1, 1))
    assert ours.conv_algorithm(np, x.shape, x.dtype, weight.shape, window, 1) == way
    compare_convolutions(batch_last(x), weight, None, window, 1, 1e-4 if dtype == "float32" else None)
    y = reference.conv(np, x, weight, None, window)
    g = batch_last(rng.normal(size=y.shape).astype(dtype))
    dw = ours.conv_backward_weight(np, g, x, weight.shape, window, 1)
    same(dw, reference.conv_backward_weight(np, g, x, weight.shape, window, 1), 1e-4)
    dx = ours.conv_backward_input(np, g, weight, x.shape, window, 1)
    same(dx, reference.conv_backward_input(np, g, weight, x.shape, window, 1), 1e-4)


def test_the_batch_stays_last():
    """Through ReLU, pooling and BatchNorm, and on the way back."""
    x, g = (batch_last(np.random.default_rng(i).normal(size=(32, 3, 8, 8))) for i in range(2))
    assert xpconv.layout.is_batch_last(x)
    assert not any(
        xpconv.layout.is_batch_last(images(np.random.default_rng(0), s, "float32", last))
        for last in (True, False)
        for s in [(4, 3, 5, 6), (1, 3, 5, 6), (4, 1, 5, 6), (4, 3, 1, 1), (4, 3)]
    )
    window = Window((2, 2), (2, 2), ((0, 0), (0, 0)), (1, 1))
    y, winner = ours.max_pool(np, x, window)
    mean, var = ours.statistics(np, x)
    given = mean, 1 / np.sqrt(var + 1e-5)
    z = ours.batch_norm(np, x, None, None, *given, (0.0, None))
    for array in (
        ours.conv(np, x, np.ones((4, 3, 3, 3)), None, window._replace(kernel=(3, 3))),
        ours.clip(np, x, 0.0, None), ours.clip_backward(np, np.ascontiguousarray(g), x, 0.0, None),
        ours.add(np, g, x), y, winner, ours.max_pool_backward(np, y, winner, x.shape, window),
        ours.sum_pool(np, x, window), ours.sum_pool_backward(np, y, x.shape, window), z,
        ours.batch_norm_backward(np, np.ascontiguousarray(g), x, None, *given, True, True, z, (0.0, None))[0],
    ):  # fmt: skip
        assert xpconv.layout.is_batch_last(array)


@settings(max_examples=examples(100))
@given(data=st.data())
def test_pools_drawn(data):
    draw = data.draw
    axes = draw(st.integers(1, 3))
    per_axis = lambda strategy: tuple(draw(strategy) for _ in range(axes))
    kernel = per_axis(st.integers(1, 3))
    padding = tuple(draw(st.integers(0, k // 2)) for k in kernel)
    window = Window(
        kernel, per_axis(st.integers(1, 4)), tuple((p, p) for p in padding), per_axis(st.integers(1, 2))
    )
    spatial = per_axis(st.integers(1, 9))
    ceil_mode = draw(st.booleans())
    output = window.output_shape(spatial, ceil_mode)
    assume(min(output) > 0)
    dtype = draw(st.sampled_from(["float64", "float32", "float16"]))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    x = images(rng, (draw(st.integers(0, 3)), 3, *spatial), dtype, draw(st.booleans()))
    if draw(st.booleans()):
        x = rng.choice(np.array([-1, 0, 1, np.nan, np.inf, -np.inf], dtype), x.shape)
    turned = batch_last if draw(st.booleans()) else lambda x: x
    x = turned(x)
    with np.errstate(invalid="ignore"):
        y, winner = reference.max_pool(np, x, window, ceil_mode)
        found = ours.max_pool(np, x, window, ceil_mode)
    np.testing.assert_array_equal(found[0], y)
    np.testing.assert_array_equal(found[1], winner)
    for kernel in (ours, reference):
        np.testing.assert_array_equal(kernel.max_pool(np, x, window, ceil_mode, winners=False)[0], y)
        for winners in (True, False):
            cut_off, who = kernel.max_pool(np, x, window, ceil_mode, winners, (-0.5, 0.75))
            np.testing.assert_array_equal(cut_off, np.clip(y, -0.5, 0.75))
            assert not winners or np.array_equal(who, winner)
    g = images(rng, y.shape, dtype, draw(st.booleans()))
    g, winner = turned(g), turned(winner)
    same(
        ours.max_pool_backward(np, g, winner, x.shape, window),
        reference.max_pool_backward(np, g, winner, x.shape, window), 1e-3 if dtype == "float16" else None,
    )  # fmt: skip
    if dtype != "float16":
        x = turned(images(rng, x.shape, dtype, draw(st.booleans())))
        same(ours.sum_pool(np, x, window, ceil_mode), reference.sum_pool(np, x, window, ceil_mode))
        args = g, x.shape, window
        same(ours.sum_pool_backward(np, *args), reference.sum_pool_backward(np, *args))


@pytest.mark.sample(4)
@pytest.mark.parametrize("centre", [2.0, 50.0])
@pytest.mark.parametrize("layout", ["channels-last", "channels-first", "batch-last"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(
    "shape", [(8, 5, 7, 9), (33, 32, 12, 12), (100, 7), (3, 4, 300), (0, 4, 3), (1, 1, 1)]
)
def test_batch_normalisation(shape, layout, dtype, centre, small_blocks):
    """With means near and far: both round as the reference does."""
    rng = np.random.default_rng(0)
    x = images(rng, shape, dtype, layout == "channels-last") * 3 + centre
    x = batch_last(x) if layout == "batch-last" else x
    g = images(rng, shape, dtype, layout == "channels-first")
    mean, var = reference.statistics(np, x)
    same(ours.statistics(np, x), (mean, var), TOLERANCE[dtype] / 2)
    inv_std = 1 / np.sqrt(var + 1e-5)
    weight, bias = rng.normal(size=(2, shape[1])).astype(dtype)
    for parameters in ((weight, bias), (None, None)):
        args = x, *parameters, mean, inv_std
        same(ours.batch_norm(np, *args), reference.batch_norm(np, *args))
        found, expected = (m.normalize_batch(np, x, *parameters, 1e-5) for m in (ours, reference))
        same(found, expected, TOLERANCE[dtype])
        for from_batch in (True, False):
            args = g, x, parameters[0], mean, inv_std, from_batch, True
            found, expected = (m.batch_norm_backward(np, *args) for m in (ours, reference))
            same(found, expected, TOLERANCE[dtype])
            assert ours.batch_norm_backward(np, *args[:-1], False)[0] is None


@pytest.mark.sample(4)
@pytest.mark.parametrize("turned", [batch_last, lambda x: x])
@pytest.mark.parametrize("bounds", [(0.0, None), (-0.5, 0.75)])
@pytest.mark.parametrize("centre", [2.0, 50.0])
@pytest.mark.parametrize("shape", [(8, 5, 7, 9), (33, 32, 12, 12), (100, 7), (0, 4, 3)])
def test_batch_normalisation_cut_off(shape, centre, bounds, turned, small_blocks):
    """One after the other gives the same bits forward, and the same gradients; inputs stay as they are."""
    rng = np.random.default_rng(0)
    x, g = (images(rng, shape, "float32", True) for _ in range(2))
    x = turned(x + np.float32(centre))
    mean, var = reference.statistics(np, x)
    given = mean, 1 / np.sqrt(var + 1e-5)
    weight, bias = rng.normal(size=(2, shape[1])).astype("float32")
    y = ours.batch_norm(np, x, weight, bias, *given, bounds)
    np.testing.assert_array_equal(y, ours.clip(np, ours.batch_norm(np, x, weight, bias, *given), *bounds))
    before = g.copy()
    for flags in itertools.product((True, False), repeat=2):
        args = g, x, weight, *given, *flags
        found, expected = (m.batch_norm_backward(np, *args, y, bounds) for m in (ours, reference))
        assert flags[1] or (found[0] is None and expected[0] is None)
        same(found[1 - flags[1] :], expected[1 - flags[1] :], 1e-4 if centre > 8 else 1e-5)
    np.testing.assert_array_equal(g, before)


@pytest.mark.parametrize("bounds", [None, (0.0, None), (-0.5, 0.75)])
@pytest.mark.parametrize("layouts", list(itertools.product([True, False], repeat=2)))
def test_add(layouts, bounds):
    rng = np.random.default_rng(0)
    a, b = (images(rng, (5, 6, 7, 8), "float32", last) for last in layouts)
    for first, second in ((a, b), (a[:, ::2], b[:, ::2])):
        y = ours.add(np, first, second, bounds)
        np.testing.assert_array_equal(y, reference.add(np, first, second, bounds))
        assert y.dtype == a.dtype
    assert ours.add(np, a, b, bounds).strides == b.strides
    assert ours.add(np, a, b.astype("float64"), bounds).dtype == "float64"


def test_the_variance_of_a_large_mean_is_exact():
    x = (np.random.default_rng(0).normal(size=(32, 4, 16, 16)) + 1e4).astype("float32")
    exact = x.astype("float64")
    mean, var = ours.statistics(np, x)
    np.testing.assert_allclose(mean, exact.mean(axis=(0, 2, 3)), rtol=1e-9)
    np.testing.assert_allclose(var, exact.var(axis=(0, 2, 3)), rtol=1e-5)


@pytest.mark.parametrize("shape", [(3,), (), (7, 5, 20, 30), (0, 3)])
@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
@pytest.mark.parametrize("ends", [(0.0, None), (-1.0, 2.0)])
def test_clip(shape, dtype, ends, small_blocks):
    rng = np.random.default_rng(0)
    x = rng.choice(np.array([-2, -0.0, 0, 1, 3, np.nan, np.inf, -np.inf], dtype), shape)
    for array in (x, x.T, x[..., ::2] if x.ndim else x):
        y = ours.clip(np, array, *ends)
        np.testing.assert_array_equal(y, reference.clip(np, array, *ends))
        g = rng.choice(np.array([-1, 5, np.inf, np.nan], dtype), y.shape)
        found, expected = (m.clip_backward(np, g, y, *ends) for m in (ours, reference))
        np.testing.assert_array_equal(found, expected)
        assert found.dtype == expected.dtype


@pytest.mark.parametrize(("m", "k", "n"), [(3, 4, 5), (64, 3000, 128), (300, 400, 100), (0, 3, 4), (3, 0, 4)])
def test_matmul(m, k, n):
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(m, k)), rng.normal(size=(n, k)).T
    same(ours.matmul(np, a, b), a @ b)


def test_a_product_with_a_vector_does_not_warn():
    """There OpenBLAS's flags are also of what is left in its buffer; the result says what there is to say."""
    a = np.array([[np.inf, -np.inf], [1, 2]], "float32")
    np.testing.assert_array_equal(ours.matmul(np, a, np.ones((2, 1), "float32")), [[np.nan], [3]])
    with pytest.raises(RuntimeWarning, match="invalid"):
        ours.matmul(np, a, np.ones((2, 2), "float32"))


@pytest.mark.parametrize("size", [0, 1, 1000, 1 << 20])
def test_blocks_cover_all_once(size):
    seen = np.zeros(size, int)

    def task(part):
        seen[part] += 1

    ours.in_blocks(np, task, size)
    assert (seen == 1).all()


# --- threads and memory --------------------------------------------------------------------------------


def test_results_are_the_same_from_run_to_run():
    rng = np.random.default_rng(0)
    x = images(rng, (16, 32, 24, 24), "float32", channels_last=True)
    weight = rng.normal(size=(64, 32, 3, 3)).astype("float32")
    window = Window((3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1))
    g = ours.conv(np, x, weight, None, window)
    first = ours.conv_backward_weight(np, g, x, weight.shape, window, 1)
    for _ in range(3):
        np.testing.assert_array_equal(ours.conv_backward_weight(np, g, x, weight.shape, window, 1), first)


def test_an_error_in_any_thread_comes_back():
    def task(i):
        if i == 7:
            raise KeyError("seven")

    with pytest.raises(KeyError, match="seven"):
        threads.run(task, 20)
    threads.run(lambda i: None, 20)  # and all is well again


def test_workers_heed_the_callers_errstate():
    x = np.full(1 << 20, 3e38, "float32")
    with np.errstate(over="ignore"):
        ours.in_blocks(np, lambda part: x[part] * x[part], x.size)
    with pytest.raises(FloatingPointError), np.errstate(over="raise"):
        ours.in_blocks(np, lambda part: x[part] * x[part], x.size)


def test_an_interrupt_while_waiting_leaves_no_half_done_work():
    """Ctrl-C in a notebook: the next call must not take the late worker's word for its own."""
    threads.set_num_threads(2)
    started, let_go = threading.Event(), threading.Event()
    caller = threading.get_ident()

    def slow(i):
        if threading.get_ident() == caller:
            started.wait(LIMIT)
            killer.start()
            raise KeyboardInterrupt
        started.set()
        let_go.wait(LIMIT)

    killer = threading.Timer(0.2, let_go.set)
    with pytest.raises(KeyboardInterrupt):
        threads.run(slow, 2)
    for _ in range(20):
        done = []
        both = threading.Barrier(2)

        def task(i, done=done, both=both):
            both.wait(LIMIT)
            done.append(i)

        threads.run(task, 2)
        assert sorted(done) == [0, 1]


def test_every_task_is_done_once_whether_the_worker_is_awake_or_asleep():
    threads.set_num_threads(2)
    for k in range(300):
        done = []
        threads.run(done.append, 3)
        assert sorted(done) == [0, 1, 2]
        time.sleep((0, 0.0005, 0.002)[k % 3])


def test_an_error_in_a_worker_comes_back():
    threads.set_num_threads(2)
    caller, both = threading.get_ident(), threading.Barrier(2)

    def task(i):
        both.wait(LIMIT)
        if threading.get_ident() != caller:
            raise KeyError("worker")

    with pytest.raises(KeyError, match="worker"):
        threads.run(task, 2)


def test_exact_keeps_nan_where_it_is():
    x = np.random.default_rng(0).normal(size=(2, 16, 24, 24)).astype("float32")
    x[0, 3, 0, 23] = np.nan
    weight = np.random.default_rng(1).normal(size=(16, 16, 3, 3)).astype("float32")
    window = Window((3, 3), (1, 1), ((0, 0), (0, 0)), (1, 1))
    xpconv.set_exact(True)
    try:
        dw = ours.conv_backward_weight(np, np.ones((2, 16, 22, 22), "float32"), x, weight.shape, window, 1)
    finally:
        xpconv.set_exact(False)
    expected = reference.conv_backward_weight(
        np, np.ones((2, 16, 22, 22), "float32"), x, weight.shape, window, 1
    )
    np.testing.assert_array_equal(np.isnan(dw), np.isnan(expected))


@pytest.mark.parametrize(
    ("make", "eps"),
    [
        (lambda x: x * 1e-3 + 1e4, 0.0),  # one pass over x and x² loses all digits of the variance
        (lambda x: x * 1e-3 + 1e4, 1e-5),
        (lambda x: np.full_like(x, 1e20), 1e-5),  # its square overflows
        (lambda x: x * 1e19, 1e-5),
    ],
)
def test_a_batch_that_is_hard_to_normalise(make, eps):
    """As exact as the reference."""
    x = make(np.random.default_rng(0).normal(size=(4, 3, 8, 8)).astype("float32"))
    weight, bias = np.ones(3, "float32"), np.zeros(3, "float32")
    for _ in range(3):  # the third time from a record
        with np.errstate(over="ignore"):
            found = ours.normalize_batch(np, x, weight, bias, eps)
            expected = reference.normalize_batch(np, x, weight, bias, eps)
        for a, b in zip(found, expected, strict=True):
            same(a, b, 1e-3)


def test_statistics_of_awkward_sizes():
    """Where pixels do not pack into rows, sums stay as exact."""
    x = (np.random.default_rng(0).normal(size=(1, 2, 99991)) + 7.5).astype("float32")
    exact = x.astype("float64")
    mean, var = ours.statistics(np, x)
    np.testing.assert_allclose(mean, exact.mean(axis=(0, 2)), rtol=1e-7)
    np.testing.assert_allclose(var, exact.var(axis=(0, 2)), rtol=1e-4)


def test_several_callers_at_once():
    """Each trains a model of its own; the results are those of one caller alone."""

    def train(results, name):
        rng = np.random.default_rng(0)
        model = xpconv.Sequential(
            xpconv.Conv2d(8, 32, 3, rng=0), xpconv.BatchNorm2d(32), xpconv.ReLU(), xpconv.MaxPool2d(2),
            xpconv.Conv2d(32, 48, 3, rng=1), xpconv.Flatten(), xpconv.Dense(48 * 11 * 11, 10, rng=2),
        )  # fmt: skip
        for _ in range(3):
            y = model(rng.normal(size=(16, 8, 28, 28)).astype("float32"))
            model.backward(y, input_grad=False)
        results[name] = {n: p.grad for n, p in model.named_parameters()}

    results = {}
    train(results, "alone")
    callers = [threading.Thread(target=train, args=(results, i)) for i in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    for i in range(4):
        for name, expected in results["alone"].items():
            np.testing.assert_allclose(
                results[i][name], expected, rtol=0, atol=1e-5 * np.abs(expected).max(), err_msg=name
            )


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_has_threads_of_its_own():
    threads.run(lambda i: None, 8)

    def child():
        done = []
        threads.run(done.append, 8)
        assert sorted(done) == list(range(8))

    assert forked(child) == 0


@pytest.mark.parametrize("text", ["0", "two", "-1", "1.5"])
def test_a_bad_number_of_threads_is_refused(text, monkeypatch):
    monkeypatch.setenv("XPCONV_NUM_THREADS", text)
    with pytest.raises(ValueError, match=f"XPCONV_NUM_THREADS is '{text}', expected a number from 1"):
        count_from_environment()
    with pytest.raises(ValueError, match="set_num_threads: count is 0"):
        threads.set_num_threads(0)
    with pytest.raises(TypeError, match=r"set_num_threads: count is 2\.5, expected an int"):
        threads.set_num_threads(2.5)


@pytest.mark.parametrize(("text", "count"), [("3", 3), ("4,2", 4), (" 2", 2)])
def test_openmp_names_the_number_too(text, count, monkeypatch):
    monkeypatch.delenv("XPCONV_NUM_THREADS", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", text)
    assert count_from_environment() == (count, "OMP_NUM_THREADS")


@pytest.mark.parametrize("stride", [1, 4, 50, 300])
def test_a_depthwise_convolution_makes_no_more_calls_at_large_strides(stride, monkeypatch):
    """By the taps, of which each reads other pixels; not by all stride² positions."""
    calls = []
    make = plans.Part.__call__
    monkeypatch.setattr(
        plans.Part, "__call__", lambda *args, **named: (calls.append(1), make(*args, **named))[1]
    )
    rng = np.random.default_rng(0)
    size = 2 * stride + 3
    x, weight = rng.normal(size=(1, 4, size, size)), rng.normal(size=(4, 1, 3, 3))
    layer = xpconv.Conv2d(4, 4, 3, stride=stride, groups=4, bias=False, dtype="float64")
    layer.weight.data = weight
    y = layer(x)
    grad = rng.normal(size=y.shape)
    dx = layer.backward(grad)
    expected, dw, wanted = np.zeros_like(y), np.zeros_like(weight), np.zeros_like(x)
    for i, j, r, s in np.ndindex(*y.shape[2:], 3, 3):
        pixel = x[:, :, i * stride + r, j * stride + s]
        expected[:, :, i, j] += pixel * weight[:, 0, r, s]
        dw[:, 0, r, s] += (pixel * grad[:, :, i, j]).sum(0)
        wanted[:, :, i * stride + r, j * stride + s] += grad[:, :, i, j] * weight[:, 0, r, s]
    for found, theirs in ((y, expected), (dx, wanted), (layer.weight.grad, dw)):
        np.testing.assert_allclose(found, theirs, rtol=0, atol=1e-12)
    assert 0 < len(calls) < 150
