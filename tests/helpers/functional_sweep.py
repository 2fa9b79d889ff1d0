"""Calls of all functions with CuPy arrays on the simulated driver; all but the values is compared with NumPy.

Only for code of `launches.run`: `fakecuda` has to be imported before CuPy.
"""

from functools import partial

import numpy as np
from sweeping import faults

import xpconv
import xpconv.functional as F

with xpconv.use_backend("numpy"):
    import functional_calls
    import functional_cases
from functional_cases import NO_HALF, device

DTYPES = "float32", "float64", "float16", "complex64"


# --- rows of `functional_cases` ---


def plain(x):
    return x


def wide(x):
    """A gap after each element."""
    spread = xpconv.get_xp(x).zeros((*x.shape, 2), dtype=x.dtype)
    spread[..., 0] = x
    return spread[..., 0]


def in_layout(arrays, layout):
    return {n: layout(v) if hasattr(v, "ndim") else v for n, v in arrays.items()}


def case_forward(case, dtype, layout=plain):
    arrays, options = functional_cases.arguments(case, dtype)
    return partial(functional_cases.forward, case, in_layout(arrays, layout), options)


def case_backward(case, dtype, layout=plain):
    arrays, options = functional_cases.arguments(case, dtype)
    y = functional_cases.forward(case, arrays, options)
    grad = layout(xpconv.get_xp(y).ones(y.shape, dtype=y.dtype))
    return partial(functional_cases.backward, case, grad, y, in_layout(arrays, layout), options)


def first_rows(arrays, names):
    return {n: v[:0] if n in names else v for n, v in arrays.items()}


def rows():
    """The name of a function, a description of the call, and a function that makes it; lengths are arrays, not tuples."""
    for row in functional_cases.CASES:
        case = row._replace(
            fixed={n: np.array(v) if isinstance(v, tuple) else v for n, v in row.fixed.items()}
        )
        for dtype in DTYPES[: 3 + case.linear]:
            if dtype == "float16" and case.name in NO_HALF:
                continue
            for layout in (plain, wide) if dtype == "float32" else (plain,):
                what = f"{case.options} {dtype} {layout.__name__}"
                yield case.name, what, partial(case_forward, case, dtype, layout)
                yield f"{case.name}_backward", what, partial(case_backward, case, dtype, layout)
        if case.exact:
            whole = case._replace(inputs={n: (9 * v).astype("int32") for n, v in case.inputs.items()})
            yield case.name, f"{case.options} int32", partial(case_forward, whole, None)
        if functional_cases.has_batch(case):
            empty = case._replace(
                inputs=first_rows(case.inputs, "input"), fixed=first_rows(case.fixed, "indices")
            )
            yield case.name, f"{case.options} empty", partial(case_forward, empty, "float32")
            yield f"{case.name}_backward", f"{case.options} empty", partial(case_backward, empty, "float32")


# --- good arguments of `functional_calls`, and further options ---


def good_call(name, options, dtype):
    given = {**functional_calls.CALLS[name], **options}
    return partial(getattr(F, name), **{n: device(v, dtype) for n, v in given.items()})


def ones(*shape):
    return np.ones(shape, "float32")


def convolutions():
    """Options of convolutions and of their gradients: groups, strides, borders, large kernels, no batch."""
    for n in (1, 2, 3):
        for groups, channels, kernel, options in (
            (2, 2, 3, {"stride": 2, "padding": 1}),
            (4, 1, 3, {"padding": 2, "dilation": 2}),
            (1, 4, 1, {}),
            (1, 4, 5, {"padding": 2}),
        ):
            x, w = ones(2, 4, *(7,) * n), ones(8, channels, *(kernel,) * n)
            options = {**options, "groups": groups}
            grad = getattr(F, f"conv{n}d")(x, w, **options)
            yield f"conv{n}d", dict(input=x, weight=w, bias=ones(8), **options)
            yield f"conv{n}d", dict(input=x[0], weight=w, bias=None, **options)
            yield f"conv{n}d_input", dict(input_size=x.shape, weight=w, grad_output=grad, **options)
            yield f"conv{n}d_weight", dict(input=x, weight_size=w.shape, grad_output=grad, **options)
            w = ones(4, 8 // groups, *(kernel,) * n)
            grad = getattr(F, f"conv_transpose{n}d")(x, w, **options)
            yield f"conv_transpose{n}d", dict(input=x, weight=w, bias=ones(8), **options)
            yield f"conv_transpose{n}d_input", dict(input_size=x.shape, weight=w, grad_output=grad, **options)
            yield (
                f"conv_transpose{n}d_weight",
                dict(input=x, weight_size=w.shape, grad_output=grad, **options),
            )


def others():
    x = ones(2, 4, 6, 6)
    for mode in ("constant", "reflect", "replicate", "circular"):
        for image, pad in ((x[0], (1, 2)), (x, (1, 2, 0, 3))):
            yield "pad", dict(input=image, pad=pad, mode=mode)
            yield "pad_backward", dict(grad_output=F.pad(image, pad, mode), pad=pad, mode=mode)
    for mode, shape in (
        ("nearest", (2, 4, 6)), ("nearest", x.shape), ("nearest-exact", x.shape), ("area", x.shape),
        ("linear", (2, 4, 6)), ("bilinear", x.shape), ("bicubic", x.shape), ("trilinear", (2, 4, 6, 6, 6)),
    ):  # fmt: skip
        for options in ({"size": 4}, {"scale_factor": 1.5}):
            image, options = ones(*shape), {**options, "mode": mode}
            grad = F.interpolate(image, **options)
            yield "interpolate", dict(input=image, **{"size": None, **options})
            yield (
                "interpolate_backward",
                dict(grad_output=grad, input_size=shape, **{"size": None, **options}),
            )
    options = {"kernel_size": (2, 3), "stride": 2, "padding": 1, "dilation": (1, 2)}
    columns = F.unfold(x, **options)
    yield "unfold", dict(input=x, **options)
    yield "unfold_backward", dict(grad_output=columns, input_size=x.shape, **options)
    yield "fold", dict(input=columns, output_size=(6, 6), **options)
    yield "fold_backward", dict(grad_output=x, **options)
    for name in ("dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout"):
        yield name, dict(rng=None, return_mask=True)
    yield "linear", dict(input=ones(2, 3, 4), weight=ones(5, 4), bias=ones(5))
    yield "linear", dict(input=ones(4), weight=ones(5, 4), bias=ones(5))


def calls():
    for name, given in functional_calls.CALLS.items():
        tuples = {n: np.array(v) for n, v in given.items() if n.endswith("lengths")}
        options = tuples | ({"rng": None} if "rng" in given else {})  # a seed would be copied to the device
        yield name, "its good call", partial(good_call, name, options, "float32")
    with xpconv.use_backend("numpy"):
        given = [*convolutions(), *others()]
    for name, options in given:
        for dtype in DTYPES[:3] if "dropout" in name else DTYPES:
            shown = {n: v.shape if hasattr(v, "shape") else v for n, v in options.items()}
            yield name, f"{shown} {dtype}", partial(good_call, name, options, dtype)


def found():
    """The faults of all calls, by the name of the function; None where it was not called."""
    wrong = dict.fromkeys(F.__all__)
    for name, what, make in (*rows(), *calls()):
        wrong[name] = (wrong[name] or []) + [f"{what}: {text}" for text in faults(make)]
    return wrong
