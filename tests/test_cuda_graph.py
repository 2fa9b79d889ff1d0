"""`xpconv.cuda.capture` on stand-ins: recorded kernels on the double, and cuBLAS's arithmetic in NumPy.

A real graph and a real cuBLAS need a GPU: what they refuse, and how streams and memory behave, stays open here.
"""

import ctypes
import gc
import types
from contextlib import contextmanager, nullcontext

import device
import double
import emulation
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import xpconv
from xpconv.kernels import graph, precision
from xpconv.kernels.cupy import gemm, recorder

needs_compiler = pytest.mark.skipif(emulation.COMPILER is None, reason="g++ is not installed")


def step_on(x):
    return x * 2


def test_on_numpy_it_runs_the_steps_one_by_one():
    calls = []
    fast = xpconv.cuda.capture(lambda x: calls.append(x.tolist()) or x + 1, np.zeros(2), warmup=2)
    assert fast(np.ones(2)).tolist() == [2.0, 2.0]
    assert calls == [[0.0, 0.0], [0.0, 0.0], [1.0, 1.0]]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: xpconv.cuda.capture(step_on)(3), TypeError, "capture: input 0 is 3, expected an array"),
        (lambda: xpconv.cuda.capture(step_on, np.zeros(2), warmup=0), ValueError, "capture: warmup"),
        (lambda: xpconv.cuda.capture(step_on, np.zeros(2))(), ValueError, "got 0 inputs, expected 1"),
        (
            lambda: xpconv.cuda.capture(step_on, np.zeros(2))(np.zeros(3)), ValueError,
            r"capture: input 0 has shape \(3,\), expected \(2,\)",
        ),
        (
            lambda: xpconv.cuda.capture(step_on, np.zeros(2))(np.zeros(2, "float32")), TypeError,
            r"input 0 is float32, expected float64, the example's; use x.astype\('float64'\)",
        ),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


# --- a graph of kernels, which are held back while it is recorded ----------------------------------------


@pytest.fixture
def cuda():
    """`xp.cuda` of the double, which is the active backend."""
    with device.present() as found, xpconv.use_backend("double"):
        yield found


@needs_compiler
def test_a_replay_computes_on_its_inputs_and_orders_the_streams(cuda):
    relu, x = xpconv.ReLU(), xpconv.asarray(np.array([-1.0, 2.0]))
    with xpconv.no_grad():
        fast = xpconv.cuda.capture(lambda x: relu(x), x, warmup=1)
    del cuda.log[:]
    y = fast(xpconv.asarray(np.array([3.0, -4.0])))
    assert xpconv.asnumpy(y).tolist() == [3.0, 0.0]
    assert fast(np.array([-5.0, 6.0])) is y  # from the host as well
    assert xpconv.asnumpy(y).tolist() == [0.0, 6.0]
    once = ["own waits for caller", "enter own", "launch on own", "leave own", "caller waits for own"]
    assert cuda.log == once * 2


@needs_compiler
def test_replayed_updates_count_and_take_a_new_rate(cuda):
    p = xpconv.Parameter(xpconv.asarray(np.ones(2)))
    optimizer = xpconv.SGD([p], lr=0.5)
    p.grad = xpconv.asarray(np.ones(2))
    fast = xpconv.cuda.capture(lambda x: optimizer.step(), xpconv.asarray(np.zeros(1)), warmup=1)
    assert xpconv.asnumpy(p.data).tolist() == [0.5, 0.5]  # the warm-up; recording does nothing
    fast(np.zeros(1))
    assert xpconv.asnumpy(p.data).tolist() == [0.0, 0.0]
    optimizer.lr = 2.0
    fast(np.zeros(1))
    assert xpconv.asnumpy(p.data).tolist() == [-2.0, -2.0]


@needs_compiler
def test_replayed_dropout_draws_anew(cuda):
    dropout = xpconv.Dropout(0.5, rng=0)
    ones = xpconv.asarray(np.ones(64))
    masks = []

    def step(x):
        dropout.forget()
        dropout(x)
        masks[:] = [dropout._finished()[-1].entries[-1][1][0]]

    fast = xpconv.cuda.capture(step, ones, warmup=1)
    (mask,) = masks
    fast(ones)
    first = xpconv.asnumpy(mask)
    fast(ones)
    assert (first != xpconv.asnumpy(mask)).any()


@needs_compiler
def test_a_failed_capture_says_why_and_leaves_all_usable(cuda):
    def step(x):
        if graph.capturing():
            raise NotImplementedError("not during capture")

    x = xpconv.asarray(np.zeros(1))
    with pytest.raises(
        RuntimeError, match=r"capture: step failed while it was recorded .*not during capture"
    ) as info:
        xpconv.cuda.capture(step, x)
    assert isinstance(info.value.__cause__, NotImplementedError)
    assert not graph.capturing()
    assert double.recording is None
    assert cuda.log[-1] == "caller waits for own"
    del info
    gc.collect()
    assert device.Products.alive == 0


def test_a_layer_with_hooks_is_not_recorded(cuda):
    """A replay would not call them."""
    model, x = xpconv.Sequential(xpconv.ReLU()), xpconv.asarray(np.ones((1, 2), "float32"))
    model.register_forward_hook(lambda layer, inputs, y: None)
    with pytest.raises(
        RuntimeError, match="Sequential has hooks, which a replay would not call; remove them"
    ):
        xpconv.cuda.capture(model, x)


@needs_compiler
def test_a_failed_recording_leaves_no_gradients_that_were_not_computed(cuda):
    model, grads = xpconv.Sequential(xpconv.Dense(2, 2, rng=0), xpconv.ReLU()), []
    before = model.state_dict()

    def step(x):
        model.backward(model(x))
        model(x)
        grads[:] = grads or [p.grad for p in model.parameters()]
        if graph.capturing():
            raise NotImplementedError("not during capture")

    with pytest.raises(RuntimeError, match="gradients are as before the recording"):
        xpconv.cuda.capture(step, xpconv.asarray(np.ones((1, 2), "float32")), warmup=1)
    assert all(p.grad is grad for p, grad in zip(model.parameters(), grads, strict=True))
    with pytest.raises(xpconv.errors.BackwardError):
        model[1].backward(xpconv.asarray(np.ones((1, 2), "float32")))
    for name, array in model.state_dict().items():
        assert (xpconv.asnumpy(array) == xpconv.asnumpy(before[name])).all()


@needs_compiler
def test_parameters_that_moved_since_are_refused(cuda):
    model = xpconv.Sequential(xpconv.ReLU(), xpconv.BatchNorm1d(2)).eval()
    x = xpconv.asarray(np.ones((1, 2), "float32"))
    with xpconv.no_grad():
        fast = xpconv.cuda.capture(lambda x: model(x), x, warmup=1)
    model.load_state_dict(model.state_dict())  # in place
    fast(x)
    old = model[1].running_mean
    model[1].running_mean = xpconv.asarray(np.zeros(2, "float32"))
    with pytest.raises(RuntimeError, match="capture: running_mean of BatchNorm1d is another array"):
        fast(x)
    model[1].running_mean = old
    fast(x)
    optimizer = xpconv.SGD(model.parameters(), lr=0.1)
    model.train()
    model.backward(model(xpconv.asarray(np.ones((2, 2), "float32"))))
    optimizer.step()
    with pytest.raises(RuntimeError, match="capture: parameter weight of BatchNorm1d is another array"):
        fast(x)


@needs_compiler
def test_a_step_recorded_with_other_parameters_frozen_is_refused(cuda):
    """The kernels for what was thawed would be missing in silence."""
    model = xpconv.Sequential(xpconv.BatchNorm1d(2), xpconv.ReLU(), xpconv.BatchNorm1d(2))
    model[0].weight.requires_grad = False
    x = xpconv.asarray(np.random.default_rng(0).normal(size=(4, 2)).astype("float32"))
    with xpconv.no_grad():
        inference = xpconv.cuda.capture(lambda x: model(x), x, warmup=1)
    optimizer = xpconv.SGD(model.parameters(), lr=0.1)

    def step(x):
        y = model(x)
        optimizer.zero_grad()
        model.backward(y, input_grad=False)
        optimizer.step()
        return y

    fast = xpconv.cuda.capture(step, x, warmup=1)
    fast(x)
    assert model[0].weight.grad is None
    for parameter, done in ((model[0].weight, "thawed"), (model[2].bias, "frozen")):
        parameter.requires_grad = not parameter.requires_grad
        with pytest.raises(RuntimeError, match=f"parameter {parameter.name} of BatchNorm1d was {done} since"):
            fast(x)
        parameter.requires_grad = not parameter.requires_grad
        fast(x)
    with pytest.raises(RuntimeError, match="capture: parameter weight of BatchNorm1d is another array"):
        inference(x)  # the optimizer has put the parameters elsewhere
    with xpconv.no_grad():
        inference = xpconv.cuda.capture(lambda x: model(x), x, warmup=1)
    model.requires_grad_(False)
    inference(x)  # nothing learns in it anyway


def test_the_memory_of_a_graph_that_is_gone_is_given_back(cuda):
    x = xpconv.asarray(np.zeros(1))
    fast = xpconv.cuda.capture(lambda x: None, x, warmup=1)
    del cuda.log[:]
    del fast
    gc.collect()
    assert device.Products.alive == 0
    assert cuda.log == ["pool emptied"]
    assert len(recorder._pools) == 1  # somebody still has an array
    cuda.MemoryPool.used = 0
    xpconv.cuda.capture(lambda x: None, x, warmup=1)
    assert not [pool for pool in recorder._pools if pool.used]


def test_memory_that_runs_out_in_a_recording_is_no_reason_to_empty_the_pool(cuda):
    """CuPy's pool would, at an error of its own, and the graph knows what it would let go."""
    empty = recorder.Recorder(double.xp)
    with pytest.raises(device.CUDARuntimeError):
        empty.pool.malloc(8)
    fast = xpconv.cuda.capture(lambda x: None, xpconv.asarray(np.zeros(1)), warmup=1)
    for when, pool in ((recording(), empty.pool), (nullcontext(), fast._recorder.pool)):
        with when, pytest.raises(RuntimeError, match="no memory for 8 bytes in the graph") as info:
            pool.malloc(8)  # outside of a recording the graph uses what is free, too
        assert type(info.value) is RuntimeError


# --- feeding -----------------------------------------------------------------------------------------------


def numbered(count):
    for i in range(count):
        size = 2 if i < count - 1 else 1
        yield np.full((size, 3), i, "float32"), np.full(size, i)


def test_batches_are_sent_one_ahead_in_two_buffers(cuda):
    seen = []
    for x, y in xpconv.cuda.prefetch(numbered(4)):
        assert type(x) is type(y) is double.ndarray
        seen.append((x.get().tolist(), y.get().tolist()))
        cuda.log.append(f"work on {len(seen)}")
    assert seen == [(x.tolist(), y.tolist()) for x, y in numbered(4)]
    sent, received = "own waits for caller", "caller waits for own"
    assert cuda.log == [
        sent, sent, received, "work on 1", "host waits", sent, received, "work on 2", "host waits", sent,
        received, "work on 3", received, "work on 4",
    ]  # fmt: skip


def broken():
    yield np.zeros(1), np.zeros(1)
    yield np.ones(1), np.ones(1)
    raise OSError("no more")


def what_the_source_raises_comes_after_its_batches():
    seen = []

    def work():
        for x, _ in xpconv.cuda.prefetch(broken()):
            seen.append(float(x[0]))

    with pytest.raises(OSError, match="no more"):
        work()
    assert seen == [0.0, 1.0]
    assert list(xpconv.cuda.prefetch(iter([]))) == []


def test_a_loop_that_ends_early_waits_for_the_copy_that_is_under_way(cuda):
    for _ in xpconv.cuda.prefetch(numbered(4)):
        break
    gc.collect()
    assert cuda.log[-2:] == ["caller waits for own", "caller waits for own"]
    assert len(cuda.log) == 4


def places(loader, loop):
    found = []
    for _ in loop:
        state = loader.state_dict()
        found.append((state["epoch"], state["batch"]))
    return found


def test_the_state_of_the_source_does_not_count_the_batch_sent_ahead(cuda):
    loader = xpconv.data.batches(np.arange(7), 2, shuffle=True, seed=0)
    assert places(loader, xpconv.cuda.prefetch(loader)) == [(0, 1), (0, 2), (0, 3), (0, 4)]
    assert places(loader, []) == [] and loader.state_dict()["epoch"] == 1
    assert places(loader, xpconv.cuda.prefetch(loader)) == [(1, 1), (1, 2), (1, 3), (1, 4)]
    for last in range(1, 5):  # a loop that is left is an epoch, also at its last batch
        for number, _ in enumerate(xpconv.cuda.prefetch(loader), 1):
            if number == last:
                break
        state = loader.state_dict()
        assert (state["epoch"], state["batch"]) == (1 + last, last)
        rest = xpconv.data.batches(np.arange(7), 2, shuffle=True)
        rest.load_state_dict(state)
        assert len(list(rest)) == 4 - last
    loop = xpconv.cuda.prefetch(loader)
    next(loop)
    loader.load_state_dict({**state, "epoch": 50, "batch": 1})
    next(loop)
    assert loader.state_dict()["epoch"] == 50 and places(loader, loader)[0] == (50, 2)


def test_what_the_source_raises_comes_after_its_batches(backend):
    what_the_source_raises_comes_after_its_batches()


def test_what_the_source_raises_comes_after_its_batches_on_streams(cuda):
    what_the_source_raises_comes_after_its_batches()


# --- cuBLAS ------------------------------------------------------------------------------------------------


class Cublas:
    """`cublasGemmEx` in NumPy, on column-major memory."""

    stream = workspace = None
    alive = 0

    def cublasCreate_v2(self, handle):
        Cublas.alive += 1
        return 0

    def cublasDestroy_v2(self, handle):
        Cublas.alive -= 1
        return 0

    def cublasSetStream_v2(self, handle, stream):
        self.stream, self.workspace = stream, None  # as cuBLAS does
        return 0

    def cublasSetWorkspace_v2(self, handle, workspace, size):
        self.workspace = (workspace, size)
        return 0

    def cublasGemmEx(self, handle, flip_a, flip_b, m, n, k, alpha, a, a_type, lda, b, b_type, ldb, beta, c, c_type,
                     ldc, compute, algorithm):  # fmt: skip
        assert self.stream == 7
        assert self.workspace[1] == 32 << 20
        scalar, dtype = {68: (ctypes.c_float, "float32"), 70: (ctypes.c_double, "float64")}[compute]
        assert a_type == b_type == c_type == {"float32": 0, "float64": 1}[dtype]
        assert ctypes.cast(alpha, ctypes.POINTER(scalar))[0] == 1
        assert ctypes.cast(beta, ctypes.POINTER(scalar))[0] == 0

        def columns(pointer, rows, count, lead):
            assert lead >= max(1, rows)
            size = lead * (count - 1) + rows
            flat = np.ctypeslib.as_array(ctypes.cast(pointer, ctypes.POINTER(scalar)), (size,))
            return np.lib.stride_tricks.as_strided(flat, (rows, count), (flat.itemsize, flat.itemsize * lead))

        a = columns(a, k, m, lda).T if flip_a else columns(a, m, k, lda)
        b = columns(b, n, k, ldb).T if flip_b else columns(b, k, n, ldb)
        columns(c, m, n, ldc)[...] = a @ b
        return 0


@contextmanager
def recording():
    token = graph.recording.set(found := graph.Recording())
    try:
        yield found
    finally:
        graph.recording.reset(token)


class Matrix(np.ndarray):
    """NumPy's, with CuPy's `data`."""

    data = property(lambda self: types.SimpleNamespace(ptr=self.ctypes.data))


@given(data=st.data())
def test_products_in_a_capture_are_cublas_calls_in_column_major_order(data):
    sizes = st.integers(0, 5)
    m, k, n, groups = (data.draw(sizes) for _ in range(4))
    rng = np.random.default_rng(0)
    dtype = data.draw(st.sampled_from(["float32", "float64"]))

    def drawn(*shape):
        x = rng.normal(size=shape).astype(dtype)
        layout = data.draw(st.sampled_from(["rows", "columns", "apart"]))
        if layout == "columns":
            x = np.swapaxes(np.ascontiguousarray(np.swapaxes(x, -1, -2)), -1, -2)
        return (np.repeat(x, 2, axis=-1)[..., ::2] if layout == "apart" else x).view(Matrix)

    stream = types.SimpleNamespace(get_current_stream=lambda: types.SimpleNamespace(ptr=7),
                                   Device=lambda: types.SimpleNamespace(id=0))  # fmt: skip
    xp = types.SimpleNamespace(
        cuda=stream, ndarray=lambda *a: np.empty(*a).view(Matrix),
        ascontiguousarray=lambda x: np.ascontiguousarray(x).view(Matrix),
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch, recording() as capture:
        patch.setattr(gemm, "_library", lambda xp: Cublas())
        capture.products = gemm.Products(xp)
        a, b = drawn(m, k), drawn(k, n)
        np.testing.assert_allclose(gemm.matmul(xp, a, b), np.matmul(a, b), rtol=1e-5, atol=1e-6)
        a, b = drawn(groups, m, k), drawn(groups, k, n)
        if groups:
            np.testing.assert_allclose(gemm.group_matmul(xp, a, b), np.matmul(a, b), rtol=1e-5, atol=1e-6)
        capture.products.close()


def test_a_status_is_an_error():
    with pytest.raises(RuntimeError, match="cublasGemmEx failed with status 14"):
        gemm._check(14, "cublasGemmEx")


def test_cupy_is_told_of_tf32_once_it_is_switched(monkeypatch):
    monkeypatch.setattr(precision, "_tf32", None)
    monkeypatch.setattr(precision, "_passed_to_cupy", True)
    told = []
    core = types.SimpleNamespace(set_compute_type=lambda *a: told.append(a))
    xp = types.SimpleNamespace(_core=core, ndarray=np.ndarray, matmul=np.matmul)
    one = np.ones((1, 1))
    gemm.matmul(xp, one, one)
    xpconv.cuda.allow_tf32()
    assert xpconv.cuda.tf32_allowed()
    for _ in range(2):
        gemm.matmul(xp, one, one)
    xpconv.cuda.allow_tf32(False)
    gemm.group_matmul(xp, one[None], one[None])
    assert told == [("f", 7), ("f", 1)]
    assert not xpconv.cuda.tf32_allowed()
