"""Layers whose sums are long, and how their float32 results are compared with float64's."""

import re

import numpy as np

import xpconv

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


def inputs_of(case, shapes):
    inputs = [levels(shape, i, 1.1) for i, shape in enumerate(shapes)]
    if "BatchNorm" in case:  # which adds up products before it subtracts: those of few values round one way
        inputs[0] *= np.random.default_rng(3).random(inputs[0].shape, dtype="float32") / 4 + 1
    if case == "Embedding":
        inputs = [(inputs[0] > 2).astype("int64")]
    return inputs


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


# The key begins with the layer's class.
M = 1 << 17


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
    "AdaptiveAvgPool2d, overlapping": (lambda: xpconv.AdaptiveAvgPool2d((3000, 2)), (1, 2, 2, 2)),
    "AdaptiveMaxPool1d, overlapping": (lambda: xpconv.AdaptiveMaxPool1d(10_000), (1, 2, 2)),
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

# The families of layers without a row, by the reason why they add up few numbers or none.
NOTHING_SUMMED = {
    "elementwise": "CELU ELU GELU GLU SELU Hardshrink Hardsigmoid Hardswish Hardtanh Identity LeakyReLU LogSigmoid "
    "Mish ReLU ReLU6 SiLU Sigmoid Softplus Softshrink Softsign Tanh Tanhshrink Threshold",
    "elementwise, times a mask": "AlphaDropout DropPath Dropout",
    "another order of the elements": "Flatten Unflatten PixelShuffle PixelUnshuffle ChannelShuffle",
    "each input is copied once": "ConstantPad ZeroPad",
    "each input is copied at most three times an axis": "CircularPad ReflectionPad",
    "one window, so an input gets one gradient": "GlobalMaxPool",
    "each output is one element of the input": "MaxUnpool",
    "another name of a layer with a row": "Linear UpsamplingNearest UpsamplingBilinear",
    "layers of layers": "Sequential Parallel Concat Residual Graph ModuleDict ModuleList Layer",
}


def family(name):
    return re.sub("[123]d$", "", name.removeprefix("Lazy"))
