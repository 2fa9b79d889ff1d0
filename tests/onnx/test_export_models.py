"""Every model of `xpconv.models` as onnxruntime runs it, at batch 1 and 7."""

import numpy as np
import onnxed
import pytest
from exported_models import SHAPES, each_model, made


@pytest.mark.parametrize("name", each_model())
def test_every_model(name, tmp_path):
    model, path = made(name), tmp_path / "model.onnx"
    x = np.zeros((1, *SHAPES.get(name, (3, 64, 64))), "float32")
    onnxed.check(model, path, x, batches=(1, 7))
    initializers = {a.name: tuple(a.dims) for a in onnxed.onnx.load(path).graph.initializer}
    state = model.state_dict()
    assert initializers == {k: v.shape for k, v in state.items() if not k.endswith("num_batches_tracked")}
    if not any("running_mean" in key for key in state):
        return
    onnxed.check(model, path, x, batches=(1, 7), fold_batchnorm=True)
    proto, folded = onnxed.onnx.load(path), model.fuse().state_dict()
    assert all(tuple(a.dims) == folded[a.name].shape for a in proto.graph.initializer)
    left = [node.op_type for node in proto.graph.node].count("BatchNormalization")
    assert left == sum(key.endswith("running_mean") for key in folded)
