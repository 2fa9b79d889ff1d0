"""Another array library: all layers, losses and optimizers on it, and what `register_backend` checks."""

import ast
import doctest
import functools
import re
from pathlib import Path

import every
import makers
import minimal
import numpy as np
import pytest
import training

import xpconv
from xpconv import array_library, backend

PACKAGE = Path(xpconv.__file__).parent
ROOT = PACKAGE.parent


@pytest.fixture
def restored():
    yield
    for name in {"tagged", "minimal", "dpnp"} & set(backend._backends):
        del backend._backends[name]
    backend._owner_of.clear()


@pytest.fixture(params=["minimal", "tagged", "dpnp"])
def library(request, restored):
    """The name of a registered library: the minimal one, that of the docstring, and that of the page."""
    if request.param == "minimal":
        with minimal.registered():
            yield "minimal"
        return
    if request.param == "tagged":
        examples = doctest.DocTestParser().get_examples(xpconv.register_backend.__doc__)
        exec("".join(example.source for example in examples), {})  # noqa: S102
    else:
        pytest.importorskip("dpnp", reason="dpnp is not installed", exc_type=ImportError)
        exec(page_code()[0], {})  # noqa: S102
    yield request.param


def page_code():
    page = (ROOT / "docs" / "another-array-library.md").read_text()
    return re.findall(r"```python\n(.*?)```", page, re.DOTALL)


def maker(name, arguments, options):
    return lambda: getattr(xpconv, name)(*arguments, **options)


def results(make, inputs):
    """Output, input gradients and parameters' gradients on the active backend, as host arrays."""
    layer = make()
    y = layer(*map(xpconv.asarray, inputs))
    first = y[0] if isinstance(y, tuple) else y
    g = np.random.default_rng(5).normal(size=first.shape)
    dx = layer.backward(xpconv.asarray(g, first.dtype))
    gradients = [a for a in (dx if isinstance(dx, tuple) else (dx,)) if a is not None]
    return [xpconv.asnumpy(a) for a in [first, *gradients, *(p.grad for p in layer.parameters())]]


def check_equal(library, run):
    with xpconv.use_backend("numpy"):
        expected = run()
    with xpconv.use_backend(library):
        got = run()
    assert [a.dtype for a in got] == [a.dtype for a in expected]
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5 * max(1, np.abs(b).max(initial=0)))


def test_every_layer(library):
    for name, arguments, options, inputs in every.LAYERS.values():
        check_equal(library, functools.partial(results, maker(name, arguments, options), inputs))


def test_every_kind_of_layer(library):
    """Also those that are made of layers; a layer that is not on this list is in `test_every_layer`."""
    for makes, shape in makers.LAYERS.values():
        x = np.random.default_rng(3).normal(size=shape).astype("float32")
        for make in makes:
            check_equal(library, functools.partial(results, make, (x,)))


def loss_results(name, options, inputs):
    arrays = {k: xpconv.asarray(v) for k, v in options.items() if isinstance(v, np.ndarray)}
    loss = getattr(xpconv, name)(**(options | arrays))
    value = loss(*map(xpconv.asarray, inputs))
    gradients = loss.backward()
    gradients = [g for g in (gradients if isinstance(gradients, tuple) else (gradients,)) if g is not None]
    return [np.asarray(float(value)), *map(xpconv.asnumpy, gradients)]


def test_every_loss(library):
    for name, (options, inputs) in every.LOSSES.items():
        check_equal(library, functools.partial(loss_results, name, options, inputs))


def network():
    return xpconv.Sequential(
        xpconv.Conv2d(1, 4, 3, padding=1, bias=False, rng=0), xpconv.BatchNorm2d(4), xpconv.ReLU(), xpconv.MaxPool2d(2),
        xpconv.Flatten(), xpconv.Dense(64, 3, rng=1),
    )  # fmt: skip


def test_values_are_clipped(library):
    def run():
        parameter = xpconv.Parameter(xpconv.asarray(np.zeros(5, "float32")))
        parameter.grad = xpconv.asarray(np.linspace(-2, 2, 5, dtype="float32"))
        xpconv.clip_grad_value_([parameter], 0.5)
        return [xpconv.asnumpy(parameter.grad)]

    check_equal(library, run)


def trained(optimizer, **options):
    """Losses, averaged weights and weights after eight steps."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(12, 1, 8, 8)).astype("float32"), np.arange(12) % 3
    model, criterion = network(), xpconv.CrossEntropyLoss()
    optimizer = getattr(xpconv, optimizer)(model.parameters(), **options)
    average = xpconv.ExponentialMovingAverage(model, decay=0.5)
    x, y, losses = xpconv.asarray(x), xpconv.asarray(y), []
    for _ in range(8):
        losses.append(float(criterion(model(x), y)))
        optimizer.zero_grad()
        model.backward(criterion.backward(), input_grad=False)
        xpconv.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        average.update()
    return [np.array(losses), *(xpconv.asnumpy(p) for p in average.model.state_dict().values())]


@pytest.mark.parametrize("name", training.OPTIMIZERS)
def test_every_optimizer_trains_a_network(library, name):
    with xpconv.use_backend("numpy"):
        expected = trained(name, **training.OPTIMIZERS[name])
    with xpconv.use_backend(library):
        got = trained(name, **training.OPTIMIZERS[name])
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=5e-3, atol=5e-3 * max(1, np.abs(b).max(initial=0)))


def test_fit_evaluate_save_and_fuse(library, tmp_path):
    """fit with accuracy and IoU; state dicts and files; a fused model."""
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(24, 1, 8, 8)).astype("float32"), np.arange(24) % 3
    with xpconv.use_backend(library):
        model = network()
        optimizer = xpconv.Adam(model.parameters(), lr=0.01)
        history = xpconv.train.fit(
            model, xpconv.CrossEntropyLoss(), optimizer, xpconv.data.batches(x, y, batch_size=8),
            epochs=6, metrics=["accuracy", xpconv.train.IoU(3)],
        )  # fmt: skip
        assert history["loss"][-1] < history["loss"][0]
        xpconv.save_model(model, tmp_path / "model.safetensors")
        given = xpconv.asarray(x)
        with xpconv.no_grad():
            before = xpconv.asnumpy(model.eval()(given))
            fused = xpconv.asnumpy(model.fuse()(given))
    np.testing.assert_allclose(fused, before, rtol=1e-3, atol=1e-4)
    with xpconv.use_backend("numpy"), xpconv.no_grad():
        again = xpconv.load_model(tmp_path / "model.safetensors").eval()(x)
    np.testing.assert_allclose(again, before, rtol=1e-3, atol=1e-4)


def test_changes_in_place_do_no_harm(library):
    """Views have no `base` in some libraries; what backward needs must not be reached through them."""
    with xpconv.use_backend(library):
        layer = xpconv.Sequential(xpconv.Flatten(), xpconv.Sigmoid(), xpconv.Flatten())
        x = xpconv.asarray(np.linspace(-1, 1, 8, dtype="float32").reshape(2, 2, 2))
        y = layer(x)
        expected = xpconv.asnumpy(y) * (1 - xpconv.asnumpy(y))
        y[...] = 0
        x[...] = 0
        got = xpconv.asnumpy(layer.backward(xpconv.asarray(np.ones((2, 4), "float32"))))
    np.testing.assert_allclose(got.reshape(2, 4), expected, rtol=1e-5)


def test_one_array_in_two_parameters_is_refused(library):
    with xpconv.use_backend(library):
        a, b = xpconv.Parameter(np.ones(2, "float32")), xpconv.Parameter(np.ones(2, "float32"))
        b.data = a.data
        with pytest.raises(ValueError, match="share memory"):
            xpconv.SGD([a, b], lr=0.1).step()


# --- the check at registration ---------------------------------------------------------------------------


class Lacking:
    """The minimal library without some names."""

    def __init__(self, *names):
        self.__name__, self._names = "lacking", names

    def __getattr__(self, name):
        if name in self._names:
            raise AttributeError(name)
        return getattr(minimal.xp, name)


def test_all_that_is_missing_is_named():
    class Bare(minimal.ndarray):
        __slots__ = ()
        sum = property(lambda self: self.nothing)

        def __reduce_ex__(self, protocol):
            raise TypeError("cannot pickle")

    def bare(a, dtype=None):
        array = object.__new__(Bare)
        array._a = np.array(a, dtype)
        return array

    with pytest.raises(
        TypeError,
        match=r"lacks module\.exp, module\.linalg\.norm, module\.where, array\.sum, copy\.deepcopy\(array\); ",
    ):
        xpconv.register_backend(
            "bare", Lacking("exp", "where", "linalg"), Bare, asarray=bare, asnumpy=minimal.asnumpy
        )
    assert "bare" not in backend._backends


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(array_type=dict), r"an array of asarray is a minimal\.ndarray, expected array_type, dict"),
        (dict(asnumpy=lambda a: a), r"asnumpy gave .*, expected array"),
        (dict(asnumpy=None), r"asnumpy is None, expected a function"),
        (dict(as_strided=3), r"as_strided is 3, expected a function"),
        (dict(may_share_memory="no"), r"may_share_memory is 'no', expected a function"),
        (dict(asarray=lambda a, dtype=None: np.array(a, dtype)), r"an array of asarray is a numpy\.ndarray"),
    ],
)
def test_what_does_not_fit_is_refused(change, message):
    given = dict(module=minimal.xp, array_type=minimal.ndarray, asnumpy=minimal.asnumpy) | change
    with pytest.raises(TypeError, match=f"^register_backend: .*{message}"):
        xpconv.register_backend("wrong", **given)
    assert "wrong" not in backend._backends


@pytest.mark.parametrize("name", ["numpy", "auto"])
def test_names_that_are_taken(name):
    with pytest.raises(ValueError, match=f"name is '{name}', expected a new one"):
        xpconv.register_backend(name, minimal.xp, minimal.ndarray, asnumpy=minimal.asnumpy)


def test_as_strided_and_may_share_memory_may_be_given():
    seen = set()

    def as_strided(x, shape, strides):
        seen.add("as_strided")
        return minimal._wrapped(np.lib.stride_tricks.as_strided(x._a, shape, strides))

    def may_share_memory(a, b):
        seen.add("may_share_memory")
        return np.may_share_memory(a._a, b._a)

    _, arguments, options, inputs = every.LAYERS["Conv2d(4, 4, 3, padding=1, padding_mode='zeros', rng=0)"]
    with minimal.registered(as_strided=as_strided, may_share_memory=may_share_memory):
        check_equal("minimal", lambda: results(lambda: xpconv.Conv2d(*arguments, **options), inputs))
        check_equal("minimal", lambda: [trained("Adam")[0]])
    assert seen == {"as_strided", "may_share_memory"}


def test_the_list_has_what_the_package_uses_and_nothing_else():
    """What `xp.name` stands for in the files that all libraries run, against `FUNCTIONS`."""
    own = {
        "__name__",
        "cuda",
        "get_default_memory_pool",
        "_core",
        "from_dlpack",
        "ndarray",
        "shares_memory",
        "bincount",
        "errstate",
    }
    folders = ("ops", "losses", "optim", "functional", "train")
    files = [p for folder in folders for p in (PACKAGE / folder).rglob("*.py")]
    files += [*PACKAGE.glob("*.py"), *(PACKAGE / "layers").glob("*.py"), *(PACKAGE / "kernels").glob("*.py")]
    of_numpy_and_cupy_alone = "fft.py", "pieces.py", "transforms.py", "scales.py"
    files = [p for p in files if p.name not in (*of_numpy_and_cupy_alone, "backend.py")]
    used = set()
    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Attribute):
                owner = node.value
                name = owner.func if isinstance(owner, ast.Call) else owner
                if getattr(name, "id", getattr(name, "attr", "")) in ("xp", "get_xp"):
                    used.add(node.attr)
    listed = {name.partition(".")[0] for name in array_library.FUNCTIONS}
    assert used - own == listed


def test_the_code_of_the_page_trains(library, capsys):
    """Its first block registers dpnp, where that is installed; here the library is registered already."""
    _, training, _ = page_code()
    exec(training.replace('"dpnp"', repr(library)), {"xpconv": xpconv})  # noqa: S102
    first, last = map(float, capsys.readouterr().out.split(" -> "))
    assert last < first / 2


@pytest.mark.usefixtures("restored")
def test_the_strided_view_of_the_page():
    pytest.importorskip("dpnp", reason="dpnp is not installed", exc_type=ImportError)
    space = {}
    exec(page_code()[0], space)  # noqa: S102
    exec(page_code()[2], space)  # noqa: S102
    assert backend._backends["dpnp"].as_strided is space["as_strided"]
    for name, arguments, options, inputs in every.LAYERS.values():
        if "Conv" in name or "old" in name:
            check_equal("dpnp", functools.partial(results, maker(name, arguments, options), inputs))


def test_the_page_shows_the_whole_list():
    page = (ROOT / "docs" / "another-array-library.md").read_text()
    shown = set(re.findall(r"`([a-z_0-9.A-Z]+)`", page))
    assert set(array_library.FUNCTIONS) | set(array_library.METHODS) <= shown
