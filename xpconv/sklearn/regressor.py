"""`ConvRegressor`: regression from images, signals and tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.utils import assert_all_finite

from ..arrays import asarray
from ..errors import ShapeError
from ..layers import BatchNorm1d, Layer, Sequential
from ..losses import L1Loss, Loss, MSELoss
from .building import loss_from
from .defaults import affine, default_model, moments
from .estimator import ConvEstimator
from .inputs import dtype_name
from .targets import OF_CLASSES, as_column

__all__ = ["ConvRegressor"]


class Values:
    """Targets that are numbers, in columns; with `scale`, the network learns `(y - mean) / scale`."""

    n_outputs: int
    flat: bool
    mean: Any
    scale: Any
    stratified, metrics = False, ()

    def __init__(
        self, columns: int, flat: bool, mean: Any = None, scale: Any = None, constant: Any = None
    ) -> None:
        self.n_outputs, self.flat, self.mean, self.scale = columns, flat, mean, scale
        self.constant = constant  # with a scale: which columns are constant

    def target(self, y: np.ndarray, axes: int) -> np.ndarray:
        """`y` in the shape of the model's output."""
        y = y if self.scale is None else (y - self.mean) / self.scale
        return y if axes == 2 else y[:, 0]

    def decode(self, outputs: np.ndarray) -> np.ndarray:
        """Numbers in the units and the form of y, scaled back in float64."""
        if self.scale is not None:
            outputs = outputs * self.scale + self.mean
        return outputs[:, 0] if self.flat else outputs

    def default_loss(self) -> Loss:
        """The mean squared error."""
        return MSELoss()

    def check_loss(self, where: str, loss: Loss) -> None:
        """Raise a TypeError if `loss` is a loss for classification."""
        if isinstance(loss, OF_CLASSES):
            raise TypeError(
                f"{where}: loss is {type(loss).__name__}, which is for classes, but y has numbers; give "
                "'mse', 'l1' or 'huber', or use ConvClassifier"
            )

    def joint(self, loss: Loss) -> Loss:
        """The loss of all outputs together."""
        return loss


class ConvRegressor(RegressorMixin, ConvEstimator):
    """A convolutional network that predicts numbers from images, signals or tables, as a scikit-learn
    estimator.

    X is as for `ConvClassifier`; y is `(N,)` or, for several numbers, `(N, outputs)`.

    Args:
        model: as for `ConvClassifier`; it returns `(N, n_outputs)`. None takes the same networks. With the
            losses MSE and L1 these learn y standardised by its mean and deviation, and a last layer scales
            the outputs back. A model of your own learns y unscaled: to scale it, use
            `TransformedTargetRegressor`.
        loss: its name (`"mse"`, `"l1"`, `"HuberLoss"`), class, or a loss; None takes the mean squared error.
        others: as for `ConvClassifier`, which alone has `class_weight`.

    Attributes:
        n_iter_, loss_curve_, history_, model_: as of `ConvClassifier`, like the other attributes. If y is
            standardised, the losses are those of standardised y: predicting its mean has an MSE of 1.

    Raises:
        ValueError, TypeError, ShapeError, NotFittedError: as `ConvClassifier`.

    Example:
        >>> import numpy as np
        >>> from xpconv.sklearn import ConvRegressor
        >>> images = np.random.default_rng(0).random((300, 8, 8))
        >>> brightness = 100 * images.mean(axis=(1, 2))
        >>> regressor = ConvRegressor(random_state=0).fit(images[:200], brightness[:200])
        >>> bool(regressor.score(images[200:], brightness[200:]) > 0.8)
        True
    """

    _y_checks = {"multi_output": True, "y_numeric": True}  # noqa: RUF012

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        """One pass over X and y, as by `ConvClassifier.partial_fit`. Returns the estimator.

        With `model=None` and the losses MSE and L1, the first call fixes the mean and deviation by which y is
        standardised, and those of X. If numbers in later parts are much larger or smaller, scale them
        yourself, or let the first part be a sample of all.
        """
        return self._learn_once(X, y, sample_weight)

    def _encoded(self, y: Any, weight: Any, goes_on: bool, partial: bool) -> tuple[Values, np.ndarray, Any]:
        where = type(self).__name__
        y = as_column(y.toarray() if hasattr(y, "toarray") else y)
        if y.dtype.kind not in "fiub":
            raise ValueError(
                f"{where}: y is of dtype {y.dtype}, expected real numbers; for labels use ConvClassifier"
            )
        flat, columns = y.ndim == 1, y.astype("float64").reshape(len(y), -1)
        assert_all_finite(columns, input_name="y")  # scikit-learn does not find None in arrays of objects
        if abs(columns).max() > np.finfo(self.dtype).max:
            raise ValueError(
                f"{where}: y has values up to {abs(columns).max():.3g}, which are too large for "
                f"{dtype_name(where, self.dtype)}; give dtype='float64', or scale y"
            )
        if goes_on:
            coder = self._coder
            if (coder.flat, coder.n_outputs) != (flat, columns.shape[1]):
                expected = "(N,)" if coder.flat else f"(N, {coder.n_outputs})"
                raise ShapeError(f"{where}: y has shape {y.shape}, expected {expected}, as in the first fit")
            return coder, columns, None
        mean = scale = constant = None
        if self.model is None:
            loss = loss_from(where, self.loss, self._of("loss"), MSELoss)
            if type(loss) in (MSELoss, L1Loss):
                mean, scale, constant = moments(columns, weight)
        return Values(columns.shape[1], flat, mean, scale, constant), columns, None

    def _default_model(self, X: np.ndarray, coder: Values, weight: Any, dtype: str) -> Layer:
        model = default_model(type(self).__name__, X, coder.n_outputs, weight, dtype, self._of("model"))
        if coder.scale is None:
            return model
        rescale = affine(BatchNorm1d, coder.n_outputs, dtype)
        rescale.weight.data[...] = asarray(coder.scale, dtype)
        rescale.bias.data[...] = asarray(coder.mean, dtype)
        return Sequential({**dict(model.named_children()), "rescale": rescale})

    def _built(self, arrays: Sequence[np.ndarray], coder: Values, dtype: str) -> tuple[Layer, int]:
        """The model; for a constant y the network first gives 0, which is scaled to that constant."""
        model, axes = super()._built(arrays, coder, dtype)
        if coder.scale is not None:
            network: Any = dict(model.named_children())["network"]
            varies = asarray(~coder.constant, dtype)
            network[-1].weight.data[...] *= varies[:, None]
            network[-1].bias.data[...] *= varies
        return model, axes

    def _part(self, model: Any, coder: Values) -> Layer:
        """The model without its last layer, which scales the outputs back."""
        part: Layer = model if coder.scale is None else model[:-1]
        return part

    def predict(self, X: Any) -> np.ndarray:
        """The outputs of the model, in the form of y."""
        scores = self._outputs(X)
        return self._coder.decode(scores)
