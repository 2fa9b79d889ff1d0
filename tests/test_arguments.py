"""Arguments at the door: flags, choices, numbers and sizes of every constructor; ranges of `init`."""

import inspect
import math
import tracemalloc

import numpy as np
import pytest

import xpconv
from xpconv import init

GOOD = {  # what a constructor needs
    "alpha": 1.0, "axis": 1, "dim": 1, "groups": 2, "in1_features": 2, "in2_features": 2, "in_channels": 2, "in_features": 2,
    "input_channels": 2, "kernel_size": 2, "normalized_shape": 2, "norm_type": 2.0, "num_channels": 2, "num_embeddings": 2,
    "embedding_dim": 2, "num_features": 2, "num_groups": 1, "out_channels": 2, "out_features": 2, "output_size": 2,
    "padding": 1, "scale_factor": 2, "size": 2, "squeeze_channels": 2, "max_val": 9.0, "threshold": 1.0, "value": 0.0, "upscale_factor": 2,
    "downscale_factor": 2, "unflattened_size": (1, 2),
}  # fmt: skip
CLASSES = {
    kind.__name__: kind
    for name in xpconv.__all__
    if isinstance(kind := getattr(xpconv, name), type)
    and issubclass(kind, xpconv.Layer | xpconv.Loss)
    and not name.startswith("Upsampling")
}


def arguments(kind):
    return dict(inspect.signature(kind).parameters)


def make(kind, **more):
    needed = [
        name
        for name, p in arguments(kind).items()
        if (p.default is p.empty or name == "max_val") and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
    ]
    unknown = [name for name in needed if name not in GOOD]
    assert not unknown, f"{kind.__name__}: GOOD in tests/test_arguments.py has no value for {unknown}"
    needed = {name: GOOD[name] for name in needed}
    if kind is xpconv.Upsample and not {"size", "scale_factor"} & set(more):
        needed["size"] = 2
    return kind(**{**needed, **more})


def those_annotated(*annotations):
    return [
        (name, argument)
        for name, kind in CLASSES.items()
        for argument, p in arguments(kind).items()
        if str(p.annotation) in annotations
    ]


FLAGS = those_annotated("bool", "bool | None")
ODD = [np.array([1, 2]), np.array([]), "bilinear", "", int, 1, 0, 1.0, [], {}, object(), np.array(True)]


@pytest.mark.parametrize(("name", "flag"), FLAGS, ids=[".".join(f) for f in FLAGS])
def test_flags_are_true_or_false(name, flag):
    kind = CLASSES[name]
    more = {"mode": "linear"} if flag == "align_corners" else {}
    for value in ODD:
        with pytest.raises(TypeError, match=rf"^{name}: {flag} is .*, expected True or False$"):
            make(kind, **{flag: value}, **more)
    for value in (True, False, np.True_, np.False_):
        needs = {"scale_factor": 2} if flag == "recompute_scale_factor" else {}
        layer = make(kind, **{flag: value}, **more, **needs)
        if flag in vars(layer) and not isinstance(vars(layer)[flag], xpconv.Parameter | None):
            assert vars(layer)[flag] is bool(value)


CHOICES = those_annotated("str")
WORDS = {
    "reduction": "mean",
    "padding_mode": "zeros",
    "mode": "nearest",
    "approximate": "tanh",
    "algorithm": "auto",
}


@pytest.mark.parametrize(("name", "argument"), CHOICES, ids=[".".join(c) for c in CHOICES])
def test_choices_are_words(name, argument):
    for value in ([], {}, np.array([1, 2]), np.array(["mean"]), None, 1, "foo", "", b"mean", object()):
        with pytest.raises((ValueError, TypeError), match=rf"^{name}: {argument} is "):
            make(CLASSES[name], **{argument: value})
    layer = make(CLASSES[name], **{argument: np.str_(WORDS[argument])})
    assert type(getattr(getattr(layer, "depthwise", layer), argument)) is str


NUMBERS = those_annotated("float", "float | None")


@pytest.mark.parametrize(("name", "argument"), NUMBERS, ids=[".".join(n) for n in NUMBERS])
def test_numbers_become_pythons(name, argument):
    kind = CLASSES[name]
    for value in ("1", [1.0], np.array([1.0, 2.0]), 1j, True, object(), 10**400):
        with pytest.raises((TypeError, ValueError), match=rf"^{name}: {argument} is "):
            make(kind, **{argument: value})
    for value in (np.float32(0.5), np.float16(0.5), np.float64(0.5), np.uint8(1)):
        kept = getattr(make(kind, **{argument: value}), argument)
        assert type(kept) is float
        assert kept == value
    may_be_nan = argument == "value"  # padding and thresholds: a mark
    if may_be_nan:
        assert math.isnan(make(kind, **{argument: math.nan}).value)
    else:
        with pytest.raises(ValueError, match=rf"^{name}: {argument} is nan"):
            make(kind, **{argument: math.nan})


SIZES = those_annotated(
    "int", "IntOrTuple", "IntOrTuple | None", "Size", "Padding", "PadOrPairs", "int | Sequence[int]"
)
SIZES = [
    (n, a) for n, a in SIZES if a not in ("dim", "axis", "start_dim", "end_dim", "ignore_index", "p", "blank")
]


@pytest.mark.parametrize(("name", "argument"), SIZES, ids=[".".join(s) for s in SIZES])
def test_absurd_sizes_are_refused_before_anything_is_allocated(name, argument):
    tracemalloc.start()
    try:
        for value in (2**63, 10**12, 10**400, -(2**63)):
            with pytest.raises(ValueError, match=rf"^{name}: {argument}"):
                make(CLASSES[name], **{argument: value})
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "make",
    [
        lambda: xpconv.Dense(10**9, 10**9),
        lambda: xpconv.Conv2d(10**6, 10**6, 3),
        lambda: xpconv.Embedding(2**31 - 1, 2**31 - 1),
        lambda: xpconv.LayerNorm((2**31 - 1, 2**31 - 1)),
    ],
)
def test_a_parameter_that_no_machine_holds(make, backend):
    with pytest.raises(ValueError, match=r"^\w+: weight of shape \(.*\) takes .* GiB; give smaller sizes"):
        make()


def test_a_parameter_for_which_there_is_no_memory(monkeypatch):
    def zeros(*_, **__):
        raise MemoryError("Unable to allocate 1.00 GiB")

    monkeypatch.setattr(np, "zeros", zeros)
    with pytest.raises(
        xpconv.errors.OutOfMemoryError,
        match=r"^Dense: no memory for weight of shape \(2, 3\).*Unable to allocate",
    ):
        xpconv.Dense(3, 2)


@pytest.mark.parametrize(
    "rng",
    [np.random.RandomState(0), "0", 1.5, [1], np.array([1, 2]), -1, np.random],
    ids=lambda r: type(r).__name__,
)
def test_rng(rng):
    for name, kind in CLASSES.items():
        if "rng" in arguments(kind):
            with pytest.raises((TypeError, ValueError), match=rf"^{name}: rng is "):
                make(kind, rng=rng)


def test_dtype():
    for name, kind in CLASSES.items():
        if "dtype" not in arguments(kind):
            continue
        for dtype in ("foo", int, object(), {}, {"a": 1}, [("a", "f4")], "f4,f4", bool, complex, [], 3):
            with pytest.raises(xpconv.errors.DTypeError, match=rf"^{name}: dtype is "):
                make(kind, dtype=dtype)
        if not name.startswith("Lazy"):  # whose None is that of the first input
            assert {p.dtype for p in make(kind, dtype=None).parameters()} <= {
                np.dtype("float32")
            }  # as PyTorch's
            swapped = make(kind, dtype=">f8").parameters()
            assert all(p.dtype.isnative and p.dtype == "float64" for p in swapped)
    with pytest.raises(xpconv.errors.DTypeError, match=r"^Dense\.to: dtype is "):
        xpconv.Dense(2, 2).to(dtype={})


# --- one number for all axes, and none: what PyTorch takes -------------------------------------------------

X = np.random.default_rng(0).normal(size=(2, 4, 6, 7))
WINDOWS = {
    "MaxPool": dict(kernel_size=2), "AvgPool": dict(kernel_size=3), "LPPool": dict(norm_type=2, kernel_size=2),
    "Conv": dict(in_channels=4, out_channels=2, kernel_size=2), "ConvTranspose": dict(in_channels=4, out_channels=2, kernel_size=2),
    "Unfold": dict(kernel_size=2), "MaxUnpool": dict(kernel_size=2),
}  # fmt: skip
VALUES = [(), [], (1,), [1], (2,), (1, 2), [2, 1], (1, 1, 1)]
ACCIDENTS = {  # PyTorch unpacks, or reads the first two: there is no reason to
    ("LPPool", "kernel_size", 1),
    ("MaxUnpool", "stride", 3),
    ("MaxUnpool", "padding", 3),
    ("MaxUnpool", "kernel_size", 3),
}


@pytest.mark.parametrize("family", WINDOWS)
def test_tuples_of_window_arguments_as_in_pytorch(family):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: `pip install torch`")
    name = family if family == "Unfold" else f"{family}2d"
    ours, theirs = getattr(xpconv, name), getattr(torch.nn, name)
    x = X[:, :, :1, :1] if family == "MaxUnpool" else X
    indices = np.zeros(x.shape, "int64")
    more = {"stride": 3} if family == "ConvTranspose" else {}
    for argument in ("kernel_size", "stride", "padding", "dilation", "output_padding"):
        if argument not in arguments(ours):
            continue
        for value in VALUES:
            if (family, argument, len(value)) in ACCIDENTS:
                continue
            options = {**WINDOWS[family], **more, argument: value}
            case = f"{name}({options})"
            inputs = (x, indices) if family == "MaxUnpool" else (x,)
            try:
                layer = theirs(**options).double()
                expected = layer(*map(torch.as_tensor, inputs)).detach().numpy()
            except (RuntimeError, ValueError, TypeError, IndexError):
                with pytest.raises((TypeError, ValueError), match=name):
                    ours(**options)(*inputs)
                continue
            mine = ours(**options).to(dtype="float64")
            mine.load_state_dict(layer.state_dict())
            np.testing.assert_allclose(mine(*inputs), expected, rtol=1e-12, atol=1e-12, err_msg=case)


@pytest.mark.parametrize("divisor", [-3, -1, 1, 2, 7, np.int64(-2)])
@pytest.mark.parametrize("axes", [2, 3])
def test_divisor_override_as_in_pytorch(divisor, axes, backend):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: `pip install torch`")
    x = np.random.default_rng(0).normal(size=(2, 3, 5, 6, 7)[: axes + 2])
    options = dict(kernel_size=3, stride=2, padding=1, ceil_mode=True, divisor_override=int(divisor))
    t = torch.as_tensor(x).requires_grad_()
    expected = getattr(torch.nn, f"AvgPool{axes}d")(**options)(t)
    layer = getattr(xpconv, f"AvgPool{axes}d")(**{**options, "divisor_override": divisor})
    y = layer(xpconv.asarray(x))
    np.testing.assert_allclose(xpconv.asnumpy(y), expected.detach().numpy(), rtol=1e-12, atol=1e-14)
    g = np.random.default_rng(1).normal(size=y.shape)
    expected.backward(torch.as_tensor(g))
    np.testing.assert_allclose(
        xpconv.asnumpy(layer.backward(xpconv.asarray(g))), t.grad.numpy(), rtol=1e-12, atol=1e-14
    )


@pytest.mark.parametrize("divisor", [0, 1.5, "2", True, np.array([1, 2]), []])
def test_divisors_that_are_none(divisor):
    with pytest.raises((TypeError, ValueError), match=r"^AvgPool2d: divisor_override is "):
        xpconv.AvgPool2d(2, divisor_override=divisor)


# --- init: ranges of trunc_normal_ --------------------------------------------------------------------------


def parameter(*shape, dtype="float64"):
    return xpconv.Parameter(xpconv.asarray(np.full(shape, np.nan, dtype)))


def upper(z):
    """The mass of the standard normal distribution above `z`."""
    return math.erfc(z / math.sqrt(2)) / 2


RANGES = [  # mean, std, a, b
    (0, 1, -2, 2), (0, 1, 1.3, 4), (0, 1, -4, -1.5), (10, 1, -2, 2), (-10, 1, -2, 2), (0, 1, 5, math.inf), (0, 2, -math.inf, -7),
    (0, 1, 0.1, 0.15), (0, 1, -0.05, 0.1), (0, 1, -1e-9, 1e-9), (3, 0.1, 3.9, 4.5), (0, 1, 20, 30), (5, 1, -math.inf, math.inf),
]  # fmt: skip


@pytest.mark.parametrize("case", RANGES, ids=str)
def test_trunc_normal_anywhere(case, backend):
    """Every value in the range, and distributed as the formula says (Kolmogorov and Smirnov's distance)."""
    mean, std, a, b = case
    x = np.sort(xpconv.asnumpy(init.trunc_normal_(parameter(200, 100), mean, std, a, b, rng=0).data).ravel())
    assert a <= x[0]
    assert x[-1] <= b
    flip = -1 if a + b < 2 * mean else 1  # into the upper tail, where erfc keeps its digits
    low, high = sorted((flip * (a - mean) / std, flip * (b - mean) / std))
    z = np.sort(flip * (x - mean) / std)
    whole = upper(low) - upper(high)
    cdf = np.array([(upper(low) - upper(v)) / whole for v in z])
    if b - a < 1e-6:
        cdf = (z - low) / (high - low)  # flat, and finer than erfc's digits
    distance = np.abs(cdf - (np.arange(len(z)) + 0.5) / len(z)).max()
    assert distance < 2.0 / math.sqrt(len(z))


def test_trunc_normal_draws_as_it_did():
    """The ordinary case: what falls outside is drawn again, from the same generator."""
    rng = np.random.default_rng(3)
    expected = rng.normal(0.5, 1.0, (40, 30))
    while (outside := (expected < -1) | (expected > 2)).any():
        expected[outside] = rng.normal(0.5, 1.0, int(outside.sum()))
    np.testing.assert_array_equal(
        init.trunc_normal_(parameter(40, 30), 0.5, 1.0, -1, 2, rng=3).data, expected
    )


EMPTY = [
    (dict(a=2, b=2), "a is 2.0 and b is 2.0, expected a < b"), (dict(a=3, b=-3), "expected a < b"), (dict(std=0), "cannot be hit"),
    (dict(std=-1), "std is -1, expected at least 0"), (dict(mean=math.inf), "mean is inf, expected a finite number"),
    (dict(mean=math.nan), "mean is nan"), (dict(std=math.nan), "std is nan"), (dict(std=math.inf), "std is inf"),
    (dict(a=math.nan), "a is nan"), (dict(b=math.nan), "b is nan"), (dict(a=math.inf, b=math.inf), "expected a < b"),
    (dict(a=1e300, b=1e301, std=1e-300), "cannot be hit"), (dict(mean="x"), "mean is 'x', expected a number"),
    (dict(std=1e39), None),
]  # fmt: skip


@pytest.mark.parametrize(("options", "message"), EMPTY, ids=[str(o) for o, _ in EMPTY])
def test_ranges_that_cannot_be(options, message):
    p = parameter(3, 2)
    if message is None:
        assert (abs(init.trunc_normal_(p, **options).data) <= 2).all()
        return
    with pytest.raises((TypeError, ValueError), match=rf"^init\.trunc_normal_: .*{message}"):
        init.trunc_normal_(p, **options)
    assert np.isnan(p.data).all()


FILLS = [f for n, f in vars(init).items() if n.endswith("_") and not n.startswith("_")]


@pytest.mark.parametrize("fill", FILLS, ids=lambda f: f.__name__)
def test_fills_take_parameters_alone(fill):
    more = (1.0,) if fill is init.constant_ else ()
    odd = [np.ones((2, 2)), [[1.0]], True, None, 3, "weight", xpconv.Dense(2, 2), object(), np.float32(1)]
    for value in odd:
        with pytest.raises(
            TypeError, match=rf"^init\.{fill.__name__}: parameter is .*, expected a Parameter"
        ):
            fill(value, *more)
    empty = parameter(0, 0)
    assert fill(empty, *more) is empty


def test_values_beyond_a_dtype():
    for dtype, value in (("float16", 1e6), ("float32", 1e39)):
        p = parameter(2, 2, dtype=dtype)
        for call in (
            lambda p=p, v=value: init.constant_(p, v),
            lambda p=p, v=value: init.uniform_(p, 0, v),
            lambda p=p, v=value: init.normal_(p, -v),
        ):
            with pytest.raises(ValueError, match=f"what {dtype} can hold"):
                call()
        assert np.isinf(init.constant_(p, math.inf).data).all()
    for low, high in ((1, 0), (-1.7e308, 1.7e308)):
        with pytest.raises(ValueError, match=r"^init\.uniform_: low is .* of finite distance"):
            init.uniform_(parameter(2, 2), low, high)


def test_mode_gain_and_fans_in_words():
    for call, message in (
        (
            lambda: init.xavier_uniform_(parameter(2, 2), gain=-1),
            "init.xavier_uniform_: gain is -1, expected at least 0",
        ),
        (
            lambda: init.xavier_normal_(parameter(2, 2), gain="1"),
            "init.xavier_normal_: gain is '1', expected a number",
        ),
        (
            lambda: init.kaiming_normal_(parameter(2, 2), mode=[]),
            r"init.kaiming_normal_: mode is \[\], expected 'fan_in' or 'fan_out'",
        ),
        (lambda: init.gain([]), r"init.gain: nonlinearity is \[\], expected one of"),
        (lambda: init.gain("leaky_relu", "x"), "init.gain: a is 'x', expected a number"),
        (lambda: init.fans(3), "init.fans: shape is 3, expected a tuple of ints"),
        (lambda: init.fans((2, 1.5)), "init.fans: shape is 1.5, expected an int"),
        (lambda: init.fans((2, -1)), "init.fans: shape is -1, expected at least 0"),
    ):
        with pytest.raises((TypeError, ValueError), match=f"^{message}"):
            call()


ABSURD = [  # which make sizes out of sizes
    lambda n: xpconv.ZeroPad2d(n)(IMAGES),
    lambda n: xpconv.ReplicationPad2d(n)(IMAGES),
    lambda n: xpconv.AdaptiveAvgPool2d(n)(IMAGES),
    lambda n: xpconv.AdaptiveMaxPool2d(n)(IMAGES),
    lambda n: xpconv.Upsample(n)(IMAGES),
    lambda n: xpconv.Upsample(scale_factor=n)(IMAGES),
    lambda n: xpconv.Upsample(scale_factor=1e300)(IMAGES),
    lambda n: xpconv.Conv2d(4, 2, 3, padding=n)(IMAGES),
    lambda n: xpconv.Conv2d(4, 2, 3, padding=n, padding_mode="replicate")(IMAGES),
    lambda n: xpconv.ConvTranspose2d(4, 2, 3, stride=n)(IMAGES),
    lambda n: xpconv.MaxUnpool2d(n)(IMAGES, np.zeros(IMAGES.shape, int)),
    lambda n: xpconv.MaxPool2d(n, padding=n // 2 - 1),
    lambda n: xpconv.Unfold(n, padding=n)(IMAGES),
    lambda n: xpconv.Flatten().summary((n, n)),
    lambda n: xpconv.explain(xpconv.ReLU(), (n, n)),
]
IMAGES = np.ones((1, 4, 6, 6), "float32")


@pytest.mark.parametrize("call", ABSURD)
@pytest.mark.parametrize("n", [10**8, 2**31 - 1])
def test_outputs_that_no_machine_holds(call, n):
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=r"give smaller sizes|expected at most"):
            call(n)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


# --- settings ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: xpconv.set_num_threads(0.5), "set_num_threads: count is 0.5, expected an int"),
        (lambda: xpconv.set_num_threads(10**12), "set_num_threads: count is 1000000000000, expected at most"),
        (lambda: xpconv.set_exact("yes"), "set_exact: exact is 'yes', expected True or False"),
        (lambda: xpconv.set_backend([]), r"set_backend: name is \[\], expected a name"),
        (lambda: xpconv.use_backend(3).__enter__(), "use_backend: name is 3, expected a name"),
        (
            lambda: xpconv.ReLU().train(mode=np.array([1, 2])),
            r"ReLU.train: mode is .*, expected True or False",
        ),
        (lambda: xpconv.ReLU().train(1), "ReLU.train: mode is 1, expected True or False"),
        (
            lambda: xpconv.ReLU().load_state_dict({}, strict="no"),
            "ReLU.load_state_dict: strict is 'no', expected True",
        ),
        (lambda: xpconv.cuda.allow_tf32(2), "allow_tf32: allow is 2, expected True or False"),
        (lambda: xpconv.cuda.capture(3, np.ones(1)), "capture: step is 3, expected a function"),
    ],
)
def test_settings(call, message):
    with pytest.raises((TypeError, ValueError), match=f"^{message}"):
        call()


@pytest.mark.parametrize("kind", ["uint8", "int8", "int16", "uint64"])
def test_a_small_integer_as_batch_size(kind):
    x, size = np.arange(1000), np.dtype(kind).type(100)
    loader = xpconv.data.batches(x, x, size, drop_last=True)
    assert [len(part) for part, _ in loader] == [100] * 10
    assert len(xpconv.data.batches(x, x, size)) == 10


@pytest.mark.parametrize(
    "fill",
    [
        lambda p: init.normal_(p, std=6e4, rng=0),
        lambda p: init.trunc_normal_(p, a=1e5, b=2e5, rng=0),
        lambda p: init.trunc_normal_(p, std=6e4, a=-2e5, b=2e5, rng=0),
    ],
)
def test_draws_that_the_dtype_cannot_hold(fill, backend):
    """No infinite weights: the draw is refused, and the parameter stays as it is."""
    p = xpconv.Parameter(xpconv.asarray(np.ones((300, 1)), "float16"))
    with pytest.raises(ValueError, match=r"^init\.\w+: it gives .* which float16 cannot hold"):
        fill(p)
    assert (xpconv.asnumpy(p.data) == 1).all()


@pytest.mark.parametrize(
    ("path", "error"), [("\ud800", ValueError), (type("P", (), {"__fspath__": lambda self: 3})(), TypeError)]
)
def test_odd_paths(path, error):
    for load, name in (
        (xpconv.data.load_idx, "load_idx: path"),
        (xpconv.data.load_mnist, "load_mnist: data_dir"),
    ):
        with pytest.raises(error, match=f"^{name}"):
            load(path)
