"""Checks for layers, ours and yours: gradients against finite differences, and the whole contract.

One call checks a layer of your own:

    from xpconv.testing import assert_layer_ok

    assert_layer_ok(lambda: MyLayer(3), x)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np

from .arguments import shown, to_bool, to_float, to_int
from .arrays import asarray, asnumpy
from .backend import backend_of, use_backend
from .dtypes import is_floating
from .errors import BackwardError, DTypeError
from .layers import Layer, no_grad
from .parameter import Parameter

CONTRACT = "backward(grad_output, input_grad=False) must return None, and set parameter gradients as usual"


class Result(NamedTuple):
    """The results of one forward and backward as host arrays; gradients are by name."""

    y: np.ndarray
    inputs: dict[str, np.ndarray]
    grads: dict[str, np.ndarray]


def gradcheck(layer: Layer, x: Any, *, eps: float = 1e-6, rtol: float = 1e-6, seed: int = 0) -> None:
    """Compare a float64 layer's gradients with central differences along random directions.

    For a direction v and a random `grad_output` g, `(f(x + εv) - f(x - εv)) · g / 2ε` must be
    `dx · v`; likewise for every parameter. The layer must give the same output for the same input
    (seed its dropout anew, or use `assert_layer_ok`).

    Args:
        layer: with float64 parameters.
        x: float64 input on the layer's backend, away from kinks; or a tuple of inputs, some of which may be
            integer arrays.
        eps: ε.
        rtol: largest relative difference of the two; if contributions of the outputs cancel, it is relative
            to their sizes.
        seed: seed of the random directions.

    Raises:
        AssertionError: a gradient is wrong; says which and by how much.

    Example:
        >>> import numpy as np, xpconv
        >>> from xpconv.testing import gradcheck
        >>> gradcheck(xpconv.Dense(3, 2, dtype="float64"), np.ones((4, 3)))
    """
    if not isinstance(layer, Layer):
        raise TypeError(f"gradcheck: layer is {shown(layer)}, expected a Layer")
    inputs = x if isinstance(x, tuple) else (x,)
    if not inputs or not all(hasattr(one, "dtype") for one in inputs):
        raise TypeError(f"gradcheck: x is {shown(x)}, expected a float64 array on the layer's backend")
    eps, rtol = to_float("gradcheck: eps", eps, finite=True), to_float("gradcheck: rtol", rtol, 0)
    if not eps > 0:
        raise ValueError(f"gradcheck: eps is {eps}, expected a number above 0")
    seed = to_int("gradcheck: seed", seed, 0)
    floating = [one for one in inputs if is_floating(one.dtype)] or list(inputs)
    dtypes = {str(a.dtype) for a in [*floating, *(p.data for p in layer.parameters())]}
    if dtypes != {"float64"}:
        raise DTypeError(
            f"gradcheck: x or the parameters are {', '.join(sorted(dtypes))}, expected float64: "
            "use x.astype('float64') and layer.to(dtype='float64')"
        )
    _gradcheck(lambda: layer, inputs, eps, rtol, seed)


def _gradcheck(
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

    rng = np.random.default_rng(seed)
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


def assert_layer_ok(
    make: Callable[[], Layer],
    x: np.ndarray | tuple[np.ndarray, ...],
    *,
    reference: Callable[..., np.ndarray] | None = None,
    backends: Iterable[str] = ("numpy",),
    training: bool = True,
    seed: int = 0,
) -> None:
    """Check a layer's whole contract on float64 input `x`, on every one of `backends`.

    For a layer with several inputs, give a tuple of them. Its `backward` must return a tuple with one
    gradient for each. The gradient of an integer input may be None or left out, as in `MaxUnpool2d`.

    - the output equals `reference(x, **state_dict)`, if a reference is given;
    - gradients equal finite differences;
    - float64 and float32 inputs give outputs and gradients of the same dtype, and the two agree;
    - non-contiguous input and `grad_output` give the same results, and neither is modified;
    - input and output changed in place between forward and backward do not change the gradients;
    - `input_grad=False` returns None and the same parameter gradients;
    - frozen parameters get no gradient, and all other gradients are the same;
    - gradients add up over two backwards, and `backward` without its `forward` is an error;
    - nothing is saved under `no_grad()`; a state dict loaded into a new layer gives the same output;
    - every backend gives the same results as NumPy.

    Args:
        make: a function that makes a new layer. It is called many times, so seed its random numbers.
        x: float64 host array, away from kinks; or a tuple of arrays, some of which may be int64.
        reference: an independent forward, `reference(x, **arrays)` with the state dict's entries; several
            inputs are separate positional arguments.
        backends: names of the backends to check.
        training: mode to check.
        seed: seed of the random numbers.

    Raises:
        AssertionError: the first part of the contract that does not hold.

    Example:
        >>> import numpy as np, xpconv
        >>> from xpconv.testing import assert_layer_ok
        >>> x = np.random.default_rng(0).normal(size=(2, 5))
        >>> assert_layer_ok(lambda: xpconv.Dense(5, 3), x,
        ...                 reference=lambda x, weight, bias: x @ weight.T + bias)
        >>> assert_layer_ok(lambda: xpconv.Bilinear(5, 2, 3), (x, x[:, :2].copy()))
    """
    if isinstance(make, Layer) or not callable(make):
        raise TypeError(
            f"assert_layer_ok: make is {shown(make)}, expected a function that makes the layer anew"
        )
    inputs = x if isinstance(x, tuple) else (x,)
    dtypes = [str(getattr(one, "dtype", type(one))) for one in inputs]
    if "float64" not in dtypes or not {"float64", "int64"}.issuperset(dtypes):
        raise TypeError(
            f"assert_layer_ok: x is {', '.join(dtypes) or '()'}, expected a float64 host array, or a tuple "
            "of such and int64 ones"
        )
    if reference is not None and not callable(reference):
        raise TypeError(f"assert_layer_ok: reference is {shown(reference)}, expected a function or None")
    if isinstance(backends, str) or not isinstance(backends, Iterable) or hasattr(backends, "shape"):
        raise TypeError(f"assert_layer_ok: backends is {shown(backends)}, expected names, such as ('numpy',)")
    backends = list(backends)
    for name in backends:
        if not isinstance(name, str):
            raise TypeError(f"assert_layer_ok: backends holds {shown(name)}, expected names")
    training = to_bool("assert_layer_ok: training", training)
    seed = to_int("assert_layer_ok: seed", seed, 0)
    with use_backend("numpy"):
        first = make()
        if not isinstance(first, Layer):
            raise TypeError(f"assert_layer_ok: make gave {shown(first)}, expected a Layer")
        state = {name: array.copy() for name, array in first.state_dict().items()}
        if reference is not None:
            arrays = {k: v.astype("float64") if is_floating(v.dtype) else v for k, v in state.items()}
            expected = reference(*(one.copy() for one in inputs), **arrays)

    results: dict[str, Result] = {}
    for backend in backends:
        with use_backend(backend):

            def fresh(dtype: str) -> Layer:
                layer = make().train(training)
                layer.load_state_dict(state)
                return layer.to(dtype=dtype)

            results[backend] = _check(fresh, inputs, seed)
            if reference is not None:
                _close(results[backend].y, expected, 1e-10, f"{backend}: output against the reference")
    names = list(results)
    for name in names[1:]:
        for label, a, b in _pairs(results[names[0]], results[name]):
            _close(b, a, 1e-10, f"{name} against {names[0]}: {label}")


def _check(fresh: Callable[[str], Layer], x: tuple[np.ndarray, ...], seed: int) -> Result:
    """All checks on the active backend; the float64 result."""
    g = np.random.default_rng(seed).normal(size=fresh("float64")(*_given(x)).shape)
    results = {}
    for dtype, tolerance in (("float64", 0.0), ("float32", 2e-4)):
        layer = fresh(dtype)
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
        results[dtype] = _result(layer, x, y, dx)
        pairs = [("input", *pair) for pair in zip(device_x, x, strict=True)]
        for what, array, original in [*pairs, ("grad_output", device_g, g)]:
            unchanged = np.array_equal(asnumpy(array), original.astype(str(array.dtype)))
            _equal(unchanged, True, f"{what} unchanged after forward and backward")
        for label, a, b in _pairs(results["float64"], results[dtype]):
            hint = " (a random layer must be made with the same rng= each time)"
            _close(b, a, tolerance, f"{dtype} against float64: {label}", hint)

    _gradcheck(lambda: fresh("float64"), _given(x), 1e-6, 1e-6, seed)

    good = results["float64"]
    for kind, strided in (("every second element", _spread), ("reversed axes", _reversed)):
        layer = fresh("float64")
        y = layer(*map(strided, x))
        for label, a, b in _pairs(good, _result(layer, x, y, layer.backward(strided(g)))):
            _close(b, a, 1e-12, f"non-contiguous input ({kind}): {label}")

    layer = fresh("float64")
    layer(*_given(x))
    try:
        nothing = layer.backward(asarray(g), input_grad=False)
    except TypeError as error:
        raise AssertionError(f"{CONTRACT}, but it raised: {error}") from error
    if nothing is not None:
        raise AssertionError(f"{CONTRACT}, but it returned {type(nothing).__name__}")
    for name, parameter in _learning(layer):
        _close(asnumpy(parameter.grad), good.grads[name], 1e-12, f"gradient of {name} with input_grad=False")
    _refuses_backward(layer, asarray(g), "a second backward after one forward")

    _check_freezing(lambda: fresh("float64"), x, g, good)
    _check_in_place(fresh("float64"), x, g, good)

    layer = fresh("float64")
    y = layer(*_given(x))
    kept = asarray(g).copy()
    layer.backward(kept)
    once = {name: asnumpy(p.grad).copy() for name, p in _learning(layer)}
    y = layer(*_given(x))
    layer.backward(asarray(g).copy())
    _equal(np.array_equal(asnumpy(kept), g), True, "grad_output unchanged after a second backward")
    if np.array_equal(asnumpy(y), good.y):  # not after dropout with another mask
        for name, parameter in _learning(layer):
            _close(asnumpy(parameter.grad), 2 * once[name], 1e-12, f"gradient of {name} after two backwards")

    layer = fresh("float64")
    with no_grad():
        y = layer(*_given(x))
    _close(asnumpy(y), good.y, 1e-12, "output under no_grad")
    _refuses_backward(layer, asarray(g), "backward after a forward under no_grad")
    return good


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
                    _close(asnumpy(gradient), good.inputs[name], 1e-12, f"{_gradient_of(name)} {what}")
            for name, parameter in layer.named_parameters():
                if parameter.grad is None or name not in learning:
                    _equal(parameter.grad is not None, name in learning, f"{name} has a gradient {what}")
                else:
                    _close(asnumpy(parameter.grad), good.grads[name], 1e-12, f"gradient of {name} {what}")
            _refuses_backward(layer, asarray(g), f"a second backward after one forward, {what},")
            if not good.grads:
                return


def _check_in_place(layer: Layer, x: tuple[np.ndarray, ...], g: np.ndarray, good: Result) -> None:
    """Check gradients after inputs and output were changed in place between forward and backward."""
    given = [one.copy() for one in _given(x)]
    y = layer(*given)
    output = asnumpy(y).copy()
    for array in (*given, y):
        if getattr(array.flags, "writeable", True):
            array[...] = 0
    result = _result(layer, x, asarray(output), layer.backward(asarray(g)))
    for label, a, b in _pairs(good, result):
        hint = "; save what backward needs with self.keep, not in attributes"
        _close(b, a, 1e-12, f"input and output changed in place before backward: {label}", hint)


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


def _pairs(a: Result, b: Result) -> list[tuple[str, np.ndarray, np.ndarray]]:
    pairs = [("output", a.y, b.y)]
    pairs += [(_gradient_of(name), a.inputs[name], b.inputs[name]) for name in a.inputs]
    return pairs + [(f"gradient of {name}", a.grads[name], b.grads[name]) for name in a.grads]


def _spread(array: np.ndarray) -> Any:
    """The same values, with a gap after each."""
    wide = np.full((*array.shape, 2), np.nan if is_floating(array.dtype) else 0, dtype=array.dtype)
    wide[..., 0] = array
    return asarray(wide)[..., 0]


def _reversed(array: np.ndarray) -> Any:
    """The same values, in memory with the axes in reverse order."""
    return asarray(np.ascontiguousarray(array.T)).T


def _refuses_backward(layer: Layer, grad: Any, what: str) -> None:
    try:
        layer.backward(grad)
    except BackwardError:
        return
    raise AssertionError(f"{what} must raise BackwardError")


def _equal(got: Any, expected: Any, what: str) -> None:
    if got != expected:
        raise AssertionError(f"{what}: got {got!r}, expected {expected!r}")


def _close(got: np.ndarray, expected: np.ndarray, tolerance: float, what: str, hint: str = "") -> None:
    """Equal to within `tolerance` of the largest expected value; `hint` is for what is off by a lot."""
    _equal(got.shape, expected.shape, f"shape, {what}")
    if not got.size:
        return
    scale = max(float(np.abs(expected).max()), 1e-30)
    worst = float(np.abs(got.astype("float64") - expected).max())
    if not worst <= tolerance * scale:
        hint = hint if worst > 0.1 * scale else ""
        raise AssertionError(f"{what}: off by {worst:.3g} where the largest value is {scale:.3g}{hint}")
