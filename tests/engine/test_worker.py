"""What a worker does with its jobs, without Ray's processes; and which of its files are kept."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from autokd import data, recipe
from autokd import space as spaces
from autokd.engine.bridge import Bridge, write_recipe
from autokd.errors import UserError
from autokd.study.ledger import Ledger, Trial
from autokd.study.outcomes import Outcomes
from autokd.study.queue import DONE, Job, Study


@pytest.fixture
def options(tmp_path: Path) -> dict[str, Any]:
    return {"cache": str(tmp_path / "cache"), "device": "cpu"}


def at_work(folder: Path, job: Job, options: dict[str, Any]) -> Any:
    from autokd.engine import worker

    made = worker.Worker.__new__(worker.Worker)
    made.reset_config(worker.config(folder, job, options))
    return made


def report(worker: Any) -> dict[str, Any]:
    return json.loads(worker.step()["report"])


def test_what_a_dead_driver_s_worker_did_on_does_not_reach_the_next_attempt(
    tmp_path: Path, recipe_file: Path, options: dict[str, Any]
) -> None:
    job = Job(3, 1, "trial", recipe.load(recipe_file).to_dict(), rungs=[1, 2])
    orphan = at_work(tmp_path, job, options)
    first = report(orphan)
    second, third = report(orphan), report(orphan)  # which the driver did not live to write down
    again = at_work(tmp_path, replace(job, attempt=2, checkpoint=first["checkpoint"]), options)
    for known in (second, third):
        found = report(again)
        assert (found["epoch"], found["metrics"], found["attempt"]) == (
            known["epoch"],
            known["metrics"],
            2,
        )


@pytest.mark.parametrize("left", [None, b"", b"half"])
def test_a_checkpoint_that_is_gone_or_damaged_costs_its_epochs_and_nothing_else(
    left: bytes | None, tmp_path: Path, recipe_file: Path, options: dict[str, Any]
) -> None:
    job = Job(3, 1, "trial", recipe.load(recipe_file).to_dict(), rungs=[2])
    whole = at_work(tmp_path, job, options)
    reports = [report(whole) for _ in range(4)]
    file = tmp_path / reports[1]["checkpoint"]
    content = file.read_bytes()
    (
        file.unlink()
        if left is None
        else file.write_bytes(content[: len(content) // 2] if left else left)
    )
    again = at_work(tmp_path, replace(job, attempt=2, checkpoint=reports[1]["checkpoint"]), options)
    found = [report(again) for _ in range(4)]
    assert [(r["epoch"], r["metrics"]) for r in found] == [
        (r["epoch"], r["metrics"]) for r in reports
    ]
    assert found[-1]["student"] == reports[-1]["student"]


def test_only_the_checkpoint_that_the_ledger_names_is_kept(
    tmp_path: Path, space_file: Path, options: dict[str, Any]
) -> None:
    from autokd.engine.bridge import Bridge

    s = spaces.load(space_file, sets=("search/asha/exempt_baselines=true",))
    book = Ledger(tmp_path / "study").open()
    book.append("created", name="study", seed=0, jobs=1, trials=6, frozen=s.frozen)
    bridge = Bridge(Study(s, book), options)
    config = bridge.next("a")  # it pauses nowhere
    worker = at_work(book.path, Job(**json.loads(config["job"])), options)

    def kept() -> list[str]:
        return sorted(p.name for p in book.path.glob("trials/0/*/checkpoint*"))

    seen = []
    goes_on = True
    while goes_on:
        text = worker.step()["report"]
        assert set(kept()) >= set(seen[-1:]), (
            "the one that the ledger knows is there until the next is written down"
        )
        goes_on = bridge.reported(text)
        seen = kept()
        assert len(seen) == (1 if goes_on else 0)
    assert bridge.error is None and bridge.study.trials[0].state == "complete"


class Full:
    """A file on a disk without room."""

    def write(self, text: str) -> int:
        raise OSError(28, "No space left on device")

    close = flush = lambda self: self.write("")


def test_a_full_disk_stops_every_trial_and_is_told_in_a_line(
    tmp_path: Path, space_file: Path, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from autokd.cli import live
    from autokd.engine import raytune, search
    from autokd.tracking import follower

    s = spaces.load(space_file)
    bridges = []

    def run(study: Study, **_: object) -> None:
        bridges.append(bridge := Bridge(study, options))
        study.taught(json.loads(bridge.next("teacher")["job"])["trial"], "taught")
        jobs = [Job(**json.loads(bridge.next(name)["job"])) for name in ("a", "b")]
        room, study.book._out = study.book._out, Full()  # type: ignore[assignment]
        said = {
            "role": "trial",
            "attempt": 1,
            "epoch": 1,
            "metrics": {"val/accuracy": 0.5},
            "outcome": "running",
            "seconds": 1.0,
        }
        assert not bridge.reported(json.dumps(said | {"trial": jobs[0].trial}))
        study.book._out = room
        # nor does the other go on to its end
        assert not bridge.reported(json.dumps(said | {"trial": jobs[1].trial}))
        study.book._out = Full()  # type: ignore[assignment]
        assert bridge.error
        raise bridge.error

    monkeypatch.setenv("AUTOKD_RUNS", str(tmp_path))
    monkeypatch.setattr(raytune, "run", run)
    monkeypatch.setattr(search, "checked", lambda *_, **__: search.Capacity(2, 0, 0))
    monkeypatch.setattr(follower.Follower, "_follow", lambda self: None)
    with pytest.raises(
        UserError, match="No space left on device; what was written is kept: .*--resume full"
    ):
        search.start(s, name="full", jobs=2, view=live.LiveView(quiet=True))
    assert bridges[0].next("c") is DONE
    Ledger(tmp_path / "studies/full").open().close()  # it is not locked any more, nor damaged


def test_what_cannot_be_written_for_a_trial_ends_the_search(
    tmp_path: Path, space_file: Path, options: dict[str, Any]
) -> None:
    from autokd.engine.bridge import Bridge

    s = spaces.load(space_file)
    book = Ledger(tmp_path / "study").open()
    book.append("created", name="study", seed=0, jobs=1, trials=6, frozen=s.frozen)
    (book.path / "trials").touch()
    bridge = Bridge(Study(s, book), options)
    assert bridge.next("a") is DONE and isinstance(bridge.error, OSError)


def test_a_worker_says_what_went_wrong(
    tmp_path: Path, recipe_file: Path, options: dict[str, Any]
) -> None:
    made = recipe.load(recipe_file, ("train/lr=1e6",)).to_dict()
    worker = at_work(tmp_path, Job(0, 1, "trial", made), options)
    said = next(found for _ in range(4) if (found := report(worker))["outcome"] != "running")
    assert said["outcome"] == "diverged" and "not finite" in said["reason"]
    lost = recipe.load(recipe_file, ("data/name=folder:nowhere",)).to_dict()
    failed = report(at_work(tmp_path, Job(0, 1, "trial", lost), options))
    assert failed["outcome"] == "failed" and "there is no folder" in failed["reason"]


def taught(worker: Any) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """What a teacher's job says: how far it is, step by step, and its last report."""
    steps: list[dict[str, Any]] = []
    while (found := report(worker))["outcome"] == "running":
        steps += found["learned"]
    return steps, found


def test_a_teacher_is_measured(tmp_path: Path, recipe_file: Path, options: dict[str, Any]) -> None:
    made = recipe.load(recipe_file)
    steps, found = taught(
        at_work(tmp_path, Job(-2, 1, "teacher", made.to_dict(), member=0), options)
    )
    assert [(s["model"], s["epoch"], s["of"]) for s in steps if s["metrics"]] == [
        ("cnn-3x16", epoch, 3) for epoch in (1, 2, 3)
    ]
    assert steps[-1]["metrics"]["val/accuracy"] == found["metrics"]["val/accuracy"]
    assert (found["facts"]["classes"], found["facts"]["validation"]) == (10, 288)
    assert found["outcome"] == "taught"
    assert not found["given"]
    assert not found["assistant"]
    assert found["resolution"] == 8
    assert found["facts"]["networks trained"] == 1 and 0.1 < found["metrics"]["val/accuracy"] <= 1
    given = made.to_dict() | {
        "teacher": made.to_dict()["teacher"] | {"weights": str(tmp_path / "absent.safetensors")}
    }
    _, refused = taught(at_work(tmp_path, Job(-2, 1, "teacher", given, member=0), options))
    assert refused["outcome"] == "failed"
    assert refused["given"]
    assert "absent.safetensors" in refused["reason"]
    preloaded = report(at_work(tmp_path, Job(-3, 1, "preload", made.to_dict()), options))
    assert preloaded["outcome"] == "preloaded"


def test_a_teacher_that_cannot_be_used_stops_the_search(
    tmp_path: Path, space_file: Path, options: dict[str, Any]
) -> None:
    from autokd.engine.bridge import Bridge

    s = spaces.load(space_file, sets=("teacher/weights=absent.safetensors",))
    book = Ledger(tmp_path / "study").open()
    book.append("created", name="study", seed=0, jobs=1, trials=6, frozen=s.frozen)
    bridge = Bridge(Study(s, book, teach=True), options)
    worker = at_work(book.path, Job(**json.loads(bridge.next("a")["job"])), options)
    assert not bridge.reported(worker.step()["report"])
    assert isinstance(bridge.error, UserError)
    assert "teacher cnn-3x16: " in str(bridge.error)
    assert "absent.safetensors" in str(bridge.error)


def test_answers_that_are_not_finite_end_what_gave_them(
    tmp_path: Path, space_file: Path, options: dict[str, Any]
) -> None:
    s = spaces.load(space_file)
    book = Ledger(tmp_path / "study").open()
    book.append("created", name="study", seed=0, jobs=1, trials=6, frozen=s.frozen)
    bridge = Bridge(Study(s, book, teach=True), options)
    job = json.loads(bridge.next("a")["job"])
    told = {"role": "teacher", "trial": job["trial"], "attempt": 1, "outcome": "taught"}
    metrics = {"val/accuracy": 0.1, "val/nll": float("nan")}
    assert not bridge.reported(json.dumps(told | {"metrics": metrics, "seconds": 1.0}))
    (teacher,) = book.table.teachers.values()
    assert teacher["state"] == "failed" and teacher["reason"] == "on validation val/nll is nan"
    assert bridge.error is None
    results = {"3": {"test/accuracy": 0.5, "test/nll": float("inf")}}
    tested = {"role": "test", "trial": -1, "attempt": 1, "outcome": "tested", "results": results}
    assert not bridge.reported(json.dumps(tested))
    assert isinstance(bridge.error, UserError)
    assert "could not be read: trial 3: test/nll is inf" in str(bridge.error)


def test_a_worker_measures_the_average_at_the_rungs(
    tmp_path: Path, recipe_file: Path, options: dict[str, Any]
) -> None:
    job = Job(3, 1, "trial", recipe.load(recipe_file).to_dict(), rungs=[2], average=1.0)
    at_rungs = at_work(tmp_path, job, options)
    reports = [report(at_rungs) for _ in range(4)]
    assert ["val/ema/accuracy" in r["metrics"] for r in reports] == [False, True, False, False]
    plain = at_work(tmp_path, replace(job, trial=4, average=None), options)
    assert [report(plain) for _ in range(4)][-1]["student"] == reports[-1]["student"]


def test_a_finalist_keeps_what_came_of_each_picture(
    tmp_path: Path, recipe_file: Path, options: dict[str, Any]
) -> None:
    import numpy as np
    from safetensors.numpy import load

    made = recipe.load(recipe_file).to_dict()
    trial = Trial(5, "finalist", made, state="complete", attempt=1)
    worker = at_work(tmp_path, Job(5, 1, "finalist", made), options)
    last = [report(worker) for _ in range(4)][-1]
    write_recipe(tmp_path, trial)
    trial.outcomes = last["facts"]["outcomes"]
    own = Outcomes(tmp_path).of(trial, "validation")
    assert own is not None
    assert own["correct"].mean() == pytest.approx(last["metrics"]["val/accuracy"])
    assert own["nll"].mean() == pytest.approx(last["metrics"]["val/nll"], rel=1e-5)
    assert own["entropy"].mean() == pytest.approx(last["metrics"]["val/entropy"], rel=1e-5)
    bins = np.ceil(own["confidence"] * 15)
    gaps = [
        abs((own["correct"] - own["confidence"])[bins == b].sum()) / len(bins) for b in range(16)
    ]
    assert sum(gaps) == pytest.approx(last["metrics"]["val/ece"], abs=1e-4)
    assert len(set(own["case"])) == len(own["case"])
    assert ((own["label"] == own["predicted"]) == own["correct"]).all()
    agreed = (own["teacher"] == own["predicted"]).mean()
    assert agreed == pytest.approx(last["metrics"]["val/agreement"])
    wrong = own["mistake"]
    assert len(wrong) == min(24, (own["correct"] == 0).sum()) and not own["correct"][wrong].any()
    assert (np.diff(own["confidence"][wrong]) <= 0).all()
    seen = data.load(recipe.parse(made).data).validation.pictures[wrong].permute(0, 2, 3, 1)
    assert (own["picture"] == seen.numpy()).all()
    assert len(json.loads(bytes(own["classes"]))) == 10

    students = {"5": trial.folder.as_posix()}
    file = tmp_path / trial.folder / "outcomes-validation.safetensors"
    file.unlink()
    assert Outcomes(tmp_path).of(trial, "validation") is None
    again = report(at_work(tmp_path, Job(-2, 1, "outcomes", {}, students=students), options))
    assert again["outcomes"] == {"5": trial.outcomes}
    assert load(file.read_bytes()).keys() == own.keys()
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    assert Outcomes(tmp_path).of(trial, "validation") is None  # not what the ledger knows

    tested = report(at_work(tmp_path, Job(-1, 1, "test", {}, students=students), options))
    trial.outcomes = trial.outcomes | tested["outcomes"]["5"]
    test = Outcomes(tmp_path).of(trial, "test")
    assert test is not None and not set(test["case"]) & set(own["case"])
    assert test["correct"].mean() == pytest.approx(tested["results"]["5"]["test/accuracy"])
    gone = report(
        at_work(tmp_path, Job(-2, 1, "outcomes", {}, students={"6": "trials/6/1"}), options)
    )
    assert gone["outcome"] == "rebuilt" and gone["outcomes"] == {}


def test_data_without_test_pictures_has_no_test_results(
    tmp_path: Path, recipe_file: Path, options: dict[str, Any]
) -> None:
    made = recipe.load(recipe_file, ("data/test=0", "train/epochs=1")).to_dict()
    report(at_work(tmp_path, Job(5, 1, "finalist", made), options))
    write_recipe(tmp_path, Trial(5, "finalist", made, attempt=1))
    job = Job(-1, 1, "test", {}, students={"5": "trials/5/1"})
    tested = report(at_work(tmp_path, job, options))
    assert tested["outcome"] == "tested" and tested["results"] == {} == tested["outcomes"]


def test_how_far_a_teacher_is_stands_in_the_ledger(
    tmp_path: Path, space_file: Path, options: dict[str, Any]
) -> None:
    s = spaces.load(space_file)
    book = Ledger(tmp_path / "study").open()
    book.append("created", name="study", seed=0, jobs=1, trials=6, frozen=s.frozen)
    bridge = Bridge(Study(s, book, teach=True), options)
    worker = at_work(book.path, Job(**json.loads(bridge.next("a")["job"])), options)
    while bridge.reported(worker.step()["report"]):
        pass
    learned = [e for e in book.events if e["event"] == "learned" and e["metrics"]]
    (teacher,) = book.table.teachers.values()
    assert [e["epoch"] for e in learned] == [1, 2, 3]
    assert {e["key"] for e in learned} == {teacher["key"]}
    assert all(e["metrics"]["val/accuracy"] > 0 for e in learned)
    book.close()
    again = Ledger(tmp_path / "study").open()  # read as any other
    assert [e["event"] for e in again.events] == [e["event"] for e in book.events]
    again.close()
