"""Special functions that the array modules lack."""

from __future__ import annotations

from typing import Any

from ..backend import Array

# Coefficients of W. J. Cody, "Rational Chebyshev approximations for the error function", Mathematics of
# Computation 23 (1969), as in his CALERF (SPECFUN, netlib); highest power first.
_SMALL = (
    (1.85777706184603153e-1, 3.16112374387056560, 1.13864154151050156e2, 3.77485237685302021e2,
     3.20937758913846947e3),
    (1.0, 2.36012909523441209e1, 2.44024637934444173e2, 1.28261652607737228e3, 2.84423683343917062e3),
)  # fmt: skip
_LARGE = (
    (2.15311535474403846e-8, 5.64188496988670089e-1, 8.88314979438837594, 6.61191906371416295e1,
     2.98635138197400131e2, 8.81952221241769090e2, 1.71204761263407058e3, 2.05107837782607147e3,
     1.23033935479799725e3),
    (1.0, 1.57449261107098347e1, 1.17693950891312499e2, 5.37181101862009858e2, 1.62138957456669019e3,
     3.29079923573345963e3, 4.36261909014324716e3, 3.43936767414372164e3, 1.23033935480374942e3),
)  # fmt: skip


def erf(xp: Any, x: Array) -> Array:
    """The error function `2/√π ∫₀ˣ exp(-t²) dt`, to the rounding of `x`'s dtype.

    With the rational functions R and S of Cody (1969):

        x R(x²)                          for |x| < 0.46875
        sign(x) (1 - exp(-x²) S(|x|))    from there to 6, beyond which the result is ±1

    S is made for |x| up to 4; from 4 to 6 its error is far below that of 1 - exp(-x²) S, which is all but 1.
    float16 and bfloat16 are computed in float32, as the coefficients overflow.
    """
    if x.dtype.itemsize < 4:
        return erf(xp, x.astype("float32")).astype(x.dtype)
    a = xp.minimum(xp.abs(x), 6)
    near = xp.minimum(a, 0.46875)
    small = a * _ratio(near * near, *_SMALL)
    large = 1 - xp.exp(-a * a) * _ratio(a, *_LARGE)
    return xp.copysign(xp.where(a < 0.46875, small, large), x)


def _ratio(x: Array, top: tuple[float, ...], bottom: tuple[float, ...]) -> Array:
    """The quotient of two polynomials, each by Horner's rule."""
    p, q = x * top[0], x * bottom[0]
    for c, d in zip(top[1:-1], bottom[1:-1], strict=True):
        p = (p + c) * x
        q = (q + d) * x
    return (p + top[-1]) / (q + bottom[-1])
