"""Recipes named by their MLflow run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from autokd import recipe
from autokd.api.documents import found
from autokd.errors import UserError
from autokd.export import reproduce
from autokd.recipe import diff


def test_a_recipe_in_mlflow_is_accepted_by_its_run_id(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    monkeypatch.chdir(home)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    client = MlflowClient(tracking_uri=f"sqlite:///{home}/mlruns/mlflow.db")
    runs = client.search_runs([client.get_experiment_by_name("small").experiment_id])
    by = {r.data.tags["autokd.trial"]: r.info.run_id for r in runs}
    trial = recipe.load(found(Path("runs:/" + by["0"])))
    parent = recipe.load(found(Path("mlflow:" + by["search"])))
    assert diff.same_run(trial, recipe.load("mlruns/studies/small/trials/0/1/recipe.yaml"))
    assert diff.same_run(parent, recipe.load("out/recipe.yaml"))
    again = reproduce.read(found(Path(f"runs:/{by['search']}/recipe.yaml")))
    assert len(again.results["seeds"]) == 3
    with pytest.raises(UserError, match="0123456789abcdef"):
        reproduce.read(found(Path("runs:/0123456789abcdef")))
    with pytest.raises(UserError, match="has no results to compare with"):
        reproduce.read(found(Path("runs:/" + by["0"])))


def test_without_a_store_a_run_id_is_one_message(tmp_path: Path, run: Callable) -> None:
    for command in (["train"], ["reproduce"], ["show"], ["validate"], ["diff", "x.yaml"]):
        if command[0] == "diff":
            (tmp_path / "x.yaml").write_text("seed: 1\n")
        code, _, err = run(*command, "runs:/abc")
        assert code == 2 and "there is no MLflow store" in err
    assert not list(tmp_path.glob("mlruns*"))
