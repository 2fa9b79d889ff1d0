"""`graphed`: a model whose forward and backward a GPU runs from recorded CUDA graphs, in a plain loop."""

from __future__ import annotations

from typing import TypeVar

from ..arguments import shown
from ..layers.layer import Layer
from ..layers.replay import Replays

__all__ = ["graphed"]

Model = TypeVar("Model", bound=Layer)


def graphed(model: Model) -> Model:
    """Let a GPU run forward and backward of `model` from recorded CUDA graphs; the loop stays as it is.

        model = xpconv.cuda.graphed(model)
        for x, y in batches:
            loss = criterion(model(x), y)
            optimizer.zero_grad()
            model.backward(criterion.backward(), input_grad=False)
            optimizer.step()

    In a plain loop, a GPU mostly waits for the host to launch its kernels. Of a graphed model, the first
    forward with inputs of a kind runs as it is, the second is recorded, and from then on each is one launch;
    so is the backward, from its third time on. Another kind are other shapes, dtypes or memory orders, modes
    (`train`, `eval`, `no_grad`), frozen parameters, and devices. The eight recordings that were used last are
    kept, each with the memory of its forward; other calls run as they are.

    Values are those without graphs. Outputs and gradients are copies: you may keep them. Gradients add up as
    always, BatchNorm's running statistics are updated, and dropout draws a new mask in every call. After a
    change of the model (`to`, a new optimizer, assigned arrays, layers or settings, `manual_seed`), calls run
    as they are and are recorded again.

    As they are run also: calls while the backward of an earlier forward is still to come (more than one),
    `model.record`, a model with hooks, and one that another model calls. What cannot be recorded runs as it
    is, with a warning: layers of your own that read values on the host, or copy from it. Other Python code of
    your layers, such as a branch on a global variable, runs in the recording only; their attributes may
    change.

    `xpconv.train.fit` and `evaluate` do this by themselves, and so does a model from `fuse()` under
    `no_grad()`. A whole step as one graph, by `xpconv.cuda.capture`, is faster still.

    On NumPy it has no effect. Copies and pickles of the model are graphed too.

    Args:
        model: any layer; it is changed in place.

    Returns:
        the model.

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
