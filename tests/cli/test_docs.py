"""The pages of docs/: what is generated is up to date, commands are understood, messages exist, and
what is shown as a file is one.

A block of commands is run by a test of its own, or says why it is not: the line before it is
``<!-- not run: why -->``. Either way the command line has to understand it.
"""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from autokd import space
from autokd.cli.app import app
from tests.helpers.commands import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
RUN = {"OWN.md"}  # by tests/cli/test_own_page.py


def blocks(page: Path) -> Iterator[tuple[str, str]]:
    """The line before each block of commands, and the block."""
    text = page.read_text(encoding="utf-8")
    for found in re.finditer(r"(?:^([^\n]*)\n)?^```console\n(.*?)^```$", text, re.M | re.S):
        yield found[1] or "", found[2]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_are_understood_and_run_or_say_why_not(page: Path) -> None:
    root = typer.main.get_command(app)
    for before, block in blocks(page):
        assert page.name in RUN or re.fullmatch(r"<!-- not run: .{10,} -->", before), block
        for line in block.splitlines():
            words = shlex.split(line.removeprefix("$ "), comments=True)
            if "autokd" not in words:
                continue
            name, *rest = words[words.index("autokd") + 1 :]
            sub = root.commands[name]  # type: ignore[attr-defined]
            sub.make_context(name, rest)  # raises where an option or argument is unknown


@pytest.mark.parametrize("name", ["REFERENCE.md", "COMMANDS.md"])
def test_generated_pages_are_up_to_date(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(ROOT / "docs"), *sys.path])
    import reference

    assert (ROOT / "docs" / name).read_text(encoding="utf-8") == reference.pages()[name], (
        "run `uv run python docs/reference.py`"
    )


def test_every_key_of_the_search_block_is_in_the_reference() -> None:
    text = (ROOT / "docs/REFERENCE.md").read_text(encoding="utf-8")
    for key in ("objective", "constraints", "forbid", "baselines", "group_by", "finalists"):
        assert re.search(rf"`(search/)?{key}`", text), key


def test_messages_of_the_troubleshooting_page_are_the_program_s() -> None:
    source = "".join(p.read_text(encoding="utf-8") for p in (ROOT / "autokd").rglob("*.py"))
    joined = re.sub(r'"\s*\n\s*f?"', "", source)  # strings that go over lines
    page = (ROOT / "docs/TROUBLESHOOTING.md").read_text(encoding="utf-8")
    headings = re.findall(r"^### (.*)$", page, re.M)
    assert len(headings) > 15
    assert [h for h in headings if h not in joined] == []


def test_the_first_search_s_space_is_one(tmp_path: Path) -> None:
    text = (ROOT / "docs/FIRST_SEARCH.md").read_text(encoding="utf-8")
    block = re.findall(r"^```yaml\n(.*?)^```$", text, re.M | re.S)[0]
    file = tmp_path / "space.yaml"
    file.write_text(block.replace("../pipelines", str(ROOT / "pipelines")), encoding="utf-8")
    assert space.load(file).search.finalists.seeds == 5
