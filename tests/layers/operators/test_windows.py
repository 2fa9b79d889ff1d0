"""Convolution, pooling and Resize as ONNX describes them, against plain loops; gradients and backends."""

from itertools import product

import numpy as np
import pytest

import xpconv
from xpconv.layers import operators as ops
from xpconv.testing import assert_layer_ok

RNG = np.random.default_rng(3)


def draw(*shape):
    """Numbers of which no two are close to each other."""
    count = int(np.prod(shape))
    return (RNG.permutation(count) * 0.11 - count * 0.04).reshape(shape)


def padding(sizes, kernel, stride=(1, 1), pads=None, dilation=(1, 1), auto_pad="NOTSET", ceil_mode=False):
    """For each axis (before, after), and the number of windows."""
    pairs, counts = [], []
    for axis, (n, k, s, d) in enumerate(zip(sizes, kernel, stride, dilation, strict=True)):
        reach = d * (k - 1) + 1
        low, high = (pads[axis], pads[axis + len(sizes)]) if pads and auto_pad == "NOTSET" else (0, 0)
        if auto_pad.startswith("SAME"):
            whole = max(0, (-(-n // s) - 1) * s + reach - n)
            low = whole // 2 if auto_pad == "SAME_UPPER" else whole - whole // 2
            high = whole - low
        count = (n + low + high - reach) // s + 1
        if ceil_mode and (n + low + high - reach) % s and count * s < n + low:
            count += 1
        pairs.append((low, high))
        counts.append(count)
    return pairs, counts


def windows(x, kernel, stride=(1, 1), pads=None, dilation=(1, 1), auto_pad="NOTSET", ceil_mode=False):
    """For each position, the values that its window sees (N, C, taps), NaN in the padding and None beyond."""
    pairs, counts = padding(x.shape[2:], kernel, stride, pads, dilation, auto_pad, ceil_mode)
    for place in product(*map(range, counts)):
        seen = []
        for tap in product(*map(range, kernel)):
            at = [
                p * s - lo + r * d
                for p, s, (lo, _), r, d in zip(place, stride, pairs, tap, dilation, strict=True)
            ]
            inside = all(0 <= h < n for h, n in zip(at, x.shape[2:], strict=True))
            padded = all(h < n + hi for h, n, (_, hi) in zip(at, x.shape[2:], pairs, strict=True))
            seen.append(
                x[(slice(None), slice(None), *at)]
                if inside
                else np.full(x.shape[:2], np.nan)
                if padded
                else None
            )
        yield place, counts, seen


def pool(function, x, kernel, **options):
    y = None
    for place, counts, seen in windows(x, kernel, **options):
        y = np.zeros((*x.shape[:2], *counts)) if y is None else y
        y[(slice(None), slice(None), *place)] = function([value for value in seen if value is not None])
    return y


def mean(include):
    def function(seen):
        count = sum(include or not np.isnan(value).any() for value in seen)
        return np.nansum(seen, 0) / count

    return function


def conv(x, weight, bias, groups=1, **options):
    y = None
    c, k = weight.shape[1], weight.shape[0] // groups
    for place, counts, seen in windows(x, weight.shape[2:], **options):
        y = np.zeros((len(x), len(weight), *counts)) if y is None else y
        columns = np.nan_to_num(np.stack(seen, -1))
        for g in range(groups):
            part = columns[:, g * c : (g + 1) * c].reshape(len(x), -1)
            y[(slice(None), slice(g * k, g * k + k), *place)] = (
                part @ weight[g * k : g * k + k].reshape(k, -1).T
            )
    return y + bias.reshape(-1, *(1,) * (x.ndim - 2))


def conv_transpose(x, weight, bias, size, lows, groups=1, stride=(1, 1), dilation=(1, 1)):
    y = np.zeros((len(x), weight.shape[1] * groups, *size))
    c, k = x.shape[1] // groups, weight.shape[1]
    for place, tap, g in product(
        product(*map(range, x.shape[2:])), product(*map(range, weight.shape[2:])), range(groups)
    ):
        at = tuple(
            p * s + r * d - lo for p, s, r, d, lo in zip(place, stride, tap, dilation, lows, strict=True)
        )
        if all(0 <= h < n for h, n in zip(at, size, strict=True)):
            values = x[(slice(None), slice(g * c, g * c + c), *place)]
            y[(slice(None), slice(g * k, g * k + k), *at)] += (
                values @ weight[(slice(g * c, g * c + c), slice(None), *tap)]
            )
    return y + bias.reshape(-1, *(1,) * (x.ndim - 2))


X = draw(2, 4, 5, 6)
OPTIONS = {
    "plain": {},
    "pads": {"pads": (1, 0, 2, 1)},
    "stride": {"stride": (2, 3), "pads": (0, 1, 1, 0)},
    "dilation": {"dilation": (2, 1), "stride": (1, 2)},
    "valid": {"auto_pad": "VALID", "pads": None},
    "same upper": {"auto_pad": "SAME_UPPER", "stride": (2, 3)},
    "same lower": {"auto_pad": "SAME_LOWER", "stride": (2, 2), "dilation": (1, 2)},
}
CEIL = OPTIONS | {"ceil": {"ceil_mode": True, "stride": (2, 4), "pads": (1, 1, 1, 1)}}


@pytest.mark.sample(3)
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("groups", [1, 2])
def test_conv(groups, options, backends):
    weight, bias = draw(6, 4 // groups, 3, 2), draw(6)
    assert_layer_ok(
        lambda: ops.Conv(groups=groups, **options),
        (X, weight, bias),
        reference=lambda x, w, b: conv(x, w, b, groups, **options),
        backends=backends,
    )


def test_conv_without_bias(backends):
    inputs = draw(2, 3, 7), draw(2, 3, 3)
    assert_layer_ok(lambda: ops.Conv((2,)), inputs, backends=backends,
                    reference=lambda x, w: conv(x, w, np.zeros(2), stride=(2,), dilation=(1,)))  # fmt: skip


TRANSPOSED = {  # options, size of the output, padding before
    "plain": ({}, (7, 7), (0, 0)),
    "pads": ({"pads": (1, 0, 2, 1)}, (4, 6), (1, 0)),
    "stride": ({"stride": (2, 3), "output_padding": (1, 0)}, (12, 17), (0, 0)),
    "dilation": ({"dilation": (2, 3)}, (9, 9), (0, 0)),
    "same upper": ({"auto_pad": "SAME_UPPER", "stride": (2, 2)}, (10, 12), (0, 0)),
    "same lower": ({"auto_pad": "SAME_LOWER", "stride": (1, 1)}, (5, 6), (1, 1)),
    "larger output shape": ({"output_shape": (12, 19), "stride": (2, 3)}, (12, 19), (0, 0)),
    "output shape": ({"output_shape": (10, 15), "stride": (2, 3)}, (10, 15), (1, 1)),
}


@pytest.mark.parametrize("name", TRANSPOSED)
@pytest.mark.parametrize("groups", [1, 2])
def test_conv_transpose(groups, name, backends):
    options, size, lows = TRANSPOSED[name]
    plain = {key: options[key] for key in ("stride", "dilation") if key in options}
    weight, bias = draw(4, 6 // groups, 3, 2), draw(6)
    assert_layer_ok(
        lambda: ops.ConvTranspose(groups=groups, **options),
        (X, weight, bias),
        reference=lambda x, w, b: conv_transpose(x, w, b, size, lows, groups, **plain),
        backends=backends,
    )


@pytest.mark.sample(2)
@pytest.mark.parametrize("options", CEIL.values(), ids=CEIL)
def test_pools(options, backends):
    kernel = (3, 2)
    cases = {
        "max": (ops.MaxPool, {}, lambda seen: np.nanmax(seen, 0)),
        "mean": (ops.AveragePool, {}, mean(False)),
        "mean with padding": (ops.AveragePool, {"count_include_pad": True}, mean(True)),
        "norm": (ops.LpPool, {"p": 3}, lambda seen: np.nansum(abs(np.array(seen)) ** 3, 0) ** (1 / 3)),
    }
    for kind, more, function in cases.values():
        assert_layer_ok(
            lambda kind=kind, more=more: kind(kernel, **options, **more),
            X,
            reference=lambda x, function=function: pool(function, x, kernel, **options),
            backends=backends,
        )


def test_positions_of_maxima(backend):
    x = xpconv.asarray(X)
    for options in ({}, {"pads": (1, 1, 1, 1), "stride": (2, 2)}, {"dilation": (2, 2)}):
        y = xpconv.asnumpy(ops.MaxPool((3, 2), **options)(x))
        rows = xpconv.asnumpy(ops.MaxPool((3, 2), **options, indices=True)(x))
        columns = xpconv.asnumpy(ops.MaxPool((3, 2), **options, indices=True, column_major=True)(x))
        assert rows.dtype == "int64"
        np.testing.assert_array_equal(X.reshape(-1)[rows], y)
        np.testing.assert_array_equal(X.swapaxes(2, 3).reshape(-1)[columns], y)


RESIZE = {
    "nearest": {"scales": (1, 1, 2, 0.625)},
    "sizes": {"sizes": (2, 4, 8, 3), "coordinates": "asymmetric", "nearest_mode": "floor"},
    "linear": {"mode": "linear", "scales": (1, 1, 1.75, 0.5)},
    "align": {"mode": "linear", "sizes": (7, 9), "axes": (2, 3), "coordinates": "align_corners"},
    "cubic": {"mode": "cubic", "sizes": (9, 4), "axes": (3, 2), "cubic_coeff_a": -0.5},
    "outside": {"mode": "cubic", "scales": (0.75, 1.25), "axes": (2, 3), "exclude_outside": True},
    "antialias": {"mode": "cubic", "scales": (0.375, 0.625), "axes": (2, 3), "antialias": True},
    "antialias linear": {"mode": "linear", "sizes": (2, 8), "axes": (2, 3), "antialias": True},
    "symmetric": {"mode": "linear", "scales": (0.75, 1.375), "axes": (2, 3), "coordinates": "half_pixel_symmetric"},
    "pytorch": {"mode": "linear", "sizes": (1, 4), "axes": (2, 3), "coordinates": "pytorch_half_pixel"},
    "crop": {"mode": "linear", "sizes": (4, 4), "axes": (2, 3), "coordinates": "tf_crop_and_resize",
             "roi": (0.25, -0.25, 0.875, 1.125), "extrapolation_value": 5.0},
    "ratio": {"mode": "linear", "sizes": (9, 9), "axes": (2, 3), "policy": "not_larger"},
}  # fmt: skip
NAMES = {"coordinates": "coordinate_transformation_mode", "policy": "keep_aspect_ratio_policy"}


def resized(x, options):
    """By ONNX's own reference."""
    onnx = pytest.importorskip("onnx")
    from onnx.reference import ReferenceEvaluator

    helper = onnx.helper
    dtypes = {"roi": "float32", "scales": "float32", "sizes": "int64"}
    given = {name: np.array(options[name], dtype) for name, dtype in dtypes.items() if name in options}
    attributes = {NAMES.get(k, k): int(v) if v is True else v for k, v in options.items() if k not in given}
    node = helper.make_node("Resize", ["x", *(n if n in given else "" for n in dtypes)], ["y"], **attributes)
    feeds = {"x": x, **given}
    infos = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(v.dtype), v.shape)
        for name, v in feeds.items()
    ]
    y = helper.make_tensor_value_info("y", onnx.TensorProto.DOUBLE, None)
    graph = helper.make_graph([node], "resize", infos, [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)])
    return ReferenceEvaluator(model).run(None, feeds)[0]


@pytest.mark.parametrize("name", RESIZE)
def test_resize(name, backends):
    options = RESIZE[name]
    assert_layer_ok(lambda: ops.Resize(**options), X, backends=backends)
    y = ops.Resize(**options)(X)
    np.testing.assert_allclose(y, resized(X, options), rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("scale", [1.3, 1.5, 2.7, 0.7, 0.3])
@pytest.mark.parametrize(("mode", "theirs"), [("linear", "bilinear"), ("cubic", "bicubic")])
def test_corners_of_a_fractional_scale(mode, theirs, scale):
    """PyTorch and onnxruntime align the corners of the whole output, not those of `scale * n` pixels."""
    torch = pytest.importorskip("torch")
    x = np.random.default_rng(0).normal(size=(1, 2, 5, 5))
    expected = torch.nn.Upsample(scale_factor=scale, mode=theirs, align_corners=True)(torch.tensor(x)).numpy()
    y = ops.Resize(mode, "align_corners", scales=(1, 1, scale, scale), cubic_coeff_a=-0.75)(x)
    np.testing.assert_allclose(y, expected, rtol=1e-9, atol=1e-9)


def test_one_output_of_pytorch_half_pixel_is_the_first_input():
    x = np.random.default_rng(0).normal(size=(1, 1, 1, 5))
    y = ops.Resize("cubic", "pytorch_half_pixel", scales=(1, 1, 1, 0.3))(x)  # 1.5 pixels, so one
    np.testing.assert_allclose(y, x[..., :1], rtol=1e-12)


SEQUENCES = {
    "kernel_size": [ops.MaxPool, ops.AveragePool, ops.LpPool],
    **{name: [ops.Conv, ops.ConvTranspose, ops.MaxPool] for name in ("stride", "pads", "dilation")},
    "output_padding": [ops.ConvTranspose],
    "output_shape": [ops.ConvTranspose],
}
PAIRS = [(kind, name) for name, kinds in SEQUENCES.items() for kind in kinds]


def made(kind, name, value):
    needed = {"kernel_size": (2, 2)} if kind in SEQUENCES["kernel_size"] else {}
    return kind(**{**needed, name: value})


@pytest.mark.parametrize(("kind", "name"), PAIRS)
def test_sequences_are_kept_as_tuples(kind, name):
    given = [1, 2]
    for value in (given, np.array(given), range(1, 3), tuple(np.array(given))):
        layer = made(kind, name, value)
        assert repr(layer.get_config()[name]) == repr(getattr(layer, name)) == "(1, 2)"
    layer = made(kind, name, given)
    given[0] = 7
    assert getattr(layer, name) == (1, 2)
    setattr(layer, name, given)
    given[0] = 9
    assert getattr(layer, name) == (7, 2)
    assert repr(type(layer)(**layer.get_config())) == repr(layer)


@pytest.mark.parametrize(("kind", "name"), PAIRS)
def test_wrong_sequences(kind, name):
    """They are refused by the constructor and in an assignment, which changes nothing."""
    layer = made(kind, name, (1, 2))
    low = [(-1, 1)] * (name != "pads") + [(0, 1)] * (name not in ("pads", "output_padding"))
    for wrong in (2, np.int64(2), "12", [1.5, 1], [True, 1], np.ones(2), np.ones((2, 2), int), {1: 2}, *low):
        for attempt in (made, lambda _, name, value: setattr(layer, name, value)):
            with pytest.raises((TypeError, ValueError), match=f"^{kind.__name__}: {name} is .*expected"):
                attempt(kind, name, wrong)
        assert getattr(layer, name) == (1, 2)
    if name == "kernel_size":
        with pytest.raises(TypeError, match=f"^{kind.__name__}: kernel_size is None, expected a sequence"):
            kind(None)


def test_wrong_settings_of_windows():
    for wrong in (0, 1.5, None, "2"):
        with pytest.raises((TypeError, ValueError), match=r"^Conv: groups is"):
            ops.Conv(groups=wrong)
    for wrong in ("SAME", None, 1):
        with pytest.raises(ValueError, match=r"^MaxPool: auto_pad is .*'SAME_UPPER'"):
            ops.MaxPool((2, 2), auto_pad=wrong)


def test_strides_of_an_array(backend):
    x, weight = xpconv.asarray(X), xpconv.asarray(draw(3, 4, 2, 2))
    expected = xpconv.asnumpy(ops.Conv((1, 2))(x, weight))
    np.testing.assert_array_equal(xpconv.asnumpy(ops.Conv(np.array([1, 2]))(x, weight)), expected)
