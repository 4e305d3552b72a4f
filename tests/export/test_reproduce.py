"""A recipe's life after the search: exported, run again by a stranger, put to work, compared, and
attacked.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
from PIL import Image

from autokd import data as datasets
from autokd import networks, recipe
from autokd.data import packs
from autokd.export import reproduce as again
from autokd.export.wording import as_text
from autokd.recipe import document
from autokd.study.statistics import mean_interval
from autokd.train import distill
from tests.helpers.commands import ROOT, autokd, python
from tests.helpers.recipes import claimed, edit


def test_a_fresh_clone_with_a_fresh_cache_gives_the_same_bytes(
    exported: Path, tmp_path: Path
) -> None:
    clone = tmp_path / "clone"
    shutil.copytree(ROOT / "autokd", clone / "autokd", ignore=shutil.ignore_patterns("__pycache__"))
    program = f"""
        import sys, runpy, autokd
        print(autokd.__file__, file=sys.stderr)
        sys.argv = ["autokd", "reproduce", {str(exported)!r}, "--json", "--from-scratch"]
        runpy.run_module("autokd", run_name="__main__", alter_sys=True)
    """
    cache = str(tmp_path / "empty")
    own = {"AUTOKD_CACHE": cache, "PYTHONPATH": str(clone), "OMP_NUM_THREADS": "2"}
    done = python(program, cwd=clone, **own)
    assert done.stderr.startswith(str(clone)), done.stderr
    said = json.loads(done.stdout)
    assert (
        done.returncode == 0
        and said["verdict"] == "bit-identical"
        and said["here"] == said["recorded"]
    ), said
    assert [r for r in said["reasons"] if not r.startswith("commit")] == []
    assert not list((tmp_path / "empty").rglob("*.safetensors")), (
        "--from-scratch leaves the cache alone"
    )


def test_another_thread_count_is_within_noise_and_says_why(exported: Path) -> None:
    # threads that wait in their sleep: on a busy machine the others take minutes
    patient = {"OMP_WAIT_POLICY": "passive"}
    how = ["reproduce", str(exported), "--set", "train/threads=2", "--quiet"]
    out = autokd(*how, cwd=exported.parent, **patient).stdout
    assert out.startswith("within noise: ")
    assert "95 % prediction interval [" in out
    assert "3 recorded seeds" in out
    assert "train/threads: 1 recorded, 2 here" in out


def test_another_learning_rate_is_different(exported: Path, run: Callable) -> None:
    code, out, _ = run("reproduce", exported, "--set", "train/lr=0.12", "--quiet", "--json")
    said = json.loads(out)
    assert code == 1
    assert said["verdict"] == "different"
    assert "train/lr: 0.1 recorded, 0.12 here" in said["reasons"]
    code, out, _ = run(
        "reproduce",
        edit(exported, "lr: 0.1, momentum: 0.9", "lr: 1.0e-5, momentum: 0.9"),
        "--quiet",
    )
    assert code == 1
    assert out.startswith("different: ")
    assert "the recipe: was edited after it was exported" in out


def test_threads_that_were_edited_in_the_file_are_no_other_recipe(exported: Path) -> None:
    text = exported.read_text()
    head = text[: text.index("\nseed: 1")]
    tail = text[text.index("\nseed: 1") :]
    at = head.rindex("threads: 1")
    exported.write_text(head[:at] + "threads: 2" + head[at + 10 :] + tail)
    assert again.read(exported).changed == {"train/threads": "1 recorded, 2 here"}
    assert again.read(exported).edited == []


def test_fresh_seeds_give_an_interval_of_this_machine(exported: Path) -> None:
    outcome = again.reproduce(exported, ("train/weight_decay=0.0005",), seeds=3, quiet=True)
    assert outcome.verdict == "bit-identical"
    assert outcome.fresh["seeds"] == [4, 5, 6]
    assert len(set(outcome.fresh["per_seed"])) >= 1
    assert outcome.fresh["interval"] == pytest.approx(mean_interval(outcome.fresh["per_seed"]))
    assert "fresh seeds [4, 5, 6]" in as_text(outcome)


def test_edited_results_are_named_and_nothing_is_trained(
    exported: Path, run: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(distill, "Run", None)
    best = document.read(exported).data["results"]["validation"]["val/accuracy"]
    code, out, _ = run("reproduce", edit(exported, f"val/accuracy: {best}", "val/accuracy: 0.999"))
    assert code == 1
    assert out.startswith("not comparable")
    assert "results: were edited after the export" in out
    assert "Nothing was trained" in out


def test_a_pixel_that_changed_is_named(
    tmp_path: Path, run: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the file's size and date kept: `reproduce` hashes every byte, `train` trusts the
    listing.
    """
    rng = np.random.default_rng(0)
    for part in "ab":
        for i in range(20):
            pixels = (rng.random((8, 8, 3)) * 100 + (120 if part == "b" else 0)).astype(np.uint8)
            (tmp_path / "pictures" / part).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(tmp_path / "pictures" / part / f"{i}.bmp")
    monkeypatch.chdir(tmp_path)
    data = {"name": "folder:pictures", "resolution": 8, "validation": 0.25, "test": 0.25}
    made = recipe.parse(
        {
            "data": data,
            "student": {"model": "cnn-2x8"},
            "distill": {"losses": {"ce": {}}},
            "train": {"epochs": 1, "batch_size": 8},
        }
    )
    (tmp_path / "recipe.yaml").write_text(claimed(made))
    assert run("reproduce", "recipe.yaml", "--quiet")[0] == 0

    file = tmp_path / "pictures" / "a" / "7.bmp"
    raw, stat = bytearray(file.read_bytes()), file.stat()
    raw[-5] ^= 1
    file.write_bytes(raw)
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    packs._pack.cache_clear()
    assert run("train", "recipe.yaml", "--quiet", "--out", "out")[0] == 0
    code, out, _ = run("reproduce", "recipe.yaml", "--quiet")
    assert code == 1
    assert out.startswith("not comparable")
    assert "folder:pictures have changed, though size and date are those" in out

    monkeypatch.setenv("AUTOKD_CACHE", str(tmp_path / "fresh"))
    code, out, _ = run("reproduce", "recipe.yaml", "--quiet")
    assert code == 1 and "'folder:pictures' has changed: fingerprint" in out
    monkeypatch.setenv("AUTOKD_CACHE", str(tmp_path / "cache"))
    [pack] = (tmp_path / "cache" / "data").glob("*.pack")
    pack.chmod(0o644)
    raw, stat = bytearray(pack.read_bytes()), pack.stat()
    raw[100] ^= 1
    pack.write_bytes(raw)
    packs._pack.cache_clear()
    code, out, _ = run("reproduce", "recipe.yaml", "--quiet")
    assert code == 1 and "damaged" in out


def test_a_teacher_that_was_replaced_is_named(tmp_path: Path, run: Callable) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir(), there.mkdir()
    data = datasets.load(recipe.parse({}).data)
    for seed, file in enumerate((here / "teacher.safetensors", there / "other.safetensors")):
        teacher = networks.build(
            "cnn-2x8", classes=10, channels=1, resolution=8, mean=data.mean, std=data.std, seed=seed
        )
        safetensors.torch.save_file(networks.state(teacher), file)
    (here / "base.yaml").write_text(
        "data: {limit: 100}\nteacher: {model: cnn-2x8, weights: teacher.safetensors}\ntrain:"
        " {epochs: 1, batch_size: 20}\n"
    )
    made = recipe.load(here / "base.yaml")
    assert made.teacher.weights == str(here / "teacher.safetensors"), (
        "a path is relative to the recipe"
    )
    (here / "recipe.yaml").write_text(claimed(made).replace(str(here) + "/", ""))
    assert run("reproduce", here / "recipe.yaml", "--quiet")[0] == 0

    (there / "teacher.safetensors").write_bytes((here / "teacher.safetensors").read_bytes())
    shutil.copy(there / "other.safetensors", here / "teacher.safetensors")
    code, out, _ = run("reproduce", here / "recipe.yaml", "--quiet")
    assert code == 1
    assert out.startswith("not comparable")
    assert "teacher.safetensors was replaced: weights' hash" in out
    code, out, _ = run(
        "reproduce",
        here / "recipe.yaml",
        "--quiet",
        "--set",
        f"teacher/weights={there / 'teacher.safetensors'}",
    )
    assert code == 0 and out.startswith("bit-identical"), "where the file lies does not matter"
    (here / "teacher.safetensors").unlink()
    code, _, err = run("reproduce", here / "recipe.yaml", "--quiet")
    assert code == 2 and "no such file of weights" in err


def test_what_cannot_be_compared_is_refused(home: Path, exported: Path, run: Callable) -> None:
    for file, said in {
        home / "base.yaml": "has no results to compare with",
        home / "space.yaml": "is a search space, not a recipe",
        home / "nosuch.yaml": "cannot be read",
        edit(
            Path(shutil.copy(exported, exported.with_name("v.yaml"))), "version: 2", "version: 7"
        ): "a newer format than AutoKD",
        edit(
            Path(shutil.copy(exported, exported.with_name("w.yaml"))), "version: 2", "version: one"
        ): "must be the number of a recipe format",
        edit(
            Path(shutil.copy(exported, exported.with_name("x.yaml"))),
            "metric: val/accuracy",
            "metric: [val/accuracy]",
        ): "results/metric",
        edit(
            Path(shutil.copy(exported, exported.with_name("y.yaml"))),
            "per_seed: [",
            "per_seed: [many, ",
        ): "must hold numbers",
    }.items():
        code, out, err = run("reproduce", file)
        assert code == 2 and said in err and out == "", (file, err)
