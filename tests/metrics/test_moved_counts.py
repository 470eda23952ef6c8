"""The bootstrap's noise floor moves counts, which can then be fractions, negative, or cancel out."""

from __future__ import annotations

import numpy as np

from fairkd.metrics import reductions
from fairkd.metrics.confusion import CellCounts


def counts(predicted: list[list[float]]) -> CellCounts:
    samples = np.full((2, 2), 10.0)
    return CellCounts(samples, samples / 2, np.array(predicted))


def test_bias_amplification_ignores_a_class_whose_moved_predictions_cancel_out():
    # The first class is predicted once in one group and −1 times in the other, but for rounding.
    moved = counts([[-0.5, 0.5 + 1e-15], [12.0, 8.0]])
    assert reductions.bias_amplification(moved) == 12 / 20 - 0.5


def test_shares_and_ratios_of_moved_counts_stay_within_their_range():
    moved = counts([[-0.5, 1.5], [12.0, 8.0]])
    assert reductions.bias_amplification(moved) == (1 + 12 / 20) / 2 - 0.5
    assert 0 <= reductions.demographic_parity_ratio(moved) <= 1


def test_counts_of_samples_are_not_touched():
    whole = counts([[1.0, 0.0], [9.0, 10.0]])
    assert reductions.bias_amplification(whole) == (1 + 10 / 19) / 2 - 0.5
    assert reductions.demographic_parity_ratio(whole) == 9 / 10
