"""Networks: from a name to a module that takes pictures and gives logits, stage maps and embedding.

``network`` builds it, ``weights`` reads and hashes its weights, ``cost`` measures its size and
speed. Ours are in ``families``; torchvision's and timm's are made to answer alike by ``library``.
"""

from autokd.networks.backbone import Backbone, Featured, Output
from autokd.networks.checkpoints import read_weights
from autokd.networks.cost import latency, measure, speed
from autokd.networks.families import FAMILIES
from autokd.networks.hub import of_hub
from autokd.networks.labels import choose_classes, places, read_labels
from autokd.networks.network import LEAST_PX, Network, build, own_side
from autokd.networks.weights import channels_of, load_weights, state, weights_hash

__all__ = [
    "FAMILIES",
    "LEAST_PX",
    "Backbone",
    "Featured",
    "Network",
    "Output",
    "build",
    "channels_of",
    "choose_classes",
    "latency",
    "load_weights",
    "measure",
    "of_hub",
    "own_side",
    "places",
    "read_labels",
    "read_weights",
    "speed",
    "state",
    "weights_hash",
]
