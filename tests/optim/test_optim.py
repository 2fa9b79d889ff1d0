"""Optimizers against PyTorch's formulas, written out plainly, on all backends; and against PyTorch itself."""

import math
import re
from itertools import pairwise

import double
import numpy as np
import pytest
from effort import examples
from hypothesis import given, settings
from hypothesis import strategies as st

import xpconv
from xpconv import SGD, Adam, AdamW, Parameter
from xpconv.errors import BackendError, DTypeError

TOLERANCE = {"float64": 1e-10, "float32": 1e-6}
SHAPES = [(3, 2), (4,), (), (2, 1, 3), (5,)]

SETTINGS = {
    "SGD": (SGD, dict(lr=0.1)),
    "SGD momentum": (SGD, dict(lr=0.05, momentum=0.9)),
    "SGD dampening": (SGD, dict(lr=0.05, momentum=0.9, dampening=0.3)),
    "SGD nesterov": (SGD, dict(lr=0.05, momentum=0.8, nesterov=True)),
    "SGD decay": (SGD, dict(lr=0.1, weight_decay=0.2)),
    "SGD all": (SGD, dict(lr=0.05, momentum=0.9, dampening=0.1, weight_decay=0.1)),
    "SGD nesterov and decay": (SGD, dict(lr=0.05, momentum=0.9, nesterov=True, weight_decay=0.1)),
    "SGD dampening alone": (SGD, dict(lr=0.1, dampening=0.5)),
    "Adam": (Adam, dict(lr=0.02)),
    "Adam betas": (Adam, dict(lr=0.02, betas=(0.5, 0.8), eps=1e-3)),
    "Adam no betas": (Adam, dict(lr=0.02, betas=(0.0, 0.0), eps=1e-2)),
    "Adam decay": (Adam, dict(lr=0.02, weight_decay=0.3)),
    "Adam amsgrad": (Adam, dict(lr=0.02, betas=(0.9, 0.6), amsgrad=True)),
    "AdamW": (AdamW, dict(lr=0.02)),
    "AdamW decay": (AdamW, dict(lr=0.02, weight_decay=0.5)),
    "AdamW amsgrad": (AdamW, dict(lr=0.02, betas=(0.8, 0.6), weight_decay=0.1, amsgrad=True)),
    "AdamW no decay": (AdamW, dict(lr=0.02, weight_decay=0.0)),
}
every_setting = pytest.mark.parametrize(("kind", "options"), SETTINGS.values(), ids=SETTINGS.keys())


class Naive:
    """PyTorch's documented algorithms for one parameter, a host array in float64; `step` may skip it."""

    def __init__(self, kind, data, options):
        defaults = {
            SGD: dict(lr=1e-3, momentum=0.0, dampening=0.0, weight_decay=0.0, nesterov=False),
            Adam: dict(lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, amsgrad=False),
            AdamW: dict(lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01, amsgrad=False),
        }
        self.kind, self.data, self.o = kind, np.array(data, "float64"), {**defaults[kind], **options}
        self.t, self.buffer, self.m, self.v, self.v_max = 0, None, 0.0, 0.0, 0.0

    def step(self, g):
        if g is None:
            return
        self.t += 1
        g = np.array(g, "float64")
        (self.sgd if self.kind is SGD else self.adam)(g, **self.o)

    def sgd(self, g, lr, momentum, dampening, weight_decay, nesterov):
        g = g + weight_decay * self.data
        if momentum:
            self.buffer = g if self.buffer is None else momentum * self.buffer + (1 - dampening) * g
            g = g + momentum * self.buffer if nesterov else self.buffer
        self.data = self.data - lr * g

    def adam(self, g, lr, betas, eps, weight_decay, amsgrad):
        if self.kind is AdamW:
            self.data = self.data - lr * weight_decay * self.data
        else:
            g = g + weight_decay * self.data
        self.m = betas[0] * self.m + (1 - betas[0]) * g
        self.v = betas[1] * self.v + (1 - betas[1]) * g**2
        self.v_max = np.maximum(self.v_max, self.v)
        m_hat = self.m / (1 - betas[0] ** self.t)
        v_hat = (self.v_max if amsgrad else self.v) / (1 - betas[1] ** self.t)
        self.data = self.data - lr * m_hat / (np.sqrt(v_hat) + eps)


def start(dtype="float64", shapes=SHAPES, seed=0):
    """Parameters on the active backend, and their values on the host."""
    rng = np.random.default_rng(seed)
    values = [np.asarray(rng.normal(size=shape)).astype(dtype) for shape in shapes]
    return [Parameter(xpconv.asarray(v.copy())) for v in values], values


def gradients(step, dtype="float64", shapes=SHAPES, missing=()):
    """Of one step: large and small, of both signs, some exactly 0; None for those `missing`."""
    rng = np.random.default_rng([step, 7])
    result = []
    for i, shape in enumerate(shapes):
        g = rng.normal(size=shape) * 10.0 ** rng.integers(-2, 2, size=shape)
        g = np.where(rng.random(shape) < 0.1, 0.0, g)
        result.append(None if i in missing else np.asarray(g).astype(dtype))
    return result


def give(parameters, grads):
    for parameter, g in zip(parameters, grads, strict=True):
        parameter.grad = None if g is None else xpconv.asarray(g.copy())


def compare(parameters, naives, what="", tolerance=1e-12):
    for i, (parameter, naive) in enumerate(zip(parameters, naives, strict=True)):
        got = xpconv.asnumpy(parameter.data)
        assert got.shape == np.shape(naive.data), f"{what} parameter {i}"
        scale = max(1.0, float(np.abs(naive.data).max(initial=0.0)))
        np.testing.assert_allclose(
            got, naive.data, rtol=0, atol=tolerance * scale, err_msg=f"{what} parameter {i}"
        )


# --- against the plain formulas ----------------------------------------------------------------------


@pytest.mark.sample(4)
@every_setting
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_steps(kind, options, dtype, backend):
    """Values after each of 12 steps; dtype, gradients and the arrays that were handed in stay as they are."""
    parameters, values = start(dtype)
    naives = [Naive(kind, v, options) for v in values]
    optimizer = kind(parameters, **options)
    for step in range(12):
        optimizer.zero_grad()
        assert all(p.grad is None for p in parameters)
        grads = gradients(step, dtype)
        handed = [xpconv.asarray(g.copy()) for g in grads]
        for parameter, array in zip(parameters, handed, strict=True):
            parameter.grad = array
        optimizer.step()
        for naive, g in zip(naives, grads, strict=True):
            naive.step(g)
        compare(parameters, naives, f"step {step}:", 1e-12 if dtype == "float64" else 2e-6)
        for parameter, array, g in zip(parameters, handed, grads, strict=True):
            assert (str(parameter.dtype), str(parameter.grad.dtype)) == (dtype, dtype)
            np.testing.assert_array_equal(xpconv.asnumpy(array), g)
            np.testing.assert_array_equal(xpconv.asnumpy(parameter.grad), g)


@every_setting
def test_a_step_asks_the_device_for_nothing(kind, options, backend):
    parameters, _ = start()
    optimizer = kind(parameters, **options)
    for step in range(3):
        optimizer.zero_grad()
        give(parameters, gradients(step, missing=[1] if step == 1 else []))
        with double.count_syncs() as counter:
            optimizer.step()
        assert counter.n == 0


MISSING = [[], [1, 3], [0], [], [4], [0, 1, 2, 3], [2, 3], [], [1], []]


@every_setting
def test_parameters_without_gradient_are_skipped(kind, options, backend):
    """No update, no decay, no momentum, and bias corrections by their own number of steps: as in PyTorch."""
    parameters, values = start()
    naives = [Naive(kind, v, options) for v in values]
    optimizer = kind(parameters, **options)
    for step, missing in enumerate(MISSING):
        optimizer.zero_grad()
        before = [xpconv.asnumpy(p.data).copy() for p in parameters]
        grads = gradients(step, missing=missing)
        give(parameters, grads)
        optimizer.step()
        for naive, g in zip(naives, grads, strict=True):
            naive.step(g)
        compare(parameters, naives, f"step {step}:")
        for i in missing:
            np.testing.assert_array_equal(xpconv.asnumpy(parameters[i].data), before[i])
            assert parameters[i].grad is None


def test_a_stale_gradient_does_not_come_back(backend):
    """A gradient of an earlier step, in the optimizer's memory, is not one of this step."""
    (a, b), (va, vb) = start(shapes=[(2,), (2,)])
    optimizer = SGD([a, b], lr=1.0)
    give([a, b], [np.ones(2), np.ones(2)])
    optimizer.step()
    optimizer.zero_grad()
    give([a, b], [np.ones(2), None])
    optimizer.step()
    np.testing.assert_allclose(xpconv.asnumpy(a.data), va - 2)
    np.testing.assert_allclose(xpconv.asnumpy(b.data), vb - 1)


GROUPS = [
    (SGD, dict(lr=0.1, momentum=0.5), [{}, dict(lr=0.01), dict(momentum=0.0, weight_decay=0.1)]),
    (SGD, dict(momentum=0.9), [dict(nesterov=True, lr=0.1), dict(dampening=0.5), dict(lr=0.0)]),
    (
        Adam,
        dict(lr=0.01),
        [{}, dict(lr=0.1, betas=(0.5, 0.9)), dict(weight_decay=0.1, eps=0.1, amsgrad=True)],
    ),
    (AdamW, dict(lr=0.01), [dict(weight_decay=0.0), dict(lr=0.1), dict(amsgrad=True)]),
]


@pytest.mark.parametrize(("kind", "common", "groups"), GROUPS)
def test_groups_have_their_own_settings(kind, common, groups, backend):
    parameters, values = start()
    members = [[0, 2], [3], [1, 4]]  # not in the order of the list
    given_groups = [{"params": [parameters[i] for i in m], **g} for m, g in zip(members, groups, strict=True)]
    optimizer = kind(given_groups, **common)
    naives = {
        i: Naive(kind, values[i], {**common, **g}) for m, g in zip(members, groups, strict=True) for i in m
    }
    for step in range(6):
        give(parameters, grads := gradients(step, missing=[2] if step == 3 else []))
        optimizer.step()
        for i, naive in naives.items():
            naive.step(grads[i])
        compare(parameters, [naives[i] for i in range(5)], f"step {step}:")
    for ours, m, own in zip(optimizer.param_groups, members, groups, strict=True):
        assert ours["params"] == [parameters[i] for i in m]
        assert {**common, **own}.items() <= ours.items()


@pytest.mark.parametrize(
    ("kind", "options"), [SETTINGS[k] for k in ("SGD momentum", "Adam decay", "AdamW decay")]
)
def test_settings_change_between_steps(kind, options, backend):
    """A schedule: `param_groups[0]["lr"] = …` takes effect at the next step, as does any other setting."""
    parameters, values = start()
    naives = [Naive(kind, v, options) for v in values]
    optimizer = kind(parameters, **options)
    for step in range(8):
        change = {"lr": 0.1 / (1 + step)}
        if step == 4:
            change |= {"weight_decay": 0.3}
        optimizer.param_groups[0].update(change)
        give(parameters, grads := gradients(step))
        optimizer.step()
        for naive, g in zip(naives, grads, strict=True):
            naive.o.update(change)
            naive.step(g)
        compare(parameters, naives, f"step {step}:")


def test_momentum_that_starts_late_starts_with_the_gradient(backend):
    """As in PyTorch: a buffer's first value is the gradient, without dampening, whenever that is."""
    parameters, values = start()
    options = dict(lr=0.1, momentum=0.0, dampening=0.5)
    naives = [Naive(SGD, v, options) for v in values]
    optimizer = SGD(parameters, **options)
    for step in range(5):
        if step == 2:
            optimizer.param_groups[0]["momentum"] = 0.9
            for naive in naives:
                naive.o["momentum"] = 0.9
        give(parameters, grads := gradients(step))
        optimizer.step()
        for naive, g in zip(naives, grads, strict=True):
            naive.step(g)
        compare(parameters, naives, f"step {step}:")


@settings(max_examples=examples(60))
@given(data=st.data(), name=st.sampled_from(list(SETTINGS)), backend=st.sampled_from(["numpy", "double"]))
def test_steps_drawn(data, name, backend):
    """Any shapes, groups, absences and changes of lr."""
    draw = data.draw
    kind, options = SETTINGS[name]
    shapes = draw(st.lists(st.lists(st.integers(0, 4), max_size=3).map(tuple), min_size=1, max_size=6))
    cuts = sorted(draw(st.sets(st.integers(1, max(1, len(shapes) - 1)), max_size=2)) | {0, len(shapes)})
    with xpconv.use_backend(backend):
        parameters, values = start(shapes=shapes)
        groups, naives = [], []
        for a, b in pairwise(cuts):
            own = {"lr": draw(st.sampled_from([0.01, 0.1]))}
            groups.append({"params": parameters[a:b], **own})
            naives += [Naive(kind, v, {**options, **own}) for v in values[a:b]]
        optimizer = kind(groups, **options)
        for step in range(5):
            missing = draw(st.sets(st.integers(0, len(shapes) - 1), max_size=len(shapes) - 1))
            give(parameters, grads := gradients(step, shapes=shapes, missing=missing))
            optimizer.step()
            for naive, g in zip(naives, grads, strict=True):
                naive.step(g)
            compare(parameters, naives, f"step {step}:")


# --- what users do between steps ---------------------------------------------------------------------


@every_setting
def test_data_and_gradients_may_be_replaced(kind, options, backend):
    """By new arrays, by views of other memory, and in place."""
    parameters, values = start()
    naives = [Naive(kind, v, options) for v in values]
    optimizer = kind(parameters, **options)
    for step in range(6):
        grads = gradients(step)
        give(parameters, grads)
        if step == 2:  # new arrays
            for parameter, naive in zip(parameters, naives, strict=True):
                naive.data = naive.data * 0.5 + 1
                parameter.data = xpconv.asarray(naive.data.copy())
        if step == 3:  # not contiguous
            naives[0].data = naives[0].data[::-1].copy()
            parameters[0].data = parameters[0].data[::-1].copy()[::-1].copy()[::-1]
            grads[0] = grads[0] * 2
            parameters[0].grad = xpconv.asarray(np.repeat(grads[0], 2, axis=0))[::2]
        if step == 4:  # in place, through the parameter
            parameters[1].data[...] = 3.0
            parameters[1].grad *= 2
            naives[1].data, grads[1] = np.full(4, 3.0), 2 * grads[1]
        optimizer.step()
        for naive, g in zip(naives, grads, strict=True):
            naive.step(g)
        compare(parameters, naives, f"step {step}:")


@pytest.mark.parametrize("attribute", ["data", "grad"])
def test_two_parameters_may_swap_arrays(attribute, backend):
    (a, b), (va, vb) = start(shapes=[(3,), (3,)])
    optimizer = SGD([a, b], lr=1.0)
    give([a, b], [np.full(3, 0.25), np.full(3, 4.0)])
    if attribute == "grad":  # so that the gradients lie in the optimizer's memory
        optimizer.step()
        va, vb = va - 0.25, vb - 4
        a.grad, b.grad = b.grad, a.grad
        expected = va - 4, vb - 0.25
    else:
        a.data, b.data = b.data, a.data
        expected = vb - 0.25, va - 4
    optimizer.step()
    np.testing.assert_allclose(xpconv.asnumpy(a.data), expected[0])
    np.testing.assert_allclose(xpconv.asnumpy(b.data), expected[1])


@pytest.mark.parametrize("attribute", ["data", "grad"])
@pytest.mark.parametrize("shape", [(), (1,), (1, 3), (2, 3), (4,)], ids=str)
def test_an_array_of_another_shape_is_refused(attribute, shape, backend):
    """PyTorch refuses such a gradient; to broadcast it would be a wrong step without a word."""
    (p,), (value,) = start(shapes=[(3,)])
    optimizer = SGD([p], lr=1.0)
    give([p], [np.ones(3)])
    with pytest.raises(ValueError, match="shape"):
        setattr(p, attribute, xpconv.asarray(np.ones(shape)))
    np.testing.assert_array_equal(xpconv.asnumpy(p.data), value)
    optimizer.step()
    np.testing.assert_array_equal(xpconv.asnumpy(p.data), value - 1)


def test_gradients_accumulate_over_backwards(backend):
    """A step leaves the gradient; without `zero_grad` the next backward adds to it."""
    layer = xpconv.Dense(3, 2, bias=False, dtype="float64", rng=0)
    optimizer = SGD(layer.parameters(), lr=0.1)
    x, g = np.random.default_rng(0).normal(size=(4, 3)), np.random.default_rng(1).normal(size=(4, 2))
    expected, total = xpconv.asnumpy(layer.weight.data).copy(), np.zeros((2, 3))
    for step in range(4):
        if step == 2:
            optimizer.zero_grad()
            total[...] = 0
        layer(xpconv.asarray(x))
        layer.backward(xpconv.asarray(g))
        total += g.T @ x
        optimizer.step()
        expected = expected - 0.1 * total
        np.testing.assert_allclose(xpconv.asnumpy(layer.weight.grad), total, rtol=1e-12)
        np.testing.assert_allclose(xpconv.asnumpy(layer.weight.data), expected, rtol=1e-12)


def test_two_optimizers_may_share_parameters(backend):
    """Each keeps its own moments; both see what the other did."""
    parameters, values = start()
    first, second = SGD(parameters, lr=0.1, momentum=0.9), Adam(parameters[::-1], lr=0.02)
    naives = [(Naive(SGD, v, dict(lr=0.1, momentum=0.9)), Naive(Adam, v, dict(lr=0.02))) for v in values]
    for step in range(9):
        which = [0, 1, 1, 0, 0, 1, 0, 1, 1][step]
        give(parameters, grads := gradients(step))
        (first, second)[which].step()
        for pair, g in zip(naives, grads, strict=True):
            pair[which].step(g)
            pair[1 - which].data = pair[which].data
        compare(parameters, [pair[0] for pair in naives], f"step {step}:")


def test_two_optimizers_may_have_a_part_each(backend):
    model = xpconv.Sequential(
        xpconv.Dense(3, 4, dtype="float64", rng=0), xpconv.Dense(4, 2, dtype="float64", rng=1)
    )
    first, second = SGD(model[0].parameters(), lr=0.1), SGD(model[1].parameters(), lr=0.01)
    before = [xpconv.asnumpy(p.data).copy() for p in model.parameters()]
    x = xpconv.asarray(np.random.default_rng(0).normal(size=(5, 3)))
    model.backward(xpconv.get_xp(x).ones_like(model(x)))
    grads = [xpconv.asnumpy(p.grad).copy() for p in model.parameters()]
    first.step()
    second.step()
    for parameter, value, g, lr in zip(
        model.parameters(), before, grads, [0.1, 0.1, 0.01, 0.01], strict=True
    ):
        np.testing.assert_allclose(xpconv.asnumpy(parameter.data), value - lr * g, rtol=1e-12)


def test_the_model_keeps_working(backend):
    """State dicts are copies, loading goes through, and the layer computes with the new weights at once."""
    layer = xpconv.Dense(3, 2, dtype="float64", rng=0)
    state = layer.state_dict()
    optimizer = Adam(layer.parameters(), lr=0.1)
    x = np.random.default_rng(0).normal(size=(4, 3))

    def step():
        y = layer(xpconv.asarray(x))
        optimizer.zero_grad()
        layer.backward(xpconv.get_xp(y).ones_like(y))
        optimizer.step()
        return xpconv.asnumpy(y)

    initial = step()
    moved = layer.state_dict()
    weight, bias = xpconv.asnumpy(layer.weight.data).copy(), xpconv.asnumpy(layer.bias.data).copy()
    np.testing.assert_allclose(step(), x @ weight.T + bias, rtol=1e-12)
    layer.load_state_dict(state)
    np.testing.assert_array_equal(xpconv.asnumpy(layer(xpconv.asarray(x))), initial)
    step()
    for name, array in layer.state_dict().items():
        assert (xpconv.asnumpy(array) != xpconv.asnumpy(state[name])).any()
        assert (xpconv.asnumpy(array) != xpconv.asnumpy(moved[name])).any()


def test_making_an_optimizer_changes_no_value(backend):
    model = xpconv.Sequential(xpconv.Conv2d(1, 2, 3, rng=0), xpconv.Flatten(), xpconv.Dense(8, 3, rng=1))
    before = model.state_dict()
    x = xpconv.asarray(np.random.default_rng(0).normal(size=(2, 1, 4, 4)).astype("float32"))
    y = xpconv.asnumpy(model(x))
    model.backward(xpconv.get_xp(x).ones_like(model(x)))
    grads = [xpconv.asnumpy(p.grad).copy() for p in model.parameters()]
    Adam(model.parameters())
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(xpconv.asnumpy(array), xpconv.asnumpy(before[name]))
    for parameter, g in zip(model.parameters(), grads, strict=True):
        np.testing.assert_array_equal(xpconv.asnumpy(parameter.grad), g)
    np.testing.assert_array_equal(xpconv.asnumpy(model(x)), y)


@pytest.mark.sample(20)
@pytest.mark.parametrize(
    ("kind", "options"), [(SGD, dict(lr=0.05, momentum=0.9)), (Adam, dict(lr=0.1)), (AdamW, dict(lr=0.1))]
)
def test_a_minimum_is_found(kind, options, backend):
    """Least squares, to its solution by normal equations."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 3)), rng.normal(size=(40, 1))
    layer, criterion = xpconv.Dense(3, 1, bias=False, dtype="float64", rng=0), xpconv.MSELoss()
    optimizer = kind(layer.parameters(), **options, weight_decay=0.0)
    for step in range(400):
        optimizer.param_groups[0]["lr"] = options["lr"] * 0.98**step
        criterion(layer(xpconv.asarray(x)), xpconv.asarray(y))
        optimizer.zero_grad()
        layer.backward(criterion.backward(), input_grad=False)
        optimizer.step()
    np.testing.assert_allclose(xpconv.asnumpy(layer.weight.data), np.linalg.lstsq(x, y)[0].T, atol=1e-3)


# --- what is refused ---------------------------------------------------------------------------------


def one():
    return Parameter(xpconv.asarray(np.zeros(2)))


def twice():
    p = one()
    return [p, p]


def of_two_groups():
    p = one()
    return [{"params": [p]}, {"params": [p, one()]}]


REFUSED = [
    ("nothing", lambda o: o([]), ValueError, "params is empty"),
    ("a spent generator", lambda o: o(p for p in ()), ValueError, "params is empty"),
    ("empty group", lambda o: o([{"params": []}]), ValueError, "params is empty"),
    ("twice", lambda o: o(twice()), ValueError, "params holds a parameter twice"),
    ("in two groups", lambda o: o(of_two_groups()), ValueError, "params holds a parameter twice"),
    ("an array", lambda o: o([np.zeros(2)]), TypeError, "give model.parameters()"),
    ("a layer", lambda o: o([xpconv.Dense(2, 2)]), TypeError, "give model.parameters()"),
    ("an array in a group", lambda o: o([{"params": [np.zeros(2)]}]), TypeError, "give model.parameters()"),
    (
        "groups and parameters",
        lambda o: o([{"params": [one()]}, one()]),
        TypeError,
        "params mixes groups and",
    ),
    ("parameters and groups", lambda o: o([one(), {"params": [one()]}]), TypeError, "params"),
    ("unknown key", lambda o: o([{"params": [one()], "learning_rate": 1}]), ValueError, "learning_rate"),
    ("no params", lambda o: o([{"lr": 0.1}]), (ValueError, TypeError), "params"),
    ("lr", lambda o: o([one()], lr=-0.1), ValueError, "lr is -0.1, expected at least 0"),
    ("lr nan", lambda o: o([one()], lr=math.nan), ValueError, "lr is nan"),
    ("lr in a group", lambda o: o([{"params": [one()], "lr": -1}]), ValueError, "lr is -1"),
    ("decay", lambda o: o([one()], weight_decay=-1), ValueError, "weight_decay is -1, expected at least 0"),
]


@pytest.mark.parametrize(("call", "error", "message"), [r[1:] for r in REFUSED], ids=[r[0] for r in REFUSED])
@pytest.mark.parametrize("kind", [SGD, Adam, AdamW])
def test_refused(kind, call, error, message, backend):
    with pytest.raises(error, match=f"^{kind.__name__}: .*{re.escape(message)}"):
        call(kind)


REFUSED_SETTINGS = [
    (SGD, dict(momentum=-0.5), "momentum is -0.5"),
    (SGD, dict(nesterov=True), "nesterov=True needs momentum above 0 and dampening 0"),
    (
        SGD,
        dict(nesterov=True, momentum=0.9, dampening=0.1),
        "nesterov=True needs momentum above 0 and dampening 0",
    ),
    (Adam, dict(betas=(1.0, 0.9)), "betas is"),
    (Adam, dict(betas=(0.9, -0.1)), "betas is"),
    (Adam, dict(betas=(0.9, math.nan)), "betas is"),
    (Adam, dict(betas=(0.9,)), "betas is"),
    (Adam, dict(eps=-1e-8), "eps is -1e-08"),
    (AdamW, dict(betas=(0.9, 1.0)), "betas is"),
    (AdamW, dict(eps=-1.0), "eps is -1.0"),
]


@pytest.mark.parametrize(("kind", "options", "message"), REFUSED_SETTINGS)
def test_refused_settings(kind, options, message):
    for params in ([one()], [{"params": [one()]}]):
        with pytest.raises(ValueError, match=f"^{kind.__name__}: {message}"):
            kind(params, **options)
    with pytest.raises(ValueError, match=f"^{kind.__name__}: {message}"):
        kind([{"params": [one()], **options}])


@pytest.mark.parametrize("kind", [SGD, Adam, AdamW])
def test_a_parameter_alone_is_no_list(kind):
    with pytest.raises(TypeError):
        kind(one())


def test_mixed_parameters(backend):
    other = "double" if backend == "numpy" else "numpy"
    there = Parameter(xpconv.asarray(np.zeros(2), backend=other))
    with pytest.raises(BackendError, match=f"SGD: params: arrays of different backends: {backend}, {other}"):
        SGD([one(), there])
    with pytest.raises(DTypeError, match=r"SGD: params are of float32 and float64; call model\.to"):
        SGD([one(), Parameter(xpconv.asarray(np.zeros(2, "float32")))])


@pytest.mark.parametrize("kind", [SGD, Adam, AdamW])
def test_a_step_without_any_gradient(kind, backend):
    parameters, values = start()
    optimizer = kind(parameters)
    with pytest.raises(
        RuntimeError, match=rf"{kind.__name__}.step: no parameter has a gradient; call model.backward"
    ):
        optimizer.step()
    give(parameters, gradients(0))
    optimizer.zero_grad()
    with pytest.raises(RuntimeError, match="no parameter has a gradient"):
        optimizer.step()
    compare(parameters, [Naive(kind, v, {}) for v in values])
    naives = [Naive(kind, v, {}) for v in values]  # and no step was counted
    give(parameters, gradients(0))
    optimizer.step()
    for naive, g in zip(naives, gradients(0), strict=True):
        naive.step(g)
    compare(parameters, naives)


MOVES = [dict(dtype="float64"), dict(backend="double"), dict(backend="numpy")]


@pytest.mark.parametrize("move", MOVES, ids=str)
@pytest.mark.parametrize("when", ["before backward", "after backward"])
def test_a_model_moved_after_its_optimizer_was_made(move, when, backend):
    """An error that says what to do; moved to where it was, nothing has happened."""
    layer = xpconv.Dense(3, 2, rng=0)
    optimizer = SGD(layer.parameters(), lr=0.1)
    x = np.random.default_rng(0).normal(size=(4, 3))
    if when == "before backward":
        layer.to(**move)
    dtype = layer.weight.dtype
    place = move.get("backend", backend) if when == "before backward" else backend
    y = layer(xpconv.asarray(x, dtype, backend=place))
    layer.backward(xpconv.asarray(np.ones(y.shape), dtype, backend=place))
    if when == "after backward":
        layer.to(**move)
    before = xpconv.asnumpy(layer.weight.data).copy()
    if move.get("backend") == backend:
        optimizer.step()
        assert (xpconv.asnumpy(layer.weight.data) != before).all()
        return
    with pytest.raises(RuntimeError, match=r"SGD.step: .*; make the optimizer after model.to\(…\)"):
        optimizer.step()
    np.testing.assert_array_equal(xpconv.asnumpy(layer.weight.data), before)
    again = SGD(layer.parameters(), lr=0.1)
    g = xpconv.asnumpy(layer.weight.grad).copy()
    again.step()
    np.testing.assert_allclose(xpconv.asnumpy(layer.weight.data), before - 0.1 * g, rtol=1e-6)


# --- against PyTorch ---------------------------------------------------------------------------------


def torch_pair(kind, values, options, members=None, groups=()):
    """Our optimizer and torch's over the same values."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: `pip install torch`")
    ours = [Parameter(v.copy()) for v in values]
    theirs = [torch.nn.Parameter(torch.from_numpy(np.array(v))) for v in values]

    def params(all_of_them):
        if members is None:
            return all_of_them
        return [{"params": [all_of_them[i] for i in m], **g} for m, g in zip(members, groups, strict=True)]

    return (
        torch,
        ours,
        theirs,
        kind(params(ours), **options),
        getattr(torch.optim, kind.__name__)(params(theirs), **options),
    )


def step_both(torch, ours, theirs, optimizers, grads):
    for optimizer in optimizers:
        optimizer.zero_grad()
    for a, b, g in zip(ours, theirs, grads, strict=True):
        if g is not None:
            a.grad, b.grad = g.copy(), torch.from_numpy(np.array(g))
    for optimizer in optimizers:
        optimizer.step()


def same(ours, theirs, tolerance, what):
    for i, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        b = b.detach().numpy()
        assert (a.data.shape, a.data.dtype) == (b.shape, b.dtype)
        scale = max(1.0, float(np.abs(b).max(initial=0.0)))
        np.testing.assert_allclose(a.data, b, rtol=0, atol=tolerance * scale, err_msg=f"{what} parameter {i}")


@pytest.mark.sample(3)
@every_setting
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_thirty_steps_equal_torch(kind, options, dtype):
    """With gradients missing here and there, a schedule, and values replaced on the way."""
    _, values = start(dtype)
    torch, ours, theirs, mine, other = torch_pair(kind, values, options)
    rng = np.random.default_rng(5)
    for step in range(30):
        mine.param_groups[0]["lr"] = other.param_groups[0]["lr"] = options["lr"] * 0.97**step
        missing = {int(i) for i in rng.integers(0, 5, size=2)} if step % 3 == 1 else ()
        if step == 20:
            ours[0].data = np.ones(SHAPES[0], dtype)
            theirs[0].data = torch.ones(SHAPES[0], dtype=theirs[0].dtype)
        step_both(torch, ours, theirs, (mine, other), gradients(step, dtype, missing=missing))
        same(ours, theirs, TOLERANCE[dtype], f"step {step}:")


@pytest.mark.parametrize(("kind", "common", "groups"), GROUPS)
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_groups_equal_torch(kind, common, groups, dtype):
    _, values = start(dtype)
    torch, ours, theirs, mine, other = torch_pair(kind, values, common, [[0, 2], [3], [1, 4]], groups)
    for step in range(50):
        if step % 10 == 9:
            for a, b in zip(mine.param_groups, other.param_groups, strict=True):
                a["lr"] = b["lr"] = a["lr"] / 2
        step_both(
            torch, ours, theirs, (mine, other), gradients(step, dtype, missing=[step % 5] if step % 4 else [])
        )
        same(ours, theirs, TOLERANCE[dtype], f"step {step}:")


@pytest.mark.parametrize("kind", [SGD, Adam, AdamW])
def test_defaults_equal_torch(kind):
    _, values = start()
    torch, ours, theirs, mine, other = torch_pair(kind, values, {})
    for key, value in mine.param_groups[0].items():
        if key != "params":
            assert other.param_groups[0][key] == value, key
    for step in range(3):
        step_both(torch, ours, theirs, (mine, other), gradients(step))
        same(ours, theirs, 1e-12, f"step {step}:")
