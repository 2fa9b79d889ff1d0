"""The checks themselves: every planted error must be caught."""

import doctest
import importlib
import pkgutil
import re

import numpy as np
import pytest

import xpconv
from xpconv import tape
from xpconv.testing import assert_layer_ok, gradcheck

X = np.random.default_rng(0).normal(size=(3, 4))


class Right(xpconv.Dense):
    """A correct layer, to break in one place at a time."""

    def __init__(self):
        super().__init__(4, 2, rng=0)


def linear(x, weight, bias):
    return x @ weight.T + bias


def test_the_right_layer_passes():
    assert_layer_ok(Right, X, reference=linear, backends=["numpy", "double"])


@pytest.mark.parametrize(
    "make", [lambda: xpconv.GroupNorm(2, 4), lambda: xpconv.LayerNorm(5), lambda: xpconv.BatchNorm2d(4)]
)
@pytest.mark.parametrize("seed", [0, 1])
def test_the_input_may_be_drawn_with_the_same_seed(make, seed):
    """A `grad_output` that is the input would leave norms no gradient but rounding errors."""
    assert_layer_ok(make, np.random.default_rng(seed).normal(size=(2, 4, 6, 5)), seed=seed)


def test_a_layer_may_freeze_some_of_its_own():
    class Half(Right):
        def __init__(self):
            super().__init__()
            self.bias.requires_grad = False

    assert_layer_ok(Half, X)
    gradcheck(Half().to(dtype="float64"), X)


class KeepsInAnAttribute(xpconv.Layer):
    def forward(self, x):
        self.x = x
        return self.keep(x**2)

    def backward(self, grad_output, input_grad=True):
        self.recall(grad_output)
        return 2 * self.x * grad_output if input_grad else None


class WrongForward(Right):
    def forward(self, x):
        return super().forward(x) + 1e-3


class WrongInputGradient(Right):
    def backward(self, grad_output, input_grad=True):
        dx = super().backward(grad_output, input_grad)
        return None if dx is None else dx * 1.001


class WrongWeightGradient(Right):
    def backward(self, grad_output, input_grad=True):
        _, x = tape.current.get().entries[-1][1]
        self.weight.accumulate(0.001 * grad_output.T @ x)
        return super().backward(grad_output, input_grad)


class NoBiasGradient(Right):
    def backward(self, grad_output, input_grad=True):
        dx = super().backward(grad_output, input_grad)
        self.bias.grad = None
        return dx


class OverwritesGradient(Right):
    def backward(self, grad_output, input_grad=True):
        self.weight.grad = None
        return super().backward(grad_output, input_grad)


class TrainsWhatIsFrozen(Right):
    def backward(self, grad_output, input_grad=True):
        frozen = [p for p in self.parameters() if not p.requires_grad]
        for parameter in frozen:
            parameter.requires_grad = True
        dx = super().backward(grad_output, input_grad)
        for parameter in frozen:
            parameter.requires_grad = False
        return dx


class StopsWhereFrozen(Right):
    def backward(self, grad_output, input_grad=True):
        return super().backward(grad_output, input_grad and self.weight.requires_grad)


class OneFlagForBoth(Right):
    def backward(self, grad_output, input_grad=True):
        flag, self.bias.requires_grad = self.bias.requires_grad, self.weight.requires_grad
        dx = super().backward(grad_output, input_grad)
        self.bias.requires_grad = flag
        return dx


class ModifiesInput(Right):
    def forward(self, x):
        y = super().forward(x)
        x *= 2
        return y


class ModifiesGradOutput(Right):
    def backward(self, grad_output, input_grad=True):
        dx = super().backward(grad_output, input_grad)
        grad_output *= 0
        return dx


class Promotes(Right):
    def backward(self, grad_output, input_grad=True):
        dx = super().backward(grad_output, input_grad)
        return None if dx is None else dx.astype("float64")


class WrongShape(Right):
    def backward(self, grad_output, input_grad=True):
        dx = super().backward(grad_output, input_grad)
        return None if dx is None else dx[:1]


class IgnoresInputGrad(Right):
    def backward(self, grad_output, input_grad=True):
        return super().backward(grad_output)


class TakesNoInputGrad(Right):
    def backward(self, grad_output):
        return super().backward(grad_output)


class NeedsContiguousInput(Right):
    def forward(self, x):
        return super().forward(
            np.frombuffer(x.base if x.base is not None else x, x.dtype)[: x.size].reshape(x.shape)
        )


class KeepsUnderNoGrad(Right):
    def forward(self, x):
        y = super().forward(x)
        if not tape.saving():
            save, outside = tape.save_mode.set(True), tape.current.set(None)
            self.keep(y, np, x)
            tape.current.reset(outside)
            tape.save_mode.reset(save)
        return y


class HiddenState(Right):
    made = 0

    def __init__(self):
        super().__init__()
        HiddenState.made += 1
        self.offset = 10.0 if HiddenState.made % 2 else -10.0  # far apart, as two seeds would be

    def forward(self, x):
        return super().forward(x) + self.offset


PLANTED = {
    WrongForward: "output against the reference",
    WrongInputGradient: "gradient with respect to the input",
    WrongWeightGradient: "gradient with respect to weight",
    NoBiasGradient: "gave bias no gradient",
    OverwritesGradient: "gradient of weight after two backwards",
    TrainsWhatIsFrozen: "bias has a gradient with only weight learning: got True, expected False",
    StopsWhereFrozen: "input gradient is None with only",
    OneFlagForBoth: "has a gradient with only",
    KeepsInAnAttribute: "input and output changed in place before backward: input gradient.*save what backward",
    ModifiesInput: "^input unchanged",
    ModifiesGradOutput: "grad_output unchanged",
    Promotes: "dtype of the input gradient",
    WrongShape: "shape of the input gradient",
    IgnoresInputGrad: r"^backward\(grad_output, input_grad=False\) must return None, .* returned ndarray$",
    TakesNoInputGrad: r"^backward\(grad_output, input_grad=False\) must return None, .* raised: .*unexpected",
    NeedsContiguousInput: "non-contiguous input",
    KeepsUnderNoGrad: "under no_grad must raise",
    HiddenState: r"float32 against float64: output: .* \(a random layer must be made with the same rng=",
}


def test_a_wrong_gradient_is_said_before_a_missing_input_grad():
    class Wrong(Right):
        def backward(self, grad_output):
            return 2 * super().backward(grad_output)

    with pytest.raises(AssertionError, match="gradient with respect to the input: backward says"):
        assert_layer_ok(Wrong, X)


OWN = {
    "Square": lambda kind: kind(),
    "Deep": lambda kind: kind(3),
}


def examples():
    """The sources of all examples of docstrings. Those of the pages call `assert_layer_ok` themselves."""
    for part in (
        "xpconv",
        *(f"xpconv.{m.name}" for m in pkgutil.iter_modules(xpconv.layers.__path__, "layers.")),
    ):
        for found in doctest.DocTestFinder(exclude_empty=True).find(importlib.import_module(part)):
            yield "".join(example.source for example in found.examples)


def test_the_layers_of_ones_own_in_the_examples_are_right():
    checked = set()
    for source in {
        text for text in examples() if re.search(r"^class .*\(xpconv\.Layer\)", text, re.MULTILINE)
    }:
        names = {"np": np, "xpconv": xpconv, "assert_layer_ok": assert_layer_ok}
        exec(source, names)  # noqa: S102  # our own
        for name, kind in names.items():
            if isinstance(kind, type) and issubclass(kind, xpconv.Layer) and kind.__module__ == "builtins":
                assert_layer_ok(lambda kind=kind, name=name: OWN[name](kind), X)
                checked.add(name)
    assert checked == set(OWN)


@pytest.mark.parametrize("layer", PLANTED, ids=lambda c: c.__name__)
def test_planted_errors_are_caught(layer):
    reference = linear if layer is WrongForward else None
    with pytest.raises(AssertionError, match=PLANTED[layer]):
        assert_layer_ok(layer, X, reference=reference)


def test_a_difference_between_backends_is_caught():
    class OffOnOne(Right):
        def forward(self, x):
            y = super().forward(x)
            return y if isinstance(x, np.ndarray) else y + 1e-6

    with pytest.raises(AssertionError, match="double against numpy: output"):
        assert_layer_ok(OffOnOne, X, backends=["numpy", "double"])


@pytest.mark.parametrize("layer", [WrongInputGradient, WrongWeightGradient, NoBiasGradient])
def test_gradcheck_catches_them_too(layer):
    with pytest.raises(AssertionError, match=r"gradient with respect to|gave bias no gradient"):
        gradcheck(layer().to(dtype="float64"), X)


def test_what_cannot_be_checked_is_said():
    with pytest.raises(TypeError, match="expected a function that makes the layer anew"):
        assert_layer_ok(Right(), X)
    with pytest.raises(TypeError, match="x is float32, expected a float64 host array"):
        assert_layer_ok(Right, X.astype("float32"))
    with pytest.raises(
        TypeError, match="gradcheck: x or the parameters are float32, float64, expected float64"
    ):
        gradcheck(Right(), X)


class KeepsGradOutput(xpconv.Layer):
    """Hands the caller's array to a parameter, which adds to it at the next backward."""

    def __init__(self):
        self.shift = xpconv.Parameter(np.zeros((3, 4), "float32"), "shift")

    def forward(self, x):
        return self.keep(x + self.shift.data)

    def backward(self, grad_output, input_grad=True):
        self.recall(grad_output)
        self.shift.accumulate(grad_output)
        return grad_output.copy() if input_grad else None


def test_a_kept_grad_output_is_caught():
    with pytest.raises(AssertionError, match="grad_output unchanged after a second backward"):
        assert_layer_ok(KeepsGradOutput, X)


def test_gradcheck_leaves_input_and_parameters_alone():
    layer, x = Right().to(dtype="float64"), X.copy()
    before = layer.state_dict()
    gradcheck(layer, x)
    np.testing.assert_array_equal(x, X)
    for name, array in layer.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


@pytest.mark.parametrize("check", [xpconv.testing.assert_layer_ok, xpconv.testing.gradcheck])
def test_two_inputs_by_position_are_told_to_be_a_tuple(check):
    x = np.ones((2, 3))
    with pytest.raises(
        TypeError,
        match=rf"^{check.__name__}: .*; several inputs are one tuple: {check.__name__}\(\w+, \(a, b",
    ):
        check(lambda: xpconv.Bilinear(3, 3, 2), x, x)
