"""A hand-written loop that is stopped and goes on in a new process ends with the same file."""

import sys
from pathlib import Path

import numpy as np
import pytest

import xpconv

EPOCHS, BATCHES = 3, 12


def noisy(batch, rng):
    x, y = batch
    return x + rng.normal(0, 0.1, x.shape).astype("float32"), y


def train(folder, workers, stop=None):
    """Train to the end, or for some steps, from `run.safetensors` in `folder` if it is there."""
    rng = np.random.default_rng(0)
    images, labels = rng.normal(size=(90, 1, 8, 8)).astype("float32"), rng.integers(0, 4, 90)
    xpconv.manual_seed(1)
    model = xpconv.Sequential(
        xpconv.Conv2d(1, 6, 3), xpconv.BatchNorm2d(6), xpconv.ReLU(), xpconv.Dropout2d(0.2), xpconv.Flatten(),
        xpconv.Dropout(0.3, rng=2), xpconv.Dense(216, 4),
    )  # fmt: skip
    optimizer = xpconv.Adam(model.parameters(), lr=0.01)
    batches = xpconv.data.batches(
        images, labels, batch_size=8, shuffle=True, seed=3, transform=noisy, workers=workers
    )
    things = {
        "model": model,
        "optimizer": optimizer,
        "schedule": xpconv.CosineAnnealingLR(optimizer, 40),
        "ema": xpconv.ExponentialMovingAverage(model, decay=0.9),
        "batches": batches,
    }
    path, losses = Path(folder, "run.safetensors"), []
    if path.exists():
        losses = xpconv.load(path, **things)["losses"]
    criterion = xpconv.SoftmaxCrossEntropyLoss()
    while len(losses) < EPOCHS * BATCHES:
        for x, y in batches:
            losses.append(float(criterion(model(x), y)))
            optimizer.zero_grad()
            model.backward(criterion.backward(), input_grad=False)
            optimizer.step()
            things["schedule"].step()
            things["ema"].update()
            if len(losses) == stop:
                xpconv.save(path, **things, losses=losses)
                return
    xpconv.save(path, **things, losses=losses)


def run(*arguments):
    root = str(Path(__file__).parents[2])
    import process  # here: the processes execute this file too, without the helpers

    process.run([sys.executable, __file__, *map(str, arguments)], env=process.environment(PYTHONPATH=root))


@pytest.mark.slow
def test_a_stopped_run_ends_with_the_same_file(tmp_path):
    """In the middle of the second epoch and at its end, with 0, 1 and 4 workers, which may change."""
    whole = tmp_path / "whole"
    whole.mkdir()
    train(whole, 0)
    expected = (whole / "run.safetensors").read_bytes()
    for first, second, stop in ((0, 0, 18), (1, 1, 18), (4, 4, 18), (4, 0, 24), (0, 4, 25)):
        folder = tmp_path / f"{first}-{second}-{stop}"
        folder.mkdir()
        train(folder, first, stop)  # here: only what goes on has to be a process that knows nothing
        assert len(xpconv.load(folder / "run.safetensors")["losses"]) == stop
        run(folder, second)
        assert (folder / "run.safetensors").read_bytes() == expected


if __name__ == "__main__":
    train(sys.argv[1], *map(int, sys.argv[2:]))
