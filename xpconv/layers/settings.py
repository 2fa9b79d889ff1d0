"""Assignments to a layer's settings, which are the arguments of its constructor, after construction."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from itertools import count
from typing import Any, ClassVar

from ..arguments import shown
from ..parameter import Parameter
from .checks import Checks

# One int means the same int for every axis.
OF_AXES = ("kernel_size", "stride", "padding", "dilation", "output_padding")

_count = count(1)
_latest = 0


def latest_change() -> int:
    """A number that increases with every change of a setting.

    Programs read settings only when they are built; a new number means that they are out of date.
    """
    return _latest


def note_change() -> None:
    """Let `latest_change` increase."""
    global _latest
    _latest = next(_count)


class Settings(Checks):
    """The part of `Layer` that checks assignments to settings like the constructor and refuses fixed ones."""

    fixed: ClassVar[tuple[str, ...]] = ()  # settings that cannot change, as other state depends on them

    _no_config: ClassVar[tuple[str, ...]] = ("dtype", "rng")  # arguments that need not be attributes
    _dtype_setting: ClassVar[str] = ""  # the one that names the dtype of the output, which `to` changes

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments with which `type(layer)(**config)` makes a layer like this one.

        They are the attributes with the names of the arguments; a layer of your own that has no such
        attribute for an argument overrides this method. `dtype` and `rng` are left out if there is none, and
        the layers of a container. `xpconv.save_model` stores the result.

        Raises:
            TypeError: an argument is no attribute.

        Example:
            >>> import xpconv
            >>> xpconv.Dense(3, 2, bias=False).get_config()
            {'in_features': 3, 'out_features': 2, 'bias': False}
        """
        own, config = vars(self), {}
        for name in _arguments(type(self)):
            if name == "bias" and isinstance(own.get(name), Parameter):
                config[name] = True
            elif name == "bias" and own.get(name) is None and {"bias", "_has_bias"} & own.keys():
                config[name] = own.get("_has_bias", False)
            elif name in own:
                config[name] = own[name]
            elif name not in self._no_config:
                raise TypeError(
                    f"{type(self).__name__}.get_config: the argument {name} is no attribute; store it as "
                    f"self.{name} in __init__, or define get_config(self)"
                )
        return config

    def _set_again(self, name: str, old: Any, new: Any) -> Any:
        """The value to store when the attribute `name`, whose value is `old`, is set to `new`."""
        kind = _own_class(type(self))
        known = _arguments(kind)
        if name not in known and name not in self.fixed:
            return new
        if repr(old) in (repr(new), name in OF_AXES and isinstance(old, tuple) and repr((new,) * len(old))):
            return old
        given = {n: vars(self)[n] for n in known if vars(self).get(n) is not None}
        if any(required and n not in given for n, required in known.items()):
            return new  # still in the constructor
        if name in self.fixed:
            raise self._is_fixed(name, new)
        given.pop("bias", None)  # the attribute is a Parameter, not the constructor's flag
        value = getattr(kind(**{**given, name: new}), name)
        note_change()
        return value

    def _is_fixed(self, name: str, value: Any) -> AttributeError:
        kind = _own_class(type(self))
        whose = type(self).__name__
        made = f"{kind.__name__}(…, {name}={shown(value)})" if name in _arguments(kind) else "layer"
        return AttributeError(
            f"{whose}: {name} is fixed once the layer is made; make a new {made} and put it in its place "
            "(model.name = …, or model[i] = …)",
            name=name,
            obj=self,
        )


def _first_of_ours(kind: type) -> type:
    """The first class in the MRO of `kind` that belongs to this package."""
    ours = __name__.partition(".")[0]
    return next(base for base in kind.__mro__ if base.__module__.partition(".")[0] == ours)


def _taken(kind: type) -> dict[str, bool]:
    """The names of the constructor's arguments, and whether each is required."""
    return {
        p.name: p.default is p.empty
        for p in inspect.signature(kind).parameters.values()
        if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    }


_own_class: Callable[[type], type] = functools.lru_cache(maxsize=1024)(_first_of_ours)
_arguments: Callable[[type], dict[str, bool]] = functools.lru_cache(maxsize=1024)(_taken)
