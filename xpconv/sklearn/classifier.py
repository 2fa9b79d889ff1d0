"""`ConvClassifier`: classification of images, signals and tables."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from ..errors import ShapeError
from ..layers import Layer
from .base import LEARNING_RATE, explicit
from .defaults import default_model
from .estimator import ConvEstimator
from .targets import SEVERAL, Labels, as_column
from .weights import class_weights

__all__ = ["ConvClassifier"]

WARM = "; warm_start=True continues with the classes of the first fit: for others give warm_start=False"


def _gives_probabilities(estimator: Any) -> bool:
    """Whether the loss trains the model to give scores that are logarithms of probabilities."""
    loss = estimator.loss
    name = loss if isinstance(loss, str) else getattr(loss, "__name__", type(loss).__name__)
    if "margin" in name.lower().replace("_", "") and "soft" not in name.lower():
        raise AttributeError(
            f"{type(estimator).__name__}: loss is {name}, whose scores are not those of probabilities"
        )
    return True


class ConvClassifier(ClassifierMixin, ConvEstimator):
    """A convolutional network that classifies images, signals or tables, as a scikit-learn estimator.

    X is a table `(N, features)`, images `(N, H, W)` or `(N, C, H, W)`, or signals `(N, C, L)` with
    `input_shape="signals"`, of integers or floats; y has any labels: `(N,)`; `(N, outputs)` for several
    labels of each sample; or indicators of 0 and 1 `(N, labels)`.

    Args:
        model: the network: a function `model(input_shape, n_outputs, **parameters)` that returns a `Layer`,
            where `input_shape` is the shape of a sample; or a `Layer`, of which a copy is trained, starting
            from its weights. The network returns scores `(N, n_outputs)`, without a softmax: one score for
            each class (for several outputs: the classes of the first output, then those of the second, …), or
            one for each indicator. None means `xpconv.models.small_cnn` for images, convolutions along the
            signal for signals, and two hidden dense layers for tables. These default networks first
            standardise each channel or feature by its mean and deviation in the data of the first `fit`.
        input_shape: `(H, W)` or `(C, H, W)`, the shape of the images in the rows of a table; or `"signals"`:
            X of shape `(N, C, L)` then holds signals (without it: gray images `(N, 1, C, L)`, of which the
            default network warns if they are four times as long as wide), and the rows of a table become
            signals `(N, 1, L)`. Other X do not need it.
        loss: its name (`"SoftmaxCrossEntropyLoss"`, or `"cross_entropy"`), class, or a loss. None takes
            cross-entropy, or for indicators binary cross-entropy of logits. For several outputs, it is the
            mean of their losses. Its reduction is `"mean"` or `"sum"`.
        optimizer: its name (`"adam"`, `"SGD"`), class, or a function of `(params, lr=…)`.
        learning_rate: the learning rate of the optimizer.
        schedule: of the learning rate: its name (`"CosineAnnealingLR"`, `"OneCycleLR"`), class, or a function
            of the optimizer; None means a constant rate. `T_max`, `max_lr` and `total_steps` are computed
            from the length of the training and `learning_rate`.
        batch_size: samples in a batch. It is increased slightly if the last batch would have one sample,
            for which BatchNorm has no statistics.
        max_epochs: passes over the data in `fit`.
        callbacks: callbacks for `xpconv.train.fit`. The objects themselves are used, not copies.
        early_stopping: whether to hold out some samples, stop when their loss has not improved for some
            epochs, and take the weights of the best epoch.
        validation_fraction: the share of the samples to hold out.
        n_iter_no_change: the number of epochs without improvement.
        class_weight: `"balanced"`, a dict of factors by class, or for several outputs a list of dicts. They
            multiply the weights of the samples, those of several outputs one another.
        warm_start: whether `fit` continues with the fitted model, with a new optimizer and schedule.
        random_state: a seed, a `RandomState`, or None, for initial weights, dropout, order and held-out
            samples. The same seed gives the same model, with any `n_jobs`.
        verbose: whether to print a table of the epochs.
        backend: `"numpy"`, `"cupy"` or `"auto"`; None takes the active one.
        dtype: `"float32"` or `"float64"`.
        **nested: parameters of the model, loss, optimizer and schedule: `model__width=64`,
            `optimizer__weight_decay=1e-4`. The default model has `width` and `dropout`.

    Attributes:
        classes_: the labels; for several outputs a list of arrays, for indicators the columns' numbers.
        model_: the trained `Layer`, in inference mode; it takes samples as floats.
        history_: the `History` of all epochs; `loss_curve_` has its losses and `n_iter_` their number.
        input_shape_, n_outputs_: the shape of a sample, and the number of scores.
        n_features_in_, feature_names_in_: the number of values of a sample; their names if X was a DataFrame.

    Raises:
        ValueError, TypeError: (in `fit`) an argument is wrong; or the loss becomes infinite or NaN.
        ShapeError: (a ValueError) `input_shape` does not fit X, or the model does not return `(N,
            n_outputs)`.
        NotFittedError: (a ValueError) `predict` before `fit`.

    Example:
        >>> from sklearn.datasets import load_digits
        >>> from xpconv.sklearn import ConvClassifier
        >>> digits = load_digits(n_class=3)
        >>> X, y = digits.images, digits.target
        >>> classifier = ConvClassifier(max_epochs=3, random_state=0).fit(X[:400], y[:400])
        >>> bool(classifier.score(X[400:], y[400:]) > 0.95)
        True
    """

    _meaning = "score"
    classes_: Any

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
        class_weight: Any = None,
        warm_start: bool = False,
        random_state: Any = None,
        verbose: Any = False,
        backend: str | None = None,
        dtype: Any = "float32",
        **nested: Any,
    ) -> None:
        super().__init__(
            model, input_shape=input_shape, loss=loss, optimizer=optimizer, learning_rate=learning_rate,
            schedule=schedule, batch_size=batch_size, max_epochs=max_epochs, callbacks=callbacks,
            early_stopping=early_stopping, validation_fraction=validation_fraction,
            n_iter_no_change=n_iter_no_change, warm_start=warm_start, random_state=random_state,
            verbose=verbose, backend=backend, dtype=dtype, **nested,
        )  # fmt: skip
        self.class_weight = class_weight

    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> Any:
        """One pass over X and y. The first call builds a model, unless `fit` was called before.

        The next call continues with the optimizer and the schedule. Parameters that `set_params` changes in
        between take effect, except `model`, `input_shape` and `random_state`. Another optimizer begins
        without moments; with other settings of the optimizer, `learning_rate` or `schedule`, the schedule
        begins again.

        Args:
            X, y: as for `fit`.
            sample_weight: the factor of each sample's loss. Unlike in `fit`, these factors and those of
                `class_weight` are not rescaled, so that one call may count more than another. `class_weight`
                cannot be `"balanced"`.
            classes: all labels that any call will have: required in the first one, except for indicators. For
                several outputs a list of arrays.

        Returns:
            the estimator.
        """
        return self._learn_once(X, y, sample_weight, classes=classes)

    def _encoded(
        self, y: Any, weight: Any, goes_on: bool, partial: bool, classes: Any = None
    ) -> tuple[Labels, np.ndarray, Any]:
        where = type(self).__name__
        y = as_column(y.toarray() if hasattr(y, "toarray") else y)
        chosen = self.class_weight if isinstance(self.class_weight, list) else [self.class_weight]
        if partial and "balanced" in [c for c in chosen if isinstance(c, str)]:
            raise ValueError(
                f"{where}: class_weight='balanced' needs all of y, which partial_fit does not have; give a "
                "dict"
            )
        labels = self._coder if goes_on else Labels.of(where, y, classes, partial)
        if goes_on and classes is not None:
            labels.check_same(where, Labels.of(where, y, classes))
        target = labels.encode(where, y, "" if partial or not goes_on else WARM)
        factors = None
        if self.class_weight is not None:
            factors = class_weights(where, self.class_weight, labels, y, target)
        return labels, target, factors

    def _note(self, coder: Labels) -> None:
        self.classes_ = coder.public

    def _default_model(self, X: np.ndarray, coder: Labels, weight: Any, dtype: str) -> Layer:
        return default_model(type(self).__name__, X, coder.n_outputs, weight, dtype, self._of("model"))

    def _part(self, model: Layer, coder: Labels) -> Layer:
        return model

    def decision_function(self, X: Any) -> np.ndarray:
        """The scores of the classes, `(N, n_outputs)`; for two classes their difference, `(N,)`."""
        scores = self._outputs(X)
        if self._coder.sizes == [2]:
            return scores[:, 1] - scores[:, 0]
        return scores

    @available_if(_gives_probabilities)
    def predict_proba(self, X: Any) -> Any:
        """Probabilities of the classes, `(N, classes)`.

        For several outputs, a list with such an array for each; for indicators, `(N, labels)`.
        """
        scores = self._outputs(X)
        return self._coder.probabilities(scores)

    @available_if(_gives_probabilities)
    def predict_log_proba(self, X: Any) -> Any:
        """Logarithms of `predict_proba`, also of probabilities that are too small for a float."""
        scores = self._outputs(X)
        return self._coder.log_probabilities(scores)

    def predict(self, X: Any) -> np.ndarray:
        """The likeliest labels, in the form of y."""
        scores = self._outputs(X)
        return self._coder.decode(scores)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """The accuracy: the fraction of samples whose labels are all predicted correctly."""
        check_is_fitted(self)
        if self._coder.kind != SEVERAL:
            return float(super().score(X, y, sample_weight))
        predicted, y = self.predict(X), np.asarray(y)
        if y.shape != predicted.shape:
            raise ShapeError(
                f"{type(self).__name__}.score: y has shape {y.shape}, expected {predicted.shape}"
            )
        right = (predicted == y).all(axis=1)
        return float(np.average(right, weights=sample_weight))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags
