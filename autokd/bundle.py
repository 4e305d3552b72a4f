"""The export folder of a study: the student as a stranger can use it, with everything that says what it is. Light until called.

    recipe.yaml           what to run for the same student, where it comes from, what it gave
    student.safetensors   the weights; in the file's own metadata: network, size, labels, temperature
    student.onnx          pictures [B, C, r, r] in [0, 1] → logits [B, classes]; normalisation and temperature inside
    labels.txt            one class a line, in the order of the logits
    load.py, network.py   the student in torch and safetensors alone; network.py is its computation, written out by torch.export
    MODEL_CARD.md         data, results with intervals, calibration, limits

The folder is made beside its place and renamed: it is there whole or not at all. Nothing in it is pickled.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autokd import document, ledger, recipe, verdict
from autokd import export as exports
from autokd.document import UserError, flow
from autokd.ledger import Table
from autokd.recipe import Recipe

if TYPE_CHECKING:
    from torch import Tensor, nn

    from autokd.data import Data
    from autokd.models import Network

AGREE = 1e-4  # ONNX and torch, as the largest difference of logits, in units of the largest logit where that is above 1
CHECKED, CHUNK = 1024, 512  # validation pictures on which that is checked; pictures of one forward pass
BINS = 10  # of the reliability table


@dataclass
class Student:
    """What leaves: the network with the documents that belong to it, and its answers on the validation pictures."""

    study: str
    heading: list[str]
    recipe: Recipe
    provenance: dict[str, Any]
    results: dict[str, Any]
    about: dict[str, Any]  # of the weights' file: model, resolution, channels, classes
    network: Network
    data: Data
    pictures: Tensor  # [≤ CHECKED, C, r, r]: the first validation pictures, in [0, 1]
    logits: Tensor  # [N, classes] of all validation pictures, before any temperature
    temperature: float = 1.0

    @property
    def labels(self) -> Tensor:
        return self.data.validation.labels.cpu()


def export(root: Path, name: str, out: Path, *, onnx: bool = True, calibrate: bool = False) -> dict[str, Any]:
    """Write the winner of study ``name`` to folder ``out``. Returns what was made. Raises :class:`UserError`."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"--out {out}: exists already; choose another folder, or delete it first")
    if onnx:
        _onnx_installed()
    student = load(ledger.existing(root, name))
    if calibrate:
        student.results["calibration"] = calibration(student)
        student.temperature = student.results["calibration"]["temperature"]
    made: dict[str, Any] = {"study": name, "out": str(out), "student_sha256": student.results["student_sha256"], "temperature": student.temperature}
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".part-{out.name}-"))
    except OSError as e:
        raise UserError(f"--out {out}: cannot be written: {e.strerror}") from None
    try:
        write(student, part)
        if onnx:
            made["onnx_difference"] = write_onnx(student, part / "student.onnx")
        made["files"] = sorted(p.name for p in part.iterdir())
        for file in part.iterdir():
            file.chmod(0o644)
        part.chmod(0o755)
        os.replace(part, out)
    except OSError as e:
        raise UserError(f"--out {out}: cannot be written: {e.strerror}") from None
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return made


def load(folder: Path) -> Student:
    """The exported student of a finished study. Raises :class:`UserError` where it is not finished, or not what it was."""
    import torch
    from safetensors import SafetensorError, safe_open

    from autokd import data as datasets
    from autokd import models
    from autokd.views import resize

    _, table = ledger.read(folder)
    name = folder.name
    if not table.closed:
        raise UserError(f"study {name!r} is not finished; go on with it: autokd search --resume {name}")
    text = table.closed.get("recipe_text")
    if not text:
        raise UserError(f"study {name!r} ended without a winner, so there is nothing to export")
    doc = document.parse(text, str(folder / "recipe.yaml"))
    made, results, provenance = recipe.placed(recipe.parse(doc.data, doc), doc), doc.data["results"], doc.data["provenance"]
    weights = _weights(folder, table, results["student_sha256"])
    try:
        with safe_open(str(weights), "pt") as f:
            about = json.loads(f.metadata()["autokd"])
        network = models.build(about["model"], classes=len(about["classes"]), channels=about["channels"], resolution=about["resolution"])
        models.load_weights(network, weights)
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as e:
        raise UserError(f"{weights}: the student cannot be read: {e}") from None
    if models.weights_hash(network) != results["student_sha256"]:
        raise UserError(f"{weights}: these are not the weights that the study confirmed; the file was changed")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    data = datasets.load(made.data, device)
    if provenance.get("data_fingerprint") not in {None, data.fingerprint}:
        raise UserError(f"data/name: {made.data.name!r} is not what the study saw: fingerprint {provenance['data_fingerprint']} then, {data.fingerprint} now")
    network.eval().to(device)
    shown, logits = [torch.zeros(0, about["channels"], about["resolution"], about["resolution"])], [torch.zeros(0, len(about["classes"]))]
    with torch.inference_mode():
        for start in range(0, len(data.validation), CHUNK):
            chunk = resize(data.validation.pictures[start : start + CHUNK].float() / 255, about["resolution"])
            shown += [chunk.cpu()] if start < CHECKED else []
            logits.append(network(chunk).cpu())
    network.cpu()
    about["short_side"] = made.data.short_side
    return Student(name, exports.heading(text), made, provenance, results, about, network, data, torch.cat(shown), torch.cat(logits))


def _weights(folder: Path, table: Table, sha256: str) -> Path:
    """The file that the winner's worker wrote."""
    for trial in table.trials.values():
        file = folder / "trials" / str(trial.number) / str(trial.attempt) / "student.safetensors"
        if trial.state == "complete" and trial.student == sha256 and file.is_file():
            return file
    raise UserError(f"{folder / 'trials'}: the winner's student.safetensors is gone; make it again: autokd train {folder / 'recipe.yaml'}")


# ---------------------------------------------------------------- calibration


def calibration(student: Student) -> dict[str, Any]:
    """Temperature scaling (Guo et al. 2017, arXiv 1706.04599): one number, by likelihood on the validation pictures.

    ``ece``: [before, after]. The second is measured on pictures that the fit saw; ``ece_unseen`` is not: there each half is
    scaled by the temperature of the other.
    """
    import torch

    from autokd import metrics

    logits, labels = student.logits.double(), student.labels
    if len(labels) < 2:
        raise UserError("--calibrate: the recipe holds out no validation pictures (data/validation)")
    temperature = fit(logits, labels)
    halves = torch.arange(len(labels)) % 2 == 0
    crossed = logits.clone()
    for half in (halves, ~halves):
        crossed[half] = logits[half] / fit(logits[~half], labels[~half])
    before, after, unseen = (metrics.evaluate(z, labels) for z in (logits, logits / temperature, crossed))
    return {
        "temperature": round(temperature, 6), "fitted_on": f"{len(labels)} validation pictures",
        "nll": [round(before["nll"], 6), round(after["nll"], 6)], "ece": [round(before["ece"], 6), round(after["ece"], 6)],
        "ece_unseen": round(unseen["ece"], 6),
    }  # fmt: skip


def fit(logits: Tensor, labels: Tensor) -> float:
    """The temperature in [0.05, 20] under which ``softmax(z/T)`` [N, C] makes the labels [N] most likely."""
    import math

    from scipy.optimize import minimize_scalar
    from torch.nn import functional as F

    def nll(log_t: float) -> float:
        return F.cross_entropy(logits / math.exp(log_t), labels).item()

    return math.exp(minimize_scalar(nll, bounds=(math.log(0.05), math.log(20)), method="bounded", options={"xatol": 1e-6}).x)


# ---------------------------------------------------------------- the folder's files


def write(student: Student, folder: Path) -> None:
    """Everything but ONNX."""
    import safetensors.torch

    from autokd import models

    about = student.about | {"temperature": student.temperature}
    tensors = safetensors.torch.save(models.state(student.network), metadata={"autokd": json.dumps(about)})
    (folder / "student.safetensors").write_bytes(tensors)
    for file, text in {
        "labels.txt": "".join(f"{label(c)}\n" for c in student.about["classes"]),
        "recipe.yaml": recipe_text(student),
        "network.py": source(student.network, student.pictures[:2], student.about),
        "load.py": loader(student),
        "MODEL_CARD.md": card(student),
    }.items():
        (folder / file).write_text(text, encoding="utf-8")


def label(name: str) -> str:
    """A class name on one line."""
    return " ".join(name.split()) or "?"


def recipe_text(student: Student) -> str:
    """The study's recipe for other people: of a file that it names only the name stays, to be laid beside it."""
    made, comments = student.recipe, list(student.heading)
    changes = {}
    for path, file in recipe.files(made).items():
        changes[path] = ("folder:" if path == "data/name" else "") + Path(file).name
        comments.append(f"It needs a file of yours: lay {Path(file).name} beside it, or say --set {path}={changes[path].replace(Path(file).name, '')}PATH")
    data = made.to_dict()
    for path, value in changes.items():
        document.put(data, path, value)
    return exports.compose(comments, data, {k: v for k, v in student.provenance.items() if k != "results_sha256"}, student.results)


LOADER = '''\
"""The student of {study}: {model}, {classes} classes, pictures [B, {channels}, {r}, {r}] in [0, 1]. Needs torch and safetensors."""
from pathlib import Path
from runpy import run_path

import torch
from safetensors.torch import load_file


def load(folder=Path(__file__).parent):
    """Returns (student, labels): student(pictures [B, {channels}, H, W] in [0, 1]) gives probabilities [B, {classes}] of their central squares."""
    weights, network = load_file(Path(folder) / "student.safetensors"), run_path(str(Path(folder) / "network.py"))["network"]

    @torch.inference_mode()
    def student(pictures):
        side = min(pictures.shape[-2:])
        top, left = ((n - side) // 2 for n in pictures.shape[-2:])
        square = pictures[..., top : top + side, left : left + side]
        square = torch.nn.functional.interpolate(square, ({r}, {r}), mode="bilinear", antialias=True)
        return (network(weights, square) / {temperature!r}).softmax(1)

    return student, (Path(folder) / "labels.txt").read_text(encoding="utf-8").splitlines()
'''


def loader(student: Student) -> str:
    a = student.about
    return LOADER.format(
        study=student.study, model=a["model"], classes=len(a["classes"]), channels=a["channels"], r=a["resolution"], temperature=student.temperature
    )


def source(network: nn.Module, example: Tensor, about: dict[str, Any]) -> str:
    """The network's forward pass as a Python function of its weights and pictures: what torch.export traced, and nothing else."""
    import torch

    with _quiet():
        program = torch.export.export(network, (_two(example, about),), dynamic_shapes=({0: torch.export.Dim("batch")},), strict=False)
    signature, used = program.graph_signature, {n.name for n in program.graph.nodes if n.users}
    names = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    if program.constants and any(name not in program.state_dict for name in program.constants):
        raise UserError(f"student/model: {about['model']} has constants outside its weights and cannot be written out; this is a defect, please report it")
    [(pictures,)] = [signature.user_inputs]
    code = program.graph_module.code.strip().splitlines()
    assert code[0].startswith("def forward(") and code[-1].lstrip().startswith("return (")
    body = [line.rstrip() for line in code[1:-1] if "_guards_fn" not in line]
    body.append(code[-1].rstrip().replace("return (", "return ", 1).removesuffix(",)"))
    read = [f"    {ours} = w[{theirs!r}]" for ours, theirs in names.items() if ours in used]
    head = [
        f'"""{about["model"]}, as torch.export wrote it out: a function of the weights in student.safetensors and of pictures."""',
        "import torch", "from torch import device, inf, nan  # noqa: F401", "", "",
        f"def network(w, {pictures}):",
        f'    """``w``: name → tensor; pictures [B, {about["channels"]}, {about["resolution"]}, {about["resolution"]}] in [0, 1] → logits."""',
    ]  # fmt: skip
    return "\n".join([*head, *read, *body]) + "\n"


def _two(example: Tensor, about: dict[str, Any]) -> Tensor:
    """Two pictures to trace with: a batch of one would become a constant."""
    import torch

    return example if len(example) == 2 else torch.full((2, about["channels"], about["resolution"], about["resolution"]), 0.5)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """torch's exporters warn of their own future and log to stderr; that is not the user's business."""
    level = logging.getLogger("torch.onnx").level
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.getLogger("torch.onnx").setLevel(level)


# ---------------------------------------------------------------- ONNX


def _onnx_installed() -> None:
    from importlib.util import find_spec

    missing = [name for name in ("onnx", "onnxscript", "onnxruntime") if find_spec(name) is None]
    if missing:
        raise UserError(f"student.onnx needs {', '.join(missing)}: pip install 'autokd[onnx]'; or do without it: --no-onnx")


def write_onnx(student: Student, path: Path) -> float:
    """Write and check ``student.onnx``. Returns the largest difference of a logit to torch's, over real pictures.

    Raises :class:`UserError` where the two disagree.
    """
    import numpy as np
    import onnxruntime
    import torch

    a, temperature = student.about, student.temperature

    class Deployed(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = student.network

        def forward(self, pictures: Tensor) -> Tensor:
            logits = self.network(pictures)
            return logits / temperature if temperature != 1.0 else logits

    with _quiet():
        program = torch.onnx.export(
            Deployed().eval(), (_two(student.pictures[:2], a),), dynamo=True, verbose=False, optimize=True,
            input_names=["pictures"], output_names=["logits"], dynamic_shapes=({0: torch.export.Dim("batch")},),
        )  # fmt: skip
    assert program is not None
    program.model.metadata_props.update({
        "labels": json.dumps(a["classes"]), "input": f"float32 [B, {a['channels']}, {a['resolution']}, {a['resolution']}] in [0, 1], RGB or grey",
        "student": a["model"], "temperature": repr(temperature), "student_sha256": student.results["student_sha256"],
    })  # fmt: skip
    program.save(str(path), external_data=False)

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    worst = 0.0
    for count in (1, CHECKED):  # the batch is free
        pictures = student.pictures[:count]
        if not len(pictures):
            continue
        theirs = session.run(["logits"], {"pictures": pictures.numpy()})[0]
        ours = (student.logits[:count] / temperature).numpy()
        difference = float(np.abs(theirs - ours).max()) / max(1.0, float(np.abs(ours).max()))
        if difference > AGREE:
            raise UserError(f"student.onnx differs from torch by {difference:.1e} on validation pictures (at most {AGREE:.0e}); do without it: --no-onnx")
        worst = max(worst, difference)
    return worst


# ---------------------------------------------------------------- the card


def card(student: Student) -> str:
    """``MODEL_CARD.md``."""
    s, r, a, results, origin = student, student.recipe, student.about, student.results, student.provenance
    out = ["---", "library_name: pytorch", "pipeline_tag: image-classification", "tags: [image-classification, knowledge-distillation, autokd]", "---", ""]
    out += [f"# {a['model']} for {label(Path(r.data.name).name)}, {a['resolution']} px, {len(a['classes'])} classes", ""]
    out += [line.strip() for line in s.heading[:2]] + [f"Found by AutoKD in study `{s.study}`; the recipe is beside this card.", ""]
    out += ["## Use", "", "```python", "from load import load              # torch and safetensors, nothing else", "student, labels = load()", ""]
    out += [f"probabilities = student(pictures)   # [B, {a['channels']}, H, W] floats in [0, 1] -> [B, {len(a['classes'])}]", "```", ""]
    out += [f"Pictures are floats in [0, 1]; it looks at their central square, scaled to {a['resolution']} px, and normalisation is inside."]
    files = " and ".join(Path(file).name for file in recipe.files(r).values())
    again = "Again: `autokd reproduce recipe.yaml`" + (f", with {files} laid beside it." if files else ".")
    out += [f"Or `autokd predict . PICTURES`; `student.onnx` takes such squares and gives logits (softmax is yours). {again}", ""]
    out += [*_data(s), *_figures(results, origin), *_calibration(s), *_training(s, origin), *_limits(s)]
    return "\n".join(out) + "\n"


def _data(s: Student) -> list[str]:
    d, r = s.data, s.recipe.data
    labelled = int((d.train.labels >= 0).sum())
    out = ["## Data", "", f"`{label(Path(r.name).name)}`, fingerprint `{d.fingerprint}`: {len(d.train):,} training pictures"]
    out[-1] += f" ({labelled:,} of them labelled)" if labelled != len(d.train) else ""
    out[-1] += f", {len(s.labels):,} for validation, {d.summary['test']:,} for test; split by seed {r.split_seed}"
    out[-1] += f", {r.label_noise:.0%} of training labels wrong on purpose." if r.label_noise else "."
    return [*out, ""]


def _figures(results: dict[str, Any], origin: dict[str, Any]) -> list[str]:
    metric = results["metric"]
    out = ["## Results", "", f"{metric} over seeds {results['seeds']}, each trained from scratch:", ""]
    out += ["| | mean | 95 % interval of the mean |", "|---|---|---|", f"| this recipe | {results['mean']:.4f} | {_range(results['interval'])} |"]
    out += [f"| {name} | {c['mean']:.4f} | {_range(c['interval'])} |" for name, c in results["controls"].items()]
    rows = [(d, "validation") for d in results["against"]] + [
        (d, f"test, read {verdict.times(results['test']['read'])}") for d in results.get("test_against", [])
    ]
    if rows:
        out += ["", "Paired differences, this recipe minus the control:", ""]
        out += ["| on | against | difference | 95 % interval | verdict |", "|---|---|---|---|---|"]
        out += [f"| {where} | {d['control']} | {d['mean']:+.4f} | {_range(d['interval'])} | {d['verdict']} |" for d, where in rows]
    own = {**results["validation"], **{k: v for k, v in results.get("test", {}).items() if k != "read"}}
    out += ["", "The student in this folder is that of the first seed, not the best one. Its own figures:", ""]
    out += [", ".join(f"{name} {value:.4f}" for name, value in own.items()) + ".", ""]
    size = [f"{results['params']:,} parameters"] if "params" in results else []
    size += [f"{results['flops']:,} FLOPs a picture (a multiply-add is two)"] if "flops" in results else []
    where = f"{origin.get('hardware')}, threads {origin.get('threads')}"
    size += [f"{results['latency_ms']:.3f} ms for one picture (median; {where})"] if "latency_ms" in results else []
    return [*out, *([", ".join(size) + ".", ""] if size else [])]


def _range(interval: list[float | None] | None) -> str:
    if not interval or None in interval:
        return "unknown"
    low, high = interval
    return f"{low:.4f} to {high:.4f}"


def _calibration(s: Student) -> list[str]:
    from autokd import metrics

    if not len(s.labels):
        return ["## Calibration", "", "Not measured: the recipe holds out no validation pictures.", ""]
    probs = (s.logits.double() / s.temperature).softmax(1)
    confidence, guess = probs.max(1)
    index = (confidence * BINS).ceil().long().clamp(1, BINS) - 1
    out = ["## Calibration", "", f"Expected calibration error on validation: {metrics.ece(probs, s.labels):.4f} (15 bins)."]
    if fitted := s.results.get("calibration"):
        out += [
            f"Logits are divided by a temperature of {s.temperature:.3f}, fitted on those same pictures (ECE {fitted['ece'][0]:.4f} before);",
            f"on pictures that the fit did not see the ECE is {fitted['ece_unseen']:.4f} (each half scaled by the other's temperature).",
        ]
    out += ["", "| confidence | pictures | mean confidence | accuracy |", "|---|---|---|---|"]
    for b in range(BINS):
        rows = index == b
        if n := int(rows.sum()):
            right = (guess == s.labels)[rows].double().mean().item()
            out.append(f"| {b / BINS:.1f} to {(b + 1) / BINS:.1f} | {n} | {confidence[rows].mean().item():.3f} | {right:.3f} |")
    return [*out, ""]


def _training(s: Student, origin: dict[str, Any]) -> list[str]:
    r = s.recipe
    if r.needs_teacher:
        who = f"taught by {r.teacher.model}" + (f" through {', '.join(r.ladder)}" if r.needs_ladder and r.ladder else "")
        kinds = ", ".join(f"{axis} {flow(r.distill[axis])}" for axis in ("teaching", "view", "target", "temperature"))
        how = f"{who}; {kinds}; losses {flow(r.distill['losses'])}"
    else:
        how = "without a teacher"
    out = ["## Training", "", f"{r.train.epochs} epochs, {how}."]
    cost = origin.get("cost", {})
    if cost:
        out.append(f"The whole search: {cost['trials']} runs, {cost['epochs']:,} epochs, {cost['seconds']:,} seconds of training on {origin.get('hardware')}.")
    return [*out, ""]


def _limits(s: Student) -> list[str]:
    r, labels = s.recipe, s.labels
    out = ["## Limits", "", f"- Measured on `{label(Path(r.data.name).name)}` alone. Other pictures than these were not looked at, nor any shift or attack."]
    out.append(f"- The intervals are {verdict.LEFT_OUT}.")
    if read := s.results.get("test", {}).get("read"):
        out.append(f"- Test was read {verdict.times(read)}, after the winner was chosen; validation chose it and flatters it.")
    else:
        out.append("- Test was not read; validation chose the winner and flatters it.")
    if len(labels):
        right = s.logits.argmax(1) == labels
        per = {c: right[labels == i].double().mean().item() for i, c in enumerate(s.about["classes"]) if bool((labels == i).any())}
        worst = sorted(per, key=lambda c: per[c])[:3]
        out.append("- Weakest classes on validation: " + ", ".join(f"{label(c)} ({per[c]:.0%})" for c in worst) + ".")
    out.append("- It names one of its classes for any picture, also for one that shows none of them.")
    if r.train.precision != "fp32":
        out.append(f"- It was trained and measured in {r.train.precision}; as exported it computes in fp32, so figures may differ slightly.")
    return out
