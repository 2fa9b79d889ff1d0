"""Schedules that are saved, copied, or made of schedules: they go on with the same rates, PyTorch's as well."""

import copy
import json
import pickle
import warnings

import numpy as np
import pytest

import xpconv


def half(t):
    return 0.5**t


class Slower:
    """A callable with attributes, which states hold."""

    def __init__(self, power):
        self.power = power

    def __call__(self, t):
        return (1 + t) ** -self.power


def warm_up_then(module, optimizer):
    parts = [module.LinearLR(optimizer, 0.1, total_iters=3), module.CosineAnnealingLR(optimizer, 6)]
    return module.SequentialLR(optimizer, parts, milestones=[3])


def three_parts(module, optimizer):
    parts = [
        module.StepLR(optimizer, 2),
        module.MultiStepLR(optimizer, [1, 3]),
        module.LambdaLR(optimizer, half),
    ]
    return module.SequentialLR(optimizer, parts, [4, 9])


def chained(module, optimizer):
    return module.ChainedScheduler(
        [module.LinearLR(optimizer, total_iters=4), module.ExponentialLR(optimizer, 0.9)]
    )


def chain_in_sequence(module, optimizer):
    parts = [module.LambdaLR(optimizer, [half, Slower(2)]), module.StepLR(optimizer, 3)]
    return module.SequentialLR(optimizer, parts, [5])


SCHEDULES = {
    "StepLR": lambda module, o: module.StepLR(o, 3),
    "MultiStepLR": lambda module, o: module.MultiStepLR(o, [2, 5, 5, 9], 0.5),
    "ExponentialLR": lambda module, o: module.ExponentialLR(o, 0.9),
    "LinearLR": lambda module, o: module.LinearLR(o, 0.2, total_iters=7),
    "CosineAnnealingLR": lambda module, o: module.CosineAnnealingLR(o, 5, 0.01),
    "CosineAnnealingWarmRestarts": lambda module, o: module.CosineAnnealingWarmRestarts(o, 2, 2),
    "CosineAnnealingWarmRestarts, even": lambda module, o: module.CosineAnnealingWarmRestarts(o, 3),
    "OneCycleLR": lambda module, o: module.OneCycleLR(o, [0.3, 0.2], 20),
    "OneCycleLR, three": lambda module, o: module.OneCycleLR(
        o, 0.3, 20, three_phase=True, anneal_strategy="linear"
    ),
    "ReduceLROnPlateau": lambda module, o: module.ReduceLROnPlateau(o, patience=1, cooldown=1),
    "LambdaLR": lambda module, o: module.LambdaLR(o, half),
    "LambdaLR, each": lambda module, o: module.LambdaLR(o, [half, Slower(0.5)]),
    "SequentialLR": warm_up_then,
    "SequentialLR, three": three_parts,
    "SequentialLR, at once": lambda module, o: module.SequentialLR(
        o, [module.StepLR(o, 2), module.ExponentialLR(o, 0.8)], [0]
    ),
    "SequentialLR of LambdaLR": chain_in_sequence,
    "ChainedScheduler": chained,
}
METRICS = [5.0, 4.0, 4.0, 4.5, 4.0, 3.0, 3.0, 3.0, 3.0, 3.0, 3.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0]


def make(name):
    first, second = (xpconv.Parameter(np.zeros(2), n) for n in "ab")
    groups = [{"params": [first]}, {"params": [second], "lr": 0.2}]
    optimizer = xpconv.SGD(groups, lr=0.1, momentum=0.9)
    return optimizer, SCHEDULES[name](xpconv, optimizer)


def theirs(name):
    from oracle import torch

    groups = [
        {"params": [torch.nn.Parameter(torch.zeros(2))]},
        {"params": [torch.nn.Parameter(torch.zeros(2))], "lr": 0.2},
    ]
    optimizer = torch.optim.SGD(groups, lr=0.1, momentum=0.9)
    return optimizer, SCHEDULES[name](torch.optim.lr_scheduler, optimizer)


def rates(optimizer, schedule, times, start=0):
    """The rates and momenta after each of so many steps."""
    found = []
    for t in range(start, start + times):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PyTorch: a schedule's step before one of the optimizer
            schedule.step(*[METRICS[t]] if "Plateau" in type(schedule).__name__ else [])
        found.append([(g["lr"], g["momentum"]) for g in optimizer.param_groups])
    return np.array(found)


def settings_of(optimizer):
    return [
        {k: v for k, v in g.items() if k in ("lr", "momentum", "initial_lr")} for g in optimizer.param_groups
    ]


def take(optimizer, settings):
    for group, values in zip(optimizer.param_groups, settings, strict=True):
        group.update(values)


@pytest.mark.parametrize("name", SCHEDULES)
def test_as_torch(name):
    np.testing.assert_allclose(rates(*make(name), 18), rates(*theirs(name), 18), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("stop", [0, 1, 4, 5, 11])
@pytest.mark.parametrize("name", SCHEDULES)
def test_saved_and_loaded(name, stop):
    """Through JSON, into a schedule that is somewhere else."""
    optimizer, schedule = make(name)
    rates(optimizer, schedule, stop)
    state, settings = json.loads(json.dumps([schedule.state_dict(), settings_of(optimizer)]))
    expected = rates(optimizer, schedule, 6, stop)
    other_optimizer, other = make(name)
    rates(other_optimizer, other, 2)
    take(other_optimizer, settings)
    other.load_state_dict(state)
    np.testing.assert_array_equal(rates(other_optimizer, other, 6, stop), expected)


@pytest.mark.parametrize("stop", [0, 3, 6])
@pytest.mark.parametrize("name", SCHEDULES)
def test_states_go_to_torch_and_back(name, stop):
    for (one, schedule), (two, other) in [(make(name), theirs(name)), (theirs(name), make(name))]:
        rates(one, schedule, stop)
        take(two, copy.deepcopy(settings_of(one)))
        other.load_state_dict(copy.deepcopy(schedule.state_dict()))
        np.testing.assert_allclose(rates(two, other, 6, stop), rates(one, schedule, 6, stop), rtol=1e-12)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda pair: pickle.loads(pickle.dumps(pair))])  # noqa: S301
@pytest.mark.parametrize("name", SCHEDULES)
def test_copies_go_on(name, duplicate):
    optimizer, schedule = make(name)
    rates(optimizer, schedule, 4)
    other_optimizer, other = duplicate((optimizer, schedule))
    before = settings_of(optimizer)
    found = rates(other_optimizer, other, 6, 4)
    assert settings_of(optimizer) == before
    np.testing.assert_array_equal(found, rates(optimizer, schedule, 6, 4))


def test_states_hold_copies():
    _, schedule = make("MultiStepLR")
    state = schedule.state_dict()
    state["milestones"][3] = 7
    state["base_lrs"][0] = 9.0
    assert (schedule.milestones[3], schedule.base_lrs[0]) == (0, 0.1)
    assert schedule.state_dict()["_last_lr"] == [0.1, 0.2]


@pytest.mark.parametrize(
    ("name", "state", "error", "message"),
    [
        ("StepLR", 3, TypeError, r"StepLR\.load_state_dict: state is int, expected a mapping, as state_dict\(\) returns"),
        ("StepLR", {"last_epoch": 3}, ValueError, r"missing \['step_size', 'gamma', 'base_lrs'\], unknown \[\]"),
        ("StepLR", {"gama": 3}, ValueError, r"unknown \['gama'\]; expected that of a StepLR"),
        ("StepLR", {"last_epoch": 1.5}, TypeError, r"StepLR\.load_state_dict: last_epoch is 1\.5, expected an int"),
        ("StepLR", {"base_lrs": [1.0]}, ValueError, r"base_lrs has 1 entries, expected 2"),
        ("StepLR", {"base_lrs": None}, TypeError, r"base_lrs is None, expected list"),
        ("MultiStepLR", {"milestones": 3}, TypeError, r"milestones is 3, expected Counter"),
        ("ReduceLROnPlateau", {"mode": 3}, TypeError, r"mode is 3, expected str"),
        ("SequentialLR", {"_schedulers": None}, TypeError, r"SequentialLR\.load_state_dict: _schedulers is None, expected list"),
        ("OneCycleLR", {"total_steps": 30, "_ends": None}, TypeError, r"_ends is None"),
    ],
)  # fmt: skip
def test_states_that_do_not_fit(name, state, error, message):
    optimizer, schedule = make(name)
    rates(optimizer, schedule, 2)
    before = schedule.state_dict()
    whole = {**before, **state} if isinstance(state, dict) and state != {"last_epoch": 3} else state
    with pytest.raises(error, match=message):
        schedule.load_state_dict(whole)
    assert schedule.state_dict() == before


def test_one_cycle_of_another_length_from_torch():
    _, schedule = make("OneCycleLR")
    state = schedule.state_dict()
    del state["_ends"], state["_momenta"], state["_lrs"]
    with pytest.raises(ValueError, match="PyTorch's state has total_steps=30, but this schedule has 20"):
        schedule.load_state_dict({**state, "total_steps": 30})


def optimizer_of_one():
    return xpconv.SGD([xpconv.Parameter(np.zeros(1))], lr=1.0)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda o: xpconv.LambdaLR(o, 3), TypeError, "LambdaLR: lr_lambda is 3, expected a function of the step"),
        (lambda o: xpconv.LambdaLR(o, [half, half]), ValueError, "LambdaLR: lr_lambda has 2 functions, expected 1"),
        (lambda o: xpconv.LambdaLR(o, lambda t: "a"), TypeError, "LambdaLR: lr_lambda's value is 'a', expected a number"),
        (lambda o: xpconv.LambdaLR(3, half), TypeError, "LambdaLR: optimizer is 3, expected an Optimizer"),
        (lambda o: xpconv.SequentialLR(o, [], []), ValueError, r"SequentialLR: schedulers is \[\], expected a list of schedules"),
        (lambda o: xpconv.SequentialLR(3, [xpconv.StepLR(o, 1)], []), TypeError, "SequentialLR: optimizer is 3, expected an Optimizer"),
        (lambda o: xpconv.SequentialLR(o, [xpconv.StepLR(o, 1)], [2]), ValueError, r"SequentialLR: milestones is \[2\], expected 0 ascending steps"),
        (lambda o: xpconv.SequentialLR(o, [xpconv.StepLR(o, 1)], 2), TypeError, "SequentialLR: milestones is 2, expected a list of ints"),
        (lambda o: xpconv.SequentialLR(o, [xpconv.StepLR(o, 1)] * 3, [4, 2]), ValueError, r"milestones is \[4, 2\], expected 2 ascending"),
        (lambda o: xpconv.SequentialLR(o, [xpconv.StepLR(o, 1)] * 2, ["a"]), TypeError, "SequentialLR: a milestone is 'a', expected an int"),
        (lambda o: xpconv.ChainedScheduler([xpconv.StepLR(o, 1), 3]), TypeError, r"ChainedScheduler: schedulers\[1\] is 3, expected a schedule"),
        (lambda o: xpconv.ChainedScheduler([xpconv.ReduceLROnPlateau(o)]), TypeError, r"schedulers\[0\] is ReduceLROnPlateau.*whose step takes no metric"),
        (lambda o: xpconv.ChainedScheduler([xpconv.StepLR(optimizer_of_one(), 1)], o), ValueError, r"schedulers\[0\] is of another optimizer"),
        (lambda o: xpconv.ChainedScheduler(xpconv.StepLR(o, 1)), ValueError, "ChainedScheduler: schedulers is StepLR"),
    ],
)  # fmt: skip
def test_bad_parts(make, error, message):
    with pytest.raises(error, match=message):
        make(optimizer_of_one())


def test_repr():
    _, schedule = make("MultiStepLR")
    schedule.step()
    assert repr(schedule) == "MultiStepLR(milestones={2: 1, 5: 2, 9: 1}, gamma=0.5, last_epoch=1)"
    assert repr(make("LambdaLR")[1]) == "LambdaLR(lr_lambda=[half, half], last_epoch=0)"
    lines = [
        "SequentialLR([",
        "  LinearLR(start_factor=0.1, end_factor=1.0, total_iters=3.0, last_epoch=0),",
        "  CosineAnnealingLR(T_max=6.0, eta_min=0.0, last_epoch=0),",
        "], milestones=[3], last_epoch=0)",
    ]
    assert repr(make("SequentialLR")[1]).splitlines() == lines


def test_a_group_added_before_a_milestone():
    optimizer = optimizer_of_one()
    parts = [xpconv.ExponentialLR(optimizer, 0.5), xpconv.StepLR(optimizer, 2)]
    schedule = xpconv.SequentialLR(optimizer, parts, milestones=[1])
    optimizer.add_param_group({"params": [xpconv.Parameter(np.zeros(1))], "lr": 0.3})
    schedule.step()
    assert schedule.get_last_lr() == [1.0, 0.3]
    schedule.step()
    schedule.step()
    np.testing.assert_allclose(schedule.get_last_lr(), [0.1, 0.03])


@pytest.mark.parametrize("second", ["StepLR", "CosineAnnealingLR", "LambdaLR", "LinearLR", "MultiStepLR"])
def test_a_schedule_begins_anew_from_its_own_rates(second):
    """Not from those that a `OneCycleLR` made after it set."""
    options = {
        "StepLR": {"step_size": 2}, "CosineAnnealingLR": {"T_max": 4}, "LambdaLR": {"lr_lambda": half},
        "LinearLR": {}, "MultiStepLR": {"milestones": [2]},
    }[second]  # fmt: skip
    torch = pytest.importorskip("torch")
    found = []
    for module, optimizer in (
        (xpconv, optimizer_of_one()),
        (torch.optim.lr_scheduler, torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)),
    ):
        parts = [module.ExponentialLR(optimizer, 0.5), getattr(module, second)(optimizer, **options)]
        parts.append(module.OneCycleLR(optimizer, 0.5, 20, cycle_momentum=False))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found.append(rates(optimizer, module.SequentialLR(optimizer, parts, milestones=[2, 6]), 9))
    np.testing.assert_allclose(*found, rtol=1e-12)


@pytest.mark.parametrize("keys", [{"a": 1}, {"1.5": 1}, {None: 1}, {"1": "x"}, {(1,): 2}])
def test_milestones_that_are_none(keys):
    schedule = xpconv.MultiStepLR(optimizer_of_one(), [1])
    state = {**schedule.state_dict(), "milestones": keys}
    with pytest.raises((TypeError, ValueError), match=r"^MultiStepLR\.load_state_dict: milestones"):
        schedule.load_state_dict(state)


@pytest.mark.parametrize("values", [[3], [[1]], ["x"], [{1: 2}]])
def test_attributes_of_functions_that_are_none(values):
    schedule = xpconv.LambdaLR(optimizer_of_one(), Slower(1))
    state = {**schedule.state_dict(), "lr_lambdas": values, "last_epoch": 7}
    with pytest.raises(TypeError, match=r"^LambdaLR\.load_state_dict: lr_lambdas"):
        schedule.load_state_dict(state)
    assert schedule.last_epoch == 0


@pytest.mark.parametrize("stepped", [0, 2])
@pytest.mark.parametrize("name", ["StepLR", "Plateau", "Sequential", "Chained"])
def test_a_state_of_groups_that_were_added(name, stepped):
    """Saved and loaded right after `add_param_group`, or after steps."""

    def started():
        optimizer = optimizer_of_one()
        schedule = {
            "StepLR": lambda: xpconv.StepLR(optimizer, 1, 0.5),
            "Plateau": lambda: xpconv.ReduceLROnPlateau(optimizer, patience=0),
            "Sequential": lambda: xpconv.SequentialLR(
                optimizer, [xpconv.StepLR(optimizer, 1, 0.5), xpconv.StepLR(optimizer, 1, 0.1)], [3]
            ),
            "Chained": lambda: xpconv.ChainedScheduler([xpconv.StepLR(optimizer, 1, 0.5)]),
        }[name]()
        optimizer.add_param_group({"params": [xpconv.Parameter(np.zeros(1))], "lr": 0.3})
        return optimizer, schedule

    def go_on(optimizer, schedule):
        for _ in range(3):
            schedule.step(*[1.0] * (name == "Plateau"))
        return [group["lr"] for group in optimizer.param_groups]

    optimizer, schedule = started()
    for _ in range(stepped):
        schedule.step(*[1.0] * (name == "Plateau"))
    states = json.loads(json.dumps(schedule.state_dict())), optimizer.state_dict()
    other, resumed = started()
    other.load_state_dict(states[1])
    resumed.load_state_dict(states[0])
    assert go_on(other, resumed) == go_on(optimizer, schedule)
