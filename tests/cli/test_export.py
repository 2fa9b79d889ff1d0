"""`xpconv export`, and the commands that take the file that it writes."""

import json

import numpy as np
import pytest

import xpconv
from xpconv.cli import main
from xpconv.cli.image_model import ImageInfo, normalized

for needed in ("PIL", "safetensors"):
    pytest.importorskip(needed, reason='pip install -e ".[train]"')
pytest.importorskip("onnx", reason='pip install -e ".[onnx]"')

from onnxed import run
from PIL import Image

INFO = ImageInfo(("cat", "dog", "<fish>"), (3, 16, 16))


@pytest.fixture
def model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    xpconv.manual_seed(0)
    made = normalized(xpconv.models.small_cnn(num_classes=3), (0.5, 0.4, 0.3), (0.2, 0.3, 0.4))
    INFO.attach(made)
    xpconv.save_model(made, "model.safetensors")
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (20, 24, 3), dtype="uint8")).save("photo.png")
    return made.eval()


def test_from_a_model_file_to_predictions_of_the_onnx_file(model, capsys):
    assert main(["export", "model.safetensors", "model.onnx"]) == 0
    assert capsys.readouterr().out == "wrote model.onnx, for batches of images (3, 16, 16)\n"
    x = np.random.default_rng(1).normal(size=(4, 3, 16, 16)).astype("float32")
    with xpconv.no_grad():
        np.testing.assert_allclose(run("model.onnx", x)[0], model(x), rtol=1e-5, atol=1e-5)
    found = []
    for file in ("model.safetensors", "model.onnx"):
        assert main(["predict", file, "photo.png", "--top", "3", "--json"]) == 0
        found.append(json.loads(capsys.readouterr().out)[0]["predictions"])
    assert [p["class"] for p in found[0]] == [p["class"] for p in found[1]]
    np.testing.assert_allclose(*([p["probability"] for p in one] for one in found), atol=1e-5)
    assert main(["info", "model.onnx"]) == 0
    assert "3 classes: cat, dog, <fish>" in capsys.readouterr().out


def test_options(model, capsys):
    assert main(["export", "model.safetensors", "a.onnx", "--fold-batchnorm", "--opset", "20", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"file": "a.onnx", "input_shape": [3, 16, 16]}
    import onnx

    proto = onnx.load("a.onnx")
    assert proto.opset_import[0].version == 20
    assert [node.op_type for node in proto.graph.node].count("BatchNormalization") == 0  # images by Sub, Mul
    xpconv.save_model(xpconv.Sequential(xpconv.Dense(4, 2)), "dense.safetensors")
    assert main(["export", "dense.safetensors", "b.onnx", "--shape", "4"]) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["model.safetensors", "model.txt"], "OUT is model.txt, expected a name that ends with .onnx"),
        (["bare.safetensors", "m.onnx"], "does not have the shape of its images; give --shape, such as"),
        (["bare.safetensors", "m.onnx", "--shape", "3"], "input_shape is (3,), that of one image"),
        (["model.safetensors", "m.onnx", "--opset", "7"], "opset is 7, expected 13 to"),
        (["nothing.safetensors", "m.onnx"], "nothing.safetensors"),
        (["model.safetensors", "no/m.onnx"], "there is no folder"),
        (["photo.png", "m.onnx"], "photo.png"),
    ],
)
def test_errors(arguments, message, model, capsys):
    xpconv.save_model(xpconv.Sequential(xpconv.Dense(4, 2)), "bare.safetensors")
    assert main(["export", *arguments]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert message in printed.err


def test_a_wrong_shape_is_an_error_of_the_arguments(capsys):
    with pytest.raises(SystemExit):
        main(["export", "a", "b.onnx", "--shape", "3x4"])
    assert "expected sizes such as 3,224,224, got '3x4'" in capsys.readouterr().err


def test_an_onnx_file_of_others_does_not_say_its_classes(model, capsys):
    del model.image_info
    xpconv.onnx.export(model, "m.onnx", (3, 16, 16))
    assert main(["predict", "m.onnx", "photo.png"]) == 1
    assert "that `xpconv export` made of one" in capsys.readouterr().err
    xpconv.onnx.export(model, "m.onnx", (3, 16, 16), metadata={"image_info": "{"})
    assert main(["predict", "m.onnx", "photo.png"]) == 1
    assert "the metadata image_info are no JSON" in capsys.readouterr().err


def test_another_shape_is_that_of_the_file_and_of_its_metadata(model, capsys):
    assert main(["export", "model.safetensors", "m.onnx", "--shape", "3,24,20"]) == 0
    graph = xpconv.onnx.load("m.onnx")
    assert graph.image_info["shape"] == [3, 24, 20]
    assert graph.shapes == {"input": (None, 3, 24, 20)}
    assert main(["predict", "m.onnx", "photo.png", "--json"]) == 0
