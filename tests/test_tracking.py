"""MLflow: what is written, that writing again changes nothing, and that a store that is down or slow harms nobody."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import synthetic
from browser import chromium
from conftest import autokd
from synthetic import START, Story, study
from test_report import HOSTILE, WORD, smaller

from autokd import ledger, tracking
from autokd.document import parse

SMALL = {"per": False, "finals": 2, "epochs": 12}


def store(root: Path) -> str:
    return f"sqlite:///{root / 'mlflow.db'}"


@pytest.fixture
def ready(tmp_path: Path, empty: Path) -> Path:
    """A folder whose store has its tables: to lay them out takes MLflow longer than most of these tests."""
    shutil.copy(empty, tmp_path / "mlflow.db")
    return tmp_path


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("empty")
    client(store(root)).search_experiments()
    return root / "mlflow.db"


def client(uri: str) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def runs(uri: str, name: str) -> dict[str, Any]:
    """The experiment's runs by trial number, or "search"."""
    c = client(uri)
    found = c.search_runs([c.get_experiment_by_name(name).experiment_id], max_results=1000)
    keys = [r.data.tags["autokd.trial"] for r in found]
    assert len(set(keys)) == len(keys)
    return {r.data.tags["autokd.trial"]: r for r in found}


def content(root: Path) -> dict[str, list[Any]]:
    """All that the store holds, row by row."""
    with contextlib.closing(sqlite3.connect(root / "mlflow.db")) as db:
        tables = [name for (name,) in db.execute("select name from sqlite_master where type = 'table'")]
        return {name: sorted(map(repr, db.execute(f'select * from "{name}"'))) for name in tables}


def essence(uri: str, name: str) -> dict[str, Any]:
    """What does not depend on run ids: to compare two stores."""
    c, out = client(uri), {}
    for key, r in runs(uri, name).items():
        tags = {k: v for k, v in r.data.tags.items() if k not in {"mlflow.parentRunId", "mlflow.artifactLocation", "mlflow.source.git.commit"}}
        points = {m: [(p.step, p.timestamp, p.value) for p in c.get_metric_history(r.info.run_id, m)] for m in r.data.metrics}
        data = [(i.dataset.name, i.dataset.digest) for i in r.inputs.dataset_inputs]
        out[key] = (r.info.status, r.info.start_time, r.info.end_time, r.data.params, tags, {m: sorted(set(p)) for m, p in points.items()}, data)
    return out


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished study and its store; the folder of both."""
    root = tmp_path_factory.mktemp("mlruns")
    study(root / "studies" / "done", 13, **SMALL)
    tracking.sync(root, store(root), ["done"])
    return root


def test_what_is_written(written: Path) -> None:
    _, table = ledger.read(written / "studies" / "done")
    found = runs(store(written), "done")
    assert set(found) == {"search", *map(str, table.trials)}
    parent = found["search"]
    assert parent.info.status == "FINISHED" and parent.info.start_time == round(table.created["t"] * 1000)
    assert parent.data.params["search/asha/grace_epochs"] == "9" and parent.data.params["search/seed"] == "0"
    assert parent.data.tags["autokd.verdict.student alone"] in {"better", "worse", "not distinguishable"}
    assert "[" in parent.data.tags["mlflow.note.content"] and parent.data.metrics["winner/val/accuracy"] > 0.5
    assert {"winner/test/accuracy", "winner/test/against reference KD/low", "best/val/accuracy"} <= set(parent.data.metrics)
    files = {f.path for f in client(store(written)).list_artifacts(parent.info.run_id)}
    assert files == {"space.yaml", "base.yaml", "recipe.yaml", "report.html"}
    for t in table.trials.values():
        run = found[str(t.number)]
        tags, params, metrics = run.data.tags, run.data.params, run.data.metrics
        assert tags["mlflow.parentRunId"] == parent.info.run_id and tags["autokd.role"] == t.role and tags["autokd.state"] == t.state
        assert run.info.status == tracking.STATUS[t.state] and run.info.end_time == round(t.ended * 1000)
        temperature = t.recipe["distill"]["temperature"]
        assert params["distill/temperature/kind"] == temperature["kind"] and params["seed"] == str(t.seed) == tags["autokd.seed"]
        assert ("distill/temperature/beta" in params) == ("beta" in temperature)  # a branch's parameters, where they live
        history = client(store(written)).get_metric_history(run.info.run_id, "val/accuracy")
        assert sorted((p.step, p.value) for p in history) == [(e, m["val/accuracy"]) for e, m in sorted(t.metrics.items())]
        assert all(START * 1000 < p.timestamp <= run.info.end_time for p in history)
        assert run.inputs.dataset_inputs[0].dataset.digest == "f9072a5616d3724c"  # of those that ended early, too
        if t.state == "complete":
            assert metrics["run/peak_memory_mb"] == 940.5 and metrics["run/seconds"] == 2.5 and metrics["student/params"] == 770
        if t.parent is not None:
            said = {"finalist": f"finalist {t.parent}", "control-kd": "reference KD", "control-ce": "student alone"}[t.role]
            assert run.info.run_name == f"{t.number:03d} {said}, seed {t.seed}"
            assert str(t.parent) in tags["autokd.confirms"] and "test/accuracy" in metrics
        if t.state == "pruned":
            assert tags["autokd.rung"] == "9"
    assert {r.info.status for r in found.values()} == {"FINISHED", "KILLED", "FAILED"}


def test_writing_again_changes_nothing(written: Path) -> None:
    before, page = content(written), next((written / "artifacts").rglob("report.html")).stat().st_mtime_ns
    tracking.sync(written, store(written), ["done"])
    tracking.sync(written, store(written), ["done"])
    after = content(written)
    assert {name for name in after if after[name] != before[name]} == set()
    assert next((written / "artifacts").rglob("report.html")).stat().st_mtime_ns == page


def test_piece_by_piece_is_as_at_once(written: Path, ready: Path) -> None:
    """However often it was cut off on the way, at any line, also within one: the store ends with the same content."""
    whole = (written / "studies" / "done" / "events.jsonl").read_bytes()
    folder = ready / "studies" / "done"
    shutil.copytree(written / "studies" / "done" / "trials", folder / "trials")
    for end in (40, len(whole) // 3, len(whole) // 2, len(whole) * 9 // 10, len(whole)):
        (folder / "events.jsonl").write_bytes(whole[:end])
        tracking.sync(ready, store(ready), ["done"])
        if end > 40:
            assert "RUNNING" not in {r.info.status for r in runs(store(ready), "done").values()}  # nobody is at work
    ours, theirs = essence(store(ready), "done"), essence(store(written), "done")
    assert ours.keys() == theirs.keys()
    for key in ours:
        assert ours[key] == theirs[key], key


def test_another_study_of_the_same_name_is_not_taken_for_this_one(ready: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in (1, 2):  # the first is deleted by its user, who leaves the store alone
        shutil.rmtree(ready / "studies", ignore_errors=True)
        monkeypatch.setattr(synthetic, "START", START + 1000 * seed)
        study(ready / "studies" / "s", 7, seed=seed, **SMALL)
        tracking.sync(ready, store(ready), ["s"])
    _, table = ledger.read(ready / "studies" / "s")
    found = client(store(ready)).search_runs([client(store(ready)).get_experiment_by_name("s").experiment_id], max_results=1000)
    (parent,) = [r for r in found if r.info.start_time == round(table.created["t"] * 1000) and r.data.tags["autokd.trial"] == "search"]
    ours = {int(r.data.tags["autokd.trial"]): r for r in found if r.data.tags.get("mlflow.parentRunId") == parent.info.run_id}
    assert ours.keys() == table.trials.keys()
    assert all(ours[n].data.metrics["val/accuracy"] == t.last["val/accuracy"] for n, t in table.trials.items() if t.metrics)


def test_an_interrupted_study_does_not_look_alive_and_comes_back(ready: Path) -> None:
    story = Story(ready / "studies" / "s", **SMALL)
    story.search(2)
    point = story.space.point(story._choose)
    story.add("suggested", trial=2, role="trial", recipe=point.data)
    story.add("started", trial=2, attempt=1, epoch=0)
    story._epochs(2, 1, 0, 2, 0.8)
    background = tracking.Background(store(ready), ready, story.book)
    assert background.close() == ""
    found = runs(store(ready), "s")
    assert found["search"].info.status == "KILLED" and found["search"].data.tags["autokd.state"] == "interrupted"
    assert found["2"].info.status == "KILLED" and found["1"].info.status == "SCHEDULED" and found["0"].info.status == "FINISHED"
    background = tracking.Background(store(ready), ready, story.book)  # resumed
    story.add("started", trial=2, attempt=2, epoch=0)
    until = time.monotonic() + 30
    while {(now := runs(store(ready), "s"))[k].info.status for k in ("2", "search")} != {"RUNNING"} and time.monotonic() < until:
        time.sleep(0.1)
    assert now["2"].info.status == now["search"].info.status == "RUNNING"
    with pytest.MonkeyPatch.context() as patch:  # another process, meanwhile, leaves it alone
        said: list[str] = []
        patch.setattr("builtins.print", lambda text, file=None: said.append(text))
        tracking.sync(ready, store(ready), ["s"])
    assert "its search is running" in said[0] and runs(store(ready), "s")["2"].info.status == "RUNNING"
    story._epochs(2, 2, 0, 12, 0.8)
    story._finish(2, 2)
    story.confirm()
    story.close()
    assert background.close() == ""
    story.book.close()
    found = runs(store(ready), "s")
    assert found["search"].info.status == "FINISHED" and {r.info.status for r in found.values()} <= {"FINISHED", "KILLED"}
    steps = [p.step for p in client(store(ready)).get_metric_history(found["2"].info.run_id, "val/accuracy")]
    assert sorted(set(steps)) == list(range(1, 13)) and found["2"].data.tags["autokd.sent"] == "2:12"


def test_what_is_too_long_is_shortened_and_whole_in_the_recipe(ready: Path) -> None:
    story = Story(ready / "studies" / "s", **SMALL)
    for number, end in enumerate("ab"):
        recipe = story.space.point(story._choose).data
        recipe["teacher"]["weights"] = "w" * 7000 + end
        story.add("suggested", trial=number, role="trial", recipe=recipe)
        story.add("started", trial=number, attempt=1, epoch=0)
        story._epochs(number, 1, 0, 1, 0.8)
    story.book.close()
    tracking.sync(ready, store(ready), ["s"])
    found = runs(store(ready), "s")
    values = [found[k].data.params["teacher/weights"] for k in "01"]
    assert all(len(v) <= tracking.LONGEST and "sha256:" in v and v.startswith("www") for v in values) and values[0] != values[1]
    recipe = client(store(ready)).download_artifacts(found["1"].info.run_id, "recipe.yaml", str(ready))
    assert parse(Path(recipe).read_text(encoding="utf-8")).data["teacher"]["weights"] == "w" * 7000 + "b"


def test_hostile_text_arrives_as_text(ready: Path) -> None:
    study(ready / "studies" / "h", 8, epochs=4, finals=1, word=HOSTILE)
    tracking.sync(ready, store(ready), ["h"])
    before = content(ready)
    tracking.sync(ready, store(ready), ["h"])
    assert content(ready) == before
    found = runs(store(ready), "h")
    assert found["search"].data.tags["autokd.title"].startswith(WORD) and found["0"].data.tags["autokd.preset"].startswith(WORD)
    assert WORD in found["1"].data.params["teacher/weights"] and WORD[:20] in found["7"].data.tags["autokd.reason"]


def test_the_winner_is_a_model_without_pickle(ready: Path) -> None:
    import mlflow
    import numpy as np
    import safetensors.torch
    import torch

    from autokd import models

    folder = study(ready / "studies" / "m", 5, broken=False, **SMALL)
    closed = ledger.read(folder)[1].closed
    assert closed is not None
    best = closed["results"][0]["best_trial"]
    network = models.build("cnn-2x8", classes=3, channels=1, resolution=6, mean=[0.3], std=[0.2], seed=1).eval()
    about = {"model": "cnn-2x8", "resolution": 6, "channels": 1, "classes": ["a", WORD, "c"]}
    path = folder / "trials" / str(best) / "1" / "student.safetensors"
    path.write_bytes(safetensors.torch.save(models.state(network), metadata={"autokd": json.dumps(about)}))
    uri = store(ready)
    tracking.sync(ready, uri, ["m"])
    before = content(ready)
    tracking.sync(ready, uri, ["m"])
    assert content(ready) == before
    (version,) = client(uri).search_model_versions("name = 'autokd-m'")
    run = runs(uri, "m")[str(best)]
    logged = client(uri).get_logged_model(run.outputs.model_outputs[0].model_id)
    assert version.run_id == run.info.run_id == logged.source_run_id and version.source == logged.artifact_location and str(logged.status) == "READY"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", uri)
        mlflow.set_tracking_uri(uri)
        where = Path(mlflow.artifacts.download_artifacts("models:/autokd-m/1"))
        loaded = mlflow.pyfunc.load_model("models:/autokd-m/1")
        info = mlflow.models.get_model_info("models:/autokd-m/1")
    mlflow.set_tracking_uri(None)
    files = {p.name for p in where.rglob("*") if p.is_file()}
    assert {"MLmodel", "student.safetensors", "autokd_student_loader.py", "requirements.txt"} <= files
    assert not [f for f in files if f.endswith((".pkl", ".pickle", ".pt", ".pth"))]
    assert info.signature is not None and info.saved_input_example_info is not None
    pictures = np.random.default_rng(0).random((5, 1, 6, 6), dtype=np.float32)
    with torch.inference_mode():
        assert np.array_equal(loaded.predict(pictures), network(torch.from_numpy(pictures)).numpy())


# ---------------------------------------------------------------- servers


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@contextlib.contextmanager
def server(folder: Path, port: int) -> Iterator[subprocess.Popen]:
    """A real MLflow server over SQLite on loopback; it is killed, as by a crash."""
    where = ["--backend-store-uri", f"sqlite:///{folder / 'server.db'}", "--artifacts-destination", str(folder / "artifacts")]
    command = [sys.executable, "-m", "mlflow", "server", *where, "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    own = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    process = subprocess.Popen(command, env=own, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        until = time.monotonic() + 90
        while True:
            with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2) as answer:
                if answer.status == 200:
                    break
            assert process.poll() is None and time.monotonic() < until, "the server does not start"
            time.sleep(0.1)
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)


def test_a_server_that_dies_and_comes_back(written: Path, empty: Path, tmp_path: Path) -> None:
    """The search goes on at once, the thread catches up by itself, what is left `sync` completes; the same content as at once."""
    (tmp_path / "server").mkdir()
    shutil.copy(empty, tmp_path / "server" / "server.db")
    port = free_port()
    uri = f"http://127.0.0.1:{port}"
    story = Story(tmp_path / "studies" / "done", **SMALL)
    with server(tmp_path / "server", port):
        background = tracking.Background(uri, tmp_path, story.book)
        story.search(13)
        until = time.monotonic() + 60
        while background.wake.is_set() and time.monotonic() < until:
            time.sleep(0.05)
        time.sleep(0.5)  # it is in the middle of writing
    began = time.monotonic()
    story.confirm()
    story.close()
    assert time.monotonic() - began < 5  # nobody waited for a dead server
    assert background.close(3.0) != "", "it cannot have written this"
    story.book.close()
    with pytest.raises(tracking.UserError, match="MLflow at http"):
        tracking.sync(tmp_path, uri, ["done"])
    with server(tmp_path / "server", port):
        tracking.sync(tmp_path, uri, ["done"])
        ours = essence(uri, "done")
        tracking.sync(tmp_path, uri, ["done"])
        assert essence(uri, "done") == ours
        assert "recipe.yaml" in {f.path for f in client(uri).list_artifacts(runs(uri, "done")["3"].info.run_id)}
        (version,) = client(uri).search_model_versions("name = 'autokd-done'")
        (output,) = client(uri).get_run(version.run_id).outputs.model_outputs
        assert "MLmodel" in {f.path.split("/")[-1] for f in client(uri).list_logged_model_artifacts(output.model_id)}
    theirs = essence(store(written), "done")
    assert ours.keys() == theirs.keys()
    for key in ours:
        assert ours[key] == theirs[key], key


@pytest.mark.parametrize("kind", ["dead", "silent"])
def test_a_server_that_does_not_answer_neither_blocks_nor_fails(ready: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    story = Story(ready / "studies" / "s", **SMALL)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        if kind == "silent":
            listener.listen()
        background = tracking.Background(f"http://127.0.0.1:{listener.getsockname()[1]}", ready, story.book)
        story.search(3)
        story.confirm()
        story.close()
        began = time.monotonic()
        assert background.close(0.5) == "still writing" or kind == "dead"
        assert time.monotonic() - began < 5
        background.thread.join(60)
        assert background.trouble and not background.thread.is_alive()
    story.book.close()
    tracking.sync(ready, store(ready), ["s"])
    assert runs(store(ready), "s")["search"].info.status == "FINISHED"


@contextlib.contextmanager
def ui(root: Path) -> Iterator[tuple[str, str, subprocess.Popen]]:
    """`autokd ui`: its address, what it said, the process. Ends it with Ctrl-C and checks how it ends."""
    command = [sys.executable, "-m", "autokd", "ui"]
    process = subprocess.Popen(command, env=os.environ | {"AUTOKD_RUNS": str(root)}, stderr=subprocess.PIPE, text=True, cwd=root)
    assert process.stderr is not None
    said = ""
    try:
        while "Compare" not in said:
            line = process.stderr.readline()
            assert line, f"it ended: {said}"
            said += line
        children = subprocess.run(["ps", "-eo", "pid,ppid"], capture_output=True, text=True, check=True).stdout.split("\n")[1:]
        own = [int(pid) for pid, parent in (line.split() for line in children if line.strip()) if int(parent) == process.pid]
        assert own
        yield re.findall(r"http://127\.0\.0\.1:\d+", said)[0], said, process
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
        group = subprocess.run(["ps", "-eo", "pgid"], capture_output=True, text=True, check=True).stdout.split()
        assert not {str(pid) for pid in own} & set(group), "a child process is left"
    finally:
        if process.poll() is None:  # a test failed: it still ends its server
            process.send_signal(signal.SIGINT)
            process.wait(20)


def test_ui_opens_the_store_says_where_to_look_and_leaves_nothing_behind(written: Path) -> None:
    with ui(written) as (url, said, _):
        experiment = client(store(written)).get_experiment_by_name("done").experiment_id
        assert f"done: {url}/#/experiments/{experiment}/runs" in said and "val/accuracy, autokd.role" in said and "distill/temperature/tau" in said
        with urllib.request.urlopen(url, timeout=10) as answer:
            assert answer.status == 200 and b"MLflow" in answer.read()


def test_ui_without_a_store(tmp_path: Path) -> None:
    assert "no MLflow store" in autokd("ui", cwd=tmp_path, code=2, AUTOKD_RUNS=str(tmp_path)).stderr


def choose_columns(page: Any, away: list[str], wanted: list[str]) -> None:
    """As `autokd ui` advises: search for each and click its box."""
    page.evaluate("Array.from(document.querySelectorAll('button')).find(b => b.innerText.startsWith('Columns')).click()")
    field = "document.querySelector('input[placeholder=\"Search columns\"]')"
    page.wait(f"{field} !== null")
    for name in [*away, *wanted]:
        page.evaluate(f"{field}.focus(), {field}.select()")
        page.call("Input.insertText", text=name)
        leaf = f"""Array.from(document.querySelectorAll('[role="treeitem"], .du-bois-light-tree-treenode, [class*="tree-treenode"]'))
            .filter(n => n.innerText.trim() === {json.dumps(name)})[0]"""
        page.wait(f"{leaf} !== undefined")
        page.evaluate(f"{leaf}.querySelector('[class*=\"tree-checkbox\"]').click()")
    page.evaluate(f"{field}.focus(), {field}.select()")
    page.call("Input.dispatchKeyEvent", type="keyDown", key="Escape", windowsVirtualKeyCode=27)
    page.evaluate("document.querySelector('h1, h2')?.dispatchEvent(new MouseEvent('mousedown', {bubbles: true}))")
    time.sleep(1.5)


@pytest.mark.browser
def test_the_ui_in_a_browser(written: Path) -> None:
    """A search's children stand under their parent, the compare view has the slash-path parameters."""
    experiment = client(store(written)).get_experiment_by_name("done").experiment_id
    found = runs(store(written), "done")
    names = "Array.from(document.querySelectorAll('.ag-row a')).map(a => a.innerText)"
    with ui(written) as (url, _, _process), chromium() as page:
        page.open(f"{url}/#/experiments/{experiment}/runs", width=1440, height=900)
        page.wait(f"{names}.includes('done')", 60)
        assert page.evaluate(names) == ["done"]  # the parent alone, until it is opened
        page.evaluate("document.querySelector('[aria-label=\"Close\"]')?.click()")
        page.wait("document.querySelectorAll('.ag-row button').length > 0")
        page.evaluate("document.querySelector('.ag-row button').click()")
        page.wait(f"{names}.length > 5")
        shown = page.evaluate(names)
        assert shown[0] == "done" and len([name for name in shown if re.match(r"\d{3} ", name)]) > 5
        parameters = ["distill/temperature/kind", "distill/temperature/tau", "student/resolution"]
        choose_columns(page, ["Dataset", "Source", "Models"], ["val/accuracy", *parameters, "autokd.role", "autokd.state"])
        smaller(page.screenshot(written / "mlflow.png"))
        trials = [found[k].info.run_id for k in ("0", "1", "2")]
        page.open(f"{url}/#/compare-runs?runs={quote(json.dumps(trials))}&experiments={quote(json.dumps([experiment]))}", width=1440)
        for path in ("distill/temperature/tau", "distill/temperature/kind", "distill/losses/kl/weight", "student/resolution"):
            page.wait(f"document.body.innerText.includes('{path}')")
