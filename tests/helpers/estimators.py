"""Images for tests of the estimators for scikit-learn, and settings that take little time."""

import numpy as np

import xpconv

FAST = {"max_epochs": 4, "learning_rate": 0.01, "random_state": 0, "batch_size": 16, "model__width": 8}
QUICK = {**FAST, "max_epochs": 1}  # where models are compared
OWN = {name: value for name, value in FAST.items() if name != "model__width"}  # for models without width


def bars(count=60, size=8, classes=4, seed=0):
    """Images with a bright row in a place that says the class."""
    rng = np.random.default_rng(seed)
    y = np.arange(count) % classes
    images = rng.random((count, size, size))
    images[np.arange(count), 2 * y + 1] += 2
    return images, y


X, Y = bars()
FLAT = X.reshape(len(X), -1)


def outputs(classifier, x=X[:9]):
    return classifier.decision_function(x)


def tiny(input_shape, n_outputs, width=4):
    """A network without dropout or BatchNorm."""
    channels, height, size = input_shape
    conv = xpconv.Conv2d(channels, width, 3, padding=1)
    return xpconv.Sequential(
        conv, xpconv.ReLU(), xpconv.Flatten(), xpconv.Dense(width * height * size, n_outputs)
    )
