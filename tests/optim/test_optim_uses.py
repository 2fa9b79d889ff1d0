"""Uses of optimizers besides stepping: gradients, shared memory, added groups, floating-point errors."""

import copy
import re

import double
import numpy as np
import pytest
from training import OPTIMIZERS, Training

import xpconv
from xpconv import Parameter
from xpconv.errors import DTypeError

every_optimizer = pytest.mark.parametrize("name", OPTIMIZERS)


def parameter(value, dtype="float32", name=""):
    return Parameter(xpconv.asarray(np.array(value), dtype), name)


def array(value, dtype="float32"):
    return xpconv.asarray(np.array(value), dtype)


def host(x):
    return xpconv.asnumpy(x).tolist()


# --- gradients stay the user's -------------------------------------------------------------------------


@every_optimizer
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_gradient_that_was_kept_stays(name, dtype, backend):
    p = parameter([1.0, 2.0], dtype)
    optimizer = getattr(xpconv, name)([p], **OPTIMIZERS[name])
    grads = []
    for value in (1.0, 2.0, 3.0):
        optimizer.zero_grad()
        p.grad = array([value, -value], dtype)
        grads.append(p.grad)
        optimizer.step()
        assert p.grad is grads[-1]
    assert [host(g) for g in grads] == [[1.0, -1.0], [2.0, -2.0], [3.0, -3.0]]


def test_a_gradient_that_a_layer_made_and_the_user_kept_stays(backend):
    layer = xpconv.Dense(2, 1, bias=False, rng=0)
    optimizer = xpconv.SGD(layer.parameters(), lr=0.1)
    grads = []
    for value in (1.0, 2.0, 3.0):
        layer.zero_grad()
        layer.backward(xpconv.get_xp().ones_like(layer(array([[value, value]]))))
        grads.append(layer.weight.grad)
        optimizer.step()
    assert [host(g) for g in grads] == [[[1.0, 1.0]], [[2.0, 2.0]], [[3.0, 3.0]]]


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_scaled_step_leaves_kept_gradients_alone(dtype, backend):
    p = parameter([1.0, 2.0], dtype)
    optimizer, scaler = xpconv.SGD([p], lr=0.1), xpconv.GradScaler(4.0)
    given, unscaled = [], []
    for value in (1.0, 2.0, 3.0):
        p.grad = array([4 * value, -4 * value], dtype)
        given.append(p.grad)
        scaler.unscale_(optimizer)
        unscaled.append(p.grad)
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
    assert [host(g) for g in given] == [[4.0, -4.0], [8.0, -8.0], [12.0, -12.0]]
    assert [host(g) for g in unscaled] == [[1.0, -1.0], [2.0, -2.0], [3.0, -3.0]]


def test_unscaled_gradients_keep_what_float16_has_no_digits_for(backend):
    p = parameter([0.0], "float16")
    optimizer, scaler = xpconv.SGD([p], lr=2.0**20), xpconv.GradScaler(2.0**20)
    p.grad = array([2.0**-20], "float16")
    scaler.unscale_(optimizer)
    assert p.grad.dtype == "float32"
    scaler.step(optimizer)
    assert host(p.data) == [-(2.0**-20)]


def test_what_is_done_between_unscaling_and_the_step_takes_effect(backend):
    p, q, r = (parameter([1.0]) for _ in range(3))
    optimizer, scaler = xpconv.SGD([p, q, r], lr=1.0), xpconv.GradScaler(4.0)
    p.grad, q.grad, r.grad = array([4.0]), array([8.0]), array([4.0])
    scaler.unscale_(optimizer)
    p.grad *= 0.5
    kept = q.grad
    q.grad = array([0.25])
    r.grad = None
    scaler.step(optimizer)
    assert [host(x.data) for x in (p, q, r)] == [[0.5], [0.75], [1.0]]
    assert host(kept) == [2.0]


def test_a_read_only_gradient(backend):
    given = np.array([3.0, 4.0], "float32")
    given.flags.writeable = False
    p = parameter([1.0, 1.0])
    p.grad = given if backend == "numpy" else array(given)
    p.accumulate(array([0.0, 0.0]))
    xpconv.clip_grad_norm_([p], 1.0)
    np.testing.assert_allclose(xpconv.asnumpy(p.grad), [0.6, 0.8], rtol=1e-5)
    assert given.tolist() == [3.0, 4.0]


@pytest.mark.parametrize(
    ("grad", "error", "message"),
    [
        ([1.0, 1.0], TypeError, "list"),
        (np.ones(3, "float32"), ValueError, "shape"),
        (np.ones(2), TypeError, "float64"),
    ],
)
def test_gradients_that_do_not_fit_name_their_parameter(grad, error, message):
    """Also where they came past the door of `Parameter.grad`."""
    p, q = parameter([1.0, 1.0]), parameter([1.0, 1.0], name="bias")
    optimizer = xpconv.SGD([p, q], lr=1.0)
    p.grad = array([1.0, 1.0])
    object.__setattr__(q, "grad", grad)
    with pytest.raises((error, RuntimeError), match=rf"SGD.step: parameter 1 \('bias'\).grad.*{message}"):
        optimizer.step()
    assert host(p.data) == [1.0, 1.0]


def test_zero_grad_with_zeros(backend):
    p, q = parameter([1.0]), parameter([1.0])
    optimizer = xpconv.SGD([p, q], lr=1.0, momentum=0.5)
    p.grad = given = array([1.0])
    optimizer.step()
    optimizer.zero_grad(set_to_none=False)
    assert (p.grad is given, host(p.grad), q.grad) == (True, [0.0], None)
    optimizer.step()
    assert host(p.data) == [-0.5]
    optimizer.zero_grad(set_to_none=True)
    assert p.grad is None


# --- shared memory -------------------------------------------------------------------------------------


def shared(how):
    base = array(np.arange(24.0).reshape(6, 4))
    return {
        "transposed": (base, base.T),
        "itself": (base, base),
        "part": (base[2:4], base),
        "overlapping": (base[:4], base[3:]),
        "reversed": (base[::-1], base[:1]),
        "strided": (base[:, ::2], base[:, 1:3]),
    }[how]


@pytest.mark.parametrize("how", ["transposed", "itself", "part", "overlapping", "reversed", "strided"])
def test_parameters_that_share_memory_are_refused(how, backend):
    a, b = shared(how)
    first, second = Parameter(a, "weight"), Parameter(b, "kernel")
    between = parameter(np.ones(3))
    message = "SGD: parameter 0 ('weight') and parameter 2 ('kernel') share memory"
    with pytest.raises(ValueError, match=re.escape(message)):
        xpconv.SGD([first, between, second], lr=0.1)
    assert first.data is a
    assert second.data is b
    optimizer = xpconv.SGD([first, between], lr=0.1)
    with pytest.raises(ValueError, match=r"share memory|SGD"):
        optimizer.add_param_group({"params": [Parameter(first.data[:1], "part")]})


def test_a_tied_weight(backend):
    """One Parameter in two layers is updated once, by both gradients; two over one memory are refused."""
    one, two = xpconv.Dense(3, 3, bias=False, rng=0), xpconv.Dense(3, 3, bias=False, rng=1)
    model = xpconv.Sequential(one, two)
    two.weight.data = one.weight.data.T
    with pytest.raises(
        ValueError, match=r"parameter 0 \('weight'\) and parameter 1 \('weight'\) share memory"
    ):
        xpconv.Adam(model.parameters())
    two.weight = one.weight
    optimizer = xpconv.SGD(model.parameters(), lr=1.0)
    before, x = xpconv.asnumpy(one.weight.data).astype("float64"), np.ones((1, 3))
    model(array(x))
    model.backward(array(x), input_grad=False)
    optimizer.step()
    expected = before - x.T @ (x @ before.T) - (x @ before).T @ x
    np.testing.assert_allclose(xpconv.asnumpy(two.weight.data), expected, rtol=1e-5)


@pytest.mark.parametrize("how", ["columns", "rows", "empty"])
def test_neighbours_in_one_memory_are_not_shared(how, backend):
    base = array(np.arange(24.0).reshape(6, 4))
    a, b = {
        "columns": (base[:, ::2], base[:, 1::2]),
        "rows": (base[:3], base[3:]),
        "empty": (base[:0], base),
    }[how]
    first, second = Parameter(a), Parameter(b)
    values = [xpconv.asnumpy(x).copy() for x in (a, b)]
    optimizer = xpconv.SGD([first, second], lr=1.0)
    first.grad, second.grad = xpconv.get_xp().ones_like(first.data), xpconv.get_xp().ones_like(second.data)
    optimizer.step()
    for p, value in zip((first, second), values, strict=True):
        np.testing.assert_array_equal(xpconv.asnumpy(p.data), value - 1)
    xpconv.Adam([first, second])  # views of the first optimizer's buffer


def test_memory_that_is_shared_later_is_refused_at_the_step(backend):
    p, q = parameter([1.0, 2.0], name="p"), parameter([3.0, 4.0], name="q")
    optimizer = xpconv.SGD([p, q], lr=1.0)
    q.data = p.data[::-1]
    p.grad = array([1.0, 1.0])
    with pytest.raises(
        ValueError, match=r"SGD.step: parameter 0 \('p'\) and parameter 1 \('q'\) share memory"
    ):
        optimizer.step()
    assert host(p.data) == [1.0, 2.0]


# --- groups, frozen parameters -------------------------------------------------------------------------


@every_optimizer
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_an_added_group_trains_as_if_it_had_its_own_optimizer(name, dtype, backend):
    """The first keep their moments, step counts and master copies; the new begin."""
    kind, options = getattr(xpconv, name), OPTIMIZERS[name]
    rng = np.random.default_rng(0)
    values = [rng.normal(size=3).astype(dtype) for _ in range(3)]
    together, apart = ([parameter(v, dtype) for v in values] for _ in range(2))
    optimizer = kind(together[:2], **options)
    others = [kind(apart[:2], **options)]
    for step in range(6):
        if step == 3:
            optimizer.add_param_group({"params": together[2], "lr": 0.25})
            others.append(kind(apart[2:], **{**options, "lr": 0.25}))
        for p, q, size in zip(together, apart, (1.0, 0.1, 1.0), strict=True):
            g = (rng.normal(size=3) * size).astype(dtype)
            p.grad, q.grad = array(g, dtype), array(g, dtype)
        optimizer.step()
        for other in others:
            other.step()
    for p, q in zip(together, apart, strict=True):
        np.testing.assert_array_equal(xpconv.asnumpy(p.data), xpconv.asnumpy(q.data))
    assert [group["lr"] for group in optimizer.param_groups] == [options["lr"], 0.25]


def test_an_added_group_of_float16(backend):
    """Beside float32: it gets master copies, which go on in copies and states."""
    p = parameter([1.0, 2.0])
    optimizer = xpconv.Adam([p], lr=1e-4)
    optimizer.add_param_group({"params": [parameter([1.0, 2.0], "float16")]})

    def steps(one):
        for _ in range(5):
            a, b = (group["params"][0] for group in one.param_groups)
            a.grad, b.grad = array([1.0, -1.0]), array([0.5, 0.25], "float16")
            one.step()
        return [xpconv.asnumpy(x.data) for x in (a, b)]

    steps(optimizer)
    other = copy.deepcopy(optimizer)
    third = xpconv.Adam([{"params": [Parameter(g["params"][0].data.copy())]} for g in optimizer.param_groups])
    third.load_state_dict(optimizer.state_dict())
    for arrays in zip(steps(optimizer), steps(other), steps(third), strict=True):
        np.testing.assert_array_equal(arrays[0], arrays[1])
        np.testing.assert_array_equal(arrays[0], arrays[2])
    assert [str(g["params"][0].dtype) for g in optimizer.param_groups] == ["float32", "float16"]


def test_a_group_that_does_not_fit_changes_nothing(backend):
    p = parameter([1.0])
    optimizer = xpconv.SGD([p], lr=0.1, momentum=0.9)
    view = p.data
    for group, error, message in [
        ({"params": [p]}, ValueError, "SGD: params holds a parameter twice"),
        ({"params": [parameter([1.0], "float64")]}, DTypeError, "SGD: params are of float32 and float64"),
        ({"params": [parameter([1.0])], "lr": -1}, ValueError, "SGD: lr is -1"),
        ({"params": [parameter([1.0])], "rate": 1}, ValueError, r"SGD: a group has \['rate'\]"),
        ({"lr": 0.1}, ValueError, "SGD: a group has no 'params'"),
        ([parameter([1.0])], TypeError, r"SGD\.add_param_group: param_group is \[Parameter"),
        ({"params": {parameter([1.0])}}, TypeError, "expected a list of parameters"),
    ]:
        with pytest.raises(error, match=message):
            optimizer.add_param_group(group)
        assert len(optimizer.param_groups) == 1
        assert p.data is view
    p.grad = array([1.0])
    optimizer.step()
    np.testing.assert_allclose(xpconv.asnumpy(p.data), [0.9], rtol=1e-6)


def test_schedules_go_on_with_an_added_group(backend):
    p, q = parameter([1.0]), parameter([1.0])
    optimizer = xpconv.SGD([p], lr=1.0)
    schedule = xpconv.StepLR(optimizer, step_size=1, gamma=0.5)
    schedule.step()
    optimizer.add_param_group({"params": [q], "lr": 4.0})
    schedule.step()
    assert schedule.get_last_lr() == [0.25, 2.0]
    p.grad, q.grad = array([1.0]), array([1.0])
    optimizer.step()
    assert [host(x.data) for x in (p, q)] == [[0.75], [-1.0]]


@every_optimizer
def test_frozen_parameters_are_passed_over(name, backend):
    """Even with an old gradient; and so is what they have in moments and counts."""
    p, q, r = (parameter([1.0, 2.0]) for _ in range(3))
    optimizer, other = (
        getattr(xpconv, name)(
            x, **{**OPTIMIZERS[name], "weight_decay": 0.1} if name != "Adamax" else OPTIMIZERS[name]
        )
        for x in ([p, q], [r])
    )
    for step in range(4):
        q.requires_grad = step != 1
        before = host(q.data)
        p.grad, q.grad = array([1.0, 1.0]), array([3.0, -1.0])
        optimizer.step()
        if step == 1:
            assert host(q.data) == before
        else:
            r.grad = array([3.0, -1.0])
            other.step()
        np.testing.assert_array_equal(xpconv.asnumpy(q.data), xpconv.asnumpy(r.data))
    p.requires_grad = q.requires_grad = False
    with pytest.raises(RuntimeError, match=f"{name}.step: all parameters with a gradient are frozen"):
        optimizer.step()
    p.grad = q.grad = None
    with pytest.raises(RuntimeError, match=f"{name}.step: no parameter has a gradient"):
        optimizer.step()


# --- numbers -------------------------------------------------------------------------------------------

NUMBERS = [np.uint8(2), np.float32(2), np.int64(2), np.float64(2), np.array(2), 2]


@pytest.mark.sample(4)
@pytest.mark.parametrize("number", NUMBERS, ids=lambda n: type(n).__name__)
@every_optimizer
def test_settings_become_python_numbers(name, number, backend):
    """Given to the constructor, to a group, and changed later: the values are those of Python's 2.0."""
    kind = getattr(xpconv, name)
    results = []
    for value in (number, 2.0):
        p, q = parameter([1.0, -2.0]), parameter([1.0, -2.0])
        late, setter = parameter([1.0, -2.0]), parameter([1.0, -2.0])
        first = kind([{"params": [p]}, {"params": [q], "lr": value}], lr=value, weight_decay=value)
        second, third = kind([late]), kind([setter])
        second.param_groups[0]["lr"] = second.param_groups[0]["weight_decay"] = value
        third.lr = value
        if "betas" in second.param_groups[0]:
            second.param_groups[0]["betas"] = [type(value)(0) if isinstance(value, np.generic) else 0.0] * 2
        for x, optimizer in ((p, first), (late, second), (setter, third)):
            for _ in range(2):
                x.grad = q.grad = array([200.0, 3.0])
                optimizer.step()
        for optimizer in (first, second, third):
            for group in optimizer.param_groups:
                assert {type(v) for v in group.values()} <= {float, bool, tuple, list}
                assert {type(beta) for beta in group.get("betas", ())} <= {float}
        results.append([xpconv.asnumpy(x.data) for x in (p, q, late, setter)])
        assert {str(x.dtype) for x in (p, q, late, setter)} == {"float32"}
    np.testing.assert_array_equal(*results)


@every_optimizer
def test_settings_that_are_changed_to_nonsense_are_refused_at_the_step(name):
    p = parameter([1.0])
    optimizer = getattr(xpconv, name)([p])
    p.grad = array([1.0])
    for value, error in (
        ("fast", TypeError),
        (None, TypeError),
        (np.int64(-1), ValueError),
        (np.ones(2), TypeError),
    ):
        optimizer.param_groups[0]["lr"] = value
        with pytest.raises(error, match=f"{name}: lr is"):
            optimizer.step()
    assert host(p.data) == [1.0]


@pytest.mark.parametrize("flag", ["maximize", "amsgrad", "nesterov", "centered", "decoupled_weight_decay"])
def test_flags_are_flags(flag):
    kinds = [k for k in OPTIMIZERS if flag in getattr(xpconv, k)([parameter([1.0])]).defaults]
    for name in kinds:
        for value in (np.array([1, 2]), "yes", 2, None, int):
            with pytest.raises(TypeError, match=f"{name}: {flag} is .*, expected True or False"):
                getattr(xpconv, name)([parameter([1.0])], **{flag: value})
    assert kinds


def test_numbers_of_average_scaler_and_clipping(backend):
    results = []
    for half, four in ((0.5, 4), (np.float16(0.5), np.uint8(4))):
        layer = xpconv.Dense(1, 1, rng=0)
        ema = xpconv.ExponentialMovingAverage(layer, decay=half)
        ema.decay = half
        layer.weight.data += 300
        ema.update()
        scaler = xpconv.GradScaler(four, growth_factor=four, backoff_factor=half, growth_interval=four)
        assert {type(v) for v in scaler.state_dict().values()} == {float, int}
        layer.weight.grad = array([[300.0]])
        norm = xpconv.clip_grad_norm_(layer.weight, four, np.uint8(2))
        xpconv.clip_grad_value_(layer.weight, half)
        results.append(
            [float(x) for x in (ema.averages["weight"][0, 0], scaler.scale, norm, layer.weight.grad[0, 0])]
        )
        assert ema.averages["weight"].dtype == "float32"
    assert results[0] == results[1]


# --- small and odd values ------------------------------------------------------------------------------


@pytest.mark.sample(4)
@pytest.mark.parametrize("dtype", ["float32", "float16", "float64"])
@pytest.mark.parametrize("size", [0.0, 1e-25, 1e-30])
@every_optimizer
def test_small_gradients_under_seterr_raise(name, size, dtype):
    """How people hunt NaN. What underflows does no harm: the values are those without."""
    results = []
    for state in ("raise", "ignore"):
        model = xpconv.Sequential(xpconv.Dense(3, 2, rng=0), xpconv.Dense(2, 2, rng=1)).to(dtype=dtype)
        optimizer = getattr(xpconv, name)(model.parameters(), **OPTIMIZERS[name])
        ema, scaler = (
            xpconv.ExponentialMovingAverage(model, 0.9),
            xpconv.GradScaler(2.0**30, growth_interval=1),
        )
        with np.errstate(all=state):
            for step in range(4):
                for i, p in enumerate(model.parameters()):
                    p.grad = xpconv.get_xp().full(p.shape, size * (i + 1), dtype=dtype)
                if step > 1:
                    scaler.unscale_(optimizer)
                xpconv.clip_grad_norm_(model.parameters(), 1e-20)
                xpconv.clip_grad_value_(model.parameters(), 1e-25)
                if step > 1:
                    scaler.step(optimizer)
                    scaler.update()
                else:
                    optimizer.step()
                ema.update()
                with ema.average_parameters():
                    pass
            xpconv.Adam(model.parameters()).load_state_dict(xpconv.Adam(model.parameters()).state_dict())
        results.append([xpconv.asnumpy(p.data).copy() for p in model.parameters()])
    for a, b in zip(*results, strict=True):
        np.testing.assert_array_equal(a, b)
        assert np.isfinite(a).all()


@pytest.mark.parametrize("eps", [0.0, 1e-8])
@pytest.mark.parametrize("name", ["LARS", "LAMB"])
def test_norms_of_zero_divide_nothing(name, eps):
    p, q = parameter([0.0, 0.0]), parameter([1e10, 1.0])
    optimizer = getattr(xpconv, name)([p, q], eps=eps, lr=0.1)
    with np.errstate(all="raise"):
        p.grad, q.grad = array([1.0, 1.0]), array([1.0, 0.5])
        optimizer.step()
    assert np.isfinite(p.data).all()
    assert np.isfinite(q.data).all()


@pytest.mark.sample(3)
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_centered_rmsprop_takes_no_root_of_a_negative(dtype, momentum, backend):
    """Constant gradients, whose variance is 0: rounding made it negative, and NaN of all."""
    p = parameter(np.zeros(9), dtype)
    optimizer = xpconv.RMSprop([p], lr=1e-9, centered=True, momentum=momentum, eps=0.0)
    g = array(np.outer([1.0, 0.1, -3e-3], [1.0, 1.3, 0.7]).ravel(), dtype)
    for _ in range(600 if backend == "double" else 2500):
        p.grad = g
        optimizer.step()
    assert np.isfinite(xpconv.asnumpy(optimizer._data)).all()
    eps = np.finfo("float64" if dtype == "float64" else "float32").eps
    limit = 2500 * 1e-9 / np.sqrt(eps) * (10 if momentum else 1)
    assert (np.abs(xpconv.asnumpy(optimizer._data)) <= limit * 1.1).all()


# --- the averages --------------------------------------------------------------------------------------


def test_averages_of_float16_do_not_stall(backend):
    layer = xpconv.Dense(1, 1, rng=0).to(dtype="float16")
    ema = xpconv.ExponentialMovingAverage(layer, decay=0.999)
    start = float(layer.weight.data[0, 0])
    layer.weight.data += 1.0
    for _ in range(1000):
        ema.update()
    found = float(ema.averages["weight"][0, 0])
    assert found == pytest.approx(start + (1 - 0.999**1000), rel=1e-3)
    with ema.average_parameters():
        assert layer.weight.dtype == "float16"


def test_averages_of_a_model_that_has_changed_since(backend):
    other = "double" if backend == "numpy" else "numpy"
    for change in (
        lambda m: m.to(other),
        lambda m: setattr(m, "weight", parameter(np.ones((2, 5)))),
        lambda m: setattr(m, "more", parameter([1.0])),
    ):
        layer = xpconv.Dense(3, 2, rng=0)
        ema = xpconv.ExponentialMovingAverage(layer)
        change(layer)
        with pytest.raises(
            RuntimeError, match=r"ExponentialMovingAverage.update: parameter (weight|more) has changed"
        ):
            ema.update()
        with (
            pytest.raises(RuntimeError, match=r"ExponentialMovingAverage.average_parameters: "),
            ema.average_parameters(),
        ):
            pass


def test_an_average_needs_a_model():
    with pytest.raises(TypeError, match="ExponentialMovingAverage: model is 3, expected a Layer"):
        xpconv.ExponentialMovingAverage(3)


# --- what they look like -------------------------------------------------------------------------------


def test_repr(backend):
    p, q = parameter([1.0]), parameter([1.0])
    assert (
        repr(xpconv.Adadelta([p])) == "Adadelta(lr=1.0, rho=0.9, eps=1e-06, weight_decay=0.0, maximize=False)"
    )
    optimizer = xpconv.SGD([{"params": [p]}, {"params": [q], "lr": 0.5}], lr=0.1)
    xpconv.StepLR(optimizer, 2)
    rest = "momentum=0.0, dampening=0.0, weight_decay=0.0, nesterov=False, maximize=False, 1 parameters"
    assert repr(optimizer) == f"SGD(\n  (0): lr=0.1, {rest}\n  (1): lr=0.5, {rest}\n)"
    assert repr(xpconv.GradScaler(2.0)).startswith("GradScaler(scale=2.0, growth_factor=2.0, ")
    model = xpconv.Sequential(xpconv.Dense(1, 1))
    assert (
        repr(xpconv.ExponentialMovingAverage(model, 0.5)) == "ExponentialMovingAverage(Sequential, decay=0.5)"
    )


def test_nobody_waits_for_the_device_in_a_step():
    with xpconv.use_backend("double"):
        training = Training("NAdam")
        training.backward()
        training.update()
        with double.count_syncs() as counter:
            training.backward()
            training.update()
        assert counter.n == 0


@pytest.mark.parametrize("value", [np.ones(2, "int64"), np.ones(2, bool)])
def test_parameters_that_do_not_float(value):
    p = parameter([1.0, 1.0], name="mask")
    object.__setattr__(p, "data", value)
    with pytest.raises(DTypeError, match=r"SGD: parameter 0 \('mask'\) is .*, expected a floating dtype"):
        xpconv.SGD([p])


def test_nadams_products_are_each_parameters_own(backend):
    """As many steps, but with other betas, as `OneCycleLR` sets them."""
    torch = pytest.importorskip("torch")
    ours = [xpconv.Parameter(xpconv.asarray(np.ones(2))) for _ in range(2)]
    theirs = [torch.nn.Parameter(torch.ones(2, dtype=torch.float64)) for _ in range(2)]
    optimizers = xpconv.NAdam(ours, lr=0.1), torch.optim.NAdam(theirs, lr=0.1)
    for beta, grads in ((0.9, (1.0, None)), (0.5, (None, 1.0)), (0.7, (2.0, 3.0)), (0.7, (1.0, 1.0))):
        for a, b, grad in zip(ours, theirs, grads, strict=True):
            a.grad = None if grad is None else xpconv.asarray(np.full(2, grad))
            b.grad = None if grad is None else torch.full((2,), grad, dtype=torch.float64)
        for optimizer in optimizers:
            optimizer.param_groups[0]["betas"] = (beta, 0.99)
            optimizer.step()
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(
            xpconv.asnumpy(a.data), b.detach().numpy(), rtol=1e-7
        )  # PyTorch has float32 products


@pytest.mark.parametrize(
    ("setting", "value"),
    [("betas", ()), ("betas", (0.9,)), ("amsgrad", np.array([1, 2])), ("maximize", "yes"), ("eps", None)],
)
def test_settings_that_were_changed_are_checked_at_the_step(setting, value, backend):
    p = xpconv.Parameter(xpconv.asarray(np.ones(2)))
    optimizer = xpconv.Adam([p])
    p.grad = xpconv.asarray(np.ones(2))
    optimizer.param_groups[0][setting] = value
    with pytest.raises((TypeError, ValueError), match=f"^Adam: {setting} is"):
        optimizer.step()
    assert (xpconv.asnumpy(p.data) == 1).all()


def test_a_step_may_be_skipped_by_a_plain_flag(backend):
    p = xpconv.Parameter(xpconv.asarray(np.ones(2)))
    optimizer = xpconv.SGD([p], lr=1.0)
    p.grad = xpconv.asarray(np.ones(2))
    for flag, value in ((True, 1), (np.True_, 1), (xpconv.asarray(np.array(True)), 1), (False, 0)):
        optimizer.step(flag)
        assert xpconv.asnumpy(p.data).tolist() == [value] * 2


@pytest.mark.parametrize("setting", ["growth_factor", "backoff_factor", "growth_interval"])
@pytest.mark.parametrize("value", [0, 10**400, "2", np.array([1, 2])], ids=["0", "large", "str", "array"])
def test_settings_of_the_scaler_that_were_changed(setting, value, backend):
    scaler = xpconv.GradScaler()
    setattr(scaler, setting, value)
    with pytest.raises((TypeError, ValueError), match=r"^GradScaler\.update: "):
        scaler.update()
