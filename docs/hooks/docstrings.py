"""For griffe, which reads the package for mkdocstrings: the public names, and docstrings in its form."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import griffe

sys.path[:0] = [path for path in (str(Path(__file__).parent),) if path not in sys.path]
import public_names  # noqa: E402

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
            if several := re.match(r"    (\w+Error(?:, \w+Error)+):", line):  # otherwise they become a tuple
                line = line.replace(several[1], several[1].replace(", ", " | "), 1)
            lines.append(line.removeprefix("    ") if plain else re.sub("^Example:$", "Examples:", line))
    return "\n".join(lines)


def members(thing: griffe.Module | griffe.Class) -> Iterator[Any]:
    """All that is defined in a module or class, and within that."""
    for member in thing.members.values():
        if not member.is_alias:
            yield member
            if member.is_module or member.is_class:
                yield from members(member)


def spelled_out(annotation: Any, package: griffe.Module) -> Any:
    """A type with its aliases replaced, such as `int | tuple[int, ...]` for `IntOrTuple`."""
    if isinstance(annotation, griffe.ExprBinOp):
        left, right = (spelled_out(side, package) for side in (annotation.left, annotation.right))
        return griffe.ExprBinOp(left, annotation.operator, right)
    if not isinstance(annotation, griffe.ExprName):
        return annotation
    try:
        value = package.modules_collection[annotation.canonical_path].value
    except (AttributeError, KeyError, griffe.AliasResolutionError):  # a class, or of another package
        return annotation
    if isinstance(value, str):
        return value.strip("'\"")
    return (
        spelled_out(value, package)
        if isinstance(value, griffe.ExprBinOp | griffe.ExprSubscript)
        else annotation
    )


class Public(griffe.Extension):
    """Names of the package's namespace, which it computes at import; docstrings and types for the pages."""

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:
        """Rewrite docstrings and types, and add an alias for each public name."""
        for thing in members(pkg):
            if thing.docstring:
                thing.docstring.value = in_its_form(thing.docstring.value)
            if thing.is_function:
                thing.returns = spelled_out(thing.returns, pkg)
                for parameter in thing.parameters:
                    parameter.annotation = spelled_out(parameter.annotation, pkg)
        found = {name: pkg[home.partition(".")[2]] for name, home in public_names.homes().items()}
        for name, kind in public_names.public().items():
            if inspect.isclass(kind) and (links := public_names.inherited_methods(kind)):
                text = found[name].docstring.value if found[name].docstring else ""
                found[name].docstring = griffe.Docstring(f"{text}\n\n{links}", parent=found[name])
        for name, thing in found.items():
            if name != thing.path:  # `xpconv.train.fit` is a function, in place of the file of this name
                *parents, last = name.split(".")[1:]
                place: Any = pkg[".".join(parents)] if parents else pkg
                place.members[last] = griffe.Alias(last, thing, parent=place)
