"""`TerminateOnNaN` names where the first NaN or infinity is, and leaves the model as it was before."""

import double
import numpy as np
import pytest

import xpconv
from xpconv import train


def net(*middle):
    layers = [
        xpconv.Dense(2, 4, bias=False, rng=0),
        xpconv.BatchNorm1d(4),
        *middle,
        xpconv.Dense(4, 2, rng=1),
    ]
    return xpconv.Sequential(*layers)


def data(n=6):
    rng = np.random.default_rng(0)
    return [
        (
            xpconv.asarray(rng.normal(size=(8, 2)), "float32"),
            xpconv.asarray(rng.normal(size=(8, 2)), "float32"),
        )
        for _ in range(n)
    ]


def stopped(model, batches, every=None, lr=0.1, loss=None, **options):
    optimizer = xpconv.SGD(model.parameters(), lr=lr)
    with pytest.warns(RuntimeWarning, match="fit: stopped in epoch"), np.errstate(all="ignore"):
        history = train.fit(
            model,
            loss or xpconv.MSELoss(),
            optimizer,
            batches,
            callbacks=[train.TerminateOnNaN(every)],
            **options,
        )
    assert history.stopped is not None
    return history


def before(model, batches, **options):
    """The state of `model` after these batches."""
    train.fit(model, xpconv.MSELoss(), xpconv.SGD(model.parameters(), lr=0.1), batches, **options)
    return {name: xpconv.asnumpy(a) for name, a in model.state_dict().items()}


class Poison(xpconv.Layer):
    """x, but at inputs above 50 something that is not finite, in forward or in backward."""

    def __init__(self, forward=None, backward=None):
        self.values = forward, backward

    def forward(self, x):
        return self.keep(self._poisoned(x, x, self.values[0]), x)

    def backward(self, grad_output, input_grad=True):
        (x,) = self.recall(grad_output)
        return self._poisoned(x, grad_output, self.values[1])

    def _poisoned(self, x, y, value):
        xp = xpconv.get_xp(x)
        return y + 0 if value is None else xp.where(abs(x) > 50, value, y).astype(x.dtype)


def poisoned(batches, which):
    """A batch whose input is so large that `Poison` is not finite; it comes before the BatchNorm."""
    x, y = batches[which]
    x = x.copy()
    x[3] = 1000.0
    return [*batches[:which], (x, y), *batches[which + 1 :]]


@pytest.mark.parametrize("every", [None, 1, 4])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_layer_in_forward(every, value, backend):
    layers = [Poison(forward=value), *net()]
    model, twin = xpconv.Sequential(*layers), xpconv.Sequential(Poison(), *net())
    history = stopped(model, poisoned(data(), 3), every)
    kind = "NaN" if np.isnan(value) else "inf"
    assert (
        history.stopped
        == f"epoch 1, batch 4: {kind} in the output of layer 0, Poison(), whose input is finite"
    )
    assert len(history) == (
        1 if backend == "cupy" and every is None else 0
    )  # looks only after the epoch then
    for name, array in before(twin, data()[:3]).items():
        assert (xpconv.asnumpy(model.state_dict()[name]) == array).all(), name


@pytest.mark.parametrize("every", [1, 4])
def test_a_layer_in_backward(every, backend):
    """The gradient is not finite behind `Poison`; the parameters before it are those of the batch before."""

    def make(*middle):
        return xpconv.Sequential(xpconv.Dense(2, 2, bias=False, rng=2), *middle, *net())

    model, twin = make(Poison(backward=np.nan)), make(Poison())
    history = stopped(model, poisoned(data(), 3), every)
    assert history.stopped == (
        "epoch 1, batch 4: NaN in the input's gradient in the backward of layer 1, Poison()"
    )
    for name, array in before(twin, data()[:3]).items():
        assert (xpconv.asnumpy(model.state_dict()[name]) == array).all(), name


def test_with_dropout_the_same_masks_come_again(backend):
    """A loss that is infinite for some masks only."""
    for seed in range(3):
        model = xpconv.Sequential(
            xpconv.Dropout(0.5, rng=seed), Poison(forward=np.inf), xpconv.Dense(2, 2, rng=0)
        )
        x = xpconv.asarray([[30.0, 30.0]], "float32")  # 60 where it is not dropped
        batches = [(x, x)] * 40
        if seed == 2:
            xpconv.manual_seed(0)
            model[0] = xpconv.Dropout(0.5)
        history = stopped(model, batches, lr=1e-6)
        assert "inf in the output of layer 1, Poison(), whose input is finite" in history.stopped


def test_what_was_there_before(backend):
    model = net()
    bad = data()
    bad[2][0][1, 1] = np.nan
    assert stopped(model, bad).stopped == "epoch 1, batch 3: NaN in the input of the batch"
    bad = data()
    bad[1][1][0, 0] = np.inf
    assert stopped(net(), bad).stopped == "epoch 1, batch 2: inf in the target of the batch"
    model = net()
    model[2].weight.data[0, 0] = np.nan
    assert stopped(model, data()).stopped == (
        "epoch 1, batch 1: NaN in the parameter 2.weight before this step"
    )
    model = net()
    model[1].requires_grad_(False, eval=True)
    model[1].running_var[0] = np.nan
    assert (
        stopped(model, data()).stopped
        == "epoch 1, batch 1: NaN in running_var of BatchNorm1d before this step"
    )


def test_the_loss(backend):
    model = xpconv.Sequential(xpconv.Dense(2, 2, rng=0))
    large = [(x, y * np.float32(1e30)) for x, y in data()]
    assert "inf in the loss MSELoss() of a finite output" in stopped(model, large).stopped


def test_a_large_learning_rate(backend):
    """It diverges by itself: the step before the first that is not finite still has finite parameters."""
    model = xpconv.Sequential(xpconv.Dense(2, 4, rng=0), xpconv.Dense(4, 2, rng=0))
    history = stopped(model, data(), lr=1e4, epochs=9, every=3)
    assert any(
        word in history.stopped for word in ("in the output of layer", "in the loss", "in the gradient")
    )
    assert all(np.isfinite(xpconv.asnumpy(a)).all() for a in model.state_dict().values())


def test_accumulation_clipping_and_a_scaler(backend):
    model = xpconv.Sequential(Poison(forward=np.nan), *net())
    history = stopped(model, poisoned(data(), 3), accumulate=2, clip_grad_norm=1.0)
    assert history.stopped.startswith("epoch 1, batch 3: NaN in the output of layer 0, Poison()")
    model = xpconv.Sequential(Poison(backward=np.inf), *net())  # which a scaler takes for an overflow
    with np.errstate(all="ignore"):
        history = train.fit(
            model, xpconv.MSELoss(), xpconv.SGD(model.parameters(), lr=0.1), poisoned(data(), 3),
            scaler=xpconv.GradScaler(1.0), callbacks=[train.TerminateOnNaN()],
        )  # fmt: skip
    assert history.stopped is None


@pytest.mark.filterwarnings("ignore:fit. the step runs without a CUDA graph, as Dense has hooks")
def test_a_model_with_hooks(backend):
    """A hook that makes a NaN belongs to its layer."""
    model = net()
    model[0].register_full_backward_hook(lambda layer, grad_input, grad_output: None)
    model[2].register_forward_hook(lambda layer, inputs, output: output * np.float32(np.nan))
    assert stopped(model, data()).stopped == (
        "epoch 1, batch 1: NaN in the output of layer 2, Dense(4, 2), whose input is finite"
    )
    model = xpconv.Sequential(xpconv.Dense(2, 2, rng=0), Poison(backward=np.nan), *net())
    model[1].register_full_backward_hook(lambda layer, grad_input, grad_output: None)
    assert stopped(model, poisoned(data(), 0)).stopped == (
        "epoch 1, batch 1: NaN in the input's gradient in the backward of layer 1, Poison()"
    )


def test_without_a_nan_it_changes_nothing(backend):
    models = net(xpconv.Dropout(0.5, rng=0)), net(xpconv.Dropout(0.5, rng=0))
    states = [
        before(m, data(), callbacks=c) for m, c in zip(models, ([], [train.TerminateOnNaN()]), strict=True)
    ]
    assert all((states[0][name] == states[1][name]).all() for name in states[0])


def test_on_a_gpu_it_looks_every_twenty_steps_and_waits_not_between(monkeypatch):
    monkeypatch.setitem(vars(double.xp), "cuda", double.cuda_stand_in())
    monkeypatch.setattr("xpconv.cuda.capture", lambda step, *examples, warmup: step(*examples) or step)
    counts = []

    class Count:
        def on_batch_begin(self, run):
            self.counter = double.count_syncs()
            self.found = self.counter.__enter__()

        after_others = True

        def on_batch_end(self, run):
            self.counter.__exit__(None, None, None)
            counts.append(self.found.n)

    with xpconv.use_backend("double"):
        model = net(xpconv.Dropout(0.5, rng=0))
        callbacks = [train.TerminateOnNaN(), Count()]
        before(model, data(45), callbacks=callbacks)
        assert [i for i, n in enumerate(counts) if n and i > 1] == [19, 39]


@pytest.mark.parametrize("clip", [None, 1.0])
def test_with_a_scaler_no_update_of_a_loss_that_is_infinite_where_gradients_are_finite(backend, clip):
    model = xpconv.Dense(3, 1, rng=0)
    model.weight.data[...] = 1e19
    x = xpconv.asarray(np.ones((4, 3)), "float32")
    with np.errstate(over="ignore"), pytest.warns(RuntimeWarning, match="stopped"):
        history = train.fit(
            model, xpconv.MSELoss(), xpconv.SGD(model.parameters(), lr=0.1), [(x, x[:, :1])],
            scaler=xpconv.GradScaler(2.0), clip_grad_norm=clip, callbacks=train.TerminateOnNaN(),
        )  # fmt: skip
    assert history.stopped == "epoch 1, batch 1: inf in the loss MSELoss() of a finite output"
    assert (xpconv.asnumpy(model.weight.data) == np.float32(1e19)).all()


def test_no_checkpoint_has_statistics_of_a_step_that_failed(tmp_path):
    pytest.importorskip("safetensors")
    model, parts = net(), data()
    bad = parts[2][0] * np.float32(np.nan)
    parts[2] = (bad, parts[2][1])
    with pytest.warns(RuntimeWarning, match="epoch 1, batch 3"):
        train.fit(
            model, xpconv.MSELoss(), xpconv.SGD(model.parameters(), lr=0.1), parts,
            callbacks=[train.TerminateOnNaN(every=5), train.Checkpoint(tmp_path, every=1)],
        )  # fmt: skip
    saved = sorted(tmp_path.iterdir())
    assert [path.name[:13] for path in saved] == ["step-00000001", "step-00000002"]
    for path in saved:
        xpconv.load(path, model=model)
        assert all(np.isfinite(array).all() for array in model.state_dict().values())


# --- without TerminateOnNaN --------------------------------------------------------------------------------


def small(value=np.nan, at=3):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 4)).astype("float32"), np.arange(40) % 3
    bad = x.copy()
    bad[at] = value
    model = xpconv.Sequential(xpconv.Dense(4, 3, rng=0)).to(xpconv.get_backend())
    optimizer = xpconv.SGD(model.parameters(), lr=0.1)
    good, bad = (xpconv.data.batches(xpconv.asarray(a), xpconv.asarray(y), 10) for a in (x, bad))
    return model, optimizer, good, bad


@pytest.mark.parametrize("place", ["train", "valid", "both"])
def test_one_warning_of_a_loss_that_is_not_finite(place, backend):
    model, optimizer, good, bad = small()
    data = (good if place == "valid" else bad, good if place == "train" else bad)
    name = "valid_loss" if place == "valid" else "loss"
    with pytest.warns(RuntimeWarning, match=f"^fit: {name} is nan in epoch 1;.*TerminateOnNaN") as caught:
        train.fit(model, xpconv.CrossEntropyLoss(), optimizer, *data, epochs=3, verbose=False)
    assert len(caught) == 1
    assert caught[0].filename == __file__


def test_an_infinite_loss_is_warned_of():
    model = xpconv.Dense(1, 1, rng=0)
    one = np.ones((1, 1), "float32")
    data = [(one, one * 1e30)]
    with np.errstate(over="ignore"), pytest.warns(RuntimeWarning, match="loss is inf in epoch 1"):
        train.fit(model, xpconv.MSELoss(), xpconv.SGD(model.parameters(), lr=0.0), data)


def test_terminate_on_nan_warns_alone():
    model, optimizer, _, bad = small()
    with pytest.warns(RuntimeWarning) as caught:
        train.fit(
            model, xpconv.CrossEntropyLoss(), optimizer, bad, epochs=2, callbacks=[train.TerminateOnNaN()]
        )
    assert len(caught) == 1
    model, optimizer, good, bad = small()
    with pytest.warns(RuntimeWarning, match="^fit: valid_loss is nan") as caught:
        train.fit(model, xpconv.CrossEntropyLoss(), optimizer, good, bad, callbacks=[train.TerminateOnNaN()])
    assert len(caught) == 1
    assert "TerminateOnNaN" not in str(caught[0].message)


@pytest.mark.parametrize("monitor", ["valid_loss", "valid_accuracy", "loss", "accuracy"])
def test_an_epoch_of_nan_is_never_the_best(monitor, tmp_path, capsys):
    model, optimizer, good, bad = small()
    stop = train.EarlyStopping(monitor, patience=1)
    checkpoint = train.Checkpoint(tmp_path / "run", best=monitor)
    with pytest.warns(RuntimeWarning, match="fit: loss is nan"):
        history = train.fit(
            model, xpconv.CrossEntropyLoss(), optimizer, bad, good, epochs=4, metrics=["accuracy"],
            callbacks=[stop, checkpoint], verbose=True,
        )  # fmt: skip
    loss = monitor.replace("accuracy", "loss")
    assert history.stopped.startswith(f"{monitor} has not improved for 1 epoch; ")
    assert f"{loss} is nan in epoch 1" in history.stopped or monitor == loss
    assert "is nan" in history.stopped
    assert stop.best is None
    assert history.best(monitor) is None
    assert not (tmp_path / "run" / "best.safetensors").exists()
    assert "*" not in capsys.readouterr().out + str(history)


def test_infinity_is_no_best_value():
    history = train.History()
    history.append({"epoch": 1, "loss": 1.0, "score": np.inf})
    history.append({"epoch": 2, "loss": np.inf, "score": 2.0})
    history.append({"epoch": 3, "loss": np.nan, "score": 3.0})
    assert history.best("score", "max") == 2
    assert history.best("loss") == 1
