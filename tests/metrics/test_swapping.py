"""The randomisation test: against McNemar's exact test and against every pattern of swaps."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.stats import binomtest

from fairkd import metrics
from fairkd.metrics import reductions
from fairkd.metrics.swapping import swap_p_values

STATISTICS = {
    "accuracy": reductions.accuracy,
    "recall": lambda counts: counts.recall,
    "recall_gap": reductions.recall_gap,
}


def test_recalls_are_mcnemars_exact_test() -> None:
    rng = np.random.default_rng(0)
    labels, groups = rng.integers(3, size=300), rng.integers(2, size=300)
    right = rng.random((2, 300)) < np.array([[0.8], [0.65]])
    predicted = np.where(right, labels, (labels + 1) % 3)
    found = swap_p_values(
        labels,
        groups,
        predicted,
        np.arange(300),
        num_classes=3,
        num_groups=2,
        statistics=STATISTICS,
        replicates=20_000,
    )
    for c, g in itertools.product(range(3), range(2)):
        first, second = right[:, (labels == c) & (groups == g)]
        only = int((first & ~second).sum())
        expected = binomtest(only, int((first != second).sum())).pvalue
        assert found["recall"][c, g] == pytest.approx(expected, abs=0.015)
    only, differ = int((right[0] & ~right[1]).sum()), int((right[0] != right[1]).sum())
    assert found["accuracy"] == pytest.approx(binomtest(only, differ).pvalue, abs=0.01)


def test_gaps_of_units_equal_the_enumeration_of_all_swaps() -> None:
    # Six units of two rows, one in each group; 64 patterns.
    units, groups = np.tile(np.arange(6), 2), np.repeat([0, 1], 6)
    labels = units % 2
    predicted = np.array([[0, 1, 0, 0, 0, 1, 0, 1, 1, 0, 0, 1], [1, 1, 0, 1, 1, 1, 0, 0, 0, 0, 0, 1]])

    def difference(pattern: tuple[int, ...]) -> float:
        swap = np.array(pattern)[units].astype(bool)
        one, other = np.where(swap, predicted[::-1], predicted)
        gaps = [metrics.recall_gap(labels, p, sensitive_features=groups) for p in (one, other)]
        return gaps[0] - gaps[1]

    observed = abs(difference((0,) * 6))
    assert observed > 0
    reached = [abs(difference(p)) >= observed - 1e-9 for p in itertools.product([0, 1], repeat=6)]
    found = swap_p_values(
        labels,
        groups,
        predicted,
        units,
        num_classes=2,
        num_groups=2,
        statistics=STATISTICS,
        replicates=20_000,
    )
    assert found["recall_gap"] == pytest.approx(np.mean(reached), abs=0.015)


def test_equal_models_and_empty_cells() -> None:
    labels, groups = np.array([0, 0, 1, 1]), np.array([0, 1, 0, 0])
    found = swap_p_values(
        labels,
        groups,
        np.stack([labels, labels]),
        np.arange(4),
        num_classes=2,
        num_groups=2,
        statistics=STATISTICS,
    )
    assert found["accuracy"] == 1
    assert np.isnan(found["recall"][1, 1])
    assert found["recall"][0, 0] == 1
