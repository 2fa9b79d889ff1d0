"""Kill a training process again and again: the resumed runs end as one that was not killed, bit for bit.

python3 ci/kills.py --kills 50

Each run trains a small network with dropout, shuffling, random changes of the images, a schedule and
averages, and saves a checkpoint after every step. It gets a SIGKILL after a random time, and a new process
goes on, until it is finished. Then its last checkpoint must have the same bytes as that of the run that was
not killed.
"""

from __future__ import annotations

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

EPOCHS, STEPS = 3, 16


def train(folder: Path, workers: int) -> None:
    """A run in `folder`, or the rest of one."""
    import numpy as np

    import xpconv

    def shifted(batch, rng):
        x, y = batch
        return np.roll(x, int(rng.integers(-2, 3)), axis=3) + rng.normal(0, 0.1, x.shape).astype("float32"), y

    xpconv.manual_seed(0)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(250, 1, 8, 8)).astype("float32"), rng.integers(0, 4, 250)
    data = xpconv.data.batches(x, y, 16, shuffle=True, seed=1, transform=shifted, workers=workers)
    model = xpconv.Sequential(
        xpconv.Conv2d(1, 8, 3), xpconv.BatchNorm2d(8), xpconv.ReLU(), xpconv.Flatten(), xpconv.Dropout(0.5),
        xpconv.Dense(8 * 6 * 6, 4),
    )  # fmt: skip
    optimizer = xpconv.Adam(model.parameters(), lr=0.01)
    print("begin", flush=True)
    xpconv.train.fit(
        model, xpconv.SoftmaxCrossEntropyLoss(), optimizer, data, xpconv.data.batches(x, y, 100),
        epochs=EPOCHS, metrics=["accuracy"], ema=xpconv.ExponentialMovingAverage(model, 0.9),
        schedule=xpconv.OneCycleLR(optimizer, 0.01, EPOCHS * STEPS), resume=folder,
        callbacks=[xpconv.train.Checkpoint(folder, every=1, best="valid_loss"), xpconv.train.EarlyStopping()],
    )  # fmt: skip


def start(folder: Path, workers: int) -> subprocess.Popen[str]:
    """A process that trains, after it has begun."""
    command = [sys.executable, __file__, "--train", str(folder), "--workers", str(workers)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    if process.stdout is None or process.stdout.readline() != "begin\n":
        sys.exit(f"kills: the process ended with {process.wait()} before it began")
    return process


def finished(process: subprocess.Popen[str]) -> bool:
    """Whether it ended by itself; an error of its own ends everything."""
    code = process.wait()
    if code not in (0, -signal.SIGKILL):
        sys.exit(f"kills: the process ended with {code}, see above")
    return code == 0


def last(folder: Path) -> bytes:
    """The last checkpoint."""
    return (folder / f"step-{EPOCHS * STEPS:08}.safetensors").read_bytes()


def main(argv: list[str] | None = None) -> int:
    """Kill as often as `--kills` says; returns the number of runs that were finished."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=50, help="default: %(default)s")
    parser.add_argument("--workers", type=int, help="of `batches`; default: 0, 1 and 4 in turn")
    parser.add_argument("--seed", type=int, default=0, help="of the times; default: %(default)s")
    parser.add_argument("--train", type=Path, metavar="FOLDER", help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.train:
        train(args.train, args.workers)
        return 0
    rng, kills, runs = random.Random(args.seed), 0, 0
    with tempfile.TemporaryDirectory() as top:
        whole, begin = Path(top) / "whole", time.perf_counter()
        finished(start(whole, 0))
        duration, expected = time.perf_counter() - begin, last(whole)
        while kills < args.kills:
            runs += 1
            folder, done = Path(top) / f"run-{runs}", False
            while not done:
                workers = args.workers if args.workers is not None else (0, 1, 4)[kills % 3]
                process = start(folder, workers)
                if kills < args.kills:
                    time.sleep(rng.uniform(0, duration / 4))
                    process.kill()
                done = finished(process)
                kills += not done
            if last(folder) != expected:
                sys.exit(f"kills: run {runs} ended with another checkpoint")
            print(f"{kills} kills, {runs} runs that ended with the same bytes", flush=True)
    return runs


if __name__ == "__main__":
    main()
