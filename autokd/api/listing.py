"""What was searched here, and what came of it: a row a study. Light."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from autokd.errors import UserError
from autokd.files import runs_root

if TYPE_CHECKING:
    from autokd.study.ledger import Table


def rows() -> tuple[list[dict[str, Any]], list[str]]:
    """The studies under ``AUTOKD_RUNS``, oldest first; and why others could not be read."""
    from autokd.study import ledger

    root = runs_root()
    out, damaged = [], []
    for name in ledger.names(root):
        folder = ledger.folder(root, name)
        try:
            _, table = ledger.read(folder)
        except UserError as e:
            damaged.append(str(e))
            continue
        out.append(_row(name, folder, table))
    return sorted(out, key=lambda row: row["begun"]), damaged


def _row(name: str, folder: Path, table: Table) -> dict[str, Any]:
    trials = table.trials.values()
    score, verdict = _answer(table)
    begun = table.created.get("t")
    return {
        "study": name,
        "state": _state(folder, table) + (", unsealed" if table.unsealed else ""),
        "score": score,
        "verdict": verdict,
        "begun": f"{datetime.fromtimestamp(begun):%Y-%m-%d %H:%M}" if begun else "",
        "trials": sum(t.searching for t in trials),
        "epochs": sum(t.epochs for t in trials),
    }


def _state(folder: Path, table: Table) -> str:
    """finished, or what it was at, and whether a driver has it."""
    if table.closed:
        return "finished"
    return "running" if _locked(folder) else "stopped"


def _locked(folder: Path) -> bool:
    try:
        with FileLock(folder / "driver.lock", timeout=0):
            return False
    except Timeout:
        return True
    except OSError:  # of another user
        return False


def _answer(table: Table) -> tuple[str, str]:
    """The winner's score as the study was closed with it, and whether distillation helps."""
    from autokd.study import verdict, words
    from autokd.study.controls import ALONE, CONTROLS

    results = (table.closed or {}).get("results") or []
    if not results:
        return "", "no finals" if table.closed else ""
    first = verdict.settings(table).objectives[0]
    best = max(results, key=lambda r: first.sign * r.get("chosen_by", r["mean"]))
    name, value = first.metric, best["mean"]
    if best.get("test_mean") is not None:
        name, value = first.metric.replace("val/", "test/"), best["test_mean"]
    told = [*best["test_differences"], *best["differences"]]
    alone = [verdict.difference(d) for d in told if d["control"] == CONTROLS[ALONE]]
    if not alone:
        return f"{name} {value:.4f}", f"{best.get('itself') or 'no control'} is the best"
    by, unit = words.scale(first.metric)
    gain = f"{alone[0].mean * by:+.1f}{unit}" if unit else f"{alone[0].mean:+.3f}"
    helps = {
        "better": "helps",
        "worse": "hurts",
        "no larger": "did not help",
        "not shown": "not shown to help",
    }
    return f"{name} {value:.4f}", f"{helps[alone[0].verdict]}: {gain}"
