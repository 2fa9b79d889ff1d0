"""Every layer and loss that is a function in PyTorch is one here too."""

import re

import pytest

import xpconv
import xpconv.functional as F
from xpconv import layers, losses

OTHER_NAMES = {  # of functions
    "BCELoss": "binary_cross_entropy", "BCEWithLogitsLoss": "binary_cross_entropy_with_logits", "CrossEntropyLoss": "cross_entropy",
    "SoftmaxCrossEntropyLoss": "cross_entropy", "KLDivLoss": "kl_div", "FocalLoss": "sigmoid_focal_loss", "Dense": "linear",
    "Softmax2d": "softmax", **dict.fromkeys(("Upsample", "UpsamplingBilinear2d", "UpsamplingNearest2d"), "interpolate"),
    **{f"{kind}Pad{n}d": "pad" for kind in ("Circular", "Constant", "Reflection", "Replication", "Zero") for n in (1, 2, 3)},
    **{f"{kind}Norm{n}d": f"{kind.lower()}_norm" for kind in ("Batch", "Instance") for n in (1, 2, 3)},
}  # fmt: skip
NOT_FUNCTIONS = {
    "Bilinear": "a product of three arrays, which numpy.einsum computes",
    **dict.fromkeys(("Flatten", "Unflatten", "Identity"), "arrays have reshape"),
    **{f"Lazy{name}": "a layer that learns its size" for name in ("Conv1d", "Conv2d", "Conv3d", "Linear")},
    **{f"LazyBatchNorm{n}d": "a layer that learns its size" for n in (1, 2, 3)},
    **dict.fromkeys(("Sequential", "ModuleDict", "ModuleList"), "a container"),
    **dict.fromkeys(("Concat", "Graph", "Parallel", "Residual"), "a container, and not PyTorch's"),
    **dict.fromkeys(("DepthwiseConv2d", "SeparableConv2d", "SqueezeExcitation"), "several layers, and not PyTorch's"),
    **{f"Global{kind}Pool{n}d": "adaptive pooling to a size of 1, and not PyTorch's" for kind in ("Avg", "Max") for n in (1, 2, 3)},
    "DropPath": "not PyTorch's",
    **dict.fromkeys(("Layer", "Loss"), "a base"),
}  # fmt: skip
KINDS = [n for n in [*layers.__all__, *losses.__all__] if isinstance(getattr(xpconv, n, None), type)]


def plain(name):
    return name.lower().replace("_", "")


@pytest.mark.parametrize("name", KINDS)
def test_every_layer_is_a_function_or_has_a_reason(name):
    functions = {plain(function) for function in F.__all__}
    if name in OTHER_NAMES:
        assert OTHER_NAMES[name] in F.__all__
    elif name not in NOT_FUNCTIONS:
        assert plain(name) in functions or re.sub("loss$", "", plain(name)) in functions, (
            f"xpconv.functional lacks {name}: give it a function, or a reason in NOT_FUNCTIONS"
        )
    assert not (name in NOT_FUNCTIONS and plain(name) in functions)


def test_names_and_arguments_are_pytorchs():
    """All names but two losses that it lacks; arguments in its order, without those that it deprecates."""
    import inspect

    torch = pytest.importorskip("torch")
    gradients = re.compile(r"_(backward|input|weight|bias)$")
    for name in F.__all__:
        if gradients.search(name) or name in ("dice_loss", "sigmoid_focal_loss"):
            continue
        theirs = getattr(torch.nn.functional, name)
        try:
            expected = list(inspect.signature(theirs).parameters)
        except ValueError:  # a builtin
            continue
        if expected in (["args", "kwargs"], ["input", "args", "kwargs"]):
            continue
        left_out = {"size_average", "reduce", "_stacklevel", "dtype", "out"}
        if name == "embedding":
            left_out |= {"max_norm", "norm_type", "scale_grad_by_freq", "sparse"}
        ours = [n for n in inspect.signature(getattr(F, name)).parameters if n not in ("return_mask", "rng")]
        assert ours == [n for n in expected if n not in left_out], name
