"""Several students on one device, and a whole search, in one process and without Ray."""

from __future__ import annotations

import hashlib
import multiprocessing
import statistics
import time
from functools import partial
from typing import Any

from tests.benchmarks.gpu.units import Found, Sizes, Unit


def small(sizes: Sizes) -> dict[str, Any]:
    """search_spaces/dtd.yaml's base on the pictures of ``sizes``."""
    side = 28 if sizes.data == "fashion-mnist" else 8
    train = {"epochs": sizes.trial_epochs, "batch_size": 128, "lr": 0.05}
    if sizes.device == "cpu":
        train["batch_size"] = 20
    return {
        "data": {
            "name": sizes.data,
            "resolution": side,
            "limit": sizes.limit,
            "augment": {"crop_padding": 2, "flip": False},
        },
        "teacher": {"model": "cnn-3x32", "train": train | {"epochs": min(10, sizes.trial_epochs)}},
        "student": {"model": "cnn-2x8"},
        "train": train,
    }


def side_by_side(sizes: Sizes) -> list[Unit]:
    return [
        Unit(f"side by side, {count}", 60, partial(together, sizes, count))
        for count in sizes.together
    ]


def together(sizes: Sizes, count: int) -> Found:
    """The same students by so many processes that share the device: how many an hour, and a hash
    that tells whether they are the same, bit for bit.
    """
    with multiprocessing.get_context("spawn").Pool(count) as pool:
        pool.map(trained, [(small(sizes), sizes.device, 0)] * count, 1)  # warm
        began = time.perf_counter()
        jobs = [(small(sizes), sizes.device, seed) for seed in range(max(sizes.together))]
        hashes = pool.map(trained, jobs, 1)
        seconds = time.perf_counter() - began
    told = hashlib.sha256("".join(hashes).encode()).hexdigest()[:12]
    return {"trials an hour": 3600 * len(jobs) / seconds, "students": told}


def trained(job: tuple[dict[str, Any], str, int]) -> str:
    """The hash of one student."""
    from autokd import networks, recipe
    from autokd.cache import default_cache
    from autokd.train import prepare
    from autokd.train.store import Store

    document, device, seed = job
    made = recipe.parse(document | {"seed": seed})
    return networks.weights_hash(prepare.train(made, Store(default_cache(), device))[0].student)


def search(sizes: Sizes) -> list[Unit]:
    return [Unit("a search, one process", 120, partial(searched, sizes))]


def searched(sizes: Sizes) -> Found:
    """The engine's decisions (``Study``: sampler, ASHA), its trials trained here; no finals."""
    try:
        from tests.benchmarks import simulate
    except ImportError as e:
        return {"not run": str(e)}

    import numpy as np

    from autokd import recipe, space
    from autokd.cache import default_cache
    from autokd.recipe.document import read
    from autokd.train import distill, prepare
    from autokd.train.averaging import Averaging
    from autokd.train.store import Store

    document = read(simulate.ROOT / "search_spaces/dtd.yaml")
    side = small(sizes)["data"]["resolution"]
    document.data["vary"]["student/resolution"] = {"choice": [side // 2, side]}
    changes = [f"{path}={value}" for path, value in flat(small(sizes)) if value is not None]
    changes += [f"search/trials={sizes.trials}", "search/finalists={seeds: 0}"]
    if sizes.limit is None:
        changes.append("data/limit=null")
    study = simulate.begin(space.load(document, sets=tuple(changes)), 0, 1)
    store = Store(default_cache(), sizes.device)
    runs: dict[int, distill.Run] = {}

    def observe(number: int, epoch: int) -> dict[str, float]:
        if number not in runs:
            made = recipe.parse(study.trials[number].recipe)
            asha = study.space.search.asha
            averaging = Averaging(asha.average_epochs, range(1, made.train.epochs + 1))
            runs[number] = prepare.start(made, store, averaging=averaging)
        try:
            return runs[number].epoch()
        except distill.Diverged:
            return {}

    began = time.perf_counter()
    spent = simulate.drive(study, np.random.default_rng(0), observe)
    seconds = time.perf_counter() - began
    ends = [t.last["val/accuracy"] for t in study.trials.values() if t.state == "complete"]
    out = {"s": seconds, "trials": len(study.trials), "epochs": spent}
    return out | {"epochs/s": spent / seconds, "median accuracy": statistics.median(ends)}


def flat(tree: dict[str, Any], under: str = "") -> list[tuple[str, Any]]:
    out: list[tuple[str, Any]] = []
    for key, value in tree.items():
        path = f"{under}{key}"
        out += flat(value, f"{path}/") if isinstance(value, dict) else [(path, value)]
    return out
