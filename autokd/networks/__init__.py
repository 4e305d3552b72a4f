"""The networks of AutoKD, one file per family; ``FAMILIES`` maps a family's key in ``autokd.zoo`` to its builder.

Every builder is called with the keyword arguments ``channels``, ``classes`` and ``resolution`` (px; only families that flatten
their last map look at it) and with the card's own, and returns a ``Backbone``.
"""

from collections.abc import Callable

from autokd.networks import cnn, mobilenet, plane, resnet, shufflenet, vgg, wrn
from autokd.networks.backbone import Backbone, Featured, Output

FAMILIES: dict[str, Callable[..., Backbone]] = {
    "cnn": cnn.build,
    "mobilenet": mobilenet.build,
    "plane": plane.build,
    "resnet": resnet.build,
    "shufflenet": shufflenet.build,
    "vgg": vgg.build,
    "wrn": wrn.build,
}

__all__ = ["FAMILIES", "Backbone", "Featured", "Output"]
