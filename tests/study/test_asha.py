"""Rungs: who goes on, whether they predict, and grace that is raised."""

from __future__ import annotations

from pathlib import Path

from autokd.space.settings import Asha
from autokd.study import asha, ranking
from autokd.study.ledger import Trial
from tests.study.driver import crossing, drive, loaded, new


def test_rungs_and_ranks() -> None:
    rules = Asha(grace_epochs=3, reduction=3)
    assert asha.rungs(rules, 27) == [3, 9]
    assert asha.rungs(rules, 28) == [3, 9, 27]
    assert asha.rungs(rules, 3) == []
    assert asha.rungs(Asha(form="none"), 27) == []
    assert asha.rungs(Asha(), 27) == [3, 9]
    assert asha.rungs(Asha(), 28) == [4, 12]
    assert asha.rungs(Asha(), 1) == []
    student = Asha(judge="student")
    assert asha.rungs(student, 27) == [9]
    assert asha.rungs(student, 28) == [10]
    assert asha.rungs(Asha(judge="student", reduction=2), 27) == [9, 18]
    assert asha.rungs(Asha(reduction=2), 27, raised=12) == [12, 24]

    def trial(n: int, value: float, branch: str) -> Trial:
        return Trial(
            n,
            "trial",
            {"train": {"epochs": 27}},
            branch=branch,
            metrics={3: {"val/accuracy": value, "val/nll": 1.0}},
        )

    def good(trials: list[Trial], n: int, **how) -> bool:
        return asha.good_enough(
            trials[n], 3, trials, rules.model_copy(update=how), "val/accuracy", 1
        )

    trials = [
        trial(0, 0.1, "slow"),
        trial(1, 0.9, "fast"),
        trial(2, 0.8, "fast"),
        trial(3, 0.7, "fast"),
    ]
    assert good(trials, 1) and not good(trials, 2) and not good(trials, 0)
    trials += [trial(4, 0.2, "slow"), trial(5, 0.05, "slow")]
    # three in the branch now: the best of the slow goes on
    assert good(trials, 4)
    assert not good(trials, 0)
    assert not good(trials, 4, compare="all")
    assert good([trials[0]], 0, form="stopping") and not good([trials[0]], 0)


def test_a_rung_ranks_averages_where_they_were_measured_and_the_end_the_students() -> None:
    def trial(n: int, student: float, average: float, epochs: int) -> Trial:
        measured = {"val/accuracy": student, "val/ema/accuracy": average, "val/nll": 1.0}
        return Trial(n, "trial", {"train": {"epochs": epochs}}, metrics={3: measured})

    rules = Asha(grace_epochs=3, compare="all")
    judged = [trial(0, 0.9, 0.1, 27), trial(1, 0.5, 0.6, 27), trial(2, 0.1, 0.5, 27)]
    assert asha.best(judged[0], 3, judged, rules, "val/accuracy", 1) == {1}
    ended = [trial(t.number, t.metrics[3]["val/accuracy"], 0.3, 3) for t in judged]
    order = sorted(ended, key=lambda t: ranking.rank(t, 3, "val/accuracy", 1))
    assert [t.number for t in order] == [0, 1, 2]


def test_rungs_that_predict_nothing_are_said_to_be_unknown(
    tmp_path: Path, space_file: Path
) -> None:
    study = new(tmp_path, loaded(space_file, "search/asha/exempt=1"))
    drive(study)
    found = asha.correlations(study.trials.values(), "val/accuracy", study.search.asha)
    assert [rung for rung, _, _ in found] == [1, 3]
    assert all(n == 30 and r is not None and r > 0.9 for _, r, n in found)
    few = list(study.trials.values())[:5]
    assert all(
        r is None and n == 5
        for _, r, n in asha.correlations(few, "val/accuracy", study.search.asha)
    )


def test_a_rung_that_misleads_is_left_out_from_then_on(tmp_path: Path, space_file: Path) -> None:
    study = new(
        tmp_path,
        loaded(
            space_file,
            "search/asha={grace_epochs: 1, exempt: 2, raise_grace_below: 0.3}",
            "search/finalists={seeds: 0}",
        ),
    )
    drive(study, f=crossing)
    (raised,) = [e for e in study.book.events if e["event"] == "grace"]
    assert raised["rung"] == 1
    assert raised["epochs"] == 3
    assert raised["n"] >= 8
    assert raised["correlation"] < 0
    at = study.book.events.index(raised)
    before, after = (
        {(e["event"], e["rung"]) for e in part if "rung" in e}
        for part in (study.book.events[:at], study.book.events[at + 1 :])
    )
    begun = {e["trial"] for e in study.book.events[at:] if e["event"] == "suggested"}
    assert ("paused", 1) in before and ("paused", 3) in after
    assert begun and all(1 not in study.trials[n].rungs for n in begun)
    unmoved = new(
        tmp_path,
        loaded(
            space_file, "search/asha={grace_epochs: 1, exempt: 2}", "search/finalists={seeds: 0}"
        ),
        "b",
    )
    drive(unmoved, f=crossing)
    assert not unmoved.book.table.grace
