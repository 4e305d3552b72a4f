"""Trees of class folders, with or without ``train``, ``val`` and ``test`` above them."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from autokd.data.sources.parts import Contents, Part
from autokd.errors import UserError, nearest
from autokd.recipe import loading
from autokd.recipe.data_names import FOLDER

EXTENSIONS = {".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp", ".gif"}
TRAIN = ("train", "training")
VALIDATION = ("val", "valid", "validation", "dev")
TEST = ("test", "testing")
UNLABELLED = "unlabelled"  # a part of pictures without labels


def resolve(name: str, data_dir: Path | None, key: str = "data/name") -> Path:
    """The absolute path that ``folder:PATH`` means: from the current folder, else from
    ``data_dir``. ``key``: the recipe's path that says it. Raises :class:`UserError`.

    In a search's worker the current folder is the one where the search was started; Ray has moved
    the process elsewhere.
    """
    given = Path(name.removeprefix(FOLDER)).expanduser()
    here = Path(os.environ.get("TUNE_ORIG_WORKING_DIR") or Path.cwd())
    tried = [Path(os.path.normpath(base / given)) for base in (here, data_dir) if base is not None]
    for path in dict.fromkeys(tried):
        if path.is_dir():
            return path
        if path.exists():
            raise UserError(
                f"{key}: {path} is a file; folder: takes a folder"
                + (" with one folder of pictures for each class" if key == "data/name" else "")
            )
    tried = [*loading.looked_at.get(name.removeprefix(FOLDER), []), *tried]
    above = tried[0].parent
    beside = [p.name for p in above.iterdir() if p.is_dir()] if above.is_dir() else None
    hint = nearest(given.name, beside) if beside is not None else ""
    raise UserError(
        f"{key}: there is no folder {' nor '.join(map(str, dict.fromkeys(tried)))}"
        + (f"; {hint}" if hint else "")
        + f"; lay it there, or name it: --set {key}={FOLDER}PATH, or --data-dir and the folder"
        " above it"
    )


def folder(root: Path) -> Contents:
    """A tree of class folders as it lies on disk.

    With ``train/`` (which holds class folders), ``val/`` and ``test/`` are the official other
    parts; with one of the two, that one is the test part. Without ``train/``, the class folders lie
    at the top. A class is a folder's name; its pictures may lie deeper. Hidden files are left out,
    and files whose extension no picture has. Raises :class:`UserError`.
    """
    named = {name.lower(): root / name for name in _folders(root)}

    def first(names: tuple[str, ...]) -> Path | None:
        return next((named[n] for n in names if n in named and _folders(named[n])), None)

    train = first(TRAIN)
    validation = first(VALIDATION)
    test = first(TEST)
    if train is None:
        return class_folders(root, {"train": root})
    parts = {"train": train}
    if validation:
        parts["validation" if test else "test"] = validation
    if test:
        parts["test"] = test
    return class_folders(root, parts)


def loose(root: Path) -> Contents:
    """All pictures below a folder, wherever they lie in it, without labels. Raises
    :class:`UserError` where there are none.
    """
    files = sorted(_files(str(root), ""))
    if not files:
        endings = ", ".join(sorted(EXTENSIONS))
        raise UserError(
            f"data/unlabelled: {root}: there are no pictures in it (files that end in {endings})"
        )
    listing = hashlib.sha256()
    for path, size, changed in files:
        listing.update(f"{path}\0{size}\0{changed}\n".encode(errors="surrogateescape"))
    part = Part([path for path, _, _ in files], [-1] * len(files), root)
    return Contents([], {UNLABELLED: part}, root, listing.hexdigest())


def class_folders(root: Path, tops: dict[str, Path]) -> Contents:
    """The contents of folders of class folders. UserError for no pictures, an empty class, one
    class, or one that train lacks.
    """
    classes = _folders(tops["train"])
    if not classes:
        lone = next(iter(_files(str(tops["train"]), "")), None)
        where = (
            f"pictures lie in it directly, such as {lone[0]}, but no folders"
            if lone
            else "it is empty"
        )
        raise UserError(f"{tops['train']}: {where}; expected one folder of pictures for each class")
    listing = hashlib.sha256()
    parts = {part: _part(part, root, tops, classes, listing) for part in tops}
    if len(classes) < 2:
        raise UserError(
            f"{tops['train']}: there is one class, {classes[0]!r}; at least two folders are needed,"
            " or there is nothing to tell apart"
        )
    return Contents(classes, parts, root, listing.hexdigest())


def _part(
    part: str, root: Path, tops: dict[str, Path], classes: list[str], listing: hashlib._Hash
) -> Part:
    """The pictures of one part's class folders; ``listing`` is told of each file."""
    number = {name: i for i, name in enumerate(classes)}
    top = tops[part]
    paths: list[str] = []
    labels: list[int] = []
    empty: list[Path] = []
    for name in _folders(top):
        if name not in number:
            raise UserError(
                f"{top / name}: {tops['train']} has no class of this name; {nearest(name, classes)}"
            )
        files = sorted(_files(str(top / name), os.path.relpath(top / name, root)))
        paths += [path for path, _, _ in files]
        labels += [number[name]] * len(files)
        empty += [] if files else [top / name]
        for path, size, changed in files:
            line = f"{part}\0{path}\0{size}\0{changed}\n"
            listing.update(line.encode(errors="surrogateescape"))
    endings = ", ".join(sorted(EXTENSIONS))
    if not paths:
        raise UserError(
            f"{top}: there are no pictures in its folders (files that end in {endings})"
        )
    if empty:
        raise UserError(
            f"{empty[0]}: this class has no pictures (files that end in {endings}); fill or"
            " remove the folder"
        )
    return Part(paths, labels)


def _folders(top: Path) -> list[str]:
    with _readable(top):
        entries = list(os.scandir(top))
    return sorted(e.name for e in entries if not e.name.startswith(".") and _is_folder(e))


def _files(
    top: str, inside: str, seen: set[tuple[int, int]] | None = None
) -> Iterator[tuple[str, int, int]]:
    """``(relative path, bytes, time in ns)`` of the pictures below. A folder is looked into once,
    whatever links lead to it.
    """
    seen = set() if seen is None else seen
    with _readable(top):
        about = os.stat(top)
        entries = sorted(os.scandir(top), key=lambda e: e.name)
    if (about.st_dev, about.st_ino) in seen:
        return
    seen.add((about.st_dev, about.st_ino))
    for entry in entries:
        if entry.name.startswith("."):
            continue
        path = f"{inside}/{entry.name}" if inside else entry.name
        if _is_folder(entry):
            yield from _files(entry.path, path, seen)
        elif os.path.splitext(entry.name)[1].lower() in EXTENSIONS:
            try:
                about = entry.stat()
            except OSError:  # a dangling link: named when it is decoded
                yield path, -1, 0
            else:
                yield path, about.st_size, about.st_mtime_ns


def _is_folder(entry: os.DirEntry[str]) -> bool:
    with _readable(entry.path):
        return entry.is_dir()


@contextlib.contextmanager
def _readable(top: Any) -> Iterator[None]:
    try:
        yield
    except OSError as e:
        raise UserError(f"{top}: cannot be read: {e.strerror}") from None
