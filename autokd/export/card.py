"""``MODEL_CARD.md``: what the student is, how to use it, its data, results with intervals,
calibration, and limits.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from autokd import recipe
from autokd.errors import printable
from autokd.export.student import ExportedStudent
from autokd.recipe.document import flow
from autokd.study import words

BINS = 10  # of the reliability table
TEACHER = "test/teacher_accuracy"  # among the results on test: not the student's own


def card(student: ExportedStudent) -> str:
    """The whole file."""
    lines = [
        *_head(student),
        *_use(student),
        *_data(student),
        *_results(student),
        *_calibration(student),
        *_training(student),
        *_limits(student),
    ]
    return "\n".join(lines) + "\n"


def label(name: str) -> str:
    """A class name on one line."""
    return " ".join(name.split()) or "?"


def plain(text: str) -> str:
    """Text on one line that Markdown, and HTML within it, shows as it stands."""
    return re.sub(r"([\\`*_\[\]<>#!|~&$:@])", r"\\\1", printable(label(text)))


def _data_name(student: ExportedStudent) -> str:
    return plain(Path(student.recipe.data.name).name)


def _head(student: ExportedStudent) -> list[str]:
    about = student.metadata
    title = f"# {about.model} for {_data_name(student)}, {about.resolution} px"
    return [
        "---",
        "library_name: pytorch",
        "pipeline_tag: image-classification",
        "tags: [image-classification, knowledge-distillation, autokd]",
        "---",
        "",
        f"{title}, {len(about.classes)} classes",
        "",
        plain(student.heading[0]),
        *(line.strip() for line in student.heading[1:2]),
        f"Found by AutoKD in study `{student.study}`; the recipe is beside this card.",
        "",
    ]


def _use(student: ExportedStudent) -> list[str]:
    about = student.metadata
    taken = f"[B, {about.channels}, H, W]"
    files = " and ".join(plain(Path(file).name) for file in recipe.files(student.recipe).values())
    part = f" of {about.crop_share:g} of the short side" if about.crop_share != 1 else ""
    beside = f", with {files} laid beside it." if files else "."
    return [
        "## Use",
        "",
        "```python",
        "from load import load              # torch and safetensors, nothing else",
        "student, labels = load()",
        "",
        f"probabilities = student(pictures)   # {taken} floats in [0, 1] ->"
        f" [B, {len(about.classes)}]",
        "```",
        "",
        f"Pictures are floats in [0, 1]; it looks at their central square{part}, scaled to"
        f" {about.resolution} px, and normalisation is inside.",
        "Or `autokd predict . PICTURES`; `student.onnx` takes such squares and gives logits"
        f" (softmax is yours). Again: `autokd reproduce recipe.yaml`{beside}",
        "",
    ]


def _data(student: ExportedStudent) -> list[str]:
    data, asked = student.data, student.recipe.data
    labelled = int((data.train.labels >= 0).sum())
    text = (
        f"{_data_name(student)}, fingerprint `{data.fingerprint}`: {len(data.train):,}"
        " training pictures"
    )
    text += f" ({labelled:,} of them labelled)" if labelled != len(data.train) else ""
    text += f", {len(student.labels):,} for validation, {data.summary['test']:,} for test"
    text += f"; split by seed {asked.split_seed}"
    if asked.label_noise:
        text += f", {asked.label_noise:.0%} of training labels wrong on purpose"
    return ["## Data", "", f"{text}.", ""]


# ---------------------------------------------------------------- results


def _results(student: ExportedStudent) -> list[str]:
    results = student.results
    others = {"read", TEACHER}
    tested = {name: value for name, value in results.get("test", {}).items() if name not in others}
    own = {**results["validation"], **tested}
    return [
        "## Results",
        "",
        f"{results['metric']} over seeds {results['seeds']}, each trained from scratch:",
        "",
        "| | mean | 95 % interval of the mean |",
        "|---|---|---|",
        *(
            f"| {name} | {figures['mean']:.4f} | {_range(figures['interval'])} |"
            for name, figures in {"this recipe": results, **results["controls"]}.items()
        ),
        *_differences(results),
        *(["", plain(results["tuned"])] if "tuned" in results else []),
        "",
        "The student in this folder is that of the first seed, not the best one. Its own figures:",
        "",
        ", ".join(f"{name} {value:.4f}" for name, value in own.items()) + ".",
        "",
        *_size(student),
    ]


def _differences(results: dict[str, Any]) -> list[str]:
    # who was compared: where a control was better, it is handed back in the finalist's place
    whose = (
        "this recipe" if results.get("handed_back", "finalist") == "finalist" else "the finalist"
    )
    rows = []
    for d in results.get("test_against", []):
        rows.append((d, f"test, read {words.times(results['test']['read'])}"))
    rows += [(d, "validation, which chose it") for d in results["against"]]
    if not rows:
        return []
    return [
        "",
        f"Paired differences, {whose} minus the control:",
        "",
        "| on | against | difference [95 % interval] | verdict |",
        "|---|---|---|---|",
        *(f"| {where} | {d['control']} | {_told(d)} | {d['verdict']} |" for d, where in rows),
    ]


def _told(d: dict[str, Any]) -> str:
    """In the answer's own figures, which recipes from before they were kept do not have."""
    return str(d.get("told") or f"{d['mean']:+.4f} [{_range(d['interval'])}]")


def _size(student: ExportedStudent) -> list[str]:
    results, origin = student.results, student.provenance
    parts = []
    if "params" in results:
        parts.append(f"{results['params']:,} parameters")
    if "flops" in results:
        parts.append(f"{results['flops']:,} FLOPs a picture (a multiply-add is two)")
    if "latency_ms" in results:
        where = f"{origin.get('hardware')}, threads {origin.get('threads')}"
        parts.append(f"{results['latency_ms']:.3f} ms for one picture (median; {where})")
    return [", ".join(parts) + ".", ""] if parts else []


def _range(interval: list[float | None] | None) -> str:
    if not interval or None in interval:
        return "unknown"
    low, high = interval
    return f"{low:.4f} to {high:.4f}"


# ---------------------------------------------------------------- calibration


def _calibration(student: ExportedStudent) -> list[str]:
    from autokd.train import metrics

    labels = student.labels
    if not len(labels):
        text = "Not measured: the recipe holds out no validation pictures."
        return ["## Calibration", "", text, ""]
    probs = (student.logits.double() / student.temperature).softmax(1)
    ece = metrics.ece(probs, labels)
    lines = [
        "## Calibration",
        "",
        f"Expected calibration error on validation: {ece:.4f} (15 bins).",
    ]
    if fitted := student.results.get("calibration"):
        lines += [
            f"Logits are divided by a temperature of {student.temperature:.3f}, fitted on those"
            f" same pictures (ECE {fitted['ece'][0]:.4f} before);",
            f"on pictures that the fit did not see the ECE is {fitted['ece_unseen']:.4f} (each"
            " half scaled by the other's temperature).",
        ]
    lines += ["", "| confidence | pictures | mean confidence | accuracy |", "|---|---|---|---|"]
    sums = (column.tolist() for column in metrics.reliability_bins(probs, labels, BINS))
    for b, (confidence, right, count) in enumerate(zip(*sums, strict=True)):
        if count:
            lines.append(
                f"| {b / BINS:.1f} to {(b + 1) / BINS:.1f} | {count:.0f} |"
                f" {confidence / count:.3f} | {right / count:.3f} |"
            )
    return [*lines, ""]


# ---------------------------------------------------------------- training and limits


def _training(student: ExportedStudent) -> list[str]:
    r, origin = student.recipe, student.provenance
    if r.needs_teacher:
        assistants = ", ".join(assistant.model for assistant in r.assistants)
        ladder = f" through {assistants}" if r.needs_ladder and assistants else ""
        axes = ("teaching", "view", "target", "temperature")
        kinds = ", ".join(f"{axis} {flow(r.distill[axis])}" for axis in axes)
        losses = flow(r.distill["losses"])
        how = f"taught by {r.teacher.model}{ladder}{_teacher(student)}; {kinds}; losses {losses}"
    else:
        how = "without a teacher"
    lines = ["## Training", "", f"{r.train.epochs} epochs, {how}."]
    if cost := origin.get("cost", {}):
        lines.append(
            f"The whole search: {cost['trials']} runs, {cost['epochs']:,} epochs,"
            f" {cost['seconds']:,} seconds of training on {origin.get('hardware')}."
        )
    return [*lines, ""]


def _teacher(student: ExportedStudent) -> str:
    """How good the teacher is on the test pictures, where they were read."""
    if (accuracy := student.results.get("test", {}).get(TEACHER)) is None:
        return ""
    seen = "" if student.recipe.teacher.drawn else f"; {words.SEEN}"
    return f" (accuracy on test {accuracy:.4f}{seen})"


def _limits(student: ExportedStudent) -> list[str]:
    if read := student.results.get("test", {}).get("read"):
        tested = (
            f"- Test was read {words.times(read)}, after the winner was chosen; validation chose"
            " it and flatters it."
        )
    else:
        tested = "- Test was not read; validation chose the winner and flatters it."
    lines = [
        "## Limits",
        "",
        f"- Measured on {_data_name(student)} alone. Other pictures than these were not looked"
        " at, nor any shift or attack.",
        f"- {student.results.get('covers', words.SEEDS_ALONE)} {words.MEANING}",
        tested,
        *_weakest(student),
        "- It names one of its classes for any picture, also for one that shows none of them.",
    ]
    precision = student.recipe.train.precision
    if precision != "fp32":
        lines.append(
            f"- It was trained and measured in {precision}; as exported it computes in fp32, so"
            " figures may differ slightly."
        )
    return lines


def _weakest(student: ExportedStudent) -> list[str]:
    """The classes of which it gets the fewest right."""
    labels = student.labels
    if not len(labels):
        return []
    right = student.logits.argmax(1) == labels
    accuracy = {
        name: right[labels == i].double().mean().item()
        for i, name in enumerate(student.metadata.classes)
        if bool((labels == i).any())
    }
    worst = sorted(accuracy, key=lambda c: accuracy[c])[:3]
    shown = ", ".join(f"{plain(c)} ({accuracy[c]:.0%})" for c in worst)
    return [f"- Weakest classes on validation: {shown}."]
