"""Data sets, folders of images, their parts and statistics, and mini-`batches`; `transforms` on request."""

from importlib import import_module
from typing import TYPE_CHECKING

from .batches import *
from .cifar import *
from .datasets import *
from .folder import *
from .idx import *
from .image_files import *
from .mnist import *
from .samplers import *
from .splits import *
from .statistics import *

if not TYPE_CHECKING:  # type checkers read the star imports
    __all__ = [
        name for name, thing in globals().items() if getattr(thing, "__module__", "").startswith(__name__)
    ]

_ELSEWHERE = {  # what PyTorch and torchvision have under another name
    "DataLoader": "use batches(x, y, 64, shuffle=True), or batches(data_set, 64)",
    "TensorDataset": "give the arrays to batches(x, y, 64)",
    **dict.fromkeys(("Dataset", "IterableDataset"), "any object with __len__ and __getitem__ is a data set"),
    "WeightedRandomSampler": "give sampler=BalancedSampler(labels) to batches; or an object with __len__ and "
    "indices(rng)",
    **dict.fromkeys(("RandomSampler", "SubsetRandomSampler"), "give shuffle=True to batches"),
    **dict.fromkeys(("ConcatDataset", "ChainDataset"), "concatenate the arrays"),
    "Subset": "index the arrays: x[indices]",
    "random_split": "use train_test_split",
    "MNIST": "use load_mnist()",
    "FashionMNIST": "use load_fashion_mnist()",
    "CIFAR10": "use load_cifar10()",
    "CIFAR100": "use load_cifar100()",
    "ImageFolder": "use image_folder(path)",
}

if TYPE_CHECKING:
    from . import transforms as transforms
else:

    def __getattr__(name):
        """`xpconv.data.transforms`, imported at first use."""
        if name == "transforms":
            return import_module(f"{__name__}.transforms")
        hint = f"; {_ELSEWHERE[name]}" if name in _ELSEWHERE else ""
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}{hint}")
