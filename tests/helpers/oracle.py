"""PyTorch as oracle: one helper that compares a layer with its namesake in everything that can be seen.

Importing this module skips the importing tests where PyTorch is not installed.
"""

import itertools
import random

import effort
import numpy as np
import pytest

import xpconv

torch = pytest.importorskip("torch", reason="PyTorch is not installed: `pip install torch`")
torch.set_num_threads(1)  # two pools of threads on the same cores would wait for each other
nn = torch.nn
TOLERANCE = {"float64": 1e-10, "float32": 1e-5}  # of the largest value


def weights(rng, name, shape):
    """Values under which deep models stay well conditioned: signals keep their size, and no channel dies."""
    values = rng.normal(size=shape)
    if name.endswith("bias"):
        return 0.3 * values
    return np.sign(values) + 0.3 * values if len(shape) == 1 else values / np.sqrt(np.prod(shape[1:]))


def assert_same(ours, theirs, what):
    """Shape, dtype and values, NaN and infinity included."""
    theirs = theirs.detach().numpy()
    assert ours.shape == theirs.shape, what
    assert ours.dtype == theirs.dtype, what
    if theirs.dtype.kind != "f":
        np.testing.assert_array_equal(ours, theirs, err_msg=what)
        return
    scale = np.abs(theirs[np.isfinite(theirs)]).max(initial=0.0)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=TOLERANCE[str(theirs.dtype)] * scale, err_msg=what)


def numpy_state(module):
    return {name: tensor.numpy().copy() for name, tensor in module.state_dict().items()}


def contiguous(x):
    """Torch has no negative strides."""
    return torch.from_numpy(np.array(x, order="C"))


def check(make, x, *, training=True, steps=1, layout=np.asarray, seed=101):
    """Compare `make(xpconv)` with `make(torch.nn)`, weights copied over, in float64 and float32.

    Output, input gradient, every parameter's gradient (summed over `steps` forwards and backwards) and the
    state afterwards: names, order, shapes, dtypes and values. `layout` gives xpconv the same values of
    input and grad_output in another memory layout. `seed` is not that of `normal`: a grad_output like the
    input would leave batch normalisation no input gradient but rounding errors.
    """
    for dtype, kind in (("float64", torch.float64), ("float32", torch.float32)):
        rng = np.random.default_rng(seed)
        theirs = make(nn).to(kind).train(training)
        for name, parameter in theirs.named_parameters():
            parameter.data = torch.from_numpy(weights(rng, name, tuple(parameter.shape)).astype(dtype))
        ours = make(xpconv).to(dtype=dtype).train(training)
        ours.load_state_dict(numpy_state(theirs))
        for step in range(steps):
            here = np.array(x if step == 0 else x + step * rng.normal(size=x.shape), dtype)
            there = contiguous(here).requires_grad_()
            y, expected = ours(layout(here)), theirs(there)
            assert_same(y, expected, f"{dtype}: output {step}")
            g = rng.normal(size=y.shape).astype(dtype)
            expected.backward(contiguous(g))
            assert_same(ours.backward(layout(g)), there.grad, f"{dtype}: input gradient {step}")
        names, parameters = [n for n, _ in ours.named_parameters()], dict(theirs.named_parameters())
        assert names == list(parameters)
        for name, parameter in ours.named_parameters():
            assert_same(parameter.grad, parameters[name].grad, f"{dtype}: gradient of {name}")
        state, expected_state = ours.state_dict(), theirs.state_dict()
        assert list(state) == list(expected_state)
        for name, array in state.items():
            assert_same(array, expected_state[name], f"{dtype}: {name} afterwards")


def wide(x):
    """A gap after each element."""
    result = np.full((*x.shape, 2), np.nan, x.dtype)
    result[..., 0] = x
    return result[..., 0]


def channels_last(x):
    return np.moveaxis(np.moveaxis(x, -3, -1).copy(), -1, -3) if x.ndim > 2 else np.asfortranarray(x)


def backwards(x):
    """The same values with negative strides."""
    return x[(slice(None, None, -1),) * x.ndim].copy()[(slice(None, None, -1),) * x.ndim]


def read_only(x):
    x = x.copy()
    x.flags.writeable = False
    return x


LAYOUTS = [wide, channels_last, backwards, read_only]


def covering(options, strength):
    """Few of all combinations, but any `strength` options meet in all their values; always the same few.

    One option fewer meets, though no fewer than two, where tests marked slow are left out.
    """
    strength = strength if effort.thorough else max(strength - 1, 2)
    rows = list(itertools.product(*options.values()))
    random.Random(0).shuffle(rows)
    seen = set()
    for row in rows:
        new = set(itertools.combinations(enumerate(map(repr, row)), strength)) - seen
        if new:
            seen |= new
            yield dict(zip(options, row, strict=True))


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)
