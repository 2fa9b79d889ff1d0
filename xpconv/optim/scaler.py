"""Loss scaling: so that small gradients in float16 do not vanish."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..backend import Array, asarray, asnumpy, backend_of, get_backend
from ..geometry import to_float, to_int
from .base import Optimizer


class GradScaler:
    """Dynamic loss scaling for training in float16, as `torch.amp.GradScaler` (Micikevicius et al., 2018).

    The loss's gradient is multiplied by `scale`, and the parameters' divided by it again before the update. A
    step with a gradient that is infinite or NaN is left out; the scale then shrinks, and grows again after
    `growth_interval` good steps. A training step:

        loss = criterion(model(x), y)
        optimizer.zero_grad()
        model.backward(criterion.backward(scaler.scale), input_grad=False)
        scaler.step(optimizer)
        scaler.update()

    Nothing of it waits for a GPU, with optimizers that are a kernel there (all but LARS and LAMB). bfloat16
    has float32's range and needs no scaling.

    Args:
        init_scale: where the scale starts.
        growth_factor: above 1.
        backoff_factor: 0 to 1.
        growth_interval: number of good steps in a row.
        backend: where the model is; None takes the active backend.

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

    def __init__(
        self,
        init_scale: float = 65536.0,
        growth_factor: float = 2.0,
        backoff_factor: float = 0.5,
        growth_interval: int = 2000,
        *,
        backend: str | None = None,
    ) -> None:
        start = to_float("GradScaler: init_scale", init_scale)
        self.growth_factor = to_float("GradScaler: growth_factor", growth_factor)
        self.backoff_factor = to_float("GradScaler: backoff_factor", backoff_factor)
        self.growth_interval = to_int("GradScaler: growth_interval", growth_interval, 1)
        if not (start > 0 and self.growth_factor > 1 and 0 < self.backoff_factor < 1):
            raise ValueError(
                f"GradScaler: init_scale is {init_scale}, growth_factor {growth_factor} and backoff_factor "
                f"{backoff_factor}, expected one above 0, one above 1, and one between 0 and 1"
            )
        name = backend or get_backend()
        self.scale: Array = asarray([start], "float32", backend=name).reshape(())
        self._good: Array = asarray([0], "int32", backend=name).reshape(())  # steps in a row
        self._found: Array = asarray([False], backend=name).reshape(())  # an infinity or a NaN, since update
        self._unscaled: list[Optimizer] = []

    def unscale_(self, optimizer: Optimizer) -> None:
        """Divide the gradients by the scale now, as for `clip_grad_norm_`; `step` does so otherwise.

        Raises:
            RuntimeError: done already since `update`.
        """
        if any(o is optimizer for o in self._unscaled):
            raise RuntimeError(
                "GradScaler.unscale_: done already for this optimizer; call update() after step"
            )
        xp = optimizer._backend.xp
        if backend_of(self.scale).xp is not xp:
            raise RuntimeError(
                f"GradScaler: the scale is on {backend_of(self.scale).name} but the parameters are on "
                f"{optimizer._backend.name}; make it with backend={optimizer._backend.name!r}"
            )
        optimizer._adopt()
        self._unscaled.append(optimizer)
        inverse = 1 / self.scale
        for run in optimizer._runs():
            grad = optimizer._grad[run.where]
            grad *= inverse.astype(grad.dtype)
            self._found |= ~xp.isfinite(grad).all()

    def step(self, optimizer: Optimizer) -> None:
        """`optimizer.step()` with unscaled gradients, unless one of them is infinite or NaN."""
        if not any(o is optimizer for o in self._unscaled):
            self.unscale_(optimizer)
        optimizer.step(self._found)

    def update(self) -> None:
        """Adapt the scale, after the steps of all optimizers."""
        xp = backend_of(self.scale).xp
        good = self._good + 1
        grown = xp.where(good >= self.growth_interval, self.scale * self.growth_factor, self.scale)
        grown = xp.where(xp.isfinite(grown), grown, self.scale)
        self.scale[...] = xp.where(self._found, self.scale * self.backoff_factor, grown)
        self._good[...] = xp.where(self._found | (good >= self.growth_interval), 0, good)
        self._found[...] = False
        self._unscaled.clear()

    def state_dict(self) -> dict[str, float]:
        """The scale, and the number of good steps since it last changed; waits for a GPU."""
        return {"scale": float(asnumpy(self.scale)), "good_steps": int(asnumpy(self._good))}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what `state_dict` gave."""
        missing = {"scale", "good_steps"} - set(state)
        if missing:
            raise ValueError(f"GradScaler.load_state_dict: missing {sorted(missing)}")
        self.scale[...] = to_float("GradScaler: scale", state["scale"])
        self._good[...] = to_int("GradScaler: good_steps", state["good_steps"], 0)
