"""Model files of the command line whose `image_info` is damaged, and damaged settings of a run."""

import json
import re

import numpy as np
import pytest

import xpconv
from xpconv.cli import main

for needed in ("PIL", "safetensors"):
    pytest.importorskip(needed, reason='pip install -e ".[train]"')

from PIL import Image

GOOD = {"classes": ["a", "b", "c"], "shape": [3, 12, 12]}
EARLIER = {**GOOD, "mean": [0.5, 0.5, 0.5], "std": [0.2, 0.2, 0.2]}
DAMAGED = {
    "a number": (3, "image_info is 3"),
    "a list": ([GOOD], "image_info is .*, expected an object"),
    "null": (None, "image_info is None"),
    "nothing": ({}, "image_info has nothing, expected classes, shape"),
    "a field less": ({"classes": ["a", "b", "c"]}, "image_info has classes, expected classes, shape"),
    "a field more": ({**GOOD, "mode": "L"}, "image_info has classes, shape, mode, expected"),
    "mean alone": ({**GOOD, "mean": [0, 0, 0]}, "expected classes, shape, mean, std"),
    "classes: a number": ({**GOOD, "classes": 5}, "classes is 5, expected a list"),
    "classes: a text": ({**GOOD, "classes": "abc"}, "classes is 'abc', expected a list"),
    "classes: numbers": ({**GOOD, "classes": [0, 1, 2]}, "classes is .*, expected a list"),
    "classes: null": ({**GOOD, "classes": ["a", "b", None]}, "classes is .*, expected a list"),
    "classes: nothing": ({**GOOD, "classes": []}, "classes is .*, expected different names"),
    "classes: twice": ({**GOOD, "classes": ["a", "b", "a"]}, "classes is .*, expected different names"),
    "classes: fewer": ({**GOOD, "classes": ["a", "b"]}, r"classes has 2 names, but .* of shape \(1, 3\)"),
    "classes: more": ({**GOOD, "classes": list("abcd")}, r"classes has 4 names, but .* of shape \(1, 3\)"),
    "shape: a number": ({**GOOD, "shape": 12}, "shape is 12, expected three sizes"),
    "shape: text": ({**GOOD, "shape": ["x", 12, 12]}, "shape is .*, expected three sizes"),
    "shape: fractions": ({**GOOD, "shape": [3, 12.0, 12]}, "shape is .*, expected three sizes"),
    "shape: true": ({**GOOD, "shape": [True, 12, 12]}, "shape is .*, expected three sizes"),
    "shape: zero": ({**GOOD, "shape": [3, 0, 12]}, "shape is .*, expected three sizes"),
    "shape: negative": ({**GOOD, "shape": [3, -12, 12]}, "shape is .*, expected three sizes"),
    "shape: two": ({**GOOD, "shape": [3, 12]}, "shape is .*, expected three sizes"),
    "shape: two channels": ({**GOOD, "shape": [2, 12, 12]}, "shape is .*, expected 1 or 3 channels"),
    "shape: large": ({**GOOD, "shape": [3, 10**6, 10**6]}, "shape is .*, expected .* at most"),
    "shape: another": ({**GOOD, "shape": [3, 9, 12]}, r"shape is \[3, 9, 12\], which its layers do not take"),
    "shape: gray": ({**GOOD, "shape": [1, 12, 12]}, r"shape is \[1, 12, 12\], which its layers do not take"),
    "mean: text": ({**EARLIER, "mean": ["q", 0, 0]}, "mean is .*, expected 3 numbers, one for each channel"),
    "mean: one": ({**EARLIER, "mean": [0.5]}, "mean is .*, expected 3 numbers"),
    "mean: NaN": ({**EARLIER, "mean": [0, 0, float("nan")]}, "mean is .*, expected 3 numbers"),
    "mean: a number": ({**EARLIER, "mean": 0.5}, "mean is 0.5, expected 3 numbers"),
    "std: zero": ({**EARLIER, "std": [1, 0, 1]}, "std is .*, expected 3 numbers above 0"),
    "std: infinite": ({**EARLIER, "std": [1, float("inf"), 1]}, "std is .*, expected 3 numbers above 0"),
    "std: null": ({**EARLIER, "std": None}, "std is None, expected 3 numbers above 0"),
}  # fmt: skip


def network():
    return xpconv.Sequential(xpconv.Flatten(), xpconv.Dense(3 * 12 * 12, 3, rng=0)).eval()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with images by class."""
    monkeypatch.chdir(tmp_path)
    for name in "abc":
        (tmp_path / "photos" / name).mkdir(parents=True)
        pixels = np.random.default_rng(0).integers(0, 256, (12, 12, 3), dtype="uint8")
        for i in range(5):
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{i}.png")
    return tmp_path


def told(capsys, *arguments):
    assert main(list(map(str, arguments))) == 1
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.startswith("xpconv: ") and printed.err.count("\n") == 1
    return printed.err


COMMANDS = {
    "predict": ["photos/a/0.png"], "evaluate": ["photos"], "info": [], "export": ["m.onnx"]
}  # fmt: skip


@pytest.mark.parametrize("case", DAMAGED)
def test_damaged(case, folder, capsys):
    info, expected = DAMAGED[case]
    model = network()
    model.image_info = info
    xpconv.save_model(model, "m.safetensors")
    for command, more in list(COMMANDS.items())[: 4 if case == "classes: fewer" else 1]:
        text = told(capsys, command, "m.safetensors", *more)
        assert text.startswith("xpconv: m.safetensors: the model's image_info")
        assert re.search(expected, text), text
    if case == "classes: fewer":
        assert re.search(expected, told(capsys, "train", "photos", "--model", "m.safetensors"))


@pytest.mark.parametrize("case", ["a number", "classes: fewer", "shape: large", "mean: text"])
def test_damaged_metadata_of_onnx(case, folder, capsys):
    pytest.importorskip("onnx", reason='pip install -e ".[onnx]"')
    info, expected = DAMAGED[case]
    xpconv.onnx.export(network(), "m.onnx", (3, 12, 12), metadata={"image_info": json.dumps(info)})
    text = told(capsys, "predict", "m.onnx", "photos/a/0.png")
    assert text.startswith("xpconv: m.onnx: the model's image_info")
    assert re.search(expected, text), text


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (lambda: xpconv.Sequential(xpconv.Dense(12, 3)), r"an array of shape \(1, 3, 12, 3\) for one image"),
        (lambda: xpconv.Graph({"f": (network(), "x")}, "x", ["f", "x"]), "2 arrays for one image"),
        (lambda: xpconv.Sequential(xpconv.Embedding(5, 3)), "its layers do not take: .*expected integer"),
    ],
)
def test_models_that_are_no_classifiers(model, expected, folder, capsys):
    made = model().eval()
    made.image_info = GOOD
    xpconv.save_model(made, "m.safetensors")
    assert re.search(expected, told(capsys, "predict", "m.safetensors", "photos/a/0.png"))


@pytest.mark.parametrize("info", [GOOD, EARLIER, {**GOOD, "classes": ("a", "b", "c")}])
def test_intact(info, folder, capsys):
    model = network()
    model.image_info = info
    xpconv.save_model(model, "m.safetensors")
    for command in (["predict", "m.safetensors", "photos/a/0.png"], ["evaluate", "m.safetensors", "photos"]):
        assert main(command) == 0
    assert main(["info", "m.safetensors"]) == 0
    assert "3 classes: a, b, c" in capsys.readouterr().out


SETTINGS = {
    "data": [3, "", None], "model": [None, 5, []], "size": ["x", 7, 16.0, True], "gray": [1, "no"],
    "skip_damaged": [0, "x"], "valid": [0, 1, -1, "x", True], "lr": ["abc", 0, -1, None, True, float("nan")],
    "epochs": [0, 1.5, "3", None], "batch_size": [0, -1, "x", None, 2.0], "no_augment": [None, 2],
    "seed": ["x", -1, 1.5, None],
}  # fmt: skip


@pytest.mark.slow
def test_damaged_settings_of_a_run(folder, capsys):
    pytest.importorskip("matplotlib", reason='pip install -e ".[train]"')
    assert main(["train", "photos", "--epochs", "1", "--size", "12", "--out", "out", "--json"]) == 0
    capsys.readouterr()
    good = json.loads((folder / "out" / "settings.json").read_text())
    for name, value in [(name, value) for name, values in SETTINGS.items() for value in values]:
        (folder / "out" / "settings.json").write_text(json.dumps({**good, name: value}))
        text = told(capsys, "train", "photos", "--out", "out", "--resume")
        assert f"settings.json is damaged: {name} is " in text and ", expected " in text
    (folder / "out" / "settings.json").write_text(json.dumps(good))
    assert main(["train", "photos", "--out", "out", "--resume", "--epochs", "2", "--json"]) == 0
