"""Disparities between groups, each a reduction of the rates by class and group.

All take arrays ``(n,)`` of integers or strings, where a pandas categorical keeps the classes and groups that
have no samples. With two classes and no empty cell, those that fairlearn has equal fairlearn's.
"""

from __future__ import annotations

import warnings
from typing import Any, Literal

import numpy as np

from fairkd.errors import FairkdWarning
from fairkd.metrics import reductions
from fairkd.metrics.encoding import encode_and_warn


def recall_gap(
    y_true: Any, y_pred: Any, *, sensitive_features: Any, reduce: Literal["mean", "max"] = "mean"
) -> float:
    """Difference in recall between groups, class by class, reduced over the classes.

    A class's gap is its largest minus its smallest recall over the groups that have samples of it; with
    fewer than two such groups it is undefined and the class is left out. Classes with a gap of zero count.

    A gap cannot be negative, so sampling error inflates its estimate: with few samples a cell, a model that
    treats the groups alike still shows a positive gap. Compare models on the same samples, and read the
    interval.

    Args:
        y_true: true classes.
        y_pred: predicted classes.
        sensitive_features: the group of each sample.
        reduce: over the classes.

    Returns:
        A value in [0, 1]; NaN where no class has a gap.

    Raises:
        DataError: no samples, unequal lengths, missing values, or numbers mixed with text.
        ParameterError: an unknown ``reduce``.

    Warns:
        FairkdWarning: naming the empty class x group cells.

    Example:
        >>> recall_gap([0, 0, 1, 1], [0, 1, 1, 1], sensitive_features=["a", "b", "a", "b"])
        0.5
    """
    counts = encode_and_warn(y_true, y_pred, sensitive_features).counts
    return float(reductions.recall_gap(counts, reduce=reduce))


def equalized_odds_difference(
    y_true: Any,
    y_pred: Any,
    *,
    sensitive_features: Any,
    agg: Literal["worst_case", "mean"] = "worst_case",
    reduce: Literal["max", "mean"] = "max",
) -> float:
    """Difference in true and false positive rates between groups, each class against the rest.

    For each class, the largest minus the smallest true positive rate over the groups and the same of the
    false positive rate; aggregated by ``agg``; then reduced over the classes. Two classes have the same pair
    of gaps, so that ``reduce`` has no effect there. A class with an undefined gap is left out. Hardt et al.
    (2016, arXiv 1610.02413).

    Args:
        y_true: true classes.
        y_pred: predicted classes.
        sensitive_features: the group of each sample.
        agg: of a class's two gaps: the larger, or the mean.
        reduce: over the classes; published numbers use both, so say which.

    Returns:
        A value in [0, 1]; NaN where no class has both gaps.

    Raises:
        DataError: as :func:`recall_gap`.
        ParameterError: an unknown ``agg`` or ``reduce``.

    Warns:
        FairkdWarning: naming the empty class x group cells.
    """
    counts = encode_and_warn(y_true, y_pred, sensitive_features).counts
    return float(reductions.equalized_odds_difference(counts, agg=agg, reduce=reduce))


def equal_opportunity_difference(
    y_true: Any, y_pred: Any, *, sensitive_features: Any, reduce: Literal["max", "mean"] = "max"
) -> float:
    """Difference in recall between groups: of the positive class, or reduced over more than two classes.

    With two classes the larger label is the positive one. Hardt et al. (2016, arXiv 1610.02413).

    Args:
        y_true: true classes.
        y_pred: predicted classes.
        sensitive_features: the group of each sample.
        reduce: over the classes, for more than two.

    Returns:
        A value in [0, 1]; NaN where undefined.

    Raises:
        DataError: as :func:`recall_gap`.
        ParameterError: an unknown ``reduce``.

    Warns:
        FairkdWarning: naming the empty class x group cells.
    """
    counts = encode_and_warn(y_true, y_pred, sensitive_features).counts
    return float(reductions.equal_opportunity_difference(counts, reduce=reduce))


def demographic_parity_difference(
    y_true: Any, y_pred: Any, *, sensitive_features: Any, reduce: Literal["max", "mean"] = "max"
) -> float:
    """Difference between groups in the share predicted as a class.

    With two classes that of the larger label; with more, reduced over the classes. True classes play no part
    but to say which classes there are.

    Args:
        y_true: true classes.
        y_pred: predicted classes.
        sensitive_features: the group of each sample.
        reduce: over the classes, for more than two.

    Returns:
        A value in [0, 1]; NaN for fewer than two groups that have samples.

    Raises:
        DataError: as :func:`recall_gap`.
        ParameterError: an unknown ``reduce``.

    Warns:
        FairkdWarning: naming the empty class x group cells.
    """
    counts = encode_and_warn(y_true, y_pred, sensitive_features).counts
    return float(reductions.demographic_parity_difference(counts, reduce=reduce))


def demographic_parity_ratio(
    y_true: Any, y_pred: Any, *, sensitive_features: Any, reduce: Literal["min", "mean"] = "min"
) -> float:
    """Smallest divided by largest share of a group that is predicted as a class: disparate impact.

    With two classes that of the larger label, as fairlearn; with more, reduced over the classes. A class
    that is never predicted has no ratio and is left out.

    Args:
        y_true: true classes.
        y_pred: predicted classes.
        sensitive_features: the group of each sample.
        reduce: over the classes, for more than two.

    Returns:
        A value in [0, 1], 1 for equal shares; NaN where undefined, as for fewer than two groups that have samples.

    Raises:
        DataError: as :func:`recall_gap`.
        ParameterError: an unknown ``reduce``.

    Warns:
        FairkdWarning: naming the empty class x group cells.
    """
    counts = encode_and_warn(y_true, y_pred, sensitive_features).counts
    return float(reductions.demographic_parity_ratio(counts, reduce=reduce))


def bias_amplification(y_true: Any, y_pred: Any, *, sensitive_features: Any) -> float:
    """How far the predictions of a class come from one group, on data where the groups are of equal size.

    ``mean_c max_g n_cg / sum_g n_cg - 1 / G`` with ``n_cg`` the samples of group g that are *predicted* as c
    and G the groups that have samples; a class that is never predicted is left out. Wang et al. (2020, arXiv
    1911.11834), whose two groups make the last term 0.5.

    Args:
        y_true: true classes; they only say which classes there are.
        y_pred: predicted classes.
        sensitive_features: the group of each sample.

    Returns:
        A value in [0, 1 - 1 / G]; 0 where every class is predicted equally often in every group; NaN for fewer
        than two groups that have samples.

    Raises:
        DataError: as :func:`recall_gap`.

    Warns:
        FairkdWarning: naming the empty class x group cells; and if the groups differ in size, since the
            value then mixes the model's bias with the data's.
    """
    encoded = encode_and_warn(y_true, y_pred, sensitive_features)
    sizes = encoded.counts.group_sizes
    if len(np.unique(sizes)) > 1:
        named = ", ".join(f"{group}: {n}" for group, n in zip(encoded.group_values, sizes, strict=True))
        warnings.warn(
            f"bias_amplification is meant for groups of equal size, these differ ({named}): "
            "part of the value is the data's",
            FairkdWarning,
            stacklevel=2,
        )
    return float(reductions.bias_amplification(encoded.counts))
