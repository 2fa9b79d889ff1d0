"""A short training run, to be stopped and resumed, and the comparison of two of them."""

import numpy as np

import xpconv
from xpconv import train
from xpconv.data import batches


def go(
    folder=None, epochs=3, resume=None, callbacks=(), schedule=None, metrics=(), width=8, lr=0.01, **options
):
    """A run of 4 batches per epoch; returns the history and the parameters."""
    xpconv.manual_seed(0)
    rng = np.random.default_rng(0)
    x, y = xpconv.asarray(rng.normal(size=(20, 5)), "float32"), xpconv.asarray(rng.integers(0, 3, 20))
    model = xpconv.Sequential(
        xpconv.Dense(5, width), xpconv.ReLU(), xpconv.Dropout(0.5), xpconv.Dense(width, 3)
    )
    optimizer = xpconv.Adam(model.parameters(), lr=lr)
    if schedule is not None:
        options["schedule"] = schedule(optimizer)
    callbacks = list(callbacks)
    if folder is not None:
        callbacks.append(
            train.Checkpoint(folder, every=options.pop("every", None), last=options.pop("last", 9))
        )
    history = train.fit(
        model, xpconv.SoftmaxCrossEntropyLoss(), optimizer, batches(x, y, 5, shuffle=True, seed=0), batches(x, y, 20),
        epochs=epochs, resume=resume, callbacks=callbacks, metrics=metrics, **options,
    )  # fmt: skip
    return history, {name: xpconv.asnumpy(a) for name, a in model.state_dict().items()}


def assert_equal(a, b):
    assert a[0].rows == b[0].rows
    for name, array in a[1].items():
        assert (array == b[1][name]).all(), name
