"""`evaluate`: the loss and the metrics of a model on a data set."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from ..backend import Backend
from ..data.batches import batches
from ..layers.layer import Layer
from ..layers.replay import replaying
from ..signatures import hinted
from ..tape import no_grad
from .meter import Meter
from .metric_names import to_metrics
from .objective import Objective, backend_of_model, check_inputs, checked_data, checked_model, fed, length_of
from .progress import bar
from .run import modes_restored

__all__ = ["evaluate"]

BATCH = 128  # samples of arrays that go through the model at once


@hinted(
    "evaluate",
    {
        "batch_size": "it is an argument of xpconv.data.batches, which data may be",
        "*": "give arrays as a tuple: evaluate(model, loss, (x, y))",
    },
)
def evaluate(
    model: Layer,
    loss: Any,
    data: Iterable[Any],
    *,
    metrics: Any = (),
    inputs: int = 1,
    sample_weight: bool = False,
    verbose: bool | None = None,
) -> dict[str, float]:
    """The loss and the metrics of a model over all samples of a data set, in inference mode.

    Nothing is saved for backward, and each layer has its own mode again afterwards.

    Args:
        model: the model.
        loss: as for `fit`; None for metrics alone.
        data: a tuple of arrays `(x, y)`, of which the model gets 128 samples at a time; or iterates
            over batches of them, as for `fit`.
        metrics, inputs, sample_weight: as for `fit`.
        verbose: whether to show a progress bar; None shows it on a terminal or in a notebook.

    Returns:
        the values by name: `{"loss": …, "accuracy": …}`.

    Raises:
        TypeError, ValueError: an argument is wrong, or there are no batches.

    Example:
        >>> import numpy as np, xpconv
        >>> model = xpconv.Flatten()
        >>> data = xpconv.data.batches(np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]), np.array([0, 0, 1]), 2)
        >>> found = xpconv.train.evaluate(model, xpconv.SoftmaxCrossEntropyLoss(), data, metrics=["accuracy"])
        >>> {name: round(value, 4) for name, value in found.items()}
        {'loss': 0.6466, 'accuracy': 0.6667}
        >>> x, y = np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([0, 1])
        >>> xpconv.train.evaluate(model, None, (x, y), metrics=["accuracy"])
        {'accuracy': 1.0}
    """
    where = "evaluate"
    model = checked_model(where, model)
    objective = Objective(where, loss, inputs, sample_weight)
    check_inputs(where, model, objective.inputs, f"inputs is {objective.inputs}")
    if isinstance(data, tuple) and data and all(hasattr(part, "shape") for part in data):
        data = batches(*data, batch_size=BATCH)
    data = checked_data(where, "data", data)
    measured = to_metrics(where, metrics, loss)
    if loss is None and not measured:
        raise ValueError(f"{where}: loss is None and there are no metrics, so there is nothing to compute")
    backend = backend_of_model(model)
    meter = Meter(objective, measured, backend)
    with modes_restored(model), replaying(model):
        model.eval()
        shown = bar(where, fed(data, backend), length_of(data), verbose)
        measure(model, meter, shown, backend, "data", lambda: False)
    return meter.values()


def measure(
    model: Layer,
    meter: Meter,
    data: Iterable[Any],
    backend: Backend,
    source: str,
    stopped: Callable[[], bool],
) -> bool:
    """Add up the batches of `data` in `meter`; False if `stopped()` has become true."""
    empty = True
    with no_grad():
        for batch in data:
            arrays = meter.objective.checked(batch, backend, source)
            meter.add(model(*arrays[: meter.objective.inputs]), arrays)
            empty = False
            if stopped():
                return False
    if empty:
        raise ValueError(
            f"{meter.objective.where}: {source} gave no batches; a generator gives its batches only once"
        )
    return True
