"""Convolution by cuDNN, through NVIDIA's Python frontend (the extra `cudnn`).

A convolution relates images `x (N, C, *S)`, weights `w (K, C/G, *R)` and outputs `y (N, K, *P)`; cuDNN
computes any of them from the two others: `y` is the forward, `x` and `w` are the gradients. For each set of
shapes the plan is built once and cached, the latest of them. All memory is channels-last.
"""

from __future__ import annotations

import functools
import os
import threading
import warnings
from math import prod
from typing import Any, NamedTuple

from ...backend import Array
from ...errors import BackendUnavailableError
from ...geometry import Window
from .. import precision
from ..exact import is_exact
from ..graph import hold
from .launch import last, name_of, pixels

TYPES = {"float16": "HALF", "bfloat16": "BFLOAT16", "float32": "FLOAT"}
UIDS = {"x": 1, "w": 2, "y": 3}
ALIGNMENT = 16  # bytes: the alignment of tensor addresses that cuDNN assumes
WORKSPACE = 1 << 30  # bytes, at most
PLANS = 2048  # plans in the cache; training a ResNet-50 needs 30 for each size of images
_local = threading.local()


class Problem(NamedTuple):
    """The problem that a plan solves. `output` is the operand that is computed."""

    output: str
    dtype: str
    x: tuple[int, ...]
    w: tuple[int, ...]
    y: tuple[int, ...]
    window: Window
    exact: bool  # only algorithms that round like the definition
    tf32: bool
    deterministic: bool


@functools.cache
def frontend() -> Any:
    """NVIDIA's `cudnn` module; None if it is not installed, turned off, or neither usable nor required."""
    library, problem = installed()
    if problem is None:
        return library
    if os.environ.get("XPCONV_CUDNN") == "1":
        raise problem
    warnings.warn(f"{problem} Matrix products take its place.", RuntimeWarning, stacklevel=2)
    return None


def installed() -> tuple[Any, BackendUnavailableError | None]:
    """The module, and why it cannot be used; neither if it is not installed or turned off."""
    setting = os.environ.get("XPCONV_CUDNN", "")
    if setting not in ("", "0", "1"):
        raise ValueError(
            f"environment variable XPCONV_CUDNN is {setting!r}, expected 0 (off), 1 (required) or nothing "
            "(where it is installed)"
        )
    if setting == "0":
        return None, None
    try:
        import cudnn

        cudnn.backend_version()
        cudnn.pygraph  # noqa: B018  # later frontends lack it
    except Exception as cause:  # noqa: BLE001  # of any kind: another project's module, or its library
        if setting == "" and isinstance(cause, ModuleNotFoundError) and cause.name == "cudnn":
            return None, None
        problem = BackendUnavailableError(
            f"cuDNN cannot be used ({cause}). It takes a frontend, and the library for your CUDA: "
            '`pip install "nvidia-cudnn-frontend>=1.18,<1.27" nvidia-cudnn-cu12` (or -cu13). '
            "Set XPCONV_CUDNN=0 to do without."
        )
        problem.__cause__ = cause
        return None, problem
    return cudnn, None


def find(
    xp: Any,
    output: str,
    dtype: Any,
    x: tuple[int, ...],
    w: tuple[int, ...],
    y: tuple[int, ...],
    window: Window,
    algorithm: str = "auto",
) -> Any:
    """A plan for `run`; None without cuDNN, or if it has no plan for the problem."""
    if not hasattr(xp, "cuda") or (library := frontend()) is None:
        return None
    exact = algorithm == "direct" or is_exact()
    problem = Problem(
        output, name_of(dtype), x, w, y, window, exact,
        precision.tf32_allowed(), not precision.nondeterministic_allowed(),
    )  # fmt: skip
    return _plan(library, problem, xp.cuda.Device().id)


def _suits(problem: Problem) -> bool:
    """Whether cuDNN can solve the problem and is known to do so correctly."""
    output, dtype, x, w, y, window, *_ = problem
    if dtype not in TYPES or len(x) not in (3, 4, 5) or min(*x, *w, *y) < 1:
        return False
    if min(map(min, window.padding)) < 0 or window.output_shape(x[2:]) != y[2:]:
        return False
    # cuDNN 9.19 reads beyond its operands in some of these: 11 of 868 random cases were wrong
    return output != "w" or all(low == high for low, high in window.padding)


def run(xp: Any, plan: Any, x: Array, w: Array, y: Array) -> None:
    """Compute the output operand of `plan`, an array whose memory is channels-last, from the others."""
    library = frontend()
    handle = _handle(library, xp.cuda.Device().id)
    library.set_stream(handle=handle, stream=xp.cuda.get_current_stream().ptr)
    x, w, y = _aligned(xp, x), _aligned(xp, w), _aligned(xp, y)
    addresses = {UIDS["x"]: x.data.ptr, UIDS["w"]: w.data.ptr, UIDS["y"]: y.data.ptr}
    hold(plan)  # it owns kernels that a graph launches
    workspace = xp.ndarray(max(1, plan.get_workspace_size()), "uint8")
    plan.execute(addresses, workspace.data.ptr, handle=handle)


def describe(library: Any, problem: Problem, handle: Any = None) -> Any:
    """The problem as a cuDNN graph, which cuDNN has validated; this needs no GPU."""
    kind, single = getattr(library.data_type, TYPES[problem.dtype]), library.data_type.FLOAT
    graph = library.pygraph(
        io_data_type=kind, intermediate_data_type=single, compute_data_type=single, handle=handle
    )
    dims = {name: _three(getattr(problem, name)) for name in UIDS}
    x, w, y = (
        None
        if name == problem.output
        else graph.tensor(name=name, dim=dim, stride=_strides(dim), data_type=kind, uid=UIDS[name])
        for name, dim in dims.items()
    )
    window, more = problem.window, 4 - len(problem.x)  # more: axes of length 1
    where = {
        "pre_padding": [0] * more + [lo for lo, _ in window.padding],
        "post_padding": [0] * more + [hi for _, hi in window.padding],
        "stride": [1] * more + list(window.stride),
        "dilation": [1] * more + list(window.dilation),
    }
    if problem.output == "y":
        result = graph.conv_fprop(image=x, weight=w, **where)
    elif problem.output == "x":
        result = graph.conv_dgrad(loss=y, filter=w, **where)
    else:
        result = graph.conv_wgrad(image=x, loss=y, **where)
    dim = dims[problem.output]
    result.set_uid(UIDS[problem.output]).set_data_type(kind)
    result.set_output(True).set_dim(dim).set_stride(_strides(dim))
    graph.validate()
    graph.build_operation_graph()
    return graph


@functools.lru_cache(maxsize=PLANS)
def _plan(library: Any, problem: Problem, device: int) -> Any:
    """The plan that cuDNN's heuristics rank first, ready to run; None if there is none.

    An error other than that cuDNN does not support the problem is a warning, once for each problem.
    """
    if not _suits(problem):
        return None
    notes = library.numerical_note
    excluded = []
    if problem.dtype == "float32" and not problem.tf32:
        excluded += [notes.TENSOR_CORE, notes.DOWN_CONVERT_INPUTS]
    if problem.exact:
        excluded += [notes.WINOGRAD, notes.FFT, notes.REDUCED_PRECISION_REDUCTION]
    if problem.deterministic:
        excluded += [notes.NONDETERMINISTIC]
    try:
        graph = describe(library, problem, _handle(library, device))
        graph.create_execution_plans([library.heur_mode.A, library.heur_mode.FALLBACK])
        graph.deselect_numeric_notes(excluded)
        graph.deselect_workspace_greater_than(WORKSPACE)
        graph.check_support()
        graph.build_plans(library.build_plan_policy.HEURISTICS_CHOICE)
    except library.cudnnGraphNotSupportedError:
        return None
    except (RuntimeError, ValueError, MemoryError) as error:
        warnings.warn(
            f"cuDNN has no plan for {problem.output} of {problem.dtype} x {problem.x}, w {problem.w}, "
            f"y {problem.y}, {problem.window}: {error}. A matrix product takes its place.",
            RuntimeWarning,
            stacklevel=2,
        )
        return None
    return graph


def _handle(library: Any, device: int) -> Any:
    """This thread's handle, as two threads must not use one at the same time."""
    handles = _local.__dict__.setdefault("handles", {})
    if device not in handles:
        handles[device] = library.create_handle()
    return handles[device]


def _aligned(xp: Any, a: Array) -> Array:
    return last(xp, a).copy() if a.data.ptr % ALIGNMENT else pixels(xp, a)


def _three(shape: tuple[int, ...]) -> list[int]:
    """The shape with at least two spatial axes, as cuDNN requires."""
    return [*shape[:2], *[1] * (4 - len(shape)), *shape[2:]]


def _strides(dim: list[int]) -> list[int]:
    """The strides of channels-last memory, in elements."""
    channels, spatial = dim[1], dim[2:]
    return [channels * prod(spatial), 1, *(channels * prod(spatial[i + 1 :]) for i in range(len(spatial)))]
