"""What mattered: the share of the differences between trials that a parameter explains, where there
are enough trials to say.
"""

from __future__ import annotations

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
    """A card for each branch, and where there are several one for all trials."""
    branches = sorted({t.branch for t in study.searched if t.varied})
    if not branches:
        return ""
    parts = [("all trials, what they have in common", study.searched)] if len(branches) > 1 else []
    parts += [
        (branch_name(b), [t for t in study.searched if t.branch == b and t.varied])
        for b in branches
    ]
    text = (
        "The share of the differences between trials that a parameter explains (fANOVA on a random"
        " forest). "
    )
    text += "R² is the forest's, on trials it did not see: near 0, the shares mean little."
    cards = "".join(
        f"<div class=card><h3>{esc(name)}</h3>{_card(study, trials)}</div>"
        for name, trials in parts
    )
    return note(text) + f'<div class="cards">{cards}</div>'


def _card(study: StudyData, trials: list[Trial]) -> str:
    epoch = study.common_epoch(trials)
    own = [t for t in trials if epoch and study.value(t, epoch) is not None]
    shares, why = (
        importance(study, own, epoch)
        if len(own) >= LEAST
        else (None, f"{len(own)} trials, fewer than {LEAST}")
    )
    if shares is None:
        return f"<p><small>not known: {esc(why)}</small></p>"
    return "".join(_bars(study, shares)) + f"<p><small>{esc(why)}</small></p>"


def _bars(study: StudyData, shares: list[tuple[str, float]]) -> Iterator[str]:
    for name, share in shares:
        leaf = study.leaves.get(name)
        path = leaf.path if leaf is not None and leaf.path else name
        percent = f"{share:.0%}" if share >= 0.005 else "< 1%"
        yield (
            f'<div class="bar"><span>{esc(label(path))}</span><i><b'
            f' style="width:{100 * share:.1f}%"></b></i><em>{percent}</em></div>'
        )


def importance(
    study: StudyData, trials: list[Trial], epoch: int
) -> tuple[list[tuple[str, float]] | None, str]:
    """Shares by Optuna's names, largest first, and how far to trust them; or None, and why."""
    trials = sorted(thin(trials, MOST), key=lambda t: t.number)
    values: list[float] = [v for t in trials if (v := study.value(t, epoch)) is not None]
    assert len(values) == len(trials)
    names = [n for n in trials[0].params if all(n in t.params for t in trials)]
    names = [n for n in names if len({canonical(t.params[n]) for t in trials}) > 1]
    if not names or max(values) == min(values):
        return None, "all of these trials are alike"
    ranges = {n: _distribution(study, n, [t.params[n] for t in trials]) for n in names}
    r2 = _explained(trials, values, ranges)
    known = f"{len(trials)} trials after {epoch} epochs"
    if len(names) == 1:
        return [(names[0], 1.0)], f"the only parameter; {known}, R² {r2:.2f}"
    if r2 <= 0:
        return None, f"{known} tell no parameter from chance (R² {r2:.2f})"
    return _shares(trials, values, ranges), f"{known}, R² {r2:.2f}"


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
