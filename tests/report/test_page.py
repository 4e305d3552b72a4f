"""The study's page: what it says, what it does not claim, that text stays text; in a browser, that
it asks for nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from autokd import report
from autokd.report import learning
from autokd.study import ledger, verdict, words
from tests.helpers.hostile import HOSTILE, WORD
from tests.helpers.synthetic import Story, study
from tests.report.outline import Outline, _strings


def test_the_first_line_is_the_answer(finished: Path) -> None:
    page = report.page(finished)
    _, table = ledger.read(finished)
    best = verdict.overall(verdict.results(table, "val/accuracy", 1), 1)
    assert best is not None
    outline = Outline(page.html)
    assert (
        '<p class="study">Which temperature policy, and how warm? · data: digits</p>' in page.html
    )
    first = outline.text["h1"][0]
    assert first.startswith(words.sentence(best, "val/accuracy")) and "[" in first
    assert f"trial {best.trial}" in first and "taught by" in first and "kl weight" in first
    assert " ".join(first.split()) == " ".join(page.answer.split())
    notes = " ".join(outline.text["li"])
    assert "Against reference KD" in notes
    assert "On validation, which chose it, against student alone" in notes
    assert words.SEEDS_ALONE in notes  # this study kept nothing of single pictures
    cells = outline.text["td"]
    for result in verdict.winners(verdict.results(table, "val/accuracy", 1)):
        assert any(f"trial {result.trial}" in c for c in cells)
        for d in [*result.differences, *result.test_differences]:
            assert any(words.figure(d, "val/accuracy") in c for c in cells), d
    assert len(outline.charts) >= 7
    assert "without any distillation (student alone)" in page.html
    assert "nll: the surprise at the right answer" in page.html
    assert "<summary>Seed by seed, for student resolution " in page.html
    assert "Before the dot: student resolution." in page.html
    assert "Broken off: 4 oom (4 × the loss was not finite in epoch 3)." in page.html
    assert "autokd reproduce recipe.yaml" in page.html and "Prove it:" in page.html


def test_it_is_one_file_that_names_no_address(finished: Path) -> None:
    page = report.page(finished).html
    outline = Outline(page)
    for tag, attributes in outline.tags:
        for name in ("src", "href", "action", "data", "poster", "srcset"):
            assert (attributes.get(name) or "#").startswith(("data:", "#")), (tag, attributes)
    policy = next(
        a["content"]
        for t, a in outline.tags
        if t == "meta" and a.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy is not None and "default-src 'none'" in policy and "unsafe-eval" not in policy
    assert "'unsafe-inline'" not in policy.split("script-src")[1].split(";")[0]
    assert len(page) < 15e6


def test_what_users_wrote_stays_text(tmp_path: Path) -> None:
    folder = study(tmp_path / "studies" / "h", 24, word=HOSTILE, finals=2)
    page = report.page(folder).html
    page.encode("utf-8")  # half a surrogate pair does not get through
    outline = Outline(page)
    assert not [
        a
        for t, a in outline.tags
        for name in a
        if name.startswith("on") or (a[name] or "").startswith("javascript:")
    ]
    assert not [
        t for t, a in outline.tags if t in {"img", "iframe", "object"} or a.get("id") == "evil"
    ]
    runs = [kind for kind, _ in outline.scripts if kind != "application/json"]
    assert runs == ["", ""]  # plotly and ours
    assert any(WORD[:60] in text for text in outline.text["td"])
    hostile = [text for c in outline.charts for text in _strings(c) if "bold" in text]
    assert hostile
    for text in hostile:  # plotly would make markup of these
        assert "<b id" not in text and "<a " not in text and "<img" not in text


def test_a_study_that_is_not_over(tmp_path: Path) -> None:
    story = Story(tmp_path / "studies" / "s", epochs=9)
    assert "no trial has reported" in report.page(story.book.path).answer
    story.search(4)
    page = report.page(story.book.path)
    assert "of 40 trials: " in page.html and "paused or stopped early" not in page.html
    assert page.answer.startswith("No answer yet")
    assert "Best of 4 trials" in page.answer
    assert "autokd search --resume s" in page.html
    story.confirm()
    page = report.page(story.book.path)
    assert "of 40 trials: " not in page.html
    assert "The study is not finished" in page.html
    assert "Test data was not read" in page.html
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
    story.add(
        "suggested",
        trial=0,
        role="trial",
        recipe=point.data,
        params=point.params,
        varied=point.varied,
        branch=point.branch,
    )
    story.add("started", trial=0, attempt=1, epoch=0)
    story.add("diverged", trial=0, attempt=1, reason="the loss was not finite")
    story.add("searched", groups=[], finals=[], stopped="")
    story.add("closed", recipe=None, recipe_text="", results=[])
    assert (
        report.page(story.book.path).answer
        == "No answer: no trial succeeded. 1 × the loss was not finite"
    )
    story.book.close()


def test_one_seed_has_neither_spread_nor_interval(tmp_path: Path) -> None:
    page = report.page(study(tmp_path / "studies" / "s", 24, finals=1, per=False)).html.split(
        "<h2>Recipe</h2>"
    )[0]
    outline = Outline(page)
    assert "One seed cannot tell a difference from chance." in outline.text["li"]
    assert "95 % interval" not in page
    assert not [c for c in outline.text["td"] if "±" in c or "1 seeds" in c]
    assert "val/accuracy, one fresh seed" in page
    forest = next(c for c in outline.charts if "error_x" in c["data"][0])
    # else there is no line to be right of
    assert forest["layout"]["xaxis"]["rangemode"] == "tozero"


def test_the_command(finished: Path, tmp_path: Path, run: Callable) -> None:
    root = str(finished.parents[1])
    code, out, _ = run("report", "demo", "--out", "page.html", AUTOKD_RUNS=root)
    assert code == 0 and out.strip() == "page.html"
    assert (tmp_path / "page.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    code, _, err = run("report", "dmo", AUTOKD_RUNS=root)
    assert code == 2 and "did you mean 'demo'" in err
    code, _, err = run("report", "demo", "--out", "/proc/no/page.html", AUTOKD_RUNS=root)
    assert code == 2 and "cannot be written" in err


def test_the_mean_over_seeds_and_the_exported_file_are_told_apart(finished: Path) -> None:
    _, table = ledger.read(finished)
    best = verdict.overall(verdict.results(table, "val/accuracy", 1, finished), 1)
    assert best is not None and best.test_mean is not None
    own = table.tests[-1]["results"][str(best.best_trial)]["test/accuracy"]
    assert f"{own:.4f}" != f"{best.test_mean:.4f}"
    page = report.page(finished).html
    assert f"<b>{best.test_mean:.4f}</b><span>test/accuracy, the mean of 5 seeds, read once" in page
    assert f"<b>{own:.4f}</b><span>test/accuracy of the file that is exported (seed 1)" in page


def test_all_that_was_confirmed_is_drawn_so(finished: Path) -> None:
    view = report.StudyData("demo", *ledger.read(finished), finished)
    others = [t.number for t in view.complete if t not in view.won][:3]
    view.results += [replace(r, trial=n) for r, n in zip(view.results, others, strict=False)]
    assert '"name":"later confirmed (6)"' in learning.curves(view)
