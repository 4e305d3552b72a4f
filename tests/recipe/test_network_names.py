"""Names of networks: known without torch, and the nearest where unknown."""

from __future__ import annotations

import doctest
import itertools

import pytest

from autokd import networks
from autokd.networks import FAMILIES
from autokd.recipe import network_names
from tests.helpers.commands import python


def test_zoo_is_light() -> None:
    program = """
        import sys, autokd.recipe.network_names
        print([m for m in ("torch", "numpy", "ray", "mlflow", "optuna") if m in sys.modules])
    """
    assert python(program).stdout.strip() == "[]"


@pytest.mark.parametrize(
    "name",
    [
        "cnn-1x1",
        "cnn-8x1024",
        "cnn-3x17",
        "resnet26",
        "resnet1202",
        "torchvision:resnet18",
        "timm:vit_tiny_patch16_224.augreg_in21k",
    ],
)
def test_patterns_are_accepted(name: str) -> None:
    assert network_names.problem(name) is None and network_names.describe(name)


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("resnt20", "resnet20"),
        ("ResNet56", "resnet56"),
        ("wrn_40_2", "wrn-40-2"),
        ("mobilenet", "mobilenetv2"),
        ("", None),
        ("resnet18", "torchvision:resnet18"),
        ("resnet21", "resnet20"),
        ("resnet2", "resnet8"),
        ("resnet9999999", "resnet1202"),
        ("resnet020", "resnet20"),
        ("cnn-9x8", "cnn-8x8"),
        ("cnn-0x8", "cnn-1x8"),
        ("cnn-2x2000", "cnn-2x1024"),
        ("cnn-02x8", "cnn-2x8"),
        ("torchvision:", "torchvision:resnet18"),
        ("timm:hf_hub:someone/model", "timm:resnet18"),
        ("timm/resnet18", "timm:resnet18"),
    ],
)
def test_nearest_names(name: str, nearest: str | None) -> None:
    trouble = network_names.problem(name)
    assert trouble is not None and repr(name) in trouble
    suggestion = trouble.rsplit("did you mean ")[1].strip("'?")
    assert network_names.problem(suggestion) is None and suggestion == (nearest or suggestion)
    with pytest.raises(ValueError, match="did you mean"):
        networks.build(name, classes=10, resolution=32)


def test_examples_in_the_docstrings() -> None:
    assert doctest.testmod(network_names).failed == 0


def test_every_name_has_a_family_and_a_line() -> None:
    assert {network_names.card(name).family for name in network_names.names()} == set(FAMILIES)
    assert all(
        len(network_names.describe(name).splitlines()) == 1 for name in network_names.names()
    )


@pytest.mark.parametrize("depth", [50, 152, 200])
def test_a_name_that_two_networks_have_is_an_error_that_offers_both(depth: int) -> None:
    name = f"resnet{depth}"
    told = network_names.problem(name) or ""
    library = "timm" if depth == 200 else "torchvision"
    assert f"'{library}:{name}' for ImageNet's" in told and f"'cifar:{name}'" in told
    for offered in (f"{library}:{name}", f"cifar:{name}"):
        assert network_names.problem(offered) is None
    assert network_names.card(f"cifar:{name}").keywords == {"depth": depth}
    assert network_names.older(f"cifar:{name}") == name  # in addresses, as ever
    assert network_names.newer(name) == f"cifar:{name}"


def test_no_other_name_has_two_spellings() -> None:
    for name in ("resnet20", "wrn-40-2", "cnn-2x8", "torchvision:resnet50"):
        assert network_names.newer(name) == network_names.older(name) == name
    assert "did you mean" in (network_names.problem("cifar:resnet20") or "")


def test_the_network_behind_it_is_the_one_for_small_pictures() -> None:
    widths = [16] * 9 + [32] * 8 + [64] * 8  # the stem, and three stages of eight blocks
    count = 3 * 16 * 9 + 2 * 16 + 64 * 100 + 100
    for before, width in itertools.pairwise(widths):
        count += 9 * width * (before + width) + 4 * width
        count += before * width + 2 * width if before != width else 0  # the shortcut's
    network = networks.build("cifar:resnet50", classes=100, resolution=32)
    assert sum(p.numel() for p in network.parameters()) == count
