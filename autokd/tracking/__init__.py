"""MLflow, written from the ledger: the only room that knows MLflow.

MLflow is written by the driver alone, from the ledger's file, with the ledger's timestamps: a
parent run a search, a nested child a trial, control and finalist. Writing is idempotent: a run is
looked for by its tag ``autokd.trial`` before it is made, what it holds already is not sent again
(``autokd.sent``: attempt and epoch of its last report), and what a crash left half written is sent
again with equal timestamps, which MLflow stores once. So a store that was down is caught up later
(:func:`autokd.tracking.follower.sync`), and doing so twice changes nothing. A search never waits
for MLflow and never fails with it: a thread follows the file at its own pace and keeps nothing that
it has written.

| in MLflow        | what                                                                          |
|------------------|-------------------------------------------------------------------------------|
| parameters       | the recipe by slash path (a branch's own ones where they live); of the        |
|                  | parent: the search block                                                      |
| metrics          | ``train/*``, ``val/*`` by epoch; ``test/*`` as often as read;                 |
|                  | ``run/seconds``, ``run/peak_memory_mb``, ``student/params``, …                |
| parent's metrics | ``best/<objective>`` by epochs spent; ``teacher/<network>/…`` on validation;  |
|                  | ``winner/…``                                                                  |
| tags             | ``autokd.state``, ``.role``, ``.preset``, ``.rung``, ``.seed``, ``.branch``,  |
|                  | ``.group``, ``.confirms``, …; on the parent the verdicts, and how the         |
|                  | controls were ``.tuned``                                                      |
| status           | running RUNNING; paused SCHEDULED; complete FINISHED; pruned, interrupted     |
|                  | KILLED; diverged, oom, failed FAILED                                          |
| artifacts        | a trial's recipe.yaml; the parent's space.yaml, base.yaml, recipe.yaml,       |
|                  | report.html                                                                   |
| model            | the winner, safetensors and a loader in plain Python, registered as           |
|                  | ``autokd-<study>``                                                            |
"""

import os

for _name, _value in {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "GIT_PYTHON_REFRESH": "quiet",
    # we try again ourselves, off the search's path
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
}.items():
    os.environ.setdefault(_name, _value)
