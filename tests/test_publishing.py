"""What a release needs: one version, a changelog in its format, and pages whose links, names and commands are true."""

import importlib.metadata
import io
import re
import sys
import tarfile
import zipfile
from pathlib import Path

import process
import pytest

import xpconv

ROOT = Path(__file__).parents[1]
PAGES = ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")
KINDS = ("Added", "Changed", "Deprecated", "Removed", "Fixed", "Security")


def text(name):
    return (ROOT / name).read_text(encoding="utf-8")


def test_the_version_stands_in_one_place():
    assert re.fullmatch(r"\d+\.\d+\.\d+((a|b|rc|\.dev)\d+)?", xpconv.__version__)
    assert 'dynamic.version.attr = "xpconv.__version__"' in text("pyproject.toml")
    assert not re.search(r"^version\b", text("pyproject.toml") + text("CITATION.cff"), re.MULTILINE)
    assert text("xpconv/__init__.py").count(f'"{xpconv.__version__}"') == 1


def test_a_script_beside_the_clone_imports_the_package():
    """Without this setting an editable installation is found only after the folder of the clone, as a namespace."""
    assert 'package-dir = { "" = "." }' in text("pyproject.toml")


def test_the_installed_version_is_that_of_the_package():
    try:
        installed = importlib.metadata.distribution("xpconv")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("xpconv is on the path, but not installed")
    assert installed.version == xpconv.__version__


def test_the_changelog_has_its_format():
    """Versions from the newest to the oldest with their dates, below what is unreleased; entries by kind."""
    titles = re.findall(r"^## (.+)$", text("CHANGELOG.md"), re.MULTILINE)
    assert titles[0] == "[Unreleased]"
    found = [re.fullmatch(r"\[(\d+)\.(\d+)\.(\d+)\] - \d{4}-\d\d-\d\d", title) for title in titles[1:]]
    assert all(found), titles
    versions = [tuple(map(int, match.groups())) for match in found]
    assert versions == sorted(set(versions), reverse=True)
    for part in re.split(r"^## .+$", text("CHANGELOG.md"), flags=re.MULTILINE)[1:]:
        kinds = re.findall(r"^### (.+)$", part, re.MULTILINE)
        assert kinds == [kind for kind in KINDS if kind in kinds]


def test_the_citation_has_the_keys_of_its_format():
    keys = re.findall(r"^([\w-]+):", text("CITATION.cff"), re.MULTILINE)
    assert {"cff-version", "message", "title", "authors"} <= set(keys)
    assert len(keys) == len(set(keys))
    assert "cff-version: 1.2.0\n" in text("CITATION.cff")
    assert "license: MIT\n" in text("CITATION.cff")
    assert text("LICENSE").startswith("MIT License\n")


@pytest.mark.parametrize("page", PAGES)
def test_links_of_the_pages_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)]+)\)", text(page)):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        assert (ROOT / path).exists(), target
        titles = re.findall(r"^#+ (.+)$", text(path), re.MULTILINE)
        anchors = [re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles]
        assert not anchor or anchor in anchors, target


@pytest.mark.parametrize("page", PAGES)
def test_files_and_names_on_the_pages_exist(page):
    found = set(re.findall(r"\b(?:ci|tests|benchmarks|docs|xpconv)/[\w/.-]+\.\w+|\.ci/run", text(page)))
    for name in found:
        assert (ROOT / name).exists(), name
    for name in re.findall(r"`xpconv\.([\w.]+)", text(page)):
        thing = xpconv
        for part in name.split("."):
            try:
                thing = getattr(thing, part)
            except ImportError as error:
                pytest.skip(f"xpconv.{name}: {error}")


def test_scripts_of_ci_are_on_the_page_and_well_formed():
    scripts = sorted((ROOT / "ci").glob("*.sh"))
    for script in scripts:
        assert f"ci/{script.name}" in text("CONTRIBUTING.md"), f"CONTRIBUTING.md lacks {script.name}"
        process.run(["bash", "-n", script])


def test_the_oldest_versions_are_those_that_are_allowed():
    """ci/oldest.txt has the lower bound of each project in the extras, but for those of a GPU and of tools."""
    extras = dict(re.findall(r"^(\w+) = (\[.*\])", text("pyproject.toml"), re.MULTILINE))
    tested = ("dependencies", "train", "examples", "safetensors", "onnx", "sklearn", "mpi", "test")
    bounds = dict(re.findall(r'"([\w-]+)>=([\d.]+)', "".join(extras[name] for name in tested)))
    pins = dict(re.findall(r"^([\w-]+)==([\d.]+)", text("ci/oldest.txt"), re.MULTILINE))
    assert len(bounds) > 10
    for name, bound in bounds.items():
        assert re.fullmatch(rf"{re.escape(bound)}(\.0)*", pins[name]), f"{name}: {bound} and {pins.get(name)}"


def test_nobody_is_told_to_install_xpconv_from_pypi():
    """xpconv is not on PyPI: errors name the missing package, and pages install from the clone."""
    for folder, suffix in (("xpconv", "py"), ("examples", "py"), ("benchmarks", "py"), ("docs", "md")):
        for path in (ROOT / folder).rglob(f"*.{suffix}"):
            assert not re.search(r"pip install[^`\n]*[ \"']xpconv\b", path.read_text(encoding="utf-8")), path


def test_the_smoke_test_of_wheels_does_what_it_says(monkeypatch, tmp_path):
    """All of ci/smoke.py but what asks where the package is installed."""
    monkeypatch.syspath_prepend(ROOT / "ci")
    import smoke

    smoke.rooms_come()
    smoke.trains_saves_and_loads(tmp_path)
    smoke.functions_compute()
    (tmp_path / "README.md").write_text("```python\nprint(1)  # 2\n# optimizer.step()\n```\n")
    with pytest.raises(AssertionError):
        smoke.readme_runs(tmp_path / "README.md")
    monkeypatch.delitem(sys.modules, "smoke")


PARTS = ("xpconv/__init__.py", "xpconv/layers/conv.py", "xpconv-1.0.0.dist-info/licenses/LICENSE")


@pytest.mark.parametrize(
    ("parts", "most_kb", "problem"),
    [
        (PARTS, 10, None),
        (PARTS, 0, "KB, expected at most 0"),
        (PARTS[:2], 10, "the licence is missing"),
        (PARTS[1:], 10, "not in the wheel: .'xpconv/__init__.py'"),
        ((*PARTS, "xpconv/old.py"), 10, "only there: .'xpconv/old.py'"),
        ((*PARTS, "tests/test_a.py"), 10, "'tests/test_a.py'"),
    ],
)
def test_what_is_wrong_with_a_wheel_is_found(parts, most_kb, problem, monkeypatch, tmp_path, capsys):
    monkeypatch.syspath_prepend(ROOT / "ci")
    import distributions

    monkeypatch.setattr(distributions, "files", lambda: [*PARTS[:2], "README.md", ".ci/run"])
    path = tmp_path / "xpconv-1.0.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for name in parts:
            wheel.writestr(name, "")
    if problem is None:
        distributions.check_wheel(path, most_kb)
        assert "other files 0, layers 0" in capsys.readouterr().out
    else:
        with pytest.raises(AssertionError, match=problem):
            distributions.check_wheel(path, most_kb)


@pytest.mark.parametrize("missing", [(), ("README.md",)])
def test_what_a_source_distribution_lacks_is_found(missing, monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(ROOT / "ci")
    import distributions

    names = ["README.md", "tests/test_a.py"]
    monkeypatch.setattr(distributions, "files", lambda: [*names, ".ci/run"])
    path = tmp_path / "xpconv-1.0.0.tar.gz"
    with tarfile.open(path, "w:gz") as sdist:
        for name in {*names} - {*missing}:
            sdist.addfile(tarfile.TarInfo(f"xpconv-1.0.0/{name}"), io.BytesIO())
    if not missing:
        distributions.check_sdist(path)
    else:
        with pytest.raises(AssertionError, match=r"not in the sdist: \['README.md'\]"):
            distributions.check_sdist(path)
