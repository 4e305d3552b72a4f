"""Packs: all pictures of a data set in one memory-mapped file of uint8, made once and read by every later run.

A pack is a file ``NAME-KEY-FINGERPRINT.pack`` beside its manifest ``NAME-KEY.json``. The file holds the pictures one after the other,
each ``[height, width, channels]`` with the short side at most ``short_side`` pixels and its aspect kept, then what belongs to them:
sizes, labels, sums, paths. Pictures are made smaller, never larger. Where all are equal squares, as in CIFAR, the file is an array
``[N, S, S, C]``; otherwise training crops of any aspect are cut from whole pictures, and what looks at a picture without
augmentation sees its central square.

The manifest is written last, and names the file with its checksums: what is half-written, damaged or of another version of the folder is
not used but made again. Memory stays flat: pictures are decoded side by side, a few hundred at a time, and appended.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import hashlib
import itertools
import json
import math
import mmap
import multiprocessing
import os
import re
import shutil
import signal
import sys
import tempfile
import time
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from filelock import FileLock
from PIL import Image, ImageOps

from autokd.document import UserError, write_atomically
from autokd.sources import Contents

FORMAT = 2  # raised when the same pictures would be packed to other bytes
LARGE = 20e9  # bytes above which a pack is made only when asked for
MAX_ASPECT = 32  # a longer side of more than so many times the shorter is no picture but a mistake
CHUNK = 1 << 20  # bytes of pictures that are decoded at a time, 8 to 128 pictures
FORK_FROM = 2000  # files from which processes are worth their start
ORIENTED = {"exif", "Raw profile type exif", "xmp", "XML:com.adobe.xmp"}  # where a file may say how it is to be turned
ALIGN = 64

Progress = Callable[[int, int], None]


@dataclass
class Pack:
    """A data set as it was packed. Rows are numbered through its official parts: train, then validation and test where there are such."""

    name: str
    flat: np.ndarray  # uint8, all pictures: in memory, or a read-only map of the file
    sizes: np.ndarray  # [N, 2] int32: height, width
    labels: np.ndarray  # [N] int64
    sums: np.ndarray  # [N, 2, C] float64: per channel the sum of the values and of their squares; whole numbers, so exact
    parts: dict[str, int]  # pictures in each official part
    classes: list[str]
    fingerprint: str  # of pictures and labels: packs of the same content share it
    skipped: list[dict[str, str]] = field(default_factory=list)  # path and reason of each file that was left out
    clipped: int = 0  # 16-bit grey pictures with values above 255, which Pillow makes white
    manifest: Path | None = None  # this and what follows: of a pack on disk
    file: Path | None = None
    sections: dict[str, list[int]] = field(default_factory=dict)
    map: mmap.mmap | None = None

    @property
    def channels(self) -> int:
        return self.sums.shape[2]

    @property
    def starts(self) -> np.ndarray:
        """``[N]`` int64: where each picture begins in ``flat``."""
        return np.concatenate([[0], np.cumsum(self.sizes[:-1].prod(1, dtype=np.int64) * self.channels)])

    @property
    def side(self) -> int | None:
        """Pixels a side, where all pictures are equal squares."""
        side = int(self.sizes[0, 0])
        return side if bool((self.sizes == side).all()) else None

    def rows(self, part: str) -> np.ndarray:
        """``[n]`` int64: the rows of an official part; none where there is no such part."""
        names = list(self.parts)
        first = sum(self.parts[name] for name in names[: names.index(part)]) if part in names else 0
        return np.arange(first, first + self.parts.get(part, 0))

    def about(self) -> dict[str, Any]:
        """What a person wants to know of it."""
        least, most = self.sizes.min(0), self.sizes.max(0)
        equal = bool((least == most).all())
        size = f"{least[0]}×{least[1]}" if equal else f"{least[0]} to {most[0]} px high, {least[1]} to {most[1]} px wide"
        facts = {"name": self.name, "classes": len(self.classes), **self.parts, "stored": f"{size}, {'RGB' if self.channels == 3 else 'grey'}"}
        facts |= {"bytes": int(self.flat.size), "skipped": len(self.skipped), "clipped": self.clipped, "fingerprint": self.fingerprint}
        return facts | ({"file": str(self.file)} if self.file else {})

    def paths(self) -> list[str]:
        """Relative to the source, one a row; empty where pictures are not files."""
        if self.file is None or not self.sections["paths"][1]:
            return []
        with open(self.file, "rb") as f:
            f.seek(self.sections["paths"][0])
            return os.fsdecode(f.read(self.sections["paths"][1])).split("\0")


# --- one picture -------------------------------------------------------------------------------------------------------------------


class Broken(NamedTuple):
    path: str
    reason: str


class Chunk(NamedTuple):
    """Decoded pictures, one after the other; ``kept`` says for each that was asked for whether it is among them."""

    pixels: bytes  # empty where a process has written them already
    length: int  # bytes of all pixels
    digests: bytes  # the pictures' SHA-256, 32 bytes each
    sizes: list[tuple[int, int]]
    sums: np.ndarray  # [n, 2, C]
    kept: list[bool]
    broken: list[Broken]
    clipped: int


def decode(path: str, short_side: int) -> tuple[Image.Image, bool]:
    """A file as an RGB picture, and whether it was clipped: what Pillow's ``convert("RGB")`` makes of its first frame, turned as EXIF
    says, and made smaller. Raises whatever Pillow does."""
    with Image.open(path) as image:
        width, height = image.size
        if max(width, height) > MAX_ASPECT * min(width, height):
            raise ValueError(f"it is {width}×{height} pixels, and a side of more than {MAX_ASPECT} times the other is no picture")
        if image.format == "JPEG":  # the decoder itself halves very large pictures; they stay twice as large as needed
            scale = 2 * short_side / min(width, height)
            image.draft(None, (math.ceil(width * scale), math.ceil(height * scale)))
        image.load()
        turned: Image.Image = image
        if image.format in {"TIFF", "MPO"} or not ORIENTED.isdisjoint(image.info):
            turned = ImageOps.exif_transpose(image)
        clipped = turned.mode.startswith("I") and turned.getextrema()[1] > 255  # type: ignore[operator]
        rgb = turned if turned.mode == "RGB" else turned.convert("RGB")
        return smaller(rgb, short_side), clipped


def smaller(image: Image.Image, short_side: int) -> Image.Image:
    """The picture with its short side at ``short_side`` pixels and its aspect kept; the picture itself where it is no larger."""
    least = min(image.size)
    if least <= short_side:
        return image
    width, height = (side if side == short_side else max(short_side, side * short_side // least) for side in image.size)
    return image.resize((width, height), Image.Resampling.BILINEAR)


def sums(pixels: np.ndarray) -> np.ndarray:
    """``[n, 2, C]`` float64 of ``[n, h, w, C]`` uint8: of each picture and channel the sum, and the sum of squares. Both are exact."""
    n, h, w, c = pixels.shape
    exact = np.float32 if h * 255**2 < 1 << 24 else np.float64  # whole numbers below 2^24 are, and float32 is twice as fast
    rows = pixels.reshape(n, h, w * c).astype(exact)
    columns = np.stack([rows.sum(1), np.square(rows, out=rows).sum(1)], 1)
    return columns.reshape(n, 2, w, c).sum(2, dtype=np.float64)


def _chunk(pictures: Sequence[Any], root: Path | None, short_side: int) -> Chunk:
    """Decode paths below ``root``, or take arrays ``[h, w, C]``."""
    pixels, sizes, kept = [], [], []
    broken, clipped = [], 0
    channels = 3 if root is not None else pictures[0].shape[2]
    for picture in pictures:
        if root is None:
            small = _smaller_array(picture, short_side)
            pixels.append(small.tobytes())
            sizes.append((small.shape[0], small.shape[1]))
        else:
            path = f"{root}/{picture}"
            try:
                image, clips = decode(path, short_side)
                pixels.append(image.tobytes())
            except MemoryError:
                raise
            except Exception as e:  # Pillow answers a broken file with nearly any error
                reason = e.strerror if isinstance(e, OSError) and e.strerror else str(e) or type(e).__name__
                broken.append(Broken(path, "it is no picture that Pillow knows" if "cannot identify" in reason else reason))
                kept.append(False)
                continue
            sizes.append((image.height, image.width))
            clipped += clips
        kept.append(True)
    joined = b"".join(pixels)
    if len(set(sizes)) == 1 and len(pixels[0]) <= 1 << 12:
        moments = sums(np.frombuffer(joined, np.uint8).reshape(len(sizes), *sizes[0], channels))
    else:
        arrays = (np.frombuffer(p, np.uint8).reshape(1, *size, channels) for p, size in zip(pixels, sizes, strict=True))
        moments = np.concatenate([np.zeros((0, 2, channels)), *map(sums, arrays)])
    return Chunk(joined, len(joined), b"".join([hashlib.sha256(p).digest() for p in pixels]), sizes, moments, kept, broken, clipped)


def _smaller_array(pixels: np.ndarray, short_side: int) -> np.ndarray:
    if min(pixels.shape[:2]) <= short_side:
        return pixels
    small = smaller(Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels), short_side)
    return np.asarray(small).reshape(small.height, small.width, -1)


# --- writing -----------------------------------------------------------------------------------------------------------------------


def in_memory(contents: Contents, name: str) -> Pack:
    """A small set of arrays without a file."""
    pictures = np.concatenate([part.pictures for part in contents.parts.values()])
    labels = np.concatenate([np.asarray(part.labels, dtype=np.int64) for part in contents.parts.values()])
    sizes = np.tile(np.array(pictures.shape[1:3], np.int32), (len(pictures), 1))
    flat = np.ascontiguousarray(pictures).reshape(-1)
    return Pack(
        name, flat, sizes, labels, sums(pictures), {part: len(p.labels) for part, p in contents.parts.items()},
        contents.classes, _fingerprint(b"".join([hashlib.sha256(p.data).digest() for p in flat.reshape(len(labels), -1)]), sizes, labels),
    )  # fmt: skip


def _fingerprint(digests: bytes, sizes: np.ndarray, labels: np.ndarray) -> str:
    """16 hex digits of the content: of the pictures' own SHA-256 in their order, their sizes and labels."""
    return hashlib.sha256(hashlib.sha256(digests).digest() + sizes.tobytes() + labels.tobytes()).hexdigest()[:16]


def write(contents: Contents, manifest: Path, name: str, *, short_side: int, skip: bool = False, large: bool = False, progress: Progress | None = None) -> None:
    """Pack ``contents``. The manifest appears last; until then nothing that was written is ever read.

    ``skip``: leave out files that do not decode, rather than stop; ``large``: go on where the pack will exceed :data:`LARGE`.
    Raises :class:`UserError`.
    """
    began = time.monotonic()
    folder, stem = manifest.parent, manifest.stem
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob(f".{stem}-*.part"):  # of a process that was killed: ours alone, for we hold the lock
        old.unlink(missing_ok=True)
    each = _predict(contents, folder, short_side, large)
    total = sum(len(part.labels) for part in contents.parts.values())
    sizes, kept = np.zeros((total, 2), np.int32), np.ones(total, bool)
    labels = np.concatenate([np.asarray(part.labels, dtype=np.int64) for part in contents.parts.values()])
    moments: np.ndarray | None = None
    skipped: list[dict[str, str]] = []
    parts = dict.fromkeys(contents.parts, 0)
    clipped, end, digests = 0, 0, bytearray()
    handle, temporary = tempfile.mkstemp(dir=folder, prefix=f".{stem}-", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as f, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's, about odd but readable files
            row = 0
            for part, own in contents.parts.items():
                with contextlib.closing(_decoded(own.pictures, contents.root, short_side, each[part], handle, end)) as chunks:
                    for chunk in chunks:
                        if chunk.broken and not skip:
                            raise UserError(unreadable(*chunk.broken[0]))
                        rows = row + np.flatnonzero(chunk.kept)
                        if len(rows):
                            moments = np.zeros((total, *chunk.sums.shape[1:])) if moments is None else moments
                            sizes[rows], moments[rows] = chunk.sizes, chunk.sums
                        kept[row : row + len(chunk.kept)] = chunk.kept
                        row += len(chunk.kept)
                        parts[part] += len(rows)
                        clipped += chunk.clipped
                        skipped += [b._asdict() for b in chunk.broken]
                        _write_at(handle, chunk.pixels, end)
                        end += chunk.length
                        digests += chunk.digests
                        if progress:
                            progress(row, total)
            if moments is None:
                raise UserError(f"{contents.root}: none of its {total:,} files could be read; the first: {skipped[0]['path']}: {skipped[0]['reason']}")
            sizes, labels, moments = sizes[kept], labels[kept], moments[kept]
            missing = set(range(len(contents.classes))) - set(labels[: parts["train"]].tolist())
            if missing:
                raise UserError(f"{contents.root}: class {contents.classes[min(missing)]!r} has no readable training picture: all were skipped")
            f.seek(end)
            sections = _append(f, {"sizes": sizes, "labels": labels, "sums": moments, "paths": _paths(contents, kept)})
            f.flush()
            os.fsync(f.fileno())
            size = f.tell()
        fingerprint = _fingerprint(bytes(digests), sizes, labels)
        final = folder / f"{stem}-{fingerprint}.pack"
        os.chmod(temporary, 0o644)
        os.replace(temporary, final)
        facts = {
            "format": FORMAT, "name": name, "short_side": short_side, "listing": contents.listing, "file": final.name, "bytes": size,
            "pixels": end, "channels": moments.shape[2], "parts": parts, "sections": sections, "index_sha256": _hash(final, end),
            "fingerprint": fingerprint, "classes": contents.classes, "skipped": skipped, "clipped": clipped,
            "seconds": round(time.monotonic() - began, 2), "pillow": Image.__version__,
        }  # fmt: skip
        write_atomically(manifest, json.dumps(facts, indent=1, ensure_ascii=False) + "\n")
    except OSError as e:
        if e.errno not in {errno.ENOSPC, errno.EDQUOT}:
            raise UserError(f"{folder}: packing {name} failed: {e.strerror or e}") from None
        raise UserError(f"{folder}: the disk filled up while packing {name}; nothing was kept. Free some space, or set AUTOKD_CACHE to another disk") from None
    finally:
        Path(temporary).unlink(missing_ok=True)
    for old in folder.glob(f"{stem}-*.pack"):
        if old.name != final.name:
            old.unlink(missing_ok=True)


def unreadable(path: str, reason: str) -> str:
    return f"{path}: cannot be read as a picture: {reason}. Mend or remove it, or leave such files out by data/on_error: skip"


def _decoded(pictures: Any, root: Path | None, short_side: int, each: float, handle: int, end: int) -> Generator[Chunk]:
    """The pictures of one part in their order, decoded a bounded way ahead: by processes where there are many files, else by threads.

    ``each``: bytes of a picture, about. Processes write the pixels themselves, to the file ``handle`` from byte ``end`` on.
    """
    workers = min(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1, 16)
    size = int(min(max(CHUNK / max(each, 1), 8), 128))
    chunks = [pictures[i : i + size] for i in range(0, len(pictures), size)]
    if workers == 1 or root is None:
        yield from (_chunk(chunk, root, short_side) for chunk in chunks)
    elif _may_fork(len(pictures)):
        yield from _by_processes(workers, chunks, root, short_side, handle, end)
    else:
        with ThreadPoolExecutor(workers) as pool:
            queue = iter(chunks)
            ahead = deque(pool.submit(_chunk, chunk, root, short_side) for chunk in itertools.islice(queue, 2 * workers))
            try:
                while ahead:
                    done = ahead.popleft().result()
                    ahead.extend(pool.submit(_chunk, chunk, root, short_side) for chunk in itertools.islice(queue, 1))
                    yield done
            finally:
                pool.shutdown(cancel_futures=True)


def _may_fork(files: int) -> bool:
    """Whether processes are worth their start (small pictures cost more Python than decoding), and safe: Ray's threads hold locks."""
    return files >= FORK_FROM and sys.platform.startswith("linux") and "ray" not in sys.modules and not multiprocessing.current_process().daemon


def _by_processes(workers: int, chunks: Sequence[Any], root: Path, short_side: int, handle: int, end: int) -> Iterator[Chunk]:
    """Process w decodes chunks w, w + workers, …, is told where its pixels begin in the file, and writes them there."""
    fork = multiprocessing.get_context("fork")
    pipes, processes = [], []
    gc.freeze()  # or the first collection in each child would copy all of the parent's memory
    signals = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # for good in the children: Ctrl-C is the parent's to answer
    try:
        for w in range(workers):
            here, there = fork.Pipe()
            pipes.append(here)
            process = fork.Process(target=_serve, args=(there, pipes, chunks[w::workers], root, short_side, handle), daemon=True)
            process.start()
            processes.append(process)
            there.close()
        signal.pthread_sigmask(signal.SIG_SETMASK, signals)
        for i in range(len(chunks) + workers):
            pipe = pipes[i % workers]
            try:
                if i >= workers and isinstance(fault := pipe.recv(), OSError):  # how it went with the chunk before
                    raise fault
                if i < len(chunks):
                    done: Chunk = pipe.recv()
                    pipe.send(end)
                    end += done.length
                    yield done
            except (EOFError, ConnectionError):
                raise UserError(f"{root}: a process that decodes pictures was killed; is there enough memory for {workers} of them?") from None
    finally:
        for process in processes:
            process.kill()
        for process in processes:
            process.join()
        for pipe in pipes:
            pipe.close()
        gc.unfreeze()
        signal.pthread_sigmask(signal.SIG_SETMASK, signals)


def _serve(pipe: Any, parents: Sequence[Any], chunks: Sequence[Any], root: Path, short_side: int, handle: int) -> None:
    """A child's whole life. ``parents``: the parent's ends of all pipes so far, which this process has inherited."""
    for inherited in parents:
        inherited.close()  # so that this pipe ends with the parent, however that ends
    before = b""
    with contextlib.suppress(EOFError, ConnectionError, MemoryError):  # the parent is gone; or it is told by this pipe's end
        for i, chunk in enumerate([*chunks, None]):
            made = _chunk(chunk, root, short_side) if chunk is not None else None
            if i:  # only now, when the answer has long been there
                try:
                    _write_at(handle, before, pipe.recv())
                    pipe.send(None)
                except OSError as e:
                    pipe.send(e)
            if made:
                before = made.pixels
                pipe.send(made._replace(pixels=b""))


def _write_at(handle: int, block: bytes, offset: int) -> None:
    """All of it; ``os.pwrite`` may write less. Raises OSError, as where the disk is full."""
    view = memoryview(block)
    while view:
        written = os.pwrite(handle, view, offset)
        view, offset = view[written:], offset + written


def _paths(contents: Contents, kept: np.ndarray) -> np.ndarray:
    if contents.root is None:
        return np.zeros(0, np.uint8)
    paths = [path for part in contents.parts.values() for path in part.pictures]
    blob = b"\0".join(os.fsencode(path) for path, keep in zip(paths, kept, strict=True) if keep)
    return np.frombuffer(blob, np.uint8)


def _append(f: Any, arrays: dict[str, np.ndarray]) -> dict[str, list[int]]:
    """Write the arrays at aligned places; where each lies, and its bytes."""
    places = {}
    for name, array in arrays.items():
        f.write(bytes(-f.tell() % ALIGN))
        places[name] = [f.tell(), array.nbytes]
        f.write(array.tobytes())
    return places


def _predict(contents: Contents, folder: Path, short_side: int, large: bool) -> dict[str, float]:
    """Bytes of a picture, by part, as 64 files tell. UserError where the pack would be very large and nobody said so, or exceeds the disk."""
    needed, average = 0.0, {}
    for name, part in contents.parts.items():
        n = len(part.labels)
        if contents.root is None:
            h, w, c = part.pictures.shape[1:]
            each = h * w * c * min(1.0, short_side / min(h, w)) ** 2
        else:
            areas = []
            for path in part.pictures[:: max(1, n // 64)]:
                with contextlib.suppress(Exception), Image.open(f"{contents.root}/{path}") as image:
                    w, h = image.size
                    areas.append(3 * w * h * min(1.0, short_side / min(h, w)) ** 2)
            each = sum(areas) / max(1, len(areas))
        average[name] = each
        needed += n * each
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(
            f"{folder}: the pack needs about {needed / 1e9:,.1f} GB, and {free / 1e9:,.1f} GB are free there; choose a smaller "
            "data/store/short_side, or set AUTOKD_CACHE to another disk"
        )
    if needed > LARGE and not large:
        raise UserError(
            f"{folder}: the pack will take about {needed / 1e9:,.0f} GB there ({free / 1e9:,.0f} GB are free); set AUTOKD_LARGE=1 to go on, "
            "choose a smaller data/store/short_side, or set AUTOKD_CACHE to another disk"
        )
    return average


# --- reading -----------------------------------------------------------------------------------------------------------------------


def read(manifest: Path) -> Pack | None:
    """The pack behind a manifest; None where there is none, or it is not whole. Pictures themselves are checked by :func:`intact`."""
    try:
        facts = json.loads(manifest.read_text(encoding="utf-8"))
        file = manifest.parent / facts["file"]
        if facts["format"] != FORMAT or file.stat().st_size != facts["bytes"] or _hash(file, facts["pixels"]) != facts["index_sha256"]:
            return None
        with open(file, "rb") as f:
            mapped = mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    n = sum(facts["parts"].values())

    def section(name: str, dtype: Any, *shape: int) -> np.ndarray:
        start, size = facts["sections"][name]
        return np.frombuffer(mapped, np.uint8, size, start).view(dtype).reshape(shape)

    return Pack(
        facts["name"], np.frombuffer(mapped, np.uint8, facts["pixels"]), section("sizes", np.int32, n, 2), section("labels", np.int64, n),
        section("sums", np.float64, n, 2, facts["channels"]), facts["parts"], facts["classes"], facts["fingerprint"],
        facts["skipped"], facts["clipped"], manifest, file, facts["sections"], mapped,
    )  # fmt: skip


def listing(manifest: Path) -> str | None:
    """The hash of the folder that was packed; None where nothing was."""
    try:
        return json.loads(manifest.read_text(encoding="utf-8"))["listing"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _hash(file: Path, start: int) -> str:
    with open(file, "rb") as f:
        f.seek(start)
        return hashlib.file_digest(f, "sha256").hexdigest()


def intact(pack: Pack) -> bool:
    """Whether every picture, size and label is what was packed: reads all of it."""
    ends = [*pack.starts.tolist()[1:], pack.flat.size]
    digests = b"".join([hashlib.sha256(pack.flat[start:end].data).digest() for start, end in zip(pack.starts.tolist(), ends, strict=True)])
    return _fingerprint(digests, pack.sizes, pack.labels) == pack.fingerprint


def obtain(
    manifest: Path, contents: Callable[[], Contents], name: str, *, short_side: int, skip: bool, fresh: Callable[[], str | None], large: bool = False
) -> Pack:
    """The pack behind ``manifest``, made now where there is none, or where the folder is not as it was (``fresh`` gives its listing).

    One process packs; others wait for it. Raises :class:`UserError`.
    """
    now = fresh()

    def usable() -> Pack | None:
        return read(manifest) if now is None or listing(manifest) == now else None

    pack = usable()
    if pack is None:
        try:
            manifest.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(manifest.with_suffix(".lock")):
                pack = usable()
                if pack is None:
                    write(contents(), manifest, name, short_side=short_side, skip=skip, large=large, progress=Report(name))
                    pack = read(manifest)
        except OSError as e:
            raise UserError(f"{manifest.parent}: packs cannot be kept there: {e.strerror or e}; set AUTOKD_CACHE to a folder that can be written") from None
    if pack is None:
        raise UserError(f"{manifest.parent}: the pack of {name} could not be read back; is the disk in order?")
    if pack.skipped and not skip:
        raise UserError(unreadable(**pack.skipped[0]))
    return pack


class Report:
    """Progress on stderr, from the second second on: a line that is written over on a terminal, else one every ten seconds."""

    def __init__(self, name: str):
        self.name, self.began = name, time.monotonic()
        self.last = self.began + (1 if sys.stderr.isatty() else -8)

    def __call__(self, done: int, total: int) -> None:
        now, live = time.monotonic(), sys.stderr.isatty()
        shown = self.last > self.began
        if now - self.last > (0.5 if live else 10) or (done == total and shown):
            self.last = now
            left = (now - self.began) * (total - done) / max(done, 1)
            text = f"packing {self.name}: {done:,} of {total:,} pictures, {left:.0f} s left"
            print(text, end="\r" if live and done < total else "\n", file=sys.stderr, flush=True)


def stem(name: str, short_side: int) -> str:
    """The file name, without ending, of a set's pack."""
    readable = re.sub("[^A-Za-z0-9._-]+", "-", Path(name).name or name)[-40:]
    return f"{readable}-{hashlib.sha256(json.dumps([name, short_side]).encode()).hexdigest()[:12]}"
