"""Models whose last layer applies what the loss applies too."""

from __future__ import annotations

from typing import Any

from ..layers import Layer, LogSigmoid, LogSoftmax, Sequential, Sigmoid, Softmax, Softmax2d
from ..losses import BCEWithLogitsLoss, FocalLoss, MultiLabelSoftMarginLoss, NLLLoss, SoftmaxCrossEntropyLoss

EXPECTED: dict[type, str] = {  # what a loss expects of the model
    SoftmaxCrossEntropyLoss: "scores, to which it applies softmax itself; leave that layer out",
    BCEWithLogitsLoss: "scores, to which it applies the sigmoid itself; leave that layer out",
    FocalLoss: "scores, to which it applies the sigmoid itself; leave that layer out",
    MultiLabelSoftMarginLoss: "scores, to which it applies the sigmoid itself; leave that layer out",
    NLLLoss: "logarithms of probabilities; end the model in LogSoftmax",
}
PROBABILITIES: tuple[type[Layer], ...] = (Softmax, Softmax2d, Sigmoid)
LOGARITHMS: tuple[type[Layer], ...] = (LogSoftmax, LogSigmoid)


def wrong_ending(model: Layer, loss: Any) -> str | None:
    """What is wrong if the last layer makes probabilities, but the loss expects scores; None if nothing is.

    LogSoftmax before cross-entropy is right: it changes no score's difference to the others.
    """
    last: Layer = model
    while isinstance(last, Sequential) and type(last).forward is Sequential.forward and len(last):
        last = last[-1]
    kind = type(loss)
    if kind not in EXPECTED:
        return None
    sigmoids = kind not in (SoftmaxCrossEntropyLoss, NLLLoss)
    if type(last) not in PROBABILITIES + LOGARITHMS * sigmoids:
        return None
    return f"the model ends in {type(last).__name__}, but {kind.__name__} expects {EXPECTED[kind]}"
