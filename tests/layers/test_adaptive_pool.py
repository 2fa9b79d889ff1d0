"""Adaptive average pooling: by plain loops, and (with PyTorch) in tests/layers/test_torch_adaptive_pool.py."""

import itertools

import numpy as np
import pytest

import xpconv
from xpconv.testing import assert_layer_ok


def naive(x, output):
    spatial = x.shape[-len(output) :]
    sizes = [m or n for m, n in zip(output, spatial, strict=True)]
    y = np.zeros((*x.shape[: -len(output)], *sizes))
    for p in itertools.product(*map(range, sizes)):
        window = [
            slice(i * n // m, int(np.ceil((i + 1) * n / m)))
            for i, n, m in zip(p, spatial, sizes, strict=True)
        ]
        y[(..., *p)] = x[(..., *window)].mean(axis=tuple(range(-len(output), 0)))
    return y


CASES = [
    (lambda: xpconv.AdaptiveAvgPool1d(3), (2, 3, 7), (3,)),
    (lambda: xpconv.AdaptiveAvgPool2d(1), (2, 3, 5, 6), (1, 1)),
    (lambda: xpconv.AdaptiveAvgPool2d((3, 4)), (2, 3, 5, 6), (3, 4)),
    (lambda: xpconv.AdaptiveAvgPool2d((None, 7)), (3, 5, 6), (None, 7)),
    (lambda: xpconv.AdaptiveAvgPool3d((2, None, 3)), (2, 3, 4, 3, 5), (2, None, 3)),
]


@pytest.mark.parametrize(("make", "shape", "output"), CASES)
def test_adaptive_avg_pool(make, shape, output, backends):
    x = np.random.default_rng(0).normal(size=shape)
    assert_layer_ok(make, x, reference=lambda x: naive(x, output), backends=backends)


def test_errors():
    with pytest.raises(
        ValueError, match=r"AdaptiveAvgPool2d: output_size is \(1, 2, 3\), expected an int, None or 2"
    ):
        xpconv.AdaptiveAvgPool2d((1, 2, 3))
    with pytest.raises(ValueError, match=r"AdaptiveAvgPool2d: output_size is 0, expected at least 1"):
        xpconv.AdaptiveAvgPool2d(0)
    with pytest.raises(ValueError, match=r"AdaptiveAvgPool2d.forward: x has shape \(3, 4\)"):
        xpconv.AdaptiveAvgPool2d(1)(np.zeros((3, 4)))
