"""The setting that rules out algorithms whose rounding differs from the definition's."""

from __future__ import annotations

from ..arguments import to_bool

__all__ = ["is_exact", "set_exact"]

_exact = False


def set_exact(exact: bool = True) -> None:
    """Choose among the algorithms of convolution only those that round, and pass NaN on, like the definition.

    Winograd's convolution, which large 3×3 ones on a CPU take otherwise, is off by some 1e-5 of the largest
    output in float32, where the definition is off by 3e-7. Large kernels take Fourier transforms, which are
    off by some 1e-6. There, and with few output channels, a NaN or an infinity also makes NaN of some pixels
    beside those that see it. For all threads.

    Example:
        >>> import xpconv
        >>> xpconv.set_exact(True)
        >>> xpconv.is_exact()
        True
        >>> xpconv.set_exact(False)
    """
    global _exact
    _exact = to_bool("set_exact: exact", exact)


def is_exact() -> bool:
    """Whether `set_exact` rules out all but the definition's rounding.

    Example:
        >>> import xpconv
        >>> xpconv.is_exact()
        False
    """
    return _exact
