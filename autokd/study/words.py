"""What a study says of its results, teachers and trials, in the words of a page, a terminal and a
recipe alike. Light.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from autokd.space import thaw
from autokd.study import weak
from autokd.study.controls import ALONE, CONTROLS, FINALIST, OWN, REFERENCE, TUNED
from autokd.study.ledger import Event, Table, Trial
from autokd.study.statistics import Difference
from autokd.study.undertrained import of_trial
from autokd.study.verdict import Result

NAMES = {ALONE: "the student trained alone", REFERENCE: "reference KD"} | {
    role: f"the {CONTROLS[role]}" for role in TUNED.values()
}  # in a sentence
LEFT_OUT = "other splits, views and teacher seeds are not in it"
SEEDS_ALONE = (
    "The 95 % intervals are over seeds of student weights and batch order alone, as what came of"
    f" each picture was not kept: often too narrow; {LEFT_OUT}."
)
MEANING = (
    "Had the study been made with other seeds and other pictures of the same kind, 19 of 20 such"
    " intervals would hold the true difference. Where one holds zero, it is not shown which side is"
    " better."
)


SEEN = "it may have seen these pictures"  # of a network that was not trained from scratch here
# what to do about a weak teacher, and what may be wrong with one that was given
BETTER = ": distil from a better one"
WRONG = (
    "; perhaps it was trained on pictures normalised otherwise (teacher/mean, teacher/std), or on"
    " classes in another order"
)


def sentence(result: Result, metric: str) -> str:
    """The answer: what is handed back where that is no finalist, whether distillation helps, and
    what it adds to its own training where that is another question.
    """
    return " ".join([*_handed(result), _verdict(result, metric), *_added(result, metric)])


def _handed(result: Result) -> list[str]:
    """Where a control is handed back: that it is."""
    if result.handed == FINALIST:
        return []
    name = NAMES[result.handed]
    if result.overruled:
        told = f"Test shows {name} to be better than what validation chose: it is handed back."
    else:
        told = f"The best that was confirmed is {name}: it is handed back."
    return [told, "Of the search's own finalist:"]


def _verdict(result: Result, metric: str) -> str:
    """Whether distillation helps: on test, where it was read."""
    if result.itself == OWN[ALONE]:
        return "The best of the search is the student trained alone: nothing distilled beat it."
    d = result.against(ALONE, result.headline)
    if d is None:
        return "The finals have no control to compare with: there is no verdict."
    against = f"{figure(d, metric)} against the {d.control}{_on(result, metric)}."
    if not math.isfinite(d.low):
        return f"No verdict: {against} That may be chance."
    if d.verdict == "better":
        return f"Distillation helps: {against}"
    if d.verdict == "worse":
        return f"Distillation hurts: {against} Train without a teacher."
    if d.verdict == "no larger":
        return f"Distillation did not help: {shown(d, metric)}, {against}"
    if not d.low <= 0 <= d.high:
        against += f" One of several groups: {shown(d, metric)}."
    return " ".join([f"Whether distillation helps is not shown: {against}", *needed(d, metric)])


def _added(result: Result, metric: str) -> list[str]:
    """Beside a tuned control, where it has another training: what the distillation does for that
    of the finalist.
    """
    if result.runs.get(ALONE) == result.runs.get(TUNED[ALONE]):
        return []
    told = result.against(ALONE, result.headline)
    own = next((d for d in result.headline if d.control == OWN[ALONE]), None)
    if told is None or own is None or told is own:
        return []
    return [
        f"With the finalist's own training it adds {figure(own, metric)} to the student alone:"
        f" {shown(own, metric)}."
    ]


def tuned(how: Mapping[str, Any]) -> str:
    """How the controls were tuned (:attr:`Result.tuned`), where training was free."""
    if not how:
        return ""
    over, trials = ", ".join(how["over"]), how["trials"]
    if not trials:
        return (
            f"The search tuned {over}, and its controls ran at the finalist's values: these may be"
            " part of the difference."
        )
    told = ", ".join(f"{OWN[role]} in {n}" for role, n in trials.items())
    return f"Tuned over {over}, in trials: {told}, the search itself in {how['search']}."


def _on(result: Result, metric: str) -> str:
    """On which pictures, and what the others say of it."""
    if not result.test_differences:
        return " on validation, which chose it and so flatters it"
    on_validation = result.against(ALONE, result.differences)
    if on_validation is None:
        return " on test"
    return f" on test ({figure(on_validation, metric)} on validation, which chose it)"


def shown(d: Difference, metric: str) -> str:
    """The verdict in words: ``better``, ``worse``, ``no larger than ±1 point``, ``not shown``."""
    told = f"no larger than ±{size(d.margin, metric)}" if d.verdict == "no larger" else d.verdict
    if d.corrected is None or d.low <= 0 <= d.high:
        return told
    return f"{told} (p {d.corrected:.2g}, Holm's correction over the groups)"


def needed(d: Difference, metric: str) -> list[str]:
    """What a study that shows nothing could have seen, and what would be needed to see the
    margin.
    """
    if d.detectable is None:
        return []
    what = "groups of pictures" if d.grouped else "pictures"
    ways = [f"{n:,} {of}" for n, of in ((d.seeds_needed, "seeds"), (d.cases_needed, what)) if n]
    one = size(d.margin, metric)
    rest = (
        f"{one} would take {' or '.join(ways)}"
        if ways
        else f"neither more seeds nor more {what} would show {one}"
    )
    return [
        f"A study like this one finds a difference of {size(d.detectable, metric)} in 80 % of"
        f" cases; {rest}."
    ]


def size(value: float, metric: str) -> str:
    """``1 point``, ``3.4 points``."""
    by, unit = scale(metric)
    told = f"{value * by:.1f}".removesuffix(".0") if unit else f"{value:.3g}"
    return f"{told}{unit.removesuffix('s') if told == '1' else unit}"


def enough(table: Table, result: Result) -> list[str]:
    """Why the finals ended at as many seeds as they did, where `finalists/until` was asked for."""
    reason = table.enough.get(str(result.group))
    return [f"The finals ended: {reason}."] if reason else []


def interval(result: Result) -> str:
    """What the intervals cover, and what they leave out."""
    found = result.headline or result.differences
    if not found:
        return ""
    d = found[0]
    cases = "groups of pictures" if d.grouped else "pictures"
    seeds = "over seeds of student weights and batch order"
    if d.over == "seeds and pictures":
        return f"The 95 % intervals are {seeds} and over {cases}; {LEFT_OUT}."
    if d.over == "pictures":
        return f"The 95 % intervals are over {cases} alone, with one seed; {LEFT_OUT}."
    if d.over == "repeats":
        return (
            "The 95 % intervals are over repeats, each with its own split, views, teacher's seed"
            " and student's seed, and allow for how far splits of the same pictures are alike."
        )
    if d.n == 1:
        return "One seed cannot tell a difference from chance."
    return SEEDS_ALONE


def figure(d: Difference, metric: str) -> str:
    """``+3.4 points [+1.8, +5.0]``."""
    by, unit = scale(metric)
    digits = 1 if unit else 3
    if not math.isfinite(d.low):
        return (
            f"{d.mean * by:+.{digits}f}{unit}"
            f" ({'one seed' if d.n == 1 else f'{d.n} equal differences'}, no interval)"
        )
    return f"{d.mean * by:+.{digits}f}{unit} [{d.low * by:+.{digits}f}, {d.high * by:+.{digits}f}]"


def scale(metric: str) -> tuple[int, str]:
    """By what differences of the metric are multiplied to be told, and the unit behind the number:
    fractions are told in points.
    """
    return (100, " points") if metric.endswith(("accuracy", "ece", "agreement")) else (1, "")


def duration(seconds: float) -> str:
    """``2 h 05 min``, ``2 min 43 s``, ``51 s``."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s" if whole >= 10 else f"{max(seconds, 0.0):.1f} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def times(n: int) -> str:
    return "once" if n == 1 else f"{n} times"


def exported(table: Table, result: Result, metric: str) -> tuple[str, float] | None:
    """The metric and the value of the very student that is handed out, one of those over whose
    seeds the mean is: on test, where it was read, else on validation.
    """
    trial, on_test = table.trials[result.best_trial], metric.replace("val/", "test/")
    for e in reversed(table.tests):
        if (found := e["results"].get(str(trial.number), {}).get(on_test)) is not None:
            return on_test, found
    return (metric, trial.last[metric]) if metric in trial.last else None


def group(table: Table, result: Result) -> str:
    """``student/resolution 6``: of what the result is the best; ``""`` where the finals have no
    groups.
    """
    if result.group is None:
        return ""
    return f"{thaw(table.created['frozen']).search.finalists.per} {result.group}"


def reasons(trials: Iterable[Trial]) -> str:
    """Why runs broke off, the most frequent first."""
    return "; ".join(
        f"{n} × {reason}"
        for reason, n in Counter(t.reason for t in trials if t.reason).most_common(3)
    )


def taught(e: Event) -> str:
    """What became of a teacher, in one line."""
    if e["state"] != "taught":
        return f"teacher {e['model']}: {e['state']}: {e.get('reason', '')}"
    role = "assistant" if e.get("assistant") else "teacher"
    how = "trained" if e.get("facts", {}).get("networks trained") else "from the cache"
    if e.get("given"):
        how = f"loaded; {SEEN}"
    reached = e.get("metrics", {}).get("val/accuracy")
    good = f" val/accuracy {reached:.4f}" if reached is not None else ""
    return f"{role} {e['model']} at {e['resolution']} px:{good} ({how}, {e['seconds']:.1f} s)"


def teacher_on_test(table: Table, result: Result) -> tuple[float, str] | None:
    """The accuracy of the finalist's teacher on the test pictures, and what speaks against it; None
    where it has no teacher, or they were not read.
    """
    runs = {str(n) for n in result.runs.get(FINALIST, {}).values()}
    found = [
        metrics["test/teacher_accuracy"]
        for e in table.tests
        for number, metrics in e["results"].items()
        if number in runs and "test/teacher_accuracy" in metrics
    ]
    if not found:
        return None
    return found[-1], "" if table.trials[result.trial].parsed.teacher.drawn else f"; {SEEN}"


def cannot_teach(e: Event) -> str | None:
    """What a full teacher's event says against it."""
    facts = e.get("facts", {})
    if e["state"] != "taught" or e.get("assistant") or "classes" not in facts:
        return None
    return weak.sign(e.get("metrics", {}), facts["classes"], facts["validation"])


def weak_teachers(table: Table) -> list[str]:
    """A warning for each full teacher that cannot teach (:mod:`autokd.study.weak`), or that on
    validation is no better than the student trained alone: there is little it could teach.
    """
    signs = {e["key"]: cannot_teach(e) for e in table.teachers.values()}
    told = [
        f"the teacher {table.teachers[key]['model']} {why}" for key, why in signs.items() if why
    ]
    found: dict[str, list[float]] = {}
    for t in table.trials.values():
        alone = t.recipe["distill"]["losses"].keys() == {"ce"}
        if alone and t.state == "complete" and "val/accuracy" in t.last:
            student = t.recipe["student"]
            resolution = student["resolution"] or t.recipe["data"]["resolution"]
            name = f"{student['model']} at {resolution} px"
            found.setdefault(name, []).append(t.last["val/accuracy"])
    if not found:
        return told
    best, name = max((sum(v) / len(v), name) for name, v in found.items())
    out = told
    for e in table.teachers.values():
        if signs[e["key"]]:
            continue
        reached = e.get("metrics", {}).get("val/accuracy")
        if not e.get("assistant") and reached is not None and reached <= best:
            advice = BETTER + (WRONG if e.get("given") else "")
            out.append(
                f"the teacher {e['model']} ({reached:.4f} on validation) is no better than the"
                f" student {name} trained alone ({best:.4f}){advice}"
            )
    return out


def warnings(table: Table, result: Result | None) -> list[str]:
    """What speaks against the answer: weak teachers, and a winner that looks undertrained."""
    out = weak_teachers(table)
    if result is not None:
        told = table.trials[result.best_trial].facts.get("data_note")
        out += [told] if told else []
        out += [f"the student {s}" for s in of_trial(table, table.trials[result.best_trial])]
    return out
