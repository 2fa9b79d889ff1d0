"""The range test of the learning rate, which leaves everything as it was."""

import copy
import warnings
from contextlib import nullcontext

import numpy as np
import pytest

import xpconv
from xpconv import train
from xpconv.data import batches


def no_suggestion():
    """Of few batches, with labels that are noise, there is none."""
    return pytest.warns(RuntimeWarning, match="find_lr: no suggestion, as the loss falls nowhere from lr")


def things(seed=0):
    rng = np.random.default_rng(0)
    x, y = xpconv.asarray(rng.normal(size=(40, 6)), "float32"), xpconv.asarray(rng.integers(0, 3, 40))
    model = xpconv.Sequential(
        xpconv.Dense(6, 8, rng=0),
        xpconv.BatchNorm1d(8),
        xpconv.ReLU(),
        xpconv.Dropout(0.5),
        xpconv.Dense(8, 3, rng=1),
    )
    return model, xpconv.Adam(model.parameters(), lr=0.01), batches(x, y, 10)


def test_everything_is_as_before(backend):
    xpconv.manual_seed(0)
    loss = xpconv.SoftmaxCrossEntropyLoss()
    states = []
    for test in (False, True):
        xpconv.manual_seed(0)
        model, optimizer, data = things()
        train.fit(model, loss, optimizer, data)
        model[1].requires_grad_(False, eval=True)
        model[3].eval()
        modes = [(layer.training, layer._thawed_mode) for layer in model]
        if test:
            with no_suggestion():
                found = train.find_lr(model, loss, optimizer, data, steps=20, end=10.0)
            assert [(layer.training, layer._thawed_mode) for layer in model] == modes
            assert optimizer.lr == 0.01
            assert len(found.lrs) == len(found.losses) == len(found.smoothed)
        train.fit(model, loss, optimizer, data)
        states.append({name: xpconv.asnumpy(a) for name, a in model.state_dict().items()})
    for name, array in states[0].items():
        assert (array == states[1][name]).all(), name


def test_a_fresh_optimizer_is_fresh_again(backend):
    model, optimizer, data = things()
    fresh, other = copy.deepcopy((model, optimizer))
    with no_suggestion():
        train.find_lr(model, xpconv.SoftmaxCrossEntropyLoss(), optimizer, data, steps=5)
    for one, its in ((model, optimizer), (fresh, other)):
        xpconv.manual_seed(0)
        train.fit(one, xpconv.SoftmaxCrossEntropyLoss(), its, data)
    for name, array in model.state_dict().items():
        assert (xpconv.asnumpy(array) == xpconv.asnumpy(fresh.state_dict()[name])).all(), name


def test_rates_and_an_early_end():
    """y = w x with loss (w - 1)²: plain descent diverges above lr = 1."""
    model = xpconv.Dense(1, 1, bias=False, rng=0)
    model.weight.data[...] = 3.0
    one = np.ones((1, 1), "float32")
    found = train.find_lr(
        model,
        xpconv.MSELoss(),
        xpconv.SGD(model.parameters(), lr=1.0),
        [(one, one)],
        start=1e-4,
        end=1e3,
        steps=50,
    )
    np.testing.assert_allclose(np.log10(found.lrs), np.linspace(-4, 3, 50)[: len(found.lrs)], atol=1e-9)
    assert len(found.lrs) < 50
    assert found.lrs[-1] > 1
    assert 0.01 < found.suggestion < 0.5
    assert found.losses[0] == pytest.approx(4.0)
    assert repr(found).startswith(f"LRFinder({len(found.lrs)} rates from 0.0001 to ")


def test_groups_keep_their_ratio():
    model, _, data = things()
    groups = [{"params": model[0].parameters(), "lr": 0.1}, {"params": model[4].parameters(), "lr": 0.01}]
    optimizer, seen = xpconv.SGD(groups, lr=1.0), []

    class Loss(xpconv.SoftmaxCrossEntropyLoss):
        def forward(self, *inputs):
            seen.append([group["lr"] for group in optimizer.param_groups])
            return super().forward(*inputs)

    with no_suggestion():
        train.find_lr(model, Loss(), optimizer, data, start=1e-3, end=1e-1, steps=3)
    np.testing.assert_allclose(seen, [[1e-3, 1e-4], [1e-2, 1e-3], [1e-1, 1e-2]])
    assert [group["lr"] for group in optimizer.param_groups] == [0.1, 0.01]


def test_picture(tmp_path):
    pytest.importorskip("matplotlib")
    figure = train.LRFinder([0.1, 0.2, 0.4, 0.8], [2.0, 1.5, 0.5, 3.0]).plot()
    assert figure.axes[0].get_xscale() == "log"
    figure.savefig(tmp_path / "lr.png")
    assert train.LRFinder([0.1, 0.2], [1.0, 2.0]).suggestion is None


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"start": 0.0}, "find_lr: start is 0.0 and end 1.0, expected 0 < start < end"),
        ({"start": 2.0}, "expected 0 < start < end"),
        ({"steps": 1}, "find_lr: steps is 1, expected at least 2"),
        ({"train": []}, "find_lr: train has no batches"),
        ({"train": iter([])}, "find_lr: train has too few batches"),
        ({"loss": None}, "find_lr: loss is None"),
        ({"train": [(np.full((4, 6), np.nan, "float32"), np.zeros(4, int))]}, "the first loss is nan"),
    ],
)
def test_wrong_arguments(options, text):
    model, optimizer, data = things()
    before = model[0].weight.data.copy()
    given = {
        "model": model,
        "loss": xpconv.SoftmaxCrossEntropyLoss(),
        "optimizer": optimizer,
        "train": data,
        **options,
    }
    with pytest.raises((TypeError, ValueError), match=text):
        train.find_lr(**given)
    assert (model[0].weight.data == before).all()


def test_data_begin_with_a_whole_epoch_after_a_loop_that_was_left():
    x = xpconv.asarray(np.ones((12, 2)), "float32")
    data, model = xpconv.data.batches(x, x, 4), xpconv.Dense(2, 2, rng=0)
    next(iter(data))
    with no_suggestion():
        train.find_lr(model, xpconv.MSELoss(), xpconv.SGD(model.parameters(), lr=0.1), data, steps=5)
    assert len(list(data)) == 3


def curve(lrs, at=1e-2, width=0.3, low=0.3):
    """A loss that falls from 2.3 to `low` around `at`, and grows from 30 times that rate on."""
    u = np.log10(lrs / at)
    return low + (2.3 - low) / (1 + np.exp(u / width)) + 0.2 * np.exp(5 * (u - 1.5))


@pytest.mark.parametrize("steps", [20, 40, 100, 300, 1000])
@pytest.mark.parametrize("noise", [0.0, 0.02, 0.1])
def test_the_suggestion_lags_by_no_steps(steps, noise):
    """It is where the curve falls, whatever the number of steps."""
    if noise > 0.01 * steps**0.5:
        return  # the noise is as large as the fall
    lrs = 1e-6 * (1e6) ** (np.arange(steps) / (steps - 1))
    for seed in range(5):
        losses = curve(lrs) * np.random.default_rng(seed).normal(1, noise, steps)
        found = train.LRFinder(lrs.tolist(), losses.tolist())
        assert (2e-3 if steps > 20 else 1e-3) < found.suggestion < 2e-2, (seed, found)
        middle = steps * 2 // 3
        assert found.smoothed[middle] == pytest.approx(curve(lrs)[middle], abs=0.3)


@pytest.mark.parametrize("steps", [5, 20, 40, 100, 300])
@pytest.mark.parametrize("scale", [0.01, 0.3, 1.0])
def test_noise_alone_gives_no_suggestion(steps, scale):
    lrs = (1e-6 * (1e6) ** (np.arange(steps) / (steps - 1))).tolist()
    found = []
    for seed in range(100):
        rng = np.random.default_rng(seed)
        for losses in (2.3 + scale * rng.normal(size=steps), 2.3 * rng.choice([1.0, 5.0], steps)):
            found.append(train.LRFinder(lrs, losses.tolist()).suggestion is not None)
    assert sum(found) <= 0.02 * len(found)


def test_a_drop_of_the_first_batches_is_ignored():
    lrs = 1e-6 * (1e6) ** (np.arange(100) / 99)
    losses = curve(lrs)
    losses[:3] = 9.0, 7.0, 5.0
    assert 2e-3 < train.LRFinder(lrs.tolist(), losses.tolist()).suggestion < 2e-2


@pytest.mark.parametrize("losses", [[1.0], [2.0, 1.0], [2.0, 1.0, 0.5], [1.0] * 30, [0.0] * 30])
def test_few_and_equal_losses(losses):
    lrs = np.geomspace(1e-3, 1.0, len(losses)).tolist()
    found = train.LRFinder(lrs, losses)
    assert np.isfinite(found.smoothed).all()
    assert found.suggestion is None or lrs[0] <= found.suggestion <= lrs[-1]


@pytest.mark.sample(64)
@pytest.mark.parametrize("steps", [40, 100, 200])
@pytest.mark.parametrize("weighted", [False, True])
def test_training_at_the_suggestion_works(steps, weighted):
    digits = xpconv.data.load_digits()
    x, y = digits.x_train, digits.y_train
    for seed in range(3):
        model = xpconv.Sequential(
            xpconv.Flatten(), xpconv.Dense(64, 32, rng=seed), xpconv.ReLU(), xpconv.Dense(32, 10, rng=seed)
        )
        weight = np.random.default_rng(seed).choice([1.0, 5.0], len(y)).astype("float32")
        data = batches(*((x, y, weight) if weighted else (x, y)), 32, shuffle=True, seed=seed)
        optimizer, loss = xpconv.Adam(model.parameters()), xpconv.SoftmaxCrossEntropyLoss()
        with warnings.catch_warnings() if weighted and steps < 100 else nullcontext():
            if weighted and steps < 100:
                warnings.simplefilter("ignore")  # there may be none
            found = train.find_lr(model, loss, optimizer, data, steps=steps, sample_weight=weighted)
        if found.suggestion is None:
            assert weighted
            assert steps < 100
            continue
        assert 1e-3 < found.suggestion < 0.05
        optimizer.param_groups[0]["lr"] = found.suggestion
        train.fit(model, loss, optimizer, data, epochs=3, sample_weight=weighted)
        test = batches(digits.x_test, digits.y_test, 500)
        assert train.evaluate(model, None, test, metrics=["accuracy"])["accuracy"] > 0.85
