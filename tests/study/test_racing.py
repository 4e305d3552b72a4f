"""Further seeds for contenders: who gets them, what is believed then, and that it replays."""

from __future__ import annotations

import statistics
from pathlib import Path

import numpy as np
import pytest

from autokd.study import ledger, racing
from autokd.study.jobs import Job
from tests.study.driver import curve, drive, loaded, new, rows

RACE = ("search/racing={runs: 6, seeds: 3}", "search/asha={judge: student}")


def test_a_belief_is_the_posterior_mean() -> None:
    """Two trials of three seeds and two of one, by hand."""
    seen = {0: [0.80, 0.84, 0.82], 1: [0.90, 0.86, 0.88], 2: [0.93], 3: [0.70]}
    found = racing.beliefs(seen)
    noise = (2 * (0.0004 + 0.0004)) / 4  # the squares within the first two, over their freedom
    better = [0.88, 0.93]
    prior = statistics.fmean(better)
    between = statistics.pvariance(better) - noise / statistics.harmonic_mean([3, 3, 1, 1])
    assert between > noise / 10
    for n, runs in ((1, 3), (2, 1)):
        total = between + noise / runs
        expected = prior + between / total * (statistics.fmean(seen[n]) - prior)
        assert found[n].mean == pytest.approx(expected)
        assert found[n].sd == pytest.approx((between * noise / runs / total) ** 0.5)


def test_shrinkage_finds_the_better_of_a_lucky_and_a_proven_trial() -> None:
    seen = {n: [0.8] for n in range(6)}
    seen |= {6: [0.86], 7: [0.855, 0.85, 0.86], 8: [0.81, 0.84, 0.78]}
    found = racing.beliefs(seen)
    assert seen[6][0] > statistics.fmean(seen[7])
    assert found[7].mean > found[6].mean
    assert racing.beliefs({0: [0.5]}) and racing.beliefs({0: [0.5], 1: [0.5]})  # no spread at all


def test_it_chooses_better_than_one_seed_does() -> None:
    """400 made-up studies: the true value of what is chosen, with 12 further runs and without."""
    g = np.random.default_rng(0)
    gained = []
    for _ in range(400):
        true = g.normal(0.9, 0.01, 30)
        one = true + g.normal(0, 0.01, 30)
        seen = {n: [float(v)] for n, v in enumerate(one)}
        for _ in range(12):
            belief = racing.beliefs(seen)
            able = [n for n in seen if len(seen[n]) < 3]
            chosen = max(able, key=lambda n, b=belief: b[n].mean + b[n].sd)
            seen[chosen].append(float(true[chosen] + g.normal(0, 0.01)))
        belief = racing.beliefs(seen)
        gained.append(true[max(belief, key=lambda n: belief[n].mean)] - true[one.argmax()])
    half = 1.96 * statistics.stdev(gained) / len(gained) ** 0.5
    assert statistics.fmean(gained) - half > 0.001


def test_the_best_get_further_seeds_and_the_finals_others(tmp_path: Path, space_file: Path) -> None:
    study = new(tmp_path, loaded(space_file, *RACE, "search/finalists={top: 1, seeds: 3}"))
    jobs: list[Job] = []
    drive(study, heard=jobs.append)
    again = racing.repeats(study.trials)
    runs = [t for own in again.values() for t in own]
    assert len(runs) == 6 and max(map(len, again.values())) == 2
    assert all(t.state == "complete" and t.epochs == t.length for t in runs)
    # who was last when the race began got none
    done = [t for t in study.trials.values() if t.searching and t.state == "complete"]
    worst = min(done, key=lambda t: t.last["val/accuracy"])
    assert worst.number not in again
    (entry,) = study.book.table.finalists or []
    chosen = study.trials[entry["trial"]]
    belief = racing.believed(study.trials, "val/accuracy", 1)
    assert belief[chosen.number].mean == max(b.mean for b in belief.values())
    finals = {int(seed) for seeds in entry["runs"].values() for seed in seeds}
    assert not {t.seed for t in runs} & (finals | {chosen.seed})
    assert all(e["reason"] for e in study.book.events if e.get("role") == racing.REPEAT)


def test_a_lucky_trial_loses_its_place(tmp_path: Path, space_file: Path) -> None:
    def lucky(recipe: dict, epoch: int) -> float:
        """High temperatures are best with their first seed and poor with any other."""
        luck = 0.2 if recipe["distill"]["temperature"]["tau"] > 9 else 0.0
        return curve(recipe, epoch) + (luck if recipe["seed"] == 0 else -luck)

    def chosen(*sets: str) -> float:
        space = loaded(space_file, "search/asha/form=none", *sets)
        study = new(tmp_path, space, f"s{len(sets)}")
        drive(study, f=lucky)
        (entry, *_) = study.book.table.finalists or []
        return study.trials[entry["trial"]].recipe["distill"]["temperature"]["tau"]

    assert chosen() > 9 > chosen("search/racing={runs: 40, seeds: 3}")


def test_each_group_has_its_race(tmp_path: Path, space_file: Path) -> None:
    study = new(tmp_path, loaded(space_file, *RACE, "search/finalists/per=student/resolution"))
    drive(study)
    groups = [study.trials[n].group for n, own in racing.repeats(study.trials).items() for _ in own]
    assert sorted(groups) == [4, 4, 6, 6, 8, 8]


def test_the_race_is_within_the_budget_of_epochs(tmp_path: Path, space_file: Path) -> None:
    limit = ("search/epochs=150", "search/finalists/seeds=0", "search/trials=100")
    plain, raced = (
        new(tmp_path, loaded(space_file, *limit, *how), name)
        for name, how in (("plain", ()), ("raced", RACE))
    )
    spent = [drive(study) for study in (plain, raced)]
    assert spent[1] <= spent[0] + 9  # a trial that was begun is ended
    assert sum(map(len, racing.repeats(raced.trials).values())) == 6
    assert "54 of them kept for further seeds" in raced.book.table.stopping


def test_where_averages_are_judged_a_further_run_ends_at_the_rung(
    tmp_path: Path, space_file: Path
) -> None:
    sets = (*RACE, "search/asha={judge: average, grace_epochs: 1}", "search/finalists/seeds=1")
    study = new(tmp_path, loaded(space_file, *sets))
    jobs: list[Job] = []
    drive(study, heard=jobs.append)
    runs = [t for own in racing.repeats(study.trials).values() for t in own]
    assert len(runs) == 6 and all((t.state, t.epochs) == ("pruned", 3) for t in runs)
    raced = [job for job in jobs if job.role == racing.REPEAT]
    assert all(job.rungs == [3] and job.average for job in raced)
    full = [t for t in study.trials.values() if t.searching and t.state == "complete"]
    gains = [t.last["val/accuracy"] - t.metrics[3]["val/accuracy"] for t in full]
    (source, own) = next(iter(racing.repeats(study.trials).items()))
    seen = {
        t.number: [t.last["val/accuracy"]]
        + [
            r.last["val/accuracy"] + statistics.median(gains)
            for r in racing.repeats(study.trials).get(t.number, [])
        ]
        for t in full
    }
    assert len(seen[source]) == 1 + len(own)
    expected = racing.beliefs(seen)
    assert racing.believed(study.trials, "val/accuracy", 1) == expected


class Killed(Exception):
    """In the middle of an event."""


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_race_goes_on_after_a_kill_at_any_event(
    tmp_path: Path, space_file: Path, jobs: int
) -> None:
    space = loaded(space_file, *RACE, "search/finalists/seeds=1")
    whole = new(tmp_path, space, "whole", jobs=jobs)
    drive(whole)
    first = next(i for i, e in enumerate(whole.book.events) if e.get("role") == racing.REPEAT)
    last = next(i for i, e in enumerate(whole.book.events) if e["event"] == "searched")
    for cut in range(first - 3, last + 2, 1 if jobs == 1 else 5):
        killed = new(tmp_path, space, f"killed {cut}", jobs=jobs)

        def die(e: ledger.Event, events: list = killed.book.events, most: int = cut) -> None:
            if len(events) > most:
                raise Killed

        killed.book.listeners.append(die)
        with pytest.raises(Killed):
            drive(killed)
        killed.book.close()
        book = ledger.Ledger(tmp_path / f"killed {cut}").open()
        again = type(whole)(space, book, jobs=jobs)
        drive(again)
        book.close()
        if jobs == 1:
            assert rows(again) == rows(whole), cut
        runs = [t for own in racing.repeats(again.trials).values() for t in own]
        assert len(runs) == 6 and all(t.state == "complete" for t in runs)


def test_presets_may_be_judged_like_any_trial(tmp_path: Path, space_file: Path) -> None:
    sets = ("search/asha/grace_epochs=3", "search/asha/exempt=0")
    for judged in (False, True):
        how = (f"search/asha/exempt_baselines={str(not judged).lower()}",)
        study = new(tmp_path, loaded(space_file, *sets, *how), str(judged))
        drive(study, f=lambda recipe, epoch: 1 - curve(recipe, epoch))  # the base is poor
        begun = [t for t in study.trials.values() if t.role == "baseline"]
        assert begun and all(t.exempt != judged for t in begun)
        assert any(t.state == "pruned" for t in begun) == judged
