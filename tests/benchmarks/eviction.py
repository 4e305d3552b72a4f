"""What a budget for tables is worth: the hit rate of the store's own policy (`cache.to_evict`)
against the least recently used table going.

    uv run python -m tests.benchmarks.eviction

A replay of the reads of a search, a table at a time, pure Python: trials scan over epochs, `jobs`
of them side by side, each epoch reading one table of every member of the ladder. Pruned trials end
at a rung (1, 3 or 9 of 27 epochs, two thirds at each). "Then another" is a second search with
another view setting after the first. "Best possible" knows the future: it evicts what is needed
last.
"""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Iterator

from autokd.cache import Held, table_name, to_evict

EPOCHS = 27
TRIALS = 48
MEMBERS = 4
Access = tuple[str, int, frozenset[str]]  # view setting (of one member), epoch, the settings in use


def scan(jobs: int, pruned: bool, search: str = "a", seed: int = 0) -> Iterator[Access]:
    """The reads of one search."""
    rng = random.Random(seed)
    left = [
        next((rung for rung in (1, 3, 9) if pruned and rng.random() < 2 / 3), EPOCHS)
        for _ in range(TRIALS)
    ]
    busy = frozenset(f"{search}{m}" for m in range(MEMBERS))
    running: list[list[int]] = []
    while left or running:
        while left and len(running) < jobs:
            running.append([0, left.pop()])
        for trial in running:
            yield from ((setting, trial[0], busy) for setting in sorted(busy))
            trial[0] += 1
        running = [trial for trial in running if trial[0] < trial[1]]


def ours(reads: list[Access], budget: int) -> float:
    kept: dict[str, dict[str, int]] = {}
    used: dict[str, float] = {}
    hits = 0
    for now, (setting, epoch, busy) in enumerate(reads):
        name = table_name(epoch, "x")
        used[setting] = now
        if name in kept.get(setting, {}):
            hits += 1
            continue
        held = {s: Held(used[s], s in busy, sizes) for s, sizes in kept.items()}
        gone = to_evict(held, setting, name, 1, budget)
        for s, n in gone or []:
            del kept[s][n]
        if gone is not None:
            kept.setdefault(setting, {})[name] = 1
    return hits / len(reads)


def least_recently_used(reads: list[Access], budget: int) -> float:
    kept: OrderedDict[tuple[str, int], None] = OrderedDict()
    hits = 0
    for setting, epoch, _ in reads:
        key = setting, epoch
        hits += key in kept
        kept[key] = None
        kept.move_to_end(key)
        if len(kept) > budget:
            kept.popitem(last=False)
    return hits / len(reads)


def best_possible(reads: list[Access], budget: int) -> float:
    again: dict[tuple[str, int], list[int]] = {}
    for i in range(len(reads) - 1, -1, -1):
        again.setdefault(reads[i][:2], []).append(i)
    kept: dict[tuple[str, int], float] = {}  # table → when it is read next
    hits = 0
    for setting, epoch, _ in reads:
        key = setting, epoch
        again[key].pop()
        hits += key in kept
        kept[key] = again[key][-1] if again[key] else float("inf")
        if len(kept) > budget:
            del kept[max(kept, key=lambda k: kept[k])]
    return hits / len(reads)


def main() -> None:
    patterns = {
        "full trials, 1 job": list(scan(1, False)),
        "full trials, 4 jobs": list(scan(4, False)),
        "pruned trials, 1 job": list(scan(1, True)),
        "pruned trials, 4 jobs": list(scan(4, True)),
        "full trials, then another search": [*scan(2, False), *scan(2, False, "b", 1)],
    }
    print(f"{TRIALS} trials of {EPOCHS} epochs, {MEMBERS} members; hit rates in %\n")
    print(
        "| reads | what fits of one search's tables | ours | least recently used | best possible"
        " |\n|---|---|---|---|---|"
    )
    for name, reads in patterns.items():
        for share in (0.25, 0.5, 0.75, 1.0):
            budget = int(EPOCHS * MEMBERS * share)
            rates = (
                100 * policy(reads, budget) for policy in (ours, least_recently_used, best_possible)
            )
            print(f"| {name} | {share:.0%} | " + " | ".join(f"{rate:.1f}" for rate in rates) + " |")


if __name__ == "__main__":
    main()
