"""Settings of a layer that is made: what is set again counts, as in a new layer, or is an error."""

import copy
import inspect
import pickle

import every
import numpy as np
import pytest
from instances import LAYERS, instance_of

import xpconv
from xpconv import BatchNorm2d, Conv2d, Dense, Dropout, Flatten, Hardtanh, MaxPool2d, ReLU, Sequential

VALUES = [
    1,
    2,
    3,
    0,
    -1,
    4,
    6,
    0.25,
    1.5,
    True,
    False,
    None,
    "reflect",
    "same",
    "tanh",
    "bilinear",
    "nearest",
    "direct",
]
VALUES += [(1,), (1, 1), (2, 2), (3, 3), (0, 1), (1, 1, 1), (2, 2, 2), (1, 0, 1, 0)]
ROWS = {key: row for key, row in every.LAYERS.items() if "Lazy" not in key}


@np.errstate(all="ignore")  # LayerNorm(eps=-1) and the like
def run(layer, inputs):
    """Its output in inference and in training mode, or the kind of error."""
    results = []
    for mode in (False, True):
        xpconv.manual_seed(0)
        try:
            y = layer.train(mode)(*(x.copy() for x in inputs))
            results += y if isinstance(y, tuple) else [y]
        except (TypeError, ValueError) as error:
            results.append(type(error))
    return results


def assert_same(got, expected, what):
    assert len(got) == len(expected), what
    for a, b in zip(got, expected, strict=True):
        if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
            np.testing.assert_array_equal(a, b, err_msg=what)
        else:
            assert a is b, what


def refused(layer, setting, value):
    """The error of setting it, or None."""
    try:
        setattr(layer, setting, value)
    except (AttributeError, TypeError, ValueError) as error:
        return error
    return None


@pytest.mark.sample(4)
@pytest.mark.parametrize("key", ROWS)
def test_a_setting_counts_or_is_refused(key):
    name, arguments, options, inputs = ROWS[key]
    kind = getattr(xpconv, name)
    made = kind(*arguments, **options)
    parts = (xpconv.Layer, xpconv.Parameter)
    taken = inspect.signature(kind).parameters
    names = [n for n in taken if n in vars(made) and n != "bias" and not isinstance(vars(made)[n], parts)]
    given = {n: vars(made)[n] for n in names if vars(made)[n] is not None}
    given |= {"rng": options["rng"]} if "rng" in options else {}
    given |= {"bias": False} if options.get("bias") is False else {}
    for setting in names:
        for value in VALUES:
            layer, what = kind(**given), f"{key}: {setting} = {value!r}"
            error = refused(layer, setting, value)
            if error is not None:
                assert repr(layer) == repr(made), what
                if isinstance(error, AttributeError):
                    assert f"{kind.__name__}: {setting} is fixed" in str(error), what
                else:
                    with pytest.raises(type(error)):
                        kind(**{**given, setting: value})
                continue
            new = kind(**{**given, setting: value})
            assert repr(layer) == repr(new), what
            new.load_state_dict(layer.state_dict())
            assert_same(run(layer, inputs), run(new, inputs), what)


@pytest.mark.parametrize("name", LAYERS)
def test_all_that_repr_shows_counts_or_is_refused(name):
    """Attributes that a base's constructor has, too: another value gives no other repr and the same output."""
    layer = instance_of(name)
    settings = {n for n, v in vars(layer).items() if isinstance(v, int | float | str | tuple) and n[0] != "_"}
    own = set(inspect.signature(type(layer)).parameters)
    for setting in sorted(settings - own - {"inplace", "lazy"}):
        with pytest.raises(AttributeError, match=f"{name}: {setting} is fixed"):
            setattr(layer, setting, "other")


@pytest.mark.parametrize("name", LAYERS)
def test_every_fixed_argument_is_refused(name):
    """Also one that the layer has passed on, or is going to need, without an attribute of that name."""
    layer = instance_of(name)
    kind = type(layer).__name__
    for setting in {*layer.fixed} & {*inspect.signature(type(layer)).parameters}:
        with pytest.raises((AttributeError, TypeError), match=f"{kind}: {setting} is (fixed|a Parameter)"):
            setattr(layer, setting, "other")


@pytest.mark.parametrize("kind", [xpconv.LazyConv2d, xpconv.LazyLinear, xpconv.LazyBatchNorm2d])
def test_what_a_lazy_layer_takes_from_its_input_is_refused(kind):
    layer = kind() if kind is xpconv.LazyBatchNorm2d else kind(3, 3) if kind is xpconv.LazyConv2d else kind(3)
    name = layer.becomes.fixed[0]
    with pytest.raises(AttributeError, match=f"{kind.__name__}: {name} is fixed"):
        setattr(layer, name, 2)
    assert layer(np.zeros((2, 4, 5, 6), "float32")).shape[0] == 2
    assert type(layer) is kind.becomes


def test_a_lazy_layer_stays_as_it_is_after_an_error():
    layer = xpconv.LazyConv2d(4, 3, groups=2, rng=0)
    shown = repr(layer)
    with pytest.raises(ValueError, match="groups is 2"):
        layer(np.zeros((1, 3, 5, 5), "float32"))
    assert repr(layer) == shown
    assert layer(np.zeros((1, 6, 5, 5), "float32")).shape == (1, 4, 3, 3)


def test_the_error_says_what_to_do():
    model = xpconv.models.resnet18(num_classes=3)
    with pytest.raises(AttributeError) as error:
        model.conv1.stride = (1, 1)
    assert str(error.value) == (
        "Conv2d: stride is fixed once the layer is made; make a new Conv2d(…, stride=(1, 1)) and put it in its "
        "place (model.name = …, or model[i] = …)"
    )
    model.conv1 = Conv2d(3, 64, 3, stride=(1, 1), padding=1, bias=False)
    model.maxpool = xpconv.Identity()
    assert model.eval()(np.zeros((1, 3, 8, 8), "float32")).shape == (1, 3)


def test_the_same_again_is_no_change():
    conv, pool = Conv2d(2, 3, 3, stride=2), MaxPool2d(2)
    conv.stride, conv.stride, conv.in_channels, conv.bias = 2, (2, 2), 2, conv.bias
    pool.kernel_size = 2
    assert repr(conv) == "Conv2d(2, 3, kernel_size=3, stride=2)"


@pytest.mark.parametrize("name", ["Dense", "LayerNorm", "GroupNorm", "BatchNorm2d", "Conv2d", "Bilinear"])
def test_a_bias_is_a_parameter_or_none(name):
    sizes = {
        "Dense": (4, 3),
        "LayerNorm": (4,),
        "GroupNorm": (2, 4),
        "BatchNorm2d": (4,),
        "Bilinear": (2, 2, 2),
    }
    layer = getattr(xpconv, name)(*sizes.get(name, (2, 2, 3)), bias=False)
    with pytest.raises(AttributeError, match=f"{name}: bias is fixed"):
        layer.bias = True
    layer.bias = xpconv.Parameter(np.zeros(layer.weight.shape[:1], "float32"), "bias")


def test_live_settings_are_checked():
    for layer, name, value in [
        (Dropout(0.5), "p", 1.5),
        (BatchNorm2d(2), "eps", "small"),
        (BatchNorm2d(2), "momentum", "0.1"),
        (Hardtanh(), "min_val", 2.0),
        (ReLU(), "inplace", 1),
        (xpconv.AdaptiveAvgPool2d(2), "output_size", (1, 2, 3)),
        (xpconv.Upsample(scale_factor=2), "size", 3),
        (xpconv.Concat(ReLU()), "axis", "channels"),
    ]:
        before = repr(layer)
        with pytest.raises((TypeError, ValueError), match=f"{type(layer).__name__}: "):
            setattr(layer, name, value)
        assert repr(layer) == before
    pool = xpconv.AdaptiveAvgPool2d(2)
    pool.output_size = 1
    assert pool.output_size == (1, 1)


def test_setting_draws_no_random_numbers_and_keeps_the_own_ones():
    x = np.ones((4, 50), "float32")
    a, b = Dropout(0.5, rng=0), Dropout(0.2, rng=0)
    xpconv.manual_seed(3)
    expected = Dense(3, 2).weight.data
    xpconv.manual_seed(3)
    a.p = 0.2
    np.testing.assert_array_equal(Dense(3, 2).weight.data, expected)
    np.testing.assert_array_equal(a(x), b(x))


@pytest.mark.sample(4)
@pytest.mark.parametrize("key", ROWS)
def test_a_backward_goes_by_the_settings_of_its_forward(key):
    name, arguments, options, inputs = ROWS[key]
    made = getattr(xpconv, name)(*arguments, **options)
    taken = inspect.signature(type(made)).parameters
    parts = xpconv.Layer | xpconv.Parameter

    def gradients(change):
        layer = getattr(xpconv, name)(*arguments, **options)
        xpconv.manual_seed(0)
        y = layer(*(x.copy() for x in inputs))
        y = y[0] if isinstance(y, tuple) else y
        change(layer)
        dx = layer.backward(np.cos(y))
        return [*(dx if isinstance(dx, tuple) else (dx,)), *(p.grad for p in layer.parameters())]

    expected = gradients(lambda layer: None)
    for setting in [n for n in taken if n in vars(made) and not isinstance(vars(made)[n], parts)]:
        for value in [1, 2, 0.3, 3.0, True, False, None, "tanh", (4, 4), 4]:
            found = gradients(lambda layer, setting=setting, value=value: refused(layer, setting, value))
            for a, b in zip(expected, found, strict=True):
                np.testing.assert_array_equal(a, b, err_msg=f"{key}: {setting} = {value!r}")


@pytest.mark.parametrize("first", [BatchNorm2d(4), Conv2d(4, 4, 3, rng=0), xpconv.Sigmoid()])
def test_a_backward_goes_by_the_ends_of_its_forward_within_a_sequential(first):
    results = []
    for later in (0.5, 0.1):
        clip = Hardtanh(-0.5, 0.5)
        model = Sequential(copy.deepcopy(first), clip, MaxPool2d(2))
        y = model(every.IMAGE)
        clip.max_val = later
        results.append(model.backward(np.cos(y)))
    np.testing.assert_array_equal(*results)


def test_copies_files_and_lazy_layers():
    x = np.ones((2, 3, 8, 8), "float32")
    lazy = Sequential(xpconv.LazyConv2d(4, 3), xpconv.LazyBatchNorm2d(), Flatten(), xpconv.LazyLinear(2))
    y = lazy.eval()(x)
    stored = pickle.loads(pickle.dumps(lazy))  # noqa: S301  # our own
    for model in (lazy, copy.deepcopy(lazy), stored, copy.copy(lazy)):
        np.testing.assert_array_equal(model(x), y)
        with pytest.raises(AttributeError, match="Conv2d: stride is fixed"):
            model[0].stride = 2
    assert lazy.to(dtype="float64").fuse()(x.astype("float64")).shape == (2, 2)


def test_plans_of_fused_models_see_changes():
    x = np.linspace(-3, 3, 2 * 3 * 8 * 8, dtype="float32").reshape(2, 3, 8, 8)
    model = Sequential(
        Conv2d(3, 4, 3, rng=0), MaxPool2d(2), Hardtanh(-0.1, 0.1), Flatten(), Dense(36, 4, rng=0)
    )
    model.append(Hardtanh(-0.1, 0.1))
    fused = model.fuse()
    with xpconv.no_grad():
        fused(x), fused(x)
        for of in (model, fused):
            of[2].max_val = 0.02
            of[-1].min_val = -0.01
        np.testing.assert_allclose(fused(x), model.eval()(x), atol=1e-6)


def test_a_layer_of_ones_own_names_its_attributes_as_it_likes():
    class Block(xpconv.Layer):
        def __init__(self, stride):
            self.stride = stride
            self.p = 3

    block = Block(1)
    block.stride, block.p = 2, "x"
    assert (block.stride, block.p) == (2, "x")

    class Early(Conv2d):
        def __init__(self):
            self.stride = 4
            super().__init__(3, 8, 3, stride=2)
            self.note = 1

    early = Early()
    early.note = 2
    assert early.stride == (2, 2)
    with pytest.raises(AttributeError, match=r"Early: padding is fixed.*new Conv2d\(…, padding=1\)"):
        early.padding = 1
