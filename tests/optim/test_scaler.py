"""Float16 training: master weights in the optimizer, and `GradScaler`, which PyTorch's is the oracle of."""

import double
import numpy as np
import pytest

import xpconv


def parameters(*values, dtype="float16"):
    return [xpconv.Parameter(xpconv.asarray(np.array(v), dtype)) for v in values]


def test_steps_too_small_for_float16_add_up(backend):
    (p,) = parameters([1.0, 2.0])
    optimizer = xpconv.SGD([p], lr=1e-4)
    for _ in range(100):
        p.grad = xpconv.asarray(np.ones(2), "float16")
        optimizer.step()
    assert p.data.dtype == "float16"
    np.testing.assert_allclose(xpconv.asnumpy(p.data), [0.99, 1.99], rtol=1e-3)


def test_what_is_written_into_a_parameter_between_steps_counts(backend):
    (p,) = parameters([1.0, 2.0])
    optimizer = xpconv.SGD([p], lr=1.0)
    p.data[...] = 8.0
    p.grad = xpconv.asarray(np.array([0.5, 0.0]), "float16")
    optimizer.step()
    assert xpconv.asnumpy(p.data).tolist() == [7.5, 8.0]


def test_float16_and_float32_mix_but_no_others(backend):
    (p,), (q,) = parameters([1.0]), parameters([1.0], dtype="float32")
    optimizer = xpconv.SGD([p, q], lr=0.5)
    p.grad, q.grad = xpconv.asarray(np.ones(1), "float16"), xpconv.asarray(np.ones(1), "float32")
    optimizer.step()
    assert [str(x.dtype) for x in (p.data, q.data)] == ["float16", "float32"]
    assert [float(x.data[0]) for x in (p, q)] == [0.5, 0.5]
    with pytest.raises(xpconv.errors.DTypeError, match="float32 and float64"):
        xpconv.SGD(parameters([1.0], dtype="float32") + parameters([1.0], dtype="float64"))
    with pytest.raises(xpconv.errors.DTypeError, match="float16 and float64"):
        xpconv.SGD(parameters([1.0]) + parameters([1.0], dtype="float64"))


@pytest.mark.parametrize(
    "name",
    ["SGD", "Adam", "NAdam", "RAdam", "RMSprop", "Adagrad", "Adadelta", "Adamax", "Lion", "LARS", "LAMB"],
)
def test_a_skipped_step_changes_nothing_and_does_not_count(name, backend):
    """As if it had not been: also for Adam's step count."""
    final = []
    for grads in ([1.0, np.inf, 2.0, np.nan], [1.0, 2.0]):
        (p,) = parameters([1.0, -2.0], dtype="float32")
        optimizer, scaler = getattr(xpconv, name)([p], lr=0.1), xpconv.GradScaler(1.0, growth_interval=100)
        for grad in grads:
            p.grad = xpconv.asarray(np.array([grad, 0.5]), "float32") * scaler.scale
            scaler.step(optimizer)
            scaler.update()
        final.append(xpconv.asnumpy(p.data))
    np.testing.assert_allclose(*final, rtol=1e-6)


def test_scale_and_skips_are_pytorchs(backend):
    torch = pytest.importorskip("torch")
    options = {"init_scale": 8.0, "growth_factor": 4.0, "backoff_factor": 0.25, "growth_interval": 2}
    ours, theirs = xpconv.GradScaler(**options), torch.amp.GradScaler("cpu", **options)
    (p,), q = parameters([1.0, 2.0], dtype="float32"), torch.tensor([1.0, 2.0], requires_grad=True)
    optimizer, other = xpconv.Adam([p], lr=0.1), torch.optim.Adam([q], lr=0.1)
    for grad in (1.0, 2.0, np.inf, 3.0, np.nan, 1.0, 1.0, 1.0):
        p.grad = xpconv.asarray(np.array([grad, 0.25]), "float32") * ours.scale
        ours.step(optimizer)
        ours.update()
        theirs.scale((q * torch.tensor([grad, 0.25])).sum()).backward()
        theirs.step(other)
        theirs.update()
        other.zero_grad()
        assert float(ours.scale) == theirs.get_scale()
        np.testing.assert_allclose(xpconv.asnumpy(p.data), q.detach().numpy(), rtol=1e-5)


def test_unscale_comes_before_clipping_and_once(backend):
    (p,) = parameters([0.0, 0.0], dtype="float32")
    optimizer, scaler = xpconv.SGD([p], lr=1.0), xpconv.GradScaler(16.0)
    p.grad = xpconv.asarray(np.array([48.0, 64.0]), "float32")
    scaler.unscale_(optimizer)
    assert xpconv.asnumpy(p.grad).tolist() == [3.0, 4.0]
    with pytest.raises(RuntimeError, match="unscale_: called already"):
        scaler.unscale_(optimizer)
    xpconv.clip_grad_norm_([p], 1.0)
    scaler.step(optimizer)
    np.testing.assert_allclose(xpconv.asnumpy(p.data), [-0.6, -0.8], rtol=1e-5)


def test_a_large_scale_does_not_overflow_in_the_loss(backend):
    """(p - t) · 65536 / N is in float16's range where 65536 itself is not."""
    criterion = xpconv.SoftmaxCrossEntropyLoss()
    x, t = xpconv.asarray(np.zeros((64, 2)), "float16"), xpconv.asarray(np.zeros(64, "int64"))
    criterion(x, t)
    grad = criterion.backward(xpconv.GradScaler().scale)
    assert str(grad.dtype) == "float16"
    np.testing.assert_array_equal(xpconv.asnumpy(grad), np.tile([-512.0, 512.0], (64, 1)))


def test_a_network_learns_in_float16_and_nobody_waits_for_the_device(backend):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(64, 4))
    y = xpconv.asarray((x.sum(axis=1) > 0).astype("int64"))
    x = xpconv.asarray(x, "float16")
    norm = xpconv.BatchNorm1d(16)
    model = xpconv.Sequential(xpconv.Dense(4, 16, rng=0), norm, xpconv.ReLU(), xpconv.Dense(16, 2, rng=1))
    model.to(dtype="float16")
    norm.to(dtype="float32")
    criterion, scaler = xpconv.SoftmaxCrossEntropyLoss(), xpconv.GradScaler()
    optimizer = xpconv.Adam(model.parameters(), lr=0.02)
    losses = []
    with double.count_syncs() as counter:
        for _ in range(60):
            losses.append(criterion(model(x), y))
            optimizer.zero_grad()
            model.backward(criterion.backward(scaler.scale), input_grad=False)
            scaler.step(optimizer)
            scaler.update()
    if backend == "double":
        assert counter.n == 0
    assert float(losses[-1]) < 0.15 < float(losses[0])
    kept = [norm.weight.data, norm.running_mean, model[0].weight.data]
    assert [str(a.dtype) for a in kept] == ["float32", "float32", "float16"]


def test_state_goes_from_one_to_another(backend):
    (p,) = parameters([1.0])
    optimizer, scaler = xpconv.SGD([p], lr=0.5), xpconv.GradScaler(4.0)
    p.grad = xpconv.asarray(np.ones(1), "float16")
    scaler.step(optimizer)
    scaler.update()
    state = scaler.state_dict()
    assert (state["scale"], state["_growth_tracker"]) == (4.0, 1)
    other = xpconv.GradScaler()
    other.load_state_dict(state)
    assert other.state_dict() == state


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: xpconv.GradScaler(0.0), ValueError, "GradScaler: init_scale is 0.0"),
        (lambda: xpconv.GradScaler(1e39), ValueError, "GradScaler: init_scale is 1e.39"),
        (lambda: xpconv.GradScaler(growth_factor=1), ValueError, "growth_factor 1 "),
        (lambda: xpconv.GradScaler(growth_interval=0), ValueError, "GradScaler: growth_interval"),
        (
            lambda: xpconv.GradScaler().load_state_dict({}),
            ValueError,
            "missing .*'_growth_tracker', .*'scale'",
        ),
    ],
)
def test_what_does_not_fit_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize("grad", [np.inf, 0.0])
def test_a_scale_stays_in_the_range_of_float32(grad, backend):
    """After infinities for ever, and after good steps for ever; also where NumPy is to raise."""
    (p,) = parameters([1.0], dtype="float32")
    optimizer, scaler = xpconv.SGD([p], lr=1.0), xpconv.GradScaler(growth_interval=1)
    with np.errstate(all="raise" if backend == "numpy" else "warn"):
        for _ in range(200):
            p.grad = xpconv.asarray(np.array([grad]), "float32")
            scaler.step(optimizer)
            scaler.update()
    assert 1e-38 < float(scaler.scale) < 1e-30 if grad else 1e36 < float(scaler.scale) < 3.5e38
    assert xpconv.asnumpy(p.data).tolist() == [1.0]


@pytest.mark.parametrize("bad", [0, 1])
@pytest.mark.parametrize("early", [False, True])
def test_a_bad_gradient_stops_its_own_optimizer_alone(bad, early, backend):
    """As in PyTorch, whichever steps first: the scale shrinks once, for both."""
    ours = parameters([1.0], [1.0], dtype="float32")
    optimizers, scaler = [xpconv.SGD([p], lr=0.5) for p in ours], xpconv.GradScaler(4.0)
    for i, p in enumerate(ours):
        p.grad = xpconv.asarray([np.inf if i == bad else 4.0], "float32")
    if early:
        for optimizer in optimizers:
            scaler.unscale_(optimizer)
    for optimizer in optimizers:
        scaler.step(optimizer)
    scaler.update()
    assert [float(xpconv.asnumpy(p.data)[0]) for p in ours] == [1.0 if i == bad else 0.5 for i in (0, 1)]
    assert float(xpconv.asnumpy(scaler.scale)) == 2.0


def test_a_step_without_gradients_does_not_count_as_unscaling(backend):
    (p,) = parameters([1.0], dtype="float32")
    optimizer, scaler = xpconv.SGD([p], lr=0.5), xpconv.GradScaler(4.0)
    for refused in (scaler.step, scaler.unscale_):
        with pytest.raises(RuntimeError, match="no parameter has a gradient"):
            refused(optimizer)
    p.grad = xpconv.asarray([4.0], "float32")
    scaler.step(optimizer)
    assert float(xpconv.asnumpy(p.data)[0]) == 0.5


def test_two_steps_without_update_are_refused(backend):
    """The second would take gradients that are still scaled."""
    (p,) = parameters([1.0], dtype="float32")
    optimizer, scaler = xpconv.SGD([p], lr=0.5), xpconv.GradScaler(4.0)
    p.grad = xpconv.asarray([4.0], "float32")
    scaler.step(optimizer)
    with pytest.raises(RuntimeError, match=r"GradScaler\.step: called already .* update\(\)"):
        scaler.step(optimizer)
    scaler.update()
    p.grad = xpconv.asarray([2.0], "float32")
    scaler.step(optimizer)
    assert float(xpconv.asnumpy(p.data)[0]) == 0.25
