"""What runs in fresh processes: the timing of one section, the memory of one contender."""

from __future__ import annotations

import json
import re
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ablation
import measure
import numpy as np
import torch
from networks import MODELS
from work import Workload, torch_training, works, xpconv_training

import xpconv


def selected(section: str, only: str, fused: bool = False) -> list[Workload]:
    """The workloads of a section that `--only` selects."""
    return [w for w in works(fused) if w.section == section and re.search(only, f"{section}: {w.name}")]


def overview(only: str, threads: int) -> tuple[dict[str, Any], list[tuple[str, str, str, int, list[str]]]]:
    """The machine; and section, name, measure, size and contenders of everything that `--only` names."""
    return measure.machine(threads), [
        (w.section, w.name, w.measure, w.size, list(w.contenders))
        for w in works()
        if re.search(only, f"{w.section}: {w.name}")
    ]


def check_same(name: str, outputs: dict[str, np.ndarray]) -> None:
    """All contenders compute the same, to a thousandth of the largest value."""
    first, expected = next(iter(outputs.items()))
    for label, output in outputs.items():
        if output.shape != expected.shape:
            raise ValueError(f"{name}: {label} gives {output.shape}, {first} gives {expected.shape}")
        error = np.abs(output - expected).max() / np.abs(expected).max()
        if not error < 1e-3:
            raise ValueError(f"{name}: {label} differs from {first} by {error:.1e} of the largest value")


def time_section(
    section: str, only: str, threads: int, seconds: float, rounds: int, fused: bool
) -> list[dict[str, Any]]:
    """A record for each work: medians, quartiles and the ratio of xpconv's better to PyTorch's better."""
    torch.set_num_threads(threads)
    records = []
    for work in selected(section, only, fused):
        print(f"  {section}: {work.name} {work.measure}", file=sys.stderr, flush=True)
        contenders = {label: build() for label, build in work.contenders.items()}
        check_same(work.name, {label: c.output() for label, c in contenders.items()})
        runs = {label: c.run for label, c in contenders.items()}
        samples = measure.interleaved(runs, seconds, rounds)
        medians = {label: statistics.median(s) for label, s in samples.items()}
        quartiles = {label: statistics.quantiles(s, n=4)[::2] for label, s in samples.items()}
        record = {"section": section, "work": work.name, "measure": work.measure, "size": work.size}
        ours = min(m for label, m in medians.items() if label.startswith("xpconv"))
        theirs = min(m for label, m in medians.items() if not label.startswith("xpconv"))
        record |= {"threads": threads, "rounds": len(samples["xpconv"]), "seconds": medians}
        records.append(record | {"quartiles": quartiles, "ratio": ours / theirs})
    return records


def peak_memory(section: str, name: str, label: str, threads: int, fused: bool) -> int:
    """Peak bytes of three training steps, model and data included, over those of a process that has done one
    small step (imports, thread pools, the BLAS's own buffers)."""
    torch.set_num_threads(threads)
    make, shape = MODELS["LeNet-5"]
    if label == "xpconv":
        xpconv_training(make, (1, *shape)).run()
    else:
        torch_training(make, (1, *shape), torch.contiguous_format, fused).run()
    (build,) = [w.contenders[label] for w in selected(section, "", fused) if w.name == name]

    def train() -> None:
        run = build().run
        for _ in range(3):
            run()

    return measure.peak_over_baseline(train)


def serve(threads: int, without: str) -> None:
    """Answer `compare.py` until standard input ends, one JSON line for each request.

    A trick of `ablation.py` is taken out, if `without` names one. The first line says where xpconv was
    imported from. A request `["start", section, name, measure]` builds xpconv's contender and is answered
    with the seconds of an iteration and the output; `["turn", count]` times `count` iterations and is
    answered with the seconds of the fastest.
    """
    torch.set_num_threads(threads)
    if without:
        ablation.TRICKS[without].take_out()

    def answer(value: Any) -> None:
        print(json.dumps(value), flush=True)

    def seconds(count: int) -> float:
        times = []
        for _ in range(count):
            start = time.perf_counter()
            run()
            times.append(time.perf_counter() - start)
        return min(times)

    answer(str(Path(xpconv.__file__).parents[1]))
    run: Callable[[], Any] = measure.nothing
    for line in sys.stdin:
        request, *arguments = json.loads(line)
        if request == "start":
            run = measure.nothing  # frees the memory of the one before
            (work,) = [w for w in works() if [w.section, w.name, w.measure] == arguments]
            contender = work.contenders["xpconv"]()
            run = contender.run
            run()  # allocations, caches of plans
            answer([seconds(2), contender.output().tolist()])
            del contender
        else:
            time.sleep(measure.PAUSE)
            run()
            answer(seconds(arguments[0]))
