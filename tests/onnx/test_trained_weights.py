"""`xpconv.onnx.load`: which arrays of a file are trained, and weights that a model takes several times."""

import numpy as np
import pytest

import xpconv

onnx = pytest.importorskip("onnx")

from onnx import TensorProto, helper, numpy_helper

import xpconv.onnx

RNG = np.random.default_rng(0)
X = RNG.normal(size=(2, 5, 4)).astype("float32")
W = RNG.normal(size=(4, 4)).astype("float32")
V = W[:, 0]


def load(folder, nodes, shape=None, **arrays):
    nodes = [helper.make_node(op, takes.split(), gives.split(), **more) for op, takes, gives, more in nodes]
    infos = [
        helper.make_tensor_value_info(*row)
        for row in (("x", TensorProto.FLOAT, shape), ("y", TensorProto.FLOAT, None))
    ]
    stored = [numpy_helper.from_array(np.asarray(array), name) for name, array in arrays.items()]
    graph = helper.make_graph(nodes, "graph", infos[:1], infos[1:], stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, folder / "model.onnx")
    return xpconv.onnx.load(folder / "model.onnx")


def names(graph):
    return sorted(name for name, _ in graph.named_parameters())


def slope(graph, x, name):
    """The gradient of `sum(y * y) / 2` to a parameter, and a difference quotient."""
    graph.to(dtype="float64").train()
    x = xpconv.asarray(x.astype("float64"))
    parameter = dict(graph.named_parameters())[name]
    graph.zero_grad()
    graph.backward(graph(x))
    step, start = RNG.normal(size=parameter.shape), xpconv.asnumpy(parameter.data).copy()
    losses = []
    for sign in (1, -1):
        parameter.data = xpconv.asarray(start + sign * 1e-5 * step)
        losses.append(float((xpconv.asnumpy(graph(x)) ** 2).sum()) / 2)
    parameter.data = xpconv.asarray(start)
    return float((xpconv.asnumpy(parameter.grad) * step).sum()), (losses[0] - losses[1]) / 2e-5


B = np.ones(1, "float32")
CASES = {  # nodes, arrays, the names of the parameters
    "bias of one element": ([("MatMul", "x w", "t", {}), ("Add", "t b", "y", {})], {"w": W[:, :1], "b": B}, "b w"),
    "scale of one element": ([("Mul", "x b", "y", {})], {"b": B}, "b"),
    "scalar": ([("Mul", "x s", "y", {})], {"s": np.float32(2)}, ""),
    "Identity": ([("Identity", "w", "v", {}), ("MatMul", "x v", "y", {})], {"w": W}, "w"),
    "Transpose": ([("Transpose", "w", "v", {}), ("MatMul", "x v", "y", {})], {"w": W}, "w"),
    "two views": ([("Transpose", "w", "u", {}), ("Reshape", "u s", "v", {}), ("MatMul", "x v", "y", {})],
                  {"w": W, "s": np.array([4, 4])}, "w"),
    "Cast": ([("Cast", "w", "v", {"to": 1}), ("MatMul", "x v", "y", {})], {"w": W.astype("float16")}, "w"),
    "CastLike": ([("CastLike", "w z", "v", {}), ("MatMul", "x v", "y", {})],
                 {"w": W.astype("float16"), "z": np.float32(0)}, "w"),
    "CastLike of a computed array": ([("CastLike", "w x", "v", {}), ("MatMul", "x v", "y", {})],
                                     {"w": W.astype("float16")}, "w"),
    "Expand": ([("Expand", "b s", "v", {}), ("Add", "x v", "y", {})], {"b": W[0], "s": np.array([1, 4])}, "b"),
    "Concat": ([("Concat", "w w2", "v", {"axis": 1}), ("MatMul", "x v", "y", {})], {"w": W, "w2": W[:, :3] + 1}, "w w2"),
    "Concat of biases": ([("Concat", "a b", "v", {"axis": 0}), ("Add", "x v", "y", {})], {"a": V[:1], "b": V[1:]}, "a b"),
    "Concat beside the weight": (
        [("Concat", "w w", "v", {"axis": 1}), ("MatMul", "x w", "t", {}), ("MatMul", "t v", "y", {})], {"w": W}, "w"),
    "Tile": ([("Tile", "w n", "v", {}), ("MatMul", "x v", "y", {})], {"w": W, "n": np.array([1, 3])}, "w"),
    "Gather": ([("Gather", "w i", "v", {}), ("Add", "x v", "y", {})], {"w": W, "i": np.array([3, 0, 0, 1])}, "w"),
    "Slice": ([("Slice", "w s e", "v", {}), ("Add", "x v", "y", {})],
              {"w": np.concatenate([W, W]), "s": np.array([2]), "e": np.array([6])}, "w"),
    "Split": ([("Split", "w", "u v", {"axis": 1}), ("MatMul", "x v", "y", {})], {"w": W}, "w"),
    "Mul for a Conv": (
        [("Unsqueeze", "x a", "i", {}), ("Mul", "k b", "v", {}), ("Expand", "b s", "u", {}), ("Conv", "i v u", "y", {})],
        {"a": np.array([1]), "k": W[:2, None, :3, None], "b": B / 2, "s": np.array([2])}, "b k"),
    "Add for a Gemm": (
        [("Reshape", "x s", "i", {}), ("MatMul", "p q", "d", {}), ("Add", "w d", "v", {}), ("Gemm", "i v", "y", {"transB": 1})],
        {"s": np.array([-1, 4]), "p": W[:, :1], "q": W[:1], "w": W}, "p q w"),
    "Mul for a LayerNormalization": (
        [("Mul", "w b", "v", {}), ("LayerNormalization", "x v", "y", {})], {"w": V, "b": B / 2}, "b w"),
    "Mul": ([("Mul", "w g", "v", {}), ("MatMul", "x v", "y", {})], {"w": W, "g": V}, "g w"),
    "Unsqueeze": ([("Unsqueeze", "b a", "v", {}), ("Add", "x v", "y", {})], {"b": W[0], "a": np.array([0])}, "b"),
    "slope of two layers": (
        [("Unsqueeze", "b a", "u", {}), ("PRelu", "x u", "t", {}), ("Unsqueeze", "b a", "v", {}), ("Elu", "t", "s", {}),
         ("Neg", "s", "r", {}), ("PRelu", "r v", "y", {})], {"b": B / 2, "a": np.array([0])}, "b"),
    "both sides": ([("MatMul", "x w", "t", {}), ("Transpose", "w", "v", {}), ("MatMul", "t v", "y", {})], {"w": W}, "w"),
    "view of a sum": ([("MatMul", "x w", "t", {}), ("MatMul", "t w", "u", {}), ("Add", "u w", "y", {})],
                      {"w": W[:, :]}, "w"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_weights_are_trained(name, backend, tmp_path):
    nodes, arrays, expected = CASES[name]
    graph = load(tmp_path, nodes, **arrays)
    assert names(graph) == expected.split()
    x = X[:, :4]
    for parameter in expected.split() if not name.startswith("Cast") else ():
        found, reference = slope(graph, x, parameter)
        np.testing.assert_allclose(found, reference, rtol=1e-6)


GEMMS = {
    "same": ([("Gemm", "x w", "t", {}), ("Gemm", "t w", "y", {})], X[0]),
    "transposed": ([("Gemm", "x w", "t", {}), ("Gemm", "t w", "y", {"transB": 1})], X[0]),
    "through Identity": (
        [("Identity", "w", "v", {}), ("Gemm", "x w", "t", {}), ("Gemm", "t v", "y", {})],
        X[0],
    ),
    "Gemm and MatMul": ([("Gemm", "x w", "t", {}), ("MatMul", "t w", "y", {})], X[0]),
}


@pytest.mark.parametrize("name", GEMMS)
def test_a_weight_in_two_layers_is_one_parameter(name, backend, tmp_path):
    nodes, x = GEMMS[name]
    graph = load(tmp_path, nodes, w=W)
    assert names(graph) == ["w"] and list(graph.state_dict()) == ["w"]
    found, reference = slope(graph, x, "w")
    np.testing.assert_allclose(found, reference, rtol=1e-6)


def test_a_layer_in_place_of_one_with_a_shared_weight_has_its_own_name(tmp_path):
    graph = load(tmp_path, [("Gemm", "x w", "t", {}), ("Gemm", "t w", "y", {})], w=W)
    graph["t"] = xpconv.Dense(4, 4)
    assert set(graph.state_dict()) == {"w", "t.weight", "t.bias"}


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_another_dtype_is_that_of_casts_and_constants_too(dtype, backend, tmp_path):
    nodes = [
        ("Shape", "x", "s", {}),
        ("ConstantOfShape", "s", "c", {"value": numpy_helper.from_array(np.ones(1, "float32"))}),
        ("Gemm", "c w", "g", {}),
        ("Cast", "s", "f", {"to": TensorProto.FLOAT}),
        ("ReduceSum", "f", "n", {"keepdims": 0}),
        ("Div", "g n", "h", {}),
        ("Add", "x h", "y", {}),
    ]
    graph = load(tmp_path, nodes, w=W).to(dtype=dtype)
    assert names(graph) == ["w"]
    x = X[0].astype(dtype)
    y = graph(xpconv.asarray(x))
    assert y.dtype == dtype
    np.testing.assert_allclose(xpconv.asnumpy(y), x + W.sum(0) / 9, rtol=2e-3, atol=2e-3)


def constant(name, array):
    return ("Constant", "", name, {"value": numpy_helper.from_array(np.asarray(array))})


IMAGES = RNG.normal(size=(2, 3, 5, 5)).astype("float32")
KERNEL = RNG.normal(size=(4, 3, 2, 2)).astype("float32")
NORMAL = [constant(name, V**2 + 0.5) for name in "sbmv"]
CONSTANTS = {  # nodes, the input, the names of the parameters, and of the buffers
    "MatMul": ([constant("w", W), ("MatMul", "x w", "y", {})], X, "w", ""),
    "MatMul, left": ([constant("w", W), ("Transpose", "x", "u", {"perm": [0, 2, 1]}), ("MatMul", "w u", "y", {})], X, "w", ""),
    "MatMul, view": ([constant("w", W), ("Transpose", "w", "v", {}), ("MatMul", "x v", "y", {})], X, "w", ""),
    "bias": ([constant("w", W), constant("b", V), ("MatMul", "x w", "t", {}), ("Add", "b t", "y", {})], X, "b w", ""),
    "a number as bias": (
        [constant("w", W), constant("b", np.float32(1)), ("MatMul", "x w", "t", {}), ("Add", "t b", "y", {})], X, "b w", "",
    ),
    "bias as floats": (
        [constant("w", W), ("Constant", "", "b", {"value_floats": V.tolist()}), ("MatMul", "x w", "t", {}), ("Add", "t b", "y", {})],
        X, "b w", "",
    ),
    "Gemm": ([constant("w", W), constant("b", V), ("Gemm", "x w b", "y", {})], X[0], "b w", ""),
    "Gemm, factors": ([constant("w", W), constant("b", np.float32(3)), ("Gemm", "x w b", "y", {"beta": 2.0})], X[0], "b w", ""),
    "Conv": ([constant("w", KERNEL), constant("b", V), ("Conv", "x w b", "y", {})], IMAGES, "b w", ""),
    "Conv, bias added": (
        [constant("w", KERNEL), constant("b", V.reshape(4, 1, 1)), ("Conv", "x w", "t", {}), ("Add", "t b", "y", {})], IMAGES, "b w", "",
    ),
    "ConvTranspose": ([constant("w", KERNEL.swapaxes(0, 1)), ("ConvTranspose", "x w", "y", {})], IMAGES, "w", ""),
    "BatchNormalization": (
        [constant("w", KERNEL), ("Conv", "x w", "t", {}), *NORMAL, ("BatchNormalization", "t s b m v", "y", {})],
        IMAGES, "b s w", "m v",
    ),
    "LayerNormalization": (
        [constant("s", V), constant("b", V), ("LayerNormalization", "x s b", "y", {})], X, "b s", "",
    ),
    "PRelu": ([constant("a", np.float32(0.3)), ("PRelu", "x a", "y", {})], X, "a", ""),
    "attention": (  # a mask, not a bias
        [constant("m", W[0, 0] * np.ones((5, 5), "float32")), ("Transpose", "x", "u", {"perm": [0, 2, 1]}), ("MatMul", "x u", "t", {}),
         ("Add", "t m", "y", {})], X, "", "m",
    ),
    "arithmetic": ([constant("c", V), ("Mul", "x c", "t", {}), ("Add", "t c", "y", {})], X, "", "c"),
}  # fmt: skip


@pytest.mark.parametrize("initializers", [False, True])
@pytest.mark.parametrize("name", CONSTANTS)
def test_constants_train_where_weights_stand(name, initializers, backend, tmp_path):
    """As `Constant` nodes and as initializers, of which arithmetic trains those with axes."""
    nodes, x, parameters, buffers = CONSTANTS[name]
    if initializers and not any("value_floats" in node[3] for node in nodes):
        arrays = {node[2]: numpy_helper.to_array(node[3]["value"]) for node in nodes if node[0] == "Constant"}
        nodes = [node for node in nodes if node[0] != "Constant"]
        if name in ("attention", "arithmetic"):
            parameters, buffers = buffers, ""
        graph = load(tmp_path, nodes, **arrays)
    else:
        graph = load(tmp_path, nodes)
    assert names(graph) == parameters.split()
    assert sorted(set(graph.state_dict()) - set(names(graph))) == buffers.split()
    expected = graph.eval()(xpconv.asarray(x))
    for parameter in parameters.split():
        found, reference = slope(graph, x, parameter)
        np.testing.assert_allclose(found, reference, rtol=1e-5)
    graph.to(dtype="float32")
    xpconv.onnx.export(
        graph.eval(), tmp_path / "again.onnx", xpconv.asarray(x), opset=17, dynamic_batch=False
    )
    again = xpconv.onnx.load(tmp_path / "again.onnx")
    assert names(again) == names(graph)
    np.testing.assert_allclose(
        xpconv.asnumpy(again(xpconv.asarray(x))), xpconv.asnumpy(expected), rtol=1e-3, atol=1e-4
    )


def test_the_groups_of_a_group_norm_have_no_scale_of_their_own(tmp_path):
    """As PyTorch's exporter writes it, with a 1 and a 0 for each group as initializers."""
    nodes = [
        ("Reshape", "x s", "a", {}),
        ("InstanceNormalization", "a one zero", "b", {}),
        ("Reshape", "b t", "c", {}),
        ("Mul", "c w", "y", {}),
    ]
    arrays = {
        "s": [0, 2, -1],
        "t": [0, 4, 5, 5],
        "w": W[:, :1, None],
        "one": B.repeat(2),
        "zero": 0 * B.repeat(2),
    }
    assert names(load(tmp_path, nodes, ["N", 4, 5, 5], **arrays)) == ["w"]
    learned = load(tmp_path, nodes, ["N", 4, 5, 5], **{**arrays, "one": V[:2]})
    assert names(learned) == ["one", "w", "zero"]


def test_a_number_without_a_name_of_the_model_is_a_factor(tmp_path):
    """PyTorch's exporter names it so, such as the factor of attention. Where weights stand, it is one."""
    nodes = [("Mul", "x val_7", "a", {}), ("PRelu", "a val_8", "b", {}), ("MatMul", "b val_9", "y", {})]
    graph = load(tmp_path, nodes, val_7=B, val_8=B, val_9=W)
    assert names(graph) == ["val_8", "val_9"]


def test_a_number_that_fills_the_bias_of_a_conv_without_one_is_no_weight(tmp_path):
    nodes = [constant("b", np.float32(0)), ("Shape", "w", "s", {"end": 1}), ("Expand", "b s", "v", {})]
    assert names(load(tmp_path, [*nodes, ("Conv", "x w v", "y", {})], w=KERNEL)) == ["w"]


@pytest.mark.slow
def test_a_batch_norm_computes_with_the_statistics_of_the_file_and_trains_as_that_of_pytorch(tmp_path):
    torch = pytest.importorskip("torch")
    norm = torch.nn.BatchNorm2d(4, momentum=0.3)
    with torch.no_grad():
        for value, array in zip(
            (norm.weight, norm.bias, norm.running_mean, norm.running_var), W, strict=True
        ):
            value.copy_(torch.tensor(array**2 + 0.1))
    theirs = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 2, bias=False), norm, torch.nn.ReLU())
    with torch.no_grad():
        theirs[0].weight.copy_(torch.tensor(KERNEL))
    nodes = [
        ("Conv", "x w", "t", {}),
        ("BatchNormalization", "t s b m v", "u", {"momentum": 0.7}),
        ("Relu", "u", "y", {}),
    ]
    state = [value.numpy().copy() for value in theirs.state_dict().values()]
    graph = load(tmp_path, nodes, shape=("N", 3, 5, 5), **dict(zip("wsbmv", state, strict=False)))
    assert isinstance(graph["u"], xpconv.BatchNorm2d)
    expected = theirs.eval()(torch.tensor(IMAGES)).detach().numpy()
    np.testing.assert_allclose(graph(IMAGES), expected, rtol=1e-5, atol=1e-5)
    optimizer = torch.optim.SGD(theirs.parameters(), lr=0.1)
    own = xpconv.SGD(graph.parameters(), lr=0.1)
    y = theirs.train()(torch.tensor(IMAGES))
    (y * y).sum().backward()
    optimizer.step()
    graph.backward(2 * graph.train()(IMAGES))
    own.step()
    for name, value in zip("wsbmv", theirs.state_dict().values(), strict=False):
        np.testing.assert_allclose(graph.state_dict()[name], value, rtol=1e-4, atol=1e-4)
    before = graph.requires_grad_(False, eval=True).train().state_dict()
    graph(IMAGES)
    assert all(np.array_equal(before[name], value) for name, value in graph.state_dict().items())


def test_a_bias_that_a_folded_layer_shares_with_others(backend, tmp_path):
    """Exporters store equal arrays once. What `fuse` makes of one has a name of its own."""
    nodes = [
        ("Conv", "x w b", "c", {}),
        ("BatchNormalization", "c s b m v", "n", {}),
        ("InstanceNormalization", "n s b", "i", {}),
        ("Conv", "i k b", "d", {}),
        ("BatchNormalization", "d s z m v", "e", {}),
        ("Relu", "e", "y", {}),
    ]
    arrays = {"s": V**2 + 1, "b": V, "m": V - 1, "v": V**2 + 0.5, "z": V * 2, "w": KERNEL}
    graph = load(
        tmp_path, nodes, [None, 3, 5, 5], **arrays, k=RNG.normal(size=(4, 4, 1, 1)).astype("float32")
    )
    fused = graph.fuse()
    assert set(fused.state_dict()) == {"w", "c.bias", "s", "b", "k", "d.bias"}
    x = xpconv.asarray(IMAGES)
    with xpconv.no_grad():
        expected = xpconv.asnumpy(graph(x))
        np.testing.assert_allclose(xpconv.asnumpy(fused(x)), expected, rtol=1e-4, atol=1e-5)
    fused.load_state_dict(fused.state_dict())
    xpconv.onnx.export(graph, tmp_path / "again.onnx", (3, 5, 5), fold_batchnorm=True)
    with xpconv.no_grad():
        again = xpconv.asnumpy(xpconv.onnx.load(tmp_path / "again.onnx")(x))
    np.testing.assert_allclose(again, expected, rtol=1e-4, atol=1e-5)
