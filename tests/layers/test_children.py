# ruff: noqa: B023, S102, S301
"""Layers read, replaced, added and taken out by name and position: what is set is what runs and is saved."""

import copy
import pickle
import re
from collections import ChainMap, UserDict, UserList, deque
from types import MappingProxyType

import numpy as np
import pytest
from instances import LAYERS, instance_of

import xpconv
from xpconv import Concat, Conv2d, Dense, ModuleDict, ModuleList, Parallel, ReLU, Residual, Sequential, Tanh

X = np.random.default_rng(0).normal(size=(3, 4)).astype("float32")


def dense(seed, out=4):
    return Dense(4, out, rng=seed)


class Own(xpconv.Layer):
    """A layer of one's own, with children of all kinds."""

    def __init__(self):
        super().__init__()
        self.first = dense(1)
        self.rest = Sequential({"a": dense(2), "act": Tanh()})

    def forward(self, x):
        return self.keep(self.rest(self.first(x)))

    def backward(self, grad_output, input_grad=True):
        self.recall(grad_output)
        return self.first.backward(self.rest.backward(grad_output), input_grad=input_grad)


class Block(Residual):
    names = ("", "downsample")


class Named(Residual):
    names = ("main", "side")


# a model, how to reach the layer that is replaced, and its name in the state dict
PLACES = {
    "Sequential": (lambda: Sequential(dense(0), Tanh(), dense(1)), "m[2]", "2"),
    "Sequential negative": (lambda: Sequential(dense(0), Tanh(), dense(1)), "m[-3]", "0"),
    "Sequential number as a name": (lambda: Sequential(dense(0), Tanh()), "m['0']", "0"),
    "Sequential attribute": (lambda: Sequential({"body": Tanh(), "fc": dense(1)}), "m.fc", "fc"),
    "Sequential name": (lambda: Sequential({"body": Tanh(), "fc": dense(1)}), "m['fc']", "fc"),
    "Sequential position of a name": (lambda: Sequential({"body": Tanh(), "fc": dense(1)}), "m[1]", "fc"),
    "Parallel": (lambda: Parallel(dense(0), dense(1)), "m[0]", "0"),
    "Parallel attribute": (lambda: Parallel({"a": dense(0), "b": dense(1)}), "m.b", "b"),
    "Concat": (lambda: Concat(dense(0), dense(1), axis=-1), "m[-1]", "1"),
    "Concat name": (lambda: Concat({"a": dense(0), "b": dense(1)}, axis=-1), "m['a']", "a"),
    "Residual body": (lambda: Residual(dense(0), Tanh()), "m.body[0]", "body.0"),
    "Residual whole body": (lambda: Residual(dense(0), Tanh()), "m.body", "body"),
    "Residual name of the body": (lambda: Residual(dense(0), Tanh()), "m['body']", "body"),
    "Residual shortcut": (lambda: Residual(dense(0), shortcut=dense(1)), "m.shortcut", "shortcut"),
    "Residual name": (lambda: Residual(dense(0), shortcut=dense(1)), "m['shortcut']", "shortcut"),
    "Residual new shortcut": (lambda: Residual(dense(0)), "m.shortcut", "shortcut"),
    "other names, body": (lambda: Named(dense(0), shortcut=dense(1)), "m.main", "main"),
    "other names, shortcut": (lambda: Named(dense(0), shortcut=dense(1)), "m['side']", "side"),
    "other names, attribute": (lambda: Named(dense(0), shortcut=dense(1)), "m.shortcut", "side"),
    "no name, its layer": (lambda: Block({"fc1": dense(0), "act": Tanh()}), "m.fc1", "fc1"),
    "no name, by name": (lambda: Block({"fc1": dense(0), "act": Tanh()}), "m['fc1']", "fc1"),
    "no name, shortcut": (lambda: Block(dense(0), shortcut=dense(1)), "m.downsample", "downsample"),
    "no name in a Sequential": (lambda: Sequential({"": Block({"fc1": dense(0)}), "act": Tanh()}), "m.fc1", "fc1"),
    "nested": (lambda: Sequential({"a": Sequential(Parallel({"x": dense(0)}), Tanh())}), "m.a[0].x", "a.0.x"),
    "layer of one's own": (Own, "m.first", "first"),
    "below a layer of one's own": (Own, "m.rest['a']", "rest.a"),
}  # fmt: skip


def expected_keys(name):
    return [f"{name}.weight", f"{name}.bias"]


@pytest.mark.parametrize("place", PLACES)
def test_what_is_replaced_is_what_runs(place, backend):
    make, path, name = PLACES[place]
    with xpconv.use_backend(backend):
        model, new = make(), dense(9)
        keys = list(model.state_dict())
        x = xpconv.asarray(X)
        before = xpconv.asnumpy(model(x))
        model.forget()
        exec(f"{path} = new", {"m": model, "new": new})
        assert eval(path, {"m": model}) is new
        assert dict(model.named_layers())[name] is new
        state = model.state_dict()
        for key, parameter in zip(expected_keys(name), (new.weight, new.bias), strict=True):
            assert any(p is parameter for p in model.parameters())
            np.testing.assert_array_equal(xpconv.asnumpy(state[key]), xpconv.asnumpy(parameter.data))
        kept = [key for key in keys if not key.startswith(name + ".")]
        assert [key for key in state if not key.startswith(name + ".")] == kept
        if name + ".weight" in keys:  # in the old one's place
            assert list(state) == keys
        assert repr(new) in repr(model)
        assert repr(new) in model.summary()
        y = xpconv.asnumpy(model(x))
        assert not np.array_equal(y, before)
        model.zero_grad()
        model.backward(xpconv.asarray(np.ones_like(y)))
        assert new.weight.grad is not None
        fused, loaded = model.fuse(), make()
        exec(f"{path} = other", {"m": loaded, "other": dense(3)})
        loaded.load_state_dict(state)
        with xpconv.no_grad():
            for other in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model), loaded):
                np.testing.assert_array_equal(xpconv.asnumpy(other(x)), y)
            np.testing.assert_allclose(xpconv.asnumpy(fused(x)), y, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("place", PLACES)
def test_what_is_no_layer_is_refused_in_a_layers_place(place):
    make, path, _ = PLACES[place]
    model = make()
    before = model.state_dict()
    for value in (3, Dense, "fc", [dense(0)], X):
        with pytest.raises(TypeError):
            exec(f"{path} = value", {"m": model, "value": value})
        assert list(model.state_dict()) == list(before)


def test_none_in_a_layers_place():
    """A container runs what it holds; a layer of one's own asks `if self.layer is None`, as in PyTorch."""
    model = Sequential({"fc": dense(0)})
    with pytest.raises(TypeError, match=re.escape("layer fc is None, expected a Layer; to remove the layer: del model['fc']")):  # fmt: skip
        model.fc = None
    block = Residual(dense(0), shortcut=dense(1))
    block.shortcut = None
    np.testing.assert_allclose(block(X), X + block.body(X), rtol=1e-6)
    with pytest.raises(TypeError, match="Residual: body is None, expected a Layer"):
        block.body = None
    own = Own()
    own.first = None
    assert list(own.children()) == ["rest"]
    own.first = dense(4)
    with pytest.raises(TypeError, match="Own: first is a layer and was set to int; give a Layer or None"):
        own.first = 3


MODELS = {
    "alexnet": ("m.classifier[-1]", Dense(4096, 7)),
    "convnext_tiny": ("m.classifier[-1]", Dense(768, 7)),
    "densenet121": ("m.classifier", Dense(1024, 7)),
    "efficientnet_b0": ("m.classifier[1]", Dense(1280, 7)),
    "googlenet": ("m.fc", Dense(1024, 7)),
    "mobilenet_v2": ("m['classifier'][-1]", Dense(1280, 7)),
    "resnet18": ("m.fc", Dense(512, 7)),
    "squeezenet1_1": ("m.classifier[1]", Conv2d(512, 7, 1)),
    "vgg11": ("m.classifier[6]", Dense(4096, 7)),
    "unet": ("m.head", Conv2d(4, 7, 1)),
    "lenet5": ("m[-1]", Dense(84, 7)),
}


@pytest.mark.sample(4)
@pytest.mark.parametrize("name", MODELS)
def test_the_last_layer_of_every_model(name, no_draws):
    path, new = MODELS[name]
    if name in ("alexnet", "vgg11"):  # 200 MB and more; that they are Sequentials all the same is enough
        model = Sequential({"features": ReLU(), "classifier": Sequential(*[ReLU() for _ in range(7)])})
        x = np.zeros((1, 4096), "float32")
    else:
        kwargs = {"width": 4, "depth": 2} if name == "unet" else {}
        model = getattr(xpconv.models, name)(**kwargs)
        size = {"lenet5": (1, 1, 28, 28), "unet": (1, 3, 8, 8)}.get(name, (1, 3, 32, 32))
        x = np.zeros(size, "float32")
    exec(f"{path} = new", {"m": model, "new": new})
    with xpconv.no_grad():
        assert model.eval()(x).shape[1] == 7
    assert any(layer is new for layer in model.modules())


def test_layers_of_a_model_by_torchvisions_names(no_draws):
    model = xpconv.models.resnet18(10)
    assert model.layer1[0].conv1 is model.layer1[0][0].body["conv1"]
    assert model.layer1[0].downsample is None
    assert model.layer2[0].downsample[0] is dict(model.named_layers())["layer2.0.downsample.0"]
    new = Conv2d(64, 64, 3, padding=1, bias=False)
    model.layer1[0].conv1 = new
    np.testing.assert_array_equal(model.state_dict()["layer1.0.conv1.weight"], new.weight.data)
    fire = xpconv.models.squeezenet1_1().features[3]
    assert fire.expand1x1 is fire[""]["expand1x1"]
    norm = xpconv.models.convnext_tiny().features[0][1]
    assert norm.weight.shape == (96,)
    with pytest.raises(AttributeError, match="no attribute 'conv9'"):
        _ = model.layer1[0].conv9


@pytest.mark.parametrize("kind", [Sequential, Parallel, Concat, ModuleList])
@pytest.mark.parametrize(
    ("edit", "error"),
    [
        ("s[5]", IndexError), ("s[-6]", IndexError), ("s[5] = new", IndexError), ("del s[5]", IndexError),
        ("s.pop(5)", IndexError), ("s.insert(6, new)", IndexError), ("s.insert(-6, new)", IndexError),
        ("s[1.5]", TypeError), ("s[None]", TypeError), ("s[1:2] = new", TypeError), ("s[1:2] = [new]", TypeError),
        ("s['fc']", KeyError), ("del s['fc']", KeyError), ("s.pop('fc')", KeyError), ("del s.fc", AttributeError),
        ("s.fc", AttributeError), ("s.extend(3)", TypeError), ("s.extend([new, 3])", TypeError),
        ("s.extend({'a': new})", TypeError), ("s.insert(0, 3)", TypeError), ("s.insert('0', new)", TypeError),
        ("s.append(None)", TypeError), ("s['a.b'] = new", ValueError), ("s[(1, 2)]", TypeError),
    ],
)  # fmt: skip
def test_wrong_edits_change_nothing(kind, edit, error):
    model = kind([dense(i) for i in range(5)])
    before = list(model)
    with pytest.raises(error) as caught:
        exec(edit, {"s": model, "new": dense(9)})
    assert kind.__name__ in str(caught.value)
    assert list(model.children()) == ["0", "1", "2", "3", "4"]
    assert all(a is b for a, b in zip(model, before, strict=True))


def test_names_of_a_mapping_stay_where_layers_come_and_go():
    model = Sequential({"conv": dense(0), "act": Tanh(), "fc": dense(1)})
    del model[1]
    assert list(model.children()) == ["conv", "fc"]
    new = dense(2)
    assert model.insert(1, new) is model
    assert list(model.children()) == ["conv", "2", "fc"]
    assert model[1] is new
    model["top"] = Tanh()
    model.last = Tanh()
    assert list(model.children()) == ["conv", "2", "fc", "top", "last"]
    assert model.pop("2") is new
    del model.top, model["last"]
    assert list(model.children()) == ["conv", "fc"]
    assert "fc" in model
    assert "top" not in model
    assert model.conv in model
    assert new not in model
    assert "fc" in dir(model)
    assert "0" not in dir(Sequential(Tanh()))
    assert not hasattr(model, "top")


def test_residual_blocks_lose_their_shortcut():
    for block in (Residual(dense(0), shortcut=dense(1)), Block(dense(0), shortcut=dense(1))):
        name = block.names[1]
        assert block[name] is block.shortcut
        delattr(block, name)
        assert block.shortcut is None
        np.testing.assert_allclose(block(X), X + block.body(X), rtol=1e-6)
        with pytest.raises(TypeError, match="body cannot be deleted"):
            del block.body
        with pytest.raises(KeyError, match="there is no layer"):
            block[name]
    block = Block({"fc1": dense(0), "fc2": dense(1)})
    del block.fc1
    assert list(block.state_dict()) == ["fc2.weight", "fc2.bias"]


class Head(Residual):
    """Subclasses may hold further layers."""

    def __init__(self):
        super().__init__(dense(0))
        self.head = dense(1)


def test_further_layers_of_a_subclass_are_found():
    assert list(Head().state_dict()) == ["body.0.weight", "body.0.bias", "head.weight", "head.bias"]

    class Net(Sequential):
        def __init__(self):
            super().__init__(dense(0))
            self.head = dense(1)  # as in PyTorch, one more step

    net = Net()
    assert list(net.children()) == ["0", "head"]
    np.testing.assert_array_equal(net(X), net.head(net[0](X)))

    class Early(Sequential):
        def __init__(self):
            self.head = dense(1)

    with pytest.raises(TypeError, match=r"Early: call super\(\).__init__\(\) before"):
        Early()


METHODS = [
    "forward", "backward", "train", "eval", "training", "keep", "recall", "forget", "children", "parameters", "apply",
    "state_dict", "load_state_dict", "to", "fuse", "summary", "buffer_names", "lazy", "zero_grad", "modules",
    "_layers", "_is_fused", "__call__", "__dict__", "extra_repr", "named_children",
]  # fmt: skip
OF_LISTS = ["append", "insert", "extend", "pop", "__len__"]


@pytest.mark.parametrize("kind", [Sequential, Parallel, Concat, ModuleList, ModuleDict, Residual, Own])
def test_a_name_that_is_taken_is_refused(kind):
    model = kind()
    before = list(model.children())
    names = [n for n in METHODS if not (kind is Own and n in ("_layers", "_is_fused"))]
    names += OF_LISTS if isinstance(model, Sequential) else []
    names += (
        ["axis"]
        if kind is Concat
        else ["keys", "values", "items", "clear", "update"]
        if kind is ModuleDict
        else []
    )
    for name in names:
        if kind is Residual and name in ("_layers", "_is_fused"):
            continue
        ways = [lambda: setattr(model, name, Tanh())]
        if hasattr(kind, "__setitem__"):
            ways.append(lambda: model.__setitem__(name, Tanh()))
        if kind not in (Residual, Own, ModuleList):
            ways.append(lambda: kind({name: Tanh()}))
        for way in ways:
            with pytest.raises((ValueError, TypeError), match=re.escape(repr(name))):
                way()
        if name not in ("_layers", "_is_fused", "axis"):
            with pytest.raises((ValueError, TypeError), match=re.escape(name)):
                setattr(model, name, xpconv.Parameter(X, name))
    model.train()  # sets an attribute that was the class's
    with pytest.raises(ValueError, match="'training' is the name of an attribute"):
        model.training = Tanh()
    assert list(model.children()) == before


def test_own_methods_are_no_names_for_layers():
    class Net(xpconv.Layer):
        activation = ReLU
        default = None

        def head(self):
            return 1

        @property
        def width(self):
            return self.missing

    net = Net()
    net.activation = net.activation()  # a class, or None, may stand there until the layer is made
    net.default = dense(0)
    for name in ("head", "width"):
        with pytest.raises(ValueError, match=f"Net: '{name}' is the name of"):
            setattr(net, name, dense(0))
    with pytest.raises(AttributeError, match="'missing'"):  # not 'width'
        _ = net.width


def test_two_arrays_of_one_name_are_an_error():
    model = Sequential({"": Sequential({"fc": dense(0)}), "fc": dense(1)})
    with pytest.raises(ValueError, match=r"two arrays are called 'fc\.weight'"):
        model.state_dict()


def test_copies_and_unknown_attributes():
    model = Sequential({"fc": dense(0), "": Block(dense(1))})
    for other in (copy.copy(model), copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        other.fc = dense(5)
        assert model.fc is not other.fc
        other.append(Tanh())
        assert len(model) == 2
    blank = Sequential.__new__(Sequential)
    for name in ("_layers", "fc", "__deepcopy__", "__array__", "_repr_latex_"):
        assert not hasattr(blank, name)
        assert name in ("_layers", "fc") or not hasattr(model, name)
    with pytest.raises(AttributeError, match="'Sequential' object has no attribute 'fcc'"):
        _ = model.fcc
    with pytest.raises(AttributeError, match="buffer_names"):
        Own().register_buffer("pe", X)


class Slotless(Sequential):
    """An attribute that is no layer stays one."""

    def __init__(self, *layers):
        super().__init__(*layers)
        self.scale = 3


def test_attributes_that_are_no_layers_stay():
    model = Slotless(Tanh())
    model.scale = 4
    model.note = "n"
    assert (model.scale, model.note, list(model.children())) == (4, "n", ["0"])
    del model.note
    with pytest.raises(ValueError, match="'scale' is the name of an attribute"):
        model["scale"] = Tanh()


def test_a_layer_that_holds_itself_is_an_error():
    model = Sequential(Tanh())
    model.append(model)
    with pytest.raises(ValueError, match="layer 1 contains itself"):
        model.parameters()
    own = Own()
    own.rest.append(Sequential(own))
    with pytest.raises(ValueError, match=r"layer rest.2.0 contains itself"):
        own.state_dict()
    with xpconv.no_grad(), pytest.raises(ValueError, match=r"layer \S+ contains itself"):
        model(np.ones((2, 3)))


def fusable():
    model = Sequential(
        Sequential(Conv2d(3, 4, 3, rng=0), xpconv.BatchNorm2d(4), ReLU()),
        Sequential(Conv2d(4, 4, 3, rng=1)), xpconv.BatchNorm2d(4),
        Residual(Conv2d(4, 4, 1, rng=2), shortcut=Conv2d(4, 4, 1, rng=3)),
        xpconv.Flatten(), Dense(64, 3, rng=4),
    )  # fmt: skip
    rng = np.random.default_rng(0)
    for layer in (model[0][1], model[2]):
        layer.running_mean[...] = xpconv.asarray(rng.normal(size=4), "float32")
    return model


@pytest.mark.parametrize(
    "edit",
    [
        "m[0][0] = conv", "m[0][1] = conv", "del m[0][0]", "del m[0][1]", "del m[0][1:]",
        "m[0].insert(1, relu)", "m[1][0] = conv", "m[1] = conv", "del m[2]", "m[1].append(relu)",
        "m.insert(2, relu)", "m[2] = relu",
    ],
)  # fmt: skip
def test_a_fused_model_refuses_to_part_what_it_folded(edit, backend):
    with xpconv.use_backend(backend):
        fused, x = fusable().fuse(), xpconv.asarray(np.ones((2, 3, 8, 8), "float32"))
        with xpconv.no_grad():
            before = xpconv.asnumpy(fused(x))
            with pytest.raises(ValueError, match=r"this model is from fuse\(\)"):
                exec(edit, {"m": fused, "conv": Conv2d(3, 4, 3), "relu": ReLU()})
            np.testing.assert_array_equal(xpconv.asnumpy(fused(x)), before)


@pytest.mark.parametrize(
    "edit",
    [
        "m[0] = Conv2d(3, 4, 3, rng=9)", "m[-1] = Dense(64, 3, rng=9)", "m[3].shortcut = Conv2d(4, 4, 1, rng=9)",
        "m[3].shortcut = None", "m[3].body = Conv2d(4, 4, 1, rng=9)", "m[3].body[0] = Conv2d(4, 4, 1, rng=9)",
        "del m[3]", "m.insert(3, Tanh())", "m.append(Tanh())", "m[0].append(Tanh())", "m[4:] ; m.pop(-1); m.fc = Dense(64, 2, rng=9)",
    ],
)  # fmt: skip
def test_what_is_replaced_in_a_fused_model_is_what_runs(edit, backend):
    with xpconv.use_backend(backend):
        model = fusable().eval()
        fused, x = (
            model.fuse(),
            xpconv.asarray(np.random.default_rng(2).normal(size=(2, 3, 8, 8)).astype("f")),
        )
        with xpconv.no_grad():
            for _ in range(2):
                fused(x)
            for m in (model, fused):
                exec(edit, {"m": m, "Conv2d": Conv2d, "Dense": Dense, "Tanh": Tanh})
            for _ in range(2):
                np.testing.assert_allclose(
                    xpconv.asnumpy(fused(x)), xpconv.asnumpy(model(x)), rtol=1e-4, atol=1e-5
                )


class Many(xpconv.Layer):
    """As ModuleList's and ModuleDict's docstrings say."""

    def __init__(self):
        self.blocks = xpconv.ModuleList(dense(i) for i in range(3))
        self.heads = xpconv.ModuleDict({"a": dense(5, 2), "b": Sequential(Tanh(), dense(6, 3))})

    def forward(self, x, head="b"):
        for layer in self.blocks:
            x = layer(x)
        return self.keep(self.heads[head](x), head)

    def backward(self, grad_output, input_grad=True):
        (head,) = self.recall(grad_output)
        grad_output = self.heads[head].backward(grad_output)
        for layer in reversed(self.blocks):
            grad_output = layer.backward(grad_output)
        return grad_output if input_grad else None


def test_module_list_and_dict_hold_what_a_layer_calls(backends):
    def reference(x, **s):
        for i in range(3):
            x = x @ s[f"blocks.{i}.weight"].T + s[f"blocks.{i}.bias"]
        return np.tanh(x) @ s["heads.b.1.weight"].T + s["heads.b.1.bias"]

    def make():
        model = Many()
        del model.heads["a"]
        return model

    xpconv.testing.assert_layer_ok(make, X.astype("float64"), reference=reference, backends=backends)
    keys = list(Many().state_dict())
    assert keys[0] == "blocks.0.weight"
    assert keys[-4:] == ["heads.a.weight", "heads.a.bias", "heads.b.1.weight", "heads.b.1.bias"]
    model = Many()
    model.blocks[1] = Dense(5, 4)
    with pytest.raises(ValueError, match=r"Dense.forward: x has shape \(3, 4\).* \(layer blocks.1\)$"):
        model(xpconv.asarray(X))


class Loose(xpconv.Layer):
    def __init__(self, value):
        self.value = value


def cyclic():
    a = [1]
    b = {"a": a}
    a.append(b)
    return a


LAYER, PARAMETER = dense(0), xpconv.Parameter(X, "p")
COLLECTIONS = {
    "list": [LAYER], "tuple": (1, LAYER), "dict": {"a": LAYER}, "nested lists": [[LAYER], [Tanh()]],
    "set": {LAYER}, "frozenset": frozenset({LAYER}), "dict of lists": {"a": [1], "b": [2, LAYER]},
    "deep": [({"a": [(1, [[{"b": (LAYER,)}]])]},)], "parameters": [PARAMETER], "nested parameters": {"a": ([PARAMETER],)},
    "keys": {LAYER: 1}, "cyclic": [cyclic(), [LAYER]], "long": [0.5] * 5000 + [[LAYER]], "mixed": [None, X, "a", LAYER],
    "tuples in keys": {("a", LAYER): 1},
    "UserList": UserList([LAYER]), "UserDict": {"a": UserDict(b=[LAYER])}, "ChainMap": ChainMap({}, {"a": LAYER}),
    "mapping proxy": MappingProxyType({"a": LAYER}), "dict's values": {"a": LAYER}.values(), "deque": deque([[PARAMETER]]),
}  # fmt: skip


@pytest.mark.parametrize("kind", COLLECTIONS)
@pytest.mark.parametrize("hold", [lambda x: x, lambda x: Sequential(x), lambda x: Residual(x)])
def test_layers_in_collections_are_not_lost_in_silence(kind, hold):
    model = hold(Loose(COLLECTIONS[kind]))
    acts = [
        model.parameters,
        model.state_dict,
        lambda: model.load_state_dict({}),
        lambda: list(model.named_parameters()),
        lambda: model.requires_grad_(False),
        lambda: model.to(dtype="float64"),
        model.train,
        model.eval,
        model.summary,
        model.fuse,
    ]
    for act in acts:
        with pytest.raises(TypeError, match=r"Loose: attribute value is a .*ModuleList.*ModuleDict"):
            act()


def test_collections_without_layers_are_fine():
    deep = []
    for _ in range(20_000):  # deeper than Python's recursion
        deep = [deep]
    numbers = list(range(100_000))
    for value in (cyclic(), deep, numbers, {"a": [np.ones(3)]}, [{1, 2}, "text", b"b"]):
        assert Sequential(Loose(value)).parameters() == []
    numbers.append(dense(0))
    with pytest.raises(TypeError, match=r"\(at value\[100000\]\)"):
        Sequential(Loose(numbers)).parameters()


def test_a_later_addition_to_a_long_list_is_found():
    numbers = [1] * 2000
    model = Loose(numbers)
    assert model.parameters() == []
    numbers.append(dense(0))
    with pytest.raises(TypeError, match="attribute value is a list with a Dense in it"):
        model.parameters()


def test_a_forward_does_not_search(monkeypatch):
    model = Sequential(Own(), Residual(Own()))

    def children(self):
        raise AssertionError("searched")

    y = model(X)
    model.backward(y)
    for kind in (xpconv.Layer, Sequential, Residual, Own):
        monkeypatch.setattr(kind, "children", children)
    model.backward(model(X))


@pytest.mark.parametrize("name", LAYERS)
def test_every_layer_goes_in_and_out_of_every_container(name):
    layer = instance_of(name)
    for kind in (Sequential, Parallel, Concat, ModuleList):
        model = kind([Tanh(), Tanh()])
        model[0] = layer
        assert model[0] is model["0"] is layer
        model.insert(0, Tanh()).append(Tanh()).extend([Tanh()])
        assert [type(x).__name__ for x in model] == ["Tanh", type(layer).__name__, "Tanh", "Tanh", "Tanh"]
        assert layer in model
        model.extra = layer
        assert model.extra is model[-1] is layer
        del model.extra
        state = model.state_dict()
        assert list(state) == [f"1.{key}" for key in layer.state_dict()]
        again = pickle.loads(pickle.dumps(model))
        assert list(again.state_dict()) == list(state)
        assert repr(again) == repr(model)
        assert model.pop(1) is layer
        assert list(model.children()) == ["0", "1", "2", "3"]
    block = Residual(Tanh(), shortcut=layer)
    block.shortcut, block.body = Tanh(), layer
    assert list(block.children()) == ["body", "shortcut"]
    assert block.body is layer
    for part in layer.children():  # what it holds itself
        if not isinstance(layer, Sequential):
            assert getattr(layer, part) is layer.children()[part]
            with pytest.raises(TypeError):
                setattr(layer, part, 3)
