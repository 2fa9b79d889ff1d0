"""Convolutions of 1 and 3 axes, transposed, lazy, separable, and folds: the shared check, on all backends."""

import itertools

import numpy as np
import pytest
from reference import pad_naive

import xpconv
from xpconv.testing import assert_layer_ok

X = {axes: np.random.default_rng(axes).normal(size=(2, 4, *(6, 5, 4)[:axes])) for axes in (1, 2, 3)}


def each(value, axes):
    return value if isinstance(value, tuple) else (value,) * axes


def pairs(options, axes):
    kernel, dilation = each(options["kernel_size"], axes), each(options.get("dilation", 1), axes)
    padding = options.get("padding", 0)
    if padding == "same":
        totals = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
        return tuple((t // 2, t - t // 2) for t in totals)
    return tuple(p if isinstance(p, tuple) else (p, p) for p in each(padding, axes))


def conv_naive(x, weight, bias, options):
    """The definition, an output at a time, over any number of axes."""
    axes = weight.ndim - 2
    if x.ndim == axes + 1:
        return conv_naive(x[None], weight, bias, options)[0]
    x = pad_naive(x, pairs(options, axes), options.get("padding_mode", "zeros"))
    stride, dilation = each(options.get("stride", 1), axes), each(options.get("dilation", 1), axes)
    outs, per_group = weight.shape[:2]
    per_out = outs // options.get("groups", 1)
    sizes = [
        (n - d * (r - 1) - 1) // s + 1
        for n, r, s, d in zip(x.shape[2:], weight.shape[2:], stride, dilation, strict=True)
    ]
    y = np.zeros((len(x), outs, *sizes))
    for i, k, *p in itertools.product(*map(range, y.shape)):
        y[(i, k, *p)] = 0.0 if bias is None else bias[k]
        for c, *r in itertools.product(*map(range, weight.shape[1:])):
            h = [a * s + b * d for a, s, b, d in zip(p, stride, r, dilation, strict=True)]
            y[(i, k, *p)] += x[(i, k // per_out * per_group + c, *h)] * weight[(k, c, *r)]
    return y


def conv_transpose_naive(x, weight, bias, options):
    """Every input writes through every tap; what falls into the padding is lost."""
    axes = weight.ndim - 2
    if x.ndim == axes + 1:
        return conv_transpose_naive(x[None], weight, bias, options)[0]
    groups, extra = options.get("groups", 1), each(options.get("output_padding", 0), axes)
    stride, dilation = each(options.get("stride", 1), axes), each(options.get("dilation", 1), axes)
    padding = pairs(options, axes)
    sizes = [
        (n - 1) * s - lo - hi + d * (r - 1) + 1 + e
        for n, r, s, d, (lo, hi), e in zip(
            x.shape[2:], weight.shape[2:], stride, dilation, padding, extra, strict=True
        )
    ]
    per_group = weight.shape[1]
    y = np.zeros((len(x), groups * per_group, *sizes))
    for i, c, *p in itertools.product(*map(range, x.shape)):
        for j, *r in itertools.product(*map(range, weight.shape[1:])):
            h = [
                a * s - lo + b * d
                for a, s, (lo, _), b, d in zip(p, stride, padding, r, dilation, strict=True)
            ]
            if all(0 <= a < n for a, n in zip(h, sizes, strict=True)):
                k = c // (x.shape[1] // groups) * per_group + j
                y[(i, k, *h)] += x[(i, c, *p)] * weight[(c, j, *r)]
    return y if bias is None else y + bias.reshape(-1, *(1,) * axes)


CONVS = [
    dict(kernel_size=3),
    dict(kernel_size=2, stride=2, padding=1, bias=False),
    dict(kernel_size=3, padding="same", dilation=2),
    dict(kernel_size=2, groups=2, padding=1, padding_mode="replicate"),
    dict(kernel_size=2, groups=4, out_channels=4, stride=2),
    dict(kernel_size=3, padding=2, padding_mode="reflect"),
    dict(kernel_size=2, padding=1, padding_mode="circular"),
]
OWN = {
    1: [dict(kernel_size=3, padding=((2, 0),))],
    3: [dict(kernel_size=(1, 2, 3), padding=((0, 1), (2, 0), (1, 1)))],
}


@pytest.mark.sample(3)
@pytest.mark.parametrize("batched", [True, False])
@pytest.mark.parametrize(
    ("axes", "options"), [(a, o) for a in (1, 3) for o in CONVS + OWN[a] if a == 1 or o != CONVS[2]], ids=str
)
def test_conv(axes, options, batched, backends):
    def make():
        return getattr(xpconv, f"Conv{axes}d")(**{"in_channels": 4, "out_channels": 2, "rng": 0, **options})

    assert_layer_ok(
        make,
        X[axes] if batched else X[axes][0],
        reference=lambda x, weight, bias=None: conv_naive(x, weight, bias, options),
        backends=backends,
    )


TRANSPOSES = [
    dict(kernel_size=3),
    dict(kernel_size=2, stride=2, bias=False),
    dict(kernel_size=3, stride=2, padding=1, output_padding=1),
    dict(kernel_size=2, stride=3, padding=2, output_padding=2),
    dict(kernel_size=2, dilation=3, output_padding=2),
    dict(kernel_size=3, groups=2, padding=2, stride=2),
    dict(kernel_size=3, groups=4, out_channels=4, stride=2, output_padding=1),
    dict(kernel_size=2, groups=4, out_channels=8),
    dict(kernel_size=1, padding=1, dilation=3, output_padding=2),
]
UNEVEN = {
    1: dict(kernel_size=3, padding=((2, 0),), stride=2),
    2: dict(kernel_size=(2, 3), padding=((0, 1), (2, 0)), stride=(1, 3), output_padding=(0, 2)),
    3: dict(kernel_size=(1, 2, 3), padding=(0, 1, 1), stride=(2, 1, 1), output_padding=(1, 0, 0)),
}


@pytest.mark.sample(3)
@pytest.mark.parametrize("batched", [True, False])
@pytest.mark.parametrize(
    ("axes", "options"),
    [(a, o) for a in (1, 2) for o in [*TRANSPOSES, UNEVEN[a]]] + [(3, TRANSPOSES[2]), (3, UNEVEN[3])],
    ids=str,
)
def test_conv_transpose(axes, options, batched, backends):
    def make():
        layer = getattr(xpconv, f"ConvTranspose{axes}d")
        return layer(**{"in_channels": 4, "out_channels": 2, "rng": 0, **options})

    x = X[axes] if axes < 3 else X[3][:, :, :3, :3, :3]
    assert_layer_ok(
        make,
        x if batched else x[0],
        reference=lambda x, weight, bias=None: conv_transpose_naive(x, weight, bias, options),
        backends=backends,
    )


def test_conv_transpose_is_the_transpose_of_conv(backend):
    """⟨conv(x), y⟩ = ⟨x, convᵀ(y)⟩ with the same weight."""
    options = dict(kernel_size=3, stride=2, padding=1, groups=2, bias=False, dtype="float64")
    down, up = xpconv.Conv2d(4, 6, rng=0, **options), xpconv.ConvTranspose2d(6, 4, **options)
    up.load_state_dict(down.state_dict())
    x = xpconv.asarray(np.random.default_rng(0).normal(size=(2, 4, 7, 7)))
    y = xpconv.asarray(np.random.default_rng(1).normal(size=(2, 6, 4, 4)))
    np.testing.assert_allclose(float((down(x) * y).sum()), float((x * up(y)).sum()), rtol=1e-12)


def test_conv_transpose_output_size_names_one_of_the_sizes_that_stride_allows(backend):
    up = xpconv.ConvTranspose2d(4, 2, 3, stride=2, rng=0, dtype="float64")
    x = xpconv.asarray(X[2])
    small, large = xpconv.asnumpy(up(x)), xpconv.asnumpy(up(x, output_size=(14, 11)))
    assert large.shape == (2, 2, 14, 11)
    np.testing.assert_array_equal(large[:, :, :13], small)
    assert up.backward(xpconv.asarray(large)).shape == x.shape
    with pytest.raises(xpconv.errors.ShapeError, match=r"output_size is \(15, 11\), expected \(13, 11\) to"):
        up(x, output_size=(15, 11))
    with pytest.raises(TypeError, match="output_size is 14, expected 2 ints"):
        up(x, output_size=14)


@pytest.mark.sample(2)
@pytest.mark.parametrize(
    "name", ["Conv1d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d"]
)
def test_conv_keeps_half_precision_and_empty_batches(name, backend):
    axes = int(name[-2])
    layer = getattr(xpconv, name)(4, 2, 3, padding=1, dtype="float16")
    for x in (X[axes], X[axes][:0]):
        y = layer(xpconv.asarray(x, "float16"))
        assert y.dtype == layer.backward(y).dtype == "float16"


# --- depthwise, separable, lazy ----------------------------------------------------------------------

SEPARABLES = [
    dict(kernel_size=3),
    dict(kernel_size=(2, 3), stride=2, padding=1, depth_multiplier=2, bias=False),
    dict(kernel_size=2, padding="same", dilation=2, padding_mode="reflect"),
]


def depthwise_naive(x, weight, options):
    """Each channel, with each of its filters, as a convolution of one channel."""
    multiplier = options.get("depth_multiplier", 1)
    parts = [
        conv_naive(x[..., k // multiplier, None, :, :], w[None], None, options) for k, w in enumerate(weight)
    ]
    return np.concatenate(parts, axis=-3)


@pytest.mark.parametrize("x", [X[2], X[2][0]], ids=["batched", "unbatched"])
@pytest.mark.parametrize("options", SEPARABLES, ids=str)
def test_depthwise_and_separable(options, x, backends):
    def depthwise(x, weight, bias=0.0):
        return depthwise_naive(x, weight, options) + np.reshape(bias, (-1, 1, 1))

    def separable(x, **s):
        between = depthwise_naive(x, s["depthwise.weight"], options)
        y = np.einsum("...chw,kc->...khw", between, s["pointwise.weight"][:, :, 0, 0])
        return y + np.reshape(s.get("pointwise.bias", 0.0), (-1, 1, 1))

    assert_layer_ok(
        lambda: xpconv.DepthwiseConv2d(4, rng=0, **options), x, reference=depthwise, backends=backends
    )
    make = lambda: xpconv.SeparableConv2d(4, 6, rng=0, **options)
    assert_layer_ok(make, x, reference=separable, backends=backends)


@pytest.mark.parametrize("name", ["LazyConv1d", "LazyConv2d", "LazyConv3d"])
def test_lazy_conv(name, backends):
    axes = int(name[-2])
    options = dict(kernel_size=2, groups=2, padding=1)

    def make(dtype="float32"):
        layer = getattr(xpconv, name)(6, rng=0, **options)
        assert layer.state_dict() == {}
        assert repr(layer).startswith(f"{name}(6, kernel_size=2")
        with xpconv.no_grad():
            layer(xpconv.asarray(X[axes], dtype))
        return layer

    assert_layer_ok(
        make,
        X[axes],
        reference=lambda x, weight, bias: conv_naive(x, weight, bias, options),
        backends=backends,
    )
    layer, like = make("float64"), getattr(xpconv, f"Conv{axes}d")(4, 6, rng=0, dtype="float64", **options)
    assert type(layer) is type(like)
    assert repr(layer) == repr(like)
    assert list(layer.state_dict()) == ["weight", "bias"]
    for name, array in like.state_dict().items():
        np.testing.assert_array_equal(xpconv.asnumpy(layer.state_dict()[name]), xpconv.asnumpy(array))


def test_lazy_conv_follows_its_first_input_and_learns_from_it(backend):
    model = xpconv.Sequential(xpconv.LazyConv2d(3, 2), xpconv.ReLU(), xpconv.LazyConv2d(2, 2, bias=False))
    x = xpconv.asarray(X[2])
    y = model(x)
    assert model.backward(y).shape == x.shape
    assert [n for n, p in model.named_parameters() if p.grad is not None] == [
        "0.weight",
        "0.bias",
        "2.weight",
    ]
    assert {str(p.dtype) for p in model.parameters()} == {"float64"}
    with pytest.raises(xpconv.errors.ShapeError, match=r"^Conv2d.forward: .* expected 4"):
        model(x[:, :3])


def test_lazy_conv_loads_a_state_dict_first(backend):
    like = xpconv.Sequential(xpconv.Conv2d(4, 6, 3, groups=2, rng=0), xpconv.Conv2d(6, 2, 1, rng=0))
    lazy = xpconv.Sequential(xpconv.LazyConv2d(6, 3, groups=2), xpconv.LazyConv2d(2, 1))
    lazy.load_state_dict(like.state_dict())
    assert repr(lazy) == repr(like)
    x = xpconv.asarray(X[2], "float32")
    np.testing.assert_array_equal(xpconv.asnumpy(lazy(x)), xpconv.asnumpy(like(x)))
    with pytest.raises(xpconv.errors.StateDictError, match=r"weight has shape \(6, 2, 3, 3\)"):
        xpconv.LazyConv2d(5, 3).load_state_dict(like[0].state_dict())


def test_a_summary_makes_lazy_parameters():
    model = xpconv.Sequential(xpconv.LazyConv2d(6, 3), xpconv.LazyConv2d(2, 1))
    assert "0       Conv2d(4, 6, kernel_size=3)" in model.summary((4, 6, 5))


def test_no_optimizer_takes_a_model_with_lazy_layers():
    model = xpconv.Sequential(xpconv.LazyConv2d(6, 3), xpconv.Flatten(), xpconv.Dense(12, 3))
    message = r"^Sequential.parameters: LazyConv2d \(layer 0\) has no parameters .* run one first: .*model\(x\[:1\]\)"
    for make in (lambda: xpconv.SGD(model.parameters()), lambda: xpconv.ExponentialMovingAverage(model)):
        with pytest.raises(RuntimeError, match=message):
            make()
    model.zero_grad()
    assert list(model.to(dtype="float64").eval().train().state_dict()) == ["2.weight", "2.bias"]
    assert "LazyConv2d(6, kernel_size=3)" in model.summary()
    row = model.summary((4, 3, 4)).split("\n")[1]
    assert row.split()[-3] == "222"  # counted, as the forward made them
    x = X[2][:, :, :3, :4]
    optimizer = xpconv.SGD(model.parameters())
    before = model[0].weight.data.copy()
    model.backward(model(x), input_grad=False)
    optimizer.step()
    assert (model[0].weight.data != before).any()


def test_lazy_conv_stays_lazy_where_its_input_is_refused():
    layer = xpconv.LazyConv2d(6, 3, groups=3)
    for x, message in [(X[1][0], "expected"), (X[2].astype(int), "floating"), (X[2], "groups is 3")]:
        with pytest.raises((ValueError, TypeError), match=message):
            layer(x)
        assert type(layer) is xpconv.LazyConv2d
        assert not list(layer.named_parameters())


# --- fold --------------------------------------------------------------------------------------------

FOLDS = [
    dict(kernel_size=2),
    dict(kernel_size=(2, 3), stride=2, padding=1),
    dict(kernel_size=2, dilation=(3, 2), stride=(1, 3)),
]


def windows_naive(size, options):
    """For each row of the columns, within a channel, and each column: the pixel that is there, or None."""
    kernel, stride, dilation = (each(options.get(n, 1), 2) for n in ("kernel_size", "stride", "dilation"))
    padding = each(options.get("padding", 0), 2)
    starts = [
        range(-p, n + p - d * (k - 1), s)
        for n, k, s, d, p in zip(size, kernel, stride, dilation, padding, strict=True)
    ]
    for row, tap in enumerate(itertools.product(*map(range, kernel))):
        for column, start in enumerate(itertools.product(*starts)):
            h = tuple(a + r * d for a, r, d in zip(start, tap, dilation, strict=True))
            yield row, column, h if all(0 <= a < n for a, n in zip(h, size, strict=True)) else None


def unfold_naive(x, options):
    where = list(windows_naive(x.shape[-2:], options))
    rows, columns = 1 + max(w[0] for w in where), 1 + max(w[1] for w in where)
    y = np.zeros((*x.shape[:-3], x.shape[-3], rows, columns))
    for row, column, h in where:
        if h is not None:
            y[..., row, column] = x[(..., *h)]
    return y.reshape(*x.shape[:-3], x.shape[-3] * rows, columns)


def fold_naive(x, size, options):
    where = list(windows_naive(size, options))
    taps = 1 + max(w[0] for w in where)
    x = x.reshape(*x.shape[:-2], x.shape[-2] // taps, taps, x.shape[-1])
    y = np.zeros((*x.shape[:-2], *size))
    for row, column, h in where:
        if h is not None:
            y[(..., *h)] += x[..., row, column]
    return y


@pytest.mark.parametrize("options", FOLDS, ids=str)
@pytest.mark.parametrize("x", [X[2], X[2][0], X[2][:0]], ids=["batched", "unbatched", "empty"])
def test_unfold_and_fold(options, x, backends):
    columns = unfold_naive(x, options)
    assert_layer_ok(
        lambda: xpconv.Unfold(**options), x, reference=lambda x: unfold_naive(x, options), backends=backends
    )
    assert_layer_ok(
        lambda: xpconv.Fold((6, 5), **options),
        np.random.default_rng(0).normal(size=columns.shape),
        reference=lambda x: fold_naive(x, (6, 5), options),
        backends=backends,
    )


# --- errors and repr ---------------------------------------------------------------------------------

ERRORS = {
    "1d rank": (lambda: xpconv.Conv1d(4, 4, 3)(X[3].astype("f4")), r"^Conv1d\.forward: .* expected \(N, 4, L\) or \(4, L\)"),
    "3d rank": (lambda: xpconv.Conv3d(4, 4, 3)(X[1].astype("f4")), r"^Conv3d\.forward: .*\(N, 4, D, H, W\) or"),
    "pairs": (lambda: xpconv.Conv1d(4, 4, 3, padding=((1, 1), (1, 1))), "^Conv1d: padding is"),
    "transpose mode": (lambda: xpconv.ConvTranspose2d(4, 4, 3, padding_mode="reflect"), "expected 'zeros'"),
    "transpose same": (lambda: xpconv.ConvTranspose2d(4, 4, 3, padding="same"), "expected numbers"),
    "output_padding": (lambda: xpconv.ConvTranspose2d(4, 4, 3, output_padding=1), "expected less than"),
    "transpose groups": (lambda: xpconv.ConvTranspose1d(4, 6, 3, groups=4), "does not divide out_channels = 6"),
    "nothing left": (lambda: xpconv.ConvTranspose1d(4, 4, 1, padding=3)(X[1].astype("f4")), "use less padding"),
    "multiplier": (lambda: xpconv.DepthwiseConv2d(4, 3, depth_multiplier=0), "^DepthwiseConv2d: depth_mult"),
    "separable": (lambda: xpconv.SeparableConv2d(4, 0, 3), "^SeparableConv2d: out_channels is 0"),
    "unfold": (lambda: xpconv.Unfold(7)(X[2]), r"^Unfold\.forward: .* pad more"),
    "fold": (lambda: xpconv.Fold(4, 2)(X[1]), r"^Fold\.forward: .* expected \(N, C·4, 9\) or \(C·4, 9\)"),
    "fold size": (lambda: xpconv.Fold(4, 5), "^Fold: output_size is"),
}  # fmt: skip


@pytest.mark.parametrize(("act", "message"), ERRORS.values(), ids=ERRORS.keys())
def test_errors_name_the_layer_and_what_it_wants(act, message):
    with pytest.raises(ValueError, match=message):
        act()


def test_repr():
    assert repr(xpconv.Conv1d(4, 6, 3, padding=1)) == "Conv1d(4, 6, kernel_size=3, padding=1)"
    up = xpconv.ConvTranspose2d(4, 6, (3, 2), 2, 1, 1, groups=2, bias=False)
    assert repr(up) == (
        "ConvTranspose2d(4, 6, kernel_size=(3, 2), stride=2, padding=1, output_padding=1, groups=2, bias=False)"
    )
    assert repr(xpconv.SeparableConv2d(4, 6, 3)) == "SeparableConv2d(4, 6, kernel_size=3)"
    assert repr(xpconv.DepthwiseConv2d(4, 3, 2)) == "DepthwiseConv2d(4, kernel_size=3, stride=2)"
    assert repr(xpconv.Fold((4, 5), 2)) == "Fold(output_size=(4, 5), kernel_size=2)"
