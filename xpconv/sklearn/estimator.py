"""`ConvEstimator`: what `ConvClassifier` and `ConvRegressor` share: training, outputs, pickles."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, is_classifier
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from .. import train
from ..arguments import to_bool, to_float, to_int, to_size
from ..arrays import asnumpy
from ..backend import get_backend
from ..cores import cores
from ..kernels import dividing_for
from ..layers import Layer
from .base import ConvBase
from .building import model_from, output_axes
from .inputs import Shape, check_sample, checked_x, dtype_name, for_inference, input_shape_of, sample_weights
from .training import Plan, append, computing, trained


class ConvEstimator(ConvBase):
    """Base of `ConvClassifier` and `ConvRegressor`.

    A subclass defines `_encoded(y, weight, goes_on)`, which returns the coder of its targets, the targets and
    the weights; `_default_model(X, coder, weight)`; and `_part(model)`, the part of it that is trained.
    """

    model_: Layer
    history_: train.History
    loss_curve_: list[float]
    input_shape_: Shape
    _rng: np.random.Generator
    _axes: int
    _past: Any
    _meaning = "value"  # what an output of the model is, in errors
    _y_checks: dict[str, Any] = {"multi_output": True}  # noqa: RUF012  # sklearn's options, never changed

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        """Train on X and y for `max_epochs`.

        Args:
            X: `(N, features)`, `(N, H, W)`, `(N, C, H, W)`, or with `input_shape=(C, L)` `(N, C, L)`:
                integers or floats, arrays, lists or a DataFrame.
            y: the targets, `(N,)` or `(N, outputs)`.
            sample_weight: `(N,)`, at least 0: the factor of each sample's loss, relative to their mean.

        Returns:
            the estimator.
        """
        goes_on = to_bool(f"{type(self).__name__}: warm_start", self.warm_start) and hasattr(self, "model_")
        return self._learn(X, y, sample_weight, self._plan(), goes_on=goes_on)

    def _plan(self) -> Plan:
        """The parameters that are numbers, checked."""
        where = type(self).__name__
        fraction = to_float(f"{where}: validation_fraction", self.validation_fraction)
        if not 0 < fraction < 1:
            raise ValueError(
                f"{where}: validation_fraction is {fraction}, expected more than 0 and less than 1"
            )
        to_int(f"{where}: n_iter_no_change", self.n_iter_no_change, 1)
        return Plan(
            to_int(f"{where}: max_epochs", self.max_epochs, 1),
            to_size(f"{where}: batch_size", self.batch_size),
            to_float(f"{where}: learning_rate", self.learning_rate, 0),
            dtype_name(where, self.dtype),
            to_bool(f"{where}: early_stopping", self.early_stopping),
            _is_verbose(where, self.verbose),
        )

    def _learn_once(self, X: Any, y: Any, sample_weight: Any, **options: Any) -> Any:
        """`partial_fit`: one pass, which goes on with the optimizer of the one before."""
        plan, where = self._plan(), type(self).__name__
        if plan.early_stopping:
            raise ValueError(f"{where}: partial_fit has no validation data; set early_stopping=False")
        goes_on = hasattr(self, "model_")
        return self._learn(
            X, y, sample_weight, plan._replace(epochs=1), goes_on=goes_on, partial=True, **options
        )

    def _learn(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        plan: Plan,
        *,
        goes_on: bool,
        partial: bool = False,
        **options: Any,
    ) -> Any:
        where = type(self).__name__
        table, y, sample = checked_x(self, X, plan.dtype, not goes_on, y=y, **self._y_checks)
        if goes_on:
            shape = self.input_shape_
            check_sample(where, sample, shape)
        else:
            shape = input_shape_of(where, self.input_shape, sample, table.shape[1])
        images = table.reshape(len(table), *shape)
        weight = sample_weights(where, sample_weight, images)
        coder, target, weight = self._encoded(y, weight, goes_on, partial, **options)
        arrays = [images, target] if weight is None else weighted(images, target, weight)
        if goes_on:
            rng = copy.deepcopy(self._rng)
        else:
            rng = np.random.default_rng(check_random_state(self.random_state).randint(2**31 - 1))
        with computing(where, self.backend, rng):
            if goes_on:
                # A copy, so that an error leaves the fitted model as it was.
                model, axes = copy.deepcopy(self.model_).to(get_backend(), dtype=plan.dtype), self._axes
            else:
                model, axes = self._built(arrays, coder, plan.dtype)
            arrays[1] = coder.target(arrays[1], axes)
            first, held = self._divided(arrays, coder, rng) if plan.early_stopping else (arrays, None)
            past = self._past if goes_on and partial else None
            seed = int(rng.integers(2**31))
            history, state = trained(self, plan, self._part(model, coder), coder, first, held, seed, past)
        if not goes_on:
            self.history_, self.loss_curve_ = train.History(), []
        append(self.history_, history)
        self.loss_curve_ += history["loss"] if len(history) else []
        self.model_, self.input_shape_, self._axes, self._rng = model.eval(), shape, axes, rng
        self._coder, self._dtype, self._past = coder, plan.dtype, state if partial else None
        self._note(coder)
        self.n_iter_, self.n_outputs_ = len(self.history_), coder.n_outputs
        if history.interrupted:
            warnings.warn(f"{where}: Ctrl-C ended the training; the model is as of then", stacklevel=3)
        return self

    def _note(self, coder: Any) -> None:
        """Set the attributes of a fitted estimator that only one kind has."""

    def _built(self, arrays: Sequence[np.ndarray], coder: Any, dtype: str) -> tuple[Layer, int]:
        """The model, on the active backend, and how many axes its output has."""
        where, X, outputs = type(self).__name__, arrays[0], coder.n_outputs
        if self.model is None:
            model = self._default_model(X, coder, arrays[2] if len(arrays) > 2 else None)
        else:
            model = model_from(where, self.model, self._of("model"), X.shape[1:], outputs)
        model.to(get_backend(), dtype=dtype)
        return model, output_axes(where, model, X, dtype, outputs, self._meaning)

    def _divided(self, arrays: Sequence[np.ndarray], coder: Any, rng: np.random.Generator) -> tuple[Any, Any]:
        """The samples for training, and those that early stopping looks at."""
        first, second = train_test_split(
            np.arange(len(arrays[0])),
            test_size=self.validation_fraction,
            random_state=int(rng.integers(2**31)),
            stratify=arrays[1] if coder.stratified else None,
        )
        return [array[first] for array in arrays], [array[second] for array in arrays]

    def _outputs(self, X: Any) -> np.ndarray:
        """What the model computes for X, in float64: `(N, n_outputs)`."""
        check_is_fitted(self)
        where = type(self).__name__
        table, sample = checked_x(self, X, self._dtype, False)
        check_sample(where, sample, self.input_shape_)
        images = table.reshape(len(table), *self.input_shape_)
        size = max(to_size(f"{where}: batch_size", self.batch_size), 128)
        with dividing_for(cores()):
            outputs = asnumpy(train.predict(self.model_, for_inference(images, size, self._dtype)))
        return outputs.reshape(len(outputs), -1)[: len(images)].astype("float64", copy=False)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        tags.input_tags.three_d_array = True
        return tags

    if not hasattr(BaseEstimator, "__sklearn_tags__"):  # scikit-learn 1.5

        def _more_tags(self) -> dict[str, Any]:
            return {"multioutput": True, "multilabel": is_classifier(self), "requires_y": True}


def _is_verbose(where: str, verbose: Any) -> bool:
    """True, False, or one of scikit-learn's levels from 0."""
    if isinstance(verbose, int) and not isinstance(verbose, bool):
        return to_int(f"{where}: verbose", verbose, 0) > 0
    return to_bool(f"{where}: verbose", verbose)


def weighted(images: np.ndarray, target: np.ndarray, weight: np.ndarray) -> list[np.ndarray]:
    """Inputs, targets and weights, scaled to mean 1, without the samples of weight 0.

    The weights are left out if all are equal.
    """
    kept = weight > 0
    if not kept.all():
        images, target, weight = images[kept], target[kept], weight[kept]
    return [images, target] if (weight == weight[0]).all() else [images, target, weight / weight.mean()]
