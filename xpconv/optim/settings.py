"""Settings are in the groups: what is told to those who look for them elsewhere, or under another name."""

from __future__ import annotations

from collections.abc import Collection

SETTINGS = (  # of all optimizers
    "alpha", "amsgrad", "betas", "centered", "dampening", "decoupled_weight_decay", "eps",
    "initial_accumulator_value", "lr", "lr_decay", "maximize", "momentum", "momentum_decay", "nesterov",
    "rho", "trust_coefficient", "weight_decay",
)  # fmt: skip
ALSO_CALLED = {  # by other libraries, or in papers
    "learning_rate": "lr", "beta1": "betas", "beta2": "betas", "epsilon": "eps", "wd": "weight_decay",
}  # fmt: skip


def is_setting(name: str) -> bool:
    """Whether some optimizer has a setting that is called so."""
    return name in SETTINGS or name in ALSO_CALLED


def way_to_set(kind: str, name: str, own: Collection[str]) -> str:
    """How to set what was looked for as `name`; `own` are the settings that an optimizer of this kind has."""
    known = name if name in own else ALSO_CALLED.get(name)
    if known not in own:
        return f"{kind} has no setting {name!r}; it has {', '.join(own)}"
    rate = "optimizer.lr = …, or for one group " if known == "lr" else ""
    return f'settings are in the groups; use {rate}optimizer.param_groups[0]["{known}"] = …'
