"""`xpconv.onnx.load` on small files of which bytes or fields have been changed at random: it reads them, or says what is
wrong, at once and in no more memory than such files explain."""

import random
import tracemalloc

import numpy as np
import pytest

import xpconv

onnx = pytest.importorskip("onnx")

from fuzzing import time_limit
from onnx_cases import CASES  # they need onnx
from onnx_models import model, mutated

from xpconv.errors import DataFileError, OperatorError

MOST_BYTES = 2**28  # for loading a file of some kilobytes: 2**26 are spare for constants that it computes
FILES = 150  # for each seed
SEEDS = [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 7))]


def files(folder):
    """Small models: one for each case of the operators, and a CNN."""
    for op, opsets, inputs, attributes, outputs, order in CASES.values():
        arrays = {name: np.asarray(array) for name, array in inputs.items()}
        first = dict(list(arrays.items())[:1])
        rest = {name: array for name, array in arrays.items() if name not in first}
        yield model([(op, order, " ".join(outputs), attributes)], opsets[-1], first, rest, outputs)
    layers = [xpconv.Conv2d(3, 4, 3), xpconv.BatchNorm2d(4), xpconv.ReLU(), xpconv.AdaptiveAvgPool2d(2)]
    net = xpconv.Sequential(*layers, xpconv.Flatten(), xpconv.Dense(16, 3)).eval()
    xpconv.onnx.export(net, folder / "net.onnx", (3, 8, 8))
    yield onnx.load(folder / "net.onnx")


@pytest.mark.parametrize("seed", SEEDS)
def test_changed_files(seed, tmp_path):
    rng = random.Random(seed)
    known, path, read, texts = list(files(tmp_path)), tmp_path / "model.onnx", 0, []
    for number in range(FILES):
        path.write_bytes(mutated(rng.choice(known), rng))
        tracemalloc.start()
        try:
            with time_limit():
                xpconv.onnx.load(path, dynamic_batch=rng.random() < 0.3)
            read += 1
        except (DataFileError, OperatorError) as error:
            texts.append(str(error))
        finally:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        assert peak < MOST_BYTES, number
    assert all("xpconv.onnx.load" in text and len(text) < 20_000 for text in texts)
    assert FILES / 5 < read < FILES  # else the changes do too much, or nothing


def test_sizes_below_0_do_not_end_the_process(tmp_path):
    """ONNX's inference of a Slice would, after a kernel that is larger than its input."""
    ints = {name: np.array([value]) for name, value in zip("seat", (0, 99, 2, 1), strict=True)}
    constants = {"w": np.ones((1, 1, 9, 9), "float32"), **ints}
    nodes = [("Conv", "x w", "c", {}), ("Slice", "c s e a t", "y", {})]
    made = model(nodes, 18, {"x": np.ones((1, 1, 3, 3), "float32")}, constants, infer=False)
    (tmp_path / "model.onnx").write_bytes(made.SerializeToString())
    graph = xpconv.onnx.load(tmp_path / "model.onnx")
    with pytest.raises(ValueError, match="Conv2d"):
        graph(np.ones((1, 1, 3, 3), "float32"))
    made.graph.input[0].type.tensor_type.shape.dim[2].dim_value = -1  # as some write for a free size
    del made.graph.node[0], made.graph.initializer[0]
    made.graph.node[0].input[0] = "x"
    (tmp_path / "model.onnx").write_bytes(made.SerializeToString())
    assert xpconv.onnx.load(tmp_path / "model.onnx")(np.ones((1, 1, 5, 3), "float32")).shape == (1, 1, 5, 3)
