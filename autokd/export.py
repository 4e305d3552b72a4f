"""The recipe that leaves a study: the winner's choices, where they come from, and what they gave. Light.

    provenance   versions, commit, fingerprints of data and teachers, study, trial, seeds, hardware, cost
    results      the exported student's own figures, the interval over seeds, the controls, test

``provenance/results_sha256`` is over the results, so that figures that were edited are noticed (`autokd reproduce`).
"""

from __future__ import annotations

import functools
import hashlib
import math
import platform
import subprocess
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from autokd import __version__, document, ledger, recipe, summary, verdict
from autokd.document import Document, UserError, canonical, dump, flow
from autokd.ledger import Table
from autokd.recipe import Recipe
from autokd.verdict import Result

WIDTH = 120  # columns of an exported recipe
PACKAGES = ("torch", "torchvision", "timm", "numpy", "scikit-learn", "optuna", "ray", "mlflow")


def versions() -> dict[str, str]:
    """Of Python and of the packages that decide a result; ``commit`` where AutoKD runs from a checkout."""
    out = {"autokd": __version__, "python": platform.python_version()}
    for name in PACKAGES:
        try:
            out[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return out | ({"commit": own} if (own := commit()) else {})


@functools.cache
def commit() -> str:
    """The commit of the checkout that AutoKD runs from, with ``+changes`` where files differ from it; else nothing."""
    here = Path(__file__).parent

    def git(*words: str) -> str:
        return subprocess.run(["git", "-C", str(here), *words], capture_output=True, text=True, timeout=10, check=True).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", Path(__file__).name)  # not merely installed somewhere below another checkout
        return git("rev-parse", "--short=12", "HEAD") + ("+changes" if git("status", "--porcelain", "--untracked-files=no", ".") else "")
    except (OSError, subprocess.SubprocessError):
        return ""


def hardware(device: str = "cpu") -> str:
    """The name of the processor, or of the first GPU, as far as the system tells."""
    name = ""
    if device.startswith("cuda"):
        name = _line(sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")), "Model")
    return f"{name or _line([Path('/proc/cpuinfo')], 'model name') or platform.processor() or platform.machine()} ({device})"


def _line(files: Sequence[Path], key: str) -> str:
    """What stands behind ``key:`` in the first of these files."""
    try:
        lines = files[0].read_text(encoding="utf-8", errors="replace").splitlines()
    except (OSError, IndexError):
        return ""
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(key)), "")


# ---------------------------------------------------------------- the document


def recipe_text(study: str, table: Table, result: Result, metric: str) -> str:
    """``recipe.yaml``: readable first, and a recipe that `autokd train` and `autokd reproduce` take as it is."""
    trial = table.trials[result.best_trial]
    of = summary.group(table, result)
    heading = [f"The best recipe of study {study}" + (f", for {of}" if of else "") + "."]
    heading += [verdict.sentence(result, metric)]
    for d in result.differences:
        heading.append(f"  {metric} against {d.control}: {verdict.figure(d, metric)}, {d.n} seeds: {d.verdict}")
    for d in result.test_differences:
        heading.append(f"  test, read {verdict.times(len(table.tests))}, against {d.control}: {verdict.figure(d, metric)}: {d.verdict}")
    heading += [f"The 95 % interval is {verdict.LEFT_OUT}."] if len(result.seeds) > 1 else []
    heading += ["Train it:    autokd train recipe.yaml", "Prove it:    autokd reproduce recipe.yaml"]
    return compose(heading, trial.recipe, _provenance(study, table, result), _results(table, result, metric))


def compose(heading: Sequence[str], choices: Mapping[str, Any], provenance: Mapping[str, Any], results: Mapping[str, Any]) -> str:
    """An exported recipe as text: comments, the recipe, where it comes from, what it gave; with the checksum of the results."""
    comments = "".join(f"# {line}\n" for text in heading for line in text.splitlines())
    origin = {**provenance, "results_sha256": checksum(results)}
    blocks = ["".join(_lines(key, value) for key, value in choices.items())]
    blocks += ["# Where it comes from; of no account when it is run.\n" + _lines("provenance", origin)]
    blocks += ["# What it gave: the exported student's own figures, then those over seeds.\n" + _lines("results", dict(results))]
    return "\n".join([comments, *blocks])


def _lines(key: str, value: Any, indent: str = "") -> str:
    """YAML of one key: what is too long for a line fills lines of flow style, or stands in block style where it is nested."""
    head = f"{indent}{flow(key)}: "
    if isinstance(value, list) and len(head) + len(flow(value)) > WIDTH:
        return f"{head.rstrip()}\n" + "".join(f"{indent}  - {flow(item)}\n" for item in value)
    if not isinstance(value, Mapping) or len(head) + len(flow(value)) <= WIDTH:
        return f"{head}{flow(value)}\n"
    if any(isinstance(v, Mapping) for v in value.values()):
        return f"{head.rstrip()}\n" + "".join(_lines(str(k), v, indent + "  ") for k, v in value.items())
    out, line = "", head + "{"
    for i, (k, v) in enumerate(value.items()):
        item = f"{flow(str(k))}: {flow(v)}" + ("," if i < len(value) - 1 else "}")
        if len(line) + len(item) > WIDTH and not line.endswith("{"):
            out, line = f"{out}{line.rstrip()}\n", " " * (len(head) + 1)
        line += item + " "
    return f"{out}{line.rstrip()}\n"


def heading(text: str) -> list[str]:
    """The comments that an exported recipe begins with."""
    out = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        out.append(line.removeprefix("#").removeprefix(" "))
    return out


def checksum(results: Mapping[str, Any]) -> str:
    """SHA-256 over the results as a reader of the file sees them."""
    seen = document.parse(dump({"results": results})).data["results"]
    return hashlib.sha256(canonical(seen).encode()).hexdigest()


def identity(made: Recipe) -> str:
    """A fingerprint of the run that does not depend on where files lie: what is in them has fingerprints of its own."""
    data = made.essence()
    for path in recipe.files(made):
        if path.partition("/")[0] in data:  # a teacher that nobody asks is not part of the run
            document.put(data, path, "a file")
    return recipe.fingerprint(data)


def _provenance(study: str, table: Table, result: Result) -> dict[str, Any]:
    trial, source = table.trials[result.best_trial], table.trials[result.trial]
    made = recipe.parse(trial.recipe)
    facts, versions = trial.facts, dict(table.created.get("versions", {}))
    seconds = sum(t.facts.get("seconds", 0.0) for t in table.trials.values())
    device = facts.get("device", "cpu")
    out: dict[str, Any] = {"study": study, "trial": result.trial, "fingerprint": identity(made)}
    if "commit" in versions:
        out["commit"] = versions.pop("commit")
    return out | {
        "versions": versions,
        "data_fingerprint": facts.get("data"),
        "teachers": facts.get("teachers", {}),
        "hardware": facts.get("hardware") or hardware(device),
        "device": device,
        "precision": made.train.precision,
        "threads": made.train.threads,
        "deterministic": made.train.deterministic,
        "seeds": {
            "sampler": table.created.get("seed"), "split": made.data.split_seed, "view": made.view.seed, "teacher": made.teacher.seed,
            "searched": source.seed, "confirmed": result.seeds, "exported": trial.seed,
        },
        "cost": {"trials": len(table.trials), "epochs": sum(t.epochs for t in table.trials.values()), "seconds": round(seconds, 1)},
    }  # fmt: skip


def _results(table: Table, result: Result, metric: str) -> dict[str, Any]:
    trial = table.trials[result.best_trial]

    def over_seeds(role: str) -> dict[str, Any]:
        runs = result.runs[role]
        values = [table.trials[runs[seed]].last[metric] for seed in sorted(runs)]
        mean = round(math.fsum(values) / len(values), 6)
        return {"seeds": sorted(runs), "per_seed": _rounded(values), "mean": mean, "interval": _rounded(mean_interval(values))}

    out: dict[str, Any] = {
        "student_sha256": trial.student,
        "metric": metric,
        "validation": {name: round(value, 6) for name, value in trial.last.items() if name.startswith("val/")},
        **over_seeds("finalist"),
        "controls": {verdict.CONTROLS[role]: over_seeds(role) for role in verdict.CONTROLS if result.runs.get(role)},
        "against": [_difference(d) for d in result.differences],
    }
    if result.test_mean is not None:
        number = str(trial.number)
        on_test = next(e["results"][number] for e in reversed(table.tests) if number in e["results"])  # an extended study has several readings
        out["test"] = {name: round(v, 6) for name, v in on_test.items()} | {"read": len(table.tests)}
        out["test_against"] = [_difference(d) for d in result.test_differences]
    facts = {name: trial.facts.get(f"student/{name}") for name in ("params", "flops", "latency_ms")}
    return out | {name: value for name, value in facts.items() if value is not None}


def _difference(d: verdict.Difference) -> dict[str, Any]:
    return {"control": d.control, "mean": round(d.mean, 5), "interval": _rounded([d.low, d.high]), "seeds": d.n, "verdict": d.verdict}


def _rounded(values: Sequence[float] | None) -> list[float | None] | None:
    """To six places; what is not finite (the interval of a single seed) is null, which every reader of YAML understands."""
    return None if values is None else [round(v, 6) if math.isfinite(v) else None for v in values]


def spread(values: Sequence[float], level: float = 0.95) -> tuple[float, float, float] | None:
    """``(mean, sd, t)`` of a sample, t being the two-sided quantile with n − 1 degrees of freedom; None below two values."""
    from scipy.stats import t

    n = len(values)
    if n < 2:
        return None
    mean = math.fsum(values) / n
    sd = math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (n - 1))
    return mean, sd, float(t.ppf((1 + level) / 2, n - 1))


def mean_interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float] | None:
    """The t interval of the mean: ``m ± t·sd/√n``."""
    found = spread(values, level)
    return found and (found[0] - found[2] * found[1] / math.sqrt(len(values)), found[0] + found[2] * found[1] / math.sqrt(len(values)))


def prediction_interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float] | None:
    """Where one more value of the same kind falls: ``m ± t·sd·√(1 + 1/n)``."""
    found = spread(values, level)
    if found is None:
        return None
    mean, sd, t = found
    half = t * sd * math.sqrt(1 + 1 / len(values))
    return mean - half, mean + half


# ---------------------------------------------------------------- a recipe that MLflow holds


def logged(name: str, run: str) -> Document:
    """The ``recipe.yaml`` of an MLflow run. ``name``: how it was asked for. Raises :class:`UserError`."""
    from autokd.tracking import default_uri

    root = ledger.root()
    uri = default_uri(root)
    if uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).exists():
        raise UserError(f"{name}: there is no MLflow store at {uri}; set MLFLOW_TRACKING_URI, or go to where the search ran")
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    try:
        client = MlflowClient(tracking_uri=uri)
        client.get_run(run)
        file = Path(client.download_artifacts(run, "recipe.yaml"))
    except (MlflowException, OSError) as e:
        raise UserError(f"{name}: {str(e).splitlines()[0] if str(e) else type(e).__name__}") from None
    out = document.read(file)
    out.file = name
    return out
