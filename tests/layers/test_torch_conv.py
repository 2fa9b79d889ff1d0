"""Convolutions, transposed convolutions and folds of 1 to 3 axes against their namesakes in PyTorch."""

import numpy as np
import pytest
from effort import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import LAYOUTS, assert_same, check, contiguous, covering, nn, normal, numpy_state, torch

import xpconv

MODES = ["zeros", "reflect", "replicate", "circular"]
SIZES = {1: (9,), 2: (7, 8), 3: (5, 6, 5)}


def over_all(name, options, axes, strength, channels=4):
    """`check` over covering combinations, on an input of `axes` axes; how many there were."""
    count = 0
    for row in covering({**options, "lead": [(2,), (), (1,)], "layout": [np.asarray, *LAYOUTS]}, strength):
        lead, layout = row.pop("lead"), row.pop("layout")
        if row.get("padding") == "same" and row["stride"] != 1:
            continue
        if row.get("output_padding", 0) >= max(row["stride"], row["dilation"]):
            continue
        try:
            check(
                lambda m, o=row: getattr(m, name)(channels, **o),
                normal(*lead, channels, *SIZES[axes]),
                layout=layout,
            )
        except BaseException:
            print(f"{name}({channels}, {row}) on {lead} as {layout.__name__}")
            raise
        count += 1
    return count


CONV = {
    "stride": [1, 2],
    "padding": [0, 1, "same", "valid"],
    "dilation": [1, 2],
    "groups": [1, 2, 4],
    "bias": [True, False],
    "padding_mode": MODES,
    "out_channels": [4, 8],
}


@pytest.mark.sample(8)
@pytest.mark.parametrize(("axes", "kernels", "strength"), [(1, [1, 3, (2,)], 3), (3, [2, (1, 2, 3)], 2)])
def test_conv_over_all_options(axes, kernels, strength):
    assert over_all(f"Conv{axes}d", {"kernel_size": kernels, **CONV}, axes, strength) > 15


TRANSPOSE = {
    "stride": [2, 1, 3],
    "padding": [0, 1, 2],
    "output_padding": [0, 1],
    "groups": [1, 2, 4],
    "bias": [True, False],
    "dilation": [1, 2],
    "out_channels": [4, 8],
}


@pytest.mark.sample(3)
@pytest.mark.parametrize(
    ("axes", "kernels", "strength"), [(1, [3, (2,), 4], 3), (2, [3, (2, 4)], 3), (3, [3, (3, 2, 4)], 2)]
)
def test_conv_transpose_over_all_options(axes, kernels, strength):
    assert over_all(f"ConvTranspose{axes}d", {"kernel_size": kernels, **TRANSPOSE}, axes, strength) > 15


@st.composite
def convolutions(draw, transpose):
    axes = draw(st.integers(1, 3))

    def each(strategy):
        return draw(st.one_of(strategy, st.tuples(*[strategy] * axes)))

    def tuple_of(value):
        return value if isinstance(value, tuple) else (value,) * axes

    groups = draw(st.integers(1, 3))
    options = {
        "in_channels": groups * draw(st.integers(1, 2)),
        "out_channels": groups * draw(st.integers(1, 2)),
        "kernel_size": each(st.integers(1, 3)),
        "stride": each(st.integers(1, 4)),
        "padding": each(st.integers(0, 2)),
        "dilation": each(st.integers(1, 3)),
        "groups": groups,
        "bias": draw(st.booleans()),
    }
    k, s, p, d = (tuple_of(options[n]) for n in ("kernel_size", "stride", "padding", "dilation"))
    size = []
    if transpose:
        extra = tuple(draw(st.integers(0, max(a, b) - 1)) for a, b in zip(s, d, strict=True))
        options["output_padding"] = extra
        for a, b, c, e, o in zip(k, s, p, d, extra, strict=True):  # the least that leaves something
            least = 1 + max(0, -(-(1 - o - e * (a - 1) - 1 + 2 * c) // b))
            size.append(least + draw(st.integers(0, 3)))
    else:
        options["padding_mode"] = draw(st.sampled_from(MODES))
        for a, c, e in zip(k, p, d, strict=True):
            widest = {"reflect": c + 1, "circular": max(c, 1)}.get(options["padding_mode"], 1)
            size.append(max(widest, e * (a - 1) + 1 - 2 * c) + draw(st.integers(0, 3)))
    lead = draw(st.sampled_from([(), (1,), (2,)]))
    name = f"Conv{'Transpose' if transpose else ''}{axes}d"
    return name, options, (*lead, options["in_channels"], *size)


@settings(max_examples=examples(60))
@given(drawn=convolutions(False), layout=st.sampled_from([np.asarray, *LAYOUTS]))
def test_conv_drawn(drawn, layout):
    name, options, shape = drawn
    check(lambda m: getattr(m, name)(**options), normal(*shape), layout=layout)


@settings(max_examples=examples(150))
@given(drawn=convolutions(True), layout=st.sampled_from([np.asarray, *LAYOUTS]))
def test_conv_transpose_drawn(drawn, layout):
    name, options, shape = drawn
    check(lambda m: getattr(m, name)(**options), normal(*shape), layout=layout)


@pytest.mark.parametrize(
    "name", ["Conv1d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d"]
)
@pytest.mark.parametrize("options", [{}, {"groups": 2}, {"groups": 4}, {"stride": 2}], ids=str)
def test_conv_of_an_empty_batch(name, options):
    axes = int(name[-2])
    check(lambda m: getattr(m, name)(4, 8, 3, padding=1, **options), normal(0, 4, *SIZES[axes]))


@pytest.mark.parametrize("options", [{}, {"groups": 2}, {"groups": 4}], ids=str)
def test_conv_transpose_of_sizes_that_networks_have(options):
    """More columns than one block of im2col holds."""
    make = lambda m: m.ConvTranspose2d(32, 32, 4, stride=2, padding=1, **options)
    check(make, normal(6, 32, 20, 20))


def test_conv_transpose_that_writes_nothing_but_the_bias():
    """All that x writes is taken off by the padding; output_padding is left."""
    check(lambda m: m.ConvTranspose1d(4, 4, 1, stride=5, padding=2, output_padding=4), normal(2, 4, 1))
    check(lambda m: m.ConvTranspose1d(4, 4, 1, 5, 2, output_padding=4, groups=4), normal(2, 4, 1))


OUTPUT_SIZES = [(8, 7), [7, 8], (2, 4, 8, 8), torch.Size([0, 0, 7, 7])]


@pytest.mark.parametrize("wanted", OUTPUT_SIZES, ids=str)
@pytest.mark.parametrize("options", [{}, {"output_padding": 1}, {"groups": 2}], ids=str)
@pytest.mark.parametrize("batched", [True, False])
def test_conv_transpose_to_an_output_size(wanted, options, batched):
    if not batched and len(wanted) == 4:
        wanted = wanted[1:]
    x = normal(2, 4, 3, 3) if batched else normal(4, 3, 3)
    theirs = nn.ConvTranspose2d(4, 6, 3, stride=2, **options).double()
    ours = xpconv.ConvTranspose2d(4, 6, 3, stride=2, dtype="float64", **options)
    ours.load_state_dict(numpy_state(theirs))
    there = contiguous(x).requires_grad_()
    y, expected = ours(x, wanted), theirs(there, output_size=list(wanted))
    assert_same(y, expected, "output")
    g = normal(*y.shape, seed=1)
    expected.backward(contiguous(g))
    assert_same(ours.backward(g), there.grad, "input gradient")
    assert_same(ours.weight.grad, theirs.weight.grad, "weight")
    assert_same(ours.bias.grad, theirs.bias.grad, "bias")


@pytest.mark.parametrize("wanted", [(6, 7), (9, 7), (8,), (9, 8, 7), (2, 4, 8, 8, 8), 8, (7.5, 8)], ids=str)
def test_conv_transpose_refuses_an_output_size(wanted):
    with pytest.raises((ValueError, TypeError, RuntimeError)):
        nn.ConvTranspose2d(4, 6, 3, stride=2)(torch.zeros(2, 4, 3, 3), output_size=wanted)
    with pytest.raises((ValueError, TypeError), match=r"^ConvTranspose2d\.forward: output_size"):
        xpconv.ConvTranspose2d(4, 6, 3, stride=2)(np.zeros((2, 4, 3, 3), "float32"), output_size=wanted)


# --- lazy, depthwise, separable ----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["LazyConv1d", "LazyConv2d", "LazyConv3d"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"bias": False, "groups": 2},
        {"padding": 1, "padding_mode": "reflect"},
        {"stride": 2, "dilation": 2, "padding": 1},
    ],
    ids=str,
)
def test_lazy_conv(name, options):
    axes = int(name[-2])

    def make(m):
        layer = getattr(m, name)(6, 2, **options)
        like = (1, 4, *SIZES[axes])
        layer(torch.zeros(like) if m is nn else np.zeros(like, "float32"))
        assert type(layer) is getattr(m, name[4:])
        if m is xpconv:
            layer.forget()
        return layer

    check(make, normal(2, 4, *SIZES[axes]))


def test_lazy_conv_takes_the_weights_of_pytorch():
    theirs = nn.Sequential(nn.Conv2d(3, 4, 3, groups=1), nn.ReLU(), nn.Conv2d(4, 2, 1))
    ours = xpconv.Sequential(xpconv.LazyConv2d(4, 3), xpconv.ReLU(), xpconv.LazyConv2d(2, 1))
    ours.load_state_dict(theirs.state_dict())
    x = normal(2, 3, 5, 5).astype("float32")
    assert_same(ours(x), theirs(contiguous(x)), "output")
    assert list(ours.state_dict()) == list(theirs.state_dict())


def separable(m, options):
    if m is xpconv:
        return xpconv.SeparableConv2d(4, 6, **options)
    options = dict(options)
    between, bias = 4 * options.pop("depth_multiplier"), options.pop("bias")
    depthwise = nn.Conv2d(4, between, groups=4, bias=False, **options)
    net = nn.Sequential()
    net.add_module("depthwise", depthwise)
    net.add_module("pointwise", nn.Conv2d(between, 6, 1, bias=bias))
    return net


def depthwise(m, options):
    if m is xpconv:
        return xpconv.DepthwiseConv2d(4, **options)
    options = dict(options)
    return nn.Conv2d(4, 4 * options.pop("depth_multiplier"), groups=4, **options)


@pytest.mark.parametrize("make", [depthwise, separable])
def test_depthwise_and_separable_over_all_options(make):
    options = {
        "kernel_size": [3, (2, 3)],
        "stride": [1, 2],
        "padding": [0, (2, 1), "same"],
        "dilation": [1, 2],
        "depth_multiplier": [1, 3],
        "bias": [True, False],
        "padding_mode": MODES,
        "shape": [(2, 4, 7, 8), (4, 7, 8), (0, 4, 7, 8)],
        "layout": [np.asarray, *LAYOUTS],
    }
    for row in covering(options, 2):
        if row["padding"] == "same" and row["stride"] != 1:
            row["padding"] = 1
        shape, layout = row.pop("shape"), row.pop("layout")
        check(lambda m, o=row: make(m, o), normal(*shape), layout=layout)


# --- fold --------------------------------------------------------------------------------------------

FOLD = {
    "kernel_size": [2, 3, (1, 3), (3, 2)],
    "dilation": [1, 2, (2, 1)],
    "padding": [0, 1, (2, 0)],
    "stride": [1, 2, (1, 3)],
    "lead": [(2,), (), (0,), (1,)],
    "layout": [np.asarray, *LAYOUTS],
}


def test_unfold_and_fold_over_all_options():
    for row in covering(FOLD, 3):
        lead, layout = row.pop("lead"), row.pop("layout")
        check(lambda m, o=row: m.Unfold(**o), normal(*lead, 3, 6, 7), layout=layout)
        columns = nn.Unfold(**row)(torch.zeros(1, 3, 6, 7)).shape[1:]
        check(lambda m, o=row: m.Fold((6, 7), **o), normal(*lead, *columns), layout=layout)


def test_fold_to_a_square():
    check(lambda m: m.Fold(4, 2), normal(2, 12, 9))


# --- what is refused ---------------------------------------------------------------------------------

IMAGE, LINE, CUBE = (2, 4, 6, 6), (2, 4, 6), (2, 4, 5, 5, 5)
REFUSED = {
    "1d channels": (lambda m: m.Conv1d(3, 4, 3), LINE),
    "1d of four axes": (lambda m: m.Conv1d(4, 4, 3), IMAGE),
    "1d of one axis": (lambda m: m.Conv1d(4, 4, 3), (4,)),
    "1d kernel too large": (lambda m: m.Conv1d(4, 4, 7), LINE),
    "1d of nothing": (lambda m: m.Conv1d(4, 4, 1, padding=1), (2, 4, 0)),
    "1d kernel of two": (lambda m: m.Conv1d(4, 4, (3, 3)), LINE),
    "1d same and strided": (lambda m: m.Conv1d(4, 4, 3, padding="same", stride=2), LINE),
    "1d reflect too wide": (lambda m: m.Conv1d(4, 4, 3, padding=6, padding_mode="reflect"), LINE),
    "1d groups": (lambda m: m.Conv1d(4, 6, 3, groups=4), LINE),
    "3d channels": (lambda m: m.Conv3d(3, 4, 3), CUBE),
    "3d of three axes": (lambda m: m.Conv3d(4, 4, 3), LINE),
    "3d kernel too large": (lambda m: m.Conv3d(4, 4, (3, 6, 3)), CUBE),
    "3d kernel of two": (lambda m: m.Conv3d(4, 4, (3, 3)), CUBE),
    "3d padding mode": (lambda m: m.Conv3d(4, 4, 3, padding_mode="constant"), CUBE),
    "transpose padding mode": (lambda m: m.ConvTranspose2d(4, 4, 3, padding_mode="reflect"), IMAGE),
    "transpose same": (lambda m: m.ConvTranspose2d(4, 4, 3, padding="same"), IMAGE),
    "transpose channels": (lambda m: m.ConvTranspose2d(3, 4, 3), IMAGE),
    "transpose rank": (lambda m: m.ConvTranspose2d(4, 4, 3), CUBE),
    "transpose out 0": (lambda m: m.ConvTranspose1d(4, 0, 3), LINE),
    "transpose in a float": (lambda m: m.ConvTranspose1d(4.0, 4, 3), LINE),
    "transpose groups of in": (lambda m: m.ConvTranspose1d(4, 6, 3, groups=3), LINE),
    "transpose groups of out": (lambda m: m.ConvTranspose1d(4, 6, 3, groups=4), LINE),
    "transpose groups 0": (lambda m: m.ConvTranspose1d(4, 4, 3, groups=0), LINE),
    "transpose stride 0": (lambda m: m.ConvTranspose3d(4, 4, 3, stride=0), CUBE),
    "transpose dilation 0": (lambda m: m.ConvTranspose2d(4, 4, 3, dilation=0), IMAGE),
    "transpose padding -1": (lambda m: m.ConvTranspose2d(4, 4, 3, padding=-1), IMAGE),
    "output_padding -1": (lambda m: m.ConvTranspose2d(4, 4, 3, stride=2, output_padding=-1), IMAGE),
    "output_padding as stride": (lambda m: m.ConvTranspose1d(4, 4, 3, stride=2, output_padding=2), LINE),
    "output_padding of an axis": (
        lambda m: m.ConvTranspose2d(4, 4, 3, stride=(1, 3), output_padding=(1, 2)), IMAGE
    ),
    "output_padding of three": (lambda m: m.ConvTranspose2d(4, 4, 3, 2, output_padding=(1, 1, 1)), IMAGE),
    "transpose to nothing": (lambda m: m.ConvTranspose1d(4, 4, 1, padding=3), LINE),
    "transpose to nothing, one axis": (lambda m: m.ConvTranspose2d(4, 4, 1, padding=(3, 0)), IMAGE),
    "transpose of nothing": (lambda m: m.ConvTranspose2d(4, 4, 3), (2, 4, 0, 6)),
    "lazy groups": (lambda m: m.LazyConv2d(4, 3, groups=3), IMAGE),
    "lazy groups of in": (lambda m: m.LazyConv2d(6, 3, groups=3), IMAGE),
    "lazy rank": (lambda m: m.LazyConv2d(4, 3), (6, 6)),
    "lazy kernel": (lambda m: m.LazyConv2d(4, 7), IMAGE),
    "lazy mode": (lambda m: m.LazyConv2d(4, 3, padding_mode="no"), IMAGE),
    "unfold too large": (lambda m: m.Unfold(7), IMAGE),
    "unfold rank": (lambda m: m.Unfold(2), (6, 6)),
    "unfold rank 5": (lambda m: m.Unfold(2), CUBE),
    "unfold of nothing": (lambda m: m.Unfold(2, padding=1), (2, 4, 0, 6)),
    "unfold kernel of one": (lambda m: m.Unfold((2,)), IMAGE),
    "unfold kernel of three": (lambda m: m.Unfold((2, 2, 2)), IMAGE),
    "unfold kernel 0": (lambda m: m.Unfold(0), IMAGE),
    "unfold stride 0": (lambda m: m.Unfold(2, stride=0), IMAGE),
    "unfold dilation 0": (lambda m: m.Unfold(2, dilation=0), IMAGE),
    "unfold padding -1": (lambda m: m.Unfold(2, padding=-1), IMAGE),
    "fold columns": (lambda m: m.Fold((4, 5), 2), (2, 12, 11)),
    "fold channels": (lambda m: m.Fold((4, 5), 2), (2, 11, 12)),
    "fold no channels": (lambda m: m.Fold(4, 2), (2, 0, 9)),
    "fold rank": (lambda m: m.Fold((4, 5), 2), (2, 12, 3, 4)),
    "fold too large": (lambda m: m.Fold((4, 5), 6), (2, 36, 1)),
    "fold stride 0": (lambda m: m.Fold((4, 5), 2, stride=0), (2, 12, 12)),
    "fold kernel of three": (lambda m: m.Fold((4, 5), (2, 2, 1)), (2, 12, 12)),
    "fold padding -1": (lambda m: m.Fold(6, 2, padding=-1), (2, 4, 9)),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors:UserWarning")  # by torch
@pytest.mark.parametrize(("make", "shape"), REFUSED.values(), ids=REFUSED.keys())
def test_what_pytorch_refuses_is_refused(make, shape):
    with pytest.raises((ValueError, TypeError, RuntimeError, IndexError)):
        make(nn)(torch.zeros(shape))
    with pytest.raises((ValueError, TypeError), match=r"^(Lazy)?(Conv|Unfold|Fold)\w*"):
        make(xpconv)(np.zeros(shape, "float32"))
