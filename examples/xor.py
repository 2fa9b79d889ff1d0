"""XOR, the smallest problem that one layer cannot solve: one sample a step, every layer in sight.

python3 examples/xor.py
"""

from __future__ import annotations

import argparse
import sys

import xpconv
from xpconv import Dense, Sequential, Sigmoid

INPUTS = [[0, 0], [0, 1], [1, 0], [1, 1]]
TARGETS = [[0], [1], [1], [0]]
GOAL = 0.02  # every output is then within 0.2 of its target


def make_model(seed: int) -> Sequential:
    """Two inputs, two hidden units, one output. Some seeds do not lead to a solution."""
    xpconv.manual_seed(seed)
    return Sequential(Dense(2, 2, dtype="float64"), Sigmoid(), Dense(2, 1, dtype="float64"), Sigmoid())


def train(model: Sequential, epochs: int, lr: float) -> list[tuple[int, float]]:
    """Gradient descent on `0.5 · (out - y)²`, sample by sample; returns what it prints: epochs and losses."""
    samples = list(zip(xpconv.asarray(INPUTS, "float64"), xpconv.asarray(TARGETS, "float64"), strict=True))
    criterion = xpconv.MSELoss(reduction="sum")
    optimizer = xpconv.SGD(model.parameters(), lr=lr)
    losses: list[tuple[int, float]] = []
    print(" epoch   summed loss")
    for epoch in range(1, epochs + 1):
        total = 0.0
        for x, y in samples:
            total = total + 0.5 * criterion(model(x), y)
            optimizer.zero_grad()
            model.backward(criterion.backward(0.5), input_grad=False)
            optimizer.step()
        if epoch in (1, 10, 100, epochs) or epoch % 1000 == 0:
            loss = float(total)  # a GPU would make us wait here, so not at every epoch
            losses.append((epoch, loss))
            print(f"{epoch:6,} {loss:13.4f}")
            if loss < GOAL:
                break
    return losses


def main(argv: list[str] | None = None) -> list[tuple[int, float]]:
    """Run the example; returns the epochs and losses that it prints."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--epochs", type=int, default=50_000, help="at most (default: %(default)s)")
    parser.add_argument("--lr", type=float, default=0.1, help="learning rate (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the weights (default: %(default)s)")
    parser.add_argument("--backend", metavar="NAME", help="numpy, cupy or auto; default: XPCONV_BACKEND")
    args = parser.parse_args(argv)
    for name, floor in (("epochs", 1), ("lr", 0), ("seed", 0)):
        if not getattr(args, name) >= floor:
            parser.error(f"--{name} is {getattr(args, name)}, expected at least {floor}")
    try:
        if args.backend:
            xpconv.set_backend(args.backend)
        model = make_model(args.seed)
    except (ValueError, RuntimeError) as error:
        parser.error(str(error))
    losses = train(model, args.epochs, args.lr)
    with xpconv.no_grad():
        outputs = xpconv.asnumpy(model(xpconv.asarray(INPUTS, "float64")))
    solved = losses[-1][1] < GOAL
    print("solved" if solved else "not solved: try another --seed, or more --epochs", end="\n\n")
    for (a, b), (y,), (out,) in zip(INPUTS, TARGETS, outputs, strict=True):
        print(f"{a} xor {b} = {y}: {out:.3f}")
    return losses


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("\nstopped")
