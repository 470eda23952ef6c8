"""Intervals in simulations whose truth is known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fairkd.metrics import METRICS, confusion, reductions
from fairkd.metrics.bootstrap import bootstrap_counts
from fairkd.metrics.confusion import CellCounts
from fairkd.metrics.intervals import interval, paired_interval, value_interval

TRIALS = 600
RECALLS = np.array([[0.9, 0.8], [0.85, 0.6]])


def predictions_of(right: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return np.where(right, labels, 1 - labels)


def coverage(
    truths: dict[str, float], labels: np.ndarray, groups: np.ndarray, units: np.ndarray, rights: np.ndarray
) -> dict[str, float]:
    """How often the 95 % interval of ``accuracy`` and of class 1's ``gap`` contains the truth."""
    statistics = {
        "accuracy": reductions.accuracy,
        "gap": lambda counts: reductions.recall_gap_by_class(counts)[..., 1],
    }
    hits = dict.fromkeys(truths, 0)
    for seed, right in enumerate(rights):
        (resampled,) = bootstrap_counts(
            labels,
            groups,
            predictions_of(right, labels)[None],
            units,
            num_classes=2,
            num_groups=2,
            statistics=statistics,
            replicates=400,
            seed=seed,
        )
        for name, truth in truths.items():
            low, high = interval(resampled[name].values)
            hits[name] += bool(low <= truth <= high)
    return {name: count / len(rights) for name, count in hits.items()}


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    labels, groups = np.repeat([0, 0, 1, 1], 150), np.tile(np.repeat([0, 1], 150), 2)
    rng = np.random.default_rng(0)
    rights = rng.random((TRIALS, 600)) < RECALLS[labels, groups]
    truths = {"accuracy": RECALLS.mean(), "gap": 0.25}
    for name, share in coverage(truths, labels, groups, np.arange(600), rights).items():
        assert 0.93 <= share <= 0.97, name


def test_intervals_of_clustered_units_cover_where_those_of_rows_do_not() -> None:
    # Each scan is shown in both groups and is right or wrong in both mostly together.
    scans_each = 150
    labels = np.tile(np.repeat([0, 1], scans_each), 2)
    groups, units = np.repeat([0, 1], 2 * scans_each), np.tile(np.arange(2 * scans_each), 2)
    rng = np.random.default_rng(1)
    ease = rng.random((TRIALS, 2 * scans_each))
    rights = np.tile(ease, 2) < RECALLS[labels, groups]
    truths = {"accuracy": RECALLS.mean(), "gap": 0.25}
    by_unit = coverage(truths, labels, groups, units, rights)
    by_row = coverage(truths, labels, groups, np.arange(len(labels)), rights)
    for name in truths:
        assert 0.93 <= by_unit[name] <= 0.97, name
    # Rows taken as independent: too narrow where both rows add up, too wide where they are subtracted.
    assert by_row["accuracy"] < 0.92
    assert by_row["gap"] > 0.97


def biased_coverage(recalls: np.ndarray, cells: Sequence[int], trials: int = 100) -> dict[str, np.ndarray]:
    """How often the percentile interval and the model's interval of what is biased contain the truth."""
    labels, groups = samples_of(len(recalls), cells)
    statistics = {
        name: METRICS[name].reduce for name in ("recall_gap", "recall_gap_max", "worst_cell_accuracy")
    }
    gaps = np.ptp(recalls, axis=1)
    truths = dict(zip(statistics, (gaps.mean(), gaps.max(), recalls.min()), strict=True))
    rng, hits = np.random.default_rng(5), {name: np.zeros(2) for name in statistics}
    for seed in range(trials):
        right = rng.random(len(labels)) < recalls[labels, groups]
        predicted = np.where(right, labels, (labels + 1) % len(recalls))
        (resampled,) = bootstrap_counts(
            labels,
            groups,
            predicted[None],
            np.arange(len(labels)),
            num_classes=len(recalls),
            num_groups=len(cells),
            statistics=statistics,
            replicates=300,
            seed=seed,
        )
        counts = CellCounts.of_samples(labels, groups, predicted, len(recalls), len(cells))
        for name, statistic in statistics.items():
            limits = interval(resampled[name].values), value_interval(statistic(counts), resampled[name])
            hits[name] += [low <= truths[name] <= high for low, high in limits]
    return {name: count / trials for name, count in hits.items()}


def samples_of(classes: int, cells: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Labels and groups of so many samples of each class in each group."""
    groups = np.repeat(np.arange(len(cells)), cells)
    return np.repeat(np.arange(classes), len(groups)), np.tile(groups, classes)


def test_intervals_of_gaps_cover_the_truth_where_percentiles_do_not() -> None:
    recalls = np.tile(np.linspace(0.9, 0.84, 5), (4, 1))
    for name, (percentile, found) in biased_coverage(recalls, (90, 120, 150, 200, 280)).items():
        assert percentile < 0.5 and found > 0.93, name


def supported_share(
    first: np.ndarray, second: np.ndarray, cells: tuple[int, int] = (60, 60), trials: int = 150
) -> tuple[float, float]:
    """How often the percentile and the paired interval of a difference in mean recall gap exclude 0."""
    classes = first.shape[0]
    labels, groups = samples_of(classes, cells)
    rng, found = np.random.default_rng(3), np.zeros(2)
    for seed in range(trials):
        right = rng.random((2, len(labels))) < np.stack([first, second])[:, labels, groups]
        predicted = np.where(right, labels, (labels + 1) % classes)
        gaps = [
            reductions.recall_gap(CellCounts.from_confusion(confusion(labels, groups, p, classes, 2)))
            for p in predicted
        ]
        models = bootstrap_counts(
            labels,
            groups,
            predicted,
            np.arange(len(labels)),
            num_classes=classes,
            num_groups=2,
            statistics={"gap": reductions.recall_gap},
            replicates=300,
            seed=seed,
        )
        one, other = (model["gap"] for model in models)
        limits = [interval(one.values - other.values), paired_interval(gaps[0] - gaps[1], one, other)]
        found += [float(low > 0 or high < 0) for low, high in limits]
    return float(found[0] / trials), float(found[1] / trials)


def test_a_less_accurate_model_is_not_found_less_fair_for_its_noise() -> None:
    # Neither model has a gap; the first is less accurate, and so its estimated gaps are larger.
    percentile, paired = supported_share(np.full((6, 2), 0.8), np.full((6, 2), 0.99))
    assert percentile > 0.9
    assert paired <= 0.05


def test_a_cell_of_a_few_samples_decides_nothing() -> None:
    # Neither model has a gap; the noise of cells of one sample, which no resample changes, decided most of the time.
    for few in (1, 2):
        percentile, paired = supported_share(np.full((4, 2), 0.9), np.full((4, 2), 0.75), (100, few))
        assert percentile > 0.3
        assert paired <= 0.07


def test_a_real_difference_in_gaps_is_found() -> None:
    wide, narrow = np.tile([0.95, 0.7], (6, 1)), np.tile([0.95, 0.85], (6, 1))
    assert supported_share(wide, narrow, trials=60)[1] > 0.9


def test_intervals_of_differences_cover_the_truth_as_often_as_they_say() -> None:
    # Two models that mostly fail on the same samples; their accuracies differ by 0.05, class 1's gaps by 0.1.
    labels, groups = np.repeat([0, 0, 1, 1], 150), np.tile(np.repeat([0, 1], 150), 2)
    others = np.array([[0.85, 0.75], [0.85, 0.5]])
    truths = {"accuracy": RECALLS.mean() - others.mean(), "gap": 0.25 - 0.35}
    statistics = {
        "accuracy": reductions.accuracy,
        "gap": lambda counts: reductions.recall_gap_by_class(counts)[..., 1],
    }
    rng, hits, trials = np.random.default_rng(4), dict.fromkeys(truths, 0), 400
    for seed in range(trials):
        ease = rng.random(600)
        again = np.where(rng.random(600) < 0.6, ease, rng.random(600))
        rights = ease < RECALLS[labels, groups], again < others[labels, groups]
        predicted = np.stack([predictions_of(right, labels) for right in rights])
        options = {
            "num_classes": 2,
            "num_groups": 2,
            "statistics": statistics,
            "replicates": 400,
            "seed": seed,
        }
        one, other = bootstrap_counts(labels, groups, predicted, np.arange(600), **options)
        counts = [CellCounts.from_confusion(confusion(labels, groups, p, 2, 2)) for p in predicted]
        for name, truth in truths.items():
            difference = statistics[name](counts[0]) - statistics[name](counts[1])
            low, high = paired_interval(difference, one[name], other[name])
            hits[name] += bool(low <= truth <= high)
    for name, count in hits.items():
        assert 0.93 <= count / trials <= 0.97, name
