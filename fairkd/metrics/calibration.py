"""How far a model's confidence can be believed."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pandas as pd

from fairkd.errors import DataError, ParameterError
from fairkd.metrics.confusion import Floats, divide

Strategy = Literal["uniform", "quantile"]

#: Bins of the registered metric.
BINS = 15


def expected_calibration_error(
    y_true: Any, probabilities: Any, *, bins: int = BINS, strategy: Strategy = "uniform"
) -> float:
    """Mean distance between confidence and accuracy, over bins of the confidence.

    ``sum_b (n_b / n) |accuracy_b - confidence_b|`` with the confidence of a sample its largest probability.
    Guo et al. (2017, arXiv 1706.04599). Sampling error inflates it: a calibrated model shows a value above
    0.

    Args:
        y_true: true classes ``(n,)``, integers from 0 that index the columns of ``probabilities``.
        probabilities: ``(n, classes)``, each in [0, 1].
        bins: number of bins, at least 1.
        strategy: ``"uniform"`` for bins of equal width on [0, 1]; ``"quantile"`` for bins of equal size
            (fewer than ``bins`` where confidences are tied).

    Returns:
        A value in [0, 1].

    Raises:
        DataError: shapes, labels or probabilities that do not fit.
        ParameterError: ``bins`` below 1 or an unknown ``strategy``.
    """
    table = reliability_bins(y_true, probabilities, bins=bins, strategy=strategy)
    filled = table[table["n"] > 0]
    return float((filled["n"] * (filled["accuracy"] - filled["confidence"]).abs()).sum() / filled["n"].sum())


def debiased_calibration_error(
    y_true: Any, probabilities: Any, *, bins: int = BINS, norm: Literal["l1", "l2"] = "l1"
) -> float:
    """Calibration error over bins of equal mass, less what sampling error alone adds to it.

    Kumar et al. (2019, Verified Uncertainty Calibration, arXiv 1909.10155). With the gap ``δ_b`` of mean confidence
    and accuracy in bin b and the accuracy's variance ``v_b = a_b (1 - a_b) / (n_b - 1)``:

    - ``"l2"``: ``√ max(0, sum_b (n_b / n) (δ_b² - v_b))``, their debiased estimator; the sum is unbiased given
      the bins.
    - ``"l1"``: ``max(0, sum_b (n_b / n) (2 |δ_b| - E|δ_b + √v_b Z|))``, Z standard normal: the plug-in less the bias
      that it would have at these gaps. They draw Z; the mean of the folded normal is used here.

    Binning hides what cancels within a bin; both are lower bounds of the error of the continuous confidence.

    Args:
        y_true: as :func:`expected_calibration_error`.
        probabilities: as there.
        bins: at least 1; fewer are made where a bin would hold less than two samples, or confidences are tied.
        norm: absolute or squared gaps; the result has the scale of a probability in both.

    Returns:
        A value in [0, 1]; NaN for a single sample.

    Raises:
        DataError: as :func:`expected_calibration_error`.
        ParameterError: ``bins`` below 1 or an unknown ``norm``.
    """
    if norm not in ("l1", "l2"):
        raise ParameterError(f"norm={norm!r} is not allowed: choose one of l1, l2")
    if bins < 1:
        raise ParameterError(f"bins={bins} is not allowed: at least 1")
    n = len(np.asarray(y_true))
    if n == 1:
        return float("nan")
    table = reliability_bins(y_true, probabilities, bins=max(1, min(bins, n // 2)), strategy="quantile")
    table = table[table["n"] > 0]
    size, accuracy = table["n"].to_numpy(), table["accuracy"].to_numpy()
    gap = np.abs(table["confidence"].to_numpy() - accuracy)
    # Ties can leave a bin with one sample, which has no variance to estimate.
    variance = accuracy * (1 - accuracy) / np.maximum(size - 1, 1)
    if norm == "l2":
        return float(np.sqrt(max(0.0, np.average(gap**2 - variance, weights=size))))
    return float(max(0.0, np.average(2 * gap - _folded_mean(gap, np.sqrt(variance)), weights=size)))


def brier_score(y_true: Any, probabilities: Any) -> float:
    """Mean squared distance between the probabilities and the truth: ``mean_i sum_c (p_ic - [y_i = c])²``.

    Brier (1950, Monthly Weather Review 78, 1-3), over all classes: for two classes twice scikit-learn's
    ``brier_score_loss``.

    Args:
        y_true: as :func:`expected_calibration_error`.
        probabilities: as there.

    Returns:
        A value in [0, 2].

    Raises:
        DataError: as :func:`expected_calibration_error`.
    """
    return float(squared_distances(y_true, probabilities).mean())


def squared_distances(y_true: Any, probabilities: Any) -> Floats:
    """Return each sample's ``sum_c (p_c - [y = c])²`` ``(n,)``."""
    confidence_and_correct(y_true, probabilities)
    values = np.asarray(probabilities, dtype=np.float64)
    own = values[np.arange(len(values)), np.asarray(y_true)]
    return np.asarray((values**2).sum(axis=1) - 2 * own + 1)


def reliability_bins(
    y_true: Any, probabilities: Any, *, bins: int = BINS, strategy: Strategy = "uniform"
) -> pd.DataFrame:
    """The table behind a reliability diagram.

    Args:
        y_true: as :func:`expected_calibration_error`.
        probabilities: as there.
        bins: as there.
        strategy: as there.

    Returns:
        One row a bin ``(low, high]``: ``low``, ``high``, ``n``, mean ``confidence``, ``accuracy``; NaN in an
        empty bin.

    Raises:
        DataError: as :func:`expected_calibration_error`.
        ParameterError: as there.
    """
    confidence, correct = confidence_and_correct(y_true, probabilities)
    edges = bin_edges(confidence, bins, strategy)
    which = bin_of(confidence, edges)
    count, total_confidence, total_correct = (
        np.bincount(which, weights=weights, minlength=len(edges) - 1)
        for weights in (None, confidence, correct)
    )
    columns = {
        "low": edges[:-1],
        "high": edges[1:],
        "n": count.astype(np.int64),
        "confidence": divide(total_confidence, count),
        "accuracy": divide(total_correct, count),
    }
    return pd.DataFrame(columns)


def confidence_and_correct(y_true: Any, probabilities: Any) -> tuple[Floats, Floats]:
    """Return the largest probability ``(n,)`` and whether its class is the true one, 1 or 0 ``(n,)``."""
    labels, values = np.asarray(y_true), np.asarray(probabilities, dtype=np.float64)
    if values.ndim != 2 or labels.shape != values.shape[:1] or not len(labels):
        raise DataError(
            f"y_true has shape {labels.shape} and probabilities {values.shape}; "
            "allowed: (n,) and (n, classes), n > 0"
        )
    if labels.dtype.kind not in "iu" or labels.min() < 0 or labels.max() >= values.shape[1]:
        raise DataError(
            f"y_true must index the probabilities' columns: integers from 0 to {values.shape[1] - 1}"
        )
    if not (values.min() >= -1e-6 and values.max() <= 1 + 1e-6):
        raise DataError(f"probabilities lie between {values.min()} and {values.max()}; allowed: 0 to 1")
    correct = values.argmax(axis=1) == labels
    return values.max(axis=1), correct.astype(np.float64)


def bin_edges(confidence: Floats, bins: int, strategy: Strategy) -> Floats:
    """Return the edges of the confidence bins, from 0 to 1."""
    if bins < 1:
        raise ParameterError(f"bins={bins} is not allowed: at least 1")
    if strategy == "uniform":
        return np.linspace(0.0, 1.0, bins + 1)
    if strategy == "quantile":
        inner = np.quantile(confidence, np.linspace(0.0, 1.0, bins + 1)[1:-1])
        return np.unique(np.concatenate([[0.0], inner, [1.0]]))
    raise ParameterError(f"strategy={strategy!r} is not allowed: choose one of uniform, quantile")


def _folded_mean(mean: Floats, deviation: Floats) -> Floats:
    """Return ``E|mean + deviation Z|``, Z standard normal."""
    from scipy.special import ndtr

    scaled = np.divide(mean, deviation, out=np.full_like(mean, np.inf), where=deviation > 0)
    density = np.exp(-(scaled**2) / 2) * np.sqrt(2 / np.pi)
    return np.asarray(deviation * density + mean * (1 - 2 * ndtr(-scaled)))


def bin_of(confidence: Floats, edges: Floats) -> np.ndarray:
    """Return the bin of each confidence; a bin contains its upper edge."""
    return np.searchsorted(edges[1:-1], confidence, side="left")
