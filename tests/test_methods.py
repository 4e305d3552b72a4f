"""The methods: formulas against numbers derived without our code, properties, and equalities of whole runs.

The references below are NumPy and plain Python in float64, written from METHODS' formulas row by row; no torch function and none of
ours takes part in them. What all methods have in common is checked by ``conformance``.
"""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import conformance
import numpy as np
import pytest
import scipy.special
import torch
from conformance import CASES, STORE, call, made, student_hash, student_weights, trained

from autokd import axes, distill, models, papers, space
from autokd.document import Document
from autokd.recipe import check
from autokd.tree import Leaf
from autokd.views import Mix

ROOT = Path(__file__).parents[1]


# --- every method, and everything it declares -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("axis", "kind"), conformance.registered())
def test_conforms(axis: Any, kind: str) -> None:
    conformance.check(axis, kind)


def test_no_case_without_a_method() -> None:
    assert set(CASES) == set(conformance.registered())


def test_a_method_without_a_case_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(CASES, ("losses", "kl"))
    with pytest.raises(AssertionError, match="losses/kl has no case"):
        conformance.check("losses", "kl")


@pytest.mark.parametrize(("axis", "kind", "name"), conformance.hyperparameters())
def test_no_hyperparameter_is_dead(axis: Any, kind: str, name: str) -> None:
    """Each value gives another student after four steps, all else equal."""
    context = CASES[axis, kind].context
    context = {**context.get("", {}), **context.get(name, {})}
    students = [student_weights(conformance.setting(axis, kind, name, v, context)) for v in conformance.values(axis, kind, name)]
    for i, one in enumerate(students):
        for other in students[:i]:
            assert (one - other).abs().max() > 1e-6


# --- references -------------------------------------------------------------------------------------------------------------------

ROWS, CLASSES = 6, 5
Z_S = np.array([[2.0 * math.sin(1.3 * i + 0.7 * c * c) for c in range(CLASSES)] for i in range(ROWS)])
Z_T = np.array([[3.0 * math.cos(0.9 * i - 1.1 * c) + 0.5 * c for c in range(CLASSES)] for i in range(ROWS)])
Z_R = np.array([[1.5 * math.sin(0.4 * i * c + 0.2) for c in range(CLASSES)] for i in range(ROWS)])
Y = np.array([3, 0, 4, 1, -1, 2])
PARTNER = np.array([1, 4, -1, 2, 0, 3])
LAM = np.array([1.0, 0.75, 0.3, 0.5, 0.9, 0.2])
TAUS = {"scalar": 2.5, "per sample": np.array([1.0, 2.0, 3.5, 5.0, 1.5, 8.0])}
EACH_TAU = pytest.mark.parametrize("tau", TAUS.values(), ids=TAUS.keys())


def tensor(array: Any) -> Any:
    return torch.tensor(array) if isinstance(array, np.ndarray) else array


def softmax(row: Any) -> list[float]:
    top = max(row)
    weights = [math.exp(v - top) for v in row]
    return [w / sum(weights) for w in weights]


def divergence(p: Any, q: Any) -> float:
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True) if a > 0)


def taus(tau: Any) -> list[float]:
    return [float(t) for t in np.broadcast_to(tau, ROWS)]


def words(tau: Any = 2.5, **more: Any) -> dict[str, Any]:
    z_t = tensor(Z_T)
    return conformance.step_words() | {
        "student_logits": tensor(Z_S), "teacher_logits": z_t, "scratch_logits": tensor(Z_R), "labels": tensor(Y),
        "partner_labels": tensor(PARTNER), "mix_weight": tensor(LAM), "tau": tensor(tau),
        "log_probs": distill.log_softened(z_t, tensor(tau), None),
    } | more  # fmt: skip


def loss(kind: str, given: dict[str, Any], **settings: Any) -> float:
    with torch.no_grad():
        return float(call(axes.method("losses", kind), given, settings))


def shared(rows: Any) -> float:
    """The mean of rows(i, y) over known labels, weighted by each label's share of the picture."""
    pairs = [(i, int(Y[i]), LAM[i]) for i in range(ROWS)] + [(i, int(PARTNER[i]), 1 - LAM[i]) for i in range(ROWS)]
    known = [(i, y, share) for i, y, share in pairs if y >= 0]
    return sum(share * rows(i, y) for i, y, share in known) / sum(share for _, _, share in known)


# --- losses -----------------------------------------------------------------------------------------------------------------------


def test_by_hand() -> None:
    """p = (½, ½), q = (¼, ¾): ½ ln 2 + ½ ln ⅔. And for three classes, DKD's two parts."""
    log = {k: torch.tensor([v], dtype=torch.float64).log() for k, v in {"p": [0.5, 0.5], "q": [0.25, 0.75]}.items()}
    assert loss("kl", {"student_logits": log["q"], "log_probs": log["p"], "tau": 1.0}) == pytest.approx(0.14384103622589045)
    log = {k: torch.tensor([v], dtype=torch.float64).log() for k, v in {"p": [0.5, 0.25, 0.25], "q": [0.25, 0.25, 0.5]}.items()}
    given = words(1.0, student_logits=log["q"], log_probs=log["p"], labels=torch.tensor([0]), partner_labels=torch.tensor([0]))
    given["mix_weight"] = torch.ones(1, dtype=torch.float64)
    target, others = 0.14384103622589045, 0.05889151782819174  # ½ ln 2 + ½ ln ⅔ and ½ ln 3/2 + ½ ln ¾
    assert loss("dkd", given, warmup=0.0) == pytest.approx(target + 8 * others)
    assert loss("dkd", given | {"epoch": 4}, alpha=2.0, beta=3.0, warmup=20.0) == pytest.approx((2 * target + 3 * others) / 4)


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_ce(smoothing: float) -> None:
    def row(i: int, y: int) -> float:
        q = softmax(Z_S[i])
        return -sum(((1 - smoothing) * (c == y) + smoothing / CLASSES) * math.log(q[c]) for c in range(CLASSES))

    assert loss("ce", words(), label_smoothing=smoothing) == pytest.approx(shared(row), rel=1e-12)


def test_ce_of_faint_labels_is_bounded() -> None:
    """One label that stands for a hundredth of a picture does not speak for the batch."""
    given = words(labels=torch.tensor([3] + [-1] * 5), partner_labels=torch.full((6,), -1), mix_weight=tensor(np.full(6, 0.01)))
    assert loss("ce", given) == pytest.approx(-0.01 * math.log(softmax(Z_S[0])[3]))


@EACH_TAU
def test_kl(tau: Any) -> None:
    rows = [t**2 * divergence(softmax(Z_T[i] / t), softmax(Z_S[i] / t)) for i, t in enumerate(taus(tau))]
    assert loss("kl", words(tau)) == pytest.approx(sum(rows) / ROWS, rel=1e-12)


@EACH_TAU
@pytest.mark.parametrize("settings", [{"warmup": 0.0}, {"alpha": 2.0, "beta": 0.5, "warmup": 8.0}])
def test_dkd(tau: Any, settings: dict[str, float]) -> None:
    alpha, beta, warmup = settings.get("alpha", 1.0), settings.get("beta", 8.0), settings["warmup"]

    def row(i: int, y: int) -> float:
        t = taus(tau)[i]
        p, q = softmax(Z_T[i] / t), softmax(Z_S[i] / t)
        split = divergence((p[y], 1 - p[y]), (q[y], 1 - q[y]))
        others = [c for c in range(CLASSES) if c != y]
        return t**2 * (alpha * split + beta * divergence([p[c] / (1 - p[y]) for c in others], [q[c] / (1 - q[y]) for c in others]))

    ramp = min(1.0, 4 / warmup) if warmup else 1.0  # epoch 3 is the fourth
    assert loss("dkd", words(tau), **settings) == pytest.approx(ramp * shared(row), rel=1e-10)


@EACH_TAU
def test_dist(tau: Any) -> None:
    t = np.array(taus(tau))
    p, q = (np.array([softmax(z[i] / t[i]) for i in range(ROWS)]) for z in (Z_T, Z_S))
    between = np.mean([t[i] ** 2 * (1 - np.corrcoef(p[i], q[i])[0, 1]) for i in range(ROWS)])
    within = np.mean(t**2) * (1 - np.mean([np.corrcoef(p[:, c], q[:, c])[0, 1] for c in range(CLASSES)]))
    assert loss("dist", words(tau)) == pytest.approx(between + within, rel=1e-10)
    assert loss("dist", words(tau), beta=0.5, gamma=3.0) == pytest.approx(0.5 * between + 3 * within, rel=1e-10)


@EACH_TAU
def test_lskd(tau: Any) -> None:
    def standard(z: Any) -> Any:
        return (z - z.mean()) / (math.sqrt(((z - z.mean()) ** 2).sum() / (CLASSES - 1)) + 1e-7)

    rows = [t**2 * divergence(softmax(standard(Z_T[i]) / t), softmax(standard(Z_S[i]) / t)) for i, t in enumerate(taus(tau))]
    assert loss("lskd", words(tau)) == pytest.approx(sum(rows) / ROWS, rel=1e-12)


def test_lskd_leaves_the_scale_free() -> None:
    assert loss("lskd", words(student_logits=5 * tensor(Z_T) + 3)) == pytest.approx(0, abs=1e-10)


def huber(x: float) -> float:
    return 0.5 * x * x if abs(x) < 1 else abs(x) - 0.5


def test_rkd() -> None:
    given = words()
    points = [given[f"{who}_embedding"].numpy() for who in ("student", "teacher")]
    n = len(points[0])
    scaled, cosines = [], []
    for e in points:
        d = np.array([[math.dist(a, b) for b in e] for a in e])
        scaled.append(d / d[d > 0].mean())
        unit = [[(e[j] - e[i]) / d[i, j] if i != j else np.zeros_like(e[i]) for j in range(n)] for i in range(n)]
        cosines.append([[[float(unit[i][j] @ unit[i][k]) for k in range(n)] for j in range(n)] for i in range(n)])
    by_pairs = [huber(a - b) for a, b in zip(scaled[0].ravel(), scaled[1].ravel(), strict=True)]
    assert loss("rkd_distance", given) == pytest.approx(np.mean(by_pairs), rel=1e-10)
    by_triples = [huber(a - b) for a, b in zip(np.ravel(cosines[0]), np.ravel(cosines[1]), strict=True)]
    assert loss("rkd_angle", given) == pytest.approx(np.mean(by_triples), rel=1e-10)


def test_rkd_forgets_size_and_turn() -> None:
    given = words()
    turn = np.linalg.qr(np.sin(np.arange(121.0)).reshape(11, 11))[0]
    given["student_embedding"] = 7 * given["teacher_embedding"] @ torch.tensor(turn) + 2
    assert loss("rkd_distance", given) == pytest.approx(0, abs=1e-12) and loss("rkd_angle", given) == pytest.approx(0, abs=1e-12)


def pooled(maps: Any, size: int) -> Any:
    """Adaptive average pooling of [B, c, n, n], window by window."""
    n = maps.shape[-1]
    edges = [(math.floor(i * n / size), math.ceil((i + 1) * n / size)) for i in range(size)]
    return np.array([[maps[:, :, a:b, c:d].mean((2, 3)) for c, d in edges] for a, b in edges]).transpose(2, 3, 0, 1)


def attention_map(picture: Any) -> Any:
    v = (picture**2).sum(0).ravel() / len(picture)
    return v / math.sqrt(float(v @ v))


@pytest.mark.parametrize(("kind", "who", "sizes"), [("attention", "student", (6, 3)), ("scratch_attention", "scratch", (8, 5, 2))])
def test_attention(kind: str, who: str, sizes: tuple[int, ...]) -> None:
    """The student has two stages, the scratch teacher three, the teacher four: the last ones are paired, at the smaller size."""
    given = words()
    total = 0.0
    for ours, theirs in zip(reversed(given[f"{who}_stages"]), reversed(given["teacher_stages"]), strict=False):
        size = min(ours.shape[-1], theirs.shape[-1])
        f, e = pooled(ours.numpy(), size), pooled(theirs.numpy(), size)
        total += np.mean([(attention_map(a) - attention_map(b)) ** 2 for a, b in zip(f, e, strict=True)])
    assert loss(kind, given) == pytest.approx(total, rel=1e-10)
    assert len(given[f"{who}_stages"]) == len(sizes)


def test_attention_takes_three_stages_at_most() -> None:
    given = words()
    given["student_stages"] = given["teacher_stages"][:1] + tuple(s + 1 for s in given["teacher_stages"][1:])
    apart = loss("attention", given)
    given["student_stages"] = (given["teacher_stages"][0] + 9, *given["student_stages"][1:])
    assert loss("attention", given) == apart > 0


def test_fitnets() -> None:
    given = words()
    ours, theirs = given["student_stages"][0].numpy(), given["teacher_stages"][1].numpy()  # the middle ones, the lower of two
    weight, bias = given["modules"].weight.detach().numpy()[:, :, 0, 0], given["modules"].bias.detach().numpy()
    guess = np.einsum("oc,bchw->bohw", weight, ours) + bias[None, :, None, None]
    assert loss("fitnets", given) == pytest.approx(np.mean((guess - pooled(theirs, 6)) ** 2), rel=1e-10)


def test_fitnets_regressor_fits_any_two_networks() -> None:
    for student, teacher in (("cnn-1x3", "cnn-5x6"), ("cnn-3x8", "resnet8"), ("wrn-16-1", "mobilenetv2")):
        nets = [models.build(name, classes=10, channels=1, resolution=8, seed=0) for name in (student, teacher)]
        before = [models.weights_hash(net) for net in nets]
        module = axes.method("losses", "fitnets").flags["build_modules"](*nets, (1, 4, 8))
        assert [models.weights_hash(net) for net in nets] == before, "the dry run must leave batch statistics alone"
        assert all(net.training for net in nets)
        stages = [net.features(torch.rand(3, 1, size, size)).stages for net, size in zip(nets, (4, 8), strict=True)]
        given = {"student_stages": stages[0], "teacher_stages": stages[1], "modules": module}
        assert math.isfinite(loss("fitnets", given))


def test_scratch_l2() -> None:
    assert loss("scratch_l2", words()) == pytest.approx(((Z_R - Z_S) ** 2).sum() / ROWS, rel=1e-12)


def test_hot_limit_is_centred_logit_matching() -> None:
    """τ² KL → ‖centred difference‖² / 2C; DKD's second part the same over the classes that are not the true one."""
    tau = 1e4
    difference = [(t - t.mean()) - (s - s.mean()) for t, s in zip(Z_T, Z_S, strict=True)]
    assert loss("kl", words(tau)) == pytest.approx(np.mean([d @ d for d in difference]) / (2 * CLASSES), rel=1e-3)
    without = [np.delete(Z_T[i] - Z_S[i], Y[i]) for i in range(ROWS) if Y[i] >= 0]
    plain = words(tau, partner_labels=tensor(Y), mix_weight=torch.ones(ROWS, dtype=torch.float64))
    limit = np.mean([((d - d.mean()) ** 2).sum() for d in without]) / (2 * (CLASSES - 1))
    assert loss("dkd", plain, alpha=0.0, beta=1.0, warmup=0.0) == pytest.approx(limit, rel=1e-3)


# --- targets ----------------------------------------------------------------------------------------------------------------------


def target(kind: str, **settings: Any) -> tuple[Any, Any, list[Any]]:
    notes: list[Any] = []
    given = words(note=lambda name, values: notes.append((name, values.tolist())))
    logits, cold = call(axes.method("target", kind), given, settings)
    return logits.numpy(), None if cold is None else cold.tolist(), notes


WRONG = [bool(y >= 0 and np.argmax(z) != y) for z, y in zip(Z_T, Y, strict=True)]


def test_shift() -> None:
    assert any(WRONG) and not all(WRONG)
    expected = Z_T.copy()
    for i in np.flatnonzero(WRONG):
        top = int(np.argmax(Z_T[i]))
        expected[i, top], expected[i, Y[i]] = Z_T[i, Y[i]], Z_T[i, top]
    logits, cold, notes = target("shift")
    assert np.array_equal(logits, expected) and cold is None
    assert notes == [("target/adjusted", WRONG)]
    for i in np.flatnonzero(WRONG):  # swapping logits is swapping probabilities, at every temperature
        for tau in (1.0, 4.0):
            assert softmax(logits[i] / tau)[Y[i]] == pytest.approx(max(softmax(Z_T[i] / tau)), rel=1e-12)


@pytest.mark.parametrize("eps", [0.1, 0.4])
def test_smooth(eps: float) -> None:
    logits, cold, notes = target("smooth", eps=eps)
    assert cold == WRONG and notes == [("target/adjusted", WRONG)]
    for tau in (2.5, tensor(TAUS["per sample"])):  # the adjusted rows stay as they are, the others are softened
        p = distill.log_softened(torch.tensor(logits), tau, torch.tensor(cold)).exp().numpy()
        for i, t in enumerate(taus(np.asarray(tau))):
            smoothed = [1 - eps if c == Y[i] else eps / (CLASSES - 1) for c in range(CLASSES)]
            assert p[i] == pytest.approx(smoothed if WRONG[i] else softmax(Z_T[i] / t), rel=1e-12)


# --- temperatures -----------------------------------------------------------------------------------------------------------------


def temperature(kind: str, **settings: Any) -> tuple[Any, dict[str, Any]]:
    notes: dict[str, Any] = {}
    return call(axes.method("temperature", kind), words(note=notes.__setitem__), settings), notes


def spread(w: list[float], tau: float, beta: float, low: float, high: float) -> list[float]:
    return [min(max(tau + (sum(w) / len(w) - v) * beta, low), high) for v in w]


@pytest.mark.parametrize("where", ["logit", "prob"])
@pytest.mark.parametrize(("beta", "low", "high"), [(40.0, 1.0, 0.0), (7.0, 0.5, 11.0), (400.0, 2.0, 0.0)])
def test_flsw(where: Any, beta: float, low: float, high: float) -> None:
    w = []
    for s, t in zip(Z_S, Z_T, strict=True):
        if where == "logit":
            cosine = float(s @ t) / ((math.sqrt(s @ s) + 1e-4) * (math.sqrt(t @ t) + 1e-4))
        else:
            cosine = sum(a * b for a, b in zip(softmax(s), softmax(t), strict=True))
        w.append(max(1 - cosine, 0) ** 0.5)
    tau, notes = temperature("flsw", beta=beta, space=where, tau_min=low, tau_max=high)
    expected = spread(w, 10.0, beta, low, high or 40.0)
    assert tau.numpy() == pytest.approx(expected, rel=1e-10)
    assert notes["tau/clamped"].tolist() == [v in (low, high or 40.0) for v in expected]


def test_flsw_is_warmer_for_the_clear() -> None:
    """A picture on which both agree has the highest temperature, one on which they are opposed the lowest."""
    given = words(student_logits=tensor(np.vstack([Z_T[:3], -Z_T[3:]])))
    tau = call(axes.method("temperature", "flsw"), given)
    assert tau[:3].min() > tau[3:].max()


def test_flsw_survives_rounding() -> None:
    """Equal logits: 1 − cos is 0 up to rounding, of either sign; a fractional power of a negative number would be NaN."""
    z = conformance.noise(500, 7, scale=1e4, dtype=torch.float32)
    given = {"student_logits": z, "teacher_logits": z, "note": lambda *_: None}
    assert torch.isfinite(call(axes.method("temperature", "flsw"), given, {"gamma": 0.3})).all()


@pytest.mark.parametrize(("beta", "low", "high"), [(4.0, 1.0, 0.0), (60.0, 2.0, 12.0)])
def test_cwsm(beta: float, low: float, high: float) -> None:
    w = [1 / max(softmax(s)) for s in Z_S]
    w = [v / (sum(w) / len(w)) for v in w]
    tau, _ = temperature("cwsm", beta=beta, tau_min=low, tau_max=high)
    assert tau.numpy() == pytest.approx(spread(w, 10.0, beta, low, high or 40.0), rel=1e-10)


def test_temperatures_that_do_not_spread_are_numbers() -> None:
    for kind in ("flsw", "cwsm"):
        assert temperature(kind, beta=0.0, tau=4.3)[0] == 4.3 == temperature("constant", tau=4.3)[0]
        assert temperature(kind, beta=0.0, tau=0.5)[0] == 1.0 and temperature(kind, beta=0.0, tau=9.0, tau_max=6.0)[0] == 6.0


# --- views ------------------------------------------------------------------------------------------------------------------------


def mixed(uniform: Any, **settings: Any) -> Any:
    given = conformance.epoch_words() | {
        "batch_index": torch.tensor([1, 0, 1, 0]),
        "uniforms": lambda purpose, columns: torch.tensor(uniform if purpose == "mixup/weight" else [0.6, 0.1, 0.9, 0.3])[:, None].double(),
    }
    return call(axes.method("view", "mixup"), given, settings)


def test_mixup_draws_beta() -> None:
    """The Beta distribution's inverse where it has a closed form, and its own distribution function elsewhere."""
    u = [0.0, 0.2, 0.55, 0.95]
    assert mixed(u)[1].tolist() == pytest.approx(u)
    assert mixed(u, alpha=0.5)[1].tolist() == pytest.approx([math.sin(math.pi * v / 2) ** 2 for v in u], rel=1e-6)
    for x, v in zip(mixed(u, alpha=2.0)[1].tolist(), u, strict=True):
        assert 3 * x**2 - 2 * x**3 == pytest.approx(v, abs=1e-6)
    for alpha in (1e-6, 1e-3, 0.1, 30.0, 1e5):
        assert torch.isfinite(mixed(u, alpha=alpha)[1]).all()
    many = scipy.special.betaincinv(0.4, 0.4, np.linspace(0.0005, 0.9995, 1000))
    assert many.mean() == pytest.approx(0.5, abs=1e-3) and many.var() == pytest.approx(1 / (4 * 1.8), abs=1e-3)


def test_mixup_partners_and_batches() -> None:
    partner, weight, sees = mixed([0.1, 0.2, 0.3, 0.4])
    assert partner.tolist() == [1, 3, 0, 2] and sees == "mixed"
    partner, weight, sees = mixed([0.1, 0.2, 0.3, 0.4], per="batch", teacher="blend")
    assert weight.tolist() == pytest.approx([0.2, 0.1, 0.2, 0.1]) and sees == "parts"
    assert mixed([0.1, 0.2, 0.3, 0.4], alpha=0.0) is None


def test_a_picture_may_be_its_own_partner() -> None:
    own = [int((call(axes.method("view", "mixup"), conformance.epoch_words(epoch=e))[0] == torch.arange(conformance.N)).sum()) for e in range(40)]
    assert 0.5 < np.mean(own) < 2  # a permutation has one fixed point on average


# --- teaching ---------------------------------------------------------------------------------------------------------------------


def experts(kind: str, given: dict[str, Any], **settings: Any) -> list[list[int]]:
    return call(axes.method("teaching", kind), given, settings).tolist()


def test_who_teaches() -> None:
    given = conformance.epoch_words(members=3)
    n = conformance.N
    assert experts("single", given) == experts("collaborative", given) == [[2] * n]
    assert experts("chain", given) == [[0] * n]
    assert experts("dense", given) == [[0] * n, [1] * n, [2] * n]
    kept = experts("dense", given, stochastic=True)
    dropped = [({0, 1, 2} - {kept[0][i], kept[1][i]}).pop() for i in range(n)]
    draws = given["uniforms"]("dgkd/drop", 1)[:, 0].tolist()
    assert dropped == [int(3 * draws[b]) for b in given["batch_index"].tolist()], "one draw for each batch"


@pytest.mark.parametrize("difficulty", ["ladder", "teacher", "student"])
@pytest.mark.parametrize(("epoch", "warm", "allowed"), [(0, 4, 1), (1, 4, 2), (2, 4, 3), (7, 4, 3), (0, 0, 3), (5, 1, 3)])
def test_curriculum(difficulty: str, epoch: int, warm: int, allowed: int) -> None:
    notes: dict[str, float] = {}
    given = conformance.epoch_words(members=3, epoch=epoch) | {"note": notes.__setitem__}
    tables, labels = given["first_logits"].numpy(), given["labels"].tolist()
    n = len(labels)

    def hardness(i: int) -> float:
        p = [softmax(table[i]) for table in tables]
        if labels[i] < 0:
            mean = [sum(column) / 3 for column in zip(*p, strict=True)]
            return -sum(v * math.log(v) for v in mean)
        if difficulty == "student" and epoch > 0:
            return float(given["student_losses"][i])
        losses = [-math.log(row[labels[i]]) for row in p]
        return losses[2] if difficulty == "teacher" else sum(losses) / 3

    expected = [0] * n
    for group in ([i for i in range(n) if labels[i] >= 0], [i for i in range(n) if labels[i] < 0]):
        for rank, i in enumerate(sorted(group, key=hardness)):
            expected[i] = min(rank * 3 // len(group), allowed - 1)
    assert experts("curriculum", given, difficulty=difficulty, warm=warm) == [expected]
    assert {name: int(v) for name, v in notes.items()} == {f"teaching/expert{k}": expected.count(k) for k in range(3)}


def test_curriculum_breaks_ties_by_index() -> None:
    given = conformance.epoch_words(members=3) | {"labels": torch.zeros(24, dtype=torch.int64), "first_logits": torch.zeros(3, 24, 5)}
    assert experts("curriculum", given, warm=0) == [[0] * 8 + [1] * 8 + [2] * 8]
    given["labels"] -= 1  # and nobody labelled is no error
    assert experts("curriculum", given, warm=0) == [[0] * 8 + [1] * 8 + [2] * 8]


# --- the step ---------------------------------------------------------------------------------------------------------------------

ONE_STEP = {"data/limit": 20, "train/epochs": 1}  # one batch of 20
KL_ALONE = {"kl": {"weight": 0.7}}
TWO = ["cnn-3x6", "cnn-2x8"]
STEPS: dict[str, dict[str, Any]] = {
    "kd": {"distill/losses": KL_ALONE},
    "low resolution": {"distill/losses": KL_ALONE, "student/resolution": 4},
    "teacher sees the student's": {"distill/losses": KL_ALONE, "student/resolution": 4, "teacher/input": "student"},
    "takd": {"distill/losses": KL_ALONE, "distill/teaching": {"kind": "chain"}, "ladder": TWO},
    "dgkd": {"distill/losses": KL_ALONE, "distill/teaching": {"kind": "dense"}, "ladder": TWO},
    "ces-kd": {"distill/losses": KL_ALONE, "distill/teaching": {"kind": "curriculum", "warm": 0}, "ladder": TWO},
    "virtual": {"distill/losses": KL_ALONE, "distill/view": {"kind": "mixup"}},
    "blend": {"distill/losses": KL_ALONE, "distill/view": {"kind": "mixup", "teacher": "blend"}},
    "all at once": {
        "distill/losses": KL_ALONE, "distill/view": {"kind": "mixup", "teacher": "blend"}, "distill/target": {"kind": "shift"},
        "distill/teaching": {"kind": "curriculum", "warm": 0}, "ladder": TWO, "student/resolution": 4,
        "distill/temperature": {"kind": "constant", "tau": 2.0}, **conformance.WRONG, "teacher/train/epochs": 3,
        "data/limit": 60, "train/batch_size": 60,
    },
}  # fmt: skip


@pytest.mark.parametrize("changes", STEPS.values(), ids=STEPS.keys())
def test_one_step_recomputed(changes: dict[str, Any]) -> None:
    """The first loss of a run, from the teachers' tables and the student's logits alone, row by row."""
    recipe = made(ONE_STEP | changes)
    run = distill.Run(recipe, STORE)
    views, n = run._views(0), len(run.data.train)
    labels = run.data.train.labels.tolist()
    (teaching, teaching_settings), (view, view_settings) = recipe.methods[:2]
    own = {"uniforms": views.uniforms, "epoch": 0, "labels": run.data.train.labels, "members": len(run.members)}
    given = conformance.epoch_words() | own
    drawn = view.call(given, view_settings)
    mix = Mix(*drawn) if drawn else None
    parts = bool(mix and mix.teacher_sees == "parts")
    tables = [m.table(views, None if parts else mix).double().numpy() for m in run.members]
    given["first_logits"] = torch.stack([m.table(views, None) for m in run.members])
    who = teaching.call(given, teaching_settings).tolist()
    tau = recipe.distill["temperature"]["tau"]
    run.student.train()
    z = run.student(views.render(torch.arange(n), recipe.resolution, mix)).detach().double().numpy()

    def answer(member: int, i: int) -> Any:
        row = tables[member][i].copy()
        top, y = int(row.argmax()), labels[i]
        if recipe.distill["target"]["kind"] == "shift" and top != y:
            row[top], row[y] = row[y], row[top]
        return np.array(softmax(row / tau))

    values = []
    for row in who:
        for i in range(n):
            p = answer(row[i], i)
            if parts and mix:
                w = float(mix.weight[i])
                p = w * p + (1 - w) * answer(row[i], int(mix.partner[i]))
            values.append(tau**2 * divergence(p, softmax(z[i] / tau)))
    assert distill.Run(recipe, STORE).epoch()["train/loss"] == pytest.approx(0.7 * np.mean(values), rel=1e-4)
    if "all at once" in STEPS and changes is STEPS["all at once"]:
        assert len(set(who[0])) == 3 and any(int(t[i].argmax()) != labels[i] for t in tables for i in range(n))


@pytest.mark.parametrize("kind", [kind for axis, kind in conformance.registered() if axis == "losses"])
def test_continuous_in_its_weight(kind: str) -> None:
    """The first step's loss and gradient are linear in each weight, down to and at 0."""
    context = CASES["losses", kind].context.get("", {})
    losses, students = {}, {}
    for weight in (0.0, 1e-3, 1.0):
        changes = conformance.setting("losses", kind, "weight", weight, context) | ONE_STEP | {"data/augment/crop_padding": 0}
        run, metrics = trained(changes)
        losses[weight] = metrics["train/loss"]
        trained_networks = [network for network in (run.student, scratch_of(run)) if network]
        students[weight] = torch.cat([p.detach().flatten().double() for net in trained_networks for p in net.parameters()])
    assert losses[1e-3] - losses[0.0] == pytest.approx(1e-3 * (losses[1.0] - losses[0.0]), rel=1e-2, abs=2e-6)
    moved = students[1.0] - students[0.0]
    torch.testing.assert_close(students[1e-3] - students[0.0], 1e-3 * moved, rtol=1e-2, atol=1e-6)
    assert moved.abs().max() > 1e-6


def scratch_of(run: distill.Run) -> models.Network | None:
    """The scratch teacher as the run left it: the one beside the student, or the trajectory's, trained as far where it came from tables."""
    if run.scratch or not run.trajectory:
        return run.scratch
    course = run.trajectory.run or run.trajectory.start()
    while course.next_epoch < run.next_epoch:
        course.epoch()
    return course.student


# --- whole runs -------------------------------------------------------------------------------------------------------------------

PRESETS = sorted(axes.presets())
RUNS = {  # the issue's equalities: 2 epochs on 200 pictures
    **conformance.SMALL,
    "data": {"name": "digits", "resolution": 8, "limit": 200, "augment": {"crop_padding": 1}},
    "teacher": {"model": "cnn-3x8", "train": {"epochs": 2, "batch_size": 20, "lr": 0.05}},
    "train": {"epochs": 2, "batch_size": 20, "lr": 0.05},
}
KD = {"distill/preset": "kd"}
EQUAL: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "CES-KD with one expert": ({"distill/preset": "ces-kd"}, KD),
    "CES-KD with one expert, judged by the student": ({"distill/preset": "ces-kd", "distill/teaching/difficulty": "student"}, KD),
    "TAKD without a ladder": ({"distill/preset": "takd"}, KD),
    "DGKD with no assistant": ({"distill/preset": "dgkd"}, KD),
    "DGKD with no assistant, stochastic": ({"distill/preset": "dgkd", "distill/teaching/stochastic": True}, KD),
    "DTD with beta 0": ({"distill/preset": "dtd", "distill/temperature/beta": 0.0, "distill/temperature/tau": 4.0}, KD),
    "DTD with beta 0, tau² not a float32": (
        {"distill/preset": "dtd", "distill/temperature/beta": 0.0, "distill/temperature/tau": 4.3},
        {"distill/preset": "kd", "distill/temperature/tau": 4.3},
    ),
    "DTD by confidence with beta 0": ({"distill/preset": "dtd-cwsm", "distill/temperature/beta": 0.0, "distill/temperature/tau": 4.0}, KD),
    "STKD with alpha 0": ({"distill/preset": "stkd", "distill/view/alpha": 0.0}, KD),
    "CQKD at equal resolutions": (
        {"distill/preset": "cqkd", "student/resolution": 8},
        {"distill/losses": {"ce": {"weight": 0.5}, "kl": {"weight": 0.5}}, "distill/temperature": {"kind": "constant", "tau": 10.0}},
    ),
    "CQKD at equal resolutions, whatever the teacher sees": (
        {"distill/preset": "cqkd", "teacher/input": "student"},
        {"distill/preset": "cqkd"},
    ),
}


@pytest.mark.parametrize(("special", "plain"), EQUAL.values(), ids=EQUAL.keys())
def test_special_cases_are_the_same_bytes(special: dict[str, Any], plain: dict[str, Any]) -> None:
    assert student_hash(special, RUNS) == student_hash(plain, RUNS)


@pytest.mark.parametrize("sees", ["virtual", "blend"])
def test_stkd_with_lam_1_is_kd(monkeypatch: pytest.MonkeyPatch, sees: str) -> None:
    """λ = 1 through the whole mixing path, the teacher's as well, gives the bytes of plain distillation."""
    monkeypatch.setattr(scipy.special, "betaincinv", lambda a, b, u: np.ones_like(u))
    assert student_hash({"distill/preset": "stkd", "distill/view/teacher": sees}, RUNS) == student_hash(KD, RUNS)
    monkeypatch.undo()
    assert student_hash({"distill/preset": "stkd", "distill/view/teacher": sees}, RUNS) != student_hash(KD, RUNS)


def test_low_resolution_is_another_student() -> None:
    low = {"distill/preset": "cqkd", "student/resolution": 4}
    assert len({student_hash(c, RUNS) for c in (low, {"distill/preset": "cqkd"}, low | {"teacher/input": "student"})}) == 3


@pytest.mark.parametrize("changes", [{}, {"data/labelled": 20}], ids=["labelled", "half labelled"])
@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_runs(preset: str, changes: dict[str, Any]) -> None:
    """It trains, moves the student, leaves the frozen teachers as they were, and reports what it promises."""
    recipe = made({"distill/preset": preset, "ladder": ["cnn-2x8"]} | changes)
    run = distill.Run(recipe, STORE)
    teachers, start = [models.weights_hash(m.network) for m in run.members], models.weights_hash(run.student)
    figures = [run.epoch() for _ in range(2)]
    assert all(math.isfinite(v) for f in figures for v in f.values())
    assert models.weights_hash(run.student) != start
    assert [models.weights_hash(m.network) for m in run.members] == teachers
    assert not any(p.requires_grad or p.grad is not None for m in run.members for p in m.network.parameters())
    kinds = {axis: recipe.distill[axis]["kind"] for axis in axes.AXES if axis != "losses"}
    for f in figures:
        if kinds["teaching"] == "curriculum":
            assert f["train/teaching/expert0"] + f["train/teaching/expert1"] == len(run.data.train)
        if kinds["teaching"] == "collaborative":
            assert 0 <= f["val/scratch_accuracy"] <= 1
        if kinds["target"] != "teacher":
            assert 0 <= f["train/target/adjusted"] <= 1
        if kinds["temperature"] != "constant":
            assert f["train/tau/min"] <= f["train/tau"] <= f["train/tau/max"] and 0 <= f["train/tau/clamped"] <= 1
        assert {"val/entropy", "val/ece"} <= set(f)


def test_ka_has_something_to_do_where_labels_are_noisy() -> None:
    assert trained({"distill/preset": "ka", **conformance.WRONG, "teacher/train/epochs": 4})[1]["train/target/adjusted"] > 0.2


def test_scratch_teacher_goes_its_own_way() -> None:
    """Without a shared stem nothing of the student reaches R: its course is the same under any weight and any student."""

    def scratch(changes: dict[str, Any]) -> str:
        return models.weights_hash(scratch_of(trained({"distill/preset": "ctkd"} | changes)[0]))  # type: ignore[arg-type]

    alone = scratch({})
    assert scratch({"distill/losses/scratch_l2/weight": 3.0}) == scratch({"student/model": "cnn-1x4"}) == alone
    assert scratch({"distill/teaching/share_stem": True}) != alone
    run, _ = trained({"distill/preset": "ctkd", "distill/teaching/share_stem": True})
    assert run.scratch and run.scratch.backbone.stem is run.student.backbone.stem


# --- combinations, presets, papers ------------------------------------------------------------------------------------------------

REFUSED = [
    ({"target": {"kind": "shift"}, "view": {"kind": "mixup"}}, "distill/target"),
    ({"target": {"kind": "smooth"}, "view": {"kind": "mixup", "teacher": "virtual"}}, "distill/target"),
    ({"target": {"kind": "smooth"}, "losses": {"lskd": {}}}, "distill/losses/lskd"),
    ({"losses": {"ce": {}, "scratch_l2": {}}}, "distill/losses/scratch_l2"),
    ({"losses": {"scratch_attention": {}}, "teaching": {"kind": "dense"}}, "distill/losses/scratch_attention"),
    ({"teaching": {"kind": "collaborative", "scratch": "resnet21"}}, "distill/teaching/scratch"),
    ({"target": {"kind": "smooth", "eps": 0.0}}, "distill/target/eps"),
    ({"teaching": {"kind": "curriculum", "warm": -1}}, "distill/teaching/warm"),
]


@pytest.mark.parametrize(("block", "path"), REFUSED)
def test_refused_with_a_reason(block: dict[str, Any], path: str) -> None:
    recipe, findings = check({"distill": block})
    assert recipe is None and [f.path for f in findings] == [path] and all(f.rule for f in findings)


@pytest.mark.parametrize("preset", PRESETS)
def test_preset_is_complete(preset: str) -> None:
    p = axes.presets()[preset]
    assert p.summary and "\n" not in p.summary and len(p.summary) < 100 and p.paper
    assert p.recommended or p.paper == "control"
    base = {"ladder": ["cnn-2x8"], "distill": {"preset": "kd"}}
    document = {"base": "-", "search": {"trials": 1}, "vary": {"distill": {"one_of": [{"preset": preset}], "free": "recommended"}}}
    found = space.build(Document(document), Document(base))
    own = made({"distill/preset": preset}).distill
    for path, spec in p.recommended.items():
        assert "prior" not in spec or spec["prior"] == value_at(own, path), "the prior is what the preset says"
    for leaf in (leaf for leaf in found.leaves() if isinstance(leaf, Leaf)):
        assert leaf.prior is None or leaf.contains(leaf.prior)


def value_at(data: Any, path: str) -> Any:
    for key in path.split("/"):
        data = data[key]
    return data


def test_papers_page_is_current() -> None:
    page = (ROOT / papers.PAGE).read_text(encoding="utf-8")
    assert page == papers.page(), "run python -m autokd.papers"
    for axis, kind in conformance.registered():
        assert f"### `{axis}/{kind}`" in page
    for preset in PRESETS:
        assert f"### Preset `{preset}`" in page


def test_papers_page_is_light() -> None:
    heavy = ("torch", "numpy", "scipy", "ray", "mlflow", "optuna")
    script = f"import sys, autokd.papers as p; p.page(); print([m for m in {heavy} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.strip() == "[]"


# --- append to tests/test_methods.py together with /tmp/engine.patch ---


def test_a_lone_last_picture_is_in_no_batch() -> None:
    """41 pictures in batches of 20: one is left over, and what is decided by batch must not look for its batch."""
    for changes in ({"distill/preset": "function-matching"}, {"distill/preset": "dgkd", "distill/teaching/stochastic": True, "ladder": TWO}):
        assert math.isfinite(trained(changes | {"data/limit": 41})[1]["train/loss"])


def test_blend_stays_blend_beside_losses_that_run_the_teacher() -> None:
    block = {"losses": {"kl": {"weight": 1.0}}, "view": {"kind": "mixup", "teacher": "blend"}}
    beside = {**block, "losses": {"kl": {"weight": 1.0}, "attention": {"weight": 1e-12}}}
    assert trained({"distill": beside} | ONE_STEP)[1]["train/kl"] == trained({"distill": block} | ONE_STEP)[1]["train/kl"]


def test_without_a_teacher_nothing_asks_for_one() -> None:
    for block in ({"teaching": {"kind": "curriculum"}, "losses": {"ce": {}}}, {"losses": {"ce": {}, "fitnets": {"weight": 0.0}}}):
        assert student_hash({"distill": block, "ladder": TWO}) == student_hash({"distill": {"losses": {"ce": {}}}})


def test_scratch_teacher_counts_in_the_fingerprint() -> None:
    block = {"distill": {"teaching": {"kind": "collaborative"}, "losses": {"ce": {}, "scratch_l2": {}}}}
    other = block | {"teacher/model": "cnn-2x8"}
    assert made(block).fingerprint() != made(other).fingerprint() and student_hash(block) != student_hash(other)


def test_scratch_teacher_is_measured_at_the_resolution_it_sees() -> None:
    run, metrics = trained({"distill/preset": "ctkd", "student/resolution": 4, "teacher/input": "student"})
    logits = run.logits(run.validation, scratch_of(run))  # the student's pictures, 4 px
    assert metrics["val/scratch_accuracy"] == float((logits.argmax(1) == run.data.validation.labels).double().mean())
