"""A recipe that MLflow holds, by its run."""

from __future__ import annotations

import re
from pathlib import Path

from autokd.errors import UserError
from autokd.files import runs_root
from autokd.recipe import document
from autokd.recipe.document import Document
from autokd.tracking.store import default_uri

LOGGED = re.compile(r"(?:runs:/|mlflow:)([0-9a-zA-Z_-]{1,64})(?:/recipe\.yaml)?")


def logged(name: str, run: str) -> Document:
    """The ``recipe.yaml`` of an MLflow run. ``name``: how it was asked for. Raises
    :class:`UserError`.
    """
    root = runs_root()
    uri = default_uri(root)
    if uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).exists():
        raise UserError(
            f"{name}: there is no MLflow store at {uri}; set MLFLOW_TRACKING_URI, or go to where"
            " the search ran"
        )
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    try:
        client = MlflowClient(tracking_uri=uri)
        client.get_run(run)
        file = Path(client.download_artifacts(run, "recipe.yaml"))
    except (MlflowException, OSError) as e:
        raise UserError(
            f"{name}: {str(e).splitlines()[0] if str(e) else type(e).__name__}"
        ) from None
    out = document.read(file)
    out.file = name
    return out
