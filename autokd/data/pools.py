"""Pictures decoded side by side, a bounded way ahead and in their order: by processes where there
are many files, else by threads.
"""

from __future__ import annotations

import contextlib
import gc
import itertools
import multiprocessing
import os
import signal
import sys
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from autokd.data.decoding import Chunk, decode_chunk
from autokd.errors import UserError

CHUNK = 1 << 20  # bytes of pictures that are decoded at a time, 8 to 128 pictures
FORK_FROM = 2000  # files from which processes are worth their start
MAX_WORKERS = 16


class Form(NamedTuple):
    """How pictures are decoded: from where, and what they become."""

    root: Path | None  # of files; None where pictures are arrays
    short_side: int
    channels: int


def decoded(pictures: Any, form: Form, each: float, handle: int, end: int) -> Generator[Chunk]:
    """The pictures of one part in their order.

    ``each``: bytes of a picture, about. Processes write the pixels themselves, to the file
    ``handle`` from byte ``end`` on.
    """
    workers = min(_cores(), MAX_WORKERS)
    size = int(min(max(CHUNK / max(each, 1), 8), 128))
    chunks = [pictures[i : i + size] for i in range(0, len(pictures), size)]
    if workers == 1 or form.root is None:
        yield from (decode_chunk(chunk, *form) for chunk in chunks)
    elif _may_fork(len(pictures)):
        yield from _by_processes(workers, chunks, form, handle, end)
    else:
        yield from _by_threads(workers, chunks, form)


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _by_threads(workers: int, chunks: Sequence[Any], form: Form) -> Generator[Chunk]:
    with ThreadPoolExecutor(workers) as pool:
        jobs = (pool.submit(decode_chunk, chunk, *form) for chunk in chunks)
        ahead = deque(itertools.islice(jobs, 2 * workers))
        try:
            while ahead:
                done = ahead.popleft().result()
                ahead.extend(itertools.islice(jobs, 1))
                yield done
        finally:
            pool.shutdown(cancel_futures=True)


def _may_fork(files: int) -> bool:
    """Whether processes are worth their start (small pictures cost more Python than decoding), and
    safe: Ray's threads hold locks.
    """
    return (
        files >= FORK_FROM
        and sys.platform.startswith("linux")
        and "ray" not in sys.modules
        and not multiprocessing.current_process().daemon
    )


def _by_processes(
    workers: int, chunks: Sequence[Any], form: Form, handle: int, end: int
) -> Iterator[Chunk]:
    """Process w decodes chunks w, w + workers, …, is told where its pixels begin in the file, and
    writes them there.
    """
    fork = multiprocessing.get_context("fork")
    pipes: list[Any] = []
    processes: list[Any] = []
    gc.freeze()  # or the first collection in each child would copy all of the parent's memory
    # for good in the children: Ctrl-C is the parent's to answer
    signals = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        for w in range(workers):
            here, there = fork.Pipe()
            pipes.append(here)
            process = fork.Process(
                target=_serve,
                args=(there, pipes, chunks[w::workers], form, handle),
                daemon=True,
            )
            process.start()
            processes.append(process)
            there.close()
        signal.pthread_sigmask(signal.SIG_SETMASK, signals)
        try:
            yield from _received(pipes, len(chunks), end)
        except (EOFError, ConnectionError):
            raise UserError(
                f"{form.root}: a process that decodes pictures was killed; is there enough memory"
                f" for {workers} of them?"
            ) from None
    finally:
        for process in processes:
            process.kill()
        for process in processes:
            process.join()
        for pipe in pipes:
            pipe.close()
        gc.unfreeze()
        signal.pthread_sigmask(signal.SIG_SETMASK, signals)


def _received(pipes: Sequence[Any], chunks: int, end: int) -> Iterator[Chunk]:
    """The parent's side: each process in its turn says what it has decoded, is told where to write
    it, and says, a turn later, how that went. Raises the OSError of a process that could not write.
    """
    workers = len(pipes)
    for i in range(chunks + workers):
        pipe = pipes[i % workers]
        if i >= workers:
            fault = pipe.recv()  # how it went with the chunk before
            if isinstance(fault, OSError):
                raise fault
        if i < chunks:
            done: Chunk = pipe.recv()
            pipe.send(end)
            end += done.length
            yield done


def _serve(
    pipe: Any,
    parents: Sequence[Any],
    chunks: Sequence[Any],
    form: Form,
    handle: int,
) -> None:
    """A child's whole life. ``parents``: the parent's ends of all pipes so far, which this process
    has inherited.
    """
    for inherited in parents:
        inherited.close()  # so that this pipe ends with the parent, however that ends
    before = b""
    # the parent is gone; or it is told by this pipe's end
    with contextlib.suppress(EOFError, ConnectionError, MemoryError):
        for i, chunk in enumerate([*chunks, None]):
            made = decode_chunk(chunk, *form) if chunk is not None else None
            if i:  # only now, when the answer has long been there
                try:
                    write_at(handle, before, pipe.recv())
                    pipe.send(None)
                except OSError as e:
                    pipe.send(e)
            if made:
                before = made.pixels
                pipe.send(made._replace(pixels=b""))


def write_at(handle: int, block: bytes, offset: int) -> None:
    """All of it; ``os.pwrite`` may write less. Raises OSError, as where the disk is full."""
    view = memoryview(block)
    while view:
        written = os.pwrite(handle, view, offset)
        view = view[written:]
        offset += written
