"""The names of the networks: what ``autokd models`` lists and what a recipe may say. Light.

A name is one of ``names()``, or follows a pattern::

    cnn-{depth}x{width}   plain 3x3 convolutions for small pictures, depth 1 to 8, width 1 to 1024
    resnet{6n+2}          CIFAR ResNet of that depth
    cifar:resnet50        the same of a depth that ImageNet's networks have too (50, 152, 200)
    torchvision:NAME      torchvision's classification networks, e.g. torchvision:resnet18
    timm:NAME             timm's networks, with or without a weights tag, e.g. timm:resnet18.a1_in1k

Whether a library knows NAME is asked when the network is built
(:func:`autokd.networks.build`), since that needs the library.
"""

import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from autokd.recipe import plugins

# Library → an example name.
LIBRARIES = {"torchvision": "torchvision:resnet18", "timm": "timm:resnet18"}
CNN_DEPTHS, CNN_WIDTHS = (1, 8), (1, 1024)
IMAGENET_DEPTHS = {18, 34, 101}
# depths of both: a bare name would say either → the library that has ImageNet's
AMBIGUOUS = {50: "torchvision", 152: "torchvision", 200: "timm"}
CIFAR = "cifar:"  # before the names of these
RESNET_DEPTHS = (8, 1202)  # 1202: the deepest of He et al.

HE = "He et al. 2016, arXiv 1512.03385"
WRN = "Zagoruyko & Komodakis 2016, arXiv 1605.07146"
VGG = "Simonyan & Zisserman 2015, arXiv 1409.1556"
MOBILENET = "Sandler et al. 2018, arXiv 1801.04381"
SHUFFLENET_V1 = "Zhang et al. 2018, arXiv 1707.01083"
SHUFFLENET_V2 = "Ma et al. 2018, arXiv 1807.11164"
TAKD = "Mirzadeh et al. 2020, arXiv 1902.03393"
CRD = "as in the reference table of Tian et al. 2020, arXiv 1910.10699"


@dataclass(frozen=True)
class Card:
    """What stands behind one name.

    Args:
        family: Key of ``autokd.networks.FAMILIES``, or a key of ``LIBRARIES``.
        keywords: Arguments of the family's builder, besides channels, classes and resolution.
        about: One line for people.
        paper: Where the architecture is from; empty where there is no paper.
        build: Of a plugin's network, its builder; else the family's.
    """

    family: str
    keywords: Mapping[str, Any] = field(default_factory=dict)
    about: str = ""
    paper: str = ""
    build: Callable[..., Any] | None = None


def _cnn(depth: int, width: int) -> Card:
    about = f"{depth} convolutions of {width} channels, for small pictures"
    return Card("cnn", {"depth": depth, "width": width}, about)


def _resnet(depth: int) -> Card:
    return Card("resnet", {"depth": depth}, f"CIFAR ResNet, {depth} layers, widths 16/32/64", HE)


def _resnet_x4(depth: int) -> Card:
    keywords = {"depth": depth, "widths": (32, 64, 128, 256)}
    return Card("resnet", keywords, f"CIFAR ResNet, {depth} layers, widths 64/128/256, {CRD}", HE)


def _wrn(depth: int, widen: int) -> Card:
    about = f"wide ResNet, {depth} layers, {widen} times the width"
    return Card("wrn", {"depth": depth, "widen": widen}, about, WRN)


def _vgg(depth: int) -> Card:
    about = f"VGG with batch norm and one linear layer, {depth} layers, {CRD}"
    return Card("vgg", {"depth": depth}, about, VGG)


def _plane(depth: int) -> Card:
    about = f"TAKD's plain CNN with {depth} convolutions (half as wide up to 10 classes)"
    return Card("plane", {"depth": depth}, about, TAKD)


_CARDS: dict[str, Card] = {
    **{
        f"cnn-{depth}x{width}": _cnn(depth, width)
        for depth, width in ((2, 8), (2, 16), (3, 8), (3, 16), (3, 32), (4, 32), (6, 64))
    },
    **{f"plane-{depth}": _plane(depth) for depth in (2, 4, 6, 8, 10)},
    **{f"resnet{depth}": _resnet(depth) for depth in (8, 14, 20, 32, 44, 56, 110)},
    **{f"resnet{depth}x4": _resnet_x4(depth) for depth in (8, 32)},
    **{
        f"wrn-{depth}-{widen}": _wrn(depth, widen)
        for depth, widen in ((16, 1), (16, 2), (28, 2), (40, 1), (40, 2))
    },
    **{f"vgg{depth}": _vgg(depth) for depth in (8, 13)},
    "mobilenetv2": Card(
        "mobilenet",
        {"width": 0.5, "expansion": 6},
        f"MobileNetV2 for 32 px, half width, expansion 6, {CRD}",
        MOBILENET,
    ),
    "shufflenetv1": Card(
        "shufflenet", {"version": 1}, f"ShuffleNet V1 for 32 px, 3 groups, {CRD}", SHUFFLENET_V1
    ),
    "shufflenetv2": Card(
        "shufflenet", {"version": 2}, f"ShuffleNet V2 for 32 px, width 1, {CRD}", SHUFFLENET_V2
    ),
}


def register(
    name: str, *, about: str, paper: str = "", **keywords: Any
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register the decorated builder as the network ``name`` (see :mod:`autokd.recipe.plugins`).

    The builder is called as ``build(channels=, classes=, resolution=, **keywords)`` and returns an
    ``autokd.networks.Backbone``, or any ``torch.nn.Module`` from ``[B, channels, H, W]`` to logits,
    whose last linear layer is then its classifier and whose stages are found by a forward pass.
    Torch is best imported inside it, so that names stay light.
    """
    if not re.fullmatch("[A-Za-z0-9_.-]+", name):
        raise ValueError(f"{name!r}: a network's name is of letters, digits, '_', '.' and '-'")

    def decorate(build: Callable[..., Any]) -> Callable[..., Any]:
        _CARDS[name] = Card("plugin", keywords, about, paper, build)
        return build

    return decorate


def newer(name: str) -> str:
    """The name of now for one that an older document or file has."""
    return f"{CIFAR}{name}" if name in _AMBIGUOUS_NAMES else name


def older(name: str) -> str:
    """The name that a network of now had in recipes of format 1, and has in addresses."""
    bare = name.removeprefix(CIFAR)
    return bare if bare in _AMBIGUOUS_NAMES else name


_AMBIGUOUS_NAMES = {f"resnet{depth}" for depth in AMBIGUOUS}


def names() -> list[str]:
    """All fixed names, small families first."""
    plugins.load()
    return list(_CARDS)


def card(name: str) -> Card:
    """What stands behind `name`.

    Raises:
        ValueError: The name is unknown; the message is that of `problem`.
    """
    if trouble := problem(name):
        raise ValueError(trouble)
    if name in _CARDS:
        return _CARDS[name]
    library, _, rest = name.partition(":")
    if library in LIBRARIES:
        return Card(library, {"name": rest}, f"{rest} of {library}")
    numbers = [int(number) for number in re.findall("[0-9]+", older(name))]
    return _cnn(*numbers) if name.startswith("cnn") else _resnet(*numbers)


def describe(name: str) -> str:
    """One line about `name`: what it is and where it is from.

    Raises:
        ValueError: The name is unknown.
    """
    known = card(name)
    return f"{known.about} ({known.paper})" if known.paper else known.about


def problem(name: str) -> str | None:
    """What is wrong with `name`, as a sentence with the nearest name that works; None where nothing
    is.

    >>> problem("resnet20")
    >>> problem("resnet21")
    "'resnet21': the depth of a CIFAR ResNet is 6n+2, from 8 to 1202; did you mean 'resnet20'?"
    """
    plugins.load()
    if name in _CARDS:
        return None
    if name in _AMBIGUOUS_NAMES:
        return _either(name)
    if older(name) != name:
        return None
    library, colon, rest = name.partition(":")
    if colon and library in LIBRARIES:
        rule = f"after '{library}:' comes a name of letters, digits, '_' and '.'"
        if re.fullmatch("[A-Za-z0-9_.]+", rest):
            return None
        return _sentence(name, rule, LIBRARIES[library])
    if sizes := re.fullmatch("cnn-([0-9]{1,9})x([0-9]{1,9})", name):
        depth = _clamp(int(sizes[1]), CNN_DEPTHS)
        width = _clamp(int(sizes[2]), CNN_WIDTHS)
        rule = "the name is cnn-{depth}x{width}, depth 1 to 8 and width 1 to 1024"
        return _differs(name, rule, f"cnn-{depth}x{width}")
    if sizes := re.fullmatch("resnet([0-9]{1,9})", name):
        blocks = round((_clamp(int(sizes[1]), RESNET_DEPTHS) - 2) / 6)
        if int(sizes[1]) in IMAGENET_DEPTHS:
            rule = "that depth is an ImageNet ResNet's, which torchvision and timm have"
            return _sentence(name, rule, f"torchvision:{name}")
        rule = "the depth of a CIFAR ResNet is 6n+2, from 8 to 1202"
        return _differs(name, rule, f"resnet{6 * blocks + 2}")
    [nearest] = difflib.get_close_matches(
        name.lower(), [*_CARDS, *LIBRARIES.values()], n=1, cutoff=0.0
    )
    return _sentence(name, "no network has this name", nearest)


def _clamp(value: int, bounds: tuple[int, int]) -> int:
    return min(max(value, bounds[0]), bounds[1])


def _differs(name: str, rule: str, canonical: str) -> str | None:
    # One spelling per network (no cnn-02x8), since names enter fingerprints.
    return None if name == canonical else _sentence(name, rule, canonical)


def _either(name: str) -> str:
    library = AMBIGUOUS[int(name.removeprefix("resnet"))]
    return (
        f"{name!r}: two networks have this name; say '{library}:{name}' for ImageNet's, or"
        f" '{CIFAR}{name}' for the one of that depth for small pictures (widths 16/32/64)"
    )


def _sentence(name: str, rule: str, nearest: str) -> str:
    return f"{name!r}: {rule}; did you mean {nearest!r}?"
