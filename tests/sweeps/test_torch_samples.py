"""Every sample that PyTorch's tests have for a layer or loss of ours: taken, with its values and gradients."""

import inspect
import warnings

import numpy as np
import pytest
import torch_samples
from oracle import nn, torch
from torch_samples import arrays, close, copies, error_samples, samples

import xpconv

LOSSES = sorted(name for name in xpconv.losses.__all__ if hasattr(nn, name))
GRADED = {"CosineEmbeddingLoss": 2, "MarginRankingLoss": 2, "TripletMarginLoss": 3}  # inputs with gradients


def graded(name, inputs):
    """The inputs for which our loss has gradients."""
    if name == "GaussianNLLLoss":
        return [inputs[0], inputs[2]]
    return list(inputs[: GRADED.get(name, 1)])


def behind_softmax(grad, log_p):
    return grad - log_p.detach().exp() * grad.sum(-1, keepdim=True)


@pytest.mark.slow
def test_every_loss_has_samples():
    assert {name for name in LOSSES if samples(name)} == set(LOSSES)
    assert set(LOSSES) <= set(torch_samples.names())


@pytest.mark.sample(2)
@pytest.mark.parametrize("name", LOSSES)
def test_samples_of_losses(name, backend):
    for sample in samples(name):
        what = f"{name}, {sample.description}"
        args, kwargs = sample.constructor
        criterion = getattr(xpconv, name)(*arrays(args), **arrays(kwargs))
        inputs = copies(sample.forward[0])
        tensors = [tensor.requires_grad_() for tensor in graded(name, inputs)]
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")  # logarithms of negative numbers; KLDivLoss's 'mean'
            expected = getattr(nn, name)(*args, **kwargs)(*inputs)
            loss = criterion(*arrays(sample.forward[0]))
            close(loss, expected, what)
            g = torch.randn(expected.shape, dtype=expected.dtype, generator=torch.Generator().manual_seed(0))
            expected.backward(g)
            grads = criterion.backward(arrays(g))
        grads = grads if isinstance(grads, tuple) else (grads,)
        assert len(grads) == len(tensors), what
        for ours, tensor in zip(grads, tensors, strict=True):
            theirs = tensor.grad
            if name == "CTCLoss":  # PyTorch's holds that of the softmax before: compare both behind it
                ours, theirs = (
                    behind_softmax(g, tensor) for g in (torch.from_numpy(xpconv.asnumpy(ours)), theirs)
                )
            close(ours, theirs, f"gradient of {what}")


# What PyTorch refuses and we take, on purpose: integer rows that are one-hot, all zeros among what is not.
TAKEN = ("Expected floating point type for target with class probabilities",)


def test_what_pytorch_wants_refused(backend):
    """Only library errors, naming the loss; on a device, whose values are not looked at, NaN does as well."""
    count = 0
    for name in LOSSES:
        for sample, pattern in error_samples(name):
            args, kwargs = sample.constructor
            inputs = arrays(sample.forward[0])
            if pattern in TAKEN and backend != "numpy":
                assert np.isnan(float(getattr(xpconv, name)(*arrays(args), **arrays(kwargs))(*inputs)))
                continue
            with pytest.raises((TypeError, ValueError), match=r"^\w*(Loss|Entropy\w*): "):
                getattr(xpconv, name)(*arrays(args), **arrays(kwargs))(*inputs)
            count += 1
    assert count > 5


WITHOUT = {  # PyTorch's tests have none of these
    *(
        "AlphaDropout",
        "ChannelShuffle",
        "Dropout",
        "Dropout1d",
        "Dropout2d",
        "Dropout3d",
        "Identity",
        "MaxUnpool1d",
    ),
    *("MaxUnpool2d", "MaxUnpool3d", "Parameter", "Sequential", "Upsample", "UpsamplingBilinear2d"),
    *("UpsamplingNearest2d", "ModuleList", "ModuleDict", "LazyLinear"),
    *("LazyBatchNorm1d", "LazyBatchNorm2d", "LazyBatchNorm3d"),
}
LAYERS = [n for n in xpconv.layers.__all__ if isinstance(getattr(nn, n, None), type) and n not in WITHOUT]


def test_there_are_samples_of_layers():
    found = {name: len(samples(name)) for name in LAYERS}
    assert sum(found.values()) > 400
    assert min(found.values()) > 0


@pytest.mark.sample(4)
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", LAYERS)
def test_samples_of_layers(name, training, backend):
    for sample in samples(name, training=training):
        inputs = [*sample.forward[0], *sample.forward[1].values()]
        if not any(
            isinstance(x, torch.Tensor) and x.is_complex() for x in inputs
        ):  # layers take real numbers
            check_layer(sample, training)


def check_layer(sample, training):
    (made_args, made_kwargs), name = sample.constructor, sample.name
    what = f"{name}, {sample.constructor}, {sample.description}"
    args, kwargs = copies(sample.forward)
    inputs = [x for x in [*args, *kwargs.values()] if isinstance(x, torch.Tensor)]
    tensors = [x.requires_grad_() for x in inputs if x.is_floating_point()]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # odd paddings
        theirs = getattr(nn, name)(*made_args, **made_kwargs).train(training).double()
        expected = theirs(*args, **kwargs)
    cls = getattr(xpconv, name)
    double = {"dtype": "float64"} if "dtype" in inspect.signature(cls.__init__).parameters else {}
    layer = cls(*arrays(made_args), **arrays(made_kwargs), **double)
    if theirs.state_dict():
        layer.load_state_dict(theirs.state_dict())
    layer.train(training)
    with np.errstate(invalid="ignore"):  # odd roots of negative numbers: NaN, as PyTorch's
        y = layer(*arrays(args), **arrays(kwargs))
        for ours, other in zip(*(v if isinstance(v, tuple) else (v,) for v in (y, expected)), strict=True):
            close(ours, other, what)
        if isinstance(y, tuple):  # with indices
            return
        g = torch.randn(expected.shape, dtype=expected.dtype, generator=torch.Generator().manual_seed(0))
        expected.backward(g)
        grads = layer.backward(arrays(g))
    grads = grads if isinstance(grads, tuple) else (grads,)
    tolerance = 1e-7 if name == "Hardsigmoid" else 1e-10  # PyTorch's 1/6 has float32's digits
    for ours, tensor in zip([dx for dx in grads if dx is not None], tensors, strict=True):
        close(ours, tensor.grad, f"gradient of {what}", tolerance)
    for (key, ours), (_, other) in zip(layer.named_parameters(), theirs.named_parameters(), strict=True):
        close(ours.grad, other.grad.to_dense(), f"gradient of {key} of {what}", tolerance)
