"""Sums keep float32's digits: of many numbers, in either order of memory, forward and backward."""

import itertools

import effort
import numpy as np
import pytest
from precision import BOUND, LAYERS, LAYOUTS, NOTHING_SUMMED, compare, error, family, inputs_of, levels

import xpconv
from xpconv import sums

# --- the sums by themselves ------------------------------------------------------------------------------

SHAPES = [(1_000_003,), (3, 333_333), (333_333, 3), (8, 3, 101, 103), (30_011, 2, 3, 2), (2, 70_001, 3)]


@pytest.mark.sample(2)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_total_over_any_axes_in_any_layout(shape, backend):
    x = levels(shape, 0, 0.1)
    layouts = {str(v.strides): v for v in (*(f(x) for f in LAYOUTS.values()), x[..., ::-1])}.values()
    for count in range(1, x.ndim + 1):
        for axes in itertools.combinations(range(x.ndim), count):
            for layout in layouts:
                exact = layout.sum(axis=axes, dtype="float64")
                assert error(sums.total(xpconv.asarray(layout), axes), exact) < 3e-6, (axes, layout.strides)
    kept = sums.sum_over(xpconv.asarray(x), (-1,), keepdims=True)
    assert kept.shape == (*shape[:-1], 1) and kept.dtype == "float32"


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize(
    "shape",
    [
        (10**7,),
        *(pytest.param(s, marks=pytest.mark.slow) for s in ((2, 10**6, 5), (10**6, 10), (10, 10**6))),
    ],
    ids=str,
)
def test_total_of_ten_million(shape, order):
    x = np.full(shape, 0.1, "float32", order)
    x.ravel("K")[::3] = 0.2
    for axes in itertools.chain.from_iterable(itertools.combinations(range(x.ndim), n) for n in (1, x.ndim)):
        assert error(sums.total(x, axes), x.sum(axis=axes, dtype="float64")) < 3e-6


def test_total_of_halves_empty_and_integers():
    assert float(sums.total(np.ones(10**5, "float16"), (0,))) == 1e5
    assert sums.sum_over(np.ones(10**4, "float16"), (0,)).dtype == "float16"
    assert sums.total(np.zeros((0, 3), "float32"), (0,)).tolist() == [0, 0, 0]
    assert sums.total(np.ones((1000, 3), bool), (0,)).tolist() == [1000] * 3
    assert float(sums.total(np.broadcast_to(np.float32(0.1), (10**6, 2)), (0, 1))) == pytest.approx(2e5, 3e-6)


PRODUCTS = [
    (1, 300_000, 1),
    (1, 300_000, 9),
    (9, 300_000, 1),
    (2, 300_000, 5),
    (40, 40_000, 60),
    (3000, 5000, 1),
]


@pytest.mark.sample(3)
@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(("m", "length", "n"), PRODUCTS)
def test_long_products(m, length, n, turned):
    a, b = levels((m, length), 0, 0.1), levels((length, n), 1, 1.0)
    if turned:
        a, b = np.asfortranarray(a), np.asfortranarray(b)
    layer = xpconv.Dense(length, n, bias=False)
    with xpconv.no_grad():
        layer.weight.data = b.T
        assert error(layer(a), a.astype("float64") @ b.astype("float64")) < BOUND


# --- layers ----------------------------------------------------------------------------------------------

PRODUCTS_ONLY = ("Dense", "Bilinear", "Conv", "Separable", "GlobalAvg", "AdaptiveAvg")


@pytest.mark.sample(12)
@pytest.mark.parametrize("case", LAYERS)
def test_layers_on_large_inputs(case, backend):
    make, *shapes = LAYERS[case]
    layouts = ["C", "F"] if len(shapes[0]) < 3 else LAYOUTS  # of which the last is then the same as C
    if backend == "double":  # `test_strides.py` has all layouts of its kernels, whose loops are slow on a CPU
        layouts = ["C"]
    if backend == "double" and case.startswith(PRODUCTS_ONLY) and "depthwise" not in case:
        pytest.skip("its sums are cuBLAS's, for which the double has NumPy's product")
    if not effort.thorough:  # `test_total_over_any_axes_in_any_layout` has all layouts
        layouts = ["C", "channels last"] if layouts is LAYOUTS and backend == "numpy" else ["C"]
    compare(make, inputs_of(case, shapes), layouts, backend)


def test_every_family_of_layers_that_sums_is_among_them():
    listed = {family(case.split()[0].rstrip(",")) for case in LAYERS}
    classes = [value for value in vars(xpconv).values() if isinstance(value, type)]
    public = {family(layer.__name__) for layer in classes if issubclass(layer, xpconv.Layer)}
    others = " ".join(NOTHING_SUMMED.values()).split()
    assert not listed & {*others}
    odd = public ^ {*listed, *others}
    assert not odd, (
        f"tests/helpers/precision.py: neither LAYERS nor NOTHING_SUMMED has {odd}, or there is no such layer"
    )
