"""`ModuleList` and `ModuleDict`: lists and dicts of layers inside a layer that you write."""

from __future__ import annotations

from collections.abc import ItemsView, Iterable, Iterator, KeysView, Mapping, ValuesView
from typing import Any

from ..backend import Array
from .children import Listed, Named
from .layer import Layer
from .tree import check_whole

__all__ = ["ModuleDict", "ModuleList"]


class _Held(Layer):
    """A container that has no forward and backward of its own."""

    _no_config = ("layers",)

    def forward(self, *inputs: Any) -> Array:
        name = type(self).__name__
        raise TypeError(
            f"{name} has no forward; call its layers in the forward of the layer that contains it"
        )

    def backward(self, grad_output: Array, input_grad: bool = True) -> Array | None:
        name = type(self).__name__
        raise TypeError(
            f"{name} has no backward; call that of its layers, in reverse order, in the backward of the "
            "layer that contains it"
        )


class ModuleList(_Held, Listed):
    """A list of layers that a layer of your own calls, as `torch.nn.ModuleList`.

    Layers in a plain list are an error in `parameters()`, since they would not be trained. Indices, slices,
    `len`, `in`, `append`, `extend`, `insert`, `pop`, `del`, `+` and `+=` work as on a list; the layers are
    called `0`, `1`, … in the state dict.

    The layer that contains the list calls their `backward` in the reverse order of its `forward`, and passes
    `input_grad` on to the one that reads the input:

        for layer in reversed(self.blocks[1:]):
            grad_output = layer.backward(grad_output)
        return self.blocks[0].backward(grad_output, input_grad)

    If `forward` adds or concatenates outputs, `backward` does as those of `Parallel` or `Concat`: it gives
    each layer its part of the gradient, and adds the gradients of an input that several layers share.

    Args:
        layers: any iterable of layers.

    Raises:
        TypeError: something given is not a layer.

    Example:
        >>> import numpy as np, xpconv
        >>> class Deep(xpconv.Layer):
        ...     def __init__(self, n):
        ...         self.blocks = xpconv.ModuleList(xpconv.Dense(4, 4, rng=i) for i in range(n))
        ...     def forward(self, x):
        ...         for layer in self.blocks:
        ...             x = layer(x)
        ...         return self.keep(x)
        ...     def backward(self, grad_output, input_grad=True):
        ...         self.recall(grad_output)
        ...         for layer in reversed(self.blocks[1:]):
        ...             grad_output = layer.backward(grad_output)
        ...         return self.blocks[0].backward(grad_output, input_grad)
        >>> model = Deep(3)
        >>> y = model(np.ones((2, 4), "float32"))
        >>> model.backward(y).shape
        (2, 4)
        >>> [name for name, _ in model.named_parameters()][:2]
        ['blocks.0.weight', 'blocks.0.bias']
    """

    def __init__(self, layers: Iterable[Layer] | None = None) -> None:
        super().__init__()
        if layers is not None:
            self.extend(layers)

    def __getitem__(self, key: int | str | slice) -> Any:
        return type(self)(list(self)[key]) if isinstance(key, slice) else super().__getitem__(key)

    def __add__(self, other: Iterable[Layer]) -> ModuleList:
        return ModuleList(self).extend(other)

    def __iadd__(self, other: Iterable[Layer]) -> ModuleList:
        return self.extend(other)


class ModuleDict(_Held, Named):
    """A dict of layers that a layer of your own calls, as `torch.nn.ModuleDict`; see `ModuleList`.

    Keys are the names in the state dict: strings without dots that are not a method of a dict or layer.
    Iterating yields the keys.

    Args:
        layers: a mapping of names to layers, or pairs of a name and a layer.

    Raises:
        TypeError: `layers` is neither, or a value is not a layer.
        ValueError: a name has a dot in it, or is that of a method or attribute.

    Example:
        >>> import xpconv
        >>> heads = xpconv.ModuleDict({"age": xpconv.Dense(8, 1), "sex": xpconv.Dense(8, 2)})
        >>> heads["age"], list(heads), "sex" in heads
        (Dense(8, 1), ['age', 'sex'], True)
        >>> list(heads.state_dict())
        ['age.weight', 'age.bias', 'sex.weight', 'sex.bias']
    """

    def __init__(self, layers: Mapping[str, Layer] | Iterable[tuple[str, Layer]] | None = None) -> None:
        super().__init__()
        if layers is not None:
            self.update(layers)

    def __iter__(self) -> Iterator[str]:
        return iter(self._layers)

    def __contains__(self, name: object) -> bool:
        return name in self._layers

    def keys(self) -> KeysView[str]:
        """The names."""
        return self._layers.keys()

    def values(self) -> ValuesView[Layer]:
        """The layers."""
        return self._layers.values()

    def items(self) -> ItemsView[str, Layer]:
        """The names with their layers."""
        return self._layers.items()

    def update(self, layers: Mapping[str, Layer] | ModuleDict | Iterable[tuple[str, Layer]]) -> None:
        """Add layers, and replace those with the same names."""
        try:
            new = dict(layers)
        except (TypeError, ValueError):
            kind = type(layers).__name__
            raise TypeError(
                f"{type(self).__name__}.update: layers is {kind}, expected a mapping of names to layers, or "
                "pairs of a name and a layer"
            ) from None
        for name, layer in new.items():
            self._check_layer(name, layer)
        for name, layer in new.items():
            self._add(name, layer)

    def pop(self, name: str) -> Layer:
        """Remove the layer of this name and return it."""
        layer: Layer = self[name]
        del self[name]
        return layer

    def clear(self) -> None:
        """Remove all layers."""
        check_whole(self, list(self.values()))
        self._layers.clear()
