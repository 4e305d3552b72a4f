"""Random draws: a function of seed, purpose and epoch."""

from __future__ import annotations

from autokd import rng


def test_draws_differ_by_purpose_and_do_not_depend_on_how_many_there_are() -> None:
    assert (rng.uniforms(0, "crop", 0, 10) == rng.uniforms(0, "crop", 0, 20)[:10]).all()
    assert (rng.uniforms(0, "crop", 0, 10) != rng.uniforms(0, "flip", 0, 10)).all()
    assert sorted(rng.permutation(0, "order", 0, 50)) == list(range(50))
