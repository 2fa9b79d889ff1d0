"""The site builds without a warning, and each of its pages is read in a browser, as on a phone and on a desk."""

import base64
import contextlib
import functools
import io
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import process
import pytest

for library in ("mkdocs", "material", "mkdocstrings", "latex2mathml", "sklearn", "websocket", "PIL"):
    pytest.importorskip(library, reason='pip install -e ".[docs]"')

from chromium import browser, chromium
from PIL import Image

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
IN_A_BROWSER = pytest.mark.skipif(browser() is None, reason="there is no chromium: apt-get install chromium")
LOOK = """new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => {
  const content = document.querySelector(".md-content").cloneNode(true), page = document.documentElement;
  content.querySelectorAll("pre, code, math").forEach(node => node.remove());
  done({
    title: document.title,
    wide: page.scrollWidth - page.clientWidth,  // innerWidth grows with what is too wide on a phone
    broken: [...document.images].filter(image => image.complete && !image.naturalWidth).map(image => image.src),
    unread: content.textContent.match(/\\\\[a-z]+[{(]|[$][$]|<[/]?autoref|:::|\\]\\[/g),
  });
})))"""
LINKS = """({
  links: [...document.querySelectorAll("a[href]")].map(a => a.href),
  ids: [...document.querySelectorAll("[id], a[name]")].map(node => node.id || node.name),
})"""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    process.run(["bash", "ci/docs.sh", folder], cwd=ROOT)
    return folder


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def address(site):
    """Of a server on this machine that has the site."""
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=site)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    with chromium(tmp_path_factory.mktemp("profile")) as page:
        yield page


def pages(site):
    return sorted(path.relative_to(site).as_posix() for path in site.rglob("*.html"))


def test_the_site_builds_without_warnings(site):
    found = pages(site)
    assert len(found) > 70
    assert {"index.html", "learn/index.html", "api/optimizers.html", "architecture.html"} <= set(found)
    assert not list(site.rglob("*.py"))


@IN_A_BROWSER
def test_every_page_in_a_browser(site, address, page):
    """No error in the console, no request elsewhere, no scrolling sideways, and links that lead somewhere."""
    wrong, links, ids = [], {}, {}
    found = pages(site)
    # Of those that are made by one template, one page in a few.
    reference = [name for name in found if name.startswith("api/")]
    files = [name for name in found if name.startswith("files/")]
    chosen = sorted({*found} - {*reference} - {*files} | {*reference[::5]} | {*files[::4]})
    for i, name in enumerate(chosen):
        page.size(390)
        page.open(address + name)
        wrong += [(name, 390, fault) for fault in faults(page)]
        if i % 3 == 0:  # what is too wide for a desk is too wide for a phone
            page.size(1280)
            wrong += [(name, 1280, fault) for fault in faults(page)]
        wrong += [(name, error) for error in page.errors()]
        wrong += [(name, url) for url in page.requests() if not url.startswith((address, "data:", "blob:"))]
        parts = page.run(LINKS)
        links[name], ids[name] = parts["links"], {*parts["ids"], ""}
    for name, targets in links.items():
        for target in targets:
            if target.startswith(address):
                path, _, anchor = target.removeprefix(address).partition("#")
                there = (site / (path or "index.html")).is_file()
                if not there or anchor not in ids.get(path or "index.html", {anchor}):
                    wrong.append((name, target.removeprefix(address)))
            elif not target.startswith(("http", "mailto:")):
                wrong.append((name, target))
    assert not wrong


def faults(page):
    """What a reader would see on the page, when its parts have come to rest."""
    with contextlib.suppress(TimeoutError):
        page.until("document.documentElement.scrollWidth <= document.documentElement.clientWidth", seconds=60)
    seen = page.run(LOOK)
    if seen["wide"] > 0:
        yield f"{seen['wide']} pixels too wide"
    if not seen["title"]:
        yield "no title"
    yield from seen["broken"]
    yield from seen["unread"] or ()


@IN_A_BROWSER
def test_search_and_dark_mode(address, page):
    page.size(1280)
    page.open(address + "index.html")
    page.run("document.querySelector('[data-md-component=search-query]').focus()")
    page.run(
        "{const box = document.querySelector('[data-md-component=search-query]'); box.value = 'GroupNorm';"
        "box.dispatchEvent(new Event('input', {bubbles: true})); box.dispatchEvent(new Event('keyup', {bubbles: true}))}"
    )
    page.until("document.querySelectorAll('.md-search-result__item').length > 0")
    first = page.run("document.querySelector('.md-search-result__item a[href*=\"#\"]').href")
    assert "api/layers/normalization.html" in first
    assert page.run("document.body.dataset.mdColorScheme") == "default"
    page.run("document.querySelector('label[for=__palette_1]').click()")
    page.until("document.body.dataset.mdColorScheme == 'slate'")


@IN_A_BROWSER
def test_figures_have_the_background_of_the_page(address, page):
    """Also if the reader has turned on dark mode on a system in light mode."""
    page.size(1280)
    page.open(address + "learn/convolution.html")
    for palette, scheme in enumerate(("default", "slate")):
        if scheme != page.run("document.body.dataset.mdColorScheme"):
            page.run(f"document.querySelector('label[for=__palette_{palette}]').click()")
        page.until(f"document.body.dataset.mdColorScheme == '{scheme}'")
        x, y, ground = page.run(
            """(() => {
              const corner = document.querySelector("img[src$='im2col.svg']").getBoundingClientRect();
              const colors = getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number);
              return [corner.x + scrollX, corner.y + scrollY, colors];
            })()"""
        )
        clip = {"x": x + 3, "y": y + 3, "width": 1, "height": 1, "scale": 1}
        shot = page.call("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
        picture = Image.open(io.BytesIO(base64.b64decode(shot["data"]))).convert("RGB")
        assert (
            list(picture.getpixel((0, 0))) == ground == {"default": [255] * 3, "slate": [30, 33, 41]}[scheme]
        )


def test_the_build_fails_at_a_broken_link(tmp_path):
    """The check itself: a page with a link that leads nowhere."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.md").write_text("# A page\n\n[nowhere](#nowhere) and [gone](gone.md)\n")
    settings = "site_name: x\nstrict: true\nvalidation: {links: {anchors: warn, not_found: warn}}\n"
    (tmp_path / "mkdocs.yml").write_text(settings)
    env = process.environment(NO_MKDOCS_2_WARNING="1")
    run = process.run(["python3", "-m", "mkdocs", "build"], cwd=tmp_path, env=env, check=False)
    assert run.returncode != 0
    assert "gone.md" in run.stderr
    assert "#nowhere" in run.stderr
