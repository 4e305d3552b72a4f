"""Networks of torchvision and timm, made to answer like ours: logits, stage maps, embedding. No code of theirs is changed."""

import difflib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, NamedTuple

import timm
import torch
import torchvision
from torch import Tensor, nn

from autokd.document import UserError
from autokd.networks.backbone import Featured, Output

TRACE_PX = 224  # where a torchvision network's stages are told apart, unless its resolution is fixed


class Library(NamedTuple):
    """A library's network: the module with ``features``, the channels it takes, and the mean and std its weights expect."""

    backbone: Featured
    channels: int
    mean: Sequence[float] | None
    std: Sequence[float] | None


class Tap(NamedTuple):
    """A module whose output is a stage; `channels_last` where the library has it as ``[B, h, w, c]``."""

    module: str
    channels_last: bool


@contextmanager
def _watching(*modules: nn.Module) -> Iterator[dict[nn.Module, tuple[Tensor, Tensor]]]:
    """Yields a dict that every call of one of the modules fills with its ``(first input, output)``."""
    seen: dict[nn.Module, tuple[Tensor, Tensor]] = {}

    def note(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        seen[module] = (inputs[0], output)

    hooks = [module.register_forward_hook(note) for module in modules]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def _as_vector(x: Tensor) -> Tensor:
    """What a classifier is given, as ``[B, D]``: convolutional classifiers see maps ``[B, D, h, w]``."""
    return x.mean((2, 3)) if x.ndim == 4 else x


class TimmBackbone(Featured):
    """A network of timm; its stages are those of timm's own ``forward_intermediates``."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def features(self, pictures: Tensor) -> Output:
        model: Any = self.model  # timm's methods are not part of nn.Module
        classifier = model.get_classifier()
        if isinstance(classifier, tuple):  # distilled transformers have two; the first is the usual one
            classifier = classifier[0]
        if hasattr(model, "forward_intermediates"):
            last, stages = model.forward_intermediates(pictures)
        else:
            last = model.forward_features(pictures)
            stages = [last] if last.ndim == 4 else []
        with _watching(classifier) as seen:
            logits = model.forward_head(last)
        return Output(logits, tuple(stages), _as_vector(seen[classifier][0]))

    def forward(self, pictures: Tensor) -> Tensor:
        return self.model(pictures)


class TorchvisionBackbone(Featured):
    """A classification network of torchvision; its stages are the last module at each size of the map.

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
        with _watching(classifier, *taps) as seen:
            logits = self.model(pictures)
        maps = [seen[module][1] for module in taps]
        stages = [x.permute(0, 3, 1, 2) if tap.channels_last else x for x, tap in zip(maps, self.taps, strict=True)]
        return Output(logits, tuple(stages), _as_vector(seen[classifier][0]))

    def forward(self, pictures: Tensor) -> Tensor:
        return self.model(pictures)


def build(library: str, name: str, *, classes: int, channels: int, resolution: int, pretrained: bool) -> Library:
    """The network `name` of `library` ("timm" or "torchvision") with `classes` outputs, tried on one picture.

    Args:
        pretrained: With the library's default weights. The network's own head is kept where `classes` is its number.

    Raises:
        UserError: The library has no such network or weights, cannot download them, or the network cannot take such pictures.
    """
    with _refusals(f"{library}:{name}", f"built for {resolution} px pictures"):
        if library == "timm":
            made = _timm(name, classes, channels, resolution, pretrained)
        else:
            made = _torchvision(name, classes, resolution, pretrained)
    if channels not in (1, made.channels):
        raise UserError(f"{library}:{name} takes {made.channels} channels, but the pictures have {channels}")
    with _refusals(f"{library}:{name}", f"given {resolution} px pictures"), torch.no_grad():
        # So that an impossible resolution is an error now and not in the first batch.
        made.backbone.eval().features(torch.zeros(1, made.channels, resolution, resolution))
    made.backbone.train()
    return made


def known(library: str, name: str) -> None:
    """Raises :class:`UserError` where ``library`` ("timm" or "torchvision") has no such network."""
    if library == "timm" and (not timm.is_model(name) or ("." in name and name not in timm.list_pretrained())):
        raise _Refused(_unknown("timm", name, timm.list_pretrained() if "." in name else timm.list_models()))
    if library == "torchvision" and name not in (names := torchvision.models.list_models(module=torchvision.models)):
        raise _Refused(_unknown("torchvision", name, names))


def _timm(name: str, classes: int, channels: int, resolution: int, pretrained: bool) -> Library:
    known("timm", name)
    taken = 3 if pretrained else channels
    arguments: dict[str, Any] = {"num_classes": classes, "in_chans": taken}
    configuration = timm.get_pretrained_cfg(name)
    if configuration is not None and configuration.fixed_input_size:
        arguments["img_size"] = resolution
    with _download(f"timm:{name}") if pretrained else nullcontext():
        model: Any = timm.create_model(name, pretrained=pretrained, **arguments)
    mean, std = (model.pretrained_cfg["mean"], model.pretrained_cfg["std"]) if pretrained else (None, None)
    return Library(TimmBackbone(model), taken, mean, std)


def _torchvision(name: str, classes: int, resolution: int, pretrained: bool) -> Library:
    known("torchvision", name)
    arguments: dict[str, Any] = {}
    fixed = name.startswith(("vit_", "maxvit_"))
    if fixed:
        arguments |= {"image_size": resolution} if name.startswith("vit_") else {"input_size": (resolution, resolution)}
    trace_px = resolution if fixed else TRACE_PX
    if name in ("googlenet", "inception_v3"):
        arguments["aux_logits"] = False  # or they return more than logits while they train
    if not pretrained:
        if "aux_logits" in arguments:
            arguments["init_weights"] = True  # the default, but leaving it out is a warning
        model = torchvision.models.get_model(name, num_classes=classes, **arguments)
        return Library(_tapped(model, trace_px), 3, None, None)
    weights = torchvision.models.get_model_weights(name).DEFAULT
    with _download(f"torchvision:{name}"):
        model = torchvision.models.get_model(name, weights=weights, progress=False, **arguments)
    if classes != len(weights.meta["categories"]):
        _replace_classifier(model, classes)
    preprocessing = weights.transforms()
    return Library(_tapped(model, trace_px), 3, preprocessing.mean, preprocessing.std)


def _classifier_name(model: nn.Module) -> str:
    """The last linear layer, or, in a network without one (SqueezeNet), the last convolution."""
    for kind in (nn.Linear, nn.Conv2d):
        found = [name for name, module in model.named_modules() if isinstance(module, kind)]
        if found:
            return found[-1]
    raise UserError(f"{type(model).__name__} has neither a linear layer nor a convolution to end with")


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


def _tapped(model: nn.Module, px: int) -> TorchvisionBackbone:
    """Finds the stages by one forward pass without arithmetic ("meta" tensors) on a picture of `px`.

    Candidates are the children and grandchildren that return a map, except what holds the classifier and what pools the map to a
    fixed size. Of those with maps of one size the last is the stage: ``layer1`` … ``layer4`` and the stem in a ResNet.
    """
    classifier = _classifier_name(model)
    head = classifier.partition(".")[0]
    candidates = {
        module: name
        for name, module in model.named_modules()
        if name and name.count(".") < 2 and name.partition(".")[0] != head and not isinstance(module, nn.AdaptiveAvgPool2d)
    }
    tensors = {name: x.to("meta") for name, x in [*model.named_parameters(), *model.named_buffers()]}
    with _watching(*candidates) as seen, torch.no_grad():
        torch.func.functional_call(model.eval(), tensors, (torch.empty(1, 3, px, px, device="meta"),))
    last_of_size: dict[int, Tap] = {}
    for module, (_, output) in seen.items():  # in the order of the calls, since dicts keep it
        if output.ndim == 4:
            _, first, second, third = output.shape
            channels_last = first == second != third
            last_of_size[second] = Tap(candidates[module], channels_last)
    return TorchvisionBackbone(model, classifier, [tap for _, tap in sorted(last_of_size.items(), reverse=True)])


def _unknown(library: str, name: str, known: Sequence[str]) -> str:
    nearest = difflib.get_close_matches(name, known, n=3, cutoff=0.0)
    return f"'{library}:{name}': {library} has no such network; nearest: {', '.join(f'{library}:{other}' for other in nearest)}"


class _Refused(UserError):
    """A message that needs no more words around it."""


@contextmanager
def _refusals(name: str, what: str) -> Iterator[None]:
    """A library's complaint, which may have any of these types, as a ``UserError`` that says what was tried."""
    try:
        yield
    except _Refused:
        raise
    except (TypeError, ValueError, AssertionError, RuntimeError, LookupError) as fault:
        raise UserError(f"{name} cannot be {what}: {fault}") from fault


@contextmanager
def _download(name: str) -> Iterator[None]:
    # Everything, since urllib, huggingface_hub and what they call have no common exception.
    try:
        yield
    except Exception as fault:
        raise _Refused(f"the pretrained weights of {name} could not be loaded (no network, or none published?): {fault}") from fault
