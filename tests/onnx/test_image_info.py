"""`image_info`: from a model to its file, from there to a graph and to the command line."""

import json

import numpy as np
import pytest

import xpconv

for needed in ("onnx", "PIL"):
    pytest.importorskip(needed)

from PIL import Image

from xpconv.cli import main
from xpconv.onnx import export, load
from xpconv.onnx.export import metadata_of

INFO = {"classes": ["cat", "dog"], "shape": [3, 8, 8]}


def network(classes=2):
    return xpconv.Sequential(
        xpconv.Conv2d(3, 4, 3), xpconv.AdaptiveAvgPool2d(1), xpconv.Flatten(), xpconv.Dense(4, classes)
    ).eval()


def described(classes=2, info=INFO):
    model = network(classes)
    model.image_info = info
    return model


def test_a_model_a_graph_and_what_is_made_of_it(tmp_path):
    export(described(), path := tmp_path / "a.onnx", (3, 8, 8))
    graph = load(path)
    assert graph.image_info == INFO
    for made in (graph, graph.fuse(), described().fuse()):
        export(made, path, (3, 8, 8), fold_batchnorm=True)
        assert json.loads(metadata_of(path)["image_info"]) == INFO


def test_the_shape_is_that_of_the_file(tmp_path):
    model = described(info={"classes": ("cat", "dog"), "shape": (3, 8, 8)})
    for shape in ((3, 12, 10), np.zeros((7, 3, 12, 10), "float32")):
        export(model, path := tmp_path / "a.onnx", shape)
        assert load(path).image_info == {**INFO, "shape": [3, 12, 10]}
    assert model.image_info["shape"] == (3, 8, 8)


def test_a_tuned_graph_predicts(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    export(network(5), "theirs.onnx", (3, 8, 8))
    Image.fromarray(np.zeros((9, 9, 3), "uint8")).save("photo.png")
    assert main(["predict", "theirs.onnx", "photo.png"]) == 1
    assert 'model.image_info = {"classes": ["cat", "dog"], "shape": [3, 224, 224]}' in capsys.readouterr().err
    graph = load("theirs.onnx")
    graph[list(graph.nodes)[-1]] = xpconv.Dense(4, 2)
    graph.image_info = INFO
    export(graph.eval(), "ours.onnx", (3, 8, 8))
    xpconv.save_model(graph, "ours.safetensors")
    for name in ("ours.onnx", "ours.safetensors"):
        assert main(["predict", name, "photo.png", "--json"]) == 0
        assert "class" in capsys.readouterr().out


def test_metadata_that_is_given_goes_first(tmp_path):
    export(described(), path := tmp_path / "a.onnx", (3, 8, 8), metadata={"image_info": "mine", "a": "b"})
    assert metadata_of(path) == {"image_info": "mine", "a": "b"}
    assert not hasattr(load(path), "image_info")


@pytest.mark.parametrize(
    ("info", "message"),
    [
        ({**INFO, "classes": [0, 1]}, r"classes is \[0, 1\], expected a list of their names"),
        ({"classes": ["a", "b"]}, "has classes, expected classes, shape"),
        (["cat", "dog"], "expected an object"),
        (
            {**INFO, "classes": ["a", "b", "c"]},
            r"classes has 3 names, but the model gives an array of shape \(2,\) for each image; set "
            r"model.image_info = .*, or delete it: del model.image_info",
        ),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_written(info, message, tmp_path):
    with pytest.raises(ValueError, match=f"^xpconv.onnx.export: the model's image_info.*{message}"):
        export(described(info=info), tmp_path / "a.onnx", (3, 8, 8))
    assert not list(tmp_path.iterdir())


def test_outputs_that_are_no_scores(tmp_path):
    export(described(), path := tmp_path / "a.onnx", (3, 8, 8))
    graph = load(path)
    first, *_, last = graph.nodes
    graph.outputs = [first, last]
    with pytest.raises(
        ValueError, match=r"is for one batch of images and their scores.*del model.image_info"
    ):
        export(graph, path, (3, 8, 8))
    del graph.image_info
    export(graph, path, (3, 8, 8))
    assert "image_info" not in metadata_of(path)
