"""Losses: `loss = criterion(input, target)`, then `grad = criterion.backward()` for the model.

A loss stays on the device, as a 0-d array: read it (`float(loss)`) once per report, as that waits for
the GPU. Formulas are written for one element (or one sample) and then reduced.
"""

from .base import Loss
from .binary import BCELoss, BCEWithLogitsLoss, FocalLoss, HingeEmbeddingLoss, SoftMarginLoss
from .classification import (
    CrossEntropyLoss,
    DiceLoss,
    MultiMarginLoss,
    NLLLoss,
    SoftmaxCrossEntropyLoss,
)
from .ctc import CTCLoss
from .multilabel import MultiLabelMarginLoss, MultiLabelSoftMarginLoss
from .ranking import CosineEmbeddingLoss, MarginRankingLoss, TripletMarginLoss
from .regression import (
    GaussianNLLLoss,
    HuberLoss,
    KLDivLoss,
    L1Loss,
    MSELoss,
    PoissonNLLLoss,
    SmoothL1Loss,
)
from .targets import one_hot

__all__ = [
    "BCELoss",
    "BCEWithLogitsLoss",
    "CTCLoss",
    "CosineEmbeddingLoss",
    "CrossEntropyLoss",
    "DiceLoss",
    "FocalLoss",
    "GaussianNLLLoss",
    "HingeEmbeddingLoss",
    "HuberLoss",
    "KLDivLoss",
    "L1Loss",
    "Loss",
    "MSELoss",
    "MarginRankingLoss",
    "MultiLabelMarginLoss",
    "MultiLabelSoftMarginLoss",
    "MultiMarginLoss",
    "NLLLoss",
    "PoissonNLLLoss",
    "SmoothL1Loss",
    "SoftMarginLoss",
    "SoftmaxCrossEntropyLoss",
    "TripletMarginLoss",
    "one_hot",
]
