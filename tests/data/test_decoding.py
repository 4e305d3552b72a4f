"""Pictures decoded by threads and processes: the same bytes, flat memory, nothing left behind."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
import tracemalloc
import types
from pathlib import Path
from typing import Any

import psutil
import pytest

from autokd.data import decoding, packfile, packing, packs, pools, sources
from autokd.errors import UserError
from tests.data.decoding import DECODING, decode_by, left_behind
from tests.helpers.pictures import packed, tree


def test_decoding_side_by_side_gives_the_same_bytes_and_the_same_faults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tree(tmp_path / "pets", {"cat": 90, "dog": 71}, (20, 30))
    files = {}
    tree(root, {"cat": 30}, (31, 17), seed=3)
    broken = {
        path: path.read_bytes() for path in (root / "cat" / "004.png", root / "dog" / "069.png")
    }
    for how in DECODING:
        decode_by(how, monkeypatch)
        pack = packed(root)
        assert pack.file and len(pack.paths()) == 161
        for path in broken:
            path.write_text("x")
        with pytest.raises(
            UserError, match="cat/004.png: cannot be read"
        ):  # the first in the order of the files, not of the processes
            packed(root)
        skipped = packed(root, on_error="skip")
        assert [Path(s["path"]) for s in skipped.skipped] == list(broken) and skipped.file
        files[how] = [pack.fingerprint, skipped.file.read_bytes(), skipped.fingerprint]
        assert not left_behind(tmp_path / "cache")
        for path, content in broken.items():
            path.write_bytes(content)
        shutil.rmtree(tmp_path / "cache")
    assert files["one by one"] == files["threads"] == files["processes"]


def test_processes_are_for_many_files_and_never_beside_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in [name for name in sys.modules if name == "ray"]:
        monkeypatch.delitem(sys.modules, module)
    assert pools._may_fork(pools.FORK_FROM) == sys.platform.startswith("linux")
    assert not pools._may_fork(pools.FORK_FROM - 1)
    monkeypatch.setitem(sys.modules, "ray", types.ModuleType("ray"))
    assert not pools._may_fork(10**6)


@pytest.mark.parametrize("when", ["decoding the first", "decoding a later one", "writing"])
def test_a_killed_process_is_told(
    when: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tree(tmp_path / "pets", {"cat": 300, "dog": 300})
    decode_by("processes", monkeypatch)
    real, parent = decoding.decode, os.getpid()

    def killed(*args: Any) -> Any:
        if os.getpid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)

    def decode(path: str, short_side: int) -> Any:
        if when == "decoding the first" or path.endswith("dog/290.png"):
            killed()
        return real(path, short_side)

    (
        monkeypatch.setattr(packing.os, "pwrite", killed)
        if when == "writing"
        else monkeypatch.setattr(decoding, "decode", decode)
    )
    with pytest.raises(
        UserError, match="pets: a process that decodes pictures was killed; is there enough memory"
    ):
        packed(root)
    assert not left_behind(tmp_path / "cache")
    assert not list((tmp_path / "cache" / "data").glob("*.pack"))


SLOWLY = """\
import signal, sys, time
from pathlib import Path
from autokd.data import decoding, packing, packs, pools, sources
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
real = decoding.decode
decoding.decode = lambda *args: (time.sleep(0.02), real(*args))[1]
packing.os.sched_getaffinity = lambda process: {0, 1, 2}
pools._may_fork = lambda files: True
packs.obtain(
    Path("cache/x.json"),
    lambda: sources.folder(Path("pets")),
    "x",
    short_side=64,
    skip=False,
    fresh=lambda: None,
)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="processes decode on Linux alone")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_process_outlives_the_one_that_packs(number: signal.Signals, tmp_path: Path) -> None:
    tree(tmp_path / "pets", {"cat": 300, "dog": 300})
    run = subprocess.Popen(
        [sys.executable, "-c", SLOWLY],
        cwd=tmp_path,
        start_new_session=True,
        stderr=subprocess.PIPE,
        text=True,
    )
    children: list[psutil.Process] = []
    while len(children) < 3 and run.poll() is None:
        time.sleep(0.02)
        children = psutil.Process(run.pid).children()
    if number == signal.SIGINT:
        os.killpg(run.pid, number)  # as a terminal does: everyone gets it
    else:
        run.send_signal(number)
    said = run.communicate(timeout=30)[1]
    assert len(children) == 3 and run.returncode == -number, said
    # the parent's own
    assert not psutil.wait_procs(children, timeout=30)[1] and said.count("Traceback") == (
        number == signal.SIGINT
    ), said
    pack = packs.obtain(
        tmp_path / "cache/x.json",
        lambda: sources.folder(tmp_path / "pets"),
        "x",
        short_side=64,
        skip=False,
        fresh=lambda: None,
    )
    # nobody holds the lock, and what was left is gone
    assert len(pack.labels) == 600
    assert not list((tmp_path / "cache").glob(".*.part"))


@pytest.mark.parametrize("how", DECODING)
def test_memory_stays_flat_while_packing(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tree(tmp_path / "many", {"a": 1, "b": 1}, (96, 96))
    for i in range(1, 600):
        for name in "ab":
            os.link(root / name / "000.png", root / name / f"{i:03}.png")
    contents, most = sources.folder(root), 1200 * 96 * 96 * 3 / 2  # half of the pixels
    decode_by(how, monkeypatch)
    packing.write(contents, tmp_path / "warm.json", "warm", short_side=96)
    real = decoding.decode

    def decode(*args: Any) -> Any:
        assert tracemalloc.get_traced_memory()[1] < most  # of a process: in its own memory
        return real(*args)

    monkeypatch.setattr(decoding, "decode", decode)
    tracemalloc.start()
    packing.write(contents, tmp_path / "x.json", "x", short_side=96)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    pack = packfile.read(tmp_path / "x.json")
    assert pack is not None and pack.flat.size == 2 * most and peak < most
