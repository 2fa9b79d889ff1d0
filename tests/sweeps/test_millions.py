"""Each layer that sums numbers keeps the precision of float32 over millions of them.

`test_precision.py` has fewer numbers, in both orders of memory and on all backends.
"""

import pytest
from precision import LAYERS, compare, conv, inputs_of, negated

import xpconv

# As the rows of LAYERS, at the size that the bound is stated for. No kernel has more than some thousand taps,
# each of which is a step in Python; LocalResponseNorm adds up its window alone.
N = 2_500_000
MILLIONS = {
    "Dense": (lambda: xpconv.Dense(4, 4), (N // 4, 4)),
    "Dense of one": (lambda: xpconv.Dense(1, 1), (N, 1)),
    "Dense, many rows": (lambda: xpconv.Dense(10, 64), (N // 64, 10)),
    "Dense, three axes": (lambda: xpconv.Dense(8, 3), (4, N // 32, 8)),
    "Dense, many inputs": (lambda: xpconv.Dense(N // 2, 2), (2, N // 2)),
    "Dense, many outputs": (lambda: xpconv.Dense(2, N // 2), (2, 2)),
    "Bilinear": (lambda: xpconv.Bilinear(2, 2, 2), (N // 4, 2), (N // 4, 2)),
    "LayerNorm": (lambda: xpconv.LayerNorm((10, 500, 500)), (1, 10, 500, 500)),
    "LayerNorm, many rows": (lambda: xpconv.LayerNorm(8), (N // 8, 8)),
    "RMSNorm": (lambda: xpconv.RMSNorm((10, 500, 500)), (1, 10, 500, 500)),
    "RMSNorm, many rows": (lambda: xpconv.RMSNorm(8), (N // 8, 8)),
    "GroupNorm": (lambda: xpconv.GroupNorm(2, 10), (1, 10, 500, 500)),
    "GroupNorm, many images": (lambda: xpconv.GroupNorm(2, 4), (N // 16, 4, 2, 2)),
    "InstanceNorm2d": (lambda: xpconv.InstanceNorm2d(10, affine=True), (1, 10, 500, 500)),
    "InstanceNorm1d, statistics": (
        lambda: xpconv.InstanceNorm1d(2, affine=True, track_running_stats=True),
        (N // 16, 2, 8),
    ),
    "InstanceNorm3d": (lambda: xpconv.InstanceNorm3d(1, affine=True), (1, 1, 100, 100, 250)),
    "BatchNorm1d": (lambda: xpconv.BatchNorm1d(2), (N // 2, 2)),
    "BatchNorm1d, long": (lambda: xpconv.BatchNorm1d(2), (1, 2, N // 2)),
    "BatchNorm2d": (lambda: xpconv.BatchNorm2d(10), (1, 10, 500, 500)),
    "BatchNorm2d, batch last": (lambda: xpconv.BatchNorm2d(2), (N // 2048, 2, 32, 32)),
    "BatchNorm3d": (lambda: xpconv.BatchNorm3d(1), (1, 1, 100, 100, 250)),
    "PReLU": (lambda: negated(xpconv.PReLU()), (1, 10, 500, 500)),
    "PReLU of channels": (lambda: negated(xpconv.PReLU(10)), (1, 10, 500, 500)),
    "SqueezeExcitation": (lambda: xpconv.SqueezeExcitation(4, 2, rng=0), (1, 4, 500, 1250)),
    "Softmax, first axis": (lambda: xpconv.Softmax(0), (N // 2, 2)),
    "Softmax, last axis": (lambda: xpconv.Softmax(1), (2, N // 2)),
    "Softmin": (lambda: xpconv.Softmin(0), (N // 2, 2)),
    "LogSoftmax, first axis": (lambda: xpconv.LogSoftmax(0), (N // 2, 2)),
    "LogSoftmax, last axis": (lambda: xpconv.LogSoftmax(1), (2, N // 2)),
    "Softmax2d": (lambda: xpconv.Softmax2d(), (1, N // 4, 2, 2)),
    "GlobalAvgPool1d": (lambda: xpconv.GlobalAvgPool1d(), (1, 2, N // 2)),
    "GlobalAvgPool2d": (lambda: xpconv.GlobalAvgPool2d(), (1, 10, 500, 500)),
    "GlobalAvgPool3d": (lambda: xpconv.GlobalAvgPool3d(), (1, 1, 100, 100, 250)),
    "AdaptiveAvgPool2d": (lambda: xpconv.AdaptiveAvgPool2d((3, 1)), (1, 2, 2500, 500)),
    "AdaptiveAvgPool2d, overlapping": (lambda: xpconv.AdaptiveAvgPool2d((500, 500)), (1, 10, 2, 2)),
    "AdaptiveMaxPool1d, overlapping": (lambda: xpconv.AdaptiveMaxPool1d(2000), (1, 1250, 2)),
    "AvgPool1d": (lambda: xpconv.AvgPool1d(5000), (1, 2, N // 2)),
    "AvgPool2d": (lambda: xpconv.AvgPool2d(100), (1, 10, 500, 500)),
    "AvgPool2d, overlapping": (lambda: xpconv.AvgPool2d(40, stride=20), (1, 10, 500, 500)),
    "AvgPool3d": (lambda: xpconv.AvgPool3d(20), (1, 10, 50, 50, 100)),
    "MaxPool1d, overlapping": (lambda: xpconv.MaxPool1d(3000, stride=1000), (1, 2, N // 2)),
    "LPPool1d": (lambda: xpconv.LPPool1d(2, 5000), (1, 2, N // 2)),
    "LPPool2d": (lambda: xpconv.LPPool2d(2, 100), (1, 10, 500, 500)),
    "LPPool3d": (lambda: xpconv.LPPool3d(2, 20), (1, 10, 50, 50, 100)),
    "LocalResponseNorm": (lambda: xpconv.LocalResponseNorm(20, alpha=1.0), (1, 500, 50, 100)),
    "ReplicationPad1d": (lambda: xpconv.ReplicationPad1d(N // 4), (1, 2, 100)),
    "ReplicationPad2d": (lambda: xpconv.ReplicationPad2d(800), (1, 1, 3, 3)),
    "Upsample, nearest": (lambda: xpconv.Upsample(size=(500, 625)), (1, 8, 1, 1)),
    "Upsample, bilinear": (lambda: xpconv.Upsample(size=(500, 625), mode="bilinear"), (1, 8, 2, 2)),
    "Upsample, bicubic": (lambda: xpconv.Upsample(size=(500, 625), mode="bicubic"), (1, 8, 4, 4)),
    "Fold": (lambda: xpconv.Fold((6332, 1), (3000, 1)), (1, 3000, 3333)),
    "Unfold": (lambda: xpconv.Unfold((3000, 1)), (1, 1, 6332, 1)),
    "Embedding": (lambda: xpconv.Embedding(3, 2, rng=0), (N // 2,)),
    "Conv1d": (lambda: xpconv.Conv1d(1, 1, 3), (1, 1, N)),
    "Conv1d, long kernel": (lambda: xpconv.Conv1d(1, 1, 5000, stride=5000), (1, 1, N)),
    "Conv1d, depthwise": (lambda: xpconv.Conv1d(2, 2, 3, groups=2), (1, 2, N // 2)),
    "Conv2d": (conv(10, 4, 3), (1, 10, 500, 500)),
    "Conv2d of one": (conv(1, 1, 3), (1, 1, 1250, 2000)),
    "Conv2d, one by one": (conv(4, 4, 1), (1, 4, 500, 1250)),
    "Conv2d, one of one": (conv(1, 1, 1), (1, 1, 1250, 2000)),
    "Conv2d, 5×5": (conv(1, 6, 5), (N // 4096, 1, 32, 32)),
    "Conv2d, strided": (conv(3, 4, 7, stride=4), (1, 3, 900, 926)),
    "Conv2d, many images": (conv(4, 4, 3), (N // 64, 4, 4, 4)),
    "Conv2d, batch last": (conv(2, 3, 3), (N // 2048, 2, 32, 32)),
    "Conv2d, more channels": (conv(16, 16, 3), (1, 16, 312, 500)),
    "Conv2d, winograd": (conv(64, 64, 3), (1, 64, 200, 200)),
    "Conv2d, grouped": (conv(4, 4, 3, groups=2), (1, 4, 500, 1250)),
    "Conv2d, depthwise": (conv(10, 10, 3, groups=10), (1, 10, 500, 500)),
    "Conv2d, depthwise, two each": (conv(4, 8, 3, groups=4), (1, 4, 500, 625)),
    "Conv2d, depthwise, thin": (conv(4, 4, 3, groups=4), (1, 4, N // 16, 4)),
    "Conv2d, depthwise, wide": (conv(4, 4, 3, groups=4), (1, 4, 4, N // 16)),
    "Conv2d, depthwise, dilated": (conv(4, 4, 3, stride=2, dilation=2, groups=4), (1, 4, 500, 1250)),
    "Conv3d": (lambda: xpconv.Conv3d(1, 2, 3), (1, 1, 100, 100, 250)),
    "Conv3d, depthwise": (lambda: xpconv.Conv3d(2, 2, 3, groups=2), (1, 2, 50, 100, 250)),
    "ConvTranspose1d": (lambda: xpconv.ConvTranspose1d(1, 1, 5000, stride=5000), (1, 1, 500)),
    "ConvTranspose2d": (lambda: xpconv.ConvTranspose2d(10, 2, 3), (1, 10, 500, 500)),
    "ConvTranspose2d, strided": (lambda: xpconv.ConvTranspose2d(2, 2, 2, stride=2), (1, 2, 625, 1000)),
    "DepthwiseConv2d": (lambda: xpconv.DepthwiseConv2d(10, 7), (1, 10, 500, 500)),
    "SeparableConv2d": (lambda: xpconv.SeparableConv2d(3, 4, 3), (1, 3, 900, 926)),
}


def test_every_layer_has_a_row():
    odd = MILLIONS.keys() ^ LAYERS.keys()
    assert not odd, f"only one of MILLIONS, here, and LAYERS in tests/helpers/precision.py has {sorted(odd)}"


@pytest.mark.slow
@pytest.mark.parametrize("case", MILLIONS)
def test_layers_on_millions_of_numbers(case):
    make, *shapes = MILLIONS[case]
    inputs = inputs_of(case, shapes)
    if case == "SqueezeExcitation":
        inputs[0] *= 0.25  # else its sigmoid is near 1, and float32 has few digits of the rest
    compare(make, inputs, ["C" if len(shapes[0]) < 3 else "channels last"], "numpy")
    xpconv.free_memory()  # else the buffers of all cases add up
