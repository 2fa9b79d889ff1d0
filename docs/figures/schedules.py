"""The learning rate of four schedules over 100 steps."""

from pathlib import Path

import numpy as np
from figure import Figure, new, save

import xpconv

STEPS = 100
SCHEDULES = {
    "StepLR": lambda o: xpconv.StepLR(o, step_size=30, gamma=0.3),
    "CosineAnnealingLR": lambda o: xpconv.CosineAnnealingLR(o, T_max=STEPS),
    "OneCycleLR": lambda o: xpconv.OneCycleLR(o, max_lr=1.0, total_steps=STEPS),
    "LinearLR, a warm-up": lambda o: xpconv.LinearLR(o, start_factor=0.05, total_iters=20),
}


def rates(make) -> list[float]:
    p = xpconv.Parameter(np.zeros(1))
    p.grad = np.zeros(1)
    optimizer = xpconv.SGD([p], lr=1.0)
    schedule = make(optimizer)
    found = []
    for _ in range(STEPS):
        found += schedule.get_last_lr()
        optimizer.step()
        if len(found) < STEPS:
            schedule.step()
    return found


def draw() -> Figure:
    figure, axes = new(2.9)
    for (name, make), line in zip(SCHEDULES.items(), ("-", "-", "-", "--"), strict=True):
        style = "steps-post" if name == "StepLR" else "default"
        axes.plot(rates(make), line, label=name, drawstyle=style)
    axes.set(xlabel="step", ylabel="rate / full rate", xlim=(0, STEPS - 1), ylim=(0, 1.05))
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, 1.32), ncols=2)
    return figure


if __name__ == "__main__":
    save(draw(), Path(__file__).with_suffix(".svg"))
