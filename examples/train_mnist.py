"""Train a CNN on handwritten digits with `xpconv.train.fit`; `plain_loop.py` is the same written out.

python3 examples/train_mnist.py                                         # scikit-learn's 8×8 digits
python3 examples/train_mnist.py --data mnist --data-dir DIR --out out   # MNIST's IDX files
XPCONV_BACKEND=cupy python3 examples/train_mnist.py --data mnist        # the same on the GPU

With --out it writes the model, which reads your own images (white on black), and pictures:

python3 -m xpconv predict out/model.safetensors digit.png
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path

import xpconv
from xpconv import BatchNorm2d, Conv2d, Dense, Dropout, Flatten, LambdaLR, MaxPool2d, ReLU, Sequential, train
from xpconv.data import batches
from xpconv.data.transforms import RandomCrop


def make_model(size: int) -> Sequential:
    """Two convolutions and two dense layers, for images of `size` × `size`."""
    pool, width = (2, 32) if size >= 16 else (1, 16)
    side = ((size // pool) - 2) // 2
    return Sequential(
        Conv2d(1, width, 5, padding=2, bias=False), MaxPool2d(pool), BatchNorm2d(width), ReLU(),
        Conv2d(width, 2 * width, 3, bias=False), MaxPool2d(2), BatchNorm2d(2 * width), ReLU(),
        Flatten(), Dropout(0.25), Dense(2 * width * side * side, 128), ReLU(), Dense(128, 10),
    )  # fmt: skip


def make_transform(size: int) -> RandomCrop:
    """Moves each image of the training by up to two pixels if it is MNIST's, by none if it is 8×8."""
    return RandomCrop(size, padding=size // 14)


def one_cycle(progress: float) -> float:
    """Factor on the learning rate: up in the first tenth, then down a cosine to zero."""
    return progress / 0.1 if progress < 0.1 else (1 + math.cos(math.pi * (progress - 0.1) / 0.9)) / 2


def draw(folder: Path, history, model, images, labels, scores) -> None:
    """Write the pictures, and say what to see in them."""
    from xpconv import plot

    kernels = "the first kernels: red and blue side by side make an edge detector, one colour alone a blur"
    for name, figure, text in (
        ("curves", history.plot(["loss", "accuracy"]), "loss and accuracy; a star marks the best epoch"),
        ("kernels", plot.kernels(model[0]), kernels),
        ("mistakes", plot.mistakes(images, labels, scores), "the surest mistakes: would you have known?"),
        ("confusion", plot.confusion_matrix(labels, scores, 10), "which digits are taken for which"),
    ):
        figure.savefig(folder / f"{name}.png", dpi=150)
        print(f"drew {folder / name}.png: {text}")


def make_parser(description: str) -> argparse.ArgumentParser:
    """The arguments of this example, and of plain_loop.py."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=description, formatter_class=formatter)
    add = parser.add_argument
    add("--data", choices=["digits", "mnist"], default="digits", help="default: digits, no download")
    add("--data-dir", metavar="DIR", help="folder of MNIST's IDX files; without it, OpenML's copy")
    add("--backend", metavar="NAME", help="numpy, cupy or auto; default: XPCONV_BACKEND, else numpy")
    add("--epochs", type=int, help="default: 20 for digits, 5 for mnist")
    add("--batch-size", type=int, help="default: 32 for digits, 100 for mnist")
    add("--lr", type=float, default=3e-3, help="largest learning rate (default: %(default)s)")
    add("--seed", type=int, default=0, help="of weights, batches and dropout (default: %(default)s)")
    return parser


def prepare(parser: argparse.ArgumentParser, args: argparse.Namespace):
    """Check the arguments and fill in defaults; returns the data and the model, and prints what they are."""
    for name, floor in (("epochs", 1), ("batch_size", 1), ("lr", 0), ("seed", 0)):
        value = getattr(args, name)
        if value is not None and not value >= floor:
            parser.error(f"--{name.replace('_', '-')} is {value}, expected at least {floor}")
    if args.data == "digits" and args.data_dir:
        parser.error("--data-dir needs --data mnist")
    try:
        if args.backend:
            xpconv.set_backend(args.backend)
        if args.data == "mnist":
            data = xpconv.data.load_mnist(args.data_dir)
        else:
            data = xpconv.data.load_digits(seed=args.seed)
    except (ValueError, RuntimeError, ImportError, OSError) as error:
        parser.error(str(error))
    epochs, batch_size = {"digits": (20, 32), "mnist": (5, 100)}[args.data]
    args.epochs, args.batch_size = args.epochs or epochs, args.batch_size or batch_size
    xpconv.manual_seed(args.seed)
    model = make_model(data.x_train.shape[-1])
    print(f"{len(data.x_train):,} images to learn from, {len(data.x_test):,} to test on, ", end="")
    print(f"backend {xpconv.get_backend()}\n\n{model.summary(data.x_train.shape[1:])}\n")
    return data, model


def main(argv: list[str] | None = None) -> float:
    """Run the example; returns the test accuracy."""
    parser = make_parser(__doc__)
    parser.add_argument("--out", metavar="DIR", type=Path, help="folder for the model and pictures")
    args = parser.parse_args(argv)
    if args.out:
        try:
            args.out.mkdir(parents=True, exist_ok=True)
            import matplotlib  # noqa: F401  an error before the training rather than after it
        except OSError as error:
            parser.error(str(error))
        except ImportError:
            parser.error("matplotlib is missing: python3 -m pip install matplotlib")
    data, model = prepare(parser, args)

    training = batches(
        data.x_train, data.y_train, args.batch_size, shuffle=True, seed=args.seed,
        transform=make_transform(data.x_train.shape[-1]),
    )  # fmt: skip
    test = batches(data.x_test, data.y_test, 500)
    criterion, optimizer = xpconv.SoftmaxCrossEntropyLoss(), xpconv.Adam(model.parameters(), lr=args.lr)
    schedule = LambdaLR(optimizer, lambda step: one_cycle(step / (args.epochs * len(training))))
    history = train.fit(
        model, criterion, optimizer, training, test, epochs=args.epochs, metrics=["accuracy"],
        schedule=schedule, schedule_per="step", callbacks=[train.TerminateOnNaN()], verbose=True,
    )  # fmt: skip

    if history.stopped and not history.interrupted:
        sys.exit(f"{history.stopped}; try a smaller --lr than {args.lr}")
    images, labels = xpconv.asnumpy(data.x_test), xpconv.asnumpy(data.y_test)
    scores = xpconv.asnumpy(train.predict(model, test))
    wrong = int((scores.argmax(axis=1) != labels).sum())
    print(f"\ntest accuracy {1 - wrong / len(labels):.2%}: {wrong} of {len(labels):,} wrong")
    if args.out:
        # what `xpconv predict` needs besides the model
        model.image_info = {"classes": list("0123456789"), "shape": list(images.shape[1:])}
        xpconv.save_model(model.eval(), args.out / "model.safetensors")
        print(f"wrote {args.out / 'model.safetensors'}")
        if len(history):
            draw(args.out, history, model, images, labels, scores)
    return 1 - wrong / len(labels)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("\nstopped")
