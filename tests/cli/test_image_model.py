"""What is in the model file of `xpconv train`: the normalisation of its images, and the best weights."""

import json
import re

import numpy as np
import pytest

import xpconv
from xpconv.cli import main
from xpconv.cli.image_model import normalized, open_model

for needed in ("PIL", "matplotlib", "safetensors"):
    pytest.importorskip(needed, reason='pip install -e ".[train]"')

from PIL import Image

MEAN, STD = [0.5, 0.4, 0.3], [0.2, 0.3, 0.001]
IMAGES = np.random.default_rng(0).random((4, 3, 16, 16), dtype="float32")
NORMALIZED = (IMAGES - np.array(MEAN, "float32")[:, None, None]) / np.array(STD, "float32")[:, None, None]


def test_the_first_layer_normalises_in_every_mode(backend):
    model = normalized(xpconv.Flatten(), MEAN, STD)
    x = xpconv.asarray(IMAGES)
    for mode in (model.train(), model.eval()):
        found = xpconv.asnumpy(mode(x))
        np.testing.assert_allclose(found, NORMALIZED.reshape(4, -1), rtol=1e-4, atol=1e-4)
    assert list(model.parameters()) == []


def test_training_leaves_the_normalisation_as_it_is(tmp_path):
    """Also training on from the file."""
    data = xpconv.data.batches(IMAGES, np.array([0, 1, 0, 1]), 2)
    model = normalized(xpconv.models.small_cnn(num_classes=2), MEAN, STD)
    before = {name: array.copy() for name, array in model["normalize"].state_dict().items()}
    for _ in range(2):
        optimizer = xpconv.SGD(model.parameters(), lr=0.01)
        xpconv.train.fit(model.train(), xpconv.SoftmaxCrossEntropyLoss(), optimizer, data, epochs=1)
        xpconv.save_model(model.eval(), tmp_path / "model.safetensors")
        model = xpconv.load_model(tmp_path / "model.safetensors")
    for name, array in model["normalize"].state_dict().items():
        np.testing.assert_array_equal(array, before[name])


def test_a_file_of_an_earlier_version_gives_the_same_answers(tmp_path, capsys, monkeypatch):
    """Its model takes normalised images, and mean and deviation are in `image_info`."""
    monkeypatch.chdir(tmp_path)
    network = xpconv.models.small_cnn(num_classes=2).eval()
    network.image_info = {"classes": ["a", "b"], "shape": [3, 16, 16], "mean": MEAN, "std": STD}
    xpconv.save_model(network, "earlier.safetensors")
    model = open_model("earlier.safetensors")
    assert model.image_info == {"classes": ["a", "b"], "shape": [3, 16, 16]}
    with xpconv.no_grad():
        np.testing.assert_allclose(model(IMAGES), network(NORMALIZED), rtol=1e-3, atol=1e-4)
    Image.fromarray((IMAGES[0].transpose(1, 2, 0) * 255).astype("uint8")).save("photo.png")
    assert main(["predict", "earlier.safetensors", "photo.png", "--json"]) == 0
    assert main(["info", "earlier.safetensors"]) == 0
    assert "2 classes: a, b" in capsys.readouterr().out


@pytest.mark.slow
def test_weights_of_the_best_epoch_are_saved(tmp_path, capsys):
    """The one with the lowest validation loss, and not the last; also of a run that goes on."""
    out = tmp_path / "run"
    command = ["train", "digits", "--batch-size", "256", "--lr", "0.5", "--out", str(out)]
    for epochs, more in (("6", []), ("8", ["--resume"])):
        assert main([*command, "--epochs", epochs, *more]) == 0
        printed = capsys.readouterr().out
        epoch = int(
            re.search(r"with the weights of epoch (\d+), which has the lowest validation loss", printed)[1]
        )
        rows = (out / "log.csv").read_text().splitlines()
        column = rows[0].split(",").index("valid_loss")
        losses = [float(row.split(",")[column]) for row in rows[1:]]
        assert losses.index(min(losses)) == epoch - 1
        assert main(["evaluate", str(out / "model.safetensors"), "digits", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["loss"] == pytest.approx(min(losses), rel=1e-4)
        report = (out / "report.html").read_text()
        assert f"<b>{epoch}</b>epoch with the lowest validation loss" in report
        table = re.search("<table>.*?</table>", report, re.DOTALL)[0]
        assert len(re.findall(r"\d+\.\d</td></tr>", table)) == int(epochs)  # their seconds


def test_folders_of_runs_say_what_to_give(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["train", "digits", "--batch-size", "512", "--epochs", "1", "--out", "run"]) == 0
    with pytest.raises(OSError, match=r"is a folder or device, .*; there is 'run/model\.safetensors'"):
        xpconv.load_model("run")
    with pytest.raises(OSError, match=r"there is 'run/checkpoints/step-\d+.safetensors'"):
        xpconv.load("run/checkpoints", model=xpconv.Dense(2, 2))
    capsys.readouterr()
    assert main(["predict", "run", "photo.png"]) == 1
    assert "a folder; give run/model.safetensors" in capsys.readouterr().err
    (tmp_path / "run" / "model.safetensors").unlink()  # as after SIGKILL
    assert main(["predict", "run", "photo.png"]) == 1
    assert "has not ended; continue it: xpconv train digits --out run --resume" in capsys.readouterr().err
    (tmp_path / "run" / "settings.json").write_text("{")
    assert main(["predict", "run", "photo.png"]) == 1
    assert "xpconv train DATA --out run --resume" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert main(["predict", "empty", "photo.png"]) == 1
    assert "give a .safetensors file" in capsys.readouterr().err
