"""`Parameter` can be used as its array, and accepts only arrays that fit."""

import copy
import operator
import pickle
import re

import numpy as np
import pytest

import xpconv
from xpconv import Parameter
from xpconv.arraylike import ELSEWHERE
from xpconv.errors import BackendError, DTypeError, ShapeError

HOST = np.random.default_rng(0).normal(size=(3, 4)).astype("float32")
OTHER = np.random.default_rng(1).uniform(0.5, 2, size=(3, 4)).astype("float32")
ARITHMETIC = [
    operator.add, operator.sub, operator.mul, operator.truediv, operator.floordiv, operator.mod, operator.pow
]  # fmt: skip
IN_PLACE = [
    operator.iadd, operator.isub, operator.imul, operator.itruediv, operator.ifloordiv, operator.imod, operator.ipow
]  # fmt: skip
COMPARISONS = [operator.lt, operator.le, operator.gt, operator.ge]


@pytest.fixture
def p(backend):
    return Parameter(xpconv.asarray(abs(HOST) + 0.25), "weight")


def same(got, expected, backend):
    """An array of the backend (or what NumPy makes of 0-d ones), with these values; a device rounds powers otherwise."""
    assert xpconv.backend.backend_of(got).name == backend
    got = xpconv.asnumpy(got)
    assert got.dtype == expected.dtype
    np.testing.assert_allclose(got, expected, rtol=1e-6 if backend == "cupy" else 0)


@pytest.mark.parametrize("function", [*ARITHMETIC, *COMPARISONS], ids=lambda f: f.__name__)
def test_arithmetic_with_arrays_numbers_and_parameters(function, p, backend):
    host, there = xpconv.asnumpy(p), xpconv.asarray(OTHER)
    same(function(p, there), function(host, OTHER), backend)
    same(function(there, p), function(OTHER, host), backend)
    same(function(p, 2), function(host, 2), backend)
    same(function(2.5, p), function(2.5, host), backend)
    same(function(p, Parameter(there)), function(host, OTHER), backend)
    same(function(p[0], p), function(host[0], host), backend)


@pytest.mark.parametrize("function", IN_PLACE, ids=lambda f: f.__name__)
def test_arithmetic_in_place_stays_in_the_parameter(function, p, backend):
    host, data, before = xpconv.asnumpy(p).copy(), p.data, p
    there = xpconv.asarray(OTHER)
    for other, plain in ((there, OTHER), (2, 2), (Parameter(there), OTHER)):
        p = function(p, other)
        host = function(host, plain)
    assert p is before
    assert p.data is data
    same(p.data, host, backend)


def test_in_place_on_an_attribute_of_a_layer(backend):
    layer = xpconv.Dense(3, 2, rng=0)
    weight, expected = layer.weight, xpconv.asnumpy(layer.weight) + 1
    layer.weight += 1
    layer.weight[0] = 0.5
    expected[0] = 0.5
    assert layer.weight is weight
    same(layer.weight.data, expected, backend)
    with pytest.raises(TypeError, match="weight is a Parameter and was set to"):
        layer.weight = layer.weight * 2


def test_matrix_products(p, backend):
    host, there = xpconv.asnumpy(p), xpconv.asarray(OTHER)
    for got, expected in (
        (p @ there.T, host @ OTHER.T),
        (there.T @ (p.data if backend == "cupy" else p), OTHER.T @ host),
        (p @ p.T, host @ host.T),
    ):
        np.testing.assert_allclose(xpconv.asnumpy(got), expected, rtol=1e-6)
    square = Parameter(xpconv.asarray(OTHER[:, :3].copy()))
    before = square
    square @= square.data.copy()
    assert square is before
    np.testing.assert_allclose(xpconv.asnumpy(square), OTHER[:, :3] @ OTHER[:, :3], rtol=1e-6)
    with pytest.raises(ShapeError, match="@= other gives shape"):
        square @= xpconv.asarray(OTHER[:, :1])


def test_arrays_change_in_place_by_parameters(p, backend):
    there = xpconv.asarray(OTHER.copy())
    before = there
    there += p
    assert there is before
    same(there, OTHER + xpconv.asnumpy(p), backend)


def test_indexing_iteration_and_length(p, backend):
    host = xpconv.asnumpy(p)
    assert len(p) == 3
    same(p[1], host[1], backend)
    same(p[:, 1:3], host[:, 1:3], backend)
    same(p[p > 0.5], host[host > 0.5], backend)
    for row, expected in zip(p, host, strict=True):
        same(row, expected, backend)
    with pytest.raises(TypeError):
        len(Parameter(xpconv.asarray(np.float64(1.0))))
    p[0, 1] = 7
    p[1:, :2] = xpconv.asarray(OTHER[1:, :2])
    p[2] = Parameter(xpconv.asarray(OTHER[2]))
    host = host.copy()
    host[0, 1] = 7
    host[1:, :2] = OTHER[1:, :2]
    host[2] = OTHER[2]
    same(p.data, host, backend)
    assert 7 in p
    assert -1 not in p


@pytest.mark.parametrize(
    "name", ["mean", "sum", "min", "max", "std", "var", "prod", "argmax", "ravel", "copy"]
)
def test_methods(name, p, backend):
    got, expected = getattr(p, name)(), getattr(xpconv.asnumpy(p), name)()
    np.testing.assert_allclose(xpconv.asnumpy(got), expected, rtol=1e-6)


def test_attributes(p, backend):
    host = xpconv.asnumpy(p)
    same(p.T, host.T, backend)
    assert (p.shape, p.ndim, p.size, p.dtype, p.nbytes) == ((3, 4), 2, 12, "float32", 48)
    assert p.astype("float64").dtype == "float64"
    same(p.sum(axis=0, keepdims=True), host.sum(axis=0, keepdims=True), backend)
    same(-p, -host, backend)
    same(abs(-p), host, backend)
    same(+p, host, backend)
    duplicate = p.copy()
    duplicate[...] = 0
    assert p.any()
    one = Parameter(xpconv.asarray([[2.5]]))
    assert float(one) == 2.5
    assert int(one) == 2
    assert one.item() == 2.5
    with pytest.raises((TypeError, ValueError)):
        float(p)
    with pytest.raises(AttributeError, match="wieght"):
        p.wieght  # noqa: B018
    with pytest.raises(AttributeError):
        p.requires_gard = False


def test_it_is_compared_hashed_and_asked_as_an_object(p, backend):
    q = Parameter(p.data)
    assert p == p
    assert p != q
    assert [q, p].index(p) == 1
    assert {p: 1}[p] == 1
    assert len({p, q}) == 2
    parameters = [p, q]
    parameters.remove(q)
    assert parameters == [p]
    with pytest.raises(ValueError, match="is not None"):
        bool(p)


def test_numpy_reads_it(backend):
    p = Parameter(xpconv.asarray(HOST.copy()))
    if backend == "numpy":
        assert np.asarray(p) is p.data
        assert np.array(p) is not p.data
        assert np.array(p, copy=None) is p.data
        assert np.array(p, copy=False) is p.data
        assert np.asarray(p, dtype="float64").dtype == "float64"
        with pytest.raises(ValueError, match="copy"):
            np.array(p, dtype="float64", copy=False)
        np.testing.assert_array_equal(np.exp(p), np.exp(HOST))
        np.testing.assert_array_equal(np.concatenate([p, p]), np.concatenate([HOST, HOST]))
        np.testing.assert_allclose(np.linalg.norm(p), np.linalg.norm(HOST), rtol=1e-6)
        np.add(p, 1, out=p)
        np.testing.assert_array_equal(p, HOST + 1)
        np.testing.assert_array_equal(np.add.reduce(p), (HOST + 1).sum(axis=0))
        assert np.from_dlpack(p).base is not None
    else:
        for read in (np.asarray, np.array, lambda p: np.asarray(p, "float64"), lambda p: np.ones((3, 4)) * p):
            with pytest.raises(TypeError):
                read(p)
        xp = xpconv.get_xp(p.data)
        same(xp.exp(p), xpconv.asnumpy(xp.exp(p.data)), backend)


def test_asnumpy_and_asarray_take_it(backend):
    p = Parameter(xpconv.asarray(HOST))
    np.testing.assert_array_equal(xpconv.asnumpy(p), HOST)
    assert xpconv.asarray(p) is p.data
    assert xpconv.asarray(p, "float64").dtype == "float64"
    same(xpconv.asarray(p, backend="numpy"), HOST, "numpy")


def test_pytorch_reads_it_without_a_copy():
    torch = pytest.importorskip("torch")
    p = Parameter(HOST.copy())
    tensor = torch.as_tensor(p)
    p += 1
    np.testing.assert_array_equal(tensor.numpy(), HOST + 1)


def test_matplotlib_shows_it():
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    weight = xpconv.Dense(6, 5, rng=0).weight
    figure, axes = plt.subplots(5)
    image = axes[0].imshow(weight)
    np.testing.assert_array_equal(image.get_array(), weight.data)
    counts, _, _ = axes[1].hist(weight)
    assert np.sum(counts) == 30
    axes[2].plot(weight)
    axes[3].scatter(weight[0], weight[1])
    axes[4].pcolormesh(weight)
    plt.close(figure)


# --- what it takes -----------------------------------------------------------------------------------------


class Tensor:
    shape, dtype = (3, 4), "torch.float32"


@pytest.mark.parametrize(
    ("value", "error"),
    [
        ([1.0], BackendError),
        (Tensor(), BackendError),
        (3.0, BackendError),
        ("x", BackendError),
        (HOST[0], ShapeError),
        (HOST[None], ShapeError),
        (HOST.T, ShapeError),
        (np.float32(1), ShapeError),
        (HOST.astype("float64"), DTypeError),
        (HOST.astype("float16"), DTypeError),
        (HOST.astype("int32"), DTypeError),
    ],
    ids=lambda v: type(v).__name__ + str(getattr(v, "shape", "")) + str(getattr(v, "dtype", "")),
)
def test_a_gradient_that_does_not_fit_is_refused_where_it_is_set(value, error, backend):
    if isinstance(value, np.ndarray | np.generic):
        value = xpconv.asarray(np.array(value))
    for first in (None, xpconv.asarray(OTHER.copy())):
        p = Parameter(xpconv.asarray(HOST), "weight")
        p.grad = first
        for give in (lambda p=p: setattr(p, "grad", value), lambda p=p: p.accumulate(value)):
            with pytest.raises(error, match="Parameter 'weight': "):
                give()
            assert p.grad is first
        if first is not None:
            same(first, OTHER, backend)


def test_a_tensor_is_no_gradient():
    torch = pytest.importorskip("torch")
    layer = xpconv.Dense(4, 3)
    for set_to in (lambda t: setattr(layer.weight, "grad", t), lambda t: setattr(layer.weight, "data", t)):
        with pytest.raises(BackendError, match=r"xpconv\.asarray"):
            set_to(torch.zeros(3, 4))


def test_a_gradient_of_another_backend_is_refused():
    double = pytest.importorskip("double").xp
    p = Parameter(HOST, "weight")
    with pytest.raises(BackendError, match="grad is on double, but data on numpy"):
        p.grad = double.asarray(HOST)
    p.grad = OTHER.copy()
    with pytest.raises(BackendError, match="data is on double, but grad on numpy"):
        p.data = double.asarray(HOST)
    assert p.data is HOST
    p.grad = None
    p.data = double.asarray(HOST)


def test_narrow_parameters_may_have_wide_gradients(backend):
    """As the optimizers hold them."""
    p = Parameter(xpconv.asarray(HOST, "float16"))
    p.grad = xpconv.asarray(HOST)
    p.accumulate(xpconv.asarray(OTHER, "float16"))
    assert p.grad.dtype == "float32"


@pytest.mark.parametrize(
    "value", [[1.0], None, 3.0, Tensor(), HOST.astype("int64"), HOST.astype(complex), HOST > 0]
)
def test_data_is_a_floating_array(value, backend):
    if isinstance(value, np.ndarray):
        value = xpconv.asarray(value)
    with pytest.raises(TypeError, match="Parameter: data"):
        Parameter(value)
    p = Parameter(xpconv.asarray(HOST), "weight")
    data = p.data
    with pytest.raises(TypeError, match="Parameter 'weight': data"):
        p.data = value
    assert p.data is data


def test_data_keeps_its_shape(backend):
    p = Parameter(xpconv.asarray(HOST), "weight")
    for shape in [(), (4,), (1, 3, 4), (12,), (4, 3)]:
        with pytest.raises(ShapeError, match=r"expected \(3, 4\)"):
            p.data = xpconv.asarray(np.zeros(shape, "float32"))
    p.data = xpconv.asarray(HOST, "float64")
    assert p.dtype == "float64"


def test_numbers_of_numpy_become_arrays():
    """What its arithmetic makes of 0-d arrays could not be changed in place."""
    p = Parameter(np.float64(3.0))
    p.data = p.data * 2
    p += 1
    p.grad = np.float64(2)
    p.accumulate(np.float64(2))
    assert isinstance(p.data, np.ndarray)
    assert (float(p), float(p.grad)) == (7.0, 4.0)


def test_sums_to_a_number_accumulate(backend):
    """NumPy's sum over all is no array; kept as it is, it would be replaced instead of added to."""
    p = Parameter(xpconv.asarray(np.zeros(())), "scale")
    for _ in range(3):
        p.accumulate(xpconv.asarray(np.ones(4)).sum())
    held = p.grad
    p.accumulate(xpconv.asarray(np.ones(4)).sum())
    assert p.grad is held
    assert float(held) == 16.0


def test_copies(backend):
    p = Parameter(xpconv.asarray(HOST), "weight", requires_grad=False)
    p.grad = xpconv.asarray(OTHER)
    for q in (copy.deepcopy(p), pickle.loads(pickle.dumps(p))):  # noqa: S301
        assert (q.name, q.requires_grad) == ("weight", False)
        same(q.data, HOST, backend)
        same(q.grad, OTHER, backend)
    assert copy.copy(p).data is p.data
    old = Parameter.__new__(Parameter)
    old.__setstate__((None, {"data": p.data, "grad": None, "name": "weight"}))  # before there was a flag
    assert old.requires_grad


def test_a_layer_has_no_flag_of_its_own():
    """PyTorch takes it without a word, and nothing is frozen."""
    layer = xpconv.Dense(2, 2)
    with pytest.raises(AttributeError, match=r"requires_grad_\(False\)"):
        layer.requires_grad = False
    assert layer.weight.requires_grad_(False) is layer.weight
    assert not layer.weight.requires_grad


def test_pytorchs_names_say_what_to_use_here(backend):
    """Every name that an array does not have; what the hints name works."""
    p = Parameter(xpconv.asarray(np.ones((2, 3), "float32")))
    for name, way in {
        "numel": "p.size", "detach": "p.data", "clone": "p.data.copy()", "numpy": "xpconv.asnumpy(p)",
        "fill_": "p[...] = value", "copy_": "p[...] = array", "dim": "p.ndim", "zero_": "p[...] = 0",
    }.items():  # fmt: skip
        with pytest.raises(
            AttributeError, match=re.escape(f"'Parameter' object has no attribute '{name}'; use {way}")
        ):
            getattr(p, name)
    for name in ELSEWHERE:
        assert not hasattr(p, name)
        assert not hasattr(p.data, name)
    with pytest.raises(TypeError, match=r"Parameter: view takes a dtype; use p\.reshape\(-1\)"):
        p.view(-1)
    with pytest.raises(TypeError, match=r"use p\.reshape\(\(3, 2\)\)"):
        p.view((3, 2))
    with pytest.raises(TypeError, match=r"use p\.reshape\(3, 2\)"):
        p.view(3, np.int64(2))
    assert p.view("int32").dtype == "int32"


def test_pytorchs_hints_for_parameters_that_pytorch_has():
    torch = pytest.importorskip("torch")
    assert all(hasattr(torch.nn.Parameter(torch.ones(2)), name) for name in ELSEWHERE)
