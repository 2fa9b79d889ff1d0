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
    "ResNet-20": (225, 58),
    "MobileNetV2 96×96": (555, 84),
}
GRAPHED = 8  # launches of a training step of any model whose forward and backward are replayed
REPLAYED = 2  # of inference by a replayed graph
PLAIN_CALLS = {  # of Python functions in a training step without graphs: the rest of the host's work
    "LeNet-5": 900,
    "MNIST example": 840,
    "VGG-like 32×32": 1720,
    "ResNet-20": 4900,
    "MobileNetV2 96×96": 11450,
}
CALLS = {  # in such a training step and such an inference with replayed graphs
    "LeNet-5": (330, 60),
    "MNIST example": (340, 60),
    "VGG-like 32×32": (370, 60),
    "ResNet-20": (550, 70),
    "MobileNetV2 96×96": (1010, 140),
}


@functools.cache
def counts():
    """Of each model: a step, inference, both with replayed graphs; and calls of the first and the last two."""
    return launches.run(
        f"""
        import sys
        import xpconv.cuda
        sys.path.insert(0, "benchmarks")
        from networks import MODELS
        result = {{}}

        def calls(function):
            def see(frame, event, argument):
                seen[0] += event == "call"

            seen = [0]
            sys.setprofile(see)
            function()
            sys.setprofile(None)
            return seen[0]

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
            training, plain = counted(step), calls(step)
            fused = model.eval().fuse()
            inference = counted(infer)
            xpconv.cuda.graphed(model.train())
            for _ in range(4):
                step()
                infer()
            result[name] = training, inference, counted(step), counted(infer), plain, calls(step), calls(infer)
        """
    )


@pytest.mark.parametrize("name", BUDGET)
def test_launches_are_within_the_budget(name):
    found = [done["launches"] for done in counts()[name][:2]]
    assert found == [min(pair) for pair in zip(found, BUDGET[name], strict=True)]


@pytest.mark.parametrize("name", BUDGET)
def test_calls_are_within_the_budget(name):
    assert counts()[name][4] <= PLAIN_CALLS[name]


@pytest.mark.parametrize("name", BUDGET)
def test_nothing_waits_for_the_device_or_is_copied(name):
    for done in counts()[name][:2]:
        assert not {"syncs", "copies"} & set(done)


@pytest.mark.parametrize("name", BUDGET)
def test_replayed_graphs_leave_the_host_little_to_do(name):
    """Copies are of the input, the output and the gradient, on the device."""
    *_, step, inference, _, step_calls, inference_calls = counts()[name]
    assert step["launches"] <= GRAPHED
    assert inference["launches"] <= REPLAYED
    assert step["copies"] <= 3
    assert inference["copies"] <= 1
    assert not {"syncs", "allocations", "products", "cudnn"} & {*step, *inference}
    assert step_calls <= CALLS[name][0]
    assert inference_calls <= CALLS[name][1]
