"""The number of Python calls in a layer, which an eager step on a GPU waits for, stays below a bound.

Counts do not depend on the machine. Bounds are the calls, rounded up, and the frames as they are: whoever makes a
layer cheaper lowers its bound.
"""

import importlib
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))
measure, python_cost = map(importlib.import_module, ("measure", "python_cost"))

BOUNDS = {  # row of python_cost.py: calls of forward, backward, forward under no_grad; frames to the product (0: none)
    "Conv2d 3×3": (55, 55, 40, 8),
    "Conv2d 3×3, stride 2": (55, 55, 40, 8),
    "Conv2d 1×1, no bias": (55, 45, 40, 8),
    "Conv2d depthwise 3×3": (55, 110, 40, 0),
    "Conv1d": (55, 55, 40, 8),
    "ConvTranspose2d": (75, 75, 55, 12),
    "Dense": (45, 45, 30, 9),
    "BatchNorm2d": (75, 40, 50, 10),
    "GroupNorm": (70, 55, 50, 0),
    "LayerNorm": (70, 50, 50, 0),
    "MaxPool2d": (50, 25, 35, 0),
    "AvgPool2d": (55, 35, 45, 0),
    "AdaptiveAvgPool2d": (45, 60, 40, 9),
    "ReLU": (50, 25, 30, 0),
    "ReLU6": (50, 25, 35, 0),
    "GELU": (45, 20, 30, 0),
    "SiLU": (55, 30, 35, 0),
    "Softmax": (45, 25, 30, 0),
    "Dropout": (42, 20, 30, 0),
    "Flatten": (35, 15, 25, 0),
    "ZeroPad2d": (85, 35, 80, 0),
    "Upsample": (85, 25, 40, 0),
    "PixelShuffle": (25, 15, 20, 0),
    "SqueezeExcitation": (170, 145, 130, 8),
    "Sequential of nothing": (30, 20, 25, 0),
    "Residual of nothing": (50, 30, 40, 0),
    "README's 8 layers, batch 64": (180, 210, 145, 10),
    "LeNet-5, batch 1": (265, 300, 225, 10),
    "ResNet-18 32×32, batch 2": (1900, 1790, 1870, 10),
    "MobileNetV2 32×32, batch 2": (4400, 4945, 4360, 14),
}


LARGE = "ResNet|MobileNet"


@pytest.mark.parametrize(
    "rows", [f"^(?!{LARGE})", pytest.param(LARGE, marks=pytest.mark.slow)], ids=["small", "large"]
)
def test_calls_and_frames_stay_below_their_bounds(rows):
    assert set(BOUNDS) == {*python_cost.LAYERS, *python_cost.NETS}
    env = measure.threads_env(1) | {"XPCONV_BACKEND": "numpy"}
    depths = measure.fresh("python_cost.frames", rows, env=env)
    records = measure.fresh("python_cost.costs", rows, 0.0, env=env)
    over = {}
    for record in records:
        name = record["layer"]
        found = (*record["calls"].values(), depths[name] or 0)
        if any(a > b for a, b in zip(found, BOUNDS[name], strict=True)):
            over[name] = f"{found} for {BOUNDS[name]}"
    assert not over, over
    assert {"forward", "backward"} == set(records[0]["seconds"])
    table = python_cost.table([r | {"frames": depths[r["layer"]]} for r in records])
    assert table.count("\n") == len(records) > 1


def test_calls_are_counted_without_those_into_c():
    def inner():
        return len([])

    assert python_cost.calls_of(lambda: [inner(), inner(), abs(-1)]) == 2
