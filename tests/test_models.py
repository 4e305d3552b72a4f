"""The networks: their names, sizes, features, and weights in files."""

import doctest
import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from autokd import models, plan, space, zoo
from autokd.document import UserError
from autokd.networks import FAMILIES, Backbone
from tests.conftest import autokd

# Millions of parameters for 100 classes at 32 px, as the CIFAR-100 distillation literature gives them.
MILLIONS = {
    "resnet20": 0.28, "resnet56": 0.86, "resnet110": 1.74, "resnet8x4": 1.23, "resnet32x4": 7.43,
    "wrn-16-2": 0.70, "wrn-40-1": 0.57, "wrn-40-2": 2.26, "vgg8": 3.97, "vgg13": 9.46,
    "mobilenetv2": 0.81, "shufflenetv1": 0.95, "shufflenetv2": 1.36,
}  # fmt: skip
SMALL = ["cnn-1x3", "cnn-2x8", "cnn-3x32", "cnn-4x6", "cnn-5x6", "cnn-8x6", "plane-2", "plane-8", "resnet8", "wrn-16-1", "mobilenetv2"]


def randomised(network: models.Network, seed: int = 0) -> models.Network:
    """The network in evaluation mode with batch statistics that are not the initial 0 and 1."""
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None and module.running_var is not None
            module.running_mean.normal_(generator=generator).mul_(0.1)
            module.running_var.uniform_(0.5, 1.5, generator=generator)
    return network.eval()


def pictures(count: int, channels: int, resolution: int) -> torch.Tensor:
    return torch.rand(count, channels, resolution, resolution, generator=torch.Generator().manual_seed(1))


def output_of(network: models.Network, channels: int, resolution: int) -> models.Output:
    """The features of 2 pictures, after checks that hold for every network."""
    batch = pictures(2, channels, resolution)
    with torch.no_grad():
        output, logits = network.features(batch), network(batch)
    assert torch.equal(output.logits, logits) and logits.isfinite().all()
    assert output.embedding.ndim == 2 and all(stage.ndim == 4 for stage in output.stages)
    sides = [stage.shape[-1] for stage in output.stages]
    assert sides == sorted(sides, reverse=True)
    return output


# --- names -----------------------------------------------------------------------------------------------------------------------


def test_zoo_is_light() -> None:
    check = "import sys, autokd.zoo; print([m for m in ('torch', 'numpy', 'ray', 'mlflow', 'optuna') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True).stdout.strip() == "[]"


@pytest.mark.parametrize("name", [
    "cnn-1x1", "cnn-8x1024", "cnn-3x17", "resnet26", "resnet1202", "torchvision:resnet18", "timm:vit_tiny_patch16_224.augreg_in21k",
])  # fmt: skip
def test_patterns_are_accepted(name: str) -> None:
    assert zoo.problem(name) is None and zoo.describe(name)


@pytest.mark.parametrize(("name", "nearest"), [
    ("resnt20", "resnet20"), ("ResNet56", "resnet56"), ("wrn_40_2", "wrn-40-2"), ("mobilenet", "mobilenetv2"), ("", None),
    ("resnet18", "torchvision:resnet18"), ("resnet21", "resnet20"), ("resnet2", "resnet8"), ("resnet9999999", "resnet1202"), ("resnet020", "resnet20"),
    ("cnn-9x8", "cnn-8x8"), ("cnn-0x8", "cnn-1x8"), ("cnn-2x2000", "cnn-2x1024"), ("cnn-02x8", "cnn-2x8"),
    ("torchvision:", "torchvision:resnet18"), ("timm:hf_hub:someone/model", "timm:resnet18"), ("timm/resnet18", "timm:resnet18"),
])  # fmt: skip
def test_nearest_names(name: str, nearest: str | None) -> None:
    trouble = zoo.problem(name)
    assert trouble is not None and repr(name) in trouble
    suggestion = trouble.rsplit("did you mean ")[1].strip("'?")
    assert zoo.problem(suggestion) is None and suggestion == (nearest or suggestion)
    with pytest.raises(ValueError, match="did you mean"):
        models.build(name, classes=10, resolution=32)


def test_examples_in_the_docstrings() -> None:
    assert doctest.testmod(zoo).failed == 0


def test_every_name_has_a_family_and_a_line() -> None:
    assert {zoo.card(name).family for name in zoo.names()} == set(FAMILIES)
    assert all(len(zoo.describe(name).splitlines()) == 1 for name in zoo.names())


# --- networks --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "millions"), MILLIONS.items())
def test_parameter_counts(name: str, millions: float) -> None:
    network = models.build(name, classes=100, resolution=32)
    assert round(sum(parameter.numel() for parameter in network.parameters()) / 1e6, 2) == millions


def test_plane_counts() -> None:
    def parameters(name: str, classes: int) -> int:
        network = models.build(name, classes=classes, resolution=32)
        return sum(parameter.numel() for parameter in network.parameters())

    def layer(inputs: int, outputs: int) -> int:
        return 9 * inputs * outputs + outputs + 2 * outputs  # convolution, its bias, batch norm

    assert parameters("plane-2", 10) == layer(3, 16) + layer(16, 16) + 8 * 8 * 16 * 10 + 10
    assert parameters("plane-2", 100) == layer(3, 32) + layer(32, 32) + 8 * 8 * 32 * 100 + 100
    # the authors' CIFAR-100 network of 6 does not pool at the end, that for CIFAR-10 does
    six = layer(3, 16) + layer(16, 16) + layer(16, 32) + layer(32, 32) + layer(32, 64) + layer(64, 64)
    assert parameters("plane-6", 10) == six + 4 * 4 * 64 * 10 + 10
    wide_six = layer(3, 32) + layer(32, 32) + layer(32, 64) + layer(64, 64) + layer(64, 128) + layer(128, 128)
    assert parameters("plane-6", 100) == wide_six + 8 * 8 * 128 * 100 + 100


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", zoo.names())
def test_every_network_at_32_px(name: str, channels: int) -> None:
    network = randomised(models.build(name, classes=7, channels=channels, resolution=32, seed=0))
    output = output_of(network, channels, 32)
    backbone = network.backbone
    assert isinstance(backbone, Backbone)
    assert output.logits.shape == (2, 7)
    assert type(backbone.stem) is nn.Conv2d and type(backbone.classifier) is nn.Linear
    assert len(output.stages) == len(backbone.stages)
    family = zoo.card(name).family
    if family in ("resnet", "wrn"):
        assert [stage.shape[-1] for stage in output.stages] == [32, 16, 8]
    else:
        assert len(output.stages) >= (2 if name.endswith(("-2", "-2x8", "-2x16")) else 3)
    if family != "mobilenet":  # whose stages end in linear bottlenecks
        assert all((stage >= 0).all() for stage in output.stages)


@pytest.mark.parametrize("resolution", [4, 5, 8])
@pytest.mark.parametrize("name", [*SMALL, "vgg8", "shufflenetv1", "shufflenetv2"])
def test_small_pictures(name: str, resolution: int) -> None:
    assert output_of(randomised(models.build(name, classes=3, channels=1, resolution=resolution)), 1, resolution).logits.shape == (2, 3)


@pytest.mark.parametrize("name", SMALL)
def test_another_resolution_than_built_for(name: str) -> None:
    network = randomised(models.build(name, classes=3, resolution=32))
    assert output_of(network, 3, 12).logits.shape == (2, 3)


@pytest.mark.parametrize(("name", "sides"), [
    ("cnn-1x4", [8]), ("cnn-2x4", [8, 8]), ("cnn-3x4", [8, 8, 4]), ("cnn-4x4", [8, 4, 4]), ("cnn-5x4", [8, 4, 2]), ("cnn-8x4", [8, 4, 2]),
])  # fmt: skip
def test_cnn_pools_between_layers_2_and_3_and_4_and_5(name: str, sides: list[int]) -> None:
    output = output_of(randomised(models.build(name, classes=3, resolution=8)), 3, 8)
    assert [stage.shape[-1] for stage in output.stages] == sides
    assert torch.allclose(output.embedding, output.stages[-1].mean((2, 3)))


@pytest.mark.parametrize("name", [
    "cnn-3x8", "plane-8", "resnet8", "wrn-16-1", "wrn-16-2", "vgg8", "mobilenetv2", "shufflenetv1", "shufflenetv2",
])  # fmt: skip
def test_gradients_reach_every_parameter(name: str) -> None:
    network = models.build(name, classes=10, resolution=32, seed=0)
    torch.nn.functional.cross_entropy(network(pictures(4, 3, 32)), torch.arange(4)).backward()
    for key, parameter in network.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), key
        assert parameter.ndim == 1 or parameter.grad.any(), key


def test_convolutions_start_at_kaiming_scale() -> None:
    modules = models.build("shufflenetv2", classes=10, resolution=32, seed=0).modules()
    for layer in [module for module in modules if isinstance(module, nn.Conv2d) and module.weight.numel() > 2000]:
        fan_out = layer.out_channels // layer.groups * layer.kernel_size[0] ** 2
        assert layer.weight.std().item() == pytest.approx(math.sqrt(2 / fan_out), rel=0.1)


# --- normalisation and seeds -----------------------------------------------------------------------------------------------------


def test_the_network_owns_its_normalisation() -> None:
    mean, std = [0.1, 0.2, 0.3], [0.5, 0.6, 0.7]
    plain = randomised(models.build("cnn-2x8", classes=3, resolution=8, seed=0))
    normalising = randomised(models.build("cnn-2x8", classes=3, resolution=8, seed=0, mean=mean, std=torch.tensor(std)))
    batch = pictures(2, 3, 8)
    by_hand = torch.stack([(batch[:, c] - mean[c]) / std[c] for c in range(3)], 1)
    assert torch.allclose(normalising(batch), plain(by_hand), atol=1e-6)
    assert {"mean", "std"} <= models.state(normalising).keys()


@pytest.mark.parametrize(("channels", "shape"), [(3, (4, 3, 10, 7)), (3, (1, 3, 5, 5)), (1, (4, 1, 6, 6)), (3, (4, 1, 6, 6)), (3, (2, 3, 1, 1))])
def test_normalisation_has_the_same_bytes_and_strides_in_every_layout(channels: int, shape: tuple[int, ...]) -> None:
    """Row by row or channel by channel, into new memory: the pictures are those of every other network too."""
    mean, std = torch.tensor([0.49, 0.48, 0.45][:channels]), torch.tensor([0.25, 0.24, 0.26][:channels])
    network = models.Network(nn.Identity(), shape[1], mean, std)  # type: ignore[arg-type]
    batch = torch.rand(*shape, generator=torch.Generator().manual_seed(2))
    for pictures in (batch, batch.contiguous(memory_format=torch.channels_last), batch.permute(0, 1, 3, 2)):
        before, want = pictures.clone(), (pictures.expand(-1, channels, -1, -1) - mean[:, None, None]) / std[:, None, None]
        got = network._normalise(pictures)
        assert torch.equal(got, want) and got.stride() == want.stride() and torch.equal(pictures, before)


@pytest.mark.parametrize(("arguments", "message"), [
    ({"mean": [0.5]}, None), ({"mean": [0.5, 0.5]}, "3 channels"), ({"std": [0.5, 0.5, 0.0]}, "positive"),
    ({"classes": 1}, "classes is 1"), ({"resolution": 3}, "resolution is 3"), ({"channels": 0}, "channels is 0"),
    ({"pretrained": True}, "pretrained"),
])  # fmt: skip
def test_arguments_are_checked(arguments: dict[str, Any], message: str | None) -> None:
    everything: dict[str, Any] = {"classes": 3, "resolution": 8, **arguments}
    if message is None:
        models.build("cnn-2x8", **everything)
        return
    with pytest.raises(ValueError, match=message):
        models.build("cnn-2x8", **everything)


@pytest.mark.parametrize("name", ["cnn-3x8", "resnet8", "plane-8", "shufflenetv2", "timm:test_resnet", "torchvision:squeezenet1_1"])
def test_a_seed_decides_the_bytes_and_leaves_the_global_generator(name: str) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = models.weights_hash(models.build(name, classes=10, resolution=64, seed=3))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(6)
    assert models.weights_hash(models.build(name, classes=10, resolution=64, seed=3)) == first
    assert models.weights_hash(models.build(name, classes=10, resolution=64, seed=4)) != first
    assert models.weights_hash(models.build(name, classes=10, resolution=64)) != first


# --- libraries -------------------------------------------------------------------------------------------------------------------


def library_module(network: models.Network) -> Any:
    return network.backbone.model


@pytest.mark.parametrize(("name", "stages"), [
    ("torchvision:resnet18", 5), ("torchvision:squeezenet1_1", 4), ("torchvision:mobilenet_v3_small", 5), ("torchvision:regnet_x_400mf", 5),
    ("timm:test_resnet", 5), ("timm:test_vit", 6), ("timm:test_efficientnet", 5), ("timm:test_convnext", 4),
])  # fmt: skip
@pytest.mark.parametrize("channels", [1, 3])
def test_library_networks(name: str, stages: int, channels: int) -> None:
    network = randomised(models.build(name, classes=6, channels=channels, resolution=32, seed=0, mean=[0.5] * channels))
    output = output_of(network, channels, 32)
    assert output.logits.shape == (2, 6) and len(output.stages) == stages
    if name.endswith("resnet18"):  # the stem and torchvision's four layers, though the last map has one pixel
        assert [stage.shape[1] for stage in output.stages] == [64, 64, 128, 256, 512]
        assert torch.allclose(output.embedding, output.stages[-1].mean((2, 3)))


@pytest.mark.parametrize(("name", "message"), [
    ("torchvision:resnt18", "torchvision:resnet18"), ("timm:reznet18", "timm:resnet18"), ("timm:resnet18.nowhere", "timm:resnet18\\."),
    ("torchvision:vit_b_32", "40 px"), ("torchvision:alexnet", "40 px"),
])  # fmt: skip
def test_library_refusals(name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        models.build(name, classes=6, resolution=40)


def test_pretrained_weights_bring_head_and_normalisation(monkeypatch: pytest.MonkeyPatch) -> None:
    published = library_module(models.build("torchvision:squeezenet1_1", classes=1000, resolution=64, seed=9)).state_dict()
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", lambda *arguments, **options: dict(published))
    arguments: dict[str, Any] = {"resolution": 64, "channels": 1, "mean": [0.5], "std": [0.25], "seed": 0, "pretrained": True}
    same = models.build("torchvision:squeezenet1_1", classes=1000, **arguments)
    assert torch.equal(library_module(same).classifier[1].weight, published["classifier.1.weight"])
    assert same.mean.tolist() == pytest.approx([0.485, 0.456, 0.406])
    other = models.build("torchvision:squeezenet1_1", classes=10, **arguments)
    assert torch.equal(library_module(other).features[0].weight, published["features.0.weight"])
    assert output_of(other.eval(), 1, 64).logits.shape == (2, 10)


@pytest.mark.parametrize(("name", "download"), [
    ("torchvision:squeezenet1_1", "torchvision.models._api.load_state_dict_from_url"),
    ("timm:test_resnet", "timm.models._builder.load_state_dict_from_hf"),
])  # fmt: skip
def test_a_failed_download_is_said(name: str, download: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(download, fail)
    with pytest.raises(ValueError, match=f"{name}.*no route to host"):
        models.build(name, classes=10, resolution=64, pretrained=True)


# --- weights ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["resnet8", "shufflenetv2", "timm:test_resnet"])
def test_reload_is_exact(name: str, tmp_path: Path) -> None:
    network = randomised(models.build(name, classes=5, resolution=32, seed=0, mean=[0.1, 0.2, 0.3]))
    save_file(models.state(network), tmp_path / "w.safetensors")
    again = models.build(name, classes=5, resolution=32, seed=1).eval()
    models.load_weights(again, tmp_path / "w.safetensors")
    assert models.weights_hash(again) == models.weights_hash(network)
    assert torch.equal(again(pictures(2, 3, 32)), network(pictures(2, 3, 32)))


def test_state_is_a_copy() -> None:
    network = models.build("cnn-2x8", classes=3, resolution=8, seed=0)
    state, before = models.state(network), models.weights_hash(network)
    state["backbone.stem.weight"].zero_()
    assert models.weights_hash(network) == before
    assert models.weights_hash(network.to(memory_format=torch.channels_last)) == before


@pytest.mark.parametrize("wrap", [
    lambda weights: weights,
    lambda weights: {"state_dict": weights, "epoch": 3},
    lambda weights: {"model": {f"module.{key}": value for key, value in weights.items()}},
    lambda weights: {"net": weights, "accuracy": 0.9},
])  # fmt: skip
def test_common_wrappings_and_a_backbone_alone(wrap: Any, tmp_path: Path) -> None:
    source = models.build("timm:test_resnet", classes=5, resolution=32, seed=0)
    target = models.build("timm:test_resnet", classes=5, resolution=32, seed=1)
    for weights in (source.state_dict(), source.backbone.state_dict(), library_module(source).state_dict()):
        target.load_state_dict(models.build("timm:test_resnet", classes=5, resolution=32, seed=1).state_dict())
        torch.save(wrap(dict(weights)), tmp_path / "w.pth")
        models.load_weights(target, tmp_path / "w.pth")
        assert models.weights_hash(target) == models.weights_hash(source)


def test_mismatches_name_layer_and_shapes(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file(models.state(models.build("cnn-3x8", classes=10, resolution=8, seed=0)), path)
    for name, classes, message in [
        ("cnn-3x8", 100, r"backbone.classifier.weight is \[10, 8\] in the file and \[100, 8\] here"),
        ("cnn-4x8", 10, r"the file lacks backbone\.stages.*18 in all.*has the unknown backbone\.stages"),
        ("cnn-2x8", 10, r"holds the weights of another network.*the file has the unknown backbone\.stages\.2\.1\.0\.weight"),
    ]:
        network = models.build(name, classes=classes, resolution=8, seed=1)
        before = models.weights_hash(network)
        with pytest.raises(ValueError, match=message):
            models.load_weights(network, path)
        assert models.weights_hash(network) == before


class Code:
    """Unpickled, it would make a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def test_code_in_a_file_is_refused_and_not_run(tmp_path: Path) -> None:
    torch.save({"state_dict": {"stem.weight": torch.zeros(1)}, "args": Code(tmp_path / "ran")}, tmp_path / "w.pth")
    network = models.build("cnn-2x8", classes=3, resolution=8)
    with pytest.raises(ValueError, match="mkdir.*never run"):
        models.load_weights(network, tmp_path / "w.pth")
    assert not (tmp_path / "ran").exists()
    torch.load(tmp_path / "w.pth", weights_only=False)  # the file does what it says: it makes the folder when it is trusted
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize(("file", "content", "message"), [
    ("missing.pth", None, "no such file"), ("w.txt", b"", "read from"), ("w.pt", b"garbage", "cannot read"),
    ("w.safetensors", b"garbage", "not a safetensors"),
])  # fmt: skip
def test_unreadable_files(file: str, content: bytes | None, message: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / file).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        models.load_weights(models.build("cnn-2x8", classes=3, resolution=8), tmp_path / file)


def test_a_file_without_tensors(tmp_path: Path) -> None:
    torch.save({"epoch": 3}, tmp_path / "w.pt")
    with pytest.raises(ValueError, match="no dict of tensors"):
        models.load_weights(models.build("cnn-2x8", classes=3, resolution=8), tmp_path / "w.pt")


# --- size and speed --------------------------------------------------------------------------------------------------------------


def test_measure() -> None:
    network = models.build("cnn-2x8", classes=10, channels=1, resolution=8, seed=0)
    network.backbone.get_submodule("stages.1").eval()  # a frozen part
    modes = [module.training for module in network.modules()]
    before = models.weights_hash(network)
    multiply_adds = 64 * 9 * 1 * 8 + 64 * 9 * 8 * 8 + 8 * 10
    assert models.measure(network, 1, 8) == {"params": 72 + 16 + 576 + 16 + 90, "flops": 2 * multiply_adds}
    assert [module.training for module in network.modules()] == modes and models.weights_hash(network) == before


def test_latency_leaves_the_network_alone() -> None:
    network = models.build("cnn-2x8", classes=10, channels=1, resolution=8, seed=0)
    before = models.weights_hash(network)
    assert models.latency(network, channels=1, resolution=8, batch=2, device="cpu", repeats=3) > 0
    assert network.training and models.weights_hash(network) == before


def test_networks_are_measured_on_the_command_line(tmp_path: Path) -> None:
    about = json.loads(autokd("models", "resnet20", "cnn-1x4", "--json", cwd=tmp_path).stdout)
    assert (about["resnet20"]["params"], about["resnet20"]["flops"]) == (278324, 81637888)  # 40.8 million multiply-adds
    devices = {"cpu", "cuda"} if torch.cuda.is_available() else {"cpu"}
    for measured in about.values():
        assert measured["latency_ms"].keys() == devices
        assert all(by.keys() == {"1", "64"} and min(by.values()) > 0 for by in measured["latency_ms"].values())
    wrong = autokd("models", "resnt20", "torchvision:nothing", cwd=tmp_path, code=2).stderr
    assert "did you mean 'resnet20'?" in wrong and "Traceback" not in wrong
    assert "nearest: torchvision:" in autokd("models", "torchvision:nothing", cwd=tmp_path, code=2).stderr


def test_a_teacher_that_does_not_fit_is_one_line_on_the_command_line(recipe_file: Path) -> None:
    for name, classes in (("fits.pth", 10), ("wrong.pth", 7)):
        network = models.build("cnn-3x16", classes=classes, channels=1, resolution=8, seed=0)
        torch.save({"state_dict": network.backbone.state_dict()}, recipe_file.parent / name)
    how = ["base.yaml", "--quiet", "--set", "train/epochs=1", "--set"]
    autokd("train", *how, "teacher/weights=fits.pth", cwd=recipe_file.parent)
    wrong = autokd("train", *how, "teacher/weights=wrong.pth", cwd=recipe_file.parent, code=2).stderr
    assert "wrong.pth holds the weights of another network (or number of classes): " in wrong and "[7, 16] in the file and [10, 16] here" in wrong


def test_a_plan_counts_the_tables_of_a_teacher_that_exists(space_file: Path) -> None:
    trained, given = (plan.plan(space.load(space_file, sets=sets)) for sets in ((), ("teacher/weights=teacher.pth",)))
    assert trained.teachers == {"cnn-3x16": 1} and given.teachers == {} and given.tables == trained.tables == 4
    assert "teachers      none to train" in plan.text(space.load(space_file), given)
