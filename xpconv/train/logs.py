"""Callbacks that log the epochs, as JSON, as CSV and for TensorBoard."""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from ..arguments import shown
from ..files.atomic import check_target, write_atomically
from ..signatures import public_errors
from .run import Run

__all__ = ["CSVLogger", "JSONLogger", "TensorBoard"]


@public_errors
class _Logger:
    """Base of logs with a row for each epoch. A resumed run appends to the file of the run before.

    The file changes at the end of the first epoch, so that a run that cannot begin does not erase it.
    """

    first_process_only = True  # of several that train together
    elsewhere: ClassVar[Mapping[str, str]] = {
        "append": "leave it out: a resumed run appends to the file of the run before",
        "filename": "give path=",
    }

    def __init__(self, path: str | os.PathLike[str]) -> None:
        if not isinstance(path, str | os.PathLike) or not os.fspath(path):
            raise TypeError(f"{type(self).__name__}: path is {shown(path)}, expected a path")
        self.path: Path = Path(path)

    def on_fit_begin(self, run: Run) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        check_target(type(self).__name__, str(self.path))
        rows = self._read() if run.resumed and self.path.exists() else []
        done = len(run.history)
        self._before: list[dict[str, Any]] | None = [
            row for row in rows if str(row.get("epoch")).isdecimal() and int(row["epoch"]) <= done
        ]

    def on_epoch_end(self, run: Run) -> None:
        row = {name: value if math.isfinite(value) else None for name, value in run.logs.items()}
        if self._before is None:
            self._append(row)
        else:
            self._write([*self._before, row])
            self._before = None

    def _read(self) -> list[dict[str, Any]]:
        raise TypeError(f"{type(self).__name__} defines no _read()")

    def _write(self, rows: list[dict[str, Any]]) -> None:
        raise TypeError(f"{type(self).__name__} defines no _write(rows)")

    def _append(self, row: dict[str, Any]) -> None:
        raise TypeError(f"{type(self).__name__} defines no _append(row)")


class JSONLogger(_Logger):
    """A file with a JSON object in a line for each epoch: its values and `seconds`.

    NaN and infinity are null. A new run replaces the file; a resumed one continues it after the epochs of its
    checkpoint.

    Args:
        path: of the file; its folder is made if necessary.

    Raises:
        TypeError: `path` is not a path.
        OSError: the file cannot be written.

    Example:
        >>> import json, pathlib, tempfile, numpy as np, xpconv
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "log.jsonl"
        >>> model = xpconv.Dense(2, 1)
        >>> data = xpconv.data.batches(np.ones((4, 2), "float32"), np.ones((4, 1), "float32"), 4)
        >>> optimizer = xpconv.SGD(model.parameters(), lr=0.1)
        >>> log = xpconv.train.JSONLogger(path)
        >>> _ = xpconv.train.fit(model, xpconv.MSELoss(), optimizer, data, epochs=2, callbacks=[log])
        >>> [list(json.loads(line)) for line in path.read_text().splitlines()]
        [['epoch', 'lr', 'loss', 'seconds'], ['epoch', 'lr', 'loss', 'seconds']]
    """

    def _read(self) -> list[dict[str, Any]]:
        rows = []
        for line in self.path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                row = json.loads(line)
            except ValueError:  # cut short when the run before was killed
                continue
            rows += [row] if isinstance(row, dict) else []
        return rows

    def _write(self, rows: list[dict[str, Any]]) -> None:
        write_atomically(str(self.path), ["".join(json.dumps(row) + "\n" for row in rows).encode()])

    def _append(self, row: dict[str, Any]) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")


class CSVLogger(_Logger):
    """A CSV file with a row for each epoch: its values and `seconds`; NaN and infinity are empty.

    A new run replaces the file; a resumed one continues it after the epochs of its checkpoint.

    Args:
        path: of the file; its folder is made if necessary.

    Raises:
        TypeError: `path` is not a path.
        OSError: the file cannot be written.
    """

    def _read(self) -> list[dict[str, Any]]:
        with self.path.open(newline="", encoding="utf-8", errors="replace") as file:
            rows = [row for row in csv.DictReader(file) if None not in row.values()]
        return [{name: value for name, value in row.items() if name} for row in rows]  # named columns

    def _write(self, rows: list[dict[str, Any]]) -> None:
        self._names = list(dict.fromkeys(name for row in rows for name in row))
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, self._names, restval="")
        writer.writeheader()
        writer.writerows(rows)
        write_atomically(str(self.path), [text.getvalue().encode()])

    def _append(self, row: dict[str, Any]) -> None:
        if set(row) - set(self._names):
            self._write([*self._read(), row])
            return
        with self.path.open("a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, self._names, restval="").writerow(row)


@public_errors
class TensorBoard:
    """Curves for TensorBoard: `loss/train` and `loss/valid`, the same for each metric, and `lr`.

    Needs tensorboardX, or PyTorch with tensorboard: `pip install tensorboardX`.

    Args:
        folder: where to write; view it by `tensorboard --logdir FOLDER`.

    Raises:
        ImportError: neither is installed.
    """

    first_process_only = True  # of several that train together
    elsewhere: ClassVar[Mapping[str, str]] = {"log_dir": "give folder=", "logdir": "give folder="}

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        if not isinstance(folder, str | os.PathLike) or not os.fspath(folder):
            raise TypeError(f"TensorBoard: folder is {shown(folder)}, expected a path")
        self.folder: str = os.fspath(folder)
        self._make = _summary_writer()
        self._writer: Any = None

    def on_fit_begin(self, run: Run) -> None:
        self._writer = self._make(self.folder, purge_step=len(run.history) + 1)

    def on_epoch_end(self, run: Run) -> None:
        for name, value in run.logs.items():
            if name not in ("epoch", "seconds"):
                metric = name.removeprefix("valid_")
                part = "" if name == "lr" else "/train" if metric == name else "/valid"
                self._writer.add_scalar(metric + part, value, run.epoch)
        self._writer.flush()

    def on_fit_end(self, run: Run) -> None:
        self._close()

    def on_exception(self, run: Run, error: BaseException) -> None:
        self._close()

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def _summary_writer() -> Any:
    try:
        from tensorboardX import SummaryWriter
    except ImportError:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as cause:
            raise ImportError(
                "TensorBoard: neither tensorboardX nor PyTorch's tensorboard is installed; "
                "pip install tensorboardX"
            ) from cause
    return SummaryWriter
