"""What an operator's function gets and returns: the contract between the reader and `operators/`.

A function of `operators/` reads one ONNX node and says which layer computes it:

    @operator("LeakyRelu")
    def leaky_relu(node: Node) -> Result:
        return LeakyReLU(node.number("alpha", 0.01)), [node.input(0)]

    @operator("Conv")
    def conv(node: Node) -> Result:
        weight = node.constant(1)
        layer = Conv2d(...)
        node.assign(layer, "weight", weight)
        return layer, [node.input(0)]

The rules:

- A function returns, for each output of the node, `(layer, [values])`: the layer gets these values in this
  order; or a NumPy array, if the result is known. For a node with one output it returns that without a list.
- The reader folds: a layer whose values are all constant runs once, on the host, and its output is a
  constant. So a function writes a layer for integers of the host just as for images, and no arithmetic of
  its own. It begins with `node.check_size` if the sizes of the output are data of the file.
- Integers and booleans from constants, from `Shape` and from what is computed of these alone are
  NumPy arrays at run time too, on every backend (`Value.on_host`): reading them never waits for a GPU.
- Constants among the values become layers that give them: parameters if `Value.trainable`, else buffers;
  what is computed from parameters alone is computed in each forward, so that they train;
  those `on_host` stay where they are.
- Weights of a layer are set by `node.assign`, which gives them the file's name in the state dict; one
  initializer in two layers is one `Parameter`.
- A node that xpconv cannot compute: `raise node.refused("why")`. The reader collects these for one error.
  Every attribute of the node must be read, by one of the methods below: one that was not is refused as
  unknown. So read all of them before the first branch.
- ONNX's shape inference, which ends the process for some faulty nodes, gets a node only after its function:
  refuse attributes out of their ranges, and missing inputs, even if the layer would notice at run time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any, TypeVar

import numpy as np

from ..layers.layer import Layer
from ..parameter import Parameter
from .library import helper, numpy_helper, onnx

Output = np.ndarray | tuple[Layer, Sequence["Value"]]
Result = Output | list[Output | None]
Operator = Callable[["Node"], Result]
Default = TypeVar("Default")

MOST_AXES = 64
MOST_BYTES = 2**31  # of an array whose size is data of the file
VIEWS = (
    "Identity",
    "Transpose",
    "Reshape",
    "Flatten",
    "Squeeze",
    "Unsqueeze",
    "Cast",
    "CastLike",
    "Expand",
)  # what they give is still the weight that they take
OPERATORS: dict[str, Operator] = {}  # by the operator's name


def operator(*names: str) -> Callable[[Operator], Operator]:
    """Register a function for the operators of these names."""

    def register(function: Operator) -> Operator:
        for name in names:
            OPERATORS[name] = function
        return function

    return register


class Refused(ValueError):
    """A node that xpconv cannot compute; the text says why."""


@dataclass(eq=False)
class Value:
    """An input or output of a node.

    Attributes:
        name: in the file.
        array: the value if it is constant, on the host and read-only; else None.
        shape: the sizes that are known; None for those that are not. None as a whole: not even their number.
        dtype: None if unknown.
        weight: whether it is a parameter, if it is floating: an array of the file with axes, or one that
            is used as a weight is (see `weights.py`); constants of arithmetic are not.
        computed: whether it is constant but computed from weights in each forward, by more than a change of
            its axes or dtype: then it is an input of layers, and not their parameter.
        on_host: whether it is an array of NumPy at run time, on every backend.
    """

    name: str
    array: np.ndarray | None = None
    shape: tuple[int | None, ...] | None = None
    dtype: np.dtype[Any] | None = None
    weight: bool = False
    computed: bool = False
    on_host: bool = False

    @property
    def ndim(self) -> int | None:
        """The number of axes, if it is known."""
        return None if self.shape is None else len(self.shape)

    @property
    def own(self) -> np.ndarray | None:
        """The array, if it is constant and a layer can have it as its parameter."""
        return None if self.computed else self.array

    @property
    def trainable(self) -> bool:
        """Whether it is a parameter: a weight whose numbers are floating."""
        return self.weight and self.array is not None and is_float(self.array)


@dataclass(eq=False)
class Assigned:
    """An array of the file as that of a layer: a parameter or buffer, by its attribute."""

    layer: Layer
    attribute: str
    value: Value
    form: str


@dataclass(eq=False)
class Node:
    """One node of a file.

    Attributes:
        op: the operator's name; `domain`: empty for ONNX's own; `opset`: the version of that domain.
        name: in the file; may be empty.
        inputs: the values, None for those left out. `outputs`: with what is known of them.
    """

    op: str
    name: str
    domain: str
    opset: int
    inputs: list[Value | None]
    outputs: list[Value]
    used: list[bool]  # for each output, whether a node or an output of the graph takes it
    attributes: dict[str, Any]  # by name: int, float, str, bytes, tuple of these, or NumPy array
    read: set[str] = field(default_factory=set)
    assigned: list[Assigned] = field(default_factory=list)
    limit: int = MOST_BYTES  # of an output whose size is data of the file

    def __str__(self) -> str:
        return f"{self.name or self.outputs[0].name!r} ({self.op})"

    # --- inputs --------------------------------------------------------------------------------------------

    def input(self, i: int) -> Value:
        """Input `i`; refused if it is left out."""
        value = self.optional(i)
        if value is None:
            raise self.refused(f"input {i} is missing")
        return value

    def optional(self, i: int) -> Value | None:
        """Input `i`, or None if it is left out."""
        return self.inputs[i] if i < len(self.inputs) else None

    def constant(self, i: int) -> Value:
        """Input `i`, whose `array` is not None; refused if it is left out or computed by the model."""
        value = self.input(i)
        if value.array is None:
            raise self.refused(f"input {i}, {value.name!r}, is computed by the model, expected a constant")
        return value

    def array(self, i: int) -> np.ndarray | None:
        """The array of input `i`; None if the input is left out; refused if it is no constant."""
        if self.optional(i) is None:
            return None
        return self.constant(i).array

    # --- attributes ----------------------------------------------------------------------------------------

    def integer(self, name: str, default: Default) -> int | Default:
        """An attribute that is an integer."""
        return self._attribute(name, int, default)  # type: ignore[no-any-return]

    def number(self, name: str, default: Default) -> float | Default:
        """An attribute that is a number."""
        return self._attribute(name, float, default)  # type: ignore[no-any-return]

    def text(self, name: str, default: Default) -> str | Default:
        """An attribute that is a string."""
        return self._attribute(name, str, default)  # type: ignore[no-any-return]

    def integers(self, name: str, default: Default) -> tuple[int, ...] | Default:
        """An attribute that is a list of integers."""
        return self._attribute(name, (tuple, int), default)  # type: ignore[no-any-return]

    def numbers(self, name: str, default: Default) -> tuple[float, ...] | Default:
        """An attribute that is a list of numbers."""
        return self._attribute(name, (tuple, float), default)  # type: ignore[no-any-return]

    def tensor(self, name: str, default: Default) -> np.ndarray | Default:
        """An attribute that is an array."""
        return self._attribute(name, np.ndarray, default)  # type: ignore[no-any-return]

    def _attribute(self, name: str, kind: Any, default: Any) -> Any:
        self.read.add(name)
        if name not in self.attributes:
            return default
        value = self.attributes[name]
        outer, inner = kind if isinstance(kind, tuple) else (kind, None)
        if not isinstance(value, outer) or (inner and not all(isinstance(v, inner) for v in value)):
            expected = outer.__name__ if inner is None else f"{inner.__name__}s"
            raise self.refused(f"attribute {name} is {value!s:.60}, expected {expected}")
        return value

    def unread(self) -> list[str]:
        """The attributes that the operator's function did not read."""
        return sorted(self.attributes.keys() - self.read)

    # --- results -------------------------------------------------------------------------------------------

    def assign(self, layer: Layer, attribute: str, value: Value, array: Any = None, form: str = "") -> None:
        """Make the constant `value` the parameter or buffer `attribute` of `layer`, under the file's name.

        Args:
            layer: has this attribute: a parameter, a buffer, or None in place of a parameter.
            attribute: its name.
            value: a constant.
            array: what the layer gets, if it is not `value.array` itself, such as its transpose.
            form: names that difference, such as "transposed". Layers that take one value in the same form
                share the parameter.
        """
        given = value.array if array is None else np.asarray(array)
        if given is None:
            raise self.refused(f"{value.name!r} is computed by the model, expected a constant")
        there = getattr(layer, attribute, None)
        if there is not None and tuple(there.shape) != given.shape:
            raise self.refused(
                f"{attribute}, {value.name!r}, has shape {given.shape}, expected {tuple(there.shape)}"
            )
        own = np.array(given, order="C")
        setattr(layer, attribute, own if attribute in layer.buffer_names else Parameter(own, attribute))
        self.assigned.append(Assigned(layer, attribute, value, form))

    def note_axes(self, sizes: Value) -> None:
        """Record the number of the output's axes; its shape is `sizes`, a value that the model computes."""
        shape, output = sizes.shape or (), self.outputs[0]
        count = shape[0] if sizes.array is None and len(shape) == 1 else None
        if count is not None and count <= MOST_AXES and output.shape is None:
            output.shape = (None,) * count

    def check_size(self, shape: Sequence[int], dtype: Any = "float32") -> None:
        """Refuse an output of this shape if it is negative, or larger than any that the reader makes."""
        if any(n < 0 for n in shape):
            raise self.refused(f"the output has shape {tuple(shape)}")
        if prod(map(int, shape)) * np.dtype(dtype).itemsize > self.limit:
            raise self.refused(f"the output has shape {tuple(shape)}, more than {self.limit:,} bytes")

    def refused(self, why: str) -> Refused:
        """The exception to raise for a node that xpconv cannot compute."""
        return Refused(why)


def is_float(array: np.ndarray) -> bool:
    """Whether the array's dtype is floating, bfloat16 included."""
    return array.dtype.kind == "f" or array.dtype.name == "bfloat16"


def attribute_value(attribute: Any) -> Any:
    """The value of an `AttributeProto`; a graph, a sequence or a type is given as it is."""
    value = helper.get_attribute_value(attribute)
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, onnx.TensorProto):
        return numpy_helper.to_array(value)
    if isinstance(value, float):
        return short(value)
    if hasattr(value, "__len__") and not isinstance(value, str) and not hasattr(value, "DESCRIPTOR"):
        return tuple(map(_item, value))
    return value


def to_number(value: Any) -> Any:
    """A NumPy number as Python's: of the floats that round to it, the one with the fewest digits.

    So 1e-5, which float32 rounds to 9.999999747378752e-06, is 1e-05 again.
    """
    if value.dtype.kind == "f":
        return float(np.format_float_scientific(value, unique=True))
    return value.item()


def short(number: float) -> float:
    """The number with the fewest digits that is the same in float32, the dtype of attributes."""
    return float(to_number(np.float32(number)))


def _item(value: Any) -> Any:
    """An element of an attribute that is a list."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return short(value) if isinstance(value, float) else value
