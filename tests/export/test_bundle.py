"""The export folder: whole or not at all, calibrated, and what is missing is said."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from autokd import networks
from autokd.errors import UserError
from autokd.export import bundle
from autokd.export.calibration import temperature_scaling
from autokd.export.card import card
from autokd.recipe import document
from autokd.train import metrics

MADE = {
    "recipe.yaml",
    "student.safetensors",
    "student.onnx",
    "labels.txt",
    "MODEL_CARD.md",
    "load.py",
    "network.py",
    "SHA256SUMS",
}


def test_the_folder_holds_what_it_should(home: Path) -> None:
    out = home / "out"
    assert {p.name for p in out.iterdir()} == MADE
    assert (out / "labels.txt").read_text().split() == list("0123456789")
    assert sum(bool(line.strip()) for line in (out / "load.py").read_text().splitlines()) <= 20
    card = (out / "MODEL_CARD.md").read_text()
    for said in (
        "## Data",
        "300 training pictures",
        "95 % interval",
        "student alone",
        "## Calibration",
        "temperature of",
        "## Limits",
        "Test was read once",
    ):
        assert said in card, said
    assert str(home) not in card + (out / "recipe.yaml").read_text(), (
        "no paths of the one who made it"
    )


def test_sha256sum_finds_the_files_as_they_are_listed(home: Path) -> None:
    done = subprocess.run(
        ["sha256sum", "--strict", "-c", "SHA256SUMS"],
        cwd=home / "out",
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert {line.split(": ")[0] for line in done.stdout.splitlines()} == MADE - {"SHA256SUMS"}


@pytest.mark.parametrize("name", sorted(MADE - {"student.safetensors"}))
def test_a_file_that_is_not_what_was_exported_is_told(
    name: str, home: Path, tmp_path: Path, run: Callable
) -> None:
    shutil.copytree(home / "out", tmp_path / "out")
    raw = bytearray((tmp_path / "out" / name).read_bytes())
    raw[len(raw) // 2] ^= 1
    (tmp_path / "out" / name).write_bytes(raw)
    code, out, err = run("predict", "out", home / "one.png")
    assert code == 0 and out and len(err.splitlines()) == 1
    # a changed line of the sums speaks of the file that it names
    assert (f"note: out/{name}: " in err) or (name == "SHA256SUMS" and "by SHA256SUMS" in err)
    (tmp_path / "out" / name).unlink()
    code, _, err = run("predict", "out", home / "one.png")
    assert code == 0 and (f"note: out/{name}: cannot be read: No such file" in err) == (
        name != "SHA256SUMS"
    )


def test_a_student_with_a_flipped_bit_predicts_nothing(
    home: Path, tmp_path: Path, run: Callable
) -> None:
    shutil.copytree(home / "out", tmp_path / "out")
    file = tmp_path / "out" / "student.safetensors"
    raw = bytearray(file.read_bytes())
    raw[-1] ^= 1
    file.write_bytes(raw)
    code, out, err = run("predict", "out", home / "one.png")
    assert (code, out) == (2, "")
    assert err == "error: out/student.safetensors: is not what was exported, by SHA256SUMS\n"


def test_what_others_wrote_is_text_in_the_card(home: Path) -> None:
    student = bundle.load(home / "mlruns/studies/small")
    name = "[x](javascript:a) <img src=x>\n# `*_|\u202e"
    data = student.recipe.data.model_copy(update={"name": f"folder:/a/{name}"})
    made = student.recipe.model_copy(update={"data": data})
    about = replace(student.metadata, classes=[name] * 10)
    text = card(replace(student, recipe=made, metadata=about, heading=[name, "words"]))
    shown = r"\[x\](javascript\:a) \<img src=x\> \# \`\*\_\|\\u202e"
    assert text.count(shown) >= 4
    rest = text.replace(shown, "")
    assert "<img" not in rest and "javascript" not in rest and "\u202e" not in rest


def test_the_card_says_how_good_the_teacher_is_and_what_it_may_have_seen(home: Path) -> None:
    student = bundle.load(home / "mlruns/studies/small")
    reached = student.results["test"]["test/teacher_accuracy"]
    text = card(student)
    assert f"taught by {student.recipe.teacher.model} (accuracy on test {reached:.4f});" in text
    assert "test/teacher" not in text, "it is none of the student's own figures"
    given = {"weights": "pretrained", "train": None}
    teacher = student.recipe.teacher.model_copy(update=given)
    loaded = student.recipe.model_copy(update={"teacher": teacher})
    told = f"{reached:.4f}; it may have seen these pictures)"
    assert told in card(replace(student, recipe=loaded))


def test_temperature_scaling_is_fitted_recorded_and_better(home: Path) -> None:
    student = bundle.load(home / "mlruns/studies/small")
    told = document.read(home / "out" / "recipe.yaml").data["results"]["calibration"]
    assert told["temperature"] == temperature_scaling(student.logits, student.labels)["temperature"]
    assert told["nll"][1] <= told["nll"][0]
    grid = torch.linspace(0.1, 5, 246).tolist()
    best = min(
        grid,
        key=lambda t: torch.nn.functional.cross_entropy(
            student.logits.double() / t, student.labels
        ).item(),
    )
    assert told["temperature"] == pytest.approx(best, abs=0.021)
    assert told["ece"][1] == pytest.approx(
        metrics.ece((student.logits.double() / told["temperature"]).softmax(1), student.labels),
        abs=1e-6,
    )
    with safetensors.safe_open(str(home / "out" / "student.safetensors"), "pt") as f:
        assert json.loads(f.metadata()["autokd"])["temperature"] == told["temperature"]


def test_the_folder_appears_whole_or_not_at_all(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Callable
) -> None:
    monkeypatch.setenv("AUTOKD_RUNS", str(home / "mlruns"))
    for fault in (KeyboardInterrupt(), OSError(28, "No space left on device")):

        def fail(*args: Any, fault: BaseException = fault) -> None:
            raise fault

        monkeypatch.setattr(bundle, "write_onnx", fail)
        with pytest.raises(
            KeyboardInterrupt if isinstance(fault, KeyboardInterrupt) else UserError
        ):
            bundle.export(home / "mlruns", "small", tmp_path / "new")
        assert not list(tmp_path.glob("*new*")) and not list(tmp_path.glob(".part*"))
    assert run("export", "small", "--no-onnx", "--out", tmp_path / "plain")[0] == 0
    assert {p.name for p in (tmp_path / "plain").iterdir()} == MADE - {"student.onnx"}
    assert "calibration" not in document.read(tmp_path / "plain" / "recipe.yaml").data["results"]
    assert "exists already" in run("export", "small", "--no-onnx", "--out", tmp_path / "plain")[2]


def test_export_says_what_is_missing(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Callable
) -> None:
    monkeypatch.setenv("AUTOKD_RUNS", str(home / "mlruns"))
    assert "did you mean 'small'" in run("export", "smal", "--out", tmp_path / "x")[2]
    study = tmp_path / "runs" / "studies" / "small"
    shutil.copytree(home / "mlruns/studies/small", study)
    monkeypatch.setenv("AUTOKD_RUNS", str(tmp_path / "runs"))
    files = [p for p in study.rglob("student.safetensors")]
    network = networks.build("cnn-2x8", classes=10, channels=1, resolution=6, seed=9)
    about = json.dumps(
        {"model": "cnn-2x8", "resolution": 6, "channels": 1, "classes": list("0123456789")}
    )
    for file in files:
        safetensors.torch.save_file(networks.state(network), file, metadata={"autokd": about})
    assert (
        "not the weights that the study confirmed"
        in run("export", "small", "--no-onnx", "--out", tmp_path / "x")[2]
    )
    for file in files:
        file.unlink()
    assert (
        "student.safetensors is gone"
        in run("export", "small", "--no-onnx", "--out", tmp_path / "x")[2]
    )
    events = (study / "events.jsonl").read_text().splitlines(keepends=True)
    (study / "events.jsonl").write_text(
        "".join(line for line in events if '"event":"closed"' not in line)
    )
    assert "is not finished" in run("export", "small", "--no-onnx", "--out", tmp_path / "x")[2]
    import importlib.util

    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *more: None if name == "onnxscript" else found(name, *more),
    )
    assert "pip install 'autokd[onnx]'" in run("export", "small", "--out", tmp_path / "x")[2]
    assert not (tmp_path / "x").exists()
