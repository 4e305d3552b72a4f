"""Networks: from a name to a module that takes pictures and gives logits, stage maps and embedding.

``network`` builds it, ``weights`` reads and hashes its weights, ``cost`` measures its size and
speed. Ours are in ``families``; torchvision's and timm's are made to answer alike by ``library``.
"""

from autokd.networks.backbone import Backbone, Featured, Output
from autokd.networks.cost import latency, measure, speed
from autokd.networks.families import FAMILIES
from autokd.networks.network import LEAST_PX, Network, build
from autokd.networks.weights import load_weights, state, weights_hash

__all__ = [
    "FAMILIES",
    "LEAST_PX",
    "Backbone",
    "Featured",
    "Network",
    "Output",
    "build",
    "latency",
    "load_weights",
    "measure",
    "speed",
    "state",
    "weights_hash",
]
