"""The study's page: what it says, what it does not claim, that text stays text; in a browser, that it asks for nothing."""

from __future__ import annotations

import json
import math
import random
import re
import time
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from browser import chromium
from conftest import autokd
from synthetic import Story, study

from autokd import ledger, report, verdict
from autokd.ledger import Trial

# What a user may write: quotes, markup for HTML and for plotly, script ends, entities, directions, half a pair, 300 characters.
WORD = """"'`><b id=evil>bold</b><script>window.evil=1</script></script><img src=x onerror="window.evil=1">&lt;i&amp;<a href="javascript:evil()">%{x}${1}"""
HOSTILE = (WORD + " \u202eüñ汉😀\ud83d\x07 " + "x" * 300)[:300]
DRAWN = "Array.from(document.querySelectorAll('figure[data-chart]')).filter(f => !f.closest('details')).every(f => f.dataset.chart === 'drawn')"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return study(tmp_path_factory.mktemp("runs") / "studies" / "demo", 48, title="Which temperature policy, and how warm?")


class Outline(HTMLParser):
    """Tags with their attributes, the text of each kind of element, and what script elements hold."""

    def __init__(self, page: str):
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.stack: list[str] = []
        self.text: dict[str, list[str]] = {}
        self.scripts: list[tuple[str, str]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in {"meta", "link", "br", "img"}:
            self.stack.append(tag)
        if tag in {"h1", "td", "li"}:
            self.text.setdefault(tag, []).append("")
        if tag == "script":
            self.scripts.append((dict(attrs).get("type") or "", ""))

    def handle_endtag(self, tag: str) -> None:
        while self.stack and self.stack.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if self.stack and self.stack[-1] == "script":
            self.scripts[-1] = (self.scripts[-1][0], self.scripts[-1][1] + data)
        for tag in {"h1", "td", "li"} & set(self.stack):
            self.text[tag][-1] += data

    @property
    def charts(self) -> list[dict[str, Any]]:
        return [json.loads(text) for kind, text in self.scripts if kind == "application/json"]


def test_the_first_line_is_the_answer(finished: Path) -> None:
    page = report.page(finished)
    _, table = ledger.read(finished)
    best = verdict.overall(verdict.results(table, "val/accuracy", 1), 1)
    assert best is not None
    outline = Outline(page.html)
    assert '<p class="study">Which temperature policy, and how warm? · data: digits</p>' in page.html
    first = outline.text["h1"][0]
    assert first.startswith(verdict.sentence(best, "val/accuracy")) and "[" in first
    assert f"trial {best.trial}" in first and "taught by" in first and "kl weight" in first
    assert " ".join(first.split()) == " ".join(page.answer.split())
    notes = " ".join(outline.text["li"])
    assert "Against reference KD" in notes and "On test, against student alone" in notes and verdict.LEFT_OUT in notes
    cells = outline.text["td"]
    for result in verdict.winners(verdict.results(table, "val/accuracy", 1)):
        assert any(f"trial {result.trial}" in c for c in cells)
        for d in [*result.differences, *result.test_differences]:
            assert any(verdict.figure(d, "val/accuracy") in c for c in cells), d
    assert len(outline.charts) >= 7
    assert "without any distillation (student alone)" in page.html and "nll: the surprise at the right answer" in page.html
    assert "<summary>Seed by seed, for student resolution " in page.html and "Before the dot: student resolution." in page.html
    assert "Broken off: 4 oom (4 × the loss was not finite in epoch 3)." in page.html
    assert "autokd reproduce recipe.yaml" in page.html and "Prove it:" in page.html


def test_it_is_one_file_that_names_no_address(finished: Path) -> None:
    page = report.page(finished).html
    outline = Outline(page)
    for tag, attributes in outline.tags:
        for name in ("src", "href", "action", "data", "poster", "srcset"):
            assert (attributes.get(name) or "data:").startswith("data:"), (tag, attributes)
    policy = next(a["content"] for t, a in outline.tags if t == "meta" and a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None and "default-src 'none'" in policy and "unsafe-eval" not in policy
    assert "'unsafe-inline'" not in policy.split("script-src")[1].split(";")[0]
    assert len(page) < 15e6


def test_what_users_wrote_stays_text(tmp_path: Path) -> None:
    folder = study(tmp_path / "studies" / "h", 24, word=HOSTILE, finals=2)
    page = report.page(folder).html
    page.encode("utf-8")  # half a surrogate pair does not get through
    outline = Outline(page)
    assert not [a for t, a in outline.tags for name in a if name.startswith("on") or (a[name] or "").startswith("javascript:")]
    assert not [t for t, a in outline.tags if t in {"img", "iframe", "object"} or a.get("id") == "evil"]
    runs = [kind for kind, _ in outline.scripts if kind != "application/json"]
    assert runs == ["", ""]  # plotly and ours
    assert any(WORD[:60] in text for text in outline.text["td"])
    hostile = [text for c in outline.charts for text in _strings(c) if "bold" in text]
    assert hostile
    for text in hostile:  # plotly would make markup of these
        assert "<b id" not in text and "<a " not in text and "<img" not in text


def _strings(value: Any, key: str = "") -> list[str]:
    if isinstance(value, dict):
        return [s for k, v in value.items() for s in _strings(v, k)]
    if isinstance(value, list):
        return [s for v in value for s in _strings(v, key)]
    assert key not in {"hovertemplate", "texttemplate"}, "a template would fill in what users wrote"
    return [value] if isinstance(value, str) else []


def test_a_study_that_is_not_over(tmp_path: Path) -> None:
    story = Story(tmp_path / "studies" / "s", epochs=9)
    assert "no trial has reported" in report.page(story.book.path).answer
    story.search(4)
    page = report.page(story.book.path)
    assert "of 40 trials: " in page.html and "paused or stopped early" not in page.html
    assert page.answer.startswith("No answer yet") and "Best of 4 trials" in page.answer and "autokd search --resume s" in page.html
    story.confirm()
    page = report.page(story.book.path)
    assert "of 40 trials: " not in page.html and "The study is not finished" in page.html and "Test data was not read" in page.html
    story.book.close()


def test_a_paused_trial_may_go_on(tmp_path: Path) -> None:
    story = Story(tmp_path / "studies" / "s", finals=2)
    story.search(6)
    assert '"paused or stopped early (' in report.page(story.book.path).html
    story.confirm()
    assert '"stopped early (' in report.page(story.book.path).html
    story.book.close()


def test_no_trial_succeeded(tmp_path: Path) -> None:
    story = Story(tmp_path / "studies" / "s")
    point = story.space.point(story._choose)
    story.add("suggested", trial=0, role="trial", recipe=point.data, params=point.params, varied=point.varied, branch=point.branch)
    story.add("started", trial=0, attempt=1, epoch=0)
    story.add("diverged", trial=0, attempt=1, reason="the loss was not finite")
    story.add("searched", groups=[], finals=[], stopped="")
    story.add("closed", recipe=None, recipe_text="", results=[])
    assert report.page(story.book.path).answer == "No answer: no trial succeeded. 1 × the loss was not finite"
    story.book.close()


def test_one_seed_has_neither_spread_nor_interval(tmp_path: Path) -> None:
    page = report.page(study(tmp_path / "studies" / "s", 24, finals=1, per=False)).html.split("<h2>Recipe</h2>")[0]
    outline = Outline(page)
    assert "One seed cannot tell a difference from chance." in outline.text["li"] and "95 % interval" not in page
    assert not [c for c in outline.text["td"] if "±" in c or "1 seeds" in c] and "val/accuracy, one fresh seed" in page
    forest = next(c for c in outline.charts if "error_x" in c["data"][0])
    assert forest["layout"]["xaxis"]["rangemode"] == "tozero"  # else there is no line to be right of


def test_rank_correlation_counts_only_what_ran_on_whatever_its_rank(tmp_path: Path) -> None:
    story = Story(tmp_path / "studies" / "s", epochs=18, finals=0)
    story.search(20)
    view = report.View("s", story.book.events, story.book.table)
    assert "not known" in report.rank_correlation(view)  # 5 of them are exempt
    for t in story.book.table.trials.values():
        t.exempt = t.state == "complete"
    for number in range(100, 108):
        metrics = {e: {"val/accuracy": number / 1000 + e / 100} for e in range(1, 19)}
        story.book.table.trials[number] = Trial(number, "trial", story.book.table.trials[0].recipe, exempt=True, state="complete", metrics=metrics, group=9)
    for t in list(story.book.table.trials.values()):
        t.exempt = t.number >= 100
    view = report.View("s", story.book.events, story.book.table)
    assert "<td>+1.00</td><td>8</td>" in report.rank_correlation(view)
    story.book.close()


def test_importance_finds_what_matters_and_says_when_nothing_is_known(finished: Path) -> None:
    view = report.View("demo", *ledger.read(finished))
    own, draw = list(view.searched[:40]), random.Random(0)
    for t in own:
        t.params, t.state = {"a": draw.random(), "b": draw.random(), "c": draw.choice(["x", "y"])}, "complete"
        t.metrics = {1: {"val/accuracy": 0.5 + 0.4 * t.params["a"] + 0.02 * t.params["b"]}}
    found, why = report.importance(view, own, 1)
    assert found is not None and found[0][0] == "a" and found[0][1] > 0.8 and math.isclose(sum(s for _, s in found), 1.0)
    assert "40 trials after 1 epochs" in why
    for t in own:
        t.metrics = {1: {"val/accuracy": draw.random()}}
    found, why = report.importance(view, own, 1)
    assert found is None and "chance" in why
    view = report.View("demo", *ledger.read(finished))
    view.searched = view.searched[:10]
    assert re.search(rf"not known: \d trials, fewer than {report.LEAST}", report.importances(view))


def test_parallel_coordinates_have_a_lane_for_what_a_branch_lacks(finished: Path) -> None:
    view = report.View("demo", *ledger.read(finished))
    spec = json.loads(re.findall(r'<script type="application/json">(.*?)</script>', report.parallel(view))[0])
    names = [text.replace("<br>", " ") for text in spec["layout"]["xaxis"]["ticktext"]]
    beta = names.index("temperature beta")
    below = sum(1 for t in spec["data"] for x, y in zip(t["x"], t["y"], strict=True) if x == beta and y < -0.05)
    shown = [t for t in view.ranked if view.value(t, 9) is not None]
    assert below == sum(1 for t in shown if "distill/temperature/beta" not in t.varied) > 0
    for t in view.searched:  # too many for one chart: what all have, and a chart for each branch
        t.varied |= {f"distill/losses/{k}/weight": (t.number * (i + 3)) % 7 for i, k in enumerate("abcdefg")} if "flsw" in t.branch else {}
    assert report.parallel(view).count("<details>") == 3 == report.parallel(view).count("<figure") - 1
    assert all(-0.05 <= y <= 1.0 for t in spec["data"] for x, y in zip(t["x"], t["y"], strict=True) if x == names.index("kl weight"))


@pytest.mark.parametrize("value", [3.0, "x"])
def test_what_only_trials_that_are_not_drawn_have_gets_no_axis(finished: Path, monkeypatch: pytest.MonkeyPatch, value: Any) -> None:
    monkeypatch.setattr("autokd.report.coordinates.LINES", 9)
    view = report.View("demo", *ledger.read(finished))
    trials = sorted((t for t in view.ranked if view.value(t, 9) is not None), key=lambda t: -(view.value(t, 9) or 0))
    drawn = {t.number for t in report.thin(trials, 9)}
    next(t for t in trials if t.number not in drawn).varied["rare"] = value
    text = report.parallel(view)
    assert "the best 3, and 6 of the others" in text and "weight" in text and "rare" not in text


def test_time_is_split_as_the_ledger_tells_it(tmp_path: Path) -> None:
    story = Story(tmp_path / "studies" / "s", epochs=4, finals=0)
    recipe = story.space.point(story._choose).data
    story.add("suggested", trial=0, role="trial", recipe=recipe)
    story.add("started", 0.0, trial=0, attempt=1, epoch=0)
    for epoch, seconds in ((1, 11.0), (2, 1.0), (3, 1.0)):  # ten seconds before the first epoch; then a crash, and the third again
        story.add("epoch", seconds, trial=0, attempt=1, epoch=epoch, metrics={"val/accuracy": 0.5})
    story.add("started", 5.0, trial=0, attempt=2, epoch=2)
    for epoch in (3, 4):
        story.add("epoch", 1.0, trial=0, attempt=2, epoch=epoch, metrics={"val/accuracy": 0.5})
    story.add("finished", 0.0, trial=0, attempt=2, facts={})
    s = report.spent(report.View("s", story.book.events, story.book.table))
    assert "finals:" not in report.page(story.book.path).html
    assert math.isclose(s.epochs["search"], 4.0) and math.isclose(s.again, 1.0) and math.isclose(s.ahead, 10.0)
    story.book.close()


def test_time_of_the_finals_is_that_of_all_groups(finished: Path) -> None:
    cells = Outline(report.page(finished).html).text["td"]
    view = report.View("demo", *ledger.read(finished))
    assert view.best is not None and len(view.results) > 1  # so not the winner's alone
    assert [c.strip() for c in cells if "finals:" in c] == ["finals: all finalists", "finals: reference KD", "finals: student alone"]


def test_bins_of_several_runs_are_pooled_by_their_counts() -> None:
    one = {"confidence": [0.2, 0.9], "accuracy": [0.0, 1.0], "count": [10, 30]}
    two = {"confidence": [0.4, 0.9], "accuracy": [1.0, 0.5], "count": [30, 0]}
    assert report.pooled([one, two]) == [(pytest.approx(0.35), pytest.approx(0.75), 40.0), (0.9, 1.0, 30.0)]


def test_thin_keeps_the_best_and_spreads_the_rest() -> None:
    kept = report.thin(list(range(1000)), 30)
    assert kept[:10] == list(range(10)) and len(kept) == 30 == len(set(kept)) and kept[-1] > 900


def test_the_command(finished: Path, tmp_path: Path) -> None:
    root = str(finished.parents[1])
    done = autokd("report", "demo", "--out", "page.html", cwd=tmp_path, AUTOKD_RUNS=root)
    assert done.stdout.strip() == "page.html" and (tmp_path / "page.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert "did you mean 'demo'" in autokd("report", "dmo", cwd=tmp_path, code=2, AUTOKD_RUNS=root).stderr
    assert "cannot be written" in autokd("report", "demo", "--out", "/proc/no/page.html", cwd=tmp_path, code=2, AUTOKD_RUNS=root).stderr


@pytest.mark.browser
def test_in_a_browser(finished: Path, tmp_path: Path) -> None:
    """No complaint, no request, every chart drawn, nothing wider than a phone; and a picture that is small."""
    file = report.write(finished, tmp_path / "page.html")
    with chromium() as page:
        for width, phone in ((1280, False), (390, True)):
            page.open(file.as_uri(), width=width, phone=phone)
            page.wait(DRAWN)
            page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
            page.wait("document.querySelectorAll('figure').length === document.querySelectorAll('figure[data-chart=\"drawn\"]').length")
            marks = "svg.main-svg .trace path, svg.main-svg .trace .point"
            empty = f"Array.from(document.querySelectorAll('figure')).filter(f => !f.querySelector('{marks}')).length"
            assert page.evaluate("document.querySelectorAll('figure').length") >= 7 and page.evaluate(empty) == 0
            assert page.requests == [file.as_uri()] and page.complaints == []
            assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.pdf(tmp_path / "page.pdf").stat().st_size > 50_000
        page.open(file.as_uri(), width=1120)
        page.wait(DRAWN)
        smaller(page.screenshot(tmp_path / "report.png", height=1180))


@pytest.mark.browser
def test_hostile_text_in_a_browser(tmp_path: Path) -> None:
    file = report.write(study(tmp_path / "studies" / "h", 24, word=HOSTILE, finals=2), tmp_path / "page.html")
    with chromium() as page:
        page.open(file.as_uri(), width=390, phone=True)
        page.wait(DRAWN)
        assert page.evaluate("window.evil === undefined && document.getElementById('evil') === null")
        assert page.requests == [file.as_uri()] and page.complaints == []
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        assert page.evaluate("document.querySelectorAll('svg a, svg b').length") == 0
        ticks = page.evaluate("Array.from(document.querySelectorAll('svg text')).map(t => t.textContent).filter(t => t.includes('><b'))")
        assert ticks, "the text stands in a chart as it was written"


@pytest.mark.browser
def test_a_long_study_opens_fast(tmp_path: Path) -> None:
    """2,000 trials of 30 epochs: the one place where a time is a promise of the page's."""
    file = report.write(study(tmp_path / "studies" / "long", 2000, epochs=30, prune=False), tmp_path / "page.html")
    assert file.stat().st_size < 15e6
    with chromium() as page:
        began = time.monotonic()
        page.open(file.as_uri())
        page.wait(DRAWN)
        assert time.monotonic() - began < 5 and page.complaints == [] and page.requests == [file.as_uri()]


def smaller(file: Path) -> None:
    """256 colours do for a screenshot; at most 300 kB go into the repository."""
    from PIL import Image

    with Image.open(file) as picture:
        picture.convert("RGB").quantize(256).save(file, optimize=True)
    assert file.stat().st_size < 300_000
