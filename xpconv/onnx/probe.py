"""A run of the model that is exported: its outputs for zeros, and the sizes within it."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Integral
from typing import Any

import numpy as np

from ..arguments import is_sequence, shown
from ..backend import Array, get_xp
from ..errors import LayerError, ShapeError
from ..layers.costs import twin
from ..layers.graph import Graph
from ..layers.hooks import without_hooks
from ..layers.layer import Layer
from ..layers.summary import example_inputs
from ..tape import no_grad, observing

Sizes = tuple[int | None, ...]  # of an array, as far as they are known


def examples(
    model: Layer, input_shape: Any, dynamic_batch: bool
) -> tuple[tuple[Array, ...], list[Array], dict[str, Sizes]]:
    """Inputs, what the model gives for them, and the sizes of what each layer gives, by its path.

    If the batch is to be free, the model runs with another one; a graph, which may be made for some, with
    two others.
    """
    _check_sizes(input_shape)
    inputs = example_inputs("xpconv.onnx.export: input_shape", model, input_shape, 1)
    has_graph = any(isinstance(layer, Graph) for layer in model.modules())
    more = (1, 2)[: 1 + has_graph] if dynamic_batch else (0,)
    shapes: dict[str, list[tuple[int, ...]]] = {}
    results = [_outputs(model, inputs, n, input_shape, shapes) for n in more]
    sizes = {path: _common(found) for path, found in shapes.items()} if has_graph else {}
    return inputs, results[0], sizes


def _check_sizes(input_shape: Any) -> None:
    """Raise a ValueError if a size is left open."""
    if not is_sequence(input_shape):
        return
    for shape in (input_shape, *filter(is_sequence, input_shape)):
        if any(n is None or isinstance(n, str) or (isinstance(n, Integral) and n < 0) for n in shape):
            raise ValueError(
                f"xpconv.onnx.export: input_shape is {shown(input_shape)}, expected the sizes of one image, "
                "all of them numbers: in the file only the batch is free, which the shape leaves out"
            )


def _outputs(
    model: Layer,
    inputs: tuple[Array, ...],
    more: int,
    input_shape: Any,
    shapes: dict[str, list[tuple[int, ...]]],
) -> list[Array]:
    """What the model gives for zeros, with `more` images than the inputs; notes the shapes by path."""
    probes = tuple(get_xp(x).zeros(_more(x.shape, more), dtype=x.dtype) for x in inputs)
    copy = twin(model)
    paths = {id(layer): path for path, layer in reversed(list(copy.named_layers()))}

    def note(layer: Any, forward: Callable[..., Any], given: tuple[Any, ...]) -> Any:
        """An observer, for which layers run one by one: no plan of inference is made for the probe."""
        y = forward(*given)
        if id(layer) in paths and hasattr(y, "shape"):
            shapes.setdefault(paths[id(layer)], []).append(tuple(y.shape))
        return y

    try:
        with no_grad(), without_hooks(), np.errstate(all="ignore"), observing(note):
            result = copy(*probes)
    except ShapeError as error:
        text = f"xpconv.onnx.export: input_shape is {shown(input_shape)}, {_fix(copy, inputs, input_shape)}"
        raise ShapeError(f"{text}: {error}") from error
    return list(result) if isinstance(result, tuple | list) else [result]


def _fix(model: Layer, inputs: tuple[Array, ...], input_shape: Any) -> str:
    """What to give in place of an `input_shape` that the model does not take."""
    if _takes(model, inputs, 0):
        return (
            "which the model takes, but not with another size of the first axis; if its first axis is no "
            "batch, or is fixed, give dynamic_batch=False"
        )
    several = is_sequence(input_shape) and not all(isinstance(n, Integral) for n in input_shape)
    if not is_sequence(input_shape) or (several and not all(map(is_sequence, input_shape))):
        return "expected inputs that the model takes"
    shapes = [x.shape[2:] for x in inputs]
    if all(x.ndim > 2 for x in inputs) and _takes(model, inputs, 1):
        fix = shown(tuple(shapes) if several else shapes[0])
        return f"expected that of one image, without the batch axis: give {fix}"
    if isinstance(model, Graph) and any(shape and shape[0] for shape in (model.shapes or {}).values()):
        return (
            "but the graph has a fixed batch: give an array, of a whole batch, and dynamic_batch=False, or "
            "free the batch by graph.shapes = None"
        )
    return "that of one image, without the batch axis, which the model does not take"


def _takes(model: Layer, inputs: tuple[Array, ...], without: int) -> bool:
    """Whether the model takes zeros of the shapes of `inputs` without their first axes."""
    zeros = (get_xp(x).zeros(x.shape[without:], dtype=x.dtype) for x in inputs)
    try:
        with no_grad(), without_hooks(), np.errstate(all="ignore"):
            model(*zeros)
    except (LayerError, ValueError, TypeError):
        return False
    return True


def _common(shapes: list[tuple[int, ...]]) -> Sizes:
    """The sizes that all have; None for others."""
    if len({len(shape) for shape in shapes}) > 1:
        return ()
    return tuple(sizes[0] if len(set(sizes)) == 1 else None for sizes in zip(*shapes, strict=True))


def _more(shape: tuple[int, ...], more: int) -> tuple[int, ...]:
    return (shape[0] + more, *shape[1:]) if shape else shape
