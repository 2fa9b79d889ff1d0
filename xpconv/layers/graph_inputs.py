"""What a `Graph` and its nodes take: shapes and dtypes of inputs, how many of them, and gradients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..arguments import is_sequence, shown
from ..backend import host
from ..dtypes import to_dtype
from ..errors import BackendError, DTypeError, ShapeError
from .children import Named
from .graph_checks import Wiring, check_count, check_takes
from .layer import Layer

Shapes = dict[str, tuple[int | None, ...]]  # by the name of the input


class ShapedInputs(Named):
    """Base of `Graph`: its properties `shapes` and `dtypes`, and the checks of inputs and gradients."""

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

    @property
    def dtypes(self) -> dict[str, str] | None:
        """The dtypes of inputs that are not of the parameters' dtype, by the names of inputs.

        `summary` and `xpconv.onnx.export` give them to the arrays that they make from shapes. May be set;
        None in place of all means the parameters' dtype.
        """
        return {n: dtype for n, dtype in zip(self._inputs, self._input_dtypes, strict=False) if dtype} or None

    @dtypes.setter
    def dtypes(self, dtypes: Mapping[str, Any] | None) -> None:
        vars(self)["_input_dtypes"] = _checked_dtypes(dtypes, self._inputs)

    def _check_layer(self, name: object, layer: object) -> None:
        super()._check_layer(name, layer)
        if isinstance(layer, Layer) and isinstance(name, str) and name in vars(self).get("_wiring", ()):
            check_takes("Graph", name, layer, len(self._wiring[name]))

    def _check_inputs(self, inputs: Sequence[Any]) -> None:
        for name, x in zip(self._inputs, inputs, strict=True):
            self._owner(x, name)
            _check_shape(name, x, (self._shapes or {}).get(name))

    def _check_grad(self, grad_output: Any, shape: Any, dtype: Any, kind: type) -> None:
        """As for one output; of several, whose names are `dtype`, each gradient that is not None."""
        if kind is not tuple:
            super()._check_grad(grad_output, shape, dtype, kind)
            return
        if grad_output is None:
            raise self._no_gradient()
        if not isinstance(grad_output, tuple | list):
            raise TypeError(
                f"Graph.backward: grad_output is {shown(grad_output)}, expected a tuple of gradients, one "
                f"for each output: {', '.join(dtype)}"
            )
        check_count("Graph.backward", grad_output, dtype, "gradients")
        for name, grad, like in zip(dtype, grad_output, shape, strict=True):
            if grad is not None:
                try:
                    super()._check_grad(grad, *like)
                except (ShapeError, DTypeError, BackendError) as error:
                    raise type(error)(f"{error} (output {name!r})") from None


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


def _checked_dtypes(dtypes: Any, inputs: Sequence[str]) -> tuple[str, ...]:
    """The dtype of each input, by its name; empty for that of the parameters."""
    if dtypes is None:
        return ()
    if not isinstance(dtypes, Mapping):
        raise TypeError(
            f"Graph: dtypes is {shown(dtypes)}, expected a mapping of the names of inputs to dtypes, such as "
            "{'ids': 'int64'}"
        )
    for name, dtype in dtypes.items():
        if name not in inputs:
            raise ValueError(f"Graph: dtypes has {shown(name)}; the inputs are {', '.join(inputs)}")
        if dtype is None:
            raise TypeError(f"Graph: dtypes[{name!r}] is None, expected a dtype; leave that input out")
    found = {name: str(to_dtype("Graph: dtypes", host().xp, dtype)) for name, dtype in dtypes.items()}
    return tuple(found.get(name, "") for name in inputs) if found else ()


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
