"""A study from before there were outcomes of single pictures, as its own version left it
(``old_study.tar.xz``: version ff9f2eb; three trials, finals of three seeds, test read once): it is
read, goes on and is extended.
"""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from autokd import report
from autokd.cli import summary
from autokd.engine import result as results
from autokd.engine.bridge import Bridge
from autokd.space import thaw
from autokd.study import ledger, verdict, words
from autokd.study.jobs import DONE, Job
from autokd.study.ledger import Ledger
from autokd.study.queue import Study

VAL = "val/accuracy"
SEEDS_ALONE = "alone, as what came of each picture was not kept: often too narrow"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The study without its last event, in which its version wrote down where it lay."""
    with tarfile.open(Path(__file__).parent / "old_study.tar.xz") as packed:
        packed.extractall(tmp_path, filter="data")
    return tmp_path / "old"


def closed(folder: Path) -> Ledger:
    """With the results that its version closed it with."""
    book = Ledger(folder).open()
    book.append("closed", recipe=None, **json.loads((folder / "closed.json").read_text()))
    return book


def work(book: Ledger, cache: Path) -> Study:
    """Go on with the study to its end, a job at a time, without Ray's processes."""
    from autokd.engine import worker

    study = Study(thaw(book.table.created["frozen"]), book, teach=True, rebuild=True)
    bridge = Bridge(study, {"cache": str(cache), "device": "cpu"})
    while (config := bridge.next("a")) is not DONE:
        assert config, bridge.error
        made: Any = worker.Worker.__new__(worker.Worker)
        made.reset_config(config)
        done, goes_on = False, True
        while goes_on and not done:
            step = made.step()
            done, goes_on = step["done"], bridge.reported(step["report"])
        assert bridge.error is None
    return study


def test_its_interval_is_named_as_what_it_is(folder: Path) -> None:
    book = closed(folder)
    (found,) = verdict.results(book.table, VAL, 1, folder)
    told = json.loads((folder / "closed.json").read_text())["results"][0]
    assert {d.over for d in (*found.differences, *found.test_differences)} == {"seeds"}
    for now, then in zip(found.differences, told["differences"], strict=True):
        assert (now.mean, now.low) == pytest.approx((then["mean"], then["low"] or now.low))
    assert SEEDS_ALONE in words.interval(found)
    page = report.page(folder).html
    assert SEEDS_ALONE in page
    # what it was closed with is read too: MLflow is written from it
    old = [verdict.difference(d) for d in told["differences"] + told["test_differences"]]
    assert words.shown(old[0], VAL) == told["differences"][0]["verdict"]
    book.close()


def test_extended_its_pictures_are_made_from_its_students(folder: Path) -> None:
    book = closed(folder)
    students = {t.number: t.student for t in book.table.trials.values()}
    (before,) = verdict.results(book.table, VAL, 1, folder)
    book.append("extended", seeds=1)
    study = work(book, folder.parent / "cache")
    outcome = results.close(study)
    assert outcome.winner is not None and outcome.winner.seeds == [*before.seeds, 4]
    assert {n: study.trials[n].student for n in students} == students  # nothing ran again
    (rebuilt,) = [e for e in book.events if e["event"] == "outcomes"]
    assert len(rebuilt["outcomes"]) == 9
    known = [*outcome.winner.differences, *outcome.winner.test_differences]
    assert {(d.over, d.n) for d in known} == {("seeds and pictures", 4)}
    text = summary.as_text(outcome, width=1000)
    assert "over pictures; " in text and SEEDS_ALONE not in text
    assert len(book.table.tests) == 2 and "read: 2" in (folder / "recipe.yaml").read_text()
    assert study.search.controls.share == 0 and not any(t.tuning for t in study.trials.values())
    book.close()


def test_resumed_in_its_finals_it_ends_with_pictures(folder: Path) -> None:
    file = folder / ledger.EVENTS
    lines = file.read_bytes().splitlines(keepends=True)
    ended = [i for i, line in enumerate(lines) if line.startswith(b'{"event":"finished"')]
    file.write_bytes(b"".join(lines[: ended[5] + 1]))  # in the midst of the finals
    book = Ledger(folder).open()
    (before,) = verdict.results(book.table, VAL, 1, folder)
    assert SEEDS_ALONE in words.interval(before) or "One seed" in words.interval(before)
    book.append("resumed")
    study = work(book, folder.parent / "cache")
    outcome = results.close(study)
    assert outcome.winner is not None and len(outcome.winner.seeds) == 3
    known = [*outcome.winner.differences, *outcome.winner.test_differences]
    assert {d.over for d in known} == {"seeds and pictures"}
    assert len(book.table.tests) == 1
    book.close()


def test_without_its_students_the_interval_stays_that_over_seeds(folder: Path) -> None:
    book = closed(folder)
    (entry,) = book.table.finalists or []
    lost = next(iter(entry["runs"]["control-ce"].values()))
    (folder / book.table.trials[lost].folder / "student.safetensors").unlink()
    study = Study(thaw(book.table.created["frozen"]), book, teach=True, rebuild=True)
    job = study.next_job()
    assert isinstance(job, Job) and job.role == "outcomes" and str(lost) in job.students
    found = {n: {} for n in job.students if n != str(lost)}  # type: dict[str, dict[str, str]]
    study.rebuilt(job.trial, found)
    assert study.next_job() is DONE
    (still,) = verdict.results(book.table, VAL, 1, folder)
    assert SEEDS_ALONE in words.interval(still)
    book.close()
