"""docs/convolution-for-cupy-users.md: its code runs, on NumPy and on other backends; its table names what there is."""

import inspect
import re
from pathlib import Path

import numpy as np

import xpconv
import xpconv.functional as F

PAGE = (Path(__file__).parents[2] / "docs" / "convolution-for-cupy-users.md").read_text()


class Random:
    """Random numbers on the active backend."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)

    def standard_normal(self, shape, dtype="float64"):
        return xpconv.asarray(self.rng.standard_normal(shape, dtype=dtype))


def test_the_code_runs(backend, capsys):
    """On other backends too, with another import and other random numbers."""
    namespace, seen = {"np": xpconv.get_xp(), "Random": Random}, 0
    for block in re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL):
        code = block
        if backend != "numpy":
            code = code.replace("import numpy as np", "").replace("np.random.default_rng", "Random")
        exec(compile(code, "convolution-for-cupy-users.md", "exec"), namespace)  # noqa: S102
        printed = capsys.readouterr().out.splitlines()
        assert printed == re.findall(r"^print\(.*\)  # (.+)$", block, flags=re.MULTILINE)
        seen += len(printed)
    assert seen == 3


def test_the_calls_of_the_table_fit_the_functions():
    """By name, and by number and names of arguments."""
    cells = "".join(re.findall(r"^\|.*\| (.*) \|$", PAGE, flags=re.MULTILINE))
    calls = re.findall(r"(\w+)\(([^()]*(?:\([^()]*\))?[^()]*)\)", cells)
    assert len(calls) > 25
    for name, given in calls:
        values = [v for v in given.split(", ") if v]
        named = [v.split("=")[0] for v in values if re.match(r"\w+=", v)]
        inspect.signature(getattr(F, name)).bind(*values[: len(values) - len(named)], **dict.fromkeys(named))


def test_the_note_on_signal_processing():
    import pytest

    signal = pytest.importorskip("scipy.signal")
    rng = np.random.default_rng(0)
    x, k = rng.normal(size=(7, 8)), rng.normal(size=(3, 2))
    flipped = k[None, None, ::-1, ::-1]
    np.testing.assert_allclose(F.conv2d(x[None], flipped)[0], signal.convolve(x, k, "valid"), atol=1e-14)
    full = F.conv2d(x[None], flipped, padding=(k.shape[0] - 1, k.shape[1] - 1))[0]
    np.testing.assert_allclose(full, signal.convolve(x, k, "full"), atol=1e-14)
