"""The script `ci/kills.py` in a short form: runs that are killed and resumed end with the same bytes."""

import sys
from pathlib import Path

import process
import pytest

pytest.importorskip("safetensors")
SCRIPT = Path(__file__).parents[2] / "ci" / "kills.py"


@pytest.mark.slow
def test_three_kills():
    done = process.run([sys.executable, str(SCRIPT), "--kills", "3"])
    assert "runs that ended with the same bytes" in done.stdout
