"""Weights named by the id of a repository of the Hugging Face Hub."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch

from autokd import recipe
from autokd.errors import UserError
from autokd.train import prepare
from autokd.train.store import Store
from tests.networks import hubs


def made(weights: str) -> recipe.Recipe:
    return recipe.parse(
        {
            "data": {"name": "digits", "limit": 100},
            "teacher": {"model": "timm:test_vit", "weights": weights, "head": "probe"},
            "student": {"model": "cnn-2x8"},
            "train": {"epochs": 1},
        }
    )


@pytest.mark.parametrize("prefix", ["hf_hub", "hf-hub"])
def test_a_repository_in_the_hub_s_cache_is_a_start(
    prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hubs.empty(tmp_path, monkeypatch)
    monkeypatch.setattr("autokd.networks.hub.reachable", lambda url: False)
    about = timm.get_pretrained_cfg("test_vit")
    assert about is not None
    r = made(f"{prefix}:{about.hf_hub_id}")
    assert recipe.files(r) == {}
    with pytest.raises(UserError, match="are not here, and huggingface.co does not answer"):
        prepare.start(r, Store(None))
    torch.manual_seed(0)
    model = timm.create_model("test_vit")
    hubs.publish(tmp_path, "test_vit", model)
    (teacher,) = prepare.start(r, Store(None)).members
    body = teacher.network.backbone.state_dict()
    assert torch.equal(body["body.model.cls_token"], model.state_dict()["cls_token"])


def test_what_is_no_id_is_told() -> None:
    with pytest.raises(UserError, match="teacher/weights: must name a repository of the hub as"):
        made("hf_hub:resnet")
