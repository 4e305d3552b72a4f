"""Published archives: fetched so that a broken line costs nothing, checked, and unpacked whole or
not at all.
"""

from __future__ import annotations

import hashlib
import http.client
import shutil
import sys
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from autokd.errors import UserError

BLOCK = 1 << 20
TIMEOUT = 30.0  # seconds without a byte
# seconds before each new attempt; an attempt that brought something starts the count again
WAITS = (1.0, 2.0, 4.0)

# what is being brought, bytes so far, bytes in all
DownloadProgress = Callable[[str, int, int], None]


def to_stderr(what: str, done: int, total: int) -> None:
    """Progress as a line that is written over on a terminal, else a line for each tenth."""
    tenth = max(total // 10, 1)
    if sys.stderr.isatty():
        end = "\n" if done == total else "\r"
        print(f"{what} {done:,} / {total:,}", end=end, file=sys.stderr, flush=True)
    elif done == total or done // tenth > (done - BLOCK) // tenth:
        print(f"{what} {done:,} / {total:,}", file=sys.stderr)


def prepare(
    url: str,
    md5: str,
    archive: Path,
    folder: Path,
    *,
    wrapped: bool,
    progress: DownloadProgress = to_stderr,
) -> None:
    """Make ``folder`` from ``archive``, which is fetched where it is not there. ``wrapped``: the
    archive has the folder at its top.

    Safe against a second process that does the same, and against being killed. Raises
    :class:`UserError`.
    """
    try:
        archive.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(archive.with_name(f".{archive.name}.lock")):
            if not folder.exists():
                if not archive.exists():
                    fetch(url, md5, archive, progress=progress)
                elif md5sum(archive) != md5:
                    raise UserError(
                        f"{archive}: its checksum is not that of the published file ({md5}); remove"
                        " it, and it will be fetched again"
                    )
                unpack(archive, folder, wrapped=wrapped)
    except OSError as e:
        raise UserError(
            f"{archive.parent}: {archive.name} cannot be kept there: {e.strerror or e}"
        ) from None


def fetch(url: str, md5: str, path: Path, *, progress: DownloadProgress = to_stderr) -> None:
    """Download to ``path``, going on where an earlier attempt stopped; ``path`` appears only when
    the checksum is right.

    Raises :class:`UserError` without a network, or where what arrives is not what was published.
    """
    part = path.with_name(f"{path.name}.part")
    begun = part.exists()
    _bring(url, part, path, md5, progress)
    if begun and md5sum(part) != md5:
        part.unlink()  # what was there may have been of another version: once more from the start
        _bring(url, part, path, md5, progress)
    if (got := md5sum(part)) != md5:
        part.unlink()
        raise UserError(
            f"{url}: what arrived has the checksum {got}, and {md5} was published; nothing of it"
            " was kept"
        )
    part.replace(path)


def _bring(url: str, part: Path, path: Path, md5: str, progress: DownloadProgress) -> None:
    attempt = 0
    while True:
        have = part.stat().st_size if part.exists() else 0
        try:
            if _attempt(url, part, have, progress):
                return
            reason = "the connection ended early"
        except urllib.error.HTTPError as e:
            if e.code == 416 and have:  # nothing lies beyond what we have
                return
            reason = f"the server answers {e.code} {e.reason}"
            attempt = len(WAITS) if e.code in {401, 403, 404, 410} else attempt
        except (
            urllib.error.URLError,
            http.client.HTTPException,
            TimeoutError,
            ConnectionError,
        ) as e:
            reason = str(getattr(e, "reason", None) or e)
        grown = (part.stat().st_size if part.exists() else 0) > have
        attempt = 0 if grown else attempt
        if attempt >= len(WAITS):
            kept = (
                f"; {have:,} bytes are kept, and the next start goes on from there" if have else ""
            )
            raise UserError(
                f"{url} cannot be downloaded: {reason}{kept}. Where there is no network, bring it"
                f" as {path.name} (md5 {md5}) to {path.parent}, or name the folder where it lies by"
                " --data-dir or AUTOKD_DATA"
            )
        time.sleep(WAITS[attempt])
        attempt += 1


def _attempt(url: str, part: Path, have: int, progress: DownloadProgress) -> bool:
    """One request, appended to ``part``. Whether all of it has come."""
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
        if answer.status != 206:  # the server sends all of it again
            have = 0
        length = answer.headers.get("Content-Length")
        total = have + int(length) if length else 0
        with open(part, "ab" if have else "wb") as f:
            while block := answer.read(BLOCK):
                f.write(block)
                have += len(block)
                progress(f"downloading {part.stem}, bytes:", have, max(total, have))
    return have >= total


def md5sum(path: Path) -> str:
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "md5").hexdigest()


def unpack(archive: Path, folder: Path, *, wrapped: bool) -> None:
    """Unpack a .zip or .tar.gz to ``folder``, which appears when all of it is there. Raises
    :class:`UserError` for a damaged archive.
    """
    print(f"unpacking {archive.name} into {folder}", file=sys.stderr)
    part = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        if archive.suffix == ".zip":
            with zipfile.ZipFile(archive) as z:
                z.extractall(part)  # takes absolute names and .. as names inside
        else:
            with tarfile.open(archive) as t:
                t.extractall(part, filter="data")
        made = part / folder.name if wrapped else part
        if not made.is_dir():
            raise UserError(f"{archive}: there is no folder {folder.name} in it")
        made.chmod(0o755)
        made.replace(folder)
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error) as e:
        raise UserError(
            f"{archive}: damaged: {e}; remove it, and it will be fetched again"
        ) from None
    finally:
        shutil.rmtree(part, ignore_errors=True)
