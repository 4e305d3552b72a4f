"""Networks of torchvision, made to answer like ours.

What torchvision does not promise stands here alone, as seen in torchvision 0.29:

- Networks of a fixed resolution are those called ``vit_…`` (``image_size``) and ``maxvit_…``
  (``input_size``).
- GoogLeNet and Inception return more than logits while they train, unless ``aux_logits`` is False,
  and warn where ``init_weights`` is left out.
- The classifier is the last linear layer, or, in a network without one, the last convolution.
- Stages are not named: they are found by a forward pass (``_tapped``).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torchvision
from torch import Tensor, nn

from autokd.errors import UserError
from autokd.networks.backbone import Featured, Output
from autokd.networks.library_common import (
    Library,
    Refused,
    absent,
    as_vector,
    download,
    embedding,
    headless,
    reachable,
    unknown,
    watching,
)

TRACE_PX = 224  # where the stages are told apart, unless the network's resolution is fixed


def known(name: str) -> None:
    """Raises :class:`UserError` where torchvision has no such network, or no such weights of it:
    ``resnet50`` or ``resnet50.IMAGENET1K_V1``.
    """
    model, _, tag = name.partition(".")
    names = torchvision.models.list_models(module=torchvision.models)
    if model not in names:
        raise Refused(unknown("torchvision", model, names))
    tags = [f"{model}.{tag}" for tag in torchvision.models.get_model_weights(model).__members__]
    if tag and name not in tags:
        raise Refused(unknown("torchvision", name, tags))


def build(
    name: str, classes: int, resolution: int, pretrained: bool, new_head: bool = False
) -> Library:
    """The network `name`, which takes 3 channels, with its stages found. Weights that `name` does
    not say are torchvision's default, which another version may change.
    """
    known(name)
    name, _, tag = name.partition(".")
    arguments: dict[str, Any] = {}
    fixed = name.startswith(("vit_", "maxvit_"))
    if fixed:
        vit = name.startswith("vit_")
        side = {"image_size": resolution} if vit else {"input_size": (resolution, resolution)}
        arguments |= side
    trace_px = resolution if fixed else TRACE_PX
    if name in ("googlenet", "inception_v3"):
        arguments["aux_logits"] = False  # or they return more than logits while they train
    if not pretrained:
        if "aux_logits" in arguments:
            arguments["init_weights"] = True  # the default, but leaving it out is a warning
        model = torchvision.models.get_model(name, num_classes=classes, **arguments)
        return Library(tapped(model, trace_px), 3, None, None)
    published = torchvision.models.get_model_weights(name)
    weights = published[tag] if tag else published.DEFAULT
    place = Path(torch.hub.get_dir()) / "checkpoints" / weights.url.rpartition("/")[2]
    if not place.exists() and not reachable(weights.url):
        raise absent(f"torchvision:{name}", weights.url, [place])
    with download(f"torchvision:{name}"):
        model = torchvision.models.get_model(name, weights=weights, progress=False, **arguments)
    if classes != (theirs := len(weights.meta["categories"])):
        if not new_head:
            raise headless(f"torchvision:{name}", theirs, classes)
        _replace_classifier(model, classes)
    preprocessing = weights.transforms()
    return Library(tapped(model, trace_px), 3, preprocessing.mean, preprocessing.std)


def side(name: str) -> int:
    """Pixels a side that the published weights of `name` were measured on."""
    name, _, tag = name.partition(".")
    published = torchvision.models.get_model_weights(name)
    return (published[tag] if tag else published.DEFAULT).transforms().crop_size[0]


class Tap(NamedTuple):
    """A module whose output is a stage; `channels_last` where the library has it as ``[B, h, w,
    c]``.
    """

    module: str
    channels_last: bool


class TorchvisionBackbone(Featured):
    """A classification network of torchvision; its stages are the last module at each size of the
    map.

    Args:
        model: The network.
        classifier: Name of its last layer.
        taps: The stages, shallowest first.
    """

    def __init__(self, model: nn.Module, classifier: str, taps: Sequence[Tap]) -> None:
        super().__init__()
        self.model = model
        self.classifier_name = classifier
        self.taps = tuple(taps)

    def features(self, pictures: Tensor) -> Output:
        classifier = self.model.get_submodule(self.classifier_name)
        taps = [self.model.get_submodule(tap.module) for tap in self.taps]
        with watching(classifier, *taps) as seen:
            logits = self.model(pictures)
        maps = [seen[module][1] for module in taps]
        stages = [
            x.permute(0, 3, 1, 2) if tap.channels_last else x
            for x, tap in zip(maps, self.taps, strict=True)
        ]
        return Output(logits, tuple(stages), as_vector(seen[classifier][0]))

    def embedding(self, pictures: Tensor) -> Tensor:
        return embedding(self.model, self.model.get_submodule(self.classifier_name), pictures)

    def forward(self, pictures: Tensor) -> Tensor:
        return self.model(pictures)

    def head_names(self) -> set[str]:
        layer = self.model.get_submodule(self.classifier_name)
        return {f"model.{self.classifier_name}.{name}" for name, _ in layer.named_parameters()}

    def depths(self) -> dict[str, int]:
        """Blocks in the order in which they are defined; what lies between two blocks is one."""
        depths: dict[str, int] = {}
        before = None
        depth = -1
        for name, _ in self.model.named_parameters():
            block = "classifier" if name.startswith(self.classifier_name) else _block(name)
            if block != before:
                depth, before = depth + 1, block
            depths[f"model.{name}"] = depth
        return depths


def _block(name: str) -> str:
    """The repeated block that a parameter belongs to, ``layer1.0``; nothing where there is none."""
    parts = name.split(".")
    for i, part in enumerate(parts[:-1]):
        if part.isdigit() or part.startswith("encoder_layer_"):
            return ".".join(parts[: i + 1])
    return ""


def _classifier_name(model: nn.Module) -> str:
    """The last linear layer, or, in a network without one (SqueezeNet), the last convolution."""
    for kind in (nn.Linear, nn.Conv2d):
        found = [name for name, module in model.named_modules() if isinstance(module, kind)]
        if found:
            return found[-1]
    raise UserError(
        f"{type(model).__name__} has neither a linear layer nor a convolution to end with"
    )


def _replace_classifier(model: nn.Module, classes: int) -> None:
    name = _classifier_name(model)
    old = model.get_submodule(name)
    new: nn.Module
    if isinstance(old, nn.Linear):
        new = nn.Linear(old.in_features, classes, bias=old.bias is not None)
    else:
        assert isinstance(old, nn.Conv2d)
        new = nn.Conv2d(old.in_channels, classes, kernel_size=1)
    model.set_submodule(name, new)


def tapped(model: nn.Module, px: int, channels: int = 3) -> TorchvisionBackbone:
    """Any network of maps that ends with a classifier, in evaluation mode. Finds the stages by one
    forward pass without arithmetic ("meta" tensors) on a picture of `px`.

    Candidates are the children and grandchildren that return a map, except what holds the
    classifier and what pools the map to a fixed size. Of those with maps of one size the last is
    the stage: ``layer1`` … ``layer4`` and the stem in a ResNet.
    """
    classifier = _classifier_name(model)
    head = classifier.partition(".")[0]
    candidates = {
        module: name
        for name, module in model.named_modules()
        if name
        and name.count(".") < 2
        and name.partition(".")[0] != head
        and not isinstance(module, nn.AdaptiveAvgPool2d)
    }
    tensors = {
        name: x.to("meta") for name, x in [*model.named_parameters(), *model.named_buffers()]
    }
    with watching(*candidates) as seen, torch.no_grad():
        torch.func.functional_call(
            model.eval(), tensors, (torch.empty(1, channels, px, px, device="meta"),)
        )
    last_of_size: dict[int, Tap] = {}
    for module, (_, output) in seen.items():  # in the order of the calls, since dicts keep it
        if output.ndim == 4:
            _, first, second, third = output.shape
            channels_last = first == second != third
            last_of_size[second] = Tap(candidates[module], channels_last)
    return TorchvisionBackbone(
        model, classifier, [tap for _, tap in sorted(last_of_size.items(), reverse=True)]
    )
