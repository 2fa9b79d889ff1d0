"""Padding, reshaping and resampling layers against their namesakes in PyTorch."""

import numpy as np
import pytest
from effort import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import LAYOUTS, check, contiguous, covering, nn, normal, torch

import xpconv

SIZES = (5, 6, 4)
EVERY_LAYOUT = [np.asarray, *LAYOUTS]
PADS = {
    "ZeroPad": ["ZeroPad1d", "ZeroPad2d", "ZeroPad3d"],
    "ConstantPad": ["ConstantPad1d", "ConstantPad2d", "ConstantPad3d"],
    "ReflectionPad": ["ReflectionPad1d", "ReflectionPad2d", "ReflectionPad3d"],
    "ReplicationPad": ["ReplicationPad1d", "ReplicationPad2d", "ReplicationPad3d"],
    "CircularPad": ["CircularPad1d", "CircularPad2d", "CircularPad3d"],
}


def named(label, make, x, **kwargs):
    try:
        check(make, x, **kwargs)
    except BaseException:
        print(f"{label} on {x.shape}")
        raise


@pytest.mark.sample(3)
@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("kind", PADS)
def test_pads_over_all_options(kind, axes):
    more = {"value": [0, 1.5, -np.inf]} if kind == "ConstantPad" else {}
    pads = [0, 1, 3, -1, (2, 1, 0, 3, 1, 2), (-1, 2, 1, -2, -1, -1), [1, -2, 0, 0, -1, 2]]
    options = {"padding": pads, "lead": [(2, 3), (3,), (0, 2), (1, 1)], "layout": EVERY_LAYOUT, **more}
    for o in covering(options, 2):
        lead, layout, padding = o.pop("lead"), o.pop("layout"), o.pop("padding")
        padding = padding if isinstance(padding, int) else padding[: 2 * axes]
        x = normal(*lead, *SIZES[-axes:])
        named((kind, axes, padding, o), lambda m, p=padding, o=o: getattr(m, PADS[kind][axes - 1])(p, **o), x,
              layout=layout)  # fmt: skip


@settings(max_examples=examples(80))
@given(data=st.data())
def test_pads_drawn(data):
    draw = data.draw
    kind, axes = draw(st.sampled_from(list(PADS))), draw(st.integers(1, 3))
    sizes, padding = [], []
    for _ in range(axes):
        n = draw(st.integers(1, 6))
        lo, hi = (draw(st.integers(-2, 4)) for _ in range(2))
        if kind == "ReflectionPad":
            n = max(n, lo + 1, hi + 1)
        n = max(n, max(lo, hi, 1) - min(lo, 0) - min(hi, 0))
        sizes.append(n)
        padding = [lo, hi, *padding]
    value = (2.5,) if kind == "ConstantPad" else ()
    x = normal(*draw(st.sampled_from([(2, 2), (1,)])), *sizes)
    layout = draw(st.sampled_from(EVERY_LAYOUT))
    check(lambda m: getattr(m, PADS[kind][axes - 1])(tuple(padding), *value), x, layout=layout)


@pytest.mark.parametrize("shape", [(5,), (3, 5), (2, 2, 2, 5, 4), (2, 0, 3), (0, 3)], ids=str)
@pytest.mark.parametrize("padding", [1, (2, -1)])
def test_constant_pads_take_any_rank(shape, padding):
    check(lambda m: m.ZeroPad1d(padding), normal(*shape))
    check(lambda m: m.ConstantPad1d(padding, 3), normal(*shape))


MODES = [("nearest", 1), ("nearest", 2), ("nearest", 3), ("nearest-exact", 1), ("nearest-exact", 2),
         ("nearest-exact", 3), ("area", 1), ("area", 2), ("area", 3), ("linear", 1), ("bilinear", 2),
         ("trilinear", 3), ("bicubic", 2)]  # fmt: skip
TARGETS = [{"size": n} for n in (1, 3, 5, 9, 16)] + [
    {"size": (7, 3, 8)},
    *({"scale_factor": s} for s in (2, 3, 0.5, 1.7, 2.3, 0.6, (2.0, 0.7, 1.5))),
    {"scale_factor": 2.3, "recompute_scale_factor": True},
    {"scale_factor": 1.6, "recompute_scale_factor": False},
]


@pytest.mark.sample(3)
@pytest.mark.parametrize(("mode", "axes"), MODES)
def test_upsample_over_all_options(mode, axes):
    corners = [None] if mode in ("nearest", "nearest-exact", "area") else [None, False, True]
    table = {"target": TARGETS, "align_corners": corners, "lead": [(2, 3), (0, 2), (1, 1)],
             "layout": EVERY_LAYOUT}  # fmt: skip
    for o in covering(table, 2):
        target = {k: v[:axes] if isinstance(v, tuple) else v for k, v in o["target"].items()}
        options = {**target, "mode": mode, "align_corners": o["align_corners"]}
        x = normal(*o["lead"], *SIZES[:axes])
        named(options, lambda m, options=options: m.Upsample(**options), x, layout=o["layout"])


@settings(max_examples=examples(80))
@given(data=st.data())
def test_upsample_drawn(data):
    """By size, and by factor but where that leaves a size as it is or doubles it: see below."""
    draw = data.draw
    mode, axes = draw(st.sampled_from(MODES))
    sizes = draw(st.tuples(*[st.integers(1, 9)] * axes))
    options = {"mode": mode}
    if draw(st.booleans()):
        options["size"] = draw(st.tuples(*[st.integers(1, 20)] * axes))
    else:
        options["scale_factor"] = tuple(
            s if n * s >= 1 and int(n * s) not in (n, 2 * n) else 3.0
            for n, s in zip(sizes, draw(st.tuples(*[st.floats(0.3, 4)] * axes)), strict=True)
        )
    if mode not in ("nearest", "nearest-exact", "area"):
        options["align_corners"] = draw(st.booleans())
    named(options, lambda m: m.Upsample(**options), normal(2, 2, *sizes))


@pytest.mark.parametrize("scale", [1.1, 2.3])
def test_nearest_where_pytorch_disagrees_with_itself(scale):
    """Where a factor keeps or doubles a size, torch's backward ignores its fraction; ours is that of forward."""
    x = normal(2, 2, 3)
    ours, theirs = xpconv.Upsample(scale_factor=scale), nn.Upsample(scale_factor=scale)
    y = ours(x)
    there = contiguous(x).requires_grad_()
    g = normal(*y.shape, seed=1)
    theirs(there).backward(contiguous(g))
    np.testing.assert_array_equal(y, theirs(there).detach().numpy())
    assert abs(there.grad.numpy() - ours.backward(g)).max() > 0.1
    y = ours(x)
    np.testing.assert_allclose((ours.backward(y) * x).sum(), (y * y).sum(), rtol=1e-12)


def test_upsample_keeps_nan_where_it_is():
    x = normal(1, 2, 5, 6)
    x[0, 0, 2, 3] = np.nan
    for options in ({}, {"mode": "bilinear"}, {"mode": "bilinear", "align_corners": True}):
        ours, theirs = xpconv.Upsample(9, **options)(x), nn.Upsample(9, **options)(contiguous(x))
        if not options:
            np.testing.assert_array_equal(ours, theirs.numpy())
        assert np.isnan(ours).sum() <= np.isnan(theirs.numpy()).sum()


@pytest.mark.parametrize(
    "options", [{"size": (3, 7)}, {"scale_factor": 2}, {"scale_factor": (2.5, 1.5)}], ids=str
)
def test_upsampling_2d(options):
    check(lambda m: m.UpsamplingNearest2d(**options), normal(2, 3, 5, 6))
    check(lambda m: m.UpsamplingBilinear2d(**options), normal(2, 3, 5, 6))


SHAPES = {
    "identity": (lambda m: m.Identity(3, a=4), [(2, 3), (), (0, 2)]),
    "flatten a number": (lambda m: m.Flatten(0), [()]),
    "flatten": (lambda m: m.Flatten(1, -2), [(2, 3, 4, 5), (0, 3, 4), (2, 0, 3)]),
    "unflatten": (lambda m: m.Unflatten(1, (2, -1)), [(3, 8), (0, 4, 3), (3, 0)]),
    "unflatten the last": (lambda m: m.Unflatten(-1, [2, 2, 1]), [(3, 4), (4,), (0, 4)]),
    "unflatten nothing": (lambda m: m.Unflatten(0, (0, 3)), [(0,)]),
    "shuffle": (lambda m: m.PixelShuffle(2), [(4, 3, 2), (2, 8, 3, 2), (2, 1, 4, 3, 2)]),
    "shuffle by 3": (lambda m: m.PixelShuffle(3), [(2, 9, 2, 3), (18, 1, 2)]),
    "shuffle by 1": (lambda m: m.PixelShuffle(1), [(2, 3, 2, 3)]),
    "unshuffle": (lambda m: m.PixelUnshuffle(2), [(3, 4, 2), (2, 3, 2, 6), (2, 1, 4, 4, 2)]),
    "unshuffle by 3": (lambda m: m.PixelUnshuffle(3), [(2, 2, 3, 6)]),
    "channels by 2": (lambda m: m.ChannelShuffle(2), [(2, 6, 3), (2, 6, 3, 2), (0, 4, 2), (1, 4, 1, 2, 3)]),
    "channels by 3": (lambda m: m.ChannelShuffle(3), [(2, 6, 3, 2)]),
}  # fmt: skip


@pytest.mark.parametrize(("make", "shapes"), SHAPES.values(), ids=SHAPES.keys())
def test_shapes(make, shapes):
    for shape in shapes:
        for layout in EVERY_LAYOUT if len(shape) > 1 else [np.asarray]:
            named(layout.__name__, make, normal(*shape), layout=layout)


X = (1, 2, 4, 4)
REFUSED = {
    **{f"{k}: three numbers": (lambda m, k=k: getattr(m, k)((1, 2, 3)), X)
       for k in ("ZeroPad2d", "ReflectionPad2d", "ReplicationPad2d", "CircularPad2d")},
    **{f"{k}: float": (lambda m, k=k: getattr(m, k)(1.5), X)
       for k in ("ZeroPad2d", "ReflectionPad2d", "ReplicationPad2d", "CircularPad2d")},
    **{f"{k}: {s}": (lambda m, k=k: getattr(m, k)(1), s)
       for k in ("ReflectionPad2d", "ReplicationPad2d", "CircularPad2d")
       for s in ((4, 4), (4,), (1, 1, 2, 3, 4), (2, 2, 0, 4))},
    "zero rank": (lambda m: m.ZeroPad2d(1), (4,)),
    "zero crops too much": (lambda m: m.ZeroPad1d((-3, -2)), (1, 1, 4)),
    "zero crops one side": (lambda m: m.ZeroPad1d((-5, 6)), (1, 1, 4)),
    "reflect wide": (lambda m: m.ReflectionPad1d((0, 4)), (1, 1, 4)),
    "reflect nothing": (lambda m: m.ReflectionPad1d((-2, -2)), (1, 1, 4)),
    "replicate nothing": (lambda m: m.ReplicationPad1d((-2, -2)), (1, 1, 4)),
    "circular wide": (lambda m: m.CircularPad1d((5, 0)), (1, 1, 4)),
    "circular crops": (lambda m: m.CircularPad1d((-3, -2)), (1, 1, 4)),
    "circular over the rest": (lambda m: m.CircularPad1d((2, -3)), (1, 1, 4)),
    "unflatten int": (lambda m: m.Unflatten(1, 4), (2, 4)),
    "unflatten floats": (lambda m: m.Unflatten(1, (2.0, 2)), (2, 4)),
    "unflatten empty": (lambda m: m.Unflatten(1, ()), (2, 1)),
    "unflatten twice -1": (lambda m: m.Unflatten(1, (-1, -1)), (2, 4)),
    "unflatten -2": (lambda m: m.Unflatten(1, (-2, -2)), (2, 4)),
    "unflatten 0, -1": (lambda m: m.Unflatten(1, (0, -1)), (3, 0)),
    "unflatten size": (lambda m: m.Unflatten(1, (2, -1)), (3, 7)),
    "unflatten dim": (lambda m: m.Unflatten(2, (2, -1)), (3, 8)),
    "unflatten float dim": (lambda m: m.Unflatten(1.5, (2, -1)), (3, 8)),
    "unflatten a number": (lambda m: m.Unflatten(0, (1,)), ()),
    "flatten float": (lambda m: m.Flatten(1.5), (2, 3)),
    "shuffle 0": (lambda m: m.PixelShuffle(0), (4, 2, 2)),
    "shuffle float": (lambda m: m.PixelShuffle(2.0), (4, 2, 2)),
    "shuffle channels": (lambda m: m.PixelShuffle(2), (6, 2, 2)),
    "shuffle rank": (lambda m: m.PixelShuffle(2), (4, 3)),
    "unshuffle 0": (lambda m: m.PixelUnshuffle(0), (4, 2, 2)),
    "unshuffle width": (lambda m: m.PixelUnshuffle(2), (4, 4, 3)),
    "unshuffle height": (lambda m: m.PixelUnshuffle(2), (4, 3, 4)),
    "unshuffle rank": (lambda m: m.PixelUnshuffle(2), (4, 4)),
    "channel groups 0": (lambda m: m.ChannelShuffle(0), X),
    "channel groups": (lambda m: m.ChannelShuffle(3), X),
    "channel rank": (lambda m: m.ChannelShuffle(2), (3, 4)),
    **{f"upsample {a} {o} {s}": (lambda m, a=a, o=o: m.Upsample(*a, **o), s) for a, o, s in [
        ((), {}, X), ((2, 2), {}, X), (((2,),), {}, X), ((0,), {}, X), ((2.5,), {}, X), (((2, 2.5),), {}, X),
        ((), {"scale_factor": [2, 2]}, X), ((), {"scale_factor": 0}, X), ((), {"scale_factor": -1}, X),
        ((), {"scale_factor": 0.2}, X), ((), {"scale_factor": float("nan")}, X),
        ((), {"scale_factor": (2.0, 1.5, 1.0)}, X), ((2,), {"recompute_scale_factor": True}, X),
        ((2,), {"align_corners": False}, X), ((2,), {"mode": "x"}, X), ((2,), {"mode": "lanczos"}, X),
        ((2,), {"mode": "area", "align_corners": True}, X), ((2,), {"mode": "linear"}, X),
        ((2,), {"mode": "trilinear"}, X), ((2,), {"mode": "bilinear"}, X[1:]), ((2,), {"mode": "bicubic"}, X[1:]),
        ((2,), {}, (4, 4)), ((2,), {}, (1, 0, 4, 4)), ((2,), {}, (1, 2, 0, 4)),
    ]},
}  # fmt: skip


@pytest.mark.parametrize(("make", "shape"), REFUSED.values(), ids=REFUSED.keys())
def test_what_pytorch_refuses_is_refused(make, shape):
    with pytest.raises((ValueError, TypeError, RuntimeError, IndexError)):
        make(nn)(torch.zeros(shape))
    with pytest.raises(
        (ValueError, TypeError), match=r"^(\w+Pad|Upsample|Flatten|Unflatten|Pixel|Channel)\w*[:.]"
    ):
        make(xpconv)(np.zeros(shape, "float32"))
