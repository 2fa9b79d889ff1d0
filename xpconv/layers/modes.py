"""What of a model learns, and in which mode it runs."""

from __future__ import annotations

from typing import Any, TypeVar

from ..geometry import to_bool
from .parameter import Parameter
from .state import State
from .tree import L

Self = TypeVar("Self", bound="Modes[Any]")


class Modes(State[L]):
    """The part of `Layer` for training and inference modes, frozen parameters, and gradients set back."""

    def train(self: Self, mode: bool = True) -> Self:
        """Set training mode here and below: dropout drops, BatchNorm takes the batch's statistics.

        Layers frozen by `requires_grad_(False, eval=True)` stay in inference mode until they learn again.
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
        """Set inference mode here and below; use `no_grad` as well to keep nothing for backward."""
        return self.train(False)

    def requires_grad_(self: Self, requires_grad: bool = True, *, eval: bool = False) -> Self:
        """Freeze (False) or thaw (True) all parameters here and below; returns the layer.

        For a frozen parameter no gradient is computed, `backward(…, input_grad=False)` stops above the layers
        below which nothing learns, and optimizers and gradient clipping pass over it. It may be frozen and
        thawed at any time, with an optimizer at work; `parameters()` and the state dict still have it.

        As in PyTorch this leaves the mode alone: in training, a frozen BatchNorm still takes the batch's
        statistics and moves its running ones. With `eval=True` the layers also go to inference mode, dropout
        included, and stay there whatever `train()` of the model says, until `requires_grad_(True)` gives them
        the mode that they would have by then.

        Raises:
            TypeError: a flag that is not True or False.
            ValueError: `eval=True` without freezing.

        Example:
            >>> import xpconv
            >>> model = xpconv.models.resnet18(num_classes=7)
            >>> _ = model.requires_grad_(False, eval=True)  # the backbone: extracts features as it is
            >>> _ = model.fc.requires_grad_()  # the head learns
            >>> [name for name, p in model.named_parameters() if p.requires_grad]
            ['fc.weight', 'fc.bias']
            >>> model.train().bn1.training, model.fc.training
            (False, True)
        """
        where = f"{type(self).__name__}.requires_grad_"
        requires_grad = to_bool(f"{where}: requires_grad", requires_grad)
        if to_bool(f"{where}: eval", eval) and requires_grad:
            raise ValueError(f"{where}: eval=True is for frozen layers: requires_grad_(False, eval=True)")
        self._check_collections()
        for _, parameter in self.named_parameters():
            parameter.requires_grad = requires_grad
        for _, layer in self.named_layers():
            layer._set_frozen(not requires_grad, eval)
        return self

    def _set_frozen(self, frozen: bool, eval: bool) -> None:
        """What freezing or thawing does to this layer itself, beside its parameters."""
        if self.lazy:
            self._frozen_later = frozen
        if eval and self._thawed_mode is None:
            self._thawed_mode, self.training = self.training, False
        elif not frozen and self._thawed_mode is not None:
            self.training, self._thawed_mode = self._thawed_mode, None

    def _take_flags(self) -> None:
        """Where a lazy layer has made its parameters: freeze them, if it was frozen before."""
        if vars(self).pop("_frozen_later", False):
            for value in vars(self).values():
                if isinstance(value, Parameter):
                    value.requires_grad = False

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Set every parameter's gradient back to None; without `set_to_none` fill those there are with 0."""
        set_to_none = to_bool(f"{type(self).__name__}.zero_grad: set_to_none", set_to_none)
        for _, parameter in self._named_parameters():
            if set_to_none or parameter.grad is None:
                parameter.grad = None
            else:
                parameter.grad[...] = 0
