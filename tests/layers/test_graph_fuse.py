"""`Graph` and `fuse`: what may be read and changed after a BatchNorm was folded."""

import copy
import pickle

import pytest
from graphs import Plus, X, close, trained

import xpconv
from xpconv import BatchNorm2d, Conv2d, Graph, ReLU, Sequential


def fusable(middle, outputs="bn", **more):
    """A convolution and a BatchNorm with other layers between them."""
    names = ["conv", *middle, "bn"]
    layers = {"conv": Conv2d(4, 4, 3, padding=1, rng=0), **middle, "bn": BatchNorm2d(4)}
    nodes = {name: (layers[name], source) for name, source in zip(names, ["x", *names], strict=False)}
    return Graph({**nodes, **more}, "x", outputs)


def test_what_a_node_outside_of_the_outputs_takes_is_not_folded(backend):
    graph = trained(fusable({}, aux=(xpconv.Sigmoid(), "conv")), x := xpconv.asarray(X, "float32"))
    fused = graph.fuse()
    graph.outputs = fused.outputs = ["aux", "bn"]
    with xpconv.no_grad():
        for a, b in zip(fused(x), graph(x), strict=True):
            close(a, b)


IN_PLACE = {
    "an output": lambda f: setattr(f, "outputs", "i"),
    "one of several outputs": lambda f: setattr(f, "outputs", ["bn", "i"]),
    "a new node": lambda f: f.add("tap", ReLU(), "i"),
    "a new node of several inputs": lambda f: f.add("tap", Plus(), "bn", "i"),
    "another layer": lambda f: f.__setitem__("i", xpconv.Sigmoid()),
    "an attribute": lambda f: setattr(f, "i", xpconv.Sigmoid()),
}


@pytest.mark.parametrize("middle", [xpconv.Identity, lambda: Sequential(xpconv.Identity()), Sequential])
@pytest.mark.parametrize("change", IN_PLACE)
def test_nothing_changes_between_what_fuse_has_folded(change, middle, backend):
    graph = trained(fusable({"j": xpconv.Identity(), "i": middle()}), x := xpconv.asarray(X, "float32"))
    fused = graph.fuse()
    assert type(fused["bn"]).__name__ == "Folded"
    for model in (fused, copy.deepcopy(fused), pickle.loads(pickle.dumps(fused))):  # noqa: S301
        with pytest.raises(ValueError, match="fuse"):
            IN_PLACE[change](model)
        with xpconv.no_grad():
            close(model(x), graph(x), rtol=1e-5)
    fused.add("tap", ReLU(), "bn").outputs = ["tap", "bn"]  # what comes after it may change
    with xpconv.no_grad():
        y, z = fused(x)
    close(y, xpconv.get_xp(z).maximum(z, 0))


def test_what_fuse_has_folded_twice(backend):
    graph = trained(fusable({"first": BatchNorm2d(4)}), x := xpconv.asarray(X, "float32"))
    fused = graph.fuse()
    for name in ("first", "conv"):
        with pytest.raises(ValueError, match="fuse"):
            fused.outputs = name
    with xpconv.no_grad():
        close(fused(x), graph(x), rtol=1e-5)
    later = trained(fusable({}), x).fuse()
    later.add("more", BatchNorm2d(4), "bn").outputs = "more"
    later = later.train()
    trained(later, x)
    again = later.fuse()
    with xpconv.no_grad():
        close(again(x), later(x), rtol=1e-5)
    with pytest.raises(ValueError, match="fuse"):
        again.outputs = "bn"


def test_a_node_without_a_layer_is_no_neighbour(backend):
    graph = fusable({"i": xpconv.Identity()})
    trained(graph, x := xpconv.asarray(X, "float32"))
    del graph._layers["i"]
    fused = graph.fuse()
    graph["i"], fused["i"] = xpconv.Sigmoid(), xpconv.Sigmoid()
    with xpconv.no_grad():
        close(fused(x), graph.eval()(x))


@pytest.mark.parametrize(
    "edit",
    [
        lambda f: f.__setitem__("1", xpconv.Sigmoid()),
        lambda f: f.__setitem__(1, xpconv.Sigmoid()),
        lambda f: f.__setitem__(-2, xpconv.Sigmoid()),
        lambda f: f[2].__setitem__(0, xpconv.Sigmoid()),
        lambda f: f.__setitem__(2, Sequential(xpconv.Identity())),
        lambda f: f.pop(1),
        lambda f: f[:1],
        lambda f: f[1:],
        lambda f: f[:3],
        lambda f: f.insert(1, xpconv.Sigmoid()),
        lambda f: f[2].append(xpconv.Sigmoid()),
        lambda f: f[3].append(xpconv.Sigmoid()),
        lambda f: setattr(f[3], "0", xpconv.Sigmoid()),
    ],
)
def test_nothing_changes_between_layers_of_a_sequential_either(edit, backend):
    model = Sequential(
        Conv2d(4, 4, 3, padding=1, rng=0),
        xpconv.Identity(),
        Sequential(xpconv.Identity()),
        Sequential(),
        BatchNorm2d(4),
        ReLU(),
    )
    fused = trained(model, x := xpconv.asarray(X, "float32")).fuse()
    with pytest.raises(ValueError, match="fuse"):
        edit(fused)
    assert len(fused[:5]) == 5 and len(fused[5:]) == 1
    with xpconv.no_grad():
        close(fused[:5](x), model[:5](x), rtol=1e-5)
        close(fused(x), model(x), rtol=1e-5)
