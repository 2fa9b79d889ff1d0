"""Errors for the habits of other libraries: they say what to use here instead."""

import copy
from contextlib import nullcontext

import numpy as np
import pytest

import xpconv
from xpconv import train
from xpconv.data import batches

X, Y = np.random.default_rng(0).normal(size=(20, 5)).astype("float32"), np.arange(20) % 3


def net():
    return xpconv.Sequential(xpconv.Dense(5, 8, rng=0), xpconv.ReLU(), xpconv.Dense(8, 3, rng=0))


def fit(data=None, **options):
    model = net()
    optimizer = xpconv.SGD(model.parameters(), lr=0.1)
    data = batches(X, Y, 5) if data is None else data
    return train.fit(model, options.pop("loss", xpconv.SoftmaxCrossEntropyLoss()), optimizer, data, **options)


def evaluate(data=None, **options):
    loss = xpconv.SoftmaxCrossEntropyLoss()
    return train.evaluate(net(), loss, batches(X, Y, 5) if data is None else data, **options)


@pytest.mark.parametrize(
    ("last", "loss", "message"),
    [
        (xpconv.Softmax(1), xpconv.SoftmaxCrossEntropyLoss(), "^fit: the model ends in Softmax, but .* expects scores"),
        (xpconv.Sigmoid(), xpconv.SoftmaxCrossEntropyLoss(), "ends in Sigmoid"),
        (xpconv.Softmax(1), xpconv.NLLLoss(), "expects logarithms of probabilities; end the model in LogSoftmax"),
        (xpconv.LogSoftmax(1), xpconv.NLLLoss(), None),
        (xpconv.LogSoftmax(1), xpconv.SoftmaxCrossEntropyLoss(), None),
    ],
)  # fmt: skip
def test_a_last_layer_that_the_loss_applies_too(last, loss, message):
    model = xpconv.Sequential(net(), last)
    optimizer = xpconv.SGD(model.parameters(), lr=0.1)
    with nullcontext() if message is None else pytest.warns(RuntimeWarning, match=message):
        train.fit(model, loss, optimizer, batches(X, Y, 5))


CALLS = {
    "num_workers": (lambda: batches(X, Y, 5, num_workers=2), "^batches: got an unexpected .*'num_workers'; give workers=, a number of threads; it takes"),
    "pin_memory": (lambda: batches(X, Y, 5, pin_memory=True), "'pin_memory'; leave it out; xpconv.cuda.prefetch"),
    "collate_fn": (lambda: batches(X, Y, 5, collate_fn=list), "'collate_fn'; .*give transform="),
    "persistent_workers": (lambda: batches(X, Y, 5, persistent_workers=True), "leave it out: the workers are threads"),
    "generator": (lambda: batches(X, Y, 5, generator=3), "give seed="),
    "a typing error": (lambda: batches(X, Y, 5, shufle=True), r"'shufle'; it takes \(\*data, batch_size=None, shuffle=False"),
    "validation_data": (lambda: fit(validation_data=(X, Y)), r"^fit: got an unexpected .*; give valid=xpconv.data.batches\(x, y, 500\); it takes \(model, .*valid=None, \*, epochs=1"),
    "batch_size": (lambda: fit(batch_size=5), "'batch_size'; it is an argument of xpconv.data.batches"),
    "accumulation_steps": (lambda: fit(accumulation_steps=2), "'accumulation_steps'; give accumulate="),
    "lr": (lambda: fit(lr=0.1), "'lr'; it is an argument of the optimizer"),
    "scheduler": (lambda: fit(scheduler=None), "give schedule="),
    "patience": (lambda: fit(patience=3), "EarlyStopping"),
    "no optimizer": (lambda: train.fit(net(), xpconv.MSELoss(), batches(X, Y, 5)), "^fit: missing 1 required .*'train'; it takes"),
    "arrays to evaluate": (lambda: train.evaluate(net(), xpconv.MSELoss(), X, Y), r"^evaluate: too many arguments by position; .*tuple: .*; it takes \(model, loss, data, \*"),
    "no loss": (lambda: train.evaluate(net(), batches(X, Y, 5)), "^evaluate: missing .*'data'; it takes"),
    "verbose": (lambda: train.predict(net(), X, verbose=0), "^predict: .*'verbose'; leave it out"),
    "restore_best_weights": (lambda: train.EarlyStopping(restore_best_weights=True), "^EarlyStopping: .*; give restore_best=; it takes"),
    "save_best_only": (lambda: train.Checkpoint("x", save_best_only=True), "^Checkpoint: .*; give best= with the name of a value; it takes .folder, "),
    "no path": (lambda: train.CSVLogger(), "^CSVLogger: missing 1 required .*it takes .path"),
    "append": (lambda: train.JSONLogger("x", append=True), "^JSONLogger: .*; leave it out: a resumed run appends to the file"),
    "log_dir": (lambda: train.TensorBoard(log_dir="x"), "^TensorBoard: .*; give folder="),
    "every": (lambda: train.TerminateOnNaN(steps=3), "^TerminateOnNaN: .*'steps'; it takes"),
    "top": (lambda: train.TopKAccuracy(n=3), "^TopKAccuracy: .*'n'; it takes"),
    "mae": (lambda: train.MeanAbsoluteError(axis=3), "^MeanAbsoluteError: .*'axis'; it takes"),
    "num_iter": (lambda: train.find_lr(net(), None, None, None, num_iter=3), "^find_lr: .*give steps="),
}  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
def test_arguments_of_other_libraries(name):
    call, said = CALLS[name]
    with pytest.raises(TypeError, match=said):
        call()


def test_an_error_inside_is_its_own():
    """Also one of a call with wrong arguments."""

    class Wrong:
        def on_fit_begin(self):
            """Takes no run."""

    with pytest.raises(TypeError, match=r"Wrong.on_fit_begin"):
        fit(callbacks=[Wrong()])


ATTRIBUTES = {
    "model": (net, {"fit": "xpconv.train.fit", "compile": "xpconv.train.fit", "evaluate": "xpconv.train.evaluate", "predict": "xpconv.train.predict", "save": "xpconv.save_model", "layers": "children", "add": "append", "count_params": "summary", "step": "optimizer.step", "cuda": "to\\('cupy'\\)"}),
    "optimizer": (lambda: xpconv.Adam(net().parameters()), {"minimize": "model.backward", "state": "state_dict", "parameters": "param_groups", "clip_grad_norm": "clip_grad_norm_"}),
    "loss": (xpconv.MSELoss, {"to": "leave it out", "cuda": "leave it out", "parameters": "no parameters", "item": "a number", "step": "optimizer.step"}),
    "xpconv": (lambda: xpconv, {"fit": "xpconv.train.fit", "EarlyStopping": "xpconv.train", "lr_scheduler": "xpconv.StepLR", "relu": "xpconv.ReLU", "Model": "Sequential"}),
    "data": (lambda: xpconv.data, {"DataLoader": "batches", "TensorDataset": "batches", "random_split": "train_test_split", "MNIST": "load_mnist", "ImageFolder": "image_folder"}),
    "history": (train.History, {"history": "to_dict", "to_csv": "CSVLogger", "keys": "columns", "to_frame": "DataFrame"}),
    "train": (lambda: train, {"ModelCheckpoint": "Checkpoint", "Trainer": "fit", "Callback": "on_epoch_end", "TensorBoardLogger": "TensorBoard", "lr_find": "find_lr"}),
}  # fmt: skip


@pytest.mark.parametrize("kind", ATTRIBUTES)
def test_attributes_of_other_libraries(kind):
    make, hints = ATTRIBUTES[kind]
    thing = make()
    for name, said in hints.items():
        with pytest.raises(AttributeError, match=f"attribute '{name}'; .*{said}"):
            getattr(thing, name)
    with pytest.raises(AttributeError, match=r"attribute 'nonsense'$"):
        _ = thing.nonsense


def test_a_loss_is_copied_as_before():
    loss = copy.deepcopy(xpconv.HuberLoss(delta=0.5))
    assert (loss.delta, hasattr(loss, "parameters")) == (0.5, False)


class Sums(train.Metric):
    """A metric with these sums and this value."""

    def __init__(self, sums=(1.0, 2), value=1.0):
        super().__init__("own")
        self.result, self.found = sums, value

    def sums(self, output, target):
        return self.result

    def value(self, *sums):
        return self.found


class Nameless(train.Metric):
    def __init__(self):
        pass


class Large(Sums):
    mode = "large"


class RaisesShapeError:
    __name__ = "raises"

    def __call__(self, output, target):
        raise xpconv.errors.ShapeError("its own")


class Tensor:
    shape, dtype = (), "float32"

    def __repr__(self):
        return "a tensor"


def of(*results):
    return lambda output, target: results[0]


METRICS = {
    "text": (of("x"), "metric lambda returned 'x', expected a mean, or an array with a number for each of the 5"),
    "none": (of(None), "metric lambda returned None"),
    "list": (of([1, 2, 3, 4, 5]), r"metric lambda returned \[1, 2"),
    "dict": (of({"a": 1}), r"metric lambda returned \{'a'"),
    "complex": (of(1j), "returned 1j"),
    "complex scalar": (of(np.complex64(1j)), r"returned np.complex64\(1j\)"),
    "texts": (of(np.array(["a"] * 5)), "returned array"),
    "objects": (of(np.array([None] * 5)), r"returned array\(\[None"),
    "another library's": (of(Tensor()), "metric lambda returned a tensor"),
    "another length": (of(np.zeros(7)), "returned array"),
    "nothing for each": (of(np.zeros((5, 0))), "returned array"),
    "one argument": (lambda output: 1.0, "metric lambda: .*takes 1 positional argument.*; it is called with output and targets: float32 .5, 3., int64 .5,"),
    "raises": (lambda output, target: output @ target, "metric lambda: matmul.*; it is called with output and targets"),
    "numpy": (np.mean, "metric mean: .*; it is called with"),
    "its own": (RaisesShapeError(), "^its own"),
    "sums of text": (Sums("ab"), r"metric own: sums\(\) returned 'ab'"),
    "sums of texts": (Sums(("a", "b")), r"metric own: sums\(\) returned \('a'"),
    "sums of None": (Sums((None, 1)), r"metric own: sums\(\) returned \(None"),
    "complex sums": (Sums((1j, 1)), r"metric own: sums\(\) returned \(1j"),
    "value of text": (Sums(value="x"), r"metric own: value\(\) returned 'x', expected a number, or a dict"),
    "value of None": (Sums(value=None), r"value\(\) returned None"),
    "value of an array": (Sums(value=np.zeros(3)), r"value\(\) returned array"),
    "values of None": (Sums(value={"own_a": None}), r"value\(\) returned None"),
    "no name": (Nameless(), r"evaluate: Nameless.__init__ does not call super\(\).__init__\(name\)"),
    "mode": (Large(), "metric own has mode 'large', expected 'min', 'max' or None"),
}  # fmt: skip


@pytest.mark.parametrize("name", METRICS)
def test_metrics_that_return_nonsense(name):
    metric, said = METRICS[name]
    with pytest.raises((TypeError, ValueError), match=said):
        evaluate(metrics=[metric])


def test_the_device_says_the_same_of_them(backend):
    model, loss = net(), xpconv.SoftmaxCrossEntropyLoss()
    for metric, said in (
        (of("x"), "returned 'x'"),
        (Sums((None, 1)), "returned"),
        (lambda output, target: output * 1j, "returned"),
    ):
        with pytest.raises(ValueError, match=said):
            train.evaluate(model, loss, batches(xpconv.asarray(X), xpconv.asarray(Y), 5), metrics=[metric])
    means = [lambda output, target: output.mean(axis=1), of(1), of(np.float32(2))]
    for metric, value in zip(means, (None, 1.0, 2.0), strict=True):
        found = train.evaluate(
            model, loss, batches(xpconv.asarray(X), xpconv.asarray(Y), 7), metrics=[metric]
        )["lambda"]
        np.testing.assert_allclose(
            found, value if value is not None else xpconv.asnumpy(train.predict(model, X)).mean(), rtol=1e-5
        )


def test_functions_of_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    for function in (metrics.accuracy_score, metrics.r2_score):
        with pytest.raises(
            TypeError,
            match=f"^evaluate: metrics has scikit-learn's {function.__name__}, which takes the target first.*predict",
        ):
            evaluate(metrics=[function])


def test_losses_that_return_nonsense():
    class Returns:
        def __init__(self, value):
            self.value = value

        def __call__(self, output, target):
            return self.value

        def backward(self, factor=1.0):
            return np.ones((5, 3), "float32")

    for value in (None, "a", 1j, [1.0], np.array(1j)):
        with pytest.raises(TypeError, match=r"^fit: the loss returned .*, expected a number"):
            fit(loss=Returns(value))


class Two(xpconv.Layer):
    def forward(self, a, b):
        return self.keep(a + b)

    def backward(self, grad_output, input_grad=True):
        self.recall(grad_output)
        return grad_output, grad_output


def test_a_number_of_inputs_that_the_model_does_not_take(backend):
    x, y = xpconv.asarray(X), xpconv.asarray(Y)
    for call, said in (
        (lambda: train.predict(net(), (x, y)), r"^predict: data is a tuple of 2 arrays \(the inputs alone, without targets\), so the model gets 2 inputs, but Sequential.forward takes \(x\)$"),
        (lambda: train.predict(net(), batches(x, y, 5), inputs=2), "^predict: inputs is 2, so .* takes .x.$"),
        (lambda: train.predict(Two(), x), r"^predict: data is an array, so the model gets 1 input, but Two.forward takes \(a, b\)"),
        (lambda: train.predict(Two(), batches(x, 5)), "^predict: inputs is 1, so the model gets 1 input, but Two"),
        (lambda: train.predict(Two(), x, inputs=2), "^predict: inputs is 2, but data is an array; give a tuple of 2 arrays"),
        (lambda: evaluate([(x, y)], inputs=2), "^evaluate: inputs is 2, so the model gets 2 inputs, but Sequential"),
        (lambda: fit([(x, x, y)], inputs=2), "^fit: inputs is 2, so the model gets 2 inputs, but Sequential"),
        (lambda: train.evaluate(Two(), None, [(x, y)], metrics="mae"), "^evaluate: inputs is 1, so the model gets 1 input, but Two"),
    ):  # fmt: skip
        with pytest.raises((TypeError, ValueError), match=said):
            call()
    assert train.predict(Two(), (x, x)).shape == (20, 5)
    assert train.evaluate(Two(), None, [(x, x, x)], metrics="mae", inputs=2)["mae"] > 0


def test_predict_on_a_list_of_samples(backend):
    x = xpconv.asarray(X)
    with pytest.raises(
        ValueError, match=r"output of shape \(3,\) for a batch of shape \(5,\), .* is it one sample"
    ):
        train.predict(net(), list(x))
    assert train.predict(net(), [x[:7], x[7:]]).shape == (20, 3)
    flat = xpconv.Sequential(xpconv.Flatten(0))
    assert train.predict(flat, [x[:1].reshape(5, 1), x[:2].reshape(10, 1)]).shape == (15,)


def test_methods_of_callbacks_that_are_never_called():
    for name in ("on_train_begin", "on_epoch_ended", "on_train_batch_end"):
        callback = type("Own", (), {name: lambda self, run: None, "on_fit_end": lambda self, run: None})()
        with pytest.raises(
            TypeError,
            match=f"fit: callbacks has .* with {name}, which fit does not call, expected .*on_fit_begin",
        ):
            fit(callbacks=[callback])


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: xpconv.Dense(10, activation="relu"), "^Dense: .*'activation'; .*xpconv.ReLU"),
        (lambda: xpconv.Dense(units=10), "^Dense: .*'units'; give in_features"),
        (lambda: xpconv.Conv2d(filters=8), "^Conv2d: .*'filters'; give in_channels"),
        (lambda: xpconv.Conv2d(3, 8, 3, strides=2), "^Conv2d: .*'strides'; give stride="),
        (lambda: xpconv.MaxPool2d(pool_size=2), "^MaxPool2d: .*give kernel_size="),
        (lambda: xpconv.Dropout(rate=0.5), "^Dropout: .*give p="),
        (lambda: xpconv.BatchNorm2d(3, epsilon=1e-3), "^BatchNorm2d: .*give eps="),
        (lambda: xpconv.ReLU(nonsense=1), r"^ReLU: got an unexpected keyword argument 'nonsense'; it takes"),
    ],
)
def test_arguments_of_layers_of_keras(make, text):
    with pytest.raises(TypeError, match=text):
        make()


@pytest.mark.parametrize("kind", ["SGD", "Adam"])
def test_closures(kind):
    optimizer = getattr(xpconv, kind)(net().parameters(), lr=0.1)
    with pytest.raises(TypeError, match=rf"^{kind}\.step: closures are not supported; .*optimizer.step\(\)"):
        optimizer.step(lambda: 1.0)


def test_a_history_is_copied_as_before():
    history = train.History()
    history.append({"epoch": 1, "loss": 0.5})
    assert copy.deepcopy(history).to_dict() == history.to_dict()


def test_the_names_of_values_of_validation():
    named = "monitor is 'val_loss', expected one of loss"
    with pytest.raises(
        ValueError, match=f"{named}; values of validation begin with valid_, and are there if fit has"
    ):
        fit(callbacks=[train.EarlyStopping("val_loss")])
    with pytest.raises(ValueError, match=f"{named}, valid_loss; did you mean 'valid_loss'"):
        fit(valid=batches(X, Y, 5), callbacks=[train.EarlyStopping("val_loss")])
    model = net()
    optimizer = xpconv.SGD(model.parameters(), lr=0.1)
    options = dict(schedule=xpconv.ReduceLROnPlateau(optimizer), monitor="val_loss")
    with pytest.raises(ValueError, match=f"{named}; values of validation"):
        train.fit(model, xpconv.SoftmaxCrossEntropyLoss(), optimizer, batches(X, Y, 5), **options)


@pytest.mark.parametrize(
    ("total", "accumulate", "warns"), [(8, 2, True), (4, 2, False), (12, 2, False), (8, 1, False)]
)
def test_a_one_cycle_that_counts_batches_where_two_make_a_step(total, accumulate, warns):
    """20 samples in batches of 5, two epochs: 8 batches, 4 steps. A longer one may go on in another call."""
    model = net()
    optimizer = xpconv.SGD(model.parameters(), lr=0.1)
    schedule = xpconv.OneCycleLR(optimizer, 0.1, total_steps=total)
    message = r"^fit: OneCycleLR has total_steps=8, the number of batches, .* there are 4 steps, .*; give total_steps=4, or"
    with pytest.warns(RuntimeWarning, match=message) if warns else nullcontext():
        train.fit(
            model, xpconv.SoftmaxCrossEntropyLoss(), optimizer, batches(X, Y, 5), epochs=2, accumulate=accumulate,
            schedule=schedule,
        )  # fmt: skip
    assert schedule.last_epoch == 8 // accumulate
