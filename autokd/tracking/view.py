"""What MLflow's runs page shows of a study that is opened by its link: the columns that matter,
sorted by the objective. MLflow keeps such a shared view in a tag of the experiment.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from autokd.space.settings import Search
from autokd.study.choices import METHOD, settings

NAME = "autokd"
TAG = f"mlflow.sharedViewState.{NAME}"
MOST = 8  # parameters


def link(server: str, experiment: str) -> str:
    """The address that opens the view."""
    asked = f"viewStateShareKey={NAME}&workflowType=machine_learning"  # not its GenAI mode
    return f"{server}/#/experiments/{experiment}/runs?{asked}"


def paths(varied: Iterable[Mapping[str, Any]]) -> list[str]:
    """Where the values of these trials stand in a recipe."""
    return list(dict.fromkeys(path for own in varied for path in settings(own)))


def columns(search: Search, varied: Sequence[str]) -> list[str]:
    """Metrics and tags, then what is varied (``paths``), by MLflow's names."""
    metrics = dict.fromkeys([o.metric for o in search.objectives] + ["val/accuracy"])
    tags = ["autokd.role", "autokd.state", *(["autokd.preset"] if METHOD in varied else [])]
    shown = [path for path in varied if path != METHOD][:MOST]
    return [
        *(f"metrics.`{name}`" for name in metrics),
        *(f"tags.`{name}`" for name in tags),
        *(f"params.`{path}`" for path in shown),
    ]


def state(search: Search, varied: Sequence[str], parent: str) -> str:
    """The tag's value: JSON, deflated, as MLflow's page writes it. ``parent``: the search's run."""
    shown = columns(search, varied)
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
