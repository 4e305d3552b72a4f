"""The cache of what is computed once: networks, and teachers' tables, one an epoch and view
setting. Each lies under the hash of what decides its bytes.

    networks/ab/network-<hash>.safetensors
    networks/ab/network-<hash>.partial   of one whose training was broken off: its checkpoint
    tables/<view setting>/used       touched when it is read; locked (shared) by every run that
                                     works with it
    tables/<view setting>/<epoch>-<hash>.safetensors

A file is written whole or not at all, under a lock that the kernel takes back from a killed
process, with a checksum of its content and its address that each process checks once
(``tensor_file``); what is damaged, or lies where another file belongs, is computed again and told,
never trusted. What cannot be written (a full disk) or does not fit the budget
(``cache.to_evict``) is computed where it is needed, to the same bytes.
"""

from __future__ import annotations

import contextlib
import fcntl
import math
import os
import sys
import time
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from safetensors import SafetensorError

from autokd import cache
from autokd.errors import printable
from autokd.recipe import fingerprint
from autokd.train import tensor_file
from autokd.train.tensor_file import NotAsNamed, Tensors

# raised when the same recipe would train to other bytes: old cache entries are then left alone
ENGINE = 3
TOUCH_SECONDS = 30.0  # between two notes of a setting's last use
Make = Callable[[], Tensors]
# with a file that may hold how far it has come, or None where nothing is kept
Train = Callable[[Path | None], Tensors]


class ViewTables:
    """The tables of one view setting. While it lives, no process takes them for unused.
    ``folder``: None where nothing is kept on disk.
    """

    def __init__(self, name: str, folder: Path | None):
        self.name = name
        self.folder = folder
        self._touched = -math.inf
        self._locked = False
        self.touch()

    def touch(self) -> None:
        """Lock it, and write down that it is used now."""
        if self.folder and time.monotonic() - self._touched >= TOUCH_SECONDS:
            self._touched = time.monotonic()
            used = self.folder / cache.USED
            # A cache that cannot be written, or a file system without locks, is used all the same.
            with contextlib.suppress(OSError):
                if not used.exists() or not self._locked:  # new, or the cache was cleared meanwhile
                    self._lock(used)
                os.utime(used)

    def _lock(self, used: Path) -> None:
        used.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(used, os.O_RDWR | os.O_CREAT)
        weakref.finalize(self, os.close, handle)
        fcntl.flock(handle, fcntl.LOCK_SH)
        self._locked = True


def _zero_counts() -> dict[str, int]:
    return dict.fromkeys(("tables made", "tables read", "networks trained", "networks read"), 0)


@dataclass
class Store:
    """Networks and tables: on disk under ``root`` (None: nowhere), and as many as fit
    ``memory_bytes`` in memory, on ``device``.

    A group is what is evicted together: the tables of one view setting, or all networks, which are
    never idle.
    """

    root: Path | None
    device: str = "cpu"
    memory_bytes: int = 1 << 30
    counts: dict[str, int] = field(default_factory=_zero_counts)
    _memory: dict[str, dict[str, Tensors]] = field(default_factory=dict)  # group → name → tensors
    _used: dict[str, float] = field(default_factory=dict)  # group → last use, monotonic seconds
    _view_tables: weakref.WeakValueDictionary[str, ViewTables] = field(
        default_factory=weakref.WeakValueDictionary
    )
    # file → its identity when its checksum was right
    _checked: dict[Path, tuple[int, ...]] = field(default_factory=dict)
    _warned: bool = False

    def address(self, kind: str, content: Any) -> str:
        """``kind-<hash>`` of what decides the bytes; ``content``: plain values."""
        where = {
            "engine": ENGINE,
            "torch": torch.__version__,
            "device": torch.device(self.device).type,
        }
        return f"{kind}-{fingerprint({'content': content} | where)}"

    def network(self, content: Any, train: Train, what: str) -> Tensors:
        """The weights of the network that ``content`` describes, trained where they are not there
        or damaged. ``what``: a line for the file's metadata.

        ``train`` is given a file of its own for a checkpoint, where a training that was broken off
        may have left one; it is gone when the network is there.
        """
        name = self.address("network", content)
        path = self.root / "networks" / name[-16:-14] / f"{name}.safetensors" if self.root else None
        partial = path.with_suffix(".partial") if path else None

        def make() -> Tensors:
            return train(partial)

        found, read = self._found("networks", cache.table_name(0, name), path, make, what, None)
        if partial and not read:
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)
        self.counts["networks read" if read else "networks trained"] += 1
        return found

    def view_tables(self, content: Any) -> ViewTables:
        """The tables of a view setting; keep it for as long as they are needed."""
        name = self.address("shelf", content)[-16:]  # the word is part of every address
        folder = self.root / "tables" / name if self.root else None
        found = self._view_tables.get(name) or ViewTables(name, folder)
        self._view_tables[name] = found
        return found

    def table(self, tables: ViewTables, epoch: int, detail: Any, make: Make, what: str) -> Tensors:
        """The tensors of an epoch; ``detail``: what decides their bytes beside the view setting
        and the epoch. ``what``: a line for the file's metadata.
        """
        name = cache.table_name(epoch, self.address("table", [tables.name, epoch, detail])[-16:])
        path = tables.folder / f"{name}.safetensors" if tables.folder else None
        tables.touch()
        found, read = self._found(tables.name, name, path, make, what, tables)
        self.counts["tables read" if read else "tables made"] += 1
        return found

    def _found(
        self,
        group: str,
        name: str,
        path: Path | None,
        make: Make,
        what: str,
        tables: ViewTables | None,
    ) -> tuple[Tensors, bool]:
        """The tensors from memory, else from disk, else made now; and whether they were there.
        ``tables``: None for a network.
        """
        self._used[group] = time.monotonic()
        found = self._memory.get(group, {}).get(name)
        if found is not None:
            return found, True
        found = self._load(path) if path else None
        read = found is not None
        if found is None:
            with self._locked(path) if path else contextlib.nullcontext():
                # Another process may have made it while we waited.
                found = self._load(path, tell=True) if path else None
                read = found is not None
                if found is None:
                    found = make()
                    if path:
                        self._save(found, path, what, tables)
        return self._in_memory(group, name, found), read

    @contextlib.contextmanager
    def _locked(self, path: Path) -> Iterator[None]:
        """No other process makes this file meanwhile, where the disk allows a lock."""
        lock = FileLock(path.with_suffix(".lock"))
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        except OSError as e:
            self._warn(path, e)
        try:
            yield
        finally:
            lock.release()

    def _load(self, path: Path, *, tell: bool = False) -> Tensors | None:
        """The tensors of a whole file that is what its name says, else None. A file that this
        process has checked is not read through again. ``tell``: say what is wrong with a file.
        """
        try:
            s = path.stat()
            identity = (s.st_ino, s.st_size, s.st_mtime_ns)
            trusted = self._checked.get(path) == identity
            tensors = tensor_file.load(path, None if trusted else self._address(path))
        except NotAsNamed as e:
            if tell:
                print(printable(f"note: {path} {e}: computed anew"), file=sys.stderr)
            return None
        except OSError:
            return None
        self._checked[path] = identity
        return tensors

    def _address(self, path: Path) -> str:
        """What a file is by its name: kind, view setting, epoch and the hash of all else."""
        assert self.root
        return path.relative_to(self.root).with_suffix("").as_posix()

    def _save(self, tensors: Tensors, path: Path, what: str, tables: ViewTables | None) -> None:
        """Write a file, a table only if its budget has room, and warn once where the disk has
        none.
        """
        with contextlib.suppress(OSError):
            # What a killed process left: the lock is ours.
            for part in path.parent.glob(f".part-{path.stem}-*"):
                part.unlink()
        try:
            if tables is None:
                tensor_file.save(tensors, path, self._address(path), what)
            else:
                self._save_table(tensors, path, what, tables.name)
        except (OSError, SafetensorError) as e:
            self._warn(path, e)

    def _save_table(self, tensors: Tensors, path: Path, what: str, group: str) -> None:
        assert self.root
        folder, size = self.root / "tables", size_of(tensors)
        if cache.to_evict_on_disk(self.root, group, path.stem, size) is None:
            return
        written = tensor_file.part(tensors, path, self._address(path), what)
        # One process at a time evicts what is in the way.
        with written as part, FileLock(folder / ".lock"):
            size = os.path.getsize(part)
            evicted = cache.to_evict_on_disk(self.root, group, path.stem, size)
            if evicted is not None:
                cache.evict(folder, evicted)
                os.replace(part, path)

    def _warn(self, path: Path, e: Exception) -> None:
        if not self._warned:
            self._warned = True
            reason = e.strerror if isinstance(e, OSError) and e.strerror else e
            print(
                f"warning: {path.parent}: what is computed cannot be kept there ({reason}); going"
                " on without",
                file=sys.stderr,
            )

    def _in_memory(self, group: str, name: str, tensors: Tensors) -> Tensors:
        """On the device, and kept where there is room by the same rule as on disk: a scan must not
        push out what it comes back to.
        """
        tensors = {k: t.to(self.device) for k, t in tensors.items()}
        chosen = None if group == "networks" else cache.chosen_budget()
        limit = self.memory_bytes if chosen is None else min(self.memory_bytes, chosen)
        held = {g: self._held(g, content) for g, content in self._memory.items()}
        evicted = cache.to_evict(held, group, name, size_of(tensors), limit)
        for g, n in evicted or []:
            del self._memory[g][n]
        if evicted is not None:
            self._memory.setdefault(group, {})[name] = tensors
        self._memory = {g: content for g, content in self._memory.items() if content}
        return tensors

    def _held(self, group: str, content: dict[str, Tensors]) -> cache.Held:
        busy = group == "networks" or group in self._view_tables
        return cache.Held(self._used[group], busy, {n: size_of(t) for n, t in content.items()})


def size_of(tensors: Tensors) -> int:
    """In bytes."""
    return sum(t.numel() * t.element_size() for t in tensors.values())
