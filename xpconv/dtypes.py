"""Dtypes: what a user names, which are floating, and the errors for the others."""

from __future__ import annotations

from typing import Any

from .backend import Array
from .errors import DTypeError


def byte_order_error(where: str, array: Array, argument: str = "x") -> DTypeError:
    """The error for an array in another byte order than this machine's, as in FITS and IDX files."""
    return DTypeError(
        f"{where} is {array.dtype}, whose byte order is not this machine's; use "
        f"{argument}.astype('{array.dtype.newbyteorder('=')}')"
    )


def check_usable(where: str, array: Array, argument: str) -> None:
    """Raise an error for another byte order, and for `numpy.longdouble`, for which there is no BLAS.

    What it refuses must pass the condition in `checks.owner_of`, too, which saves a call for each array.
    """
    argument = argument if argument.isidentifier() else "x"
    if not array.dtype.isnative:
        raise byte_order_error(where, array, argument)
    if array.dtype.kind in "fc" and array.dtype.char in ("g", "G"):  # float8 has a letter "G", too
        most = "complex128" if array.dtype.kind == "c" else "float64"
        raise DTypeError(
            f"{where} is {array.dtype}, expected {most} at most; use {argument}.astype('{most}')"
        )


def to_dtype(where: str, xp: Any, dtype: Any) -> Any:
    """`dtype` as a dtype object; an error begins with `where`, the name of the function or layer."""
    try:
        return xp.dtype(dtype)
    except Exception as cause:  # TypeError, and ValueError or others of dictionaries, lists and strings
        hint = ""
        if str(dtype) == "bfloat16":
            hint = "; it is for GPUs; NumPy knows it after `pip install ml_dtypes` and `import ml_dtypes`"
        if "torch." in str(dtype):
            hint = f"; give its name: {str(dtype).removeprefix('torch.')!r}"
        message = f"{where}: dtype is {dtype!r:.200}, which is no dtype of {xp.__name__}{hint}"
        raise DTypeError(message) from cause


def is_floating(dtype: Any) -> bool:
    """Whether a dtype object is a real floating one, bfloat16 included, whose kind in NumPy is "V"."""
    return bool(dtype.kind == "f" or (dtype.kind == "V" and dtype.name == "bfloat16"))


def epsilon(dtype: Any) -> float:
    """The machine epsilon of the dtype that values of `dtype` are computed in: float32 for half precision."""
    return 2.0**-52 if dtype.itemsize == 8 else 2.0**-23


def check_floating(where: str, xp: Any, dtype: Any) -> Any:
    """`dtype` as a dtype object in the machine's byte order; an error if it is not floating."""
    found = to_dtype(where, xp, dtype)
    if not is_floating(found):
        given = dtype if isinstance(dtype, str) else found
        raise DTypeError(f"{where}: dtype is {given}, expected a floating dtype, such as 'float32'")
    return found.newbyteorder("=")
