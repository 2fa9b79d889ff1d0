"""The table that `Layer.summary` returns."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from html import escape
from typing import Any

from ..arguments import check_room, is_sequence, shown, to_size
from ..backend import Array, backend_of, get_xp, is_array_type
from ..errors import OutOfMemoryError, ShapeError
from ..parameter import Parameter
from ..tape import no_grad, observing
from .modes import Modes

Layer = Modes[Any]  # the base of `Layer`, whose method calls `summary`


class Table(str):
    """A str that a notebook displays as an HTML table."""

    rows: Sequence[Sequence[str]] = ()  # the first row is the header
    texts = 0  # number of text columns, which come first; the others hold numbers
    sums = 0  # number of rows with totals, which come last

    def _repr_html_(self) -> str:
        def line(row: Sequence[str], tag: str) -> str:
            cells = []
            for i, cell in enumerate(row):
                side = "left" if i < self.texts else "right"
                cells.append(f'<{tag} style="text-align: {side}">{escape(cell)}</{tag}>')
            return f"<tr>{''.join(cells)}</tr>"

        header, *rows = self.rows
        body, sums = rows[: len(rows) - self.sums], rows[len(rows) - self.sums :]
        lines = ["<table>", "<thead>", line(header, "th"), "</thead>", "<tbody>"]
        lines += [line(row, "td") for row in body]
        lines += ["</tbody>", "<tfoot>", *[line(row, "th") for row in sums], "</tfoot>", "</table>"]
        return "\n".join(lines)


def table(text: str, rows: Sequence[Sequence[str]], texts: int, sums: int) -> Table:
    """`text` with the `rows` that a notebook displays instead."""
    found = Table(text)
    found.rows, found.texts, found.sums = rows, texts, sums
    return found


def summary(model: Layer, input_shape: Any) -> Table:
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
    sums = [("total", sum(p.size for _, p in model.named_parameters()))]
    frozen = sum(p.size for _, p in model.named_parameters() if not p.requires_grad)
    if frozen:
        sums.append(("frozen", frozen))
    widths = [max(len(str(row[i])) for row in rows) for i in range(3)]
    widths[0] = max(widths[0], len("total"))
    header = f"{'name':{widths[0]}} {'layer':{widths[1]}}   {'output':{widths[2]}}   parameters"
    lines = [header]
    for name, layer, shape, size in rows:
        lines.append(f"{name:{widths[0]}} {layer:{widths[1]}}   {shape:{widths[2]}} {size:12,}")
    lines += [f"{name:{len(header) - 12}}{size:12,}" for name, size in sums]
    cells = [("name", "layer", "output", "parameters"), *((*row[:3], f"{row[3]:,}") for row in rows)]
    cells += [(name, "", "", f"{size:,}") for name, size in sums]
    return table("\n".join(lines), cells, 3, len(sums))


def _in_a_line(layer: Layer) -> str:
    return f"{type(layer).__name__}({layer.extra_repr()})" if layer.children() else repr(layer)


def example_inputs(where: str, model: Layer, input_shape: Any, batch: int) -> tuple[Array, ...]:
    """Inputs for `model`: `batch` images of zeros for each shape; arrays in `input_shape` are used unchanged.

    Args:
        where: the name of `input_shape` in errors.
        input_shape: the shape of one image, without the batch axis; for several inputs, a tuple of shapes.

    Raises:
        TypeError: `input_shape` is none of these, or the model takes another number of inputs.
        ValueError: a size is below 0.
    """
    several = is_sequence(input_shape) and any(_is_input(one) for one in input_shape)
    given = list(input_shape) if several else [input_shape]
    if not all(_is_input(one) for one in given) or any(
        is_sequence(one) and not all(_is_int(n) for n in one) for one in given
    ):
        raise TypeError(
            f"{where} is {shown(input_shape)}, expected a tuple: that of one image, without the batch axis; "
            "for several inputs a tuple of such tuples, or of arrays"
        )
    parameters = [parameter for _, parameter in model.named_parameters()]
    xp = backend_of(parameters[0].data).xp if parameters else get_xp()
    dtypes = _input_dtypes(model, str(parameters[0].dtype) if parameters else "float32")
    arrays = []
    for one, dtype in zip(given, dtypes, strict=False):
        if is_sequence(one):
            shape = (batch, *(to_size(where, n, 0) for n in one))
            check_room(f"{where}: images", shape, xp.dtype(dtype).itemsize)
            try:
                one = xp.zeros(shape, dtype=dtype)
            except MemoryError as cause:
                raise OutOfMemoryError(f"{where}: no memory for images of shape {shape}: {cause}") from cause
        arrays.append(one)
    try:
        inspect.signature(model.forward).bind(*arrays)
    except TypeError as error:
        takes = ", ".join(inspect.signature(model.forward).parameters)
        raise TypeError(
            f"{where} is {shown(input_shape)}, of {len(arrays)} input{'s' * (len(arrays) != 1)}, but "
            f"{type(model).__name__}.forward takes {takes}; for several give a tuple of shapes: {error}"
        ) from None
    return tuple(arrays)


def _is_input(one: Any) -> bool:
    """Whether `one` is a sequence, which may be a shape, or an array."""
    return is_sequence(one) or (is_array_type(type(one)) and not isinstance(one, str))


def _is_int(n: Any) -> bool:
    return not isinstance(n, bool) and hasattr(n, "__index__")


def _input_dtypes(model: Layer, floating: str) -> Iterator[str]:
    """The dtypes of the inputs of `model`, as far as its first layer determines them."""
    first = next((layer for _, layer in model.named_layers() if not layer.children()), model)
    yield from (dtype or floating for dtype in first._input_dtypes)
    while True:
        yield floating


def first_array(value: Any) -> Any:
    """`value` if it is an array, else the first array in it; None if there is none."""
    if isinstance(value, tuple | list | dict):
        parts = value.values() if isinstance(value, dict) else value
        return next((found for part in parts if (found := first_array(part)) is not None), None)
    return value if hasattr(value, "shape") else None


def _output_shapes(model: Any, input_shape: Any) -> dict[int, tuple[int, ...]]:
    """The output shape of each layer, by id, from a forward of one image of zeros."""
    whose = f"{type(model).__name__}.summary: input_shape"
    inputs = example_inputs(whose, model, input_shape, 1)
    layers = [layer for _, layer in model.named_layers()]
    shapes: dict[int, tuple[int, ...]] = {}
    modes = [layer.training for layer in layers]

    def note(layer: Layer, forward: Callable[..., Any], inputs: tuple[Any, ...]) -> Any:
        y = forward(*inputs)
        found = first_array(y)
        if found is not None:
            shapes[id(layer)] = tuple(found.shape)
        return y

    try:
        for layer in layers:
            layer.training = False
        with no_grad(), observing(note):
            model(*inputs)
    except ShapeError as error:
        hint = f"{whose} is {shown(input_shape)}, that of one image, without the batch axis"
        raise ShapeError(f"{hint}: {error}") from error
    finally:
        for layer, mode in zip(layers, modes, strict=True):
            layer.training = mode
    return shapes
