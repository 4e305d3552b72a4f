"""Documents gone wrong at random."""

from __future__ import annotations

from pathlib import Path

import pytest

from autokd import recipe, space
from autokd.errors import UserError
from tests.helpers.documents import YAMLS
from tests.helpers.fuzzer import mutants


@pytest.mark.parametrize(("folder", "count"), [("search_spaces", 100), ("pipelines", 250)])
def test_a_document_gone_wrong_at_random_is_valid_or_refused(
    tmp_path: Path, folder: str, count: int
) -> None:
    """Nothing but a DocumentError or a UserError comes of it, and each problem is one line that can
    be read.
    """
    for path in YAMLS:
        (tmp_path / path.parts[-2]).mkdir(exist_ok=True)
        (tmp_path / path.parts[-2] / path.name).write_text(path.read_text())
    broken = tmp_path / folder / "mutant.yaml"
    refused = 0
    for made in mutants([p.read_text() for p in YAMLS if p.parts[-2] == folder], count, seed=0):
        broken.write_bytes(made)
        try:
            (
                space.load(broken).starting_points()
                if folder == "search_spaces"
                else recipe.load(broken)
            )
        except UserError as e:
            refused += 1
            assert all(line and len(line) < 1200 for line in str(e).split("\n")), e
        except Exception as e:
            raise AssertionError(made.decode("utf-8", "replace")) from e
    assert refused > count / 2
