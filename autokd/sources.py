"""The data sets that a recipe may name, and where their pictures are found. Light: what is heavy is imported when pictures are fetched.

A name is one of :data:`SOURCES`, or ``folder:PATH`` for any tree of class folders, with or without ``train``, ``val`` and ``test``
above them. A named set is exactly the published one: what differs from it is used as ``folder:PATH``.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from autokd.document import UserError, nearest

FOLDER = "folder:"
EMBEDDED = {"digits", "fake"}  # made in a moment, so never packed
EXTENSIONS = {".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp", ".gif"}
TRAIN, VALIDATION, TEST = ("train", "training"), ("val", "valid", "validation", "dev"), ("test", "testing")


class Archive(NamedTuple):
    """Where a set is published: it is fetched as ``file`` and unpacked as ``folder``."""

    url: str
    md5: str
    file: str
    folder: str  # holds train/ and the other parts, once unpacked
    wrapped: bool  # whether the archive itself has that folder at its top


@dataclass(frozen=True)
class Source:
    """One line for people; ``counts``: pictures in each official part, asserted where they come from a tree of files."""

    summary: str
    files: bool = False  # pictures are files, so that they have paths (data/group_by)
    counts: tuple[tuple[str, int], ...] = ()
    classes: int = 0
    archive: Archive | None = None


SOURCES = {
    "digits": Source("1,797 handwritten digits, 8×8 grey, 10 classes; inside scikit-learn, nothing to download"),
    "fake": Source("1,200 patterns made up for tests, 32×32, 10 classes; nothing to download"),
    "cifar10": Source("60,000 pictures, 32×32, 10 classes; 170 MB from torchvision"),
    "cifar100": Source("60,000 pictures, 32×32, 100 classes; 170 MB from torchvision"),
    "svhn": Source("99,289 house numbers, 32×32, 10 classes; 250 MB from torchvision"),
    "mnist": Source("70,000 handwritten digits, 28×28 grey, 10 classes; 12 MB from torchvision"),
    "fashion-mnist": Source("70,000 pieces of clothing, 28×28 grey, 10 classes; 30 MB from torchvision"),
    "kmnist": Source("70,000 cursive Japanese characters, 28×28 grey, 10 classes; 21 MB from torchvision"),
    "stl10": Source("13,000 labelled pictures, 96×96, 10 classes; 2.6 GB from torchvision"),
    "dtd": Source(
        "5,640 textures, 300 to 640 px, 47 classes, the first official split in three parts; 600 MB from torchvision",
        files=True, counts=(("train", 1880), ("validation", 1880), ("test", 1880)), classes=47,
    ),
    "imagenet": Source(
        "1,331,167 pictures, 1,000 classes (ILSVRC2012, its val as test); bring the archives or train/ and val/ under --data-dir",
        files=True, counts=(("train", 1_281_167), ("test", 50_000)), classes=1000,
    ),
    "tiny-imagenet": Source(
        "110,000 pictures, 64×64, 200 classes (its val as test); 240 MB",
        files=True, counts=(("train", 100_000), ("test", 10_000)), classes=200,
        archive=Archive(
            "http://cs231n.stanford.edu/tiny-imagenet-200.zip", "90528d7ca1a48142e341f4ef8d21d0de",
            "tiny-imagenet-200.zip", "tiny-imagenet-200", wrapped=True,
        ),
    ),
    "cinic10": Source(
        "270,000 pictures, 32×32, 10 classes, with an official validation part; 660 MB",
        files=True, counts=(("train", 90_000), ("validation", 90_000), ("test", 90_000)), classes=10,
        archive=Archive(
            "https://datashare.ed.ac.uk/bitstream/handle/10283/3192/CINIC-10.tar.gz", "6ee4d0c996905fe93221de577967a372",
            "CINIC-10.tar.gz", "CINIC-10", wrapped=False,
        ),
    ),
}  # fmt: skip
TORCHVISION = {
    "cifar10": "CIFAR10", "cifar100": "CIFAR100", "svhn": "SVHN", "mnist": "MNIST", "fashion-mnist": "FashionMNIST", "kmnist": "KMNIST", "stl10": "STL10",
}  # fmt: skip
PATTERN = f"{FOLDER}PATH"  # what `autokd datasets` adds to the list


def problem(name: str) -> tuple[str, Any, str] | None:
    """``(rule, value, hint)`` where no data set has that name. Whether a folder exists is asked when it is read."""
    if name.startswith(FOLDER):
        return ("names no folder", name, "write folder:PATH") if not name.removeprefix(FOLDER).strip() else None
    if name in SOURCES:
        return None
    hint = f"write {FOLDER}{name} for a folder" if "/" in name or Path(name).is_dir() else nearest(name, [*SOURCES, PATTERN])
    return ("unknown data set", name, hint)


def has_files(name: str) -> bool:
    """Whether the set's pictures are files with paths."""
    return name.startswith(FOLDER) or (name in SOURCES and SOURCES[name].files)


class Part(NamedTuple):
    """One official part: ``pictures`` are an array ``[N, H, W, C]`` uint8, or paths relative to the contents' root."""

    pictures: Any
    labels: Any  # [N] integers


class Contents(NamedTuple):
    """A data set before it is packed. ``parts``: train, and validation and test where they are official."""

    classes: list[str]
    parts: dict[str, Part]
    root: Path | None = None
    listing: str = ""  # a hash of every file's path, size and time: says whether a folder has changed


# --- folders -----------------------------------------------------------------------------------------------------------------------


def resolve(name: str, data_dir: Path | None) -> Path:
    """The absolute path that ``folder:PATH`` means: from the current folder, else from ``data_dir``. Raises :class:`UserError`.

    In a search's worker the current folder is the one where the search was started; Ray has moved the process elsewhere.
    """
    given = Path(name.removeprefix(FOLDER)).expanduser()
    here = Path(os.environ.get("TUNE_ORIG_WORKING_DIR") or Path.cwd())
    tried = [Path(os.path.normpath(base / given)) for base in (here, data_dir) if base is not None]
    for path in dict.fromkeys(tried):
        if path.is_dir():
            return path
        if path.exists():
            raise UserError(f"data/name: {path} is a file; folder: takes a folder with one folder of pictures for each class")
    hint = nearest(given.name, [p.name for p in tried[0].parent.iterdir() if p.is_dir()]) if tried[0].parent.is_dir() else ""
    raise UserError(f"data/name: there is no folder {' nor '.join(map(str, dict.fromkeys(tried)))}" + (f"; {hint}" if hint else ""))


def folder(root: Path) -> Contents:
    """A tree of class folders as it lies on disk.

    With ``train/`` (which holds class folders), ``val/`` and ``test/`` are the official other parts; with one of the two, that one is
    the test part. Without ``train/``, the class folders lie at the top. A class is a folder's name; its pictures may lie deeper.
    Hidden files are left out, and files whose extension no picture has. Raises :class:`UserError`.
    """
    named = {name.lower(): root / name for name in _folders(root)}

    def first(names: tuple[str, ...]) -> Path | None:
        return next((named[n] for n in names if n in named and _folders(named[n])), None)

    train, validation, test = first(TRAIN), first(VALIDATION), first(TEST)
    if train is None:
        return tree(root, {"train": root})
    parts = {"train": train}
    if validation:
        parts["validation" if test else "test"] = validation
    if test:
        parts["test"] = test
    return tree(root, parts)


def tree(root: Path, tops: dict[str, Path]) -> Contents:
    """The contents of folders of class folders. UserError for no pictures, an empty class, one class, or one that train lacks."""
    classes = _folders(tops["train"])
    if not classes:
        lone = next(iter(_files(str(tops["train"]), "", ())), None)
        where = f"pictures lie in it directly, such as {lone[0]}, but no folders" if lone else "it is empty"
        raise UserError(f"{tops['train']}: {where}; expected one folder of pictures for each class")
    number = {name: i for i, name in enumerate(classes)}
    digest, parts = hashlib.sha256(), {}
    for part, top in tops.items():
        paths: list[str] = []
        labels: list[int] = []
        empty: list[Path] = []
        for name in _folders(top):
            if name not in number:
                raise UserError(f"{top / name}: {tops['train']} has no class of this name; {nearest(name, classes)}")
            inside = os.path.relpath(top / name, root)
            files = sorted(_files(str(top / name), inside, ()))
            paths += [path for path, _, _ in files]
            labels += [number[name]] * len(files)
            empty += [] if files else [top / name]
            for path, size, changed in files:
                digest.update(f"{part}\0{path}\0{size}\0{changed}\n".encode(errors="surrogateescape"))
        endings = ", ".join(sorted(EXTENSIONS))
        if not paths:
            raise UserError(f"{top}: there are no pictures in its folders (files that end in {endings})")
        if empty:
            raise UserError(f"{empty[0]}: this class has no pictures (files that end in {endings}); fill or remove the folder")
        parts[part] = Part(paths, labels)
    if len(classes) < 2:
        raise UserError(f"{tops['train']}: there is one class, {classes[0]!r}; at least two folders are needed, or there is nothing to tell apart")
    return Contents(classes, parts, root, digest.hexdigest())


def _folders(top: Path) -> list[str]:
    with _readable(top):
        return sorted(e.name for e in os.scandir(top) if e.is_dir() and not e.name.startswith("."))


def _files(top: str, inside: str, above: tuple[tuple[int, int], ...]) -> Iterator[tuple[str, int, int]]:
    """``(relative path, bytes, time in ns)`` of the pictures below; a link that leads back up is not followed again."""
    with _readable(top):
        about = os.stat(top)
        entries = list(os.scandir(top))
    here = (about.st_dev, about.st_ino)
    for entry in entries if here not in above else ():
        if entry.name.startswith("."):
            continue
        path = f"{inside}/{entry.name}" if inside else entry.name
        if os.path.splitext(entry.name)[1].lower() in EXTENSIONS and not entry.is_dir():
            try:
                about = entry.stat()
            except OSError:  # a dangling link: named when it is decoded
                yield path, -1, 0
            else:
                yield path, about.st_size, about.st_mtime_ns
        elif entry.is_dir():
            yield from _files(entry.path, path, (*above, here))


@contextlib.contextmanager
def _readable(top: Any) -> Iterator[None]:
    try:
        yield
    except OSError as e:
        raise UserError(f"{top}: cannot be read: {e.strerror}") from None


# --- the named sets ----------------------------------------------------------------------------------------------------------------


def contents(name: str, data_dir: Path) -> Contents:
    """The pictures of any set: downloaded into ``data_dir`` where they are not there yet. Raises :class:`UserError`."""
    if name.startswith(FOLDER):
        return folder(resolve(name, data_dir))
    if name in SOURCES:
        found = _READERS[name](name, data_dir)
        expected = dict(SOURCES[name].counts)
        counts = {part: len(p.labels) for part, p in found.parts.items()}
        if expected and (counts != expected or len(found.classes) != SOURCES[name].classes):
            raise UserError(
                f"{found.root}: this is not {name}: it has {len(found.classes)} classes and {_counted(counts)} pictures, and {name} has "
                f"{SOURCES[name].classes} and {_counted(expected)}; use it as data/name: {FOLDER}{found.root}"
            )
        return found
    rule, value, hint = problem(name) or ("", "", "")
    raise UserError(f"data/name: {rule} {value!r}; {hint}")


def _counted(counts: dict[str, int]) -> str:
    return " + ".join(f"{n:,} {part}" for part, n in counts.items())


def _digits(name: str, data_dir: Path) -> Contents:
    import numpy as np
    from sklearn.datasets import load_digits

    bunch = load_digits()
    pictures = np.round(bunch.images * (255 / 16)).astype(np.uint8)[..., None]
    return Contents([str(c) for c in bunch.target_names], {"train": Part(pictures, bunch.target.astype(np.int64))})


def _fake(name: str, data_dir: Path) -> Contents:
    """Each class is a 4×4 pattern of colours; a picture is its class's pattern, shifted by up to 3 px, under noise. Integers only."""
    import numpy as np

    from autokd import rng

    def draw(purpose: str, *shape: int) -> Any:
        return (np.random.Philox(key=rng.key("fake", purpose)).random_raw(int(np.prod(shape))) >> np.uint64(56)).astype(np.int64).reshape(shape)

    patterns = draw("patterns", 10, 4, 4, 3).repeat(8, 1).repeat(8, 2)
    parts = {}
    for part, n in (("train", 1000), ("test", 200)):
        labels = np.arange(n, dtype=np.int64) % 10
        shifts = draw(f"{part}/shift", n, 2) % 7 - 3
        noise = draw(f"{part}/noise", n, 32, 32, 3) - 128
        shifted = np.stack([np.roll(patterns[c], tuple(s), (0, 1)) for c, s in zip(labels, shifts, strict=True)])
        parts[part] = Part((shifted + noise // 2).clip(0, 255).astype(np.uint8), labels)
    return Contents([f"pattern {i}" for i in range(10)], parts)


def _torchvision(name: str, data_dir: Path) -> Contents:
    """A set whose pictures torchvision reads whole into memory."""
    import numpy as np
    from torchvision import datasets

    make = getattr(datasets, TORCHVISION[name])
    by_split = name in {"svhn", "stl10"}  # these take split="train" where the others take train=True
    parts = {}
    classes: list[str] = []
    for part in ("train", "test"):
        which = {"split": part} if by_split else {"train": part == "train"}
        read = _either(name, data_dir, functools.partial(make, data_dir, **which))
        pictures, labels = np.asarray(read.data), np.asarray(read.labels if by_split else read.targets, dtype=np.int64)
        if by_split:  # [N, C, H, W]
            pictures = pictures.transpose(0, 2, 3, 1)
        parts[part] = Part(pictures if pictures.ndim == 4 else pictures[..., None], labels)
        classes = [str(c) for c in getattr(read, "classes", range(10))]
    return Contents(classes, parts)


def _either(name: str, data_dir: Path, make: Callable[..., Any]) -> Any:
    """What torchvision finds in ``data_dir``, else what it downloads there. Raises :class:`UserError`."""
    try:
        return make(download=False)
    except RuntimeError:  # "not found or corrupted"
        pass
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        with contextlib.redirect_stdout(sys.stderr):
            return make(download=True)
    except (RuntimeError, OSError) as e:  # URLError is an OSError
        reason = " ".join(str(getattr(e, "reason", None) or e).split())
        raise UserError(
            f"data/name: {name} is not in {data_dir}, and downloading it failed: {reason}; where there is no network, bring torchvision's "
            "files for it, and name their folder by --data-dir or AUTOKD_DATA"
        ) from None


def _dtd(name: str, data_dir: Path) -> Contents:
    from torchvision import datasets

    root = Path(_either(name, data_dir, functools.partial(datasets.DTD, data_dir))._data_folder)
    lines = {part: (root / "labels" / f"{file}1.txt").read_text().split() for part, file in (("train", "train"), ("validation", "val"), ("test", "test"))}
    classes = sorted({line.partition("/")[0] for line in lines["train"]})
    parts = {part: Part([f"images/{line}" for line in own], [classes.index(line.partition("/")[0]) for line in own]) for part, own in lines.items()}
    return Contents(classes, parts, root)


def _imagenet(name: str, data_dir: Path) -> Contents:
    """``train/`` and ``val/`` as they lie, in ``data_dir`` or its ``imagenet/``; else the three archives, which torchvision unpacks."""
    places = [data_dir / "imagenet", data_dir / "ImageNet", data_dir]
    archives = ("ILSVRC2012_devkit_t12.tar.gz", "ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar")
    for place in places:
        if (place / "train").is_dir() and (place / "val").is_dir():
            return tree(place, {"train": place / "train", "test": place / "val"})
    for place in places:
        if all((place / file).is_file() for file in archives):
            from torchvision import datasets

            try:
                for split in ("train", "val"):
                    with contextlib.redirect_stdout(sys.stderr):
                        datasets.ImageNet(place, split)
            except (RuntimeError, OSError) as e:
                raise UserError(f"{place}: ImageNet's archives could not be unpacked: {e}") from None
            return tree(place, {"train": place / "train", "test": place / "val"})
    raise UserError(
        f"data/name: imagenet cannot be downloaded without an account, and is not in {data_dir}: put train/ and val/ (a folder a class), "
        f"or {', '.join(archives)}, into a folder and name it by --data-dir or AUTOKD_DATA"
    )


def _archive(name: str, data_dir: Path) -> Contents:
    """A set that is published as one archive: its folder where it lies unpacked, else the archive, else a download."""
    from autokd import download

    archive = SOURCES[name].archive
    assert archive
    root = data_dir / archive.folder
    if not (root / "train").is_dir():
        download.prepare(archive.url, archive.md5, data_dir / archive.file, root, wrapped=archive.wrapped)
    if name != "tiny-imagenet":
        return folder(root)
    # Its val/ is one folder of pictures and a table: name, class, box.
    found = tree(root, {"train": root / "train"})
    try:
        rows = [line.split("\t")[:2] for line in (root / "val/val_annotations.txt").read_text().splitlines()]
        test = Part([f"val/images/{file}" for file, _ in rows], [found.classes.index(c) for _, c in rows])
    except (OSError, ValueError) as e:
        raise UserError(f"{root}: this is not tiny-imagenet as published: {e}; use it as data/name: {FOLDER}{root}") from None
    return Contents(found.classes, found.parts | {"test": test}, root)


_READERS: dict[str, Callable[[str, Path], Contents]] = {
    **dict.fromkeys(TORCHVISION, _torchvision), "digits": _digits, "fake": _fake, "dtd": _dtd, "imagenet": _imagenet,
    "tiny-imagenet": _archive, "cinic10": _archive,
}  # fmt: skip
