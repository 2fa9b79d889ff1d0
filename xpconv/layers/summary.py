"""`Layer.summary`, and the tables that it and `explain` return."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from numbers import Integral
from typing import Any

from ..arguments import check_room, is_sequence, shown, to_size
from ..backend import Array, backend_of, get_xp, is_array_type
from ..dtypes import is_floating
from ..errors import OutOfMemoryError, ShapeError
from ..parameter import Parameter
from ..tape import no_grad
from .costs import Call, measure, millions, twin
from .hooked import Hooked
from .hooks import without_hooks
from .modes import Modes
from .tree import L

Layer = Modes[Any]  # the base of `Layer`
WIDTH = 100  # columns of a summary, if the names leave some for the layers
LEAST = 12  # columns of a layer's arguments that are always shown


class Summarized(Hooked[L]):
    """The part of `Layer` that shows a model as a table."""

    def summary(self, input_shape: Any = None, batch: int = 1) -> str:
        """A table of the layers: name, layer, number of parameters; with `input_shape`, also what they do.

        - `output`: the shape of the output, the first of several, in the last call of the layer;
        - `MFLOP`: multiplications and additions of convolutions and dense layers, in millions;
        - `MB saved`: the size of the arrays that a forward saves for backward, in the mode that the model is
          in, as `MB saved` of `explain`. It is empty if the model cannot be trained with that batch, as batch
          normalization of single pixels cannot with one image: then the forward is one of inference.

        The last rows are totals. `memory` is that of the parameters' arrays, without gradients and the state
        of an optimizer. If some are frozen, `trainable` and `frozen` count them apart.

        Args:
            input_shape: of one image, without the batch axis; for several inputs a tuple of shapes. An array
                instead of a shape is used as the input itself. A copy of the model runs, on images of
                zeros, or on integers if it begins with an `Embedding`. Lazy layers make their parameters.
            batch: number of images.

        Returns:
            text of at most 100 columns, for which long layers are cut off (unless the names need more). A
            notebook shows it as a table, in full.

        Raises:
            TypeError: `input_shape` is not a tuple of ints or of inputs, or their number is wrong.
            ValueError: a size is below 0, or `batch` below 1.
            ShapeError: (a ValueError) the model does not accept an image of that shape.

        Example:
            >>> import xpconv
            >>> model = xpconv.Sequential(xpconv.Flatten(), xpconv.Dense(784, 500))
            >>> print(model.summary((1, 28, 28), batch=100))
            name    layer            output      parameters  MFLOP  MB saved
            0       Flatten()        (100, 784)           0      0         0
            1       Dense(784, 500)  (100, 500)     392,500   78.4     0.314
            total                                   392,500   78.4     0.314
            memory                                  1.57 MB
        """
        self._check_collections()
        return summary(self, input_shape, to_size(f"{type(self).__name__}.summary: batch", batch))

    def _repr_html_(self) -> str | None:
        """What a notebook displays: a model as its summary, any other layer as text."""
        return self.summary()._repr_html_() if self.children() else None  # type: ignore[attr-defined]

    def _flops(self, x: Array, y: Array) -> int:
        """Two operations per product of a weight with an input, of convolutions and dense layers; else 0."""
        return 0


class Table(str):
    """A str that a notebook displays as an HTML table."""

    rows: Sequence[Sequence[str]] = ()  # the first row is the header
    texts = 0  # number of text columns, which come first; the others hold numbers
    sums = 0  # number of rows with totals, which come last

    def _repr_html_(self) -> str:
        from html import escape  # here, as `import xpconv` does not need it

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


def table(
    rows: Sequence[Sequence[str]], sums: Sequence[Sequence[str]], texts: int, width: int | None = None
) -> Table:
    """A table of `rows`, of which the first is the header, and `sums`, with numbers from column `texts` on.

    With a `width`, the second column is cut off where the text would be wider.
    """
    lines = [*rows, *sums]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    if width is not None:
        over = sum(widths) + 2 * (len(widths) - 1) - width
        widths[1] = min(widths[1], max(widths[1] - over, LEAST))
    text = []
    for row in lines:
        cells = [*row]
        if len(cells[1]) > widths[1]:
            cells[1] = cells[1][: widths[1] - 1] + "…"
        sides = [*(str.ljust for _ in row[:texts]), *(str.rjust for _ in row[texts:])]
        text.append(
            "  ".join(side(cell, w) for side, cell, w in zip(sides, cells, widths, strict=True)).rstrip()
        )
    found = Table("\n".join(text))
    found.rows, found.texts, found.sums = lines, texts, len(sums)
    return found


def summary(model: Layer, input_shape: Any, batch: int) -> Table:
    """See `Layer.summary`."""
    saved: bool = False
    calls: dict[int, list[Call]] = {}
    if input_shape is not None:
        found, saved = _calls(model, input_shape, batch)  # first: lazy layers make their parameters
        for call in found:
            calls.setdefault(call.number, []).append(call)
    rows: list[tuple[str, ...]] = [("name", "layer", "output", "parameters", "MFLOP", "MB saved")]
    for number, name, layer in model._as_they_run():
        made = calls.get(number, [])
        own = sum(p.size for p in vars(layer).values() if isinstance(p, Parameter))
        flops, kept = sum(call.flops for call in made), sum(call.saved for call in made)
        if own or kept or not layer.children():
            output = str(made[-1].output) if made else ""
            costs = millions(flops) if made else "", millions(kept) if made and saved else ""
            rows.append((name, _in_a_line(layer), output, f"{own:,}", *costs))
    sums = _sums(model, [call for made in calls.values() for call in made], saved)
    if input_shape is None:
        rows, sums = ([row[:2] + row[3:4] for row in part] for part in (rows, sums))
    return table(rows, sums, 2 if input_shape is None else 3, WIDTH)


def _sums(model: Layer, calls: list[Call], saved: bool) -> list[tuple[str, ...]]:
    parameters = [p for _, p in model.named_parameters()]
    total, frozen = (sum(p.size for p in parameters if not (only and p.requires_grad)) for only in (0, 1))
    flops, kept = millions(sum(call.flops for call in calls)), millions(sum(call.saved for call in calls))
    memory = millions(sum(p.data.nbytes for p in parameters))
    counts = [("total", f"{total:,}"), ("memory", f"{memory} MB")]
    if frozen:
        counts += [("trainable", f"{total - frozen:,}"), ("frozen", f"{frozen:,}")]
    ends = [(flops, kept if saved else ""), *[("", "")] * (len(counts) - 1)]
    return [(name, "", "", count, *end) for (name, count), end in zip(counts, ends, strict=True)]


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
    first = next((parameter.data for _, parameter in model.named_parameters()), None)
    if first is None:
        first = next((array for array in model._state().values() if is_floating(array.dtype)), None)
    xp = get_xp() if first is None else backend_of(first).xp
    dtypes = _input_dtypes(model, "float32" if first is None else str(first.dtype))
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


def expected_images(model: Any) -> tuple[int, int | None]:
    """The number of spatial axes, and of channels if it is fixed, of a model's images; or 0 and None."""
    for layer in model.modules():
        ranks: Any = getattr(layer, "ranks", ())
        axes = getattr(layer, "axes", ranks[0] - 2 if len(ranks) == 1 else None)
        if isinstance(axes, int):
            return axes, getattr(layer, "in_channels", getattr(layer, "num_features", None))
    return 0, None


def _shape_hint(model: Layer, shape: Any) -> str:
    """What `input_shape` should be, if it is that of an image with an axis too few or too many."""
    axes, channels = expected_images(model)
    if not axes or not is_sequence(shape) or not all(_is_int(n) for n in shape):
        return ""
    first = channels or 1
    if len(shape) == axes:
        return f"; give {(first, *shape)}, with the channels"
    if len(shape) == axes + 2:
        return f"; give {(channels or shape[1], *shape[2:])}"
    if len(shape) == axes + 1 and shape[-1] == channels != shape[0]:
        return f"; give {(channels, *shape[:-1])}, the channels first"
    return ""


def _is_input(one: Any) -> bool:
    """Whether `one` is a sequence, which may be a shape, or an array."""
    return is_sequence(one) or (is_array_type(type(one)) and not isinstance(one, str | Integral))


def _is_int(n: Any) -> bool:
    return not isinstance(n, bool) and hasattr(n, "__index__")


def _input_dtypes(model: Layer, floating: str) -> Iterator[str]:
    """The dtypes of the inputs of `model`, as far as its first layer determines them."""
    first = next((layer for _, layer in model.named_layers() if not layer.children()), model)
    yield from (dtype or floating for dtype in model._input_dtypes or first._input_dtypes)
    while True:
        yield floating


def _calls(model: Any, input_shape: Any, batch: int) -> tuple[list[Call], bool]:
    """The calls in a forward of zeros, and whether it saved what backward needs."""
    whose = f"{type(model).__name__}.summary: input_shape"
    inputs = example_inputs(whose, model, input_shape, batch)
    try:
        if any(layer.lazy for layer in model.modules()):
            _make(model, inputs)
        try:
            return measure(model, inputs), True
        except (
            TypeError,
            ValueError,
            RuntimeError,
        ):  # no backward, several outputs, or a batch that is too small
            return measure(twin(model).eval(), inputs, save=False), False
    except ShapeError as error:
        hint = f"{whose} is {shown(input_shape)}, that of one image, without the batch axis"
        hint += _shape_hint(model, input_shape)
        raise ShapeError(f"{hint}: {error}") from error


def _make(model: Any, inputs: tuple[Array, ...]) -> None:
    """Let lazy layers make their parameters, by a forward in inference mode."""
    layers = list(model.modules())
    modes = [layer.training for layer in layers]
    try:
        for layer in layers:
            layer.training = False
        with no_grad(), without_hooks():
            model(*inputs)
    finally:
        for layer, mode in zip(layers, modes, strict=True):
            layer.training = mode
