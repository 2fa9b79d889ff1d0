"""`xpconv.onnx.load` on nodes that ONNX's shape inference hangs or ends the process for; in other processes, so that such
a file fails one test."""

import os
import pathlib
import sys

import process
import pytest

onnx = pytest.importorskip("onnx")

from onnx import TensorProto, helper

SCRIPT = pathlib.Path(__file__).parents[1] / "helpers" / "hostile_nodes.py"
LOAD = """
import sys, xpconv.onnx
try:
    xpconv.onnx.load(sys.argv[1])
except xpconv.errors.OperatorError as error:
    print(error)
"""
FAULTY = {
    "Einsum": (["x"], {"equation": "....a"}),
    "Einsum, dots at both ends": (["x"], {"equation": "...a..."}),
    "Einsum, dots after": (["x"], {"equation": "a...."}),
    "GatherND": (["x", "i"], {"batch_dims": -9}),
    "EyeLike, no input": (["", "x"], {}),
    "EyeLike, dtype": (["x"], {"dtype": -(2**63)}),
    "Einsum, two dots": (["x"], {"equation": ".."}),
    "GatherND, many": (["x", "i"], {"batch_dims": -(2**62)}),
    "EyeLike, another": (["x"], {"dtype": 99}),
    "Cast": (["x"], {"to": -(2**63)}),
    "Cast, another": (["x"], {"to": 99}),
    "RegexFullMatch": ([""], {"pattern": "a"}),
    "STFT": (["x", "e"], {}),
    "Split": (["x"], {"num_outputs": 3}),
}


def run(*arguments):
    env = process.environment(PYTHONPATH=os.pathsep.join(filter(None, sys.path)))
    return process.run([sys.executable, *map(str, arguments)], env=env).stdout


@pytest.mark.parametrize("shape", [[2, 3], None], ids=["shape", "no shape"])
def test_faulty_nodes_are_refused(shape, tmp_path):
    """One file has all of them, and the error names each."""
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)]
    inputs += [
        helper.make_tensor_value_info(name, TensorProto.INT64, [n]) for name, n in (("i", 1), ("e", 0))
    ]
    nodes = [
        helper.make_node(name.split(",")[0], takes, [f"y{i}"], **attributes)
        for i, (name, (takes, attributes)) in enumerate(FAULTY.items())
    ]
    outputs = [helper.make_tensor_value_info(f"y{i}", TensorProto.FLOAT, None) for i in range(len(nodes))]
    made = helper.make_graph(nodes, "graph", inputs, outputs)
    opset = [helper.make_opsetid("", 20)]
    onnx.save(helper.make_model(made, opset_imports=opset, ir_version=8), tmp_path / "model.onnx")
    text = run("-c", LOAD, tmp_path / "model.onnx")
    assert all(f"'y{i}' ({name.split(',')[0]})" in text for i, name in enumerate(FAULTY)), text


@pytest.mark.parametrize(
    ("seed", "count", "opset"),
    [(0, 4, 20), *(pytest.param(n, 5, opset, marks=pytest.mark.slow) for n, opset in ((1, 13), (2, 20)))],
)
def test_nodes_of_all_operators(seed, count, opset):
    """Each operator of ONNX with random attributes and inputs loads or is refused."""
    loaded = int(run(SCRIPT, seed, count, opset).splitlines()[-1].removeprefix("loaded "))
    assert loaded > 20 * count
