"""The blocks of a recipe, and what each of their keys may be. Light.

``distill`` is not among them: its schema is assembled from the methods' signatures
(:mod:`autokd.recipe.distillation`).
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field

from autokd.recipe import bounds, training_presets
from autokd.recipe.axes import Fraction, NonNegative, Positive
from autokd.recipe.block import Block, WithPreset


class ResizedCrop(Block):
    """Random-resized-crop: a random box, made as large as each network's resolution. Off while
    ``scale`` is left out.
    """

    scale: Annotated[
        list[float] | None,
        Field(
            min_length=2, max_length=2, description="the box's share of the area: lowest, highest"
        ),
    ] = None
    ratio: Annotated[
        list[float],
        Field(min_length=2, max_length=2, description="the box's width / height: lowest, highest"),
    ] = [0.75, 1.3333]


class RandAugment(Block):
    """RandAugment (arXiv 1909.13719), as torchvision has it: so many operations one after the
    other, each drawn from 14 and all of one magnitude. Off while ``operations`` is left out. On
    pictures of one channel its changes of colour do nothing.
    """

    operations: Annotated[
        int | None, Field(ge=1, le=14, description="how many operations a picture gets")
    ] = None
    magnitude: Annotated[
        int, Field(ge=0, le=30, description="how strong they are: one of 31 steps")
    ] = 9


class ColorJitter(Block):
    """Colours changed at random, in a random order, as by torchvision's ColorJitter. Pictures of
    one channel have neither saturation nor hue: there these two do nothing.
    """

    brightness: Annotated[
        NonNegative, Field(description="factors from max(0, 1 - brightness) to 1 + brightness")
    ] = 0.0
    contrast: Annotated[NonNegative, Field(description="as `brightness`")] = 0.0
    saturation: Annotated[NonNegative, Field(description="as `brightness`")] = 0.0
    hue: Annotated[
        float, Field(ge=0, le=0.5, description="turns of the colour circle, either way at most")
    ] = 0.0


class Erasing(Block):
    """Random erasing (arXiv 1708.04896): a random box shows the data's mean colour, which is 0
    after normalisation, as in torchvision's pipelines. Off while ``probability`` is 0.
    """

    probability: Annotated[Fraction, Field(description="of a picture to be erased in part")] = 0.0
    scale: Annotated[
        list[float],
        Field(
            min_length=2, max_length=2, description="the box's share of the area: lowest, highest"
        ),
    ] = [0.02, 0.33]
    ratio: Annotated[
        list[float],
        Field(min_length=2, max_length=2, description="the box's height / width: lowest, highest"),
    ] = [0.3, 3.3]


class Augment(WithPreset):
    """What is done to a training picture to make a view of it, in this order."""

    presets = training_presets.AUGMENT

    crop_padding: Annotated[
        int,
        Field(
            ge=0, le=64, description="zero padding in pixels before a random crop of the old size"
        ),
    ] = 0
    flip: Annotated[bool, Field(description="mirror left-right with probability 1/2")] = False
    random_resized_crop: ResizedCrop = ResizedCrop()
    color_jitter: ColorJitter = ColorJitter()
    randaugment: RandAugment = RandAugment()
    trivial_augment: Annotated[
        bool,
        Field(
            description=(
                "TrivialAugment (arXiv 2103.10158), as torchvision's TrivialAugmentWide: one of 14"
                " operations at a random magnitude"
            )
        ),
    ] = False
    erasing: Erasing = Erasing()


class Storage(Block):
    """How pictures are kept on disk. Larger ones are made smaller once, when they are packed; none
    is made larger.
    """

    short_side: Annotated[
        int | None,
        Field(
            ge=4,
            le=bounds.SIDE,
            description="pixels; left out: 1.15 times data/resolution, but at least 64",
        ),
    ] = None


class DataSettings(Block):
    """Which pictures, and how they are split."""

    name: Annotated[str, Field(description="a data set's name (see `autokd datasets`)")] = "digits"
    resolution: Annotated[
        int, Field(ge=4, le=bounds.SIDE, description="pixels a side that the teacher sees")
    ] = 8
    augment: Augment = Augment()
    crop_share: Annotated[
        float,
        Field(
            gt=0,
            le=1,
            description=(
                "of the short side, what validation and test pictures show: a central square;"
                " 0.875 where ImageNet's networks were measured on 224 of 256"
            ),
        ),
    ] = 1.0
    validation: Annotated[
        Annotated[float, Field(ge=0, lt=1)] | Literal["folder"],
        Field(
            description=(
                "fraction of the training pictures held out for the search; folder: the pictures"
                " of val/, also where there is no test/ (test is then cut from train)"
            )
        ),
    ] = 0.2
    test: Annotated[
        float,
        Field(
            ge=0,
            lt=1,
            description="fraction held out for the end, where the data has no official test split",
        ),
    ] = 0.2
    split_seed: int = 0
    limit: Annotated[
        int | None, Field(ge=1, description="use only so many training pictures, stratified")
    ] = None
    labelled: Annotated[
        int | None,
        Field(ge=1, description="only so many training pictures keep their label, stratified"),
    ] = None
    unlabelled: Annotated[
        str | None,
        Field(
            description=(
                "pictures without labels for training, beside the others: folder:PATH (all below"
                " it) or a data set's training part; those that are among the data's own are left"
                " out"
            )
        ),
    ] = None
    label_noise: Annotated[
        float,
        Field(ge=0, lt=1, description="fraction of training labels replaced by another class"),
    ] = 0.0
    group_by: Annotated[
        str | None,
        Field(
            description=(
                "a regular expression; files whose paths match alike stay together in a split"
            )
        ),
    ] = None
    store: Storage = Storage()
    on_error: Annotated[
        Literal["stop", "skip"], Field(description="what to do about a file that is no picture")
    ] = "stop"

    @property
    def short_side(self) -> int:
        """Pixels to which larger pictures are made smaller when they are packed."""
        return self.store.short_side or max(64, math.ceil(self.resolution * 1.15))


class ViewSettings(Block):
    """The deterministic stream of augmented views."""

    seed: int = 0


class TrainSettings(WithPreset):
    """How one network is trained."""

    presets = training_presets.TRAIN

    epochs: Annotated[int, Field(ge=1, le=bounds.EPOCHS)] = 30
    batch_size: Annotated[int, Field(ge=2, le=bounds.BATCH)] = 64
    optimizer: Literal["sgd", "adamw"] = "sgd"
    lr: Positive = 0.05
    momentum: Fraction = 0.9
    nesterov: Annotated[bool, Field(description="Nesterov's momentum, for sgd")] = False
    betas: Annotated[
        list[Annotated[float, Field(ge=0, lt=1)]],
        Field(min_length=2, max_length=2, description="adamw's decays of its two moments"),
    ] = [0.9, 0.999]
    schedule: Literal["cosine", "step", "constant", "onecycle"] = "cosine"
    milestones: Annotated[
        list[int], Field(description="epochs at which `step` multiplies the rate by `decay`")
    ] = []
    decay: Fraction = 0.1
    warmup: Annotated[
        float,
        Field(
            ge=0, lt=1, description="fraction of all steps over which the rate rises in equal steps"
        ),
    ] = 0.0
    weight_decay: NonNegative = 5e-4
    decay_norms: Annotated[
        bool, Field(description="weight decay on biases and norms too, as the CRD protocol has it")
    ] = True
    layer_decay: Annotated[
        float | None,
        Field(
            gt=0,
            le=1,
            description=(
                "fine-tuning: each layer's rate is so many times that of the next one towards the"
                " classifier; left out: all are equal"
            ),
        ),
    ] = None
    clip_norm: Annotated[
        Positive | None,
        Field(description="the gradient's norm is cut to this; left out: it is not"),
    ] = None
    ema: Annotated[
        float | None,
        Field(
            gt=0,
            lt=1,
            description=(
                "decay a step of a moving average of the weights, BatchNorm's statistics too;"
                " the average is what is measured and kept; left out: the weights themselves"
            ),
        ),
    ] = None
    precision: Literal["fp32", "bf16"] = "fp32"
    threads: Annotated[
        int,
        Field(
            ge=1,
            le=bounds.THREADS,
            description="CPU threads; part of the result, so never taken from the machine",
        ),
    ] = 1
    deterministic: Annotated[
        bool,
        Field(
            description="deterministic kernels; false gives up bit-for-bit reproduction on a GPU"
        ),
    ] = True
