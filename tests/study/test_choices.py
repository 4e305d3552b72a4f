"""What a trial chose, in words: a preset by its own name, wherever people read of it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from autokd import report
from autokd.study import recipe_yaml, verdict
from autokd.study.choices import branch, choices, method, settings
from autokd.study.ledger import Trial
from tests.helpers.synthetic import study

METHODS: dict[str, Any] = {
    "one_of": [
        {
            "distill": {"one_of": [{"preset": "kd"}, {"preset": "ka"}], "free": "recommended"},
        },
        {
            "distill": {"one_of": [{"preset": "takd"}], "free": "recommended"},
            "ladder": {"choice": [["cnn-3x16"], ["cnn-3x16", "cnn-3x8"]]},
        },
    ],
    "student/resolution": {"choice": [6, 8]},
}
OPTUNAS = re.compile(r"\bbranch[ =]\d|\d/distill|preset[= ]k")


@pytest.mark.parametrize(
    ("varied", "said", "of"),
    [
        (
            {
                "branch": "0",
                "0/distill/preset": "ka",
                "0/distill/ka/target/kind": "shift",
                "distill/temperature/tau": 4.0,
            },
            "ka, target shift, temperature tau 4",
            "ka, target shift",
        ),
        ({"distill/preset": "dtd"}, "dtd", "dtd"),
        (
            {"distill/temperature/kind": "flsw", "distill/temperature/beta": 0.5, "ladder": []},
            "temperature flsw, temperature beta 0.5, ladder none",
            "temperature flsw",
        ),
        ({"branch": "1", "train/lr": 0.1}, "alternative 2, train lr 0.1", "alternative 2"),
        ({"train/lr": 0.1}, "train lr 0.1", ""),
    ],
)
def test_choices_are_told_as_people_say_them(varied: dict[str, Any], said: str, of: str) -> None:
    trial = Trial(0, "trial", {}, varied=varied)
    assert choices(trial) == said
    assert branch(varied) == of
    assert method(trial) == varied.get("0/distill/preset", varied.get("distill/preset", ""))


def test_one_place_of_two_branches_is_one_path() -> None:
    first = {"branch": "0", "0/distill/preset": "kd", "0/distill/kd/losses/kl/weight": 0.5}
    second = {"branch": "1", "1/distill/preset": "takd", "1/distill/takd/losses/kl/weight": 0.7}
    assert settings(first).keys() == settings(second).keys()
    assert settings(second) == {"distill/preset": "takd", "distill/losses/kl/weight": 0.7}


def test_a_preset_identifies_the_method_on_the_page_and_in_the_recipe(tmp_path: Path) -> None:
    folder = study(tmp_path / "studies" / "m", 40, vary=METHODS, broken=False, finals=2)
    page = report.page(folder)
    shown = re.sub(r"<script.*?</script>", "", page.html, flags=re.S).split('class="recipe"')[0]
    charts = "".join(re.findall(r'<script type="application/json">(.*?)</script>', page.html))
    assert not OPTUNAS.search(shown) and not OPTUNAS.search(charts)
    story = report.StudyData("m", *_read(folder), folder)
    assert story.best is not None
    won = story.table.trials[story.best.trial]
    name = next(v for k, v in won.varied.items() if k.endswith("distill/preset"))
    assert f"{name}, " in page.answer
    assert "<h3>kd</h3>" in shown or "; kd;" in shown or ": kd;" in shown
    assert '"method"' in charts  # one axis for the presets of both branches
    text = recipe_yaml.recipe_text("m", story.table, story.best, "val/accuracy")
    assert f"# Trial {won.number}: {choices(won)}." in text and not OPTUNAS.search(text)


def _read(folder: Path) -> Any:
    from autokd.study import ledger

    return ledger.read(folder)


def test_the_terminal_names_the_preset(tmp_path: Path) -> None:
    from autokd.cli import summary
    from autokd.engine.result import SearchResult

    folder = study(tmp_path / "studies" / "m", 40, vary=METHODS, broken=False, finals=2)
    table = _read(folder)[1]
    found = verdict.results(table, "val/accuracy", 1, folder)
    winner = verdict.overall(found, 1)
    out = SearchResult("m", folder, table, found, winner, folder / "recipe.yaml", "val/accuracy")
    text = summary.as_text(out)
    assert winner is not None and not OPTUNAS.search(text)
    assert f"trial {winner.trial} ({choices(table.trials[winner.trial])})" in text
