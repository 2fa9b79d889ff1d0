"""Errors of calls with the wrong arguments: none names a class that is not public."""

import inspect
import re

import numpy as np
import pytest
from instances import LAYERS, instance_of

import xpconv


def parameter():
    return xpconv.Parameter(np.ones(2, "float32"))


def sgd():
    return xpconv.SGD([parameter()], lr=0.1, momentum=0.9)


SCHEDULES = {
    "ChainedScheduler": lambda: ([xpconv.StepLR(sgd(), 3)],),
    "CosineAnnealingLR": lambda: (sgd(), 3),
    "CosineAnnealingWarmRestarts": lambda: (sgd(), 3),
    "ExponentialLR": lambda: (sgd(), 0.5),
    "LambdaLR": lambda: (sgd(), lambda t: 1.0),
    "LinearLR": lambda: (sgd(),),
    "MultiStepLR": lambda: (sgd(), [3]),
    "OneCycleLR": lambda: (sgd(), 1.0, 10),
    "ReduceLROnPlateau": lambda: (sgd(),),
    "StepLR": lambda: (sgd(), 3),
}
OTHERS = {
    "Parameter": parameter,
    "ExponentialMovingAverage": lambda: xpconv.ExponentialMovingAverage(xpconv.Dense(2, 2)),
    "GradScaler": xpconv.GradScaler,
    "batches": lambda: xpconv.data.batches(np.ones((4, 2)), np.ones(4), 2),
    "BalancedSampler": lambda: xpconv.data.BalancedSampler([0, 1]),
    "GroupedSampler": lambda: xpconv.data.GroupedSampler([0, 1]),
    "unet": lambda: xpconv.models.unet(1, 2, depth=1, width=2),
}
CLASSES = {
    **{name: lambda name=name: instance_of(name) for name in LAYERS},
    **{
        name: getattr(xpconv, name)
        for name in xpconv.losses.__all__
        if inspect.isclass(getattr(xpconv, name))
    },
    **{
        name: lambda name=name: getattr(xpconv, name)([parameter()], lr=0.1)
        for name in xpconv.optim.__all__
        if inspect.isclass(getattr(xpconv, name)) and issubclass(getattr(xpconv, name), xpconv.Optimizer)
        if name != "Optimizer"
    },
    **{name: lambda name=name: getattr(xpconv, name)(*SCHEDULES[name]()) for name in SCHEDULES},
    **OTHERS,
}
PUBLIC = {*xpconv.__all__, "batches", "BalancedSampler", "GroupedSampler"}


def test_every_public_class_is_here():
    public = {name for name in xpconv.__all__ if inspect.isclass(getattr(xpconv, name))}
    bases = {"Layer", "Loss", "LRScheduler", "Optimizer", "SequentialLR"}
    aliases = {name for name in public if getattr(xpconv, name).__name__ != name and name not in CLASSES}
    assert public - bases - aliases <= set(CLASSES)


def error_of(function, *arguments, **options):
    """The text of the error; empty if there is none, as of methods that take anything."""
    try:
        function(*arguments, **options)
    except Exception as error:  # noqa: BLE001
        return str(error)
    return ""


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_errors_of_wrong_calls_name_no_private_class(name):
    thing = CLASSES[name]()
    kind = type(thing)
    methods = [method for method in dir(kind) if not method.startswith("_")]
    functions = {
        method: getattr(thing, method) for method in methods if inspect.isroutine(getattr(kind, method))
    }
    functions |= {"__init__": kind} | ({"__call__": thing} if callable(thing) else {})
    for method, function in functions.items():
        for text in (error_of(function, no_such_argument=1), error_of(function, *[1] * 40)):
            named = re.match(r"([\w.]+)\.\w+\(\) ", text)
            assert named is None or named[1] in PUBLIC, f"{name}.{method}: {text}"
            assert not re.search(r"(?<![\w.'\"])_[A-Z]\w+", text), f"{name}.{method}: {text}"
