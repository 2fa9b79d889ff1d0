"""The script `ci/kills.py` in a short form: runs that are killed and resumed end with the same bytes."""

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("safetensors")
SCRIPT = Path(__file__).parents[2] / "ci" / "kills.py"


@pytest.mark.slow
def test_three_kills():
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--kills", "3"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "runs that ended with the same bytes" in done.stdout
