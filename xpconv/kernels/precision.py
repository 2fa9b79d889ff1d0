"""Settings for the precision and the determinism of products on a GPU."""

from __future__ import annotations

from typing import Any

from ..arguments import to_bool

_tf32: bool | None = None  # None: not set, so CuPy's own setting is used
_nondeterministic = False
_passed_to_cupy = True  # whether `_tf32` was passed to CuPy
COMPUTE_DEFAULT, COMPUTE_TF32 = 1, 7  # CuPy's constants


def allow_tf32(allow: bool = True) -> None:
    """Let float32 products on a GPU round their factors to TensorFloat-32, for all threads.

    That is 10 bits of mantissa instead of 23, and faster, from compute capability 8.0 on; sums stay in
    float32. Off by default, unlike in PyTorch for convolutions. On a CPU it does nothing.

    Example:
        >>> import xpconv
        >>> xpconv.cuda.allow_tf32()
        >>> xpconv.cuda.tf32_allowed()
        True
        >>> xpconv.cuda.allow_tf32(False)
    """
    global _tf32, _passed_to_cupy
    _tf32, _passed_to_cupy = to_bool("allow_tf32: allow", allow), False


def tf32_allowed() -> bool:
    """Whether `allow_tf32` is on.

    Example:
        >>> import xpconv
        >>> xpconv.cuda.tf32_allowed()
        False
    """
    return bool(_tf32)


def allow_nondeterministic(allow: bool = True) -> None:
    """Let cuDNN take algorithms that add in another order every time, for all threads.

    Off by default: then the same numbers in give the same numbers out, to the last bit, as from every other
    kernel of this library. On, some gradients of convolutions may be faster. On a CPU it does nothing.

    Example:
        >>> import xpconv
        >>> xpconv.cuda.allow_nondeterministic()
        >>> xpconv.cuda.nondeterministic_allowed()
        True
        >>> xpconv.cuda.allow_nondeterministic(False)
    """
    global _nondeterministic
    _nondeterministic = to_bool("allow_nondeterministic: allow", allow)


def nondeterministic_allowed() -> bool:
    """Whether `allow_nondeterministic` is on.

    Example:
        >>> import xpconv
        >>> xpconv.cuda.nondeterministic_allowed()
        False
    """
    return _nondeterministic


def pass_to_cupy(xp: Any) -> None:
    """Pass the setting to CuPy before its next product."""
    global _passed_to_cupy
    if not _passed_to_cupy and hasattr(xp, "_core"):
        xp._core.set_compute_type("f", COMPUTE_TF32 if _tf32 else COMPUTE_DEFAULT)
        _passed_to_cupy = True
