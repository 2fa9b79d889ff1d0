"""Damaged and hostile files: an error that names the file, and nothing is loaded."""

import hashlib
import json
import os
import tracemalloc

import numpy as np
import pytest

import xpconv
from xpconv.errors import DataFileError
from xpconv.files import container


class Refuses:
    """Must not be asked to load anything."""

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        raise AssertionError("loaded from a damaged file")


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "run.safetensors"
    xpconv.save(
        path, m=Refuses(), x=np.arange(5.0), y=np.zeros(3, "int8"), n=[1, (2, None)], inf=float("inf")
    )
    return path


def refused(path, said="run.safetensors"):
    with pytest.raises(DataFileError, match=said):
        xpconv.load(path, m=Refuses())


@pytest.mark.parametrize("step", [11, pytest.param(1, marks=pytest.mark.slow)])
def test_every_byte_counts(step, saved):
    data = saved.read_bytes()
    for i in range(0, len(data), step):
        for flip in (1, 0x80, 0x20):
            saved.write_bytes(data[:i] + bytes([data[i] ^ flip]) + data[i + 1 :])
            refused(saved)


@pytest.mark.parametrize("step", [11, pytest.param(1, marks=pytest.mark.slow)])
def test_every_length_but_one_is_refused(step, saved):
    data = saved.read_bytes()
    for n in range(0, len(data), step):
        saved.write_bytes(data[:n])
        refused(saved)
    for more in (b"\0", b" " * 8, data):
        saved.write_bytes(data + more)
        refused(saved)


def test_parts_exchanged_or_zeroed(saved):
    data = saved.read_bytes()
    for start in range(0, len(data) - 64, 64):
        for block in (bytes(64), data[64:128], os.urandom(64)):
            if block != data[start : start + 64]:
                saved.write_bytes(data[:start] + block + data[start + 64 :])
                refused(saved)


def forged(path, about=None, tensors=None, data=b"", text=None):
    """Write a file with the right checksum."""
    about = {"sha256": container.ZEROS, "kind": "checkpoint", "format": 1, "content": {}, **(about or {})}
    text = json.dumps(about, separators=(",", ":")) if text is None else text
    header = {"__metadata__": {"xpconv": text}, **(tensors or {})}
    raw = json.dumps(header, separators=(",", ":")).encode()
    whole = len(raw).to_bytes(8, "little") + raw + data
    checksum = hashlib.sha256(whole).hexdigest().encode()
    path.write_bytes(whole[: container.PLACE] + checksum + whole[container.PLACE + 64 :])
    return path


def content(state):
    return {"content": {"things": {"m": {"class": "Refuses", "state": state}}, "random": {}}}


def start(rest):
    return '{"sha256":"' + container.ZEROS + '"' + rest


F4 = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}


@pytest.mark.parametrize(
    ("about", "said"),
    [
        ({"format": 2, "xpconv": "9.9"}, r"has format 2, written by xpconv 9\.9; .* up to 1: upgrade xpconv"),
        ({"format": 10**30}, "upgrade xpconv"),
        ({"format": "1"}, "says format '1', expected 1"),
        ({"format": True}, "says format True"),
        ({"format": 0}, "says format 0"),
        ({"format": None}, "says format None"),
        ({"kind": "model"}, r"is a model file, expected a checkpoint file; use xpconv.load_model\(path\)"),
        ({"kind": ["a"]}, "expected a checkpoint file"),
        ({"kind": None}, "expected a checkpoint file"),
        ({"content": []}, "damaged"),
        ({"content": {}}, "no things"),
        ({"content": {"things": [], "random": {}}}, "no things"),
        ({"content": {"things": {}, "random": 3}}, "no things"),
        ({"content": {"things": {"m": 3}, "random": {}}}, "m is damaged"),
        ({"content": {"things": {"m": {"class": 3, "state": {}}}, "random": {}}}, "m is damaged"),
        ({"content": {"things": {"m": {"state": {}, "class": "Refuses"}}, "random": {}}}, "m is damaged"),
        (content({"$array": "none"}), "wrong value"),
        (content({"$array": "__metadata__"}), "wrong value"),
        (content({"$import": "os.system"}), "keys"),
        (content({"$dict": [[{"$dict": []}, 1]]}), "wrong value"),
    ],
)
def test_hostile_values(about, said, tmp_path):
    refused(forged(tmp_path / "run.safetensors", about), rf"run\.safetensors'.*{said}")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (start(',"a":' + "[" * 100_000 + "]" * 100_000 + "}"), "values cannot be read"),
        (start(',"a":' + '{"a":' * 100_000 + "1" + "}" * 100_000 + "}"), "values cannot be read"),
        (start(',"a":NaN}'), "NaN is no number"),
        (start(',"a":-Infinity}'), "Infinity is no number"),
        (start(',"a":' + "9" * 10_000 + "}"), "values cannot be read"),
        (start(',"a"'), "values cannot be read"),
        (start("}") + "{}", "values cannot be read"),
    ],
)
def test_hostile_json(text, said, tmp_path):
    refused(forged(tmp_path / "run.safetensors", text=text), said)


@pytest.mark.parametrize(
    ("tensors", "data"),
    [
        ({"a": {**F4, "data_offsets": [0, 8]}}, b"abcd"),
        ({"a": {**F4, "shape": [2]}}, b"abcd"),
        ({"a": {**F4, "shape": [10**9, 10**9, 10**9]}}, b"abcd"),
        ({"a": {**F4, "shape": [-1]}}, b"abcd"),
        ({"a": {**F4, "shape": [1.0]}}, b"abcd"),
        ({"a": {**F4, "data_offsets": [4, 0]}}, b"abcd"),
        ({"a": {**F4, "data_offsets": [2**63, 2**63 + 4]}}, b"abcd"),
        ({"a": {**F4, "data_offsets": [-4, 0]}}, b"abcd"),
        ({"a": F4, "b": F4}, b"abcd"),
        ({"a": F4, "b": {**F4, "data_offsets": [2, 6]}}, b"abcdef"),
        ({"a": F4, "b": {**F4, "data_offsets": [8, 12]}}, bytes(12)),
        ({"a": F4}, b"abcdefgh"),
        ({"a": {**F4, "dtype": "F31"}}, b"abcd"),
        ({"a": {**F4, "dtype": "object"}}, b"abcd"),
        ({"a": {**F4, "dtype": None}}, b"abcd"),
        ({"a": {"dtype": "F8_E4M3", "shape": [4], "data_offsets": [0, 4]}}, b"abcd"),
        ({"a": {"dtype": "F32"}}, b"abcd"),
        ({"a": 3}, b"abcd"),
        ({"a": []}, b"abcd"),
    ],
)
def test_hostile_arrays(tensors, data, tmp_path):
    forged(tmp_path / "run.safetensors", content({}), tensors, data)
    refused(tmp_path / "run.safetensors")


def test_a_forged_file_loads(tmp_path):
    """The helper makes good files, if asked."""
    things = {"a": {"value": {"$array": "a"}}}
    random = {"generator": {}, "counters": {}}
    about = {"content": {"things": things, "random": random}}
    forged(tmp_path / "x", about, {"a": F4}, b"\0\0\x80?")
    assert xpconv.load(tmp_path / "x")["a"].tolist() == [1.0]


@pytest.mark.parametrize("size", [0, 1, 2**20, 100_000_001, 2**63 - 1, 2**63, 2**64 - 1])
def test_a_hostile_length_of_the_header_takes_no_memory(size, saved):
    data = saved.read_bytes()
    saved.write_bytes(size.to_bytes(8, "little") + data[8:])
    tracemalloc.start()
    try:
        refused(saved)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_values_of_another_type_than_a_state_has(tmp_path):
    """The checksum is right and the JSON too, but the state is no optimizer's."""
    model = xpconv.Dense(3, 2)
    optimizer = xpconv.Adam(model.parameters())
    for state in (
        3,
        [],
        {},
        {"state": 1, "param_groups": 2},
        {"state": {}, "param_groups": [{"params": [0, 1], "lr": "x"}]},
    ):
        things = {"o": {"class": "Adam", "state": state}}
        forged(tmp_path / "x", {"content": {"things": things, "random": {}}})
        before = repr(optimizer.state_dict())
        with pytest.raises(ValueError, match=r"^load: '.*x': o does not fit"):
            xpconv.load(tmp_path / "x", o=optimizer)
        assert repr(optimizer.state_dict()) == before


def test_a_hostile_random_state(tmp_path):
    good = xpconv.get_rng_state()
    for random in (
        {}, {"generator": good["generator"]}, {"generator": 3, "counters": {}}, {"generator": {}, "counters": {}},
        {"generator": {"bit_generator": "os"}, "counters": {}},
        {"generator": {"bit_generator": "PCG64", "state": 3}, "counters": {}},
        {"generator": good["generator"], "counters": {"numpy": "x"}},
    ):  # fmt: skip
        things = {"m": {"class": "Identity", "state": {}}}
        forged(tmp_path / "x", {"content": {"things": things, "random": {**random, "layers": {}}}})
        with pytest.raises(ValueError, match=r"^load: '.*x': m does not fit"):
            xpconv.load(tmp_path / "x", m=xpconv.Identity())
        assert xpconv.get_rng_state() == good
