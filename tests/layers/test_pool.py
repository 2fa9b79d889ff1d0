"""Pooling in one to three dimensions, and back: by plain loops.

2-D windows with all options also in tests/layers/test_layers.py; against PyTorch in tests/layers/test_torch_pool.py.
"""

import itertools

import numpy as np
import pytest

import xpconv
from xpconv.testing import assert_layer_ok

SHAPES = {1: (2, 3, 9), 2: (2, 3, 6, 7), 3: (2, 2, 5, 4, 6)}


def distinct(*shape, seed=0):
    """No two values nearer than a finite difference's step."""
    return np.random.default_rng(seed).permutation(np.prod(shape, dtype=int)).reshape(shape) / 7 + 0.1


def windows(spatial, kernel, stride, padding=0, dilation=1):
    """Each output position with the input positions that its window sees."""
    axes = []
    for n in spatial:
        starts = [
            h for h in range(-padding, n + padding, stride) if h + dilation * (kernel - 1) < n + padding
        ]
        axes.append([[h + r * dilation for r in range(kernel) if 0 <= h + r * dilation < n] for h in starts])
    for position in itertools.product(*(range(len(axis)) for axis in axes)):
        seen = itertools.product(*(axis[p] for axis, p in zip(axes, position, strict=True)))
        yield position, list(seen)


def pooled(x, reduce, **options):
    found = list(windows(x.shape[2:], **options))
    y = np.zeros((*x.shape[:2], *(p + 1 for p in found[-1][0])))
    for position, seen in found:
        y[(..., *position)] = reduce(np.stack([x[(..., *h)] for h in seen], axis=-1))
    return y


WINDOWS = [
    dict(kernel=2, stride=2),
    dict(kernel=3, stride=2, padding=1),
    dict(kernel=2, stride=1, padding=1, dilation=2),
]


def arguments(kernel, **options):
    return dict(kernel_size=kernel, **options)


@pytest.mark.parametrize("options", WINDOWS, ids=str)
@pytest.mark.parametrize("axes", [1, 2, 3])
def test_max_pool(axes, options, backends):
    make = [xpconv.MaxPool1d, xpconv.MaxPool2d, xpconv.MaxPool3d][axes - 1]
    assert_layer_ok(
        lambda: make(**arguments(**options)),
        distinct(*SHAPES[axes]),
        reference=lambda x: pooled(x, lambda v: v.max(-1), **options),
        backends=backends,
    )


@pytest.mark.parametrize("options", WINDOWS[:2], ids=str)
@pytest.mark.parametrize("axes", [1, 2, 3])
def test_avg_pool(axes, options, backends):
    make = [xpconv.AvgPool1d, xpconv.AvgPool2d, xpconv.AvgPool3d][axes - 1]
    assert_layer_ok(
        lambda: make(**arguments(**options)),
        distinct(*SHAPES[axes]),
        reference=lambda x: pooled(x, lambda v: v.sum(-1) / options["kernel"] ** axes, **options),
        backends=backends,
    )


@pytest.mark.parametrize("norm", [1, 2, 2.5, -1])
@pytest.mark.parametrize("axes", [1, 2, 3])
def test_lp_pool(axes, norm, backends):
    make = [xpconv.LPPool1d, xpconv.LPPool2d, xpconv.LPPool3d][axes - 1]
    assert_layer_ok(
        lambda: make(norm, 2, stride=1),
        distinct(*SHAPES[axes]),
        reference=lambda x: pooled(x, lambda v: (v**norm).sum(-1) ** (1 / norm), kernel=2, stride=1),
        backends=backends,
    )


def test_lp_pool_has_no_gradient_where_the_sum_is_zero(backend):
    layer = xpconv.LPPool1d(2, 2)
    layer(xpconv.asarray(np.array([[0.0, 0, 3, 4]])))
    dx = layer.backward(xpconv.asarray(np.array([[1.0, 5]])))
    # atol is 0: the zeros are exact
    np.testing.assert_allclose(xpconv.asnumpy(dx), [[0, 0, 3, 4]], rtol=1e-15)


@pytest.mark.parametrize("options", WINDOWS, ids=str)
@pytest.mark.parametrize("axes", [1, 2, 3])
def test_indices_say_where_the_maxima_stand(axes, options, backend):
    make = [xpconv.MaxPool1d, xpconv.MaxPool2d, xpconv.MaxPool3d][axes - 1]
    x = distinct(*SHAPES[axes])
    layer = make(**arguments(**options), return_indices=True)
    for image in (x, x[0]):
        y, indices = layer(xpconv.asarray(image))
        assert indices.dtype == "int64"
        flat = image.reshape(*image.shape[:-axes], -1)
        places = xpconv.asnumpy(indices).reshape(*flat.shape[:-1], -1)
        np.testing.assert_array_equal(
            np.take_along_axis(flat, places, -1).reshape(y.shape), xpconv.asnumpy(y)
        )
        assert layer.backward(y).shape == image.shape


class Unpool(xpconv.Layer):
    """`MaxUnpool` with indices of its own, so that the shared check can call it."""

    def __init__(self, layer, indices, output_size=None):
        self.layer, self.indices, self.output_size = layer, indices, output_size

    def forward(self, x):
        y = self.layer(x, xpconv.asarray(self.indices), self.output_size)
        return self.keep(y)

    def backward(self, grad_output, input_grad=True):
        self.recall(grad_output)
        return self.layer.backward(grad_output, input_grad)


def unpooled(x, indices, size):
    """One assignment after the other, so that the last one counts."""
    y = np.zeros((*x.shape[: -len(size)], *size))
    for position in np.ndindex(x.shape):
        plane = y[position[: -len(size)]]
        plane.flat[indices[position]] = x[position]
    return y


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("size", [None, 5])
@pytest.mark.parametrize("batched", [True, False])
def test_max_unpool(axes, size, batched, backends):
    """Distinct indices of a pooling, and a size that pooling has rounded away."""
    make = [xpconv.MaxUnpool1d, xpconv.MaxUnpool2d, xpconv.MaxUnpool3d][axes - 1]
    x = distinct(2, 3, *[2] * axes)
    pool = [xpconv.MaxPool1d, xpconv.MaxPool2d, xpconv.MaxPool3d][axes - 1](2, return_indices=True)
    _, indices = pool(distinct(2, 3, *[size or 4] * axes, seed=1))
    if not batched:
        x, indices = x[0], indices[0]
    output_size = None if size is None else (size,) * axes
    assert_layer_ok(
        lambda: Unpool(make(2), indices, output_size),
        x,
        reference=lambda x: unpooled(x, indices, output_size or (4,) * axes),
        backends=backends,
    )


def test_of_equal_indices_the_last_one_counts(backend):
    unpool = xpconv.MaxUnpool1d(2, stride=1)
    x, indices = np.array([[[1.0, 2, 3]], [[4.0, 5, 6]]]), np.array([[[3, 0, 3]], [[1, 1, 1]]])
    y = unpool(xpconv.asarray(x), xpconv.asarray(indices))
    np.testing.assert_array_equal(xpconv.asnumpy(y), [[[2, 0, 0, 3]], [[0, 6, 0, 0]]])
    dx = unpool.backward(xpconv.asarray(np.array([[[1.0, 2, 3, 4]], [[5.0, 6, 7, 8]]])))
    np.testing.assert_array_equal(xpconv.asnumpy(dx), [[[4, 1, 4]], [[6, 6, 6]]])


def test_indices_outside_the_image(backend):
    x, indices = np.array([[[1.0, 2]]]), np.array([[[1, 9]]])
    unpool = xpconv.MaxUnpool1d(2)
    if backend == "numpy":
        with pytest.raises(ValueError, match=r"MaxUnpool1d.forward: indices from 1 to 9, expected 0 to 3"):
            unpool(x, indices)
    else:  # to look would wait for the device
        y = unpool(xpconv.asarray(x), xpconv.asarray(indices))
        np.testing.assert_array_equal(xpconv.asnumpy(y), [[[0, 1, 0, np.nan]]])


def adaptive(x, reduce, output):
    spatial = x.shape[-len(output) :]
    sizes = [m or n for m, n in zip(output, spatial, strict=True)]
    y = np.zeros((*x.shape[: -len(output)], *sizes))
    for p in itertools.product(*map(range, sizes)):
        window = [slice(i * n // m, -(-(i + 1) * n // m)) for i, n, m in zip(p, spatial, sizes, strict=True)]
        y[(..., *p)] = reduce(x[(..., *window)], axis=tuple(range(-len(output), 0)))
    return y


@pytest.mark.parametrize(
    ("make", "shape", "output"),
    [
        (lambda: xpconv.AdaptiveMaxPool1d(3), (2, 3, 7), (3,)),
        (lambda: xpconv.AdaptiveMaxPool1d(7), (3, 3), (7,)),
        (lambda: xpconv.AdaptiveMaxPool2d(1), (2, 3, 5, 6), (1, 1)),
        (lambda: xpconv.AdaptiveMaxPool2d((3, 4)), (2, 3, 5, 6), (3, 4)),
        (lambda: xpconv.AdaptiveMaxPool2d((None, 7)), (3, 5, 6), (None, 7)),
        (lambda: xpconv.AdaptiveMaxPool3d((2, None, 3)), (2, 3, 4, 3, 5), (2, None, 3)),
        (lambda: xpconv.GlobalMaxPool1d(), (2, 3, 7), (1,)),
        (lambda: xpconv.GlobalMaxPool2d(), (3, 5, 6), (1, 1)),
        (lambda: xpconv.GlobalMaxPool3d(), (2, 3, 4, 3, 5), (1, 1, 1)),
    ],
)
def test_adaptive_max_pool(make, shape, output, backends):
    assert_layer_ok(
        make,
        distinct(*shape),
        reference=lambda x: adaptive(x, np.max, output),
        backends=backends,
    )


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (lambda: xpconv.GlobalAvgPool1d(), (2, 3, 7)),
        (lambda: xpconv.GlobalAvgPool2d(), (3, 5, 6)),
        (lambda: xpconv.GlobalAvgPool3d(), (2, 3, 4, 3, 5)),
    ],
)
def test_global_avg_pool(make, shape, backends):
    axes = int(type(make()).__name__[-2])
    assert_layer_ok(
        make,
        distinct(*shape),
        reference=lambda x: x.mean(axis=tuple(range(-axes, 0)), keepdims=True),
        backends=backends,
    )


def zeros(*shape, dtype="float64"):
    return np.zeros(shape, dtype)


ERRORS = {
    "kernel of two": (lambda: xpconv.MaxPool1d((2, 2)), "MaxPool1d: kernel_size is"),
    "norm 0": (
        lambda: xpconv.LPPool2d(0, 2),
        "LPPool2d: norm_type is 0, expected a finite number other than 0",
    ),
    "norm inf": (lambda: xpconv.LPPool2d(float("inf"), 2), "LPPool2d: norm_type is inf"),
    "norm None": (lambda: xpconv.LPPool1d(None, 2), "LPPool1d: norm_type is None, expected a number"),
    "unpool kernel": (lambda: xpconv.MaxUnpool2d(0), "MaxUnpool2d: kernel_size is 0, expected at least 1"),
    "int32 indices": (
        lambda: xpconv.MaxUnpool1d(2)(zeros(1, 2), zeros(1, 2, dtype="int32")),
        r"MaxUnpool1d.forward: indices are int32, expected int64, as MaxPool1d\(",
    ),
    "indices of another shape": (
        lambda: xpconv.MaxUnpool1d(2)(zeros(1, 2), zeros(1, 3, dtype="int64")),
        r"MaxUnpool1d.forward: indices have shape \(1, 3\), expected that of x, \(1, 2\)",
    ),
    "output size": (
        lambda: xpconv.MaxUnpool1d(2)(zeros(1, 2), zeros(1, 2, dtype="int64"), (9,)),
        r"MaxUnpool1d.forward: output_size is \(9,\), expected less than the stride \(2,\) away from \(4,\)",
    ),
    "output size of two": (
        lambda: xpconv.MaxUnpool1d(2)(zeros(1, 2), zeros(1, 2, dtype="int64"), (4, 4, 4)),
        r"MaxUnpool1d.forward: output_size is \(4, 4, 4\), expected 1 or 2 ints",
    ),
    "nothing left": (
        lambda: xpconv.MaxUnpool1d(2, padding=2)(zeros(1, 1), zeros(1, 1, dtype="int64")),
        r"MaxUnpool1d.forward: x of \(1,\) with padding \(2,\) leaves an output of \(-2,\)",
    ),
    "list": (
        lambda: xpconv.MaxUnpool1d(2)(zeros(1, 2), [[0, 1]]),
        "MaxUnpool1d.forward: indices: expected an array of numpy or double, got builtins.list",
    ),
    "rank": (lambda: xpconv.AdaptiveMaxPool2d(1)(zeros(3, 4)), r"AdaptiveMaxPool2d.forward: x has shape"),
}


@pytest.mark.parametrize(("call", "message"), ERRORS.values(), ids=ERRORS.keys())
def test_errors(call, message):
    with pytest.raises((ValueError, TypeError), match=f"^{message}"):
        call()
