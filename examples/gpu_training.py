"""A training script for a GPU that also runs where there is none: nothing in it depends on the device.

XPCONV_BACKEND=cupy python3 examples/gpu_training.py --dtype float16     # on an NVIDIA GPU
python3 examples/gpu_training.py --steps 20                              # on a CPU, as in CI

It shows in a plain loop what `xpconv.train.fit` does by itself: batches are copied to the device during
the step before (`xpconv.cuda.prefetch`), a step is recorded as one CUDA graph (`xpconv.cuda.capture`; on
NumPy it is called as it is), a `GradScaler` allows float16, and the loss is read once per report.
"""

from __future__ import annotations

import argparse

import numpy as np

import xpconv
from xpconv import BatchNorm2d, Conv2d, Dense, Flatten, MaxPool2d, ReLU, Sequential
from xpconv.backend import Array
from xpconv.data import batches

BATCH = 64


def draw_images(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """`n` images (n, 3, 32, 32) in noise; the label says where the bright square is: one of nine places."""
    labels = rng.integers(0, 9, n)
    images = rng.normal(0, 0.5, (n, 3, 32, 32)).astype("float32")
    for image, label in zip(images, labels, strict=True):
        row, column = 10 * (label // 3) + rng.integers(0, 3), 10 * (label % 3) + rng.integers(0, 3)
        image[:, row : row + 8, column : column + 8] += 1
    return images, labels


def main(argv: list[str] | None = None) -> float:
    """Run the example; returns the accuracy on test images."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=300, help="of training (default: %(default)s)")
    parser.add_argument("--dtype", choices=["float32", "float16"], default="float32", help="default: float32")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    args = parser.parse_args(argv)

    rng = np.random.default_rng(args.seed)
    images, labels = draw_images(BATCH * min(args.steps, 60), rng)
    test_images, test_labels = draw_images(500, rng)
    images, test_images = images.astype(args.dtype), test_images.astype(args.dtype)

    xpconv.manual_seed(args.seed)
    model = Sequential(
        Conv2d(3, 32, 3, padding=1, bias=False), BatchNorm2d(32), ReLU(), MaxPool2d(2),
        Conv2d(32, 64, 3, padding=1, bias=False), BatchNorm2d(64), ReLU(), MaxPool2d(4),
        Flatten(), Dense(64 * 4 * 4, 9),
    ).to(dtype=args.dtype)  # fmt: skip
    criterion, optimizer = xpconv.SoftmaxCrossEntropyLoss(), xpconv.Adam(model.parameters(), lr=2e-3)
    scaler = xpconv.GradScaler()  # a power of two, which changes no digit of a float32 gradient

    def step(x: Array, y: Array) -> Array:
        loss = criterion(model(x), y)
        optimizer.zero_grad()
        model.backward(criterion.backward(scaler.scale), input_grad=False)
        scaler.step(optimizer)
        scaler.update()
        return loss

    host = batches(images, labels, BATCH, shuffle=True, seed=args.seed, drop_last=True)
    total, done, fast = 0.0, 0, None
    while done < args.steps:
        for x, y in xpconv.cuda.prefetch(host):
            if fast is None:
                fast = xpconv.cuda.capture(step, x, y)
            total = total + fast(x, y)  # stays on the device
            done += 1
            if done % 50 == 0 or done == args.steps:
                print(
                    f"step {done}: mean loss {float(total) / ((done - 1) % 50 + 1):.4f}"
                )  # waits for the device
                total = 0.0
            if done == args.steps:
                break

    with xpconv.no_grad():
        scores = model.eval()(xpconv.asarray(test_images))
    accuracy = float((scores.argmax(axis=1) == xpconv.asarray(test_labels)).mean())
    print(f"test accuracy {accuracy:.1%} on {xpconv.get_backend()} in {args.dtype}")
    return accuracy


if __name__ == "__main__":
    main()
