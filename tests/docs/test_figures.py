"""Each figure of the documentation is what its script draws, and the same at each run."""

import importlib.util
import re
import sys
from pathlib import Path

import pytest

plt = pytest.importorskip("matplotlib.pyplot", reason='pip install -e ".[examples]"')

import matplotlib as mpl

DOCS = Path(__file__).parents[2] / "docs"
FIGURES = DOCS / "figures"
SCRIPTS = sorted(path for path in FIGURES.glob("*.py") if path.stem != "figure")
NUMBER = re.compile(r"-?\d+\.?\d*(?:e-?\d+)?")


@pytest.fixture(autouse=True)
def agg(monkeypatch):
    """No window; and `from figure import …` finds the file beside the scripts."""
    monkeypatch.syspath_prepend(FIGURES)
    backend = mpl.get_backend()
    plt.switch_backend("agg")
    with mpl.rc_context():  # figure.py sets the look of all figures
        yield
    plt.close("all")
    plt.switch_backend(backend)
    sys.modules.pop("figure", None)


def drawn(script, path):
    """The figure that a script draws now."""
    spec = importlib.util.spec_from_file_location(script.stem, script)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.save(module.draw(), path)
    return path.read_text()


def parts(svg):
    """The text of an SVG without its numbers and names of elements, and the numbers."""
    svg = re.sub(r'(id="|#)[\w.-]+', r"\1", svg)
    return NUMBER.sub("0", svg), [float(number) for number in NUMBER.findall(svg)]


def words(svg):
    """The texts in a figure, which matplotlib writes as comments beside their outlines."""
    return re.findall(r"<!-- (.*?) -->", svg)


@pytest.mark.sample(6)
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_the_file_is_what_the_script_draws(script, tmp_path):
    svg, committed = drawn(script, tmp_path / "first.svg"), script.with_suffix(".svg").read_text()
    assert svg == drawn(script, tmp_path / "second.svg")
    assert "<dc:date>" not in svg
    fix = f"run python3 docs/figures/{script.name}"
    assert words(svg) == words(committed), fix
    if f"Matplotlib v{mpl.__version__}," in committed:  # another version may write the same in another form
        (form, numbers), (expected_form, expected) = parts(svg), parts(committed)
        assert form == expected_form, fix
        assert numbers == pytest.approx(expected, rel=1e-3, abs=0.02), fix


def test_every_figure_has_a_script_and_a_page():
    pages = "".join(path.read_text() for path in DOCS.rglob("*.md"))
    pictures = {path.stem for path in FIGURES.iterdir() if path.suffix in (".svg", ".png")}
    assert pictures == {path.stem for path in SCRIPTS}
    for name in pictures:
        assert f"figures/{name}.svg" in pages, f"no page shows docs/figures/{name}.svg"


@pytest.mark.parametrize("path", sorted(FIGURES.glob("*.svg")), ids=lambda path: path.stem)
def test_texts_and_lines_are_legible_in_dark_mode(path):
    """Every text states its colour, and the rules for dark mode cover all colours of texts and the background."""
    svg = path.read_text()
    dark = svg.partition("@media (prefers-color-scheme: dark)")[2].partition("</style>")[0]
    texts = re.findall(r"<!-- .*? -->\s*<g( style=\"fill: (#\w{6})\")?", svg)
    assert texts
    assert all(
        color == "#ffffff" or f"g[style*='fill: {color}']" in dark or color == "#78909c" for _, color in texts
    )
    strokes = set(re.findall(r"stroke: (#\w{6})", svg.replace(dark, "")))
    assert all(f"stroke: {color}'" in dark for color in strokes - {"#78909c"})  # the same grey in both
    assert "path[style*='fill: #ffffff'] { fill: #1e2129 !important }" in dark


def test_figures_are_small():
    for path in FIGURES.glob("*.svg"):
        assert path.stat().st_size < 120_000, path.name
