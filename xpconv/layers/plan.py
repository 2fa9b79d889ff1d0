"""What `fuse` puts into a `Sequential`: its layers as programs, without Python between the array calls."""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter, is_
from typing import Any

from ..backend import Array, backend_of
from ..errors import BackendError
from ..ops import program as ops
from .activation import bounds_of
from .adaptive_pool import AdaptiveAvgPool2d
from .base import Layer, Parameter, runs_as
from .containers import Residual, Sequential
from .conv import Conv2d
from .dropout import Dropout
from .linear import Dense
from .pool import MaxPool2d
from .shape import Flatten, Folded, Identity

MOST = 16  # shapes to remember
LOWER: dict[type[Layer], Callable[[Any, Any, Any], Any]] = {}  # by whose forward a layer has


def lower(layer: Layer, program: Any, x: Any) -> Any:
    """Add the steps of `layer` for the value `x`, and return what it gives; None if there are none."""
    bounds = bounds_of(layer)
    if bounds is not None:
        return program.clip(x, bounds)
    for kind, steps in LOWER.items():
        if runs_as(layer, kind):
            return steps(layer, program, x)
    return None


def _sequential(layer: Sequential, program: Any, x: Any) -> Any:
    for part in layer:
        x = None if x is None else lower(part, program, x)
    return x


def _residual(layer: Residual, program: Any, x: Any) -> Any:
    x.kept = True
    side = x if layer.shortcut is None else lower(layer.shortcut, program, x)
    main = lower(layer.body, program, x)
    return None if main is None or side is None else program.add(main, side)


def _conv(layer: Conv2d, program: Any, x: Any) -> Any:
    fits = len(x.shape) == 4 and x.shape[3] == layer.in_channels and layer.axes == 2
    if not fits or layer.padding_mode != "zeros" or not _takes(program, layer.weight, layer.bias):
        return None
    if min(layer._window.output_shape(x.shape[1:3])) < 1:
        return None
    bias = None if layer.bias is None else layer.bias.data
    y = program.conv(x, layer.weight.data, bias, layer._window, layer.groups, layer.algorithm)
    return y if y is None or layer._bounds is None else program.clip(y, layer._bounds)


def _dense(layer: Dense, program: Any, x: Any) -> Any:
    fits = len(x.shape) == 2 and x.shape[1] == layer.in_features
    if not fits or not _takes(program, layer.weight, layer.bias):
        return None
    return program.dense(x, layer.weight.data, None if layer.bias is None else layer.bias.data)


def _takes(program: Any, *parameters: Parameter | None) -> bool:
    return all(
        p is None or (p.dtype == program.dtype and backend_of(p.data).name == "numpy") for p in parameters
    )


def _max_pool(layer: MaxPool2d, program: Any, x: Any) -> Any:
    if layer.return_indices or len(x.shape) != 4 or layer.axes != 2:
        return None
    output = layer._window.output_shape(x.shape[1:3], layer.ceil_mode)
    return program.max_pool(x, layer._window, output) if min(output) > 0 else None


def _mean(layer: AdaptiveAvgPool2d, program: Any, x: Any) -> Any:
    return program.mean(x) if layer.output_size == (1, 1) and len(x.shape) == 4 else None


def _flatten(layer: Flatten, program: Any, x: Any) -> Any:
    whole = layer.start_dim == 1 and layer.end_dim in (-1, len(x.shape) - 1)
    return program.flatten(x) if whole else None


def _folded(layer: Folded, program: Any, x: Any) -> Any:
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
    Identity: lambda layer, program, x: x,
    Dropout: lambda layer, program, x: None if layer.training else x,
}


class Plans:
    """Programs for the layers of a Sequential, made at the first forward of images of a shape.

    Programs have weights in another order, so the arrays that they were made from are read-only from then
    on. A new array in the place of one, or another layer, makes new programs.
    """

    def __init__(self) -> None:
        self._chain: _Chain | None = None

    def __reduce__(self) -> Any:
        return Plans, ()  # a copy's layers are others

    def run(self, layers: list[Layer], x: Array) -> Array:
        """As the layers one after the other."""
        chain = self._chain
        if chain is None or not chain.is_up_to_date(layers):
            chain = self._chain = _Chain(layers)
        return chain.run(x)

    def drop(self) -> None:
        """All programs, and let the parameters be written to."""
        if self._chain is not None:
            for parameter in self._chain.parameters:
                parameter._make_writable()
        self._chain = None


class _Chain:
    """Layers as they were, and programs for runs of them; a layer without a step is called as ever."""

    def __init__(self, layers: list[Layer]) -> None:
        self.layers = layers
        tree = list({id(part): part for layer in layers for _, part in layer.named_layers()}.values())
        self.parts = tree
        self.containers = [(part._layers, list(part)) for part in tree if isinstance(part, Sequential)]
        self.modes = [(part, part.training) for part in tree if isinstance(part, Dropout)]
        self.parameters = [p for part in tree for p in vars(part).values() if isinstance(p, Parameter)]
        self.arrays = [p.data for p in self.parameters]
        self.programs: dict[Any, tuple[int, Callable[[Array], Array]]] = {}

    def is_up_to_date(self, layers: list[Layer]) -> bool:
        """Whether these are the layers, with the parameters that programs have read."""
        return (
            self.layers == layers
            and all(map(is_, map(attrgetter("data"), self.parameters), self.arrays))
            and all(list(held.values()) == before for held, before in self.containers)
            and all(layer.training is before for layer, before in self.modes)
            and not any("forward" in part.__dict__ for part in self.parts)
        )

    def run(self, x: Array) -> Array:
        """As the layers one after the other."""
        i = 0
        while i < len(self.layers):
            count, function = self._from(i, x)
            x = function(x)
            i += count
        return x

    def _from(self, i: int, x: Array) -> tuple[int, Callable[[Array], Array]]:
        """What takes `x` on from layer `i`, and over how many layers."""
        shape = getattr(x, "shape", ())
        if len(shape) not in (2, 4) or 0 in shape:
            return 1, self.layers[i]
        key = i, shape[1:], x.dtype, type(x), ops.setting()
        found = self.programs.get(key)
        if found is None:
            if len(self.programs) >= MOST:
                self.programs.clear()
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
        run, value = [], trial.input
        for layer in self.layers[i:]:
            value = lower(layer, trial, value)
            if value is None:
                break
            run.append(layer)
        read = [p.data for layer in run for _, p in layer.named_parameters()]
        if not read:
            return nothing

        def build(program: Any) -> Any:
            value = program.input
            for layer in run:
                value = lower(layer, program, value)
            return value

        for array in read:
            array.flags.writeable = False
        return len(run), ops.programs(xp, build, x.shape[1:], x.dtype)
