"""A network whose own last layer is left aside for one that was fitted on its embeddings."""

import torch
from torch import Tensor, nn

from autokd.networks.backbone import Featured, Output


class Probed(Featured):
    """Logits of a linear layer on the embeddings of `body`; its stages are the body's.

    Args:
        body: Any network; its own last layer plays no part.
        weight, bias: ``[classes, D]`` and ``[classes]``.
    """

    def __init__(self, body: Featured, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.body = body
        self.probe = nn.Linear(weight.shape[1], weight.shape[0])
        with torch.no_grad():
            self.probe.weight.copy_(weight)
            self.probe.bias.copy_(bias)

    def features(self, pictures: Tensor) -> Output:
        found = self.body.features(pictures)
        return Output(self.probe(found.embedding), found.stages, found.embedding)

    def embedding(self, pictures: Tensor) -> Tensor:
        return self.body.embedding(pictures)

    def forward(self, pictures: Tensor) -> Tensor:
        return self.probe(self.body.embedding(pictures))

    def head_names(self) -> set[str]:
        return {"probe.weight", "probe.bias"}

    def depths(self) -> dict[str, int]:
        below = {f"body.{name}": depth for name, depth in self.body.depths().items()}
        return below | dict.fromkeys(self.head_names(), max(below.values()) + 1)
