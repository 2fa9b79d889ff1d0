"""What the pages of docs/learn quote is in the source. Their code is run by tests/test_pages.py."""

import re
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs" / "learn").glob("*.md"))
QUOTED = re.compile(r'^```python title="(\S+)"\n(.*?)^```', re.DOTALL | re.MULTILINE)


def missing(page):
    """The parts of quotations that a source does not have, in this order, whatever their indentation.

    `# …` stands for lines that are left out.
    """
    for file, block in QUOTED.findall(page):
        source, start = "\n" + (ROOT / file).read_text(encoding="utf-8"), 0
        for part in re.split(r"^ *# …\n", block, flags=re.MULTILINE):
            indented = (textwrap.indent(part, " " * n) for n in range(0, 24, 4))
            found = max(source.find("\n" + lines, start) for lines in indented)
            if found < 0:
                yield f"{file} does not have:\n{part}"
            start = max(start, found)


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_quotations_are_in_the_source(page):
    text = page.read_text(encoding="utf-8")
    assert QUOTED.search(text)
    assert text.count("```python title") == len(QUOTED.findall(text))
    assert not list(missing(text))


def test_a_changed_quotation_is_found():
    quoted = '```python title="xpconv/ops/linear.py"\n    grad = rows(grad)\n{}```\n'
    assert not list(missing(quoted.format("")))
    assert not list(missing(quoted.format("    # …\n    if x.ndim == 2:\n")))
    assert list(missing(quoted.format("    if x.ndim == 2:\n")))  # is not the next line
    assert list(missing(quoted.format("    # …\ndef matmul(\n")))  # comes before
    assert list(missing(quoted.format("").replace("grad)", "dy)")))
