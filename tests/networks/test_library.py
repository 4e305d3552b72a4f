"""Networks of torchvision and timm, and their weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision

from autokd import networks
from autokd.errors import UserError
from autokd.networks import library_common
from tests.networks import hubs
from tests.networks.inputs import library_module, output_of, randomised


@pytest.mark.parametrize(
    ("name", "stages"),
    [
        ("torchvision:resnet18", 5),
        ("torchvision:squeezenet1_1", 4),
        ("torchvision:mobilenet_v3_small", 5),
        ("torchvision:regnet_x_400mf", 5),
        ("timm:test_resnet", 5),
        ("timm:test_vit", 6),
        ("timm:test_efficientnet", 5),
        ("timm:test_convnext", 4),
    ],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_library_networks(name: str, stages: int, channels: int) -> None:
    network = randomised(
        networks.build(
            name, classes=6, channels=channels, resolution=32, seed=0, mean=[0.5] * channels
        )
    )
    output = output_of(network, channels, 32)
    assert output.logits.shape == (2, 6) and len(output.stages) == stages
    if name.endswith(
        "resnet18"
    ):  # the stem and torchvision's four layers, though the last map has one pixel
        assert [stage.shape[1] for stage in output.stages] == [64, 64, 128, 256, 512]
        assert torch.allclose(output.embedding, output.stages[-1].mean((2, 3)))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("torchvision:resnt18", "torchvision:resnet18"),
        ("timm:reznet18", "timm:resnet18"),
        ("timm:resnet18.nowhere", "timm:resnet18\\."),
        ("torchvision:resnet50.IMAGENET1K_V3", "torchvision:resnet50.IMAGENET1K_V[12]"),
        ("torchvision:vit_b_32", "40 px"),
        ("torchvision:alexnet", "40 px"),
    ],
)
def test_library_refusals(name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        networks.build(name, classes=6, resolution=40)


def test_pretrained_weights_bring_head_and_normalisation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autokd.networks.torchvision_networks.reachable", lambda url: True)
    published = library_module(
        networks.build("torchvision:squeezenet1_1", classes=1000, resolution=64, seed=9)
    ).state_dict()
    monkeypatch.setattr(
        "torchvision.models._api.load_state_dict_from_url",
        lambda *arguments, **options: dict(published),
    )
    arguments: dict[str, Any] = {
        "resolution": 64,
        "channels": 1,
        "mean": [0.5],
        "std": [0.25],
        "seed": 0,
        "pretrained": True,
    }
    same = networks.build("torchvision:squeezenet1_1", classes=1000, **arguments)
    assert torch.equal(library_module(same).classifier[1].weight, published["classifier.1.weight"])
    assert same.mean.tolist() == pytest.approx([0.485, 0.456, 0.406])
    with pytest.raises(UserError, match="a head for 1000 classes, and the data has 10 classes"):
        networks.build("torchvision:squeezenet1_1", classes=10, **arguments)
    other = networks.build("torchvision:squeezenet1_1", classes=10, new_head=True, **arguments)
    assert torch.equal(library_module(other).features[0].weight, published["features.0.weight"])
    assert output_of(other.eval(), 1, 64).logits.shape == (2, 10)


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("torchvision:resnet50.IMAGENET1K_V1", "resnet50-0676ba61.pth"),
        ("torchvision:resnet50.IMAGENET1K_V2", "resnet50-11ad3fa6.pth"),
        ("torchvision:resnet50", "resnet50-11ad3fa6.pth"),
    ],
)
def test_the_weights_that_are_named_are_asked_for(
    name: str, file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr("autokd.networks.torchvision_networks.reachable", lambda url: True)

    def ask(url: str, *arguments: object, **options: object) -> None:
        asked.append(url)
        raise OSError("that is all")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", ask)
    with pytest.raises(UserError, match="that is all"):
        networks.build(name, classes=10, resolution=64, pretrained=True)
    assert [url.rpartition("/")[2] for url in asked] == [file]


@pytest.mark.parametrize(
    ("name", "download"),
    [
        ("torchvision:squeezenet1_1", "torchvision.models._api.load_state_dict_from_url"),
        ("timm:test_resnet", "timm.models._builder.load_state_dict_from_hf"),
    ],
)
def test_a_failed_download_is_said(
    name: str, download: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(download, fail)
    for library in ("timm_networks", "torchvision_networks"):
        monkeypatch.setattr(f"autokd.networks.{library}.reachable", lambda url: True)
    with pytest.raises(ValueError, match=f"{name}.*no route to host"):
        networks.build(name, classes=10, resolution=64, pretrained=True)


@pytest.mark.parametrize(
    ("name", "model", "file", "mean"),
    [
        ("timm:test_resnet", "test_resnet", "test_resnet.r160_in1k.safetensors", [0.5] * 3),
        (
            "torchvision:squeezenet1_1",
            "squeezenet1_1",
            "squeezenet1_1-b8a52dc0.pth",
            [0.485, 0.456, 0.406],
        ),
    ],
)
def test_without_a_network_it_is_said_which_file_belongs_where(
    name: str,
    model: str,
    file: str,
    mean: list[float],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hubs.empty(tmp_path, monkeypatch)
    with pytest.raises(UserError, match="are not here, and .* does not answer") as refused:
        networks.build(name, classes=1000, resolution=64, pretrained=True)
    place = Path(str(refused.value).rpartition(" lay it here as ")[2])
    assert place == tmp_path / "torch/hub/checkpoints" / file
    torch.manual_seed(1)
    make = timm.create_model if name.startswith("timm") else torchvision.models.get_model
    published = make(model)
    assert hubs.lay(tmp_path, place.name, published) == place
    found = networks.build(name, classes=1000, resolution=64, pretrained=True)
    assert found.mean.tolist() == pytest.approx(mean)
    for key, tensor in published.state_dict().items():
        assert torch.equal(library_module(found).state_dict()[key], tensor)


def test_what_the_hub_s_client_has_fetched_needs_no_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hubs.empty(tmp_path, monkeypatch)
    published = timm.create_model("test_vit")
    hubs.publish(tmp_path, "test_vit", published)
    found = networks.build("timm:test_vit", classes=1000, resolution=160, pretrained=True)
    for key, tensor in published.state_dict().items():
        assert torch.equal(library_module(found).state_dict()[key], tensor)
    with pytest.raises(UserError, match="a head for 1000 classes, and the data has 10 classes"):
        networks.build("timm:test_vit", classes=10, resolution=160, pretrained=True)


def test_a_host_that_does_not_answer_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def refuse(address: Any, timeout: float) -> None:
        asked.append(address)
        raise OSError("unreachable")

    monkeypatch.setattr("socket.create_connection", refuse)
    monkeypatch.setattr("urllib.request.getproxies", dict)
    assert not library_common.reachable("https://example.org/file.pth")
    assert asked == [("example.org", 443)]
    monkeypatch.setattr("urllib.request.getproxies", lambda: {"https": "http://proxy"})
    assert library_common.reachable("https://example.org/file.pth")
