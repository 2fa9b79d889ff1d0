"""Training and inference mode, freezing parameters, and clearing gradients."""

from __future__ import annotations

from typing import Any, ClassVar, TypeVar

from ..arguments import to_bool
from ..parameter import Parameter
from .state import State
from .tree import L

Self = TypeVar("Self", bound="Modes[Any]")


class Modes(State[L]):
    """The part of `Layer` that sets training or inference mode, freezes parameters and clears gradients."""

    training: bool
    _input_dtypes: ClassVar[tuple[str, ...]] = ()  # of the inputs, for `summary`; "" for a floating one

    def train(self: Self, mode: bool = True) -> Self:
        """Set training mode here and below: dropout is active, BatchNorm uses the statistics of the batch.

        Layers frozen by `requires_grad_(False, eval=True)` stay in inference mode until they are thawed.

        Args:
            mode: False sets inference mode instead.

        Returns:
            the layer.

        Raises:
            TypeError: `mode` is not True or False.
        """
        mode = to_bool(f"{type(self).__name__}.train: mode", mode)
        self._check_collections()
        for _, layer in self.named_layers():
            if layer._thawed_mode is None:
                layer.training = mode
            else:
                layer._thawed_mode = mode
        if mode:
            self._make_writable()
        return self

    def eval(self: Self) -> Self:
        """Set inference mode here and below.

        Returns the layer. Use `no_grad` as well to save nothing for backward.
        """
        return self.train(False)

    def requires_grad_(self: Self, requires_grad: bool = True, *, eval: bool = False) -> Self:
        """Freeze (False) or thaw (True) all parameters here and below; returns the layer.

        No gradient is computed for a frozen parameter, and optimizers and gradient clipping skip it.
        `backward(…, input_grad=False)` stops at the first layer that has a trainable parameter. Parameters
        can be frozen and thawed at any time, also when an optimizer holds them; `parameters()` and the state
        dict contain frozen ones too.

        As in PyTorch, freezing does not change the mode: in training mode, a frozen BatchNorm still uses the
        statistics of the batch and updates its running ones. With `eval=True` the layers, dropout included,
        are put into inference mode as well and ignore `train()` until `requires_grad_(True)`, which restores
        the mode that they would have without freezing.

        Args:
            requires_grad: whether gradients are computed and the parameters trained.
            eval: whether freezing also sets inference mode.

        Raises:
            TypeError: a flag is not True or False.
            ValueError: `eval=True` together with `requires_grad=True`.

        Example:
            >>> import xpconv
            >>> model = xpconv.models.resnet18(num_classes=7)
            >>> _ = model.requires_grad_(False, eval=True)  # freeze the whole model
            >>> _ = model.fc.requires_grad_()  # and train its last layer
            >>> [name for name, p in model.named_parameters() if p.requires_grad]
            ['fc.weight', 'fc.bias']
            >>> model.train().bn1.training, model.fc.training
            (False, True)
        """
        where = f"{type(self).__name__}.requires_grad_"
        requires_grad = to_bool(f"{where}: requires_grad", requires_grad)
        if to_bool(f"{where}: eval", eval) and requires_grad:
            raise ValueError(f"{where}: eval=True is for frozen layers: requires_grad_(False, eval=True)")
        for _, parameter in self.named_parameters():
            parameter.requires_grad = requires_grad
        for _, layer in self.named_layers():
            layer._set_frozen(not requires_grad, eval)
        return self

    def _set_frozen(self, frozen: bool, eval: bool) -> None:
        """Update this layer's own flags, besides its parameters, on freezing or thawing."""
        if self.lazy:
            self._frozen_later = frozen
        if eval and self._thawed_mode is None:
            self._thawed_mode, self.training = self.training, False
        elif not frozen and self._thawed_mode is not None:
            self.training, self._thawed_mode = self._thawed_mode, None

    def _take_flags(self) -> None:
        """Freeze the parameters that a lazy layer has just made, if the layer was frozen before."""
        if vars(self).pop("_frozen_later", False):
            for value in vars(self).values():
                if isinstance(value, Parameter):
                    value.requires_grad = False

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Set every gradient to None, or with `set_to_none=False` fill the existing ones with zeros."""
        set_to_none = to_bool(f"{type(self).__name__}.zero_grad: set_to_none", set_to_none)
        for _, parameter in self._named_parameters():
            if set_to_none or parameter.grad is None:
                parameter.grad = None
            else:
                parameter.grad[...] = 0
