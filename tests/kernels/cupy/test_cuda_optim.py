"""The optimizers' CUDA kernels, emulated, against the array code; see `test_cuda.py` for what that leaves open."""

import double
import emulation
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import xpconv
from xpconv import kernels
from xpconv.kernels import graph

pytestmark = pytest.mark.skipif(emulation.COMPILER is None, reason="g++ is not installed")
FLAG, SHARE = st.booleans(), st.sampled_from([0.0, 0.3, 0.9])
ADAM = {"betas": st.tuples(SHARE, st.sampled_from([0.0, 0.9, 0.999])), "eps": st.sampled_from([1e-8, 1e-3])}
SETTINGS = {
    "SGD": {"momentum": SHARE, "dampening": SHARE, "maximize": FLAG},
    "Adam": {**ADAM, "amsgrad": FLAG, "maximize": FLAG},
    "AdamW": {**ADAM, "amsgrad": FLAG, "maximize": FLAG},
    "NAdam": {**ADAM, "momentum_decay": st.sampled_from([0.0, 4e-3]), "decoupled_weight_decay": FLAG, "maximize": FLAG},
    "RAdam": {**ADAM, "decoupled_weight_decay": FLAG, "maximize": FLAG},
    "RMSprop": {"alpha": st.sampled_from([0.5, 0.99]), "momentum": SHARE, "centered": FLAG, "maximize": FLAG, "eps": st.just(1e-3)},
    "Adagrad": {"lr_decay": SHARE, "initial_accumulator_value": SHARE, "maximize": FLAG},
    "Adadelta": {"rho": st.sampled_from([0.0, 0.9, 1.0]), "eps": st.just(1e-3), "maximize": FLAG},
    "Adamax": {**ADAM, "maximize": FLAG},
    "Lion": {"betas": ADAM["betas"]},
    "LARS": {"momentum": SHARE, "trust_coefficient": st.sampled_from([0.0, 0.02]), "eps": ADAM["eps"]},
    "LAMB": ADAM,
}  # fmt: skip


def trained(name, options, dtype, fused, seed):
    """The parameters after steps in which one of them has no gradient at first, and the rate changes."""
    rng = np.random.default_rng(seed)
    with pytest.MonkeyPatch.context() as patch, xpconv.use_backend("double"):
        if not fused:
            patch.delitem(kernels.overrides(double.xp), "update")
        p, q, r = (
            xpconv.Parameter(xpconv.asarray(rng.normal(size=n).astype(dtype))) for n in ((2, 3), (), (4,))
        )
        optimizer = getattr(xpconv, name)(
            [{"params": [p, q], **options}, {"params": [r], "lr": 0.05}], lr=0.01
        )
        for step in range(7):
            optimizer.param_groups[0]["lr"] = 0.01 / (1 + step)
            for parameter in (p, q, r):
                grad = xpconv.asarray(rng.normal(size=parameter.shape).astype(dtype))
                parameter.grad = None if parameter is q and step < 2 else grad
            optimizer.step()
        return np.concatenate([xpconv.asnumpy(x.data).ravel() for x in (p, q, r)])


@pytest.mark.sample(3)
@pytest.mark.parametrize("name", SETTINGS)
@settings(max_examples=15)
@given(data=st.data())
def test_a_kernel_does_what_the_array_code_does(name, data):
    options = {key: data.draw(strategy) for key, strategy in SETTINGS[name].items()}
    options["weight_decay"] = data.draw(st.sampled_from([0.0, 0.1]))
    if name == "SGD" and options["momentum"] and not options["dampening"]:
        options["nesterov"] = data.draw(FLAG)
    seed = data.draw(st.integers(0, 9))
    for dtype, tolerance in (("float32", 2e-6), ("float64", 1e-12)):
        ours, theirs = (trained(name, options, dtype, fused, seed) for fused in (True, False))
        np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", SETTINGS)
def test_a_step_is_a_few_launches(name, monkeypatch):
    launches = []
    call = emulation.RawKernel.__call__
    monkeypatch.setattr(
        emulation.RawKernel, "__call__", lambda self, *a: (launches.append(self.name), call(self, *a))
    )
    with xpconv.use_backend("double"):
        model = xpconv.Dense(3, 2)
        optimizer = getattr(xpconv, name)(model.parameters())
        for parameter in model.parameters():
            parameter.grad = xpconv.get_xp().ones_like(parameter.data)
        optimizer.step()
    assert launches[0] == "gather"  # of the gradients
    assert 2 <= len(launches) <= (4 if name == "LAMB" else 3)


@pytest.mark.parametrize("name", ["LARS", "LAMB"])
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
def test_norms_of_parameters_of_many_sizes(name, dtype):
    """Several chunks, none, exactly one; zeros; more parameters than a launch takes."""
    sizes = [4095, 4096, 4097, 0, 3 * 4096 + 1, 1, *[2 + i % 3 for i in range(205)], 9000]
    results = []
    for fused in (True, False):
        rng = np.random.default_rng(0)
        with pytest.MonkeyPatch.context() as patch, xpconv.use_backend("double"):
            if not fused:
                patch.delitem(kernels.overrides(double.xp), "update")
            params = [xpconv.Parameter(xpconv.asarray(rng.normal(size=n).astype(dtype))) for n in sizes]
            params[2].data[...] = 0
            optimizer = getattr(xpconv, name)(params, lr=0.1, weight_decay=0.1)
            for step in range(3):
                for i, p in enumerate(params):
                    scale = 0.0 if i == 1 else 1.0 + i % 7
                    p.grad = xpconv.asarray((scale * rng.normal(size=p.shape)).astype(dtype))
                optimizer.step(xpconv.asarray(step == 1))
            results.append(np.concatenate([xpconv.asnumpy(p.data) for p in params]))
    tolerance = {"float32": 2e-6, "float64": 1e-13, "float16": 2e-3}[dtype]
    np.testing.assert_allclose(*results, rtol=tolerance, atol=tolerance)


def test_a_replayed_step_takes_the_new_rate_and_counts():
    """What a graph does: the kernels again, on the same arrays, after the callback."""
    with xpconv.use_backend("double"):
        p = xpconv.Parameter(xpconv.asarray(np.ones(3)))
        optimizer = xpconv.SGD([p], lr=1.0, momentum=0.5)
        p.grad = xpconv.asarray(np.ones(3))
        optimizer.step()
        token = graph.recording.set(recording := graph.Recording())
        optimizer.step()
        graph.recording.reset(token)
        settings_before = optimizer._settings[0][1]
        optimizer.lr = 0.25
        (callback,) = recording.callbacks
        callback()
        assert optimizer._settings[0][1] is settings_before
        assert float(settings_before[0]) == 0.25
        assert optimizer._steps == [2]


class Plain(xpconv.LAMB):
    """An optimizer of a user, without a kernel."""

    kernel = ""


def test_array_code_is_refused_in_a_capture():
    with xpconv.use_backend("double"):
        p = xpconv.Parameter(xpconv.asarray(np.ones(3)))
        optimizer = Plain([p])
        p.grad = xpconv.asarray(np.ones(3))
        token = graph.recording.set(graph.Recording())
        try:
            with pytest.raises(RuntimeError, match=r"Plain\.step: this optimizer cannot be captured"):
                optimizer.step()
        finally:
            graph.recording.reset(token)
        assert xpconv.asnumpy(p.data).tolist() == [1.0] * 3


@pytest.mark.parametrize("name", ["Adam", "NAdam", "RAdam", "SGD", "Adagrad", "Adamax", "LAMB"])
def test_steps_left_out_on_the_device_do_not_mix_up_the_counts(name):
    """One parameter's skipped step, another's that was none: as many on the host, not on the device."""
    options = {"SGD": {"momentum": 0.9, "dampening": 0.5}, "Adagrad": {"lr_decay": 0.5}}.get(name, {})

    def train(together):
        with xpconv.use_backend("double"):
            p, q = (xpconv.Parameter(xpconv.asarray(np.ones(2))) for _ in range(2))
            groups = [[p, q]] if together else [[p], [q]]
            optimizers = [getattr(xpconv, name)(group, lr=0.1, **options) for group in groups]
            for skip, grads in ((True, (1, None)), (False, (None, 1)), (False, (1, 2)), (False, (3, 1))):
                for parameter, grad in zip((p, q), grads, strict=True):
                    parameter.grad = None if grad is None else xpconv.asarray(np.full(2, float(grad)))
                for optimizer in optimizers:
                    if any(x.grad is not None for x in optimizer._params):
                        optimizer.step(xpconv.asarray(skip))
            return [xpconv.asnumpy(x.data) for x in (p, q)]

    np.testing.assert_allclose(train(True), train(False), rtol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
def test_gradients_are_clipped_together(dtype, monkeypatch):
    """In any memory order, also without elements; as one vector, whose values are those of NumPy."""
    rng, launches = np.random.default_rng(0), []
    call = emulation.RawKernel.__call__
    monkeypatch.setattr(
        emulation.RawKernel, "__call__", lambda self, *a: (launches.append(self.name), call(self, *a))
    )
    grads = [
        rng.normal(size=shape).astype(dtype) for shape in ((5, 4), (0,), (), (70000,), (2, 3, 3, 4), (6, 8))
    ]
    grads[4], grads[5] = np.moveaxis(grads[4], -1, 1), grads[5][:, ::2].T
    for clip in (
        lambda params: xpconv.clip_grad_norm_(params, 1.5),
        lambda params: xpconv.clip_grad_norm_(params, 1.5, np.inf),
        lambda params: xpconv.clip_grad_value_(params, 0.7),
    ):
        results = []
        for backend in ("double", "numpy"):
            with xpconv.use_backend(backend) as xp:
                params = [xpconv.Parameter(xp.zeros(g.shape, dtype)) for g in grads]
                for p, g in zip(params, grads, strict=True):
                    p.grad = xpconv.asarray(g.copy(order="K"))
                norm = clip(params)
                results.append([0.0 if norm is None else norm, *(p.grad for p in params)])
        for a, b in zip(*results, strict=True):
            rtol, atol = (2e-3, 1e-7) if dtype == "float16" else (1e-6, 0)
            np.testing.assert_allclose(xpconv.asnumpy(a), b, rtol, atol)
            assert a.dtype == b.dtype if hasattr(a, "dtype") else a == b
    assert launches.count("gather") == (3 if dtype == "float16" else 6)
