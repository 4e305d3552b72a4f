"""How far to trust: whether the winner is as often right as it says, and whether early epochs
predict the end.
"""

from __future__ import annotations

import math
import statistics
from typing import Any

from autokd.report.charts import COLOUR, DASH, MARK, Trace, chart, titled
from autokd.report.parts import esc, note, number, table
from autokd.report.study_data import StudyData
from autokd.study import asha
from autokd.study.choices import label, short
from autokd.study.ledger import Trial
from autokd.study.statistics import LEAST, spearman

MEASURES = {"val/ece": "val/ece", "val/nll": "val/nll, nats", "val/entropy": "val/entropy, nats"}
WORDS = (
    "ece: how far confidence and accuracy lie apart; nll: the surprise at the right answer; of"
    " both, less is better. entropy: how undecided it is."
)

Bin = tuple[float, float, float]  # confidence, accuracy, count


def calibration(study: StudyData) -> str:
    """Whether the winner is as often right as it says, beside its controls."""
    if not study.roles:
        return ""
    rows = []
    for role, name in study.roles.items():
        runs = study.runs(role)
        means = {
            m: statistics.fmean(t.last[m] for t in runs)
            for m in MEASURES
            if all(m in t.last for t in runs)
        }
        rows.append([esc(name), *(number(means.get(m)) for m in MEASURES), str(len(runs))])
    measures = table(["", *MEASURES.values(), "seeds"], rows) + note(WORDS)
    data = _diagram(study)
    if not data:
        return measures + note(
            "This study did not record how often each run was right at which confidence, so there"
            " is no reliability diagram."
        )
    line = {"color": "#888888", "dash": "dot", "width": 1}
    diagonal = {
        "type": "scatter",
        "mode": "lines",
        "x": [0, 1],
        "y": [0, 1],
        "line": line,
        "name": "perfect",
        "hoverinfo": "skip",
    }
    span = {"range": [-0.02, 1.03]}
    text = (
        "Reliability on validation pictures, all seeds together; a mark's size is its number of"
        " pictures. "
    )
    text += "Below the diagonal a network is too sure of itself."
    diagram = chart(
        [diagonal, *data],
        {"xaxis": titled("confidence") | span, "yaxis": titled("accuracy") | span},
        text,
        height=420,
    )
    return f'<div class="pair">{diagram}<div>{measures}</div></div>'


def _diagram(study: StudyData) -> list[Trace]:
    """Accuracy by confidence, the winner on top."""
    data = []
    for role, name in reversed(study.roles.items()):
        bins = pooled(
            [
                t.facts["reliability"]
                for t in study.runs(role)
                if isinstance(t.facts.get("reliability"), dict)
            ]
        )
        if not bins:
            continue
        largest = max(n for *_, n in bins)
        data.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "name": name,
                "x": [round(c, 4) for c, _, _ in bins],
                "y": [round(a, 4) for _, a, _ in bins],
                "line": {"color": COLOUR[role], "dash": DASH[role], "width": 2},
                "hoverinfo": "text",
                "marker": {
                    "symbol": MARK[role],
                    "color": COLOUR[role],
                    "size": [6 + 14 * math.sqrt(n / largest) for *_, n in bins],
                },
                "hovertext": [
                    f"{name}: says {c:.1%}, right {a:.1%}, {n:g} pictures" for c, a, n in bins
                ],
            }
        )
    return data


def pooled(parts: list[dict[str, Any]]) -> list[Bin]:
    """Bins of several runs together, empty ones left out."""
    sums: dict[int, Bin] = {}
    for part in parts:
        for i, (c, a, n) in enumerate(
            zip(
                part.get("confidence", []),
                part.get("accuracy", []),
                part.get("count", []),
                strict=False,
            )
        ):
            if n and all(isinstance(v, int | float) and math.isfinite(v) for v in (c, a, n)):
                old = sums.get(i, (0.0, 0.0, 0.0))
                sums[i] = (old[0] + c * n, old[1] + a * n, old[2] + n)
    return [(c / n, a / n, n) for _, (c, a, n) in sorted(sums.items())]


# ---------------------------------------------------------------- early epochs


def rank_correlation(study: StudyData) -> str:
    """How the order at each rung agrees with the order at the end, on trials that ran on whatever
    their rank.
    """
    exempt = [t for t in study.searched if t.exempt and t.state == "complete"]
    rungs = _rungs(study, exempt) or _rungs(study, study.searched)
    if not rungs:
        return ""
    parts: list[tuple[str, list[Trial]]] = [("all", exempt)]
    parts += (
        [(short(g), [t for t in exempt if t.group == g]) for g in study.groups]
        if len(study.groups) > 1
        else []
    )
    rows = []
    for rung in rungs:
        for name, trials in parts:
            pairs = [
                (a, b)
                for t in trials
                if (a := study.value(t, rung)) is not None and (b := study.value(t)) is not None
            ]
            rows.append([f"epoch&nbsp;{rung}", esc(name), _spearman(pairs), str(len(pairs))])
    text = (
        "Spearman's rank correlation of the objective at a rung with the objective at the end, on"
        " baselines and on the trials drawn to run on whatever "
    )
    text += (
        f"their rank: the others would flatter it. Fewer than {LEAST}: not known. Near 0, the rungs"
        " stop the wrong trials."
    )
    return note(text) + table(
        ["rung", label(study.search.finalists.per or "trials"), "rank correlation", "n"], rows
    )


def _rungs(study: StudyData, trials: list[Trial]) -> list[int]:
    return sorted(
        {r for t in trials for r in asha.rungs(study.search.asha, t.recipe["train"]["epochs"])}
    )


def _spearman(pairs: list[tuple[float, float]]) -> str:
    """Of ties, the mean rank."""
    if len(pairs) < LEAST:
        return "not known"
    found = spearman(pairs)
    return "not defined: all alike" if found is None else f"{found:+.2f}"
