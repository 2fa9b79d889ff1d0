"""Freezing compared with PyTorch: random patterns over small models, and training with them."""

import numpy as np
import pytest
from oracle import assert_same, nn, numpy_state, torch, weights

import xpconv


class Residual(nn.Module):
    """xpconv's, with its names."""

    def __init__(self, *body, shortcut=None):
        super().__init__()
        self.body = nn.Sequential(*body)
        self.shortcut = shortcut

    def forward(self, x):
        return self.body(x) + (x if self.shortcut is None else self.shortcut(x))


class Concat(nn.Sequential):
    def forward(self, x):
        return torch.cat([branch(x) for branch in self], dim=1)


class Parallel(nn.Sequential):
    def forward(self, x):
        return sum(branch(x) for branch in self)


THEIRS = {"Residual": Residual, "Concat": Concat, "Parallel": Parallel}


def drawn(rng, depth=0):
    """A random model of images with 4 channels in and out, as a function of the library."""
    kinds = ["conv", "depthwise", "up", "batch", "group", "instance", "prelu", "relu", "tanh", "pool", "norm"]
    kinds += ["residual", "concat", "parallel", "chain"] * (depth < 2)
    kind = rng.choice(kinds)
    inside = [drawn(rng, depth + 1) for _ in range(rng.integers(1, 4) if depth < 2 else 0)]
    flag = bool(rng.integers(2))

    def make(lib):
        def of(name):
            return THEIRS[name] if lib is nn and name in THEIRS else getattr(lib, name)

        def chain():
            return of("Sequential")(*(part(lib) for part in inside))

        def conv(channels=4):
            return lib.Conv2d(channels, 4, 3, padding=1, bias=flag)

        return {
            "conv": conv,
            "depthwise": lambda: lib.Conv2d(4, 4, 3, padding=1, groups=4, padding_mode="reflect", bias=flag),
            "up": lambda: lib.ConvTranspose2d(4, 4, 3, padding=1, bias=flag),
            "batch": lambda: lib.BatchNorm2d(4),
            "group": lambda: lib.GroupNorm(2, 4),
            "instance": lambda: lib.InstanceNorm2d(4, affine=flag),
            "prelu": lambda: lib.PReLU(4 if flag else 1),
            "relu": lambda: of("Sequential")(conv(), lib.BatchNorm2d(4), lib.ReLU()),
            "tanh": lambda: lib.Tanh(),
            "pool": lambda: lib.MaxPool2d(3, 1, 1),
            "norm": lambda: lib.LayerNorm(6, elementwise_affine=flag),
            "residual": lambda: of("Residual")(
                *(part(lib) for part in inside), shortcut=conv() if flag else None
            ),
            "concat": lambda: of("Sequential")(of("Concat")(chain(), lib.Identity()), conv(8)),
            "parallel": lambda: of("Parallel")(chain(), conv()),
            "chain": chain,
        }[kind]()

    return make


def pair(seed, training=True):
    """The same model of both libraries, with the same float64 values, some of it frozen."""
    rng = np.random.default_rng(seed)
    parts = [drawn(rng) for _ in range(4)]
    theirs = nn.Sequential(*(part(nn) for part in parts)).double().train(training)
    ours = xpconv.Sequential(*(part(xpconv) for part in parts)).to(dtype="float64").train(training)
    for name, parameter in theirs.named_parameters():
        parameter.data = torch.from_numpy(weights(rng, name, tuple(parameter.shape)))
    ours.load_state_dict(numpy_state(theirs))
    return ours, theirs, rng


def freeze(ours, theirs, rng):
    """Single parameters, whole parts, a prefix, or all."""
    names = [name for name, _ in ours.named_parameters()]
    how = rng.integers(5)
    chosen = {
        0: [name for name in names if rng.integers(2)],
        1: [name for name in names if name.startswith(tuple("01"))],
        2: [name for name in names if not name.startswith("3")],
        3: names,
        4: [name for name in names if name.startswith(str(rng.integers(4)))],
    }[int(how)]
    for model in (ours, theirs):
        for name, parameter in model.named_parameters():
            parameter.requires_grad = name not in chosen


@pytest.mark.sample(4)
@pytest.mark.parametrize("seed", range(60))
def test_gradients_where_they_exist_and_none_elsewhere(seed):
    ours, theirs, rng = pair(seed, training=bool(seed % 3))
    x = rng.normal(size=(3, 4, 6, 6))
    for _ in range(2):  # the second with another pattern, on the gradients of the first
        freeze(ours, theirs, rng)
        input_grad = bool(rng.integers(2))
        there = torch.from_numpy(x).requires_grad_(input_grad)
        expected = theirs(there)
        y = ours(x)
        assert_same(y, expected, "output")
        g = rng.normal(size=y.shape)
        if expected.requires_grad:
            expected.backward(torch.from_numpy(g))
        dx = ours.backward(g, input_grad=input_grad)
        assert (dx is None) == (not input_grad)
        if input_grad:
            assert_same(dx, there.grad, "input gradient")
        for (name, mine), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
            assert (mine.grad is None) == (other.grad is None), name
            if mine.grad is not None:
                np.testing.assert_allclose(mine.grad, other.grad.numpy(), rtol=1e-8, atol=1e-8, err_msg=name)
        assert not any(layer._finished() for _, layer in ours.named_layers())


@pytest.mark.sample(3)
@pytest.mark.parametrize("clip", [False, True])
@pytest.mark.parametrize(
    "make",
    [
        lambda lib, params: lib.SGD(params, lr=0.1, momentum=0.9, weight_decay=0.1),
        lambda lib, params: lib.AdamW(params, lr=0.05, weight_decay=0.1),
        lambda lib, params: lib.RMSprop(params, lr=0.01, weight_decay=0.1),
    ],
    ids=["SGD", "AdamW", "RMSprop"],
)
def test_training_that_freezes_and_thaws(make, clip):
    """An optimizer made before; what is frozen stays where it is, weight decay and momentum included."""
    ours, theirs, rng = pair(4)
    optimizer, other = make(xpconv, ours.parameters()), make(torch.optim, theirs.parameters())
    for step in range(8):
        if step % 2:
            freeze(ours, theirs, rng)
        for parameter in ours.parameters()[-2:]:
            parameter.requires_grad = True
        for parameter in list(theirs.parameters())[-2:]:
            parameter.requires_grad = True
        x = rng.normal(size=(3, 4, 6, 6))
        optimizer.zero_grad()
        other.zero_grad()
        y, expected = ours(x), theirs(torch.from_numpy(x))
        expected.square().mean().backward()
        ours.backward(2 * y / y.size, input_grad=False)
        if clip:
            norm = xpconv.clip_grad_norm_(ours.parameters(), 0.1)
            assert_same(np.asarray(norm), torch.nn.utils.clip_grad_norm_(theirs.parameters(), 0.1), "norm")
        optimizer.step()
        other.step()
        for (name, mine), parameter in zip(ours.named_parameters(), theirs.parameters(), strict=True):
            got, wanted = mine.data, parameter.detach().numpy()
            np.testing.assert_allclose(got, wanted, rtol=1e-7, atol=1e-9, err_msg=f"{step}: {name}")
