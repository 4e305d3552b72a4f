"""Who teaches whom, against its references."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from autokd.recipe import axes
from tests.methods.words import call, epoch_words


def experts(kind: str, given: dict[str, Any], **settings: Any) -> list[list[int]]:
    return call(axes.method("teaching", kind), given, settings).tolist()


def test_who_is_left_out_depends_on_the_batch_alone() -> None:
    kept = experts("dense", epoch_words(members=3), stochastic=True)
    batches = epoch_words()["batch_index"].tolist()
    left = {({0, 1, 2} - set(pair)).pop() for pair in zip(*kept, strict=True)}
    assert len(left) > 1
    assert len(set(zip(batches, *kept, strict=True))) == len(set(batches))


@pytest.mark.parametrize(("epoch", "warm", "allowed"), [(0, 4, 1), (1, 4, 2), (2, 4, 3), (0, 0, 3)])
def test_curriculum_notes_how_many_each_expert_teaches(epoch: int, warm: int, allowed: int) -> None:
    notes: dict[str, float] = {}
    given = epoch_words(members=3, epoch=epoch) | {"note": notes.__setitem__}
    [found] = experts("curriculum", given, warm=warm)
    assert max(found) == allowed - 1
    assert {name: int(v) for name, v in notes.items()} == {
        f"teaching/expert{k}": found.count(k) for k in range(3)
    }


def test_curriculum_breaks_ties_by_index() -> None:
    given = epoch_words(members=3) | {
        "labels": torch.zeros(24, dtype=torch.int64),
        "first_logits": torch.zeros(3, 24, 5),
    }
    assert experts("curriculum", given, warm=0) == [[0] * 8 + [1] * 8 + [2] * 8]
    given["labels"] -= 1  # and nobody labelled is no error
    assert experts("curriculum", given, warm=0) == [[0] * 8 + [1] * 8 + [2] * 8]
