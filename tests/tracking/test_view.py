"""The view of a study that MLflow's page opens with."""

from __future__ import annotations

import base64
import json
import zlib
from pathlib import Path

from autokd.tracking import view
from autokd.tracking.tracker import Tracker
from tests.helpers.synthetic import study


def test_the_experiment_carries_a_view_of_what_matters(tmp_path: Path) -> None:
    study(tmp_path / "studies" / "demo", 24)
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    tracker = Tracker(uri, tmp_path, "demo")
    tracker.catch_up()
    client = tracker.experiment.client
    value = client.get_experiment(tracker.experiment.id).tags["mlflow.sharedViewState.autokd"]
    told = json.loads(zlib.decompress(base64.b64decode(value.removeprefix("deflate;"))))
    assert told["orderByKey"] == "metrics.`val/accuracy`" and told["orderByAsc"] is False
    assert told["runsExpanded"] == {tracker.experiment.runs["search"].run_id: True}
    shown = told["selectedColumns"]
    assert shown[:3] == ["metrics.`val/accuracy`", "tags.`autokd.role`", "tags.`autokd.state`"]
    varied = {"distill/temperature/tau", "distill/losses/kl/weight", "ladder", "student/resolution"}
    assert {f"params.`{path}`" for path in varied} <= set(shown)
    again = Tracker(uri, tmp_path, "demo")
    again.catch_up()
    tags = client.get_experiment(tracker.experiment.id).tags
    assert tags["mlflow.sharedViewState.autokd"] == value


def test_the_link_opens_the_view_in_model_training_mode() -> None:
    link = view.link("http://127.0.0.1:5000", "7")
    assert "/#/experiments/7/runs?" in link
    assert "viewStateShareKey=autokd" in link and "workflowType=machine_learning" in link
