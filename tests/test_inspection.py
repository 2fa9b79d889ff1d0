"""Feature maps, Grad-CAM, saliency, norms of gradients and confusion: by value, against PyTorch's autograd and by hand."""

import numpy as np
import pytest

import xpconv
from xpconv import (
    AdaptiveAvgPool2d,
    BatchNorm2d,
    Conv2d,
    Dense,
    Flatten,
    MaxPool2d,
    ReLU,
    Residual,
    Sequential,
)
from xpconv.errors import DTypeError, ShapeError
from xpconv.inspection import confusion_matrix, feature_maps, grad_cam, gradient_norms, saliency
from xpconv.layers.settings import latest_change

RNG = np.random.default_rng(5)
X = RNG.normal(size=(4, 3, 10, 8))


def net(dtype="float64"):
    with xpconv.use_backend("numpy"):
        return _net(dtype)


def _net(dtype):
    model = Sequential(
        {
            "conv1": Conv2d(3, 6, 3, padding=1, rng=0), "relu1": ReLU(), "pool1": MaxPool2d(2),
            "block": Residual(Conv2d(6, 6, 3, padding=1, rng=1), BatchNorm2d(6)), "relu2": ReLU(),
            "conv2": Conv2d(6, 5, 3, rng=2), "relu3": ReLU(), "pool": AdaptiveAvgPool2d(1), "flatten": Flatten(),
            "fc": Dense(5, 4, rng=3),
        }
    ).to(dtype=dtype)  # fmt: skip
    model.block.body[1].running_mean[...] = RNG.normal(size=6)
    model.block.body[1].running_var[...] = RNG.uniform(0.5, 2, size=6)
    return model


def torch_net(model):
    torch = pytest.importorskip("torch")
    nn = torch.nn

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Sequential(nn.Conv2d(6, 6, 3, padding=1), nn.BatchNorm2d(6))

        def forward(self, x):
            return self.body(x) + x

    from collections import OrderedDict

    theirs = nn.Sequential(OrderedDict(
        conv1=nn.Conv2d(3, 6, 3, padding=1), relu1=nn.ReLU(), pool1=nn.MaxPool2d(2), block=Block(), relu2=nn.ReLU(),
        conv2=nn.Conv2d(6, 5, 3), relu3=nn.ReLU(), pool=nn.AdaptiveAvgPool2d(1), flatten=nn.Flatten(), fc=nn.Linear(5, 4),
    )).double()  # fmt: skip
    theirs.load_state_dict({k: torch.as_tensor(xpconv.asnumpy(v)) for k, v in model.state_dict().items()})
    return torch, theirs.eval()


LAYERS = ["conv1", "relu1", "pool1", "block", "block.body.0", "relu2", "conv2", "relu3", "pool"]


@pytest.mark.parametrize("target", [None, 2, [3, 0, 1, 2]])
@pytest.mark.parametrize("name", LAYERS)
def test_grad_cam_is_that_of_autograd(name, target):
    """`ReLU(Σ_k mean(∂y_c/∂A_k) · A_k)`, where fusion would hide the layer's output, too."""
    model = net()
    torch, theirs = torch_net(model)
    kept = []
    dict(theirs.named_modules())[name].register_forward_hook(lambda module, inputs, y: kept.append(y))
    y = theirs(torch.tensor(X))
    chosen = y.argmax(1) if target is None else torch.tensor(target).expand(4)
    (gradient,) = torch.autograd.grad(y[torch.arange(4), chosen].sum(), kept[0])
    expected = (gradient.mean((2, 3), keepdim=True) * kept[0]).sum(1).clamp(min=0)
    found = grad_cam(model, X, name, target)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected.detach().numpy(), rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("target", [None, 1, np.array([3, 0, 1, 2])])
def test_saliency_is_that_of_autograd(target):
    model = net()
    torch, theirs = torch_net(model)
    x = torch.tensor(X, requires_grad=True)
    y = theirs(x)
    chosen = y.argmax(1) if target is None else torch.as_tensor(target).expand(4)
    y[torch.arange(4), chosen].sum().backward()
    np.testing.assert_allclose(
        saliency(model, X, target), x.grad.abs().amax(1).numpy(), rtol=1e-10, atol=1e-15
    )


def test_on_every_backend(backend):
    """The arrays stay on the device, and are those of NumPy."""
    ours, host = net().to(backend), net()
    ours.load_state_dict({k: xpconv.asnumpy(v) for k, v in host.state_dict().items()})
    x = xpconv.asarray(X, backend=backend)
    for call in (
        lambda m, x: grad_cam(m, x, "relu2", 1), lambda m, x: saliency(m, x, [0, 1, 2, 3]),
        lambda m, x: feature_maps(m, x, "conv2"), lambda m, x: grad_cam(m, x, "conv1"),
    ):  # fmt: skip
        found = call(ours, x)
        assert type(found) is type(x)
        np.testing.assert_allclose(xpconv.asnumpy(found), call(host, X), rtol=1e-9, atol=1e-12)
    labels = xpconv.asarray(np.array([0, 1, 2, 3]), backend=backend)
    np.testing.assert_array_equal(
        xpconv.asnumpy(saliency(ours, x, labels)), xpconv.asnumpy(saliency(ours, x, [0, 1, 2, 3]))
    )
    assert type(confusion_matrix(labels, ours(x))) is np.ndarray


@pytest.mark.parametrize("name", [*LAYERS, "flatten", "fc", ""])
def test_feature_maps_are_the_layers_own_output(name):
    model = net().eval()
    seen = []
    part = dict(model.named_layers())[name]
    with part.register_forward_hook(lambda layer, inputs, y: seen.append(y)), xpconv.no_grad():
        model(X)
    for layer in (name, part):
        np.testing.assert_allclose(feature_maps(model, X, layer), seen[0], rtol=1e-12)


def test_the_model_is_neither_used_nor_changed():
    model = net()
    y = model(X)
    model.backward(np.ones_like(y))
    y = model(X)
    before = model.state_dict(), [p.grad.copy() for p in model.parameters()], latest_change()
    model.conv1.register_forward_hook(lambda layer, inputs, y: y * 0)
    before = *before[:2], latest_change()
    grad_cam(model, X, "relu2")
    saliency(model, X)
    feature_maps(model, X, "relu2")
    assert latest_change() == before[2]  # which would make the plans of all models void
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[0][name])
    for p, grad in zip(model.parameters(), before[1], strict=True):
        np.testing.assert_array_equal(p.grad, grad)
        assert p.requires_grad
    assert all(layer.training for layer in model.modules())
    assert len(model._finished()) == 1
    assert feature_maps(model, X, "conv1").any()


def test_frozen_and_fused_models_and_those_without_parameters():
    model = net().eval()
    expected = grad_cam(model, X, "relu2", 1), saliency(model, X, 1)
    model.requires_grad_(False)
    np.testing.assert_array_equal(grad_cam(model, X, "relu2", 1), expected[0])
    fused = model.fuse()
    np.testing.assert_allclose(grad_cam(fused, X, "relu2", 1), expected[0], rtol=1e-8)
    np.testing.assert_allclose(saliency(fused, X, 1), expected[1], rtol=1e-8)
    plain = Sequential(xpconv.Softmax(1))
    assert saliency(plain, X[:, :, 0, 0], 0).shape == (4, 3)
    with xpconv.no_grad():
        np.testing.assert_array_equal(grad_cam(model, X, "relu2", 1), expected[0])


def test_scores_of_pixels_and_signals():
    pixels = Sequential(Conv2d(3, 4, 3, padding=1, rng=0), ReLU(), Conv2d(4, 2, 1, rng=1)).to(dtype="float64")
    sums = grad_cam(pixels, X, "1", 1)
    assert sums.shape == (4, 10, 8)
    weights = pixels[2].weight.data[1, :, 0, 0]
    maps = feature_maps(pixels, X, "1")
    np.testing.assert_allclose(sums, np.maximum(np.einsum("k,nkij->nij", weights, maps), 0), atol=1e-12)
    assert grad_cam(pixels, X, "1").shape == (4, 10, 8)
    signals = Sequential(xpconv.Conv1d(2, 3, 3, rng=0), ReLU(), Flatten(), Dense(18, 2, rng=1))
    x = RNG.normal(size=(5, 2, 8)).astype("float32")
    assert grad_cam(signals, x, "1").shape == (5, 6)
    assert saliency(signals, x).shape == (5, 8)


def test_a_layer_that_runs_twice_counts_with_its_last_output():
    shared = Conv2d(3, 3, 3, padding=1, rng=0)
    model = Sequential(shared, ReLU(), shared, ReLU(), Flatten(), Dense(240, 2, rng=1)).to(dtype="float64")
    other = Sequential(
        *[Conv2d(3, 3, 3, padding=1, rng=0).to(dtype="float64") for _ in range(2)], model[4], model[5]
    )
    other.insert(1, ReLU())
    other.insert(3, ReLU())
    np.testing.assert_allclose(grad_cam(model, X, shared, 1), grad_cam(other, X, other[2], 1), rtol=1e-12)


def test_errors():
    model = net()
    for call in (
        lambda m: grad_cam(m, X, "conv1"),
        lambda m: saliency(m, X),
        lambda m: feature_maps(m, X, "conv1"),
    ):
        with pytest.raises(TypeError, match="model is 3, expected a Layer"):
            call(3)
    for bad, error, message in [
        ("relu9", ValueError, "there is no layer 'relu9' in the model; there are relu3, relu2, relu1"),
        (ReLU(), ValueError, r"layer ReLU\(\) is not in the model"), (3, TypeError, "expected a layer of the model, or its name"),
        ("fc", ShapeError, r"layer 'fc' gives shape \(4, 4\), expected maps"),
    ]:  # fmt: skip
        with pytest.raises(error, match=f"^grad_cam: .*{message}"):
            grad_cam(model, X, bad)
    for bad, error, message in [
        (4, ValueError, "target is 4, expected 0 to 3"), (-1, ValueError, "target is -1, expected at least 0"),
        ([0, 1], ShapeError, r"target has shape \(2,\), expected one class for each of 4"),
        ([0, 1, 2, 4], ValueError, "a target is 4, expected 0 to 3"), ("cat", TypeError, "target is 'cat'"),
        (np.eye(4), DTypeError, "target is float64, expected whole numbers"), (True, TypeError, "target is True"),
        (np.eye(4, dtype=int), ShapeError, "one class for each of 4"), (1.0, TypeError, r"target is 1\.0"),
    ]:  # fmt: skip
        for call in (lambda t: saliency(model, X, t), lambda t: grad_cam(model, X, "relu1", t)):
            with pytest.raises(error, match=message):
                call(bad)
    with pytest.raises(ShapeError, match="give one image as x\\[None\\]"):
        saliency(Sequential(Dense(4, 4)), np.ones(4, "float32"))
    with pytest.raises(DTypeError, match="x has no gradient, expected floating images"):
        saliency(Sequential(xpconv.Embedding(5, 4), Flatten(), Dense(8, 2)), np.array([[0, 1]]), 0)

    class Forgets(xpconv.Layer):
        def __init__(self):
            self.conv, self.never = Dense(3, 3), ReLU()

        def forward(self, x):
            return self.keep(self.conv(x))

        def backward(self, grad_output, input_grad=True):
            self.recall(grad_output, input_grad)
            return self.conv.backward(grad_output, input_grad=input_grad)

    with pytest.raises(ValueError, match="feature_maps: layer 'never' does not run"):
        feature_maps(Forgets(), np.ones((2, 3), "float32"), "never")
    with pytest.raises(ValueError, match="grad_cam: the scores do not depend on layer 'never'"):
        grad_cam(Forgets(), np.ones((2, 3), "float32"), "never")


def test_norms_of_gradients(backend):
    model = net("float32").to(backend)
    with pytest.raises(ValueError, match="no parameter has a gradient; call it after model"):
        gradient_norms(model)
    model.conv2.requires_grad_(False)
    y = model(xpconv.asarray(X.astype("float32"), backend=backend))
    model.backward(y)
    norms = gradient_norms(model)
    assert list(norms) == ["conv1", "block.body.0", "block.body.1", "fc"]
    for name, norm in norms.items():
        grads = [
            xpconv.asnumpy(p.grad).astype("float64") for p in dict(model.named_layers())[name].parameters()
        ]
        assert norm == pytest.approx(sum((g**2).sum() for g in grads) ** 0.5, rel=1e-12)
        assert type(norm) is float


def test_confusion():
    metrics = pytest.importorskip("sklearn.metrics")
    true, taken = RNG.integers(0, 5, 200), RNG.integers(0, 5, 200)
    expected = metrics.confusion_matrix(true, taken)
    scores = np.eye(5)[taken]
    for a, b in (
        (true, taken),
        (true.tolist(), taken.tolist()),
        (true.astype("uint8"), scores),
        (true, scores.tolist()),
    ):
        np.testing.assert_array_equal(confusion_matrix(a, b), expected)
    assert confusion_matrix(true, taken, 7).shape == (7, 7)
    assert confusion_matrix(true, taken, list("abcdef")).shape == (6, 6)
    assert confusion_matrix([], [], 2).tolist() == [[0, 0], [0, 0]]
    assert confusion_matrix([], []).shape == (0, 0)
    assert confusion_matrix([0], [[0.1, 0.2, 0.7]]).tolist() == [[0, 0, 1], [0, 0, 0], [0, 0, 0]]


@pytest.mark.parametrize(
    ("true", "taken", "classes", "error", "message"),
    [
        ([0, 1], [0], None, ShapeError, "y_true has 2 labels, y_pred 1"),
        ([0, 5], [0, 1], 3, ValueError, "y_true has the class 5, expected those of 3 classes"),
        ([0, -1], [0, 1], None, ValueError, "y_true has the class -1"),
        ([0.0, 1.0], [0, 1], None, DTypeError, "y_true is float64, expected whole numbers"),
        (np.eye(2), [0, 1], None, ShapeError, r"y_true has shape \(2, 2\)"),
        (["cat"], [0], None, TypeError, "y_true is"),
        (None, [0], None, TypeError, "y_true is None"),
        ([0], [0], "ab", TypeError, "classes is 'ab'"),
        ([0], [0], 0, ValueError, "classes is 0, expected at least 1"),
        (np.zeros((2, 2, 2), int), [0], None, ShapeError, "y_true has shape"),
    ],
)
def test_errors_of_confusion(true, taken, classes, error, message):
    with pytest.raises(error, match=f"^confusion_matrix: {message}"):
        confusion_matrix(true, taken, classes)
