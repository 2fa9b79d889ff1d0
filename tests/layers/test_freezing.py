"""`requires_grad`: frozen parameters get no gradient, and computing one costs nothing; others are unaffected."""

import copy
import inspect
import itertools
import pickle
import sys

import double
import emulation
import numpy as np
import pytest
from makers import LAYERS
from training import OPTIMIZERS

import xpconv
from xpconv import sums
from xpconv.ops import activation, channels, conv, conv_transpose, embedding, linear, norm

m = xpconv
IMAGES, ROWS = (4, 4, 6, 6), (6, 5)
KINDS = {  # beside the layers of test_captured.py: how to make it, and the shape of its input
    "BatchNorm1d(eval)": (lambda: m.BatchNorm1d(5).eval(), ROWS),
    "Conv2d(bias)": (lambda: m.Conv2d(4, 3, 3, padding=1, padding_mode="reflect", rng=0), IMAGES),
    "InstanceNorm2d(eval)": (
        lambda: m.InstanceNorm2d(4, affine=True, track_running_stats=True).eval(), IMAGES
    ),
    "Chain": (
        lambda: m.Sequential(m.Conv2d(4, 4, 3, rng=0), m.PReLU(), m.BatchNorm2d(4), m.ReLU()), IMAGES
    ),
    "Parallel": (lambda: m.Parallel(m.Conv2d(4, 3, 1, rng=0), m.Conv2d(4, 3, 1, rng=1)), IMAGES),
    "Concat": (lambda: m.Concat(m.Identity(), m.Conv2d(4, 3, 1, rng=1)), IMAGES),
    "Residual": (
        lambda: m.Residual(
            m.Dense(5, 5, rng=0), m.Tanh(), m.Dense(5, 5, rng=1), shortcut=m.Dense(5, 5, rng=2)
        ),
        ROWS,
    ),
    "Chain(eval)": (
        lambda: m.Sequential(m.Conv2d(4, 4, 3, rng=0), m.BatchNorm2d(4), m.ReLU(), m.MaxPool2d(2)).eval(), IMAGES
    ),
    "Chain(fused)": (lambda: m.Sequential(m.Conv2d(4, 4, 3, rng=0), m.BatchNorm2d(4), m.ReLU()).fuse(), IMAGES),
    "LayerScale": (lambda: m.models.convnext._LayerScale(4, 0.5), IMAGES),
}  # fmt: skip
KINDS |= {
    f"{name}{i or ''}": (make, shape)
    for name, (makers, shape) in LAYERS.items()
    for i, make in enumerate(makers)
    if any(make().named_parameters())
}


def randomized(layer, seed=0):
    """Values for the parameters at which no gradient is zero."""
    rng = np.random.default_rng(seed)
    for _, parameter in layer.named_parameters():
        parameter.data[...] = xpconv.asarray(rng.normal(size=parameter.shape).astype(parameter.dtype))
    return layer


def inputs(shape=ROWS, seed=1):
    return xpconv.asarray(np.random.default_rng(seed).normal(size=shape))


def run(layer, x, input_grad=True, seed=2):
    """A forward and a backward: the input's gradient and the parameters', on the host."""
    y = layer(x)
    g = xpconv.asarray(np.random.default_rng(seed).normal(size=y.shape).astype(y.dtype))
    dx = layer.backward(g, input_grad=input_grad)
    grads = {
        n: None if p.grad is None else xpconv.asnumpy(p.grad).copy() for n, p in layer.named_parameters()
    }
    return None if dx is None else xpconv.asnumpy(dx), grads


def pickled(layer):
    return pickle.loads(pickle.dumps(layer))  # noqa: S301


def pending(layer):
    return sum(len(part._finished()) for _, part in layer.named_layers())


def patterns(names):
    """Which of the parameters are frozen: every combination of up to four."""
    if len(names) <= 4:
        return list(itertools.product([False, True], repeat=len(names)))
    return [
        [i in chosen for i in range(len(names))] for chosen in itertools.combinations(range(len(names)), 2)
    ]


@pytest.mark.sample(4)
@pytest.mark.parametrize("name", KINDS)
def test_what_is_frozen_has_no_gradient_and_all_else_is_the_same(name, backend):
    make, shape = KINDS[name]
    x = inputs(shape)
    dx, grads = run(randomized(make().to(dtype="float64")), x)
    assert dx is not None and all(g is not None for g in grads.values())
    for frozen in patterns(list(grads)):
        for input_grad in (True, False):
            layer = randomized(make().to(dtype="float64"))
            for (_, parameter), freeze in zip(layer.named_parameters(), frozen, strict=True):
                parameter.requires_grad = not freeze
            got, found = run(layer, x, input_grad)
            assert pending(layer) == 0
            assert (got is None) == (not input_grad)
            if input_grad:
                np.testing.assert_allclose(got, dx, rtol=1e-12, atol=1e-12 * abs(dx).max())
            for (key, expected), freeze in zip(grads.items(), frozen, strict=True):
                if freeze:
                    assert found[key] is None, key
                else:
                    np.testing.assert_allclose(found[key], expected, rtol=1e-12, err_msg=key)


@pytest.mark.parametrize("weight", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_bilinear(weight, bias, backend):
    rng = np.random.default_rng(0)
    a, b, g = (xpconv.asarray(rng.normal(size=(5, n))) for n in (3, 4, 2))
    layers = [m.Bilinear(3, 4, 2, dtype="float64", rng=0) for _ in range(2)]
    layers[1].weight.requires_grad, layers[1].bias.requires_grad = weight, bias
    (expected, dx) = (
        [xpconv.asnumpy(d) for d in layer.backward(g)] for layer in layers if layer(a, b) is not None
    )
    np.testing.assert_array_equal(dx[0], expected[0])
    np.testing.assert_array_equal(dx[1], expected[1])
    for name, learns in (("weight", weight), ("bias", bias)):
        grad, other = (getattr(layer, name).grad for layer in layers)
        assert (other is None) == (not learns)
        if learns:
            np.testing.assert_array_equal(xpconv.asnumpy(other), xpconv.asnumpy(grad))


def test_embedding(backend):
    layer = m.Embedding(5, 3, rng=0).requires_grad_(False)
    layer(xpconv.asarray([1, 2]))
    assert layer.backward(xpconv.asarray(np.ones((2, 3)), "float32")) is None
    assert layer.weight.grad is None and pending(layer) == 0
    layer.requires_grad_()
    layer(xpconv.asarray([1, 2]))
    layer.backward(xpconv.asarray(np.ones((2, 3)), "float32"))
    assert layer.weight.grad is not None


LAZY = [name for name in m.layers.__all__ if getattr(getattr(m, name), "lazy", False)]
LAZY_INPUTS = {"1d": (2, 3, 8), "2d": (2, 3, 8, 8), "3d": (2, 3, 4, 4, 4)}


def lazy(name):
    """A lazy layer of any kind, and the shape of its first input."""
    sizes = inspect.signature(getattr(m, name)).parameters
    options = {k: 4 for k in ("out_channels", "out_features") if k in sizes}
    options |= {"kernel_size": 3} if "kernel_size" in sizes else {}
    return getattr(m, name)(**options), LAZY_INPUTS.get(name[-2:], (2, 3))


@pytest.mark.parametrize("name", LAZY)
def test_a_lazy_layer_remembers(name, backend):
    """PyTorch's uninitialized parameters have the flag as well."""
    layer, shape = lazy(name)
    x = xpconv.asarray(np.random.default_rng(0).normal(size=shape), "float32")
    frozen = pickled(m.Sequential(layer, m.ReLU()).requires_grad_(False))
    thawed = pickled(frozen).requires_grad_()
    loaded = pickled(frozen)
    for model, flag in ((frozen, False), (thawed, True)):
        model(x)
        assert {p.requires_grad for p in model.parameters()} == {flag}
    loaded.load_state_dict(thawed.state_dict())
    assert {p.requires_grad for p in loaded.parameters()} == {False}


# --- no work ---------------------------------------------------------------------------------------------


WORK = {  # what computes a parameter's gradient
    linear: ["linear_backward_weight", "linear_backward_bias", "bilinear_backward_weight"],
    conv: ["conv_backward_weight"],
    conv_transpose: ["conv_transpose_backward_weight"],
    channels: ["channel_sum"],
    norm: ["batch_norm_backward", "sum_over", "channel_sum"],
    sums: ["sum_over"],
    activation: ["leaky_relu_backward_slope"],
    embedding: ["embedding_backward"],
}


def counted(monkeypatch, counts, module, name):
    function = getattr(module, name)

    def counting(*args, **kwargs):
        counts[name] = counts.get(name, 0) + 1
        return function(*args, **kwargs)

    layers = [module for name, module in sys.modules.items() if name.startswith("xpconv.layers.")]
    for holder in (module, *layers):
        if vars(holder).get(name) is function:
            monkeypatch.setattr(holder, name, counting)


@pytest.mark.parametrize("name", KINDS)
def test_no_gradient_is_computed_for_what_is_frozen(name, monkeypatch):
    """Not the accumulation alone is left out. What is left is for the input's gradient."""
    make, shape = KINDS[name]
    counts = {}
    for module, names in WORK.items():
        for one in names:
            counted(monkeypatch, counts, module, one)
    layer = make().to(dtype="float64")
    run(layer, inputs(shape))
    if name != "LayerScale":
        assert counts
    counts.clear()
    layer.requires_grad_(False)
    run(layer, inputs(shape), input_grad=False)
    assert not counts
    run(layer, inputs(shape))
    batches = any(
        isinstance(part, m.layers.norm._BatchNorm) and part.training for _, part in layer.named_layers()
    )
    needed = {"batch_norm_backward"} if batches else set()
    assert set(counts) <= needed | ({"sum_over"} if name == "SqueezeExcitation" else set())


@pytest.mark.skipif(emulation.COMPILER is None, reason="g++ is not installed")
@pytest.mark.parametrize("name", KINDS)
def test_a_step_with_frozen_parameters_can_be_captured(name):
    """On the double: nothing comes from the host, and nothing waits for the device."""
    make, shape = KINDS[name]
    with xpconv.use_backend("double"):
        layer, x = make(), inputs(shape).astype("float32")
        g = xpconv.get_xp(x).ones_like(layer(x))
        layer.forget()
        for kept in (0, 1, None):
            for i, (_, parameter) in enumerate(layer.named_parameters()):
                parameter.requires_grad = i % 2 == kept
            for input_grad in (True, False):
                for counts in (False, True):  # the first makes what stays
                    with double.count_syncs() as counter:
                        layer.zero_grad()
                        layer(x)
                        layer.backward(g, input_grad=input_grad)
                    assert not counts or (counter.n, counter.copies) == (0, 0)


def backwards_of(model, **options):
    """The names of the layers whose backward runs."""
    ran = []
    layers = list(model.named_layers())
    for name, layer in layers:

        def noting(grad, input_grad=True, _name=name, _back=layer.backward):
            ran.append((_name, input_grad))
            return _back(grad, input_grad=input_grad)

        layer.__dict__["backward"] = noting
    run(model, inputs(), **options)
    for _, layer in layers:
        del layer.__dict__["backward"]
    assert pending(model) == 0
    return dict(ran)


def deep():
    """A body of nested containers, and a head."""
    branch = [m.Dense(5, 5, rng=0), m.Tanh(), m.Dense(5, 5, rng=1), m.Tanh()]
    body = m.Sequential(
        {
            "first": m.Dense(5, 5, rng=2),
            "residual": m.Residual(*branch, shortcut=m.Dense(5, 5, rng=3)),
            "joint": m.Concat(m.Sequential(m.Tanh(), m.Dense(5, 2, rng=4)), m.Identity()),
            "sum": m.Parallel(m.Dense(7, 5, rng=5), m.Sequential(m.Tanh(), m.Dense(7, 5, rng=6))),
        }
    )
    return m.Sequential({"body": body, "act": m.Tanh(), "head": m.Dense(5, 3, rng=7)}).to(dtype="float64")


def test_backward_stops_at_the_first_layer_that_learns():
    model = deep()
    model[0].requires_grad_(False)
    assert backwards_of(model, input_grad=False) == {"": False, "head": False}
    body = model[0]
    body.children()["residual"].body[2].requires_grad_()
    ran = backwards_of(model, input_grad=False)
    assert ran["body"] is False and ran["body.residual"] is False and ran["body.residual.body.2"] is False
    assert "body.first" not in ran and "body.residual.body.1" not in ran and "body.residual.body.0" not in ran
    assert ran["body.sum"] and ran["body.joint"] and ran["body.residual.body.3"]
    model.requires_grad_(False)
    assert backwards_of(model, input_grad=False) == {"": False}
    assert len(backwards_of(model, input_grad=True)) == len(list(model.named_layers()))


def test_branches_in_which_nothing_learns_are_skipped():
    model = m.Concat(m.Sequential(m.Dense(5, 5, rng=0), m.Tanh()), m.Dense(5, 5, rng=1)).to(dtype="float64")
    model[0].requires_grad_(False)
    assert "0.0" not in backwards_of(model, input_grad=False)
    assert "0.1" not in backwards_of(model, input_grad=False)


# --- modes -----------------------------------------------------------------------------------------------


def net():
    return m.Sequential(
        {
            "backbone": m.Sequential(m.Dense(5, 4, rng=0), m.BatchNorm1d(4), m.Dropout(0.5, rng=0)),
            "head": m.Sequential(m.BatchNorm1d(4), m.Dense(4, 2, rng=1)),
        }
    ).to(dtype="float64")


def test_frozen_with_eval_stays_in_inference_mode(backend):
    model = net()
    backbone = model[0]
    assert backbone.requires_grad_(False, eval=True) is backbone
    for copied in (model, pickled(model), copy.deepcopy(model)):
        body, top = copied
        before = {k: xpconv.asnumpy(v) for k, v in body.state_dict().items()}
        for _ in range(2):
            copied.train()
            assert [part.training for part in body] == [False] * 3 and top[0].training
            copied.eval()
            assert not body[1].training and not top[0].training
        copied.train()
        run(copied, inputs())
        for key, value in body.state_dict().items():
            np.testing.assert_array_equal(xpconv.asnumpy(value), before[key], err_msg=key)
        assert int(top[0].num_batches_tracked) >= 1
    assert set(model.state_dict()) == set(net().state_dict())


def test_thawing_gives_the_mode_that_the_model_has():
    model = net()
    backbone = model[0]
    backbone.requires_grad_(False, eval=True).requires_grad_()
    assert backbone[1].training  # as it was
    backbone.requires_grad_(False, eval=True)
    model.eval()
    backbone.requires_grad_()
    assert not backbone[1].training
    model.eval()
    backbone.requires_grad_(False, eval=True)
    model.train()
    backbone[1].requires_grad_()  # a part of it
    assert backbone[1].training and not backbone[2].training
    backbone.requires_grad_(False)  # says nothing on the mode
    assert backbone[1].training and not backbone[2].training
    model.train()
    model.summary((5,))  # runs the model in inference mode for once
    backbone.requires_grad_()
    assert all(layer.training for _, layer in model.named_layers())


def test_frozen_batchnorm_in_training_takes_the_batch_as_in_pytorch(backend):
    layer = m.BatchNorm1d(5, dtype="float64").requires_grad_(False)
    run(layer, inputs())
    assert int(layer.num_batches_tracked) == 1


@pytest.mark.parametrize("value", [0, 1, None, "no", np.ones(2)])
def test_flags_are_true_or_false(value):
    layer = m.Dense(2, 2)
    with pytest.raises(TypeError, match="requires_grad"):
        layer.requires_grad_(value)
    with pytest.raises(TypeError, match="requires_grad"):
        layer.weight.requires_grad = value
    with pytest.raises(TypeError, match="requires_grad"):
        m.Parameter(np.ones(2), requires_grad=value)
    with pytest.raises(TypeError, match="eval"):
        layer.requires_grad_(False, eval=value)
    with pytest.raises(TypeError, match="set_to_none"):
        layer.zero_grad(set_to_none=value)
    assert layer.weight.requires_grad
    layer.requires_grad_(np.False_)
    assert layer.weight.requires_grad is False
    layer.weight.requires_grad = np.True_
    assert layer.weight.requires_grad is True
    with pytest.raises(ValueError, match="eval=True is for frozen"):
        layer.requires_grad_(True, eval=True)
    with pytest.raises(TypeError, match="name is False"):
        m.Parameter(np.ones(2), False)


# --- the rest of the library ---------------------------------------------------------------------------------


def test_copies_moves_and_fusion_keep_the_flag(backend):
    model = m.Sequential(m.Conv2d(4, 4, 3, rng=0), m.BatchNorm2d(4), m.ReLU(), m.Conv2d(4, 2, 1, rng=1))
    model[0].requires_grad_(False)
    model[1].requires_grad_(False)
    flags = {"0.weight": False, "0.bias": False, "3.weight": True, "3.bias": True}
    for copied in (
        pickled(model),
        copy.deepcopy(model),
        model.to(dtype="float64"),
        model.fuse(),
    ):
        found = {n: p.requires_grad for n, p in copied.named_parameters()}
        assert {n: found[n] for n in flags} == flags
    fresh = m.Sequential(m.Conv2d(4, 4, 3), m.BatchNorm2d(4), m.ReLU(), m.Conv2d(4, 2, 1))
    fresh.load_state_dict(model.state_dict())
    assert all(p.requires_grad for p in fresh.parameters())


@pytest.mark.parametrize(
    ("conv", "norm", "weight", "bias"),
    [(False, False, False, False), (True, False, True, False), (False, True, True, True)],
)
def test_what_fusion_makes_of_two_is_frozen_if_both_are(conv, norm, weight, bias):
    model = m.Sequential(m.Conv2d(4, 4, 3, bias=False), m.BatchNorm2d(4))
    model[0].requires_grad_(conv)
    model[1].requires_grad_(norm)
    fused = model.fuse()
    assert (fused[0].weight.requires_grad, fused[0].bias.requires_grad) == (weight, bias)


def test_clipping_counts_what_learns(backend):
    a, b, c = (m.Parameter(xpconv.asarray(np.zeros(2))) for _ in range(3))
    for p in (a, b, c):
        p.grad = xpconv.asarray(np.array([3.0, 4.0]))
    b.requires_grad = False
    assert float(m.clip_grad_norm_([a, b], 1.0)) == 5.0
    assert float(m.clip_grad_norm_([b], 1.0)) == 0.0
    m.clip_grad_value_([b, c], 2.0)
    np.testing.assert_allclose(xpconv.asnumpy(b.grad), [3.0, 4.0])
    np.testing.assert_allclose(xpconv.asnumpy(c.grad), [2.0, 2.0])


def test_zero_grad_may_keep_the_arrays(backend):
    layer = m.Dense(5, 2, dtype="float64", rng=0)
    layer.bias.requires_grad = False
    run(layer, inputs())
    grad = layer.weight.grad
    layer.zero_grad(set_to_none=False)
    assert layer.weight.grad is grad and not xpconv.asnumpy(grad).any() and layer.bias.grad is None
    run(layer, inputs())
    assert layer.weight.grad is grad and xpconv.asnumpy(grad).any()
    layer.zero_grad()
    assert layer.weight.grad is None


def test_an_old_gradient_of_what_was_frozen_stays_as_it_is(backend):
    layer = m.Dense(5, 2, dtype="float64", rng=0)
    run(layer, inputs())
    old = xpconv.asnumpy(layer.weight.grad).copy()
    layer.weight.requires_grad = False
    run(layer, inputs())
    np.testing.assert_array_equal(xpconv.asnumpy(layer.weight.grad), old)
    layer.weight.requires_grad = True
    run(layer, inputs())
    np.testing.assert_array_equal(xpconv.asnumpy(layer.weight.grad), 2 * old)


def test_own_layers_need_not_know(backend):
    class Scale(m.Layer):
        def __init__(self):
            self.weight = m.Parameter(xpconv.asarray(np.ones(5)), "weight")

        def forward(self, x):
            return self.keep(x * self.weight.data, x)

        def backward(self, grad_output, input_grad=True):
            (x,) = self.recall(grad_output)
            self.weight.accumulate((grad_output * x).sum(axis=0))
            return grad_output * self.weight.data if input_grad else None

    layer = Scale().requires_grad_(False)
    run(layer, inputs())
    assert layer.weight.grad is None
    layer.requires_grad_()
    run(layer, inputs())
    assert layer.weight.grad is not None


@pytest.mark.parametrize("clip", [m.clip_grad_norm_, m.clip_grad_value_])
@pytest.mark.parametrize(
    "parameters", [m.Dense(2, 2), [np.ones(2)], 3, None, "ab", {"p": m.Parameter(np.ones(2))}, [[]]], ids=repr
)
def test_clipping_takes_parameters(clip, parameters):
    with pytest.raises(TypeError, match=r"parameters holds .* give model\.parameters\(\)"):
        clip(parameters, 1.0)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_passes_over_what_is_frozen(name, backend):
    """Weight decay, momentum and old gradients included; and goes on once it learns again."""
    options = OPTIMIZERS[name]
    layers = [m.Dense(4, 3, dtype="float64", rng=0) for _ in range(2)]
    optimizers = [getattr(m, name)(layer.parameters(), **options) for layer in layers]
    x = inputs((5, 4))
    for step in range(6):
        frozen = step in (2, 3)
        layers[0].weight.requires_grad = not frozen
        before = xpconv.asnumpy(layers[0].weight).copy()
        for layer, optimizer in zip(layers, optimizers, strict=True):
            run(layer, x, seed=step)
            if frozen and layer is layers[1]:
                layer.weight.grad = None  # what it amounts to
            optimizer.step()
        assert np.array_equal(xpconv.asnumpy(layers[0].weight), before) == frozen
        for a, b in zip(*(layer.parameters() for layer in layers), strict=True):
            np.testing.assert_array_equal(xpconv.asnumpy(a), xpconv.asnumpy(b))
        if step != 1:  # so that there is an old gradient where it is frozen
            optimizers[0].zero_grad()
            optimizers[1].zero_grad()
    layers[0].requires_grad_(False)
    run(layers[0], x)
    with pytest.raises(RuntimeError, match="gradient"):
        optimizers[0].step()


def test_averages_and_scaling(backend):
    model = net()
    model[0].requires_grad_(False)
    before = xpconv.asnumpy(model[0][0].weight).copy()
    optimizer, scaler = m.SGD(model.parameters(), lr=0.1), m.GradScaler(4.0)
    ema = m.ExponentialMovingAverage(model, decay=0.5)
    for step in range(3):
        optimizer.zero_grad()
        run(model, inputs(), input_grad=False, seed=step)
        scaler.step(optimizer)
        scaler.update()
        ema.update()
    with ema.average_parameters():
        np.testing.assert_array_equal(xpconv.asnumpy(model[0][0].weight), before)
    np.testing.assert_array_equal(xpconv.asnumpy(model[0][0].weight), before)
    assert float(scaler.scale) == 4.0


def test_a_fused_copy_learns_what_is_not_frozen():
    """Programs with weights of their own follow a change of the parameter that they were made from."""
    model = m.Sequential(m.Conv2d(4, 4, 3, rng=0), m.BatchNorm2d(4), m.ReLU(), m.Conv2d(4, 2, 1, rng=1))
    fused = model.fuse()
    fused[0].requires_grad_(False)
    x = inputs(IMAGES).astype("float32")
    with m.no_grad():
        before = fused(x).copy()
    dx, grads = run(fused, x)
    assert (grads["0.weight"] is None, grads["3.weight"] is None) == (True, False)
    with m.no_grad():
        fused(x)  # of read-only arrays
    fused[3].bias += 1
    with m.no_grad():
        np.testing.assert_allclose(fused(x), before + 1, rtol=1e-5, atol=1e-5)
    fused[3].bias[0] = 7
    with m.no_grad():
        assert abs(fused(x) - before - 1)[:, 0].max() > 1
    assert dx is not None


def test_summary_counts_what_is_frozen():
    model = net()
    assert "frozen" not in model.summary()
    model[0].requires_grad_(False)
    assert model.summary().splitlines()[-1].split() == ["frozen", str(5 * 4 + 4 + 8)]
