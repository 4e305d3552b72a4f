"""Limits stop the search and not the finals."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from autokd import space
from autokd.study import ledger
from autokd.study.ledger import Ledger
from autokd.study.queue import Job, Study
from tests.helpers.documents import problems
from tests.study.driver import drive, loaded, new


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ("search/epochs=60", "60 epochs are spent"),
        ("search/target=0.87", "target 0.87 is reached"),
        ("search/plateau={trials: 3}", "brought nothing"),
    ],
)
def test_limits_stop_the_search_and_not_the_finals(
    tmp_path: Path, space_file: Path, setting: str, reason: str
) -> None:
    study = new(tmp_path, loaded(space_file, setting, "search/trials=200"))
    drive(study)
    assert reason in study.book.table.stopping
    assert sum(t.searching for t in study.trials.values()) < 200
    assert study.book.table.tests
    assert not {"running", "paused", "waiting"} & {t.state for t in study.trials.values()}


def test_time_is_a_limit_too_and_a_resumed_study_remembers_it(
    tmp_path: Path, space_file: Path
) -> None:
    ticks = iter(range(10_000))
    s = loaded(space_file, "search/time=40", "search/trials=200")
    study = new(tmp_path, s, clock=lambda: next(ticks))
    drive(study)
    assert study.book.table.stopping == "40 seconds are over"
    n = len(study.trials)
    study.book.close()
    assert len(Study(s, Ledger(tmp_path / "a").open()).trials) == n


def test_the_time_limit_counts_all_drivers_and_not_the_nights_between_them(
    tmp_path: Path, space_file: Path
) -> None:
    begun, day = 1_790_000_000.0, 86_400.0
    at = [("created", 0), ("lost", 25), ("resumed", day), ("lost", day + 10), ("resumed", 2 * day)]
    rest = {"trial": -2, "reason": "", "frozen": {}}
    events = [{"event": kind, "t": begun + t, **rest} for kind, t in at]
    assert ledger.spent(events) == 35 and ledger.spent(events[:2]) == 25 and ledger.spent([]) == 0
    assert ledger.spent([*events, {"event": "extended", "t": begun + 3 * day}]) == 0

    # a clock that is set, by years, is not what time is measured by
    ups, jumps = [0, 25, 3, 13, 0], [0.0, 3e8, -3e8, -2e9, 1e9]
    told = zip(events, ups, jumps, strict=True)
    set_back = [e | {"up": up, "t": e["t"] + jump} for e, up, jump in told]
    assert ledger.spent(set_back) == 35 and ledger.spent(set_back[:2]) == 25
    unmeasured = [{k: v for k, v in e.items() if k != "up"} for e in set_back]
    assert ledger.spent(unmeasured) >= 0 and ledger.elapsed(unmeasured) >= 0

    (tmp_path / "a").mkdir()
    (tmp_path / "a/events.jsonl").write_text("".join(json.dumps(e) + "\n" for e in events))
    now = [begun + 2 * day]
    study = Study(
        loaded(space_file, "search/time=40"),
        Ledger(tmp_path / "a").open(),
        jobs=2,
        clock=lambda: now[0],
    )
    now[0] += 4
    assert isinstance(study.next_job(), Job)
    now[0] += 2
    study.next_job()
    assert study.book.table.stopping == "40 seconds are over" and len(study.trials) == 1


def test_time_is_for_the_whole_command_and_the_finals_fit(tmp_path: Path, space_file: Path) -> None:
    """Each question to the clock is a second, each epoch says that it took one."""
    ticks = iter(range(100_000))
    sets = ("search/time=20m", "search/trials=2000", "search/finalists={seeds: 4}")
    s = loaded(space_file, *sets)
    assert s.search.time == 1200
    study = new(tmp_path, s, clock=lambda: next(ticks))
    report = study.report
    study.report = lambda *args: report(*args, 1.0)  # type: ignore[method-assign]
    drive(study)
    kept = 3 * 4 * 9  # a finalist and two controls, four seeds, nine epochs of a second
    assert study.book.table.stopping == f"1200 seconds are over, {kept} of them kept for the finals"
    searched = next(i for i, e in enumerate(study.book.events) if e["event"] == "searched")
    assert searched < len(study.book.events) - 3 * 4


@pytest.mark.parametrize("time", ["10", "ten minutes", "-3m", "0s"])
def test_a_time_that_is_none_is_told(space_file: Path, time: str) -> None:
    path = space_file.parent / "timed.yaml"
    path.write_text(space_file.read_text().replace("search:", f"search:\n  time: {time!r}", 1))
    assert [p.path for p in problems(space.load, path)] == ["search/time"]
