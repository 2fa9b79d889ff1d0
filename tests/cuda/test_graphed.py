"""`xpconv.cuda.graphed` on the double: bitwise the values of a plain loop, and which calls launch graphs."""

import copy
import gc
import pickle
from contextlib import nullcontext

import device
import double
import emulation
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import xpconv
from xpconv.layers import replay

pytestmark = pytest.mark.skipif(emulation.COMPILER is None, reason="g++ is not installed")


@pytest.fixture
def cuda():
    """`xp.cuda` of the double, which is the active backend."""
    with device.present() as found, xpconv.use_backend("double"):
        yield found


def launches(cuda, function):
    del cuda.log[:]
    function()
    return sum(entry.startswith("launch") for entry in cuda.log)


def lenet():
    return xpconv.Sequential(
        xpconv.Conv2d(1, 3, 3, padding=1, rng=0), xpconv.ReLU(), xpconv.MaxPool2d(2), xpconv.Flatten(),
        xpconv.Dense(27, 6, rng=1), xpconv.ReLU(), xpconv.Dropout(0.4, rng=2), xpconv.Dense(6, 4, rng=3),
    )  # fmt: skip


def resnet():
    def conv(i, o, seed):
        return [xpconv.Conv2d(i, o, 3, padding=1, bias=False, rng=seed), xpconv.BatchNorm2d(o)]

    return xpconv.Sequential(
        *conv(1, 3, 0), xpconv.ReLU(),
        xpconv.Residual(*conv(3, 3, 1), xpconv.ReLU(), *conv(3, 3, 2)), xpconv.ReLU(),
        xpconv.Residual(*conv(3, 4, 3), shortcut=xpconv.Sequential(*conv(3, 4, 4))),
        xpconv.GlobalAvgPool2d(), xpconv.Flatten(), xpconv.Dense(4, 4, rng=5),
    )  # fmt: skip


class Own(xpconv.Layer):
    """A user's layer, with a parameter, a child and a setting."""

    def __init__(self):
        self.inner, self.scale = xpconv.Dense(36, 4, rng=0), 2.0
        self.weight = xpconv.Parameter(xpconv.asarray(np.full(4, 0.5, "float32")), "weight")

    def forward(self, x):
        y = self.inner(x.reshape(len(x), -1))
        return self.keep(y * self.weight.data * self.scale, y, self.scale)

    def backward(self, grad_output, input_grad=True):
        y, scale = self.recall(grad_output)
        self.weight.accumulate((grad_output * y * scale).sum(axis=0))
        dx = self.inner.backward(grad_output * self.weight.data * scale, input_grad=input_grad)
        return dx.reshape(len(y), 1, 6, 6) if input_grad else None


MODELS = {"lenet": lenet, "resnet": resnet, "own": Own}


def batch(seed=0, n=4):
    rng = np.random.default_rng(seed)
    return xpconv.asarray(rng.normal(size=(n, 1, 6, 6)), "float32"), xpconv.asarray(rng.integers(0, 4, n))


class Loop:
    """A plain training loop, with or without graphs."""

    def __init__(self, make, graphs, optimizer=xpconv.Adam, **options):
        self.model = make()
        if graphs:
            assert xpconv.cuda.graphed(self.model) is self.model
        self.optimizer = optimizer(self.model.parameters(), lr=0.01)
        self.schedule = xpconv.StepLR(self.optimizer, 3, 0.5)
        self.loss, self.scaler = xpconv.SoftmaxCrossEntropyLoss(), xpconv.GradScaler(4.0)
        self.average = xpconv.ExponentialMovingAverage(self.model)
        self.options, self.seen = options, []

    def step(self, x, y, clear=True):
        o = self.options
        output = self.model(x)
        self.seen.append(output)
        self.seen.append(self.loss(output, y))
        if clear:
            self.optimizer.zero_grad(**o.get("clear", {}))
        factor = self.scaler.scale if "scaler" in o else 1.0
        dx = self.model.backward(self.loss.backward(factor), **o.get("backward", {"input_grad": False}))
        self.seen.append(dx)
        if "scaler" in o:
            self.scaler.unscale_(self.optimizer)
        if "clip" in o:
            self.seen.append(xpconv.clip_grad_norm_(self.model.parameters(), 0.05))
        self.seen += [p.grad for p in self.model.parameters()]
        if o.get("accumulate", 1) == 1 or not clear:
            (
                self.scaler.step(self.optimizer),
                self.scaler.update(),
            ) if "scaler" in o else self.optimizer.step()
            self.schedule.step()
        self.average.update()

    def infer(self, x):
        self.model.eval()
        with xpconv.no_grad():
            self.seen.append(self.model(x))
        self.model.train()

    def values(self):
        state = {
            **self.model.state_dict(),
            **{f"average.{k}": v for k, v in self.average.state_dict().items() if hasattr(v, "shape")},
        }
        return [None if v is None else xpconv.asnumpy(v) for v in (*self.seen, *state.values())]


def assert_alike(graphs, plain):
    """All that both have seen, also long ago: nothing has changed since."""
    for i, (a, b) in enumerate(zip(graphs.values(), plain.values(), strict=True)):
        assert (a is None) == (b is None)
        if a is not None:
            np.testing.assert_array_equal(a, b, err_msg=str(i), strict=True)


OPTIONS = {
    "plain": {},
    "zeros": {"clear": {"set_to_none": False}},
    "input": {"backward": {}},
    "clip": {"clip": True},
    "scaler": {"scaler": True},
    "scaler and clip": {"scaler": True, "clip": True},
    "accumulate": {"accumulate": 2},
}


@pytest.mark.sample(8)
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("options", OPTIONS)
def test_training_has_the_values_of_a_plain_loop(name, options, cuda):
    options = OPTIONS[options]
    loops = [Loop(MODELS[name], graphs, **options) for graphs in (True, False)]
    for i in range(12):
        for loop in loops:
            loop.step(
                *batch(i, 3 if i % 5 == 4 else 4), clear=options.get("accumulate", 1) == 1 or i % 2 == 0
            )
            if i % 4 == 3:
                loop.infer(batch(i)[0])
    assert_alike(*loops)
    assert launches(cuda, lambda: loops[0].step(*batch(20))) == 2
    assert launches(cuda, lambda: loops[0].infer(batch(21)[0])) == 1


class Plain(xpconv.LARS):
    """An optimizer without a kernel."""

    kernel = ""


@pytest.mark.parametrize("optimizer", [xpconv.SGD, xpconv.RMSprop, xpconv.LAMB, Plain])
def test_any_optimizer_takes_its_gradients(optimizer, cuda):
    loops = [Loop(resnet, graphs, optimizer) for graphs in (True, False)]
    for i in range(8):
        for loop in loops:
            loop.step(*batch(i))
    assert_alike(*loops)


def change(loop, what, i):
    model, optimizer = loop.model, loop.optimizer
    layers = [layer for _, layer in model.named_layers()]
    if what == "freeze":
        model.parameters()[0].requires_grad = not model.parameters()[0].requires_grad
    elif what == "mode":
        layers[1].train(not layers[1].training)
    elif what == "eval":
        model.train(not model.training)
    elif what == "load":
        model.load_state_dict(
            {k: v * 0.9 if v.dtype.kind == "f" else v for k, v in model.state_dict().items()}
        )
    elif what == "state":
        optimizer.load_state_dict(optimizer.state_dict())
    elif what == "assign":
        model.parameters()[-1].data = model.parameters()[-1].data * 0.5
    elif what == "optimizer":
        loop.optimizer = xpconv.SGD(model.parameters(), lr=0.1)
        loop.schedule = xpconv.StepLR(loop.optimizer, 3, 0.5)
    elif what == "seed":
        xpconv.manual_seed(i)
    elif what == "grads":
        for p in model.parameters():
            p.grad = None if p.grad is None else p.grad + 1
    elif what == "look":  # a forward that has no backward
        loop.seen.append(model(batch(i)[0]))
    elif what == "forget":
        model.forget()
    elif what == "two":
        (a, _), (b, _) = batch(i), batch(i + 1)
        one, two = model(a), model(b)
        loop.seen += [one, two, model.backward(two), model.backward(one)]
    elif what == "record":
        y, tape = model.record(batch(i)[0])
        loop.seen += [y, model.pullback(tape, y), model.pullback(tape, y)]
    elif what == "hook":
        handle = model.register_forward_hook(lambda layer, inputs, y: loop.seen.append(y * 2))
        loop.step(*batch(i))
        handle.remove()
    elif what == "setting":
        for layer in layers:
            if isinstance(layer, xpconv.Dropout):
                layer.p = 0.1 + 0.1 * (i % 5)
            if isinstance(layer, Own):
                layer.scale += 1.0
    elif what == "layer":
        if isinstance(model, xpconv.Sequential):
            model[-1] = xpconv.Dense(model[-1].in_features, 4, rng=i)
        else:
            model.inner = xpconv.Dense(36, 4, rng=i)
        change(loop, "optimizer", i)
    elif what == "write":
        x, _ = batch(i)
        y = model(x)
        x[...] = 0
        y[...] = 0
        loop.seen.append(model.backward(y + 1))
    elif what == "error":
        with pytest.raises(ValueError, match="shape"):
            model(xpconv.asarray(np.ones((2, 3, 5), "float32")))


CHANGES = ["freeze", "mode", "eval", "load", "state", "assign", "optimizer", "seed", "grads", "look", "forget", "two",
           "record", "hook", "setting", "layer", "write", "error"]  # fmt: skip


# The largest model, which takes longest, sees every second one.
MIXED = [(name, what) for i, what in enumerate(CHANGES) for name in MODELS if name != "resnet" or i % 2]


@pytest.mark.sample(4)
@pytest.mark.parametrize(("name", "what"), MIXED)
def test_changes_between_the_steps_are_seen(name, what, cuda):
    loops = [Loop(MODELS[name], graphs) for graphs in (True, False)]
    for loop in loops:
        for i in range(11):
            loop.step(*batch(i))
            if i % 5 == 4:
                change(loop, what, i)
    assert_alike(*loops)


@settings(max_examples=6)
@given(st.lists(st.sampled_from([*CHANGES, "step", "step", "infer", "small"]), max_size=16))
def test_changes_in_any_order(changes):
    with device.present(), xpconv.use_backend("double"):
        loops = [Loop(lenet, graphs) for graphs in (True, False)]
        for loop in loops:
            xpconv.manual_seed(0)
            for i, what in enumerate(["step"] * 4 + changes + ["step"] * 3):
                if what == "infer":
                    loop.infer(batch(i)[0])
                elif what in ("step", "small"):
                    loop.step(*batch(i, 2 if what == "small" else 4))
                else:
                    change(loop, what, i)
        assert_alike(*loops)


def test_no_synchronisation_and_no_copy_from_the_host(cuda):
    loop = Loop(resnet, True)
    for i in range(4):
        loop.step(*batch(i))
    given = batch(5)
    with double.count_syncs() as counter:
        loop.step(*given)
    assert (counter.n, counter.copies) == (0, 0)


@pytest.mark.slow
def test_the_number_of_recordings_is_bounded(cuda):
    model, plain = xpconv.cuda.graphed(resnet()), resnet()
    for n in (*range(2, 12), *range(2, 5)):
        for _ in range(3):
            x, _ = batch(n, n)
            for one in (model, plain):
                one.backward(one(x))
            np.testing.assert_array_equal(model(x).get(), plain(x).get())
            model.forget()
            plain.forget()
    made = [known for known in model._replays._known.values() if isinstance(known, replay._Forward)]
    assert len(made) == replay.MOST and len(model._replays._known) <= replay.MOST_KINDS


def test_a_model_that_changes_at_each_step_is_seldom_recorded(cuda, monkeypatch):
    made = []
    monkeypatch.setattr(
        replay,
        "_Forward",
        type(
            "_Forward",
            (replay._Forward,),
            {"__init__": lambda self, *args: made.append(1) or Original(self, *args)},
        ),
    )
    Original = replay._Forward.__mro__[1].__init__
    model = xpconv.cuda.graphed(xpconv.Dense(3, 2, rng=0))
    x = xpconv.asarray(np.ones((2, 3), "float32"))
    with xpconv.no_grad():
        for i in range(200):
            model(x)
            if i % 2:
                model.weight.data = model.weight.data.copy()
    assert len(made) <= 2


def test_the_memory_goes_with_the_model(cuda):
    model = xpconv.cuda.graphed(resnet())
    for _ in range(3):
        model.backward(model(batch()[0]))
    assert device.Products.alive == 1
    del model
    assert device.Products.alive == 0


def test_copies_and_pickles_are_graphed_too(cuda):
    model = xpconv.cuda.graphed(resnet())
    x = batch()[0]
    for _ in range(4):
        model.backward(model(x))
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):  # noqa: S301
        other.zero_grad()
        for _ in range(4):
            y = other(x)
            other.backward(y)
        assert launches(cuda, lambda other=other: other.backward(other(x))) == 2
    assert xpconv.save is not None
    gc.collect()


def test_what_cannot_be_recorded_runs_as_it_is_with_a_warning(cuda):
    class Reads(xpconv.Layer):
        def forward(self, x):
            return self.keep(x * float(x.sum()), float(x.sum()))

        def backward(self, grad_output, input_grad=True):
            (factor,) = self.recall(grad_output)
            return grad_output * factor

    model, x = xpconv.cuda.graphed(xpconv.Sequential(Reads())), batch()[0]
    model.backward(model(x))
    with pytest.warns(RuntimeWarning, match="graphed: the forward of Sequential runs without a CUDA graph"):
        y = model(x)
    np.testing.assert_array_equal(y.get(), (x * float(x.sum())).get())
    model.backward(model(x))


def test_a_backward_that_cannot_be_recorded_runs_as_it_is(cuda):
    class Sets(xpconv.Layer):
        def __init__(self):
            self.weight = xpconv.Parameter(xpconv.asarray(np.ones(1, "float32")))

        def forward(self, x):
            return self.keep(x * self.weight.data, x)

        def backward(self, grad_output, input_grad=True):
            (x,) = self.recall(grad_output)
            self.weight.grad = (x * grad_output).sum().reshape(1)
            return grad_output

    model, x = xpconv.cuda.graphed(Sets()), batch()[0]
    for i in range(5):
        y = model(x * i)
        if i == 2:
            with pytest.warns(RuntimeWarning, match="the backward of Sets .*call parameter.accumulate"):
                model.backward(y)
        else:
            model.backward(y)
        np.testing.assert_array_equal(model.weight.grad.get(), (x * i * y).sum().reshape(1).get())


def test_within_other_calls_and_graphs_it_runs_as_it_is(cuda):
    inner = xpconv.cuda.graphed(xpconv.Dense(36, 4, rng=0))
    x = batch()[0].reshape(4, 36)

    class Outer(xpconv.Layer):
        def __init__(self):
            self.inner = inner

        def forward(self, x):
            return self.keep(self.inner(x) * 2)

        def backward(self, grad_output, input_grad=True):
            self.recall(grad_output)
            return self.inner.backward(grad_output * 2, input_grad=input_grad)

    outer = Outer()
    plain = xpconv.Dense(36, 4, rng=0)
    for _ in range(4):
        y = outer(x)
        np.testing.assert_array_equal(y.get(), (plain(x) * 2).get())
        np.testing.assert_array_equal(outer.backward(y).get(), plain.backward(2 * y).get())

    def step(x):
        inner.zero_grad()
        y = inner(x)
        return inner.backward(y), inner.weight.grad

    fast = xpconv.cuda.capture(step, x, warmup=4)
    expected = [a.get() for a in step(x)]
    for found, right in zip(fast(x), expected, strict=True):
        np.testing.assert_array_equal(found.get(), right)


def test_gradients_that_somebody_has_do_not_change(cuda):
    """Those that nobody has are memory for the next ones."""
    loop, kept = Loop(resnet, True), []
    for i in range(12):
        loop.step(*batch(i))
        loop.seen.clear()
        p = loop.model.parameters()[1]
        kept.append((p.grad[0] if i % 3 == 0 else p.grad, p.grad[0].get() if i % 3 == 0 else p.grad.get()))
        for array, values in kept:
            np.testing.assert_array_equal(array.get(), values)
        del array, kept[: i // 4]
    kept.clear()
    found = []
    for i in range(6):
        loop.step(*batch(i))
        loop.seen.clear()
        found.append(loop.model.parameters()[1].grad.data.ptr)
    assert len(set(found[1:])) == 1


def test_it_is_no_change_on_numpy():
    model, plain = xpconv.cuda.graphed(lenet()), lenet()
    x, _ = batch()
    for _ in range(4):
        y = model(x)
        np.testing.assert_array_equal(y, plain(x))
        np.testing.assert_array_equal(model.backward(y), plain.backward(y))
    assert not model._replays._known
    with pytest.raises(TypeError, match=r"graphed: model is 3, expected a layer"):
        xpconv.cuda.graphed(3)


def test_fused_models_are_graphed_by_themselves(cuda):
    model, (x, _) = resnet().eval(), batch()
    fused = model.fuse()
    for n in (4, 3, 4, 3, 4, 3):
        with xpconv.no_grad():
            y = fused(x[:n])
            np.testing.assert_allclose(y.get(), model(x[:n]).get(), rtol=1e-4, atol=1e-5)
    with xpconv.no_grad():
        assert launches(cuda, lambda: fused(x)) == 1
    with xpconv.use_backend("numpy"):
        assert resnet().fuse()._replays is None


@pytest.mark.parametrize("optimizer", [xpconv.Adam, Plain])
def test_training_and_evaluation_are_graphed_by_themselves(optimizer, cuda):
    """A step that cannot be one graph is replayed in parts."""
    found = []
    x, y = batch(0, 12)
    for graphs in (True, False):
        if not graphs:
            del vars(double.xp)["cuda"]
        model, data = resnet(), xpconv.data.batches(x, y, 4)
        update = optimizer(model.parameters(), lr=0.01)
        loss = xpconv.SoftmaxCrossEntropyLoss()
        with (
            pytest.warns(RuntimeWarning, match="without a CUDA graph")
            if graphs and optimizer is Plain
            else nullcontext()
        ):
            history = xpconv.train.fit(model, loss, update, data, data, epochs=4)
        found.append(
            (
                history.rows,
                xpconv.train.evaluate(model, loss, data),
                [p.data.get().tolist() for p in model.parameters()],
            )
        )
        assert model._replays is None
    assert found[0] == found[1]
    assert sum(entry.startswith("launch") for entry in cuda.log) > 12


@pytest.mark.parametrize("generator", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_predict_replays(generator, training, cuda):
    """Also a model in training mode, which has its mode again after each batch; and after a change of weights."""
    x, model = batch(0, 22)[0], resnet().train(training)
    expected = [model.eval()(x[i : i + 4]).get() for i in range(0, 22, 4)]
    model.forget()
    model.train(training)
    del cuda.log[:]
    found = xpconv.train.predict(model, x, batch_size=4, generator=generator)
    if generator:
        first = next(found)
        assert model._replays is None  # between batches the model is the caller's
        found = xpconv.get_xp().concatenate([first, *found])
    np.testing.assert_array_equal(found.get(), np.concatenate(expected))
    assert (
        sum(entry.startswith("launch") for entry in cuda.log) == 4
    )  # of six: not the first, nor the last, a smaller one
    assert model.training is training
    assert model._replays is None
    abandoned = xpconv.train.predict(model, x, batch_size=4, generator=True)
    next(abandoned)
    abandoned.close()
    assert model._replays is None


def test_graphed_while_others_replay(cuda):
    """A model that is graphed between the batches of `predict`, or by a callback of `fit`, stays graphed."""
    x, model = batch(0, 12)[0], lenet().eval()
    expected = [model(x[i : i + 4]).get() for i in range(0, 12, 4)]
    model.forget()
    one, other = (xpconv.train.predict(model, x, batch_size=4, generator=True) for _ in range(2))
    found = [(next(one), next(other))]
    xpconv.cuda.graphed(model)
    graphs = model._replays
    found += zip(one, other, strict=True)
    assert model._replays is graphs
    for pair, y in zip(found, expected, strict=True):
        for output in pair:
            np.testing.assert_array_equal(output.get(), y)
    plain = lenet()
    with replay.replaying(plain):
        xpconv.cuda.graphed(plain)
        graphs = plain._replays
    assert plain._replays is graphs
