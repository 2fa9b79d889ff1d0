"""`predict`: the outputs of a model for any amount of data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from ..arguments import shown, to_bool, to_size
from ..arrays import asarray
from ..backend import Array, Backend, is_array_type
from ..errors import ShapeError
from ..layers.layer import Layer
from ..layers.replay import for_inference, replaying
from ..layers.summary import expected_images
from ..signatures import hinted
from ..tape import no_grad
from .objective import backend_of_model, check_inputs, checked_model
from .run import modes_restored

__all__ = ["predict"]


@hinted(
    "predict",
    {
        "verbose": "leave it out: predict prints nothing",
        "workers": "give xpconv.data.batches",
        "*": "give several inputs as a tuple: predict(model, (x, extra)), and no targets",
    },
)
def predict(
    model: Layer, data: Any, *, batch_size: int = 128, inputs: int = 1, generator: bool = False
) -> Any:
    """The outputs of a model, in the order of the data, in inference mode.

    Nothing is saved for backward, and each layer has its own mode again afterwards. On a GPU, all
    batches of a shape but the first are replays of a CUDA graph.

    Args:
        model: the model.
        data: an array `(N, …)`, also a memory-mapped one, which is read batch by batch; a tuple of arrays for
            a model of several inputs; or anything else that iterates over batches, arrays or tuples that
            begin with the inputs, such as `xpconv.data.batches(x, y, 64)`.
        batch_size: the number of samples in a forward, where `data` is an array.
        inputs: how many arrays of a batch are inputs; a tuple of arrays has as many inputs as arrays.
        generator: True returns a generator of the outputs of each batch, for more than fits in memory.

    Returns:
        the outputs as one array on the model's device (a tuple of arrays if the model returns several), or a
        generator of such.

    Raises:
        TypeError, ValueError: an argument is wrong, the inputs' lengths differ, there are no batches, or an
            output has not one row for each sample of an array.

    Example:
        >>> import numpy as np, xpconv
        >>> model, x = xpconv.Dense(3, 2, rng=0), np.zeros((1000, 3), "float32")
        >>> xpconv.train.predict(model, x).shape
        (1000, 2)
        >>> [len(y) for y in xpconv.train.predict(model, x, batch_size=400, generator=True)]
        [400, 400, 200]
    """
    where = "predict"
    model = checked_model(where, model)
    size, inputs = to_size(f"{where}: batch_size", batch_size), to_size(f"{where}: inputs", inputs)
    backend = backend_of_model(model)
    arrays = _arrays(where, data)
    if arrays is None:
        check_inputs(where, model, inputs, f"inputs is {inputs}")
        parts, count = _given(where, data, inputs, backend), None
    else:
        given = "data is an array"
        if isinstance(data, tuple):
            given = f"data is a tuple of {len(arrays)} arrays (the inputs alone, without targets)"
        if inputs not in (1, len(arrays)):
            raise ValueError(f"{where}: inputs is {inputs}, but {given}; give a tuple of {inputs} arrays")
        check_inputs(where, model, len(arrays), given)
        parts, count = _cut(arrays, size, backend), len(arrays[0])
    hint = "" if arrays is None else _one_image(model, arrays[0])
    outputs = _outputs(model, parts, arrays is not None, hint)
    return outputs if to_bool(f"{where}: generator", generator) else _together(outputs, count, backend.xp)


def _one_image(model: Layer, x: Any) -> str:
    """The hint in an error, if `x` looks like one image without the batch axis."""
    axes, channels = expected_images(model)
    shape = tuple(x.shape)
    if not axes or not (shape[:-axes] == (channels,) or (len(shape) == axes and channels in (1, None))):
        return ""
    new = ", ".join(["None"] * (axes + 2 - len(shape)))
    return f"; data has shape {shape}: for one image, whose batch axis is missing, give data[{new}]"


def _outputs(model: Layer, parts: Iterator[tuple[Array, ...]], checked: bool, hint: str) -> Iterator[Any]:
    """Those of each batch; on a GPU a repeated shape is a CUDA graph, as in `evaluate`."""
    replays = for_inference()
    for part in parts:
        with replaying(model, replays):  # not across a yield, after which the model is the caller's
            output = _forward(model, part, checked, hint)
        yield output


def _forward(model: Layer, inputs: tuple[Array, ...], checked: bool, hint: str) -> Any:
    try:
        with modes_restored(model), no_grad():
            found = model.eval()(*inputs)
    except ShapeError as error:
        raise type(error)(f"{error}{hint}") from error
    for output in found if isinstance(found, tuple) else (found,):
        shape = tuple(getattr(output, "shape", ()))
        rows = len(inputs[0])
        if not shape or (checked and shape[0] != rows):
            raise ShapeError(
                f"predict: the model returns an output of shape {shape} for {rows} samples, "
                f"expected a row for each{hint or '; for other numbers of rows give batches'}"
            )
        if len(shape) == 1 and shape[0] != rows:
            raise ShapeError(
                f"predict: the model returns an output of shape {shape} for a batch of shape "
                f"{tuple(inputs[0].shape)}, expected at least 2 axes; is it one sample? Of samples give one "
                "array: numpy.stack(samples)"
            )
    return found


def _arrays(where: str, data: Any) -> tuple[Any, ...] | None:
    """The inputs, if `data` is an array or a tuple of arrays; None if it iterates over batches."""
    indexed = hasattr(data, "__len__") and hasattr(data, "__getitem__")
    array = is_array_type(type(data)) or hasattr(data, "__array__") or isinstance(data, str | bytes | dict)
    if indexed and not array and (hasattr(data, "shape") or not isinstance(data, Iterable)):
        raise TypeError(f"{where}: data is {shown(data)}, a data set; give xpconv.data.batches(data, 64)")
    several = isinstance(data, tuple) and data and all(hasattr(part, "shape") for part in data)
    if not hasattr(data, "shape") and not several:
        if isinstance(data, str | bytes | dict) or not isinstance(data, Iterable):
            raise TypeError(
                f"{where}: data is {shown(data)}, expected an array, a tuple of arrays, or something that "
                "iterates over batches"
            )
        _check_list(where, data)
        return None
    arrays = tuple(data) if several else (data,)
    lengths = {tuple(array.shape[:1]) for array in arrays}
    if len(lengths) > 1 or () in lengths:
        shapes = ", ".join(str(tuple(array.shape)) for array in arrays)
        raise ShapeError(
            f"{where}: data has the shapes {shapes}, expected equal lengths along the first axis; a list of "
            "arrays is taken as batches"
        )
    return arrays


def _check_list(where: str, data: Any) -> None:
    """Raise an error if a list has arrays that cannot all be batches of one input."""
    if not isinstance(data, list) or not all(hasattr(part, "shape") for part in data):
        return
    if len({(len(part.shape), str(part.dtype)) for part in data}) > 1:
        found = ", ".join(f"{part.dtype} of shape {tuple(part.shape)}" for part in data[:4])
        raise TypeError(
            f"{where}: data is a list of arrays, which are taken as batches of one input, but they are "
            f"{found}; give several inputs as a tuple, (x, extra), and leave targets out"
        )


def _cut(arrays: tuple[Any, ...], size: int, backend: Backend) -> Iterator[tuple[Array, ...]]:
    for start in range(0, len(arrays[0]) or 1, size):  # also of no samples, whose output has a shape
        yield tuple(asarray(array[start : start + size], backend=backend.name) for array in arrays)


def _given(where: str, data: Any, inputs: int, backend: Backend) -> Iterator[tuple[Array, ...]]:
    for batch in data:
        parts = tuple(batch) if isinstance(batch, tuple | list) else (batch,)
        if len(parts) < inputs or not all(hasattr(part, "shape") for part in parts[:inputs]):
            raise TypeError(
                f"{where}: data gave {shown(batch)}, expected an array, or a tuple that begins with {inputs} "
                f"input{'s' * (inputs > 1)}"
            )
        yield tuple(asarray(part, backend=backend.name) for part in parts[:inputs])


def _together(outputs: Iterator[Any], count: int | None, xp: Any) -> Any:
    """All outputs as one array. If their number is known, there are never two copies of all."""
    whole: list[Any] = []
    parts: list[tuple[Any, ...]] = []
    several, start = False, 0
    for output in outputs:
        several = isinstance(output, tuple)
        part = output if several else (output,)
        if count is None or (count == len(part[0]) and not start):
            parts.append(part)
            continue
        if not whole:
            whole = [xp.empty((count, *y.shape[1:]), dtype=y.dtype) for y in part]
        for place, y in zip(whole, part, strict=True):
            place[start : start + len(y)] = y
        start += len(part[0])
    if not whole:
        if not parts:
            raise ValueError("predict: data gave no batches; a generator gives its batches only once")
        whole = [ys[0] if len(ys) == 1 else xp.concatenate(ys) for ys in zip(*parts, strict=True)]
    return tuple(whole) if several else whole[0]
