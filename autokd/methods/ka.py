"""Knowledge adjustment (Wen et al., arXiv 1911.07471): the teacher's wrong answers are put right
before they are taught.

That wrong supervision is repaired, and the name, are the abstract's (paper); ``shift`` and
``smooth`` are as in independent code, the paper's own text not seen. Only pictures whose teacher is
wrong, ``argmax z_t ≠ y``, are touched (independent code); a picture without a label (−1) never is
(choice). The presets have no cross-entropy (recollection, and so in independent code: KD_Lib); the
targets themselves drop no loss. ``tau = 4`` without DTD is plain KD's (choice).

``target/adjusted`` in the metrics is the fraction of pictures adjusted: on clean training data a
good teacher is rarely wrong, so there may be little to do. Under mixup there is no one true class
that a mixed picture's answer could be adjusted to, so ``view/teacher: virtual`` is refused; with
``blend`` each of the two answers is adjusted to its own label.

With DTD beside it the temperature is taken from the *repaired* logits (choice), those of ``smooth``
being logarithms of its distribution. Say two pictures are a batch, the logits of student and
teacher are 8, 5, 3, 1, 1 for both, and the first picture is of the first class, the second of the
second: after ``shift``, ``flsw`` gives the second a temperature of 4.1; from the raw logits it
would be 10.0, as for a picture on which both are right.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from autokd.recipe.axes import Refusal, preset, register
from autokd.recipe.vocabulary import Labels, Logits, Mask, Note

PAPER = "arXiv 1911.07471"
MIXED = Refusal(
    {"view/teacher": "virtual"},
    "a mixed picture has no single true class to adjust the teacher's answer to; use view/teacher:"
    " blend, which adjusts each part's",
)


def _wrong(teacher_logits: Logits, labels: Labels, note: Note) -> tuple[Mask, Labels]:
    """Whether the label is known and is not the predicted class, noted as ``target/adjusted``; and
    the predicted class.
    """
    predicted = teacher_logits.argmax(1)
    wrong = (labels >= 0) & (predicted != labels)
    note("target/adjusted", wrong)
    return wrong, predicted


@register(
    "target",
    "shift",
    about="where the teacher is wrong, its values of the two classes change places",
    paper=PAPER,
    refuses=(MIXED,),
)
def shift(teacher_logits: Logits, labels: Labels, note: Note) -> tuple[Logits, None]:
    """Probability shift: the values of the predicted and of the true class change places
    (independent code; KD_Lib's exchanges the two largest values, whichever the true class is).

    On logits, which is the same as on probabilities at every temperature. Returns ``[B, C]``
    logits, softened like any other.
    """
    import torch

    wrong, predicted = _wrong(teacher_logits, labels, note)
    true = torch.where(wrong, labels, predicted)[:, None]
    source = torch.arange(teacher_logits.shape[1], device=labels.device).repeat(len(labels), 1)
    source = source.scatter(1, true, predicted[:, None]).scatter(1, predicted[:, None], true)
    return teacher_logits.gather(1, source), None


@register(
    "target",
    "smooth",
    about="where the teacher is wrong, the smoothed label stands in",
    paper=PAPER,
    refuses=(MIXED,),
)
def smooth(
    teacher_logits: Logits,
    labels: Labels,
    note: Note,
    *,
    eps: Annotated[float, Field(gt=0, lt=1)] = 0.1,
) -> tuple[Logits, Mask]:
    """Label-smooth regularisation: a wrong row becomes ``1 − eps`` on y and ``eps/(C−1)`` elsewhere
    (independent code).

    ``1 − eps = 0.9`` and no softening of these rows are so there too. Returns ``[B, C]``,
    logarithms of the new distribution in the adjusted rows, and ``[B]`` bool, True for these rows,
    which no temperature softens.
    """
    import math

    import torch

    wrong, _ = _wrong(teacher_logits, labels, note)
    rows = torch.full_like(teacher_logits, math.log(eps / (teacher_logits.shape[1] - 1)))
    rows = rows.scatter(1, labels.clamp(min=0)[:, None], math.log(1 - eps))
    return torch.where(wrong[:, None], rows, teacher_logits), wrong


_TARGETS = {
    "target": {
        "one_of": [
            {"kind": "shift"},
            {"kind": "smooth", "eps": {"uniform": [0.02, 0.4], "prior": 0.1}},
        ]
    }
}
preset(
    "ka",
    {
        "target": {"kind": "shift"},
        "temperature": {"kind": "constant", "tau": 4.0},
        "losses": {"kl": {"weight": 1.0}},
    },
    paper=PAPER,
    summary=(
        "the teacher's wrong answers put right; no cross-entropy, since the targets hold the labels"
    ),
    recommended=_TARGETS | {"temperature/tau": {"log_uniform": [1, 16], "prior": 4.0}},
)
preset(
    "ka-dtd",
    {
        "target": {"kind": "shift"},
        "temperature": {"kind": "flsw"},
        "losses": {"kl": {"weight": 1.0}},
    },
    paper=PAPER,
    summary="the whole paper: wrong answers put right, and a temperature per picture",
    recommended=_TARGETS
    | {
        "temperature/tau": {"uniform": [4, 16], "prior": 10.0},
        "temperature/beta": {"log_uniform": [1, 80], "prior": 40.0},
        "temperature/gamma": {"uniform": [0.25, 2], "prior": 0.5},
    },
)
