"""What the reader makes of single nodes: errors, dtypes of inputs, what trains."""

import numpy as np
import pytest

import xpconv

onnx = pytest.importorskip("onnx")
import onnxed
from onnx import TensorProto, helper


def graph_of(path, nodes, inputs, outputs, arrays=(), opset=13):
    graph = helper.make_graph(nodes, "g", inputs, outputs, list(arrays))
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8), path)
    return path


def info(name, shape, kind=TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, kind, shape)


@pytest.mark.parametrize("equation", ["....a", "...a...", "a....", "a...->b...c..."])
def test_a_bad_equation_is_refused(equation, tmp_path):
    node = helper.make_node("Einsum", ["x"], ["y"], equation=equation)
    path = graph_of(tmp_path / "m.onnx", [node], [info("x", [2, 3])], [info("y", None)])
    with pytest.raises(xpconv.errors.OperatorError, match=r"'y' .Einsum."):
        xpconv.onnx.load(path)


def test_integer_inputs_keep_their_dtype(tmp_path):
    node = helper.make_node("Gather", ["w", "i"], ["y"])
    table = onnx.numpy_helper.from_array(np.eye(4, 3, dtype="float32"), "w")
    path = graph_of(
        tmp_path / "m.onnx",
        [node],
        [info("i", ["N", 2], TensorProto.INT64)],
        [info("y", ["N", 2, 3])],
        [table],
    )
    graph = xpconv.onnx.load(path)
    xpconv.onnx.export(graph, tmp_path / "again.onnx", (2,))
    (given,) = onnx.load(tmp_path / "again.onnx").graph.input
    assert given.type.tensor_type.elem_type == TensorProto.INT64


def test_values_of_one_hot_do_not_train(tmp_path):
    node = helper.make_node("OneHot", ["i", "d", "v"], ["y"])
    arrays = [
        onnx.numpy_helper.from_array(np.array(3), "d"),
        onnx.numpy_helper.from_array(np.array([0, 1], "float32"), "v"),
    ]
    path = graph_of(
        tmp_path / "m.onnx", [node], [info("i", ["N"], TensorProto.INT64)], [info("y", ["N", 3])], arrays
    )
    assert not list(xpconv.onnx.load(path).parameters())


def test_training_mode_warns(tmp_path):
    node = helper.make_node("BatchNormalization", list("xabcd"), ["y", "m", "v"], training_mode=1)
    arrays = [onnx.numpy_helper.from_array(np.ones(3, "float32"), name) for name in "abcd"]
    path = graph_of(
        tmp_path / "m.onnx", [node], [info("x", ["N", 3, 4, 4])], [info("y", ["N", 3, 4, 4])], arrays, 15
    )
    with pytest.warns(UserWarning, match="exported in training mode: .*'y'.*again in eval mode") as caught:
        graph = xpconv.onnx.load(path)
    assert caught[0].filename == __file__
    for opset in (13, 18):
        x = np.random.default_rng(0).normal(2, 3, size=(5, 3, 4, 4)).astype("float32")
        xpconv.onnx.export(graph, tmp_path / "again.onnx", (3, 4, 4), opset)
        onnxed.same(onnxed.inferred(graph, x), onnxed.run(tmp_path / "again.onnx", x))
        onnxed.same(onnxed.inferred(xpconv.onnx.load(tmp_path / "again.onnx"), x), onnxed.inferred(graph, x))


def test_an_unknown_and_a_missing_operator(tmp_path):
    nodes = [helper.make_node("LSTM", ["x", "w", "r"], ["h"], hidden_size=2)]
    path = graph_of(tmp_path / "m.onnx", nodes, [info(n, [1, 2, 3]) for n in "xwr"], [info("h", None)])
    with pytest.raises(xpconv.errors.OperatorError, match="xpconv has no LSTM"):
        xpconv.onnx.load(path)


@pytest.mark.parametrize(
    ("equation", "a", "b"),
    [
        ("ij,jk->ik", (2, 1), (3, 4)),
        ("ij,ij->", (2, 1), (2, 3)),
        ("ij,ij->ij", (1, 3), (2, 1)),
        ("i,i->", (1,), (3,)),
    ],
)
def test_einsum_broadcasts_backward_too(equation, a, b):
    layer = xpconv.layers.operators.Einsum(equation)
    rng = np.random.default_rng(0)
    given = [rng.normal(size=shape) for shape in (a, b)]
    y = np.asarray(layer(*given))
    grad = rng.normal(size=y.shape)
    for i, found in enumerate(layer.backward(grad)):
        expected = np.zeros_like(given[i])
        for place in np.ndindex(expected.shape):
            moved = [x.copy() for x in given]
            moved[i][place] += 1
            expected[place] = ((np.einsum(equation, *moved) - y) * grad).sum()
        np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)


def test_sizes_from_scales_are_those_of_onnxruntime():
    layer = xpconv.layers.operators.Resize(scales=(1.0, 1.0, float(np.float32(2.6))))
    assert layer(np.ones((1, 1, 5), "float32")).shape == (1, 1, 13)
