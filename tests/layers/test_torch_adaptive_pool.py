"""Adaptive average pooling against PyTorch: all sizes up to nine onto all sizes."""

import pytest
from oracle import check, normal


@pytest.mark.parametrize("n", [1, 2, 5, 7, 9])
@pytest.mark.parametrize("size", [1, 2, 3, 7, 11, None])
def test_sizes(n, size):
    check(lambda m: m.AdaptiveAvgPool1d(size or n), normal(2, 3, n))
    check(lambda m: m.AdaptiveAvgPool2d((size, 2)), normal(2, 3, n, 5))
    check(lambda m: m.AdaptiveAvgPool3d((2, size, None)), normal(3, 3, n, 4))


def test_empty_batch():
    check(lambda m: m.AdaptiveAvgPool2d(2), normal(0, 3, 5, 5))
