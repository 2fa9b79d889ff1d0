"""Every public layer and loss, made small, with host inputs: for tests that sweep over all of them."""

import inspect

import numpy as np

import xpconv

_rng = np.random.default_rng(14)


def f(*shape):
    """float32 away from the kinks of activations, of both signs."""
    x = _rng.normal(size=shape)
    return (x + np.sign(x) * 0.05).astype("float32")


def p(*shape):
    return _rng.uniform(0.1, 0.9, shape).astype("float32")


def classes(n, *shape):
    return _rng.integers(0, n, shape)


VECTOR, IMAGE = f(3, 4), f(2, 4, 6, 6)
PIXELS = {1: (2, 4, 6), 2: (2, 4, 6, 6), 3: (2, 4, 6, 6, 6)}

# name: (the layer's class, its arguments, its inputs); the key is for people
LAYERS = {}


def add(name, *arguments, inputs=(VECTOR,), **options):
    said = [*map(repr, arguments), *(f"{k}={v!r}" for k, v in options.items())]
    LAYERS[f"{name}({', '.join(said)})"] = (name, arguments, options, inputs)


for d, shape in PIXELS.items():
    x = (f(*shape),)
    for mode in ("zeros", "reflect", "circular"):
        add(f"Conv{d}d", 4, 4, 3, padding=1, padding_mode=mode, rng=0, inputs=x)
    add(f"Conv{d}d", 4, 4, 1, bias=False, rng=0, inputs=x)
    add(f"Conv{d}d", 4, 4, 2, stride=2, groups=2, rng=0, inputs=(x[0][0],))
    add(f"LazyConv{d}d", 3, 3, rng=0, inputs=x)
    add(f"LazyBatchNorm{d}d", inputs=x)
    add(f"ConvTranspose{d}d", 4, 4, 3, stride=2, rng=0, inputs=x)
    add(f"BatchNorm{d}d", 4, inputs=x)
    add(f"BatchNorm{d}d", 4, affine=False, track_running_stats=False, inputs=x)
    add(f"InstanceNorm{d}d", 4, inputs=x)
    add(f"InstanceNorm{d}d", 4, affine=True, track_running_stats=True, inputs=x)
    add(f"MaxPool{d}d", 2, inputs=x)
    add(f"MaxPool{d}d", 3, 2, padding=1, return_indices=True, inputs=x)
    add(f"AvgPool{d}d", 2, inputs=x)
    add(f"AvgPool{d}d", 1, inputs=x)
    add(f"LPPool{d}d", 2.0, 2, inputs=x)
    add(f"LPPool{d}d", 2.0, 1, inputs=(x[0][0],))
    add(f"AdaptiveAvgPool{d}d", 3, inputs=x)
    add(f"AdaptiveAvgPool{d}d", 6, inputs=x)
    add(f"AdaptiveMaxPool{d}d", 3, inputs=x)
    add(f"AdaptiveMaxPool{d}d", 6, return_indices=True, inputs=(x[0][0],))
    add(f"GlobalAvgPool{d}d", inputs=x)
    add(f"GlobalMaxPool{d}d", inputs=x)
    add(f"Dropout{d}d", rng=0, inputs=x)
    add(f"ZeroPad{d}d", 1, inputs=x)
    add(f"ZeroPad{d}d", 0, inputs=x)
    add(f"ConstantPad{d}d", 1, 2.0, inputs=x)
    for mode in ("Reflection", "Replication", "Circular"):
        add(f"{mode}Pad{d}d", 1, inputs=x)
        add(f"{mode}Pad{d}d", 0, inputs=x)
    pooled = np.arange(16, dtype="int64").reshape(2, 8)[:, :3].repeat(4, 0).reshape(2, 4, 3) % 6
    places = np.broadcast_to(pooled.reshape(2, 4, 3, *(1,) * (d - 1)), (2, 4, *(3,) * d))
    places = places * np.ones((2, 4, *(3,) * d), "int64")
    add(f"MaxUnpool{d}d", 2, inputs=(f(2, 4, *(3,) * d), places))
for name in [
    "CELU",
    "ELU",
    "GELU",
    "SELU",
    "Hardshrink",
    "Hardsigmoid",
    "Hardswish",
    "Hardtanh",
    "LeakyReLU",
    "LogSigmoid",
    "Mish",
    "PReLU",
    "ReLU",
    "ReLU6",
    "SiLU",
    "Sigmoid",
    "Softplus",
    "Softshrink",
    "Softsign",
    "Tanh",
    "Tanhshrink",
    "Identity",
    "Flatten",
    "GLU",
]:
    add(name)
add("ReLU", inputs=(IMAGE,))
add("ReLU", True)
add("GELU", "tanh")
add("Threshold", 0.1, 0.5)
add("Dropout", rng=0)
add("Dropout", 0.0)
add("AlphaDropout", rng=0)
add("DropPath", rng=0, inputs=(IMAGE,))
add("LazyLinear", 3, rng=0)
for name in ("Softmax", "LogSoftmax", "Softmin"):
    add(name, 1)
    add(name, 0)
    add(name, 1, inputs=(IMAGE,))
add("Softmax2d", inputs=(IMAGE,))
for name in ("LayerNorm", "RMSNorm"):
    add(name, 4)
    add(name, 4, elementwise_affine=False)
    add(name, (6, 6), inputs=(IMAGE,))
add("GroupNorm", 2, 4, inputs=(IMAGE,))
add("GroupNorm", 2, 4, affine=False, inputs=(IMAGE,))
add("LocalResponseNorm", 2, inputs=(IMAGE,))
add("Dense", 4, 3, rng=0)
add("Dense", 4, 4, bias=False, rng=0, inputs=(VECTOR[0],))
add("Dense", 4, 1, rng=0, inputs=(VECTOR[:1],))
add("Linear", 4, 3, rng=0, inputs=(f(2, 3, 4),))
add("Bilinear", 4, 3, 2, rng=0, inputs=(VECTOR, f(3, 3)))
add("Embedding", 5, 4, rng=0, inputs=(classes(5, 3, 2),))
add("Embedding", 5, 4, padding_idx=1, scale_grad_by_freq=True, rng=0, inputs=(classes(5, 3),))
add("Flatten", inputs=(IMAGE,))
add("Unflatten", 1, (2, 2))
add("PixelShuffle", 2, inputs=(IMAGE,))
add("PixelShuffle", 1, inputs=(IMAGE,))
add("PixelUnshuffle", 2, inputs=(IMAGE,))
add("ChannelShuffle", 2, inputs=(IMAGE,))
add("Upsample", scale_factor=2, inputs=(IMAGE,))
add("Upsample", size=6, mode="bilinear", inputs=(IMAGE,))
add("UpsamplingNearest2d", size=6, inputs=(IMAGE,))
add("UpsamplingBilinear2d", size=5, inputs=(IMAGE,))
add("Unfold", 2, inputs=(IMAGE,))
add("Unfold", 1, inputs=(IMAGE,))
add("Fold", 6, 2, inputs=(f(2, 16, 25),))
add("Fold", 6, 1, inputs=(f(2, 4, 36),))
add("DepthwiseConv2d", 4, 3, rng=0, inputs=(IMAGE,))
add("SeparableConv2d", 4, 3, 3, rng=0, inputs=(IMAGE,))
add("SqueezeExcitation", 4, 2, rng=0, inputs=(IMAGE,))

# Layers made of layers: (a function that makes it, its inputs)
MODELS = {
    "Sequential()": lambda m: m.Sequential(),
    "Sequential(Conv2d, ReLU)": lambda m: m.Sequential(m.Conv2d(4, 4, 3, padding=1, rng=0), m.ReLU()),
    "Sequential(Conv2d, Hardtanh)": lambda m: m.Sequential(m.Conv2d(4, 4, 3, rng=0), m.Hardtanh()),
    "Sequential(BatchNorm2d, ReLU)": lambda m: m.Sequential(m.BatchNorm2d(4), m.ReLU()),
    "Sequential(ReLU, MaxPool2d)": lambda m: m.Sequential(m.ReLU(), m.MaxPool2d(2)),
    "Sequential(Sigmoid, Flatten)": lambda m: m.Sequential(m.Sigmoid(), m.Flatten(), m.Identity()),
    "Sequential(Flatten, Sigmoid)": lambda m: m.Sequential(m.Identity(), m.Flatten(), m.Sigmoid()),
    "Sequential(Flatten, Unflatten, Conv2d)": lambda m: m.Sequential(
        m.Flatten(), m.Unflatten(1, (4, 6, 6)), m.Conv2d(4, 2, 3, rng=0)
    ),
    "Parallel": lambda m: m.Parallel(m.Tanh(), m.SiLU(), m.Identity()),
    "Parallel of one": lambda m: m.Parallel(m.Tanh()),
    "Concat": lambda m: m.Concat(m.Identity(), m.Conv2d(4, 4, 1, rng=0), m.Sigmoid()),
    "Concat of one": lambda m: m.Concat(m.Sigmoid()),
    "Residual": lambda m: m.Residual(m.Conv2d(4, 4, 3, padding=1, rng=0), m.BatchNorm2d(4)),
    "Sequential(Residual, ReLU)": lambda m: m.Sequential(
        m.Residual(m.GroupNorm(2, 4), m.Conv2d(4, 4, 1, rng=0), shortcut=m.Conv2d(4, 4, 1, rng=1)), m.ReLU()
    ),
    "Sequential(Residual())": lambda m: m.Sequential(m.Residual(), m.LayerNorm((6, 6))),
    "Graph": lambda m: m.Graph(
        {
            "conv": (m.Conv2d(4, 4, 3, padding=1, rng=0), "x"),
            "relu": (m.ReLU(), "conv"),
            "product": (m.Bilinear(6, 6, 5, rng=0), "relu", "x"),
        },
        "x",
        "product",
    ),
    "nested": lambda m: m.Sequential(
        m.Sequential(m.InstanceNorm2d(4)), m.Sequential(m.Dropout(0.0)), m.Sequential(m.ReLU6())
    ),
}  # fmt: skip


def made_of_layers():
    """Public classes of layers that take layers, which `MODELS` has."""
    return {
        "Concat",
        "Graph",
        "Parallel",
        "Residual",
        "Sequential",
        "ModuleDict",
        "ModuleList",
    }  # the last have no forward


def all_layers():
    """`id: (make, inputs)`."""
    rows = {
        key: (lambda row=row: getattr(xpconv, row[0])(*row[1], **row[2]), row[3])
        for key, row in LAYERS.items()
    }
    rows |= {key: (lambda make=make: make(xpconv), (IMAGE,)) for key, make in MODELS.items()}
    return rows


def names(base):
    """The public classes that are a `base`."""
    found = {name: getattr(xpconv, name) for name in xpconv.__all__}
    return {n for n, c in found.items() if inspect.isclass(c) and issubclass(c, base) and c is not base}


N, C = 5, 4
X, UNIT, SIGNS = f(N, C), p(N, C), np.where(_rng.random((N, C)) < 0.5, -1, 1).astype("float32")
WEIGHT = p(C)
LOG_P = np.log(_rng.dirichlet(np.ones(C), N)).astype("float32")
RANKED = np.array([[3, 0, -1, 1], [-1, 1, 2, 3], [2, -1, 0, 0], [0, 1, 2, 3], [1, 2, -1, -1]])

# name: options, inputs
LOSSES = {
    "MSELoss": ({}, (X, UNIT)),
    "L1Loss": ({}, (X, UNIT)),
    "SmoothL1Loss": ({"beta": 0.3}, (X, UNIT)),
    "HuberLoss": ({"delta": 0.3}, (X, UNIT)),
    "PoissonNLLLoss": ({"full": True}, (UNIT, 4 * UNIT)),
    "KLDivLoss": ({}, (LOG_P, UNIT)),
    "BCELoss": ({"weight": WEIGHT}, (UNIT, p(N, C))),
    "BCEWithLogitsLoss": ({"weight": WEIGHT, "pos_weight": WEIGHT}, (X, UNIT)),
    "SoftMarginLoss": ({}, (X, SIGNS)),
    "HingeEmbeddingLoss": ({}, (X, SIGNS)),
    "FocalLoss": ({}, (X, UNIT)),
    "DiceLoss": ({}, (UNIT[..., None], (X > 0).astype("float32")[..., None])),
    "MultiLabelSoftMarginLoss": ({"weight": WEIGHT}, (X, UNIT)),
    "MultiMarginLoss": ({"p": 2, "weight": WEIGHT}, (X, classes(C, N))),
    "MultiLabelMarginLoss": ({}, (X, RANKED)),
    "NLLLoss": ({"weight": WEIGHT}, (LOG_P, classes(C, N))),
    "CrossEntropyLoss": ({"weight": WEIGHT, "ignore_index": 1, "label_smoothing": 0.1}, (X, classes(C, N))),
    "MarginRankingLoss": ({"margin": 0.3}, (X, f(N, C), SIGNS)),
    "CosineEmbeddingLoss": ({"margin": 0.1}, (X, f(N, C), SIGNS[:, 0].copy())),
    "TripletMarginLoss": ({"margin": 3.0, "swap": True}, (X, f(N, C), f(N, C))),
    "GaussianNLLLoss": ({"full": True}, (X, UNIT, p(N, C))),
    "CTCLoss": ({}, (np.stack([LOG_P] * 4), 1 + classes(C - 1, N, 2), np.full(N, 4), np.array([2, 1, 0, 2, 1]))),
}  # fmt: skip
LOSSES["SoftmaxCrossEntropyLoss"] = LOSSES["CrossEntropyLoss"]  # its other name

for *_, inputs in (*LAYERS.values(), *LOSSES.values()):
    for array in inputs:
        array.flags.writeable = False  # all tests share them
