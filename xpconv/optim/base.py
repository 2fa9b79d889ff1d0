"""What every optimizer is: groups of parameters over flat buffers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import groupby, pairwise
from numbers import Real
from typing import Any, ClassVar, NamedTuple

from .. import kernels
from ..backend import Array, Backend, asarray, backend_of
from ..errors import BackendError, DTypeError, ShapeError
from ..geometry import to_float
from ..kernels import portable
from ..kernels.graph import before_replay, capturing
from ..layers.base import Parameter

NARROW = ("float16", "bfloat16")  # parameters of these have a float32 self, which is updated
Params = Iterable[Parameter] | Iterable[Mapping[str, Any]]


class Run(NamedTuple):
    """A stretch of the flat buffers that takes the same update: same group, same number of past steps."""

    where: slice
    group: dict[str, Any]
    step: int
    parts: list[slice]  # of the single parameters, counted from the run's start
    first: int  # the place of the first of them among all


class Optimizer:
    """Base of all optimizers.

    With `maximize` among its settings, a group goes up the gradient instead of down. Parameters of float16 or
    bfloat16, whose digits a small step would not reach, have a copy in float32 here that is updated; they get
    its rounded values.

    Args:
        params: parameters (`model.parameters()`), or a list of groups `{"params": …, "lr": …}`, each with
            its own settings.
        defaults: settings for the groups that do not give their own.

    Attributes:
        lr: the learning rate; `optimizer.lr = 0.01` sets that of every group.
        param_groups: the groups, with their settings: `optimizer.param_groups[0]["lr"]`.

    Raises:
        ValueError: no parameters, or one twice.
        TypeError: something that is no `Parameter`, or parameters of different backends or dtypes.
    """

    not_negative: ClassVar[tuple[str, ...]] = ("weight_decay", "eps", "momentum")

    by_element: ClassVar[bool] = True  # whether `_update` treats every element by itself
    kernel: ClassVar[str] = ""  # the name of a CUDA kernel that does what `_update` does

    def __init__(self, params: Params, **defaults: Any) -> None:
        name = type(self).__name__
        items = self._listed(params)
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
            members = [members] if isinstance(members, Parameter) else self._listed(members)
            group = {**defaults, **group, "params": members}
            self._check(group)
            self.param_groups.append(group)
        self._params = [p for group in self.param_groups for p in group["params"]]
        self._steps = [0] * len(self._params)
        self._counters: Array = None  # on a device: (params, 2), steps and what NAdam multiplies
        self._flatten()

    def zero_grad(self) -> None:
        """Set every gradient back to None."""
        for parameter in self._params:
            parameter.grad = None

    def step(self, skip: Array | None = None) -> None:
        """Update every parameter that has a gradient.

        Args:
            skip: a 0-d bool array: where it is true, nothing changes, and the step does not count. Reading it
                waits for a GPU, unless the optimizer is a kernel there (all but LARS and LAMB).

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
            if self.kernel and self._run_kernel(run, skip):
                continue
            if skip is not None and bool(skip):
                return
            if capturing():
                raise RuntimeError(
                    f"{name}.step: in a captured step its settings would stay as they are now; take an "
                    "optimizer that is a CUDA kernel, such as SGD or AdamW, or leave step() out of it"
                )
            if self.by_element:
                kernels.of(self._backend.xp).in_blocks(
                    self._backend.xp,
                    partial(self._update_part, run),
                    run.where.stop - run.where.start,
                )
            else:
                self._update_part(run, slice(0, run.where.stop - run.where.start))
        self._narrow()
        stepped = [p.grad is not None for p in self._params]
        if capturing():
            before_replay(partial(self._prepare_replay, stepped))
        else:
            self._count(stepped)

    def _count(self, stepped: list[bool]) -> None:
        counts = [self._counts(group) for group in self.param_groups for _ in group["params"]]
        for i, one in enumerate(stepped):
            self._steps[i] += counts[i] and one

    def _prepare_replay(self, stepped: list[bool]) -> None:
        """Before a captured step runs again: settings that have changed go to the device, and it counts."""
        for group in self.param_groups:
            self._settings_on_device(group)
        self._count(stepped)

    def _run_kernel(self, run: Run, skip: Array | None) -> bool:
        """Update a run with one launch, where the device has a kernel."""
        kernel = kernels.of(self._backend.xp).update
        if kernel is portable.update:
            return False
        if self._counters is None:
            self._counters = self._backend.xp.ones((len(self._params), 2), dtype="float64")
            self._counters[:, 0] = 0
        counters = self._counters[run.first : run.first + len(run.parts)]
        moments = [self._moment(m, run) if m else None for m in self._kernel_moments(run.group)]
        done: bool = kernel(
            self._backend.xp, self.kernel, self._data[run.where], self._grad[run.where], moments,
            self._settings_on_device(run.group), counters, skip,
        )  # fmt: skip
        return done

    def _settings_on_device(self, group: dict[str, Any]) -> Array:
        """The settings as a float64 array, uploaded when they have changed: into the same memory."""
        values = [group["lr"], group.get("weight_decay", 0.0), -1.0 if group.get("maximize") else 1.0]
        values += map(float, self._kernel_settings(group))
        place = next(i for i, g in enumerate(self.param_groups) if g is group)
        if place not in self._settings:
            self._settings[place] = (values, asarray(values, "float64", backend=self._backend.name))
        known, array = self._settings[place]
        if known != values:
            array[...] = asarray(values, "float64", backend=self._backend.name)
            self._settings[place] = (values, array)
        return array

    def _kernel_settings(self, group: dict[str, Any]) -> Sequence[float]:
        """What the kernel takes after lr, weight decay and the gradient's sign."""
        raise TypeError(f"{type(self).__name__} defines no _kernel_settings(group)")

    def _kernel_moments(self, group: dict[str, Any]) -> Sequence[str]:
        """The names of the buffers that the kernel takes; "" for one that these settings do without."""
        raise TypeError(f"{type(self).__name__} defines no _kernel_moments(group)")

    def _update_part(self, run: Run, part: slice) -> None:
        """Update some of a run's elements."""
        where = slice(run.where.start + part.start, run.where.start + part.stop)
        p, g = self._data[where], self._grad[where]
        if run.group.get("maximize"):
            g = self._backend.xp.negative(g, out=self._scratch("negative", g))
        self._update(p, g, run._replace(where=where))

    def _counts(self, group: dict[str, Any]) -> bool:
        """Whether a step with this group's settings counts as one, for `Run.step`."""
        return True

    def _update(self, p: Array, g: Array, run: Run) -> None:
        """Change `p` in place, given the gradient `g`, which must stay as it is."""
        raise TypeError(f"{type(self).__name__} defines no _update(p, g, run)")

    def _moment(self, name: str, run: Run) -> Array:
        """This run's part of a buffer that lives as long as the optimizer; it starts at zero."""
        if name not in self._moments:
            self._moments.setdefault(name, self._backend.xp.zeros_like(self._data))  # one of several threads
        return self._moments[name][run.where]

    def _averages(self, g: Array, run: Run) -> tuple[Array, Array]:
        """Adam's `m = β₁ m + (1 - β₁) g` and `v = β₂ v + (1 - β₂) g²`, moved on by one step."""
        beta1, beta2 = run.group["betas"]
        m, v = self._moment("mean", run), self._moment("square", run)
        self._follow(m, beta1, g)
        self._follow(v, beta2, g, g)
        return m, v

    def _follow(self, average: Array, beta: float, value: Array, factor: Array | None = None) -> None:
        """`average = β average + (1 - β) value · factor`, in place."""
        xp = self._backend.xp
        part = xp.multiply(value, 1 - beta, out=self._scratch("part", value))
        if factor is not None:
            part *= factor
        average *= beta
        average += part

    def _decayed(self, p: Array, g: Array, group: dict[str, Any], decoupled: bool = False) -> Array:
        """Weight decay: added to the gradient, or (decoupled) taken off the parameters at once."""
        decay = group["weight_decay"]
        if not decay:
            return g
        if decoupled:
            p *= 1 - group["lr"] * decay
            return g
        total = self._backend.xp.multiply(p, decay, out=self._scratch("decayed", p))
        total += g
        return total

    def _scratch(self, name: str, like: Array) -> Array:
        """Memory that `_update` uses until it asks for `name` again: on a CPU it stays in the cache."""
        if self.by_element:
            scratch: Array = kernels.of(self._backend.xp).scratch(self._backend.xp, name, like)
            return scratch
        return self._backend.xp.empty_like(like)  # as large as the parameters: not to be kept

    def _check(self, group: dict[str, Any]) -> None:
        """Check a group's settings and make them Python floats, which promote no array."""
        name = type(self).__name__
        for key in ("lr", *self.not_negative):
            if key in group:
                group[key] = to_float(f"{name}: {key}", group[key], 0)
        betas = group.get("betas", (0, 0))
        pair = isinstance(betas, Sequence) and len(betas) == 2
        if not pair or not all(isinstance(beta, Real) and 0 <= float(beta) < 1 for beta in betas):
            raise ValueError(f"{name}: betas is {betas!r}, expected two numbers from 0 to below 1")
        if "betas" in group:
            group["betas"] = tuple(map(float, betas))
        for parameter in group["params"]:
            if not isinstance(parameter, Parameter):
                raise TypeError(f"{name}: params holds {parameter!r}; give model.parameters()")

    def _listed(self, params: Any) -> list[Any]:
        """As a list, if it has an order: that of the state."""
        if isinstance(params, Iterable) and not isinstance(params, (set, frozenset, str, Mapping)):
            return list(params)
        raise TypeError(
            f"{type(self).__name__}: params is {params!r}, expected a list of parameters or of groups; "
            "give model.parameters()"
        )

    @property
    def lr(self) -> float:
        """Learning rate of the first group; setting it sets that of every group."""
        rate: float = self.param_groups[0]["lr"]
        return rate

    @lr.setter
    def lr(self, value: float) -> None:
        rate = to_float(f"{type(self).__name__}: lr", value, 0)
        for group in self.param_groups:
            group["lr"] = rate

    @property
    def _backend(self) -> Backend:
        return backend_of(self._data)

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
        narrow = [d for d in dtypes if d in NARROW]
        if len(dtypes) > 1 and (len(narrow) != 1 or dtypes != sorted(["float32", *narrow])):
            raise DTypeError(
                f"{name}: params are of {' and '.join(dtypes)}; call model.to(dtype={dtypes[0]!r})"
            )
        xp = backend.xp
        stops = [0]
        for parameter in self._params:
            stops.append(stops[-1] + parameter.size)
        self._slices = [slice(a, b) for a, b in pairwise(stops)]
        self._data = xp.empty(stops[-1], dtype="float32" if narrow else dtypes[0])
        self._narrowed: Array = (
            xp.zeros(stops[-1], dtype=narrow[0]) if narrow else None
        )  # of all, in the parameters' two bytes
        kinds = [str(p.dtype) in NARROW for p in self._params]
        self._narrow_runs = [  # stretches of the buffers that neighbours of two bytes share
            slice(members[0][1].start, members[-1][1].stop)
            for is_narrow, group in groupby(zip(kinds, self._slices, strict=True), lambda pair: pair[0])
            if is_narrow and (members := list(group))
        ]
        self._grad = xp.zeros_like(self._data)
        self._moments: dict[str, Array] = {}
        self._settings: dict[int, tuple[list[float], Array]] = {}  # of each group, on a device
        self._data_views = self._views(self._data)
        self._grad_views = self._views(self._grad)
        for i, (parameter, view) in enumerate(zip(self._params, self._data_views, strict=True)):
            view[...] = parameter.data
            if str(parameter.dtype) in NARROW:
                narrowed: Array = self._narrowed
                self._data_views[i] = narrowed[self._slices[i]].reshape(parameter.shape)
                self._data_views[i][...] = parameter.data
            parameter.data = self._data_views[i]

    def _views(self, flat: Array) -> list[Array]:
        return [flat[s].reshape(p.shape) for s, p in zip(self._slices, self._params, strict=True)]

    def _narrow(self) -> None:
        """Give the parameters of two bytes their new values."""
        if self._narrowed is not None:
            self._narrowed[...] = self._data

    def _widen(self) -> None:
        """Bring what was written into parameters of two bytes since into their float32 selves."""
        xp = self._backend.xp
        for where in self._narrow_runs:
            wide, narrow = self._data[where], self._narrowed[where]
            wide[...] = xp.where(wide.astype(narrow.dtype) == narrow, wide, narrow.astype(wide.dtype))

    def _adopt(self) -> None:
        """Bring in what was assigned to `.data` or `.grad` since: gradients come as arrays of their own."""
        incoming = []
        for parameter, data, grad in zip(self._params, self._data_views, self._grad_views, strict=True):
            if parameter.data is not data:
                incoming.append((parameter, "data", data, self._checked("data", parameter.data, data)))
            if parameter.grad is not None and parameter.grad is not grad:
                incoming.append((parameter, "grad", grad, self._checked("grad", parameter.grad, grad, data)))
        for parameter, attribute, view, array in incoming:
            view[...] = array
            setattr(parameter, attribute, view)
        if self._narrowed is not None:
            self._widen()

    def _checked(self, attribute: str, array: Array, view: Array, data: Array = None) -> Array:
        """What was assigned, if it fits; a copy of a view. A gradient may have the dtype of its `data`."""
        name = type(self).__name__
        known = array.dtype == view.dtype or (data is not None and array.dtype == data.dtype)
        if not known or backend_of(array) is not self._backend:
            raise RuntimeError(
                f"{name}.step: a parameter's {attribute} is now {array.dtype} on "
                f"{backend_of(array).name}, but the optimizer holds {view.dtype} on "
                f"{self._backend.name}; make the optimizer after model.to(…)"
            )
        if array.shape != view.shape:
            raise ShapeError(
                f"{name}.step: a parameter's {attribute} has shape {array.shape}, expected {view.shape}"
            )
        if array.base is not None:
            buffers = [flat for flat in (self._data, self._grad, self._narrowed) if flat is not None]
            if any(self._backend.xp.may_share_memory(array, flat) for flat in buffers):
                return array.copy()  # another parameter's view, perhaps about to be written
        return array

    def _runs(self) -> Iterator[Run]:
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
                    first = self._slices[start].start
                    parts = [slice(s.start - first, s.stop - first) for s in self._slices[start:i]]
                    yield Run(slice(first, self._slices[i - 1].stop), group, step + 1, parts, start)

    def __repr__(self) -> str:
        settings = ", ".join(
            f"{k}={v}" for k, v in self.param_groups[0].items() if k not in ("params", "initial_lr")
        )
        return f"{type(self).__name__}({settings})"
