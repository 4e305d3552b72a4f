"""What of a run lies in files: its checkpoint, and the student that came of it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import safetensors.torch
import torch

from autokd import networks
from autokd.files import write_atomically
from autokd.recipe import Recipe

if TYPE_CHECKING:
    from autokd.train.distill import Run


def save(run: Run, path: Path) -> None:
    """Everything that the next epoch depends on, written atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".part-{path.name}-{os.getpid()}")
    torch.save(state_dict(run), part)
    os.replace(part, path)


def restore(run: Run, path: Path) -> None:
    """Go on from :func:`save`, to the same bytes as a run that was never interrupted. Raises
    ``ValueError`` for a checkpoint of another recipe.
    """
    state = torch.load(path, weights_only=True, map_location=run.device)
    if state["recipe"] != run.recipe.fingerprint():
        raise ValueError(f"{path} is a checkpoint of another recipe")
    load_state_dict(run, state)


def fits(recipe: Recipe, path: Path) -> bool:
    """Whether it is a checkpoint of this recipe, and whole."""
    try:
        state = torch.load(path, weights_only=True, map_location="cpu")
    except Exception:  # the reader answers a file of garbage with any error
        return False
    return isinstance(state, dict) and state.get("recipe") == recipe.fingerprint()


def state_dict(run: Run) -> dict[str, Any]:
    """With the scratch teacher's own run, where one is under way."""
    scratch_run = run.trajectory.run if run.trajectory else None
    return {
        "epoch": run.next_epoch,
        "recipe": run.recipe.fingerprint(),
        "student": run.student.state_dict(),
        "modules": run.modules.state_dict(),
        "scratch": run.scratch.state_dict() if run.scratch else {},
        "trajectory": state_dict(scratch_run) if scratch_run else {},
        "average": run.average.state_dict() if run.average else {},
        "optimizer": run.optimizer.state_dict(),
        "student_losses": run.student_losses,
    }


def load_state_dict(run: Run, state: dict[str, Any]) -> None:
    """What :func:`state_dict` gave, back into a run of the same recipe."""
    run.student.load_state_dict(state["student"])
    run.modules.load_state_dict(state["modules"])
    if run.scratch:
        run.scratch.load_state_dict(state["scratch"])
    if run.trajectory and state["trajectory"]:
        load_state_dict(run.trajectory.start(), state["trajectory"])
    if run.average:
        run.average.load_state_dict(state.get("average", {}))
    run.optimizer.load_state_dict(state["optimizer"])
    run.student_losses = state["student_losses"]
    run.next_epoch = state["epoch"]


def save_student(run: Run, path: Path) -> None:
    """The student's weights; beside them, in the file's own metadata, what is needed to build it
    and to name its answers.
    """
    about = {
        "model": run.recipe.student.model,
        "resolution": run.recipe.resolution,
        "channels": run.data.channels,
        "classes": run.data.classes,
        "takes": len(run.result.mean),
    }
    weights = networks.state(run.result)
    metadata = {"autokd": json.dumps(about)}
    write_atomically(path, safetensors.torch.save(weights, metadata=metadata))
