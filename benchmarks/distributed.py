"""Throughput of two processes with one thread each, over that of one process with one thread.

python3 benchmarks/distributed.py

Each trains a small CNN on its part of the same batches of 128 images. The runs of one, of several, and of as
many that train apart, without any exchange, take turns; the last show what the machine allows. The ratios of
the medians are printed, and written as JSON. Each process needs a core of its own.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import measure

IMAGES = 128  # of a batch


def train(seconds: float, images: int) -> None:
    """Images per second of all processes together, with BatchNorm synchronised; printed by rank 0.

    They share batches of that number of images.
    """
    import numpy as np

    import xpconv
    from xpconv import distributed

    model = xpconv.Sequential(
        xpconv.Conv2d(3, 32, 3, padding=1), xpconv.BatchNorm2d(32), xpconv.ReLU(), xpconv.MaxPool2d(2),
        xpconv.Conv2d(32, 64, 3, padding=1), xpconv.BatchNorm2d(64), xpconv.ReLU(), xpconv.MaxPool2d(2),
        xpconv.Flatten(), xpconv.Dense(64 * 8 * 8, 10),
    )  # fmt: skip
    optimizer, loss = xpconv.SGD(model.parameters(), lr=0.01), xpconv.SoftmaxCrossEntropyLoss()
    communicator = distributed.parallel(model, optimizer)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2 * images, 3, 32, 32)).astype("float32"), rng.integers(0, 10, 2 * images)
    data = distributed.share(xpconv.data.batches(x, y, images))
    batches, start, begun = 0, time.perf_counter(), None
    while True:
        for a, b in data:
            loss(model(a), b)
            optimizer.zero_grad()
            model.backward(loss.backward(), input_grad=False)
            optimizer.step()
            batches += 1
        if begun is None:  # the first two batches prepare kernels
            batches, begun = 0, time.perf_counter()
        if communicator.meet("train", batches > 0 and time.perf_counter() - start > seconds):
            break
    if communicator.rank == 0:
        print(images * batches / (time.perf_counter() - begun))


def run(processes: int, seconds: float, apart: bool = False) -> float:
    """Images per second of several processes, in one program or `apart`."""
    beside = Path(sys.executable).parent / "mpiexec"
    mpiexec = str(beside) if beside.exists() else shutil.which("mpiexec")
    start = [str(mpiexec), "-n", str(processes)] if processes > 1 and not apart else []
    env = {**os.environ, "XPCONV_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    images = IMAGES // processes if apart else IMAGES
    command = [*start, sys.executable, __file__, "--measure", str(images), "--seconds", str(seconds)]
    count = processes if apart else 1
    running = [subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) for _ in range(count)]
    outputs = [process.communicate()[0] for process in running]
    if any(process.returncode for process in running):
        raise SystemExit(f"failed: {' '.join(command)}")
    return sum(map(float, outputs))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each run")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=measure.HERE / "results" / "distributed.json")
    parser.add_argument("--measure", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        train(args.seconds, args.measure)
        return
    kinds = {"one": (1, False), "several": (args.processes, False), "apart": (args.processes, True)}
    rates: dict[str, list[float]] = {kind: [] for kind in kinds}
    for _ in range(args.rounds):
        for kind, (processes, apart) in kinds.items():
            rates[kind].append(run(processes, args.seconds, apart))
    medians = {kind: statistics.median(found) for kind, found in rates.items()}
    result: dict[str, Any] = {"machine": measure.machine(1), "processes": args.processes}
    result["images per second"] = rates
    result["ratio"] = medians["several"] / medians["one"]
    result["ratio without exchange"] = medians["apart"] / medians["one"]
    print(f"{args.processes} processes: {result['ratio']:.2f} times the images of one per second")
    print(f"without exchange: {result['ratio without exchange']:.2f}")
    print(f"wrote {measure.write(args.out, result)}", file=sys.stderr)


if __name__ == "__main__":
    main()
