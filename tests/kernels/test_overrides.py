"""Every override against its reference: value, dtype and shape; and how the two are joined.

An override that `CASES` and `CHECKS` do not know fails. `test_kernels.py` and `test_cuda.py` draw many more cases.
"""

from __future__ import annotations

import functools
import sys
from typing import Any

import double
import emulation
import numpy as np
import pytest
from kernel_cases import CASES, Draw, convolutions, gather_cases
from operations import Plain, ours, reference, same

import xpconv
from xpconv import kernels
from xpconv.backend import Array
from xpconv.kernels.engine import inference
from xpconv.random import Source

MODULES = [
    pytest.param(np, id="numpy"),
    pytest.param(
        double.xp, id="cupy",
        marks=pytest.mark.skipif(emulation.COMPILER is None, reason="g++ is not installed"),
    ),
]  # fmt: skip


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


def check_gelu(xp):
    """A device may return None for Φ(x), if its backward does without."""
    for dtype in ("float16", "float32", "float64"):
        x, grad = (xp.asarray(5 * Draw(dtype)(4, 50)) for _ in range(2))
        y, phi = ours.gelu(xp, x)
        expected, full = reference.gelu(xp, x)
        same(y, expected)
        same(ours.gelu_backward(xp, grad, x, phi), reference.gelu_backward(xp, grad, x, full))


def norm_cases(draw):
    """Arguments of `layer_norm` and `group_norm`: rows of any length, of any layout, with mean² far above variance."""
    for shape, axes in (
        ((4, 5, 6), (2,)),
        ((2, 3, 5, 7), (1, 2, 3)),
        ((2, 2100), (1,)),
        ((7,), (0,)),
        ((5, 3), (1,)),
    ):
        for affine in (True, False):
            for x in (draw(*shape), draw(*shape[::-1]).T, draw(*shape) + np.asarray(300, draw.dtype)):
                weight, bias = (draw(*(shape[a] for a in axes)) if affine else None for _ in "wb")
                for centred in (True, False):
                    yield "layer_norm", (x, weight, bias, axes, 1e-3, centred)
    for shape, groups in (
        ((2, 6, 5, 4), 2),
        ((2, 6, 5, 4), 6),
        ((2, 6, 5, 4), 1),
        ((3, 8), 4),
        ((1, 4, 30, 20), 1),
    ):
        for affine in (True, False):
            for x in (draw(*shape), draw.images(*shape), draw.images(*shape) + np.asarray(300, draw.dtype)):
                weight, bias = (draw(shape[1]) if affine else None for _ in "wb")
                yield "group_norm", (x, weight, bias, groups, 1e-3)


def check_norm(xp, name):
    """What is saved for backward differs; outputs and gradients do not."""
    for dtype in ("float32", "float64"):
        draw, tolerance = Draw(dtype), 1e-4 if dtype == "float32" else 1e-9
        for kind, (x, weight, bias, which, *more) in norm_cases(draw):
            if kind != name:
                continue
            x, weight, bias = (None if a is None else _on(xp, a) for a in (x, weight, bias))
            grad, results = _on(xp, draw(*x.shape)), []
            for run in (ours, reference):
                y, *saved = getattr(run, name)(xp, x, weight, bias, which, *more)
                needs = [(True, True, True), (True, False, False), (False, True, False), (False, False, True)]
                back = functools.partial(getattr(run, f"{name}_backward"), xp, grad, *saved, weight, which)
                results.append((y, *(back(n, *more[1:]) for n in needs)))
            same(*results, tolerance)


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


def check_inverse_std(xp):
    """In an inference plan, with `batch_norm`; elsewhere the reference computes it."""
    for dtype, bounds in (("float32", None), ("float64", (0.0, None)), ("float32", (-0.5, 0.75))):
        draw = Draw(dtype)
        x, weight, bias, mean = draw.images(2, 9, 6, 7), draw(9), draw(9), draw(9) * 50
        var = np.abs(draw(9)) + np.asarray(0.1, dtype)
        for scale, shift in ((weight, bias), (None, None)):

            def step(x, m=ours, scale=scale, shift=shift, mean=mean, var=var, bounds=bounds):
                return m.batch_norm(np, x, scale, shift, mean, m.inverse_std(np, var, 1e-5), bounds)

            count, plan = inference.record([step], x, [weight, bias, mean, var], {})
            assert count == 1
            y = np.empty(x.shape, dtype)
            plan.run(x, y)
            same(y, step(x, reference), 1e-4 if dtype == "float32" else 1e-11)


def check_follow_all(xp):
    """More arrays than a launch takes, empty ones, of several dtypes; and one with gaps, by the reference."""
    rng = np.random.default_rng(0)
    shapes = [(3, 4), (), (0, 2), (5,), *[(n,) for n in range(1, 21)]]
    for gaps in (False, True):
        results = []
        for run in (ours, reference):
            kinds = [("float32", "float16"), ("float32", "float32"), ("float64", "float64")]
            averages, values = [], []
            for i, shape in enumerate(shapes):
                average, value = (xp.asarray(rng.normal(size=shape).astype(t)) for t in kinds[i % 3])
                averages.append(average.T if gaps else average)
                values.append(value.T if gaps else value)
            rng = np.random.default_rng(0)
            assert run.follow_all(xp, averages, values, 0.25) is True
            results.append(tuple(averages))
        same(*results, 1e-6)


def check_gather(xp):
    for dtype in ("float32", "float64"):
        for arrays, views in gather_cases(Draw(dtype)):
            arrays, views = ([_on(xp, a) for a in listed] for listed in (arrays, views))
            assert ours.gather(xp, arrays, views) == len(arrays)
            for array, view in zip(arrays, views, strict=True):
                same(view, array.astype(view.dtype), 0)


CHECKS = {
    "follow_all": check_follow_all,
    "conv_algorithm": check_conv_algorithm,
    "gelu": check_gelu,
    **{
        f"{name}{back}": functools.partial(check_norm, name=name)
        for name in ("layer_norm", "group_norm")
        for back in ("", "_backward")
    },
    "gather": check_gather,
    "in_blocks": check_in_blocks,
    "inverse_std": check_inverse_std,
    "keep_mask": check_keep_mask,
    "update": check_update,
}


def names(xp):
    return sorted(kernels.overrides(xp)) if xp is np or emulation.COMPILER else []


@pytest.mark.sample(3)
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
    assert name in CASES, f"CASES in tests/helpers/kernel_cases.py has no arguments for {name}"
    handled = 0
    for case in CASES[name](Draw(dtype)):
        args, again, once_more = (
            [_on(xp, a) if isinstance(a, np.ndarray) else a for a in case] for _ in range(3)
        )
        with np.errstate(invalid="ignore"):
            expected = getattr(reference, name)(xp, *args)
            same(getattr(ours, name)(xp, *again), expected, 1e-4 if dtype == "float32" else 1e-11)
            for changed, one in zip(args, again, strict=True):  # in place
                if hasattr(one, "shape"):
                    same(one, changed, 1e-4 if dtype == "float32" else 1e-11)
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


@pytest.mark.parametrize("dtype", ["int16", "uint16"])
def test_integers_of_two_bytes_are_no_half_precision(dtype):
    """Their results are those of longer integers, not rounded to integers."""
    for name, *options in (("hardsigmoid",), ("clipped_line", 0.25, 0.5), ("elu", 1.0, 0.5, 1.0)):
        x = np.arange(7)
        y, expected = (getattr(ours, name)(np, x.astype(d), *options) for d in (dtype, "int32"))
        assert y.dtype.kind == "f"
        np.testing.assert_allclose(y, expected, rtol=1e-6)
