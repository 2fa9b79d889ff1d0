"""What `gpu.py` times: xpconv eager, graphed and captured against PyTorch, by device events."""

from __future__ import annotations

import functools
import itertools
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

from gpu_process import WORKS, Record, enter, failure, in_process, models

PRECISIONS = ("float32", "tf32", "float16", "bfloat16")
TIMED = {  # stage: what is timed, and how PyTorch runs
    "training": ("training", ["eager", "channels-last", "graphs"]),
    "inference": ("inference", ["eager", "channels-last", "graphs"]),
    "compile": ("training", ["eager", "compile"]),  # apart, as it takes long
}
WITHOUT_GPU = ("eager", "channels-last")


def timed_models(kind: str, modes: list[str], limit: float) -> Iterator[Record]:
    """All models in one process; if it dies, the remaining ones in another."""
    end, names = time.monotonic() + limit, list(WORKS)
    while names:
        at, died = names[0], False
        left = end - time.monotonic()
        for record in in_process("gpu_times.timing", [kind, names, left - 8, modes], left):
            at, died = record.get("work", at), "work" not in record
            yield record
        names = names[names.index(at) + 1 :] if died and end - time.monotonic() > 15 else []


def timing(rehearse: bool, kind: str, names: list[str], seconds: float, modes: list[str]) -> Iterator[Record]:
    """The rows of the models, float32 first; a contender for which no time is left is recorded as such.

    xpconv, eager, graphed (a plain loop) and captured (a whole step), against PyTorch's `modes`.
    """
    end = time.monotonic() + seconds
    enter(rehearse)
    for left, name in zip(range(len(names), 0, -1), names, strict=True):
        now = time.monotonic()
        yield from timed_rows(rehearse, kind, name, now + (end - now) / left, modes)


def timed_rows(rehearse: bool, kind: str, name: str, end: float, modes: list[str]) -> Iterator[Record]:
    """The rows of one model."""
    import measure

    make, shape = models(rehearse)[name]
    batches = [64] if kind == "training" else [1, 64]
    timed = None if rehearse else device_timed
    budget, rounds = (0.0, 1) if rehearse else (0.3, 3)
    if rehearse:
        batches = [min(batch, 2) for batch in batches]
    for batch, precision in itertools.product(batches, PRECISIONS[: -1 if rehearse else None]):
        # a rehearsal is on NumPy, which has no bfloat16
        record: Record = {"work": name, "kind": kind, "batch": batch, "precision": precision}
        size = (batch, *shape)
        builds: dict[str, Callable[[], Any]] = {
            f"xpconv {label}": functools.partial(xpconv_run, make, size, kind, precision, label)
            for label in ("eager", "graphed", "captured")
        }
        for mode in modes:
            builds[f"PyTorch {mode}"] = functools.partial(torch_run, make, size, kind, precision, mode)
        runs, failures = {}, {}
        for label, build in builds.items():
            if time.monotonic() > end:
                failures[label] = "not measured: the time was over"
                continue
            try:
                runs[label] = named(label, build())
            except Exception as error:  # noqa: BLE001 - recorded; the others go on
                failures[label] = failure(error)
        while runs:
            try:
                samples = measure.interleaved(runs, budget, rounds, timed=timed)
                record["seconds"] = {k: statistics.median(s) for k, s in samples.items()}
                break
            except ContenderError as error:  # the others again
                label = str(error)
                del runs[label]
                failures[label] = failure(error.__cause__ or error)
        yield record | {"failures": failures}


def xpconv_run(make: Any, shape: Any, kind: str, precision: str, mode: str) -> Callable[[], Any]:
    """xpconv's training step or inference, as a function to be timed."""
    import work

    import xpconv

    xpconv.cuda.allow_tf32(precision == "tf32")
    model = work.make_model(make)
    dtype = precision if precision in ("float16", "bfloat16") else "float32"
    if dtype != "float32":
        model.to(dtype=dtype)
    x, y = xpconv.asarray(work.normal(*shape), dtype=dtype), xpconv.asarray(work.labels(shape[0]))
    if kind == "inference":
        model = work.prepare_inference(model)
        vars(model).pop("_replays", None)  # a model from fuse() is graphed by itself
        if mode == "graphed":
            xpconv.cuda.graphed(model)

        def infer(x: Any) -> Any:
            with xpconv.no_grad():
                return model(x)

        return functools.partial(xpconv.cuda.capture(infer, x) if mode == "captured" else infer, x)
    if mode == "graphed":
        xpconv.cuda.graphed(model)
    criterion = xpconv.SoftmaxCrossEntropyLoss()
    optimizer = xpconv.Adam(model.parameters(), lr=1e-3)
    scaler = xpconv.GradScaler() if dtype == "float16" else None

    def step(x: Any, y: Any) -> Any:
        loss = criterion(model(x), y)
        optimizer.zero_grad()
        grad = criterion.backward(scaler.scale) if scaler else criterion.backward()
        model.backward(grad, input_grad=False)
        if scaler:
            scaler.step(optimizer)
            scaler.update()
        else:
            optimizer.step()
        return loss

    return functools.partial(xpconv.cuda.capture(step, x, y) if mode == "captured" else step, x, y)


def torch_run(make: Any, shape: Any, kind: str, precision: str, mode: str) -> Callable[[], Any]:
    """The same of PyTorch: `mode` is 'eager', 'channels-last', 'compile' or 'graphs'."""
    import networks
    import torch
    import work

    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"
    layout = torch.channels_last if mode == "channels-last" else torch.contiguous_format
    model = networks.twin(work.make_model(make)).to(work.DEVICE, memory_format=layout)
    x = work.to_torch(work.normal(*shape), layout)
    y = torch.from_numpy(work.labels(shape[0])).to(work.DEVICE)
    half = {"float16": torch.float16, "bfloat16": torch.bfloat16}.get(precision)
    cast = functools.partial(
        torch.autocast, work.DEVICE, half, enabled=half is not None, cache_enabled=mode != "graphs"
    )
    forward = torch.compile(model) if mode == "compile" else model
    if kind == "inference":
        model.eval()

        def run() -> Any:
            with torch.inference_mode(), cast():
                return forward(x)
    else:
        criterion = torch.nn.CrossEntropyLoss()
        capturable = mode == "graphs"  # only the fused one leaves out a step without asking the host
        optimizer = torch.optim.Adam(
            model.parameters(), lr=1e-3, capturable=capturable, fused=capturable or None
        )
        scaler = torch.amp.GradScaler(work.DEVICE, enabled=precision == "float16")

        def run() -> Any:
            with cast():
                loss = criterion(forward(x), y)
            optimizer.zero_grad()
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
            return loss

    if mode != "graphs":
        return run
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            run()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph):
            run()
    except RuntimeError:
        torch.cuda.set_stream(torch.cuda.default_stream())  # PyTorch stays on the recording's
        raise
    return functools.partial(replay, graph, run)


def replay(graph: Any, run: Any) -> None:
    """Replay `graph`; `run` keeps alive what it reads: images, labels and the model."""
    graph.replay()


def device_timed(run: Callable[[], Any], count: int) -> float:
    """Seconds of an iteration by device events, after all streams, as a replay may have its own."""
    import torch

    torch.cuda.synchronize()
    start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    for _ in range(count):
        run()
    torch.cuda.synchronize()
    stop.record()
    stop.synchronize()
    return start.elapsed_time(stop) / 1e3 / count


class ContenderError(Exception):
    """An error in the contender of that name."""


def named(label: str, run: Callable[[], Any]) -> Callable[[], Any]:
    """The same function, whose errors name the contender."""

    def call() -> Any:
        try:
            return run()
        except Exception as error:
            raise ContenderError(label) from error

    return call
