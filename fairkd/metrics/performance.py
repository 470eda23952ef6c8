"""How well a model predicts: overall, by group, and by class and group."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from fairkd.metrics import reductions
from fairkd.metrics.confusion import mean_defined
from fairkd.metrics.encoding import encode, encode_and_warn


def accuracy(y_true: Any, y_pred: Any) -> float:
    """Share of the samples that are predicted correctly.

    Args:
        y_true: true classes ``(n,)``, integers or strings.
        y_pred: predicted classes ``(n,)``.

    Returns:
        A value in [0, 1].

    Raises:
        DataError: no samples, unequal lengths, missing values, or numbers mixed with text.
    """
    return float(reductions.accuracy(encode(y_true, y_pred).counts))


def balanced_accuracy(y_true: Any, y_pred: Any) -> float:
    """Mean recall over the classes that have samples, as scikit-learn's ``balanced_accuracy_score``.

    Args:
        y_true: true classes ``(n,)``, integers or strings.
        y_pred: predicted classes ``(n,)``.

    Returns:
        A value in [0, 1].

    Raises:
        DataError: as :func:`accuracy`.
    """
    return float(reductions.balanced_accuracy(encode(y_true, y_pred).counts))


def class_recall_ratio(y_true: Any, y_pred: Any) -> float:
    """Mean class recall divided by the best class recall, over the classes that have samples.

    One CIFAR-10 study prints this as "disparate impact". There is no group in it: for disparate impact
    between groups see :func:`~fairkd.metrics.demographic_parity_ratio`.

    Args:
        y_true: true classes ``(n,)``, integers or strings.
        y_pred: predicted classes ``(n,)``.

    Returns:
        A value in (0, 1], 1 where all classes are recalled equally well; NaN if nothing is predicted
        correctly.

    Raises:
        DataError: as :func:`accuracy`.
    """
    return float(reductions.class_recall_ratio(encode(y_true, y_pred).counts))


def by_group(y_true: Any, y_pred: Any, *, sensitive_features: Any) -> pd.DataFrame:
    """Accuracy of each group.

    Args:
        y_true: true classes ``(n,)``, integers or strings.
        y_pred: predicted classes ``(n,)``.
        sensitive_features: the group of each sample ``(n,)``; a pandas categorical keeps groups without
            samples.

    Returns:
        One row a group, with the index ``group`` and the columns ``n``, ``accuracy`` and
        ``balanced_accuracy`` (mean recall over the classes that have samples in the group); NaN for a group
        without samples.

    Raises:
        DataError: as :func:`accuracy`.

    Warns:
        FairkdWarning: naming the empty class x group cells.
    """
    encoded = encode_and_warn(y_true, y_pred, sensitive_features)
    columns = {
        "n": encoded.counts.group_sizes,
        "accuracy": encoded.counts.group_accuracy,
        "balanced_accuracy": mean_defined(encoded.counts.recall, axis=-2),
    }
    return pd.DataFrame(columns, index=encoded.group_values.rename("group"))


def by_class_and_group(y_true: Any, y_pred: Any, *, sensitive_features: Any) -> pd.DataFrame:
    """The rates of each class x group cell, from which every fairness metric is reduced.

    Args:
        y_true: true classes ``(n,)``, integers or strings.
        y_pred: predicted classes ``(n,)``.
        sensitive_features: the group of each sample ``(n,)``; a pandas categorical keeps groups without
            samples.

    Returns:
        One row a cell, with the columns ``class``, ``group``, ``n`` (samples of the class in the group),
        ``recall`` (share of them predicted as the class), ``selection_rate`` (share of the whole group
        predicted as the class) and ``false_positive_rate`` (share of the group's other classes predicted as
        the class). A rate without samples is NaN.

    Raises:
        DataError: as :func:`accuracy`.

    Warns:
        FairkdWarning: naming the empty class x group cells.
    """
    encoded = encode_and_warn(y_true, y_pred, sensitive_features)
    counts = encoded.counts
    num_classes, num_groups = counts.samples.shape
    columns = {
        "class": encoded.classes[np.repeat(np.arange(num_classes), num_groups)],
        "group": encoded.group_values[np.tile(np.arange(num_groups), num_classes)],
        "n": counts.samples.ravel(),
        "recall": counts.recall.ravel(),
        "selection_rate": counts.selection_rate.ravel(),
        "false_positive_rate": counts.false_positive_rate.ravel(),
    }
    return pd.DataFrame(columns)


def worst_group_accuracy(y_true: Any, y_pred: Any, *, sensitive_features: Any) -> float:
    """Smallest accuracy of a group: ``MetricFrame(metrics=accuracy_score, ...).group_min()`` in fairlearn.

    Args:
        y_true: true classes ``(n,)``, integers or strings.
        y_pred: predicted classes ``(n,)``.
        sensitive_features: the group of each sample ``(n,)``.

    Returns:
        A value in [0, 1].

    Raises:
        DataError: as :func:`accuracy`.

    Warns:
        FairkdWarning: naming the empty class x group cells.
    """
    return float(reductions.worst_group_accuracy(encode_and_warn(y_true, y_pred, sensitive_features).counts))


def worst_cell_accuracy(y_true: Any, y_pred: Any, *, sensitive_features: Any) -> float:
    """Smallest accuracy of a class x group cell.

    This is the "worst-group accuracy" of Sagawa et al. (2020, arXiv 1911.08731).

    Args:
        y_true: true classes ``(n,)``, integers or strings.
        y_pred: predicted classes ``(n,)``.
        sensitive_features: the group of each sample ``(n,)``.

    Returns:
        A value in [0, 1]; the minimum over the cells that have samples.

    Raises:
        DataError: as :func:`accuracy`.

    Warns:
        FairkdWarning: naming the empty class x group cells.
    """
    return float(reductions.worst_cell_accuracy(encode_and_warn(y_true, y_pred, sensitive_features).counts))


def accuracy_gap(y_true: Any, y_pred: Any, *, sensitive_features: Any) -> float:
    """Largest minus smallest accuracy of a group.

    Args:
        y_true: true classes ``(n,)``, integers or strings.
        y_pred: predicted classes ``(n,)``.
        sensitive_features: the group of each sample ``(n,)``.

    Returns:
        A value in [0, 1]; NaN for fewer than two groups that have samples.

    Raises:
        DataError: as :func:`accuracy`.

    Warns:
        FairkdWarning: naming the empty class x group cells.
    """
    return float(reductions.accuracy_gap(encode_and_warn(y_true, y_pred, sensitive_features).counts))
