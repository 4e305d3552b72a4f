"""What lies in a folder: pictures, classes, sizes, what is broken, what is there twice, and which
names look like those of tracks or patients.
"""

from __future__ import annotations

import hashlib
import re
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from autokd import data
from autokd.data import decoding, sources
from autokd.errors import UserError
from autokd.recipe import DataSettings, data_names, remember

LEAST = 5  # pictures of a class: to train on, to choose by, and to test on
LOOKED_AT = 2000  # pictures that are decoded, spread over all
FIRST = 32  # if none of so many can be read, nothing is looked at any more
ALIKE = 3  # bits of 64 in which the perceptual hashes of near duplicates differ at most
HASHED_PX = 32  # smaller pictures have too few pixels for a perceptual hash
# what people call tracks and patients; then a number that runs over what a prefix shares
GROUPS = (
    r"((?:track|patient|subject|person|case|scene|video|seq|clip)[-_ ]?[0-9]+)",
    r"([^/]+/[^/]+?)[-_][0-9]+\.[A-Za-z]+$",
)


@dataclass
class Look:
    """``name``: as a recipe has it; ``sides``: least, median and largest short side in px."""

    name: str
    classes: dict[str, int]  # → training pictures
    channels: int
    sides: tuple[int, int, int]
    parts: tuple[str, ...] = ("train",)  # that are official
    group_by: str | None = None
    broken: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def pictures(self) -> int:
        return sum(self.classes.values())


def look(where: str) -> Look:
    """At a folder, or a data set by its name. Raises :class:`UserError` where there is nothing to
    search for.
    """
    if not Path(where).exists():
        if trouble := data_names.problem(where):
            rule, value, hint = trouble
            raise UserError(f"{where}: neither a folder nor a data set: {rule} {value!r}; {hint}")
        if where in data_names.EMBEDDED:
            return _embedded(where)
        name, contents = where, sources.contents(where, data.downloads_folder())
    else:
        folder = Path(where).resolve()
        remember([str(folder)])  # so that the documents may name it
        name = f"{data_names.FOLDER}{folder}"
        contents = sources.contents(name, data.downloads_folder())
    return _files(name, contents) if contents.root else _arrays(name, contents)


def _embedded(name: str) -> Look:
    dataset = data.load(DataSettings(name=name))
    labels = dataset.train.labels.tolist()
    classes = {c: labels.count(i) for i, c in enumerate(dataset.classes)}
    return Look(name, classes, dataset.channels, (8, 8, 8))


def _arrays(name: str, contents: sources.Contents) -> Look:
    train = contents.parts["train"]
    side = int(min(train.pictures.shape[1:3]))
    counts = Counter(np.asarray(train.labels).tolist())
    classes = {c: counts[i] for i, c in enumerate(contents.classes)}
    return Look(name, classes, contents.channels, (side, side, side), tuple(contents.parts))


def _files(name: str, contents: sources.Contents) -> Look:
    train = contents.parts["train"]
    root = contents.root_of("train")
    assert root is not None
    counts = Counter(train.labels)
    classes = {c: counts[i] for i, c in enumerate(contents.classes)}
    few = min(classes, key=lambda c: classes[c])
    if classes[few] < LEAST:
        raise UserError(
            f"{root / few}: this class has {classes[few]} of at least {LEAST} pictures: some to"
            " train on, some to choose by, some to test on; add pictures or remove the folder"
        )
    files = [(root / p, c, "train") for p, c in zip(train.pictures, train.labels, strict=True)]
    for part in contents.parts.keys() - {"train", "unlabelled"}:
        own, top = contents.parts[part], contents.root_of(part)
        assert top is not None
        files += [(top / p, c, part) for p, c in zip(own.pictures, own.labels, strict=True)]
    read, broken, first = _decoded([f for f, _, _ in files])
    sides = sorted(side for side, _, _ in read.values())
    found = Look(
        name,
        classes,
        3,  # a folder's pictures are packed in colour
        (sides[0], int(statistics.median(sides)), sides[-1]),
        tuple(contents.parts),
        group_by(list(train.pictures)),
        broken,
    )
    if broken:
        found.notes.append(f"{broken} pictures cannot be read and are skipped, such as {first}")
    if any(grey for _, grey, _ in read.values()):
        found.notes.append(
            f"{sum(grey for _, grey, _ in read.values())} of {len(read)} pictures are grey"
        )
    most, least = max(classes.values()), min(classes.values())
    if most > 3 * least:
        found.notes.append(f"classes are imbalanced: from {least} to {most} pictures")
    if found.group_by:
        found.notes.append(
            f"names look like tracks or patients: data/group_by {found.group_by!r} keeps what they"
            " share on one side of a split"
        )
    found.notes += _twice(files, {f: h for f, (_, _, h) in read.items()})
    return found


def _decoded(files: Sequence[Path]) -> tuple[dict[Path, tuple[int, bool, int | None]], int, str]:
    """Of a spread of the files: short side, whether grey, perceptual hash; how many of them are
    broken, and the first of those. Raises :class:`UserError` where none can be read.
    """
    import imagehash
    from PIL import Image

    step = max(1, -(-len(files) // LOOKED_AT))
    seen = files[::step]
    found: dict[Path, tuple[int, bool, int | None]] = {}
    broken, first = 0, ""
    for i, file in enumerate(seen):
        try:
            with Image.open(file) as image:
                side, grey = min(image.size), image.mode in {"L", "1", "I;16", "LA"}
            picture, _ = decoding.decode(str(file), 64)
        except Exception as e:  # decoders answer a broken file with any error
            broken += 1
            first = first or f"{file}: {(str(e) or type(e).__name__).splitlines()[0]}"
        else:
            large = side >= HASHED_PX
            found[file] = side, grey, int(str(imagehash.phash(picture)), 16) if large else None
        if not found and (i + 1 == FIRST or i + 1 == len(seen)):
            raise UserError(f"none of {i + 1} pictures can be read; the first is {first}")
    return found, broken * step, first


def group_by(paths: Sequence[str]) -> str | None:
    """The expression under which nearly all paths fall into many groups of several pictures.

    >>> frames = [f"a/walk{t}_{i:03}.png" for t in range(20) for i in range(5)]
    >>> group_by(frames) == GROUPS[1]
    True
    >>> group_by([f"a/{i:03}.png" for i in range(100)])
    """
    for pattern in GROUPS:
        compiled = re.compile(pattern, re.IGNORECASE)
        flagged = f"(?i){pattern}" if "track" in pattern else pattern
        matches = [m[1] for p in paths if (m := compiled.search(p))]
        classes = len({p.split("/")[0] for p in paths})
        groups = len(set(matches))
        if len(matches) >= 0.9 * len(paths) and 3 * classes <= groups <= len(matches) / 3:
            return flagged
    return None


def _twice(files: Iterable[tuple[Path, int, str]], hashes: dict[Path, int | None]) -> list[str]:
    """What is there more than once, with other labels or in other parts."""
    files = list(files)
    about = {f: (label, part) for f, label, part in files}
    sizes: dict[int, list[Path]] = defaultdict(list)
    for file, _, _ in files:
        try:
            sizes[file.stat().st_size].append(file)
        except OSError:
            continue  # a dangling link
    same: dict[bytes, list[Path]] = defaultdict(list)
    for alike in sizes.values():
        for file in alike if len(alike) > 1 else []:
            try:
                with file.open("rb") as f:
                    same[hashlib.file_digest(f, "sha256").digest()].append(file)
            except OSError:
                continue
    exact = [(a, b) for group in same.values() for a, b in zip(group, group[1:], strict=False)]
    return _told("the same file", exact, about) + _told("nearly the same", _near(hashes), about)


def _near(hashes: dict[Path, int | None]) -> list[tuple[Path, Path]]:
    known = [(f, h) for f, h in hashes.items() if h is not None]
    if not known:
        return []
    bits = np.array([h for _, h in known], dtype=np.uint64)
    out = []
    for i in range(len(bits) - 1):
        differ = np.unpackbits((bits[i + 1 :] ^ bits[i]).view(np.uint8).reshape(-1, 8), axis=1)
        out += [
            (known[i][0], known[i + 1 + j][0])
            for j in np.flatnonzero(differ.sum(1) <= ALIKE).tolist()
        ]
    return out


def _told(
    what: str, pairs: list[tuple[Path, Path]], about: dict[Path, tuple[int, str]]
) -> list[str]:
    out = []
    for of, place in ((0, "in two classes"), (1, "in two parts of the data")):
        across = [(a, b) for a, b in pairs if about[a][of] != about[b][of]]
        if across:
            a, b = across[0]
            out.append(f"{len(across)} pairs are {what} {place}, such as {a} and {b}")
    if pairs and not out:
        a, b = pairs[0]
        out.append(f"{len(pairs)} pairs are {what}, such as {a} and {b}")
    return out
