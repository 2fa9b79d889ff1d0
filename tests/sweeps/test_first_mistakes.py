"""The most common first mistakes: errors that name the public class and the fix."""

import inspect
import re

import numpy as np
import pytest
from instances import LAYERS, instance_of

import xpconv
from xpconv import Conv2d, Dense, Layer, ReLU, Residual, Sequential

X = np.ones((4, 3), "float32")
PUBLIC = {
    name
    for home in (xpconv, xpconv.losses, xpconv.optim, xpconv.errors)
    for name in dir(home)
    if isinstance(getattr(home, name), type)
}
CLASSES = sorted(
    name
    for name in {*xpconv.layers.__all__, *xpconv.losses.__all__, *xpconv.optim.__all__}
    if isinstance(getattr(xpconv, name, None), type)
    and name
    not in ("Layer", "Loss", "Optimizer", "LRScheduler", "Parameter", "Identity")  # that takes anything
)
INTERNAL = re.compile(
    r"\b(_\w+|Pointwise|InPlace|ChannelNorm|Elementwise|Named|Listed|Lazy|Memory|Checks|__init__|State)\b"
)


def raised(call):
    with pytest.raises(Exception) as caught:  # noqa: PT011
        call()
    return caught.value


@pytest.mark.parametrize("name", CLASSES)
def test_constructors_called_wrongly_name_the_public_class(name):
    kind = getattr(xpconv, name)
    arguments = inspect.signature(kind).parameters.values()
    required = [p.name for p in arguments if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD]
    names = {name, kind.__name__}
    calls = {
        "unknown": lambda: kind(*[1] * len(required), no_such_argument=3),
        "unknown alone": lambda: kind(no_such_argument=3),
        "too many": lambda: kind(*[1] * 40),
    }
    if required:
        calls |= {"none": lambda: kind(), "fewer": lambda: kind(*[1] * (len(required) - 1))}
        calls |= {"twice": lambda: kind(*[1] * len(required), **{required[0]: 1})}
    variadic = any(p.kind is p.VAR_POSITIONAL for p in arguments)
    for what, call in calls.items():
        if what == "too many" and variadic:
            continue
        error = raised(call)
        assert isinstance(error, TypeError), (what, error)
        assert any(str(error).startswith(n) for n in names), (what, error)
        assert not INTERNAL.search(str(error).partition("it takes")[0].replace("no_such_argument", "")), (
            what,
            error,
        )
        if what == "none":
            assert f"'{required[0]}'" in str(error)
    text = str(raised(calls["unknown"]))
    assert "takes no arguments" in text or ("no_such_argument" in text and all(r in text for r in required))


@pytest.mark.parametrize("name", LAYERS)
def test_calls_of_layers_name_the_public_class(name):
    layer = instance_of(name)
    for call in (
        lambda: layer(),
        lambda: layer(*[X] * 9),
        lambda: layer.forward(),
        lambda: layer.backward(X, True, 3, 4),
    ):
        error = raised(call)
        assert isinstance(error, TypeError), error
        assert not INTERNAL.search(str(error)), error
    assert name in str(raised(lambda: layer())) or type(layer).__name__ in str(raised(lambda: layer()))


@pytest.mark.parametrize("name", sorted(xpconv.losses.__all__))
def test_calls_of_losses_name_the_public_class(name):
    if name in ("Loss", "one_hot", "from_one_hot"):
        return
    criterion = getattr(xpconv, name)()
    for call in (lambda: criterion(), lambda: criterion(*[X] * 9), lambda: criterion.backward(1, 2, 3)):
        error = raised(call)
        assert isinstance(error, TypeError), error
        assert not INTERNAL.search(str(error)), error
    assert type(criterion).__name__ in str(raised(lambda: criterion()))


def test_the_message_of_a_constructor():
    text = str(raised(lambda: Conv2d(8, kernel_size=3)))
    assert text.startswith(
        "Conv2d: missing 1 required positional argument: 'out_channels'; it takes (in_channels, out_channels, "
        "kernel_size, stride=1, "
    )

    class Net(Sequential):
        def __init__(self, *, width):
            super().__init__(Dense(3, width), wide=True)

    assert str(raised(lambda: Net(width=3))).startswith(
        "Sequential: got an unexpected keyword argument 'wide'"
    )
    assert "Net.__init__() missing 1 required keyword-only argument: 'width'" in str(
        raised(lambda: Net())
    )  # a user's own

    class Broken(Layer):
        def __init__(self):
            len()

    assert str(raised(Broken)).startswith("len() takes exactly one argument")
    assert list(inspect.signature(Conv2d).parameters)[:3] == ["in_channels", "out_channels", "kernel_size"]


LOSSES = {
    "NumPy's number": np.float32(0.3),
    "Python's number": 0.3,
    "an integer": 1,
    "an array": np.array(0.3, "float32"),
    "another dtype": np.float64(0.3),
    "the criterion": xpconv.MSELoss(),
    "its backward": xpconv.MSELoss().backward,
}


@pytest.mark.parametrize("kind", LOSSES)
@pytest.mark.parametrize(
    "make", [lambda: Sequential(Dense(3, 2), ReLU()), lambda: Dense(3, 2), lambda: ReLU()]
)
def test_the_loss_is_not_its_gradient(kind, make):
    model = make()
    y = model(X)
    for loss in (LOSSES[kind], None):
        message = (
            rf"^{type(model).__name__}.backward: grad_output .*model\.backward\(criterion\.backward\(\)\)"
        )
        with pytest.raises((ValueError, TypeError), match=message):
            model.backward(loss)
    with pytest.raises(
        TypeError, match=r"grad_output is missing .*model\.backward\(criterion\.backward\(\)\)"
    ):
        model.backward()
    assert model.backward(y) is not None  # nothing is lost


@pytest.mark.parametrize("name", [n for n in LAYERS if n not in ("ModuleList", "ModuleDict")])
def test_every_backward_without_a_gradient_says_so(name):
    layer = instance_of(name)
    for call in (layer.backward, lambda: layer.backward(None), lambda: layer.backward(input_grad=False)):
        with pytest.raises(
            TypeError, match=r"\.backward: grad_output is missing or None; give the gradient of the loss"
        ):
            call()


def test_a_loss_on_a_scalar_output_is_a_gradient():
    class Sum(Layer):
        def forward(self, x):
            return self.keep(x.sum(), x.shape)

        def backward(self, grad_output, input_grad=True):
            (shape,) = self.recall(grad_output)
            return np.broadcast_to(grad_output, shape)

    layer = Sum()
    layer(X)
    assert layer.backward(np.float32(2.0)).sum() == 24


class Ported(Layer):
    """As it comes from PyTorch."""

    def __init__(self):
        super().__init__()
        self.fc = Dense(3, 2)
        self.ran = 0

    def forward(self, x):
        self.ran += 1
        return self.fc(x)


def test_a_layer_without_backward_is_told_before_it_runs(backend):
    with xpconv.use_backend(backend):
        x = xpconv.asarray(X)
        for hold in (lambda n: n, Sequential, xpconv.Residual, lambda n: xpconv.Parallel(n, n)):
            net = Ported()
            model = hold(net)
            with pytest.raises(
                TypeError, match=r"^Ported has no backward\(grad_output.*see xpconv\.Layer.*no_grad\(\)"
            ):
                model(x)
            assert net.ran == 0
        with xpconv.no_grad():
            assert Ported()(x).shape == (4, 2)
        later = Ported()
        later.backward = lambda grad_output, input_grad=True: later.fc.backward(
            grad_output, input_grad=input_grad
        )
        assert later(x).shape == (4, 2)

    class Wide(Dense):  # inherits one
        def forward(self, x):
            return super().forward(x)

    with xpconv.use_backend("numpy"):
        assert Wide(3, 2)(X).shape == (4, 2)


def test_a_forward_without_keep_is_told():
    class NoKeep(Ported):
        def backward(self, grad_output, input_grad=True):
            self.recall(grad_output)
            return self.fc.backward(grad_output)

    net = NoKeep()
    y = net(X)
    with pytest.raises(
        RuntimeError,
        match=r"^NoKeep.backward: there is no forward .* must end with `return self\.keep\(y, …\)`",
    ):
        net.backward(y)
    with pytest.raises(RuntimeError, match=r"outside no_grad\(\)\. After"):
        Dense(3, 2).backward(y)


def test_a_backward_without_input_grad_is_told():
    """A container passes it; so the layer works alone, and not within one."""

    class Own(Dense):
        def backward(self, grad_output):
            return super().backward(grad_output)

    for model in (Sequential(Own(3, 2)), Residual(Sequential(Own(3, 3)))):
        y = model(X)
        with pytest.raises(
            TypeError, match=r"^Own\.backward: got an unexpected keyword argument 'input_grad'"
        ):
            model.backward(y)


def test_what_the_notebooks_layers_have_is_named():
    dense = Dense(2, 2)
    for name, instead in {
        "weights": "weight", "kernel": "weight", "biases": "bias", "grad_weights": "weight.grad", "grad_biases": "bias.grad",
    }.items():  # fmt: skip
        with pytest.raises(
            AttributeError, match=rf"^'Dense' object has no attribute '{name}'; use layer\.{instead}"
        ):
            getattr(dense, name)
    with pytest.raises(AttributeError, match=r"use xpconv\.MaxPool2d or xpconv\.AvgPool2d"):
        _ = xpconv.Pooling


def test_what_pytorchs_modules_have_is_named():
    for name, message in [
        ("register_buffer", "buffer_names"), ("register_parameter", "xpconv.Parameter"), ("add_module", "layer.name = other"),
        ("cuda", "to('cupy')"), ("cpu", "to('numpy')"), ("half", "float16"), ("double", "float64"), ("buffers", "state_dict()"),
        ("register_backward_hook", "register_full_backward_hook"),
    ]:  # fmt: skip
        with pytest.raises(AttributeError, match=re.escape(message)):
            getattr(Dense(3, 2), name)
    assert not hasattr(Dense(3, 2), "cuda")


@pytest.mark.parametrize(
    ("layer", "x", "parts"),
    [
        (xpconv.Conv1d(1, 2, 3), np.ones((4, 30)), ["x.astype('float32')", "this is one sequence", "x[:, None]"]),
        (xpconv.Conv1d(3, 2, 3), np.ones((4, 30)), ["x.astype('float32')", "so 4 channels, expected 3"]),
        (Conv2d(1, 2, 3), np.ones((4, 30)), ["x.astype('float32')", "expected (N, 1, H, W) or (1, H, W)"]),
        (Conv2d(3, 2, 3), np.ones((4, 8, 8, 3), "uint8"), ["astype('float32') / 255", "numpy.moveaxis(x, -1, -3)"]),
        (xpconv.Conv3d(1, 2, 3), np.ones((4, 8, 8, 8)), ["x.astype('float32')", "this is one volume"]),
        (xpconv.ConvTranspose1d(1, 2, 3), np.ones((4, 30)), ["x.astype('float32')", "x[:, None]"]),
        (xpconv.SeparableConv2d(3, 2, 3), np.ones((4, 30)), ["x.astype('float32')", "expected (N, 3, H, W)"]),
        (xpconv.DepthwiseConv2d(3, 3), np.ones((4, 30)), ["x.astype('float32')", "expected (N, 3, H, W)"]),
        (xpconv.SqueezeExcitation(3, 2), np.ones((4, 30)), ["x.astype('float32')", "expected (N, 3, H, W)"]),
        (xpconv.MaxPool2d(2), np.ones((4,), int), ["x is int64", "expected (N, C, H, W)"]),
        (xpconv.ReflectionPad2d(1), np.ones((4,), int), ["x is int64", "expected (N, C, H, W)"]),
    ],
)  # fmt: skip
def test_dtype_and_shape_are_told_together(layer, x, parts):
    with pytest.raises(TypeError) as caught:
        layer(x)
    for part in parts:
        assert part in str(caught.value)
    if x.ndim < 4:
        assert "image" not in str(caught.value) or isinstance(
            layer, xpconv.MaxPool2d | xpconv.ReflectionPad2d
        )
    assert str(caught.value).count(".forward: ") == 1


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_sizes_that_unet_cannot_halve_are_told_at_the_door(depth, backend):
    with xpconv.use_backend(backend):
        model = xpconv.models.unet(in_channels=1, width=2, depth=depth)
        n = 2**depth
        for size in [(4 * n, 4 * n + 1), (4 * n - 1, 4 * n), (1, 1)]:
            x = xpconv.asarray(np.ones((1, 1, *size), "float32"))
            message = rf"^unet: x has shape .*multiples of {n}, .*e\.g\. to \d+ and \d+"
            for net in (model, model.fuse()):
                with pytest.raises(ValueError, match=message):
                    net(x)
        x = xpconv.asarray(np.ones((1, 1, 4 * n, 2 * n), "float32"))
        assert model.train()(x).shape == (1, 2, 4 * n, 2 * n)
        assert model[:1].multiple == 1


# --- which forward backward belongs to ---------------------------------------------------------------


def gradients(act):
    """Input gradient and weight gradient of a model, as `act(model, x, x2)` gets them."""
    model = Sequential(Dense(3, 3, rng=0), xpconv.Tanh(), Dense(3, 2, rng=1))
    rng = np.random.default_rng(0)
    return act(model, *rng.normal(size=(2, 4, 3)).astype("float32")), model[0].weight.grad


@pytest.mark.parametrize("look", ["no_grad", "record", "a layer", "a part"])
def test_a_look_between_forward_and_backward(look):
    """A forward under `no_grad`, by `record`, or of a part of the model is not what `backward` goes back through."""
    g = np.ones((4, 2), "float32")

    def plain(model, x, x2):
        model(x)
        return model.backward(g)

    def looked(model, x, x2):
        model(x)
        if look == "no_grad":
            with xpconv.no_grad():
                model(x2)
        elif look == "record":
            model.record(x2)
        else:
            (model[0] if look == "a layer" else model[:2])(x2)
        return model.backward(g)

    for a, b in zip(gradients(looked), gradients(plain), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


def test_backwards_in_another_order_through_a_shared_layer():
    """`a` and `b` share a layer; going back through `a` first gives its gradient, or an error."""
    shared = Dense(3, 3, rng=0)
    a, b = Sequential(shared, xpconv.Tanh()), Sequential(shared, xpconv.Sigmoid())
    x, x2 = np.random.default_rng(0).normal(size=(2, 4, 3)).astype("float32")
    g = np.ones((4, 3), "float32")
    alone = Sequential(Dense(3, 3, rng=0), xpconv.Tanh())
    alone(x)
    expected_grad = alone.backward(g)
    expected = alone[0].weight.grad
    a(x)
    b(x2)
    try:
        found_grad = a.backward(g)  # the forward of b was later
    except (RuntimeError, ValueError):
        return
    np.testing.assert_allclose(found_grad, expected_grad, rtol=1e-6)
    np.testing.assert_allclose(shared.weight.grad, expected, rtol=1e-6)
