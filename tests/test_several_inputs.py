"""Layers with several inputs in `summary`, `explain`, `gradcheck` and `assert_layer_ok`; tables in notebooks."""

import copy
import pickle
from html.parser import HTMLParser

import numpy as np
import pytest

import xpconv
from xpconv.explain import measure
from xpconv.testing import assert_layer_ok, gradcheck

RNG = np.random.default_rng(0)
A, B = RNG.normal(size=(4, 3)), RNG.normal(size=(4, 2))


class Gate(xpconv.Layer):
    """A layer of a user: `dense(a) · b`, with a BatchNorm after it."""

    def __init__(self):
        self.dense = xpconv.Dense(3, 2, rng=0)
        self.norm = xpconv.BatchNorm1d(2)

    def forward(self, a, b):
        hidden = self.dense(a)
        return self.keep(self.norm(hidden * b), hidden, b)

    def backward(self, grad_output, input_grad=True):
        hidden, b = self.recall(grad_output)
        grad = self.norm.backward(grad_output)
        da = self.dense.backward(grad * b, input_grad=input_grad)
        return (da, grad * hidden) if input_grad else None


class Select(xpconv.Layer):
    """Rows of `x`, by integers."""

    def forward(self, rows, x):
        return self.keep(x[rows], rows, x.shape)

    def backward(self, grad_output, input_grad=True):
        rows, shape = self.recall(grad_output)
        if not input_grad:
            return None
        one_hot = xpconv.get_xp(grad_output).arange(shape[0])[:, None] == rows[None]
        return None, one_hot.astype(grad_output.dtype) @ grad_output


def pooled():
    x = RNG.normal(size=(2, 3, 6, 6))
    return xpconv.MaxPool2d(2, return_indices=True)(x)


def unpool(x, indices):
    y = np.zeros((2, 3, 36))
    np.put_along_axis(y, indices.reshape(2, 3, -1), x.reshape(2, 3, -1), axis=2)
    return y.reshape(2, 3, 6, 6)


LAYERS = {
    "Bilinear": (
        lambda: xpconv.Bilinear(3, 2, 5, rng=0), (A, B),
        lambda a, b, weight, bias: np.einsum("ni,kij,nj->nk", a, weight, b) + bias,
    ),
    "MaxUnpool": (lambda: xpconv.MaxUnpool2d(2), pooled(), unpool),
    "a user's": (Gate, (A, B), None),
    "integers first": (Select, (np.array([2, 0, 2]), A), lambda rows, x: x[rows]),
    "one in a tuple": (lambda: xpconv.Dense(3, 2, rng=0), (A,), lambda x, weight, bias: x @ weight.T + bias),
}  # fmt: skip


@pytest.mark.parametrize("name", LAYERS)
def test_layers_pass(name):
    make, inputs, reference = LAYERS[name]
    before = copy.deepcopy(inputs)
    assert_layer_ok(make, inputs, reference=reference, backends=["numpy", "double"])
    gradcheck(make().to(dtype="float64"), inputs)
    for array, original in zip(inputs, before, strict=True):
        np.testing.assert_array_equal(array, original)


class WrongSecond(Gate):
    def backward(self, grad_output, input_grad=True):
        found = super().backward(grad_output, input_grad)
        return found and (found[0], found[1] * 1.01)


class Swapped(Gate):
    def backward(self, grad_output, input_grad=True):
        found = super().backward(grad_output, input_grad)
        return found and found[::-1]


class OnlyOne(Gate):
    def backward(self, grad_output, input_grad=True):
        found = super().backward(grad_output, input_grad)
        return found and found[0]


class NoSecond(Gate):
    def backward(self, grad_output, input_grad=True):
        found = super().backward(grad_output, input_grad)
        return found and (found[0], None)


class ModifiesSecond(Gate):
    def forward(self, a, b):
        y = super().forward(a, b)
        b *= 2
        return y


class PromotesSecond(Gate):
    def backward(self, grad_output, input_grad=True):
        found = super().backward(grad_output, input_grad)
        return found and (found[0], found[1].astype("float64"))


class ChangesWhenFrozen(Gate):
    def backward(self, grad_output, input_grad=True):
        found = super().backward(grad_output, input_grad)
        frozen = not self.dense.weight.requires_grad
        return found and (found[0], found[1] * (2 if frozen else 1))


PLANTED = {
    WrongSecond: "gradient with respect to input 1",
    Swapped: "shape of the gradient of input 0",
    OnlyOne: r"backward gave ndarray, expected a tuple of 2 arrays, one for each input",
    NoSecond: r"backward gave ndarray, NoneType, expected a tuple of 2 arrays",
    ModifiesSecond: "input unchanged",
    PromotesSecond: "dtype of the gradient of input 1",
    ChangesWhenFrozen: "gradient of input 1 with only",
}


@pytest.mark.parametrize("layer", PLANTED, ids=lambda c: c.__name__)
def test_planted_errors_are_caught(layer):
    with pytest.raises(AssertionError, match=PLANTED[layer]):
        assert_layer_ok(layer, (A, B))


def test_a_tuple_for_one_input_is_caught():
    class Pair(xpconv.ReLU):
        def backward(self, grad_output, input_grad=True):
            found = super().backward(grad_output, input_grad)
            return None if found is None else (found, found)

    with pytest.raises(AssertionError, match="backward gave tuple, expected an array"):
        assert_layer_ok(Pair, A)


@pytest.mark.parametrize(
    ("x", "told"),
    [
        ((), r"x is \(\)"), ((A, B.astype("float32")), "x is float64, float32"), ((A, "b"), "class 'str'"),
        ((np.arange(3),), "x is int64"), ([A, B], "class 'list'"),
    ],
)  # fmt: skip
def test_inputs_that_cannot_be_checked(x, told):
    with pytest.raises(
        TypeError, match=told + ".*expected a float64 host array, or a tuple of such and int64"
    ):
        assert_layer_ok(Gate, x)


# --- summary and explain -------------------------------------------------------------------------------


def test_summary_of_several_inputs(backend):
    lines = xpconv.Bilinear(3, 2, 5, rng=0).summary(((3,), (2,))).splitlines()
    assert lines[1].split()[:6] == ["Bilinear(3,", "2,", "5)", "(1,", "5)", "35"]
    model = Gate()
    lines = model.summary(((3,), (2,))).splitlines()
    assert [line.split()[0] for line in lines] == ["name", "dense", "norm", "total", "memory"]
    assert all("(1, 2)" in line for line in lines[1:3])
    assert model.training
    assert "(1, 3, 8, 8)" in xpconv.MaxUnpool2d(2).summary(((3, 4, 4), (3, 4, 4)))
    assert "(1, 3)" in xpconv.Dense(2, 3).summary([(2,)])  # one in a list


def test_arrays_in_the_place_of_shapes(backend):
    x, rows = (xpconv.asarray(a) for a in (A.astype("float32"), np.array([2, 0, 2])))
    assert "(3, 3)" in Select().summary((rows, x))
    assert "(4, 5)" in xpconv.Bilinear(3, 2, 5).summary((x, x[:, :2]))
    assert "(4, 2)" in xpconv.Dense(3, 2).summary(x)
    assert measure(Select(), (rows, x), 1)[0].output == (3, 3)


def test_explain_of_several_inputs(backend):
    (cost,) = measure(xpconv.Bilinear(3, 2, 5), ((3,), (2,)), batch=4)
    assert cost.output == (4, 5)
    assert cost.flops == 2 * 20 * 6
    assert cost.moved == 4 * (4 * 3 + 4 * 2 + 20 + 35)
    assert cost.saved == 4 * (4 * 3 + 4 * 2)
    assert [c.name for c in measure(Gate(), ((3,), (2,)), batch=4)] == ["dense", "norm", ""]
    (cost,) = measure(xpconv.MaxUnpool2d(2), ((3, 4, 4), (3, 4, 4)), batch=2)
    assert cost.output == (2, 3, 8, 8)
    assert cost.moved == 4 * 96 + 8 * 96 + 4 * 384
    (cost,) = measure(xpconv.MaxPool2d(2, return_indices=True), (3, 4, 4), batch=1)
    assert cost.moved == 4 * 48 + (4 + 8) * 12


class Loose(xpconv.Layer):
    """A user's, which keeps nothing, gives a dict, and takes what is no array too."""

    def forward(self, x, factor=2.0):
        return {"nothing": None, "more": [x * factor]}

    def backward(self, grad_output, input_grad=True):
        raise TypeError("for inference alone")


class Nothing(Loose):
    def forward(self, x):
        return None


def test_outputs_of_other_kinds():
    assert "(1, 3)" in Loose().summary((3,))
    assert [c.output for c in measure(Loose(), (3,), 1)] == [(1, 3)]
    for look in (lambda: measure(Nothing(), (3,), 1), lambda: Nothing().summary((3,))):
        with pytest.raises(TypeError, match=r"^Nothing.forward returned None, expected the output"):
            look()


def test_a_forward_set_by_hand_stays():
    layer = xpconv.Dense(3, 2)
    layer.forward = own = lambda x: x
    assert "(1, 3)" in layer.summary((3,))
    assert layer.forward is own


def test_a_folded_layer_moves_nothing():
    model = xpconv.Sequential(xpconv.Conv2d(1, 2, 3), xpconv.BatchNorm2d(2), xpconv.ReLU()).fuse()
    moved = [cost.moved for cost in measure(model, (1, 6, 6), 1)]
    assert moved == [4 * (36 + 32 + 20), 0, 0]
    lazy = xpconv.explain(xpconv.Sequential(xpconv.LazyConv2d(2, 3)), (1, 6, 6))
    assert "(1, 2, 4, 4)" in lazy.splitlines()[1]


BAD = [
    ((3,), r"is \(3,\), of 1 input, but Bilinear.forward takes x1, x2; for several give a tuple of shapes"),
    (((3,), (2,), (2,)), "of 3 inputs, but Bilinear.forward takes x1, x2"),
    ((3, (2,)), "expected a tuple: .*for several inputs a tuple of such tuples"),
    (((3,), "ab"), "expected a tuple"),
    (((3.0,), (2,)), "expected a tuple"),
    (((True,), (2,)), "expected a tuple"),
    (5, "is 5, expected a tuple"),
    ("ab", "is 'ab', expected a tuple"),
    (((3,), (-2,)), "is -2, expected at least 0"),
    (((3,), (4,)), "Bilinear.forward: x1 has shape"),
    (((3,), (2**40,)), "expected at most"),
]


@pytest.mark.parametrize(("shape", "told"), BAD)
def test_bad_shapes(shape, told):
    layer = xpconv.Bilinear(3, 2, 5)
    for where, call in (
        ("Bilinear.summary: input_shape", layer.summary),
        ("explain: input_shape", lambda shape: xpconv.explain(layer, shape)),
    ):
        with pytest.raises((TypeError, ValueError), match=told) as error:
            call(shape)
        assert where in str(error.value) or "Bilinear.forward: x1" in str(error.value)


def test_explain_of_no_layer():
    with pytest.raises(TypeError, match="explain: model is 5, expected a Layer"):
        xpconv.explain(5, (3,))


# --- in a notebook -------------------------------------------------------------------------------------


class Cells(HTMLParser):
    """The rows of the only table, and what is around them."""

    def __init__(self, html):
        super().__init__()
        self.rows, self.open, self.parts = [], [], []
        self.feed(html)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
            self.parts.append(self.open[-2])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1] in ("td", "th"):
            self.rows[-1][-1] += data


def test_the_table_of_a_summary():
    class Odd(xpconv.ReLU):
        def extra_repr(self):
            return "<script>alert('&')</script>"

    model = xpconv.Sequential({"<b>": Odd(), "fc": xpconv.Dense(40, 30)})
    model[1].weight.requires_grad = False
    text = model.summary((40,))
    html = text._repr_html_()
    assert "<script>" not in html
    assert "<b>" not in html
    cells = Cells(html)
    assert cells.rows == [
        ["name", "layer", "output", "parameters", "MFLOP", "MB saved"],
        ["<b>", "Odd(<script>alert('&')</script>)", "(1, 40)", "0", "0", "0.00016"],
        ["fc", "Dense(40, 30)", "(1, 30)", "1,230", "0.0024", "0"],
        ["total", "", "", "1,230", "0.0024", "0.00016"],
        ["memory", "", "", "0.00492 MB", "", ""],
        ["trainable", "", "", "30", "", ""],
        ["frozen", "", "", "1,200", "", ""],
    ]
    assert cells.parts == ["thead", "tbody", "tbody", *["tfoot"] * 4]


def test_the_table_of_explain():
    text = xpconv.explain(xpconv.Sequential(xpconv.Conv2d(1, 2, 3), xpconv.ReLU()), (1, 6, 6))
    rows = Cells(text._repr_html_()).rows
    assert rows[0] == ["name", "layer", "output", "algorithm", "MFLOP", "MB moved", "MB saved", "ms", "share"]
    assert [row[0] for row in rows[1:]] == ["0", "1", "total"]
    assert [" ".join(" ".join(row).split()) for row in rows] == [
        " ".join(s.split()) for s in text.splitlines()
    ]


def test_it_is_text_as_ever(capsys):
    text = xpconv.Dense(3, 2).summary()
    plain = "".join(list(text))
    assert type(plain) is str
    assert text == plain
    assert hash(text) == hash(plain)
    assert repr(text) == repr(plain)
    assert "Dense(3, 2)" in text
    assert text.splitlines() == plain.split("\n")
    assert f"{text}" == plain
    print(text)
    assert capsys.readouterr().out == plain + "\n"
    for twin in (copy.deepcopy(text), pickle.loads(pickle.dumps(text))):  # noqa: S301  # our own
        assert twin == text
        assert twin._repr_html_() == text._repr_html_()
