"""What a recipe must keep beyond the schema of each block: rules between values. Light."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from autokd.errors import nearest
from autokd.recipe import axes, data_names, network_names
from autokd.recipe.network_settings import (
    PRETRAINED,
    RANDOM,
    TRAIN,
    WEIGHT_FILES,
    Start,
    Taught,
)
from autokd.recipe.validation import Finding
from autokd.recipe.vocabulary import LOGITS

if TYPE_CHECKING:
    from autokd.recipe.recipe import Recipe


REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)


def _source(r: Recipe) -> list[Finding]:
    named = {"data/name": r.data.name, "data/unlabelled": r.data.unlabelled}
    found = [(path, data_names.problem(name)) for path, name in named.items() if name is not None]
    if wrong := [Finding(path, *problem) for path, problem in found if problem]:
        return wrong
    if r.data.group_by is None:
        return []
    path, pattern = "data/group_by", r.data.group_by
    try:
        re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as e:
        return [Finding(path, f"is not a regular expression: {e}", pattern)]
    if not data_names.has_files(r.data.name):
        rule = f"groups by path, but the pictures of {r.data.name} are not files"
        return [Finding(path, rule, pattern)]
    return []


def _names(r: Recipe) -> list[Finding]:
    named = [("teacher/model", r.teacher.model), ("student/model", r.student.model)]
    named += [
        (f"ladder/{i}" if isinstance(r.ladder[i], str) else f"ladder/{i}/model", a.model)
        for i, a in enumerate(r.assistants)
    ]
    return [
        Finding(path, rule, name) for path, name in named if (rule := network_names.problem(name))
    ]


def _weights(r: Recipe) -> list[Finding]:
    found = []
    starts: list[tuple[str, Start]] = [("teacher", r.teacher), ("student", r.student)]
    starts += [(f"ladder/{i}", assistant) for i, assistant in enumerate(r.assistants)]
    for path, start in starts:
        file = start.file
        if file and "/" not in file and not file.endswith(WEIGHT_FILES):
            rule = (
                "must be random, pretrained, a file of weights, or a folder with a slash (./NAME)"
            )
            found.append(
                Finding(f"{path}/weights", rule, file, nearest(file, [RANDOM, PRETRAINED]))
            )
        if start.repository is not None and not REPOSITORY.fullmatch(start.repository):
            rule = "must name a repository of the hub as hf_hub:OWNER/NAME"
            found.append(Finding(f"{path}/weights", rule, start.weights))
        if path != "teacher" and start.weights == TRAIN:
            rule = f"must be {RANDOM}, {PRETRAINED} or a file: what is random is always trained"
            found.append(Finding(f"{path}/weights", rule, TRAIN))
        if isinstance(start, Taught) and start.head == "probe":
            found += _probe(path, start)
    if r.teacher.drawn and r.teacher.train is None:
        rule = "must be given: a network of random weights that is not trained teaches nothing"
        found.append(Finding("teacher/train", rule))
    return found


def _probe(path: str, start: Taught) -> list[Finding]:
    rule = "must be left out beside head: probe, which fits a head to weights as they are"
    keys = [key for key in ("train", "labels") if getattr(start, key) is not None]
    if path != "teacher" and start.drawn:
        rule, keys = (
            "must not be random beside head: probe, which takes them as they are",
            ["weights"],
        )
    return [Finding(f"{path}/{key}", rule) for key in keys]


def _resolution(r: Recipe) -> list[Finding]:
    most = r.data.resolution
    if r.resolution <= most:
        return []
    rule = f"must not exceed data/resolution, which is {most}"
    return [Finding("student/resolution", rule, r.resolution)]


def _meaning(r: Recipe) -> list[Finding]:
    found = [Finding(path, reason) for path, reason in axes.refusals(r.distill)]
    active = [loss for loss in r.methods.losses if loss.active]
    if all(loss["weight"] == 0 for loss in r.distill["losses"].values()):
        found.append(Finding("distill/losses", "every weight is 0: there is nothing to learn"))
    elif r.student.head == "own" and not any(LOGITS in x.method.reads for x in active):
        rule = "must be probe: no loss reads the student's logits, so nothing would train its head"
        found.append(Finding("student/head", rule, "own"))
    return found


def _amounts(r: Recipe) -> list[Finding]:
    d, found = r.data, []
    if d.labelled is not None and d.limit is not None and d.labelled > d.limit:
        rule = f"must not exceed data/limit, which is {d.limit}"
        found.append(Finding("data/labelled", rule, d.labelled))
    if d.short_side < d.resolution:
        rule = f"must not be below data/resolution, which is {d.resolution}"
        found.append(Finding("data/store/short_side", rule, d.short_side))
    return found


def _augment(r: Recipe) -> list[Finding]:
    augment, found = r.data.augment, []
    crop, erasing = augment.random_resized_crop, augment.erasing
    found += _ranges("data/augment/random_resized_crop", crop.scale, crop.ratio)
    found += _ranges("data/augment/erasing", erasing.scale, erasing.ratio)
    if crop.scale and augment.crop_padding:
        rule = "must be 0 beside random_resized_crop: each is a way to crop"
        found.append(Finding("data/augment/crop_padding", rule, augment.crop_padding))
    if augment.trivial_augment and augment.randaugment.operations:
        rule = "must be false beside randaugment: each is a way to draw operations"
        found.append(Finding("data/augment/trivial_augment", rule, True))
    return found


def _ranges(path: str, scale: list[float] | None, ratio: list[float]) -> list[Finding]:
    """Of a random box: its share of the area, and its aspect."""
    found = []
    if scale and not 0 < scale[0] <= scale[1] <= 1:
        rule = "must be [lowest, highest] with 0 < lowest <= highest <= 1"
        found.append(Finding(f"{path}/scale", rule, scale))
    if not 0 < ratio[0] <= ratio[1]:
        rule = "must be [lowest, highest] with 0 < lowest <= highest"
        found.append(Finding(f"{path}/ratio", rule, ratio))
    return found


def _training(r: Recipe) -> list[Finding]:
    found = []
    blocks = {"train": r.train, "ladder_train": r.ladder_train, "teacher/train": r.teacher.train}
    blocks |= {f"ladder/{i}/train": a.train for i, a in enumerate(r.assistants)}
    for path, train in blocks.items():
        if train and train.nesterov and train.optimizer == "sgd" and train.momentum == 0:
            rule = "Nesterov's momentum needs a momentum above 0"
            found.append(Finding(f"{path}/nesterov", rule, True))
    return found


# with the blocks that each compares: where one of them is not there to compare, it says nothing
RULES = {
    _source: {"data"},
    _names: set[str](),
    _weights: {"teacher", "student", "ladder"},
    _resolution: {"data", "student"},
    _meaning: {"distill", "student"},
    _amounts: {"data"},
    _augment: {"data"},
    _training: set[str](),
}
