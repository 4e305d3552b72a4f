"""What is computed once, kept under the hash of what decides its bytes: networks, and the tables of a view setting, one an epoch.

    networks/ab/network-<hash>.safetensors
    tables/<view setting>/used                        touched when it is read; locked (shared) by every run that works with it
    tables/<view setting>/<epoch>-<hash>.safetensors

A file is written whole or not at all, under a lock that the kernel takes back from a killed process, with a checksum that each
process checks once; what does not check out is computed again, never trusted. What cannot be written (a full disk) or does not
fit the budget (``cache.room``) is computed where it is needed, to the same bytes.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import math
import os
import sys
import tempfile
import time
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from autokd import cache
from autokd.recipe import fingerprint

ENGINE = 2  # raised when the same recipe would train to other bytes: old cache entries are then left alone
MARK_SECONDS = 30.0  # between two notes of a setting's last use
Tensors = dict[str, Tensor]
Make = Callable[[], Tensors]


class Shelf:
    """One view setting's tables. While it lives, no process takes them for unused. ``folder``: None where nothing is kept on disk."""

    def __init__(self, name: str, folder: Path | None):
        self.name, self.folder, self._marked, self._held = name, folder, -math.inf, False
        self.mark()

    def mark(self) -> None:
        """Hold it, and write down that it is used now."""
        if self.folder and time.monotonic() - self._marked >= MARK_SECONDS:
            self._marked = time.monotonic()
            with contextlib.suppress(OSError):  # a cache that cannot be written, or a file system without locks, is used all the same
                if not (self.folder / cache.USED).exists() or not self._held:  # new, or the cache was cleared meanwhile
                    self._hold(self.folder)
                os.utime(self.folder / cache.USED)

    def _hold(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / cache.USED, os.O_RDWR | os.O_CREAT)
        weakref.finalize(self, os.close, handle)
        fcntl.flock(handle, fcntl.LOCK_SH)
        self._held = True


@dataclass
class Store:
    """Networks and tables: on disk under ``root`` (None: nowhere), and as many as fit ``memory_bytes`` in memory, on ``device``."""

    root: Path | None
    device: str = "cpu"
    memory_bytes: int = 1 << 30
    counts: dict[str, int] = field(default_factory=lambda: {"tables made": 0, "tables read": 0, "networks trained": 0, "networks read": 0})
    _memory: dict[str, dict[str, Tensors]] = field(default_factory=dict)  # shelf → table; networks are a shelf that is never idle
    _used: dict[str, float] = field(default_factory=dict)  # shelf → when it was last asked for, monotonic seconds
    _shelves: weakref.WeakValueDictionary[str, Shelf] = field(default_factory=weakref.WeakValueDictionary)
    _checked: dict[Path, tuple[int, ...]] = field(default_factory=dict)  # file → its identity when its checksum was right
    _warned: bool = False

    def address(self, kind: str, content: Any) -> str:
        where = {"engine": ENGINE, "torch": torch.__version__, "device": torch.device(self.device).type}
        return f"{kind}-{fingerprint({'content': content} | where)}"

    def network(self, content: Any, train: Make, what: str) -> Tensors:
        """The weights of the network that ``content`` describes, trained where they are not there or damaged."""
        name = self.address("network", content)
        path = self.root / "networks" / name[-16:-14] / f"{name}.safetensors" if self.root else None
        return self._get("networks", cache.table_name(0, name), path, train, what, None)

    def shelf(self, content: Any) -> Shelf:
        """The shelf of a view setting; keep it for as long as its tables are needed."""
        name = self.address("shelf", content)[-16:]
        found = self._shelves.get(name) or Shelf(name, self.root / "tables" / name if self.root else None)
        self._shelves[name] = found
        return found

    def table(self, shelf: Shelf, epoch: int, detail: Any, make: Make, what: str) -> Tensors:
        """The tensors of an epoch; ``detail``: what decides their bytes beside the shelf's content and the epoch."""
        name = cache.table_name(epoch, self.address("table", [shelf.name, epoch, detail])[-16:])
        shelf.mark()
        return self._get(shelf.name, name, shelf.folder / f"{name}.safetensors" if shelf.folder else None, make, what, shelf)

    def _get(self, shelf: str, name: str, path: Path | None, make: Make, what: str, holder: Shelf | None) -> Tensors:
        kind, made = ("tables", "tables made") if holder else ("networks", "networks trained")
        self._used[shelf] = time.monotonic()
        counted, found = f"{kind} read", self._memory.get(shelf, {}).get(name)
        if found is None:
            found = self._load(path) if path else None
            if found is None:
                with self._alone(path) if path else contextlib.nullcontext():
                    found = self._load(path) if path else None  # another process may have made it while we waited
                    if found is None:
                        counted, found = made, make()
                        if path:
                            self._keep(found, path, what, holder)
            found = self._remember(shelf, name, found)
        self.counts[counted] += 1
        return found

    @contextlib.contextmanager
    def _alone(self, path: Path) -> Iterator[None]:
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

    def _load(self, path: Path) -> Tensors | None:
        """The tensors of a whole and undamaged file, else None. A file that this process has checked is not read through again."""
        try:
            s = path.stat()
            identity = (s.st_ino, s.st_size, s.st_mtime_ns)
            tensors = load_checked(path, trusted=self._checked.get(path) == identity)
        except OSError:
            return None
        if tensors is not None:
            self._checked[path] = identity
        return tensors

    def _keep(self, tensors: Tensors, path: Path, what: str, holder: Shelf | None) -> None:
        """Write a file, if its budget has room and the disk too."""
        with contextlib.suppress(OSError):
            for old in path.parent.glob(f".part-{path.stem}-*"):  # of a process that was killed: the lock is ours
                old.unlink()
        try:
            if holder is None:
                return save_checked(tensors, path, what)
            assert self.root
            tables, size = self.root / "tables", size_of(tensors)
            if cache.room_on_disk(self.root, holder.name, path.stem, size) is not None:
                with part(tensors, path, what) as written, FileLock(tables / ".lock"):  # one process at a time makes room
                    gone = cache.room_on_disk(self.root, holder.name, path.stem, os.path.getsize(written))
                    if gone is not None:
                        cache.evict(tables, gone)
                        os.replace(written, path)
        except (OSError, SafetensorError) as e:
            self._warn(path, e)

    def _warn(self, path: Path, e: Exception) -> None:
        if not self._warned:
            self._warned = True
            reason = e.strerror if isinstance(e, OSError) and e.strerror else e
            print(f"warning: {path.parent}: what is computed cannot be kept there ({reason}); going on without", file=sys.stderr)

    def _remember(self, shelf: str, name: str, tensors: Tensors) -> Tensors:
        """On the device, and in memory where there is room by the same rule as on disk: a scan must not push out what it comes back to."""
        tensors = {k: t.to(self.device) for k, t in tensors.items()}
        chosen = None if shelf == "networks" else cache.chosen_budget()
        limit = self.memory_bytes if chosen is None else min(self.memory_bytes, chosen)
        held = {
            s: cache.Held(self._used[s], s == "networks" or s in self._shelves, {n: size_of(t) for n, t in kept.items()})
            for s, kept in self._memory.items()
        }  # fmt: skip
        gone = cache.room(held, shelf, name, size_of(tensors), limit)
        for s, n in gone or []:
            del self._memory[s][n]
        if gone is not None:
            self._memory.setdefault(shelf, {})[name] = tensors
        self._memory = {s: kept for s, kept in self._memory.items() if kept}
        return tensors


def size_of(tensors: Tensors) -> int:
    return sum(t.numel() * t.element_size() for t in tensors.values())


def _checksum(tensors: Tensors) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        t = tensors[name].contiguous()
        digest.update(f"{name}{t.dtype}{tuple(t.shape)}".encode())
        digest.update(t.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


@contextlib.contextmanager
def part(tensors: Tensors, path: Path, what: str) -> Iterator[str]:
    """A whole file beside ``path``, with a checksum and a line that says what it is: to be renamed inside the block, else deleted."""
    tensors = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".part-{path.stem}-")
    os.close(handle)
    try:
        save_file(tensors, name, metadata={"sha256": _checksum(tensors), "what": what})
        yield name
    finally:
        Path(name).unlink(missing_ok=True)


def save_checked(tensors: Tensors, path: Path, what: str) -> None:
    """Write atomically, with a checksum and a line that says what this is."""
    with part(tensors, path, what) as written:
        os.replace(written, path)


def load_checked(path: Path, trusted: bool = False) -> Tensors | None:
    """The tensors of a whole and undamaged file, mapped into memory; else None. ``trusted``: without reading it through."""
    try:
        with safe_open(str(path), framework="pt") as f:
            tensors = {name: f.get_tensor(name) for name in f.keys()}  # noqa: SIM118 - not a mapping
            return tensors if trusted or f.metadata().get("sha256") == _checksum(tensors) else None
    except (OSError, SafetensorError, AttributeError):
        return None
