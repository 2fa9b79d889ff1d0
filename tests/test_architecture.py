"""docs/architecture.md names every file of the package, and only files, functions and tests that exist."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "xpconv"
PAGE = (ROOT / "docs" / "architecture.md").read_text()
TREE = PAGE.partition("```\nxpconv/\n")[2].partition("```")[0]
CODE = re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", PAGE, flags=re.DOTALL))
SUFFIXES = "py|md|cu|cuh|sh|json"


def files_of_tree(tree):
    """Lines of files, `a.py, b.py    what they are`, within folders, `folder/`, by their indentation."""
    folders = []
    for line in tree.splitlines():
        depth = (len(line) - len(line.lstrip())) // 2
        names = re.split(r" {2,}", line.strip())[0].split(", ")
        folders = folders[: depth - 1]
        if names[0].endswith("/"):
            folders.append(names[0].rstrip("/"))
        else:
            yield from ("/".join([*folders, name]) for name in names)


def functions(path):
    """The qualified names of all functions and classes in a file."""
    waiting = [("", node) for node in ast.parse(path.read_text()).body]
    while waiting:
        prefix, node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield prefix + node.name
            waiting += [(f"{prefix}{node.name}.", child) for child in node.body]


def has(path, name):
    """Whether a file assigns or defines the name."""
    return re.search(rf"^\s*(?:def |class )?{name}\b", path.read_text(), re.MULTILINE)


def test_the_list_of_files_is_complete():
    listed = list(files_of_tree(TREE))
    there = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert len(listed) == len(set(listed))
    missing, gone = there - set(listed), set(listed) - there
    assert not missing, f"the list in docs/architecture.md lacks {missing}"
    assert not gone, f"the list in docs/architecture.md has {gone}, which do not exist"


def test_files_that_are_named_exist():
    text = PAGE.replace(TREE, "")
    names = set(re.findall(rf"[\w./-]+\.(?:{SUFFIXES})\b", text)) | set(
        re.findall(r"`([\w.]+/[\w/]*)`", text)
    )
    assert len(names) > 40
    for name in names:
        found = [*PACKAGE.rglob(name.rstrip("/")), ROOT / name, ROOT / "docs" / name]
        assert any(path.exists() for path in found), f"docs/architecture.md: there is no {name}"


def test_functions_and_tables_that_are_named_exist():
    rows = re.findall(r"^\| `([\w/]+\.py)` \| (.+?) \|", PAGE, re.MULTILINE)
    assert len(rows) > 20
    for file, names in rows:
        missing = set(re.findall(r"`([\w.]+)`", names)) - set(functions(PACKAGE / file))
        assert not missing, f"docs/architecture.md: {file} has no {missing}"
    tables = re.findall(r"`(\w+)` (?:in|of) `((?:tests|benchmarks)/[\w/]+\.py)`", PAGE)
    tables += [
        pair[::-1] for pair in re.findall(r"`((?:tests|benchmarks)/[\w/]+\.py)` \([^)`]*`(\w+)`", PAGE)
    ]
    assert len(tables) > 12
    for name, file in tables:
        assert has(ROOT / file, name), f"docs/architecture.md: {file} has no {name}"


def test_functions_of_modules_that_are_named_exist():
    """As in `memory.empty`, where there is a file memory.py."""
    checked = 0
    for module, name in re.findall(rf"\b([a-z_]+)\.(?!(?:{SUFFIXES})\b)(\w+)", " ".join(CODE)):
        files = [*PACKAGE.rglob(f"{module}.py"), *(ROOT / "benchmarks").glob(f"{module}.py")]
        checked += bool(files)
        assert not files or any(has(file, name) for file in files), (
            f"docs/architecture.md: no {module}.py has {name}"
        )
    assert checked > 6


def test_the_code_runs():
    for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        exec(compile(block, "docs/architecture.md", "exec"), {})  # noqa: S102


def test_options_of_commands_exist():
    for file, options in re.findall(r"python3 (benchmarks/\w+\.py)([^`\n]*)", PAGE):
        text = (ROOT / file).read_text() + (ROOT / "benchmarks" / "compare.py").read_text()
        for option in re.findall(r"--[\w-]+", options):
            assert f'"{option}"' in text, f"docs/architecture.md: {file} has no option {option}"
