"""Every public callable, with arguments of wrong kinds, shapes, ranges and sizes.

Only errors of the library's own come back, which name the callable and the argument; nothing hangs, takes
gigabytes, or is accepted that PyTorch refuses. The calls are drawn from a fixed seed.
"""

import importlib
import importlib.util
import inspect
import random
import warnings
from typing import NamedTuple

import effort
import pytest
from fuzzing import HEADER, NEAR, SCALARS, VALUES, WRONG_ARRAYS, bounded, namespace, run

import xpconv
from xpconv import backend as switch
from xpconv import init

HAS_SCIKIT_LEARN = importlib.util.find_spec("sklearn") is not None
HAS_ONNX = importlib.util.find_spec("onnx") is not None

SEED = 14
IMAGES = {
    1: "np.ones((2, 4, 6), 'float32')",
    2: "np.ones((2, 4, 6, 6), 'float32')",
    3: "np.ones((2, 4, 4, 4, 4), 'float32')",
}
IMAGE = IMAGES[2]
ROWS = "np.ones((3, 4), 'float32')"


class Target(NamedTuple):
    """A callable and how to call it: `before; call(arguments); after`."""

    name: str | tuple[str, ...]  # what an error must name: it, or one of them
    call: str
    needs: dict[str, str]  # argument: code of a good value
    optional: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()  # of the call that follows
    before: str = ""
    after: str = "drive(made, {inputs})"
    bad: list[str] | None = None  # values to draw from, where not from all
    torch: str = ""  # the same in PyTorch


def options(function, needs):
    return [
        name
        for name, p in inspect.signature(function).parameters.items()
        if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD) and name not in needs
    ]


# --- layers ----------------------------------------------------------------------------------------------

CONV = dict(in_channels="4", out_channels="2", kernel_size="3")
LAYERS = {  # constructor, inputs
    **dict.fromkeys(
        ["CELU", "ELU", "GELU", "GLU", "SELU", "AlphaDropout", "Dropout", "DropPath", "Hardshrink", "Hardsigmoid", "Hardswish",
         "Hardtanh", "Identity", "LeakyReLU", "LogSigmoid", "Mish", "PReLU", "ReLU", "ReLU6", "SiLU", "Sigmoid", "Softplus",
         "Softshrink", "Softsign", "Tanh", "Tanhshrink", "Flatten", "Dropout2d", "Softmax2d"],
        ({}, [IMAGE]),
    ),
    "Dropout1d": ({}, [IMAGES[1]]), "Dropout3d": ({}, [IMAGES[3]]),
    "Threshold": (dict(threshold="0.5", value="1.0"), [IMAGE]),
    "Softmax": (dict(dim="1"), [ROWS]), "LogSoftmax": (dict(dim="1"), [ROWS]), "Softmin": (dict(dim="1"), [ROWS]),
    "Bilinear": (dict(in1_features="4", in2_features="3", out_features="2"), [ROWS, "np.ones((3, 3), 'float32')"]),
    "Dense": (dict(in_features="4", out_features="2"), [ROWS]),
    "LazyLinear": (dict(out_features="2"), [ROWS]),
    "Linear": (dict(in_features="4", out_features="2"), [ROWS]),
    "Embedding": (dict(num_embeddings="5", embedding_dim="3"), ["np.array([[0, 4], [1, 1]])"]),
    "LayerNorm": (dict(normalized_shape="4"), [ROWS]), "RMSNorm": (dict(normalized_shape="4"), [ROWS]),
    "GroupNorm": (dict(num_groups="2", num_channels="4"), [IMAGE]), "LocalResponseNorm": (dict(size="2"), [IMAGE]),
    "ChannelShuffle": (dict(groups="2"), [IMAGE]), "PixelShuffle": (dict(upscale_factor="2"), [IMAGE]),
    "PixelUnshuffle": (dict(downscale_factor="2"), [IMAGE]), "Unflatten": (dict(dim="1", unflattened_size="(2, 2)"), [IMAGE]),
    "Unfold": (dict(kernel_size="2"), [IMAGE]),
    "Fold": (dict(output_size="4", kernel_size="2"), ["np.ones((2, 8, 9), 'float32')"]),
    "Upsample": (dict(size="5"), [IMAGE]), "UpsamplingNearest2d": (dict(size="5"), [IMAGE]),
    "UpsamplingBilinear2d": (dict(size="5"), [IMAGE]),
    "SqueezeExcitation": (dict(input_channels="4", squeeze_channels="2"), [IMAGE]),
    "DepthwiseConv2d": (dict(in_channels="4", kernel_size="3"), [IMAGE]), "SeparableConv2d": (CONV, [IMAGE]),
}  # fmt: skip
for axes, x in IMAGES.items():
    small = f"np.ones({(2, 4) + (2,) * axes}, 'float32')"
    LAYERS |= {
        f"Conv{axes}d": (CONV, [x]), f"ConvTranspose{axes}d": (CONV, [x]),
        f"LazyConv{axes}d": (dict(out_channels="2", kernel_size="3"), [x]),
        f"MaxPool{axes}d": (dict(kernel_size="2"), [x]), f"AvgPool{axes}d": (dict(kernel_size="2"), [x]),
        f"LPPool{axes}d": (dict(norm_type="2", kernel_size="2"), [x]),
        f"AdaptiveAvgPool{axes}d": (dict(output_size="2"), [x]), f"AdaptiveMaxPool{axes}d": (dict(output_size="2"), [x]),
        f"GlobalAvgPool{axes}d": ({}, [x]), f"GlobalMaxPool{axes}d": ({}, [x]),
        f"MaxUnpool{axes}d": (dict(kernel_size="2"), [small, f"np.zeros({(2, 4) + (2,) * axes}, 'int64')"]),
        f"BatchNorm{axes}d": (dict(num_features="4"), [x]), f"InstanceNorm{axes}d": (dict(num_features="4"), [x]),
        f"LazyBatchNorm{axes}d": ({}, [x]), f"ConstantPad{axes}d": (dict(padding="1", value="0.5"), [x]),
        **{f"{kind}Pad{axes}d": (dict(padding="1"), [x]) for kind in ("Circular", "Reflection", "Replication", "Zero")},
    }  # fmt: skip
NO_TWIN = ("Global", "Depthwise", "Separable", "Squeeze", "DropPath", "Residual", "Identity")  # in torch.nn


def layers():
    for name, (needs, inputs) in LAYERS.items():
        kind = getattr(xpconv, name)
        twin = "" if name.startswith(NO_TWIN) else f"torch.nn.{'Linear' if name == 'Dense' else name}"
        others = (name.removeprefix("Lazy").replace("Linear", "Dense"), "DepthwiseConv2d.forward")
        # what a lazy one becomes, and what a separable one holds, have errors of their own
        names = (kind.__name__, *others) if name.startswith(("Lazy", "Sep")) else kind.__name__
        yield Target(names, f"xpconv.{name}", needs, options(kind, needs), inputs, torch=twin)
    for name in ("ModuleList", "ModuleDict"):
        good = {"ModuleList": {"": "[xpconv.ReLU()]"}, "ModuleDict": {"": "{'a': xpconv.ReLU()}"}}[name]
        yield Target(name, f"xpconv.{name}", good, after="repr(made), [*made]")
    for name in ("Sequential", "Parallel", "Concat", "Residual"):
        more = {"Concat": ["axis"], "Residual": ["shortcut"]}.get(name, [])
        yield Target((name, "ReLU.forward"), f"xpconv.{name}", {"": "xpconv.ReLU()"}, more, [IMAGE])
    graph = dict(nodes="{'a': (xpconv.ReLU(), 'x')}", inputs="'x'", outputs="'a'")
    yield Target(("Graph", "ReLU.forward"), "xpconv.Graph", graph, options(xpconv.Graph, graph), [IMAGE])


# --- losses ----------------------------------------------------------------------------------------------

HALF = "np.full((3, 4), 0.5, 'float32')"
CLASSES = "np.array([0, 3, 1])"
SIGNS = "np.array([1, -1, 1], 'float32')"
LOSSES = {
    **dict.fromkeys(["BCELoss", "BCEWithLogitsLoss", "DiceLoss", "FocalLoss", "HingeEmbeddingLoss", "HuberLoss", "KLDivLoss", "L1Loss",
                     "MSELoss", "MultiLabelSoftMarginLoss", "PoissonNLLLoss", "SmoothL1Loss", "SoftMarginLoss"], (HALF, HALF)),
    **dict.fromkeys(["CrossEntropyLoss", "SoftmaxCrossEntropyLoss", "NLLLoss", "MultiMarginLoss"], (HALF, CLASSES)),
    "MultiLabelMarginLoss": [HALF, "np.array([[0, 1, -1, 2]] * 3)"],
    "GaussianNLLLoss": [HALF] * 3, "TripletMarginLoss": [HALF, ROWS, HALF],
    "CTCLoss": ["np.zeros((5, 2, 4), 'float32')", "np.array([[1, 2], [3, 1]])", "np.array([5, 5])", "np.array([2, 1])"],
    "MarginRankingLoss": [SIGNS] * 3, "CosineEmbeddingLoss": [HALF, ROWS, SIGNS],
}  # fmt: skip


def losses():
    for name, inputs in LOSSES.items():
        kind = getattr(xpconv, name)
        twin = "" if name in ("DiceLoss", "FocalLoss", "SoftmaxCrossEntropyLoss") else f"torch.nn.{name}"
        after = "made({inputs}); made.backward(np.ones_like(made({inputs})))"
        yield Target(kind.__name__, f"xpconv.{name}", {}, options(kind, {}), inputs, after=after, torch=twin)


# --- optimizers and schedules -------------------------------------------------------------------------------

PARAMETER = "p = xpconv.Parameter(np.ones((2, 2), 'float32')); p.grad = np.ones((2, 2), 'float32')"
OPTIMIZER = f"{PARAMETER}; o = xpconv.SGD([p], lr=0.1, momentum=0.9)"
SCHEDULES = {
    "CosineAnnealingLR": dict(T_max="3"), "CosineAnnealingWarmRestarts": dict(T_0="3"), "ExponentialLR": dict(gamma="0.9"),
    "LinearLR": {}, "MultiStepLR": dict(milestones="[1, 2]"), "OneCycleLR": dict(max_lr="0.1", total_steps="5"),
    "StepLR": dict(step_size="2"), "LambdaLR": dict(lr_lambda="lambda n: 0.9**n"), "ChainedScheduler": dict(schedulers="[xpconv.LinearLR(o)]"),
    "SequentialLR": dict(schedulers="[xpconv.LinearLR(o), xpconv.StepLR(o, 2)]", milestones="[2]"),
}  # fmt: skip


def optimizers():
    for name in xpconv.optim.__all__:
        kind = getattr(xpconv.optim, name)
        if not isinstance(kind, type):
            continue
        if issubclass(kind, xpconv.Optimizer) and kind is not xpconv.Optimizer:
            needs = dict(params="[p]")
            twin = f"torch.optim.{name}" if name not in ("LAMB", "LARS", "Lion") else ""
            yield Target(
                name, f"xpconv.{name}", needs, options(kind, needs), [], PARAMETER, "made.step()", torch=twin
            )
        elif name in SCHEDULES:
            needs = {"optimizer": "o"} | SCHEDULES[name] if name != "ChainedScheduler" else SCHEDULES[name]
            yield Target(name, f"xpconv.{name}", needs, options(kind, needs), [], OPTIMIZER, "made.step()")
    needs = dict(optimizer="o")
    kind = xpconv.ReduceLROnPlateau
    yield Target(
        "ReduceLROnPlateau",
        "xpconv.ReduceLROnPlateau",
        needs,
        options(kind, needs),
        [],
        OPTIMIZER,
        "made.step(1.0)",
    )
    for kind, needs, after in (
        (xpconv.GradScaler, {}, "made.step(o)"),
        (xpconv.ExponentialMovingAverage, {"model": "xpconv.Dense(2, 2)"}, "made.update()"),
        (xpconv.clip_grad_norm_, {"parameters": "[p]", "max_norm": "1.0"}, "made"),
        (xpconv.clip_grad_value_, {"parameters": "[p]", "clip_value": "1.0"}, "made"),
    ):
        name = kind.__name__
        yield Target(
            (name, "unknown backend"), f"xpconv.{name}", needs, options(kind, needs), [], OPTIMIZER, after
        )


# --- functions ------------------------------------------------------------------------------------------------

PAIR = {"": "np.ones((5, 2), 'float32'), np.arange(5)", "batch_size": "2"}
MODEL = "m = xpconv.Sequential(xpconv.Dense(4, 3), xpconv.ReLU()); y = m(np.ones((2, 4), 'float32'))"
NEVER_GOOD = [
    "0",
    "-1",
    "2**63",
    "10**12",
    "1.5",
    "float('nan')",
    "True",
    "'2'",
    "None",
    "()",
    "[1, 2]",
    "np.array([1, 2])",
    "{}",
    "object()",
]
NO_FETCH = [v for v in VALUES if v != "None"]  # which would ask the network
NO_SHARE = [
    "-0.5",
    "1.5",
    "float('nan')",
    "float('inf')",
    "True",
    "'0.5'",
    "None",
    "()",
    "np.array([0.5, 0.5])",
    "1j",
    "object()",
]


def functions():
    for name, function in vars(init).items():
        if inspect.isfunction(function) and function.__module__ == init.__name__ and not name.startswith("_"):
            needs = {
                "fans": dict(shape="(3, 4)"),
                "gain": dict(nonlinearity="'relu'"),
                "constant_": dict(parameter="p", value="1.0"),
            }
            needs = needs.get(name, dict(parameter="p"))
            yield Target(
                f"init.{name}", f"xpconv.init.{name}", needs, options(function, needs), [], PARAMETER, "made"
            )
    data = xpconv.data
    yield Target(
        "batches",
        "xpconv.data.batches",
        PAIR,
        options(data.batches, PAIR),
        [],
        "",
        "repr(made), [b for b in made]",
    )
    yield Target("load_idx", "xpconv.data.load_idx", dict(path="'no/such'"), [], [], "", "made")
    for name in ("load_mnist", "load_fashion_mnist", "load_cifar10", "load_cifar100"):
        optional = ["dtype", *(["label_mode"] if name == "load_cifar100" else [])]
        folder = dict(data_dir="'no/such'")
        yield Target(name, f"xpconv.data.{name}", folder, optional, [], "", "made", NO_FETCH)
    folder = dict(path="'no/such'")
    yield Target("image_folder", "xpconv.data.image_folder", folder, [], [], "", "made")
    halves = {"": "np.arange(8)"}
    yield Target(
        "train_test_split",
        "xpconv.data.train_test_split",
        halves,
        ["test_size", "seed", "stratify"],
        [],
        "",
        "made",
    )
    yield Target("channel_mean_std", "xpconv.data.channel_mean_std", dict(images=RGB), [], [], "", "made")
    yield Target("load_digits", "xpconv.data.load_digits", {}, options(data.load_digits, {}), [], "", "made")
    for name in xpconv.models.__all__:
        function = getattr(xpconv.models, name)
        for argument in inspect.signature(function).parameters:
            bad = NO_SHARE if argument in ("dropout", "stochastic_depth") else NEVER_GOOD
            yield Target(name, f"xpconv.models.{name}", {argument: "None"}, [], [], "", "made", bad)
    testing = xpconv.testing
    needs = dict(layer="xpconv.Dense(4, 2, dtype='float64')", x="np.ones((3, 4))")
    yield Target(
        ("gradcheck", "Dense.forward"), "xpconv.testing.gradcheck", needs, ["eps", "seed"], [], "", "made"
    )
    needs = dict(make="lambda: xpconv.Dense(2, 2)", x="np.ones((2, 2))")
    yield Target(
        ("assert_layer_ok", "Dense.forward", "unknown backend"),
        "xpconv.testing.assert_layer_ok",
        needs,
        options(testing.assert_layer_ok, needs),
        [],
        "",
        "made",
    )
    cuda = xpconv.cuda
    for function in (cuda.allow_tf32, cuda.allow_nondeterministic, xpconv.set_exact):
        where = "xpconv" if function is xpconv.set_exact else "xpconv.cuda"
        yield Target(
            function.__name__,
            f"{where}.{function.__name__}",
            {},
            options(function, {}),
            [],
            "",
            f"{where}.{function.__name__}(False)",
        )
    yield Target(
        "capture",
        "xpconv.cuda.capture",
        {"": "lambda x: x, np.ones(3)"},
        ["warmup"],
        [],
        "",
        "made(np.ones(3))",
    )
    yield Target(
        "graphed",
        "xpconv.cuda.graphed",
        {"": "xpconv.Dense(2, 2)"},
        [],
        [],
        "",
        "made(np.ones((2, 2), 'float32'))",
    )
    yield Target(
        "prefetch",
        "xpconv.cuda.prefetch",
        dict(batches="[(np.ones(3), np.ones(3))]"),
        [],
        [],
        "",
        "list(made)",
    )
    for function, needs, after in (
        (xpconv.asarray, dict(obj="[1.0, 2.0]"), "made"), (xpconv.asnumpy, dict(obj="[1.0, 2.0]"), "made"), (xpconv.get_xp, {"": ROWS}, "made"),
        (xpconv.set_backend, dict(name="'numpy'"), "made"), (xpconv.use_backend, dict(name="'numpy'"), "made.__enter__(); made.__exit__(None, None, None)"),
        (xpconv.set_num_threads, dict(count="1"), "made"), (xpconv.manual_seed, dict(seed="0"), "made"),
        (xpconv.explain, dict(model="xpconv.Dense(4, 2)", input_shape="(4,)"), "made"),
        (xpconv.register_backend, dict(name="'fuzz'", module="minimal.xp", array_type="minimal.ndarray", asnumpy="minimal.asnumpy"), "made"),
        (xpconv.one_hot, dict(target="np.array([0, 2])"), "made"), (xpconv.from_one_hot, dict(rows="np.eye(3)"), "made"),
        (xpconv.get_rng_state, {}, "made"), (xpconv.set_rng_state, dict(state="xpconv.get_rng_state()"), "made"),
        (xpconv.Parameter, dict(data=ROWS), "repr(made)"),
    ):  # fmt: skip
        name = function.__name__
        others = {"explain": ("Dense.forward",)}.get(name, ("unknown backend",))
        yield Target((name, *others), f"xpconv.{name}", needs, options(function, needs), [], "", after)


RGB = "np.ones((2, 3, 6, 6), 'float32')"
TRANSFORMS = {
    **{name: {} for name in ("RandomHorizontalFlip", "RandomVerticalFlip", "ColorJitter", "Grayscale", "RandomErasing")},
    **{name: dict(size="4") for name in ("RandomCrop", "CenterCrop", "Resize", "RandomResizedCrop", "Cutout")},
    **{name: dict(degrees="10") for name in ("RandomRotation", "RandomAffine")},
    **{name: dict(num_classes="4") for name in ("MixUp", "CutMix")},
    "Pad": dict(padding="1"), "Normalize": dict(mean="0.5", std="0.5"), "ToDtype": dict(dtype="'float32'"),
    "Compose": dict(transforms="[]"), "RandomApply": dict(transforms="[]"),
}  # fmt: skip


def transforms():
    for name, needs in TRANSFORMS.items():
        kind = getattr(xpconv.data.transforms, name)
        batch = "made(({inputs}, np.array([0, 1])), rng=0)" if "Mix" in name else "made({inputs}, rng=0)"
        yield Target(
            name,
            f"xpconv.data.transforms.{name}",
            needs,
            options(kind, needs),
            [RGB],
            after=f"repr(made), {batch}",
        )


def methods():
    grad = "np.ones((2, 3), 'float32')"
    for call, needs, optional in (
        ("train", {}, ["mode"]), ("to", {}, ["backend", "dtype"]), ("load_state_dict", dict(state="m.state_dict()"), ["strict"]),
        ("summary", dict(input_shape="(4,)"), []), ("backward", dict(grad_output=grad), ["input_grad"]),
        ("requires_grad_", {}, ["requires_grad", "eval"]), ("forward", dict(x="np.ones((2, 4), 'float32')"), []),
        ("__call__", {"": "np.ones((2, 4), 'float32')"}, []),
    ):  # fmt: skip
        name = {"__call__": "Dense.forward", "summary": ("summary", "Dense.forward")}.get(call, call)
        yield Target(name, f"m.{call}", needs, optional, [], MODEL, "made")
    yield Target(
        "backward",
        "l.backward",
        {},
        ["grad_output"],
        [],
        "l = xpconv.MSELoss(); l(np.ones(3), np.zeros(3))",
        "made",
    )
    yield Target(
        "load_state_dict", "o.load_state_dict", dict(state_dict="o.state_dict()"), [], [], OPTIMIZER, "made"
    )
    yield from methods_of_training()


# --- files, images and training -------------------------------------------------------------------------------

SAVED = "xpconv.save('run.safetensors', model=xpconv.Dense(2, 2), epoch=3)"
SAVED_MODEL = "xpconv.save_model(xpconv.Dense(2, 2), 'model.safetensors')"
PICTURE = "import PIL.Image; PIL.Image.new('RGB', (6, 4)).save('image.png')"


def files():
    """The current folder is a temporary one: strings are paths there."""
    path, model = dict(path="'run.safetensors'"), "xpconv.Dense(2, 2)"
    yield Target("save", "xpconv.save", path | dict(model=model, value="3"), [], [], "", "made")
    yield Target("load", "xpconv.load", path | dict(model=model), ["other"], [], SAVED, "made")
    path = dict(path="'model.safetensors'")
    yield Target("save_model", "xpconv.save_model", dict(model=model) | path, [], [], "", "made")
    yield Target("load_model", "xpconv.load_model", path, ["classes"], [], SAVED_MODEL, "made")
    optional = ["size", "mode", "dtype"]
    yield Target(
        "read_image", "xpconv.data.read_image", dict(path="'image.png'"), optional, [], PICTURE, "made"
    )
    yield Target("image_files", "xpconv.data.image_files", dict(path="'.'"), [], [], PICTURE, "made")
    epoch = "[b for b in xpconv.data.batches(np.ones((4, 2)), 2, sampler=made)]"
    for name, argument in (("BalancedSampler", "labels"), ("GroupedSampler", "groups")):
        needs = {argument: "np.array([0, 1, 1, 0])"}
        optional = options(getattr(xpconv.data, name), needs)
        yield Target(
            (name, "sampler"), f"xpconv.data.{name}", needs, optional, [], "", f"repr(made), {epoch}"
        )


STUDENT = (
    "m = xpconv.Sequential(xpconv.Dense(4, 3)); o = xpconv.SGD(m.parameters(), lr=0.1); l = xpconv.CrossEntropyLoss(); "
    "x = np.ones((4, 4), 'float32'); y = np.array([0, 1, 2, 0]); b = xpconv.data.batches(x, y, 2)"
)
QUIET = "; import warnings; warnings.filterwarnings('ignore', 'find_lr: no suggestion')"
RUN = "xpconv.train.fit(m, l, o, b, verbose=False, "
COUNTS = [v for v in (*NEVER_GOOD, *SCALARS) if v not in ("10**12", "2**63")]  # so many epochs would be right
CNN = (
    "c = xpconv.Conv2d(3, 2, 3, padding=1); m = xpconv.Sequential(c, xpconv.GlobalAvgPool2d(), xpconv.Flatten()); "
    "x = np.ones((2, 3, 6, 6), 'float32'); m.backward(np.ones_like(m(x)))"
)


def training():
    train, within = xpconv.train, ("Dense.forward", "CrossEntropyLoss")
    parts = dict(model="m", loss="l")
    for function, needs, count in (
        (train.fit, parts | dict(optimizer="o", train="b"), "epochs"), (train.find_lr, parts | dict(optimizer="o", train="b"), "steps"),
        (train.evaluate, parts | dict(data="b"), ""), (train.predict, dict(model="m", data="x"), ""),
    ):  # fmt: skip
        name = function.__name__
        optional = [o for o in options(function, needs) if o != count]
        after = "list(made)" if name == "predict" else "made"  # a generator computes then
        few = needs | {"find_lr": dict(steps="3")}.get(name, {})
        setup = STUDENT + QUIET * (name == "find_lr")
        yield Target((name, *within), f"xpconv.train.{name}", few, optional, [], setup, after)
        if count:
            yield Target(
                (name, *within), f"xpconv.train.{name}", needs | {count: "2"}, [], [], setup, "made", COUNTS
            )
    for name in ("Accuracy", "IoU", "MeanAbsoluteError", "MeanSquaredError", "TopKAccuracy"):
        optional = options(getattr(train, name), {})
        data = "b" if name in ("Accuracy", "IoU", "TopKAccuracy") else "[(x, x[:, :3])]"
        after = (
            f"xpconv.train.evaluate(m, {'l' if data == 'b' else 'xpconv.MSELoss()'}, {data}, metrics=made)"
        )
        yield Target((name, *within), f"xpconv.train.{name}", {}, optional, [], STUDENT, after)
    for name, needs in (
        ("CSVLogger", dict(path="'log.csv'")), ("JSONLogger", dict(path="'log.jsonl'")), ("Checkpoint", dict(folder="'run'")),
        ("EarlyStopping", {}), ("TerminateOnNaN", {}),
    ):  # fmt: skip
        optional = options(getattr(train, name), needs)
        yield Target(
            (name, "fit"), f"xpconv.train.{name}", needs, optional, [], STUDENT, f"{RUN}callbacks=[made])"
        )


def pictures():
    truth = dict(y_true="np.array([0, 1])", y_pred="np.array([1, 1])")
    maps = {"model": "m", "x": IMAGES[2].replace("4", "3")}
    for place in ("inspection", "plot"):
        room = getattr(xpconv, place)
        for name in room.__all__:
            function = getattr(room, name)
            needs = {
                "confusion_matrix": truth, "gradients": dict(model="m"), "gradient_norms": dict(model="m"), "kernels": dict(layer="c"),
                "feature_maps": maps | dict(layer="c"), "grad_cam": maps | dict(layer="c"), "saliency": maps,
                "mistakes": dict(x="x", y_true="np.array([0, 1])", scores="np.eye(2)[::-1]"),
            }[name]  # fmt: skip
            optional = options(function, needs)
            names = (name, "Conv2d.forward", "Sequential.forward")
            yield Target(names, f"xpconv.{place}.{name}", needs, optional, [], CNN, "made")


def onnx_files():
    names = ("onnx.export", "onnx.load", "Sequential.forward", "Conv2d.forward")
    needs = dict(model="m", path="'m.onnx'", input_shape="(3, 6, 6)")
    optional = options(xpconv.onnx.export, needs)
    yield Target(names, "xpconv.onnx.export", needs, optional, [], f"{CNN}; m.eval()", "made")
    written = f"{CNN}; xpconv.onnx.export(m.eval(), 'm.onnx', (3, 6, 6))"
    yield Target(names, "xpconv.onnx.load", dict(path="'m.onnx'"), [], [], written, "made")


TRAINING = (
    "p = xpconv.Parameter(np.ones((2, 2), 'float32')); p.grad = np.ones((2, 2), 'float32'); o = xpconv.Adam([p], lr=0.1); "
    "g = xpconv.GradScaler(); e = xpconv.ExponentialMovingAverage(xpconv.Dense(2, 2)); r = xpconv.ReduceLROnPlateau(o); "
    "s = xpconv.SequentialLR(o, [xpconv.LinearLR(o), xpconv.MultiStepLR(o, [1])], [2]); c = xpconv.OneCycleLR(o, 0.1, 5); "
    "f = xpconv.LambdaLR(o, abs)"
)


def methods_of_training():
    group = "{'params': [xpconv.Parameter(np.ones(2, 'float32'))]}"
    for name, call, needs, optional, after in (
        ("zero_grad", "o.zero_grad", {}, ["set_to_none"], "made"), (("add_param_group", "Adam"), "o.add_param_group", {"": group}, [], "o.step()"),
        ("Adam", "o.step", {}, ["skip"], "made"), ("step", "r.step", dict(metrics="1.0"), [], "made"), ("requires_grad", "p.requires_grad_", {}, ["requires_grad"], "made"),
        ("GradScaler", "g.step", dict(optimizer="o"), [], "g.update()"), ("GradScaler", "g.unscale_", dict(optimizer="o"), [], "g.step(o)"),
        ("Parameter", "p.accumulate", dict(grad=ROWS), [], "made"),
        *(("load_state_dict", f"{x}.load_state_dict", {"": f"{x}.state_dict()"}, [], "made") for x in "gerscf"),
    ):  # fmt: skip
        yield Target(name, call, needs, optional, [], TRAINING, after)


LEFT_OUT = {
    "Layer", "Loss", "Optimizer", "LRScheduler",  # bases: without a meaning of their own
    "free_memory", "get_backend", "get_num_threads", "is_exact", "no_grad", "tf32_allowed", "nondeterministic_allowed",  # take nothing
    "Split", "Result", "LRFinder",  # results
    "Builder", "Tensor",  # which `to_onnx` gets
    "Metric", "Run", "History", "TensorBoard",  # a base, what fit makes, and what needs another library
}  # fmt: skip


# --- drawing --------------------------------------------------------------------------------------------------


CALLBACKS = {
    "make",
    "reference",
    "lr_lambda",
    "step",
    "loss",
    "metrics",
}  # whose own errors come back as they are
CALLABLE = {"int", "len", "xpconv.ReLU", "xpconv.ReLU()"}


def draw(rng, target):
    """The code of one call, and the arguments that are wrong in it."""
    values = dict(target.needs)
    inputs = list(target.inputs)
    known = [*values, *target.optional]
    if inputs and (not known or rng.random() < 0.3):
        i = rng.randrange(len(inputs))
        inputs[i] = rng.choice(WRONG_ARRAYS)
        wrong = []
    else:
        wrong = rng.sample(known, min(len(known), rng.choice([1, 1, 1, 2])))
        for argument in wrong:
            array = values.get(argument, "").startswith("np.") or argument == "params"
            kinds = VALUES + WRONG_ARRAYS if array else NEAR if rng.random() < 0.3 else VALUES
            values[argument] = rng.choice(target.bad or kinds)
            while argument in CALLBACKS and values[argument] in CALLABLE:
                values[argument] = rng.choice(VALUES)
    arguments = ", ".join(f"{k}={v}" if k else v for k, v in values.items())
    after = target.after.replace("{inputs}", ", ".join(inputs))
    return f"{target.before}; " * bool(target.before) + f"made = {target.call}({arguments}); {after}", wrong


def named_in(target, wrong):
    """What an error must name: the callable, and one of the wrong arguments unless a later call failed."""
    later = (
        "forward",
        "backward",
        "step",
        "input",
        "x",
        "target",
        "unknown backend",
        "missing",
        "data_dir",
        "by name",
        "sampler",
        "file",
    )
    options = [w.removesuffix("s") for w in wrong if w]  # a milestone of the milestones
    return [target.name, (*options, *later)] if options and "" not in wrong else [target.name]


# --- the tests ------------------------------------------------------------------------------------------------


def estimators():
    """Settings that scikit-learn does not check, and that are no functions of a user."""
    x = "np.arange(384.0).reshape(6, 8, 8)"
    theirs = (
        "random_state",
        "class_weight",
        "callbacks",
        "model",
        "loss",
        "optimizer",
        "schedule",
        "max_epochs",
    )
    for name in ("ConvClassifier", "ConvRegressor", "ConvTransformer"):
        kind = getattr(xpconv.sklearn, name)
        optional = [option for option in options(kind, {}) if option not in theirs]
        needs = {} if name == "ConvTransformer" else {"max_epochs": "1"}
        after = f"made.fit({x}, np.arange(6) % 2); made.{'transform' if name == 'ConvTransformer' else 'predict'}({x})"
        yield Target((name, "batches"), f"xpconv.sklearn.{name}", needs, optional, [], "", after)


GROUPS = {
    "estimators": (estimators if HAS_SCIKIT_LEARN else list, 15),
    "layers": (layers, 30),
    "losses": (losses, 30),
    "optimizers": (optimizers, 30),
    "functions": (functions, 25),
    "transforms": (transforms, 25),
    "methods": (methods, 60),
    "files": (files, 25),
    "training": (training, 25),
    "pictures": (pictures, 15),
    "onnx": (onnx_files if HAS_ONNX else list, 40),
}
DIFFERS = (
    "np.",
    "fractions",
    "None",
    "float16",
    "dtype",
    "rng",
    "algorithm",
    "iter(",
    "range(",
    "padding=((",  # one pair an axis: ours alone
)  # NumPy's numbers and arrays: not PyTorch's


@pytest.fixture
def settings(monkeypatch, tmp_path):
    """Calls that are accepted may change them, and write files."""
    monkeypatch.chdir(tmp_path)
    for library in ("matplotlib.figure", "PIL.Image", "safetensors.numpy", "sklearn.datasets", "onnx"):
        if importlib.util.find_spec(library.partition(".")[0]):
            importlib.import_module(library)  # takes seconds on a busy machine, which are not those of a call
    threads, exact, backends, default = (
        xpconv.get_num_threads(),
        xpconv.is_exact(),
        dict(switch._backends),
        switch._default,
    )
    yield
    xpconv.set_num_threads(threads)
    xpconv.set_exact(exact)
    switch._backends.clear()
    switch._backends.update(backends)
    switch._owner_of.clear()
    switch._default = default
    xpconv.manual_seed(0)


@pytest.mark.parametrize("group", GROUPS)
def test_only_errors_of_the_library_itself(group, settings):
    targets, most = GROUPS[group]
    count = most if effort.thorough else most // 3
    space, rng, found = namespace(), random.Random(SEED), []
    torch = pytest.importorskip("torch") if importlib.util.find_spec("torch") else None
    backends = dict(switch._backends)
    with bounded():
        for target in targets():
            for i in range(most):  # the same draws in a short run, which skips two of three
                code, wrong = draw(rng, target)
                if i >= count:
                    continue
                fault, accepted = run(code, named_in(target, wrong), dict(space))
                if backends != switch._backends:
                    switch._backends.clear()
                    switch._backends.update(backends)
                    switch._owner_of.clear()
                if accepted and torch and target.torch.startswith("torch.nn"):
                    fault = refusal(torch, target, code, space)
                elif accepted and torch and target.torch.startswith("torch.optim"):
                    fault = refusal_of_an_optimizer(torch, target, code, space)
                if fault:
                    found.append(f"{code}\n    # {fault}")
    assert not found, "\n".join([f"{len(found)} calls:", HEADER, "from fuzzing import drive", *found])


def refusal(torch, target, code, space):
    """Why PyTorch does not take the same call, or None."""
    made, _, rest = code.partition("; made" if target.after.startswith("made") else "; drive(made, ")
    arguments = made.removeprefix(f"made = {target.call}")
    inputs = rest[: rest.index("; made.backward")].removeprefix("(") if "made.backward" in rest else rest
    if any(word in arguments for word in DIFFERS) or "float16" in inputs or "Lazy" in target.call:
        return None
    if not inputs.startswith(("np.ones", "np.zeros", "np.full", "np.array")):
        return None
    given = [torch.as_tensor(x) for x in eval(f"[{inputs.removesuffix(')')}]", dict(space))]
    if "divisor_override" in arguments or (target.name == "Embedding" and "int8" in inputs):
        return None  # in one dimension, and any integers as indices: ours alone
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            eval(f"{target.torch}{arguments}", {**space, "torch": torch})(*given)
    except Exception as error:  # noqa: BLE001
        return f"accepted, but PyTorch says {type(error).__name__}: {error}"
    return None


def test_a_state_that_is_a_folder(tmp_path):
    """The operating system's error, with the path and where it was given."""
    folder = tmp_path / "weights.npz"
    folder.mkdir()
    with pytest.raises(OSError, match=r"load_state_dict: state is the path .*weights\.npz"):
        xpconv.Dense(2, 2).load_state_dict(folder)


def refusal_of_an_optimizer(torch, target, code, space):
    """Why PyTorch does not take the same call, or None."""
    call = code.removeprefix(f"{target.before}; ").replace(target.call, target.torch)
    if any(word in call for word in (*DIFFERS, "decimal", "xpconv")):
        return None
    try:
        setup = "p = torch.nn.Parameter(torch.ones(2, 2)); p.grad = torch.ones(2, 2)"
        exec(f"{setup}; {call}", {**space, "torch": torch})  # noqa: S102
    except Exception as error:  # noqa: BLE001
        return f"accepted, but PyTorch says {type(error).__name__}: {error}"
    return None


def test_enough_calls_are_drawn():
    assert sum(count * len(list(targets())) for targets, count in GROUPS.values()) >= 5000


def test_every_public_callable_is_fuzzed():
    places = [xpconv, xpconv.data, xpconv.data.transforms, xpconv.optim, xpconv.models, xpconv.cuda]
    places += [xpconv.onnx] if HAS_ONNX else []
    places += [xpconv.train, xpconv.inspection, xpconv.plot]
    places += [xpconv.sklearn] if HAS_SCIKIT_LEARN else []
    public = {(place, name) for place in places for name in place.__all__}
    public |= {
        (xpconv.testing, n)
        for n, v in vars(xpconv.testing).items()
        if getattr(v, "__module__", "") == "xpconv.testing" and n[0] != "_"
    }
    calls = {target.call.rpartition(".")[2] for targets, _ in GROUPS.values() for target in targets()}
    missing = {
        name for place, name in public if callable(getattr(place, name)) and name not in calls | LEFT_OUT
    }
    assert not missing, f"the tables of tests/sweeps/test_fuzz.py have no row for {missing}"


@pytest.mark.parametrize(
    ("code", "fault"),
    [
        ("made = np.ones((2, 2)) @ np.ones(3)", "raw error"),
        ("import time; time.sleep(1000)", "hangs"),
        ("xpconv.ReLU()(3)", "does not name Tanh"),
        ("xpconv.Dense(3, 2).summary(1, 2, 3)", "raw error"),
    ],
)
def test_the_judge_sees_faults(code, fault, monkeypatch):
    if fault == "hangs":
        monkeypatch.setattr("fuzzing.LIMIT_S", 0.2)
    assert run(code, ["Tanh"])[0].startswith(fault)
