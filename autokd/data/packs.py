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
from autokd.data import packfile, packing, sources, splits
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
    where = downloads_folder(data_dir)
    name = settings.name
    large = os.environ.get("AUTOKD_LARGE") == "1" if large is None else large
    if name.startswith(data_names.FOLDER):
        named = data_dir or os.environ.get("AUTOKD_DATA")
        name = data_names.FOLDER + str(sources.resolve(name, where if named else None))
        where = Path()  # of no account from here on
    skip = settings.on_error == "skip"
    return _pack(name, settings.short_side, skip, where, default_cache() / "data", large)


@functools.lru_cache(maxsize=4)
def _pack(name: str, short_side: int, skip: bool, data_dir: Path, cache: Path, large: bool) -> Pack:
    contents = functools.cache(lambda: sources.contents(name, data_dir))
    if name in data_names.EMBEDDED:
        return packing.in_memory(contents(), name)
    return obtain(
        manifest_path(name, short_side, cache),
        contents,
        name,
        short_side=short_side,
        skip=skip,
        large=large,
        fresh=lambda: contents().listing if name.startswith(data_names.FOLDER) else None,
    )


def manifest_path(name: str, short_side: int, cache: Path) -> Path:
    """The manifest of a set's pack. Named sets are the published ones, wherever they lie; a folder
    is its path.
    """
    readable = re.sub("[^A-Za-z0-9._-]+", "-", Path(name).name or name)[-40:]
    key = hashlib.sha256(json.dumps([name, short_side]).encode()).hexdigest()[:12]
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


def notes(settings: DataSettings) -> list[str]:
    """What one would not expect of the data: that every picture has to be enlarged for the recipe's
    resolution, that val/ is read as test. UserError as :func:`pack`.
    """
    found = pack(settings)
    out = [told] if (told := splits.note(found, settings)) else []
    largest = int(found.sizes.min(1).max())
    if largest < settings.resolution:
        out.append(
            f"data/resolution is {settings.resolution}, and no picture's short side has more than"
            f" {largest} px: all are enlarged"
        )
    return out


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
