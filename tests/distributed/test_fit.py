"""`train.fit` and `xpconv train` under mpiexec, without a change."""

import json

import numpy as np
import pytest
import ranks

pytest.importorskip("mpi4py")
if ranks.mpiexec() is None:
    pytest.skip("there is no mpiexec", allow_module_level=True)

FIT = """
import json, os, sys
import numpy as np
import xpconv
from xpconv import train

def run(options):
    xpconv.manual_seed(0)
    norm = [xpconv.BatchNorm1d(8)] if options.get("norm", True) else []
    model = xpconv.Sequential(xpconv.Dense(5, 8), *norm, xpconv.ReLU(), xpconv.Dense(8, 3)).to(dtype="float64")
    optimizer = xpconv.SGD(model.parameters(), lr=0.02, momentum=0.9)
    rng = np.random.default_rng(1)
    n = options.get("samples", 43)
    x, y = rng.normal(size=(n, 5)), rng.integers(0, 3, n)
    weight = np.array([0.2, 1.0, 3.0]) if options.get("weight") else None
    loss = xpconv.SoftmaxCrossEntropyLoss(weight, reduction=options.get("reduction", "mean"))
    data = xpconv.data.batches(x, y, 8, shuffle=True, seed=0)
    if options.get("list"):
        data = [(x[i : i + 8], y[i : i + 8]) for i in range(0, n, 8)]
    more = {"ema": xpconv.EMA(model, 0.9)} if options.get("ema") else {}
    callbacks = [train.EarlyStopping("valid_loss", patience=5), train.Checkpoint("files", every=3), train.CSVLogger("log.csv")]
    history = train.fit(
        model, loss, optimizer, data, xpconv.data.batches(x[:9], y[:9], 4), epochs=4, metrics=["accuracy"],
        accumulate=options.get("accumulate", 1), clip_grad_norm=options.get("clip"), callbacks=callbacks, resume="files",
        verbose=True, **more,
    )
    place = os.environ.get("PMI_RANK", "0")
    np.savez(f"{os.environ.get('PMI_SIZE', 1)}-{place}.npz", **{c: history[c] for c in history.columns}, **model.state_dict())
    assert optimizer._averaging is None and data is not None and (options.get("list") or data._part is None)

start = os.getcwd()
for folder, options in json.loads(sys.argv[1]).items():
    os.chdir(os.path.join(start, folder))
    run(options)
"""

OPTIONS = {
    "plain": {},
    "clipped, weighted": {"clip": 0.5, "weight": True},
    "accumulated": {"accumulate": 3, "weight": True, "norm": False},
    "sums": {"reduction": "sum", "accumulate": 2},
    "a list": {"list": True},
    "an empty part": {"norm": False, "samples": 41},
}


def compare(folder, one="1-0"):
    alone, first, second = (np.load(folder / f"{name}.npz") for name in (one, "2-0", "2-1"))
    for name in alone.files:
        np.testing.assert_array_equal(first[name], second[name], err_msg=name)
        np.testing.assert_allclose(first[name], alone[name], rtol=1e-6, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("kinds", [["plain"], pytest.param([*OPTIONS][1:], marks=pytest.mark.slow)], ids=len)
def test_fit_in_two_processes_is_that_in_one(tmp_path, kinds):
    """Parameters, statistics, losses and metrics; one process writes files and prints."""
    for count in (1, 2):
        for kind in kinds:
            (tmp_path / str(count) / kind).mkdir(parents=True)
        done = ranks.run(
            tmp_path / str(count), FIT, count, [json.dumps({kind: OPTIONS[kind] for kind in kinds})]
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("valid_loss") == len(kinds)
        for kind in kinds:
            assert len((tmp_path / str(count) / kind / "log.csv").read_text().splitlines()) == 5, kind
    for kind in kinds:
        (tmp_path / "1" / kind / "1-0.npz").rename(tmp_path / "2" / kind / "1-0.npz")
        compare(tmp_path / "2" / kind)


@pytest.mark.slow
def test_three_processes_and_a_batch_of_two(tmp_path):
    """In the last batch of an epoch one has no sample, and takes part in BatchNorm nevertheless."""
    for count in (1, 3):
        (tmp_path / str(count)).mkdir()
        done = ranks.run(
            tmp_path / str(count), FIT, count, [json.dumps({".": {"samples": 42, "weight": True}})]
        )
        assert done.returncode == 0, done.stderr
    alone, last = np.load(tmp_path / "1/1-0.npz"), np.load(tmp_path / "3/3-2.npz")
    for name in alone.files:
        np.testing.assert_allclose(last[name], alone[name], rtol=1e-6, atol=1e-6, err_msg=name)


DIFFERENT = """
import sys
import numpy as np
import xpconv
from xpconv import train

rank = xpconv.distributed.Communicator().rank
model = xpconv.Sequential(xpconv.Dense(5, 3), xpconv.BatchNorm1d(3))
x, y = np.ones((24, 5), "float32"), np.ones((24, 3), "float32")
class Stops:
    def on_batch_end(self, run):
        if rank and run.steps == 4:
            run.stop = "enough"
class Fails:
    def on_batch_end(self, run):
        if rank and run.steps == 4:
            raise KeyError("lost")
fewer = [(x[i : i + 4], y[i : i + 4]) for i in range(0, 24 - 4 * rank, 4)]
data = fewer if sys.argv[1] == "batches" else xpconv.data.batches(x, y, 4)
callbacks = {"stop": [Stops()], "error": [Fails()]}.get(sys.argv[1], [])
loss = xpconv.MSELoss(reduction="sum" if rank and sys.argv[1] == "loss" else "mean")
history = train.fit(model, loss, xpconv.SGD(model.parameters(), lr=0.1), data, epochs=3, callbacks=callbacks)
sys.stdout.write(f"steps {rank} {len(history)} {history.stopped}\\n")
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("batches", "the processes differ: rank 0: "),
        ("loss", "rank 1: fit: begin with reduction sum"),
        ("error", "has ended by KeyError: 'lost'"),
    ],
)
def test_fits_that_differ(tmp_path, kind, text):
    done = ranks.run(tmp_path, DIFFERENT, 2, [kind])
    assert done.returncode != 0
    assert text in done.stderr
    assert "steps" not in done.stdout


@pytest.mark.slow
def test_one_process_stops_all(tmp_path):
    done = ranks.run(tmp_path, DIFFERENT, 2, ["stop"])
    assert done.returncode == 0, done.stderr
    assert "steps 1 0 enough" in done.stdout
    assert "steps 0 0 interrupted" in done.stdout


@pytest.mark.slow
def test_each_by_itself(tmp_path):
    """XPCONV_DISTRIBUTED=0: other data in each process, and no error."""
    done = ranks.run(tmp_path, DIFFERENT, 2, ["batches"], XPCONV_DISTRIBUTED="0")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("steps 0 3 None") == 2


COMMAND = "import sys\nfrom xpconv.cli import main\nsys.exit(main())"


@pytest.mark.slow
def test_the_command_line(tmp_path):
    arguments = [
        "train",
        "digits",
        "--epochs",
        "1",
        "--out",
        str(tmp_path / "run"),
        "--model",
        "small_cnn",
        "--workers",
        "0",
    ]
    done = ranks.run(tmp_path, COMMAND, 2, arguments, PYTHONWARNINGS="default")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("accuracy on the") == 1
    assert {"model.safetensors", "report.html", "log.csv", "checkpoints"} <= {
        p.name for p in (tmp_path / "run").iterdir()
    }
    again = ranks.run(
        tmp_path, COMMAND, 2, [*arguments[:3], "2", *arguments[4:], "--resume"], PYTHONWARNINGS="default"
    )
    assert again.returncode == 0, again.stderr
    assert len((tmp_path / "run/log.csv").read_text().splitlines()) == 3
    broken = ranks.run(tmp_path, COMMAND, 2, arguments, PYTHONWARNINGS="default")
    assert broken.returncode != 0
    assert "has a run already" in broken.stderr


TOGETHER = """
import os, signal, sys
import numpy as np
import xpconv
from xpconv import distributed, train

rank = distributed.Communicator().rank
rng = np.random.default_rng(0)
x, y = rng.normal(size=(61, 5)), rng.integers(0, 3, 61)
loss = xpconv.SoftmaxCrossEntropyLoss()

def make():
    xpconv.manual_seed(0)
    layers = xpconv.Dense(5, 8), xpconv.BatchNorm1d(8), xpconv.ReLU(), xpconv.Dense(8, 3)
    return xpconv.Sequential(*layers).to(dtype="float64")

found = []
for own in (False, True):  # with `parallel` and `share` before `fit`
    model = make()
    optimizer = xpconv.SGD(model.parameters(), lr=0.1)
    data = xpconv.data.batches(x, y, 8, shuffle=True, seed=1)
    if own:
        distributed.parallel(model, optimizer)
        data = distributed.share(data)
    train.fit(model, loss, optimizer, data, epochs=2, accumulate=3)
    found.append([p.data.copy() for p in model.parameters()])
for one, other in zip(*found):
    np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-9)

model = make()  # two optimizers
optimizers = xpconv.SGD(model[0].parameters(), lr=0.1), xpconv.Adam(model[3].parameters(), lr=0.1)
for optimizer in optimizers:
    distributed.parallel(model, optimizer)
for _ in range(3):
    loss(model(x[rank::2]), y[rank::2])
    for optimizer in optimizers:
        optimizer.zero_grad()
    model.backward(loss.backward(), input_grad=False)
    for optimizer in optimizers:
        optimizer.step()
for parameter in (model[0].weight, model[3].weight):
    assert np.array_equal(parameter.data, distributed.Communicator().broadcast(parameter.data.copy()))

class Interrupt:
    def on_batch_end(self, run):
        if run.steps == 5 and rank == 1:
            os.kill(os.getpid(), signal.SIGINT)

model = make()
optimizer = xpconv.SGD(model.parameters(), lr=0.1)
history = train.fit(model, loss, optimizer, xpconv.data.batches(x, y, 8), epochs=3, callbacks=[Interrupt()])
sys.stdout.write(f"{rank}: {history.stopped}\\n")

x[33, 2] = np.nan
model = make()
optimizer = xpconv.SGD(model.parameters(), lr=0.1)
history = train.fit(model, loss, optimizer, xpconv.data.batches(x, y, 8), callbacks=[train.TerminateOnNaN()])
sys.stdout.write(f"{rank}: {history.stopped}\\n")
"""


@pytest.mark.slow
def test_parallel_before_fit_two_optimizers_an_interrupt_and_nan(tmp_path):
    done = ranks.run(tmp_path, TOGETHER, PYTHONWARNINGS="default")
    assert done.returncode == 0, done.stderr
    for text in (
        "0: interrupted",
        "1: interrupted",
        "0: epoch 1, batch 5: NaN or infinity, in the part of another process",
        "1: epoch 1, batch 5: NaN in the input of the batch",
    ):
        assert text in done.stdout


DOUBLE = """
import numpy as np
import double
import xpconv
from xpconv import train

double.register()
xpconv.set_backend("double")
rank = xpconv.distributed.Communicator().rank
rng = np.random.default_rng(0)
x, y = xpconv.asarray(rng.normal(size=(64, 5)).astype("float32")), xpconv.asarray(rng.integers(0, 3, 64))
xpconv.manual_seed(rank)
model = xpconv.Sequential(xpconv.Dense(5, 8), xpconv.BatchNorm1d(8), xpconv.Dropout(0.2), xpconv.Dense(8, 3))
history = train.fit(
    model, xpconv.SoftmaxCrossEntropyLoss(), xpconv.SGD(model.parameters(), lr=0.1), xpconv.data.batches(x, y, 7), epochs=2,
    accumulate=2, metrics=["accuracy"], clip_grad_norm=1.0, scaler=xpconv.GradScaler(),
)
np.savez(f"{rank}.npz", loss=history["loss"], **{k: xpconv.asnumpy(v) for k, v in model.state_dict().items()})
"""


@pytest.mark.slow
def test_arrays_that_are_not_on_the_host(tmp_path):
    """On the double of CuPy: they are copied to the host, and go by MPI."""
    done = ranks.run(tmp_path, DOUBLE)
    assert done.returncode == 0, done.stderr
    first, second = (np.load(tmp_path / f"{rank}.npz") for rank in range(2))
    for name in first.files:
        np.testing.assert_array_equal(first[name], second[name], err_msg=name)


RESUMED = """
import json, os, sys
import numpy as np
import xpconv
from xpconv import train

def run(folder, epochs, every, stop):
    xpconv.manual_seed(0)
    model = xpconv.Sequential(xpconv.Dense(5, 8), xpconv.Dropout(0.5), xpconv.Dense(8, 8), xpconv.Dropout(0.5, rng=3), xpconv.Dense(8, 3))
    x, y = np.random.default_rng(1).normal(size=(41, 5)).astype("float32"), np.arange(41) % 3
    masks = []
    model[1].register_forward_hook(lambda layer, x, y: masks.append((np.asarray(y) == 0).sum().item()))

    class Stops:
        def on_batch_end(self, run):
            if run.steps == stop:
                run.stop = "enough"

    optimizer = xpconv.Adam(model.parameters())
    train.fit(
        model, xpconv.SoftmaxCrossEntropyLoss(), optimizer, xpconv.data.batches(x, y, 8, shuffle=True, seed=0), epochs=epochs,
        callbacks=[train.Checkpoint(folder, every=every), Stops()], resume=folder,
    )
    rank = os.environ["PMI_RANK"]
    np.savez(f"{folder}-{epochs}-{rank}.npz", masks=masks, **model.state_dict())

for options in json.loads(sys.argv[1]):
    run(*options)
"""


@pytest.mark.slow
def test_dropout_goes_on_after_a_checkpoint(tmp_path):
    """Of all processes, though the file has the random state of the first alone; the draws differ between them."""

    def trained(*options):
        done = ranks.run(tmp_path, RESUMED, 2, [json.dumps(options)])
        assert done.returncode == 0, done.stderr
        names = [f"{folder}-{epochs}" for folder, epochs, *_ in options]
        return [[dict(np.load(tmp_path / f"{name}-{rank}.npz")) for rank in range(2)] for name in names]

    whole, first, broken = trained(("whole", 4, None, None), ("parts", 2, None, None), ("within", 1, None, 3))
    rest, repeated = trained(("parts", 4, None, None), ("within", 1, None, None))
    for rank in range(2):
        masks = [part[rank].pop("masks").tolist() for part in (first, rest, whole)]
        assert masks[0] + masks[1] == masks[2]
        for name, value in whole[rank].items():
            np.testing.assert_array_equal(rest[rank][name], value, err_msg=name)
    masks = [part[1]["masks"].tolist() for part in (broken, repeated)]
    assert masks[0] != masks[1]
