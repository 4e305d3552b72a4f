"""What the networks of both libraries share: what is made of one, how its inside is watched, and
what is said where a library refuses. No code of theirs is changed.
"""

import difflib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from torch import Tensor, nn

from autokd.errors import UserError
from autokd.networks.backbone import Featured


class Library(NamedTuple):
    """A library's network, as it is handed on."""

    backbone: Featured
    channels: int  # that it takes
    mean: Sequence[float] | None  # that its weights expect
    std: Sequence[float] | None


class Refused(UserError):
    """A message that needs no more words around it."""


@contextmanager
def watching(*modules: nn.Module) -> Iterator[dict[nn.Module, tuple[Tensor, Tensor]]]:
    """Yields a dict that every call of one of the modules fills with its ``(first input,
    output)``.
    """
    seen: dict[nn.Module, tuple[Tensor, Tensor]] = {}

    def note(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        seen[module] = (inputs[0], output)

    hooks = [module.register_forward_hook(note) for module in modules]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def as_vector(x: Tensor) -> Tensor:
    """What a classifier is given, as ``[B, D]``: convolutional classifiers see maps ``[B, D, h,
    w]``.
    """
    return x.mean((2, 3)) if x.ndim == 4 else x


def unknown(library: str, name: str, known: Sequence[str]) -> str:
    nearest = difflib.get_close_matches(name, known, n=3, cutoff=0.0)
    return (
        f"'{library}:{name}': {library} has no such network; nearest:"
        f" {', '.join(f'{library}:{other}' for other in nearest)}"
    )


@contextmanager
def refusals(name: str, what: str) -> Iterator[None]:
    """A library's complaint, which may have any of these types, as a ``UserError`` that says what
    was tried.
    """
    try:
        yield
    except Refused:
        raise
    except (TypeError, ValueError, AssertionError, RuntimeError, LookupError) as fault:
        raise UserError(f"{name} cannot be {what}: {fault}") from fault


@contextmanager
def download(name: str) -> Iterator[None]:
    # Everything, since urllib, huggingface_hub and what they call have no common exception.
    try:
        yield
    except Exception as fault:
        raise Refused(
            f"the pretrained weights of {name} could not be loaded (no network, or none"
            f" published?): {fault}"
        ) from fault
