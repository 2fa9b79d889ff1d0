"""Names in any letters: drawn from a font that has them, or escaped, and never as boxes."""

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason='pip install -e ".[train]"')

from matplotlib import font_manager

import xpconv
from xpconv import plot
from xpconv.plot import fonts
from xpconv.plot.fonts import legible

NAMES = ["猫", "कुत्ता", "лиса", "a\nb", "\udcff", "$x_1$", "שועל", "🦊"]


@pytest.fixture
def fresh(monkeypatch):
    """Nothing is known of other fonts."""
    monkeypatch.setattr(fonts, "_families", {})


def only_usual(monkeypatch):
    """The system has no font besides matplotlib's usual one."""
    manager = font_manager.fontManager
    usual = [entry for entry in manager.ttflist if entry.name == "DejaVu Sans"]
    monkeypatch.setattr(manager, "ttflist", usual)


def test_letters_that_no_font_has_are_escaped(fresh, monkeypatch):
    only_usual(monkeypatch)
    texts, families = legible(NAMES)
    assert texts[:1] == ["\\u732b"]
    assert texts[2:6] == ["лиса", "a\\nb", "\\udcff", "$x_1$"]
    assert families == ["sans-serif"]
    assert legible([]) == ([], ["sans-serif"])
    assert legible([1, "é"]) == (["1", "é"], ["sans-serif"])


def test_letters_come_from_another_font(fresh):
    """One that matplotlib brings along has letters that its usual one lacks."""
    usual = set(font_manager.get_font(font_manager.findfont("DejaVu Sans")).get_charmap())
    other = next(entry for entry in font_manager.fontManager.ttflist if entry.name == "STIXGeneral")
    letter = chr(
        min(set(font_manager.get_font(other.fname).get_charmap()) - usual - set(range(0xE000, 0xF900)))
    )
    texts, families = legible([f"a{letter}"])
    assert texts == [f"a{letter}"]
    assert families[0] == "sans-serif"
    assert len(families) == 2
    figure = plot.confusion_matrix([0, 1], [1, 0], [f"a{letter}", "b"])  # warns of a letter without a font
    figure.savefig("/dev/null", format="png")
    assert figure.axes[0].get_xticklabels()[0].get_fontfamily() == families


def test_a_damaged_font_is_passed_over(fresh, monkeypatch, tmp_path):
    broken = tmp_path / "broken.ttf"
    broken.write_bytes(b"no font")
    entries = [font_manager.FontEntry(fname=str(broken), name="Broken"), *font_manager.fontManager.ttflist]
    monkeypatch.setattr(font_manager.fontManager, "ttflist", entries)
    assert "Broken" not in legible(["猫"])[1]


@pytest.mark.slow
def test_every_picture_with_names(tmp_path):
    """A missing letter would be a warning, which is an error here; titles have none either."""
    y, k = np.arange(len(NAMES)), len(NAMES)
    scores = np.roll(np.eye(k), 1, axis=1)
    x = np.zeros((k, 1, 8, 8), "float32")
    model = xpconv.Sequential({"猫": xpconv.Dense(2, 2, rng=0)})
    model.backward(np.ones_like(model(np.ones((1, 2), "float32"))))
    for n, figure in enumerate(
        (
            plot.confusion_matrix(y, scores, NAMES),
            plot.confusion_matrix(np.repeat(y, 2), np.repeat(scores, 2, axis=0), NAMES),
            plot.mistakes(x, y, scores, NAMES),
            plot.gradients(model),
        )
    ):
        figure.savefig(tmp_path / f"{n}.png")


@pytest.mark.parametrize("count", [2, 5])
def test_long_names_leave_room_for_the_matrix_and_the_title(count, tmp_path):
    names = [f"class {i}, whose name is quite long" for i in range(count)]
    y = np.arange(count).repeat(3)
    figure = plot.confusion_matrix(y, (y + 1) % count, names)
    figure.savefig(tmp_path / "a.png")
    ax = figure.axes[0]
    assert min(ax.get_window_extent().size) / figure.dpi >= 0.3 * count
    assert ax.get_yticklabels()[0].get_text() == "class 0, whose name is …"
    edges = ax._left_title.get_window_extent()
    assert edges.x1 <= figure.bbox.x1


def test_long_names_above_images_do_not_overlap(tmp_path):
    names = [f"class {i}, whose name is quite long" for i in range(4)]
    y = np.arange(24) % 4
    figure = plot.mistakes(np.zeros((24, 3, 20, 28)), y, np.eye(4)[(y + 1) % 4], names)
    figure.savefig(tmp_path / "a.png")
    boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    assert len(boxes) == 24
    for i, a in enumerate(boxes):
        assert a.x0 >= 0 and a.x1 <= figure.bbox.x1
        assert not any(a.overlaps(b) for b in boxes[:i])
