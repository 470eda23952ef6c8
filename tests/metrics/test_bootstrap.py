"""The bootstrap of counts: against a slow one that draws rows, and in simulations with a known truth."""

from __future__ import annotations

import numpy as np
import pytest

from fairkd import metrics
from fairkd.metrics import confusion, reductions
from fairkd.metrics.bootstrap import (
    Resampled,
    bootstrap_calibration,
    bootstrap_counts,
)
from fairkd.metrics.intervals import interval, paired_interval
from fairkd.metrics.resampling import design

STATISTICS = {
    "accuracy": reductions.accuracy,
    "recall_gap": reductions.recall_gap,
    "worst_cell_accuracy": reductions.worst_cell_accuracy,
    "bias_amplification": reductions.bias_amplification,
    "recall": lambda counts: counts.recall,
}


def scans(seed: int, units: int = 90) -> tuple[np.ndarray, ...]:
    """Units of two rows (one in each group) and some of one row; the rows of a unit fail together."""
    rng = np.random.default_rng(seed)
    labels = np.arange(units) % 3
    hard = rng.random(units) < 0.3
    second = np.flatnonzero(np.arange(units) % 4 > 0)
    unit = np.concatenate([np.arange(units), second])
    labels, hard = labels[unit], hard[unit]
    groups = np.concatenate([np.zeros(units, dtype=int), np.ones(len(second), dtype=int)])
    right = rng.random((2, len(unit))) < np.where(hard, 0.35, 0.95 - 0.25 * groups)
    predicted = np.where(right, labels, (labels + rng.integers(1, 3, size=right.shape)) % 3)
    order = rng.permutation(len(unit))
    return labels[order], groups[order], predicted[:, order], unit[order] * 7 + 3


def resample(
    labels: np.ndarray, groups: np.ndarray, predicted: np.ndarray, units: np.ndarray, **options: int
) -> list[dict[str, Resampled]]:
    sizes = {"num_classes": 3, "num_groups": 2}
    return bootstrap_counts(labels, groups, predicted, units, **sizes, statistics=STATISTICS, **options)


def draw_rows(
    labels: np.ndarray, groups: np.ndarray, units: np.ndarray, seed: int, number: int
) -> list[np.ndarray]:
    """The slow reference: row positions of resamples, one unit after the other."""
    rng = np.random.default_rng(seed)
    rows_of = {unit: np.flatnonzero(units == unit) for unit in np.unique(units)}
    strata: dict[tuple, list[np.ndarray]] = {}
    for rows in rows_of.values():
        key = tuple(sorted(zip(labels[rows].tolist(), groups[rows].tolist(), strict=True)))
        strata.setdefault(key, []).append(rows)
    return [
        np.concatenate(
            [members[i] for members in strata.values() for i in rng.integers(len(members), size=len(members))]
        )
        for _ in range(number)
    ]


def test_distribution_equals_that_of_resampled_rows() -> None:
    labels, groups, predicted, units = scans(0)
    fast = resample(labels, groups, predicted, units, replicates=4000, seed=1)
    drawn = draw_rows(labels, groups, units, seed=2, number=1500)
    for model, one in enumerate(predicted):
        slow = {
            "accuracy": [metrics.accuracy(labels[rows], one[rows]) for rows in drawn],
            "recall_gap": [
                metrics.recall_gap(labels[rows], one[rows], sensitive_features=groups[rows]) for rows in drawn
            ],
        }
        for name, values in slow.items():
            quick = fast[model][name].values
            error = np.std(values) / np.sqrt(len(values))
            assert quick.mean() == pytest.approx(np.mean(values), abs=4 * error), name
            assert quick.std() == pytest.approx(np.std(values), rel=0.08), name
    differences = [
        metrics.accuracy(labels[r], predicted[0][r]) - metrics.accuracy(labels[r], predicted[1][r])
        for r in drawn
    ]
    paired = fast[0]["accuracy"].values - fast[1]["accuracy"].values
    assert paired.std() == pytest.approx(np.std(differences), rel=0.08)


def test_cell_sizes_are_kept_in_every_resample() -> None:
    labels, groups, predicted, units = scans(1)
    samples = bootstrap_counts(
        labels,
        groups,
        predicted,
        units,
        num_classes=3,
        num_groups=2,
        statistics={"samples": lambda counts: counts.samples},
        replicates=50,
    )[0]["samples"].values
    expected = confusion(labels, groups, predicted[0], 3, 2).sum(axis=-1)
    np.testing.assert_array_equal(samples, np.broadcast_to(expected, (50, 3, 2)))


def test_the_mean_of_linear_statistics_is_the_value_and_their_floor_is_0() -> None:
    labels, groups, predicted, units = scans(2)
    resampled = resample(labels, groups, predicted, units, replicates=4000)
    for model, one in zip(resampled, predicted, strict=True):
        accuracy = model["accuracy"].values
        tolerance = 4 * accuracy.std() / np.sqrt(4000)
        assert accuracy.mean() == pytest.approx(metrics.accuracy(labels, one), abs=tolerance)
        assert model["accuracy"].floor == pytest.approx(0, abs=1e-12)
        np.testing.assert_allclose(model["recall"].floor, np.zeros((3, 2)), atol=1e-12)


def test_pairing_reduces_the_variance_of_a_difference() -> None:
    labels, groups, predicted, units = scans(3)
    together = resample(labels, groups, predicted, units, replicates=2000)
    apart = [resample(labels, groups, predicted[[m]], units, replicates=2000, seed=m)[0] for m in (0, 1)]
    paired = together[0]["accuracy"].values - together[1]["accuracy"].values
    unpaired = apart[0]["accuracy"].values - apart[1]["accuracy"].values
    assert paired.std() < 0.9 * unpaired.std()


def test_identical_models_differ_by_0_in_every_resample() -> None:
    labels, groups, predicted, units = scans(4)
    first, second = resample(labels, groups, predicted[[0, 0]], units, replicates=100)
    for name, one in first.items():
        np.testing.assert_array_equal(one.values, second[name].values)
        np.testing.assert_array_equal(one.floor, second[name].floor)


def test_the_seed_decides() -> None:
    data = scans(5)
    first, again, other = (resample(*data, replicates=300, seed=s)[0]["recall_gap"].values for s in (7, 7, 8))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_small_chunks_give_as_many_replicates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fairkd.metrics.resampling._CHUNK_BYTES", 1)
    one = resample(*scans(6), replicates=101)[1]["recall"]
    assert one.values.shape == (101, 3, 2)
    assert np.isfinite(one.floor).all()


def test_units_may_be_text_and_interleaved() -> None:
    labels, groups, predicted, units = scans(7)
    names = np.array([f"scan {unit}" for unit in units])
    for name, one in resample(labels, groups, predicted, names, replicates=50)[0].items():
        expected = resample(labels, groups, predicted, units, replicates=50)[0][name].values
        np.testing.assert_array_equal(one.values, expected)


def test_equal_units_share_a_signature_whatever_the_order_of_their_rows() -> None:
    cells = np.array([0, 1, 1, 0, 0, 1, 0])
    types = np.array([5, 8, 8, 5, 6, 8, 5])
    units = np.array(["a", "a", "b", "b", "c", "c", "d"])
    plan = design(cells, types, units)
    assert sorted(plan.unit_counts) == [1, 1, 2]
    # d is alone in its stratum, which it keeps: it has one row. The stratum of a, b and c is small, but
    # alone.
    assert len(plan.bounds) - 1 == 2


def test_strata_of_single_units_with_several_rows_are_pooled() -> None:
    # 40 people with 1 + person images each: every stratum would hold one person.
    units = np.repeat(np.arange(40), np.arange(2, 42))
    rng = np.random.default_rng(0)
    labels, groups = np.zeros(len(units), dtype=int), units % 2
    predicted = (rng.random(len(units)) < rng.random(40)[units]).astype(int)[None]
    values = resample(labels, groups, predicted, units, replicates=500)[0]["accuracy"].values
    per_person = [np.mean(predicted[0][units == person] == 0) for person in range(40)]
    assert values.std() > 0.5 * np.std(per_person) / np.sqrt(40)


def test_an_empty_cell_stays_nan() -> None:
    labels, groups = np.array([0, 0, 1, 1, 1]), np.array([0, 1, 0, 0, 0])
    resampled = resample(labels, groups, labels[None], np.arange(5), replicates=20)[0]
    assert np.isnan(resampled["recall"].values[:, 1, 1]).all()
    assert np.isnan(resampled["recall"].values[:, 2]).all()
    np.testing.assert_array_equal(resampled["recall_gap"].values, np.zeros(20))
    low, high = interval(resampled["recall"].values)
    assert np.isnan(low[1, 1])
    assert np.isnan(high[1, 1])
    assert low[0, 0] == high[0, 0] == 1


def test_interval_leaves_undefined_replicates_out() -> None:
    values = np.stack([np.arange(101.0), np.full(101, np.nan), np.arange(101.0)], axis=1)
    values[:50, 2] = np.nan
    low, high = interval(values, 0.9)
    np.testing.assert_allclose(low, [5, np.nan, 52.5])
    np.testing.assert_allclose(high, [95, np.nan, 97.5])
    assert interval(values[:, 0], 0.9) == pytest.approx((5, 95))


def confident(seed: int, n: int = 240) -> tuple[np.ndarray, np.ndarray, list[np.ndarray], np.ndarray]:
    rng = np.random.default_rng(seed)
    labels, groups, units = rng.integers(3, size=n), rng.integers(2, size=n), np.arange(n) // 2
    return labels, groups, [rng.dirichlet(np.full(3, 0.5), n) for _ in range(2)], units


def test_calibration_errors_equal_those_of_resampled_rows() -> None:
    labels, groups, probabilities, units = confident(0)
    fast = bootstrap_calibration(labels, groups, probabilities, units, replicates=4000)
    drawn = draw_rows(labels, groups, units, seed=1, number=700)
    for model, one in zip(fast, probabilities, strict=True):
        slow = [metrics.expected_calibration_error(labels[rows], one[rows]) for rows in drawn]
        assert model.values.mean() == pytest.approx(np.mean(slow), rel=0.03)
        assert model.values.std() == pytest.approx(np.std(slow), rel=0.08)


def test_the_mean_confidence_stands_for_equal_samples() -> None:
    confidence = np.linspace(0.94, 0.99, 20)
    probabilities, zeros = np.stack([confidence, 1 - confidence], axis=1), np.zeros(20, dtype=int)
    (one,) = bootstrap_calibration(zeros, zeros, [probabilities], np.arange(20), replicates=10)
    np.testing.assert_allclose(one.values, 1 - confidence.mean())


def test_the_floor_of_the_calibration_error_is_that_of_a_calibrated_model() -> None:
    rng = np.random.default_rng(2)
    n = 300
    first = rng.uniform(0.5, 1, size=n)
    probabilities = np.stack([first, 1 - first], axis=1)
    truths = (rng.random((400, n)) > first).astype(int)
    calibrated = [metrics.expected_calibration_error(truth, probabilities) for truth in truths]
    floors = [
        bootstrap_calibration(t, np.zeros(n, dtype=int), [probabilities], np.arange(n), replicates=100)[
            0
        ].floor
        for t in truths[:40]
    ]
    assert np.mean(floors) == pytest.approx(np.mean(calibrated), rel=0.15)


def test_paired_interval_of_an_unbiased_statistic_is_the_percentile_interval() -> None:
    labels, groups, predicted, units = scans(8)
    first, second = (
        model["accuracy"] for model in resample(labels, groups, predicted, units, replicates=5000)
    )
    difference = metrics.accuracy(labels, predicted[0]) - metrics.accuracy(labels, predicted[1])
    expected = interval(first.values - second.values)
    assert paired_interval(np.float64(difference), first, second) == pytest.approx(expected, abs=3e-3)
