"""What goes when the store is full, and what a run holds."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from autokd import cache
from autokd.cache import Held, to_evict
from autokd.errors import UserError
from autokd.train.store import Store
from tests.helpers.runs import VARIANTS, made, student
from tests.train.stores import in_a_process, tables


def held(**shelves: tuple[float, bool, list[int]]) -> dict[str, Held]:
    """Tables of 10 bytes, by epoch."""
    return {
        name: Held(used, busy, {cache.table_name(e, name): 10 for e in epochs})
        for name, (used, busy, epochs) in shelves.items()
    }


@pytest.mark.parametrize(
    ("there", "epoch", "budget", "gone"),
    [
        (held(own=(1, True, [0, 1])), 2, 30, []),
        (
            held(own=(1, True, [0, 1, 2])),
            3,
            30,
            ["own 2"],
        ),  # the new one is kept in place of the highest
        (
            held(own=(1, True, [0])),
            2,
            10,
            None,
        ),  # but not in place of the first, which every trial reads
        (held(own=(1, True, [0, 1, 3])), 2, 30, ["own 3"]),
        (held(own=(1, True, [0, 1, 3, 4])), 2, 30, ["own 4", "own 3"]),
        (
            held(own=(3, True, [0]), old=(1, False, [0, 1]), new=(2, False, [0])),
            1,
            40,
            ["old 0", "old 1"],
        ),  # a whole setting, the oldest
        (
            held(own=(3, True, [0]), old=(1, False, [0, 1]), new=(2, False, [0])),
            1,
            29,
            ["old 0", "old 1", "new 0"],
        ),
        (
            held(own=(3, True, [0, 5]), other=(1, True, [0, 7]), idle=(2, False, [0])),
            1,
            30,
            ["idle 0", "other 7", "own 5"],
        ),
        (
            held(own=(3, True, [0]), other=(1, True, [1])),
            1,
            20,
            None,
        ),  # two runs in one epoch do not evict each other in turn
        (held(own=(3, False, [0, 9])), 1, 20, ["own 9"]),  # the asker's own setting is in use
        (held(own=(3, True, [2])), 2, 10, []),  # a damaged table gives way to its own successor
        ({}, 0, 0, None),
        (held(idle=(0, False, [0])), 0, 5, None),  # what never fits pushes nothing out
    ],
)
def test_unused_settings_go_first_then_the_highest_epochs(
    there: dict[str, Held], epoch: int, budget: int, gone: list[str] | None
) -> None:
    found = to_evict(there, "own", cache.table_name(epoch, "own"), 10, budget)
    assert (
        None if found is None else [f"{s} {int(n[: cache.EPOCH_DIGITS])}" for s, n in found]
    ) == gone


@pytest.mark.parametrize("name", ["kd", "curriculum", "mixup", "collaborative"])
@pytest.mark.parametrize("share", [0.0, "one", 0.5])
def test_a_budget_changes_what_is_kept_and_no_student(
    name: str, share: float | str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    r = made(*VARIANTS[name], "train/epochs=6")
    whole = student(r, Store(tmp_path / "all"))
    sizes = [p.stat().st_size for p in tables(tmp_path / "all")]
    budget = max(sizes) if share == "one" else int(sum(sizes) * float(share))
    monkeypatch.setenv("AUTOKD_CACHE_SIZE", str(budget))
    for _ in range(2):
        assert student(r, Store(tmp_path / "part")) == whole
        kept = tables(tmp_path / "part")
        assert sum(p.stat().st_size for p in kept) <= budget
        assert bool(kept) == bool(budget)
    for setting in {p.parent for p in kept}:  # the first epochs are what is kept
        epochs = sorted(int(p.name[: cache.EPOCH_DIGITS]) for p in kept if p.parent == setting)
        assert epochs[:-1] == list(range(len(epochs) - 1))  # and the last one that was made


def test_memory_keeps_the_first_epochs_of_a_scan(tmp_path: Path) -> None:
    table = {"logits": torch.zeros(100, dtype=torch.uint8)}
    s = Store(None, memory_bytes=350)
    shelf = s.view_tables("a setting")
    for _ in range(3):
        for e in range(6):
            s.table(shelf, e, None, lambda: table, "")
    # least recently used: no hit at all
    assert s.counts["tables read"] == 2 * 2
    assert s.counts["tables made"] == 6 + 2 * 4
    del shelf
    other = s.view_tables("another")
    for e in range(3):
        s.table(other, e, None, lambda: table, "")
    assert set(s._memory) == {other.name}  # a setting that nobody holds gives way whole


def test_a_setting_that_a_run_holds_is_not_taken_for_unused(tmp_path: Path) -> None:
    program = f"""
        import sys
        from pathlib import Path
        from autokd.train.store import Store
        s = Store(Path({str(tmp_path)!r}))
        shelf = s.view_tables("held")
        print(shelf.name, flush=True)
        sys.stdin.read()
    """
    other = in_a_process(program, stdin=subprocess.PIPE)
    assert other.stdout
    name = other.stdout.readline().strip()
    assert cache.tables_on_disk(tmp_path / "tables")[name].busy

    other.kill()  # as a run that is killed: the kernel gives the lock back
    other.communicate()
    assert not cache.tables_on_disk(tmp_path / "tables")[name].busy


def test_a_table_that_is_evicted_while_it_is_read_is_read_to_its_end(tmp_path: Path) -> None:
    s = Store(tmp_path)
    shelf = s.view_tables("a setting")
    read = s.table(shelf, 0, None, lambda: {"logits": torch.arange(1000.0)}, "")["logits"]
    again = Store(tmp_path)
    mapped = again.table(again.view_tables("a setting"), 0, None, pytest.fail, "")["logits"]
    cache.evict(tmp_path / "tables", [(shelf.name, p.stem) for p in tables(tmp_path)])
    assert not tables(tmp_path) and torch.equal(mapped, read)
    fresh = Store(tmp_path)
    assert torch.equal(
        fresh.table(
            fresh.view_tables("a setting"), 0, None, lambda: {"logits": torch.arange(1000.0)}, ""
        )["logits"],
        read,
    )
    assert fresh.counts["tables made"] == 1


@pytest.mark.parametrize(
    ("text", "size"),
    [("20GB", 20 * 10**9), ("500 mb", 5 * 10**8), ("1.5GiB", 3 * 2**29), ("0", 0), ("123", 123)],
)
def test_sizes(text: str, size: int) -> None:
    assert cache.bytes_of(text) == size


@pytest.mark.parametrize("text", ["much", "-1", "5 XB", "1e3"])
def test_what_is_no_size_is_said(text: str) -> None:
    with pytest.raises(UserError, match="AUTOKD_CACHE_SIZE"):
        cache.bytes_of(text)


def test_the_command_shows_sizes_and_budget(tmp_path: Path, run: Callable) -> None:
    student(made(), Store(tmp_path / "cache"))
    shown = run("cache", AUTOKD_CACHE_SIZE="20MB")[1]
    assert "tables 5 files" in " ".join(shown.split())
    assert "networks 1 files" in " ".join(shown.split())
    assert "tables may take 20 MB" in shown
    assert "tables 0 files" in " ".join(run("cache", "--clear", "tables")[1].split())


def test_a_budget_that_is_no_size_ends_a_command_before_it_works(
    recipe_file: Path, run: Callable
) -> None:
    code, _, err = run("train", "base.yaml", "--out", "out", AUTOKD_CACHE_SIZE="plenty")
    said = "error: AUTOKD_CACHE_SIZE=plenty: expected a size such as 20GB, 500MB or 0"
    assert code == 2 and err.strip() == said
