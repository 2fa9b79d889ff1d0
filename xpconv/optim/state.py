"""The state of an optimizer in PyTorch's layout: `state_dict` and `load_state_dict`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any, ClassVar, NamedTuple

from ..arguments import shown, to_bool
from ..arraylike import writable
from ..arrays import asarray, asnumpy
from ..backend import Array
from ..errors import StateDictError
from .flat import NARROW, Flat
from .sharing import place
from .values import as_array, misfit, plain_number

MASTER = "master_param"  # the float32 copy of a float16 or bfloat16 parameter
SCALARS = ("step", "mu_product")
# Entries of PyTorch's groups: options of its kernels, and values that its schedules store.
IGNORED = ("foreach", "fused", "capturable", "differentiable", "param_names", "decoupled_weight_decay")
# What most of PyTorch's groups have.
COMMON: dict[str, Any] = {"foreach": None, "capturable": False, "differentiable": False}
NOTED = ("initial_lr", "max_lr", "min_lr", "max_momentum", "base_momentum", "swa_lr")
REMADE = (  # attributes that `__setstate__` makes again
    "_counters", "_cohorts", "_settings", "_data", "_narrowed", "_narrow_runs", "_data_views", "_slices",
    "_grad", "_copied", "_unscaled",
)  # fmt: skip


class Progress(NamedTuple):
    """A parameter's entry in the state, checked: number of steps, NAdam's product, buffers."""

    steps: int = 0
    product: float = 1.0
    arrays: Mapping[str, Array] = {}


class State(Flat):
    """The part of `Optimizer` that saves, loads and copies settings, moments and step counts."""

    state_names: ClassVar[tuple[str, ...]] = ()  # entries of a parameter's state
    optional_names: ClassVar[tuple[str, ...]] = ()  # further entries, with some settings
    torch_settings: ClassVar[dict[str, Any]] = {}  # settings of PyTorch only, which `state_dict` adds
    starts_with_state: ClassVar[bool] = False  # whether there is a state before the first step
    counted: ClassVar[bool] = True  # whether the CUDA kernel counts the steps

    param_groups: list[dict[str, Any]]
    defaults: dict[str, Any]
    _steps: list[int]
    _products: list[float]  # of NAdam's μ so far
    _cohorts: list[int]  # a number for each parameter, equal for those that were updated in the same steps
    _counters: Array  # on a device: (params, 2), steps and products
    _moments: dict[str, Array]
    _settings: dict[int, tuple[list[float], Array]]  # of each group, on a device

    def state_dict(self) -> dict[str, Any]:
        """Settings, moments and step counts, to resume training, in PyTorch's layout and with its names.

        `{"state": {0: {"step": …, …}, …}, "param_groups": [{"lr": …, "params": [0, …]}, …]}`, where
        parameters are numbered through all groups. A parameter that was never updated has no state. The
        arrays are copies, of the parameter's shape or `()`. For float16 and bfloat16 parameters,
        `master_param` is the float32 copy, if it differs from the parameter. It waits for a GPU.
        `xpconv.save(path, model=model, optimizer=optimizer)` saves it to a file with the model's state. To
        load it into PyTorch's optimizer of the same name, if there is one:

            state = optimizer.state_dict()
            for entry in state["state"].values():
                entry.update({key: torch.as_tensor(xpconv.asnumpy(array)) for key, array in entry.items()})
            theirs.load_state_dict(state)

        Example:
            >>> import numpy as np, xpconv
            >>> p = xpconv.Parameter(np.array([1.0, 2.0]))
            >>> optimizer = xpconv.SGD([p], lr=0.1, momentum=0.9)
            >>> p.grad = np.array([3.0, -4.0])
            >>> optimizer.step()
            >>> optimizer.state_dict()["state"]
            {0: {'momentum_buffer': array([ 3., -4.])}}
        """
        groups, start = [], 0
        for group in self.param_groups:
            stop = start + len(group["params"])
            settings = {key: value for key, value in group.items() if key != "params"}
            groups.append({**settings, **self.torch_settings, "params": list(range(start, stop))})
            start = stop
        steps, products = self._progress()
        if self._narrowed is not None:
            self._widen()
        state = {}
        for i, count in enumerate(steps):
            entry = self._entry(i, count, products[i])
            if entry:
                state[i] = entry
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Load settings, moments and step counts, from `state_dict` or from PyTorch's.

        Parameters are matched by their order, and are not changed themselves: load the model's state as well,
        before or after. Arrays may be of any backend or PyTorch's tensors; they are copied, and cast.
        Settings of PyTorch's own kernels (`foreach`, `fused`, `capturable`, `differentiable`) are ignored.
        Everything is checked first: if this raises an error, nothing has changed.

        Raises:
            StateDictError: (a ValueError) groups, sizes, shapes, names or dtypes do not fit.
            ValueError, TypeError: a setting is not valid for the constructor.

        Example:
            >>> import numpy as np, xpconv
            >>> p, q = xpconv.Parameter(np.ones(2)), xpconv.Parameter(np.ones(2))
            >>> first, second = xpconv.Adam([p], lr=0.1), xpconv.Adam([q])
            >>> p.grad = np.array([3.0, -4.0])
            >>> first.step()
            >>> second.load_state_dict(first.state_dict())
            >>> second.lr, float(second.state_dict()["state"][0]["step"])
            (0.1, 1.0)
        """
        where, state = f"{type(self).__name__}.load_state_dict", state_dict
        if not isinstance(state, Mapping) or not {"state", "param_groups"} <= set(state):
            found = (
                f"a mapping with {sorted(map(str, state))[:5]}" if isinstance(state, Mapping) else repr(state)
            )
            raise StateDictError(
                f"{where}: state_dict is {found[:200]}, expected a mapping with 'state' and 'param_groups', "
                "as optimizer.state_dict() returns"
            )
        groups = self._read_groups(where, state["param_groups"])
        ids = list(chain.from_iterable(group["params"] for group in state["param_groups"]))
        entries = self._read_entries(where, ids, state["state"])
        for group, settings in zip(self.param_groups, groups, strict=True):
            group.update(settings)
        self._write(entries)

    # --- copies --------------------------------------------------------------------------------------

    def __getstate__(self) -> dict[str, Any]:
        """The state for copies and pickles, without the views and buffers that `__setstate__` makes again."""
        state = {name: value for name, value in vars(self).items() if name not in REMADE}
        state["_steps"], state["_products"] = self._progress()
        state["_masters"] = None if self._narrowed is None else self._data
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._counters, self._settings = None, {}
        self._compare()
        self._restore(self._layout, vars(self).pop("_masters"))
        self._moments = {name: writable(array) for name, array in self._moments.items()}

    def __copy__(self) -> Any:
        """A shallow copy, which shares all attributes with the original."""
        copy = object.__new__(type(self))
        vars(copy).update(vars(self))
        return copy

    # --- moments and counts ------------------------------------------------------------------------

    def _new_moment(self, name: str) -> Array:
        """A new buffer like that of the parameters, with its initial values."""
        return self._backend.xp.zeros_like(self._data)

    def _moment_names(self, group: dict[str, Any]) -> Sequence[str]:
        """The names of the buffers in the kernel's order; "" for one that these settings do not need."""
        return ()

    def _progress(self) -> tuple[list[int], list[float]]:
        """Each parameter's number of steps and product; waits for a GPU, which has its own counters."""
        if self._counters is None or not self.counted:
            return list(self._steps), list(self._products)
        rows = asnumpy(self._counters).tolist()
        return [int(steps) for steps, _ in rows], [product for _, product in rows]

    def _compare(self) -> None:
        """Set the cohorts by the numbers of steps and the products."""
        self._cohorts = numbered(zip(self._steps, self._products, strict=True))

    def _counts_on_device(self) -> Array:
        rows = [[float(n), product] for n, product in zip(self._steps, self._products, strict=True)]
        return asarray(rows, "float64", backend=self._backend.name)

    def _group_of(self, i: int) -> dict[str, Any]:
        """The group of a parameter."""
        return next(group for group in self.param_groups if (i := i - len(group["params"])) < 0)

    def _check(self, group: dict[str, Any]) -> None:
        """Check a group's settings and convert them to Python numbers, which promote no dtype."""
        raise TypeError(f"{type(self).__name__} defines no _check(group)")

    # --- state_dict ----------------------------------------------------------------------------------

    def _entry(self, i: int, steps: int, product: float) -> dict[str, Array]:
        """A parameter's state; empty before its first update, as in PyTorch."""
        where, backend = self._slices[i], self._backend
        entry = {}
        if steps or self.starts_with_state:
            if "step" in self.state_names:
                entry["step"] = asarray([steps], "float32", backend=backend.name).reshape(())
            if "mu_product" in self.state_names:
                entry["mu_product"] = asarray([product], "float64", backend=backend.name).reshape(())
            for name in self._buffer_names(i):
                buffer = self._moments.get(name)
                buffer = self._new_moment(name) if buffer is None else buffer
                entry[name] = self._view(buffer, i).copy()
        if self._layout.dtypes[i] in NARROW:
            wide, narrow = self._data[where], self._narrowed[where]
            if bool((wide != narrow.astype(wide.dtype)).any()):
                entry[MASTER] = self._view(self._data, i).copy()
        return entry

    def _buffer_names(self, i: int) -> list[str]:
        """The buffers that a parameter's present settings need, and those in which past steps left values."""
        used = self._moment_names(self._group_of(i))
        names = [n for n in (*self.state_names, *self.optional_names) if n not in SCALARS]
        found = self._moments
        return [n for n in names if n in used or (n in found and bool(found[n][self._slices[i]].any()))]

    # --- load_state_dict -----------------------------------------------------------------------------

    def _read_groups(self, where: str, given: Any) -> list[dict[str, Any]]:
        """The settings of each group, checked."""
        if not isinstance(given, Sequence) or not all(
            isinstance(g, Mapping) and isinstance(g.get("params"), Sequence) for g in given
        ):
            raise StateDictError(
                f"{where}: param_groups is {shown(given)}, expected a list of groups with 'params'"
            )
        sizes = [len(group["params"]) for group in given]
        own = [len(group["params"]) for group in self.param_groups]
        if sizes != own:
            raise StateDictError(
                f"{where}: the state is of groups with {sizes} parameters, but the optimizer has groups with "
                f"{own}; make it from the same model, with the same groups, as the one that was saved"
            )
        result = []
        for i, (group, new) in enumerate(zip(self.param_groups, given, strict=True)):
            unknown = sorted(set(new) - {*group, *self.defaults, *IGNORED, *NOTED}, key=str)
            if unknown:
                raise StateDictError(
                    f"{where}: group {i} has {unknown}, which {type(self).__name__} does not have; load the "
                    "state of an optimizer of the same class"
                )
            decoupled = plain_number(new.get("decoupled_weight_decay", False))
            to_bool(f"{where}: decoupled_weight_decay", decoupled)
            if decoupled and not self.torch_settings.get("decoupled_weight_decay", "own"):
                raise StateDictError(
                    f"{where}: group {i} is of AdamW (decoupled_weight_decay=True); load it into an AdamW"
                )
            ignored = {"params", *(key for key in IGNORED if key not in self.defaults)}
            settings = {key: plain_number(value) for key, value in new.items() if key not in ignored}
            checked = {**group, **settings}
            self._check(checked)
            del checked["params"]
            result.append(checked)
        return result

    def _read_entries(self, where: str, ids: list[Any], given: Any) -> list[Progress]:
        """The state of each parameter, checked, with arrays of the buffers' dtype and backend."""
        if not isinstance(given, Mapping):
            raise StateDictError(f"{where}: 'state' is {type(given).__name__}, expected a mapping")
        unknown = [key for key in given if key not in ids]
        if unknown:
            raise StateDictError(f"{where}: state of parameters {unknown[:5]}, which no group has")
        problems: list[str] = []
        entries = [self._read_entry(i, given.get(key, {}), problems) for i, key in enumerate(ids)]
        if problems:
            more = f"; and {len(problems) - 5} more" if len(problems) > 5 else ""
            raise StateDictError(f"{where}: {'; '.join(problems[:5])}{more}")
        return entries

    def _read_entry(self, i: int, given: Any, problems: list[str]) -> Progress:
        """A parameter's state, checked; faults are appended to `problems`."""
        what = place(self._params, i)
        if not isinstance(given, Mapping):
            problems.append(f"{what}: its state is {type(given).__name__}, expected a mapping")
            return Progress()
        given = {key: as_array(value) for key, value in given.items() if value is not None}
        unknown = sorted(set(given) - {*self.state_names, *self.optional_names, MASTER}, key=str)
        started = bool(set(given) - {MASTER})
        missing = [name for name in self.state_names if name not in given] if started else []
        if unknown or missing:
            found = (("unexpected", unknown), ("missing", missing))
            problems.extend(f"{what}: {word} {names}" for word, names in found if names)
            return Progress()
        arrays = {}
        for name, value in given.items():
            shape = () if name in SCALARS else self._layout.shapes[i]
            problem = misfit(value, shape, integers=name in SCALARS)
            if problem:
                problems.append(f"{what}: {name} {problem}")
                return Progress()
            if name not in SCALARS:
                arrays[name] = asarray(value, self._data.dtype, backend=self._backend.name)
        steps = float(asnumpy(given["step"])) if "step" in given else float(started)
        product = float(asnumpy(given["mu_product"])) if "mu_product" in given else 1.0
        if not (steps >= 0 and steps == steps // 1):
            problems.append(f"{what}: step is {steps}, expected a whole number from 0 up")
            return Progress()
        return Progress(int(steps), product, arrays)

    def _write(self, entries: list[Progress]) -> None:
        """Write the state in place, as captured graphs refer to this memory."""
        for name in {name for entry in entries for name in entry.arrays} - {MASTER} - set(self._moments):
            self._moments[name] = self._new_moment(name)
        for name, buffer in self._moments.items():
            start = self._new_moment(name)
            for i, entry in enumerate(entries):
                new = entry.arrays.get(name)
                self._view(buffer, i)[...] = self._view(start, i) if new is None else new
        for i, (entry, dtype) in enumerate(zip(entries, self._layout.dtypes, strict=True)):
            if dtype in NARROW:
                master = entry.arrays.get(MASTER)
                master = self._view(self._narrowed, i) if master is None else master
                self._view(self._data, i)[...] = master
        self._steps = [entry.steps for entry in entries]
        self._products = [entry.product for entry in entries]
        self._compare()
        if self._counters is not None:
            self._counters[...] = self._counts_on_device()


def numbered(things: Iterable[Any]) -> list[int]:
    """A number for each thing, equal for equal things."""
    numbers: dict[Any, int] = {}
    return [numbers.setdefault(thing, len(numbers)) for thing in things]
