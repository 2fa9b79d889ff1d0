"""The number of Python calls in a layer, which an eager step on a GPU waits for, stays below a bound.

Counts do not depend on the machine. Bounds are the counts, rounded up, and two frames more: whoever makes a layer
cheaper lowers its bound.
"""

import importlib
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))
measure, python_cost = map(importlib.import_module, ("measure", "python_cost"))

BOUNDS = {  # row of python_cost.py: calls of forward, backward, forward under no_grad; frames to the product (0: none)
    "Conv2d 3×3": (100, 120, 80, 25),
    "Conv2d 3×3, stride 2": (100, 110, 80, 25),
    "Conv2d 1×1, no bias": (90, 90, 70, 25),
    "Conv2d depthwise 3×3": (110, 165, 80, 0),
    "Conv1d": (100, 110, 70, 25),
    "ConvTranspose2d": (110, 115, 80, 27),
    "Dense": (75, 75, 50, 19),
    "BatchNorm2d": (120, 80, 90, 25),
    "GroupNorm": (70, 60, 50, 0),
    "LayerNorm": (70, 50, 50, 0),
    "MaxPool2d": (80, 45, 60, 0),
    "AvgPool2d": (80, 55, 70, 0),
    "AdaptiveAvgPool2d": (70, 120, 60, 23),
    "ReLU": (80, 50, 60, 0),
    "ReLU6": (80, 50, 60, 0),
    "GELU": (60, 20, 40, 0),
    "SiLU": (60, 20, 30, 0),
    "Softmax": (60, 20, 40, 0),
    "Dropout": (50, 20, 40, 0),
    "Flatten": (50, 20, 30, 0),
    "ZeroPad2d": (100, 40, 90, 0),
    "Upsample": (75, 30, 40, 0),
    "PixelShuffle": (40, 20, 30, 0),
    "SqueezeExcitation": (250, 270, 200, 29),
    "Sequential of nothing": (50, 30, 30, 0),
    "Residual of nothing": (90, 70, 70, 0),
    "README's 8 layers, batch 64": (470, 520, 370, 30),
    "LeNet-5, batch 1": (670, 700, 540, 30),
    "ResNet-18 32×32, batch 2": (4810, 4630, 4240, 30),
    "MobileNetV2 32×32, batch 2": (10810, 11000, 9460, 40),
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
