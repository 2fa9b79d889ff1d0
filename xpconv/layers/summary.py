"""The table that `Layer.summary` returns."""

from __future__ import annotations

from typing import Any

from ..backend import backend_of, get_xp
from ..errors import ShapeError
from .base import Layer, Parameter
from .embedding import Embedding
from .memory import no_grad


def summary(model: Layer, input_shape: tuple[int, ...] | None) -> str:
    """See `Layer.summary`."""
    shapes = {} if input_shape is None else _output_shapes(model, input_shape)  # first: lazy layers are made
    own = {
        id(layer): sum(p.size for p in vars(layer).values() if isinstance(p, Parameter))
        for _, layer in model.named_layers()
    }
    leaves = [(name, layer) for name, layer in model.named_layers() if own[id(layer)] or not layer.children()]
    rows = [
        (name, _in_a_line(layer), str(shapes.get(id(layer), "")), own[id(layer)]) for name, layer in leaves
    ]
    total = sum(p.size for _, p in model.named_parameters())
    widths = [max(len(str(row[i])) for row in rows) for i in range(3)]
    widths[0] = max(widths[0], len("total"))
    header = f"{'name':{widths[0]}} {'layer':{widths[1]}}   {'output':{widths[2]}}   parameters"
    lines = [header]
    for name, layer, shape, size in rows:
        lines.append(f"{name:{widths[0]}} {layer:{widths[1]}}   {shape:{widths[2]}} {size:12,}")
    lines.append(f"{'total':{len(header) - 12}}{total:12,}")
    frozen = sum(p.size for _, p in model.named_parameters() if not p.requires_grad)
    if frozen:
        lines.append(f"{'frozen':{len(header) - 12}}{frozen:12,}")
    return "\n".join(lines)


def _in_a_line(layer: Layer) -> str:
    return f"{type(layer).__name__}({layer.extra_repr()})" if layer.children() else repr(layer)


def _output_shapes(model: Layer, input_shape: tuple[int, ...]) -> dict[int, tuple[int, ...]]:
    """Run one image of zeros through `model` and note what each layer gives."""
    whose = f"{type(model).__name__}.summary: input_shape is {input_shape!r}"
    if not isinstance(input_shape, tuple | list) or not all(isinstance(n, int) for n in input_shape):
        raise TypeError(f"{whose}, expected a tuple: that of one image, without the batch axis")
    layers = [layer for _, layer in model.named_layers()]
    parameters = [parameter for _, parameter in model.named_parameters()]
    xp = backend_of(parameters[0].data).xp if parameters else get_xp()
    dtype = parameters[0].dtype if parameters else "float32"
    if isinstance(next(layer for layer in layers if not layer.children()), Embedding):
        dtype = "int64"
    x = xp.zeros((1, *input_shape), dtype=dtype)
    shapes: dict[int, tuple[int, ...]] = {}
    modes = [layer.training for layer in layers]

    def watch(layer: Layer) -> None:
        forward = layer.forward

        def noting(*inputs: Any) -> Any:
            y = forward(*inputs)
            shapes[id(layer)] = (y[0] if isinstance(y, tuple) else y).shape
            return y

        layer.__dict__["forward"] = noting

    try:
        for layer in layers:
            watch(layer)
        for layer in layers:
            layer.training = False
        with no_grad():
            model(x)
    except ShapeError as error:
        raise ShapeError(f"{whose}, that of one image, without the batch axis: {error}") from error
    finally:
        for layer, mode in zip(layers, modes, strict=True):
            layer.__dict__.pop("forward", None)
            layer.training = mode
    return shapes
