"""`ConvTransformer`: the features that a layer of a network computes."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any

import numpy as np
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin, clone
from sklearn.utils.validation import check_is_fitted

from ..arguments import shown, to_size
from ..arrays import asarray, asnumpy
from ..backend import get_backend
from ..cores import cores
from ..inspection import feature_maps
from ..kernels import dividing_for
from ..layers import Layer
from ..parameter import Parameter
from ..train import predict
from .base import ConvBase, explicit
from .building import model_from
from .defaults import default_model
from .estimator import ConvEstimator
from .inputs import Shape, checked_images, dtype_name, for_inference
from .training import backend_name, computing
from .weights import sample_weights

__all__ = ["ConvTransformer"]


class ConvTransformer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, ConvBase):
    """Features of images: what a named layer of a network computes, as a scikit-learn transformer.

    The network is a trained one, such as a model with loaded weights or the `model_` of a `ConvClassifier`;
    or an estimator is given, which `fit` trains: `ConvTransformer(ConvClassifier())`.

    Args:
        model: a `Layer`, which is used without training; a `ConvClassifier` or `ConvRegressor`, of which
            `fit` trains a clone; or a function `model(input_shape, n_outputs, **parameters)` that returns a
            `Layer`. None takes the default network of `ConvClassifier` with random weights.
        layer: the name of the layer, as in `model.summary()`. None takes the input of
            the last layer with trainable parameters, such as the final dense layer.
        input_shape: as for `ConvClassifier`.
        batch_size: samples in a forward.
        random_state: a seed, a `RandomState` or None, for random weights.
        backend, dtype: as for `ConvClassifier`. With an estimator, `input_shape`, `backend`, `dtype` and
            `random_state` are those of the estimator.
        **nested: parameters of the model: `model__width=64`.

    Attributes:
        model_: the network.
        estimator_: the fitted clone, if the model is an estimator, whose `model_` the network then is.
        layer_: the name of the layer.
        input_shape_, n_features_in_, feature_names_in_: as of `ConvClassifier`.

    Raises:
        ValueError, TypeError, ShapeError, NotFittedError: as `ConvClassifier`, and if there is no such layer.

    Example:
        >>> from sklearn.datasets import load_digits
        >>> from sklearn.linear_model import RidgeClassifier
        >>> from sklearn.pipeline import make_pipeline
        >>> from xpconv.sklearn import ConvClassifier, ConvTransformer
        >>> X, y = load_digits(n_class=3, return_X_y=True)
        >>> network = ConvClassifier(input_shape=(8, 8), max_epochs=2, random_state=0)
        >>> features = make_pipeline(ConvTransformer(network), RidgeClassifier()).fit(X[:400], y[:400])
        >>> bool(features.score(X[400:], y[400:]) > 0.95)
        True
    """

    model_: Layer
    layer_: str
    input_shape_: Shape

    @explicit
    def __init__(
        self,
        model: Any = None,
        layer: str | None = None,
        *,
        input_shape: Any = None,
        batch_size: int = 128,
        random_state: Any = None,
        backend: str | None = None,
        dtype: Any = "float32",
        **nested: Any,
    ) -> None:
        self.model = model
        self.layer = layer
        self.input_shape = input_shape
        self.batch_size = batch_size
        self.random_state = random_state
        self.backend = backend
        self.dtype = dtype
        self._set_nested(nested)

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Any:
        """Build or train the network.

        Args:
            X: as for `ConvClassifier`.
            y: the targets, if the model is an estimator.
            sample_weight: `(N,)`, for the estimator, and for the statistics by which the default network
                standardises X.

        Returns:
            the transformer.
        """
        where = type(self).__name__
        if isinstance(self.model, type) and issubclass(self.model, ConvEstimator):
            raise TypeError(
                f"{where}: model is the class {self.model.__name__}; give {self.model.__name__}(…)"
            )
        to_size(f"{where}: batch_size", self.batch_size)
        trains = isinstance(self.model, ConvEstimator)
        dtype = dtype_name(where, self.model.dtype if trains else self.dtype)
        input_shape = self.model.input_shape if trains else self.input_shape
        with self._unchanged_on_error():
            images = checked_images(self, X, dtype, True, input_shape=input_shape)
            fitted = None
            if trains:
                if nested := self._of("model"):
                    raise ValueError(
                        f"{where}: give {', '.join(nested)} to the {type(self.model).__name__} itself"
                    )
                fitted = clone(self.model).fit(X, y, sample_weight)
                model = fitted.model_
            else:
                model = self._built(images, sample_weights(where, sample_weight, images), dtype)
            if self.layer is None:
                layer = _last_features(where, model)
            else:
                layer = _checked_name(where, model, self.layer)
            x = asarray(images[:2], dtype, backend=backend_name(model))
            size = int(np.prod(feature_maps(model, x, layer).shape[1:]))
        self.model_, self.layer_, self.input_shape_ = model.eval(), layer, images.shape[1:]
        self._n_features_out, self._dtype = size, dtype
        self.__dict__.pop("estimator_", None)
        if fitted is not None:
            self.estimator_ = fitted
        return self

    def _built(self, X: np.ndarray, weight: Any, dtype: str) -> Layer:
        where, nested = type(self).__name__, self._of("model")
        with computing(where, self.backend, self._generator()):
            if self.model is None:
                model: Layer = default_model(where, X, 1, weight, dtype, nested)
            else:
                model = model_from(where, self.model, nested, X.shape[1:], 1)
            model.to(get_backend(), dtype=dtype)
            predict(model, X[:2].astype(dtype))  # lazy layers get their sizes here
        return model

    def transform(self, X: Any) -> np.ndarray:
        """The features of X, `(N, features)`: what the layer returns, each sample in a row."""
        check_is_fitted(self)
        where = type(self).__name__
        images = checked_images(self, X, self._dtype, False)
        backend, found = backend_name(self.model_), []
        with dividing_for(cores()):
            for (x,) in for_inference(images, to_size(f"{where}: batch_size", self.batch_size), self._dtype):
                maps = feature_maps(self.model_, asarray(x, backend=backend), self.layer_)
                found.append(asnumpy(maps).reshape(len(x), -1))
        return np.concatenate(found)[: len(images)]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.transformer_tags.preserves_dtype = []
        tags.target_tags.required = isinstance(self.model, ConvEstimator)
        return tags

    if not hasattr(ConvBase, "__sklearn_tags__"):  # scikit-learn 1.5

        def _more_tags(self) -> dict[str, Any]:
            return {"preserves_dtype": [], "requires_y": isinstance(self.model, ConvEstimator)}


def _checked_name(where: str, model: Layer, name: Any) -> str:
    if not isinstance(name, str):
        raise TypeError(f"{where}: layer is {shown(name)}, expected the name of a layer, or None")
    names = [known for known, _ in model.named_layers() if known]
    if name not in names:
        close = get_close_matches(name, names, 3) or names[:8]
        raise ValueError(f"{where}: there is no layer {name!r} in the model; there are {', '.join(close)}, …")
    return name


def _last_features(where: str, model: Layer) -> str:
    """The name of the layer before the last one with trainable parameters, or, without such, with any."""
    leaves = [(name, layer) for name, layer in model.named_layers() if not dict(layer.named_children())]
    owned = [[p for p in vars(layer).values() if isinstance(p, Parameter)] for _, layer in leaves]
    with_parameters = [i for i, parameters in enumerate(owned) if parameters]
    learning = [i for i in with_parameters if any(p.requires_grad for p in owned[i])]
    last = max(learning or with_parameters or [0])
    if last == 0:
        raise ValueError(f"{where}: no layer of the model comes before one that learns; name one by layer=")
    return leaves[last - 1][0]
