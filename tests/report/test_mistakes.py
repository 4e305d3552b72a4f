"""Where the exported student errs, beside its teacher; the gallery; nothing in older studies."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from autokd import report
from autokd.report import mistakes
from autokd.report.predictions import predictions
from autokd.study import ledger
from tests.helpers.hostile import HOSTILE
from tests.helpers.synthetic import study
from tests.helpers.told import SAID, told
from tests.report.outline import Outline


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return told(study(tmp_path_factory.mktemp("runs") / "studies" / "told", 24))


def view(folder: Path) -> report.StudyData:
    return report.StudyData(folder.name, *ledger.read(folder), folder)


def test_each_class_has_its_numbers(known: Path) -> None:
    cells = Outline(mistakes.classes(view(known))).text["td"]
    table = [cells[i : i + 7] for i in range(0, 21, 7)]
    assert table == [  # the lowest recall first
        ["dog", "4", "0.250", "0.333", "0.286", "newt (3)", "0.000"],
        ["cat", "7", "0.714", "0.833", "0.769", "dog (2)", "1.000"],
        ["newt", "5", "0.800", "0.571", "0.667", "cat (1)", "0.800"],
    ]


def test_the_confusion_matrix_counts_pictures(known: Path) -> None:
    found = predictions(view(known))
    assert found is not None and found.part == "test"
    assert found.counts.tolist() == [[5, 2, 0], [0, 1, 3], [1, 0, 4]]
    chart = Outline(mistakes.classes(view(known))).charts[0]
    assert chart["data"][0]["text"] == [["5", "2", ""], ["", "1", "3"], ["1", "", "4"]]
    assert chart["data"][0]["z"][1] == [0, 0.25, 0.75]
    assert chart["data"][0]["hovertext"][1][2] == "dog taken for newt: 3 of 4"


def test_of_many_classes_the_pairs_that_are_confused_most(
    known: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mistakes, "MOST", 2)
    page = mistakes.classes(view(known))
    assert not Outline(page).charts
    assert Outline(page).text["td"][-9:-6] == ["dog", "newt", "3"]


def test_student_and_teacher_side_by_side(known: Path) -> None:
    page = mistakes.beside_teacher(view(known))
    shares = Outline(page).text["td"]
    counts = [int(n) for n in shares[2::3] if n.isdigit()]
    assert counts == [9, 2, 1, 3, 1] and sum(counts) == len(SAID)
    assert "the same class for 75.0% of the 16 test pictures" in page


def test_the_gallery_has_the_pictures_themselves(known: Path) -> None:
    page = mistakes.gallery(view(known))
    assert page.count("<li>") == 6 and "6 of the 6 test pictures" in page
    assert "<b>cat</b><span>student: dog 73%</span><span>teacher: cat 75%</span>" in page
    raw = base64.b64decode(re.findall(r"base64,([^\"]+)", page)[0])
    kept = predictions(view(known))
    assert kept is not None
    assert (np.asarray(Image.open(io.BytesIO(raw))) == kept.picture[0]).all()


def test_names_of_classes_stay_text(tmp_path: Path) -> None:
    folder = told(study(tmp_path / "studies" / "h", 24), [HOSTILE, "b", "c"])
    outline = Outline(report.page(folder).html)
    assert not [a for t, a in outline.tags if a.get("id") == "evil" or "onerror" in a]
    pictures = [a for t, a in outline.tags if t == "img"]
    assert pictures and all((a["src"] or "").startswith("data:image/png;") for a in pictures)


def test_a_file_that_was_changed_is_not_believed(tmp_path: Path) -> None:
    folder = told(study(tmp_path / "studies" / "s", 24))
    file = next(folder.rglob("outcomes-test.safetensors"))
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    assert predictions(view(folder)) is None
    page = report.page(folder).html
    assert "<h2" in page and "Class by class" not in page and "Mistakes" not in page
