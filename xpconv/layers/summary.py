"""The table that `Layer.summary` returns."""

from __future__ import annotations

from ..backend import Array, backend_of, get_xp
from .base import Layer, Parameter
from .memory import no_grad


def summary(model: Layer, input_shape: tuple[int, ...] | None) -> str:
    """See `Layer.summary`."""
    own = {
        id(layer): sum(p.size for p in vars(layer).values() if isinstance(p, Parameter))
        for _, layer in model.named_layers()
    }
    leaves = [(name, layer) for name, layer in model.named_layers() if own[id(layer)] or not layer.children()]
    shapes = {} if input_shape is None else _output_shapes(model, input_shape)
    rows = [(name, repr(layer), str(shapes.get(id(layer), "")), own[id(layer)]) for name, layer in leaves]
    total = sum(p.size for p in model.parameters())
    widths = [max(len(str(row[i])) for row in rows) for i in range(3)]
    widths[0] = max(widths[0], len("total"))
    header = f"{'name':{widths[0]}} {'layer':{widths[1]}}   {'output':{widths[2]}}   parameters"
    lines = [header]
    for name, layer, shape, size in rows:
        lines.append(f"{name:{widths[0]}} {layer:{widths[1]}}   {shape:{widths[2]}} {size:12,}")
    lines.append(f"{'total':{len(header) - 12}}{total:12,}")
    return "\n".join(lines)


def _output_shapes(model: Layer, input_shape: tuple[int, ...]) -> dict[int, tuple[int, ...]]:
    """Run one image of zeros through `model` and note what each layer gives."""
    parameters = model.parameters()
    xp = backend_of(parameters[0].data).xp if parameters else get_xp()
    x = xp.zeros((1, *input_shape), dtype=parameters[0].dtype if parameters else "float32")
    shapes: dict[int, tuple[int, ...]] = {}
    layers = [layer for _, layer in model.named_layers()]
    modes = [layer.training for layer in layers]

    def watch(layer: Layer) -> None:
        forward = layer.forward

        def noting(x: Array) -> Array:
            y = forward(x)
            shapes[id(layer)] = y.shape
            return y

        layer.__dict__["forward"] = noting

    try:
        for layer in layers:
            watch(layer)
        with no_grad():
            model.eval()(x)
    finally:
        for layer, mode in zip(layers, modes, strict=True):
            layer.__dict__.pop("forward", None)
            layer.training = mode
    return shapes
