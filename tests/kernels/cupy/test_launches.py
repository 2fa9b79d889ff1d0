"""How many launches layers, losses and averages of weights take, at most, in real CuPy on a simulated CUDA.

A layer's forward has one more here than within a model: the copy of its input.
"""

import functools

import launches
import numpy as np
import pytest

launches.require()

IMAGES, VECTORS, PIXELS = (4, 16, 8, 8), (64, 100), (4, 8, 8, 16)
LAYERS = {  # how it is made: the shape of its input, and launches of forward and backward
    **{
        f"x.{name}()": (VECTORS, 2, 1)
        for name in [
            "ELU",
            "GELU",
            "Hardsigmoid",
            "Hardswish",
            "LeakyReLU",
            "LogSigmoid",
            "Mish",
            "ReLU",
            "SiLU",
            "Sigmoid",
            "Softplus",
            "Tanh",
        ]
    },
    "x.GELU('tanh')": (VECTORS, 2, 1),
    "x.LayerNorm(100)": (VECTORS, 2, 3),
    "x.LayerNorm(16)": (PIXELS, 2, 3),
    "x.RMSNorm(100)": (VECTORS, 2, 3),
    "x.Softmax(-1)": (VECTORS, 2, 1),
    "x.LogSoftmax(1)": (IMAGES, 3, 2),
    "x.GroupNorm(4, 16)": (IMAGES, 2, 3),
    "x.InstanceNorm2d(16)": (IMAGES, 2, 1),
    "x.LocalResponseNorm(5)": (IMAGES, 2, 1),
    "x.AdaptiveMaxPool2d(3)": (IMAGES, 1, 1),
    "x.AdaptiveAvgPool2d(1)": (IMAGES, 1, 1),
    "x.Dropout(0.5)": (VECTORS, 3, 1),
    "x.DropPath(0.5)": (IMAGES, 3, 1),
    "x.SqueezeExcitation(16, 4)": (IMAGES, 7, 12),
}
LOSSES = {  # launches of forward and backward
    "x.BCELoss()": (4, 2),
    "x.BCEWithLogitsLoss()": (4, 2),
    "x.HuberLoss()": (3, 2),
    "x.KLDivLoss()": (4, 2),
    "x.MSELoss()": (3, 2),
    "x.SmoothL1Loss()": (3, 2),
}

STEPS = {"Adam": 3, "SGD": 3, "LARS": 3, "LAMB": 4}  # launches of a step of 16 parameters


@functools.cache
def counts():
    """Of each layer and loss, forward and backward; of steps of optimizers; of averaging 12 weights."""
    return launches.run(
        f"""
        x, result = xpconv, {{}}

        def count(run):
            run()
            return counted(run)

        for make, (shape, *_) in {LAYERS}.items():
            layer, data = eval(make), cp.zeros(shape, "float32")
            if len(shape) == 4 and shape[1] == 16:
                data = cp.moveaxis(cp.zeros((4, 8, 8, 16), "float32"), -1, 1)
            grad = cp.zeros_like(layer(data))
            layer.backward(grad)
            layer.zero_grad(set_to_none=True)
            forward = count(lambda: layer(data))
            layer.backward(grad)
            layer.zero_grad(set_to_none=True)
            result[make] = forward, counted(lambda: layer.backward(grad))
        for make in {list(LOSSES)}:
            loss, data, target = eval(make), cp.zeros((64, 100), "float32"), cp.zeros((64, 100), "float32")
            forward = count(lambda: loss(data, target))
            loss.backward()
            result[make] = forward, counted(lambda: loss.backward())
        for name in {list(STEPS)}:
            model = x.Sequential(*[x.Dense(90, 90) for _ in range(8)])
            optimizer, grads = getattr(x, name)(model.parameters(), lr=0.1), [cp.zeros((90, 90), "float32"), cp.zeros(90, "float32")]

            def step():
                for parameter, grad in zip(model.parameters(), grads * 8):
                    parameter.grad = grad
                optimizer.step()

            result[name] = count(step), {{}}
        average = x.ExponentialMovingAverage(x.Sequential(*[x.Dense(3, 3) for _ in range(6)]))
        result["average"] = count(average.update), {{}}
        model = x.Sequential(*[x.Conv2d(30, 30, 3) for _ in range(6)])
        for parameter in model.parameters():
            parameter.grad = cp.zeros_like(parameter.data)
        result["clip"] = [count(lambda: clip(model.parameters(), 1.0)) for clip in (x.clip_grad_norm_, x.clip_grad_value_)]
        """
    )


@pytest.mark.parametrize("make", [*LAYERS, *LOSSES])
def test_launches_are_within_the_budget(make):
    budget = LAYERS[make][1:] if make in LAYERS else LOSSES[make]
    found = tuple(done.get("launches", 0) for done in counts()[make])
    assert found == tuple(min(pair) for pair in zip(found, budget, strict=True))


@pytest.mark.parametrize("name", STEPS)
def test_a_step_takes_few_launches(name):
    assert counts()[name][0] == {"launches": STEPS[name]}


def test_twelve_averages_take_one_launch():
    assert counts()["average"][0] == {"launches": 1}


def test_clipping_twelve_gradients_takes_few_launches():
    assert counts()["clip"] == [{"launches": 11}, {"launches": 4}]


def test_nothing_waits_or_copies():
    for name, both in counts().items():
        for done in both:
            assert not {"copies", "syncs"} & set(done), name


def test_numbers_and_structs_reach_the_kernel():
    """Also in repeated launches, since their arguments are cached; zeros keep their sign."""
    found = launches.run(
        """
        from fakecuda import arguments
        from xpconv.geometry import Window
        from xpconv.kernels.cupy import launch

        x, window = cp.zeros(3, "float32"), launch.geometry(cp, Window((3,), (1,), ((2, 2),), (1,)), (7,), (9,))
        plain = launch.struct([11, 12])
        given = [5, -3, 0, 1 << 40, 0.5, -0.25, 0.0, -0.0, 1e300, float("inf"), float("nan"), window, plain, x]
        result = []
        for _ in range(2):
            call = lambda: launch.launch(cp, "pointwise.cu", "clip", 3, *given)
            result.append(arguments(call, 1 + len(given)))
        result = result, x.data.ptr
        """
    )
    (once, again), address = found
    floats = np.array([0.5, -0.25, 0.0, -0.0, 1e300, np.inf, np.nan]).view("int64").tolist()
    assert once == [3, 5, -3, 0, 1 << 40, *floats, 1, 11, address]
    assert again == once
