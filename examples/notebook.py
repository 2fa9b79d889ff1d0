"""The notebook that xpconv grew from, cell by cell, on xpconv: the same numbers without the loops.

python3 examples/notebook.py                    # every cell but the one that loads MNIST; half a minute
python3 examples/notebook.py --mnist            # MNIST, downloaded
python3 examples/notebook.py --mnist DIR        # or from the folder with its IDX files

The notebook defined `Conv2d`, `Relu`, `Dense`, `Pooling`, `Flatten`, `Model` and `SoftmaxCrossEntropyLoss`
with loops over one image of shape (H, W). Here they are imported, and an image is (1, 1, H, W): a batch of
one image with one channel. Each function below is a cell, and prints what the notebook printed, or derived
by hand.
"""

from __future__ import annotations

import argparse

import numpy as np

import xpconv
from xpconv import AvgPool2d, Conv2d, Dense, Flatten, Layer, MaxPool2d, ReLU, Sequential, Sigmoid
from xpconv.backend import Array

FLOAT = "float64"  # NumPy's default, and so the notebook's


def image(rows: list[list[float]]) -> Array:
    """One image of one channel, `(1, 1, H, W)`."""
    return xpconv.asarray([[rows]], dtype=FLOAT)


def show(text: str, array: Array) -> None:
    """Print an array's last two axes; of an image, its rows."""
    values = xpconv.asnumpy(array)
    print(f"{text}:\n{values[0, 0] if values.ndim == 4 else values}")


def cell_conv() -> None:
    """`class Conv2d`: the gradients of its docstring, for x = 1…9, w = 1…4 and grad_output = 1 0 / 0 1."""
    conv = Conv2d(1, 1, kernel_size=2, bias=False, dtype=FLOAT)
    conv.weight.data[...] = image([[1, 2], [3, 4]])
    show("Conv2d, output", conv.forward(image([[1, 2, 3], [4, 5, 6], [7, 8, 9]])))
    grad_input = conv.backward(image([[1, 0], [0, 1]]))
    show("gradient of the kernel: a x_00 + d x_11, …", conv.weight.grad)
    show("gradient of the input: a w_00, a w_01, …", grad_input)


def cell_relu() -> None:
    """`class Relu`. The notebook's forward forgot to save its input, so its backward could not run."""
    relu = ReLU()
    show("ReLU, output", relu.forward(image([[-1, 2], [3, -4]])))
    show("gradient of the input", relu.backward(image([[10, 20], [30, 40]])))


def cell_dense() -> None:
    """`class Dense`: two of them, half the squared error: ∂L/∂w2 = (o2 - y) o1, ∂L/∂w1 = (o2 - y) w2 x1."""
    model = Sequential(Dense(1, 1, dtype=FLOAT), Dense(1, 1, dtype=FLOAT))
    for layer, weight in zip(model, (2, 3), strict=True):
        layer.weight.data[...], layer.bias.data[...] = weight, 1
    out = model.forward(xpconv.asarray([5], dtype=FLOAT))
    model.backward(out - 30)
    print(f"Dense, output: {float(out[0])}, that is 3 · (2 · 5 + 1) + 1")
    print(f"∂L/∂w2: {float(model[1].weight.grad[0, 0])}, that is (34 - 30) · 11")
    print(f"∂L/∂w1: {float(model[0].weight.grad[0, 0])}, that is (34 - 30) · 3 · 5")


def cell_pooling() -> None:
    """`class Pooling`: windows of 2 × 2 that move by one pixel, `Pooling("max", (2, 2))` in the notebook."""
    x, grad_output = image([[1, 5, 4], [9, 2, 1], [6, 3, 2]]), image([[1, 2], [3, 4]])
    pools: list[Layer] = [MaxPool2d(2, stride=1), AvgPool2d(2, stride=1)]
    for pool in pools:
        show(f"{type(pool).__name__}, output", pool.forward(x))
        show("gradient of the input", pool.backward(grad_output))


def cell_flatten() -> None:
    """`class Flatten`: it keeps the batch axis, so one image becomes one row."""
    flatten = Flatten()
    print("Flatten, output:", xpconv.asnumpy(flatten.forward(image([[1, 2], [3, 4]]))))
    print(
        "gradient of the input has the shape", flatten.backward(xpconv.asarray([[1, 2, 3, 4]], FLOAT)).shape
    )


def cell_loss() -> None:
    """`class SoftmaxCrossEntropyLoss`, on the labels as integers or, as in the notebook, one-hot."""
    logits = xpconv.asarray([[2, 1, 0], [0, 1, 3]], dtype=FLOAT)
    one_hot = xpconv.asarray([[1, 0, 0], [0, 0, 1]], dtype=FLOAT)
    criterion = xpconv.SoftmaxCrossEntropyLoss()
    print(f"SoftmaxCrossEntropyLoss: {float(criterion.forward(logits, one_hot)):.6f}")
    show("gradient: (softmax - one-hot) / batch size", criterion.backward())


def cell_mnist(folder: str | None) -> None:
    """The data: 70,000 images, as rows and as images, in [0, 1]."""
    mnist = xpconv.data.load_mnist(folder)
    images = np.concatenate([xpconv.asnumpy(mnist.x_train), xpconv.asnumpy(mnist.x_test)])
    print(images.reshape(len(images), -1).shape)
    print(images[:, 0].shape)


def cell_gradient_of_the_kernel() -> None:
    """ "Tackling Around": three tries at the gradient of a 2 × 3 kernel, of which the third was right."""
    conv = Conv2d(1, 1, kernel_size=(2, 3), bias=False, dtype=FLOAT)
    conv.weight.data[...] = image([[0, 1, 0], [1, 0, 0]])
    conv.forward(image([[1, 2, 3], [4, 5, 6], [7, 8, 9]]))
    grad_input = conv.backward(image([[10], [20]]))
    show("correct generalization", conv.weight.grad)
    show("grad_input", grad_input)


def cell_gradient_of_max_pooling() -> None:
    """Maxima that several windows share get the sum of their gradients."""
    pool = MaxPool2d(2, stride=1)
    pool.forward(image([[1, 5, 4, 8], [9, 2, 1, 12], [6, 3, 2, 9]]))
    show("gradient of max pooling", pool.backward(image([[1, 2, 3], [4, 5, 6]])))


def cell_xor(epochs: int, seed: int) -> list[float]:
    """XOR, sample by sample; the notebook drew 0.1 · randn as weights *and* biases, without a seed.

    With such small weights the loss hardly falls for thousands of epochs (with seed 0 for 18,000), then fast.
    """
    rng = np.random.default_rng(seed)
    model = Sequential([Dense(2, 2, dtype=FLOAT), Sigmoid(), Dense(2, 1, dtype=FLOAT), Sigmoid()])
    for parameter in model.parameters():
        parameter.data[...] = xpconv.asarray(0.1 * rng.standard_normal(parameter.shape))
    inputs = xpconv.asarray([[0, 0], [0, 1], [1, 0], [1, 1]], dtype=FLOAT)
    targets = xpconv.asarray([[0], [1], [1], [0]], dtype=FLOAT)
    optimizer = xpconv.SGD(model.parameters(), lr=0.1)
    losses = []
    for epoch in range(epochs):
        loss = 0.0
        for x, y in zip(inputs, targets, strict=True):
            out = model.forward(x)
            loss += 0.5 * (out - y) ** 2
            optimizer.zero_grad()
            model.backward(out - y)
            optimizer.step()
        if epoch % 500 == 0:
            losses.append(float(loss[0]))
            print(f"Epoch {epoch}, Loss [{losses[-1]:.8f}]")
    with xpconv.no_grad():
        for x, y in zip(inputs, targets, strict=True):
            numbers = xpconv.asnumpy(x).astype(int)
            print(f"Input: {numbers}, Predicted: {float(model.forward(x)[0]):.3f}, Target: {int(y[0])}")
    return losses


def main(argv: list[str] | None = None) -> list[float]:
    """Run the cells; returns the losses of XOR."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--mnist", nargs="?", const="", metavar="DIR", help="load MNIST too (default: no)")
    parser.add_argument("--epochs", type=int, default=20_001, help="of XOR (default: 20001)")
    parser.add_argument("--seed", type=int, default=2, help="of XOR's first weights (default: 2)")
    args = parser.parse_args(argv)
    for cell in (cell_conv, cell_relu, cell_dense, cell_pooling, cell_flatten, cell_loss):
        cell()
    if args.mnist is not None:
        cell_mnist(args.mnist or None)
    cell_gradient_of_the_kernel()
    cell_gradient_of_max_pooling()
    return cell_xor(args.epochs, args.seed)


if __name__ == "__main__":
    main()
