"""What one process of several gets: samples, seeds, gradients; and a program with one process."""

import copy
import functools
import json
import operator
import pickle

import numpy as np
import pytest
import ranks

import xpconv
from xpconv import cores, distributed
from xpconv.data.batches import batches

PROGRAM = """
import copy, json, os, pickle, sys
import numpy as np
import xpconv
from xpconv import distributed

c = distributed.Communicator()
found = {}

def listed(data):
    return [[x.tolist() for x, *_ in data] for _ in range(2)]

def batches(*args, **named):
    return distributed.share(xpconv.data.batches(*args, **named))

x = np.arange(11)
found["order"] = listed(batches(x, 4))
found["shuffled"] = listed(batches(x, 4, shuffle=True, seed=c.rank))
found["dropped"] = listed(batches(x, 4, shuffle=True, drop_last=True, seed=None))
found["empty"] = listed(batches(x[:5], 4, transform=lambda batch, rng: batch[0] * 2, workers=2))
found["items"] = listed(batches([(i, float(i)) for i in range(5)], 4))
found["stream"] = listed(distributed.share([(x[:4],), (x[4:5],)]))
noise = lambda batch, rng: (rng.random(len(batch[0])),)
found["transformed"] = listed(batches(x, 4, seed=0, transform=noise))

model = xpconv.Sequential(xpconv.Dense(3, 2), xpconv.Dropout(0.5, rng=0), xpconv.BatchNorm1d(2))
xpconv.manual_seed(0)
optimizer = xpconv.SGD(model.parameters(), lr=1.0)
distributed.parallel(model, optimizer)
found["mask"] = [(xpconv.Dropout(0.5)(np.ones(40))).tolist(), model[1](np.ones(40)).tolist()]
model.forget()
copies = [copy.deepcopy(model), pickle.loads(pickle.dumps(model))]
found["copies"] = [other(np.full((4, 3), float(c.rank + 1), "float32") * np.arange(4)[:, None].astype("float32"))[0].tolist() for other in copies if c.rank]

layer = xpconv.Dense(2, 1, bias=False, dtype="float16")
narrow = xpconv.SGD(layer.parameters(), lr=1.0)
distributed.parallel(layer, narrow)
scaler = xpconv.GradScaler(4.0)
before = layer.weight.data.copy()
layer(np.ones((1, 2), "float16"))
layer.backward(np.full((1, 1), np.inf if c.rank else 1.0, "float16"))
scaler.step(narrow)
scaler.update()
found["overflow"] = [float(scaler.scale), bool((layer.weight.data == before).all())]

halves = xpconv.Dense(2, 1, bias=False)
adding = xpconv.SGD(halves.parameters(), lr=1.0)
distributed.parallel(halves, adding)
for k in (1.0, 2.0):  # two backwards for one step
    halves(np.full((1, 2), k * (c.rank + 1), "float32"))
    halves.backward(np.ones((1, 1), "float32"))
found["added"] = halves.weight.grad.tolist()
adding.zero_grad(set_to_none=False)
halves(np.full((1, 2), c.rank + 1.0, "float32"))
halves.backward(np.ones((1, 1), "float32"))
found["after zero_grad"] = halves.weight.grad.tolist()
adding.step()
outer = xpconv.Sequential(halves)  # whose backward is not that of the parallel model
adding.zero_grad()
outer(np.full((1, 2), c.rank + 1.0, "float32"))
outer.backward(np.ones((1, 1), "float32"))
start = halves.weight.data.copy()
adding.step()
found["outer"] = (start - halves.weight.data).round(5).tolist()
found["float16"] = c.average(np.full(3, c.rank, "float16")).tolist()
found["strided"] = c.average(np.full((4, 4), float(c.rank))[::2, ::2]).tolist()
found["broadcast"] = [c.broadcast(np.array([c.rank, 3])).tolist(), c.broadcast(np.array(True) if c.rank else np.array(False)).tolist(), c.broadcast(np.zeros((0, 2))).shape]
found["threads"] = xpconv.get_num_threads() if hasattr(xpconv, "get_num_threads") else 1
json.dump(found, open(f"{c.rank}.json", "w"))
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    pytest.importorskip("mpi4py")
    if ranks.mpiexec() is None:
        pytest.skip("there is no mpiexec")
    folder = tmp_path_factory.mktemp("parts")
    done = ranks.run(folder, PROGRAM, PYTHONWARNINGS="default")
    assert done.returncode == 0, done.stderr
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(2)]


def joined(found, name, epoch):
    """The samples of all processes, by batch."""
    return [
        sorted(functools.reduce(operator.iadd, parts, []))
        for parts in zip(*(f[name][epoch] for f in found), strict=True)
    ]


@pytest.mark.slow
def test_each_sample_once(found):
    assert [f["order"][0] for f in found] == [[[0, 2], [4, 6], [8, 10]], [[1, 3], [5, 7], [9]]]
    plain = batches(np.arange(11), 4, shuffle=True, seed=0)
    for epoch in range(2):
        assert joined(found, "shuffled", epoch) == [sorted(x.tolist()) for (x,) in plain]
        dropped = joined(found, "dropped", epoch)
        assert [len(set(one)) for one in dropped] == [4, 4]
    assert found[0]["dropped"][0] != found[0]["dropped"][1]


def test_empty_parts(found):
    assert [f["empty"][0] for f in found] == [[[0, 4], [8]], [[2, 6], []]]
    assert [f["items"][0] for f in found] == [[[0, 2], [4]], [[1, 3], []]]
    assert [f["stream"][0] for f in found] == [[[0, 2], [4]], [[1, 3], []]]


def test_random_numbers_differ(found):
    assert found[0]["transformed"] != found[1]["transformed"]
    for one, other in zip(found[0]["mask"], found[1]["mask"], strict=True):
        assert one != other
    xpconv.manual_seed(0)
    np.testing.assert_array_equal(found[0]["mask"][0], xpconv.Dropout(0.5)(np.ones(40)))


def test_copies_are_not_parallel(found):
    """The other process does not run them at all."""
    assert len(found[1]["copies"]) == 2


def test_overflow_in_one_process_skips_the_step_in_all(found):
    assert [f["overflow"] for f in found] == [[2.0, True]] * 2


def test_gradients(found):
    for one in found:
        np.testing.assert_allclose(one["added"], [[4.5, 4.5]])
        np.testing.assert_allclose(one["after zero_grad"], [[1.5, 1.5]])
        np.testing.assert_allclose(one["outer"], [[1.5, 1.5]], atol=1e-5)


def test_arrays(found):
    for one in found:
        assert one["float16"] == [0.5] * 3
        assert one["strided"] == [[0.5, 0.5]] * 2
        assert one["broadcast"] == [[0, 3], False, [0, 2]]


def test_one_process():
    c = distributed.Communicator()
    assert (c.rank, c.size, c.meet("anything", True)) == (0, 1, True)
    again = pickle.loads(pickle.dumps(copy.deepcopy(c)))  # noqa: S301
    assert again.size == 1
    model = xpconv.Dense(2, 1)
    assert distributed.parallel(model, xpconv.SGD(model.parameters(), lr=1.0)).size == 1
    assert "_after_backward" not in vars(model)


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ((None, None), TypeError, "parallel: model is None"),
        ((xpconv.ReLU(), 3), TypeError, "parallel: optimizer is 3"),
        (
            (xpconv.Dense(1, 1), xpconv.SGD(xpconv.Dense(1, 1).parameters(), 0.1)),
            ValueError,
            "are not the model's",
        ),
        (
            (model := xpconv.Dense(1, 1), xpconv.SGD(model.parameters(), 0.1), 2),
            TypeError,
            "communicator is 2",
        ),
    ],
)
def test_wrong_arguments_of_parallel(arguments, error, text):
    with pytest.raises(error, match=text):
        distributed.parallel(*arguments)


@pytest.mark.parametrize("data", [3, None, np.ones(3), "text", {1: 2}])
def test_wrong_arguments_of_share(data):
    with pytest.raises(TypeError, match="share: data is "):
        distributed.share(data)
    with pytest.raises(TypeError, match="share: communicator is 1"):
        distributed.share([], 1)


def test_wrong_arrays(backend):
    c = distributed.Communicator()
    with pytest.raises(TypeError, match=r"Communicator.average: array is int64, expected a floating dtype"):
        c.average(xpconv.asarray([1, 2], "int64"))
    masked, parameter = np.ma.masked_array([1.0], [True]), xpconv.Parameter(xpconv.asarray([1.0]))
    for wrong in (None, 3, 1j, [1.0], "a", masked, parameter):
        with pytest.raises(TypeError, match=r"^Communicator\.average: array"):
            c.average(wrong)
        with pytest.raises(TypeError, match=r"^Communicator\.broadcast: array"):
            c.broadcast(wrong)
    with pytest.raises(TypeError, match=r"array: expected .* builtins.list; .*xpconv.asarray\(array\)"):
        c.average([1.0])
    fixed = np.ones(2)
    fixed.flags.writeable = False
    for method in (c.average, c.broadcast):  # they replace values in place, whatever the number of processes
        with pytest.raises(
            TypeError, match=r"array is (numpy.float32|2\.0|np\.float32).*xpconv.asarray\(\[number\]\)"
        ):
            method(np.float32(2))
        with pytest.raises(ValueError, match="array is read-only"):
            method(fixed)


def test_threads_are_divided(monkeypatch):
    for name in ("XPCONV_NUM_THREADS", "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(cores, "cores", lambda: 8)
    monkeypatch.setenv("MPI_LOCALNRANKS", "3")
    assert cores.count_from_environment() == (2, "")
    monkeypatch.setenv("MPI_LOCALNRANKS", "20")
    assert cores.count_from_environment() == (1, "")
    monkeypatch.setenv("XPCONV_NUM_THREADS", "5")
    assert cores.count_from_environment() == (5, "XPCONV_NUM_THREADS")


def test_a_wrong_switch(monkeypatch):
    monkeypatch.setenv("XPCONV_DISTRIBUTED", "off")
    with pytest.raises(ValueError, match="XPCONV_DISTRIBUTED is 'off', expected 0 or 1"):
        distributed.processes.launched()
