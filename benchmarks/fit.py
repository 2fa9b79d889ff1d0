"""The throughput of `xpconv.train.fit`, compared with that of the plain loop that it replaces.

python3 benchmarks/fit.py                        # on NumPy
XPCONV_BACKEND=cupy python3 benchmarks/fit.py    # with and without CUDA graphs: the loop is eager

Both train the same model on the same random images, interleaved in one process. A throughput of 0.97 says
that `fit` trains on 97 images in the time in which the loop trains on 100.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import measure

Record = dict[str, Any]
WORKS = [  # network, batch, batches of an epoch, whether loss and accuracy of the epoch are computed
    ("LeNet-5", 8, 100, False),
    ("LeNet-5", 32, 60, False),
    ("LeNet-5", 32, 60, True),
    ("MNIST example", 64, 8, False),
    ("MNIST example", 64, 8, True),
]


def contenders(network: str, batch: int, batches: int, metrics: bool) -> dict[str, Callable[[], Any]]:
    """An epoch of each."""
    import networks
    import numpy as np

    import xpconv

    make, shape = networks.MODELS[network]
    rng = np.random.default_rng(0)
    x = xpconv.asarray(rng.standard_normal((batch * batches, *shape), dtype="float32"))
    y = xpconv.asarray(rng.integers(0, 10, len(x)))
    data = xpconv.data.batches(x, y, batch)
    xp = xpconv.get_xp()

    def parts() -> tuple[Any, Any, Any]:
        xpconv.manual_seed(0)
        model = make()
        return model, xpconv.SoftmaxCrossEntropyLoss(), xpconv.Adam(model.parameters())

    def loop() -> Callable[[], Any]:
        model, criterion, optimizer = parts()

        def epoch() -> list[float]:
            total = xp.zeros(2, dtype="float64")
            for a, b in data:
                output = model(a)
                loss = criterion(output, b)
                if metrics:
                    total[0] += loss * len(a)
                    total[1] += (output.argmax(axis=1) == b).sum()
                optimizer.zero_grad()
                model.backward(criterion.backward(), input_grad=False)
                optimizer.step()
            return [float(value) / len(x) for value in total]

        return epoch

    def fit() -> Callable[[], Any]:
        model, criterion, optimizer = parts()
        names = ["accuracy"] if metrics else []
        return lambda: xpconv.train.fit(model, criterion, optimizer, data, metrics=names)

    return {"loop": loop(), "fit": fit()}


def record(network: str, batch: int, batches: int, metrics: bool, seconds: float) -> Record:
    """The medians of both, in seconds for a batch, and their ratio."""
    found = measure.interleaved(contenders(network, batch, batches, metrics), seconds, 5)
    medians = {label: statistics.median(samples) / batches for label, samples in found.items()}
    ratio = statistics.median(a / b for a, b in zip(found["loop"], found["fit"], strict=True))
    return {
        "network": network, "batch": batch, "metrics": metrics, "seconds": medians,
        "rounds": len(found["fit"]), "ratio": ratio,
    }  # fmt: skip


def main(argv: list[str] | None = None) -> dict[str, Any]:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=20, help="for each row; default: %(default)s")
    parser.add_argument(
        "--out", type=Path, metavar="JSON", default=measure.HERE / "results" / "fit.json",
        help="default: benchmarks/results/fit.json",
    )  # fmt: skip
    args = parser.parse_args(argv)
    records = []
    print(f"{'network':16}{'batch':>6}  {'accuracy':8}{'loop, µs':>10}{'fit, µs':>10}{'throughput':>12}")
    for work in WORKS:
        records.append(r := record(*work, args.seconds))
        loop, fit = (r["seconds"][label] * 1e6 for label in ("loop", "fit"))
        counted = "yes" if r["metrics"] else "no"
        print(
            f"{r['network']:16}{r['batch']:6}  {counted:8}{loop:10.0f}{fit:10.0f}{r['ratio']:12.3f}",
            flush=True,
        )
    result = {"date": time.strftime("%Y-%m-%d %H:%M %z"), "records": records}
    print(f"wrote {measure.write(args.out, result)}", file=sys.stderr)
    return result


if __name__ == "__main__":
    main()
