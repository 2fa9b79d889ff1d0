"""Every function on arrays of all kinds: strided, read-only, empty, of half precision, with `np.seterr(all="raise")`."""

import functional_cases
import numpy as np
import pytest
from functional_cases import CASES, arguments, backward, device, forward

import xpconv
import xpconv.functional as F


def wide(x):
    """A gap after each element."""
    spread = xpconv.get_xp().full((*x.shape, 2), 77, dtype=x.dtype)
    spread[..., 0] = x
    return spread[..., 0]


def reversed_axes(x):
    return x.T.copy(order="C").T


def results(case, arrays, options, gradient):
    y = forward(case, arrays, options)
    return [
        y,
        *backward(
            case,
            gradient,
            y,
            arguments(case, str(y.dtype))[0] if case.saved == "indices" else arrays,
            options,
        ),
    ]


def running(case):
    """Whether the call updates statistics in place."""
    return case.name in ("batch_norm", "instance_norm") and case.fixed


@pytest.mark.sample(6)
@pytest.mark.parametrize("case", [c for c in CASES if not running(c)], ids=str)
def test_strided_arrays(case, backend):
    """The same values in another memory layout give the same results; outputs share no memory with inputs."""
    arrays, options = arguments(case, "float64")
    gradient = device(np.random.default_rng(0).normal(size=forward(case, arrays, options).shape), "float64")
    expected = results(case, arrays, options, gradient)
    for layout in (wide, reversed_axes):
        moved = {n: layout(v) if hasattr(v, "ndim") else v for n, v in arrays.items()}
        found = results(case, moved, options, layout(gradient))
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_allclose(xpconv.asnumpy(a), xpconv.asnumpy(b), rtol=0, atol=1e-12)
    given = [v for v in arrays.values() if hasattr(v, "ndim")] + [gradient]
    for result in expected:
        assert not any(xpconv.get_xp().may_share_memory(result, v) for v in given)


@pytest.mark.sample(6)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_read_only_arrays_and_all_errors_raised(case):
    arrays, options = arguments(case, "float32")
    gradient = np.ones(forward(case, arrays, options).shape, "float32")
    arrays, options = arguments(case, "float32")
    for array in [*arrays.values(), gradient]:
        if hasattr(array, "flags"):
            array.flags.writeable = False
    updates = running(case) and case.options.get("training", case.options.get("use_input_stats", True))
    with np.errstate(all="raise"):
        if updates and case.fixed["running_mean"] is not None:
            with pytest.raises(
                ValueError, match=r"running_mean is read-only, but it is updated; give a copy"
            ):
                forward(case, arrays, options)
        else:
            backward(case, gradient, forward(case, arrays, options), arrays, options)


@pytest.mark.sample(6)
@pytest.mark.parametrize("case", [c for c in CASES if c.name not in functional_cases.NO_HALF], ids=str)
def test_half_precision(case, backend):
    """float16 stays float16, to about its digits."""
    exact, options = arguments(case, "float64")
    y = xpconv.asnumpy(forward(case, exact, options))
    arrays, halved = arguments(case, "float16")
    found = forward(case, arrays, halved)
    assert str(found.dtype) == "float16"
    np.testing.assert_allclose(
        xpconv.asnumpy(found).astype("float64"), y, rtol=0, atol=2e-2 * np.abs(y).max()
    )
    gradient = xpconv.asarray(np.ones(y.shape), "float16")
    for array in backward(case, gradient, found, *arguments(case, "float16")):
        assert str(array.dtype) == "float16"


def test_bfloat16():
    """All functions keep it, to about its digits; NumPy has it with `ml_dtypes`."""
    pytest.importorskip("ml_dtypes")
    for case in CASES:
        if case.name in functional_cases.NO_HALF:
            continue
        exact, options = arguments(case, "float32")
        y = forward(case, exact, options)
        expected = [y, *backward(case, np.ones_like(y), y, *arguments(case, "float32"))]
        arrays, halved = arguments(case, "bfloat16")
        found = forward(case, arrays, halved)
        ones = np.ones(y.shape, found.dtype)
        for array, value in zip(
            [found, *backward(case, ones, found, *arguments(case, "bfloat16"))], expected, strict=True
        ):
            assert str(array.dtype) == "bfloat16", str(case)
            assert np.abs(array.astype("float32") - value).max() <= 0.1 * np.abs(value).max() + 0.02, str(
                case
            )


def test_the_epsilon_of_rms_norm_is_that_of_float32_for_half_precision(backend):
    """As in PyTorch, which computes in float32 then."""
    x = xpconv.asarray(np.full(4, 0.01), "float16")
    layer = xpconv.RMSNorm(4, dtype="float16")
    for y in (F.rms_norm(x, 4), layer(x)):
        np.testing.assert_allclose(xpconv.asnumpy(y).astype("float64"), 1, rtol=2e-3)


@pytest.mark.sample(6)
@pytest.mark.parametrize("case", [c for c in CASES if functional_cases.has_batch(c)], ids=str)
def test_empty_batches(case, backend):
    inputs = {n: v[:0] if n == "input" else v for n, v in case.inputs.items()}
    fixed = {n: v[:0] if n == "indices" else v for n, v in case.fixed.items()}
    empty = case._replace(inputs=inputs, fixed=fixed)
    shape = xpconv.asnumpy(forward(case, *arguments(case, "float32"))).shape
    y = forward(empty, *arguments(empty, "float32"))
    assert y.shape == (0, *shape[1:])
    first = backward(empty, y, y, *arguments(empty, "float32"))[0]
    assert first.shape == inputs["input"].shape


def test_parameters_and_memory_maps(tmp_path):
    """They are accepted in place of arrays."""
    x = np.arange(16, dtype="float32").reshape(1, 4, 4)
    np.save(tmp_path / "x.npy", x)
    for given in (xpconv.Parameter(x), np.load(tmp_path / "x.npy", mmap_mode="r")):
        assert type(F.relu(given)) is np.ndarray
        np.testing.assert_array_equal(F.max_pool2d(given, 2), F.max_pool2d(x, 2))
        assert F.mse_loss(given, x) == 0
        np.testing.assert_array_equal(F.softmax_backward(given, given, 1), F.softmax_backward(x, x, 1))
        loss = F.binary_cross_entropy_backward(given, x / 16, x / 16, given, reduction="none")
        np.testing.assert_array_equal(
            loss, F.binary_cross_entropy_backward(x, x / 16, x / 16, x, reduction="none")
        )
        for moved in (
            F.pixel_unshuffle(given, 2),
            F.pad_backward(given, (1, 1)),
            F.channel_shuffle(given[None], 1),
        ):
            assert type(moved) is np.ndarray


def test_integers_beyond_the_padding():
    """In max pooling of signed and unsigned integers, the padding is never the maximum."""
    for dtype in ("int8", "uint8"):
        low = np.full((1, 3, 3), np.iinfo(dtype).min, dtype)
        np.testing.assert_array_equal(F.max_pool2d(low, 3, 1, 1), low)
        _, indices = F.max_pool2d(low, 3, 1, 1, return_indices=True)
        assert indices.min() == 0


LAST_DIGIT = [
    "elu", "selu", "celu", "hardsigmoid", "hardswish", "logsigmoid", "silu", "mish", "softsign", "tanhshrink",
    "softplus", "glu",
]  # fmt: skip


@pytest.mark.parametrize("name", LAST_DIGIT)
def test_half_precision_keeps_its_last_digit(name, backend):
    """Also near a zero of the function or its slope, where PyTorch is partly less exact."""
    x = np.random.default_rng(0).normal(scale=3, size=(2000, 2)).astype("float16")
    grad = np.ones((2000, 1 if name == "glu" else 2), "float16")
    function, backward = getattr(F, name), getattr(F, f"{name}_backward")
    for call, arrays in ((function, (x,)), (backward, (grad, x))):
        found = call(*map(xpconv.asarray, arrays))
        assert str(found.dtype) == "float16"
        exact = xpconv.asnumpy(call(*[xpconv.asarray(a.astype("float64")) for a in arrays]))
        step = np.spacing(np.abs(exact).astype("float16")).astype("float64")
        assert (np.abs(xpconv.asnumpy(found).astype("float64") - exact) <= 1.1 * step).all()
