"""The examples, run as a user runs them, on every backend."""

import gzip
import importlib
import re
import struct
import sys
from functools import partial
from pathlib import Path

import double
import numpy as np
import pytest

import xpconv
import xpconv.cli
from xpconv import Sequential

for needed in ("PIL", "matplotlib", "safetensors", "sklearn", "tqdm"):
    pytest.importorskip(needed, reason='pip install -e ".[examples]"')


@pytest.fixture(autouse=True)
def examples(monkeypatch):
    """`import train_mnist` finds the example, and the active backend is numpy again afterwards."""
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "examples")
    yield
    for name in (
        "cifar10",
        "fine_tuning",
        "gpu_training",
        "grid_search",
        "plain_loop",
        "segmentation",
        "signals",
        "tour",
        "train_mnist",
        "xor",
    ):
        sys.modules.pop(name, None)


def run(name, *arguments):
    return importlib.import_module(name).main(list(map(str, arguments)))


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["numpy", "cupy"], indirect=True)
def test_digits_reach_98_percent_in_the_default_run(backend, capsys):
    accuracy = run("train_mnist")
    printed = capsys.readouterr().out
    assert accuracy >= 0.98
    assert f"backend {backend}" in printed
    assert f"test accuracy {accuracy:.2%}: {round(360 * (1 - accuracy))} of 360 wrong" in printed
    rows = [line.split() for line in printed.splitlines() if re.match(r" *\d+ +\S+ +\d", line)]
    assert [int(row[0]) for row in rows if len(row) == 7] == list(range(1, 21))


@pytest.mark.slow
def test_fit_and_the_plain_loop_learn_the_same():
    """The same model, order, dropout and rates: their test images are right and wrong alike."""
    assert run("train_mnist", "--epochs", 2, "--seed", 5) == run("plain_loop", "--epochs", 2, "--seed", 5)


@pytest.mark.slow
def test_plain_loop_reaches_98_percent(backend, capsys):
    accuracy = run("plain_loop", "--epochs", 6)
    printed = capsys.readouterr().out
    assert accuracy >= 0.98
    assert f"backend {backend}" in printed
    assert f"test accuracy {accuracy:.2%}: {round(360 * (1 - accuracy))} of 360 wrong" in printed
    rows = [line.split() for line in printed.splitlines() if line[:5].strip().isdigit() and "%" in line]
    assert [int(row[0]) for row in rows] == list(range(1, 7))
    assert float(rows[0][1]) > 1
    assert float(rows[-1][1]) < 0.1  # the training loss falls
    confusion = [line.split() for line in printed.split("predicted)\n")[1].splitlines()[1:11]]
    counts = np.array([[0 if n == "·" else int(n) for n in row[1:]] for row in confusion])
    assert counts.sum() == 360
    assert counts.trace() == round(360 * accuracy)


@pytest.mark.slow
def test_one_synchronisation_a_report(monkeypatch):
    plain_loop = importlib.import_module("plain_loop")
    monkeypatch.setattr(plain_loop, "REPORTS", 3)
    monkeypatch.setattr(Sequential, "summary", lambda *_: "")  # measures each layer, before the training
    monkeypatch.setattr(xpconv.data, "load_digits", partial(xpconv.data.load_digits, test_size=0.6))
    with xpconv.use_backend("double"), double.count_syncs() as counter:
        plain_loop.main(["--epochs", "1"])
    reports = plain_loop.REPORTS + 1  # and one for the test images
    assert 4 * reports < 22  # far more batches than reports
    assert counter.n <= reports + 5  # the final scores and labels


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["double", "cupy"], indirect=True)
def test_the_same_seed_gives_the_same_on_every_backend(backend, monkeypatch):
    monkeypatch.setattr(xpconv.data, "load_digits", partial(xpconv.data.load_digits, test_size=0.6))
    arguments = ["--epochs", 1, "--seed", 3]
    with xpconv.use_backend("numpy"):
        expected = run("train_mnist", *arguments)
    assert run("train_mnist", *arguments) == pytest.approx(expected, abs=0.01)


def idx(array):
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.astype("u1").tobytes()


def draw_bar(image, label):
    left = 14 * (label % 2)
    image[5 * (label // 2) + 4, left : left + 14] = 255


@pytest.fixture
def mnist_folder(tmp_path):
    """A small data set in MNIST's format: a bar in one of ten places, so far apart that it may be moved."""
    rng = np.random.default_rng(0)
    for name, count in (("train", 400), ("t10k", 100)):
        labels = rng.integers(0, 10, count)
        images = rng.integers(0, 60, (count, 28, 28))
        for image, label in zip(images, labels, strict=True):
            draw_bar(image, label)
        (tmp_path / f"{name}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(images)))
        (tmp_path / f"{name}-labels-idx1-ubyte").write_bytes(idx(labels))
    return tmp_path


def test_fit_and_the_plain_loop_move_the_images_alike(mnist_folder, capsys):
    """The losses are equal, too, in the digits that are printed."""
    arguments = ["--data", "mnist", "--data-dir", mnist_folder, "--epochs", 1, "--batch-size", 50]
    losses = []
    for name, column in (("train_mnist", 2), ("plain_loop", 1)):
        run(name, *arguments)
        row = capsys.readouterr().out.split("seconds\n")[1].splitlines()[0]
        losses.append(float(row.split()[column].rstrip("*")))
    assert losses[0] == losses[1] > 0.1


@pytest.mark.slow
def test_mnist_files_model_and_pictures(mnist_folder, capsys):
    """The model in the file reads an image: `xpconv predict` gets what the example saw."""
    from PIL import Image

    out = mnist_folder / "a" / "pictures"
    options = ["--epochs", 3, "--batch-size", 20, "--out", out]
    assert run("train_mnist", "--data", "mnist", "--data-dir", mnist_folder, *options) >= 0.9
    drawn = sorted(path.name for path in out.iterdir())
    assert drawn == ["confusion.png", "curves.png", "kernels.png", "mistakes.png", "model.safetensors"]
    printed = capsys.readouterr().out
    import matplotlib.image

    for name in drawn[:-1]:
        picture = matplotlib.image.imread(out / name)
        assert min(picture.shape[:2]) > 150
        assert picture.std() > 0.05
        assert f"drew {out / name}" in printed
    pixels = np.full((28, 28), 30, "uint8")
    draw_bar(pixels, 7)
    Image.fromarray(pixels).save(out / "seven.png")
    assert xpconv.cli.main(["predict", str(out / "model.safetensors"), str(out / "seven.png")]) == 0
    assert capsys.readouterr().out.splitlines()[1].split()[1] == "7"


@pytest.mark.parametrize("name", ["train_mnist", "plain_loop"])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--backend", "tpu"], "unknown backend 'tpu': choose one of 'numpy', 'cupy', 'auto'"),
        (["--epochs", "0"], "--epochs is 0, expected at least 1"),
        (["--batch-size", "-3"], "--batch-size is -3, expected at least 1"),
        (["--lr", "nan"], "--lr is nan, expected at least 0"),
        (["--seed", "-1"], "--seed is -1, expected at least 0"),
        (["--data-dir", "x"], "--data-dir needs --data mnist"),
        (["--data", "mnist", "--data-dir", "nowhere"], "nowhere"),
    ],
)
def test_bad_arguments(name, arguments, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        run(name, *arguments)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


def test_an_existing_file_is_no_folder(capsys):
    with pytest.raises(SystemExit):
        run("train_mnist", "--out", __file__)
    assert "File exists" in capsys.readouterr().err


def test_ctrl_c_keeps_what_was_learned(monkeypatch, capsys):
    plain_loop = importlib.import_module("plain_loop")
    train_epoch, epochs = plain_loop.train_epoch, iter(range(3))

    def interrupted(*arguments):
        if next(epochs) == 2:
            raise KeyboardInterrupt
        return train_epoch(*arguments)

    monkeypatch.setattr(plain_loop, "train_epoch", interrupted)
    accuracy = run("plain_loop", "--epochs", 5)
    assert accuracy > 0.5
    printed = capsys.readouterr().out
    assert "stopped in epoch 3" in printed
    assert f"test accuracy {accuracy:.2%}" in printed


@pytest.mark.parametrize(("missing", "package"), [("matplotlib", "matplotlib"), ("sklearn", "scikit-learn")])
def test_a_missing_package_is_named_before_any_training(missing, package, monkeypatch, tmp_path, capsys):
    for name in [n for n in sys.modules if n.split(".")[0] == missing]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(SystemExit) as stopped:
        run("train_mnist", "--out", tmp_path)
    assert f"pip install {package}" in f"{stopped.value.code}{capsys.readouterr().err}"


def test_a_loss_that_explodes_stops_the_run(capsys):
    with (
        np.errstate(all="ignore"),
        pytest.raises(SystemExit, match=r"The loss is (nan|inf): try a smaller --lr"),
    ):
        run("plain_loop", "--lr", 1e30)
    with (
        np.errstate(all="ignore"),
        pytest.warns(RuntimeWarning),
        pytest.raises(SystemExit, match=r"epoch 1, batch \d+: .*layer.*; try a smaller --lr than 1e\+30"),
    ):
        run("train_mnist", "--lr", 1e30)


@pytest.mark.slow
def test_xor_is_learned(backend, capsys):
    """Shortened by a larger learning rate."""
    losses = run("xor", "--seed", 10, "--lr", 1.0, "--epochs", 3000)
    assert losses[0] == (1, pytest.approx(0.5, abs=0.1))
    assert losses[-1][0] < 3000  # it stops once below
    assert losses[-1][1] < 0.02 <= losses[-2][1]
    answers = [float(line.split()[-1]) for line in capsys.readouterr().out.splitlines()[-4:]]
    np.testing.assert_allclose(answers, [0, 1, 1, 0], atol=0.2)


def test_xor_says_when_it_is_not_solved(capsys):
    losses = run("xor", "--epochs", 20)
    assert [epoch for epoch, _ in losses] == [1, 10, 20]
    assert "not solved: try another --seed" in capsys.readouterr().out


def test_xor_synchronises_at_reports_only():
    with xpconv.use_backend("double"), double.count_syncs() as counter:
        losses = run("xor", "--epochs", 50)
    assert counter.n == len(losses) + 1  # and the four answers


@pytest.mark.parametrize(
    "arguments", [["--epochs", "0"], ["--lr", "-1"], ["--seed", "-1"], ["--backend", "tpu"]]
)
def test_bad_arguments_of_xor(arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        run("xor", *arguments)
    assert stopped.value.code == 2
    assert arguments[1] in capsys.readouterr().err


@pytest.mark.parametrize(
    "backend", ["numpy", pytest.param("double", marks=pytest.mark.slow), "cupy"], indirect=True
)
def test_gpu_script_runs_on_every_backend(backend, capsys):
    assert run("gpu_training", "--steps", 8) >= 0.9
    assert f"on {backend} in float32" in capsys.readouterr().out


@pytest.mark.slow
def test_grid_search_of_scikit_learn(capsys):
    accuracy = run("grid_search")
    printed = capsys.readouterr().out
    assert accuracy >= 0.97
    assert printed.count("in cross-validation with") == 4
    assert f"test accuracy {accuracy:.2%} with" in printed


@pytest.mark.slow
def test_signals_are_told_apart(capsys):
    accuracy = run("signals", "--signals", 1000, "--epochs", 5)
    assert accuracy >= 0.6
    assert f"test accuracy {accuracy:.1%}" in capsys.readouterr().out


@pytest.mark.slow
def test_segmentation_reaches_an_iou_of_90_percent():
    assert run("segmentation", "--size", 32) >= 0.9


@pytest.mark.slow
def test_segmentation_in_short(tmp_path, capsys):
    iou = run("segmentation", "--images", 64, "--epochs", 2, "--size", 32, "--out", tmp_path)
    assert 0.2 < iou < 1
    printed = capsys.readouterr().out
    assert f"mean IoU {iou:.3f}" in printed
    assert (tmp_path / "segmentation.png").stat().st_size > 10_000


@pytest.mark.slow
def test_the_tour_shows_how_gradients_vanish(tmp_path, capsys):
    """With ReLUs the network learns, and each picture is drawn; with sigmoids it does not."""
    assert run("tour", "--epochs", 4, "--out", tmp_path) > 0.85
    printed = capsys.readouterr().out
    assert printed.count("not vanished, and conv1 learns") == 2
    pictures = sorted(path.name for path in tmp_path.iterdir())
    assert pictures == [
        "grad_cam.png", "gradients_after.png", "gradients_before.png", "kernels.png", "maps_act1.png",
        "maps_act3.png",
    ]  # fmt: skip
    for name in pictures:
        assert f"drew {tmp_path / name}: " in printed
    assert run("tour", "--epochs", 1, "--activation", "sigmoid") < 0.2
    printed = capsys.readouterr().out
    assert printed.count("vanished, and conv1 hardly learns") == 2
    assert "not vanished" not in printed


@pytest.mark.slow
def test_fine_tuning_beats_random_weights(capsys):
    torch = pytest.importorskip("torch", reason="pip install torch")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # several wait for one another in a network as small as this
    try:
        tuned, fresh = run("fine_tuning", "--epochs", 5)
    finally:
        torch.set_num_threads(threads)
    assert tuned > fresh + 0.03
    difference = float(re.search(r"PyTorch's scores: (\S+)", capsys.readouterr().out)[1])
    assert difference < 1e-4


@pytest.mark.slow
def test_cifar10_resumes(tmp_path):
    """From the checkpoint of the first of two epochs it reaches the same result."""
    rng = np.random.default_rng(0)
    for name in [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]:
        labels = rng.integers(0, 10, (8, 1), dtype="u1")
        pixels = (rng.integers(0, 40, (8, 3072)) + 20 * labels).astype("u1")
        np.hstack([labels, pixels]).tofile(tmp_path / name)
    arguments = ["--data-dir", tmp_path, "--batch-size", 8, "--epochs", 2, "--checkpoints", tmp_path / "run"]
    first = run("cifar10", *arguments)
    checkpoints = sorted((tmp_path / "run").glob("step-*"))
    assert [path.stem for path in checkpoints] == ["step-00000005", "step-00000010"]
    before = checkpoints[1].read_bytes()
    checkpoints[1].unlink()
    assert run("cifar10", *arguments) == first
    assert checkpoints[1].read_bytes() == before
