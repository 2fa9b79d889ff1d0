"""Train a CNN on handwritten digits with every loop in sight; `train_mnist.py` is the same with `fit`.

python3 examples/plain_loop.py                                     # scikit-learn's 8×8 digits
python3 examples/plain_loop.py --data mnist --data-dir DIR         # MNIST's IDX files
XPCONV_BACKEND=cupy python3 examples/plain_loop.py --data mnist    # the same on the GPU
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from typing import NamedTuple

import xpconv
from xpconv import BatchNorm2d, Conv2d, Dense, Dropout, Flatten, MaxPool2d, ReLU, Sequential

try:
    from tqdm import tqdm
except ImportError:
    sys.exit('tqdm is missing: python3 -m pip install "xpconv[examples]"')

REPORTS = 20  # an epoch: each reads the device once


class Epoch(NamedTuple):
    """One row of the table."""

    train_loss: float
    train_accuracy: float
    test_loss: float
    test_accuracy: float
    seconds: float


def make_model(size: int) -> Sequential:
    """Two convolutions and two dense layers, for images of `size` × `size`."""
    pool = 2 if size >= 16 else 1
    side = ((size // pool) - 2) // 2
    return Sequential(
        Conv2d(1, 16, 5, padding=2, bias=False), MaxPool2d(pool), BatchNorm2d(16), ReLU(),
        Conv2d(16, 32, 3, bias=False), MaxPool2d(2), BatchNorm2d(32), ReLU(),
        Flatten(), Dropout(0.25), Dense(32 * side * side, 128), ReLU(), Dense(128, 10),
    )  # fmt: skip


def one_cycle(progress: float) -> float:
    """Factor on the learning rate: up in the first tenth, then down a cosine to zero."""
    return progress / 0.1 if progress < 0.1 else (1 + math.cos(math.pi * (progress - 0.1) / 0.9)) / 2


def make_step(model, criterion, optimizer, data, batch_size):
    """A function of a batch that trains on it; it returns the loss and the number of hits."""

    def step(x, y):
        scores = model(x)
        loss = criterion(scores, y)
        optimizer.zero_grad()
        model.backward(criterion.backward(), input_grad=False)
        optimizer.step()
        return loss, (scores.argmax(axis=1) == y).sum()

    if xpconv.get_backend() != "cupy" or len(data.x_train) < batch_size:
        return step
    # On a GPU a step is recorded once, and is one launch from then on: to ask for a small network's step
    # takes longer than to do it. It warms up with one step of Adam, at a learning rate of 0.
    optimizer.lr, lr = 0.0, optimizer.lr
    model.train()
    fast = xpconv.cuda.capture(step, data.x_train[:batch_size], data.y_train[:batch_size], warmup=1)
    optimizer.lr = lr
    return lambda x, y: fast(x, y) if len(y) == batch_size else step(x, y)  # the last batch may be smaller


def train_epoch(model, step, optimizer, batches, lr, epoch, epochs) -> tuple[float, float]:
    """One pass over the data; mean loss and accuracy of the model as it was at each batch."""
    xp = xpconv.get_xp()
    total = xp.zeros(2, dtype="float64")  # loss and hits so far: they stay on the device between reports
    seen, loss, accuracy = 0, math.nan, math.nan
    model.train()
    with tqdm(
        batches,
        desc=f"epoch {epoch + 1}/{epochs}",
        unit="batch",
        leave=False,
        dynamic_ncols=True,
        disable=None,
    ) as bar:
        for i, (x, y) in enumerate(bar):
            optimizer.param_groups[0]["lr"] = lr * one_cycle((epoch + i / len(batches)) / epochs)
            batch_loss, hits = step(x, y)
            seen += len(y)
            total += xp.stack([batch_loss * len(y), hits])
            if (i + 1) % math.ceil(len(batches) / REPORTS) == 0 or i + 1 == len(batches):
                loss, accuracy = xpconv.asnumpy(total) / seen  # the one time that we wait for the device
                if not math.isfinite(loss):
                    sys.exit(f"The loss is {loss}: try a smaller --lr than {lr}.")
                bar.set_postfix(loss=f"{loss:.4f}", accuracy=f"{accuracy:.2%}")
    return float(loss), float(accuracy)


def predict(model, x):
    """Scores of all images, in inference mode, by batches."""
    model.eval()
    with xpconv.no_grad():
        return xpconv.get_xp(x).concatenate([model(x[i : i + 500]) for i in range(0, len(x), 500)])


def train(model, data, *, epochs, batch_size, lr, seed) -> list[Epoch]:
    """Train on `data.x_train`, print a row an epoch, and return the rows."""
    criterion = xpconv.SoftmaxCrossEntropyLoss()
    optimizer = xpconv.Adam(model.parameters(), lr=lr)
    batches = xpconv.data.batches(data.x_train, data.y_train, batch_size, shuffle=True, seed=seed)
    step = make_step(model, criterion, optimizer, data, batch_size)
    history = []
    print("epoch   train loss   accuracy   test loss   accuracy   seconds")
    for epoch in range(epochs):
        start = time.perf_counter()
        try:
            train_loss, train_accuracy = train_epoch(model, step, optimizer, batches, lr, epoch, epochs)
        except KeyboardInterrupt:
            print(f"stopped in epoch {epoch + 1}: below is what was learned by then")
            break
        scores = predict(model, data.x_test)
        xp = xpconv.get_xp(scores)
        with xpconv.no_grad():
            test_loss = criterion(scores, data.y_test)
        hits = (scores.argmax(axis=1) == data.y_test).mean()
        test_loss, test_accuracy = map(float, xpconv.asnumpy(xp.stack([test_loss.astype("float64"), hits])))
        row = Epoch(train_loss, train_accuracy, test_loss, test_accuracy, time.perf_counter() - start)
        print("{:5d} {:12.4f} {:10.2%} {:11.4f} {:10.2%} {:9.1f}".format(epoch + 1, *row))
        history.append(row)
    return history


def print_confusion(confusion) -> None:
    """Rows: what the images show. Columns: what the model says. Zeros are dots, to let mistakes stand out."""
    print("\nconfusion (rows: true, columns: predicted)")
    print("     " + "".join(f"{c:6d}" for c in range(10)))
    for c, row in enumerate(confusion):
        print(f"{c:5d}" + "".join(f"{n or '·':>6}" for n in row))


def main(argv: list[str] | None = None) -> float:
    """Run the example; returns the test accuracy."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data", choices=["digits", "mnist"], default="digits", help="default: digits, no download"
    )
    parser.add_argument(
        "--data-dir", metavar="DIR", help="folder of MNIST's IDX files; without it, OpenML's copy"
    )
    parser.add_argument(
        "--backend", metavar="NAME", help="numpy, cupy or auto; default: XPCONV_BACKEND, else numpy"
    )
    parser.add_argument("--epochs", type=int, help="default: 20 for digits, 5 for mnist")
    parser.add_argument("--batch-size", type=int, help="default: 32 for digits, 100 for mnist")
    parser.add_argument("--lr", type=float, default=3e-3, help="largest learning rate (default: %(default)s)")
    parser.add_argument(
        "--seed", type=int, default=0, help="of weights, batches and dropout (default: %(default)s)"
    )
    args = parser.parse_args(argv)
    for name, floor in (("epochs", 1), ("batch_size", 1), ("lr", 0), ("seed", 0)):
        value = getattr(args, name)
        if value is not None and not value >= floor:
            parser.error(f"--{name.replace('_', '-')} is {value}, expected at least {floor}")
    if args.data == "digits" and args.data_dir:
        parser.error("--data-dir goes with --data mnist")
    try:
        if args.backend:
            xpconv.set_backend(args.backend)
        backend = xpconv.get_backend()
        if args.data == "mnist":
            data = xpconv.data.load_mnist(args.data_dir)
        else:
            data = xpconv.data.load_digits(seed=args.seed)
    except (ValueError, RuntimeError, ImportError, OSError) as error:
        parser.error(str(error))

    xpconv.manual_seed(args.seed)
    model = make_model(data.x_train.shape[-1])
    print(f"{len(data.x_train):,} images to learn from, {len(data.x_test):,} to test on, backend {backend}\n")
    print(model.summary(data.x_train.shape[1:]), end="\n\n")
    defaults = {"digits": (20, 32), "mnist": (5, 100)}[args.data]
    train(
        model,
        data,
        epochs=args.epochs or defaults[0],
        batch_size=args.batch_size or defaults[1],
        lr=args.lr,
        seed=args.seed,
    )

    scores, labels = xpconv.asnumpy(predict(model, data.x_test)), xpconv.asnumpy(data.y_test)
    said = scores.argmax(axis=1)
    print_confusion([[int(((labels == t) & (said == p)).sum()) for p in range(10)] for t in range(10)])
    wrong = int((said != labels).sum())
    print(f"\ntest accuracy {1 - wrong / len(labels):.2%}: {wrong} of {len(labels):,} wrong")
    return 1 - wrong / len(labels)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("\nstopped")
