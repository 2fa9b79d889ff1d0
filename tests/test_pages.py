"""README.md and the pages of docs: their code runs and prints what they say, and what they name exists."""

import importlib
import re

import pages
import pytest
from pages import ROOT, blocks, needed, run_page

import xpconv

for library in ("PIL", "matplotlib", "safetensors", "sklearn", "tqdm"):
    pytest.importorskip(library, reason='pip install -e ".[examples]"')

TEST_OF_ITS_OWN = re.compile(r"<!-- (tests/\S+) runs the code of this page")
ELSEWHERE = {"docs/architecture.md", "docs/another-array-library.md"}  # whose tests have their names
LONG = ("feature-maps", "fine-tuning", "image-folders", "own-optimizers", "schedules", "segmentation")
LONG += ("cpu-only-ci", "several-devices", "training-in-one-call")
SLOW = {*(f"docs/guides/{name}.md" for name in LONG), "docs/index.md", "docs/learn/training.md"}
PAGES = {
    p.relative_to(ROOT).as_posix(): p for p in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
}
TEXTS = {name: path.read_text(encoding="utf-8") for name, path in PAGES.items()}
OF_OTHERS = {name: found[1] for name, text in TEXTS.items() if (found := TEST_OF_ITS_OWN.search(text))}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name
        for name in PAGES
        if name not in {*OF_OTHERS, *ELSEWHERE}
    ],
)
def test_the_code_of_a_page_runs(name, capsys, tmp_path, monkeypatch):
    """All blocks of a page, in order, in one namespace; what they print is what it says."""
    for library in needed(blocks(TEXTS[name])):
        found = pytest.importorskip(library)
        if library == "torch":
            found.set_num_threads(1)  # whose threads spin while they wait
    monkeypatch.chdir(tmp_path)
    with xpconv.use_backend("numpy"):
        run_page(PAGES[name], capsys, shell=name != "README.md")  # whose commands are for the clone's folder


def test_pages_with_a_test_of_their_own_have_one():
    assert all((ROOT / path).exists() for path in OF_OTHERS.values())


@pytest.mark.parametrize("name", sorted(PAGES))
def test_what_stands_in_a_list_is_indented_by_four(name):
    """Lists, tables and code: with less, Python-Markdown puts them outside the list and continues its numbers."""
    text = re.sub(r"^```.*?^```", "", TEXTS[name], flags=re.DOTALL | re.MULTILINE)
    assert not re.findall(r"^ {1,3}(?:[-*|`]|\d+\.) .*", text, re.MULTILINE)


@pytest.mark.parametrize("name", sorted(PAGES))
def test_names_exist(name):
    """Those that stand in backticks: `xpconv.data.batches`."""
    for path in re.findall(
        r"`xpconv\.((?:\w+\.)*\w+)", re.sub(r"```.*?```", "", TEXTS[name], flags=re.DOTALL)
    ):
        thing = xpconv
        for part in path.split("."):
            if not hasattr(thing, part):
                importlib.import_module(f"{thing.__name__}.{part}")
            thing = getattr(thing, part)


@pytest.mark.parametrize("name", sorted(PAGES))
def test_links_lead_somewhere(name):
    """Those to files of the project, and to headings of pages."""
    prose = re.sub(r"```.*?```", "", TEXTS[name], flags=re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", prose):
        if re.match(r"\w+:|(\.\./)*api/", link):  # an address, or a page that is made for the site
            continue
        target, _, anchor = link.partition("#")
        path = (PAGES[name].parent / target).resolve() if target else PAGES[name]
        assert path.exists(), link
        if anchor:
            headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
            slugs = {re.sub(r"[^\w\- ]", "", h.lower()).strip().replace(" ", "-") for h in headings}
            assert anchor in slugs, link


PLANTED = {
    "another value": "```python\nprint(1 + 1)  # 3\n```",
    "no value": "```python\nprint(1 + 1)\n```",
    "another output": "```python\nprint(1 + 1)\n```\n\n```text\n3\n```",
    "no error": "```python\nint('1')\n# ValueError: …\n```",
    "another error": "```python\nint('one')\n# TypeError: …\n```",
    "another text of the error": "```python\nint('one')\n# ValueError: no number\n```",
    "an error": "```python\nint('one')\n```",
    "a name of no block": "```python\nx\n```",
    "a failing command": "```bash\npython3 -c 'raise SystemExit(3)'\n```",
    "another output of a command": "```bash\npython3 -c 'print(2)'\n```\n\n```text\n3\n```",
}
GOOD = """```python
x = 1  # no promise
print(x + 1)  # 2
int("one")
# ValueError: invalid literal for … base 10:
# 'one'
```

Prose.

```bash
python3 -m pip install nothing
python3 -c 'print(2)'  # a remark
no-such-command         # not run here
```

```text
2
```

```python
# not run: it needs a GPU
x = undefined
```

```python
print([x, x])
```

```text
[1,
 1]
```
"""


@pytest.fixture
def page(tmp_path, monkeypatch):
    monkeypatch.setattr(pages, "ROOT", tmp_path)
    return tmp_path / "page.md"


@pytest.mark.parametrize("planted", PLANTED)
def test_planted_errors_are_caught(planted, page, capsys):
    page.write_text(PLANTED[planted] + "\n")
    with pytest.raises((AssertionError, ValueError, NameError, pytest.fail.Exception)):
        run_page(page, capsys)


def test_a_right_page_passes(page, capsys):
    page.write_text(GOOD)
    run_page(page, capsys)
