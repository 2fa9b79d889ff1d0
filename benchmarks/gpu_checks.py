"""What `gpu.py` checks: the suite on CuPy, parity with NumPy, memcheck over every kernel, MNIST, memory.

Each check gives records; one with `passed` False or a `failure` makes the stage fail.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import gpu_process
from gpu_process import REHEARSAL, Record, enter, failure, models, program
from gpu_times import xpconv_run

NAMED = ("scores", "loss", "output", "input")  # arrays that are no gradients of parameters


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


def parity(rehearse: bool) -> Iterator[Record]:
    """Largest difference from NumPy, relative to each array's largest value."""
    import numpy as np

    xpconv = enter(rehearse)
    ours = xpconv.get_backend()

    def errors(arrays: dict[str, tuple[Any, Any]]) -> dict[str, float]:
        """Gradients of parameters are relative to the largest of all: some are 0 but for rounding."""
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


def layer_by_layer(
    xpconv: Any, backend: str, make: Any, shape: tuple[int, ...], train: bool, exact: bool
) -> Iterator[tuple[str, dict[str, tuple[Any, Any]]]]:
    """For each layer of a step in float32 on NumPy: its arrays, and those of a backend for the same inputs.

    Whole models cannot be compared in float32, as rounding moves values across the kink of a ReLU. NumPy's
    arrays are always `exact`: without Winograd's convolution, which rounds more.
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
    """Append the inputs and outputs of each forward and backward of `layer` to `calls`."""
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


def without_dropout(xpconv: Any, model: Any) -> Any:
    """With every dropout off, since the backends draw different masks."""
    for layer in leaves(model):
        if isinstance(layer, xpconv.Dropout):
            layer.p = 0.0
    return model


def leaves(layer: Any) -> Iterator[Any]:
    """A layer's innermost ones."""
    children = layer.children()
    for child in children.values():
        yield from leaves(child)
    if not children:
        yield layer


def kernels(rehearse: bool) -> Iterator[Record]:
    """Launch every kernel at least once, for the sanitizer."""
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


def sanitizer(rehearse: bool, limit: float) -> Iterator[Record]:
    """memcheck over `kernels`, racecheck over those whose threads share memory; a rehearsal has neither."""
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
    end = time.monotonic() + limit
    for check, part in (("memcheck", []), ("racecheck", ["--kernel-name", "kns=row_norm"])):
        options = ["--tool", check, "--error-exitcode", "9", *part]
        rc, output = program(
            [tool, *options, sys.executable, gpu_process.__file__, "gpu_checks.kernels", "[]"],
            end - time.monotonic(),
        )
        failed = '"failure"' in output
        yield {"tool": check, "status": rc, "passed": rc == 0 and not failed, "tail": output[-2000:]}


def memory(rehearse: bool) -> Iterator[Record]:
    """10,000 steps do not change the memory in use; after running out of memory a smaller batch works."""
    import networks
    import work

    xpconv = enter(rehearse)
    make, shape = networks.MODELS["LeNet-5"]
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
    # 103 MB of images, of which the first layer makes six times that
    large = work.xpconv_training(make, (2**15, *shape)).run
    refused = ""
    try:
        large()
    except MemoryError as error:
        refused = failure(error)
    del large
    loss = float(work.xpconv_training(make, (2, *shape)).run())
    explained = refused.startswith("OutOfMemoryError") and "Conv2d" in refused
    yield {"what": "out of memory", "refused": refused, "passed": explained and loss == loss}


def tests(rehearse: bool, limit: float) -> Iterator[Record]:
    """The suite's tests on CuPy; a test that is skipped because it finds no GPU counts as a failure."""
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
        *(["tests/data/test_data.py"] if rehearse else ["-k", "cupy", "--ignore", "tests/kernels"]),
    ]
    env = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    rc, output = program(command, limit, **env, **({} if rehearse else {"XPCONV_REQUIRE_GPU": "1"}))
    counts = {k: int(n) for n, k in re.findall(r"(\d+) (passed|failed|skipped|error)", output[-400:])}
    unavailable = [
        s for s in output.splitlines() if s.startswith("SKIPPED") and re.search("backend 'cupy'|GPU", s)
    ]
    record = {
        "status": "over the limit" if rc is None else rc,
        "counts": counts,
        "skips for want": unavailable,
    }
    yield record | {"passed": rc == 0 and (rehearse or not unavailable), "tail": output[-3000:]}


def mnist(rehearse: bool, folder: str | None, limit: float) -> Iterator[Record]:
    """Seconds that the MNIST example takes, and its accuracy."""
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
