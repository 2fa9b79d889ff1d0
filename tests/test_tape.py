"""The tape: the order of backward is checked, threads are apart, and nothing is left after an exception."""

import contextlib
import contextvars
import dis
import gc
import signal
import sys
import threading
import weakref

import every
import numpy as np
import pytest
from deadline import until
from interrupts import at_bytecode, interrupt, stop_alarms

import xpconv
from xpconv import tape as tapes
from xpconv.errors import BackwardError

RNG = np.random.default_rng(0)
X = RNG.normal(size=(3, 4))
LAYERS = every.all_layers()


def net(dtype="float64", activation=xpconv.ReLU):
    return xpconv.Sequential(
        xpconv.Dense(4, 5, rng=0), activation(), xpconv.Residual(xpconv.Dense(5, 5, rng=1), xpconv.Tanh()),
        xpconv.Dense(5, 2, rng=2),
    ).to(dtype=dtype)  # fmt: skip


def arrays(value):
    return [a for a in (value if isinstance(value, tuple | list) else (value,)) if a is not None]


def step(model, x, g):
    """One forward and backward: the gradients of the input and the parameters."""
    y = model(x)
    dx = model.backward(g)
    grads = [p.grad.copy() for p in model.parameters()]
    model.zero_grad()
    return [y, dx, *grads]


def same(ours, theirs):
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(xpconv.asnumpy(a), xpconv.asnumpy(b))


class Pair(xpconv.Layer):
    """`b(a(x))`, with a backward of any kind."""

    def __init__(self, backward=None, keeps=True):
        self.a, self.b = xpconv.Dense(4, 3, rng=0, dtype="float64"), xpconv.Tanh()
        self.keeps, self.how = keeps, backward

    def forward(self, x):
        y = self.b(self.a(x))
        return self.keep(y) if self.keeps else y

    def backward(self, grad_output, input_grad=True):
        if self.how is not None:
            return self.how(self, grad_output, input_grad)
        if self.keeps:
            self.recall(grad_output, input_grad)
        return self.a.backward(self.b.backward(grad_output), input_grad=input_grad)


G = RNG.normal(size=(3, 3))


# --- order -------------------------------------------------------------------------------------------------


def test_a_wrong_order_is_an_error_that_names_both(backend):
    pair = Pair(lambda s, g, i: s.b.backward(s.a.backward(s.recall(g, i) or g)))
    model = xpconv.Sequential(pair).to(xpconv.get_backend())
    for whole in (pair, model):
        whole(xpconv.asarray(X))
        with pytest.raises(
            BackwardError, match=r"Dense\.backward: .* of Dense\(4, 3\) .*is that of Tanh\(\)"
        ):
            whole.backward(xpconv.asarray(G))
        assert not whole._finished()


def test_a_child_without_its_forward_is_an_error():
    def extra(self, grad, input_grad):
        self.recall(grad, input_grad)
        self.a.backward(self.b.backward(grad))
        return self.a.backward(grad)

    pair = Pair(extra)
    pair(X)
    with pytest.raises(BackwardError, match=r"Dense\.backward: there is no forward of Dense\(4, 3\) "):
        pair.backward(G)


@pytest.mark.parametrize("again", [True, False])
def test_a_layer_made_within_forward(again):
    """It is gone when backward begins, whether that makes another one or leaves it out."""

    class Net(xpconv.Layer):
        def __init__(self):
            self.fc = xpconv.Dense(4, 4, dtype="float64", rng=0)

        def forward(self, x):
            return self.keep(xpconv.ReLU()(self.fc(x)))

        def backward(self, grad_output, input_grad=True):
            self.recall(grad_output, input_grad)
            return self.fc.backward(xpconv.ReLU().backward(grad_output) if again else grad_output)

    for model in (Net(), xpconv.Sequential(Net())):
        y = model(X)
        with pytest.raises(BackwardError, match=r"a layer that no longer exists.* in __init__") as caught:
            model.backward(np.ones_like(y))
        assert "None" not in str(caught.value)


def test_layers_of_a_model_have_no_backward_of_their_own():
    model = net()
    model(X)
    with pytest.raises(
        BackwardError, match=r"Dense\.backward: .*call backward of the model, not of its layers"
    ):
        model[-1].backward(np.ones((3, 2)))
    assert model.backward(np.ones((3, 2))).shape == X.shape


@pytest.mark.parametrize("keeps", [True, False])
def test_layers_of_ones_own_made_of_layers(keeps):
    """With a `keep` of its own or without, alone and within models."""
    expected = step(xpconv.Sequential(Pair()), X, G)
    same(step(Pair(keeps=keeps), X, G), expected)
    same(step(xpconv.Sequential(Pair(keeps=keeps)), X, G), expected)
    outer = Pair(keeps=keeps)
    outer.b = xpconv.Sequential(xpconv.Identity(), xpconv.Tanh())
    same(step(outer, X, G), expected)


def test_a_child_may_be_skipped():
    """As a frozen one: what it saved is discarded with its parent's part of the tape."""

    class Skips(Pair):
        def backward(self, grad_output, input_grad=True):
            self.recall(grad_output, input_grad)
            return grad_output[:, :1] * np.ones((1, 4))

    first = xpconv.Dense(4, 4, rng=3, dtype="float64")
    model = xpconv.Sequential(first, Skips())
    x = model(X)
    dx = model.backward(np.ones_like(x))
    np.testing.assert_allclose(dx, np.ones((3, 4)) @ first.weight.data)
    assert not model._finished()


def test_one_layer_in_several_places(backend):
    shared = xpconv.Dense(4, 4, rng=0, dtype="float64").to(xpconv.get_backend())
    relu = xpconv.ReLU()
    model = xpconv.Sequential(shared, relu, xpconv.Residual(shared, relu), relu, shared)
    twins = [xpconv.Dense(4, 4, rng=0, dtype="float64").to(xpconv.get_backend()) for _ in range(3)]
    apart = xpconv.Sequential(
        twins[0], xpconv.ReLU(), xpconv.Residual(twins[1], xpconv.ReLU()), xpconv.ReLU(), twins[2]
    )
    x, g = xpconv.asarray(X), xpconv.asarray(RNG.normal(size=X.shape))
    y, dx, *grads = step(model, x, g)
    z, dz, *others = step(apart, x, g)
    same([y, dx], [z, dz])
    for i, total in enumerate(grads):
        np.testing.assert_allclose(xpconv.asnumpy(total), sum(map(xpconv.asnumpy, others[i::2])), rtol=1e-12)


def test_a_look_at_the_model_between_forward_and_backward():
    model, g = net(), RNG.normal(size=(3, 2))
    expected = step(model, X, g)
    y = model(X)
    model.summary((4,))
    xpconv.explain(model, (4,))
    repr(model), model.state_dict(), model[1](X), model[:2](7 * X)
    with xpconv.no_grad():
        model(-X)
    dx = model.backward(g)
    same([y, dx, *(p.grad for p in model.parameters())], expected)


def test_a_layer_that_computes_its_forward_again():
    """Gradient checkpointing: nothing but the input is kept, and the forward runs again in backward."""

    class Checkpoint(xpconv.Layer):
        def __init__(self, body):
            self.body = body

        def forward(self, x):
            with xpconv.no_grad():
                y = self.body(x)
            return self.keep(y, x)

        def backward(self, grad_output, input_grad=True):
            (x,) = self.recall(grad_output, input_grad)
            self.body(x)
            return self.body.backward(grad_output, input_grad=input_grad)

    g = RNG.normal(size=(3, 2))
    expected = step(xpconv.Sequential(net(), xpconv.Tanh()), X, g)
    same(step(xpconv.Sequential(Checkpoint(net()), xpconv.Tanh()), X, g), expected)


def test_functions_set_in_place_of_forward_and_backward():
    model, g = net(), RNG.normal(size=(3, 2))
    expected = step(model, X, g)
    calls = []
    for layer in (model[0], model[1], model[2]):

        def forward(x, _forward=layer.forward, _layer=layer):
            calls.append(_layer)
            return _forward(x)

        def backward(grad, input_grad=True, _backward=layer.backward, _layer=layer):
            calls.append(_layer)
            return _backward(grad, input_grad=input_grad)

        layer.forward, layer.backward = forward, backward
    same(step(model, X, g), expected)
    assert calls == [model[0], model[1], model[2], model[2], model[1], model[0]]
    calls.clear()
    alone = model[1].forward(X)
    np.testing.assert_array_equal(model[1].backward(np.ones_like(alone)), alone > 0)
    assert calls == [model[1]] * 2


# --- exceptions --------------------------------------------------------------------------------------------


class Fails(xpconv.Layer):
    """The identity, which fails when its turn comes."""

    turns = 0

    def forward(self, x):
        self._count()
        return self.keep(x)

    def backward(self, grad_output, input_grad=True):
        self.recall(grad_output, input_grad)
        self._count()
        return grad_output

    def _count(self):
        Fails.turns -= 1
        if Fails.turns == 0:
            raise KeyError("its turn")


def test_an_exception_anywhere_leaves_nothing(backend):
    make = lambda: xpconv.Sequential(
        xpconv.Dense(4, 5, rng=0, dtype="float64"), Fails(),
        xpconv.Residual(Fails(), xpconv.Parallel(xpconv.Tanh(), Fails())), Fails(),
        xpconv.Concat(xpconv.Identity(), Fails(), axis=1), xpconv.Dense(10, 2, rng=1, dtype="float64"),
    ).to(xpconv.get_backend())  # fmt: skip
    x, g = xpconv.asarray(X), xpconv.asarray(RNG.normal(size=(3, 2)))
    Fails.turns = 0
    expected = step(make(), x, g)
    model = make()
    for turn in range(1, 11):
        Fails.turns = turn
        with pytest.raises(KeyError):
            step(model, x, g)
        Fails.turns = 0
        assert not any(layer._finished() for layer in model.modules())
        model.zero_grad()
        same(step(model, x, g), expected)


def test_a_layer_may_catch_the_failure_of_a_child():
    class Tries(Pair):
        def forward(self, x):
            try:
                return self.keep(self.b(self.a(x)))
            except KeyError:
                return self.keep(self.b(self.c(x)))

        def backward(self, grad_output, input_grad=True):
            self.recall(grad_output, input_grad)
            return self.c.backward(self.b.backward(grad_output), input_grad=input_grad)

    tries = Tries()
    tries.c, tries.a = tries.a, xpconv.Sequential(tries.a, Fails())
    Fails.turns = 1
    got = tries(X)
    Fails.turns = 0
    dx = tries.backward(G)
    same([got, dx], step(Pair(), X, G)[:2])


# --- record and pullback -----------------------------------------------------------------------------------


@pytest.mark.sample(4)
@pytest.mark.parametrize("key", LAYERS)
def test_pullback_is_backward_in_any_order_and_number(key, backend):
    make, inputs = LAYERS[key]
    xpconv.manual_seed(0)
    layer = make()
    first = [xpconv.asarray(x.copy()) for x in inputs]
    second = [xpconv.asarray(x[::-1].copy()) for x in inputs]
    a, tape_a = layer.record(*first)
    b, tape_b = layer.record(*second)
    assert not layer._finished()
    grads = []
    for y in (a, b):
        shape, dtype = arrays(y)[0].shape, arrays(y)[0].dtype
        grads.append(xpconv.asarray(np.random.default_rng(1).normal(size=shape), str(dtype)))
    results = {}
    for name, tape, g in (("a", tape_a, grads[0]), ("b", tape_b, grads[1]), ("a", tape_a, grads[0])):
        layer.zero_grad()
        found = [*arrays(layer.pullback(tape, g)), *(p.grad for p in layer.parameters())]
        found = [xpconv.asnumpy(x).copy() for x in found]
        if name in results:
            same(found, results[name])
        results[name] = found
    xpconv.manual_seed(0)
    twin = make()
    for name, given, g in (("a", first, grads[0]), ("b", second, grads[1])):
        twin.zero_grad()
        twin(*given)
        expected = [*arrays(twin.backward(g)), *(p.grad for p in twin.parameters())]
        same(results[name], expected)


def test_errors_of_record_and_pullback():
    model = net()
    with (
        xpconv.no_grad(),
        pytest.raises(BackwardError, match=r"Sequential\.record: within no_grad\(\) nothing"),
    ):
        model.record(X)
    y, tape = model.record(X)
    with pytest.raises(
        TypeError, match=r"Sequential\.pullback: tape is ndarray, expected the second value of"
    ):
        model.pullback(y, tape)
    with pytest.raises(BackwardError, match=r"Dense\.backward: .* is that of Sequential"):
        model[0].pullback(tape, y)
    with pytest.raises(xpconv.errors.ShapeError, match=r"Sequential\.backward: grad_output has shape"):
        model.pullback(tape, y[:1])
    assert not model._finished()
    assert model.pullback(tape, y).shape == X.shape


# --- threads and interrupts --------------------------------------------------------------------------------


def test_threads_train_through_one_model():
    model, g = net(), RNG.normal(size=(3, 2))
    batches = [RNG.normal(size=(3, 4)) for _ in range(40)]
    alone = net()
    expected = []
    for x in batches:
        alone(x)
        expected.append(alone.backward(g))
    found, errors = [None] * len(batches), []
    start = threading.Barrier(4)

    def train(mine):
        try:
            start.wait()
            for i in mine:
                model(batches[i])
                found[i] = model.backward(g)
        except Exception as error:
            errors.append(error)
            raise

    threads = [threading.Thread(target=train, args=(range(k, 40, 4),)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    same(found, expected)
    for ours, theirs in zip(model.parameters(), alone.parameters(), strict=True):
        np.testing.assert_allclose(ours.grad, theirs.grad, rtol=1e-12)


def test_a_forward_in_another_thread_is_not_this_threads():
    model = net()
    thread = threading.Thread(target=lambda: model(X))
    thread.start()
    thread.join()
    with pytest.raises(BackwardError, match="in the same thread"):
        model.backward(np.ones((3, 2)))


def test_sums_of_gradients_of_threads_are_whole():
    """`accumulate` adds what is there and what is new in one piece."""
    parameter = xpconv.Parameter(np.zeros(200_000), "p")
    start = threading.Barrier(4)

    def add():
        start.wait()
        for _ in range(25):
            parameter.accumulate(np.ones(200_000))

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    np.testing.assert_array_equal(parameter.grad, 100.0)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="there are no interval timers")
@pytest.mark.parametrize("same_model", [True, False])
def test_a_layer_in_a_signal_handler(same_model):
    """It interrupts forwards and backwards of a model: that has the right gradients, and so has the handler."""
    net_of_tanh = lambda: net(activation=xpconv.Tanh)
    model, g = net_of_tanh(), RNG.normal(size=(3, 2))
    other = (
        model if same_model else xpconv.Sequential(xpconv.Dense(4, 2, rng=9, dtype="float64"), xpconv.Tanh())
    )
    reference = (
        net_of_tanh()
        if same_model
        else xpconv.Sequential(xpconv.Dense(4, 2, rng=9, dtype="float64"), xpconv.Tanh())
    )
    z = reference(-X)
    dz = reference.backward(g)
    expected = step(net_of_tanh(), X, g)[:2]
    wrong, ran = [], []

    def handler(*_):
        ran.append(1)
        y = other(-X)
        dx = other.backward(g)
        if not (np.array_equal(y, z) and np.array_equal(dx, dz)):
            wrong.append((y, dx))

    before = signal.signal(signal.SIGALRM, handler)
    try:
        rng = np.random.default_rng(0)
        for _ in until(lambda: len(ran) >= 100, "100 calls of the handler"):
            signal.setitimer(signal.ITIMER_REAL, rng.uniform(1e-5, 5e-4))
            y = model(X)
            dx = model.backward(g)
            if not (np.array_equal(y, expected[0]) and np.array_equal(dx, expected[1])):
                wrong.append((y, dx))
    finally:
        stop_alarms(before)
    assert not wrong


def test_a_dropped_layer_is_gone_at_once():
    """With what its forwards have saved: nothing waits for the garbage collector."""
    gc.collect()
    gc.disable()
    try:
        for make in (net, Pair, lambda: xpconv.Tanh(), lambda: xpconv.Sequential(net(), xpconv.Tanh())):
            layer = make()
            layer(X)
            layer.forward(X)
            gone = weakref.ref(layer)
            del layer
            assert gone() is None
    finally:
        gc.enable()


class Reuses(xpconv.Layer):
    """`b(2 a(x) + x)`, with every array changed in place after it was passed on."""

    def __init__(self, a, b, spoils):
        self.a, self.b, self.spoils = a, b, spoils

    def forward(self, x):
        h = x.copy()
        y = self.a(h)
        if self.spoils:
            h *= 0
        z = 2 * y + x
        if self.spoils:
            y += 7
        out = self.b(z)
        if self.spoils:
            z *= -3
        return self.keep(out)

    def backward(self, grad_output, input_grad=True):
        self.recall(grad_output)
        grad = self.b.backward(grad_output)
        return self.a.backward(2 * grad) + grad


@pytest.mark.parametrize("wrap", [lambda layer: layer, xpconv.Sequential, lambda layer: residual_of(layer)])
def test_arrays_that_a_layer_of_ones_own_changes(wrap):
    """First children that are models, or layers: what they saved is not what the layer's code can reach."""
    g = RNG.normal(size=(3, 4))
    for kind in (
        lambda: xpconv.Sequential(xpconv.Dense(4, 4, rng=0, dtype="float64"), xpconv.Tanh()),
        lambda: xpconv.Residual(xpconv.Dense(4, 4, rng=0, dtype="float64")),
        lambda: xpconv.Dense(4, 4, rng=0, dtype="float64"),
        xpconv.ReLU,
    ):
        found = [step(wrap(Reuses(kind(), kind(), spoils)), X, g) for spoils in (False, True)]
        same(*found)


def residual_of(layer):
    return xpconv.Residual(layer, xpconv.Tanh(), shortcut=xpconv.Dense(4, 4, rng=3, dtype="float64"))


@pytest.mark.parametrize("name", every.LOSSES)
def test_pullback_of_losses(name, backend):
    options, inputs = every.LOSSES[name]
    criterion = getattr(xpconv, name)(**options)
    given = [xpconv.asarray(x.copy()) for x in inputs]
    loss, tape = criterion.record(*given)
    criterion(*given[:1], *given[1:])
    for scale in (1.0, 0.5):
        criterion.forget()
        assert np.array_equal(xpconv.asnumpy(criterion(*given)), xpconv.asnumpy(loss))
        same(arrays(criterion.pullback(tape, scale)), arrays(criterion.backward(scale)))
    expected = arrays(criterion.pullback(tape))
    same(arrays(criterion.pullback(tape, 1.0)), expected)
    for setting in vars(criterion).keys() - {"_tapes"}:  # backward goes by the settings of its forward
        value = vars(criterion)[setting]
        setattr(criterion, setting, not value if isinstance(value, bool) else OTHERS.get(str(value), 0.3))
    same(arrays(criterion.pullback(tape)), expected)


OTHERS = {"mean": "sum", "sum": "mean", "-100": 1, "None": np.array([0.5])}


class OneBuffer(xpconv.Layer):
    """`sin(x)`, always in the same array."""

    def __init__(self, buffer):
        self.buffer = buffer

    def forward(self, x):
        self.buffer[...] = np.sin(x)
        return self.keep(self.buffer, x)

    def backward(self, grad_output, input_grad=True):
        (x,) = self.recall(grad_output)
        return grad_output * np.cos(x) if input_grad else None


class Sine(OneBuffer):
    def forward(self, x):
        return self.keep(np.sin(x), x)


def test_a_layer_that_returns_the_same_array_again():
    """The layers after it have saved what was in it at their time."""
    found = []
    for kind in (Sine, OneBuffer):
        shared = kind(np.zeros((3, 4)))
        dense = [xpconv.Dense(4, 4, rng=i, dtype="float64") for i in range(3)]
        model = xpconv.Sequential(
            dense[0], shared, dense[1], shared, dense[2], xpconv.Residual(shared), shared
        )
        found.append([*step(model, X, np.ones((3, 4)))])
    same(*found)


class Recorded(xpconv.Layer):
    """`body(x) + body(2 x)`, with tapes of its own, which it goes back through in the order of the forwards."""

    def __init__(self, body):
        self.body = body

    def forward(self, x):
        (a, first), (b, second) = self.body.record(x), self.body.record(2 * x)
        return self.keep(a + b, first, second)

    def backward(self, grad_output, input_grad=True):
        first, second = self.recall(grad_output)
        grad = self.body.pullback(first, grad_output)
        return grad + 2 * self.body.pullback(second, grad_output)


def test_record_and_pullback_within_a_layer(backend):
    make = lambda: net().to(xpconv.get_backend())
    x, g = xpconv.asarray(X), xpconv.asarray(RNG.normal(size=(3, 2)))
    body = make()
    a, da, *grads = step(body, x, g)
    b, db, *others = step(body, 2 * x, g)
    expected = [a + b, da + 2 * db, *(p + q for p, q in zip(grads, others, strict=True))]
    for model in (Recorded(make()), xpconv.Sequential(Recorded(make()))):
        for ours, theirs in zip(step(model, x, g), expected, strict=True):
            np.testing.assert_allclose(xpconv.asnumpy(ours), xpconv.asnumpy(theirs), rtol=1e-12)
        assert not any(layer._finished() for layer in model.modules())


def test_ctrl_c_at_the_ends_of_a_no_grad_block():
    """After each call, which is where Python handles signals."""

    def interrupted(number):
        left = number

        def trace(frame, event, argument):
            nonlocal left
            if frame.f_code.co_filename != tapes.__file__:
                return None
            frame.f_trace_opcodes = True
            if event == "opcode":
                before = [i.opname for i in dis.get_instructions(frame.f_code) if i.offset < frame.f_lasti]
                left -= bool(before) and before[-1].startswith("CALL")
                if left < 0:
                    sys.settrace(None)
                    raise KeyboardInterrupt
            return trace

        block, outside = xpconv.no_grad(), sys.gettrace()
        sys.settrace(trace)
        try:
            with block:
                pass
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(outside)
        return left < 0

    for nested in (False, True):
        with xpconv.no_grad() if nested else contextlib.nullcontext():
            number = 0
            while interrupted(number):
                assert tapes.saving() is not nested, number
                number += 1
            assert number >= 2
        assert tapes.saving()


def test_a_no_grad_block_in_a_context_of_its_own_ends_in_any_case():
    """Also if Ctrl-C comes before the first bytecode of `__exit__`."""

    def block():
        with xpconv.no_grad():
            assert not tapes.saving()

    number = 0
    while at_bytecode(number, interrupt, [tapes.__file__], lambda: contextvars.copy_context().run(block)):
        assert tapes.saving()
        number += 1
    assert number > 20
