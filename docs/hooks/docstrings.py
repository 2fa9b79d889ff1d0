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
            lines.append(line.removeprefix("    ") if plain else re.sub("^Example:$", "Examples:", line))
    return "\n".join(lines)


def modules(module: griffe.Module) -> Iterator[griffe.Module]:
    """A module and those within it."""
    yield module
    for inner in module.modules.values():
        if not inner.is_alias:
            yield from modules(inner)


def functions(thing: griffe.Module | griffe.Class) -> Iterator[griffe.Function]:
    """The functions and methods of a module."""
    yield from (f for f in thing.functions.values() if not f.is_alias)
    for inner in thing.classes.values():
        if not inner.is_alias:
            yield from functions(inner)


def spelled_out(annotation: Any, package: griffe.Module) -> Any:
    """A type with what its names stand for, such as `int | tuple[int, ...]` for `IntOrTuple`."""
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
    """Names of the package's namespace, which it computes at import; docstrings in griffe's form."""

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:
        """Add an alias for each public name."""
        found: dict[str, Any] = {
            name: pkg[home.partition(".")[2]] for name, home in public_names.homes().items()
        }
        for name, thing in found.items():
            if name != thing.path:  # `xpconv.train.fit` is a function, in place of the file of this name
                *parents, last = name.split(".")[1:]
                place: Any = pkg[".".join(parents)] if parents else pkg
                place.members[last] = griffe.Alias(last, thing, parent=place)

        for module in modules(pkg):
            for function in functions(module):
                for parameter in function.parameters:
                    parameter.annotation = spelled_out(parameter.annotation, pkg)
                function.returns = spelled_out(function.returns, pkg)
        for name, kind in public_names.public().items():
            if inspect.isclass(kind) and (links := public_names.inherited_methods(kind)):
                thing = found[name]
                thing.docstring = thing.docstring or griffe.Docstring("", parent=thing)
                thing.docstring.value += f"\n\n{links}"

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite the docstring."""
        if obj.docstring:
            obj.docstring.value = in_its_form(obj.docstring.value)
