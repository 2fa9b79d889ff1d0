"""`fit` against the loop that one writes in PyTorch: accumulation, clipping, schedule, weights, label smoothing."""

import numpy as np
import pytest

import xpconv
from xpconv import train

torch = pytest.importorskip("torch")


def torch_loop(net, data, epochs, accumulate, clip, weighted):
    """As its users write it; returns the mean loss of each epoch."""
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    groups = [data[i : i + accumulate] for i in range(0, len(data), accumulate)]
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.05, total_steps=epochs * len(groups))
    criterion = torch.nn.CrossEntropyLoss(label_smoothing=0.1, reduction="none")
    losses = []
    for _ in range(epochs):
        total = count = 0
        for group in groups:
            samples = sum(len(batch[0]) for batch in group)
            optimizer.zero_grad()
            for batch in group:
                x, y, w = (torch.as_tensor(a) for a in batch)
                each = criterion(net(x), y) * (w if weighted else 1)
                (each.sum() / samples).backward()
                total, count = total + float(each.detach().sum()), count + len(x)
            torch.nn.utils.clip_grad_norm_(net.parameters(), clip)
            optimizer.step()
            schedule.step()
        losses.append(total / count)
    return losses


@pytest.mark.sample(8)
@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("weighted", [False, True])
def test_it_is_pytorchs_loop(accumulate, weighted, backend):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(50, 1, 6, 6)), rng.integers(0, 4, 50)
    arrays = x, y, rng.uniform(0, 2, 50)
    data = [tuple(a[i : i + 8] for a in arrays) for i in range(0, 50, 8)]
    model = xpconv.Sequential(
        xpconv.Conv2d(1, 4, 3, rng=0), xpconv.Tanh(), xpconv.Flatten(), xpconv.Dense(64, 4, rng=1)
    ).to(dtype="float64")
    net = torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 3), torch.nn.Tanh(), torch.nn.Flatten(), torch.nn.Linear(64, 4)
    ).double()
    net.load_state_dict({k: torch.as_tensor(xpconv.asnumpy(v)) for k, v in model.state_dict().items()})
    steps = -(-len(data) // accumulate)
    optimizer = xpconv.Adam(model.parameters(), lr=0.01)
    history = train.fit(
        model, xpconv.SoftmaxCrossEntropyLoss(label_smoothing=0.1), optimizer,
        data if weighted else [batch[:2] for batch in data], epochs=2, accumulate=accumulate, clip_grad_norm=0.5,
        sample_weight=weighted, schedule=xpconv.OneCycleLR(optimizer, 0.05, 2 * steps),
    )  # fmt: skip
    losses = torch_loop(net, data, 2, accumulate, 0.5, weighted)
    np.testing.assert_allclose(history["loss"], losses, rtol=1e-9)
    for name, theirs in net.state_dict().items():
        ours = xpconv.asnumpy(model.state_dict()[name])
        np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-6, atol=1e-9, err_msg=name)
