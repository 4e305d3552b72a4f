"""Sets that AutoKD fetches: resumed downloads, checksums, archives."""

from __future__ import annotations

import hashlib
import http.server
import io
import shutil
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autokd import data
from autokd.data.sources import download
from autokd.errors import UserError
from autokd.recipe import DataSettings, data_names
from tests.helpers.pictures import forget, picture, stored, tree


class Server(http.server.BaseHTTPRequestHandler):
    """Serves ``files``; ``cut``: bytes after which a connection breaks; ``ranges``: whether it
    knows Range.
    """

    files: dict[str, bytes] = {}
    cut: int | None = None
    ranges = True
    asked: list[str | None] = []

    def do_GET(self) -> None:
        type(self).asked.append(self.headers.get("Range"))
        body = self.files.get(self.path.lstrip("/"))
        if body is None:
            self.send_error(404)
            return
        start = 0
        if self.ranges and (wanted := self.headers.get("Range")):
            start = int(wanted.removeprefix("bytes=").partition("-")[0])
            if start >= len(body):
                self.send_error(416)
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        self.wfile.write(body[start:] if self.cut is None else body[start : start + self.cut])

    def log_message(self, *args: Any) -> None: ...


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, type[Server]]]:
    monkeypatch.setattr(download, "WAITS", (0.0, 0.0))
    kind = type("Own", (Server,), {"files": {}, "asked": []})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), kind) as web:
        threading.Thread(
            target=web.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        ).start()
        yield f"http://127.0.0.1:{web.server_port}", kind
        web.shutdown()


BODY = np.random.default_rng(0).bytes(300_000)
MD5 = hashlib.md5(BODY).hexdigest()


def test_a_download_goes_on_where_it_broke(tmp_path: Path, server: Any) -> None:
    url, web = server
    web.files["set.zip"] = BODY
    web.cut = 100_000
    seen: list[tuple[int, int]] = []
    path = tmp_path / "set.zip"
    download.fetch(
        f"{url}/set.zip", MD5, path, progress=lambda what, done, total: seen.append((done, total))
    )
    assert path.read_bytes() == BODY and not (tmp_path / "set.zip.part").exists()
    assert web.asked == [None, "bytes=100000-", "bytes=200000-"]
    assert seen[-1] == (300_000, 300_000) and [d for d, _ in seen] == sorted(d for d, _ in seen)


def test_a_download_goes_on_in_the_next_process(tmp_path: Path, server: Any) -> None:
    url, web = server
    web.files["set.zip"] = BODY
    (tmp_path / "set.zip.part").write_bytes(BODY[:120_000])
    download.fetch(f"{url}/set.zip", MD5, tmp_path / "set.zip")
    assert (tmp_path / "set.zip").read_bytes() == BODY and web.asked == ["bytes=120000-"]
    (tmp_path / "whole.zip.part").write_bytes(BODY)  # all of it had come: the server answers 416
    download.fetch(f"{url}/set.zip", MD5, tmp_path / "whole.zip")
    assert (tmp_path / "whole.zip").read_bytes() == BODY
    web.ranges = False
    (tmp_path / "plain.zip.part").write_bytes(BODY[:120_000])
    download.fetch(f"{url}/set.zip", MD5, tmp_path / "plain.zip")
    assert (tmp_path / "plain.zip").read_bytes() == BODY


def test_a_download_that_is_not_what_was_published(tmp_path: Path, server: Any) -> None:
    url, web = server
    web.files["set.zip"] = BODY
    with pytest.raises(
        UserError, match="what arrived has the checksum .* was published; nothing of it was kept"
    ):
        download.fetch(f"{url}/set.zip", "0" * 32, tmp_path / "set.zip")
    assert not list(tmp_path.iterdir())
    (tmp_path / "set.zip.part").write_bytes(b"of another version" * 1000)
    download.fetch(f"{url}/set.zip", MD5, tmp_path / "set.zip")  # once more from the start
    assert (tmp_path / "set.zip").read_bytes() == BODY and web.asked[-1] is None
    with pytest.raises(UserError, match="the server answers 404"):
        download.fetch(f"{url}/nothing.zip", MD5, tmp_path / "nothing.zip")
    web.cut = 0
    with pytest.raises(UserError, match="the connection ended early"):
        download.fetch(f"{url}/set.zip", MD5, tmp_path / "again.zip")
    web.cut = 1000
    web.files["set.zip"] = BODY[:50_000]
    (tmp_path / "more.zip.part").write_bytes(BODY[:2000])
    web.files = {}
    with pytest.raises(
        UserError, match="2,000 bytes are kept, and the next start goes on from there"
    ):
        download.fetch(f"{url}/set.zip", MD5, tmp_path / "more.zip")
    assert (tmp_path / "more.zip.part").read_bytes() == BODY[:2000]


def archived(kind: str, root: Path) -> bytes:
    buffer = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(buffer, "w") as z:
            for path in sorted(root.rglob("*")):
                z.write(path, f"{root.name}/{path.relative_to(root)}")
    else:
        with tarfile.open(fileobj=buffer, mode="w:gz") as t:
            for path in sorted(root.iterdir()):
                t.add(path, path.name)
    return buffer.getvalue()


def published(
    monkeypatch: pytest.MonkeyPatch,
    server: Any,
    name: str,
    body: bytes,
    counts: dict[str, int],
    classes: int,
) -> None:
    url, web = server
    real = data_names.SOURCES[name].archive
    assert real
    web.files[real.file] = body
    own = real._replace(url=f"{url}/{real.file}", md5=hashlib.md5(body).hexdigest())
    monkeypatch.setitem(
        data_names.SOURCES,
        name,
        data_names.Source(
            "", files=True, counts=tuple(counts.items()), classes=classes, archive=own
        ),
    )


def test_tiny_imagenet_is_fetched_unpacked_and_read(
    tmp_path: Path, server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "made" / "tiny-imagenet-200"
    for c in ("n01", "n02"):
        tree(root / "train" / c, {"images": 6}, (64, 64), seed=ord(c[-1]))
        (root / "train" / c / f"{c}_boxes.txt").write_text("x")
    tree(root / "val", {"images": 4}, (64, 64), seed=500)
    (root / "val" / "val_annotations.txt").write_text(
        "".join(f"{i:03}.png\tn0{1 + i % 2}\t0\t0\t9\t9\n" for i in range(4))
    )
    tree(root / "test", {"images": 3}, (64, 64))
    published(
        monkeypatch, server, "tiny-imagenet", archived("zip", root), {"train": 12, "test": 4}, 2
    )
    data_dir = tmp_path / "files"
    pack = data.pack(DataSettings(name="tiny-imagenet", resolution=64), data_dir=data_dir)
    assert pack.parts == {"train": 12, "test": 4}
    assert pack.labels[12:].tolist() == [0, 1, 0, 1]
    assert pack.classes == ["n01", "n02"]
    assert pack.side == 64
    assert np.array_equal(stored(pack, 13), np.asarray(picture(501, 64, 64)))
    assert server[1].asked == [None]
    forget()
    shutil.rmtree(tmp_path / "cache")
    (data_dir / "tiny-imagenet-200.zip").unlink()
    # what lies unpacked is used
    assert (
        data.pack(DataSettings(name="tiny-imagenet", resolution=64), data_dir=data_dir).fingerprint
        == pack.fingerprint
    )
    assert server[1].asked == [None]


def test_cinic10_is_used_from_an_archive_that_is_there(
    tmp_path: Path, server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "made" / "cinic"
    for i, part in enumerate(("train", "valid", "test")):
        tree(root / part, {"cat": 5, "dog": 5}, (32, 32), seed=100 * i)
    body = archived("tar", root)
    published(monkeypatch, server, "cinic10", body, {"train": 10, "validation": 10, "test": 10}, 2)
    data_dir = tmp_path / "files"
    data_dir.mkdir()
    (data_dir / "CINIC-10.tar.gz").write_bytes(body[:-5])
    own = DataSettings(name="cinic10", resolution=32)
    with pytest.raises(UserError, match="its checksum is not that of the published file"):
        data.pack(own, data_dir=data_dir)
    (data_dir / "CINIC-10.tar.gz").write_bytes(body)
    d = data.load(own, data_dir=data_dir)
    assert (len(d.train), len(d.validation), len(d.read_test())) == (10, 10, 10)
    assert server[1].asked == []
    assert sorted(p.name for p in data_dir.iterdir()) == [
        ".CINIC-10.tar.gz.lock",
        "CINIC-10",
        "CINIC-10.tar.gz",
    ]


def test_an_archive_is_unpacked_whole_or_not_at_all(tmp_path: Path) -> None:
    root = tree(tmp_path / "made", {"train": 3})
    (tmp_path / "x.tar.gz").write_bytes(archived("tar", root)[:600])
    with pytest.raises(UserError, match="x.tar.gz: damaged"):
        download.unpack(tmp_path / "x.tar.gz", tmp_path / "x", wrapped=False)
    with tarfile.open(tmp_path / "evil.tar.gz", "w:gz") as t:
        about = tarfile.TarInfo("../evil.txt")
        t.addfile(about)
    with pytest.raises(UserError, match="evil.tar.gz: damaged"):
        download.unpack(tmp_path / "evil.tar.gz", tmp_path / "x", wrapped=False)
    (tmp_path / "y.zip").write_bytes(b"PK\x03\x04 nothing")
    with pytest.raises(UserError, match="y.zip: damaged"):
        download.unpack(tmp_path / "y.zip", tmp_path / "x", wrapped=True)
    assert not (tmp_path / "x").exists()
    assert not (tmp_path / "evil.txt").exists()
    assert not list(tmp_path.glob(".x.*"))
