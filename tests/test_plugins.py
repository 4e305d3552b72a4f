"""A network, a data set, a method and a sampler of a user's own: one file each, and a search over
them.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from autokd import networks, recipe
from autokd.errors import UserError
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


@pytest.fixture
def package(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package with one entry point, as pip installs it, and no folder."""
    site = tmp_path / "site"
    (site / "their_nets").mkdir(parents=True)
    (site / "their_nets" / "__init__.py").write_text("")
    (site / "their_nets" / "nets.py").write_text(NETWORK)
    about = site / "their_nets-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: their-nets\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[autokd.networks]\nnets = their_nets.nets\n")
    monkeypatch.delenv("AUTOKD_PLUGINS")
    monkeypatch.syspath_prepend(site)
    yield site / "their_nets" / "nets.py"
    for name in ("their_nets", "their_nets.nets"):
        sys.modules.pop(name, None)


def test_an_installed_package_brings_a_network(package: Path) -> None:
    assert networks.build("tiny", classes=4, channels=1, resolution=8).training
    made = recipe.parse({"student": {"model": "tiny"}})
    named = {"their_nets.nets": hashlib.sha256(package.read_bytes()).hexdigest()}
    assert made.plugins() == named
    assert plugins.missing([*named, "gone.nets", "gone.py"]) == ["gone.nets", "gone.py"]


def test_an_installed_package_that_cannot_be_imported_is_named(package: Path) -> None:
    package.write_text("import nothing_of_this_name")
    with pytest.raises(UserError, match=r"their_nets.nets \(entry point nets of autokd.networks\)"):
        networks.build("tiny", classes=4, channels=1, resolution=8)


def test_without_the_folder_the_names_are_unknown(run: Callable) -> None:
    assert "tiny" not in run("models")[1]
    assert network_names.problem("tiny") and data_names.problem("stripes")


MODULE = """
from autokd.recipe import network_names


@network_names.register("own-module", about="as people write networks")
def build(*, channels, classes, resolution):
    from torch import nn

    return nn.Sequential(
        nn.Sequential(nn.Conv2d(channels, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        nn.Sequential(nn.Conv2d(6, 9, 3, padding=1), nn.ReLU()),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(9, classes),
    )
"""


def test_any_module_is_a_network_with_stages_and_embedding(folder: Path) -> None:
    (folder / "own_module.py").write_text(MODULE)
    network = networks.build("own-module", classes=4, channels=1, resolution=8, seed=0)
    assert network.training
    found = network.eval().features(torch.rand(2, 1, 8, 8))
    assert [tuple(s.shape[1:]) for s in found.stages] == [(6, 8, 8), (9, 4, 4)]
    weight, bias = network.backbone.model[4].weight, network.backbone.model[4].bias
    torch.testing.assert_close(found.logits, found.embedding @ weight.T + bias)
    assert network.backbone.head_names() == {"model.4.weight", "model.4.bias"}


def test_a_recipe_names_the_files_that_it_needs_with_their_hashes(folder: Path) -> None:
    made = recipe.parse(
        {
            "data": {"name": "stripes"},
            "student": {"model": "tiny"},
            "teacher": {"model": "cnn-2x8"},
            "distill": {"preset": "rising"},
        }
    )
    files = ("own_data.py", "own_method.py", "own_network.py")
    hashes = {f: hashlib.sha256((folder / f).read_bytes()).hexdigest() for f in files}
    assert made.plugins() == hashes
    assert made.with_({"student/model": "cnn-2x8"}).plugins() == {
        f: hashes[f] for f in files if f != "own_network.py"
    }
    assert recipe.parse({}).plugins() == {}


def test_reproduce_says_when_such_a_file_differs_or_is_missing(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from autokd.export import claim, explanations
    from tests.helpers.recipes import claimed

    made = recipe.parse(
        {
            "data": {"name": "digits", "limit": 50},
            "student": {"model": "tiny"},
            "teacher": {"model": "tiny", "train": {"epochs": 1}},
            "train": {"epochs": 1},
        }
    )
    file = tmp_path / "recipe.yaml"
    text = claimed(made)
    named = f"plugins: {json.dumps(made.plugins())}"
    block = "provenance:\n"
    file.write_text(text.replace(block, f"{block}  {named}\n", 1))
    assert named in file.read_text()
    own = claim.read(file)
    assert not [r for r in explanations.explanations(own, "cpu", {}) if r.startswith("plugin")]
    (folder / "own_network.py").write_text(NETWORK + "# another\n")
    (said,) = [r for r in explanations.explanations(own, "cpu", {}) if r.startswith("plugin")]
    assert said.startswith("plugin own_network.py: SHA-256 ") and " recorded, " in said
    (folder / "own_network.py").unlink()
    with pytest.raises(UserError, match="was made with own_network.py, which is in no folder"):
        claim.read(file)
