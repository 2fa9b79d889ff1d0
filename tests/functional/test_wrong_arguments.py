"""Every function, and every gradient, with wrong arguments drawn at random from a fixed seed.

Only errors of the library's own come back, which name the function; nothing hangs or takes gigabytes.
"""

import inspect
import random
import re

import functional_cases
import numpy as np
import pytest
from fuzzing import NEAR, VALUES, WRONG_ARRAYS, bounded, namespace, run

import xpconv
import xpconv.functional as F

X, W = "np.ones((2, 4, 6, 6), 'float32')", "np.ones((2, 4, 3, 3), 'float32')"
COUNT = {f"{n}d": ("6, " * n).rstrip(", ") for n in (1, 2, 3)}


def calls():
    """The name of each function, and the code of good arguments."""
    for case in {case.name: case for case in functional_cases.CASES}.values():
        arrays, options = functional_cases.arguments(case, "float32")
        y = functional_cases.forward(case, arrays, options)
        yield case.name, {**arrays, **options}
        back = dict(grad_output=np.ones(y.shape, "float32"))
        names = inspect.signature(getattr(F, f"{case.name}_backward")).parameters
        known = {**arrays, **options, "output": y, "num_embeddings": 5}
        if "input" in known:
            known["input_size"] = known["input"].shape
        if case.saved == "indices":
            known["indices"] = getattr(F, case.name)(*arrays.values(), **options, return_indices=True)[1]
        yield f"{case.name}_backward", {**back, **{n: known[n] for n in names if n in known}}
    for n in (1, 2, 3):
        size, few = (6,) * n, (3,) * n
        x, w = np.ones((2, 4, *size), "float32"), np.ones((2, 4, *few), "float32")
        y = getattr(F, f"conv{n}d")(x, w)
        yield f"conv{n}d", dict(input=x, weight=w, bias=np.ones(2, "float32"))
        yield f"conv{n}d_input", dict(input_size=x.shape, weight=w, grad_output=y)
        yield f"conv{n}d_weight", dict(input=x, weight_size=w.shape, grad_output=y)
        yield f"conv{n}d_bias", dict(grad_output=y)
        w = np.ones((4, 2, *few), "float32")
        y = getattr(F, f"conv_transpose{n}d")(x, w)
        yield f"conv_transpose{n}d", dict(input=x, weight=w)
        yield f"conv_transpose{n}d_input", dict(input_size=x.shape, weight=w, grad_output=y)
        yield f"conv_transpose{n}d_weight", dict(input=x, weight_size=w.shape, grad_output=y)
    x = np.ones((2, 4, 6, 6), "float32")
    yield "pad", dict(input=x, pad=(1, 2))
    yield "pad_backward", dict(grad_output=np.ones((2, 4, 6, 9), "float32"), pad=(1, 2))
    yield "unfold", dict(input=x, kernel_size=2)
    yield "unfold_backward", dict(grad_output=F.unfold(x, 2), input_size=x.shape, kernel_size=2)
    yield "fold", dict(input=F.unfold(x, 2), output_size=(6, 6), kernel_size=2)
    yield "fold_backward", dict(grad_output=x, kernel_size=2)
    yield "interpolate", dict(input=x, size=(3, 4))
    yield "interpolate_backward", dict(grad_output=F.interpolate(x, (3, 4)), input_size=x.shape, size=(3, 4))
    rows, weight = np.ones((3, 4), "float32"), np.ones((2, 4), "float32")
    yield "linear", dict(input=rows, weight=weight)
    yield "linear_input", dict(input_size=(3, 4), weight=weight, grad_output=np.ones((3, 2), "float32"))
    yield "linear_weight", dict(input=rows, weight_size=(2, 4), grad_output=np.ones((3, 2), "float32"))
    yield "linear_bias", dict(grad_output=np.ones((3, 2), "float32"))
    for name in ("dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout"):
        x = np.ones((2, 4, *(5,) * int(name[-2] if name[-1] == "d" else 0)), "float32")
        yield name, dict(input=x, p=0.5, training=True, rng=0)
        mask = getattr(F, name)(x, 0.5, True, return_mask=True)[1]
        yield f"{name}_backward", dict(grad_output=x, mask=mask, p=0.5)
    yield "one_hot", dict(input=np.array([0, 2]), num_classes=3)


CALLS = {
    name: {k: np.array(v) if isinstance(v, np.ndarray) else v for k, v in given.items()}
    for name, given in calls()
}


def test_every_function_is_called():
    assert CALLS.keys() == set(F.__all__)


@pytest.mark.sample(8)
@pytest.mark.parametrize("name", CALLS)
def test_wrong_arguments(name):
    rng, space, faults = random.Random(name), {**namespace(), "F": F, "good": CALLS[name]}, []
    code = f"F.{name}(**good)"
    assert run(code, (), space) == (None, True), code
    parameters = list(inspect.signature(getattr(F, name)).parameters)
    arrays = [n for n, v in CALLS[name].items() if isinstance(v, np.ndarray)]
    with bounded():
        for _ in range(60):
            wrong = rng.choice(parameters)
            values = WRONG_ARRAYS + VALUES if wrong in arrays else VALUES if rng.random() < 0.6 else NEAR
            bad = {wrong: rng.choice(values)}
            if rng.random() < 0.2:
                bad[rng.choice(parameters)] = rng.choice(NEAR)
            given = ", ".join(f"{n!r}: {v}" for n, v in bad.items())
            code = f"F.{name}(**{{**good, {given}}})"
            fault, _ = run(code, (f"functional.{name}",), space)
            if fault:
                faults.append(f"{code}: {fault}")
    assert not faults, "\n".join(faults)


# --- every argument, with every value ---

EXTENDED = ["np.ones((2, 4, 6, 6), 'longdouble')", "np.ones((2, 4, 6, 6), 'clongdouble')"]
CLASSES = [n for n in dir(xpconv) if isinstance(getattr(xpconv, n), type)]
FOREIGN = re.compile(rf"\b({'|'.join(CLASSES)})\b(?!\()")  # names of layers and losses


def texts(name, wrong):
    """The code and the error of each call with a wrong value for this argument."""
    space = {**namespace(), "F": F, "good": CALLS[name]}
    array = isinstance(CALLS[name].get(wrong), np.ndarray)
    for value in (*VALUES, *NEAR, *(WRONG_ARRAYS + EXTENDED if array else ())):
        code = f"F.{name}(**{{**good, {wrong!r}: {value}}})"
        try:
            eval(code, space)
        except Exception as error:  # noqa: BLE001
            yield value, code, error


@pytest.mark.skipif(np.dtype("longdouble") == np.float64, reason="long double is float64 here")
def test_fixes_name_the_argument():
    x, wide = np.ones((1, 1, 4, 4)), np.ones((1, 1, 4, 4), "longdouble")
    with pytest.raises(TypeError, match=r"functional.conv2d: weight is .*; use weight.astype\('float64'\)"):
        F.conv2d(x, wide)
    with pytest.raises(TypeError, match=r"functional.mse_loss: target is .*; use target.astype\('float64'\)"):
        F.mse_loss(x, wide)
    swapped = x.astype(x.dtype.newbyteorder())
    with pytest.raises(TypeError, match=r"functional.conv2d: weight is .*; use weight.astype\('float64'\)"):
        F.conv2d(x, swapped)


@pytest.mark.sample(8)
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CALLS)
def test_errors_begin_with_the_function_and_name_its_argument(name):
    faults = []
    parameters = list(inspect.signature(getattr(F, name)).parameters)
    known = re.compile(rf"\b({'|'.join(parameters)})\b")
    with bounded():
        for wrong in parameters:
            for value, code, error in texts(name, wrong):
                text = str(error)
                body = text.removeprefix(f"functional.{name}")
                own = (body.replace(value, "") if len(value) > 4 else body).partition("; it takes")[0]
                own = re.sub(r"xpconv\.\w+|'[^']*'|<[^>]*>", "", own)
                if body == text or body[:1] not in ":":
                    faults.append(f"{code}: {type(error).__name__}: {text[:150]}")
                elif not known.search(own) or (FOREIGN.search(own) and "xpconv" not in value):
                    faults.append(f"{code}: names no argument of its own: {text[:150]}")
    assert not faults, "\n".join(faults)
