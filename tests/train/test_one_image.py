"""Errors for an image without its batch axis, and for a data set in place of batches."""

import numpy as np
import pytest

import xpconv
from xpconv import models, train

COLOUR, GRAY = np.zeros((3, 32, 32), "float32"), np.zeros((28, 28), "float32")


class Images:
    """A data set that says the shape of its images, as `image_folder` does."""

    shape, dtype = (3, 32, 32), np.dtype("float32")

    def __len__(self):
        return 4

    def __getitem__(self, i):
        return COLOUR, i


class Plain(Images):
    shape = property()  # none


PREDICTIONS = {
    "colour": (lambda: models.small_cnn(2), COLOUR, r"data has shape \(3, 32, 32\): .* batch axis is missing, give data\[None\]$"),
    "gray with its channel": (models.lenet5, GRAY[None], r"give data\[None\]$"),
    "gray": (models.lenet5, GRAY, r"give data\[None, None\]$"),
    "more channels than a batch has rows": (lambda: models.resnet18(2), COLOUR, r"give data\[None\]$"),
    "rows": (lambda: xpconv.Sequential(xpconv.Conv1d(2, 3, 3), xpconv.Flatten()), np.zeros((2, 9), "float32"), r"give data\[None\]$"),
    "gray ones in a batch": (models.lenet5, np.zeros((7, 28, 28), "float32"), r"for a batch of gray ones give x\[:, None\] \(layer 0\)$"),
}  # fmt: skip


@pytest.mark.parametrize("name", PREDICTIONS)
def test_predict(name, backend):
    make, x, message = PREDICTIONS[name]
    with pytest.raises(xpconv.errors.ShapeError, match=message):
        train.predict(make(), xpconv.asarray(x), batch_size=2)


@pytest.mark.parametrize("data", [Images(), Plain()])
def test_predict_of_a_data_set(data):
    with pytest.raises(TypeError, match=r"a data set; give xpconv\.data\.batches\(data, 64\)"):
        train.predict(models.small_cnn(2), data)
    assert train.predict(models.small_cnn(2), xpconv.data.batches(data, 3)).shape == (4, 2)


SUMMARIES = {
    "gray without channels": (models.lenet5, (28, 28), "give (1, 28, 28), with the channels: "),
    "colour without channels": (lambda: models.small_cnn(2), (32, 32), "give (3, 32, 32), with the channels: "),
    "batch axis": (lambda: models.small_cnn(2), (64, 3, 32, 32), "give (3, 32, 32): "),
    "channels last": (lambda: models.resnet18(2), (32, 32, 3), "give (3, 32, 32), the channels first: "),
    "other channels": (lambda: models.small_cnn(2), (4, 32, 32), "without the batch axis: Conv2d"),
    "no images": (lambda: xpconv.Dense(3, 2), (4,), "without the batch axis: Dense"),
}  # fmt: skip


@pytest.mark.parametrize("name", SUMMARIES)
def test_summary(name):
    make, shape, message = SUMMARIES[name]
    with pytest.raises(xpconv.errors.ShapeError) as caught:
        make().summary(shape)
    assert message in str(caught.value)
