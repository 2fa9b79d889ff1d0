"""Throughput of two processes with one thread each, over that of one process with one thread.

    python3 benchmarks/distributed.py [--processes 2] [--seconds 10]

Each trains a small CNN on its part of the same batches of 128 images. The runs of one, of several, and of as
many that train apart, without any exchange, take turns; the last show what the machine allows. The ratios of
the medians are printed, and written as JSON with `--out`. Each process needs a core of its own.
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
IMAGES = 128  # of a batch


def measure(seconds, images):
    """Images per second of all processes together, with BatchNorm synchronised; printed by rank 0.

    They share batches of so many images.
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
        if communicator.meet("measure", time.perf_counter() - start > seconds):
            break
    if communicator.rank == 0:
        print(images * batches / (time.perf_counter() - begun))


def run(processes, seconds, apart=False):
    """Images per second of so many processes, in one program or `apart`."""
    beside = Path(sys.executable).parent / "mpiexec"
    mpiexec = str(beside) if beside.exists() else shutil.which("mpiexec")
    start = [mpiexec, "-n", str(processes)] if processes > 1 and not apart else []
    env = {**os.environ, "XPCONV_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    images = IMAGES // processes if apart else IMAGES
    command = [*start, sys.executable, __file__, "--measure", str(images), "--seconds", str(seconds)]
    count = processes if apart else 1
    running = [subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) for _ in range(count)]
    outputs = [process.communicate()[0] for process in running]
    if any(process.returncode for process in running):
        raise SystemExit(f"failed: {' '.join(command)}")
    return sum(map(float, outputs))


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--out")
    parser.add_argument("--measure", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        measure(options.seconds, options.measure)
        return
    kinds = {"one": (1, False), "several": (options.processes, False), "apart": (options.processes, True)}
    found = {kind: [] for kind in kinds}
    for _ in range(ROUNDS):
        for kind, (processes, apart) in kinds.items():
            found[kind].append(run(processes, options.seconds, apart))
    one, several, apart = (statistics.median(rates) for rates in found.values())
    result = {
        "processes": options.processes,
        "images_per_second": found,
        "ratio": several / one,
        "ratio_apart": apart / one,
        "cores": os.cpu_count(),
    }
    print(f"{options.processes} processes: {several:.0f} images/s, one: {one:.0f}; ratio {several / one:.2f}")
    print(f"without exchange: {apart:.0f} images/s; ratio {apart / one:.2f}")
    if options.out:
        Path(options.out).write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
