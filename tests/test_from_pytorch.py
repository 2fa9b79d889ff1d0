"""docs/guides/from-pytorch.md: what it says of PyTorch, and what it says is not here, compared with PyTorch."""

import inspect
import re
import warnings
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import torch.nn.functional as TF
from torch import nn

import xpconv
import xpconv.functional as F

PAGE = (Path(__file__).parents[1] / "docs" / "guides" / "from-pytorch.md").read_text(encoding="utf-8")
NOT_HERE = dict(re.findall(r"^\| (\w+) \| (`.+) \|$", PAGE.partition("## Not here")[2], re.MULTILINE))
# Not for users, deprecated, or under another name on the page.
BESIDES = {
    "Container", "CrossMapLRN2d", "DataParallel", "Module", "NLLLoss2d", "ParameterDict", "ParameterList", "RNNBase", "RNNCellBase",
    "SyncBatchNorm", "FeatureAlphaDropout", "assert_int_or_pair", "boolean_dispatch", "handle_torch_function",
    "conv_tbc", "feature_alpha_dropout", "native_channel_shuffle", "upsample", "upsample_bilinear", "upsample_nearest",
    "add_module", "bfloat16", "buffers", "cpu", "cuda", "double", "float", "half", "named_buffers", "register_buffer", "register_module",
    "register_parameter", "T_destination", "call_super_init", "compile", "dump_patches", "ipu", "mtia", "register_backward_hook", "type", "xpu",
}  # fmt: skip


def classes(module, base):
    return {
        n
        for n, thing in vars(module).items()
        if inspect.isclass(thing) and issubclass(thing, base) and n[0] != "_"
    }


def functions(module):
    return {
        n
        for n, thing in vars(module).items()
        if callable(thing) and not inspect.isclass(thing) and n[0] != "_"
    }


MODULES = {n for n in classes(nn, nn.Module) if not n.endswith("Loss")}
THEIRS = {
    "layers": MODULES,
    "methods": {name for name in dir(nn.Module) if name[0] != "_"},
    "losses": classes(nn, nn.Module) - MODULES,
    "functions": {
        n for n in functions(TF) if not re.search(r"_$|_with_indices$|^has_torch|_mm$", n) and n != "Optional"
    },
    "optimizers": classes(torch.optim, torch.optim.Optimizer),
    "schedules": classes(torch.optim.lr_scheduler, torch.optim.lr_scheduler.LRScheduler),
    "initialisation": {n for n in functions(nn.init) if n.endswith("_")},
}


@pytest.mark.skipif(not torch.__version__.startswith("2.13"), reason="the page is about PyTorch 2.13")
@pytest.mark.parametrize("kind", THEIRS)
def test_what_is_not_here(kind):
    room = {"functions": F, "initialisation": xpconv.init, "methods": xpconv.Layer}.get(kind, xpconv)
    assert set(re.findall(r"`(\w+)`", NOT_HERE[kind])) == THEIRS[kind] - set(dir(room)) - BESIDES


def normal(*shape, dtype="float32"):
    return np.random.default_rng(0).normal(size=shape).astype(dtype)


def raises(function):
    """The error or the warning of a call, or None."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            function()
        except (
            ArithmeticError,
            AttributeError,
            LookupError,
            RuntimeError,
            TypeError,
            ValueError,
            Warning,
        ) as error:
            return type(error)
    return None


def same(x, dtype=None):
    return torch.as_tensor(x if dtype is None else x.astype(dtype))


def optimized(twice=False):
    p = xpconv.Parameter(np.ones(2))
    return xpconv.SGD([p, p] if twice else [p], lr=0.1)


def their_optimizer(twice=False):
    p = nn.Parameter(torch.ones(2))
    return torch.optim.SGD([p, p] if twice else [p], lr=0.1)


X, LABELS = normal(4, 3), np.array([0, 1, 2, 0])
# Claims of the tables: what PyTorch raises, and what xpconv raises; None for nothing.
ERRORS = {
    "uint8 images": (
        lambda: nn.Conv2d(1, 1, 3)(torch.ones(1, 1, 4, 4, dtype=torch.uint8)), RuntimeError,
        lambda: xpconv.Conv2d(1, 1, 3)(np.ones((1, 1, 4, 4), "uint8")), xpconv.errors.DTypeError,
    ),
    "Softmax()": (lambda: nn.Softmax()(same(X)), UserWarning, xpconv.Softmax, TypeError),
    "MSELoss of other shapes": (
        lambda: nn.MSELoss()(same(X), same(X[:1])), UserWarning, lambda: xpconv.MSELoss()(X, X[:1]), xpconv.errors.ShapeError,
    ),
    "int32 labels": (
        lambda: nn.CrossEntropyLoss()(same(X), same(LABELS, "int32")), RuntimeError,
        lambda: xpconv.CrossEntropyLoss()(X, LABELS.astype("int32")), None,
    ),
    "one-hot integers": (
        lambda: nn.CrossEntropyLoss()(same(X), same(np.eye(3, dtype="int64")[LABELS])), RuntimeError,
        lambda: xpconv.CrossEntropyLoss()(X, np.eye(3, dtype="int64")[LABELS]), None,
    ),
    "float64 targets": (
        lambda: nn.MSELoss()(same(X), same(X, "float64")), None,
        lambda: xpconv.MSELoss()(X, X.astype("float64")), xpconv.errors.DTypeError,
    ),
    "a label out of range": (
        lambda: nn.CrossEntropyLoss()(same(X), same(LABELS + 9)), IndexError,
        lambda: xpconv.CrossEntropyLoss()(X, LABELS + 9), ValueError,
    ),
    "KLDivLoss()": (
        lambda: nn.KLDivLoss()(same(X), same(X**2)), UserWarning, lambda: xpconv.KLDivLoss()(X, X**2), None,
    ),
    "a step without gradients": (their_optimizer().step, None, optimized().step, RuntimeError),
    "step(closure)": (
        lambda: their_optimizer().step(lambda: torch.ones(())), None, lambda: optimized().step(lambda: 1.0), TypeError,
    ),
    "a parameter twice": (lambda: their_optimizer(twice=True), UserWarning, lambda: optimized(twice=True), ValueError),
    "a schedule's step before the optimizer's": (
        lambda: torch.optim.lr_scheduler.StepLR(their_optimizer(), 1).step(), UserWarning,
        lambda: xpconv.StepLR(optimized(), 1).step(), None,
    ),
    "decoupled_weight_decay=": (
        lambda: torch.optim.Adam([nn.Parameter(torch.ones(2))], decoupled_weight_decay=True),
        None,
        lambda: xpconv.Adam([xpconv.Parameter(np.ones(2))], decoupled_weight_decay=True),
        TypeError,
    ),
    "last_epoch=": (
        lambda: torch.optim.lr_scheduler.StepLR(their_optimizer(), 1, last_epoch=-1),
        None,
        lambda: xpconv.StepLR(optimized(), 1, last_epoch=-1),
        TypeError,
    ),
    "prepend=": (
        lambda: nn.ReLU().register_forward_hook(lambda layer, inputs, y: None, prepend=True),
        None,
        lambda: xpconv.ReLU().register_forward_hook(lambda layer, inputs, y: None, prepend=True),
        TypeError,
    ),
    "collate_fn=": (
        lambda: torch.utils.data.DataLoader(same(X), collate_fn=list),
        None,
        lambda: xpconv.data.batches(X, 2, collate_fn=list),
        TypeError,
    ),
    "device=": (
        lambda: nn.Linear(2, 2, device="cpu"),
        None,
        lambda: xpconv.Dense(2, 2, device="cpu"),
        TypeError,
    ),
    "another stride": (
        lambda: setattr(nn.Conv2d(1, 1, 3), "stride", 2), None, lambda: setattr(xpconv.Conv2d(1, 1, 3), "stride", 2), AttributeError,
    ),
    "assign=": (
        lambda: nn.Linear(2, 2).load_state_dict(nn.Linear(2, 2).state_dict(), assign=True), None,
        lambda: xpconv.Dense(2, 2).load_state_dict(xpconv.Dense(2, 2).state_dict(), assign=True), TypeError,
    ),
    "no batch size": (
        lambda: torch.utils.data.DataLoader(same(X)), None, lambda: xpconv.data.batches(X), TypeError,
    ),
    "complex layers": (
        lambda: nn.Linear(2, 2, dtype=torch.complex64), None, lambda: xpconv.Dense(2, 2, dtype="complex64"), xpconv.errors.DTypeError,
    ),
}  # fmt: skip


@pytest.mark.parametrize("claim", ERRORS)
def test_errors(claim):
    theirs, their_error, ours, our_error = ERRORS[claim]
    for function, expected in ((theirs, their_error), (ours, our_error)):
        found = raises(function)
        assert found is expected or (
            found is not None and expected is not None and issubclass(found, expected)
        )


def test_state_dicts_share_memory_there_and_are_copies_here():
    theirs, ours = nn.Linear(2, 2), xpconv.Dense(2, 2)
    theirs.state_dict()["weight"].zero_()
    ours.state_dict()["weight"][...] = 0
    assert not theirs.weight.any()
    assert np.any(ours.weight.data)


def test_what_a_failing_load_leaves():
    for library, dense, array, error in (
        (nn, nn.Linear, lambda p: p.detach().numpy(), RuntimeError),
        (xpconv, xpconv.Dense, lambda p: p.data, ValueError),
    ):
        a, b = (library.Sequential(dense(2, 2), dense(2, n)) for n in (3, 2))
        with pytest.raises(error):
            a.load_state_dict(b.state_dict())
        assert np.array_equal(array(a[0].weight), array(b[0].weight)) == (library is nn)


def test_an_in_place_change_is_an_error_there_and_harmless_here():
    x = same(X).requires_grad_()
    y = x.exp()
    y += 1
    with pytest.raises(RuntimeError, match="inplace"):
        y.sum().backward()
    layer = xpconv.Sigmoid()
    y = layer(X)
    expected = y * (1 - y)
    y += 1
    assert np.allclose(layer.backward(np.ones_like(X)), expected)


def test_an_optimizer_after_to():
    theirs, ours = nn.Linear(2, 1), xpconv.Dense(2, 1)
    optimizers = torch.optim.SGD(theirs.parameters(), lr=0.1), xpconv.SGD(ours.parameters(), lr=0.1)
    theirs.double()(torch.ones(1, 2, dtype=torch.float64)).sum().backward()
    optimizers[0].step()
    y = ours.to(dtype="float64")(np.ones((1, 2)))
    ours.backward(np.ones_like(y))
    with pytest.raises(RuntimeError, match=r"after model.to"):
        optimizers[1].step()


def test_float16_parameters_are_updated_in_a_float32_copy():
    theirs, ours = nn.Parameter(torch.ones(1, dtype=torch.float16)), xpconv.Parameter(np.ones(1, "float16"))
    optimizers = torch.optim.SGD([theirs], lr=1e-4), xpconv.SGD([ours], lr=1e-4)
    for _ in range(10):
        theirs.grad, ours.grad = torch.ones_like(theirs), np.ones(1, "float16")
        for optimizer in optimizers:
            optimizer.step()
    assert float(theirs.detach()) == 1  # each step is rounded away
    assert float(ours.data[0]) < 1


def test_types():
    theirs, ours = nn.Sequential(nn.Linear(2, 2)), xpconv.Sequential(xpconv.Dense(2, 2))
    assert inspect.isgenerator(theirs.parameters())
    assert inspect.isgenerator(theirs.children())
    assert isinstance(ours.parameters(), list)
    assert isinstance(ours.children(), dict)
    assert [type(batch) for batch in torch.utils.data.DataLoader(same(X), 4)] == [torch.Tensor]
    assert [type(batch) for batch in xpconv.data.batches(X, 4)] == [tuple]
    assert repr(ours.load_state_dict(ours.state_dict())) == "LoadResult(missing_keys=[], unexpected_keys=[])"
    assert repr(theirs.load_state_dict(theirs.state_dict())) == "<All keys matched successfully>"


def test_layers_in_a_plain_list():
    class Theirs(nn.Module):
        def __init__(self):
            super().__init__()
            self.parts = [nn.Linear(2, 2)]

    class Ours(xpconv.Layer):
        def __init__(self):
            self.parts = [xpconv.Dense(2, 2)]

    assert not list(Theirs().parameters())
    with pytest.raises(TypeError, match="ModuleList"):
        Ours().parameters()


def test_the_same_distribution_of_initial_weights():
    theirs, ours = nn.Conv2d(16, 64, 3).weight.detach().numpy(), np.asarray(xpconv.Conv2d(16, 64, 3).weight)
    assert np.abs(theirs).max() == pytest.approx(np.abs(ours).max(), rel=0.01)
    assert theirs.std() == pytest.approx(ours.std(), rel=0.05)


def test_decorators():
    for no_grad in (torch.no_grad, xpconv.no_grad):

        @no_grad()
        def one():
            return 1

        assert one() == 1


def test_the_gradient_of_a_sparse_embedding():
    theirs, ours = nn.Embedding(4, 2, sparse=True), xpconv.Embedding(4, 2, sparse=True)
    theirs(torch.tensor([1])).sum().backward()
    y = ours(np.array([1]))
    ours.backward(np.ones_like(y))
    assert theirs.weight.grad.is_sparse
    assert np.array_equal(ours.weight.grad, theirs.weight.grad.to_dense().numpy())


def test_gradients_of_targets():
    target = same(X).requires_grad_()
    nn.MSELoss()(same(X) + 1, target).backward()
    assert target.grad is not None
    criterion = xpconv.MSELoss()
    criterion(X + 1, X)
    assert criterion.backward().shape == X.shape  # of the input alone


def test_what_is_beyond_pytorch():
    """Of losses and of optimizers."""
    beyond = [
        re.findall(r"`(\w+)`", names) for names in re.findall(r"^Beyond PyTorch's: (.+)$", PAGE, re.MULTILINE)
    ]
    for names, section in zip(beyond, ("losses", "optimizers"), strict=True):
        assert all(hasattr(xpconv, name) for name in names)
        assert not set(names) & THEIRS[section]
