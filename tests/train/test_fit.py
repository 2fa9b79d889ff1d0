"""`xpconv.train.fit` against the plain loop, and against one large batch."""

import os
import signal
import sys
import threading
import types
from contextlib import nullcontext

import double
import numpy as np
import pytest

import xpconv
from xpconv import train
from xpconv.data import batches


def drawn(n=50, features=6, classes=3, seed=0, dtype="float32"):
    rng = np.random.default_rng(seed)
    return xpconv.asarray(rng.normal(size=(n, features)), dtype), xpconv.asarray(rng.integers(0, classes, n))


def net(dropout=0.2, dtype="float32"):
    layers = [xpconv.Dense(6, 8, rng=0), xpconv.BatchNorm1d(8), xpconv.ReLU(), xpconv.Dropout(dropout, rng=3)]
    return xpconv.Sequential(*layers, xpconv.Dense(8, 3, rng=1)).to(dtype=dtype)


def plain(dtype="float32"):
    """Without BatchNorm and dropout: the gradient of a batch is the mean of its samples'."""
    return xpconv.Sequential(xpconv.Dense(6, 8, rng=0), xpconv.Tanh(), xpconv.Dense(8, 3, rng=1)).to(
        dtype=dtype
    )


def state(model):
    return {name: xpconv.asnumpy(array) for name, array in model.state_dict().items()}


def assert_same(a, b, **tolerance):
    a, b = state(a), state(b)
    assert list(a) == list(b)
    for name in a:
        if tolerance:
            np.testing.assert_allclose(a[name], b[name], err_msg=name, **tolerance)
        else:
            assert (a[name] == b[name]).all(), name


# --- the loop ---------------------------------------------------------------------------------------------


def test_it_is_the_plain_loop_bit_for_bit(backend):
    x, y = drawn()
    criterion = xpconv.SoftmaxCrossEntropyLoss()
    model, twin = net(), net()
    optimizer = xpconv.Adam(model.parameters(), lr=0.01)
    history = train.fit(
        model, criterion, optimizer, batches(x, y, 16, shuffle=True, seed=0), epochs=3, metrics=["accuracy"]
    )
    optimizer, data, rows = (
        xpconv.Adam(twin.parameters(), lr=0.01),
        batches(x, y, 16, shuffle=True, seed=0),
        [],
    )
    for _ in range(3):
        loss = hits = 0.0
        for a, b in data:
            output = twin(a)
            loss += float(criterion(output, b)) * len(a)
            hits += int((output.argmax(axis=1) == b).sum())
            optimizer.zero_grad()
            twin.backward(criterion.backward(), input_grad=False)
            optimizer.step()
        rows.append((loss / 50, hits / 50))
    assert_same(model, twin)
    np.testing.assert_allclose(np.transpose([history["loss"], history["accuracy"]]), rows, rtol=1e-6)


def test_validation_is_that_of_the_whole_set_in_inference_mode(backend):
    x, y = drawn()
    model, criterion = net(), xpconv.SoftmaxCrossEntropyLoss()
    optimizer = xpconv.SGD(model.parameters(), lr=0.1)
    history = train.fit(
        model, criterion, optimizer, batches(x, y, 16), batches(x, y, 7), epochs=2, metrics="accuracy"
    )
    with xpconv.no_grad():
        output = model.eval()(x)
        loss = float(criterion(output, y))
    np.testing.assert_allclose(history["valid_loss"][-1], loss, rtol=1e-6)
    np.testing.assert_allclose(
        history["valid_accuracy"][-1], float((output.argmax(axis=1) == y).astype("float64").mean())
    )
    assert list(history.to_dict()) == ["epoch", "lr", "loss", "accuracy", "valid_loss", "valid_accuracy"]


def test_a_step_takes_nothing_from_the_host_and_waits_for_nothing():
    """So it can be recorded as a CUDA graph: also with clipping, accumulation, a scaler and averages."""
    with xpconv.use_backend("double"):
        x, y = drawn(64, dtype="float16")
        model = plain(dtype="float16")
        counts = []

        class Count:
            def on_batch_begin(self, run):
                self.counter = double.count_syncs()
                self.found = self.counter.__enter__()

            def on_batch_end(self, run):
                self.counter.__exit__(None, None, None)
                counts.append((self.found.n, self.found.copies))

        train.fit(
            model, xpconv.SoftmaxCrossEntropyLoss(), xpconv.AdamW(model.parameters()), batches(x, y, 8), epochs=1,
            metrics=["accuracy", "top2_accuracy", "iou"], accumulate=2, clip_grad_norm=1.0, scaler=xpconv.GradScaler(),
            ema=xpconv.ExponentialMovingAverage(model), callbacks=[Count()],
        )  # fmt: skip
        assert counts[1:] == [(0, 0)] * 3


# --- groups of batches ------------------------------------------------------------------------------------


LOSSES = {
    "mean": lambda: xpconv.SoftmaxCrossEntropyLoss(),
    "sum": lambda: xpconv.SoftmaxCrossEntropyLoss(reduction="sum"),
    "ignored": lambda: xpconv.SoftmaxCrossEntropyLoss(ignore_index=0),
    "weighted": lambda: xpconv.SoftmaxCrossEntropyLoss(weight=xpconv.asarray([1.0, 2.0, 5.0])),
}


@pytest.mark.parametrize("kind", LOSSES)
@pytest.mark.parametrize("scaled", [False, True])
def test_accumulated_gradients_are_those_of_one_large_batch(kind, scaled, backend):
    """50 samples in batches of 8, three a step: 24, 24, 2."""
    x, y = drawn(dtype="float64")
    models = plain("float64"), plain("float64")
    for model, size, accumulate in zip(models, (8, 24), (3, 1), strict=True):
        history = train.fit(
            model, LOSSES[kind](), xpconv.SGD(model.parameters(), lr=0.01), batches(x, y, size), epochs=2,
            accumulate=accumulate, scaler=xpconv.GradScaler(4.0) if scaled else None, clip_grad_norm=1.0,
        )  # fmt: skip
        assert len(history["grad_norm"]) == 2
    assert_same(*models, rtol=1e-9, atol=1e-12)


def test_accumulation_with_equal_batches_is_exact_on_the_last_smaller_group(backend):
    x, y = drawn(40)
    models = plain(), plain()
    steps = []

    class Note:
        def on_batch_end(self, run):
            steps.append((run.epoch, run.batch, run.steps))

    for model, size, accumulate in zip(models, (8, 24), (3, 1), strict=True):
        optimizer = xpconv.Adam(model.parameters(), lr=0.01)
        train.fit(model, xpconv.SoftmaxCrossEntropyLoss(), optimizer, batches(x, y, size), accumulate=accumulate,
                  callbacks=[Note()] if accumulate == 3 else ())  # fmt: skip
    assert steps == [(1, 3, 1), (1, 5, 2)]
    assert_same(*models, rtol=1e-5, atol=1e-7)


def test_the_norm_before_clipping_is_in_the_history(backend):
    x, y = drawn(16, dtype="float64")
    model, criterion = plain("float64"), xpconv.SoftmaxCrossEntropyLoss()
    criterion(model(x), y)
    model.backward(criterion.backward(), input_grad=False)
    norm = np.sqrt(sum(float((p.grad**2).sum()) for p in model.parameters()))
    before = state(model)
    optimizer = xpconv.SGD(model.parameters(), lr=1.0)
    history = train.fit(model, criterion, optimizer, batches(x, y, 16), clip_grad_norm=0.01)
    np.testing.assert_allclose(history["grad_norm"], [norm])
    moved = np.sqrt(sum(((a - before[name]) ** 2).sum() for name, a in state(model).items()))
    np.testing.assert_allclose(moved, 0.01, rtol=1e-3)


def test_accumulated_weights_are_those_of_one_large_batch(backend):
    x, y = drawn(dtype="float64")
    weight = xpconv.asarray(np.random.default_rng(2).uniform(0, 3, 50))
    models = plain("float64"), plain("float64")
    for model, size, accumulate in zip(models, (8, 24), (3, 1), strict=True):
        data = [tuple(a[i : i + size] for a in (x, y, weight)) for i in range(0, 50, size)]
        train.fit(model, LOSSES["ignored"](), xpconv.SGD(model.parameters(), lr=0.1), data, sample_weight=True,
                  accumulate=accumulate)  # fmt: skip
    assert_same(*models, rtol=1e-9, atol=1e-12)


def test_ctc(backend):
    """Its output has the time first, and its targets are of another length."""
    rng = np.random.default_rng(0)

    class Frames(xpconv.Layer):
        def __init__(self):
            self.body = xpconv.Sequential(xpconv.Dense(3, 4, rng=0), xpconv.LogSoftmax(-1))

        def forward(self, x):
            return self.keep(self.body(x).transpose(1, 0, 2))

        def backward(self, grad_output, input_grad=True):
            self.recall(grad_output)
            return self.body.backward(grad_output.transpose(1, 0, 2).copy(), input_grad)

    x = xpconv.asarray(rng.normal(size=(6, 8, 3)), "float32")
    arrays = [x, *(xpconv.asarray(a) for a in (rng.integers(1, 4, (6, 2)), np.full(6, 8), np.full(6, 2)))]
    for reduction in ("mean", "sum"):
        model = Frames()
        criterion = xpconv.CTCLoss(reduction=reduction)
        with xpconv.no_grad():
            loss = float(criterion(model(x), *arrays[1:])) / (6 if reduction == "sum" else 1)
        data = [tuple(a[i : i + 4] for a in arrays) for i in (0, 4)]
        found = train.evaluate(model, criterion, data)
        np.testing.assert_allclose(found["loss"], loss, rtol=1e-6)
        history = train.fit(model, criterion, xpconv.SGD(model.parameters(), lr=0.1), data, epochs=5)
        assert history["loss"][-1] < history["loss"][0]


# --- weights, inputs, targets -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", LOSSES)
def test_weights_of_one_change_nothing(kind, backend):
    x, y = drawn()
    ones = xpconv.asarray(np.ones(50), "float32")
    models = net(), net()
    rows = []
    for model, arrays in zip(models, [(x, y), (x, y, ones)], strict=True):
        data = [tuple(a[i : i + 16] for a in arrays) for i in range(0, 50, 16)]
        optimizer = xpconv.SGD(model.parameters(), lr=0.01)
        rows += train.fit(
            model, LOSSES[kind](), optimizer, data, data, epochs=2, sample_weight=len(arrays) == 3
        ).rows
    assert_same(*models, rtol=1e-6, atol=1e-7)
    for a, b in zip(rows[:2], rows[2:], strict=True):
        assert a == pytest.approx(b, rel=1e-6)


@pytest.mark.parametrize(
    "make",
    [lambda r: xpconv.SoftmaxCrossEntropyLoss(reduction=r), lambda r: xpconv.MSELoss(reduction=r),
     lambda r: xpconv.HuberLoss(reduction=r), lambda r: xpconv.BCEWithLogitsLoss(reduction=r)],
)  # fmt: skip
def test_weights_multiply_each_samples_loss_and_gradient(make, backend):
    """As PyTorch users write it: `(criterion_none(output, target) * weight).mean()`."""
    rng = np.random.default_rng(1)
    x = xpconv.asarray(rng.normal(size=(5, 3)))
    weight = xpconv.asarray(rng.uniform(0, 2, 5))
    classes = isinstance(make("mean"), xpconv.SoftmaxCrossEntropyLoss)
    t = xpconv.asarray(rng.integers(0, 3, 5) if classes else rng.uniform(0, 1, (5, 3)))
    criterion, each = make("mean"), make("none")
    loss, count = criterion._measured((x, t), weight)
    losses = each(x, t)
    spread = weight if classes else weight[:, None] + xpconv.get_xp(x).zeros((5, 3))
    np.testing.assert_allclose(float(loss), float((losses * spread).mean()))
    np.testing.assert_allclose(
        xpconv.asnumpy(criterion.backward()), xpconv.asnumpy(each.backward(spread)) / losses.size, rtol=1e-12
    )
    assert int(count) == losses.size


class Two(xpconv.Layer):
    def __init__(self):
        self.mix = xpconv.Bilinear(3, 4, 1, rng=0)

    def forward(self, a, b):
        return self.keep(self.mix(a, b))

    def backward(self, grad_output, input_grad=True):
        self.recall(grad_output)
        return self.mix.backward(grad_output, input_grad)


def test_several_inputs_and_targets(backend):
    rng = np.random.default_rng(0)
    arrays = [xpconv.asarray(rng.normal(size=(20, n)), "float32") for n in (3, 4, 1)]
    arrays.append(xpconv.asarray(rng.uniform(0.5, 1, (20, 1)), "float32"))
    data = [tuple(a[i : i + 8] for a in arrays) for i in range(0, 20, 8)]
    model, twin = Two(), Two()
    criterion = xpconv.GaussianNLLLoss()  # of the output, a target and a variance
    history = train.fit(
        model, criterion, xpconv.SGD(model.parameters(), lr=0.1), data, data, inputs=2,
        metrics=["mae", lambda output, target, var: (output - target)[:, 0] / var[:, 0]],
    )  # fmt: skip
    optimizer = xpconv.SGD(twin.parameters(), lr=0.1)
    for a, b, t, v in data:
        criterion(twin(a, b), t, v)
        optimizer.zero_grad()
        twin.backward(criterion.backward()[0], input_grad=False)
        optimizer.step()
    assert_same(model, twin)
    with xpconv.no_grad():
        error = twin(*arrays[:2]) - arrays[2]
    np.testing.assert_allclose(history["valid_mae"], [float(abs(error).mean())], rtol=1e-5)
    np.testing.assert_allclose(history["valid_lambda"], [float((error / arrays[3]).mean())], rtol=1e-4)


def test_a_loss_of_ones_own(backend):
    class Squares:
        def __call__(self, output, target):
            self.difference = output - target
            return (self.difference**2).sum() / len(output)

        def backward(self, factor=1.0):
            return self.difference * (2 / len(self.difference) * factor)

    x, _ = drawn(40, dtype="float64")
    model = plain("float64")
    data = batches(x, x[:, :3], 8)
    found = [
        train.fit(model, Squares(), xpconv.SGD(model.parameters(), lr=0.01), data, accumulate=a)["loss"][0]
        for a in (1, 3)
    ]
    assert found[1] < found[0]
    with pytest.raises(TypeError, match=r"fit: sample_weight needs a loss of xpconv, which Squares is not"):
        train.fit(model, Squares(), xpconv.SGD(model.parameters(), lr=0.01), data, sample_weight=True)


# --- schedules, averages ----------------------------------------------------------------------------------


def fitted(schedule=None, data=None, valid=None, **options):
    """The history of a small run whose schedule is made by a function of its optimizer."""
    x, y = drawn(40)
    model = plain()
    optimizer = xpconv.SGD(model.parameters(), lr=0.1)
    made = None if schedule is None else schedule(optimizer)
    data = batches(x, y, 8) if data is None else data
    return train.fit(
        model, xpconv.SoftmaxCrossEntropyLoss(), optimizer, data, valid, schedule=made, **options
    )


def test_schedules_make_a_step_after_each_epoch():
    history = fitted(lambda o: xpconv.StepLR(o, 1, 0.5), epochs=3)
    assert history["lr"] == [0.1, 0.05, 0.025]


def test_or_after_each_step():
    rates = []

    class Note:
        def on_batch_end(self, run):
            rates.append(run.lr)

    history = fitted(lambda o: xpconv.StepLR(o, 2, 0.5), epochs=1, schedule_per="step", callbacks=Note())
    assert rates == [0.1, 0.1, 0.05, 0.05, 0.025]
    assert history["lr"] == [0.025]
    del rates[:]
    fitted(lambda o: xpconv.OneCycleLR(o, 1.0, 6), epochs=2, accumulate=2, callbacks=Note())
    assert len(set(rates)) == 6
    with pytest.raises(
        ValueError, match=r"OneCycleLR has total_steps=9, but 2 epochs have 10 steps; give total_steps=10"
    ):
        fitted(lambda o: xpconv.OneCycleLR(o, 1.0, 9), epochs=2)


def test_a_plateau_gets_its_value():
    x, y = drawn(40)

    def schedule(optimizer):
        return xpconv.ReduceLROnPlateau(optimizer, patience=0, threshold=1e9, threshold_mode="abs")

    history = fitted(schedule, valid=batches(x, y, 8), epochs=4)
    assert history["lr"] == pytest.approx([0.1, 0.1, 0.01, 0.001])
    largest = lambda o: xpconv.ReduceLROnPlateau(o, mode="max")
    with pytest.raises(
        ValueError, match=r"ReduceLROnPlateau has mode='max', but loss is better if it is small"
    ):
        fitted(largest)
    with pytest.raises(ValueError, match=r"monitor is 'accurcy', expected one of loss, accuracy"):
        fitted(largest, metrics="accuracy", monitor="accurcy")
    assert len(fitted(largest, metrics="accuracy", monitor="accuracy")) == 1


def test_validation_is_on_the_averages_and_the_model_keeps_its_own(backend):
    x, y = drawn(40)
    model, criterion = plain(), xpconv.SoftmaxCrossEntropyLoss()
    ema = xpconv.ExponentialMovingAverage(model, decay=0.5)
    optimizer = xpconv.SGD(model.parameters(), lr=0.5)
    history = train.fit(model, criterion, optimizer, batches(x, y, 8), batches(x, y, 40), ema=ema)
    own = train.evaluate(model, criterion, batches(x, y, 40))["loss"]
    with ema.average_parameters():
        averaged = train.evaluate(model, criterion, batches(x, y, 40))["loss"]
    assert history["valid_loss"] == [averaged]
    assert own != averaged


def test_float16_with_a_scaler_learns_and_skips_overflows(backend):
    x, y = drawn(64, dtype="float16")
    model = plain("float16")
    scaler = xpconv.GradScaler(2.0**20, growth_interval=1000)  # the first steps overflow
    with np.errstate(over="ignore", invalid="ignore") if backend == "double" else nullcontext():
        history = train.fit(
            model, xpconv.SoftmaxCrossEntropyLoss(), xpconv.Adam(model.parameters(), lr=0.05), batches(x, y, 8),
            epochs=6, scaler=scaler, clip_grad_norm=1.0, accumulate=2,
        )  # fmt: skip
    assert history["loss"][-1] < 0.9 * history["loss"][0]
    assert float(scaler.scale) < 2.0**20
    assert np.isfinite(history["grad_norm"]).all()


# --- modes, interruption ----------------------------------------------------------------------------------


def modes(model):
    return [(layer.training, layer._thawed_mode) for _, layer in model.named_layers()]


def test_each_layer_has_its_mode_again():
    x, y = drawn()
    model = net()
    model[1].requires_grad_(False, eval=True)
    model[3].eval()
    before, seen = modes(model), []

    class Look:
        def on_batch_end(self, run):
            seen.append([layer.training for layer in run.model])

        def on_epoch_end(self, run):
            assert not any(layer.training for layer in run.model)

    statistics = model[1].running_mean.copy()
    fit = lambda **options: train.fit(
        model, xpconv.SoftmaxCrossEntropyLoss(), xpconv.SGD(model.parameters(), lr=0.1), batches(x, y, 25),
        batches(x, y, 25), callbacks=Look(), **options,
    )  # fmt: skip
    fit(epochs=2)
    assert seen == [[True, False, True, True, True]] * 4
    assert modes(model) == before
    assert (model[1].running_mean == statistics).all()
    model.eval()
    before = modes(model)
    with pytest.raises(ZeroDivisionError):
        fit(metrics=lambda output, target: 1 / 0)
    assert modes(model) == before
    assert not model._finished()
    model[1].requires_grad_(True)
    assert model[1].training is False  # as model.eval() would have it


@pytest.mark.parametrize("how", ["signal", "exception"])
def test_ctrl_c_ends_with_what_has_been_reached(how):
    ended = []

    class Press:
        def on_batch_begin(self, run):
            if run.steps == 8:
                if how == "exception":
                    raise KeyboardInterrupt
                os.kill(os.getpid(), signal.SIGINT)
                for _ in range(1000):  # the handler runs between two bytecodes
                    pass

        def on_fit_end(self, run):
            ended.append((run.steps, run.stop, run.whole))

    history = fitted(epochs=5, callbacks=Press())
    assert history.interrupted
    assert history.stopped == "interrupted"
    assert history["epoch"] == [1]
    steps = 9 if how == "signal" else 8  # the present step is finished
    assert ended == [(steps, "interrupted", how == "signal")]
    assert history.partial["epoch"] == 2
    assert history.partial["batch"] == steps - 5
    assert "unfinished: epoch 2, batch" in str(history)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_second_ctrl_c_raises():
    class Press:
        def on_batch_begin(self, run):
            for _ in range(2):
                os.kill(os.getpid(), signal.SIGINT)
                for _ in range(1000):
                    pass

    x, _ = drawn(40)
    model = plain()
    with pytest.raises(KeyboardInterrupt):
        train.fit(
            model,
            xpconv.MSELoss(),
            xpconv.SGD(model.parameters()),
            batches(x, x[:, :3], 8),
            callbacks=Press(),
        )
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert not model._finished()


def test_a_process_that_ignores_ctrl_c_goes_on_ignoring_it():
    """As a shell has its background jobs do."""

    class Press:
        def on_batch_begin(self, run):
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        history = fitted(epochs=2, callbacks=Press())
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
    assert not history.interrupted
    assert history["epoch"] == [1, 2]


def test_in_another_thread():
    found = []
    thread = threading.Thread(target=lambda: found.append(fitted(epochs=2)))
    thread.start()
    thread.join()
    assert found[0].rows == fitted(epochs=2).rows


def test_a_callback_stops_training():
    class Stop:
        def __init__(self, event):
            setattr(self, event, self.stop)

        def stop(self, run):
            run.stop = "enough"

    assert len(fitted(epochs=3, callbacks=Stop("on_fit_begin"))) == 0
    asked = type("Asked", (), {"on_epoch_end": lambda self, run: setattr(run, "stop", True)})
    assert fitted(epochs=3, callbacks=asked()).stopped == "a callback set run.stop"
    assert len(fitted(epochs=3, callbacks=Stop("on_epoch_begin"))) == 0
    history = fitted(epochs=3, callbacks=Stop("on_epoch_end"))
    assert (len(history), history.stopped, history.partial, history.interrupted) == (1, "enough", None, False)
    history = fitted(epochs=3, callbacks=Stop("on_batch_end"))
    assert (len(history), history.stopped, history.partial["batch"]) == (0, "enough", 1)


def test_nothing_is_printed_without_a_terminal(capsys):
    fitted(epochs=2)
    assert capsys.readouterr() == ("", "")
    fitted(epochs=2, metrics="accuracy", verbose=True)
    out, err = capsys.readouterr()
    assert err == ""
    lines = out.splitlines()
    assert lines[0].split() == ["epoch", "lr", "loss", "accuracy", "seconds"]
    assert len(lines) == 3
    assert lines[1].split()[2].endswith("*")


def test_a_bar_on_a_terminal(capsys, monkeypatch):
    tqdm = pytest.importorskip("tqdm")
    for stream in (sys.stdout, sys.stderr):
        monkeypatch.setattr(stream, "isatty", lambda: True)
    fitted(epochs=2, metrics="accuracy")
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 3
    assert "epoch 1/2" in err
    bars = []

    class Bar(tqdm.tqdm):
        def close(self):
            if not self.disable:
                bars.append((self.desc, self.n, self.total, self.postfix))
            super().close()

    monkeypatch.setitem(sys.modules, "tqdm.auto", types.SimpleNamespace(tqdm=Bar))
    history = fitted(epochs=1, metrics="accuracy", accumulate=2)
    values = f"loss={history['loss'][0]:.4f}, accuracy={history['accuracy'][0]:.4f}"
    assert bars == [("epoch 1/1", 5, 5, values)]
    capsys.readouterr()
    x, y = drawn(40)
    train.evaluate(plain(), xpconv.SoftmaxCrossEntropyLoss(), batches(x, y, 8))
    assert "evaluate" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    fitted(epochs=1)
    assert capsys.readouterr().err == ""
    with pytest.raises(ImportError, match=r"fit: verbose=True needs tqdm .*pip install tqdm"):
        fitted(epochs=1, verbose=True)


# --- wrong arguments --------------------------------------------------------------------------------------


def arguments(**changed):
    x, y = drawn(16)
    model = plain()
    given = dict(
        model=model, loss=xpconv.SoftmaxCrossEntropyLoss(), optimizer=xpconv.SGD(model.parameters(), lr=0.1)
    )
    return {**given, "train": batches(x, y, 8), **changed}


class Anything:
    """A loss of any number of targets."""

    def __call__(self, output, *targets):
        self.output = output
        return output.mean()

    def backward(self, factor=1.0):
        return 0 * self.output


X, Y = (np.asarray(a) for a in drawn(16))
ADAM = xpconv.Adam(plain().parameters())
TWO = Two()
WRONG = {
    "model is an optimizer": (dict(model=ADAM), TypeError, "fit: model is of type Adam, expected a Layer; the model comes first"),
    "model is a class": (dict(model=xpconv.Dense), TypeError, r"model is the class Dense; give Dense\("),
    "loss is an optimizer": (dict(loss=ADAM), TypeError, r"loss is of type Adam, expected a loss .*; the order is fit\(model, loss, optimizer, data\)"),
    "loss is a class": (dict(loss=xpconv.MSELoss), TypeError, r"loss is the class MSELoss; give MSELoss\(\)"),
    "loss is a function": (dict(loss=lambda output, target: 0.0), TypeError, "loss is .*has backward"),
    "no loss": (dict(loss=None), TypeError, "loss is None"),
    "reduction none": (dict(loss=xpconv.MSELoss("none")), ValueError, "reduction='none', expected 'mean' or 'sum'"),
    "optimizer is a loss": (dict(optimizer=xpconv.MSELoss()), TypeError, r"optimizer is of type MSELoss, expected an optimizer"),
    "optimizer is a class": (dict(optimizer=xpconv.Adam), TypeError, r"give Adam\(model.parameters\(\)\)"),
    "optimizer of another model": (dict(optimizer=ADAM), ValueError, "none of the optimizer's parameters belongs to the model"),
    "train is an array": (dict(train=X), TypeError, "train is an array, expected something that iterates over batches"),
    "train is two arrays": (dict(train=(X, Y)), TypeError, r"train is a tuple of arrays, .*batches\(x, y, 64\)"),
    "train is a list of arrays": (dict(train=[X, Y]), TypeError, r"train gave an array of shape \(16, 6\), expected a tuple"),
    "train is empty": (dict(train=[]), ValueError, "train has no batches"),
    "train is a number": (dict(train=3), TypeError, "train is 3, expected something that iterates"),
    "a generator and two epochs": (dict(train=iter([(X, Y)]), epochs=2), TypeError, "train is a list_iterator, which can be iterated only once, but there are 2 epochs"),
    "no target": (dict(train=[(X,)]), ValueError, "a batch of 1 arrays, expected at least 2: 1 input, a target"),
    "no weight": (dict(train=[(X, Y)], sample_weight=True), ValueError, "expected at least 3: 1 input, a target, the sample weights"),
    "a list in a batch": (dict(train=[(X, [1, 2])]), TypeError, r"a batch with \[1, 2\] at place 1, expected an array"),
    "an empty batch": (dict(train=[(X[:0], Y[:0])]), ValueError, "a batch of no samples"),
    "two inputs of different lengths": (dict(model=TWO, optimizer=xpconv.SGD(TWO.parameters()), train=[(X, X[:3], Y)], inputs=2), ValueError, r"inputs of shapes \(16, 6\), \(3, 6\)"),
    "batches of different structure": (dict(train=[(X, Y, X), (X, Y)], loss=Anything()), ValueError, "a batch of 2 arrays after batches of 3"),
    "weights that are not announced": (dict(train=[(X, Y, Y)]), ValueError, r"1 input and 2 targets, but SoftmaxCrossEntropyLoss takes input, target; sample weights need sample_weight=True"),
    "valid without targets": (dict(valid=[(X,)]), ValueError, "valid gave a batch of 1 arrays, expected at least 2"),
    "valid is empty": (dict(valid=[]), ValueError, "valid gave no batches"),
    "labels are floats": (dict(train=[(X, Y.astype("float32"))]), TypeError, "target is float32 of shape .*expected integer class indices"),
    "labels are columns": (dict(train=[(X, Y[:, None])]), ValueError, r"target has shape \(16, 1\), expected \(16,\)"),
    "an unknown metric": (dict(metrics="acuracy"), ValueError, "there is no metric 'acuracy'; there are accuracy, iou, mae"),
    "a metric twice": (dict(metrics=["mae", "mae"]), ValueError, "the name 'mae' is taken"),
    "a metric's class": (dict(metrics=[train.Accuracy]), TypeError, r"the class Accuracy; give Accuracy\(\)"),
    "a metric of nothing": (dict(metrics=[3]), TypeError, "metrics has 3"),
    "a negative number of epochs": (dict(epochs=-1), ValueError, "fit: epochs is -1, expected at least 0"),
    "epochs of 1.5": (dict(epochs=1.5), TypeError, "fit: epochs is 1.5, expected an int"),
    "accumulate 0": (dict(accumulate=0), ValueError, "fit: accumulate is 0"),
    "a negative norm": (dict(clip_grad_norm=-1), ValueError, "fit: clip_grad_norm is -1"),
    "callback's class": (dict(callbacks=[train.Run]), TypeError, r"callbacks has the class Run; give Run\("),
    "no callback": (dict(callbacks=[3]), TypeError, "callbacks has 3, expected an object with some of the methods on_fit_begin"),
    "a schedule of another optimizer": (dict(schedule=xpconv.StepLR(ADAM, 1)), ValueError, "schedule is that of another optimizer"),
    "a schedule's class": (dict(schedule=xpconv.StepLR), TypeError, "schedule is .*expected a LRScheduler"),
    "averages of another model": (dict(ema=xpconv.ExponentialMovingAverage(plain())), ValueError, "ema has the averages of another model"),
    "schedule_per without schedule": (dict(schedule_per="step"), ValueError, "there is no schedule"),
    "a wrong verbose": (dict(verbose=2), TypeError, "fit: verbose is 2"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_wrong_arguments(name):
    changed, error, text = WRONG[name]
    given = arguments(**changed)
    with pytest.raises(error, match=text):
        train.fit(**given)


def test_train_that_is_empty_the_second_time():
    class Once:
        def __init__(self, *items):
            self.items = list(items)

        def __iter__(self):
            while self.items:
                yield self.items.pop()

    with pytest.raises(
        ValueError, match="train gave no batches in epoch 2; it gave some in epoch 1: does its"
    ):
        train.fit(**arguments(train=Once((X, Y)), epochs=2))


def test_no_epochs_change_nothing():
    given = arguments(epochs=0)
    before = state(given["model"])
    history = train.fit(**given)
    assert (len(history), str(history)) == (0, "no epochs")
    assert all((before[name] == array).all() for name, array in state(given["model"]).items())


# --- loops that were left before their end ------------------------------------------------------------------


def test_validation_covers_all_batches_after_a_look_at_the_first(backend):
    x, y = drawn(20)
    model, loss = plain(), xpconv.SoftmaxCrossEntropyLoss()
    valid = batches(x, y, 5)
    next(iter(valid))
    optimizer = xpconv.SGD(model.parameters(), lr=0.0)
    history = train.fit(model, loss, optimizer, batches(x, y, 20), valid, epochs=2)
    assert history["valid_loss"] == [train.evaluate(model, loss, batches(x, y, 5))["loss"]] * 2


def test_training_covers_all_batches_after_a_look_at_the_first():
    x, y = drawn(20)
    model, data = plain(), batches(x, y, 5)
    next(iter(data))
    seen = []
    count = types.SimpleNamespace(on_batch_end=lambda run: seen.append(run.batch))
    optimizer = xpconv.SGD(model.parameters(), lr=0.0)
    train.fit(model, xpconv.SoftmaxCrossEntropyLoss(), optimizer, data, data, epochs=2, callbacks=count)
    assert seen == [1, 2, 3, 4] * 2


def test_validation_on_the_training_data_does_not_change_their_order():
    x, y = drawn(20)
    orders = []

    def order(data, valid):
        model, found = plain(), []
        note = types.SimpleNamespace(on_batch_end=lambda run: found.append(xpconv.asnumpy(run.group[0][1])))
        optimizer = xpconv.SGD(model.parameters(), lr=0.0)
        train.fit(model, xpconv.SoftmaxCrossEntropyLoss(), optimizer, data, valid, epochs=2, callbacks=note)
        orders.append(np.concatenate(found))

    data = batches(x, y, 5, shuffle=True, seed=0)
    order(data, data)
    order(batches(x, y, 5, shuffle=True, seed=0), None)
    assert (orders[0] == orders[1]).all()


# --- after errors -------------------------------------------------------------------------------------------


def test_a_scaler_can_be_used_again_after_an_error(backend, monkeypatch):
    model, scaler = plain(), xpconv.GradScaler(4.0)
    optimizer = xpconv.SGD(model.parameters(), lr=0.1)

    def fit():
        return train.fit(
            model, xpconv.SoftmaxCrossEntropyLoss(), optimizer, [drawn(4)], scaler=scaler, clip_grad_norm=1.0
        )

    def failing(*args):
        raise RuntimeError("no memory")

    with monkeypatch.context() as patch:
        patch.setattr(optimizer, "step", failing)
        with pytest.raises(RuntimeError, match="no memory"):
            fit()
    assert len(fit()) == 1
    assert float(scaler.scale) == 4.0


def test_a_used_one_cycle_schedule_is_an_error_at_the_start():
    model = plain()
    optimizer = xpconv.SGD(model.parameters(), lr=0.1)
    schedule = xpconv.OneCycleLR(optimizer, 1.0, 2)

    def fit():
        return train.fit(
            model, xpconv.SoftmaxCrossEntropyLoss(), optimizer, [drawn(4)], epochs=2, schedule=schedule
        )

    fit()
    before = state(model)
    with pytest.raises(
        ValueError, match="total_steps=2 and has made 2, but 2 epochs have 2 steps; give a new"
    ):
        fit()
    assert all((before[name] == array).all() for name, array in state(model).items())


def test_names_of_values_that_a_metric_returns():
    class Several(train.Metric):
        def sums(self, output, *targets):
            return (len(output),)

        def value(self, count):
            return {self.name: 1.0} if self.name == "loss_too" else {"a": 1.0}

    def fit(metric, **options):
        model = plain()
        optimizer = xpconv.SGD(model.parameters(), lr=0.1)
        if options:
            options["schedule"] = xpconv.ReduceLROnPlateau(optimizer)
        loss = xpconv.SoftmaxCrossEntropyLoss()
        return train.fit(model, loss, optimizer, [drawn(4)], metrics=metric, **options)

    assert fit(Several())["a"] == [1.0]
    with pytest.raises(ValueError, match="monitor is 'several', expected one of epoch, lr, loss, a"):
        fit(Several(), monitor="several")
    Several.value = lambda self, count: {"loss": 0.0, "lr": 1.0}
    with pytest.raises(ValueError, match=r"metric several: value\(\) returned 'loss', 'lr', expected names"):
        fit(Several())


@pytest.mark.parametrize(
    ("event", "epochs", "batch"),
    [("on_fit_begin", 0, None), ("on_epoch_begin", 0, 1), ("on_batch_end", 0, 1), ("on_epoch_end", 1, None)],
)
def test_ctrl_c_during_a_callback_begins_no_other_batch(event, epochs, batch):
    def interrupt(run):
        os.kill(os.getpid(), signal.SIGINT)
        for _ in range(1000):  # the handler runs between two bytecodes
            pass

    x, y = drawn(20)
    model = plain()
    history = train.fit(
        model, xpconv.SoftmaxCrossEntropyLoss(), xpconv.SGD(model.parameters(), lr=0.1), batches(x, y, 5),
        epochs=3, callbacks=types.SimpleNamespace(**{event: interrupt}),
    )  # fmt: skip
    assert history.interrupted and history.stopped == "interrupted"
    assert len(history) == epochs
    assert (history.partial or {"batch": None})["batch"] == batch
