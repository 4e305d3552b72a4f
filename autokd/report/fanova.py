"""What mattered: the share of the differences between trials that a parameter explains, where there
are enough trials to say.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from autokd.recipe.document import canonical
from autokd.report.charts import thin
from autokd.report.parts import esc, note
from autokd.report.study_data import StudyData, stands_at
from autokd.space.tree import Leaf, is_number
from autokd.study.choices import branch, label, settings
from autokd.study.ledger import Trial
from autokd.study.statistics import LEAST

MOST = 200  # trials: the time of fANOVA grows with their square


def importances(study: StudyData) -> str:
    """A card for each branch, and where there are several one for all trials; of trials that ran to
    their end, and where the finals are held in groups, within these.
    """
    keys = sorted({t.branch for t in study.searched if t.varied})
    if not keys:
        return ""
    parts = [("all trials, what they have in common", study.complete)] if len(keys) > 1 else []
    for key in keys:
        name = next(branch(t.varied) for t in study.searched if t.branch == key and t.varied)
        parts.append((name or "all", [t for t in study.complete if t.branch == key and t.varied]))
    cards: list[str] = []
    unknown: dict[str, list[str]] = {}
    for name, trials in parts:
        shares, why = importance(study, trials)
        if shares is None:
            unknown.setdefault(why, []).append(name)
            continue
        bars = "".join(_bars(shares))
        cards.append(
            f"<div class=card><h3>{esc(name)}</h3>{bars}<p><small>{esc(why)}</small></p></div>"
        )
    rest = "".join(note(f"Not known, {why}: {'; '.join(of)}.") for why, of in unknown.items())
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


def _bars(shares: list[tuple[str, float]]) -> Iterator[str]:
    for path, share in shares:
        percent = f"{share:.0%}" if share >= 0.005 else "< 1%"
        yield (
            f'<div class="bar"><span>{esc(label(path))}</span><i><b'
            f' style="width:{100 * share:.1f}%"></b></i><em>{percent}</em></div>'
        )


def importance(study: StudyData, trials: list[Trial]) -> tuple[list[tuple[str, float]] | None, str]:
    """Shares by path, largest first, and how far to trust them; or None, and why. ``trials``: that
    ran to their end.
    """
    values = _ends(study, trials)
    trials = sorted(thin([t for t in trials if t.number in values], MOST), key=lambda t: t.number)
    if len(trials) < LEAST:
        return None, f"fewer than {LEAST} trials to compare at their end"
    ends = [values[t.number] for t in trials]
    rows = [{path: _encoded(value) for path, value in settings(t.varied).items()} for t in trials]
    per = study.search.finalists.per if len(study.groups) > 1 else None
    paths = [p for p in rows[0] if p != per and all(p in row for row in rows)]
    columns = {p: [row[p] for row in rows] for p in paths}
    columns = {p: own for p, own in columns.items() if len(set(own)) > 1}
    if not columns or max(ends) == min(ends):
        return None, "all of these trials are alike"
    ranges = {p: _distribution(study, p, own) for p, own in columns.items()}
    r2 = _explained(columns, ends, ranges)
    known = f"{len(trials)} trials at their end"
    if len(columns) == 1:
        return [(p, 1.0) for p in columns], f"the only parameter; {known}, R² {r2:.2f}"
    if r2 <= 0:
        return None, f"as {known} tell no parameter from chance (R² {r2:.2f})"
    return _shares(columns, ends, ranges), f"{known}, R² {r2:.2f}"


def _encoded(value: Any) -> Any:
    return canonical(value) if isinstance(value, dict | list) else value


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


def _explained(
    columns: Mapping[str, list[Any]], values: list[float], ranges: Mapping[str, Any]
) -> float:
    """R² of a random forest, on the trials that each tree did not see."""
    import numpy as np
    from optuna.distributions import CategoricalDistribution
    from sklearn.ensemble import RandomForestRegressor

    coded = []
    for path, column in columns.items():
        if isinstance(ranges[path], CategoricalDistribution):
            codes = {v: i for i, v in enumerate(dict.fromkeys(column))}
            column = [codes[v] for v in column]
        coded.append(column)
    x = np.array(coded, dtype=float).T
    return (
        RandomForestRegressor(n_estimators=100, oob_score=True, random_state=0, n_jobs=1)
        .fit(x, values)
        .oob_score_
    )


def _shares(
    columns: Mapping[str, list[Any]], values: list[float], ranges: dict[str, Any]
) -> list[tuple[str, float]]:
    import optuna
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    seen = optuna.create_study()
    for i, value in enumerate(values):
        seen.add_trial(
            optuna.trial.create_trial(
                params={p: own[i] for p, own in columns.items()}, distributions=ranges, value=value
            )
        )
    shares = get_param_importances(seen, evaluator=FanovaImportanceEvaluator(n_trees=32, seed=0))
    return [(path, float(s)) for path, s in shares.items()]


def _distribution(study: StudyData, path: str, values: list[Any]) -> Any:
    """Optuna's, as the space has it; what is a number somewhere, and nowhere anything else, has the
    range of all branches.
    """
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    leaves = [leaf for leaf in study.leaves.values() if stands_at(leaf) == path]
    ranged = [leaf for leaf in leaves if isinstance(leaf, Leaf) and leaf.kind != "choice"]
    if not all(map(is_number, values)) or (leaves and not ranged):
        return CategoricalDistribution(list(dict.fromkeys(values)))
    bounds = [b for leaf in ranged for b in leaf.options] + values
    log = bool(ranged) and all(leaf.kind == "log_uniform" for leaf in ranged) and min(bounds) > 0
    return FloatDistribution(min(bounds), max(bounds), log=log)
