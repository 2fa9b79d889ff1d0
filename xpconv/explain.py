"""The cost of a forward, layer by layer."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from contextvars import Context
from math import prod
from typing import Any, NamedTuple

from .arguments import shown, to_size
from .arrays import asnumpy
from .backend import Array
from .errors import ShapeError
from .layers import Bilinear, Dense, Layer
from .layers.activation import clips
from .layers.conv import _Conv
from .layers.conv_transpose import _ConvTranspose
from .layers.summary import example_inputs, first_array, table
from .tape import arrays_in, latest_entry, observing

__all__ = ["explain"]


class Cost(NamedTuple):
    """Of one layer's forward."""

    name: str
    layer: str
    output: tuple[int, ...]
    algorithm: str
    flops: int
    moved: int
    kept: int
    seconds: float


def explain(model: Layer, input_shape: Any, batch: int = 1) -> str:
    """A table of what each layer of `model` costs in a forward, from running it on images of zeros.

    - `algorithm`: the algorithm of a convolution, chosen from its shapes (see `Conv2d(algorithm=)`); `fused`
      for a ReLU that runs in the same pass over the data as the layer above it in the table;
    - `MFLOP`: multiplications and additions of convolutions and dense layers, in millions;
    - `MB moved`: the size of inputs, outputs and parameters, each once; 0 if the output is the input itself;
    - `MB kept`: the size of the arrays that the layer saves for backward and that no earlier layer saves;
    - `ms`: the shortest time of three, synchronising with a GPU after each layer, and its share of the total.

    It runs copies of the model, in the model's mode. The layers are in the order in which they run. Of layers
    that contain others, those are listed that save arrays themselves, with only those arrays.

    Args:
        model: any layer.
        input_shape: the shape of one image, without the batch axis; for several inputs, a tuple of shapes.
            Give an array instead of a shape to use it as the input.
        batch: number of images.

    Returns:
        A str, which a notebook displays as a table.

    Raises:
        TypeError: `model` is not a layer, `input_shape` is not a tuple of ints or of inputs, or the model
            takes another number of inputs.
        ValueError: `batch` is below 1, or a size is below 0.
        ShapeError: (a ValueError) the model does not accept images of that shape, or needs a larger batch, as
            batch normalization of single pixels does in training.

    Example:
        >>> import xpconv
        >>> model = xpconv.Sequential(xpconv.Conv2d(1, 8, 3), xpconv.ReLU())
        >>> xpconv.explain(model, (1, 28, 28)).splitlines()[0].split()
        ['name', 'layer', 'output', 'algorithm', 'MFLOP', 'MB', 'moved', 'MB', 'kept', 'ms', 'share']
    """
    if not isinstance(model, Layer):
        raise TypeError(f"explain: model is {shown(model)}, expected a Layer")
    costs = measure(model, input_shape, to_size("explain: batch", batch))
    total = sum(cost.seconds for cost in costs) or 1.0
    rows = [("name", "layer", "output", "algorithm", "MFLOP", "MB moved", "MB kept", "ms", "share")]
    for c in costs:
        numbers = f"{c.flops / 1e6:.3g}" if c.flops else "", f"{c.moved / 1e6:.3g}", f"{c.kept / 1e6:.3g}"
        clock = f"{c.seconds * 1e3:.3f}", f"{c.seconds / total:.0%}"
        rows.append((c.name, c.layer, str(c.output), c.algorithm, *numbers, *clock))
    flops, moved, kept = (sum(column) for column in zip(*(c[4:7] for c in costs), strict=True))
    sums = f"{flops / 1e6:.3g}", f"{moved / 1e6:.3g}", f"{kept / 1e6:.3g}", f"{total * 1e3:.3f}"
    rows.append(("total", "", "", "", *sums, ""))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(f"{cell:{w}}" for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows)
    return table("\n".join(lines), rows, 4, 1)


def measure(model: Layer, input_shape: Any, batch: int) -> list[Cost]:
    """The cost of each layer, in the order of their calls, for `explain`."""
    inputs = example_inputs("explain: input_shape", model, input_shape, batch)
    runs = []
    for _ in range(3):
        twin = copy.deepcopy(model)  # the user's statistics, masks and saved arrays do not change
        try:
            runs.append(Context().run(_run, twin, inputs))  # without no_grad(), as saved arrays are reported
        except ShapeError as error:
            text = str(error.args[0])
            if batch == 1 and "larger batch" in text:
                fix = "give batch=2 or more" + (", or model.eval()" if "eval()" in text else "")
                error.args = (f"{text}; here: {fix}",)
            raise
        del twin  # so that the next copy can reuse its memory
    best = [min(costs, key=lambda cost: cost.seconds) for costs in zip(*runs, strict=True)]
    return [cost._replace(seconds=fast.seconds) for cost, fast in zip(runs[-1], best, strict=True)]


def _run(model: Layer, inputs: tuple[Array, ...]) -> list[Cost]:
    """One forward, in which each layer is measured."""
    costs: list[tuple[int | None, bool, Cost]] = []  # with the place on the tape; whether it has no children
    names = {id(layer): name for name, layer in model.named_layers()}
    held = {
        id(a): a for a in (_owner(p.data) for _, p in model.named_parameters())
    }  # alive, so that no id comes again

    def watch(layer: Layer, forward: Callable[..., Any], inputs: tuple[Any, ...]) -> Any:
        x = first_array(inputs)
        _wait(x)
        start = time.perf_counter()
        result = forward(*inputs)
        y = first_array(result)  # pooling may return indices too
        _wait(y)
        seconds = time.perf_counter() - start
        if id(layer) not in names:
            return result
        shape = () if y is None else tuple(y.shape)
        cost = Cost(names[id(layer)], repr(layer), shape, "", 0, 0, 0, 0.0)
        if layer.children():
            cost = cost._replace(layer=type(layer).__name__)
        elif y is x and clips(layer):
            cost = cost._replace(algorithm="fused", seconds=seconds)
        else:
            moved = 0 if y is x else sum(a.nbytes for a in arrays_in((inputs, result)))
            moved += sum(p.data.nbytes for p in layer.parameters())
            algorithm = layer.algorithm_for(x) if isinstance(layer, _Conv) else ""
            flops = 0 if y is None else _flops(layer, x, y)
            cost = cost._replace(algorithm=algorithm, flops=flops, moved=moved, seconds=seconds)
        costs.append((latest_entry(layer), not layer.children(), cost))
        return result

    with observing(watch):
        _, tape = model.record(*inputs)  # whole: copies take the place of arrays that users' layers have
    listed = []
    for place, leaf, cost in costs:
        arrays = () if place is None else arrays_in(tape.entries[place][1])
        new = {id(a): a for a in map(_owner, arrays) if id(a) not in held}
        held.update(new)
        if leaf or new:
            listed.append(cost._replace(kept=sum(a.nbytes for a in new.values())))
    return listed


def _wait(array: Array | None) -> None:
    """Wait until a GPU has computed `array`."""
    if array is not None and array.size:
        asnumpy(array[(0,) * array.ndim])


def _flops(layer: Layer, x: Array, y: Array) -> int:
    """Two operations per product of a weight with an input, of convolutions and dense layers; else 0."""
    if isinstance(layer, _ConvTranspose):
        return 2 * int(x.size) * prod(layer.weight.shape[1:])
    if isinstance(layer, _Conv | Dense | Bilinear):
        return 2 * int(y.size) * prod(layer.weight.shape[1:])
    return 0


def _owner(array: Array) -> Any:
    """The array whose memory a view looks at."""
    while getattr(array, "base", None) is not None and hasattr(array.base, "nbytes"):
        array = array.base
    return array
