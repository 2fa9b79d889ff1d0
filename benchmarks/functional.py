"""`xpconv.functional.conv2d` and its adjoints, against PyTorch, SciPy's loops and their own algorithms.

python3 benchmarks/functional.py
XPCONV_BACKEND=cupy python3 benchmarks/functional.py --out FILE

Seconds of each, and ratios: `scipy` and `scipy direct` over xpconv (20 says that xpconv takes a twentieth),
xpconv over PyTorch (1.2 says that it takes a fifth longer), and `without fft` over xpconv. SciPy loops over
pairs of channels, as SigPy does: `scipy.signal.correlate` by the method that it chooses, which is an FFT for
large kernels, and by its direct method; 192 pairs at most are timed, and 4 of the direct method. On a GPU
only xpconv's algorithms are compared.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import measure

Record = dict[str, Any]
F32 = "float32"
CASES = {  # name: shapes of input and weight, options, dtype
    "8 coils 256², 12 kernels 24²": ((1, 8, 256, 256), (12, 8, 24, 24), {}, F32),
    "the same, complex": ((1, 8, 256, 256), (12, 8, 24, 24), {}, "complex64"),
    "the same, stride 2": ((1, 8, 256, 256), (12, 8, 24, 24), {"stride": 2}, F32),
    "1 channel 512², 15²": ((1, 1, 512, 512), (1, 1, 15, 15), {}, F32),
    "16→16 31² @64, batch 8": ((8, 16, 64, 64), (16, 16, 31, 31), {"padding": 15}, F32),
    "5×5 6→16 @14, batch 64": ((64, 6, 14, 14), (16, 6, 5, 5), {}, F32),
    "3×3 3→64 @32, batch 64": ((64, 3, 32, 32), (64, 3, 3, 3), {"padding": 1}, F32),
    "3×3 64→64 @32, batch 32": ((32, 64, 32, 32), (64, 64, 3, 3), {"padding": 1}, F32),
    "3×3 64→128 @32 /2, batch 32": ((32, 64, 32, 32), (128, 64, 3, 3), {"padding": 1, "stride": 2}, F32),
    "3×3 256→256 @8, batch 32": ((32, 256, 8, 8), (256, 256, 3, 3), {"padding": 1}, F32),
    "1×1 256→64 @16, batch 32": ((32, 256, 16, 16), (64, 256, 1, 1), {}, F32),
    "7×7 3→64 @224 /2, batch 4": ((4, 3, 224, 224), (64, 3, 7, 7), {"padding": 3, "stride": 2}, F32),
    "3×3 16→16 @64, batch 8, complex": ((8, 16, 64, 64), (16, 16, 3, 3), {"padding": 1}, "complex64"),
}  # fmt: skip
PAIRS = {"scipy": 192, "scipy direct": 4}  # of channels, that are timed at most
OPERATIONS = ("conv2d", "conv2d_input", "conv2d_weight")


def ours(arrays: dict[str, Any], options: dict[str, Any]) -> dict[str, Callable[[], Any]]:
    """Each operation of xpconv."""
    import xpconv.functional as f

    x, w, grad = arrays["x"], arrays["w"], arrays["grad"]
    return {
        "conv2d": lambda: f.conv2d(x, w, **options),
        "conv2d_input": lambda: f.conv2d_input(x.shape, w, grad, **options),
        "conv2d_weight": lambda: f.conv2d_weight(x, w.shape, grad, **options),
    }


def pytorchs(arrays: dict[str, Any], options: dict[str, Any]) -> dict[str, Callable[[], Any]]:
    """The same in PyTorch, by its autograd, which is faster than `torch.nn.grad` and takes complex arrays."""
    import torch

    x, w, grad = (torch.from_numpy(arrays[name]) for name in ("x", "w", "grad"))
    conv = torch.nn.functional.conv2d
    seen, weight = x.clone().requires_grad_(), w.clone().requires_grad_()
    of_x, of_w = conv(seen, w, **options), conv(x, weight, **options)
    return {
        "conv2d": lambda: conv(x, w, **options),
        "conv2d_input": lambda: torch.autograd.grad(of_x, seen, grad, retain_graph=True)[0],
        "conv2d_weight": lambda: torch.autograd.grad(of_w, weight, grad, retain_graph=True)[0],
    }


def scipys(arrays: dict[str, Any], options: dict[str, Any], method: str) -> dict[str, Callable[[], Any]]:
    """Loops over images and pairs of channels; of a stride's output the others are left out."""
    import numpy as np
    from scipy import signal

    pad, step = options.get("padding", 0), options.get("stride", 1)
    x, w = np.pad(arrays["x"], ((0, 0), (0, 0), (pad, pad), (pad, pad))), arrays["w"]
    sizes = [n - k + 1 for n, k in zip(x.shape[2:], w.shape[2:], strict=True)]
    grad = np.zeros((*arrays["grad"].shape[:2], *sizes), x.dtype)
    grad[..., ::step, ::step] = arrays["grad"]
    triples = list(product(range(len(x)), range(len(w)), range(w.shape[1])))[
        : PAIRS["scipy" if method == "auto" else "scipy direct"]
    ]

    def forward() -> Any:
        y = np.zeros_like(grad)
        for n, k, c in triples:
            y[n, k] += signal.correlate(x[n, c], w[k, c].conj(), mode="valid", method=method)
        return y[..., ::step, ::step]

    def to_input() -> Any:
        dx = np.zeros_like(x)
        for n, k, c in triples:
            dx[n, c] += signal.convolve(grad[n, k], w[k, c].conj(), mode="full", method=method)
        return dx[..., pad : x.shape[2] - pad, pad : x.shape[3] - pad]

    def to_weight() -> Any:
        dw = np.zeros_like(w)
        for n, k, c in triples:
            dw[k, c] += signal.correlate(x[n, c], grad[n, k], mode="valid", method=method).conj()
        return dw

    return dict(zip(OPERATIONS, (forward, to_input, to_weight), strict=True))


def contenders(case: str, with_scipy: bool) -> tuple[dict[str, dict[str, Callable[[], Any]]], float]:
    """By operation and name; all have been found to agree. And the number of multiplications."""
    import numpy as np

    import xpconv

    x_shape, w_shape, options, dtype = CASES[case]
    rng = np.random.default_rng(0)

    def draw(shape: tuple[int, ...]) -> Any:
        values = rng.standard_normal(shape)
        return (values + 1j * rng.standard_normal(shape) if dtype == "complex64" else values).astype(dtype)

    pad, step = options.get("padding", 0), options.get("stride", 1)
    sizes = [(n + 2 * pad - k) // step + 1 for n, k in zip(x_shape[2:], w_shape[2:], strict=True)]
    host = {"x": draw(x_shape), "w": draw(w_shape), "grad": draw((x_shape[0], w_shape[0], *sizes))}
    arrays = {name: xpconv.asarray(array) for name, array in host.items()}
    sides = {"xpconv": ours(arrays, options)}
    if xpconv.get_backend() == "numpy":
        sides["PyTorch"] = pytorchs(host, options)
        if with_scipy:
            sides["scipy"] = scipys(host, options, "auto")
            sides["scipy direct"] = scipys(host, options, "direct")
    found: dict[str, dict[str, Callable[[], Any]]] = {}
    for operation in OPERATIONS:
        expected = xpconv.asnumpy(sides["xpconv"][operation]())
        other = np.asarray(sides["PyTorch"][operation]()) if "PyTorch" in sides else expected
        if not abs(other - expected).max() < 1e-3 * abs(expected).max():
            raise SystemExit(f"benchmarks: {operation} of {case} differs from PyTorch's")
        found[operation] = {side: runs[operation] for side, runs in sides.items()}
    macs = x_shape[0] * np.prod(sizes) * np.prod(w_shape) * (4 if dtype == "complex64" else 1)
    return found, float(macs)


def record(case: str, seconds: float, rounds: int, with_scipy: bool) -> list[Record]:
    """One for each operation."""
    import xpconv

    def wait() -> None:
        if hasattr(xpconv.get_xp(), "cuda"):
            xpconv.get_xp().cuda.get_current_stream().synchronize()

    def direct(run: Callable[[], Any]) -> Callable[[], Any]:
        def call() -> None:
            xpconv.set_exact(True)
            try:
                run()
            finally:
                xpconv.set_exact(False)

        return call

    found = []
    operations, macs = contenders(case, with_scipy)
    for operation, runs in operations.items():
        once = {side: run for side, run in runs.items() if side.startswith("scipy")}
        runs = {side: run for side, run in runs.items() if side not in once}
        if CASES[case][1][2] ** 2 >= 64:
            runs["without fft"] = direct(runs["xpconv"])
        samples = measure.interleaved(runs, seconds, rounds, wait)
        medians = {side: statistics.median(times) for side, times in samples.items()}
        for side, run in once.items():
            start = time.perf_counter()
            run()
            pairs = CASES[case][0][0] * CASES[case][1][0] * CASES[case][1][1]
            medians[side] = (time.perf_counter() - start) * max(1, pairs / PAIRS[side])
        ratios = {side: t / medians["xpconv"] for side, t in medians.items() if side != "xpconv"}
        if "PyTorch" in ratios:
            ratios["PyTorch"] = 1 / ratios["PyTorch"]
        found.append(
            {"case": case, "operation": operation, "macs": macs, "seconds": medians, "ratios": ratios}
        )
        print(line(found[-1]), flush=True)
    return found


COLUMNS = ("PyTorch", "scipy", "scipy direct", "without fft")


def line(found: Record) -> str:
    """A row of the table."""
    cells = (f"{found['ratios'][name]:13.2f}" if name in found["ratios"] else " " * 13 for name in COLUMNS)
    return (
        f"{found['case']:36}{found['operation']:15}{1000 * found['seconds']['xpconv']:9.2f}{''.join(cells)}"
    )


def main(argv: list[str] | None = None) -> dict[str, Any]:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=2, help="for each row; default: %(default)s")
    parser.add_argument("--rounds", type=int, default=5, help="at least so many; default: %(default)s")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="of all")
    parser.add_argument("--cases", nargs="+", default=list(CASES), help="default: all")
    parser.add_argument("--no-scipy", action="store_true", help="leave out the loops, which take minutes")
    parser.add_argument(
        "--out", type=Path, metavar="JSON", default=measure.HERE / "results" / "functional.json",
        help="default: benchmarks/results/functional.json",
    )  # fmt: skip
    args = parser.parse_args(argv)
    os.environ.update(measure.threads_env(args.threads))
    print(f"{'':36}{'':15}{'ms':>9}" + "".join(f"{name:>13}" for name in COLUMNS))
    found = [r for case in args.cases for r in record(case, args.seconds, args.rounds, not args.no_scipy)]
    theirs = [r["ratios"]["PyTorch"] for r in found if "PyTorch" in r["ratios"]]
    mean = measure.geometric_mean(theirs) if theirs else None
    if mean:
        print(f"{'geometric mean over PyTorch':60}{mean:13.2f}")
    date = time.strftime("%Y-%m-%d %H:%M %z")
    result = {"date": date, "machine": measure.machine(args.threads), "mean": mean, "records": found}
    print(f"wrote {measure.write(args.out, result)}", file=sys.stderr)
    return result


if __name__ == "__main__":
    main()
