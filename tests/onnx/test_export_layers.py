"""Every public layer, over its options, as onnxruntime runs the file."""

import itertools
import random

import every
import instances
import makers
import numpy as np
import onnxed
import pytest
from onnxed import check

import xpconv
from xpconv import Layer
from xpconv.onnx.rules import refusal

m = xpconv
RNG = np.random.default_rng(3)
OPSETS = [pytest.param(n, marks=() if n == 17 else pytest.mark.slow) for n in (13, 17, 18, 21, 23)]
AXES = [pytest.param(1, marks=pytest.mark.slow), 2, pytest.param(3, marks=pytest.mark.slow)]


def x(*shape):
    return RNG.normal(size=shape).astype("float32")


IMAGES, SEQUENCES, VOLUMES = x(2, 4, 7, 8), x(2, 4, 9), x(2, 4, 5, 6, 7)
BY_AXES = {1: SEQUENCES, 2: IMAGES, 3: VOLUMES}

# Public layers without a form in ONNX, and why.
REFUSED = {
    "ModuleDict": "it has no forward",
    "ModuleList": "it has no forward",
    **{name: "its first forward" for name in instances.LAYERS if name.startswith("Lazy")},
}


@pytest.mark.parametrize("name", instances.LAYERS)
def test_every_public_layer_has_a_rule_or_a_reason(name):
    layer = m.Sequential() if name in every.made_of_layers() - REFUSED.keys() else None
    why = refusal(layer or instances.instance_of(name))
    assert (why is None) != (name in REFUSED), (
        "add a rule to onnx/rules, or a reason to REFUSED here and in onnx/rules/table.py"
    )
    if why:
        assert REFUSED[name] in why


@pytest.mark.parametrize("opset", OPSETS)
def test_every_case_of_every_layer(opset, tmp_path):
    """All cases at one opset; at each of the others one of every layer, a different one if it has several."""
    failed, cases = {}, {}
    for key, case in every.all_layers().items():
        cases.setdefault(key.partition("(")[0], []).append((key, case))
    turn = (13, 18, 21, 23).index(opset) if opset != 17 else None
    chosen = [row for rows in cases.values() for row in (rows if turn is None else [rows[turn % len(rows)]])]
    for key, (make, inputs) in chosen:
        try:
            check(make(), tmp_path / "m.onnx", *inputs, opset=opset)
        except Exception as error:  # noqa: BLE001
            failed[key] = f"{type(error).__name__}: {error}"
    assert not failed


def test_a_batch_of_any_size(tmp_path):
    failed = {}
    for name, (makes, shape) in makers.LAYERS.items():
        for make in makes:
            try:
                check(make(), tmp_path / "m.onnx", x(*shape), batches=(1, 7))
            except Exception as error:  # noqa: BLE001
                failed[name] = f"{type(error).__name__}: {error}"
    assert not failed


def sweep(tmp_path, rows, **options):
    """Check all `(layer, inputs)`; all that fail are shown together."""
    failed, count = [], 0
    for layer, *inputs in rows:
        count += 1
        try:
            check(layer, tmp_path / "m.onnx", *inputs, **options)
        except Exception as error:  # noqa: BLE001
            failed.append((repr(layer), inputs[0].shape, f"{type(error).__name__}: {error}"))
    assert not failed
    assert count


def layer_or_none(kind, *arguments, **options):
    """A layer, or None for arguments that it does not take."""
    try:
        return kind(*arguments, **options)
    except ValueError:
        return None


def taking(rows):
    """The rows whose layer takes their input."""
    for layer, *inputs in rows:
        if layer is None:
            continue
        try:
            with m.no_grad():
                layer.eval()(*inputs)
        except m.errors.ShapeError:
            continue
        yield (layer, *inputs)


def part(grid, axes):
    """All of a grid with two axes, where the layers of one and three share their code; a third of it with others."""
    return grid if axes == 2 else random.Random(axes).sample(grid, len(grid) // 3)


@pytest.mark.parametrize("axes", AXES)
def test_convolutions(axes, tmp_path):
    kind, images = getattr(m, f"Conv{axes}d"), BY_AXES[axes]
    modes = ("zeros", "reflect", "replicate", "circular")
    pairs = ((2, 1),) + ((0, 3),) * (axes - 1)
    rows = [
        (kind(4, 6, 3, stride, padding, dilation, groups, bias, mode, rng=0), images)
        for stride, padding, dilation, groups, bias, mode in [
            *((2, pairs, 1, 2, False, mode) for mode in modes),
            *((1, "same", 2, 1, True, mode) for mode in modes),
            (1, "valid", 1, 2, True, "zeros"),
            (3, 2, 2, 1, True, "circular"),
        ]
    ]
    rows += [(kind(4, 4, 2, padding="same", rng=0), images), (kind(4, 4, 1, padding=1, rng=0), images[0])]
    sweep(tmp_path, rows)


@pytest.mark.parametrize("axes", AXES)
def test_transposed_convolutions(axes, tmp_path):
    kind, images = getattr(m, f"ConvTranspose{axes}d"), BY_AXES[axes]
    pairs = ((2, 1),) + ((0, 3),) * (axes - 1)
    rows = [
        (kind(4, 6, 3, stride, padding, extra, groups, bias, dilation, rng=0), images)
        for stride, padding, extra, groups, bias, dilation in [
            (2, 1, 1, 1, True, 1), (2, pairs, 0, 2, False, 1), (1, 0, 1, 1, True, 2), (3, 3, 2, 2, True, 1),
            (1, 3, 0, 1, True, 2),
        ]
    ]  # fmt: skip
    sweep(tmp_path, [*rows, (kind(4, 2, 2, 2, rng=0), images[0])])


@pytest.mark.parametrize("axes", AXES)
@pytest.mark.parametrize("indices", [False, True])
def test_max_pooling(axes, indices, tmp_path):
    kind, images = getattr(m, f"MaxPool{axes}d"), BY_AXES[axes]
    grid = list(itertools.product((2, 3), (1, 2, 3), (0, 1), (1, 2), (False, True)))
    rows = [
        (layer_or_none(kind, k, s, p, d, return_indices=indices, ceil_mode=ceil), images)
        for k, s, p, d, ceil in part(grid, axes)
    ]
    sweep(tmp_path, taking([*rows, (kind(2, return_indices=indices), images[0])]))


@pytest.mark.parametrize("axes", AXES)
def test_average_pooling(axes, tmp_path):
    kind, images = getattr(m, f"AvgPool{axes}d"), BY_AXES[axes]
    grid = list(itertools.product((2, 3), (1, 2, 3), (0, 1), (False, True), (False, True), (None, 5, -3)))
    sweep(tmp_path, taking((layer_or_none(kind, *options), images) for options in part(grid, axes)))


@pytest.mark.parametrize("axes", AXES)
def test_lp_pooling(axes, tmp_path):
    kind, images = getattr(m, f"LPPool{axes}d"), np.abs(BY_AXES[axes]) + 0.1
    grid = itertools.product((1, 2, 3.0, 0.5, -1, -2, 4), (2, 3), (None, 2), (False, True))
    sweep(tmp_path, [(kind(*options), images) for options in grid])
    sweep(tmp_path, [(kind(1, 2), BY_AXES[axes]), (kind(2, 3, 2), -images)])


@pytest.mark.parametrize("axes", AXES)
def test_adaptive_pooling(axes, tmp_path):
    images = BY_AXES[axes]
    sizes = [1, 2, 3, images.shape[2], 11, (None,) * axes, (3, None, 1)[:axes], (1, 5, None)[:axes]]
    rows = [(getattr(m, f"AdaptiveAvgPool{axes}d")(size), images) for size in sizes]
    for indices in (False, True):
        kind = getattr(m, f"AdaptiveMaxPool{axes}d")
        rows += [(kind(size, return_indices=indices), images) for size in sizes]
        rows += [(kind(3, return_indices=indices), images[0])]
    sweep(tmp_path, rows)


@pytest.mark.parametrize("axes", AXES)
def test_unpooling(axes, tmp_path):
    images = BY_AXES[axes]
    rows = []
    for k, s, p in [(2, 2, 0), (3, 2, 1), (2, 3, 0)]:
        pool = getattr(m, f"MaxPool{axes}d")(k, s, p, return_indices=True)
        small = images[(slice(None),) * 2 + (slice(0, (2 - 1) * s - 2 * p + k),) * axes]
        rows.append((getattr(m, f"MaxUnpool{axes}d")(k, s, p), *pool(small)))
    sweep(tmp_path, rows)
    layer, y, indices = rows[0]
    check(layer, tmp_path / "m.onnx", y, indices, batches=(1, 7))
    infinite = np.where(y == y.max(), np.inf, y)
    check(layer, tmp_path / "m.onnx", infinite, indices)


@pytest.mark.parametrize("kind", ["Zero", "Constant", "Reflection", "Replication", "Circular"])
@pytest.mark.parametrize("axes", AXES)
def test_padding(kind, axes, tmp_path):
    paddings = [1, 0, 3, (2, 0) * axes, (0, 3) * axes, (-1, 2) * axes, (2, -1) * axes, (-1, -2) * axes]
    more = (-1.5,) if kind == "Constant" else ()
    make = getattr(m, f"{kind}Pad{axes}d")
    rows = [(make(padding, *more), BY_AXES[axes]) for padding in paddings]
    rows += [(make(1, *more), BY_AXES[axes][0])]
    if kind == "Constant":
        rows += [(make(1, value), BY_AXES[axes]) for value in (np.inf, np.nan)]
        rows += [(make(1, 0.5), x(*(4,) * axes))]
    sweep(tmp_path, rows)


@pytest.mark.parametrize("axes", AXES)
def test_upsampling(axes, tmp_path):
    images = BY_AXES[axes]
    smooth = {1: ["linear"], 2: ["bilinear", "bicubic"], 3: ["trilinear"]}[axes]
    scales = [2, 3.0, 1.5, 0.5, 0.7, 1, (2, 1, 3)[:axes], (1.3, 2.6, 0.9)[:axes]]
    sizes = [1, 5, 14, (14, 16, 21)[:axes], (9, 4, 13)[:axes]]
    given = [{"scale_factor": s} for s in scales] + [{"size": s} for s in sizes]
    given += [{"scale_factor": s, "recompute_scale_factor": True} for s in (0.7, 1.5)]
    rows = [
        (m.Upsample(mode=mode, align_corners=align, **options), images)
        for options in given
        for mode, align in [
            *((mode, None) for mode in ("nearest", "nearest-exact", "area")),
            *((mode, align) for mode in smooth for align in (None, True)),
        ]
    ]
    sweep(tmp_path, taking(rows))


def test_activations(tmp_path):
    values = np.linspace(-12, 12, 96, dtype="float32").reshape(2, 4, 12)
    rows = [
        m.LeakyReLU(0.3), m.LeakyReLU(-1.5), m.PReLU(4, init=-0.5), m.PReLU(), m.ELU(0.3), m.ELU(-2.0), m.CELU(2.5), m.CELU(-0.5),
        m.Hardtanh(-0.5, 3.0), m.Hardtanh(0.0, float("inf")), m.Hardshrink(0.0), m.Hardshrink(-1.0), m.Hardshrink(3.0), m.Softshrink(0.0),
        m.Softshrink(2.0), m.Threshold(1.0, -3.0), m.Threshold(-1.0, float("inf")), m.Softplus(2.0, 3.0), m.Softplus(0.5), m.Softplus(-1.0),
        m.Softplus(1.0, -5.0), m.GLU(1), m.GLU(-1), m.GLU(0), m.Softmax(-2), m.LogSoftmax(0), m.Softmin(-1),
    ]  # fmt: skip
    sweep(tmp_path, [(layer, values) for layer in rows])
    sweep(
        tmp_path,
        [(layer, np.array(-1.5, "float32")) for layer in (m.Softmax(0), m.ReLU(), m.Flatten(0), m.Sigmoid())],
    )
    sweep(
        tmp_path,
        [(getattr(m, name)(), values) for name in ("GELU", "Mish", "Hardswish", "SELU", "LogSigmoid")],
        opset=13,
    )


@pytest.mark.parametrize("opset", OPSETS)
def test_normalisation(opset, tmp_path):
    rows = []
    for options in (
        {"eps": 0.1},
        {"bias": False},
        {"affine": False},
        {"affine": True, "track_running_stats": True},
    ):
        options = {"affine": True, **options}
        rows += [
            (getattr(m, f"{kind}{axes}d")(4, **options), BY_AXES[axes])
            for kind in ("BatchNorm", "InstanceNorm")
            for axes in (1, 2, 3)
        ]
        rows += [(m.BatchNorm1d(4, **options), x(5, 4)), (m.InstanceNorm2d(4, **options), IMAGES[0])]
    rows += [
        (m.BatchNorm2d(4, track_running_stats=False), IMAGES),
        (m.BatchNorm1d(4, track_running_stats=False), x(5, 4)),
    ]
    rows += [
        (m.LayerNorm(shape, bias=bias), x(2, 3, 4, 5))
        for shape in (5, (4, 5), (3, 4, 5))
        for bias in (True, False)
    ]
    rows += [
        (m.RMSNorm(5, eps=0.1), x(2, 5)),
        (m.GroupNorm(4, 4, bias=False), IMAGES),
        (m.GroupNorm(2, 4), x(3, 4)),
    ]
    rows += [
        (m.LocalResponseNorm(size, 0.3, 0.5, 2.0), images)
        for size in (1, 2, 3, 4, 5)
        for images in BY_AXES.values()
    ]
    for layer, *_ in rows:
        for array in layer._state().values():  # not the ones and zeros that all begin with
            array[...] = (np.arange(array.size).reshape(array.shape) % 5 + 1) / 4
    sweep(tmp_path, rows, opset=opset)


def test_shapes(tmp_path):
    rows = [
        (m.Flatten(start, end), IMAGES) for start, end in [(0, -1), (0, 1), (1, 2), (-2, -1), (2, 2), (3, 3)]
    ]
    rows += [(m.Unflatten(1, size), IMAGES) for size in [(2, 2), (-1, 2), (4, 1, -1), (4,)]]
    rows += [
        (m.Unflatten(-1, (2, 4)), IMAGES),
        (m.Unflatten(0, (1, 2)), IMAGES),
        (m.Unflatten(0, (-1, 2)), IMAGES),
    ]
    for shape in [(8, 4, 6), (2, 8, 4, 6), (2, 3, 8, 4, 6)]:
        rows += [
            (m.PixelShuffle(2), x(*shape)),
            (m.PixelUnshuffle(2), x(*shape)),
            (m.PixelShuffle(1), x(*shape)),
        ]
    rows += [(m.ChannelShuffle(groups), images) for groups in (1, 2, 4) for images in BY_AXES.values()]
    options = [(2, 1, 0, 1), ((3, 2), (1, 2), (1, 0), (2, 1)), (3, 1, 1, 2), (1, 1, 0, 3)]
    rows += [(m.Unfold(*option), images) for option in options for images in (IMAGES, IMAGES[0])]
    for option in options:
        columns = m.Unfold(*option)(IMAGES)
        rows += [(m.Fold((7, 8), *option), columns), (m.Fold((7, 8), *option), columns[0])]
    sweep(tmp_path, rows)


def test_dense_layers_take_any_number_of_axes(tmp_path):
    for shape in [(5,), (3, 5), (2, 3, 5), (2, 3, 4, 5), (1, 5)]:
        sweep(tmp_path, [(m.Dense(5, 4, bias=bias, rng=0), x(*shape)) for bias in (True, False)])
    check(m.Dense(5, 4, rng=0), tmp_path / "m.onnx", x(2, 3, 5), batches=(1, 7))
    check(m.Bilinear(3, 4, 2, rng=0), tmp_path / "m.onnx", x(2, 3), x(2, 4), batches=(1, 7))
    for dtype in ("int32", "uint8"):
        check(m.Embedding(7, 3, rng=0), tmp_path / "m.onnx", np.array([[1, 6], [0, 2]], dtype))


def test_containers(tmp_path):
    shared = m.Conv2d(4, 4, 3, padding=1, rng=0)
    rows = [
        m.Sequential(), m.Sequential(shared, m.ReLU(), shared), m.Concat(m.ReLU(), m.Tanh(), axis=-1), m.Concat(shared, axis=0),
        m.Residual(), m.Residual(m.Identity(), shortcut=m.Identity()), m.Sequential(m.Identity(), m.Dropout()),
        m.SqueezeExcitation(4, 2, m.SiLU, m.Hardsigmoid, rng=0), m.Parallel(m.Identity(), m.Identity(), m.Identity()),
    ]  # fmt: skip
    sweep(tmp_path, [(layer, IMAGES) for layer in rows])
    sweep(tmp_path, [(m.SqueezeExcitation(4, 2, rng=0), IMAGES[0])])
    pooled = m.MaxPool2d(2, return_indices=True)
    check(m.Sequential(m.ReLU(), pooled), tmp_path / "m.onnx", IMAGES, batches=(1, 7))


@pytest.mark.parametrize("dtype", ["float16", pytest.param("float64", marks=pytest.mark.slow)])
def test_other_dtypes(dtype, tmp_path):
    """Against ONNX's reference: onnxruntime has few kernels for float64."""
    tolerance = {"float16": 4e-3, "float64": 2e-7}[dtype]  # attributes of operators are float32
    failed = {}
    for key, (make, inputs) in every.all_layers().items():
        if "3d" in key or key in ("Fold(6, 2)", "GlobalMaxPool1d()"):  # slow, or wrong in the reference
            continue
        inputs = [a.astype(dtype) if a.dtype == "float32" else a for a in inputs]
        layer = make()
        try:
            if not layer.lazy:
                layer = layer.to(dtype=dtype)
            check(layer, tmp_path / "m.onnx", *inputs, tolerance=tolerance, reference=True)
        except Exception as error:  # noqa: BLE001
            failed[key] = f"{type(error).__name__}: {error}"
    assert not failed


def test_half_precision_with_batch_norm_in_single(tmp_path):
    layer = m.BatchNorm2d(4)
    layer.running_mean[...] = 0.5
    check(layer, tmp_path / "m.onnx", IMAGES.astype("float16"), tolerance=2e-3)


class Scale(Layer):
    def __init__(self, channels):
        self.weight = m.Parameter(
            np.arange(1.0, channels + 1, dtype="float32").reshape(channels, 1, 1), "weight"
        )
        self.inner = m.Conv2d(channels, channels, 1, rng=0)

    def forward(self, x):
        return self.inner(x * self.weight.data) + 1

    def to_onnx(self, builder, x):
        return builder.node("Add", builder.layer(self.inner, builder.node("Mul", x, self.weight)), 1)


def test_a_class_with_to_onnx(tmp_path):
    model = m.Sequential({"scale": Scale(4), "act": m.ReLU()})
    check(model, tmp_path / "m.onnx", IMAGES, batches=(1, 7))
    proto = onnxed.onnx.load(tmp_path / "m.onnx")
    assert {w.name for w in proto.graph.initializer} == {
        "scale.weight",
        "scale.inner.weight",
        "scale.inner.bias",
    }
    assert [node.name for node in proto.graph.node if node.op_type != "Constant"] == [
        "scale.Mul", "scale.inner.Conv", "scale.Add", "act.Relu",
    ]  # fmt: skip
