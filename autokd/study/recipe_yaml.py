"""The recipe that leaves a study: the winner's choices, where they come from, and what they gave.
Light.

    provenance   versions, commit, fingerprints of data and teachers, study, trial, seeds, hardware,
    cost results      the exported student's own figures, their interval over seeds, what else was
    confirmed, the finalist's differences to its controls, test

``provenance/results_sha256`` is over the results, so that figures that were edited are noticed
(`autokd reproduce`).
"""

from __future__ import annotations

import hashlib
import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from autokd import recipe
from autokd.environment import hardware
from autokd.recipe import Recipe, document
from autokd.recipe.document import canonical, dump, flow
from autokd.study import words
from autokd.study.choices import choices
from autokd.study.controls import CONTROLS, FINALIST
from autokd.study.ledger import Table
from autokd.study.statistics import Difference, mean_interval
from autokd.study.verdict import Result

WIDTH = 120  # columns of an exported recipe
COMMENT = 140  # of a comment
GOES_ON = "      "  # before what goes on with the comment above


# ---------------------------------------------------------------- the document


def recipe_text(study: str, table: Table, result: Result, metric: str) -> str:
    """``recipe.yaml``: readable first, and a recipe that `autokd train` and `autokd reproduce` take
    as it is.
    """
    trial = table.trials[result.best_trial]
    of = words.group(table, result)
    heading = [f"The best recipe of study {study}" + (f", for {of}" if of else "") + "."]
    heading += [words.sentence(result, metric)]
    if chosen := choices(table.trials[result.trial]):
        heading += [f"Trial {result.trial}: {chosen}."]
    test = f"test, read {words.times(len(table.tests))}"
    for where, differences in (
        (test, result.test_differences),
        ("validation, which chose it", result.differences),
    ):
        heading += [
            f"  {where}, finalist against {d.control}: {words.figure(d, metric)}, {_seeds(d.n)}:"
            f" {words.shown(d, metric)}"
            for d in differences
        ]
    heading += [words.interval(result), words.tuned(result.tuned)]
    heading += [
        "Train it:    autokd train recipe.yaml",
        "Prove it:    autokd reproduce recipe.yaml",
    ]
    return compose(
        heading,
        trial.parsed.read(),
        _provenance(study, table, result),
        _results(table, result, metric),
    )


def compose(
    heading: Sequence[str],
    choices: Mapping[str, Any],
    provenance: Mapping[str, Any],
    results: Mapping[str, Any],
) -> str:
    """An exported recipe as text: comments, the recipe, where it comes from, what it gave; with the
    checksum of the results.
    """
    comments = "".join(f"# {line}\n" for text in heading for line in _wrapped(text))
    origin = {**provenance, "results_sha256": checksum(results)}
    blocks = ["".join(_lines(key, value) for key, value in choices.items())]
    blocks += [
        "# Where it comes from; of no account when it is run.\n" + _lines("provenance", origin)
    ]
    blocks += [
        "# What it gave: the exported student's own figures, then those over seeds.\n"
        + _lines("results", dict(results))
    ]
    return "\n".join([comments, *blocks])


def _wrapped(text: str) -> list[str]:
    """A comment's lines; those that go on with one are indented."""
    return [
        line
        for own in text.splitlines()
        for line in textwrap.wrap(own, COMMENT, subsequent_indent=GOES_ON, break_long_words=False)
    ]


def _lines(key: str, value: Any, indent: str = "") -> str:
    """YAML of one key: what is too long for a line fills lines of flow style, or stands in block
    style where it is nested.
    """
    head = f"{indent}{flow(key)}: "
    if isinstance(value, list) and len(head) + len(flow(value)) > WIDTH:
        return f"{head.rstrip()}\n" + "".join(f"{indent}  - {flow(item)}\n" for item in value)
    if not isinstance(value, Mapping) or len(head) + len(flow(value)) <= WIDTH:
        return f"{head}{flow(value)}\n"
    if any(isinstance(v, Mapping) for v in value.values()):
        return f"{head.rstrip()}\n" + "".join(
            _lines(str(k), v, indent + "  ") for k, v in value.items()
        )
    out, line = "", head + "{"
    for i, (k, v) in enumerate(value.items()):
        item = f"{flow(str(k))}: {flow(v)}" + ("," if i < len(value) - 1 else "}")
        if len(line) + len(item) > WIDTH and not line.endswith("{"):
            out, line = f"{out}{line.rstrip()}\n", " " * (len(head) + 1)
        line += item + " "
    return f"{out}{line.rstrip()}\n"


def heading(text: str) -> list[str]:
    """The comments that an exported recipe begins with, each whole."""
    out: list[str] = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        comment = line.removeprefix("#").removeprefix(" ")
        if out and comment.startswith(GOES_ON):
            out[-1] += " " + comment.strip()
        else:
            out.append(comment)
    return out


def checksum(results: Mapping[str, Any]) -> str:
    """SHA-256 over the results as a reader of the file sees them."""
    seen = document.parse(dump({"results": results})).data["results"]
    return hashlib.sha256(canonical(seen).encode()).hexdigest()


def identity(made: Recipe) -> str:
    """A fingerprint of the run that does not depend on where files lie: what is in them has
    fingerprints of its own.
    """
    data = made.effective()
    for path in recipe.files(made):
        if path.partition("/")[0] in data:  # a teacher that nobody asks is not part of the run
            document.put(data, path, "a file")
    return recipe.fingerprint(data)


def _provenance(study: str, table: Table, result: Result) -> dict[str, Any]:
    trial = table.trials[result.best_trial]
    source = table.trials[result.trial]
    made = trial.parsed
    facts = trial.facts
    versions = dict(table.created.get("versions", {}))
    seconds = sum(t.facts.get("seconds", 0.0) for t in table.trials.values())
    device = facts.get("device", "cpu")
    out: dict[str, Any] = {"study": study, "trial": result.trial, "fingerprint": identity(made)}
    if "commit" in versions:
        out["commit"] = versions.pop("commit")
    return out | {
        "versions": versions,
        "data_fingerprint": facts.get("data"),
        "teachers": facts.get("teachers", {}),
        **({"start": facts["start"]} if "start" in facts else {}),
        **({"plugins": own} if (own := made.plugins()) else {}),
        "hardware": facts.get("hardware") or hardware(device),
        "device": device,
        "precision": made.train.precision,
        "threads": made.train.threads,
        "deterministic": made.train.deterministic,
        "seeds": {
            "sampler": table.created.get("seed"),
            "split": made.data.split_seed,
            "view": made.view.seed,
            "teacher": made.teacher.seed,
            "searched": source.seed,
            "confirmed": result.seeds,
            "exported": trial.seed,
        },
        "cost": {
            "trials": len(table.trials),
            "epochs": sum(t.epochs for t in table.trials.values()),
            "seconds": round(seconds, 1),
        },
    }


def _results(table: Table, result: Result, metric: str) -> dict[str, Any]:
    trial = table.trials[result.best_trial]
    roles = {FINALIST: "finalist", **CONTROLS}

    def over_seeds(role: str) -> dict[str, Any]:
        runs = result.runs[role]
        values = [table.trials[runs[seed]].last[metric] for seed in sorted(runs)]
        mean = round(math.fsum(values) / len(values), 6)
        return {
            "seeds": sorted(runs),
            "per_seed": _rounded(values),
            "mean": mean,
            "interval": _rounded(mean_interval(values)),
        }

    out: dict[str, Any] = {
        "student_sha256": trial.student,
        "metric": metric,
        "validation": {
            name: round(value, 6) for name, value in trial.last.items() if name.startswith("val/")
        },
        **over_seeds(result.handed),
        "handed_back": roles[result.handed],
        "controls": {
            name: over_seeds(role)
            for role, name in roles.items()
            if result.runs.get(role) and role != result.handed
        },
        "covers": words.interval(result),
        **({"tuned": words.tuned(result.tuned)} if result.tuned else {}),
        "against": [_difference(d, metric) for d in result.differences],
    }
    if result.test_mean is not None:
        number = str(trial.number)
        on_test = next(
            e["results"][number] for e in reversed(table.tests) if number in e["results"]
        )  # an extended study has several readings
        out["test"] = {name: round(v, 6) for name, v in on_test.items()} | {
            "read": len(table.tests)
        }
        out["test_against"] = [_difference(d, metric) for d in result.test_differences]
    facts = {name: trial.facts.get(f"student/{name}") for name in ("params", "flops", "latency_ms")}
    return out | {name: value for name, value in facts.items() if value is not None}


def _difference(d: Difference, metric: str) -> dict[str, Any]:
    looked_at = {"groups of pictures" if d.grouped else "pictures": d.cases} if d.cases else {}
    return {
        "control": d.control,
        "mean": round(d.mean, 5),
        "interval": _rounded([d.low, d.high]),
        "seeds": d.n,
        **looked_at,
        "told": words.figure(d, metric),
        "verdict": words.shown(d, metric),
    }


def _seeds(n: int) -> str:
    return "1 seed" if n == 1 else f"{n} seeds"


def _rounded(values: Sequence[float] | None) -> list[float | None] | None:
    """To six places; what is not finite (the interval of a single seed) is null, which every reader
    of YAML understands.
    """
    return None if values is None else [round(v, 6) if math.isfinite(v) else None for v in values]
