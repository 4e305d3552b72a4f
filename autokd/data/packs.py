"""The pack that a recipe's data means: found in the cache, or made there now."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from autokd.cache import default_cache
from autokd.data import packfile, packing, sources
from autokd.data.packfile import Pack
from autokd.data.sources import Contents
from autokd.errors import UserError
from autokd.recipe import DataSettings, data_names


def downloads_folder(data_dir: str | Path | None = None) -> Path:
    """Where downloads go and torchvision's files are looked for: ``data_dir``, else
    ``AUTOKD_DATA``, else in the cache.
    """
    given = data_dir or os.environ.get("AUTOKD_DATA")
    return Path(given).expanduser().absolute() if given else default_cache() / "downloads"


def pack(
    settings: DataSettings, *, data_dir: str | Path | None = None, large: bool | None = None
) -> Pack:
    """The packed pictures of a recipe's data, made now where they are not yet. A process looks at a
    folder once.

    ``large``: packs above 20 GB are made too (default: where ``AUTOKD_LARGE`` is 1). Raises
    :class:`UserError`.
    """
    large = os.environ.get("AUTOKD_LARGE") == "1" if large is None else large
    skip = settings.on_error == "skip"
    where, names = _names(settings, data_dir)
    return _pack(names, settings.short_side, skip, where, default_cache() / "data", large)


def _names(settings: DataSettings, data_dir: str | Path | None) -> tuple[Path, tuple[str, ...]]:
    """The folder of downloads, of no account where there are folders alone; and what the pack is
    made of: the data, and the pictures that are added without labels. Folders by their whole path.
    """
    where = downloads_folder(data_dir)
    looked = where if data_dir or os.environ.get("AUTOKD_DATA") else None
    named = {"data/name": settings.name, "data/unlabelled": settings.unlabelled}
    names = tuple(
        data_names.FOLDER + str(sources.resolve(name, looked, key)) if _is_folder(name) else name
        for key, name in named.items()
        if name is not None
    )
    return (Path() if all(map(_is_folder, names)) else where), names


def _is_folder(name: str | None) -> bool:
    return name is not None and name.startswith(data_names.FOLDER)


def contents(settings: DataSettings) -> Contents:
    """What the recipe's pack is made of, as it lies there now."""
    where, names = _names(settings, None)
    return _joined(names, _read(names, where))


def _read(names: tuple[str, ...], data_dir: Path) -> list[Callable[[], Contents]]:
    """Each of what a pack is made of, read when it is asked for, once."""
    readers = (sources.contents, sources.unlabelled)
    return [
        functools.cache(functools.partial(read, name, data_dir))
        for read, name in zip(readers, names, strict=False)
    ]


def _joined(names: tuple[str, ...], parts: list[Callable[[], Contents]]) -> Contents:
    found = parts[0]()
    for more in parts[1:]:
        found = found._replace(parts=found.parts | more().parts)
    return found._replace(listing=_listing(names, parts) or found.listing)


def _listing(names: tuple[str, ...], parts: list[Callable[[], Contents]]) -> str | None:
    """The hash of the folders' files; None where there is no folder: published sets do not
    change.
    """
    listings = [p().listing for n, p in zip(names, parts, strict=True) if _is_folder(n)]
    return "+".join(listings) or None


@functools.lru_cache(maxsize=4)
def _pack(
    names: tuple[str, ...], short_side: int, skip: bool, data_dir: Path, cache: Path, large: bool
) -> Pack:
    parts = _read(names, data_dir)
    if len(names) == 1 and names[0] in data_names.EMBEDDED:
        return packing.in_memory(parts[0](), names[0])
    return obtain(
        manifest_path(names, short_side, cache),
        lambda: _joined(names, parts),
        " + ".join(names),
        short_side=short_side,
        skip=skip,
        large=large,
        fresh=lambda: _listing(names, parts),
    )


def manifest_path(names: tuple[str, ...], short_side: int, cache: Path) -> Path:
    """The manifest of a pack. Named sets are the published ones, wherever they lie; a folder is its
    path.
    """
    readable = re.sub("[^A-Za-z0-9._-]+", "-", Path(names[0]).name or names[0])[-40:]
    key = hashlib.sha256(json.dumps([*names, short_side]).encode()).hexdigest()[:12]
    return cache / f"{readable}-{key}.json"


def obtain(
    manifest: Path,
    contents: Callable[[], Contents],
    name: str,
    *,
    short_side: int,
    skip: bool,
    fresh: Callable[[], str | None],
    large: bool = False,
) -> Pack:
    """The pack behind ``manifest``, made now where there is none, or where the folder is not as it
    was (``fresh`` gives its listing).

    One process packs; others wait for it. Raises :class:`UserError`.
    """
    now = fresh()

    def usable() -> Pack | None:
        unchanged = now is None or packfile.listing(manifest) == now
        return packfile.read(manifest) if unchanged else None

    pack = usable()
    if pack is None:
        try:
            manifest.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(manifest.with_suffix(".lock")):
                pack = usable()
                if pack is None:
                    packing.write(
                        contents(),
                        manifest,
                        name,
                        short_side=short_side,
                        skip=skip,
                        large=large,
                        progress=ProgressLine(name),
                    )
                    pack = packfile.read(manifest)
        except OSError as e:
            raise UserError(
                f"{manifest.parent}: packs cannot be kept there: {e.strerror or e}; set"
                " AUTOKD_CACHE to a folder that can be written"
            ) from None
    if pack is None:
        raise UserError(
            f"{manifest.parent}: the pack of {name} could not be read back; is the disk in order?"
        )
    if pack.skipped and not skip:
        raise UserError(packing.unreadable(**pack.skipped[0]))
    return pack


class ProgressLine:
    """Progress on stderr, from the second second on: a line that is written over on a terminal,
    else one every ten seconds.
    """

    def __init__(self, name: str):
        self.name = name
        self.began = time.monotonic()
        self.last = self.began + (1 if sys.stderr.isatty() else -8)

    def __call__(self, done: int, total: int) -> None:
        now, live = time.monotonic(), sys.stderr.isatty()
        shown = self.last > self.began
        if now - self.last > (0.5 if live else 10) or (done == total and shown):
            self.last = now
            left = (now - self.began) * (total - done) / max(done, 1)
            text = f"packing {self.name}: {done:,} of {total:,} pictures, {left:.0f} s left"
            print(text, end="\r" if live and done < total else "\n", file=sys.stderr, flush=True)


def verify(settings: DataSettings, *, data_dir: str | Path | None = None) -> str:
    """Read every byte of the pack again. Returns its fingerprint; raises :class:`UserError` where
    it is damaged.
    """
    found = pack(settings, data_dir=data_dir)
    if found.manifest is not None and not packfile.intact(found):
        name = found.manifest.name
        raise UserError(
            f"{found.file}: damaged: its checksum is not the one in {name}; remove {name}, and it"
            " will be packed again"
        )
    return found.fingerprint
