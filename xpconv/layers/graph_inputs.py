"""What a `Graph` and its nodes take: shapes of inputs, and how many of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..arguments import is_sequence, shown
from ..errors import ShapeError
from .children import Named
from .graph_checks import Wiring, check_takes
from .layer import Layer

Shapes = dict[str, tuple[int | None, ...]]  # by the name of the input


class ShapedInputs(Named):
    """Base of `Graph`: its property `shapes`, and the checks of inputs."""

    _inputs: tuple[str, ...]
    _wiring: Wiring
    _shapes: Shapes | None = None

    @property
    def shapes(self) -> Shapes | None:
        """The shapes that forward takes, by the names of inputs, with None for sizes that are free.

        May be set; None in place of all takes any.
        """
        return self._shapes

    @shapes.setter
    def shapes(self, shapes: Mapping[str, Sequence[int | None]] | None) -> None:
        self._shapes = _checked_shapes(shapes, self._inputs)

    def _check_layer(self, name: object, layer: object) -> None:
        super()._check_layer(name, layer)
        if isinstance(layer, Layer) and isinstance(name, str) and name in vars(self).get("_wiring", ()):
            check_takes("Graph", name, layer, len(self._wiring[name]))

    def _check_inputs(self, inputs: Sequence[Any]) -> None:
        for name, x in zip(self._inputs, inputs, strict=True):
            self._owner(x, name)
            _check_shape(name, x, (self._shapes or {}).get(name))


def _checked_shapes(shapes: Any, inputs: Sequence[str]) -> dict[str, tuple[int | None, ...]] | None:
    """The shapes of inputs by name, with None for sizes that are free; or None."""
    if shapes is None:
        return None
    if not isinstance(shapes, Mapping) or not all(
        is_sequence(shape) and all(n is None or _is_size(n) for n in shape) for shape in shapes.values()
    ):
        raise TypeError(
            f"Graph: shapes is {shown(shapes)}, expected a mapping of the names of inputs to shapes: tuples "
            "of sizes, with None for one that is free"
        )
    for name in shapes:
        if name not in inputs:
            raise ValueError(f"Graph: shapes has {shown(name)}; the inputs are {', '.join(inputs)}")
    return {name: tuple(None if n is None else int(n) for n in shape) for name, shape in shapes.items()}


def _is_size(n: Any) -> bool:
    """Whether `n` is the size of an axis."""
    return not isinstance(n, bool) and hasattr(n, "__index__") and int(n) >= 0


def _check_shape(name: str, x: Any, shape: tuple[int | None, ...] | None) -> None:
    """Raise a ShapeError if input `name` of a graph is not of this shape."""
    if shape is None:
        return
    if x.ndim != len(shape):
        raise ShapeError(f"Graph.forward: {name} has shape {x.shape}, expected {len(shape)} axes: {shape}")
    wrong = next((i for i, n in enumerate(shape) if n not in (None, x.shape[i])), None)
    if wrong is not None:
        fixed = f"graph.shapes fixes axis {wrong} of input {name} to {shape[wrong]}"
        raise ShapeError(
            f"Graph.forward: {name} has shape {x.shape}, but {fixed}, as the file does if it is from one; "
            "xpconv.onnx.load(path, dynamic_batch=True) frees the batch, and graph.shapes = None all axes"
        )
