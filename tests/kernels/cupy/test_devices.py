"""Arrays on another device than the current one: real CuPy on two simulated devices (`helpers/launches.py`)."""

import functools

import launches
import pytest

launches.require()


@functools.cache
def found():
    return launches.run(
        """
        result = {}

        def note(name, function):
            try:
                result[name] = function()
            except Exception as error:
                result[name] = f"{type(error).__name__}: {error}"

        with cp.cuda.Device(1):
            conv = xpconv.Conv2d(3, 8, 3, padding=1)
            odd = xpconv.Conv2d(3, 8, 3, padding=1, dtype="float64")
            dense = xpconv.Dense(4, 5)
            x, v = cp.zeros((2, 3, 6, 6), "float32"), cp.zeros((2, 4), "float32")
            model = xpconv.Sequential(conv, xpconv.BatchNorm2d(8), xpconv.ReLU(), xpconv.MaxPool2d(2), xpconv.Flatten(),
                                      xpconv.Dropout(), xpconv.Dense(72, 10))
        here = xpconv.Dense(4, 5)
        for name, call in {
            "ReLU": lambda: xpconv.ReLU()(x),
            "MaxPool2d": lambda: xpconv.MaxPool2d(2)(x),
            "Conv2d": lambda: conv(x),
            "Conv2d without cuDNN": lambda: odd(x.astype("float64")),
            "Dense": lambda: dense(v),
            "BatchNorm2d": lambda: xpconv.BatchNorm2d(3)(x),
        }.items():
            note(name, call)

        def train():
            criterion, optimizer = xpconv.SoftmaxCrossEntropyLoss(), xpconv.Adam(model.parameters())
            for _ in range(2):
                criterion(model(x), cp.zeros(2, "int64"))
                optimizer.zero_grad()
                model.backward(criterion.backward())
                optimizer.step()
            arrays = [optimizer._data, optimizer._counters, *optimizer._moments.values(), x]
            return sorted({a.device.id for a in arrays})

        def train_on_1():
            with cp.cuda.Device(1):
                return train()

        def step_elsewhere():
            optimizer = xpconv.SGD(dense.parameters(), lr=0.1, momentum=0.9)
            with cp.cuda.Device(1):
                for p in dense.parameters():
                    p.grad = cp.ones_like(p.data)
            optimizer.step()
            arrays = [optimizer._data, optimizer._counters, *optimizer._moments.values()]
            return sorted({a.device.id for a in arrays}), cp.cuda.runtime.getDevice()

        note("train", train_on_1)
        note("step", step_elsewhere)
        note("both", lambda: str(xpconv.SGD([*dense.parameters(), *here.parameters()], lr=0.1)))
        """
    )


@pytest.mark.parametrize(
    "name", ["ReLU", "MaxPool2d", "Conv2d", "Conv2d without cuDNN", "Dense", "BatchNorm2d"]
)
def test_a_layer_refuses_arrays_of_another_device(name):
    """The error is a BackendError, or CuPy's own where CuPy has to copy the array first."""
    ours = "an array is on device 1, but the current device is 0"
    assert ours in str(found()[name]) or "(1) is different from the current device (0)" in found()[name]


def test_a_model_trains_on_a_second_device():
    assert found()["train"] == [1]


def test_an_optimizer_is_where_its_parameters_are():
    assert found()["step"] == [[1], 0]


def test_parameters_on_two_devices_are_refused():
    assert found()["both"].startswith(
        "BackendError: SGD: parameter 2 ('weight') is on device 0 but parameter 0"
    )


@pytest.mark.parametrize(
    ("variable", "place", "device"),
    [("LOCAL_RANK", "3", 1), ("MPI_LOCALRANKID", "1", 1), ("LOCAL_RANK", "", 0)],
)
def test_processes_on_a_machine_get_devices_of_their_own(monkeypatch, variable, place, device):
    monkeypatch.setenv(variable, place)
    assert (
        launches.run("result = cp.cuda.Device().id, xpconv.Dense(2, 2).weight.data.device.id") == [device] * 2
    )
