"""A training with every kind of state, with each optimizer; and the ways of copying it."""

import copy
import pickle

import numpy as np
import pytest

import xpconv

joblib = pytest.importorskip("joblib")  # which scikit-learn brings
OPTIMIZERS = {
    "SGD": dict(lr=0.05, momentum=0.9, dampening=0.1),
    "Adam": dict(lr=0.02, amsgrad=True, weight_decay=0.1),
    "AdamW": dict(lr=0.02),
    "NAdam": dict(lr=0.02),
    "RAdam": dict(lr=0.02),
    "RMSprop": dict(lr=0.01, centered=True, momentum=0.5),
    "Adagrad": dict(lr=0.1, lr_decay=0.1, initial_accumulator_value=0.2),
    "Adadelta": dict(lr=1.0, rho=0.8),
    "Adamax": dict(lr=0.02),
    "Lion": dict(lr=0.01),
    "LARS": dict(lr=0.5, trust_coefficient=0.1),
    "LAMB": dict(lr=0.02),
}


def by_pickle(things):
    return pickle.loads(pickle.dumps(things))  # noqa: S301


def by_old_pickle(things):
    return pickle.loads(pickle.dumps(things, protocol=2))  # noqa: S301


def by_joblib(things, tmp_path):
    joblib.dump(things, tmp_path / "things")
    return joblib.load(tmp_path / "things")


def by_memory_map(things, tmp_path):
    joblib.dump(things, tmp_path / "mapped")
    return joblib.load(tmp_path / "mapped", mmap_mode="r")


COPIES = {
    "pickle": by_pickle, "protocol 2": by_old_pickle, "deepcopy": copy.deepcopy, "joblib": by_joblib,
    "memory map": by_memory_map,
}  # fmt: skip


def copied(how, things, tmp_path):
    takes_path = how in ("joblib", "memory map")
    return COPIES[how](things, tmp_path) if takes_path else COPIES[how](things)


class Training:
    """A model with all that goes along with it, and one step of it."""

    def __init__(self, name, kind="float32"):
        options = OPTIMIZERS[name]
        self.model = xpconv.Sequential(
            xpconv.Conv2d(1, 3, 3, rng=0), xpconv.BatchNorm2d(3), xpconv.ReLU(), xpconv.Flatten(), xpconv.Dense(12, 2, rng=1)
        )  # fmt: skip
        if kind == "float16":
            self.model.to(dtype="float16")
            self.model[1].to(dtype="float32")
        parameters = self.model.parameters()
        if kind == "groups":
            self.model[0].bias.requires_grad = False
            parameters = [{"params": parameters[:3], "lr": 0.003}, {"params": parameters[3:]}]
        self.optimizer = getattr(xpconv, name)(parameters, **options)
        self.schedule = xpconv.ExponentialLR(self.optimizer, gamma=0.9)
        self.scaler = xpconv.GradScaler(8.0, growth_interval=2)
        self.ema = xpconv.ExponentialMovingAverage(self.model, decay=0.5)
        self.rng = np.random.default_rng(3)
        self.kind = kind

    def backward(self):
        x = xpconv.asarray(
            self.rng.normal(size=(4, 1, 4, 4)), "float16" if self.kind == "float16" else "float32"
        )
        criterion = xpconv.SoftmaxCrossEntropyLoss()
        criterion(self.model(x), xpconv.asarray(np.arange(4) % 2))
        self.model.backward(criterion.backward(self.scaler.scale), input_grad=False)

    def update(self):
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.schedule.step()
        self.ema.update()
        self.optimizer.zero_grad()

    def state(self):
        """All that goes into a file."""
        parts = {
            "model": self.model,
            "optimizer": self.optimizer,
            "schedule": self.schedule,
            "scaler": self.scaler,
        }
        return {
            **{name: part.state_dict() for name, part in parts.items()},
            "ema": self.ema.state_dict(),
            "rng": self.rng,
        }

    def load(self, state, order=("model", "optimizer", "schedule", "scaler", "ema")):
        for name in order:
            getattr(self, name).load_state_dict(state[name])
        self.rng = copy.deepcopy(state["rng"])

    def values(self):
        arrays = [*self.model.state_dict().values(), *self.ema.averages.values(), self.scaler.scale]
        return [xpconv.asnumpy(array).copy() for array in arrays]


def assert_same(ours, theirs):
    for a, b in zip(ours.values(), theirs.values(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert repr(ours.optimizer) == repr(theirs.optimizer)
