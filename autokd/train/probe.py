"""A linear probe: the head of a network that has none for the data's classes, fitted once on frozen
embeddings.

Multinomial logistic regression (L2, all pictures at once, L-BFGS); its strength is the one under
which a fifth of the training pictures, not fitted, are likeliest. The likelihood decides and not
the accuracy, since students learn from the probabilities.
"""

from __future__ import annotations

import copy
import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from autokd import networks
from autokd.data import Dataset
from autokd.data.splits import stratified
from autokd.data.views import resize
from autokd.errors import UserError
from autokd.networks.backbone import Featured
from autokd.networks.probed import Probed
from autokd.recipe import TrainSettings
from autokd.train.determinism import memory_format, precision, threads
from autokd.train.store import Store

BATCH = (
    256  # pictures of one pass; the last is padded, so that no row depends on how many there are
)
HELD = 0.2  # of the labelled training pictures, to choose the strength by
# of the penalty on a mean loss over standardised embeddings, strongest first
STRENGTHS = tuple(10.0**e for e in np.arange(1, -6.5, -0.5))
STEPS = 200  # of L-BFGS at most, for each strength


def probed(
    network: networks.Network,
    data: Dataset,
    resolution: int,
    settings: TrainSettings,
    store: Store,
    what: str,
) -> networks.Network:
    """``network`` with a head for the data's classes, from the cache or fitted now. ``resolution``:
    of the pictures that it sees; ``settings``: threads and precision of its passes.
    """
    network = network.to(store.device).eval().requires_grad_(False)
    content = {
        "probe": {"held": HELD, "strengths": STRENGTHS, "steps": STEPS},
        "network": networks.weights_hash(network),
        "side": network.side,
        "data": data.fingerprint,
        "resolution": resolution,
        "precision": settings.precision,
        "threads": settings.threads,
    }

    def make(partial: Path | None) -> dict[str, Tensor]:
        with threads(settings.threads):
            weight, bias = fitted(network, data, resolution, settings.precision, store.device)
        return {"weight": weight.cpu(), "bias": bias.cpu()}

    head = store.network(content, make, f"a probe of {what}")
    body: Featured = network.backbone
    network.backbone = Probed(body, head["weight"], head["bias"]).to(store.device)
    return network


def with_probe(
    network: networks.Network, data: Dataset, resolution: int, form: str, device: str
) -> networks.Network:
    """A copy of ``network`` whose own last layer holds the head that is fitted on its embeddings,
    and which is so a network like any other.
    """
    out = copy.deepcopy(network).eval().requires_grad_(False)
    weight, bias = linear_head(out)
    found = fitted(out, data, resolution, form, device)
    with torch.no_grad():
        weight.copy_(found[0])
        bias.copy_(found[1])
    return out


def linear_head(network: networks.Network) -> tuple[Tensor, Tensor]:
    """Weight and bias of the network's last layer. Raises :class:`UserError` where that is not one
    linear layer.
    """
    named = dict(network.backbone.named_parameters())
    own = sorted((named[name] for name in network.backbone.head_names()), key=lambda p: -p.ndim)
    if [p.ndim for p in own] != [2, 1]:
        shapes = ", ".join(str([*p.shape]) for p in own)
        raise UserError(
            "student/head: probe needs a network whose last layer is linear, with a bias; the"
            f" parameters of this one's are {shapes or 'none'}"
        )
    return own[0], own[1]


def fitted(
    network: networks.Network, data: Dataset, resolution: int, form: str, device: str
) -> tuple[Tensor, Tensor]:
    """Weight ``[classes, D]`` and bias ``[classes]`` for a frozen network, of the labelled training
    pictures.
    """
    known = (data.train.labels >= 0).nonzero()[:, 0]
    seen = embeddings(network, data, known, resolution, form, device)
    return fit(seen, data.train.labels[known], len(data.classes))


@torch.inference_mode()
def embeddings(
    network: networks.Network,
    data: Dataset,
    rows: Tensor,
    resolution: int,
    form: str,
    device: str,
) -> Tensor:
    """``[n, D]`` float32 of training pictures ``rows`` [n] as they are, without augmentation."""
    out = []
    with precision(form, device):
        for chunk in rows.split(BATCH):
            padded = torch.cat([chunk, chunk.new_zeros(BATCH - len(chunk))])
            pictures = resize(data.train.pictures[padded].float() / 255, resolution)
            pictures = pictures.contiguous(memory_format=memory_format(resolution))
            out.append(network.embedding(pictures)[: len(chunk)].float())
    return torch.cat(out)


def fit(seen: Tensor, labels: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Weight ``[classes, D]`` and bias ``[classes]``, float32, of embeddings ``[N, D]`` and labels
    ``[N]``.
    """
    if not bool(seen.isfinite().all()):  # of a run that has diverged: it is told by its logits
        return seen.new_full((classes, seen.shape[1]), math.nan), seen.new_full(
            (classes,), math.nan
        )
    seen = seen.double().clone()  # out of inference mode
    mean, deviation = seen.mean(0), seen.std(0).clamp(min=1e-6)
    x = (seen - mean) / deviation
    weight, bias = _solve(x, labels, classes, [_strength(x, labels, classes)])[-1]
    weight = weight / deviation
    return weight.float(), (bias - weight @ mean).float()


def _strength(x: Tensor, labels: Tensor, classes: int) -> float:
    """The one that held-out pictures are likeliest under; the middle one where there are too few of
    a class to hold any out.
    """
    count = max(classes, round(HELD * len(labels)))
    if int(labels.bincount(minlength=classes).min()) < 2 or count > len(labels) // 2:
        return STRENGTHS[len(STRENGTHS) // 2]
    held = torch.from_numpy(stratified(labels.cpu().numpy(), count, 0, "probe/held"))
    held = held.to(labels.device)
    found = _solve(x[~held], labels[~held], classes, STRENGTHS)
    losses = [F.cross_entropy(x[held] @ w.T + b, labels[held]).item() for w, b in found]
    return STRENGTHS[int(np.argmin(losses))]


def _solve(
    x: Tensor, labels: Tensor, classes: int, strengths: tuple[float, ...] | list[float]
) -> list[tuple[Tensor, Tensor]]:
    """Weight and bias under each strength, each begun from the one before."""
    weight = x.new_zeros(classes, x.shape[1]).requires_grad_()
    bias = x.new_zeros(classes).requires_grad_()
    out = []
    for strength in strengths:
        solver = torch.optim.LBFGS(
            [weight, bias],
            max_iter=STEPS,
            tolerance_grad=1e-6,
            tolerance_change=1e-9,
            line_search_fn="strong_wolfe",
        )

        def loss(strength: float = strength, solver: torch.optim.LBFGS = solver) -> Tensor:
            solver.zero_grad()
            value = F.cross_entropy(x @ weight.T + bias, labels)
            value = value + strength / 2 * weight.square().sum()
            value.backward()
            return value

        with torch.enable_grad():
            solver.step(loss)
        out.append((weight.detach().clone(), bias.detach().clone()))
    return out
