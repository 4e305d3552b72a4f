"""The interval over seeds and pictures: by hand, and beside the two-way bootstrap."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import t

from autokd.study.crossed import Spread, by_case, of_ece, of_means
from autokd.study.statistics import mean_interval
from tests.benchmarks.coverage import chunks
from tests.helpers import pigeonhole


def stored() -> dict[str, np.ndarray]:
    """Of a search of search_spaces/dtd.yaml: name → ``[5, pictures]`` of right answers, winner
    minus control (``+``, ``.``, ``-``).
    """
    out: dict[str, list[list[int]]] = {}
    for line in (Path(__file__).parent / "outcomes.txt").read_text().splitlines():
        if line.startswith("#"):
            rows = out.setdefault(line.removeprefix("# "), [])
        else:
            rows.append(["-.+".index(c) - 1 for c in line])
    return {name: np.array(rows) for name, rows in out.items()}


def test_it_is_the_analysis_of_variance_of_seeds_by_pictures() -> None:
    d = np.random.default_rng(3).normal(size=(4, 7)) + np.linspace(0, 3, 7)
    s, n = d.shape
    seeds, pictures, mean = d.mean(1), d.mean(0), d.mean()
    ms_seeds = n * ((seeds - mean) ** 2).sum() / (s - 1)
    ms_pictures = s * ((pictures - mean) ** 2).sum() / (n - 1)
    rest = d - seeds[:, None] - pictures + mean
    ms_rest = (rest**2).sum() / ((s - 1) * (n - 1))
    found = of_means(d, np.arange(n))
    assert found.variance == pytest.approx((ms_seeds + ms_pictures - ms_rest) / (s * n))
    a, b = ms_seeds * (s + 3) / (s - 1), ms_pictures - ms_rest
    df = (a + b) ** 2 / (a**2 / (s - 1) + b**2 / (n - 1))
    assert found.degrees == pytest.approx(df)
    half = t.ppf(0.975, df) * math.sqrt(found.variance)
    assert found.half_width == pytest.approx(half)


def test_where_pictures_add_nothing_it_is_the_t_interval_over_seeds() -> None:
    d = np.array([0.01, 0.03, 0.05, 0.02])[:, None].repeat(9, 1)
    low, high = mean_interval(d.mean(1).tolist()) or (0.0, 0.0)
    assert of_means(d, np.arange(9)).half_width == pytest.approx((high - low) / 2)


@pytest.mark.parametrize("name", stored())
def test_a_real_study_comes_out_as_the_two_way_bootstrap_says(name: str) -> None:
    d = stored()[name]
    low, high = pigeonhole.interval(d)
    half = of_means(d, np.arange(d.shape[1])).half_width
    mean = float(d.mean())
    assert (mean - half > 0, mean + half < 0) == (low > 0, high < 0)
    # which counts the noise of single answers three times, and so is the wider one; but it draws
    # from five seeds without Student's t, and is narrower where these differ most
    assert 0.65 < half / ((high - low) / 2) < 1.15


def test_what_only_seeds_would_call_better_is_not_shown() -> None:
    draw = np.random.default_rng(0)
    pictures = draw.permutation([1] * 30 + [-1] * 22 + [0] * 248)
    d = np.stack([np.where(draw.random(300) < 0.02, 0, pictures) for _ in range(5)])
    over_seeds = mean_interval(d.mean(1).tolist()) or (0.0, 0.0)
    assert over_seeds[0] > 0
    low, high = pigeonhole.interval(d)
    half = of_means(d, np.arange(300)).half_width
    assert low < 0 < high and d.mean() - half < 0 < d.mean() + half
    assert half == pytest.approx((high - low) / 2, rel=0.1)


def test_pictures_of_one_group_are_one_case() -> None:
    d = stored()["winner against student alone, 8 px, test"]
    single = of_means(d, np.arange(d.shape[1]))
    twice = of_means(np.repeat(d, 2, axis=1), np.arange(d.shape[1]).repeat(2))
    assert twice.half_width == pytest.approx(single.half_width) and twice.cases == d.shape[1]
    # groups of different sizes, beside the bootstrap that draws whole groups
    draw = np.random.default_rng(1)
    group = np.sort(draw.integers(60, size=d.shape[1]))
    found = of_means(d[:1], group)
    sums, counts = by_case(d[:1].astype(float), group)
    weights = draw.multinomial(len(counts), np.full(len(counts), 1 / len(counts)), size=20_000)
    boot = (weights @ sums[0]) / (weights @ counts)
    assert math.sqrt(found.variance) == pytest.approx(boot.std(), rel=0.05)


def test_the_calibration_error_is_drawn_again_over_pictures() -> None:
    draw = np.random.default_rng(2)
    hard = draw.normal(size=400)

    def side(sure: float) -> tuple[np.ndarray, np.ndarray]:
        right = (hard + draw.normal(size=(1, 400)) > -0.5).astype(float)
        return right, 1 / (1 + np.exp(-sure - 0.5 * draw.normal(size=(1, 400)) - hard))

    def ece(right: np.ndarray, confidence: np.ndarray) -> float:
        bins = np.ceil(confidence * 15)
        gaps = [abs((right - confidence)[bins == b].sum()) for b in range(1, 16)]
        return float(sum(gaps)) / len(right)

    ours, theirs = side(2.0), side(0.8)

    def difference(_: np.ndarray, rows: np.ndarray) -> float:
        return ece(ours[0][0, rows], ours[1][0, rows]) - ece(theirs[0][0, rows], theirs[1][0, rows])

    low, high = pigeonhole.of_statistic(difference, (1, 400), 3000)
    case = np.arange(400)
    single = of_ece(ours, theirs, case)
    assert single.half_width == pytest.approx((high - low) / 2, rel=0.08)
    assert of_ece(ours, theirs, case) == single  # the same at every reading
    alike = [(np.repeat(c, 3, axis=0), np.repeat(p, 3, axis=0)) for c, p in (ours, theirs)]
    three = of_ece(alike[0], alike[1], case)  # seeds that agree are no more than one
    assert three.between == pytest.approx(0) and three.variance == pytest.approx(single.variance)


@pytest.mark.parametrize(
    ("share", "seeds", "pictures"), [("both", 3, 300), ("pictures", 5, 100), ("seeds", 5, 300)]
)
def test_it_covers_the_truth(share: str, seeds: int, pictures: int) -> None:
    """The whole table is in docs/BENCHMARKS.md; binomial error at 400 studies: 1.1 %."""
    n, case = 400, np.arange(pictures)
    held = found = 0
    rates = [0.92, 0.9]
    pairs = zip(*(chunks(n, seeds, pictures, share, rates, k) for k in (5, 6)), strict=True)
    for first, second in pairs:
        one, two = (of_means(d, case, 1 / (pictures + 2) ** 2) for d in (first, second))
        held += abs(first.mean() - 0.02) <= one.half_width
        found += second.mean() - 0.02 + one.detectable > two.half_width
    assert 0.92 <= held / n <= 0.98
    assert 0.72 <= found / n <= 0.86  # the smallest detectable difference is found


def test_what_it_would_take_shrinks_with_what_is_there() -> None:
    seen = Spread(5, 300, between=4e-4, covariance=1e-4, within=2e-4)
    assert seen.expected(seeds=5, cases=300).variance == pytest.approx(seen.variance)
    n = seen.cases_for(0.03)
    assert n is None  # five seeds of that spread never find it
    seeds = seen.seeds_for(0.04)
    assert seeds is not None and seen.expected(seeds=seeds).detectable <= 0.04
    assert seen.expected(seeds=seeds - 1).detectable > 0.04
    assert seen.seeds_for(0.02) is None  # 300 pictures alone leave more than that open
    steady = Spread(5, 300, between=1e-8, covariance=1e-4, within=1e-4)
    cases = steady.cases_for(0.01)
    assert cases is not None and steady.expected(cases=cases).detectable <= 0.01
