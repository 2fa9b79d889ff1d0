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
import contextlib
import functools
import itertools
import json
import os
import platform
import re
import shutil
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
REHEARSAL = "the double on a CPU: no GPU figures"
MARK = "@record "  # before each record on a part's standard output
NAMED = ("scores", "loss", "output", "input")  # arrays that are no gradients of parameters
PRECISIONS = ("float32", "tf32", "float16", "bfloat16")
WORKS = ("LeNet-5", "MNIST example", "VGG-like 32×32", "ResNet-20", "MobileNetV2 96×96", "ResNet-50 224×224")
# seconds of each stage, of a budget of 570
SHARES = {
    "device": 15, "tests": 100, "parity": 45, "training": 200, "mnist": 25, "sanitizer": 35, "memory": 30,
    "inference": 90, "compile": 30,
}  # fmt: skip
TIMED = {  # stage: what is timed, and PyTorch's ways
    "training": ("training", ["eager", "channels-last", "graphs"]),
    "inference": ("inference", ["eager", "channels-last", "graphs"]),
    "compile": ("training", ["eager", "compile"]),  # apart, as it takes long
}
WITHOUT_GPU = ("eager", "channels-last")
TARGETS = {"LeNet-5": 0.5, "VGG-like 32×32": 1.0, "ResNet-20": 1.0, "ResNet-50 224×224": 1.1}

Record = dict[str, Any]


def failure(error: BaseException) -> str:
    """Kind and text, in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:500]


# --- parts that run in their own process ----------------------------------------------------------------


def enter(rehearse: bool) -> Any:
    """Make the device (or the double) the active backend on both sides; returns xpconv."""
    import xpconv

    if rehearse:
        sys.path.insert(0, str(HERE.parent / "tests"))
        import double
        import measure
        import torch

        double.register()
        import emulation

        if emulation.COMPILER:
            double.xp.RawModule = emulation.RawModule
        torch.set_num_threads(1)
        measure.PAUSE, measure.TURN = 0.0, 1e-4  # one iteration each: no time here means anything
    else:
        import measure
        import torch
        import work

        work.DEVICE = "cuda"
        measure.PAUSE, measure.TURN = 0.0, 0.04  # no threads of others that spin
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    xpconv.set_backend("double" if rehearse else "cupy")
    return xpconv


def models(rehearse: bool) -> dict[str, Any]:
    """Name to maker and image shape; in a rehearsal the smallest two."""
    from work import MODELS

    from xpconv.models import resnet50

    found = {**MODELS, "ResNet-50 224×224": (resnet50, (3, 224, 224))}
    return {name: found[name] for name in (("LeNet-5",) if rehearse else WORKS)}


def device(rehearse: bool) -> Iterator[Record]:
    """What it runs on."""
    import numpy as np
    import torch

    info: Record = {"python": platform.python_version(), "numpy": np.__version__, "torch": torch.__version__}
    if rehearse:
        yield {**info, "device": REHEARSAL}
        return
    xp = enter(rehearse).get_xp()
    from xpconv.kernels.cupy.cudnn import frontend

    name = xp.cuda.runtime.getDeviceProperties(0)["name"]
    smi = subprocess.run(
        ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"],
        capture_output=True, text=True, check=False,
    ) if shutil.which("nvidia-smi") else None  # fmt: skip
    yield {
        **info,
        "device": name.decode() if isinstance(name, bytes) else name,
        "nvidia-smi": smi.stdout.strip() if smi else "not found",
        "CUDA driver API": xp.cuda.runtime.driverGetVersion(),
        "CUDA runtime": xp.cuda.runtime.runtimeGetVersion(),
        "cupy": xp.__version__,
        "torch CUDA": torch.version.cuda,
        "PyTorch's cuDNN": torch.backends.cudnn.version() if torch.cuda.is_available() else None,
        "xpconv's cuDNN": library.backend_version() if (library := frontend()) else None,
    }


def leaves(layer: Any) -> Iterator[Any]:
    """A layer's innermost ones."""
    children = layer.children()
    for child in children.values():
        yield from leaves(child)
    if not children:
        yield layer


def one_step(xpconv: Any, backend: str, make: Any, shape: tuple[int, ...], train: bool) -> dict[str, Any]:
    """Scores, loss and all gradients on a backend in float64, as NumPy arrays."""
    import work

    model = without_dropout(xpconv, work.make_model(make)).to(dtype="float64").train(train)
    with xpconv.use_backend(backend):
        model.to(backend)
        criterion = xpconv.SoftmaxCrossEntropyLoss()
        scores = model(xpconv.asarray(work.normal(*shape), dtype="float64"))
        loss = criterion(scores, xpconv.asarray(work.labels(shape[0])))
        found = {"input": model.backward(criterion.backward()), "scores": scores, "loss": loss}
        found |= {name: p.grad for name, p in model.named_parameters()}
        return {name: xpconv.asnumpy(array) for name, array in found.items()}


def without_dropout(xpconv: Any, model: Any) -> Any:
    """The backends draw different masks."""
    for layer in leaves(model):
        if isinstance(layer, xpconv.Dropout):
            layer.p = 0.0
    return model


def layer_by_layer(
    xpconv: Any, backend: str, make: Any, shape: tuple[int, ...], train: bool, exact: bool
) -> Iterator[tuple[str, dict[str, tuple[Any, Any]]]]:
    """For each layer of a step in float32 on NumPy: its arrays, and a backend's from the same inputs.

    For whole models float32 does not do, as rounding moves values across the kink of a ReLU. NumPy's are
    always `exact`: without Winograd's convolution, which rounds more.
    """
    import work

    with xpconv.use_backend("numpy"):
        model, twin = (without_dropout(xpconv, work.make_model(make)).train(train) for _ in range(2))
        calls: list[list[Any]] = []
        for theirs, ours in zip(leaves(model), leaves(twin), strict=True):
            watch(theirs, ours, calls)
        xpconv.set_exact(True)
        criterion = xpconv.SoftmaxCrossEntropyLoss()
        criterion(model(work.normal(*shape)), work.labels(shape[0]))
        model.backward(criterion.backward())
        xpconv.set_exact(False)
    with xpconv.use_backend(backend):
        twin.to(backend)
        xpconv.set_exact(exact)
        try:
            for theirs, ours, x, y, grad, dx in calls:
                here = ours(xpconv.asarray(x))
                arrays = {"output": (y, here), "input": (dx, ours.backward(xpconv.asarray(grad)))}
                pairs = zip(theirs.parameters(), ours.parameters(), strict=True)
                arrays |= {p.name: (p.grad, q.grad) for p, q in pairs}
                yield repr(ours), {name: (a, xpconv.asnumpy(b)) for name, (a, b) in arrays.items()}
        finally:
            xpconv.set_exact(False)


def watch(layer: Any, twin: Any, calls: list[list[Any]]) -> None:
    """Have what goes into `layer` and comes out of it, both ways, written down in `calls`."""
    forward, backward = layer.forward, layer.backward
    pending: list[list[Any]] = []

    def watched_forward(x: Any) -> Any:
        pending.append([layer, twin, x, forward(x)])
        return pending[-1][3]

    def watched_backward(grad: Any, input_grad: bool = True) -> Any:
        dx = backward(grad, input_grad)
        calls.append([*pending.pop(), grad, dx])
        return dx

    layer.forward, layer.backward = watched_forward, watched_backward


def parity(rehearse: bool) -> Iterator[Record]:
    """Largest difference from NumPy, relative to each array's largest value."""
    import numpy as np

    xpconv = enter(rehearse)
    ours = xpconv.get_backend()

    def errors(arrays: dict[str, tuple[Any, Any]]) -> dict[str, float]:
        """Gradients of parameters relative to the largest of all, as some of them are 0 but for rounding."""
        size = {name: float(np.abs(a).max(initial=0)) for name, (a, _) in arrays.items()}
        largest = max((v for k, v in size.items() if k not in NAMED), default=0.0)
        found = {}
        for name, (a, b) in arrays.items():
            scale = size[name] if name in NAMED else largest
            found[name] = float(np.abs(a - b).max(initial=0)) / max(scale, 1e-30)
        return {name: e if e == e else np.inf for name, e in found.items()}

    for name, (make, shape) in models(rehearse).items():
        for train in (False, True):
            about: Record = {"work": name, "mode": "train" if train else "eval"}
            try:
                steps = [one_step(xpconv, b, make, (2, *shape), train) for b in ("numpy", ours)]
                pairs = {key: (a, steps[1][key]) for key, a in steps[0].items()}
                yield about | judged("whole model in float64", errors(pairs), 1e-9)
                for exact, limit in ((True, 1e-5), (False, 1e-4)):
                    pairs_by_layer = layer_by_layer(xpconv, ours, make, (2, *shape), train, exact)
                    worst = {
                        f"{key} of {layer}, {i} from the end": e
                        for i, (layer, arrays) in enumerate(pairs_by_layer)
                        for key, e in errors(arrays).items()
                    }
                    yield about | judged(f"each layer in float32{', exact' * exact}", worst, limit)
            except Exception as error_:  # noqa: BLE001 - recorded; the others go on
                yield about | {"passed": False, "failure": failure(error_)}


def judged(what: str, errors: dict[str, float], limit: float) -> Record:
    """The largest of the errors, and whether it is within the limit."""
    worst = max(errors, key=errors.__getitem__)
    return {"what": what, "worst": worst, "error": errors[worst], "passed": errors[worst] <= limit}


def xpconv_run(make: Any, shape: Any, kind: str, precision: str, captured: bool) -> Callable[[], Any]:
    """A step or a forward, to be timed."""
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

        def infer(x: Any) -> Any:
            with xpconv.no_grad():
                return model(x)

        return functools.partial(xpconv.cuda.capture(infer, x) if captured else infer, x)
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

    return functools.partial(xpconv.cuda.capture(step, x, y) if captured else step, x, y)


def torch_run(make: Any, shape: Any, kind: str, precision: str, how: str) -> Callable[[], Any]:
    """PyTorch's: `how` is 'eager', 'channels-last', 'compile' or 'graphs'."""
    import torch
    import work

    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"
    layout = torch.channels_last if how == "channels-last" else torch.contiguous_format
    model = work.twin(work.make_model(make)).to(work.DEVICE, memory_format=layout)
    x = work.to_torch(work.normal(*shape), layout)
    y = torch.from_numpy(work.labels(shape[0])).to(work.DEVICE)
    half = {"float16": torch.float16, "bfloat16": torch.bfloat16}.get(precision)
    cast = functools.partial(
        torch.autocast, work.DEVICE, half, enabled=half is not None, cache_enabled=how != "graphs"
    )
    forward = torch.compile(model) if how == "compile" else model
    if kind == "inference":
        model.eval()

        def run() -> Any:
            with torch.inference_mode(), cast():
                return forward(x)
    else:
        criterion = torch.nn.CrossEntropyLoss()
        capturable = how == "graphs"  # only the fused one leaves out a step without asking the host
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

    if how != "graphs":
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
    """`run` holds what the graph reads: the images and labels, the model."""
    graph.replay()


def device_timed(run: Callable[[], Any], count: int) -> float:
    """Seconds an iteration by device events. The wait is for all streams, as a replay may have its own."""
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
    """An error of the contender that is named."""


def named(label: str, run: Callable[[], Any]) -> Callable[[], Any]:
    """The same, whose errors tell whose they are."""

    def call() -> Any:
        try:
            return run()
        except Exception as error:
            raise ContenderError(label) from error

    return call


def timing(rehearse: bool, kind: str, names: list[str], seconds: float, hows: list[str]) -> Iterator[Record]:
    """The models' rows of a kind, float32 first; those that find no time left say so.

    xpconv, captured and not, against PyTorch's `hows`.
    """
    end = time.monotonic() + seconds
    enter(rehearse)
    for left, name in zip(range(len(names), 0, -1), names, strict=True):
        now = time.monotonic()
        yield from timed_rows(rehearse, kind, name, now + (end - now) / left, hows)


def timed_rows(rehearse: bool, kind: str, name: str, end: float, hows: list[str]) -> Iterator[Record]:
    """A model's."""
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
            f"xpconv {label}": functools.partial(xpconv_run, make, size, kind, precision, captured)
            for label, captured in (("eager", False), ("captured", True))
        }
        for how in hows:
            builds[f"PyTorch {how}"] = functools.partial(torch_run, make, size, kind, precision, how)
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


def timed_models(kind: str, hows: list[str], limit: float) -> Iterator[Record]:
    """All models in one process; after its death those that are left in the next."""
    end, names = time.monotonic() + limit, list(WORKS)
    while names:
        at, died = names[0], False
        left = end - time.monotonic()
        for record in in_process("timing", [kind, names, left - 8, hows], left):
            at, died = record.get("work", at), "work" not in record
            yield record
        names = names[names.index(at) + 1 :] if died and end - time.monotonic() > 15 else []


def kernels(rehearse: bool) -> Iterator[Record]:
    """Every kernel once at least: what the sanitizer looks at."""
    import xpconv

    if rehearse:
        enter(True)
    else:
        xpconv.set_backend("cupy")  # without PyTorch, which takes long to import under the sanitizer
    import every_kernel

    launched = every_kernel.watch()
    for dtype in ("float16", "float32", "float64", *(() if rehearse else ("bfloat16",))):
        try:
            every_kernel.run(xpconv, dtype)
            yield {"dtype": dtype}
        except Exception as error:  # noqa: BLE001 - recorded; the others go on
            yield {"dtype": dtype, "failure": failure(error)}
    if not hasattr(xpconv.get_xp(), "RawModule"):
        yield {"skipped": "the rehearsal has no compiler for kernels"}
        return
    missing = sorted(every_kernel.there() - launched)
    yield {"kernels": len(launched), "never launched": missing, "passed": not missing}


def memory(rehearse: bool) -> Iterator[Record]:
    """10,000 steps leave the pool's use as it was; after running out of memory a smaller batch works."""
    import work

    xpconv = enter(rehearse)
    make, shape = work.MODELS["LeNet-5"]
    run = work.xpconv_training(make, (2, *shape)).run
    pool = None if rehearse else xpconv.get_xp().get_default_memory_pool()
    captured = xpconv_run(make, (2, *shape), "training", "float32", True)
    for what, step, steps in (("eager", run, 2_000), ("captured", captured, 8_000)):
        used = []
        for i in range(3 if rehearse else steps + 1):
            step()
            if pool and i in (steps // 100, steps):
                used.append((pool.used_bytes(), xpconv.get_xp().cuda.runtime.memGetInfo()[0]))
        yield {"what": f"{steps} steps, {what}", "pool, free": used, "passed": len(set(used)) <= 1}
    del captured, step
    if pool is None:
        yield {"what": "out of memory", "skipped": "needs a device"}
        return
    pool.free_all_blocks()
    pool.set_limit(size=pool.total_bytes() + 2**28)
    large = work.xpconv_training(
        make, (2**15, *shape)
    ).run  # 103 MB of images; the first layer gives six times that
    refused = ""
    try:
        large()
    except MemoryError as error:
        refused = failure(error)
    del large
    loss = float(work.xpconv_training(make, (2, *shape)).run())
    told = refused.startswith("OutOfMemoryError") and "Conv2d" in refused
    yield {"what": "out of memory", "refused": refused, "passed": told and loss == loss}


# --- parts that are programs of their own ---------------------------------------------------------------


def program(command: list[str], limit: float, **env: str) -> tuple[int | None, str]:
    """Exit status (None: over the limit) and all output."""
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env={**os.environ, **env}, cwd=HERE.parent, start_new_session=True,
    )  # fmt: skip
    try:
        output, _ = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        end_group(process)
        return None, process.communicate()[0]
    return process.returncode, output


def end_group(process: subprocess.Popen[str]) -> None:
    """The process and its children (a compiler's workers, a tool's target), which hold its pipes open."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def tests(rehearse: bool, limit: float) -> Iterator[Record]:
    """The suite's tests on CuPy; a skip for want of a GPU is a failure there."""
    missing = [m for m in ("pytest", "hypothesis") if not find_spec(m)]
    if missing:
        yield {"passed": False, "failure": f"{', '.join(missing)} missing: the suite cannot run"}
        return
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-rs",
        *(["-p", "xdist.plugin", "-n", str(min(12, os.cpu_count() or 1))] if find_spec("xdist") else []),
        *(["tests/test_data.py"] if rehearse else ["-k", "cupy"]),
    ]
    env = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    rc, output = program(command, limit, **env, **({} if rehearse else {"XPCONV_REQUIRE_GPU": "1"}))
    counts = {k: int(n) for n, k in re.findall(r"(\d+) (passed|failed|skipped|error)", output[-400:])}
    wanting = [
        s for s in output.splitlines() if s.startswith("SKIPPED") and re.search("backend 'cupy'|GPU", s)
    ]
    record = {"status": "over the limit" if rc is None else rc, "counts": counts, "skips for want": wanting}
    yield record | {"passed": rc == 0 and (rehearse or not wanting), "tail": output[-3000:]}


def sanitizer(rehearse: bool, limit: float) -> Iterator[Record]:
    """memcheck over `kernels` (they share no memory in a block); the rehearsal runs `kernels` alone."""
    if rehearse:
        yield from kernels(True)
        return
    homes = [os.environ.get("CUDA_HOME", ""), "/usr/local/cuda"]
    wheels = [str(p.parent) for s in sys.path for p in Path(s).glob("nvidia/**/compute-sanitizer")]
    places = [os.environ.get("PATH", ""), *(f"{h}/bin" for h in homes), *wheels]
    tool = shutil.which("compute-sanitizer", path=os.pathsep.join(places))
    if not tool:
        yield {
            "passed": False,
            "failure": "compute-sanitizer not found in PATH, CUDA_HOME or NVIDIA's wheels",
        }
        return
    options = ["--tool", "memcheck", "--error-exitcode", "9"]
    rc, output = program([tool, *options, sys.executable, __file__, "--part", "kernels"], limit)
    failed = '"failure"' in output
    yield {"tool": "memcheck", "status": rc, "passed": rc == 0 and not failed, "tail": output[-2000:]}


def mnist(rehearse: bool, folder: str | None, limit: float) -> Iterator[Record]:
    """Seconds of the example, and the accuracy it reaches."""
    data = ["--data", "mnist", "--data-dir", folder] if folder else ["--epochs", "1"]
    if not (folder or rehearse):
        yield {"skipped": "no folder with MNIST's IDX files (--mnist DIR)"}
        return
    start = time.perf_counter()
    command = [sys.executable, "examples/train_mnist.py", *data]
    rc, output = program(command, limit, XPCONV_BACKEND="numpy" if rehearse else "cupy")
    found = re.search(r"test accuracy ([\d.]+)%", output)
    accuracy = float(found[1]) if found else None
    passed = rc == 0 and (rehearse or (accuracy or 0) >= 99)
    record = {"status": rc, "seconds": time.perf_counter() - start, "accuracy %": accuracy, "passed": passed}
    yield record | {"tail": output[-1500:]}


PARTS: dict[str, Callable[..., Iterator[Record]]] = {
    "device": device, "parity": parity, "timing": timing, "kernels": kernels, "memory": memory,
}  # fmt: skip


def in_process(part: str, arguments: list[Any], limit: float) -> Iterator[Record]:
    """The part's records as they come from a process of its own; its death or the limit is one more."""
    command = [sys.executable, __file__, "--part", part, json.dumps(arguments)]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    errors: list[str] = []
    reader = threading.Thread(target=lambda: errors.extend(process.stderr or []), daemon=True)
    reader.start()
    timer = threading.Timer(limit, end_group, [process])
    timer.start()
    start = time.monotonic()
    for line in process.stdout or []:
        if line.startswith(MARK) and line.endswith("\n"):  # a cut-off one does not
            yield json.loads(line.removeprefix(MARK))
    status = process.wait()
    timer.cancel()
    reader.join(5)
    if status:
        over = time.monotonic() - start >= limit
        text = (
            f"over its limit of {limit:.0f} s" if over else f"ended with {status}: {''.join(errors)[-1500:]}"
        )
        yield {"passed": False, "failure": f"{part} {arguments}: {text}"}


# --- all of it ------------------------------------------------------------------------------------------


def stage_records(stage: str, args: argparse.Namespace, limit: float) -> Iterator[Record]:
    """What a stage finds."""
    if stage == "tests":
        yield from tests(args.rehearse, limit)
    elif stage == "sanitizer":
        yield from sanitizer(args.rehearse, limit)
    elif stage == "mnist":
        yield from mnist(args.rehearse, args.mnist, limit)
    elif stage in TIMED:
        kind, hows = TIMED[stage]
        if args.rehearse:
            yield from timing(True, kind, ["LeNet-5"], limit, [how for how in hows if how in WITHOUT_GPU])
        else:
            yield from timed_models(kind, hows, limit)
    elif args.rehearse:
        yield from PARTS[stage](True)
    else:
        yield from in_process(stage, [], limit)


def criteria(result: Record) -> list[tuple[str, str, str]]:
    """Of issue 5: what, the target, what was reached."""
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
    parser.add_argument("--rehearse", action="store_true", help="on the double, tiny; wants --out")
    parser.add_argument("--part", nargs="+", help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.part:
        for record in PARTS[args.part[0]](False, *json.loads((args.part[1:] or ["[]"])[0])):
            print(MARK + json.dumps(record), flush=True)
        return 0
    wanted = args.only.split(",")
    if unknown := set(wanted) - set(SHARES):
        parser.error(f"--only: no stage {', '.join(sorted(unknown))}; there are {', '.join(SHARES)}")
    results = HERE / "results"
    if args.rehearse and (args.out is None or args.out.resolve() == results.resolve()):
        parser.error("--rehearse wants an --out other than benchmarks/results: it has no figures of a GPU")
    out = args.out or results
    out.mkdir(parents=True, exist_ok=True)
    clock = "host" if args.rehearse else "device events"
    result: Record = {"device": REHEARSAL if args.rehearse else "unknown", "clock": clock, "stages": {}}
    path = out / ("gpu-rehearsal.json" if args.rehearse else "gpu-unknown.json")
    end, todo = time.monotonic() + args.budget, [s for s in SHARES if s in wanted or s == "device"]
    for i, stage in enumerate(todo):
        left = end - time.monotonic()
        limit = max(5.0, left * SHARES[stage] / sum(SHARES[s] for s in todo[i:]))
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
                        kept = json.loads(path.read_text())["stages"] if path.exists() else {}
                        if kept and kept["device"]["records"][0] == record:  # the same versions
                            result["stages"] |= {s: e for s, e in kept.items() if s not in todo}
                write(path, result)
        except Exception as error:  # noqa: BLE001 - recorded; the others go on
            entry["records"].append({"passed": False, "failure": failure(error)})
            entry["failed"] = True
            print("  ", failure(error), flush=True)
        entry["seconds"] = time.monotonic() - start
        write(path, result)
    result["criteria"] = criteria(result)
    write(path, result)
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


def write(path: Path, result: Record) -> None:
    """The whole result so far."""
    path.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    raise SystemExit(main())
