"""What every registered method must hold, whatever it computes, and the one place that says what is particular to each.

``check(axis, kind)`` calls a method alone, on words made here. ``trained`` runs a small recipe on digits, for what only a whole
run can show. A method without an entry in ``CASES`` fails the suite.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from autokd import axes, distill, models, recipe, rng
from autokd.axes import Axis, Method
from autokd.document import put
from autokd.teachers import Store

B, C, N, K = 8, 5, 24, 3  # batch, classes, training pictures, ladder members
LABELS = {"labels", "partner_labels"}


@dataclass(frozen=True)
class Case:
    """What is particular to one method.

    Attributes:
        variants: Settings under which the common rules are checked, besides the defaults.
        learns: Of a loss: the word that its gradient reaches.
        equal: Of a loss: the word that makes it 0 and minimal when ``learns`` is the same. Empty where there is none.
        shift: Of a loss: whether a constant added to all logits of a picture changes nothing.
        values: Per hyperparameter, a value that must differ from the default where twice the default is not the thing to try.
        context: Per hyperparameter ("" for all), recipe changes under which it has something to do.
    """

    variants: tuple[Mapping[str, Any], ...] = ()
    learns: str = "student_logits"
    equal: str = ""
    shift: bool = False
    values: Mapping[str, Any] = field(default_factory=dict)
    context: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


LADDER = {"ladder": ["cnn-2x8"]}
COLLABORATIVE = {"distill/teaching": {"kind": "collaborative"}}
WILD = {"distill/temperature/beta": 400.0}  # temperatures far enough apart to be clamped at both ends
WRONG = {"data/label_noise": 0.5, "data/split_seed": 1}  # a teacher that contradicts labels

CASES: dict[tuple[str, str], Case] = {
    ("teaching", "single"): Case(),
    ("teaching", "chain"): Case(),
    ("teaching", "dense"): Case(variants=({"stochastic": True},), context={"": LADDER}),
    ("teaching", "curriculum"): Case(
        variants=({"warm": 0}, {"difficulty": "teacher", "warm": 0}, {"difficulty": "student", "warm": 3}),
        values={"warm": 0},
        context={"": LADDER, "difficulty": {"distill/teaching/warm": 0}},
    ),
    ("teaching", "collaborative"): Case(values={"scratch": "cnn-2x8"}, context={"": {"distill/losses": {"ce": {}, "scratch_l2": {"weight": 0.3}, "kl": {}}}}),
    ("view", "plain"): Case(),
    ("view", "mixup"): Case(variants=({"alpha": 0.0}, {"per": "batch", "alpha": 0.3}, {"teacher": "blend"})),
    ("target", "teacher"): Case(),
    ("target", "shift"): Case(),
    ("target", "smooth"): Case(variants=({"eps": 0.5},), context={"": WRONG}),
    ("temperature", "constant"): Case(),
    ("temperature", "flsw"): Case(variants=({"space": "prob", "beta": 10.0}, {"beta": 0.0}, {"beta": 400.0}), context={"tau_min": WILD, "tau_max": WILD}),
    ("temperature", "cwsm"): Case(variants=({"beta": 0.0}, {"beta": 400.0}), values={"beta": 40.0}, context={"tau_min": WILD, "tau_max": WILD}),
    ("losses", "ce"): Case(variants=({"label_smoothing": 0.2},), shift=True),
    ("losses", "kl"): Case(equal="teacher_logits", shift=True),
    ("losses", "dkd"): Case(variants=({"alpha": 0.0}, {"beta": 0.0}, {"warmup": 0.0}), equal="teacher_logits", shift=True),
    ("losses", "dist"): Case(variants=({"beta": 0.0}, {"gamma": 0.0}), equal="teacher_logits", shift=True),
    ("losses", "lskd"): Case(equal="teacher_logits", shift=True),
    ("losses", "rkd_distance"): Case(learns="student_embedding", equal="teacher_embedding"),
    ("losses", "rkd_angle"): Case(learns="student_embedding", equal="teacher_embedding"),
    ("losses", "attention"): Case(learns="student_stages", equal="teacher_stages"),
    ("losses", "fitnets"): Case(learns="student_stages", equal="teacher_stages"),
    ("losses", "scratch_l2"): Case(equal="scratch_logits", context={"": COLLABORATIVE}),
    # Without a shared stem the student feels the scratch teacher's maps only through its logits.
    ("losses", "scratch_attention"): Case(
        learns="scratch_stages", equal="teacher_stages", context={"": COLLABORATIVE | {"distill/losses/scratch_l2": {"weight": 0.3}}}
    ),
}


def registered() -> list[tuple[Axis, str]]:
    """Every function of AutoKD's own files."""
    axes.load()
    return sorted(key for key, m in axes.METHODS.items() if m.fn.__module__.startswith("autokd.methods."))


# --- calling a method alone -------------------------------------------------------------------------------------------------------


def noise(*shape: int, seed: int = 0, scale: float = 2.0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).mul(scale).to(dtype)


def step_words(tau: Any = 3.0, *, scale: float = 2.0, dtype: torch.dtype = torch.float64, labels: Tensor | None = None) -> dict[str, Any]:
    """Every word of the losses' vocabulary for one batch with mixup, whose third picture has no label."""
    make = functools.partial(noise, scale=scale, dtype=dtype)
    teacher_logits = make(B, C, seed=1)
    own = torch.tensor([0, 1, -1, 3, 4, 0, 2, 2]) if labels is None else labels
    return {
        "student_logits": make(B, C, seed=2),
        "teacher_logits": teacher_logits,
        "scratch_logits": make(B, C, seed=3),
        "labels": own,
        "partner_labels": own.roll(3),
        "mix_weight": torch.linspace(0.1, 1, B, dtype=dtype),
        "tau": tau,
        "log_probs": distill.log_softened(teacher_logits, tau, None),
        "student_stages": (make(B, 4, 6, 6, seed=4), make(B, 6, 3, 3, seed=5)),
        "teacher_stages": (make(B, 3, 8, 8, seed=6), make(B, 5, 8, 8, seed=7), make(B, 7, 4, 4, seed=8), make(B, 9, 2, 2, seed=9)),
        "scratch_stages": (make(B, 3, 8, 8, seed=10), make(B, 7, 5, 5, seed=11), make(B, 9, 2, 2, seed=12)),
        "student_embedding": make(B, 6, seed=13),
        "teacher_embedding": make(B, 11, seed=14),
        "modules": linear(4, 5, dtype),
        "progress": 0.25,
        "epoch": 3,
        "note": lambda name, values: None,
    }


def linear(channels: int, out: int, dtype: torch.dtype = torch.float64) -> nn.Conv2d:
    """A fixed 1×1 convolution: the student's middle stage above to the teacher's."""
    module = nn.Conv2d(channels, out, 1, dtype=dtype)
    with torch.no_grad():
        module.weight.copy_(noise(out, channels, 1, 1, seed=20, dtype=dtype))
        module.bias.copy_(noise(out, seed=21, dtype=dtype))  # type: ignore[union-attr]
    return module


def epoch_words(members: int = K, epoch: int = 1) -> dict[str, Any]:
    """Every word of the teaching and view axes for N pictures, of which each seventh has no label."""
    labels = torch.arange(N) % C
    labels[::7] = -1
    return {
        "labels": labels,
        "members": members,
        "ladder_logits": noise(members, N, C, seed=30),
        "first_logits": noise(members, N, C, seed=31),
        "student_losses": noise(N, seed=32).abs(),
        "batch_index": torch.arange(N).flip(0) // B,
        "uniforms": lambda purpose, columns: torch.from_numpy(rng.uniforms(0, purpose, epoch, N, columns)),
        "epoch": epoch,
        "epochs": 9,
        "note": lambda name, value: None,
    }


def call(method: Method, words: Mapping[str, Any], settings: Mapping[str, Any] | None = None) -> Any:
    return method.call(words, method.defaults | dict(settings or {}))


def every(word: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """``change`` applied to a tensor, or to each of a tuple's."""
    return tuple(change(t) for t in word) if isinstance(word, tuple) else change(word)


def value_and_gradient(method: Method, words: Mapping[str, Any], settings: Mapping[str, Any], learns: str) -> tuple[Tensor, Tensor]:
    """The loss, and its gradient with respect to the word ``learns``, flattened."""
    leaf = every(words[learns], lambda t: t.detach().clone().requires_grad_())
    value = call(method, dict(words) | {learns: leaf}, settings)
    leaves = leaf if isinstance(leaf, tuple) else (leaf,)
    grads = torch.autograd.grad(value, leaves, allow_unused=True) if value.requires_grad else [None] * len(leaves)
    flat = [(torch.zeros_like(t) if g is None else g).flatten() for g, t in zip(grads, leaves, strict=True)]
    return value.detach(), torch.cat(flat)


# --- the common rules -------------------------------------------------------------------------------------------------------------


def check(axis: Axis, kind: str) -> None:
    """All the common rules for one method, under its defaults and its case's variants."""
    assert (axis, kind) in CASES, f"{axis}/{kind} has no case in tests/conformance.py"
    case, m = CASES[axis, kind], axes.method(axis, kind)
    assert m.paper and (m.fn.__doc__ or "").strip(), f"{axis}/{kind} needs a docstring and a paper"
    for settings in ({}, *case.variants):
        m.schema.model_validate(settings)  # what is checked here is what a recipe may say
        RULES[axis](m, case, settings)


def snapshot(words: Mapping[str, Any]) -> dict[str, Any]:
    """Copies of all tensors, for :func:`unchanged`."""
    return {k: every(v, lambda t: t.detach().clone()) for k, v in words.items() if isinstance(v, Tensor | tuple)}


def unchanged(words: Mapping[str, Any], before: Mapping[str, Any]) -> None:
    for name, old in before.items():
        pairs = [(words[name], old)] if isinstance(old, Tensor) else zip(words[name], old, strict=True)
        assert all(torch.equal(new, o) for new, o in pairs), f"{name} was written to"


def teaching_rules(m: Method, case: Case, settings: Mapping[str, Any]) -> None:
    for members in (1, 2, K):
        for epoch in (0, 1, 8):
            words = epoch_words(members, epoch)
            before = snapshot(words)
            experts = call(m, words, settings)
            unchanged(words, before)
            assert experts.dtype == torch.int64 and experts.dim() == 2 and experts.shape[1] == N
            assert 0 <= experts.min() and experts.max() < members
            assert all(len(set(column.tolist())) == len(column) for column in experts.T), "a member teaches a picture twice"
            assert torch.equal(experts, call(m, words, settings))
            if members == 1:
                assert torch.equal(experts, torch.zeros(1, N, dtype=torch.int64))
            # A picture's place in the list is no reason for who teaches it.
            if not {"uniforms", "batch_index"} & set(m.reads):
                order = torch.arange(N).flip(0)
                turned = {k: v[..., order] if k in ("labels", "student_losses") else v for k, v in words.items()}
                turned |= {k: words[k][:, order] for k in ("first_logits", "ladder_logits")}
                assert torch.equal(call(m, turned, settings), experts[:, order])


def view_rules(m: Method, case: Case, settings: Mapping[str, Any]) -> None:
    purposes: list[str] = []
    words = epoch_words()
    draw = words["uniforms"]
    words["uniforms"] = lambda purpose, columns: (purposes.append(purpose), draw(purpose, columns))[1]
    out = call(m, words, settings)
    assert not {"crop", "flip"} & set(purposes), "the view's own draws must stay its own"
    if out is not None:
        partner, weight, sees = out
        assert partner.dtype == torch.int64 and sorted(partner.tolist()) == list(range(N))
        assert weight.dtype == torch.float32 and weight.shape == (N,) and 0 <= weight.min() and weight.max() <= 1
        assert sees in ("mixed", "parts")
        again = call(m, words, settings)
        assert torch.equal(partner, again[0]) and torch.equal(weight, again[1])


def target_rules(m: Method, case: Case, settings: Mapping[str, Any]) -> None:
    for dtype in (torch.float32, torch.float64):
        words = step_words(dtype=dtype)
        before = snapshot(words)
        repaired, cold = call(m, words, settings)
        unchanged(words, before)
        teacher, labels = words["teacher_logits"], words["labels"]
        assert repaired.shape == teacher.shape and repaired.dtype == dtype and torch.isfinite(repaired).all()
        assert cold is None or cold.dtype == torch.bool and cold.shape == (B,)
        kept = (labels < 0) | (teacher.argmax(1) == labels)
        assert 0 < kept.sum() < B, "the batch must have both"
        assert torch.equal(repaired[kept], teacher[kept])
        assert cold is None or not cold[kept].any()
        nobody = call(m, words | {"labels": torch.full((B,), -1)}, settings)
        assert torch.equal(nobody[0], teacher) and (nobody[1] is None or not nobody[1].any())
        for part in (repaired, nobody[0]):
            distill.log_softened(part, 3.0, cold)


def temperature_rules(m: Method, case: Case, settings: Mapping[str, Any]) -> None:
    for dtype, scale in ((torch.float64, 2.0), (torch.float32, 2.0), (torch.float32, 100.0), (torch.float32, 0.0)):
        words = step_words(dtype=dtype, scale=scale)
        words["student_logits"].requires_grad_()
        before = snapshot(words)
        tau = call(m, words, settings)
        unchanged(words, before)
        as_tensor = torch.as_tensor(tau)
        assert as_tensor.shape in ((), (B,)) and (as_tensor > 0).all() and torch.isfinite(as_tensor).all()
        assert not as_tensor.requires_grad, "no gradient flows through a temperature"
        if isinstance(tau, Tensor):
            doubled = {k: torch.cat([v, v]) if isinstance(v, Tensor) else v for k, v in words.items()}
            torch.testing.assert_close(call(m, doubled, settings), torch.cat([tau, tau]))


def loss_rules(m: Method, case: Case, settings: Mapping[str, Any]) -> None:
    words = step_words()
    before = snapshot(words)
    value, gradient = value_and_gradient(m, words, settings, case.learns)
    unchanged(words, before)
    assert value.dim() == 0 and torch.isfinite(value) and value > 0
    assert torch.isfinite(gradient).all() and gradient.abs().max() > 0
    again = value_and_gradient(m, words, settings, case.learns)
    assert torch.equal(value, again[0]) and torch.equal(gradient, again[1])

    # The batch twice is the same value: each of our losses is a mean, over pictures, pairs, triples or columns.
    doubled = {k: every(v, lambda t: torch.cat([t, t])) if isinstance(v, Tensor | tuple) else v for k, v in words.items()}
    torch.testing.assert_close(value_and_gradient(m, doubled, settings, case.learns)[0], value)

    # float32, and logits far out: finite, with a finite gradient. So are all-equal rows.
    for scale in (2.0, 50.0, 0.0):
        rough = step_words(scale=scale, dtype=torch.float32)
        v, g = value_and_gradient(m, rough, settings, case.learns)
        assert v.dtype == torch.float32 and torch.isfinite(v) and torch.isfinite(g).all(), f"scale {scale}"
        if scale == 2.0:
            torch.testing.assert_close(v.double(), value, rtol=1e-4, atol=1e-6)

    # Under bf16 the loss itself stays in float32; only a network of the loss's own may round.
    rough = step_words(dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        v, _ = value_and_gradient(m, rough, settings, case.learns)
    torch.testing.assert_close(v.double(), value, rtol=2e-2 if "modules" in m.reads else 1e-4, atol=1e-6)

    # Labels: those who read them average over the labelled; without one the loss is 0. Others do not care.
    nobody = torch.full((B,), -1)
    v, g = value_and_gradient(m, words | {"labels": nobody, "partner_labels": nobody}, settings, case.learns)
    if LABELS & set(m.reads):
        assert v == 0 and not g.any()
        alone = torch.ones(B, dtype=torch.float64)
        known = (words["labels"] >= 0).nonzero()[:, 0]
        plain = words | {"mix_weight": alone, "partner_labels": words["labels"]}
        only = {k: every(w, lambda t: t[known]) if isinstance(w, Tensor | tuple) else w for k, w in plain.items()}
        torch.testing.assert_close(call(m, plain, settings), call(m, only, settings))
    else:
        assert v == value and torch.equal(g, gradient)

    if "tau" in m.reads:  # one temperature for all is the same as all the same
        for tau in (3.0, torch.tensor(3.0, dtype=torch.float64), torch.full((B,), 3.0, dtype=torch.float64)):
            torch.testing.assert_close(call(m, words | {"tau": tau}, settings), value)
        spread = torch.linspace(1, 9, B, dtype=torch.float64)
        assert torch.isfinite(call(m, step_words(spread), settings))

    if case.shift:
        moved = noise(B, 1, seed=40, scale=5)
        shifted = words | {k: words[k] + moved for k in ("student_logits", "teacher_logits")}
        shifted["log_probs"] = distill.log_softened(shifted["teacher_logits"], 3.0, None)
        v, g = value_and_gradient(m, shifted, settings, case.learns)
        torch.testing.assert_close(v, value)
        torch.testing.assert_close(g, gradient)

    if case.equal:
        same = words | {case.learns: words[case.equal], "modules": nn.Identity()}
        v, g = value_and_gradient(m, same, settings, case.learns)
        assert v.abs() < 1e-12 and g.abs().max() < 1e-7, "zero, and without a slope, at equality"
        for seed in range(50, 60):
            near = same | {case.learns: every(same[case.learns], lambda t, s=seed: t + noise(*t.shape, seed=s, scale=0.1))}
            assert call(m, near, settings) > 1e-9, "and larger all around it"


RULES: dict[Axis, Callable[[Method, Case, Mapping[str, Any]], None]] = {
    "teaching": teaching_rules, "view": view_rules, "target": target_rules, "temperature": temperature_rules, "losses": loss_rules,
}  # fmt: skip


# --- whole runs -------------------------------------------------------------------------------------------------------------------

TEACHER_TRAIN = {"epochs": 12, "batch_size": 20, "lr": 0.05}
SMALL: dict[str, Any] = {
    "data": {"name": "digits", "resolution": 8, "limit": 40, "augment": {"crop_padding": 1}},
    "teacher": {"model": "cnn-3x8", "train": TEACHER_TRAIN},
    "ladder_train": TEACHER_TRAIN,
    "student": {"model": "cnn-2x8"},
    "train": {"epochs": 2, "batch_size": 20, "lr": 0.05, "momentum": 0.0, "weight_decay": 0.0, "schedule": "constant"},
}
STORE = Store(None)  # in memory, shared, so that each teacher is trained once


def made(changes: Mapping[str, Any], base: Mapping[str, Any] = SMALL) -> recipe.Recipe:
    """``base`` with ``{"a/b": value}`` changed, checked."""
    data = copy.deepcopy(dict(base))
    for path, value in changes.items():
        put(data, path, copy.deepcopy(value))
    return recipe.parse(data)


def trained(changes: Mapping[str, Any], base: Mapping[str, Any] = SMALL) -> tuple[distill.Run, dict[str, float]]:
    return distill.train(made(changes, base), STORE)


def student_hash(changes: Mapping[str, Any], base: Mapping[str, Any] = SMALL) -> str:
    return models.weights_hash(trained(changes, base)[0].student)


def student_weights(changes: Mapping[str, Any], base: Mapping[str, Any] = SMALL) -> Tensor:
    """All parameters of the trained student in one row."""
    return torch.cat([p.detach().flatten().double() for p in trained(changes, base)[0].student.parameters()])


def setting(axis: Axis, kind: str, name: str, value: Any, context: Mapping[str, Any]) -> dict[str, Any]:
    """Recipe changes that put one hyperparameter of one method at one value."""
    if axis == "losses":
        changes = {"distill/losses": {"ce": {}, "kl": {}} | {kind: {}}} | dict(context) | {f"distill/losses/{kind}/{name}": value}
    else:
        changes = {f"distill/{axis}": {"kind": kind}} | dict(context) | {f"distill/{axis}/{name}": value}
    return changes


def hyperparameters() -> list[tuple[Axis, str, str]]:
    return [(axis, kind, name) for axis, kind in registered() for name in axes.method(axis, kind).defaults]


def values(axis: Axis, kind: str, name: str) -> list[Any]:
    """Values of one hyperparameter that must all make a difference, the default first."""
    case, m = CASES[axis, kind], axes.method(axis, kind)
    default = m.defaults[name]
    schema = m.schema.model_json_schema()["properties"][name]
    if name in case.values:
        return [default, case.values[name]]
    if "enum" in schema:
        return [default, *(v for v in schema["enum"] if v != default)]
    if schema["type"] == "boolean":
        return [default, not default]
    assert schema["type"] in ("number", "integer"), f"{axis}/{kind}/{name}: give a second value in CASES"
    other = 2 * default or min(schema.get("maximum", 1.0), 1.0)
    return [default, type(default)(other)]
