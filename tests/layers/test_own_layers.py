"""The first mistakes with layers of one's own and with the children of a model: errors in words."""

import numpy as np
import pytest

import xpconv
from xpconv import Dense, Sequential

X = np.ones((2, 4), "float32")
SEVERAL = r"; of several outputs give it the one whose gradient backward gets: y = self.keep\(y, …\), then"


class Ends(xpconv.Layer):
    """A layer whose forward ends in some way."""

    def __init__(self, end):
        self.end = end

    def forward(self, x):
        return self.end(self, x)

    def backward(self, grad_output, input_grad=True):
        (x,) = self.recall(grad_output)
        return 2 * x * grad_output if input_grad else None


WRONG = {
    "self.keep got tuple, expected the output, an array.*" + SEVERAL: lambda s, x: s.keep((x, x)),
    "self.keep got list, .*" + SEVERAL: lambda s, x: s.keep([x, x], x),
    r"self.keep got NoneType, .*: return self.keep\(y, …\)$": lambda s, x: s.keep(None),
    "self.keep got dict": lambda s, x: s.keep({"y": x}),
    "self.keep got float": lambda s, x: s.keep(1.0),
    "forward returned None, expected the output: end it with `return self.keep": lambda s, x: None,
    "forward returned None, expected": lambda s, x: print(s.keep(x * x, x).shape),
}


@pytest.mark.parametrize("said", WRONG)
@pytest.mark.parametrize(
    "wrap", [lambda layer: layer, lambda layer: Sequential(Dense(4, 4), layer, Dense(4, 4))]
)
def test_how_forward_ends(said, wrap):
    layer = Ends(WRONG[said])
    model = wrap(layer)
    with pytest.raises(TypeError, match="Ends.*" + said):
        model(X)
    assert not layer._finished()
    if "None" in said:
        with (
            xpconv.no_grad(),
            pytest.raises(TypeError, match=r"Ends.forward returned None, expected the output"),
        ):
            model(X)


def test_a_model_that_ends_in_several_outputs():
    pool = xpconv.MaxPool2d(2, return_indices=True)
    x = np.arange(16.0).reshape(1, 4, 4)
    with pytest.raises(
        TypeError, match=r"^Sequential.forward: the output is a tuple, expected one array.*by itself"
    ):
        Sequential(pool)(x)
    with xpconv.no_grad():
        np.testing.assert_array_equal(Sequential(pool)(x)[1], pool(x)[1])


def test_a_layer_of_several_outputs():
    layer = Ends(lambda s, x: (s.keep(x * x, x), x > 0))
    y, positive = layer(3 * X)
    assert positive.all()
    np.testing.assert_array_equal(layer.backward(np.ones_like(y)), 6 * X)


@pytest.mark.sample(3)
@pytest.mark.parametrize("make", [
    lambda m: Sequential(*list(m.children())[:-1]), lambda m: Sequential(list(m.children())),
    lambda m: Sequential(*m.children()), lambda m: xpconv.ModuleList(list(m.children())),
    lambda m: Sequential().extend(list(m.children())), lambda m: Sequential().append(next(iter(m.children()))),
])  # fmt: skip
def test_children_maps_names_to_layers(make):
    model = xpconv.models.resnet18(num_classes=2)
    said = r"'conv1', expected a Layer; children\(\) maps names to layers: use model\[:-1\] or children\(\).values\(\)"
    with pytest.raises(TypeError, match=said):
        make(model)


def test_what_the_hints_say_works():
    model = xpconv.models.resnet18(num_classes=2).eval()
    x = np.ones((1, 3, 32, 32), "float32")
    y = model[:-1](x)
    np.testing.assert_array_equal(Sequential(*list(model.children().values())[:-1]).eval()(x), y)
    with pytest.raises(TypeError, match=r"with names, give a mapping: dict\(model.named_children\(\)\)"):
        Sequential(*model.named_children())
    np.testing.assert_array_equal(Sequential(dict(model.named_children())).eval()(x), model(x))


def helper(self, x):
    return "a helper of the user's"


@pytest.mark.parametrize("wrap", [lambda f: f, property, staticmethod, classmethod])
@pytest.mark.parametrize("base", [xpconv.Layer, xpconv.Conv2d, xpconv.Sequential, xpconv.CrossEntropyLoss])
def test_methods_with_names_that_the_base_uses_itself_are_refused(base, wrap):
    """They would run in place of the base's, which gives wrong numbers or errors that nobody understands."""
    private = {
        n for kind in base.__mro__ for n, v in vars(kind).items() if n[0] == "_" != n[-1] and callable(v)
    }
    assert len(private) > 15
    for name in sorted(private):
        with pytest.raises(TypeError, match=rf"Own defines {name}, but xpconv's .* choose another name"):
            type("Own", (base,), {name: wrap(helper)})
    type("Own", (xpconv.Loss,), {"_forward": helper, "_backward": helper})  # which Loss describes
    type("Own", (base,), {"_helper": wrap(helper), "__private": wrap(helper), "_repr_html_": wrap(helper)})


def test_a_helper_named_clipped():
    """It stood in the place of `forward`."""
    with pytest.raises(TypeError, match="Clip defines _clipped, but xpconv's Layer has"):

        class Clip(xpconv.Layer):
            def _clipped(self, x):
                return x > 1

            def forward(self, x):
                return self.keep(x.clip(0, 1), ~self._clipped(x))


def test_a_backward_that_returns_none():
    class Forgets(xpconv.Layer):
        def forward(self, x):
            return self.keep(2 * x)

        def backward(self, grad_output, input_grad=True):
            self.recall(grad_output)

    model = Sequential(xpconv.Dense(3, 2), Forgets())
    y = model(np.ones((4, 3), "float32"))
    with pytest.raises(
        TypeError, match=r"^Dense\.backward: grad_output is None, as the backward of the layer"
    ):
        model.backward(y)


def test_inputs_by_name():
    """Also those after one that is left out, which were ignored, and those that have no position."""

    class Affine(xpconv.Layer):
        def forward(self, x, scale=1.0, shift=0.0, *, power=1):
            return self.keep((x * scale + shift) ** power, scale)

        def backward(self, grad_output, input_grad=True):
            (scale,) = self.recall(grad_output)
            return grad_output * scale

    layer, x = Affine(), np.full(2, 2.0)
    layer.register_forward_hook(lambda layer, inputs, output: None)
    for expected, named in ((3.0, {"shift": 1.0}), (4.0, {"power": 2}), (36.0, {"scale": 3.0, "power": 2})):
        assert layer(x, **named).tolist() == [expected] * 2
        layer.backward(x)
    with pytest.raises(
        TypeError, match="Affine: got 1 inputs by position and factor by name, expected x, scale"
    ):
        layer(x, factor=2)
