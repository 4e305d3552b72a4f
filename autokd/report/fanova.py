"""What mattered: the share of the differences between trials that a parameter explains, where there
are enough trials to say.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from autokd.recipe.document import canonical
from autokd.report.charts import thin
from autokd.report.parts import branch_name, esc, label, note
from autokd.report.study_data import StudyData
from autokd.space.tree import OneOf
from autokd.study.ledger import Trial
from autokd.study.statistics import LEAST

MOST = 200  # trials: the time of fANOVA grows with their square


def importances(study: StudyData) -> str:
    """A card for each branch, and where there are several one for all trials; of trials that ran to
    their end, and where the finals are held in groups, within these.
    """
    branches = sorted({t.branch for t in study.searched if t.varied})
    if not branches:
        return ""
    parts = [("all trials, what they have in common", study.complete)] if len(branches) > 1 else []
    parts += [
        (branch_name(b), [t for t in study.complete if t.branch == b and t.varied])
        for b in branches
    ]
    cards, unknown = [], []
    for name, trials in parts:
        shares, why = importance(study, trials)
        if shares is None:
            unknown.append(f"{name} ({why})")
            continue
        bars = "".join(_bars(study, shares))
        cards.append(
            f"<div class=card><h3>{esc(name)}</h3>{bars}<p><small>{esc(why)}</small></p></div>"
        )
    rest = note(f"Not known: {'; '.join(unknown)}.") if unknown else ""
    return note(_intro(study)) + f'<div class="cards">{"".join(cards)}</div>' + rest


def _intro(study: StudyData) -> str:
    text = (
        f"The share of the differences in {study.metric} at the end of training that a parameter"
        " explains, among the trials that ran to their end (fANOVA on a random forest). "
    )
    if len(study.groups) > 1:
        per = label(study.search.finalists.per or "group")
        text += (
            f"Each value counts as its distance from the mean of its {per}, as a winner is looked"
            f" for in each: what {per} itself does is not in it. "
        )
    return text + "R² is the forest's, on trials it did not see: near 0, the shares mean little."


def _bars(study: StudyData, shares: list[tuple[str, float]]) -> Iterator[str]:
    for name, share in shares:
        leaf = study.leaves.get(name)
        path = leaf.path if leaf is not None and leaf.path else name
        percent = f"{share:.0%}" if share >= 0.005 else "< 1%"
        yield (
            f'<div class="bar"><span>{esc(label(path))}</span><i><b'
            f' style="width:{100 * share:.1f}%"></b></i><em>{percent}</em></div>'
        )


def importance(study: StudyData, trials: list[Trial]) -> tuple[list[tuple[str, float]] | None, str]:
    """Shares by Optuna's names, largest first, and how far to trust them; or None, and why.
    ``trials``: that ran to their end.
    """
    values = _ends(study, trials)
    trials = sorted(thin([t for t in trials if t.number in values], MOST), key=lambda t: t.number)
    if len(trials) < LEAST:
        return None, f"{len(trials)} to compare at their end, fewer than {LEAST}"
    ends = [values[t.number] for t in trials]
    names = [n for n in trials[0].params if all(n in t.params for t in trials)]
    names = [n for n in names if not (len(study.groups) > 1 and _groups_by(study, n))]
    names = [n for n in names if len({canonical(t.params[n]) for t in trials}) > 1]
    if not names or max(ends) == min(ends):
        return None, "all of these trials are alike"
    ranges = {n: _distribution(study, n, [t.params[n] for t in trials]) for n in names}
    r2 = _explained(trials, ends, ranges)
    known = f"{len(trials)} trials at their end"
    if len(names) == 1:
        return [(names[0], 1.0)], f"the only parameter; {known}, R² {r2:.2f}"
    if r2 <= 0:
        return None, f"{known} tell no parameter from chance (R² {r2:.2f})"
    return _shares(trials, ends, ranges), f"{known}, R² {r2:.2f}"


def _ends(study: StudyData, trials: list[Trial]) -> dict[int, float]:
    """Trial → the objective at its end; where there are groups, less the mean of its group, if that
    has two trials to compare.
    """
    found = {t.number: v for t in trials if (v := study.value(t)) is not None}
    if len(study.groups) < 2:
        return found
    groups: dict[str, list[int]] = defaultdict(list)
    for t in trials:
        if t.number in found:
            groups[canonical(t.group)].append(t.number)
    return {
        n: found[n] - statistics.fmean(found[m] for m in own)
        for own in groups.values()
        for n in own
        if len(own) > 1
    }


def _groups_by(study: StudyData, name: str) -> bool:
    """Whether it is the parameter that groups the finals. ``name``: Optuna's."""
    leaf = study.leaves.get(name)
    return study.search.finalists.per in {name, leaf.path if leaf else None}


def _explained(trials: list[Trial], values: list[float], ranges: dict[str, Any]) -> float:
    """R² of a random forest, on the trials that each tree did not see."""
    import numpy as np
    from optuna.distributions import CategoricalDistribution
    from sklearn.ensemble import RandomForestRegressor

    columns = []
    for name, distribution in ranges.items():
        column = [t.params[name] for t in trials]
        if isinstance(distribution, CategoricalDistribution):
            codes = {canonical(v): i for i, v in enumerate(dict.fromkeys(column))}
            column = [codes[canonical(v)] for v in column]
        columns.append(column)
    x = np.array(columns, dtype=float).T
    return (
        RandomForestRegressor(n_estimators=100, oob_score=True, random_state=0, n_jobs=1)
        .fit(x, values)
        .oob_score_
    )


def _shares(
    trials: list[Trial], values: list[float], ranges: dict[str, Any]
) -> list[tuple[str, float]]:
    import optuna
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    seen = optuna.create_study()
    for t, value in zip(trials, values, strict=True):
        seen.add_trial(
            optuna.trial.create_trial(
                params={n: t.params[n] for n in ranges}, distributions=ranges, value=value
            )
        )
    shares = get_param_importances(seen, evaluator=FanovaImportanceEvaluator(n_trees=32, seed=0))
    return [(n, float(s)) for n, s in shares.items()]


def _distribution(study: StudyData, name: str, values: list[Any]) -> Any:
    """Optuna's, as the space has it; of a parameter that the space does not tell, as its values
    look.
    """
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    leaf = study.leaves.get(name)
    numeric = all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
    if leaf is None and numeric:
        return FloatDistribution(min(values), max(values))
    if not numeric or leaf is None or isinstance(leaf, OneOf) or leaf.kind == "choice":
        return CategoricalDistribution(list(dict.fromkeys(values)))
    low, high = min(*leaf.options, *values), max(*leaf.options, *values)
    return FloatDistribution(low, high, log=leaf.kind == "log_uniform")
