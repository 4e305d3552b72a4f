"""Every word of the methods' vocabulary, made up, and a method called alone on them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from autokd import rng
from autokd.recipe.axes import Method
from autokd.train import distill

# batch, classes, training pictures, ladder members
B = 8
C = 5
N = 24
K = 3
LABELS = {"labels", "partner_labels"}


def noise(
    *shape: int, seed: int = 0, scale: float = 2.0, dtype: torch.dtype = torch.float64
) -> Tensor:
    return (
        torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        .mul(scale)
        .to(dtype)
    )


def step_words(
    tau: Any = 3.0,
    *,
    scale: float = 2.0,
    dtype: torch.dtype = torch.float64,
    labels: Tensor | None = None,
) -> dict[str, Any]:
    """Every word of the losses' vocabulary for one batch with mixup, whose third picture has no
    label.
    """
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
        "teacher_stages": (
            make(B, 3, 8, 8, seed=6),
            make(B, 5, 8, 8, seed=7),
            make(B, 7, 4, 4, seed=8),
            make(B, 9, 2, 2, seed=9),
        ),
        "scratch_stages": (
            make(B, 3, 8, 8, seed=10),
            make(B, 7, 5, 5, seed=11),
            make(B, 9, 2, 2, seed=12),
        ),
        "student_embedding": make(B, 4, seed=13),
        "teacher_embedding": make(B, 5, seed=14),
        "modules": linear(4, 5, dtype),
        "progress": 0.25,
        "epoch": 3,
        "note": lambda name, values: None,
    }


class Linear(nn.Conv2d):
    """A linear map of maps' channels, or of embeddings."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) if x.ndim == 4 else super().forward(x[..., None, None])[..., 0, 0]


def linear(channels: int, out: int, dtype: torch.dtype = torch.float64) -> nn.Conv2d:
    """A fixed one: the student's middle stage above to the teacher's, its embedding to the
    teacher's.
    """
    module = Linear(channels, out, 1, dtype=dtype)
    with torch.no_grad():
        module.weight.copy_(noise(out, channels, 1, 1, seed=20, dtype=dtype))
        module.bias.copy_(noise(out, seed=21, dtype=dtype))  # type: ignore[union-attr]
    return module


def epoch_words(members: int = K, epoch: int = 1) -> dict[str, Any]:
    """Every word of the teaching and view axes for N pictures, of which each seventh has no
    label.
    """
    labels = torch.arange(N) % C
    labels[::7] = -1
    return {
        "labels": labels,
        "members": members,
        "ladder_logits": noise(members, N, C, seed=30),
        "first_logits": noise(members, N, C, seed=31),
        "student_losses": noise(N, seed=32).abs(),
        "batch_index": torch.arange(N).flip(0) // B,
        "uniforms": lambda purpose, columns: torch.from_numpy(
            rng.uniforms(0, purpose, epoch, N, columns)
        ),
        "epoch": epoch,
        "epochs": 9,
        "note": lambda name, value: None,
    }


def call(
    method: Method, words: Mapping[str, Any], settings: Mapping[str, Any] | None = None
) -> Any:
    return method.call(words, method.defaults | dict(settings or {}))


def every(word: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """``change`` applied to a tensor, or to each of a tuple's."""
    return tuple(change(t) for t in word) if isinstance(word, tuple) else change(word)


def assert_close(
    found: Tensor, expected: Tensor, rtol: float | None = None, atol: float = 1e-7
) -> None:
    """As ``torch.testing.assert_close``, whose first call imports half of torch."""
    assert found.shape == expected.shape and found.dtype == expected.dtype
    rtol = rtol or (1e-7 if found.dtype == torch.float64 else 1.3e-6)
    apart = (found - expected).abs()
    assert bool((apart <= atol + rtol * expected.abs()).all()), f"{found} and {expected}"


def value_and_gradient(
    method: Method, words: Mapping[str, Any], settings: Mapping[str, Any], learns: str
) -> tuple[Tensor, Tensor]:
    """The loss, and its gradient with respect to the word ``learns``, flattened."""
    leaf = every(words[learns], lambda t: t.detach().clone().requires_grad_())
    value = call(method, dict(words) | {learns: leaf}, settings)
    leaves = leaf if isinstance(leaf, tuple) else (leaf,)
    grads = (
        torch.autograd.grad(value, leaves, allow_unused=True)
        if value.requires_grad
        else [None] * len(leaves)
    )
    flat = [
        (torch.zeros_like(t) if g is None else g).flatten()
        for g, t in zip(grads, leaves, strict=True)
    ]
    return value.detach(), torch.cat(flat)
