"""`Builder`, which makes the ONNX graph of a model node by node."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..arguments import shown
from ..arrays import asnumpy
from ..backend import is_array_type
from ..layers.layer import Layer
from ..layers.tree import join
from ..parameter import Parameter
from .library import defs, helper, numpy_helper, shape_inference

__all__ = ["Builder", "Tensor"]

Size = int | str | None  # of an axis: a number, the name of a free size such as the batch, or None if unknown
SMALL = 1024  # elements of a constant that shape inference reads


@dataclass(frozen=True)
class Tensor:
    """A tensor of the graph: an input, or the output of a node.

    Attributes:
        name: in the file.
        shape: the sizes; a str such as `'batch'` for one that is free, None for one that ONNX cannot infer.
        dtype: the name of NumPy's dtype.
    """

    name: str
    shape: tuple[Size, ...]
    dtype: np.dtype[Any]

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)


@dataclass
class Weight:
    """An initializer: a parameter or buffer under its name in the state dict."""

    name: str
    array: np.ndarray


@dataclass
class Builder:
    """The ONNX graph of a model while `export` makes it; `to_onnx` of a layer of your own gets it.

    A layer of your own writes its nodes in `to_onnx(self, builder, x)`, with as many `x` as its forward
    takes. It returns what `builder.node(…)` returns, or a tuple of these for several outputs.

    Attributes:
        opset: the version of ONNX's operators.

    Example:
        >>> import numpy as np, xpconv
        >>> class Scale(xpconv.Layer):
        ...     def __init__(self, channels):
        ...         self.weight = xpconv.Parameter(np.ones((channels, 1, 1), "float32"), "weight")
        ...     def forward(self, x):
        ...         return x * self.weight.data + 1
        ...     def to_onnx(self, builder, x):
        ...         return builder.node("Add", builder.node("Mul", x, self.weight), 1)
        >>> import tempfile
        >>> file = tempfile.NamedTemporaryFile(suffix=".onnx")
        >>> xpconv.onnx.export(xpconv.Sequential(Scale(3)).eval(), file.name, (3, 8, 8))
    """

    opset: int
    names: Mapping[int, str]  # of the arrays of the state dict, by id
    paths: Mapping[int, str]  # of the layers, by id
    rules: Callable[[Layer], Callable[..., Any]]
    sizes: Mapping[str, Sequence[int | None]] = field(default_factory=dict)  # of what layers give, by path
    nodes: list[Any] = field(default_factory=list)
    weights: dict[tuple[int, tuple[int, ...] | None], Weight] = field(default_factory=dict)
    path: str = ""  # of the layer that is written now
    _types: dict[str, Any] = field(default_factory=dict)  # of all tensors, as ONNX writes them
    _data: dict[str, Any] = field(default_factory=dict)  # of small constants
    _results: dict[str, str] = field(default_factory=dict)  # what layers give: the path of the innermost one
    _taken: set[str] = field(default_factory=set)

    def node(
        self, op: str, *inputs: Any, outputs: int = 1, like: Sequence[Size] | None = None, **attributes: Any
    ) -> Any:
        """Append a node of ONNX's operator `op`.

        Args:
            op: the name of the operator.
            inputs: each a tensor, a `Parameter` or buffer of the model (which becomes an initializer under
                its name in the state dict), or a constant: an array, a number, which gets the dtype of the
                first tensor, a list of ints, or None for an input that is left out.
            outputs: how many of the operator's outputs the node has.
            like: the shape of the outputs, used if ONNX infers none.
            attributes: those of the operator; one that is None is left out.

        Returns:
            a tensor; with `outputs`, a tuple of them.

        Raises:
            ValueError: ONNX has no such operator in this opset, or does not take these inputs.
        """
        self._check_operator(op)
        dtype = self._dtype_of(inputs)
        names = [self._to_tensor(op, value, dtype).name if value is not None else "" for value in inputs]
        while names and not names[-1]:
            names.pop()
        given = {name: value for name, value in attributes.items() if value is not None}
        results = [self._new_name(join(self.path, f"{op}_output")) for _ in range(outputs)]
        try:
            node = helper.make_node(op, names, results, name=self._new_name(join(self.path, op)), **given)
        except (TypeError, ValueError) as cause:
            raise self.refused(f"{op} does not take the attributes {shown(given)}: {cause}") from cause
        types = self._infer(node, like)
        self.nodes.append(node)
        tensors = tuple(self._declare(name, types[name]) for name in results)
        return tensors if outputs > 1 else tensors[0]

    def constant(self, value: Any, dtype: Any = None) -> Tensor:
        """A node `Constant` that gives an array; lists of ints are int64."""
        array = np.asarray(value, dtype=dtype or ("int64" if isinstance(value, list) else None))
        proto = numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape))
        name = self._new_name(join(self.path, "Constant_output"))
        label = self._new_name(join(self.path, "Constant"))
        self.nodes.append(helper.make_node("Constant", [], [name], name=label, value=proto))
        if array.size <= SMALL:
            proto.name = name
            self._data[name] = proto
        return self._declare(name, helper.make_tensor_type_proto(proto.data_type, array.shape))

    def parameter(self, value: Any, shape: tuple[int, ...] | None = None) -> Tensor:
        """An initializer: a `Parameter` or buffer of the model, under its name in the state dict.

        `shape`, of the same number of elements, is that of the initializer.
        """
        array = value.data if isinstance(value, Parameter) else value
        name = self.names.get(id(array))
        if name is None:
            raise ValueError(
                f"{self._where}: {shown(value)} is not in the state dict of the model; for other arrays use "
                "builder.constant(array)"
            )
        shape = None if shape is None or tuple(array.shape) == shape else shape
        key = id(array), shape
        if key not in self.weights:
            plain = (id(array), None) in self.weights or any(k[0] == id(array) for k in self.weights)
            host = asnumpy(array) if shape is None else asnumpy(array).reshape(shape)
            self.weights[key] = Weight(self._new_name(name) if plain else name, host)
        weight = self.weights[key]
        kind = helper.np_dtype_to_tensor_dtype(weight.array.dtype)
        return self._declare(weight.name, helper.make_tensor_type_proto(kind, weight.array.shape))

    def layer(self, layer: Layer, *inputs: Tensor) -> Any:
        """Append the nodes of a layer that this one calls; returns the tensors of its outputs."""
        with self._inside(layer):
            self._check_own(f"{type(layer).__name__} gets", *inputs)
            result = self._sized(self.rules(layer)(self, *inputs))
            if self.path and isinstance(result, Tensor) and all(result.name != x.name for x in inputs):
                self._results.setdefault(result.name, self.path)
            parts = result if isinstance(result, tuple) else (result,)
            if not parts or not all(isinstance(y, Tensor) for y in parts):
                raise self.refused(f"to_onnx returns {shown(result)}, expected a tensor or a tuple of them")
            self._check_own("to_onnx returns", *parts)
            return result

    def reshape(self, x: Tensor, *sizes: Size) -> Tensor:
        """A node `Reshape`, if there is something to do. A size of `x.shape` that is free stays free."""
        if sizes == x.shape:
            return x
        target = []
        for i, size in enumerate(sizes):
            same = not isinstance(size, int) and size == x.shape[i : i + 1][0] if i < x.ndim else False
            target.append(size if isinstance(size, int) else 0 if same and size is not None else -1)
        if target.count(-1) > 1:
            raise self.refused(f"the shape {sizes} has more than one size that is not fixed")
        y = self.node("Reshape", x, target)
        shape = [known if size is None else size for size, known in zip(sizes, y.shape, strict=True)]
        kind = helper.np_dtype_to_tensor_dtype(y.dtype)
        return self._declare(y.name, helper.make_tensor_type_proto(kind, shape))

    def cast(self, x: Tensor, dtype: Any) -> Tensor:
        """A node `Cast` to a dtype, by NumPy's name."""
        tensor: Tensor = self.node("Cast", x, to=helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))
        return tensor

    def fixed(self, x: Tensor, *axes: int) -> tuple[int, ...]:
        """The sizes of `x` along these axes, or all; an error if one is free."""
        sizes = [x.shape[axis] for axis in axes or range(x.ndim)]
        if any(not isinstance(size, int) for size in sizes):
            raise self.refused(
                f"x has shape {x.shape}, but the size must be known; give dynamic_batch=False, with an array "
                "as input_shape"
            )
        return tuple(sizes)  # type: ignore[arg-type]

    def refused(self, why: str) -> ValueError:
        """The error to raise where ONNX has no form for a layer; begins with its name and path."""
        return ValueError(f"{self._where}: {why}")

    def too_old(self, what: str, opset: int) -> ValueError:
        """The error to raise where ONNX has a form since this opset, which says how to export with that."""
        hint = f"give opset={opset} to xpconv.onnx.export"
        return self.refused(f"{what} needs opset {opset}, but this is {self.opset}; {hint}")

    # --- for `export` --------------------------------------------------------------------------------------

    def reserve(self, names: Iterable[str]) -> None:
        """Names that no tensor within the graph gets."""
        self._taken.update(names)

    def input(self, name: str, shape: Sequence[Size], dtype: Any) -> Tensor:
        """An input of the graph."""
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        return self._declare(name, helper.make_tensor_type_proto(kind, shape))

    def named(self, tensor: Tensor, name: str) -> Tensor:
        """Give a tensor a reserved name in the file: the name of a buffer that is not an initializer."""
        self._taken.discard(name)
        self._results[tensor.name] = name
        return tensor

    def results(self) -> dict[str, str]:
        """New names for what layers give: their paths."""
        made = {name for node in self.nodes for name in node.output}
        return {name: self._new_name(path) for name, path in self._results.items() if name in made}

    def type_of(self, name: str) -> Any:
        """ONNX's type of a tensor."""
        return self._types[name]

    @property
    def _where(self) -> str:
        return f"xpconv.onnx.export: layer {self.path}" if self.path else "xpconv.onnx.export: the model"

    @contextmanager
    def _inside(self, layer: Layer) -> Iterator[None]:
        before, self.path = self.path, self.paths.get(id(layer), self.path)
        try:
            yield
        finally:
            self.path = before

    def _sized(self, y: Any) -> Any:
        """`y`, an output of the layer, with its known sizes where ONNX infers none."""
        sizes = self.sizes.get(self.path, ())
        if not isinstance(y, Tensor) or y.ndim != len(sizes):
            return y
        shape = [
            n if isinstance(n, int) or known is None else known
            for n, known in zip(y.shape, sizes, strict=True)
        ]
        kind = helper.np_dtype_to_tensor_dtype(y.dtype)
        return self._declare(y.name, helper.make_tensor_type_proto(kind, shape))

    def _check_own(self, where: str, *tensors: Any) -> None:
        for x in tensors:
            if not isinstance(x, Tensor) or x.name not in self._types:
                raise self.refused(f"{where} {shown(x)}, expected a tensor from this builder")

    def _check_operator(self, op: str) -> None:
        if not isinstance(op, str):
            raise self.refused(f"builder.node: op is {shown(op)}, expected the name of an operator")
        try:
            schema = defs.get_schema(op, self.opset, "")
        except defs.SchemaError:
            schema = None
        if schema is None or schema.deprecated:
            versions = [
                s.since_version for s in defs.get_all_schemas_with_history() if s.name == op and not s.domain
            ]
            if versions and min(versions) > self.opset:
                raise self.too_old(f"ONNX's operator {op}", min(versions))
            raise self.refused(f"ONNX has no operator {op} in opset {self.opset}")

    def _infer(self, node: Any, like: Sequence[Size] | None) -> Mapping[str, Any]:
        """The types of a node's outputs, by ONNX's inference over a graph of that node alone."""
        known = {name: self._types[name] for name in node.input if name}
        values = [helper.make_value_info(name, kind) for name, kind in known.items()]
        data = [self._data[name] for name in known if name in self._data]
        results = [helper.make_empty_tensor_value_info(name) for name in node.output]
        graph = helper.make_graph([node], "node", values, results, data)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)])
        try:
            inferred = shape_inference.infer_shapes(model, check_type=True, strict_mode=True)
        except shape_inference.InferenceError as cause:
            shapes = ", ".join(f"{name} {self._shape_of(kind)}" for name, kind in known.items())
            raise self.refused(f"{node.op_type} does not take {shapes}: {cause}") from cause
        types = {value.name: value.type for value in inferred.graph.output}
        for i, name in enumerate(node.output):
            if not types[name].tensor_type.HasField("shape") and like is not None:
                types[name] = helper.make_tensor_type_proto(types[name].tensor_type.elem_type, like)
            if not types[name].tensor_type.HasField("shape"):
                raise self.refused(f"ONNX infers no shape of output {i} of {node.op_type}")
        return types

    def _declare(self, name: str, kind: Any) -> Tensor:
        self._types[name] = kind
        return Tensor(
            name,
            self._shape_of(kind),
            helper.tensor_dtype_to_np_dtype(kind.tensor_type.elem_type),
        )

    @staticmethod
    def _shape_of(kind: Any) -> tuple[Size, ...]:
        return tuple(
            dim.dim_value if dim.HasField("dim_value") else dim.dim_param or None
            for dim in kind.tensor_type.shape.dim
        )

    def _dtype_of(self, inputs: Sequence[Any]) -> Any:
        """The dtype that numbers get: that of the first tensor or array."""
        arrays = (v for v in inputs if isinstance(v, Tensor | Parameter) or is_array_type(type(v)))
        first = next(arrays, None)
        return None if first is None else first.dtype

    def _to_tensor(self, op: str, value: Any, dtype: Any) -> Tensor:
        if isinstance(value, Tensor):
            self._check_own(f"{op} gets", value)
            return value
        if isinstance(value, Parameter) or (is_array_type(type(value)) and id(value) in self.names):
            return self.parameter(value)
        if isinstance(value, int | float):
            return self.constant(value, dtype)
        if is_array_type(type(value)):
            return self.constant(asnumpy(value))
        if isinstance(value, list) and all(isinstance(n, int) for n in value):
            return self.constant(value)
        raise self.refused(
            f"{op} gets {shown(value)}, expected a tensor, a parameter, an array, a number, a list of ints "
            "or None"
        )

    def _new_name(self, name: str) -> str:
        """`name`, with a number if it is taken."""
        found, number = name, 1
        while found in self._taken:
            number += 1
            found = f"{name}_{number}"
        self._taken.add(found)
        return found
