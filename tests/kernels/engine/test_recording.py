"""The buffers of an inference plan while its kernels are recorded."""

import numpy as np
from sharing import shared_by

import xpconv
from xpconv.kernels.engine import threads
from xpconv.kernels.engine.recording import ChainRecorder, _owner


def test_no_buffer_is_in_the_calls_of_two_threads(monkeypatch):
    """A thread needs a larger scratch array later on; the other must not get what it had before."""
    monkeypatch.setattr(threads.pool, "count", 2)
    recorder, used = ChainRecorder([], {}), {0: set(), 1: set()}

    def task(work, i):
        array = work.scratch("rows", (100 * (i % 2 + 1),), "float32")
        used[work.slot].add(id(_owner(array)))
        work(np.copyto, array, i)

    def kernel(work):
        work.share(task, 4)

    recorder.run(kernel)
    assert all(used.values())
    assert not used[0] & used[1]
    count = len(recorder.memory)
    recorder.run(kernel)  # the kernel has ended: all are free again
    assert len(recorder.memory) == count


def test_no_buffer_of_a_model_is_shared_by_threads(monkeypatch):
    """Convolutions of several sizes, whose blocks of rows differ in size."""
    empty, share, slots = ChainRecorder.empty, ChainRecorder.share, {}

    def noted(self, *arguments, **options):
        array = empty(self, *arguments, **options)
        slots.setdefault(id(_owner(array)), set()).add(self.slot)
        return array

    def checked(self, *arguments, **options):
        slots.clear()
        share(self, *arguments, **options)
        assert all(len(some) == 1 for some in slots.values())

    monkeypatch.setattr(ChainRecorder, "empty", noted)
    monkeypatch.setattr(ChainRecorder, "share", checked)
    for size in (16, 18, 22, 31):
        convs = [
            xpconv.Conv2d(c, k, 3, padding=1, rng=0) for c, k in [(3, 32), (32, 64), (64, 64), (64, 128)]
        ]
        model = xpconv.Sequential(
            *convs, xpconv.MaxPool2d(2), xpconv.ReLU(), xpconv.Conv2d(128, 128, 3, rng=0)
        ).eval()
        with xpconv.no_grad(), shared_by(2):
            model(np.ones((1, 3, size, size), "float32"))
