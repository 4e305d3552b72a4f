"""Small runs on digits: the recipe with changes, and its student as a hash."""

from __future__ import annotations

from autokd import networks, recipe
from autokd.recipe import Recipe
from autokd.train import prepare
from autokd.train.store import Store
from tests.helpers.commands import RECIPE


def made(*sets: str) -> Recipe:
    from autokd.recipe.document import parse

    doc = parse(RECIPE)
    recipe.override(doc, sets)
    return recipe.parse(doc.data, doc)


def student(r: Recipe, store: Store | None = None) -> str:
    run, _ = prepare.train(r, store or Store(None))
    return networks.weights_hash(run.result)


VARIANTS = {
    "kd": (),
    "dtd": ("distill={preset: dtd}",),
    "cwsm": ("distill={preset: dtd-cwsm}",),
    "ladder": ("distill={preset: takd}", "ladder=[cnn-3x8, cnn-2x8]"),
    "dense": ("distill={preset: dgkd, teaching: {stochastic: true}}", "ladder=[cnn-3x8]"),
    "curriculum": ("distill={preset: ces-kd}", "ladder=[cnn-3x8]"),
    "mixup": ("distill={preset: stkd}",),
    "blend": ("distill={preset: stkd, view: {teacher: blend}, target: {kind: shift}}",),
    "crop": ("data/augment/crop_padding=1", "data/augment/flip=true"),
    "augmented": (
        "data/augment={crop_padding: 1, flip: true, color_jitter: {brightness: 0.4},"
        " randaugment: {operations: 2}, erasing: {probability: 0.5}}",
        "distill/view={kind: cutmix}",
    ),
    "noisy": ("data/label_noise=0.3", "distill={preset: ka}"),
    "few labels": ("data/labelled=40",),
    "attention": ("distill={preset: at}",),
    "embeddings": ("distill={preset: rkd}", "data/augment/flip=true"),
    "collaborative": ("distill={preset: ctkd}",),
    "today's training": (
        "train/ema=0.9",
        "train/clip_norm=1.0",
        "train/nesterov=true",
        "train/schedule=onecycle",
        "train/warmup=0.3",
        "train/decay_norms=false",
        "train/layer_decay=0.8",
    ),
}
