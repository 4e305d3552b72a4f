"""The losses, worked out without our code: NumPy and plain Python in float64, row by row."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tests.methods.reference import divergence, reference, softmax

Words = Mapping[str, Any]


def logits(given: Words, who: str) -> Any:
    return given[f"{who}_logits"].numpy()


def taus(given: Words) -> Any:
    """One temperature for each picture."""
    return np.broadcast_to(np.asarray(given["tau"], float), len(given["labels"]))


def over_labels(given: Words, row: Callable[[int, int], float]) -> float:
    """The mean of row(i, y) over known labels, weighted by each label's share of the picture."""
    shares = given["mix_weight"].tolist()
    own, partners = given["labels"].tolist(), given["partner_labels"].tolist()
    parts = [(i, y, w) for i, (y, w) in enumerate(zip(own, shares, strict=True))]
    parts += [(i, y, 1 - w) for i, (y, w) in enumerate(zip(partners, shares, strict=True))]
    known = [(i, y, share) for i, y, share in parts if y >= 0]
    return sum(share * row(i, y) for i, y, share in known) / sum(share for _, _, share in known)


@reference("losses", "ce")
def ce(given: Words, *, label_smoothing: float, **_: Any) -> float:
    z = logits(given, "student")
    classes = z.shape[1]

    def row(i: int, y: int) -> float:
        q = softmax(z[i])
        target = [
            (1 - label_smoothing) * (c == y) + label_smoothing / classes for c in range(classes)
        ]
        return -sum(target[c] * math.log(q[c]) for c in range(classes))

    return over_labels(given, row)


@reference("losses", "kl")
def kl(given: Words, **_: Any) -> float:
    rows = zip(taus(given), logits(given, "teacher"), logits(given, "student"), strict=True)
    return float(np.mean([t**2 * divergence(softmax(a / t), softmax(b / t)) for t, a, b in rows]))


@reference("losses", "dkd")
def dkd(given: Words, *, alpha: float, beta: float, warmup: float, **_: Any) -> float:
    z_t, z_s, tau = logits(given, "teacher"), logits(given, "student"), taus(given)

    def row(i: int, y: int) -> float:
        p, q = softmax(z_t[i] / tau[i]), softmax(z_s[i] / tau[i])
        others = [c for c in range(len(p)) if c != y]
        target = divergence((p[y], 1 - p[y]), (q[y], 1 - q[y]))
        among = divergence([p[c] / (1 - p[y]) for c in others], [q[c] / (1 - q[y]) for c in others])
        return tau[i] ** 2 * (alpha * target + beta * among)

    ramp = min(1.0, (given["epoch"] + 1) / warmup) if warmup else 1.0
    return ramp * over_labels(given, row)


@reference("losses", "dist")
def dist(given: Words, *, beta: float, gamma: float, **_: Any) -> float:
    tau = taus(given)
    p, q = (
        np.array([softmax(z / t) for z, t in zip(logits(given, who), tau, strict=True)])
        for who in ("teacher", "student")
    )
    rows = [t**2 * (1 - np.corrcoef(a, b)[0, 1]) for t, a, b in zip(tau, p, q, strict=True)]
    columns = [np.corrcoef(a, b)[0, 1] for a, b in zip(p.T, q.T, strict=True)]
    return float(beta * np.mean(rows) + gamma * np.mean(tau**2) * (1 - np.mean(columns)))


@reference("losses", "lskd")
def lskd(given: Words, **_: Any) -> float:
    def standard(z: Any) -> Any:
        return (z - z.mean()) / (math.sqrt(((z - z.mean()) ** 2).sum() / (len(z) - 1)) + 1e-7)

    rows = zip(taus(given), logits(given, "teacher"), logits(given, "student"), strict=True)
    values = [
        t**2 * divergence(softmax(standard(a) / t), softmax(standard(b) / t)) for t, a, b in rows
    ]
    return float(np.mean(values))


def huber(x: float) -> float:
    return 0.5 * x * x if abs(x) < 1 else abs(x) - 0.5


def distances(points: Any) -> Any:
    return np.array([[math.dist(a, b) for b in points] for a in points])


@reference("losses", "rkd_distance")
def rkd_distance(given: Words, **_: Any) -> float:
    scaled = []
    for who in ("student", "teacher"):
        d = distances(given[f"{who}_embedding"].numpy())
        scaled.append((d / d[d > 0].mean()).ravel())
    return float(np.mean([huber(a - b) for a, b in zip(*scaled, strict=True)]))


@reference("losses", "rkd_angle")
def rkd_angle(given: Words, **_: Any) -> float:
    cosines = []
    for who in ("student", "teacher"):
        e = given[f"{who}_embedding"].numpy()
        d, n = distances(e), len(e)
        unit = [
            [(e[j] - e[i]) / d[i, j] if i != j else np.zeros_like(e[i]) for j in range(n)]
            for i in range(n)
        ]
        at = [
            [float(unit[i][j] @ unit[i][k]) for j in range(n) for k in range(n)] for i in range(n)
        ]
        cosines.append(np.ravel(at))
    return float(np.mean([huber(a - b) for a, b in zip(*cosines, strict=True)]))


def pooled(maps: Any, size: int) -> Any:
    """Adaptive average pooling of [B, c, n, n], window by window."""
    n = maps.shape[-1]
    edges = [(math.floor(i * n / size), math.ceil((i + 1) * n / size)) for i in range(size)]
    windows = [[maps[:, :, a:b, c:d].mean((2, 3)) for c, d in edges] for a, b in edges]
    return np.array(windows).transpose(2, 3, 0, 1)


def attention_map(picture: Any) -> Any:
    v = (picture**2).sum(0).ravel() / len(picture)
    return v / math.sqrt(float(v @ v))


def attention_between(ours: Any, theirs: Any) -> float:
    """The last stages are paired, at the smaller size."""
    total = 0.0
    for one, other in zip(reversed(ours), reversed(theirs), strict=False):
        size = min(one.shape[-1], other.shape[-1])
        pairs = zip(pooled(one.numpy(), size), pooled(other.numpy(), size), strict=True)
        total += np.mean([(attention_map(a) - attention_map(b)) ** 2 for a, b in pairs])
    return float(total)


@reference("losses", "attention")
def attention(given: Words, **_: Any) -> float:
    return attention_between(given["student_stages"], given["teacher_stages"])


@reference("losses", "scratch_attention")
def scratch_attention(given: Words, **_: Any) -> float:
    return attention_between(given["scratch_stages"], given["teacher_stages"])


@reference("losses", "fitnets")
def fitnets(given: Words, **_: Any) -> float:
    """The middle stages, the lower of two; the regressor is a fixed 1×1 convolution."""
    ours, theirs = given["student_stages"][0].numpy(), given["teacher_stages"][1].numpy()
    weight = given["modules"].weight.detach().numpy()[:, :, 0, 0]
    bias = given["modules"].bias.detach().numpy()
    guess = np.einsum("oc,bchw->bohw", weight, ours) + bias[None, :, None, None]
    return float(np.mean((guess - pooled(theirs, ours.shape[-1])) ** 2))


@reference("losses", "cosine")
def cosine(given: Words, **_: Any) -> float:
    weight = given["modules"].weight.detach().numpy()[:, :, 0, 0]
    ours = given["student_embedding"].numpy() @ weight.T + given["modules"].bias.detach().numpy()
    theirs = given["teacher_embedding"].numpy()
    lengths = np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1)
    return float(np.mean(1 - np.einsum("bi,bi->b", ours, theirs) / lengths))


@reference("losses", "scratch_l2")
def scratch_l2(given: Words, **_: Any) -> float:
    apart = logits(given, "scratch") - logits(given, "student")
    return float((apart**2).sum(1).mean())
