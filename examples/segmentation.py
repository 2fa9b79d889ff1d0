"""Segmentation with a U-Net: for each pixel of a noisy image, is it disc, rectangle or background?

python3 examples/segmentation.py                    # half a minute on two cores
python3 examples/segmentation.py --out out          # and a picture of images, masks and predictions in out/

The images are computed, so there is nothing to download. The result is measured by the mean intersection
over union (IoU) of the three classes: the number of pixels that are of the class in both mask and prediction,
over the number that are in either.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

import xpconv
from xpconv import train
from xpconv.data import batches
from xpconv.models import unet

CLASSES = ("background", "disc", "rectangle")


def draw_shapes(n: int, size: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """`n` images (n, 3, size, size) of one to four shapes each, and their masks (n, size, size)."""
    rows, columns = np.mgrid[:size, :size]
    images = np.empty((n, 3, size, size), "float32")
    masks = np.zeros((n, size, size), "int64")
    for image, mask in zip(images, masks, strict=True):
        ground = rng.uniform(0, 1, (3, 1))
        image[...] = ground[:, :, None]
        for _ in range(rng.integers(1, 5)):
            kind = rng.integers(1, 3)
            reach = rng.uniform(size / 12, size / 5, 2)
            if kind == 1:
                reach[:] = reach[0]
            row, column = rng.uniform(reach, size - 1 - reach)
            down, across = np.abs(rows - row) / reach[0], np.abs(columns - column) / reach[1]
            inside = np.hypot(down, across) <= 1 if kind == 1 else np.maximum(down, across) <= 1
            if mask[np.maximum(down, across) <= 1.2].any():
                continue  # too near to another shape
            mask[inside] = kind
            image[:, inside] = (ground + rng.uniform(0.3, 0.7, (3, 1))) % 1  # another colour, dark or light
        image += rng.normal(0, 0.1, image.shape)
    return images, masks


def draw_picture(path: Path, images: np.ndarray, masks: np.ndarray, predicted: np.ndarray) -> None:
    """Six rows: image, mask, prediction."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 9.5), layout="constrained")
    axes = figure.subplots(6, 3)
    for row, image, mask, guess in zip(axes, images, masks, predicted, strict=False):
        row[0].imshow(image.transpose(1, 2, 0).clip(0, 1))
        for axis, classes in zip(row[1:], (mask, guess), strict=True):
            axis.imshow(classes, vmin=0, vmax=2, cmap="viridis", interpolation="nearest")
    for axis, title in zip(axes[0], ("image", "mask", "prediction"), strict=True):
        axis.set_title(title)
    for axis in axes.flat:
        axis.set_axis_off()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    print(f"drew {path}")


def main(argv: list[str] | None = None) -> float:
    """Run the example; returns the mean IoU of the test images."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=400, help="to train on (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=15, help="default: %(default)s")
    parser.add_argument(
        "--size", type=int, default=48, help="of images, a multiple of 8 (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder for a picture")
    args = parser.parse_args(argv)

    rng = np.random.default_rng(args.seed)
    x, y = map(xpconv.asarray, draw_shapes(args.images, args.size, rng))
    x_test, y_test = map(xpconv.asarray, draw_shapes(100, args.size, rng))

    xpconv.manual_seed(args.seed)
    model = unet(in_channels=3, num_classes=len(CLASSES), width=8, depth=3)
    optimizer = xpconv.Adam(model.parameters())
    data = batches(x, y, 8, shuffle=True, seed=args.seed)
    schedule = xpconv.OneCycleLR(optimizer, max_lr=1e-2, epochs=args.epochs, steps_per_epoch=len(data))
    train.fit(
        model, xpconv.SoftmaxCrossEntropyLoss(), optimizer, data, valid=batches(x_test, y_test, 50),
        epochs=args.epochs, metrics=["iou"], schedule=schedule, schedule_per="step", verbose=True,
    )  # fmt: skip

    predicted = xpconv.asnumpy(train.predict(model, x_test, batch_size=50)).argmax(axis=1)
    masks = xpconv.asnumpy(y_test)
    pairs = [(predicted == c, masks == c) for c in range(len(CLASSES))]
    ious = [(guess & true).sum() / (guess | true).sum() for guess, true in pairs]
    print(*(f"IoU of {name}: {iou:.3f}" for name, iou in zip(CLASSES, ious, strict=True)), sep="\n")
    print(f"mean IoU {np.mean(ious):.3f}")
    if args.out:
        draw_picture(args.out / "segmentation.png", xpconv.asnumpy(x_test), masks, predicted)
    return float(np.mean(ious))


if __name__ == "__main__":
    main()
