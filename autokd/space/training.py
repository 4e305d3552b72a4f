"""What of a space is training, so that a control may be tuned over it too. Light.

A control answers what the student would reach without the distillation. It shares with its finalist
what makes the question: data, networks, resolutions, seeds, and what the finals are grouped by
(``finalists/per``). How the student is trained is no part of the question: at a learning rate that
was chosen for distillation the student alone is worse than it need be, and the difference is the
rate's. So what a space frees of ``train`` and ``data/augment`` is free for its controls;
``distill``, ``ladder`` and the teacher are what they lack, or have as the finalist has it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from autokd.recipe import fingerprint, parse
from autokd.recipe.document import get, put, split
from autokd.space import baselines, tree
from autokd.space.space import Space
from autokd.space.tree import Fixed, Group, Leaf, Node, OneOf

TRAINING = ("train", "data/augment")
DISTILLATION = {"distill", "ladder", "ladder_train"}


def paths(space: Space) -> list[str]:
    """The varied paths that controls may be tuned over, the outermost of each."""
    found: dict[str, None] = {}
    for node in space.leaves():
        if node is space.per:
            continue
        own = _claimed(node) if _chooses_training(node) else [node.path]
        found |= {path: None for path in own if _is_training(path)}
    return [p for p in found if not any(p.startswith(f"{outer}/") for outer in found)]


def share(space: Space) -> float:
    """The part of the trials that tunes the controls: 0 where there is nothing to tune, or nothing
    is confirmed.
    """
    search = space.search
    return search.controls.share if search.finalists.seeds and paths(space) else 0.0


def trials(share: float, total: int) -> int:
    """How many of all trials tune controls."""
    return min(round(share * total), max(total - 1, 0))


def of_control(space: Space, control: Mapping[str, Any], params: Mapping[str, Any]) -> Space | None:
    """The space in which a control is tuned: the rest is as in its recipe ``control``, and what is
    free in the branches that its finalist's ``params`` took. None where that is nothing.
    """
    root = _training(space.root, space, control, params) or Group([])
    if not any(tree.free(root)):
        return None
    data = parse(control).to_dict()
    for path in _chosen_together(root):  # or what one branch fixes would stay in another
        put(data, path, get(space.base.to_dict(), path))
    forbid = [e for e in space.forbid if not any(DISTILLATION & {*split(path)} for path in e)]
    return replace(space, base=parse(data), root=root, forbid=forbid, baselines=None, warm_start=[])


def question(space: Space, group: Any) -> str:
    """16 hex digits that two controls share when they differ in nothing but what they are tuned
    over. ``space``: from :func:`of_control`.
    """
    data = space.base.to_dict()
    data["student"]["resolution"] = space.base.resolution
    for path in _claimed(space.root):
        put(data, path, None)
    for path in space.base.inactive():
        if not _is_training(path):
            data.pop(path, None)
    return fingerprint({"group": group, "rest": data})


def starting_points(
    own: Space, space: Space, params: Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    """What a control's search begins with, by Optuna's names: the training of its finalist, then
    that of the base and of the presets that the space names.
    """
    yield {node.name: params[node.name] for node in own.leaves() if node.name in params}
    for _, choose in baselines.choosers(own.root, space.base, None, space.written):
        try:
            yield own.point(choose).params
        except LookupError:  # the space does not hold it
            continue


def _is_training(path: str) -> bool:
    return any(f"{path}/".startswith(f"{own}/") for own in TRAINING)


def _chooses_training(node: Node) -> bool:
    """Whether it chooses between groups of paths, some of them training, all of them that or
    distillation.
    """
    if not isinstance(node, OneOf) or node.path:
        return False
    claimed = [*_claimed(node)]
    outside = [p for p in claimed if not _is_training(p)]
    return len(outside) < len(claimed) and all(split(p)[0] in DISTILLATION for p in outside)


def _claimed(node: Node) -> Iterator[str]:
    """The outermost paths that a tree says something of."""
    if isinstance(node, Group):
        for child in node.nodes:
            yield from _claimed(child)
    elif isinstance(node, OneOf) and not node.path:
        for branch in node.branches:
            yield from _claimed(branch)
    else:
        yield node.path


def _chosen_together(node: Node) -> Iterator[str]:
    """The paths of which the branches of a choice between groups say something."""
    if isinstance(node, OneOf) and not node.path:
        yield from _claimed(node)
    elif isinstance(node, Group):
        for child in node.nodes:
            yield from _chosen_together(child)


def _training(
    node: Node, space: Space, control: Mapping[str, Any], params: Mapping[str, Any]
) -> Node | None:
    """The tree without what is no training. None where nothing is left."""
    if isinstance(node, Group):
        kept = [_training(child, space, control, params) for child in node.nodes]
        nodes = [child for child in kept if child is not None]
        return Group(nodes) if nodes else None
    if isinstance(node, OneOf) and not node.path and not _chooses_training(node):
        # which branch was taken is part of the question
        taken = params.get(node.name)
        if taken not in node.labels:
            return None
        return _training(node.branches[node.labels.index(taken)], space, control, params)
    if isinstance(node, OneOf) and (not node.path or _is_training(node.path)):
        branches = [_training(b, space, control, params) or Group([]) for b in node.branches]
        return replace(node, branches=branches)
    if not _is_training(node.path):
        return None
    if node is space.per:
        return Fixed(node.path, node.keys, get(control, node.path))
    if isinstance(node, Leaf) and node.complement and not _is_training(node.complement):
        return replace(node, complement="")
    return node
