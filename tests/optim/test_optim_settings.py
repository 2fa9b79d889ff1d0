"""Settings of optimizers are in the groups, and settings without effect are errors."""

import copy
import inspect
import pickle
import re

import numpy as np
import pytest
from training import OPTIMIZERS

import xpconv
from xpconv.optim.settings import ALSO_CALLED, SETTINGS

every_optimizer = pytest.mark.parametrize("name", OPTIMIZERS)


def made(name, **options):
    p = xpconv.Parameter(xpconv.asarray(np.array([1.0, 2.0], "float32")))
    p.grad = xpconv.asarray(np.array([0.5, -0.5], "float32"))
    return p, getattr(xpconv, name)([p], **{**OPTIMIZERS[name], **options})


def test_all_settings_are_known():
    found = {n for name in OPTIMIZERS for n in inspect.signature(getattr(xpconv, name)).parameters}
    assert found - {"params"} == set(SETTINGS)


@every_optimizer
def test_a_setting_is_no_attribute(name):
    """Neither an own one, nor another optimizer's, nor one by another name; the message says where it is."""
    _, optimizer = made(name)
    before = repr(optimizer)
    for setting in (*SETTINGS, *ALSO_CALLED):
        if setting == "lr":
            continue
        with pytest.raises(AttributeError, match=f"{name}: as an attribute {setting} has no effect") as wrote:
            setattr(optimizer, setting, 0.5)
        with pytest.raises(AttributeError, match=f"'{name}' object has no attribute '{setting}'; ") as read:
            getattr(optimizer, setting)
        key = setting if setting in optimizer.defaults else ALSO_CALLED.get(setting)
        way = f'optimizer.param_groups[0]["{key}"] = …'
        for error in (wrote, read):
            if key in optimizer.defaults:
                assert way in str(error.value)
            else:
                assert f"{name} has no setting '{setting}'; it has lr, " in str(error.value)
    assert repr(optimizer) == before
    with pytest.raises(AttributeError, match=r"optimizer\.lr = …, or for one group optimizer\.param_groups"):
        optimizer.learning_rate = 5


def test_what_is_no_setting_may_be_an_attribute():
    _, optimizer = made("Adam")
    optimizer.name, optimizer._mine, optimizer.lr = "generator", 1, 0.25
    twin = copy.deepcopy(pickle.loads(pickle.dumps(optimizer)))  # noqa: S301
    assert (twin.name, twin._mine, twin.lr) == ("generator", 1, 0.25)
    with pytest.raises(AttributeError, match=r"^'Adam' object has no attribute 'speed'$"):
        _ = optimizer.speed
    assert not hasattr(xpconv.Adam.__new__(xpconv.Adam), "betas")  # half made
    with pytest.raises(AttributeError, match="param_groups"):
        _ = xpconv.Adam.__new__(xpconv.Adam).lr


def test_an_optimizer_of_the_users_may_have_its_own():
    class Own(xpconv.Optimizer):
        def __init__(self, params, lr, momentum):
            super().__init__(params, lr=lr)
            self.momentum = momentum

        def _update(self, p, g, run):
            p -= self.momentum * run.group["lr"] * g

    class Plain(xpconv.SGD):
        pass

    p, _ = made("SGD")
    optimizer = Own([p], 0.5, 0.5)
    optimizer.momentum = 2.0
    optimizer.step()
    np.testing.assert_array_equal(p.data, np.array([0.5, 2.5], "float32"))
    with pytest.raises(AttributeError, match="Plain: as an attribute momentum has no effect"):
        Plain([p]).momentum = 0.5


@every_optimizer
@pytest.mark.parametrize("key", ["learning_rate", "weight_decya", "params_", "fused", "foreach", 3])
def test_an_unknown_key_in_a_group_is_refused(name, key, backend):
    p, optimizer = made(name)
    before = xpconv.asnumpy(p.data).copy()
    optimizer.param_groups[0][key] = 5
    for step in (optimizer.step, lambda: xpconv.GradScaler(1.0).step(optimizer)):
        with pytest.raises(
            ValueError, match=re.escape(f"{name}.step: a group has {key!r}, which has no effect; ")
        ):
            step()
    np.testing.assert_array_equal(xpconv.asnumpy(p.data), before)
    assert not optimizer.state_dict()["state"] or name == "Adagrad"
    del optimizer.param_groups[0][key]
    optimizer.step()
    assert (xpconv.asnumpy(p.data) != before).all()


@every_optimizer
def test_what_schedules_note_in_a_group_is_allowed(name, backend):
    """Here and in PyTorch."""
    _, optimizer = made(name)
    notes = ("initial_lr", "max_lr", "min_lr", "max_momentum", "base_momentum", "swa_lr")
    for note in notes:
        optimizer.param_groups[0][note] = 0.1
    optimizer.step()
    optimizer.load_state_dict(optimizer.state_dict())
    assert set(notes) < set(optimizer.param_groups[0])
    xpconv.OneCycleLR(optimizer, 0.1, total_steps=4, cycle_momentum=False).step()
    optimizer.step()


def test_groups_of_pytorch_go_on():
    """The state of a PyTorch optimizer under each of its schedules that notes something."""
    torch = pytest.importorskip("torch")
    for make in (
        lambda o: torch.optim.lr_scheduler.OneCycleLR(o, 0.1, total_steps=9),
        lambda o: torch.optim.lr_scheduler.CyclicLR(o, 0.1, 0.2, cycle_momentum=True),
        lambda o: torch.optim.swa_utils.SWALR(o, 0.1),
    ):
        theirs = torch.optim.SGD([torch.nn.Parameter(torch.ones(2))], lr=0.1, momentum=0.9)
        make(theirs)
        _, optimizer = made("SGD", momentum=0.9)
        optimizer.load_state_dict(theirs.state_dict())
        optimizer.step()


# --- steps without a gradient ----------------------------------------------------------------------------


def trained():
    model, criterion = xpconv.Dense(2, 1, rng=0), xpconv.MSELoss()
    optimizer = xpconv.SGD(model.parameters(), lr=0.1)

    def run(model):
        x = xpconv.asarray(np.ones((3, 2), "float32"))
        criterion(model(x), xpconv.asarray(np.zeros((3, 1), "float32")))
        model.backward(criterion.backward())

    return model, optimizer, run


@pytest.mark.parametrize("scaled", [False, True])
def test_a_step_without_gradients_says_what_may_be_the_cause(scaled, backend):
    model, optimizer, run = trained()
    other = copy.deepcopy(optimizer)  # apart from its model
    run(model)
    step = (lambda o: xpconv.GradScaler(1.0).step(o)) if scaled else (lambda o: o.step())
    causes = r"call model\.backward.* zero_grad\(\) was called after it, or .* of another model: .* copied or unpickled"
    with pytest.raises(RuntimeError, match=causes):
        step(other)
    optimizer.zero_grad()
    with pytest.raises(RuntimeError, match=causes):
        step(optimizer)
    model.requires_grad_(False)
    with pytest.raises(
        RuntimeError, match=r"no parameter has a gradient, as all are frozen \(requires_grad=Fal"
    ):
        step(optimizer)
    model.requires_grad_(True)
    model, optimizer = copy.deepcopy((model, optimizer))
    run(model)
    step(optimizer)
