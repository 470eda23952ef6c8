"""Wilson's interval against scipy's."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest

from fairkd.metrics.proportions import wilson_interval


@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
def test_wilson_against_scipy(confidence: float) -> None:
    successes, trials = np.array([0, 1, 5, 9, 10, 500]), np.array([10, 10, 10, 10, 10, 1000])
    low, high = wilson_interval(successes, trials, confidence)
    for i in range(len(trials)):
        expected = binomtest(int(successes[i]), int(trials[i])).proportion_ci(confidence, method="wilson")
        assert (low[i], high[i]) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_wilson_without_trials() -> None:
    low, high = wilson_interval(np.array([0]), np.array([0]))
    assert np.isnan(low[0])
    assert np.isnan(high[0])
