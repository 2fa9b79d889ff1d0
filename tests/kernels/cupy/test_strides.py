"""Kernels get addresses only: what an array's strides say must be heeded before a launch, for every argument.

The emulated kernels refuse arrays with gaps (`emulation.py`); values tell whether the order is right.
"""

import double
import emulation
import numpy as np
import pytest
from kernel_cases import CASES, Draw
from operations import ours, reference, same

import xpconv
from xpconv import kernels
from xpconv.kernels.cupy import gemm, launch

xp = double.xp
pytestmark = pytest.mark.skipif(emulation.COMPILER is None, reason="g++ is not installed")
NAMES = sorted(set(kernels.overrides(xp)) & set(CASES)) if emulation.COMPILER else []
CANARY = 77


def stepped(x):
    """Every second element along every axis of memory, and that memory with a canary in these places."""
    where = (slice(1, None, 2),) * x.ndim
    memory = xp.asarray(np.full([2 * n + 1 for n in x.shape], CANARY, x.dtype))
    memory[where] = xp.asarray(x)
    return memory[where], memory, where


def backwards(x):
    where = (slice(None, None, -1),) * x.ndim
    memory = xp.asarray(x[where].copy())
    return memory[where], memory, ...


def transposed(x):
    memory = xp.asarray(x.T.copy())
    return memory.T, memory, ...


def late(x):
    """Beginning one element late."""
    memory = xp.asarray(np.full(x.size + 2, CANARY, x.dtype))
    memory[1:-1] = xp.asarray(x.ravel())
    return memory[1:-1].reshape(x.shape), memory, slice(1, -1)


LAYOUTS = [stepped, backwards, transposed, late]


def intact(memory, where):
    rest = memory.get()
    rest[where] = CANARY
    return (rest == np.asarray(CANARY).astype(rest.dtype)).all()


def on_device(arguments):
    return [xp.asarray(a.copy()) if isinstance(a, np.ndarray) else a for a in arguments]


def test_matrices_of_no_channels():
    for module in (np, xp):
        images, weight = (module.zeros(shape, dtype="float32") for shape in ((2, 0, 3, 3), (4, 0, 3, 3)))
        assert not gemm.pixel_matrix(module, images, slice(0, 2), 1).size
        assert not gemm.weight_matrix(module, weight, 1, flip=True).size


def test_numbers_that_are_no_number_are_not_kept():
    """Each NaN would be a key of its own."""
    numbers = launch.Numbers(str)
    assert [numbers[float(text)] for text in ("nan", "1", "nan")] == ["nan", "1.0", "nan"]
    assert list(numbers) == [1.0]


@pytest.mark.sample(6)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", NAMES)
def test_every_argument_of_every_kernel_may_be_strided(name, layout):
    for case in CASES[name](Draw("float32")):
        plain = on_device(case)
        with np.errstate(invalid="ignore"):
            expected = getattr(reference, name)(xp, *plain)
        for i, argument in enumerate(case):
            if not isinstance(argument, np.ndarray) or not argument.ndim:
                continue
            arguments = on_device(case)
            arguments[i], memory, where = layout(argument)
            with np.errstate(invalid="ignore"):
                same(getattr(ours, name)(xp, *arguments), expected, 1e-4)
            same(arguments[i], plain[i])  # it may be changed in place
            assert intact(memory, where), f"argument {i} of {name} wrote next to its array"


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", ["weight", "bias", "running_mean", "running_var"])
def test_batch_norm_takes_strided_parameters_and_buffers(name, training, layout):
    rng = np.random.default_rng(0)
    x, g = (rng.normal(size=(3, 5, 4, 4)).astype("float32") for _ in "xg")
    results = []
    for is_strided in (False, True):
        with xpconv.use_backend("double"):
            layer = xpconv.BatchNorm2d(5).train(training)
            for p in (layer.weight, layer.bias):
                p.data[...] = xpconv.asarray(np.linspace(0.5, 2, 5, dtype="float32"))
            memory = where = None
            if is_strided:
                owner = getattr(layer, name)
                array, memory, where = layout(xpconv.asnumpy(owner))
                if name in ("weight", "bias"):
                    owner.data = array
                else:
                    setattr(layer, name, array)
            y = layer(xpconv.asarray(x))
            dx = layer.backward(xpconv.asarray(g))
            state = layer.running_mean, layer.running_var, layer.weight.grad, layer.bias.grad
            results.append(tuple(a.get() for a in (y, dx, *state)))
            assert memory is None or intact(memory, where)
    same(*results, 1e-5)
