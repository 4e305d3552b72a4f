"""Where the exported student errs: class by class, which it takes for which, beside its teacher,
and the mistakes that it was surest of.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from typing import Any

from autokd.report.charts import chart, titled
from autokd.report.parts import esc, folded, note, plain, table
from autokd.report.predictions import Predictions, predictions
from autokd.report.study_data import StudyData

MOST = 60  # classes in one confusion matrix
PAIRS = 12  # of classes that are confused most
ROWS = 15  # classes listed before the rest is folded away
BLUES = [[0, "#ffffff"], [0.02, "#d6e6f2"], [0.3, "#6aaed6"], [1, "#08306b"]]


def classes(study: StudyData) -> str:
    """Per class: how many, how often right, what it is taken for; and the confusion matrix."""
    found = predictions(study)
    if found is None:
        return ""
    head = ["class", "pictures", "recall", "precision", "F1", "most often taken for"]
    head += ["teacher's recall"] if found.teacher is not None else []
    rows = sorted(_rows(found))  # the worst first
    intro = (
        f"Of the exported student ({found.student}) on {len(found.label)} {found.part} pictures,"
        " the classes with the lowest recall first. Recall: the share of a class's pictures that"
        " was recognised. Precision: the share of the pictures given that class that belongs to it."
    )
    cells = [own for _, own in rows]
    rest = (
        folded(f"{len(cells) - ROWS} more classes", table(head, cells[ROWS:], "sortable"))
        if len(cells) > ROWS
        else ""
    )
    listed = table(head, cells[:ROWS], "sortable") + rest
    return note(intro) + f'<div class="pair">{listed}{_confusion(found)}</div>'


def _rows(p: Predictions) -> Iterator[tuple[float, list[str]]]:
    """Recall, and the cells of a class."""
    counts = p.counts
    for i, name in enumerate(p.classes):
        own, said, right = (int(v) for v in (counts[i].sum(), counts[:, i].sum(), counts[i, i]))
        others = counts[i].copy()
        others[i] = 0
        worst = int(others.argmax())
        taken = f"{p.classes[worst]} ({int(others[worst])})" if others[worst] else ""
        cells = [name, str(own), _share(right, own), _share(right, said)]
        cells += [_share(2 * right, own + said), taken]
        if p.teacher is not None:
            cells.append(_share(int((p.teacher[p.label == i] == i).sum()), own))
        yield (right / own if own else 2.0), [esc(c) for c in cells]


def _share(part: int, of: int) -> str:
    return f"{part / of:.3f}" if of else ""


def _confusion(p: Predictions) -> str:
    """The matrix; of many classes the pairs that are confused most."""
    counts = p.counts
    if len(p.classes) > MOST:
        pairs = sorted(
            (
                (int(counts[i, j]), p.classes[i], p.classes[j])
                for i, j in zip(*counts.nonzero(), strict=True)
                if i != j
            ),
            reverse=True,
        )[:PAIRS]
        rows = [[esc(truth), esc(said), str(n)] for n, truth, said in pairs]
        return table(["true class", "taken for", "pictures"], rows)
    names = [plain(name, 18) for name in p.classes]
    shares = counts / counts.sum(1, keepdims=True).clip(1)
    few = len(names) <= 12
    data: dict[str, Any] = {
        "type": "heatmap",
        "z": shares.round(3).tolist(),
        "x": list(range(len(names))),
        "y": list(range(len(names))),
        "colorscale": BLUES,
        "zmin": 0,
        "zmax": 1,
        "showscale": False,
        "xgap": 1,
        "ygap": 1,
        "hoverinfo": "text",
        "hovertext": [
            [f"{names[i]} taken for {names[j]}: {counts[i, j]} of {counts[i].sum()}" for j in cols]
            for i, cols in enumerate([range(len(names))] * len(names))
        ],
    }
    if few:
        data |= {"text": [[str(n) if n else "" for n in own] for own in counts.tolist()]}
        data |= {"texttemplate": "%{text}"}  # numbers of ours alone
    ticks = {"tickvals": list(range(len(names))), "ticktext": names, "showgrid": False}
    layout = {
        "xaxis": titled("predicted class") | ticks | {"zeroline": False, "constrain": "domain"},
        "yaxis": titled("true class") | ticks | {"zeroline": False, "autorange": "reversed"},
    }
    caption = (
        f"Confusion matrix on {p.part}: each row adds up to its class's pictures; the stronger"
        " the colour, the larger the share of the row."
    )
    return chart([data], layout, caption, height=max(380, 22 * len(names) + 120))


# ---------------------------------------------------------------- beside the teacher


def beside_teacher(study: StudyData) -> str:
    """On how many pictures student and teacher say the same, and who is right where they do not."""
    p = predictions(study)
    if p is None or p.teacher is None:
        return ""
    student, teacher = p.predicted == p.label, p.teacher == p.label
    same, n = p.predicted == p.teacher, len(p.label)
    kinds = [
        ("both right", student & teacher),
        ("only the teacher right: what distillation has left undone", ~student & teacher),
        ("only the student right", student & ~teacher),
        ("both wrong, same class: an error that the student has learnt", same & ~teacher),
        ("both wrong, different classes", ~same & ~teacher & ~student),
    ]
    rows = [[esc(name), str(int(of.sum())), f"{of.mean():.1%}"] for name, of in kinds]
    agreed = (
        f"The exported student and its teacher name the same class for {same.mean():.1%} of the"
        f" {n} {p.part} pictures (agreement, or fidelity)."
    )
    return note(agreed) + table(["", "pictures", "share"], rows, "time")


# ---------------------------------------------------------------- gallery


def gallery(study: StudyData) -> str:
    """The mistakes that the student was surest of, as pictures."""
    p = predictions(study)
    if p is None or not len(p.mistake):
        return ""
    wrong = int((p.predicted != p.label).sum())
    intro = (
        f"{len(p.mistake)} of the {wrong} {p.part} pictures that the exported student got wrong:"
        " those it was surest of. Wrong labels and pictures that show two things turn up here"
        " first. In bold the true class. The pictures are in this file; mind that before you pass"
        " it on."
    )
    shown = "".join(
        f'<li><img alt="picture {int(row)} of {p.part}" src="{_png(picture)}">'
        f"<b>{esc(p.classes[p.label[row]])}</b>"
        f"<span>student: {esc(p.classes[p.predicted[row]])} {p.confidence[row]:.0%}</span>"
        f"{_teacher(p, row)}</li>"
        for row, picture in zip(p.mistake, p.picture, strict=True)
    )
    return note(intro) + f'<ul class="gallery">{shown}</ul>'


def _teacher(p: Predictions, row: int) -> str:
    if p.teacher is None or p.teacher_confidence is None:
        return ""
    said = p.classes[p.teacher[row]]
    return f"<span>teacher: {esc(said)} {p.teacher_confidence[row]:.0%}</span>"


def _png(picture: Any) -> str:
    """``[H, W, C]`` uint8 as an address that holds the picture."""
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(picture[..., 0] if picture.shape[-1] == 1 else picture).save(out, "PNG")
    return f"data:image/png;base64,{base64.b64encode(out.getvalue()).decode()}"
