"""Real CuPy on a simulated CUDA driver, without a GPU: import this before `cupy`, for the whole process.

All of CuPy's and xpconv's host code runs. Memory is the host's, kernels are not compiled and launches only count, so
that **values are garbage and nothing here is a device**: it shows launches, copies, synchronisations, allocations,
the devices of arrays (there are two) and what a graph capture would refuse. `launches.py` is how tests use it.

It replaces functions inside the wheel of one version of CuPy. `launches.py` runs it for tests, in another process.
"""

import ctypes
import os
import subprocess
import sys
import tempfile
import types
from pathlib import Path

HERE = Path(__file__).parent


def install():
    """Build the simulated libraries and make CuPy load them; return both."""
    os.environ["CUPY_ACCELERATORS"] = ""
    os.environ["CUPY_CACHE_DIR"] = folder = tempfile.mkdtemp(prefix="fakecuda-")
    cuda = _build("cuda.c", "libcuda.so.1", folder)
    versions = f"-Wl,--version-script={HERE / 'blas.map'}"
    blas = _build("blas.c", "libcublas.so.13", folder, versions)
    import cuda.pathfinder as pathfinder

    def load(name):
        library = {"cudart": cuda, "cublas": blas}.get(name)
        if library is None:
            raise pathfinder.DynamicLibNotFoundError(name)
        return types.SimpleNamespace(_handle_uint=library._handle, abs_path=name)

    pathfinder.load_nvidia_dynamic_lib = load
    from cupy_backends.cuda.api import runtime

    _redirect(runtime.__file__, cuda)
    from cupy.cuda import compiler, function, thrust

    for name in ("sort", "lexsort", "argsort"):  # compiled code, which links to a CUDA runtime of its own
        setattr(thrust, name, lambda *_: _add_launch(cuda))

    def compile_nothing(source, options=(), **_):
        module = function.Module()
        module.load(b"nothing")
        return module

    compiler._compile_module_with_cache = compile_nothing
    compiler._get_arch = lambda: "90"
    return cuda, blas


def _add_launch(library):
    ctypes.c_long.in_dll(library, "fake_launches").value += 1


def _build(source, name, folder, *options):
    path = os.path.join(folder, name)
    flags = ["-O1", "-w", "-shared", "-fPIC", f"-Wl,-soname,{name}", *options]
    subprocess.run(["gcc", *flags, str(HERE / source), "-o", path], check=True)
    return ctypes.CDLL(path, mode=ctypes.RTLD_GLOBAL)


def _redirect(path, library):
    """Write jumps to `library` over the functions of CUDA's runtime that are linked into CuPy's extension."""
    with open("/proc/self/maps") as maps:
        parts = next(m for line in maps if (m := line.split())[-1] == path and int(m[2], 16) == 0)
    base = int(parts[0].split("-")[0], 16)
    libc = ctypes.CDLL(None)
    symbols = subprocess.run(["nm", path], capture_output=True, text=True, check=True).stdout
    for line in symbols.splitlines():
        address, _, name = [*line.split(), "", ""][:3]
        target = getattr(library, f"fake_{name}", None) if name.startswith("cuda") else None
        if target is not None:
            place = base + int(address, 16)
            to = ctypes.cast(target, ctypes.c_void_p).value
            code = b"\xff\x25\x00\x00\x00\x00" + to.to_bytes(8, "little")
            libc.mprotect(ctypes.c_void_p(place & ~4095), ctypes.c_size_t(8192), 7)
            ctypes.memmove(place, code, len(code))


COUNTS = ("launches", "copies", "uploads", "downloads", "fills", "syncs", "allocations")


def counts():
    """What has happened so far: counts by name. Uploads are the copies from the host, downloads those to it."""
    found = {name: ctypes.c_long.in_dll(cuda, f"fake_{name}").value for name in COUNTS}
    found["products"] = ctypes.c_long.in_dll(blas, "fake_products").value
    found["cudnn"] = sys.modules["cudnn"].executed if "cudnn" in sys.modules else 0
    return found


def counted(function):
    """What happens during `function()`, without what does not."""
    before = counts()
    function()
    return {name: n - before[name] for name, n in counts().items() if n != before[name]}


def kernels(function):
    """The names of the kernels that `function()` launches, in order; CuPy's own have long ones."""
    watching, watched = (ctypes.c_int.in_dll(cuda, f"fake_{name}") for name in ("watching", "watched"))
    watching.value, watched.value = 1, 0
    function()
    watching.value = 0
    names = (ctypes.c_char_p * watched.value).in_dll(cuda, "fake_names")
    return [name.decode() for name in names]


def arguments(function, count):
    """The first 8 bytes of each of the first `count` arguments of the kernel that `function()` launches, as integers."""
    looking = ctypes.c_int.in_dll(cuda, "fake_looking")
    looking.value = count
    function()
    looking.value = 0
    return list((ctypes.c_longlong * count).in_dll(cuda, "fake_arguments"))


cuda, blas = install()
