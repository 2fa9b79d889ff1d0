"""xpconv on a CUDA device, in one go: suite, parity, times against PyTorch, sanitizer, memory.

python3 benchmarks/gpu.py                              # within ten minutes
python3 benchmarks/gpu.py --mnist DIR                  # MNIST to 99 % too: DIR has its IDX files
python3 benchmarks/gpu.py --only parity,training --budget 300
python3 benchmarks/gpu.py --rehearse --out DIR         # without a GPU: on the double; no figures of a GPU

Each part runs in a process of its own with a time limit, so that a sticky CUDA error ends that part alone.
The JSON is written after every record, a chart at the end.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import gpu_checks
import gpu_times
import measure
from gpu_process import REHEARSAL, Record, failure, in_process
from gpu_times import TIMED, WITHOUT_GPU

# seconds of each stage, of a budget of 570
SHARES = {
    "device": 15, "tests": 100, "parity": 45, "training": 200, "mnist": 25, "sanitizer": 35, "memory": 30,
    "inference": 90, "compile": 30,
}  # fmt: skip
TARGETS = {"LeNet-5": 0.5, "VGG-like 32×32": 1.0, "ResNet-20": 1.0, "ResNet-50 224×224": 1.1}


def stage_records(stage: str, args: argparse.Namespace, limit: float) -> Iterator[Record]:
    """What a stage finds; in a rehearsal everything runs in this process."""
    if stage == "tests":
        yield from gpu_checks.tests(args.rehearse, limit)
    elif stage == "sanitizer":
        yield from gpu_checks.sanitizer(args.rehearse, limit)
    elif stage == "mnist":
        yield from gpu_checks.mnist(args.rehearse, args.mnist, limit)
    elif stage in TIMED:
        kind, modes = TIMED[stage]
        if args.rehearse:
            modes = [mode for mode in modes if mode in WITHOUT_GPU]
            yield from gpu_times.timing(True, kind, ["LeNet-5"], limit, modes)
        else:
            yield from gpu_times.timed_models(kind, modes, limit)
    elif args.rehearse:
        yield from getattr(gpu_checks, stage)(True)
    else:
        yield from in_process(f"gpu_checks.{stage}", [], limit)


def criteria(result: Record) -> list[tuple[str, str, str]]:
    """What was measured, its target, and the result."""
    stages = result["stages"]

    def verdict(stage: str) -> str:
        records = stages.get(stage, {}).get("records", [])
        if not records or any("skipped" in r for r in records):
            return "not run"
        return "failed" if stages[stage]["failed"] else "passed"

    records = stages.get("parity", {}).get("records", [])
    errors = [r["error"] for r in records if str(r.get("what")).endswith("exact")]
    rows = [
        ("suite on CuPy", "no failure, no skip", verdict("tests")),
        (
            "parity with NumPy, layer by layer",
            "1e-5",
            f"{verdict('parity')}, {max(errors):.1e}" if errors else verdict("parity"),
        ),
        ("compute-sanitizer", "clean", verdict("sanitizer")),
    ]
    records = stages.get("training", {}).get("records", [])
    for name, target in TARGETS.items():
        reached = "not measured"
        for r in records:
            if (r.get("work"), r.get("kind"), r.get("precision")) == (name, "training", "float32"):
                seconds = r.get("seconds", {})
                theirs = [seconds[k] for k in ("PyTorch eager", "PyTorch channels-last") if k in seconds]
                if theirs and "xpconv captured" in seconds:
                    reached = f"{seconds['xpconv captured'] / min(theirs):.2f}×"
        rows.append((f"{name} step, captured / PyTorch's better eager", f"≤ {target}×", reached))
    found = [r for r in stages.get("mnist", {}).get("records", []) if "seconds" in r]
    reached = f"{found[0]['accuracy %']} % in {found[0]['seconds']:.1f} s" if found else "not run"
    rows += [("MNIST to 99 %", "a few seconds", reached), ("memory", "constant", verdict("memory"))]
    if result["device"] == REHEARSAL:  # nothing here was reached on a GPU, whatever passed on the double
        return [(what, target, "not run on a GPU") for what, target, _ in rows]
    return rows


def is_failure(record: Record) -> bool:
    """A part's, or all of a row's contenders."""
    return record.get("passed") is False or "failure" in record or bool(record.get("failures"))


def shown(record: Record) -> str:
    """In a line, without long output."""
    cells = {
        k: v for k, v in record.items() if k not in ("tail", "seconds") or not isinstance(v, (dict, str))
    }
    times = record.get("seconds")
    if isinstance(times, dict):
        cells["ms"] = {k: round(v * 1e3, 3) for k, v in times.items()}
    return json.dumps(cells, ensure_ascii=False)


def run(args: argparse.Namespace, out: Path, stages: list[str]) -> tuple[Record, Path]:
    """All that the stages find, and the JSON file that has it; it is written after every record."""
    clock = "host" if args.rehearse else "device events"
    result: Record = {"device": REHEARSAL if args.rehearse else "unknown", "clock": clock, "stages": {}}
    path = out / ("gpu-rehearsal.json" if args.rehearse else "gpu-unknown.json")
    end = time.monotonic() + args.budget
    for i, stage in enumerate(stages):
        left = end - time.monotonic()
        limit = max(5.0, left * SHARES[stage] / sum(SHARES[s] for s in stages[i:]))
        print(f"== {stage} (at most {limit:.0f} s)", flush=True)
        entry: Record = {"date": time.strftime("%Y-%m-%d %H:%M %z"), "records": [], "failed": False}
        result["stages"][stage] = entry
        start = time.monotonic()
        try:
            for record in stage_records(stage, args, limit):
                print("  ", shown(record), flush=True)
                entry["records"].append(record)
                entry["failed"] |= is_failure(record)
                if stage == "device" and "device" in record:
                    result["device"] = record["device"]
                    if not args.rehearse:
                        slug = re.sub(r"\W+", "-", record["device"]).strip("-").lower()
                        path = out / f"gpu-{slug}.json"
                        result["stages"] |= other_stages(path, record, stages)
                measure.write(path, result)
        except Exception as error:  # noqa: BLE001 - recorded; the others go on
            entry["records"].append({"passed": False, "failure": failure(error)})
            entry["failed"] = True
            print("  ", failure(error), flush=True)
        entry["seconds"] = time.monotonic() - start
        measure.write(path, result)
    result["criteria"] = criteria(result)
    measure.write(path, result)
    return result, path


def other_stages(path: Path, device: Record, stages: list[str]) -> Record:
    """The stages of an earlier run that are not run again, if it had the same device and versions."""
    earlier = json.loads(path.read_text())["stages"] if path.exists() else {}
    if not earlier or earlier["device"]["records"][0] != device:
        return {}
    return {stage: entry for stage, entry in earlier.items() if stage not in stages}


def main(argv: list[str] | None = None) -> int:
    """Run the stages; the exit status is 1 if one failed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--only",
        default=",".join(SHARES),
        help="stages, with commas (default: %(default)s); the others stay as the device's JSON has them",
    )
    parser.add_argument("--budget", type=float, default=570, metavar="SECONDS", help="default: %(default)s")
    parser.add_argument("--out", type=Path, metavar="DIR", help="default: benchmarks/results")
    parser.add_argument("--mnist", metavar="DIR", help="folder with MNIST's IDX files")
    parser.add_argument("--rehearse", action="store_true", help="on the double, tiny; needs --out")
    args = parser.parse_args(argv)
    only = args.only.split(",")
    if unknown := set(only) - set(SHARES):
        parser.error(f"--only: no stage {', '.join(sorted(unknown))}; there are {', '.join(SHARES)}")
    results = measure.HERE / "results"
    if args.rehearse and (args.out is None or args.out.resolve() == results.resolve()):
        parser.error("--rehearse needs an --out other than benchmarks/results: it has no figures of a GPU")
    result, path = run(args, args.out or results, [s for s in SHARES if s in only or s == "device"])
    print(f"\n{result['device']}")
    for what, target, reached in result["criteria"]:
        print(f"  {what:58}{target:22}{reached}")
    failed = [stage for stage, entry in result["stages"].items() if entry["failed"]]
    print(f"failed: {', '.join(failed) or 'none'}\nwrote {path}")
    if find_spec("matplotlib"):
        import chart

        for drawn in chart.draw_gpu(result, path):
            print(f"wrote {drawn}")
    else:
        print("no chart: matplotlib is missing")
    return int(bool(failed))


if __name__ == "__main__":
    raise SystemExit(main())
