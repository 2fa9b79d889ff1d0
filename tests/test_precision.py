"""Sums keep float32's digits: of many numbers, in either order of memory, forward and backward."""

import itertools

import numpy as np
import pytest

import xpconv
from xpconv import sums

BOUND = 1e-5  # of the largest value


def channels_last(x):
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1) if x.ndim > 2 else x


LAYOUTS = {"C": np.ascontiguousarray, "F": np.asfortranarray, "channels last": channels_last}


def levels(shape, seed, low):
    """Few different values, whose sum float32 rounds one way again and again."""
    rng = np.random.default_rng(seed)
    return np.where(rng.random(shape, dtype="float32") < 0.25, 2 * low, low).astype("float32")


def error(value, exact):
    value, exact = xpconv.asnumpy(value), xpconv.asnumpy(exact)
    assert value.shape == exact.shape
    return np.abs(value.astype("float64") - exact).max() / max(np.abs(exact).max(), 1e-30)


# --- the sums by themselves ------------------------------------------------------------------------------

SHAPES = [(1_000_003,), (3, 333_333), (333_333, 3), (8, 3, 101, 103), (30_011, 2, 3, 2), (2, 70_001, 3)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_total_over_any_axes_in_any_layout(shape, backend):
    x = levels(shape, 0, 0.1)
    layouts = {str(v.strides): v for v in (*(f(x) for f in LAYOUTS.values()), x[..., ::-1])}.values()
    for count in range(1, x.ndim + 1):
        for axes in itertools.combinations(range(x.ndim), count):
            for layout in layouts:
                exact = layout.sum(axis=axes, dtype="float64")
                assert error(sums.total(xpconv.asarray(layout), axes), exact) < 3e-6, (axes, layout.strides)
    kept = sums.sum_over(xpconv.asarray(x), (-1,), keepdims=True)
    assert kept.shape == (*shape[:-1], 1) and kept.dtype == "float32"


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("shape", [(10**7,), (10**6, 10), (10, 10**6), (2, 10**6, 5)], ids=str)
def test_total_of_ten_million(shape, order):
    x = np.full(shape, 0.1, "float32", order)
    x.ravel("K")[::3] = 0.2
    for axes in itertools.chain.from_iterable(itertools.combinations(range(x.ndim), n) for n in (1, x.ndim)):
        assert error(sums.total(x, axes), x.sum(axis=axes, dtype="float64")) < 3e-6


def test_total_of_halves_empty_and_integers():
    assert float(sums.total(np.ones(10**5, "float16"), (0,))) == 1e5
    assert sums.sum_over(np.ones(10**4, "float16"), (0,)).dtype == "float16"
    assert sums.total(np.zeros((0, 3), "float32"), (0,)).tolist() == [0, 0, 0]
    assert sums.total(np.ones((1000, 3), bool), (0,)).tolist() == [1000] * 3
    assert float(sums.total(np.broadcast_to(np.float32(0.1), (10**6, 2)), (0, 1))) == pytest.approx(2e5, 3e-6)


PRODUCTS = [
    (1, 300_000, 1),
    (1, 300_000, 9),
    (9, 300_000, 1),
    (2, 300_000, 5),
    (40, 40_000, 60),
    (3000, 5000, 1),
]


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(("m", "length", "n"), PRODUCTS)
def test_long_products(m, length, n, turned):
    a, b = levels((m, length), 0, 0.1), levels((length, n), 1, 1.0)
    if turned:
        a, b = np.asfortranarray(a), np.asfortranarray(b)
    layer = xpconv.Dense(length, n, bias=False)
    with xpconv.no_grad():
        layer.weight.data = b.T
        assert error(layer(a), a.astype("float64") @ b.astype("float64")) < BOUND


# --- layers ----------------------------------------------------------------------------------------------

M = 1 << 17
PRODUCTS_ONLY = ("Dense", "Bilinear", "Conv", "Separable", "GlobalAvg", "AdaptiveAvg")


def conv(*args, **options):
    return lambda: xpconv.Conv2d(*args, **options)


def negated(layer):
    """What follows the layer's negative side."""

    class Negated(xpconv.Layer):
        def __init__(self):
            self.layer = layer

        def forward(self, x):
            return self.keep(self.layer(-x))

        def backward(self, grad_output, input_grad=True):
            self.recall(grad_output)
            return -self.layer.backward(grad_output)

    return Negated()


LAYERS = {
    "Dense": (lambda: xpconv.Dense(4, 4), (M // 4, 4)),
    "Dense of one": (lambda: xpconv.Dense(1, 1), (M, 1)),
    "Dense, many rows": (lambda: xpconv.Dense(10, 64), (M // 16, 10)),
    "Dense, three axes": (lambda: xpconv.Dense(8, 3), (4, M // 32, 8)),
    "Dense, many inputs": (lambda: xpconv.Dense(M, 2), (2, M)),
    "Dense, many outputs": (lambda: xpconv.Dense(2, M), (2, 2)),
    "Bilinear": (lambda: xpconv.Bilinear(3, 2, 2), (M // 4, 3), (M // 4, 2)),
    "LayerNorm": (lambda: xpconv.LayerNorm((4, 200, 200)), (1, 4, 200, 200)),
    "LayerNorm, many rows": (lambda: xpconv.LayerNorm(8), (M // 8, 8)),
    "RMSNorm": (lambda: xpconv.RMSNorm((4, 200, 200)), (1, 4, 200, 200)),
    "RMSNorm, many rows": (lambda: xpconv.RMSNorm(8), (M // 8, 8)),
    "GroupNorm": (lambda: xpconv.GroupNorm(2, 4), (1, 4, 200, 200)),
    "GroupNorm, many images": (lambda: xpconv.GroupNorm(2, 4), (M // 16, 4, 2, 2)),
    "InstanceNorm2d": (lambda: xpconv.InstanceNorm2d(2, affine=True), (1, 2, 240, 240)),
    "InstanceNorm1d, statistics": (
        lambda: xpconv.InstanceNorm1d(2, affine=True, track_running_stats=True),
        (M // 16, 2, 8),
    ),
    "InstanceNorm3d": (lambda: xpconv.InstanceNorm3d(1, affine=True), (1, 1, 50, 50, 50)),
    "BatchNorm1d": (lambda: xpconv.BatchNorm1d(2), (M // 2, 2)),
    "BatchNorm1d, long": (lambda: xpconv.BatchNorm1d(2), (1, 2, M // 2)),
    "BatchNorm2d": (lambda: xpconv.BatchNorm2d(2), (2, 2, 200, 200)),
    "BatchNorm2d, batch last": (lambda: xpconv.BatchNorm2d(2), (64, 2, 32, 32)),
    "BatchNorm3d": (lambda: xpconv.BatchNorm3d(1), (1, 1, 50, 50, 50)),
    "PReLU": (lambda: negated(xpconv.PReLU()), (1, 4, 200, 200)),
    "PReLU of channels": (lambda: negated(xpconv.PReLU(4)), (1, 4, 200, 200)),
    "SqueezeExcitation": (lambda: xpconv.SqueezeExcitation(4, 2, rng=0), (1, 4, 200, 200)),
    "Softmax, first axis": (lambda: xpconv.Softmax(0), (M // 2, 2)),
    "Softmax, last axis": (lambda: xpconv.Softmax(1), (2, M // 2)),
    "Softmin": (lambda: xpconv.Softmin(0), (M // 2, 2)),
    "LogSoftmax, first axis": (lambda: xpconv.LogSoftmax(0), (M // 2, 2)),
    "LogSoftmax, last axis": (lambda: xpconv.LogSoftmax(1), (2, M // 2)),
    "Softmax2d": (lambda: xpconv.Softmax2d(), (1, M // 4, 2, 2)),
    "GlobalAvgPool1d": (lambda: xpconv.GlobalAvgPool1d(), (1, 2, M // 2)),
    "GlobalAvgPool2d": (lambda: xpconv.GlobalAvgPool2d(), (1, 2, 300, 300)),
    "GlobalAvgPool3d": (lambda: xpconv.GlobalAvgPool3d(), (1, 1, 50, 50, 50)),
    "AdaptiveAvgPool2d": (lambda: xpconv.AdaptiveAvgPool2d((3, 1)), (1, 2, 400, 301)),
    "AvgPool1d": (lambda: xpconv.AvgPool1d(2000), (1, 2, 10_000)),
    "AvgPool2d": (lambda: xpconv.AvgPool2d(60), (1, 2, 240, 240)),
    "AvgPool2d, overlapping": (lambda: xpconv.AvgPool2d(40, stride=2), (1, 2, 100, 100)),
    "AvgPool3d": (lambda: xpconv.AvgPool3d(10), (1, 1, 40, 40, 40)),
    "MaxPool1d, overlapping": (lambda: xpconv.MaxPool1d(1000, stride=1), (1, 2, 3000)),
    "LPPool1d": (lambda: xpconv.LPPool1d(2, 2000), (1, 2, 10_000)),
    "LPPool2d": (lambda: xpconv.LPPool2d(2, 50), (1, 2, 250, 250)),
    "LPPool3d": (lambda: xpconv.LPPool3d(2, 10), (1, 1, 40, 40, 40)),
    "LocalResponseNorm": (lambda: xpconv.LocalResponseNorm(2000, alpha=1.0), (1, 5000, 2, 2)),
    "ReplicationPad1d": (lambda: xpconv.ReplicationPad1d(50_000), (1, 2, 100)),
    "ReplicationPad2d": (lambda: xpconv.ReplicationPad2d(200), (1, 2, 3, 3)),
    "Upsample, nearest": (lambda: xpconv.Upsample(size=(3000, 2)), (1, 2, 1, 1)),
    "Upsample, bilinear": (lambda: xpconv.Upsample(size=(3000, 2), mode="bilinear"), (1, 2, 2, 2)),
    "Upsample, bicubic": (lambda: xpconv.Upsample(size=(3000, 2), mode="bicubic"), (1, 2, 4, 4)),
    "Fold": (lambda: xpconv.Fold((2000, 1), (1000, 1)), (1, 1000, 1001)),
    "Unfold": (lambda: xpconv.Unfold((1000, 1)), (1, 1, 2000, 1)),
    "Embedding": (lambda: xpconv.Embedding(3, 2, rng=0), (M // 2,)),
    "Conv1d": (lambda: xpconv.Conv1d(1, 1, 3), (1, 1, M)),
    "Conv1d, long kernel": (lambda: xpconv.Conv1d(1, 1, 8000), (1, 1, 16_000)),
    "Conv1d, depthwise": (lambda: xpconv.Conv1d(2, 2, 3, groups=2), (1, 2, M // 2)),
    "Conv2d": (conv(3, 4, 3), (1, 3, 240, 240)),
    "Conv2d of one": (conv(1, 1, 3), (1, 1, 300, 300)),
    "Conv2d, one by one": (conv(4, 4, 1), (1, 4, 200, 200)),
    "Conv2d, one of one": (conv(1, 1, 1), (1, 1, 300, 300)),
    "Conv2d, 5×5": (conv(1, 6, 5), (128, 1, 32, 32)),
    "Conv2d, strided": (conv(3, 4, 7, stride=2), (1, 3, 240, 240)),
    "Conv2d, many images": (conv(4, 4, 3), (M // 64, 4, 4, 4)),
    "Conv2d, batch last": (conv(2, 3, 3), (64, 2, 32, 32)),
    "Conv2d, more channels": (conv(16, 16, 3), (1, 16, 128, 128)),
    "Conv2d, winograd": (conv(64, 64, 3), (1, 64, 64, 64)),
    "Conv2d, grouped": (conv(4, 4, 3, groups=2), (1, 4, 200, 200)),
    "Conv2d, depthwise": (conv(4, 4, 3, groups=4), (1, 4, 200, 200)),
    "Conv2d, depthwise, two each": (conv(4, 8, 3, groups=4), (1, 4, 200, 200)),
    "Conv2d, depthwise, thin": (conv(4, 4, 3, groups=4), (1, 4, M // 16, 4)),
    "Conv2d, depthwise, wide": (conv(4, 4, 3, groups=4), (1, 4, 4, M // 16)),
    "Conv2d, depthwise, dilated": (conv(4, 4, 3, stride=2, dilation=2, groups=4), (1, 4, 300, 300)),
    "Conv3d": (lambda: xpconv.Conv3d(1, 2, 3), (1, 1, 50, 50, 50)),
    "Conv3d, depthwise": (lambda: xpconv.Conv3d(2, 2, 3, groups=2), (1, 2, 50, 50, 50)),
    "ConvTranspose1d": (lambda: xpconv.ConvTranspose1d(1, 1, 3000), (1, 1, 10_000)),
    "ConvTranspose2d": (lambda: xpconv.ConvTranspose2d(2, 2, 3), (1, 2, 240, 240)),
    "ConvTranspose2d, strided": (lambda: xpconv.ConvTranspose2d(2, 2, 2, stride=2), (1, 2, 250, 250)),
    "DepthwiseConv2d": (lambda: xpconv.DepthwiseConv2d(4, 31), (1, 4, 100, 100)),
    "SeparableConv2d": (lambda: xpconv.SeparableConv2d(3, 4, 3), (1, 3, 240, 240)),
}


def results(make, inputs, grads, layout, dtype, backend):
    """Output, gradients and state of one step."""
    layer = make().to(dtype=dtype)
    for name, parameter in layer.named_parameters():
        scale = 0.02 if name.endswith("bias") else 0.5
        parameter.data[...] = xpconv.asarray(levels(parameter.shape, 5, scale), dtype)

    def placed(x):
        return xpconv.asarray(layout(x).astype(dtype if x.dtype == "float32" else x.dtype, order="K"))

    y = layer(*map(placed, inputs))
    if not grads:
        # Not orthogonal to what a norm subtracts, or little is left to compare.
        grads.append(levels(y.shape, 9, 0.7) + np.tanh(xpconv.asnumpy(y)).astype("float32") / 4)
    found = {"output": y}
    gradients = layer.backward(placed(grads[0]))
    for i, gradient in enumerate(gradients if isinstance(gradients, tuple) else (gradients,)):
        found[f"input gradient {i}"] = gradient
    found.update({f"gradient of {name}": p.grad for name, p in layer.named_parameters()})
    found.update({name: getattr(layer, name) for name in layer.buffer_names})
    return {name: value for name, value in found.items() if value is not None}


def compare(make, inputs, layouts, backend):
    grads = []
    exact = results(make, inputs, grads, np.ascontiguousarray, "float64", backend)
    for layout in layouts:
        found = results(make, inputs, grads, LAYOUTS[layout], "float32", backend)
        assert exact.keys() == found.keys()
        for name in exact:
            assert error(found[name], exact[name]) < BOUND, (layout, name)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("case", LAYERS)
def test_layers_on_large_inputs(case, layout, backend):
    make, *shapes = LAYERS[case]
    if layout == "channels last" and len(shapes[0]) < 3:
        pytest.skip("the same as C")
    if backend == "double" and case.startswith(PRODUCTS_ONLY) and "depthwise" not in case:
        pytest.skip("its sums are cuBLAS's, for which the double has NumPy's product")
    inputs = [levels(shape, i, 1.1) for i, shape in enumerate(shapes)]
    if "BatchNorm" in case:  # which adds up products before it subtracts: those of few values round one way
        inputs[0] *= np.random.default_rng(3).random(inputs[0].shape, dtype="float32") / 4 + 1
    if case == "Embedding":
        inputs = [(inputs[0] > 2).astype("int64")]
    compare(make, inputs, [layout], backend)


N = 10**7
TEN_MILLION = {
    "Dense": (lambda: xpconv.Dense(4, 4), (N // 4, 4)),
    "Bilinear": (lambda: xpconv.Bilinear(2, 2, 2), (N // 4, 2), (N // 4, 2)),
    "LayerNorm": (lambda: xpconv.LayerNorm((10, 1000, 1000)), (1, 10, 1000, 1000)),
    "LayerNorm, many rows": (lambda: xpconv.LayerNorm(8), (N // 8, 8)),
    "RMSNorm": (lambda: xpconv.RMSNorm((10, 1000, 1000)), (1, 10, 1000, 1000)),
    "RMSNorm, many rows": (lambda: xpconv.RMSNorm(8), (N // 8, 8)),
    "GroupNorm": (lambda: xpconv.GroupNorm(2, 10, affine=False), (1, 10, 1000, 1000)),
    "InstanceNorm2d": (lambda: xpconv.InstanceNorm2d(10), (1, 10, 1000, 1000)),
    "BatchNorm2d": (lambda: xpconv.BatchNorm2d(10, affine=False), (1, 10, 1000, 1000)),
    "PReLU of channels": (lambda: negated(xpconv.PReLU(10)), (1, 10, 1000, 1000)),
    "Softmax, first axis": (lambda: xpconv.Softmax(0), (N // 2, 2)),
    "LogSoftmax, last axis": (lambda: xpconv.LogSoftmax(1), (2, N // 2)),
    "GlobalAvgPool2d": (lambda: xpconv.GlobalAvgPool2d(), (1, 10, 1000, 1000)),
    "SqueezeExcitation": (lambda: xpconv.SqueezeExcitation(4, 2, rng=0), (1, 4, 1600, 1600)),
    "Conv2d": (conv(10, 4, 3), (1, 10, 1000, 1000)),
    "Conv2d, depthwise": (conv(10, 10, 3, groups=10), (1, 10, 1000, 1000)),
    "ConvTranspose2d": (lambda: xpconv.ConvTranspose2d(10, 2, 3), (1, 10, 1000, 1000)),
}


@pytest.mark.parametrize("case", TEN_MILLION)
def test_layers_on_ten_million_numbers(case):
    """The bound at the size that it is stated for, in both orders of memory."""
    make, *shapes = TEN_MILLION[case]
    inputs = [levels(shape, i, 1.1) for i, shape in enumerate(shapes)]
    if "BatchNorm" in case:
        inputs[0] *= np.random.default_rng(3).random(inputs[0].shape, dtype="float32") / 4 + 1
    compare(make, inputs, ["C", "F" if len(shapes[0]) < 3 else "channels last"], "numpy")
