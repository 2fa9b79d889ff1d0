"""SigPy's three convolutions, on NumPy and on CuPy without cuDNN: the arguments and results are SigPy's.

python3 examples/sigpy_convolution.py

`data` is `(…, m_1, …, m_D)` and `filt` `(n_1, …, n_D)`; with `multi_channel` they are `(…, c_i, m_1, …, m_D)`
and `(c_o, c_i, n_1, …, n_D)`, and the output is `(…, c_o, p_1, …, p_D)`. D is 1, 2 or 3. SigPy's convolution
flips the filter; that of neural networks, which `xpconv.functional` has, does not. These lines replace
SigPy's functions by these, copy this file beside your script:

    import sigpy, sigpy_convolution

    for name in ("convolve", "convolve_data_adjoint", "convolve_filter_adjoint"):
        for module in (sigpy, sigpy.conv):
            setattr(module, name, getattr(sigpy_convolution, name))
"""

from __future__ import annotations

from math import prod
from types import SimpleNamespace
from typing import Any

import numpy as np

from xpconv import functional as F
from xpconv import get_xp


def convolve(
    data: Any, filt: Any, mode: str = "full", strides: Any = None, multi_channel: bool = False
) -> Any:
    """The convolution of `data` and `filt`; mode `'full'` includes the border, mode `'valid'` does not."""
    how = _how(data.shape, filt.shape, mode, strides, multi_channel)
    data, filt = _of_one_dtype(data, filt)
    weight = how.flip(filt.reshape(how.filt))
    return how.conv("", data.reshape(how.data), weight).reshape(how.result)


def convolve_data_adjoint(
    output: Any,
    filt: Any,
    data_shape: Any,
    mode: str = "full",
    strides: Any = None,
    multi_channel: bool = False,
) -> Any:
    """The adjoint of `convolve` with respect to the data: `⟨convolve(x, filt), output⟩ = ⟨x, adjoint⟩`."""
    how = _how(data_shape, filt.shape, mode, strides, multi_channel)
    output, filt = _of_one_dtype(how.check(output), filt)
    weight = how.flip(filt.reshape(how.filt))
    return how.conv("_input", how.data, weight, output.reshape(how.output)).reshape(tuple(data_shape))


def convolve_filter_adjoint(
    output: Any,
    data: Any,
    filt_shape: Any,
    mode: str = "full",
    strides: Any = None,
    multi_channel: bool = False,
) -> Any:
    """The adjoint of `convolve` with respect to the filter: `⟨convolve(data, f), output⟩ = ⟨f, adjoint⟩`."""
    how = _how(data.shape, filt_shape, mode, strides, multi_channel)
    output, data = _of_one_dtype(how.check(output), data)
    grad = how.conv("_weight", data.reshape(how.data), how.filt, output.reshape(how.output))
    return how.flip(grad).reshape(tuple(filt_shape))


def _of_one_dtype(a: Any, b: Any) -> tuple[Any, Any]:
    """Both on the device of the first, in the dtype that holds the values of both."""
    xp = get_xp(a)
    dtype = xp.result_type(a.dtype, b.dtype)
    return xp.asarray(a, dtype=dtype), xp.asarray(b, dtype=dtype)


def _how(data_shape: Any, filt_shape: Any, mode: str, strides: Any, multi_channel: bool) -> SimpleNamespace:
    """The shapes in the form `(N, C, …)`, the convolution with its settings, and the flip of a filter."""
    axes = len(filt_shape) - 2 * multi_channel
    if axes not in (1, 2, 3) or len(data_shape) < axes + multi_channel:
        raise ValueError(
            f"got data of {tuple(data_shape)} and a filter of {tuple(filt_shape)}, expected 1 to 3 axes"
        )
    lead, m, n = data_shape[: -axes - multi_channel], data_shape[-axes:], filt_shape[-axes:]
    inputs, outputs = (filt_shape[1], filt_shape[0]) if multi_channel else (1, 1)
    if multi_channel and data_shape[-axes - 1] != inputs:
        raise ValueError(f"data has {data_shape[-axes - 1]} channels, but the filter is for {inputs}")
    stride = (1,) * axes if strides is None else tuple(np.ravel(strides).tolist())
    if (
        np.ndim(strides or 0) > 1
        or len(stride) != axes
        or not all(isinstance(s, int) and s > 0 for s in stride)
    ):
        raise ValueError(f"strides are {strides}, expected {axes} ints of at least 1")
    if mode == "full":
        padding = tuple(k - 1 for k in n)
    elif mode == "valid":
        padding = tuple(max(k - size, 0) for size, k in zip(m, n, strict=True))
        if any(padding) and any(size > k for size, k in zip(m, n, strict=True)):
            raise ValueError(
                "valid: data or filter must be at least as large as the other one along every axis"
            )
    else:
        raise ValueError(f"mode is {mode!r}, expected 'full' or 'valid'")
    size = tuple((a + 2 * p - k) // s + 1 for a, k, p, s in zip(m, n, padding, stride, strict=True))

    def conv(which: str, *arguments: Any) -> Any:
        return getattr(F, f"conv{axes}d{which}")(*arguments, stride=stride, padding=padding)

    result = (*lead, *(outputs,) * multi_channel, *size)

    def check(output: Any) -> Any:
        if output.shape != result:
            raise ValueError(f"output has shape {output.shape}, expected {result}")
        return output

    return SimpleNamespace(
        data=(prod(lead), inputs, *m),
        filt=(outputs, inputs, *n),
        output=(prod(lead), outputs, *size),
        result=result,
        check=check,
        conv=conv,
        flip=lambda weight: weight[(..., *(slice(None, None, -1),) * axes)],
    )


def main(argv: list[str] | None = None) -> float:
    """Convolve eight coils of an image with twelve filters; return the relative error of the adjoint test."""
    rng = np.random.default_rng(0)

    def draw(*shape: int) -> np.ndarray:
        return rng.normal(size=shape) + 1j * rng.normal(size=shape)

    data, filt = draw(8, 64, 64), draw(12, 8, 6, 6)
    output = convolve(data, filt, "valid", multi_channel=True)
    other = draw(*output.shape)
    back = convolve_data_adjoint(other, filt, data.shape, "valid", multi_channel=True)
    left, right = np.vdot(output, other), np.vdot(data, back)
    error = float(abs(left - right) / abs(left))
    print(f"{data.shape} * {filt.shape} = {output.shape}; <A x, y> and <x, A^H y> differ by {error:.1e}")
    return error


if __name__ == "__main__":
    main()
