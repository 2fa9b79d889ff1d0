"""Exponential moving average of a model's weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ..arguments import shown, to_float
from ..arraylike import writable
from ..arrays import asarray
from ..backend import Array, backend_of, get_xp, ignore_underflow
from ..errors import StateDictError
from ..layers.layer import Layer
from ..locks import replacing
from ..ops.optim import follow_all
from ..signatures import public_errors
from ..sums import widened
from .values import as_array, misfit

__all__ = ["ExponentialMovingAverage"]


@public_errors
class ExponentialMovingAverage:
    """Polyak averages of a model's parameters: `average = decay · average + (1 - decay) · value`.

    Call `update()` after each `optimizer.step()`; evaluate inside `with ema.average_parameters():`, in which
    the model has the averaged parameters, and after which it has its own again. Buffers (running statistics)
    are not averaged; inside the block they have the model's latest values. The averages of float16 and
    bfloat16 parameters are float32.

    Args:
        model: the model whose parameters to average; the averages start at its present values.
        decay: 0 (the averages equal the latest values) to 1 (they never change).

    Attributes:
        averages: the averages, by the parameters' names.

    Example:
        >>> import xpconv
        >>> model = xpconv.Dense(1, 1)
        >>> ema = xpconv.ExponentialMovingAverage(model, decay=0.9)
        >>> model.weight.data += 1.0
        >>> ema.update()
        >>> here = model.weight.data.copy()
        >>> with ema.average_parameters():
        ...     round(float((here - model.weight.data)[0, 0]), 3)
        0.9
        >>> ema
        ExponentialMovingAverage(Dense(1, 1), decay=0.9)
    """

    decay: float
    averages: dict[str, Array]

    def __init__(self, model: Layer, decay: float = 0.999) -> None:
        if not isinstance(model, Layer):
            raise TypeError(f"ExponentialMovingAverage: model is {shown(model)}, expected a Layer")
        model.parameters()  # raises an error if a lazy layer has not made its parameters yet
        self.model = model
        self.decay = _checked_decay(decay)
        self.averages = {name: widened(p.data).copy(order="K") for name, p in model.named_parameters()}

    def update(self) -> None:
        """Move the averages towards the model's present parameters.

        Raises:
            RuntimeError: the model has other parameters than when the averages were made.
        """
        share = 1 - _checked_decay(self.decay)
        pairs = list(self._pairs("update"))
        averages, values = [average for average, _ in pairs], [data for _, data in pairs]
        xp = get_xp(*averages[:1])
        with ignore_underflow(xp):
            follow_all(xp, averages, values, share)

    @contextmanager
    def average_parameters(self) -> Iterator[Layer]:
        """Within this block the model has the averaged parameters.

        A forward in another thread, in inference mode, has all of them or none: one that meets the change
        runs again. The block changes the parameters twice, so a forward has its backward on the same side of
        its beginning and of its end.
        """
        pairs = list(self._pairs("average_parameters"))
        own = [data.copy() for _, data in pairs]
        parameters = [p for _, p in self.model._named_parameters()]
        try:
            with ignore_underflow(get_xp(*own[:1])), replacing():
                for (average, _), parameter in zip(pairs, parameters, strict=True):
                    parameter._write(average)
            yield self.model
        finally:
            with replacing():
                for parameter, value in zip(parameters, own, strict=True):
                    parameter._write(value)

    def state_dict(self) -> dict[str, Any]:
        """`{"decay": …, "averages": {name: array}}`; the arrays are copies.

        Example:
            >>> import xpconv
            >>> ema = xpconv.ExponentialMovingAverage(xpconv.Dense(1, 1), decay=0.9)
            >>> state = ema.state_dict()
            >>> state["decay"], list(state["averages"])
            (0.9, ['weight', 'bias'])
        """
        return {"decay": self.decay, "averages": {name: a.copy() for name, a in self.averages.items()}}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Load what `state_dict` returned; its arrays may be of any backend or PyTorch's tensors.

        Raises:
            StateDictError: (a ValueError) it is of another model; nothing has changed then.

        Example:
            >>> import xpconv
            >>> a, b = (xpconv.ExponentialMovingAverage(xpconv.Dense(1, 1)) for _ in range(2))
            >>> b.load_state_dict(a.state_dict())
            >>> bool((a.averages["weight"] == b.averages["weight"]).all())
            True
        """
        where = "ExponentialMovingAverage.load_state_dict"
        found = state_dict.get("averages") if isinstance(state_dict, Mapping) else None
        if not isinstance(found, Mapping) or "decay" not in state_dict:
            raise StateDictError(
                f"{where}: state_dict is {shown(state_dict)}, expected a mapping with 'decay' and "
                "'averages', as state_dict() returns"
            )
        decay = _checked_decay(state_dict["decay"])
        missing, unexpected = sorted(set(self.averages) - set(found)), sorted(set(found) - set(self.averages))
        if missing or unexpected:
            raise StateDictError(
                f"{where}: the state is of another model: missing {missing[:5]}, unexpected {unexpected[:5]}"
            )
        new = {}
        for name, average in self.averages.items():
            value = as_array(found[name])
            problem = misfit(value, average.shape)
            if problem:
                raise StateDictError(f"{where}: {name} {problem}")
            new[name] = asarray(value, average.dtype, backend=backend_of(average).name)
        self.decay = decay
        for name, average in self.averages.items():
            average[...] = new[name]

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self.averages = {name: writable(average) for name, average in self.averages.items()}

    def _pairs(self, where: str) -> Iterator[tuple[Array, Array]]:
        """Each average, and the data of its parameter."""
        named = dict(self.model.named_parameters())
        for name in {**self.averages, **named}:
            average, parameter = self.averages.get(name), named.get(name)
            if average is not None and parameter is not None:
                data = parameter.data
                if backend_of(data) is backend_of(average) and data.shape == average.shape:
                    yield average, data
                    continue
            raise RuntimeError(
                f"ExponentialMovingAverage.{where}: parameter {name} has changed since the averages were "
                "made: a layer was replaced, or the model was moved to another backend; make new averages"
            )

    def __repr__(self) -> str:
        model = repr(self.model) if "\n" not in repr(self.model) else type(self.model).__name__
        return f"ExponentialMovingAverage({model}, decay={self.decay})"


def _checked_decay(decay: Any) -> float:
    value = to_float("ExponentialMovingAverage: decay", decay)
    if not 0 <= value <= 1:
        raise ValueError(f"ExponentialMovingAverage: decay is {decay}, expected a number from 0 to 1")
    return value
