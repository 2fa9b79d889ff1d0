"""Launches, copies and synchronisations, counted in real CuPy without a GPU: `fakecuda/__init__.py` says how.

    launches.require()
    counts = launches.run('''
        layer, x = xpconv.ReLU(), xpconv.asarray(np.zeros((2, 3), "float32"))
        result = counted(lambda: layer(x))
    ''')
    assert counts == {"launches": 1}

Such code has `np`, `cp` (CuPy), `xpconv` with CuPy as its backend, and `counted` and `kernels` of `fakecuda`.
"""

import functools
import importlib.metadata
import json
import os
import shutil
import sys
import textwrap
from pathlib import Path

import process
import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
WHEEL, VERSION = "cupy-cuda13x", "14.2.0"  # inside which `fakecuda` replaces functions
SKIP = functools.partial(pytest.skip, allow_module_level=True)
HEAD = """
import json
from fakecuda import counted, kernels
import cupy as cp
import numpy as np
import xpconv
xpconv.set_backend("cupy")
"""


def require():
    """Skip the test, or its module, where CuPy's wheel or a tool is missing; an error with XPCONV_REQUIRE_CUPY=1."""
    give_up = pytest.fail if os.environ.get("XPCONV_REQUIRE_CUPY") == "1" else SKIP
    try:
        found = importlib.metadata.version(WHEEL)
    except importlib.metadata.PackageNotFoundError:
        found = "no"
    if found != VERSION:
        give_up(f"needs {WHEEL}=={VERSION}, here is {found} {WHEEL}")
    for tool in ("gcc", "nm"):
        if shutil.which(tool) is None:
            give_up(f"{tool} is not installed")


def run(code, cudnn=True):
    """Run `code` in a process of its own and return its `result`, which JSON can hold."""
    paths = [HERE, ROOT, *([HERE / "fakecuda" / "stubs"] if cudnn else [])]
    env = process.environment(PYTHONPATH=os.pathsep.join(map(str, paths)), XPCONV_CUDNN=str(int(cudnn)))
    script = f"{HEAD}{textwrap.dedent(code)}\nprint(json.dumps(result))"
    done = process.run([sys.executable, "-W", "error", "-B", "-c", script], env=env, cwd=ROOT)
    return json.loads(done.stdout.splitlines()[-1])
