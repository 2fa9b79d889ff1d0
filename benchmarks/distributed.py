"""Throughput of two processes with one thread each, over that of one process with one thread.

    python3 benchmarks/distributed.py [--processes 2] [--seconds 10]

Each trains a small CNN on its part of the same batches of 128 images. The runs of one and of several take
turns; the ratio of the medians is printed, and written as JSON with `--out`. Each process needs a core of its
own.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROUNDS = 3


def measure(seconds):
    """Images per second of all processes together, with BatchNorm synchronised; printed by rank 0."""
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
    x, y = rng.normal(size=(256, 3, 32, 32)).astype("float32"), rng.integers(0, 10, 256)
    data = distributed.share(xpconv.data.batches(x, y, 128))
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
        if communicator.meet("measure", time.perf_counter() - start > seconds):
            break
    if communicator.rank == 0:
        print(128 * batches / (time.perf_counter() - begun))


def run(processes, seconds):
    beside = Path(sys.executable).parent / "mpiexec"
    mpiexec = str(beside) if beside.exists() else shutil.which("mpiexec")
    start = [mpiexec, "-n", str(processes)] if processes > 1 else []
    env = {**os.environ, "XPCONV_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    command = [*start, sys.executable, __file__, "--measure", "--seconds", str(seconds)]
    return float(subprocess.run(command, env=env, check=True, capture_output=True, text=True).stdout)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--out")
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        measure(options.seconds)
        return
    found = {1: [], options.processes: []}
    for _ in range(ROUNDS):
        for processes, rates in found.items():
            rates.append(run(processes, options.seconds))
    one, several = (statistics.median(rates) for rates in found.values())
    result = {
        "processes": options.processes,
        "images_per_second": found,
        "ratio": several / one,
        "cores": os.cpu_count(),
    }
    print(f"{options.processes} processes: {several:.0f} images/s, one: {one:.0f}; ratio {several / one:.2f}")
    if options.out:
        Path(options.out).write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
