"""The shared check of every layer, over many configurations and all backends."""

import numpy as np
import pytest
from effort import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import batch_norm_naive, conv_naive, pool_naive, uniforms

import xpconv
from xpconv.testing import assert_layer_ok

X = np.random.default_rng(7).normal(size=(2, 4, 6, 7))


def both(value):
    return (value, value) if isinstance(value, int) else value


CONVS = {
    "plain": dict(kernel_size=3),
    "one by one": dict(kernel_size=1),
    "rectangular": dict(kernel_size=(2, 3)),
    "strided": dict(kernel_size=3, stride=2, padding=1),
    "stride past the kernel": dict(kernel_size=2, stride=3),
    "uneven strides": dict(kernel_size=3, stride=(1, 2), padding=(2, 0)),
    "asymmetric": dict(kernel_size=3, padding=((0, 1), (2, 0))),
    "same": dict(kernel_size=(3, 4), padding="same"),
    "same dilated": dict(kernel_size=(3, 2), padding="same", dilation=2),
    "valid": dict(kernel_size=2, padding="valid"),
    "dilated": dict(kernel_size=3, dilation=(2, 1), padding=1),
    "grouped": dict(kernel_size=3, groups=2, padding=1),
    "depthwise": dict(kernel_size=3, groups=4, out_channels=4, padding=1),
    "depthwise, two each": dict(kernel_size=3, groups=4, out_channels=8, stride=2, dilation=2, padding=2),
    "no bias": dict(kernel_size=3, bias=False),
    "reflect": dict(kernel_size=3, padding=2, padding_mode="reflect"),
    "replicate": dict(kernel_size=3, padding=((1, 0), (2, 3)), padding_mode="replicate"),
    "circular": dict(kernel_size=3, padding=(2, 1), padding_mode="circular", stride=2),
    "same reflect grouped": dict(kernel_size=(2, 3), padding="same", padding_mode="reflect", groups=2),
    "whole image": dict(kernel_size=(6, 7)),
}


def resolved_padding(options):
    padding = options.get("padding", 0)
    kernel, dilation = both(options["kernel_size"]), both(options.get("dilation", 1))
    if padding == "valid":
        return ((0, 0), (0, 0))
    if padding == "same":
        totals = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
        return tuple((t // 2, t - t // 2) for t in totals)
    return tuple(p if isinstance(p, tuple) else (p, p) for p in both(padding))


def conv_reference(options):
    def reference(x, weight, bias=None):
        batched = x if x.ndim == 4 else x[None]
        y = conv_naive(
            batched, weight, bias,
            stride=both(options.get("stride", 1)), dilation=both(options.get("dilation", 1)),
            padding=resolved_padding(options), groups=options.get("groups", 1),
            mode=options.get("padding_mode", "zeros"),
        )  # fmt: skip
        return y if x.ndim == 4 else y[0]

    return reference


@pytest.mark.sample(4)
@pytest.mark.parametrize("x", [X, X[0]], ids=["batched", "unbatched"])
@pytest.mark.parametrize("options", CONVS.values(), ids=CONVS.keys())
def test_conv2d(options, x, backends):
    def make():
        return xpconv.Conv2d(**{"in_channels": 4, "out_channels": 6, "rng": 0, **options})

    assert_layer_ok(make, x, reference=conv_reference(options), backends=backends)


@settings(max_examples=examples(60))
@given(data=st.data())
def test_conv2d_drawn(data):
    draw = data.draw
    groups, stride, dilation = (
        draw(st.sampled_from([1, 2, 3])),
        draw(st.tuples(*[st.integers(1, 3)] * 2)),
        None,
    )
    kernel = draw(st.tuples(*[st.integers(1, 3)] * 2))
    dilation = draw(st.tuples(*[st.integers(1, 2)] * 2))
    padding = draw(st.tuples(*[st.tuples(st.integers(0, 2), st.integers(0, 2))] * 2))
    mode = draw(st.sampled_from(["zeros", "reflect", "replicate", "circular"]))
    extent = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    size = [max(3, e - sum(p)) + draw(st.integers(0, 2)) for e, p in zip(extent, padding, strict=True)]
    per_in, per_out = draw(st.integers(1, 2)), draw(st.integers(1, 2))
    x = np.random.default_rng(draw(st.integers(0, 99))).normal(
        size=(draw(st.integers(1, 2)), groups * per_in, *size)
    )
    options = dict(
        kernel_size=kernel,
        stride=stride,
        dilation=dilation,
        padding=padding,
        padding_mode=mode,
        groups=groups,
    )

    def make():
        return xpconv.Conv2d(groups * per_in, groups * per_out, rng=1, **options)

    assert_layer_ok(make, x, reference=conv_reference(options), backends=["numpy", "double"])


POOLS = {
    "halves": dict(kernel_size=2),
    "overlapping": dict(kernel_size=2, stride=1),
    "gaps": dict(kernel_size=2, stride=3),
    "rectangular": dict(kernel_size=(2, 3), stride=(1, 2)),
    "padded": dict(kernel_size=3, stride=2, padding=1),
    "uneven padding": dict(kernel_size=(2, 3), padding=(1, 0)),
    "ceil": dict(kernel_size=2, ceil_mode=True),
    "ceil and padding": dict(kernel_size=3, stride=2, padding=1, ceil_mode=True),
    "ceil, last window outside": dict(kernel_size=2, stride=5, padding=1, ceil_mode=True),
}
MAX_POOLS = {**POOLS, "dilated": dict(kernel_size=2, stride=1, dilation=(2, 3), padding=1)}
AVG_POOLS = {
    **POOLS,
    "without padding": dict(kernel_size=3, stride=2, padding=1, count_include_pad=False),
    "without padding, ceil": dict(
        kernel_size=3, stride=2, padding=1, count_include_pad=False, ceil_mode=True
    ),
    "own divisor": dict(kernel_size=3, stride=2, padding=1, ceil_mode=True, divisor_override=5),
}


def window(options):
    kernel = both(options["kernel_size"])
    return dict(
        kernel=kernel, stride=both(options.get("stride", kernel)), padding=both(options.get("padding", 0)),
        dilation=both(options.get("dilation", 1)), ceil_mode=options.get("ceil_mode", False),
    )  # fmt: skip


@pytest.mark.parametrize("options", MAX_POOLS.values(), ids=MAX_POOLS.keys())
def test_max_pool2d(options, backends):
    def reference(x):
        return pool_naive(x, lambda values, size: max(values), **window(options))

    assert_layer_ok(lambda: xpconv.MaxPool2d(**options), X, reference=reference, backends=backends)


@pytest.mark.parametrize("options", AVG_POOLS.values(), ids=AVG_POOLS.keys())
def test_avg_pool2d(options, backends):
    def mean(values, size):
        size = size if options.get("count_include_pad", True) else len(values)
        return sum(values) / options.get("divisor_override", size)

    def reference(x):
        return pool_naive(x, mean, **window(options))

    assert_layer_ok(lambda: xpconv.AvgPool2d(**options), X, reference=reference, backends=backends)


@pytest.mark.parametrize("make", [lambda: xpconv.MaxPool2d(2), lambda: xpconv.AvgPool2d(2)])
def test_pool_unbatched(make, backends):
    batched = make()(xpconv.asarray(X[:1]))
    assert_layer_ok(make, X[0], reference=lambda x: xpconv.asnumpy(batched)[0], backends=backends)


def test_max_pool_ties_go_to_the_first_in_row_major_order(backend):
    layer = xpconv.MaxPool2d(2, stride=1)
    layer(xpconv.asarray(np.ones((1, 1, 3, 3))))
    dx = layer.backward(xpconv.asarray(np.array([[[[1.0, 2], [3, 4]]]])))
    np.testing.assert_array_equal(xpconv.asnumpy(dx)[0, 0], [[1, 2, 0], [3, 4, 0], [0, 0, 0]])


def test_max_pool_of_nothing_but_minus_infinity_still_gives_its_gradient_back(backend):
    layer = xpconv.MaxPool2d(2, padding=1)
    layer(xpconv.asarray(np.full((1, 1, 2, 2), -np.inf)))
    dx = layer.backward(xpconv.asarray(np.array([[[[1.0, 2], [3, 4]]]])))
    np.testing.assert_array_equal(xpconv.asnumpy(dx)[0, 0], [[1, 2], [3, 4]])


def test_max_pool_kernel_of_more_taps_than_a_byte_counts(backend):
    x = np.random.default_rng(0).normal(size=(1, 1, 20, 20))
    layer = xpconv.MaxPool2d(20)
    layer(xpconv.asarray(x))
    dx = xpconv.asnumpy(layer.backward(xpconv.asarray(np.array([[[[5.0]]]]))))
    assert dx.sum() == 5.0
    assert dx.argmax() == x.argmax()


DENSE = {"matrix": (3, 5), "one row": (5,), "several leading axes": (2, 3, 5), "no rows": (0, 5)}


@pytest.mark.parametrize("shape", DENSE.values(), ids=DENSE.keys())
@pytest.mark.parametrize("bias", [True, False])
def test_dense(shape, bias, backends):
    def reference(x, weight, bias=0.0):
        return np.einsum("...c,kc->...k", x, weight) + bias

    x = np.random.default_rng(0).normal(size=shape)
    assert_layer_ok(lambda: xpconv.Dense(5, 3, bias=bias, rng=0), x, reference=reference, backends=backends)


POINTWISE = {
    "relu": (xpconv.ReLU, lambda x: np.where(x > 0, x, 0)),
    "sigmoid": (xpconv.Sigmoid, lambda x: 1 / (1 + np.exp(-x))),
    "tanh": (xpconv.Tanh, lambda x: (np.exp(x) - np.exp(-x)) / (np.exp(x) + np.exp(-x))),
}


@pytest.mark.parametrize(("layer", "reference"), POINTWISE.values(), ids=POINTWISE.keys())
@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (7,), (0, 3)])
def test_pointwise(layer, reference, shape, backends):
    x = np.random.default_rng(0).normal(size=shape)
    assert_layer_ok(layer, x, reference=reference, backends=backends)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_pointwise_at_the_ends_of_the_range(dtype, backend):
    x = xpconv.asarray(np.array([-1e4, -30, -0.0, 0.0, 30, 1e4], dtype=dtype))
    for layer, expected in [
        (xpconv.Sigmoid(), [0, np.exp(-30.0), 0.5, 0.5, 1, 1]),
        (xpconv.Tanh(), [-1, -1, 0, 0, 1, 1]),
        (xpconv.ReLU(), [0, 0, 0, 0, 30, 1e4]),
    ]:
        y = xpconv.asnumpy(layer(x))
        assert y.dtype == dtype
        np.testing.assert_allclose(y, expected, rtol=1e-6, atol=1e-7 if dtype == "float16" else 1e-30)
        assert np.isfinite(xpconv.asnumpy(layer.backward(xpconv.get_xp(x).ones_like(x)))).all()


@pytest.mark.parametrize(
    ("start", "end", "shape"),
    [(1, -1, (2, 84)), (0, -1, (168,)), (2, 3, (2, 3, 28)), (0, 1, (6, 4, 7)), (-2, -1, (2, 3, 28))],
)
def test_flatten(start, end, shape, backends):
    x = np.random.default_rng(0).normal(size=(2, 3, 4, 7))
    assert_layer_ok(
        lambda: xpconv.Flatten(start, end),
        x,
        reference=lambda x: x.reshape(shape),
        backends=backends,
    )


NORMS = {
    "training": (dict(), True),
    "inference": (dict(), False),
    "not affine": (dict(affine=False), True),
    "without running statistics": (dict(track_running_stats=False), False),
    "large eps": (dict(eps=0.5), True),
}


@pytest.mark.parametrize(("options", "training"), NORMS.values(), ids=NORMS.keys())
def test_batch_norm2d(options, training, backends):
    rng = np.random.default_rng(0)
    weight, bias, mean, var = (
        rng.normal(size=4),
        rng.normal(size=4),
        rng.normal(size=4),
        rng.uniform(1, 3, size=4),
    )

    def make():
        layer = xpconv.BatchNorm2d(4, **options)
        state = {"weight": weight, "bias": bias, "running_mean": mean, "running_var": var}
        layer.load_state_dict({k: v for k, v in state.items() if k in layer.state_dict()}, strict=False)
        return layer

    def reference(x, weight=1.0, bias=0.0, running_mean=None, running_var=None, **_):
        if training:
            running_mean = running_var = None
        return batch_norm_naive(x, weight, bias, running_mean, running_var, eps=options.get("eps", 1e-5))

    assert_layer_ok(make, 3 * X + 2, reference=reference, backends=backends, training=training)


@pytest.mark.parametrize("momentum", [0.1, 0.5, None])
def test_batch_norm2d_running_statistics(momentum, backend):
    layer = xpconv.BatchNorm2d(4, momentum=momentum, dtype="float64")
    batches = [np.random.default_rng(seed).normal(seed, 1 + seed, size=(3, 4, 5, 5)) for seed in range(3)]
    mean, var = np.zeros(4), np.ones(4)
    for i, batch in enumerate(batches):
        layer(xpconv.asarray(batch))
        new = momentum if momentum is not None else 1 / (i + 1)
        mean = (1 - new) * mean + new * batch.mean(axis=(0, 2, 3))
        var = (1 - new) * var + new * batch.var(axis=(0, 2, 3), ddof=1)
    state = {k: xpconv.asnumpy(v) for k, v in layer.state_dict().items()}
    np.testing.assert_allclose(state["running_mean"], mean, rtol=1e-12)
    np.testing.assert_allclose(state["running_var"], var, rtol=1e-12)
    assert state["num_batches_tracked"] == 3
    before = layer.state_dict()
    layer.eval()(xpconv.asarray(batches[0]))
    for name, array in layer.state_dict().items():
        np.testing.assert_array_equal(xpconv.asnumpy(array), xpconv.asnumpy(before[name]))


@pytest.mark.parametrize("mean", [1e4, 1e6])
def test_batch_norm2d_is_exact_far_from_zero(mean, backend):
    x = (np.random.default_rng(0).normal(size=(64, 3, 28, 28)) + mean).astype("float32")
    y = xpconv.asnumpy(xpconv.BatchNorm2d(3, affine=False)(xpconv.asarray(x)))
    np.testing.assert_allclose(y, batch_norm_naive(x.astype("float64")), atol=1e-4)


def test_sums_of_half_precision_do_not_overflow(backend):
    x = xpconv.asarray(np.full((1, 1, 64, 64), 20), "float16")
    assert float(xpconv.AvgPool2d(64)(x)[0, 0, 0, 0]) == 20
    x = np.random.default_rng(0).normal(50, 3, size=(16, 3, 32, 32)).astype("float16")
    layer = xpconv.BatchNorm2d(3, dtype="float16")
    y = xpconv.asnumpy(layer(xpconv.asarray(x)))
    assert y.dtype == "float16"
    np.testing.assert_allclose(y, batch_norm_naive(x.astype("float64")), atol=0.01)
    np.testing.assert_allclose(xpconv.asnumpy(layer.running_mean), 5, atol=0.05)
    ones = xpconv.asarray(np.ones((300, 300)), "float16")
    assert float(xpconv.MSELoss()(ones, 0 * ones)) == 1


@pytest.mark.parametrize(
    "make", [lambda: xpconv.Dense(2, 3, rng=0), lambda: xpconv.LayerNorm(3), lambda: xpconv.PReLU(3)]
)
def test_gradients_of_many_halves_add_up(make, backend):
    """5000 rows of float16 ones: one added to another, they would stay at 2048."""
    layer = make().to(dtype="float16")
    x = xpconv.asarray(np.full((5000, 2 if isinstance(layer, xpconv.Dense) else 3), -1), "float16")
    y = layer(x)
    layer.backward(xpconv.get_xp().ones_like(y))
    grad = layer.weight.grad if isinstance(layer, xpconv.PReLU) else layer.bias.grad
    assert abs(xpconv.asnumpy(grad)).tolist() == [5000.0] * 3


def test_softmax_of_many_halves(backend):
    x = xpconv.asarray(np.zeros((5000, 2)), "float16")
    np.testing.assert_allclose(xpconv.asnumpy(xpconv.Softmax(0)(x)), 1 / 5000, rtol=1e-2)
    np.testing.assert_allclose(xpconv.asnumpy(xpconv.LogSoftmax(0)(x)), -np.log(5000), rtol=1e-3)


@pytest.mark.parametrize("p", [0.0, 0.3, 1.0])
def test_dropout(p, backend):
    x = np.random.default_rng(0).normal(size=(50, 40)) + 5

    keep = uniforms(xpconv.get_xp(), 3, x.shape) >= p

    def reference(x):
        return x * keep / (1 - p) if p < 1 else 0 * x

    assert_layer_ok(lambda: xpconv.Dropout(p, rng=3), x, reference=reference, backends=[backend])
    assert_layer_ok(
        lambda: xpconv.Dropout(p), x, reference=lambda x: x, backends=["numpy", backend], training=False
    )


def test_dropout_follows_manual_seed_and_never_repeats_a_mask(backend):
    x = xpconv.asarray(np.ones(1000, "float32"))
    xpconv.manual_seed(4)
    layer = xpconv.Dropout(0.5)
    first, second = xpconv.asnumpy(layer(x)), xpconv.asnumpy(layer(x))
    xpconv.manual_seed(4)
    np.testing.assert_array_equal(first, xpconv.asnumpy(xpconv.Dropout(0.5)(x)))
    assert (first != second).any()
    assert abs(first.mean() - 1) < 0.1


def test_sequential_and_residual(backends):
    def make():
        rng = np.random.default_rng(0)
        block = xpconv.Residual(
            xpconv.Conv2d(4, 6, 3, padding=1, bias=False, rng=rng), xpconv.BatchNorm2d(6), xpconv.Tanh(),
            shortcut=xpconv.Conv2d(4, 6, 1, rng=rng),
        )  # fmt: skip
        identity = xpconv.Residual(xpconv.Conv2d(6, 6, 3, padding=1, rng=rng), xpconv.Sigmoid())
        return xpconv.Sequential(
            block, identity, xpconv.AvgPool2d(3), xpconv.Flatten(), xpconv.Dense(24, 3, rng=rng)
        )

    def reference(x, **s):
        def conv(x, name, pad):
            return conv_naive(x, s[f"{name}.weight"], s.get(f"{name}.bias"), padding=((pad, pad),) * 2)

        main = batch_norm_naive(conv(x, "0.body.0", 1), s["0.body.1.weight"], s["0.body.1.bias"])
        x = np.tanh(main) + conv(x, "0.shortcut", 0)
        x = 1 / (1 + np.exp(-conv(x, "1.body.0", 1))) + x
        x = pool_naive(x, lambda values, size: sum(values) / size, (3, 3), (3, 3))
        return x.reshape(len(x), -1) @ s["4.weight"].T + s["4.bias"]

    assert_layer_ok(make, X, reference=reference, backends=backends)


def test_one_layer_may_stand_twice_in_a_model(backends):
    def make():
        dense = xpconv.Dense(5, 5, rng=0)
        return xpconv.Sequential(dense, xpconv.Tanh(), dense)

    def reference(x, **s):
        np.testing.assert_array_equal(s["0.weight"], s["2.weight"])
        return np.tanh(x @ s["0.weight"].T + s["0.bias"]) @ s["0.weight"].T + s["0.bias"]

    assert_layer_ok(make, X[0, 0, :, :5], reference=reference, backends=backends)
    assert [name for name, _ in make().named_parameters()] == ["0.weight", "0.bias"]


def test_summary_shows_the_first_of_several_outputs(backend):
    text = xpconv.Sequential(xpconv.MaxPool2d(2, return_indices=True)).summary((1, 8, 8))
    assert "(1, 1, 4, 4)" in text


def test_summary_of_what_begins_with_an_embedding(backend):
    model = xpconv.Sequential(xpconv.Sequential(xpconv.Embedding(10, 3)), xpconv.Dense(3, 2))
    assert "(1, 7, 2)" in model.summary((7,))


class Both(xpconv.Layer):
    def __init__(self):
        self.first, self.rest = xpconv.Dense(2, 2), xpconv.Sequential(xpconv.ReLU())
        self.scale = xpconv.Parameter(np.ones(1, "float32"), "scale")


def test_a_layer_of_ones_own_lists_its_children():
    assert repr(Both()) == "Both(\n  (first): Dense(2, 2)\n  (rest): Sequential(\n    (0): ReLU()\n  )\n)"
    rows = Both().summary().split("\n")
    assert [row.split()[0] for row in rows] == ["name", "Both()", "first", "rest.0", "total", "memory"]


def test_inputs_by_name(backend):
    """As `forward` calls them, or PyTorch."""
    x, y = (xpconv.asarray(np.random.default_rng(i).normal(size=(3, 4))) for i in range(2))
    layer, both = xpconv.Dense(4, 2, dtype="float64", rng=0), xpconv.Bilinear(4, 4, 2, dtype="float64", rng=0)
    for found in (layer(x=x), layer(input=x)):
        np.testing.assert_array_equal(xpconv.asnumpy(found), xpconv.asnumpy(layer(x)))
    for found in (both(x, x2=y), both(input2=y, input1=x)):
        np.testing.assert_array_equal(xpconv.asnumpy(found), xpconv.asnumpy(both(x, y)))
    for inputs, named in [
        ((), {"inputs": x}),
        ((), {"x": x, "input": x}),
        ((x,), {"input": x}),
        ((x,), {"y": x}),
    ]:
        with pytest.raises(
            TypeError,
            match=rf"Dense: got {len(inputs)} inputs by position and {', '.join(named)} by name, expected x$",
        ):
            layer(*inputs, **named)
