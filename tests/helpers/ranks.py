"""Programs that `mpiexec` runs in two processes."""

import os
import shutil
import sys
from pathlib import Path

import process

ROOT = Path(__file__).parents[2]


def mpiexec():
    """The mpiexec beside this Python, or on the PATH; None if there is none."""
    beside = Path(sys.executable).parent / "mpiexec"
    return str(beside) if beside.exists() else shutil.which("mpiexec")


def run(folder, code, count=2, arguments=(), **environment):
    """Run `code`, or a module's command with `arguments`, in `count` processes; the finished process."""
    script = folder / "program.py"
    script.write_text(code)
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests/helpers")])
    env = process.environment(**{"PYTHONPATH": paths, "PYTHONWARNINGS": "error", **environment})
    start = [mpiexec(), "-n", str(count)] if count > 1 else []
    return process.run([*start, sys.executable, str(script), *arguments], env=env, cwd=folder, check=False)
