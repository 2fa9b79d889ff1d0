"""`Graph`: values, gradients, several inputs and outputs, shared layers, changes of the nodes, inference."""

import copy
import pickle

import numpy as np
import pytest
from graphs import Plus, X, body, close, residual, trained

import xpconv
from xpconv import BatchNorm2d, Conv2d, Dense, Flatten, Graph, MaxPool2d, ReLU, Sequential
from xpconv.layers import operators
from xpconv.testing import assert_layer_ok, gradcheck

RNG = np.random.default_rng(0)


class Times(xpconv.Layer):
    """The product of two inputs."""

    def forward(self, a, b):
        return self.keep(a * b, a, b)

    def backward(self, grad_output, input_grad=True):
        a, b = self.recall(grad_output)
        return (grad_output * b, grad_output * a) if input_grad else None


def chain(dtype="float32"):
    """The same as a Sequential."""
    return Sequential(
        xpconv.Residual(Sequential(body(dtype))),
        ReLU(),
        MaxPool2d(2),
        Flatten(),
        Dense(64, 3, rng=1, dtype=dtype),
    )


@pytest.mark.parametrize("input_grad", [True, False])
def test_a_residual_block_is_that_of_a_sequential(backend, input_grad):
    graph, other = residual(), chain()
    x = xpconv.asarray(X, "float32")
    y, expected = graph(x), other(x)
    close(y, expected)
    g = xpconv.asarray(RNG.normal(size=y.shape), "float32")
    dx, expected = graph.backward(g, input_grad=input_grad), other.backward(g, input_grad=input_grad)
    assert (dx is None) == (expected is None) == (not input_grad)
    if input_grad:
        close(dx, expected)
    grads = {name: p.grad for name, p in graph.named_parameters()}
    assert list(grads) == ["fc.weight", "fc.bias", "conv.weight", "bn.weight", "bn.bias"]
    for name, p in other.named_parameters():
        close(grads[name.removeprefix("0.body.0.").replace("4.", "fc.")], p.grad)


def test_fan_out_sums_gradients():
    """`y = (a w) b + a w + b + b`, in which all gradients have several parts."""

    def make():
        return Graph(
            {
                "dense": (Dense(3, 3, bias=False, rng=0), "a"),
                "product": (Times(), "dense", "b"),
                "y": (Plus(), "product", "dense", "b", "b"),
            },
            ["a", "b"],
            "y",
        )

    def reference(a, b, **state):
        hidden = a @ state["dense.weight"].T
        return hidden * b + hidden + 2 * b

    inputs = RNG.normal(size=(4, 3)), RNG.normal(size=(4, 3))
    assert_layer_ok(make, inputs, reference=reference, backends=["numpy", "double"])
    gradcheck(make().to(dtype="float64"), inputs)


def test_a_layer_may_stand_in_several_nodes(backend):
    def make():
        dense = Dense(3, 3, rng=0)
        return Graph(
            {"first": (dense, "x"), "relu": (ReLU(), "first"), "second": (dense, "relu")}, "x", "second"
        )

    graph = make()
    assert [name for name, _ in graph.named_parameters()] == ["first.weight", "first.bias"]
    assert list(graph.state_dict()) == ["first.weight", "first.bias", "second.weight", "second.bias"]
    dense = Dense(3, 3, rng=0)
    other = Sequential(dense, ReLU(), dense)
    x = xpconv.asarray(RNG.normal(size=(5, 3)), "float32")
    close(graph(x), other(x))
    close(graph.backward(x), other.backward(x))
    close(graph["first"].weight.grad, dense.weight.grad)
    twin = pickle.loads(pickle.dumps(graph))  # noqa: S301
    assert twin["first"] is twin["second"]


# --- several outputs -----------------------------------------------------------------------------------


def test_gradients_of_several_outputs_add_up(backend):
    graph = residual(outputs=["fc", "relu", "fc"])
    x = xpconv.asarray(X, "float32")
    outputs = graph(x)
    assert isinstance(outputs, tuple)
    grads = tuple(xpconv.asarray(RNG.normal(size=y.shape), "float32") for y in outputs)
    total = graph.backward(grads)
    weight = graph["conv"].weight.grad.copy()
    graph.zero_grad()
    parts = []
    for i in range(3):
        graph(x)
        parts.append(graph.backward([g if i == k else None for k, g in enumerate(grads)]))
    close(total, sum(parts), rtol=1e-4)
    close(weight, graph["conv"].weight.grad, rtol=1e-4)


def test_outputs_without_a_gradient(backend):
    graph = residual(outputs=["fc", "relu"])
    x = xpconv.asarray(X, "float32")
    graph(x)
    dx = graph.backward((None, None))
    assert dx.shape == x.shape and dx.dtype == x.dtype
    assert not xpconv.asnumpy(dx).any()
    assert all(p.grad is None for p in graph.parameters())
    _, features = graph(x)
    assert graph.backward((None, features), input_grad=False) is None
    assert graph["fc"].weight.grad is None and graph["conv"].weight.grad is not None
    assert not graph._finished()


def test_inputs_and_branches_that_nothing_depends_on(backend):
    graph = Graph({"a": (Dense(3, 2, rng=0), "x"), "dead": (Dense(9, 9), "z")}, ["x", "z"], ["a", "z"])
    x, z = xpconv.asarray(np.ones((2, 3), "float32")), xpconv.asarray(np.ones((1, 5), "float32"))
    y, same = graph(z=z, x=x)
    close(same, z)
    dx, dz = graph.backward((y, None))
    assert dx.shape == (2, 3) and dz.shape == (1, 5) and not xpconv.asnumpy(dz).any()
    assert graph["dead"].weight.grad is None
    whole = xpconv.asnumpy(z).copy()
    same[...] = 0  # an output that is an input is a copy of it
    close(z, whole)


def test_integers_have_no_gradient(backend):
    graph = Graph(
        {"words": (xpconv.Embedding(5, 3, rng=0), "ids"), "sum": (Plus(), "words", "x")}, ["ids", "x"], "sum"
    )
    ids = xpconv.asarray(np.array([1, 4]))
    x = xpconv.asarray(np.ones((2, 3), "float32"))
    y = graph(ids, x)
    none, dx = graph.backward(y)
    assert none is None
    close(dx, y)
    assert graph["words"].weight.grad is not None


def test_gradients_that_do_not_fit():
    graph = residual(outputs=["fc", "relu"])
    a, b = graph(X.astype("float32"))
    with pytest.raises(TypeError, match=r"Graph.backward: grad_output is .*tuple of gradients.*: fc, relu"):
        graph.backward(a)
    with pytest.raises(TypeError, match=r"got 1 gradients, expected 2: fc, relu"):
        graph.backward((a,))
    with pytest.raises(xpconv.errors.ShapeError, match=r"expected \(2, 4, 8, 8\).*output 'relu'"):
        graph.backward((a, b[:1]))
    with pytest.raises(xpconv.errors.DTypeError, match=r"float64.*output 'fc'"):
        graph.backward((a.astype("float64"), b))
    with pytest.raises(xpconv.errors.BackendError, match="missing or None"):
        graph.backward(None)
    assert graph.backward((a, b)).shape == X.shape  # nothing was lost


def test_record_and_hooks_of_several_outputs(backend):
    graph = residual(outputs=["fc", "relu"])
    x = xpconv.asarray(X, "float32")
    seen = []
    graph.register_full_backward_hook(lambda layer, gi, go: seen.append((len(gi), len(go))))
    (a, b), tape = graph.record(x)
    graph(x)
    first = graph.pullback(tape, (a, b))
    close(graph.pullback(tape, (a, b)), first)
    graph.backward((a, b))
    assert seen == [(1, 2)] * 3


# --- training ------------------------------------------------------------------------------------------


def test_frozen_parts(backend):
    graph = residual()
    graph.requires_grad_(False)
    graph["fc"].requires_grad_()
    x = xpconv.asarray(X, "float32")
    calls = []
    graph["conv"].register_full_backward_hook(lambda *a: calls.append(a))
    y = graph(x)
    assert graph.backward(y, input_grad=False) is None
    assert graph["fc"].weight.grad is not None and graph["conv"].weight.grad is None and not calls
    y = graph(x)
    assert graph.backward(y).shape == x.shape
    assert len(calls) == 1


def test_a_graph_within_layers_and_layers_within_a_graph(backend):
    inner = residual()
    model = Sequential(Conv2d(4, 4, 1, rng=3), inner, Dense(3, 3, rng=4))
    outer = Graph({"model": (model, "x"), "again": (Plus(), "model", "model")}, "x", "again")
    twin = Sequential(Conv2d(4, 4, 1, rng=3), chain(), Dense(3, 3, rng=4))
    x = xpconv.asarray(X, "float32")
    y, expected = outer(x), 2 * twin(x)
    close(y, expected)
    close(outer.backward(y), 2 * twin.backward(y))


def test_copies_go_on_training(backend):
    graph = residual(names={"conv.weight": "stem/kernel"})
    x = xpconv.asarray(X, "float32")
    pickled = pickle.loads(pickle.dumps(graph))  # noqa: S301
    twins = [copy.deepcopy(graph), pickled, copy.copy(graph)]
    for model in (graph, *twins):
        model.zero_grad()
        y = model(x)
        model.backward(xpconv.get_xp(y).ones_like(y))
        close(model["conv"].weight.grad, graph["conv"].weight.grad)
        assert list(model.state_dict()) == list(graph.state_dict())
    twins[2].outputs = "relu"  # a shallow copy has nodes of its own
    twins[2].add("more", ReLU(), "relu")
    assert graph.outputs == ("fc",) and "more" not in graph


def test_save_and_load(backend, tmp_path):
    graph = residual(outputs=["fc", "relu"], names={"conv.weight": "stem/kernel"})
    graph["conv"].requires_grad_(False)
    xpconv.save_model(graph, tmp_path / "graph.safetensors")
    loaded = xpconv.load_model(tmp_path / "graph.safetensors", classes={"Plus": Plus})
    assert loaded.nodes == graph.nodes and loaded.inputs == ("x",) and loaded.outputs == ("fc", "relu")
    assert list(loaded.state_dict()) == list(graph.state_dict())
    assert not loaded["conv"].weight.requires_grad
    x = xpconv.asarray(X, "float32")
    for a, b in zip(loaded(x), graph(x), strict=True):
        close(a, b)


def test_names_in_the_state_dict(backend):
    names = {"conv.weight": "onnx::Conv_1", "bn.running_mean": "mean.0", "fc.weight": "fc.kernel"}
    graph = Sequential(residual(names=names))
    assert list(graph.state_dict())[:4] == ["0.fc.kernel", "0.fc.bias", "0.onnx::Conv_1", "0.bn.weight"]
    assert "0.mean.0" in graph.state_dict()
    assert [name for name, _ in graph.named_parameters()][2] == "0.onnx::Conv_1"
    other = Sequential(residual(names=names))
    new = {name: array + 1 for name, array in graph.state_dict().items()}
    other.load_state_dict(new)
    close(other[0]["conv"].weight.data, graph[0]["conv"].weight.data + 1)
    close(other[0]["bn"].running_mean, graph[0]["bn"].running_mean + 1)
    with pytest.raises(xpconv.errors.StateDictError, match=r"two arrays are called 'bn.bias'"):
        residual(names={"conv.weight": "bn.bias"}).state_dict()


# --- changes of the nodes ------------------------------------------------------------------------------


def test_changes(backend):
    graph = residual()
    x = xpconv.asarray(X, "float32")
    graph(x)
    graph.forget()
    graph["fc"] = Dense(64, 7)
    assert graph(x).shape == (2, 7)
    graph.fc = Dense(64, 5)
    assert graph(x).shape == (2, 5)
    graph.outputs = "flat"
    del graph["fc"]
    graph.add("head", Dense(64, 2), "flat").outputs = ["head", "sum"]
    y, total = graph(x)
    assert y.shape == (2, 2) and total.shape == x.shape
    assert list(graph) == ["flat", "conv", "bn", "sum", "relu", "pool", "head"]
    assert len(graph) == 7 and graph["bn"] in graph
    graph.forget()


WRONG = {
    "a cycle": (lambda: Graph({"a": (ReLU(), "b"), "b": (ReLU(), "a")}, "x", "x"), "cycle: a → b → a"),
    "itself": (lambda: Graph({"a": (ReLU(), "a")}, "x", "a"), "cycle: a → a"),
    "unknown": (lambda: Graph({"a": (ReLU(), "y")}, "x", "a"), "node 'a' takes 'y', which is neither"),
    "output": (lambda: Graph({"a": (ReLU(), "x")}, "x", "b"), "an output is 'b', which is neither"),
    "twice": (lambda: Graph({"x": (ReLU(), "x")}, "x", "x"), "two inputs or nodes called 'x'"),
    "inputs twice": (lambda: Graph({"a": (ReLU(), "x")}, ["x", "x"], "a"), "called 'x'"),
    "a dot": (lambda: Graph({"a.b": (ReLU(), "x")}, "x", "a.b"), "without dots"),
    "no name": (lambda: Graph({"": (ReLU(), "x")}, "x", ""), "without dots"),
    "a method": (lambda: Graph({"add": (ReLU(), "x")}, "x", "add"), "name of a method"),
    "no output": (lambda: Graph({"a": (ReLU(), "x")}, "x", []), "outputs is empty"),
    "no input": (lambda: Graph({"a": (ReLU(), "x")}, (), "a"), "inputs is empty"),
    "no mapping": (lambda: Graph([ReLU()], "x", "a"), "nodes is .*expected a mapping"),
    "no tuple": (lambda: Graph({"a": ReLU()}, "x", "a"), r"node 'a' is .*\(layer, 'x'\)"),
    "no layer": (lambda: Graph({"a": (ReLU, "x")}, "x", "a"), "make an instance"),
    "no names": (lambda: Graph({"a": (ReLU(), ReLU())}, "x", "a"), "expected names"),
    "number": (lambda: Graph({"a": (ReLU(), "x")}, 3, "a"), "inputs is 3, expected names"),
    "aliases": (lambda: residual(names={"conv.weight": "a", "fc.weight": "a"}).state_dict(), "two arrays"),
    "alias": (lambda: residual(names=["a"]), "names is .*expected a mapping"),
    "added twice": (lambda: residual().add("fc", ReLU(), "x"), "two inputs or nodes called 'fc'"),
    "added unknown": (lambda: residual().add("new", ReLU(), "y"), "takes 'y'"),
    "added to itself": (lambda: residual().add("new", ReLU(), "new"), "cycle"),
    "set": (lambda: residual().__setitem__("new", ReLU()), r"graph.add\('new', layer, input\)"),
    "assigned": (lambda: setattr(residual(), "new", ReLU()), r"graph.add\('new', layer, input\)"),
    "used": (lambda: residual().__delitem__("relu"), "'relu' cannot be removed, as node 'pool' takes it"),
    "is output": (lambda: residual().__delitem__("fc"), "'fc' cannot be removed, as it is an output"),
    "no layer yet": (lambda: Graph({"a": (None, "x")}, "x", "a")(X), "node 'a' has no layer"),
    "count": (lambda: residual()(X, X), "got 2 inputs, expected 1: x"),
    "by name": (lambda: residual()(y=X), "and y by name, expected x"),
    "not an array": (lambda: residual()([1.0]), "Graph.forward: x: "),
    "two values": (lambda: Graph({"p": (MaxPool2d(2, return_indices=True), "x")}, "x", "p")(X), "tuple"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_errors(name):
    make, told = WRONG[name]
    with pytest.raises((ValueError, TypeError), match=told):
        make()


def test_an_error_in_a_node_names_it():
    graph = residual()
    with pytest.raises(xpconv.errors.ShapeError, match=r"\(layer conv\)"):
        graph(X[:, :3].astype("float32"))
    assert not graph._finished()


def test_a_layer_set_later():
    graph = Graph({"a": (None, "x")}, "x", "a")
    assert list(graph) == ["a"] and len(graph) == 1 and "a" in graph
    graph["a"] = ReLU()
    assert graph(X).shape == X.shape


def test_a_long_graph_needs_no_recursion():
    nodes = {f"n{i}": (ReLU(), f"n{i + 1}") for i in range(3000)} | {"n3000": (ReLU(), "x")}
    graph = Graph(nodes, "x", "n0")
    assert graph(np.ones(3)).tolist() == [1, 1, 1]
    assert graph.backward(np.ones(3)).tolist() == [1, 1, 1]


# --- fusion and inference ------------------------------------------------------------------------------


def test_fuse(backend):
    graph = residual(outputs=["fc", "sum"])
    x = xpconv.asarray(X, "float32")
    trained(graph, x)
    fused = graph.fuse()
    assert type(fused["bn"]).__name__ == "Folded" and "bn.weight" not in fused.state_dict()
    with xpconv.no_grad():
        expected = graph(x)
        for _ in range(2):
            for a, b in zip(fused(x), expected, strict=True):
                close(a, b, rtol=1e-5)
    with pytest.raises(ValueError, match="fuse"):
        fused.outputs = "conv"  # which computes the BatchNorm as well
    with pytest.raises(ValueError, match="fuse"):
        fused["conv"] = Conv2d(4, 4, 3, padding=1)
    with pytest.raises(ValueError, match="fuse"):
        fused.add("other", ReLU(), "conv")
    y, _ = fused.train()(x)
    assert fused.backward((y, None)).shape == x.shape  # it may be trained


def test_what_two_nodes_take_is_not_folded(backend):
    for outputs in ("sum", ["bn", "conv"]):
        graph = Graph(
            {
                **{k: (v, {"conv": "x", "bn": "conv"}[k]) for k, v in body().items()},
                "sum": (Plus(), "conv", "bn"),
            },
            "x",
            outputs,
        )
        x = xpconv.asarray(X, "float32")
        trained(graph, x)
        fused = graph.fuse()
        assert isinstance(fused["bn"], BatchNorm2d)
        with xpconv.no_grad():
            for a, b in zip(fused(x), graph(x), strict=True):
                close(a, b)


def trunk():
    """A graph of layers of the package alone: plans run it."""
    return Graph(
        {
            "conv": (Conv2d(4, 8, 3, padding=1, rng=0), "x"),
            "bn": (BatchNorm2d(8), "conv"),
            "relu": (ReLU(), "bn"),
            "block": (xpconv.Residual(Conv2d(8, 8, 3, padding=1, rng=1)), "relu"),
            "pool": (MaxPool2d(2), "block"),
            "last": (Conv2d(8, 4, 1, rng=2), "pool"),
        },
        "x",
        "last",
    )


@pytest.mark.parametrize("fuse", [True, False])
def test_inference_by_plans(fuse):
    graph = trunk()
    x = X.astype("float32")
    trained(graph, x)
    expected = graph(x)
    graph.forget()
    model = graph.fuse() if fuse else graph
    with xpconv.no_grad():
        for count in (2, 1, 2):
            close(model(x[:count]), expected[:count], rtol=1e-5)
        plans = [f for _, f in model._inference._chain.plans.values()]
        assert any(hasattr(plan, "is_idle") for plan in plans)
        model.outputs = "pool"
        assert model(x).shape == (2, 8, 4, 4)


def test_inference_of_several_inputs_and_outputs(backend):
    graph = Graph(
        {"a": (Conv2d(4, 4, 1, rng=0), "x"), "sum": (Plus(), "a", "y"), "relu": (ReLU(), "sum")},
        ["x", "y"],
        ["relu", "a"],
    ).eval()
    x = xpconv.asarray(X, "float32")
    expected = graph(x, x)
    graph.forget()
    with xpconv.no_grad():
        for _ in range(2):
            for a, b in zip(graph(x, x), expected, strict=True):
                close(a, b)


def test_a_relu_runs_within_the_node_before_it():
    layers = [step.clip for step in trunk()._steps().steps]
    assert sum(clip is not None for clip in layers) == 1
    graph = trunk()
    graph.outputs = ["last", "bn"]  # what is asked for is not clipped
    assert all(step.clip is None for step in graph._steps().steps)


# --- looking inside ------------------------------------------------------------------------------------


def test_summary_and_explain(backend):
    graph = residual()
    lines = graph.summary((4, 8, 8)).splitlines()
    order = ["conv", "bn", "sum", "relu", "pool", "flat", "fc"]
    assert [line.split()[0] for line in lines[1:-2]] == order
    assert [line.split()[0] for line in graph.summary().splitlines()[1:-2]] == order
    assert "(1, 3)" in lines[[line.split()[0] for line in lines].index("fc")]
    rows = str(xpconv.explain(graph, (4, 8, 8), batch=2)).splitlines()
    assert [row.split()[0] for row in rows[1:-1]] == order
    y = graph(xpconv.asarray(X, "float32"))
    graph.backward(y)
    assert list(xpconv.inspection.gradient_norms(graph)) == ["conv", "bn", "fc"]
    assert "(sum): Plus() of bn, x" in repr(graph)


def test_state_dict_moves_and_dtypes(backend):
    graph = residual().to(dtype="float64")
    assert graph(xpconv.asarray(X)).dtype == "float64"
    graph.forget()
    other = residual()
    other.load_state_dict(graph.state_dict())
    close(other["fc"].weight.data, graph["fc"].weight.data)


def test_lazy_layers(backend):
    graph = Graph({"conv": (xpconv.LazyConv2d(5, 3), "x"), "flat": (Flatten(), "conv")}, "x", "flat")
    assert graph(xpconv.asarray(X, "float32")).shape == (2, 180)
    assert graph["conv"].weight.shape == (5, 4, 3, 3)
    graph.forget()


def test_nodes_that_join_inputs(backend):
    """Two branches, images and numbers, joined by concatenation, sum and product."""
    from xpconv.layers.operators import Add, Concatenate, Mul

    graph = xpconv.Graph(
        {
            "cnn": (xpconv.Dense(4, 3, dtype="float64", rng=0), "a"),
            "mlp": (xpconv.Dense(2, 3, dtype="float64", rng=1), "b"),
            "cat": (Concatenate(axis=1), "cnn", "mlp"),
            "sum": (Add(), "cnn", "mlp"),
            "product": (Mul(), "sum", "mlp"),
            "all": (Concatenate(axis=1), "cat", "product"),
        },
        inputs=["a", "b"],
        outputs="all",
    ).to(xpconv.get_backend())
    rng = np.random.default_rng(0)
    a, b, grad = (xpconv.asarray(rng.normal(size=(5, n))) for n in (4, 2, 9))
    y = graph(a, b)
    left, right = graph["cnn"], graph["mlp"]
    with xpconv.no_grad():
        u, v = xpconv.asnumpy(left(a)), xpconv.asnumpy(right(b))
    np.testing.assert_allclose(xpconv.asnumpy(y), np.concatenate([u, v, (u + v) * v], 1), rtol=1e-12)
    da, db = (xpconv.asnumpy(d) for d in graph.backward(grad))
    g = xpconv.asnumpy(grad)
    du, dv = g[:, :3] + g[:, 6:] * v, g[:, 3:6] + g[:, 6:] * (u + 2 * v)
    np.testing.assert_allclose(da, du @ xpconv.asnumpy(left.weight.data), rtol=1e-10)
    np.testing.assert_allclose(db, dv @ xpconv.asnumpy(right.weight.data), rtol=1e-10)


def test_a_layer_that_takes_another_number_of_inputs():
    text = r"node 'cat' has 2 inputs, but Concat.forward takes \(x\); layers that join .*operators.Add"
    with pytest.raises(TypeError, match=f"^Graph: {text}"):
        xpconv.Graph({"cat": (xpconv.Concat(xpconv.ReLU()), "a", "b")}, inputs=["a", "b"], outputs="cat")
    graph = xpconv.Graph(
        {"relu": (xpconv.ReLU(), "a"), "cat": (None, "a", "relu")}, inputs="a", outputs="relu"
    )
    with pytest.raises(TypeError, match=f"^Graph: {text}"):
        graph["cat"] = xpconv.Concat(xpconv.ReLU())
    graph["cat"] = xpconv.Bilinear(2, 2, 2)
    with pytest.raises(TypeError, match=f"^Graph: {text}"):
        graph["cat"] = xpconv.Concat(xpconv.ReLU())
    assert type(graph["cat"]) is xpconv.Bilinear
    with pytest.raises(TypeError, match=r"^Graph.add: node 'both' has 1 input, but Bilinear.forward takes"):
        graph.add("both", xpconv.Bilinear(2, 2, 2), "a")
    assert "both" not in graph.nodes
    with pytest.raises(AttributeError, match=r"operators\.Concatenate"):
        _ = xpconv.cat


def test_gradients_of_inputs_share_no_memory(backend):
    """Add gives both of its inputs the same array, Transpose a view of it."""
    nodes = {
        "turned": (operators.Transpose(), "b"),
        "ab": (operators.Add(), "a", "turned"),
        "y": (operators.Add(), "ab", "c"),
    }
    graph = Graph(nodes, ["a", "b", "c"], "y")
    x = [xpconv.asarray(np.ones(shape, "float32")) for shape in ((2, 3), (3, 2), (2, 3))]
    graph(*x)
    found = graph.backward(xpconv.asarray(np.ones((2, 3), "float32")))
    for factor, grad in enumerate(found, start=2):
        grad *= factor
    assert [float(xpconv.asnumpy(grad).sum()) for grad in found] == [12, 18, 24]
