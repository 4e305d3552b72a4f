"""A recipe's life after the search: exported, run again by a stranger, put to work, compared, and attacked."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image

from autokd import bundle, cli, difference, distill, document, export, ledger, metrics, models, recipe
from autokd import data as datasets
from autokd import predict as predictions
from autokd import reproduce as again
from autokd.document import DocumentError, UserError
from autokd.teachers import Store
from autokd.views import resize
from tests.conftest import ROOT, autokd

RECIPE = """\
data:    {name: digits, resolution: 8, limit: 300}
teacher: {model: cnn-3x16, train: {epochs: 8, batch_size: 20, lr: 0.1, warmup: 0.1}}
student: {model: cnn-2x8, resolution: 6}
distill: {preset: kd}
train:   {epochs: 8, batch_size: 20, lr: 0.1, warmup: 0.1}
"""
SPACE = """\
base: base.yaml
search: {trials: 2, asha: {grace_epochs: 8}, finalists: {top: 1, seeds: 3}}
vary: {distill/temperature/tau: {uniform: [1, 16]}}
"""
MADE = {"recipe.yaml", "student.safetensors", "student.onnx", "labels.txt", "MODEL_CARD.md", "load.py", "network.py"}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One search for the whole module, and its export."""
    where = tmp_path_factory.mktemp("life")
    (where / "base.yaml").write_text(RECIPE)
    (where / "space.yaml").write_text(SPACE)
    autokd("search", "--space", "space.yaml", "--jobs", "2", "--name", "small", "--quiet", cwd=where)
    (where / "one.png").write_bytes(b"")
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(where / "one.png")
    # Export, reproduce and predict under a hook that no code can take off: whatever a pickle names ends the process.
    program = (
        "import sys, torch, autokd.bundle, autokd.reproduce, autokd.predict, autokd.distill, sklearn.datasets, onnxruntime, onnxscript, torch.onnx\n"
        "from pathlib import Path\n"
        "def hook(event, args):\n    if event == 'pickle.find_class':\n        raise SystemExit(f'unpickled {args}')\n"
        "sys.addaudithook(hook)\n"
        "autokd.bundle.export(Path('mlruns'), 'small', Path('out'), calibrate=True)\n"
        "print(autokd.reproduce.reproduce('out/recipe.yaml', quiet=True).verdict, len(list(autokd.predict.predict(Path('out'), Path('one.png')))))\n"
        "import pickle\npickle.loads(pickle.dumps(Path))\n"
    )
    env = os.environ | {"AUTOKD_CACHE": str(where / "another cache")}
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", program], cwd=where, env=env, capture_output=True, text=True, timeout=200)
    (where / "hooked.json").write_text(json.dumps([done.stdout, done.stderr]))
    return where


@pytest.fixture(autouse=True)
def own_cache(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No test meets another's cache, nor the user's; and threads are as they were."""
    monkeypatch.setenv("AUTOKD_CACHE", str(tmp_path / "cache"))
    threads, strict = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(strict)


@pytest.fixture
def exported(home: Path, tmp_path: Path) -> Path:
    """The exported recipe as a stranger has it: alone, in a folder of its own."""
    return Path(shutil.copy(home / "out" / "recipe.yaml", tmp_path / "recipe.yaml"))


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """The command line in this process: exit code, stdout, stderr."""

    def run(*args: Any) -> tuple[int, str, str]:
        capfd.readouterr()
        monkeypatch.setattr(sys, "argv", ["autokd", *map(str, args)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        out, err = capfd.readouterr()
        assert "Traceback" not in err
        return int(end.value.code or 0), out, err

    return run


def edit(file: Path, old: str, new: str) -> Path:
    text = file.read_text()
    assert text.count(old) >= 1, old
    file.write_text(text.replace(old, new, 1))
    return file


def claimed(made: recipe.Recipe, seeds: int = 1) -> str:
    """An exported recipe without a search: runs of ``made``, and what came of them."""
    runs = [distill.train(made.with_({"seed": made.seed + i}), Store(None)) for i in range(seeds)]
    first, last = runs[0]
    results = {
        "student_sha256": models.weights_hash(first.student), "metric": "val/accuracy",
        "validation": {k: round(v, 6) for k, v in last.items() if k.startswith("val/")},
        "seeds": [made.seed + i for i in range(seeds)], "per_seed": [round(own["val/accuracy"], 6) for _, own in runs],
    }  # fmt: skip
    provenance = {
        "fingerprint": export.identity(made), "versions": export.versions(), "data_fingerprint": first.data.fingerprint, "device": "cpu",
        "teachers": {m.name: m.hash[:16] for m in first.members}, "hardware": export.hardware(), "threads": made.train.threads,
    }  # fmt: skip
    return export.compose(["Made by a test."], made.to_dict(), provenance, results)


# ---------------------------------------------------------------- the document


def test_the_recipe_says_what_where_from_and_what_came_of_it(exported: Path) -> None:
    text = exported.read_text()
    doc = document.read(exported)
    origin, results = doc.data["provenance"], doc.data["results"]
    assert text.startswith("# The best recipe of study small.\n# Distillation ") and "autokd reproduce recipe.yaml" in text
    assert text.count("\n") < 120 and max(map(len, text.splitlines())) < 180
    assert {"study", "trial", "fingerprint", "versions", "data_fingerprint", "teachers", "hardware", "precision", "threads", "seeds", "cost"} <= set(origin)
    assert origin["versions"]["torch"] == torch.__version__.partition("+")[0] and set(origin["teachers"]) == {"cnn-3x16"}
    assert origin["seeds"] == {"sampler": 0, "split": 0, "view": 0, "teacher": 0, "searched": 0, "confirmed": [1, 2, 3], "exported": 1}
    assert set(results["controls"]) == {"student alone", "reference KD"} and results["test"]["read"] == 1
    assert len(results["per_seed"]) == 3 and results["interval"][0] <= results["mean"] <= results["interval"][1]
    assert results["validation"]["val/ece"] >= 0 and results["params"] == 770 and results["flops"] > 0 and results["latency_ms"] > 0
    assert origin["results_sha256"] == export.checksum(results)


def test_the_trial_that_is_exported_is_the_first_seed(home: Path, exported: Path) -> None:
    _, table = ledger.read(home / "mlruns/studies/small")
    results = document.read(exported).data["results"]
    [trial] = [t for t in table.trials.values() if t.student == results["student_sha256"] and t.role == "finalist"]
    assert trial.seed == 1 and results["per_seed"][0] == round(trial.last["val/accuracy"], 6) == results["validation"]["val/accuracy"]
    assert results["interval"] == pytest.approx(export.mean_interval([t.last["val/accuracy"] for t in table.trials.values() if t.role == "finalist"]), abs=1e-6)


def test_intervals_are_those_of_the_textbook() -> None:
    values = [0.90, 0.92, 0.97]  # mean 0.93, sd 0.036056, t(2) = 4.302653
    assert export.mean_interval(values) == pytest.approx((0.93 - 0.089567, 0.93 + 0.089567), abs=1e-5)
    assert export.prediction_interval(values) == pytest.approx((0.93 - 0.179134, 0.93 + 0.179134), abs=1e-5)
    assert export.mean_interval([0.9]) is None and export.prediction_interval([]) is None


@pytest.mark.parametrize("results", [{"a": 1e-07, "b": [1.0, None, -0.0], "c": {"d/e": "yes", "f": "1e5", "g": "2026-11-21"}}, {}, {"x": True, "y": "a: #b\n"}])
def test_the_checksum_is_of_what_a_reader_sees(results: dict[str, Any]) -> None:
    text = export.compose(["A heading", "of two\nlines"], {"seed": 3}, {"study": "s"}, results)
    doc = document.parse(text)
    assert doc.data["results"] == results and doc.data["provenance"]["results_sha256"] == export.checksum(doc.data["results"])
    assert export.heading(text) == ["A heading", "of two", "lines"] and doc.data["seed"] == 3


# ---------------------------------------------------------------- reproduce


def test_a_fresh_clone_with_a_fresh_cache_gives_the_same_bytes(exported: Path, tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    shutil.copytree(ROOT / "autokd", clone / "autokd", ignore=shutil.ignore_patterns("__pycache__"))
    program = "import sys, runpy, autokd; print(autokd.__file__, file=sys.stderr); runpy.run_module('autokd', run_name='__main__', alter_sys=True)"
    env = os.environ | {"AUTOKD_CACHE": str(tmp_path / "empty"), "PYTHONPATH": str(clone), "OMP_NUM_THREADS": "2"}
    args = [sys.executable, "-c", program, "reproduce", str(exported), "--json", "--from-scratch"]
    done = subprocess.run(args, cwd=clone, env=env, capture_output=True, text=True, timeout=200)
    assert done.stderr.startswith(str(clone)), done.stderr
    said = json.loads(done.stdout)
    assert done.returncode == 0 and said["verdict"] == "bit-identical" and said["here"] == said["recorded"], said
    assert [r for r in said["reasons"] if not r.startswith("commit")] == []
    assert not list((tmp_path / "empty").rglob("*.safetensors")), "--from-scratch leaves the cache alone"


def test_another_thread_count_is_within_noise_and_says_why(exported: Path) -> None:
    patient = {"OMP_WAIT_POLICY": "passive"}  # threads that wait in their sleep: on a busy machine the others take minutes
    out = autokd("reproduce", str(exported), "--set", "train/threads=2", "--quiet", cwd=exported.parent, **patient).stdout
    assert out.startswith("within noise: ") and "95 % prediction interval [" in out and "3 recorded seeds" in out
    assert "train/threads: 1 recorded, 2 here" in out


def test_another_learning_rate_is_different(exported: Path, run: Callable) -> None:
    code, out, _ = run("reproduce", exported, "--set", "train/lr=0.12", "--quiet", "--json")
    said = json.loads(out)
    assert code == 1 and said["verdict"] == "different" and "train/lr: 0.1 recorded, 0.12 here" in said["reasons"]
    code, out, _ = run("reproduce", edit(exported, "lr: 0.1, momentum: 0.9", "lr: 1.0e-5, momentum: 0.9"), "--quiet")
    assert code == 1 and out.startswith("different: ") and "the recipe: was edited after it was exported" in out


def test_threads_that_were_edited_in_the_file_are_no_other_recipe(exported: Path) -> None:
    text = exported.read_text()
    head, tail = text[: text.index("\nseed: 1")], text[text.index("\nseed: 1") :]
    at = head.rindex("threads: 1")
    exported.write_text(head[:at] + "threads: 2" + head[at + 10 :] + tail)
    assert again.read(exported).changed == {"train/threads": "1 recorded, 2 here"} and again.read(exported).edited == []


def test_fresh_seeds_give_an_interval_of_this_machine(exported: Path) -> None:
    outcome = again.reproduce(exported, ("train/weight_decay=0.0005",), seeds=3, quiet=True)
    assert outcome.verdict == "bit-identical" and outcome.fresh["seeds"] == [4, 5, 6] and len(set(outcome.fresh["per_seed"])) >= 1
    assert outcome.fresh["interval"] == pytest.approx(export.mean_interval(outcome.fresh["per_seed"]))
    assert "fresh seeds [4, 5, 6]" in again.as_text(outcome)


def test_edited_results_are_named_and_nothing_is_trained(exported: Path, run: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distill, "Run", None)
    best = document.read(exported).data["results"]["validation"]["val/accuracy"]
    code, out, _ = run("reproduce", edit(exported, f"val/accuracy: {best}", "val/accuracy: 0.999"))
    assert code == 1 and out.startswith("not comparable") and "results: were edited after the export" in out and "Nothing was trained" in out


def test_a_pixel_that_changed_is_named(tmp_path: Path, run: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the file's size and date kept: `reproduce` hashes every byte, `train` trusts the listing."""
    rng = np.random.default_rng(0)
    for part in "ab":
        for i in range(20):
            pixels = (rng.random((8, 8, 3)) * 100 + (120 if part == "b" else 0)).astype(np.uint8)
            (tmp_path / "pictures" / part).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(tmp_path / "pictures" / part / f"{i}.bmp")
    monkeypatch.chdir(tmp_path)
    data = {"name": "folder:pictures", "resolution": 8, "validation": 0.25, "test": 0.25}
    made = recipe.parse({"data": data, "student": {"model": "cnn-2x8"}, "distill": {"losses": {"ce": {}}}, "train": {"epochs": 1, "batch_size": 8}})
    (tmp_path / "recipe.yaml").write_text(claimed(made))
    assert run("reproduce", "recipe.yaml", "--quiet")[0] == 0

    file = tmp_path / "pictures" / "a" / "7.bmp"
    raw, stat = bytearray(file.read_bytes()), file.stat()
    raw[-5] ^= 1
    file.write_bytes(raw)
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    datasets._pack.cache_clear()
    assert run("train", "recipe.yaml", "--quiet", "--out", "out")[0] == 0
    code, out, _ = run("reproduce", "recipe.yaml", "--quiet")
    assert code == 1 and out.startswith("not comparable") and "folder:pictures have changed, though size and date are those" in out

    monkeypatch.setenv("AUTOKD_CACHE", str(tmp_path / "fresh"))
    code, out, _ = run("reproduce", "recipe.yaml", "--quiet")
    assert code == 1 and "'folder:pictures' has changed: fingerprint" in out
    monkeypatch.setenv("AUTOKD_CACHE", str(tmp_path / "cache"))
    [pack] = (tmp_path / "cache" / "data").glob("*.pack")
    pack.chmod(0o644)
    raw, stat = bytearray(pack.read_bytes()), pack.stat()
    raw[100] ^= 1
    pack.write_bytes(raw)
    datasets._pack.cache_clear()
    code, out, _ = run("reproduce", "recipe.yaml", "--quiet")
    assert code == 1 and "damaged" in out


def test_a_teacher_that_was_replaced_is_named(tmp_path: Path, run: Callable) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir(), there.mkdir()
    data = datasets.load(recipe.parse({}).data)
    for seed, file in enumerate((here / "teacher.safetensors", there / "other.safetensors")):
        teacher = models.build("cnn-2x8", classes=10, channels=1, resolution=8, mean=data.mean, std=data.std, seed=seed)
        safetensors.torch.save_file(models.state(teacher), file)
    (here / "base.yaml").write_text("data: {limit: 100}\nteacher: {model: cnn-2x8, weights: teacher.safetensors}\ntrain: {epochs: 1, batch_size: 20}\n")
    made = recipe.load(here / "base.yaml")
    assert made.teacher.weights == str(here / "teacher.safetensors"), "a path is relative to the recipe"
    (here / "recipe.yaml").write_text(claimed(made).replace(str(here) + "/", ""))
    assert run("reproduce", here / "recipe.yaml", "--quiet")[0] == 0

    (there / "teacher.safetensors").write_bytes((here / "teacher.safetensors").read_bytes())
    shutil.copy(there / "other.safetensors", here / "teacher.safetensors")
    code, out, _ = run("reproduce", here / "recipe.yaml", "--quiet")
    assert code == 1 and out.startswith("not comparable") and "teacher.safetensors was replaced: weights' hash" in out
    code, out, _ = run("reproduce", here / "recipe.yaml", "--quiet", "--set", f"teacher/weights={there / 'teacher.safetensors'}")
    assert code == 0 and out.startswith("bit-identical"), "where the file lies does not matter"
    (here / "teacher.safetensors").unlink()
    code, _, err = run("reproduce", here / "recipe.yaml", "--quiet")
    assert code == 2 and "no such file of weights" in err


def test_what_cannot_be_compared_is_refused(home: Path, exported: Path, run: Callable) -> None:
    for file, said in {
        home / "base.yaml": "has no results to compare with",
        home / "space.yaml": "is a search space, not a recipe",
        home / "nosuch.yaml": "cannot be read",
        edit(Path(shutil.copy(exported, exported.with_name("v.yaml"))), "version: 1", "version: 7"): "a newer format than AutoKD",
        edit(Path(shutil.copy(exported, exported.with_name("w.yaml"))), "version: 1", "version: one"): "must be the number of a recipe format",
        edit(Path(shutil.copy(exported, exported.with_name("x.yaml"))), "metric: val/accuracy", "metric: [val/accuracy]"): "results/metric",
        edit(Path(shutil.copy(exported, exported.with_name("y.yaml"))), "per_seed: [", "per_seed: [many, "): "must hold numbers",
    }.items():
        code, out, err = run("reproduce", file)
        assert code == 2 and said in err and out == "", (file, err)


def test_an_older_format_is_migrated_or_refused_with_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "old.yaml"
    file.write_text("version: 1\nrate: 0.25\n")
    monkeypatch.setattr(recipe, "FORMAT", 2)
    with pytest.raises(DocumentError, match="old.yaml:1: version: no longer read: in format 1 the same words meant another run"):
        recipe.load(file)
    monkeypatch.setitem(recipe.MIGRATIONS, 1, lambda old: {k: v for k, v in old.items() if k != "rate"} | {"train": {"lr": old["rate"]}})
    data, refused = recipe.migrated({"version": 1, "rate": 0.25})
    assert refused is None and data == {"version": 2, "train": {"lr": 0.25}}


# ---------------------------------------------------------------- the export folder


def test_the_folder_holds_what_it_should(home: Path) -> None:
    out = home / "out"
    assert {p.name for p in out.iterdir()} == MADE
    assert (out / "labels.txt").read_text().split() == list("0123456789")
    assert sum(bool(line.strip()) for line in (out / "load.py").read_text().splitlines()) <= 20
    card = (out / "MODEL_CARD.md").read_text()
    for said in ("## Data", "300 training pictures", "95 % interval", "student alone", "## Calibration", "temperature of", "## Limits", "Test was read once"):
        assert said in card, said
    assert str(home) not in card + (out / "recipe.yaml").read_text(), "no paths of the one who made it"


def test_temperature_scaling_is_fitted_recorded_and_better(home: Path) -> None:
    student = bundle.load(home / "mlruns/studies/small")
    told = document.read(home / "out" / "recipe.yaml").data["results"]["calibration"]
    assert told["temperature"] == bundle.calibration(student)["temperature"] and told["nll"][1] <= told["nll"][0]
    grid = torch.linspace(0.1, 5, 246).tolist()
    best = min(grid, key=lambda t: torch.nn.functional.cross_entropy(student.logits.double() / t, student.labels).item())
    assert told["temperature"] == pytest.approx(best, abs=0.021)
    assert told["ece"][1] == pytest.approx(metrics.ece((student.logits.double() / told["temperature"]).softmax(1), student.labels), abs=1e-6)
    with safetensors.safe_open(str(home / "out" / "student.safetensors"), "pt") as f:
        assert json.loads(f.metadata()["autokd"])["temperature"] == told["temperature"]


def all_test_pictures() -> tuple[torch.Tensor, datasets.Split]:
    split = datasets.load(recipe.parse({"data": {"limit": 300}}).data).read_test()
    return resize(split.pictures.float() / 255, 6), split


def torch_logits(home: Path, pictures: torch.Tensor) -> torch.Tensor:
    network = models.build("cnn-2x8", classes=10, channels=1, resolution=6)
    models.load_weights(network, home / "out" / "student.safetensors")
    with torch.inference_mode():
        return network.eval()(pictures)


def temperature(home: Path) -> float:
    return document.read(home / "out" / "recipe.yaml").data["results"]["calibration"]["temperature"]


def test_onnx_agrees_with_torch_on_every_test_picture(home: Path) -> None:
    import onnxruntime

    pictures, _ = all_test_pictures()
    ours = (torch_logits(home, pictures) / temperature(home)).numpy()
    session = onnxruntime.InferenceSession(str(home / "out" / "student.onnx"), providers=["CPUExecutionProvider"])
    for count in (1, 7, len(pictures)):
        theirs = session.run(["logits"], {"pictures": pictures[:count].numpy()})[0]
        assert np.abs(theirs - ours[:count]).max() <= 1e-4 and (theirs.argmax(1) == ours[:count].argmax(1)).all()
    assert len(pictures) == 359 and json.loads(session.get_modelmeta().custom_metadata_map["labels"]) == list("0123456789")


def test_load_py_needs_torch_and_safetensors_only(home: Path, tmp_path: Path) -> None:
    pictures, _ = all_test_pictures()
    torch.save(pictures, tmp_path / "pictures.pt")
    shutil.copytree(home / "out", tmp_path / "moved")
    program = (
        "import sys\nfor name in ('autokd', 'timm', 'torchvision', 'onnx', 'pydantic', 'ruamel'):\n    sys.modules[name] = None\n"
        "import torch\nfrom load import load\nstudent, labels = load()\n"
        f"pictures = torch.load({str(tmp_path / 'pictures.pt')!r}, weights_only=True)\n"
        "wide = torch.nn.functional.pad(pictures, (3, 3), value=1.0)\n"
        "assert torch.equal(student(wide), student(pictures)) and torch.equal(student(wide.mT), student(pictures.mT))\n"
        f"torch.save([student(pictures), labels], {str(tmp_path / 'answers.pt')!r})\n"
    )
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path / "moved", check=True, timeout=120)
    probs, labels = torch.load(tmp_path / "answers.pt", weights_only=True)
    ours = (torch_logits(home, pictures) / temperature(home)).softmax(1)
    assert labels == list("0123456789") and (probs - ours).abs().max() < 1e-5 and (probs.argmax(1) == ours.argmax(1)).all()


NETWORKS = ["cnn-3x8", "resnet8", "wrn-16-1", "vgg8", "shufflenetv1", "plane-4", "timm:vit_tiny_patch16_224"]


@pytest.mark.parametrize("name", NETWORKS)
def test_every_family_can_be_written_out_as_python(name: str) -> None:
    size = 64 if ":" in name else 32
    network = models.build(name, classes=5, channels=3, resolution=size, seed=1).eval()
    pictures = torch.rand(3, 3, size, size, generator=torch.Generator().manual_seed(2))
    text = bundle.source(network, pictures[:2], {"model": name, "channels": 3, "resolution": size})
    scope: dict[str, Any] = {}
    exec(compile(text, name, "exec"), scope)
    with torch.inference_mode():
        assert torch.equal(scope["network"](models.state(network), pictures), network(pictures))


def test_the_folder_appears_whole_or_not_at_all(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Callable) -> None:
    monkeypatch.setenv("AUTOKD_RUNS", str(home / "mlruns"))
    for fault in (KeyboardInterrupt(), OSError(28, "No space left on device")):

        def fail(*args: Any, fault: BaseException = fault) -> None:
            raise fault

        monkeypatch.setattr(bundle, "write_onnx", fail)
        with pytest.raises(KeyboardInterrupt if isinstance(fault, KeyboardInterrupt) else UserError):
            bundle.export(home / "mlruns", "small", tmp_path / "new")
        assert not list(tmp_path.glob("*new*")) and not list(tmp_path.glob(".part*"))
    assert run("export", "small", "--no-onnx", "--out", tmp_path / "plain")[0] == 0
    assert {p.name for p in (tmp_path / "plain").iterdir()} == MADE - {"student.onnx"}
    assert "calibration" not in document.read(tmp_path / "plain" / "recipe.yaml").data["results"]
    assert "exists already" in run("export", "small", "--no-onnx", "--out", tmp_path / "plain")[2]


def test_export_says_what_is_missing(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Callable) -> None:
    monkeypatch.setenv("AUTOKD_RUNS", str(home / "mlruns"))
    assert "did you mean 'small'" in run("export", "smal", "--out", tmp_path / "x")[2]
    study = tmp_path / "runs" / "studies" / "small"
    shutil.copytree(home / "mlruns/studies/small", study)
    monkeypatch.setenv("AUTOKD_RUNS", str(tmp_path / "runs"))
    files = [p for p in study.rglob("student.safetensors")]
    network = models.build("cnn-2x8", classes=10, channels=1, resolution=6, seed=9)
    about = json.dumps({"model": "cnn-2x8", "resolution": 6, "channels": 1, "classes": list("0123456789")})
    for file in files:
        safetensors.torch.save_file(models.state(network), file, metadata={"autokd": about})
    assert "not the weights that the study confirmed" in run("export", "small", "--no-onnx", "--out", tmp_path / "x")[2]
    for file in files:
        file.unlink()
    assert "student.safetensors is gone" in run("export", "small", "--no-onnx", "--out", tmp_path / "x")[2]
    events = (study / "events.jsonl").read_text().splitlines(keepends=True)
    (study / "events.jsonl").write_text("".join(line for line in events if '"event":"closed"' not in line))
    assert "is not finished" in run("export", "small", "--no-onnx", "--out", tmp_path / "x")[2]
    import importlib.util

    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == "onnxscript" else found(name, *more))
    assert "pip install 'autokd[onnx]'" in run("export", "small", "--out", tmp_path / "x")[2]
    assert not (tmp_path / "x").exists()


# ---------------------------------------------------------------- predict


def write_pictures(folder: Path, count: int = 12) -> tuple[list[int], torch.Tensor]:
    """The first test pictures as files, of whatever kind. Returns their labels and tensors."""
    folder.mkdir()
    _, split = all_test_pictures()
    for i in range(count):
        picture = Image.fromarray(split.pictures[i, 0].numpy())
        picture.convert("RGB" if i % 2 else "L").save(folder / f"{i:03d}.{('png', 'bmp', 'tiff')[i % 3]}")
    return split.labels[:count].tolist(), resize(split.pictures[:count].float() / 255, 6)


def test_predict_says_what_the_student_says(home: Path, tmp_path: Path, run: Callable) -> None:
    _, tensors = write_pictures(tmp_path / "pictures")
    ours = (torch_logits(home, tensors).double() / temperature(home)).softmax(1)
    code, out, err = run("predict", home / "out", tmp_path / "pictures", "--json", "--batch", "5")
    rows = [json.loads(line) for line in out.splitlines()]
    assert code == 0 and err == "" and [Path(r["file"]).name[:3] for r in rows] == [f"{i:03d}" for i in range(12)]
    for row, probs in zip(rows, ours, strict=True):
        assert row["label"] == str(int(probs.argmax())) and row["probability"] == pytest.approx(probs.max().item(), abs=1e-5)
        assert len(row["top"]) == 5 and row["top"][0] == {"label": row["label"], "probability": row["probability"]}
    code, out, _ = run("predict", home / "out", tmp_path / "pictures" / "000.png", "--top", "1")
    assert code == 0 and out.split()[1:] == [rows[0]["label"], f"{rows[0]['probability']:.3f}"]


def test_broken_files_are_listed_and_skipped(home: Path, tmp_path: Path, run: Callable) -> None:
    folder = tmp_path / "pictures"
    write_pictures(folder, 3)
    whole = (folder / "000.png").read_bytes()
    (folder / "truncated.png").write_bytes(whole[: len(whole) // 2])
    (folder / "words.jpg").write_text("these are words")
    (folder / "empty.gif").touch()
    (folder / "gone.png").symlink_to(tmp_path / "nowhere.png")
    (folder / "notes.txt").write_text("not a picture, and not asked about")
    (folder / "sub").mkdir()
    shutil.copy(folder / "000.png", folder / "sub" / "deep.png")
    code, out, err = run("predict", home / "out", folder, "--json")
    assert code == 0 and len(out.splitlines()) == 4 and "4 of 8 pictures could not be read" in err and "notes" not in out + err
    for name in ("truncated.png", "words.jpg", "empty.gif", "gone.png"):
        assert f"unreadable: {folder / name}: " in err
    for name in ("000.png", "001.bmp", "002.tiff", "sub/deep.png"):
        (folder / name).write_bytes(b"")
    code, out, err = run("predict", home / "out", folder)
    assert code == 1 and out == "" and "8 of 8 pictures could not be read" in err
    (tmp_path / "nothing").mkdir()
    code, _, err = run("predict", home / "out", tmp_path / "nothing")
    assert code == 1 and "no pictures here" in err
    code, _, err = run("predict", home / "out", tmp_path / "nosuch")
    assert code == 2 and "there is no such picture" in err
    code, _, err = run("predict", tmp_path / "nothing", folder)
    assert code == 2 and "is no export folder" in err


def test_large_pictures_are_treated_as_when_they_are_packed(home: Path, tmp_path: Path) -> None:
    student = predictions.Student(home / "out")
    gradient = np.linspace(0, 255, 300).astype(np.uint8)[None].repeat(100, 0)
    Image.fromarray(gradient).save(tmp_path / "wide.png")
    seen = student.read(tmp_path / "wide.png")
    assert seen.shape == (1, 6, 6) and seen[0, :, 0].mean() == pytest.approx(1 / 3 + 1 / 36, abs=0.02)  # the central third, its first sixth
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(gradient).save(tmp_path / "turned.jpg", exif=exif, quality=95)
    turned = student.read(tmp_path / "turned.jpg")
    assert turned[0, 0].mean() < turned[0, -1].mean() and turned[0, :, 0].mean() == pytest.approx(turned[0, :, -1].mean().item(), abs=0.01)


def test_a_file_is_seen_as_the_same_picture_was_in_validation(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    for i in range(16):
        folder = tmp_path / "pictures" / "ab"[i % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray((rng.random((90 + i, 120, 3)) * 255).astype(np.uint8)).save(folder / f"{i}.png")
    spec = {"name": f"folder:{tmp_path / 'pictures'}", "resolution": 16, "validation": 0.5, "test": 0.25, "store": {"short_side": 40}}
    data = datasets.load(recipe.parse({"data": spec, "student": {"model": "cnn-2x8"}}).data)
    about = {"model": "cnn-2x8", "classes": ["a", "b"], "channels": 3, "resolution": 8, "short_side": 40}
    network = models.build("cnn-2x8", classes=2, channels=3, resolution=8)
    safetensors.torch.save_file(models.state(network), tmp_path / "student.safetensors", metadata={"autokd": json.dumps(about)})
    student = predictions.Student(tmp_path)
    seen = torch.stack([student.read(p) for p in predictions.pictures(tmp_path / "pictures")])
    wanted = resize(data.validation.pictures[:].float() / 255, 8)
    assert len(wanted) >= 6 and all((seen - w).abs().amax((1, 2, 3)).min() < 1e-6 for w in wanted)


# ---------------------------------------------------------------- diff, and recipes from MLflow


def test_diff_says_in_words_what_differs(home: Path, run: Callable, tmp_path: Path) -> None:
    one, other = home / "base.yaml", tmp_path / "other.yaml"
    text = RECIPE.replace("preset: kd", "preset: kd, temperature: {kind: flsw}, losses/dkd: {weight: 0.5}")
    text = text.replace("train:   {epochs: 8, batch_size: 20, lr: 0.1", "train:   {epochs: 8, batch_size: 20, lr: 0.2")
    other.write_text(text.replace("resolution: 6", "resolution: 8"))
    code, out, _ = run("diff", one, other)
    assert code == 0 and out.startswith("The two recipes describe different runs; they differ in ")
    assert "student\n  resolution was 6 and becomes 8 (1.33 times)\n" in out and "  lr was 0.1 and becomes 0.2 (2 times)\n" in out
    assert "  temperature was constant with tau 4.0 and becomes flsw with " in out and "loss dkd is added" in out
    said = json.loads(run("diff", one, other, "--json")[1])
    assert not said["same_run"] and {"student/resolution", "train/lr", "distill/temperature", "distill/losses/dkd"} == {c["path"] for c in said["changes"]}


def test_diff_knows_when_two_recipes_are_the_same_run(home: Path, run: Callable, tmp_path: Path) -> None:
    (tmp_path / "same.yaml").write_text(RECIPE + "ladder_train: {epochs: 99}\n")
    out = run("diff", home / "base.yaml", tmp_path / "same.yaml")[1]
    assert "describe the same run" in out and "epochs was 30 and becomes 99" in out
    assert run("diff", home / "base.yaml", home / "base.yaml")[1].startswith("The two recipes are the same (fingerprint ")
    assert difference.same_run(recipe.load(home / "out/recipe.yaml"), recipe.load(home / "mlruns/studies/small/recipe.yaml"))


def test_look_ups_of_recipes_load_nothing_heavy(home: Path) -> None:
    heavy = {"torch", "ray", "mlflow", "optuna", "numpy", "scipy", "PIL"}
    for args in (["diff", "base.yaml", "out/recipe.yaml"], ["validate", "out/recipe.yaml"], ["show", "out/recipe.yaml"]):
        program = f"import sys\nsys.argv = ['autokd', *{args!r}]\nfrom autokd.cli import main\n"
        program += "try:\n    main()\nexcept SystemExit as e:\n    assert not e.code\n"
        program += f"print(sorted(set(sys.modules) & {heavy!r}))"
        done = subprocess.run([sys.executable, "-c", program], cwd=home, capture_output=True, text=True, timeout=60)
        assert done.stdout.splitlines()[-1] == "[]", done.stdout + done.stderr


def test_a_recipe_in_mlflow_is_accepted_by_its_run_id(home: Path) -> None:
    program = (
        "import json, sys\nfrom mlflow import MlflowClient\nfrom autokd import difference, recipe, reproduce\nfrom autokd.document import UserError\n"
        f"client = MlflowClient(tracking_uri='sqlite:///{home}/mlruns/mlflow.db')\n"
        "runs = client.search_runs([client.get_experiment_by_name('small').experiment_id])\n"
        "by = {r.data.tags['autokd.trial']: r.info.run_id for r in runs}\n"
        "trial, parent = recipe.load('runs:/' + by['0']), recipe.load('mlflow:' + by['search'])\n"
        "print(difference.same_run(trial, recipe.load('mlruns/studies/small/trials/0/1/recipe.yaml')))\n"
        "print(difference.same_run(parent, recipe.load('out/recipe.yaml')), len(reproduce.read('runs:/' + by['search'] + '/recipe.yaml').results['seeds']))\n"
        "for name in ('runs:/0123456789abcdef', 'runs:/' + by['0']):\n"
        "    try:\n        reproduce.read(name)\n    except UserError as e:\n        print(e)\n"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", program], cwd=home, capture_output=True, text=True, timeout=120)
    lines = done.stdout.splitlines()
    assert lines[:2] == ["True", "True 3"] and "0123456789abcdef" in lines[2] and "has no results to compare with" in lines[3], done.stdout + done.stderr


def test_without_a_store_a_run_id_is_one_message(tmp_path: Path, run: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for command in (["train"], ["reproduce"], ["show"], ["validate"], ["diff", "x.yaml"]):
        if command[0] == "diff":
            (tmp_path / "x.yaml").write_text("seed: 1\n")
        code, _, err = run(*command, "runs:/abc")
        assert code == 2 and "there is no MLflow store" in err
    assert not list(tmp_path.glob("mlruns*"))


# ---------------------------------------------------------------- malice


@contextlib.contextmanager
def bait(tmp_path: Path) -> Iterator[Path]:
    """A file that an attack would make."""
    yield tmp_path / "pwned"
    assert not (tmp_path / "pwned").exists(), "code of a document was run"


class Attack:
    def __init__(self, file: Path):
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.file),)


MALICE = {
    "tag": "train: !!python/object/apply:os.system ['mkdir {bait}']\n",
    "tag in results": "results: {{x: !!python/object/apply:os.mkdir ['{bait}']}}\n",
    "anchors": "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: [*c,*c,*c,*c,*c,*c,*c,*c,*c]\n",
    "merge": "base: &x {{a: 1}}\ntrain:\n  <<: *x\n",
    "deep": "data: " + "[" * 20000 + "]" * 20000 + "\n",
    "deep results": "results: " + "{{a: " * 3000 + "1" + "}}" * 3000 + "\n",
    "absolute": "teacher: {{weights: /etc/passwd.safetensors}}\nprovenance: {{study: x}}\nresults: {{a: 1}}\n",
    "above": "teacher: {{weights: ../secret.pth}}\nprovenance: {{study: x}}\n",
    "home": "teacher: {{weights: ~/secret.pth}}\nprovenance: {{study: x}}\n",
    "link": "teacher: {{weights: link.safetensors}}\nprovenance: {{study: x}}\n",
    "folder": "data: {{name: 'folder:/etc'}}\nprovenance: {{study: x}}\n",
    "network": "student: {{model: 'os.system'}}\n",
    "huge network": "student: {{model: cnn-99999999x99999999}}\n",
    "control characters": "data: {{name: \x00}}\n",
}


@pytest.mark.parametrize("what", MALICE)
@pytest.mark.parametrize("command", ["reproduce", "train", "diff"])
def test_a_malicious_recipe_does_nothing_but_an_error(what: str, command: str, tmp_path: Path, run: Callable) -> None:
    (tmp_path / "secret.pth").write_bytes(b"x")
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "link.safetensors").symlink_to(tmp_path / "secret.pth")
    with bait(tmp_path) as pwned:
        file = tmp_path / "there" / "recipe.yaml"
        file.write_text(MALICE[what].format(bait=pwned))
        code, out, err = run(command, file, *([file] if command == "diff" else []))
        assert code == 2 and out == "" and 0 < len(err) < 2000, err
        assert what not in {"absolute", "above", "home", "link", "folder"} or "lies outside the folder of a recipe that came from elsewhere" in err


def test_a_document_of_100_mb_is_not_even_read(tmp_path: Path, run: Callable) -> None:
    with (tmp_path / "big.yaml").open("wb") as f:
        f.truncate(100_000_000)
    code, _, err = run("reproduce", tmp_path / "big.yaml")
    assert code == 2 and "larger than 1,000,000 bytes" in err


def test_a_pickle_in_place_of_weights_is_never_run(home: Path, tmp_path: Path, run: Callable) -> None:
    with bait(tmp_path) as pwned:
        attack = pickle.dumps(Attack(pwned))
        folder = tmp_path / "export"
        folder.mkdir()
        (folder / "student.safetensors").write_bytes(attack)
        code, _, err = run("predict", folder, home / "out")
        assert code == 2 and "not an exported student" in err
        torch.save({"weight": Attack(pwned)}, tmp_path / "teacher.pth")
        (tmp_path / "base.yaml").write_text("teacher: {model: cnn-2x8, weights: teacher.pth}\ntrain: {epochs: 1}\n")
        text = claimed(recipe.load(tmp_path / "base.yaml").with_({"teacher/weights": "train", "teacher/train/epochs": 1, "data/limit": 50}))
        (tmp_path / "recipe.yaml").write_text(text.replace("weights: train", "weights: teacher.pth"))
        code, _, err = run("reproduce", tmp_path / "recipe.yaml")
        assert code == 2 and "code in a file is never run" in err


@pytest.mark.parametrize(
    "about",
    [
        {}, {"model": "os.system"}, {"model": "cnn-2x8", "classes": [1], "channels": 1, "resolution": 6}, [], "x",
        {"model": "cnn-2x8", "classes": ["a", "b"], "channels": 1, "resolution": 10**9},
        {"model": "cnn-2x8", "classes": ["a", "b"], "channels": 10**9, "resolution": 8},
        {"model": "cnn-2x8", "classes": ["a", "b"], "channels": 1, "resolution": 8, "temperature": 0},
        {"model": "cnn-2x8", "classes": ["a", "b"], "channels": 1, "resolution": 8, "temperature": "nan"},
    ],
)  # fmt: skip
def test_malicious_metadata_is_one_message(about: Any, tmp_path: Path, run: Callable) -> None:
    safetensors.torch.save_file({"x": torch.zeros(1)}, tmp_path / "student.safetensors", metadata={"autokd": json.dumps(about)})
    code, out, err = run("predict", tmp_path, tmp_path)
    assert code == 2 and out == "" and "not an exported student" in err


def test_nothing_is_unpickled_from_export_to_predict(home: Path) -> None:
    out, err = json.loads((home / "hooked.json").read_text())
    assert out == "bit-identical 1\n" and "unpickled ('pathlib'" in err, out + err
