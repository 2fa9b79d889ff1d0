"""Write torchvision_values.json: what torchvision's functions give for one small image.

    python tests/helpers/torchvision_values.py

It needs torchvision, which the tests do not: written with torchvision 0.28.0 and PyTorch 2.13.0.
"""

import json
from pathlib import Path

import numpy as np

FILE = Path(__file__).with_name("torchvision_values.json")


def image():
    """RGB, uint8, 5 rows, 6 columns: gray, dark, bright and saturated pixels."""
    c, i, j = np.ogrid[:3, :5, :6]
    x = (c * 71 + i * 37 + j * 53 + c * i * j * 19) % 256
    x[:, 0, 0], x[:, 1, 1], x[:, 2, 2], x[:, 3, 3] = 0, 255, 128, [255, 0, 0]
    return x.astype("uint8")


AFFINE = [
    {"angle": 30, "translate": [0, 0], "scale": 1, "shear": [0, 0]},
    {"angle": 0, "translate": [1, -2], "scale": 1, "shear": [0, 0]},
    {"angle": 0, "translate": [0, 0], "scale": 1.4, "shear": [0, 0]},
    {"angle": 0, "translate": [0, 0], "scale": 1, "shear": [20, 0]},
    {"angle": -70, "translate": [1, 0], "scale": 0.75, "shear": [-10, 15]},
    {"angle": 10, "translate": [0, 1], "scale": 1.2, "shear": [5, 5], "center": [1, 4.5]},
]
CENTER_CROPS = [[3, 3], [2, 3], [5, 6], [4, 5], [8, 3], [8, 9], [3, 9], [6, 7]]
COLOURS = [("brightness", 0.6), ("brightness", 1.7), ("contrast", 0.3), ("contrast", 1.9), ("saturation", 0.0),
           ("saturation", 1.63), ("hue", -0.5), ("hue", 0.1), ("hue", 0.45)]  # fmt: skip


def values():
    import torch
    from torchvision.transforms.v2 import functional as F
    from torchvision.transforms.v2.functional import InterpolationMode

    eight_bit = torch.from_numpy(image())
    floating = eight_bit.double() / 255
    found = {}
    for mode in ("nearest", "bilinear"):
        for k, options in enumerate(AFFINE):
            options = {**options, "interpolation": InterpolationMode(mode), "fill": None}
            found[f"affine {k} {mode}"] = F.affine(floating, **options)
            found[f"affine {k} {mode} uint8"] = F.affine(eight_bit, **options)
        found[f"rotate {mode}"] = F.rotate(floating, 30, InterpolationMode(mode), fill=None)
    for size in CENTER_CROPS:
        found[f"center_crop {size}"] = F.center_crop(eight_bit, size)
    for name, factor in COLOURS:
        adjust = getattr(F, f"adjust_{name}")
        found[f"{name} {factor}"] = adjust(floating.float(), factor)
        found[f"{name} {factor} uint8"] = adjust(eight_bit, factor)
        found[f"{name} {factor} gray"] = adjust(floating[:1].float(), factor)
    found["grayscale"] = F.rgb_to_grayscale(floating)
    found["grayscale uint8"] = F.rgb_to_grayscale(eight_bit)
    for size in ([3, 4], [10, 4], [7, 9]):
        for antialias in (False, True):
            name = f"resize {size} {antialias}"
            found[name] = F.resize(floating, size, InterpolationMode.BILINEAR, antialias=antialias)
            found[f"{name} uint8"] = F.resize(
                eight_bit, size, InterpolationMode.BILINEAR, antialias=antialias
            )
    found["to float32"] = F.to_dtype(eight_bit, torch.float32, scale=True)
    found["to uint8"] = F.to_dtype(floating, torch.uint8, scale=True)
    found["normalize"] = F.normalize(floating, [0.2, 0.5, 0.4], [0.3, 0.2, 0.1])
    return {name: np.round(t.double().numpy(), 5).tolist() for name, t in found.items()}


if __name__ == "__main__":
    FILE.write_text(json.dumps(values(), separators=(",", ":")).replace('],"', '],\n"') + "\n")
