"""What the losses share: each function computes by the `Loss` class of the same name."""

from __future__ import annotations

from typing import Any

from ..arguments import named
from ..backend import Array, plain
from ..losses.base import Loss
from ..parameter import Parameter


def value(name: str, kind: type[Loss], arrays: tuple[Any, ...], *arguments: Any) -> Array:
    """The value of the loss `kind(*arguments)` for these arrays."""
    with named(f"functional.{name}", kind.__name__):
        loss: Array = kind(*arguments)._evaluated(_plain(arrays))[0]
    return loss


def gradient(name: str, kind: type[Loss], grad_output: Any, arrays: tuple[Any, ...], *arguments: Any) -> Any:
    """The gradient of that loss with respect to the first array, or a tuple for losses of several arrays."""
    where, whose = f"functional.{name}_backward", kind.__name__
    with named(where, whose), named(where, f"{whose}.backward"):
        criterion = kind(*arguments)
        loss, _, *saved = criterion._evaluated(_plain(arrays))
        criterion._check_grad(grad_output, loss.shape, loss.dtype, type(loss))
        return criterion._gradient(grad_output, *saved)


def _plain(arrays: tuple[Any, ...]) -> tuple[Any, ...]:
    """The arrays of Parameters, and plain arrays in place of subclasses such as `memmap`."""
    return tuple(plain(x.data if isinstance(x, Parameter) else x) for x in arrays)
