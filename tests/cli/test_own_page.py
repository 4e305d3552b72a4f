"""docs/OWN.md: its files are written and every command on it is run, in the order of the page."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch

from autokd.recipe import network_names, plugins
from tests.helpers.commands import ROOT
from tests.helpers.pictures import tree
from tests.networks import hubs

PAGE = (ROOT / "docs" / "OWN.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def test_the_page_has_its_blocks() -> None:
    assert len(re.findall("^```", PAGE, re.MULTILINE)) == 2 * len(BLOCKS)
    assert sum(kind == "console" for kind, _ in BLOCKS) >= 7


@pytest.mark.long
def test_every_command_of_the_page_runs(
    tmp_path: Path, run: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    hubs.empty(tmp_path, monkeypatch)
    torch.manual_seed(0)
    hubs.publish(tmp_path, "test_vit", timm.create_model("test_vit"))
    tree(tmp_path / "pets", {"cat": 16, "dog": 16})
    monkeypatch.setattr(plugins, "_loaded", set())
    monkeypatch.setattr(network_names, "_CARDS", dict(network_names._CARDS))
    ran = 0
    for kind, text in BLOCKS:
        if kind != "console":
            name = re.match(r"# ([\w./]+)", text)
            assert name, text
            file = tmp_path / name[1]
            file.parent.mkdir(exist_ok=True)
            file.write_text(text if kind != "text" else text.partition("\n")[2])
            continue
        for line in text.splitlines():
            assert line.startswith("$ "), line
            words = shlex.split(line.removeprefix("$ "))
            env = dict(word.split("=", 1) for word in words[: words.index("autokd")])
            if env:
                monkeypatch.setattr(plugins, "_done", False)
            code, out, err = run(*words[words.index("autokd") + 1 :], **env)
            assert code == 0, f"{line}\n{out}\n{err}"
            if "--out" in words:
                assert (tmp_path / words[words.index("--out") + 1] / "student.safetensors").exists()
            ran += 1
    assert ran == sum(text.count("$ ") for kind, text in BLOCKS if kind == "console") >= 9
