"""Nested values survive a file exactly, and what cannot be saved is named."""

import json
import math
from collections import Counter, OrderedDict, namedtuple
from types import MappingProxyType

import numpy as np
import pytest

import xpconv
from xpconv.errors import DataFileError
from xpconv.files.encoding import DEEPEST, PLAIN, Decoder, Encoder

Point = namedtuple("Point", "x y")


def through_json(value):
    encoder = Encoder("save")
    text = json.dumps(encoder.encode("v", value), allow_nan=False)
    return Decoder("load", encoder.arrays).decode(json.loads(text))


def same(a, b):
    """Equal in value and type, at every depth; arrays by dtype, shape and bits."""
    if isinstance(a, dict):
        return type(b) is dict and list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, np.ndarray | np.generic):
        return type(a) is type(b) and a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if isinstance(a, float):
        return type(b) is float and np.float64(a).tobytes() == np.float64(b).tobytes()
    return type(a) is type(b) and a == b


VALUES = {
    "plain": [None, True, False, 0, -1, 1.5, "", "text", []],
    "floats": [math.nan, math.inf, -math.inf, -0.0, 5e-324, 1.7976931348623157e308, 0.1],
    "large ints": [2**63, -(2**200), 2**64 - 1],
    "strings": ["ä€𝄞", "\ud800", "\0\n\u2028", '"\\$', "$array"],
    "keys": {0: "a", -1: {"b": 1}, None: 2, True: 3, 1.5: 4, (1, "x"): 5, "s": 6, math.inf: 7},
    "keys like ours": {"$array": "x", "$tuple": [1], "": {}, "a.b": 1, "__metadata__": 2},
    "tuples": [(), (1, (2, [3, ()])), {"a": (None,)}],
    "dicts": [{}, {"": {}}, {"a": {"b": {"c": []}}}],
    "numpy scalars": [np.float32(0.1), np.float64(0.1), np.int8(-3), np.bool_(True), np.uint64(2**64 - 1)],
    "arrays": [
        np.arange(3),
        np.zeros((2, 0, 3)),
        np.array(1.5, "float16"),
        np.array(True),
        np.array([np.nan]),
    ],
    "generators": [
        np.random.Generator(kind(3)).bit_generator.state
        for kind in (np.random.PCG64, np.random.MT19937, np.random.Philox, np.random.SFC64)
    ],
}


@pytest.mark.parametrize("name", VALUES)
def test_values_are_the_same_afterwards(name):
    assert same(VALUES[name], through_json(VALUES[name]))


@pytest.mark.parametrize("dtype", [name for name in PLAIN if name != "bfloat16"])
def test_dtypes_and_memory_orders(dtype, tmp_path):
    a = np.random.default_rng(0).integers(0, 100, (4, 6)).astype(dtype)
    views = {
        "a": a,
        "t": a.T,
        "step": a[::2, ::-3],
        "empty": a[:0],
        "zero": a[0, 0, ...],
        "f": np.asfortranarray(a),
    }
    xpconv.save(tmp_path / "x", **views, big=a.astype(a.dtype.newbyteorder(">")))
    got = xpconv.load(tmp_path / "x")
    assert all(same(np.ascontiguousarray(v) if v.ndim else v, got[k]) for k, v in views.items())
    assert same(a, got["big"])
    assert all(v.flags.writeable for v in got.values())


def test_kinds_of_dicts_and_tuples_become_plain_ones():
    value = [Counter("aab"), OrderedDict(b=1, a=2), MappingProxyType({1: 2}), Point(1, 2), np.str_("s")]
    assert through_json(value) == [{"a": 2, "b": 1}, {"b": 1, "a": 2}, {1: 2}, (1, 2), "s"]


def test_shared_arrays_are_stored_once_and_shared_again():
    a = np.arange(5)
    encoder = Encoder("save")
    text = encoder.encode("v", [a, {"b": a}, a.copy()])
    assert len(encoder.arrays) == 2
    first, second, third = Decoder("load", encoder.arrays).decode(text)
    assert first is second["b"]
    assert third is not first


def test_names_that_would_collide(tmp_path):
    value = {"a.b": np.arange(1), "a": {"b": np.arange(2)}, 1: np.arange(3), "1": np.arange(4)}
    xpconv.save(
        tmp_path / "x",
        v=value,
        **{"v.a.b": np.arange(5), "__metadata__": np.arange(6), "\ud800": np.arange(7)},
    )
    got = xpconv.load(tmp_path / "x")
    assert same(value, got["v"])
    assert [len(got[k]) for k in ("v.a.b", "__metadata__", "\ud800")] == [5, 6, 7]


def test_arrays_of_a_backend_and_parameters(backend, tmp_path):
    x, p = xpconv.asarray([[1.0, 2.0]]), xpconv.Parameter(xpconv.asarray([3.0]))
    xpconv.save(tmp_path / "x", x=x, nested=[{"t": x.T}], p=p)
    got = xpconv.load(tmp_path / "x")
    assert type(got["x"]) is type(x)
    assert xpconv.asnumpy(got["nested"][0]["t"]).tolist() == [[1.0], [2.0]]
    assert type(got["p"]) is type(x)
    with xpconv.use_backend("numpy"):
        there = xpconv.load(tmp_path / "x")
    assert type(there["x"]) is np.ndarray
    assert there["x"].tolist() == [[1.0, 2.0]]


def test_arrays_from_the_host_stay_there(backend, tmp_path):
    xpconv.save(tmp_path / "x", x=np.arange(3), y=np.float32(2))
    got = xpconv.load(tmp_path / "x")
    assert type(got["x"]) is np.ndarray
    assert same(np.float32(2), got["y"])


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (object(), "object"),
        ({1, 2}, r"\{1, 2\} \(set\)"),
        (b"x", r"b'x' \(bytes\)"),
        (1j, "complex"),
        (print, "builtin_function"),
        (xpconv.Dense, "type"),
        (np.zeros(2, complex), "an array of complex128"),
        (np.array(["a"]), "an array of <U1"),
        (np.array([None]), "an array of object"),
        (np.zeros(1, "M8[s]"), "datetime64"),
        (np.zeros(1, [("a", "f4")]), "array of"),
        (np.longdouble(1), "float128|longdouble"),
        (np.ma.masked_array([1], [True]), "masked"),
        ({"k": [1, {"z": b""}]}, r"v\.k\.1\.z is b''"),
        ({b"k": 1}, "a key"),
    ],
)  # fmt: skip
def test_what_cannot_be_saved_is_named(value, said, tmp_path):
    xpconv.save(tmp_path / "x", v=1)
    with pytest.raises(TypeError, match=rf"^save: (v.*)?({said})"):
        xpconv.save(tmp_path / "x", v=value)
    assert xpconv.load(tmp_path / "x") == {"v": 1}
    assert len(list(tmp_path.iterdir())) == 1


def test_values_that_contain_themselves_or_are_too_deep(tmp_path):
    loop = []
    loop.append(loop)
    deep = 1
    for _ in range(DEEPEST):
        deep = [deep]
    xpconv.save(tmp_path / "x", v=deep)
    assert xpconv.load(tmp_path / "x") == {"v": deep}
    for value in (loop, [deep]):
        with pytest.raises(ValueError, match=rf"^save: v\.0\.0.* is nested deeper than {DEEPEST}"):
            xpconv.save(tmp_path / "x", v=value)


@pytest.mark.parametrize(
    "text",
    [
        '{"$array":"no"}', '{"$array":1}', '{"$array":["a"]}', '{"$scalar":"a"}', '{"$float":"1"}', '{"$tuple":1}',
        '{"$tuple":{}}', '{"$dict":[[1]]}', '{"$dict":{"a":1}}', '{"$dict":[[[],1]]}', '{"$eval":"1"}', '{"$dict":[1]}',
        '{"$tuple":[],"b":1}', '{"$array":"a","$device":1}', '{"$array":"a","x":true}', '{"$float":[]}',
        '{"$dict":[[{"$array":"a"},1]]}', "[" * 200 + "]" * 200,
    ],
)  # fmt: skip
def test_wrong_encodings_are_errors(text):
    with pytest.raises(DataFileError, match=r"^load: 'f'"):
        Decoder("load: 'f'", {"a": np.arange(3)}).decode([json.loads(text)])


def test_an_int_that_json_does_not_hold(tmp_path):
    path = tmp_path / "a.safetensors"
    xpconv.save(path, n=2**8000)
    assert xpconv.load(path) == {"n": 2**8000}
    with pytest.raises(ValueError, match="save: n is an int of 16,001 bits, expected at most 8,192"):
        xpconv.save(path, n=2**16000)
    assert xpconv.load(path) == {"n": 2**8000}
