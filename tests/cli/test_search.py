"""A finished search as its user finds it: the answer, the ledger, the store it leaves behind."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.commands import autokd, table


@pytest.fixture
def answer(home: Path) -> dict[str, Any]:
    return json.loads((home / "answer.json").read_text())


@pytest.fixture
def copied(home: Path, tmp_path: Path) -> Path:
    """The study in a place of its own, where it may be written to. Returns its folder."""
    return Path(shutil.copytree(home / "mlruns/studies/small", tmp_path / "mlruns/studies/small"))


def test_a_search_ends_with_an_answer_and_a_recipe(answer: dict[str, Any]) -> None:
    assert sum(answer["states"].values()) == 8 and answer["tests_read"] == 1
    assert Path(answer["recipe"]).is_file()
    winner = answer["winner"]
    assert len(winner["seeds"]) == 3 and winner["test_mean"] is not None
    assert {d["control"] for d in winner["differences"]} | {"reference KD"} == {
        "student alone",
        "reference KD",
    }
    text = Path(answer["recipe"]).read_text()
    assert text.startswith("# The best recipe of study small") and text.count("\n") < 120


def test_two_workers_really_ran_side_by_side(home: Path) -> None:
    trials = [t for t in table(home).trials.values() if t.state == "complete"]
    assert len({t.facts["pid"] for t in trials}) >= 2
    assert len({t.facts["pid"] for t in trials}) <= 3  # and were reused
    assert any(
        a.started < b.ended and b.started < a.ended
        for a in trials
        for b in trials
        if a.number < b.number
    )


def test_teachers_were_computed_once(home: Path) -> None:
    # of finished trials; a paused one may have trained it
    facts = [t.facts for t in table(home).trials.values() if t.facts]
    tables = 8 + 1  # one an epoch, and validation
    assert sum(f["networks trained"] for f in facts) <= 1
    assert len(list((home / "cache" / "networks").rglob("*.safetensors"))) == 1
    assert len(list((home / "cache" / "tables").rglob("*.safetensors"))) == tables
    assert sum(f["tables made"] for f in facts) <= tables


def test_a_diverging_trial_ends_at_once_and_is_the_worst(home: Path) -> None:
    gone = [t for t in table(home).trials.values() if t.state == "diverged"]
    assert gone, "the space has a branch with a learning rate of a million"
    for t in gone:
        assert t.recipe["train"]["lr"] == 1e6 and t.epochs <= 1 and "not finite" in t.reason
    assert not {t.number for t in gone} & {e["trial"] for e in table(home).finalists or []}


@pytest.mark.parametrize("threads", ["1", "3"])
def test_train_gives_the_very_bytes_that_the_search_gave(
    home: Path, answer: dict[str, Any], tmp_path: Path, threads: str
) -> None:
    how = ["--out", "again", "--json"]
    done = autokd("train", answer["recipe"], *how, cwd=tmp_path, OMP_NUM_THREADS=threads)
    best = table(home).trials[answer["winner"]["best_trial"]]
    folder = home / "mlruns/studies/small/trials" / str(best.number) / str(best.attempt)
    again = (tmp_path / "again" / "student.safetensors").read_bytes()
    assert again == (folder / "student.safetensors").read_bytes()
    assert json.loads(done.stdout)["student_sha256"] == best.student


def test_mlflow_holds_a_parent_and_a_child_for_everything(home: Path) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{home}/mlruns/mlflow.db")
    experiment = client.get_experiment_by_name("small")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], max_results=1000)
    parents = [r for r in runs if "mlflow.parentRunId" not in r.data.tags]
    children = {
        int(r.data.tags["autokd.trial"]): r
        for r in runs
        if r.data.tags.get("mlflow.parentRunId") == parents[0].info.run_id
    }
    trials = table(home).trials
    assert len(parents) == 1
    assert parents[0].info.status == "FINISHED"
    assert set(children) == set(trials)
    status = {"complete": "FINISHED", "pruned": "KILLED", "diverged": "FAILED"}
    for number, trial in trials.items():
        run = children[number]
        assert run.info.status == status[trial.state]
        assert run.data.tags["autokd.role"] == trial.role
        assert run.data.tags["autokd.state"] == trial.state
        assert (
            float(run.data.params["distill/losses/ce/weight"])
            == trial.recipe["distill"]["losses"]["ce"]["weight"]
        )
        if trial.metrics:
            history = client.get_metric_history(run.info.run_id, "val/accuracy")
            assert [(m.step, m.value) for m in sorted(history, key=lambda m: m.step)] == [
                (e, m["val/accuracy"]) for e, m in sorted(trial.metrics.items())
            ]
        assert "recipe.yaml" in [f.path for f in client.list_artifacts(run.info.run_id)]
    assert {t.state for t in trials.values()} >= {"complete", "pruned", "diverged"}


def test_a_damaged_study_does_not_hide_the_others(copied: Path, run: Callable) -> None:
    broken = copied.with_name("broken") / "events.jsonl"
    broken.parent.mkdir()
    lines = (copied / "events.jsonl").read_bytes().splitlines(keepends=True)
    broken.write_bytes(b"".join([*lines[:3], *lines[4:]]))
    (copied.with_name("folder") / "events.jsonl").mkdir(parents=True)
    damage = f"{broken}:4: damaged: it, or what stood before it, is not what was written"
    code, out, err = run("studies")
    assert code == 0
    assert "small " in out and "unsealed" not in out
    assert "broken" not in out
    assert f"warning: {damage}\n" in err
    assert "folder/events.jsonl: cannot be read: Is a directory" in err
    code, _, err = run("sync")
    assert code == 2 and damage in err and "cannot be read: Is a directory" in err
    assert "small" not in err  # it is in MLflow
    for words in ("report broken", "search --resume broken"):
        code, out, err = run(*words.split())
        assert (code, out, err.splitlines()[-1]) == (2, "", f"error: {damage}")


def test_nothing_is_left_behind(home: Path, run: Callable) -> None:
    assert not list((home / "mlruns").rglob("*.pkl"))
    assert not list((home / "mlruns").rglob(".part-*"))
    assert "small" in run("studies", cwd=home)[1]
    for words, said in (
        ("--resume small", "error: study 'small' is finished"),
        ("--space space.yaml --name small", "exists already"),
        ("--resume smal", "did you mean 'small'"),
    ):
        code, _, err = run("search", *words.split(), cwd=home)
        *stages, error = err.splitlines()
        assert code == 2 and error.startswith("error: ") and said in error, words
        assert all(stage.endswith(" …") for stage in stages), words


def test_sync_twice_changes_nothing(copied: Path, run: Callable, tmp_path: Path) -> None:
    from mlflow import MlflowClient

    uri = f"sqlite:///{tmp_path}/again.db"
    counts = []
    for _ in range(2):
        assert run("sync", "--tracking-uri", uri)[0] == 0
        client = MlflowClient(tracking_uri=uri)
        experiment = client.get_experiment_by_name("small")
        assert experiment is not None
        runs = client.search_runs([experiment.experiment_id], max_results=1000)
        points = [client.get_metric_history(r.info.run_id, "val/accuracy") for r in runs]
        counts.append((len(runs), sum(map(len, points)), {r.info.status for r in runs}))
    assert counts[0] == counts[1] and "RUNNING" not in counts[0][2]


def test_a_study_is_not_resumed_with_another_space(
    home: Path, copied: Path, run: Callable, tmp_path: Path
) -> None:
    for name in ("base.yaml", "space.yaml"):
        shutil.copy(home / name, tmp_path)
    events = copied / "events.jsonl"
    lines = b"".join(events.read_bytes().splitlines(keepends=True)[:-1])
    events.write_bytes(lines)
    for setting, said in (
        ("train/lr=0.04", "base: train/lr: 0.1 then, 0.04 now"),
        ("search/trials=9", "space: search/trials: 8 then, 9 now"),
    ):
        code, _, err = run(*"search --resume small --space space.yaml --set".split(), setting)
        assert code == 2
        assert "begun with another space" in err and said in err
    assert events.read_bytes() == lines
