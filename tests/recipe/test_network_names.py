"""Names of networks: known without torch, and the nearest where unknown."""

from __future__ import annotations

import doctest

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
