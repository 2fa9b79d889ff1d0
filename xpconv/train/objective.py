"""What a batch is made of, and the loss of a model on it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from inspect import signature
from typing import Any

from ..arguments import shown, to_bool, to_size
from ..arrays import asarray
from ..backend import Array, Backend, backend_of
from ..data.batches import batches
from ..data.prefetch import prefetch
from ..errors import BackendError, ShapeError
from ..layers.layer import Layer
from ..losses import Loss
from ..optim import Optimizer

Batch = tuple[Array, ...]


class Objective:
    """A loss, and which arrays of a batch are inputs, targets and sample weights.

    A batch is `(*inputs, *targets)`, or `(*inputs, *targets, weight)` with `sample_weight`.
    """

    def __init__(self, where: str, loss: Any, inputs: Any, sample_weight: Any) -> None:
        self.where = where
        self.loss = loss
        self.may_be_empty = False  # batches: the part of one of several processes
        self.inputs: int = to_size(f"{where}: inputs", inputs)
        if hasattr(sample_weight, "shape") or isinstance(sample_weight, list | tuple):
            raise TypeError(
                f"{where}: sample_weight is {named_kind(sample_weight)}, expected True or False; put the "
                "weights last: xpconv.data.batches(x, y, weight, batch_size=64), and give sample_weight=True"
            )
        self.weighted: bool = to_bool(f"{where}: sample_weight", sample_weight)
        self.reduction: str = str(getattr(loss, "reduction", "mean"))
        if loss is None:
            return
        if isinstance(loss, type):
            raise TypeError(f"{where}: loss is the class {loss.__name__}; give {loss.__name__}()")
        if isinstance(loss, Layer | Optimizer) or not callable(loss) or not hasattr(loss, "backward"):
            hint = ""
            if isinstance(loss, Layer | Optimizer):
                hint = f"; the order is {where}(model, loss, {'optimizer, ' * (where != 'evaluate')}data)"
            raise TypeError(
                f"{where}: loss is {named(loss)}, expected a loss such as xpconv.SoftmaxCrossEntropyLoss(), "
                f"or an object that is called with output and target and has backward(){hint}"
            )
        if self.reduction not in ("mean", "sum", "batchmean"):
            raise ValueError(f"{where}: loss has reduction={self.reduction!r}, expected 'mean' or 'sum'")
        kind = type(loss)
        self._ours = isinstance(loss, Loss) and (
            kind.forward is Loss.forward and kind.__call__ is Loss.__call__ and "forward" not in vars(loss)
        )
        if self.weighted and not self._ours:
            raise TypeError(
                f"{where}: sample_weight needs a loss of xpconv, which {kind.__name__} is not; without "
                "sample_weight the last array of a batch is passed to the loss with the targets"
            )

    def split(self, batch: Batch) -> tuple[Batch, Batch, Array | None]:
        """Inputs, targets and the weight of a batch."""
        end = len(batch) - self.weighted
        return batch[: self.inputs], batch[self.inputs : end], batch[end] if self.weighted else None

    def __call__(self, output: Array, targets: Batch, weight: Array | None, samples: int) -> tuple[Any, Any]:
        """The loss of a batch, a number on the device, and the divisor of its mean."""
        if self._ours:
            loss, count = self.loss._measured((output, *targets), weight)
            return loss, samples if self.reduction == "sum" else count
        return self.loss(output, *targets), samples

    def gradient(self, factor: Any, loss: Any) -> Array:
        """The gradient of the latest loss with respect to the output, times `factor`."""
        if isinstance(factor, float) and factor == 1.0:
            grad = self.loss.backward()
        else:
            if hasattr(factor, "astype"):
                dtype = getattr(loss, "dtype", factor.dtype)
                factor = factor.astype("float32" if dtype.itemsize == 2 else dtype, copy=False)
            grad = self.loss.backward(factor)
        return grad[0] if isinstance(grad, tuple) else grad

    def checked(self, batch: Any, backend: Backend, source: str) -> Batch:
        """A batch from the argument `source` as a tuple of arrays on the model's backend, if it is one."""
        if not isinstance(batch, tuple | list):
            kind = f"an array of shape {tuple(batch.shape)}" if hasattr(batch, "shape") else shown(batch)
            raise TypeError(
                f"{self.where}: {source} gave {kind}, expected a tuple of arrays for each batch, such as "
                f"(x, y); for arrays give xpconv.data.batches(x, y, batch_size)"
            )
        needed = self.inputs + 1 + self.weighted
        if len(batch) < needed:
            parts = f"{self.inputs} input{'s' * (self.inputs > 1)}" + ", a target"
            parts += ", the sample weights" * self.weighted
            raise ShapeError(
                f"{self.where}: {source} gave a batch of {len(batch)} arrays, expected at least {needed}: "
                f"{parts}"
            )
        self._check_targets(len(batch) - self.inputs - self.weighted, source)
        arrays = []
        for i, array in enumerate(batch):
            if type(array) is not backend.array_type:
                if not hasattr(array, "shape"):
                    raise TypeError(
                        f"{self.where}: {source} gave a batch with {shown(array)} at place {i}, expected an "
                        "array"
                    )
                array = asarray(array, backend=backend.name)
            arrays.append(array)
        sizes = {array.shape[:1] for array in arrays[: self.inputs]}
        if len(sizes) > 1 or () in sizes:
            shapes = ", ".join(str(tuple(array.shape)) for array in arrays[: self.inputs])
            raise ShapeError(
                f"{self.where}: {source} gave inputs of shapes {shapes}, expected equal lengths along the "
                "first axis"
            )
        if sizes == {(0,)} and not self.may_be_empty:
            raise ShapeError(f"{self.where}: {source} gave a batch of no samples")
        return tuple(arrays)

    def _check_targets(self, count: int, source: str) -> None:
        if self.loss is None or not self._ours or count == len(self.loss.names) - 1:
            return
        raise ShapeError(
            f"{self.where}: {source} gave batches of {self.inputs} input{'s' * (self.inputs > 1)} and "
            f"{count} targets{' besides the weights' * self.weighted}, but {type(self.loss).__name__} takes "
            f"{', '.join(self.loss.names)}; sample weights need sample_weight=True, several inputs inputs=2"
        )


def named_kind(value: Any) -> str:
    """The text for what should be no array or list, without its values."""
    if not hasattr(value, "shape"):
        return f"a {type(value).__name__}"
    return f"an array of shape {tuple(value.shape)}" if value.shape else shown(value)


def checked_model(where: str, model: Any) -> Layer:
    """`model`, if it is a layer."""
    if isinstance(model, type) and issubclass(model, Layer):
        raise TypeError(f"{where}: model is the class {model.__name__}; give {model.__name__}(…)")
    if not isinstance(model, Layer):
        raise TypeError(f"{where}: model is {named(model)}, expected a Layer; the model comes first")
    return model


def check_inputs(where: str, model: Layer, count: int, given: str) -> None:
    """Raise an error if the model's forward does not take `count` inputs; `given` says why."""
    parameters = signature(model.forward)
    try:
        parameters.bind(*[None] * count)
    except TypeError:
        takes = ", ".join(parameters.parameters)
        raise TypeError(
            f"{where}: {given}, so the model gets {count} input{'s' * (count > 1)}, but "
            f"{type(model).__name__}.forward takes ({takes})"
        ) from None


def named(thing: Any) -> str:
    """The text for a model, loss or optimizer in an error, whose repr may be long."""
    known = isinstance(thing, Layer | Loss | Optimizer)
    return f"of type {type(thing).__name__}" if known else shown(thing)


def backend_of_model(model: Layer) -> Backend:
    """The backend of the model's parameters; the active one if it has none."""
    parameters = [p.data for _, p in model._named_parameters()]
    try:
        return backend_of(*parameters)
    except BackendError as error:
        raise BackendError(f"the model has parameters on several backends: {error}") from None


def checked_data(where: str, source: str, data: Any, epochs: int = 1) -> Any:
    """`data`, if it can be iterated, and more than once where that is needed."""
    if isinstance(data, str | bytes | dict) or not isinstance(data, Iterable):
        raise TypeError(
            f"{where}: {source} is {shown(data)}, expected something that iterates over batches, such as "
            "xpconv.data.batches(x, y, 64)"
        )
    if hasattr(data, "shape"):
        raise TypeError(
            f"{where}: {source} is an array, expected something that iterates over batches of inputs and "
            "targets, such as xpconv.data.batches(x, y, 64)"
        )
    if isinstance(data, tuple) and data and all(hasattr(part, "shape") for part in data):
        raise TypeError(
            f"{where}: {source} is a tuple of arrays, expected something that iterates over batches: "
            "xpconv.data.batches(x, y, 64)"
        )
    if epochs > 1 and isinstance(data, Iterator):
        raise TypeError(
            f"{where}: {source} is a {type(data).__name__}, which can be iterated only once, but there are "
            f"{epochs} epochs; give xpconv.data.batches, a list, or an object whose __iter__ begins again"
        )
    return data


def fed(data: Iterable[Any], backend: Backend) -> Iterable[Any]:
    """`data`; from the host to a GPU, each batch is copied during the step before."""
    on_gpu = hasattr(backend.xp, "cuda") and backend_of() is backend
    return prefetch(data) if on_gpu and isinstance(data, batches) and data._source.on_host else data


def length_of(data: Any) -> int | None:
    """The number of batches, if it is known."""
    try:
        return len(data)
    except TypeError:
        return None
