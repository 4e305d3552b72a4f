"""A network, a data set, a method and a sampler of a user's own: one file each, and a search over
them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from autokd.recipe import axes, data_names, network_names, plugins
from autokd.space import samplers
from tests.helpers.commands import RECIPE, autokd

NETWORK = """
from autokd.recipe import network_names


@network_names.register("tiny", about="one convolution of eight channels")
def build(*, channels, classes, resolution):
    from torch import nn

    from autokd.networks.backbone import Backbone, GlobalPool, plain

    return Backbone(*plain(channels, [[8]]), GlobalPool(), nn.Linear(8, classes))
"""
DATA = """
from autokd.recipe import data_names


@data_names.register("stripes", "stripes, upright or level, 8×8 grey; 2 classes")
def read(data_dir):
    import numpy as np

    from autokd.data import Contents, Part

    labels = np.arange(120) % 2
    pictures = np.zeros((120, 8, 8, 1), np.uint8)
    for i, label in enumerate(labels):
        stripe = pictures[i, :, i % 8] if label else pictures[i, i % 8]
        stripe[:] = 250
    return Contents(["level", "upright"], {"train": Part(pictures, labels)})
"""
METHOD = '''
from autokd.recipe.axes import Positive, preset, register


@register("temperature", "rising", paper="none")
def rising(progress, *, tau: Positive = 4.0):
    """From 1 to ``tau`` over the run. Returns a scalar."""
    return 1 + (tau - 1) * progress


preset(
    "rising",
    {"temperature": {"kind": "rising"}},
    paper="none",
    summary="KD that warms",
    recommended={"temperature/tau": {"uniform": [1, 8]}},
)
'''
SAMPLER = """
from autokd.space.samplers import register


@register("second-random", learns_from_pruned=True, note="draws at random")
def make(seed, jobs):
    import optuna

    return optuna.samplers.RandomSampler(seed=seed + 1)
"""
SPACE = """\
base: base.yaml
search: {trials: 2, sampler: second-random, asha: {form: none}, finalists: {seeds: 1}}
baselines: []
vary: {distill/temperature/tau: {uniform: [2, 8]}}
"""
BASE = """\
data: {name: stripes, resolution: 8}
teacher: {model: tiny, train: {epochs: 2}}
student: {model: tiny}
distill: {preset: rising}
train: {epochs: 2, batch_size: 16}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The four files; what they registered is gone afterwards."""
    home = tmp_path / "plugins"
    home.mkdir()
    files = {"network": NETWORK, "data": DATA, "method": METHOD, "sampler": SAMPLER}
    for name, text in files.items():
        (home / f"own_{name}.py").write_text(text)
    axes.load()
    samplers.load()
    registries: list[dict] = [axes.METHODS, axes.PRESETS, samplers.SAMPLERS]
    registries += [data_names.SOURCES, network_names._CARDS]
    before = [dict(registry) for registry in registries]
    monkeypatch.setattr(plugins, "_loaded", set())
    monkeypatch.setattr(plugins, "_done", False)
    monkeypatch.setenv("AUTOKD_PLUGINS", str(home))
    yield home
    for registry, old in zip(registries, before, strict=True):
        registry.clear()
        registry.update(old)


@pytest.mark.long
def test_each_is_one_file_and_they_are_searched_together(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(BASE)
    (tmp_path / "space.yaml").write_text(SPACE)
    done = autokd(*"search --space space.yaml --jobs 1 --json --quiet".split(), cwd=tmp_path)
    found = json.loads(done.stdout)
    assert found["states"] == {"complete": 2}
    recipe = Path(found["recipe"]).read_text()
    assert "stripes" in recipe and "tiny" in recipe and "rising" in recipe


def test_they_are_listed(folder: Path, run: Callable) -> None:
    assert "tiny" in run("models")[1]
    assert "stripes" in run("datasets")[1]
    assert "rising" in run("methods")[1]


def test_the_older_variable_works_too(
    folder: Path, run: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AUTOKD_PLUGINS")
    assert "rising" in run("methods", AUTOKD_METHODS=str(folder))[1]


def test_a_space_may_have_the_ranges_of_an_own_preset(
    folder: Path, tmp_path: Path, run: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "base.yaml").write_text(RECIPE)
    (tmp_path / "space.yaml").write_text(
        "base: base.yaml\nvary: {distill: {one_of: [{preset: rising}, {preset: kd}],"
        " free: recommended}}\n"
    )
    assert run("validate", "space.yaml")[0] == 0


def test_a_plugin_that_cannot_be_loaded_is_named(folder: Path, run: Callable) -> None:
    (folder / "broken.py").write_text("import nothing_of_this_name\n")
    code, _, err = run("models")
    assert code == 2
    assert "broken.py: this plugin cannot be loaded: ModuleNotFoundError" in err


def test_without_the_folder_the_names_are_unknown(run: Callable) -> None:
    assert "tiny" not in run("models")[1]
    assert network_names.problem("tiny") and data_names.problem("stripes")
