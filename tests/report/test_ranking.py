"""What the page ranks trials by, and what it says mattered: their values at the end of training."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autokd import report
from autokd.report import axes
from autokd.space.tree import Leaf
from autokd.study.ledger import Trial
from tests.helpers.synthetic import Story

WEIGHT, KIND = "distill/losses/kl/weight", "distill/temperature/kind"


@pytest.fixture(scope="module")
def crossed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A study in which low weights and flsw lead after the first rung, and high weights at the end;
    far between the resolutions.
    """

    class Crossed(Story):
        def add(self, event: str, seconds: float = 0.02, **fields: Any) -> None:
            if event == "epoch":
                t = self.book.table.trials[fields["trial"]]
                fields["metrics"] |= {"val/accuracy": self._crossing(t.recipe, fields["epoch"])}
            super().add(event, seconds, **fields)

        def _crossing(self, recipe: dict[str, Any], epoch: int) -> float:
            distill, noise = recipe["distill"], self.draw.gauss(0, 0.004)
            weight = distill["losses"].get("kl", {}).get("weight", 0.0)
            flsw = distill["temperature"]["kind"] == "flsw"
            level = 0.5 + 0.05 * recipe["student"]["resolution"] + noise
            early = 0.05 * flsw - 0.1 * weight
            return level - 0.3 + early if epoch <= 9 else level + 0.08 * weight + 0.01 * flsw

    story = Crossed(tmp_path_factory.mktemp("runs") / "studies" / "c", broken=False, finals=2)
    story.search(200)
    story.confirm()
    story.close()
    story.book.close()
    yield story.book.path


def _view(folder: Path) -> report.StudyData:
    from autokd.study import ledger

    return report.StudyData(folder.name, *ledger.read(folder), folder)


def test_the_darkest_lines_are_the_best_at_the_end_of_each_group(crossed: Path) -> None:
    view = _view(crossed)
    text = report.parallel(view)
    found = re.search(r'<script type="application/json">(.*?)</script>', text)
    assert found
    chart = json.loads(found[1])
    drawn = {
        trace["name"]: {
            int(m[1]) for h in trace["hovertext"] if h and (m := re.match(r"trial (\d+):", h))
        }
        for trace in chart["data"]
        if trace.get("name")
    }
    complete = [t for t in view.searched if t.state == "complete"]
    expected = set()
    for group in {t.group for t in complete}:
        own = sorted(
            (t for t in complete if t.group == group), key=lambda t: -t.last["val/accuracy"]
        )
        expected |= {t.number for t in own[: -(-len(own) // 5)]}
    assert drawn["best fifth"] == expected
    assert drawn["winner"] == {r.trial for r in view.results} and len(drawn["winner"]) == 3
    assert drawn["winner"] <= drawn["best fifth"]
    assert not drawn["stopped early"] & {t.number for t in complete}
    widths = {t.get("name"): t["line"]["width"] for t in chart["data"] if "name" in t}
    assert widths["winner"] == max(widths.values())
    assert "among those of its student resolution" in text and "at the end of its run" in text
    board = report.page(crossed).html.split('class="board sortable"')[1]
    assert view.best and f"<td>{view.best.trial} <em>winner</em></td>" in board


def test_what_mattered_at_the_end_agrees_with_another_fanova(crossed: Path) -> None:
    view = _view(crossed)
    card = report.importances(view).split("<div class=card>")[1]
    said = {
        name: float(percent.removeprefix("&lt; ").removesuffix("%")) / 100
        for name, percent in re.findall(r"<span>(.*?)</span>.*?<em>(.*?)</em>", card)
    }
    complete = [t for t in view.searched if t.state == "complete"]
    other = _fanova(view, complete)
    assert set(said) == {"temperature", "temperature tau", "kl weight", "ladder"} == set(other)
    for name in said:
        assert said[name] == pytest.approx(other[name], abs=0.12), (said, other)
    assert said["kl weight"] > 0.6 > said["temperature"]
    assert f"{len(complete)} trials at their end" in card
    assert "student resolution itself does is not in it" in report.importances(view)


def _fanova(view: report.StudyData, trials: list[Trial]) -> dict[str, float]:
    """Shares of the variances of main effects of scikit-learn's forest, which knows nothing of
    Optuna's: each parameter's partial dependence over its range.
    """
    from sklearn.ensemble import RandomForestRegressor

    groups = defaultdict(list)
    for t in trials:
        groups[t.group].append(t.last["val/accuracy"])
    y = np.array([t.last["val/accuracy"] - np.mean(groups[t.group]) for t in trials])
    kinds, ladders = ["constant", "flsw", "cwsm"], ["[]", "one", "two"]
    of_ladder = {0: 0, 1: 1, 2: 2}
    x = np.array(
        [
            [
                kinds.index(t.varied[KIND]),
                t.varied["distill/temperature/tau"],
                t.varied[WEIGHT],
                of_ladder[len(t.varied["ladder"])],
            ]
            for t in trials
        ]
    )
    forest = RandomForestRegressor(n_estimators=200, random_state=1, n_jobs=1).fit(x, y)
    draw = np.random.default_rng(0)
    ranges = [
        np.arange(3),
        np.linspace(1, 16, 60),
        np.linspace(0.1, 1.0, 60),
        np.arange(len(ladders)),
    ]
    others = np.stack([draw.choice(r, 400) for r in ranges], 1)
    effects = []
    for column, values in enumerate(ranges):
        means = []
        for value in values:
            at = others.copy()
            at[:, column] = value
            means.append(forest.predict(at).mean())
        effects.append(np.var(means))
    names = ["temperature", "temperature tau", "kl weight", "ladder"]
    return {n: e / sum(effects) for n, e in zip(names, effects, strict=True)}


def test_a_number_stays_one_where_one_branch_lists_its_values(crossed: Path) -> None:
    view = _view(crossed)
    path = "distill/temperature/tau"
    listed = Leaf(path, "listed", ("x",), "choice", [10.0, 4.0])
    ranged = Leaf(path, "ranged", ("x",), "uniform", [1.0, 16.0])
    view.leaves = {"listed": listed, "ranged": ranged}
    axis = axes.axis(view, path, [{path: 4.0}, {path: 10.0}, {path: 2.5}])
    assert axis.at(2.5) < axis.at(4.0) < axis.at(10.0)
    assert [text for _, text in axis.ticks] == ["2.5", "6.25", "10"]
    view.leaves = {"listed": listed}  # listed wherever it is free: evenly apart, in order
    axis = axes.axis(view, path, [{path: 10.0}, {path: 4.0}])
    assert (axis.at(4.0), axis.at(10.0)) == (0.25, 0.75)
