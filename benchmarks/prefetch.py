"""Do workers hide a transform? Epochs of training with a transform of some 5 ms over epochs without one.

python3 benchmarks/prefetch.py            # a minute; prints a table, writes results/prefetch.json

One transform waits, as for a disk or a network; the other one computes, which takes a core from the training.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import measure

MILLISECONDS = 5
BATCH = 64


def transforms() -> dict[str, Any]:
    """The two transforms; the second is repeated until it takes as long."""
    import numpy as np

    def waits(batch: Any, rng: Any) -> Any:
        time.sleep(MILLISECONDS / 1000)
        return batch

    work = np.random.default_rng(0).normal(size=2**14).astype("float32")

    def busy(times: int) -> None:
        for _ in range(times):
            np.sin(work)

    start = time.perf_counter()
    busy(50)
    times = max(1, round(50 * MILLISECONDS / 1000 / (time.perf_counter() - start)))

    def computes(batch: Any, rng: Any) -> Any:
        busy(times)
        return batch

    return {"waits": waits, "computes": computes}


def epochs(count: int) -> dict[str, Any]:
    """A function for each contender that trains an epoch of `count` batches."""
    import numpy as np
    from networks import mnist_cnn

    import xpconv

    rng = np.random.default_rng(0)
    x = rng.normal(size=(count * BATCH, 1, 28, 28)).astype("float32")
    y = rng.integers(10, size=len(x))
    model, criterion = mnist_cnn(), xpconv.SoftmaxCrossEntropyLoss()
    optimizer = xpconv.Adam(model.parameters())

    def epoch(loader: Any) -> None:
        for inputs, targets in loader:
            criterion(model(inputs), targets)
            optimizer.zero_grad()
            model.backward(criterion.backward(), input_grad=False)
            optimizer.step()

    def contender(**options: Any) -> Any:
        loader = xpconv.data.batches(x, y, BATCH, shuffle=True, seed=0, **options)
        return lambda: epoch(loader)

    found = {"no transform": contender()}
    for name, transform in transforms().items():
        for workers in (0, 1, 2):
            found[f"{name}, workers={workers}"] = contender(transform=transform, workers=workers)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--batches", type=int, default=20, help="batches in an epoch")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--out", type=Path, default=measure.HERE / "results" / "prefetch.json")
    args = parser.parse_args()
    samples = measure.interleaved(epochs(args.batches), 0, args.rounds)
    plain, records = samples.pop("no transform"), []
    print(f"{'no transform':24} {statistics.median(plain) / args.batches * 1000:6.1f} ms a batch")
    for name, seconds in samples.items():
        ratio = statistics.median(a / b for a, b in zip(seconds, plain, strict=True))
        records.append({"name": name, "seconds": statistics.median(seconds), "ratio": ratio})
        print(f"{name:24} {ratio:6.2f} times that")
    machine = measure.machine(len(os.sched_getaffinity(0)))
    result = {"machine": machine, "milliseconds": MILLISECONDS, "batches": args.batches, "records": records}
    result["seconds without transform"] = statistics.median(plain)
    print(f"wrote {measure.write(args.out, result)}", file=sys.stderr)


if __name__ == "__main__":
    main()
