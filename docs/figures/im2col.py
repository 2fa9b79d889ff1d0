"""The windows of an image as rows of a matrix, and the product that is a convolution."""

from pathlib import Path

import numpy as np
from figure import BLUE, GREEN, ORANGE, PALE, VIOLET, YELLOW, Figure, canvas, cell, label, new, number, save

import xpconv.functional as F

COLORS = {0: BLUE, 1: ORANGE, 2: GREEN, 3: VIOLET}


def draw() -> Figure:
    x = np.arange(9.0).reshape(1, 1, 3, 3)
    weight = np.array([[[[1.0, 2.0], [3.0, 4.0]]]])
    columns = F.unfold(x, 2)[0].T
    y = F.conv2d(x, weight)[0, 0].reshape(-1)
    assert np.array_equal(columns @ weight.reshape(-1), y)

    figure, axes = new(3.5)
    canvas(axes, 13.4, 9.6)
    label(axes, 1.5, 0.5, "image $x$")
    for i in range(3):
        for j in range(3):
            cell(axes, j, 1 + i, number(x[0, 0, i, j]), PALE)
    label(axes, 5.5, 0.5, "its windows")
    for p, (top, left) in enumerate(((0, 0), (0, 1), (1, 0), (1, 1))):
        at_x, at_y = 4.4 + 2.5 * (p % 2) - 0.6, 1 + 1.75 * (p // 2)
        for i in range(3):
            for j in range(3):
                inside = top <= i < top + 2 and left <= j < left + 2
                cell(axes, at_x + 0.5 * j, at_y + 0.5 * i, "", COLORS[p] if inside else "white", size=0.5)
    label(axes, 10.9, 0.5, "kernel $w$")
    for i in range(2):
        for j in range(2):
            cell(axes, 9.9 + j, 1 + i, number(weight[0, 0, i, j]), YELLOW)
    label(axes, 2.0, 5.0, "matrix: a row for each window")
    for p, row in enumerate(columns):
        for t, value in enumerate(row):
            cell(axes, t, 5.5 + p, number(value), COLORS[p], ink="white", weight="bold")
    label(axes, 4.8, 7.5, "×", fontsize=14)
    label(axes, 6.1, 5.0, "$w$")
    for t, value in enumerate(weight.reshape(-1)):
        cell(axes, 5.6, 5.5 + t, number(value), YELLOW)
    label(axes, 7.4, 7.5, "=", fontsize=14)
    label(axes, 8.7, 5.0, "outputs")
    for p, value in enumerate(y):
        cell(axes, 8.2, 5.5 + p, number(value), COLORS[p], ink="white", weight="bold")
    label(axes, 11.9, 5.5, "output $y$")
    for p, value in enumerate(y):
        cell(axes, 10.9 + p % 2, 6.2 + p // 2, number(value), COLORS[p], ink="white", weight="bold")
    label(axes, 10.05, 7.2, "→", fontsize=14)
    return figure


if __name__ == "__main__":
    save(draw(), Path(__file__).with_suffix(".svg"))
