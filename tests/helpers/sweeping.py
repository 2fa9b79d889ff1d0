"""A call with CuPy arrays on the simulated driver; all but the values, which mean nothing, is compared with NumPy.

Only for code of `launches.run`: `fakecuda` has to be imported before CuPy.
"""

import numpy as np
from fakecuda import counted

import xpconv

AWAY = "syncs", "uploads", "downloads"  # a call that stays on the device does none of these


def flat(value):
    """The arrays and other values in nested tuples and lists."""
    return [x for part in value for x in flat(part)] if isinstance(value, tuple | list) else [value]


def described(results):
    return [(a.shape, str(a.dtype)) if hasattr(a, "dtype") else a for a in results]


def faults(make):
    """What is wrong with `make()()`: `make` makes arrays on the active backend, and returns what is checked.

    The results must be CuPy arrays with the shapes and dtypes of NumPy's results. Only the second call is counted, as
    the first one may copy small tables to the device.
    """
    with xpconv.use_backend("numpy"), np.errstate(all="ignore"):
        expected = flat(make()())
    found, kind = [], xpconv.get_xp().ndarray
    try:
        call = make()
        call()
        done = counted(lambda: found.extend(flat(call())))
    except Exception as error:  # noqa: BLE001
        return [f"{type(error).__name__}: {error}"[:300]]
    wrong = [f"{done[name]} {name}" for name in AWAY if name in done]
    if described(found) != described(expected):
        wrong.append(f"{described(found)}, expected {described(expected)}")
    return wrong + [f"a result is {type(a)}" for a in found if hasattr(a, "dtype") and type(a) is not kind]
