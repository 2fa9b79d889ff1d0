"""Checks of the nodes of a `Graph`, and the order in which they run."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from inspect import Signature, signature
from typing import Any

from ..arguments import is_sequence, shown
from ..parameter import Parameter
from .layer import Layer
from .tree import is_folded_later

Wiring = dict[str, tuple[str, ...]]  # for each node the names of what its layer gets


def as_names(what: str, names: Any, none: bool = False) -> tuple[str, ...]:
    """One name or a sequence of them, as a tuple; `none` allows an empty one."""
    if isinstance(names, str):
        names = (names,)
    if not is_sequence(names) or not all(isinstance(name, str) for name in names):
        raise TypeError(f"{what} is {shown(names)}, expected names: strings")
    if not (names or none):
        raise ValueError(f"{what} is empty, expected at least one name")
    return tuple(names)


def checked_nodes(nodes: Any) -> tuple[Wiring, dict[str, Any]]:
    """The inputs and the layer of each node."""
    if not isinstance(nodes, Mapping):
        raise TypeError(
            f"Graph: nodes is {shown(nodes)}, expected a mapping of names to (layer, *names of its inputs)"
        )
    wiring, layers = {}, {}
    for name, node in nodes.items():
        if not is_sequence(node) or isinstance(node, str) or not node:
            raise TypeError(
                f"Graph: node {shown(name)} is {shown(node)}, expected a tuple of its layer and of the names "
                "of what the layer gets: (layer, 'x')"
            )
        layers[name], wiring[name] = node[0], as_names(f"Graph: node {shown(name)}: inputs", node[1:], True)
    return wiring, layers


def no_node(name: Any) -> ValueError:
    """The error for a layer without a node."""
    return ValueError(
        f"Graph: there is no node {shown(name)}; to add one, say what it takes: graph.add({shown(name)}, "
        "layer, input)"
    )


def check_takes(where: str, name: str, layer: Layer, count: int) -> None:
    """Raise a TypeError if the layer of a node cannot take that number of inputs."""
    found = signature(layer.forward)
    try:
        found.bind(*[None] * count)
    except TypeError:
        kind = type(layer).__name__
        join = "; layers that join several are xpconv.layers.operators.Add, Mul and Concatenate"
        raise TypeError(
            f"{where}: node {name!r} has {count} input{'s' * (count != 1)}, but {kind}.forward takes "
            f"{_plain(found)}{join * (count > 1)}"
        ) from None


def _plain(found: Signature) -> str:
    """A signature without types."""
    bare = [p.replace(annotation=p.empty) for p in found.parameters.values()]
    return str(found.replace(parameters=bare, return_annotation=found.empty))


def check_new(where: str, name: Any, taken: Container[str]) -> None:
    """Raise an error if `name` cannot be that of another node or input."""
    if not isinstance(name, str):
        raise TypeError(f"{where}: a name is {shown(name)}, expected a string")
    if not name or "." in name:
        raise ValueError(
            f"{where}: a name is {name!r}, expected one without dots, since dots join the names in the state "
            "dict"
        )
    if name in taken:
        raise ValueError(f"{where}: there are two inputs or nodes called {name!r}")


def order_of(where: str, wiring: Wiring, inputs: Iterable[str], wanted: Iterable[str]) -> list[str]:
    """The nodes that `wanted` depend on, each after those that it takes, one branch after the other.

    A node without inputs is directly before the first node that uses it.

    Raises:
        ValueError: a name is unknown, or nodes form a cycle.
    """
    done = dict.fromkeys(inputs, True)  # False while the nodes that one takes are on the stack
    order = []
    for root in wanted:
        stack: list[str] = [root]
        users: dict[str, str] = {}
        while stack:
            name = stack[-1]
            if name in done:
                stack.pop()
                if not done[name]:
                    done[name] = True
                    order.append(name)
                continue
            if name not in wiring:
                raise _unknown(where, name, users.get(name), done, wiring)
            done[name] = False
            for source in reversed(wiring[name]):
                if done.get(source) is False:
                    opened = [n for n in stack if done.get(n) is False]
                    cycle = opened[opened.index(source) :]
                    raise ValueError(f"{where}: the nodes form a cycle: {' → '.join([*cycle, source])}")
                if source not in done:
                    users[source] = name
                    stack.append(source)
    return order


def _unknown(where: str, name: str, user: str | None, done: Mapping[str, bool], wiring: Wiring) -> ValueError:
    known = [n for n in dict.fromkeys([*(n for n in done if n not in wiring), *wiring]) if n != user]
    some = ", ".join(known[:20]) + (f" and {len(known) - 20} more" if len(known) > 20 else "")
    what = f"node {user!r} takes {name!r}" if user is not None else f"an output is {name!r}"
    return ValueError(f"{where}: {what}, which is neither an input nor a node; there are: {some}")


def check_readable(layers: Mapping[str, Layer], names: Sequence[str]) -> None:
    """Raise a ValueError if `fuse` has folded a later node into one that computes the output of these."""
    for name in names:
        if name in layers and is_folded_later(layers[name]):
            raise ValueError(
                "Graph: this model is from fuse(), which has folded the BatchNorm after node "
                f"{name!r} into what computes it, so that its own output is not there any more; set the "
                "outputs or add the nodes in the original model, and fuse that again"
            )


def checked_aliases(names: Any, wiring: Wiring, layers: Mapping[str, Any]) -> dict[str, str]:
    """Other names in the state dict, by the usual ones.

    Raises:
        ValueError: a usual name is that of no parameter or buffer, as far as there are layers already.
    """
    if names is None:
        return {}
    if not isinstance(names, Mapping) or not all(isinstance(s, str) for item in names.items() for s in item):
        raise TypeError(f"Graph: names is {shown(names)}, expected a mapping of strings to strings")
    for usual in names:
        node, _, rest = usual.partition(".")
        if not rest or node not in wiring or not (layers[node] is None or _has(layers[node], rest)):
            of = f"layer {layers[node]!r}" if layers.get(node) is not None else f"nodes {', '.join(wiring)}"
            raise ValueError(
                f"Graph: names has {usual!r}, which is no parameter or buffer: expected the name of a node, "
                f"a dot, and the name in its layer; there are {of:.300}"
            )
    return dict(names)


def _has(layer: Layer, name: str) -> bool:
    """Whether `name` is a parameter or buffer of `layer`, or may become one."""
    path, _, attribute = name.rpartition(".")
    for where, part in layer._walk(""):
        if where == path:
            value = vars(part).get(attribute, part)
            return (
                part.lazy or attribute in part.buffer_names or value is None or isinstance(value, Parameter)
            )
    return False


def in_order(expected: Sequence[str], inputs: tuple[Any, ...], named: Mapping[str, Any]) -> tuple[Any, ...]:
    """The inputs, and after them those that were given by name."""
    rest = expected[len(inputs) :]
    if set(named) != set(rest) or len(inputs) + len(named) != len(expected):
        raise TypeError(
            f"Graph: got {len(inputs)} inputs by position and {', '.join(named)} by name, expected "
            f"{', '.join(expected)}"
        )
    return (*inputs, *(named[name] for name in rest))


def check_count(where: str, given: Sequence[Any], expected: Sequence[str], what: str) -> None:
    """Raise a TypeError if there is not one value for each name."""
    if len(given) != len(expected):
        raise TypeError(f"{where}: got {len(given)} {what}, expected {len(expected)}: {', '.join(expected)}")


def without_shared(aliases: dict[str, str], node: str) -> dict[str, str]:
    """Names in the state dict after `node` has got another layer: no longer those of weights it shared."""
    mine = {usual for usual in aliases if usual.partition(".")[0] == node}
    others = {name for usual, name in aliases.items() if usual not in mine}
    return {usual: name for usual, name in aliases.items() if usual not in mine or name not in others}


def without_folded(aliases: dict[str, str], layers: Mapping[str, Layer]) -> dict[str, str]:
    """Names in the state dict after `fuse`: none of layers that it folded, nor of weights these shared."""
    gone = {node for node, layer in layers.items() if layer._folded is not None}
    left = {usual: name for usual, name in aliases.items() if usual.partition(".")[0] not in gone}
    for node, layer in layers.items():
        if any(part._carries for part in layer.modules()):  # whose parameters are new
            left = without_shared(left, node)
    return left
