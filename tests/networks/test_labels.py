"""Classes by name: in another order, a few of many."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from autokd import networks
from autokd.errors import UserError
from tests.networks.inputs import pictures, randomised


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("l.txt", "cat\ndog\n\nGolden_Retriever \n"),
        ("l.json", '["cat", "dog", "Golden_Retriever"]'),
        ("l.json", '{"2": "Golden_Retriever", "0": "cat", "1": "dog"}'),
        ("config.json", '{"id2label": {"0": "cat", "1": "dog", "2": "Golden_Retriever"}}'),
        ("config.json", '{"architecture": "x", "label_names": ["cat", "dog", "Golden_Retriever"]}'),
    ],
)
def test_labels_are_read(file: str, text: str, tmp_path: Path) -> None:
    (tmp_path / file).write_text(text)
    assert networks.read_labels(tmp_path / file) == ["cat", "dog", "Golden_Retriever"]


@pytest.mark.parametrize("text", ["", "one\n", "{", json.dumps({"a": "b"}), "3"])
def test_what_is_no_list_of_labels(text: str, tmp_path: Path) -> None:
    (tmp_path / "l.json").write_text(text)
    with pytest.raises(UserError, match="l.json"):
        networks.read_labels(tmp_path / "l.json")
    with pytest.raises(UserError, match="cannot be read"):
        networks.read_labels(tmp_path / "none.txt")


def test_places() -> None:
    labels = ["crane", "tabby_cat", "Dog", "crane"]
    assert networks.places(["dog", "tabby cat"], labels, "l.txt") == [2, 1]
    with pytest.raises(UserError, match="'crane' of the data is there 2 times"):
        networks.places(["crane"], labels, "l.txt")
    with pytest.raises(UserError, match="'dogs' of the data is not there; nearest: 'Dog'"):
        networks.places(["dogs"], labels, "l.txt")


@pytest.mark.parametrize("name", ["cnn-2x8", "timm:test_vit", "torchvision:squeezenet1_1"])
def test_the_chosen_classes_have_the_logits_that_they_had(name: str) -> None:
    given = randomised(networks.build(name, classes=5, resolution=64, seed=0)).eval()
    chosen = networks.build(name, classes=3, resolution=64, seed=1)
    networks.choose_classes(given, chosen, [4, 0, 2])
    seen = pictures(2, 3, 64)
    torch.testing.assert_close(chosen.eval()(seen), given(seen)[:, [4, 0, 2]])
