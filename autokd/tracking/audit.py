"""Whether MLflow holds what a ledger says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from autokd.study.ledger import Table, Trial
from autokd.tracking.experiment import STATUS
from autokd.tracking.store import milliseconds


def differences(uri: str, name: str, table: Table, metric: str) -> Iterator[str]:
    """What the store at ``uri`` holds otherwise than the ledger of a study that nobody is working
    on; ``metric``: whose values are compared, epoch by epoch.
    """
    from mlflow.exceptions import MlflowException

    try:
        yield from _differences(uri, name, table, metric)
    except MlflowException as e:
        yield f"MLflow at {uri}: {str(e).splitlines()[0]}"


def _differences(uri: str, name: str, table: Table, metric: str) -> Iterator[str]:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        yield f"MLflow has no experiment {name!r}: autokd sync {name}"
        return
    found = _runs(client, experiment.experiment_id, milliseconds(table.created["t"]))
    if "search" not in found:
        yield "MLflow has no run of the search"
    for run in found.values():
        if run.info.status == "RUNNING":
            yield f"MLflow shows the run of {run.info.run_name!r} as running"
    begun = {str(t.number): t for t in table.trials.values() if t.attempt}
    for number in sorted(found.keys() - begun.keys() - {"search"}):
        yield f"MLflow has a run of trial {number}, the ledger none"
    for number, trial in begun.items():
        if number not in found:
            yield f"MLflow has no run of trial {number}"
        else:
            yield from _of_trial(client, found[number], trial, metric)


def _runs(client: Any, experiment: str, began: int) -> dict[str, Any]:
    """The runs of the study that began then, by trial."""
    out, token = [], None
    while True:
        page = client.search_runs([experiment], max_results=1000, page_token=token)
        out += page
        if not (token := page.token):
            break
    tagged = [(r.data.tags["autokd.trial"], r) for r in out if "autokd.trial" in r.data.tags]
    parents = {r.info.run_id for n, r in tagged if n == "search" and r.info.start_time == began}
    return {
        n: r for n, r in tagged if {r.info.run_id, r.data.tags.get("mlflow.parentRunId")} & parents
    }


def _of_trial(client: Any, run: Any, trial: Trial, metric: str) -> Iterator[str]:
    state = STATUS.get("interrupted" if trial.state == "running" else trial.state)
    if run.info.status != state:
        yield f"MLflow shows trial {trial.number} as {run.info.status}, and it is {trial.state}"
    history = client.get_metric_history(run.info.run_id, metric)
    # what an interrupted attempt did beyond its checkpoint is done again, or was not
    points = {(p.step, p.value) for p in history if p.step <= trial.epochs}
    if points != {(epoch, m[metric]) for epoch, m in trial.metrics.items() if metric in m}:
        yield f"MLflow has other values of {metric} for trial {trial.number}"
