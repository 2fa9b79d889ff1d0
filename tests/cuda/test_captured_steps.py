"""A captured step in a loop: gradients as in plain Python, recordings by shape, and the end of a recording."""

import gc

import device
import double
import emulation
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import xpconv
from xpconv.kernels import graph
from xpconv.kernels.cupy import recorder

pytestmark = pytest.mark.skipif(emulation.COMPILER is None, reason="g++ is not installed")


@pytest.fixture
def cuda():
    """`xp.cuda` of the double, which is the active backend."""
    with device.present() as found, xpconv.use_backend("double"):
        yield found


class Training:
    """A small model, its optimizer, and steps with or without what may be outside of them."""

    def __init__(self, clear="inside", optimizer=xpconv.Adam):
        self.model = xpconv.Sequential(
            xpconv.Dense(3, 4, rng=0), xpconv.BatchNorm1d(4), xpconv.ReLU(), xpconv.Dense(4, 2, rng=1)
        )
        self.loss, self.runs, self.clear = xpconv.SoftmaxCrossEntropyLoss(), 0, clear
        self.optimizer = optimizer(self.model.parameters(), lr=0.01)

    def step(self, x, y):
        self.runs += 1
        loss = self.loss(self.model(x), y)
        if self.clear == "inside":
            self.optimizer.zero_grad()
        if self.clear == "zeros":
            self.optimizer.zero_grad(set_to_none=False)
        self.model.backward(self.loss.backward(), input_grad=False)
        if self.clear != "never steps":
            self.optimizer.step()
        if self.clear == "after":
            self.optimizer.zero_grad()
        return loss

    def state(self):
        arrays = self.model.state_dict()
        grads = {f"{name}.grad": p.grad for name, p in self.model.named_parameters()}
        return {k: None if v is None else xpconv.asnumpy(v) for k, v in {**arrays, **grads}.items()}


def batch(seed=0, n=5):
    rng = np.random.default_rng(seed)
    return xpconv.asarray(rng.normal(size=(n, 3)), "float32"), xpconv.asarray(rng.integers(0, 2, n))


def assert_alike(a, b):
    for name, value in a.state().items():
        other = b.state()[name]
        assert (value is None) == (other is None), name
        if value is not None:
            np.testing.assert_array_equal(value, other, err_msg=name)


def act(training, action):
    parameters = training.model.parameters()
    if action == "none":
        training.optimizer.zero_grad()
    elif action == "zeros":
        training.optimizer.zero_grad(set_to_none=False)
    elif action == "others":  # the same values in other arrays
        for p in parameters:
            p.grad = None if p.grad is None else p.grad.copy()
    elif action == "one":
        parameters[0].grad = None
    elif action == "given":
        for p in parameters:
            p.grad = p.data * 0.5


ACTIONS = ["call", "none", "zeros", "others", "one", "given"]


@pytest.mark.sample(6)
@pytest.mark.parametrize("by_shape", [False, True])
@pytest.mark.parametrize("clear", ["inside", "zeros", "after", "never", "never steps"])
def test_gradients_are_those_of_plain_calls(clear, by_shape, cuda):
    """Also if the loop clears or assigns gradients between the calls."""

    @settings(max_examples=8)
    @given(st.lists(st.sampled_from(ACTIONS), max_size=14))
    def check(actions):
        plain, fast = Training(clear), Training(clear)
        examples = batch()
        captured = xpconv.cuda.capture(fast.step, *(() if by_shape else examples), warmup=1)
        if not by_shape:
            plain.step(*examples)
        for i, action in enumerate(["call", "call", *actions, "call", "call", "call"]):
            if action == "call":
                x, y = batch(i)
                assert xpconv.asnumpy(captured(x, y)) == xpconv.asnumpy(plain.step(x, y))
            else:
                act(plain, action)
                act(fast, action)
            assert_alike(fast, plain)
        assert fast.runs <= plain.runs + 1 + len(captured_replays(captured))

    check()


def captured_replays(captured):
    known = getattr(captured, "_known", None)
    kinds = [captured._recordings] if known is None else [k for k in known.values() if not isinstance(k, int)]
    return [replay for kind in kinds for replay in kind._replays]


def test_gradients_cleared_outside_the_step_do_not_add_up(backend):
    """Nor do they on NumPy, where the step runs without a graph."""
    training = Training("never", xpconv.SGD)
    x, y = batch()
    training.optimizer.zero_grad()
    fast = xpconv.cuda.capture(training.step, x, y, warmup=1)
    plain = Training("never", xpconv.SGD)
    plain.step(x, y)
    for _ in range(4):
        training.optimizer.zero_grad()
        plain.optimizer.zero_grad()
        fast(x, y)
        plain.step(x, y)
        assert_alike(training, plain)


def test_a_step_that_clears_first_needs_one_recording_and_no_copies(cuda):
    training = Training("inside")
    x, y = batch()
    fast = xpconv.cuda.capture(training.step, x, y, warmup=1)
    for action in ("none", "given", "others", "zeros"):
        act(training, action)
        fast(x, y)
    assert training.runs == 2  # the warm-up and the recording
    assert not fast._recordings._replays[0]._gradients._read


@pytest.mark.parametrize("by_shape", [False, True])
def test_a_dead_graph_is_not_destroyed_while_another_is_recorded(by_shape, cuda):
    """That would wait for the device; the garbage collector may come at any time."""
    x = xpconv.asarray(np.ones((2, 3), "float32"))
    model = xpconv.Dense(3, 2, rng=0)

    def make(step):
        found = xpconv.cuda.capture(step, *(() if by_shape else (x,)), warmup=1)
        if by_shape:
            found(x)
            found(x)
        return found

    old = [make(model), []]
    old[1].append(old)  # a circle, for the collector

    def step(x):
        if graph.capturing():
            old.clear()
            gc.collect()
        return model(x)

    with xpconv.no_grad():
        make(step)
        assert device.Products.closed[:1] == (False,)
    gc.collect()
    assert device.Products.alive == 0 and not any(device.Products.closed)
    assert not recorder._dead


def test_a_capture_within_a_recorded_step_is_refused(cuda):
    x = xpconv.asarray(np.ones(3, "float32"))

    def step(x):
        if graph.capturing():
            xpconv.cuda.capture(lambda x: x, x)
        return x * 2

    with pytest.raises(RuntimeError, match="capture: called by a step that is being recorded"):
        xpconv.cuda.capture(step, x)
    inner = xpconv.cuda.capture(lambda x: x + 1, warmup=1)
    inner(x)
    fast = xpconv.cuda.capture(lambda x: inner(x) * 2, x, warmup=3)
    assert fast(x).get().tolist() == [4, 4, 4]  # one without examples is part of it


@pytest.mark.parametrize("norm_type", [2.0, 1.0, float("inf")])
def test_the_gradients_of_many_parameters_are_clipped_within_a_graph(norm_type, cuda):
    """CuPy joins more than eight arrays by a table of addresses from the host, which a graph cannot contain."""
    norms = {}
    for captured in (False, True):
        model = xpconv.Sequential(*(xpconv.Dense(3, 3, rng=i) for i in range(6)))

        def step(x, y, model=model):
            model.zero_grad()
            model.backward(model(x) - y, input_grad=False)
            return xpconv.clip_grad_norm_(model.parameters(), 0.1, norm_type)

        x = xpconv.asarray(np.ones((2, 3), "float32"))
        run = xpconv.cuda.capture(step, x, x, warmup=1) if captured else step
        norms[captured] = run(x, 2 * x).get(), [p.grad.get() for p in model.parameters()]
    assert norms[True][0] == norms[False][0] > 0.1
    assert all((a == b).all() for a, b in zip(norms[True][1], norms[False][1], strict=True))


@pytest.mark.parametrize("scaled", [False, True])
def test_clipping_averages_and_several_batches_belong_into_the_step(scaled, cuda):
    """What the guide says of them; the schedule steps outside."""
    found = []
    for captured in (False, True):
        training = Training(optimizer=xpconv.SGD)
        model, loss, optimizer = training.model, training.loss, training.optimizer
        ema, scaler = xpconv.ExponentialMovingAverage(model, decay=0.5), xpconv.GradScaler(4.0)
        schedule = xpconv.ExponentialLR(optimizer, gamma=0.5)

        def step(*batches, model=model, loss=loss, optimizer=optimizer, ema=ema, scaler=scaler):
            optimizer.zero_grad()
            for x, y in zip(batches[::2], batches[1::2], strict=True):
                loss(model(x), y)
                model.backward(loss.backward(scaler.scale / 2 if scaled else 0.5), input_grad=False)
            if scaled:
                scaler.unscale_(optimizer)
            norm = xpconv.clip_grad_norm_(model.parameters(), 0.1)
            if scaled:
                scaler.step(optimizer)
                scaler.update()
            else:
                optimizer.step()
            ema.update()
            return norm

        run = xpconv.cuda.capture(step) if captured else step
        for i in range(6):
            norm = run(*batch(i), *batch(10 + i))
            schedule.step()
        averages = {f"{name} average": xpconv.asnumpy(a) for name, a in ema.averages.items()}
        found.append({**training.state(), **averages, "norm": xpconv.asnumpy(norm)})
    plain, graphed = found
    assert cuda.log.count("launch on own") == 3
    for name in plain:
        np.testing.assert_array_equal(plain[name], graphed[name], err_msg=name)


# --- without examples ---------------------------------------------------------------------------------------


def test_each_kind_of_inputs_is_recorded(cuda):
    plain, fast = Training(), Training()
    captured = xpconv.cuda.capture(fast.step, warmup=2)
    for i in range(12):
        x, y = batch(i, n=3 if i % 4 == 3 else 5)
        assert xpconv.asnumpy(captured(x, y)) == xpconv.asnumpy(plain.step(x, y))
        assert_alike(fast, plain)
    assert fast.runs == 3 + 3 and plain.runs == 12


def test_the_number_of_kinds_is_bounded(cuda):
    model = xpconv.Dense(3, 2, rng=0)
    captured = xpconv.cuda.capture(model, warmup=1)
    with xpconv.no_grad():
        for n in range(1, 30):
            for _ in range(3):
                x = xpconv.asarray(np.ones((n, 3), "float32"))
                np.testing.assert_array_equal(captured(x).get(), model(x).get())
    assert len(captured._known) == 8
    del captured
    gc.collect()
    assert device.Products.alive == 0


def test_other_modes_moved_parameters_and_hooks_are_seen(cuda):
    plain, fast = Training(), Training()
    captured = xpconv.cuda.capture(fast.step, warmup=1)
    seen = []
    for i in range(40):
        for one in (plain, fast):
            if i % 5 == 4:
                one.model.train(not one.model.training)
            if i == 9:
                one.model[0].weight.requires_grad = False
            if i == 13:
                one.model[0].weight.requires_grad = True
            if i == 17:
                one.optimizer = xpconv.SGD(one.model.parameters(), lr=0.1)
            if i == 22:
                one.model[1].running_mean = xpconv.asarray(np.ones(4, "float32"))
            if i == 27:
                one.model[1].eps = 0.1
            if i == 31:
                handle = one.model[0].register_forward_hook(lambda *_: seen.append(i))  # noqa: B023
            if i == 33:
                handle.remove()
        x, y = batch(i)
        assert xpconv.asnumpy(captured(x, y)) == xpconv.asnumpy(plain.step(x, y))
        assert_alike(fast, plain)
    assert seen.count(31) == seen.count(32) == 2
    assert fast.runs < 36


def test_random_numbers_follow_the_seed(cuda):
    x = xpconv.asarray(np.ones((8, 8), "float32"))
    dropout = xpconv.Dropout(0.5)
    captured, masks = xpconv.cuda.capture(dropout, warmup=1), {}
    with xpconv.no_grad():
        for where in (captured, dropout):
            for seed in (0, 1, 0):
                xpconv.manual_seed(seed)
                masks[where, seed] = [xpconv.asnumpy(where(x)).tolist() for _ in range(4)]
    for seed in (0, 1):
        assert masks[captured, seed] == masks[dropout, seed]
        assert len({str(mask) for mask in masks[captured, seed]}) == 4


def test_a_step_that_cannot_be_recorded_says_so_and_loses_nothing(cuda):
    training = Training("never steps")

    def step(x, y):
        loss = training.step(x, y)
        return loss * float(loss)

    captured = xpconv.cuda.capture(step, warmup=1)
    x, y = batch()
    captured(x, y)
    before = training.state()
    with pytest.raises(
        RuntimeError, match=r"capture: step failed while it was recorded .*waits for the device"
    ):
        captured(x, y)
    after = training.state()
    assert all((before[name] == after[name]).all() for name in before)


@pytest.mark.parametrize("args", [(), (np.ones(2),)])
def test_on_numpy_a_step_without_examples_just_runs(args):
    assert xpconv.cuda.capture(lambda *args: len(args))(*args) == len(args)


# --- the stand-in --------------------------------------------------------------------------------------------


def test_the_stand_in_computes_nothing_before_a_launch(cuda):
    a, b, stream = xpconv.asarray(np.arange(3.0)), xpconv.asarray(np.zeros(3)), cuda.Stream()
    stream.begin_capture()
    c = a + 1
    c *= 2
    b[1:] = c[:2]
    taken = c[xpconv.get_xp().arange(2)]
    recorded = stream.end_capture()
    assert np.isnan(c.get()).all() and np.isnan(taken.get()).all() and not b.get().any()
    for _ in range(2):
        recorded.launch(stream)
        assert (
            c.get().tolist() == [2, 4, 6] and b.get().tolist() == [0, 2, 4] and taken.get().tolist() == [2, 4]
        )
    a[...] = 1
    recorded.launch(stream)
    assert c.get().tolist() == [4, 4, 4]
    del a
    with pytest.raises(AssertionError, match="memory that was freed"):
        recorded.launch(stream)


@pytest.mark.parametrize(
    "work",
    [
        lambda a: float(a.sum()), lambda a: a[a > 0], lambda a: xpconv.asarray(np.ones(2)), lambda a: a @ a, lambda a: a.get(),
        lambda a: xpconv.get_xp().matmul(a, a), lambda a: xpconv.get_xp().unique(a), lambda a: bool(a[0] > 0),
    ],
)  # fmt: skip
def test_the_stand_in_refuses_what_cuda_does(work, cuda):
    a, stream = xpconv.asarray(np.ones(2)), cuda.Stream()
    stream.begin_capture()
    with pytest.raises(device.CUDARuntimeError, match="not permitted when stream is capturing"):
        work(a)
    with pytest.raises(device.CUDARuntimeError, match="the capture is invalid"):
        stream.end_capture()
    assert double.recording is None
