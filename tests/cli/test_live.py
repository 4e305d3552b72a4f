"""What a search says while it runs, and when it is over."""

from __future__ import annotations

import io
import sys
import threading
from pathlib import Path

import pytest
from rich.console import Console

from autokd.cli import board, live, summary
from autokd.engine.search import SearchResult
from autokd.study import ledger, verdict, words
from autokd.study.queue import Study
from tests.helpers.synthetic import Story, study
from tests.study.driver import drive, loaded, new


def test_the_live_view_may_be_drawn_at_any_moment(tmp_path: Path, space_file: Path) -> None:
    study = new(
        tmp_path,
        loaded(
            space_file, "search/trials=100", "search/sampler=random", "search/finalists/seeds=0"
        ),
        jobs=8,
        teach=True,
    )
    view = live.LiveView(quiet=True)
    over = threading.Event()
    wrong = []
    view.follow(study)

    def draw() -> None:
        while not over.is_set() and not wrong:
            try:
                view.render()
            except Exception as e:
                wrong.append(repr(e))

    thread, interval = threading.Thread(target=draw), sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    thread.start()
    try:
        drive(study)
    finally:
        over.set()
        thread.join()
        sys.setswitchinterval(interval)
    assert not wrong


class Watched:
    """A view of a story's study, on a clock that the test sets, and what it said."""

    def __init__(self, story: Story, monkeypatch: pytest.MonkeyPatch, *, done: int = 0):
        study = Study(story.space, story.book, jobs=2)
        story.search(done)
        self.now = 0.0
        self.said = io.StringIO()
        monkeypatch.setattr(live.time, "monotonic", lambda: self.now)
        self.view = live.LiveView()
        self.view.console = Console(file=self.said, width=80)
        self.view.follow(study)

    @property
    def phase(self) -> str:
        left = self.view._left()
        return dict(self.view.facts())["phase"] + (f", about {left} to go" if left else "")


def test_the_time_left_counts_neither_the_start_nor_an_earlier_session(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    story = Story(tmp_path / "studies" / "s", epochs=9, finals=0)
    watched = Watched(story, monkeypatch, done=8)
    watched.now = 600.0  # of loading, and of the teachers' training
    assert watched.phase == "searching, 10 min 00 s elapsed"
    recipe = story.space.point(story._choose).data
    story.add("suggested", trial=8, role="trial", recipe=recipe)
    story.add("started", trial=8, attempt=1, epoch=0)
    for epoch in range(1, 10):
        story.add("epoch", trial=8, attempt=1, epoch=epoch, metrics={"val/accuracy": 0.5})
        watched.now += 1.0
    assert watched.phase == "searching, 10 min 09 s elapsed"  # too few of its own
    story.add("suggested", trial=9, role="trial", recipe=recipe)
    story.add("started", trial=9, attempt=1, epoch=0)
    for epoch in range(1, 3):
        story.add("epoch", trial=9, attempt=1, epoch=epoch, metrics={"val/accuracy": 0.5})
        watched.now += 1.0
    spent = sum(t.epochs for t in story.book.table.trials.values())
    to_go = words.duration((40 * 9 - spent) * 11 / 10)
    assert watched.phase == f"searching, 10 min 11 s elapsed, about {to_go} to go"
    story.book.close()


def test_a_search_without_an_epoch_says_what_it_waits_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    story = Story(tmp_path / "studies" / "s", epochs=9, finals=0)
    watched = Watched(story, monkeypatch)
    view, study = watched.view, watched.view.study
    assert study
    view.over.set()  # we ask ourselves
    monkeypatch.setattr(live.os, "getloadavg", lambda: (40.0, 0.0, 0.0))
    monkeypatch.setattr(live.os, "sched_getaffinity", lambda pid: {0, 1})
    assert view.waiting(59.0) == ""
    busy = "; 40 processes want this machine's 2 CPUs"
    assert view.waiting(61.0) == f"no epoch for 61 s: waiting for Ray to start its workers{busy}"
    assert view.waiting(119.0) == ""
    monkeypatch.setattr(live.os, "getloadavg", lambda: (2.0, 0.0, 0.0))
    study.running |= {0, 1, -2}
    study.teachers.jobs[-2] = ("key", "cnn-3x16")
    teacher = "waiting for teachers to be trained or loaded (cnn-3x16)"
    assert view.waiting(121.0) == f"no epoch for 121 s: {teacher}"
    study.teachers.jobs.clear()
    assert view.waiting(300.0) == "no epoch for 300 s: waiting for an epoch of trials 0, 1"
    story.add("suggested", trial=0, role="trial", recipe=story.space.base.to_dict())
    story.add("started", trial=0, attempt=1, epoch=0)
    watched.now = 400.0
    story.add("epoch", trial=0, attempt=1, epoch=1, metrics={"val/accuracy": 0.5})
    assert view.waiting(459.0) == "" and view.waiting(460.0) != ""
    story.book.close()


def test_once_the_finals_are_laid_out_their_epochs_are_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    story = Story(tmp_path / "studies" / "s", finals=2)
    watched = Watched(story, monkeypatch, done=16)
    seen: list[tuple[int, int]] = []

    def look(e: ledger.Event) -> None:
        trials = list(story.book.table.trials.values())
        if e["event"] in {"searched", "finished"}:
            seen.append((board.planned(watched.view.study, trials), board.spent(trials)))

    story.book.listeners.append(look)
    story.confirm()
    told = watched.said.getvalue()
    assert len({planned for planned, _ in seen}) == 1 and seen[0][1] < seen[-1][1] == seen[-1][0]
    assert "confirming the finalists beside their controls, 12 runs" in told
    assert "student alone " in told and "reference KD " in told and "control-" not in told
    story.book.close()


def printed(folder: Path) -> str:
    _, table = ledger.read(folder)
    found = verdict.results(table, "val/accuracy", 1)
    recipe = folder / "recipe.yaml" if found else None
    return summary.as_text(
        SearchResult(
            folder.name, folder, table, found, verdict.overall(found, 1), recipe, "val/accuracy"
        )
    )


def test_why_trials_broke_off_is_printed_beside_an_answer_too(tmp_path: Path) -> None:
    text = printed(study(tmp_path / "studies" / "s", 24, finals=2))
    assert "2 oom" in text.splitlines()[0]
    assert text.splitlines()[1] == "broken off: 2 × the loss was not finite in epoch 3"
    assert "\nstudent/resolution 6: trial " in text
    assert "broken off" not in printed(
        study(tmp_path / "studies" / "t", 24, finals=2, broken=False)
    )


def test_one_seed_has_neither_spread_nor_interval(tmp_path: Path) -> None:
    text = printed(study(tmp_path / "studies" / "s", 24, finals=1))
    assert "(one fresh seed)" in text
    assert "±" not in text
    assert "95 %" not in text
    assert "One seed cannot tell a difference from chance." in text


def test_something_is_said_every_ten_seconds_from_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said, now = io.StringIO(), 0.0
    monkeypatch.setattr(live.time, "monotonic", lambda: now)
    view = live.LiveView()
    view.console = Console(file=said, width=80)
    view.over.set()  # we ask ourselves
    view.stage("loading the libraries")
    assert said.getvalue() == "loading the libraries …\n"
    assert view.due(9.9) == "" and view.due(10.0) == "still loading the libraries"
    story = Story(tmp_path / "studies" / "s", epochs=9, finals=0)
    watched = Watched(story, monkeypatch)
    view, study = watched.view, watched.view.study
    assert study and "starting Ray …" in watched.said.getvalue()
    view.over.set()
    assert view.due(9.0) == "" and view.due(10.0) == "starting workers"
    study.teachers.jobs[-2] = ("key", "cnn-3x16")
    assert view.due(10.0) == "searching; teachers: cnn-3x16"
    step = {"model": "cnn-3x16", "epoch": 3, "of": 40, "part": 0.0, "metrics": {}}
    study.learned(-2, [step])
    assert view.due(10.0) == "searching; teachers: cnn-3x16, epoch 3/40"
    study.running.add(-2)
    study.taught(-2, "taught", metrics={}, seconds=1.0, resolution=8)
    assert study.teachers.at == {}
    story.search(2)
    told = view.due(59.0)
    assert told.startswith("searching; 2 of 40 trials begun; ") and "best val/accuracy 0." in told
    story.book.close()


def test_the_best_trials_and_a_bar_are_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    story = Story(tmp_path / "studies" / "s", finals=0)
    watched = Watched(story, monkeypatch, done=16)
    shown = io.StringIO()
    Console(file=shown, width=120).print(watched.view.render())
    text = shown.getvalue()
    best = watched.view.study.best(watched.view.study.trials.values())  # type: ignore[union-attr]
    lines = [line.split() for line in text.splitlines()]
    rows = [line for line in lines if line and line[0].isdigit() and "/27" in " ".join(line[:3])]
    assert [int(row[0]) for row in rows] == [t.number for t in best[:5]]
    assert "━" in text and " of about " in text
    story.book.close()


def test_the_summary_is_broken_at_commas_and_says_what_is_next(tmp_path: Path) -> None:
    folder = study(tmp_path / "studies" / "s", 24, finals=2)
    lines = printed(folder).splitlines()
    assert all(len(line) <= summary.WIDTH for line in lines[:-1])
    assert [line for line in lines if line.endswith((",", ";", ":"))]
    assert lines[-1] == str(folder / "recipe.yaml")
    whole = "a: " + ", ".join(f"number {i}" for i in range(40))
    parts = summary.wrapped(whole, 60)
    assert all(part.endswith(",") for part in parts[:-1])
    assert " ".join(part.strip() for part in parts) == whole
    _, table = ledger.read(folder)
    found = verdict.results(table, "val/accuracy", 1)
    out = SearchResult(
        "s", folder, table, found, verdict.overall(found, 1), folder / "recipe.yaml", "val/accuracy"
    )
    told = summary.what_next(out)
    assert all(f"autokd {c}" in told for c in ("report s ", "export s ", "reproduce ", "ui "))
