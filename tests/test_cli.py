"""The command line as a user runs it: subprocesses, exit codes, the store it leaves behind."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import typer

from autokd import ledger, recipe
from tests.conftest import RECIPE, SPACE, autokd


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    """One small search for the whole module: two workers, one diverging branch."""
    where = tmp_path_factory.mktemp("search")
    (where / "base.yaml").write_text(RECIPE)
    space = SPACE.replace("trials: 6", "trials: 8") + "  train/lr: {choice: [0.05, 1.0e+6], prior: 0.05}\n"
    (where / "space.yaml").write_text(space)
    done = autokd("search", "--space", "space.yaml", "--jobs", "2", "--name", "small", "--json", cwd=where, OMP_NUM_THREADS="2")
    return where, json.loads(done.stdout)


def table(where: Path, name: str = "small") -> ledger.Table:
    return ledger.read(where / "mlruns" / "studies" / name)[1]


def test_a_search_ends_with_an_answer_and_a_recipe(searched: tuple[Path, dict]) -> None:
    where, out = searched
    assert sum(out["states"].values()) == 8 and out["tests_read"] == 1
    assert Path(out["recipe"]).is_file()
    winner = out["winner"]
    assert len(winner["seeds"]) == 2 and winner["test_mean"] is not None
    assert {d["control"] for d in winner["differences"]} | {"reference KD"} == {"student alone", "reference KD"}
    text = Path(out["recipe"]).read_text()
    assert text.startswith("# The best recipe of study small") and text.count("\n") < 120


def test_two_workers_really_ran_side_by_side(searched: tuple[Path, dict]) -> None:
    trials = [t for t in table(searched[0]).trials.values() if t.state == "complete"]
    assert len({t.facts["pid"] for t in trials}) >= 2
    assert len({t.facts["pid"] for t in trials}) <= 3  # and were reused
    assert any(a.started < b.ended and b.started < a.ended for a in trials for b in trials if a.number < b.number)


def test_teachers_were_computed_once(searched: tuple[Path, dict]) -> None:
    facts = [t.facts for t in table(searched[0]).trials.values() if t.facts]  # of finished trials; a paused one may have trained it
    assert sum(f["networks trained"] for f in facts) <= 1
    assert len(list((searched[0] / "cache" / "networks").rglob("*.safetensors"))) == 1
    assert len(list((searched[0] / "cache" / "tables").rglob("*.safetensors"))) == 4 + 1  # one an epoch, and validation
    assert sum(f["tables made"] for f in facts) <= 4 + 1


def test_a_diverging_trial_ends_at_once_and_is_the_worst(searched: tuple[Path, dict]) -> None:
    gone = [t for t in table(searched[0]).trials.values() if t.state == "diverged"]
    assert gone, "the space has a branch with a learning rate of a million"
    assert all(t.recipe["train"]["lr"] == 1e6 and t.epochs <= 1 and "not finite" in t.reason for t in gone)
    assert not {t.number for t in gone} & {e["trial"] for e in table(searched[0]).finalists or []}


@pytest.mark.parametrize("threads", ["1", "3"])
def test_train_gives_the_very_bytes_that_the_search_gave(searched: tuple[Path, dict], threads: str) -> None:
    where, out = searched
    done = autokd("train", out["recipe"], "--out", f"again{threads}", "--json", cwd=where, OMP_NUM_THREADS=threads, AUTOKD_CACHE=str(where / f"other{threads}"))
    best = table(where).trials[out["winner"]["best_trial"]]
    searched_bytes = (where / "mlruns/studies/small/trials" / str(best.number) / str(best.attempt) / "student.safetensors").read_bytes()
    assert (where / f"again{threads}" / "student.safetensors").read_bytes() == searched_bytes
    assert json.loads(done.stdout)["student_sha256"] == best.student


def test_mlflow_holds_a_parent_and_a_child_for_everything(searched: tuple[Path, dict]) -> None:
    from mlflow import MlflowClient

    where, _ = searched
    client = MlflowClient(tracking_uri=f"sqlite:///{where}/mlruns/mlflow.db")
    experiment = client.get_experiment_by_name("small")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], max_results=1000)
    parents = [r for r in runs if "mlflow.parentRunId" not in r.data.tags]
    children = {int(r.data.tags["autokd.trial"]): r for r in runs if r.data.tags.get("mlflow.parentRunId") == parents[0].info.run_id}
    trials = table(where).trials
    assert len(parents) == 1 and parents[0].info.status == "FINISHED" and set(children) == set(trials)
    status = {"complete": "FINISHED", "pruned": "KILLED", "diverged": "FAILED"}
    for number, trial in trials.items():
        run = children[number]
        assert run.info.status == status[trial.state]
        assert run.data.tags["autokd.role"] == trial.role and run.data.tags["autokd.state"] == trial.state
        assert float(run.data.params["distill/losses/ce/weight"]) == trial.recipe["distill"]["losses"]["ce"]["weight"]
        if trial.metrics:
            history = client.get_metric_history(run.info.run_id, "val/accuracy")
            assert [(m.step, m.value) for m in sorted(history, key=lambda m: m.step)] == [(e, m["val/accuracy"]) for e, m in sorted(trial.metrics.items())]
        assert "recipe.yaml" in [f.path for f in client.list_artifacts(run.info.run_id)]
    assert {t.state for t in trials.values()} >= {"complete", "pruned", "diverged"}


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        (("teacher/weights=none.safetensors",), "none.safetensors: there is no such file"),
        (("teacher/model=torchvision:resnet81",), "nearest: torchvision:resnet18"),
        (("data/name=folder:cloths",), "there is no folder"),
    ],
)
def test_what_is_not_there_is_told_before_a_study_exists(sets: tuple[str, ...], message: str, space_file: Path) -> None:
    options = [word for item in sets for word in ("--set", item)]
    for more in (["--name", "s"], ["--dry-run"], ["--dry-run", "--jobs", "2"]):
        done = autokd("search", "--space", space_file.name, *options, *more, cwd=space_file.parent, code=2)
        assert message in done.stderr and done.stderr.count("error:") == 1
    assert not (space_file.parent / "mlruns/studies/s/events.jsonl").exists()


def test_validate_says_what_is_not_there(recipe_file: Path) -> None:
    recipe_file.write_text(RECIPE.replace("cnn-3x16,", "cnn-3x16, weights: none.pt,"))
    assert f"base.yaml: note: teacher/weights: {recipe_file.parent / 'none.pt'} is not there" in autokd("validate", "base.yaml", cwd=recipe_file.parent).stdout


def test_problems_name_the_option_that_brought_them_and_a_failed_run_leaves_no_folder(recipe_file: Path) -> None:
    done = autokd("train", "base.yaml", "--set", "train/epoch=2", "--set", "train/lr=x", "--out", "o", cwd=recipe_file.parent, code=2)
    assert "error: --set train/epoch=2: train/epoch: unknown key" in done.stderr and "error: --set train/lr=x: train/lr: " in done.stderr
    autokd("train", "base.yaml", "--set", "teacher/weights=none.pt", "--out", "o", cwd=recipe_file.parent, code=2)
    assert not (recipe_file.parent / "o").exists()


def test_a_damaged_study_does_not_hide_the_others(searched: tuple[Path, dict], tmp_path: Path) -> None:
    shutil.copytree(searched[0] / "mlruns/studies/small", tmp_path / "mlruns/studies/small")
    (tmp_path / "mlruns/studies/broken").mkdir()
    (tmp_path / "mlruns/studies/broken/events.jsonl").write_text('{"event": \n{"event": "created"}\n')
    done = autokd("studies", cwd=tmp_path)
    assert "small " in done.stdout and "broken" not in done.stdout and "broken/events.jsonl: damaged at byte 0" in done.stderr


def test_a_folder_beside_the_recipe_is_found_from_elsewhere(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / "own/pets" / name).mkdir(parents=True)
    (tmp_path / "own/r.yaml").write_text('data: {name: "folder:pets"}\n')
    assert recipe.load(tmp_path / "own/r.yaml").data.name == f"folder:{tmp_path / 'own/pets'}"
    (tmp_path / "own/r.yaml").write_text('data: {name: "folder:elsewhere"}\n')
    assert recipe.load(tmp_path / "own/r.yaml").data.name == "folder:elsewhere"  # in the current folder, or in --data-dir


def test_nothing_is_left_behind(searched: tuple[Path, dict]) -> None:
    where, _ = searched
    assert not list((where / "mlruns").rglob("*.pkl")) and not list((where / "mlruns").rglob(".part-*"))
    assert "small" in autokd("studies", cwd=where).stdout
    assert autokd("search", "--resume", "small", cwd=where, code=2).stderr.startswith("error: study 'small' is finished")
    assert "exists already" in autokd("search", "--space", "space.yaml", "--name", "small", cwd=where, code=2).stderr
    assert "did you mean 'small'" in autokd("search", "--resume", "smal", cwd=where, code=2).stderr


def test_sync_twice_changes_nothing(searched: tuple[Path, dict]) -> None:
    from mlflow import MlflowClient

    where, _ = searched
    uri = f"sqlite:///{where}/again.db"
    counts = []
    for _ in range(2):
        autokd("sync", "--tracking-uri", uri, cwd=where)
        client = MlflowClient(tracking_uri=uri)
        experiment = client.get_experiment_by_name("small")
        assert experiment is not None
        runs = client.search_runs([experiment.experiment_id], max_results=1000)
        counts.append((len(runs), sum(len(client.get_metric_history(r.info.run_id, "val/accuracy")) for r in runs), {r.info.status for r in runs}))
    assert counts[0] == counts[1] and "RUNNING" not in counts[0][2]


def test_ctrl_c_prints_the_resume_command_and_resuming_ends_the_search(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(RECIPE)
    (tmp_path / "space.yaml").write_text(SPACE.replace("trials: 6", "trials: 4"))
    env = os.environ | {"AUTOKD_CACHE": str(tmp_path / "cache")}
    args = [sys.executable, "-m", "autokd", "search", "--space", "space.yaml", "--name", "cut", "--jobs", "1", "--set", "train/epochs=40"]
    process = subprocess.Popen(args, cwd=tmp_path, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    events = tmp_path / "mlruns/studies/cut/events.jsonl"
    for _ in range(600):
        if events.exists() and events.read_text().count('"event":"epoch"') >= 3:
            break
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "autokd search --resume cut" in err and "Traceback" not in err and out == ""
    done = autokd("search", "--resume", "cut", cwd=tmp_path)
    assert done.stdout.rstrip().endswith("mlruns/studies/cut/recipe.yaml")
    t = table(tmp_path, "cut")
    assert {x.state for x in t.trials.values()} <= {"complete", "pruned"} and t.closed


def test_the_resume_command_has_what_the_study_does_not_keep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from autokd import cli, search

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    (tmp_path / "base.yaml").write_text(RECIPE)
    (tmp_path / "space.yaml").write_text(SPACE)
    monkeypatch.setattr(search, "start", interrupted)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(typer.Exit) as early:
        cli.search(space=tmp_path / "space.yaml", name="cut")
    assert early.value.exit_code == 130 and capsys.readouterr().err == "\ninterrupted before the study had begun\n"
    folder = ledger.folder(ledger.root(), "cut")
    folder.mkdir(parents=True)
    (folder / "events.jsonl").touch()
    with pytest.raises(typer.Exit):
        cli.search(space=tmp_path / "space.yaml", name="cut", data_dir=Path("my data"), tracking_uri="http://host:5000")
    assert capsys.readouterr().err.endswith("autokd search --resume cut --data-dir 'my data' --tracking-uri http://host:5000\n")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["search"], "give --space FILE"),
        (["search", "--space", "nosuch.yaml"], "cannot be read"),
        (["search", "--space", "space.yaml", "--time", "soon"], "expected a number and a unit"),
        (["search", "--space", "space.yaml", "--name", "a/b"], "no study name"),
        (["search", "--resume", "a", "--trials", "50", "--time", "1h"], "--trials, --time: a study goes on as it was begun"),
        (["search", "--extend", "a", "--trials", "5", "--jobs", "4"], "--jobs: a study goes on as it was begun"),
        (["train", "space.yaml"], "is a search space, not a recipe"),
        (["train", "base.yaml", "--set", "train/epoch=3"], "did you mean 'epochs'"),
        (["train", "base.yaml", "--out", "base.yaml/x"], "cannot be written"),
        (["train", "base.yaml", "--set", "train/lr=1e6", "--quiet"], "diverged"),
        (["validate", "base.yaml", "bad.yaml"], "bad.yaml:1: trian: unknown key"),
        (["serch"], "No such command"),
        (["ui"], "no MLflow store"),
        (["schema", "recipes"], "known: recipe, space"),
    ],
)
def test_a_wrong_request_is_one_message_and_exit_code_2(tmp_path: Path, args: list[str], message: str) -> None:
    (tmp_path / "base.yaml").write_text(RECIPE)
    (tmp_path / "space.yaml").write_text(SPACE)
    (tmp_path / "bad.yaml").write_text("trian: {}\n")
    done = autokd(*args, cwd=tmp_path, code=2)
    assert message in done.stderr
    assert not list(tmp_path.rglob("*.safetensors")) or "diverged" in message


def test_look_ups(tmp_path: Path) -> None:
    (tmp_path / "space.yaml").write_text(SPACE)
    (tmp_path / "base.yaml").write_text(RECIPE)
    assert "flsw" in autokd("methods", cwd=tmp_path).stdout
    assert "resnet20" in autokd("models", cwd=tmp_path).stdout
    assert "digits" in autokd("datasets", cwd=tmp_path).stdout
    assert "no studies" in autokd("studies", cwd=tmp_path).stdout
    assert "distill/temperature/flsw/beta" in autokd("show", "space.yaml", cwd=tmp_path).stdout
    shown = autokd("show", "base.yaml", cwd=tmp_path).stdout
    (tmp_path / "shown.yaml").write_text(shown)
    assert autokd("show", "shown.yaml", cwd=tmp_path).stdout == shown
    schema = json.loads(autokd("schema", "recipe", cwd=tmp_path).stdout)
    assert "flsw" in json.dumps(schema["properties"]["distill"])
    assert autokd("validate", "base.yaml", "space.yaml", cwd=tmp_path).stdout.count(": ok") == 2


def test_a_method_is_one_file_dropped_into_a_folder(tmp_path: Path) -> None:
    (tmp_path / "methods").mkdir()
    (tmp_path / "methods" / "warming.py").write_text(
        "from autokd.axes import Positive, preset, register\n\n\n"
        '@register("temperature", "warming", paper="ours")\n'
        "def warming(progress, *, tau: Positive = 4.0, end: Positive = 1.0):\n"
        '    """Linear from ``tau`` to ``end`` over the run. Returns a scalar."""\n'
        "    return tau + (end - tau) * progress\n\n\n"
        'preset("warming", {"temperature": {"kind": "warming"}, "losses": {"ce": {}, "kl": {}}}, paper="ours", summary="tau falls",\n'
        '       recommended={"temperature/end": {"uniform": [1, 4]}})\n'
    )
    (tmp_path / "base.yaml").write_text(RECIPE)
    (tmp_path / "space.yaml").write_text(
        "base: base.yaml\nsearch: {trials: 2, finalists: {seeds: 2}}\nvary: {distill: {one_of: [{preset: warming}, {preset: kd}], free: recommended}}\n"
    )
    env = {"AUTOKD_METHODS": str(tmp_path / "methods")}
    assert "warming" in autokd("methods", cwd=tmp_path, **env).stdout
    autokd("search", "--space", "space.yaml", "--name", "own", "--jobs", "1", cwd=tmp_path, **env)
    assert "warming" in {t.recipe["distill"]["temperature"]["kind"] for t in table(tmp_path, "own").trials.values()}
    assert "unknown preset" in autokd("validate", "space.yaml", cwd=tmp_path, code=2).stderr
    (tmp_path / "methods" / "broken.py").write_text("import nothing_of_that_name\n")
    assert "broken.py: this method file cannot be loaded" in autokd("methods", cwd=tmp_path, code=2, **env).stderr


@pytest.mark.parametrize(
    ("args", "env", "message"),
    [
        (["--ray-address", "127.0.0.1:9"], {}, "--ray-address 127.0.0.1:9: no Ray cluster answers there"),
        (["--set", "search/resources/gpu=99"], {}, "search/resources/gpu: a trial asks for 99 GPUs, and this machine has"),
        ([], {"AUTOKD_CACHE": "/dev/null/x"}, "the cache /dev/null/x: cannot be written"),
        ([], {"AUTOKD_RUNS": "/dev/null/x"}, "cannot be written"),
        (["--tracking-uri", "sqlite:////dev/null/m.db"], {}, "MLflow's store /dev/null: cannot be written"),
    ],
)
def test_what_cannot_work_is_refused_before_a_study_is_begun(space_file: Path, args: list[str], env: dict[str, str], message: str) -> None:
    done = autokd("search", "--space", "space.yaml", *args, cwd=space_file.parent, code=2, **env)
    assert message in done.stderr
    assert not (space_file.parent / "mlruns" / "studies").exists()


def test_a_study_is_not_resumed_with_another_space(searched: tuple[Path, dict]) -> None:
    where, _ = searched
    folder = where / "mlruns/studies/cut"
    folder.mkdir()
    lines = (where / "mlruns/studies/small/events.jsonl").read_bytes().splitlines(keepends=True)
    (folder / "events.jsonl").write_bytes(b"".join(lines[:-1]))
    done = autokd("search", "--resume", "cut", "--space", "space.yaml", "--set", "train/lr=0.04", cwd=where, code=2)
    assert "begun with another space" in done.stderr and "base: train/lr: 0.05 then, 0.04 now" in done.stderr
    done = autokd("search", "--resume", "cut", "--space", "space.yaml", "--set", "search/trials=9", cwd=where, code=2)
    assert "space: search/trials: 8 then, 9 now" in done.stderr
    assert (folder / "events.jsonl").read_bytes() == b"".join(lines[:-1])
