"""Every override against its reference: value, dtype and shape; and how the two are joined.

An override that `CASES` and `CHECKS` do not know fails. `test_kernels.py` and `test_cuda.py` draw many more cases.
"""

from __future__ import annotations

import sys
from math import prod
from typing import Any

import double
import emulation
import numpy as np
import pytest
from operations import Plain, ours, reference, same

import xpconv
from xpconv import kernels
from xpconv.backend import Array
from xpconv.geometry import Window
from xpconv.kernels.numpy import inference
from xpconv.random import Source

SAME = Window((3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1))
STRIDED = Window((2, 3), (2, 1), ((0, 1), (1, 0)), (1, 2))
HALVED = Window((2, 2), (2, 2), ((0, 0), (0, 0)), (1, 1))
BOUNDS = (None, (0.0, None), (-0.5, 0.75))
MODULES = [
    pytest.param(np, id="numpy"),
    pytest.param(
        double.xp, id="cupy",
        marks=pytest.mark.skipif(emulation.COMPILER is None, reason="g++ is not installed"),
    ),
]  # fmt: skip


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


def cross_entropy_cases(draw):
    for axis in (0, 1):
        target = draw.rng.integers(0, 2, (4, 5)).astype(draw.dtype)
        yield draw(4, 5), target, axis


def cross_entropy_backward_cases(draw):
    for t, total in ((draw(4, 5), draw(4, 1)),):
        yield draw(4, 5), t, total, 0.5, 1
        yield draw(4, 5), t, total, draw(4), 1


POINTWISE = ((4, 5), (2, 4, 6, 5))
CASES = {
    "add": lambda draw: [(draw(*s), draw(*s), bounds) for s in POINTWISE for bounds in BOUNDS],
    "affine": lambda draw: [
        (draw(m, n), draw(k, n), bias)
        for m, n, k in ((3, 4, 5), (64, 3000, 32), (1, 9000, 70), (40, 20, 300))
        for bias in (None, draw(k))
    ],
    "batch_norm": lambda draw: [
        (draw.images(4, 5, 6, 7), weight, bias, *draw.statistics(5), bounds)
        for weight, bias in ((draw(5), draw(5)), (None, None))
        for bounds in BOUNDS
    ],
    "batch_norm_backward": batch_norm_backward_cases,
    "channel_total": lambda draw: [(draw.images(8, 16, 20, 20),), (draw(4, 5),)],
    "clip": lambda draw: [(draw(*s), *bounds) for s in POINTWISE for bounds in BOUNDS[1:]],
    "clip_backward": lambda draw: [(draw(*s), draw(*s), *bounds) for s in POINTWISE for bounds in BOUNDS[1:]],
    "conv": conv_cases,
    "conv_backward_input": conv_backward_input_cases,
    "conv_backward_weight": conv_backward_weight_cases,
    "copy_array": lambda draw: [(draw.images(2, 3, 4, 5),), (draw(6, 8)[:, ::2],)],
    "cross_entropy": cross_entropy_cases,
    "cross_entropy_backward": cross_entropy_backward_cases,
    "follow": lambda draw: [
        (draw(5), draw(5).astype("float64"), momentum, 1.5) for momentum in (0.1, np.array(0.25))
    ],
    "global_avg_pool": lambda draw: [(draw.images(3, 5, 7, 6),), (draw(2, 4, 9),), (draw(2, 3, 30, 40),)],
    "matmul": lambda draw: [(draw(m, n), draw(k, n).T) for m, n, k in ((3, 4, 5), (64, 3000, 32))],
    "max_pool": max_pool_cases,
    "max_pool_backward": max_pool_backward_cases,
    "normalize_batch": lambda draw: [(draw.images(4, 5, 6, 7), draw(5), draw(5), 1e-5, b) for b in BOUNDS],
    "one_hot": lambda draw: [(draw.rng.integers(-1, 6, (3, 4)), 5, -1, axis, draw.dtype) for axis in (0, 1)],
    "reshape": lambda draw: [
        (draw.images(3, 5, 7, 6), (3, 210)),
        (draw(4, 6), (2, 12)),
        (draw(4, 6).T, (24,)),
    ],
    "statistics": lambda draw: [(draw.images(4, 5, 6, 7) + 3,), (draw(40, 3),)],
    "sum_pool": lambda draw: [
        (draw.images(2, 4, 7, 9), window, ceil) for window in (HALVED, STRIDED) for ceil in (0, 1)
    ],
    "sum_pool_backward": sum_pool_backward_cases,
}


def check_conv_algorithm(xp):
    for x, weight, _, window, groups in convolutions():
        assert isinstance(ours.conv_algorithm(xp, x, np.dtype("float32"), weight, window, groups), str)
    assert reference.conv_algorithm(xp, x, np.dtype("float32"), weight, window) == "reference"


def check_in_blocks(xp):
    for run in (ours.in_blocks, reference.in_blocks):
        seen, count = np.zeros(1 << 20, int), [0]

        def task(part, seen=seen, count=count):
            seen[part] += 1
            count[0] += 1

        assert run(xp, task, seen.size) == count[0]
        assert (seen == 1).all()


def check_keep_mask(xp):
    """Other numbers, by another generator; `test_cuda.py` compares them with Philox's."""
    for run in (ours.keep_mask, reference.keep_mask):
        mask = xpconv.asnumpy(run(xp, Source(np.random.default_rng(0)), (100, 200), 0.3))
        assert (mask.shape, mask.dtype) == ((100, 200), bool)
        assert abs(mask.mean() - 0.7) < 0.02


def check_scratch(xp):
    like = xp.zeros((3, 4), dtype="float32")
    for run in (ours.scratch, reference.scratch):
        array = run(xp, "name", like)
        assert (array.shape, array.dtype) == (like.shape, like.dtype)


def check_update(xp):
    """The reference says that there is no kernel; `test_cuda_optim.py` compares every optimizer's results."""
    steps = []
    for removed in (False, True):
        with pytest.MonkeyPatch.context() as patch, xpconv.use_backend("double"):
            if removed:
                patch.delitem(kernels.overrides(xp), "update")
            p = xpconv.Parameter(xpconv.asarray(np.arange(5.0)))
            p.grad = xpconv.asarray(np.ones(5))
            xpconv.Adam([p], lr=0.1).step()
            steps.append(p.data)
    same(*steps)


def check_batch_norm_by_statistics(xp):
    """In an inference plan; elsewhere the reference computes it."""
    for dtype, bounds in (("float32", None), ("float64", (0.0, None)), ("float32", (-0.5, 0.75))):
        draw = Draw(dtype)
        x, weight, bias, mean = draw.images(2, 9, 6, 7), draw(9), draw(9), draw(9) * 50
        var = np.abs(draw(9)) + np.asarray(0.1, dtype)
        for arrays in ((weight, bias, mean, var), (None, None, mean, var)):
            args = *arrays, 1e-5, bounds
            step = lambda x, args=args: ours.batch_norm_by_statistics(np, x, *args)
            constants = [a for a in arrays if a is not None]
            count, plan = inference.record([step], x, constants, {})
            assert count == 1
            y = np.empty(x.shape, dtype)
            plan.run(x, y)
            same(y, reference.batch_norm_by_statistics(np, x, *args), 1e-4 if dtype == "float32" else 1e-11)


CHECKS = {
    "batch_norm_by_statistics": check_batch_norm_by_statistics,
    "conv_algorithm": check_conv_algorithm,
    "in_blocks": check_in_blocks,
    "keep_mask": check_keep_mask,
    "scratch": check_scratch,
    "update": check_update,
}


def names(xp):
    return sorted(kernels.overrides(xp)) if xp is np or emulation.COMPILER else []


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", sorted({*names(np), *names(double.xp)}))
@pytest.mark.parametrize("xp", MODULES)
def test_an_override_equals_its_reference(xp, name, dtype):
    override = kernels.overrides(xp).get(name)
    if override is None:
        pytest.skip(f"{name} is not overridden")
    if name in CHECKS:
        CHECKS[name](xp)
        return
    assert name in CASES, f"CASES in tests/kernels/test_overrides.py has no arguments for {name}"
    handled = 0
    for case in CASES[name](Draw(dtype)):
        args, again, once_more = (
            [_on(xp, a) if isinstance(a, np.ndarray) else a for a in case] for _ in range(3)
        )
        with np.errstate(invalid="ignore"):
            expected = getattr(reference, name)(xp, *args)
            same(getattr(ours, name)(xp, *again), expected, 1e-4 if dtype == "float32" else 1e-11)
            handled += override(xp, *once_more) is not None
    assert handled, f"the override of {name} handles none of the cases"


def _on(xp, x):
    """A copy of the same memory order."""
    order = sorted(range(x.ndim), key=lambda axis: -x.strides[axis])
    copy = xp.asarray(x.transpose(order).copy())
    return copy.transpose(sorted(range(x.ndim), key=order.__getitem__))


# --- how operations, references and overrides are joined -----------------------------------------------


def test_what_an_override_does_not_handle_the_reference_computes(monkeypatch):
    calls = []
    monkeypatch.setitem(kernels.overrides(np), "clip", lambda *args: calls.append(args))
    np.testing.assert_array_equal(ours.clip(np, np.array([-1.0, 2.0]), 0.0, None), [0, 2])
    assert len(calls) == 1


def test_an_operation_adds_one_call_to_its_override(monkeypatch):
    """It looks the override up in two dictionaries; no function is called for that."""
    calls = []
    monkeypatch.setitem(kernels.overrides(np), "clip", lambda xp, x, low, high: x)
    x = np.zeros(3)
    sys.setprofile(lambda frame, event, _: calls.append(event))
    try:
        ours.clip(np, x, 0.0, None)
    finally:
        sys.setprofile(None)
    assert calls.count("call") == 2


def test_no_operation_returns_none():
    """As None means that the reference computes the result."""
    for name, operation in kernels.operations.items():
        assert operation.__annotations__["return"] not in ("None", "Any"), name


def test_other_array_modules_have_no_overrides():
    assert kernels.overrides(Plain(np)) == {}


def another_order(xp: Any, x: Array, high: float | None, low: float) -> Array: ...


def another_name(xp: Any, y: Array, low: float, high: float | None) -> Array: ...


def another_type(xp: Any, x: Array, low: int, high: float | None) -> Array: ...


def another_default(xp: Any, x: Array, low: float, high: float | None = None) -> Array: ...


def another_result(xp: Any, x: Array, low: float, high: float | None) -> tuple[Array]: ...


def one_more(xp: Any, x: Array, low: float, high: float | None, fast: bool = True) -> Array: ...


def the_same(xp: Any, x: Array, low: float, high: float | None) -> Array: ...


def or_none(xp: Any, x: Array, low: float, high: float | None) -> Array | None: ...


@pytest.mark.parametrize(
    "override", [another_order, another_name, another_type, another_default, another_result, one_more]
)
def test_another_signature_is_refused(override):
    names = rf"test_overrides\.{override.__name__}\(xp.* differs from its reference xpconv\.ops\.activation\.clip\(xp"
    with pytest.raises(TypeError, match=names):
        kernels.check("clip", override)


@pytest.mark.parametrize("override", [the_same, or_none])
def test_the_same_signature_is_accepted(override):
    kernels.check("clip", override)


def test_an_override_of_nothing_is_refused():
    with pytest.raises(TypeError, match="overrides nothing: no operation is called 'clamp'"):
        kernels.check("clamp", the_same)
