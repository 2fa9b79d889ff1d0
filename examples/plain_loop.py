"""Train a CNN on handwritten digits with every loop in sight; `train_mnist.py` is the same with `fit`.

python3 examples/plain_loop.py                                     # scikit-learn's 8×8 digits
python3 examples/plain_loop.py --data mnist --data-dir DIR         # MNIST's IDX files
XPCONV_BACKEND=cupy python3 examples/plain_loop.py --data mnist    # the same on the GPU

The model, the learning rates and the arguments are those of `train_mnist.py`. What a GPU gains by recording
a step as a CUDA graph is in `gpu_training.py`.
"""

from __future__ import annotations

import math
import sys
import time

from train_mnist import make_parser, make_transform, one_cycle, prepare

import xpconv

try:
    from tqdm import tqdm
except ImportError:
    sys.exit("tqdm is missing: python3 -m pip install tqdm")

REPORTS = 20  # an epoch: each reads the device once


def train_epoch(model, criterion, optimizer, batches, lr, epoch, epochs) -> tuple[float, float]:
    """One pass over the data; mean loss and accuracy of the model as it was at each batch."""
    xp = xpconv.get_xp()
    total = xp.zeros(2, dtype="float64")  # loss and hits so far: they stay on the device between reports
    seen, loss, accuracy = 0, math.nan, math.nan
    model.train()
    title = f"epoch {epoch + 1}/{epochs}"
    with tqdm(batches, title, unit="batch", leave=False, dynamic_ncols=True, disable=None) as bar:
        for i, (x, y) in enumerate(bar):
            optimizer.lr = lr * one_cycle((epoch + i / len(batches)) / epochs)
            scores = model(x)
            batch_loss = criterion(scores, y)
            optimizer.zero_grad()
            model.backward(criterion.backward(), input_grad=False)
            optimizer.step()
            seen += len(y)
            total += xp.stack([batch_loss * len(y), (scores.argmax(axis=1) == y).sum()])
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


def train(model, data, *, epochs, batch_size, lr, seed) -> None:
    """Train on `data.x_train`, and print a row for each epoch."""
    criterion = xpconv.SoftmaxCrossEntropyLoss()
    optimizer = xpconv.Adam(model.parameters(), lr=lr)
    batches = xpconv.data.batches(
        data.x_train, data.y_train, batch_size, shuffle=True, seed=seed,
        transform=make_transform(data.x_train.shape[-1]),
    )  # fmt: skip
    print("epoch   train loss   accuracy   test loss   accuracy   seconds")
    for epoch in range(epochs):
        start = time.perf_counter()
        try:
            row = train_epoch(model, criterion, optimizer, batches, lr, epoch, epochs)
        except KeyboardInterrupt:
            print(f"stopped in epoch {epoch + 1}: below is what was learned by then")
            break
        scores = predict(model, data.x_test)
        with xpconv.no_grad():
            test_loss = criterion(scores, data.y_test).astype("float64")
        hits = (scores.argmax(axis=1) == data.y_test).mean()
        row += tuple(xpconv.asnumpy(xpconv.get_xp(scores).stack([test_loss, hits])))
        seconds = time.perf_counter() - start
        print("{:5d} {:12.4f} {:10.2%} {:11.4f} {:10.2%} {:9.1f}".format(epoch + 1, *row, seconds))


def print_confusion(confusion) -> None:
    """Rows: what the images show. Columns: what the model says. Zeros are dots, to let mistakes stand out."""
    print("\nconfusion (rows: true, columns: predicted)")
    print("     " + "".join(f"{c:6d}" for c in range(10)))
    for c, row in enumerate(confusion):
        print(f"{c:5d}" + "".join(f"{n or '·':>6}" for n in row))


def main(argv: list[str] | None = None) -> float:
    """Run the example; returns the test accuracy."""
    parser = make_parser(__doc__)
    args = parser.parse_args(argv)
    data, model = prepare(parser, args)
    train(model, data, epochs=args.epochs, batch_size=args.batch_size, lr=args.lr, seed=args.seed)

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
