"""Look-ups answer without loading what only work needs."""

from __future__ import annotations

from pathlib import Path

from tests.helpers.commands import ROOT, python

HEAVY = "torch torchvision ray mlflow optuna numpy sklearn scipy plotly timm PIL".split()
DTD, DIGITS = ROOT / "search_spaces/dtd.yaml", ROOT / "pipelines/digits.yaml"


def loaded(commands: list[list[object]], cwd: Path) -> None:
    """The commands, one after the other in one process, load nothing of ``HEAVY``."""
    python(
        f"""
        import sys
        from autokd.cli import main

        for args in {[[str(word) for word in args] for args in commands]!r}:
            sys.argv = ["autokd", *args]
            try:
                main()
            except SystemExit as e:
                assert not e.code, e.code
            found = set(sys.modules) & {set(HEAVY)!r}
            assert not found, f"{{' '.join(args)}} loads {{found}}"
        """,
        cwd=cwd,
    )


def test_look_ups_load_nothing_heavy(tmp_path: Path) -> None:
    loaded(
        [
            ["--help"],
            ["search", "--help"],
            ["validate", DTD, DIGITS],
            ["show", DTD],
            ["methods"],
            ["models"],
            ["datasets"],
            ["studies"],
            ["schema", "recipe"],
            ["schema", "space"],
        ],
        tmp_path,
    )


def test_look_ups_of_recipes_load_nothing_heavy(home: Path) -> None:
    recipe = "out/recipe.yaml"
    loaded([["diff", "base.yaml", recipe], ["validate", recipe], ["show", recipe]], home)
