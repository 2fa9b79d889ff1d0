"""Valid arguments, with NumPy arrays, for every function of `xpconv.functional`, gradients included."""

import inspect

import functional_cases
import numpy as np

import xpconv
import xpconv.functional as F


def calls():
    """The name of each function, and code for valid arguments."""
    for case in {case.name: case for case in functional_cases.CASES}.values():
        arrays, options = functional_cases.arguments(case, "float32")
        y = functional_cases.forward(case, arrays, options)
        yield case.name, {**arrays, **options}
        back = dict(grad_output=np.ones(y.shape, "float32"))
        names = inspect.signature(getattr(F, f"{case.name}_backward")).parameters
        known = {**arrays, **options, "output": y, "num_embeddings": 5}
        if "input" in known:
            known["input_size"] = known["input"].shape
        if case.saved == "indices":
            known["indices"] = getattr(F, case.name)(*arrays.values(), **options, return_indices=True)[1]
        yield f"{case.name}_backward", {**back, **{n: known[n] for n in names if n in known}}
    for n in (1, 2, 3):
        size, few = (6,) * n, (3,) * n
        x, w = np.ones((2, 4, *size), "float32"), np.ones((2, 4, *few), "float32")
        y = getattr(F, f"conv{n}d")(x, w)
        yield f"conv{n}d", dict(input=x, weight=w, bias=np.ones(2, "float32"))
        yield f"conv{n}d_input", dict(input_size=x.shape, weight=w, grad_output=y)
        yield f"conv{n}d_weight", dict(input=x, weight_size=w.shape, grad_output=y)
        yield f"conv{n}d_bias", dict(grad_output=y)
        w = np.ones((4, 2, *few), "float32")
        y = getattr(F, f"conv_transpose{n}d")(x, w)
        yield f"conv_transpose{n}d", dict(input=x, weight=w)
        yield f"conv_transpose{n}d_input", dict(input_size=x.shape, weight=w, grad_output=y)
        yield f"conv_transpose{n}d_weight", dict(input=x, weight_size=w.shape, grad_output=y)
    x = np.ones((2, 4, 6, 6), "float32")
    yield "pad", dict(input=x, pad=(1, 2))
    yield "pad_backward", dict(grad_output=np.ones((2, 4, 6, 9), "float32"), pad=(1, 2))
    yield "unfold", dict(input=x, kernel_size=2)
    yield "unfold_backward", dict(grad_output=F.unfold(x, 2), input_size=x.shape, kernel_size=2)
    yield "fold", dict(input=F.unfold(x, 2), output_size=(6, 6), kernel_size=2)
    yield "fold_backward", dict(grad_output=x, kernel_size=2)
    yield "interpolate", dict(input=x, size=(3, 4))
    yield "interpolate_backward", dict(grad_output=F.interpolate(x, (3, 4)), input_size=x.shape, size=(3, 4))
    rows, weight = np.ones((3, 4), "float32"), np.ones((2, 4), "float32")
    yield "linear", dict(input=rows, weight=weight)
    yield "linear_input", dict(input_size=(3, 4), weight=weight, grad_output=np.ones((3, 2), "float32"))
    yield "linear_weight", dict(input=rows, weight_size=(2, 4), grad_output=np.ones((3, 2), "float32"))
    yield "linear_bias", dict(grad_output=np.ones((3, 2), "float32"))
    for name in ("dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout"):
        x = np.ones((2, 4, *(5,) * int(name[-2] if name[-1] == "d" else 0)), "float32")
        yield name, dict(input=x, p=0.5, training=True, rng=0)
        mask = getattr(F, name)(x, 0.5, True, return_mask=True)[1]
        yield f"{name}_backward", dict(grad_output=x, mask=mask, p=0.5)
    yield "one_hot", dict(input=np.array([0, 2]), num_classes=3)


with xpconv.use_backend("numpy"):
    CALLS = {
        name: {k: np.array(v) if isinstance(v, np.ndarray) else v for k, v in given.items()}
        for name, given in calls()
    }
