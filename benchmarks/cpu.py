"""xpconv against PyTorch on the CPU: ratios of time and memory, as a table, JSON and charts.

python3 benchmarks/cpu.py                                        # about 10 minutes for each BLAS setting
python3 benchmarks/cpu.py --quick                                # fewer rounds, no scaling
python3 benchmarks/cpu.py --only 'training: (LeNet|VGG)' --coretype advised
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import measure

Record = dict[str, Any]

SECTIONS = {
    "training": "Training step",
    "inference": "Inference",
    "plain inference": "Inference without fuse()",
    "convolutions": "Single convolutions",
    "threads": "Training step by threads",
    "batch size": "Training step by batch size",
    "image size": "Training step by image size",
}
SCALING = ("batch size", "image size")


def blas_settings(coretype: str, before: dict[str, Any]) -> dict[str, dict[str, str]]:
    """The environments to measure in: the present one, and one that selects AVX-512 kernels."""
    if "OPENBLAS_CORETYPE" in os.environ:
        return {"as set": {}}
    if coretype != "default" and before["avx512"] and before["kernels"] == "Haswell":
        advised = {"advised": {"OPENBLAS_CORETYPE": "SKYLAKEX"}}
        return advised if coretype == "advised" else {"default": {}, **advised}
    if coretype == "advised":
        print(f"nothing to advise: NumPy's BLAS runs {before['kernels']} kernels", file=sys.stderr)
    return {"default": {}}


def memory_records(section: str, names: list[Any], args: argparse.Namespace) -> list[Record]:
    """Peak memory of training steps: a fresh process for each contender."""
    records = []
    for _, name, _, size, labels in [n for n in names if n[0] == section]:
        print(f"  memory: {name}", file=sys.stderr, flush=True)
        peaks = {
            label: measure.fresh(
                "jobs.peak_memory", section, name, label, args.threads, args.fused,
                env=measure.threads_env(args.threads),
            )
            for label in labels
        }  # fmt: skip
        theirs = min(peak for label, peak in peaks.items() if label != "xpconv")
        record = {"section": section, "work": name, "measure": "memory", "setting": "", "size": size}
        records.append(record | {"bytes": peaks, "ratio": peaks["xpconv"] / theirs})
    return records


def footprint(repeats: int) -> dict[str, float]:
    """Import time and installed size, xpconv with NumPy against PyTorch alone."""
    seconds = {m: measure.import_seconds(m, repeats) for m in ("xpconv", "torch")}
    sizes = {m: measure.installed_bytes(m) for m in ("xpconv", "numpy", "torch")}
    return {
        "import seconds": seconds,
        "installed bytes": sizes,
        "import ratio": seconds["xpconv"] / seconds["torch"],
        "installed ratio": (sizes["xpconv"] + sizes["numpy"]) / sizes["torch"],
    }


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Measure what the arguments select; returns the content of the JSON."""
    seconds, rounds = (0.2, 3) if args.quick else (3.0, 5)
    overview = measure.fresh("jobs.overview", args.only, args.threads, env=measure.threads_env(args.threads))
    before, names = overview
    settings = blas_settings(args.coretype, before)
    result: dict[str, Any] = {
        "date": time.strftime("%Y-%m-%d %H:%M %z"),
        "only": args.only,
        "quick": args.quick,
        "machines": {},
        "records": [],
        "footprint": footprint(3 if args.quick else 7) if re.search(args.only, "footprint") else None,
    }
    records: list[Record] = result["records"]
    for setting, env in settings.items():
        print(f"BLAS setting: {setting}", file=sys.stderr)
        env = {**measure.threads_env(args.threads), **env}
        advised = setting == "advised"
        machine = measure.fresh("measure.machine", args.threads, env=env) if advised else before
        result["machines"][setting] = machine

        todo = [(section, args.threads) for section in SECTIONS if section not in ("threads", *SCALING)]
        if not args.quick and setting == list(settings)[-1]:  # growth does not depend on the BLAS kernels
            todo += [("threads", threads) for threads in sorted({1, args.threads})]
            todo += [(section, args.threads) for section in SCALING]
        for section, threads in todo:
            if section not in [n[0] for n in names]:
                continue
            job = (section, args.only, threads, seconds, rounds, args.fused)
            for record in measure.fresh(
                "jobs.time_section", *job, env={**env, **measure.threads_env(threads)}
            ):
                if section == "threads":
                    record["measure"] = f"{threads} thread" + "s" * (threads > 1)
                records.append({**record, "setting": setting})
    records += memory_records("training", names, args)
    if not args.quick:
        for section in SCALING:
            records += memory_records(section, names, args)
    result["growth"] = growths(records)
    return result


def growths(records: list[Record]) -> list[dict[str, Any]]:
    """For each scaling series and contender, the largest exponent between one size and the next."""
    found = []
    scaling = [r for r in records if r["section"] in SCALING]
    for key in dict.fromkeys((r["section"], family(r), r["measure"]) for r in scaling):
        series = [r for r in scaling if (r["section"], family(r), r["measure"]) == key]
        values = "bytes" if key[2] == "memory" else "seconds"
        exponents = {
            label: measure.growth([r["size"] for r in series], [r[values][label] for r in series])
            for label in series[0][values]
            if len(series) > 1
        }
        found.append({"section": key[0], "work": key[1], "measure": values, "exponents": exponents})
    return found


def chainer_records(args: argparse.Namespace, records: list[Record]) -> list[dict[str, Any]]:
    """Chainer's training steps in its own Python, over this run's medians of the others."""
    found = []
    for name, times in measure.fresh(
        "chainer_steps.steps", args.only, 1.0 if args.quick else 5.0,
        python=args.chainer_python, env=measure.threads_env(args.threads),
    ):  # fmt: skip
        for r in records:
            if (r["section"], r["work"]) == ("training", name) and "seconds" in r:
                ours, theirs = (
                    r["seconds"]["xpconv"],
                    min(v for k, v in r["seconds"].items() if k != "xpconv"),
                )
                ratios = {"Chainer / xpconv": times / ours, "Chainer / PyTorch": times / theirs}
                found.append({"work": name, "setting": r["setting"], "seconds": times, **ratios})
    return found


def family(record: Record) -> str:
    """The name without the size: the same for all records of a scaling curve."""
    return record["work"].rpartition(", ")[0]


# --- the table ---------------------------------------------------------------------------------------------


def table(section: str, records: list[Record], verbose: bool) -> list[str]:
    """The lines of a table: a row for each work, then the geometric mean and the worst ratio."""
    rows: dict[str, dict[str, float]] = {}
    columns: dict[str, None] = {}
    for r in records:
        if r["section"] == section:
            column = " ".join(filter(None, [r["setting"], r["measure"]]))
            columns[column] = None
            rows.setdefault(r["work"], {})[column] = r["ratio"]
    if not rows:
        return []
    width = max(map(len, rows)) + 2
    values = {c: [row[c] for row in rows.values() if c in row] for c in columns}
    widths = {c: max(len(c), 6) + 3 for c in columns}

    def line(name: str, cells: dict[str, float]) -> str:
        shown = (f"{cells[c]:.2f}" if c in cells else "" for c in columns)
        return name.ljust(width) + "".join(s.rjust(w) for s, w in zip(shown, widths.values(), strict=True))

    lines = [SECTIONS[section].ljust(width) + "".join(c.rjust(w) for c, w in widths.items())]
    lines += [line(name, cells) for name, cells in rows.items()]
    if len(rows) > 1:
        lines.append(line("geometric mean", {c: measure.geometric_mean(v) for c, v in values.items()}))
        lines.append(line("worst", {c: max(v) for c, v in values.items()}))
    if verbose:
        for r in records:
            if r["section"] == section:
                scale, unit = (1e3, "ms") if "seconds" in r else (2**-20, "MiB")
                cells = ", ".join(f"{k} {v * scale:.2f}" for k, v in r.get("seconds", r.get("bytes")).items())
                lines.append(f"    {r['work']} {r['setting']} {r['measure']} [{unit}]: {cells}")
    return [*lines, ""]


def report(result: dict[str, Any], verbose: bool = False) -> str:
    """The text for the terminal."""
    lines = ["xpconv / PyTorch, the better of its two memory formats: below 1.00 xpconv takes less", ""]
    for setting, machine in result["machines"].items():
        lines.append(
            f"{setting}: {machine['cpu']}, {machine['cores']} cores, {machine['threads']} threads, "
            f"NumPy {machine['numpy']} ({', '.join(machine['blas'])}, {machine['kernels']} kernels), "
            f"PyTorch {machine['torch']} ({machine['torch cpu capability']})"
        )
    lines.append("")
    for section in SECTIONS:
        lines += table(section, result["records"], verbose)
    for growth in result["growth"]:
        what = {"bytes": "memory", "seconds": "time"}[growth["measure"]]
        unit = {"batch size": "images", "image size": "pixels"}[growth["section"]]
        shown = ", ".join(f"{label} {p:.2f}" for label, p in growth["exponents"].items())
        lines.append(f"{growth['work']}: largest exponent of {what} in {unit}: {shown}")
    if result["footprint"]:
        ratios = "import time {import ratio:.2f}, installed size {installed ratio:.2f} (xpconv with NumPy)"
        lines.append(ratios.format(**result["footprint"]))
    for chainer in result.get("chainer") or []:
        ratios = ", ".join(f"{k} {chainer[k]:.1f}" for k in ("Chainer / xpconv", "Chainer / PyTorch"))
        lines.append(f"{chainer['work']}, {chainer['setting']}: {ratios}")
    if "chainer" not in result:
        lines.append("Chainer: not measured, as it does not run beside NumPy 2 (--chainer-python)")
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> dict[str, Any]:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=2, help="of each library (default: %(default)s)")
    parser.add_argument("--only", metavar="REGEX", default="", help="of 'section: work', or 'footprint'")
    parser.add_argument("--quick", action="store_true", help="fewer rounds, no scaling")
    parser.add_argument(
        "--coretype", choices=["default", "advised", "both"], default="both",
        help="BLAS kernels: NumPy's choice, or AVX-512 ones where the CPU has them (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--fused", action="store_true", help="give PyTorch its Adam(fused=True)")
    parser.add_argument("--verbose", action="store_true", help="absolute times and sizes as well")
    parser.add_argument("--chainer-python", metavar="PATH", help="a Python that has Chainer 7.8 (see README)")
    parser.add_argument(
        "--out", type=Path, metavar="JSON", default=Path(__file__).parent / "results" / "cpu.json",
        help="default: benchmarks/results/cpu.json; the charts go beside it",
    )  # fmt: skip
    args = parser.parse_args(argv)
    missing = [m for m in ("torch", "threadpoolctl", "matplotlib") if not find_spec(m)]
    if missing:
        parser.error(f"{', '.join(missing)} missing: python3 -m pip install {' '.join(missing)}")
    result = run(args)
    if args.chainer_python:
        result["chainer"] = chainer_records(args, result["records"])
    print(report(result, args.verbose))
    print(f"wrote {measure.write(args.out, result)}", file=sys.stderr)
    import chart

    for path in chart.draw(args.out):
        print(f"wrote {path}", file=sys.stderr)
    return result


if __name__ == "__main__":
    main()
