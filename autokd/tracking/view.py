"""What MLflow's runs page shows of a study that is opened by its link: the columns that matter,
sorted by the objective. MLflow keeps such a shared view in a tag of the experiment.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping

from autokd.space.settings import Search
from autokd.study.choices import METHOD, settings
from autokd.study.ledger import Trial

NAME = "autokd"
TAG = f"mlflow.sharedViewState.{NAME}"
MOST = 8  # parameters


def link(server: str, experiment: str) -> str:
    """The address that opens the view."""
    return f"{server}/#/experiments/{experiment}/runs?viewStateShareKey={NAME}"


def columns(search: Search, trials: Mapping[int, Trial]) -> list[str]:
    """Metrics and tags, then what is varied, by MLflow's names."""
    varied = dict.fromkeys(path for t in trials.values() for path in settings(t.varied))
    metrics = dict.fromkeys([o.metric for o in search.objectives] + ["val/accuracy"])
    tags = ["autokd.role", "autokd.state", *(["autokd.preset"] if METHOD in varied else [])]
    paths = [path for path in varied if path != METHOD][:MOST]
    return [
        *(f"metrics.`{name}`" for name in metrics),
        *(f"tags.`{name}`" for name in tags),
        *(f"params.`{path}`" for path in paths),
    ]


def state(search: Search, trials: Mapping[int, Trial], parent: str) -> str:
    """The tag's value: JSON, deflated, as MLflow's page writes it. ``parent``: the search's run."""
    shown = columns(search, trials)
    first = search.objectives[0]
    told = {
        "selectedColumns": shown,
        "columnOrder": shown,
        "runsExpanded": {parent: True},
        "orderByKey": f"metrics.`{first.metric}`",
        "orderByAsc": first.sign < 0,
    }
    raw = zlib.compress(json.dumps(told, sort_keys=True).encode())
    return f"deflate;{base64.b64encode(raw).decode()}"
