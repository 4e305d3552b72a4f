"""What a search will cost, measured: two epochs of the base on some of its pictures."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import torch

from autokd import cache, data
from autokd.space import Space
from autokd.study.plan import Plan
from autokd.train import prepare
from autokd.train.store import Store

SAMPLE = 512  # training pictures
OVERHEAD = 0.3  # seconds a trial, besides its epochs
BYTES = {"fp16": 2, "fp32": 4}  # of one logit in a table
T = TypeVar("T")


def probe(space: Space, plan: Plan, jobs: int) -> Plan:
    """The plan with the time and disk that it will take, predicted from epochs with and without
    their tables.
    """
    base = space.base
    store = Store(None, "cuda" if torch.cuda.is_available() else "cpu")
    whole = data.load(base.data, store.device)
    n, classes = len(whole.train), len(whole.classes)
    plan.notes += data.notes(base.data)
    few = min(n, max(SAMPLE, 4 * classes, 4 * base.train.batch_size))
    short = base.with_({"train/epochs": 2, "teacher/train/epochs": 1, "ladder_train/epochs": 1})
    if few < n:
        short = short.with_({"data/limit": few, "data/labelled": None})

    teaching, run = _timed(lambda: prepare.start(short, store))
    run.epoch()
    cold, _ = _timed(run.epoch)
    again = prepare.start(short, store)
    again.epoch()
    warm, _ = _timed(again.epoch)
    measuring, _ = _timed(lambda: again.logits(again.validation))

    epoch = max(warm - measuring, 0.0) * n / few + measuring  # validation is whole in the probe too
    table = max(cold - warm, 0.0) * n / few / max(len(run.members), 1)
    taught = sum(plan.teachers.values()) * teaching * n / few * base.teacher.train.epochs
    epochs = plan.search_epochs + plan.final_epochs
    plan.seconds = (epochs * epoch + plan.tables * table) / jobs + taught + plan.trials * OVERHEAD
    plan.disk_mb = plan.tables * n * classes * BYTES[base.teacher.table] / 1e6
    limit = cache.budget(cache.default_cache(), 0) / 1e6
    if plan.disk_mb > limit:
        plan.notes.append(
            f"tables may take {limit:,.0f} MB (AUTOKD_CACHE_SIZE): what is beyond is computed again"
            " by each trial"
        )
    return plan


def _timed(work: Callable[[], T]) -> tuple[float, T]:
    """Seconds, and what came of it."""
    began = time.monotonic()
    done = work()
    return time.monotonic() - began, done
