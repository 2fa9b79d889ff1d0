"""Hooks: each sees its layer's own arrays, also where layers would be fused, and leaves nothing behind."""

import copy
import gc
import pickle
import sys
import threading
import weakref

import every
import numpy as np
import pytest

import xpconv
from xpconv import BatchNorm2d, Conv2d, Dense, Flatten, MaxPool2d, ReLU, Residual, Sequential
from xpconv.errors import BackendError, DTypeError, ShapeError

LAYERS = every.all_layers()
RNG = np.random.default_rng(3)
X = RNG.normal(size=(2, 3, 8, 8)).astype("float32")


def net(seed=0):
    """What fusion changes: Conv and ReLU, ReLU and MaxPool, Residual and ReLU, BatchNorm and ReLU, Dense and ReLU."""
    return Sequential(
        Conv2d(3, 4, 3, padding=1, rng=seed), ReLU(), MaxPool2d(2),
        Residual(Conv2d(4, 4, 3, padding=1, rng=seed + 1), BatchNorm2d(4), ReLU(), Conv2d(4, 4, 1, rng=seed + 2)), ReLU(),
        xpconv.SeparableConv2d(4, 4, 3, padding=1, rng=seed + 3), xpconv.SqueezeExcitation(4, 2, rng=seed),
        Flatten(), Dense(64, 6, rng=seed + 4), xpconv.ReLU6(), xpconv.Identity(), Dense(6, 3, rng=seed + 5),
    )  # fmt: skip


def on(backend, value):
    if isinstance(value, tuple | list):
        return tuple(on(backend, v) for v in value)
    return None if value is None else xpconv.asarray(value, backend=backend)


def host(value):
    if isinstance(value, tuple | list):
        return [host(v) for v in value]
    return None if value is None else np.array(xpconv.asnumpy(value))


def same(ours, theirs, rtol=0.0):
    if isinstance(ours, list):
        assert len(ours) == len(theirs)
        for a, b in zip(ours, theirs, strict=True):
            same(a, b, rtol)
    elif ours is None or theirs is None:
        assert ours is theirs
    else:
        np.testing.assert_allclose(ours, theirs, rtol=rtol, atol=rtol)


def watch(model, calls, grads):
    """Hooks on all layers: what each got and gave, as copies on the host."""
    handles = []
    for name, layer in model.named_layers():

        def after(layer, inputs, y, name=name):
            calls.append((name, host(inputs), host(y), (inputs, y)))

        def back(layer, grad_input, grad_output, name=name):
            grads.append((name, host(grad_input), host(grad_output), (grad_input, grad_output)))

        handles += [layer.register_forward_hook(after), layer.register_full_backward_hook(back)]
    return handles


def step(model, inputs, input_grad=True):
    y = model(*inputs)
    first = y[0] if isinstance(y, tuple) else y
    grad = xpconv.asarray(
        np.random.default_rng(1).normal(size=first.shape), str(first.dtype), backend=xpconv.get_backend()
    )
    dx = model.backward(grad, input_grad=input_grad)
    grads = [p.grad for p in model.parameters()]
    return host([y, dx, *grads])


# --- every layer -------------------------------------------------------------------------------------------


@pytest.mark.sample(4)
@pytest.mark.parametrize(
    "backend", ["numpy", pytest.param("double", marks=pytest.mark.slow), "cupy"], indirect=True
)
@pytest.mark.parametrize("key", LAYERS)
def test_every_layer_shows_its_own_arrays(backend, key):
    """Alone and before a ReLU; the arrays stay as they were when the hook got them."""
    make, inputs = LAYERS[key]
    inputs = on(backend, inputs)
    several = len(inputs) > 1 or "return_indices" in key
    for whole in (lambda: make(), lambda: Sequential(make()) if several else Sequential(make(), ReLU())):
        if several and isinstance(whole(), Sequential):
            continue
        model, twin = whole(), whole()
        apart = [copy.deepcopy(layer) for _, layer in twin.named_layers()]
        calls, grads = [], []
        watch(model, calls, grads)
        same(step(model, inputs), step(twin, inputs), 2e-6)
        names = [name for name, _ in model.named_layers()]
        assert {name for name, *_ in calls} == {name for name, *_ in grads} == set(names)
        for name, given, y, kept in calls:
            same(host(kept), [given, y])  # nobody has written to them since
            layer = apart[names.index(name)]
            same(host(layer(*on(backend, tuple(given)))), y, 2e-6)
        for (name, grad_input, grad_output, kept), call in zip(grads, reversed(calls), strict=False):
            same(host(kept), [grad_input, grad_output])
            if name == call[0]:  # containers are called in another order
                dx = apart[names.index(name)].backward(on(backend, grad_output[0]))
                same(host(dx if isinstance(dx, tuple) else (dx,)), grad_input, 2e-6)


@pytest.mark.sample(3)
@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize("fuse", [False, True])
def test_what_is_fused_runs_apart_where_it_has_hooks(backend, mode, fuse):
    model = net().to(backend)
    x = xpconv.asarray(X, backend=backend)
    if fuse:
        if mode == "train":
            return
        model = model.fuse()
    getattr(model, mode)()
    expected = step(model, [x])
    with xpconv.no_grad():
        quiet = host(model(x))
    for name, layer in model.named_layers():
        if layer is model:
            continue
        model.zero_grad()
        seen = []
        with layer.register_forward_hook(
            lambda layer, inputs, y, seen=seen: seen.append((host(inputs), host(y)))
        ):
            if mode == "eval":
                same(step(model, [x]), expected, 2e-5)
            with xpconv.no_grad():
                same(host(model(x)), quiet, 2e-5)
                for given, y in seen:
                    same(host(copy.deepcopy(layer)(*on(backend, tuple(given)))), y, 2e-6)
        assert len(seen) == (2 if mode == "eval" else 1), name


def test_arrays_of_inference_stay_as_they_were():
    model = net().eval().fuse()
    seen = []
    model[3].register_forward_hook(lambda layer, inputs, y: seen.append((inputs, y, host(inputs), host(y))))
    with xpconv.no_grad():
        for i in range(5):
            model(X + i)
    for inputs, y, given, output in seen:
        same([host(inputs), host(y)], [given, output])
    assert len({y[0, 0, 0, 0] for _, y, *_ in seen}) == 5


# --- PyTorch -----------------------------------------------------------------------------------------------


def twins():
    torch = pytest.importorskip("torch")
    nn = torch.nn

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Sequential(
                nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 1)
            )

        def forward(self, x):
            return self.body(x) + x

    theirs = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), Block(), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)
    )  # fmt: skip
    ours = Sequential(
        Conv2d(3, 4, 3, padding=1), ReLU(), MaxPool2d(2),
        Residual(Conv2d(4, 4, 3, padding=1), BatchNorm2d(4), ReLU(), Conv2d(4, 4, 1)), ReLU(), Flatten(), Dense(64, 3),
    )  # fmt: skip
    ours.load_state_dict(theirs.state_dict())
    return torch, theirs.double(), ours.to(dtype="float64")


@pytest.mark.filterwarnings("ignore:Full backward hook is firing")  # PyTorch's, of the first layer
@pytest.mark.parametrize("input_grad", [True, False])
def test_hooks_see_what_pytorchs_see(input_grad):
    torch, theirs, ours = twins()
    x = X.astype("float64")
    calls, grads, expected = [], [], {}
    watch(ours, calls, grads)
    for name, module in theirs.named_modules():

        def after(module, inputs, y, name=name):
            expected.setdefault(name, []).append([host([i.detach() for i in inputs]), host(y.detach())])

        def back(module, grad_input, grad_output, name=name):
            expected[name].append([host(list(grad_input)), host(list(grad_output))])

        module.register_forward_hook(after)
        module.register_full_backward_hook(back)
    g = RNG.normal(size=(2, 3))
    theirs(torch.tensor(x, requires_grad=input_grad)).backward(torch.tensor(g))
    ours(x)
    ours.backward(g, input_grad=input_grad)
    assert [name for name, *_ in calls] == list(expected)
    for name, given, y, _ in calls:
        same([given, y], expected[name][0], 1e-12)
    order = [name for name in expected if len(expected[name]) == 2]
    assert sorted(name for name, *_ in grads) == sorted(order)
    for name, grad_input, grad_output, _ in grads:
        same([grad_input, grad_output], expected[name][1], 1e-12)


def test_returned_gradients_are_those_of_pytorch():
    torch, theirs, ours = twins()
    x = X.astype("float64")
    for model in (theirs, ours):
        model[1].register_full_backward_hook(lambda layer, grad_input, grad_output: (grad_input[0] * 2,))
        model[4].register_full_backward_hook(lambda layer, grad_input, grad_output: (grad_input[0] + 1,))
        model[2].register_full_backward_hook(lambda layer, grad_input, grad_output: None)
        model[3].register_forward_pre_hook(lambda layer, inputs: inputs[0] + 0.5)
        model[5].register_forward_hook(lambda layer, inputs, y: y - 0.25)
    tx = torch.tensor(x, requires_grad=True)
    y = theirs(tx)
    y.backward(torch.ones_like(y))
    same(host(ours(x)), host(y.detach()), 1e-12)
    same(host(ours.backward(np.ones((2, 3)))), host(tx.grad), 1e-12)
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        same(host(p.grad), host(q.grad), 1e-12)


# --- returned values ---------------------------------------------------------------------------------------


def test_returned_values_take_the_place_of_inputs_and_outputs(backend):
    x = xpconv.asarray([[-1.0, 2.0]], backend=backend)
    model = Sequential(xpconv.Identity(), ReLU(), xpconv.Identity())
    model[1].register_forward_pre_hook(lambda layer, inputs: (-inputs[0],))
    model[1].register_forward_pre_hook(lambda layer, inputs: [inputs[0] + 1])
    model[1].register_forward_hook(lambda layer, inputs, y: y * 10)
    model[1].register_forward_hook(lambda layer, inputs, y: y + 1)
    assert host(model(x)).tolist() == [[21.0, 1.0]]
    assert host(model.backward(xpconv.asarray([[1.0, 1.0]], backend=backend))).tolist() == [[1.0, 0.0]]


@pytest.mark.parametrize(
    ("result", "error", "message"),
    [
        (lambda a: a[:, :1], ShapeError, r"returned an array of shape \(2, 1\), expected \(2, 3\)"),
        (
            lambda a: a.astype("float64"),
            DTypeError,
            r"returned an array of float64, expected float32.*astype",
        ),
        (lambda a: 1.0, BackendError, r"returned 1\.0, expected None or an array of "),
        (lambda a: (a, a), TypeError, "returned"),
    ],
)
def test_other_shapes_and_dtypes_are_errors_that_name_layer_and_hook(backend, result, error, message):
    model = Sequential(Dense(3, 3, rng=0), ReLU()).to(backend)
    x = xpconv.asarray(np.ones((2, 3), "float32"), backend=backend)

    def odd(layer, first, second=None):
        return result(first[0] if isinstance(first, tuple) else first)

    def after(layer, inputs, y):
        return result(y)

    for register, hook in [
        ("register_forward_pre_hook", odd), ("register_forward_hook", after), ("register_full_backward_hook", odd)
    ]:  # fmt: skip
        match = f"^Dense: the .*hook {hook.__name__} .*{message}"
        with getattr(model[0], register)(hook), pytest.raises(error, match=match):
            step(model, [x])
        assert not model._finished()
        model(x)
        model.backward(x)


def test_a_gradient_that_is_not_computed_stays_none():
    model = Sequential(Dense(3, 3, rng=0))
    x = np.ones((2, 3), "float32")
    seen = []
    model[0].register_full_backward_hook(lambda layer, grad_input, grad_output: seen.append(grad_input))
    model(x)
    assert model.backward(x, input_grad=False) is None
    assert seen == [(None,)]
    model[0].register_full_backward_hook(lambda layer, grad_input, grad_output: (x,))
    model(x)
    with pytest.raises(TypeError, match="where no gradient is computed, expected None"):
        model.backward(x, input_grad=False)
    both = xpconv.Bilinear(2, 2, 1, rng=0)
    both.register_full_backward_hook(lambda layer, grad_input, grad_output: seen.append(grad_input))
    both(np.ones((3, 2), "float32"), np.ones((3, 2), "float32"))
    both.backward(np.ones((3, 1), "float32"), input_grad=False)
    both(np.ones((3, 2), "float32"), np.ones((3, 2), "float32"))
    both.backward(np.ones((3, 1), "float32"))
    assert seen[-2] == (None, None)
    assert [g.shape for g in seen[-1]] == [(3, 2), (3, 2)]


def test_layers_of_several_outputs():
    layer = MaxPool2d(2, return_indices=True)
    seen = []
    layer.register_forward_hook(lambda layer, inputs, y: (y[0] + 1, y[1]))
    layer.register_full_backward_hook(
        lambda layer, grad_input, grad_output: seen.append(grad_output[0].shape)
    )
    y, _ = layer(X)
    same(host(y), host(MaxPool2d(2)(X)) + 1)
    assert layer.backward(np.ones_like(y)).shape == X.shape
    assert seen == [y.shape]


# --- arrays changed in place -------------------------------------------------------------------------------


def spoil(layer, inputs, y):
    for array in (*inputs, *(y if isinstance(y, tuple) else [y])):
        array[...] = 0


@pytest.mark.parametrize("key", LAYERS)
def test_hooks_may_write_to_the_arrays_of_forward(key):
    """The gradients are those of the forward as it was computed, and the layers after it get what was written."""
    make, inputs = LAYERS[key]
    inputs = on("numpy", tuple(x.copy() for x in inputs))
    layer, twin = make(), make()
    y = twin(*inputs)
    first = y[0] if isinstance(y, tuple) else y
    grad = xpconv.asarray(
        np.random.default_rng(1).normal(size=first.shape), str(first.dtype), backend="numpy"
    )
    expected = host([twin.backward(grad), *[p.grad for p in twin.parameters()]])
    layer.register_forward_hook(spoil)
    before = host(inputs)
    alone = len(inputs) > 1 or isinstance(y, tuple) or inputs[0].dtype.kind == "i"
    for whole in (layer, layer if alone else Sequential(xpconv.Identity(), layer)):
        y = whole(*inputs)
        assert not host(y[0] if isinstance(y, tuple) else y).any()
        dx = whole.backward(grad)
        if "Dropout" not in key and "DropPath" not in key:  # another mask in the second forward
            same(host([dx, *[p.grad for p in whole.parameters()]]), expected, 2e-6)
        whole.zero_grad()
        inputs = on("numpy", tuple(before))


def test_the_tape_holds_nothing_for_the_hooks_alone():
    """The output of the convolution is not needed for backward: it is gone when the hook has dropped it."""
    model, seen = Sequential(Conv2d(3, 4, 3, rng=0), ReLU(), Conv2d(4, 4, 1, rng=1)), []
    model[0].register_forward_hook(lambda layer, inputs, y: seen.append(weakref.ref(y)))
    y = model(X)
    assert seen[0]() is None
    model.backward(y)


def test_an_interrupt_in_a_hook_leaves_nothing():
    model, twin = net(), net()

    def stopped(layer, *arrays):
        raise KeyboardInterrupt

    for method in ("register_forward_hook", "register_forward_pre_hook", "register_full_backward_hook"):
        with getattr(model[3].body[0], method)(stopped), pytest.raises(KeyboardInterrupt):
            step(model, [X])
        assert not any(part._finished() for part in model.modules())
    model.load_state_dict(twin.state_dict())
    model.zero_grad()
    same(step(model, [X]), step(twin, [X]))


def test_gradients_are_read_only():
    """Residual passes one gradient to both paths: a hook that wrote to it would change the other's."""
    model = Residual(xpconv.Identity())
    model.body[0].register_full_backward_hook(lambda layer, grad_input, grad_output: grad_output[0].fill(0))
    model(X)
    with pytest.raises(ValueError, match="read-only"):
        model.backward(X)
    model = Sequential(xpconv.Identity())
    model[0].register_full_backward_hook(lambda layer, grad_input, grad_output: grad_output)
    model(X)
    dx = model.backward(X)
    dx += 1


# --- handles -----------------------------------------------------------------------------------------------


def test_handles_remove_their_own_hook_alone():
    layer, seen = ReLU(), []
    first = layer.register_forward_hook(lambda layer, inputs, y: seen.append(1))
    with layer.register_forward_hook(lambda layer, inputs, y: seen.append(2)) as second:
        layer(X)
    assert seen == [1, 2]
    layer(X)
    first.remove()
    first.remove()
    second.remove()
    layer(X)
    assert seen == [1, 2, 1]
    assert "_hooks" not in vars(layer)


def test_a_removed_hook_is_not_called_and_a_new_one_waits_for_a_forward():
    model, seen = Sequential(Conv2d(3, 2, 3, rng=0), ReLU()), []
    handle = model[0].register_full_backward_hook(lambda layer, gi, go: seen.append("first"))
    y = model(X)
    handle.remove()
    model[1].register_full_backward_hook(lambda layer, gi, go: seen.append("late"))
    model[0].register_full_backward_hook(lambda layer, gi, go: seen.append("late"))
    expected = Sequential(Conv2d(3, 2, 3, rng=0), ReLU())
    expected(X)
    same(host(model.backward(y)), host(expected.backward(y)), 1e-6)
    assert seen == []
    model(X)
    model.backward(y)
    assert seen == ["late", "late"]


def test_a_hook_belongs_to_one_layer_object():
    """Not to copies, pickles, fused models or state dicts; a lazy layer has it after its first forward too."""
    model, seen = Sequential(xpconv.LazyLinear(2, rng=0), ReLU()), []
    model[0].register_forward_hook(lambda layer, inputs, y: seen.append(y.shape))
    model[0].register_full_backward_hook(lambda layer, gi, go: seen.append(go[0].shape))
    x = np.ones((4, 3), "float32")
    y = model(x)
    model.backward(y)
    assert seen == [(4, 2), (4, 2)]
    for other in (copy.deepcopy(model), copy.copy(model[0]), pickle.loads(pickle.dumps(model)), model.fuse()):  # noqa: S301
        other(x)
    assert len(seen) == 2
    loaded = xpconv.LazyLinear(2)
    loaded.register_forward_hook(lambda layer, inputs, y: seen.append("loaded"))
    loaded.load_state_dict(model[0].state_dict())
    loaded(x)
    assert seen[2:] == ["loaded"]


def test_a_handle_does_not_hold_its_layer():
    layer = ReLU()
    handle, gone = layer.register_forward_hook(lambda layer, inputs, y: None), weakref.ref(layer)
    del layer
    gc.collect()
    assert gone() is None
    handle.remove()


def test_what_is_no_hook_is_refused():
    layer = ReLU()
    for method, takes in [
        ("register_forward_hook", "hook(layer, inputs, output)"), ("register_forward_pre_hook", "hook(layer, inputs)"),
        ("register_full_backward_hook", "hook(layer, grad_input, grad_output)"),
    ]:  # fmt: skip
        for bad in (None, 3, "name", lambda: None, lambda a, b, c, d: None):
            with pytest.raises(TypeError) as error:
                getattr(layer, method)(bad)
            assert str(error.value).startswith(f"ReLU.{method}: hook is ")
            assert takes in str(error.value)
    layer.register_forward_hook(print).remove()
    assert "_hooks" not in vars(layer)


# --- errors, threads, calls within hooks -------------------------------------------------------------------


class Stop(Exception):
    pass


def stop(layer, *arrays):
    raise Stop


@pytest.mark.parametrize(
    "method", ["register_forward_hook", "register_forward_pre_hook", "register_full_backward_hook"]
)
def test_an_error_in_a_hook_leaves_nothing(method):
    model, twin = net(), net()
    for layer in list(model.modules()):
        with getattr(layer, method)(stop), pytest.raises(Stop):
            step(model, [X])
        assert not any(part._finished() for part in model.modules())
        model.zero_grad()
    model.load_state_dict(twin.state_dict())
    same(step(model, [X]), step(twin, [X]))


def test_an_error_of_a_hook_that_a_layer_of_ones_own_catches():
    class Tries(xpconv.Layer):
        def __init__(self):
            self.first, self.second = Dense(3, 3, rng=0), Dense(3, 3, rng=1)

        def forward(self, x):
            try:
                y = self.first(x)
            except Stop:
                y = self.second(x)
            return self.keep(y)

        def backward(self, grad_output, input_grad=True):
            self.recall(grad_output, input_grad)
            return self.second.backward(grad_output, input_grad=input_grad)

    model, twin, x = Sequential(Tries()), Dense(3, 3, rng=1), RNG.normal(size=(2, 3)).astype("float32")
    model[0].first.register_forward_hook(stop)
    seen = []
    for layer in (model[0], model[0].second):
        layer.register_forward_hook(lambda layer, inputs, y: seen.append(type(layer).__name__))
        layer.register_full_backward_hook(lambda layer, gi, go: seen.append(type(layer).__name__))
    same(host([model(x), model.backward(x)]), host([twin(x), twin.backward(x)]))
    assert seen == ["Dense", "Tries", "Dense", "Tries"]


def test_hooks_may_run_the_model_again():
    model, twin, seen, inside = net().eval(), net().eval(), [], []

    def again(layer, inputs, y):
        if inside:
            return
        inside.append(1)
        seen.append(host(model(X)))
        layer(inputs[0])
        with xpconv.no_grad():
            seen.append(host(model(X)))
        model.backward(np.ones((2, 3), "float32"))
        layer.backward(y)
        inside.clear()

    for part in (model, model[0], model[3].body[0]):
        with part.register_forward_hook(again):
            y = model(X)
        model.zero_grad()
        same([host(y), *seen], [host(twin(X))] * 3, 2e-6)
        same(host(model.backward(y)), host(twin.backward(y)), 2e-5)
        assert not any(layer._finished() for layer in model.modules())
        seen.clear()


def test_threads_have_their_own_calls():
    model = net().eval()
    seen = {}
    model[3].register_forward_hook(
        lambda layer, inputs, y: seen.setdefault(threading.current_thread().name, []).append(y)
    )
    model[3].register_full_backward_hook(
        lambda layer, gi, go: seen[threading.current_thread().name].append(go[0])
    )

    def run(i, out):
        y = model(X + i)
        out[i] = [y, model.backward(y), *seen[threading.current_thread().name]]

    ours, theirs = {}, {}
    threads = [threading.Thread(target=run, args=(i, ours)) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i in range(3):
        seen.clear()
        run(i, theirs)
        same(host(ours[i]), host(theirs[i]), 1e-6)


def test_calls_of_forward_itself_summary_and_explain_call_no_hook():
    model, seen = net().eval(), []
    for layer in model.modules():
        layer.register_forward_hook(stop)
        layer.register_forward_pre_hook(stop)
    xpconv.Tanh().forward(X)
    model.summary((3, 8, 8))
    xpconv.explain(model, (3, 8, 8), batch=2)
    model[0].forward(X)
    assert seen == []


def test_an_observer_sees_what_the_hooks_return():
    from xpconv.tape import observing

    layer, seen = ReLU(), []
    layer.register_forward_hook(lambda layer, inputs, y: y + 1)

    def note(layer, forward, inputs):
        y = forward(*inputs)
        seen.append(y)
        return y

    with observing(note):
        y = layer(X)
    same(host(seen[0]), host(y))


def calls_of(function):
    """The number of Python calls while `function` runs."""
    count = 0

    def profile(frame, event, argument):
        nonlocal count
        count += event == "call"

    gc.disable()
    sys.setprofile(profile)
    try:
        function()
    finally:
        sys.setprofile(None)
        gc.enable()
    return count


def test_layers_without_hooks_call_nothing_more():
    """A model whose hooks are all removed makes as many Python calls as one that never had any."""
    model, twin = net().eval(), net().eval()
    handles = watch(model, [], [])
    model(X)
    model.forget()
    for handle in handles:
        handle.remove()

    def counted(net):
        for _ in range(3):
            net.backward(net(X))
        found = [calls_of(lambda: net(X)), calls_of(lambda: net.backward(np.ones((2, 3), "float32")))]
        with xpconv.no_grad():
            for _ in range(3):
                net(X)
            return [*found, calls_of(lambda: net(X))]

    assert counted(model) == counted(twin)


def test_omitted_options_are_no_inputs():
    layer, seen = xpconv.ConvTranspose2d(3, 2, 2, 2, rng=0), []
    layer.register_forward_pre_hook(lambda layer, inputs: inputs[0] * 2)
    layer.register_forward_hook(lambda layer, inputs, y: seen.append(len(inputs)))
    layer.register_full_backward_hook(lambda layer, gi, go: seen.append(len(gi)))
    same(host(layer(X)), host(xpconv.ConvTranspose2d(3, 2, 2, 2, rng=0)(X * 2)), 1e-6)
    layer.backward(layer(X), input_grad=False)
    assert seen == [1, 1, 1]


class Calls(ReLU):
    """With a `__call__` of a user, and a backward that is the library's."""

    def __call__(self, x):
        return super().__call__(x)


class Forward(ReLU):
    def forward(self, x):
        return super().forward(x)


class Both(xpconv.Layer):
    def forward(self, x):
        return self.keep(x * x, x)

    def backward(self, grad_output, input_grad=True):
        (x,) = self.recall(grad_output, input_grad)
        return 2 * x * grad_output if input_grad else None


def planted():
    layer = ReLU()
    layer.forward = lambda x: ReLU.forward.raw(layer, x)
    return layer


@pytest.mark.parametrize("make", [Calls, Forward, Both, planted])
@pytest.mark.parametrize("removed", [False, True])
def test_layers_of_which_a_part_is_a_users(make, removed):
    """Alone, in a model, and in a layer of one's own, each hook is called once; the gradients are right."""

    class Outer(xpconv.Layer):
        def __init__(self, inner):
            self.inner = inner

        def forward(self, x):
            return self.keep(self.inner(x))

        def backward(self, grad_output, input_grad=True):
            self.recall(grad_output, input_grad)
            return self.inner.backward(grad_output, input_grad=input_grad)

    for whole in (lambda inner: inner, lambda inner: Sequential(xpconv.Tanh(), inner, xpconv.Tanh()), Outer):
        inner, seen = make(), []
        model, twin = whole(inner), whole(make())
        inner.register_forward_hook(lambda layer, inputs, y, seen=seen: seen.append("forward"))
        handle = inner.register_full_backward_hook(lambda layer, gi, go, seen=seen: seen.append("backward"))
        for _ in range(2):
            y = model(X)
            if removed:
                handle.remove()
            same(host([y, model.backward(y)]), host([twin(X), twin.backward(y)]))
        assert seen == (["forward"] * 2 if removed else ["forward", "backward"] * 2)
