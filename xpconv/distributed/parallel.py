"""`parallel`: processes that train one model together, each on its part of every batch."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any
from zlib import crc32

from ..arguments import shown
from ..errors import DistributedError
from ..layers.layer import Layer
from ..layers.norm import _BatchNorm
from ..layers.settings import note_change
from ..optim import Optimizer
from .communicator import Communicator
from .seeds import separate_seeds

__all__ = ["parallel"]


def parallel(model: Layer, optimizer: Optimizer, communicator: Communicator | None = None) -> Communicator:
    """Train `model` in all processes together: each computes the gradients of its part of a batch.

    Call it in each process, after the model and the optimizer are made and before the loop, which stays as
    it is. Start it by `mpiexec -n 4 python3 train.py`:

        communicator = xpconv.distributed.parallel(model, optimizer)
        for x, y in xpconv.distributed.share(batches):
            loss = criterion(model(x), y)
            optimizer.zero_grad()
            model.backward(criterion.backward(), input_grad=False)
            optimizer.step()

    - Now, parameters and buffers become those of rank 0.
    - At the end of each `model.backward`, the gradients become their means over all processes, by one
      all-reduce. What comes after it, such as `clip_grad_norm_` and `GradScaler`, is the same in all, so that
      the parameters remain equal. Where the processes' parts of a batch have different sizes, multiply the
      gradient of the loss by `n · size / total`, with `n` samples here and `total` in all, as `train.fit`
      does; without that it is the mean of the processes' means.
    - In training mode, BatchNorm uses mean and variance of the samples of all processes.
    - Dropout in the processes above rank 0 gets seeds of its own, which follow from the random state of rank
      0: after `set_rng_state` to that of a checkpoint, call this again. `train.fit` does so in each epoch.

    Copies and pickles of the model are no longer parallel: call it for them again. With one process nothing
    changes.

    Args:
        model: of the same layers in all processes.
        optimizer: of parameters of `model`.
        communicator: None makes one.

    Returns:
        the communicator.

    Raises:
        TypeError: an argument is of another type.
        ValueError: the optimizer has parameters that are not the model's.
        DistributedError: (a RuntimeError) the models, optimizers or their settings differ.
        ImportError: there are several processes, and mpi4py is missing.

    Example:
        >>> import xpconv
        >>> model = xpconv.Dense(3, 2)
        >>> optimizer = xpconv.SGD(model.parameters(), lr=0.1)
        >>> xpconv.distributed.parallel(model, optimizer).size
        1
    """
    join(model, optimizer, communicator := checked(model, optimizer, communicator))
    if communicator.size > 1:
        vars(model)["_after_backward"] = partial(_each, [*_others(model, optimizer), optimizer])
    return communicator


def _each(optimizers: list[Optimizer]) -> None:
    """Average the gradients of several optimizers of one model."""
    for optimizer in optimizers:
        optimizer._average()


def _others(model: Layer, optimizer: Optimizer) -> list[Optimizer]:
    """Optimizers of earlier calls with this model."""
    before = vars(model).get("_after_backward")
    return [] if before is None else [other for other in before.args[0] if other is not optimizer]


def checked(model: Any, optimizer: Any, communicator: Any) -> Communicator:
    """The communicator, if the arguments of `parallel` are right."""
    if not isinstance(model, Layer):
        raise TypeError(f"parallel: model is {shown(model)}, expected a Layer")
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"parallel: optimizer is {shown(optimizer)}, expected an Optimizer")
    if communicator is not None and not isinstance(communicator, Communicator):
        raise TypeError(f"parallel: communicator is {shown(communicator)}, expected a Communicator or None")
    own = {id(parameter) for _, parameter in model._named_parameters()}
    if any(id(parameter) not in own for parameter in optimizer._params):
        raise ValueError(
            "parallel: optimizer has parameters that are not the model's; give the model that has all of "
            "them, such as a Sequential of several, or make the optimizer with model.parameters()"
        )
    return communicator or Communicator()


def join(model: Layer, optimizer: Optimizer, communicator: Communicator) -> Callable[[], None]:
    """Make the processes' models and optimizers one; returns a function that makes them separate again."""
    if communicator.size == 1:
        return lambda: None
    _compare(model, optimizer, communicator)
    for array in model._state().values():
        communicator.broadcast(array)
    communicator.start(optimizer._data)
    separate_seeds(model, communicator)
    norms = [layer for _, layer in model.named_layers() if isinstance(layer, _BatchNorm)]
    for layer in norms:
        vars(layer)["_communicator"] = communicator
    note_change()
    names = {id(parameter): name for name, parameter in model._named_parameters()}
    optimizer._averaging = Averaging(communicator, [names[id(p)] for p in optimizer._params])

    def separate() -> None:
        for layer in norms:
            vars(layer).pop("_communicator", None)
        note_change()
        optimizer._averaging = None

    return separate


def _compare(model: Layer, optimizer: Optimizer, communicator: Communicator) -> None:
    """Raise an error in all processes unless model and optimizer are alike in them."""
    lines = [f"{name}: {array.dtype} {tuple(array.shape)}" for name, array in model._state().items()]
    for group in optimizer.param_groups:
        settings = {name: value for name, value in group.items() if name != "params"}
        lines.append(f"{type(optimizer).__name__} of {len(group['params'])} parameters, {settings}")
    lines += [f"{name} is frozen" for name, p in model._named_parameters() if not p.requires_grad]
    communicator.meet("compare the models")
    all_lines = communicator.of_all(lines)
    for rank, other in enumerate(all_lines):
        if other != all_lines[0]:
            pairs = zip([*all_lines[0], "nothing"], [*other, "nothing"], strict=False)
            first, second = next(pair for pair in pairs if pair[0] != pair[1])
            raise DistributedError(
                f"parallel: the models or optimizers differ: rank 0 has {first}, and rank {rank} has {second}"
            )


class Averaging:
    """What an optimizer needs to average gradients: the communicator, and the names of the parameters."""

    communicator: Communicator
    names: list[str]

    def __init__(self, communicator: Communicator, names: list[str]) -> None:
        self.communicator, self.names = communicator, names

    def meet(self, present: list[bool]) -> None:
        """Raise an error in all processes if a parameter has a gradient in some only."""
        missing = [name for name, here in zip(self.names, present, strict=True) if not here]
        text = "average the gradients"
        if missing:
            more = f" and {len(missing) - 5} others" if len(missing) > 5 else ""
            text += f" without those of {', '.join(missing[:5])}{more} ({crc32(repr(missing).encode()):08x})"
        self.communicator.meet(text)

    def average(self, flat: Any) -> None:
        """The mean over all processes, in place."""
        self.communicator._sum(flat)
        flat /= self.communicator.size
