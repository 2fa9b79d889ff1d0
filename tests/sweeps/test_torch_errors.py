"""What PyTorch refuses is refused here, by an error that says which layer, loss or optimizer it is from.

The tables hold, for each, arguments that work and inputs that fit; then values of one argument, and inputs,
that PyTorch raises at. More such rows, of geometry above all, stand in the tables of each family's tests.
"""

from collections import OrderedDict

import numpy as np
import pytest
from oracle import nn, torch

import xpconv

LABELS = {"Linear": "Dense", "CrossEntropyLoss": "SoftmaxCrossEntropyLoss"}  # where the name is an alias
RAISED = (
    ValueError, TypeError, RuntimeError, AttributeError, AssertionError, LookupError, ZeroDivisionError
)  # fmt: skip

SIZE = [-1, "3", 2.5, None]
SIZES = [-1, "3", 2.5, None, (2, 2, 2, 2), (2.5,), {}]
NUMBER = ["a", None, (1.0,), [1.0], 1j]
FLAG = ["a", None, 0, (True,)]
WRONG_RANKS = [(), (4,), (1, 1, 1, 4, 6, 6)]


def f(*shape, value=0.5, dtype="float32"):
    return np.full(shape, value, dtype)


def i(*shape, value=0):
    return np.full(shape, value, "int64")


def shapes(*rows):
    return [(f(*row),) for row in rows]


# name: arguments that work, inputs that fit, {argument: values refused}, inputs refused
LAYERS = {}
for d, image in ((1, (2, 4, 6)), (2, (2, 4, 6, 6)), (3, (2, 4, 6, 6, 6))):
    pixels = image[2:]
    fits = (f(*image),)
    window = {"kernel_size": SIZES, "stride": [0, *SIZES], "dilation": [0, *SIZES], "groups": [0, 3, *SIZE]}
    channels = {"in_channels": [*SIZE, (4,)], "out_channels": [*SIZE, (4,)]}
    images = shapes(*WRONG_RANKS, (2, 3, *pixels), (3, *pixels), (2, 4) + (0,) * d)
    padding = {"padding": [*SIZES, "x"], "padding_mode": ["x", None]}
    LAYERS[f"Conv{d}d"] = (
        {"in_channels": 4, "out_channels": 4, "kernel_size": 3},
        fits,
        {**channels, **window, **padding},
        images,
    )
    LAYERS[f"LazyConv{d}d"] = (
        {"out_channels": 4, "kernel_size": 3},
        fits,
        {"out_channels": channels["out_channels"], **window, **padding},
        shapes(*WRONG_RANKS),
    )
    LAYERS[f"ConvTranspose{d}d"] = (
        {"in_channels": 4, "out_channels": 4, "kernel_size": 3, "stride": 2},
        fits,
        {**channels, **window, **padding, "output_padding": [2, *SIZES]},
        images,
    )
    statistics = {"eps": NUMBER[:-1], "momentum": ["a", (0.1,)], "num_features": [*SIZE, 3]}
    LAYERS[f"BatchNorm{d}d"] = (
        {"num_features": 4},
        fits,
        {**statistics, "eps": [0.0, -1e-5, *NUMBER[:-1]]},
        shapes((), (4,), (1, 4) + (1,) * d, (2, 3, *pixels), (2, 4, 6, 6, 6, 6)),
    )
    LAYERS[f"InstanceNorm{d}d"] = (
        {"num_features": 4, "affine": True, "track_running_stats": True},
        fits,
        statistics,
        shapes((), (4,), (1, 4) + (1,) * d, (2, 3, *pixels), (1, 2, 4, 6, 6, 6)),
    )
    sides = 2 * d
    bad = {"padding": ["3", 2.5, None, True, -7, (1,) * (sides - 1), (1,) * (sides + 1), (1.5,) * sides]}
    for kind in ("Reflection", "Replication", "Circular"):
        LAYERS[f"{kind}Pad{d}d"] = ({"padding": 1}, fits, bad, shapes(*WRONG_RANKS))
    LAYERS[f"ZeroPad{d}d"] = ({"padding": 1}, fits, bad, shapes(()))
    bad = {**bad, "value": ["a", (1,), [1.0], 1j]}
    LAYERS[f"ConstantPad{d}d"] = ({"padding": 1, "value": 1.0}, fits, bad, shapes(()))
    LAYERS[f"Dropout{d}d"] = ({}, fits, {"p": [-0.1, 1.1, "a", None, (0.5,)]}, [])

IMAGE = (f(2, 4, 6, 6),)
VECTOR = (f(2, 4),)
LAYERS |= {
    "Dropout": ({}, VECTOR, {"p": [-0.1, 1.1, "a", None, (0.5,)]}, []),
    "AlphaDropout": ({}, VECTOR, {"p": [-0.1, 1.1, "a", None, (0.5,)]}, []),
    "Linear": ({"in_features": 4, "out_features": 2}, VECTOR, {"in_features": [*SIZE, (4,)], "out_features": [*SIZE, (4,)]}, shapes((3,), (2, 3), (4, 2), (2, 0))),
    "Bilinear": ({"in1_features": 4, "in2_features": 3, "out_features": 2}, (f(2, 4), f(2, 3)), {"in1_features": [0, *SIZE], "in2_features": SIZE, "out_features": SIZE}, [(f(2, 4), f(3, 3)), (f(2, 4), f(3)), (f(2, 3), f(2, 3))]),
    "ELU": ({}, VECTOR, {"alpha": NUMBER}, []),
    "CELU": ({}, VECTOR, {"alpha": [0, *NUMBER]}, []),
    "LeakyReLU": ({}, VECTOR, {"negative_slope": NUMBER}, []),
    "Hardshrink": ({}, VECTOR, {"lambd": NUMBER}, []),
    "Softshrink": ({}, VECTOR, {"lambd": [-0.1, *NUMBER]}, []),
    "Softplus": ({}, VECTOR, {"beta": NUMBER, "threshold": NUMBER}, []),
    "Threshold": ({"threshold": 0.0, "value": 1.0}, VECTOR, {"threshold": NUMBER, "value": NUMBER}, []),
    "Hardtanh": ({}, VECTOR, {"min_val": [1.0, 2.0, *NUMBER], "max_val": [-1.0, -2.0, *NUMBER]}, []),
    "GELU": ({}, VECTOR, {"approximate": ["x", "TANH", None, 1]}, []),
    "PReLU": ({}, VECTOR, {"num_parameters": [3, *SIZE], "init": NUMBER[:2]}, []),
    "GLU": ({}, VECTOR, {"dim": ["a", None, 1.5, 2, -3]}, shapes((), (3,), (2, 3))),
    "Softmax": ({"dim": 1}, VECTOR, {"dim": ["a", 1.5, 2, -3, True]}, shapes((), (4,))),
    "LogSoftmax": ({"dim": 1}, VECTOR, {"dim": ["a", 1.5, 2, -3, True]}, shapes((), (4,))),
    "Softmin": ({"dim": 1}, VECTOR, {"dim": ["a", 1.5, 2, -3, True]}, shapes((), (4,))),
    "Softmax2d": ({}, IMAGE, {}, shapes((), (4,), (2, 4), (2, 4, 6, 6, 6))),
    "LayerNorm": ({"normalized_shape": 4}, VECTOR, {"normalized_shape": [*SIZE, (), (4, 4, 4), 3, (4.0,), ("4",), {}], "eps": NUMBER}, shapes((), (3,), (4, 3))),
    "RMSNorm": ({"normalized_shape": 4}, VECTOR, {"normalized_shape": [*SIZE, (), (4, 4, 4), 3, (4.0,), ("4",), {}], "eps": ["a", (1,)]}, shapes((), (3,), (4, 3))),
    "GroupNorm": ({"num_groups": 2, "num_channels": 4}, IMAGE, {"num_groups": [0, 3, 8, *SIZE], "num_channels": [-2, "4", 4.5, None, (4,), 6], "eps": NUMBER}, shapes((), (4,), (2, 6, 3), (1, 2))),
    "LocalResponseNorm": ({"size": 2}, IMAGE, {"size": [0, *SIZE], "alpha": NUMBER[:3], "beta": NUMBER[:3], "k": NUMBER[:3]}, shapes((), (4,), (2, 4))),
    "Flatten": ({}, IMAGE, {"start_dim": ["a", None, 1.5, 4, -5], "end_dim": ["a", None, 1.5, 4, -5, 0]}, shapes((), (3,))),
    "Unflatten": ({"dim": 1, "unflattened_size": (2, 2)}, VECTOR, {"dim": [None, (1,), 1.5, 4, -5, True], "unflattened_size": [4, None, "22", (2, 3), (2, 2.0), (2, -2), (-1, -1), (), (3, -1), (0, -1), ("a", 2)]}, shapes((), (3,), (2, 3))),
    "PixelShuffle": ({"upscale_factor": 2}, IMAGE, {"upscale_factor": [0, 3, True, 2.0, (2,), *SIZE]}, shapes((), (4,), (4, 4), (3, 4, 4))),
    "PixelUnshuffle": ({"downscale_factor": 2}, IMAGE, {"downscale_factor": [0, 5, True, 2.0, (2,), *SIZE]}, shapes((), (4,), (4, 4), (4, 3, 4), (4, 4, 3))),
    "ChannelShuffle": ({"groups": 2}, IMAGE, {"groups": [0, 3, True, 2.0, (2,), *SIZE]}, shapes((), (4,), (2, 4), (2, 3, 4))),
    "Upsample": ({"scale_factor": 2, "mode": "bilinear"}, IMAGE, {"size": [2, (2, 2)], "scale_factor": [0, -1, None, (2.0,), (2.0, 0.0), ("a", 2), 0.1, float("inf"), 1j], "mode": ["x", None, 1, "linear", "trilinear"], "align_corners": ["a", 1, (True,)]}, shapes((), (4,), (4, 6), (2, 4, 6), (2, 4, 6, 6, 6), (2, 0, 6, 6), (2, 4, 0, 6))),
    "UpsamplingNearest2d": ({"size": 5}, IMAGE, {"size": [0, (2,), (2, 2, 2), *SIZE], "scale_factor": [2.0]}, shapes((2, 4, 0, 6))),
    "UpsamplingBilinear2d": ({"size": 5}, IMAGE, {"size": [0, (2,), (2, 2, 2), *SIZE], "scale_factor": [2.0]}, shapes((4, 6), (2, 4, 6), (2, 4, 6, 6, 6), (2, 4, 0, 6))),
    "Unfold": ({"kernel_size": 2}, IMAGE, {"kernel_size": [0, *SIZES], "dilation": [0, *SIZES], "padding": SIZES, "stride": [0, *SIZES]}, shapes(*WRONG_RANKS, (2, 4, 1, 6))),
    "Fold": ({"output_size": 6, "kernel_size": 2}, (f(2, 16, 25),), {"output_size": SIZES, "kernel_size": [0, *SIZES], "dilation": [0, *SIZES], "padding": SIZES, "stride": [0, *SIZES]}, shapes((), (16,), (15, 25), (16, 24), (2, 16, 5, 5))),
}  # fmt: skip

SAME = (f(2, 3), f(2, 3))
UNLIKE = [(f(2, 3), f(3, 2)), (f(2, 3), f(4)), (f(2, 3),), (f(2, 3), None)]
WEIGHTS = ["a", 1.0, [1.0, 1.0, 1.0], f(2), f(2, 3, 1), f(4, 2, 3), f(0)]
CLASSES = (f(5, 4), i(5))
NO_CLASSES = [
    (f(5, 4), i(5, value=4)), (f(5, 4), i(5, value=-1)), (f(5, 4), i(4)), (f(5, 4), i(5, 1)), (f(5, 4), i()),
    (f(5, 4), f(5)), (f(5, 4), i(5) > 0), (f(4), i(2)), (f(5, 4), None), (f(5, 4),), (i(5, 4), i(5)),
]  # fmt: skip
IMAGES_OF_CLASSES = [
    (f(5, 4, 3), i(5, 4)),
    (f(5, 4, 3), i(5)),
    (f(5, 4, 3, 2), i(5, 2, 3)),
    (f(5, 4, 3), f(5, 3)),
]
NO_WEIGHTS = ["a", 1.0, [1.0] * 4, f(3), f(5), f(4, 1), f(), f(4, dtype="complex64")]
COMPLEX = f(2, 3, dtype="complex64")
THREE = (f(5, 4),) * 3
LOSSES = {
    "MSELoss": ({}, SAME, {}, [*UNLIKE, (i(2, 3), i(2, 3)), (COMPLEX, COMPLEX)]),
    "L1Loss": ({}, SAME, {}, UNLIKE),
    "SmoothL1Loss": ({}, SAME, {"beta": [-1.0, *NUMBER]}, [*UNLIKE, (COMPLEX, COMPLEX)]),
    "HuberLoss": ({}, SAME, {"delta": [0.0, -1.0, *NUMBER]}, [*UNLIKE, (COMPLEX, COMPLEX)]),
    "PoissonNLLLoss": ({}, SAME, {"log_input": FLAG, "full": FLAG, "eps": NUMBER}, UNLIKE),
    "KLDivLoss": ({}, SAME, {"log_target": FLAG}, UNLIKE),
    "BCELoss": ({}, SAME, {"weight": WEIGHTS}, [*UNLIKE, *((f(2, 3, value=v), f(2, 3)) for v in (-0.1, 1.1, np.nan)), *((f(2, 3), f(2, 3, value=v)) for v in (-0.1, 1.1, np.nan)), (f(2, 3), f(3)), (f(2, 3), f(2, 3, dtype="float64"))]),
    "BCEWithLogitsLoss": ({}, SAME, {"weight": WEIGHTS, "pos_weight": WEIGHTS}, [*UNLIKE, (f(2, 3), f(3)), (f(2, 3), f())]),
    "SoftMarginLoss": ({}, SAME, {}, UNLIKE),
    "HingeEmbeddingLoss": ({}, SAME, {"margin": NUMBER}, UNLIKE),
    "MultiLabelSoftMarginLoss": ({}, SAME, {"weight": [w for w in WEIGHTS if getattr(w, "ndim", 1) < 3 or w.shape[-1] == 1]}, UNLIKE),
    "NLLLoss": ({}, CLASSES, {"weight": NO_WEIGHTS, "ignore_index": ["a", None, 1.5, (1,), True]}, [*NO_CLASSES, *IMAGES_OF_CLASSES, (f(), i()), (f(5, 4), i(5, 4))]),
    "CrossEntropyLoss": ({}, CLASSES, {"weight": NO_WEIGHTS, "ignore_index": ["a", None, 1.5, (1,), True], "label_smoothing": [1.1, "a", None, (0.1,)]}, [*NO_CLASSES, *IMAGES_OF_CLASSES, (f(), i()), (f(5, 4), i(5, 4)), (f(5, 4), i(5, 4) > 0), (f(5, 4), f(5, 3))]),
    "MultiMarginLoss": ({}, CLASSES, {"weight": NO_WEIGHTS, "p": [0, 3, 1.5, -1, "a", None, (1,)], "margin": NUMBER}, [*NO_CLASSES, (f(5, 4, 3), i(5, 3)), (f(5, 4), i(5, 4))]),
    "MultiLabelMarginLoss": ({}, (f(5, 4), i(5, 4)), {}, [(f(5, 4), i(5, 4, value=4)), (f(5, 4), i(5, 4, value=-2)), (f(5, 4), f(5, 4)), (f(5, 4), i(5)), (f(4), i(1, 4)), (f(5, 4, 2), i(5, 4, 2)), (f(5, 0), i(5, 0)), (f(5, 4), None)]),
    "MarginRankingLoss": ({}, (f(5),) * 3, {"margin": NUMBER}, [(f(5), f(4), f(5)), (f(5), f(5), f(4)), (f(5), f(5, 1), f(5)), (f(5), f(5), f(5, 1)), (f(5), f(5)), (f(5), f(5), None)]),
    "CosineEmbeddingLoss": ({}, (f(5, 4), f(5, 4), f(5)), {"margin": NUMBER}, [(f(5, 4), f(6, 4), f(5)), (f(5, 4), f(5, 3), f(5)), (f(5, 4), f(5, 4), f(6)), (f(5, 4), f(5, 4), f(5, 4)), (f(5, 4), f(5, 4), f()), (f(4), f(4), f(4)), (f(5, 4, 2), f(5, 4, 2), f(5)), (f(5, 4), f(5, 4))]),
    "TripletMarginLoss": ({}, THREE, {"margin": [0.0, -1.0, *NUMBER], "p": NUMBER, "eps": NUMBER}, [(f(5, 4), f(6, 4), f(5, 4)), (f(5, 4), f(5, 4), f(5, 3)), (f(5, 4), f(5, 4), f(4)), (f(5, 4), f(5, 4)), (f(5, 4), f(5, 4), None)]),
    "GaussianNLLLoss": ({}, THREE, {"eps": NUMBER}, [(f(5, 4), f(5, 4), f(5, 4, value=-1.0)), (f(5, 4), f(5, 4), f(5, 3)), (f(5, 4), f(5, 4), f(6, 4)), (f(5, 4), f(5, 4), f(4)), (f(5, 4), f(5, 4), f()), (f(), f(), f(1)), (f(5, 4), f(6, 4), f(5, 4)), (f(5, 4), f(5, 4))]),
}  # fmt: skip
for row in LOSSES.values():
    row[2]["reduction"] = ["x", "Mean", None, 1]


def there(value):
    """For PyTorch: arrays as tensors."""
    return torch.from_numpy(np.array(value)) if isinstance(value, np.ndarray) else value


def run(module, name, arguments, inputs):
    convert = there if module is nn else lambda value: value
    layer = getattr(module, name)(**{k: convert(v) for k, v in arguments.items()})
    return layer, layer(*map(convert, inputs))


def refused(name, arguments, inputs):
    with pytest.raises(RAISED):
        run(nn, name, arguments, inputs)
    with pytest.raises((ValueError, TypeError), match=rf"^{LABELS.get(name, name)}\b"):
        run(xpconv, name, arguments, inputs)


TABLE = LAYERS | LOSSES
ARGUMENTS = [(name, argument) for name, row in TABLE.items() for argument, values in row[2].items() if values]


def described(value):
    return f"{value.dtype}{list(value.shape)}" if isinstance(value, np.ndarray) else repr(value)


quiet = pytest.mark.filterwarnings(
    "ignore::UserWarning", "ignore::FutureWarning", "ignore::DeprecationWarning"
)


@quiet
@pytest.mark.parametrize("name", TABLE)
def test_what_fits_is_taken(name):
    """Else all below would prove nothing; and a gradient of another shape or dtype than the output is refused."""
    arguments, inputs = TABLE[name][:2]
    run(nn, name, arguments, inputs)
    layer, y = run(xpconv, name, arguments, inputs)
    for g in (f(*y.shape, 2), f(*y.shape, dtype="float64")):
        with pytest.raises((ValueError, TypeError), match=r"^\w+\.backward: grad_output"):
            layer.backward(g)
    layer.backward(f(*y.shape))


@quiet
@pytest.mark.parametrize(("name", "argument"), ARGUMENTS)
def test_arguments(name, argument):
    arguments, inputs, values, _ = TABLE[name]
    for value in values[argument]:
        print(f"{name}: {argument}={described(value)}")  # the last one is shown where the test fails
        refused(name, arguments | {argument: value}, inputs)


@quiet
@pytest.mark.parametrize("name", [name for name, row in TABLE.items() if row[3]])
def test_inputs(name):
    for inputs in TABLE[name][3]:
        print(name, *map(described, inputs))
        refused(name, TABLE[name][0], inputs)


@pytest.mark.parametrize("name", TABLE)
def test_dtypes(name):
    """Wherever PyTorch refuses one of these, and everywhere else: no layer here takes them, nor gives them back."""
    arguments, inputs = TABLE[name][:2]
    for dtype in ("int64", "bool", "complex64"):
        layer = getattr(xpconv, name)(**arguments)
        with pytest.raises(TypeError, match=rf"^{LABELS.get(name, name)}\b.* is {dtype}"):
            layer(inputs[0].astype(dtype), *inputs[1:])
        y = layer(*inputs)
        with pytest.raises(TypeError, match=rf"\.backward: grad_output is {dtype}"):
            layer.backward(np.asarray(y).astype(dtype))


# --- optimizers, schedules, clipping -----------------------------------------------------------------

SETTING = [-1.0, *NUMBER]
BETAS = [
    (1.0, 0.9),
    (0.9, 1.0),
    (-0.1, 0.9),
    (0.9,),
    (0.9, 0.9, 0.9),
    0.9,
    None,
    "ab",
    ("a", 0.9),
    (0.9, None),
]
OPTIMIZERS = {
    "SGD": {"lr": SETTING, "momentum": SETTING, "weight_decay": SETTING, "nesterov": [True]},
    "Adam": {"lr": SETTING, "betas": BETAS, "eps": SETTING, "weight_decay": SETTING},
    "AdamW": {"lr": SETTING, "betas": BETAS, "eps": SETTING, "weight_decay": SETTING},
    "NAdam": {"lr": SETTING, "betas": BETAS, "eps": SETTING, "weight_decay": SETTING, "momentum_decay": SETTING},
    "RAdam": {"lr": SETTING, "betas": BETAS, "eps": SETTING, "weight_decay": SETTING},
    "RMSprop": {"lr": SETTING, "alpha": SETTING, "eps": SETTING, "weight_decay": SETTING, "momentum": SETTING},
    "Adagrad": {
        "lr": SETTING, "lr_decay": SETTING, "eps": SETTING, "weight_decay": SETTING,
        "initial_accumulator_value": SETTING,
    },
}  # fmt: skip
SCHEDULES = {
    "StepLR": ({"step_size": 2}, {"optimizer": [None, 1], "step_size": ["a", None, 0, (1,)], "gamma": ["a", None, (1,)]}),
    "MultiStepLR": ({"milestones": [1, 2]}, {"optimizer": [None, 1], "milestones": [0, 1.5], "gamma": ["a", None, (1,)]}),
    "ExponentialLR": ({"gamma": 0.5}, {"optimizer": [None, 1], "gamma": ["a", None, (1,)]}),
    "LinearLR": ({}, {"optimizer": [None, 1], "start_factor": [0, -1, 1.5, "a", None, (1,)], "end_factor": [-1, 1.5, "a", None, (1,)], "total_iters": ["a", None, (1,)]}),
    "CosineAnnealingLR": ({"T_max": 4}, {"optimizer": [None, 1], "T_max": [0, "a", None, (1,)], "eta_min": ["a", None, (1,)]}),
    "CosineAnnealingWarmRestarts": ({"T_0": 2}, {"optimizer": [None, 1], "T_0": [0, -1, 1.5, "a", None, (1,)], "T_mult": [0, -1, 1.5, "a", None, (1,)], "eta_min": ["a", None, (1,)]}),
    "OneCycleLR": (
        {"max_lr": 0.1, "total_steps": 20, "cycle_momentum": False},
        {
            "optimizer": [None, 1], "max_lr": ["a", None, [0.1, 0.2]], "total_steps": ["a", 0, -1, 1.5, None, (1,)],
            "pct_start": ["a", None, (1,), -0.1, 1.1, 0.05], "anneal_strategy": ["x", None, 1],
            "div_factor": ["a", None, (1,), 0], "final_div_factor": ["a", None, (1,), 0],
        },
    ),
    "ReduceLROnPlateau": (
        {},
        {
            "optimizer": [None, 1], "mode": ["x", None], "factor": ["a", None, 1.0, 1.5, (1,)], "patience": ["a", None, (1,)],
            "threshold": ["a", None, (1,)], "threshold_mode": ["x", None], "min_lr": [None, [0.1, 0.1]], "eps": ["a", None, (1,)],
        },
    ),
}  # fmt: skip


def parameters(module):
    if module is nn:
        return [nn.Parameter(torch.ones(2))]
    return [xpconv.Parameter(np.ones(2, "float32"))]


def steps(module, name, settings, schedule=None, options=()):
    """An optimizer of these settings, and a schedule if there is one, for 15 steps."""
    params = parameters(module)
    optimizer = getattr(torch.optim if module is nn else xpconv, name)(params, **settings)
    if schedule is not None:
        of = torch.optim.lr_scheduler if module is nn else xpconv
        schedule = getattr(of, schedule)(**{"optimizer": optimizer, **dict(options)})
    for _ in range(15):
        params[0].grad = torch.ones(2) if module is nn else np.ones(2, "float32")
        optimizer.step()
        if schedule is not None:
            schedule.step(*[1.0] if isinstance(schedule, PLATEAUS) else [])


PLATEAUS = (xpconv.ReduceLROnPlateau, torch.optim.lr_scheduler.ReduceLROnPlateau)
SETTINGS = [(name, key) for name, row in OPTIMIZERS.items() for key in row]
OPTIONS = [(name, key) for name, (_, row) in SCHEDULES.items() for key in row]


@pytest.mark.parametrize(("name", "key"), SETTINGS)
def test_settings(name, key):
    for value in OPTIMIZERS[name][key]:
        print(f"{name}: {key}={value!r}")
        with pytest.raises(RAISED):
            steps(nn, name, {key: value})
        with pytest.raises((ValueError, TypeError), match=rf"^{name}: {key}\b"):
            steps(xpconv, name, {key: value})


@quiet
@pytest.mark.parametrize(("name", "key"), OPTIONS)
def test_schedules(name, key):
    works, values = SCHEDULES[name]
    for module in (nn, xpconv):
        steps(module, "SGD", {"lr": 0.1}, name, works)
    for value in values[key]:
        print(f"{name}: {key}={value!r}")
        with pytest.raises(RAISED):
            steps(nn, "SGD", {"lr": 0.1}, name, works | {key: value})
        with pytest.raises((ValueError, TypeError), match=rf"^{name}:"):
            steps(xpconv, "SGD", {"lr": 0.1}, name, works | {key: value})


@pytest.mark.parametrize(
    "make",
    [
        lambda p: [],
        lambda p: None,
        lambda p: [1, 2],
        lambda p: p[0],
        lambda p: "ab",
        lambda p: [{"lr": 1.0}],
        lambda p: [{"params": p}, {"params": p}],
        lambda p: [{"params": [1]}],
        lambda p: [{"params": 1}],
        lambda p: [{"params": set(p)}],
        lambda p: [{"params": p}, p[0]],
    ],
)
@pytest.mark.parametrize("name", ["SGD", "Adam"])
def test_params(make, name):
    with pytest.raises(RAISED):
        getattr(torch.optim, name)(make(parameters(nn)))
    with pytest.raises((ValueError, TypeError), match=rf"^{name}: (params|a group)"):
        getattr(xpconv, name)(make(parameters(xpconv)))


@pytest.mark.parametrize("value", ["a", None, (1,)])
@pytest.mark.parametrize("name", ["clip_grad_norm_", "clip_grad_value_"])
def test_clipping(name, value):
    theirs, ours = parameters(nn), parameters(xpconv)
    theirs[0].grad, ours[0].grad = torch.ones(2), np.ones(2, "float32")
    with pytest.raises(RAISED):
        getattr(nn.utils, name)(theirs, value)
    with pytest.raises((ValueError, TypeError), match=rf"^{name}:"):
        getattr(xpconv, name)(ours, value)
    if name == "clip_grad_norm_":
        with pytest.raises(RAISED):
            nn.utils.clip_grad_norm_(theirs, 1.0, value)
        with pytest.raises((ValueError, TypeError), match=rf"^{name}: norm_type"):
            xpconv.clip_grad_norm_(ours, 1.0, value)


@pytest.mark.parametrize("layers", [{"a.b": None}, {1: None}], ids=str)
def test_names_of_layers(layers):
    with pytest.raises(RAISED):
        nn.Sequential(OrderedDict((name, nn.ReLU()) for name in layers))
    with pytest.raises((ValueError, TypeError), match=r"^Sequential:"):
        xpconv.Sequential({name: xpconv.ReLU() for name in layers})
