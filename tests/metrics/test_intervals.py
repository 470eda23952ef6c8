"""Intervals and p-values of differences: that they agree, and their behaviour at the edges."""

from __future__ import annotations

import numpy as np
import pytest

from fairkd.metrics.bootstrap import Resampled
from fairkd.metrics.intervals import paired_interval, paired_p_value


def resampled(seed: int, floor: float, mean: float = 0.3, scale: float = 0.02) -> Resampled:
    rng = np.random.default_rng(seed)
    return Resampled(rng.normal(mean, scale, size=(1999, 4)), np.full(4, floor))


@pytest.mark.parametrize("floors", [(0.0, 0.0), (0.03, 0.01), (0.01, 0.03)])
def test_the_interval_excludes_0_where_the_p_value_is_below_the_level(floors: tuple[float, float]) -> None:
    for size in np.linspace(-0.12, 0.12, 41):
        one, other = resampled(0, floors[0], 0.3 + size), resampled(1, floors[1])
        difference = np.full(4, size)
        p_value = paired_p_value(difference, one, other)
        for confidence in (0.8, 0.95, 0.99):
            low, high = paired_interval(difference, one, other, confidence)
            excludes = (low > 0) | (high < 0)
            # One of 2,000 resamples more or less.
            settled = np.abs(p_value - (1 - confidence)) > 0.003
            np.testing.assert_array_equal(excludes[settled], (p_value < 1 - confidence)[settled])


def test_a_bias_towards_the_difference_raises_the_p_value() -> None:
    difference, other = np.full(4, 0.06), resampled(1, 0.0)
    plain = paired_p_value(difference, resampled(0, 0.0, 0.36), other)
    assert (paired_p_value(difference, resampled(0, 0.03, 0.36), other) > plain).all()
    # Both floors move the centre alike.
    both = paired_p_value(difference, resampled(0, 0.3, 0.36), resampled(1, 0.3))
    np.testing.assert_allclose(both, plain, atol=0.005)


def test_p_values_at_the_edges() -> None:
    same = resampled(0, 0.0)
    np.testing.assert_array_equal(paired_p_value(np.zeros(4), same, same), 1)
    far = paired_p_value(np.full(4, 0.6), resampled(0, 0.0, 0.9), resampled(1, 0.0))
    np.testing.assert_allclose(far, 2 / 2000)
    undefined = Resampled(np.full((10, 1), np.nan), np.zeros(1))
    assert np.isnan(paired_p_value(np.zeros(1), undefined, undefined)).all()
    assert np.isnan(
        paired_p_value(np.array([np.nan]), Resampled(np.zeros((10, 1)), np.zeros(1)), undefined)
    ).all()


def test_limits_lie_where_a_difference_can() -> None:
    one, other = resampled(0, 0.4, scale=0.3), resampled(1, 0.0, scale=0.3)
    for difference in (-0.9, 0.9):
        low, high = paired_interval(np.full(4, difference), one, other)
        assert (low >= -1).all() and (high <= 1).all() and (low <= high).all()


def test_few_samples_that_differ_do_not_exclude_0_by_chance() -> None:
    # Three of 20 samples are right in the first model alone: a resample without them has the difference 0 exactly.
    rng = np.random.default_rng(0)
    drawn = rng.binomial(20, 3 / 20, size=(2000, 500)) / 20
    first, second = Resampled(drawn, np.zeros(500)), Resampled(np.zeros((2000, 500)), np.zeros(500))
    low, high = paired_interval(np.full(500, 3 / 20), first, second)
    assert (low <= 0).all() and (high > 3 / 20).all()
    assert (paired_p_value(np.full(500, 3 / 20), first, second) > 0.05).all()
