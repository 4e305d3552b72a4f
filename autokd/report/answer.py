"""The top of the page: the answer in one line, what else must be said, and the numbers that people
ask for first.
"""

from __future__ import annotations

import math
from collections import Counter

from autokd.report.parts import esc, number
from autokd.report.study_data import StudyData, setting
from autokd.study import ledger, words
from autokd.study.choices import choices
from autokd.study.controls import ALONE, FINALIST, OWN, REFERENCE, TUNED
from autokd.study.ledger import Trial
from autokd.study.verdict import Result
from autokd.study.words import duration, reasons


def about(study: StudyData) -> str:
    """Which study this is the page of, for whoever was sent it: its title, and the data."""
    data = sorted({str(setting(t, "data/name")) for t in study.trials})
    return " · ".join([study.title, *([f"data: {', '.join(data)}"] if data else [])])


def first_line(study: StudyData) -> tuple[str, str]:
    """The verdict, or why there is none; and the recipe, where users' words may stand."""
    if study.best is not None:
        source = study.table.trials[study.best.trial]
        return words.sentence(study.best, study.metric), _recipe(study, source)
    if not study.ranked:
        if broken := reasons(study.trials):
            return "No answer: no trial succeeded.", broken
        return "No answer yet: no trial has reported.", ""
    if study.table.closed:
        headline = "No answer: nothing was confirmed over fresh seeds."
    else:
        headline = "No answer yet: the study is not finished."
    return headline, _best_of_search(study)


def _recipe(study: StudyData, source: Trial) -> str:
    assert study.best is not None
    if study.best.handed != FINALIST:
        for own, number_of in study.best.tuned.get("chosen", {}).items():
            if study.best.handed == TUNED[own]:  # its training is that of the trial that tuned it
                source = study.table.trials[number_of]
        of = f"the training and data of trial {source.number}"
        chosen = f": {choices(source)}" if source.varied else ""
        return f"Recipe: {words.NAMES[study.best.handed]}, with {of}{chosen}."
    name = f" ({source.name})" if source.name else ""
    made = source.parsed
    teachers = [made.teacher.model, *(assistant.model for assistant in made.assistants)]
    taught = f"{made.student.model} taught by {' → '.join(teachers)}"
    return f"Recipe: trial {source.number}{name}, {taught}" + (
        f": {choices(source)}." if source.varied else "."
    )


def _best_of_search(study: StudyData) -> str:
    first = study.ranked[0]
    over = study.table.closed or study.table.finalists is not None
    text = (
        f"Best of {len(study.searched)} trials: trial {first.number}, {study.metric}"
        f" {number(study.value(first))} after {first.epochs} epochs, one seed, "
    )
    text += "not confirmed" if over else "the search goes on"
    return text + (f": {choices(first)}." if first.varied else ".")


def notes(study: StudyData) -> str:
    """What else must be said with the answer; nothing where there is none."""
    if study.best is None:
        return ""
    out = [*_reference(study), *_test(study.best, study.metric)]
    if study.table.closed is None:
        out.append("The study is not finished: this may change.")
    if study.table.stopping:
        out.append(f"The search was stopped: {study.table.stopping}.")
    if len(study.table.tests) > 1:
        out.append(f"Test data was read {len(study.table.tests)} times.")
    out += [f"Warning: {warning}." for warning in words.warnings(study.table, study.best)]
    out += words.enough(study.table, study.best)
    out += [words.interval(study.best)] if study.best.headline else []
    out += filter(None, [words.tuned(study.best.tuned)])
    out += [words.MEANING] if any(math.isfinite(d.low) for d in study.best.headline) else []
    return "<ul class=notes>" + "".join(f"<li>{esc(n)}</li>" for n in out) + "</ul>"


def _reference(study: StudyData) -> list[str]:
    """Whether the winner is more than plain KD."""
    best, metric = study.best, study.metric
    assert best is not None
    if best.itself == OWN[ALONE]:
        return []  # the headline says so
    if best.itself:
        others = (
            "over fresh seeds nothing else that was confirmed did better"
            if len(study.results) > 1
            else "nothing else was confirmed"
        )
        return [f"The winner is reference KD itself: {others}."]
    meaning = {
        "better": "",
        "worse": ": plain KD is the better choice",
        "no larger": ": its extras bring nothing that matters",
        "not shown": ": whether its extras help is not known",
    }
    d = best.against(REFERENCE, best.headline)
    if d is None:
        return []
    told = f"{words.figure(d, metric)}, {words.shown(d, metric)}{meaning[d.verdict]}"
    return [f"Against {d.control} {told}."]


def _test(best: Result, metric: str) -> list[str]:
    """On which pictures the answer stands, and what the others say."""
    if not best.test_differences:
        return [
            "Test data was not read: this answer stands on the validation pictures, on which the"
            " winner was also chosen, and so flatters it."
        ]
    return [
        f"On validation, which chose it, against {d.control}: {words.figure(d, metric)},"
        f" {words.shown(d, metric)}."
        for d in best.differences
    ]


def use_it(study: StudyData) -> str:
    """The commands that put the answer to use; nothing where there is none yet."""
    if study.best is None:
        return ""
    command = f"autokd export {study.name}"
    return (
        f'<p class="use">Use it: <code>{esc(command)}</code> writes a folder with the weights, a'
        " loader, ONNX and the recipe;"
        ' <a href="#recipe">the recipe</a> trains it again.</p>'
    )


def tiles(study: StudyData) -> str:
    """The numbers that people ask for first."""
    shown = [*_results(study), *_teachers(study), _trials(study)]
    epochs = sum(1 for e in study.events if e["event"] == "epoch")
    # thin spaces between thousands
    shown.append((f"{epochs:,}".replace(",", "\u202f"), "epochs trained, finals included"))
    seconds = ledger.elapsed(study.events)
    jobs = study.table.created.get("jobs", "?")
    shown.append((duration(seconds), f"from first to last event, {jobs} at a time"))
    html = "".join(
        f"<div><b>{esc(value)}</b><span>{esc(what)}</span></div>" for value, what in shown
    )
    return f'<div class="tiles">{html}</div>'


def _results(study: StudyData) -> list[tuple[str, str]]:
    best, metric = study.best, study.metric
    if best is None:
        return []
    n = len(best.seeds)
    over = f", ± {number(best.sd)} (sd) over {n} fresh seeds" if n > 1 else ", one fresh seed"
    out = [(number(best.mean), f"{metric}{over}")]
    if best.test_mean is not None:
        read = words.times(len(study.table.tests))
        mean = f", the mean of {n} seeds" if n > 1 else ""
        name = metric.replace("val/", "test/")
        out.append((number(best.test_mean), f"{name}{mean}, read {read}"))
    if taught := words.teacher_on_test(study.table, best):
        out.append((number(taught[0]), f"test/accuracy of the finalist's teacher{taught[1]}"))
    if n > 1 and (own := words.exported(study.table, best, metric)):
        seed = study.table.trials[best.best_trial].seed
        out.append((number(own[1]), f"{own[0]} of the file that is exported (seed {seed})"))
    return out


def _teachers(study: StudyData) -> list[tuple[str, str]]:
    """Two at most, no assistants."""
    own = [
        e
        for e in study.table.teachers.values()
        if not e.get("assistant") and "val/accuracy" in e.get("metrics", {})
    ]
    return [
        (
            number(e["metrics"]["val/accuracy"]),
            f"val/accuracy of the teacher {e['model']} at {e['resolution']} px"
            + (f"; {words.SEEN}" if e.get("given") else ""),
        )
        for e in own[:2]
    ]


def _trials(study: StudyData) -> tuple[str, str]:
    counts = Counter(t.state for t in study.searched)
    states = ", ".join(f"{n} {state}" for state, n in sorted(counts.items()))
    asked = study.table.created.get("trials") if study.table.finalists is None else None
    of = f"of {asked} " if asked else ""
    return str(len(study.searched)), f"{of}trials: {states}"
