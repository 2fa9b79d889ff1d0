"""Optimizers, schedules, clipping and weight averages, with PyTorch's names, defaults and formulas.

All parameters of an optimizer move into one flat buffer (`Parameter.data` becomes a view), and each step
copies their gradients into another, so that it is a few operations on long vectors instead of
many on short ones: on a GPU a handful of launches, whatever the depth of the model.
"""

from .adam import Adam, Adamax, AdamW, NAdam, RAdam
from .adaptive import Adadelta, Adagrad, RMSprop
from .base import Optimizer
from .clip import clip_grad_norm_, clip_grad_value_
from .composed import ChainedScheduler, SequentialLR
from .ema import ExponentialMovingAverage
from .large_batch import LAMB, LARS, Lion
from .one_cycle import OneCycleLR
from .plateau import ReduceLROnPlateau
from .rates import (
    CosineAnnealingLR,
    CosineAnnealingWarmRestarts,
    ExponentialLR,
    LambdaLR,
    LinearLR,
    MultiStepLR,
    StepLR,
)
from .scaler import GradScaler
from .schedule import LRScheduler
from .sgd import SGD

__all__ = [
    "LAMB",
    "LARS",
    "SGD",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "ChainedScheduler",
    "CosineAnnealingLR",
    "CosineAnnealingWarmRestarts",
    "ExponentialLR",
    "ExponentialMovingAverage",
    "GradScaler",
    "LRScheduler",
    "LambdaLR",
    "LinearLR",
    "Lion",
    "MultiStepLR",
    "NAdam",
    "OneCycleLR",
    "Optimizer",
    "RAdam",
    "RMSprop",
    "ReduceLROnPlateau",
    "SequentialLR",
    "StepLR",
    "clip_grad_norm_",
    "clip_grad_value_",
]
