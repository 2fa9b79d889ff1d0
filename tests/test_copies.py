"""Models copied or pickled with their optimizers continue training with bit-identical results."""

import copy
import multiprocessing
import pickle

import numpy as np
import pytest
from training import COPIES, OPTIMIZERS, Training, assert_same, by_memory_map, by_pickle, copied

import xpconv

joblib = pytest.importorskip("joblib")  # which scikit-learn brings


@pytest.mark.sample(3)
@pytest.mark.parametrize(
    "kind", ["float32", *(pytest.param(k, marks=pytest.mark.slow) for k in ("float16", "groups"))]
)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_training_goes_on_in_a_copy(name, kind, backend, tmp_path):
    """Of all in one object; gradients that wait for their step come along."""
    ours = Training(name, kind)
    for _ in range(3):
        ours.backward()
        ours.update()
    ours.backward()
    copies = [copied(how, ours, tmp_path) for how in COPIES]
    before = ours.values()
    ours.update()
    ours.backward()
    ours.update()
    for other in copies:
        for a, b in zip(before, other.values(), strict=True):
            np.testing.assert_array_equal(a, b)
        other.update()
        other.backward()
        other.update()
        assert_same(ours, other)
    assert any((a != b).any() for a, b in zip(before, ours.values(), strict=True))


@pytest.mark.parametrize("how", COPIES)
@pytest.mark.parametrize("order", ["model first", "optimizer first", "schedule only"])
def test_in_any_order(how, order, backend, tmp_path):
    first = Training("Adam")
    first.backward()
    first.update()
    things = (first.model, first.optimizer, first.schedule)
    if order == "optimizer first":
        optimizer, model = copied(how, things[1::-1], tmp_path)
    elif order == "model first":
        model, optimizer = copied(how, things[:2], tmp_path)
    else:
        model, schedule = copied(how, (first.model, first.schedule), tmp_path)
        optimizer = schedule.optimizer
    x = xpconv.asarray(np.random.default_rng(0).normal(size=(2, 1, 4, 4)).astype("float32"))
    for m, o in ((first.model, first.optimizer), (model, optimizer)):
        m.backward(xpconv.get_xp(x).ones_like(m(x)), input_grad=False)
        o.step()
    for a, b in zip(first.model.parameters(), model.parameters(), strict=True):
        np.testing.assert_array_equal(xpconv.asnumpy(a.data), xpconv.asnumpy(b.data))
        assert a is not b


def test_a_step_that_was_skipped_is_not_counted_in_a_copy(backend):
    ours = Training("Adam")
    for bad in (False, True, False):
        ours.backward()
        if bad:
            ours.model[4].bias.grad[...] = np.inf
        ours.scaler.step(ours.optimizer)
        ours.scaler.update()
        ours.optimizer.zero_grad()
    other = by_pickle(ours)
    assert float(other.optimizer.state_dict()["state"][0]["step"]) == 2
    for one in (ours, other):
        one.backward()
        one.update()
    assert_same(ours, other)


def test_between_unscaling_and_the_step(backend):
    ours = Training("SGD")
    ours.backward()
    ours.scaler.unscale_(ours.optimizer)
    other = copy.deepcopy(ours)
    for one in (ours, other):
        xpconv.clip_grad_norm_(one.model.parameters(), 0.1)
        one.update()
    assert_same(ours, other)


def test_a_model_that_moved_since_gives_the_known_error_in_a_copy(backend):
    layer = xpconv.Dense(3, 2, rng=0)
    optimizer = xpconv.SGD(layer.parameters(), lr=0.1, momentum=0.9)
    layer.to(dtype="float64")
    layer, optimizer = by_pickle((layer, optimizer))
    x = xpconv.asarray(np.ones((4, 3)))
    layer.backward(layer(x)[:, :2])
    with pytest.raises(RuntimeError, match=r"weight.*is now float64 .*make the optimizer after model.to"):
        optimizer.step()


def test_a_copy_of_the_model_alone_leaves_the_optimizer_with_its_own(backend):
    layer = xpconv.Dense(3, 2, rng=0)
    optimizer = xpconv.SGD(layer.parameters(), lr=0.1)
    other = copy.deepcopy(layer)
    before = xpconv.asnumpy(other.weight.data).copy()
    layer.backward(layer(xpconv.asarray(np.ones((4, 3), "float32"))))
    optimizer.step()
    np.testing.assert_array_equal(xpconv.asnumpy(other.weight.data), before)
    assert (xpconv.asnumpy(layer.weight.data) != before).any()


def test_a_model_that_holds_its_optimizer_which_knows_the_model(backend):
    class Learner(xpconv.Layer):
        def __init__(self):
            self.dense = xpconv.Dense(2, 2, rng=0)
            self.optimizer = xpconv.NAdam(self.dense.parameters(), lr=0.1)
            self.optimizer.model = self

        def learn(self):
            self.dense.backward(self.dense(xpconv.asarray(np.ones((3, 2), "float32"))))
            self.optimizer.step()
            self.optimizer.zero_grad()
            return xpconv.asnumpy(self.dense.weight.data).copy()

    model = Learner()
    model.learn()
    copies = [copy.deepcopy(model), copy.deepcopy(model.optimizer).model]
    expected = model.learn(), model.learn()
    for other in copies:
        assert other.optimizer.model is other
        for value in expected:
            np.testing.assert_array_equal(other.learn(), value)


def test_a_shallow_copy_trains_the_same_model(backend):
    layer = xpconv.Dense(3, 2, rng=0)
    first = xpconv.Adam(layer.parameters(), lr=0.1)
    second, view = copy.copy(first), layer.weight.data
    layer.backward(layer(xpconv.asarray(np.ones((4, 3), "float32"))))
    second.step()
    assert layer.weight.data is view


def _train_in_process(pipe, model, optimizer):
    x = np.random.default_rng(0).normal(size=(4, 3)).astype("float32")
    for _ in range(3):
        model.backward(model(x), input_grad=False)
        optimizer.step()
        optimizer.zero_grad()
    pipe.send([p.data for p in model.parameters()])


def test_as_arguments_of_a_spawned_process():
    model = xpconv.Dense(3, 2, rng=0)
    optimizer = xpconv.Adam(model.parameters(), lr=0.1)
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_train_in_process, args=(theirs, model, optimizer))
    process.start()
    arrays = ours.recv()
    process.join()

    class Here:
        send = staticmethod(
            lambda found: [np.testing.assert_array_equal(a, b) for a, b in zip(found, arrays, strict=True)]
        )

    _train_in_process(Here, model, optimizer)


# --- layers alone --------------------------------------------------------------------------------------


def small():
    return xpconv.Sequential(
        xpconv.Conv2d(1, 2, 3, rng=0), xpconv.BatchNorm2d(2), xpconv.Flatten(), xpconv.Dense(8, 2, rng=1)
    )


def steps_by_hand(model):
    """Two steps of training with arrays written in place, and the state after them."""
    x = xpconv.asarray(np.random.default_rng(0).normal(size=(3, 1, 4, 4)).astype("float32"))
    for _ in range(2):
        model.backward(model(x), input_grad=False)
        for p in model.parameters():
            p.data -= 0.1 * p.grad
            p.grad *= 0.5
    return [xpconv.asnumpy(array).copy() for array in model.state_dict().values()]


@pytest.mark.parametrize("how", COPIES)
def test_a_copied_layer_is_trained_by_hand(how, backend, tmp_path):
    model = small()
    for p in model.parameters():
        p.grad = xpconv.get_xp().ones_like(p.data)
    other = copied(how, model, tmp_path)
    for a, b in zip(steps_by_hand(model), steps_by_hand(other), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_layer_in_inference_stays_in_the_memory_map_until_it_is_trained(tmp_path):
    model = small().eval()
    other = by_memory_map(model, tmp_path)
    assert not other[0].weight.data.flags.writeable
    state = {name: array + 1 for name, array in model.state_dict().items()}
    loaded = by_memory_map(model, tmp_path)
    loaded.load_state_dict(state)
    for name, array in loaded.state_dict().items():
        np.testing.assert_array_equal(array, state[name])
    for a, b in zip(steps_by_hand(model.train()), steps_by_hand(other.train()), strict=True):
        np.testing.assert_array_equal(a, b)


def test_an_average_in_a_memory_map(tmp_path):
    model = xpconv.Dense(2, 1, rng=0).eval()
    ema = by_memory_map(xpconv.ExponentialMovingAverage(model, 0.5), tmp_path)
    before = ema.model.weight.data.copy()
    ema.averages["weight"] += 1
    with ema.average_parameters():
        np.testing.assert_array_equal(ema.model.weight.data, before + 1)
    np.testing.assert_array_equal(ema.model.weight.data, before)
    ema.update()
    np.testing.assert_allclose(ema.averages["weight"], before + 0.5, rtol=1e-6)


def _train_in_worker(model, optimizer):
    x = np.random.default_rng(0).normal(size=(4, 600)).astype("float32")
    for _ in range(2):
        model.backward(model(x), input_grad=False)
        optimizer.step()
        optimizer.zero_grad()
    return [p.data.copy() for p in model.parameters()]


@pytest.mark.slow
def test_as_arguments_of_joblibs_workers():
    """Large arrays come there as read-only memory maps."""
    from joblib.externals.loky import get_reusable_executor

    model = xpconv.Dense(600, 500, rng=0)
    optimizer = xpconv.Adam(model.parameters(), lr=0.1)
    _train_in_worker(model, optimizer)
    jobs = joblib.Parallel(n_jobs=2, max_nbytes=1000)(
        joblib.delayed(_train_in_worker)(model, optimizer) for _ in range(2)
    )
    get_reusable_executor().shutdown()
    expected = _train_in_worker(model, optimizer)
    for job in jobs:
        for a, b in zip(job, expected, strict=True):
            np.testing.assert_array_equal(a, b)


def test_every_optimizer_is_here():
    kinds = {
        n
        for n in xpconv.__all__
        if isinstance(o := getattr(xpconv, n), type) and issubclass(o, xpconv.Optimizer)
    }
    assert kinds - {"Optimizer"} == set(OPTIMIZERS)


def test_how_a_sequential_runs_is_found_again_in_a_copy():
    """It depends on a number of this process."""
    model = xpconv.Sequential(xpconv.Dense(2, 2), xpconv.ReLU())
    model(xpconv.asarray(np.ones((1, 2), "float32")))
    assert "_cached_steps" in vars(model)
    assert "_cached_steps" not in vars(pickle.loads(pickle.dumps(model)))  # noqa: S301
