"""Every function against PyTorch, its backward against autograd and finite differences, on every backend."""

import math
import re
from pathlib import Path

import functional_cases
import numpy as np
import pytest
from functional_cases import CASES, arguments, backward, device, forward

import xpconv
import xpconv.functional as F

TOLERANCE = {
    "float32": 1e-5,
    "float64": 1e-11,
    "complex64": 1e-5,
    "complex128": 1e-11,
}  # of the largest value


def same(found, expected, dtype, what, coarse=False):
    found, expected = xpconv.asnumpy(found), np.asarray(expected)
    assert found.shape == expected.shape, what
    assert str(found.dtype) == dtype, what
    scale = np.abs(expected).max(initial=0.0)
    np.testing.assert_allclose(
        found, expected, rtol=0, atol=(1e-7 if coarse else 0) + TOLERANCE[dtype] * scale, err_msg=what
    )


@pytest.mark.sample(6)
@pytest.mark.filterwarnings("ignore:reduction.*:UserWarning")  # what PyTorch thinks of the mean of kl_div
@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_function_is_pytorchs(case, dtype, backend):
    """Values, and the gradients of all arrays; the arrays given are unchanged, but for running statistics."""
    torch = pytest.importorskip("torch")
    if case.torch is None:
        pytest.skip("PyTorch has no such function")
    arrays, options = arguments(case, dtype)
    kept = {n: None if v is None else xpconv.asnumpy(v).copy() for n, v in arrays.items()}
    tensors = {
        n: torch.tensor(v) if isinstance(v, np.ndarray) and isinstance(case.inputs.get(n, case.fixed.get(n)), np.ndarray)
        else arrays[n] for n, v in kept.items()
    }  # fmt: skip
    for name in case.inputs:
        tensors[name].requires_grad_()
    settings = {
        n: torch.tensor(xpconv.asnumpy(v)) if isinstance(case.options[n], np.ndarray) else v
        for n, v in options.items()
    }
    names = {n: settings.pop(n) for n in ("normalized_shape", "num_groups") if n in settings}
    twin = getattr(torch.nn.functional, case.name)
    first, *others = tensors.values()
    expected = twin(first, *names.values(), *others, **settings)
    y = forward(case, arrays, options)
    same(y, expected.detach().numpy(), dtype, "output")
    for name, value in kept.items():
        if name.startswith("running"):
            value = value if value is None else tensors[name].numpy()
        if value is not None:
            np.testing.assert_allclose(
                xpconv.asnumpy(arrays[name]), value, rtol=1e-5, err_msg=f"{name} afterwards"
            )
    if not case.same_gradient:
        return
    grad = np.random.default_rng(5).normal(size=y.shape).astype(dtype)
    expected.backward(torch.tensor(grad))
    found = backward(case, device(grad, dtype), y, *arguments(case, dtype))
    for name, gradient in zip(case.inputs, found, strict=False):
        same(gradient, tensors[name].grad.numpy(), dtype, f"gradient of {name}", case.coarse)


@pytest.mark.sample(6)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_backward_is_the_slope(case, backend):
    """Along one direction for each array, by central differences in float64."""
    rng = np.random.default_rng(3)
    arrays, options = arguments(case, "float64")
    y = forward(case, arrays, options)
    grad = rng.normal(size=y.shape)
    found = backward(case, device(grad, "float64"), y, *arguments(case, "float64"))
    for name, gradient in zip(case.inputs, found, strict=False):
        direction, step, values = rng.normal(size=case.inputs[name].shape), 1e-6, []
        for sign in (1, -1):
            moved = case._replace(inputs={**case.inputs, name: case.inputs[name] + sign * step * direction})
            values.append(xpconv.asnumpy(forward(case, *arguments(moved, "float64"))))
        numeric = ((values[0] - values[1]) * grad).sum() / (2 * step)
        analytic = (xpconv.asnumpy(gradient) * direction).sum()
        scale = math.sqrt((((values[0] - values[1]) * grad / (2 * step)) ** 2).sum())
        assert abs(numeric - analytic) <= 1e-6 * max(abs(numeric), scale, 1e-3), name


@pytest.mark.sample(6)
@pytest.mark.parametrize("dtype", ["float64", "complex128"])
@pytest.mark.parametrize("case", [c for c in CASES if c.linear], ids=str)
def test_backward_is_the_adjoint(case, dtype, backend):
    """`⟨A x, y⟩ = ⟨x, Aᴴ y⟩` to 1e-12, and A of a complex array is A of its parts."""
    rng = np.random.default_rng(4)

    def draw(shape):
        real = rng.normal(size=shape)
        return device(real + 1j * rng.normal(size=shape) if dtype == "complex128" else real, dtype)

    x = draw(case.inputs["input"].shape)
    y = forward(case, {"input": x}, case.options)
    assert str(y.dtype) == dtype
    g = draw(y.shape)
    (dx,) = backward(case, g, y, {"input": x}, case.options)
    assert str(dx.dtype) == dtype
    assert dx.shape == x.shape
    left, right = (np.vdot(xpconv.asnumpy(a), xpconv.asnumpy(b)) for a, b in ((y, g), (x, dx)))
    assert abs(left - right) <= 1e-12 * np.linalg.norm(xpconv.asnumpy(y)) * np.linalg.norm(xpconv.asnumpy(g))
    if dtype == "complex128":
        parts = [
            xpconv.asnumpy(forward(case, {"input": part.copy()}, case.options)) for part in (x.real, x.imag)
        ]
        np.testing.assert_allclose(xpconv.asnumpy(y), parts[0] + 1j * parts[1], rtol=0, atol=1e-13)


@pytest.mark.sample(6)
@pytest.mark.parametrize("dtype", ["int8", "int64", "uint8", "uint16"])
@pytest.mark.parametrize("case", [c for c in CASES if c.exact], ids=str)
def test_integers_are_exact(case, dtype, backend):
    """Also integers above 2**53, which float64 cannot represent."""
    info = np.iinfo(dtype)
    x = np.random.default_rng(1).integers(
        info.min, info.max, size=case.inputs["input"].shape, dtype=dtype, endpoint=True
    )
    y = xpconv.asnumpy(forward(case, {"input": xpconv.asarray(x)}, case.options))
    assert y.dtype == dtype
    rank = np.unique(x, return_inverse=True)[1].reshape(x.shape)  # small numbers of the same order
    small = xpconv.asnumpy(forward(case, {"input": xpconv.asarray(rank.astype("float64"))}, case.options))
    np.testing.assert_array_equal(y, np.unique(x)[small.astype(int)])


@pytest.mark.sample(6)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_errors_name_the_function(case, backend):
    """What is no array, another dtype, and a gradient of another shape."""
    arrays, options = arguments(case, "float64")
    name = next(iter(case.inputs))
    for bad, kind in (
        ([1.0], TypeError),
        (None, TypeError),
        (xpconv.asarray(np.ones((2, 2), bool)), TypeError),
    ):
        if case.exact and hasattr(bad, "dtype"):
            continue
        with pytest.raises(
            kind, match=rf"^functional\.{case.name}: {name} is bool|^functional\.{case.name}: "
        ) as caught:
            forward(case, {**arrays, name: bad}, options)
        assert name in str(caught.value)
    if case.name in functional_cases.OF_ANY_SHAPE:
        return
    y = forward(case, arrays, options)
    wrong = xpconv.asarray(np.ones((*y.shape, 2)))
    with pytest.raises(ValueError, match=rf"^functional\.{case.name}_backward: "):
        backward(case, wrong, y, *arguments(case, "float64"))


def test_every_function_has_a_row():
    tested = {case.name for case in CASES} | functional_cases.ELSEWHERE.keys()
    public = {name for name in F.__all__ if not name.endswith(functional_cases.GRADIENTS)}
    assert public == tested, "tests/helpers/functional_cases.py lists the functions"
    for name, file in functional_cases.ELSEWHERE.items():
        text = (Path(__file__).parent / file).read_text()
        assert re.search(rf"\b{name.rstrip('123d')}", text), f"{file} does not test {name}"
