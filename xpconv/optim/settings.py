"""Hints for errors about a setting that was used as an attribute or under another library's name."""

from __future__ import annotations

from collections.abc import Collection

SETTINGS = (  # the settings of all optimizers
    "alpha", "amsgrad", "betas", "centered", "dampening", "decoupled_weight_decay", "eps",
    "initial_accumulator_value", "lr", "lr_decay", "maximize", "momentum", "momentum_decay", "nesterov",
    "rho", "trust_coefficient", "weight_decay",
)  # fmt: skip
ALSO_CALLED = {  # names in other libraries or in papers
    "learning_rate": "lr", "beta1": "betas", "beta2": "betas", "epsilon": "eps", "wd": "weight_decay",
}  # fmt: skip


def is_setting(name: str) -> bool:
    """Whether `name` is a setting of any optimizer, or another library's name for one."""
    return name in SETTINGS or name in ALSO_CALLED


def setting_hint(kind: str, name: str, own: Collection[str]) -> str:
    """The hint on how to set `name` for an optimizer of class `kind`, whose settings are `own`."""
    known = name if name in own else ALSO_CALLED.get(name)
    if known not in own:
        return f"{kind} has no setting {name!r}; it has {', '.join(own)}"
    rate = "optimizer.lr = …, or for one group " if known == "lr" else ""
    return f'settings are in the groups; use {rate}optimizer.param_groups[0]["{known}"] = …'
