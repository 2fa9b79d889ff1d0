"""pytest imports a module of the package by its name, also where it runs the doctests of one module alone.

By its path it would execute `xpconv/train/predict.py` a second time, after `xpconv.train` has been imported,
and then put this second module in the place of the function `xpconv.train.predict`.
"""

import contextlib
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent


@pytest.hookimpl(tryfirst=True)
def pytest_collect_file(file_path: Path) -> None:
    """Import a module of the package before pytest does."""
    parts = file_path.relative_to(ROOT).with_suffix("").parts if ROOT in file_path.parents else ()
    if file_path.suffix == ".py" and parts[0] == "xpconv" and parts[-1] not in ("__init__", "__main__"):
        with contextlib.suppress(Exception):  # which pytest then reports, for this file alone
            importlib.import_module(".".join(parts))
