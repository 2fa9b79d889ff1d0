"""What `fuse` puts into a `Sequential`: its layers as programs, without Python between the array calls."""

from __future__ import annotations

from collections.abc import Callable
from itertools import repeat
from operator import attrgetter, contains, is_
from typing import Any, NamedTuple

from ..backend import Array, backend_of
from ..errors import BackendError
from ..ops import program as ops
from ..parameter import Parameter
from .activation import bounds_of
from .adaptive_pool import AdaptiveAvgPool2d
from .base import Layer, runs_as
from .containers import Residual, Sequential
from .conv import Conv2d
from .dropout import Dropout
from .linear import Dense
from .pool import MaxPool2d
from .settings import latest_change
from .shape import Flatten, Folded, Identity

MOST = 256  # shapes to remember, besides those with idle programs
LOWER: dict[type[Layer], Callable[[Any, Plan, Any], Any]] = {}  # by the class whose forward a layer runs


class Plan(NamedTuple):
    """A program that is being built, and the array of every parameter that it reads."""

    program: Any
    arrays: dict[int, Array]

    def data(self, parameter: Parameter | None) -> Array | None:
        """The array of a parameter, or None."""
        return None if parameter is None else self.arrays[id(parameter)]

    def takes(self, *parameters: Parameter | None) -> bool:
        """Whether the program can read these: NumPy arrays of its dtype that share no memory.

        A view, such as the parameters of an optimizer, can change through another array unnoticed.
        """
        return all(
            data is None
            or (data.dtype == self.program.dtype and backend_of(data).name == "numpy" and _is_alone(data))
            for data in map(self.data, parameters)
        )


def _is_alone(array: Array) -> bool:
    """Whether `array` is not a view of another array. An unpickled array may be a view of its own bytes."""
    base = array.base
    while hasattr(base, "base"):
        base = base.base
    owner = base.obj if isinstance(base, memoryview) else base
    return array.base is None or (isinstance(owner, bytes | bytearray) and len(owner) == array.nbytes)


def lower(layer: Layer, plan: Plan, x: Any) -> Any:
    """Add the steps of `layer` for the value `x`, and return its output; None if there are no such steps."""
    bounds = bounds_of(layer)
    if bounds is not None:
        return plan.program.clip(x, bounds)
    for kind, steps in LOWER.items():
        if runs_as(layer, kind):
            return steps(layer, plan, x)
    return None


def _sequential(layer: Sequential, plan: Plan, x: Any) -> Any:
    for part in layer:
        x = None if x is None else lower(part, plan, x)
    return x


def _residual(layer: Residual, plan: Plan, x: Any) -> Any:
    x.kept = True
    side = x if layer.shortcut is None else lower(layer.shortcut, plan, x)
    main = lower(layer.body, plan, x)
    return None if main is None or side is None else plan.program.add(main, side)


def _conv(layer: Conv2d, plan: Plan, x: Any) -> Any:
    fits = len(x.shape) == 4 and x.shape[3] == layer.in_channels and layer.axes == 2
    if not fits or layer.padding_mode != "zeros" or not plan.takes(layer.weight, layer.bias):
        return None
    if min(layer._window.output_shape(x.shape[1:3])) < 1:
        return None
    weight, bias, window = plan.data(layer.weight), plan.data(layer.bias), layer._window
    y = plan.program.conv(x, weight, bias, window, layer.groups, layer.algorithm)
    return y if y is None or layer._bounds is None else plan.program.clip(y, layer._bounds)


def _dense(layer: Dense, plan: Plan, x: Any) -> Any:
    fits = len(x.shape) == 2 and x.shape[1] == layer.in_features
    if not fits or not plan.takes(layer.weight, layer.bias):
        return None
    return plan.program.dense(x, plan.data(layer.weight), plan.data(layer.bias))


def _max_pool(layer: MaxPool2d, plan: Plan, x: Any) -> Any:
    if layer.return_indices or len(x.shape) != 4 or layer.axes != 2:
        return None
    output = layer._window.output_shape(x.shape[1:3], layer.ceil_mode)
    return plan.program.max_pool(x, layer._window, output) if min(output) > 0 else None


def _mean(layer: AdaptiveAvgPool2d, plan: Plan, x: Any) -> Any:
    return plan.program.mean(x) if layer.output_size == (1, 1) and len(x.shape) == 4 else None


def _flatten(layer: Flatten, plan: Plan, x: Any) -> Any:
    whole = layer.start_dim == 1 and layer.end_dim in (-1, len(x.shape) - 1)
    return plan.program.flatten(x) if whole else None


def _folded(layer: Folded, plan: Plan, x: Any) -> Any:
    return x if layer.expected is None or len(layer.expected) == len(x.shape) else None


LOWER |= {
    Sequential: _sequential,
    Residual: _residual,
    Conv2d: _conv,
    Dense: _dense,
    MaxPool2d: _max_pool,
    AdaptiveAvgPool2d: _mean,
    Flatten: _flatten,
    Folded: _folded,
    Identity: lambda layer, plan, x: x,
    Dropout: lambda layer, plan, x: None if layer.training else x,
}


class Plans:
    """Programs for the layers of a Sequential, made at the first forward of images of a shape.

    Programs hold reordered copies of the weights, so the original arrays become read-only. Replacing an array
    or a layer builds new programs. Layers whose parameters are views, as those of an optimizer are, have no
    programs and are called one by one.
    """

    def __init__(self) -> None:
        self._chain: _Chain | None = None

    def __reduce__(self) -> Any:
        return Plans, ()  # a copy's layers are others

    def run(self, layers: list[Layer], x: Array) -> Array:
        """The output of `layers`, run one after the other, for `x`."""
        chain = self._chain
        if chain is None or not chain.is_up_to_date(layers):
            chain = self._chain = _Chain(layers)
        return chain.run(x)

    def drop(self) -> None:
        """Discard all programs and make the parameters writable again."""
        if self._chain is not None:
            for parameter in self._chain.parameters:
                parameter._make_writable()
        self._chain = None


class _Chain:
    """A snapshot of layers, and programs for runs of them; layers that no program can run are called."""

    def __init__(self, layers: list[Layer]) -> None:
        self.layers = layers
        tree = list({id(part): part for layer in layers for _, part in layer.named_layers()}.values())
        self.attributes = [vars(part) for part in tree]
        self.containers = [(part, list(part)) for part in tree if isinstance(part, Sequential)]
        held: list[tuple[Any, Any, Any]] = [
            (part, name, value)
            for part in tree
            for name, value in vars(part).items()
            if value is None or isinstance(value, Layer | Parameter)
        ]
        self.owners, self.names, self.held = ([row[i] for row in held] for i in range(3))
        self.modes = [(part, part.training) for part in tree if isinstance(part, Dropout)]
        self.parameters = [p for part in tree for p in vars(part).values() if isinstance(p, Parameter)]
        self.arrays = [p.data for p in self.parameters]
        self.weights: dict[Any, Array] | None = None
        self.programs: dict[Any, tuple[int, Callable[[Array], Array]]] = {}
        self.change = latest_change()

    def is_up_to_date(self, layers: list[Layer]) -> bool:
        """Whether these are still the layers, settings and parameters that the programs were built from."""
        return (
            self.layers == layers
            and self.change == latest_change()
            and all(map(is_, map(getattr, self.owners, self.names, repeat(None)), self.held))
            and all(map(is_, map(attrgetter("data"), self.parameters), self.arrays))
            and all(list(part._layers.values()) == before for part, before in self.containers)
            and all(layer.training is before for layer, before in self.modes)
            and not any(map(contains, self.attributes, repeat("forward")))
        )

    def run(self, x: Array) -> Array:
        """The output of the layers, run one after the other, for `x`."""
        i = 0
        while i < len(self.layers):
            count, function = self._from(i, x)
            x = function(x)
            i += count
        return x

    def _from(self, i: int, x: Array) -> tuple[int, Callable[[Array], Array]]:
        """The number of layers from `i` on that run together, and the function that runs them."""
        shape = getattr(x, "shape", ())
        if len(shape) not in (2, 4) or 0 in shape:
            return 1, self.layers[i]
        key = i, shape[1:], x.dtype, type(x), ops.setting()
        found = self.programs.get(key)
        if found is None:
            if len(self.programs) >= MOST:
                self.programs = {k: held for k, held in self.programs.items() if not _is_idle(held[1])}
            found = self.programs[key] = self._plan(i, x)
        return found

    def _plan(self, i: int, x: Array) -> tuple[int, Callable[[Array], Array]]:
        nothing = 1, self.layers[i]
        try:
            xp = backend_of(x).xp
        except BackendError:
            return nothing
        trial = ops.empty_program(xp, (1, *x.shape[1:]), x.dtype)
        if trial is None:
            return nothing
        arrays = {id(p): array for p, array in zip(self.parameters, self.arrays, strict=True)}
        run, value = [], trial.input
        for layer in self.layers[i:]:
            value = lower(layer, Plan(trial, arrays), value)
            if value is None:
                break
            run.append(layer)
        read = [arrays[id(p)] for layer in run for _, p in layer._named_parameters()]
        if not read:
            return nothing

        def build(program: Any) -> Any:
            value = program.input
            for layer in run:
                value = lower(layer, Plan(program, arrays), value)
            return value

        for array in read:
            array.flags.writeable = False
        if self.weights is None:
            self.weights = ops.empty_weights(xp)
        return len(run), ops.programs(xp, build, x.shape[1:], x.dtype, self.weights)


def _is_idle(function: Any) -> bool:
    """Whether `function` is a layer, or holds no program."""
    return isinstance(function, Layer) or bool(function.is_idle())
