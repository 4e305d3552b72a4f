"""Name -> network. The names are those of :mod:`autokd.recipe.network_names`."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from autokd.errors import UserError
from autokd.networks.backbone import Featured, Output
from autokd.networks.families import FAMILIES
from autokd.recipe import network_names

LEAST_PX = 4


class Network(nn.Module):
    """A backbone with its own normalisation, so that every network takes the same pictures: floats
    in [0, 1].

    Args:
        backbone: The network proper, which takes normalised pictures. One of ours has ``stem``,
            ``stages``, ``head`` and ``classifier`` (``autokd.networks.Backbone``).
        channels: Channels of the pictures, C.
        mean, std: Per channel of what the backbone takes; the pictures become ``(x - mean) / std``.
            Kept as buffers, so they travel with the weights.

        side: Pixels a side that the backbone is given, where pictures are made to that first.

    A backbone that takes 3 channels gets a 1-channel picture three times.
    """

    backbone: Featured
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        backbone: Featured,
        channels: int,
        mean: Tensor,
        std: Tensor,
        side: int | None = None,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.side = side
        self.repeats = len(mean) if channels == 1 else 1
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)

    def forward(self, pictures: Tensor) -> Tensor:
        """``[B, C, H, W]`` floats in [0, 1] -> logits ``[B, classes]``."""
        return self.backbone(self.normalise(pictures))

    def features(self, pictures: Tensor) -> Output:
        """The same, with the stages' maps and the embedding. The logits are those of
        ``forward``.
        """
        return self.backbone.features(self.normalise(pictures))

    def embedding(self, pictures: Tensor) -> Tensor:
        """The embedding of ``features`` alone."""
        return self.backbone.embedding(self.normalise(pictures))

    def normalise(self, pictures: Tensor) -> Tensor:
        """What the backbone takes of ``[B, C, H, W]`` floats in [0, 1], in the same layout."""
        if self.side and pictures.shape[2:] != (self.side, self.side):
            size = (self.side, self.side)
            pictures = F.interpolate(pictures, size, mode="bilinear", antialias=True)
        if self.repeats > 1:
            pictures = pictures.expand(-1, self.repeats, -1, -1)
        planar = pictures.is_contiguous()
        if planar or not pictures.is_contiguous(memory_format=torch.channels_last):
            return (pictures - self.mean[:, None, None]).div_(self.std[:, None, None])
        # the same values row by row: a CPU takes three times as long for a loop over C than for one
        # over W·C
        b, c, h, w = pictures.shape
        rows = pictures.permute(0, 2, 3, 1).reshape(b, h, w * c)
        out = (rows - self.mean.repeat(w)).div_(self.std.repeat(w))
        return out.view(b, h, w, c).permute(0, 3, 1, 2)


def build(
    name: str,
    *,
    classes: int,
    channels: int = 3,
    resolution: int,
    mean: Sequence[float] | Tensor | None = None,
    std: Sequence[float] | Tensor | None = None,
    seed: int | None = None,
    pretrained: bool = False,
    new_head: bool = False,
    takes: int | None = None,
    side: int | None = None,
) -> Network:
    """The network of that name, on the CPU, in training mode.

    Args:
        name: A name that ``network_names.problem`` accepts.
        classes: Number of logits.
        channels: Of the pictures.
        resolution: Side of the pictures in px, at least 4. Our networks take other sizes too once
            built.
        mean, std: Per channel, of pictures in [0, 1]; default 0 and 1. Pretrained weights bring
            their own, which win.
        seed: Weights are drawn with this seed, from a generator set aside: the same name and seed
            give the same bytes, and the global generators are left as they were. None: drawn from
            the global generator.
        pretrained: The library's published weights (torchvision and timm only; may download).
            Their head is kept where `classes` is the number it was trained for. The downloaded file
            is not `load_weights`' business: torchvision and timm check and read it their way.
        new_head: Where their head does not fit, it is drawn anew.
        takes: Channels of the network proper, where they are not those of the pictures: 3 for grey
            ones that are to be seen three times.
        side: Pixels a side that pictures are made to before the network proper sees them.

    Raises:
        UserError: Unknown name, impossible resolution or number, a failed download, or published
            weights whose head does not fit.
    """
    card = network_names.card(name)
    for what, value, least in (
        ("classes", classes, 2),
        ("channels", channels, 1),
        ("resolution", resolution, LEAST_PX),
    ):
        if value < least:
            raise UserError(f"{name}: {what} is {value}, but at least {least} is needed")
    taken = takes or channels
    backbone: Featured
    with _drawn_with(seed), torch.device("cpu"):
        if card.family in network_names.LIBRARIES:
            from autokd.networks import library  # here: timm and torchvision take seconds

            made = library.build(
                card.family,
                **card.keywords,
                classes=classes,
                channels=taken,
                resolution=side or resolution,
                pretrained=pretrained,
                new_head=new_head,
            )
            backbone, taken = made.backbone, made.channels
            mean, std = (made.mean, made.std) if pretrained else (mean, std)
        elif pretrained:
            raise UserError(f"{name}: only torchvision: and timm: names have pretrained weights")
        else:
            make = card.build or FAMILIES[card.family]
            seen = side or resolution
            backbone = make(channels=taken, classes=classes, resolution=seen, **card.keywords)
            if not isinstance(backbone, Featured):
                from autokd.networks import torchvision_networks  # here: it takes seconds

                backbone = torchvision_networks.tapped(backbone, seen, taken).train()
    return Network(
        backbone,
        channels,
        _per_channel("mean", mean, 0.0, taken),
        _per_channel("std", std, 1.0, taken),
        side,
    )


def own_side(name: str) -> int | None:
    """Pixels a side that a library's published weights are for; None where that is not known."""
    card = network_names.card(name)
    if card.family not in network_names.LIBRARIES:
        return None
    from autokd.networks import library

    return library.side(card.family, card.keywords["name"])


@contextmanager
def _drawn_with(seed: int | None) -> Iterator[None]:
    if seed is None:
        yield
        return
    # The CPU's generator only: torch.manual_seed would seed the accelerators' too, and they are not
    # forked.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


def _per_channel(
    what: str, values: Sequence[float] | Tensor | None, default: float, channels: int
) -> Tensor:
    if values is None:
        return torch.full((channels,), default, dtype=torch.float32)
    tensor = torch.as_tensor(values, dtype=torch.float32).detach().clone().cpu()
    if tensor.shape == (1,):
        tensor = tensor.repeat(channels)  # 1-channel data in a network that takes 3
    if tensor.shape != (channels,):
        raise UserError(
            f"{what} has shape {list(tensor.shape)}, but the network takes {channels} channels"
        )
    if what == "std" and not bool((tensor > 0).all()):
        raise UserError(f"std is {tensor.tolist()}, but has to be positive")
    return tensor
