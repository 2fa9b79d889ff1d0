"""The pages of the API reference, `api/*.md`, made from the public names at each build, and links to them.

A public thing is on the page of the file that it is from, so that a new layer needs no entry. A public
name in code on any page, `xpconv.train.fit` or `Conv2d`, becomes a link.
"""

from __future__ import annotations

import inspect
import os
import re
import sys
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel

ROOT = Path(__file__).parents[2]
sys.path[:0] = [path for path in (str(ROOT), str(ROOT / "docs" / "hooks")) if path not in sys.path]

import public_names  # noqa: E402

CODE = re.compile(
    r"(<pre.*?</pre>|<a .*?</a>|<h\d.*?</h\d>|<autoref.*?</autoref>)|<code>([\w.]+)(\(\))?</code>", re.DOTALL
)
ROOMS = {
    "F": "functional",
    "transforms": "data.transforms",
    "operators": "layers.operators",
}  # as pages import them


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages, and the file that orders them."""
    for path, text in public_names.api_pages().items():
        level = InclusionLevel.INCLUDED if path.endswith(".md") else InclusionLevel.EXCLUDED
        files.append(File.generated(config, path, content=text, inclusion=level))
    return files


def address(name: str) -> str | None:
    """Page and anchor of a public thing, or of a method of one, by its name with or without the package's."""
    things = public_names.public()
    if "." not in name and not (name[0].isupper() or "_" in name):
        return None  # `load` may be any word
    room, _, rest = name.removeprefix("xpconv.").partition(".")
    full = f"xpconv.{ROOMS.get(room, room)}.{rest}" if rest else f"xpconv.{room}"
    owner = full.rpartition(".")[0]
    if full in things:
        return f"api/{public_names.page_of(things[full].__module__)}.html#{full}"
    if inspect.isclass(things.get(owner)) and (
        base := public_names.written(things[owner]).get(public_names.short(full))
    ):
        shown = public_names.methods(things[owner], public_names.classes())[1].get(
            public_names.short(full), things[owner]
        )
        home = next(name for name, thing in things.items() if thing is shown)
        return (
            f"api/{public_names.page_of(shown.__module__)}.html#{home}.{public_names.short(full)}"
            if base
            else None
        )
    return None


def beside(name: str, page: str) -> str | None:
    """Page and anchor of the public object with this short name, if `page` of the reference describes it."""
    for full, thing in public_names.public().items() if page.startswith("api/") else ():
        if public_names.short(full) == name and page == f"api/{public_names.page_of(thing.__module__)}.html":
            return f"{page}#{full}"
    return None


def on_page_content(content: str, page: Any, **_: Any) -> str:
    """Links from names to the reference."""

    def link(found: re.Match[str]) -> str:
        target = found[2] and (address(found[2]) or beside(found[2], page.url))
        if not target:
            return found[0]
        path, _, anchor = target.partition("#")
        relative = "" if path == page.url else os.path.relpath(path, os.path.dirname(page.url))
        return f'<a href="{relative}#{anchor}">{found[0]}</a>'

    return CODE.sub(link, content)
