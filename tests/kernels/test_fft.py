"""Convolution by Fourier transforms, on every backend: against the reference, when it is chosen, and what it costs."""

from importlib import import_module

import numpy as np
import pytest
from adjoints import assert_adjoint, assert_close
from adjoints import draw as normal
from effort import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from operations import reference, same

import xpconv
import xpconv.functional as F
from xpconv.geometry import Window
from xpconv.kernels import fft, transforms
from xpconv.ops import conv as ops

LARGE = (1, 2, 128, 128), (3, 2, 21, 21)  # for which it is chosen on NumPy


@pytest.fixture
def always(monkeypatch):
    """It is chosen for all kernels of 64 taps and more."""
    choice = import_module("xpconv.kernels.numpy.conv")._choice
    monkeypatch.setattr(fft, "GAIN", 0.0)
    monkeypatch.setattr(import_module("xpconv.kernels.cupy.conv"), "LARGE", 0.0)
    choice.cache_clear()
    yield
    choice.cache_clear()


def device(xp, limit=1 << 28, pieces=1, matrices=False):
    def run(task, count, elements):
        parts = min(pieces, count)
        for i in range(parts):
            task(slice(i * count // parts, (i + 1) * count // parts))

    return fft.Device(xp, xp.empty, run, limit, matrices, {})


@st.composite
def problems(draw):
    """Shapes and a window with an output: padding beyond the kernel, strides, dilations, groups, any size."""
    axes = draw(st.integers(1, 3))
    ints = lambda low, high: draw(st.tuples(*[st.integers(low, high)] * axes))
    kernel, stride, dilation = ints(1, 5), ints(1, 3), ints(1, 3)
    padding = tuple(zip(ints(0, 6), ints(0, 6), strict=True))
    reach = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    size = tuple(max(1, r - sum(p) + m) for r, p, m in zip(reach, padding, ints(0, 9), strict=True))
    groups, n, k, c = (draw(st.integers(1, 3)) for _ in range(4))
    return (n, c * groups, *size), (k * groups, c, *kernel), Window(kernel, stride, padding, dilation), groups


def test_it_is_the_reference(backend):
    @settings(max_examples=examples(150), deadline=None)
    @given(
        problems(),
        st.sampled_from(["float64", "float32"]),
        st.integers(1, 3),
        st.sampled_from([1, 1 << 28]),
        st.booleans(),
    )
    def check(problem, dtype, pieces, limit, matrices):
        x_shape, weight_shape, window, groups = problem
        xp = xpconv.get_xp()
        on, rng = device(xp, limit, pieces, matrices), np.random.default_rng(0)
        y_shape = (x_shape[0], weight_shape[0], *window.output_shape(x_shape[2:]))
        x, weight, grad = (normal(rng, s, dtype) for s in (x_shape, weight_shape, y_shape))
        y, dx, dw = (xp.empty(s, dtype) for s in (y_shape, x_shape, weight_shape))
        fft.conv(on, x, weight, window, y)
        fft.input_grad(on, grad, weight, window, dx)
        fft.weight_grad(on, grad, x, window, dw)
        expected = [
            reference.conv(xp, x, weight, None, window, groups),
            reference.conv_backward_input(xp, grad, weight, x_shape, window, groups),
            reference.conv_backward_weight(xp, grad, x, weight_shape, window, groups),
        ]
        sizes = [np.linalg.norm(xpconv.asnumpy(a)) for a in (x, weight, grad)]
        for i, (found, other) in enumerate(zip((y, dx, dw), expected, strict=True)):
            assert (found.shape, found.dtype) == (other.shape, other.dtype)
            error = np.abs(xpconv.asnumpy(found) - xpconv.asnumpy(other)).max()
            others = sizes[:2], sizes[1:], sizes[::2]
            assert error <= {"float64": 1e-14, "float32": 1e-6}[dtype] * np.prod(others[i])

    check()


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "complex128"])
@pytest.mark.parametrize("options", [{}, {"stride": 2, "padding": 3}, {"groups": 2, "dilation": 2}], ids=str)
def test_functions_by_it_are_exact_and_adjoint(backend, always, dtype, options):
    """Values against the direct way of `set_exact`, and adjoints to 1e-12 in double precision."""
    rng = np.random.default_rng(0)
    groups = options.get("groups", 1)
    x, weight = normal(rng, (2, 4, 24, 27), dtype), normal(rng, (2 * groups, 4 // groups, 8, 9), dtype)
    window = Window((8, 9), (1, 1), ((0, 0),) * 2, (1, 1))
    chosen = ops.conv_algorithm(xpconv.get_xp(), x.shape, x.dtype, weight.shape, window, groups)
    if backend != "cupy":  # where cuDNN may be
        compiles = backend == "numpy" or hasattr(xpconv.get_xp(), "RawModule")
        as_parts = backend == "numpy" and x.dtype.kind == "c"  # real arrays, for which it is chosen then
        assert chosen == ("columns" if as_parts else "fft" if compiles else "reference")
    y = F.conv2d(x, weight, **options)
    grad = normal(rng, y.shape, dtype)
    dx, dw = (
        F.conv2d_input(x.shape, weight, grad, **options),
        F.conv2d_weight(x, weight.shape, grad, **options),
    )
    assert_adjoint(
        lambda x: F.conv2d(x, weight, **options),
        lambda y: F.conv2d_input(x.shape, weight, y, **options),
        x,
        grad,
    )
    assert_adjoint(
        lambda w: F.conv2d(x, w, **options),
        lambda y: F.conv2d_weight(x, weight.shape, y, **options),
        weight,
        grad,
    )
    xpconv.set_exact()
    try:
        assert_close(y, xpconv.asnumpy(F.conv2d(x, weight, **options)))
        assert_close(dx, xpconv.asnumpy(F.conv2d_input(x.shape, weight, grad, **options)))
        assert_close(dw, xpconv.asnumpy(F.conv2d_weight(x, weight.shape, grad, **options)))
    finally:
        xpconv.set_exact(False)


def test_the_rule():
    """By the shapes: for large kernels, and never under `set_exact` or `algorithm='direct'`."""
    window = Window((21, 21), (1, 1), ((0, 0),) * 2, (1, 1))
    args = np, LARGE[0], np.dtype("float32"), LARGE[1], window
    assert ops.conv_algorithm(*args) == "fft"
    assert ops.conv_algorithm(*args, 1, "direct") == "columns"
    assert ops.conv_algorithm(np, LARGE[0], np.dtype("float16"), LARGE[1], window) == "fft"  # in float32
    xpconv.set_exact()
    try:
        assert ops.conv_algorithm(*args) == "columns"
    finally:
        xpconv.set_exact(False)
    for size, kernel in ((128, 3), (128, 5), (128, 7), (21, 21)):  # small kernels; one position
        window = window._replace(kernel=(kernel, kernel))
        shapes = (1, 2, size, size), np.dtype("float32"), (3, 2, kernel, kernel), window
        assert ops.conv_algorithm(np, *shapes) != "fft"
    strided = Window((24, 24), (2, 2), ((0, 0),) * 2, (1, 1))
    shapes = np.dtype("float32"), (12, 8, 24, 24), strided, 1
    assert fft.pays(
        (1, 8, 256, 256), *shapes, False
    )  # a stride leaves out three quarters of the direct way's work
    assert not fft.pays((1, 8, 256, 256), *shapes[:2], strided._replace(stride=(4, 4)), 1, False)
    assert not fft.pays((0, 2, 128, 128), np.dtype("float32"), LARGE[1], window, 1, False)
    assert not fft.pays(LARGE[0], np.dtype("int64"), LARGE[1], window, 1, False)


@pytest.mark.parametrize("least", range(1, 200, 7))
def test_good_sizes(least):
    size = fft.good_size(least)
    assert size >= least
    for prime in (2, 3, 5):
        while size % prime == 0:
            size //= prime
    assert size == 1


@pytest.mark.parametrize("bounds", [None, (0.0, None), (-1.0, 1.0)])
def test_layers_take_it(bounds):
    """With bias and bounds, in training, in inference and in float16."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal(LARGE[0])
    layer = xpconv.Conv2d(2, 3, 21, dtype="float64", rng=0)
    assert layer.algorithm_for(x) == "fft"
    exact = xpconv.Conv2d(2, 3, 21, dtype="float64", rng=0, algorithm="direct")
    y = layer._clipped(x, bounds) if bounds else layer(x)
    same(y, exact._clipped(x, bounds) if bounds else exact(x))
    if bounds:
        return
    grad = rng.standard_normal(y.shape)
    same(layer.backward(grad), exact.backward(grad))
    for ours, theirs in zip(layer.parameters(), exact.parameters(), strict=True):
        same(ours.grad, theirs.grad)
    models = [
        xpconv.Sequential(conv, xpconv.ReLU(), xpconv.MaxPool2d(2)).eval().fuse() for conv in (layer, exact)
    ]
    with xpconv.no_grad():
        for _ in range(3):
            same(models[0](x), models[1](x))
    half = xpconv.Conv2d(2, 3, 21, dtype="float16", rng=0)
    half_exact = xpconv.Conv2d(2, 3, 21, dtype="float16", rng=0, algorithm="direct")
    same(half(x.astype("float16")), half_exact(x.astype("float16")))


def test_memory_is_bounded():
    """Images are transformed a few at a time; the results are the same."""
    rng = np.random.default_rng(0)
    x, weight = rng.standard_normal((5, 2, 40, 40)), rng.standard_normal((3, 2, 9, 9))
    window = Window((9, 9), (1, 1), ((0, 0),) * 2, (1, 1))
    y = np.empty((5, 3, 32, 32))
    sizes = []
    on = device(np, 200_000)._replace(empty=lambda s, d: sizes.append(np.prod(s)) or np.empty(s, d))
    fft.conv(on, x, weight, window, y)
    same(y, reference.conv(np, x, weight, None, window))
    assert max(sizes) * 16 < 400_000


@pytest.mark.slow
def test_the_input_gradient_may_take_it_alone():
    """With a stride, and where only the convolution of the gradient with the mirrored kernel pays."""
    rng = np.random.default_rng(0)
    for x_shape, weight_shape, options in (
        ((1, 8, 128, 128), (12, 8, 24, 24), {"stride": 2}),
        ((1, 1, 160, 160), (64, 1, 15, 15), {}),
        ((1, 64, 160, 160), (1, 64, 15, 15), {}),
        ((1, 2, 40, 40), (64, 2, 9, 9), {}),
        ((1, 64, 40, 40), (2, 64, 9, 9), {}),
    ):
        x, weight = normal(rng, x_shape), normal(rng, weight_shape)
        grad = normal(rng, F.conv2d(x, weight, **options).shape)
        dx = F.conv2d_input(x_shape, weight, grad, **options)
        xpconv.set_exact()
        try:
            assert_close(dx, F.conv2d_input(x_shape, weight, grad, **options))
        finally:
            xpconv.set_exact(False)


FLAT, TALL = ((4, 8, 1, 4000), (1, 101), (0, 50)), ((4, 8, 4000, 1), (101, 1), (50, 0))


@pytest.mark.parametrize(
    ("x_shape", "kernel", "padding"),
    [
        FLAT,
        TALL,
        ((8, 16, 1, 16000), (1, 101), (0, 50)),
        ((1, 1, 3, 20000), (3, 301), (1, 150)),
        ((1, 1, 4000, 4000), (400, 400), (0, 0)),
        ((1, 1, 9, 9), (9, 9), (4, 4)),
    ],
    ids=str,
)
def test_no_side_of_a_matrix_is_long(x_shape, kernel, padding):
    """Its bytes and its time grow with the square of a side, whatever the other side is."""
    weight_shape = (x_shape[1], x_shape[1], *kernel)
    window = Window(kernel, (1, 1), tuple((p, p) for p in padding), (1, 1))
    for to_input in (False, True):
        t = fft.tiling(x_shape, np.dtype("float32"), weight_shape, window, True, to_input)
        assert np.isfinite(t.cost)
        assert not t.by_matrices or max(t.size) <= fft.LARGEST_MATRIX
        as_fft = fft.tiling(x_shape, np.dtype("float32"), weight_shape, window, False, to_input)
        assert t.cost <= as_fft.cost


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(
    ("x_shape", "weight_shape"),
    [((8, 16, 64, 64), (16, 16, 15, 15)), ((1, 8, 256, 256), (12, 8, 24, 24))],
    ids=str,
)
def test_squares_are_transformed_by_matrices(x_shape, weight_shape, stride):
    window = Window(weight_shape[2:], (stride, stride), ((0, 0),) * 2, (1, 1))
    assert fft.tiling(x_shape, np.dtype("float32"), weight_shape, window, True).by_matrices


@pytest.mark.slow
@pytest.mark.parametrize(("x_shape", "kernel", "padding"), [FLAT, TALL, ((2, 4, 5, 900), (3, 81), (1, 40))])
def test_values_of_flat_and_tall_images(backend, always, x_shape, kernel, padding):
    rng = np.random.default_rng(0)
    x, weight = normal(rng, x_shape), normal(rng, (3, x_shape[1], *kernel))
    grad = normal(rng, F.conv2d(x, weight, padding=padding).shape)
    calls = (
        lambda: F.conv2d(x, weight, padding=padding),
        lambda: F.conv2d_input(x_shape, weight, grad, padding=padding),
        lambda: F.conv2d_weight(x, weight.shape, grad, padding=padding),
    )
    found = [call() for call in calls]
    xpconv.set_exact()
    try:
        for y, call in zip(found, calls, strict=True):
            assert_close(y, xpconv.asnumpy(call()))
    finally:
        xpconv.set_exact(False)


@pytest.mark.parametrize("matrices", [False, True])
@pytest.mark.parametrize("groups", [1, 4])
def test_memory_of_many_kernels_is_bounded(groups, matrices):
    """Kernels are transformed a few at a time; the results are the same."""
    rng, limit = np.random.default_rng(0), 300_000
    x, weight = rng.standard_normal((2, 16, 20, 20)), rng.standard_normal((16, 16 // groups, 9, 9))
    window = Window((9, 9), (1, 1), ((0, 0),) * 2, (1, 1))
    grad, sizes = rng.standard_normal((2, 16, 12, 12)), []
    on = device(np, limit, matrices=matrices)._replace(
        empty=lambda s, d: sizes.append(np.prod(s) * np.dtype(d).itemsize) or np.empty(s, d)
    )
    y, dx, dw = np.empty_like(grad), np.empty_like(x), np.empty_like(weight)
    fft.conv(on, x, weight, window, y)
    fft.input_grad(on, grad, weight, window, dx)
    fft.weight_grad(on, grad, x, window, dw)
    same(y, reference.conv(np, x, weight, None, window, groups))
    same(dx, reference.conv_backward_input(np, grad, weight, x.shape, window, groups))
    same(dw, reference.conv_backward_weight(np, grad, x, weight.shape, window, groups))
    assert max(sizes) <= 2 * limit


def test_repeated_transforms_count():
    """Of the images, for each block of kernels."""
    window = Window((15, 15), (1, 1), ((7, 7),) * 2, (1, 1))
    problem = (2, 256, 64, 64), np.dtype("float32"), (256, 256, 15, 15), window, True
    for to_input in (False, True):
        costs = [fft.tiling(*problem, to_input, limit).cost for limit in (1 << 40, 1 << 27, 1 << 22)]
        assert costs == sorted(costs)
        assert costs[0] < costs[2]


def test_matrices_are_freed_and_few(monkeypatch):
    """`free_memory` frees them, and of more than fit all others are dropped."""
    kept = import_module("xpconv.kernels.numpy.fourier").device().kept
    x, weight = np.ones((1, 8, 256, 256), "float32"), np.ones((12, 8, 24, 24), "float32")
    F.conv2d(x, weight)
    assert kept
    xpconv.free_memory()
    assert not kept
    monkeypatch.setattr(transforms, "KEPT_BYTES", 50_000)
    on = device(np, matrices=True)
    for size in range(20, 60):
        waves = transforms._waves(on, size, size // 2 + 1, range(size), np.dtype("float32"))
        assert transforms._waves(on, size, size // 2 + 1, range(size), np.dtype("float32")) is waves
        assert sum(other.nbytes for other in on.kept.values()) <= 50_000
