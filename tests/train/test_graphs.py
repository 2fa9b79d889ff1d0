"""On a GPU a step is recorded as a CUDA graph by itself. Here `capture` is a stand-in on the double."""

import device
import double
import numpy as np
import pytest

import xpconv
from xpconv import train
from xpconv.data import batches
from xpconv.train import graphs


class Recorder:
    """In place of `xpconv.cuda.capture`: runs the step, and notes what it was asked for."""

    def __init__(self):
        self.recorded, self.launched, self.fault, self.stale = [], 0, None, []
        self.before_fault = lambda: None

    def __call__(self, function, *examples, warmup):
        for _ in range(warmup):
            function(*examples)
        if self.fault is not None:
            self.before_fault()
            raise RuntimeError("capture: step failed while it was recorded (…)") from self.fault
        self.recorded.append(tuple(a.shape for a in examples))

        def replay(*inputs):
            if self.stale:
                raise RuntimeError(self.stale.pop())
            self.launched += 1
            function(*inputs)

        return replay


@pytest.fixture
def recorder(monkeypatch):
    found = Recorder()
    monkeypatch.setattr(graphs.cuda, "capture", found)
    with device.present(), xpconv.use_backend("double"):
        yield found


def run(callbacks=(), n=45, accumulate=1, metrics=("accuracy",), epochs=3, graphs=True, **options):
    rng = np.random.default_rng(0)
    x, y = xpconv.asarray(rng.normal(size=(n, 4)), "float32"), xpconv.asarray(rng.integers(0, 3, n))
    model = xpconv.Sequential(
        xpconv.Dense(4, 8, rng=0), xpconv.Dropout(0.5, rng=0), xpconv.Dense(8, 3, rng=1)
    )
    optimizer = xpconv.Adam(model.parameters(), lr=0.01)
    history = train.fit(
        model, xpconv.SoftmaxCrossEntropyLoss(), optimizer, batches(x, y, 10), epochs=epochs, callbacks=callbacks,
        metrics=metrics, accumulate=accumulate, **options,
    )  # fmt: skip
    return history.rows, [p.data.get() for p in model.parameters()]


@pytest.mark.parametrize("accumulate", [1, 2])
def test_repeated_shapes_are_recorded_with_the_same_results(accumulate, recorder):
    rows, arrays = run(accumulate=accumulate)
    full, last = ((10, 4), (10,)), ((5, 4), (5,))
    if (
        accumulate == 1
    ):  # 4 full batches and a smaller one, 3 times: the first of each runs, the second is recorded
        assert recorder.recorded == [full, last]
        assert recorder.launched == 10 + 1
    else:  # two groups of two full batches, and the smaller one alone
        assert recorder.recorded == [full * 2, last]
        assert recorder.launched == 4 + 1
    del vars(double.xp)["cuda"]
    eager_rows, eager = run(accumulate=accumulate)
    assert rows == eager_rows
    assert all((a == b).all() for a, b in zip(arrays, eager, strict=True))


def test_it_says_once_why_it_cannot_be(recorder):
    recorder.fault = NotImplementedError("reading a value on the host")
    with pytest.warns(
        RuntimeWarning, match=r"fit: the step runs without a CUDA graph, .*: reading a value"
    ) as found:
        rows, _ = run()
    assert len(found) == 1
    recorder.fault = None
    assert rows == run()[0]


def test_a_scaler_goes_on_after_a_recording_that_ended_within_a_step(recorder):
    recorder.fault = RuntimeError("LARS cannot be captured")
    scaler, optimizers = xpconv.GradScaler(4.0), []
    recorder.before_fault = lambda: scaler._unscaled.append((optimizers[0], scaler._found))

    class Note:
        def on_fit_begin(self, run):
            optimizers.append(run.optimizer)

    with pytest.warns(RuntimeWarning, match="LARS cannot be captured"):
        assert len(run([Note()], scaler=scaler, clip_grad_norm=1.0)[0]) == 3


def test_layers_with_hooks_run_in_every_step(recorder):
    seen = []

    class Hook:
        def on_epoch_begin(self, run):
            if run.epoch == 2:
                run.model[0].register_forward_hook(lambda layer, inputs, output: seen.append(len(output)))

    with pytest.warns(RuntimeWarning, match="without a CUDA graph, as Dense has hooks") as found:
        run([Hook()], n=40)
    assert len(found) == 1
    assert seen == [10] * 8
    assert recorder.launched == 2


def test_a_changed_loss_is_recorded_again(recorder):
    class Change:
        def on_epoch_begin(self, run):
            run.loss.label_smoothing = 0.1 * (run.epoch > 2)

    run([Change()], n=40)
    assert recorder.recorded == [((10, 4), (10,))] * 2


def test_an_error_of_the_step_itself_is_its_own(recorder):
    calls = []

    def metric(output, target):
        calls.append(1)
        if len(calls) == 2:
            raise RuntimeError("broken")
        return 0.0

    with pytest.raises(RuntimeError, match=r"^broken$"):
        run(metrics=[metric])


def test_modes_freezing_and_settings_that_change_are_recorded_again(recorder):
    class Change:
        def on_epoch_begin(self, run):
            if run.epoch == 2:
                run.model[0].requires_grad_(False)
            if run.epoch == 3:
                run.model[1].p = 0.25

    run(n=40, callbacks=[Change()])
    assert recorder.recorded == [((10, 4), (10,))] * 3
    assert recorder.launched == 6


def test_a_recording_of_other_arrays_is_made_again(recorder):
    rows, _ = run(n=40, epochs=1)
    assert (recorder.launched, len(recorder.recorded)) == (2, 1)
    recorder.stale = ["capture: parameter weight of Dense is another array than in the recording"]
    assert (
        run(n=40, epochs=1)[0] == rows
    )  # two steps run, the second recorded, the third is stale, the fourth runs
    assert (recorder.launched, len(recorder.recorded)) == (2, 2)
    recorder.stale = ["broken"]
    with pytest.raises(RuntimeError, match=r"^broken$"):
        run(n=40, epochs=1)


def test_graphs_of_few_shapes_only(recorder):
    class Growing:
        def __iter__(self):
            for n in range(1, 9):
                for _ in range(2):
                    yield (xpconv.asarray(np.ones((n, 4)), "float32"), xpconv.asarray(np.zeros(n, int)))

    model = xpconv.Dense(4, 3, rng=0)
    train.fit(model, xpconv.SoftmaxCrossEntropyLoss(), xpconv.SGD(model.parameters()), Growing())
    assert len(recorder.recorded) == graphs.MOST_GRAPHS


def test_batches_of_the_host_are_copied_in_advance(recorder, monkeypatch):
    fed, rng = [], np.random.default_rng(0)

    def prefetch(source):
        fed.append(source)
        return iter(source)

    monkeypatch.setattr("xpconv.train.objective.prefetch", prefetch)
    x, y = rng.normal(size=(40, 4)).astype("float32"), rng.integers(0, 3, 40)
    model, loss = xpconv.Dense(4, 3, rng=0), xpconv.SoftmaxCrossEntropyLoss()
    host, device = batches(x, y, 10), batches(xpconv.asarray(x), xpconv.asarray(y), 10)
    for data in (host, device, list(host)):
        train.fit(model, loss, xpconv.SGD(model.parameters()), data, data, epochs=2)
    assert fed == [host] * 4
    with xpconv.use_backend("numpy"):  # where prefetch would copy to
        train.fit(model, loss, xpconv.SGD(model.parameters()), host)
    assert len(fed) == 4
