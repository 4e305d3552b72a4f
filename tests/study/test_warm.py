"""``--like STUDY``: a search that begins with what an earlier one found best."""

from __future__ import annotations

from pathlib import Path

import pytest

from autokd import space
from autokd.api import spaces
from autokd.errors import UserError
from autokd.study import ranking, warm
from autokd.study.ledger import Ledger
from autokd.study.queue import Study
from tests.helpers.documents import problems
from tests.study.driver import drive, loaded, new, rows


@pytest.fixture
def earlier(tmp_path: Path, space_file: Path) -> Study:
    study = new(tmp_path, loaded(space_file), "earlier")
    drive(study)
    return study


def test_its_best_come_behind_the_baselines_and_are_judged(
    earlier: Study, tmp_path: Path, space_file: Path
) -> None:
    points = warm.best(earlier.book.table, earlier.search, 60)
    done = [t for t in earlier.trials.values() if t.searching and t.state == "complete"]
    best = ranking.best(done, earlier.search, earlier.trials)[:3]
    assert points == [t.varied for t in best]
    asked = loaded(space_file).warmed("earlier", points)
    study = new(tmp_path, asked, "later")
    drive(study)
    baselines = [t for t in study.trials.values() if t.role == "baseline"]
    first = [study.trials[len(baselines) + i] for i in range(3)]
    assert [t.varied for t in first] == points
    assert all(t.role == "trial" and not t.exempt for t in first)
    frozen = study.book.table.created["frozen"]
    assert frozen["space"]["warm_start"] == {"study": "earlier", "points": points}
    study.book.close()
    again = Study(space.thaw(frozen), Ledger(tmp_path / "later").open())
    assert rows(again) == rows(study)


def test_what_does_not_fit_is_left_out(earlier: Study, space_file: Path) -> None:
    points = warm.best(earlier.book.table, earlier.search, 60)
    tau = next(k for k in points[0] if k.endswith("tau"))
    strange = [points[0] | {tau: 1e9}, points[1] | {"another/path": 3}]
    (kept,) = loaded(space_file).warmed("earlier", strange).warm_points()
    assert kept.varied == points[1]


def test_it_costs_a_fiftieth_at_most(earlier: Study) -> None:
    for trials in (1, 20, 40, 80, 200):
        epochs = len(warm.best(earlier.book.table, earlier.search, trials)) / 3
        assert epochs / trials < 0.02 or trials < 20


def test_mistakes_are_told(
    earlier: Study, space_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUTOKD_RUNS", str(tmp_path / "runs"))
    made = loaded(space_file)
    with pytest.raises(UserError, match="there is no study 'earlyer'"):
        spaces._like(made, "earlyer", None)
    (tmp_path / "runs" / "studies").mkdir(parents=True)
    earlier.book.close()
    (tmp_path / "earlier").rename(tmp_path / "runs" / "studies" / "earlier")
    assert spaces._like(made, "earlier", None).warm_points()
    path = tmp_path / "wrong.yaml"
    path.write_text(space_file.read_text() + "warm_start: [1]\n")
    (tmp_path / "base.yaml").write_text((space_file.parent / "base.yaml").read_text())
    assert [p.path for p in problems(space.load, path)] == ["warm_start"]
