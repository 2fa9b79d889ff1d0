"""`graphed`: run the forward and the backward of a model as CUDA graphs, in an unchanged training loop."""

from __future__ import annotations

from typing import TypeVar

from ..arguments import shown
from ..layers.layer import Layer
from ..layers.replay import Replays

__all__ = ["graphed"]

Model = TypeVar("Model", bound=Layer)


def graphed(model: Model) -> Model:
    """Run forward and backward of `model` as CUDA graphs on a GPU; the training loop needs no change.

        model = xpconv.cuda.graphed(model)
        for x, y in batches:
            loss = criterion(model(x), y)
            optimizer.zero_grad()
            model.backward(criterion.backward(), input_grad=False)
            optimizer.step()

    In a plain loop with a small network, a GPU mostly waits for the host to launch its kernels. The first
    forward of a graphed model with inputs of some shape runs without a graph, the second is recorded as a
    CUDA graph, and each later one is a single launch of that graph. The same holds for the backward, which is
    recorded at its third call. There is a separate recording for other shapes, dtypes, memory orders, modes
    (`train`, `eval`, `no_grad`), frozen parameters and devices. The eight recordings that were used last are
    kept, each with the memory of its forward. All other calls run without a graph.

    The values are the same as without graphs. Outputs and gradients are copies, so you may keep them.
    Gradients accumulate as usual, BatchNorm updates its running statistics, and dropout draws a new mask in
    every call. After a change of the model (`to`, a new optimizer, other arrays, layers or settings,
    `manual_seed`), the next calls run without a graph, and are then recorded again.

    These run without a graph as well: a forward while the backwards of two earlier forwards have not been
    called yet, `model.record`, a model with hooks, and a model that another model calls. A layer of your own
    that reads values on the host, or copies arrays from the host, cannot be recorded: it runs without a
    graph, after a warning. Other Python code of your layers, such as a branch on a global variable, runs only
    during the recording. You may change attributes of your layers, which leads to a new recording.

    `xpconv.train.fit` and `evaluate` use CUDA graphs by themselves, and so does a model from `fuse()` under
    `no_grad()`. `xpconv.cuda.capture` records a whole step as one graph, which is faster still.

    On NumPy this function has no effect. Copies and unpickled copies of the model are graphed too.

    Args:
        model: any layer, on any backend, for inputs of any shape and dtype; it is changed in place.

    Returns:
        The same model.

    Raises:
        TypeError: `model` is not a layer.

    Example:
        >>> import numpy as np, xpconv
        >>> model = xpconv.cuda.graphed(xpconv.Dense(3, 2, rng=0))
        >>> model(np.zeros((4, 3), "float32")).shape
        (4, 2)
    """
    if not isinstance(model, Layer):
        raise TypeError(f"graphed: model is {shown(model)}, expected a layer")
    vars(model)["_replays"] = Replays()
    return model
