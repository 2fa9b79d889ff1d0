"""What the reader makes of single nodes: errors, dtypes of inputs, what trains."""

from contextlib import suppress

import numpy as np
import pytest

import xpconv

onnx = pytest.importorskip("onnx")
import onnxed
from onnx import TensorProto, helper
from onnx_cases import CASES
from onnx_models import model


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


@pytest.mark.parametrize("auto", ["SAME_UPPER", "SAME_LOWER"])
@pytest.mark.parametrize("extra", [[0, 0], [1, 0], [1, 2]])
@pytest.mark.parametrize("stride", [[2, 3], [4, 3]])
def test_transposed_convolution_with_automatic_padding(stride, extra, auto, tmp_path):
    """ONNX's shape inference adds `output_padding` to the sizes of SAME; onnxruntime and the layer do not."""
    options = {"strides": stride, "output_padding": extra, "auto_pad": auto}
    weight = np.random.default_rng(0).normal(size=(2, 3, 4, 3)).astype("float32")
    made = [helper.make_node("ConvTranspose", ["x", "w"], ["y"], **options)]
    arrays, y = [onnx.numpy_helper.from_array(weight, "w")], onnx.ValueInfoProto(name="y")
    path = graph_of(tmp_path / "m.onnx", made, [info("x", ["N", 2, 5, 4])], [y], arrays)
    x = np.random.default_rng(1).normal(size=(7, 2, 5, 4)).astype("float32")
    graph = xpconv.onnx.load(path)
    onnxed.same(onnxed.run(path, x), onnxed.inferred(graph, x))
    xpconv.onnx.export(graph, tmp_path / "again.onnx", (2, 5, 4))
    onnxed.same(onnxed.run(tmp_path / "again.onnx", x), onnxed.inferred(graph, x))


def test_an_array_of_the_model_may_be_an_output(tmp_path):
    arrays = [onnx.numpy_helper.from_array(np.ones((3, 2), "float32"), "w")]
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    path = graph_of(
        tmp_path / "m.onnx", nodes, [info("x", ["N", 3])], [info("w", [3, 2]), info("y", ["N", 2])], arrays
    )
    graph = xpconv.onnx.load(path)
    xpconv.onnx.export(graph, tmp_path / "again.onnx", (3,))
    assert [y.name for y in onnx.load(tmp_path / "again.onnx").graph.output] == ["w_2", "y"]
    x = np.ones((4, 3), "float32")
    onnxed.same(onnxed.run(tmp_path / "again.onnx", x), onnxed.run(path, x))


def test_functions_of_a_file(tmp_path):
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    function = helper.make_function(
        "own", "Twice", ["a"], ["b"], [helper.make_node("Add", ["a", "a"], ["b"])], opsets[:1]
    )
    node = helper.make_node("Twice", ["x"], ["y"], domain="own")
    graph = helper.make_graph([node], "g", [info("x", [2])], [info("y", [2])])
    made = helper.make_model(graph, opset_imports=opsets, functions=[function], ir_version=8)
    onnx.save(made, path := tmp_path / "m.onnx")
    with pytest.raises(
        xpconv.errors.DataFileError, match=r"functions of its own, such as 'Twice', .*inline_local_functions"
    ):
        xpconv.onnx.load(path)
    onnx.save(pytest.importorskip("onnx.inliner").inline_local_functions(onnx.load(path)), path)
    assert xpconv.onnx.load(path)(np.ones(2, "float32")).tolist() == [2, 2]


@pytest.mark.sample(20)
@pytest.mark.parametrize(
    "shape", [(), (0,), (1,), (3, 3), (0, 4), (2, 0, 3, 3), (1, 1, 1, 1), (2, 3, 4, 5, 6)]
)
@pytest.mark.parametrize("name", CASES)
def test_inputs_of_other_shapes(name, shape, tmp_path):
    """A graph whose inputs may have any shape, also empty ones, returns a result or raises one of our errors."""
    op, opsets, given, attributes, outputs, order = CASES[name]
    first = next(iter(given))
    arrays = {key: np.asarray(value) for key, value in given.items() if key != first}
    x = np.asarray(given[first])
    made = model(
        [(op, order, " ".join(outputs), attributes)], opsets[-1], {first: x}, arrays, outputs, infer=False
    )
    made.graph.input[0].type.tensor_type.ClearField("shape")
    (tmp_path / "m.onnx").write_bytes(made.SerializeToString())
    try:
        graph = xpconv.onnx.load(tmp_path / "m.onnx")
    except xpconv.errors.OperatorError:
        return
    x = np.resize(x if x.size else np.zeros(1, x.dtype), shape).astype(x.dtype)
    for mode in (graph.train, graph.eval):
        mode()
        with suppress(ValueError, TypeError):
            y = graph(x)
            ones = [np.ones_like(part) for part in (y if isinstance(y, tuple) else (y,))]
            graph.backward(tuple(ones) if isinstance(y, tuple) else ones[0])
        with suppress(ValueError, TypeError):
            onnxed.inferred(graph, x)


@pytest.mark.parametrize("op", ["GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool"])
def test_the_number_of_axes_of_a_computed_shape(op, tmp_path):
    """It is the length of the shape tensor, which is known because it is the shape of another input."""
    nodes = [
        ("Flatten", "x", "f", {"axis": 0}),
        ("Shape", "x", "s", {}),
        ("Reshape", "f s", "r", {}),
        (op, "r", "y", {}),
    ]
    x = np.random.default_rng(0).normal(size=(2, 3, 4, 5)).astype("float32")
    made = model(nodes, 17, {"x": x}, {}, infer=False)
    (tmp_path / "m.onnx").write_bytes(made.SerializeToString())
    onnxed.same(onnxed.run(tmp_path / "m.onnx", x), onnxed.inferred(xpconv.onnx.load(tmp_path / "m.onnx"), x))
