"""`xpconv.onnx.load`: values and gradients, names, external data, opsets; files that are refused."""

import os
import pickle
import tracemalloc

import numpy as np
import pytest

import xpconv

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

import onnxruntime
from onnx import TensorProto, helper, numpy_helper

import xpconv.onnx
from xpconv.errors import DataFileError, ShapeError

RNG = np.random.default_rng(0)
X = RNG.normal(size=(2, 3, 8, 8)).astype("float32")
FLOAT = TensorProto.FLOAT


def info(name, shape=("N", 3, 8, 8), kind=FLOAT):
    return helper.make_tensor_value_info(name, kind, shape)


def tensor(name, array):
    return numpy_helper.from_array(np.asarray(array), name)


def model(nodes, inputs=(), outputs=(), initializers=(), opset=13, **more):
    nodes = [
        helper.make_node(op, list(takes), list(gives), **attributes) for op, takes, gives, attributes in nodes
    ]
    graph = helper.make_graph(
        nodes, "graph", list(inputs) or [info("x")], list(outputs) or [info("y", None)], list(initializers)
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], **more)
    made.ir_version = 8
    return made


def weights(prefix="conv"):
    weight, bias = RNG.normal(size=(4, 3, 3, 3)), RNG.normal(size=4)
    return [
        tensor(f"{prefix}.weight", weight.astype("float32")),
        tensor(f"{prefix}.bias", bias.astype("float32")),
    ]


CONV = ("Conv", ["x", "conv.weight", "conv.bias"], ["hidden"], {"kernel_shape": [3, 3], "pads": [1, 0, 1, 2]})
RELU = ("Relu", ["hidden"], ["y"], {})


def small(**more):
    return model([CONV, RELU], initializers=weights(), **more)


def load(proto, folder, name="model.onnx"):
    path = os.path.join(folder, name)
    with open(path, "wb") as file:
        file.write(proto if isinstance(proto, bytes) else proto.SerializeToString())
    return xpconv.onnx.load(path)


def expected(proto, *inputs):
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {i.name: x for i, x in zip(session.get_inputs(), inputs, strict=True)})


def close(y, reference, rtol=1e-5):
    y = xpconv.asnumpy(y)
    assert y.dtype == reference.dtype and y.shape == reference.shape
    np.testing.assert_allclose(y, reference, rtol=rtol, atol=rtol * max(1e-30, abs(reference).max(initial=0)))


# --- what is read --------------------------------------------------------------------------------------


def test_a_model_computes_and_trains(backend, tmp_path):
    proto = small()
    graph = load(proto, tmp_path)
    assert type(graph) is xpconv.Graph and not graph.training
    assert graph.inputs == ("x",) and graph.outputs == ("y",) and list(graph) == ["hidden", "y"]
    x = xpconv.asarray(X)
    y = graph(x)
    close(y, expected(proto, X)[0])
    assert graph.backward(y).shape == X.shape
    assert all(p.grad is not None for p in graph.parameters())
    with xpconv.no_grad():
        for n in (1, 2):
            close(graph.fuse()(x[:n]), expected(proto, X[:n])[0])


def test_names_in_the_state_dict(backend, tmp_path):
    proto = small()
    graph = load(proto, tmp_path)
    state = graph.state_dict()
    assert list(state) == ["conv.weight", "conv.bias"] == [n for n, _ in graph.named_parameters()]
    for item in proto.graph.initializer:
        np.testing.assert_array_equal(xpconv.asnumpy(state[item.name]), numpy_helper.to_array(item))
    graph.load_state_dict({name: 0 * array for name, array in state.items()})
    assert not xpconv.asnumpy(graph(xpconv.asarray(X))).any()
    graph.forget()
    twin = pickle.loads(pickle.dumps(graph))  # noqa: S301
    assert list(twin.state_dict()) == list(state)
    xpconv.save_model(graph, tmp_path / "model.safetensors")
    assert list(xpconv.load_model(tmp_path / "model.safetensors").state_dict()) == list(state)


def test_one_initializer_in_two_nodes_is_one_parameter(tmp_path):
    shared = tensor("w", RNG.normal(size=(3, 3, 1, 1)).astype("float32"))
    kernel = {"kernel_shape": [1, 1]}
    proto = model(
        [("Conv", ["x", "w"], ["h"], kernel), ("Conv", ["h", "w"], ["y"], kernel)], initializers=[shared]
    )
    graph = load(proto, tmp_path)
    assert graph["h"].weight is graph["y"].weight
    assert list(graph.state_dict()) == ["w"] and len(graph.parameters()) == 1
    y = graph(X)
    close(y, expected(proto, X)[0])
    graph.backward(y)


@pytest.mark.parametrize("opset", [7, 13, 21, onnx.defs.onnx_opset_version()])
def test_opsets(opset, tmp_path):
    assert load(small(opset=opset), tmp_path)(X).shape == (2, 4, 8, 8)


@pytest.mark.parametrize("opset", [1, 6, onnx.defs.onnx_opset_version() + 1])
def test_other_opsets_are_refused(opset, tmp_path):
    with pytest.raises(xpconv.errors.DataFileError, match=rf"is of opset {opset}, expected 7 to \d+"):
        load(small(opset=opset), tmp_path)


def test_initializers_may_be_inputs(tmp_path):
    proto = model(
        [CONV, RELU],
        [info("conv.weight", (4, 3, 3, 3)), info("x"), info("conv.bias", (4,))],
        initializers=weights(),
    )
    graph = load(proto, tmp_path)
    assert graph.inputs == ("x",)
    assert graph(X).shape == (2, 4, 8, 8)


def test_nodes_may_be_out_of_order_and_unused_ones_unknown(tmp_path):
    nodes = [RELU, CONV, ("Unheard", ["x"], ["other"], {})]
    graph = load(model(nodes, initializers=weights()), tmp_path)
    assert set(graph) == {"hidden", "y"}
    assert graph(X).shape == (2, 4, 8, 8)


def test_names_that_no_layer_can_have(tmp_path):
    names = ["a.b", "a_b", "forward", "outputs", "_layers", "add"]
    nodes = [("Relu", [a], [b], {}) for a, b in zip(["x", *names], [*names, "y"], strict=True)]
    graph = load(model(nodes), tmp_path)
    np.testing.assert_array_equal(graph(X), np.maximum(X, 0))
    assert list(graph) == ["a_b", "a_b_", "forward_", "outputs_", "_layers_", "add_", "y"]


def test_several_inputs_and_outputs(backend, tmp_path):
    nodes = [("Relu", ["a"], ["p"], {}), ("Relu", ["b.0"], ["q.0"], {})]
    graph = load(
        model(nodes, [info("a"), info("b.0", (2,))], [info("q.0", None), info("a"), info("q.0", None)]),
        tmp_path,
    )
    assert graph.inputs == ("a", "b_0") and graph.outputs == ("q_0", "a", "q_0")
    x, b = xpconv.asarray(X), xpconv.asarray(np.array([-1.0, 2], "float32"))
    q, a, _ = graph(x, b)
    assert xpconv.asnumpy(q).tolist() == [0, 2]
    close(a, X)


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_dtypes(dtype, tmp_path):
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    arrays = [tensor(t.name, numpy_helper.to_array(t).astype(dtype)) for t in weights()]
    proto = model([CONV, RELU], [info("x", kind=kind)], [info("y", None, kind)], arrays)
    graph = load(proto, tmp_path)
    y = graph(X.astype(dtype))
    assert y.dtype == dtype == graph.backward(y).dtype
    twice = [("Conv", ["x", *CONV[1][1:]], ["y"], CONV[3])]
    reference = model(
        twice,
        [info("x")],
        [info("y", None)],
        [tensor(t.name, numpy_helper.to_array(t).astype("float32")) for t in arrays],
    )
    close(
        np.asarray(y, "float32"),
        np.maximum(expected(reference, X)[0], 0),
        1e-5 if dtype == "float64" else 1e-2,
    )


def test_arrays_in_fields(tmp_path):
    """Values in `float_data`, not in `raw_data`."""
    weight, bias = weights()
    a, b = numpy_helper.to_array(weight), numpy_helper.to_array(bias)
    fields = [
        helper.make_tensor("conv.weight", FLOAT, a.shape, a.reshape(-1).tolist()),
        helper.make_tensor("conv.bias", FLOAT, b.shape, b.tolist()),
    ]
    close(
        load(model([CONV, RELU], initializers=fields), tmp_path)(X),
        load(model([CONV, RELU], initializers=[weight, bias]), tmp_path)(X),
    )


# --- external data -------------------------------------------------------------------------------------


def external(folder, location="data.bin", offset=None, length=None, write=True, size=None):
    arrays = weights()
    data = b"".join(item.raw_data for item in arrays)
    if write:
        with open(os.path.join(folder, "data.bin"), "wb") as file:
            file.write(data if size is None else data[:size])
    start = 0
    for item in arrays:
        size = len(item.raw_data)
        item.ClearField("raw_data")
        item.data_location = TensorProto.EXTERNAL
        given = {
            "location": location,
            "offset": start if offset is None else offset,
            "length": size if length is None else length,
        }
        for key, value in given.items():
            item.external_data.add(key=key, value=str(value))
        start += size
    return model([CONV, RELU], initializers=arrays)


def test_external_data(tmp_path):
    proto = external(tmp_path)
    y = load(proto, tmp_path)(X)
    close(y, onnxruntime.InferenceSession(tmp_path / "model.onnx").run(None, {"x": X})[0])


@pytest.mark.parametrize(
    "location",
    [
        "../data.bin",
        "/etc/passwd",
        "",
        ".",
        "no.bin",
        "a/../../data.bin",
        "link.bin",
        "folder/data.bin",
        "\0",
    ],
)
def test_external_data_out_of_the_folder(location, tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    external(tmp_path)
    os.symlink(tmp_path / "data.bin", folder / "link.bin")
    os.symlink(tmp_path, folder / "folder")
    with pytest.raises(xpconv.errors.DataFileError, match=r"'conv.weight': its data is in "):
        load(external(folder, location, write=False), folder)


@pytest.mark.parametrize(
    "more",
    [{"offset": -4}, {"offset": 10**9}, {"length": 10**15}, {"length": 4}, {"length": "many"}, {"size": 100}],
)
def test_external_data_that_do_not_fit(more, tmp_path):
    with pytest.raises(xpconv.errors.DataFileError, match=r"'conv\.(weight|bias)'"):
        load(external(tmp_path, **more), tmp_path)


# --- what is refused -----------------------------------------------------------------------------------


def dims(name, shape, data=b"", kind=FLOAT):
    item = TensorProto(name=name, data_type=kind, raw_data=data)
    item.dims.extend(shape)
    return item


def with_weight(item):
    return model([("Conv", ["x", "w"], ["y"], {"kernel_shape": [1, 1]})], initializers=[item])


HOSTILE = {
    "no protobuf": (lambda: b"no model at all", "is not an ONNX file"),
    "empty": (lambda: b"", "is not an ONNX file"),
    "truncated": (lambda: small().SerializeToString()[:200], "is not an ONNX file"),
    "a cycle": (lambda: model([("Relu", ["b"], ["a"], {}), ("Relu", ["a"], ["b"], {}), ("Relu", ["b"], ["y"], {})]), "cycle: b → a → b"),
    "no value": (lambda: model([("Relu", ["z"], ["y"], {})]), "node 'y' takes 'z', which is neither"),
    "no output": (lambda: model([("Relu", ["x"], ["z"], {})]), "an output is 'y', which is neither"),
    "twice": (lambda: model([("Relu", ["x"], ["y"], {}), ("Relu", ["x"], ["y"], {})]), "two values called 'y'"),
    "an input": (lambda: model([("Relu", ["x"], ["x"], {})], outputs=[info("x")]), "two values called 'x'"),
    "initializers": (lambda: model([RELU, CONV], initializers=weights() * 2), "two initializers called"),
    "huge": (lambda: with_weight(dims("w", [2**40, 2**40])), "'w' has 0 bytes, expected"),
    "negative": (lambda: with_weight(dims("w", [-1, 3, 1, 1])), "'w' has the shape"),
    "too few": (lambda: with_weight(dims("w", [4, 3, 1, 1], b"1234")), r"has 4 bytes, expected 48"),
    "too many": (lambda: with_weight(dims("w", [1, 3, 1, 1], b"1234" * 9)), r"has 36 bytes, expected 12"),
    "axes": (lambda: with_weight(dims("w", [1] * 65, b"1234")), "'w' has the shape"),
    "a type": (lambda: with_weight(dims("w", [4], b"1234", TensorProto.STRING)), "of type STRING"),
    "no type": (lambda: with_weight(dims("w", [4], b"1234", 99)), "of type 99"),
    "a sequence": (
        lambda: model([("Relu", ["x"], ["y"], {})], [helper.make_tensor_sequence_value_info("x", FLOAT, None)]),
        "input 'x' is a sequence, expected an array",
    ),
}  # fmt: skip


ONE, MANY = np.ones(1, "float32"), np.array([10**6, 10**6])
COLUMN = np.ones((20_000, 1), "float32")
BOMBS = {  # nodes from constants to `h`, and these constants
    "sum": ([("Add", ["a", "b"], ["h"], {})], {"a": COLUMN, "b": COLUMN.T}),
    "product": ([("MatMul", ["a", "b"], ["h"], {})], {"a": COLUMN, "b": COLUMN.T}),
    "shape": ([("ConstantOfShape", ["a"], ["h"], {})], {"a": MANY}),
    "overflow": ([("ConstantOfShape", ["a"], ["h"], {})], {"a": np.array([2**62, 4])}),
    "expand": ([("Expand", ["a", "b"], ["h"], {})], {"a": ONE, "b": MANY}),
    "range": ([("Range", ["a", "b", "c"], ["h"], {})], dict(zip("abc", map(np.int64, (0, 10**12, 1)), strict=True))),
    "pad": ([("Pad", ["a", "b"], ["h"], {})], {"a": COLUMN, "b": np.array([0, 10**6] * 2)}),
    "gather": ([("Gather", ["a", "b"], ["h"], {})], {"a": np.ones((2, 10**5), "float32"), "b": np.zeros(10**5, "int64")}),
    "double": (
        [("Concat", [f"a{i}"] * 2, [f"a{i + 1}"], {"axis": 0}) for i in range(40)] + [("Identity", ["a40"], ["h"], {})],
        {"a0": ONE},
    ),
    "many": (
        [("Expand", ["a", "b"], [f"a{i}"], {}) for i in range(40)] + [("Sum", [f"a{i}" for i in range(40)], ["h"], {})],
        {"a": ONE, "b": np.array([1000, 1000])},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_constants_that_would_take_more_memory_than_the_file_explains(name, tmp_path):
    nodes, arrays = BOMBS[name]
    proto = model([*nodes, ("Shape", ["h"], ["n"], {}), ("Cast", ["h"], ["f"], {"to": FLOAT}), ("ReduceSum", ["f"], ["s"], {"keepdims": 0}),
                   ("Add", ["x", "s"], ["y"], {})], initializers=[tensor(n, a) for n, a in arrays.items()])  # fmt: skip
    tracemalloc.start()
    try:
        with pytest.raises(xpconv.errors.OperatorError, match=r"more than [\d,]+ bytes"):
            load(proto, tmp_path)
        assert tracemalloc.get_traced_memory()[1] < 2**27
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", HOSTILE)
def test_damaged_and_hostile_files(name, tmp_path):
    make, told = HOSTILE[name]
    with pytest.raises(xpconv.errors.DataFileError, match=told):
        load(make(), tmp_path)


def test_all_that_cannot_be_computed_is_in_one_error(tmp_path):
    branch = helper.make_graph([], "branch", [], [info("x")])
    nodes = [
        ("Unheard", ["x"], ["a"], {"name": "first"}),
        ("Relu", ["a"], ["b"], {}),
        ("If", ["b"], ["c"], {"then_branch": branch, "else_branch": branch}),
        ("Relu", ["c"], ["y"], {"name": "third", "slope": 0.5}),
        ("Conv", ["x", "a"], ["z"], {}),
        ("Relu", ["x"], ["w"], {"slope": 0.5}),
    ]
    proto = model(nodes, outputs=[info(name, None) for name in "yzw"])
    proto.graph.node[1].domain = "com.example"
    with pytest.raises(xpconv.errors.OperatorError) as caught:
        load(proto, tmp_path)
    lines = str(caught.value).splitlines()
    assert lines[0].endswith("has nodes that xpconv cannot compute:")
    assert "- 'first' (Unheard): the operator is unknown" in lines
    assert "- 'w' (Relu): attribute slope is unknown" in lines
    assert "- 'b' (Relu): the operator of the domain 'com.example' is unknown" in lines
    assert "- 'c' (If): xpconv has no If" in lines
    assert len(lines) == 5  # the others depend on these


def test_a_domain_and_a_subgraph_are_refused(tmp_path):
    proto = model([("Relu", ["x"], ["y"], {"domain": "com.example"})])
    with pytest.raises(
        xpconv.errors.OperatorError, match=r"'y' \(Relu\): the operator of the domain 'com.example'"
    ):
        load(proto, tmp_path)
    branch = helper.make_graph([], "branch", [], [info("x")])
    with pytest.raises(xpconv.errors.OperatorError, match=r"'y' \(If\)"):
        load(model([("If", ["x"], ["y"], {"then_branch": branch, "else_branch": branch})]), tmp_path)


def test_paths(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"xpconv.onnx.load: there is no file"):
        xpconv.onnx.load(tmp_path / "no.onnx")
    with pytest.raises(IsADirectoryError, match="is a folder, expected an ONNX file"):
        xpconv.onnx.load(tmp_path)
    with pytest.raises(TypeError, match="path is None, expected the path"):
        xpconv.onnx.load(None)


FLAT = ("Reshape", ["h", "to"], ["flat"], {})


def fixed(batch, target):
    """A file for `batch` images: a convolution, whose result is reshaped to `target`, and a product."""
    conv = ("Conv", ["x", "conv.weight", "conv.bias"], ["h"], {"kernel_shape": [3, 3]})
    weight = tensor("w", RNG.normal(size=(144, 5)).astype("float32"))
    to = tensor("to", np.array(target))
    x, y = info("x", (batch, 3, 8, 8)), info("y", (batch, 5))
    nodes = [conv, FLAT, ("MatMul", ["flat", "w"], ["y"], {})]
    return model(nodes, [x], [y], [*weights(), weight, to])


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("rest", [-1, 144])
def test_a_fixed_batch_is_checked_and_can_be_freed(batch, rest, tmp_path):
    onnx.save(fixed(batch, [batch, rest]), path := str(tmp_path / "m.onnx"))
    graph = xpconv.onnx.load(path)
    x = RNG.normal(size=(4, 3, 8, 8)).astype("float32")
    parts = [
        onnxruntime.InferenceSession(path).run(None, {"x": x[i : i + batch]})[0] for i in range(0, 4, batch)
    ]
    expected = np.concatenate(parts)
    with xpconv.no_grad():
        np.testing.assert_allclose(graph(x[:batch]), expected[:batch], atol=2e-6 * np.abs(expected).max())
    with pytest.raises(ShapeError, match=f"fixes axis 0 of input x to {batch}, as the file.*dynamic_batch"):
        graph(x)
    with pytest.raises(
        ShapeError,
        match=r"fixed batch: give an array.*dynamic_batch=False.*axis 0"
        if batch > 1
        else "dynamic_batch=False.*axis 0",
    ):
        xpconv.onnx.export(graph, tmp_path / "again.onnx", (3, 8, 8))
    xpconv.onnx.export(graph, tmp_path / "again.onnx", x[:batch], dynamic_batch=False)

    free = xpconv.onnx.load(path, dynamic_batch=True)
    assert free.shapes == {"x": (None, 3, 8, 8)}
    with xpconv.no_grad():
        np.testing.assert_allclose(free(x), expected, atol=2e-6 * np.abs(expected).max())
    xpconv.onnx.export(free, tmp_path / "free.onnx", (3, 8, 8))
    found = onnxruntime.InferenceSession(str(tmp_path / "free.onnx")).run(None, {"x": x})[0]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_a_batch_that_cannot_be_freed(tmp_path):
    made = model(
        [("Reshape", ["x", "to"], ["y"], {})], [info("x", (1, 3, 8, 8))], [info("y", (3, 64))],
        [tensor("to", np.array([3, 64]))],
    )  # fmt: skip
    onnx.save(made, path := str(tmp_path / "m.onnx"))
    assert xpconv.onnx.load(path)(X[:1]).shape == (3, 64)
    with pytest.raises(DataFileError, match=r"computes with the size of its batch.*export the file again"):
        xpconv.onnx.load(path, dynamic_batch=True)
    with pytest.raises(TypeError, match="dynamic_batch"):
        xpconv.onnx.load(path, dynamic_batch=1)


def test_the_shapes_of_a_graph(tmp_path):
    graph = xpconv.Graph({"a": (xpconv.Flatten(), "x")}, "x", "a", shapes={"x": (None, 3, 8, 8)})
    with pytest.raises(ShapeError, match="fixes axis 2"):
        graph(X[:, :, :4])
    with pytest.raises(ShapeError, match="expected 4 axes"):
        graph(X[0])
    again = pickle.loads(pickle.dumps(graph))  # noqa: S301
    assert (
        again.shapes
        == type(graph)(**{**graph.get_config(), "nodes": {"a": (None, "x")}}).shapes
        == graph.shapes
    )
    graph.shapes = None
    assert graph(X[:, :, :4]).shape == (2, 96)
    for wrong, error in (
        (3, TypeError),
        ({"x": 3}, TypeError),
        ({"x": (-1, 3)}, TypeError),
        ({"z": (3,)}, ValueError),
    ):
        with pytest.raises(error, match="Graph: shapes"):
            graph.shapes = wrong


def test_shapes_are_in_the_file_of_the_model(tmp_path):
    pytest.importorskip("safetensors")
    graph = xpconv.Graph({"a": (xpconv.Dense(3, 2), "x")}, "x", "a", shapes={"x": (None, 3)})
    xpconv.save_model(graph, tmp_path / "m.safetensors")
    assert xpconv.load_model(tmp_path / "m.safetensors").shapes == {"x": (None, 3)}


@pytest.mark.parametrize("zero", [{}, {"allowzero": 0}, {"allowzero": 1}])
def test_a_batch_is_freed_with_the_attribute_of_torch(zero, tmp_path):
    made = model(
        [("Relu", ["x"], ["h"], {}), ("Reshape", ["h", "to"], ["y"], zero)], [info("x", (1, 3, 8, 8))],
        [info("y", (1, 192))], [tensor("to", np.array([1, -1]))], opset=14,
    )  # fmt: skip
    onnx.save(made, path := str(tmp_path / "m.onnx"))
    assert xpconv.onnx.load(path, dynamic_batch=True)(X).shape == (2, 192)


def test_names_with_dots_and_image_info_are_kept(tmp_path):
    made = model([("Relu", ["input.1"], ["y.1"], {})], [info("input.1")], [info("y.1", ("N", 3, 8, 8))])
    helper.set_model_props(made, {"image_info": '{"classes": ["a"], "shape": [3, 8, 8]}'})
    onnx.save(made, tmp_path / "m.onnx")
    graph = xpconv.onnx.load(tmp_path / "m.onnx")
    assert (graph.inputs, graph.outputs) == (("input_1",), ("y_1",))
    assert graph.image_info == {"classes": ["a"], "shape": [3, 8, 8]}
    for exported in (pickle.loads(pickle.dumps(graph)), graph.fuse(), graph):  # noqa: S301
        del exported.image_info  # the model gives no scores of classes
        xpconv.onnx.export(exported, tmp_path / "again.onnx", (3, 8, 8))
        session = onnxruntime.InferenceSession(str(tmp_path / "again.onnx"))
        assert [v.name for v in (*session.get_inputs(), *session.get_outputs())] == ["input.1", "y.1"]


@pytest.mark.parametrize("text", ["{", "[1]", "x" * 9])
def test_image_info_of_others_is_no_error(text, tmp_path):
    made = small()
    helper.set_model_props(made, {"image_info": text})
    onnx.save(made, tmp_path / "m.onnx")
    assert not hasattr(xpconv.onnx.load(tmp_path / "m.onnx"), "image_info")


def test_a_file_that_is_cut_short(tmp_path):
    onnx.save(small(), tmp_path / "m.onnx")
    content = (tmp_path / "m.onnx").read_bytes()
    (tmp_path / "m.onnx").write_bytes(content[: len(content) // 2])
    with pytest.raises(DataFileError, match="is not an ONNX file, or is cut short"):
        xpconv.onnx.load(tmp_path / "m.onnx")


def test_load_model_names_the_loader_of_onnx_files(tmp_path):
    pytest.importorskip("safetensors")
    onnx.save(small(), tmp_path / "m.onnx")
    xpconv.onnx.export(xpconv.Dense(3, 2).eval(), tmp_path / "own.onnx", (3,))
    for name in ("m.onnx", "own.onnx"):
        with pytest.raises(DataFileError, match=r"is an ONNX file, .*; xpconv.onnx.load\(path\) reads it"):
            xpconv.load_model(tmp_path / name)


@pytest.mark.parametrize("shape", [(3, -1, -1), (3, None, None), ((3, None, 8),), (3, "h", 8)])
def test_only_the_batch_is_free(shape, tmp_path):
    with pytest.raises(ValueError, match="only the batch is free"):
        xpconv.onnx.export(xpconv.ReLU().eval(), tmp_path / "m.onnx", shape)


def test_a_batch_that_is_free_stays_so(tmp_path):
    conv = ("Conv", ["x", "conv.weight", "conv.bias"], ["y"], {"kernel_shape": [3, 3], "dilations": [40, 40]})
    onnx.save(model([conv], [info("x", ("N", 3, "H", "W"))], initializers=weights()), tmp_path / "m.onnx")
    assert xpconv.onnx.load(tmp_path / "m.onnx", dynamic_batch=True).shapes == {"x": (None, 3, None, None)}


def number(name, array):
    return ("Constant", [], [name], {"value": numpy_helper.from_array(np.array(array))})


def test_parts_of_sequences(tmp_path):
    """As PyTorch's exporter writes `chunk` and `split` without its optimization: parts of one size, and of several."""
    nodes = [number("three", 3), number("sizes", [1, 2, 5]), *(number(f"i{i}", i) for i in (-1, 0, 1, 2))]
    nodes += [("SplitToSequence", ["x", name], [f"of {name}"], {"axis": 2}) for name in ("three", "sizes")]
    taken = [("three", 0), ("three", 2), ("sizes", -1), ("sizes", 1), ("sizes", 2)]
    nodes += [("SequenceAt", [f"of {name}", f"i{i}"], [f"y{n}"], {}) for n, (name, i) in enumerate(taken)]
    proto = model(nodes, outputs=[info(f"y{n}", None) for n in range(len(taken))])
    graph = load(proto, tmp_path)
    expected = onnxruntime.InferenceSession(proto.SerializeToString()).run(None, {"x": X})
    found = graph(X)
    for part, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(part, other)
    total = np.zeros_like(X)
    for rows in (slice(0, 3), slice(6, 8), slice(3, 8), slice(1, 3), slice(3, 8)):
        total[:, :, rows] += 1
    np.testing.assert_array_equal(graph.backward(tuple(map(np.ones_like, found))), total)
    nodes[2] = number("i-1", 3)  # a part that there is not
    with pytest.raises(ValueError, match="SplitToSequence"):
        load(model(nodes, outputs=[info("y2", None)]), tmp_path)
