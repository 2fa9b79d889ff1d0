"""`History`: columns, best epochs, text, HTML, curves, state."""

import json
import math

import pytest

import xpconv
from xpconv.train import History


def history():
    found = History()
    found.note_modes({"accuracy": "max", "valid_accuracy": "max", "other": None})
    for epoch, (loss, accuracy, valid) in enumerate([(2.0, 0.1, 0.3), (1.0, 0.4, 0.5), (0.5, 0.4, 0.4)], 1):
        row = {
            "epoch": epoch,
            "lr": 0.1,
            "loss": loss,
            "accuracy": accuracy,
            "valid_accuracy": valid,
            "other": 1e-5,
        }
        found.append(row, 1.25)
    return found


def test_columns_and_best_epochs():
    found = history()
    assert len(found) == 3
    assert found["loss"] == [2.0, 1.0, 0.5]
    assert "loss" in found
    assert "lss" not in found
    assert (found.best("loss"), found.best("accuracy"), found.best("valid_accuracy")) == (3, 2, 2)
    assert found.best("other", "max") == 1
    assert found.to_dict()["epoch"] == [1, 2, 3]
    with pytest.raises(KeyError, match="History has no 'lss'; it has epoch, lr, loss"):
        found["lss"]
    with pytest.raises(ValueError, match=r"it is not known whether other is to be large; give mode='max'"):
        found.best("other")
    with pytest.raises(ValueError, match=r"History.best: mode is 'best'"):
        found.best("loss", "best")
    with pytest.raises(KeyError, match="it has no epochs"):
        History()["loss"]


def test_values_that_are_not_numbers_are_not_best():
    found = History()
    for loss in (math.nan, 2.0, math.inf, 1.0, math.nan):
        found.append({"epoch": len(found) + 1, "loss": loss})
    assert found.best("loss") == 4
    assert "1.0000*" in str(found)
    alone = History()
    alone.append({"epoch": 1, "loss": math.nan})
    assert alone.best("loss") is None
    assert "nan" in str(alone)


def test_text_and_html():
    found = history()
    assert str(found).splitlines() == [
        "epoch   lr     loss  accuracy  valid_accuracy     other",
        "    1  0.1   2.0000    0.1000          0.3000  1.00e-05",
        "    2  0.1   1.0000   0.4000*         0.5000*  1.00e-05",
        "    3  0.1  0.5000*    0.4000          0.4000  1.00e-05",
    ]
    assert repr(found) == "<History of 3 epochs: epoch, lr, loss, accuracy, valid_accuracy, other>"
    found.stopped = "<enough>"
    page = found._repr_html_()
    assert "<b>0.5000</b>" in page
    assert "seconds" in page
    assert "stopped: &lt;enough&gt;" in page
    assert str(found).endswith("stopped: <enough>")


def test_state():
    found, other = history(), History()
    other.load_state_dict(json.loads(json.dumps(found.state_dict())))
    assert str(other) == str(found)
    assert other.seconds == [None] * 3
    found.append({"epoch": 4}, 2.0)
    assert len(other) == 3
    for state in ({}, {"rows": 3}, {"rows": [3]}, {"rows": [{"loss": "low"}]}, None):
        with pytest.raises(xpconv.errors.StateDictError, match=r"History.load_state_dict: state is"):
            other.load_state_dict(state)
    assert len(other) == 3


def test_curves(tmp_path):
    mpl = pytest.importorskip("matplotlib")
    with mpl.rc_context({"axes.titlelocation": "center"}):  # whatever was imported before
        found = history().plot()
    shown = [ax for ax in found.axes if ax.get_visible()]
    assert [ax.get_title() for ax in shown] == ["loss", "accuracy", "other"]
    assert [line.get_label() for line in shown[1].get_legend_handles_labels()[0]] == [
        "training",
        "validation",
    ]
    found.savefig(tmp_path / "curves.png")
    assert found._repr_png_().startswith(b"\x89PNG")
    assert len(history().plot("accuracy").axes) == 1
    with pytest.raises(KeyError, match="History has no 'lss'"):
        history().plot(["lss"])
    with pytest.raises(ValueError, match=r"History.plot: there are no epochs yet"):
        History().plot()


@pytest.mark.parametrize(
    "state",
    [
        {"rows": [{"epoch": 1, "loss": 0.5}], "modes": {"loss": 5}},
        {"rows": [{"epoch": float("nan"), "loss": 0.5}], "modes": {}},
    ],
)
def test_a_damaged_state_changes_nothing(state):
    history = History()
    history.append({"epoch": 1, "loss": 1.0})
    with pytest.raises(ValueError, match=r"History.load_state_dict: state is .*expected what state_dict"):
        history.load_state_dict(state)
    assert history["loss"] == [1.0]


def test_pictures_of_one_epoch_and_of_metrics_with_any_name(tmp_path):
    """The only tick is a whole epoch; no name is a formula, or of letters that the font lacks."""
    pytest.importorskip("matplotlib")
    found = History()
    found.append({"epoch": 7, "loss": 1.0, "$x_$": 2.0, "猫": 3.0})
    figure = found.plot()
    figure.savefig(tmp_path / "a.png")
    assert len(figure.axes) == 3
    for ax in figure.axes:
        low, high = ax.get_xlim()
        ticks = [tick for tick in ax.get_xticks() if low <= tick <= high]
        assert 7 in ticks and all(tick == int(tick) for tick in ticks)


def test_a_constant_rate_has_no_picture():
    pytest.importorskip("matplotlib")
    history = History()
    for epoch in (1, 2):
        history.append({"epoch": epoch, "lr": 0.1, "loss": 1.0 / epoch})
    assert [ax.get_title() for ax in history.plot().axes if ax.get_visible()] == ["loss"]
    assert [ax.get_title() for ax in history.plot(["lr"]).axes if ax.get_visible()] == ["lr"]
    history.append({"epoch": 3, "lr": 0.01, "loss": 0.1})
    assert [ax.get_title() for ax in history.plot().axes if ax.get_visible()] == ["loss", "lr"]
