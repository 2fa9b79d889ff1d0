"""Convolutions by cuDNN: on a stand-in that computes in NumPy what it is told, and as graphs of the real one.

The real one describes graphs without a GPU; it plans and executes them on a GPU only.
"""

import builtins
import functools
import itertools
import sys
import types
from contextlib import contextmanager
from importlib.util import find_spec
from math import prod

import double
import emulation
import numpy as np
import pytest
from drawing import windows
from effort import examples
from hypothesis import given, settings
from hypothesis import strategies as st

import xpconv
from xpconv.errors import BackendUnavailableError
from xpconv.geometry import Window
from xpconv.kernels import precision
from xpconv.kernels.cupy import cudnn

needs_compiler = pytest.mark.skipif(emulation.COMPILER is None, reason="g++ is not installed")
NAMES = {1: "x", 2: "w", 3: "y"}


class NotSupported(RuntimeError):
    pass


class Tensor:
    output = False

    def __init__(self, name="", dim=None, stride=None, data_type=None, uid=None):
        self.dim, self.stride, self.data_type, self.uid = dim, stride, data_type, uid

    def __getattr__(self, name):
        def set_to(value):
            setattr(self, name[4:], value)
            return self

        if not name.startswith("set_"):
            raise AttributeError(name)
        return set_to


class Graph:
    """Says no to windows that are dilated in large steps; its calls must come in cuDNN's order."""

    ORDER = ("validate", "build_operation_graph", "create_execution_plans", "deselect_numeric_notes",
             "deselect_workspace_greater_than", "check_support", "build_plans")  # fmt: skip

    def __init__(self, io_data_type, intermediate_data_type, compute_data_type, handle):
        assert intermediate_data_type == compute_data_type == "float32"
        self.io, self.made_for, self.done, self.refused = io_data_type, handle, [], None
        self.tensors = []

    def tensor(self, **about):
        self.tensors.append(Tensor(**about))
        return self.tensors[-1]

    def _conv(self, output, x, w, y, **where):
        self.output, self.where = output, where
        self.tensors.append(Tensor())
        self.given = {"x": x, "w": w, "y": y, output: self.tensors[-1]}
        return self.tensors[-1]

    def conv_fprop(self, image, weight, **where):
        return self._conv("y", image, weight, None, **where)

    def conv_dgrad(self, loss, filter, **where):
        return self._conv("x", None, filter, loss, **where)

    def conv_wgrad(self, image, loss, **where):
        return self._conv("w", image, None, loss, **where)

    def __getattr__(self, name):
        if name not in Graph.ORDER:
            raise AttributeError(name)

        def step(*arguments):
            assert name == Graph.ORDER[len(self.done)]
            self.done.append(name)
            if name == "deselect_numeric_notes":
                (self.refused,) = arguments
            if name == "check_support" and dilated_in_large_steps(
                self.where["stride"], self.where["dilation"]
            ):
                raise NotSupported("no engine")

        return step

    def get_workspace_size(self):
        return 24

    def execute(self, pointers, workspace, handle):
        assert len(self.done) == len(Graph.ORDER)
        assert workspace % 4 == 0
        assert {NAMES[t.uid] for t in self.tensors} == {"x", "w", "y"} == {NAMES[u] for u in pointers}
        assert self.given[self.output].output is True
        arrays = {}
        for name, tensor in self.given.items():
            assert NAMES[tensor.uid] == name
            assert tensor.data_type == self.io
            assert pointers[tensor.uid] % 16 == 0
            assert all(type(n) is int for n in (*tensor.dim, *tensor.stride))
            arrays[name] = memory(pointers[tensor.uid], tensor, self.io)
        compute(self.output, **arrays, **self.where)


def dilated_in_large_steps(stride, dilation):
    return any(s > 1 and d > 1 for s, d in zip(stride, dilation, strict=True))


def memory(pointer, tensor, dtype):
    """A view of the tensor's memory, no element of which may be outside."""
    count = 1 + sum((n - 1) * s for n, s in zip(tensor.dim, tensor.stride, strict=True))
    assert count == prod(tensor.dim)
    raw = (np.ctypeslib.ctypes.c_char * (count * np.dtype(dtype).itemsize)).from_address(pointer)
    flat = np.frombuffer(raw, dtype)
    strides = [s * flat.itemsize for s in tensor.stride]
    return np.lib.stride_tricks.as_strided(flat, tensor.dim, strides)


def compute(output, x, w, y, pre_padding, post_padding, stride, dilation):
    """`y = x * w`, or a gradient of it, tap by tap in float64; sizes must fit."""
    {"x": x, "w": w, "y": y}[output][...] = 0  # an output's memory may hold anything, signalling NaNs too
    axes = range(len(stride))
    for i in axes:
        reach = dilation[i] * (w.shape[2 + i] - 1) + 1
        assert y.shape[2 + i] == (x.shape[2 + i] + pre_padding[i] + post_padding[i] - reach) // stride[i] + 1
    groups = x.shape[1] // w.shape[1]
    wide = np.zeros((*x.shape[:2], *(x.shape[2 + i] + pre_padding[i] + post_padding[i] for i in axes)))
    inside = (
        slice(None),
        slice(None),
        *(slice(pre_padding[i], pre_padding[i] + x.shape[2 + i]) for i in axes),
    )
    if output != "x":
        wide[inside] = x
    result = {"x": wide, "w": np.zeros(w.shape), "y": np.zeros(y.shape)}[output]
    for tap in itertools.product(*map(range, w.shape[2:])):
        seen = (slice(None), slice(None), *(
            slice(t * d, t * d + s * (n - 1) + 1, s)
            for t, d, s, n in zip(tap, dilation, stride, y.shape[2:], strict=True)
        ))  # fmt: skip
        pixels = wide[seen].reshape(x.shape[0], groups, w.shape[1], -1)
        kernel = w[(..., *tap)].reshape(groups, -1, w.shape[1]).astype("float64")
        grad = y.reshape(x.shape[0], groups, kernel.shape[1], -1).astype("float64")
        if output == "y":
            result += np.einsum("ngcp,gkc->ngkp", pixels, kernel).reshape(y.shape)
        elif output == "w":
            result[(..., *tap)] = np.einsum("ngcp,ngkp->gkc", pixels, grad).reshape(w.shape[:2])
        else:
            result[seen] += np.einsum("ngkp,gkc->ngcp", grad, kernel).reshape(wide[seen].shape)
    {"x": x, "w": w, "y": y}[output][...] = wide[inside] if output == "x" else result


class Frontend:
    """What is used of NVIDIA's module `cudnn`."""

    cudnnGraphNotSupportedError = NotSupported
    data_type = types.SimpleNamespace(FLOAT="float32", HALF="float16", BFLOAT16="bfloat16")
    heur_mode = types.SimpleNamespace(A="A", FALLBACK="fallback")
    build_plan_policy = types.SimpleNamespace(HEURISTICS_CHOICE="choice")
    numerical_note = types.SimpleNamespace(**{name: name for name in (
        "TENSOR_CORE", "DOWN_CONVERT_INPUTS", "WINOGRAD", "FFT", "REDUCED_PRECISION_REDUCTION", "NONDETERMINISTIC",
    )})  # fmt: skip

    def __init__(self):
        self.graphs, self.streams = [], []

    def pygraph(self, **about):
        self.graphs.append(Graph(**about))
        return self.graphs[-1]

    def create_handle(self):
        return object()

    def set_stream(self, handle, stream):
        self.streams.append(stream)


@contextmanager
def behind_the_double():
    """The stand-in, as the double's cuDNN."""
    library = Frontend()
    data = property(lambda self: types.SimpleNamespace(ptr=self._a.ctypes.data))
    cuda = types.SimpleNamespace(
        Device=lambda: types.SimpleNamespace(id=0), get_current_stream=lambda: types.SimpleNamespace(ptr=7)
    )
    with pytest.MonkeyPatch.context() as patch, xpconv.use_backend("double"):
        patch.setattr(cudnn, "frontend", lambda: library)
        patch.setattr(cudnn, "_local", types.SimpleNamespace())
        patch.setattr(double.ndarray, "data", data, raising=False)
        patch.setitem(vars(double.xp), "cuda", cuda)
        yield library


def layers_like(build):
    """The same layer on NumPy and on the double."""
    with xpconv.use_backend("numpy"):
        ours = build()
    with xpconv.use_backend("double"):
        return ours, build()


def same_results(build, x, tolerance):
    """Forward and gradients of a layer."""
    reference, layer = layers_like(build)
    y = reference(x)
    g = np.random.default_rng(1).normal(size=y.shape).astype(x.dtype)
    pairs = [(y, layer(xpconv.asarray(x)))]
    pairs.append((reference.backward(g), layer.backward(xpconv.asarray(g))))
    pairs += [(a.grad, b.grad) for a, b in zip(reference.parameters(), layer.parameters(), strict=True)]
    for expected, got in pairs:
        scale = np.abs(expected).max(initial=1e-30)
        np.testing.assert_allclose(got.get(), expected, rtol=0, atol=tolerance * scale)
        assert got.dtype == expected.dtype
    return layer


@needs_compiler
@settings(max_examples=examples(60))
@given(data=st.data())
def test_layers_drawn(data):
    draw = data.draw
    window, spatial = windows(draw)
    groups = draw(st.sampled_from([1, 1, 2]))
    c, k = groups * draw(st.integers(1, 3)), groups * draw(st.integers(1, 3))
    kind = [xpconv.Conv1d, xpconv.Conv2d, xpconv.Conv3d][len(spatial) - 1]
    dtype = draw(st.sampled_from(["float32", "float16"]))
    x = np.random.default_rng(0).normal(size=(draw(st.integers(1, 3)), c, *spatial)).astype(dtype)

    def build():
        return kind(
            c, k, window.kernel, window.stride, window.padding, window.dilation, groups, dtype=dtype, rng=0
        )

    strict = dtype == "float32" and draw(st.booleans())
    with behind_the_double() as library, pytest.MonkeyPatch.context() as patch:
        patch.setattr(precision, "_tf32", not strict)
        layer = same_results(build, x, 1e-5 if dtype == "float32" else 1e-2)
        way = layer.algorithm_for(xpconv.asarray(x))
    unsupported = dilated_in_large_steps(window.stride, window.dilation)
    product = strict and (prod(window.kernel) == 1 or max(window.stride) > 1)
    uneven = any(low != high for low, high in window.padding)
    assert way == ("depthwise" if groups == c > 1 else "columns" if unsupported or product else "cudnn")
    outputs = [graph.output for graph in library.graphs if graph.done]
    asked = ["y", "x"] if strict or uneven else ["y", "w", "x"]  # strict: there are few input channels
    assert outputs == ([] if way == "depthwise" or product else asked)


@needs_compiler
@pytest.mark.parametrize(
    ("channels", "size", "asked"),
    [(3, 6, ["y", "x"]), (5, 6, ["y", "w", "x"]), (128, 8, ["w"]), (128, 9, ["y", "w", "x"])],
)
def test_strict_float32_goes_by_cudnn_where_it_is_faster(channels, size, asked):
    x = np.random.default_rng(0).normal(size=(1, channels, size, size)).astype("float32")
    with behind_the_double() as library:
        same_results(lambda: xpconv.Conv2d(channels, 2, 3, padding=1, rng=0), x, 1e-5)
    assert [graph.output for graph in library.graphs if graph.done] == asked


@needs_compiler
@pytest.mark.parametrize(
    ("stride", "dilation", "output_padding", "asked"),
    [(1, 1, 0, ["x", "w", "y"]), (2, 1, 1, ["x", "y"]), (1, 3, 2, ["y"])],
)
def test_transposed_convolutions(stride, dilation, output_padding, asked):
    """Not cuDNN's: an output larger than a convolution would read, a weight's gradient with uneven padding."""
    x = np.random.default_rng(0).normal(size=(2, 4, 5, 6)).astype("float16")
    options = dict(output_padding=output_padding, dilation=dilation, dtype="float16", rng=0)
    with behind_the_double() as library:
        same_results(lambda: xpconv.ConvTranspose2d(4, 3, 3, stride, 1, **options), x, 1e-2)
    assert [graph.output for graph in library.graphs] == asked


@needs_compiler
def test_what_it_does_not_do_goes_by_columns():
    with behind_the_double() as library:
        conv = xpconv.Conv2d(2, 3, 3, dtype="float64", rng=0)
        assert conv.algorithm_for(xpconv.asarray(np.zeros((1, 2, 5, 5)))) == "columns"
        conv = xpconv.Conv2d(2, 3, 3, rng=0)
        assert conv(xpconv.asarray(np.zeros((0, 2, 5, 5), "float32"))).shape == (0, 3, 3, 3)
    assert not library.graphs


@needs_compiler
def test_a_plan_is_made_once_for_each_set_of_shapes_and_settings():
    x = np.zeros((2, 2, 5, 5), "float32")
    strict = {"TENSOR_CORE", "DOWN_CONVERT_INPUTS"}
    with behind_the_double() as library:
        conv, given = xpconv.Conv2d(2, 3, 3, rng=0), xpconv.asarray(x)
        for _ in range(3):
            conv(given)
        assert [set(g.refused) for g in library.graphs] == [strict | {"NONDETERMINISTIC"}]
        assert library.streams == [7, 7, 7]
        try:
            xpconv.cuda.allow_nondeterministic()
            conv(given)
            xpconv.cuda.allow_tf32()
            conv(given)
            xpconv.set_exact(True)
            conv(given)
        finally:
            xpconv.cuda.allow_nondeterministic(False)
            xpconv.cuda.allow_tf32(False)
            xpconv.set_exact(False)
        conv.to(dtype="float16")
        conv(given.astype("float16"))
        rounds_otherwise = {"WINOGRAD", "FFT", "REDUCED_PRECISION_REDUCTION"}
        assert [set(g.refused) for g in library.graphs[1:]] == [
            strict,
            set(),
            rounds_otherwise,
            {"NONDETERMINISTIC"},
        ]
        conv(given[:1].astype("float16"))
        assert len(library.graphs) == 6
        assert len({g.made_for for g in library.graphs}) == 1


@needs_compiler
def test_an_array_off_the_grid_of_16_bytes_is_copied():
    x = np.random.default_rng(0).normal(size=(3, 1, 3, 3)).astype("float32")
    with behind_the_double():
        conv = xpconv.Conv2d(1, 1, 2, rng=0)
        with xpconv.no_grad():
            apart = conv(xpconv.asarray(x)[1:])  # 36 bytes from the start
            np.testing.assert_array_equal(apart.get(), conv(xpconv.asarray(x[1:].copy())).get())


# --- finding it -------------------------------------------------------------------------------------------


@pytest.fixture
def find(monkeypatch):
    """`frontend()` with a value of `XPCONV_CUDNN`, and a module `cudnn` or the error of its import."""

    def found(value, module):
        monkeypatch.setenv("XPCONV_CUDNN", value)
        if isinstance(module, Exception):
            real = builtins.__import__

            def importing(name, *rest):
                if name == "cudnn":
                    raise module
                return real(name, *rest)

            monkeypatch.setattr(builtins, "__import__", importing)
        else:
            monkeypatch.setitem(sys.modules, "cudnn", module)
        return cudnn.frontend.__wrapped__()

    return found


def broken(message="Unable to find symbol cudnnGetVersion"):
    raise RuntimeError(message)


MISSING = ModuleNotFoundError("No module named 'cudnn'", name="cudnn")
USABLE = types.SimpleNamespace(backend_version=lambda: 91002, pygraph=Graph)


def test_the_switch(find):
    assert find("", USABLE) is USABLE
    assert find("1", USABLE) is USABLE
    assert find("0", USABLE) is None
    assert find("", MISSING) is None


UNUSABLE = [
    (types.SimpleNamespace(backend_version=broken), "Unable to find symbol"),
    (types.SimpleNamespace(backend_version=lambda: 91002), "pygraph"),
    (ImportError("libsomething.so"), "libsomething.so"),
    (AssertionError("a later frontend"), "a later frontend"),
]


@pytest.mark.parametrize(("module", "reason"), [*UNUSABLE, (MISSING, "No module named 'cudnn'")])
def test_unusable_is_an_error_where_it_is_required(find, module, reason):
    with pytest.raises(
        BackendUnavailableError, match=f"cuDNN cannot be used .*{reason}.*pip install"
    ) as info:
        find("1", module)
    assert info.value.__cause__ is not None


@pytest.mark.parametrize(("module", "reason"), UNUSABLE)
def test_unusable_is_a_warning_where_it_is_not(find, module, reason):
    with pytest.warns(RuntimeWarning, match=f"cuDNN cannot be used .*{reason}.*Matrix products take"):
        assert find("", module) is None


@needs_compiler
@pytest.mark.parametrize("error", [RuntimeError, ValueError, MemoryError])
@pytest.mark.parametrize("step", ["build_operation_graph", "build_plans"])
def test_a_plan_that_fails_is_a_warning_and_a_product(step, error, monkeypatch):
    def fail(graph, *arguments):
        raise error("CUDNN_STATUS_INTERNAL_ERROR")

    monkeypatch.setattr(Graph, step, fail, raising=False)
    x = np.random.default_rng(0).normal(size=(2, 5, 6, 6)).astype("float32")
    with behind_the_double() as library:
        with pytest.warns(RuntimeWarning, match=r"no plan for .*CUDNN_STATUS.* A matrix product") as caught:
            layer = same_results(lambda: xpconv.Conv2d(5, 2, 3, padding=1, rng=0), x, 1e-5)
        assert len(caught) == 3
        layer(xpconv.asarray(x))  # no second warning
        assert len(library.graphs) == 3


@needs_compiler
def test_a_handle_that_fails_is_a_warning_and_a_product():
    x = np.random.default_rng(0).normal(size=(2, 5, 6, 6)).astype("float32")
    with behind_the_double() as library:
        library.create_handle = lambda: broken("NOT_INITIALIZED")
        with pytest.warns(RuntimeWarning, match="NOT_INITIALIZED"):
            same_results(lambda: xpconv.Conv2d(5, 2, 3, padding=1, rng=0), x, 1e-5)


@needs_compiler
def test_plans_of_many_sizes_of_images_do_not_add_up(monkeypatch):
    cached = functools.lru_cache(maxsize=2)(cudnn._plan.__wrapped__)
    assert cudnn._plan.cache_info().maxsize == cudnn.PLANS
    monkeypatch.setattr(cudnn, "_plan", cached)
    with behind_the_double() as library, xpconv.no_grad():
        conv = xpconv.Conv2d(5, 2, 3, padding=1, rng=0)
        for size in (5, 6, 7, 7, 5):
            conv(xpconv.asarray(np.zeros((1, 5, size, size), "float32")))
        assert len(library.graphs) == 4
        assert cached.cache_info().currsize == 2


def test_a_value_that_is_none_is_refused(find):
    with pytest.raises(ValueError, match="XPCONV_CUDNN is 'yes', expected 0"):
        find("yes", USABLE)


# --- the real one -----------------------------------------------------------------------------------------


@pytest.mark.skipif(find_spec("cudnn") is None, reason="nvidia-cudnn-frontend is not installed")
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
@pytest.mark.parametrize("output", ["y", "w", "x"])
def test_nvidias_cudnn_takes_the_description(output, dtype):
    library = cudnn.frontend()
    for axes, groups in itertools.product([1, 2, 3], [1, 2]):
        window = Window((3, 2, 1)[:axes], (2, 1, 1)[:axes], ((1, 0), (1, 1), (0, 0))[:axes], (1, 2, 1)[:axes])
        spatial = (9, 8, 7)[:axes]
        x, w, y = (8, 6, *spatial), (4, 6 // groups, *window.kernel), (8, 4, *window.output_shape(spatial))
        problem = cudnn.Problem(output, dtype, x, w, y, window, False, False, True)
        graph = cudnn.describe(library, problem)
        told = graph.query_tensor_attributes_of_uid(cudnn.UIDS[output])
        dim = getattr(problem, output)
        assert told.get_dim() == [*dim[:2], *[1] * (2 - axes), *dim[2:]]
        assert told.get_stride()[1] == 1


@pytest.mark.skipif(find_spec("cudnn") is None, reason="nvidia-cudnn-frontend is not installed")
def test_nvidias_cudnn_refuses_a_wrong_one():
    library = cudnn.frontend()
    window = Window((3, 3), (1, 1), ((0, 0), (0, 0)), (1, 1))
    problem = cudnn.Problem(
        "y", "float32", (2, 4, 5, 5), (3, 4, 3, 3), (2, 3, 4, 4), window, False, False, True
    )
    with pytest.raises(RuntimeError):
        cudnn.describe(library, problem)
