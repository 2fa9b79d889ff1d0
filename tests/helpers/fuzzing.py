"""Calls with wrong arguments, drawn at random, and the judgement of what comes back.

A call is a line of Python: what fails can be pasted. `run` executes it and says what is wrong with the
outcome: an error that is not the library's own, one that does not say where and what, a call that hangs.
"""

from __future__ import annotations

import ast
import re
import signal
import traceback
import warnings
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import numpy as np
import process

import xpconv
import xpconv.cuda
import xpconv.models
import xpconv.testing

try:
    import resource
except ImportError:  # not on Windows
    resource = None

PACKAGE = Path(xpconv.__file__).parent
LIMIT_S = process.LIMIT  # of one call, which takes milliseconds: what hangs, not what a busy machine delays
LIMIT_BYTES = 1 << 30  # beyond what the process has mapped when the fuzz begins

HEADER = "import decimal, fractions, minimal, pathlib, numpy as np, xpconv, xpconv.cuda, xpconv.models, xpconv.testing"

# --- values that somebody may give for an argument ----------------------------------------------------

INTS = ["0", "1", "2", "3", "-1", "-7", "2**31", "2**63", "-(2**63)", "10**12", "10**400"]
FLOATS = ["0.0", "0.5", "1.5", "-0.5", "1e30", "float('nan')", "float('inf')", "-float('inf')"]
SCALARS = [
    "True", "False", "np.True_", "np.uint8(2)", "np.int64(1)", "np.float32(0.5)", "np.float64('nan')", "1j",
    "decimal.Decimal(2)", "fractions.Fraction(1, 2)", "np.complex64(1)", "np.datetime64(1, 's')", "np.str_('mean')",
]  # fmt: skip
ARRAYS = [
    "np.array(1)", "np.array(0.5, 'float32')", "np.array([1, 2])", "np.ones((2, 2), 'float32')", "np.zeros(0)",
    "np.array(['a', 'b'])", "np.array([None, 1], dtype=object)", "np.array([True, False])",
]  # fmt: skip
CONTAINERS = [
    "()", "[]", "(1,)", "[2]", "(1, 2)", "[1, 1]", "(1, 2, 3)", "((1, 2), (0, 1))", "[[1], [2]]", "(1.5, 2)", "(0, -1)",
    "('a', 'b')", "(None, 1)", "(2**63, 1)", "{}", "{'a': 1}", "{1, 2}", "range(2)", "iter([1, 2])", "(i for i in (1, 2))",
]  # fmt: skip
STRINGS = [
    "''",
    "'mean'",
    "'bilinear'",
    "'same'",
    "'zeros'",
    "'float32'",
    "'float16'",
    "'2'",
    "'numpy'",
    "b'12'",
]
OTHERS = [
    "None", "object()", "int", "len", "...", "slice(1)", "NotImplemented", "pathlib.Path('x')", "xpconv.ReLU()", "xpconv.ReLU",
    "xpconv.Parameter(np.ones((2, 2), 'float32'))", "np", "np.dtype('float32')", "np.random.RandomState(0)",
]  # fmt: skip
NEAR = [
    "0",
    "1",
    "2",
    "3",
    "4",
    "-1",
    "0.5",
    "1.5",
    "(1, 2)",
    "[2, 1]",
    "(1,)",
    "()",
    "None",
    "'mean'",
    "True",
]  # often good ones
VALUES = [*INTS, *FLOATS, *SCALARS, *ARRAYS, *CONTAINERS, *STRINGS, *OTHERS]

# --- and for an array -----------------------------------------------------------------------------------

WRONG_ARRAYS = [
    "None", "1.0", "3", "'x'", "[[1.0, 2.0]]", "{}", "object()", "()", "(np.ones((2, 2), 'float32'),) * 2", "xpconv.ReLU()",
    "np.float32(1)", "np.array(1, 'float32')", "np.ones(3, 'float32')", "np.ones((2, 3), 'float32')", "np.zeros(0, 'float32')",
    "np.zeros((0, 4, 6), 'float32')", "np.zeros((2, 4, 0, 6), 'float32')", "np.ones((1,) * 9, 'float32')",
    "np.ones((2, 4, 6, 6), 'uint8')", "np.ones((2, 4, 6, 6), 'int64')", "np.ones((2, 4, 6, 6), 'bool')",
    "np.ones((2, 4, 6, 6), 'complex64')", "np.ones((2, 4, 6, 6), 'float64')", "np.ones((2, 4, 6, 6), 'float16')",
    "np.ones((2, 4, 6, 6), object)", "np.full((2, 4, 6, 6), 'a')", "np.zeros((2, 4), [('a', 'f4')])", "np.zeros((2, 4), 'datetime64[s]')",
    "np.full((2, 4), 10**6)", "np.full((2, 4), -1)", "np.full((2, 6), 2**62)", "xpconv.Parameter(np.ones((2, 4), 'float32'))",
]  # fmt: skip


class Timeout(BaseException):
    """A call that did not return in time; no `except Exception` of the library may catch it."""


def _expired(*_: object) -> None:
    raise Timeout(f"no answer within {LIMIT_S} s")


@contextmanager
def bounded():
    """A limit to the memory that calls may map, so that a fault does not take the machine along."""
    if resource is None or not Path("/proc/self/statm").exists():
        yield
        return
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (mapped + LIMIT_BYTES, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@contextmanager
def time_limit():
    if not hasattr(signal, "setitimer"):
        yield
        return
    before = signal.signal(signal.SIGALRM, _expired)
    signal.setitimer(signal.ITIMER_REAL, LIMIT_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def namespace():
    """What the lines of a call may use."""
    space = {"drive": drive}
    exec(HEADER, space)  # noqa: S102
    return space


def drive(layer, *inputs):
    """A forward, and the backward from ones."""
    y = layer(*inputs)
    layer.backward(np.ones_like(y[0] if isinstance(y, tuple) else y))
    return y


def run(code, names=(), space=None):
    """What is wrong with the outcome of `code`, or None; and whether the call was accepted.

    `names`: what the message of an error must name: each a word, or a tuple of which one is enough.
    """
    space = space or namespace()
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"), time_limit():
            warnings.simplefilter("ignore")
            exec(code, space)  # noqa: S102
    except Timeout as error:
        return f"hangs: {error}", False
    except Exception as error:  # noqa: BLE001
        return judge(error, names), False
    return None, True


def judge(error, names=()):
    """What is wrong with `error` as the library's answer, or None."""
    *_, (frame, line) = traceback.walk_tb(error.__traceback__)
    file = Path(frame.f_code.co_filename)
    kind = f"{type(error).__name__}: {str(error)[:300]}"
    if PACKAGE not in file.parents or line not in raises(file):
        where = f"{file.name}:{line}"
        return f"raw error, from {where}: {kind}"
    if not isinstance(
        error, ValueError | TypeError | RuntimeError | MemoryError | OSError | KeyError | IndexError
    ):
        return f"an error of an odd class: {kind}"
    message = str(error)
    for name in names:
        options = (name,) if isinstance(name, str) else name
        if not any(re.search(rf"\b{re.escape(n)}", message) for n in options):
            return f"does not name {' or '.join(options)}: {kind}"
    if private := re.search(r"(?<![\w.'\"])_[A-Z]\w+", message):
        return f"shows a private class, {private[0]}: {kind}"
    if len(message) > 1500:
        return f"a message of {len(message)} characters: {kind}"
    return None


@cache
def raises(file):
    """The lines of all `raise` statements in `file`."""
    tree = ast.parse(file.read_text())
    return {
        n
        for node in ast.walk(tree)
        if isinstance(node, ast.Raise)
        for n in range(node.lineno, node.end_lineno + 1)
    }
