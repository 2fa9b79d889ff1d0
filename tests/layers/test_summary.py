"""`Layer.summary`: shapes, operations and memory, as `explain` has them, in a table that fits."""

import numpy as np
import pytest

import xpconv
from xpconv import BatchNorm1d, BatchNorm2d, Conv2d, Dense, Flatten, MaxPool2d, ReLU, Residual, Sequential
from xpconv.explain import measure
from xpconv.layers.costs import millions

MODELS = {
    "lenet5": ((1, 28, 28), lambda: xpconv.models.lenet5()),
    "resnet20": ((3, 32, 32), lambda: xpconv.models.resnet20()),
    "unet": ((3, 16, 16), lambda: xpconv.models.unet(3, 2, width=4, depth=2)),
    "clipped sum": ((3, 8, 8), lambda: Sequential(Residual(Conv2d(3, 3, 3, padding=1)), ReLU())),
    "transposed": ((3, 8, 8), lambda: Sequential(xpconv.ConvTranspose2d(3, 4, 2, 2), ReLU())),
    "shared": ((4,), lambda: Sequential(*[Dense(4, 4, rng=0)] * 2, ReLU())),
}


def rows(text):
    """The cells of each row, by the first two."""
    return {(row[0], row[1]): row[2:] for row in text.rows}


@pytest.mark.sample(6)
@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize("name", MODELS)
def test_it_counts_as_explain_does(backend, name, mode):
    shape, make = MODELS[name]
    model = getattr(make(), mode)()
    text = model.summary(shape, batch=3)
    costs = measure(model, shape, 3)
    table = rows(text)
    assert table["total", ""] == (
        "", f"{sum(p.size for p in model.parameters()):,}",
        millions(sum(c.flops for c in costs)), millions(sum(c.saved for c in costs)),
    )  # fmt: skip
    assert table["memory", ""][1] == f"{millions(sum(p.data.nbytes for p in model.parameters()))} MB"
    for cost in costs:
        kind = cost.layer.partition("(")[0]
        (found,) = [
            v for (n, layer), v in table.items() if n == cost.name and layer.partition("(")[0] == kind
        ]
        assert found[0] == str(cost.output)
        calls = [c for c in costs if (c.name, c.layer) == (cost.name, cost.layer)]
        assert found[2:] == (millions(sum(c.flops for c in calls)), millions(sum(c.saved for c in calls)))
    assert max(map(len, text.splitlines())) <= (100 if name != "unet" else 106)  # its names are long


def test_a_row_by_hand():
    model = Sequential(Conv2d(3, 8, 3, padding=1), ReLU(), MaxPool2d(2), Flatten(), Dense(128, 5))
    lines = [line.split() for line in model.summary((3, 8, 8), batch=100).splitlines()]
    assert lines[0] == ["name", "layer", "output", "parameters", "MFLOP", "MB", "saved"]
    flops, saved = 2 * 100 * 512 * 27, 4 * 100 * 192
    assert lines[1][-3:] == ["224", f"{flops / 1e6:.3g}", f"{saved / 1e6:.3g}"]
    assert lines[5][-5:] == ["(100,", "5)", "645", "0.128", "0.0512"]
    assert [line[0] for line in lines[6:]] == ["total", "memory"]
    assert lines[-1][1:] == [f"{4 * (224 + 645) / 1e6:.3g}", "MB"]


def test_without_a_shape_it_lists_parameters():
    model = Sequential(Dense(4, 3), ReLU())
    assert model.summary().splitlines() == [
        "name    layer        parameters",
        "0       Dense(4, 3)          15",
        "1       ReLU()                0",
        "total                        15",
        "memory                 6e-05 MB",
    ]
    model[0].bias.requires_grad = False
    assert [line.split() for line in model.summary().splitlines()[-2:]] == [
        ["trainable", "12"],
        ["frozen", "3"],
    ]


@pytest.mark.slow
def test_long_names_and_layers():
    """Layers are cut off, names never; a notebook shows all."""
    text = xpconv.models.densenet121(num_classes=3).summary((3, 32, 32))
    lines = text.splitlines()
    assert max(map(len, lines)) <= 110
    assert any("…" in line for line in lines)
    assert "…" not in text._repr_html_()
    assert all(
        name in text for name, layer in xpconv.models.densenet121().named_layers() if not layer.children()
    )


def test_the_model_is_as_before(backend):
    model = Sequential(Conv2d(1, 4, 3, rng=0), BatchNorm2d(4), xpconv.Dropout(0.5, rng=1))
    x = xpconv.asarray(np.ones((2, 1, 6, 6), "float32"))
    before = {k: xpconv.asnumpy(v) for k, v in model.state_dict().items()}
    model(x)
    after = {k: xpconv.asnumpy(v) for k, v in model.state_dict().items()}
    model.forget()
    model.load_state_dict(before)
    model.summary((1, 6, 6), batch=2)
    for k, v in model.state_dict().items():
        np.testing.assert_array_equal(xpconv.asnumpy(v), before[k])
    assert any((after[k] != before[k]).any() for k in before)
    assert all(layer.training and not layer._finished() for layer in model.modules())
    assert all(p.grad is None for p in model.parameters())


def test_parameters_are_not_copied():
    """Only their arrays are shared: a summary of a large model takes no more memory than its forward."""
    from xpconv.layers.costs import twin

    model = Sequential(Dense(3, 3), BatchNorm1d(3))
    model.backward(model(np.ones((2, 3), "float32")))
    copy = twin(model)
    assert copy[0].weight.data is model[0].weight.data
    assert copy[0].weight.grad is None
    assert copy[0].weight is not model[0].weight
    assert copy[1].running_mean is not model[1].running_mean
    assert model[0].weight.grad is not None
    fused = Sequential(Conv2d(1, 2, 3), BatchNorm2d(2)).fuse()
    assert twin(fused)[0].weight.data is fused[0].weight.data


def test_where_no_training_is_possible():
    """One image is too few for BatchNorm of single pixels; a layer without backward cannot save anything."""

    class Inference(xpconv.Layer):
        def forward(self, x):
            return x + 1

    small = Sequential(Flatten(), BatchNorm1d(4), Dense(4, 3))
    table = rows(small.summary((1, 2, 2)))
    assert table["2", "Dense(4, 3)"] == ("(1, 3)", "15", millions(24), "")
    assert table["total", ""][-1] == ""
    assert small.training
    assert rows(small.summary((1, 2, 2), batch=2))["2", "Dense(4, 3)"][-1] == millions(32)
    assert rows(small.eval().summary((1, 2, 2)))["2", "Dense(4, 3)"][-1] == millions(16)
    assert rows(Sequential(Inference(), Dense(4, 3)).summary((4,)))["1", "Dense(4, 3)"][0] == "(1, 3)"


def test_within_no_grad_it_counts_what_would_be_saved():
    with xpconv.no_grad():
        assert rows(Dense(4, 3).summary((4,)))["", "Dense(4, 3)"][-1] == millions(16)


def test_errors():
    model = Sequential(Dense(4, 3))
    for batch in (0, -1):
        with pytest.raises(ValueError, match=f"Sequential.summary: batch is {batch}, expected at least 1"):
            model.summary((4,), batch=batch)
    with pytest.raises(TypeError, match=r"Sequential\.summary: batch is 'two'"):
        model.summary((4,), batch="two")
    with pytest.raises(ValueError, match=r"Sequential.summary: input_shape is \(5,\)"):
        model.summary((5,))


def test_a_model_in_a_notebook_is_its_summary():
    model = Sequential(Dense(4, 3), ReLU())
    assert model._repr_html_() == model.summary()._repr_html_()
    assert model[0]._repr_html_() is None
    lazy = Sequential(xpconv.LazyLinear(3))
    assert "LazyLinear(3)" in lazy._repr_html_()
    assert lazy[0].lazy


def test_shapes_are_those_of_the_layers_whatever_runs_within_another():
    """A ReLU before a MaxPool runs after it; its own output is larger."""
    model = Sequential(
        Conv2d(1, 6, 3), ReLU(), MaxPool2d(2), Conv2d(6, 4, 3), MaxPool2d(2), ReLU(), Flatten()
    )
    outputs = {}
    handles = [
        layer.register_forward_hook(lambda layer, inputs, y, name=name: outputs.update({name: str(y.shape)}))
        for name, layer in model.named_layers()
        if name
    ]
    with xpconv.no_grad():
        model.eval()(np.zeros((1, 1, 14, 14), "float32"))
    for handle in handles:
        handle.remove()
    for table in (model.summary((1, 14, 14)), xpconv.explain(model, (1, 14, 14), batch=1)):
        rows = [line.split() for line in str(table).splitlines()]
        assert [row[0] for row in rows[1:8]] == list(outputs)
        for row, shape in zip(rows[1:8], outputs.values(), strict=True):
            assert shape in " ".join(row)
