"""A convolution of 7 pixels as a matrix, and its transpose: each column is the result for a unit vector."""

from pathlib import Path

import numpy as np
from figure import BLUE, GREEN, ORANGE, Figure, canvas, cell, label, new, save

import xpconv.functional as F

TAPS = {0: ("white", ""), 1: (BLUE, "$w_0$"), 2: (ORANGE, "$w_1$"), 3: (GREEN, "$w_2$")}


def draw() -> Figure:
    weight = np.array([[[1.0, 2.0, 3.0]]])
    matrix = F.conv1d(np.eye(7)[:, None], weight, stride=2, padding=1)[:, 0].T
    transpose = F.conv_transpose1d(np.eye(4)[:, None], weight, stride=2, padding=1)[:, 0].T
    assert np.array_equal(matrix.T, transpose)

    figure, axes = new(2.6)
    canvas(axes, 13, 8.4)
    label(axes, 3.5, 1.9, "$A$: 7 pixels to 4, stride 2", fontsize=10)
    label(axes, 10.5, 0.5, "$A^T$: 4 pixels to 7", fontsize=10)
    for values, left, top in ((matrix, 0, 2.5), (transpose, 8.5, 1.1)):
        for i, row in enumerate(values):
            for j, value in enumerate(row):
                color, text = TAPS[int(value)]
                cell(axes, left + j, top + i, text, color, ink="white", font=9)
    return figure


if __name__ == "__main__":
    save(draw(), Path(__file__).with_suffix(".svg"))
