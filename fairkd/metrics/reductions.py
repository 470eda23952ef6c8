"""From counts to metric: one vectorised reduction a metric, shared by the public functions and the
bootstrap.

Each takes :class:`CellCounts` with any leading axes ``(...)`` and returns floats ``(...)``. What an empty
cell leaves undefined is NaN and is left out of the reduction; a metric is NaN where nothing is left.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fairkd.errors import ParameterError
from fairkd.metrics.confusion import (
    CellCounts,
    Floats,
    divide,
    max_defined,
    mean_defined,
    min_defined,
    of_several,
    spread,
)

_REDUCERS: dict[str, Callable[[Floats], Floats]] = {
    "mean": mean_defined,
    "max": max_defined,
    "min": min_defined,
}


def accuracy(counts: CellCounts) -> Floats:
    """Share of correct predictions."""
    return divide(counts.class_correct.sum(axis=-1), counts.class_sizes.sum(axis=-1))


def balanced_accuracy(counts: CellCounts) -> Floats:
    """Mean recall over the classes that have samples."""
    return mean_defined(counts.class_recall)


def class_recall_ratio(counts: CellCounts) -> Floats:
    """Mean class recall divided by the best class recall."""
    return divide(mean_defined(counts.class_recall), max_defined(counts.class_recall))


def worst_group_accuracy(counts: CellCounts) -> Floats:
    """Smallest accuracy of a group."""
    return min_defined(counts.group_accuracy)


def worst_cell_accuracy(counts: CellCounts) -> Floats:
    """Smallest recall of a class x group cell."""
    return min_defined(min_defined(counts.recall))


def accuracy_gap(counts: CellCounts) -> Floats:
    """Largest minus smallest accuracy of a group."""
    return spread(counts.group_accuracy)


def recall_gap_by_class(counts: CellCounts) -> Floats:
    """Largest minus smallest recall over the groups, for each class ``(..., classes)``."""
    return spread(counts.recall)


def recall_gap(counts: CellCounts, *, reduce: str = "mean") -> Floats:
    """Recall gap reduced over the classes."""
    return _over_classes(recall_gap_by_class(counts), reduce, ("mean", "max"))


def equalized_odds_difference(counts: CellCounts, *, agg: str = "worst_case", reduce: str = "max") -> Floats:
    """Gaps of the true and the false positive rate, aggregated in each class, reduced over the classes."""
    _check("agg", agg, ("worst_case", "mean"))
    recalls, false_positives = spread(counts.recall), spread(counts.false_positive_rate)
    # np.maximum keeps NaN: half of a class's odds would be a lower bound that looks like the value.
    by_class = (
        np.maximum(recalls, false_positives) if agg == "worst_case" else (recalls + false_positives) / 2
    )
    return _over_classes(by_class, reduce, ("max", "mean"))


def equal_opportunity_difference(counts: CellCounts, *, reduce: str = "max") -> Floats:
    """Recall gap of the positive class; for more than two classes reduced over the classes."""
    return _positive_or_reduced(recall_gap_by_class(counts), reduce, ("max", "mean"))


def demographic_parity_difference(counts: CellCounts, *, reduce: str = "max") -> Floats:
    """Gap of the positive class's selection rate; for more than two classes reduced over the classes."""
    return _positive_or_reduced(spread(counts.selection_rate), reduce, ("max", "mean"))


def demographic_parity_ratio(counts: CellCounts, *, reduce: str = "min") -> Floats:
    """Smallest by largest selection rate of the positive class; more than two classes are reduced."""
    rates = counts.selection_rate
    # Clipping only touches the bootstrap's moved counts, which can be negative.
    ratios = np.clip(divide(min_defined(rates), max_defined(rates)), 0, 1)
    return _positive_or_reduced(of_several(ratios, ~np.isnan(rates)), reduce, ("min", "mean"))


def bias_amplification(counts: CellCounts) -> Floats:
    """Mean over the predicted classes of the largest group's share, minus what equal shares would give."""
    # The bootstrap's moved counts are fractions and can cancel out: a share stays one, and without a whole
    # prediction there is none. On counts of samples neither changes anything.
    total = counts.predicted.sum(axis=-1)
    largest_share = np.minimum(divide(counts.predicted.max(axis=-1), np.where(total < 0.5, 0, total)), 1)
    sampled = counts.group_sizes > 0
    amplification = mean_defined(largest_share) - divide(np.ones(()), sampled.sum(axis=-1))
    return of_several(amplification, sampled)


def _positive_or_reduced(by_class: Floats, reduce: str, allowed: tuple[str, ...]) -> Floats:
    reduced = _over_classes(by_class, reduce, allowed)
    return by_class[..., -1] if by_class.shape[-1] == 2 else reduced


def _over_classes(by_class: Floats, reduce: str, allowed: tuple[str, ...]) -> Floats:
    _check("reduce", reduce, allowed)
    return _REDUCERS[reduce](by_class)


def _check(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ParameterError(f"{name}={value!r} is not allowed: choose one of {', '.join(allowed)}")
