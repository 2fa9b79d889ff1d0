"""Files outside docs/ that a page links to, such as `../examples/xor.py`, as pages and files of the site.

So the same link works on the site and where the repository is read. Markdown and pictures stay as they are,
text of other kinds becomes a page.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel

ROOT = Path(__file__).parents[2]
LINK = re.compile(r"(?<=\]\()(\.\./[^)#\s]+)")
LANGUAGES = {".py": "python", ".sh": "bash", ".toml": "toml", ".cu": "cpp", ".cuh": "cpp"}


def inside(page: str, target: str) -> str:
    """The address on the site of the file that a page of the repository links to as `target`.

    Of a file in docs/ that is `target` itself. `page` is a path from the root of the repository.
    """
    path = os.path.normpath(os.path.join(os.path.dirname(page), target))
    if path.startswith(("docs/", "..")) or not (ROOT / path).is_file():
        return target  # mkdocs says so if there is none
    place = f"files/{path}.md" if Path(path).suffix in LANGUAGES else f"files/{path}"
    home = page.removeprefix("docs/") if page.startswith("docs/") else f"files/{page}"
    return os.path.relpath(place, os.path.dirname(home))


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what the pages link to, and what those link to."""
    waiting = [(f"docs/{f.src_uri}", f.content_string) for f in files.documentation_pages()]
    seen = set()
    while waiting:
        page, text = waiting.pop()
        for target in LINK.findall(text):
            path = os.path.normpath(os.path.join(os.path.dirname(page), target))
            if path in seen or inside(page, target) == target:
                continue
            seen.add(path)
            added = file_of(path, config)
            files.append(added)
            if path.endswith(".md"):
                waiting.append((path, added.content_string))
    return files


def file_of(path: str, config: MkDocsConfig) -> File:
    """The file of the site for one of the repository."""
    language, level = LANGUAGES.get(Path(path).suffix), InclusionLevel.NOT_IN_NAV
    if language:
        content = f"# {path}\n\n````{language}\n{(ROOT / path).read_text()}\n````\n"
        return File.generated(config, f"files/{path}.md", content=content, inclusion=level)
    return File.generated(config, f"files/{path}", abs_src_path=str(ROOT / path), inclusion=level)


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Links to such files lead to their pages."""
    source = page.file.src_uri
    if source.startswith("files/"):
        page.meta.setdefault("search", {"boost": 0.3})  # searches rank the pages of docs/ higher
    home = source.removeprefix("files/") if source.startswith("files/") else f"docs/{source}"
    if home.endswith((".py.md", ".sh.md")):
        return markdown
    return LINK.sub(lambda found: inside(home, found[0]), markdown)
