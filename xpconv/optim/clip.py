"""Gradient clipping, between backward and step."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import accumulate
from typing import Any

from ..arguments import to_bool, to_float
from ..backend import Array, get_xp, ignore_underflow
from ..kernels import overrides
from ..kernels.graph import hold
from ..ops.losses import scaled_sum
from ..ops.optim import gather
from ..parameter import Parameter
from ..sums import widened
from .flat import view_as
from .sharing import on_device_of

__all__ = ["clip_grad_norm_", "clip_grad_value_"]


def clip_grad_norm_(
    parameters: Parameter | Iterable[Parameter],
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
) -> Array:
    """Scale all gradients so that the norm of all of them together is at most `max_norm`, as PyTorch's.

    The factor is `min(1, max_norm / (norm + 1e-6))`; it stays on the device, so that the host does not wait.

    Args:
        parameters: those whose gradients are scaled; frozen ones and those without a gradient are skipped.
        max_norm: the largest norm allowed.
        norm_type: p of the p-norm; `math.inf` for the largest absolute value.
        error_if_nonfinite: raise an error if the norm is infinite or NaN, which waits for the device.

    Returns:
        The norm before clipping, a 0-d array on the device (0 if there are no gradients).

    Raises:
        ValueError: `max_norm` is below 0, or `norm_type` not above 0.
        TypeError: `parameters` holds something that is not a `Parameter`.
        RuntimeError: the norm is infinite or NaN, with `error_if_nonfinite`.

    Example:
        >>> import numpy as np, xpconv
        >>> p = xpconv.Parameter(np.zeros(2))
        >>> p.grad = np.array([3.0, 4.0])
        >>> float(xpconv.clip_grad_norm_([p], max_norm=1.0))
        5.0
        >>> p.grad.round(3)
        array([0.6, 0.8])
    """
    max_norm = to_float("clip_grad_norm_: max_norm", max_norm, 0)
    norm_type = to_float("clip_grad_norm_: norm_type", norm_type)
    if not norm_type > 0:
        raise ValueError(f"clip_grad_norm_: norm_type is {norm_type}, expected above 0")
    to_bool("clip_grad_norm_: error_if_nonfinite", error_if_nonfinite)
    parameters = _listed("clip_grad_norm_", parameters)
    grads = [g for g in _grads(parameters) if g.size]
    if not grads:
        return get_xp(*(p.data for p in parameters)).zeros((), dtype="float32")
    xp = get_xp(*grads)
    with _joined(xp, grads) as parts, ignore_underflow(xp):
        norm = _norm(xp, parts, norm_type)
        if error_if_nonfinite and not xp.isfinite(norm):
            raise RuntimeError(
                f"clip_grad_norm_: the gradients' norm is {float(norm)}; lower the learning rate, or look "
                "for NaN"
            )
        factor = xp.minimum(max_norm / (norm + 1e-6), 1.0)
        for g in parts:
            g *= factor.astype(g.dtype, copy=False)
    return norm


@contextmanager
def _joined(xp: Any, grads: list[Array]) -> Iterator[list[Array]]:
    """The gradients, to be changed in place: on a GPU as one vector, as that takes few launches."""
    kinds = {str(g.dtype) if g.dtype.itemsize > 2 else "float32" for g in grads}
    if "gather" not in overrides(xp) or len(kinds) > 1:
        yield grads
        return
    with on_device_of(grads[0]):
        vector = xp.empty(sum(g.size for g in grads), *kinds)
        hold(vector)
        stops = accumulate((g.size for g in grads), initial=0)
        views = [
            view_as(vector[start : start + g.size], g.shape, not g.flags.c_contiguous)
            for g, start in zip(grads, stops, strict=False)
        ]
        gather(xp, grads, views)
        yield [vector]
        gather(xp, views, grads)


def _norm(xp: Any, grads: list[Array], p: float) -> Array:
    """The p-norm of all elements together."""
    if p == math.inf:
        return _listed_on_device(xp, [xp.abs(widened(g)).max() for g in grads]).max()
    wide = map(widened, grads)
    powers = (g * g if p == 2 else xp.abs(g) ** p for g in wide)
    return _listed_on_device(xp, [scaled_sum(xp, power, 1.0) for power in powers]).sum() ** (1 / p)


def _listed_on_device(xp: Any, numbers: list[Array]) -> Array:
    """0-d arrays as a vector. CuPy's `stack` would copy addresses from the host, which no graph holds."""
    if len(numbers) == 1:
        return numbers[0]
    vector = xp.empty(len(numbers), dtype=max((n.dtype for n in numbers), key=lambda dtype: dtype.itemsize))
    for i, number in enumerate(numbers):
        vector[i] = number
    return vector


def clip_grad_value_(parameters: Parameter | Iterable[Parameter], clip_value: float) -> None:
    """Limit every element of the gradients to `[-clip_value, clip_value]`, as PyTorch's.

    Frozen parameters are skipped.

    Example:
        >>> import numpy as np, xpconv
        >>> p = xpconv.Parameter(np.zeros(2))
        >>> p.grad = np.array([3.0, -0.5])
        >>> xpconv.clip_grad_value_([p], 1.0)
        >>> p.grad
        array([ 1. , -0.5])
    """
    clip_value = to_float("clip_grad_value_: clip_value", clip_value, 0)
    grads = [g for g in _grads(_listed("clip_grad_value_", parameters)) if g.size]
    if grads:
        xp = get_xp(*grads)
        with _joined(xp, grads) as parts:
            for g in parts:
                xp.minimum(clip_value, xp.maximum(-clip_value, g, out=g), out=g)


def _listed(where: str, parameters: Any) -> list[Parameter]:
    found = [parameters] if isinstance(parameters, Parameter) else parameters
    several = isinstance(found, Iterable) and not isinstance(found, str | Mapping)
    found = list(found) if several and getattr(found, "shape", None) != () else [found]
    for parameter in found:
        if not isinstance(parameter, Parameter):
            raise TypeError(
                f"{where}: parameters holds {type(parameter).__name__}, expected Parameters; give "
                "model.parameters()"
            )
    return found


def _grads(parameters: list[Parameter]) -> list[Any]:
    return [p.grad for p in parameters if p.grad is not None and p.requires_grad]
