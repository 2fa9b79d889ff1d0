"""Layers made of layers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ..backend import Array
from ..errors import ShapeError
from .base import Layer
from .memory import next_serial


class Sequential(Layer):
    """One layer after the other, as `torch.nn.Sequential`.

    Takes layers, one list of them, or one mapping of names to them; they are called `0`, `1`, … or by
    the mapping's names. `model[i]`, `model[a:b]`, `len(model)` and `append` work as on a list.

    Example:
        >>> import numpy as np, xpconv
        >>> from xpconv import Conv2d, Dense, Flatten, MaxPool2d, ReLU, Sequential
        >>> model = Sequential(Conv2d(1, 8, 3), ReLU(), MaxPool2d(2), Flatten(), Dense(8 * 13 * 13, 10))
        >>> model(np.zeros((2, 1, 28, 28), "float32")).shape
        (2, 10)
        >>> model[1]
        ReLU()
    """

    def __init__(self, *layers: Layer | Sequence[Layer] | Mapping[str, Layer]) -> None:
        self._layers: dict[str, Layer] = {}
        items: object = layers[0] if len(layers) == 1 else layers
        if isinstance(items, Layer):
            items = layers
        if not isinstance(items, Mapping):
            items = (
                {str(i): layer for i, layer in enumerate(items)}
                if isinstance(items, Sequence)
                else {"0": items}
            )
        for name, layer in items.items():
            self._add(name, layer)

    def append(self, layer: Layer) -> Sequential:
        """Add a layer at the end; returns the model."""
        self._add(str(len(self._layers)), layer)
        return self

    def _add(self, name: str, layer: object) -> None:
        if not isinstance(layer, Layer):
            hint = "; make an instance of it" if isinstance(layer, type) else ""
            raise TypeError(f"Sequential: layer {name} is {layer!r}, expected a Layer{hint}")
        self._layers[name] = layer

    def children(self) -> dict[str, Layer]:
        return {**super().children(), **self._layers}

    def __len__(self) -> int:
        return len(self._layers)

    def __iter__(self) -> Iterator[Layer]:
        return iter(self._layers.values())

    def __getitem__(self, index: int | slice) -> Layer:
        if isinstance(index, slice):
            return Sequential(dict(list(self._layers.items())[index]))
        return list(self._layers.values())[index]

    def forward(self, x: Array) -> Array:
        start = next_serial()
        for layer in self:
            x = layer(x)
        return self.keep(x, start)

    def backward(self, grad_output: Array, input_grad: bool = True) -> Array | None:
        """The chain rule: each layer's gradient goes to the one before it.

        Without `input_grad` it stops at the first layer that has parameters.
        """
        (start,) = self.recall(grad_output)
        layers = list(self)
        last = 0  # the last one to go through, on the way back
        if not input_grad:
            last = next((i for i, layer in enumerate(layers) if layer.parameters()), len(layers))
        grad: Array | None = grad_output
        try:
            for i in reversed(range(last, len(layers))):
                grad = layers[i].backward(grad, input_grad=input_grad or i > last)
        except BaseException:
            self._forget_since(start)
            raise
        for layer in layers[:last]:
            layer._forget_since(start)
        return grad if input_grad else None

    def __repr__(self) -> str:
        lines = [f"  ({name}): {layer!r}".replace("\n", "\n  ") for name, layer in self._layers.items()]
        return "\n".join([f"{type(self).__name__}(", *lines, ")"]) if lines else f"{type(self).__name__}()"


class Residual(Layer):
    """`y = body(x) + shortcut(x)` (He et al., 2016).

    The gradient goes back through both and adds up: `dx = body'(g) + shortcut'(g)`.

    Args:
        body: the layers of the main path, one after the other.
        shortcut: a layer for the other path, e.g. a strided 1×1 convolution; None is the identity.

    Raises:
        ShapeError: (a ValueError) the two paths give different shapes.

    Example:
        >>> import numpy as np, xpconv
        >>> block = xpconv.Residual(xpconv.Conv2d(4, 4, 3, padding=1), xpconv.ReLU())
        >>> block(np.zeros((2, 4, 8, 8), "float32")).shape
        (2, 4, 8, 8)
    """

    def __init__(self, *body: Layer | Sequence[Layer], shortcut: Layer | None = None) -> None:
        self.body = Sequential(*body)
        self.shortcut = shortcut

    def forward(self, x: Array) -> Array:
        start = next_serial()
        main = self.body(x)
        side = x if self.shortcut is None else self.shortcut(x)
        if main.shape != side.shape:
            name = "x" if self.shortcut is None else "the shortcut"
            raise ShapeError(
                f"Residual.forward: the body gives shape {main.shape} but {name} has {side.shape}; "
                "give a shortcut that ends in the body's shape"
            )
        return self.keep(main + side, start)

    def backward(self, grad_output: Array, input_grad: bool = True) -> Array | None:
        (start,) = self.recall(grad_output)
        try:
            side: Array | None = grad_output
            if self.shortcut is not None:
                side = self.shortcut.backward(grad_output, input_grad)
            main = self.body.backward(grad_output, input_grad)
        except BaseException:
            self._forget_since(start)
            raise
        return main + side if main is not None and input_grad else None

    def __repr__(self) -> str:
        lines = [f"  ({name}): {layer!r}".replace("\n", "\n  ") for name, layer in self.children().items()]
        return "\n".join(["Residual(", *lines, ")"])
