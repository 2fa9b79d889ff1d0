"""The CUDA kernels, without a GPU: compiled by g++ behind CuPy's `RawModule`, against the references.

Not on a GPU: the suite with `XPCONV_REQUIRE_GPU=1` is what runs them there.
"""

import ctypes
import itertools
import os
import shutil
import sys
from importlib import import_module
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

import double
import emulation
import numpy as np
import process
import pytest
from drawing import windows
from effort import examples
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from operations import TOLERANCE, ours, reference, same
from reference import philox, uniforms

from xpconv.geometry import Window
from xpconv.kernels.cupy.launch import TYPES, launch, source
from xpconv.random import Source

xp = double.xp
pytestmark = pytest.mark.skipif(emulation.COMPILER is None, reason="g++ is not installed")
# Under the sanitizers, float32 would have the indices of float64 again, whose alignment is stricter.
DTYPES = ["float64", "float16"] if os.environ.get("XPCONV_SANITIZE") else ["float32", "float64", "float16"]


def device(rng, shape, dtype, layout):
    """Layout 0: as it comes; 1: channels-last; 2: that too, but for memory that begins one element late."""
    x = xp.asarray(rng.normal(size=shape).astype(dtype))
    if not layout:
        return x
    x = xp.moveaxis(x, 1, -1)
    memory = xp.empty(x.size + 1, dtype=dtype)[layout - 1 :][: x.size].reshape(x.shape)
    memory[...] = x
    return xp.moveaxis(memory, -1, 1)


@settings(max_examples=examples(60))
@given(data=st.data())
def test_convolutions_drawn(data):
    draw = data.draw
    window, spatial = windows(draw)
    groups = draw(st.sampled_from([1, 1, 2, 3, 4]))
    c, k = groups * draw(st.integers(1, 3)), groups * draw(st.integers(1, 3))
    dtype = draw(st.sampled_from(DTYPES))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    last = draw(st.integers(0, 2))
    x = device(rng, (draw(st.integers(0, 3)), c, *spatial), dtype, last)
    weight = xp.asarray(rng.normal(size=(k, c // groups, *window.kernel)).astype(dtype))
    bias = xp.asarray(rng.normal(size=k).astype(dtype)) if draw(st.booleans()) else None
    bounds = draw(st.sampled_from([None, (0.0, None), (-0.5, 0.75)]))
    y = reference.conv(xp, x, weight, bias, window, groups, "auto", bounds)
    g = device(rng, y.shape, dtype, last)
    with pytest.MonkeyPatch.context() as patch:
        conv = import_module("xpconv.kernels.cupy.conv")
        patch.setattr(conv, "COLUMN_BYTES", draw(st.sampled_from([1, 1 << 28])))
        patch.setattr(conv, "LENGTH", draw(st.sampled_from([1, 3, 32])))
        tolerance = TOLERANCE[dtype] * 5
        same(ours.conv(xp, x, weight, bias, window, groups, "auto", bounds), y, tolerance)
        for name, operands in {
            "conv_backward_weight": (g, x, weight.shape), "conv_backward_input": (g, weight, x.shape),
        }.items():  # fmt: skip
            expected = getattr(reference, name)(xp, *operands, window, groups)
            same(getattr(ours, name)(xp, *operands, window, groups), expected, tolerance)


@pytest.mark.parametrize("rows", [1, 1 << 28])
def test_float16_is_rounded_once(rows, monkeypatch):
    """Not before the sum over taps, nor between blocks of images."""
    monkeypatch.setattr(import_module("xpconv.kernels.cupy.conv"), "COLUMN_BYTES", rows)
    rng = np.random.default_rng(0)
    window = Window((5, 5), (1, 1), ((2, 2), (2, 2)), (1, 1))
    x, weight, g = (rng.normal(size=s) for s in ((9, 3, 8, 8), (4, 3, 5, 5), (9, 4, 8, 8)))
    x, weight, g = (a.astype("float16") for a in (x, weight, g))
    wide = [xp.asarray(a.astype("float64")) for a in (g, weight, x)]
    half = [xp.asarray(a) for a in (g, weight, x)]
    for name, first, second in (("conv_backward_input", 0, 1), ("conv_backward_weight", 0, 2)):
        shape = (x if name == "conv_backward_input" else weight).shape
        exact = getattr(reference, name)(xp, wide[first], wide[second], shape, window).get()
        found = getattr(ours, name)(xp, half[first], half[second], shape, window).get()
        off = np.abs(found.astype("float64") - exact) / np.spacing(np.abs(exact).astype("float16"))
        assert off.max() < (0.51 if name == "conv_backward_input" or rows == 1 else 3)


@pytest.mark.parametrize("layout", [0, 1, 2])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("channels", [4, 8])
def test_depthwise_four_channels_at_once_drawn(channels, dtype, layout):
    rng = np.random.default_rng(0)
    window = Window((3, 2), (2, 1), ((1, 2), (0, 1)), (1, 2))
    x = device(rng, (2, channels, 7, 6), dtype, layout)
    weight = xp.asarray(rng.normal(size=(channels, 1, 3, 2)).astype(dtype))
    bias, tolerance = xp.asarray(rng.normal(size=channels).astype(dtype)), TOLERANCE[dtype] * 5
    y = reference.conv(xp, x, weight, bias, window, channels, "auto", (-0.5, 0.5))
    same(ours.conv(xp, x, weight, bias, window, channels, "auto", (-0.5, 0.5)), y, tolerance)
    g = device(rng, y.shape, dtype, layout)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(import_module("xpconv.kernels.cupy.conv"), "SUMMANDS", 1000)
        for name, operands in {
            "conv_backward_weight": (g, x, weight.shape), "conv_backward_input": (g, weight, x.shape),
        }.items():  # fmt: skip
            expected = getattr(reference, name)(xp, *operands, window, channels)
            same(getattr(ours, name)(xp, *operands, window, channels), expected, tolerance)


@settings(max_examples=examples(60))
@given(data=st.data())
def test_pools_drawn(data):
    draw = data.draw
    window, spatial = windows(draw)
    window = window._replace(padding=tuple(
        (min(lo, k // 2), min(hi, k // 2)) for (lo, hi), k in zip(window.padding, window.kernel, strict=True)
    ))  # fmt: skip
    ceil_mode = draw(st.booleans())
    output = window.output_shape(spatial, ceil_mode)
    assume(min(output) > 0)
    dtype = draw(st.sampled_from(DTYPES))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    channels = draw(st.sampled_from([3, 4, 8]))
    x = device(rng, (draw(st.integers(0, 3)), channels, *spatial), dtype, draw(st.integers(0, 2)))
    special = draw(st.booleans())
    if special:
        x = xp.asarray(rng.choice(np.array([-1, 0, 1, np.nan, np.inf, -np.inf], dtype), x.shape))
    y, winner = reference.max_pool(xp, x, window, ceil_mode)
    same(ours.max_pool(xp, x, window, ceil_mode), (y, winner), 0)
    same(ours.max_pool(xp, x, window, ceil_mode, winners=False), (y, None), 0)
    cut_off = reference.clip(xp, y, -0.5, 0.75)
    same(ours.max_pool(xp, x, window, ceil_mode, True, (-0.5, 0.75)), (cut_off, winner), 0)
    g = device(rng, y.shape, dtype, draw(st.integers(0, 2)))
    args = winner, x.shape, window
    same(ours.max_pool_backward(xp, g, *args), reference.max_pool_backward(xp, g, *args), TOLERANCE[dtype])
    if not special:
        expected = reference.sum_pool(xp, x, window, ceil_mode)
        same(ours.sum_pool(xp, x, window, ceil_mode), expected, TOLERANCE[dtype] * 5)
    same(
        ours.sum_pool_backward(xp, g, x.shape, window),
        reference.sum_pool_backward(xp, g, x.shape, window), TOLERANCE[dtype] * 5,
    )  # fmt: skip


@settings(max_examples=examples(40))
@given(data=st.data())
def test_pointwise_drawn(data):
    draw = data.draw
    dtype = draw(st.sampled_from(DTYPES))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    shape = (draw(st.integers(0, 3)), draw(st.integers(1, 9)), *draw(st.sampled_from([(), (3,), (5, 4)])))
    x, y = (device(rng, shape, dtype, draw(st.integers(0, 2))) for _ in range(2))
    if draw(st.booleans()) and x.size:
        x[(0,) * x.ndim] = np.nan
    same(ours.add(xp, x, y), reference.add(xp, x, y), TOLERANCE[dtype])
    for bounds in ((0.0, None), (-0.5, 0.75)):
        same(ours.clip(xp, x, *bounds), reference.clip(xp, x, *bounds), 0)
        same(ours.clip_backward(xp, y, x, *bounds), reference.clip_backward(xp, y, x, *bounds), 0)


@settings(max_examples=examples(60))
@given(data=st.data())
def test_batch_norms_drawn(data):
    draw = data.draw
    dtype = draw(st.sampled_from(DTYPES))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    shape = (
        draw(st.integers(0, 9)),
        draw(st.integers(1, 8)),
        *draw(st.sampled_from([(), (3,), (5, 4), (2, 3, 2)])),
    )
    x = device(rng, shape, dtype, draw(st.integers(0, 2)))
    if draw(st.booleans()) and dtype != "float16":
        x += 1000.0  # mean² far above the variance
    weight, bias = (
        xp.asarray(rng.normal(size=shape[1]).astype(dtype)) if draw(st.booleans()) else None for _ in "wb"
    )
    g = device(rng, shape, dtype, draw(st.integers(0, 2)))
    tolerance = TOLERANCE[dtype] * 5
    with pytest.MonkeyPatch.context() as patch:
        norm = import_module("xpconv.kernels.cupy.norm")
        patch.setattr(norm, "THREADS", draw(st.sampled_from([1, 40, 1 << 17])))
        patch.setattr(norm, "MERGED", draw(st.sampled_from([2, 3, 64])))
        mean, var = reference.statistics(xp, x)
        same(ours.statistics(xp, x), (mean, var), max(1e-6, TOLERANCE[dtype]))
        same(ours.channel_total(xp, g), reference.channel_total(xp, g), max(1e-6, TOLERANCE[dtype]))
        momentum = draw(st.sampled_from([0.1, xp.asarray(0.25)]))
        running = [xp.asarray(rng.normal(size=shape[1]).astype(dtype)) for _ in range(2)]
        running[1][...] = running[0]
        for kernel, array in zip((ours, reference), running, strict=True):
            kernel.follow(xp, array, var, momentum, 1.5)
        same(*running, TOLERANCE[dtype])
        if x.size != shape[1]:
            wide = draw(st.sampled_from([dtype, "float64" if dtype == "float64" else "float32"]))
            start = rng.uniform(0.5, 2, (2, shape[1])).astype(wide)
            bounds, share = (
                draw(st.sampled_from([None, (0.0, None), (-0.5, 0.75)])),
                draw(st.sampled_from([0.1, None])),
            )
            found = []
            for kernel in (ours, reference):
                running = [xp.asarray(a.copy()) for a in start]
                batches = xp.asarray(np.array(4))
                with np.errstate(over="ignore", invalid="ignore"):
                    result = kernel.normalize_and_track(
                        xp, x, weight, bias, 1e-3, bounds, *running, batches, share
                    )
                found.append((result[0], *running, batches))
            same(*found, tolerance)
        inv_std = 1 / xp.sqrt(var + 1e-3)
        same(
            ours.batch_norm(xp, x, weight, bias, mean, inv_std),
            reference.batch_norm(xp, x, weight, bias, mean, inv_std),
            tolerance,
        )
        y = reference.batch_norm(xp, x, weight, bias, mean, inv_std, (0.0, 1.0))
        same(ours.batch_norm(xp, x, weight, bias, mean, inv_std, (0.0, 1.0)), y, tolerance)
        for flags in itertools.product((True, False), repeat=2):
            for cut in ((), (y, (0.0, 1.0))):
                expected = reference.batch_norm_backward(xp, g, x, weight, mean, inv_std, *flags, *cut)
                same(
                    ours.batch_norm_backward(xp, g, x, weight, mean, inv_std, *flags, *cut),
                    expected,
                    tolerance,
                )


@settings(max_examples=examples(60))
@given(data=st.data())
def test_cross_entropies_drawn(data):
    draw = data.draw
    dtype = draw(st.sampled_from(DTYPES[:-1]))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    axis, classes = draw(st.integers(0, 1)), draw(st.integers(1, 9))
    rows = (
        draw(st.sampled_from([(), (3,), (2, 3)]))
        if axis == 0
        else draw(st.sampled_from([(0,), (5,), (2, 3, 2)]))
    )
    target = xp.asarray(
        rng.integers(-2, classes + 1, rows).astype(draw(st.sampled_from(["int64", "uint8", "int32"])))
    )
    args = target, classes, draw(st.sampled_from([-100, 1])), axis, dtype
    t, counted = reference.one_hot(xp, *args)
    same(ours.one_hot(xp, *args), (t, counted), 0)
    values = (
        rng.choice([-1e4, -np.inf, 0, 1, 3, 1e4], t.shape)
        if draw(st.booleans())
        else rng.normal(size=t.shape)
    )
    x = xp.asarray(values.astype(dtype))
    if draw(st.booleans()):
        t = xp.asarray(rng.normal(size=t.shape).astype(dtype))
    with pytest.MonkeyPatch.context() as patch, np.errstate(invalid="ignore", divide="ignore"):
        patch.setattr(
            import_module("xpconv.kernels.cupy.softmax"), "CLASSES", draw(st.sampled_from([1, 2, 3, 32]))
        )
        loss, p, total = reference.cross_entropy(xp, x, t, axis)
        same(ours.cross_entropy(xp, x, t, axis), (loss, p, total), TOLERANCE[dtype])
        for scale in (
            0.5,
            xp.asarray(np.array(0.25, dtype)),
            xp.asarray(rng.normal(size=loss.shape).astype(dtype)),
        ):
            expected = reference.cross_entropy_backward(xp, p, t, total, scale, axis)
            same(ours.cross_entropy_backward(xp, p, t, total, scale, axis), expected, TOLERANCE[dtype])


@settings(max_examples=examples(30))
@given(data=st.data())
def test_pointwise_ones_drawn(data):
    draw = data.draw
    dtype = draw(st.sampled_from(DTYPES))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    shape = draw(st.sampled_from([(), (5,), (3, 4), (2, 3, 4), (2, 3, 4, 5)]))
    special = np.array([-2, -1, 0, 0.5, 1, np.nan, np.inf], dtype)
    x, g = (
        xp.asarray(rng.choice(special, shape[::-1]).T if draw(st.booleans()) else rng.choice(special, shape))
        for _ in "xg"
    )
    with np.errstate(invalid="ignore"):
        same(ours.add(xp, g, x), reference.add(xp, g, x), 0)
    for bounds in [(0.0, None), (-1.0, 1.0)]:
        y = reference.clip(xp, x, *bounds)
        same(ours.clip(xp, x, *bounds), y, 0)
        same(ours.clip_backward(xp, g, y, *bounds), reference.clip_backward(xp, g, y, *bounds), 0)


ACTIVATIONS = {  # by name: their constants
    **dict.fromkeys(("sigmoid", "log_sigmoid", "silu", "mish", "gelu_tanh", "hardsigmoid", "hardswish"), ()),
    "softplus": (1.5, 3.0),
    "elu": (0.5, 2.0, 1.5),
    "leaky_relu": (0.25,),
}


@settings(max_examples=examples(30))
@given(data=st.data())
def test_activations_drawn(data):
    draw = data.draw
    dtype = draw(st.sampled_from(DTYPES))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    shape = draw(st.sampled_from([(), (5,), (3, 4), (0, 3), (2, 3, 4, 5)]))
    layout = draw(st.integers(0, 2)) if len(shape) > 2 else 0
    x, grad = device(rng, shape, dtype, layout), device(rng, shape, dtype, draw(st.integers(0, 1)) * layout)
    x *= 5
    if draw(st.booleans()) and x.size:
        x = xp.asarray(rng.choice(np.array([-300, -3, 0, 3, 1, np.nan, np.inf, -np.inf], dtype), shape))
    name = draw(st.sampled_from([*ACTIVATIONS, "tanh", "gelu"]))
    constants, results = ACTIVATIONS.get(name, ()), []
    with np.errstate(invalid="ignore", over="ignore"):
        for run in (ours, reference):
            y, more = x, ()
            if name == "gelu":
                y, *more = run.gelu(xp, x)
            elif name != "tanh":
                y = getattr(run, name)(xp, x, *constants)
            results.append((y, getattr(run, f"{name}_backward")(xp, grad, x, *more, *constants)))
    for found, expected in zip(*results, strict=True):
        assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
        tolerance = {"float16": 4e-3, "float32": 3e-6, "float64": 1e-13}[dtype]  # of numbers of about 10
        np.testing.assert_allclose(found.get(), expected.get(), rtol=tolerance, atol=10 * tolerance)


@settings(max_examples=examples(20))
@given(data=st.data())
def test_rows_drawn(data):
    draw = data.draw
    dtype = draw(st.sampled_from(DTYPES))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    grouped = draw(st.booleans())
    shape = (
        draw(st.integers(0, 3)),
        draw(st.sampled_from([2, 4, 6])),
        *draw(st.sampled_from([(), (5,), (3, 4)])),
    )
    x = device(rng, shape, dtype, draw(st.integers(0, 2)))
    if draw(st.booleans()) and dtype != "float16":
        x += 300.0  # mean² far above the variance
    if grouped:
        which, parameters = draw(st.sampled_from([g for g in (1, 2, 3, 6) if shape[1] % g == 0])), shape[1:2]
    else:
        first = draw(st.integers(1, len(shape) - 1))
        which, parameters = tuple(range(first, len(shape))), shape[first:]
    weight, bias = (
        xp.asarray(rng.normal(size=parameters).astype(dtype)) if draw(st.booleans()) else None for _ in "wb"
    )
    if weight is None:
        bias = None
    grad = device(rng, shape, dtype, draw(st.integers(0, 2)))
    centred = () if grouped else (draw(st.booleans()),)
    needs = tuple(draw(st.booleans()) for _ in range(3))
    name, tolerance = (
        "group_norm" if grouped else "layer_norm",
        {"float16": 1e-2, "float32": 2e-4, "float64": 1e-9},
    )
    results = []
    with pytest.MonkeyPatch.context() as patch:
        rows = import_module("xpconv.kernels.cupy.rows")
        patch.setattr(rows, "SHORT", draw(st.sampled_from([1, 2048])))
        patch.setattr(rows, "COLUMNS", draw(st.sampled_from([1, 300, 1 << 17])))
        for run in (ours, reference):
            y, *saved = getattr(run, name)(xp, x, weight, bias, which, 1e-3, *centred)
            gradients = getattr(run, f"{name}_backward")(xp, grad, *saved, weight, which, needs, *centred)
            results.append((y, *gradients))
    (y, dx, *others), (expected, slope, *more) = results
    same(y, expected, tolerance[dtype])
    same(tuple(others), tuple(more), tolerance[dtype])
    if slope is not None and slope.size:  # it may vanish, by cancellation of numbers like these
        size = float(abs(grad).max()) * (1 if weight is None else float(abs(weight).max())) * 30
        np.testing.assert_allclose(dx.get(), slope.get(), rtol=0, atol=tolerance[dtype] * size)


def test_philox_has_the_published_numbers():
    assert philox(0, 0) == [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]  # Random123's known answers


def test_masks_are_those_of_philox_and_never_repeat():
    source = Source(np.random.default_rng(5))
    masks = [ours.keep_mask(xp, source, shape, 0.3).get().ravel() for shape in [(2, 3), (), (0, 4), (9,)]]
    drawn = uniforms(xp, 5, (24,)) >= np.float32(0.3)
    np.testing.assert_array_equal(
        np.concatenate(masks), np.concatenate([drawn[:6], drawn[8:9], drawn[12:21]])
    )


def test_pointwise_ones_leave_channels_last():
    x = device(np.random.default_rng(0), (2, 3, 4, 5), "float32", True)
    for y in (ours.clip(xp, x, 0.0, None), ours.add(xp, x, x), ours.clip_backward(xp, x, x, 0.0, 1.0)):
        assert y.strides == x.strides


def test_a_window_of_more_taps_than_a_byte_counts():
    rng = np.random.default_rng(0)
    x = device(rng, (2, 3, 20, 20), "float32", True)
    window = Window((16, 16), (4, 4), ((0, 0),) * 2, (1, 1))
    y, winner = reference.max_pool(xp, x, window)
    assert winner.dtype == "int32"
    same(ours.max_pool(xp, x, window), (y, winner), 0)
    same(
        ours.max_pool_backward(xp, y, winner, x.shape, window),
        reference.max_pool_backward(xp, y, winner, x.shape, window), 0,
    )  # fmt: skip


def test_a_wrong_number_of_arguments_is_refused():
    with pytest.raises(TypeError, match="sum_pool: 3 arguments, expected 6"):
        launch(xp, "pool.cu", "sum_pool", 1, xp.zeros(1), xp.zeros(1))


# --- compilers ----------------------------------------------------------------------------------------

FILES = sorted(path.name for path in files("xpconv.kernels.cupy").iterdir() if path.name.endswith(".cu"))


def nvrtc_folder(package):
    """Where a package of NVIDIA's from PyPI has its files."""
    spec = find_spec("nvidia") and find_spec(f"nvidia.{package}")
    if not spec:
        pytest.skip(
            f"nvidia.{package} is not installed: pip install nvidia-cuda-nvrtc-cu12 nvidia-cuda-runtime-cu12"
        )
    return Path(next(iter(spec.submodule_search_locations)))


def compile_with_nvrtc(code, options):
    """The log of an error, or nothing."""
    library = ctypes.CDLL(str(next((nvrtc_folder("cuda_nvrtc") / "lib").glob("libnvrtc.so.*"))))
    program, size = ctypes.c_void_p(), ctypes.c_size_t()
    assert library.nvrtcCreateProgram(ctypes.byref(program), code.encode(), b"kernels.cu", 0, None, None) == 0
    given = (ctypes.c_char_p * len(options))(*[option.encode() for option in options])
    failed = library.nvrtcCompileProgram(program, len(options), given)
    library.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    log = ctypes.create_string_buffer(size.value)
    library.nvrtcGetProgramLog(program, log)
    library.nvrtcDestroyProgram(ctypes.byref(program))
    return log.value.decode() or "failed" if failed else ""


# NVRTC keeps silent about them, unlike nvcc: changed signs, what is unreachable, unused or never read, and comparisons
# that are always true.
WARNINGS = "--diag-error=68,111,128,177,186,550"


def log_of_nvrtc(file, dtype, architecture, wide=False, *more):
    """Of machine code for `sm_90`, and of NVIDIA's intermediate code alone for `compute_90`."""
    include = nvrtc_folder("cuda_runtime") / "include"
    code, options = source(file, dtype, wide)
    options += (f"--gpu-architecture={architecture}", "-ftz=true", f"-I{include}", WARNINGS, *more)
    return compile_with_nvrtc(code, options)


@pytest.mark.parametrize("file", FILES[::7])  # `test_nvrtc_compiles_all` has all
def test_nvrtc_compiles(file):
    assert log_of_nvrtc(file, "float32", "sm_90") == ""


@pytest.mark.slow
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("file", FILES)
def test_nvrtc_compiles_all(file, dtype):
    """For every architecture that differs, with 64-bit indices on the oldest.

    Only the 16-bit types of CUDA's headers differ among the three. Optimising takes most of the time and finds nothing
    more: one type alone has it. The oldest has machine code of them, since it lacks their instructions, which only the
    assembler sees.
    """
    oldest = "sm_70" if dtype.endswith("16") else "compute_70"
    assert log_of_nvrtc(file, dtype, oldest, True, "--device-debug") == ""
    optimised = dtype == "float32"
    newest = log_of_nvrtc(
        file, dtype, *(("sm_90",) if optimised else ("compute_90", False, "--device-debug"))
    )
    assert newest == ""
    if dtype.endswith("16"):
        assert log_of_nvrtc(file, dtype, "compute_80", False, "--device-debug") == ""


@pytest.mark.slow
@pytest.mark.parametrize("file", ["optim.cu", "rows.cu"])  # with structs and shared memory
def test_nvcc_compiles(file, tmp_path):
    """With one built-in dtype and one from a header; its front end is that of NVRTC, which compiles all files."""
    if shutil.which("nvcc") is None:
        pytest.skip("nvcc is not installed")
    for dtype in ("float32", "bfloat16"):
        code, options = source(file, dtype, wide=False)
        path = tmp_path / f"{dtype}.cu"
        path.write_text(code)
        command = ["nvcc", "-arch=sm_90", "-cubin", "-Werror", "all-warnings", *options, str(path)]
        process.run(command, cwd=tmp_path)


def test_a_planted_error_is_found():
    code, options = source("pool.cu", "float32", wide=False)
    assert "expected" in compile_with_nvrtc(code.replace("SUM sum[V] = {};", "SUM sum[V] = {}"), options)
    with pytest.raises(RuntimeError, match="expected"):
        xp.RawModule(code=code.replace("SUM sum[V] = {};", "SUM sum[V] = {}"), options=options).get_function(
            "sum_pool"
        )


# --- the sanitizers --------------------------------------------------------------------------------------


def python_with_sanitizers(*arguments):
    library = process.run([emulation.COMPILER, "-print-file-name=libasan.so"]).stdout.strip()
    env = process.environment(
        LD_PRELOAD=library, ASAN_OPTIONS="detect_leaks=0", XPCONV_SANITIZE="address,undefined"
    )
    return process.run([sys.executable, *arguments], check=False, cwd=Path(__file__).parents[3], env=env)


@pytest.mark.slow
def test_no_kernel_leaves_its_arrays():
    done = python_with_sanitizers("-m", "pytest", "-q", "-p", "no:cacheprovider", __file__, "-k", "drawn")
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout


@pytest.mark.slow
def test_a_kernel_that_does_is_found():
    code = "import sys; sys.path.insert(0, 'tests/helpers'); import backends, double; from xpconv.kernels.cupy.launch import launch; xp = double.xp; y = xp.zeros(99)"
    code += "; launch(xp, 'pointwise.cu', 'add', {size}, y, y, y)"
    assert python_with_sanitizers("-c", code.format(size=99)).returncode == 0
    done = python_with_sanitizers("-c", code.format(size=104))
    assert done.returncode != 0
    assert "heap-buffer-overflow" in done.stderr
