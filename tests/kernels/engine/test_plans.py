"""Plans give the same results as the kernels that they were recorded from."""

from __future__ import annotations

import gc
import threading
import weakref

import numpy as np
import pytest
from kernel_cases import CONVOLUTIONS, all_plans, square
from operations import ours
from sharing import shared_by

import xpconv
from xpconv import BatchNorm2d, Conv2d, Dense, Dropout, Flatten, MaxPool2d, ReLU, ReLU6, Residual, Sequential
from xpconv.kernels.engine import memory, plans, threads


@pytest.fixture(autouse=True, params=[1, 2])
def on_threads(request, monkeypatch):
    """With any size of work shared, and any array in the memory that is used again."""
    monkeypatch.setattr(memory, "SMALL", 0)
    with shared_by(request.param):
        yield


@pytest.fixture
def replays(monkeypatch):
    """The plans that were replayed, one after the other."""
    seen = []
    run = plans.Plan.run
    monkeypatch.setattr(plans.Plan, "run", lambda plan, args: [seen.append(plan), run(plan, args)][1])
    return seen


def placed(shape, dtype="float32", layout="last"):
    """An array from the memory that is used again."""
    if layout == "batch":
        return memory.empty_batch_last(shape, dtype)
    return memory.empty(shape, dtype) if layout == "first" else memory.empty_images(shape, dtype)


@pytest.mark.sample(4)
@pytest.mark.parametrize("layout", ["last", "first", "batch"])
@pytest.mark.parametrize("case", CONVOLUTIONS)
def test_convolutions(case, layout, replays, monkeypatch):
    """All three, at the fourth time, on other numbers than the first: to the bit as if never recorded."""
    shape, weight_shape, window, groups = CONVOLUTIONS[case]
    assert ours.conv_algorithm(np, shape, "float32", weight_shape, window, groups) == case.partition(",")[0]
    rng = np.random.default_rng(0)
    x, weight = placed(shape, layout=layout), np.empty(weight_shape, "float32")
    bias = np.empty(weight_shape[0], "float32")
    grad = placed((shape[0], weight_shape[0], *window.output_shape(shape[2:])), layout=layout)

    def step():
        y = ours.conv(np, x, weight, bias, window, groups, bounds=(0.0, 2.0))
        dw = ours.conv_backward_weight(np, grad, x, weight_shape, window, groups)
        dx = ours.conv_backward_input(np, grad, weight, shape, window, groups)
        return [a.copy() for a in (y, dw, dx)]

    for _ in range(4):
        for array in (x, weight, bias, grad):
            array[...] = rng.normal(size=array.shape)
        result = step()
    assert len(replays) >= 3
    monkeypatch.setattr(plans, "MOST_CALLS", 0)
    memory.free_memory()
    replays.clear()
    for a, b in zip(result, step(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert not replays


def network(dropout=0.2):
    xpconv.manual_seed(0)
    return Sequential(
        Conv2d(3, 8, 3, padding=1), ReLU(), MaxPool2d(3, 2, padding=1),
        Residual(Conv2d(8, 8, 3, padding=1, bias=False), BatchNorm2d(8), ReLU6(), Conv2d(8, 8, 1)), ReLU(),
        Conv2d(8, 8, 3, 2, 1, groups=8), BatchNorm2d(8), Dropout(dropout), Flatten(), Dense(8 * 4 * 4, 10),
    )  # fmt: skip


def train(model, steps=13):
    """The losses and, at the end, all parameters and buffers."""
    rng = np.random.default_rng(1)
    criterion = xpconv.SoftmaxCrossEntropyLoss()
    optimizer = xpconv.Adam(model.parameters(), lr=1e-2)
    losses = []
    for i in range(steps):
        size = 5 if i == steps // 2 else 8  # a smaller batch between
        x = rng.normal(size=(size, 3, 16, 16)).astype("float32")
        losses.append(criterion(model(x), rng.integers(0, 10, size)))
        optimizer.zero_grad()
        model.backward(criterion.backward(), input_grad=False)
        optimizer.step()
        with xpconv.no_grad():
            losses.append(model(x).sum())
    return np.array(losses), model.state_dict()


def test_training(replays, monkeypatch):
    losses, state = train(network())
    assert len(replays) > 40
    replays.clear()
    monkeypatch.setattr(plans, "MOST_CALLS", 0)
    memory.free_memory()
    expected, expected_state = train(network())
    assert not replays
    np.testing.assert_array_equal(losses, expected)
    for name, array in state.items():
        np.testing.assert_array_equal(array, expected_state[name], err_msg=name)


def add_one(work, x, y):
    work(np.add, x, 1, y)


def test_what_is_the_callers_is_not_kept():
    """Neither a batch from elsewhere, nor the place of an array that is gone, nor a model's weights."""
    x, outside = placed((2, 3, 8, 8)), np.ones((2, 3, 8, 8), "float32")
    weight, bias = np.ones((4, 3, 3, 3), "float32"), np.zeros(4, "float32")
    for _ in range(4):
        for images in (x, outside):
            images[...] = 2
            y = ours.conv(np, images, weight, bias, square(3))
            assert (y == 54).all()
    assert all_plans()
    gone = [
        weakref.ref(a.base if isinstance(a.base, np.ndarray) else a) for a in (x, y, outside, weight, bias)
    ]
    del x, y, outside, images, weight, bias
    gc.collect()
    assert [reference() for reference in gone] == [None] * 5
    memory.free_memory()
    assert memory.held_bytes() == 0
    assert not all_plans()


@pytest.mark.parametrize("layout", ["repeated", "cropped", "flipped", "every other"])
def test_batch_norm_of_a_view(layout):
    """Images of the caller's with gaps, or backwards, in whatever order: copies are as good as they are."""
    base = np.random.default_rng(0).normal(size=(3, 20, 20, 16)).astype("float32")
    x = {
        "repeated": np.broadcast_to(base[..., 0], (8, 3, 20, 20)),
        "cropped": base[:, 2:18, 2:18].transpose(3, 0, 1, 2),
        "flipped": base.transpose(3, 0, 1, 2)[::-1],
        "every other": base.transpose(3, 0, 1, 2)[::2],
    }[layout]
    layer = BatchNorm2d(3)
    expected = BatchNorm2d(3)
    for _ in range(4):
        y, dx = layer(x), layer.backward(np.cos(x))
    copy = np.ascontiguousarray(x)
    for _ in range(4):
        expected_y, expected_dx = expected(copy), expected.backward(np.cos(copy))
    np.testing.assert_allclose(y, expected_y, atol=1e-5)
    np.testing.assert_allclose(dx, expected_dx, atol=1e-5)
    for name, array in layer.state_dict().items():
        np.testing.assert_allclose(array, expected.state_dict()[name], rtol=1e-5)


def test_weights_that_move():
    """New arrays at every step, as by hand-written optimizers: whether or not a record fits by chance."""
    rng = np.random.default_rng(0)
    x, filler = placed((2, 3, 8, 8)), []
    x[...] = 1
    for i in range(8):
        weight = rng.normal(size=(4, 3, 3, 3)).astype("float32")
        filler.append(np.empty(i, "float32"))
        y = ours.conv(np, x, weight, None, square(3))
        np.testing.assert_allclose(y[0, :, 0, 0], weight.sum(axis=(1, 2, 3)), atol=1e-5)


def test_several_python_threads():
    """Each has records of its own, while another frees all memory again and again."""
    first, *models = [network(dropout=0) for _ in range(4)]
    expected, _ = train(first)
    results, stop = [], threading.Event()

    def free():
        while not stop.is_set():
            memory.free_memory()

    def run(model):
        results.append(train(model)[0])

    freeing = threading.Thread(target=free)
    training = [threading.Thread(target=run, args=(model,)) for model in models]
    for thread in (freeing, *training):
        thread.start()
    for thread in training:
        thread.join()
    stop.set()
    freeing.join()
    for losses in results:
        np.testing.assert_allclose(losses, expected, rtol=1e-4)
    assert len(results) == 3


def test_fewer_threads_between(monkeypatch):
    """Another Python thread may change their number while a kernel has split its work."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4, 16, 32, 32)).astype("float32")
    share = plans.Recorder.share

    def changed(work, *args):
        count = threads.get_num_threads()
        threads.set_num_threads(1)
        share(work, *args)
        threads.set_num_threads(count)

    def means():
        return ours.normalize_batch(np, x, None, None, 1e-5)[1]

    expected = means()
    monkeypatch.setattr(plans.Recorder, "share", changed)
    for _ in range(3):
        np.testing.assert_allclose(means(), expected, rtol=1e-5, atol=1e-6)


def test_a_copy_between_the_calls_is_not_recorded(replays):
    """As of `reshape`, which copies where it has to: it would not be made again."""
    kernel = plans.planned(lambda work, x, y: work(np.add, x.reshape(-1), 1, y.reshape(-1)))
    x, y = placed((2, 3, 4, 4)), placed((2, 3, 4, 4), layout="first")
    for i in range(5):
        x[...] = i
        kernel(x, y)
        assert (y == i + 1).all()
    assert not replays


def test_an_error_leaves_no_record(replays):
    def fails(work, x, y):
        work(np.add, x, 1, y)
        if x[0, 0, 0, 0] == 1:
            raise ZeroDivisionError

    kernel = plans.planned(fails)
    x, y = placed((2, 3, 4, 4)), placed((2, 3, 4, 4))
    x[...] = 0
    kernel(x, y)
    x[...] = 1
    with pytest.raises(ZeroDivisionError):
        kernel(x, y)
    x[...] = 2
    for _ in range(4):
        kernel(x, y)
        assert (y == 3).all()
    assert len(replays) == 2


def test_old_records_make_room(replays, monkeypatch):
    """What is still in use stays: a model too large for all its records keeps some of them."""
    monkeypatch.setattr(plans, "MOST_CALLS", 3)
    kernel = plans.planned(add_one)
    pairs = [(placed((2, 3, 4, n)), placed((2, 3, 4, n))) for n in range(1, 7)]
    for _ in range(6):
        for x, y in pairs:
            kernel(x, y)
    assert len(all_plans()) == 3
    assert len(replays) == 3 * 4
    for _ in range(4):
        for x, y in pairs[3:]:  # the others are no longer used
            kernel(x, y)
    assert len(all_plans()) == 3
    assert len(replays) == 3 * 4 + 3 * 3


def test_floating_point_errors_are_the_callers(replays):
    kernel = plans.planned(lambda work, x, y: work.share(lambda do, i: do(np.log, x[i], y[i]), 2))
    x, y = placed((2, 3, 4, 4)), placed((2, 3, 4, 4))
    x[...] = 1
    for _ in range(3):
        kernel(x, y)
    assert replays
    x[...] = 0
    with np.errstate(divide="raise"), pytest.raises(FloatingPointError):
        kernel(x, y)
    with np.errstate(divide="ignore"):
        kernel(x, y)
    assert (y == -np.inf).all()
