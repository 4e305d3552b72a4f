"""The store of networks and tables: what it holds may be damaged, cut short, evicted or impossible to write; a student never differs."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from autokd import cache, distill, models, store, teachers
from autokd.cache import Held, room
from autokd.document import UserError
from autokd.store import Store, load_checked
from autokd.views import Views
from tests.conftest import RECIPE, autokd
from tests.test_run import VARIANTS, made, student

ROOT = Path(__file__).parent.parent


def in_a_process(program: str, **settings: Any) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **settings)


def tables(root: Path) -> list[Path]:
    return sorted((root / "tables").rglob("*.safetensors"))


# What goes when there is no room


def held(**shelves: tuple[float, bool, list[int]]) -> dict[str, Held]:
    """Tables of 10 bytes, by epoch."""
    return {name: Held(used, busy, {cache.table_name(e, name): 10 for e in epochs}) for name, (used, busy, epochs) in shelves.items()}


@pytest.mark.parametrize(
    ("there", "epoch", "budget", "gone"),
    [
        (held(own=(1, True, [0, 1])), 2, 30, []),
        (held(own=(1, True, [0, 1, 2])), 3, 30, ["own 2"]),  # the new one is kept in place of the highest
        (held(own=(1, True, [0])), 2, 10, None),  # but not in place of the first, which every trial reads
        (held(own=(1, True, [0, 1, 3])), 2, 30, ["own 3"]),
        (held(own=(1, True, [0, 1, 3, 4])), 2, 30, ["own 4", "own 3"]),
        (held(own=(3, True, [0]), old=(1, False, [0, 1]), new=(2, False, [0])), 1, 40, ["old 0", "old 1"]),  # a whole setting, the oldest
        (held(own=(3, True, [0]), old=(1, False, [0, 1]), new=(2, False, [0])), 1, 29, ["old 0", "old 1", "new 0"]),
        (held(own=(3, True, [0, 5]), other=(1, True, [0, 7]), idle=(2, False, [0])), 1, 30, ["idle 0", "other 7", "own 5"]),
        (held(own=(3, True, [0]), other=(1, True, [1])), 1, 20, None),  # two runs in one epoch do not evict each other in turn
        (held(own=(3, False, [0, 9])), 1, 20, ["own 9"]),  # the asker's own setting is in use
        (held(own=(3, True, [2])), 2, 10, []),  # a damaged table gives way to its own successor
        ({}, 0, 0, None),
        (held(idle=(0, False, [0])), 0, 5, None),  # what never fits pushes nothing out
    ],
)
def test_unused_settings_go_first_then_the_highest_epochs(there: dict[str, Held], epoch: int, budget: int, gone: list[str] | None) -> None:
    found = room(there, "own", cache.table_name(epoch, "own"), 10, budget)
    assert (None if found is None else [f"{s} {int(n[: cache.EPOCH_DIGITS])}" for s, n in found]) == gone


@pytest.mark.parametrize("name", ["kd", "curriculum", "mixup", "collaborative"])
@pytest.mark.parametrize("share", [0.0, "one", 0.5])
def test_a_budget_changes_what_is_kept_and_no_student(name: str, share: float | str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
    shelf = s.shelf("a setting")
    for _ in range(3):
        for e in range(6):
            s.table(shelf, e, None, lambda: table, "")
    assert s.counts["tables read"] == 2 * 2 and s.counts["tables made"] == 6 + 2 * 4  # least recently used: no hit at all
    del shelf
    other = s.shelf("another")
    for e in range(3):
        s.table(other, e, None, lambda: table, "")
    assert set(s._memory) == {other.name}  # a setting that nobody holds gives way whole


def test_a_setting_that_a_run_holds_is_not_taken_for_unused(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from autokd.store import Store\n"
        f"s = Store(Path({str(tmp_path)!r})); shelf = s.shelf('held'); print(shelf.name, flush=True); sys.stdin.read()"
    )
    other = in_a_process(program, stdin=subprocess.PIPE)
    assert other.stdout
    name = other.stdout.readline().strip()
    assert cache.shelves(tmp_path / "tables")[name].busy

    other.kill()  # as a run that is killed: the kernel gives the lock back
    other.communicate()
    assert not cache.shelves(tmp_path / "tables")[name].busy


def test_a_table_that_is_evicted_while_it_is_read_is_read_to_its_end(tmp_path: Path) -> None:
    s = Store(tmp_path)
    shelf = s.shelf("a setting")
    read = s.table(shelf, 0, None, lambda: {"logits": torch.arange(1000.0)}, "")["logits"]
    again = Store(tmp_path)
    mapped = again.table(again.shelf("a setting"), 0, None, pytest.fail, "")["logits"]
    cache.evict(tmp_path / "tables", [(shelf.name, p.stem) for p in tables(tmp_path)])
    assert not tables(tmp_path) and torch.equal(mapped, read)
    fresh = Store(tmp_path)
    assert torch.equal(fresh.table(fresh.shelf("a setting"), 0, None, lambda: {"logits": torch.arange(1000.0)}, "")["logits"], read)
    assert fresh.counts["tables made"] == 1


@pytest.mark.parametrize(("text", "size"), [("20GB", 20 * 10**9), ("500 mb", 5 * 10**8), ("1.5GiB", 3 * 2**29), ("0", 0), ("123", 123)])
def test_sizes(text: str, size: int) -> None:
    assert cache.bytes_of(text) == size


@pytest.mark.parametrize("text", ["much", "-1", "5 XB", "1e3"])
def test_what_is_no_size_is_said(text: str) -> None:
    with pytest.raises(UserError, match="AUTOKD_CACHE_SIZE"):
        cache.bytes_of(text)


def test_the_command_shows_sizes_and_budget(tmp_path: Path) -> None:
    student(made(), Store(tmp_path / "cache"))
    shown = autokd("cache", cwd=tmp_path, AUTOKD_CACHE_SIZE="20MB").stdout
    assert "tables 5 files" in " ".join(shown.split()) and "networks 1 files" in " ".join(shown.split()) and "tables may take 20 MB" in shown
    assert "tables 0 files" in " ".join(autokd("cache", "--clear", "tables", cwd=tmp_path).stdout.split())


def test_a_budget_that_is_no_size_ends_a_command_before_it_works(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(RECIPE)
    said = autokd("train", "r.yaml", "--out", "out", cwd=tmp_path, code=2, AUTOKD_CACHE_SIZE="plenty").stderr
    assert said.strip() == "error: AUTOKD_CACHE_SIZE=plenty: expected a size such as 20GB, 500MB or 0"


# What is damaged, cut short or cannot be written


def test_every_flipped_byte_and_every_length_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "t.safetensors"
    store.save_checked({"logits": torch.arange(12.0).half().reshape(4, 3)}, path, "x")
    raw = path.read_bytes()
    whole = load_checked(path)
    assert whole is not None
    for cut in range(len(raw)):
        path.write_bytes(raw[:cut])
        assert load_checked(path) is None, cut
    for at in range(len(raw)):
        path.write_bytes(raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :])
        found = load_checked(path)  # a flip in the words about the table leaves the table whole
        assert found is None or torch.equal(found["logits"], whole["logits"]), at


def test_a_file_is_read_through_once_a_process_and_again_when_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sums: list[int] = []
    real = store._checksum
    Store(tmp_path).table(Store(tmp_path).shelf("s"), 0, None, lambda: {"logits": torch.ones(9)}, "")
    monkeypatch.setattr(store, "_checksum", lambda t: sums.append(1) or real(t))
    s = Store(tmp_path, memory_bytes=0)
    shelf = s.shelf("s")
    for _ in range(3):
        s.table(shelf, 0, None, pytest.fail, "")
    assert len(sums) == 1
    (path,) = tables(tmp_path)
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)
    os.utime(path, ns=(1, 1))
    assert torch.equal(s.table(shelf, 0, None, lambda: {"logits": torch.ones(9)}, "")["logits"], torch.ones(9))
    assert s.counts["tables made"] == 1


def test_a_full_disk_is_said_once_and_changes_no_student(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    r = made()
    whole = student(r)

    def full(tensors: Any, name: str, **_: Any) -> None:
        Path(name).write_bytes(b"half of it")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(store, "save_file", full)
    assert student(r, Store(tmp_path)) == whole
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith("warning: ") and "No space left" in said
    assert not [p for p in tmp_path.rglob("*") if p.is_file() and not p.name.endswith(".lock") and p.name != cache.USED]


def test_a_limit_on_file_sizes_is_survived_as_a_full_disk_is(tmp_path: Path) -> None:
    """The same from the system itself: no file may grow beyond 1,000 bytes."""
    program = (
        "from pathlib import Path\n"
        "from tests.test_run import made, student\nfrom autokd.store import Store\n"
        f"print(student(made(), Store(Path({str(tmp_path)!r}))))"
    )
    done = in_a_process(program, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)))
    out, err = done.communicate()
    assert done.returncode == 0 and out.strip() == student(made()), err
    assert err.count("going on without") == 1 and not tables(tmp_path) and not list(tmp_path.rglob(".part-*"))


def test_a_run_that_is_killed_while_it_writes_leaves_nothing_that_is_read(tmp_path: Path) -> None:
    program = (
        "import os, signal\nfrom pathlib import Path\nfrom autokd import store\nfrom tests.test_run import made, student\n"
        "real, left = store.save_file, [3]\n"
        "def save(tensors, name, **settings):\n"
        "    real(tensors, name, **settings)\n"
        "    left[0] -= 1\n"
        "    if not left[0]:\n"
        "        raw = Path(name).read_bytes(); Path(name).write_bytes(raw[:len(raw) // 2])\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "store.save_file = save\n"
        f"student(made(), store.Store(Path({str(tmp_path)!r})))"
    )
    killed = in_a_process(program)
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    assert len(list(tmp_path.rglob(".part-*"))) == 1 and len(list(tmp_path.rglob("*.lock")))
    again = Store(tmp_path)
    assert student(made(), again) == student(made())
    assert again.counts["networks trained"] == 0 and again.counts["tables made"] == 4  # the teacher was whole, and one table of five
    assert not list(tmp_path.rglob(".part-*"))


def test_a_lock_that_a_killed_process_left_holds_nobody_up(tmp_path: Path) -> None:
    student(made(), Store(tmp_path))
    locks = list(tmp_path.rglob("*.lock"))
    assert locks
    for path in tables(tmp_path):
        path.unlink()
    program = (
        "import os, signal, sys\nfrom filelock import FileLock\n"
        f"held = [FileLock(p) for p in {[str(p) for p in locks]!r}]\n"
        "[lock.acquire() for lock in held]\nos.kill(os.getpid(), signal.SIGKILL)"
    )
    in_a_process(program).communicate()
    assert all(p.exists() for p in locks)
    assert student(made(), Store(tmp_path)) == student(made())


@pytest.mark.parametrize("size", ["1GB", "10kB"])
def test_two_processes_share_the_work_and_the_budget(size: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOKD_CACHE_SIZE", size)
    program = (
        "from pathlib import Path\nfrom autokd.store import Store\nfrom tests.test_run import made, student\n"
        f"s = Store(Path({str(tmp_path)!r}))\n"
        "print(student(made('ladder=[cnn-3x8]', 'distill={preset: takd}'), s), s.counts['networks trained'], s.counts['tables made'])"
    )
    both = [in_a_process(program) for _ in range(2)]
    said = [p.communicate() for p in both]
    assert [p.returncode for p in both] == [0, 0], said
    (one, *counts), (two, *others) = (out.split() for out, _ in said)
    assert one == two == student(made("ladder=[cnn-3x8]", "distill={preset: takd}"))
    alone = Store(None)
    student(made("ladder=[cnn-3x8]", "distill={preset: takd}"), alone)
    assert int(counts[0]) + int(others[0]) == alone.counts["networks trained"] == 2
    made_by_both, kept = int(counts[1]) + int(others[1]), sum(p.stat().st_size for p in tables(tmp_path))
    assert made_by_both == alone.counts["tables made"] if size == "1GB" else 0 < kept <= 10_000


# What a table depends on, and who is asked how often


@pytest.mark.parametrize("setting", ["train/batch_size=10", "train/threads=2", "student/resolution=4"])
def test_a_table_s_bytes_do_not_depend_on_the_student_s(setting: str, tmp_path: Path) -> None:
    for root, sets in (("one", ()), ("two", (setting,))):
        student(made("data/augment/crop_padding=1", *sets), Store(tmp_path / root))
    one, two = (tables(tmp_path / root) for root in ("one", "two"))
    assert [p.relative_to(tmp_path / "one") for p in one] == [p.relative_to(tmp_path / "two") for p in two] and len(one) == 5
    for a, b in zip(one, two, strict=True):
        assert torch.equal(load_file(a)["logits"].view(torch.int16), load_file(b)["logits"].view(torch.int16))


def passes(r: distill.Recipe) -> dict[str, int]:
    """Pictures that went through each teacher in one epoch, in epochs' worth of training pictures (validation left out)."""
    run = distill.Run(r, Store(None))
    for member in run.members:
        member.validation()
    seen = dict.fromkeys((m.name for m in run.members), 0)
    for member in run.members:
        features = member.network.features

        def counted(pictures: torch.Tensor, name: str = member.name, features: Callable[..., Any] = features) -> Any:
            seen[name] += len(pictures)
            return features(pictures)

        def forward(pictures: torch.Tensor, counted: Callable[..., Any] = counted) -> torch.Tensor:
            return counted(pictures).logits

        member.network.features, member.network.forward = counted, forward
    run.epoch()
    return seen


BOTH = "losses: {ce: {}, kl: {}, attention: {weight: 10.0}}"


@pytest.mark.parametrize(
    ("sets", "expected"),
    [
        ((f"distill={{{BOTH}}}",), {"cnn-3x16": 100}),  # features and logits: one pass, of the very batches
        (("distill={preset: kd}",), {"cnn-3x16": teachers.BATCH}),  # logits alone: one table, of padded batches
        (
            (f"distill={{{BOTH}, teaching: {{kind: dense}}}}", "ladder=[cnn-3x8]"),
            {"cnn-3x8": teachers.BATCH, "cnn-3x16": 100},
        ),
        ((f"distill={{{BOTH}, view: {{kind: mixup}}}}",), {"cnn-3x16": 100}),
    ],
)
def test_a_teacher_is_run_once_where_features_and_logits_are_needed(sets: tuple[str, ...], expected: dict[str, int]) -> None:
    assert passes(made(*sets)) == expected


@pytest.mark.parametrize(
    "more", [(), ("train/precision=bf16",), ("train/optimizer=adamw", "train/lr=0.002"), ("distill/view={kind: mixup}",), ("train/batch_size=33",)]
)
def test_a_tabled_scratch_teacher_teaches_as_one_trained_beside_the_student(more: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    r = made("distill={preset: ctkd}", *more)
    tabled, metrics = distill.train(r, Store(None))
    assert tabled.trajectory and not tabled.scratch
    # A loss of no weight that reads the scratch teacher's maps makes no difference but that the run trains it beside the student.
    monkeypatch.setattr(type(r), "reads", property(lambda r: {"scratch_stages"}))
    beside, others = distill.train(r, Store(None))
    assert beside.scratch and not beside.trajectory
    assert models.weights_hash(tabled.student) == models.weights_hash(beside.student)
    assert "val/scratch_accuracy" in metrics
    assert metrics == others


@pytest.mark.parametrize(
    ("sets", "table"),
    [
        (("distill={preset: ctkd}",), True),
        (("distill={preset: ctkd-scratch}",), False),
        (("distill={preset: ctkd-scratch}", "distill/losses/scratch_attention/weight=0"), True),
        (("distill={preset: ctkd}", "distill/teaching/share_stem=true", "student/model=cnn-2x16"), False),
    ],
)
def test_only_a_scratch_teacher_that_the_student_cannot_reach_is_tabled(sets: tuple[str, ...], table: bool) -> None:
    assert bool(distill.Run(made(*sets), Store(None)).trajectory) == table


def test_a_trajectory_is_trained_once_for_all_students_and_again_for_another_order(tmp_path: Path) -> None:
    s = Store(tmp_path)
    student(made("distill={preset: ctkd}"), s)
    run, _ = distill.train(made("distill={preset: ctkd}", "distill/losses/scratch_l2/weight=0.1", "student/model=cnn-2x16"), s)
    assert run.trajectory and run.trajectory.run is None  # nothing of it was trained again
    other, _ = distill.train(made("distill={preset: ctkd}", "train/batch_size=10"), s)
    assert other.trajectory and other.trajectory.run is not None


def test_views_of_another_epoch_are_another_table(tmp_path: Path) -> None:
    run = distill.Run(made("data/augment/flip=true"), Store(tmp_path))
    member = run.members[-1]
    pictures = run.data.train.pictures
    one, two = (member.table(Views(pictures, run.recipe.data.augment, 0, e), None) for e in (0, 1))
    assert one.dtype == torch.float16 and not torch.equal(one, two)
    assert len(tables(tmp_path)) == 2 and len({p.parent for p in tables(tmp_path)}) == 1  # of one view setting
