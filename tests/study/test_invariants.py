"""What must hold of a study holds of those that were driven, and of no other."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from autokd.engine.result import close
from autokd.study.invariants import Replay, broken
from autokd.study.ledger import Event, Ledger
from autokd.study.queue import Study
from tests.study.driver import crossing, drive, loaded, new


def wrong(events: list[Event]) -> list[str]:
    replay = Replay()
    return [said for e in events for said in replay.take(e)]


def driven(tmp_path: Path, space_file: Path, *sets: str, **how: Any) -> list[Event]:
    study = new(tmp_path, loaded(space_file, "search/trials=12", *sets), jobs=how.pop("jobs", 1))
    drive(study, **how)
    close(study)
    return copy.deepcopy(study.book.events)


@pytest.mark.parametrize(
    ("sets", "how"),
    [
        ((), {}),
        (("search/asha/form=stopping",), {"jobs": 3}),
        (("search/asha/form=none",), {}),
        (("search/asha/exempt=3", "search/asha/compare=all"), {"jobs": 2}),
        (("search/racing={runs: 3}",), {}),
        (("search/asha={grace_epochs: 1, exempt: 2, raise_grace_below: 0.3}",), {"f": crossing}),
        ((), {"outcome": lambda job: "diverged" if job.trial % 4 == 1 else "finished"}),
        ((), {"outcome": lambda job: "failed"}),
        (("search/finalists/seeds=0",), {}),
        (("search/finalists={until: 0.1, most: 4}",), {"jobs": 2}),
    ],
)
def test_all_holds_of_a_study_that_ran(
    tmp_path: Path, space_file: Path, sets: tuple[str, ...], how: dict[str, Any]
) -> None:
    events = driven(tmp_path, space_file, *sets, **how)
    assert events[-1]["event"] == "closed" and wrong(events) == []


def test_all_holds_of_one_that_was_cut_resumed_and_extended(
    tmp_path: Path, space_file: Path
) -> None:
    s = loaded(space_file, "search/trials=12")
    study = new(tmp_path, s, jobs=2)
    drive(study)
    study.book.close()
    lines = (tmp_path / "a/events.jsonl").read_bytes().splitlines(keepends=True)
    for cut in range(3, len(lines), 11):
        folder = tmp_path / f"cut{cut}"
        folder.mkdir()
        (folder / "events.jsonl").write_bytes(b"".join(lines[:cut]))
        book = Ledger(folder).open()
        book.append("resumed")
        again = Study(s, book, jobs=2, trials=12)
        drive(again)
        close(again)
        book.append("extended", trials=15)
        more = Study(s, book, jobs=2, trials=15)
        drive(more)
        close(more)
        assert wrong(book.events) == []
        book.close()


def of(events: list[Event], kind: str, which: int = 0) -> int:
    """The place of an event of that kind."""
    return [i for i, e in enumerate(events) if e["event"] == kind][which]


def twice(events: list[Event]) -> None:
    events.insert(of(events, "finished") + 1, events[of(events, "finished")])


def lost_epoch(events: list[Event]) -> None:
    del events[of(events, "epoch", 4)]


def lost_trial(events: list[Event]) -> None:
    del events[of(events, "suggested", 3)]


def better(events: list[Event]) -> None:
    """A final's last epoch, so that the verdict is another."""
    final = events[of(events, "searched")]["finals"][0]["trial"]
    own = [e for e in events if e["event"] == "epoch" and e["trial"] == final]
    own[-1]["metrics"]["val/accuracy"] += 0.1


def worse(events: list[Event]) -> None:
    """A trial that was promoted."""
    n = next(
        e["trial"] for e in events if e["event"] == "promoted" and e["trial"] > 0 and e["rung"] == 3
    )
    for e in events:
        if e["event"] == "epoch" and e["trial"] == n:
            e["metrics"]["val/accuracy"] = 0.0


def other_test(events: list[Event]) -> None:
    events[of(events, "test")]["results"]["0"] = {"test/accuracy": 1.0}


def untested(events: list[Event]) -> None:
    del events[of(events, "test")]


def left_over(events: list[Event]) -> None:
    """A final that never ended."""
    del events[of(events, "finished", -1)]


def attempt(events: list[Event]) -> None:
    events[of(events, "started", 2)]["attempt"] += 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (twice, "it had ended as complete"),
        (lost_epoch, "epoch"),
        (lost_trial, "is suggested where trial 3 comes next"),
        (better, "do not follow from its runs"),
        (worse, "not among the best at rung 3"),
        (other_test, "for trials 0, no complete runs"),
        (untested, "has not been read on test"),
        (left_over, "is running"),
        (attempt, "where attempt 1 from epoch 0 comes next"),
    ],
)
def test_what_does_not_hold_is_told(
    tmp_path: Path, space_file: Path, change: Callable[[list[Event]], None], said: str
) -> None:
    events = driven(tmp_path, space_file)
    change(events)
    assert any(said in text for text in wrong(events)), wrong(events)


def test_files_that_must_be_there_and_files_that_must_not(tmp_path: Path, space_file: Path) -> None:
    events = driven(tmp_path, space_file)
    folder = tmp_path / "a"
    gone = broken(folder, events)
    complete = [e["trial"] for e in events if e["event"] == "finished"]
    assert len(gone) == len(complete) and all("student.safetensors is gone" in x for x in gone)
    for e in events:
        if e["event"] == "finished":
            own = folder / "trials" / str(e["trial"]) / str(e["attempt"])
            own.mkdir(parents=True)
            (own / "student.safetensors").touch()
    assert broken(folder, events) == []
    text = (folder / "recipe.yaml").read_text()
    (folder / "recipe.yaml").write_text(text.replace("read: 1", "read: 2"))
    (folder / "scratch").touch()
    (folder / f"trials/{complete[0]}/.part-student").touch()
    (folder / f"trials/{complete[0]}/1/checkpoint-3.pt").touch()
    found = "\n".join(broken(folder, events))
    assert "is not the recipe that the study was closed with" in found
    assert "scratch was left behind" in found and ".part-student was left behind" in found
    assert f"checkpoint-3.pt was left behind: trial {complete[0]} is complete" in found
