"""The network owns its normalisation."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from autokd import networks
from tests.networks.inputs import pictures, randomised


def test_the_network_owns_its_normalisation() -> None:
    mean, std = [0.1, 0.2, 0.3], [0.5, 0.6, 0.7]
    plain = randomised(networks.build("cnn-2x8", classes=3, resolution=8, seed=0))
    normalising = randomised(
        networks.build("cnn-2x8", classes=3, resolution=8, seed=0, mean=mean, std=torch.tensor(std))
    )
    batch = pictures(2, 3, 8)
    by_hand = torch.stack([(batch[:, c] - mean[c]) / std[c] for c in range(3)], 1)
    assert torch.allclose(normalising(batch), plain(by_hand), atol=1e-6)
    assert {"mean", "std"} <= networks.state(normalising).keys()


@pytest.mark.parametrize(
    ("channels", "shape"),
    [
        (3, (4, 3, 10, 7)),
        (3, (1, 3, 5, 5)),
        (1, (4, 1, 6, 6)),
        (3, (4, 1, 6, 6)),
        (3, (2, 3, 1, 1)),
    ],
)
def test_normalisation_has_the_same_bytes_and_strides_in_every_layout(
    channels: int, shape: tuple[int, ...]
) -> None:
    """Row by row or channel by channel, into new memory: the pictures are those of every other
    network too.
    """
    mean, std = (
        torch.tensor([0.49, 0.48, 0.45][:channels]),
        torch.tensor([0.25, 0.24, 0.26][:channels]),
    )
    network = networks.Network(nn.Identity(), shape[1], mean, std)  # type: ignore[arg-type]
    batch = torch.rand(*shape, generator=torch.Generator().manual_seed(2))
    for given in (
        batch,
        batch.contiguous(memory_format=torch.channels_last),
        batch.permute(0, 1, 3, 2),
    ):
        before = given.clone()
        want = (given.expand(-1, channels, -1, -1) - mean[:, None, None]) / std[:, None, None]
        got = network.normalise(given)
        assert torch.equal(got, want)
        assert got.stride() == want.stride()
        assert torch.equal(given, before)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mean": [0.5]}, None),
        ({"mean": [0.5, 0.5]}, "3 channels"),
        ({"std": [0.5, 0.5, 0.0]}, "positive"),
        ({"classes": 1}, "classes is 1"),
        ({"resolution": 3}, "resolution is 3"),
        ({"channels": 0}, "channels is 0"),
        ({"pretrained": True}, "pretrained"),
    ],
)
def test_arguments_are_checked(arguments: dict[str, Any], message: str | None) -> None:
    everything: dict[str, Any] = {"classes": 3, "resolution": 8, **arguments}
    if message is None:
        networks.build("cnn-2x8", **everything)
        return
    with pytest.raises(ValueError, match=message):
        networks.build("cnn-2x8", **everything)
