"""CuPy's `RawModule` on a CPU: g++ compiles the CUDA source, a loop takes the place of the grid.

It is how the kernels' arithmetic and their launchers are tested without a GPU; what a GPU adds stays hidden
(`cuda/emulation.h` lists it). With XPCONV_SANITIZE=address,undefined it is compiled with these sanitizers, which
want `LD_PRELOAD` of the former's library; `tests/kernels/cupy/test_cuda.py` runs itself so.

Libraries are cached in `.emulation_cache` of the checkout, for the other processes of the tests and for later runs.
"""

import contextlib
import ctypes
import functools
import hashlib
import os
import re
import shutil
import tempfile
import time
from pathlib import Path

import effort
import numpy as np
import process

HERE = Path(__file__).parent / "cuda"
CACHE, WEEK = Path(__file__).parents[2] / ".emulation_cache", 7 * 24 * 3600
COMPILER = shutil.which("g++")
FLAGS = ["-shared", "-Wl,-Bsymbolic", "-fPIC", "-mf16c", "-Wall", "-Wextra", "-Werror", "-Wno-unused-parameter",
         "-Wno-unknown-pragmas", f"-I{HERE}"]  # fmt: skip
if os.environ.get("XPCONV_SANITIZE"):
    FLAGS += ["-g", f"-fsanitize={os.environ['XPCONV_SANITIZE']}", "-fno-sanitize-recover=all"]
MEETINGS = re.compile(r"__(syncthreads|shfl_xor_sync)\(")
KERNEL = re.compile(r'extern "C" __global__ void (\w+)\(')


def _flags():
    """Optimised, which takes twice the time to compile and finds more warnings, if the slow tests run too."""
    thorough = effort.thorough or "XPCONV_THOROUGH" in os.environ  # of a test that started this process
    return ["-O2" if thorough and not os.environ.get("XPCONV_SANITIZE") else "-O0", *FLAGS]


@functools.cache
def _surroundings():
    """What a library depends on besides its own source. The first call removes what no test has used for a week."""
    CACHE.mkdir(exist_ok=True)
    for library in CACHE.glob("*.so"):
        with contextlib.suppress(FileNotFoundError):  # another process was faster
            if time.time() - library.stat().st_mtime > WEEK:
                library.unlink()
    version = process.run([COMPILER, "--version"]).stdout
    return version, _flags(), [header.read_text() for header in sorted(HERE.iterdir())]


@functools.cache
def _library(code, options):
    entries = "".join(
        f'extern "C" int launch_{name}(unsigned grid, unsigned block, void** arguments, int count) {{'
        f" return launch(&{name}, grid, block, arguments, count); }}\n"
        for name in KERNEL.findall(code)
    )
    meet = "#define THREADS_MEET\n" if MEETINGS.search(code) else ""
    text = f'{meet}#include "emulation.h"\n{code}\n{entries}'
    key = repr((text, options, _surroundings()))
    library = CACHE / f"{hashlib.sha256(key.encode()).hexdigest()[:24]}.so"
    try:
        os.utime(library)  # it is in use
    except FileNotFoundError:
        _compile(text, options, library)
    return ctypes.CDLL(str(library))


def _compile(text, options, library):
    with tempfile.TemporaryDirectory(dir=CACHE) as folder:
        source = Path(folder, "kernels.cpp")
        source.write_text(text)
        command = [COMPILER, *options, *_flags(), str(source), "-o", str(source.with_suffix(".so"))]
        done = process.run(command, check=False)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}\n{done.stderr}")
        source.with_suffix(".so").replace(library)


def _is_dense(array):
    """Whether a kernel that knows only the address finds nothing but the array's elements: in some order, no gaps."""
    end = sum((n - 1) * step for n, step in zip(array.shape, array.strides, strict=True)) + array.itemsize
    return not array.size or (
        end == array.nbytes
        and min([s for n, s in zip(array.shape, array.strides, strict=True) if n > 1], default=1) > 0
    )


class RawModule:
    """CuPy's, of source code."""

    def __init__(self, *, code, options=()):
        self.code, self.options = code, tuple(options)

    def get_function(self, name):
        most = 64 if MEETINGS.search(self.code) else 5
        return RawKernel(getattr(_library(self.code, self.options), f"launch_{name}"), name, most)


class RawKernel:
    """A kernel of a module: takes what CuPy's takes."""

    def __init__(self, function, name, most):
        self._function, self.name, self._most = function, name, most  # threads of a block: whole warps

    def __call__(self, grid, block, args):
        plain = [self._plain(a) for a in args]
        pointers = (ctypes.c_void_p * len(plain))(*[ctypes.addressof(p) for p in plain])
        few = (
            min(int(*grid), 3),
            min(int(*block), self._most),
        )  # every kernel loops over what its grid leaves: faster so
        wanted = self._function(*few, pointers, len(plain))
        if wanted >= 0:
            raise TypeError(f"{self.name}: {len(plain)} arguments, expected {wanted}")

    def _plain(self, value):
        if isinstance(value, np.ndarray):  # a struct, by value
            return (ctypes.c_char * value.nbytes).from_buffer_copy(value)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return ctypes.c_longlong(value) if isinstance(value, int) else ctypes.c_double(value)
        array = value._a  # the double's
        if not _is_dense(array):
            raise TypeError(f"{self.name}: an array of shape {array.shape} has strides {array.strides}")
        return ctypes.c_void_p(array.ctypes.data)
