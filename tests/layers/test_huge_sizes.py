"""Sizes that no machine has memory or time for are refused at once, in words; large ones that fit are computed."""

import contextlib
import signal

import numpy as np
import pytest
from oracle import nn, torch

import xpconv

IMAGES = {axes: np.ones((1, 2) + (4,) * axes, "float32") for axes in (1, 2, 3)}
HUGE = [2**31, 2**31 - 1, 50_000_000, 2**40, 10**20]


@contextlib.contextmanager
def within(seconds):
    """Ends what takes more time of the processor, whatever else runs there, where the system has alarms."""
    if not hasattr(signal, "setitimer"):
        yield
        return

    def late(*_):
        raise TimeoutError(f"not within {seconds} s of CPU time")

    before = signal.signal(signal.SIGPROF, late)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def along_the_last(axes, size):
    return (1,) * (axes - 1) + (size,)


MAKERS = {
    "AdaptiveAvgPool": lambda d, n: getattr(xpconv, f"AdaptiveAvgPool{d}d")(along_the_last(d, n)),
    "AdaptiveMaxPool": lambda d, n: getattr(xpconv, f"AdaptiveMaxPool{d}d")(along_the_last(d, n)),
    "AvgPool": lambda d, n: getattr(xpconv, f"AvgPool{d}d")(along_the_last(d, n), padding=along_the_last(d, n // 2)),
    "MaxPool": lambda d, n: getattr(xpconv, f"MaxPool{d}d")(n, padding=n // 2, stride=1),
    "MaxPool, padded": lambda d, n: getattr(xpconv, f"MaxPool{d}d")(2, padding=n),
    "MaxPool, dilated": lambda d, n: getattr(xpconv, f"MaxPool{d}d")(2, dilation=n),
    "LPPool": lambda d, n: getattr(xpconv, f"LPPool{d}d")(2, n),
    **{
        f"Upsample, {how}, {mode}": lambda d, n, how=how, mode=mode: xpconv.Upsample(
            mode=mode if mode != "linear" else ("linear", "bilinear", "trilinear")[d - 1],
            **{how: along_the_last(d, n)},
        )
        for how in ("size", "scale_factor")
        for mode in ("nearest", "nearest-exact", "area", "linear")
    },
    "Upsample, bicubic": lambda d, n: xpconv.Upsample(size=n, mode="bicubic"),
    "ConvTranspose": lambda d, n: getattr(xpconv, f"ConvTranspose{d}d")(2, 2, 1, stride=n, rng=0),
    "Conv, dilated": lambda d, n: getattr(xpconv, f"Conv{d}d")(2, 2, 2, dilation=n, rng=0),
}  # fmt: skip


@pytest.mark.parametrize("size", HUGE)
@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("name", MAKERS)
def test_huge_sizes_are_refused_at_once(name, axes, size, monkeypatch):
    monkeypatch.setattr("xpconv.arguments.LARGEST_BYTES", 2**30)  # whatever memory this machine has
    x = IMAGES[axes]
    with within(5), pytest.raises(ValueError, match=r"^\w+(\.forward)?: ") as info:
        MAKERS[name](axes, size)(x)
    assert len(str(info.value)) < 400


@pytest.mark.parametrize("name", ["Zero", "Constant", "Replication", "Reflection", "Circular"])
@pytest.mark.parametrize("size", [2**31, 2**40, 10**20, -(2**40)])
def test_huge_pads_are_refused_at_once(name, size, monkeypatch):
    monkeypatch.setattr("xpconv.arguments.LARGEST_BYTES", 2**30)
    arguments = (1.0,) if name == "Constant" else ()
    with within(5), pytest.raises(ValueError, match=rf"^{name}Pad2d(\.forward)?: "):
        getattr(xpconv, f"{name}Pad2d")(size, *arguments)(IMAGES[2])


def test_functions_refuse_them_too():
    for function in (xpconv.functional.adaptive_avg_pool2d, xpconv.functional.adaptive_max_pool2d):
        with within(5), pytest.raises(ValueError, match=r"^functional\.adaptive_\w+: .* at most 4,194,304"):
            function(IMAGES[2], (1, 2**31 - 1))
    with within(5), pytest.raises(ValueError, match=r"^functional\.interpolate: .* at most 4,194,304"):
        xpconv.functional.interpolate(IMAGES[1], 2**31 - 1)


@pytest.mark.parametrize(("n", "m"), [(3000, 2000), (70, 5000), (20000, 30), (4000, 4000)])
@pytest.mark.parametrize("kind", ["Avg", "Max"])
def test_long_axes(kind, n, m):
    """Whose matrix of means would have millions of elements, and whose windows are not compared with all inputs."""
    rng = np.random.default_rng(0)
    x, grad = rng.normal(size=(2, 3, n)), rng.normal(size=(2, 3, m))
    layer = getattr(xpconv, f"Adaptive{kind}Pool1d")(m)
    ours = torch.tensor(x, requires_grad=True)
    with within(60):
        y = layer(x)
        dx = layer.backward(grad)
        expected = getattr(nn, f"Adaptive{kind}Pool1d")(m)(ours)
        expected.backward(torch.tensor(grad))
    np.testing.assert_allclose(y, expected.detach().numpy(), rtol=0, atol=1e-12)
    np.testing.assert_allclose(dx, ours.grad.numpy(), rtol=0, atol=1e-10)
