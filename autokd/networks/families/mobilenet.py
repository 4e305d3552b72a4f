"""MobileNetV2 for 32 px pictures: Sandler et al. 2018, arXiv 1801.04381, with the strides of the
CIFAR-100 distillation tables (Tian et al. 2020, arXiv 1910.10699).
"""

from torch import Tensor, nn

from autokd.networks.backbone import Backbone, GlobalPool, bn_relu, conv, conv_bn_relu

# stages of (width at 1.0, blocks, stride); the very first block does not expand
STAGES = (
    ((16, 1, 1), (24, 2, 1)),
    ((32, 3, 2),),
    ((64, 4, 2), (96, 3, 1)),
    ((160, 3, 2), (320, 1, 1)),
)
EMBEDDING = 1280


class InvertedResidual(nn.Module):
    """1x1 to ``expansion`` times the width, 3x3 depthwise, 1x1 back with no activation; a shortcut
    where the size stays.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        width = inputs * expansion
        self.body = nn.Sequential(
            conv_bn_relu(inputs, width, 1),
            conv_bn_relu(width, width, 3, stride, groups=width),
            conv(width, outputs, 1),
            nn.BatchNorm2d(outputs),
        )
        self.same = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x) if self.same else self.body(x)


def build(
    *, channels: int, classes: int, resolution: int, width: float, expansion: int
) -> Backbone:
    """Four stages. Their maps are linear bottlenecks: no ReLU follows there by design, so they have
    negative values.

    Args:
        width: Factor on all widths but the embedding's.
        expansion: The paper's t.
    """
    stem_width = int(32 * width)
    stages: list[nn.Sequential] = []
    inputs = stem_width
    for groups in STAGES:
        layers: list[nn.Module] = [] if stages else [*bn_relu(stem_width)]
        for base, blocks, stride in groups:
            outputs = int(base * width)
            for block in range(blocks):
                layers.append(
                    InvertedResidual(
                        inputs, outputs, 1 if block else stride, 1 if base == 16 else expansion
                    )
                )
                inputs = outputs
        stages.append(nn.Sequential(*layers))
    head = nn.Sequential(conv_bn_relu(inputs, EMBEDDING, 1), GlobalPool())
    return Backbone(
        conv(channels, stem_width, stride=2), stages, head, nn.Linear(EMBEDDING, classes)
    )
