"""The top of the page: the answer in one line, what else must be said, and the numbers that people ask for first."""

from __future__ import annotations

from collections import Counter

from autokd import verdict
from autokd.ledger import Trial
from autokd.report.parts import choices, duration, esc, number
from autokd.report.view import ROLES, View, setting
from autokd.summary import reasons
from autokd.verdict import Result


def about(view: View) -> str:
    """Which study this is the page of, for whoever was sent it: its title, and the data."""
    data = sorted({str(setting(t, "data/name")) for t in view.trials})
    return " · ".join([view.title, *([f"data: {', '.join(data)}"] if data else [])])


def first_line(view: View) -> tuple[str, str]:
    """The verdict, or why there is none; and the recipe, where users' words may stand."""
    if view.best is not None:
        return verdict.sentence(view.best, view.metric), _recipe(view.table.trials[view.best.trial])
    if not view.ranked:
        broken = reasons(view.trials)
        return ("No answer: no trial succeeded." if broken else "No answer yet: no trial has reported."), broken
    headline = "No answer: nothing was confirmed over fresh seeds." if view.table.closed else "No answer yet: the study is not finished."
    return headline, _best_of_search(view)


def _recipe(source: Trial) -> str:
    name = f" ({source.name})" if source.name else ""
    teachers = [setting(source, "teacher/model"), *(setting(source, "ladder") or [])]
    taught = f"{setting(source, 'student/model')} taught by {' → '.join(map(str, teachers))}"
    return f"Recipe: trial {source.number}{name}, {taught}" + (f": {choices(source)}." if source.varied else ".")


def _best_of_search(view: View) -> str:
    first = view.ranked[0]
    over = view.table.closed or view.table.finalists is not None
    text = f"Best of {len(view.searched)} trials: trial {first.number}, {view.metric} {number(view.value(first))} after {first.epochs} epochs, one seed, "
    text += "not confirmed" if over else "the search goes on"
    return text + (f": {choices(first)}." if first.varied else ".")


def notes(view: View) -> str:
    """What else must be said with the answer; nothing where there is none."""
    if view.best is None:
        return ""
    out = [*_reference(view), *_test(view.best, view.metric)]
    if view.table.closed is None:
        out.append("The study is not finished: this may change.")
    if view.table.stopping:
        out.append(f"The search was stopped: {view.table.stopping}.")
    if len(view.table.tests) > 1:
        out.append(f"Test data was read {len(view.table.tests)} times.")
    out += [f"Warning: {warning}." for warning in verdict.weak_teachers(view.table)]
    several = len(view.best.seeds) > 1
    out.append(f"The 95 % intervals are {verdict.LEFT_OUT}." if several else "One seed cannot tell a difference from chance.")
    return "<ul class=notes>" + "".join(f"<li>{esc(n)}</li>" for n in out) + "</ul>"


def _reference(view: View) -> list[str]:
    """Whether the winner is more than plain KD."""
    best, metric = view.best, view.metric
    assert best is not None
    if best.itself == ROLES["control-ce"]:
        return []  # the headline says so
    if best.itself:
        others = "over fresh seeds nothing else that was confirmed did better" if len(view.results) > 1 else "nothing else was confirmed"
        return [f"The winner is reference KD itself: {others}."]
    meaning = {"better": "", "worse": ": plain KD is the better choice", "not distinguishable": ": that its extras help is not shown"}
    found = [d for d in best.differences if d.control == ROLES["control-kd"]]
    return [f"Against reference KD {verdict.figure(d, metric)}, {d.verdict}{meaning[d.verdict]}." for d in found]


def _test(best: Result, metric: str) -> list[str]:
    """Whether test data says the same."""
    if not best.test_differences:
        return ["Test data was not read: this answer stands on the validation pictures, on which the winner was also chosen."]
    validation = {d.control: d.verdict for d in best.differences}
    out = []
    for d in best.test_differences:
        held = validation.get(d.control) == d.verdict
        out.append(f"On test, against {d.control}: {verdict.figure(d, metric)}, {d.verdict}" + ("." if held else ": test does not bear out validation."))
    return out


def tiles(view: View) -> str:
    """The numbers that people ask for first."""
    out = _results(view)
    full = [e for e in view.table.teachers.values() if not e.get("assistant") and "val/accuracy" in e.get("metrics", {})]
    out += [(number(e["metrics"]["val/accuracy"]), f"val/accuracy of the teacher {e['model']} at {e['resolution']} px") for e in full[:2]]
    states = Counter(t.state for t in view.searched)
    asked = view.table.created.get("trials") if view.table.finalists is None else None
    out.append((str(len(view.searched)), (f"of {asked} " if asked else "") + "trials: " + ", ".join(f"{n} {state}" for state, n in sorted(states.items()))))
    epochs = sum(1 for e in view.events if e["event"] == "epoch")
    out.append((f"{epochs:,}".replace(",", "\u202f"), "epochs trained, finals included"))
    seconds = view.events[-1]["t"] - view.events[0]["t"] if view.events else 0.0
    out.append((duration(seconds), f"from first to last event, {view.table.created.get('jobs', '?')} at a time"))
    return '<div class="tiles">' + "".join(f"<div><b>{esc(value)}</b><span>{esc(what)}</span></div>" for value, what in out) + "</div>"


def _results(view: View) -> list[tuple[str, str]]:
    if view.best is None:
        return []
    n = len(view.best.seeds)
    out = [(number(view.best.mean), f"{view.metric}, ± {number(view.best.sd)} (sd) over {n} fresh seeds" if n > 1 else f"{view.metric}, one fresh seed")]
    if view.best.test_mean is not None:
        out.append((number(view.best.test_mean), f"{view.metric.replace('val/', 'test/')}, read {verdict.times(len(view.table.tests))}"))
    return out
