"""Memory that runs out, planted: the error says where, and the model works on."""

import weakref

import numpy as np
import pytest

import xpconv
from xpconv import parameter
from xpconv.errors import OutOfMemoryError


class Greedy(xpconv.Layer):
    """Has no memory for more than three images in `direction`."""

    def __init__(self, direction):
        self.direction = direction
        self.held = []  # weak references to what a failed call was working with

    def allocate(self, direction, x):
        work = x + 1
        if direction == self.direction and len(x) > 3:
            if isinstance(work, np.ndarray):
                self.held.append(weakref.ref(work))
            raise MemoryError("Out of memory allocating 4,096 bytes")

    def forward(self, x):
        self.allocate("forward", x)
        return self.keep(x * 1)

    def backward(self, grad_output, input_grad=True):
        self.recall(grad_output)
        self.allocate("backward", grad_output)
        return grad_output if input_grad else None


def model(direction):
    block = xpconv.Residual(xpconv.Dense(2, 2, rng=0), Greedy(direction))
    return xpconv.Sequential(xpconv.Dense(3, 2, rng=0), block)


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_it_names_the_layer_and_a_smaller_batch_works(direction, backend):
    net = model(direction)
    greedy = net[1].body[1]

    def step(count):
        y = net(xpconv.asarray(np.ones((count, 3), "float32")))
        net.backward(xpconv.get_xp().ones_like(y), input_grad=False)

    with pytest.raises(OutOfMemoryError) as info:
        step(4)
    assert isinstance(info.value, MemoryError)
    assert isinstance(info.value.__cause__, MemoryError)
    assert str(info.value) == (
        f"Greedy.{direction}: out of memory with an input of shape (4, 2): Out of memory allocating 4,096 bytes. "
        "Try a smaller batch, float16, or for inference `with xpconv.no_grad():` (layer 1.body.1)"
    )
    assert [ref() for ref in greedy.held] == [None] * len(greedy.held)  # while the error is still there
    assert not any(layer._finished() for _, layer in net.named_layers())
    net.zero_grad()
    step(3)
    assert all(p.grad is not None for p in net.parameters())


def test_the_pool_is_cleaned(monkeypatch):
    freed = []

    class Pool:
        def free_all_blocks(self):
            freed.append(True)

    with xpconv.use_backend("double") as xp:
        monkeypatch.setitem(vars(xp), "get_default_memory_pool", Pool)
        with pytest.raises(OutOfMemoryError):
            Greedy("forward")(xpconv.asarray(np.ones((4, 2))))
    assert freed


@pytest.mark.parametrize("place", ["body", "shortcut"])
def test_a_failure_in_either_path_of_a_residual_has_its_name(place):
    path = xpconv.Sequential(Greedy("backward"))
    net = xpconv.Sequential(xpconv.Residual(xpconv.Identity(), shortcut=xpconv.Identity()))
    setattr(net[0], place, path)
    y = net(np.ones((4, 2)))
    with pytest.raises(OutOfMemoryError, match=rf"^Greedy\.backward: .* \(layer 0\.{place}\.0\)$"):
        net.backward(y)
    assert not any(layer._finished() for _, layer in net.named_layers())


def test_numpys_own_error_is_told_too():
    conv = xpconv.Conv2d(1, 1, 1)
    with pytest.raises(OutOfMemoryError, match=r"Conv2d\.forward: .* Unable to allocate .*"):
        conv(np.broadcast_to(np.float32(0), (1 << 22, 1, 1 << 12, 1 << 12)))


@pytest.mark.parametrize("room", [0, 1, 2, 3])
def test_a_fused_model_that_has_no_room_for_a_state_keeps_the_old_one(room, monkeypatch):
    net = xpconv.Sequential(
        xpconv.Conv2d(2, 3, 1, rng=0), xpconv.Flatten(), xpconv.Dense(12, 5, rng=1)
    ).fuse()
    before, x = net.state_dict(), np.ones((2, 2, 2, 2), "float32")
    copy, left = parameter.read_only_copy, [room]

    def copy_if_room(array):
        left[0] -= 1
        if left[0] < 0:
            raise MemoryError("planted")
        return copy(array)

    monkeypatch.setattr(parameter, "read_only_copy", copy_if_room)
    with xpconv.no_grad():
        y = net(x)
        with pytest.raises(MemoryError, match="planted"):
            net.load_state_dict({name: array + 1 for name, array in before.items()})
        np.testing.assert_equal(net.state_dict(), before)
        np.testing.assert_array_equal(net(x), y)
        monkeypatch.setattr(parameter, "read_only_copy", copy)
        net.load_state_dict({name: array + 1 for name, array in before.items()})
        np.testing.assert_allclose(net.state_dict()["0.weight"], before["0.weight"] + 1)
        assert abs(net(x) - y).max() > 1


def test_a_write_to_a_parameter_that_has_no_room_changes_nothing(monkeypatch):
    net = xpconv.Sequential(xpconv.Dense(3, 2, rng=0)).fuse()
    before = net[0].weight.data

    def fail(array):
        raise MemoryError("planted")

    monkeypatch.setattr(parameter, "read_only_copy", fail)
    with pytest.raises(MemoryError, match="planted"):
        net[0].weight += 1
    assert net[0].weight.data is before
