"""A row or more for every function of `xpconv.functional` but convolutions: arguments, and how its backward is called."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import xpconv
import xpconv.functional as F


class Case(NamedTuple):
    """`name(*inputs, *fixed, **options)`, of which `inputs` are what a gradient is taken of."""

    name: str
    inputs: dict[str, np.ndarray]
    fixed: dict[str, Any] = {}  # noqa: RUF012
    options: dict[str, Any] = {}  # noqa: RUF012
    saved: str = "input"  # what the backward needs: "input", "output", "indices", "size", or "" for nothing
    forward_only: tuple[str, ...] = ()  # options that the backward does not take
    backward_only: dict[str, Any] = {}  # noqa: RUF012
    linear: bool = False  # in its one input, with real coefficients: complex arrays, and the adjoint test
    exact: bool = False  # it takes integers
    torch: Callable[..., Any] | str | None = (
        ""  # "" for the same name in torch.nn.functional, None for no twin
    )
    same_gradient: bool = True  # as PyTorch's
    coarse: bool = False  # in PyTorch, which multiplies by 1/6 in float32

    def __str__(self) -> str:
        return f"{self.name} {self.options}"


def x(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng((seed, *shape)).normal(size=shape)


def positive(*shape: int, seed: int = 0) -> np.ndarray:
    return np.exp(x(*shape, seed=seed))


def between(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng((seed, *shape)).uniform(0.05, 0.95, size=shape)


def classes(*shape: int, count: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, count, size=shape)


def signs(*shape: int) -> np.ndarray:
    return np.sign(x(*shape, seed=7))


def one(array: np.ndarray) -> dict[str, np.ndarray]:
    return {"input": array}


CASES: list[Case] = []


def add(name: str, inputs: np.ndarray | dict[str, np.ndarray], **fields: Any) -> None:
    CASES.append(Case(name, inputs if isinstance(inputs, dict) else one(inputs), **fields))


# --- activations ---

for name, rows in {
    "relu": [{}], "relu6": [{}], "leaky_relu": [{}, {"negative_slope": 0.3}], "elu": [{}, {"alpha": 0.5}], "selu": [{}],
    "celu": [{}, {"alpha": -2.0}], "hardtanh": [{}, {"min_val": -0.3, "max_val": 0.7}], "hardsigmoid": [{}], "hardswish": [{}],
    "hardshrink": [{}, {"lambd": 0.2}], "softshrink": [{}, {"lambd": 0.2}], "threshold": [{"threshold": 0.1, "value": 2.0}],
    "logsigmoid": [{}], "softplus": [{}, {"beta": 2.0, "threshold": 1.0}], "silu": [{}], "mish": [{}], "softsign": [{}],
    "tanhshrink": [{}], "gelu": [{}, {"approximate": "tanh"}], "glu": [{}, {"dim": 1}],
}.items():  # fmt: skip
    for options in rows:
        add(name, 3 * x(3, 4, 6), options=options, coarse=name == "hardsigmoid")
for name in ("sigmoid", "tanh"):
    add(name, 3 * x(3, 4, 6), saved="output")
for name in ("softmax", "log_softmax", "softmin"):
    for dim in (1, -1):
        add(name, 3 * x(3, 4, 6), options={"dim": dim}, saved="output")
add("prelu", {"input": x(3, 4, 6), "weight": np.array([0.3])})
add("prelu", {"input": x(3, 4, 6), "weight": x(4)})

# --- pooling ---

SIZES = {1: (2, 3, 9), 2: (2, 3, 9, 8), 3: (1, 2, 5, 6, 5)}
for n, shape in SIZES.items():
    windows = [{"kernel_size": 2}, {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True}]
    for options in [*windows, {"kernel_size": 2, "stride": 1, "dilation": 2}]:
        add(f"max_pool{n}d", x(*shape), options=options, saved="indices", exact=True)
    add(f"max_pool{n}d", x(*shape[1:]), options={"kernel_size": 2}, saved="indices")
    more = {"divisor_override": 3} if n > 1 else {}
    for options in [*windows, {"kernel_size": 3, "padding": 1, "count_include_pad": False, **more}]:
        add(f"avg_pool{n}d", x(*shape), options=options, saved="size", linear=True)
    add(f"avg_pool{n}d", x(*shape[1:]), options={"kernel_size": 2}, saved="size", linear=True)
    for options in (
        {"norm_type": 2.0, "kernel_size": 2},
        {"norm_type": 3.0, "kernel_size": 3, "stride": 2, "ceil_mode": True},
    ):
        add(f"lp_pool{n}d", positive(*shape), options=options)
    for size in (2, 1, (4,) * n):
        add(f"adaptive_avg_pool{n}d", x(*shape), options={"output_size": size}, saved="size", linear=True,
            forward_only=("output_size",))  # fmt: skip
        add(f"adaptive_max_pool{n}d", x(*shape), options={"output_size": size}, saved="indices", exact=True,
            forward_only=("output_size",))  # fmt: skip
    add(f"adaptive_avg_pool{n}d", x(*shape[1:]), options={"output_size": 3}, saved="size", linear=True,
        forward_only=("output_size",))  # fmt: skip
    pooled = (2, 3, *(3,) * n)
    places = np.argsort(x(2, 3, 6**n), axis=-1)[..., : 3**n].reshape(pooled)  # without repetition
    add(f"max_unpool{n}d", x(*pooled), fixed={"indices": places}, options={"kernel_size": 2}, saved="",
        forward_only=("kernel_size",))  # fmt: skip
    add(f"max_unpool{n}d", x(*pooled), fixed={"indices": places}, saved="",
        options={"kernel_size": 2, "output_size": (7,) * n}, forward_only=("kernel_size", "output_size"))  # fmt: skip

# --- normalisation ---

weights = {"weight": x(4), "bias": x(4, seed=2)}
running = {"running_mean": x(4, seed=3), "running_var": positive(4)}
for training in (False, True):
    for shape in ((5, 4), (3, 4, 5), (2, 4, 3, 5)):
        add(
            "batch_norm",
            {"input": x(*shape), **weights},
            fixed=running,
            options={"training": training, "eps": 1e-3},
        )
    add(
        "instance_norm",
        {"input": x(2, 4, 3, 5), **weights},
        fixed=running,
        options={"use_input_stats": training},
    )
add("batch_norm", x(5, 4), fixed={"running_mean": None, "running_var": None}, options={"training": True})
add("instance_norm", x(2, 4, 5))
add(
    "layer_norm",
    {"input": x(3, 4, 6), "weight": x(4, 6), "bias": x(4, 6, seed=2)},
    options={"normalized_shape": (4, 6)},
)
add("layer_norm", x(3, 6), options={"normalized_shape": (6,), "eps": 1e-2})
add("layer_norm", x(6), options={"normalized_shape": (6,)})
add("rms_norm", {"input": x(3, 4, 6), "weight": x(6)}, options={"normalized_shape": (6,), "eps": 1e-3})
add("rms_norm", x(3, 4, 6), options={"normalized_shape": (4, 6)})
add("group_norm", {"input": x(3, 4, 5), **weights}, options={"num_groups": 2})
add("group_norm", x(3, 4), options={"num_groups": 1, "eps": 1e-2})
add("local_response_norm", x(2, 6, 3), options={"size": 3, "alpha": 0.5})
add("local_response_norm", x(2, 6, 3, 2), options={"size": 2, "alpha": 1.0, "beta": 0.5, "k": 2.0})

small = x(3, 4, 5)
small[0] *= 0.02  # below the last eps
for options in ({}, {"p": 1.0, "dim": -1}, {"p": 3.0, "dim": (0, 2)}, {"p": math.inf}, {"eps": 0.1}):
    add("normalize", small, options=options)
add("normalize", x(6), options={"dim": 0, "p": 2.5})
add("cosine_similarity", {"x1": x(3, 4, 5), "x2": x(3, 4, 5, seed=1)}, options={"dim": -1})
add("cosine_similarity", {"x1": x(3, 4, 5), "x2": x(4, 1)})
add("cosine_similarity", {"x1": x(6), "x2": x(6, seed=1)}, options={"dim": 0})

# --- order of elements ---

for name, shape, options in (
    ("pixel_shuffle", (2, 8, 3, 2), {"upscale_factor": 2}), ("pixel_shuffle", (9, 1, 1), {"upscale_factor": 3}),
    ("pixel_unshuffle", (2, 2, 4, 6), {"downscale_factor": 2}), ("channel_shuffle", (2, 6, 3, 2), {"groups": 3}),
):  # fmt: skip
    add(name, x(*shape), options=options, saved="", linear=True, exact=True)

# --- embedding ---

add("embedding", {"weight": x(5, 3)}, fixed={"input": classes(4, 2, count=5)})

# --- losses ---


def losses(name: str, inputs: np.ndarray, target: np.ndarray, *rows: dict[str, Any], **fields: Any) -> None:
    for reduction in ("mean", "sum", "none"):
        for row in rows or ({},):
            add(name, inputs, fixed={"target": target}, options={"reduction": reduction, **row}, **fields)


a, b = x(4, 5), x(4, 5, seed=1)
losses("mse_loss", a, b, {}, {"weight": positive(4, 5)})
losses("l1_loss", a, b, {}, {"weight": positive(4, 5)})
losses("smooth_l1_loss", a, b, {}, {"beta": 0.3})
losses("huber_loss", a, b, {}, {"delta": 0.3}, {"weight": positive(4, 5)})
losses("poisson_nll_loss", positive(4, 5), np.abs(b) * 3, {}, {"log_input": False, "full": True})
losses("kl_div", a, between(4, 5), {}, {"log_target": True})
add("kl_div", a, fixed={"target": between(4, 5)}, options={"reduction": "batchmean"})
losses("binary_cross_entropy", between(4, 5), between(4, 5, seed=1), {}, {"weight": positive(5)})
losses(
    "binary_cross_entropy_with_logits",
    a,
    between(4, 5),
    {},
    {"weight": positive(4, 5), "pos_weight": positive(5)},
)
losses("soft_margin_loss", a, signs(4, 5))
losses("hinge_embedding_loss", a, signs(4, 5), {}, {"margin": 0.3})
losses("multi_margin_loss", a, classes(4, count=5), {}, {"p": 2, "margin": 0.5, "weight": positive(5)})
losses(
    "multilabel_margin_loss",
    a,
    np.array([[3, 0, -1, 1, 1], [0, 1, 2, 3, 4], [-1, 0, 0, 0, 0], [4, 2, -1, 2, 2]]),
)
losses("multilabel_soft_margin_loss", a, (b > 0).astype(float), {}, {"weight": positive(5)})
losses("nll_loss", a, classes(4, count=5), {}, {"weight": positive(5), "ignore_index": 1})
losses("nll_loss", x(2, 5, 3, 2), classes(2, 3, 2, count=5))
losses(
    "cross_entropy",
    a,
    classes(4, count=5),
    {},
    {"weight": positive(5), "ignore_index": 1, "label_smoothing": 0.2},
)
losses("cross_entropy", x(2, 5, 3, 2), classes(2, 3, 2, count=5))
losses("cross_entropy", a, between(4, 5))
losses("dice_loss", between(2, 3, 4), (x(2, 3, 4) > 0).astype(float), {}, {"smooth": 0.5}, torch=None)
losses("sigmoid_focal_loss", a, (b > 0).astype(float), {}, {"alpha": None, "gamma": 1.5}, torch=None)
for reduction in ("mean", "sum", "none"):
    how = {"reduction": reduction}
    add(
        "gaussian_nll_loss",
        {"input": a, "var": positive(4, 5)},
        fixed={"target": b},
        options={"full": True, **how},
    )
    add("gaussian_nll_loss", {"input": a, "var": positive(4, 1)}, fixed={"target": b}, options=how)
    add(
        "margin_ranking_loss",
        {"input1": a, "input2": b},
        fixed={"target": signs(4, 5)},
        options={"margin": 0.3, **how},
    )
    add(
        "cosine_embedding_loss",
        {"input1": a, "input2": b},
        fixed={"target": signs(4)},
        options={"margin": -0.4, **how},
    )
    for row in ({}, {"p": 3.0, "swap": True, "margin": 0.2}):
        add(
            "triplet_margin_loss",
            {"anchor": a, "positive": b, "negative": x(4, 5, seed=2)},
            options={**row, **how},
        )
    lengths = {"input_lengths": (6, 5), "target_lengths": (2, 3)}
    logits = x(6, 2, 4)
    log_probs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    add("ctc_loss", {"log_probs": log_probs}, fixed={"targets": np.array([[1, 2, 0], [3, 3, 1]]), **lengths},
        options={"zero_infinity": True, **how}, same_gradient=False)  # fmt: skip

GRADIENTS = ("_backward", "_input", "_weight", "_bias")
# Functions that the rows cannot describe, and the file of tests that has them.
ELSEWHERE = {
    **{f"conv{kind}{n}d": "test_conv.py" for kind in ("", "_transpose") for n in (1, 2, 3)},
    **dict.fromkeys(("linear", "pad", "unfold", "fold", "interpolate"), "test_linear.py"),
    **dict.fromkeys(("dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout"), "test_dropout.py"),
    "one_hot": "test_embedding.py",
}
NO_HALF = ("ctc_loss", "poisson_nll_loss")  # whose results float16 cannot hold, or not to 2 %
WITH_BATCH = {c.name for c in CASES if "loss" not in c.name and "entropy" not in c.name} - {
    "cosine_similarity", "embedding", "layer_norm", "normalize", "rms_norm", "kl_div"
}  # fmt: skip


def has_batch(case: Case) -> bool:
    """Whether the first axis of the input and the output is that of a batch."""
    axes = int(case.name[-2]) if case.name[-2].isdigit() else 1
    return case.name in WITH_BATCH and case.inputs["input"].ndim == max(axes + 2, 3)


OF_ANY_SHAPE = (
    "pixel_shuffle",
    "pixel_unshuffle",
    "channel_shuffle",
)  # the gradient of the output, as the input

# --- calls ---

ORDER = {  # of the arguments, where `inputs` are not the first
    "embedding": ("input", "weight"),
    "gaussian_nll_loss": ("input", "target", "var"),
    **dict.fromkeys(
        ("batch_norm", "instance_norm"), ("input", "running_mean", "running_var", "weight", "bias")
    ),
}


def device(value, dtype):
    """Floating arrays in `dtype` on the active backend, of their own each."""
    if not isinstance(value, np.ndarray):
        return value
    return xpconv.asarray(value, dtype if value.dtype.kind in "fc" else None).copy()


def arguments(case, dtype):
    """The arrays and the options of a call of the function."""
    arrays = {n: device(v, dtype) for n, v in {**case.inputs, **case.fixed}.items()}
    arrays = {n: arrays[n] for n in (*ORDER.get(case.name, ()), *arrays) if n in arrays}
    return arrays, {n: device(v, dtype) for n, v in case.options.items()}


def forward(case, arrays, options):
    names = {"normalized_shape": 1, "num_groups": 1}  # which PyTorch has before the arrays
    first = [options[n] for n in names if n in options]
    rest = {n: v for n, v in options.items() if n not in names}
    if not first:
        return getattr(F, case.name)(*arrays.values(), **rest)
    given = list(arrays.values())
    return getattr(F, case.name)(given[0], *first, *given[1:], **rest)


def backward(case, grad, y, arrays, options):
    """The gradients of `case.inputs`, by the function's backward."""
    function = getattr(F, f"{case.name}_backward")
    options = {n: v for n, v in options.items() if n not in case.forward_only}
    if case.saved == "output":
        found = function(grad, y, **options)
    elif case.saved == "size":
        found = function(grad, arrays["input"].shape, **options)
    elif case.saved == "indices":
        _, indices = getattr(F, case.name)(*arrays.values(), **case.options, return_indices=True)
        found = function(grad, indices, arrays["input"].shape, **options)
    elif case.saved == "":
        fixed = [v for n, v in arrays.items() if n in case.fixed]
        found = function(grad, *fixed, **options)
    elif case.name == "embedding":
        found = function(grad, arrays["input"], arrays["weight"].shape[0])
    else:
        given = {n: v for n, v in arrays.items() if n != "bias"}
        found = function(grad, **given, **options)
    return found if isinstance(found, tuple) else (found,)
