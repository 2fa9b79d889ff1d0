"""What the layers of a model cost in a forward, for `Layer.summary` and `explain`."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from ..arrays import asnumpy
from ..backend import Array
from ..parameter import Parameter
from ..tape import arrays_in, current, observing, position, run_saving
from .modes import Modes

Layer = Modes[Any]  # the base of `Layer`
L = TypeVar("L", bound=Layer)


class Call(NamedTuple):
    """One forward of a layer, and what it costs."""

    number: int  # of the layer in `model.named_layers()`
    name: str
    layer: Layer
    output: tuple[int, ...]
    algorithm: str
    flops: int
    moved: int
    saved: int
    seconds: float
    same: bool  # whether the output is the input itself


def twin(model: L) -> L:
    """A copy with the same arrays of parameters; its modes, statistics, generators and tapes are its own."""
    parameters = [
        part for layer in model.modules() for part in vars(layer).values() if isinstance(part, Parameter)
    ]
    shared: dict[int, Any] = {id(p.data): p.data for p in parameters}
    gradients: dict[int, Any] = {id(p.grad): None for p in parameters if p.grad is not None}
    return copy.deepcopy(model, shared | gradients)


def measure(model: Any, inputs: tuple[Array, ...], save: bool = True) -> list[Call]:
    """The calls of all layers in one forward of a twin of `model`, in the order in which they end.

    Args:
        model: a layer.
        inputs: its inputs.
        save: whether the forward saves what backward needs, also within `no_grad`. Each array counts for the
            first layer that saves it; what a loss saves, or a layer that is no part of the model, counts for
            the layer that called it.
    """
    calls: list[Call] = run_saving(save, _run, twin(model), inputs, save)
    return calls


def _run(model: Any, inputs: tuple[Array, ...], save: bool) -> list[Call]:
    calls: list[tuple[list[int], Call]] = []  # with the places on the tape of what the layer itself has saved
    shapes: list[tuple[int, ...]] = []  # of their inputs
    tapes: list[Any] = []  # one, that of the call of `model`
    counted: set[int] = set()  # places on it
    names = {id(layer): (i, name) for i, (name, layer) in enumerate(model.named_layers())}
    held = {
        id(a): a for a in (_owner(p.data) for _, p in model.named_parameters())
    }  # alive, so that no id is used again

    def watch(layer: Any, forward: Callable[..., Any], inputs: tuple[Any, ...]) -> Any:
        x, begin = first_array(inputs), position()
        if not tapes:
            tapes.append(current.get())
        _wait(x)
        start = time.perf_counter()
        result = forward(*inputs)
        y = first_array(result)  # pooling may return indices too
        _wait(y)
        seconds = time.perf_counter() - start
        if id(layer) not in names or current.get() is not tapes[0]:  # or a user's layer called `record`
            return result
        own = [place for place in range(begin, position()) if place not in counted]
        counted.update(own)
        shape = () if y is None else tuple(y.shape)
        call = Call(*names[id(layer)], layer, shape, "", 0, 0, 0, 0.0, y is x)
        if not layer.children():  # what is in a container counts for itself
            call = call._replace(
                algorithm=layer.algorithm_for(x) if hasattr(layer, "algorithm_for") else "",
                flops=0 if y is None else layer._flops(x, y),
                moved=sum(p.data.nbytes for p in layer.parameters()),
                seconds=seconds,
            )
            if y is not x:
                call = call._replace(moved=call.moved + sum(a.nbytes for a in arrays_in((inputs, result))))
        before = calls[-1][1] if calls else None
        if before and call.same and call.number < before.number and hasattr(before.layer, "return_indices"):
            # a ReLU that runs within the MaxPool after it
            calls.insert(len(calls) - 1, (own, call._replace(output=shapes[-1])))
        else:
            calls.append((own, call))
            shapes.append(() if x is None else tuple(x.shape))
        return result

    with observing(watch):
        if not save:
            model(*inputs)
            return [call for _, call in calls]
        _, tape = model.record(*inputs)  # a whole tape, in which arrays of users' layers are copied
    found = []
    for places, call in calls:
        arrays = arrays_in([tape.entries[place][1] for place in places])
        new = {id(a): a for a in map(_owner, arrays) if id(a) not in held}
        held.update(new)
        found.append(call._replace(saved=sum(a.nbytes for a in new.values())))
    return found


def first_array(value: Any) -> Any:
    """`value` if it is an array, else the first array in it; None if there is none."""
    if isinstance(value, tuple | list | dict):
        parts = value.values() if isinstance(value, dict) else value
        return next((found for part in parts if (found := first_array(part)) is not None), None)
    return value if hasattr(value, "shape") else None


def millions(number: int) -> str:
    """`number` / 10⁶ with three digits, and all digits before the point."""
    value = number / 1e6
    return f"{value:.3g}" if value < 999.5 else f"{value:,.0f}"


def _wait(array: Array | None) -> None:
    """Wait until a GPU has computed `array`."""
    if array is not None and array.size:
        asnumpy(array[(0,) * array.ndim])


def _owner(array: Array) -> Any:
    """The array whose memory a view shows."""
    while getattr(array, "base", None) is not None and hasattr(array.base, "nbytes"):
        array = array.base
    return array
