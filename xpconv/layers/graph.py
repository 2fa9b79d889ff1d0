"""`Graph`: layers that form a directed acyclic graph, with any number of inputs and outputs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from ..backend import Array
from ..ops.inference import is_recording
from ..reports import ignoring_float_warnings
from ..tape import cut, observer, position, saving
from .containers import Sequential
from .fuse import fold_nodes
from .graph_checks import (
    as_names,
    check_count,
    check_new,
    check_readable,
    check_takes,
    checked_aliases,
    checked_nodes,
    in_order,
    no_node,
    order_of,
    without_folded,
    without_shared,
)  # fmt: skip
from .graph_inputs import ShapedInputs
from .graph_steps import Block, GraphSteps, chains, graph_steps
from .inference import Inference
from .layer import Layer, runs_as
from .settings import latest_change, note_change
from .tree import Renamed, check_whole, join

__all__ = ["Graph"]


class Graph(ShapedInputs):
    """Layers as the nodes of a directed acyclic graph, with any number of inputs and outputs.

    Each node has a name, a layer, and the names of what the layer gets: inputs of the graph or other nodes.
    The order of the nodes is free. A layer may be used in several nodes, which share its parameters, and a
    value may be an input of several nodes, whose gradients are added. Layers that join several values are in
    `xpconv.layers.operators`, as `Add()` and `Concatenate(axis=1)`. Nodes that no output needs do not run.

    `graph(a, b)` takes the inputs in their order or by name. Several outputs are a tuple, and `backward`
    takes a tuple of gradients, one for each output or None in place of zeros. It returns the gradient with
    respect to the input, or a tuple with one for each input (None for integers).

    Layers are read and replaced by name, as in a `Sequential` with names: `graph["fc"] = Dense(512, 7)`.
    `add` and `del graph[name]` change the nodes, and `graph.outputs = "pool"` what the graph returns.
    `len(graph)`, iteration and `in` use the names of all nodes, in the order in which they were added, as
    do the state dict and `repr`; `summary` lists them as they run. As in a `Sequential`, a ReLU runs with the
    layer before it, `fuse()` folds BatchNorms whose input no other node uses, and inference runs as plans.
    Infinity and NaN are computed without NumPy's warnings. Under `numpy.seterr(all="raise")` they are still
    errors, except in `xpconv.layers.operators`.

    Args:
        nodes: mapping of names to `(layer, *names of its inputs)`. The layer may be None and be set later.
        inputs: names of the graph's inputs; one may be given as a string.
        outputs: names of the nodes (or inputs) that it returns; one may be given as a string.
        names: other names in the state dict, by the usual ones: `{"conv.weight": "stem/kernel"}`.
        shapes: those that inputs have, with None for sizes that are free: `{"a": (None, 3, 8, 8)}`.
        dtypes: of inputs that are not of the parameters' dtype, for `summary` and `xpconv.onnx.export`:
            `{"ids": "int64"}`.

    Raises:
        ValueError: names are unknown or occur twice, contain dots or are those of methods, or the nodes form
            a cycle.
        TypeError: a node is not a tuple of a layer and names.

    Example:
        >>> import numpy as np, xpconv
        >>> from xpconv import Bilinear, Dense, Graph, ReLU
        >>> graph = Graph(
        ...     {
        ...         "left": (Dense(4, 8), "a"),
        ...         "relu": (ReLU(), "left"),
        ...         "right": (Dense(3, 6), "b"),
        ...         "both": (Bilinear(8, 6, 2), "relu", "right"),
        ...     },
        ...     inputs=["a", "b"],
        ...     outputs=["both", "relu"],
        ... )
        >>> scores, features = graph(np.ones((5, 4), "float32"), np.ones((5, 3), "float32"))
        >>> scores.shape, features.shape
        ((5, 2), (5, 8))
        >>> da, db = graph.backward((np.ones_like(scores), None))
        >>> da.shape, db.shape
        ((5, 4), (5, 3))
    """

    _is_model = True
    _cached_steps: GraphSteps | None = None
    _inference: Any = None

    def __init__(
        self,
        nodes: Mapping[str, Sequence[Any]],
        inputs: str | Sequence[str],
        outputs: str | Sequence[str],
        names: Mapping[str, str] | None = None,
        shapes: Mapping[str, Sequence[int | None]] | None = None,
        dtypes: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self._inputs = as_names("Graph: inputs", inputs)
        self._outputs = as_names("Graph: outputs", outputs)
        self._wiring, layers = checked_nodes(nodes)
        taken: set[str] = set()
        for name in (*self._inputs, *self._wiring):
            check_new("Graph", name, taken)
            taken.add(name)
        order_of("Graph", self._wiring, self._inputs, (*self._wiring, *self._outputs))
        for name, layer in layers.items():
            self._check_name(name)
            if layer is not None:
                self._check_layer(name, layer)
                self._layers[name] = layer
        self._names = checked_aliases(names, self._wiring, layers)
        self.shapes, self.dtypes = shapes, dtypes

    # --- nodes -------------------------------------------------------------------------------------------

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names of the inputs, in the order of the arguments of `forward`."""
        return self._inputs

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of what `forward` returns; may be set: `graph.outputs = "pool"`."""
        return self._outputs

    @outputs.setter
    def outputs(self, names: str | Sequence[str]) -> None:
        new = as_names("Graph: outputs", names)
        order_of("Graph", self._wiring, self._inputs, new)
        check_readable(self._layers, new)
        self._outputs = new
        note_change()

    @property
    def nodes(self) -> dict[str, tuple[str, ...]]:
        """For each node, the names of what its layer gets."""
        return dict(self._wiring)

    def add(self, name: str, layer: Layer, *inputs: str) -> Graph:
        """Add a node; returns the graph.

        Args:
            name: of the node; not one that there is.
            layer: its layer.
            inputs: names of what the layer gets.

        Raises:
            ValueError: the name is taken, or an input unknown.
            TypeError: `layer` is not a layer.

        Example:
            >>> from xpconv import Dense, Flatten, Graph
            >>> graph = Graph({"flat": (Flatten(), "x")}, inputs="x", outputs="flat")
            >>> graph.add("fc", Dense(12, 3), "flat").outputs = "fc"
            >>> graph.nodes
            {'flat': ('x',), 'fc': ('flat',)}
        """
        sources = as_names("Graph.add: inputs", inputs, True)
        check_new("Graph.add", name, (*self._inputs, *self._wiring))
        self._check_layer(name, layer)
        self._check_name(name)
        check_takes("Graph.add", name, layer, len(sources))
        order_of("Graph.add", {**self._wiring, name: sources}, self._inputs, (name,))
        check_readable(self._layers, sources)
        self._wiring[name] = sources
        self._layers[name] = layer
        note_change()
        return self

    def __delitem__(self, key: Any) -> None:
        if key not in self._wiring:
            super().__delitem__(key)
            return
        users = [name for name, sources in self._wiring.items() if key in sources]
        if users or key in self._outputs:
            what = f"node {users[0]!r} takes it" if users else "it is an output"
            raise ValueError(f"Graph: node {key!r} cannot be removed, as {what}; change that first")
        check_whole(self, [self._layers[key]] if key in self._layers else [])
        self._layers.pop(key, None)
        del self._wiring[key]
        self._names = {k: v for k, v in self._names.items() if k.partition(".")[0] != key}
        note_change()

    def __contains__(self, item: object) -> bool:
        if isinstance(item, str):
            return item in self._wiring
        return any(layer is item for layer in self._layers.values())

    def __len__(self) -> int:
        return len(self._wiring)

    def __iter__(self) -> Iterator[str]:
        return iter(self._wiring)

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        return {**state, "_wiring": dict(self._wiring)} if "_wiring" in state else state

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, with None in place of the layers."""
        return {
            "nodes": {name: (None, *sources) for name, sources in self._wiring.items()},
            "inputs": self._inputs,
            "outputs": self._outputs,
            "names": self._names or None,
            "shapes": self._shapes,
            "dtypes": self.dtypes,
        }

    def _add(self, name: str, layer: object) -> None:
        if name in vars(self).get("_wiring", {}) and name not in self._layers:
            self._check_layer(name, layer)
            self._layers[name] = layer  # type: ignore[assignment]  # checked
        elif name in vars(self).get("_layers", ()):
            super()._add(name, layer)
            self._names = without_shared(self._names, name)
        else:
            self._check_layer(name, layer)
            raise no_node(name)

    def _walk(self, prefix: str, above: tuple[int, ...] = ()) -> Iterator[tuple[str, Any]]:
        if not self._names:
            yield from super()._walk(prefix, above)
            return
        aliases: dict[str, dict[str, str]] = {}
        for usual, name in self._names.items():
            path, _, attribute = join(prefix, usual).rpartition(".")
            aliases.setdefault(path, {})[attribute] = join(prefix, name)
        for path, layer in super()._walk(prefix, above):
            yield (Renamed(path, aliases[path]) if path in aliases else path), layer

    # --- forward and backward ------------------------------------------------------------------------------

    def _in_order(self, inputs: Any, named: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return in_order(self._inputs, inputs, named), {}

    @ignoring_float_warnings
    def forward(self, *inputs: Array) -> Any:
        """The outputs: an array, or a tuple if there are several."""
        check_count("Graph.forward", inputs, self._inputs, "inputs")
        self._check_inputs(inputs)
        if not (self.training or saving() or is_recording() or observer.get()):
            if self._inference is None:
                vars(self)["_inference"] = Inference()
            y = self._inference.run(self, inputs[0] if len(inputs) == 1 else inputs)
            return self._steps().apart(y, inputs)
        start, steps = position(), self._steps()
        y, passed = steps.run(inputs)
        if not is_recording():  # what the caller may write to
            y = steps.apart(y, () if saving() else inputs)
        return self.keep(y, start, steps, passed)

    def _pass(self, *inputs: Any) -> Any:
        if len(self._outputs) > 1:
            raise TypeError(
                f"Graph.forward: it has {len(self._outputs)} outputs, {', '.join(self._outputs)}, and is in "
                "a layer that takes one array from it; set graph.outputs to one, or call the graph by itself"
            )
        return super()._pass(*inputs)

    @ignoring_float_warnings
    def backward(self, grad_output: Any, input_grad: bool = True) -> Any:
        """The chain rule, from the last node to the first; the gradients of all uses of a value add up.

        Args:
            grad_output: gradient with respect to the output; of several, a tuple, in which None means
                zeros.
            input_grad: as for other layers.

        Returns:
            the gradient with respect to the input; of several, a tuple, with None for integers.
        """
        start, steps, passed = self.recall(grad_output, input_grad)
        grads = steps.back(passed, grad_output, input_grad)
        cut(start)
        if not input_grad:
            return None
        found = tuple(passed.or_zeros(grads))
        return found if len(found) > 1 else found[0]

    def _outputs_of(self, y: Any) -> tuple[Any, Any, type]:
        if not isinstance(y, tuple):
            return super()._outputs_of(y)
        return tuple([(part.shape, part.dtype, type(part)) for part in y]), self._outputs, tuple

    # --- steps ---------------------------------------------------------------------------------------------

    def _steps(self) -> GraphSteps:
        """The steps of forward; computed again when the nodes, the layers or their settings have changed."""
        steps = self._cached_steps
        made_for = *self._layers.values(), latest_change()
        if steps is None or steps.made_for != made_for:
            steps = graph_steps(self._wiring, self._layers, self._inputs, self._outputs, self._order())
            steps.made_for = made_for
            vars(self)["_cached_steps"] = steps
        return steps

    def _order(self) -> list[str]:
        return order_of("Graph", self._wiring, self._inputs, self._outputs)

    def _running_order(self) -> list[Layer]:
        order = order_of("Graph", self._wiring, self._inputs, (*self._outputs, *self._wiring))
        return [self._layers[name] for name in order if name in self._layers]

    def _calls(self) -> list[tuple[Block, list[Layer]]]:
        """The functions that inference calls in turn, each with the layers that it runs."""
        blocks = self._steps().blocks()
        return [
            (b, [part for s in b.steps for part in (s.layer, s.clip) if part is not None]) for b in blocks
        ]

    @ignoring_float_warnings
    def _fuse_children(self, uses: Counter[int]) -> None:
        if runs_as(self, Graph):
            # All nodes count as users, as any of them may become an output later.
            for chain in chains(self._wiring, self._order(), self._outputs, self._wiring):
                for has_layers, names in groupby(chain, self._layers.__contains__):
                    if has_layers:
                        fold_nodes(self, list(names), Sequential, uses)
            self._names = without_folded(self._names, self._layers)
            self._is_fused = True

    def __repr__(self) -> str:
        lines = [f"  inputs: {', '.join(self._inputs)}"]
        for name, sources in self._wiring.items():
            layer = repr(self._layers.get(name)).replace("\n", "\n  ")
            lines.append(f"  ({name}): {layer}" + (f" of {', '.join(sources)}" if sources else ""))
        lines.append(f"  outputs: {', '.join(self._outputs)}")
        return "\n".join([f"{type(self).__name__}(", *lines, ")"])
