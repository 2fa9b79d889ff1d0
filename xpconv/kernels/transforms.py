"""Fourier transforms of pieces of images, for any array module: FFTs, or products with the DFT's matrix.

A matrix product needs many more operations, but BLAS does about fifty times as many of them in a second as
NumPy's FFT. It also skips the zeros between pixels and around a kernel, and outputs that are not needed. Its
operands are read without copies, and its results are in the order that the next product reads:

    pieces (…, h, w)  →  (…, w', h), by the matrix for the last axis  →  (w', h', …), by that for the other

and back in the opposite order. All numbers are real: a complex number is stored as its real and imaginary
parts, and a complex entry of a matrix as the 2×2 real matrix that multiplies by it.

The spectra of pieces `(G, A, *Q, *S)` are `(G, F, A, Q)`, with the frequencies in any order; those by
matrices are `(G, F, 2·A, Q)`, with all real parts before all imaginary ones.
"""

from __future__ import annotations

from collections.abc import Callable
from math import pi, prod
from typing import Any

from ..backend import Array
from ..geometry import Shape

Places = tuple[range, ...]  # the positions of the pixels in a piece, along each axis
KEPT_BYTES = 1 << 24  # of the DFT's matrices that are kept


def frequencies(size: Shape, dtype: Any) -> Shape:
    """The shape of the transform of a piece; for real arrays, the last axis has half of the frequencies."""
    return size if dtype.kind == "c" else (*size[:-1], size[-1] // 2 + 1)


def forward(
    on: Any, pieces: Array, at: Places, size: Shape, sign: int, by_matrices: bool, factors: bool = False
) -> Array:
    """The spectra of pieces with pixels at the positions `at`; `sign` is that of the exponent.

    With `factors`, those by matrices are `(G, F, 2·A, 2·Q)`, with `[[a, -b], [b, a]]` for each `a + ib`, so
    that a real product with them multiplies other spectra.
    """
    if by_matrices:
        return _forward_by_matrices(on, pieces, at, size, sign, factors)
    return _forward_by_fft(on, pieces, at, size, sign)


def backward(on: Any, spectra: Array, at: Places, size: Shape, dtype: Any, by_matrices: bool) -> Array:
    """The pixels `(G, A, Q, *S)` at the positions `at` of pieces with these spectra."""
    return (_backward_by_matrices if by_matrices else _backward_by_fft)(on, spectra, at, size, dtype)


def _forward_by_fft(on: Any, pieces: Array, at: Places, size: Shape, sign: int) -> Array:
    xp, axes, lead = on.xp, len(size), pieces.shape[: -len(size)]
    transform = xp.fft.fftn if pieces.dtype.kind == "c" else xp.fft.rfftn
    spread = any((some.start, some.step) != (0, 1) for some in at)
    result = on.empty((lead[0], prod(frequencies(size, pieces.dtype)), *lead[1:]), _complex(pieces.dtype))
    by_piece = xp.moveaxis(result, 1, -1)
    places = (..., *(slice(some.start, some.stop, some.step) for some in at))
    last = tuple(range(-axes, 0))

    def task(part: tuple[slice, ...]) -> None:
        some = pieces[part] if sign < 0 else pieces[part].conj()
        if spread:
            wide = xp.zeros((*some.shape[:-axes], *size), dtype=some.dtype)
            wide[places] = some
            some = wide
        found = transform(some, size, last).reshape(*some.shape[:-axes], -1)
        by_piece[part] = found if sign < 0 else found.conj()

    _share(on, task, lead, result.size)
    return result.reshape(*result.shape[:3], -1)


def _backward_by_fft(on: Any, spectra: Array, at: Places, size: Shape, dtype: Any) -> Array:
    xp, axes = on.xp, len(size)
    groups, _, rows, columns = spectra.shape
    each = frequencies(size, dtype)
    result = on.empty((groups, rows, columns, *map(len, at)), dtype)
    places = (..., *(slice(some.start, some.stop, some.step) for some in at))
    last = tuple(range(-axes, 0))

    def task(part: tuple[slice, ...]) -> None:
        some = xp.ascontiguousarray(xp.moveaxis(spectra, 1, -1)[part])
        some = some.reshape(*some.shape[:-1], *each)
        found = xp.fft.ifftn(some, axes=last) if dtype.kind == "c" else xp.fft.irfftn(some, size, axes=last)
        result[part] = found[places]

    _share(on, task, result.shape[:3], spectra.size)
    return result


def _forward_by_matrices(on: Any, pieces: Array, at: Places, size: Shape, sign: int, factors: bool) -> Array:
    xp, lead, dtype, (high, wide) = on.xp, pieces.shape[:-2], pieces.dtype, frequencies(size, pieces.dtype)
    cos, sin = _waves(on, size[1], wide, at[1], dtype)
    of_row = xp.stack((cos, sign * sin), 1).reshape(2 * wide, -1)
    if factors:  # the same rows times i as well
        of_row = xp.stack((of_row, xp.stack((-sign * sin, cos), 1).reshape(2 * wide, -1)))[:, None]
        lead, pieces = (*lead[:2], 2, lead[2]), pieces[:, :, None]
    first = on.empty((*lead, 2 * wide, len(at[0])), dtype)

    def along_rows(part: tuple[slice, ...]) -> None:
        xp.matmul(of_row, pieces[part].swapaxes(-1, -2), out=first[part])

    _share(on, along_rows, lead[:2] if factors else lead, first.size)
    cos, sin = _waves(on, size[0], high, at[0], dtype)
    of_column = xp.stack((xp.hstack((cos, -sign * sin)), xp.hstack((sign * sin, cos))), 1)  # (h', 2, (2, h))
    columns = first.reshape(lead[0], -1, wide, 2 * len(at[0])).transpose(0, 2, 3, 1)
    second = on.empty((lead[0], wide, 2 * high, columns.shape[-1]), dtype)

    def along_columns(some: slice) -> None:
        xp.matmul(of_column.reshape(2 * high, -1), columns[:, some], out=second[:, some])

    on.run(along_columns, wide, second.size)
    return second.reshape(lead[0], wide * high, 2 * lead[1], -1)


def _backward_by_matrices(on: Any, spectra: Array, at: Places, size: Shape, dtype: Any) -> Array:
    xp, groups, (high, wide) = on.xp, len(spectra), frequencies(size, dtype)
    k, places = spectra.shape[2] // 2, spectra.shape[3]
    cos, sin = _waves(on, size[0], high, at[0], dtype) / prod(size)
    of_column = xp.stack((xp.hstack((cos, sin)), xp.hstack((-sin, cos))), 1)  # (h', 2, (2, h)), transposed
    of_column = of_column.reshape(2 * high, -1).T
    spectra = spectra.reshape(groups, wide, 2 * high, k * places)
    first = on.empty((groups, wide, 2 * len(at[0]), k * places), dtype)

    def along_columns(some: slice) -> None:
        xp.matmul(of_column, spectra[:, some], out=first[:, some])

    on.run(along_columns, wide, spectra.size)
    cos, sin = _waves(on, size[1], wide, at[1], dtype)
    of_row = xp.stack((cos, -sin), 1)
    of_row[1 : (size[1] + 1) // 2] *= 2  # they stand for the negative frequencies too
    of_row = of_row.reshape(2 * wide, -1)
    rows = first.reshape(groups, 2 * wide, len(at[0]), -1).transpose(0, 2, 3, 1)
    second = on.empty((groups, len(at[0]), k * places, len(at[1])), dtype)

    def along_rows(some: slice) -> None:
        xp.matmul(rows[:, some], of_row, out=second[:, some])

    on.run(along_rows, len(at[0]), second.size)
    return second.reshape(groups, len(at[0]), k, places, -1).transpose(0, 2, 3, 1, 4)


def _waves(on: Any, size: int, frequencies: int, at: range, dtype: Any) -> Array:
    """Cosine and sine `(2, frequencies, places)` of the DFT of one axis; the device keeps some."""
    xp, key = on.xp, (size, frequencies, at, dtype)
    found: Array | None = on.kept.get(key)
    if found is not None:
        return found
    turns = xp.arange(frequencies)[:, None] * xp.arange(at.start, at.stop, at.step) % size
    angles = turns * (2 * pi / size)
    waves: Array = xp.stack((xp.cos(angles), xp.sin(angles))).astype(dtype)
    if sum(other.nbytes for other in list(on.kept.values())) + waves.nbytes > KEPT_BYTES:
        on.kept.clear()
    on.kept[key] = waves
    return waves


def _share(on: Any, task: Callable[[tuple[slice, ...]], None], lead: Shape, elements: int) -> None:
    """Run `task` on parts of arrays whose first axes are `lead`, cut along the longest of these."""
    along = max(range(len(lead)), key=lead.__getitem__)
    on.run(lambda some: task((slice(None),) * along + (some,)), lead[along], elements)


def _complex(dtype: Any) -> str:
    return "complex64" if str(dtype) in ("float32", "complex64") else "complex128"
