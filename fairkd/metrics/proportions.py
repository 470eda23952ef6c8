"""Wilson's interval of a proportion: the one that every table of shares uses."""

from __future__ import annotations

import numpy as np


def wilson_interval(
    successes: np.ndarray, trials: np.ndarray, confidence: float = 0.95
) -> tuple[np.ndarray, np.ndarray]:
    """Return Wilson's score interval of a proportion (Wilson 1927, doi 10.1080/01621459.1927.10502953).

    ``(p + z²/2n ± z √(p(1-p)/n + z²/4n²)) / (1 + z²/n)``

    Args:
        successes: ``(k,)``, each in [0, trials].
        trials: ``(k,)``, at least 0.
        confidence: coverage, (0, 1).

    Returns:
        Lower and upper limits ``(k,)``, in [0, 1]; NaN where there are no trials.
    """
    from scipy.special import ndtri

    z = ndtri(0.5 + confidence / 2)
    n = np.where(np.asarray(trials) > 0, trials, np.nan)
    p = successes / n
    centre = p + z**2 / (2 * n)
    half = z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    low, high = (centre - half) / (1 + z**2 / n), (centre + half) / (1 + z**2 / n)
    # The limits at 0 and at n successes are exactly 0 and 1; rounding errors are not.
    return np.where(p == 0, 0.0, low), np.where(p == 1, 1.0, high)
