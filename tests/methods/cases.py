"""What is particular to each method: variants, what its gradient reaches, where it is zero."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Case:
    """What is particular to one method.

    Attributes:
        variants: Settings under which the common rules are checked, besides the defaults.
        learns: Of a loss: the word that its gradient reaches.
        equal: Of a loss: the word that makes it 0 and minimal when ``learns`` is the same. Empty
            where there is none.
        shift: Of a loss: whether a constant added to all logits of a picture changes nothing.
        values: Per hyperparameter, a value that must differ from the default where twice the
            default is not the thing to try.
        context: Per hyperparameter ("" for all), recipe changes under which it has something to do.
    """

    variants: tuple[Mapping[str, Any], ...] = ()
    learns: str = "student_logits"
    equal: str = ""
    shift: bool = False
    values: Mapping[str, Any] = field(default_factory=dict)
    context: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


LADDER = {"ladder": ["cnn-2x8"]}
COLLABORATIVE = {"distill/teaching": {"kind": "collaborative"}}
# temperatures far enough apart to be clamped at both ends
WILD = {"distill/temperature/beta": 400.0}
NOISY_LABELS = {"data/label_noise": 0.5, "data/split_seed": 1}  # a teacher that contradicts labels
CASES: dict[tuple[str, str], Case] = {
    ("teaching", "single"): Case(),
    ("teaching", "chain"): Case(),
    ("teaching", "dense"): Case(variants=({"stochastic": True},), context={"": LADDER}),
    ("teaching", "curriculum"): Case(
        variants=tuple(
            {"difficulty": difficulty, "warm": warm}
            for difficulty in ("ladder", "teacher", "student")
            for warm in (0, 1, 3, 4)
        ),
        values={"warm": 0},
        context={"": LADDER, "difficulty": {"distill/teaching/warm": 0}},
    ),
    ("teaching", "collaborative"): Case(
        values={"scratch": "cnn-2x8"},
        context={"": {"distill/losses": {"ce": {}, "scratch_l2": {"weight": 0.3}, "kl": {}}}},
    ),
    ("view", "plain"): Case(),
    ("view", "mixup"): Case(
        variants=(
            {"alpha": 0.0},
            {"alpha": 2.5},
            {"per": "batch", "alpha": 0.3},
            {"teacher": "blend"},
        )
    ),
    ("view", "cutmix"): Case(
        variants=({"alpha": 2.5}, {"per": "batch", "alpha": 0.3}, {"teacher": "blend"})
    ),
    ("target", "teacher"): Case(),
    ("target", "shift"): Case(),
    ("target", "smooth"): Case(variants=({"eps": 0.5}, {"eps": 0.4}), context={"": NOISY_LABELS}),
    ("temperature", "constant"): Case(),
    ("temperature", "flsw"): Case(
        variants=(
            {"beta": 0.0},
            {"beta": 0.0, "tau": 0.5},  # raised to tau_min
            {"gamma": 1.5},
            *(
                {"space": space, "beta": beta, "tau_min": low, "tau_max": high}
                for space in ("logit", "prob")
                for beta, low, high in ((10.0, 1.0, 0.0), (7.0, 0.5, 11.0), (400.0, 2.0, 0.0))
            ),
        ),
        context={"tau_min": WILD, "tau_max": WILD},
    ),
    ("temperature", "cwsm"): Case(
        variants=(
            {"beta": 0.0},
            {"beta": 400.0},
            {"beta": 0.0, "tau": 9.0, "tau_max": 6.0},  # lowered to tau_max
            {"beta": 60.0, "tau_min": 2.0, "tau_max": 12.0},
        ),
        values={"beta": 40.0},
        context={"tau_min": WILD, "tau_max": WILD},
    ),
    ("losses", "ce"): Case(variants=({"label_smoothing": 0.3},), shift=True),
    ("losses", "kl"): Case(equal="teacher_logits", shift=True),
    ("losses", "dkd"): Case(
        variants=(
            {"alpha": 0.0},
            {"beta": 0.0},
            {"warmup": 0.0},
            {"alpha": 2.0, "beta": 0.5, "warmup": 8.0},
        ),
        equal="teacher_logits",
        shift=True,
    ),
    ("losses", "dist"): Case(
        variants=({"beta": 0.0}, {"gamma": 0.0}, {"beta": 0.5, "gamma": 3.0}),
        equal="teacher_logits",
        shift=True,
    ),
    ("losses", "lskd"): Case(equal="teacher_logits", shift=True),
    ("losses", "rkd_distance"): Case(learns="student_embedding", equal="teacher_embedding"),
    ("losses", "rkd_angle"): Case(learns="student_embedding", equal="teacher_embedding"),
    ("losses", "cosine"): Case(learns="student_embedding", equal="teacher_embedding"),
    ("losses", "attention"): Case(learns="student_stages", equal="teacher_stages"),
    ("losses", "fitnets"): Case(learns="student_stages", equal="teacher_stages"),
    ("losses", "scratch_l2"): Case(equal="scratch_logits", context={"": COLLABORATIVE}),
    # Without a shared stem the student feels the scratch teacher's maps only through its logits.
    ("losses", "scratch_attention"): Case(
        learns="scratch_stages",
        equal="teacher_stages",
        context={"": COLLABORATIVE | {"distill/losses/scratch_l2": {"weight": 0.3}}},
    ),
}
