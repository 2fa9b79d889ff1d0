"""Two processes train one model as one process does on the joint batches."""

import numpy as np
import pytest
import ranks

pytest.importorskip("mpi4py")
if ranks.mpiexec() is None:
    pytest.skip("there is no mpiexec", allow_module_level=True)

TRAIN = """
import sys
import numpy as np
import xpconv
from xpconv import distributed

def make(rank):
    xpconv.manual_seed(rank)  # other weights in each process, until `parallel`
    return xpconv.Sequential(
        xpconv.Conv2d(2, 4, 3, padding=1), xpconv.BatchNorm2d(4), xpconv.ReLU(), xpconv.Conv2d(4, 4, 3),
        xpconv.BatchNorm2d(4), xpconv.Flatten(), xpconv.Dense(4 * 16, 8), xpconv.BatchNorm1d(8), xpconv.Dense(8, 3),
    )

size = distributed.Communicator().size
rank = distributed.Communicator().rank
model = make(rank)
optimizer = getattr(xpconv, sys.argv[1])(model.parameters(), lr=0.05)
dtype = sys.argv[2]
rng = np.random.default_rng(1)
x, y = rng.normal(3, 2, (40, 2, 6, 6)).astype(dtype), rng.integers(0, 3, 40)
model.to(dtype=dtype)
optimizer = getattr(xpconv, sys.argv[1])(model.parameters(), lr=0.05)
loss = xpconv.SoftmaxCrossEntropyLoss()
communicator = distributed.parallel(model, optimizer)
data = distributed.share(xpconv.data.batches(x, y, 8, shuffle=True, seed=rank))
norms, losses = [], []
for epoch in range(4):
    for a, b in data:
        value = loss(model(a), b)
        optimizer.zero_grad()
        model.backward(loss.backward(), input_grad=False)
        norms.append(float(xpconv.clip_grad_norm_(model.parameters(), 0.7)))
        optimizer.step()
        losses.append(float(communicator.average(np.asarray(value, "float64").copy())))
np.savez(f"{size}-{rank}.npz", norms=norms, losses=losses, **{k: xpconv.asnumpy(v) for k, v in model.state_dict().items()})
"""


@pytest.mark.sample(64)
@pytest.mark.parametrize(
    ("optimizer", "dtype"), [("SGD", "float64"), ("Adam", "float64"), ("SGD", "float32"), ("Adam", "float32")]
)
def test_two_processes_are_one_on_the_joint_batch(tmp_path, optimizer, dtype):
    """20 steps with three BatchNorms and clipping; also running statistics, losses and norms of gradients.

    The gradient of a bias before a BatchNorm is 0, and in float32 a rounding error, which Adam makes a step of
    its usual length: those biases are arbitrary, in one process too.
    """
    for count in (1, 2):
        done = ranks.run(tmp_path, TRAIN, count, [optimizer, dtype])
        assert done.returncode == 0, done.stderr
    one, first, second = (np.load(tmp_path / f"{name}.npz") for name in ("1-0", "2-0", "2-1"))
    tolerance = 1e-6 if optimizer == "SGD" or dtype == "float64" else 5e-6
    for name in one.files:
        np.testing.assert_array_equal(first[name], second[name], err_msg=name)
        if (optimizer, dtype) == ("Adam", "float32") and name in ("0.bias", "3.bias", "4.bias", "6.bias"):
            continue
        if (optimizer, dtype) == ("Adam", "float32") and name.endswith("running_mean"):
            continue  # which moves with that bias
        np.testing.assert_allclose(first[name], one[name], rtol=tolerance, atol=tolerance, err_msg=name)
