"""What a fused model runs under `no_grad`: the same values as layer by layer, whatever changes between the calls."""

import copy
import pickle
import threading

import every
import numpy as np
import pytest
from effort import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from sharing import shared_by

import xpconv
from xpconv import (
    GELU,
    AdaptiveAvgPool2d,
    BatchNorm2d,
    Concat,
    Conv2d,
    Dense,
    Dropout,
    Flatten,
    Hardtanh,
    Identity,
    MaxPool2d,
    Parallel,
    ReLU,
    ReLU6,
    Residual,
    Sequential,
)
from xpconv.kernels.engine import inference
from xpconv.kernels.numpy import blocks, columns, depthwise, winograd

LAYERS = every.all_layers()


@pytest.fixture(autouse=True, params=[1, 2])
def thread_count(request):
    """Everything on one thread, and on two however little there is to do."""
    with shared_by(request.param):
        yield request.param


def normal(*shape, dtype="float32", seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def run(model, x):
    with xpconv.no_grad():
        return model(x)


def planned(model):
    """The position of the first layer that each of the model's plans runs, and how many calls it stands for."""
    chain = model._inference._chain
    return sorted(
        {(key[0], count) for key, (count, f) in chain.plans.items() if isinstance(f, inference.Plans)}
    )


def check(model, x, tolerance=None, plans=None):
    """The fused model's output, twice, is the layers' own."""
    expected = model.eval()(x)  # what a backward may follow has no plan
    fused = model.fuse()
    before = x.copy()
    first = run(fused, x)
    kept = first.copy()
    again = run(fused, normal(*x.shape, dtype=x.dtype, seed=9))
    assert not np.shares_memory(first, again)
    np.testing.assert_array_equal(first, kept)  # the next call has not touched it
    np.testing.assert_array_equal(run(fused, x), first)
    np.testing.assert_array_equal(x, before)
    assert first.dtype == expected.dtype
    assert first.shape == expected.shape
    tolerance = tolerance or {"float32": 1e-5, "float64": 1e-12}[str(x.dtype)]
    np.testing.assert_allclose(first, expected, rtol=0, atol=tolerance * max(1e-30, np.abs(expected).max()))
    if plans is not None:
        assert planned(fused) == ([(0, len(fused._calls()))] if plans == "all" else plans)
    return fused


@settings(max_examples=examples(120), deadline=None)
@given(data=st.data())
def test_convolutions_drawn(data):
    draw = data.draw
    pair = lambda strategy: (draw(strategy), draw(strategy))
    kind = draw(st.sampled_from(["full", "full", "depthwise", "grouped"]))
    c, k = draw(st.sampled_from([1, 3, 4, 8, 18])), draw(st.sampled_from([1, 5, 8]))
    groups = {"full": 1, "depthwise": c, "grouped": 1}[kind]
    if kind == "depthwise":
        k = c
    if kind == "grouped":
        c, k, groups = 6, 4, 2
    kernel, stride, dilation = pair(st.integers(1, 3)), pair(st.integers(1, 3)), pair(st.integers(1, 2))
    padding = draw(st.tuples(*[st.tuples(st.integers(0, 2), st.integers(0, 2))] * 2))
    bounds = draw(st.sampled_from([[], [ReLU()], [ReLU6()], [Hardtanh(-0.3, 0.4)]]))
    second = Conv2d(k, 3, draw(st.sampled_from([1, 3])), padding=1, bias=draw(st.booleans()), rng=1)
    first = Conv2d(c, k, kernel, stride, padding, dilation, groups, bias=draw(st.booleans()), rng=0)
    dtype = draw(st.sampled_from(["float32", "float64"]))
    model = Sequential(first, *bounds, second).to(dtype=dtype)
    size = pair(st.integers(6, 11))
    x = normal(draw(st.integers(1, 5)), c, *size, dtype=dtype)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "FEW_PIXELS", draw(st.sampled_from([0, 4])))
        patch.setattr(columns, "COLUMN_BYTES", draw(st.sampled_from([1, 3000, 1 << 20])))
        patch.setattr(depthwise, "BLOCK_BYTES", draw(st.sampled_from([1, 3000, 1 << 20])))
        patch.setattr(inference, "PIECE_BYTES", draw(st.sampled_from([1, 1 << 14, 1 << 24])))
        check(model, x, plans="all")


WINOGRAD = [(1, 9, 10, 1), (2, 16, 16, 1), (3, 7, 7, 1), (2, 12, 9, 0), (1, 3, 2, 1)]


@pytest.mark.sample(3)
@pytest.mark.parametrize(("n", "h", "w", "padding"), WINOGRAD)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("block", "few"), [(1, 4), (1 << 20, 4), (1, 0), (1 << 20, 0)])
def test_winograd(n, h, w, padding, dtype, block, few, monkeypatch):
    monkeypatch.setattr(winograd, "BLOCK_BYTES", block)
    monkeypatch.setattr(blocks, "FEW_PIXELS", few)  # 0: each thread gets some output channels
    convs = [Conv2d(8, 8, 3, padding=padding, algorithm="winograd", rng=i, bias=i == 0) for i in range(2)]
    for model in (
        Sequential(convs[0], ReLU()),
        Sequential(Residual(convs[1], shortcut=Conv2d(8, 8, 3, padding=padding))),
    ):
        check(
            model.to(dtype=dtype),
            normal(n, 8, h, w, dtype=dtype),
            tolerance=1e-4 if dtype == "float32" else 1e-11,
        )


@settings(max_examples=examples(60), deadline=None)
@given(data=st.data())
def test_pooling_drawn(data):
    draw = data.draw
    pair = lambda strategy: (draw(strategy), draw(strategy))
    kernel = pair(st.integers(1, 3))
    padding = tuple(draw(st.integers(0, k // 2)) for k in kernel)
    pool = MaxPool2d(
        kernel, pair(st.integers(1, 3)), padding, pair(st.integers(1, 2)), ceil_mode=draw(st.booleans())
    )
    after = Conv2d(4, 3, 3, padding=1, rng=1)
    model = Sequential(Conv2d(2, 4, 1, rng=0), pool, *draw(st.sampled_from([[], [ReLU()]])), after)
    check(model, normal(draw(st.integers(1, 3)), 2, *pair(st.integers(5, 9))), plans="all")


def block(c, *body, shortcut=None):
    return Residual(*body, Conv2d(c, c, 3, padding=1), shortcut=shortcut)


CHAINS = {
    "LeNet": lambda: [Conv2d(4, 6, 3), ReLU(), MaxPool2d(2), Flatten(), Dense(6 * 3 * 3, 70), ReLU(), Dense(70, 3)],
    "residual": lambda: [Conv2d(4, 4, 3, padding=1), ReLU(), block(4), ReLU(), block(4), ReLU6()],
    "residual of the input": lambda: [block(4), block(4)],
    "before activation": lambda: [Conv2d(4, 4, 1), block(4, ReLU(), Conv2d(4, 4, 1), ReLU())],
    "shortcut": lambda: [block(4, shortcut=Sequential(Conv2d(4, 4, 1), ReLU())), MaxPool2d(2)],
    "activation at the end of a body": lambda: [Residual(Conv2d(4, 4, 1), ReLU()), ReLU()],
    "twice the same": lambda: [Conv2d(4, 4, 1), Residual(Identity()), ReLU()],
    "Concat": lambda: [Concat(Conv2d(4, 2, 1), Identity()), Conv2d(6, 2, 1)],
    "smooth activations": lambda: [
        Conv2d(4, 6, 1), xpconv.SiLU(), xpconv.Hardswish(), Conv2d(6, 4, 1), xpconv.Sigmoid(), xpconv.Hardsigmoid(),
    ],
    "activation as a body": lambda: [Conv2d(4, 4, 1), Residual(ReLU()), Hardtanh()],
    "activation of the input": lambda: [ReLU(), Conv2d(4, 4, 3), ReLU(), ReLU6()],
    "mean": lambda: [Conv2d(4, 9, 3), ReLU(), AdaptiveAvgPool2d(1), ReLU6(), Flatten(), Dropout(), Dense(9, 3)],
    "global": lambda: [Conv2d(4, 9, 3, padding=2), xpconv.GlobalAvgPool2d(), Conv2d(9, 2, 1), Flatten(), Flatten()],
    "mean inside borders": lambda: [Conv2d(4, 4, 1), Residual(AdaptiveAvgPool2d(1), shortcut=Sequential(
        Conv2d(4, 4, 3, padding=1), MaxPool2d(9)))],
    "BatchNorm": lambda: [Conv2d(4, 6, 3), BatchNorm2d(6), ReLU(), Sequential(Conv2d(6, 2, 1), BatchNorm2d(2))],
}  # fmt: skip


@pytest.mark.sample(4)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n", [1, 2, 5])
@pytest.mark.parametrize("name", CHAINS)
def test_chains(name, n, dtype):
    xpconv.manual_seed(0)
    model = Sequential(CHAINS[name]()).to(dtype=dtype)
    check(model, normal(n, 4, 9, 9, dtype=dtype), plans="all")


def test_channels_last_input_and_rows():
    x = np.ascontiguousarray(normal(2, 9, 8, 4)).transpose(0, 3, 1, 2)
    check(Sequential(Conv2d(4, 4, 3)), x, plans=[(0, 1)])
    check(Sequential(Dense(6, 70), ReLU(), Dense(70, 3)), normal(5, 6), plans=[(0, 3)])


PARTLY = {
    "GELU": (lambda: [Conv2d(4, 4, 3), GELU(), Conv2d(4, 2, 1), ReLU()], [(0, 1), (2, 1)]),
    "clipped, then something else": (lambda: [Conv2d(4, 4, 1), Sequential(ReLU(), GELU())], [(0, 1)]),
    "something else in a body": (lambda: [Conv2d(4, 4, 1), Residual(ReLU(), GELU()), Conv2d(4, 4, 1)], [(0, 1), (2, 1)]),
    "Parallel": (lambda: [Conv2d(4, 4, 1), Parallel(Conv2d(4, 2, 1), Conv2d(4, 2, 1))], [(0, 2)]),
    "padding of another kind": (lambda: [Conv2d(4, 4, 3, padding=1, padding_mode="circular")], []),
    "BatchNorm left": (lambda: [BatchNorm2d(4), Conv2d(4, 4, 1)], [(0, 2)]),
    "no parameters": (lambda: [ReLU(), MaxPool2d(2)], [(0, 1)]),
    "a mean of several": (lambda: [Conv2d(4, 4, 1), AdaptiveAvgPool2d(2)], [(0, 1)]),
    "flattened otherwise": (lambda: [Conv2d(4, 4, 1), Flatten(2)], [(0, 2)]),
    "float16": (lambda: [Conv2d(4, 4, 1, dtype="float16")], []),
}  # fmt: skip


@pytest.mark.parametrize("name", PARTLY)
def test_what_there_is_no_step_for(name):
    xpconv.manual_seed(0)
    make, plans = PARTLY[name]
    model = Sequential(make())
    dtype = model.parameters()[0].dtype if model.parameters() else "float32"
    check(model, normal(2, 4, 8, 8, dtype=dtype), tolerance=1e-5, plans=plans)


def test_models_in_inference_mode_have_plans_without_fuse():
    """Their parameters and statistics are read at every run, in place changes as well."""
    xpconv.manual_seed(0)
    model = Sequential(
        Conv2d(3, 8, 3, padding=1), BatchNorm2d(8), ReLU(), MaxPool2d(2), Conv2d(8, 64, 3, padding=1, bias=False),
        BatchNorm2d(64), ReLU6(), Conv2d(64, 64, 3, padding=1), AdaptiveAvgPool2d(1), Flatten(), Dense(64, 70),
    )  # fmt: skip
    x = normal(2, 3, 16, 16)
    for layer in (model[1], model[5]):
        layer.running_mean[...] = normal(*layer.running_mean.shape, seed=1) * 100
        layer.running_var[...] = np.abs(normal(*layer.running_var.shape, seed=2)) + 1e-3

    def check():
        expected = model.eval()(x)
        for _ in range(2):
            np.testing.assert_allclose(run(model, x), expected, rtol=0, atol=2e-5 * np.abs(expected).max())
        return expected

    before = check()
    assert planned(model) == [(0, len(model._calls()))]
    model[0].weight.data[...] *= 2
    model[1].running_var[...] += 1
    model[7].weight.data[0] = 3
    model[10].bias.data += 1
    assert (check() != before).any()
    optimizer = xpconv.SGD(model.parameters(), lr=0.1)
    for _ in range(2):
        model.train()
        model.backward(np.ones_like(model(x)))
        optimizer.step()
        before = check()
        assert planned(model) == [(0, len(model._calls()))]
    model.train()
    assert (run(model, x) != before).any()  # the batch's statistics
    check()


def make():
    xpconv.manual_seed(0)
    layers = [
        Conv2d(3, 16, 3, padding=1),
        ReLU(),
        block(16),
        ReLU(),
        Flatten(),
        Dropout(0.5),
        Dense(16 * 64, 5),
    ]
    return Sequential(layers).eval()


X = normal(3, 3, 8, 8)


def same(fused, model, x=X):
    expected = run(model.eval(), x)
    np.testing.assert_allclose(run(fused, x), expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_changes_of_parameters_take_effect_or_are_refused():
    model = make()
    fused = model.fuse()
    same(fused, model)
    with pytest.raises(ValueError, match="read-only"):
        fused[0].weight.data[...] = 0
    other = Sequential(*make())
    for _, p in other.named_parameters():
        p.data = normal(*p.shape, seed=3) / 10
    fused.load_state_dict(other.state_dict())
    same(fused, other)
    fused[2].body[0].load_state_dict({k: v * 0 for k, v in fused[2].body[0].state_dict().items()})
    for p in other[2].parameters():
        p.data = p.data * 0
    same(fused, other)
    for m in (fused, other):
        m[0].bias.data = m[0].bias.data + 1
    same(fused, other)
    fused.train().eval()  # can be written to until the next call
    for m in (fused, other):
        m[0].weight.data[...] = 1
    same(fused, other)
    fused.to(dtype="float64")
    other.to(dtype="float64")
    same(fused, other, X.astype("float64"))
    with pytest.raises(xpconv.errors.DTypeError):
        run(fused, X)


def unpickled(array):
    """An array from a pickle whose memory lies elsewhere, and that memory."""
    memory = []
    data = pickle.dumps(array, 5, buffer_callback=memory.append)
    buffers = [bytearray(b.raw()) for b in memory]
    read_only = [memoryview(b).toreadonly() for b in buffers]
    whole = np.frombuffer(buffers[0], array.dtype).reshape(array.shape)
    return pickle.loads(data, buffers=read_only), whole  # noqa: S301


def of_bytearray(array):
    memory = bytearray(array.tobytes())
    whole = np.frombuffer(memory, array.dtype).reshape(array.shape)
    return np.frombuffer(memoryview(memory).toreadonly(), array.dtype).reshape(array.shape), whole


def locked(array):
    """A read-only array with an older view that can be written to."""
    array = array.copy()
    whole = array[...]
    array.flags.writeable = False
    return array, whole


def half(array):
    both = np.stack([array, array])
    part = both[0]
    part.flags.writeable = False
    return part, both


@pytest.mark.parametrize("source", [unpickled, of_bytearray, locked, half])
def test_read_only_arrays_whose_memory_changes(source):
    """Only where nothing at all can write is what depends on a parameter held."""
    model = make()
    fused, memory = model.fuse(), []
    for p in fused.parameters():
        p.data, changes = source(p.data)
        memory.append(changes)
    same(fused, model)
    for m in (*memory, *(p.data for p in model.parameters())):
        m *= 0.5
    same(fused, model)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_nothing_writes_to_parameters_of_fused_models(protocol):
    fused = make().fuse()
    loaded = pickle.loads(pickle.dumps(fused, protocol))  # noqa: S301
    for model in (fused, copy.deepcopy(fused), loaded):
        same(model, fused)
        for p in model.parameters():
            with pytest.raises(ValueError, match="read-only"):
                p.data *= 2
            with pytest.raises(ValueError, match="WRITEABLE"):
                p.data.flags.writeable = True


def test_training_after_inference():
    model, fused = make(), make().fuse()
    run(fused, X)
    for m in (model, fused):
        optimizer = xpconv.SGD(m.parameters(), lr=0.1)
        y = m(X)
        m.backward(np.ones_like(y))
        optimizer.step()
    same(fused, model)


def test_changes_of_layers_take_effect():
    model = make()
    fused = model.fuse()
    run(fused, X)
    new = Conv2d(16, 16, 3, padding=1, rng=5)
    fused[2].body["0"] = new
    model[2].body["0"] = new
    same(fused, model)
    fused["6"] = model["6"] = Dense(16 * 64, 2, rng=5)
    same(fused, model)
    fused.append(ReLU())
    model.append(ReLU())
    same(fused, model)
    fused[5].train()
    assert (run(fused, X) != run(fused, X)).any()  # dropout drops
    fused[5].eval()
    same(fused, model)
    fused[0].forward = lambda x: np.zeros((3, 16, 8, 8), "float32")
    np.testing.assert_allclose(run(fused, X)[0], run(fused, X)[1], atol=1e-6)  # whatever the image
    del fused[0].__dict__["forward"]
    same(fused, model)
    text = fused.summary((3, 8, 8))
    assert "(1, 16, 8, 8)" in text
    same(fused, model)


def test_settings_count():
    fused = Sequential(Conv2d(64, 64, 3, padding=1, rng=0)).fuse()
    x = normal(2, 64, 32, 32)
    fast = run(fused, x)
    xpconv.set_exact(True)
    try:
        exact = run(fused, x)
    finally:
        xpconv.set_exact(False)
    assert (fast != exact).any()
    np.testing.assert_array_equal(run(fused, x), fast)


def test_copies():
    fused = make().fuse()
    y = run(fused, X)
    loaded = pickle.loads(pickle.dumps(fused))  # noqa: S301  # our own
    for twin in (copy.deepcopy(fused), loaded, fused.fuse()):
        np.testing.assert_allclose(run(twin, X), y, atol=1e-6)
        twin.train()[0].weight.data[...] = 0
    np.testing.assert_array_equal(run(fused, X), y)


def test_errors_are_those_of_the_layers():
    fused = make().fuse()
    run(fused, X)
    bad = [X[:, :2], X[:, :, :5], X.astype("float64"), X.astype("uint8"), X[0, 0], [1, 2], X[0]]
    for x in bad:
        errors = []
        for m in (make(), fused):
            try:
                run(m, x)
            except Exception as error:  # noqa: BLE001  # whatever it is
                errors.append((type(error), str(error)))
        assert len(errors) == 2
        assert errors[0] == errors[1]
    same(fused, make())
    assert run(Sequential(Conv2d(3, 4, 3)).fuse(), X[:0]).shape == (0, 4, 6, 6)
    assert run(Sequential(Conv2d(3, 4, 3)).fuse(), X[0]).shape == (4, 6, 6)


def test_several_threads_at_once():
    fused = make().fuse()
    inputs = [normal(n, 3, 8, 8, seed=i) for i, n in enumerate((1, 3, 3, 2))]
    expected = [run(make(), x) for x in inputs]
    wrong = []

    def work(x, y):
        for _ in range(30):
            if not np.allclose(run(fused, x), y, atol=1e-4):
                wrong.append(1)

    started = [threading.Thread(target=work, args=pair) for pair in zip(inputs, expected, strict=True)]
    for thread in started:
        thread.start()
    for thread in started:
        thread.join()
    assert not wrong


@pytest.mark.sample(4)
@pytest.mark.parametrize("name", [name for name, (_, inputs) in LAYERS.items() if len(inputs) == 1])
def test_no_plan_depends_on_what_is_in_the_arrays(name):
    """Not on the first images, or what parameters and statistics were then: no call is lost on zeros."""
    make, (x,) = LAYERS[name]
    xpconv.manual_seed(0)
    layer = make().eval()
    run(layer, x)  # makes the parameters of lazy layers
    model = Sequential(copy.deepcopy(layer)).eval()
    for array in model._state().values():
        array[...] = 0
    run(model, np.zeros_like(x))
    for array, other in zip(model._state().values(), layer._state().values(), strict=True):
        array[...] = other
    ours, theirs = (y if isinstance(y, tuple) else (y,) for y in (run(model, x), run(layer, x)))
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5)


FIRST_AXIS = {  # layers that take one image, or whose first axis is not the batch
    "Conv1d of one signal": (lambda: xpconv.Conv1d(1, 3, 3), (1, 8)),
    "Conv2d of one gray image": (lambda: xpconv.Conv2d(1, 8, 3), (1, 8, 8)),
    "Conv3d of one gray image": (lambda: xpconv.Conv3d(1, 2, 2), (1, 4, 4, 4)),
    "SeparableConv2d of one gray image": (lambda: xpconv.SeparableConv2d(1, 3, 3), (1, 6, 6)),
    "ConvTranspose2d of one gray image": (lambda: xpconv.ConvTranspose2d(1, 2, 2), (1, 4, 4)),
    "Conv2d with one channel in and out": (lambda: xpconv.Conv2d(1, 1, 3), (1, 8, 8)),
    "Flatten of all axes": (lambda: xpconv.Flatten(0), (3, 4, 4)),
    "Unflatten of the first axis": (lambda: xpconv.Unflatten(0, (2, 2)), (4, 3)),
    "Softmax over the first axis": (lambda: xpconv.Softmax(dim=0), (3, 4)),
    "Softmax2d of one image": (lambda: xpconv.Softmax2d(), (3, 4, 4)),
    "GLU over the first axis": (lambda: xpconv.GLU(dim=0), (4, 4)),
    "PixelShuffle of one image": (lambda: xpconv.PixelShuffle(2), (4, 3, 3)),
}


@pytest.mark.sample(4)
@pytest.mark.parametrize(
    "name", [*FIRST_AXIS, *(name for name, (_, inputs) in LAYERS.items() if len(inputs) == 1)]
)
@pytest.mark.filterwarnings("ignore:.*of no effect with affine=False")
def test_first_axis_that_is_no_batch(name):
    """One image, one channel of it, two of them as a batch: what the layer returns or raises, twice."""
    make, given = FIRST_AXIS[name] if name in FIRST_AXIS else LAYERS[name]
    x = np.random.default_rng(0).normal(size=given).astype("float32") if name in FIRST_AXIS else given[0]
    xpconv.manual_seed(0)
    layer = make().eval()
    run(layer, x)  # makes the parameters of lazy layers
    model = Sequential(layer).eval()
    for part in (x, x[:1], x[0], x[0][:1] if x.ndim > 1 else x, np.concatenate([x, x])):
        try:
            expected = run(layer, part)
        except (TypeError, ValueError) as error:
            for _ in range(2):
                with pytest.raises(type(error)):
                    run(model, part)
            continue
        for _ in range(2):
            found = run(model, part)
            pairs = zip(found, expected, strict=True) if isinstance(expected, tuple) else [(found, expected)]
            for a, b in pairs:
                assert a.shape == b.shape
                np.testing.assert_allclose(a, b, rtol=0, atol=1e-5)
