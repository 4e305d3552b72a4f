"""The blocks of a recipe that name a network, and the weights it starts with. Light."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from autokd.recipe import bounds
from autokd.recipe.block import Block
from autokd.recipe.schema import TrainSettings

RANDOM, PRETRAINED = "random", "pretrained"
HUBS = ("hf_hub:", "hf-hub:")  # before the id of a repository of the Hugging Face Hub
TRAIN = "train"  # of a teacher, the older word for random weights and a training
WEIGHT_FILES = (".safetensors", ".pth", ".pt", ".tar", ".bin", ".ckpt")


class Start(Block):
    """A network and the weights it starts with."""

    model: str
    weights: Annotated[
        str,
        Field(
            description=(
                "what it starts with: random, pretrained (the library's own), a file or folder of"
                " weights, or hf_hub:OWNER/NAME"
            )
        ),
    ] = RANDOM
    mean: Annotated[
        list[Annotated[float, Field(ge=0, le=1)]] | None,
        Field(
            min_length=1,
            description=(
                "per channel, of pictures in [0, 1], as a file's network was trained; the data's"
                " own where it is left out"
            ),
        ),
    ] = None
    std: Annotated[
        list[Annotated[float, Field(gt=0, le=1)]] | None,
        Field(min_length=1, description="as `mean`"),
    ] = None
    labels: Annotated[
        str | None,
        Field(
            description=(
                "a file that names the classes of its weights in the order of its outputs, a line"
                " each or in JSON; those of the data are found among them by name; left out: they"
                " are the data's, in the data's order"
            )
        ),
    ] = None

    @property
    def file(self) -> str | None:
        """The file or folder that it starts with, if any."""
        named = self.weights in {RANDOM, PRETRAINED, TRAIN} or self.repository
        return None if named else self.weights

    @property
    def repository(self) -> str | None:
        """The id of the hub's repository that it starts with, if any."""
        return self.weights.partition(":")[2] if self.weights.startswith(HUBS) else None

    @property
    def drawn(self) -> bool:
        """Whether its weights are random."""
        return self.weights in {RANDOM, TRAIN}


class Taught(Start):
    """A network that teaches."""

    head: Annotated[
        Literal["own", "probe"],
        Field(
            description=(
                "own: that of its weights; probe: a linear one, fitted once on its frozen"
                " embeddings of the training pictures"
            )
        ),
    ] = "own"
    side: Annotated[
        int | None,
        Field(
            ge=4,
            le=bounds.SIDE,
            description=(
                "pixels a side that pictures are made to before it sees them; left out: as they"
                " are, and where `head` is probe, what the published weights are for"
            ),
        ),
    ] = None


class Assistant(Taught):
    """A member of the ladder. With a ``train`` block, or from random weights, it is trained by
    reference KD from the larger ones; else it is used as it is.
    """

    train: Annotated[
        TrainSettings | None,
        Field(
            description=(
                "how it is trained from there; left out: from random weights as `ladder_train`"
                " says, other weights are used as they are"
            )
        ),
    ] = None


class TeacherSettings(Taught):
    """The full teacher, the largest member of the ladder. With a ``train`` block it is trained from
    the weights it starts with, without one it is used as it is.
    """

    model: str = "cnn-3x32"
    weights: Annotated[
        str,
        Field(
            description=(
                "what it starts with: random, pretrained (the library's own), or a file or folder"
                " of weights; `train` is the older word for random weights and a training"
            )
        ),
    ] = TRAIN
    seed: int = 0
    input: Annotated[
        Literal["full", "student"], Field(description="the resolution that the teacher sees")
    ] = "full"
    table: Annotated[
        Literal["fp16", "fp32"],
        Field(
            description=(
                "the precision to which the logits of its tables are rounded, cached or not; logits"
                " that come from running it on a batch, for a loss that reads its stages or"
                " embedding, are not rounded"
            )
        ),
    ] = "fp16"
    embedding: Annotated[
        Literal["table", "online"],
        Field(
            description=(
                "where a loss reads its embedding and no stages: table, computed once for each view"
                " and rounded like its logits; online, by running it on each batch"
            )
        ),
    ] = "table"
    train: Annotated[
        TrainSettings | None,
        Field(description="how it is trained from there; left out: it is used as it is"),
    ] = None
    precision: Annotated[
        Literal["fp32", "bf16"],
        Field(
            description=(
                "of its passes, and of those of assistants, where they are used as they are; one"
                " that is trained answers as it was trained"
            )
        ),
    ] = "fp32"
    threads: Annotated[
        int, Field(ge=1, le=bounds.THREADS, description="CPU threads of the same passes")
    ] = 1

    @model_validator(mode="before")
    @classmethod
    def _trained_by_default(cls, value: Any) -> Any:
        if isinstance(value, Mapping) and value.get("weights", TRAIN) == TRAIN:
            return {"train": {}, **value}
        return value


class StudentSettings(Start):
    """The network that the recipe is for."""

    model: str = "cnn-2x8"
    resolution: Annotated[
        int | None,
        Field(
            ge=4, le=bounds.SIDE, description="pixels a side; the data's own where it is left out"
        ),
    ] = None
    head: Annotated[
        Literal["own", "probe"],
        Field(
            description=(
                "own: as it is trained; probe: a linear one, fitted after each epoch on its frozen"
                " embeddings of the labelled training pictures, so that no loss needs to train it"
            )
        ),
    ] = "own"
