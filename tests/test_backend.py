"""The switch: who owns an array, where new ones are made, and what happens when that cannot be."""

import asyncio
import os
import sys
import threading
import types

import double
import minimal
import numpy as np
import process
import pytest
from backends import cupy_or_skip

import xpconv
from xpconv import backend as switch
from xpconv import dtypes
from xpconv.errors import BackendError, BackendUnavailableError


def python(code, **environment):
    """Run code in a fresh interpreter; its output, or its last line of error."""
    env = (
        {k: v for k, v in os.environ.items() if not k.startswith("XPCONV")} | process.ONE_THREAD | environment
    )
    done = process.run([sys.executable, "-c", code], env=env, check=False)
    return done.stdout.strip() if done.returncode == 0 else done.stderr.strip().splitlines()[-1]


def test_these_tests_run_on_cupy():
    """Where this is skipped, so are all that take `backend` on CuPy."""
    cupy_or_skip()


def test_arrays_decide_and_the_default_only_creates():
    host = np.zeros(2)
    with xpconv.use_backend("double"):
        device = xpconv.asarray(host)
        assert xpconv.get_xp() is double.xp
        assert xpconv.get_xp(host) is np
        assert xpconv.get_xp(host, host) is np
    assert xpconv.get_xp() is np
    assert xpconv.get_xp(device) is double.xp
    assert type(device) is double.ndarray
    assert xpconv.get_backend() == "numpy"


def test_layers_are_made_on_the_active_backend_and_work_outside_of_it():
    with xpconv.use_backend("double"):
        layer = xpconv.Dense(2, 2)
        x = xpconv.asarray(np.ones((1, 2), "float32"))
    assert type(layer(x)) is double.ndarray


def test_subclasses_belong_to_their_base_and_the_closest_class_wins():
    class Mine(np.ndarray):
        pass

    mine = np.zeros(2).view(Mine)
    assert switch.backend_of(mine).name == "numpy"
    xpconv.register_backend("mine", minimal.returning(Mine), Mine, asnumpy=np.array)
    try:
        assert switch.backend_of(mine).name == "mine"
        assert switch.backend_of(np.zeros(2)).name == "numpy"
        assert type(xpconv.asarray(mine, backend="numpy")) is np.ndarray  # moved, though a subclass
    finally:
        del switch._backends["mine"]
        switch._owner_of.clear()


@pytest.mark.parametrize("arrays", [("host", "device"), ("device", "host"), ("host", "host", "device")])
def test_mixed_arrays(arrays):
    made = {"host": np.zeros(2), "device": xpconv.asarray(np.zeros(2), backend="double")}
    with pytest.raises(BackendError, match=r"arrays of different backends: .*double.*asarray"):
        xpconv.get_xp(*(made[a] for a in arrays))


@pytest.mark.parametrize("thing", [[1.0, 2.0], 3.0, "x"])
def test_no_array(thing):
    with pytest.raises(BackendError, match=rf"got builtins\.{type(thing).__name__}; .*xpconv\.asarray"):
        xpconv.get_xp(thing)


@pytest.mark.parametrize(
    ("thing", "hint"), [((1.0,), r"return_indices=True\) belongs in"), (None, "input_grad=False")]
)
def test_no_array_but_what_a_layer_gave(thing, hint):
    with pytest.raises(BackendError, match=rf"got builtins\.{type(thing).__name__}; .*{hint}"):
        xpconv.get_xp(thing)


@pytest.mark.parametrize(
    ("name", "known"), [("cuda", "cupy"), ("cuda:0", "cupy"), ("gpu", "cupy"), ("cpu", "numpy")]
)
def test_names_of_other_libraries_are_translated(name, known):
    for call in (xpconv.set_backend, xpconv.ReLU().to):
        with pytest.raises(ValueError, match=f"'{name}' is called '{known}' here"):
            call(name)


@pytest.mark.parametrize("dtype", ["float64", np.float64, np.dtype("float64"), float])
def test_a_dtype_is_no_backend(dtype):
    with pytest.raises(ValueError, match=r"^Dense.to: unknown backend .*: to\(dtype='float64'\)"):
        xpconv.Dense(2, 2).to(dtype)


def test_unknown_backend_lists_the_choices():
    for call in (xpconv.set_backend, lambda name: xpconv.use_backend(name).__enter__()):
        with pytest.raises(ValueError, match=r"unknown backend 'tpu': choose one of 'numpy', 'cupy', 'auto'"):
            call("tpu")


def test_set_backend_is_for_all_threads_and_use_backend_for_one():
    seen = {}

    def look(name):
        seen[name] = xpconv.get_backend()

    def in_thread(name):
        thread = threading.Thread(target=look, args=(name,))
        thread.start()
        thread.join()

    xpconv.set_backend("double")
    try:
        in_thread("set")
    finally:
        xpconv.set_backend("numpy")
    with xpconv.use_backend("double"):
        look("here")
        in_thread("used elsewhere")
    assert seen == {"set": "double", "here": "double", "used elsewhere": "numpy"}


def test_use_backend_in_async_tasks():
    async def task(name):
        with xpconv.use_backend(name):
            await asyncio.sleep(0)
            return xpconv.get_backend()

    async def main():
        return await asyncio.gather(*(task(n) for n in ["double", "numpy", "double"]))

    assert asyncio.run(main()) == ["double", "numpy", "double"]


def test_use_backend_nests_and_restores_after_an_error():
    with xpconv.use_backend("double"):
        with pytest.raises(ZeroDivisionError), xpconv.use_backend("numpy"):
            raise ZeroDivisionError
        assert xpconv.get_backend() == "double"
        with pytest.raises(
            RuntimeError, match=r"set_backend\('numpy'\): inside `with use_backend\('double'\)`"
        ):
            xpconv.set_backend("numpy")
    assert xpconv.get_backend() == "numpy"


def test_asarray_and_asnumpy(backend):
    xp = xpconv.get_xp()
    x = xpconv.asarray([[1, 2], [3, 4]], dtype="float32")
    assert xpconv.get_xp(x) is xp
    assert x.dtype == "float32"
    assert xpconv.asarray(x) is x
    assert xpconv.asarray(x, "float32") is x
    assert xpconv.asarray(x, "float64").dtype == "float64"
    np.testing.assert_array_equal(xpconv.asnumpy(x), [[1, 2], [3, 4]])
    host = xpconv.asarray(x, backend="numpy")
    assert type(host) is np.ndarray
    np.testing.assert_array_equal(xpconv.asnumpy(xpconv.asarray(host)), host)
    np.testing.assert_array_equal(xpconv.asnumpy([1, 2]), [1, 2])


@pytest.mark.parametrize(
    ("value", "expected"),
    [(None, "numpy"), ("", "numpy"), ("numpy", "numpy"), ("tpu", "ValueError: environment variable XPCONV_BACKEND: unknown backend 'tpu': choose one of 'numpy', 'cupy', 'auto'")],
)  # fmt: skip
def test_environment(value, expected):
    env = {} if value is None else {"XPCONV_BACKEND": value}
    assert python("import xpconv; print(xpconv.get_backend())", **env) == expected


FAKE_CUPY = """
import sys, types
class Runtime:
    class CUDARuntimeError(RuntimeError): pass
    def getDevice(self): raise self.CUDARuntimeError("cudaErrorNoDevice: no CUDA-capable device is detected")
cupy = types.ModuleType("cupy"); cupy.__version__ = "14.2.0"; cupy.cuda = types.SimpleNamespace(runtime=Runtime())
sys.modules["cupy"] = cupy
import xpconv
"""


def test_cupy_without_a_device_is_an_error_chained_to_its_cause():
    code = FAKE_CUPY + "try: xpconv.get_xp()\nexcept RuntimeError as e: print(repr(e.__cause__), '|', e)"
    cause, message = python(code, XPCONV_BACKEND="cupy").split(" | ")
    assert cause.startswith("CUDARuntimeError('cudaErrorNoDevice")
    assert "CuPy 14.2.0 is installed, but no CUDA device answers" in message
    assert "nvidia-smi" in message
    assert "XPCONV_BACKEND=numpy" in message


def test_which_dtypes_are_floating():
    """bfloat16 comes from ml_dtypes, which need not be here: to NumPy it is of kind "V", as raw bytes are."""
    assert all(dtypes.is_floating(np.dtype(d)) for d in ("float16", "float32", "float64", ">f4"))
    assert not any(
        dtypes.is_floating(np.dtype(d)) for d in ("int8", "bool", "complex64", "V2", "U1", "f4,f4")
    )
    assert dtypes.is_floating(types.SimpleNamespace(kind="V", name="bfloat16"))


def test_auto_without_a_device_is_numpy():
    assert python(FAKE_CUPY + "print(xpconv.get_xp().__name__)", XPCONV_BACKEND="auto") == "numpy"


def test_cupy_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)  # makes `import cupy` fail
    monkeypatch.setattr(switch, "_backends", {k: v for k, v in switch._backends.items() if k != "cupy"})
    with pytest.raises(BackendUnavailableError, match=r'pip install "cupy-cuda12x\[ctk\]"') as caught:
        xpconv.set_backend("cupy")
    assert isinstance(caught.value.__cause__, ImportError)


def test_cupy_with_a_device(monkeypatch):
    """The path to a working CuPy, walked with the double in its clothes."""
    module = types.ModuleType("cupy")
    module.__dict__.update(
        __version__="14", empty=double.xp.empty, ndarray=double.ndarray, asarray=double.xp.asarray,
        asnumpy=double.xp.asnumpy, cuda=types.SimpleNamespace(runtime=types.SimpleNamespace(getDevice=lambda: 0)),
    )  # fmt: skip
    monkeypatch.setitem(sys.modules, "cupy", module)
    monkeypatch.setattr(switch, "_backends", {k: v for k, v in switch._backends.items() if k != "cupy"})
    monkeypatch.setattr(switch, "_owner_of", {})
    for name in ("cupy", "auto"):
        with xpconv.use_backend(name) as xp:
            assert xp is module
            assert xpconv.get_backend() == "cupy"
