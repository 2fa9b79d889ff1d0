"""The command line with data, names and folders that are not as expected."""

import csv
import json
import os
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import process
import pytest

import xpconv
from xpconv.cli import main

for needed in ("PIL", "matplotlib", "safetensors", "tqdm"):
    pytest.importorskip(needed, reason='pip install -e ".[train]"')

from PIL import Image

ROOT = Path(__file__).parents[2]


def write_images(folder, classes=("a", "b"), count=6, side=16):
    """Noise, for each class `count` files."""
    rng = np.random.default_rng(0)
    for name in classes:
        (folder / name).mkdir(parents=True)
        for i in range(count):
            pixels = rng.integers(0, 256, (side, side, 3), dtype="uint8")
            Image.fromarray(pixels).save(folder / name / f"{i}.png")
    return folder


def run(*arguments):
    return main(list(map(str, arguments)))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with images, and a run on them in `out`."""
    folder = tmp_path_factory.mktemp("trained")
    write_images(folder / "photos")
    assert run("train", folder / "photos", "--epochs", 1, "--out", folder / "out", "--json") == 0
    return folder


@pytest.fixture
def copied(trained, tmp_path):
    """A copy of that, which may be changed, with the settings of a run on it."""
    folder = shutil.copytree(trained, tmp_path / "copy")
    settings = json.loads((folder / "out" / "settings.json").read_text())
    settings["data"] = str(folder / "photos")
    (folder / "out" / "settings.json").write_text(json.dumps(settings))
    return folder


def failing(capsys, *arguments, status=1):
    """The error of a command that fails before it prints a result."""
    assert run(*arguments) == status
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("xpconv: ")
    return printed.err


def test_too_few_classes_or_images(tmp_path, capsys):
    one = write_images(tmp_path / "one", ["cat"])
    assert "one class only, cat" in failing(capsys, "train", one)
    assert "one class only, train" in failing(capsys, "train", write_images(tmp_path / "t" / "train").parent)
    single = write_images(tmp_path / "single", ["cat", "dog"], 1)
    assert "class cat has one image only" in failing(capsys, "train", single)
    two = write_images(tmp_path / "two")
    text = failing(capsys, "train", two, "--valid", "0.01")
    assert "--valid 0.01 sets 1 of 12 images aside, expected 2 to 10" in text
    assert "stratify" not in text
    assert "between 0.17 and 0.83" in failing(capsys, "train", two, "--valid", "0.99")


def test_parts_with_other_classes(tmp_path, capsys):
    many = [f"c{i:03}" for i in range(200)]
    for part, classes in (("train", [*many, "z"]), ("valid", many)):
        for name in classes:
            (tmp_path / part / name).mkdir(parents=True)
            Image.new("RGB", (8, 8)).save(tmp_path / part / name / "1.png")
    text = failing(capsys, "train", tmp_path)
    assert "only one of train and valid has z" in text
    assert len(text) < 300


def test_options_that_do_not_apply(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for option in ("--gray", "--size=16", "--valid=0.2", "--skip-damaged", "--data-dir=x"):
        text = failing(capsys, "train", "digits", option)
        assert text == f"xpconv: {option.split('=')[0]} does not apply to the data set digits; leave it out\n"
    (tmp_path / "digits").mkdir()
    assert "give ./digits" in failing(capsys, "train", "digits", "--gray")
    photos = write_images(tmp_path / "photos")
    assert "--data-dir does not apply" in failing(capsys, "train", photos, "--data-dir", "x")
    write_images(tmp_path / "parts" / "train")
    write_images(tmp_path / "parts" / "test")
    assert "--valid does not apply" in failing(capsys, "train", "parts", "--valid", "0.2")


def test_a_folder_with_the_name_of_a_model(tmp_path, monkeypatch):
    """`--model small_cnn --out small_cnn` makes such a folder; the name still means the model."""
    monkeypatch.chdir(tmp_path)
    write_images(tmp_path / "photos")
    (tmp_path / "small_cnn").mkdir()
    assert run("train", "photos", "--epochs", "1", "--model", "small_cnn", "--json") == 0


@pytest.mark.slow
def test_names_of_classes_are_text(tmp_path, capsys):
    """Formulas, HTML, commas, quotes, lines and letters of other scripts."""
    names = ["$1_{$", 'a,"b"\nc', "<b>&amp;", "x^2 $y$", "猫", "कुत्ता"]
    photos = write_images(tmp_path / "photos", names)
    out = tmp_path / "out"
    assert run("train", photos, "--epochs", 1, "--out", out, "--json") == 0
    json.loads(capsys.readouterr().out)
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "&lt;b&gt;&amp;amp;" in page
    assert "<b>&amp;" not in page
    assert page.count("猫") >= 4  # in the matrix, in the table and below images
    model = out / "model.safetensors"
    assert run("predict", model, photos, "--csv", tmp_path / "p.csv", "--top", 6) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + 36 + 1
    assert r'a,"b"\nc' in lines[1]
    with open(tmp_path / "p.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["file", "class", *sorted(names)]
    assert {len(row) for row in rows} == {8}
    assert run("evaluate", model, photos) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2 + 1 + 6


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="other systems have names in UTF-8 or UTF-16 only")
def test_names_that_are_no_text(copied, tmp_path, capsys):
    photos, out = copied / "photos", copied / "out"
    odd = os.fsdecode(b"\xff.png")
    os.rename(photos / "a" / "0.png", photos / "a" / odd)
    table = tmp_path / "p.csv"
    assert run("predict", out / "model.safetensors", photos / "a" / odd, "--csv", table) == 0
    assert r"\udcff.png" in capsys.readouterr().out
    assert r"\udcff.png" in table.read_text(encoding="utf-8")
    whole, odd_out = os.fsdecode(b"\xfd"), copied / os.fsdecode(b"\xfc")
    os.rename(photos, copied / whole)
    assert run("train", copied / whole, "--epochs", 1, "--out", odd_out) == 0
    assert r"\udcfd" in (odd_out / "report.html").read_text(encoding="utf-8")
    capsys.readouterr()
    os.rename(copied / whole, photos)
    os.rename(photos / "a", photos / os.fsdecode(b"\xfe"))
    assert "not UTF-8; rename the folder" in failing(capsys, "train", photos)


@pytest.mark.slow
def test_a_loss_that_is_not_a_number(tmp_path, capsys):
    """The model keeps its parameters from before, and the exit status says that the run failed."""
    photos, out = write_images(tmp_path / "photos"), tmp_path / "out"
    with np.errstate(all="ignore"):
        assert run("train", photos, "--epochs", 30, "--lr", "1e30", "--out", out, "--json") == 1
    printed = capsys.readouterr()
    result = json.loads(printed.out, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert result["epochs"] < 30
    assert "give a lower --lr" in printed.err
    state = xpconv.load_model(out / "model.safetensors").state_dict()
    assert all(np.isfinite(array).all() for array in state.values())


@pytest.mark.slow
def test_scores_that_are_not_numbers(copied, tmp_path, capsys):
    photos, out = copied / "photos", copied / "out"
    model = xpconv.load_model(out / "model.safetensors")
    next(iter(model.parameters())).data[...] = np.nan
    path = tmp_path / "nan.safetensors"
    xpconv.save_model(model, path)
    for command in ("predict", "evaluate"):
        assert "scores of 12 of 12 images are NaN" in failing(capsys, command, path, photos)


def test_digits_have_one_test_part():
    """Whatever the seed of training, `evaluate` shows no image that the model was trained on."""
    pytest.importorskip("sklearn")
    from xpconv.cli.images import open_images

    options = {"data_dir": None, "size": None, "gray": False, "valid": 0.2, "skip": False}
    first, second = (open_images("digits", seed=seed, **options) for seed in (0, 5))
    np.testing.assert_array_equal(first.valid[0], second.valid[0])


def test_damaged_images_in_evaluate(copied, capsys):
    photos, out = copied / "photos", copied / "out"
    (photos / "a" / "broken.png").write_text("no image")
    model = out / "model.safetensors"
    assert "give --skip-damaged" in failing(capsys, "evaluate", model, photos)
    assert run("evaluate", model, photos, "--skip-damaged") == 0
    assert "12 images, 1 damaged file left out, accuracy" in capsys.readouterr().out


@pytest.mark.slow
def test_out_has_other_files(tmp_path, capsys):
    """Nothing is replaced that is not of a run, and a run without a checkpoint is none."""
    photos, out = write_images(tmp_path / "photos"), tmp_path / "out"
    command = ["train", photos, "--epochs", 1, "--out", out, "--json"]
    out.mkdir()
    for name in ("log.csv", "model.safetensors"):
        (out / name).write_text("precious")
        assert f"has {name}, but no settings.json" in failing(capsys, *command)
        assert (out / name).read_text() == "precious"
        (out / name).unlink()
    for text in ("", '{"da', "[]", '{"editor": 1}'):
        (out / "settings.json").write_text(text)
        assert "damaged, or not of a run" in failing(capsys, *command, "--resume")
        assert (out / "settings.json").read_text() == text
    (out / "settings.json").write_text(json.dumps({"data": "x", "model": "y", "seed": 3}))
    assert run(*command) == 0  # that run was never begun
    assert json.loads((out / "settings.json").read_text())["classes"] == ["a", "b"]
    capsys.readouterr()
    assert "has a run already" in failing(capsys, *command)
    for path in (out / "checkpoints").iterdir():
        path.unlink()
    assert "no checkpoints to continue from" in failing(capsys, *command, "--resume")


def test_other_data_do_not_resume(copied, capsys):
    photos, out = copied / "photos", copied / "out"
    command = ["train", photos, "--epochs", 1, "--out", out, "--json"]
    (photos / "a").rename(photos / "c")
    assert "its classes were ['a', 'b'], now they are ['b', 'c']" in failing(capsys, *command, "--resume")
    (photos / "c").rename(photos / "a")
    (photos / "a" / "0.png").unlink()
    assert "its images were" in failing(capsys, *command, "--resume")


@pytest.mark.skipif(os.name == "nt", reason="pipes of Unix")
def test_a_reader_that_stops(trained):
    """As with `| head`: no traceback, and a status of its own."""
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "xpconv", "info", str(trained / "out" / "model.safetensors")]
    done = process.run(command, stdout=write, env=process.environment(PYTHONPATH=str(ROOT)), check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (1, "")


def test_paths_that_cannot_be(trained, capsys):
    """Errors come before the work, and name the option."""
    photos, model = trained / "photos", trained / "out" / "model.safetensors"
    image = photos / "a" / "0.png"
    for out in (model, model / "deeper"):
        assert f"--out {out} is a file" in failing(capsys, "train", photos, "--out", out)
    for table in (photos, photos / "none" / "p.csv"):
        assert f"--csv {table} is a folder, or in none" in failing(
            capsys, "predict", model, image, "--csv", table
        )
    for option in ("--out", "--data-dir"):
        with pytest.raises(SystemExit):
            run("train", photos, option, "")
        assert f"argument {option}: expected a path" in capsys.readouterr().err


@pytest.mark.slow
def test_a_last_batch_of_one_image(tmp_path, capsys):
    """BatchNorm has no variance of one value; such a batch is left out, in each epoch with another image."""
    photos = write_images(tmp_path / "photos", count=8, side=8)
    command = ["train", photos, "--valid", "0.4", "--epochs", 1, "--batch-size", 4, "--json"]
    assert run(*command, "--model", "resnet18") == 0
    assert json.loads(capsys.readouterr().out)["epochs"] == 1


def test_evaluate_a_folder_of_parts(trained, tmp_path, capsys):
    for part in ("train", "valid"):
        shutil.copytree(trained / "photos", tmp_path / part)
    model = trained / "out" / "model.safetensors"
    assert "train/ and valid/, one of the two" in failing(capsys, "evaluate", model, tmp_path)
    assert run("evaluate", model, tmp_path / "valid") == 0


@pytest.mark.slow
def test_a_run_goes_on_with_its_settings_and_for_longer(tmp_path, capsys):
    """What is not given is as it was; more epochs are trained; fewer than are done is an error."""
    photos, out = write_images(tmp_path / "photos"), tmp_path / "out"
    first = [
        "--size",
        12,
        "--gray",
        "--epochs",
        2,
        "--batch-size",
        4,
        "--lr",
        0.01,
        "--seed",
        3,
        "--no-augment",
    ]
    assert run("train", photos, "--out", out, *first, "--json") == 0
    assert json.loads(capsys.readouterr().out)["epochs"] == 2
    resume = ["train", photos, "--out", out, "--resume", "--json"]
    assert run(*resume, "--epochs", 5) == 0
    assert json.loads(capsys.readouterr().out)["epochs"] == 5
    settings = json.loads((out / "settings.json").read_text())
    assert [settings[name] for name in ("size", "gray", "epochs", "batch_size", "lr", "seed", "no_augment")] == [
        12, True, 5, 4, 0.01, 3, True
    ]  # fmt: skip
    rows = list(csv.DictReader((out / "log.csv").read_text().splitlines()))
    assert [row["epoch"] for row in rows] == ["1", "2", "3", "4", "5"]
    rates = [float(row["lr"]) for row in rows]
    assert rates[2] > 2 * rates[1]  # the rate is that of a run of five epochs from there on
    assert rates[4] < rates[3] < rates[2]
    model = (out / "model.safetensors").read_bytes()
    assert run(*resume) == 0  # nothing is left to do
    assert json.loads(capsys.readouterr().out)["epochs"] == 5
    assert (out / "model.safetensors").read_bytes() == model
    assert "has a run of 5 epochs; give --epochs 5 or more" in failing(capsys, *resume, "--epochs", 4)
    assert "--size 12 (now 16), --no-augment" not in failing(capsys, *resume, "--size", 16)
    assert f"DATA {photos} (now digits)" in failing(capsys, "train", "digits", *resume[2:])
    assert json.loads((out / "settings.json").read_text()) == settings


def test_options_that_were_not_given_before(copied, capsys):
    command = ["train", copied / "photos", "--out", copied / "out", "--resume"]
    assert "--gray not given (now True)" in failing(capsys, *command, "--gray")


@pytest.mark.slow
def test_few_images_make_enough_steps(tmp_path, capsys):
    """By default; who asks for less is told so."""
    rng = np.random.default_rng(0)
    for k, name in enumerate(("dark", "light")):
        (tmp_path / "few" / name).mkdir(parents=True)
        for i in range(10):
            pixels = rng.integers(80 * k, 176 + 80 * k, (16, 16, 3), dtype="uint8")
            Image.fromarray(pixels).save(tmp_path / "few" / name / f"{i}.png")
    assert run("train", tmp_path / "few") == 0
    printed = capsys.readouterr()
    assert "batches of 8, 100 epochs" in printed.out
    assert "accuracy on the 4 validation images: 100.00%" in printed.out
    assert printed.err == ""
    assert run("train", tmp_path / "few", "--epochs", 1, "--batch-size", 64, "--json") == 0
    assert "the model learns in 1 step only, 1 an epoch; give more --epochs" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("count", "given", "expected"),
    [
        (1, {}, (8, 200)), (16, {}, (8, 100)), (159, {}, (8, 10)), (160, {}, (16, 20)), (320, {}, (32, 20)),
        (639, {}, (32, 10)), (640, {}, (64, 20)), (1437, {}, (64, 10)), (60000, {}, (64, 10)),
        (16, {"batch_size": 64}, (64, 200)), (16, {"epochs": 100}, (8, 100)), (640, {"batch_size": 4}, (4, 10)),
    ],
)  # fmt: skip
def test_default_lengths(count, given, expected, capsys):
    from argparse import Namespace

    from xpconv.cli.train import _set_lengths

    options = Namespace(**{"batch_size": None, "epochs": None, **given})
    _set_lengths(options, count)
    assert (options.batch_size, options.epochs) == expected
    assert capsys.readouterr().err == ""


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["score", "save_model", "write_report"])
def test_a_second_ctrl_c(tmp_path, capsys, monkeypatch, moment):
    """While the model is measured or written: the run can go on, and the message says so."""
    import xpconv.cli.train as module

    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    photos, out = write_images(tmp_path / "photos"), tmp_path / "out"
    command = ["train", photos, "--epochs", 1, "--out", out]
    with monkeypatch.context() as patch:
        patch.setattr(module, moment, interrupted)
        assert run(*command) == 130
        assert (
            "xpconv: interrupted; the same command with --resume continues the run\n"
            in capsys.readouterr().err
        )
    assert run(*command, "--resume") == 0
    assert (out / "report.html").exists()
    capsys.readouterr()
    monkeypatch.setattr(module, "open_images", interrupted)  # before there is anything to go on with
    assert run("train", photos, "--out", tmp_path / "other") == 130
    assert capsys.readouterr().err == "\nxpconv: interrupted\n"
    assert run("train", photos) == 130


def test_arguments_in_another_order(trained, tmp_path, capsys, monkeypatch):
    photos, model = trained / "photos", trained / "out" / "model.safetensors"
    image = photos / "a" / "0.png"
    for command in (
        ["predict", image, model],
        ["predict", photos, image, model],
        ["evaluate", photos, model],
    ):
        assert f"MODEL is {command[1]}, but {model} looks like one: give the model first" in failing(
            capsys, *command
        )
    assert f"a folder; give {model}" in failing(capsys, "predict", trained / "out", image)
    assert "a folder; give a .safetensors file" in failing(capsys, "info", photos)
    assert "that is a file; give a folder of images" in failing(capsys, "train", image)
    assert f"load_model: {str(image)!r}" in failing(capsys, "predict", image, image)


@pytest.mark.slow
def test_the_report_names_files_and_settings(trained, tmp_path):
    page = (trained / "out" / "report.html").read_text(encoding="utf-8")
    assert "<b>9</b>training images" in page
    text = re.sub("<[^>]*>", " ", page)
    for setting in ("size  16 × 16, as they are", "valid  0.2", "batch-size  8", "gray  no"):
        assert setting in text
    assert "–  " not in text.split("Settings")[1]
    names = re.findall(r"<small>([^<]*)</small>", page)
    model = trained / "out" / "model.safetensors"
    assert len(names) == len(set(names)) == page.count("<figcaption>") >= 1
    assert all((trained / "photos" / name).is_file() for name in names)
    assert model.is_file()
    write_images(tmp_path / "parts" / "train")
    write_images(tmp_path / "parts" / "val")
    assert run("train", tmp_path / "parts", "--epochs", 1, "--out", tmp_path / "out", "--json") == 0
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "<td>images of their own</td>" in page
    names = re.findall(r"<small>([^<]*)</small>", page)
    assert names and all(name.startswith("val/") for name in names)


@pytest.mark.slow
def test_mistakes_of_the_report_are_those_of_the_model(tmp_path):
    """Its files are the ones that `predict` classifies otherwise than their folders."""
    photos, out = write_images(tmp_path / "photos", count=30), tmp_path / "out"
    assert run("train", photos, "--epochs", 1, "--valid", 0.5, "--out", out, "--json") == 0
    page = (out / "report.html").read_text(encoding="utf-8")
    found = re.findall(r"<b>(\w)</b> ([\d.]+)%, is (\w)<br><small>([^<]*)</small>", page)
    assert len(found) >= 5
    table = tmp_path / "p.csv"
    assert run("predict", out / "model.safetensors", photos, "--csv", table) == 0
    with open(table, newline="", encoding="utf-8") as file:
        rows = {row["file"]: row for row in csv.DictReader(file)}
    for said, share, true, name in found:
        row = rows[str(photos / name)]
        assert (row["class"], Path(name).parent.name) == (said, true)
        assert said != true
        assert abs(100 * float(row[said]) - float(share)) < 0.06
    shares = [float(share) for _, share, _, _ in found]
    assert shares == sorted(shares, reverse=True)


def test_tables_with_wide_letters_are_aligned(trained, tmp_path, capsys):
    from xpconv.cli.evaluate import Scores, per_class

    scores = np.eye(3)[[0, 1, 2, 0]]
    rows = per_class(Scores(scores, np.array([0, 1, 2, 1]), ("猫と犬", "e\u0301", "dog")))
    assert [row[: row.index("100") if "100" in row else -1] for row in rows[1:2]] == ["猫と犬       1  "]
    assert rows[2].startswith("e\u0301            2   50.0%   猫と犬 (1)")
    assert rows[3].startswith("dog          1  100.0%")


@pytest.mark.slow
def test_out_within_the_images(tmp_path, capsys):
    """It would be taken for a class; no folder is made."""
    photos = write_images(tmp_path / "photos")
    for out in (photos, photos / "run", photos / "a" / "run"):
        assert f"--out {out} is in {photos}" in failing(capsys, "train", photos, "--out", out)
    assert sorted(path.name for path in photos.iterdir()) == ["a", "b"]
    for part in ("train", "valid"):
        write_images(tmp_path / "parts" / part)
    command = ["train", tmp_path / "parts", "--epochs", 1, "--json", "--out"]
    inside = tmp_path / "parts" / "valid" / "run"
    assert f"--out {inside} is in {inside.parent}" in failing(capsys, *command, inside)
    assert run(*command, tmp_path / "parts" / "run") == 0  # no class is looked for there


@pytest.mark.slow
def test_the_same_folder_by_another_name(copied, capsys, monkeypatch):
    """As a shell completes it."""
    monkeypatch.chdir(copied)
    for name in ("photos/", "./photos", copied / "out" / ".." / "photos"):
        assert run("train", name, "--out", "out", "--resume", "--json") == 0


def test_closed_streams(trained, monkeypatch):
    """Python has None for them."""
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, None)
    assert run("info", trained / "out" / "model.safetensors") == 0
    assert run("info", trained / "missing") == 1
    for name in ("stdout", "stderr"):
        getattr(sys, name).close()


def test_the_remedy_of_a_missing_data_set_is_an_option(tmp_path, capsys):
    found = failing(capsys, "train", "mnist", "--data-dir", tmp_path)
    assert "or leave out --data-dir, to download it" in found and "download=" not in found


@pytest.mark.slow
def test_output_in_few_letters(trained, tmp_path):
    """A terminal or a pipe without the letters of a name gets escapes."""
    photos, out = write_images(tmp_path / "photos", ["猫", "лиса"]), tmp_path / "out"
    assert run("train", photos, "--epochs", 1, "--out", out, "--json") == 0
    env = process.environment(PYTHONPATH=str(ROOT), PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    command = [sys.executable, "-m", "xpconv", "predict", str(out / "model.safetensors"), str(photos)]
    done = process.run(command, env=env)
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) == 13
    assert re.search(r"\\u732b/0\.png +\\u", done.stdout)
