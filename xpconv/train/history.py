"""`History`: the values of each epoch, as a table, a picture, columns or rows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from numbers import Real
from typing import TYPE_CHECKING, Any

from ..arguments import shown, to_choice
from ..errors import StateDictError

__all__ = ["History"]

ELSEWHERE = {  # attributes of Keras' History and of pandas' DataFrame, and what to use here instead
    "history": "use history['loss'] for a column, or to_dict() for all",
    **dict.fromkeys(("keys", "params"), "use columns, the names of all values"),
    **dict.fromkeys(("items", "values"), "use to_dict()"),
    "epoch": "use history['epoch']",
    **dict.fromkeys(("to_frame", "to_pandas", "to_df"), "use pandas.DataFrame(history.to_dict())"),
    **dict.fromkeys(
        ("to_csv", "save"), "use pandas.DataFrame(history.to_dict()).to_csv(path), or train.CSVLogger(path)"
    ),
    "to_json": "use json.dumps(history.to_dict()), or train.JSONLogger(path)",
}
FORMATS = {"epoch": "d", "lr": ".3g", "seconds": ".1f"}


class History:
    """The values of each epoch, as `fit` returns them.

    `history["loss"]` is a list with a value for each epoch. The columns are `epoch` (from 1), `lr` (the
    latest rate of the epoch), `loss`, the metrics, `grad_norm` with clipping, and with validation data
    `valid_loss` and `valid_…` of the metrics. `print(history)` is a table in which `*` marks the best values.

    Attributes:
        rows: the epochs, as dicts of values.
        modes: of each column, whether it is to be large, `'max'`, or small, `'min'`; None if neither.
        seconds: the time of each epoch; None for those before a resumption. It is no part of the state.
        stopped: why training ended before its last epoch, or None.
        interrupted: whether Ctrl-C ended it.
        partial: the values of an epoch that was not finished, or None.

    Example:
        >>> import numpy as np, xpconv
        >>> model = xpconv.Dense(2, 1, rng=0)
        >>> data = xpconv.data.batches(np.ones((4, 2), "float32"), np.ones((4, 1), "float32"), 2)
        >>> optimizer = xpconv.SGD(model.parameters(), lr=0.1)
        >>> history = xpconv.train.fit(model, xpconv.MSELoss(), optimizer, data, epochs=3)
        >>> [round(loss, 3) for loss in history["loss"]], history.best("loss")
        ([1.84, 0.047, 0.001], 3)
        >>> print(history)
        epoch   lr     loss
            1  0.1   1.8398
            2  0.1   0.0471
            3  0.1  0.0012*
    """

    interrupted: bool

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []
        self.seconds: list[float | None] = []
        self.modes: dict[str, str | None] = {"loss": "min", "valid_loss": "min"}
        self.stopped: str | None = None
        self.interrupted = False
        self.partial: dict[str, float] | None = None

    if not TYPE_CHECKING:  # with it, type checkers would accept any name

        def __getattr__(self, name: str) -> Any:
            """Raise the error for a missing attribute, with a hint if other libraries have it."""
            hint = f"; {ELSEWHERE[name]}" if name in ELSEWHERE else ""
            raise AttributeError(f"'History' object has no attribute {name!r}{hint}", name=name, obj=self)

    def append(self, row: Mapping[str, float], seconds: float | None = None) -> None:
        """Add the values of an epoch."""
        self.rows.append(dict(row))
        self.seconds.append(seconds)

    def note_modes(self, modes: Mapping[str, str | None], prefix: str = "") -> None:
        """Note whether columns are to be large, `'max'`, or small, `'min'`."""
        self.modes.update({f"{prefix}{name}": mode for name, mode in modes.items()})

    @property
    def columns(self) -> list[str]:
        """The names of all values, in their order."""
        return list(dict.fromkeys(name for row in self.rows for name in row))

    def __getitem__(self, name: str) -> list[float]:
        if name not in self.columns:
            raise KeyError(f"History has no {name!r}; it has {', '.join(self.columns) or 'no epochs'}")
        return [row.get(name, math.nan) for row in self.rows]

    def __contains__(self, name: object) -> bool:
        return name in self.columns

    def __len__(self) -> int:
        """The number of epochs."""
        return len(self.rows)

    def to_dict(self) -> dict[str, list[float]]:
        """The columns by name: what `pandas.DataFrame` takes.

        Example:
            >>> import xpconv
            >>> history = xpconv.train.History()
            >>> history.append({"epoch": 1, "loss": 0.5})
            >>> history.to_dict()
            {'epoch': [1], 'loss': [0.5]}
        """
        return {name: self[name] for name in self.columns}

    def best(self, name: str, mode: str | None = None) -> int | None:
        """The epoch, from 1, with the best value of a column; None if it has no finite value.

        Epochs whose loss (for `valid_…`, `valid_loss`) is NaN are left out.

        Args:
            name: a column.
            mode: `'min'` or `'max'`; None takes the one that belongs to the metric.

        Raises:
            KeyError: there is no such column.
            ValueError: the metric has no mode of its own.
        """
        values = self[name]
        mode = mode or self.modes.get(name)
        if mode is None:
            raise ValueError(f"History.best: it is not known whether {name} is to be large; give mode='max'")
        sign = -1 if to_choice("History.best: mode", mode, ("min", "max")) == "max" else 1
        found = [(sign * value, i) for i, value in enumerate(values) if is_sound(self.rows[i], name)]
        return int(self.rows[min(found)[1]].get("epoch", min(found)[1] + 1)) if found else None

    def _best_rows(self) -> dict[str, int]:
        """The row of the best value of each column that has a mode."""
        found = {}
        for name in self.columns:
            if self.modes.get(name):
                epoch = self.best(name)
                values = [int(row.get("epoch", i + 1)) for i, row in enumerate(self.rows)]
                if epoch is not None:
                    found[name] = values.index(epoch)
        return found

    def _cells(self) -> tuple[list[str], list[list[str]]]:
        names, best = self.columns, self._best_rows()
        rows = [
            [formatted(name, row.get(name)) + "*" * (best.get(name) == i) for name in names]
            for i, row in enumerate(self.rows)
        ]
        if any(second is not None for second in self.seconds):
            names = [*names, "seconds"]
            rows = [[*row, formatted("seconds", s)] for row, s in zip(rows, self.seconds, strict=True)]
        return names, rows

    def _notes(self) -> list[str]:
        lines = [] if self.stopped is None else [f"stopped: {self.stopped}"]
        if self.partial is not None:
            values = ", ".join(f"{name} {formatted(name, value)}" for name, value in self.partial.items())
            lines.append(f"unfinished: {values}")
        return lines

    def __str__(self) -> str:
        names, rows = self._cells()
        if names[-1:] == ["seconds"]:  # times differ from run to run
            names, rows = names[:-1], [row[:-1] for row in rows]
        widths = [max(len(cell) for cell in (n, *(row[i] for row in rows))) for i, n in enumerate(names)]
        lines = [aligned(row, widths) for row in [names, *rows]] if rows else ["no epochs"]
        return "\n".join([*lines, *self._notes()])

    def __repr__(self) -> str:
        return f"<History of {len(self)} epoch{'s' * (len(self) != 1)}: {', '.join(self.columns)}>"

    def _repr_html_(self) -> str:
        """The table, for notebooks, with the best values in bold."""
        names, rows = self._cells()
        right = ' style="text-align: right"'
        lines = [
            "<table>",
            "<thead>",
            "<tr>" + "".join(f"<th{right}>{escape(n)}</th>" for n in names) + "</tr>",
        ]
        lines += ["</thead>", "<tbody>"]
        for row in rows:
            cells = [f"<b>{escape(c[:-1])}</b>" if c.endswith("*") else escape(c) for c in row]
            lines.append("<tr>" + "".join(f"<td{right}>{cell}</td>" for cell in cells) + "</tr>")
        notes = "".join(f"<p>{escape(note)}</p>" for note in self._notes())
        return "\n".join([*lines, "</tbody>", "</table>"]) + notes

    def plot(self, names: Sequence[str] | None = None) -> Any:
        """Curves over the epochs, one picture for each metric with its training and validation values.

        Args:
            names: columns without `valid_`, such as `["loss", "accuracy"]`; None takes all but epoch, and
                `lr` only if it changes.

        Returns:
            the `matplotlib.figure.Figure`: `history.plot().savefig("curves.png")`; a notebook displays it.

        Raises:
            ImportError: matplotlib is not installed.
            ValueError: there are no epochs.
            KeyError: there is no such column.
        """
        return plot_history(self, names)

    def state_dict(self) -> dict[str, Any]:
        """The epochs, without their times: equal runs have equal states."""
        return {"rows": [dict(row) for row in self.rows], "modes": dict(self.modes)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Load what `state_dict` returned.

        Raises:
            StateDictError: (a ValueError) it is something else; nothing has changed then.
        """
        rows = state.get("rows") if isinstance(state, Mapping) else None
        modes = state.get("modes", {}) if isinstance(state, Mapping) else None
        right = isinstance(rows, list | tuple) and isinstance(modes, Mapping)
        for row in rows or () if right else ():
            right = right and isinstance(row, Mapping) and all(isinstance(v, Real) for v in row.values())
            right = right and math.isfinite(row.get("epoch", 1))
        right = right and all(mode in (None, "min", "max") for mode in modes.values())
        if not right:
            raise StateDictError(
                f"History.load_state_dict: state is {shown(state)}, expected what state_dict() returns"
            )
        self.rows = [{str(name): value for name, value in row.items()} for row in rows or ()]
        self.modes = {str(name): mode for name, mode in (modes or {}).items()}
        self.seconds = [None] * len(self.rows)
        self.stopped, self.interrupted, self.partial = None, False, None


def loss_of(name: str) -> str:
    """The name of the loss of the same data as the value `name`: `loss` or `valid_loss`."""
    return "valid_loss" if name.startswith("valid_") else "loss"


def is_sound(row: Mapping[str, float], name: str) -> bool:
    """Whether a value of an epoch can be the best: it is finite, and the loss is no NaN.

    If the outputs are NaN, the accuracy is still a number, since `argmax` returns one.
    """
    return math.isfinite(row.get(name, math.nan)) and not math.isnan(row.get(loss_of(name), 0.0))


def formatted(name: str, value: Any) -> str:
    """A value of a column as text."""
    if value is None:
        return ""
    if name == "epoch" or isinstance(value, int):
        return f"{int(value)}"
    if name in FORMATS:
        return f"{value:{FORMATS[name]}}"
    small = value != 0 and abs(value) < 1e-3
    return f"{value:.2e}" if small or abs(value) >= 1e5 else f"{value:.4f}"


def aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    """A line of a table."""
    return "  ".join(cell.rjust(width) for cell, width in zip(cells, widths, strict=True))


def figure(where: str, pictures: int) -> tuple[Any, list[Any]]:
    """A matplotlib figure, without a window, and its axes side by side."""
    try:
        from ..plot.figures import Picture
    except ImportError as cause:
        raise ImportError(f"{where}: matplotlib is missing; pip install matplotlib") from cause
    rows, columns = math.ceil(pictures / 3), min(pictures, 3)
    found = Picture(figsize=(5.0 * columns, 3.6 * rows), layout="constrained")
    flat = [ax for row in found.subplots(rows, columns, squeeze=False) for ax in row]
    for ax in flat[pictures:]:
        ax.set_visible(False)
    return found, flat[:pictures]


def plot_history(history: History, names: Sequence[str] | None) -> Any:
    """See `History.plot`."""
    if not history.rows:
        raise ValueError("History.plot: there are no epochs yet")
    if names is None:
        last = ("lr", "grad_norm")
        names = sorted((n for n in history.columns if n != "epoch"), key=lambda name: name in last)
        if len(names) > 1 and "lr" in names and len(set(history["lr"])) == 1:
            names.remove("lr")  # a constant
    chosen = [names] if isinstance(names, str) else list(names)
    chosen = list(dict.fromkeys(name.removeprefix("valid_") for name in chosen))
    found, axes = figure("History.plot", len(chosen) or 1)
    from ..plot.fonts import legible

    epochs = [int(row.get("epoch", i + 1)) for i, row in enumerate(history.rows)]
    for ax, name in zip(axes, chosen, strict=False):
        present = [n for n in (name, f"valid_{name}") if n in history]
        if not present:
            history[name]  # raises the error that lists the columns
        for column in present:
            label = "validation" if column != name else "training"
            (line,) = ax.plot(epochs, history[column], marker="o", markersize=3, label=label)
            best = history._best_rows().get(column)
            if best is not None:
                ax.plot(epochs[best], history[column][best], "*", color=line.get_color(), markersize=12)
        (title,), fonts = legible([name])
        ax.set_title(title, fontfamily=fonts, parse_math=False)
        ax.set_xlabel("epoch")
        ax.xaxis.get_major_locator().set_params(integer=True)
        if len(epochs) == 1:
            ax.set_xlim(epochs[0] - 1, epochs[0] + 1)
        ax.grid(alpha=0.3)
        if len(present) > 1:
            ax.legend()
    return found
