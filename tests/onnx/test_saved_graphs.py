"""What a loaded graph keeps: in a file of xpconv, in copies, and when a file is loaded again."""

import copy
import pickle

import numpy as np
import pytest

import xpconv

onnx = pytest.importorskip("onnx")

import onnxed
from onnx_cases import CASES
from onnx_models import model

WORDS = np.random.default_rng(0).normal(size=(9, 4)).astype("float32")
WIDE = np.linspace(0, 1, 4)
IDS = np.array([[1, 8, 3], [0, 2, 2]])


def embedding(folder, fixed=True):
    """Ids, and numbers in float64, which the file casts to float32."""
    nodes = [
        ("Gather", "words ids", "taken", {}),
        ("Cast", "wide", "narrow", {"to": onnx.TensorProto.FLOAT}),
        ("Unsqueeze", "narrow axes", "one", {}),
        ("Add", "taken one", "sum", {}),
        ("Reshape", "sum shape", "y", {}),
    ]
    constants = {"words": WORDS, "shape": np.array([2, 12]), "axes": np.array([1])}
    path = folder / "model.onnx"
    made = model(nodes, 13, {"ids": IDS, "wide": np.stack([WIDE, WIDE])}, constants)
    path.write_bytes(made.SerializeToString())
    return path


def inputs(n):
    return np.resize(IDS, (n, 3)), np.resize(WIDE, (n, 4))


def reloaded(graph, folder):
    xpconv.save_model(graph, folder / "model.safetensors")
    return xpconv.load_model(folder / "model.safetensors").eval()


WAYS = {
    "save_model": reloaded,
    "pickle": lambda graph, folder: pickle.loads(pickle.dumps(graph)),  # noqa: S301
    "deepcopy": lambda graph, folder: copy.deepcopy(graph),
    "fuse": lambda graph, folder: graph.fuse(),
    "save_model twice": lambda graph, folder: reloaded(reloaded(graph, folder), folder),
}


@pytest.mark.parametrize("way", WAYS)
def test_dtypes_of_inputs(way, backend, tmp_path):
    graph = xpconv.onnx.load(embedding(tmp_path), dynamic_batch=True)
    assert graph.dtypes == {"ids": "int64", "wide": "float64"}
    again = WAYS[way](graph, tmp_path)
    assert (again.dtypes, again.shapes) == (graph.dtypes, graph.shapes)
    assert "(1, 12)" in str(again.summary(((3,), (4,))))  # of shapes, for which it makes arrays
    xpconv.onnx.export(again, tmp_path / "again.onnx", ((3,), (4,)))
    x = inputs(5)
    onnxed.same(onnxed.inferred(graph, *x), onnxed.run(tmp_path / "again.onnx", *x))


def test_a_file_is_loaded_and_exported_again_and_again(backend, tmp_path):
    path = embedding(tmp_path)
    for dynamic in (True, False, True, True):
        graph = xpconv.onnx.load(path, dynamic_batch=dynamic)
        assert graph.shapes == {"ids": (None if dynamic else 2, 3), "wide": (None if dynamic else 2, 4)}
    for number in range(3):  # each file from the one before
        path = tmp_path / f"{number}.onnx"
        xpconv.onnx.export(graph, path, ((3,), (4,)))
        graph = xpconv.onnx.load(path, dynamic_batch=True)
        assert graph.dtypes == {"ids": "int64", "wide": "float64"} and graph.shapes["ids"] == (None, 3)
        for n in (1, 2, 7):
            onnxed.same(onnxed.run(path, *inputs(n)), onnxed.inferred(graph, *inputs(n)))


@pytest.mark.sample(8)
@pytest.mark.parametrize("name", CASES)
def test_names_and_numbers_stay(name, tmp_path):
    """After a graph is exported and loaded twice, its arrays still have the names of the first file."""
    op, opsets, given, attributes, outputs, order = CASES[name]
    arrays = {key: np.asarray(value) for key, value in given.items()}
    x = dict(list(arrays.items())[:1])
    made = model(
        [(op, order, " ".join(outputs), attributes)],
        opsets[-1],
        x,
        {k: v for k, v in arrays.items() if k not in x},
        outputs,
    )
    (path := tmp_path / "0.onnx").write_bytes(made.SerializeToString())
    graph = xpconv.onnx.load(path)
    names, expected = [set(graph.state_dict())], onnxed.inferred(graph, *x.values())
    for number in (1, 2):
        opset = max(18, opsets[-1])
        xpconv.onnx.export(graph, path := tmp_path / f"{number}.onnx", list(x.values()), opset, False)
        graph = xpconv.onnx.load(path)
        names.append(set(graph.state_dict()))
        onnxed.same(expected, onnxed.inferred(graph, *x.values()))
    # An operator that the opset lacks is written as others with additional constants.
    assert names[0] <= names[1] == names[2]


def test_an_output_that_is_there_twice(tmp_path):
    made = model([("Relu", "x", "y", {})], 13, {"x": WORDS}, {}, ("y", "y"))
    (tmp_path / "a.onnx").write_bytes(made.SerializeToString())
    graph = xpconv.onnx.load(tmp_path / "a.onnx")
    xpconv.onnx.export(graph, tmp_path / "b.onnx", WORDS, dynamic_batch=False)
    again = xpconv.onnx.load(tmp_path / "b.onnx")
    assert graph.outputs == ("y", "y") and again.outputs == ("y", "y_2")
    onnxed.same(onnxed.run(tmp_path / "b.onnx", WORDS), onnxed.inferred(graph, WORDS))
    first, second = graph.train()(WORDS), again.train()(WORDS)
    grads = tuple(np.ones_like(y) for y in first)
    assert (graph.backward(grads) == again.backward(grads)).all() and len(second) == 2


def test_dtypes_are_set_and_checked():
    graph = xpconv.Graph(
        {"words": (xpconv.Embedding(9, 4), "ids"), "sum": (xpconv.layers.operators.Add(), "words", "x")},
        ["x", "ids"],
        "sum",
    )
    assert graph.dtypes is None
    graph.dtypes = {"ids": np.int32}
    assert graph.dtypes == {"ids": "int32"} and graph.get_config()["dtypes"] == {"ids": "int32"}
    assert "(1, 3, 4)" in str(graph.summary(((3, 4), (3,))))
    for wrong, message in {
        ("ids",): "expected a mapping of the names of inputs to dtypes",
        "int64": "expected a mapping",
    }.items():
        with pytest.raises(TypeError, match=f"^Graph: dtypes is .*{message}"):
            graph.dtypes = wrong
    with pytest.raises(ValueError, match=r"^Graph: dtypes has 'words'; the inputs are x, ids"):
        graph.dtypes = {"words": "int64"}
    with pytest.raises(TypeError, match=r"^Graph: dtypes\['ids'\] is None, expected a dtype"):
        graph.dtypes = {"ids": None}
    with pytest.raises(TypeError, match=r"^Graph: dtypes: dtype is 'int65'"):
        graph.dtypes = {"ids": "int65"}
    assert graph.dtypes == {"ids": "int32"}
    graph.dtypes = None
    assert graph.dtypes is None


def test_the_dtype_of_the_parameters_is_not_noted(tmp_path):
    """So that it changes with theirs."""
    path = tmp_path / "model.onnx"
    x = np.ones((2, 9), "float32")
    path.write_bytes(model([("MatMul", "x w", "y", {})], 13, {"x": x}, {"w": WORDS}).SerializeToString())
    graph = xpconv.onnx.load(path, dynamic_batch=True)
    assert graph.dtypes is None
    xpconv.onnx.export(graph.to(dtype="float64"), tmp_path / "again.onnx", (9,))
    assert xpconv.onnx.load(tmp_path / "again.onnx")(x.astype("float64")).dtype == "float64"


def outside(path, folder):
    """The same file with all its arrays, targets of Reshape too, in a file of their own."""
    proto = onnx.load(path)
    onnx.external_data_helper.convert_model_to_external_data(
        proto, all_tensors_to_one_file=True, location="model.data", size_threshold=0, convert_attribute=True
    )
    onnx.save(proto, folder / "outside.onnx")
    return folder / "outside.onnx"


@pytest.mark.parametrize("batch", [1, 2])
def test_a_fixed_batch_is_freed_where_the_arrays_are_in_a_file_of_their_own(batch, tmp_path):
    """All are read twice then, and both Reshapes have one target."""
    rng = np.random.default_rng(0)
    weight, bias = rng.normal(size=(2, 1, 3, 3)).astype("float32"), rng.normal(size=2).astype("float32")
    nodes = [
        ("Conv", "x w b", "c", {"pads": [1, 1, 1, 1]}),
        ("Reshape", "c target", "d", {}),
        ("Relu", "d", "e", {}),
        ("Reshape", "e target", "y", {}),
    ]
    x = rng.normal(size=(5, 1, 4, 4)).astype("float32")
    arrays = {"w": weight, "b": bias, "target": np.array([batch, 32])}
    whole = tmp_path / "model.onnx"
    whole.write_bytes(model(nodes, 13, {"x": x[:batch]}, arrays).SerializeToString())
    path = outside(whole, tmp_path)
    assert (tmp_path / "model.data").stat().st_size == weight.nbytes + bias.nbytes + 16
    graph = xpconv.onnx.load(path, dynamic_batch=True)
    assert graph.shapes == {"x": (None, 1, 4, 4)}
    for part in (x[:batch], x[batch : 2 * batch]):  # onnxruntime wants the targets in the file itself
        onnxed.same(onnxed.run(whole, part), onnxed.inferred(graph, part))
    parts = [onnxed.inferred(graph, x[i : i + 1])[0] for i in range(5)]
    onnxed.same([np.concatenate(parts)], onnxed.inferred(graph, x))


def test_arrays_that_are_the_same_bytes_of_a_file_are_refused(tmp_path):
    """Since a small file could claim any amount of memory then; also where a batch is freed."""
    whole = tmp_path / "model.onnx"
    nodes = [("MatMul", "x w", "h", {}), ("MatMul", "h v", "y", {})]
    arrays = {"w": np.eye(4, dtype="float32"), "v": np.ones((4, 4), "float32")}
    whole.write_bytes(model(nodes, 13, {"x": np.ones((1, 4), "float32")}, arrays).SerializeToString())
    proto = onnx.load(outside(whole, tmp_path), load_external_data=False)
    first, second = proto.graph.initializer
    del second.external_data[:]
    second.external_data.extend(first.external_data)
    (tmp_path / "model.data").write_bytes(arrays["w"].tobytes())
    (tmp_path / "shared.onnx").write_bytes(proto.SerializeToString())
    for dynamic in (False, True):
        with pytest.raises(xpconv.errors.DataFileError, match="is that of other arrays as well"):
            xpconv.onnx.load(tmp_path / "shared.onnx", dynamic_batch=dynamic)
