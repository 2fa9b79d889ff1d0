"""What planned kernels promise, and that whatever arguments, threads and interrupts come, values are right."""

from __future__ import annotations

import importlib
import pkgutil
import signal
import threading
import tracemalloc

import numpy as np
import pytest
from deadline import until
from interrupts import at_bytecode, interrupt, stop_alarms
from kernel_cases import CASES, CONVOLUTIONS, Draw, all_plans
from numpy.lib.array_utils import byte_bounds
from operations import ours
from sharing import shared_by

import xpconv
import xpconv.kernels.numpy as kernels
from xpconv.kernels.engine import memory, plans, threads
from xpconv.kernels.numpy import norm, pointwise


@pytest.fixture(autouse=True)
def no_plans():
    """With any size of work shared between two threads, unless a test says otherwise."""
    with shared_by(2):
        yield


# --- what a kernel does depends on shapes, never on values ------------------------------------------------


def planned_kernels():
    modules = [
        importlib.import_module(f"{kernels.__name__}.{found.name}")
        for found in pkgutil.iter_modules(kernels.__path__)
    ]
    code = plans.planned(print).__code__
    return {
        value.__wrapped__
        for module in modules
        for value in vars(module).values()
        if getattr(value, "__code__", None) is code
    }


@pytest.fixture
def recordings(monkeypatch):
    """The calls of every kernel that was recorded, by its signature."""
    found = {}
    run, plan = plans.Arena.run, plans.Recorder.plan
    current = threading.local()

    def running(arena, kernel, args, key):
        current.key = key
        run(arena, kernel, args, key)

    def recorded(recorder, args):
        result = plan(recorder, args)
        assert result is not None, f"{current.key[0].__name__} has a new array as an operand"
        found.setdefault(current.key, []).append(described(recorder, args))
        return result

    monkeypatch.setattr(plans.Arena, "run", running)
    monkeypatch.setattr(plans.Recorder, "plan", recorded)
    return found


def described(recorder, args):
    """All calls, with what distinguishes their operands from others."""
    sources = {id(b): (key, byte_bounds(b)[0]) for key, b in recorder.arena.memory.blocks.items()}
    sources |= {id(a): (i, byte_bounds(a)[0]) for i, a in enumerate(args) if isinstance(a, np.ndarray)}

    def operand(value):
        if not isinstance(value, np.ndarray):
            return type(value), repr(value)
        root = value
        while id(root) not in sources and getattr(root, "base", None) is not None:
            root = root.base
        kind = value.shape, value.strides, value.dtype
        if id(root) not in sources:
            return *kind, value.tobytes()
        source, start = sources[id(root)]
        return *kind, source, value.ctypes.data - start if value.size else 0

    return [
        [[(c.function, operand(c.out), *map(operand, c.operands)) for c in calls] for calls in parts]
        for parts in recorder.sections
    ]


def other_contents(args):
    """The same arguments, with other numbers in the arrays."""

    def changed(change):
        return [change(a) if isinstance(a, np.ndarray) else a for a in args]

    def filled(value):
        def change(a):
            result = a.copy(order="K")
            if a.dtype.kind == "f":
                result[...] = value
            return result

        return change

    yield args
    yield changed(
        lambda a: a[...] if a.dtype.kind != "f" else (np.flip(a) * a.dtype.type(0.5)).astype(a.dtype)
    )
    for value in (0.0, 1.0, np.nan):
        yield changed(filled(value))


def same_layout(args, like):
    result = []
    for a, b in zip(args, like, strict=True):
        if isinstance(a, np.ndarray):
            copy = b.copy(order="K")
            copy[...] = a
            a = copy
        result.append(a)
    return result


def run_twice(operation, args):
    """So that the second call is recorded, in a new arena."""
    memory.free_memory()
    with np.errstate(all="ignore"):
        for _ in range(2):
            operation(np, *args)


def by_statistics(xp, x, weight, bias, mean, var, eps, bounds):
    """The operation has these kernels in inference plans alone."""
    inv_std = np.empty(var.shape)
    pointwise.by_parts(norm._inverse_std, eps, inv_std, var)
    return norm.batch_norm(xp, x, weight, bias, mean, inv_std, bounds)


def every_operation():
    """All overridden operations that have planned kernels, with their arguments."""
    for name, args in every_case():
        yield getattr(ours, name), args
    draw = Draw("float32")
    for bounds in (None, (0.0, None), (-0.5, 0.75)):
        arrays = draw(9), draw(9), draw(9) * 50, np.abs(draw(9)) + np.float32(0.1)
        yield by_statistics, (draw.images(2, 9, 6, 7), *arrays, 1e-5, bounds)


def every_case():
    for dtype in ("float32", "float64"):
        for name, cases in CASES.items():
            yield from ((name, args) for args in cases(Draw(dtype)))
    draw = Draw("float32")
    for shape, weight, window, groups in CONVOLUTIONS.values():
        x, w, y = draw(*shape), draw(*weight), draw(shape[0], weight[0], *window.output_shape(shape[2:]))
        yield "conv", (x, w, draw(weight[0]), window, groups, "auto", (0.0, 2.0))
        yield "conv_backward_weight", (y, x, weight, window, groups)
        yield "conv_backward_input", (y, w, shape, window, groups)
    x = draw.images(4, 6, 10, 10)
    yield "normalize_batch", (x, draw(6), draw(6), 1e-5)


@pytest.mark.slow
def test_what_a_kernel_does_depends_on_shapes_alone(recordings):
    for operation, args in every_operation():
        for contents in other_contents(args):
            run_twice(operation, same_layout(contents, args))
    missed = planned_kernels() ^ {key[0] for key in recordings}
    assert not missed, f"no case in tests/helpers/kernel_cases.py or here runs {missed}"
    assert max(map(len, recordings.values())) >= 4
    for key, (first, *others) in recordings.items():
        for other in others:
            assert other == first, f"{key[0].__name__}{key[1:]} depends on what is in its arguments"


def planted_value(do, x, y):
    do(np.multiply, x, float(x.max()), y)


def planted_branch(do, x, y):
    do(np.copyto, y, 1.0)
    if x.any():
        do(np.add, x, y, y)


def planted_constant(do, x, y):
    table = np.array([x.flat[0]])
    table.flags.writeable = False
    do(np.multiply, x, table, y)


@pytest.mark.parametrize("planted", [planted_value, planted_branch, planted_constant])
def test_a_planted_violation_is_found(planted, recordings):
    kernel = plans.planned(planted)
    operation = lambda xp, x: kernel(x, np.empty_like(x))
    for contents in other_contents([np.arange(1.0, 7)]):
        run_twice(operation, contents)
    (found,) = recordings.values()
    assert any(other != found[0] for other in found[1:])


def planted_copy(do, x, y):
    do(np.copyto, y, x * 2)


def planted_result(do, x, y):
    do(np.add, x, 1, np.empty_like(x))
    do(np.copyto, y, 2 * x)


@pytest.mark.parametrize("planted", [planted_copy, planted_result])
def test_a_kernel_with_new_arrays_runs_without_a_plan(planted):
    kernel = plans.planned(planted)
    for i in range(5):
        x = np.full((3, 4), float(i))
        y = np.empty_like(x)
        kernel(x, y)
        assert (y == 2 * i).all()
    assert not all_plans()


def test_values_are_the_same_before_at_and_after_recording(monkeypatch):
    """And replays were made of every kernel."""
    replayed = []
    run = plans.Plan.run
    monkeypatch.setattr(plans.Plan, "run", lambda plan, args: [replayed.append(plan), run(plan, args)][1])
    for operation, args in every_operation():
        results = []
        with np.errstate(all="ignore"):
            for _ in range(4):
                result = operation(np, *same_layout(args, args))
                results.append(result if isinstance(result, tuple) else (result,))
        for other in results[1:]:
            for a, b in zip(results[0], other, strict=True):
                np.testing.assert_array_equal(a, b)
                assert a is None or (a.dtype, a.strides) == (b.dtype, b.strides)
    assert len(replayed) > 100


# --- any arguments ------------------------------------------------------------------------------------------


def halves(do, x, y):
    """Parts of both, also backwards and of other shapes."""
    n = len(x) // 2
    do(np.multiply, x[:n], 2, y[:n])
    do(np.subtract, x[n:][::-1], 1, y[n:])
    do(np.negative, y[::2], out=y[::2])


def expected_halves(x):
    y, n = np.empty(x.shape, x.dtype), len(x) // 2
    y[:n], y[n:] = x[:n] * 2, x[n:][::-1] - 1
    y[::2] *= -1
    return y


BASE = np.arange(6.0 * 8 * 10).reshape(6, 8, 10)
LAYOUTS = {
    "as it is": lambda a: a,
    "Fortran": np.asfortranarray,
    "channels last": lambda a: np.ascontiguousarray(np.moveaxis(a, 1, -1)).swapaxes(1, 2),
    "gaps": lambda a: a[:, 1:5, ::2],
    "one axis": lambda a: a[:, 3, 4],
    "backwards": lambda a: a[::-1],
    "backwards with gaps": lambda a: a[::-2, :, 7:2:-2],
    "repeated": lambda a: np.broadcast_to(a[:, :1, :1], a.shape),
    "repeated and backwards": lambda a: np.broadcast_to(a[::-1, :1, :1], a.shape),
    "empty": lambda a: a[:, :0],
    "one number an axis": lambda a: a[:2, :1, :1],
    "other byte order": lambda a: a.astype(">f8"),
    "float16": lambda a: a.astype("float16"),
    "integers": lambda a: a.astype("int16"),
    "long double": lambda a: a.astype("longdouble"),
    "complex": lambda a: a + 1j,
    "misaligned": lambda a: np.frombuffer(b"x" + a.tobytes(), "float64", offset=1).reshape(a.shape),
    "part of records": lambda a: np.array([(1, 2.0)] * 6, [("a", "i1"), ("b", "f8")])["b"],
    "memory map": lambda a: a.view(np.memmap),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_any_layout(layout):
    """Read-only ones too; outputs of any layout that has no element twice."""
    kernel = plans.planned(halves)
    x = LAYOUTS[layout](BASE)
    for i in range(5):
        x = LAYOUTS[layout](BASE + i)
        x.flags.writeable = i % 2 == 0 and x.flags.writeable
        y = LAYOUTS[layout](np.zeros_like(BASE))
        if not y.flags.writeable:
            y = np.zeros(x.shape, x.dtype)
        kernel(x, y)
        np.testing.assert_array_equal(y, expected_halves(x))
    assert layout == "part of records" or len(all_plans()) == 1


def test_a_read_only_result_is_refused_before_and_after_recording():
    kernel = plans.planned(halves)
    for _ in range(3):
        kernel(BASE, np.empty_like(BASE))
        y = np.zeros_like(BASE)
        y.flags.writeable = False
        with pytest.raises(ValueError, match="read-only"):
            kernel(BASE, y)
        assert not y.any()


def test_arguments_of_no_axes():
    kernel = plans.planned(lambda do, x, y: do(np.add, x[...], 1, y.reshape(1)))
    for i in range(4):
        y = np.empty(())
        kernel(np.full((), float(i)), y)
        assert y == i + 1
    assert len(all_plans()) == 1


def same_memory():
    x = np.arange(8.0)
    return x, x


def overlapping():
    x = np.arange(12.0)
    return x[:8], x[4:]


def apart():
    return np.arange(8.0), np.zeros(8)


@pytest.mark.parametrize("first", [same_memory, overlapping, apart])
@pytest.mark.parametrize("second", [same_memory, overlapping, apart])
def test_arguments_that_share_memory(first, second):
    """A plan of some is right for others."""

    def kernel(do, x, y):
        do(np.add, x[:3], y[5:], y[1:4])
        do(np.multiply, x, 2, x)

    replayed = plans.planned(kernel)
    for make in (first,) * 3 + (second,) * 3:
        args, expected = make(), make()
        replayed(*args)
        kernel(lambda function, *operands: function(*operands), *expected)
        for a, b in zip(args, expected, strict=True):
            np.testing.assert_array_equal(a, b)
    assert len(all_plans()) == 1


def test_other_shapes_strides_dtypes_and_threads_have_other_plans():
    kernel = plans.planned(halves)
    for _ in range(3):
        for count in (1, 2):
            threads.set_num_threads(count)
            for x in (BASE, BASE[:, ::2], BASE.astype("float32"), BASE.reshape(6, 80), BASE.T.copy().T):
                y = np.empty_like(x)
                kernel(x, y)
                np.testing.assert_array_equal(y, expected_halves(x))
    assert len(all_plans()) == 2 * 5


# --- interrupts, other threads, and memory ------------------------------------------------------------------

FILES = [plans.__file__, memory.__file__]


def layer(seed):
    xpconv.manual_seed(seed)
    return xpconv.Sequential(
        xpconv.Conv2d(3, 4, 3, padding=1), xpconv.BatchNorm2d(4), xpconv.ReLU(), xpconv.MaxPool2d(2)
    )


def step(model, x):
    y = model(x)
    return y, model.backward(np.cos(y))


X = np.random.default_rng(0).normal(size=(2, 2, 3, 8, 8)).astype("float32")


@pytest.mark.sample(8)
@pytest.mark.parametrize(
    ("calls_before", "stride", "least"),
    [(0, 97, 20), (3, 197, 20), (1, 4999, 6), pytest.param(1, 2999, 10, marks=pytest.mark.slow)],
)
def test_a_layer_within_a_kernel(calls_before, stride, least):
    """As from a signal handler, a destructor or a callback: of the same shapes, so with the same scratch arrays."""
    model, other = layer(0), layer(1)
    expected = step(model, X[0]), step(other, X[1])
    number, found = 0, True
    while found:
        memory.free_memory()
        for _ in range(calls_before):
            step(model, X[0])
        inner, outer = [], []
        found = at_bytecode(
            number,
            lambda results=inner: results.append(step(other, X[1])),
            FILES,
            lambda results=outer: results.append(step(model, X[0])),
        )
        assert len(inner) == found
        for results, (y, dx) in ((outer, expected[0]), (inner, expected[1])):
            for result in results:
                np.testing.assert_array_equal(result[0], y)
                np.testing.assert_array_equal(result[1], dx)
        number += stride
    assert number > least * stride


@pytest.mark.parametrize(
    ("calls_before", "stride"), [(0, 7), (3, 7), (1, 29), pytest.param(1, 7, marks=pytest.mark.slow)]
)
def test_ctrl_c_within_a_kernel(calls_before, stride):
    """Right values, and all memory, afterwards."""
    kernel = plans.planned(lambda do, x, y: do.share(lambda part, i: halves(part, x[i], y[i]), len(x)))
    x = np.stack([BASE, 2 * BASE])

    def check():
        y = memory.empty(x.shape, x.dtype)
        kernel(x, y)
        np.testing.assert_array_equal(y, [expected_halves(part) for part in x])

    number = 0
    while True:
        memory.free_memory()
        for _ in range(calls_before):
            check()
        if not at_bytecode(number, interrupt, FILES, check):
            break
        for _ in range(4):
            check()
        memory.free_memory()
        assert memory.held_bytes() == 0
        number += stride
    assert number > 100


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no interval timers")
def test_signal_handlers_that_run_layers():
    """At any point, also within NumPy's calls, while two threads are at work."""
    model, other = layer(0), layer(1)
    expected, expected_other = step(model, X[0]), step(other, X[1])
    wrong, calls = [], []

    def handler(*_):
        y, dx = step(other, X[1])
        calls.append(1)
        wrong.extend(
            "handler" for a, b in zip((y, dx), expected_other, strict=True) if not np.array_equal(a, b)
        )

    before = signal.signal(signal.SIGALRM, handler)
    try:
        rng = np.random.default_rng(0)
        for _ in until(lambda: len(calls) >= 40, "40 calls of the handler"):
            signal.setitimer(signal.ITIMER_REAL, rng.uniform(1e-5, 3e-3))
            result = step(model, X[0])
            wrong.extend("step" for a, b in zip(result, expected, strict=True) if not np.array_equal(a, b))
    finally:
        stop_alarms(before)
    assert not wrong


def test_an_exception_discards_the_arena():
    """Another thread may still be using its arrays."""

    def fails(do, x, y):
        do(np.copyto, do.scratch("some", x.shape, x.dtype), x)
        do(np.log, x, y)

    kernel = plans.planned(fails)
    x = np.ones(8)
    for _ in range(3):
        kernel(x, np.empty(8))
    (arena,) = plans._idle
    with np.errstate(divide="raise"), pytest.raises(FloatingPointError):
        kernel(0 * x, np.empty(8))
    assert arena not in plans._idle
    kernel(x, np.empty(8))
    assert arena not in plans._idle


def test_a_call_takes_about_a_kilobyte():
    """So the bound in calls is one in bytes."""
    kernel = plans.planned(lambda do, x, y: [do(np.add, x[i], i + 1000, y[i]) for i in range(len(x))])
    x, y = np.zeros((2000, 3)), np.zeros((2000, 3))
    kernel(x, y)
    tracemalloc.start()
    try:
        kernel(x, y)
        size = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    (plan,) = all_plans()
    assert plan.size == 2000
    assert size < 1200 * plan.size


def test_an_arena_has_room_for_one_kernel_at_a_time():
    """Not for the scratch arrays of all; and two arrays of a kernel share no memory."""

    def kernel(do, names, size, y):
        arrays = [do.scratch(name, (size,), "float64") for name in names]
        for i, array in enumerate(arrays):
            do(np.copyto, array, i)
        larger = do.scratch(names[0], (2 * size,), "float64")  # of the same name: the first one is no more
        do(np.copyto, larger, 9)
        for array in arrays[1:]:
            do(np.add, y, array, y)

    kernel = plans.planned(kernel)
    for names, size in (("ab", 1000), ("cde", 500), ("f", 2000), ("ab", 1000)):
        for _ in range(4):
            y = np.zeros(size)
            kernel(names, size, y)
            assert (y == sum(range(len(names)))).all()
    (arena,) = plans._idle
    (block,) = arena.memory.blocks.values()
    assert block.size < 8 * 6000 + 4 * memory.LINE
    assert len(arena.plans) == 2  # since the block has grown


def test_signatures_and_arenas_are_bounded(monkeypatch):
    monkeypatch.setattr(plans, "MOST_SEEN", 20)
    kernel = plans.planned(halves)
    for n in range(2, 100):
        kernel(np.zeros(n), np.zeros(n))
    (arena,) = plans._idle
    assert len(arena.seen) <= 20
    gate = threading.Barrier(30)
    waiting = plans.planned(lambda do, x: gate.wait())
    callers = [threading.Thread(target=waiting, args=(np.zeros(n),)) for n in range(30)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert len(plans._idle) == plans.MOST_IDLE


def test_a_larger_scratch_array_discards_the_plans_of_the_smaller():
    def copy(do, x, y):
        do(np.copyto, do.scratch("x", x.shape, x.dtype), x)
        do(np.copyto, y, do.scratch("x", x.shape, x.dtype))

    kernel = plans.planned(copy)
    for n in (4, 4, 9, 4, 9, 4, 9, 4):
        x = np.arange(float(n))
        y = np.empty(n)
        kernel(x, y)
        np.testing.assert_array_equal(x, y)
    (arena,) = plans._idle
    (block,) = arena.memory.blocks.values()
    assert 9 * 8 <= block.size < 9 * 8 + memory.LINE
    assert arena.calls == 4
    assert len(arena.plans) == 2
