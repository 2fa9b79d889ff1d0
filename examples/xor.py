"""XOR, the smallest problem that one layer cannot solve: one sample a step, every layer in sight.

python3 examples/xor.py
"""

from __future__ import annotations

import argparse

import xpconv
from xpconv import Dense, Sequential, Sigmoid

INPUTS = [[0, 0], [0, 1], [1, 0], [1, 1]]
TARGETS = [[0], [1], [1], [0]]


def make_model(seed: int) -> Sequential:
    """Two inputs, two hidden units, one output. Not every start finds the way: see other seeds."""
    xpconv.manual_seed(seed)
    return Sequential(Dense(2, 2, dtype="float64"), Sigmoid(), Dense(2, 1, dtype="float64"), Sigmoid())


def train(model: Sequential, epochs: int, lr: float, goal: float = 0.02) -> list[float]:
    """Gradient descent on `0.5 · (out - y)²`, sample by sample; the summed loss of every epoch."""
    samples = list(zip(xpconv.asarray(INPUTS, "float64"), xpconv.asarray(TARGETS, "float64"), strict=True))
    criterion = xpconv.MSELoss(reduction="sum")
    optimizer = xpconv.SGD(model.parameters(), lr=lr)
    losses: list[float] = []
    print(" epoch   summed loss")
    while len(losses) < epochs and not (losses and losses[-1] < goal):
        total = 0.0
        for x, y in samples:
            total = total + 0.5 * criterion(model(x), y)
            optimizer.zero_grad()
            model.backward(criterion.backward(0.5), input_grad=False)
            optimizer.step()
        losses.append(float(total))
        if len(losses) in (1, 10, 100) or len(losses) % 1000 == 0 or losses[-1] < goal:
            print(f"{len(losses):6,} {losses[-1]:13.4f}")
    return losses


def main(argv: list[str] | None = None) -> list[float]:
    """Run the example; returns the summed loss of every epoch."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--epochs", type=int, default=50_000, help="at most (default: %(default)s)")
    parser.add_argument("--lr", type=float, default=0.1, help="learning rate (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the weights (default: %(default)s)")
    parser.add_argument("--backend", metavar="NAME", help="numpy, cupy or auto; default: XPCONV_BACKEND")
    args = parser.parse_args(argv)
    try:
        if args.backend:
            xpconv.set_backend(args.backend)
        model = make_model(args.seed)
    except (ValueError, RuntimeError) as error:
        parser.error(str(error))
    losses = train(model, args.epochs, args.lr)
    with xpconv.no_grad():
        outputs = xpconv.asnumpy(model(xpconv.asarray(INPUTS, "float64")))
    print("solved" if losses[-1] < 0.02 else "stuck in a local minimum: try another --seed", end="\n\n")
    for (a, b), (y,), (out,) in zip(INPUTS, TARGETS, outputs, strict=True):
        print(f"{a} xor {b} = {y}: {out:.3f}")
    return losses


if __name__ == "__main__":
    main()
