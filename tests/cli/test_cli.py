"""The command line as a user runs it: a folder of images, a model, a report, predictions."""

import csv
import json
import os
import re
import shutil
import signal
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import process
import pytest

import xpconv
from xpconv.cli import main
from xpconv.train.loop import Loop

for needed in ("PIL", "matplotlib", "safetensors", "tqdm"):
    pytest.importorskip(needed, reason='pip install -e ".[train]"')

from PIL import Image

CLASSES = ("cat & dog", "<fish>", "zebra")  # HTML's own signs
HERE = Path(__file__)


def write_photos(folder, count=12, classes=CLASSES):
    """Noise of different sizes, in which one colour is stronger."""
    rng = np.random.default_rng(0)
    for k, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for i in range(count):
            pixels = rng.integers(0, 120, (*rng.integers(24, 40, 2), 3), dtype="uint8")
            pixels[..., k] += 120
            Image.fromarray(pixels).save(folder / name / f"{i}.png")
    return folder


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return write_photos(tmp_path_factory.mktemp("photos") / "photos")


@pytest.fixture(scope="module")
def run(photos, tmp_path_factory):
    """The folder of a run."""
    out = tmp_path_factory.mktemp("run") / "run"
    assert (
        main(["train", str(photos), "--size", "16", "--epochs", "4", "--batch-size", "12", "--out", str(out)])
        == 0
    )
    return out


def failing(capsys, *arguments):
    """The error of a command that fails, and leaves nothing on standard output."""
    assert main(list(map(str, arguments))) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("xpconv: ")
    assert "Traceback" not in printed.err
    return printed.err


def test_three_commands_from_images_to_a_prediction(run, photos, capsys):
    model = run / "model.safetensors"
    assert sorted(path.name for path in run.iterdir()) == [
        "checkpoints", "log.csv", "model.safetensors", "report.html", "settings.json"
    ]  # fmt: skip
    assert main(["evaluate", str(model), str(photos), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["images"] == 36
    assert found["accuracy"] >= 0.95
    confusion = np.array(found["confusion"])
    assert confusion.sum() == 36
    assert found["accuracy"] == confusion.trace() / 36
    assert main(["predict", str(model), str(photos / "zebra" / "3.png"), "--top", "3"]) == 0
    line = capsys.readouterr().out.splitlines()[1]
    assert line.startswith(str(photos / "zebra" / "3.png"))
    assert re.findall(r"(<fish>|cat & dog|zebra) \d+\.\d%", line)[0] == "zebra"
    rows = list(csv.DictReader((run / "log.csv").read_text().splitlines()))
    assert [row["epoch"] for row in rows] == ["1", "2", "3", "4"]


def test_predictions_are_those_of_the_model(run, photos, capsys, tmp_path):
    """A folder, JSON and CSV agree with the model called by hand on pixels from 0 to 1, which it normalises."""
    model = xpconv.load_model(run / "model.safetensors")
    info = model.image_info
    assert info == {"classes": sorted(CLASSES), "shape": [3, 16, 16]}
    files = xpconv.data.image_files(photos / "<fish>")
    table = tmp_path / "predictions.csv"
    arguments = ["predict", str(run / "model.safetensors"), str(photos / "<fish>"), "--batch-size", "5"]
    assert main([*arguments, "--json", "--csv", str(table)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["file"] for row in found] == list(map(str, files))
    x = np.stack([xpconv.data.read_image(path, 16) for path in files])
    scores = xpconv.train.predict(model, x).astype("float64")
    one = xpconv.data.read_image(files[0], size=info["shape"][1:])[None]
    np.testing.assert_allclose(xpconv.train.predict(model, one), scores[:1], rtol=1e-4, atol=1e-5)
    p = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    best = [row["predictions"][0] for row in found]
    assert [b["class"] for b in best] == [info["classes"][k] for k in p.argmax(axis=1)]
    np.testing.assert_allclose([b["probability"] for b in best], p.max(axis=1), rtol=1e-5)
    rows = list(csv.reader(table.read_text(encoding="utf-8").splitlines()))
    assert rows[0] == ["file", "class", *info["classes"]]
    np.testing.assert_allclose(np.array([row[2:] for row in rows[1:]], float), p, rtol=1e-4, atol=1e-6)


class Page(HTMLParser):
    """What a page refers to, and its text."""

    def __init__(self, text):
        super().__init__()
        self.open, self.sources, self.words = [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.sources += [value for name, value in attributes if name in ("src", "href", "data", "action")]
        if tag not in ("meta", "link", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words += data


def test_report_is_one_file_and_says_what_happened(run):
    text = (run / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    assert page.open == []
    assert all(source.startswith("data:") for source in page.sources)
    assert "url(" not in text
    assert "<fish>" in page.words  # escaped
    assert "cat & dog" in page.words
    for title in ("Learning curves", "Epochs", "Confusion", "Most confident mistakes", "Kernels", "Settings"):
        assert title in page.words
    assert "small_cnn on" in page.words
    assert f"NumPy{np.__version__}" in page.words


def browser():
    return next(
        (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))),
        None,
    )


@pytest.mark.slow
@pytest.mark.skipif(browser() is None, reason="there is no chromium: apt-get install chromium")
@pytest.mark.parametrize("width", [500, 1200])
@pytest.mark.parametrize("mistakes", [False, True])
def test_report_in_a_browser(run, photos, width, mistakes, tmp_path):
    """No error in the console, all pictures there, and nothing wider than the window."""
    least = 3
    if mistakes:
        run, least = tmp_path / "unsure", 8
        options = ["--size", "16", "--epochs", "1", "--lr", "1e-6", "--valid", "0.8", "--out", str(run)]
        assert main(["train", str(photos), *options]) == 0
    probe = """<script>addEventListener("load", () => {
      const images = [...document.images], page = document.documentElement;
      document.title = JSON.stringify({broken: images.filter(i => !i.naturalWidth).length, images: images.length,
        wide: page.scrollWidth - page.clientWidth, sections: document.querySelectorAll("h2").length}); })</script>"""
    page = tmp_path / "report.html"
    page.write_text(
        (run / "report.html").read_text(encoding="utf-8").replace("</body>", probe + "</body>"), "utf-8"
    )
    command = [
        browser(), "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}",
        "--enable-logging=stderr", f"--window-size={width},900", "--virtual-time-budget=5000", "--dump-dom",
        page.as_uri(),
    ]  # fmt: skip
    done = process.run(command)
    assert ":CONSOLE" not in done.stderr
    found = json.loads(re.search("<title>(.*?)</title>", done.stdout)[1].replace("&quot;", '"'))
    assert found["images"] >= least
    assert found == {"broken": 0, "images": found["images"], "wide": 0, "sections": 7}


@pytest.mark.slow
def test_resume_after_ctrl_c(photos, tmp_path, capsys, monkeypatch):
    """The exit status is 130, with how to go on; the result is then that of an uninterrupted run."""
    command = ["train", str(photos), "--size", "16", "--epochs", "3", "--batch-size", "12", "--no-augment"]
    advance = Loop._advance

    def press(loop, group):
        if loop.run.epoch == 2:
            os.kill(os.getpid(), signal.SIGINT)
        advance(loop, group)

    with monkeypatch.context() as patched:
        patched.setattr(Loop, "_advance", press)
        assert main([*command, "--out", str(tmp_path / "a")]) == 130
    assert "--resume" in capsys.readouterr().err
    assert main([*command, "--out", str(tmp_path / "a"), "--resume", "--json"]) == 0
    assert main([*command, "--out", str(tmp_path / "b"), "--json"]) == 0
    resumed, whole = (xpconv.load_model(tmp_path / name / "model.safetensors").state_dict() for name in "ab")
    for name, array in whole.items():
        np.testing.assert_array_equal(resumed[name], array)


def test_other_settings_do_not_resume(run, photos, capsys):
    base = ["train", photos, "--size", "16", "--epochs", "4", "--batch-size", "12", "--out", run]
    assert "--lr 0.003 (now 0.1)" in failing(capsys, *base, "--resume", "--lr", "0.1")
    assert "--resume" in failing(capsys, *base)


def test_parts_of_a_folder(tmp_path, capsys):
    write_photos(tmp_path / "set" / "train", 8)
    write_photos(tmp_path / "set" / "val", 3)
    arguments = ["train", str(tmp_path / "set"), "--size", "16", "--epochs", "1", "--json"]
    assert main(arguments) == 0
    assert json.loads(capsys.readouterr().out)["epochs"] == 1
    shutil.rmtree(tmp_path / "set" / "val" / "zebra")
    assert "zebra" in failing(capsys, *arguments)


@pytest.mark.slow
def test_named_data_gray_and_a_model_file(tmp_path, capsys, photos):
    out = tmp_path / "digits"
    assert main(["train", "digits", "--epochs", "1", "--out", str(out), "--json"]) == 0
    assert main(["evaluate", str(out / "model.safetensors"), "digits"]) == 0
    printed = capsys.readouterr().out
    assert "360 images, accuracy" in printed
    assert (
        main(["train", "digits", "--epochs", "1", "--model", str(out / "model.safetensors"), "--json"]) == 0
    )
    first, second = (json.loads(line) for line in (printed.splitlines()[0], capsys.readouterr().out))
    assert second["loss"] < first["loss"]  # it went on from the model of the file
    assert main(["train", str(photos), "--size", "12", "--gray", "--epochs", "1", "--model", "lenet5"]) == 1
    assert "lenet5 does not take images of (1, 12, 12)" in capsys.readouterr().err
    assert (
        main(["train", str(photos), "--size", "28", "--gray", "--epochs", "1", "--model", "lenet5", "--json"])
        == 0
    )


@pytest.mark.slow
def test_errors_say_what_to_do(run, photos, tmp_path, capsys):
    model = run / "model.safetensors"
    assert "or one of digits, mnist" in failing(capsys, "train", tmp_path / "nothing")
    assert "give --size" in failing(capsys, "train", photos)
    assert "resnet18" in failing(capsys, "train", "digits", "--model", "resnet1")
    assert "no classifier" in failing(capsys, "train", photos, "--size", "16", "--model", "unet")
    assert "there is no file" in failing(capsys, "predict", model, tmp_path / "no.png")
    (tmp_path / "text.png").write_text("no image")
    assert "not an image" in failing(capsys, "predict", model, tmp_path / "text.png")
    (tmp_path / "empty").mkdir()
    assert "has no image files" in failing(capsys, "predict", model, tmp_path / "empty")
    assert "text.png" in failing(capsys, "info", tmp_path / "text.png")
    xpconv.save_model(xpconv.Dense(2, 2), tmp_path / "dense.safetensors")
    assert "no image_info" in failing(capsys, "predict", tmp_path / "dense.safetensors", photos)
    assert "--data-dir" not in failing(capsys, "evaluate", model, "nowhere")
    assert "takes images" in failing(capsys, "evaluate", model, "digits")


@pytest.mark.parametrize(
    "arguments",
    [
        [], ["nothing"], ["train"], ["train", "digits", "--epochs", "0"], ["train", "digits", "--lr", "nan"],
        ["train", "digits", "--resume"], ["train", "digits", "--valid", "1"], ["predict", "model"],
    ],
)  # fmt: skip
def test_wrong_arguments_exit_with_2(arguments, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["xpconv", *arguments])
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 2
    assert "usage: xpconv" in capsys.readouterr().err


def test_predictions_without_damaged_images(run, photos, tmp_path, capsys):
    """They are named on standard error; the rows of the others are as without them."""
    folder = tmp_path / "mixed"
    shutil.copytree(photos / "zebra", folder)
    (folder / "00.png").write_bytes(b"\x89PNG no more")
    (folder / "5x.jpg").write_text("no image")
    model = str(run / "model.safetensors")
    assert "--skip-damaged" in failing(capsys, "predict", model, folder)
    assert main(["predict", model, str(folder), "--skip-damaged", "--json", "--batch-size", "4"]) == 0
    found = capsys.readouterr()
    assert "00.png" in found.err
    assert "5x.jpg" in found.err
    assert main(["predict", model, str(photos / "zebra"), "--json", "--batch-size", "4"]) == 0
    expected = json.loads(capsys.readouterr().out)
    rows = json.loads(found.out)
    assert [Path(row["file"]).name for row in rows] == [Path(row["file"]).name for row in expected]
    for row, other in zip(rows, expected, strict=True):
        assert row["predictions"][0]["class"] == other["predictions"][0]["class"]
        assert row["predictions"][0]["probability"] == pytest.approx(
            other["predictions"][0]["probability"], 1e-4
        )
    assert main(["predict", model, str(folder / "00.png"), "--skip-damaged"]) == 1
    assert "none of the files is an intact image" in capsys.readouterr().err


def test_damaged_images_are_left_out_on_request(tmp_path, capsys):
    write_photos(tmp_path / "set", 6)
    (tmp_path / "set" / "zebra" / "broken.png").write_bytes(b"\x89PNG no more")
    arguments = ["train", tmp_path / "set", "--size", "16", "--epochs", "1"]
    assert "give --skip-damaged" in failing(capsys, *arguments)
    assert main([*map(str, arguments), "--skip-damaged"]) == 0
    assert "1 damaged file left out" in capsys.readouterr().out


def test_info_of_a_model(run, capsys):
    assert main(["info", str(run / "model.safetensors")]) == 0
    printed = capsys.readouterr().out
    assert "3 classes: <fish>, cat & dog, zebra" in printed
    assert "Conv2d(3, 32, kernel_size=3" in printed
    assert main(["info", str(run / "model.safetensors"), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    model = xpconv.load_model(run / "model.safetensors")
    assert facts["parameters"] == sum(p.size for p in model.parameters())
