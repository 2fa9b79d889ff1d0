"""Programs that `mpiexec` runs in two processes, each with a time limit."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SECONDS = 120


def mpiexec():
    """The mpiexec beside this Python, or on the PATH; None if there is none."""
    beside = Path(sys.executable).parent / "mpiexec"
    return str(beside) if beside.exists() else shutil.which("mpiexec")


def run(folder, code, count=2, arguments=(), **environment):
    """Run `code`, or a module's command with `arguments`, in `count` processes; the finished process."""
    script = folder / "program.py"
    script.write_text(code)
    env = {
        **os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests/helpers")]), "XPCONV_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1", "PYTHONWARNINGS": "error", **environment,
    }  # fmt: skip
    start = [mpiexec(), "-n", str(count)] if count > 1 else []
    return subprocess.run(
        [*start, sys.executable, str(script), *arguments], env=env, cwd=folder, capture_output=True, text=True, timeout=SECONDS,
    )  # fmt: skip
