"""What the networks of both libraries share: what is made of one, how its inside is watched, and
what is said where a library refuses. No code of theirs is changed.
"""

import difflib
import socket
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from torch import Tensor, nn

from autokd.errors import UserError
from autokd.networks.backbone import Featured

PATIENCE = 5.0  # seconds until a host counts as out of reach
# out of a head that does not fit
WAYS = (
    "fine-tune it (a `train:` block beside its weights), fit it one (`head: probe`), or take a file"
    " of weights whose head has {classes} classes"
)


class Library(NamedTuple):
    """A library's network, as it is handed on."""

    backbone: Featured
    channels: int  # that it takes
    mean: Sequence[float] | None  # that its weights expect
    std: Sequence[float] | None


class Refused(UserError):
    """A message that needs no more words around it."""


def headless(name: str, theirs: int, classes: int) -> Refused:
    """What is said where a network's last layer is for other classes, or where it has none."""
    has = f"a head for {theirs} classes" if theirs else "no head"
    return Refused(
        f"{name} has {has}, and the data has {classes} classes: {WAYS.format(classes=classes)}"
    )


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


def embedding(model: nn.Module, classifier: nn.Module, pictures: Tensor) -> Tensor:
    """``[B, D]``: what the classifier is given."""
    with watching(classifier) as seen:
        model(pictures)
    return as_vector(seen[classifier][0])


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


def reachable(url: str) -> bool:
    """Whether the host of `url` answers: asked once, as the libraries ask again for a minute."""
    if urllib.request.getproxies():
        return True
    address = urllib.parse.urlsplit(url)
    try:
        port = address.port or (80 if address.scheme == "http" else 443)
        socket.create_connection((address.hostname or "", port), timeout=PATIENCE).close()
    except OSError:
        return False
    return True


def absent(name: str, url: str, places: Sequence[str | Path]) -> Refused:
    """What is said where published weights are neither here nor to be had."""
    where = " or ".join(map(str, places))
    return Refused(
        f"the pretrained weights of {name} are not here, and {urllib.parse.urlsplit(url).hostname}"
        f" does not answer; on a machine with a network get {url} and lay it here as {where}"
    )


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
