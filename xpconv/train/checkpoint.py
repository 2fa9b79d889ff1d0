"""`Checkpoint`: the state of a run on disk, from which `fit(resume=…)` continues."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from ..arguments import shown, to_choice, to_float, to_int
from ..arrays import asnumpy
from ..errors import DataFileError, StateDictError
from ..files import load, save
from ..files.container import need_safetensors
from ..signatures import public_errors
from .history import is_sound
from .run import Run, mode_of
from .timetable import initial_rates

__all__ = ["Checkpoint"]

BEST = "best.safetensors"


@public_errors
class Checkpoint:
    """Save the run after each epoch, for `fit(…, resume=folder)` to continue it.

    A file `step-00001200.safetensors` of `xpconv.save` has model, optimizer, schedule, scaler, averages,
    random state, history, the place in the epoch, and the states of `train` and of the other callbacks. A run
    that is resumed from it gives the same results, on NumPy bit for bit, as one that was not interrupted (of
    several processes, those after the first draw other masks of dropout if it continues within an epoch). It
    saves after the other callbacks, and where Ctrl-C or `run.stop` ends training within an epoch too.

    Args:
        folder: of the files; it is made if necessary.
        every: a number of steps after which to save as well; None saves after epochs only.
        last: the number of files to keep, the latest ones.
        best: a value such as `"valid_accuracy"`: the run after the epoch with its best value is saved as
            `best.safetensors` too, for `xpconv.load(path, model=model)`. A run that is resumed with another
            folder or `mode` begins the search for the best epoch again. With `ema`, the values of `valid` are
            measured on the averages, but the model in the file has its own weights: load the averages too,
            `xpconv.load(path, model=model, ema=ema)`, and evaluate in `with ema.average_parameters():`.
        mode: of `best`, `'min'` or `'max'`; None takes the one that belongs to the value.

    Raises:
        ValueError, TypeError: an argument is wrong.
        FileExistsError: a run begins, or continues one of another folder, but the folder has files.
        ImportError: safetensors is not installed.

    Example:
        >>> import tempfile, numpy as np, xpconv
        >>> from xpconv import train
        >>> folder = tempfile.mkdtemp()
        >>> def run(epochs, resume=None):
        ...     xpconv.manual_seed(0)
        ...     model = xpconv.Sequential(xpconv.Dense(2, 8), xpconv.Dropout(0.5), xpconv.Dense(8, 1))
        ...     optimizer = xpconv.Adam(model.parameters(), lr=0.1)
        ...     x = np.random.default_rng(0).normal(size=(20, 2)).astype("float32")
        ...     data = [(x[i : i + 5], x[i : i + 5, :1]) for i in range(0, 20, 5)]
        ...     callbacks = [train.Checkpoint(folder)] if epochs == 2 or resume else []
        ...     return train.fit(model, xpconv.MSELoss(), optimizer, data, epochs=epochs, resume=resume,
        ...                      callbacks=callbacks)
        >>> _ = run(epochs=2)
        >>> run(epochs=4, resume=folder)["loss"] == run(epochs=4)["loss"]
        True
    """

    first_process_only = True  # of several that train together
    after_others = True
    elsewhere: ClassVar[Mapping[str, str]] = {
        **dict.fromkeys(("save_best_only", "monitor"), "give best= with the name of a value"),
        **dict.fromkeys(("save_freq", "save_every", "every_n_train_steps"), "give every=, a number of steps"),
        **dict.fromkeys(("save_top_k", "keep", "max_to_keep"), "give last=, a number of files"),
        **dict.fromkeys(("filepath", "path", "dirpath"), "give folder="),
    }

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        every: int | None = None,
        last: int = 3,
        best: str | None = None,
        mode: str | None = None,
    ) -> None:
        where = "Checkpoint"
        if not isinstance(folder, str | os.PathLike) or not os.fspath(folder):
            raise TypeError(f"{where}: folder is {shown(folder)}, expected a path")
        self.folder: Path = Path(folder)
        if self.folder.suffix == ".safetensors":
            raise ValueError(
                f"{where}: folder is {str(self.folder)!r}, expected the name of a folder for several files; "
                "xpconv.save_model writes one model"
            )
        if self.folder.is_file():
            raise NotADirectoryError(f"{where}: folder is {str(self.folder)!r}, which is a file")
        self.every: int | None = None if every is None else to_int(f"{where}: every", every, 1)
        self.last: int = to_int(f"{where}: last", last, 1)
        if best is not None and not isinstance(best, str):
            raise TypeError(f"{where}: best is {shown(best)}, expected the name of a value, or None")
        self.best = best
        self.mode: str | None = None if mode is None else to_choice(f"{where}: mode", mode, ("min", "max"))
        self._best_value: float | None = None
        self._best_steps: int | None = None
        self._sign = 1
        need_safetensors("train.Checkpoint")  # before training, or the first epoch would be lost
        self._loaded: tuple[Any, Any] | None = None  # the value that a loaded state is of, and its sign

    def check(self, run: Run) -> None:
        """Raise a ValueError if the run has no value `best`; `fit` calls it before it loads anything."""
        if self.best is not None:
            self._sign = 1 if mode_of("Checkpoint: best", run, self.best, self.mode) == "min" else -1

    def on_fit_begin(self, run: Run) -> None:
        self.check(run)
        self.folder.mkdir(parents=True, exist_ok=True)
        begins = run.source is None or run.source.parent.resolve() != self.folder.resolve()
        later = [path for step, path in files_in(self.folder) if begins or step > run.steps]
        if later or (begins and (self.folder / BEST).exists()):
            name, folder = later[-1].name if later else BEST, str(self.folder)
            resume = folder if later else str(self.folder / BEST)
            raise FileExistsError(
                f"Checkpoint: folder {folder!r} has {name}, of another run or later than this one; give "
                f"resume={resume!r}, or another folder"
            )
        if not run.resumed or self._loaded != (self.best, self._sign):
            self._best_value = self._best_steps = None
        elif run.steps == self._best_steps:  # the process may have ended after the checkpoint and before this
            save(self.folder / BEST, **run.parts())
        elif not (self.folder / BEST).exists():  # it is in another folder
            self._best_value = self._best_steps = None

    def on_batch_end(self, run: Run) -> None:
        if self.every is not None and run.steps % self.every == 0:
            self._save(run)

    def on_interrupt(self, run: Run) -> None:
        self._save(run)

    def on_epoch_end(self, run: Run) -> None:
        better = self._is_best(run)
        self._save(run)
        if better:
            save(self.folder / BEST, **run.parts())

    def _is_best(self, run: Run) -> bool:
        if self.best is None:
            return False
        if self.best not in run.logs:
            raise ValueError(f"Checkpoint: best is {self.best!r}, expected one of {', '.join(run.logs)}")
        value = float(run.logs[self.best])
        if not is_sound(run.logs, self.best):
            return False
        if not self._sign * value < (math.inf if self._best_value is None else self._sign * self._best_value):
            return False
        self._best_value, self._best_steps = value, run.steps
        return True

    def _save(self, run: Run) -> None:
        if run.step.failed is not None and asnumpy(run.step.failed):
            return  # after the first NaN that `TerminateOnNaN` is to find, statistics may have some
        save(self.folder / f"step-{run.steps:08}.safetensors", **run.parts())
        for _, path in files_in(self.folder)[: -self.last]:
            path.unlink(missing_ok=True)

    def state_dict(self) -> dict[str, Any]:
        """The best value so far, and after how many steps it was reached."""
        value, steps = self._best_value, self._best_steps
        return {"monitor": self.best, "sign": self._sign, "best": value, "steps": steps}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from what `state_dict` returned."""
        if not isinstance(state, Mapping) or set(state) != {"monitor", "sign", "best", "steps"}:
            raise StateDictError(
                f"Checkpoint.load_state_dict: state is {shown(state)}, expected what state_dict() returns"
            )
        where, best, steps = "Checkpoint.load_state_dict", state["best"], state["steps"]
        value = None if best is None else to_float(f"{where}: best", best)
        self._best_steps = None if steps is None else to_int(f"{where}: steps", steps, 0)
        self._best_value, self._loaded = value, (state["monitor"], state["sign"])


def files_in(folder: Path) -> list[tuple[int, Path]]:
    """The checkpoints in a folder and their numbers of steps, the latest last."""
    found = [(re.fullmatch(r"step-(\d+)\.safetensors", path.name), path) for path in folder.iterdir()]
    return sorted((int(match[1]), path) for match, path in found if match)


def load_run(where: str, resume: Any, run: Run) -> str:
    """Restore a run from a checkpoint, or the latest in a folder; returns a message about it.

    A folder without checkpoints, or that is not there, is no error if a `Checkpoint` of this run writes to
    it: then a new run begins.
    """
    if not isinstance(resume, str | os.PathLike) or not os.fspath(resume):
        raise TypeError(f"{where}: resume is {shown(resume)}, expected the path of a checkpoint")
    path = Path(resume)
    named = f"{where}: resume is {str(path)!r}"
    if path.suffix != ".safetensors":
        if path.is_file():
            raise ValueError(f"{named}, expected a folder or a .safetensors file")
        found = files_in(path) if path.is_dir() else []
        if not found:
            _check_begins(named, path, run)
            return f"{where}: no checkpoint in {str(path)!r} yet; a new run begins"
        path = found[-1][1]
    if not path.is_file():
        raise FileNotFoundError(
            f"{named}, but there is no such file (from {os.getcwd()!r}){_others(path.parent)}"
        )
    given = initial_rates(run)
    try:
        load(path, **run.parts())
        run.source = path
    except DataFileError as error:
        earlier = [other.name for _, other in files_in(path.parent) if other < path]
        hint = f"; to continue from {earlier[-1]} instead, remove this file" if earlier else ""
        raise DataFileError(f"{where}: resume: {str(error).removeprefix('load: ')}{hint}") from error
    except StateDictError as error:
        cause = str(error.__cause__)
        if cause.startswith(f"{where}: "):
            text = f"{str(path)!r}: {cause.removeprefix(f'{where}: ')}"
        else:
            text = (
                f"{str(error).removeprefix('load: ')}; expected a file of Checkpoint, and the model, "
                "optimizer, schedule, scaler, ema and kind of train (batches) that its run had"
            )
        raise StateDictError(f"{where}: resume: {text}") from error
    run.history.note_modes(run.meter.modes)
    if run.valid is not None:
        run.history.note_modes(run.meter.modes, "valid_")
    place = f"batch {run.batch} of epoch {run.epoch}" if run.within else f"epoch {run.epoch}"
    text = f"{where}: continues from {str(path)!r}, after {place}"
    loaded = initial_rates(run)
    if loaded != given:
        there, here = (", ".join(f"{rate:.3g}" for rate in rates) for rates in (loaded, given))
        rate = "its learning rate" if run.schedule is None else "the initial learning rate of its schedule,"
        text += f", with {rate} {there} (and not {here}; set run.optimizer.lr in a callback)"
    return text


def _check_begins(named: str, path: Path, run: Run) -> None:
    """Raise an error if there is nothing to continue from, and no `Checkpoint` that will write there."""
    folders = [callback.folder for callback in run.callbacks if isinstance(callback, Checkpoint)]
    if path.resolve() in [folder.resolve() for folder in folders]:
        return
    if path.is_dir():
        problem: type[OSError | ValueError] = ValueError
        text = f"a folder without step-….safetensors{_others(path)}"
    else:
        problem, text = FileNotFoundError, f"but there is no such folder (from {os.getcwd()!r})"
    fix = f"callbacks=[Checkpoint({str(path)!r})], which writes there"
    if folders:
        fix += f", or resume={str(folders[0])!r}, as the Checkpoint has"
    raise problem(f"{named}, {text}; to begin a new run where there is none, give {fix}")


def _others(folder: Path) -> str:
    """The text for checkpoints that are in a folder, or in folders of it."""
    paths = [*folder.glob("*.safetensors"), *folder.glob("*/*.safetensors")] if folder.is_dir() else []
    return f"; there is {str(sorted(paths)[-1])!r}" if paths else ""
