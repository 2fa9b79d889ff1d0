"""`xpconv.train.predict`: order, kinds of data, modes."""

import numpy as np
import pytest

import xpconv
from xpconv import train
from xpconv.data import batches
from xpconv.errors import ShapeError


def net():
    layers = [xpconv.Dense(3, 4, rng=0), xpconv.BatchNorm1d(4), xpconv.ReLU(), xpconv.Dropout(0.5, rng=0)]
    return xpconv.Sequential(*layers)


def drawn(n=23):
    return xpconv.asarray(np.random.default_rng(0).normal(size=(n, 3)), "float32")


def test_outputs_in_order_from_all_kinds_of_data(backend, tmp_path):
    model, x = net(), drawn()
    with xpconv.no_grad():
        expected = model.eval()(x)
    model.train()
    y = xpconv.asarray(np.arange(23))
    parts = [x[:10], x[10:20], x[20:]]
    for data in (
        x,
        (x,),
        batches(x, y, 5),
        parts,
        [(part,) for part in parts],
        iter(parts),
        (p for p in parts),
    ):
        found = train.predict(model, data, batch_size=7)
        assert type(found) is type(expected)
        np.testing.assert_allclose(xpconv.asnumpy(found), xpconv.asnumpy(expected), rtol=1e-6, atol=1e-6)
    np.save(tmp_path / "x.npy", xpconv.asnumpy(x))
    mapped = train.predict(model, np.load(tmp_path / "x.npy", mmap_mode="r"), batch_size=7)
    np.testing.assert_allclose(xpconv.asnumpy(mapped), xpconv.asnumpy(expected), rtol=1e-6, atol=1e-6)
    assert all(layer.training for _, layer in model.named_layers())
    assert not model._finished()


def test_a_generator_reads_one_batch_at_a_time(backend):
    model, read = net(), []

    def source():
        for i in range(4):
            read.append(i)
            yield drawn(3)

    outputs = train.predict(model, source(), generator=True)
    assert next(outputs).shape == (3, 4)
    assert read == [0]
    assert model.training
    model(drawn(2))  # in training mode, with a tape
    assert len(model._finished()) == 1
    assert [y.shape for y in outputs] == [(3, 4)] * 3
    assert len(model._finished()) == 1  # still there


def test_one_batch_no_samples_and_several_inputs(backend):
    model = net()
    assert train.predict(model, drawn(5)).shape == (5, 4)
    assert train.predict(model, drawn(0)).shape == (0, 4)
    both = xpconv.Bilinear(3, 3, 2, rng=0)
    a, b = drawn(9), drawn(9)[::-1]
    expected = xpconv.asnumpy(both(a, b))
    for data, options in (((a, b), {}), ([(a[:4], b[:4]), (a[4:], b[4:])], {"inputs": 2})):
        found = train.predict(both, data, batch_size=4, **options)
        np.testing.assert_allclose(xpconv.asnumpy(found), expected, rtol=1e-5, atol=1e-6)


def test_several_outputs(backend):
    pool = xpconv.MaxPool1d(2, return_indices=True)
    x = xpconv.asarray(np.random.default_rng(0).normal(size=(5, 2, 6)))
    y, indices = pool(x)
    found = train.predict(pool, x, batch_size=2)
    assert isinstance(found, tuple)
    for a, b in zip(found, (y, indices), strict=True):
        assert (xpconv.asnumpy(a) == xpconv.asnumpy(b)).all()


def test_modes_are_restored_after_errors():
    model = net()
    model[1].requires_grad_(False, eval=True)
    model[3].eval()
    before = [(layer.training, layer._thawed_mode) for layer in model]
    with pytest.raises(ValueError, match="Dense"):
        train.predict(model, np.zeros((4, 5), "float32"))
    assert [(layer.training, layer._thawed_mode) for layer in model] == before


@pytest.mark.parametrize(
    ("data", "options", "text"),
    [
        (3, {}, "predict: data is 3, expected an array"),
        ("x.npy", {}, "predict: data is 'x.npy'"),
        (np.zeros(()), {}, r"data has the shapes \(\)"),
        ((np.zeros((3, 3)), np.zeros((4, 3))), {}, r"shapes \(3, 3\), \(4, 3\), expected equal lengths"),
        ([], {}, "data gave no batches"),
        ([3], {}, "data gave 3, expected an array"),
        (
            [np.zeros((2, 3), "float32")],
            {"inputs": 2},
            r"inputs is 2, so the model gets 2 inputs, but \w+.forward takes \(x\)",
        ),
        (np.zeros((3, 3), "float32"), {"batch_size": 0}, "predict: batch_size is 0"),
        (np.zeros((3, 3), "float32"), {"generator": 1}, "predict: generator is 1"),
    ],
)
def test_wrong_arguments(data, options, text):
    with pytest.raises((TypeError, ValueError), match=text):
        train.predict(net(), data, **options)
    with pytest.raises(TypeError, match="predict: model is the class Dense"):
        train.predict(xpconv.Dense, data)


@pytest.mark.parametrize("rows", [0, 1, 9])
def test_outputs_with_other_numbers_of_rows(backend, rows):
    class Other(xpconv.Layer):
        def forward(self, x):
            return x.sum() if rows == 0 else xpconv.asarray(np.ones((rows, 2), "float32"))

    x = drawn(12)
    with pytest.raises(ShapeError, match=r"predict: the model returns an output of shape \(.*for 4 samples"):
        train.predict(Other(), x, batch_size=4)
    if rows:
        assert train.predict(Other(), [x[:4], x[4:8]]).shape == (2 * rows, 2)


def test_several_outputs_have_a_row_for_each_sample(backend):
    class Two(xpconv.Layer):
        def forward(self, x):
            return x, x[:1]

    with pytest.raises(ShapeError, match=r"output of shape \(1, 3\) for 4 samples"):
        train.predict(Two(), drawn(12), batch_size=4)


def test_evaluate_takes_a_tuple_of_arrays(backend):
    model = xpconv.Dense(4, 3, rng=0).to(xpconv.get_backend())
    loss = xpconv.CrossEntropyLoss()
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(300, 4)).astype("float32"), rng.integers(0, 3, 300)
    weight = rng.random(300).astype("float32")
    expected = train.evaluate(model, loss, xpconv.data.batches(x, y, batch_size=128), metrics=["accuracy"])
    assert train.evaluate(model, loss, (x, y), metrics=["accuracy"]) == expected
    assert train.evaluate(model, loss, (xpconv.asarray(x), xpconv.asarray(y)))["loss"] == expected["loss"]
    weighted = train.evaluate(model, loss, (x, y, weight), sample_weight=True)
    losses = xpconv.CrossEntropyLoss(reduction="none")(model(xpconv.asarray(x)), xpconv.asarray(y))
    assert weighted["loss"] == pytest.approx(float((xpconv.asnumpy(losses) * weight).mean()), rel=1e-5)
    model.forget()
    with pytest.raises(ValueError, match="length"):
        train.evaluate(model, loss, (x, y[:-1]))
    with pytest.raises(TypeError, match=r"^evaluate: too many arguments.*as a tuple: evaluate\(model"):
        train.evaluate(model, loss, x, y)
    with pytest.raises(TypeError, match=r"^predict: too many arguments.*as a tuple: predict\(model"):
        train.predict(model, x, x)


def test_a_list_of_inputs_and_targets():
    model, x = xpconv.Dense(4, 3, rng=0), np.ones((6, 4), "float32")
    with pytest.raises(
        TypeError, match=r"a list of arrays, .*batches.*float32 of shape \(6, 4\), int64.*tuple"
    ):
        train.predict(model, [x, np.zeros(6, int)])
    assert train.predict(model, [x, x[:2]]).shape == (8, 3)


@pytest.mark.parametrize("weight", [np.ones(6), [1.0] * 6, np.ones((6, 1))])
def test_sample_weights_are_no_array(weight):
    model, x = xpconv.Dense(4, 3, rng=0), np.ones((6, 4), "float32")
    data = xpconv.data.batches(x, np.zeros(6, int), batch_size=3)
    with pytest.raises(
        TypeError, match=r"^evaluate: sample_weight is an? .*put the weights last.*=True"
    ) as caught:
        train.evaluate(model, xpconv.CrossEntropyLoss(), data, sample_weight=weight)
    assert "1." not in str(caught.value)
