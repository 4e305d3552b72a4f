"""What holds of every study, whatever was done to it while it ran: kills, full disks, two drivers.
Light: `autokd verify` and the tests ask it, students' weights and MLflow are looked at elsewhere.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from autokd.recipe import document
from autokd.recipe.document import canonical
from autokd.space import frozen_search
from autokd.space.settings import Search
from autokd.study import asha, outcomes, verdict
from autokd.study.ledger import BROKEN, ENDED, Event, Table, Trial
from autokd.study.outcomes import Outcomes

OVER = BROKEN | {"finished", "pruned"}  # events that end a trial
LEFT = ("scratch", "ray", "teaching")  # of a Ray, or of teachers, while they live
# of a closed study's results: what must follow from its runs
FOLLOWS = ("group", "trial", "mean", "sd", "seeds", "best_trial", "runs", "itself", "test_mean")


def broken(folder: Path, events: Iterable[Event]) -> list[str]:
    """Each thing that does not hold of a study that nobody is working on, as a sentence."""
    replay = Replay(folder)
    found = [f"event {n}: {said}" for n, e in enumerate(events, 1) for said in replay.take(e)]
    return [*found, *_recipe(folder, replay.table), *_files(folder, replay.table)]


class Replay:
    """A study's events, one after the other, each looked at with what stood before it. ``folder``:
    the study's, where what came of each picture is kept.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder
        self.table = Table()
        self.search = Search()

    def take(self, e: Event) -> list[str]:
        """What is wrong with the next event."""
        kind, number = e["event"], e.get("trial", -1)
        trial = self.table.trials.get(number)
        if kind == "suggested" or (trial is None and number < 0):
            found = list(self._of_study(kind, e))
        elif trial is None:
            return [f"{kind}: there is no trial {number}"]
        else:
            found = [f"trial {number}, {kind}: {said}" for said in self._of_trial(trial, kind, e)]
        self.table.apply(e)
        return found

    def _of_study(self, kind: str, e: Event) -> Iterator[str]:
        trials = self.table.trials
        if kind == "created":
            if self.table.created:
                yield "the study is begun twice"
            self.search = frozen_search({"space": {}} | e["frozen"])
        elif kind == "suggested" and e["trial"] != len(trials):
            yield f"trial {e['trial']} is suggested where trial {len(trials)} comes next"
        elif kind in {"searched", "seeds"}:
            numbers = [run["trial"] for run in e["finals"]]
            if numbers != [*range(len(trials), len(trials) + len(numbers))]:
                yield f"the finals' numbers {numbers} do not follow the trials'"
            yield from self._unfinished("the finals are laid out")
        elif kind == "test":
            wrong = [n for n in e["results"] if not self._tested(int(n))]
            if wrong:
                yield f"the test pictures were read for trials {', '.join(wrong)}, no complete runs"
        elif kind == "closed":
            yield from self._unfinished("the study is closed")
            if self.table.test_due and self._results():
                yield "the study is closed and its winner has not been read on test"
            yield from self._verdict(e)

    def _of_trial(self, t: Trial, kind: str, e: Event) -> Iterator[str]:
        if kind in OVER and t.state in ENDED:
            yield f"it had ended as {t.state}"
        if kind == "started":
            if t.state in ENDED:
                yield f"it had ended as {t.state}"
            if (e["attempt"], e["epoch"]) != (t.attempt + 1, t.checkpoint_epoch):
                yield (
                    f"attempt {e['attempt']} from epoch {e['epoch']}, where attempt"
                    f" {t.attempt + 1} from epoch {t.checkpoint_epoch} comes next"
                )
        elif kind == "epoch":
            if (t.state, e["attempt"], e["epoch"]) != ("running", t.attempt, t.epochs + 1):
                yield (
                    f"epoch {e['epoch']} of attempt {e['attempt']}, where it is {t.state} after"
                    f" epoch {t.epochs} of attempt {t.attempt}"
                )
        elif kind in {"paused", "promoted", "pruned"}:
            yield from self._of_rung(t, kind, e["rung"], e.get("reason", ""))
        elif kind == "finished" and (t.state != "running" or t.epochs != t.length):
            yield f"it is {t.state} after {t.epochs} of {t.length} epochs"

    def _of_rung(self, t: Trial, kind: str, rung: int, reason: str) -> Iterator[str]:
        how = self.search.asha
        if rung != t.epochs or rung not in asha.rungs(how, t.length):
            yield f"rung {rung} after {t.epochs} epochs, of the rungs {asha.rungs(how, t.length)}"
            return
        among = asha.good_enough(t, rung, self.table.trials.values(), how, *self._first)
        if kind == "promoted" and not (t.exempt or among or reason):
            yield f"it was not among the best at rung {rung}"
        if kind != "promoted" and t.state == "running" and (t.exempt or among):
            yield f"it was among the best at rung {rung}"

    @property
    def _first(self) -> tuple[str, int]:
        """Metric and sign of the first objective."""
        return self.search.objectives[0].metric, self.search.objectives[0].sign

    def _unfinished(self, when: str) -> Iterator[str]:
        for t in self.table.trials.values():
            if t.state not in ENDED:
                yield f"{when} and trial {t.number} is {t.state}"

    def _results(self) -> list[verdict.Result]:
        return verdict.results(self.table, *self._first, self.folder)

    def _tested(self, number: int) -> bool:
        t = self.table.trials.get(number)
        return t is not None and t.state == "complete" and not t.judged

    def _verdict(self, e: Event) -> Iterator[str]:
        recorded = [_following(r) for r in e.get("results") or []]
        found = [_following(r.to_dict()) for r in self._results()]
        if recorded and recorded != found:
            yield "the results that it was closed with do not follow from its runs"


def _following(result: dict[str, Any]) -> str:
    """As JSON has it."""
    kept = {name: result[name] for name in FOLLOWS if name in result}
    for name in ("differences", "test_differences"):
        kept[name] = [[d["control"], d["mean"], d["verdict"]] for d in result.get(name, [])]
    return canonical(json.loads(json.dumps(kept)))


def _recipe(folder: Path, table: Table) -> Iterator[str]:
    """The recipe of a closed study: the file, and how often it says that test was read."""
    text = (table.closed or {}).get("recipe_text")
    if not text:
        return
    file = folder / "recipe.yaml"
    if not file.is_file():
        yield f"{file} is gone"
    elif file.read_text(encoding="utf-8", errors="replace") != text:
        yield f"{file} is not the recipe that the study was closed with"
    read = document.parse(text).data["results"].get("test", {}).get("read", 0)
    if read and read != len(table.tests):
        yield f"recipe.yaml says that test was read {read} times, the ledger {len(table.tests)}"


def _files(folder: Path, table: Table) -> Iterator[str]:
    """What lies in the folder of a study that nobody is working on, and what must."""
    for file in sorted(folder.rglob("*")):
        inside = file.relative_to(folder)
        if file.name.startswith(".") or str(inside) in LEFT:
            yield f"{inside} was left behind"
    for t in table.trials.values():
        own = folder / "trials" / str(t.number)
        kept = t.checkpoint if t.state not in ENDED else None
        files = {str(f.relative_to(folder)) for f in own.glob("*/checkpoint*.pt")}
        if t.state == "paused" and kept and kept not in files:
            yield f"{kept} is gone, and trial {t.number} waits to go on from it"
        if t.state in ENDED and files:
            yield f"{min(files)} was left behind: trial {t.number} is {t.state}"
        if t.state == "complete" and not (folder / t.folder / "student.safetensors").is_file():
            yield f"{t.folder / 'student.safetensors'} is gone"
        for part in t.outcomes:
            if Outcomes(folder).of(t, part) is None:
                yield f"{t.folder / outcomes.file(part)} is gone, or not what was written"
