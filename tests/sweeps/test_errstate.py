"""No layer raises an error for harmless values under `numpy.seterr(all="raise")`, which helps to find NaN."""

import contextvars
import functools
import inspect
import threading

import numpy as np
import pytest

import xpconv

VALUES = [0, -0.0, 1e-30, -1e-30, 1e-40, -1e-40, 1e-45, 200, -200, 1e4, -1e4, 88.7, -88.7, 103.9, -104, 1, -1, 0.5,
          -2.5, 3, -3, 6, 20.1, 1e-20]  # fmt: skip
IMAGES = {1: (2, 4, 12), 2: (2, 4, 6, 6), 3: (2, 4, 4, 4, 4)}
X = IMAGES[2]

CASES = {
    "GELU": [({}, X), ({"approximate": "tanh"}, X)],
    "Softplus": [({}, X), ({"beta": 2, "threshold": 5}, X), ({"threshold": 1000}, X)],
    "CELU": [({}, X), ({"alpha": 0.01}, X)],
    "Threshold": [({"threshold": 0.1, "value": 20}, X)],
    "PReLU": [({}, X), ({"num_parameters": 4}, X)],
    "Softmax2d": [({}, X)],
    "Dense": [
        ({"in_features": 8, "out_features": 4}, (64, 8)),
        ({"in_features": 1200, "out_features": 1}, (1, 1200)),
        ({"in_features": 2, "out_features": 2}, (3000, 2)),
    ],
    "LazyLinear": [({"out_features": 4}, (64, 8))],
    "Bilinear": [({"in1_features": 4, "in2_features": 3, "out_features": 2}, (8, 4), (8, 3))],
    "LayerNorm": [({"normalized_shape": 6}, X), ({"normalized_shape": X[1:]}, X)],
    "RMSNorm": [({"normalized_shape": 6}, X)],
    "GroupNorm": [({"num_groups": 2, "num_channels": 4}, X)],
    "LocalResponseNorm": [({"size": 3}, X)],
    "AlphaDropout": [({"p": 0.3}, X)],
    "Dropout": [({"p": 0.3}, X)],
    "DropPath": [({"p": 0.3}, X)],
    "SqueezeExcitation": [({"input_channels": 4, "squeeze_channels": 2}, X)],
    "SeparableConv2d": [({"in_channels": 4, "out_channels": 3, "kernel_size": 3}, X)],
    "DepthwiseConv2d": [({"in_channels": 4, "kernel_size": 3}, X)],
    "Upsample": [
        ({"scale_factor": 2, "mode": m}, X) for m in ("nearest", "nearest-exact", "bilinear", "bicubic", "area")
    ],
    "UpsamplingBilinear2d": [({"scale_factor": 3}, X)],
    "UpsamplingNearest2d": [({"scale_factor": 2}, X)],
    "Unfold": [({"kernel_size": 2}, X)],
    "Fold": [({"output_size": 6, "kernel_size": 2}, (2, 16, 25))],
    "PixelShuffle": [({"upscale_factor": 2}, X)],
    "PixelUnshuffle": [({"downscale_factor": 2}, X)],
    "ChannelShuffle": [({"groups": 2}, X)],
    "Unflatten": [({"dim": 1, "unflattened_size": (2, 2)}, X)],
}  # fmt: skip
for name in ("Softmax", "LogSoftmax", "Softmin"):
    CASES[name] = [({"dim": dim}, X) for dim in (0, 1, -1)]
for axes, shape in IMAGES.items():
    d = f"{axes}d"
    CASES |= {
        f"Conv{d}": [
            ({"in_channels": 4, "out_channels": 5, "kernel_size": 3, "padding": 1}, shape),
            ({"in_channels": 4, "out_channels": 4, "kernel_size": 3, "groups": 4}, shape),
            ({"in_channels": 4, "out_channels": 4, "kernel_size": 3, "groups": 2, "stride": 2}, shape),
            ({"in_channels": 4, "out_channels": 4, "kernel_size": 1}, shape),
        ],
        f"LazyConv{d}": [({"out_channels": 3, "kernel_size": 3}, shape)],
        f"ConvTranspose{d}": [({"in_channels": 4, "out_channels": 3, "kernel_size": 3, "stride": 2}, shape)],
        f"BatchNorm{d}": [({"num_features": 4}, shape)],
        f"LazyBatchNorm{d}": [({}, shape)],
        f"InstanceNorm{d}": [({"num_features": 4, "affine": True, "track_running_stats": True}, shape)],
        f"LPPool{d}": [({"norm_type": q, "kernel_size": 2}, shape) for q in (1, 2, 4)],
        f"AvgPool{d}": [({"kernel_size": 3, "stride": 1, "padding": 1}, shape)],
        f"MaxPool{d}": [({"kernel_size": 3, "stride": 1, "padding": 1}, shape), ({"kernel_size": 2}, shape)],
        f"AdaptiveAvgPool{d}": [({"output_size": 3}, shape)],
        f"AdaptiveMaxPool{d}": [({"output_size": 3}, shape)],
        f"ConstantPad{d}": [({"padding": 1, "value": 3.0}, shape)],
        f"Dropout{d}": [({"p": 0.3}, shape)],
        f"GlobalAvgPool{d}": [({}, shape)],
        f"GlobalMaxPool{d}": [({}, shape)],
    }
    CASES |= {
        f"{n}Pad{d}": [({"padding": 2}, shape)] for n in ("Reflection", "Replication", "Circular", "Zero")
    }
LARGE = [
    ("Conv2d", {"in_channels": c, "out_channels": k, "kernel_size": r, "padding": r // 2}, (n, c, s, s))
    for r in (1, 3)
    for c, k, s, n in ((64, 64, 16, 1), (3, 16, 24, 4), (1, 8, 28, 64), (2, 2, 28, 64))
] + [
    ("Conv2d", {"in_channels": 1, "out_channels": 8, "kernel_size": 5, "padding": 2}, (64, 1, 28, 28)),
    ("BatchNorm2d", {"num_features": 2}, (64, 2, 40, 40)),
    ("BatchNorm2d", {"num_features": 8}, (8, 8, 64, 64)),
    ("ReLU", {}, (1, 8, 400, 400)),
    ("Sigmoid", {}, (1, 8, 400, 400)),
    ("Dense", {"in_features": 64, "out_features": 64}, (8000, 64)),
]  # fmt: skip
CASES["Linear"] = CASES["Dense"]
OTHERS = {  # containers, and what takes more than arrays of floats
    "Concat", "Embedding", "Graph", "Layer", "MaxUnpool1d", "MaxUnpool2d", "MaxUnpool3d", "ModuleDict", "ModuleList",
    "Parallel", "Residual", "Sequential",
}  # fmt: skip


def every():
    for name in sorted(set(xpconv.layers.__all__) - OTHERS):
        for options, *shapes in CASES.get(name, [({}, X)]):
            yield pytest.param(name, options, shapes, id=f"{name} {options}")


def harmless(shape, seed, dtype):
    return _harmless(shape, seed, dtype).copy()


@functools.lru_cache(4)
def _harmless(shape, seed, dtype):
    order = np.random.default_rng(seed).permutation(int(np.prod(shape))) % len(VALUES)
    largest = 50 if dtype == "float16" else np.inf
    with np.errstate(under="ignore"):
        return np.clip(np.array(VALUES), -largest, largest).astype(dtype)[order].reshape(shape)


def steps(layer, shapes, dtype, times):
    """Everything that a few forwards and backwards give: their calls are then repeated from a record."""
    xpconv.manual_seed(0)
    inputs = [harmless(shape, i, dtype) for i, shape in enumerate(shapes)]
    for _ in range(times):
        layer.zero_grad()
        y = layer(*inputs)
        gradients = layer.backward(harmless(y.shape, 9, dtype))
    found = [y, *(gradients if isinstance(gradients, tuple) else (gradients,))]
    return found + [p.grad for p in layer.parameters()] + list(layer.state_dict().values())


def made(name, options, dtype):
    """A layer that needs arguments has a row in CASES, as has one that takes no image."""
    needed = [
        p.name for p in inspect.signature(getattr(xpconv, name)).parameters.values() if p.default is p.empty
    ]
    missing = {n for n in needed if n not in ("args", "kwargs")} - options.keys()
    assert not missing, f"{name}: CASES in tests/sweeps/test_errstate.py gives no {missing}"
    xpconv.manual_seed(0)
    return getattr(xpconv, name)(**options).to(dtype=dtype)


@pytest.mark.sample(4)
@pytest.mark.parametrize("dtype", ["float32", pytest.param("float64", marks=pytest.mark.slow), "float16"])
@pytest.mark.parametrize(("name", "options", "shapes"), list(every()))
def test_every_layer(name, options, shapes, dtype):
    no_error(name, options, shapes, dtype)


@pytest.mark.sample(3)
@pytest.mark.parametrize("dtype", ["float32", pytest.param("float64", marks=pytest.mark.slow)])
@pytest.mark.parametrize(("name", "options", "shape"), LARGE, ids=str)
def test_large_inputs(name, options, shape, dtype):
    no_error(name, options, [shape], dtype)


def no_error(name, options, shapes, dtype):
    with np.errstate(all="ignore"):
        expected = steps(made(name, options, dtype), shapes, dtype, 3)
    if dtype == "float16" and not all(np.isfinite(a).all() for a in expected if a is not None):
        pytest.skip("sums overflow in float16")
    with np.errstate(all="raise"):
        found = steps(made(name, options, dtype), shapes, dtype, 3)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b)


def network():
    xpconv.manual_seed(0)
    return xpconv.Sequential(
        xpconv.Conv2d(3, 16, 3, padding=1), xpconv.BatchNorm2d(16), xpconv.ReLU(),
        xpconv.Residual(xpconv.Conv2d(16, 16, 3, padding=1), xpconv.BatchNorm2d(16)), xpconv.MaxPool2d(2),
        xpconv.Conv2d(16, 8, 1), xpconv.SiLU(), xpconv.GlobalAvgPool2d(), xpconv.Flatten(), xpconv.Dense(8, 4),
    )  # fmt: skip


def trained(optimizer):
    """Losses of some steps, and the output of a fused copy."""
    model, criterion = network(), xpconv.SoftmaxCrossEntropyLoss()
    stepper = getattr(xpconv, optimizer)(model.parameters(), lr=1e-3)
    x = harmless((16, 3, 64, 64), 0, "float16").astype("float32")
    losses = []
    for _ in range(4):
        losses.append(float(criterion(model(x), np.arange(16) % 4)))
        stepper.zero_grad()
        model.backward(criterion.backward(1e-25), input_grad=False)
        xpconv.clip_grad_norm_(model.parameters(), 1e-3)
        stepper.step()
    with xpconv.no_grad():
        return np.array(losses), model.eval().fuse()(x)


@pytest.mark.parametrize(
    "optimizer", ["Adam", "LARS", *(pytest.param(o, marks=pytest.mark.slow) for o in ("SGD", "LAMB"))]
)
def test_training_and_inference_on_all_threads(optimizer):
    with np.errstate(all="warn", under="ignore"):
        expected = trained(optimizer)
    with np.errstate(all="raise"):
        found = trained(optimizer)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b)


def test_seterr_of_the_process_and_in_a_thread():
    def run():
        np.seterr(all="raise")
        found.append(trained("SGD")[0])
        assert np.geterr()["under"] == "raise"

    expected, found = trained("SGD")[0], []
    contextvars.copy_context().run(run)  # so that it ends with the test
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert len(found) == 2
    for losses in found:
        np.testing.assert_array_equal(losses, expected)


class Exp(xpconv.Layer):
    def forward(self, x):
        y = np.exp(x)
        return self.keep(y, y)

    def backward(self, grad_output, input_grad=True):
        (y,) = self.recall(grad_output)
        return grad_output * y if input_grad else None


def test_overflow_and_invalid_values_are_heard():
    model = xpconv.Sequential(xpconv.ReLU(), Exp())
    with np.errstate(all="raise"):
        for bad in (model, Exp()):
            with pytest.raises(FloatingPointError, match="overflow"):
                bad(np.array([1000.0], "float32"))
        np.testing.assert_array_equal(Exp()(np.array([-1000.0])), [0])
        with pytest.raises(FloatingPointError, match="overflow"):
            xpconv.Dense(300, 300, rng=0)(np.full((300, 300), 3e38, "float32"))
        layer = xpconv.SiLU()
        layer(np.array([2.0], "float32"))
        with pytest.raises(FloatingPointError, match="overflow"):
            layer.backward(np.array([3.4e38], "float32"))
        assert np.geterr() == {"divide": "raise", "over": "raise", "under": "raise", "invalid": "raise"}
    with pytest.warns(RuntimeWarning, match="overflow"):
        Exp()(np.array([1000.0], "float32"))
    for value in (np.nan, np.inf):
        assert not np.isfinite(xpconv.Mish()(np.array([value]))).any()


def test_a_cast_that_underflows_is_no_error():
    with np.errstate(all="raise"):
        assert xpconv.asarray(np.array([1e-30]), "float16").tolist() == [0]
        with pytest.raises(FloatingPointError, match="overflow"):
            xpconv.asarray(np.array([1e30]), "float16")


def test_half_precision_of_a_finite_result():
    """It is rounded to infinity unreported where float32 was in range; an overflow of float32 itself is heard."""
    with np.errstate(all="raise"):
        y = xpconv.functional.log_softmax(np.array([[-60000, 60000]], "float16"), -1)
        np.testing.assert_array_equal(y, np.array([[-np.inf, 0]], "float16"))
        with pytest.raises(FloatingPointError, match="overflow"):
            xpconv.functional.log_softmax(np.array([[-3e38, 3e38]], "float32"), -1)


@pytest.mark.parametrize("grad", [0.0, 6e-8, 6e4])
@pytest.mark.parametrize("name", ["SGD", "AdamW", "Adadelta", "LARS", "NAdam", "RMSprop"])
def test_float16_parameters_below_its_range(name, grad):
    """Their float32 copies may be smaller than float16 has: steps, states, groups and the scaler go on."""
    p = xpconv.Parameter(np.array([1.0, 6e-8, 0.0], "float16"))
    with np.errstate(all="raise"):
        optimizer, scaler = getattr(xpconv, name)([p], lr=1e-3), xpconv.GradScaler(1.0)
        for _ in range(3):
            p.grad = np.full(3, grad, "float16")
            scaler.step(optimizer)
            scaler.update()
        optimizer.load_state_dict(optimizer.state_dict())
        optimizer.add_param_group({"params": [xpconv.Parameter(np.zeros(1, "float16"))]})
    assert np.isfinite(p.data).all()


def test_fusing_layers_of_small_weights():
    for convolution, norm in (
        (xpconv.Conv2d(1, 2, 3), xpconv.BatchNorm2d(2)),
        (xpconv.ConvTranspose2d(1, 2, 3), xpconv.BatchNorm2d(2)),
        (xpconv.Dense(3, 2), xpconv.BatchNorm1d(2)),
    ):
        convolution.weight.fill(1e-20)
        norm.weight.fill(1e-30)
        with np.errstate(all="raise"):
            fused = xpconv.Sequential(convolution, norm).fuse()
        np.testing.assert_array_equal(fused[0].weight.data, np.zeros_like(convolution.weight.data))


OTHERS = {  # what the sweep above leaves out: of integers, of several inputs, made of layers
    "Embedding": lambda: (xpconv.Embedding(5, 3, max_norm=1e-3, rng=0), np.array([[0, 4], [1, 1]])),
    "Sequential": lambda: (xpconv.Sequential(xpconv.Dense(4, 4, rng=0), xpconv.Sigmoid()), None),
    "Residual": lambda: (xpconv.Residual(xpconv.Dense(4, 4, rng=0), xpconv.SiLU()), None),
    "Parallel": lambda: (xpconv.Parallel(xpconv.Softmax(1), xpconv.Softplus()), None),
    "Concat": lambda: (xpconv.Concat(xpconv.Tanh(), xpconv.GELU()), None),
    "Graph": lambda: (
        xpconv.Graph(
            {"a": (xpconv.Sigmoid(), "x"), "y": (xpconv.Bilinear(4, 4, 4, rng=0), "a", "x")}, "x", "y"
        ),
        None,
    ),
}


@pytest.mark.parametrize("name", OTHERS)
def test_containers_and_embedding(name, backend):
    """The same to the bit as without, on large, tiny and zero values."""

    def step():
        layer, x = OTHERS[name]()
        x = np.array([[200, -200, 1e-30, 0], [1e4, -1e4, 1e-40, 1]], "float32") if x is None else x
        y = layer(xpconv.asarray(x))
        dx = layer.backward(xpconv.asarray(np.full(y.shape, 1e-20, "float32")))
        found = [y, *([] if dx is None else [dx]), *(p.grad for p in layer.parameters())]
        return [xpconv.asnumpy(array) for array in found]

    expected = step()
    with np.errstate(all="raise"):
        for found, array in zip(step(), expected, strict=True):
            np.testing.assert_array_equal(found, array)
            assert np.isfinite(found).all()


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_max_unpool(axes, backend):
    pool, unpool = (
        getattr(xpconv, f"{kind}{axes}d")(2, **options)
        for kind, options in (("MaxPool", {"return_indices": True}), ("MaxUnpool", {}))
    )
    x = np.resize(np.array([200, -200, 1e-30, 0, 1e4, -1e4, 1e-40, 1], "float32"), (1, 1, *[4] * axes))

    def step():
        y = unpool(*pool(xpconv.asarray(x)))
        return [xpconv.asnumpy(array) for array in (y, unpool.backward(y))]

    expected = step()
    with np.errstate(all="raise"):
        for found, array in zip(step(), expected, strict=True):
            np.testing.assert_array_equal(found, array)
