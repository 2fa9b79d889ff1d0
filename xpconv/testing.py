"""Checks for layers, ours and yours: gradients against finite differences, and the whole contract.

One call checks a layer of your own:

    from xpconv.testing import assert_layer_ok

    assert_layer_ok(lambda: MyLayer(3), x)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from .arguments import shown, to_bool, to_float, to_int
from .backend import use_backend
from .contract import Result, check_close, check_gradients, check_layer, check_same
from .dtypes import is_floating
from .errors import DTypeError
from .layers import Layer
from .signatures import hinted

__all__ = ["assert_layer_ok", "gradcheck"]

TUPLE = "several inputs are one tuple"


@hinted("gradcheck", {"*": f"{TUPLE}: gradcheck(layer, (a, b))"})
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
    check_gradients(lambda: layer, inputs, eps, rtol, seed)


@hinted("assert_layer_ok", {"*": f"{TUPLE}: assert_layer_ok(make, (a, b))"})
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

            results[backend] = check_layer(fresh, inputs, seed)
            if reference is not None:
                check_close(results[backend].y, expected, 1e-10, f"{backend}: output against the reference")
    names = list(results)
    for name in names[1:]:
        check_same(results[names[0]], results[name], 1e-10, f"{name} against {names[0]}")
