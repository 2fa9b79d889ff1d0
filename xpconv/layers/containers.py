"""Layers made of layers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

from ..arguments import named, shown, to_int
from ..backend import Array, get_xp
from ..errors import ShapeError
from ..geometry import Bounds
from ..ops.activation import clip_backward
from ..ops.inference import is_recording
from ..ops.linear import add
from ..ops.shape import concatenate, split
from ..tape import observer, position, saving
from .children import Listed
from .fuse import fold
from .fusion import Steps, fused
from .inference import Inference
from .layer import Layer, runs_as
from .settings import latest_change
from .tree import check_whole

__all__ = ["Concat", "Parallel", "Residual", "Sequential"]


class Layers(list[Layer]):
    """The layers that ran, in a type that the tape does not search for arrays."""


class Sequential(Listed):
    """A chain of layers, each applied to the output of the one before, as `torch.nn.Sequential`.

    Takes layers, one list of them, or one mapping of names to them; they are called `0`, `1`, … or by
    the mapping's names. Layers are read, replaced and removed by position or name: `model[-1] = layer`,
    `model["fc"] = layer`, `model.fc = layer`, `del model[2]`, `del model.fc`; slices, `len`, `in`, `append`,
    `extend`, `insert` and `pop` work as on a list. A layer with a new name is appended. Inserting or removing
    by position renumbers the layers if all names are numbers; names from a mapping do not change (PyTorch
    replaces them by numbers). Names of methods and attributes are errors.

    Where possible, a ReLU runs in the same pass over the data as the layer before it; if a MaxPool follows it
    runs after the MaxPool, with the same result but fewer pixels to process and to save. If you call
    `backward` of single layers, call their `forward` one by one as well.

    In inference mode, under `no_grad()` and on NumPy, the first forward with a new input shape records
    the array operations of its layers as a plan, and later ones replay the plan, without the Python code in
    between (see `fuse`, which makes inference faster still).

    Raises:
        TypeError: something given is not a layer.
        ValueError: a name has a dot in it, or is that of a method or attribute.
        IndexError, KeyError: there is no layer at this position or of this name.

    Example:
        >>> import numpy as np, xpconv
        >>> from xpconv import Conv2d, Dense, Flatten, MaxPool2d, ReLU, Sequential
        >>> model = Sequential(Conv2d(1, 8, 3), ReLU(), MaxPool2d(2), Flatten(), Dense(8 * 13 * 13, 10))
        >>> model(np.zeros((2, 1, 28, 28), "float32")).shape
        (2, 10)
        >>> model[1]
        ReLU()
        >>> model[-1] = Dense(8 * 13 * 13, 7)
        >>> model(np.zeros((2, 1, 28, 28), "float32")).shape
        (2, 7)
    """

    _is_model = True
    _cached_steps: Steps | None = None
    _inference: Any = None

    def forward(self, x: Array) -> Array:
        if self._layers and not (self.training or saving() or is_recording() or observer.get()):
            if self._inference is None:
                vars(self)["_inference"] = Inference()
            return self._inference.run(self, x)
        start, steps = position(), self._steps()
        if not steps.steps:
            self._owner(x)
        for layer, clip in steps.steps:
            x = layer._pass(x) if clip is None else layer._pass_clipped(x, clip=clip)
        return self.keep(x, start, steps)

    def backward(self, grad_output: Array, input_grad: bool = True) -> Array | None:
        """The chain rule: the input gradient of each layer is the output gradient of the layer before it.

        Without `input_grad` it stops at the first layer that has a trainable parameter.
        """
        start, steps = self.recall(grad_output, input_grad)
        return self._back_through(steps.layers, start, grad_output, input_grad)

    def __getstate__(self) -> dict[str, Any]:
        """Without the steps: `latest_change` is another number in the process that loads them."""
        return {name: value for name, value in super().__getstate__().items() if name != "_cached_steps"}

    def _steps(self) -> Steps:
        """The steps of forward; computed again when the layers or their settings have changed."""
        steps = self._cached_steps
        made_for = *self._layers.values(), latest_change()
        if steps is None or steps.made_for != made_for:
            steps = fused(list(self._layers.values()))
            steps.made_for = made_for
            vars(self)["_cached_steps"] = steps
        return steps

    def _fuse_children(self, uses: Counter[int]) -> None:
        if runs_as(self, Sequential):
            fold(self, Sequential, uses)
            self._is_fused = True

    def _calls(self) -> list[tuple[Callable[[Array], Array], list[Layer]]]:
        """The functions that forward calls in turn, each with the layers that it runs."""
        return [
            (layer._pass, [layer])
            if clip is None
            else (partial(layer._pass_clipped, clip=clip), [layer, clip])
            for layer, clip in self._steps().steps
        ]


class Parallel(Listed):
    """`y = Σ branch(x)`: every branch gets the same input, and their outputs are added.

    The gradient of a sum is the same for every term, and the input's gradients add up:
    `dx = Σ branch'(grad)`. Takes branches as `Sequential` takes layers.

    Raises:
        ShapeError: (a ValueError) the branches give different shapes.

    Example:
        >>> import numpy as np, xpconv
        >>> both = xpconv.Parallel(xpconv.Conv2d(4, 6, 3, padding=1), xpconv.Conv2d(4, 6, 1))
        >>> both(np.zeros((2, 4, 8, 8), "float32")).shape
        (2, 6, 8, 8)
    """

    _is_model = True

    def forward(self, x: Array) -> Array:
        outputs = self._outputs(x)
        y = outputs[0]
        for name, output in zip(self._layers, outputs, strict=True):
            if output.shape != y.shape:
                raise ShapeError(
                    f"{type(self).__name__}.forward: branch {name} gives shape {output.shape} but branch "
                    f"{next(iter(self._layers))} {y.shape}; all branches must give the same shape"
                )
        for output in outputs[1:]:
            y = add(get_xp(y, output), y, output)
        return self.keep(y, Layers(self))

    def backward(self, grad_output: Array, input_grad: bool = True) -> Array | None:
        (branches,) = self.recall(grad_output, input_grad)
        return self._gradients(branches, [grad_output] * len(branches), input_grad)

    def _outputs(self, x: Array) -> list[Array]:
        if not self._layers:
            raise ShapeError(f"{type(self).__name__}.forward: there are no branches; append at least one")
        return self._single([branch._pass(x) for branch in self])

    def _gradients(self, branches: list[Layer], grads: list[Array], input_grad: bool) -> Array | None:
        """Backward through the branches that ran, in reverse order, since they may share layers."""
        total: Array | None = None
        for i, (branch, grad) in enumerate(zip(reversed(branches), reversed(grads), strict=True)):
            part = branch._back(grad, input_grad)
            if input_grad:
                total = add(get_xp(total, part), total, part) if i else part
        return total


class Concat(Parallel):
    """Every branch gets the same input; their outputs are concatenated along `axis`, the channels.

    Inception and DenseNet use it, and U-Net's skip connections: `Concat(Identity(), inner)`. The input's
    gradients add up. In a `Graph`, `xpconv.layers.operators.Concatenate(axis=1)` joins several inputs.

    Args:
        branches: as `Sequential` takes layers.
        axis: of the output; 1 is the channels of a batch of images.

    Raises:
        ShapeError: (a ValueError) the branches differ in another axis.

    Example:
        >>> import numpy as np, xpconv
        >>> block = xpconv.Concat(xpconv.Conv2d(4, 6, 3, padding=1), xpconv.Conv2d(4, 2, 1))
        >>> block(np.zeros((2, 4, 8, 8), "float32")).shape
        (2, 8, 8, 8)
    """

    def __init__(self, *branches: Layer | Sequence[Layer] | Mapping[str, Layer], axis: int = 1) -> None:
        super().__init__(*branches)
        self.axis: int = to_int("Concat: axis", axis)

    def __getitem__(self, key: int | str | slice) -> Any:
        part = super().__getitem__(key)
        if isinstance(key, slice):
            part.axis = self.axis
        return part

    def forward(self, x: Array) -> Array:
        return self._clipped(x)

    def _clipped(self, x: Array, bounds: Bounds = None) -> Array:
        outputs = self._outputs(x)
        first = outputs[0]
        if not -first.ndim <= self.axis < first.ndim:
            raise ShapeError(f"Concat.forward: axis is {self.axis}, but branches give shape {first.shape}")
        axis = self.axis % first.ndim
        for name, output in zip(self._layers, outputs, strict=True):
            if output.shape[:axis] + output.shape[axis + 1 :] != first.shape[:axis] + first.shape[axis + 1 :]:
                raise ShapeError(
                    f"Concat.forward: branch {name} gives shape {output.shape} but branch "
                    f"{next(iter(self._layers))} {first.shape}; only axis {axis} may differ"
                )
        xp, sizes = get_xp(*outputs), [output.shape[axis] for output in outputs]
        y = concatenate(xp, axis, *outputs, bounds=bounds)
        return self.keep(y, xp, Layers(self), axis, sizes, None if bounds is None else y, bounds)

    def backward(self, grad_output: Array, input_grad: bool = True) -> Array | None:
        xp, branches, axis, sizes, y, bounds = self.recall(grad_output, input_grad)
        if bounds is not None:
            grad_output = clip_backward(xp, grad_output, y, *bounds)
        del y
        return self._gradients(branches, split(grad_output, axis, sizes), input_grad)


class Residual(Layer):
    """`y = body(x) + shortcut(x)` (He et al., 2016).

    The input gradient is the sum of those of both paths: `dx = body'(g) + shortcut'(g)`.

    Both paths can be replaced (`block.shortcut = layer`, `block["shortcut"] = layer`); `shortcut = None` is
    the identity. A subclass may give the paths other names in the state dict, with `names`.

    Args:
        body: the layers of the main path, in order.
        shortcut: a layer for the other path, e.g. a strided 1×1 convolution; None is the identity.

    Raises:
        ShapeError: (a ValueError) the two paths give different shapes.

    Example:
        >>> import numpy as np, xpconv
        >>> block = xpconv.Residual(xpconv.Conv2d(4, 4, 3, padding=1), xpconv.ReLU())
        >>> block(np.zeros((2, 4, 8, 8), "float32")).shape
        (2, 4, 8, 8)
    """

    _is_model = True
    names: ClassVar[tuple[str, str]] = ("body", "shortcut")

    def __init__(
        self, *body: Layer | Sequence[Layer] | Mapping[str, Layer], shortcut: Layer | None = None
    ) -> None:
        with named(type(self).__name__, "Sequential"):
            self.body: Layer = Sequential(*body)
        self.shortcut = shortcut

    def children(self) -> dict[str, Layer]:
        found = super().children()
        paths = {self.names[0]: found.pop("body")}
        if self.shortcut is not None:
            paths[self.names[1]] = found.pop("shortcut")
        return {**paths, **found}

    def __setattr__(self, name: str, value: Any) -> None:
        attribute = self._attribute(name)
        if attribute in ("body", "shortcut"):
            optional = attribute == "shortcut"
            if not (isinstance(value, Layer) or (value is None and optional)):
                expected = "a Layer or None" if optional else "a Layer"
                raise TypeError(f"{type(self).__name__}: {name} is {shown(value)}, expected {expected}")
            old = vars(self).get(attribute)
            check_whole(self, [] if old is None else [old])
            vars(self)[attribute] = value
            return
        found = self._find(name)
        if found is None or found[0] is self:
            super().__setattr__(name, value)
        else:
            setattr(found[0], name, value)

    def __delattr__(self, name: str) -> None:
        """Deleting the shortcut makes it the identity; the body cannot be deleted."""
        found = self._find(name)
        if self._attribute(name) == "shortcut":
            self.shortcut = None
        elif self._attribute(name) == "body":
            raise TypeError(f"{type(self).__name__}: {name} cannot be deleted; set another layer")
        elif found is None or found[0] is self:
            super().__delattr__(name)
        else:
            delattr(found[0], name)

    def __getitem__(self, name: str) -> Layer:
        found = self._find(name) if isinstance(name, str) else None
        if found is None or not isinstance(found[1], Layer):
            names = ", ".join(filter(None, self.children()))
            raise KeyError(f"{type(self).__name__}: there is no layer {name!r}; there are: {names}")
        return found[1]

    def __setitem__(self, name: str, layer: Layer) -> None:
        setattr(self, name, layer)

    def __delitem__(self, name: str) -> None:
        delattr(self, name)

    def _attribute(self, name: str) -> str:
        """The attribute, `body` or `shortcut`, for the path of this name; any other name unchanged."""
        return {self.names[0] or "body": "body", self.names[1]: "shortcut"}.get(name, name)

    def _find(self, name: str) -> tuple[Layer, Any] | None:
        attribute = self._attribute(name)
        if attribute in ("body", "shortcut") and attribute in vars(self):
            return self, vars(self)[attribute]
        nameless = self.names[0] == "" and "body" in vars(self)
        return super()._find(name) or (self.body._find(name) if nameless else None)

    def forward(self, x: Array) -> Array:
        return self._clipped(x)

    def _clipped(self, x: Array, bounds: Bounds = None) -> Array:
        main = self.body._pass(x)
        side = x if self.shortcut is None else self.shortcut._pass(x)
        self._single([main, side])
        if main.shape != side.shape:
            name = "x" if self.shortcut is None else "the shortcut"
            raise ShapeError(
                f"Residual.forward: the body gives shape {main.shape} but {name} has {side.shape}; "
                "give a shortcut that ends in the body's shape"
            )
        xp = get_xp(main, side)
        y = add(xp, main, side, bounds)
        return self.keep(y, xp, self.body, self.shortcut, None if bounds is None else y, bounds)

    def backward(self, grad_output: Array, input_grad: bool = True) -> Array | None:
        xp, body, shortcut, y, bounds = self.recall(grad_output, input_grad)
        if bounds is not None:
            grad_output = clip_backward(xp, grad_output, y, *bounds)
        del y
        side: Array | None = grad_output
        if shortcut is not None:
            side = shortcut._back(grad_output, input_grad)
        main = body._back(grad_output, input_grad)
        if input_grad and (main is None or side is None):
            get_xp(main, side)  # raises an error that says so
        return add(xp, main, side) if input_grad else None
