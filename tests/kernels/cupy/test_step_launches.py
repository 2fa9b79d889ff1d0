"""How many launches a training step and inference of the benchmarks' models take, at most; no copies and no waiting.

A plain loop waits for the host, whose work is mostly launches: this is their budget. Nothing runs on a device here.
"""

import functools

import launches
import pytest

launches.require()
pytest.importorskip("torch", reason="the benchmarks import it")

BUDGET = {  # launches of a training step and of inference, without those inside cuDNN and cuBLAS
    "LeNet-5": (36, 13),
    "MNIST example": (38, 9),
    "VGG-like 32×32": (78, 23),
    "ResNet-20": (230, 65),
    "MobileNetV2 96×96": (568, 84),
}


@functools.cache
def counts():
    """Of each model: a training step and inference."""
    return launches.run(
        f"""
        import sys
        sys.path.insert(0, "benchmarks")
        from networks import MODELS
        result = {{}}
        for name in {list(BUDGET)}:
            make, shape = MODELS[name]
            model, criterion = make(), xpconv.SoftmaxCrossEntropyLoss()
            optimizer = xpconv.Adam(model.parameters())
            x, y = cp.zeros((2, *shape), "float32"), cp.zeros(2, "int64")

            def step():
                criterion(model(x), y)
                optimizer.zero_grad()
                model.backward(criterion.backward(), input_grad=False)
                optimizer.step()

            def infer():
                with xpconv.no_grad():
                    fused(x)

            step()
            step()
            training = counted(step)
            fused = model.eval().fuse()
            infer()
            result[name] = training, counted(infer)
        """
    )


@pytest.mark.parametrize("name", BUDGET)
def test_launches_are_within_the_budget(name):
    found = [done["launches"] for done in counts()[name]]
    assert found == [min(pair) for pair in zip(found, BUDGET[name], strict=True)]


@pytest.mark.parametrize("name", BUDGET)
def test_nothing_waits_for_the_device_or_is_copied(name):
    for done in counts()[name]:
        assert not {"syncs", "copies"} & set(done)
