"""Normalisation and regularisation without PyTorch: naive loops, finite differences, all backends."""

import itertools
import math

import double
import numpy as np
import pytest
from reference import uniforms

import xpconv
from xpconv.testing import assert_layer_ok

SPATIAL = {1: (5,), 2: (3, 2), 3: (2, 3, 2)}


def normal(*shape):
    return np.random.default_rng(3).normal(size=shape) * 2 + 1


def standardise(values, eps):
    values = np.asarray(values)
    mean = sum(values.ravel()) / values.size
    var = sum((v - mean) ** 2 for v in values.ravel()) / values.size
    return (values - mean) / math.sqrt(var + eps)


def with_values(layer):
    """The layer with weights, biases and running statistics of its own."""
    rng = np.random.default_rng(5)
    state = {
        name: rng.uniform(0.5, 2, size=array.shape) if name.endswith("var") else rng.normal(size=array.shape)
        for name, array in layer.state_dict().items()
        if array.ndim
    }
    layer.load_state_dict(state, strict=False)
    return layer


# --- BatchNorm, InstanceNorm -------------------------------------------------------------------------

OPTIONS = {
    "plain": {},
    "affine": {"affine": True},
    "no bias": {"affine": True, "bias": False},
    "not affine": {"affine": False},
    "tracked": {"track_running_stats": True},
    "large eps": {"eps": 0.5},
}


def channel_norm_naive(options, batch, running):
    """Channel by channel; over the batch, each image, or (running) with the given statistics."""

    def reference(x, weight=None, bias=None, running_mean=None, running_var=None, **_):
        y, eps = np.empty_like(x), options.get("eps", 1e-5)
        for c in range(x.shape[1]):
            if running and running_mean is not None:
                y[:, c] = (x[:, c] - running_mean[c]) / math.sqrt(running_var[c] + eps)
            elif batch:
                y[:, c] = standardise(x[:, c], eps)
            else:
                for n in range(len(x)):
                    y[n, c] = standardise(x[n, c], eps)
            y[:, c] = y[:, c] * (1 if weight is None else weight[c]) + (0 if bias is None else bias[c])
        return y

    return reference


@pytest.mark.sample(4)
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
@pytest.mark.parametrize(
    "name", ["BatchNorm1d", "BatchNorm3d", "InstanceNorm1d", "InstanceNorm2d", "InstanceNorm3d"]
)
def test_channel_norms(name, options, training, backends):
    axes = int(name[-2])
    shapes = [(3, 2, *SPATIAL[axes])] + ([(6, 2)] if name == "BatchNorm1d" else [])
    reference = channel_norm_naive(options, name.startswith("Batch"), not training)
    for shape in shapes:
        assert_layer_ok(
            lambda: with_values(getattr(xpconv, name)(2, **options)), normal(*shape), reference=reference,
            backends=backends, training=training,
        )  # fmt: skip


@pytest.mark.parametrize("options", [{}, {"affine": True, "track_running_stats": True}], ids=str)
@pytest.mark.parametrize("axes", [1, 2, 3])
def test_instance_norm_of_one_image(axes, options, backends):
    naive = channel_norm_naive(options, False, False)
    assert_layer_ok(
        lambda: with_values(getattr(xpconv, f"InstanceNorm{axes}d")(2, **options)), normal(2, *SPATIAL[axes]),
        reference=lambda x, **state: naive(x[None], **state)[0], backends=backends,
    )  # fmt: skip


@pytest.mark.parametrize("momentum", [0.3, None])
def test_instance_norm_running_statistics(momentum, backend):
    """The images' means and unbiased variances, averaged; with None nothing moves, and nothing is counted."""
    layer = xpconv.InstanceNorm1d(2, momentum=momentum, track_running_stats=True, dtype="float64")
    mean, var, new = np.zeros(2), np.ones(2), momentum or 0.0
    for _ in range(2):
        x = normal(3, 2, 5)
        layer(xpconv.asarray(x))
        mean = (1 - new) * mean + new * x.mean(axis=2).mean(axis=0)
        var = (1 - new) * var + new * x.var(axis=2, ddof=1).mean(axis=0)
    state = {k: xpconv.asnumpy(v) for k, v in layer.state_dict().items()}
    np.testing.assert_allclose(state["running_mean"], mean, rtol=1e-12)
    np.testing.assert_allclose(state["running_var"], var, rtol=1e-12)
    assert state["num_batches_tracked"] == 0


# --- LayerNorm, RMSNorm, GroupNorm, LocalResponseNorm ------------------------------------------------


def rows_naive(shape, one):
    """`one` applied to every block of the last axes."""

    def reference(x, weight=1.0, bias=0.0):
        y = np.empty_like(x)
        for where in np.ndindex(x.shape[: x.ndim - len(shape)]):
            y[where] = one(x[where]) * weight + bias
        return y

    return reference


ROWS = [
    (4, (3, 4), {}), ((3, 4), (2, 3, 4), {}), ((3, 4), (3, 4), {}), ([2, 2, 2], (2, 3, 2, 2, 2), {}),
    (4, (2, 3, 4), {"elementwise_affine": False}), (4, (4,), {"eps": 0.5}),
]  # fmt: skip


@pytest.mark.parametrize(("size", "shape", "options"), [*ROWS, (4, (3, 4), {"bias": False})], ids=str)
def test_layer_norm(size, shape, options, backends):
    axes = (size,) if isinstance(size, int) else tuple(size)
    assert_layer_ok(
        lambda: with_values(xpconv.LayerNorm(size, **options)), normal(*shape), backends=backends,
        reference=rows_naive(axes, lambda v: standardise(v, options.get("eps", 1e-5))),
    )  # fmt: skip


@pytest.mark.parametrize(("size", "shape", "options"), ROWS, ids=str)
def test_rms_norm(size, shape, options, backends):
    axes = (size,) if isinstance(size, int) else tuple(size)
    eps = options.get("eps", 1e-5)

    def one(v):
        return v / math.sqrt(sum(t * t for t in v.ravel()) / v.size + eps)

    assert_layer_ok(
        lambda: with_values(xpconv.RMSNorm(size, **{"eps": eps, **options})), normal(*shape),
        reference=rows_naive(axes, one), backends=backends,
    )  # fmt: skip


def test_rms_norm_takes_the_epsilon_of_the_dtype(backend):
    for dtype in ("float32", "float64"):
        x = np.full((1, 2), 1e-4 if dtype == "float32" else 1e-9, dtype)
        y = xpconv.asnumpy(xpconv.RMSNorm(2, dtype=dtype)(xpconv.asarray(x)))
        expected = x / np.sqrt(x.astype("float64") ** 2 + np.finfo(dtype).eps)
        np.testing.assert_allclose(y, expected, rtol=1e-6)
        assert y.dtype == dtype


GROUPS = [
    (2, (2, 4, 3), {}), (1, (2, 4), {}), (4, (2, 4, 3, 2), {}), (2, (1, 4, 2, 2, 2), {"affine": False}),
    (2, (2, 4, 3), {"bias": False}), (2, (2, 4, 3), {"eps": 0.5}),
]  # fmt: skip


@pytest.mark.parametrize(("groups", "shape", "options"), GROUPS, ids=str)
def test_group_norm(groups, shape, options, backends):
    def reference(x, weight=None, bias=None):
        y, each = np.empty_like(x), x.shape[1] // groups
        for n, g in itertools.product(range(len(x)), range(groups)):
            part = slice(g * each, (g + 1) * each)
            y[n, part] = standardise(x[n, part], options.get("eps", 1e-5))
        for c in range(x.shape[1]):
            y[:, c] = y[:, c] * (1 if weight is None else weight[c]) + (0 if bias is None else bias[c])
        return y

    assert_layer_ok(
        lambda: with_values(xpconv.GroupNorm(groups, 4, **options)), normal(*shape), reference=reference,
        backends=backends,
    )  # fmt: skip


RESPONSES = [
    (1, {}), (2, {"alpha": 0.5}), (3, {"alpha": 0.5, "beta": 1.0}), (4, {"alpha": 0.5, "beta": 0.5, "k": 2.0}),
    (20, {"alpha": 0.5, "k": 0.3}),
]  # fmt: skip


@pytest.mark.parametrize("shape", [(2, 5, 3), (1, 6, 2, 2), (1, 1, 2, 1, 2)], ids=str)
@pytest.mark.parametrize(("size", "options"), RESPONSES, ids=str)
def test_local_response_norm(size, options, shape, backends):
    o = {"alpha": 1e-4, "beta": 0.75, "k": 1.0, **options}

    def reference(x):
        y = np.empty_like(x)
        for n, c, *p in np.ndindex(x.shape):
            window = range(max(0, c - size // 2), min(x.shape[1], c + (size - 1) // 2 + 1))
            total = sum(x[(n, i, *p)] ** 2 for i in window)
            y[(n, c, *p)] = x[(n, c, *p)] / (o["k"] + o["alpha"] / size * total) ** o["beta"]
        return y

    assert_layer_ok(
        lambda: xpconv.LocalResponseNorm(size, **options), normal(*shape), reference=reference,
        backends=backends,
    )  # fmt: skip


# --- dropping ----------------------------------------------------------------------------------------

DROPS = [
    ("Dropout1d", (4, 5, 3), 2), ("Dropout1d", (5, 3), 1), ("Dropout2d", (4, 5, 3, 2), 2), ("Dropout2d", (4, 5, 3), 2),
    ("Dropout3d", (4, 5, 2, 3, 2), 2), ("Dropout3d", (5, 2, 3, 2), 1), ("DropPath", (6, 3), 1), ("DropPath", (6, 3, 2, 2), 1),
]  # fmt: skip


@pytest.mark.parametrize("p", [0.0, 0.4, 1.0])
@pytest.mark.parametrize(("name", "shape", "drawn"), DROPS)
def test_whole_channels_or_images_drop(name, shape, drawn, p, backend):
    draw = uniforms(xpconv.get_xp(), 3, shape[:drawn] + (1,) * (len(shape) - drawn))

    def reference(x):
        y = np.empty_like(x)
        for where in np.ndindex(x.shape[:drawn]):
            y[where] = x[where] / (1 - p) if p < 1 and draw[where].item() >= p else 0 * x[where]
        return y

    layer, x = getattr(xpconv, name), normal(*shape)
    assert_layer_ok(lambda: layer(p, rng=3), x, reference=reference, backends=[backend])
    assert_layer_ok(lambda: layer(p), x, reference=lambda x: x, backends=["numpy", backend], training=False)


@pytest.mark.parametrize("p", [0.0, 0.3, 1.0])
def test_alpha_dropout(p, backend):
    """SELU's limit at -∞ stands for what is dropped; then mean and variance are put back."""
    alpha = 1.0507009873554805 * 1.6732632423543772

    kept = uniforms(xpconv.get_xp(), 3, (4, 5, 2)) >= p

    def reference(x):
        if p == 1:
            return 0 * x
        a = 1 / math.sqrt((1 - p) * (1 + p * alpha**2))
        return a * np.where(kept, x, -alpha) + a * alpha * p

    x = normal(4, 5, 2)
    assert_layer_ok(lambda: xpconv.AlphaDropout(p, rng=3), x, reference=reference, backends=[backend])
    assert_layer_ok(
        lambda: xpconv.AlphaDropout(p), x, reference=lambda x: x, backends=["numpy", backend], training=False
    )


def test_alpha_dropout_keeps_mean_and_variance():
    x = np.random.default_rng(0).normal(size=400_000)
    y = xpconv.AlphaDropout(0.3, rng=1)(x)
    assert abs(y.mean()) < 0.01
    assert abs(y.var() - 1) < 0.02


@pytest.mark.parametrize("name", ["Dropout1d", "Dropout2d", "Dropout3d", "DropPath", "AlphaDropout"])
def test_masks_follow_the_seed_and_never_repeat(name, backend):
    shape = {"Dropout1d": (40, 50, 1), "Dropout3d": (40, 50, 1, 1, 1), "DropPath": (2000,)}.get(
        name, (40, 50, 1, 1)
    )
    x = xpconv.asarray(np.ones(shape, "float32"))
    xpconv.manual_seed(4)
    layer = getattr(xpconv, name)(0.5)
    first, second = xpconv.asnumpy(layer(x)), xpconv.asnumpy(layer(x))
    xpconv.manual_seed(4)
    np.testing.assert_array_equal(first, xpconv.asnumpy(getattr(xpconv, name)(0.5)(x)))
    assert (first != second).any()
    assert abs((first == first.min()).mean() - 0.5) < 5 * 0.5 / math.sqrt(2000)


# --- squeeze and excitation --------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(2, 6, 3, 4), (6, 3, 4), (1, 6, 1, 1)], ids=str)
def test_squeeze_excitation(shape, backends):
    def reference(x, **s):
        images = x if x.ndim == 4 else x[None]
        y = np.empty_like(images)
        for n, image in enumerate(images):
            mean = np.array([channel.sum() / channel.size for channel in image])
            hidden = np.maximum(s["fc1.weight"][:, :, 0, 0] @ mean + s["fc1.bias"], 0)
            scale = 1 / (1 + np.exp(-(s["fc2.weight"][:, :, 0, 0] @ hidden + s["fc2.bias"])))
            for c in range(len(image)):
                y[n, c] = image[c] * scale[c]
        return y.reshape(x.shape)

    assert_layer_ok(
        lambda: xpconv.SqueezeExcitation(6, 3, rng=0), normal(*shape), reference=reference,
        backends=backends,
    )  # fmt: skip


def test_squeeze_excitation_takes_layers_classes_and_functions():
    x = normal(2, 6, 3, 3).astype("float32")
    same = [xpconv.Tanh, xpconv.Tanh(), lambda: xpconv.Tanh()]
    outputs = [xpconv.SqueezeExcitation(6, 3, a, rng=0)(x) for a in same]
    for y in outputs[1:]:
        np.testing.assert_array_equal(y, outputs[0])
    assert "(fc1): Conv2d(6, 3, kernel_size=1)" in repr(xpconv.SqueezeExcitation(6, 3))


# --- what all have in common -------------------------------------------------------------------------

HALF = [
    (lambda: xpconv.BatchNorm1d(4, dtype="float16"), (3, 4)), (lambda: xpconv.InstanceNorm1d(4), (3, 4, 5)),
    (lambda: xpconv.LayerNorm(4, dtype="float16"), (3, 4)), (lambda: xpconv.RMSNorm(4, dtype="float16"), (3, 4)),
    (lambda: xpconv.GroupNorm(2, 4, dtype="float16"), (3, 4, 5)), (lambda: xpconv.LocalResponseNorm(2), (3, 4, 5)),
    (lambda: xpconv.Dropout1d(), (3, 4, 5)), (lambda: xpconv.AlphaDropout(), (3, 4)), (lambda: xpconv.DropPath(0.5), (3, 4)),
    (lambda: xpconv.SqueezeExcitation(4, 2, dtype="float16"), (3, 4, 2, 2)),
]  # fmt: skip


@pytest.mark.parametrize(("make", "shape"), HALF)
def test_half_precision_stays(make, shape, backend):
    layer, x = make(), xpconv.asarray(normal(*shape).astype("float16"))
    y = layer(x)
    assert y.dtype == layer.backward(y).dtype == "float16"
    assert np.isfinite(xpconv.asnumpy(y)).all()


@pytest.mark.parametrize(
    "make",
    [
        lambda: xpconv.InstanceNorm2d(4), lambda: xpconv.GroupNorm(2, 4), lambda: xpconv.LayerNorm(6),
        lambda: xpconv.RMSNorm(6, eps=1e-3), lambda: xpconv.LocalResponseNorm(2),
    ],
)  # fmt: skip
def test_large_halves(make, backend):
    """Squares of 1e4 are no float16."""
    x, g = (np.random.default_rng(seed).choice([-1e4, 1e4, 0, 1], (3, 4, 2, 6)) for seed in (0, 1))
    g /= 1e4
    exact, layer = make().to(dtype="float64"), make().to(dtype="float16")
    pairs = [(exact(xpconv.asarray(x)), layer(xpconv.asarray(x, "float16")))]
    pairs.append((exact.backward(xpconv.asarray(g)), layer.backward(xpconv.asarray(g, "float16"))))
    for expected, half in pairs:
        expected = xpconv.asnumpy(expected)
        np.testing.assert_allclose(xpconv.asnumpy(half), expected, rtol=0, atol=5e-3 * np.abs(expected).max())


@pytest.mark.parametrize(("make", "shape"), HALF)
def test_the_host_never_waits(make, shape):
    with xpconv.use_backend("double"):
        layer, x = make(), xpconv.asarray(normal(*shape).astype("float16"))
        layer.to(dtype="float16")
        with double.count_syncs() as counter:
            layer.backward(layer(x))
    assert counter.n == 0


ERRORS = [
    (lambda: xpconv.LayerNorm(()), ValueError, "LayerNorm: normalized_shape is (), expected at least one axis"),
    (lambda: xpconv.LayerNorm("4"), TypeError, "LayerNorm: normalized_shape is '4', expected an int"),
    (lambda: xpconv.RMSNorm(-1), ValueError, "RMSNorm: normalized_shape is -1, expected at least 0"),
    (lambda: xpconv.RMSNorm(4, eps="x"), TypeError, "RMSNorm: eps is 'x', expected a number"),
    (lambda: xpconv.GroupNorm(3, 4), ValueError, "GroupNorm: num_groups is 3, which does not divide num_channels = 4"),
    (lambda: xpconv.InstanceNorm2d(0), ValueError, "InstanceNorm2d: num_features is 0, expected at least 1"),
    (lambda: xpconv.LocalResponseNorm(0), ValueError, "LocalResponseNorm: size is 0, expected at least 1"),
    (lambda: xpconv.DropPath(2), ValueError, "DropPath: p is 2, expected a probability from 0 to 1"),
    (lambda: xpconv.Dropout1d("a"), TypeError, "Dropout1d: p is 'a', expected a number"),
    (lambda: xpconv.SqueezeExcitation(0, 1), ValueError, "SqueezeExcitation: input_channels is 0, expected at least 1"),
    (lambda: xpconv.SqueezeExcitation(2, 1, 3), TypeError, "SqueezeExcitation: activation is 3, expected a Layer or a Layer class"),
    (lambda: xpconv.LayerNorm((3, 4))(np.zeros(4, "f4")), ValueError, "LayerNorm.forward: x has shape (4,), expected (…, 3, 4)"),
    (lambda: xpconv.LayerNorm(4)(np.zeros((2, 4))), TypeError, "LayerNorm.forward: x is float64 but the parameters are float32"),
    (lambda: xpconv.GroupNorm(2, 4)(np.zeros((2, 6), "f4")), ValueError, "GroupNorm.forward: x has shape (2, 6), expected (N, 4, …)"),
    (lambda: xpconv.GroupNorm(4, 4)(np.zeros((1, 4), "f4")), ValueError, "one value per group has no variance"),
    (lambda: xpconv.InstanceNorm1d(4)(np.zeros((4, 1), "f4")), ValueError, "one pixel per image has no variance"),
    (lambda: xpconv.InstanceNorm1d(4)(np.zeros(4, "f4")), ValueError, "expected (N, C, L) or (C, L)"),
    (lambda: xpconv.LocalResponseNorm(2)(np.zeros((2, 3))), ValueError, "expected (N, C, …) with spatial axes"),
    (lambda: xpconv.Dropout2d()(np.zeros((2, 3))), ValueError, "Dropout2d.forward: x has shape (2, 3), expected (N, C, H, W) or (N, C, L)"),
    (lambda: xpconv.DropPath()(np.zeros(())), ValueError, "DropPath.forward: x has shape (), expected (N, …)"),
    (lambda: xpconv.SqueezeExcitation(4, 2)(np.zeros((1, 3, 2, 2), "f4")), ValueError, "SqueezeExcitation.forward: x has shape (1, 3, 2, 2), so 3 channels, expected 4"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "kind", "message"), ERRORS, ids=[row[2][:40] for row in ERRORS])
def test_errors(call, kind, message):
    with pytest.raises(kind) as caught:
        call()
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("layer", "text"),
    [
        (lambda: xpconv.BatchNorm1d(3, bias=False), "BatchNorm1d(3, bias=False)"),
        (lambda: xpconv.InstanceNorm2d(3, affine=True), "InstanceNorm2d(3, affine=True)"),
        (lambda: xpconv.LayerNorm([3, 4], bias=False), "LayerNorm((3, 4), bias=False)"),
        (lambda: xpconv.RMSNorm(3), "RMSNorm((3,))"),
        (lambda: xpconv.GroupNorm(2, 4, affine=False), "GroupNorm(2, 4, affine=False)"),
        (lambda: xpconv.LocalResponseNorm(5, k=2.0), "LocalResponseNorm(5, k=2.0)"),
        (lambda: xpconv.DropPath(0.2), "DropPath(p=0.2)"),
    ],
)
def test_repr(layer, text):
    assert repr(layer()) == text
