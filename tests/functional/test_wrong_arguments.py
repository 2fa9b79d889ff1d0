"""Every function, and every gradient, with wrong arguments drawn at random from a fixed seed.

Only errors of the library's own come back, which name the function; nothing hangs or takes gigabytes.
"""

import inspect
import random
import re
import zlib

import numpy as np
import pytest
from functional_calls import CALLS
from fuzzing import NEAR, VALUES, WRONG_ARRAYS, bounded, namespace, run

import xpconv
import xpconv.functional as F


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
        for _ in range(40):
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


# --- every argument, with half of the values ---

EXTENDED = ["np.ones((2, 4, 6, 6), 'longdouble')", "np.ones((2, 4, 6, 6), 'clongdouble')"]
CLASSES = [n for n in dir(xpconv) if isinstance(getattr(xpconv, n), type)]
FOREIGN = re.compile(rf"\b({'|'.join(CLASSES)})\b(?!\()")  # names of layers and losses


def texts(name, wrong):
    """The code and the error of each call with a wrong value for this argument."""
    space = {**namespace(), "F": F, "good": CALLS[name]}
    array = isinstance(CALLS[name].get(wrong), np.ndarray)
    values = dict.fromkeys((*VALUES, *NEAR, *(WRONG_ARRAYS + EXTENDED if array else ())))
    # Each takes half of them, so that any value goes to about half of the arguments.
    half = zlib.crc32(f"{name} {wrong}".encode())
    for value in [v for i, v in enumerate(values) if half >> i % 32 & 1]:
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
