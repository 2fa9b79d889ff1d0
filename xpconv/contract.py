"""The checks of a layer that `xpconv.testing` runs.

Each raises an AssertionError that says what the layer did and what is expected.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .arraylike import is_writable
from .arrays import asarray, asnumpy
from .backend import backend_of
from .dtypes import is_floating
from .errors import BackwardError
from .layers import Layer
from .parameter import Parameter
from .tape import no_grad

INPUT_GRAD = "backward(grad_output, input_grad=False) must return None, and set parameter gradients as usual"


class Result(NamedTuple):
    """The results of one forward and backward as host arrays; gradients are by name."""

    y: np.ndarray
    inputs: dict[str, np.ndarray]
    grads: dict[str, np.ndarray]


def check_gradients(
    make: Callable[[], Layer], inputs: tuple[Any, ...], eps: float, rtol: float, seed: int
) -> None:
    """`gradcheck` of the layers of `make`; a new layer for each forward repeats its random numbers."""
    layer = make()
    parameters = {name: p.data for name, p in layer.named_parameters()}
    inputs = tuple(x.copy() for x in inputs)
    backend = backend_of(*parameters.values(), *inputs).name

    def forward() -> tuple[Layer, Any]:
        layer = make()
        for name, parameter in layer.named_parameters():
            parameter.data, parameter.grad = parameters[name], None
        return layer, layer(*inputs)

    def output() -> Any:
        with no_grad():
            return asnumpy(forward()[1]).copy()

    rng = _generator(seed)
    layer, y = forward()
    g = rng.normal(size=y.shape)
    gradients = _by_input(layer.backward(asarray(g, y.dtype, backend=backend)), inputs)
    targets = {name: (inputs[i], asnumpy(gradient)) for name, (i, gradient) in gradients.items()}
    for name, parameter in _learning(layer):
        if parameter.grad is None:
            raise AssertionError(f"{type(layer).__name__}: backward gave {name} no gradient")
        targets[name] = (parameter.data, asnumpy(parameter.grad))
    for name, (array, gradient) in targets.items():
        original = array.copy()
        direction = rng.normal(size=array.shape)
        step = asarray(eps * direction, backend=backend)
        array += step
        above = output()
        array[...] = original
        array -= step
        below = output()
        array[...] = original
        slopes = (above - below) * g / (2 * eps)
        numeric, analytic = float(slopes.sum()), float((gradient * direction).sum())
        scale = max(abs(numeric), abs(analytic), float(np.sqrt((slopes**2).sum())), 1e-3)
        if not abs(numeric - analytic) <= rtol * scale:
            raise AssertionError(
                f"{type(layer).__name__}: gradient with respect to {name}: backward says {analytic:.9g}, "
                f"finite differences {numeric:.9g}"
            )


def _generator(seed: int) -> np.random.Generator:
    """Draws other numbers than `default_rng(seed)`, which may have drawn `x`.

    A `grad_output` equal to `x` would leave normalisation layers no gradient but rounding errors.
    """
    return np.random.default_rng((seed, 1))


def check_layer(fresh: Callable[[str], Layer], x: tuple[np.ndarray, ...], seed: int) -> Result:
    """All checks on the active backend, of layers of `fresh(dtype)`; returns the float64 result."""
    g = _generator(seed).normal(size=fresh("float64")(*_given(x)).shape)
    good = _check_dtype(fresh("float64"), "float64", x, g)
    hint = " (a random layer must be made with the same rng= each time)"
    check_same(good, good, 0.0, "float64 against float64")  # a NaN equals nothing
    check_same(good, _check_dtype(fresh("float32"), "float32", x, g), 2e-4, "float32 against float64", hint)

    def make() -> Layer:
        return fresh("float64")

    check_gradients(make, _given(x), 1e-6, 1e-6, seed)
    for kind, strided in (("every second element", _spread), ("reversed axes", _reversed)):
        layer = make()
        y = layer(*map(strided, x))
        result = _result(layer, x, y, layer.backward(strided(g)))
        check_same(good, result, 1e-12, f"non-contiguous input ({kind})")
    _check_input_grad(make(), x, g, good)
    _check_freezing(make, x, g, good)
    _check_in_place(make(), x, g, good)
    _check_sums(make(), x, g, good)
    _check_no_grad(make(), x, g, good)
    return good


def _check_dtype(layer: Layer, dtype: str, x: tuple[np.ndarray, ...], g: np.ndarray) -> Result:
    """Check shapes and dtypes of one forward and backward, and that neither changes its inputs."""
    device_x = tuple(one.copy() for one in _given(x, dtype))
    y = layer(*device_x)
    _equal(str(y.dtype), dtype, "dtype of the output")
    device_g = asarray(g, dtype).copy()
    dx: Any = layer.backward(device_g)
    for name, (i, gradient) in _by_input(dx, x).items():
        _equal(gradient.shape, x[i].shape, f"shape of the {_gradient_of(name)}")
        _equal(str(gradient.dtype), dtype, f"dtype of the {_gradient_of(name)}")
    for name, parameter in _learning(layer):
        if parameter.grad is None:
            raise AssertionError(f"backward gave {name} no gradient")
        _equal(parameter.grad.shape, parameter.shape, f"shape of the gradient of {name}")
        _equal(str(parameter.grad.dtype), dtype, f"dtype of the gradient of {name}")
    result = _result(layer, x, y, dx)
    given = [("input", *pair) for pair in zip(device_x, x, strict=True)]
    for what, array, original in [*given, ("grad_output", device_g, g)]:
        unchanged = np.array_equal(asnumpy(array), original.astype(str(array.dtype)))
        _equal(unchanged, True, f"{what} unchanged after forward and backward")
    return result


def _check_input_grad(layer: Layer, x: tuple[np.ndarray, ...], g: np.ndarray, good: Result) -> None:
    """Check a backward with `input_grad=False`, and that another one after it is an error."""
    layer(*_given(x))
    try:
        nothing = layer.backward(asarray(g), input_grad=False)
    except TypeError as error:
        raise AssertionError(f"{INPUT_GRAD}, but it raised: {error}") from error
    if nothing is not None:
        raise AssertionError(f"{INPUT_GRAD}, but it returned {type(nothing).__name__}")
    for name, parameter in _learning(layer):
        what = f"gradient of {name} with input_grad=False"
        check_close(asnumpy(parameter.grad), good.grads[name], 1e-12, what)
    _refuses_backward(layer, asarray(g), "a second backward after one forward")


def _check_sums(layer: Layer, x: tuple[np.ndarray, ...], g: np.ndarray, good: Result) -> None:
    """Check that the gradients of two backwards add up, and leave the first `grad_output` unchanged."""
    layer(*_given(x))
    first = asarray(g).copy()
    layer.backward(first)
    once = {name: asnumpy(p.grad).copy() for name, p in _learning(layer)}
    y = layer(*_given(x))
    layer.backward(asarray(g).copy())
    _equal(np.array_equal(asnumpy(first), g), True, "grad_output unchanged after a second backward")
    if np.array_equal(asnumpy(y), good.y):  # not after dropout with another mask
        for name, parameter in _learning(layer):
            what = f"gradient of {name} after two backwards"
            check_close(asnumpy(parameter.grad), 2 * once[name], 1e-12, what)


def _check_no_grad(layer: Layer, x: tuple[np.ndarray, ...], g: np.ndarray, good: Result) -> None:
    """Check that a forward under `no_grad` has the same output and saves nothing."""
    with no_grad():
        y = layer(*_given(x))
    check_close(asnumpy(y), good.y, 1e-12, "output under no_grad")
    _refuses_backward(layer, asarray(g), "backward after a forward under no_grad")


def _check_freezing(
    fresh: Callable[[], Layer], x: tuple[np.ndarray, ...], g: np.ndarray, good: Result
) -> None:
    """Check gradients with every second parameter frozen, in both patterns, and with all frozen."""
    for remainder in (0, 1, None):
        for input_grad in (True, False):
            layer = fresh()
            for i, (_, parameter) in enumerate(_learning(layer)):
                parameter.requires_grad = i % 2 == remainder
            learning = dict(_learning(layer))
            layer(*_given(x))
            dx = layer.backward(asarray(g), input_grad=input_grad)
            what = f"with only {', '.join(learning) or 'nothing'} learning"
            if input_grad:
                _equal(dx is None, False, f"input gradient is None {what}")
                for name, (_, gradient) in _by_input(dx, x).items():
                    check_close(asnumpy(gradient), good.inputs[name], 1e-12, f"{_gradient_of(name)} {what}")
            for name, parameter in layer.named_parameters():
                if parameter.grad is None or name not in learning:
                    _equal(parameter.grad is not None, name in learning, f"{name} has a gradient {what}")
                else:
                    check_close(
                        asnumpy(parameter.grad), good.grads[name], 1e-12, f"gradient of {name} {what}"
                    )
            _refuses_backward(layer, asarray(g), f"a second backward after one forward, {what},")
            if not good.grads:
                return


def _check_in_place(layer: Layer, x: tuple[np.ndarray, ...], g: np.ndarray, good: Result) -> None:
    """Check gradients after inputs and output were changed in place between forward and backward."""
    given = [one.copy() for one in _given(x)]
    y = layer(*given)
    output = asnumpy(y).copy()
    for array in (*given, y):
        if is_writable(array):
            array[...] = 0
    result = _result(layer, x, asarray(output), layer.backward(asarray(g)))
    hint = "; save what backward needs with self.keep, not in attributes"
    check_same(good, result, 1e-12, "input and output changed in place before backward", hint)


def _given(inputs: tuple[np.ndarray, ...], dtype: Any = None) -> tuple[Any, ...]:
    """`inputs` on the active backend; floating ones are converted to `dtype`, if given."""
    return tuple(asarray(x, dtype if is_floating(x.dtype) else None) for x in inputs)


def _by_input(gradients: Any, inputs: tuple[Any, ...]) -> dict[str, tuple[int, Any]]:
    """The gradient of each floating input by name, with the input's index."""
    several = len(inputs) > 1
    places = [i for i, x in enumerate(inputs) if is_floating(x.dtype)]
    found = list(gradients) if isinstance(gradients, tuple) and several else [gradients]
    if several and len(found) == len(inputs):
        found = [found[i] for i in places]
    if len(found) != len(places) or not all(hasattr(gradient, "shape") for gradient in found):
        kinds = ", ".join(type(one).__name__ for one in found)
        expected = f"a tuple of {len(inputs)} arrays, one for each input" if several else "an array"
        raise AssertionError(f"backward gave {kinds}, expected {expected}")
    names = [f"input {i}" if several else "the input" for i in places]
    return dict(zip(names, zip(places, found, strict=True), strict=True))


def _gradient_of(name: str) -> str:
    return "input gradient" if name == "the input" else f"gradient of {name}"


def _learning(layer: Layer) -> list[tuple[str, Parameter]]:
    """The parameters that are not frozen, with their names."""
    return [(name, p) for name, p in layer.named_parameters() if p.requires_grad]


def _result(layer: Layer, x: tuple[np.ndarray, ...], y: Any, dx: Any) -> Result:
    inputs = {name: asnumpy(gradient).copy() for name, (_, gradient) in _by_input(dx, x).items()}
    grads = {name: asnumpy(p.grad).copy() for name, p in _learning(layer)}
    return Result(asnumpy(y).copy(), inputs, grads)


def check_same(expected: Result, got: Result, tolerance: float, what: str, hint: str = "") -> None:
    """Check that two results are equal, as `check_close` does for each array."""
    check_close(got.y, expected.y, tolerance, f"{what}: output", hint)
    for name, gradient in expected.inputs.items():
        check_close(got.inputs[name], gradient, tolerance, f"{what}: {_gradient_of(name)}", hint)
    for name, gradient in expected.grads.items():
        check_close(got.grads[name], gradient, tolerance, f"{what}: gradient of {name}", hint)


def _spread(array: np.ndarray) -> Any:
    """The same values, with a gap after each."""
    wide = np.full((*array.shape, 2), np.nan if is_floating(array.dtype) else 0, dtype=array.dtype)
    wide[..., 0] = array
    return asarray(wide)[..., 0]


def _reversed(array: np.ndarray) -> Any:
    """The same values, in memory with the axes in reverse order."""
    return asarray(np.array(array.T, order="C")).T


def _refuses_backward(layer: Layer, grad: Any, what: str) -> None:
    try:
        layer.backward(grad)
    except BackwardError:
        return
    raise AssertionError(f"{what} must raise BackwardError")


def _equal(got: Any, expected: Any, what: str) -> None:
    if got != expected:
        raise AssertionError(f"{what}: got {got!r}, expected {expected!r}")


def check_close(got: np.ndarray, expected: np.ndarray, tolerance: float, what: str, hint: str = "") -> None:
    """Check that the values differ by at most `tolerance` times the largest expected one.

    `hint` ends the error if they differ by more than a tenth of it.
    """
    _equal(got.shape, expected.shape, f"shape, {what}")
    if not got.size:
        return
    scale = max(float(np.abs(expected).max()), 1e-30)
    worst = float(np.abs(got.astype("float64") - expected).max())
    if not worst <= tolerance * scale:
        hint = hint if worst > 0.1 * scale else ""
        raise AssertionError(f"{what}: off by {worst:.3g} where the largest value is {scale:.3g}{hint}")
