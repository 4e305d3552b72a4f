"""The search's decisions with a fake objective: no Ray, no torch, virtual workers."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest

from autokd import asha, ledger, plan, progress, search, space, summary, verdict
from autokd.document import UserError
from autokd.ledger import Ledger, Trial
from autokd.recipe import parse
from autokd.settings import Asha
from autokd.space import Space
from autokd.study import DONE, TEST, Job, Study
from tests.conftest import SPACE

Curve = Callable[[dict, int], float]


def curve(recipe: dict, epoch: int) -> float:
    """An accuracy that rises with epochs; best at tau 6, at 8 px, and a little different for every seed."""
    tau, resolution = recipe["distill"]["temperature"]["tau"], recipe["student"]["resolution"] or 8
    end = 0.9 - 0.01 * abs(math.log(tau / 6)) - 0.02 * (8 - resolution) + 0.002 * ((recipe["seed"] * 7919) % 5)
    return end - 0.3 * math.exp(-epoch)


def drive(
    study: Study, *, most: int = 10_000, f: Curve = curve, outcome: Callable[[Job], str] = lambda job: "finished",
    heard: Callable[[Job], None] = lambda job: None,
) -> int:  # fmt: skip
    """Run the study with as many virtual workers as it has jobs, an epoch each in turn. Returns how many epochs were run."""
    workers: list[tuple[Job, int]] = []
    spent = 0
    for _ in range(most):
        while isinstance(job := study.next_job(), Job):
            heard(job)
            workers.append((job, study.trials[job.trial].checkpoint_epoch if job.trial >= 0 else 0))
        if not workers:
            assert job is DONE
            return spent
        job, epoch = workers.pop(0)
        if job.trial == TEST:
            study.tested({n: {"test/accuracy": f(study.trials[int(n)].recipe, 10)} for n in job.students})
            continue
        end = outcome(job)
        if job.role == "wake":
            study.woken(job.trial)
            continue
        if job.role == "teacher":
            study.taught(job.trial, "taught" if end == "finished" else end, reason="as asked", metrics={"val/accuracy": 0.9}, seconds=1.0, resolution=8)
            continue
        if end != "finished":
            study.finish(job.trial, job.attempt, end, reason="as asked")
            continue
        epoch, spent = epoch + 1, spent + 1
        checkpoint = f"{job.trial}/{epoch}" if epoch in job.rungs else None
        goes_on = study.report(job.trial, job.attempt, epoch, {"val/accuracy": f(job.recipe, epoch), "val/nll": 1.0}, checkpoint)
        if goes_on and epoch < job.recipe["train"]["epochs"]:
            workers.append((job, epoch))
        elif goes_on:
            study.finish(job.trial, job.attempt, "finished", student=f"student of {job.recipe}", facts={})
    return spent


def loaded(space_file: Path, *sets: str) -> Space:
    return space.load(space_file, sets=("train/epochs=9", "search/trials=30", "search/asha/reduction=3", *sets))


def new(tmp_path: Path, s: Space, name: str = "a", **how) -> Study:
    book = Ledger(tmp_path / name).open()
    book.append("created", name=name, seed=0, jobs=how.get("jobs", 1), trials=s.search.trials, frozen=s.frozen)
    return Study(s, book, **how)


def rows(study: Study) -> list:
    return [(t.number, t.role, t.params, t.state, t.rungs, t.metrics, t.student) for t in study.trials.values()]


def test_a_whole_study(tmp_path: Path, space_file: Path) -> None:
    study = new(tmp_path, loaded(space_file))
    spent = drive(study)
    searched = [t for t in study.trials.values() if t.searching]
    assert len(searched) == 30 and {t.state for t in searched} == {"complete", "pruned"}
    assert searched[0].role == "baseline" and searched[0].state == "complete"
    assert spent < 30 * 9 + 3 * 2 * 9
    assert all(t.epochs in asha.rungs(study.search.asha, 9) and t.checkpoint for t in searched if t.state == "pruned")
    result = verdict.overall(verdict.results(study.book.table, "val/accuracy", 1), 1)
    assert result is not None and len(result.seeds) == 2 and result.test_mean is not None
    assert len(study.book.table.tests) == 1
    best = study.trials[result.trial]
    assert best.value if hasattr(best, "value") else best.varied["student/resolution"] == 8
    assert {t.seed for t in study.trials.values() if not t.searching} == {1, 2}  # the search's seed is not used again


def test_optuna_is_told_the_truth(tmp_path: Path, space_file: Path) -> None:
    study = new(tmp_path, loaded(space_file, "search/asha/form=stopping"))
    drive(study)
    told = study.optuna.trials
    states = {t.number: t.state for t in study.trials.values() if t.searching}
    assert len(told) == len(states)
    for trial, (_number, state) in zip(told, states.items(), strict=True):
        assert trial.state.name == {"complete": "COMPLETE", "pruned": "PRUNED"}[state]
        assert trial.intermediate_values == {e: m["val/accuracy"] for e, m in study.trials[trial.number].metrics.items()}
    assert optuna.trial.TrialState.PRUNED in {t.state for t in told}


def test_all_jobs_find_room_on_the_gpus() -> None:
    for gpus in (1, 2, 3, 8):
        room = search.Room(8, gpus, gpus)
        for jobs in range(1, 20):
            assert gpus * int(1 / room.share(None, jobs) + 1e-6) >= jobs
        for share in (0.1, 0.25, 0.3, 0.4, 0.6, 1.0):
            assert room.jobs(share) == gpus * int(1 / share + 1e-6)
    assert search.Room(8, 0, 0).share(None, 4) == 0 and search.Room(8, 4, 4).jobs(2) == 2 and search.Room(8, 4, 4).jobs(None) == 4


@pytest.mark.parametrize("form", ["promotion", "stopping", "none"])
@pytest.mark.parametrize("jobs", [1, 3])
def test_killed_at_any_event_and_resumed_the_table_is_the_same(tmp_path: Path, space_file: Path, form: str, jobs: int) -> None:
    s = loaded(space_file, f"search/asha/form={form}", "search/trials=14")
    whole = new(tmp_path, s, "whole", jobs=jobs)
    drive(whole)
    expected = rows(whole)
    lines = (tmp_path / "whole" / "events.jsonl").read_bytes().splitlines(keepends=True)
    cuts = range(1, len(lines), 1 if jobs == 1 else 9)
    for i, cut in enumerate(cuts):
        folder = tmp_path / f"cut{cut}"
        folder.mkdir()
        (folder / "events.jsonl").write_bytes(b"".join(lines[:cut]) + lines[cut][: (i * 13) % len(lines[cut])])  # torn in its last line
        book = Ledger(folder).open()
        study = Study(s, book, jobs=jobs)
        finished_before = {t.number for t in study.trials.values() if t.state == "complete"}
        begun = len(book.events)
        drive(study)
        assert all(e.get("trial") not in finished_before for e in book.events[begun:] if e["event"] in {"started", "finished"})
        assert len({t.number for t in study.trials.values()}) == len(study.trials)
        assert not {"running", "waiting", "paused"} & {t.state for t in study.trials.values()}
        if jobs == 1:
            assert rows(study) == expected, f"cut behind event {cut}: {lines[cut - 1][:100]!r}"
        book.close()


def test_one_seed_one_search(tmp_path: Path, space_file: Path) -> None:
    s = loaded(space_file)
    studies = [new(tmp_path, s, name, seed=seed) for name, seed in (("a", 0), ("b", 0), ("c", 1))]
    for study in studies:
        drive(study)
    assert rows(studies[0]) == rows(studies[1]) != rows(studies[2])


def test_a_trial_that_diverges_is_worse_than_any_other_and_the_search_goes_on(tmp_path: Path, space_file: Path) -> None:
    study = new(tmp_path, loaded(space_file))
    drive(study, outcome=lambda job: "diverged" if job.trial % 3 == 1 and job.trial < 30 else "finished")
    gone = [t for t in study.trials.values() if t.state == "diverged"]
    assert len(gone) == 10 and all(study.value(t) == 0.0 for t in gone)
    assert sum(t.searching for t in study.trials.values()) == 30
    assert not {t.number for t in gone} & {e["trial"] for e in study.book.table.finalists or []}
    values = [t.value for t in study.optuna.trials if t.state.name == "COMPLETE"]
    assert values.count(0.0) == 10 and all(v is not None and math.isfinite(v) for v in values)


def test_when_nothing_succeeds_the_study_ends_without_a_winner(tmp_path: Path, space_file: Path) -> None:
    study = new(tmp_path, loaded(space_file))
    drive(study, outcome=lambda job: "failed")
    assert study.book.table.finalists == [] and not study.book.table.tests


def test_a_lost_worker_s_trial_is_tried_again_three_times(tmp_path: Path, space_file: Path) -> None:
    study = new(tmp_path, loaded(space_file, "search/trials=2"))
    for attempt in (1, 2, 3):
        job = study.next_job()
        assert isinstance(job, Job) and (job.trial, job.attempt) == (0, attempt)
        study.lost(0, "killed")
    assert study.trials[0].state == "failed"
    assert not study.report(0, 2, 1, {"val/accuracy": 1.0})  # an orphan of an older attempt is not heard
    assert study.trials[0].metrics == {}


@pytest.mark.parametrize("jobs", [1, 3])
def test_teachers_come_before_their_trials_and_once(tmp_path: Path, recipe_file: Path, jobs: int) -> None:
    ladders = "vary: {ladder: {choice: [[], [cnn-2x16], [cnn-2x16, cnn-2x12]]}, teacher/model: {choice: [cnn-3x16, cnn-3x24]}}\n"
    (tmp_path / "s.yaml").write_text("base: base.yaml\nsearch: {trials: 24, finalists: {seeds: 2}}\n" + ladders)
    s = space.load(tmp_path / "s.yaml", sets=("distill={preset: takd}",))
    study = new(tmp_path, s, "whole", jobs=jobs, teach=True)
    taught: list[str] = []
    awake: list[int] = []

    def heard(job: Job) -> None:
        if job.role == "wake":
            assert study.lessons
            awake.append(job.trial)
        keys = parse(job.recipe).member_keys() if job.role not in {"test", "wake"} else []
        if job.role == "teacher":
            assert len(study.running) <= jobs and len(set(study.lessons.values())) == len(study.lessons)
            taught.append(keys[job.member])
        assert all(key in study.book.table.teachers for key in (keys[job.member + 1 :] if job.role == "teacher" else keys))

    drive(study, heard=heard)
    assert len(taught) == len(set(taught)) == 6  # two teachers, each with two assistants
    assert len(awake) < jobs
    assert all(t.state in {"complete", "pruned"} for t in study.trials.values())
    lines = (tmp_path / "whole" / "events.jsonl").read_bytes().splitlines(keepends=True)
    for cut in range(1, len(lines), 7):  # killed there, it goes on, and teaches nobody twice whose lesson was written down
        folder = tmp_path / f"cut{cut}"
        folder.mkdir()
        (folder / "events.jsonl").write_bytes(b"".join(lines[:cut]))
        again = Study(s, Ledger(folder).open(), jobs=jobs, teach=True)
        drive(again)
        assert len([e for e in again.book.events if e["event"] == "teacher"]) == 6
        assert jobs > 1 or rows(again) == rows(study)
        again.book.close()


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_teacher_that_diverges_ends_the_trials_that_need_it_and_no_other(tmp_path: Path, space_file: Path, jobs: int) -> None:
    space_file.write_text(space_file.read_text() + "  teacher/model: {choice: [cnn-3x16, cnn-3x24]}\n")
    study = new(tmp_path, loaded(space_file, "search/asha/form=none"), jobs=jobs, teach=True)
    bad = "cnn-3x24"
    drive(study, outcome=lambda job: "diverged" if job.role == "teacher" and job.recipe["teacher"]["model"] == bad else "finished")
    states = {(t.recipe["teacher"]["model"] == bad, t.state) for t in study.trials.values()}
    assert states == {(True, "diverged"), (False, "complete")}
    assert all(bad in t.reason for t in study.trials.values() if t.state == "diverged")
    assert sum(e["event"] == "teacher" for e in study.book.events) == 2


def test_a_given_teacher_that_cannot_be_used_ends_the_search(tmp_path: Path, space_file: Path) -> None:
    study = new(tmp_path, loaded(space_file), teach=True)
    job = study.next_job()
    assert isinstance(job, Job) and job.role == "teacher"
    with pytest.raises(UserError, match="teacher cnn-3x16: 10 classes, not 100"):
        study.taught(job.trial, "failed", given=True, reason="10 classes, not 100")


def test_a_teacher_s_worker_that_dies_is_replaced_three_times(tmp_path: Path, space_file: Path) -> None:
    study = new(tmp_path, loaded(space_file, "search/trials=1", "search/finalists/seeds=0"), teach=True)
    for _ in range(3):
        job = study.next_job()
        assert isinstance(job, Job) and job.role == "teacher"
        study.lost(job.trial, "killed")
    assert study.next_job() is DONE and study.trials[0].state == "failed" and "workers died" in study.trials[0].reason


def test_a_teacher_no_better_than_the_student_alone_is_warned_about(tmp_path: Path, space_file: Path) -> None:
    study = new(tmp_path, loaded(space_file), teach=True)
    drive(study, f=lambda recipe, epoch: 0.85)
    assert verdict.weak_teachers(study.book.table) == []
    better = new(tmp_path, loaded(space_file), "b", teach=True)
    drive(better, f=lambda recipe, epoch: 0.95)
    (warning,) = verdict.weak_teachers(better.book.table)
    assert warning.startswith("the teacher cnn-3x16 (0.9000 on validation) is no better than the student cnn-2x8 at")


def test_forbidden_suggestions_never_become_trials(tmp_path: Path, space_file: Path) -> None:
    space_file.write_text(space_file.read_text() + "forbid: [{distill/temperature/kind: flsw}]\n")
    study = new(tmp_path, loaded(space_file))
    drive(study)
    assert study.book.table.refused > 0
    assert all(t.recipe["distill"]["temperature"]["kind"] == "constant" for t in study.trials.values())


def test_each_value_of_per_gets_its_share_its_baseline_and_its_winner(tmp_path: Path, space_file: Path) -> None:
    study = new(tmp_path, loaded(space_file, "search/finalists/per=student/resolution"))
    drive(study)
    by_group = {g: [t for t in study.trials.values() if t.searching and t.group == g] for g in (4, 6, 8)}
    assert {g: len(v) for g, v in by_group.items()} == {4: 10, 6: 10, 8: 10}
    assert all(sum(t.role == "baseline" for t in v) == 1 for v in by_group.values())
    found = verdict.results(study.book.table, "val/accuracy", 1)
    assert [r.group for r in found] == [4, 6, 8]
    assert all(len(r.differences) == 2 or r.is_reference for r in found)


@pytest.mark.parametrize("per", ["ladder", "distill/temperature/tau", "distill/temperature/constant/tau"])
def test_groups_may_be_lists_or_live_in_one_branch(tmp_path: Path, recipe_file: Path, per: str) -> None:
    branches = "[{kind: constant, tau: {choice: [2, 4]}}, {kind: flsw, tau: {uniform: [4, 16]}, beta: {log_uniform: [1, 80]}}]"
    vary = f"{{ladder: {{choice: [[], [cnn-2x16]]}}, distill/temperature: {{one_of: {branches}}}}}"
    (tmp_path / "s.yaml").write_text(f"base: base.yaml\nsearch: {{trials: 16, finalists: {{per: {per}, seeds: 2}}}}\nvary: {vary}\n")
    study = new(tmp_path, space.load(tmp_path / "s.yaml", sets=("distill={preset: takd}",)))
    drive(study)
    groups = {"[]", '["cnn-2x16"]'} if per == "ladder" else {2, 4, None}
    assert {t.group for t in study.trials.values()} == {r.group for r in verdict.results(study.book.table, "val/accuracy", 1)} == groups


def test_controls_that_two_finalists_share_run_once(tmp_path: Path, space_file: Path) -> None:
    study = new(tmp_path, loaded(space_file, "search/finalists/top=2", "student/resolution=8", "search/trials=20"))
    drive(study)
    finals = [json.dumps(t.recipe, sort_keys=True) for t in study.trials.values() if not t.searching]
    assert len(finals) == len(set(finals))


def test_a_plan_of_fewer_trials_than_baselines(space_file: Path) -> None:
    made = plan.plan(space.load(space_file, sets=("search/asha/exempt=8", "search/finalists/per=student/resolution")), trials=2)
    assert made.baselines == ["base 4", "base 6"] and made.search_epochs == 2 * 4


def test_rungs_and_ranks() -> None:
    rules = Asha(grace_epochs=3, reduction=3)
    assert asha.rungs(rules, 27) == [3, 9] and asha.rungs(rules, 28) == [3, 9, 27] and asha.rungs(rules, 3) == []
    assert asha.rungs(Asha(form="none"), 27) == []
    assert asha.rungs(Asha(), 27) == [9] and asha.rungs(Asha(), 28) == [10] and asha.rungs(Asha(), 1) == []
    assert asha.rungs(Asha(reduction=2), 27) == [9, 18] and asha.rungs(Asha(reduction=2), 27, raised=18) == [18]

    def trial(n: int, value: float, branch: str) -> Trial:
        return Trial(n, "trial", {"train": {"epochs": 27}}, branch=branch, metrics={3: {"val/accuracy": value, "val/nll": 1.0}})

    def good(trials: list[Trial], n: int, **how) -> bool:
        return asha.good_enough(trials[n], 3, trials, rules.model_copy(update=how), "val/accuracy", 1)

    trials = [trial(0, 0.1, "slow"), trial(1, 0.9, "fast"), trial(2, 0.8, "fast"), trial(3, 0.7, "fast")]
    assert good(trials, 1) and not good(trials, 2) and not good(trials, 0)
    trials += [trial(4, 0.2, "slow"), trial(5, 0.05, "slow")]
    assert good(trials, 4) and not good(trials, 0)  # three in the branch now: the best of the slow goes on
    assert not good(trials, 4, compare="all")
    assert good([trials[0]], 0, form="stopping") and not good([trials[0]], 0)


def test_the_paired_interval() -> None:
    d = verdict.paired("c", [0.90, 0.91, 0.92, 0.93, 0.94], [0.88, 0.90, 0.89, 0.92, 0.91])
    # differences 2, 1, 3, 1, 3 points: mean 2, sd 1; t(0.975, 4) = 2.776445; half width 2.776445 · 1 / sqrt 5
    assert d.mean == pytest.approx(0.02) and d.high - d.mean == pytest.approx(0.01241664, rel=1e-5)
    assert d.verdict == "better"
    assert verdict.paired("c", [1, 2], [2, 1]).verdict == "not distinguishable"
    equal = verdict.paired("c", [0.9, 0.8], [0.8, 0.7])  # as few pictures give by chance
    assert equal.verdict == "not distinguishable" and verdict.figure(equal, "val/accuracy") == "+10.0 points (2 equal differences, no interval)"
    assert verdict.paired("c", [0.1, 0.11, 0.1], [0.3, 0.32, 0.31], sign=-1).verdict == "better"


def test_one_seed_has_no_interval_and_its_json_is_json(tmp_path: Path, space_file: Path) -> None:
    study = new(tmp_path, loaded(space_file, "search/trials=4", "search/finalists/seeds=1"))
    drive(study)
    outcome = search.close(study)
    assert outcome.winner is not None and outcome.winner.differences[0].n == 1
    assert json.loads(json.dumps(summary.as_json(outcome), allow_nan=False))["winner"]["differences"][0]["low"] is None
    assert "one seed, no interval" in summary.as_text(outcome)


def test_why_there_is_no_recipe(tmp_path: Path, space_file: Path) -> None:
    study = new(tmp_path, loaded(space_file, "search/trials=6", "search/finalists/seeds=0"))
    drive(study, outcome=lambda job: "diverged" if job.trial == 3 else "finished")
    assert summary.as_text(search.close(study)).endswith("No recipe: no finals were asked for")
    nothing = new(tmp_path, loaded(space_file, "search/trials=6"), "b")
    drive(nothing, outcome=lambda job: "diverged")
    assert summary.as_text(search.close(nothing)).endswith("No recipe: 6 × as asked")
    for form in ("none", "promotion"):  # of a trial that was pruned nobody knows how slow it would have been: it is no finalist either
        costly = new(tmp_path, loaded(space_file, "search/constraints=['student/latency_ms <= 1']", f"search/asha/form={form}", "search/trials=6"), form)
        finish = costly.finish
        costly.finish = lambda *args, finish=finish, **how: finish(*args, **how | {"facts": {"student/latency_ms": 2.0}})  # type: ignore[method-assign,misc]
        drive(costly)
        assert {t.state for t in costly.trials.values()} == ({"complete"} if form == "none" else {"complete", "pruned"})
        assert summary.as_text(search.close(costly)).endswith("No recipe: no trial keeps the constraints")


def test_two_drivers_cannot_have_one_study(tmp_path: Path, space_file: Path) -> None:
    study = new(tmp_path, loaded(space_file))
    program = f"from autokd.ledger import Ledger; from pathlib import Path; Ledger(Path({str(tmp_path / 'a')!r})).open()"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=Path(__file__).parent.parent)
    assert "in use by another search" in done.stderr
    study.book.close()


def test_a_study_that_another_search_began_meanwhile_is_left_alone(tmp_path: Path, space_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    s = loaded(space_file, "search/trials=4")

    def meanwhile(*_: object, **__: object) -> None:
        study = new(tmp_path / "studies", s)
        drive(study)
        study.book.close()

    monkeypatch.setenv("AUTOKD_RUNS", str(tmp_path))
    monkeypatch.setattr(search, "checked", meanwhile)
    with pytest.raises(UserError, match="exists already"):
        search.start(s, name="a")
    assert [e["event"] for e in ledger.read(tmp_path / "studies/a")[0]].count("created") == 1


def test_a_ledger_damaged_in_the_middle_is_not_silently_cut(tmp_path: Path, space_file: Path) -> None:
    study = new(tmp_path, loaded(space_file))
    drive(study, most=40)
    study.book.close()
    file = tmp_path / "a" / "events.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    lines[5] = lines[5][:10] + b"\n"
    file.write_bytes(b"".join(lines))
    with pytest.raises(UserError, match="damaged at byte"):
        Ledger(tmp_path / "a").open()


def test_study_names(tmp_path: Path) -> None:
    for bad in ("", "../x", "a/b", "..", "ü", "a" * 101):
        with pytest.raises(UserError, match="no study name"):
            ledger.folder(tmp_path, bad)
    assert SPACE and ledger.names(tmp_path) == []


def test_a_space_s_file_may_have_any_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOKD_RUNS", str(tmp_path))
    assert search.next_name("größe 1") == "gr--e-1-1"
    for stem in ("größe", "a b", ".", "", "x" * 200):
        ledger.folder(tmp_path, search.next_name(stem))


@pytest.mark.parametrize("name", ["tpe", "random", "qmc", "cmaes", "gp", "nsga2"])
def test_every_sampler_searches_and_resumes_exactly(tmp_path: Path, recipe_file: Path, name: str) -> None:
    path = recipe_file.parent / "flat.yaml"
    path.write_text(
        f"base: base.yaml\nsearch: {{trials: 24, sampler: {name}, asha: {{form: none}}, finalists: {{seeds: 0}}}}\n"
        "vary:\n  distill/temperature/tau: {log_uniform: [1, 16]}\n  distill/losses/kl/weight: {uniform: [0.1, 1.0]}\n"
    )
    s = space.load(path, sets=("train/epochs=2",))
    whole = new(tmp_path, s, "whole")
    drive(whole)
    lines = (tmp_path / "whole/events.jsonl").read_bytes().splitlines(keepends=True)
    for cut in (5, len(lines) // 2, len(lines) - 3):
        (tmp_path / f"cut{cut}").mkdir()
        (tmp_path / f"cut{cut}" / "events.jsonl").write_bytes(b"".join(lines[:cut]))
        study = Study(s, Ledger(tmp_path / f"cut{cut}").open())
        drive(study)
        assert rows(study) == rows(whole)


@pytest.mark.parametrize(
    ("name", "rule"),
    [("qmc", "cannot model distill/temperature/kind"), ("cmaes", "learns nothing from pruned trials"), ("gp", "learns nothing from pruned trials")],
)
def test_a_sampler_that_would_silently_be_random_is_refused(space_file: Path, name: str, rule: str) -> None:
    with pytest.raises(UserError, match=rule):
        space.load(space_file, sets=(f"search/sampler={name}",))


def test_several_objectives_have_a_front(tmp_path: Path, space_file: Path) -> None:
    objective = "search/objective=[{maximize: val/accuracy}, {minimize: student/flops}]"
    study = new(tmp_path, loaded(space_file, objective, "search/asha/form=none"))
    finish = study.finish

    def with_cost(number: int, attempt: int, state: str, **how) -> None:
        how["facts"] = {"student/flops": (study.trials[number].recipe["student"]["resolution"] or 8) ** 2}
        finish(number, attempt, state, **how)

    study.finish = with_cost  # type: ignore[method-assign]
    drive(study)
    front = study.front()
    assert {t.facts["student/flops"] for t in front} == {16, 36, 64}  # each resolution is the best of its cost
    for a in front:
        assert not any(b.last["val/accuracy"] > a.last["val/accuracy"] and b.facts["student/flops"] <= a.facts["student/flops"] for b in front)
    assert {t.state.name for t in study.optuna.trials} == {"COMPLETE"}
    assert len(study.optuna.trials[0].values) == 2


def test_several_objectives_with_pruning_resume_exactly(tmp_path: Path, space_file: Path) -> None:
    """Several rungs: what is promoted may be paused again, and is then one more pruned trial of the sampler's."""
    s = loaded(space_file, "search/objective=[{maximize: val/accuracy}, {minimize: val/nll}]", "search/trials=14")

    def outcome(job: Job) -> str:
        return "diverged" if job.trial % 4 == 1 and job.trial < 14 else "finished"

    whole = new(tmp_path, s, "whole")
    drive(whole, outcome=outcome)
    assert any(len(t.rungs) == 2 and t.state == "pruned" for t in whole.trials.values())
    lines = (tmp_path / "whole/events.jsonl").read_bytes().splitlines(keepends=True)
    for cut in range(1, len(lines), 19):
        (tmp_path / f"cut{cut}").mkdir()
        (tmp_path / f"cut{cut}/events.jsonl").write_bytes(b"".join(lines[:cut]))
        study = Study(s, Ledger(tmp_path / f"cut{cut}").open())
        drive(study, outcome=outcome)
        assert rows(study) == rows(whole)
        study.book.close()


def test_a_cost_that_is_known_beforehand_is_never_trained(tmp_path: Path, space_file: Path) -> None:
    s = loaded(space_file, "search/constraints=['student/flops <= 40']")
    study = new(tmp_path, s, costs=lambda data: {"student/flops": (data["student"]["resolution"] or 8) ** 2})
    drive(study)
    assert 0 < study.book.table.refused < 30  # the sampler learns from it
    assert {t.recipe["student"]["resolution"] for t in study.trials.values()} <= {4, 6}
    with pytest.raises(UserError, match="must read like"):
        loaded(space_file, "search/constraints=['student/flops < 40']")


def test_a_space_of_which_nothing_is_left_says_by_what(tmp_path: Path, space_file: Path) -> None:
    s = loaded(space_file, "search/constraints=['student/flops <= 4']")
    study = new(tmp_path, s, costs=lambda data: {"student/flops": (data["student"]["resolution"] or 8) ** 2})
    with pytest.raises(UserError, match="is anything left of it.* constraint: student/flops is"):
        drive(study)


@pytest.mark.parametrize(
    ("setting", "reason"),
    [("search/epochs=60", "60 epochs are spent"), ("search/target=0.87", "target 0.87 is reached"), ("search/plateau={trials: 3}", "brought nothing")],
)
def test_limits_stop_the_search_and_not_the_finals(tmp_path: Path, space_file: Path, setting: str, reason: str) -> None:
    study = new(tmp_path, loaded(space_file, setting, "search/trials=200"))
    drive(study)
    assert reason in study.book.table.stopping
    assert sum(t.searching for t in study.trials.values()) < 200
    assert study.book.table.tests and not {"running", "paused", "waiting"} & {t.state for t in study.trials.values()}


def test_time_is_a_limit_too_and_a_resumed_study_remembers_it(tmp_path: Path, space_file: Path) -> None:
    ticks = iter(range(10_000))
    s = loaded(space_file, "search/time=40", "search/trials=200")
    study = new(tmp_path, s, clock=lambda: next(ticks))
    drive(study)
    assert study.book.table.stopping == "40 seconds are over"
    n = len(study.trials)
    study.book.close()
    assert len(Study(s, Ledger(tmp_path / "a").open()).trials) == n


def test_the_time_limit_counts_all_drivers_and_not_the_nights_between_them(tmp_path: Path, space_file: Path) -> None:
    begun, day = 1_790_000_000.0, 86_400.0
    at = [("created", 0), ("lost", 25), ("resumed", day), ("lost", day + 10), ("resumed", 2 * day)]
    events = [{"event": kind, "t": begun + t, "trial": -2, "reason": ""} for kind, t in at]
    assert ledger.spent(events) == 35 and ledger.spent(events[:2]) == 25 and ledger.spent([]) == 0
    assert ledger.spent([*events, {"event": "extended", "t": begun + 3 * day}]) == 0

    (tmp_path / "a").mkdir()
    (tmp_path / "a/events.jsonl").write_text("".join(json.dumps(e) + "\n" for e in events))
    now = [begun + 2 * day]
    study = Study(loaded(space_file, "search/time=40"), Ledger(tmp_path / "a").open(), jobs=2, clock=lambda: now[0])
    now[0] += 4
    assert isinstance(study.next_job(), Job)
    now[0] += 2
    study.next_job()
    assert study.book.table.stopping == "40 seconds are over" and len(study.trials) == 1


def test_the_live_view_may_be_drawn_at_any_moment(tmp_path: Path, space_file: Path) -> None:
    study = new(tmp_path, loaded(space_file, "search/trials=300", "search/sampler=random", "search/finalists/seeds=0"), jobs=8, teach=True)
    view, over, wrong = progress.View(quiet=True), threading.Event(), []
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


def test_an_extended_study_goes_on_from_what_it_knows(tmp_path: Path, space_file: Path) -> None:
    s = loaded(space_file, "search/trials=10")
    study = new(tmp_path, s)
    drive(study)
    study.book.append("closed", results=[])
    before = {t.number: t.student for t in study.trials.values()}
    study.book.append("extended", trials=20)
    study.book.close()
    book = Ledger(tmp_path / "a").open()
    again = Study(s, book, trials=20)
    begun = len(book.events)
    drive(again)
    assert sum(t.searching for t in again.trials.values()) == 20
    assert all(again.trials[n].student == student for n, student in before.items())
    assert not {e["trial"] for e in book.events[begun:] if e["event"] == "started"} & {n for n, s in before.items() if s}
    assert len(book.table.tests) == 2  # a second reading of test, and it shows


def test_an_extension_may_find_another_winner(tmp_path: Path, space_file: Path) -> None:
    s = loaded(space_file, "search/trials=4")
    study = new(tmp_path, s)
    drive(study)
    before = search.close(study)
    study.book.append("extended", trials=20)
    again = Study(s, study.book, trials=20)
    drive(again)
    after = search.close(again)
    assert before.winner and after.winner and after.winner.best_trial not in before.winner.runs["finalist"].values()
    assert after.recipe and "read: 2" in after.recipe.read_text()


@pytest.mark.parametrize("setting", ["search/epochs=60", "search/target=0.87", "search/plateau={trials: 3}"])
def test_a_limit_that_was_reached_does_not_keep_an_extension_from_its_trials(
    tmp_path: Path, space_file: Path, monkeypatch: pytest.MonkeyPatch, setting: str
) -> None:
    s = loaded(space_file, setting, "search/trials=200")
    study = new(tmp_path / "studies", s)
    drive(study)
    study.book.append("closed", results=[])
    study.book.close()
    before = sum(t.searching for t in study.trials.values())

    def go(book: Ledger, *_: object, **__: object) -> None:
        again = Study(s, book, trials=book.table.created["trials"])
        drive(again, f=lambda recipe, epoch: 0.5)
        assert sum(t.searching for t in again.trials.values()) == before + 3, again.book.table.stopping

    monkeypatch.setenv("AUTOKD_RUNS", str(tmp_path))
    monkeypatch.setattr(search, "checked", lambda *_, **__: None)
    monkeypatch.setattr(search, "_go", go)
    search.extend("a", 3)


def test_rungs_that_predict_nothing_are_said_to_be_unknown(tmp_path: Path, space_file: Path) -> None:
    study = new(tmp_path, loaded(space_file, "search/asha/exempt=1"))
    drive(study)
    found = asha.correlations(study.trials.values(), "val/accuracy", study.search.asha)
    assert [rung for rung, _, _ in found] == [1, 3] and all(n == 30 and r is not None and r > 0.9 for _, r, n in found)
    few = list(study.trials.values())[:5]
    assert all(r is None and n == 5 for _, r, n in asha.correlations(few, "val/accuracy", study.search.asha))


def crossing(recipe: dict, epoch: int) -> float:
    """What leads after one epoch ends last; from the third on, the order is the final one."""
    end = 0.01 * abs(math.log(recipe["distill"]["temperature"]["tau"] / 3))
    return 0.5 + (end if epoch == 1 else -end) + 0.001 * epoch


def test_a_rung_that_misleads_is_left_out_from_then_on(tmp_path: Path, space_file: Path) -> None:
    study = new(tmp_path, loaded(space_file, "search/asha={grace_epochs: 1, exempt: 2, raise_grace_below: 0.3}", "search/finalists={seeds: 0}"))
    drive(study, f=crossing)
    (raised,) = [e for e in study.book.events if e["event"] == "grace"]
    assert raised["rung"] == 1 and raised["epochs"] == 3 and raised["n"] >= 8 and raised["correlation"] < 0
    at = study.book.events.index(raised)
    before, after = ({(e["event"], e["rung"]) for e in part if "rung" in e} for part in (study.book.events[:at], study.book.events[at + 1 :]))
    begun = {e["trial"] for e in study.book.events[at:] if e["event"] == "suggested"}
    assert ("paused", 1) in before and ("paused", 3) in after
    assert begun and all(1 not in study.trials[n].rungs for n in begun)
    unmoved = new(tmp_path, loaded(space_file, "search/asha={grace_epochs: 1, exempt: 2}", "search/finalists={seeds: 0}"), "b")
    drive(unmoved, f=crossing)
    assert not unmoved.book.table.grace


def test_a_raised_grace_is_raised_again_after_a_kill(tmp_path: Path, space_file: Path) -> None:
    s = loaded(space_file, "search/asha={grace_epochs: 1, exempt: 2, raise_grace_below: 0.3}", "search/finalists={seeds: 0}")
    whole = new(tmp_path, s, "whole")
    drive(whole, f=crossing)
    lines = (tmp_path / "whole" / "events.jsonl").read_bytes().splitlines(keepends=True)
    at = next(i for i, line in enumerate(lines) if b'"grace"' in line)
    for cut in {*range(at - 6, at + 7), *range(1, len(lines), 17)}:
        (tmp_path / f"cut{cut}").mkdir()
        (tmp_path / f"cut{cut}" / "events.jsonl").write_bytes(b"".join(lines[:cut]))
        study = Study(s, Ledger(tmp_path / f"cut{cut}").open())
        drive(study, f=crossing)
        assert rows(study) == rows(whole), f"cut behind event {cut}"
        assert [e["trial"] for e in study.book.events if e["event"] == "suggested"] == list(range(30))
        assert sum(e["event"] == "grace" for e in study.book.events) == 1
        study.book.close()
