"""Classification of signals with one-dimensional convolutions: which of five kinds of wave is in the noise?

python3 examples/signals.py

A signal has 256 samples and one channel, `(N, 1, 256)`; its frequency, phase, amplitude and noise are random.
"""

from __future__ import annotations

import argparse

import numpy as np

import xpconv
from xpconv import BatchNorm1d, Conv1d, Dense, Flatten, GlobalAvgPool1d, MaxPool1d, ReLU, Sequential, train
from xpconv.data import batches

KINDS = ("sine", "square", "sawtooth", "rising chirp", "falling chirp")
LENGTH = 256


def draw_signals(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """`n` signals (n, 1, 256) with their kinds (n,)."""
    t = np.linspace(0, 1, LENGTH)
    kinds = rng.integers(0, len(KINDS), n)
    cycles, phase = rng.uniform(4, 12, (n, 1)), rng.uniform(0, 1, (n, 1))
    rising, falling = t * (0.5 + t), t * (2 - t)  # integrals of the frequencies 0.5 + 2t and 2 - 2t
    turn = np.choose(kinds[:, None], [t, t, t, rising, falling])
    angle = (cycles * turn + phase) % 1
    sine = np.sin(2 * np.pi * angle)
    waves = np.choose(kinds[:, None], [sine, np.sign(sine), 2 * angle - 1, sine, sine])
    noisy = rng.uniform(0.5, 2, (n, 1)) * (waves + rng.normal(0, 1, waves.shape))
    return noisy[:, None].astype("float32"), kinds


def main(argv: list[str] | None = None) -> float:
    """Run the example; returns the accuracy on the test signals."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--signals", type=int, default=4000, help="to train on (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=8, help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    args = parser.parse_args(argv)

    rng = np.random.default_rng(args.seed)
    x, y = map(xpconv.asarray, draw_signals(args.signals, rng))
    x_test, y_test = map(xpconv.asarray, draw_signals(1000, rng))

    xpconv.manual_seed(args.seed)
    model = Sequential(
        Conv1d(1, 16, 9, padding=4), BatchNorm1d(16), ReLU(), MaxPool1d(4),
        Conv1d(16, 32, 9, padding=4), BatchNorm1d(32), ReLU(), MaxPool1d(4),
        Conv1d(32, 64, 5, padding=2), BatchNorm1d(64), ReLU(), GlobalAvgPool1d(),
        Flatten(), Dense(64, len(KINDS)),
    )  # fmt: skip
    criterion, optimizer = xpconv.SoftmaxCrossEntropyLoss(), xpconv.Adam(model.parameters())
    data = batches(x, y, 64, shuffle=True, seed=args.seed)
    schedule = xpconv.OneCycleLR(optimizer, max_lr=1e-2, epochs=args.epochs, steps_per_epoch=len(data))
    train.fit(
        model, criterion, optimizer, data, valid=batches(x_test, y_test, 250), epochs=args.epochs,
        metrics=["accuracy"], schedule=schedule, schedule_per="step",
    )  # fmt: skip

    predicted = xpconv.asnumpy(train.predict(model, x_test, batch_size=250)).argmax(axis=1)
    hit = predicted == xpconv.asnumpy(y_test)
    for kind, name in enumerate(KINDS):
        print(f"{name.ljust(14)}{hit[xpconv.asnumpy(y_test) == kind].mean():.1%}")
    print(f"test accuracy {hit.mean():.1%}")
    return float(hit.mean())


if __name__ == "__main__":
    main()
