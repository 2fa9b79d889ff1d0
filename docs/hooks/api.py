"""Pages of the API reference, made from the public names at each build: `api/*.md`.

A public thing is on the page of the file that it is from, so that a new layer comes to its page by itself.
"""

from __future__ import annotations

import sys
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]
sys.path[:0] = [path for path in (str(ROOT), str(ROOT / "docs" / "hooks")) if path not in sys.path]

import pages  # noqa: E402


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages."""
    for path, text in pages.api_pages().items():
        files.append(File.generated(config, path, content=text))
    return files
