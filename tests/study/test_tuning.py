"""Controls that are tuned by themselves where the space frees their training."""

from __future__ import annotations

import html
import json
import math
import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from autokd import report, space
from autokd.cli import summary
from autokd.engine import search
from autokd.export.card import _results, plain
from autokd.recipe import document, parse
from autokd.space import Space, thaw
from autokd.study import invariants, plan, recipe_yaml, verdict, words
from autokd.study.controls import ALONE, REFERENCE, TUNED
from autokd.study.ledger import Ledger, Trial
from autokd.study.queue import Study
from autokd.tracking.experiment import Batch
from autokd.tracking.parent import Parent
from tests.study.driver import drive, new, rows

VAL = "val/accuracy"
BASE = {
    "data": {"name": "digits", "resolution": 8, "limit": 100},
    "teacher": {"model": "cnn-3x16", "train": {"epochs": 3}},
    "student": {"model": "cnn-2x8", "resolution": 8},
    "distill": {"preset": "kd"},
    "train": {"epochs": 9, "lr": 0.05},
}
LR = {"train/lr": {"log_uniform": [0.01, 1.0]}}
TAU = {"distill/temperature/tau": {"uniform": [1, 16]}}


def made(vary: dict[str, Any] | None = None, /, **settings: Any) -> Space:
    """A space over the learning rate and the temperature."""
    finalists = {"seeds": 3, **settings.pop("finalists", {})}
    extra = {key: settings.pop(key) for key in ("baselines", "forbid") if key in settings}
    how = {"trials": 24, "finalists": finalists, **settings}
    data = {"base": "base.yaml", "search": how, "vary": vary or LR | TAU, **extra}
    return space.build(document.Document(data), document.Document(BASE))


def alone(recipe: dict[str, Any]) -> bool:
    return set(recipe["distill"]["losses"]) == {"ce"}


def rate(recipe: dict[str, Any], epoch: int, gain: float = 0.0) -> float:
    """As good with and without distillation but for ``gain``, each at its own learning rate: 0.5
    suits distillation, 0.02 the student alone. Runs differ by a third of a point.
    """
    best = 0.02 if alone(recipe) else 0.5
    far = math.log10(recipe["train"]["lr"] / best)
    own = random.Random(f"{recipe['seed']} {alone(recipe)} {far:.6f}").gauss(0, 0.003)
    end = 0.9 + (0 if alone(recipe) else gain) - 0.05 * far**2 + own
    return end - 0.3 * math.exp(-epoch)


def helping(recipe: dict[str, Any], epoch: int) -> float:
    return rate(recipe, epoch, gain=0.06)


def tuning(study: Study, control: str = "") -> list[Trial]:
    return [t for t in study.trials.values() if t.tuning and control in ("", t.control)]


def test_what_only_the_control_s_rate_makes_is_no_help(tmp_path: Path) -> None:
    """The same study, with and without a tuned control: at the finalist's rate the student alone is
    beaten, and it is the rate that beats it.
    """
    told = {}
    for share in (0.0, 0.5):
        s = made(trials=40, controls={"share": share}, finalists={"seeds": 5})
        study = new(tmp_path, s, f"share{share}")
        drive(study, f=rate)
        outcome = search.close(study)
        assert outcome.winner is not None
        told[share] = outcome.winner, summary.as_text(outcome, width=1000)
    fooled, text = told[0.0]
    assert fooled.differences[0].verdict == "better" and "Distillation helps: " in text
    assert "its controls ran at the finalist's values" in text
    winner, text = told[0.5]
    by_name = {d.control: d for d in winner.test_differences}
    assert by_name["student alone"].verdict == "better"
    assert by_name["tuned student alone"].verdict in {"not shown", "no larger"}
    assert "helps: " not in text and "hurts" not in text
    assert "Distillation did not help: " in text or "Whether distillation helps is not" in text
    assert "With the finalist's own training it adds +" in text
    assert "to the student alone: better." in text


def test_what_helps_beside_a_tuned_control_helps(tmp_path: Path) -> None:
    study = new(tmp_path, made())
    drive(study, f=helping)
    outcome = search.close(study)
    winner = outcome.winner
    assert winner is not None
    text = words.sentence(winner, VAL)
    assert text.startswith("Distillation helps: ") and "against the tuned student alone" in text
    (entry,) = study.book.table.finalists or []
    chosen = {own: study.trials[n] for own, n in entry["tuned"]["chosen"].items()}
    for own, trial in chosen.items():
        finals = [study.trials[n].recipe for n in entry["runs"][TUNED[own]].values()]
        assert [r["seed"] for r in finals] == [1, 2, 3]
        assert {r["train"]["lr"] for r in finals} == {trial.recipe["train"]["lr"]}
        value = max(t.last[VAL] for t in tuning(study, own) if t.state == "complete")
        assert trial.last[VAL] == value
    assert len(study.book.table.tests) == 1
    read = study.book.table.tests[0]["results"]
    assert set(read) == {str(n) for runs in entry["runs"].values() for n in runs.values()}


def test_the_share_and_where_it_begins(tmp_path: Path) -> None:
    study = new(tmp_path, made(trials=20))
    drive(study, f=rate)
    assert sum(t.searching for t in study.trials.values()) == 15
    assert [len(tuning(study, control)) for control in (ALONE, REFERENCE)] == [4, 1]
    (entry,) = study.book.table.finalists or []
    source = study.trials[entry["trial"]]
    for control in (ALONE, REFERENCE):
        own, *rest = (t.recipe["train"]["lr"] for t in tuning(study, control))
        assert own == source.recipe["train"]["lr"]
        assert not rest or (rest[0] == 0.05 and not {own, 0.05} & {*rest[1:]})
    for t in tuning(study):
        same = parse(t.recipe).with_({"train/lr": 0.05}).fingerprint()
        preset = "student-alone" if t.control == ALONE else "kd"
        plain = source.recipe | {"distill": {"preset": preset}}
        assert same == parse(plain).with_({"train/lr": 0.05}).fingerprint()
    # nobody begins to tune before all else is over
    first = min(t.number for t in tuning(study))
    assert first == max(t.number for t in study.trials.values() if t.searching) + 1


def test_they_are_pruned_by_the_same_rule(tmp_path: Path) -> None:
    study = new(tmp_path, made(trials=40, controls={"share": 0.5}, asha={"grace_epochs": 3}))
    drive(study, f=rate)
    for control, n in ((ALONE, 14), (REFERENCE, 6)):
        own = tuning(study, control)
        assert len(own) == n and {t.state for t in own} == {"complete", "pruned"}
        # by their own kind alone: of those seen until then, one in three and at least one
        seen: list[float] = []
        for t in own:
            at_rung = t.metrics[3][VAL]
            better = sum(v > at_rung for v in seen)
            seen.append(at_rung)
            if better >= max(1, len(own) // 3):
                assert t.state == "pruned"
    assert not [w for w in invariants.broken(study.book.path, study.book.events) if "rung" in w]


def test_nothing_changes_where_no_training_is_free(tmp_path: Path) -> None:
    studies = []
    for share in (0.25, 0.0):
        study = new(tmp_path, made(TAU, controls={"share": share}), f"share{share}")
        drive(study)
        studies.append(study)
    assert rows(studies[0]) == rows(studies[1])
    assert sum(t.searching for t in studies[0].trials.values()) == 24
    (entry,) = studies[0].book.table.finalists or []
    assert "tuned" not in entry and set(entry["runs"]) == {"finalist", ALONE, REFERENCE}
    assert words.tuned({}) == ""


def test_a_study_from_before_tunes_no_control() -> None:
    frozen = made().frozen
    assert thaw(frozen).search.controls.share == 0.25
    del frozen["search"]["controls"]
    assert thaw(frozen).search.controls.share == 0.0
    del frozen["search"]
    assert thaw(frozen).search.controls.share == 0.0


@pytest.mark.long
@pytest.mark.parametrize("form", ["promotion", "stopping", "none"])
def test_killed_at_any_event_the_tuning_goes_on_as_it_would_have(tmp_path: Path, form: str) -> None:
    s = made(trials=12, controls={"share": 0.5}, asha={"form": form}, finalists={"seeds": 1})
    whole = new(tmp_path, s, "whole")
    drive(whole, f=rate)
    lines = (whole.book.path / "events.jsonl").read_bytes().splitlines(keepends=True)
    begin = next(i for i, line in enumerate(lines) if b'"tuning"' in line)
    end = next(i for i, line in enumerate(lines) if b'"searched"' in line)
    for cut in range(begin - 2, end + 2, 1 if form == "promotion" else 5):
        folder = tmp_path / f"cut{cut}"
        folder.mkdir()
        (folder / "events.jsonl").write_bytes(b"".join(lines[:cut]))
        study = Study(s, Ledger(folder).open())
        drive(study, f=rate)
        assert rows(study) == rows(whole), f"cut behind event {cut}: {lines[cut - 1][:100]!r}"
        assert study.book.table.finalists == whole.book.table.finalists
        study.book.close()


def test_several_workers_tune_after_a_kill_too(tmp_path: Path) -> None:
    s = made(trials=16, controls={"share": 0.5}, finalists={"seeds": 1})
    whole = new(tmp_path, s, "whole", jobs=3)
    drive(whole, f=rate)
    lines = (whole.book.path / "events.jsonl").read_bytes().splitlines(keepends=True)
    begin = next(i for i, line in enumerate(lines) if b'"tuning"' in line)
    for cut in range(begin, len(lines), 13):
        folder = tmp_path / f"cut{cut}"
        folder.mkdir()
        (folder / "events.jsonl").write_bytes(b"".join(lines[:cut]))
        study = Study(s, Ledger(folder).open(), jobs=3)
        drive(study, f=rate)
        assert len(tuning(study)) == 8
        assert not {"running", "waiting", "paused"} & {t.state for t in study.trials.values()}
        study.book.close()


def test_each_group_s_controls_are_its_own(tmp_path: Path) -> None:
    """They share the finalist's resolution, and what the finals are grouped by."""
    vary = LR | {"train/epochs": {"choice": [6, 9]}, "student/resolution": {"choice": [4, 8]}}
    study = new(tmp_path, made(vary, trials=32, finalists={"per": "train/epochs"}))
    drive(study, f=rate)
    entries = {e["group"]: e for e in study.book.table.finalists or []}
    assert set(entries) == {6, 9}
    for group, entry in entries.items():
        source = study.trials[entry["trial"]].recipe
        own = [t for t in tuning(study) if t.group == group]
        assert len(own) == {6: 5, 9: 3}[group] and len({t.question for t in own}) == 2
        for t in own:
            assert t.recipe["train"]["epochs"] == group
            assert t.recipe["student"] == source["student"]
        assert entry["tuned"]["over"] == ["train/lr"]


def test_a_trial_of_the_search_that_is_a_control_counts(tmp_path: Path) -> None:
    presets = {"distill": {"one_of": [{"preset": "student-alone"}, {"preset": "kd"}]}}
    study = new(tmp_path, made(LR | presets, trials=20))
    drive(study, f=helping)
    (entry,) = study.book.table.finalists or []
    for control, ce in ((ALONE, True), (REFERENCE, False)):
        mains = [t for t in study.trials.values() if t.searching and alone(t.recipe) == ce]
        assert mains
        assert entry["tuned"]["trials"][control] == len(mains) + len(tuning(study, control))
    # the finalist is reference KD at its best rate; the student alone has been tuned beside it
    (result,) = verdict.results(study.book.table, VAL, 1)
    assert result.itself == "reference KD"
    assert {d.control for d in result.differences} >= {"tuned student alone", "student alone"}


def test_groups_of_training_are_tuned_as_one_choice(tmp_path: Path) -> None:
    vary = TAU | {
        "one_of": [
            {"train/optimizer": "sgd", "train/lr": {"log_uniform": [0.01, 1.0]}},
            {
                "train/optimizer": "adamw",
                "train/betas": [0.9, 0.98],
                "train/lr": {"log_uniform": [0.001, 0.1]},
            },
        ]
    }
    s = made(vary, trials=30, controls={"share": 0.5})
    study = new(tmp_path, s)
    drive(study, f=rate)
    own = [t.recipe["train"] for t in tuning(study)]
    assert {t["optimizer"] for t in own} == {"sgd", "adamw"}
    # what one branch fixes does not stay in the other
    assert {tuple(t["betas"]) for t in own if t["optimizer"] == "sgd"} == {(0.9, 0.999)}
    assert {tuple(t["betas"]) for t in own if t["optimizer"] == "adamw"} == {(0.9, 0.98)}


def test_a_branch_that_is_part_of_the_question_is_the_finalist_s(tmp_path: Path) -> None:
    vary = TAU | {
        "one_of": [
            {"student/resolution": 4, "train/lr": {"log_uniform": [0.01, 0.1]}},
            {"student/resolution": 8, "train/lr": {"log_uniform": [0.1, 1.0]}},
        ]
    }
    study = new(tmp_path, made(vary, controls={"share": 0.5}))
    drive(study, f=rate)
    (entry,) = study.book.table.finalists or []
    assert study.trials[entry["trial"]].recipe["student"]["resolution"] == 8
    assert tuning(study) and all(t.recipe["student"]["resolution"] == 8 for t in tuning(study))
    assert all(0.1 <= t.recipe["train"]["lr"] <= 1.0 for t in tuning(study))


def test_what_the_space_forbids_is_not_tried(tmp_path: Path) -> None:
    vary = TAU | {"train/batch_size": {"choice": [16, 32, 64]}, **LR}
    forbid = [{"train/batch_size": 16}, {"train/batch_size": 32, "distill/losses/ce/weight": 1.0}]
    s = made(vary, trials=24, controls={"share": 0.5}, forbid=forbid)
    study = new(tmp_path, s)
    drive(study, f=rate)
    assert len(tuning(study)) == 12
    assert {t.recipe["train"]["batch_size"] for t in tuning(study)} == {32, 64}
    refused = [e for e in study.book.events if e["event"] == "refused" and e.get("control")]
    assert refused
    lines = (study.book.path / "events.jsonl").read_bytes().splitlines(keepends=True)
    at = max(i for i, line in enumerate(lines) if b'"refused"' in line) + 1
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut" / "events.jsonl").write_bytes(b"".join(lines[:at]))
    again = Study(s, Ledger(tmp_path / "cut").open())
    drive(again, f=rate)
    assert rows(again) == rows(study)


def test_a_tuned_control_that_broke_off_gives_no_verdict(tmp_path: Path) -> None:
    study = new(tmp_path, made())
    drive(
        study,
        f=rate,
        outcome=lambda job: "diverged" if job.role == TUNED[ALONE] else "finished",
    )
    outcome = search.close(study)
    assert outcome.winner is not None
    told = words.sentence(outcome.winner, VAL)
    assert told == "The finals have no control to compare with: there is no verdict."


def test_where_both_controls_are_one_it_is_said_once(tmp_path: Path) -> None:
    study = new(tmp_path, made(trials=4))
    drive(study, f=rate)
    assert [t.control for t in tuning(study)] == [ALONE, REFERENCE]  # the finalist's training
    (result,) = verdict.results(study.book.table, VAL, 1)
    assert result.runs[ALONE] == result.runs[TUNED[ALONE]]
    told = words.sentence(result, VAL)
    assert "against the tuned student alone" in told and "own training" not in told


def test_a_better_tuned_control_is_handed_back(tmp_path: Path) -> None:
    study = new(tmp_path, made(controls={"share": 0.5}))
    drive(study, f=lambda recipe, epoch: rate(recipe, epoch, gain=-0.04))
    outcome = search.close(study)
    winner = outcome.winner
    assert winner is not None and winner.handed == TUNED[ALONE] and outcome.recipe is not None
    text = outcome.recipe.read_text()
    assert "The best that was confirmed is the tuned student alone: it is handed back." in text
    data = document.parse(text).data
    assert data["results"]["handed_back"] == "tuned student alone"
    chosen = study.trials[winner.tuned["chosen"][ALONE]]
    assert data["train"]["lr"] == pytest.approx(chosen.recipe["train"]["lr"])
    page = report.page(study.book.path)
    told = f"the tuned student alone, with the training and data of trial {chosen.number}"
    assert f"Recipe: {told}" in page.answer


def test_every_place_says_it_in_the_same_words(tmp_path: Path) -> None:
    study = new(tmp_path, made(trials=20))
    drive(study, f=helping)
    outcome = search.close(study)
    assert outcome.winner is not None and outcome.recipe is not None
    tuned = words.tuned(outcome.winner.tuned)
    assert tuned == (
        "Tuned over train/lr, in trials: student alone in 4, reference KD in 2, the search itself"
        " in 15."
    )
    text = outcome.recipe.read_text()
    header = " ".join(line.lstrip("# ") for line in text.splitlines() if line.startswith("#"))
    header = " ".join(header.split())
    page = html.unescape(report.page(study.book.path).html)
    printed = summary.as_text(outcome, width=1000)
    d = outcome.winner.against(ALONE, outcome.winner.headline)
    assert d is not None and d.control == "tuned student alone"
    figure = words.figure(d, VAL)
    for place in (header, page, printed):
        assert tuned in place and figure in place
        assert words.sentence(outcome.winner, VAL) in place
    results = document.parse(text).data["results"]
    assert results["tuned"] == tuned
    covers = words.interval(outcome.winner)
    assert results["covers"] == covers and all(covers in place for place in (header, page, printed))
    assert words.MEANING in page and words.MEANING.count(". ") == 1  # in two sentences
    assert {d["control"] for d in results["against"]} == {
        "tuned student alone",
        "student alone",
        "tuned reference KD",
        "reference KD",
    }
    assert {"tuned student alone", "tuned reference KD"} <= set(results["controls"])
    assert "against tuned student alone" in page
    exported: Any = SimpleNamespace(results=results, provenance={})
    card = "\n".join(_results(exported))
    assert plain(tuned) in card and f"| {d.control} | {figure} | {words.shown(d, VAL)} |" in card
    assert recipe_yaml.heading(text)[1] == words.sentence(outcome.winner, VAL)  # the card's too
    batch = Batch()
    parent = Parent(SimpleNamespace(study="a"), study.book.path)  # type: ignore[arg-type]
    parent.metric = VAL
    (closed,) = (study.book.table.closed or {})["results"]
    parent._add_winner(batch, closed, 0.0)
    assert batch.tags["autokd.tuned"] == tuned
    on_test = {name: value for name, value, *_ in batch.metrics}
    assert on_test[f"winner/test/against {d.control}/mean"] == d.mean


def test_an_extension_tunes_on(tmp_path: Path) -> None:
    s = made(trials=20)
    study = new(tmp_path, s)
    drive(study, f=rate)
    search.close(study)
    before = {t.number for t in tuning(study)}
    done = sum(t.judged for t in study.trials.values())
    study.book.append("extended", trials=done + 20)
    again = Study(s, study.book, trials=done + 20)
    drive(again, f=rate)
    assert sum(t.searching for t in again.trials.values()) == 30
    assert len(tuning(again)) >= 10 and before < {t.number for t in tuning(again)}
    study.book.append("closed", results=[])
    study.book.append("extended", seeds=2)
    more = Study(s, study.book)
    drive(more, f=rate)
    (entry,) = more.book.table.finalists or []
    assert {role: len(own) for role, own in entry["runs"].items()} == dict.fromkeys(
        ["finalist", ALONE, REFERENCE, *TUNED.values()], 5
    )


def test_epochs_and_time_are_kept_for_it(tmp_path: Path) -> None:
    s = made(trials=500, epochs=200, controls={"share": 0.25})
    study = new(tmp_path, s)
    drive(study, f=rate)
    spent = {
        kind: sum(t.epochs for t in study.trials.values() if getattr(t, kind))
        for kind in ("searching", "tuning")
    }
    assert 150 <= spent["searching"] <= 159 and 30 <= spent["tuning"] <= 59
    assert "50 of them kept for tuning the controls" in study.book.table.stopping
    now = [0.0]

    def clock() -> float:
        now[0] += 0.25
        return now[0]

    timed = new(tmp_path, made(trials=500, time=100, finalists={"seeds": 1}), "b", clock=clock)
    drive(timed, f=rate)
    assert timed.book.table.stopping.startswith("100 seconds are over")
    assert tuning(timed)


def test_further_seeds_come_first(tmp_path: Path) -> None:
    """Whose controls are tuned is known when the race is over."""
    study = new(tmp_path, made(trials=16, racing={"runs": 3}))
    drive(study, f=rate)
    order = [t.role for t in study.trials.values() if t.role in {"repeat", "tuning"}]
    assert order == ["repeat"] * 3 + ["tuning"] * 4
    (entry,) = study.book.table.finalists or []
    assert {t.parent for t in tuning(study)} == {entry["trial"]}


def test_a_search_that_ended_early_tunes_no_longer_than_it_searched(tmp_path: Path) -> None:
    study = new(tmp_path, made(trials=400, plateau={"trials": 5}, asha={"form": "none"}))
    drive(study, f=rate)
    searched = sum(t.searching for t in study.trials.values())
    assert searched < 60 and len(tuning(study)) == round(searched / 3)


def test_the_plan_says_so() -> None:
    s = made(trials=20)
    made_plan = plan.plan(s)
    assert made_plan.tuned == ["train/lr"] and made_plan.tuning == 5
    text = plan.text(s, made_plan)
    assert "5 of the trials tune the student alone and reference KD over train/lr" in text
    assert "5 trials are few to tune the controls: 9 (more search/trials" in text
    # finalist, own and tuned controls, three seeds of nine epochs each
    assert made_plan.final_epochs == 5 * 3 * 9
    assert plan.plan(made(TAU)).final_epochs == 3 * 3 * 9
    assert "controls run at their finalist's values" in plan.text(
        made(controls={"share": 0}), plan.plan(made(controls={"share": 0}))
    )


def test_a_study_from_before_begins_its_controls_as_it_did(tmp_path: Path) -> None:
    """It froze a share, and no word on how they begin."""
    study = new(tmp_path, made(trials=20))
    frozen = json.loads(json.dumps(study.book.table.created["frozen"]))
    assert frozen["search"]["controls"].pop("start") == "even"
    older = space.frozen_search(frozen)
    assert older.controls.start == "random" and older.controls.share == study.search.controls.share
    asked = {}
    for start in ("even", "random"):
        one = new(tmp_path, made(trials=20, controls={"share": 0.5, "start": start}), start)
        drive(one, f=rate)
        asked[start] = [t.params["train/lr"] for t in tuning(one, ALONE)]
    assert asked["even"][:2] == asked["random"][:2] and asked["even"] != asked["random"]
