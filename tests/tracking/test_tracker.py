"""MLflow: what is written, that writing again changes nothing, and that a store that is down or
slow harms nobody.
"""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import pytest

from autokd import report
from autokd.recipe.document import parse
from autokd.study import ledger, verdict, words
from autokd.tracking.audit import differences
from autokd.tracking.experiment import STATUS
from autokd.tracking.follower import Follower, sync
from autokd.tracking.store import LONGEST
from tests.helpers import synthetic
from tests.helpers.hostile import HOSTILE, WORD
from tests.helpers.synthetic import START, Story, study
from tests.tracking.mlflow_store import SMALL, client, content, effective, runs, store


def test_what_is_written(written: Path) -> None:
    _, table = ledger.read(written / "studies" / "done")
    found = runs(store(written), "done")
    assert set(found) == {"search", *map(str, table.trials)}
    parent = found["search"]
    assert parent.info.status == "FINISHED"
    assert parent.info.start_time == round(table.created["t"] * 1000)
    assert parent.data.params["search/asha/grace_epochs"] == "9"
    assert parent.data.params["search/seed"] == "0"
    best = verdict.overall(verdict.results(table, "val/accuracy", 1), 1)
    assert best is not None
    for d in best.test_differences:
        said = parent.data.tags[f"autokd.verdict.{d.control}"]
        assert said == words.shown(d, "val/accuracy")
    assert "[" in parent.data.tags["mlflow.note.content"]
    assert parent.data.metrics["winner/val/accuracy"] > 0.5
    assert {
        "winner/test/accuracy",
        "winner/test/against reference KD/low",
        "best/val/accuracy",
    } <= set(parent.data.metrics)
    files = {f.path for f in client(store(written)).list_artifacts(parent.info.run_id)}
    assert files == {"space.yaml", "base.yaml", "recipe.yaml", "report.html"}
    for t in table.trials.values():
        run = found[str(t.number)]
        tags = run.data.tags
        params = run.data.params
        metrics = run.data.metrics
        assert tags["mlflow.parentRunId"] == parent.info.run_id
        assert tags["autokd.role"] == t.role
        assert tags["autokd.state"] == t.state
        assert run.info.status == STATUS[t.state]
        assert run.info.end_time == round(t.ended * 1000)
        temperature = t.recipe["distill"]["temperature"]
        alone = t.role == "control-ce"  # what nothing reads is not logged
        assert params.get("distill/temperature/kind") == (None if alone else temperature["kind"])
        assert ("teacher/model" in params) == ("distill/target/kind" in params) == (not alone)
        assert params["seed"] == str(t.seed) == tags["autokd.seed"]
        # a branch's parameters, where they live
        assert ("distill/temperature/beta" in params) == ("beta" in temperature)
        history = client(store(written)).get_metric_history(run.info.run_id, "val/accuracy")
        assert sorted((p.step, p.value) for p in history) == [
            (e, m["val/accuracy"]) for e, m in sorted(t.metrics.items())
        ]
        assert all(START * 1000 < p.timestamp <= run.info.end_time for p in history)
        # of those that ended early, too
        assert run.inputs.dataset_inputs[0].dataset.digest == "f9072a5616d3724c"
        if t.state == "complete":
            assert metrics["run/peak_memory_mb"] == 940.5
            assert metrics["run/seconds"] == 2.5
            assert metrics["student/params"] == 770
        if t.parent is not None:
            said = {
                "finalist": f"finalist {t.parent}",
                "control-kd": "reference KD",
                "control-ce": "student alone",
            }[t.role]
            assert run.info.run_name == f"{t.number:03d} {said}, seed {t.seed}"
            assert str(t.parent) in tags["autokd.confirms"] and "test/accuracy" in metrics
        if t.state == "pruned":
            assert tags["autokd.rung"] == "9"
    assert {r.info.status for r in found.values()} == {"FINISHED", "KILLED", "FAILED"}


def test_writing_again_changes_nothing(written: Path) -> None:
    before = content(written)
    page = next((written / "artifacts").rglob("report.html")).stat().st_mtime_ns
    sync(written, store(written), ["done"])
    sync(written, store(written), ["done"])
    after = content(written)
    assert {name for name in after if after[name] != before[name]} == set()
    assert next((written / "artifacts").rglob("report.html")).stat().st_mtime_ns == page


def test_piece_by_piece_is_as_at_once(written: Path, ready: Path) -> None:
    """However often it was cut off on the way, at any line, also within one: the store ends with
    the same content.
    """
    whole = (written / "studies" / "done" / "events.jsonl").read_bytes()
    folder = ready / "studies" / "done"
    shutil.copytree(written / "studies" / "done" / "trials", folder / "trials")
    for end in (40, len(whole) // 3, len(whole) // 2, len(whole) * 9 // 10, len(whole)):
        (folder / "events.jsonl").write_bytes(whole[:end])
        sync(ready, store(ready), ["done"])
        if end > 40:
            # nobody is at work
            assert "RUNNING" not in {r.info.status for r in runs(store(ready), "done").values()}
    ours = effective(store(ready), "done")
    theirs = effective(store(written), "done")
    assert ours.keys() == theirs.keys()
    for key in ours:
        assert ours[key] == theirs[key], key


def test_another_study_of_the_same_name_is_not_taken_for_this_one(
    ready: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed in (1, 2):  # the first is deleted by its user, who leaves the store alone
        shutil.rmtree(ready / "studies", ignore_errors=True)
        monkeypatch.setattr(synthetic, "START", START + 1000 * seed)
        study(ready / "studies" / "s", 7, seed=seed, **SMALL)
        sync(ready, store(ready), ["s"])
    _, table = ledger.read(ready / "studies" / "s")
    found = client(store(ready)).search_runs(
        [client(store(ready)).get_experiment_by_name("s").experiment_id], max_results=1000
    )
    (parent,) = [
        r
        for r in found
        if r.info.start_time == round(table.created["t"] * 1000)
        and r.data.tags["autokd.trial"] == "search"
    ]
    ours = {
        int(r.data.tags["autokd.trial"]): r
        for r in found
        if r.data.tags.get("mlflow.parentRunId") == parent.info.run_id
    }
    assert ours.keys() == table.trials.keys()
    assert all(
        ours[n].data.metrics["val/accuracy"] == t.last["val/accuracy"]
        for n, t in table.trials.items()
        if t.metrics
    )


def test_an_interrupted_study_does_not_look_alive_and_comes_back(ready: Path) -> None:
    story = Story(ready / "studies" / "s", **SMALL)
    story.search(2)
    point = story.space.point(story._choose)
    story.add("suggested", trial=2, role="trial", recipe=point.data)
    story.add("started", trial=2, attempt=1, epoch=0)
    story._epochs(2, 1, 0, 2, 0.8)
    background = Follower(store(ready), ready, story.book)
    assert background.close() == ""
    found = runs(store(ready), "s")
    assert found["search"].info.status == "KILLED"
    assert found["search"].data.tags["autokd.state"] == "interrupted"
    assert found["2"].info.status == "KILLED"
    assert found["1"].info.status == "SCHEDULED"
    assert found["0"].info.status == "FINISHED"
    background = Follower(store(ready), ready, story.book)  # resumed
    story.add("started", trial=2, attempt=2, epoch=0)
    until = time.monotonic() + 30
    while {(now := runs(store(ready), "s"))[k].info.status for k in ("2", "search")} != {
        "RUNNING"
    } and time.monotonic() < until:
        time.sleep(0.1)
    assert now["2"].info.status == now["search"].info.status == "RUNNING"
    with pytest.MonkeyPatch.context() as patch:  # another process, meanwhile, leaves it alone
        said: list[str] = []
        patch.setattr("builtins.print", lambda text, file=None: said.append(text))
        sync(ready, store(ready), ["s"])
    assert "its search is running" in said[0]
    assert runs(store(ready), "s")["2"].info.status == "RUNNING"
    story._epochs(2, 2, 0, 12, 0.8)
    story._finish(2, 2)
    story.confirm()
    story.close()
    assert background.close() == ""
    story.book.close()
    found = runs(store(ready), "s")
    assert found["search"].info.status == "FINISHED"
    assert {r.info.status for r in found.values()} <= {"FINISHED", "KILLED"}
    steps = [
        p.step
        for p in client(store(ready)).get_metric_history(found["2"].info.run_id, "val/accuracy")
    ]
    assert sorted(set(steps)) == list(range(1, 13))
    assert found["2"].data.tags["autokd.sent"] == "2:12"


def test_what_is_too_long_is_shortened_and_whole_in_the_recipe(ready: Path) -> None:
    story = Story(ready / "studies" / "s", **SMALL)
    for number, end in enumerate("ab"):
        recipe = story.space.point(story._choose).data
        recipe["teacher"]["weights"] = "w" * 7000 + f"{end}.pth"
        story.add("suggested", trial=number, role="trial", recipe=recipe)
        story.add("started", trial=number, attempt=1, epoch=0)
        story._epochs(number, 1, 0, 1, 0.8)
    story.book.close()
    sync(ready, store(ready), ["s"])
    found = runs(store(ready), "s")
    values = [found[k].data.params["teacher/weights"] for k in "01"]
    assert all(len(v) <= LONGEST and "sha256:" in v and v.startswith("www") for v in values)
    assert values[0] != values[1]
    recipe = client(store(ready)).download_artifacts(
        found["1"].info.run_id, "recipe.yaml", str(ready)
    )
    assert (
        parse(Path(recipe).read_text(encoding="utf-8")).data["teacher"]["weights"]
        == "w" * 7000 + "b.pth"
    )


def test_hostile_text_arrives_as_text(ready: Path) -> None:
    study(ready / "studies" / "h", 8, epochs=4, finals=1, word=HOSTILE)
    sync(ready, store(ready), ["h"])
    before = content(ready)
    sync(ready, store(ready), ["h"])
    assert content(ready) == before
    found = runs(store(ready), "h")
    assert found["search"].data.tags["autokd.title"].startswith(WORD)
    assert found["0"].data.tags["autokd.preset"].startswith(WORD)
    assert WORD in found["1"].data.params["teacher/weights"]
    assert WORD[:20] in found["7"].data.tags["autokd.reason"]


def test_the_winner_is_a_model_without_pickle(ready: Path) -> None:
    import mlflow
    import numpy as np
    import safetensors.torch
    import torch

    from autokd import networks

    folder = study(ready / "studies" / "m", 5, broken=False, **SMALL)
    closed = ledger.read(folder)[1].closed
    assert closed is not None
    best = closed["results"][0]["best_trial"]
    network = networks.build(
        "cnn-2x8", classes=3, channels=1, resolution=6, mean=[0.3], std=[0.2], seed=1
    ).eval()
    about = {"model": "cnn-2x8", "resolution": 6, "channels": 1, "classes": ["a", WORD, "c"]}
    path = folder / "trials" / str(best) / "1" / "student.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(
        safetensors.torch.save(networks.state(network), metadata={"autokd": json.dumps(about)})
    )
    uri = store(ready)
    sync(ready, uri, ["m"])
    before = content(ready)
    sync(ready, uri, ["m"])
    assert content(ready) == before
    (version,) = client(uri).search_model_versions("name = 'autokd-m'")
    run = runs(uri, "m")[str(best)]
    logged = client(uri).get_logged_model(run.outputs.model_outputs[0].model_id)
    assert version.run_id == run.info.run_id == logged.source_run_id
    assert version.source == logged.artifact_location
    assert str(logged.status) == "READY"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", uri)
        mlflow.set_tracking_uri(uri)
        where = Path(mlflow.artifacts.download_artifacts("models:/autokd-m/1"))
        loaded = mlflow.pyfunc.load_model("models:/autokd-m/1")
        info = mlflow.models.get_model_info("models:/autokd-m/1")
    mlflow.set_tracking_uri(None)
    files = {p.name for p in where.rglob("*") if p.is_file()}
    assert {
        "MLmodel",
        "student.safetensors",
        "autokd_student_loader.py",
        "requirements.txt",
    } <= files
    assert not [f for f in files if f.endswith((".pkl", ".pickle", ".pt", ".pth"))]
    assert info.signature is not None and info.saved_input_example_info is not None
    pictures = np.random.default_rng(0).random((5, 1, 6, 6), dtype=np.float32)
    with torch.inference_mode():
        assert np.array_equal(loaded.predict(pictures), network(torch.from_numpy(pictures)).numpy())


@pytest.mark.parametrize("start", [-100.0, 0.0, START])
def test_a_clock_that_is_wrong_or_set_back_keeps_nothing_from_mlflow(
    ready: Path, monkeypatch: pytest.MonkeyPatch, start: float
) -> None:
    """Before 1970, at its very beginning, and going back by years."""
    monkeypatch.setattr(synthetic, "START", start)
    add = Story.add

    def set_back(story: Story, event: str, seconds: float = 0.02, **fields: object) -> None:
        back = 3e8 if event == "searched" else 0.0
        add(story, event, seconds - back, **fields)

    monkeypatch.setattr(Story, "add", set_back)
    study(ready / "studies" / "s", 9, **SMALL)
    _, table = ledger.read(ready / "studies" / "s")
    sync(ready, store(ready), ["s"])
    found = runs(store(ready), "s")
    assert set(found) == {"search", *map(str, table.trials)}
    assert found["search"].info.status == "FINISHED"
    for t in table.trials.values():
        assert found[str(t.number)].info.status == STATUS[t.state]
    assert list(differences(store(ready), "s", table, "val/accuracy")) == []
    assert report.page(ready / "studies" / "s").headline
