"""Parts of `gpu.py` in processes of their own, with a time limit; what all parts share.

python3 benchmarks/gpu_process.py gpu_checks.parity '[]'    # prints the records of one part
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
REHEARSAL = "the double on a CPU: no GPU figures"
MARK = "@record "  # before each record on a part's standard output
WORKS = (
    "LeNet-5", "MNIST example", "VGG-like 32×32", "ResNet-20", "MobileNetV2 96×96", "ResNet-50 224×224",
    "EfficientNet-B0 128×128", "ConvNeXt-Tiny 128×128",
)  # fmt: skip

Record = dict[str, Any]


def failure(error: BaseException) -> str:
    """An error's type and text in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:500]


def enter(rehearse: bool) -> Any:
    """Make the device (or the double) the active backend on both sides; returns xpconv."""
    import xpconv

    if rehearse:
        sys.path.insert(0, str(HERE.parent / "tests" / "helpers"))
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
    """For each name a function that makes the model, and the image shape; LeNet-5 alone in a rehearsal."""
    from networks import MODELS

    from xpconv.models import convnext_tiny, efficientnet_b0, resnet50

    found = {
        **MODELS,
        "ResNet-50 224×224": (resnet50, (3, 224, 224)),
        "EfficientNet-B0 128×128": (efficientnet_b0, (3, 128, 128)),
        "ConvNeXt-Tiny 128×128": (convnext_tiny, (3, 128, 128)),
    }
    return {name: found[name] for name in (("LeNet-5",) if rehearse else WORKS)}


def program(command: list[str], limit: float, **env: str) -> tuple[int | None, str]:
    """The exit status (None: it ran over the limit) and all output."""
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
    """Kill the process and its children, such as a compiler's workers, which hold its pipes open."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def in_process(part: str, arguments: list[Any], limit: float) -> Iterator[Record]:
    """The records of a part, a `module.function`, from a process of its own.

    One more record says that the process died or ran over the limit.
    """
    command = [sys.executable, __file__, part, json.dumps(arguments)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, start_new_session=True) as process:
        errors: list[str] = []
        reader = threading.Thread(target=lambda: errors.extend(process.stderr or []), daemon=True)
        reader.start()
        over = threading.Event()

        def end() -> None:
            over.set()
            end_group(process)

        timer = threading.Timer(limit, end)
        timer.start()
        for line in process.stdout or []:
            if line.startswith(MARK) and line.endswith("\n"):  # a cut-off one does not
                yield json.loads(line.removeprefix(MARK))
        status = process.wait()
        timer.cancel()
        reader.join(5)
    if status:
        text = f"ended with {status}: {''.join(errors)[-1500:]}"
        if over.is_set():
            text = f"over its limit of {limit:.0f} s"
        yield {"passed": False, "failure": f"{part} {arguments}: {text}"}


if __name__ == "__main__":
    module, _, name = sys.argv[1].rpartition(".")
    for record in getattr(import_module(module), name)(False, *json.loads(sys.argv[2])):
        print(MARK + json.dumps(record), flush=True)
