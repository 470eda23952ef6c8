"""Means of anything by group, with intervals that respect units, for what has no counts to resample."""

from __future__ import annotations

import numpy as np
import pandas as pd

from fairkd.metrics.confusion import Floats


def cluster_mean(
    values: np.ndarray, units: np.ndarray, confidence: float = 0.95
) -> tuple[float, float, float]:
    """Return the mean of samples and its interval, where samples of one unit are not independent.

    The mean is a ratio of two sums over units; its variance is the linearised one,
    ``K / (K - 1) sum_u (sum_i (x_ui - mean))² / n²``, with t's quantile for K - 1 degrees of freedom (Cochran 1977,
    Sampling Techniques, section 9A). It costs one pass however many samples there are.

    Args:
        values: ``(n,)``.
        units: ``(n,)``, any hashable values.
        confidence: nominal coverage, (0, 1).

    Returns:
        Mean, lower and upper limit; NaN without samples, limits NaN for fewer than two units.
    """
    from scipy.stats import t

    samples: Floats = np.asarray(values, dtype=np.float64)
    if not len(samples):
        return float("nan"), float("nan"), float("nan")
    mean = float(samples.mean())
    codes, names = pd.factorize(np.asarray(units))
    clusters = len(names)
    if clusters < 2:
        return mean, float("nan"), float("nan")
    sums = np.bincount(codes, weights=samples - mean)
    error = np.sqrt(clusters / (clusters - 1) * (sums**2).sum()) / len(samples)
    reach = float(t.ppf(0.5 + confidence / 2, clusters - 1) * error)
    return mean, mean - reach, mean + reach
