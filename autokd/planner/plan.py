"""What is searched, chosen so that it fills the budget; and the two documents that say so."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field

from autokd.planner.candidates import Bounds, Candidate
from autokd.planner.look import Look
from autokd.recipe.document import flow

START = 20.0  # seconds until Ray and its workers run
END = 20.0  # seconds kept for the page and the export
FINALS = 0.3  # of what is left; teachers and the search have the rest
TEACHER = 0.2
SEEDS, ROLES = 3, 3  # of the finals: the finalist, the student alone, reference KD
EPOCHS = 8, 60  # of a student: fewer teach it nothing, more are seldom worth it
TEACHER_EPOCHS = 20, 40
JOB = 0.5  # seconds of a trial besides its epochs
HELD_OUT = 0.2  # for validation, and for test, where the data has no such part
LARGER = 1.5  # whole epochs cost more than steps: views, metrics, validation
MOST_STUDENTS = 3
METHODS = ("kd", "dkd", "dist", "lskd")  # none runs the teacher beside each batch


@dataclass
class Plan:
    """``reasons``: a line a choice."""

    base: str
    space: str
    students: list[Candidate]
    epochs: int
    reasons: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Teacher:
    """One that is given: what stands under ``teacher`` in the recipe, and why."""

    block: dict[str, object]
    reason: str


def side(found: Look, wanted: int | None) -> int:
    """px: what is asked for, else the pictures' own short side up to 64."""
    return wanted or max(8, min(found.sides[1], 64))


def resolutions(largest: int) -> list[int]:
    """The largest, and three quarters of it where that is still a picture."""
    return sorted({largest, max(largest * 3 // 4, 6)})


def batch(pictures: int) -> int:
    """About 25 steps an epoch, between 10 and 64 pictures each."""
    return int(min(64, max(10, 2 ** round(math.log2(max(pictures, 1) / 25)))))


def trained(found: Look) -> int:
    """Pictures that are left for training."""
    kept = (1 - HELD_OUT) ** (2 - len({"validation", "test"} & set(found.parts)))
    return int(found.pictures * kept)


def plan(
    found: Look,
    able: list[Candidate],
    everything: list[Candidate],
    *,
    seconds: float,
    jobs: int,
    bounds: Bounds,
    given: Teacher | None = None,
    unlabelled: str | None = None,
) -> Plan:
    """``able``: the candidates within the bounds; ``everything``: teachers are chosen among these.
    ``seconds``: what is left of the budget.
    """
    left = seconds - START - END
    size = batch(trained(found))
    n = trained(found)

    def epoch(c: Candidate, pictures: int) -> float:
        return LARGER * c.step * math.ceil(pictures / size)

    def epochs(c: Candidate, pictures: int) -> float:
        runs = math.ceil(SEEDS * ROLES / jobs)
        return (FINALS * left / runs - JOB) / epoch(c, pictures)

    affordable = [c for c in able if epochs(c, n) >= EPOCHS[0]]
    limit = None
    if not affordable:  # even the cheapest would see too few epochs: it sees fewer pictures
        affordable = able[:1]
        limit = max(int(n * epochs(able[0], n) / EPOCHS[0]), 10 * len(found.classes))
        n = min(limit, n)
    students = _spread(affordable)
    length = int(min(EPOCHS[1], max(EPOCHS[0], min(epochs(c, n) for c in students))))
    run = sum(epoch(c, n) for c in students) / len(students) * length + JOB
    trials = int(max(8, 2 * (1 - FINALS) * left * jobs / (0.5 * run)))
    models = list(dict.fromkeys(c.model for c in students))
    sides = sorted({c.resolution for c in students})
    reasons = [_of_students(students, able, bounds)]
    if given:
        teacher: dict[str, object] = given.block
        reasons.append(f"teacher: {given.reason}")
    else:
        teacher, why = _teacher(everything, students, epoch, n, left, size)
        reasons.append(why)
    reasons += [
        f"epochs: {length}, of which {SEEDS} seeds of the winner and its two controls fit into"
        f" {FINALS:.0%} of the time",
        f"trials: as many as {seconds:.0f} s leave room for, at most {min(trials, 500)}",
        f"methods: {', '.join(METHODS)}, each with its authors' ranges; none of them runs the"
        " teacher beside the student",
    ]
    if limit:
        reasons.append(f"data/limit: {limit} pictures, as {EPOCHS[0]} epochs of all take too long")
    base = _base(found, teacher, students[-1], max(sides), size, length, limit, unlabelled, reasons)
    free = {"distill": {"one_of": [{"preset": m} for m in METHODS], "free": "recommended"}}
    lines = [f"  distill: {flow(free['distill'])}"]
    if len(models) > 1:
        lines.append(f"  student/model: {flow({'choice': models})}")
    if len(sides) > 1:
        lines.append(f"  student/resolution: {flow({'choice': sides})}")
    forbidden = [
        {"student/model": m, "student/resolution": r}
        for m in models
        for r in sides
        if not any(c.model == m and c.resolution == r for c in able)
    ]
    head = "".join(f"# {reason}\n" for reason in [reasons[0], *reasons[2:]])
    search = (
        f"search: {{trials: {min(trials, 500)}, time: {int(seconds - END)},"
        f" finalists: {{top: 1, seeds: {SEEDS}}}}}"
    )
    space = f"{head}base: base.yaml\n{search}\nvary:\n" + "\n".join(lines) + "\n"
    if forbidden:
        entries = "".join(f"  - {flow(f)}\n" for f in forbidden)
        space += f"# beyond the bounds as they were measured:\nforbid:\n{entries}"
    return Plan(base, space, students, length, reasons)


def _spread(affordable: list[Candidate]) -> list[Candidate]:
    """A few between the cheapest and the largest, none with both more steps' time and fewer
    parameters than another.
    """
    front: list[Candidate] = []
    for c in affordable:  # the cheapest to train first
        if not front or c.params * c.resolution > front[-1].params * front[-1].resolution:
            front.append(c)
    half = front[len(front) // 2 :]  # the larger ones learn more, and are within the bounds
    step = max(1, len(half) // MOST_STUDENTS)
    return half[::-step][:MOST_STUDENTS][::-1]


def _of_students(students: list[Candidate], able: list[Candidate], bounds: Bounds) -> str:
    shown = ", ".join(
        f"{c.model} at {c.resolution} px ({c.latency_ms:.2f} ± {2 * c.noise_ms:.2f} ms,"
        f" {c.params:,} parameters)"
        for c in students
    )
    told = "of those within the bounds" if bounds != Bounds() else "no bound was given"
    return f"students: {shown}: {told}, {len(able)} measured; these train in the time"


def _teacher(
    everything: list[Candidate],
    students: list[Candidate],
    epoch: Callable[[Candidate, int], float],
    pictures: int,
    left: float,
    size: int,
) -> tuple[dict[str, object], str]:
    """The largest whose training takes a fifth of the time."""
    largest = max(c.resolution for c in students)
    able = [c for c in everything if c.resolution == largest and not c.model.startswith("timm:")]
    fits = [c for c in able if epoch(c, pictures) * TEACHER_EPOCHS[0] <= TEACHER * left]
    chosen = max(fits or able[:1], key=lambda c: c.flops)
    affordable = TEACHER * left / epoch(chosen, pictures)
    length = int(min(TEACHER_EPOCHS[1], max(TEACHER_EPOCHS[0], affordable)))
    block: dict[str, object] = {
        "model": chosen.model,
        "train": {"epochs": length, **_rates(size)},
    }
    why = (
        f"teacher: {chosen.model}, trained here for {length} epochs: the one that computes most"
        f" among those whose training takes at most {TEACHER:.0%} of the time; --teacher brings a"
        " better one"
    )
    return block, why


def _rates(size: int) -> dict[str, object]:
    return {"batch_size": size, "lr": round(0.05 * min(1.0, size / 32), 4), "warmup": 0.1}


def _base(
    found: Look,
    teacher: dict[str, object],
    student: Candidate,
    largest: int,
    size: int,
    length: int,
    limit: int | None,
    unlabelled: str | None,
    reasons: list[str],
) -> str:
    photographs = found.channels == 3 and largest >= 24
    data: dict[str, object] = {
        "name": found.name,
        "resolution": largest,
        "augment": {"crop_padding": max(1, largest // 8) if photographs else 1, "flip": False},
        "validation": "folder" if "validation" in found.parts else HELD_OUT,
        "split_seed": 0,
    }
    if "test" not in found.parts:
        data["test"] = HELD_OUT
    if found.group_by:
        data["group_by"] = found.group_by
    if found.broken:
        data["on_error"] = "skip"
    if limit:
        data["limit"] = limit
    if unlabelled:
        data["unlabelled"] = unlabelled
    train = {"epochs": length, **_rates(size)}
    notes = "".join(f"# {note}\n" for note in found.notes)
    counts = (
        f"{found.pictures:,} pictures for training and holding out, {len(found.classes)} classes"
    )
    return (
        f"# Written by `autokd auto`; yours to change. {counts}, short sides"
        f" {found.sides[0]} to {found.sides[2]} px, median {found.sides[1]}.\n{notes}"
        "# Crops are moved by an eighth of the side; whether pictures may be mirrored only you know"
        " (augment/flip).\n"
        f"data:    {json.dumps(data)}\n"
        f"# {reasons[1]}\n"
        f"teacher: {json.dumps(teacher)}\n"
        f"student: {json.dumps({'model': student.model, 'resolution': student.resolution})}\n"
        "distill: {preset: kd}\n"
        f"# about 25 steps an epoch; {reasons[2]}\n"
        f"train:   {json.dumps(train)}\n"
    )
