"""examples/sigpy_convolution.py against scipy.signal, and the cases of SigPy's own tests, on every backend."""

import itertools
from pathlib import Path

import numpy as np
import pytest

import xpconv

signal = pytest.importorskip("scipy.signal")


@pytest.fixture
def sigpy(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "examples")
    import sigpy_convolution

    return sigpy_convolution


def draw(seed, shape, dtype):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=shape)
    return (values + 1j * rng.normal(size=shape) if np.dtype(dtype).kind == "c" else values).astype(dtype)


def by_scipy(data, filt, mode, strides, multi_channel):
    """A convolution for every image and every pair of channels."""
    axes = filt.ndim - 2 * multi_channel
    strided = tuple(slice(None, None, s) for s in strides or (1,) * axes)
    if not multi_channel:
        filt, data = filt[None, None], np.expand_dims(data, -axes - 1)
    lead, images = data.shape[: -axes - 1], data.reshape(-1, *data.shape[-axes - 1 :])
    outputs = [
        [
            sum(signal.convolve(x, f, mode=mode)[strided] for x, f in zip(image, row, strict=True))
            for row in filt
        ]
        for image in images
    ]
    y = np.array(outputs).reshape(*lead, len(filt), *outputs[0][0].shape)
    return y if multi_channel else y[(..., 0, *(slice(None),) * axes)]


SIZES = {
    1: [(9, 4), (3, 5)],
    2: [((7, 6), (3, 2)), ((2, 3), (4, 3))],
    3: [((5, 4, 6), (2, 3, 1)), ((2, 3, 2), (3, 4, 2))],
}
CASES = [
    (axes, np.atleast_1d(m).tolist(), np.atleast_1d(n).tolist(), mode, strides, multi_channel, lead)
    for axes, sizes in SIZES.items()
    for (m, n), mode, strides, multi_channel, lead in itertools.product(
        sizes, ("full", "valid"), (None, (2,) * axes, (1, 2, 1)[:axes]), (False, True), ((), (2,), (2, 3))
    )
]


DTYPES = ["float64", "complex128", "float32", "complex64"]
# Every case has a real and a complex one, each of the four meets every option.
DRAWN = [(case, DTYPES[k]) for i, case in enumerate(CASES) for k in ((0, 3) if i % 2 else (2, 1))]


@pytest.mark.sample(8)
@pytest.mark.parametrize(("case", "dtype"), DRAWN, ids=str)
def test_values_are_scipys_and_adjoints_are_adjoint(sigpy, case, dtype, backend):
    """To 1e-12 in double precision; half of the sizes have filters larger than the data."""
    _, m, n, mode, strides, multi_channel, lead = case
    data = draw(0, (*lead, *(3,) * multi_channel, *m), dtype)
    filt = draw(1, (*(2, 3) * multi_channel, *n), dtype)
    options = {"mode": mode, "strides": strides, "multi_channel": multi_channel}
    here = {"data": xpconv.asarray(data), "filt": xpconv.asarray(filt)}
    expected = by_scipy(data, filt, **options)
    limit = 1e-12 if np.dtype(dtype).itemsize // (1 + (data.dtype.kind == "c")) == 8 else 1e-5
    found = sigpy.convolve(here["data"], here["filt"], **options)
    assert type(found) is type(here["data"])
    assert str(found.dtype) == dtype
    np.testing.assert_allclose(xpconv.asnumpy(found), expected, rtol=0, atol=limit * np.abs(expected).max())
    y = draw(2, expected.shape, dtype)
    to_data = sigpy.convolve_data_adjoint(xpconv.asarray(y), here["filt"], list(data.shape), **options)
    to_filter = sigpy.convolve_filter_adjoint(xpconv.asarray(y), here["data"], list(filt.shape), **options)
    for x, adjoint in ((data, to_data), (filt, to_filter)):
        assert adjoint.shape == x.shape
        assert str(adjoint.dtype) == dtype
        error = abs(np.vdot(expected, y) - np.vdot(x, xpconv.asnumpy(adjoint)))
        assert error <= limit * np.linalg.norm(expected) * np.linalg.norm(y)


DIRAC = [0.0, 1.0, 0.0]
OWN = [  # function, first array, second array or its shape, mode, strides, multi_channel, result: as SigPy's tests have them
    ("convolve", [DIRAC], np.ones((1, 3)), "valid", None, False, [[1]]),
    ("convolve", [DIRAC], np.ones((1, 2)), "valid", None, False, [[1, 1]]),
    ("convolve", [[DIRAC]], np.ones((2, 1, 1, 3)), "valid", None, True, [[[1]], [[1]]]),
    ("convolve", [[DIRAC]], np.ones((2, 1, 1, 3)), "valid", [1, 2], True, [[[1]], [[1]]]),
    ("convolve", [DIRAC], np.ones((1, 3)), "full", None, False, [[0, 1, 1, 1, 0]]),
    ("convolve", [DIRAC], np.ones((1, 2)), "full", None, False, [[0, 1, 1, 0]]),
    ("convolve", [[DIRAC]], np.ones((2, 1, 1, 3)), "full", None, True, [[[0, 1, 1, 1, 0]]] * 2),
    ("convolve", [[DIRAC]], np.ones((2, 1, 1, 3)), "full", [1, 2], True, [[[0, 1, 0]]] * 2),
    ("data", np.ones((1, 1)), (np.ones((1, 3)), [1, 3]), "valid", None, False, [[1, 1, 1]]),
    ("data", np.ones((1, 2)), (np.ones((1, 2)), [1, 3]), "valid", None, False, [[1, 2, 1]]),
    ("data", np.ones((2, 1, 1)), (np.ones((2, 1, 1, 3)), [1, 1, 3]), "valid", None, True, [[[2, 2, 2]]]),
    ("data", np.ones((2, 1, 1)), (np.ones((2, 1, 1, 3)), [1, 1, 4]), "valid", [1, 2], True, [[[2, 2, 2, 0]]]),
    ("data", np.ones((1, 5)), (np.ones((1, 3)), [1, 3]), "full", None, False, [[3, 3, 3]]),
    ("data", np.ones((1, 4)), (np.ones((1, 2)), [1, 3]), "full", None, False, [[2, 2, 2]]),
    ("data", np.ones((2, 1, 5)), (np.ones((2, 1, 1, 3)), [1, 1, 3]), "full", None, True, [[[6, 6, 6]]]),
    ("data", np.ones((2, 1, 5)), (np.ones((2, 1, 1, 3)), [1, 1, 8]), "full", [1, 2], True, [[[4, 2, 4, 2, 4, 2, 4, 2]]]),
    ("filter", np.ones((1, 1)), (np.ones((1, 3)), [1, 3]), "valid", None, False, [[1, 1, 1]]),
    ("filter", np.ones((1, 2)), (np.ones((1, 3)), [1, 2]), "valid", None, False, [[2, 2]]),
    ("filter", np.ones((2, 1, 1)), (np.ones((1, 1, 3)), [2, 1, 1, 3]), "valid", None, True, np.ones((2, 1, 1, 3))),
    ("filter", np.ones((2, 1, 1)), (np.ones((1, 1, 4)), [2, 1, 1, 3]), "valid", [1, 2], True, np.ones((2, 1, 1, 3))),
    ("filter", np.ones((1, 5)), (np.ones((1, 3)), [1, 3]), "full", None, False, [[3, 3, 3]]),
    ("filter", np.ones((1, 4)), (np.ones((1, 3)), [1, 2]), "full", None, False, [[3, 3]]),
    ("filter", np.ones((2, 1, 5)), (np.ones((1, 1, 3)), [2, 1, 1, 3]), "full", None, True, np.full((2, 1, 1, 3), 3)),
    ("filter", np.ones((2, 1, 3)), (np.ones((1, 1, 3)), [2, 1, 1, 3]), "full", [1, 2], True, [[[[2, 1, 2]]]] * 2),
]  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "complex128"])
def test_sigpys_own_cases(sigpy, dtype, backend):
    for name, first, second, mode, strides, multi_channel, expected in OWN:
        function = getattr(sigpy, "convolve" if name == "convolve" else f"convolve_{name}_adjoint")
        arguments = [first, *(second if isinstance(second, tuple) else (second,))]
        arguments = [a if i == 2 else xpconv.asarray(np.array(a, dtype)) for i, a in enumerate(arguments)]
        found = function(*arguments, mode=mode, strides=strides, multi_channel=multi_channel)
        np.testing.assert_allclose(xpconv.asnumpy(found), expected, atol=1e-5)


def test_a_real_filter_of_complex_data(sigpy):
    """The filter takes the dtype of the data, as in SigPy; a strided or read-only one is as good."""
    data, filt = draw(0, (2, 9), "complex128"), draw(1, (8,), "float32")[::-2]
    filt.flags.writeable = False
    np.testing.assert_allclose(
        sigpy.convolve(data, filt), by_scipy(data, filt, "full", None, False), atol=1e-12
    )


def test_a_complex_filter_of_real_data(sigpy, backend):
    """The imaginary part is kept, in the adjoints too."""
    data, filt = draw(0, (5, 6), "float32"), draw(1, (2, 3), "complex64")
    here = xpconv.asarray(data), xpconv.asarray(filt)
    y = sigpy.convolve(*here)
    np.testing.assert_allclose(
        xpconv.asnumpy(y), by_scipy(data, filt, "full", None, False), rtol=1e-5, atol=1e-5
    )
    back = xpconv.asnumpy(sigpy.convolve_data_adjoint(y.real.copy(), here[1], data.shape))
    expected = sigpy.convolve_data_adjoint(y.real.astype("complex64"), here[1], data.shape)
    np.testing.assert_allclose(back, xpconv.asnumpy(expected), rtol=1e-5)
    assert np.abs(back.imag).max() > 0.1
    of_filter = sigpy.convolve_filter_adjoint(y, here[0], filt.shape)
    assert str(of_filter.dtype) == "complex64"


def test_errors(sigpy):
    data, filt = np.ones((4, 5)), np.ones((2, 6))
    with pytest.raises(ValueError, match="valid: data or filter must be at least as large"):
        sigpy.convolve(data, filt, "valid")
    with pytest.raises(ValueError, match="mode is 'same', expected 'full' or 'valid'"):
        sigpy.convolve(data, filt, "same")
    for shape in ((1, 1, 1, 1), (), (2, 2, 2)):
        with pytest.raises(
            ValueError, match=r"got data of \(4, 5\) and a filter of .*, expected 1 to 3 axes"
        ):
            sigpy.convolve(data, np.ones(shape))
    for strides in ((1, 2), (0,), (1.5,), ((1,), (2,)), "ab"):
        with pytest.raises(ValueError, match=r"strides are .*, expected 1 ints of at least 1"):
            sigpy.convolve(data, filt[0], strides=strides)
    with pytest.raises(ValueError, match="strides are 2, expected 2 ints"):
        sigpy.convolve(data, filt, strides=2)
    with pytest.raises(ValueError, match="data has 4 channels, but the filter is for 3"):
        sigpy.convolve(data, np.ones((2, 3, 2)), multi_channel=True)
    for output in (np.ones((10, 5)), np.ones(50), np.ones((1, 5, 10))):
        with pytest.raises(ValueError, match=r"output has shape .*, expected \(5, 10\)"):
            sigpy.convolve_data_adjoint(output, filt, data.shape)
        with pytest.raises(ValueError, match=r"output has shape .*, expected \(5, 10\)"):
            sigpy.convolve_filter_adjoint(output, data, filt.shape)


def test_the_script_runs(sigpy, capsys):
    assert sigpy.main([]) < 1e-12
    assert "(8, 64, 64) * (12, 8, 6, 6) = (12, 59, 59)" in capsys.readouterr().out
