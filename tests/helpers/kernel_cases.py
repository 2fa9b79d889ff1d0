"""Arguments for every override, and convolutions that take each algorithm of the NumPy kernels."""

from math import prod

import numpy as np
from operations import reference

from xpconv.geometry import Window
from xpconv.kernels.engine import plans

SAME = Window((3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1))
STRIDED = Window((2, 3), (2, 1), ((0, 1), (1, 0)), (1, 2))
HALVED = Window((2, 2), (2, 2), ((0, 0), (0, 0)), (1, 1))
BOUNDS = (None, (0.0, None), (-0.5, 0.75))


class Draw:
    """Random arrays of one dtype, images with their channels last in memory."""

    def __init__(self, dtype):
        self.dtype, self.rng = dtype, np.random.default_rng(0)

    def __call__(self, *shape):
        return self.rng.normal(size=shape).astype(self.dtype)

    def weight(self, *shape):
        """So that a convolution's output is near 1."""
        return self(*shape) / np.asarray(prod(shape[1:]) ** 0.5, self.dtype)

    def images(self, *shape):
        return np.moveaxis(self(shape[0], *shape[2:], shape[1]), -1, 1)

    def statistics(self, channels):
        """A mean close to 0, and 1/√variance, in float64."""
        return self.rng.normal(size=channels) / 10, self.rng.uniform(0.5, 2, channels)


def convolutions():
    """Shapes of x, weight and y, the window, groups."""
    for n, c, k, size, window, groups in (
        (2, 3, 8, 9, STRIDED, 1), (2, 6, 4, 9, SAME, 2), (2, 6, 3, 9, SAME, 3), (3, 4, 4, 8, SAME, 4), (2, 2, 4, 7, STRIDED, 2),
        (4, 64, 64, 16, SAME, 1), (32, 3, 8, 10, SAME, 1), (8, 16, 16, 24, SAME, 1), (16, 1, 6, 28, SAME, 1),
        (1, 8, 64, 4, SAME, 1),
    ):  # fmt: skip
        output = window.output_shape((size, size))
        yield (n, c, size, size), (k, c // groups, *window.kernel), (n, k, *output), window, groups


def conv_cases(draw):
    for x, weight, y, window, groups in convolutions():
        for bounds in BOUNDS:
            bias = None if bounds is None else draw(y[1])
            yield draw.images(*x), draw.weight(*weight), bias, window, groups, "auto", bounds


def conv_backward_input_cases(draw):
    for x, weight, y, window, groups in convolutions():
        yield draw.images(*y), draw.weight(*weight), x, window, groups, "direct"


def conv_backward_weight_cases(draw):
    for x, weight, y, window, groups in convolutions():
        yield draw.images(*y), draw.images(*x), weight, window, groups, "direct"


def max_pool_cases(draw):
    for window in (HALVED, STRIDED):
        for ceil_mode in (False, True):
            for winners in (False, True):
                yield from (
                    (draw.images(2, 4, 7, 9), window, ceil_mode, winners, bounds) for bounds in BOUNDS
                )
    special = draw.rng.choice(np.array([-1, 0, 1, np.nan, np.inf, -np.inf], draw.dtype), (2, 4, 7, 9))
    yield special, HALVED


def max_pool_backward_cases(draw):
    for window in (HALVED, STRIDED, HALVED._replace(kernel=(20, 20), stride=(1, 1))):
        x = draw.images(2, 4, 24, 23)
        y, winner = reference.max_pool(np, x, window)
        yield draw.images(*y.shape), winner, x.shape, window


def sum_pool_backward_cases(draw):
    for window in (HALVED, STRIDED):
        yield draw.images(2, 4, *window.output_shape((7, 9))), (2, 4, 7, 9), window


def batch_norm_backward_cases(draw):
    x, grad, statistics = draw.images(4, 5, 6, 7), draw.images(4, 5, 6, 7), draw.statistics(5)
    for weight in (draw(5), None):
        for from_batch in (True, False):
            for bounds in BOUNDS:
                yield grad, x, weight, *statistics, from_batch, True, draw.images(4, 5, 6, 7), bounds


def joint_input_grad_cases(draw):
    for weight in (draw(5), None):
        means = draw.rng.normal(size=(2, 5))
        yield draw.images(4, 5, 6, 7), draw.images(4, 5, 6, 7), weight, *draw.statistics(5), means
        yield draw(4, 5), draw(4, 5), weight, *draw.statistics(5), means


def normalize_and_track_cases(draw):
    for momentum in (0.1, None):
        for bounds in BOUNDS:
            for weight, bias in ((draw(5), draw(5)), (None, None)):
                x, running = draw.images(4, 5, 6, 7), (draw(5), np.abs(draw(5)))
                yield x, weight, bias, 1e-5, bounds, *running, np.array(3), momentum


def cross_entropy_cases(draw):
    for axis in (0, 1):
        target = draw.rng.integers(0, 2, (4, 5)).astype(draw.dtype)
        yield draw(4, 5), target, axis


def cross_entropy_backward_cases(draw):
    for t, total in ((draw(4, 5), draw(4, 1)),):
        yield draw(4, 5), t, total, 0.5, 1
        yield draw(4, 5), t, total, draw(4), 1


def everywhere(draw):
    """Pairs of arrays in every memory order, far from 0 too."""
    for shape in POINTWISE:
        yield 3 * draw(*shape), 3 * draw(*shape)
        yield draw(*shape[::-1]).T, 30 * draw(*shape)
    yield draw.images(2, 3, 4, 5), draw.images(2, 3, 4, 5)
    yield draw.images(2, 3, 4, 5), draw(2, 3, 4, 5)
    yield draw(0, 3), draw(0, 3)
    yield draw(1).reshape(()), draw(1).reshape(())


def adaptive(draw):
    """Images, and sizes of output: less, more and the same, with special values."""
    special = draw.rng.choice(np.array([-1, 0, 1, np.nan, np.inf, -np.inf], draw.dtype), (2, 4, 7, 9))
    for x in (draw(2, 3, 7, 5), draw.images(2, 3, 7, 5), special):
        for output in ((3, 2), (1, 1), (7, 5), (9, 11)):
            yield x, output
    yield draw.images(2, 3, 11), (4,)
    yield draw.images(1, 2, 4, 5, 6), (3, 2, 8)


RESPONSES = ((5, 1e-2, 0.75, 2.0), (2, 0.5, 1.0, 1.0), (40, 0.1, 0.5, 1.0))


def gather_cases(draw):
    """Into views of one flat buffer; more arrays than one launch takes, of several orders and two dtypes."""
    shapes = [(3,), (), (2, 3, 4, 5), (0, 2), (4, 6)] * 36
    arrays = [draw(*shape) for shape in shapes]
    arrays[2], arrays[4] = draw.images(2, 3, 4, 5), draw(6, 4).T
    arrays[9] = draw(4, 6).astype("float16")
    yield arrays, [np.zeros(a.shape, draw.dtype) for a in arrays]
    yield [draw.images(2, 3, 4, 5), draw(2, 3, 1, 1)], [draw.images(2, 3, 4, 5), draw.images(2, 3, 1, 1)]


def rows(draw):
    """Pairs of arrays with short and long rows, also with huge elements, infinities and NaN."""
    for shape in ((3, 7), (2, 3, 4), (5,), (2, 2100)):
        yield 5 * draw(*shape), draw(*shape)
    special = draw.rng.choice(np.array([-1e4, 0, 1, 1e4, -np.inf, np.inf, np.nan], draw.dtype), (40, 5))
    yield special, draw(40, 5)


def class_entropy_cases(draw):
    for axis, rows in ((0, ()), (1, (6,)), (1, (2, 3, 5)), (1, (700,))):
        for mean in (True, False):
            target = draw.rng.integers(-2, 6, rows)
            yield draw(*rows[:axis], 5, *rows[axis:]), target, axis, -1, mean
    yield np.array([[1e4, 0, -1e4], [0, 1e4, 0]], draw.dtype), np.array([0, 1]), 1, -100, True
    yield (
        np.array([[1e4, 1e4 - 1, 0]], draw.dtype),
        np.array([0]),
        1,
        -100,
        True,
    )  # largest + log Σ has few digits


def class_entropy_backward_cases(draw):
    for grad in (0.5, np.array(0.25, "float32")):
        for axis, rows in ((0, ()), (1, (6,)), (1, (2, 3, 5))):
            p = draw(*rows[:axis], 5, *rows[axis:])
            yield p, draw.rng.integers(-2, 6, rows), np.array(0.125), grad, axis, -1, p.dtype


POINTWISE = ((4, 5), (2, 4, 6, 5))
CASES = {
    "add": lambda draw: [(draw(*s), draw(*s), bounds) for s in POINTWISE for bounds in BOUNDS],
    "affine": lambda draw: [
        (draw(m, n), draw(k, n), bias)
        for m, n, k in ((3, 4, 5), (64, 3000, 32), (1, 9000, 70), (40, 20, 300))
        for bias in (None, draw(k))
    ],
    "arithmetic": lambda draw: (
        [
            (function, draw.images(*a), draw.images(*b))
            for function in ("add", "subtract", "multiply", "divide")
            for a, b in (
                ((2, 4, 6, 5),) * 2,
                ((2, 4, 6, 5), (2, 4, 1, 1)),
                ((1, 4, 1, 1), (2, 4, 6, 5)),
                ((2, 4, 1, 5), (2, 4, 6, 1)),
            )
        ]
        + [
            ("add", draw.images(2, 4, 6, 5), draw(2, 4, 6, 5)),
            ("multiply", draw(3, 4), draw(4)),
            ("divide", draw(1)[0:1].reshape(()), draw(3, 4)),
        ]
    ),
    "batch_norm": lambda draw: [
        (draw.images(4, 5, 6, 7), weight, bias, *draw.statistics(5), bounds)
        for weight, bias in ((draw(5), draw(5)), (None, None))
        for bounds in BOUNDS
    ],
    "batch_norm_backward": batch_norm_backward_cases,
    "channel_sum": lambda draw: [(draw.images(8, 16, 20, 20),), (draw(4, 5),)],
    "channel_total": lambda draw: [(draw.images(8, 16, 20, 20),), (draw(4, 5),)],
    "clipped_line": lambda draw: (
        [(draw(*s), 0.25, 0.5) for s in POINTWISE] + [(draw.images(2, 3, 4, 5), -1.5, 0.0)]
    ),
    "concatenate": lambda draw: (
        [
            (
                axis,
                *(
                    draw.images(*(n + extra * (i == axis) for i, n in enumerate((2, 4, 6, 5))))
                    for extra in range(3)
                ),
            )
            for axis in range(4)
        ]
        + [(1, draw(3, 4), draw(3, 2)), (0, draw(3), draw(2))]
    ),
    "class_entropy": class_entropy_cases,
    "class_entropy_backward": class_entropy_backward_cases,
    "clip": lambda draw: [(draw(*s), *bounds) for s in POINTWISE for bounds in BOUNDS[1:]],
    "clip_backward": lambda draw: [(draw(*s), draw(*s), *bounds) for s in POINTWISE for bounds in BOUNDS[1:]],
    "conv": conv_cases,
    "conv_backward_input": conv_backward_input_cases,
    "conv_backward_weight": conv_backward_weight_cases,
    "cross_entropy": cross_entropy_cases,
    "cross_entropy_backward": cross_entropy_backward_cases,
    "follow": lambda draw: [
        (draw(5), draw(5).astype("float64"), momentum, 1.5) for momentum in (0.1, np.array(0.25))
    ],
    "global_avg_pool": lambda draw: [(draw.images(3, 5, 7, 6),), (draw(2, 4, 9),), (draw(2, 3, 30, 40),)],
    "hardsigmoid": lambda draw: [(4 * draw(*s),) for s in POINTWISE] + [(draw.images(2, 3, 4, 5),)],
    "matmul": lambda draw: [(draw(m, n), draw(k, n).T) for m, n, k in ((3, 4, 5), (64, 3000, 32))],
    "max_pool": max_pool_cases,
    "max_pool_backward": max_pool_backward_cases,
    "joint_input_grad": joint_input_grad_cases,
    "normalize_and_track": normalize_and_track_cases,
    "normalize_batch": lambda draw: [(draw.images(4, 5, 6, 7), draw(5), draw(5), 1e-5, b) for b in BOUNDS],
    "one_hot": lambda draw: [(draw.rng.integers(-1, 6, (3, 4)), 5, -1, axis, draw.dtype) for axis in (0, 1)],
    "reshape": lambda draw: [
        (draw.images(3, 5, 7, 6), (3, 210)),
        (draw(4, 6), (2, 12)),
        (draw(4, 6).T, (24,)),
    ],
    "sigmoid": lambda draw: [(40 * draw(*s),) for s in POINTWISE] + [(draw.images(2, 3, 4, 5),)],
    "log_sigmoid": lambda draw: [pair[:1] for pair in everywhere(draw)],
    "silu": lambda draw: [pair[:1] for pair in everywhere(draw)],
    "mish": lambda draw: [pair[:1] for pair in everywhere(draw)],
    "gelu_tanh": lambda draw: [pair[:1] for pair in everywhere(draw)],
    "hardswish": lambda draw: [pair[:1] for pair in everywhere(draw)],
    "sigmoid_backward": everywhere,
    "tanh_backward": everywhere,
    "log_sigmoid_backward": everywhere,
    "silu_backward": everywhere,
    "mish_backward": everywhere,
    "gelu_tanh_backward": everywhere,
    "hardsigmoid_backward": everywhere,
    "hardswish_backward": everywhere,
    "softplus": lambda draw: [(pair[0], 1.5, 20.0) for pair in everywhere(draw)],
    "softplus_backward": lambda draw: [(*pair, 1.5, 20.0) for pair in everywhere(draw)],
    "elu": lambda draw: [(pair[0], 0.5, 2.0, 1.5) for pair in everywhere(draw)],
    "elu_backward": lambda draw: [(*pair, 0.5, 2.0, 1.5) for pair in everywhere(draw)],
    "leaky_relu": lambda draw: [(pair[0], 0.25) for pair in everywhere(draw)],
    "leaky_relu_backward": lambda draw: [(*pair, 0.25) for pair in everywhere(draw)],
    "adaptive_max_pool": lambda draw: [(x, output) for x, output in adaptive(draw) if 0 not in x.shape],
    "adaptive_max_pool_backward": lambda draw: [
        (draw.images(*x.shape[:2], *output), reference.adaptive_max_pool(np, x, output)[1], x.shape[2:])
        for x, output in adaptive(draw)
    ],
    "adaptive_avg_pool_backward": lambda draw: [
        (draw.images(2, 5, *output), spatial)
        for output, spatial in (((1, 1), (6, 7)), ((1,), (9,)), ((2, 3), (6, 7)))
    ],
    "apply_mask": lambda draw: [
        (x, draw.rng.random(shape) < 0.5, 1.25)
        for x, shape in (
            (draw(5), (5,)),
            (draw(4, 3), (4, 3)),
            (draw(4, 3), (4, 1)),
            (draw(2, 3, 4), (2, 3, 1)),
            (draw(2, 3, 4, 5), (2, 1, 1, 1)),
            (draw.images(2, 3, 4, 5), (2, 1, 1, 1)),
            (draw.images(2, 3, 4, 5), (2, 3, 4, 5)),
        )
    ],
    "image_dot": lambda draw: [
        (make(*shape), draw.images(*shape))
        for shape in ((2, 3, 4, 5), (3, 5, 30, 40), (2, 4, 9))
        for make in (draw, draw.images)
    ],
    "response_norm": lambda draw: [
        (x, *more) for x in (draw(2, 7, 3, 4), draw.images(2, 7, 3, 4)) for more in RESPONSES
    ],
    "response_norm_backward": lambda draw: [
        (draw(*x.shape), x, 1 + abs(draw.images(*x.shape)), *more[:3])
        for x in (draw(2, 7, 3, 4), draw.images(2, 7, 3, 4))
        for more in RESPONSES
    ],
    **dict.fromkeys(
        ("binary_entropy", "binary_entropy_slope"),
        lambda draw: [
            (x, (1 + np.sign(t)) / 2, *more) for x, t in everywhere(draw) if x.ndim for more in ((), (2.5,))
        ],
    ),
    **dict.fromkeys(
        ("probability_entropy", "probability_entropy_slope"),
        lambda draw: [
            (np.clip(abs(x), 0, 1.5), np.clip(abs(t), 0, 1)) for x, t in everywhere(draw) if x.ndim
        ],
    ),
    **dict.fromkeys(
        ("smooth_l1", "smooth_l1_slope"),
        lambda draw: [
            (np.round(2 * x) / 2, beta) for x, _ in everywhere(draw) if x.ndim for beta in (0.0, 1.5)
        ],
    ),
    **dict.fromkeys(
        ("huber", "huber_slope"),
        lambda draw: [(np.round(2 * x) / 2, 1.5) for x, _ in everywhere(draw) if x.ndim],
    ),
    "divergence": lambda draw: [
        (x, np.clip(t, 0, 2), log) for x, t in everywhere(draw) if x.ndim for log in (True, False)
    ],
    "scaled_sum": lambda draw: [
        (draw(*s), factor) for s in ((), (7,), (3, 900), (4, 100, 100)) for factor in (1.0, 0.25)
    ],
    **dict.fromkeys(
        ("softmax", "log_softmax"),
        lambda draw: [(x, axis) for x, _ in rows(draw) for axis in range(-1, x.ndim)],
    ),
    "softmax_backward": lambda draw: [
        (g, reference.softmax(np, x, axis), axis)
        for x, g in rows(draw)
        if abs(x).max() < 99
        for axis in range(-1, x.ndim)
    ],
    "log_softmax_backward": lambda draw: [
        (g, reference.log_softmax(np, x, axis), axis)
        for x, g in rows(draw)
        if abs(x).max() < 99
        for axis in range(-1, x.ndim)
    ],
    "gelu_backward": lambda draw: [(*pair, None) for pair in everywhere(draw)],
    "statistics": lambda draw: [(draw.images(4, 5, 6, 7) + 3,), (draw(40, 3),), (draw(40, 3) + 1000,)],
    "sum_pool": lambda draw: [
        (draw.images(2, 4, 7, 9), window, ceil) for window in (HALVED, STRIDED) for ceil in (0, 1)
    ],
    "sum_pool_backward": sum_pool_backward_cases,
}


def square(size, stride=1, padding=0, dilation=1):
    return Window((size,) * 2, (stride,) * 2, ((padding, padding),) * 2, (dilation,) * 2)


CONVOLUTIONS = {  # the algorithm: shapes of x and weight, the window, groups
    "winograd": ((8, 64, 17, 16), (64, 64, 3, 3), square(3, padding=1), 1),
    "stripes": ((4, 16, 33, 31), (16, 16, 3, 3), square(3, padding=1), 1),
    "batch_last": ((32, 6, 12, 12), (16, 6, 5, 5), square(5), 1),
    "columns": ((3, 20, 15, 14), (30, 20, 3, 3), square(3, 2, 1), 1),
    "columns, 1×1": ((3, 20, 15, 14), (30, 20, 1, 1), square(1), 1),
    "columns, groups": ((3, 16, 15, 14), (24, 8, 3, 3), square(3, 1, 1, 2), 2),
    "depthwise": ((3, 20, 15, 14), (20, 1, 3, 3), square(3, padding=1), 20),
    "depthwise, strided": ((3, 20, 15, 14), (20, 1, 3, 3), square(3, 2, 1), 20),
}


def all_plans():
    return [plan for arena in list(plans._idle) for plan in arena.plans.values()]
