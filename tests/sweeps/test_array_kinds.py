"""Kinds of arrays that every public layer and loss accepts, and the errors for the others."""

import itertools
import operator
import re

import every
import numpy as np
import pytest

import xpconv

LAYERS = every.all_layers()
LOSSES = {
    name: (lambda name=name, options=options: getattr(xpconv, name)(**options), inputs)
    for name, (options, inputs) in every.LOSSES.items()
}
ALL = LAYERS | LOSSES


class Plain(np.ndarray):
    """A subclass with nothing of its own."""


class Matrix(np.matrix):
    """A subclass of another arithmetic."""


class Units(np.ndarray):
    """A subclass whose arithmetic is its own, as arrays with units have it."""

    def __array_ufunc__(self, *args, **kwargs):
        raise TypeError("metres are no seconds")


def memmap(x, folder):
    out = np.memmap(folder / str(len(list(folder.iterdir()))), dtype=x.dtype, mode="w+", shape=x.shape)
    out[...] = x
    return out


def read_only(x):
    x = x.copy()
    x.flags.writeable = False
    return x


def gapped(x):
    wide = np.zeros((*x.shape, 2), x.dtype)
    wide[..., 0] = x
    return wide[..., 0]


TAKEN = {
    "memmap": memmap,
    "plain subclass": lambda x, _: x.view(Plain),
    "recarray": lambda x, _: x.view(np.recarray),
    "Fortran order": lambda x, _: np.asfortranarray(x),
    "negative strides": lambda x, _: np.flip(np.flip(x).copy()),
    "read-only": lambda x, _: read_only(x),
    "gaps": lambda x, _: gapped(x),
    "channels last": lambda x, _: np.moveaxis(np.moveaxis(x, 1, -1).copy(), -1, 1) if x.ndim > 1 else x,
    "unaligned": lambda x, _: np.frombuffer(b"\0" + x.tobytes(), x.dtype, offset=1).reshape(x.shape),
}


def arrays(value):
    return [a for a in (value if isinstance(value, tuple) else (value,)) if a is not None]


def results(make, inputs, of_kind=np.copy):
    xpconv.manual_seed(0)
    layer = make()
    y = layer(*inputs)
    first = arrays(y)[0]
    g = np.random.default_rng(0).normal(size=first.shape).astype(first.dtype)
    given = g if first.ndim == 0 else of_kind(g)
    dx = layer.backward(given)
    np.testing.assert_array_equal(given, g)
    grads = [p.grad for p in getattr(layer, "parameters", list)()]
    dx = [np.asarray(a) for a in arrays(dx)]  # of grad_output's type where it is a view of it, or 1 · it
    return arrays(y) + dx + grads


@pytest.mark.sample(4)
@pytest.mark.parametrize("key", ALL)
def test_is_taken(key, tmp_path):
    make, inputs = ALL[key]
    expected = results(make, inputs)
    for kind, of_kind in TAKEN.items():
        given = [of_kind(x, tmp_path) for x in inputs]
        got = results(make, given, lambda g, of_kind=of_kind: of_kind(g, tmp_path))
        for a, b in zip(got, expected, strict=True):
            assert isinstance(a, np.generic) or type(a) is np.ndarray, kind
            assert a.dtype == b.dtype, kind
            np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5, err_msg=kind)
        for x, original in zip(given, inputs, strict=True):
            np.testing.assert_array_equal(x, original, err_msg=kind)  # and is left alone


REFUSED = {
    "matrix": (lambda x: x.view(np.matrix), "asarray"),
    "subclass of matrix": (lambda x: x.view(Matrix), "asarray"),
    "masked": (lambda x: np.ma.masked_array(x, x > 0), "filled"),
    "units": (lambda x: x.view(Units), "asarray"),
    "list": (lambda x: x.tolist(), "asarray"),
    "byte-swapped": (lambda x: x.astype(x.dtype.newbyteorder()), "astype"),
    "objects": (lambda x: x.astype(object), "expected (floating|int|numbers|real numbers)"),
}


@pytest.mark.parametrize("key", ALL)
def test_is_refused(key):
    """Each input alone, with what to do; nothing is kept."""
    make, inputs = ALL[key]
    checked = inputs[:2] if key == "CTCLoss" else inputs  # its lengths are whatever has numbers
    for kind, (i, x) in itertools.product(REFUSED, enumerate(checked)):
        other, conversion_hint = REFUSED[kind]
        if "matrix" in kind and x.ndim != 2:
            continue
        if (key, kind) == ("Sequential()", "objects"):
            continue  # nothing is done to them
        given = [*inputs]
        given[i] = other(x)
        layer, refusal = make(), None
        try:
            layer(*given)
        except (xpconv.errors.BackendError, xpconv.errors.DTypeError) as error:
            refusal = str(error)
        assert refusal, f"{kind}: accepted"
        assert re.search(conversion_hint, refusal), f"{kind}: {refusal}"
        assert not layer._finished(), kind


MATRIX = every.f(3, 4)


def loaded(array):
    xpconv.Dense(4, 3).load_state_dict({"weight": array, "bias": np.zeros(3)})


def set_data(array):
    xpconv.Dense(4, 3).weight.data = array


def set_grad(array):
    xpconv.Dense(4, 3).weight.grad = array


def backward(layer, array):
    layer(*[MATRIX] * len(getattr(layer, "names", "x")))
    layer.backward(array)


# Where arrays come in that are no inputs of layers and losses.
DOORS = {
    "get_xp": xpconv.get_xp,
    "get_xp of two": lambda a: xpconv.get_xp(MATRIX, a),
    "Parameter": xpconv.Parameter,
    "Parameter.data": set_data,
    "Parameter.grad": set_grad,
    "Parameter.accumulate": lambda a: xpconv.Dense(4, 3).weight.accumulate(a),
    "Layer.backward": lambda a: backward(xpconv.ReLU(), a),
    "Loss.backward": lambda a: backward(xpconv.MSELoss(reduction="none"), a),
    "weight of a loss": lambda a: xpconv.BCELoss(weight=a),
    "data.batches x": lambda a: xpconv.data.batches(a, MATRIX, 2),
    "data.batches y": lambda a: xpconv.data.batches(MATRIX, a, 2),
    "capture": lambda a: xpconv.cuda.capture(lambda x: x, a),
    "init": xpconv.init.normal_,
}
CONVERTING = {"asarray": xpconv.asarray, "asnumpy": xpconv.asnumpy, "load_state_dict": loaded}


def sparse(x):
    return pytest.importorskip("scipy.sparse").csr_array(x)


@pytest.mark.parametrize("kind", ["matrix", "subclass of matrix", "masked", "units", "sparse"])
@pytest.mark.parametrize("where", [*DOORS, *CONVERTING])
def test_other_doors(where, kind):
    other, conversion_hint = REFUSED.get(kind) or (sparse, "toarray")
    array = other(MATRIX)
    if where in CONVERTING and kind not in ("masked", "sparse"):
        CONVERTING[where](array)  # this is the way out
    else:
        with pytest.raises(TypeError, match="Parameter" if where == "init" else conversion_hint):
            (DOORS | CONVERTING)[where](array)


@pytest.mark.parametrize("kind", TAKEN)
def test_asarray_and_parameters_are_plain(kind, tmp_path):
    given = TAKEN[kind](MATRIX, tmp_path)
    layer = xpconv.Dense(4, 3, bias=False)
    for make in (xpconv.asarray, xpconv.asnumpy, lambda a: xpconv.Parameter(a).data):
        assert type(make(given)) is np.ndarray
        np.testing.assert_array_equal(make(given), MATRIX)
        assert np.shares_memory(make(given), given)
    layer.weight.data = given
    assert type(layer.weight.data) is np.ndarray
    assert type(layer(every.VECTOR)) is np.ndarray
    np.testing.assert_allclose(layer.backward(every.X[:3, :3]), every.X[:3, :3] @ MATRIX, rtol=1e-5)


def test_asarray_takes_what_it_can_convert():
    assert type(xpconv.asarray(MATRIX.view(np.matrix))) is np.ndarray
    swapped = xpconv.asarray(MATRIX.astype(MATRIX.dtype.newbyteorder()))
    assert swapped.dtype == "float32"
    np.testing.assert_array_equal(swapped, MATRIX)
    np.testing.assert_array_equal(xpconv.asarray(MATRIX.astype(object), "float32"), MATRIX)
    for given in (MATRIX.astype(object), None, [1, None], {1: 2}):
        with pytest.raises(TypeError, match=r"asarray: .* Python objects, expected numbers"):
            xpconv.asarray(given)
    with pytest.raises(TypeError, match="Python objects, expected numbers"):
        xpconv.asarray([1, "a", None], "float32")
    with pytest.raises(ValueError, match="list cannot become a NumPy array"):
        xpconv.asarray([[1], [1, 2]])
    with pytest.raises(TypeError, match=r"Dense.load_state_dict: weight: got a masked array.*filled"):
        loaded(np.ma.masked_array(MATRIX))
    with pytest.raises(TypeError, match=r"Parameter: data is >f4|Parameter: data is <f4"):
        xpconv.Parameter(MATRIX.astype(MATRIX.dtype.newbyteorder()))


def of_rank_0(x):
    return np.asarray(x.reshape(-1)[0])


@pytest.mark.parametrize("form", [of_rank_0, lambda x: x.reshape(-1)[0]], ids=["0-d", "scalar"])
@pytest.mark.parametrize("key", ALL)
def test_rank_0(key, form):
    """As one element of an array, or refused."""
    make, inputs = ALL[key]
    xpconv.manual_seed(0)
    layer = make()
    y, said = None, ""
    try:
        y = layer(*map(form, inputs))
    except (ValueError, TypeError) as error:
        said = str(error)
    if y is None:
        assert re.match(r"\w+(\.forward)?: ", said)  # names the layer
        assert not layer._finished()
        return
    dx = layer.backward(np.ones(y.shape, y.dtype))
    if isinstance(layer, xpconv.Embedding) or key.startswith(("Softmax", "LogSoftmax", "Softmin")):
        return  # one index; an axis of one element
    xpconv.manual_seed(0)
    layer = make()
    expected = layer(*(x.reshape(-1)[:1] for x in inputs))
    gradients = layer.backward(np.ones(expected.shape, y.dtype))
    for a, b in zip(arrays(y) + arrays(dx), arrays(expected) + arrays(gradients), strict=True):
        assert a.shape == ()
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b.reshape(-1)[0], rtol=1e-6)


@pytest.mark.parametrize("key", LAYERS)
def test_empty_batch(key, backend):
    """Gives an empty output, an empty gradient, and 0 for what the parameters learn of it; or is refused."""
    make, inputs = LAYERS[key]
    layer = make()
    given = [xpconv.asarray(x[:0]) for x in inputs]
    if inputs[0].shape[0] == 4:  # no batch, but channels, or features
        with pytest.raises(xpconv.errors.ShapeError, match=r"expected|only the batch may be empty"):
            layer(*given)
        return
    y = arrays(layer(*given))
    assert all(a.shape[0] == 0 for a in y)
    dx = arrays(layer.backward(y[0]))
    assert [a.shape for a in dx] == [x.shape for x in given if x.dtype.kind == "f"]
    for parameter in layer.parameters():
        assert not xpconv.asnumpy(parameter.grad).any()


@pytest.mark.parametrize("kind", ["matrix", "masked", "units"])
def test_parameters_take_no_other_arithmetic_in_place(kind):
    make, message = REFUSED[kind]
    weight = xpconv.Dense(3, 2).weight
    before = weight.data.copy()
    changes = [
        lambda v: operator.iadd(weight, v), lambda v: operator.imul(weight, v), lambda v: operator.setitem(weight, ..., v),
        lambda v: operator.setitem(weight, 0, v[0]), lambda v: operator.imatmul(weight, v),
    ]  # fmt: skip
    for change in changes:
        with pytest.raises(TypeError, match=message):
            change(make(np.ones((2, 3), "float32")))
    np.testing.assert_array_equal(weight.data, before)


@pytest.mark.parametrize("kind", ["matrix", "masked"])
def test_buffers_of_another_arithmetic_name_the_layer(kind):
    make, message = REFUSED[kind]
    norm = xpconv.BatchNorm1d(3).eval()
    norm.running_mean = make(np.zeros((1, 3), "float32"))
    with pytest.raises(TypeError, match=rf"BatchNorm1d\.forward: .*{message}"):
        norm(np.ones((2, 3), "float32"))
