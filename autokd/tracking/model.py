"""The exported student as a model of MLflow: logged once, registered, loaded by plain Python."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from autokd.environment import versions
from autokd.study.ledger import Trial
from autokd.tracking.experiment import Experiment

# Stands in every logged model: the names that it imports must stay.
LOADER = '''\
"""Loads the student beside this file for MLflow: pictures in, logits out. \
Needs autokd; the weights are safetensors."""

from pathlib import Path


class Student:
    def __init__(self, path):
        from autokd.export.loading import load_student

        self.metadata, self.network = load_student(path)

    def predict(self, pictures, params=None):
        """``pictures`` [N, channels, side, side] float32 in [0, 1], \
at the student's resolution; logits [N, classes]."""
        import numpy as np
        import torch

        with torch.inference_mode():
            return self.network(torch.from_numpy(np.asarray(pictures, dtype=np.float32))).numpy()


def _load_pyfunc(path):
    return Student(Path(path))
'''


def log_model(experiment: Experiment, folder: Path, trial: Trial) -> bool:
    """The exported student as a logged and registered model, once. Returns whether there is one."""
    run = experiment.runs.get(str(trial.number))
    weights = folder / "trials" / str(trial.number) / str(trial.attempt) / "student.safetensors"
    if run is None or run.deleted or not weights.exists():
        return False
    tags = {"autokd.student": trial.student, "autokd.trial": str(trial.number)}
    logged = [
        m
        for m in _logged(experiment)
        if m.tags.get("autokd.student") == trial.student and str(m.status) == "READY"
    ]
    model = logged[0] if logged else _log(experiment, run.run_id, weights, tags, trial.epochs)
    _register(experiment, model, tags)
    return True


def _logged(experiment: Experiment) -> Iterator[Any]:
    token = None
    while True:
        page = experiment.client.search_logged_models([experiment.id], page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _log(
    experiment: Experiment, run_id: str, weights: Path, tags: dict[str, str], epochs: int
) -> Any:
    from mlflow.entities import LoggedModelOutput

    client = experiment.client
    made = client.create_logged_model(
        experiment.id,
        name="student",
        source_run_id=run_id,
        tags=tags,
        model_type="image classifier",
    )
    with tempfile.TemporaryDirectory() as scratch:
        save_model(Path(scratch) / "model", weights, run_id, made.model_id)
        client.log_model_artifacts(made.model_id, str(Path(scratch) / "model"))
    ready = client.finalize_logged_model(made.model_id, "READY")
    client.log_outputs(run_id, [LoggedModelOutput(made.model_id, epochs)])
    return ready


def _register(experiment: Experiment, model: Any, tags: dict[str, str]) -> None:
    from mlflow.exceptions import MlflowException

    client, name = experiment.client, f"autokd-{experiment.study}"
    try:
        client.create_registered_model(
            name, description=f"The best student of the AutoKD study {experiment.study}."
        )
    except MlflowException as e:
        if e.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    registered = client.search_model_versions(f"name = '{name}'")
    if all(v.tags.get("autokd.student") != tags["autokd.student"] for v in registered):
        client.create_model_version(
            name,
            model.artifact_location,
            model.source_run_id,
            tags=tags,
            await_creation_for=0,
            model_id=model.model_id,
        )


def save_model(path: Path, weights: Path, run_id: str, model_id: str) -> None:
    """An MLflow model in folder ``path``: the weights, a loader in plain Python, signature and
    input example; nothing pickled.
    """
    # of MLflow about itself, when it is imported
    warnings.filterwarnings("ignore", ".*Any type hint is inferred", UserWarning)
    import numpy as np
    from mlflow import pyfunc
    from mlflow.models import Model, ModelSignature
    from mlflow.types import Schema, TensorSpec

    from autokd.export.loading import read_metadata

    about = read_metadata(weights)
    shape = (about.channels, about.resolution, about.resolution)
    signature = ModelSignature(
        inputs=Schema([TensorSpec(np.dtype("float32"), (-1, *shape))]),
        outputs=Schema([TensorSpec(np.dtype("float32"), (-1, len(about.classes)))]),
    )
    needs = [
        f"{name}=={version}"
        for name, version in versions().items()
        if name in {"autokd", "torch", "torchvision"}
    ]
    with tempfile.TemporaryDirectory() as scratch:
        loader = Path(scratch) / "autokd_student_loader.py"
        loader.write_text(LOADER, encoding="utf-8")
        pyfunc.save_model(
            path,
            loader_module=loader.stem,
            data_path=str(weights),
            code_paths=[str(loader)],
            signature=signature,
            pip_requirements=[*needs, "safetensors"],
            input_example=np.full((1, *shape), 0.5, dtype=np.float32),
            mlflow_model=Model(run_id=run_id, model_id=model_id),
            metadata={"classes": about.classes, "student": about.model},
        )
