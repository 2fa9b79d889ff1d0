"""Makers of every layer and of common losses, with inputs of the active backend."""

import numpy as np

import xpconv

IMAGES, VOLUMES, SEQUENCES, ROWS = (2, 4, 6, 7), (2, 4, 5, 4, 6), (2, 4, 9), (5, 12)
m = xpconv
LAYERS = {  # name: makers, and the shape of x
    "AdaptiveAvgPool1d": ([lambda: m.AdaptiveAvgPool1d(4)], SEQUENCES),
    "AdaptiveAvgPool2d": ([lambda: m.AdaptiveAvgPool2d(1), lambda: m.AdaptiveAvgPool2d((4, 3))], IMAGES),
    "AdaptiveAvgPool3d": ([lambda: m.AdaptiveAvgPool3d(2)], VOLUMES),
    "AdaptiveMaxPool1d": ([lambda: m.AdaptiveMaxPool1d(4)], SEQUENCES),
    "AdaptiveMaxPool2d": ([lambda: m.AdaptiveMaxPool2d((4, 3))], IMAGES),
    "AdaptiveMaxPool3d": ([lambda: m.AdaptiveMaxPool3d(2)], VOLUMES),
    "AlphaDropout": ([lambda: m.AlphaDropout(0.5, rng=0)], ROWS),
    "AvgPool1d": ([lambda: m.AvgPool1d(2, padding=1, count_include_pad=False)], SEQUENCES),
    "AvgPool2d": ([lambda: m.AvgPool2d(3, 2, 1, ceil_mode=True)], IMAGES),
    "AvgPool3d": ([lambda: m.AvgPool3d(2)], VOLUMES),
    "BatchNorm1d": ([lambda: m.BatchNorm1d(12)], ROWS),
    "BatchNorm2d": ([lambda: m.BatchNorm2d(4), lambda: m.BatchNorm2d(4).eval()], IMAGES),
    "BatchNorm3d": ([lambda: m.BatchNorm3d(4)], VOLUMES),
    "CELU": ([lambda: m.CELU()], ROWS),
    "ChannelShuffle": ([lambda: m.ChannelShuffle(2)], IMAGES),
    "CircularPad1d": ([lambda: m.CircularPad1d(1)], SEQUENCES),
    "CircularPad2d": ([lambda: m.CircularPad2d((1, 2, 0, 1))], IMAGES),
    "CircularPad3d": ([lambda: m.CircularPad3d(1)], VOLUMES),
    "Concat": ([lambda: m.Concat(m.ReLU(), m.Conv2d(4, 3, 1, rng=0))], IMAGES),
    "ConstantPad1d": ([lambda: m.ConstantPad1d(1, 2.0)], SEQUENCES),
    "ConstantPad2d": ([lambda: m.ConstantPad2d(1, 2.0)], IMAGES),
    "ConstantPad3d": ([lambda: m.ConstantPad3d(1, 2.0)], VOLUMES),
    "Conv1d": ([lambda: m.Conv1d(4, 3, 3, 2, rng=0)], SEQUENCES),
    "Conv2d": (
        [lambda: m.Conv2d(4, 6, 3, padding=1, rng=0), lambda: m.Conv2d(4, 6, 1, groups=2, rng=0)]
        + [lambda mode=mode: m.Conv2d(4, 2, 3, padding=1, padding_mode=mode, rng=0)
           for mode in ("reflect", "replicate", "circular")],
        IMAGES,
    ),
    "Conv3d": ([lambda: m.Conv3d(4, 3, 2, dilation=2, rng=0)], VOLUMES),
    "ConvTranspose1d": ([lambda: m.ConvTranspose1d(4, 3, 3, 2, rng=0)], SEQUENCES),
    "ConvTranspose2d": ([lambda: m.ConvTranspose2d(4, 3, 3, 2, 1, 1, rng=0)], IMAGES),
    "ConvTranspose3d": ([lambda: m.ConvTranspose3d(4, 3, 2, 2, rng=0)], VOLUMES),
    "Dense": ([lambda: m.Dense(12, 5, rng=0)], ROWS),
    "DepthwiseConv2d": ([lambda: m.DepthwiseConv2d(4, 3, padding=1, rng=0)], IMAGES),
    "DropPath": ([lambda: m.DropPath(0.5, rng=0)], IMAGES),
    "Dropout": ([lambda: m.Dropout(0.5, rng=0)], ROWS),
    "Dropout1d": ([lambda: m.Dropout1d(0.5, rng=0)], SEQUENCES),
    "Dropout2d": ([lambda: m.Dropout2d(0.5, rng=0)], IMAGES),
    "Dropout3d": ([lambda: m.Dropout3d(0.5, rng=0)], VOLUMES),
    "ELU": ([lambda: m.ELU()], ROWS),
    "Flatten": ([lambda: m.Flatten()], IMAGES),
    "Fold": ([lambda: m.Fold((4, 4), 2)], (2, 8, 9)),
    "GELU": ([lambda: m.GELU(), lambda: m.GELU("tanh")], ROWS),
    "GLU": ([lambda: m.GLU()], ROWS),
    "GlobalAvgPool1d": ([lambda: m.GlobalAvgPool1d()], SEQUENCES),
    "GlobalAvgPool2d": ([lambda: m.GlobalAvgPool2d()], IMAGES),
    "GlobalAvgPool3d": ([lambda: m.GlobalAvgPool3d()], VOLUMES),
    "GlobalMaxPool1d": ([lambda: m.GlobalMaxPool1d()], SEQUENCES),
    "GlobalMaxPool2d": ([lambda: m.GlobalMaxPool2d()], IMAGES),
    "GlobalMaxPool3d": ([lambda: m.GlobalMaxPool3d()], VOLUMES),
    "Graph": (
        [lambda: m.Graph({"a": (m.Dense(12, 5, rng=0), "x"), "y": (m.Bilinear(5, 12, 5, rng=1), "a", "x")}, "x", "y")],
        ROWS,
    ),
    "GroupNorm": ([lambda: m.GroupNorm(2, 4)], IMAGES),
    "Hardshrink": ([lambda: m.Hardshrink()], ROWS),
    "Hardsigmoid": ([lambda: m.Hardsigmoid()], ROWS),
    "Hardswish": ([lambda: m.Hardswish()], ROWS),
    "Hardtanh": ([lambda: m.Hardtanh()], ROWS),
    "Identity": ([lambda: m.Identity()], ROWS),
    "InstanceNorm1d": ([lambda: m.InstanceNorm1d(4)], SEQUENCES),
    "InstanceNorm2d": ([lambda: m.InstanceNorm2d(4, affine=True, track_running_stats=True)], IMAGES),
    "InstanceNorm3d": ([lambda: m.InstanceNorm3d(4)], VOLUMES),
    "LPPool1d": ([lambda: m.LPPool1d(2, 2)], SEQUENCES),
    "LPPool2d": ([lambda: m.LPPool2d(2, 2)], IMAGES),
    "LPPool3d": ([lambda: m.LPPool3d(2, 2)], VOLUMES),
    "LayerNorm": ([lambda: m.LayerNorm(12)], ROWS),
    "LazyBatchNorm1d": ([lambda: m.LazyBatchNorm1d()], SEQUENCES),
    "LazyBatchNorm2d": ([lambda: m.LazyBatchNorm2d()], IMAGES),
    "LazyBatchNorm3d": ([lambda: m.LazyBatchNorm3d()], VOLUMES),
    "LazyConv1d": ([lambda: m.LazyConv1d(3, 3, rng=0)], SEQUENCES),
    "LazyConv2d": ([lambda: m.LazyConv2d(3, 3, rng=0)], IMAGES),
    "LazyConv3d": ([lambda: m.LazyConv3d(3, 2, rng=0)], VOLUMES),
    "LazyLinear": ([lambda: m.LazyLinear(3, rng=0)], ROWS),
    "LeakyReLU": ([lambda: m.LeakyReLU()], ROWS),
    "Linear": ([lambda: m.Linear(12, 5, bias=False, rng=0)], ROWS),
    "LocalResponseNorm": ([lambda: m.LocalResponseNorm(3)], IMAGES),
    "LogSigmoid": ([lambda: m.LogSigmoid()], ROWS),
    "LogSoftmax": ([lambda: m.LogSoftmax(1)], ROWS),
    "MaxPool1d": ([lambda: m.MaxPool1d(2)], SEQUENCES),
    "MaxPool2d": ([lambda: m.MaxPool2d(3, 2, 1)], IMAGES),
    "MaxPool3d": ([lambda: m.MaxPool3d(2)], VOLUMES),
    "Mish": ([lambda: m.Mish()], ROWS),
    "PReLU": ([lambda: m.PReLU(4)], IMAGES),
    "Parallel": ([lambda: m.Parallel(m.ReLU(), m.Tanh())], ROWS),
    "PixelShuffle": ([lambda: m.PixelShuffle(2)], IMAGES),
    "PixelUnshuffle": ([lambda: m.PixelUnshuffle(2)], (2, 4, 6, 8)),
    "RMSNorm": ([lambda: m.RMSNorm(12)], ROWS),
    "ReLU": ([lambda: m.ReLU()], IMAGES),
    "ReLU6": ([lambda: m.ReLU6()], ROWS),
    "ReflectionPad1d": ([lambda: m.ReflectionPad1d(2)], SEQUENCES),
    "ReflectionPad2d": ([lambda: m.ReflectionPad2d(2)], IMAGES),
    "ReflectionPad3d": ([lambda: m.ReflectionPad3d(1)], VOLUMES),
    "ReplicationPad1d": ([lambda: m.ReplicationPad1d(2)], SEQUENCES),
    "ReplicationPad2d": ([lambda: m.ReplicationPad2d(2)], IMAGES),
    "ReplicationPad3d": ([lambda: m.ReplicationPad3d(1)], VOLUMES),
    "Residual": ([lambda: m.Residual(m.Conv2d(4, 4, 3, padding=1, rng=0))], IMAGES),
    "SELU": ([lambda: m.SELU()], ROWS),
    "SeparableConv2d": ([lambda: m.SeparableConv2d(4, 6, 3, rng=0)], IMAGES),
    "Sequential": ([lambda: m.Sequential(m.Dense(12, 5, rng=0), m.ReLU())], ROWS),
    "SiLU": ([lambda: m.SiLU()], ROWS),
    "Sigmoid": ([lambda: m.Sigmoid()], ROWS),
    "Softmax": ([lambda: m.Softmax(1)], ROWS),
    "Softmax2d": ([lambda: m.Softmax2d()], IMAGES),
    "Softmin": ([lambda: m.Softmin(1)], ROWS),
    "Softplus": ([lambda: m.Softplus()], ROWS),
    "Softshrink": ([lambda: m.Softshrink()], ROWS),
    "Softsign": ([lambda: m.Softsign()], ROWS),
    "SqueezeExcitation": ([lambda: m.SqueezeExcitation(4, 2, rng=0)], IMAGES),
    "Tanh": ([lambda: m.Tanh()], ROWS),
    "Tanhshrink": ([lambda: m.Tanhshrink()], ROWS),
    "Threshold": ([lambda: m.Threshold(0.1, -1.0)], ROWS),
    "Unflatten": ([lambda: m.Unflatten(1, (3, 4))], ROWS),
    "Unfold": ([lambda: m.Unfold(2)], IMAGES),
    "Upsample": (
        [lambda mode=mode: m.Upsample(scale_factor=1.5, mode=mode) for mode in ("nearest", "bilinear", "bicubic")],
        IMAGES,
    ),
    "UpsamplingBilinear2d": ([lambda: m.UpsamplingBilinear2d(scale_factor=2)], IMAGES),
    "UpsamplingNearest2d": ([lambda: m.UpsamplingNearest2d(scale_factor=2)], IMAGES),
    "ZeroPad1d": ([lambda: m.ZeroPad1d(1)], SEQUENCES),
    "ZeroPad2d": ([lambda: m.ZeroPad2d(1)], IMAGES),
    "ZeroPad3d": ([lambda: m.ZeroPad3d(1)], VOLUMES),
}  # fmt: skip


def drawn(shape, seed=0):
    return xpconv.asarray(np.random.default_rng(seed).normal(size=shape), dtype="float32")


def bilinear():
    layer = xpconv.Bilinear(3, 4, 2, rng=0)
    return layer, [drawn((5, 3)), drawn((5, 4))]


def unpool(make, pool, shape):
    y, indices = pool(drawn(shape))
    return make, [y, indices]


OTHERS = {
    "Bilinear": bilinear,
    "MaxUnpool1d": lambda: unpool(xpconv.MaxUnpool1d(2), xpconv.MaxPool1d(2, return_indices=True), (2, 3, 8)),
    "MaxUnpool2d": lambda: unpool(
        xpconv.MaxUnpool2d(2), xpconv.MaxPool2d(2, return_indices=True), (2, 3, 8, 6)
    ),
    "MaxUnpool3d": lambda: unpool(
        xpconv.MaxUnpool3d(2), xpconv.MaxPool3d(2, return_indices=True), (2, 3, 4, 4, 4)
    ),
    "Embedding": lambda: (xpconv.Embedding(7, 3, rng=0), [xpconv.asarray(np.array([1, 2, 2, 6, 0]))]),
}

LOSSES = {  # name: maker, and the target of scores (6, 4)
    "BCELoss": (lambda: m.BCELoss(), "rates"),
    "BCEWithLogitsLoss": (lambda: m.BCEWithLogitsLoss(), "rates"),
    "CrossEntropyLoss": (lambda: m.CrossEntropyLoss(label_smoothing=0.1), "classes"),
    "FocalLoss": (lambda: m.FocalLoss(), "rates"),
    "HuberLoss": (lambda: m.HuberLoss(), "rates"),
    "KLDivLoss": (lambda: m.KLDivLoss(), "rates"),
    "L1Loss": (lambda: m.L1Loss(), "rates"),
    "MSELoss": (lambda: m.MSELoss(), "rates"),
    "NLLLoss": (lambda: m.NLLLoss(), "classes"),
    "SmoothL1Loss": (lambda: m.SmoothL1Loss(), "rates"),
}
