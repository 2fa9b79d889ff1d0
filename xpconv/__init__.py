"""xpconv: CNN layers with hand-written forward and backward, one source for NumPy and CuPy.

A model and its training, whole:

    import xpconv
    from xpconv import Conv2d, Dense, Flatten, MaxPool2d, ReLU, Sequential

    model = Sequential(Conv2d(1, 8, 3), ReLU(), MaxPool2d(2), Flatten(), Dense(8 * 13 * 13, 10))
    criterion = xpconv.SoftmaxCrossEntropyLoss()
    optimizer = xpconv.Adam(model.parameters(), lr=1e-3)

    for x, y in xpconv.data.batches(images, labels, 64, shuffle=True, seed=0):
        loss = criterion(model(x), y)
        optimizer.zero_grad()
        model.backward(criterion.backward(), input_grad=False)
        optimizer.step()
"""

from . import data, errors, init
from .backend import (
    asarray,
    asnumpy,
    get_backend,
    get_xp,
    register_backend,
    set_backend,
    use_backend,
)
from .layers import (
    AvgPool2d,
    BatchNorm2d,
    Concat,
    Conv2d,
    Dense,
    Dropout,
    Flatten,
    Layer,
    Linear,
    MaxPool2d,
    Parallel,
    Parameter,
    ReLU,
    Residual,
    Sequential,
    Sigmoid,
    Tanh,
    no_grad,
)
from .losses import BCEWithLogitsLoss, CrossEntropyLoss, Loss, MSELoss, SoftmaxCrossEntropyLoss
from .optim import (
    LAMB,
    LARS,
    SGD,
    Adagrad,
    Adam,
    AdamW,
    CosineAnnealingLR,
    CosineAnnealingWarmRestarts,
    ExponentialLR,
    ExponentialMovingAverage,
    LinearLR,
    Lion,
    LRScheduler,
    MultiStepLR,
    NAdam,
    OneCycleLR,
    Optimizer,
    RAdam,
    ReduceLROnPlateau,
    RMSprop,
    StepLR,
    clip_grad_norm_,
    clip_grad_value_,
)
from .random import manual_seed

__version__ = "0.1.0"

__all__ = [
    "LAMB",
    "LARS",
    "SGD",
    "Adagrad",
    "Adam",
    "AdamW",
    "AvgPool2d",
    "BCEWithLogitsLoss",
    "BatchNorm2d",
    "Concat",
    "Conv2d",
    "CosineAnnealingLR",
    "CosineAnnealingWarmRestarts",
    "CrossEntropyLoss",
    "Dense",
    "Dropout",
    "ExponentialLR",
    "ExponentialMovingAverage",
    "Flatten",
    "LRScheduler",
    "Layer",
    "Linear",
    "LinearLR",
    "Lion",
    "Loss",
    "MSELoss",
    "MaxPool2d",
    "MultiStepLR",
    "NAdam",
    "OneCycleLR",
    "Optimizer",
    "Parallel",
    "Parameter",
    "RAdam",
    "RMSprop",
    "ReLU",
    "ReduceLROnPlateau",
    "Residual",
    "Sequential",
    "Sigmoid",
    "SoftmaxCrossEntropyLoss",
    "StepLR",
    "Tanh",
    "asarray",
    "asnumpy",
    "clip_grad_norm_",
    "clip_grad_value_",
    "data",
    "errors",
    "get_backend",
    "get_xp",
    "init",
    "manual_seed",
    "no_grad",
    "register_backend",
    "set_backend",
    "use_backend",
]
