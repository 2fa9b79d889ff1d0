"""The number of Python calls in a layer, which an eager step on a GPU waits for, stays below a bound.

Counts do not depend on the machine. Whoever makes a layer cheaper lowers its bound.
"""

import importlib
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))
measure, python_cost = map(importlib.import_module, ("measure", "python_cost"))

BOUNDS = {  # row of python_cost.py: calls of forward, backward, forward under no_grad; frames to the product (0: none)
    "Conv2d 3×3": (140, 210, 120, 21),
    "Conv2d 3×3, stride 2": (140, 180, 120, 21),
    "Conv2d 1×1, no bias": (110, 150, 90, 21),
    "Conv2d depthwise 3×3": (140, 240, 120, 0),
    "Conv1d": (130, 190, 100, 21),
    "ConvTranspose2d": (140, 180, 110, 24),
    "Dense": (80, 70, 50, 17),
    "BatchNorm2d": (200, 160, 160, 21),
    "GroupNorm": (70, 50, 50, 0),
    "LayerNorm": (70, 50, 50, 0),
    "MaxPool2d": (120, 80, 80, 0),
    "AvgPool2d": (90, 60, 80, 0),
    "AdaptiveAvgPool2d": (70, 120, 60, 19),
    "ReLU": (80, 50, 60, 0),
    "ReLU6": (80, 60, 60, 0),
    "GELU": (60, 20, 30, 0),
    "SiLU": (60, 20, 30, 0),
    "Softmax": (50, 20, 30, 0),
    "Dropout": (50, 20, 30, 0),
    "Flatten": (40, 10, 30, 0),
    "ZeroPad2d": (90, 30, 90, 0),
    "Upsample": (70, 30, 40, 0),
    "PixelShuffle": (40, 20, 30, 0),
    "SqueezeExcitation": (300, 390, 250, 25),
    "Sequential of nothing": (50, 20, 30, 0),
    "Residual of nothing": (100, 70, 80, 0),
    "README's 8 layers, batch 64": (470, 510, 400, 26),
    "LeNet-5, batch 1": (660, 690, 540, 26),
    "ResNet-18 32×32, batch 2": (4800, 4600, 4200, 26),
    "MobileNetV2 32×32, batch 2": (10800, 10900, 9400, 36),
}


def test_calls_and_frames_stay_below_their_bounds():
    assert set(BOUNDS) == {*python_cost.LAYERS, *python_cost.NETS}
    env = measure.threads_env(1) | {"XPCONV_BACKEND": "numpy"}
    depths = measure.fresh("python_cost.frames", "", env=env)
    records = measure.fresh("python_cost.costs", "", 0.0, env=env)
    over = {}
    for record in records:
        name = record["layer"]
        found = (*record["calls"].values(), depths[name] or 0)
        if any(a > b for a, b in zip(found, BOUNDS[name], strict=True)):
            over[name] = f"{found} for {BOUNDS[name]}"
    assert not over
    assert {"forward", "backward"} == set(records[0]["seconds"])
    assert python_cost.table([r | {"frames": depths[r["layer"]]} for r in records]).count("\n") == len(BOUNDS)


def test_calls_are_counted_without_those_into_c():
    def inner():
        return len([])

    assert python_cost.calls_of(lambda: [inner(), inner(), abs(-1)]) == 2
