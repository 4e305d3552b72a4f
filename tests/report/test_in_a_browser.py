"""The page in a browser asks for nothing and shows text as text."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path

import pytest
from pypdf import PdfReader

from autokd import report
from tests.helpers.browser import chromium
from tests.helpers.hostile import HOSTILE
from tests.helpers.synthetic import study
from tests.helpers.told import told

DRAWN = (
    "Array.from(document.querySelectorAll('figure[data-chart]')).filter(f => f.offsetParent)"
    ".every(f => f.dataset.chart === 'drawn')"
)
EVERY = (
    "document.querySelectorAll('details').forEach(d => d.open = true);"
    "document.querySelectorAll('select').forEach(s => Array.from(s.options).forEach((o, i) => {"
    " s.selectedIndex = i; s.dispatchEvent(new Event('change')) }))"
)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page that has every section."""
    folder = study(tmp_path_factory.mktemp("runs") / "studies" / "demo", 48)
    return report.write(told(folder), folder / "page.html")


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """axe-core's script, from npm."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not installed")
    folder = tmp_path_factory.mktemp("axe")
    command = [npm, "install", "--silent", "--no-audit", "--no-fund", "axe-core@4"]
    subprocess.run(command, cwd=folder, check=True, timeout=300)
    return (folder / "node_modules/axe-core/axe.min.js").read_text(encoding="utf-8")


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1400, 390])
def test_in_a_browser(file: Path, axe: str, width: int, scheme: str) -> None:
    """No complaint, no request, every chart drawn and full, nothing wider than the screen, and
    nothing serious for axe.
    """
    with chromium() as page:
        media = [{"name": "prefers-color-scheme", "value": scheme}]
        page.call("Emulation.setEmulatedMedia", features=media)
        page.open(file.as_uri(), width=width, phone=width < 500)
        page.wait(DRAWN)
        page.evaluate(EVERY)
        page.wait("document.querySelectorAll('figure[data-chart=\"\"]').length === 0")
        page.wait(DRAWN)
        marks = (
            "svg.main-svg .trace path, svg.main-svg .trace .point, svg.main-svg .heatmaplayer image"
        )
        empty = (
            "Array.from(document.querySelectorAll('figure')).filter(f =>"
            f" !f.querySelector('{marks}')).length"
        )
        assert page.evaluate("document.querySelectorAll('figure').length") >= 9
        assert page.evaluate(empty) == 0
        asked = [url for url in page.requests if not url.startswith("data:")]
        assert asked == [file.as_uri()] and page.complaints == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert background == {"light": "rgb(255, 255, 255)", "dark": "rgb(22, 25, 29)"}[scheme]
        page.evaluate(axe)
        told = page.evaluate(
            "axe.run().then(r => r.violations.filter(v => ['serious', 'critical']"
            ".includes(v.impact)).map(v => v.id + ': ' + v.nodes.slice(0, 3)"
            ".map(n => n.html.slice(0, 160)).join(' | ')))"
        )
        assert told == []


@pytest.mark.browser
def test_tables_are_sorted_by_their_heads_and_costs_are_chosen(file: Path) -> None:
    with chromium() as page:
        page.open(file.as_uri())
        page.wait(DRAWN)
        column = (
            "Array.from(document.querySelector('#class-by-class table').tBodies[0].rows)"
            ".map(r => r.cells[1].textContent)"
        )
        click = "document.querySelectorAll('#class-by-class th button')[1].click()"
        page.evaluate(click)
        assert page.evaluate(column) == ["7", "5", "4"]
        page.evaluate(click)
        assert page.evaluate(column) == ["4", "5", "7"]
        shown = "Array.from(document.querySelectorAll('.one-of figure')).map(f => !!f.offsetParent)"
        page.evaluate(
            "var s = document.querySelector('.one-of select'); s.selectedIndex = 1;"
            "s.dispatchEvent(new Event('change'))"
        )
        assert page.evaluate(shown)[:2] == [False, True]


FOLLOWS = """Array.from(document.querySelectorAll('h2'), h => {
    const first = e => {
        const figure = e.matches('figure') ? e : e.querySelector('figure');
        const words = e.querySelector('th, .gallery b')
            || (figure && figure.querySelector('figcaption'));
        return (words || e).textContent.trim().slice(0, 40) };
    const next = h.nextElementSibling, then = next.nextElementSibling;
    const words = next.matches('.note') && then ? [next, then] : [next];
    return [h.textContent, ...words.map(first)] })"""


@pytest.mark.browser
def test_no_chart_is_printed_apart_from_its_title(file: Path, tmp_path: Path) -> None:
    """On paper each heading stands on one page with its words and the table or chart after them."""
    with chromium() as page:
        page.open(file.as_uri(), width=1120)
        page.wait(DRAWN)
        page.evaluate("document.querySelectorAll('details').forEach(d => d.remove())")
        sections = page.evaluate(FOLLOWS)
        page.pdf(tmp_path / "page.pdf")
    pages = ["".join(p.extract_text().split()) for p in PdfReader(tmp_path / "page.pdf").pages]
    assert len(pages) > 3 and len(sections) > 9
    for words in sections:
        assert any(all("".join(own.split()) in text for own in words) for text in pages), words


@pytest.mark.browser
def test_hostile_text_in_a_browser(tmp_path: Path) -> None:
    file = report.write(
        study(tmp_path / "studies" / "h", 24, word=HOSTILE, finals=2), tmp_path / "page.html"
    )
    with chromium() as page:
        page.open(file.as_uri(), width=390, phone=True)
        page.wait(DRAWN)
        assert page.evaluate(
            "window.evil === undefined && document.getElementById('evil') === null"
        )
        assert page.requests == [file.as_uri()] and page.complaints == []
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        assert page.evaluate("document.querySelectorAll('svg a, svg b').length") == 0
        ticks = page.evaluate(
            "Array.from(document.querySelectorAll('svg text')).map(t => t.textContent).filter(t =>"
            " t.includes('><b'))"
        )
        assert ticks, "the text stands in a chart as it was written"


@pytest.mark.browser
def test_a_long_study_opens_fast(tmp_path: Path) -> None:
    """2,000 trials of 30 epochs: the one place where a time is a promise of the page's."""
    file = report.write(
        study(tmp_path / "studies" / "long", 2000, epochs=30, prune=False), tmp_path / "page.html"
    )
    assert file.stat().st_size < 8e6
    with chromium() as page:
        began = time.monotonic()
        page.open(file.as_uri())
        page.wait(DRAWN)
        assert time.monotonic() - began < 5
        assert page.complaints == []
        assert page.requests == [file.as_uri()]
