"""What Python costs in each layer: calls, frames down to the matrix product, microseconds, on tiny arrays.

python3 benchmarks/python_cost.py                        # on NumPy
XPCONV_BACKEND=cupy python3 benchmarks/python_cost.py    # the host's part of an eager step on a GPU

An eager step on a GPU waits for this, and so do small models on a CPU. One thread computes.
"""

from __future__ import annotations

import argparse
import gc
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import measure

Record = dict[str, Any]
Maker = Callable[[Any], Any]  # from the package xpconv to a layer

IMAGE = (2, 8, 6, 6)
LAYERS: dict[str, tuple[Maker, tuple[int, ...]]] = {
    "Conv2d 3×3": (lambda x: x.Conv2d(8, 8, 3, padding=1), IMAGE),
    "Conv2d 3×3, stride 2": (lambda x: x.Conv2d(8, 8, 3, 2, padding=1), IMAGE),
    "Conv2d 1×1, no bias": (lambda x: x.Conv2d(8, 8, 1, bias=False), IMAGE),
    "Conv2d depthwise 3×3": (lambda x: x.Conv2d(8, 8, 3, padding=1, groups=8), IMAGE),
    "Conv1d": (lambda x: x.Conv1d(8, 8, 3), (2, 8, 6)),
    "ConvTranspose2d": (lambda x: x.ConvTranspose2d(8, 8, 2, 2), IMAGE),
    "Dense": (lambda x: x.Dense(8, 8), (2, 8)),
    "BatchNorm2d": (lambda x: x.BatchNorm2d(8), IMAGE),
    "GroupNorm": (lambda x: x.GroupNorm(2, 8), IMAGE),
    "LayerNorm": (lambda x: x.LayerNorm(8), (2, 8)),
    "MaxPool2d": (lambda x: x.MaxPool2d(2), IMAGE),
    "AvgPool2d": (lambda x: x.AvgPool2d(2), IMAGE),
    "AdaptiveAvgPool2d": (lambda x: x.AdaptiveAvgPool2d(1), IMAGE),
    "ReLU": (lambda x: x.ReLU(), IMAGE),
    "ReLU6": (lambda x: x.ReLU6(), IMAGE),
    "GELU": (lambda x: x.GELU(), IMAGE),
    "SiLU": (lambda x: x.SiLU(), IMAGE),
    "Softmax": (lambda x: x.Softmax(1), (2, 8)),
    "Dropout": (lambda x: x.Dropout(0.5, rng=0), IMAGE),
    "Flatten": (lambda x: x.Flatten(), IMAGE),
    "ZeroPad2d": (lambda x: x.ZeroPad2d(1), IMAGE),
    "Upsample": (lambda x: x.Upsample(scale_factor=2), IMAGE),
    "PixelShuffle": (lambda x: x.PixelShuffle(2), IMAGE),
    "SqueezeExcitation": (lambda x: x.SqueezeExcitation(8, 2), IMAGE),
    "Sequential of nothing": (lambda x: x.Sequential(), IMAGE),
    "Residual of nothing": (lambda x: x.Residual(), IMAGE),
}
DIGITS = "README's 8 layers, batch 64"
NETS: dict[str, tuple[Maker, tuple[int, ...]]] = {
    DIGITS: (
        lambda x: x.Sequential(
            x.Conv2d(1, 16, 3, padding=1), x.ReLU(), x.MaxPool2d(2),
            x.Conv2d(16, 32, 3, padding=1), x.ReLU(), x.MaxPool2d(2),
            x.Flatten(), x.Dense(32 * 2 * 2, 10),
        ),
        (64, 1, 8, 8),
    ),
    "LeNet-5, batch 1": (lambda x: x.models.lenet5(), (1, 1, 28, 28)),
    "ResNet-18 32×32, batch 2": (lambda x: x.models.resnet18(num_classes=10), (2, 3, 32, 32)),
    "MobileNetV2 32×32, batch 2": (lambda x: x.models.mobilenet_v2(num_classes=10), (2, 3, 32, 32)),
}  # fmt: skip


def calls_of(function: Callable[[], Any]) -> int:
    """The number of Python calls in this thread while `function` runs; those into C do not count."""
    count = -1  # without the call of `function` itself

    def profile(frame: Any, event: str, argument: Any) -> None:
        nonlocal count
        count += event == "call"

    gc.disable()  # a collection calls finalizers
    sys.setprofile(profile)
    try:
        function()
    finally:
        sys.setprofile(None)
        gc.enable()
    return count


class Subject:
    """A layer with an input and a gradient, and its calls as functions without arguments."""

    def __init__(self, make: Maker, shape: tuple[int, ...]) -> None:
        import numpy as np

        import xpconv

        xpconv.manual_seed(0)
        rng = np.random.default_rng(0)
        self.layer = make(xpconv)
        self.x = xpconv.asarray(rng.standard_normal(shape, dtype=np.float32))
        with xpconv.no_grad():
            y = make(xpconv).eval()(self.x)
        self.grad = xpconv.asarray(rng.standard_normal(y.shape, dtype=np.float32))

    def forward(self) -> Any:
        """What a training step does with the layer first."""
        return self.layer(self.x)

    def backward(self) -> Any:
        """And then."""
        return self.layer.backward(self.grad)

    def infer(self) -> Any:
        """Without anything saved for backward."""
        import xpconv

        with xpconv.no_grad():
            return self.layer(self.x)


def frames(only: str) -> dict[str, int | None]:
    """For each row the Python frames from the caller down to the first matrix product; None if it has none.

    Of the third forward, in which plans are repeated. In a process of its own, where the product of the array
    module is replaced for good: that of NumPy before the kernels, which compare functions with it.
    """
    import numpy as np

    depths: list[int] = []

    def watch(xp: Any) -> None:
        matmul = xp.matmul

        def watched(*args: Any, **options: Any) -> Any:
            depths.append(depth_of(sys._getframe(1)))
            return matmul(*args, **options)

        xp.matmul = watched

    watch(np)
    import xpconv

    if xpconv.get_xp() is not np:
        watch(xpconv.get_xp())
    found = {}
    for name, (make, shape) in rows(only).items():
        subject = Subject(make, shape)
        for _ in range(3):
            depths.clear()
            subject.layer(subject.x)
        found[name] = depths[0] - depth_of(sys._getframe()) if depths else None
    return found


def depth_of(frame: FrameType | None) -> int:
    """The number of frames from the outermost down to this one."""
    depth = 0
    while frame := frame and frame.f_back:
        depth += 1
    return depth


def rows(only: str) -> dict[str, tuple[Maker, tuple[int, ...]]]:
    """Layers and nets whose name `only` finds."""
    return {name: row for name, row in (LAYERS | NETS).items() if re.search(only, name)}


def counts(make: Maker, shape: tuple[int, ...]) -> dict[str, int]:
    """Calls of a forward, a backward and a forward under `no_grad`, each after it has made its plans."""
    subject = Subject(make, shape)
    for _ in range(3):
        subject.forward()
        subject.backward()
    found = {"forward": calls_of(subject.forward), "backward": calls_of(subject.backward)}
    for _ in range(3):
        subject.infer()
    return found | {"inference": calls_of(subject.infer)}


def seconds(make: Maker, shape: tuple[int, ...], budget: float) -> dict[str, float]:
    """The fastest forward and backward in `budget` seconds of both."""
    subject = Subject(make, shape)
    for _ in range(3):
        subject.forward()
        subject.backward()
    best, clock = {"forward": float("inf"), "backward": float("inf")}, time.perf_counter
    stop, end = 0.0, clock() + budget
    while stop < end:
        start = clock()
        subject.forward()
        middle = clock()
        subject.backward()
        stop = clock()
        best["forward"] = min(best["forward"], middle - start)
        best["backward"] = min(best["backward"], stop - middle)
    return best


def costs(only: str, budget: float) -> list[Record]:
    """A record for each row; in a process of one thread."""
    import xpconv

    return [
        {"layer": name, "shape": shape, "backend": xpconv.get_backend(), "calls": counts(make, shape)}
        | {"seconds": seconds(make, shape, budget)}
        for name, (make, shape) in rows(only).items()
    ]


def table(records: list[Record]) -> str:
    """A row for each record."""
    heads = ("calls: forward", "backward", "inference", "frames", "µs: forward", "backward")
    widths = [len(head) + 3 for head in heads]
    lines = ["".ljust(30) + "".join(h.rjust(w) for h, w in zip(heads, widths, strict=True))]
    for r in records:
        depth = "–" if r["frames"] is None else str(r["frames"])
        cells = [*map(str, r["calls"].values()), depth]
        cells += [f"{v * 1e6:.1f}" for v in r["seconds"].values()]
        lines.append(r["layer"].ljust(30) + "".join(c.rjust(w) for c, w in zip(cells, widths, strict=True)))
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> dict[str, Any]:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", metavar="REGEX", default="", help="of the layer's row")
    parser.add_argument("--seconds", type=float, default=0.5, help="for each row; default: %(default)s")
    parser.add_argument(
        "--out", type=Path, metavar="JSON", default=measure.HERE / "results" / "python-cost.json",
        help="default: benchmarks/results/python-cost.json",
    )  # fmt: skip
    args = parser.parse_args(argv)
    env = measure.threads_env(1)
    depths = measure.fresh("python_cost.frames", args.only, env=env)
    records = measure.fresh("python_cost.costs", args.only, args.seconds, env=env)
    result = {
        "date": time.strftime("%Y-%m-%d %H:%M %z"),
        "machine": measure.fresh("measure.machine", 1, env=env),
        "records": [r | {"frames": depths[r["layer"]]} for r in records],
    }
    print(table(result["records"]))
    print(f"wrote {measure.write(args.out, result)}", file=sys.stderr)
    return result


if __name__ == "__main__":
    main()
