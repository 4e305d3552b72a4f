"""Networks of timm, made to answer like ours.

What timm does not promise stands here alone, as seen in timm 1.0.31:

- ``forward_intermediates`` gives ``(last map, stage maps)``; not every model has it.
- ``get_classifier`` gives a tuple for distilled transformers.
- ``get_pretrained_cfg(name).fixed_input_size`` tells the models that take ``img_size``.
- ``group_parameters(…, reverse=True)`` gives parameter -> depth.
"""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import huggingface_hub
import timm
import torch
from torch import Tensor, nn

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

SAFE = "model.safetensors"  # in a repository of the hub


def known(name: str) -> None:
    """Raises :class:`UserError` where timm has no such network."""
    if "." in name:  # with the tag of published weights
        names = timm.list_pretrained()
        if not timm.is_model(name) or name not in names:
            raise Refused(unknown("timm", name, names))
    elif not timm.is_model(name):
        raise Refused(unknown("timm", name, timm.list_models()))


def build(
    name: str,
    classes: int,
    channels: int,
    resolution: int,
    pretrained: bool,
    new_head: bool = False,
) -> Library:
    """The network `name`; published weights take 3 channels, whatever the pictures have."""
    known(name)
    taken = 3 if pretrained else channels
    arguments: dict[str, Any] = {"num_classes": classes, "in_chans": taken}
    configuration = timm.get_pretrained_cfg(name)
    if configuration is not None and configuration.fixed_input_size:
        arguments["img_size"] = resolution
    file = _local(name) if pretrained else None
    if file:
        arguments["pretrained_cfg_overlay"] = {"file": str(file)}
    with download(f"timm:{name}") if pretrained and not file else nullcontext():
        model: Any = timm.create_model(name, pretrained=pretrained, **arguments)
    backbone = TimmBackbone(model)
    if not pretrained:
        return Library(backbone, taken, None, None)
    theirs = model.pretrained_cfg["num_classes"]
    if theirs != classes and not new_head:
        raise headless(f"timm:{name}", theirs, classes)
    return Library(backbone, taken, model.pretrained_cfg["mean"], model.pretrained_cfg["std"])


def _local(name: str) -> Path | None:
    """The file of published weights where it is here: in the hub's cache, or laid beside
    torchvision's. None where timm is to fetch it its own way. Raises :class:`Refused` where it can
    not.
    """
    about = timm.get_pretrained_cfg(name)
    if about is None or about.custom_load or not (about.hf_hub_id or about.url):
        return None
    checkpoints = Path(torch.hub.get_dir()) / "checkpoints"
    if not about.hf_hub_id:
        place = checkpoints / about.url.rpartition("/")[2]
        if not place.exists() and not reachable(about.url):
            raise absent(f"timm:{name}", about.url, [place])
        return None
    cached = huggingface_hub.try_to_load_from_cache(about.hf_hub_id, SAFE)
    place = checkpoints / f"{about.architecture}.{about.tag}.safetensors"
    if isinstance(cached, str) or place.exists():
        return Path(cached) if isinstance(cached, str) else place
    url = huggingface_hub.hf_hub_url(about.hf_hub_id, SAFE)
    if huggingface_hub.constants.HF_HUB_OFFLINE or not reachable(url):
        raise absent(f"timm:{name}", url, [place])
    return None


def side(name: str) -> int | None:
    """Pixels a side that the published weights of `name` are for; None where it has none."""
    about = timm.get_pretrained_cfg(name)
    return about.input_size[-1] if about is not None else None


class TimmBackbone(Featured):
    """A network of timm; its stages are those of timm's own ``forward_intermediates``."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def features(self, pictures: Tensor) -> Output:
        model: Any = self.model  # timm's methods are not part of nn.Module
        classifier = self._classifiers()[0]
        if hasattr(model, "forward_intermediates"):
            last, stages = model.forward_intermediates(pictures)
        else:
            last = model.forward_features(pictures)
            stages = [last] if last.ndim == 4 else []
        with watching(classifier) as seen:
            logits = model.forward_head(last)
        return Output(logits, tuple(stages), as_vector(seen[classifier][0]))

    def embedding(self, pictures: Tensor) -> Tensor:
        return embedding(self.model, self._classifiers()[0], pictures)

    def forward(self, pictures: Tensor) -> Tensor:
        return self.model(pictures)

    def _classifiers(self) -> tuple[nn.Module, ...]:
        """Distilled transformers have two: the first is the usual."""
        model: Any = self.model
        found = model.get_classifier()
        return found if isinstance(found, tuple) else (found,)

    def head_names(self) -> set[str]:
        theirs = {p for layer in self._classifiers() for p in layer.parameters()}
        return {f"model.{name}" for name, p in self.model.named_parameters() if p in theirs}

    def depths(self) -> dict[str, int]:
        """timm's own groups: a block each."""
        model: Any = self.model
        groups = timm.models.group_parameters(
            model, model.group_matcher(coarse=False), reverse=True
        )
        return {f"model.{name}": depth for name, depth in groups.items()}
