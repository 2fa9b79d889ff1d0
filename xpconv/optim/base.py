"""`Optimizer`, the base of all optimizers: groups of parameters over flat buffers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import compress
from typing import Any, ClassVar, NamedTuple

from ..arguments import shown, to_bool
from ..arrays import asarray
from ..backend import Array, ignore_underflow
from ..kernels import overrides
from ..kernels.graph import before_replay, capturing, note_optimized
from ..locks import note_changes
from ..ops.optim import in_blocks, update
from ..parameter import Parameter
from ..signatures import public_errors
from .groups import Groups
from .sharing import on_device_of
from .state import State, numbered

__all__ = ["Optimizer"]

Params = Iterable[Parameter] | Iterable[Mapping[str, Any]]


class Run(NamedTuple):
    """A range of the flat buffers whose parameters get the same update: same group, same past steps."""

    where: slice
    group: dict[str, Any]
    step: int
    parts: list[slice]  # of the single parameters, relative to the run's start
    first: int  # the index of the first parameter among all


@public_errors
class Optimizer(Groups, State):
    """Base of all optimizers.

    With `maximize` in its settings, a group ascends along the gradient instead of descending. For float16 and
    bfloat16 parameters, in which small steps would be rounded away, the optimizer updates a float32 copy and
    rounds it into the parameter. A frozen parameter (`requires_grad=False`) is treated as one without a
    gradient.

    Pickle or `copy.deepcopy` an optimizer together with its model, in one call, so that the new optimizer
    trains the new model.

    Args:
        params: parameters (`model.parameters()`), or a list of groups `{"params": …, "lr": …}`, each with
            its own settings.
        defaults: settings for the groups that do not give their own.

    Attributes:
        lr: the learning rate; `optimizer.lr = 0.01` sets that of every group.
        param_groups: the groups, with their settings: `optimizer.param_groups[0]["lr"]`. A new value takes
            effect at the next step: `optimizer.param_groups[0]["weight_decay"] = 0.1`. As attributes of the
            optimizer, settings other than `lr` are refused, as they would have no effect.
        defaults: the settings of a group that does not give its own.

    Raises:
        ValueError: there are no parameters, one occurs twice, or two share memory.
        TypeError: something is not a `Parameter`, or the parameters have different backends or dtypes.
    """

    by_element: ClassVar[bool] = True  # whether `_update` is elementwise
    kernel: ClassVar[str] = ""  # the name of the CUDA kernel for `_update`, if there is one

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        public_errors(cls)

    def __init__(self, params: Params, **defaults: Any) -> None:
        items = self._listed(params)
        groups = items if items and isinstance(items[0], Mapping) else [{"params": items}]
        self.defaults = defaults
        self.param_groups: list[dict[str, Any]] = [self._new_group(group) for group in groups]
        self._params = [p for group in self.param_groups for p in group["params"]]
        self._steps = [0] * len(self._params)
        self._products = [1.0] * len(self._params)  # of NAdam's μ so far
        self._cohorts = [0] * len(self._params)
        self._counters: Array = None  # on a device: (params, 2), steps and products
        self._moments: dict[str, Array] = {}
        self._settings: dict[int, tuple[list[float], Array]] = {}  # of each group, on a device
        self._flatten(self._layout_of(self._params))

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Set every gradient to None, or with `set_to_none=False` fill existing ones with zeros in place."""
        self._averaged = False
        if to_bool(f"{type(self).__name__}.zero_grad: set_to_none", set_to_none):
            self._unscaled = None
        for parameter in self._params:
            if set_to_none:
                parameter.grad = None
            elif parameter.grad is not None:
                parameter.grad[...] = 0

    def add_param_group(self, param_group: Mapping[str, Any]) -> None:
        """Add parameters to train, such as those of layers that are no longer frozen.

        The moments and step counts of the others do not change. A captured step has to be captured again.

        Args:
            param_group: `{"params": …, "lr": …}`, as for the constructor; other settings are as in
                `defaults`.

        Raises:
            ValueError, TypeError: as from the constructor; nothing has changed then.

        Example:
            >>> import xpconv
            >>> model = xpconv.Sequential(xpconv.Dense(4, 3), xpconv.Dense(3, 2))
            >>> optimizer = xpconv.SGD(model[1].parameters(), lr=0.1)
            >>> optimizer.add_param_group({"params": model[0].parameters(), "lr": 0.01})
            >>> [group["lr"] for group in optimizer.param_groups]
            [0.1, 0.01]
        """
        where = f"{type(self).__name__}.add_param_group"
        if not isinstance(param_group, Mapping):
            raise TypeError(f"{where}: param_group is {shown(param_group)}, expected {{'params': …, …}}")
        group = self._new_group(param_group)
        self._adopt(where)
        params = [*self._params, *group["params"]]
        layout = self._layout_of(params)
        masters, moments, size = self._data, self._moments, self._data.size
        more = len(group["params"])
        steps, products = self._progress()
        self._steps, self._products, self._counters = steps + [0] * more, products + [1.0] * more, None
        self._compare()
        self.param_groups.append(group)
        self._params = params
        self._flatten(layout)
        self._data[:size] = masters
        self._moments = {}
        for name, old in moments.items():
            self._moments[name] = self._new_moment(name)
            self._moments[name][:size] = old

    def step(self, skip: Array | None = None) -> None:
        """Update every parameter that has a gradient and is not frozen.

        Args:
            skip: a 0-d bool array: where it is true, nothing changes, and the step does not count. Reading it
                waits for a GPU, unless the optimizer is a kernel there, as all here are.

        Raises:
            RuntimeError: none has, or the parameters were moved to another backend or dtype.
            ValueError, TypeError: a group has a setting that the constructor would refuse.
        """
        name = type(self).__name__
        if callable(skip):
            raise TypeError(
                f"{name}.step: closures are not supported; compute the gradients first: criterion(model(x), "
                "y), optimizer.zero_grad(), model.backward(criterion.backward()), then optimizer.step()"
            )
        note_optimized(self._params)
        present = self._some_present()
        self._check_changed()
        skip = self._checked_skip(skip)
        with ignore_underflow(self._backend.xp), on_device_of(self._data):
            self._adopt(f"{name}.step", present)
            self._gather(present)
            for run in list(self._runs(present)):
                if not self._run_kernel(run, skip) and not self._run_arrays(run, skip):
                    return
            if self._narrowed is not None:
                self._narrow()
            note_changes(compress(self._params, present))
        self._grad, self._averaged = None, False  # whose memory may be that of gradients
        if capturing():
            before_replay(partial(self._prepare_replay, present))
        else:
            self._count(present)

    # --- a step ----------------------------------------------------------------------------------------

    def _checked_skip(self, skip: Any) -> Array | None:
        """None, or a 0-d bool array where the parameters are."""
        backend = self._backend
        is_array = skip is not None and type(skip) is backend.array_type
        if skip is None or (is_array and skip.shape == () and skip.dtype == bool):
            found: Array | None = skip
            return found
        flag = to_bool(f"{type(self).__name__}.step: skip, if no 0-d bool array on {backend.name},", skip)
        return asarray(flag, backend=backend.name)

    def _some_present(self) -> list[bool]:
        """`_present`, or a RuntimeError if no parameter is to be updated."""
        self._average_once()
        name, present = type(self).__name__, self._present()
        if not any(present):
            if any(p.grad is not None for p in self._params):
                raise RuntimeError(
                    f"{name}.step: all parameters with a gradient are frozen (requires_grad=False)"
                )
            if not any(p.requires_grad for p in self._params):
                raise RuntimeError(
                    f"{name}.step: no parameter has a gradient, as all are frozen (requires_grad=False)"
                )
            raise RuntimeError(
                f"{name}.step: no parameter has a gradient; call model.backward(criterion.backward()) first. "
                "If that was done, zero_grad() was called after it, or the optimizer has the parameters of "
                "another model: the two were copied or unpickled apart, which must be done in one call "
                "(copy.deepcopy((model, optimizer))), or layers were replaced since"
            )
        return present

    def _count(self, stepped: list[bool]) -> None:
        counts = [self._counts(group) for group in self.param_groups for _ in group["params"]]
        for i, one in enumerate(stepped):
            self._steps[i] += counts[i] and one
        if not all(stepped):
            self._cohorts = numbered(zip(self._cohorts, stepped, strict=True))

    def _prepare_replay(self, stepped: list[bool]) -> None:
        """Before a captured step runs again: upload changed settings to the device, and count the step."""
        self._check_changed()
        note_changes(compress(self._params, stepped))
        for group in self.param_groups:
            self._settings_on_device(group)
        self._count(stepped)

    def _unscale(self, factor: Array, found: Array) -> None:
        """Replace the gradients by new arrays, times `factor`; set `found` if one is infinite or NaN."""
        xp, present = self._backend.xp, self._some_present()
        self._adopt(f"{type(self).__name__}.step", present)
        flat = self._move_gradients(present)
        for run in self._runs(present):
            grad = flat[run.where]
            grad *= factor.astype(grad.dtype)
            found |= ~xp.isfinite(grad).all()

    def _run_kernel(self, run: Run, skip: Array | None) -> bool:
        """Update a run with the device's kernels; return whether there is a kernel."""
        if not self.kernel or "update" not in overrides(self._backend.xp):
            return False
        if self._counters is None:
            self._counters = self._counts_on_device()
        note_changes(self._params[run.first : run.first + len(run.parts)])
        counters = self._counters[run.first : run.first + len(run.parts)]
        moments = [self._moment(m, run) if m else None for m in self._moment_names(run.group)]
        return update(
            self._backend.xp, self.kernel, self._data[run.where], self._grad[run.where], moments,
            self._settings_on_device(run.group), counters, skip, () if self.by_element else tuple(run.parts),
        )  # fmt: skip

    def _run_arrays(self, run: Run, skip: Array | None) -> bool:
        """Update a run with array functions, unless `skip` is true; return whether it was updated."""
        if skip is not None and bool(skip):
            return False
        if capturing():
            raise RuntimeError(
                f"{type(self).__name__}.step: this optimizer cannot be captured, as its settings could not "
                "change afterwards; use one that is a CUDA kernel, such as SGD or AdamW, or call step() "
                "outside the captured function"
            )
        note_changes(self._params[run.first : run.first + len(run.parts)])
        size = run.where.stop - run.where.start
        if self.by_element:
            in_blocks(self._backend.xp, partial(self._update_part, run), size)
        else:
            self._update_part(run, slice(0, size))
        return True

    def _settings_on_device(self, group: dict[str, Any]) -> Array:
        """The settings as a float64 array on the device, updated in place if they have changed."""
        values = [group["lr"], group.get("weight_decay", 0.0), -1.0 if group.get("maximize") else 1.0]
        values += map(float, self._kernel_settings(group))
        place = next(i for i, g in enumerate(self.param_groups) if g is group)
        if place not in self._settings:
            self._settings[place] = (values, asarray(values, "float64", backend=self._backend.name))
        known, array = self._settings[place]
        if known != values and not capturing():  # else before the replay
            array[...] = asarray(values, "float64", backend=self._backend.name)
            self._settings[place] = (values, array)
        return array

    def _kernel_settings(self, group: dict[str, Any]) -> Sequence[float]:
        """The further settings of the kernel, after lr, weight decay and the gradient's sign."""
        raise TypeError(f"{type(self).__name__} defines no _kernel_settings(group)")

    def _update_part(self, run: Run, part: slice) -> None:
        """Update some of a run's elements."""
        where = slice(run.where.start + part.start, run.where.start + part.stop)
        p, g = self._data[where], self._grad[where]
        if run.group.get("maximize"):
            g = -g
        self._update(p, g, run._replace(where=where))

    def _counts(self, group: dict[str, Any]) -> bool:
        """Whether a step with this group's settings counts as one, for `Run.step`."""
        return True

    def _update(self, p: Array, g: Array, run: Run) -> None:
        """Change `p` in place, given the gradient `g`, which must not be changed."""
        raise TypeError(f"{type(self).__name__} defines no _update(p, g, run)")

    def _moment(self, name: str, run: Run) -> Array:
        """This run's part of a buffer that lives as long as the optimizer."""
        if name not in self._moments:
            self._moments.setdefault(name, self._new_moment(name))  # atomic, as several threads call this
        return self._moments[name][run.where]

    def _averages(self, g: Array, run: Run) -> tuple[Array, Array]:
        """Adam's `m = β₁ m + (1 - β₁) g` and `v = β₂ v + (1 - β₂) g²`, updated by one step."""
        beta1, beta2 = run.group["betas"]
        m, v = self._moment("exp_avg", run), self._moment("exp_avg_sq", run)
        self._follow(m, beta1, g)
        self._follow(v, beta2, g, g)
        return m, v

    def _follow(self, average: Array, beta: float, value: Array, factor: Array | None = None) -> None:
        """`average = β average + (1 - β) value · factor`, in place."""
        xp = self._backend.xp
        part = xp.multiply(value, 1 - beta, out=xp.empty_like(value))
        if factor is not None:
            part *= factor
        average *= beta
        average += part

    def _decayed(self, p: Array, g: Array, group: dict[str, Any], decoupled: bool = False) -> Array:
        """The gradient plus weight decay; if decoupled, the parameters are decayed instead, in place."""
        decay = group["weight_decay"]
        if not decay:
            return g
        if decoupled:
            p *= 1 - group["lr"] * decay
            return g
        xp = self._backend.xp
        total = xp.multiply(p, decay, out=xp.empty_like(p))
        total += g
        return total

    def _runs(self, present: Sequence[bool]) -> Iterator[Run]:
        """The runs, as few as possible: usually one per group."""
        i = 0
        for group in self.param_groups:
            end = i + len(group["params"])
            while i < end:
                start, cohort, here = i, self._cohorts[i], present[i]
                while i < end and self._cohorts[i] == cohort and present[i] == here:
                    i += 1
                if here:
                    first, parts = self._slices[start].start, self._slices[start:i]
                    if first:
                        parts = [slice(s.start - first, s.stop - first) for s in parts]
                    yield Run(
                        slice(first, self._slices[i - 1].stop), group, self._steps[start] + 1, parts, start
                    )
