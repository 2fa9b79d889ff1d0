"""The cost of a forward, layer by layer."""

from __future__ import annotations

from typing import Any, NamedTuple

from .arguments import shown, to_size
from .errors import ShapeError
from .layers import Layer, costs
from .layers.activation import clips
from .layers.costs import millions
from .layers.summary import example_inputs, table

__all__ = ["explain"]


class Cost(NamedTuple):
    """What one forward of a layer costs."""

    name: str
    layer: str
    output: tuple[int, ...]
    algorithm: str
    flops: int
    moved: int
    saved: int
    seconds: float


def explain(model: Layer, input_shape: Any, batch: int = 1) -> str:
    """A table of what each layer of `model` costs in a forward, from running it on images of zeros.

    - `algorithm`: the algorithm of a convolution, chosen from its shapes (see `Conv2d(algorithm=)`); `fused`
      for a ReLU that runs in the same pass over the data as the layer above it in the table;
    - `MFLOP`: multiplications and additions of convolutions and dense layers, in millions;
    - `MB moved`: the size of inputs, outputs and parameters, each once; 0 if the output is the input itself;
    - `MB saved`: the size of the arrays that the layer saves for backward and that no earlier layer saves;
    - `ms`: the shortest time of three, synchronising with a GPU after each layer, and its share of the total.

    It runs copies of the model, in the model's mode, but without its hooks, with which a forward saves more.
    The layers are in the order in which they run. Of layers that contain others, those are listed that save
    arrays themselves, with only those arrays.

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
        ['name', 'layer', 'output', 'algorithm', 'MFLOP', 'MB', 'moved', 'MB', 'saved', 'ms', 'share']
    """
    if not isinstance(model, Layer):
        raise TypeError(f"explain: model is {shown(model)}, expected a Layer")
    rows = measure(model, input_shape, to_size("explain: batch", batch))
    total = sum(cost.seconds for cost in rows) or 1.0
    header = ("name", "layer", "output", "algorithm", "MFLOP", "MB moved", "MB saved", "ms", "share")
    lines = [
        (
            *(c.name, c.layer, str(c.output), c.algorithm, millions(c.flops) if c.flops else ""),
            *(millions(c.moved), millions(c.saved), f"{c.seconds * 1e3:.3f}", f"{c.seconds / total:.0%}"),
        )
        for c in rows
    ]
    sums = [millions(sum(getattr(c, name) for c in rows)) for name in ("flops", "moved", "saved")]
    return table([header, *lines], [("total", "", "", "", *sums, f"{total * 1e3:.3f}", "")], texts=4)


def measure(model: Layer, input_shape: Any, batch: int) -> list[Cost]:
    """The cost of each layer, in the order of their calls, for `explain`."""
    inputs = example_inputs("explain: input_shape", model, input_shape, batch)
    try:
        runs = [costs.measure(model, inputs) for _ in range(3)]  # also in no_grad(), as saved arrays count
    except ShapeError as error:
        text = str(error.args[0])
        if batch == 1 and "larger batch" in text:
            fix = "give batch=2 or more" + (", or model.eval()" if "eval()" in text else "")
            error.args = (f"{text}; here: {fix}",)
        raise
    fastest = [min(calls, key=lambda call: call.seconds) for calls in zip(*runs, strict=True)]
    return [
        _cost(call, fast.seconds)
        for call, fast in zip(runs[-1], fastest, strict=True)
        if call.saved or not call.layer.children()
    ]


def _cost(call: costs.Call, seconds: float) -> Cost:
    layer: Any = call.layer
    name = type(layer).__name__ if layer.children() else repr(layer)
    algorithm = "fused" if call.same and clips(layer) else call.algorithm
    return Cost(call.name, name, call.output, algorithm, call.flops, call.moved, call.saved, seconds)
