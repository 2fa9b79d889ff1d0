"""Loss scaling, which prevents underflow of small gradients in float16."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..arguments import shown, to_float, to_int
from ..arraylike import writable
from ..arrays import asarray, asnumpy
from ..backend import Array, backend_of, get_backend, ignore_underflow
from ..errors import StateDictError
from ..kernels.graph import hold
from ..signatures import public_errors
from .base import Optimizer
from .schedule import groups_of

__all__ = ["GradScaler"]

LARGEST = 3.4e38  # of float32, which the scale is


@public_errors
class GradScaler:
    """Dynamic loss scaling for training in float16, as `torch.amp.GradScaler` (Micikevicius et al., 2018).

    The loss's gradient is multiplied by `scale`, and the parameters' gradients are divided by it before the
    update. A step with an infinite or NaN gradient is skipped, and the scale is multiplied by
    `backoff_factor`; after `growth_interval` steps in a row without one it is multiplied by `growth_factor`.
    A training step:

        loss = criterion(model(x), y)
        optimizer.zero_grad()
        model.backward(criterion.backward(scaler.scale), input_grad=False)
        scaler.step(optimizer)
        scaler.update()

    No step waits for a GPU. bfloat16 has the range of float32 and needs no scaling.

    Args:
        init_scale: the initial scale, above 0.
        growth_factor: above 1.
        backoff_factor: between 0 and 1.
        growth_interval: number of steps in a row, at least 1.
        backend: the model's backend; None takes the active one.

    Attributes:
        scale: the scale, a 0-d float32 array on the device.

    Raises:
        ValueError, TypeError: a setting is out of range, or not a number.

    Example:
        >>> import numpy as np, xpconv
        >>> p = xpconv.Parameter(np.array([1.0, 2.0], "float16"))
        >>> optimizer, scaler = xpconv.SGD([p], lr=0.5), xpconv.GradScaler(4.0)
        >>> p.grad = np.array([4.0, 8.0], "float16")
        >>> scaler.step(optimizer)
        >>> scaler.update()
        >>> p.data
        array([0.5, 1. ], dtype=float16)
        >>> p.grad = np.array([np.inf, 8.0], "float16")
        >>> scaler.step(optimizer)
        >>> scaler.update()
        >>> p.data, float(scaler.scale)
        (array([0.5, 1. ], dtype=float16), 2.0)
    """

    growth_factor: float
    backoff_factor: float
    growth_interval: int

    def __init__(
        self,
        init_scale: float = 65536.0,
        growth_factor: float = 2.0,
        backoff_factor: float = 0.5,
        growth_interval: int = 2000,
        *,
        backend: str | None = None,
    ) -> None:
        start, self.growth_factor, self.backoff_factor, self.growth_interval = _checked(
            "GradScaler", init_scale, growth_factor, backoff_factor, growth_interval
        )
        if backend is not None and not isinstance(backend, str):
            raise TypeError(
                f"GradScaler: backend is {shown(backend)}, expected a name, such as 'cupy', or None"
            )
        name = backend or get_backend()
        self.scale: Array = asarray([start], "float32", backend=name).reshape(())
        self._good: Array = asarray([0], "int32", backend=name).reshape(
            ()
        )  # steps in a row without inf or NaN
        self._found: Array = asarray([False], backend=name).reshape(())  # any inf or NaN since `update`
        self._unscaled: list[tuple[Optimizer, Array]] = []  # since `update`: whether it had an inf or NaN
        self._stepped: list[Optimizer] = []  # since `update`

    def unscale_(self, optimizer: Optimizer) -> None:
        """Divide the gradients by the scale, for `clip_grad_norm_`; otherwise `step` does this.

        Raises:
            RuntimeError: called twice since `update`, or no parameter has a gradient.
        """
        groups_of("GradScaler.unscale_", optimizer)
        if self._found_in(optimizer) is not None:
            raise RuntimeError(
                "GradScaler.unscale_: called already for this optimizer; call update() after step"
            )
        xp = optimizer._backend.xp
        if backend_of(self.scale).xp is not xp:
            raise RuntimeError(
                f"GradScaler: the scale is on {backend_of(self.scale).name} but the parameters are on "
                f"{optimizer._backend.name}; make the scaler with backend={optimizer._backend.name!r}"
            )
        found = xp.zeros((), dtype=bool)
        hold(found)
        with ignore_underflow(xp):
            optimizer._unscale(1 / self.scale, found)
        self._found |= found
        self._unscaled.append((optimizer, found))

    def step(self, optimizer: Optimizer) -> None:
        """`optimizer.step()` with unscaled gradients, unless one of them is infinite or NaN.

        Raises:
            RuntimeError: called twice since `update`, or as from `optimizer.step`.
        """
        groups_of("GradScaler.step", optimizer)
        if any(o is optimizer for o in self._stepped):
            raise RuntimeError(
                "GradScaler.step: called already for this optimizer; call update() after the steps"
            )
        if self._found_in(optimizer) is None:
            self.unscale_(optimizer)
        optimizer.step(self._found_in(optimizer))
        self._stepped.append(optimizer)

    def _found_in(self, optimizer: Optimizer) -> Array | None:
        """Whether the optimizer's gradients have an infinity or a NaN; None before `unscale_`."""
        return next((found for known, found in self._unscaled if known is optimizer), None)

    def update(self) -> None:
        """Adapt the scale, after the steps of all optimizers."""
        xp = backend_of(self.scale).xp
        _, growth, backoff, interval = _checked(
            "GradScaler.update", 1.0, self.growth_factor, self.backoff_factor, self.growth_interval
        )
        good = self._good + 1
        fits = self.scale <= LARGEST / growth  # it does not become infinite
        factor = xp.where((good >= interval) & fits, growth, 1.0)
        factor = xp.where(self._found, backoff, factor)
        with ignore_underflow(xp):
            self.scale[...] = xp.maximum(self.scale * factor, float(xp.finfo("float32").tiny))
        self._good[...] = xp.where(self._found | (good >= interval), 0, good)
        self._reset()

    def _reset(self) -> None:
        """Forget what has happened since `update`: also a step that an error has ended."""
        self._found[...] = False
        self._unscaled.clear()
        self._stepped.clear()

    def state_dict(self) -> dict[str, Any]:
        """The scale, the settings and the count of steps without overflow, as PyTorch's; waits for a GPU.

        Example:
            >>> import xpconv
            >>> xpconv.GradScaler(4.0).state_dict()["scale"]
            4.0
        """
        return {
            "scale": float(asnumpy(self.scale)),
            "growth_factor": self.growth_factor,
            "backoff_factor": self.backoff_factor,
            "growth_interval": self.growth_interval,
            "_growth_tracker": int(asnumpy(self._good)),
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Load what `state_dict` returned, here or in PyTorch.

        Raises:
            StateDictError: (a ValueError) an entry is missing or unexpected; nothing has changed then.
            ValueError, TypeError: a value is not valid for the constructor.

        Example:
            >>> import xpconv
            >>> scaler = xpconv.GradScaler()
            >>> scaler.load_state_dict(xpconv.GradScaler(4.0).state_dict())
            >>> float(scaler.scale)
            4.0
        """
        where = "GradScaler.load_state_dict"
        if not isinstance(state_dict, Mapping):
            raise StateDictError(
                f"{where}: state_dict is {shown(state_dict)}, expected a mapping, as state_dict() returns"
            )
        names = ("scale", "growth_factor", "backoff_factor", "growth_interval", "_growth_tracker")
        missing, unexpected = sorted(set(names) - set(state_dict)), sorted(set(state_dict) - set(names))
        if missing or unexpected:
            raise StateDictError(f"{where}: missing {missing}, unexpected {unexpected}")
        start, growth, backoff, interval = _checked(where, *(state_dict[name] for name in names[:4]))
        good = to_int(f"{where}: _growth_tracker", state_dict["_growth_tracker"], 0)
        self.growth_factor, self.backoff_factor, self.growth_interval = growth, backoff, interval
        self.scale[...] = start
        self._good[...] = good

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self.scale, self._good, self._found = map(writable, (self.scale, self._good, self._found))

    def __repr__(self) -> str:
        return (
            f"GradScaler(scale={float(asnumpy(self.scale))}, growth_factor={self.growth_factor}, "
            f"backoff_factor={self.backoff_factor}, growth_interval={self.growth_interval})"
        )


def _checked(
    where: str, scale: Any, growth: Any, backoff: Any, interval: Any
) -> tuple[float, float, float, int]:
    """The four settings, as Python numbers."""
    first = "scale" if "." in where else "init_scale"
    numbers = [
        to_float(f"{where}: {name}", value)
        for name, value in ((first, scale), ("growth_factor", growth), ("backoff_factor", backoff))
    ]
    steps = to_int(f"{where}: growth_interval", interval, 1)
    if steps >= 1 << 31:
        raise ValueError(f"{where}: growth_interval is {shown(interval)}, expected below 2**31")
    if not (0 < numbers[0] < LARGEST and numbers[1] > 1 and 0 < numbers[2] < 1):
        raise ValueError(
            f"{where}: {first} is {scale}, growth_factor {growth} and backoff_factor {backoff}, expected "
            f"{first} above 0 and finite in float32, growth_factor above 1, backoff_factor between 0 and 1"
        )
    return numbers[0], numbers[1], numbers[2], steps
