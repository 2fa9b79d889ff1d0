"""Export, onnxruntime, load, a step of training, export again: for every model of `xpconv.models`."""

import numpy as np
import onnxed
import pytest
from exported_models import SHAPES, each_model, made

import xpconv


def trained(model, x):
    """The gradients of a step, in inference mode, so that both models have the same statistics; and the step."""
    y = model(x)
    model.backward(np.linspace(-1, 1, y.size, dtype=y.dtype).reshape(y.shape), input_grad=False)
    grads = {name: p.grad.copy() for name, p in model.named_parameters()}
    largest = max(np.abs(grad).max() for grad in grads.values())
    xpconv.SGD(model.parameters(), lr=1e-3 / largest).step()
    return grads


# More of the blocks of a smaller model, which take the most time; `test_export_models` has them too.
REPEATED = {
    "resnet34",
    "resnet101",
    "resnet152",
    "vgg13",
    "vgg13_bn",
    "vgg16",
    "vgg16_bn",
    "vgg19",
    "vgg19_bn",
}


@pytest.mark.parametrize("name", [row for row in each_model() if row.values[0] not in REPEATED])
def test_every_model(name, tmp_path):
    model, shape = made(name).eval(), SHAPES.get(name, (3, 64, 64))
    first, second = tmp_path / "first.onnx", tmp_path / "second.onnx"
    xpconv.onnx.export(model, first, shape)
    x = np.random.default_rng(1).normal(size=(2, *shape)).astype("float32")
    graph = xpconv.onnx.load(first)
    onnxed.same(onnxed.inferred(graph, x), onnxed.run(first, x))

    ours, theirs = trained(model, x), trained(graph, x)
    assert ours.keys() == theirs.keys()
    for key, grad in ours.items():
        assert np.abs(theirs[key] - grad).max() <= 1e-3 * np.abs(grad).max() + 1e-7, key

    xpconv.onnx.export(graph, second, shape)
    onnxed.same(onnxed.inferred(graph, x), onnxed.run(second, x))
    onnxed.same(onnxed.inferred(model, x), onnxed.run(second, x), 1e-4)
    names = [{a.name for a in onnxed.onnx.load(file).graph.initializer} for file in (first, second)]
    assert names[0] == names[1]


def test_nodes_have_the_names_of_layers(tmp_path):
    model = xpconv.models.small_cnn(num_classes=3).eval()
    xpconv.onnx.export(model, tmp_path / "m.onnx", (3, 16, 16))
    graph = xpconv.onnx.load(tmp_path / "m.onnx")
    assert list(graph.nodes)[:3] == ["0", "1", "2"]
    assert (graph.inputs, graph.outputs) == (("input",), ("output",))
    nested = xpconv.Sequential(
        {
            "stem": xpconv.Sequential({"conv": xpconv.Conv2d(3, 4, 3)}),
            "act": xpconv.ReLU(),
            "twice": xpconv.ReLU(),
        }
    )
    xpconv.onnx.export(nested.eval(), tmp_path / "m.onnx", (3, 16, 16))
    assert list(xpconv.onnx.load(tmp_path / "m.onnx").nodes) == ["stem_conv", "act", "output"]


@pytest.mark.parametrize("affine", [False, True])
@pytest.mark.parametrize("shift", [0, 1])
def test_a_frozen_normalisation_stays_fixed(affine, shift, tmp_path):
    first = xpconv.BatchNorm2d(3, affine=affine)
    if affine:
        first.weight.data[...], first.bias.data[...] = (2, 3, 4), shift
    first.running_mean[...], first.running_var[...] = (0.1, 0.2, 0.3), (0.5, 0.25, 0.125)
    model = xpconv.Sequential(
        {"normalize": first.requires_grad_(False, eval=True), "conv": xpconv.Conv2d(3, 4, 3)}
    )
    x = np.random.default_rng(0).normal(size=(2, 3, 8, 8)).astype("float32")
    for path in (tmp_path / "first.onnx", tmp_path / "second.onnx"):
        xpconv.onnx.export(model.eval(), path, (3, 8, 8))
        graph = xpconv.onnx.load(path)
        onnxed.same(onnxed.inferred(model, x), onnxed.run(path, x))
        assert [name for name, _ in graph.named_parameters()] == ["conv.weight", "conv.bias"]
        graph.train()
        before = graph.state_dict()
        y = graph(x)
        np.testing.assert_allclose(y, onnxed.run(path, x)[0], rtol=1e-4, atol=1e-5)
        graph.backward(np.ones_like(y))
        assert all(np.array_equal(before[name], value) for name, value in graph.state_dict().items())
        model = graph


def test_a_normalisation_that_is_not_frozen_is_one_that_trains(tmp_path):
    xpconv.onnx.export(xpconv.BatchNorm2d(3, affine=False).eval(), tmp_path / "m.onnx", (3, 8, 8))
    assert isinstance(xpconv.onnx.load(tmp_path / "m.onnx")["output"], xpconv.BatchNorm2d)


def test_a_frozen_normalisation_with_weights_within_the_model_is_one_for_others(tmp_path):
    model = xpconv.Sequential(xpconv.Conv2d(3, 4, 3), xpconv.BatchNorm2d(4)).requires_grad_(False, eval=True)
    xpconv.onnx.export(model.eval(), tmp_path / "m.onnx", (3, 8, 8))
    assert isinstance(xpconv.onnx.load(tmp_path / "m.onnx")["output"], xpconv.BatchNorm2d)


@pytest.mark.parametrize("opset", [13, 17])
@pytest.mark.parametrize("affine", [False, True])
def test_a_normalisation_has_the_same_parameters_again(affine, opset, tmp_path):
    """Without weights it has none, though the operators of ONNX always have some."""
    layers = [
        xpconv.BatchNorm2d(4, affine=affine),
        xpconv.InstanceNorm2d(4, affine=affine),
        xpconv.GroupNorm(2, 4, affine=affine),
        xpconv.LayerNorm(6, elementwise_affine=affine),
        xpconv.AdaptiveAvgPool2d(4),
    ]
    model = xpconv.Sequential(*layers).eval()
    x = np.random.default_rng(0).normal(size=(2, 4, 6, 6)).astype("float32")
    for path in (tmp_path / "first.onnx", tmp_path / "second.onnx"):
        xpconv.onnx.export(model, path, (4, 6, 6), opset=opset)
        graph = xpconv.onnx.load(path)
        assert len(graph.parameters()) == len(xpconv.Sequential(*layers).parameters()) == 8 * affine
        onnxed.same(onnxed.run(path, x), onnxed.inferred(graph, x))
        model = graph
