"""The teacher's tour: what happens inside a small CNN while it learns to read digits, in text and pictures.

python3 examples/tour.py                         # some ten seconds
python3 examples/tour.py --out out               # and pictures in out/
python3 examples/tour.py --activation sigmoid    # the same network learns nothing: its gradients say why

Each number and each picture has a sentence that says what to see. The digits are scikit-learn's.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

import xpconv
from xpconv import Conv2d, Dense, Flatten, GlobalAvgPool2d, ReLU, Sequential, Sigmoid, inspection, train
from xpconv.data import batches

SHADES = " .:-=+*#%@"


def make_model(activation: type[ReLU] | type[Sigmoid]) -> Sequential:
    """Three convolutions, the mean of each map of the last one, and the scores of the digits from these."""
    return Sequential({
        "conv1": Conv2d(1, 16, 3, padding=1), "act1": activation(),
        "conv2": Conv2d(16, 32, 3, padding=1), "act2": activation(),
        "conv3": Conv2d(32, 32, 3, padding=1), "act3": activation(),
        "pool": GlobalAvgPool2d(), "flatten": Flatten(), "dense": Dense(32, 10),
    })  # fmt: skip


def show(*images: Any) -> None:
    """Print images (H, W) side by side, each from blank (its smallest value) to @ (its largest)."""
    arrays = [xpconv.asnumpy(image) for image in images]
    shades = [(a - a.min()) / (np.ptp(a) or 1) * (len(SHADES) - 1) for a in arrays]
    for rows in zip(*shades, strict=True):
        print("    " + "     ".join("".join(2 * SHADES[round(float(v))] for v in row) for row in rows))


def strongest(maps: Any) -> list[Any]:
    """The four of the maps (C, H, W) with the largest values."""
    order = xpconv.asnumpy(maps.max(axis=(1, 2))).argsort()
    return [maps[int(c)] for c in order[:-5:-1]]


def print_gradients(model: Sequential, x: Any, y: Any) -> None:
    """One forward and one backward, and no step of the optimizer: the norm of each layer's gradient."""
    criterion = xpconv.SoftmaxCrossEntropyLoss()
    loss = float(criterion(model(x), y))
    model.zero_grad()
    model.backward(criterion.backward(), input_grad=False)
    norms = inspection.gradient_norms(model)
    print(f"   The loss is {loss:.2f}. The norms of the gradients, from the input to the output:")
    print("    " + "   ".join(f"{name} {norm:.2g}" for name, norm in norms.items()))
    ratio = norms["dense"] / norms["conv1"]
    verdict = "vanished, and conv1 hardly learns." if ratio > 100 else "not vanished, and conv1 learns too."
    print(f"   Backward runs from dense to conv1. The norm of conv1 is {ratio:.1f} times smaller: it has")
    print(f"   {verdict}")


def draw(path: Path, figure: Any, text: str) -> None:
    """Write a picture, and say what to see in it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    print(f"drew {path}: {text}")


def main(argv: list[str] | None = None) -> float:
    """Run the example; returns the accuracy on the test images."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--activation", choices=["relu", "sigmoid"], default="relu", help="default: relu")
    parser.add_argument("--epochs", type=int, default=10, help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder for pictures")
    args = parser.parse_args(argv)
    if args.out:
        from xpconv import plot

    digits = xpconv.data.load_digits(seed=args.seed)
    x, y = digits.x_train[:256], digits.y_train[:256]
    images, test = digits.x_test[:8], batches(digits.x_test, digits.y_test, 360)
    xpconv.manual_seed(args.seed)
    model = make_model({"relu": ReLU, "sigmoid": Sigmoid}[args.activation])

    print(f"1. A {int(digits.y_test[0])}, as the network gets it: 8 × 8 numbers from 0 to 1.")
    show(images[0, 0])

    print("\n2. Before training, no digit is likelier than another: the loss is near ln 10 = 2.30.")
    print_gradients(model, x, y)
    print("   The slope of a sigmoid is 1/4 at most, that of a ReLU is 1 or 0: compare --activation sigmoid.")
    if args.out:
        text = "the scale is logarithmic: from one mark to the next is a factor of ten"
        draw(args.out / "gradients_before.png", plot.gradients(model), text)

    print("\n3. Training: does the loss fall, and the accuracy rise, also on images not learned from?")
    criterion, optimizer = xpconv.SoftmaxCrossEntropyLoss(), xpconv.Adam(model.parameters())
    data = batches(digits.x_train, digits.y_train, 32, shuffle=True, seed=args.seed)
    schedule = xpconv.OneCycleLR(optimizer, max_lr=1e-2, epochs=args.epochs, steps_per_epoch=len(data))
    train.fit(
        model, criterion, optimizer, data, test, epochs=args.epochs, metrics=["accuracy"],
        schedule=schedule, schedule_per="step", verbose=True,
    )  # fmt: skip

    print("\n4. After training, the same images as in 2.")
    print_gradients(model, x, y)
    if args.out:
        text = "with ReLUs, all layers now have gradients of about the same size"
        draw(args.out / "gradients_after.png", plot.gradients(model), text)

    print("\n5. The kernel of conv1 with the largest weight. It answers to ink where it is positive, beside")
    print("   paper where it is negative: one sign on each side makes an edge detector.")
    weight = xpconv.asnumpy(model["conv1"].weight.data)[:, 0]
    for row in weight[abs(weight).max(axis=(1, 2)).argmax()]:
        print("    " + " ".join(f"{value:5.2f}" for value in row))
    if args.out:
        draw(args.out / "kernels.png", plot.kernels(model["conv1"]), "red is positive, blue is negative")

    print("\n6. What the layers make of the digit of 1, the four strongest maps of each. After conv1, it")
    print("   is still there, as strokes and edges; after conv3 each map answers to one part of it.")
    for name in ("act1", "act3"):
        print(f"   {name}")
        show(*strongest(inspection.feature_maps(model, images[:1], name)[0]))
        if args.out:
            text = "all maps, bright where a kernel finds what it looks for; a dark one finds nothing here"
            draw(args.out / f"maps_{name}.png", plot.feature_maps(model, images, name), text)

    scores = train.predict(model, test)
    print(f"\n7. It says {int(scores[0].argmax())}. Grad-CAM shows which places speak for this, also empty")
    print("   ones, such as the bottom right of a 7, where a 2 would have ink.")
    show(images[0, 0], inspection.grad_cam(model, images[:1], "act3")[0])
    if args.out:
        text = "the redder a place, the more it speaks for the digit that the network reads"
        draw(args.out / "grad_cam.png", plot.grad_cam(model, images, "act3"), text)

    accuracy = float((scores.argmax(axis=1) == digits.y_test).mean())
    print(f"\ntest accuracy {accuracy:.1%}")
    return accuracy


if __name__ == "__main__":
    main()
