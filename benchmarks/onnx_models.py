"""Inference of ONNX files on the CPU: `xpconv.onnx.load(path).fuse()` and onnxruntime.

python3 benchmarks/onnx_models.py

Models of `xpconv.models`, exported, and two that others trained, from packages that have to be installed:
`pip install --no-deps nudenet rapidocr-onnxruntime`. Both sides have the same number of threads. A ratio of
1.5 says that xpconv takes half as long again. `model` is the same for `model.fuse()`, without the file.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import measure

Record = dict[str, Any]
OURS = ("resnet18", "mobilenet_v2", "squeezenet1_1")
THEIRS = {  # name: package, file, size of images
    "nudenet": ("nudenet", "320n.onnx", (3, 320, 320)),
    "PP-OCR angle": ("rapidocr_onnxruntime", "models/ch_ppocr_mobile_v2.0_cls_infer.onnx", (3, 48, 192)),
}
BATCHES = (1, 32)


def installed(package: str, file: str) -> Path | None:
    """The path of a file of a package, which is not imported; None if there is none."""
    spec = find_spec(package)
    folders = [] if spec is None else [Path(folder) for folder in spec.submodule_search_locations or ()]
    return next((folder / file for folder in folders if (folder / file).is_file()), None)


def contenders(path: Path, model: Any, x: Any, threads: int) -> dict[str, Callable[[], Any]]:
    """One inference of each, which have been found to agree."""
    import numpy as np
    import onnxruntime

    import xpconv
    import xpconv.onnx

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    given = {session.get_inputs()[0].name: x}
    expected = session.run(None, given)[0]
    graphs = {"graph": xpconv.onnx.load(path).fuse()}
    if model is not None:
        graphs["model"] = model.fuse()
    for label, graph in graphs.items():
        with xpconv.no_grad():
            error = abs(graph(x) - expected).max() / abs(expected).max()
        if not error < 1e-3:
            raise SystemExit(f"benchmarks: {label} of {path} differs by {error}")

    def runner(graph: Any) -> Callable[[], Any]:
        def run() -> None:
            with xpconv.no_grad():
                np.asarray(graph(x))

        return run

    runs = {label: runner(graph) for label, graph in graphs.items()}
    return {**runs, "onnxruntime": lambda: session.run(None, given)}


def records(only: list[str], batches: list[int], seconds: float, rounds: int, threads: int) -> list[Record]:
    """A record for each model and batch."""
    import numpy as np

    import xpconv
    import xpconv.onnx

    xpconv.manual_seed(0)
    found: list[Record] = []
    with tempfile.TemporaryDirectory() as folder:
        for name in only:
            model, path = None, Path(folder, f"{name}.onnx")
            if name in THEIRS:
                package, file, shape = THEIRS[name]
                there = installed(package, file)
                if there is None:
                    print(f"{name:16}left out: package {package} is not installed", flush=True)
                    continue
                path = there
            else:
                model, shape = getattr(xpconv.models, name)().eval(), (3, 224, 224)
                xpconv.onnx.export(model, path, shape)
            for batch in batches:
                x = np.random.default_rng(0).random((batch, *shape), dtype="float32")
                samples = measure.interleaved(contenders(path, model, x, threads), seconds, rounds)
                medians = {label: statistics.median(times) for label, times in samples.items()}
                ratios = {label: medians[label] / medians["onnxruntime"] for label in medians}
                found.append(
                    {"model": name, "batch": batch, "seconds": medians, "ratios": ratios, "rounds": rounds}
                )
                print(line(found[-1]), flush=True)
    return found


def line(record: Record) -> str:
    """A row of the table."""
    ratios, milliseconds = record["ratios"], 1000 * record["seconds"]["onnxruntime"]
    native = f"{ratios['model']:8.2f}" if "model" in ratios else " " * 8
    return f"{record['model']:16}{record['batch']:6}{milliseconds:18.1f}{ratios['graph']:8.2f}{native}"


def main(argv: list[str] | None = None) -> dict[str, Any]:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=5, help="for each row; default: %(default)s")
    parser.add_argument("--rounds", type=int, default=5, help="at least so many; default: %(default)s")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="of both")
    parser.add_argument("--models", nargs="+", default=[*OURS, *THEIRS], help="default: %(default)s")
    parser.add_argument("--batches", nargs="+", type=int, default=BATCHES, help="default: %(default)s")
    parser.add_argument(
        "--out", type=Path, metavar="JSON", default=measure.HERE / "results" / "onnx.json",
        help="default: benchmarks/results/onnx.json",
    )  # fmt: skip
    args = parser.parse_args(argv)
    os.environ.update(measure.threads_env(args.threads))
    print(f"{'model':16}{'batch':>6}{'onnxruntime, ms':>18}{'graph':>8}{'model':>8}")
    found = records(args.models, list(args.batches), args.seconds, args.rounds, args.threads)
    ratios = [record["ratios"]["graph"] for record in found]
    mean = measure.geometric_mean(ratios)
    print(f"{'geometric mean':40}{mean:8.2f}")
    machine = {**measure.machine(args.threads), "onnxruntime": metadata.version("onnxruntime")}
    date = time.strftime("%Y-%m-%d %H:%M %z")
    result = {"date": date, "machine": machine, "mean": mean, "records": found}
    print(f"wrote {measure.write(args.out, result)}", file=sys.stderr)
    return result


if __name__ == "__main__":
    main()
