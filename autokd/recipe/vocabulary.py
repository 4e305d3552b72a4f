"""The words that methods are written in: what each axis may read, and what type each word has.

B = batch, N = training pictures, C = classes, K = ladder members, M = members that teach a picture.
Tensors are annotated with their shapes, for readers; a type checker sees the plain tensor, and at
run time it is ``Any``, so that whoever reads a recipe loads no torch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor, nn

    Module = nn.Module
else:
    Tensor = Module = Any

Axis = Literal["teaching", "view", "target", "temperature", "losses"]

Scalar = Annotated[Tensor, "scalar"]

# one batch
Logits = Annotated[Tensor, "[B, C]"]
LogProbs = Annotated[Tensor, "[B, C], logarithms of probabilities"]
Labels = Annotated[Tensor, "[B] int64, −1 where there is none"]
PerPicture = Annotated[Tensor, "[B]"]
Mask = Annotated[Tensor, "[B] bool"]
Temperature = Annotated[Tensor | float, "a number or [B]"]
Embedding = Annotated[Tensor, "[B, D]"]
Maps = Annotated[Tensor, "[B, c, h, w]"]
Stages = Annotated[tuple[Tensor, ...], "of [B, c, h, w]"]

# all training pictures
AllLabels = Annotated[Tensor, "[N] int64, −1 where there is none"]
AllPictures = Annotated[Tensor, "[N]"]
AllIndices = Annotated[Tensor, "[N] int64"]
AllBoxes = Annotated[Tensor, "[N, 4] float32: top, left, bottom, right as shares of the side"]
LadderLogits = Annotated[Tensor, "[K, N, C]"]
Experts = Annotated[Tensor, "[M, N] int64"]

# functions
Note = Annotated[Callable[[str, Any], None], "(name, values): adds to the epoch's mean of it"]
Uniforms = Annotated[Callable[[str, int], Tensor], "(purpose, columns) → [N, columns] in [0, 1)"]


class Word(NamedTuple):
    """A word of the vocabulary. ``type``: what a positional argument of that name is annotated
    with.
    """

    type: Any
    meaning: str


_EPOCH = {
    "labels": Word(AllLabels, "−1 where a picture has no label"),
    "members": Word(
        int, "K, how many teach: assistants plus the full teacher, which is member K−1"
    ),
    "ladder_logits": Word(LadderLogits, "this epoch's teacher tables, smallest member first"),
    "first_logits": Word(LadderLogits, "the tables of epoch 0"),
    "student_losses": Word(
        AllPictures,
        "the student's cross-entropies in the epoch before (zeros in epoch 0, and where there is"
        " no label)",
    ),
    "batch_index": Word(AllIndices, "the step of this epoch in which each picture is seen"),
    "uniforms": Word(Uniforms, "draws fixed by view seed, epoch, picture and purpose"),
    "epoch": Word(int, "number of this epoch, from 0"),
    "epochs": Word(int, "how many epochs there are"),
    "note": Word(Note, "adds a figure to the epoch's metrics"),
}
_STEP = {
    "student_logits": Word(Logits, "gradient flows to the student"),
    "teacher_logits": Word(
        Logits, "no gradient; repaired by the target axis before temperature and losses see it"
    ),
    "labels": Word(Labels, "−1 where a picture has no label"),
    "progress": Word(float, "fraction of all steps done, in [0, 1)"),
    "epoch": Word(int, "number of this epoch, from 0"),
    "note": Word(Note, "adds [B] or scalar values to the epoch's mean of that name"),
}
_LOSS = _STEP | {
    "log_probs": Word(LogProbs, "log of the teacher's softened distribution p"),
    "tau": Word(Temperature, "the temperature of this batch"),
    "partner_labels": Word(Labels, "the partner's that it is mixed with (without one: its own)"),
    "mix_weight": Word(PerPicture, "weight of the picture itself (ones where nothing is mixed)"),
    "student_stages": Word(Stages, "the student's stage outputs"),
    "teacher_stages": Word(Stages, "the full teacher's"),
    "scratch_stages": Word(Stages, "the scratch teacher's; gradient flows to it"),
    "student_embedding": Word(Embedding, "what the student's classifier reads"),
    "teacher_embedding": Word(Embedding, "what the full teacher's classifier reads"),
    "scratch_logits": Word(Logits, "the scratch teacher's; no gradient reaches it"),
    "modules": Word(Module, "this loss's own, built by its `build_modules`"),
}
VOCABULARY: dict[Axis, dict[str, Word]] = {
    "teaching": _EPOCH,
    "view": {k: _EPOCH[k] for k in ("uniforms", "batch_index", "epoch", "epochs", "note")},
    "target": _STEP,
    "temperature": _STEP,
    "losses": _LOSS,
}
LOGITS = "student_logits"
STAGES, EMBEDDING = "teacher_stages", "teacher_embedding"
SOFTENED = {"tau", "log_probs"}  # what a temperature gives
TEACHER = {"teacher_logits", "log_probs", STAGES, EMBEDDING}
SCRATCH = {"scratch_logits", "scratch_stages"}  # only under a teaching with the flag `scratch`
