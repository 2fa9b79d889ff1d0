"""The optimizers and helpers that PyTorch lacks, by plain formulas; all of them on every backend."""

import re

import double
import numpy as np
import pytest

import xpconv

SHAPES = [(4, 3), (4,), (2, 1, 3, 3)]


def lion(p, g, s, t, lr, betas, weight_decay):
    b1, b2 = betas
    m = s.get("m", 0)
    p = p * (1 - lr * weight_decay) - lr * np.sign(b1 * m + (1 - b1) * g)
    s["m"] = b2 * m + (1 - b2) * g
    return p


def lars(p, g, s, t, lr, momentum, weight_decay, trust_coefficient):
    size, slope = np.linalg.norm(p), np.linalg.norm(g)
    trust = (
        trust_coefficient * size / (slope + weight_decay * size + 1e-8)
        if size and slope and trust_coefficient
        else 1
    )
    s["m"] = momentum * s.get("m", 0) + lr * trust * (g + weight_decay * p)
    return p - s["m"]


def lamb(p, g, s, t, lr, betas, weight_decay):
    b1, b2 = betas
    s["m"] = b1 * s.get("m", 0) + (1 - b1) * g
    s["v"] = b2 * s.get("v", 0) + (1 - b2) * g**2
    u = s["m"] / (1 - b1**t) / (np.sqrt(s["v"] / (1 - b2**t)) + 1e-6) + weight_decay * p
    size, step = np.linalg.norm(p), np.linalg.norm(u)
    return p - lr * (size / step if size and step else 1) * u


CASES = [
    ("Lion", lion, dict(lr=0.01, betas=(0.9, 0.99), weight_decay=0.0)),
    ("Lion", lion, dict(lr=0.01, betas=(0.5, 0.9), weight_decay=0.3)),
    ("LARS", lars, dict(lr=0.1, momentum=0.0, weight_decay=0.0, trust_coefficient=0.1)),
    ("LARS", lars, dict(lr=0.1, momentum=0.9, weight_decay=0.1, trust_coefficient=0.01)),
    ("LARS", lars, dict(lr=0.1, momentum=0.5, weight_decay=0.1, trust_coefficient=0.0)),
    ("LAMB", lamb, dict(lr=0.01, betas=(0.9, 0.999), weight_decay=0.0)),
    ("LAMB", lamb, dict(lr=0.1, betas=(0.5, 0.9), weight_decay=0.1)),
]


@pytest.mark.parametrize(("name", "formula", "options"), CASES)
def test_formula(name, formula, options, backend):
    rng = np.random.default_rng(0)
    values = [rng.normal(size=shape) for shape in SHAPES]
    values[1][:] = 0  # a parameter of norm zero
    parameters = [xpconv.Parameter(xpconv.asarray(value.copy())) for value in values]
    optimizer = getattr(xpconv, name)(parameters, **options)
    states = [{} for _ in values]
    for t in range(1, 51):
        for i, parameter in enumerate(parameters):
            g = rng.normal(size=parameter.shape)
            parameter.grad = xpconv.asarray(g)
            values[i] = formula(values[i], g, states[i], t, **options)
        optimizer.step()
    for value, parameter in zip(values, parameters, strict=True):
        np.testing.assert_allclose(xpconv.asnumpy(parameter.data), value, rtol=1e-9, atol=1e-12)


OPTIMIZERS = [
    "SGD",
    "Adam",
    "AdamW",
    "NAdam",
    "RAdam",
    "RMSprop",
    "Adagrad",
    "Adadelta",
    "Adamax",
    "Lion",
    "LARS",
    "LAMB",
]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_backends_agree_and_nobody_waits_for_the_device(name):
    final = {}
    for backend in ("numpy", "double"):
        with xpconv.use_backend(backend), double.count_syncs() as counter:
            rng = np.random.default_rng(0)
            parameters = [
                xpconv.Parameter(xpconv.asarray(rng.normal(size=s).astype("float32"))) for s in SHAPES
            ]
            optimizer = getattr(xpconv, name)(parameters, lr=0.01)
            for _ in range(5):
                for p in parameters:
                    p.grad = xpconv.asarray(rng.normal(size=p.shape).astype("float32"))
                xpconv.clip_grad_norm_(parameters, 1.0)
                xpconv.clip_grad_value_(parameters, 0.5)
                optimizer.step()
            assert counter.n == 0
            assert {str(p.dtype) for p in parameters} == {"float32"}
        final[backend] = [xpconv.asnumpy(p.data) for p in parameters]
    for a, b in zip(final["numpy"], final["double"], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7)  # of parameters around 1


def parameter(value=0.0):
    return xpconv.Parameter(np.full(2, value))


ERRORS = [
    (lambda o: xpconv.RMSprop([parameter()], alpha=-1), "RMSprop: alpha is -1, expected at least 0"),
    (lambda o: xpconv.Adagrad([parameter()], lr_decay=-1), "Adagrad: lr_decay is -1, expected at least 0"),
    (lambda o: xpconv.NAdam([parameter()], momentum_decay=-1), "NAdam: momentum_decay is -1, expected at least 0"),
    (lambda o: xpconv.Lion([parameter()], betas=(0.9, 1.0)), "Lion: betas is (0.9, 1.0), expected two numbers"),
    (lambda o: xpconv.LARS([parameter()], trust_coefficient=-1), "LARS: trust_coefficient is -1, expected at least 0"),
    (lambda o: xpconv.LAMB([parameter()], eps=-1), "LAMB: eps is -1, expected at least 0"),
    (lambda o: xpconv.StepLR(o, 0), "StepLR: step_size is 0, expected at least 1"),
    (lambda o: xpconv.LinearLR(o, start_factor=0), "LinearLR: start_factor is 0, expected above 0 and at most 1"),
    (lambda o: xpconv.LinearLR(o, end_factor=2), "LinearLR: end_factor is 2, expected a number from 0 to 1"),
    (lambda o: xpconv.CosineAnnealingLR(o, 0), "CosineAnnealingLR: T_max is 0, expected at least 1"),
    (lambda o: xpconv.CosineAnnealingWarmRestarts(o, 0), "CosineAnnealingWarmRestarts: T_0 is 0, expected at least 1"),
    (lambda o: xpconv.OneCycleLR(o, 1.0), "OneCycleLR: give total_steps, or epochs and steps_per_epoch"),
    (lambda o: xpconv.OneCycleLR(o, 1.0, 10, pct_start=2), "OneCycleLR: pct_start is 2, expected a number from 0 to 1"),
    (lambda o: xpconv.OneCycleLR(o, 1.0, 10, anneal_strategy="exp"), "OneCycleLR: anneal_strategy is 'exp', expected"),
    (lambda o: xpconv.OneCycleLR(o, [1.0, 2.0], 10), "OneCycleLR: max_lr has 2 values, expected one, or 1"),
    (lambda o: xpconv.OneCycleLR(xpconv.Adagrad([parameter()]), 1.0, 10), "the optimizer has no momentum to cycle"),
    (lambda o: xpconv.ReduceLROnPlateau(o, factor=1.0), "ReduceLROnPlateau: factor is 1.0, expected below 1"),
    (lambda o: xpconv.ReduceLROnPlateau(o, mode="low"), "ReduceLROnPlateau: mode is 'low', expected 'min' or 'max'"),
    (lambda o: xpconv.ReduceLROnPlateau(o, min_lr=[0, 0]), "ReduceLROnPlateau: min_lr has 2 values, expected 1"),
    (lambda o: xpconv.clip_grad_norm_([parameter()], -1), "clip_grad_norm_: max_norm is -1, expected at least 0"),
    (lambda o: xpconv.clip_grad_value_([parameter()], -1), "clip_grad_value_: clip_value is -1, expected at least 0"),
    (lambda o: xpconv.ExponentialMovingAverage(xpconv.ReLU(), 2), "ExponentialMovingAverage: decay is 2, expected"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "message"), ERRORS, ids=[m for _, m in ERRORS])
def test_errors(call, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        call(xpconv.SGD([parameter()], lr=0.1, momentum=0.9))


def test_schedule_of_no_optimizer():
    with pytest.raises(TypeError, match=r"StepLR: optimizer is 3, expected an Optimizer"):
        xpconv.StepLR(3, 1)


def test_one_cycle_ends():
    schedule = xpconv.OneCycleLR(xpconv.Adam([parameter()]), max_lr=1.0, total_steps=3)
    for _ in range(3):
        schedule.step()
    with pytest.raises(ValueError, match=r"OneCycleLR\.step: all 3 steps are done"):
        schedule.step()


def test_clipping_nothing(backend):
    for parameters in ([xpconv.Parameter(xpconv.asarray(np.ones(2)))], []):
        norm = xpconv.clip_grad_norm_(parameters, 1.0)
        assert xpconv.get_xp(norm) is xpconv.get_xp()
        assert (norm.shape, float(norm)) == ((), 0.0)


def test_clipping_one():
    one = parameter()
    one.grad = np.array([3.0, 4.0])
    assert xpconv.clip_grad_norm_(one, 10.0) == 5.0
    np.testing.assert_array_equal(one.grad, [3.0, 4.0])


def test_average_parameters_come_back_after_an_error(backend):
    model = xpconv.Dense(2, 2, rng=0)
    ema = xpconv.ExponentialMovingAverage(model, decay=0.5)
    model.weight.data += 1
    ema.update()
    own = xpconv.asnumpy(model.weight.data).copy()

    def look_and_fail():
        with ema.average_parameters():
            np.testing.assert_allclose(xpconv.asnumpy(model.weight.data), own - 0.5, rtol=1e-6)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        look_and_fail()
    np.testing.assert_array_equal(xpconv.asnumpy(model.weight.data), own)
