"""Write docs/reference.md from the docstrings: `python3 docs/make_reference.py`."""

from __future__ import annotations

import functools
import inspect
import re
from pathlib import Path
from typing import Any

import xpconv
import xpconv.cuda
import xpconv.data
import xpconv.data.transforms
import xpconv.distributed
import xpconv.functional
import xpconv.inspection
import xpconv.models
import xpconv.onnx
import xpconv.plot
import xpconv.sklearn
import xpconv.testing
import xpconv.train

ROOMS = {
    "xpconv.backend": "The switch",
    "xpconv.array_library": "The switch",
    "xpconv.arrays": "The switch",
    "xpconv.layers": "Layers",
    "xpconv.tape": "Layers",
    "xpconv.parameter": "Layers",
    "xpconv.losses": "Losses",
    "xpconv.functional": "Functions on arrays",
    "xpconv.optim": "Optimizers and schedules",
    "xpconv.init": "Initial values",
    "xpconv.random": "Random numbers",
    "xpconv.data": "Data",
    "xpconv.data.transforms": "Transforms of images",
    "xpconv.models": "Models",
    "xpconv.files": "Files",
    "xpconv.onnx": "ONNX",
    "xpconv.train": "Training",
    "xpconv.distributed": "Several processes",
    "xpconv.sklearn": "scikit-learn",
    "xpconv.inspection": "Looking inside",
    "xpconv.plot": "Looking inside",
    "xpconv.kernels.precision": "The GPU",
    "xpconv.kernels": "Speed",
    "xpconv.explain": "Speed",
    "xpconv.cuda": "The GPU",
    "xpconv.data.prefetch": "The GPU",
    "xpconv.testing": "Checks",
    "xpconv.errors": "Errors",
}
LISTS = ("Args", "Raises", "Attributes")  # sections of entries `name: text`
SECTIONS = (*LISTS, "Returns", "Yields", "Source")


class Plain(str):
    """A default that is shown by its name."""

    __repr__ = str.__str__


def public() -> dict[str, dict[str, Any]]:
    """Title of a room to its public things, by the name that a user writes."""
    found: dict[str, dict[str, Any]] = {title: {} for title in ROOMS.values()}
    for prefix, module in (
        ("xpconv", xpconv),
        ("xpconv.init", xpconv.init),
        ("xpconv.data", xpconv.data),
        ("xpconv.data.transforms", xpconv.data.transforms),
        ("xpconv.models", xpconv.models),
        ("xpconv.functional", xpconv.functional),
        ("xpconv.cuda", xpconv.cuda),
        ("xpconv.testing", xpconv.testing),
        ("xpconv.onnx", xpconv.onnx),
        ("xpconv.train", xpconv.train),
        ("xpconv.distributed", xpconv.distributed),
        ("xpconv.sklearn", xpconv.sklearn),
        ("xpconv.inspection", xpconv.inspection),
        ("xpconv.plot", xpconv.plot),
        ("xpconv.errors", xpconv.errors),
    ):
        for name in getattr(module, "__all__", None) or [n for n in vars(module) if not n.startswith("_")]:
            thing = getattr(module, name)
            home = getattr(thing, "__module__", "")
            rooms = [r for r in ROOMS if f"{home}.".startswith(f"{r}.")]
            room = ROOMS[max(rooms, key=len)] if rooms else None
            if room and (prefix in ("xpconv", "xpconv.cuda") or home.startswith(prefix)):
                found[room].setdefault(f"{prefix}.{name}", thing)
    return {title: things for title, things in found.items() if things}


def signature(thing: Any) -> str:
    """As a user calls it: without annotations and `self`."""
    found = inspect.signature(thing)
    parameters = [p.replace(annotation=p.empty) for p in found.parameters.values() if p.name != "self"]
    parameters = [
        p.replace(default=Plain(p.default.__name__))
        if inspect.isclass(p.default) and p.default is not p.empty
        else p
        for p in parameters
    ]
    return str(found.replace(parameters=parameters, return_annotation=found.empty))


def methods(name: str, kind: type) -> list[str]:
    """The public methods of a class that have docstrings and are not those of a class above it."""
    page = []
    above = [base for base in kind.__mro__[1:] if base in documented()]
    for method, function in inspect.getmembers(kind, inspect.isfunction):
        ours = str(function.__module__).startswith("xpconv")  # not what scikit-learn's bases have
        if method.startswith("_") or not function.__doc__ or not ours:
            continue
        if not any(getattr(base, method, None) is function for base in above):
            page += [f"#### {name}.{method}", "", "```python", f"{method}{signature(function)}", "```", ""]
            page += [markdown(inspect.getdoc(function) or ""), ""]
    return page


@functools.cache
def documented() -> set[type]:
    """The classes that are on the page."""
    return {thing for things in public().values() for thing in things.values() if inspect.isclass(thing)}


def markdown(doc: str) -> str:
    """A docstring's sections as bold words and lists, its example as a block of Python."""
    lines: list[str] = []
    section = ""
    for line in doc.splitlines():
        heading = re.fullmatch(r"(\w+(?:, \w+)*):", line)
        if heading and set(heading[1].split(", ")) <= {*SECTIONS, "Example"}:
            lines += ["```", ""] if section == "Example" else []
            section = heading[1]
            lines += [f"**{section}**", ""] if section != "Example" else ["```python"]
        elif section == "Example":
            lines.append(line.removeprefix("    "))
        elif section in LISTS and (entry := re.fullmatch(r" {4}(\*{0,2}\w+(?:, \*{0,2}\w+)*): (.*)", line)):
            lines.append(f"- `{entry[1]}`: {entry[2]}")
        elif section in LISTS and line.startswith(8 * " "):  # the text of an entry, with its own lists
            lines.append("  " + line[8:])
        elif section:
            lines.append(line.removeprefix("    "))
        else:
            lines.append(line)
    return "\n".join([*lines, "```"] if section == "Example" else lines).strip()


def reference() -> str:
    """The whole page."""
    rooms = public()
    page = ["# Reference", "", "Generated from the docstrings by `docs/make_reference.py`.", ""]
    for title, things in rooms.items():
        names = " · ".join(
            f"[`{n.split('.')[-1]}`](#{n.lower().replace('.', '')})" for n in sorted(things, key=str.lower)
        )
        page += [f"**{title}**: {names}", ""]
    for title, things in rooms.items():
        page += [f"## {title}", ""]
        for name, thing in sorted(things.items(), key=lambda item: item[0].lower()):
            short = name.split(".")[-1]
            page += [f"### {name}", ""]
            if inspect.isclass(thing) and thing.__name__ != short:
                page += [f"Another name for [`{thing.__name__}`](#xpconv{thing.__name__.lower()}).", ""]
                continue
            is_class = inspect.isclass(thing)
            is_error = is_class and issubclass(thing, Exception)
            page += [] if is_error else ["```python", f"{short}{signature(thing)}", "```", ""]
            page += [markdown(inspect.getdoc(thing) or ""), ""]
            page += methods(name, thing) if is_class and not is_error else []
    return "\n".join(page)


if __name__ == "__main__":
    (Path(__file__).parent / "reference.md").write_text(reference())
