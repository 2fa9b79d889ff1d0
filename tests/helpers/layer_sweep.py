"""Forward and backward of all layers and losses, and steps of all optimizers, as `sweeping.py` compares them."""

import inspect
from functools import partial

import every
import numpy as np
from sweeping import faults

import xpconv


def layer_call(make, inputs, dtype, training):
    layer = make().to(dtype=dtype).train(training)
    inputs = [xpconv.asarray(x, dtype if x.dtype.kind == "f" else None) for x in inputs]

    def call():
        layer.zero_grad()
        y = layer(*inputs)
        first = y[0] if isinstance(y, tuple) else y
        dx = layer.backward(xpconv.get_xp(first).ones(first.shape, dtype=first.dtype))
        return y, dx, [p.grad for p in layer.parameters()], list(layer.state_dict().values())

    return call


def loss_call(name, options, inputs, reduction):
    options = {n: xpconv.asarray(v) if isinstance(v, np.ndarray) else v for n, v in options.items()}
    criterion, inputs = getattr(xpconv, name)(reduction=reduction, **options), [*map(xpconv.asarray, inputs)]

    def call():
        y = criterion(*inputs)
        return y, criterion.backward() if reduction != "none" else None

    return call


def optimizer_call(kind, options, dtype):
    layers = [xpconv.Conv2d(2, 3, 3, dtype=dtype, rng=0), xpconv.Dense(4, 5, dtype=dtype, rng=0)]
    parameters = [p for layer in layers for p in layer.parameters()]
    optimizer = getattr(xpconv, kind)(parameters, lr=0.01, **options)

    def call():
        for p in parameters:
            p.grad = xpconv.get_xp(p.data).ones(p.shape, dtype=p.dtype)
        optimizer.step()
        return [p.data for p in parameters]

    return call


def settings(kind):
    """Options of an optimizer: none, each flag reversed, and a weight decay."""
    defaults = inspect.signature(getattr(xpconv, kind)).parameters.values()
    for name, value in {
        "": None,
        **{p.name: not p.default for p in defaults if type(p.default) is bool},
    }.items():
        yield {name: value, **({"momentum": 0.9} if name == "nesterov" else {})} if name else {}
    yield {"weight_decay": 0.1}


def calls():
    """A description of each call, and a function that makes it."""
    for name, (make, inputs) in every.all_layers().items():
        for dtype in ("float32", "float64", "float16"):
            for training in (True, False):
                yield (
                    f"{name} {dtype} training={training}",
                    partial(layer_call, make, inputs, dtype, training),
                )
    for name, (options, inputs) in every.LOSSES.items():
        for reduction in ("mean", "sum", "none"):
            yield f"{name} {reduction}", partial(loss_call, name, options, inputs, reduction)
    for kind in sorted(every.names(xpconv.Optimizer)):
        for options in settings(kind):
            for dtype in ("float32", "float16"):
                yield f"{kind} {options} {dtype}", partial(optimizer_call, kind, options, dtype)


def found():
    """The faults of all calls."""
    return {what: faults(make) for what, make in calls()}
