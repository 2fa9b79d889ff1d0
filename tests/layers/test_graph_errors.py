"""`Graph`: what wrong layers give, names in the state dict, outputs that change, and graphs within layers."""

import numpy as np
import pytest
from graphs import Plus, X, close, residual

import xpconv
from xpconv import BatchNorm2d, Dense, Flatten, Graph, MaxPool2d, ReLU, Sequential

# --- wrong layers and names ----------------------------------------------------------------------------


class Careless(xpconv.Layer):
    """The identity of one input or the sum of several, with any gradient."""

    def __init__(self, gradient):
        self.gradient = gradient

    def forward(self, *inputs):
        return self.keep(sum(inputs[1:], 1 * inputs[0]))

    def backward(self, grad_output, input_grad=True):
        self.recall(grad_output)
        return self.gradient(grad_output)


CARELESS = {
    "no return": (lambda g: None, r"node 'bad', \w+, returned None, .*input 0"),
    "another shape": (lambda g: g[:1], r"node 'bad', \w+, returned a gradient of its input 0 of shape \(1, 3\)"),
    "another dtype": (lambda g: g.astype("float64"), r"input 0 of dtype float64, expected float32"),
    "no array": (lambda g: 1.0, r"input 0 of shape float, expected \(4, 3\)"),
}  # fmt: skip


@pytest.mark.parametrize("wrap", [lambda layer: layer, Sequential])
@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("case", CARELESS)
def test_a_wrong_gradient_of_a_users_layer_is_an_error(case, first, wrap, backend):
    gradient, told = CARELESS[case]
    if wrap is Sequential and case != "no return":
        pytest.skip("a Sequential passes on what a layer returns")
    nodes = {"bad": (wrap(Careless(gradient)), "x")}
    if not first:
        nodes = {
            "dense": (Dense(3, 3), "x"),
            "bad": (nodes["bad"][0], "dense"),
            "sum": (Plus(), "bad", "dense"),
        }
    graph = Graph(nodes, "x", list(nodes)[-1])
    x = xpconv.asarray(np.ones((4, 3)), "float32")
    y = graph(x)
    with pytest.raises((TypeError, ValueError), match=told.replace(r"\w+", "Sequential|Careless")):
        graph.backward(y)


def test_none_for_one_of_several_inputs(backend):
    nodes = {
        "a": (Dense(3, 3), "x"),
        "b": (Dense(3, 3), "x"),
        "bad": (Careless(lambda g: (g, None)), "a", "b"),
    }
    x = xpconv.asarray(np.ones((4, 3)), "float32")
    graph = Graph(nodes, "x", "bad")
    y = graph(x)
    with pytest.raises(TypeError, match=r"node 'bad', Careless, returned None, .*input 1"):
        graph.backward(y, input_grad=False)
    graph["b"].requires_grad_(False)  # then its gradient is not needed
    graph(x)
    graph.backward(y, input_grad=False)
    assert graph["a"].weight.grad is not None


@pytest.mark.parametrize("kind", [xpconv.Concat, xpconv.Parallel, xpconv.Residual])
@pytest.mark.parametrize("turn", [1, -1])
def test_a_branch_that_gives_no_gradient_is_an_error_in_a_chain(kind, turn, backend):
    branches = [xpconv.Identity(), Careless(lambda g: None)][::turn]
    block = kind(branches[0], shortcut=branches[1]) if kind is xpconv.Residual else kind(*branches)
    model = Sequential(Dense(3, 3), block)
    y = model(xpconv.asarray(np.ones((4, 3)), "float32"))
    with pytest.raises(xpconv.errors.BackendError, match="None"):
        model.backward(y)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("save", [True, False])
def test_outputs_are_not_the_callers_arrays_or_the_models(save, training, backend):
    from xpconv.layers.constant import Weight

    graph = Graph(
        {"a": (Dense(3, 2), "x"), "flat": (Flatten(), "z"), "w": (Weight((2, 2)),)},
        ["x", "z", "n"],
        ["a", "z", "flat", "n", "w"],
    ).train(training)
    x, z = xpconv.asarray(np.ones((2, 3)), "float32"), xpconv.asarray(np.ones((2, 5)), "float32")
    n = xpconv.asarray(np.arange(3))
    whole = [array.copy() for array in (z, n, graph["w"].value.data)]
    for _ in range(2):
        run = graph if save else xpconv.no_grad(graph.__call__)
        for y in run(x, z, n):
            y[...] = 7
        for a, b in zip((z, n, graph["w"].value.data), whole, strict=True):
            close(a, b)
    graph.forget()


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("save", [True, False])
def test_an_input_that_nothing_takes_is_checked_too(save, training):
    graph = Graph({"a": (Dense(3, 2), "x")}, ["x", "z"], "a").train(training)
    run = graph if save else xpconv.no_grad(graph.__call__)
    for wrong in (None, 1.0, [1.0]):
        with pytest.raises(xpconv.errors.BackendError, match=r"Graph.forward: z"):
            run(np.ones((2, 3), "float32"), wrong)


NAMES = ["typo.weight", "conv.wieght", "conv", "fc.bn.weight", "fc.in_features", "", "x.weight", ".weight"]


@pytest.mark.parametrize("name", NAMES)
def test_names_of_nothing_are_errors(name):
    with pytest.raises(ValueError, match=rf"Graph: names has '{name}', which is no parameter or buffer"):
        residual(names={"conv.weight": "a", name: "k"})


def test_names_of_layers_within_nodes_and_of_those_that_come_later():
    inner = Sequential({"body": Sequential(Dense(3, 3, bias=False)), "norm": BatchNorm2d(3)})
    names = {
        "inner.body.0.weight": "w", "inner.body.0.bias": "none", "inner.norm.running_mean": "m",
        "later.weight": "l", "late.weight": "z",
    }  # fmt: skip
    nodes = {"inner": (inner, "x"), "late": (xpconv.LazyLinear(3), "inner"), "later": (None, "late")}
    graph = Graph(nodes, "x", "inner", names=names)
    graph["later"] = Dense(3, 3)
    assert {"w", "m", "l"} <= set(graph.state_dict()) and "none" not in graph.state_dict()
    del graph["later"]
    assert "later.weight" not in graph.get_config()["names"]
    Graph(**graph.get_config())


def test_gradients_are_those_of_the_outputs_of_the_forward(backend):
    graph = residual(outputs=["fc", "relu"])
    x = xpconv.asarray(X, "float32")
    grads = graph(x)
    graph.outputs = "pool"
    graph.backward(grads)
    expected = graph["conv"].weight.grad.copy()
    graph.zero_grad()
    graph.outputs = ["fc", "relu"]
    graph(x)
    graph.outputs = ["pool", "fc", "flat"]
    with pytest.raises(TypeError, match="got 1 gradients, expected 2: fc, relu"):
        graph.backward(grads[:1])
    graph.backward(grads)
    close(graph["conv"].weight.grad, expected)
    graph.outputs = "fc"
    y = graph(x)
    graph.outputs = ["fc", "relu"]
    graph.backward(y)


INSIDE = {
    "Sequential": lambda g: Sequential(g),
    "first of a Sequential": lambda g: Sequential(g, ReLU()),
    "Concat": lambda g: xpconv.Concat(xpconv.Identity(), g),
    "Parallel": lambda g: xpconv.Parallel(g, xpconv.Identity()),
    "Residual": lambda g: xpconv.Residual(g),
    "shortcut": lambda g: xpconv.Residual(ReLU(), shortcut=g),
    "Graph": lambda g: Graph({"a": (g, "x")}, "x", "a"),
}


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("save", [True, False])
@pytest.mark.parametrize("name", INSIDE)
def test_several_outputs_within_a_layer_that_takes_one(name, save, training, backend):
    x = xpconv.asarray(X, "float32")
    model = INSIDE[name](residual(outputs=["fc", "sum"])).train(training)
    with pytest.raises(TypeError, match="2 outputs, fc, sum, and is in a layer that takes one array"):
        model(x) if save else xpconv.no_grad(model.__call__)(x)
    if name in ("Concat", "Parallel", "shortcut"):
        pool = INSIDE[name](MaxPool2d(1, return_indices=True)).train(training)
        with pytest.raises(TypeError, match=r"(Concat|Parallel|Residual).forward: .*several outputs"):
            pool(x) if save else xpconv.no_grad(pool.__call__)(x)
