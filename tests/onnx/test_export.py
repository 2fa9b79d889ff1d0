"""`export`: its arguments, its errors, and the file that it writes."""

import os
import sys
from dataclasses import replace

import numpy as np
import onnxed
import pytest
from onnxed import check, inferred, onnx, run, same

import xpconv
from xpconv import BatchNorm2d, Conv2d, Dense, Dropout, Flatten, Layer, ReLU, Sequential
from xpconv.onnx import export

IMAGES = np.random.default_rng(0).normal(size=(2, 3, 8, 8)).astype("float32")


def small():
    return Sequential(Conv2d(3, 4, 3, rng=0), BatchNorm2d(4), ReLU(), Flatten(), Dense(144, 5, rng=0)).eval()


class Own(Layer):
    def forward(self, x):
        return x

    def backward(self, grad_output, input_grad=True):
        return grad_output


def test_inputs_of_a_model_without_parameters_have_the_dtype_of_its_buffers(tmp_path):
    model = BatchNorm2d(3, affine=False, dtype="float64").eval()
    export(model, tmp_path / "m.onnx", (3, 8, 8))
    assert run(tmp_path / "m.onnx", IMAGES.astype("float64"))[0].dtype == "float64"
    assert "(1, 3, 8, 8)" in model.summary((3, 8, 8))


def test_the_file(tmp_path):
    path = tmp_path / "m.onnx"
    export(small(), path, (3, 8, 8))
    proto = onnx.load(path)
    assert (proto.producer_name, proto.producer_version) == ("xpconv", xpconv.__version__)
    assert proto.opset_import[0].version == 17
    assert [node.op_type for node in proto.graph.node] == [
        "Conv",
        "BatchNormalization",
        "Relu",
        "Flatten",
        "Gemm",
    ]
    assert [node.name for node in proto.graph.node] == [
        "0.Conv",
        "1.BatchNormalization",
        "2.Relu",
        "3.Flatten",
        "4.Gemm",
    ]
    assert proto.graph.input[0].name == "input"
    assert [d.dim_param or d.dim_value for d in proto.graph.input[0].type.tensor_type.shape.dim] == [
        "batch",
        3,
        8,
        8,
    ]
    assert [d.dim_param or d.dim_value for d in proto.graph.output[0].type.tensor_type.shape.dim] == [
        "batch",
        5,
    ]
    assert proto.ir_version <= 8  # as runtimes of that opset's time read


@pytest.mark.parametrize("opset", range(13, onnx.defs.onnx_opset_version() + 1))
def test_every_opset(opset, tmp_path):
    export(small(), tmp_path / "m.onnx", (3, 8, 8), opset=opset)
    proto = onnx.load(tmp_path / "m.onnx")
    assert proto.opset_import[0].version == opset
    onnx.checker.check_model(proto, full_check=True)


def test_the_backend_of_the_model(backend, tmp_path):
    model = small()
    export(model, tmp_path / "m.onnx", (3, 8, 8))
    same(inferred(model, IMAGES), run(tmp_path / "m.onnx", IMAGES))


def test_fixed_batch(tmp_path):
    path = tmp_path / "m.onnx"
    export(small(), path, (3, 8, 8), dynamic_batch=False)
    assert onnxed.session(path).get_inputs()[0].shape == [1, 3, 8, 8]
    export(small(), path, IMAGES, dynamic_batch=False)
    assert onnxed.session(path).get_inputs()[0].shape == [2, 3, 8, 8]
    export(small(), path, IMAGES)
    assert onnxed.session(path).get_inputs()[0].shape == ["batch", 3, 8, 8]


def test_names(tmp_path):
    path = tmp_path / "m.onnx"
    export(small(), path, (3, 8, 8), input_names=["image"], output_names=("scores",))
    runtime = onnxed.session(path)
    assert [i.name for i in runtime.get_inputs()] == ["image"]
    assert [o.name for o in runtime.get_outputs()] == ["scores"]
    model = xpconv.Bilinear(3, 4, 2, rng=0).eval()
    export(model, path, ((3,), (4,)))
    assert [i.name for i in onnxed.session(path).get_inputs()] == ["input_0", "input_1"]
    pool = xpconv.MaxPool2d(2, return_indices=True).eval()
    export(pool, path, (3, 8, 8))
    assert [o.name for o in onnxed.session(path).get_outputs()] == ["output_0", "output_1"]


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"input_names": "image"}, TypeError, "input_names is 'image', expected a list of names"),
        ({"input_names": [1]}, TypeError, r"input_names is \[1\], expected a list of names"),
        ({"output_names": [""]}, TypeError, r"output_names is \[''\]"),
        ({"input_names": ["a", "b"]}, ValueError, "expected 1 different: the model has 1"),
        (
            {"input_names": ["a"], "output_names": ["a"]},
            ValueError,
            "'a' is the name of an input and of an output",
        ),
        ({"input_names": ["0.weight"]}, ValueError, "'0.weight' is the name of an array in the state dict"),
        ({"opset": 12}, ValueError, "opset is 12, expected 13 to"),
        ({"opset": 10**6}, ValueError, "a newer one needs a newer `onnx`"),
        ({"opset": 17.0}, TypeError, "opset is 17.0, expected an int"),
        ({"dynamic_batch": 1}, TypeError, "dynamic_batch is 1, expected True or False"),
        ({"fold_batchnorm": None}, TypeError, "fold_batchnorm is None"),
        ({"input_shape": 3}, TypeError, "input_shape is 3, expected a tuple"),
        ({"input_shape": (3.0, 8, 8)}, TypeError, r"input_shape is \(3.0, 8, 8\), expected a tuple"),
        (
            {"input_shape": tuple(np.array([3, -8, 8]))},
            ValueError,
            "expected the sizes of one image, all of them",
        ),
        ({"input_names": ["\ud800"]}, ValueError, "input_names has .*: 'utf-8' codec can't encode"),
        ({"metadata": {"a": "\ud800"}}, ValueError, "metadata has .*: 'utf-8' codec can't encode"),
        (
            {"input_shape": (3, 8)},
            ValueError,
            r"input_shape is \(3, 8\), that of one image, without the batch axis",
        ),
        ({"input_shape": (4, 8, 8)}, ValueError, r"expected 3 \(in_channels=3\) \(layer 0\)"),
        ({"input_shape": ((3, 8, 8), (3, 8, 8))}, TypeError, "of 2 inputs, but Sequential.forward takes x"),
        ({"path": 3}, TypeError, "onnx.export: path is int 3, expected a path"),
        (
            {"path": np.zeros((2, 3))},
            TypeError,
            r"path is ndarray of shape \(2, 3\), expected a path; the path is the second",
        ),
        ({"path": "nowhere/m.onnx"}, FileNotFoundError, "there is no folder"),
        ({"path": "."}, IsADirectoryError, "a folder, expected that of a file"),
        ({"model": ReLU}, TypeError, "onnx.export: model is .*, expected a Layer"),
    ],
)
def test_wrong_arguments(options, kind, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = {"model": small(), "path": "m.onnx", "input_shape": (3, 8, 8), **options}
    with pytest.raises(kind, match=message):
        export(**arguments)
    assert not os.listdir()


def test_training_mode_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"the model is in training mode.*call model\.eval\(\) first"):
        export(small().train(), tmp_path / "m.onnx", (3, 8, 8))
    model = small()
    model[1].train()
    with pytest.raises(ValueError, match=r"layer 1 is in training mode"):
        export(model, tmp_path / "m.onnx", (3, 8, 8))
    assert not os.listdir(tmp_path)


def test_all_layers_without_a_form_are_named_at_once(tmp_path):
    hooked = ReLU()
    hooked.register_forward_hook(lambda layer, inputs, y: y + 1)
    planted = ReLU()
    planted.forward = lambda x: x

    class Wide(Dense):
        def forward(self, x):
            return super().forward(x) * 2

    model = Sequential(
        {
            "a": Own(),
            "b": Sequential(ReLU(), Own()),
            "c": hooked,
            "d": planted,
            "e": Wide(2, 2),
            "f": xpconv.LazyLinear(3),
        }
    ).eval()
    (tmp_path / "m.onnx").write_text("old")
    with pytest.raises(ValueError, match="no form") as caught:
        export(model, tmp_path / "m.onnx", (2,))
    lines = str(caught.value).splitlines()[1:]
    assert [line.split(":")[0] for line in lines] == [
        "  a, Own", "  b.1, Own", "  c, ReLU", "  d, ReLU", "  e, Wide", "  f, LazyLinear",
    ]  # fmt: skip
    assert "to_onnx" in lines[0]
    assert "hook" in lines[2]
    assert "first forward" in lines[5]
    assert (tmp_path / "m.onnx").read_text() == "old"
    assert os.listdir(tmp_path) == ["m.onnx"]


def test_a_subclass_without_a_forward_of_its_own_is_written(tmp_path):
    class Mine(Dense):
        """As it is."""

    check(Mine(4, 2, rng=0), tmp_path / "m.onnx", np.ones((3, 4), "float32"), batches=(1, 7))


def test_to_onnx_belongs_to_the_forward_of_its_class(tmp_path):
    class Twice(Own):
        def forward(self, x):
            return x * 2

        def to_onnx(self, builder, x):
            return builder.node("Mul", x, 2)

    class Thrice(Twice):
        def forward(self, x):
            return x * 3

    check(Sequential(Twice()), tmp_path / "m.onnx", IMAGES, batches=(1, 7))
    with pytest.raises(ValueError, match="0, Thrice: xpconv has no rule for its forward"):
        export(Sequential(Thrice()).eval(), tmp_path / "m.onnx", (3, 8, 8))


def test_sizes_of_numpy(tmp_path):
    export(small(), tmp_path / "m.onnx", tuple(np.array([3, 8, 8])))
    same(inferred(small(), IMAGES), run(tmp_path / "m.onnx", IMAGES))


class Wrong(Own):
    def __init__(self, write):
        self.write = write

    def to_onnx(self, builder, x):
        return self.write(builder, x)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda b, x: b.node("Gelu", x), r"layer 1: ONNX's operator Gelu needs opset 20, but this is 17; give opset=20"),
        (lambda b, x: b.node("Glu", x), r"layer 1: ONNX has no operator Glu in opset 17"),
        (lambda b, x: b.node("Upsample", x, [1, 1, 2, 2]), r"layer 1: ONNX has no operator Upsample in opset 17"),
        (lambda b, x: b.node("MatMul", x, np.ones((5, 5), "float32")), r"layer 1: MatMul does not take .*'batch', 3, 8, 8"),
        (lambda b, x: b.node("Add", x, np.ones(8)), r"layer 1: Add does not take"),
        (lambda b, x: b.node("Transpose", x), "output is float32 of shape .* but the model returns float32 of"),
        (lambda b, x: b.parameter(np.ones(3)), r"layer 1: .* is not in the state dict of the model; .*builder.constant"),
        (lambda b, x: None, r"layer 1: to_onnx returns None, expected a tensor"),
        (lambda b, x: b.node("Relu", None), r"layer 1: Relu"),
        (lambda b, x: b.node("Relu", x, alpha=1), r"ONNX's checker refuses: .*alpha"),
        (lambda b, x: b.node("Relu", "x"), r"layer 1: Relu gets 'x', expected a tensor"),
        (lambda b, x: b.layer(Own(), x), "ONNX has no form for Own"),
        (lambda b, x: b.node(3, x), "layer 1: builder.node: op is 3, expected the name of an operator"),
        (lambda b, x: b.node("Softmax", x, axis=object()), "layer 1: Softmax does not take the attributes"),
        (lambda b, x: b.node("Relu", x, name="a"), "layer 1: Relu does not take the attributes .*'name'"),
        (lambda b, x: (x, x), "to_onnx returns 2 outputs, expected 1"),
        (lambda b, x: (), "layer 1: to_onnx returns .*, expected a tensor or a tuple of them"),
        (lambda b, x: b.node("Relu", replace(x, name="z")), "layer 1: Relu gets Tensor.*a tensor from this builder"),
        (lambda b, x: replace(x, name="z"), "layer 1: to_onnx returns .*a tensor from this builder"),
        (lambda b, x: b.layer(ReLU().eval(), (x, x)), "layer 1: ReLU gets .*expected a tensor from this builder"),
    ],
)  # fmt: skip
def test_wrong_to_onnx(write, message, tmp_path):
    model = Sequential(ReLU(), Wrong(write)).eval()
    with pytest.raises((ValueError, TypeError), match=message):
        export(model, tmp_path / "m.onnx", (3, 8, 8))
    assert not os.listdir(tmp_path)


def test_an_axis_that_is_no_batch(tmp_path):
    model = xpconv.Conv2d(3, 4, 3).eval()
    with pytest.raises(
        xpconv.errors.ShapeError, match="if its first axis is no batch, or is fixed, give dynamic_batch=False"
    ):
        export(model, tmp_path / "m.onnx", IMAGES[0])
    check(model, tmp_path / "m.onnx", IMAGES[0])
    with pytest.raises(
        ValueError, match=r"x has shape \('batch', 6\), but the size must be known; give dynamic_batch=False"
    ):
        export(xpconv.GLU(0).eval(), tmp_path / "m.onnx", np.zeros((3, 6), "float32"))


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (
            (1, 3, 8, 8),
            r"is \(1, 3, 8, 8\), expected that of one image, without the batch axis: give \(3, 8, 8\):",
        ),
        ((7, 3, 8, 8), r"without the batch axis: give \(3, 8, 8\):"),
        ((1, 1, 3, 8, 8), r"without the batch axis, which the model does not take: "),
        ((1, 8, 8), r"without the batch axis, which the model does not take: "),
        ((8, 8), r"without the batch axis, which the model does not take: "),
        (np.zeros((2, 1, 8, 8), "float32"), r"an array of shape .*, expected inputs that the model takes: "),
    ],
)
@pytest.mark.parametrize("as_graph", [False, True])
def test_a_wrong_shape_says_what_to_give(as_graph, shape, message, tmp_path):
    model = small()
    if as_graph:
        export(model, tmp_path / "m.onnx", (3, 8, 8))
        model = xpconv.onnx.load(tmp_path / "m.onnx")
    with pytest.raises(xpconv.errors.ShapeError, match=message) as caught:
        export(model, tmp_path / "n.onnx", shape)
    assert "dynamic_batch" not in str(caught.value).partition("Graph.forward")[0]
    assert not (tmp_path / "n.onnx").exists()


def test_wrong_shapes_of_several_inputs(tmp_path):
    graph = xpconv.Graph(
        {"l": (xpconv.Conv2d(1, 2, 3), "a"), "r": (xpconv.Conv2d(3, 2, 3), "b")}, ["a", "b"], ["l", "r"]
    ).eval()
    with pytest.raises(xpconv.errors.ShapeError, match=r"give \(\(1, 8, 8\), \(3, 6, 6\)\):"):
        export(graph, tmp_path / "n.onnx", ((1, 1, 8, 8), (1, 3, 6, 6)))


def test_nothing_changes_in_the_model(tmp_path):
    model = Sequential(small(), Dropout(0.5, rng=0)).eval()
    model[0][0].forget()
    before = {name: array.copy() for name, array in model.state_dict().items()}
    keys = [sorted(vars(layer)) for layer in model.modules()]
    export(model, tmp_path / "m.onnx", (3, 8, 8), fold_batchnorm=True)
    assert keys == [sorted(vars(layer)) for layer in model.modules()]
    assert all((before[name] == array).all() for name, array in model.state_dict().items())


def test_shared_parameters_are_one_initializer(tmp_path):
    first, second = Dense(4, 4, rng=0), Dense(4, 4, rng=1)
    second.weight = first.weight
    check(Sequential(first, second), tmp_path / "m.onnx", np.ones((2, 4), "float32"))
    names = [w.name for w in onnx.load(tmp_path / "m.onnx").graph.initializer]
    assert names == ["0.weight", "0.bias", "1.bias"]


def test_an_output_that_is_an_input_or_comes_twice(tmp_path):
    class Both(Own):
        def forward(self, x):
            return x, x * 2, x * 2

        def to_onnx(self, builder, x):
            y = builder.node("Mul", x, 2)
            return x, y, y

    check(Both(), tmp_path / "m.onnx", IMAGES, batches=(1, 7))
    check(xpconv.Identity(), tmp_path / "m.onnx", IMAGES, batches=(1, 7))


def test_a_large_model_has_its_arrays_in_a_second_file(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules["xpconv.onnx.export"], "LARGEST", 2000)
    model, path = small(), tmp_path / "m.onnx"
    export(model, path, (3, 8, 8))
    assert len(beside(path)) == 1
    assert os.path.getsize(path) < 3000
    onnx.checker.check_model(str(path), full_check=True)
    same(inferred(model, IMAGES), run(path, IMAGES))
    monkeypatch.undo()
    export(model, path, (3, 8, 8))
    assert not beside(path)
    same(inferred(model, IMAGES), run(path, IMAGES))


def beside(path):
    """The files of arrays that belong to a model."""
    return [name for name in os.listdir(path.parent) if name.startswith("m.onnx.") and name.endswith(".data")]


def test_a_large_model_that_is_not_replaced_keeps_its_arrays(tmp_path, monkeypatch):
    """Whether the file of arrays or the model's own fails, the old pair remains, and nothing else."""
    monkeypatch.setattr(sys.modules["xpconv.onnx.export"], "LARGEST", 2000)
    model, path = small(), tmp_path / "m.onnx"
    export(model, path, (3, 8, 8))
    files, replace = sorted(os.listdir(tmp_path)), os.replace
    for end in (".data", ".onnx"):

        def fails(source, target, end=end):
            if str(target).endswith(end):
                raise OSError("full")
            replace(source, target)

        with monkeypatch.context() as patch:
            patch.setattr("os.replace", fails)
            with pytest.raises(OSError, match="full"):
                export(small(), path, (3, 8, 8))
        assert sorted(os.listdir(tmp_path)) == files
        same(inferred(model, IMAGES), run(path, IMAGES))
    other = small()
    export(other, path, (3, 8, 8))
    assert len(beside(path)) == 1
    same(inferred(other, IMAGES), run(path, IMAGES))


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "m.onnx"
    export(small(), path, (3, 8, 8))
    old = path.read_bytes()
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        export(Sequential(ReLU()).eval(), path, (3, 8, 8))
    monkeypatch.undo()
    assert path.read_bytes() == old
    assert os.listdir(tmp_path) == ["m.onnx"]
