"""For griffe, which reads the package for mkdocstrings: the public names, and docstrings in its form."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import griffe

sys.path[:0] = [path for path in (str(Path(__file__).parent),) if path not in sys.path]
import pages  # noqa: E402

PLAIN = ("Returns", "Yields", "Source", "Warns")  # sections of prose, which griffe would look for types in


def in_its_form(text: str) -> str:
    """`Example:` as griffe's `Examples:`, and sections of prose as paragraphs."""
    lines, plain = [], False
    for line in text.splitlines():
        heading = re.fullmatch(r"(\w+(?:, \w+)*):", line)
        if heading and set(heading[1].split(", ")) & set(PLAIN):
            plain = True
            lines += [f"**{heading[1]}:**", ""]
        else:
            plain = plain and (not line or line.startswith("    "))
            lines.append(line.removeprefix("    ") if plain else re.sub("^Example:$", "Examples:", line))
    return "\n".join(lines)


class Public(griffe.Extension):
    """Names of the package's namespace, which it computes at import; docstrings in griffe's form."""

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:
        """Add an alias for each public name."""
        found = {name: pkg[home.partition(".")[2]] for name, home in pages.homes().items()}
        for name, thing in found.items():
            if name != thing.path:  # `xpconv.train.fit` is a function, in place of the file of this name
                *parents, last = name.split(".")[1:]
                place: Any = pkg[".".join(parents)] if parents else pkg
                place.members[last] = griffe.Alias(last, thing, parent=place)

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite the docstring."""
        if obj.docstring:
            obj.docstring.value = in_its_form(obj.docstring.value)
