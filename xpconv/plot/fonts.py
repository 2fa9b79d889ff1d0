"""Fonts that have the letters of a text."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from matplotlib.font_manager import FontProperties, findfont, fontManager, get_font

_families: dict[str, str | None] = {}  # by letter: a font of the system that has it


def legible(texts: Sequence[Any]) -> tuple[list[str], list[str]]:
    """Texts as matplotlib can draw them, and the font families for that, in the order to be tried.

    The first are those that matplotlib is set to. A letter that they lack is taken from another font of the
    system; one that no font has, or that is no letter, as a line feed, is escaped: `\\u732b`.
    """
    lines = [str(text) for text in texts]
    usual = list(FontProperties().get_family())
    letters = {c for line in lines for c in line if not (c.isascii() and c.isprintable())}
    for family in usual:
        letters -= _in_font(findfont(FontProperties(family=[family])), letters)
    _look_up(letters)
    others = sorted({found for c in letters if (found := _families[c]) is not None})
    escapes = str.maketrans({c: c.encode("unicode_escape").decode() for c in letters if _families[c] is None})
    return [line.translate(escapes) for line in lines], [*usual, *others]


def _look_up(letters: set[str]) -> None:
    """Find a font for each letter, in one pass over the fonts of the system."""
    missing = letters - set(_families)
    if not missing:
        return
    _families.update(dict.fromkeys(missing))
    upright = [font for font in fontManager.ttflist if font.style == "normal"]
    for font in sorted(upright, key=lambda font: (font.weight not in (400, "normal"), font.name)):
        found = _in_font(font.fname, missing)
        _families.update(dict.fromkeys(found, font.name))
        missing -= found
        if not missing:
            return


def _in_font(path: str, letters: set[str]) -> set[str]:
    """Those that a font file has; none if the file cannot be read."""
    with suppress(OSError, RuntimeError):  # FreeType's errors are RuntimeErrors
        font = get_font(path)
        return {c for c in letters if c.isprintable() and font.get_char_index(ord(c))}
    return set()
