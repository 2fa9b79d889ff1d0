"""`save_model` and `load_model`: every layer and model comes back as it was."""

import every
import numpy as np
import pytest
from every import IMAGE, all_layers, f

import xpconv
from xpconv.errors import DataFileError
from xpconv.files.architecture import CLASSES, Description
from xpconv.files.encoding import Encoder
from xpconv.files.rebuild import rebuild
from xpconv.parameter import Parameter, limited_memory

ROWS = all_layers()


def again(model, tmp_path, **options):
    xpconv.save_model(model, tmp_path / "m.safetensors")
    return xpconv.load_model(tmp_path / "m.safetensors", **options)


def assert_alike(a, b):
    """Equal in structure, flags, settings, parameters' sharing and values."""
    assert repr(a) == repr(b)
    states = a.state_dict(), b.state_dict()
    assert list(states[0]) == list(states[1])
    for x, y in zip(*(s.values() for s in states), strict=True):
        assert (type(x), x.dtype, x.shape) == (type(y), y.dtype, y.shape)
        np.testing.assert_array_equal(*map(xpconv.asnumpy, (x, y)))
    layers = list(a.named_layers()), list(b.named_layers())
    assert [n for n, _ in layers[0]] == [n for n, _ in layers[1]]
    for (_, one), (_, other) in zip(*layers, strict=True):
        assert type(one) is type(other)
        assert (one.training, one._thawed_mode, one.lazy) == (other.training, other._thawed_mode, other.lazy)
        assert vars(one).keys() ^ vars(other).keys() <= {
            "_tapes",
            "training",
            "_cached_steps",
            "_inference",
            "_thawed_mode",
            "_replaced",
        }
        for name, value in vars(one).items():
            if isinstance(value, int | float | str | tuple | None) and name not in ("training", "_replaced"):
                assert getattr(other, name) == value, name
    parameters = list(a.named_parameters()), list(b.named_parameters())
    assert [(n, p.name, p.requires_grad) for n, p in parameters[0]] == [
        (n, p.name, p.requires_grad) for n, p in parameters[1]
    ]


def trained(model, inputs, steps=2):
    """Outputs, gradients and parameters over some steps of training, as host arrays."""
    found = []
    given = [xpconv.asarray(x) for x in inputs]
    for _ in range(steps):
        y = model(*given)
        y = y[0] if isinstance(y, tuple) else y
        found.append(y)
        dx = model.backward(y / 8)
        found += list(dx) if isinstance(dx, tuple) else [dx]
        for p in model.parameters():
            found.append(p.grad)
            if p.grad is not None:
                p -= 0.001 * p.grad
        model.zero_grad()
    return [None if x is None else xpconv.asnumpy(x) for x in [*found, *model.state_dict().values()]]


def assert_trains_alike(a, b, inputs):
    xpconv.manual_seed(7)
    first = trained(a, inputs)
    xpconv.manual_seed(7)
    for x, y in zip(first, trained(b, inputs), strict=True):
        np.testing.assert_array_equal(x, y)
    assert_alike(a, b)


@pytest.mark.sample(4)
@pytest.mark.parametrize("key", ROWS)
def test_every_layer(key, tmp_path):
    make, inputs = ROWS[key]
    model = make()
    first = again(model, tmp_path)
    assert_alike(model, first)  # a lazy one still is
    if type(model).__name__.startswith(("MaxPool", "AdaptiveMaxPool")) and model.return_indices:
        model.return_indices = first.return_indices = False
    assert_trains_alike(model, first, inputs)
    if key.startswith("Lazy"):
        assert_alike(model, again(model, tmp_path))


@pytest.mark.sample(4)
@pytest.mark.parametrize("key", [key for key in ROWS if not key.startswith("Lazy")])
def test_every_layer_in_other_modes_and_dtypes(key, tmp_path):
    model = ROWS[key][0]().to(dtype="float64").eval()
    for p in model.parameters()[::2]:
        p.requires_grad = False
    assert_alike(model, again(model, tmp_path))


def test_every_public_layer_is_in_the_table():
    public = every.names(xpconv.Layer)
    assert public <= {*CLASSES, "Linear"}
    assert {row[0] for row in every.LAYERS.values()} | every.made_of_layers() >= public - {"ModuleDict"}


def through_memory(model, classes=None):
    """As `again`, without a file."""
    encoder = Encoder("save_model")
    for name, array in model._state().items():
        encoder.add(name, xpconv.asnumpy(array))
    found = Description(model, encoder)
    return rebuild(
        "f", {"layers": found.layers, "generators": found.generators}, encoder.arrays, classes or {}
    )


@pytest.mark.sample(4)
@pytest.mark.parametrize("name", xpconv.models.__all__)
def test_every_model(name):
    """Without initial values, which would take most of the time."""
    with limited_memory(2**40):
        model = getattr(xpconv.models, name)(num_classes=3)
    other = through_memory(model)
    assert repr(model) == repr(other)
    assert [(n, a.shape) for n, a in model._state().items()] == [
        (n, a.shape) for n, a in other._state().items()
    ]
    assert [n for n, _ in model.named_parameters()] == [n for n, _ in other.named_parameters()]


MODELS = {
    "lenet5": lambda m: (m.lenet5(), f(2, 1, 28, 28)),
    "unet": lambda m: (m.unet(width=4, depth=2), f(2, 3, 8, 8)),
    "a changed resnet18": lambda m: (changed(m.resnet18(num_classes=3)), f(2, 3, 32, 32)),
    "mobilenet_v2": lambda m: (m.mobilenet_v2(num_classes=3), f(2, 3, 32, 32)),
    "convnext_tiny": lambda m: (m.convnext_tiny(num_classes=3), f(1, 3, 32, 32)),
    "densenet121": lambda m: (m.densenet121(num_classes=3), f(1, 3, 64, 64)),
    "efficientnet_b0": lambda m: (m.efficientnet_b0(num_classes=3), f(2, 3, 32, 32)),
    "squeezenet1_1": lambda m: (m.squeezenet1_1(num_classes=3), f(2, 3, 32, 32)),
    "googlenet": lambda m: (m.googlenet(num_classes=3), f(2, 3, 32, 32)),
}


def changed(model):
    """For fine-tuning: another head, most of it frozen, a layer less."""
    model.requires_grad_(False, eval=True)
    model.fc = xpconv.Sequential(xpconv.Dropout(0.3, rng=4), xpconv.Dense(512, 5, rng=0))
    del model.layer4[1]
    model.classes = ["a", "b", "c", "d", "e"]
    return model


@pytest.mark.parametrize(
    "key", [key if key in ("lenet5", "unet") else pytest.param(key, marks=pytest.mark.slow) for key in MODELS]
)
def test_models_train_on(key, tmp_path):
    model, x = MODELS[key](xpconv.models)
    assert_trains_alike(model, again(model, tmp_path), (x,))


def test_a_unet_still_checks_sizes(tmp_path):
    model = again(xpconv.models.unet(width=2, depth=2), tmp_path)
    with pytest.raises(xpconv.errors.ShapeError, match="multiples of 4"):
        model(f(1, 3, 10, 8))


def test_shared_layers_and_parameters(tmp_path):
    dense = xpconv.Dense(4, 4, rng=0)
    last = xpconv.Dense(4, 4, rng=1)
    last.weight = dense.weight
    table = xpconv.Embedding(4, 4, rng=2)
    table.weight = dense.weight
    model = xpconv.Sequential(dense, xpconv.ReLU(), dense, xpconv.Residual(last, shortcut=dense), last)
    other = again(xpconv.ModuleDict({"net": model, "table": table}), tmp_path)
    assert other["net"][0] is other["net"][2] is other["net"][3].shortcut
    assert other["net"][4] is other["net"][3].body[0]
    assert other["net"][4].weight is other["net"][0].weight is other["table"].weight
    assert other["net"][4].bias is not other["net"][0].bias
    assert len(other.parameters()) == len(xpconv.ModuleList([model, table]).parameters()) == 3
    assert_trains_alike(model, other["net"], (f(3, 4),))


def test_names_orders_and_containers(tmp_path):
    model = xpconv.Sequential(
        {"b": xpconv.Dense(4, 4), "a": xpconv.Tanh(), "": xpconv.Sequential({"in": xpconv.ReLU()})}
    )
    model.extra = xpconv.Concat({"x": xpconv.Identity(), "y": xpconv.Parallel(xpconv.Sigmoid())}, axis=-1)
    lists = xpconv.ModuleList([model[1:], xpconv.ModuleDict({"k": xpconv.ModuleList()})])
    assert_trains_alike(model, again(model, tmp_path), (f(3, 4),))
    assert_alike(lists, again(lists, tmp_path))
    assert list(again(lists, tmp_path)[0]._layers) == ["a", "", "extra"]


def test_changed_settings_and_replaced_layers(tmp_path):
    model = xpconv.Sequential(
        xpconv.Conv2d(4, 4, 3, padding=((0, 1), (2, 0)), algorithm="direct", rng=0),
        xpconv.BatchNorm2d(4), xpconv.SeparableConv2d(4, 4, 3, rng=0), xpconv.SqueezeExcitation(4, 2, xpconv.ELU(0.5), rng=0),
        xpconv.Residual(xpconv.Identity()), xpconv.Dropout(0.5, rng=0), xpconv.LeakyReLU(0.1), xpconv.BatchNorm2d(4),
    )  # fmt: skip
    model[1].momentum, model[1].eps, model[5].p, model[6].negative_slope = None, 0.1, 0.25, 0.3
    model[2].pointwise = xpconv.Conv2d(4, 6, 1, bias=False)
    model[3] = xpconv.SqueezeExcitation(6, 2, rng=0)
    model[3].activation, model[3].fc1.bias = xpconv.LeakyReLU(0.3), None
    model[4].body, model[4].shortcut = xpconv.Tanh(), xpconv.PReLU(6, 0.1)
    model[6].negative_slope = 0.2
    model[7] = xpconv.BatchNorm2d(6)
    model[7].bias = None
    other = again(model, tmp_path)
    assert_trains_alike(model, other, (IMAGE,))
    assert other[3].activation.negative_slope == 0.3
    assert other[7].bias is None


def test_modes_of_each_layer(tmp_path):
    model = xpconv.Sequential(
        xpconv.BatchNorm2d(4), xpconv.LazyConv2d(3, 3), xpconv.BatchNorm2d(3), xpconv.Dropout()
    )
    model.requires_grad_(False, eval=True)
    model[3].requires_grad_()
    model[0].weight.requires_grad = True
    other = again(model, tmp_path)
    assert_alike(model, other)
    for one in (model, other):
        one(IMAGE)
        one.requires_grad_()
        one[2].eval()
    assert (
        [layer.training for layer in model]
        == [layer.training for layer in other]
        == [True, True, False, True]
    )


def test_mixed_dtypes(tmp_path):
    model = xpconv.Sequential(
        xpconv.Dense(3, 3), xpconv.BatchNorm1d(3), xpconv.LazyLinear(3, dtype="float16")
    )
    model[0].to(dtype="float16")
    model[1].weight.data = model[1].weight.data.astype("float64")
    assert_alike(model, again(model, tmp_path))


@pytest.mark.parametrize("bits", ["MT19937", "PCG64", "PCG64DXSM", "Philox", "SFC64"])
def test_generators_of_dropout_and_lazy_layers(bits, backend, tmp_path):
    shared = np.random.Generator(getattr(np.random, bits)(5))
    model = xpconv.Sequential(
        xpconv.Dropout(rng=shared), xpconv.LazyLinear(6, rng=shared), xpconv.Dropout(), xpconv.LazyLinear(3),
        xpconv.Dropout(rng=3), xpconv.DropPath(0.5, rng=shared),
    )  # fmt: skip
    model[0](xpconv.asarray(f(5)))
    other = again(model, tmp_path)
    assert other[0]._source.generator is other[5]._source.generator is other[1]._rng_later is not shared
    state = xpconv.get_rng_state()
    for one in (model, other):
        xpconv.set_rng_state(state)
        one(xpconv.asarray(np.ones((2, 4), "float32")))
    assert_trains_alike(model, other, (f(3, 4),))


def test_the_generator_of_manual_seed_is_not_drawn_from(tmp_path):
    class Noisy(xpconv.Layer):
        def __init__(self):
            self.weight = Parameter(xpconv.asarray(xpconv.random.default_rng().normal(size=3)))

    xpconv.manual_seed(0)
    model = xpconv.Sequential(xpconv.Dense(3, 3), Noisy(), xpconv.LazyLinear(2))
    before = xpconv.get_rng_state()
    other = again(model, tmp_path, classes={"Noisy": Noisy})
    assert xpconv.get_rng_state() == before
    np.testing.assert_array_equal(other[1].weight.data, model[1].weight.data)


@pytest.mark.parametrize(("there", "here"), [("double", "numpy"), ("numpy", "double")])
def test_a_model_goes_to_another_backend(there, here, tmp_path):
    with xpconv.use_backend(there):
        model = xpconv.Sequential(xpconv.Conv2d(4, 3, 3), xpconv.BatchNorm2d(3), xpconv.Dropout(rng=0))
        model(xpconv.asarray(IMAGE))
        xpconv.save_model(model, tmp_path / "m")
    with xpconv.use_backend(here):
        assert_alike(xpconv.load_model(tmp_path / "m"), model.to(here))


def test_state_dicts_and_other_programs_read_the_file(tmp_path):
    torch = pytest.importorskip("torch")
    from safetensors.torch import load_file

    path = tmp_path / "m.safetensors"
    model = xpconv.Sequential(xpconv.Conv2d(3, 4, 3), xpconv.BatchNorm2d(4))
    xpconv.save_model(model, path)
    other = xpconv.Sequential(xpconv.Conv2d(3, 4, 3), xpconv.BatchNorm2d(4))
    other.load_state_dict(path)
    assert_alike(model, other)
    torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4)).load_state_dict(load_file(path))


class Scale(xpconv.Layer):
    """One factor a channel; the arguments are attributes."""

    limit = 3.0

    def __init__(self, channels, factor=2.0, act=np.tanh, *, dtype="float32"):
        self.channels, self.factor = channels, factor
        self.gain = Parameter(xpconv.asarray(np.full(channels, factor), dtype), "gain")
        self.table = np.arange(3)
        self.function = act

    buffer_names = ("table",)

    def get_config(self):
        return {"channels": self.channels, "factor": self.factor}

    def forward(self, x):
        return self.keep(x * self.gain.data, x)

    def backward(self, grad_output, input_grad=True):
        (x,) = self.recall(grad_output)
        self.gain.accumulate((x * grad_output).sum(axis=0))
        return grad_output * self.gain.data if input_grad else None


class Net(xpconv.Layer):
    """Layers in attributes, one from an argument."""

    def __init__(self, head, width=8, bias=True, classes=("a", "b")):
        self.head, self.width, self.bias, self.classes = head, width, bias, classes
        self._first = xpconv.Dense(4, width, bias=bias)
        self.blocks = xpconv.ModuleList([xpconv.Dense(width, width), Scale(width)])
        self.last = xpconv.Dense(width, 10)

    def forward(self, x):
        for layer in (self._first, *self.blocks, self.last, self.head):
            x = layer(x)
        return self.keep(x)

    def backward(self, grad_output, input_grad=True):
        self.recall(grad_output)
        for layer in (self.head, self.last, *reversed(self.blocks)):
            grad_output = layer.backward(grad_output)
        return self._first.backward(grad_output, input_grad)


CLASSES_OF_OURS = {"Scale": Scale, "Net": Net}


def test_classes_of_ones_own(tmp_path):
    model = Net(xpconv.Dense(3, 2), 6)
    model.last = xpconv.Dense(6, 3)
    model.blocks.append(xpconv.Dense(6, 6))
    model.blocks[1].limit = 4.0
    model.mean = np.arange(2000.0)
    model.info = {"epoch": 3, 1: (None, float("nan"))}
    model.blocks[1].function = np.sin
    model.shift = Parameter(np.zeros(2), "shift")
    other = again(model, tmp_path, classes=CLASSES_OF_OURS)
    assert_trains_alike(model, other, (f(3, 4),))
    assert other.blocks[1].limit == 4.0
    assert other.blocks[1].function is np.tanh
    assert repr(other.info) == repr(model.info)
    np.testing.assert_array_equal(other.mean, model.mean)
    assert isinstance(other.shift, Parameter)
    with pytest.raises(
        DataFileError, match=r"layers of the class 'Net', .* load_model\(path, classes=\{'Net': …\}\)"
    ):
        xpconv.load_model(tmp_path / "m.safetensors", {"Scale": Scale})


def test_subclasses_of_our_layers(tmp_path):
    class Wide(xpconv.Sequential):
        def __init__(self, width):
            super().__init__(xpconv.Dense(4, width), xpconv.Dropout(0.5, rng=0), xpconv.Dense(width, 2))
            self.width = width

    class Block(xpconv.Residual):  # the name of one of ours
        names = ("", "down")

    class Square(xpconv.Conv2d):
        def __init__(self, channels, rng=None):
            super().__init__(channels, channels, 3, padding=1, rng=rng)
            self.channels = channels

    wide = Wide(5)
    del wide[1]
    wide["0"].eval()
    classes = {"Wide": Wide, "Block": Block, "Square": Square}
    assert_trains_alike(wide, again(wide, tmp_path, classes=classes), (f(3, 4),))
    block = Block({"x": Square(4), "y": xpconv.ReLU()}, shortcut=Square(4))
    assert_trains_alike(block, again(block, tmp_path, classes=classes), (IMAGE,))


def test_what_cannot_be_saved(tmp_path):
    class Forgets(xpconv.Layer):
        def __init__(self, n):
            pass

    class Holds(xpconv.Layer):
        def __init__(self, f):
            self.f = f

    class Apart(xpconv.Layer):
        def get_config(self):
            return {"x": xpconv.ReLU()}

    fused = xpconv.Sequential(xpconv.Conv2d(1, 1, 1), xpconv.BatchNorm2d(1)).eval().fuse()
    planted = xpconv.ReLU()
    planted.forward = lambda x: x
    deep = xpconv.ReLU()
    for _ in range(201):
        deep = xpconv.Sequential(deep)
    Other = type("Forgets", (Apart,), {})
    twice = xpconv.Sequential(type("Forgets", (xpconv.Layer,), {})(), Other())
    bits = type("Mine", (np.random.PCG64,), {})(0)
    for model, error, said in (
        (Forgets(3), TypeError, r"Forgets.get_config: the argument n is no attribute; store it as self.n"),
        (
            xpconv.Sequential(Holds(print)),
            TypeError,
            r"^save_model: Holds \(layer 0\): f is <built-in.*define get_config",
        ),
        (Apart(), TypeError, "the argument x is a layer, but none of its layers"),
        (fused, ValueError, r"^save_model: .* is from fuse\(\); save the model from before"),
        (xpconv.Sequential(planted), TypeError, r"ReLU \(layer 0\): forward was assigned"),
        (twice, (ValueError, TypeError), "two classes of this name|none of its layers"),
        (deep, ValueError, "more than 200 levels"),
        (xpconv.Dropout(rng=np.random.Generator(bits)), TypeError, "its rng is a Mine"),
        ({"a": 1}, TypeError, "^save_model: model is .*expected a Layer; a state dict has the weights alone"),
        (xpconv.Dense, TypeError, "expected a Layer$"),
    ):
        with pytest.raises(error, match=said):
            xpconv.save_model(model, tmp_path / "m")
    with pytest.raises(TypeError, match=r"the model comes first: xpconv.save_model\(model, path\)"):
        xpconv.save_model(tmp_path / "m", planted)
    assert not list(tmp_path.iterdir())
    xpconv.save_model(xpconv.ReLU(), tmp_path / "m")
    for classes in ([Scale], {"Scale": 3}, {"Scale": dict}, {"Scale": Scale(2)}):
        with pytest.raises(TypeError, match=r"^load_model: classes"):
            xpconv.load_model(tmp_path / "m", classes)
    with pytest.raises(
        DataFileError, match=r"is a model file, expected a checkpoint file; use xpconv.load_model"
    ):
        xpconv.load(tmp_path / "m")
    xpconv.save(tmp_path / "c", model=xpconv.ReLU())
    with pytest.raises(
        DataFileError, match=r"is a checkpoint file, expected a model file; use xpconv.load\("
    ):
        xpconv.load_model(tmp_path / "c")


def test_a_class_that_does_not_store_its_arguments_as_they_are(tmp_path):
    class Doubles(xpconv.Layer):
        def __init__(self, n):
            self.n = 2 * n

    with pytest.raises(DataFileError, match=r"made with .*2.*, it has .*4.*; a class of your own must store"):
        again(Doubles(1), tmp_path, classes={"Doubles": Doubles})


class Fixed(xpconv.Layer):
    """Its arguments are arrays, also one array twice."""

    def __init__(self, mean, std, classes=()):
        self.mean, self.std, self.classes = mean, std, classes

    def forward(self, x):
        return self.keep((x - self.mean) / self.std)

    def backward(self, grad_output, input_grad=True):
        self.recall(grad_output)
        return grad_output / self.std if input_grad else None


class Backbone(xpconv.Layer):
    """Makes a layer that is replaced."""

    def __init__(self, size):
        self.size = size
        self.inner = xpconv.Dense(2, size)

    def forward(self, x):
        return self.keep(self.inner(x))

    def backward(self, grad_output, input_grad=True):
        self.recall(grad_output)
        return self.inner.backward(grad_output, input_grad)


class Swish(xpconv.Layer):
    """A layer whose argument is learned."""

    def __init__(self, beta=1.0, power=1):
        self.beta, self.power = Parameter(xpconv.asarray([beta], dtype="float32"), "beta"), power

    def forward(self, x):
        return self.keep(x * self.beta.data, x)

    def backward(self, grad_output, input_grad=True):
        (x,) = self.recall(grad_output)
        self.beta.accumulate((grad_output * x).sum().reshape(1))
        return grad_output * self.beta.data if input_grad else None


class Described(Swish):
    def get_config(self):
        return {"beta": self.beta.data.item(), "power": self.power}


def test_an_argument_that_became_a_parameter_needs_get_config(tmp_path, backend):
    model = xpconv.Sequential(xpconv.Dense(3, 2, rng=0), Swish(2.0))
    with pytest.raises(TypeError, match=r"layer 1.*argument beta of Swish.*get_config"):
        xpconv.save_model(model, tmp_path / "m.safetensors")
    assert not any(tmp_path.iterdir())
    with pytest.raises(TypeError, match=r"argument beta of Swish.*get_config"):
        xpconv.save_model(Swish(), tmp_path / "m.safetensors")
    model = xpconv.Sequential(xpconv.Dense(3, 2, rng=0), Described(2.0, power=3))
    loaded = again(model, tmp_path, classes={"Described": Described})
    assert_alike(model, loaded)
    assert loaded[1].power == 3
    assert loaded[1].beta.data.item() == 2


class Table(xpconv.Layer):
    """A layer that makes an array of its argument."""

    def __init__(self, scale):
        self.scale = np.array([scale])

    def forward(self, x):
        return self.keep(x * self.scale.reshape(-1)[0])


def test_an_argument_that_became_another_array_is_noticed(tmp_path):
    with pytest.raises((TypeError, DataFileError), match="get_config"):
        again(Table(2.0), tmp_path, classes={"Table": Table})


def test_arrays_as_arguments(tmp_path):
    mean = np.ones(4, "float32")
    model = xpconv.Sequential(Fixed(mean, mean, ["a"]), xpconv.Dense(4, 2))
    other = again(model, tmp_path, classes={"Fixed": Fixed})
    assert_trains_alike(model, other, (f(3, 4),))
    assert type(other[0].mean) is np.ndarray


@pytest.mark.slow
def test_large_layers_that_a_constructor_makes_and_that_are_replaced(tmp_path):
    model = Backbone(10_000_000)
    model.inner = xpconv.Dense(2, 3)
    assert_alike(model, again(model, tmp_path, classes={"Backbone": Backbone}))


def test_attributes_that_would_hide_those_of_the_class(tmp_path):
    model = xpconv.Residual(xpconv.ReLU())
    model.names = ("a", "b")
    with pytest.raises(ValueError, match="names is an attribute of the class"):
        xpconv.save_model(model, tmp_path / "m")


def test_hooks_are_not_saved(tmp_path):
    model = xpconv.Sequential(xpconv.Dense(2, 2))
    model[0].register_forward_hook(lambda *_: None)
    assert again(model, tmp_path)[0]._hooks is None
