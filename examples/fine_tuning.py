"""Fine-tuning of weights from PyTorch: the known layers stay frozen, a new last layer learns new classes.

python3 -m pip install torch && python3 examples/fine_tuning.py

PyTorch trains a small CNN to read handwritten digits. Its state dict is loaded into the same CNN of xpconv,
which gives the same scores. With a new last layer, this learns from 30 images whether a digit is odd or even;
so does, for comparison, the CNN from random weights. A model of torchvision is loaded the same way:
`xpconv.models.resnet18().load_state_dict(torchvision.models.resnet18(weights="DEFAULT").state_dict())`.
"""

from __future__ import annotations

import argparse
import sys

import numpy as np

import xpconv
from xpconv import Conv2d, Dense, Flatten, MaxPool2d, ReLU, Sequential, train
from xpconv.backend import Array
from xpconv.data import batches

try:
    import torch
except ImportError:
    sys.exit("PyTorch is missing: python3 -m pip install torch")

IMAGES = 30  # from which odd and even are learned


def train_in_pytorch(x: np.ndarray, y: np.ndarray, epochs: int) -> torch.nn.Module:
    """The CNN that has been trained elsewhere."""
    nn = torch.nn
    model = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.Flatten(),
        nn.Linear(32 * 4 * 4, 64), nn.ReLU(), nn.Linear(64, 10),
    )  # fmt: skip
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(epochs):
        for part in torch.randperm(len(x)).split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(torch.as_tensor(x[part])), torch.as_tensor(y[part])).backward()
            optimizer.step()
    return model


def make_model(classes: int) -> Sequential:
    """The same CNN in xpconv."""
    return Sequential(
        Conv2d(1, 16, 3, padding=1), ReLU(), MaxPool2d(2),
        Conv2d(16, 32, 3, padding=1), ReLU(), Flatten(),
        Dense(32 * 4 * 4, 64), ReLU(), Dense(64, classes),
    )  # fmt: skip


def learn(model: Sequential, x: Array, y: Array, seed: int) -> None:
    """Train the parameters that are not frozen."""
    optimizer = xpconv.Adam([p for p in model.parameters() if p.requires_grad], lr=0.01)
    data = batches(x, y, 10, shuffle=True, seed=seed)
    train.fit(model, xpconv.SoftmaxCrossEntropyLoss(), optimizer, data, epochs=60, verbose=False)


def main(argv: list[str] | None = None) -> tuple[float, float]:
    """Run the example; returns the accuracies for odd and even, fine-tuned and from random weights."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--epochs", type=int, default=10, help="in PyTorch (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    args = parser.parse_args(argv)
    digits = xpconv.data.load_digits(seed=args.seed)

    torch.manual_seed(args.seed)
    theirs = train_in_pytorch(xpconv.asnumpy(digits.x_train), xpconv.asnumpy(digits.y_train), args.epochs)
    model = make_model(10)
    model.load_state_dict(theirs.state_dict())
    scores = xpconv.asnumpy(train.predict(model, digits.x_test))
    with torch.no_grad():
        their_scores = theirs(torch.as_tensor(xpconv.asnumpy(digits.x_test))).numpy()
    print(f"largest difference from PyTorch's scores: {np.abs(scores - their_scores).max():.1e}")

    xpconv.manual_seed(args.seed)
    model.requires_grad_(
        False, eval=True
    )  # `eval` keeps BatchNorm and dropout, if any, in inference mode too
    model[-1] = Dense(64, 2)
    accuracies = []
    for name, one in (("fine-tuned", model), ("from random weights", make_model(2))):
        learn(one, digits.x_train[:IMAGES], digits.y_train[:IMAGES] % 2, args.seed)
        hits = train.predict(one, digits.x_test).argmax(axis=1) == digits.y_test % 2
        accuracies.append(float(hits.mean()))
        print(f"odd or even, after {IMAGES} images, {name}: {accuracies[-1]:.1%}")
    return accuracies[0], accuracies[1]


if __name__ == "__main__":
    main()
