"""Combinations, presets, and the page of papers."""

from __future__ import annotations

import importlib
from typing import Any

import pytest

from autokd import space
from autokd.recipe import axes, check
from autokd.recipe.document import Document
from autokd.space.tree import Leaf
from tests.helpers.commands import ROOT, python
from tests.methods.conformance import registered
from tests.methods.runs import PRESETS, made

REFUSED = [
    ({"target": {"kind": "shift"}, "view": {"kind": "mixup"}}, "distill/target"),
    ({"target": {"kind": "shift"}, "view": {"kind": "cutmix"}}, "distill/target"),
    (
        {"target": {"kind": "smooth"}, "view": {"kind": "mixup", "teacher": "virtual"}},
        "distill/target",
    ),
    ({"target": {"kind": "smooth"}, "losses": {"lskd": {}}}, "distill/losses/lskd"),
    ({"losses": {"ce": {}, "scratch_l2": {}}}, "distill/losses/scratch_l2"),
    (
        {"losses": {"ce": {}, "scratch_attention": {}}, "teaching": {"kind": "dense"}},
        "distill/losses/scratch_attention",
    ),
    ({"teaching": {"kind": "collaborative", "scratch": "resnet21"}}, "distill/teaching/scratch"),
    ({"target": {"kind": "smooth", "eps": 0.0}}, "distill/target/eps"),
    ({"teaching": {"kind": "curriculum", "warm": -1}}, "distill/teaching/warm"),
]


@pytest.mark.parametrize(("block", "path"), REFUSED)
def test_refused_with_a_reason(block: dict[str, Any], path: str) -> None:
    recipe, findings = check({"distill": block})
    assert recipe is None and [f.path for f in findings] == [path] and all(f.rule for f in findings)


@pytest.mark.parametrize("preset", PRESETS)
def test_preset_is_complete(preset: str) -> None:
    p = axes.presets()[preset]
    assert p.summary and "\n" not in p.summary and len(p.summary) < 100 and p.paper
    assert p.recommended or p.paper == "control"
    base = {"ladder": ["cnn-2x8"], "distill": {"preset": "kd"}}
    document = {
        "base": "-",
        "search": {"trials": 1},
        "vary": {"distill": {"one_of": [{"preset": preset}], "free": "recommended"}},
    }
    found = space.build(Document(document), Document(base))
    own = made({"distill/preset": preset}).distill
    for path, spec in p.recommended.items():
        assert "prior" not in spec or spec["prior"] == value_at(own, path), (
            "the prior is what the preset says"
        )
    for leaf in (leaf for leaf in found.leaves() if isinstance(leaf, Leaf)):
        assert leaf.prior is None or leaf.contains(leaf.prior)


def value_at(data: Any, path: str) -> Any:
    for key in path.split("/"):
        data = data[key]
    return data


def test_papers_page_is_current(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    papers = importlib.import_module("papers")
    page = (ROOT / papers.PAGE).read_text(encoding="utf-8")
    assert page == papers.page(), "run python docs/papers.py"
    for axis, kind in registered():
        assert f"### `{axis}/{kind}`" in page
    for preset in PRESETS:
        assert f"### Preset `{preset}`" in page


def test_measured_is_the_newest_table_of_a_title(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    papers = importlib.import_module("papers")
    table = (
        "| preset | accuracy % | against student alone | against reference KD |\n|---|---|---|---|"
    )
    log = f"""# Log

## 2027-01-02: all, digits

Said of it.

{table}
| kd | 90.0 ± 1.0 | +2.0 [+1.0, +3.0] better | – |

## 2027-01-01: few, digits

{table}
| kd | 80.0 ± 1.0 | diverged | – |

## 2026-12-31: CQKD

| tau | accuracy |
|---|---|
| kd | 1 |

## 2026-12-30: all, digits

{table}
| kd | 70.0 ± 1.0 | – | – |
| at | 60.0 ± 1.0 | – | – |
"""
    assert papers.measured(log) == {
        "kd": [
            ["all, digits, 2027-01-02", "90.0 ± 1.0", "+2.0 [+1.0, +3.0] better", "–"],
            ["few, digits, 2027-01-01", "80.0 ± 1.0", "diverged", "–"],
        ]
    }
    own = papers.measured((ROOT / "docs/LOG.md").read_text(encoding="utf-8"))
    assert set(own) <= set(PRESETS) and all(len(row) == 4 for rows in own.values() for row in rows)


def test_papers_page_is_light() -> None:
    program = f"""
        import sys
        sys.path.insert(0, {str(ROOT / "docs")!r})
        import papers
        papers.page()
        heavy = ("torch", "numpy", "scipy", "ray", "mlflow", "optuna")
        print([m for m in heavy if m in sys.modules])
    """
    assert python(program).stdout.strip() == "[]"
