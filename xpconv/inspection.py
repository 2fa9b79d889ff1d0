"""What a model computes and looks at, as arrays: feature maps, Grad-CAM, saliency, gradients, confusion.

`xpconv.plot` draws them. The model runs as a copy in inference mode, with the same arrays of parameters: its
mode, statistics, gradients and hooks are neither used nor changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

from .arguments import check_room, is_sequence, shown, to_int, to_size
from .arrays import asarray, asnumpy
from .backend import Array, backend_of, get_xp
from .errors import BackendError, DTypeError, ShapeError
from .layers import Layer
from .layers.costs import first_array, twin
from .layers.hooks import change
from .ops.norm import mean_over
from .parameter import Parameter
from .sums import sum_over
from .tape import no_grad, run_saving

__all__ = ["confusion_matrix", "feature_maps", "grad_cam", "gradient_norms", "saliency"]

Target = int | Sequence[int] | Array | None


def feature_maps(model: Layer, x: Any, layer: Layer | str) -> Array:
    """The output of one layer of the model for a batch `x`, in inference mode.

    Args:
        model: any layer.
        x: the batch that the model takes; for several inputs a tuple.
        layer: the layer, or its name as in `summary`. If it runs more than once, its last output counts.

    Returns:
        the layer's output, such as `(N, C, H, W)`; the first of several.

    Raises:
        TypeError: `model` is not a layer, or `layer` neither a layer nor a name.
        ValueError: `layer` is not in the model, or does not run.

    Example:
        >>> import numpy as np, xpconv
        >>> model = xpconv.models.resnet20()
        >>> xpconv.inspection.feature_maps(model, np.zeros((1, 3, 32, 32), "float32"), "layer2").shape
        (1, 32, 16, 16)
    """
    whole, part = _copy("feature_maps", model, layer)
    seen: list[Array] = []
    change(part, "after", 0, lambda layer, inputs, y: seen.append(first_array(y)))
    with no_grad():
        whole(*_inputs(x))
    if not seen:
        raise ValueError(f"feature_maps: layer {shown(layer)} does not run in this model")
    return seen[-1]


def grad_cam(model: Layer, x: Any, layer: Layer | str, target: Target = None) -> Array:
    """Grad-CAM (Selvaraju et al., 2017): where the maps of a layer speak for a class.

    Each map `A_k` of the layer gets as weight the mean of the gradient of the class's score over its pixels:
    `ReLU(Σ_k mean(∂y_c/∂A_k) · A_k)`. The last layer before the global pooling shows most.

    Args:
        model: a classifier, which gives scores `(N, classes)`; of scores for pixels, their sum is taken.
        x: a batch of images; for several inputs a tuple.
        layer: the layer, or its name as in `summary`, with outputs `(N, C, H, W)`, or other axes after C.
            If it runs more than once, the last time counts.
        target: the class, for all images or one for each; None takes the class with the highest score.

    Returns:
        the map of each image, `(N, H, W)` with the layer's H and W, of its dtype and backend, not scaled.

    Raises:
        TypeError: `model` is not a layer, `layer` neither a layer nor a name, `target` no number of a class.
        ValueError: `layer` is not in the model, or the score does not depend on it; `target` is out of range.
        ShapeError: (a ValueError) the layer or the model gives other shapes.

    Example:
        >>> import numpy as np, xpconv
        >>> model = xpconv.models.resnet20()
        >>> xpconv.inspection.grad_cam(model, np.ones((2, 3, 32, 32), "float32"), "layer3", 5).shape
        (2, 8, 8)
    """
    whole, part = _copy("grad_cam", model, layer)
    outputs: list[Array] = []
    gradients: list[Array] = []
    change(part, "after", 0, lambda layer, inputs, y: outputs.append(first_array(y)))
    change(part, "back", 0, lambda layer, grad_input, grad_output: gradients.append(grad_output[0]))
    _gradient("grad_cam", whole, x, target)
    if not gradients:
        raise ValueError(f"grad_cam: the scores do not depend on layer {shown(layer)}")
    maps, gradient = outputs[-1], gradients[0]  # backward runs from the last forward to the first
    if maps.ndim < 3:
        raise ShapeError(
            f"grad_cam: layer {shown(layer)} gives shape {maps.shape}, expected maps (N, C, H, W); take a "
            "layer before the pooling"
        )
    weights = mean_over(gradient, tuple(range(2, maps.ndim)))
    xp = get_xp(maps)
    return xp.maximum(sum_over(weights * maps, (1,)), 0)


def saliency(model: Layer, x: Any, target: Target = None) -> Array:
    """Saliency (Simonyan et al., 2014): how much each pixel changes the score of a class.

    The absolute value of the gradient of the score with respect to the image, the largest of the channels.

    Args:
        model, x, target: as in `grad_cam`. Of several inputs, the saliency of the first is returned.

    Returns:
        the map of each image, `(N, H, W)`; for features `(N, F)` the absolute values `(N, F)`.

    Raises:
        TypeError, ValueError: as in `grad_cam`; `x` has no gradient, as integers have none.

    Example:
        >>> import numpy as np, xpconv
        >>> model = xpconv.Sequential(xpconv.Flatten(), xpconv.Dense(8, 3, rng=0))
        >>> xpconv.inspection.saliency(model, np.zeros((5, 2, 2, 2), "float32"), target=1).shape
        (5, 2, 2)
    """
    (whole,) = _copy("saliency", model)
    dx = _gradient("saliency", whole, x, target)
    if isinstance(dx, tuple):
        dx = dx[0]
    if dx is None:
        raise DTypeError("saliency: x has no gradient, expected floating images")
    return abs(dx) if dx.ndim < 3 else abs(dx).max(axis=1)


def gradient_norms(model: Layer) -> dict[str, float]:
    """The norm of the gradient of each layer that has parameters: the root of the sum of all squares.

    Call it between backward and the next `zero_grad`. Layers whose parameters have no gradient are left out.

    Returns:
        the norms by the layers' names, from the input to the output.

    Raises:
        TypeError: `model` is not a layer.
        ValueError: no parameter has a gradient.

    Example:
        >>> import numpy as np, xpconv
        >>> model = xpconv.Sequential(xpconv.Dense(2, 2, bias=False, rng=0), xpconv.Dense(2, 1, rng=0))
        >>> y = model(np.ones((1, 2), "float32"))
        >>> _ = model.backward(np.ones_like(y))
        >>> list(xpconv.inspection.gradient_norms(model))
        ['0', '1']
    """
    _check_model("gradient_norms", model)
    squares: dict[str, Any] = {}
    for _, name, layer in model._as_they_run():
        for part in vars(layer).values():
            if isinstance(part, Parameter) and part.grad is not None:
                grad = part.grad.astype("float64")
                squares[name] = squares.get(name, 0) + (grad * grad).sum()
    if not squares:
        raise ValueError("gradient_norms: no parameter has a gradient; call it after model.backward")
    sums = list(squares.values())
    norms = asnumpy(get_xp(*sums).stack(sums)) ** 0.5  # one copy from the device
    return dict(zip(squares, norms.tolist(), strict=True))


def confusion_matrix(y_true: Any, y_pred: Any, classes: int | Sequence[str] | None = None) -> Array:
    """How often each class was taken for each other: `counts[i, j]` of class `i` were predicted as `j`.

    Args:
        y_true: the classes, `(N,)` whole numbers from 0; an array of any backend or a list.
        y_pred: the predicted classes, `(N,)`, or scores `(N, classes)`, of which the highest counts.
        classes: the number of classes, or their names; None takes the largest number that occurs, or the
            number of scores.

    Returns:
        a NumPy array of ints, `(classes, classes)`.

    Raises:
        TypeError, DTypeError: these are not whole numbers.
        ShapeError, ValueError: the lengths differ, or a number is out of range.

    Example:
        >>> import xpconv
        >>> xpconv.inspection.confusion_matrix([0, 1, 1, 2], [0, 1, 2, 2])
        array([[1, 0, 0],
               [0, 1, 1],
               [0, 0, 1]])
    """
    true, predicted = (on_host("confusion_matrix", n, y) for n, y in (("y_true", y_true), ("y_pred", y_pred)))
    width = predicted.shape[1] if predicted.ndim == 2 else 0
    if width:
        predicted = predicted.argmax(axis=1)
    for name, y in (("y_true", true), ("y_pred", predicted)):
        if y.ndim != 1:
            raise ShapeError(
                f"confusion_matrix: {name} has shape {y.shape}, expected (N,), classes by number"
            )
        if y.dtype.kind not in "iub" and y.size:
            raise DTypeError(f"confusion_matrix: {name} is {y.dtype}, expected whole numbers of classes")
    if len(true) != len(predicted):
        raise ShapeError(f"confusion_matrix: y_true has {len(true)} labels, y_pred {len(predicted)}")
    found = {
        name: (int(y.min()), int(y.max())) for name, y in (("y_true", true), ("y_pred", predicted)) if y.size
    }
    largest = max((high for _, high in found.values()), default=-1)
    if classes is None:
        count = max(width, largest + 1)
    elif is_sequence(classes):
        count = len(classes)
    else:
        count = to_size("confusion_matrix: classes", classes)
    for name, ends in found.items():
        for label in ends:
            if not 0 <= label < count:
                raise ValueError(
                    f"confusion_matrix: {name} has the class {label}, expected those of {count} classes, "
                    "from 0"
                )
    check_room("confusion_matrix: counts", (count, count), 8)
    pairs = true.astype("int64") * count + predicted.astype("int64")
    return get_xp(pairs).bincount(pairs, minlength=count * count).reshape(count, count)


def on_host(where: str, name: str, value: Any) -> Any:
    """A list, or an array of any backend, as a NumPy array of real numbers."""
    try:
        array = asarray(value, backend="numpy")
    except (BackendError, DTypeError, ShapeError) as error:
        raise type(error)(f"{where}: {name} is {shown(value)}: {error}") from None
    if array.dtype.kind not in "biuf":
        raise DTypeError(f"{where}: {name} is of {array.dtype}, expected real numbers")
    return array


def _check_model(where: str, model: Any) -> None:
    if not isinstance(model, Layer):
        raise TypeError(f"{where}: model is {shown(model)}, expected a Layer")


def _copy(where: str, model: Any, *chosen: Any) -> list[Any]:
    """A frozen copy of the model in inference mode, and its layers in the places of the `chosen` ones."""
    _check_model(where, model)
    copies: list[Any] = [twin(model).eval().requires_grad_(False)]
    for layer in chosen:
        place = _place(where, model, layer)
        copies.append(next(part for i, part in enumerate(copies[0].modules()) if i == place))
    return copies


def _place(where: str, model: Layer, layer: Any) -> int:
    """The number of a layer, given by itself or by name, in `model.modules()`."""
    if not isinstance(layer, Layer | str):
        raise TypeError(f"{where}: layer is {shown(layer)}, expected a layer of the model, or its name")
    names = []
    for i, (name, part) in enumerate(model.named_layers()):
        if part is layer or (isinstance(layer, str) and name == layer):
            return i
        names.append(name)
    if isinstance(layer, Layer):
        raise ValueError(f"{where}: layer {layer!r} is not in the model; give its name")
    close = get_close_matches(layer, names, 3) or [name for name in names if name][:8]
    raise ValueError(f"{where}: there is no layer {layer!r} in the model; there are {', '.join(close)}, …")


def _inputs(x: Any) -> tuple[Any, ...]:
    return tuple(x) if isinstance(x, tuple | list) else (x,)


def _gradient(where: str, model: Any, x: Any, target: Any) -> Any:
    """The gradient of the scores of `target` with respect to `x`."""
    y, tape = run_saving(True, model.record, *_inputs(x))
    first = first_array(x)
    if y.ndim < 2 or y.shape[0] != getattr(first, "shape", y.shape)[0]:
        raise ShapeError(
            f"{where}: the model gives shape {y.shape} for x of shape {first.shape}, expected scores "
            "(N, classes) of a batch; give one image as x[None]"
        )
    return model.pullback(tape, _towards(where, y, target))


def _towards(where: str, y: Array, target: Any) -> Array:
    """The gradient of the sum of the targets' scores with respect to all scores `y`."""
    xp = get_xp(y)
    count, classes = y.shape[:2]
    if target is None:
        chosen = y.argmax(axis=1)  # of each pixel, too, if they have scores
    elif hasattr(target, "shape") or is_sequence(target):
        numbers = on_host(where, "target", target)
        if numbers.dtype.kind not in "iu":
            raise DTypeError(f"{where}: target is {numbers.dtype}, expected whole numbers of classes")
        if numbers.shape != (count,):
            raise ShapeError(
                f"{where}: target has shape {numbers.shape}, expected one class for each of {count}"
            )
        bad = numbers[(numbers < 0) | (numbers >= classes)]
        if bad.size:
            raise ValueError(f"{where}: a target is {bad[0]}, expected 0 to {classes - 1}")
        chosen = backend_of(y).asarray(numbers).reshape(count, *(1,) * (y.ndim - 2))
    else:
        chosen = to_int(f"{where}: target", target, 0)
        if chosen >= classes:
            raise ValueError(f"{where}: target is {chosen}, expected 0 to {classes - 1}")
        chosen = xp.full((count, *(1,) * (y.ndim - 2)), chosen)
    places = xp.arange(classes).reshape(1, classes, *(1,) * (y.ndim - 2))
    return xp.broadcast_to(places == chosen[:, None], y.shape).astype(y.dtype)
