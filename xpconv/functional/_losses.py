"""What the losses share: each function computes by the `Loss` class of the same name."""

from __future__ import annotations

from typing import Any

from ..arguments import named
from ..backend import Array, plain
from ..losses.base import Loss
from ..losses.regression import HuberLoss
from ..parameter import Parameter
from ._checks import check_shape, enter


def value(
    name: str, kind: type[Loss], arrays: tuple[Any, ...], *arguments: Any, weight: Array | None = None
) -> Array:
    """The value of the loss `kind(*arguments)` for these arrays.

    The losses of the elements are multiplied by `weight`, and the mean is divided by its sum; that of Huber's
    loss by their number, as in PyTorch.
    """
    where = f"functional.{name}"
    with named(where, kind.__name__):
        criterion = kind(*_plain(arguments))
        by_weight = kind is not HuberLoss
        loss: Array = criterion._evaluated(_plain(arrays), _weight(where, arrays[0], weight), by_weight)[0]
    return loss


def gradient(
    name: str,
    kind: type[Loss],
    grad_output: Any,
    arrays: tuple[Any, ...],
    *arguments: Any,
    weight: Array | None = None,
) -> Any:
    """The gradient of that loss with respect to the first array, or a tuple for losses of several arrays."""
    where, whose = f"functional.{name}_backward", kind.__name__
    (grad_output,) = _plain((grad_output,))
    with named(where, whose), named(where, f"{whose}.backward"):
        criterion = kind(*_plain(arguments))
        by_weight = kind is not HuberLoss
        loss, _, *saved = criterion._evaluated(_plain(arrays), _weight(where, arrays[0], weight), by_weight)
        criterion._check_grad(grad_output, loss.shape, loss.dtype, type(loss))
        return criterion._gradient(grad_output, *saved)


def _weight(where: str, input: Any, weight: Array | None) -> Array | None:
    """Check that `weight` is None or like `input`; return it."""
    if weight is None:
        return None
    _, x, w = enter(where, {"input": input, "weight": weight})
    check_shape(where, "weight", w, x.shape, "that of input")
    return w


def _plain(arrays: tuple[Any, ...]) -> tuple[Any, ...]:
    """The arrays of Parameters, and plain arrays in place of subclasses such as `memmap`."""
    return tuple(plain(x.data if isinstance(x, Parameter) else x) for x in arrays)
