"""How a `Graph` runs: its steps, in which values have numbers, and what is computed in one pass."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from ..backend import Array, get_xp
from ..dtypes import is_floating
from ..errors import DTypeError, ShapeError
from ..ops.linear import add
from ..ops.shape import copy
from ..tape import cut, position, shares
from .fusion import fused
from .graph_checks import Wiring
from .layer import Layer


class Step(NamedTuple):
    """One layer, perhaps with the ReLU that runs within it."""

    layer: Layer
    clip: Layer | None
    name: str  # of the node
    sources: tuple[int, ...]  # the numbers of what it takes
    target: int  # and of its output
    drop: tuple[int, ...]  # of what no later step takes

    def run(self, values: list[Any]) -> None:
        """Compute the value `target`, and drop those that no later step takes."""
        inputs = [values[i] for i in self.sources]
        if self.clip is None:
            y = self.layer._pass(*inputs)
        else:
            y = self.layer._pass_clipped(*inputs, clip=self.clip)
        if not hasattr(y, "shape"):
            raise TypeError(
                f"Graph.forward: node {self.name!r}, {type(self.layer).__name__}, returned "
                f"{type(y).__name__}, expected one array"
            )
        values[self.target] = y
        for i in self.drop:
            values[i] = None

    def parts(self, found: Any, needed: Sequence[bool], passed: Passed) -> Sequence[Array | None]:
        """The gradients of what it takes, one for each, from what the layer's backward has returned.

        Args:
            needed: for each value of the graph, whether its gradient is.
        """
        if not any(needed[i] for i in self.sources):
            return (None,) * len(self.sources)
        parts = found if isinstance(found, tuple | list) else (found,)
        where = f"Graph.backward: node {self.name!r}, {type(self.layer).__name__}, returned "
        if len(parts) != len(self.sources):
            raise TypeError(
                f"{where}{len(parts)} gradients, expected {len(self.sources)}, one for each input"
            )
        users = self.layer._is_users or not hasattr(self.layer.backward, "raw")
        for number, (i, part) in enumerate(zip(self.sources, parts, strict=True)):
            if not needed[i]:
                continue
            if part is None and not any(inner._gives_none for inner in self.layer.modules()):
                raise TypeError(
                    f"{where}None, expected the gradient of its input {number}; end backward with "
                    "`return …`, with zeros if the output does not depend on that input"
                )
            if users and part is not None:
                check_part(f"{where}a gradient of its input {number} ", part, *passed.values[i])
        return parts


def check_part(where: str, part: Any, shape: tuple[int, ...], dtype: Any) -> None:
    """Raise an error if the gradient that a user's layer has returned has not this shape and dtype."""
    if not hasattr(part, "shape") or part.shape != shape:
        raise ShapeError(f"{where}of shape {getattr(part, 'shape', type(part).__name__)}, expected {shape}")
    if part.dtype != dtype:
        raise DTypeError(f"{where}of dtype {part.dtype}, expected {dtype}")


class Passed:
    """What a forward leaves for `GraphSteps.back`, in a type that the tape does not search for arrays.

    Attributes:
        starts: where on the tape the entries of each step begin, and those of the last one end.
        floating: for each value, whether it may have a gradient.
        values: the shape and dtype of each value.
        modules: the array module of each input.
    """

    starts: list[int]
    floating: list[bool]
    values: list[tuple[tuple[int, ...], Any]]
    modules: list[Any]
    __slots__ = ("floating", "modules", "starts", "values")

    def __init__(
        self,
        starts: list[int],
        floating: list[bool],
        values: list[tuple[tuple[int, ...], Any]],
        modules: list[Any],
    ) -> None:
        self.starts, self.floating, self.values, self.modules = starts, floating, values, modules

    def or_zeros(self, grads: list[Array | None]) -> list[Array | None]:
        """The gradients of the inputs, sharing no memory; 0 if no output depends on it, None for integers."""
        found: list[Array | None] = []
        for i, xp in enumerate(self.modules):
            grad = xp.zeros(*self.values[i]) if grads[i] is None and self.floating[i] else grads[i]
            others = [other for other in found if other is not None]
            found.append(copy(grad) if grad is not None and shares(grad, others) else grad)
        return found


class Block(NamedTuple):
    """Steps between two places at which a single value is all that later steps take."""

    steps: list[Step]
    source: int | None  # the number of that value; None means all inputs
    target: int | None  # that of the block's result; None means all outputs
    plan: GraphSteps

    def __call__(self, x: Any) -> Any:
        values: list[Any] = [None] * self.plan.count
        if self.source is not None:
            values[self.source] = x
        else:
            values[: self.plan.inputs] = (x,) if self.plan.inputs == 1 else x
        del x
        for step in self.steps:
            step.run(values)
        return self.plan.outputs_of(values) if self.target is None else values[self.target]


class GraphSteps:
    """The steps of a graph, in the order in which they run. The first numbers of values are the inputs'."""

    steps: list[Step]
    inputs: int
    outputs: tuple[int, ...]
    count: int

    def __init__(self, steps: list[Step], inputs: int, outputs: tuple[int, ...], count: int) -> None:
        self.steps, self.inputs, self.outputs, self.count = steps, inputs, outputs, count
        self.made_for: object = None  # the layers and their settings
        self.constants: set[int] = _constants(steps)

    def run(self, inputs: Sequence[Array]) -> tuple[Any, Passed]:
        """The output, or a tuple of several, and what `back` needs."""
        values: list[Any] = [*inputs, *[None] * (self.count - self.inputs)]
        kinds: list[Any] = [(x.shape, x.dtype) for x in inputs] + [None] * (self.count - self.inputs)
        starts = []
        for step in self.steps:
            starts.append(position())
            step.run(values)
            y = values[step.target]
            kinds[step.target] = y.shape, y.dtype
        floating = [is_floating(dtype) for _, dtype in kinds]
        modules = [get_xp(x) for x in inputs]
        return self.outputs_of(values), Passed([*starts, position()], floating, kinds, modules)

    def back(self, passed: Passed, grad_output: Any, input_grad: bool) -> list[Array | None]:
        """The gradients of the inputs; those of parameters are added to the parameters'."""
        grads: list[Array | None] = [None] * self.count
        needed = [input_grad and floating for floating in passed.floating[: self.inputs]]
        needed += [False] * len(self.steps)
        for step in self.steps:
            below = any(needed[i] for i in step.sources)
            needed[step.target] = passed.floating[step.target] and (below or step.layer._learns())
        given = grad_output if len(self.outputs) > 1 else (grad_output,)
        for i, part in zip(self.outputs, given, strict=True):
            _collect(grads, i, part)
        for number in reversed(range(len(self.steps))):
            step = self.steps[number]
            grad, grads[step.target] = grads[step.target], None
            if grad is None or not needed[step.target]:
                continue
            cut(passed.starts[number + 1])  # discards what later steps have saved that got no gradient
            below = any(needed[i] for i in step.sources)
            parts = step.parts(step.layer._back(grad, below), needed, passed)
            del grad
            for i, part in zip(step.sources, parts, strict=True):
                if needed[i]:
                    _collect(grads, i, part)
        return grads[: self.inputs]

    def apart(self, y: Any, others: Sequence[Array]) -> Any:
        """The output or outputs, with copies of `others`, their views and constants of the model."""
        parts = y if isinstance(y, tuple) else (y,)
        found = [
            copy(part) if i in self.constants or shares(part, others) else part
            for i, part in zip(self.outputs, parts, strict=True)
        ]
        return tuple(found) if isinstance(y, tuple) else found[0]

    def outputs_of(self, values: list[Any]) -> Any:
        """The output, or a tuple of several."""
        found = tuple([values[i] for i in self.outputs])
        return found[0] if len(found) == 1 else found

    def blocks(self) -> Iterator[Block]:
        """The steps in pieces, each of which takes a single value from the piece before it.

        Steps that take nothing, which give constants, run in each piece that takes their value.
        """
        constants = {step.target: step for step in self.steps if not step.sources}
        steps = [step for step in self.steps if step.sources]
        last = {i: len(steps) for i in self.outputs}
        for number, step in enumerate(steps):
            for i in step.sources:
                last[i] = max(number, last.get(i, number))
        source, begin, open_values = None, 0, set(range(self.inputs)) & last.keys()
        for number, step in enumerate(steps):
            open_values.add(step.target)
            open_values = {i for i in open_values if last[i] > number}
            end = number == len(steps) - 1
            if end or (open_values == {step.target} and not constants.keys() & set(self.outputs)):
                piece = steps[begin : number + 1]
                taken = {i for part in piece for i in part.sources} | set(self.outputs if end else ())
                given = [constants[i] for i in sorted(taken & constants.keys())]
                yield Block([*given, *piece], source, None if end else step.target, self)
                source, begin = step.target, number + 1
        if not steps:
            yield Block(self.steps, None, None, self)


def _constants(steps: list[Step]) -> set[int]:
    """The numbers of values that depend on no input."""
    found: set[int] = set()
    for step in steps:
        if found.issuperset(step.sources):
            found.add(step.target)
    return found


def _collect(grads: list[Array | None], i: int, part: Array | None) -> None:
    """Add a part of the gradient of value `i`."""
    if part is not None:
        total = grads[i]
        grads[i] = part if total is None else add(get_xp(total, part), total, part)


def chains(
    wiring: Wiring, order: list[str], outputs: Sequence[str], users: Iterable[str] | None = None
) -> list[list[str]]:
    """The nodes of `order` in chains, in which each gives its output to the next one and to nothing else.

    `users` are the nodes whose inputs count as uses; None means `order`.
    """
    uses = dict.fromkeys(outputs, 2)  # an output is a use besides that by the next node
    for name in order if users is None else users:
        for source in wiring[name]:
            uses[source] = uses.get(source, 0) + 1
    found: list[list[str]] = []
    for name in order:
        if found and wiring[name] == (found[-1][-1],) and uses[found[-1][-1]] == 1:
            found[-1].append(name)
        else:
            found.append([name])
    return found


def graph_steps(
    wiring: Wiring,
    layers: dict[str, Layer],
    inputs: Sequence[str],
    outputs: Sequence[str],
    order: list[str],
) -> GraphSteps:
    """The steps of the nodes in `order`; those of a chain are fused as a `Sequential` fuses its layers."""
    missing = [name for name in order if name not in layers]
    if missing:
        raise TypeError(
            f"Graph.forward: node {missing[0]!r} has no layer; set it: graph[{missing[0]!r}] = layer"
        )
    numbers = {name: i for i, name in enumerate(inputs)}
    count, found = len(inputs), []
    for chain in chains(wiring, order, outputs):
        sources = tuple(numbers[name] for name in wiring[chain[0]])
        steps = fused([layers[name] for name in chain]).steps
        names = {id(layers[name]): name for name in chain}
        for layer, clip in steps:
            found.append(Step(layer, clip, names[id(layer)], sources, count, ()))
            sources, count = (count,), count + 1
        numbers[chain[-1]] = count - 1
    targets = tuple(numbers[name] for name in outputs)
    seen = set(targets)
    for i in reversed(range(len(found))):  # from the end: the first step that takes a value drops it
        drop = tuple(dict.fromkeys(n for n in found[i].sources if n not in seen))
        seen.update(drop)
        found[i] = found[i]._replace(drop=drop)
    return GraphSteps(found, len(inputs), targets, count)
