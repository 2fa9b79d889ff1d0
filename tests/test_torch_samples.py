"""Every sample that PyTorch's tests draw for a loss of ours: taken, with its value and gradients."""

import warnings

import numpy as np
import pytest
import torch_samples
from oracle import nn, torch
from torch_samples import arrays, close, copies, samples

import xpconv

LOSSES = sorted(name for name in xpconv.losses.__all__ if hasattr(nn, name))
GRADED = {"CosineEmbeddingLoss": 2, "MarginRankingLoss": 2, "TripletMarginLoss": 3}  # inputs with gradients


def graded(name, inputs):
    """The inputs for which our loss has gradients."""
    if name == "GaussianNLLLoss":
        return [inputs[0], inputs[2]]
    return list(inputs[: GRADED.get(name, 1)])


def test_every_loss_has_samples():
    assert {name for name in LOSSES if samples(name)} == set(LOSSES)
    assert set(LOSSES) <= set(torch_samples.names())


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
            close(ours, tensor.grad, f"gradient of {what}")
