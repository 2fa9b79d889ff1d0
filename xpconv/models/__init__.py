"""Well-known CNNs, each a short file over the library's layers.

Every function returns a model whose parameters have torchvision's names, shapes and initial
distributions, so torchvision's weights load: `model.load_state_dict(weights)`.

Example:
    >>> from xpconv.models import resnet18
    >>> sum(p.size for p in resnet18(num_classes=10).parameters())
    11181642
"""

from .alexnet import alexnet
from .convnext import convnext_tiny
from .densenet import densenet121
from .efficientnet import efficientnet_b0
from .googlenet import googlenet
from .lenet import lenet5
from .mobilenet import mobilenet_v2
from .resnet import resnet18, resnet34, resnet50, resnet101, resnet152
from .squeezenet import squeezenet1_1
from .unet import unet
from .vgg import vgg11, vgg11_bn, vgg13, vgg13_bn, vgg16, vgg16_bn, vgg19, vgg19_bn

__all__ = [
    "alexnet",
    "convnext_tiny",
    "densenet121",
    "efficientnet_b0",
    "googlenet",
    "lenet5",
    "mobilenet_v2",
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
    "squeezenet1_1",
    "unet",
    "vgg11",
    "vgg11_bn",
    "vgg13",
    "vgg13_bn",
    "vgg16",
    "vgg16_bn",
    "vgg19",
    "vgg19_bn",
]
