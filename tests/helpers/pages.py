"""The code of Markdown pages, run as a reader would run it.

In a page, the blocks ```python run in order in one namespace, and the blocks ```bash in between them in the same
folder. What they print is what the page says:

- a line `print(…)  # text` prints `text`;
- a block ```text right after another one is all that this one prints;
- a statement with the comment `# SomeError: text` below it raises that error. `…` stands for any text.

A block of Python whose first line is a comment with the words "not run" is compiled only; a command with such a comment
behind it is left out, and so are those of pip.
"""

import ast
import os
import re
import shlex
import shutil
import sys
import sysconfig
from pathlib import Path
from typing import NamedTuple

import process
import pytest

ROOT = Path(__file__).parents[2]
PATH = os.pathsep.join(
    [sysconfig.get_path("scripts"), os.environ.get("PATH", "")]
)  # `python3` is that of the tests


class Block(NamedTuple):
    """A fenced block of a page."""

    language: str
    code: str
    line: int  # of its first line in the page
    output: str | None  # of the block ```text right after it

    @property
    def is_shown_only(self) -> bool:
        first = self.code.partition("\n")[0]
        return first.startswith("#") and "not run" in first


def blocks(text):
    """All blocks of a page with a language."""
    for found in re.finditer(
        r"^```(\w+)\n(.*?)^```\n(\n```text\n(.*?)^```$)?", text + "\n", re.DOTALL | re.MULTILINE
    ):
        language, code, _, output = found.groups()
        yield Block(language, code, text[: found.start(2)].count("\n") + 1, output)


def needed(page):
    """The libraries that the blocks of a page import, for `pytest.importorskip`."""
    names = set()
    for block in page:
        if block.language == "python" and not block.is_shown_only:
            for node in ast.walk(ast.parse(block.code)):
                if isinstance(node, ast.Import):
                    names |= {one.name for one in node.names}
                elif isinstance(node, ast.ImportFrom) and not node.level:
                    names.add(node.module)
    return sorted({name.partition(".")[0] for name in names} - set(sys.stdlib_module_names) - {"xpconv"})


def matches(expected, text):
    """Whether a text is the expected one, with any text in place of `…`."""
    parts = [re.escape(" ".join(part.split())) for part in expected.split("…")]
    return re.fullmatch(".*?".join(parts), " ".join(text.split())) is not None


def promised_error(code, node, after):
    """The text of the comment `# SomeError: …` below a statement, or None."""
    lines = code.splitlines()[node.end_lineno : after]
    comment = [line.lstrip("# ") for line in lines if line.startswith("#")]
    return " ".join(comment) if comment and re.match(r"\w*(Error|Interrupt): ", comment[0]) else None


def run_python(block, path, namespace):
    """Run a block's statements one by one; check the errors that it promises."""
    tree = ast.parse(block.code)
    if block.is_shown_only:
        return
    ends = [node.lineno - 1 for node in tree.body[1:]] + [None]
    errors = [promised_error(block.code, node, end) for node, end in zip(tree.body, ends, strict=True)]
    for node, error in zip(tree.body, errors, strict=True):
        line = block.line + node.lineno - 1
        ast.increment_lineno(node, block.line - 1)  # so that a traceback has the lines of the page
        code = compile(ast.Module([node], []), path, "exec")
        if error is None:
            exec(code, namespace)  # noqa: S102
            continue
        with pytest.raises(BaseException) as raised:  # noqa: PT011
            exec(code, namespace)  # noqa: S102
        text = f"{raised.type.__name__}: {raised.value}"
        assert matches(error, text), f"{path}, line {line}: {text}"


def run_bash(block):
    """Run a block's commands, with the Python of the tests; returns what they print."""
    commands = []
    for line in block.code.replace("\\\n", " ").splitlines():
        words = [word for word in shlex.split(line, comments=True) if not re.match(r"\w+=", word)]
        if not words or "# not run" in line or "pip" in words:
            continue
        if words[0] not in ("xpconv", "python3") and not shutil.which(words[0], path=PATH):
            pytest.skip(f"{words[0]} is not installed")
        commands.append(line)
    script = "\n".join(
        [
            "set -e",
            f'python3() {{ {shlex.quote(sys.executable)} "$@"; }}',
            'xpconv() { python3 -m xpconv "$@"; }',
            *commands,
        ]
    )
    return process.run(
        ["bash", "-c", script], env=process.environment(PYTHONPATH=str(ROOT), PATH=PATH)
    ).stdout


def run_page(path, capsys, shell=True):
    """Run all blocks of a page, in the present folder; without `shell` only those of Python."""
    name, namespace = path.relative_to(ROOT).as_posix(), {"__name__": "__main__"}
    for block in blocks(path.read_text(encoding="utf-8")):
        if block.language == "python":
            run_python(block, name, namespace)
            printed = capsys.readouterr().out
        elif block.language == "bash" and shell:
            printed = run_bash(block)
        else:
            continue
        where = f"{name}, line {block.line}"
        if block.output is not None:
            assert matches(block.output, printed), f"{where}: {printed}"
        elif block.language == "python" and not block.is_shown_only:
            promised = re.findall(r"print\(.*?\)  # (.+)", block.code)
            assert printed.splitlines() == promised, where
