"""Starting and extending a search, without Ray's processes."""

from __future__ import annotations

from pathlib import Path

import pytest

from autokd.engine import search
from autokd.errors import UserError
from autokd.study import ledger
from autokd.study.ledger import Ledger
from autokd.study.queue import Study
from tests.study.driver import drive, loaded, new


def test_all_jobs_find_room_on_the_gpus() -> None:
    for gpus in (1, 2, 3, 8):
        room = search.Capacity(8, gpus, gpus)
        for jobs in range(1, 20):
            assert gpus * int(1 / room.share(None, jobs) + 1e-6) >= jobs
        for share in (0.1, 0.25, 0.3, 0.4, 0.6, 1.0):
            assert room.jobs(share) == gpus * int(1 / share + 1e-6)
    assert search.Capacity(8, 0, 0).share(None, 4) == 0
    assert search.Capacity(8, 4, 4).jobs(2) == 2
    assert search.Capacity(8, 4, 4).jobs(None) == 4


def test_a_study_that_another_search_began_meanwhile_is_left_alone(
    tmp_path: Path, space_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    s = loaded(space_file, "search/trials=4")

    def meanwhile(*_: object, **__: object) -> None:
        study = new(tmp_path / "studies", s)
        drive(study)
        study.book.close()

    monkeypatch.setenv("AUTOKD_RUNS", str(tmp_path))
    monkeypatch.setattr(search, "checked", meanwhile)
    with pytest.raises(UserError, match="exists already"):
        search.start(s, name="a")
    assert [e["event"] for e in ledger.read(tmp_path / "studies/a")[0]].count("created") == 1


def test_a_space_s_file_may_have_any_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOKD_RUNS", str(tmp_path))
    assert search.next_name("größe 1") == "gr--e-1-1"
    for stem in ("größe", "a b", ".", "", "x" * 200):
        ledger.folder(tmp_path, search.next_name(stem))


@pytest.mark.parametrize(
    "setting", ["search/epochs=60", "search/target=0.87", "search/plateau={trials: 3}"]
)
def test_a_limit_that_was_reached_does_not_keep_an_extension_from_its_trials(
    tmp_path: Path, space_file: Path, monkeypatch: pytest.MonkeyPatch, setting: str
) -> None:
    s = loaded(space_file, setting, "search/trials=200")
    study = new(tmp_path / "studies", s)
    drive(study)
    study.book.append("closed", results=[])
    study.book.close()
    before = sum(t.searching for t in study.trials.values())

    def go(book: Ledger, *_: object, **__: object) -> None:
        again = Study(s, book, trials=book.table.created["trials"])
        drive(again, f=lambda recipe, epoch: 0.5)
        assert sum(t.searching for t in again.trials.values()) == before + 3, (
            again.book.table.stopping
        )

    monkeypatch.setenv("AUTOKD_RUNS", str(tmp_path))
    monkeypatch.setattr(search, "checked", lambda *_, **__: None)
    monkeypatch.setattr(search, "_go", go)
    search.extend("a", 3)
