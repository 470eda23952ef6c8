"""Intervals and p-values of differences: that they agree, and their behaviour at the edges."""

from __future__ import annotations

import numpy as np
import pytest

from fairkd.metrics.bootstrap import Resampled
from fairkd.metrics.intervals import interval, paired_interval, paired_p_value, value_interval


def resampled(seed: int, floor: float, mean: float = 0.3, scale: float = 0.02) -> Resampled:
    rng = np.random.default_rng(seed)
    # The group-blind resamples vary less: they widen nothing.
    values, blind = (
        rng.normal(centre, width, size=(1999, 4)) for centre, width in ((mean, scale), (floor, 1e-3))
    )
    return Resampled(values, np.full(4, floor), blind)


def linear(values: np.ndarray) -> Resampled:
    return Resampled(values, np.zeros(values.shape[1:]), values)


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
    undefined = linear(np.full((10, 1), np.nan))
    assert np.isnan(paired_p_value(np.zeros(1), undefined, undefined)).all()
    assert np.isnan(paired_p_value(np.array([np.nan]), linear(np.zeros((10, 1))), undefined)).all()


def test_group_blind_resamples_that_vary_more_widen_the_interval() -> None:
    # As where one of the cells has a single sample: it is never drawn otherwise.
    narrow, other, difference = resampled(0, 0.02, 0.4), resampled(1, 0.01), np.full(4, 0.1)
    blind = np.random.default_rng(2).normal(0.02, 0.2, size=narrow.values.shape)
    wide = Resampled(narrow.values, narrow.floor, blind)
    low, high = paired_interval(difference, wide, other)
    np.testing.assert_allclose(
        (low, high), (0.1 - 0.01 - 0.39 * np.ones(4), 0.1 + 0.39 * np.ones(4)), atol=0.03
    )
    assert (paired_interval(difference, narrow, other)[0] > 0).all()
    assert (paired_p_value(difference, narrow, other) < 0.01).all()
    assert (paired_p_value(difference, wide, other) > 0.5).all()


def test_a_biased_value_lies_in_its_interval_and_an_unbiased_one_has_the_percentiles() -> None:
    # Resamples of a gap are biased once more: here all of them lie above the value.
    model = resampled(0, 0.1, 0.3)
    low, high = value_interval(np.full(4, 0.2), model)
    np.testing.assert_allclose(
        (low, high), (np.full(4, 0.2 - 0.1 - 0.04), np.full(4, 0.2 + 0.04)), atol=0.005
    )
    plain = linear(model.values)
    np.testing.assert_allclose(value_interval(model.values.mean(axis=0), plain), interval(model.values))
    low, high = value_interval(np.array([0.0, 0.01, 0.99, 1.0]), resampled(0, 0.0, scale=0.3))
    assert (low >= 0).all() and (high <= 1).all()


def test_limits_lie_where_a_difference_can() -> None:
    one, other = resampled(0, 0.4, scale=0.3), resampled(1, 0.0, scale=0.3)
    for difference in (-0.9, 0.9):
        low, high = paired_interval(np.full(4, difference), one, other)
        assert (low >= -1).all() and (high <= 1).all() and (low <= high).all()


def test_few_samples_that_differ_do_not_exclude_0_by_chance() -> None:
    # Three of 20 samples are right in the first model alone: a resample without them has the difference 0 exactly.
    rng = np.random.default_rng(0)
    drawn = rng.binomial(20, 3 / 20, size=(2000, 500)) / 20
    first, second = linear(drawn), linear(np.zeros((2000, 500)))
    low, high = paired_interval(np.full(500, 3 / 20), first, second)
    assert (low <= 0).all() and (high > 3 / 20).all()
    assert (paired_p_value(np.full(500, 3 / 20), first, second) > 0.05).all()
