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

from importlib import import_module
from typing import TYPE_CHECKING

from . import errors, init
from .array_library import *
from .arrays import *
from .backend import *
from .explain import *
from .kernels import *
from .kernels.exact import *
from .layers import *
from .losses import *
from .optim import *
from .parameter import *
from .random import *
from .tape import *

__version__ = "0.1.0"

_ROOMS = (
    "cuda",
    "data",
    "distributed",
    "functional",
    "inspection",
    "models",
    "onnx",
    "plot",
    "sklearn",
    "testing",
    "train",
)  # imported at first use
_LATER = ("load", "load_model", "save", "save_model")  # from `files`, which is imported at first use

if not TYPE_CHECKING:  # type checkers read the star imports
    __all__ = [
        name for name, thing in globals().items() if getattr(thing, "__module__", "").startswith(__name__)
    ]
    __all__ += ["data", "errors", "init", *_LATER]

_ELSEWHERE = {  # what PyTorch has under another name
    "DataLoader": "use xpconv.data.batches(x, y, batch_size, shuffle=True)",
    "Module": "the base of layers is xpconv.Layer",
    "Tensor": "arrays are NumPy's or CuPy's; xpconv.asarray makes one",
    "autocast": "use model.to(dtype='float16') and xpconv.GradScaler",
    "cat": "use xpconv.get_xp().concatenate; as layers xpconv.layers.operators.Concatenate(axis=1) joins the "
    "inputs of a node in a Graph, and xpconv.Concat the outputs of branches of one input",
    "compile": "models run as they are; for inference use model.fuse()",
    "datasets": "use xpconv.data: load_mnist, load_cifar10, image_folder",
    "device": "use xpconv.set_backend('cupy'), or model.to('cupy')",
    "enable_grad": "leave the block of xpconv.no_grad()",
    "evaluate": "use xpconv.train.evaluate(model, loss, batches)",
    **dict.fromkeys(
        ("Checkpoint", "EarlyStopping", "callbacks"), "use xpconv.train.EarlyStopping and others"
    ),
    **dict.fromkeys(("accuracy", "metrics"), "give metrics=['accuracy'] to xpconv.train.fit or evaluate"),
    "loss": "losses are here: xpconv.MSELoss",
    "Dataset": "any object with __len__ and __getitem__ is a data set for xpconv.data.batches",
    "lr_scheduler": "schedules are here: xpconv.StepLR",
    "Model": "use xpconv.Sequential, or derive from xpconv.Layer",
    "relu": "call a layer, xpconv.ReLU()(x), or the function xpconv.functional.relu(x)",
    "softmax": "call a layer, xpconv.Softmax(1)(x), or the function xpconv.functional.softmax(x, 1)",
    "summary": "use model.summary(input_shape)",
    "load_state_dict": "use model.load_state_dict(state)",
    "fit": "use xpconv.train.fit(model, loss, optimizer, batches, epochs=…)",
    "from_numpy": "use xpconv.asarray(array)",
    "inference_mode": "use xpconv.no_grad(), and model.eval()",
    "nn": "layers and losses are here: xpconv.Conv2d, xpconv.MSELoss; its functions in xpconv.functional",
    "ones": "use xpconv.get_xp().ones(shape, dtype='float32')",
    "Pooling": "use xpconv.MaxPool2d or xpconv.AvgPool2d",
    "predict": "use xpconv.train.predict(model, x)",
    "rand": "use xpconv.asarray(numpy.random.default_rng(seed).random(shape, dtype='float32'))",
    "randn": "use xpconv.asarray(numpy.random.default_rng(seed).standard_normal(shape, dtype='float32'))",
    "set_grad_enabled": "use xpconv.no_grad()",
    "stack": "use xpconv.get_xp().stack",
    "tensor": "use xpconv.asarray(values, dtype='float32')",
    "utils": "use xpconv.data.batches, xpconv.clip_grad_norm_",
    "transforms": "use xpconv.data.transforms",
    "zeros": "use xpconv.get_xp().zeros(shape, dtype='float32')",
}

if TYPE_CHECKING:
    from . import cuda as cuda
    from . import data as data
    from . import distributed as distributed
    from . import functional as functional
    from . import inspection as inspection
    from . import models as models
    from . import onnx as onnx
    from . import plot as plot
    from . import sklearn as sklearn
    from . import testing as testing
    from . import train as train
    from .files import load as load
    from .files import load_model as load_model
    from .files import save as save
    from .files import save_model as save_model
else:

    def __getattr__(name):
        """`xpconv.data`, `.models` and others, and what `.files` has: imported at first use."""
        if name in _LATER:
            return getattr(import_module(f"{__name__}.files"), name)
        if name in _ROOMS:
            return import_module(f"{__name__}.{name}")
        hint = f"; {_ELSEWHERE[name]}" if name in _ELSEWHERE else ""
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}{hint}")

    def __dir__():
        hidden = (name for name in globals() if name.startswith("__"))
        return sorted({*__all__, *_ROOMS, "layers", "losses", "optim", *hidden})
