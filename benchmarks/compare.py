"""Two checkouts of xpconv measured in turn in one run: ratios of time and memory, new over old.

python3 benchmarks/compare.py OLD                      # this checkout against another one
python3 benchmarks/compare.py OLD NEW --memory         # two others; peak memory of training steps as well
python3 benchmarks/compare.py OLD --only 'training: (LeNet|VGG)' --starts 5
"""

from __future__ import annotations

import argparse
import functools
import json
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any, cast

import measure

Record = dict[str, Any]
ONLY = "^(training|inference|plain inference): "


class Server:
    """A process that imports xpconv from a folder and times this folder's works (see `jobs.serve`).

    `without` names a trick of `ablation.py` that is taken out.

    Raises:
        SystemExit: the process imported another xpconv.
    """

    def __init__(self, root: Path, threads: int, without: str = "") -> None:
        arguments = json.dumps([threads, without])
        command = [sys.executable, str(measure.HERE / "measure.py"), "jobs.serve", arguments]
        env = {**os.environ, **measure.threads_env(threads), "PYTHONPATH": str(root)}
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env
        )
        self.input, self.output = cast("IO[str]", self.process.stdin), cast("IO[str]", self.process.stdout)
        found = self.read()
        if Path(found).resolve() != root.resolve():
            raise SystemExit(f"benchmarks: Python imported the xpconv of {found}, not that of {root}")

    def read(self) -> Any:
        """The next answer."""
        line = self.output.readline()
        if not line:
            raise SystemExit(f"benchmarks: a measuring process ended with {self.process.wait()}, see above")
        return json.loads(line)

    def ask(self, *request: Any) -> Any:
        """The answer to a request."""
        self.input.write(json.dumps(request) + "\n")
        self.input.flush()
        return self.read()

    def close(self) -> None:
        """End the process."""
        self.process.communicate()


def difference(a: Any, b: Any) -> float:
    """The largest difference of two nested lists of numbers, relative to the largest value."""

    def flat(values: Any) -> list[float]:
        return [x for v in values for x in flat(v)] if isinstance(values, list) else [values]

    first, second = flat(a), flat(b)
    pairs = zip(first, second, strict=True)
    return max(abs(x - y) for x, y in pairs) / max(max(map(abs, first)), 1e-30)


def turns_of(servers: dict[str, Server], work: list[str], rounds: int) -> tuple[list[list[float]], float]:
    """For each round the seconds of each server, in their order, and the difference of the outputs.

    A round is a turn of each, in the opposite order of the round before; a turn's time is that of its
    fastest iteration.
    """
    started = {label: server.ask("start", *work) for label, server in servers.items()}
    count = max(2, math.ceil(measure.TURN / min(seconds for seconds, _ in started.values())))
    found, order = [], list(servers)
    for _ in range(rounds):
        turn = {label: servers[label].ask("turn", count) for label in order}
        found.append([turn[label] for label in servers])
        order.reverse()
    return found, difference(*(output for _, output in started.values()))


def time_in_turn(
    sides: Mapping[str, Callable[[], Server]], works: list[list[str]], starts: int, rounds: int
) -> list[Record]:
    """A record for each work: the fastest turns, and the median over all rounds of the second over the first.

    The processes are started anew `starts` times, as a process may be slow or fast for as long as it runs
    by where its memory lies.
    """
    turns: dict[int, list[list[float]]] = {i: [] for i in range(len(works))}
    differences = dict.fromkeys(turns, 0.0)
    for start in range(starts):
        servers = {label: side() for label, side in sides.items()}
        for i, work in enumerate(works):
            print(f"  start {start + 1} of {starts}: {work[0]}: {work[1]}", file=sys.stderr, flush=True)
            found, differs = turns_of(servers, work, rounds)
            turns[i] += found
            differences[i] = max(differences[i], differs)
        for server in servers.values():
            server.close()
    records = []
    for i, (section, name, what) in enumerate(works):
        best = [min(times) for times in zip(*turns[i], strict=True)]
        records.append({
            "section": section, "work": name, "measure": what,
            "seconds": dict(zip(sides, best, strict=True)),
            "ratio": statistics.median(b / a for a, b in turns[i]), "ratio of the fastest": best[1] / best[0],
            "difference": differences[i],
        })  # fmt: skip
    return records


def memory_record(roots: dict[str, Path], section: str, name: str, threads: int) -> Record:
    """Peak memory of three training steps, a fresh process for each checkout."""
    peaks = {
        label: measure.fresh(
            "jobs.peak_memory", section, name, "xpconv", threads, False,
            env=measure.threads_env(threads), path=str(root),
        )
        for label, root in roots.items()
    }  # fmt: skip
    ratio = peaks["new"] / peaks["old"]
    return {"section": "memory", "work": name, "measure": "", "bytes": peaks, "ratio": ratio}


def line_of(record: Record) -> str:
    """A row of the table."""
    what = f"{record['section']}: {record['work']} {record['measure']}".ljust(58)
    if "bytes" in record:
        shown = " → ".join(f"{record['bytes'][label] / 2**20:.1f}" for label in ("old", "new"))
        return f"{what}{record['ratio']:8.3f}{'':10}  {shown} MiB"
    shown = " → ".join(f"{record['seconds'][label] * 1e3:.3f}" for label in ("old", "new"))
    return (
        f"{what}{record['ratio']:8.3f}{record['ratio of the fastest']:10.3f}  {shown} ms, "
        f"outputs differ by {record['difference']:.0e}"
    )


def summary(records: list[Record]) -> list[str]:
    """The geometric mean and the worst ratio of each section."""
    lines = []
    for section in dict.fromkeys(r["section"] for r in records):
        mine = [r for r in records if r["section"] == section]
        worst = max(mine, key=lambda r: r["ratio"])
        mean = measure.geometric_mean([r["ratio"] for r in mine])
        lines.append(f"{section}: geometric mean {mean:.3f}, worst {worst['ratio']:.3f} ({worst['work']})")
    return lines


def add_options(parser: argparse.ArgumentParser, out: Path | None, starts: int) -> None:
    """What `compare.py` and `ablation.py` share."""
    parser.add_argument("--threads", type=int, default=2, help="of each process (default: %(default)s)")
    parser.add_argument("--only", metavar="REGEX", default=ONLY, help="of 'section: work'; %(default)s")
    parser.add_argument("--starts", type=int, default=starts, help="of both processes; default: %(default)s")
    parser.add_argument("--rounds", type=int, default=5, help="in each of them; default: %(default)s")
    parser.add_argument("--out", type=Path, metavar="JSON", default=out, help="default: %(default)s")


def works_of(
    parser: argparse.ArgumentParser, args: argparse.Namespace, root: Path
) -> tuple[dict[str, Any], list[list[str]]]:
    """The machine; and section, name and measure of what `--only` names."""
    env = measure.threads_env(args.threads)
    machine, names = measure.fresh("jobs.overview", args.only, args.threads, env=env, path=str(root))
    if not names:
        parser.error(f"--only {args.only!r} matches no 'section: work'")
    return machine, [name[:3] for name in names]


def main(argv: list[str] | None = None) -> dict[str, Any]:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("old", type=Path, help="a checkout: the folder that holds xpconv/")
    parser.add_argument("new", type=Path, nargs="?", default=measure.HERE.parent, help="default: this one")
    add_options(parser, None, starts=3)
    parser.add_argument("--memory", action="store_true", help="peak memory of the training steps as well")
    args = parser.parse_args(argv)
    roots = {"old": args.old.resolve(), "new": args.new.resolve()}
    for root in roots.values():
        if not (root / "xpconv" / "__init__.py").exists():
            parser.error(f"{root} has no package xpconv: give a checkout's folder")
    machine, works = works_of(parser, args, roots["new"])
    sides = {label: functools.partial(Server, root, args.threads) for label, root in roots.items()}
    records = time_in_turn(sides, works, args.starts, args.rounds)
    training = [name for section, name, _ in works if section == "training"] if args.memory else []
    records += [memory_record(roots, "training", name, args.threads) for name in training]
    print(f"{'new / old':58}{'median':>8}{'fastest':>10}", *map(line_of, records), "", sep="\n")
    print(*summary(records), sep="\n")
    result: dict[str, Any] = {
        "date": time.strftime("%Y-%m-%d %H:%M %z"), "machine": machine,
        "checkouts": {label: str(root) for label, root in roots.items()}, "records": records,
    }  # fmt: skip
    if args.out:
        print(f"wrote {measure.write(args.out, result)}", file=sys.stderr)
    return result


if __name__ == "__main__":
    main()
