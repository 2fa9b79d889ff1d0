"""Groups of parameters and their settings: `Optimizer.param_groups`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from numbers import Real
from typing import TYPE_CHECKING, Any, ClassVar

from ..arguments import shown, to_bool, to_float
from ..parameter import Parameter
from .settings import is_setting, setting_hint
from .state import NOTED
from .values import plain_number

BESIDES = frozenset({"params", *NOTED})  # what a group may have besides settings
ELSEWHERE = {  # attributes of other libraries' optimizers, and what to use here instead
    "state": "state_dict() has the state",
    "minimize": "call model.backward(criterion.backward()), then optimizer.step()",
    "apply_gradients": "gradients are in parameter.grad; call optimizer.step()",
    "backward": "call model.backward(criterion.backward())",
    "clip_grad_norm": "use xpconv.clip_grad_norm_(model.parameters(), max_norm)",
    **dict.fromkeys(("params", "parameters"), 'use optimizer.param_groups[0]["params"]'),
    **dict.fromkeys(("get_lr", "get_last_lr"), "use optimizer.lr"),
}
FLAGS = ("maximize", "amsgrad", "nesterov", "centered", "decoupled_weight_decay")


class Groups:
    """Base of optimizers: the groups, of which each has all settings, checked."""

    not_negative: ClassVar[tuple[str, ...]] = ("weight_decay", "eps", "momentum")
    defaults: dict[str, Any]
    param_groups: list[dict[str, Any]]

    def __setattr__(self, name: str, value: Any) -> None:
        if is_setting(name) and self._only_in_groups(name):
            kind = type(self).__name__
            raise AttributeError(
                f"{kind}: as an attribute {name} has no effect; {setting_hint(kind, name, self.defaults)}"
            )
        super().__setattr__(name, value)

    if not TYPE_CHECKING:  # with it, type checkers would accept any name

        def __getattr__(self, name: str) -> Any:
            """Raise the error for a missing attribute, with a hint if it is a setting."""
            if hasattr(type(self), name):  # a property that raised an AttributeError
                return super().__getattribute__(name)
            kind, hint = type(self).__name__, ""
            if is_setting(name) and self._only_in_groups(name):
                hint = f"; {setting_hint(kind, name, self.defaults)}"
            elif name in ELSEWHERE:
                hint = f"; {ELSEWHERE[name]}"
            raise AttributeError(f"{kind!r} object has no attribute {name!r}{hint}", name=name, obj=self)

    def _only_in_groups(self, name: str) -> bool:
        """Whether a setting is not also an attribute, which the constructor of a user's class may set."""
        ours = type(self).__init__.__module__.partition(".")[0] == __name__.partition(".")[0]
        return ours and "defaults" in vars(self) and not hasattr(type(self), name)

    def _new_group(self, group: Any) -> dict[str, Any]:
        """A group with all its settings, checked."""
        name = type(self).__name__
        if not isinstance(group, Mapping):
            raise TypeError(
                f"{name}: params mixes groups and {shown(group)}; give only groups, or only parameters"
            )
        unknown = sorted(set(group) - {"params", *self.defaults}, key=str)
        if unknown:
            raise ValueError(f"{name}: a group has {unknown}, expected some of {sorted(self.defaults)}")
        if "params" not in group:
            raise ValueError(f"{name}: a group has no 'params', got {group}")
        members = group["params"]
        members = [members] if isinstance(members, Parameter) else self._listed(members)
        for parameter in members:
            if not isinstance(parameter, Parameter):
                raise TypeError(f"{name}: params holds {shown(parameter)}; give model.parameters()")
        checked = {**self.defaults, **group, "params": members}
        self._check(checked)
        return checked

    def _check(self, group: dict[str, Any]) -> None:
        """Check a group's settings and convert them to Python numbers, which promote no dtype."""
        name = type(self).__name__
        for key in ("lr", *self.not_negative):
            if key in group:
                group[key] = to_float(f"{name}: {key}", plain_number(group[key]), 0)
        for key in FLAGS:
            if key in group:
                group[key] = to_bool(f"{name}: {key}", group[key])
        betas = plain_number(group.get("betas", (0, 0)))
        pair = isinstance(betas, Sequence) and len(betas) == 2
        if not pair or not all(isinstance(beta, Real) and 0 <= float(beta) < 1 for beta in betas):
            raise ValueError(f"{name}: betas is {betas!r}, expected two numbers from 0 to below 1")
        if "betas" in group:
            group["betas"] = tuple(map(float, betas))

    def _check_changed(self) -> None:
        """Check settings that were changed: those that are not Python numbers or flags.

        An unknown setting is an error.
        """
        names, kind = ("lr", *self.not_negative), type(self).__name__
        for group in self.param_groups:
            for key in group:
                if key not in self.defaults and key not in BESIDES:
                    raise ValueError(
                        f"{kind}.step: a group has {key!r}, which has no effect; "
                        f"{setting_hint(kind, key, self.defaults)}"
                    )
            numbers = [group[key] for key in names if key in group]
            betas = group.get("betas", (0.0, 0.0))
            known = type(betas) is tuple and len(betas) == 2
            if (
                not known
                or any(type(number) is not float for number in (*numbers, *betas))
                or any(type(group.get(key, True)) is not bool for key in FLAGS)
            ):
                self._check(group)

    def _listed(self, params: Any) -> list[Any]:
        """`params` as a list; an error if it has no order, which the state needs."""
        unordered = isinstance(params, (set, frozenset, str, Mapping, Parameter))
        if isinstance(params, Iterable) and not unordered and not hasattr(params, "shape"):
            return list(params)
        raise TypeError(
            f"{type(self).__name__}: params is {shown(params)}, expected a list of parameters or of groups; "
            "give model.parameters()"
        )

    @property
    def lr(self) -> float:
        """Learning rate of the first group; setting it sets that of every group."""
        rate: float = self.param_groups[0]["lr"]
        return rate

    @lr.setter
    def lr(self, value: float) -> None:
        rate = to_float(f"{type(self).__name__}: lr", plain_number(value), 0)
        for group in self.param_groups:
            group["lr"] = rate

    def __repr__(self) -> str:
        name = type(self).__name__
        if len(self.param_groups) == 1:
            return f"{name}({_settings(self.param_groups[0], self.defaults)})"
        lines = [
            f"  ({i}): {_settings(group, self.defaults)}, {len(group['params'])} parameters"
            for i, group in enumerate(self.param_groups)
        ]
        return "\n".join([f"{name}(", *lines, ")"])


def _settings(group: dict[str, Any], names: Iterable[str]) -> str:
    return ", ".join(f"{k}={v}" for k, v in group.items() if k in names)
