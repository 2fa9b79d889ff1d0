"""PyTorch's own samples of its modules: constructor and forward arguments, as its tests draw them.

    for sample in samples("CrossEntropyLoss"):                # or "Conv2d", …: names in torch.nn
        args, kwargs = sample.constructor                     # of tensors; `arrays` makes them ours
        layer = getattr(xpconv, name)(*arrays(args), **arrays(kwargs))

They stand in `torch.testing._internal`, which is no public interface: `samples` skips where it has moved. It
imports `expecttest` for tests of its own; a stand-in does where that is not installed.
"""

import functools
import importlib
import sys
import types
import unittest
import warnings
from typing import NamedTuple

import numpy as np
import pytest
from oracle import torch

import xpconv


class Sample(NamedTuple):
    name: str  # in torch.nn
    description: str
    constructor: tuple  # args, kwargs
    forward: tuple  # args, kwargs


def _internal():
    try:
        importlib.import_module("expecttest")
    except ImportError:
        stand_in = types.ModuleType("expecttest")
        stand_in.TestCase = unittest.TestCase
        sys.modules["expecttest"] = stand_in
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what it imports, such as Numba, at that import
            from torch.testing._internal import common_modules, common_nn
    except ImportError as error:
        pytest.skip(f"torch.testing._internal cannot be imported: {error}")
    return common_modules, common_nn


@functools.cache
def samples(name, dtype="float64", training=True):
    """The samples of `torch.nn.<name>` in PyTorch's `module_db`, `module_tests` and, for losses, `criterion_tests`."""
    common_modules, common_nn = _internal()
    seed = torch.random.get_rng_state()
    torch.manual_seed(0)
    try:
        found = []
        for info in common_modules.module_db:
            if info.module_cls is getattr(torch.nn, name):
                drawn = info.module_inputs_func(
                    info, "cpu", getattr(torch, dtype), requires_grad=True, training=training
                )
                for sample in drawn:
                    made, given = sample.constructor_input, sample.forward_input
                    if given is not None:
                        kwargs = {k: v for k, v in made.kwargs.items() if k not in ("device", "dtype")}
                        found.append(
                            Sample(name, sample.desc, (made.args, kwargs), (given.args, given.kwargs))
                        )
        found += _module_samples().get(name, [])
        for test in common_nn.criterion_tests:
            title, _, reduction = test["fullname"].partition("_no_batch_dim_")
            if title == name:
                found.append(_criterion_sample(test, name, reduction, dtype))
        return found
    finally:
        torch.random.set_rng_state(seed)


@functools.cache
def _module_samples():
    """Those of `module_tests`, by name; where a test gives only a function that makes the module, it is watched."""
    found = {}
    _, common_nn = _internal()
    for test in [*common_nn.module_tests, *common_nn.get_new_module_tests()]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            name, made = _made(test)
        given = test["input_fn"]() if "input_fn" in test else test.get("input")
        given = torch.randn(test["input_size"]) if given is None else given
        given = given if isinstance(given, tuple) else (given,)
        given = tuple(x.double() if x.is_floating_point() else x for x in given)
        found.setdefault(name, []).append(Sample(name, test.get("desc", ""), made, (given, {})))
    return found


def _made(test):
    if "constructor" not in test:
        return test["module_name"], (test.get("constructor_args", ()), {})
    cls = type(test["constructor"]())
    calls, init = [], cls.__init__

    def watched(self, *args, **kwargs):
        calls.append((args, {k: v for k, v in kwargs.items() if k not in ("device", "dtype")}))
        init(self, *args, **kwargs)

    cls.__init__ = watched
    try:
        test["constructor"]()
    finally:
        cls.__init__ = init
    return cls.__name__, calls[0]


def _criterion_sample(test, name, reduction, dtype):
    """Its input may be a tuple, of which the target is the last."""
    floating = getattr(torch, dtype)
    input = test["input_fn"]() if "input_fn" in test else torch.randn(test["input_size"])
    target = test["target_fn"]() if "target_fn" in test else torch.randn(test["target_size"])
    inputs = [*input, target] if isinstance(input, tuple) else [input, target]
    inputs = [x.to(floating) if x.is_floating_point() else x for x in inputs]
    return Sample(name, f"no_batch_dim_{reduction}", ((), {"reduction": reduction}), (tuple(inputs), {}))


def error_samples(name, dtype="float64"):
    """Calls that PyTorch's tests want refused, each with the pattern of PyTorch's error."""
    common_modules, _ = _internal()
    found = []
    for info in common_modules.module_db:
        if info.module_cls is getattr(torch.nn, name) and info.module_error_inputs_func is not None:
            drawn = info.module_error_inputs_func(
                info, "cpu", getattr(torch, dtype), requires_grad=False, training=True
            )
            for error in drawn:
                made, given = (
                    error.module_error_input.constructor_input,
                    error.module_error_input.forward_input,
                )
                inputs = ((), {}) if given is None else (given.args, given.kwargs)
                found.append((Sample(name, "error", (made.args, made.kwargs), inputs), error.error_regex))
    return found


def names(package=xpconv):
    """The names of PyTorch's modules with samples that `package` has too."""
    common_modules, common_nn = _internal()
    found = {info.module_cls.__name__ for info in common_modules.module_db}
    found |= {test["fullname"].partition("_no_batch_dim_")[0] for test in common_nn.criterion_tests}
    return sorted(name for name in found if hasattr(package, name))


def arrays(value):
    """Tensors in tuples, lists and dicts as copies in arrays of the active backend; all else as it is."""
    if isinstance(value, torch.Tensor):
        return xpconv.asarray(value.detach().numpy().copy())
    if isinstance(value, dict):
        return {key: arrays(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return type(value)(arrays(item) for item in value)
    return value


def copies(value):
    """The same in fresh tensors, which are no part of a graph."""
    if isinstance(value, torch.Tensor):
        return value.detach().clone()
    if isinstance(value, dict):
        return {key: copies(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return type(value)(copies(item) for item in value)
    return value


def close(ours, theirs, what, tolerance=1e-10):
    """Values, NaN and infinity included, and the shape."""
    ours, theirs = xpconv.asnumpy(ours), theirs.detach().numpy()
    assert ours.shape == theirs.shape, what
    scale = max(1.0, np.abs(theirs[np.isfinite(theirs)]).max(initial=0.0))
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance * scale, err_msg=what)
