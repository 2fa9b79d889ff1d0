"""Optimizers, schedules and clipping against PyTorch: 50 steps, every option, float64."""

import warnings

import numpy as np
import pytest
from oracle import covering, torch
from torch_samples import _internal

import xpconv


@pytest.fixture(autouse=True)
def double_precision():
    """PyTorch keeps NAdam's running product in its default dtype."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


SHAPES = [(4, 3), (4,), (2, 1, 3, 3)]
OPTIONS = {
    "RMSprop": {
        "lr": [0.01], "maximize": [False, True], "alpha": [0.99, 0.5], "eps": [1e-8, 1e-2], "weight_decay": [0, 0.1],
        "momentum": [0, 0.9], "centered": [False, True],
    },
    "Adagrad": {
        "lr": [0.01, 0.1], "maximize": [False, True], "lr_decay": [0, 0.05], "weight_decay": [0, 0.1],
        "initial_accumulator_value": [0, 0.5], "eps": [1e-10, 1e-2],
    },
    "NAdam": {
        "lr": [0.01], "maximize": [False, True], "betas": [(0.9, 0.999), (0.5, 0.9)], "eps": [1e-8, 1e-2], "weight_decay": [0, 0.1],
        "momentum_decay": [4e-3, 0.1], "decoupled_weight_decay": [False, True],
    },
    "RAdam": {
        "lr": [0.01], "maximize": [False, True], "betas": [(0.9, 0.999), (0.5, 0.9)], "eps": [1e-8, 1e-2], "weight_decay": [0, 0.1],
        "decoupled_weight_decay": [False, True],
    },
    "Adadelta": {"lr": [1.0, 0.1], "maximize": [False, True], "rho": [0.9, 0.5], "eps": [1e-6, 1e-2], "weight_decay": [0, 0.1]},
    "Adamax": {"lr": [0.01], "maximize": [False, True], "betas": [(0.9, 0.999), (0.5, 0.9)], "eps": [1e-8, 1e-2], "weight_decay": [0, 0.1]},
    "Adam": {"lr": [0.01], "maximize": [False, True], "betas": [(0.9, 0.999), (0.5, 0.9)], "weight_decay": [0, 0.1], "amsgrad": [False, True]},
    "AdamW": {"lr": [0.01], "maximize": [False, True], "eps": [1e-8, 1e-2], "weight_decay": [0.01, 0.5], "amsgrad": [False, True]},
    "SGD": {
        "lr": [0.1], "maximize": [False, True], "momentum": [0, 0.9], "dampening": [0, 0.5], "weight_decay": [0, 0.1], "nesterov": [False],
    },
}  # fmt: skip
CASES = [(name, options) for name, table in OPTIONS.items() for options in covering(table, 2)]


def pair(seed=0):
    rng = np.random.default_rng(seed)
    values = [rng.normal(size=shape) for shape in SHAPES]
    ours = [xpconv.Parameter(value.copy()) for value in values]
    theirs = [torch.nn.Parameter(torch.from_numpy(value.copy())) for value in values]
    return ours, theirs, rng


def feed(ours, theirs, rng, skip=()):
    for i, (mine, other) in enumerate(zip(ours, theirs, strict=True)):
        g = rng.normal(size=mine.shape)
        mine.grad, other.grad = (None, None) if i in skip else (g.copy(), torch.from_numpy(g))


def assert_equal(ours, theirs, rtol=1e-10):
    for mine, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(mine.data, other.detach().numpy(), rtol=rtol, atol=1e-12)


@pytest.mark.sample(4)
@pytest.mark.parametrize(("name", "options"), CASES, ids=[f"{n}-{list(o.values())}" for n, o in CASES])
def test_optimizer(name, options):
    ours, theirs, rng = pair()
    groups = [[{"params": p[:1]}, {"params": p[1:], "lr": 0.02}] for p in (ours, theirs)]
    mine, other = (
        getattr(xpconv, name)(groups[0], **options),
        getattr(torch.optim, name)(groups[1], **options),
    )
    for step in range(50):
        feed(ours, theirs, rng, skip=[1] if step % 7 == 3 else [])
        mine.step()
        other.step()
        assert_equal(ours, theirs)


@pytest.mark.sample(64)
@pytest.mark.parametrize("name", [*OPTIONS])
def test_what_pytorchs_own_tests_take(name):
    """Settings of PyTorch's tests are taken, with the same values, or refused, as there."""
    _internal()
    common = pytest.importorskip("torch.testing._internal.common_optimizers")
    (info,) = (found for found in common.optim_db if found.optim_cls.__name__ == name)
    for sample in info.optim_inputs_func(device="cpu"):
        ours, theirs, rng = pair()
        mine = getattr(xpconv, name)(ours, **sample.kwargs)
        other = getattr(torch.optim, name)(theirs, **sample.kwargs)
        for _ in range(10):
            feed(ours, theirs, rng)
            mine.step()
            other.step()
        assert_equal(ours, theirs, rtol=1e-7)
    for sample in info.optim_error_inputs_func(device="cpu", dtype=torch.float32):
        settings = {
            k: v for k, v in sample.optimizer_error_input.kwargs.items() if not isinstance(v, torch.Tensor)
        }
        if (
            settings
            and sample.error_type is ValueError
            and not any("Tensor" in str(v) for v in (settings, sample.error_regex))
        ):
            with pytest.raises(ValueError, match=f"^{name}: "):
                getattr(xpconv, name)(pair()[0], **settings)


SCHEDULES = {
    "StepLR": [dict(step_size=3), dict(step_size=1, gamma=0.7)],
    "MultiStepLR": [dict(milestones=[2, 5, 5, 9]), dict(milestones=[1], gamma=0.5)],
    "ExponentialLR": [dict(gamma=0.9)],
    "LinearLR": [dict(), dict(start_factor=0.1, end_factor=0.5, total_iters=7), dict(start_factor=1.0, total_iters=1)],
    "CosineAnnealingLR": [dict(T_max=10), dict(T_max=4, eta_min=0.01), dict(T_max=1)],
    "CosineAnnealingWarmRestarts": [dict(T_0=5), dict(T_0=3, T_mult=2, eta_min=0.01), dict(T_0=1)],
    "OneCycleLR": [
        dict(max_lr=1.0, total_steps=60),
        dict(max_lr=[1.0, 0.3], epochs=6, steps_per_epoch=10, pct_start=0.4, anneal_strategy="linear"),
        dict(max_lr=0.5, total_steps=60, three_phase=True, base_momentum=0.7, max_momentum=0.99),
        dict(max_lr=0.5, total_steps=55, cycle_momentum=False, div_factor=10, final_div_factor=100),
    ],
}  # fmt: skip


@pytest.mark.sample(4)
@pytest.mark.parametrize("optimizer", ["SGD", "Adam"])
@pytest.mark.parametrize(("name", "options"), [(n, o) for n, os in SCHEDULES.items() for o in os])
def test_schedule(name, options, optimizer):
    ours, theirs, rng = pair()
    extra = {"momentum": 0.9} if optimizer == "SGD" else {}
    groups = [[{"params": p[:1]}, {"params": p[1:], "lr": 0.02}] for p in (ours, theirs)]
    mine = getattr(xpconv, optimizer)(groups[0], lr=0.1, **extra)
    other = getattr(torch.optim, optimizer)(groups[1], lr=0.1, **extra)
    schedule = getattr(xpconv, name)(mine, **options)
    expected = getattr(torch.optim.lr_scheduler, name)(other, **options)
    for _ in range(50):
        feed(ours, theirs, rng)
        mine.step()
        other.step()
        np.testing.assert_allclose(schedule.get_last_lr(), expected.get_last_lr(), rtol=1e-12)
        for a, b in zip(mine.param_groups, other.param_groups, strict=True):
            key = "betas" if optimizer == "Adam" else "momentum"
            np.testing.assert_allclose(a[key], b[key], rtol=1e-12)
        schedule.step()
        expected.step()
    assert_equal(ours, theirs)


def test_chained_schedules():
    ours, theirs, _ = pair()
    mine, other = xpconv.SGD(ours, lr=0.1), torch.optim.SGD(theirs, lr=0.1)
    scheduler = torch.optim.lr_scheduler
    here = [xpconv.LinearLR(mine, total_iters=4), xpconv.StepLR(mine, 5), xpconv.CosineAnnealingLR(mine, 20)]
    there = [
        scheduler.LinearLR(other, total_iters=4),
        scheduler.StepLR(other, 5),
        scheduler.CosineAnnealingLR(other, 20),
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch: a step of the schedule before one of the optimizer
        for _ in range(30):
            for a, b in zip(here, there, strict=True):
                a.step()
                b.step()
            np.testing.assert_allclose(here[-1].get_last_lr(), there[-1].get_last_lr(), rtol=1e-9)


@pytest.mark.parametrize(
    "options",
    [
        dict(patience=2), dict(mode="max", patience=1, factor=0.5), dict(threshold=0.3, threshold_mode="abs", patience=0),
        dict(patience=0, cooldown=2, min_lr=1e-3), dict(mode="max", threshold=0.1, patience=1, min_lr=[0.05, 0.0]),
    ],
)  # fmt: skip
def test_reduce_on_plateau(options):
    ours, theirs, rng = pair()
    groups = [[{"params": p[:1]}, {"params": p[1:], "lr": 0.02}] for p in (ours, theirs)]
    mine, other = xpconv.SGD(groups[0], lr=0.1), torch.optim.SGD(groups[1], lr=0.1)
    schedule = xpconv.ReduceLROnPlateau(mine, **options)
    expected = torch.optim.lr_scheduler.ReduceLROnPlateau(other, **options)
    metrics = np.concatenate([np.linspace(-2, 2, 10), rng.normal(size=40).round(1)])
    for metric in metrics:
        schedule.step(metric)
        expected.step(metric)
        assert schedule.get_last_lr() == pytest.approx([g["lr"] for g in other.param_groups], rel=1e-12)
    assert schedule.get_last_lr() != [0.1, 0.02]


@pytest.mark.parametrize("norm_type", [1.0, 2.0, 3.5, float("inf")])
@pytest.mark.parametrize("max_norm", [0.5, 100.0])
def test_clip_grad_norm(norm_type, max_norm):
    ours, theirs, rng = pair()
    feed(ours, theirs, rng, skip=[1])
    norm = xpconv.clip_grad_norm_(ours, max_norm, norm_type)
    expected = torch.nn.utils.clip_grad_norm_(theirs, max_norm, norm_type)
    assert float(norm) == pytest.approx(float(expected), rel=1e-12)
    for mine, other in zip(ours, theirs, strict=True):
        if mine.grad is not None:
            np.testing.assert_allclose(mine.grad, other.grad.numpy(), rtol=1e-12)


def test_clipping_refuses_what_is_not_finite():
    ours, theirs, rng = pair()
    feed(ours, theirs, rng)
    ours[0].grad[0] = theirs[0].grad[0] = np.inf
    with pytest.raises(RuntimeError, match="non-finite"):
        torch.nn.utils.clip_grad_norm_(theirs, 1.0, error_if_nonfinite=True)
    with pytest.raises(RuntimeError, match=r"clip_grad_norm_: the gradients' norm is inf"):
        xpconv.clip_grad_norm_(ours, 1.0, error_if_nonfinite=True)
    with np.errstate(invalid="ignore"):  # inf · 0
        assert np.isinf(xpconv.clip_grad_norm_(ours, 1.0))


def test_clip_grad_value():
    ours, theirs, rng = pair()
    feed(ours, theirs, rng, skip=[0])
    xpconv.clip_grad_value_(ours, 0.3)
    torch.nn.utils.clip_grad_value_(theirs, 0.3)
    for mine, other in zip(ours[1:], theirs[1:], strict=True):
        np.testing.assert_array_equal(mine.grad, other.grad.numpy())


def test_moving_average():
    ours, theirs, rng = pair()

    class Bag(xpconv.Layer):
        def __init__(self):
            self.a, self.b, self.c = ours

    module = torch.nn.ParameterList(theirs)
    average = torch.optim.swa_utils.AveragedModel(
        module, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.9)
    )
    average.update_parameters(module)  # torch's first update copies
    ema = xpconv.ExponentialMovingAverage(Bag(), decay=0.9)
    for _ in range(20):
        for mine, other in zip(ours, theirs, strict=True):
            step = rng.normal(size=mine.shape)
            mine.data += step
            other.data += torch.from_numpy(step)
        ema.update()
        average.update_parameters(module)
    own = [p.data.copy() for p in ours]
    with ema.average_parameters():
        assert_equal(ours, list(average.module.parameters()))
    for p, value in zip(ours, own, strict=True):
        np.testing.assert_array_equal(p.data, value)


def test_nadam_while_its_betas_change():
    ours, theirs, rng = pair()
    mine, other = xpconv.NAdam(ours), torch.optim.NAdam(theirs)
    schedule = xpconv.OneCycleLR(mine, 0.1, total_steps=30)
    expected = torch.optim.lr_scheduler.OneCycleLR(other, 0.1, total_steps=30)
    for _ in range(25):
        feed(ours, theirs, rng)
        for thing in (mine, other, schedule, expected):
            thing.step()
    assert_equal(ours, theirs)


def test_lr_of_all_groups():
    ours, _, _ = pair()
    optimizer = xpconv.SGD([{"params": ours[:1]}, {"params": ours[1:], "lr": 0.2}], lr=0.1)
    assert optimizer.lr == 0.1
    optimizer.lr /= 2
    assert [group["lr"] for group in optimizer.param_groups] == [0.05, 0.05]
