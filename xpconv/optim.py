"""Optimizers, with PyTorch's names, defaults and formulas.

All parameters move into one flat buffer, and their gradients into another (`Parameter.data` and `.grad`
become views), so that a step is a few operations on long vectors instead of many on short ones: on a
GPU a handful of launches, whatever the depth of the model.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from typing import Any, ClassVar, NamedTuple

from .backend import Array, backend_of
from .errors import BackendError, DTypeError, ShapeError
from .layers.base import Parameter


class _Run(NamedTuple):
    """A stretch of the flat buffers that takes the same update: same group, same number of past steps."""

    slice: slice
    group: dict[str, Any]
    step: int


class Optimizer:
    """Base of all optimizers.

    Args:
        params: parameters (`model.parameters()`), or a list of groups `{"params": …, "lr": …}`, each with
            its own settings.
        defaults: settings for the groups that do not give their own.

    Attributes:
        param_groups: the groups; `optimizer.param_groups[0]["lr"] = 0.01` changes the learning rate.

    Raises:
        ValueError: no parameters, or one twice.
        TypeError: something that is no `Parameter`, or parameters of different backends or dtypes.
    """

    def __init__(self, params: Iterable[Parameter] | Iterable[Mapping[str, Any]], **defaults: Any) -> None:
        name = type(self).__name__
        items = list(params)
        groups = items if items and isinstance(items[0], Mapping) else [{"params": items}]
        self.param_groups: list[dict[str, Any]] = []
        for group in groups:
            if not isinstance(group, Mapping):
                raise TypeError(f"{name}: params mixes groups and {group!r}; give one kind")
            unknown = sorted(set(group) - {"params", *defaults})
            if unknown:
                raise ValueError(f"{name}: a group has {unknown}, expected some of {sorted(defaults)}")
            if "params" not in group:
                raise ValueError(f"{name}: a group has no 'params', got {group}")
            members = group["params"]
            members = [members] if isinstance(members, Parameter) else list(members)
            group = {**defaults, **group, "params": members}
            self._check(group)
            self.param_groups.append(group)
        self._params = [p for group in self.param_groups for p in group["params"]]
        self._steps = [0] * len(self._params)
        self._flatten()

    def zero_grad(self) -> None:
        """Set every gradient back to None."""
        for parameter in self._params:
            parameter.grad = None

    def step(self) -> None:
        """Update every parameter that has a gradient.

        Raises:
            RuntimeError: none has, or the parameters were moved to another backend or dtype.
        """
        name = type(self).__name__
        if all(p.grad is None for p in self._params):
            raise RuntimeError(
                f"{name}.step: no parameter has a gradient; call model.backward(criterion.backward()) first"
            )
        self._adopt()
        for run in list(self._runs()):
            p, g = self._data[run.slice], self._grad[run.slice]
            self._update(p, g, run)
        counts = [self._counts(group) for group in self.param_groups for _ in group["params"]]
        for i, parameter in enumerate(self._params):
            self._steps[i] += counts[i] and parameter.grad is not None

    def _counts(self, group: dict[str, Any]) -> bool:
        """Whether a step with this group's settings counts as one, for `_Run.step`."""
        return True

    def _update(self, p: Array, g: Array, run: _Run) -> None:
        """Change `p` in place, given the gradient `g`, which must stay as it is."""
        raise TypeError(f"{type(self).__name__} defines no _update(p, g, run)")

    def _moment(self, name: str, run: _Run) -> Array:
        """This run's part of a buffer that lives as long as the optimizer; it starts at zero."""
        if name not in self._moments:
            self._moments[name] = self._backend.xp.zeros_like(self._data)
        return self._moments[name][run.slice]

    def _check(self, group: dict[str, Any]) -> None:
        name = type(self).__name__
        for key in ("lr", "weight_decay", "eps"):
            if key in group and not group[key] >= 0:
                raise ValueError(f"{name}: {key} is {group[key]}, expected at least 0")
        betas = group.get("betas", (0, 0))
        if len(betas) != 2 or not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"{name}: betas is {betas}, expected two numbers from 0 to below 1")
        for parameter in group["params"]:
            if not isinstance(parameter, Parameter):
                raise TypeError(f"{name}: params holds {parameter!r}; give model.parameters()")

    # --- the flat buffers --------------------------------------------------------------------------

    def _flatten(self) -> None:
        """Make the flat buffers and turn every parameter's data into a view of them."""
        name = type(self).__name__
        if not self._params:
            raise ValueError(f"{name}: params is empty; give model.parameters()")
        if len({id(p) for p in self._params}) < len(self._params):
            raise ValueError(f"{name}: params holds a parameter twice")
        try:
            backend = backend_of(*(p.data for p in self._params))
        except BackendError as error:
            raise BackendError(f"{name}: params: {error}") from None
        dtypes = sorted({str(p.dtype) for p in self._params})
        if len(dtypes) > 1:
            raise DTypeError(
                f"{name}: params are of {' and '.join(dtypes)}; call model.to(dtype={dtypes[0]!r})"
            )
        self._backend, xp = backend, backend.xp
        stops = [0]
        for parameter in self._params:
            stops.append(stops[-1] + parameter.size)
        self._slices = [slice(a, b) for a, b in pairwise(stops)]
        self._data = xp.empty(stops[-1], dtype=self._params[0].dtype)
        self._grad = xp.zeros_like(self._data)
        self._moments: dict[str, Array] = {}
        self._data_views = self._views(self._data)
        self._grad_views = self._views(self._grad)
        for parameter, view in zip(self._params, self._data_views, strict=True):
            view[...] = parameter.data
            parameter.data = view

    def _views(self, flat: Array) -> list[Array]:
        return [flat[s].reshape(p.shape) for s, p in zip(self._slices, self._params, strict=True)]

    def _adopt(self) -> None:
        """Bring in what was assigned to `.data` or `.grad` since: gradients come as arrays of their own."""
        xp, name = self._backend.xp, type(self).__name__
        incoming = []
        for i, parameter in enumerate(self._params):
            for attribute, views in (("data", self._data_views), ("grad", self._grad_views)):
                array, view = getattr(parameter, attribute), views[i]
                if array is view or array is None:
                    continue
                if backend_of(array) is not self._backend or array.dtype != view.dtype:
                    raise RuntimeError(
                        f"{name}.step: a parameter's {attribute} is now {array.dtype} on "
                        f"{backend_of(array).name}, but the optimizer holds {view.dtype} on "
                        f"{self._backend.name}; make the optimizer after model.to(…)"
                    )
                if array.shape != view.shape:
                    raise ShapeError(
                        f"{name}.step: a parameter's {attribute} has shape {array.shape}, "
                        f"expected {view.shape}"
                    )
                if any(xp.may_share_memory(array, flat) for flat in (self._data, self._grad)):
                    array = array.copy()  # another parameter's view, perhaps about to be written
                incoming.append((parameter, attribute, view, array))
        for parameter, attribute, view, array in incoming:
            view[...] = array
            setattr(parameter, attribute, view)

    def _runs(self) -> Iterator[_Run]:
        """Neighbours in the buffers that take the same update, as few as can be: one, as a rule."""
        start = 0
        i = 0
        for group in self.param_groups:
            end = i + len(group["params"])
            while i < end:
                step, present = self._steps[i], self._params[i].grad is not None
                start = i
                while i < end and self._steps[i] == step and (self._params[i].grad is not None) == present:
                    i += 1
                if present:
                    yield _Run(slice(self._slices[start].start, self._slices[i - 1].stop), group, step + 1)

    def __repr__(self) -> str:
        settings = ", ".join(f"{k}={v}" for k, v in self.param_groups[0].items() if k != "params")
        return f"{type(self).__name__}({settings})"


class SGD(Optimizer):
    """Stochastic gradient descent with momentum, as `torch.optim.SGD`.

        g = grad + weight_decay · p
        m = momentum · m + (1 - dampening) · g        (m = g at the first step)
        p = p - lr · m                                (nesterov: p - lr · (g + momentum · m))

    Args:
        params: parameters, or groups of them.
        lr: learning rate.
        momentum: 0 leaves it out.
        dampening: of the gradient's part in the momentum.
        weight_decay: L2 penalty, added to the gradient.
        nesterov: look ahead along the momentum; needs momentum and no dampening.

    Example:
        >>> import numpy as np, xpconv
        >>> p = xpconv.Parameter(np.array([1.0, 2.0]))
        >>> optimizer = xpconv.SGD([p], lr=0.1)
        >>> p.grad = np.array([1.0, -1.0])
        >>> optimizer.step()
        >>> p.data
        array([0.9, 2.1])
    """

    def __init__(
        self,
        params: Iterable[Parameter] | Iterable[Mapping[str, Any]],
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
    ) -> None:
        super().__init__(
            params,
            lr=lr,
            momentum=momentum,
            dampening=dampening,
            weight_decay=weight_decay,
            nesterov=nesterov,
        )

    def _check(self, group: dict[str, Any]) -> None:
        super()._check(group)
        if not group["momentum"] >= 0:
            raise ValueError(f"SGD: momentum is {group['momentum']}, expected at least 0")
        if group["nesterov"] and (group["momentum"] == 0 or group["dampening"] != 0):
            raise ValueError("SGD: nesterov=True needs momentum above 0 and dampening 0")

    def _counts(self, group: dict[str, Any]) -> bool:
        return bool(group["momentum"])  # the first step is the first with momentum

    def _update(self, p: Array, g: Array, run: _Run) -> None:
        lr, momentum, decay = (run.group[k] for k in ("lr", "momentum", "weight_decay"))
        if decay:
            g = g + decay * p
        if momentum:
            m = self._moment("momentum", run)
            if run.step == 1:
                m[...] = g
            else:
                m *= momentum
                m += (1 - run.group["dampening"]) * g
            g = g + momentum * m if run.group["nesterov"] else m
        p -= lr * g


class Adam(Optimizer):
    """Adam (Kingma and Ba, 2015), as `torch.optim.Adam`. At step t:

        g = grad + weight_decay · p
        m = β₁ m + (1 - β₁) g,    v = β₂ v + (1 - β₂) g²
        p = p - lr · m̂ / (√v̂ + eps)    with m̂ = m / (1 - β₁ᵗ), v̂ = v / (1 - β₂ᵗ)

    Args:
        params: parameters, or groups of them.
        lr: learning rate.
        betas: β₁ and β₂.
        eps: added to the root.
        weight_decay: L2 penalty, added to the gradient (see `AdamW` for the decoupled one).
        amsgrad: use the largest v so far (Reddi et al., 2018).

    Example:
        >>> import numpy as np, xpconv
        >>> p = xpconv.Parameter(np.array([1.0, 2.0]))
        >>> optimizer = xpconv.Adam([p], lr=0.1)
        >>> p.grad = np.array([3.0, -4.0])
        >>> optimizer.step()
        >>> p.data.round(6)
        array([0.9, 2.1])
    """

    decoupled: ClassVar[bool] = False

    def __init__(
        self,
        params: Iterable[Parameter] | Iterable[Mapping[str, Any]],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
    ) -> None:
        super().__init__(params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, amsgrad=amsgrad)

    def _update(self, p: Array, g: Array, run: _Run) -> None:
        xp = self._backend.xp
        group = run.group
        lr, (beta1, beta2), decay = group["lr"], group["betas"], group["weight_decay"]
        if decay and self.decoupled:
            p *= 1 - lr * decay
        elif decay:
            g = g + decay * p
        m, v = self._moment("mean", run), self._moment("square", run)
        m *= beta1
        m += (1 - beta1) * g
        v *= beta2
        v += (1 - beta2) * (g * g)
        if group["amsgrad"]:
            largest = self._moment("largest", run)
            v = xp.maximum(largest, v, out=largest)
        root = xp.sqrt(v)
        root /= math.sqrt(1 - beta2**run.step)
        root += group["eps"]
        xp.divide(m, root, out=root)
        root *= lr / (1 - beta1**run.step)
        p -= root


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2019), as `torch.optim.AdamW`.

    As `Adam`, but the decay does not enter the gradient: `p = p · (1 - lr · weight_decay)` first.

    Args:
        params, lr, betas, eps, amsgrad: as for `Adam`.
        weight_decay: default 0.01.

    Example:
        >>> import numpy as np, xpconv
        >>> p = xpconv.Parameter(np.array([1.0]))
        >>> optimizer = xpconv.AdamW([p], lr=0.1, weight_decay=0.5)
        >>> p.grad = np.array([3.0])
        >>> optimizer.step()
        >>> p.data.round(6)
        array([0.85])
    """

    decoupled = True

    def __init__(
        self,
        params: Iterable[Parameter] | Iterable[Mapping[str, Any]],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad)
