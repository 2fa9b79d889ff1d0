"""Each trick of benchmarks/ablation.py can be taken out, takes effect, and changes no value."""

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest

import xpconv
from xpconv import (
    AdaptiveAvgPool2d,
    AvgPool2d,
    BatchNorm2d,
    Concat,
    Conv2d,
    Dense,
    Flatten,
    Hardswish,
    MaxPool2d,
    ReLU,
    Residual,
    Sequential,
    SiLU,
)
from xpconv.distributed import Communicator
from xpconv.layers.operators import HardSigmoid

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))
ablation = importlib.import_module("ablation")


def nets():
    """Small nets, and batches for which every algorithm is chosen by one of their convolutions."""
    xpconv.manual_seed(0)
    few = Sequential(
        Conv2d(1, 6, 5, padding=2), ReLU(), MaxPool2d(2), Conv2d(6, 16, 5), BatchNorm2d(16), ReLU(), MaxPool2d(2),
        Flatten(), Dense(400, 10),
    )  # fmt: skip
    many = Sequential(
        Conv2d(3, 16, 3, padding=1), BatchNorm2d(16), ReLU(), Conv2d(16, 16, 3, padding=1), ReLU(),
        Conv2d(16, 64, 3, padding=1, bias=False), BatchNorm2d(64), ReLU(), Conv2d(64, 64, 3, padding=1), ReLU(),
        Conv2d(64, 64, 3, padding=1, groups=64), ReLU(), Conv2d(64, 8, 7, 2, padding=3),
        Residual(ReLU()), AvgPool2d(2), Flatten(), Dense(8 * 5 * 5, 10),
    )  # fmt: skip
    mean = Sequential(Conv2d(3, 8, 3), ReLU(), AdaptiveAvgPool2d(1), Flatten(), Dense(8, 10))
    smooth = Sequential(
        Concat(Conv2d(3, 8, 3), Conv2d(3, 8, 3)), SiLU(), Conv2d(16, 8, 1), Hardswish(), HardSigmoid(0.3),
        AdaptiveAvgPool2d(1), Flatten(), Dense(8, 10),
    )  # fmt: skip
    large = Sequential(Conv2d(1, 4, 31, padding=15), ReLU(), AdaptiveAvgPool2d(1), Flatten(), Dense(4, 10))
    flat = Sequential(Conv2d(3, 16, 3), Flatten(), Dense(16 * 7 * 7, 10))  # the gradient is in C order
    joint = Sequential(Conv2d(3, 8, 3), BatchNorm2d(8), ReLU(), AdaptiveAvgPool2d(1), Flatten(), Dense(8, 10))
    vars(joint[1])["_communicator"] = Communicator()
    return [
        (few, (32, 1, 28, 28)), (many, (2, 3, 20, 20)), (mean, (2, 3, 9, 9)), (smooth, (2, 3, 9, 9)),
        (large, (1, 1, 64, 64)), (flat, (2, 3, 9, 9)), (joint, (2, 3, 9, 9)),
    ]  # fmt: skip


def results():
    """Scores, loss, gradients and parameters after two training steps, then scores of the plain and fused model."""
    found = {}
    for number, (model, shape) in enumerate(nets()):
        rng = np.random.default_rng(0)
        x, y = rng.standard_normal(shape), rng.integers(0, 10, shape[0])
        model.to(dtype="float64")  # in float32 rounding moves values across the kink of a ReLU
        criterion, optimizer = xpconv.SoftmaxCrossEntropyLoss(), xpconv.Adam(model.parameters(), lr=1e-3)
        for step in range(2):
            scores = model(x)
            found[number, step] = [scores, np.asarray(criterion(scores, y))]
            optimizer.zero_grad()
            found[number, step].append(model.backward(criterion.backward()))
            found[number, step] += [p.grad.copy() for p in model.parameters()]
            optimizer.step()
        model.eval()
        fused = model.fuse()
        with xpconv.no_grad():
            found[number, "inference"] = [model(x), *[fused(x).copy() for _ in range(3)]]
    return found


@pytest.fixture(scope="module")
def expected():
    """With all tricks."""
    before = xpconv.get_num_threads()
    xpconv.set_num_threads(2)
    yield results()
    xpconv.set_num_threads(before)


@pytest.mark.sample(32)
@pytest.mark.parametrize("name", ablation.TRICKS)
def test_results_are_the_same_without_the_trick(expected, name):
    trick, calls = ablation.TRICKS[name], []

    def watched(old):
        new = trick.without(old)
        if not callable(new):
            calls.append(name)  # a constant: nothing to count
            return new

        def call(*args, **options):
            calls.append(name)
            return new(*args, **options)

        return call

    with trick._replace(without=watched).take_out():
        found = results()
    assert calls, f"{trick.place} is never called"
    for key, arrays in expected.items():
        for a, b in zip(arrays, found[key], strict=True):
            np.testing.assert_allclose(b, a, rtol=0, atol=1e-9 * max(1e-3, np.abs(a).max()), err_msg=f"{key}")


def test_a_name_that_is_gone_is_said():
    for place in (
        "xpconv.kernels.engine.threads:nothing",
        "xpconv.nowhere:share",
        "xpconv.layers.pool:No.name",
    ):
        with pytest.raises(LookupError, match=f"there is no {place} any more: give the trick its new place"):
            ablation.Trick(place, ablation.always(None)).take_out()


def test_what_was_taken_out_is_put_back():
    import xpconv.kernels.numpy.columns
    import xpconv.kernels.numpy.pool

    before = xpconv.kernels.numpy.pool.cut
    with ablation.TRICKS["blocks that fit the cache"].take_out():
        assert xpconv.kernels.numpy.pool.cut is xpconv.kernels.numpy.columns.cut is not before
    assert xpconv.kernels.numpy.pool.cut is xpconv.kernels.numpy.columns.cut is before
