"""Operators in a `Graph`: in one pass with a ReLU, on the host beside a device, and with wrong inputs."""

import double
import numpy as np
import pytest
from operator_cases import CASES

import xpconv
from xpconv import Conv2d, Graph, ReLU, no_grad
from xpconv.layers import operators as ops

RNG = np.random.default_rng(2)
X = RNG.normal(size=(2, 4, 5, 5)).astype("float32")


@pytest.mark.parametrize("shape", [(2, 4, 5, 5), (4, 1, 1)])
def test_add_with_relu(shape, backend):
    graph = Graph({"sum": (ops.Add(), "a", "b"), "relu": (ReLU(), "sum")}, ["a", "b"], "relu")
    a, b = xpconv.asarray(X), xpconv.asarray(RNG.normal(size=shape).astype("float32"))
    y = graph(a, b)
    assert len(graph._steps().steps) == 1
    np.testing.assert_array_equal(xpconv.asnumpy(y), np.maximum(X + xpconv.asnumpy(b), 0))
    da, db = graph.backward(xpconv.asarray(X))
    grad = np.where(xpconv.asnumpy(y) > 0, X, 0)
    np.testing.assert_allclose(xpconv.asnumpy(da), grad)
    rest = grad if shape == X.shape else grad.sum((0, 2, 3)).reshape(shape)
    np.testing.assert_allclose(xpconv.asnumpy(db), rest, rtol=1e-5, atol=1e-6)


def sized():
    """`(N, C, H, W)` to `(N, C H W)`, with sizes computed on the host."""
    return Graph(
        {
            "conv": (Conv2d(4, 6, 3, rng=0), "x"),
            "shape": (ops.Shape(), "conv"),
            "batch": (ops.Slice((0,), (1,)), "shape"),
            "rest": (ops.Slice((1,), (4,)), "shape"),
            "flat": (ops.ReduceSum(keepdims=True), "one"),
            "one": (ops.Sub(), "rest", "rest"),
            "minus": (ops.Sub(), "flat", "batch"),
            "less": (ops.Sub(), "minus", "flat"),
            "size": (ops.Div(), "less", "batch"),
            "sizes": (ops.Concatenate(0), "batch", "size"),
            "y": (ops.Reshape(inputs=("shape",)), "conv", "sizes"),
        },
        "x",
        "y",
    )


def test_sizes_of_the_host_do_not_wait_for_a_device():
    graph = sized()
    expected = graph(X)
    grad = graph.backward(expected)
    with xpconv.use_backend("double"):
        graph = sized().to("double")
        x = xpconv.asarray(X)
        graph.backward(graph(x))
        with double.count_syncs() as counter:
            y = graph(x)
            dx = graph.backward(y)
        assert (counter.n, counter.copies) == (0, 0)
    np.testing.assert_allclose(xpconv.asnumpy(y), expected, rtol=1e-5)
    np.testing.assert_allclose(xpconv.asnumpy(dx), grad, rtol=1e-4, atol=1e-5)


def test_host_arrays_meet_those_of_a_device():
    with xpconv.use_backend("double"):
        x = xpconv.asarray(X)
        for layer, other in (
            (ops.Gather(1), np.array([2, 0])),
            (ops.Mul(), np.full((5,), 2, "float32")),
            (ops.Pow(), np.array(2)),
            (ops.Clip(bounds=("low",)), np.array(0.5, "float32")),
        ):
            y = layer(x, other)
            assert type(y) is type(x)
            assert layer.backward(y)[0].shape == x.shape
        with no_grad(), double.count_syncs() as counter:
            ops.Gather(1)(x, np.array([2, 0]))
        assert counter.copies == 0  # as the same positions are there


WRONG = {
    "shapes": (ops.MatMul(), (X, X[:, :, :3]), "MatMul.forward: shapes"),
    "product": (ops.Gemm(), (X[0, 0], X[0, 0, :3]), "Gemm.forward: shapes"),
    "size": (ops.Reshape((3, -1)), (X[:1, :1, :2, :5],), "Reshape.forward: x has shape"),
    "zero": (ops.Reshape((1, 2, 0)), (X[0, 0],), "copies no size"),
    "axis": (ops.ReduceSum((4,)), (X,), "axis 4 is none of an array of 4 axes"),
    "twice": (ops.ReduceSum((0, -4)), (X,), "name an axis twice"),
    "squeeze": (ops.Squeeze((0,)), (X,), "not all of size 1"),
    "order": (ops.Transpose((0, 1)), (X,), "expected 2 axes"),
    "expand": (ops.Expand((3,)), (X,), "which does not fit"),
    "concatenate": (ops.Concatenate(0), (X, X[:, :2]), "differ along other axes than 0"),
    "step": (ops.Slice((0,), (1,), steps=(0,)), (X,), "do not fit each other"),
    "split": (ops.SplitPart(0, sizes=(1, 3)), (X,), "cannot be split into"),
    "position": (ops.Gather(), (X, np.array([5])), "lacks positions along axis 0"),
    "pads": (ops.Pad(pads=(1, 2)), (X,), "expected 8 for the axes"),
    "reflection": (ops.Pad("reflect", (5, 0), (2,)), (X,), "too small for"),
    "crop": (ops.Pad(pads=(-3, -3), axes=(2,)), (X,), "too small for"),
    "channels": (ops.Conv(), (X, X[:, :3]), "which do not fit"),
    "rank": (ops.MaxPool((2,)), (X,), "expected 1 spatial axes"),
    "window": (ops.AveragePool((7, 7)), (X,), "smaller than the kernel"),
    "strides": (ops.Conv((2,)), (X, X), "1 strides"),
    "transposed": (ops.ConvTranspose(pads=(9, 9, 9, 9)), (X, X[0, :, None]), "too small for padding"),
    "larger": (ops.ConvTranspose(output_shape=(10, 10)), (X, X[0, :, None]), "whose output is at most"),
    "groups": (ops.GroupNormalization(3), (X, X[0, :, 0, 0], X[0, :, 0, 0]), "3 groups"),
    "scale": (ops.BatchNormalization(), (X, *[X[0, :3, 0, 0]] * 4), "a parameter"),
    "sizes": (ops.Resize(scales=(2, 2)), (X,), "does not fit sizes"),
    "room": (
        ops.Resize(inputs=("sizes",)),
        (X, np.array([2, 4, 10**12, 10**12])),
        "Resize.forward: an output",
    ),
    "integers": (ops.Resize("linear", scales=(1, 1, 2, 2)), (X.astype("int64"),), "expected floating point"),
    "blocks": (ops.DepthToSpace(3), (X,), "C a multiple of 9"),
    "depth": (ops.SpaceToDepth(2), (X,), "multiples of 2"),
    "numbers": (ops.Reshape(inputs=("shape",)), (X, X), "expected numbers of shape"),
    "no input": (ops.Sum(), (), "expected at least one input"),
    "dtypes": (ops.Add(), (X, X.astype("float64")), "float32 and float64, expected one dtype"),
    "broadcast": (ops.Mul(), (X, X[:, :3]), "Mul.forward: inputs of shape"),
    "one input": (ops.Mul(), (X,), "Mul.forward: got 1 arrays, expected a, b"),
    "three inputs": (ops.Add(), (X, X, X), "Add.forward: got 3 arrays, expected a, b$"),
    "no pads": (ops.Pad(inputs=("pads",)), (X,), "expected at least one input"),
    "array": (ops.Add(), (X, 3.0), "Add.forward: input 1"),
    "negative sizes": (ops.ConstantOfShape(0, "float32"), (np.array([2, -1]),), "the sizes are"),
    "huge sizes": (
        ops.ConstantOfShape(0, "float32"),
        (np.array([2**40, 4]),),
        "ConstantOfShape.forward: an output",
    ),
    "endless range": (
        ops.Range(),
        tuple(np.float32([0, np.inf, 1])),
        "Range.forward: start, limit and delta",
    ),
    "range of nothing": (ops.Range(), tuple(np.float32([0, 1, 0])), "delta not 0"),
    "huge range": (ops.Range(), tuple(np.array([0, 2**62, 1])), "Range.forward: an output"),
    "range of rows": (ops.Range(), (X, X, X), "expected one number each"),
    "k": (ops.TopK(1, k=(5,)), (X,), "TopK.forward: x has shape"),
    "k of numbers": (ops.TopK(inputs=("k",)), (X, np.array([1, 2])), "TopK.forward: x has shape"),
    "axis of TopK": (ops.TopK(4, k=(1,)), (X,), "TopK.forward: axis 4"),
    "axis of CumSum": (ops.CumSum((4,)), (X,), "CumSum.forward: axis 4"),
    "index": (ops.GatherElements(1), (X, np.full((2, 4, 5, 5), 4)), "lacks positions"),
    "indices": (
        ops.GatherElements(1),
        (X, np.zeros((3, 4, 5, 5), "int64")),
        "GatherElements.forward: x has shape",
    ),
    "tuples": (ops.GatherND(), (X, np.zeros((2, 5), "int64")), "GatherND.forward: x has shape"),
    "batches": (ops.GatherND(1), (X, np.zeros((3, 1), "int64")), "GatherND.forward: x has shape"),
    "updates": (ops.ScatterND(), (X, np.zeros((1, 1), "int64"), X), "updates have shape"),
    "scattered": (ops.ScatterElements(), (X[0, 0], np.full((1, 5), 5), X[0, 0, :1]), "an index lies outside"),
    "depth of OneHot": (ops.OneHot(depth=(0,)), (np.array([1]), np.array([0, 1])), "OneHot.forward: depth"),
    "values of OneHot": (ops.OneHot(depth=(2,)), (np.array([1]), np.array([0])), "OneHot.forward: depth"),
    "triangle": (ops.Trilu(), (X[0, 0, 0],), "Trilu.forward: x has shape"),
    "eye": (ops.EyeLike(), (X,), "expected a matrix"),
    "letters": (ops.Einsum("ii->i"), (X[0, 0],), "Einsum.forward: inputs have"),
    "letters of the output": (ops.Einsum("ij->k"), (X[0, 0],), "letters that no input has"),
    "operands": (ops.Einsum("ij,jk"), (X[0, 0],), "Einsum.forward: inputs have"),
    "sizes of Einsum": (ops.Einsum("ij,jk"), (X[0, 0], X[0, 0, :3]), "Einsum.forward: inputs of shape"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_inputs(name):
    layer, inputs, text = WRONG[name]
    with pytest.raises((ValueError, TypeError), match=text):
        layer(*inputs)


@pytest.mark.parametrize("name", CASES)
def test_modes(name):
    layer = CASES[name][0]()
    assert (
        layer.training and not layer.eval().training and layer.train().training and not layer.eval().training
    )


@pytest.mark.parametrize("name", CASES)
def test_nothing_waits_for_a_device(name):
    """The first call may copy tables of the host; later ones copy nothing and wait for nothing."""
    make, inputs, _ = CASES[name]
    with xpconv.use_backend("double"):
        layer = make()
        first = len(inputs) - len(getattr(layer, "inputs", ()))
        arrays = [xpconv.asarray(x) if i < first else x for i, x in enumerate(inputs)]
        layer.backward(layer(*arrays))
        with double.count_syncs() as counter:
            layer.backward(layer(*arrays))
    assert (counter.n, counter.copies) == (0, 0)
