"""`ConvEstimator`, the base of `ConvClassifier` and `ConvRegressor`: training, outputs, pickles."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, is_classifier
from sklearn.model_selection import train_test_split
from sklearn.utils.validation import check_is_fitted

from .. import train
from ..arguments import shown, to_bool, to_float, to_int, to_size
from ..arrays import asnumpy
from ..backend import get_backend
from ..cores import cores
from ..kernels import dividing_for
from ..layers import Layer
from .base import LEARNING_RATE, ConvBase, explicit
from .building import model_from, output_axes
from .inputs import Shape, checked_images, dtype_name, for_inference
from .training import Plan, append, computing, trained
from .weights import sample_weights, with_weights


class ConvEstimator(ConvBase):
    """Base of `ConvClassifier` and `ConvRegressor`.

    A subclass defines `_encoded(y, weight, goes_on, partial)`, which returns the coder of its targets, the
    targets and weights by class; `_default_model(X, coder, weight, dtype)`; and `_part(model, coder)`, the
    part of the model that is trained, of whose outputs the coder makes predictions.
    """

    n_iter_: int
    n_outputs_: Any
    model_: Layer
    history_: train.History
    loss_curve_: list[float]
    input_shape_: Shape
    _rng: np.random.Generator
    _axes: int
    _past: Any
    _meaning = "value"  # what an output of the model means; used in errors
    _y_checks: dict[str, Any] = {"multi_output": True}  # noqa: RUF012  # sklearn's options, never changed

    @explicit
    def __init__(
        self,
        model: Any = None,
        *,
        input_shape: Any = None,
        loss: Any = None,
        optimizer: Any = "adam",
        learning_rate: float = LEARNING_RATE,
        schedule: Any = None,
        batch_size: int = 32,
        max_epochs: int = 20,
        callbacks: Any = None,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 5,
        warm_start: bool = False,
        random_state: Any = None,
        verbose: Any = False,
        backend: str | None = None,
        dtype: Any = "float32",
        **nested: Any,
    ) -> None:
        self.model = model
        self.input_shape = input_shape
        self.loss = loss
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.schedule = schedule
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.callbacks = callbacks
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.warm_start = warm_start
        self.random_state = random_state
        self.verbose = verbose
        self.backend = backend
        self.dtype = dtype
        self._set_nested(nested)

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        """Train on X and y for `max_epochs`.

        Args:
            X: `(N, features)`, `(N, H, W)`, `(N, C, H, W)`, or with `input_shape="signals"` `(N, C, L)`:
                integers or floats, arrays, lists or a DataFrame.
            y: the targets, `(N,)` or `(N, outputs)`.
            sample_weight: `(N,)`, at least 0: the factor of each sample's loss. Only their ratios matter.

        Returns:
            the estimator.
        """
        goes_on = to_bool(f"{type(self).__name__}: warm_start", self.warm_start) and hasattr(self, "model_")
        return self._learn(X, y, sample_weight, self._plan(), goes_on=goes_on)

    def _plan(self) -> Plan:
        """Check the parameters that are numbers; return them."""
        where = type(self).__name__
        fraction = to_float(f"{where}: validation_fraction", self.validation_fraction)
        if not 0 < fraction < 1:
            raise ValueError(
                f"{where}: validation_fraction is {fraction}, expected more than 0 and less than 1"
            )
        to_int(f"{where}: n_iter_no_change", self.n_iter_no_change, 1)
        epochs = to_int(f"{where}: max_epochs", self.max_epochs, 1)
        return Plan(
            epochs,
            epochs,
            to_size(f"{where}: batch_size", self.batch_size),
            _to_rate(where, self.learning_rate),
            dtype_name(where, self.dtype),
            to_bool(f"{where}: early_stopping", self.early_stopping),
            _is_verbose(where, self.verbose),
        )

    def _learn_once(self, X: Any, y: Any, sample_weight: Any, **options: Any) -> Any:
        """One `partial_fit`: a pass over the data, with the optimizer of the previous call."""
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
        with self._unchanged_on_error():
            images, y = checked_images(
                self, X, plan.dtype, not goes_on, input_shape=self.input_shape, y=y, **self._y_checks
            )
            found = self._trained(images, y, sample_weight, plan, goes_on, partial, options)
        model, self._axes, self._rng, coder, history, state = found
        if not goes_on:
            self.history_, self.loss_curve_ = train.History(), []
        append(self.history_, history)
        self.loss_curve_ += history["loss"] if len(history) else []
        self.model_, self.input_shape_ = model.eval(), images.shape[1:]
        self._coder, self._dtype, self._past = coder, plan.dtype, state if partial else None
        self._note(coder)
        self.n_iter_, self.n_outputs_ = len(self.history_), coder.n_outputs
        if history.interrupted:
            text = f"{type(self).__name__}: Ctrl-C ended the training; the model is as of then"
            warnings.warn(text, stacklevel=3)
        return self

    def _trained(
        self, images: np.ndarray, y: Any, given: Any, plan: Plan, goes_on: bool, partial: bool, options: Any
    ) -> tuple[Any, ...]:
        """Train; return model, axes of its output, generator, coder, history, and the state to continue."""
        where = type(self).__name__
        weight = sample_weights(where, given, images)
        coder, target, factors = self._encoded(y, weight, goes_on, partial, **options)
        first = ("later" if goes_on else "partial_fit") if partial else "fit"
        weights = {"sample_weight": weight, "class_weight": factors}
        arrays = with_weights(where, [images, target], weights, plan.dtype, first)
        rng = copy.deepcopy(self._rng) if goes_on else self._generator()
        with computing(where, self.backend, rng):
            if goes_on:
                # A copy, so that an error leaves the fitted model as it was.
                model, axes = copy.deepcopy(self.model_).to(get_backend(), dtype=plan.dtype), self._axes
            else:
                model, axes = self._built(arrays, coder, plan.dtype)
            arrays[1] = coder.target(arrays[1], axes)
            training, held_out = self._divided(arrays, coder, rng) if plan.early_stopping else (arrays, None)
            past = self._past if goes_on and partial else None
            seed = int(rng.integers(2**31))
            part = self._part(model, coder)
            history, state = trained(self, plan, part, coder, training, held_out, seed, past)
        return model, axes, rng, coder, history, state

    def _note(self, coder: Any) -> None:
        """Set the fitted attributes that only this class of estimators has."""

    def _built(self, arrays: Sequence[np.ndarray], coder: Any, dtype: str) -> tuple[Layer, int]:
        """The model, on the active backend, and how many axes its output has."""
        where, X, outputs = type(self).__name__, arrays[0], coder.n_outputs
        if self.model is None:
            model = self._default_model(X, coder, arrays[2] if len(arrays) > 2 else None, dtype)
        else:
            model = model_from(where, self.model, self._of("model"), X.shape[1:], outputs)
        model.to(get_backend(), dtype=dtype)
        return model, output_axes(where, model, X, dtype, outputs, self._meaning)

    def _divided(self, arrays: Sequence[np.ndarray], coder: Any, rng: np.random.Generator) -> tuple[Any, Any]:
        """Split the samples into those for training and those held out for early stopping."""
        count = len(arrays[0])
        try:
            first, second = train_test_split(
                np.arange(count),
                test_size=self.validation_fraction,
                random_state=int(rng.integers(2**31)),
                stratify=coder.classes[0][arrays[1]] if coder.stratified else None,
            )
        except ValueError as error:
            raise ValueError(
                f"{type(self).__name__}: early_stopping cannot hold out validation_fraction="
                f"{self.validation_fraction} of {count} samples: {error}; give another validation_fraction, "
                "more samples, or early_stopping=False"
            ) from error
        return [array[first] for array in arrays], [array[second] for array in arrays]

    def _outputs(self, X: Any) -> np.ndarray:
        """What the trained part of the model computes for X, in float64: `(N, n_outputs)`."""
        check_is_fitted(self)
        where = type(self).__name__
        images = checked_images(self, X, self._dtype, False)
        size = max(to_size(f"{where}: batch_size", self.batch_size), 128)
        batches = for_inference(images, size, self._dtype)
        with dividing_for(cores()):
            outputs = asnumpy(train.predict(self._part(self.model_, self._coder), batches))
        return outputs.reshape(len(outputs), -1)[: len(images)].astype("float64", copy=False)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        tags.input_tags.three_d_array = True
        return tags

    if not hasattr(BaseEstimator, "__sklearn_tags__"):  # scikit-learn 1.5

        def _more_tags(self) -> dict[str, Any]:
            return {"multioutput": True, "multilabel": is_classifier(self), "requires_y": True}


def _to_rate(where: str, value: Any) -> float:
    """`learning_rate` as a number; scikit-learn's names of schedules get an error that names `schedule`."""
    if isinstance(value, str):
        raise TypeError(
            f"{where}: learning_rate is {shown(value)}, expected a number; for a rate that changes give "
            'schedule too, such as schedule="ReduceLROnPlateau"'
        )
    return to_float(f"{where}: learning_rate", value, 0)


def _is_verbose(where: str, verbose: Any) -> bool:
    """True, False, or one of scikit-learn's levels from 0."""
    if isinstance(verbose, int) and not isinstance(verbose, bool):
        return to_int(f"{where}: verbose", verbose, 0) > 0
    return to_bool(f"{where}: verbose", verbose)
