"""`ConvBase`, the base of all estimators: parameters such as `model__width`, copies and pickles."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Any, TypeVar

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state

from ..arguments import shown
from .state import attributes_on_host, on_host

LEARNING_RATE = 0.001  # the default
# For errors: what the parameters of scikit-learn's MLPClassifier, and other common names, are called here.
ELSEWHERE = {
    "max_iter": "max_epochs",
    "epochs": "max_epochs",
    "n_epochs": "max_epochs",
    "solver": "optimizer",
    "learning_rate_init": "learning_rate",
    "lr": "learning_rate",
    "alpha": "optimizer__weight_decay",
    "weight_decay": "optimizer__weight_decay",
    "momentum": "optimizer__momentum",
    "hidden_layer_sizes": "model__width",
    "activation": "model",
    "module": "model",
    "criterion": "loss",
    "device": "backend",
    "width": "model__width",
    "dropout": "model__dropout",
}
BUILT = ("model", "loss", "optimizer", "schedule")  # arguments that have parameters such as `model__width`


Init = TypeVar("Init", bound=Callable[..., None])


def explicit(init: Init) -> Init:
    """Hide `**nested` in the signature of a constructor, since scikit-learn would take it for a parameter."""
    whole = inspect.signature(init)
    named = [p for p in whole.parameters.values() if p.kind is not p.VAR_KEYWORD]
    init.__signature__ = whole.replace(parameters=named)  # type: ignore[attr-defined]
    return init


class ConvBase(BaseEstimator):
    """Base of the estimators. The function given as `model` gets the parameter `model__width` as `width`."""

    callbacks: Any = None
    random_state: Any

    def _set_nested(self, nested: dict[str, Any]) -> None:
        """Check and set the parameters such as `model__width`; each constructor ends with this call."""
        for name in nested:
            if not is_nested(name) or name.partition("__")[0] not in self._get_param_names():
                raise TypeError(
                    f"{type(self).__name__}.__init__() got an unexpected keyword argument {name!r}"
                    f"{self._hint(name)}"
                )
        self.__dict__.update(nested)

    def _of(self, prefix: str) -> dict[str, Any]:
        """The parameters of the model, loss, optimizer or schedule, without the prefix in their names."""
        start = f"{prefix}__"
        return {
            name.removeprefix(start): value for name, value in vars(self).items() if name.startswith(start)
        }

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The parameters by name, including those such as `model__width`."""
        nested = {name: value for name, value in vars(self).items() if is_nested(name)}
        return {**super().get_params(deep), **nested}

    def set_params(self, **params: Any) -> Any:
        """Set parameters by name, also such as `model__width`, which the function given as `model` gets.

        It remains if `model` is changed later; `del estimator.model__width` removes it.
        """
        for name in params:
            if name.partition("__")[0] not in self._get_param_names() and (hint := self._hint(name)):
                raise ValueError(f"Invalid parameter {name!r} for estimator {self}{hint}")
        super().set_params(**{name: value for name, value in params.items() if not self._is_own(name)})
        self.__dict__.update({name: value for name, value in params.items() if self._is_own(name)})
        return self

    def _hint(self, name: str) -> str:
        """For errors: the parameter that is probably meant by a name that is none, or no text."""
        known = self._get_param_names()
        meant = [ELSEWHERE[name]] if name in ELSEWHERE else get_close_matches(name, known, 1, 0.75)
        return f"; did you mean {meant[0]}?" if meant and meant[0].partition("__")[0] in known else ""

    def _is_own(self, name: str) -> bool:
        """Whether this is a parameter such as `model__width`, not one of an estimator given as `model`."""
        return is_nested(name) and not hasattr(getattr(self, name.partition("__")[0], self), "get_params")

    @contextmanager
    def _unchanged_on_error(self) -> Iterator[None]:
        """Restore all attributes after an error in this block, which must not change objects in place."""
        before = dict(vars(self))
        try:
            yield
        except BaseException:
            self.__dict__.clear()
            self.__dict__.update(before)
            raise

    def _generator(self) -> np.random.Generator:
        """A generator seeded by `random_state`; a `RandomState` or None draws the seed."""
        try:
            state = check_random_state(self.random_state)
        except ValueError as error:
            raise ValueError(
                f"{type(self).__name__}: random_state is {shown(self.random_state)}, expected an int from 0 "
                f"to 4294967295, a numpy.random.RandomState or None: {error}"
            ) from error
        return np.random.default_rng(state.randint(2**31 - 1))

    def __getstate__(self) -> dict[str, Any]:
        """The state for pickles, with NumPy arrays, so that it can be loaded on a machine without a GPU."""
        state = {name: on_host(value) for name, value in super().__getstate__().items()}
        if isinstance(self.callbacks, list | tuple):
            moved = [attributes_on_host(c) if hasattr(c, "__dict__") else c for c in self.callbacks]
            state["callbacks"] = type(self.callbacks)(moved)
        return state

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        """A copy whose arrays stay where they are."""
        other = object.__new__(type(self))
        other.__dict__.update(copy.deepcopy(vars(self), memo))
        return other


def is_nested(name: str) -> bool:
    """Whether a name is that of a parameter such as `model__width`, for an argument in `BUILT`."""
    prefix, _, own = name.partition("__")
    return prefix in BUILT and bool(own)
