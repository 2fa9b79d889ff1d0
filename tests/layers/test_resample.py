"""Padding, reshaping and resampling layers on every backend, against naive loops."""

import itertools
import math

import numpy as np
import pytest
from reference import pad_naive

import xpconv
from xpconv.testing import assert_layer_ok

SIZES = (4, 5, 3)
PADS = {
    "ZeroPad": ["ZeroPad1d", "ZeroPad2d", "ZeroPad3d"],
    "ConstantPad": ["ConstantPad1d", "ConstantPad2d", "ConstantPad3d"],
    "ReflectionPad": ["ReflectionPad1d", "ReflectionPad2d", "ReflectionPad3d"],
    "ReplicationPad": ["ReplicationPad1d", "ReplicationPad2d", "ReplicationPad3d"],
    "CircularPad": ["CircularPad1d", "CircularPad2d", "CircularPad3d"],
}
MODES = {"ReflectionPad": "reflect", "ReplicationPad": "replicate"}


def images(axes, *lead):
    return np.random.default_rng(3).normal(size=(*lead, *SIZES[:axes]))


def pairs_of(padding):
    return list(zip(padding[::2], padding[1::2], strict=True))[::-1]


@pytest.mark.parametrize("padding", [(1, 2, 2, 0, 1, 1), (-1, 1, 0, -2, 1, -1), (0,) * 6], ids=str)
@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("kind", [*MODES, "CircularPad"])
def test_border_pads(kind, axes, padding, backends):
    pairs = pairs_of(padding[: 2 * axes])

    def reference(x):
        batched = x if x.ndim == axes + 2 else x[None]
        if kind == "CircularPad":  # crops first, and goes around what is left
            batched = crop(batched, pairs)
            y = pad_naive(batched, [(max(lo, 0), max(hi, 0)) for lo, hi in pairs], "circular")
        else:
            y = crop(pad_naive(batched, [(max(lo, 0), max(hi, 0)) for lo, hi in pairs], MODES[kind]), pairs)
        return y if x.ndim == axes + 2 else y[0]

    def make():
        return getattr(xpconv, PADS[kind][axes - 1])(padding[: 2 * axes])

    for x in (images(axes, 2, 2), images(axes, 2)):
        assert_layer_ok(make, x, reference=reference, backends=backends)


def crop(x, pairs):
    for axis, (lo, hi) in enumerate(pairs, start=2):
        x = np.take(x, range(max(-lo, 0), x.shape[axis] - max(-hi, 0)), axis=axis)
    return x


@pytest.mark.parametrize("padding", [(1, 2, 2, 0, 1, 1), (-1, 1, 0, -2, 1, -1)], ids=str)
@pytest.mark.parametrize("axes", [1, 2, 3])
def test_constant_pads(axes, padding, backends):
    padding = padding[: 2 * axes]
    pairs = pairs_of(padding)

    def filled(value):
        def reference(x):
            sizes = [n + lo + hi for n, (lo, hi) in zip(x.shape[-axes:], pairs, strict=True)]
            y = np.full((*x.shape[:-axes], *sizes), value)
            for position in itertools.product(*map(range, sizes)):
                h = [p - lo for p, (lo, _) in zip(position, pairs, strict=True)]
                if all(0 <= i < n for i, n in zip(h, x.shape[-axes:], strict=True)):
                    y[(..., *position)] = x[(..., *h)]
            return y

        return reference

    for x in (images(axes, 2, 2), images(axes)):
        for make, value in (
            (lambda: getattr(xpconv, PADS["ZeroPad"][axes - 1])(padding), 0.0),
            (lambda: getattr(xpconv, PADS["ConstantPad"][axes - 1])(padding, 2.5), 2.5),
        ):
            assert_layer_ok(make, x, reference=filled(value), backends=backends)


def upsample_naive(x, sizes, scales, mode, align_corners):
    """One output at a time along one axis after the other."""
    for axis, (m, scale) in enumerate(zip(sizes, scales, strict=True), start=2):
        x = np.moveaxis(x, axis, 0)
        n = len(x)
        step = n / m if scale is None else 1 / scale
        out = []
        for i in range(m):
            centre = i * (n - 1) / max(m - 1, 1) if align_corners else (i + 0.5) * step - 0.5

            def pixel(h, x=x, n=n):
                return x[min(max(h, 0), n - 1)]

            low = math.floor(centre)
            t = centre - low
            if mode == "nearest":
                out.append(pixel(math.floor(i * step)))
            elif mode == "nearest-exact":
                out.append(pixel(math.floor((i + 0.5) * step)))
            elif mode == "area":
                out.append(x[i * n // m : math.ceil((i + 1) * n / m)].mean(axis=0))
            elif "linear" in mode:
                out.append((1 - t) * pixel(low) + t * pixel(low + 1))
            else:
                near = [1.25 * d**3 - 2.25 * d**2 + 1 for d in (t, 1 - t)]
                far = [-0.75 * (d**3 - 5 * d**2 + 8 * d - 4) for d in (1 + t, 2 - t)]
                weights = (far[0], *near, far[1])
                out.append(sum(w * pixel(low - 1 + k) for k, w in enumerate(weights)))
        x = np.moveaxis(np.stack(out), 0, axis)
    return x


@pytest.mark.parametrize(
    ("mode", "axes"),
    [("nearest", 1), ("nearest", 2), ("nearest-exact", 2), ("area", 2), ("linear", 1), ("bilinear", 2),
     ("bicubic", 2), ("trilinear", 3)],
)  # fmt: skip
@pytest.mark.parametrize(
    "options", [{"size": 7}, {"size": 2}, {"scale_factor": 2}, {"scale_factor": 1.6}], ids=str
)
def test_upsample(mode, axes, options, backends):
    x = images(axes, 2, 2)
    scale = options.get("scale_factor")
    sizes = [options["size"] if scale is None else int(n * scale) for n in x.shape[2:]]
    for corners in [None] if mode in ("nearest", "nearest-exact", "area") else [False, True]:
        given = None if scale is None or mode == "area" else scale

        def reference(x, corners=corners, given=given):
            return upsample_naive(x, sizes, [given] * axes, mode, corners)

        def make(corners=corners):
            return xpconv.Upsample(**options, mode=mode, align_corners=corners)

        assert_layer_ok(make, x, reference=reference, backends=backends)


def test_recomputed_scale(backends):
    x = images(2, 2, 2)

    def reference(x):
        return upsample_naive(x, [6, 8], [None, None], "bilinear", False)

    def make():
        return xpconv.Upsample(scale_factor=1.6, mode="bilinear", recompute_scale_factor=True)

    assert_layer_ok(make, x, reference=reference, backends=backends)


def test_upsampling_2d(backends):
    x = images(2, 2, 2)
    for layer, mode, corners in (
        (xpconv.UpsamplingNearest2d, "nearest", False), (xpconv.UpsamplingBilinear2d, "bilinear", True),
    ):  # fmt: skip
        assert_layer_ok(
            lambda layer=layer: layer((7, 6)), x, backends=backends,
            reference=lambda x, m=mode, c=corners: upsample_naive(x, (7, 6), (None, None), m, c),
        )  # fmt: skip


def test_interpolation_is_exact_for_straight_lines_and_constants(backend):
    x = xpconv.asarray(np.arange(6.0).reshape(1, 1, 6))
    y = xpconv.asnumpy(xpconv.Upsample(11, mode="linear", align_corners=True)(x))
    np.testing.assert_allclose(y[0, 0], np.arange(11) / 2, rtol=1e-12)
    ones = xpconv.asarray(np.ones((1, 1, 5, 4)))
    for mode in ("nearest", "nearest-exact", "area", "bilinear", "bicubic"):
        np.testing.assert_allclose(xpconv.asnumpy(xpconv.Upsample((9, 3), mode=mode)(ones)), 1, rtol=1e-12)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_dtypes_stay(dtype, backend):
    x = xpconv.asarray(np.ones((1, 4, 4, 4), dtype))
    for layer in (
        xpconv.Upsample(7, mode="bicubic"), xpconv.Upsample(7), xpconv.ConstantPad2d(1, 2), xpconv.PixelShuffle(2),
        xpconv.ReflectionPad2d(2), xpconv.ChannelShuffle(2),
    ):  # fmt: skip
        y = layer(x)
        assert y.dtype == dtype
        assert layer.backward(y).dtype == dtype


def shuffled(x, r):
    *lead, c, h, w = x.shape
    y = np.zeros((*lead, c // r**2, h * r, w * r))
    for k, i, j in itertools.product(range(c // r**2), range(h * r), range(w * r)):
        y[..., k, i, j] = x[..., k * r * r + (i % r) * r + j % r, i // r, j // r]
    return y


def test_shuffles(backends):
    rng = np.random.default_rng(0)
    for shape, r in (((2, 8, 3, 2), 2), ((9, 1, 2), 3), ((2, 1, 4, 2, 2), 2), ((0, 4, 2, 3), 2)):
        x = rng.normal(size=shape)

        assert_layer_ok(
            lambda r=r: xpconv.PixelShuffle(r), x, reference=lambda x, r=r: shuffled(x, r), backends=backends
        )
        y = shuffled(x, r)
        assert_layer_ok(
            lambda r=r: xpconv.PixelUnshuffle(r), y, reference=lambda y, x=x: x, backends=backends
        )

    def dealt(x):
        return np.stack([x[:, g * 2 + k] for k in range(2) for g in range(3)], axis=1)

    x = rng.normal(size=(2, 6, 3, 2))
    assert_layer_ok(lambda: xpconv.ChannelShuffle(3), x, reference=dealt, backends=backends)


def test_other_shapes(backends):
    x = np.random.default_rng(0).normal(size=(2, 12, 3))
    for make, shape in (
        (lambda: xpconv.Identity(1, b=2), x.shape),
        (lambda: xpconv.Unflatten(1, (2, -1)), (2, 2, 6, 3)),
        (lambda: xpconv.Unflatten(-2, [3, 4]), (2, 3, 4, 3)),
        (lambda: xpconv.Flatten(1), (2, 36)),
    ):
        assert_layer_ok(make, x, reference=lambda x, s=shape: x.reshape(s), backends=backends)


def test_reprs():
    for text in (
        "ZeroPad2d(padding=1)", "ConstantPad1d(padding=(1, 2), value=3.0)", "ReflectionPad1d(padding=(2, 0))",
        "Upsample(scale_factor=2.0, mode='bilinear', align_corners=True)", "Upsample(size=(3, 4))",
        "UpsamplingNearest2d(size=4)", "PixelShuffle(2)", "PixelUnshuffle(3)", "ChannelShuffle(2)",
        "Unflatten(dim=1, unflattened_size=(2, -1))", "Identity()",
    ):  # fmt: skip
        assert repr(eval(f"xpconv.{text}")) == text


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (
            lambda: xpconv.ZeroPad2d((1, 2)),
            r"ZeroPad2d: padding is \(1, 2\), expected an int or \(left, right, top",
        ),
        (lambda: xpconv.ConstantPad1d(1, "a"), "ConstantPad1d: value is 'a'"),
        (lambda: xpconv.Upsample(2, mode="cubic"), "Upsample: mode is 'cubic', expected one of 'nearest'"),
        (lambda: xpconv.Upsample(2, scale_factor=2), "expected one of them"),
        (lambda: xpconv.Upsample(scale_factor=[2]), "a number or a tuple"),
        (lambda: xpconv.ReflectionPad1d(3)(np.zeros((1, 1, 3))), "a reflection reaches 2 at most"),
        (lambda: xpconv.CircularPad1d((-1, 3))(np.zeros((1, 1, 3))), "around more than once"),
        (lambda: xpconv.Upsample(2, mode="linear")(np.zeros((1, 1, 3, 3))), r"expected \(N, C, W\) for mode"),
        (lambda: xpconv.Unflatten(1, (2, 3))(np.zeros((1, 5))), "axis 1 of 5 cannot become"),
        (lambda: xpconv.PixelShuffle(2)(np.zeros((1, 5, 3, 3))), "a multiple of 4"),
    ],
)
def test_messages(make, match):
    with pytest.raises((ValueError, TypeError), match=match):
        make()
