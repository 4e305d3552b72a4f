"""The page in a browser asks for nothing and shows text as text."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from autokd import report
from tests.helpers.browser import chromium, smaller
from tests.helpers.hostile import HOSTILE
from tests.helpers.synthetic import study

DRAWN = (
    "Array.from(document.querySelectorAll('figure[data-chart]')).filter(f =>"
    " !f.closest('details')).every(f => f.dataset.chart === 'drawn')"
)


@pytest.mark.browser
def test_in_a_browser(finished: Path, tmp_path: Path) -> None:
    """No complaint, no request, every chart drawn, nothing wider than a phone; and a picture that
    is small.
    """
    file = report.write(finished, tmp_path / "page.html")
    with chromium() as page:
        for width, phone in ((1280, False), (390, True)):
            page.open(file.as_uri(), width=width, phone=phone)
            page.wait(DRAWN)
            page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
            page.wait(
                "document.querySelectorAll('figure').length ==="
                " document.querySelectorAll('figure[data-chart=\"drawn\"]').length"
            )
            marks = "svg.main-svg .trace path, svg.main-svg .trace .point"
            empty = (
                "Array.from(document.querySelectorAll('figure')).filter(f =>"
                f" !f.querySelector('{marks}')).length"
            )
            assert page.evaluate("document.querySelectorAll('figure').length") >= 7
            assert page.evaluate(empty) == 0
            assert page.requests == [file.as_uri()] and page.complaints == []
            assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.pdf(tmp_path / "page.pdf").stat().st_size > 50_000
        page.open(file.as_uri(), width=1120)
        page.wait(DRAWN)
        smaller(page.screenshot(tmp_path / "report.png", height=1180))


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
    assert file.stat().st_size < 15e6
    with chromium() as page:
        began = time.monotonic()
        page.open(file.as_uri())
        page.wait(DRAWN)
        assert time.monotonic() - began < 5
        assert page.complaints == []
        assert page.requests == [file.as_uri()]
