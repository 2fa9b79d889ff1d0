"""Model files that are hostile or do not fit: refused with their name, before memory is allocated."""

import json
import tracemalloc

import numpy as np
import pytest

import xpconv
from xpconv.errors import DataFileError
from xpconv.files import container
from xpconv.files.rebuild import SPARE

DENSE = {
    "class": "Dense",
    "arguments": {"in_features": 3, "out_features": 2, "bias": True},
    "parameters": {"weight": True, "bias": True},
}


def write(path, layers, arrays=None, generators=()):
    arrays = (
        {"weight": np.ones((2, 3), "float32"), "bias": np.zeros(2, "float32")} if arrays is None else arrays
    )
    container.write(
        "save_model", str(path), "model", {"layers": layers, "generators": list(generators)}, arrays
    )


def refused(path, said, limit=SPARE + 2**22):
    tracemalloc.start()
    before = xpconv.get_rng_state()
    try:
        with pytest.raises(DataFileError, match=said) as caught:
            xpconv.load_model(path)
        assert tracemalloc.get_traced_memory()[1] < limit
    finally:
        tracemalloc.stop()
    assert xpconv.get_rng_state() == before
    assert len(str(caught.value)) < 1000


def node(kind, arguments=None, **more):
    return {"class": kind, **({} if arguments is None else {"arguments": arguments}), **more}


def test_the_helper_makes_good_files(tmp_path):
    write(tmp_path / "m", [DENSE])
    assert repr(xpconv.load_model(tmp_path / "m")) == "Dense(3, 2)"


RELU = node("ReLU", {"inplace": False})
TWICE = [RELU, *[node("Sequential", children={"0": i, "1": i}) for i in range(60)]]
DEEP = [RELU, *[node("Sequential", children={"0": i}) for i in range(5000)]]
SQUEEZE = {"input_channels": 10**5, "squeeze_channels": 10**5}


@pytest.mark.parametrize(
    ("layers", "said"),
    [
        ([node("Dense", {"in_features": 10**9, "out_features": 10**9, "bias": True})], "layer 0, Dense: .*GiB"),
        ([node("Dense", {"in_features": 10**5, "out_features": 10**5, "bias": True})], "takes more memory than the file"),
        ([node("Conv2d", {"in_channels": 10**4, "out_channels": 10**4, "kernel_size": 3})], "takes more memory"),
        ([node("Embedding", {"num_embeddings": 2**31 - 1, "embedding_dim": 8})], "takes more memory"),
        ([node("BatchNorm2d", {"num_features": 2**31 - 1, "affine": False})], "takes more memory"),
        ([node("LayerNorm", {"normalized_shape": [10**5, 10**5]})], "takes more memory"),
        ([node("PReLU", {"num_parameters": 10**9})], "takes more memory"),
        ([node("Bilinear", {"in1_features": 10**4, "in2_features": 10**4, "out_features": 10})], "takes more memory"),
        ([node("SqueezeExcitation", SQUEEZE)], "takes more memory"),
        ([node("Dense", {"in_features": 10**40, "out_features": 1, "bias": True})], "expected at most"),
        ([node("Dense", {"in_features": 4000, "out_features": 1000, "bias": True})] * 20 + [node("Sequential", children={str(i): i for i in range(20)})], "takes more memory"),
        (TWICE, "more than 200 levels, or 1,000,000 layers"),
        (DEEP, "more than 200 levels"),
        ([node("Sequential", children={"0": 0})], "damaged"),
        ([node("Sequential", children={"0": 1}), node("Sequential", children={"0": 0})], "damaged"),
        ([node("Sequential", children={"0": -1}), RELU], "damaged"),
        ([RELU, node("Sequential", children={"0": True})], "damaged"),
        ([RELU, node("Sequential", children=[0])], "damaged"),
        ([RELU, node("Sequential", children={"a.b": 0})], "a name without dots"),
        ([RELU, node("Sequential", children={"forward": 0})], "the name of a method"),
        ([RELU, node("Sequential", children={"__class__": 0})], "the name of"),
        ([RELU, node("Conv2d", {"in_channels": 1, "out_channels": 1, "kernel_size": 1}, children={"_tapes": 0})], "no layer '_tapes'"),
        ([RELU, node("ReLU", {"inplace": False}, children={"forward": 0})], "the name of a method"),
        ([RELU, node("ReLU", {"inplace": False}, children={"inplace": 0})], "layer 1, ReLU"),
        ([RELU, RELU], "layer 0, ReLU: it is in no other layer"),
        ([node("Layer")], "there is no layer of this name"),
        ([node("Folded", {"what": "x", "expected": None})], "there is no layer of this name"),
        ([node("MSELoss")], "there is no layer of this name"),
        ([node("os.system")], "there is no layer of this name"),
        ([node("__class__")], "there is no layer of this name"),
        ([{"own": "Scale"}], "layers of the class 'Scale', which is not one of xpconv"),
        ([{"own": "Dense", "arguments": {}}], "which is not one of xpconv"),
        ([{**DENSE, "own": "Dense"}], "damaged"),
        ([{"arguments": {}}], "damaged"),
        ([node(["Dense"])], "damaged"),
        ([node("ReLU", {"inplace": False}, hooks={})], "damaged"),
        ([], "damaged"), ({}, "damaged"), ([3], "damaged"), (None, "damaged"),
        ([node("ReLU", {"inplace": "yes"})], "layer 0, ReLU: ReLU: inplace"),
        ([node("ReLU", {"in_place": True})], "layer 0, ReLU: .*in_place"),
        ([node("ReLU", {"self": True})], "layer 0, ReLU"),
        ([node("ReLU", {"__class__": 1})], "layer 0, ReLU"),
        ([node("Dense", {"in_features": 3, "out_features": 2, "dtype": "object"})], "dtype"),
        ([node("Dense", {"in_features": 3, "out_features": 2, "bias": True, "rng": 10**30})], "made with"),
        ([node("Dropout", {"p": 0.5, "inplace": False, "rng": 3})], "made with"),
        ([node("Dropout", {"p": {"$float": "nan"}, "inplace": False})], "layer 0, Dropout"),
        ([node("Dropout", {"p": 0.5, "inplace": False}, generators={"rng": 0})], "damaged"),
        ([node("ReLU", {"inplace": False}, attributes={"_jit": 1})], "'_jit' is not an attribute"),
        ([node("ReLU", {"inplace": False}, attributes={"forward": 1})], "'forward' is not an attribute"),
        ([node("ReLU", {"inplace": False}, attributes={"__class__": 1})], "not an attribute"),
        ([node("ReLU", {"inplace": False}, attributes={"buffer_names": ["forward"]})], "not an attribute"),
        ([node("ReLU", {"inplace": False}, attributes={"training": 1})], "not an attribute"),
        ([node("ReLU", {"inplace": False}, attributes={"x": {"$array": "y"}})], "wrong value"),
        ([{**DENSE, "attributes": {"weight": 3}}], "layer 0, Dense|not an attribute"),
        ([node("ReLU", {"inplace": False}, flags=[1, None, False])], "damaged"),
        ([node("ReLU", {"inplace": False}, flags=[True, "x", False])], "damaged"),
        ([node("ReLU", {"inplace": False}, flags=[])], "damaged"),
        ([node("ReLU", {"inplace": False}, parameters={"forward": True})], "layer 0, ReLU"),
        ([node("ReLU", {"inplace": False}, parameters={"none": True})], "the file has no array 'none'"),
        ([{**DENSE, "parameters": {"weight": 1}}], "damaged"),
        ([{**DENSE, "parameters": {"weight": True, "bias": True, "w": True}}], "the file has no array 'w'"),
        ([{**DENSE, "tied": {"bias": [0, "weight"]}}], "layer 0, Dense"),
        ([{**DENSE, "tied": {"bias": [1, "weight"]}}], "damaged"),
        ([{**DENSE, "tied": {"bias": [0, "none"]}}], "which has no such parameter"),
        ([{**DENSE, "tied": {"bias": [0]}}], "damaged"),
        ([RELU, node("Residual", given={"shortcut": 0}, children={"shortcut": 0})], "layer 1, Residual"),
        ([RELU, node("Residual", {"shortcut": {"$tuple": []}}, children={"body": 0})], "layer 1, Residual"),
        ([node("MaxPool2d", {"kernel_size": [10**6] * 10**4})], "layer 0, MaxPool2d"),
        ([node("Unflatten", {"dim": 1, "unflattened_size": "x" * 10**5})], "layer 0, Unflatten"),
    ],
)  # fmt: skip
def test_hostile_architectures(layers, said, tmp_path):
    write(tmp_path / "m", layers)
    refused(tmp_path / "m", said)


@pytest.mark.parametrize(
    ("generator", "said"),
    [
        ({"bit_generator": "Generator"}, "has a generator 'Generator'"),
        ({"bit_generator": "os"}, "has a generator 'os'"),
        ({"bit_generator": ["PCG64"]}, "has a generator"),
        ({"bit_generator": "PCG64"}, "damaged state"),
        ({"bit_generator": "PCG64", "state": {"state": -1, "inc": "x"}}, "damaged state"),
        (3, "has a generator None"),
        ([], "has a generator None"),
    ],
)
def test_hostile_generators(generator, said, tmp_path):
    write(tmp_path / "m", [RELU], generators=[generator])
    refused(tmp_path / "m", said)


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"weight": np.ones((2, 3), "float32")}, "layer 0, Dense: the file has no array 'bias'"),
        ({}, "the file has no array 'weight'"),
        (
            {"weight": np.ones((3, 2), "float32"), "bias": np.ones(2)},
            r"weight has shape \(3, 2\), expected \(2, 3\)",
        ),
        ({"weight": np.ones(6, "float32"), "bias": np.ones(2)}, r"weight has shape \(6,\), expected"),
        ({"weight": np.ones((2, 3), "int32"), "bias": np.ones(2)}, "expected a floating array"),
        ({"weight": np.ones((2, 3), bool), "bias": np.ones(2)}, "expected a floating array"),
    ],
)
def test_arrays_that_do_not_fit(arrays, said, tmp_path):
    write(tmp_path / "m", [DENSE], arrays)
    refused(tmp_path / "m", rf"^load_model: '.*m': .*{said}")


def test_buffers_that_do_not_fit(tmp_path):
    model = xpconv.BatchNorm1d(3)
    state = {name: np.asarray(a) for name, a in model.state_dict().items()}
    layers = [
        node(
            "BatchNorm1d",
            model.get_config(),
            parameters={"weight": True, "bias": True},
        )
    ]
    for name, array, said in (
        ("running_mean", np.zeros(4, "float32"), "expected"),
        ("running_mean", np.zeros(3, "int64"), "running_mean is int64, expected float32"),
        ("num_batches_tracked", np.zeros((), "float32"), "expected int64"),
    ):
        write(tmp_path / "m", layers, {**state, name: array})
        refused(tmp_path / "m", said)
    state.pop("running_var")
    write(tmp_path / "m", layers, state)
    refused(tmp_path / "m", "no array 'running_var'")


def test_damaged_at_any_byte(tmp_path):
    xpconv.save_model(xpconv.Sequential(xpconv.Dense(3, 2), xpconv.ReLU()), tmp_path / "m")
    data = (tmp_path / "m").read_bytes()
    for i in range(0, len(data), 7):
        (tmp_path / "m").write_bytes(data[:i] + bytes([data[i] ^ 4]) + data[i + 1 :])
        with pytest.raises(DataFileError, match=r"^load_model: '.*m'"):
            xpconv.load_model(tmp_path / "m")
        (tmp_path / "m").write_bytes(data[:i])
        with pytest.raises(DataFileError, match=r"^load_model: '.*m'"):
            xpconv.load_model(tmp_path / "m")


def test_a_description_that_says_nothing_false_is_json(tmp_path):
    """No layer of the table needs anything but JSON's types."""
    write(tmp_path / "m", json.loads(json.dumps([DENSE])))
    assert xpconv.load_model(tmp_path / "m").training
